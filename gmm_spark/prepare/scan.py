"""The rows as a preparation is fitted to them: figures of all, and a sample that depends on none
of how they are partitioned. Two passes, a third where a column may name the rows, and no Python on
the executors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.engine.cluster import described
from gmm_spark.engine.columns import numbers
from gmm_spark.engine.dataframe import sql_name
from gmm_spark.errors import NoRowsError
from gmm_spark.mixture.numerics import Array
from gmm_spark.prepare.columns import LARGEST, Column, Kind
from gmm_spark.prepare.dates import day_in, day_patterns, day_sql
from gmm_spark.prepare.treatments import days_sql, number_sql, text_sql

# Rows of the sample, at most.
SAMPLE_ROWS = 20_000
# Rows in which a word tells that a column of text has no numbers.
_FIRST_ROWS = 1_000
# Different rows, as if the hashes of so many were all there are: a sample of the lowest has a
# tenth more than it needs, nearly always.
_SPARE = 1.25
# A column of which fewer values of the sample differ does not name the rows, which takes nine
# tenths of them all.
_MAY_NAME_ROWS = 0.85
# Types of columns by what they can be.
_NUMERIC = (T.NumericType,)
_DATES = (T.DateType, T.TimestampType, T.TimestampNTZType)
_WORDS = (T.StringType, T.BooleanType)
# A number as text; not with zeros before it, as codes have them.
_NUMBER = r"^[+-]?(0|[1-9]\\d*)?(\\.\\d*)?([eE][+-]?\\d+)?$"
_DIGIT = r"\\d"
# What stands in tables of numbers for a number that is not there.
_NOTHING = "'NA', 'N/A', 'NAN', 'NULL', 'NONE', '?', '-'"
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class _Reading:
    """How a column is read: its kind and the SQL of its values."""

    kind: Kind
    sql: str
    type: str
    num_known: int


def sampled(
    dataset: DataFrame, names: Sequence[str], seed: int, as_text: Collection[str] = ()
) -> list[Column]:
    """The columns `names`, with up to 20,000 rows each: the same rows in the same order, however
    the data are partitioned. Text of `as_text` is not looked through for numbers and dates.

    InputDataError where there are no rows.
    """
    types = {field.name: field.dataType for field in dataset.select(*map(sql_name, names)).schema}
    spark = dataset.sparkSession
    with described(spark, "columns to prepare"):
        figures = _figures(dataset, types)
    num_rows = int(figures["rows"])
    if num_rows == 0:
        raise NoRowsError("the data have no rows; a preparation needs some to be fitted to")
    readings = [
        _reading(name, kind, figures, place, name in as_text)
        for place, (name, kind) in enumerate(types.items())
    ]
    with described(spark, "sample of the columns to prepare"):
        table = _sample(dataset, readings, num_rows, seed)
    columns = []
    for place, (name, how) in enumerate(zip(types, readings, strict=True)):
        texts: tuple[str, ...] = ()
        values: Array = np.full(table.num_rows, np.nan)
        if how.kind == "text":
            values, texts = _coded(table.column(str(place)))
        elif how.kind != "none":
            values = numbers(table.column(str(place)).combine_chunks())
            values = np.where(np.isfinite(values), values, np.nan).clip(-LARGEST, LARGEST)
        infinite = figures.get(f"infinite{place}", 0)
        column = Column(
            name, how.kind, values, texts, how.type, how.sql, num_rows, how.num_known, infinite
        )
        columns.append(replace(column, num_distinct=column.counts[0].size))
    if table.num_rows < num_rows:
        with described(spark, "different values of the columns to prepare"):
            columns = _with_distinct(dataset, columns)
    return [one if one.name in as_text else _as_dates(one) for one in columns]


def _figures(dataset: DataFrame, types: dict[str, T.DataType]) -> dict[str, int]:
    """Of all rows: how many there are, and of every column how many values are known, and of text
    that may be numbers how many are."""
    wanted = [F.count(F.lit(1)).alias("rows")]
    words = _with_words(dataset, types)
    for place, (name, kind) in enumerate(types.items()):
        x = text_sql(name) if isinstance(kind, _WORDS) else sql_name(name)
        if isinstance(kind, _NUMERIC):
            x = number_sql(name)
        found = {"known": f"count({x})"}
        if isinstance(kind, T.FloatType | T.DoubleType):
            found["infinite"] = f"count_if(abs({x}) = double('Infinity'))"
        if isinstance(kind, T.StringType) and name not in words:
            found["nothing"] = f"count_if({_nothing(x)})"
            found["number"] = f"count_if({_numeric(x)})"
        wanted += [F.expr(sql).alias(f"{what}{place}") for what, sql in found.items()]
    (row,) = dataset.agg(*wanted).collect()
    return {key: int(value or 0) for key, value in row.asDict().items()}


def _with_words(dataset: DataFrame, types: dict[str, T.DataType]) -> set[str]:
    """The columns of text in whose first rows something is no number. To look for numbers in text
    costs most of a look at all rows, and one word settles it."""
    texts = [name for name, kind in types.items() if isinstance(kind, T.StringType)]
    if not texts:
        return set()
    first = dataset.select(*map(sql_name, texts)).limit(_FIRST_ROWS)
    values = {name: text_sql(name) for name in texts}
    words = [f"count_if(NOT ({_nothing(x)} OR {_numeric(x)}))" for x in values.values()]
    (row,) = first.agg(*(F.expr(sql).alias(str(i)) for i, sql in enumerate(words))).collect()
    return {name for name, count in zip(texts, row, strict=True) if count}


def _nothing(x: str) -> str:
    """Whether a text stands for a number that is not there."""
    return f"upper({x}) IN ({_NOTHING})"


def _numeric(x: str) -> str:
    """Whether a text is a number."""
    return f"({x} RLIKE '{_NUMBER}' AND {x} RLIKE '{_DIGIT}')"


def _with_distinct(dataset: DataFrame, columns: Sequence[Column]) -> list[Column]:
    """The columns with how many different values all rows have, about, of those that may name them:
    the sample does not tell whether a value that it has once is there twice.

    A row a value, and groups: an aggregate a column would have thousands of buffers.
    """
    places = [place for place, column in enumerate(columns) if _may_name_rows(column)]
    if not places:
        return list(columns)
    values = (
        f"named_struct('place', {place}, 'value', xxhash64({columns[place].sql}), "
        f"'known', {columns[place].sql} IS NOT NULL)"
        for place in places
    )
    one_a_row = dataset.select(F.expr(f"inline(array({', '.join(values)}))")).where("known")
    distinct = F.expr("approx_count_distinct(value, 0.02)").alias("different")
    rows = one_a_row.groupBy("place").agg(distinct).collect()
    found = {row["place"]: int(row["different"]) for row in rows}
    return [
        replace(column, num_distinct=found.get(place, column.num_distinct))
        for place, column in enumerate(columns)
    ]


def _may_name_rows(column: Column) -> bool:
    if column.kind not in ("text", "number") or not (column.kind == "text" or column.whole):
        return False
    return bool(column.counts[0].size >= _MAY_NAME_ROWS * column.known.size > 0)


def is_plain(kind: T.DataType) -> bool:
    """Whether a column of this type holds numbers, text, booleans or dates."""
    return isinstance(kind, (*_NUMERIC, *_DATES, *_WORDS))


def _reading(
    name: str, kind: T.DataType, figures: dict[str, int], place: int, as_text: bool
) -> _Reading:
    known, said = figures[f"known{place}"], kind.simpleString()
    if isinstance(kind, _NUMERIC):
        return _Reading("number", number_sql(name), said, known)
    if isinstance(kind, _DATES) and not as_text:
        return _Reading("date", days_sql(f"try_cast({sql_name(name)} AS DATE)"), said, known)
    if isinstance(kind, T.StringType) and not as_text:
        rest = known - figures.get(f"nothing{place}", 0)
        if rest and rest == figures.get(f"number{place}"):
            return _Reading("number", number_sql(name), said, rest)
    if is_plain(kind):
        return _Reading("text", text_sql(name), said, known)
    return _Reading("none", "CAST(NULL AS STRING)", said, known)


def _as_dates(column: Column) -> Column:
    """A column of text, or of whole numbers as 20241231, as dates where that is what all are."""
    if column.kind == "text":
        texts: Sequence[str] = column.texts
    elif column.kind == "number" and column.whole and column.counts[0].size > 2:
        texts = [f"{value:.0f}" for value in column.counts[0]]
    else:
        return column
    patterns = day_patterns(texts)
    if len(patterns) != 1:
        return column
    days = np.array([(day_in(text, patterns[0]) - _EPOCH).days for text in texts], dtype=float)
    values = np.full(column.values.size, np.nan)
    there = ~np.isnan(column.values)
    if column.kind == "text":
        values[there] = days[column.values[there].astype(int)]
        sql = text_sql(column.name)
    else:
        values[there] = days[np.searchsorted(column.counts[0], column.values[there])]
        sql = f"CAST({number_sql(column.name)} AS BIGINT)"
    read = days_sql(day_sql(sql, T.StringType(), patterns[0]))
    return replace(column, kind="date", values=values, texts=(), sql=read)


def _sample(dataset: DataFrame, readings: Sequence[_Reading], num_rows: int, seed: int) -> pa.Table:
    """Up to SAMPLE_ROWS rows, as the columns are read.

    Rows are taken by a hash of their content; equal rows have equal hashes, so they come as one
    with their number, and stand for as many as they are.
    """
    names = [str(place) for place in range(len(readings))]
    read = dataset.select(
        *(F.expr(how.sql).alias(name) for how, name in zip(readings, names, strict=True))
    )
    rows = read.select(*names, F.xxhash64(F.lit(seed), *names).alias("hash"))
    share, different = 0.0, float(num_rows)
    while share < 1:
        share = min(1.0, max(_SPARE * SAMPLE_ROWS / different, 2 * share))
        lowest = int(-(2**63) + share * (2**64 - 1))
        below = F.col("hash") <= F.lit(min(lowest, 2**63 - 1))
        counted = (rows.filter(below) if share < 1 else rows).groupBy("hash", *names).count()
        table = counted.orderBy("hash", *names).limit(SAMPLE_ROWS).toArrow()
        if table.num_rows == SAMPLE_ROWS:
            break
        # Many rows are equal: so many differ, by those under the hash.
        different = max(table.num_rows, 1) / share
    counts = table.column("count").to_numpy()
    total = int(counts.sum())
    if total <= SAMPLE_ROWS:
        taken = np.repeat(np.arange(counts.size), counts)
    else:
        steps = (np.arange(SAMPLE_ROWS) + 0.5) / SAMPLE_ROWS * total
        taken = np.searchsorted(np.cumsum(counts), steps, side="right")
    return table.select(names).take(pa.array(taken))


def _coded(column: pa.ChunkedArray) -> tuple[Array, tuple[str, ...]]:
    """A column of texts as the places of its values in their list."""
    encoded = column.combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    ranked = sorted(texts)
    places_of = {text: place for place, text in enumerate(ranked)}
    ranks = np.array([places_of[text] for text in texts], dtype=float)
    places = encoded.indices.to_numpy(zero_copy_only=False)
    values = np.full(len(encoded), np.nan)
    there = ~np.isnan(places.astype(float))
    values[there] = ranks[places[there].astype(int)]
    return values, tuple(ranked)
