"""The log-likelihood a mixture reaches on a table, evaluated alike for every system.

Log-sum-exp over components, each by a Cholesky factor of its covariance; in the user's units and
over all rows. Where values are rounded, the likelihood of what was recorded, too. So is what a
known mixture expects in the gaps of rows, which no imputation beats on average. No code of
gmm_spark's is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp, softmax

Array = NDArray[np.float64]

ROWS_PER_CHUNK = 65_536
# Points of Gauss and Legendre across a cell, in the directions in which a component is not narrow.
NODES = 8


class DegenerateError(ValueError):
    """The parameters have no density: a covariance is not positive definite, or not finite."""


def log_density(rows: Array, weights: Array, means: Array, covariances: Array) -> Array:
    """Log density of each row (n, d) under weights (k,), means (k, d), covariances (k, d, d)."""
    return _Evaluator(weights, means, covariances).log_density(rows)


def expected(rows: Array, weights: Array, means: Array, covariances: Array) -> Array:
    """`rows` (n, d) with each gap (NaN) filled by its mean given what is known of its row.

    Weights must be over 0.
    """
    filled = rows.copy()
    patterns, which = np.unique(np.isnan(rows), axis=0, return_inverse=True)
    for number, gaps in enumerate(patterns):
        mine, known = which.ravel() == number, ~gaps
        seen = rows[np.ix_(mine, known)]
        within = covariances[:, known][:, :, known]
        shares = softmax(_Evaluator(weights, means[:, known], within).joint(seen), axis=0)
        slopes = np.linalg.solve(within, covariances[:, known][:, :, gaps])
        filled[np.ix_(mine, gaps)] = sum(
            share[:, None] * (means[c, gaps] + (seen - means[c, known]) @ slopes[c])
            for c, share in enumerate(shares)
        )
    return filled


def mean_log_likelihood(
    path: Path, columns: tuple[str, ...], weights: Array, means: Array, covariances: Array
) -> float:
    """Mean log density of all rows of a Parquet table; DegenerateError if there is none."""
    evaluator = _Evaluator(weights, means, covariances)
    total, count = 0.0, 0
    for rows in _chunks(path, columns):
        total += float(evaluator.log_density(rows).sum())
        count += len(rows)
    return total / count


def recorded_log_likelihood(
    lowest: Array, highest: Array, weights: Array, means: Array, covariances: Array
) -> float:
    """Mean log probability of the cells that rows were rounded to, over their volumes.

    The density of a rounded value has no bound: a component may be as narrow as it likes on one
    that is repeated. The probability of what it was rounded from has one, and is what the data
    are worth under a mixture (Giesbrecht and Kempthorne 1976). Where components are wide beside
    the cells the two are the same.

    The column in which a component is narrowest beside its cells, given the others, is integrated
    exactly, the others by Gauss and Legendre.

    Parameters
    ----------
    lowest, highest : (n, d) bounds of the rows' cells
    """
    n, d = lowest.shape
    sizes, middle = highest - lowest, (lowest + highest) / 2
    points, shares = np.polynomial.legendre.leggauss(NODES)
    joint = np.full((len(weights), n), -np.inf)
    for c in np.flatnonzero(weights > 0):
        covariance = covariances[c]
        deviations = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))  # given the others
        exact = int(np.argmin(deviations / sizes.mean(axis=0)))
        others = np.delete(np.arange(d), exact)
        within, one = covariance[np.ix_(others, others)], np.ones(1)
        slopes = np.linalg.solve(within, covariance[others, exact])
        parts = []
        for nodes in product(range(NODES), repeat=d - 1):
            node = list(nodes)
            at = middle[:, others] + points[node] * sizes[:, others] / 2
            expected_there = means[c, exact] + (at - means[c, others]) @ slopes
            part = np.log(shares[node] / 2).sum() + log_density(
                at, one, means[[c]][:, others], within[None]
            )
            bounds = (lowest[:, exact], highest[:, exact])
            low, high = ((bound - expected_there) / deviations[exact] for bound in bounds)
            parts.append(part + _log_probability(low, high) - np.log(sizes[:, exact]))
        joint[c] = np.log(weights[c]) + logsumexp(parts, axis=0)
    return float(logsumexp(joint, axis=0).mean())


def _log_probability(low: Array, high: Array) -> Array:
    """Log of the probability that a standard normal number is between two others."""
    # By symmetry in the lower tail, where differences of probabilities keep their digits.
    mirrored = low > 0
    low, high = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    ratio = np.minimum(log_ndtr(low) - log_ndtr(high), -np.finfo(float).tiny)
    found: Array = log_ndtr(high) + np.log(-np.expm1(ratio))
    return found


def column_deviations(path: Path, columns: tuple[str, ...]) -> Array:
    """Standard deviation of each column of a table, (d,)."""
    origin: Array | None = None
    sums, squares, count = np.zeros(len(columns)), np.zeros(len(columns)), 0
    for rows in _chunks(path, columns):
        origin = rows.mean(axis=0) if origin is None else origin
        centred = rows - origin
        sums += centred.sum(axis=0)
        squares += np.einsum("nd,nd->d", centred, centred)
        count += len(rows)
    deviations: Array = np.sqrt(squares / count - (sums / count) ** 2)
    return deviations


def narrowest(covariances: Array, deviations: Array) -> float:
    """Smallest standard deviation of a component along any direction, columns at unit deviation.

    Far below 1, a component sits on a repeated value, where any likelihood can be had.
    """
    scaled = covariances / np.multiply.outer(deviations, deviations)
    return float(np.sqrt(max(0.0, np.linalg.eigvalsh(scaled).min())))


class _Evaluator:
    def __init__(self, weights: Array, means: Array, covariances: Array) -> None:
        if not all(np.isfinite(part).all() for part in (weights, means, covariances)):
            raise DegenerateError("parameters that are not finite")
        alive = weights > 0  # the logarithm of an empty component's weight is of no use
        self._log_weights = np.log(weights[alive])
        self._means = means[alive]
        self._factors = []
        for number, covariance in zip(np.flatnonzero(alive), covariances[alive], strict=True):
            try:
                self._factors.append(np.linalg.cholesky(covariance))
            except np.linalg.LinAlgError:
                raise DegenerateError(
                    f"the covariance of component {number} is not positive definite"
                ) from None

    def log_density(self, rows: Array) -> Array:
        result: Array = logsumexp(self.joint(rows), axis=0)
        return result

    def joint(self, rows: Array) -> Array:
        """Log of each component's weight times its density, (k, n)."""
        n, d = rows.shape
        joint = np.empty((len(self._factors), n))
        for c, factor in enumerate(self._factors):
            whitened = np.linalg.solve(factor, (rows - self._means[c]).T)
            log_determinant = 2 * np.log(np.diag(factor)).sum()
            distance = np.einsum("in,in->n", whitened, whitened)
            joint[c] = self._log_weights[c] - (distance + log_determinant) / 2
        return joint - d / 2 * np.log(2 * np.pi)


def _chunks(path: Path, columns: tuple[str, ...]) -> Iterator[Array]:
    dataset: Any = ds.dataset(path, format="parquet")
    for batch in dataset.to_batches(columns=list(columns), batch_size=ROWS_PER_CHUNK):
        if batch.num_rows:
            yield np.column_stack([column.to_numpy() for column in batch.columns])
