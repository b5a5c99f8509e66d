"""Which values can be used. Fits and scoring ask here, and refuse in the same words.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.families import FAMILIES, Family
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import LARGEST
from gmm_spark.mixture.standardisation import SMALLEST_FLOOR, Columns
from gmm_spark.mixture.structures import Structure

# The square of a component's standard deviation must be a normal float64.
SMALLEST_DEVIATION = 1e-153
# Values may be so many standard deviations from the median: squares of these, divided by the
# variance of a component as narrow as the floor, 1e-12 of the column's, must be finite.
FARTHEST = 1e140

# Of a column, by its place and what is wrong: in how many rows, and the first such value.
Unusable = dict[tuple[int, str], tuple[int, float]]

_SAID = {
    "infinite": "are infinite (the first: {value}); replace them or leave those rows out",
    "large": f"are beyond {LARGEST:g} (the first: {{value:g}}); squares of such values overflow: "
    "rescale the column or leave those rows out",
    **{kind.name: kind.refusal for kind in FAMILIES},
}


def extremes(values: Array) -> tuple[Array, Array]:
    """Smallest and largest of every row of values (d, m), gaps apart; NaN where all are gaps."""
    if values.shape[1] == 0:
        nothing = np.full(len(values), np.nan)
        return nothing, nothing
    # fmin and fmax take the number where the other is NaN.
    return np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)


def unusable(
    values: Array,
    lowest: Array,
    highest: Array,
    families: Sequence[tuple[Family, slice]] = (),
) -> Unusable:
    """What is wrong with columns (columns, m) whose extremes are given; `families` are those of
    them that have one."""
    found: Unusable = {}
    for place in np.flatnonzero(np.maximum(-lowest, highest) > LARGEST).tolist():
        _note(found, place, "infinite", values[place], np.isinf(values[place]))
        _note(found, place, "large", values[place], np.abs(values[place]) > LARGEST)
    for family, rows in families:
        if family.refusal:
            for place in range(rows.start, rows.stop):
                _note(found, place, family.name, values[place], family.refused(values[place]))
    return found


def _note(found: Unusable, place: int, kind: str, values: Array, wrong: NDArray[np.bool_]) -> None:
    if wrong.any() and (place, "infinite") not in found:
        found[place, kind] = int(wrong.sum()), float(values[wrong][0])


def together(parts: Sequence[Unusable]) -> Unusable:
    """What is wrong with the columns of several parts; the first value is that of the first."""
    found: Unusable = {}
    for part in parts:
        for key, (rows, first) in part.items():
            before, earlier = found.get(key, (0, first))
            found[key] = before + rows, earlier
    return found


def refusal(found: Unusable, names: Sequence[str] | Mapping[int, str], total: int) -> str | None:
    """The sentence about the first column that cannot be used; None where all can."""
    order = list(_SAID)
    for place, kind in sorted(found, key=lambda key: (key[0], order.index(key[1]))):
        rows, value = found[place, kind]
        said = _SAID[kind].format(value=value)
        return f"column {names[place]!r}: {rows} of {total} rows {said}"
    return None


def scale_refusal(
    names: Sequence[str], columns: Columns, lowest: Array, highest: Array
) -> str | None:
    """The sentence about the first column whose values differ by too little for their variance,
    or by too much for their spread; None where there is none. `lowest` and `highest` (d,) are
    those of all rows."""
    centre, scale = columns.standardisation.centre, columns.standardisation.scale
    farther = np.where(highest - centre > centre - lowest, highest, lowest)
    for j, name in enumerate(names):
        if max(columns.floor[j], SMALLEST_FLOOR * scale[j]) < SMALLEST_DEVIATION:
            return (
                f"column {name!r} has a standard deviation of {scale[j]:.3g}; the variances of its "
                "components underflow: rescale the column"
            )
        if abs(farther[j] - centre[j]) / scale[j] > FARTHEST:
            return (
                f"column {name!r} holds {farther[j]:.3g}, where its standard deviation is "
                f"{scale[j]:.3g}; beyond {FARTHEST:g} standard deviations squares overflow: leave "
                "such rows out or rescale the column"
            )
    return None


# A kernel of K components takes about so many times its statistics, K times (M + 1) numbers, and
# the room of its rows: natural parameters, sums and covariances, some of them twice.
_TIMES_STATISTICS = 12
_MOST_BYTES = 8 << 30


def width_refusal(structure: Structure, d: int, k: int, starts: int) -> str | None:
    """The sentence about a mixture of d columns too wide for the memory of a machine; None where
    it is not. `starts` mixtures of k components are tried together on the sample."""
    if structure.kind != "full":
        return None
    terms = d * (d + 1) // 2 + d + 1
    each, together = (_TIMES_STATISTICS * 8 * components * terms for components in (k, k * starts))
    if together <= _MOST_BYTES:
        return None
    fewer = "a smaller numInit or k" if each <= _MOST_BYTES and starts > 1 else "a smaller k"
    return (
        f"full covariances of {d} columns and k = {k} take about {each / 2**30:.1f} GiB a task, "
        f"and {together / 2**30:.1f} GiB on the driver for {starts} starts; the limit is "
        f"{_MOST_BYTES >> 30} GiB: use covarianceType='diag', fewer columns, or {fewer}"
    )
