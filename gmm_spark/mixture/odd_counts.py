"""Counts that are no counts of the rest of their column: a code for "not known", a slip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.numerics import Array

# One value is far beyond another where it is so many times as large, both a little enlarged: a
# jump from 0 to 20 is none. Of some forty heavy-tailed columns (crimes and people by town,
# money, bytes, purchases) the largest jump between neighbouring values is tenfold.
_JUMP = 30.0
_ENLARGED = 10.0
# Such a jump is none of counts, however many rows are above it: "not known" may be the rule.
_SURE_JUMP = 1000.0
# Odd values are as few as this, or in such a share of the rows.
_FEW_VALUES = 2
_FEW_ROWS = 0.01
# Roots of counts have a deviation of about a half whatever the rate. So many deviations above the
# median nothing is a count like the others (the columns above reach 69).
_FARTHEST = 200.0


@dataclass(frozen=True)
class OddCounts:
    """Values of a column that are far beyond all others: the first of them, the largest usual
    one, and in what share of the rows they are, by weight; 0 where the rows at hold have none."""

    value: float
    usual: float
    share: float


def odd_counts(
    values: Array, weights: Array | None = None, highest: float | None = None, rows: int = 0
) -> OddCounts | None:
    """Values of a column of counts (n,), NaN where there is none, that are no counts of the rest.

    Parameters
    ----------
    highest : of all the `rows` that these are a sample of; more rows reach farther
    """
    known = values >= 0
    if not known.any():
        return None
    distinct, sums = _tallied(values[known], None if weights is None else weights[known])
    above = np.cumsum(sums[::-1])[::-1] / sums.sum()
    # Between neighbours, the upper one first; the widest gap is the one that counts.
    jumps = (distinct[1:] + 1) / (distinct[:-1] + _ENLARGED)
    last = np.arange(distinct.size)[::-1] < _FEW_VALUES
    few = last & (above < 0.5)
    few |= (above <= _FEW_ROWS) & (distinct > _bound(distinct, sums))
    gaps = np.flatnonzero((jumps >= _JUMP) & few[1:] | (jumps >= _SURE_JUMP) & last[1:])
    if gaps.size:
        place = int(gaps[0])
        return OddCounts(
            float(distinct[place + 1]), float(distinct[place]), float(above[place + 1])
        )
    largest = float(distinct[-1])
    if highest is not None and highest > largest:
        reach = max(1.0, rows / values.size)
        if (highest + 1) / (largest + _ENLARGED) >= _JUMP * reach:
            return OddCounts(highest, largest, 0.0)
    return None


def usual_mean(values: Array, weights: Array | None = None) -> float:
    """The mean of counts (n,), by weight, without those that are no counts of the rest; the plain
    mean where all of them are. NaN are gaps; 1 where there is nothing else."""
    known = values >= 0
    if not known.any():
        return 1.0
    usual = known & _usual(values, weights)
    if weights is None and usual.all():
        return float(values.mean())
    if weights is None and (usual == known).all():
        return float(np.nanmean(values))
    found = values[usual]
    mean = float(np.average(found, weights=None if weights is None else weights[usual]))
    if mean > 0:
        return mean
    # Zeros alone are usual here: a rate of 0 would be said to be certain.
    one = np.minimum(values[known], 1.0)
    return float(np.average(one, weights=None if weights is None else weights[known]))


def _usual(values: Array, weights: Array | None) -> NDArray[np.bool_]:
    known = values >= 0
    distinct, sums = _tallied(values[known], None if weights is None else weights[known])
    most, odd = _bound(distinct, sums), odd_counts(values, weights)
    if odd is not None:
        most = min(most, odd.usual)
    return np.asarray(values <= most)


def _tallied(values: Array, weights: Array | None) -> tuple[Array, Array]:
    """Distinct values, sorted, and the weight of the rows that hold them."""
    distinct, places = np.unique(values, return_inverse=True)
    return distinct, np.bincount(places.ravel(), weights, minlength=distinct.size).astype(float)


def _bound(distinct: Array, sums: Array) -> float:
    """The largest value that may be a count like those in the middle."""
    cumulated = np.cumsum(sums) / sums.sum()
    places = np.minimum(np.searchsorted(cumulated, [0.5, 0.75]), distinct.size - 1)
    middle, upper = (2 * np.sqrt(distinct[places])).tolist()
    deviation = max(1.0, (upper - middle) / 0.6745)
    return float(((middle + _FARTHEST * deviation) / 2) ** 2)
