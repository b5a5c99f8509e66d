"""Tables: read by format or from the catalog, filtered, and written as Parquet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.config import Filter, InputSettings
from gmm_spark.config.messages import shown
from gmm_spark.engine.addresses import Address, address, escaped, without_userinfo
from gmm_spark.engine.dataframe import quoted, same_names, sql_name
from gmm_spark.engine.inputs import no_column
from gmm_spark.engine.table_files import STREAM, damaged, other_format, refusal
from gmm_spark.errors import (
    ConfigurationError,
    GmmError,
    InputDataError,
    NoRowsError,
    spark_message,
)
from gmm_spark.storage import files
from gmm_spark.storage.cells import as_written
from gmm_spark.storage.formats import (
    PARQUET,
    Files,
    TextTable,
    csv_table,
    files_at,
    format_by_name,
    json_options,
)
from gmm_spark.storage.lines import check_lines
from gmm_spark.storage.nanoseconds import (
    is_of_nanoseconds,
    read_as_numbers,
    reads_as_numbers,
    with_times,
)
from gmm_spark.storage.problems import unreadable_file

if TYPE_CHECKING:
    from gmm_spark import ParquetTable

PACKAGES = {
    "avro": "org.apache.spark:spark-avro_2.13",
    "delta": "io.delta:delta-spark_2.13",
    "iceberg": "org.apache.iceberg:iceberg-spark-runtime-4.0_2.13",
}
# What Spark 4.0 says of an empty file, of which later ones say that it has no schema.
_OF_NOTHING = re.compile(r"is not a Parquet file \(length is too low: 0\)")
# What Parquet says where a file has a name twice, with two types.
_OF_TWO_TYPES = re.compile(r"incompatible types: \w+ \S+ (.+?)(?: \([^!]*\))?(?: \{[^!]*\})? != ")
# Of these Spark takes every path for a pattern; in the first, the files of other tables lie.
_FILES_OF_TABLES = "parquet", "orc", "avro"
_FILES = *_FILES_OF_TABLES, "csv", "json"


def describe(source: InputSettings) -> str:
    return f"table {source.table}" if source.table else without_userinfo(str(source.path))


def parquet_table(
    spark: SparkSession, source: InputSettings, columns: Sequence[str] | None = None
) -> ParquetTable | None:
    """A table that the workers can read themselves; None where only Spark can read it."""
    from gmm_spark import ParquetTable

    if source.path is None or source.format not in (None, PARQUET) or source.options:
        return None
    path = files.qualified(spark, source.path)
    if not files.reachable(path):
        return None
    where, found = _found(source, path)
    if files_at(where, found).format != PARQUET and source.format is None:
        return None
    if _other_format(where, found, PARQUET):
        return None
    filters = [(column, _pyarrow_operator(op), value) for column, op, value in source.filters]
    return ParquetTable(
        path, filters=filters or None, columns=None if columns is None else tuple(columns)
    )


def _pyarrow_operator(operator: str) -> str:
    return "==" if operator == "=" else operator


def read_table(spark: SparkSession, source: InputSettings) -> DataFrame:
    """The table, filtered. Raises ConfigurationError when it or its format is not there."""
    format_ = source.format or PARQUET
    try:
        if source.table is not None:
            frame = spark.table(source.table)
        else:
            where, found, kept = _files(spark, source)
            format_ = kept.format
            frame = _with_times(spark, source, where, found, kept)
        for name, *_ in source.filters:
            if not same_names(name, frame.columns):
                raise ConfigurationError(f"input.filters: {no_column(name, frame.columns)}")
        for _, condition in conditions(source.filters):
            frame = frame.where(condition)
        return frame
    except GmmError:
        raise
    except (PySparkException, Py4JJavaError) as error:
        raise _reading_error(source, format_, error) from None


def is_text(spark: SparkSession, source: InputSettings) -> bool:
    """Whether the table is text, which is long to read, and to be kept where it is read again."""
    return source.path is not None and _files(spark, source)[2].format in ("csv", "json")


def _files(spark: SparkSession, source: InputSettings) -> tuple[Address | None, list[str], Files]:
    """Where the table is, if pyarrow has a way there, its paths for Spark's reader, and what is at
    them."""
    path = files.qualified(spark, str(source.path))
    if not files.reachable(path):
        return None, [path], Files(source.format or format_by_name(path) or PARQUET)
    where, found = _found(source, path)
    kept = files_at(where, found) if source.format in (None, "csv", "json") else Files(PARQUET)
    if source.format is not None:
        # Of the files, those of the format that is asked for, or all.
        kept = kept if kept.format == source.format else Files(source.format, kept.example)
    _other_format(where, found, kept.format)
    if kept.format not in _FILES:
        return where, [path], kept
    return where, [where.for_spark(one) or path for one in found], kept


def _with_times(
    spark: SparkSession,
    source: InputSettings,
    where: Address | None,
    paths: list[str],
    kept: Files,
) -> DataFrame:
    """As `_loaded`, of Parquet with times in nanoseconds too."""

    def load() -> DataFrame:
        return _loaded(spark, source, where, paths, kept)

    if kept.format == PARQUET and reads_as_numbers(spark):
        frame = load()
    else:
        try:
            return load()
        except (PySparkException, Py4JJavaError) as error:
            if where is None or not is_of_nanoseconds(str(error)):
                raise
        read_as_numbers(spark)
        frame = load()
    example = where and (kept.example or files_at(where, where.found()).example)
    return frame if where is None or not example else with_times(frame, where.filesystem, example)


def _loaded(
    spark: SparkSession,
    source: InputSettings,
    where: Address | None,
    paths: list[str],
    kept: Files,
) -> DataFrame:
    options, text = source.options, TextTable({})
    if kept.format == "csv":
        text = csv_table(where, kept.example, source.options)
        options = text.options
    if kept.format == "json":
        options = json_options(where, kept.example, source.options)
    if kept.format in ("csv", "json") and kept.pattern is not None:
        options = {"pathGlobFilter": kept.pattern, **options}
    reader = spark.read.format(kept.format).options(**options)
    frame = reader.load(paths if len(paths) > 1 else paths[0])
    if kept.format in ("csv", "json"):
        check_lines(describe(source), kept.format, reader, frame, paths, source.options)
    if text.texts:
        fields = [
            T.StructField(
                field.name, T.StringType() if field.name in text.texts else field.dataType
            )
            for field in frame.schema
        ]
        frame = reader.schema(T.StructType(fields)).load(paths if len(paths) > 1 else paths[0])
    return as_written(frame, text)


def _found(source: InputSettings, path: str) -> tuple[Address, list[str]]:
    """The paths that are there: the one that is written, or those that match it."""
    where = address(path)
    found = where.found()
    if not found:
        raise ConfigurationError(
            f"input.path: found nothing at {without_userinfo(path)}; expected a file or directory"
        )
    return where, found


def _other_format(where: Address, found: Sequence[str], format_: str) -> str | None:
    """The format of a table that the files are part of, where only Spark knows which of them count.

    Raises ConfigurationError where Spark needs to be told by `input.format`.
    """
    for one in found if format_ in _FILES_OF_TABLES else []:
        other = other_format(where, one)
        if other is not None and other[0] != STREAM:
            raise ConfigurationError(f"input.path: {refusal(*other)}")
        if other is not None:
            return STREAM
    return None


def check_numbers(frame: DataFrame, names: Sequence[str]) -> None:
    """Raise InputDataError where a table of text has no rows, or words in a column of numbers: one
    word makes the whole column a text."""
    if frame.isEmpty():
        raise NoRowsError("there are no rows in the data")
    kinds = dict(frame.dtypes)
    for name in names:
        if kinds.get(name) != "string":
            continue
        word = F.when(quoted(name).try_cast("double").isNull(), quoted(name))
        found = frame.agg(F.count(word), F.count(F.lit(1)), F.first(word, ignorenulls=True)).first()
        assert found is not None
        if found[0]:
            raise InputDataError(
                f"column {name!r}: {found[0]:,} of {found[1]:,} rows hold text where a number is "
                f"needed, for instance {shown(found[2])}; mend them, make them null by "
                f"'try_cast({sql_name(name)} as double) as a_name', or leave the column out"
            )


def conditions(filters: Sequence[Filter]) -> list[tuple[str, Column]]:
    """Each filter as it reads, and as Spark evaluates it."""
    return [(f"{one[0]} {one[1]} {one[2]}", _one_condition(*one)) for one in filters]


def _one_condition(name: str, operator: str, value: Any) -> Column:
    column = quoted(name)
    if operator in ("in", "not in"):
        if not isinstance(value, (list, tuple)):
            raise ConfigurationError(
                f"input.filters: found {value!r} for {name} {operator}; expected a list"
            )
        return column.isin(list(value)) if operator == "in" else ~column.isin(list(value))
    compare = {
        "=": column == value,
        "==": column == value,
        "!=": column != value,
        "<": column < value,
        "<=": column <= value,
        ">": column > value,
        ">=": column >= value,
    }
    return compare[operator]


def _reading_error(source: InputSettings, format_: str, error: Exception) -> GmmError:
    condition, message = spark_message(error)
    key, what = "input.table" if source.table else "input.path", describe(source)
    name = {"parquet": "Parquet", "avro": "Avro", "delta": "Delta", "iceberg": "Iceberg"}.get(
        format_, format_.upper()
    )
    if condition in ("DATA_SOURCE_NOT_FOUND", "AVRO_DATA_SOURCE_NOT_ENABLED"):
        package = PACKAGES.get(format_)
        return ConfigurationError(
            f"input.format: found {format_!r}, which this Spark cannot read; expected "
            f"its jar, for instance spark-submit --packages {package}:<version>"
        )
    if condition.startswith(("PATH_NOT_FOUND", "TABLE_OR_VIEW_NOT_FOUND")):
        where = "in the catalog; SHOW TABLES lists those there are" if source.table else "there"
        return ConfigurationError(f"{key}: found no {what} {where}")
    if unknown := re.search(r"No FileSystem for scheme \W?(\w+)", message):
        return ConfigurationError(
            f"{key}: found {what}; this Spark has no file system {unknown[1]}://, expected its jar "
            "or another path"
        )
    if condition.startswith(("UNRESOLVED_COLUMN", "DATATYPE_MISMATCH")) and source.filters:
        return ConfigurationError(f"input.filters: {message}")
    if condition.startswith("UNABLE_TO_INFER_SCHEMA") or _OF_NOTHING.search(str(error)):
        return InputDataError(f"{what} has no file of {name} in it, or an empty one")
    twice = re.search("`(.+)`", message) if condition.startswith("COLUMN_ALREADY_EXISTS") else None
    if twice := twice or _OF_TWO_TYPES.search(str(error)):
        return InputDataError(
            f"two columns of {what} are called {twice[1]!r}, of which Spark ignores the case; "
            "rename all but one"
        )
    if (unreadable := unreadable_file(error, name)) is not None:
        return unreadable
    if "can not read FileMetaData" in str(error):
        return damaged(what, f"read as {name}")
    # Of a task that failed only what failed it.
    message = re.sub(r"^Job aborted .*?: (?:\w+\.)+\w+: ", "", message)
    return InputDataError(f"{what} cannot be read as {name}: {message}")


def arrow_error(source: InputSettings, error: Exception) -> GmmError:
    """What pyarrow, reading for the workers, could not do with the table or the filters."""
    message = str(error).splitlines()[0]
    if file := re.search("Could not open Parquet input source '(.+?)'", message):
        return damaged(file[1])
    if source.filters:
        return ConfigurationError(f"input.filters: {message}")
    return InputDataError(f"{describe(source)} cannot be read as Parquet: {message}")


def write(frame: DataFrame, uri: str, partition_by: Sequence[str]) -> None:
    """Write a new Parquet table; there must be none yet."""
    frame.write.mode("error").partitionBy(*partition_by).parquet(uri)


def read_back(frame: DataFrame, uri: str) -> DataFrame:
    """What was written of `frame`, with its types (a partition column "007" stays a string)."""
    return frame.sparkSession.read.schema(frame.schema).parquet(escaped(uri))


def read_partitions(
    frame: DataFrame, uri: str, source: DataFrame, partition_by: Sequence[str]
) -> DataFrame:
    """Of a partitioned table, the partitions that rows of `source` belong to."""
    written = read_back(frame, uri)
    known = [name for name in partition_by if name in source.columns]
    if not known:
        return written
    touched = F.broadcast(source.select(*(quoted(name) for name in known)).distinct())
    same = [written[sql_name(name)].eqNullSafe(touched[sql_name(name)]) for name in known]
    return written.join(touched, on=reduce(lambda a, b: a & b, same), how="left_semi")


def check_partitioned(frame: DataFrame, uri: str, partition_by: Sequence[str]) -> None:
    """Raise ConfigurationError when the table at `uri` has other columns or other partitions."""
    if any(name.endswith(".parquet") for name in files.names(uri)):
        raise ConfigurationError(
            f"output: found a table at {uri} without partitions; expected one by "
            f"{', '.join(partition_by)}, or another output"
        )
    spark = frame.sparkSession
    earlier, now = set(spark.read.parquet(escaped(uri)).columns), set(frame.columns)
    if earlier != now:
        raise ConfigurationError(
            f"output: found a table at {uri} that differs in the columns "
            f"{', '.join(sorted(earlier ^ now))}; expected the same columns, or another output"
        )
