"""Transforms that make a skewed column nearly normal: identity, logarithm, Yeo and Johnson's.

Which one a column gets is chosen by the profile likelihood of one normal distribution of the
transformed values, with the Jacobian of the transform (Box and Cox 1964).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gmm_spark.mixture.numerics import Array

Form = Literal["identity", "log", "yeo-johnson"]
# Nats a row by which a transform has to be more likely than a simpler one to be taken.
_WORTH = 0.05
# Of Yeo and Johnson's power, where no value is under 0, and where some are: with others the
# transform has a bound, and large values that differ much would hardly differ.
_POWERS, _POWERS_OF_BOTH_SIGNS = (0.0, 4.0), (0.0, 2.0)
# Under so many different values there is no shape to see.
_LEAST_VALUES = 10


@dataclass(frozen=True)
class Transform:
    """An increasing function of a number.

    identity: x. log: log(x + shift). yeo-johnson: Yeo and Johnson (2000) of x / scale, with the
    power lambda.
    """

    form: Form = "identity"
    shift: float = 0.0
    power: float = 1.0
    scale: float = 1.0

    def __call__(self, values: Array) -> Array:
        """The transformed values; NaN stays NaN."""
        if self.form == "identity":
            return np.asarray(values, dtype=float)
        if self.form == "log":
            return np.asarray(np.log(values + self.shift))
        return yeo_johnson(values / self.scale, self.power)

    def inverse(self, values: Array) -> Array:
        """The numbers that have these transformed values; infinite beyond the function's range."""
        if self.form == "identity":
            return np.asarray(values, dtype=float)
        if self.form == "log":
            return np.asarray(np.exp(values) - self.shift)
        return _inverse_yeo_johnson(values, self.power) * self.scale

    def sql(self, x: str) -> str:
        """The same as a Spark SQL expression of the expression x."""
        if self.form == "identity":
            return x
        if self.form == "log":
            return f"ln({x} + {literal(self.shift)})" if self.shift else f"ln({x})"
        u = x if self.scale == 1 else f"{x} / {literal(self.scale)}"
        above = _power_sql(f"1 + {u}", self.power)
        below = _power_sql(f"1 - {u}", 2 - self.power)
        return f"CASE WHEN {x} >= 0 THEN {above} ELSE -{below} END"

    def words(self) -> str:
        """What is done, for a person."""
        if self.form == "identity":
            return "as it is"
        if self.form == "log":
            return f"logarithm of the value + {self.shift:g}" if self.shift else "logarithm"
        of = "" if self.scale == 1 else f" of the value / {self.scale:g}"
        return f"Yeo-Johnson transform{of}, lambda {self.power:.3g}"


def literal(value: float) -> str:
    """A number as a literal of type double, with all its digits."""
    return f"{float(value)!r}D"


def _power_sql(base: str, power: float) -> str:
    """(base^power - 1) / power, the logarithm for the power 0."""
    if power == 0:
        return f"ln({base})"
    return f"((power({base}, {literal(power)}) - 1) / {literal(power)})"


def yeo_johnson(values: Array, power: float) -> Array:
    """Yeo and Johnson's (2000) transform: Box and Cox's of 1 + x from 0 on, with its mirror image,
    of the power 2 - lambda, below."""
    above = np.maximum(values, 0.0)  # NaN stays
    below = np.maximum(-values, 0.0)
    return np.asarray(_box_cox(1 + above, power) - _box_cox(1 + below, 2 - power))


def _box_cox(base: Array, power: float) -> Array:
    return np.asarray(np.log(base) if power == 0 else np.expm1(power * np.log(base)) / power)


def _inverse_yeo_johnson(values: Array, power: float) -> Array:
    above = _inverse_box_cox(np.maximum(values, 0.0), power)
    below = _inverse_box_cox(np.maximum(-values, 0.0), 2 - power)
    return np.asarray((above - 1) - (below - 1))


def _inverse_box_cox(values: Array, power: float) -> Array:
    if power == 0:
        return np.asarray(np.exp(values))
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.maximum(1 + power * values, 0.0)
        return np.asarray(np.where(np.isnan(values), np.nan, inside ** (1 / power)))


def log_likelihood(values: Array, transform: Transform) -> float:
    """Mean log-likelihood a value, of the normal distribution that fits the transformed values
    best, for the values as they were: with the log of the transform's derivative."""
    transformed = transform(values)
    variance = float(transformed.var())
    if not np.isfinite(variance) or variance <= 0:
        return -np.inf
    if transform.form == "log":
        jacobian = -np.log(values + transform.shift)
    elif transform.form == "yeo-johnson":
        u = values / transform.scale
        jacobian = (transform.power - 1) * np.sign(u) * np.log1p(np.abs(u))
        jacobian = jacobian - np.log(transform.scale)
    else:
        jacobian = np.zeros(1)
    return float(-0.5 * np.log(2 * np.pi * np.e * variance) + jacobian.mean())


def chosen_transform(values: Array, lowest: float) -> Transform:
    """The transform for values (n,), none of them NaN, by profile likelihood; `lowest` is the
    lowest that it has to be defined for.

    The simplest that is within 0.05 nats a row of the more flexible ones: identity; the logarithm,
    where no value is under 0; Yeo and Johnson's. Where 0 occurs, the logarithm is of the value + 1
    for whole numbers, else + a number near the 5 % quantile of those above 0.
    """
    distinct = np.unique(values)
    if distinct.size < _LEAST_VALUES:
        return Transform()
    candidates = [Transform()]
    if lowest > 0:
        candidates.append(Transform("log"))
    elif lowest == 0:
        whole = bool(np.all(distinct == np.round(distinct)))
        shift = 1.0 if whole else one_digit(float(np.quantile(values[values > 0], 0.05)))
        candidates.append(Transform("log", shift=shift))
    candidates.append(_best_yeo_johnson(values))
    best, gained = candidates[0], log_likelihood(values, candidates[0])
    for other in candidates[1:]:
        found = log_likelihood(values, other)
        if found > gained + _WORTH:
            best, gained = other, found
    return best


def _best_yeo_johnson(values: Array) -> Transform:
    from scipy.optimize import minimize_scalar

    scale = one_digit(float(values.std()))

    def cost(power: float) -> float:
        found = -log_likelihood(values, Transform("yeo-johnson", power=power, scale=scale))
        return found if np.isfinite(found) else 1e300

    powers = _POWERS if values.min() >= 0 else _POWERS_OF_BOTH_SIGNS
    found = minimize_scalar(cost, bounds=powers, method="bounded", options={"xatol": 1e-4})
    power = round(float(found.x), 3)
    if power == 0 and values.min() >= 0:  # it is a logarithm
        return Transform("log", shift=scale)
    return Transform("yeo-johnson", power=power, scale=scale)


def one_digit(value: float) -> float:
    """A number above 0, rounded to its first digit: what people can read."""
    return float(f"{value:.0e}")
