"""Published scores: which of them count, as one table, and as a view for whoever has SQL alone.

Of scores by run date (`gmm-spark score`) the newest version of every run date counts; of a result
that has scores beside others (`gmm-spark churn`) the champion's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.engine.addresses import address, escaped, is_hidden
from gmm_spark.engine.cluster import needed_session
from gmm_spark.engine.dataframe import sql_name, text_literal
from gmm_spark.errors import ConfigurationError, InputDataError, ModelFileError
from gmm_spark.storage import files, publish_log
from gmm_spark.storage.publish_log import CHAMPION, Entry, Version

SCORES = "scores"
RUN_DATE, RUN_ID = "run_date", "run_id"
# Directories that are listed at once.
_AT_ONCE = 16


@dataclass(frozen=True)
class PublishedScores:
    """The scores of a version, and their files, by path from there on."""

    version: Version
    uri: str
    names: tuple[str, ...]

    @property
    def data(self) -> list[str]:
        """The files that have rows."""
        return [name for name in self.names if not any(map(is_hidden, name.split("/")))]

    @property
    def partitions(self) -> list[str]:
        """Columns that stand in the names of directories."""
        first = next(iter(self.data), "")
        return [name.partition("=")[0] for name in first.split("/")[:-1]]


def read_scores(
    path: str,
    run_date: str | None = None,
    *,
    version: str | int | None = None,
    spark: SparkSession | None = None,
) -> DataFrame:
    """The published scores under `path`, the output of runs with keep_versions: whole runs alone.

    Of every run date it is the newest published run, or of a directory of `gmm-spark churn` the
    champion. Which runs these are is read once, when this is called; what is published later is
    seen by the next call. A run whose files are not those that were published is an error.

    Parameters
    ----------
    path : output of `gmm-spark score` or `gmm-spark churn`
    run_date : rows of this run date alone; of all when left out
    version : a version by its number or alias, in place of the ones that count
    spark : the current session when left out

    Returns
    -------
    DataFrame with the columns of the scores, `run_date` and `run_id` (strings). Where runs wrote
    different columns, those that a run did not write are null in its rows. Whole numbers of
    several sizes are of the largest, and so are float and double, and decimals.

    Raises ConfigurationError where nothing of the kind was published, ModelFileError where files
    were changed, added or deleted since, InputDataError where a column has types in several runs
    that are none together, as text and a number.
    """
    spark = needed_session() if spark is None else spark
    path = files.qualified(spark, path)
    found = published_scores(path, run_date, version=version)
    if len(found) == 1:
        return _of_run(spark, found[0])
    if all(one.version.by_run_date and not one.partitions for one in found):
        # One relation for all runs whose columns have the same types: mostly all there are.
        groups = _of_the_same_types(path, found)
        tables = [_by_partitions(spark, path, group) for group in groups]
    else:
        _of_the_same_types(path, found)
        tables = [_of_run(spark, one) for one in found]
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), tables)


def published_scores(
    path: str, run_date: str | None = None, *, version: str | int | None = None
) -> list[PublishedScores]:
    """The scores under `path` that count, of runs in the order of their dates, after their files
    were compared with what was published.

    Raises as `read_scores` does.
    """
    entry = publish_log.read(path)
    while True:
        wanted = _wanted(entry, path, run_date, version)
        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                return list(pool.map(lambda one: _checked(path, one), wanted))
        except (ModelFileError, OSError):
            # A run that published meanwhile has deleted what does not count any more.
            before, entry = entry, publish_log.read(path)
            if entry.number == before.number:
                raise


def _wanted(
    entry: Entry, path: str, run_date: str | None, version: str | int | None
) -> list[Version]:
    if version is not None:
        return [publish_log.find(path, version)]
    champion = entry.alias(CHAMPION)
    counting = list(entry.by_run_date().values()) or [one for one in [champion] if one is not None]
    if not counting:
        raise ConfigurationError(
            f"found no published scores under {path}; expected the output of runs with "
            "keep_versions"
        )
    counting.sort(key=lambda one: (one.run_date is not None, one.run_date or "", one.number))
    if run_date is None:
        return counting
    wanted = [one for one in counting if one.run_date == str(run_date)]
    if not wanted:
        dates = [str(one.run_date) for one in counting if one.run_date is not None]
        known = ", ".join(dates if len(dates) < 4 else [dates[0], "...", dates[-1]]) or "none"
        raise ConfigurationError(
            f"run_date: found {str(run_date)!r}, of which there are no published scores under "
            f"{path}; there are {known}"
        )
    return wanted


def _checked(path: str, version: Version) -> PublishedScores:
    uri = files.join(publish_log.checked(path, version), SCORES)
    names = tuple(files.contents(uri))
    if not names:
        raise ConfigurationError(
            f"version {version.number} under {path} has no scores: a run of another job wrote it"
        )
    return PublishedScores(version, uri, names)


def _of_run(spark: SparkSession, one: PublishedScores) -> DataFrame:
    frame = spark.read.parquet(escaped(one.uri))
    known = {RUN_DATE: one.version.run_date, RUN_ID: one.version.run_id}
    return frame.withColumns({name: F.lit(value).cast("string") for name, value in known.items()})


def _of_the_same_types(path: str, found: Sequence[PublishedScores]) -> list[list[PublishedScores]]:
    """The runs whose columns have the same types, together; raises as `read_scores` does."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        types = list(pool.map(_types, found))
    _expect_one_kind(path, found, types)
    groups: list[list[PublishedScores]] = []
    merged: list[dict[str, pa.DataType]] = []
    for one, of_one in zip(found, types, strict=True):
        named = {name.lower(): kind for name, kind in of_one.items()}
        for group, of_group in zip(groups, merged, strict=True):
            if all(of_group.get(name, kind) == kind for name, kind in named.items()):
                group.append(one)
                of_group.update(named)
                break
        else:
            groups.append([one])
            merged.append(named)
    return groups


def _expect_one_kind(
    path: str, found: Sequence[PublishedScores], types: Sequence[dict[str, pa.DataType]]
) -> None:
    """Raise InputDataError for a column of which two runs wrote values that have no common type,
    or only one in which some of them are others."""
    first: dict[str, tuple[pa.DataType, str | None]] = {}
    for one, of_one in zip(found, types, strict=True):
        for name, kind in of_one.items():
            date = one.version.run_date
            earlier, since = first.setdefault(name.lower(), (kind, date))
            if _kind(earlier) != _kind(kind):
                raise InputDataError(
                    f"column {name!r} is {kind} in the scores of run date {date} under {path}, and "
                    f"{earlier} in those of {since}: they are no one table. Read a run date at a "
                    "time, or score one of them again with the column as it is in the other"
                )


def _kind(of: pa.DataType) -> str:
    """What types have in common whose values one of them, or a wider one, holds unchanged."""
    for kind, holds in (
        ("whole", pa.types.is_integer),
        ("float", pa.types.is_floating),
        ("decimal", pa.types.is_decimal),
        ("text", lambda one: pa.types.is_string(one) or pa.types.is_large_string(one)),
    ):
        if holds(of):
            return kind
    return str(of)


def _by_partitions(spark: SparkSession, path: str, found: Sequence[PublishedScores]) -> DataFrame:
    """Many runs as one relation: of a year of days a union takes a job for every one of them."""
    base = publish_log.versions_under(path)
    paths = [escaped(one.uri) for one in found]
    reader = spark.read.option("basePath", base)
    schema = reader.option("mergeSchema", "true").parquet(*paths).schema
    # Spark would take a run id of digits for a number, and a date for one.
    kinds = {RUN_DATE: T.StringType(), RUN_ID: T.StringType()}
    fields = [T.StructField(one.name, kinds.get(one.name, one.dataType)) for one in schema]
    return reader.schema(T.StructType(fields)).parquet(*paths)


def view_of(path: str, name: str) -> str:
    """A statement of Spark SQL that makes the view `name` of the scores under `path` that count.

    It names the directories of their runs, so that it never shows a part of one; what is published
    later is in it when it is made again.

    Raises as `read_scores` does.
    """
    found = published_scores(path)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        types = list(pool.map(_types, found))
    _expect_one_kind(path, found, types)
    columns = [[*of_one, *one.partitions] for one, of_one in zip(found, types, strict=True)]
    # Names of columns are the same to SQL whatever their case.
    every = {column.lower(): column for one in reversed(columns) for column in reversed(one)}
    ordered = dict.fromkeys(column.lower() for one in columns for column in one)
    selects = "\nUNION ALL\n".join(
        _select(one, [every[name] for name in ordered], known)
        for one, known in zip(found, columns, strict=True)
    )
    return f"CREATE OR REPLACE VIEW {name} AS\n{selects};"


def _types(one: PublishedScores) -> dict[str, pa.DataType]:
    """The columns in the files of a run, and their types."""
    if not one.data:
        return {}
    system, path = files.filesystem(files.join(one.uri, one.data[0]))
    schema = pq.read_schema(path, filesystem=system)
    return dict(zip(schema.names, schema.types, strict=True))


def _select(one: PublishedScores, every: Sequence[str], known: Sequence[str]) -> str:
    own = {column.lower() for column in known}

    def items() -> Iterator[str]:
        for column in every:
            is_there = column.lower() in own
            yield sql_name(column) if is_there else f"NULL AS {sql_name(column)}"
        for name, value in ((RUN_DATE, one.version.run_date), (RUN_ID, one.version.run_id)):
            yield f"{_text(value)} AS {name}"

    where = address(one.uri)
    spark_path = where.for_spark(where.path) or escaped(one.uri)
    return f"SELECT {', '.join(items())} FROM parquet.{sql_name(spark_path)}"


def _text(value: str | None) -> str:
    return "CAST(NULL AS STRING)" if value is None else text_literal(value)
