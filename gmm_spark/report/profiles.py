"""What the rows of each segment are like: means, rates and shares, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.engine.dataframe import quoted
from gmm_spark.mixture.outcomes import Z

_YES = frozenset({"yes", "y", "true", "t", "1"})
_NO = frozenset({"no", "n", "false", "f", "0"})
# Of text, so many of the most frequent values have a rate.
_VALUES = 20


ALL = "all"


@dataclass(frozen=True)
class Outcome:
    """Something a segment is profiled by: its name, and how a table gives it."""

    name: str
    column: Column
    kind: T.DataType

    @property
    def is_text(self) -> bool:
        return isinstance(self.kind, T.StringType)


def can_be_profiled(kind: T.DataType) -> bool:
    """Whether a column of this type has a mean, a rate, or values to count."""
    return isinstance(kind, T.NumericType | T.BooleanType | T.StringType)


def wilson(share: float, rows: int) -> tuple[float, float]:
    """The 95 % interval of a rate that was `share` among so many rows (Wilson 1927)."""
    spread = Z**2 / rows
    middle = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / rows + spread / (4 * rows))
    # Where none or all of the rows have it the interval ends there, which rounding may miss.
    low = 0.0 if share == 0 else middle - half
    high = 1.0 if share == 1 else middle + half
    return low, high


def normal(mean: float, deviation: float, rows: int) -> tuple[float, float]:
    """The 95 % interval of a mean, by the standard deviation of so many rows."""
    half = Z * deviation / math.sqrt(rows)
    return mean - half, mean + half


def profile(
    frame: DataFrame,
    prediction: str,
    uncertainty: str,
    means: Sequence[str],
    outcomes: Sequence[Outcome],
) -> list[dict[str, Any]]:
    """A dictionary a segment of the scored rows in `frame`, by number (None, the rows without a
    segment, last), and one of all the rows at the end.

    segment, rows, mean_uncertainty
    means, standard_deviations : of the columns in `means`, and of outcomes that are no text
    profile : by outcome, its `kind` and `rows`, those with a value. A mean and a rate have
        `value`, `low` and `high`, a 95 % interval: a rate is that of true, 1, or yes. Of text with
        other values, `values` has the rate of each of the most frequent, most frequent first, and
        `other_values` says how many more there are
    """
    numeric = [outcome for outcome in outcomes if not outcome.is_text]
    texts = [outcome for outcome in outcomes if outcome.is_text]
    measured = [(name, quoted(name)) for name in means]
    measured += [(outcome.name, outcome.column) for outcome in numeric]
    aggregates = [F.count(F.lit(1)).alias("rows"), F.avg(uncertainty).alias("uncertainty")]
    for i, (_, column) in enumerate(measured):
        value = F.nullif(column.cast("double"), F.lit(math.nan))  # a gap, too
        aggregates += [
            F.count(value).alias(f"rows_{i}"),
            F.avg(value).alias(f"mean_{i}"),
            F.stddev_samp(value).alias(f"deviation_{i}"),
            F.count_if(value.isin(0.0, 1.0)).alias(f"flags_{i}"),
        ]
    aggregates += [F.count(one.column).alias(f"text_{i}") for i, one in enumerate(texts)]
    order = quoted(prediction).asc_nulls_last()
    found = frame.groupBy(prediction).agg(*aggregates).orderBy(order).collect()
    segments = [row[prediction] for row in found]
    moments = [_Moments.of(row, len(measured)) for row in found]
    moments.append(_Moments.together(moments, len(measured)))
    counted = []
    for i, outcome in enumerate(texts):
        rows = [row[f"text_{i}"] for row in found]
        counted.append(_counted(frame, prediction, segments, outcome, [*rows, sum(rows)]))

    profiles = []
    for place, (segment, own) in enumerate(zip([*segments, ALL], moments, strict=True)):
        by_name = {one.name: c.summary(place) for one, c in zip(texts, counted, strict=True)}
        for i, outcome in enumerate(numeric, len(means)):
            all_flags = moments[-1].flags[i] == moments[-1].counts[i] > 0
            is_rate = isinstance(outcome.kind, T.BooleanType) or all_flags
            by_name[outcome.name] = own.summary(i, is_rate)
        names = [name for name, _ in measured]
        profiles.append(
            {
                "segment": segment,
                "rows": own.rows,
                "mean_uncertainty": own.uncertainty,
                "means": dict(zip(names, own.means, strict=True)),
                "standard_deviations": {n: own.deviation(i) for i, n in enumerate(names)},
                "profile": {outcome.name: by_name[outcome.name] for outcome in outcomes},
            }
        )
    return profiles


@dataclass(frozen=True)
class _Moments:
    """Of the rows of a segment: how many, and of every column count, mean and squares about it."""

    rows: int
    uncertainty: float | None
    counts: list[int]
    means: list[float | None]
    squares: list[float]
    flags: list[int]

    @staticmethod
    def of(row: Row, columns: int) -> _Moments:
        counts = [row[f"rows_{i}"] for i in range(columns)]
        return _Moments(
            row["rows"],
            row["uncertainty"],
            counts,
            [row[f"mean_{i}"] for i in range(columns)],
            # The deviation of one row is null.
            [(row[f"deviation_{i}"] or 0.0) ** 2 * max(0, n - 1) for i, n in enumerate(counts)],
            [row[f"flags_{i}"] for i in range(columns)],
        )

    @staticmethod
    def together(parts: Sequence[_Moments], columns: int) -> _Moments:
        """Of all the rows (Chan, Golub and LeVeque 1979)."""
        rows = sum(part.rows for part in parts)
        scored = [part for part in parts if part.uncertainty is not None]
        uncertainty = _mean([(part.rows, part.uncertainty) for part in scored])
        counts, means, squares, flags = [], [], [], []
        for i in range(columns):
            mean = _mean([(part.counts[i], part.means[i]) for part in parts])
            between = [
                n * (own - mean) ** 2
                for part in parts
                if (n := part.counts[i]) and (own := part.means[i]) is not None and mean is not None
            ]
            counts.append(sum(part.counts[i] for part in parts))
            means.append(mean)
            squares.append(sum(part.squares[i] for part in parts) + sum(between))
            flags.append(sum(part.flags[i] for part in parts))
        return _Moments(rows, uncertainty, counts, means, squares, flags)

    def deviation(self, i: int) -> float | None:
        n = self.counts[i]
        return math.sqrt(self.squares[i] / (n - 1)) if n > 1 else None

    def summary(self, i: int, is_rate: bool) -> dict[str, Any]:
        n, mean, deviation = self.counts[i], self.means[i], self.deviation(i)
        if is_rate:
            return {"kind": "rate", **_rate(None if mean is None else n * mean, n)}
        low = high = None
        if mean is not None and deviation is not None:
            low, high = normal(mean, deviation, n)
        return {"kind": "mean", "rows": n, "value": mean, "low": low, "high": high}


def _mean(parts: Sequence[tuple[int, float | None]]) -> float | None:
    known = [(n, mean) for n, mean in parts if n and mean is not None]
    total = sum(n for n, _ in known)
    return sum(n * mean for n, mean in known) / total if total else None


def _rate(having: float | None, rows: int) -> dict[str, Any]:
    if having is None or not rows:
        return {"rows": rows, "value": None, "low": None, "high": None}
    low, high = wilson(min(1.0, having / rows), rows)
    return {"rows": rows, "value": having / rows, "low": low, "high": high}


@dataclass(frozen=True)
class _Counted:
    """The most frequent values of a text, and the rows of each by segment and, last, of all."""

    values: list[str]
    counts: list[list[int]]  # of a value
    rows: list[int]  # with any value
    other_values: int

    def summary(self, place: int) -> dict[str, Any]:
        rows = self.rows[place]
        meanings = [value.strip().lower() for value in self.values]
        if self.other_values == 0 and self.values and set(meanings) <= _YES | _NO:
            yes = [c[place] for m, c in zip(meanings, self.counts, strict=True) if m in _YES]
            return {"kind": "rate", **_rate(sum(yes), rows)}
        rates = [
            {"value": value, "count": counts[place], "rate": found["value"]}
            | {"low": found["low"], "high": found["high"]}
            for value, counts in zip(self.values, self.counts, strict=True)
            for found in [_rate(counts[place], rows)]
        ]
        return {"kind": "values", "rows": rows, "values": rates, "other_values": self.other_values}


def _counted(
    frame: DataFrame,
    prediction: str,
    segments: Sequence[int | None],
    outcome: Outcome,
    rows: list[int],
) -> _Counted:
    """A pass over a column of text; of any number of values, few come back."""
    predicted = quoted(prediction)
    of_segments = [
        F.count_if(predicted.eqNullSafe(F.lit(segment).cast("int"))).alias(f"rows_{i}")
        for i, segment in enumerate(segments)
    ]
    by_value = (
        frame.select(outcome.column.alias("value"), predicted.alias(prediction))
        .where(F.col("value").isNotNull())
        .groupBy("value")
        .agg(F.count(F.lit(1)).alias("rows"), *of_segments)
    )
    found = by_value.orderBy(F.desc("rows"), "value").limit(_VALUES + 1).collect()
    others = by_value.count() - _VALUES if len(found) > _VALUES else 0
    found = found[:_VALUES]
    counts = [[*(row[f"rows_{i}"] for i in range(len(segments))), row["rows"]] for row in found]
    return _Counted([row["value"] for row in found], counts, rows, others)
