"""Noise: a component of outliers, uniform over where the data are (Banfield and Raftery 1993).

It has no columns of its own. Every family says what its columns' uniform density is over their
range; over the numeric columns it is that of a box.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.families.family import Family, Range, rows_of
from gmm_spark.mixture.numerics import Array


@dataclass(frozen=True)
class Noise:
    """The weight of the uniform component, and where it lies.

    log_widths : (d,) of the box of the numeric columns; in the coordinates of the mixture it is of
    lowest : (d,) corner of the box; None for models of releases that did not keep it
    ranges : of the columns of every family
    """

    weight: float
    log_widths: Array
    lowest: Array | None = None
    ranges: tuple[Range, ...] = ()

    @property
    def log_density(self) -> float:
        """Of all numeric columns together."""
        return -float(self.log_widths.sum())

    @property
    def is_placed(self) -> bool:
        """Whether it is known where the noise lies, and not only how wide it is."""
        known = (range.lowest is not None for range in self.ranges)
        return self.lowest is not None and all(known)

    def scaled(self, log_factor: Array, shift: Array) -> Noise:
        """The noise where numeric columns are shift + exp(log_factor) x."""
        lowest = None if self.lowest is None else shift + np.exp(log_factor) * self.lowest
        return replace(self, log_widths=self.log_widths + log_factor, lowest=lowest)

    def marginal(self, columns: NDArray[np.intp]) -> Noise:
        """The noise of a subset of the numeric columns."""
        lowest = None if self.lowest is None else self.lowest[columns]
        return replace(self, log_widths=self.log_widths[columns], lowest=lowest)


def noise_over(
    weight: float,
    lowest: Array,
    highest: Array,
    centre: Array,
    scale: Array,
    families: Sequence[Family],
) -> Noise:
    """Noise over the data's range, in standardised coordinates.

    Parameters
    ----------
    lowest, highest : of every column in the user's units, the numeric ones first
    centre, scale : (d,) of the standardisation; a constant column is taken to be as wide as its
        scale
    """
    d = centre.size
    ranges = highest - lowest
    widths = np.where(ranges[:d] > 0, ranges[:d] / scale, 1.0)
    corner = np.where(ranges[:d] > 0, lowest[:d], lowest[:d] - scale / 2)
    of_families = tuple(
        family.range_of(lowest[rows], highest[rows]) for family, rows in rows_of(families, d)
    )
    return Noise(weight, np.log(widths), (corner - centre) / scale, of_families)
