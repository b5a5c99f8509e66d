"""How a segment differs from other rows, on one scale for numbers and for values of categories.

Cliff's delta (1993, "Dominance statistics: ordinal analyses to answer ordinal questions"): of a
random row of the segment and a random one of the others, the probability that the former has more,
less the probability that it has less. Of having a value or not it is the difference of the shares,
so columns of all kinds can be ranked; it does not change with a monotone transformation, as the
logarithm of a skewed column is, and no outlier moves it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.numerics import Array

# Effects from these on are small and medium, from 0.474 on large (Romano, Kromrey, Coraggio and
# Skowronek 2006).
SMALL, MEDIUM = 0.147, 0.33


def cliffs_delta(values: Array, weights: Array, others: Array) -> Array:
    """Cliff's delta of rows with values (n,), NaN where they are not known, by their weights
    (K, n) in K groups against their weights (K, n) among the others: (K,), 0 for an empty group."""
    known = ~np.isnan(values)
    distinct, place = np.unique(values[known], return_inverse=True)
    k = len(weights)
    own, rest = np.zeros((k, distinct.size)), np.zeros((k, distinct.size))
    for j in range(k):
        own[j] = np.bincount(place, weights[j, known], minlength=distinct.size)
        rest[j] = np.bincount(place, others[j, known], minlength=distinct.size)
    below = np.cumsum(rest, axis=1) - rest
    total = rest.sum(axis=1, keepdims=True)
    above = total - below - rest
    found = (own * (below - above)).sum(axis=1)
    pairs = own.sum(axis=1) * total[:, 0]
    return np.clip(np.where(pairs > 0, found / np.where(pairs > 0, pairs, 1.0), 0.0), -1.0, 1.0)


def weighted_quantiles(values: Array, weights: Array, at: Sequence[float]) -> Array | None:
    """The smallest values (n,) that rows of so much of the weight (n,) do not exceed, (at,); None
    where no value is known."""
    known = ~np.isnan(values) & (weights > 0)
    if not known.any():
        return None
    order = np.argsort(values[known], kind="stable")
    ordered, cumulated = values[known][order], np.cumsum(weights[known][order])
    # Rounding must not pass over a value that has all of the weight wanted.
    wanted = np.asarray(at) * cumulated[-1] * (1 - 1e-12)
    return np.asarray(ordered[np.minimum(np.searchsorted(cumulated, wanted), ordered.size - 1)])


@np.errstate(over="ignore", invalid="ignore")  # the largest numbers have none
def intervals(values: Array) -> list[float] | None:
    """Edges of intervals that show how values (n,) are distributed: around every value where there
    are few, else of equal width, on the scale of logarithms where most are small and few large.
    None where there are no two values."""
    known = values[~np.isnan(values)]
    distinct = np.unique(known)
    if distinct.size < 2:
        return None
    if distinct.size <= _FEW_VALUES:
        between = (distinct[1:] + distinct[:-1]) / 2
        ends = 2 * distinct[[0, -1]] - between[[0, -1]]
        return _ascending(np.concatenate([ends[:1], between, ends[1:]]))
    low, middle, high = np.quantile(known, [0.005, 0.5, 0.995])
    if low == high:
        low, high = distinct[0], distinct[-1]
    if distinct[0] >= 0 and high - middle > 4 * (middle - low):
        unit = max(middle, (high - low) / 100)
        steps = np.linspace(np.log1p(low / unit), np.log1p(high / unit), _INTERVALS + 1)
        return _ascending(unit * np.expm1(steps))
    return _ascending(np.linspace(low, high, _INTERVALS + 1))


_FEW_VALUES, _INTERVALS = 24, 24


def _ascending(edges: Array) -> list[float] | None:
    found: list[float] = np.unique(edges).tolist()
    return found if len(found) > 1 and np.isfinite(edges).all() else None


def distribution(values: Array, weights: Array, edges: Sequence[float]) -> list[float] | None:
    """Shares of the weight (n,) of known values (n,) in the intervals; what lies beyond the first
    and the last edge is in the first and the last. None where there is no weight."""
    known = ~np.isnan(values)
    inner = np.searchsorted(edges[1:-1], values[known], side="right")
    found = np.bincount(inner, weights[known], minlength=len(edges) - 1)
    total = found.sum()
    return None if total <= 0 else (found / total).tolist()


def correlations(scores: Array, weights: Array) -> NDArray[np.float64]:
    """Correlations of scores (F, n) of rows with weights (n,): (F, F), 0 of what is constant."""
    total = weights.sum()
    if total <= 0:
        return np.eye(len(scores))
    centred = scores - (scores @ weights / total)[:, None]
    covariance = (centred * weights) @ centred.T / total
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    scale = np.where(deviation > 0, deviation, 1.0)
    return np.asarray(covariance / scale[:, None] / scale)


def ranks(values: Array) -> Array:
    """Mid-ranks of values (n,), between 0 and 1; what is not known is in the middle."""
    known = ~np.isnan(values)
    found = np.full(values.size, 0.5)
    if known.any():
        _, place, counts = np.unique(values[known], return_inverse=True, return_counts=True)
        upto = np.cumsum(counts)
        found[known] = (upto - counts / 2)[place] / upto[-1]
    return found
