"""What a sample tells of the columns before a fit: centre, scale, recording step, floor.

Centre and scale are a median and a range of quantiles, so that a few rows a million times
farther out than the rest do not squeeze the rest into the last digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Standardisation
from gmm_spark.mixture.structures import Structure

# The floor is never less than this fraction of a column's own scale.
SMALLEST_FLOOR = 1e-6
# Rows farther from the median than this many scales do not take part in judging columns.
FAR = 1e3
# A column that is no lattice has a step where so many values recur, in such a share of the rows.
_RECURRING_VALUES = 10
_RECURRING = 0.05


@dataclass(frozen=True)
class Columns:
    """The columns of a data set as a fit sees them; all in the user's units.

    `constant` and `collinear` hold column indices; `collinear` one group for every linear
    dependence found.
    """

    standardisation: Standardisation
    floor: Array  # (d,) smallest standard deviation of a component
    constant: tuple[int, ...]
    collinear: tuple[tuple[int, ...], ...]


def describe_columns(
    sample: Array, lowest: Array, highest: Array, structure: Structure, floor: float | None
) -> Columns:
    """Scales, floors and degenerate columns from a sample (d, n) and the ranges of all rows.
    Gaps in the sample are NaN.

    `floor` is the smallest standard deviation as a fraction of the columns' own; None takes the
    recording resolution, step / sqrt(12).
    """
    known = [row[~np.isnan(row)] for row in sample]
    middle = (lowest + highest) / 2
    centre = np.array(
        [np.median(row) if row.size else at for row, at in zip(known, middle, strict=True)]
    )
    constant = highest <= lowest
    scale = np.array([_scale(row) if row.size else 0.0 for row in known])
    scale = np.where(scale > 0, scale, highest - lowest)
    scale[constant] = 1.0
    if floor is None:
        steps = np.array([recording_step(row) for row in known])
        floors = np.maximum(steps / np.sqrt(12), SMALLEST_FLOOR * scale)
        # A step wider than the column's own spread says nothing of the spread of a component.
        floors = np.minimum(floors, scale)
    else:
        floors = floor * scale
    floors[constant] = 0.0 if structure.one_scale or floor == 0 else 1.0
    collinear: tuple[tuple[int, ...], ...] = ()
    if structure.kind == "full":
        collinear = _collinear(sample, centre, scale, np.flatnonzero(~constant))
    if structure.one_scale:
        varying = scale[~constant]
        common = float(np.sqrt(np.mean(varying**2))) if varying.size else 1.0
        common = common or float(varying.max())  # where the squares underflow
        scale = np.full_like(scale, common)
    return Columns(
        Standardisation(centre, scale),
        floors,
        tuple(int(j) for j in np.flatnonzero(constant)),
        collinear,
    )


def _scale(values: Array) -> float:
    """Standard deviation a normal distribution with the same central quantiles would have."""
    low, high = np.quantile(values, [0.25, 0.75])
    if high > low:
        return float(high - low) / 1.349
    low, high = np.quantile(values, [0.01, 0.99])
    if high > low:
        return float(high - low) / 4.653
    return float(values.std())


def mode_width(values: Array, fraction: float) -> float:
    """Width of the shortest interval that holds a fraction of the values, as the standard
    deviation of a normal distribution; 0 where one value makes up that fraction."""
    ordered = np.sort(values)
    count = max(2, int(np.ceil(fraction * ordered.size)))
    if count >= ordered.size:
        return float(values.std())
    width = float((ordered[count - 1 :] - ordered[: ordered.size - count + 1]).min())
    # Central quantile of the normal distribution by bisection of erf is exact enough by a
    # series: the density is flat over a small fraction, and the ratio only sets a metric.
    return width / (fraction * np.sqrt(2 * np.pi))


def recording_step(values: Array) -> float:
    """The step in which a column was recorded, 0 where there is none to see.

    Where all values lie on a lattice (whole months, cents) it is the lattice constant. Where
    they do not, but many values recur (the logarithm of a count), it is the median distance
    from a recurring value to the nearest other one, over the rows that hold one, the most common
    left out: a few point masses beside continuous values say nothing of a step.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if distinct.size < 2:
        return 0.0
    step = _lattice_constant(distinct)
    if step > 0:
        return step
    recurring = counts > 1
    recurring[counts.argmax()] = False
    usual = counts[recurring]
    if usual.size < _RECURRING_VALUES or usual.sum() < _RECURRING * values.size:
        return 0.0
    gaps = np.diff(distinct)
    nearest = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))[recurring]
    order = np.argsort(nearest)
    cumulated = np.cumsum(usual[order])
    return float(nearest[order][np.searchsorted(cumulated, cumulated[-1] / 2)])


def _lattice_constant(distinct: Array) -> float:
    """Largest h with all values on h Z + offset up to rounding, 0 where there is none."""
    magnitude = float(np.abs(distinct).max())
    with np.errstate(over="ignore"):
        stored_as_float32 = bool(np.all(distinct.astype(np.float32) == distinct))
    tolerance = 4 * magnitude * float(np.finfo(np.float32 if stored_as_float32 else float).eps)
    offsets = distinct - distinct[0]
    step = float(np.diff(distinct).min())
    for _ in range(64):
        if step <= 1e3 * tolerance:
            return 0.0
        remainders = np.abs(offsets - step * np.round(offsets / step))
        left = remainders[remainders > max(tolerance, 1e-6 * step)]
        if left.size == 0:
            return step
        step = float(left.min())
    return 0.0


def _collinear(
    sample: Array, centre: Array, scale: Array, varying: np.ndarray
) -> tuple[tuple[int, ...], ...]:
    z = (sample[varying] - centre[varying, None]) / scale[varying, None]
    z = z[:, (np.abs(z) < FAR).all(axis=0)]  # complete rows, too: NaN is less than nothing
    if z.shape[1] <= z.shape[0] + 1:
        return ()
    z = z - z.mean(axis=1, keepdims=True)
    deviations = z.std(axis=1)
    usable = deviations > 0
    z, columns = z[usable] / deviations[usable, None], varying[usable]
    if len(columns) < 2:
        return ()
    eigenvalues, vectors = np.linalg.eigh(z @ z.T / z.shape[1])
    threshold = 100 * len(columns) * np.finfo(float).eps
    dependences = _reduced(vectors[:, eigenvalues < threshold].T)
    groups = {
        tuple(int(c) for c in columns[np.abs(vector) > 0.01 * np.abs(vector).max()])
        for vector in dependences
    }
    return tuple(sorted(groups))


def _reduced(rows: Array) -> Array:
    """Reduced row echelon form: of the vectors that span the same space, those with the most
    zeros, so that unrelated dependences are not mixed."""
    rows = np.array(rows)
    for r in range(rows.shape[0]):
        pivot, column = divmod(int(np.abs(rows[r:]).argmax()), rows.shape[1])
        rows[[r, r + pivot]] = rows[[r + pivot, r]]
        rows[r] /= rows[r, column]
        others = np.arange(rows.shape[0]) != r
        rows[others] -= np.outer(rows[others, column], rows[r])
    return rows
