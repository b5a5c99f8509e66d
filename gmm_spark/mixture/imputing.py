"""Filling gaps from a mixture: what it expects of a missing value given what is known of the row.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.gaps import by_pattern
from gmm_spark.mixture.kernel import BlockKernel, natural_parameters
from gmm_spark.mixture.parameters import Array, Parameters, Standardisation


class Imputer:
    """Fills the gaps of rows (d, m) in the user's units; gaps are NaN.

    Given the component and the known part, what is missing is normal; which component it is, the
    known part says in probabilities. So a missing value has the mixture of these normals for its
    distribution (Little and Rubin 2002, section 11.3).

    Parameters
    ----------
    parameters : in the user's units
    by : coordinates to work in
    """

    def __init__(self, parameters: Parameters, by: Standardisation) -> None:
        self._parameters = parameters.standardised(by)
        self._covariances = self._parameters.dense_covariances()
        self._by = by
        self._kernel = BlockKernel(natural_parameters([self._parameters], by, gaps=True))

    def expected(self, block: Array) -> tuple[Array, Array]:
        """Rows with the mean of what is missing put in, (d, m), and its standard deviations,
        (d, m), 0 where a value is known."""
        filled, deviations = np.array(block), np.zeros(block.shape)
        for rows, missing, means, spreads, responsibilities in self._conditionals(block):
            mean = np.einsum("kn,kqn->qn", responsibilities, means)
            variances = np.diagonal(spreads, axis1=1, axis2=2)
            variance = responsibilities.T @ variances
            variance = variance.T + np.einsum("kn,kqn->qn", responsibilities, (means - mean) ** 2)
            cells = np.ix_(missing, rows)
            filled[cells] = self._restored(mean, missing)
            deviations[cells] = np.sqrt(np.maximum(variance, 0.0)) * self._by.scale[missing, None]
        return filled, deviations

    def drawn(self, block: Array, rng: np.random.Generator) -> Array:
        """Rows with what is missing drawn from its distribution, (d, m)."""
        filled = np.array(block)
        for rows, missing, means, spreads, responsibilities in self._conditionals(block):
            cumulated = np.cumsum(responsibilities, axis=0)
            chosen = (rng.random(rows.size) * cumulated[-1] > cumulated).sum(axis=0)
            chosen = np.minimum(chosen, len(means) - 1)
            noise = rng.normal(size=(missing.size, rows.size))
            drawn = np.empty_like(noise)
            for component in np.unique(chosen):
                mine = chosen == component
                root = _root(spreads[component])
                drawn[:, mine] = means[component][:, mine] + root @ noise[:, mine]
            filled[np.ix_(missing, rows)] = self._restored(drawn, missing)
        return filled

    def _restored(self, values: Array, columns: NDArray[np.intp]) -> Array:
        return self._by.centre[columns, None] + self._by.scale[columns, None] * values

    def _conditionals(
        self, block: Array
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], Array, Array, Array]]:
        """Pattern by pattern: its rows (n,), missing columns (q,), and by component the
        conditional means (k, q, n), covariances (k, q, q) and probabilities (k, n)."""
        gaps = np.isnan(block)
        incomplete = np.flatnonzero(gaps.any(axis=0))
        if incomplete.size == 0:
            return
        incomplete = incomplete[by_pattern(gaps[:, incomplete])]
        part, gaps = block[:, incomplete], gaps[:, incomplete]
        joint = self._kernel.log_joint(part)
        joint -= joint.max(axis=0)
        np.exp(joint, out=joint)
        joint /= joint.sum(axis=0)
        z = (part - self._by.centre[:, None]) / self._by.scale[:, None]
        changes = np.flatnonzero((gaps[:, 1:] != gaps[:, :-1]).any(axis=0)) + 1
        bounds = [0, *changes.tolist(), gaps.shape[1]]
        for start, stop in itertools.pairwise(bounds):
            missing = np.flatnonzero(gaps[:, start])
            known = np.flatnonzero(~gaps[:, start])
            of = self._covariances
            across = of[:, known[:, None], missing]
            regression = np.linalg.solve(of[:, known[:, None], known], across).swapaxes(1, 2)
            deviations = z[known, start:stop] - self._parameters.means[:, known, None]
            means = self._parameters.means[:, missing, None] + regression @ deviations
            spreads = of[:, missing[:, None], missing] - regression @ across
            yield incomplete[start:stop], missing, means, spreads, joint[:, start:stop]


def _root(covariance: Array) -> Array:
    """A with A A' the covariance, which rounding may have left without a Cholesky factor."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(eigenvalues, 0.0)))
