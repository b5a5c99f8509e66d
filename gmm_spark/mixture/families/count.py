"""Counts: of every column a Poisson distribution.

T(x) has n and whether it is known, with theta log lambda and -lambda; what remains of the density,
-log n!, is the same for all components. First n of all columns, then which are known. A prior is a
gamma distribution: so much more is counted, in so many rows more.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.families.family import LEAST_PROBABILITY, Family, Range
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.odd_counts import odd_counts, usual_mean
from gmm_spark.mixture.sql import chosen, number, summed

# From here on float64 does not tell one whole number from the next.
MOST_COUNT = 2.0**53
# Below this, logarithms of factorials are looked up.
_SMALL_COUNTS = 1 << 14
_LOG_FACTORIALS = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, _SMALL_COUNTS)))])
_LARGEST_LOG_RATE = 50.0
# The log of a rate is above this, but that of 0.
_LEAST_LOG = -1000.0
# In SQL, where there is no table of logarithms of factorials, Stirling's series begins here. Its
# terms are B_2j / (2 j (2 j - 1) n^(2 j - 1)), B_2j Bernoulli's numbers; the first one left out is
# 2e-14 at most.
_STIRLING_FROM = 10
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
# The root of a count has a deviation of about a half, whatever its rate: a fifth of that.
_SAME_ROOT = 0.1


@dataclass(frozen=True)
class Count(Family):
    """Columns of whole numbers from 0 on; their parameters are rates (k, c), the means."""

    columns: int

    setting = "countCols"
    name = "counts"
    section = "rates"
    whole = True
    stored = "rate"
    format_version = 2
    stored_range = "logValues", "leastCounts"
    can_vanish = True
    refusal = (
        "hold no count (the first: {value:g}); counts are whole numbers from 0 on, under 2^53: "
        "correct them, or name the column in inputCols"
    )

    @property
    def num_columns(self) -> int:
        return self.columns

    @property
    def num_features(self) -> int:
        return 2 * self.columns

    @property
    def num_parameters(self) -> int:
        return self.columns

    @property
    def num_free_parameters(self) -> int:
        return self.columns

    def fill(self, values: Array, features: Array) -> Array | None:
        known = ~np.isnan(values)
        present = np.where(known, values, 0.0)
        features[: self.columns], features[self.columns :] = present, known
        return np.asarray(-log_factorial(present).sum(axis=0))

    def natural(self, parameters: Array) -> Array:
        return np.concatenate([np.log(parameters), -parameters], axis=1)

    def m_step(self, sums: Array, prior: Array, previous: Array, alive: NDArray[np.bool_]) -> Array:
        events, exposures = self._parts(sums)
        more_events, more_exposures = self._parts(prior)
        exposures = exposures + more_exposures
        known = alive[:, None] & (exposures > 0)
        rates = np.maximum(events, 0.0) + more_events
        return np.where(known, rates / np.where(known, exposures, 1.0), previous)

    def _parts(self, sums: Array) -> tuple[Array, Array]:
        """Sums of n, and of what is known, of features (..., 2 c)."""
        return sums[..., : self.columns], sums[..., self.columns :]

    def unit(self) -> Array:
        return np.ones(self.columns)

    def prior(self, values: Array, weights: Array | None) -> Array:
        """The means of usual counts, each in one row."""
        means = [usual_mean(row, weights) for row in values]
        return np.array([*means, *np.ones(self.columns)])

    def log_prior(self, parameters: Array, prior: Array) -> float:
        events, exposures = self._parts(prior)
        if not exposures.any():
            return 0.0
        rates = np.maximum(parameters, 1e-300)
        return float((np.log(rates) @ events - exposures[0] * rates.sum(axis=1)).sum())

    def flat(self, parameters: Array) -> Array:
        return np.log(np.maximum(parameters, LEAST_PROBABILITY))

    def unflat(self, flat: Array) -> Array:
        return np.exp(np.minimum(flat, _LARGEST_LOG_RATE))

    def metric(self, parameters: Array) -> Array:
        return np.sqrt(parameters)

    def same_optimum(self, one: Array, other: Array) -> bool:
        return bool(np.abs(np.sqrt(one) - np.sqrt(other)).max(initial=0.0) < _SAME_ROOT)

    def coordinates(self, values: Array) -> Array:
        """Twice the roots of counts, whose deviation is about one whatever the rate; gaps are
        0."""
        roots = 2 * np.sqrt(values)
        for row in roots:
            known = ~np.isnan(row)
            row -= row[known].mean() if known.any() else 0.0
        return np.nan_to_num(roots)

    def at_rows(self, values: Array, whole: Array) -> Array:
        drawn = values.T
        return np.where(np.isnan(drawn), whole, (whole + drawn) / 2)

    def overall(self, sums: Array) -> Array:
        events, exposures = self._parts(sums)
        total = exposures.sum(axis=0)
        return np.asarray(events.sum(axis=0) / np.maximum(total, np.finfo(float).tiny))

    def promise(self, parameters: Array, sums: Array, overall: Array, least: float) -> Array:
        events, exposures = self._parts(sums)
        rates = np.maximum(parameters, least)
        return np.asarray((events / rates - exposures) * overall)

    def at_least(self, parameters: Array, least: Array) -> Array:
        return np.where(parameters < least, least, parameters)

    def range_of(self, lowest: Array, highest: Array) -> Range:
        return Range(np.log(highest - lowest + 1), lowest)

    def uniform(self, range: Range) -> Array:
        return np.concatenate([np.zeros(self.columns), -range.log_sizes])

    def draw(
        self, parameters: Array, component: NDArray[np.intp], rng: np.random.Generator
    ) -> Array:
        rates = np.vstack([parameters, np.zeros((1, self.columns))])
        return rng.poisson(rates[component].T).astype(float)

    def draw_uniform(self, range: Range, n: int, rng: np.random.Generator) -> Array | None:
        assert range.lowest is not None
        uniform = rng.random((self.columns, n))
        places = np.floor(np.exp(range.log_sizes)[:, None] * uniform + 1e-9)
        return np.asarray(range.lowest[:, None] + places)

    def expected(
        self, parameters: Array, column: int, responsibilities: Array
    ) -> tuple[Array, Array]:
        """The mean, and its standard deviation."""
        rates = parameters[:, column]
        mean = rates @ responsibilities
        variance = (rates + rates**2) @ responsibilities - mean**2
        return mean, np.sqrt(np.maximum(variance, 0.0))

    def drawn(
        self,
        parameters: Array,
        column: int,
        component: NDArray[np.intp],
        rng: np.random.Generator,
    ) -> Array:
        return rng.poisson(parameters[component, column]).astype(float)

    def log_probabilities(self, parameters: Array, values: Array) -> Array:
        known = ~np.isnan(values)
        counts, rates = np.where(known, values, 0.0), parameters[:, :, None]
        with np.errstate(divide="ignore"):
            logs = np.log(rates)
        events = counts * np.where(counts > 0, logs, 0.0)
        return np.asarray(np.where(known, events - rates - log_factorial(counts), 0.0))

    def modes(self, parameters: Array) -> Array:
        return np.floor(parameters)

    def mean_coordinates(self, values: Array) -> Array:
        return np.array(values)

    def covariances_along(self, parameters: Array, directions: Array) -> Array:
        return np.asarray(np.einsum("kc,cr,cs->krs", parameters, directions, directions))

    def sql(self, natural: Array, names: Sequence[str]) -> str:
        logs, known = natural[: self.columns], natural[self.columns :]
        return summed([_linear_sql(*each) for each in zip(names, logs, known, strict=True)])

    def sql_beside(self, names: Sequence[str]) -> str | None:
        return summed([f"({_log_factorial_sql(name)}) * -1e0" for name in names])

    def sql_refused(self, name: str) -> str | None:
        most = number(MOST_COUNT)
        return f"{name} < 0e0 OR {name} <> FLOOR({name}) OR {name} >= {most}"

    def log_bhattacharyya(self, one: Array, others: Array) -> Array:
        return np.asarray(-((np.sqrt(one) - np.sqrt(others)) ** 2).sum(axis=1) / 2)

    def refused(self, values: Array) -> NDArray[np.bool_]:
        return np.asarray((values < 0) | (values % 1 > 0) | (values >= MOST_COUNT))

    def warning(
        self, name: str, values: Array, weights: Array | None, highest: float, rows: int
    ) -> str | None:
        odd = odd_counts(values, weights, highest, rows)
        if odd is None:
            return None
        part = f" ({100 * odd.share:.2g} % of rows)" if odd.share else ""
        return (
            f"odd_count: {name} holds {odd.value:.0f}{part}, the others are {odd.usual:.0f} at "
            "most; if it stands for something else, put null there and set missing='marginalize'"
        )

    def problem(self, parameters: Array) -> str | None:
        if (
            parameters.shape[1] != self.columns
            or not (np.isfinite(parameters) & (parameters >= 0)).all()
        ):
            return "rates of counts must be finite and at least 0"
        return None

    @classmethod
    def sized(cls, num_parameters: int, levels: Sequence[int]) -> Count:
        return cls(num_parameters)

    def of_columns(self, parameters: Array, columns: NDArray[np.intp]) -> Array:
        return parameters[:, columns]

    def described(
        self, parameters: Array, names: Sequence[str], levels: Sequence[Sequence[str]]
    ) -> list[dict[str, Any]]:
        return [dict(zip(names, row, strict=True)) for row in parameters.tolist()]

    @staticmethod
    def said(name: str, described: Any) -> Mapping[str, Any]:
        return {f"{name}_rate": described}


def log_factorial(counts: Array) -> Array:
    """log n! of whole numbers, as floats of any shape; of large ones by Stirling's series."""
    small = counts < _SMALL_COUNTS
    found = _LOG_FACTORIALS[np.where(small, counts, 0).astype(np.intp)]
    if not small.all():
        n = counts[~small]
        found[~small] = n * np.log(n) - n + 0.5 * np.log(2 * np.pi * n) + 1 / (12 * n)
    return np.asarray(found)


def _linear_sql(name: str, log_rate: float, known: float) -> str:
    """log rate times a count, less the rate, where the count is known."""
    if log_rate > _LEAST_LOG:
        part = f"{number(log_rate)} * {name} + {number(known)}"
    else:  # the rate is 0
        part = f"CASE WHEN {name} > 0e0 THEN {number(log_rate)} ELSE {number(known)} END"
    return f"COALESCE({part}, {number(0.0)})"


def _log_factorial_sql(name: str) -> str:
    """log n! as an SQL expression, 0 where n is not known."""
    series = number(_STIRLING[-1])
    for term in _STIRLING[-2::-1]:
        series = f"{number(term)} + POWER({name}, -2) * ({series})"
    half = number(0.5 * np.log(2 * np.pi))
    large = f"({name} + 5e-1) * LN({name}) - {name} + {half} + POWER({name}, -1) * ({series})"
    small = chosen(name, _LOG_FACTORIALS[:_STIRLING_FROM].tolist(), number(0.0))
    return f"CASE WHEN {name} >= {number(_STIRLING_FROM)} THEN {large} ELSE {small} END"
