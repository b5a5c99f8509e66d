"""Which filter or expression it is that Spark cannot compute, and in how many rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from gmm_spark.config import InputSettings
from gmm_spark.errors import InputDataError, spark_message
from gmm_spark.storage import tables
from gmm_spark.storage.computed_columns import Step

# The class of data exceptions of the SQL standard, and what raise_error and assert_true give.
_DATA_EXCEPTION = re.compile(r"SQLSTATE: (?:22\w{3}|P0001)")


def is_data_exception(error: BaseException) -> bool:
    """Whether a value could not be computed: a cast, a division, an index, a date."""
    return isinstance(error, (PySparkException, Py4JJavaError)) and bool(
        _DATA_EXCEPTION.search(str(error))
    )


@contextmanager
def traced(
    spark: SparkSession, source: InputSettings, steps: Callable[[], Sequence[Step]]
) -> Iterator[None]:
    """Turn what Spark says of a value it cannot compute into one InputDataError, which names the
    filter or the expression and counts the rows.

    `steps` gives the tables, in order, that expressions were evaluated on. A few passes over the
    table, for when a job has failed already.
    """
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        if not is_data_exception(error):
            raise
        raise (
            _failing_filter(spark, source)
            or _failing(steps())
            or in_short(error, tables.describe(source))
        ) from error


def in_short(error: BaseException, what: str) -> InputDataError:
    """What Spark says of a value it cannot compute, in one line."""
    return InputDataError(f"{what}: {_told(error)}")


def _failing_filter(spark: SparkSession, source: InputSettings) -> InputDataError | None:
    if not source.filters:
        return None
    whole = tables.read_table(spark, source.model_copy(update={"filters": []}))
    found = (
        _failure(whole, condition, f"input.filters: {text!r}")
        for text, condition in tables.conditions(source.filters)
    )
    return next((error for error in found if error is not None), None)


def _failing(steps: Sequence[Step]) -> InputDataError | None:
    found = (
        _failure(frame, F.expr(one.text), f"{one.key}: {one.text!r}")
        for frame, wanted in steps
        for one in wanted
    )
    return next((error for error in found if error is not None), None)


def _failure(frame: DataFrame, column: Column, what: str) -> InputDataError | None:
    """Why a column cannot be computed, and in how many rows; None where it can be."""
    # A hash is of every value: no part of an expression can be left out as of no use.
    hashed = F.xxhash64(column)
    try:
        frame.select((hashed == 0).alias("hashed")).agg(F.count_if("hashed")).collect()
    except (PySparkException, Py4JJavaError) as error:
        if is_data_exception(error):
            return InputDataError(f"{what} fails{_rows(frame, hashed)}: {_told(error)}")
    return None


def _rows(frame: DataFrame, hashed: Column) -> str:
    """In how many rows a column cannot be computed; nothing where Spark will not say.

    try_add of a time and an interval is null where either cannot be computed, whatever is in it:
    of the functions of SQL it is the one that tries its arguments too.
    """
    interval = F.make_dt_interval(secs=F.pmod(hashed, F.lit(2)))
    tried = F.try_add(F.lit("1970-01-01").cast("timestamp"), interval)
    try:
        counts = (
            frame.select(tried.isNull().alias("failed"))
            .agg(F.count_if("failed"), F.count(F.lit(1)))
            .first()
        )
    except (PySparkException, Py4JJavaError):
        return ""
    return f" in {counts[0]:,} of {counts[1]:,} rows" if counts is not None and counts[0] else ""


def _told(error: BaseException) -> str:
    """Spark's first sentence about a value, and what would give null for it."""
    message = spark_message(error)[1]  # type: ignore[arg-type]
    sentence = re.split(r"(?<=[.!])\s+(?=[A-Z])", message)[0].rstrip(".")
    instead = re.search(r"[`']((?:try_\w+|get)(?:\(\))?)[`']", message)
    if instead is None:
        return sentence
    kind = re.search(r'cannot be cast to "([\w(),]+)"', message)
    advice = instead[1] + (f"(... as {kind[1].lower()})" if kind else "")
    return f"{sentence}; {advice} gives null there instead"
