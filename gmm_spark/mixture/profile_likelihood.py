"""Bounds of an estimate that comes of a mixture, over all mixtures that the rows do not reject.

An estimate p(theta) has a variance sigma^2(theta) were the mixture known; with
D(theta) = 2 (l(fitted) - l(theta)), what the rows have against theta, its bounds are

    the largest over theta of   +- p(theta) + sigma(theta) sqrt(z^2 - D(theta)).

Where l is a parabola and p is linear these are those of the delta method. Where components
overlap they are not: l bends within two deviations, and the delta method knows its curvature at
one end alone. Profile likelihood (Venzon and Moolgavkar 1988, "A method for computing
profile-likelihood-based confidence intervals") follows it; p takes no part in l, so that the
outcome does not change what the components are.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters

# What a Newton step would gain, doubled, at the maximum itself: EM stops a little before it.
_AT_MAXIMUM = 0.5
# Bounds of the delta method stand where, at the mixture it has them from, D and p are as it says,
# D up to this share of z^2, and p of the distance from the estimate.
_SAME_DIFFERENCE = 0.1
_SAME_DISTANCE = 0.02
# How far a step goes, in deviations of p; how often it is halved; how many there are.
_STEP = 0.8
_HALVINGS = 5
_STEPS = 12
# A step that gains less than this share of the distance is the last.
_GAIN = 5e-3


class Estimate(Protocol):
    """An estimate under a mixture."""

    @property
    def log_likelihood(self) -> float:
        """Of the rows that the mixture was fitted to."""

    @property
    def value(self) -> float: ...

    @property
    def variance(self) -> float:
        """Were the mixture the true one."""

    def slopes(self) -> Slopes: ...


@dataclass(frozen=True)
class Slopes:
    """How a log likelihood and an estimate change with a mixture, in P coordinates.

    covariance : (P, P) of the coordinates, were the mixture fitted
    gradient : (P,) of the log likelihood
    slope : (P,) of the estimate
    moved : the mixture changed by so much of each coordinate, (P,)
    """

    covariance: Array
    gradient: Array
    slope: Array
    moved: Callable[[Array], Parameters]


E = TypeVar("E", bound=Estimate)


def is_maximum(slopes: Slopes) -> bool:
    """Whether the mixture has the largest likelihood for the rows: whether it was fitted to them,
    and not to others, or more."""
    gradient = slopes.gradient
    return float(gradient @ slopes.covariance @ gradient) < _AT_MAXIMUM


def profile_bound(
    estimate: Callable[[Parameters], E | None], fitted: E, z: float, sign: int
) -> tuple[E, float] | None:
    """The mixture that the upper (`sign` 1) or lower (-1) bound is had from, and D there.

    Parameters
    ----------
    estimate : that under a mixture; None where there is none
    fitted : that under the fitted mixture
    z : the quantile of the normal distribution

    None where the bound of the delta method is as good, or nothing better is found.
    """

    def tried(move: Slopes, step: Array) -> tuple[E, float] | None:
        found = estimate(move.moved(step))
        if found is None:
            return None
        return found, 2 * (fitted.log_likelihood - found.log_likelihood)

    def reach(of: E, difference: float) -> float:
        return sign * of.value + float(np.sqrt(of.variance * max(z**2 - difference, 0.0)))

    start = fitted.slopes()
    towards, deviation, share = _direction(start, fitted, z, sign)
    if deviation == 0:
        return None
    distance = float(np.hypot(deviation, np.sqrt(fitted.variance))) * z
    linear = tried(start, share * towards)
    if linear is not None:
        off = abs(linear[1] - share**2), abs(linear[0].value - fitted.value) - share * deviation
        if off[0] <= _SAME_DIFFERENCE * z**2 and abs(off[1]) <= _SAME_DISTANCE * distance:
            return None
    at, difference, slopes = fitted, 0.0, start
    found: tuple[E, float] | None = None
    for _ in range(_STEPS):
        towards, deviation, share = _direction(slopes, at, z, sign)
        if deviation == 0:
            break
        # Back to the most likely mixture with this estimate, and on towards the bound.
        along = slopes.slope * (slopes.gradient @ towards) / (sign * deviation)
        back = slopes.covariance @ (slopes.gradient - along)
        left: float = max(difference - float(back @ (slopes.gradient - along)), 0.0)
        step = back + min(share - float(np.sqrt(left)), _STEP) * towards
        best = reach(at, difference)
        for _ in range(_HALVINGS):
            one = tried(slopes, step)
            if one is not None and one[1] < z**2 and reach(*one) > best:
                break
            step = step / 2
        else:
            break
        found = one
        at, difference = one
        if reach(at, difference) - best < _GAIN * distance:
            break
        slopes = at.slopes()
    return found


def _direction(slopes: Slopes, at: Estimate, z: float, sign: int) -> tuple[Array, float, float]:
    """The change of the mixture by which the estimate moves one deviation at the least loss of
    likelihood; that deviation; and how many of them its bound is away by the delta method."""
    towards = sign * (slopes.covariance @ slopes.slope)
    deviation = float(np.sqrt(max(float(slopes.slope @ towards) * sign, 0.0)))
    if deviation == 0:
        return towards, 0.0, 0.0
    share = z * deviation / float(np.hypot(deviation, np.sqrt(at.variance)))
    return towards / deviation, deviation, share
