"""Filling gaps from a mixture: what it expects of a missing value given what is known of the row.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.families import rows_of
from gmm_spark.mixture.families.categorical import one_of_each
from gmm_spark.mixture.far import FAR, log_joint_far
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.missing import by_pattern
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.numerics import Array, softmax
from gmm_spark.mixture.parameters import Parameters, Standardisation


class Imputer:
    """Fills the gaps of rows: numbers in the user's units, (d, m), then the rows of every family;
    gaps are NaN.

    Given the component and the known part, what is missing is normal; which component it is, the
    known part says in probabilities. So a missing value has the mixture of these normals for its
    distribution (Little and Rubin 2002, section 11.3), and a missing value of a family the mixture
    of the components' distributions. Noise says nothing of what is missing; the other components
    do.

    Parameters
    ----------
    parameters : in the user's units
    by : coordinates to work in
    filling : of every family what gaps are filled by, where that is not what it scores by
    """

    def __init__(
        self,
        parameters: Parameters,
        by: Standardisation,
        filling: Sequence[Array] | None = None,
    ) -> None:
        self._parameters = parameters.standardised(by)
        self._covariances = self._parameters.dense_covariances()
        self._by = by
        self._kernel = BlockKernel(natural_parameters([self._parameters], by, gaps=True))
        self._families = list(
            zip(
                rows_of(parameters.families, parameters.d),
                parameters.family_parameters if filling is None else filling,
                strict=True,
            )
        )

    def expected(self, block: Array) -> tuple[Array, Array]:
        """Rows with the mean of what is missing put in, and for categories the most probable
        level; and its standard deviations, 0 where a value is known, and for categories its
        probability, 1 where it is known; both of the shape of `block`."""
        filled, deviations = np.array(block), np.zeros(block.shape)
        for (family, rows_of_block), values in self._families:
            deviations[rows_of_block] = family.certain
            for column in range(family.num_columns):
                row = rows_of_block.start + column
                gaps = np.flatnonzero(np.isnan(block[row]))
                if gaps.size:
                    responsibilities = self.responsibilities(block[:, gaps])
                    found = family.expected(values, column, responsibilities)
                    filled[row, gaps], deviations[row, gaps] = found
        for rows, missing, means, spreads, responsibilities in self._conditionals(block):
            mean = np.einsum("kn,kqn->qn", responsibilities, means)
            variances = np.diagonal(spreads, axis1=1, axis2=2)
            variance = responsibilities.T @ variances
            variance = variance.T + np.einsum("kn,kqn->qn", responsibilities, (means - mean) ** 2)
            cells = np.ix_(missing, rows)
            filled[cells] = self._restored(mean, missing)
            deviations[cells] = np.sqrt(np.maximum(variance, 0.0)) * self._by.scale[missing, None]
        return filled, deviations

    def probabilities(self, block: Array, column: int) -> Array:
        """Probabilities of the levels of a category, (levels, m), given what is known of the rows
        of a block; `column` is its place there."""
        for (family, rows_of_block), values in self._families:
            if rows_of_block.start <= column < rows_of_block.stop:
                own = column - rows_of_block.start
                return family.chances(values, own, self.responsibilities(block))
        raise ValueError(f"column {column} is no category")

    def drawn(self, block: Array, rng: np.random.Generator) -> Array:
        """Rows with what is missing drawn from its distribution, of the shape of `block`."""
        filled = np.array(block)
        # What is missing of a row is drawn together: its component first.
        chosen = np.zeros(block.shape[1], dtype=np.intp)
        incomplete = np.flatnonzero(np.isnan(block).any(axis=0))
        if incomplete.size:
            chosen[incomplete] = one_of_each(self.responsibilities(block[:, incomplete]), rng)
        for (family, rows_of_block), values in self._families:
            for column in range(family.num_columns):
                row = rows_of_block.start + column
                gaps = np.flatnonzero(np.isnan(block[row]))
                if gaps.size:
                    filled[row, gaps] = family.drawn(values, column, chosen[gaps], rng)
        for rows, missing, means, spreads, _ in self._conditionals(block):
            noise = rng.normal(size=(missing.size, rows.size))
            drawn = np.empty_like(noise)
            for component in np.unique(chosen[rows]):
                mine = chosen[rows] == component
                root = _root(spreads[component])
                drawn[:, mine] = means[component][:, mine] + root @ noise[:, mine]
            filled[np.ix_(missing, rows)] = self._restored(drawn, missing)
        return filled

    def _restored(self, values: Array, columns: NDArray[np.intp]) -> Array:
        return self._by.centre[columns, None] + self._by.scale[columns, None] * values

    def responsibilities(self, block: Array) -> Array:
        """Probabilities of the components, (k, m), given what is known of rows, the noise apart."""
        z = (block[: self._parameters.d] - self._by.centre[:, None]) / self._by.scale[:, None]
        far = np.flatnonzero((np.abs(z) > FAR).any(axis=0))
        near = block if far.size == 0 else np.delete(block, far, axis=1)
        joint = self._kernel.log_joint(near)[: self._parameters.k]
        if far.size:
            apart, _ = log_joint_far(self._parameters, self._by, block[:, far])
            apart = apart[: self._parameters.k]
            joint = np.insert(joint, far - np.arange(far.size), apart, axis=1)
        joint -= joint.max(axis=0)
        softmax(joint)
        return joint

    def _conditionals(
        self, block: Array
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], Array, Array, Array]]:
        """Pattern by pattern: its rows (n,), missing columns (q,), and by component the
        conditional means (k, q, n), covariances (k, q, q) and probabilities (k, n)."""
        gaps = np.isnan(block[: self._parameters.d])
        incomplete = np.flatnonzero(gaps.any(axis=0))
        if incomplete.size == 0:
            return
        incomplete = incomplete[by_pattern(gaps[:, incomplete])]
        part, gaps = block[:, incomplete], gaps[:, incomplete]
        joint = self.responsibilities(part)
        z = (part[: self._parameters.d] - self._by.centre[:, None]) / self._by.scale[:, None]
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
