"""SQL expressions of the settings and of a model: added to a table, and traced where they fail."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from gmm_spark.config import InputSettings, JobSettings, ScoreSettings, TrainSettings
from gmm_spark.engine.inputs import nearest
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.expressions import column_name, expression_name
from gmm_spark.lake import tables
from gmm_spark.lake.tables import quoted, spark_message

if TYPE_CHECKING:
    from gmm_spark import ParquetTable

logger = logging.getLogger(__name__)

# What the name of a column rarely has, and an expression does.
_SQL = re.compile(r"[()*/+<>=]|\s-\s")
# The class of data exceptions of the SQL standard, and what raise_error and assert_true give.
_DATA_EXCEPTION = re.compile(r"SQLSTATE: (?:22\w{3}|P0001)")


# The keys of a training whose columns are read again to score.
TRAINED_ON = "columns", "categorical_columns", "count_columns", "vector_column"


@dataclass(frozen=True)
class Expression:
    """An SQL expression with a name, and the setting it is written in."""

    key: str
    text: str

    @property
    def name(self) -> str:
        return column_name(self.text)


Step = tuple[DataFrame, Sequence[Expression]]


def expressions(key: str, columns: str | Iterable[str] | None) -> list[Expression]:
    """Of the columns under a key of the settings, those that are expressions."""
    return [Expression(key, column) for column in _listed(columns) if expression_name(column)]


def _listed(columns: str | Iterable[str] | None) -> Iterable[str]:
    return [columns] if isinstance(columns, str) else columns or ()


def training_expressions(settings: TrainSettings) -> list[Expression]:
    """Every expression a training reads, wherever a key takes a column."""
    keys = *TRAINED_ON, "weight_column", "label_column", "initial_label_column"
    return [found for key in keys for found in expressions(key, getattr(settings, key))]


def training_source(spark: SparkSession, settings: TrainSettings) -> ParquetTable | DataFrame:
    """What to fit to: a Parquet table that the workers read themselves, wherever that can be.

    A catalog table, another format, a vector column, an SQL expression, a reader's option, or a
    store that only Spark has a way to make it a DataFrame.
    """
    wanted = training_expressions(settings)
    table = None
    if settings.vector_column is None and not wanted:
        table = tables.parquet_table(spark, settings.input)
    if table is not None:
        expect_names(settings, TRAINED_ON, table.schema().names)
        return table
    frame = tables.read_table(spark, settings.input)
    expect_names(settings, TRAINED_ON, frame.columns)
    return with_expressions(frame, wanted)


def scoring_steps(
    frame: DataFrame, settings: ScoreSettings, trained_on: Sequence[str]
) -> tuple[list[Step], DataFrame]:
    """The table with the expressions of the settings and those a model was trained on.

    What the settings say wins: a name of theirs that the model's expressions give too stands for
    it, whether it is an expression or a column of the table. Their other expressions come first,
    so that the model's may read them. Where an expression of the model cannot be evaluated, a
    column of its name is taken as it stands; InputDataError where there is none.
    """
    expect_names(settings, ["columns"], frame.columns)
    columns = settings.columns
    given, own = expressions("columns", columns), {column_name(text) for text in trained_on}
    before = [e for e in given if e.name not in own]
    defined = with_expressions(frame, before)
    wanted = [e for e in given if e.name in own]
    said = {e.name for e in wanted} | (set(columns) & set(frame.columns))
    for text in trained_on:
        name = column_name(text)
        if name in said:
            continue
        problem = unreadable(defined, text)
        if problem is None:
            wanted.append(Expression("model", text))
        elif name not in defined.columns:
            raise InputDataError(
                f"the model was trained on {text!r}: {problem}; columns may say it in another way"
            )
        else:
            logger.info("%s is taken as it stands, not by %r: %s", name, text, problem)
    for one in wanted:
        logger.info("computed: %s", one.text)
    return [(frame, before), (defined, wanted)], with_expressions(defined, wanted)


def expect_names(settings: JobSettings, keys: Sequence[str], known: Sequence[str]) -> None:
    """Raise ConfigurationError for an expression that was given no name."""
    for key in keys:
        for column in _listed(getattr(settings, key)):
            if column not in known and not expression_name(column) and _SQL.search(column):
                raise ConfigurationError(
                    f"{key}: found {column!r}, which is no column of the table; an expression "
                    f"needs a name, as in '{column} as a_name'"
                )


def with_expressions(frame: DataFrame, wanted: Sequence[Expression]) -> DataFrame:
    """The table with these columns, all computed from it as it is; one of the same name goes.

    Raises ConfigurationError with the setting and the expression where one cannot be read.
    """
    if not wanted:
        return frame
    by_name: dict[str, Expression] = {}
    for expression in wanted:
        # Whatever the case: to Spark they are one name.
        other = by_name.setdefault(expression.name.lower(), expression)
        if other.text != expression.text:
            raise ConfigurationError(
                f"{expression.key}: found two expressions of one name, {other.text!r} and "
                f"{expression.text!r}; expected a name each"
            )
    for expression in by_name.values():
        problem = unreadable(frame, expression.text)
        if problem is not None:
            raise ConfigurationError(f"{expression.key}: found {expression.text!r}; {problem}")
    kept = [F.col(quoted(name)) for name in frame.columns if name.lower() not in by_name]
    try:
        added = frame.select(*kept, *(F.expr(e.text) for e in by_name.values()))
        added.schema  # noqa: B018  on Spark Connect it is only now that the names are looked up
    except PySparkException as error:
        key = next(iter(by_name.values())).key
        raise ConfigurationError(f"{key}: {spark_message(error)[1]}") from None
    return added


def unreadable(frame: DataFrame, text: str) -> str | None:
    """What is wrong with an expression beside this table; None where Spark can evaluate it."""
    try:
        frame.select("*", F.expr(text)).schema  # noqa: B018
    except PySparkException as error:
        condition, message = spark_message(error)
        named = re.search(r"`([^`]+)`(?: cannot be resolved| on search path)", message)
        if condition.startswith("UNRESOLVED_COLUMN") and named:
            return f"the table has no column {named[1]!r}{_nearest(named[1], frame.columns)}"
        if condition.startswith("UNRESOLVED_ROUTINE") and named:
            known = _functions(frame.sparkSession)
            return f"Spark has no function {named[1]!r}{_nearest(named[1], known)}"
        return f"it is no SQL expression: {message}" if condition.startswith("PARSE") else message
    return None


def _nearest(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known)
    return "" if near is None else f"; did you mean {near!r}?"


def _functions(spark: SparkSession) -> list[str]:
    return [row[0] for row in spark.sql("SHOW SYSTEM FUNCTIONS").collect()]


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
