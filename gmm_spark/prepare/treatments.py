"""What is done to a column that takes part: fitted to a sample, applied as SQL expressions.

An expression is of the raw column alone and of built-in functions, so that a row is prepared at
scoring as it was at training, wherever it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from gmm_spark.engine.dataframe import sql_name, text_literal
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.numerics import Array
from gmm_spark.prepare.columns import Column, kept_values
from gmm_spark.prepare.proposal import Role
from gmm_spark.prepare.settings import PreparationSettings
from gmm_spark.prepare.skew import Transform, chosen_transform, literal

OTHER = "(other)"
# A value that so many rows have, and so many times those of its neighbours, is a point mass, and
# the shape is that of the other values.
POINT_MASS, _STANDS_OUT = 0.1, 3
# Of fewer different values, the rows beside point masses show no shape.
_LEAST_VALUES = 10
# Fences: so many interquartile ranges beyond the quartiles, of the transformed values (Tukey's
# "far out").
_FENCE = 3.0


@dataclass(frozen=True)
class Prepared:
    """A prepared column: its name but for the suffix, its SQL expression, and what is said
    about it."""

    name: str
    sql: str
    role: str  # number, category, count
    treatment: str
    new_value: str
    null: str
    out_of_range: str

    def named(self, suffix: str) -> str:
        """Its name. One with backticks would be no name in an expression."""
        return f"{self.name}{suffix}".replace("`", "_")


def number_sql(name: str) -> str:
    """A column of numbers, or of numbers as text, as double: null where it is none."""
    return f"nanvl(try_cast({sql_name(name)} AS DOUBLE), CAST(NULL AS DOUBLE))"


def text_sql(name: str) -> str:
    """A column as text, without spaces around: null where it is blank."""
    return f"nullif(trim(CAST({sql_name(name)} AS STRING)), '')"


def days_sql(day: str) -> str:
    """A day as days from 1970-01-01, of type double."""
    return f"CAST(unix_date({day}) AS DOUBLE)"


@dataclass(frozen=True)
class Number:
    """A number: clipped at fences, transformed, and scaled to mean 0 and deviation 1."""

    transform: Transform
    low: float
    high: float
    centre: float
    scale: float
    clipped: int  # rows of the sample beyond the fences
    masses: tuple[tuple[float, float], ...] = ()  # values that many rows have, with their share

    def __call__(self, values: Array) -> Array:
        """As the SQL has it, of numbers (n,)."""
        return (self.transform(np.clip(values, self.low, self.high)) - self.centre) / self.scale

    def sql(self, x: str) -> str:
        ends = self(np.array([self.low, self.high]))
        inside = self.transform.sql(x)
        return (
            f"CASE WHEN {x} IS NULL THEN NULL "
            f"WHEN {x} <= {literal(self.low)} THEN {literal(ends[0])} "
            f"WHEN {x} >= {literal(self.high)} THEN {literal(ends[1])} "
            f"ELSE (({inside}) - {literal(self.centre)}) / {literal(self.scale)} END"
        )


def fitted_number(values: Array) -> Number:
    """The treatment of numbers (n,), none of them NaN, of at least two different values.

    A point mass, such as 0 in most of the rows, is left out of the choice of the transform and of
    the fences, and stays where it lies: with a category for every such column, segments spell out
    which rows lie on which. Fences are three interquartile ranges beyond the quartiles of the
    transformed values, or the lowest and highest value where none is beyond.
    """
    distinct, counts = np.unique(values, return_counts=True)
    is_mass = _point_masses(counts)
    usual, masses = values[~np.isin(values, distinct[is_mass])], distinct[is_mass]
    if np.unique(usual).size < _LEAST_VALUES:
        usual, masses = values, masses[:0]
    transform = chosen_transform(usual, float(distinct[0]))
    low, high = _fences(transform, usual, float(distinct[0]), float(distinct[-1]))
    transformed = transform(np.clip(values, low, high))
    centre, scale = float(transformed.mean()), float(transformed.std())
    return Number(
        transform,
        low,
        high,
        centre,
        scale if scale > 0 else 1.0,
        int(((values < low) | (values > high)).sum()),
        tuple((float(value), float((values == value).mean())) for value in masses),
    )


def _point_masses(counts: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which of the different values, by how often each is there, in their order, stand out: a tenth
    of the rows have it, and three times as many as either neighbour, as no smooth shape has."""
    around = np.maximum(np.append(counts[1:], 0), np.insert(counts[:-1], 0, 0))
    return (counts >= POINT_MASS * counts.sum()) & (counts >= _STANDS_OUT * around)


def _fences(
    transform: Transform, usual: Array, lowest: float, highest: float
) -> tuple[float, float]:
    quartiles = np.quantile(transform(usual), [0.25, 0.75])
    reach = _FENCE * (quartiles[1] - quartiles[0])
    if reach <= 0:
        return lowest, highest
    with np.errstate(over="ignore"):
        low, high = transform.inverse(np.array([quartiles[0] - reach, quartiles[1] + reach]))
    low = lowest if not np.isfinite(low) or low < lowest else float(f"{low:.3g}")
    high = highest if not np.isfinite(high) or high > highest else float(f"{high:.3g}")
    return max(low, lowest), min(high, highest)


def prepared_columns(
    column: Column, role: Role, settings: PreparationSettings, reference: int
) -> tuple[Prepared, ...]:
    """What a column becomes in its role; nothing where it is left out.

    `reference` is the date that dates are counted back from, in days from 1970-01-01.

    Raises InputDataError where the column does not suit a role that was said.
    """
    if not role.takes_part:
        return ()
    _check_suits(column, role)
    if role.role == "category":
        return (_category(column, settings.max_categories, role.same),)
    if role.role == "count":
        return (_count(column),)
    if role.role == "date":
        return (_date(column, reference),)
    return (_number(column, fitted_number(column.known), column.sql),)


def _check_suits(column: Column, role: Role) -> None:
    if column.known.size == 0:
        raise InputDataError(f"column {column.name!r} has no value that is known; leave it out")
    expected = {"number": "number", "count": "number", "date": "date"}.get(role.role)
    if expected is not None and column.kind != expected:
        shown = f", such as {column.texts[0]!r}" if column.kind == "text" else ""
        raise InputDataError(
            f"column {column.name!r} is to be a {role.role}, and holds {_HOLDS[column.kind]}"
            f"{shown}; convert it, name it in another list, or leave it out"
        )
    if (reason := column.out_of_reach) is not None and role.role != "category":
        raise InputDataError(f"column {column.name!r} holds {reason}")
    if role.role == "count" and (column.counts[0][0] < 0 or not column.whole):
        raise InputDataError(
            f"column {column.name!r} is to be a count, and holds {_no_count(column):g}; counts are "
            "whole numbers from 0 on"
        )


def infinite_values(column: Column, prepared: Prepared) -> str:
    """How many values of a column are infinite, and what they become."""
    become = {"number": prepared.out_of_range, "category": prepared.new_value, "count": "null"}
    return (
        f"{column.num_infinite:,} of {column.num_rows:,} rows are infinite; they become "
        f"{become[prepared.role]}: make them null where they are not known"
    )


_HOLDS = {"number": "numbers", "text": "text", "date": "dates", "none": "neither text nor numbers"}


def _no_count(column: Column) -> float:
    values = column.counts[0]
    return float(values[(values < 0) | (values != np.round(values))][0])


def _number(column: Column, found: Number, x: str, unit: str = "") -> Prepared:
    span = f"{found.low:g} to {found.high:g}{unit}"
    words = [found.transform.words() + unit]
    if found.masses:
        shares = " and ".join(f"{value:g} is in {share:.0%}" for value, share in found.masses)
        words.append(f"chosen without the rows of a point mass ({shares})")
    if column.num_infinite:
        words.append(f"{column.num_infinite:,} infinite values to the nearest of {span}")
    if found.clipped:
        words.append(f"clipped to {span} ({found.clipped / column.known.size:.2%} of the rows)")
    words.append("to mean 0 and standard deviation 1")
    beyond = f"the nearest of {span}"
    return Prepared(
        column.name, found.sql(x), "number", ", ".join(words), "taken as it is", "null", beyond
    )


def _date(column: Column, reference: int) -> Prepared:
    days = replace(column, values=reference - column.values)
    told = date.fromordinal(reference + date(1970, 1, 1).toordinal())
    x = f"({literal(reference)} - {column.sql})"
    return _number(days, fitted_number(days.known), x, f" of the days to {told}")


def _category(column: Column, most: int, same: Sequence[str]) -> Prepared:
    kept, others = kept_values(column, most, same)
    labels = [column.label(value) for value in kept]
    x = column.sql
    if column.kind == "number":
        keeping = " ".join(
            f"WHEN {x} = {_of(column, value)} THEN {text_literal(label)}"
            for value, label in zip(kept, labels, strict=True)
        )
    else:
        keeping = f"WHEN {x} IN ({', '.join(map(text_literal, labels))}) THEN {x}"
    gone = [value for value in column.counts[0] if column.label(value) in same]
    nulled = "".join(f"WHEN {x} = {_of(column, value)} THEN NULL " for value in gone)
    other = f"WHEN {x} IS NOT NULL THEN {text_literal(OTHER)} " if others else ""
    words = [f"{len(kept)} values told apart"]
    if others:
        words.append(f"{others} rarer ones together as {OTHER}")
    if same:
        words.append(f"{' and '.join(map(repr, same))} made null")
    new = OTHER if others else "null"
    sql = f"CASE {nulled}{keeping} {other}ELSE NULL END"
    return Prepared(column.name, sql, "category", ", ".join(words), new, "null", new)


def _of(column: Column, value: float) -> str:
    """A value of a category in SQL, as the column has it."""
    return literal(value) if column.kind == "number" else text_literal(column.label(value))


def _count(column: Column) -> Prepared:
    x = column.sql
    # Beyond, a double has no whole numbers of its own, and floor, which is asked last, overflows.
    whole = f"{x} >= 0 AND {x} < 9.0E15D AND {x} = floor({x})"
    sql = f"CASE WHEN {whole} THEN CAST({x} AS BIGINT) ELSE NULL END"
    off = "null where under 0 or not whole, else taken as it is"
    return Prepared(column.name, sql, "count", "taken as it is", "taken as it is", "null", off)
