"""The outcome segments are to tell apart: a boolean or a number, made of a column or an expression;
and what must be no input beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.engine.dataframe import quoted, same_names, sql_name, text_literal
from gmm_spark.engine.distinct import all_differ
from gmm_spark.errors import ConfigurationError, InputDataError, NoRowsError
from gmm_spark.expressions import column_name, expression_name, without_name
from gmm_spark.mixture.numerics import Array
from gmm_spark.prepare.columns import Column
from gmm_spark.prepare.inputs import sql_of
from gmm_spark.prepare.scan import sampled

YES = frozenset({"yes", "y", "true", "t", "1", "1.0"})
NO = frozenset({"no", "n", "false", "f", "0", "0.0"})
# Values of a text that are told where it is not clear which is meant.
_TOLD = 5
# A column that says so much of the outcome's entropy gives it away.
_GIVES_AWAY = 0.9
# Rows of either outcome, and of a category, under which nothing can be said.
_LEAST_ROWS = 5
# Numbers are cut at quantiles of either outcome, a border between the two among them: the more the
# more rows the rarer one has.
_FEWEST_CUTS, _MOST_CUTS, _ROWS_PER_CUT = 4, 20, 10
# Values that are taken one by one.
_FEW_VALUES = 50


def with_outcome(df: DataFrame, outcome: str) -> tuple[DataFrame, str]:
    """The table with its outcome as a boolean or a number, and the outcome's name.

    `outcome` is a column or an SQL expression, best with a name, "status = 'left' as left".
    Booleans stay, 0 and 1 and words of yes and no ('Yes', 'True.', '1') become booleans, other
    numbers doubles. Where there is a column of the name the outcome takes its place. Blank, null
    and NaN are not known.

    Raises ConfigurationError where it cannot be read; InputDataError for an outcome of one value or
    none, or of another type, and for values of which it is not clear what is meant, with the
    expression to write.
    """
    sql = sql_of(df, "outcome", outcome)
    name = outcome if outcome in df.columns else expression_name(outcome)
    if name is None:
        name = (same_names(outcome, df.columns) or ["outcome"])[0]
        if name == "outcome" and same_names(name, df.columns) and sql != sql_name(name):
            raise ConfigurationError(
                f"outcome: found {outcome!r} without a name, and a column 'outcome'; name it, as "
                f"in '{outcome} as left'"
            )
    values = df.select(F.expr(sql).alias("value"))
    kind = values.schema["value"].dataType
    if isinstance(kind, T.BooleanType):
        _check_values(outcome, values, _counted(values))
        made = sql
    elif isinstance(kind, T.NumericType):
        made = _number(outcome, sql, values)
    elif isinstance(kind, T.StringType):
        made = _text(outcome, sql, values)
    else:
        cure = f'say what is meant, as in "{_shown(sql)} is not null as left"'
        raise InputDataError(
            f"outcome: {outcome!r} has type {kind.simpleString()}; an outcome is a boolean, a "
            f"number, or a text of yes and no: {cure}"
        )
    added = F.expr(made).alias(name)
    if not same_names(name, df.columns):
        return df.select("*", added), name
    return df.select(*(added if c.lower() == name.lower() else quoted(c) for c in df.columns)), name


def outcome_columns(df: DataFrame, outcome: str) -> list[str]:
    """The columns of the table that an outcome is made of: they must be no inputs."""
    if outcome in df.columns:
        return [outcome]
    # Texts in quotes, then names in backticks or plain.
    words = re.findall(
        r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`(?:[^`]|``)+`|\w+", without_name(outcome)
    )
    # A text keeps its quotes, and is no name.
    named = (w[1:-1].replace("``", "`") if w[0] == "`" else w for w in words)
    lower = {name.lower() for name in named}
    return [name for name in df.columns if name.lower() in lower]


def _counted(values: DataFrame) -> list[Row]:
    """The commonest values, which are known, and in how many rows."""
    counts = values.where("value IS NOT NULL").groupBy("value").count()
    return counts.orderBy(F.desc("count"), "value").limit(_TOLD + 1).collect()


def _check_values(outcome: str, values: DataFrame, counts: Sequence[Row]) -> None:
    """Raise InputDataError for no value, or one."""
    if not counts and values.isEmpty():
        raise NoRowsError("the data have no rows; segments need some to be found in")
    if not counts:
        raise InputDataError(
            f"outcome: {outcome!r} is null in all rows; without an outcome leave the setting out"
        )
    if len(counts) == 1:
        raise _one_value(outcome, counts[0]["count"], counts[0]["value"])


def _one_value(outcome: str, rows: int, value: Any) -> InputDataError:
    return InputDataError(
        f"outcome: all {rows:,} rows of {outcome!r} with a value have {value!r}; segments differ "
        "only in an outcome that differs between rows"
    )


def _number(outcome: str, sql: str, values: DataFrame) -> str:
    value = F.nullif(F.col("value").cast("double"), F.lit(float("nan")))
    numbers = values.select(value.alias("value"))
    found = numbers.agg(
        F.count("value").alias("known"),
        F.count_if(F.abs("value") == float("inf")).alias("infinite"),
        F.count_if(~F.col("value").isin(0.0, 1.0)).alias("others"),
        F.min("value").alias("low"),
        F.max("value").alias("high"),
    ).first()
    assert found is not None
    if found["infinite"]:
        raise InputDataError(
            f"outcome: {found['infinite']:,} rows of {outcome!r} are infinite; mend them, or make "
            "them null"
        )
    low, high = found["low"], found["high"]
    if not found["known"]:
        _check_values(outcome, values, [])
    if low == high:
        raise _one_value(outcome, found["known"], low)
    if not found["others"]:
        return f"nanvl(CAST({sql} AS DOUBLE), CAST(NULL AS DOUBLE)) = 1"
    if not numbers.where(~F.col("value").isin(low, high)).isEmpty():
        return f"nanvl(CAST({sql} AS DOUBLE), CAST(NULL AS DOUBLE))"
    raise InputDataError(
        f"outcome: {outcome!r} has two values, {low:g} and {high:g}; say which is meant, as in "
        f'"{_shown(sql)} = {high:g} as {_new_name(outcome)}"'
    )


def _text(outcome: str, sql: str, values: DataFrame) -> str:
    texts = values.select(F.nullif(F.trim("value"), F.lit("")).alias("value"))
    counts = _counted(texts)
    _check_values(outcome, values, counts)
    words = {row["value"].rstrip(".").lower() for row in counts}
    if len(counts) <= _TOLD and words <= YES | NO and words & YES and words & NO:
        word = f"trim(TRAILING '.' FROM lower(trim({sql})))"
        yes, no = (", ".join(f"'{each}'" for each in sorted(known)) for known in (YES, NO))
        return f"CASE WHEN {word} IN ({yes}) THEN true WHEN {word} IN ({no}) THEN false END"
    told = [f"{row['value']!r} ({row['count']:,} rows)" for row in counts[:_TOLD]]
    more = ", ..." if len(counts) > _TOLD else ""
    literal = text_literal(counts[-1 if len(counts) == 2 else 0]["value"])
    raise InputDataError(
        f"outcome: {outcome!r} has the values {', '.join(told)}{more}; say which is meant, as in "
        f'"{_shown(sql)} = {literal} as {_new_name(outcome)}"'
    )


def _shown(sql: str) -> str:
    """A column's name without the backticks it does not need."""
    return sql[1:-1] if re.fullmatch(r"`[A-Za-z_]\w*`", sql) else sql


def _new_name(outcome: str) -> str:
    """A name for an expression of the column."""
    return re.sub(r"\W+", "_", column_name(outcome)).strip("_").lower() or "left"


def refuse_inputs(reasons: Mapping[str, str], inputs: Iterable[str]) -> None:
    """Raise ConfigurationError for an input that must be none, with its reason."""
    for name in inputs:
        if name in reasons:
            raise ConfigurationError(
                f"columns: found {name!r}, which {reasons[name]}: segments made of it say what is "
                "known already; leave it out"
            )


@dataclass(frozen=True)
class Giveaway:
    """A column that gives the outcome away: it is of the outcome, or known only after it."""

    name: str
    reason: str


def giveaways(df: DataFrame, outcome: str, columns: Sequence[str], seed: int = 0) -> list[Giveaway]:
    """Of these columns those that tell the outcome nearly alone, such as a date of leaving that is
    null for who stays.

    `outcome` is a boolean or a number, as `with_outcome` makes it. On a sample of 20,000 rows: a
    column gives the outcome away where the mutual information of the two is nine tenths of the
    outcome's entropy; its gaps are a value too. An outcome that is a number is cut at its median.
    """
    return giveaways_among(*sampled(df, [outcome, *columns], seed))


def giveaways_among(outcome: Column, *columns: Column) -> list[Giveaway]:
    """As `giveaways`, of columns that are sampled already, with the outcome."""
    labels = _labels(outcome)
    there = labels >= 0
    if min(np.bincount(labels[there], minlength=2)) < _LEAST_ROWS:
        return []
    found = []
    for column in columns:
        reason = _gives_away(column, labels[there], there, outcome.name)
        if reason is not None:
            found.append(Giveaway(column.name, reason))
    return found


def _labels(outcome: Column) -> NDArray[np.intp]:
    """(n,) 0 or 1 by the outcome; -1 where it is not known."""
    values = outcome.values
    if outcome.kind == "text":  # of booleans: false before true
        is_high = values == len(outcome.texts) - 1
    else:
        middle = np.median(outcome.known) if outcome.known.size else 0.0
        is_high = values > middle
        if not is_high.any():
            is_high = values >= middle
    return np.where(np.isnan(values), -1, is_high.astype(np.intp))


def _gives_away(
    column: Column, labels: NDArray[np.intp], there: NDArray[np.bool_], outcome: str
) -> str | None:
    values = column.values[there]
    gaps = np.isnan(values)
    if _explained(gaps.astype(np.intp), labels) >= _GIVES_AWAY:
        one, other = (float(gaps[labels == label].mean()) for label in (0, 1))
        which = "false or low" if one > other else "true or high"
        return (
            f"is null in {max(one, other):.1%} of the rows where {outcome} is {which}, and in "
            f"{min(one, other):.1%} of the others"
        )
    share = _explained(_cells(column, values, labels), labels)
    return f"tells {outcome} by itself ({share:.0%} of it)" if share >= _GIVES_AWAY else None


def _cells(column: Column, values: Array, labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """(n,) the cell of each value: its own, with the rare ones together; of numbers of many values,
    that between two cuts."""
    gaps = np.isnan(values)
    known = values[~gaps]
    cells = np.full(values.size, -1)
    if known.size == 0:
        return cells
    distinct, places, counts = np.unique(known, return_inverse=True, return_counts=True)
    if column.kind == "text" or distinct.size <= _FEW_VALUES:
        rare = counts < _LEAST_ROWS
        cells[~gaps] = np.where(rare, distinct.size, np.arange(distinct.size))[places.reshape(-1)]
        return cells
    parts = [part for label in (0, 1) if (part := known[labels[~gaps] == label]).size]
    fewest = min(part.size for part in parts)
    cuts = int(np.clip(fewest // _ROWS_PER_CUT, _FEWEST_CUTS, _MOST_CUTS))
    shares = np.linspace(0, 1, cuts + 1)
    quantiles = [np.quantile(part, shares, method="lower") for part in parts]
    edges = np.unique(np.concatenate(quantiles))
    # A value that many rows have is a cell too.
    common = np.isin(known, np.intersect1d(edges, distinct[counts >= _LEAST_ROWS]))
    cells[~gaps] = 2 * np.searchsorted(edges, known, "left") + common
    return cells


def _explained(cells: NDArray[np.intp], labels: NDArray[np.intp]) -> float:
    """Mutual information of cells and labels, of the labels' entropy."""
    _, places = np.unique(cells, return_inverse=True)
    table = np.zeros((places.max() + 1, 2))
    np.add.at(table, (places.reshape(-1), labels), 1.0)
    entropy = _entropy(table.sum(axis=0))
    information = entropy + _entropy(table.sum(axis=1)) - _entropy(table.reshape(-1))
    return float(information / entropy)


def _entropy(counts: Array) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def check_unique(df: DataFrame, id_column: str) -> None:
    """Raise InputDataError where an id is null, or several rows have it: how many, and examples."""
    name = sql_of(df, "id", id_column)
    # Equal ids have equal hashes; where others have too, the look at the ids finds none.
    key = F.expr(f"if({name} IS NULL, NULL, xxhash64({name}))")
    # By a name of its own: mapInArrow does not quote one that has dots or backticks.
    if all_differ(df.select(key.alias("key"))):
        return
    ids = df.select(F.expr(name).alias("id")).groupBy("id").count()
    shared = ids.where("count > 1 OR id IS NULL")
    found = shared.agg(
        F.coalesce(F.sum("count"), F.lit(0)).alias("rows"),
        F.coalesce(F.sum(F.when(F.col("id").isNull(), F.col("count"))), F.lit(0)).alias("null"),
        F.count("id").alias("ids"),
    ).first()
    assert found is not None
    if not found["rows"]:
        return
    told = []
    if found["ids"]:
        examples = shared.where("id IS NOT NULL").orderBy(F.desc("count"), "id").limit(3).collect()
        listed = ", ".join(f"{row['id']!r} ({row['count']:,} rows)" for row in examples)
        told.append(
            f"{found['rows'] - found['null']:,} rows share {found['ids']:,} ids of {id_column!r}, "
            f"for instance {listed}"
        )
    if found["null"]:
        told.append(f"{id_column!r} is null in {found['null']:,} rows")
    raise InputDataError(
        f"id: {' and '.join(told)}; expected one row a customer: another column, or none, or for a "
        "table of transactions customer and time"
    )


def days_after(df: DataFrame, run_date: str) -> list[str]:
    """Of the columns of dates and times those with days after `run_date`, in words."""
    dates = [
        field.name
        for field in df.schema
        if isinstance(field.dataType, T.DateType | T.TimestampType | T.TimestampNTZType)
    ]
    if not dates:
        return []
    last = F.lit(run_date).cast("date")
    days = [quoted(name).cast("date") for name in dates]
    found = df.agg(
        *(F.count_if(day > last) for day in days), *(F.max(day).cast("string") for day in days)
    ).first()
    assert found is not None
    return [
        f"column {name!r}: {count:,} rows lie after run_date, {run_date}, as late as {latest}"
        for name, count, latest in zip(dates, found[: len(dates)], found[len(dates) :], strict=True)
        if count
    ]
