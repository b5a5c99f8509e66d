"""The rows as a preparation is fitted to them: figures of all, and a sample that depends on none
of how they are partitioned. Two Spark jobs, and no Python on the executors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.engine.cluster import described
from gmm_spark.engine.columns import numbers
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.numerics import Array
from gmm_spark.prepare.columns import Column, Kind
from gmm_spark.prepare.treatments import days_sql, number_sql, quoted, text_sql

# Rows of the sample, at most.
SAMPLE_ROWS = 20_000
# Types of columns by what they can be.
NUMERIC = (T.NumericType,)
DATES = (T.DateType, T.TimestampType, T.TimestampNTZType)
WORDS = (T.StringType, T.BooleanType)
# A number as text; not with zeros before it, as codes have them.
_NUMBER = r"^[+-]?(0|[1-9]\\d*)?(\\.\\d*)?([eE][+-]?\\d+)?$"
_DIGIT = r"\\d"
_DATE = r"^\\d{4}-\\d{2}-\\d{2}([ T].*)?$"
# What stands in tables of numbers for a number that is not there.
_NOTHING = "'NA', 'N/A', 'NAN', 'NULL', 'NONE', '?', '-'"


@dataclass(frozen=True)
class _Reading:
    """How a column is read: its kind and the SQL of its values."""

    kind: Kind
    sql: str
    is_text: bool = False


def sampled(dataset: DataFrame, names: Sequence[str], seed: int) -> list[Column]:
    """The columns `names`, with up to 20,000 rows each: the same rows in the same order, however
    the data are partitioned. InputDataError where there are no rows."""
    fields = {field.name: field.dataType for field in dataset.schema.fields}
    spark = dataset.sparkSession
    with described(spark, "columns to prepare"):
        figures = _figures(dataset, {name: fields[name] for name in names})
    num_rows = int(figures["rows"])
    if num_rows == 0:
        raise InputDataError("the data have no rows; a preparation needs some to be fitted to")
    readings = [_reading(name, fields[name], figures, place) for place, name in enumerate(names)]
    with described(spark, "sample of the columns to prepare"):
        table = _sample(dataset, readings, int(figures["different"]), seed)
    columns = []
    for place, (name, how) in enumerate(zip(names, readings, strict=True)):
        texts: tuple[str, ...] = ()
        values: Array = np.full(table.num_rows, np.nan)
        if how.kind == "text":
            values, texts = _coded(table.column(str(place)))
        elif how.kind != "none":
            values = numbers(table.column(str(place)).combine_chunks())
            values = np.where(np.isfinite(values), values, np.nan)
        columns.append(
            Column(
                name,
                how.kind,
                values,
                texts,
                fields[name].simpleString(),
                how.is_text,
                num_rows,
                int(figures[f"known{place}"]),
                _different(values, int(figures[f"different{place}"]), table.num_rows == num_rows),
                int(figures.get(f"latest{place}", 0)),
            )
        )
    return columns


def _different(values: Array, about: int, is_all: bool) -> int:
    """How many different values a column has; exact where the sample is all the rows."""
    return len(np.unique(values[~np.isnan(values)])) if is_all else about


def _figures(dataset: DataFrame, types: dict[str, T.DataType]) -> dict[str, int]:
    """Of all rows, in one job: how many there are, and of every column how many values are known,
    how many different ones there are, about, and of text how many are numbers or dates."""
    wanted = [F.count(F.lit(1)).alias("rows")]
    hashed = [quoted(name) for name, kind in types.items() if _is_plain(kind)]
    of_rows = f"approx_count_distinct(xxhash64({', '.join(hashed) or '1'}), 0.02)"
    wanted.append(F.expr(of_rows).alias("different"))
    for place, (name, kind) in enumerate(types.items()):
        x = text_sql(name) if isinstance(kind, WORDS) else quoted(name)
        if isinstance(kind, NUMERIC):
            x = number_sql(name)
        found = {"known": f"count({x})", "different": "0"}
        if _is_plain(kind):
            found["different"] = f"approx_count_distinct({x}, 0.02)"
        if isinstance(kind, T.StringType):
            nothing = f"upper({x}) IN ({_NOTHING})"
            found["nothing"] = f"count_if({nothing})"
            found["number"] = f"count_if({x} RLIKE '{_NUMBER}' AND {x} RLIKE '{_DIGIT}')"
            found["date"] = f"count_if({x} RLIKE '{_DATE}')"
        if isinstance(kind, (*DATES, T.StringType)):
            found["latest"] = f"max({days_sql(name)})"
        wanted += [F.expr(sql).alias(f"{what}{place}") for what, sql in found.items()]
    (row,) = dataset.agg(*wanted).collect()
    return {key: int(value or 0) for key, value in row.asDict().items()}


def _is_plain(kind: T.DataType) -> bool:
    return isinstance(kind, (*NUMERIC, *DATES, *WORDS))


def _reading(name: str, kind: T.DataType, figures: dict[str, int], place: int) -> _Reading:
    if isinstance(kind, NUMERIC):
        return _Reading("number", number_sql(name))
    if isinstance(kind, DATES):
        return _Reading("date", days_sql(name))
    if isinstance(kind, T.StringType):
        left = figures[f"known{place}"] - figures[f"nothing{place}"]
        if left and left == figures[f"number{place}"]:
            return _Reading("number", number_sql(name), is_text=True)
        if left and left == figures[f"date{place}"]:
            return _Reading("date", days_sql(name), is_text=True)
    if isinstance(kind, WORDS):
        return _Reading("text", text_sql(name))
    return _Reading("none", "CAST(NULL AS STRING)")


def _sample(
    dataset: DataFrame, readings: Sequence[_Reading], different: int, seed: int
) -> pa.Table:
    """Up to SAMPLE_ROWS rows, as the columns are read.

    Rows are taken by a hash of their content; equal rows have equal hashes, so they come as one
    with their number, and stand for as many as they are.
    """
    names = [str(place) for place in range(len(readings))]
    read = dataset.select(
        *(F.expr(how.sql).alias(name) for how, name in zip(readings, names, strict=True))
    )
    hashed = F.xxhash64(F.lit(seed), *names).alias("hash")
    share = min(1.0, 1.25 * SAMPLE_ROWS / max(different, 1))
    lowest = int(-(2**63) + share * (2**64 - 1))
    rows = read.select(*names, hashed)
    if share < 1:
        rows = rows.filter(F.col("hash") <= F.lit(min(lowest, 2**63 - 1)))
    counted = rows.groupBy("hash", *names).count().orderBy("hash", *names).limit(SAMPLE_ROWS)
    table = counted.toArrow()
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
