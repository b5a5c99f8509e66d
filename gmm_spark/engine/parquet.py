"""A Parquet table as a source: the workers read its row groups themselves."""

from __future__ import annotations

import datetime
import os
import re
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from gmm_spark.engine.addresses import as_text
from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.cluster import Partitions, distributed, free_storage, parallelism
from gmm_spark.engine.column_types import SPARK_TYPES, arrow_types
from gmm_spark.engine.dataframe import quoted
from gmm_spark.engine.row_groups import (
    FileVersion,
    ParquetReader,
    RowGroupReader,
    RowGroups,
    TableRows,
)
from gmm_spark.engine.table_files import TableFiles, open_files
from gmm_spark.errors import ConfigurationError, InputDataError

# A task reads at most about this much, so that a retry or a straggler costs little.
_TASK_BYTES = 256 << 20
_MAX_WAVES = 64
# File systems that are far away, by pyarrow's names.
_OBJECT_STORES = "s3", "gcs", "abfs"


@dataclass(frozen=True)
class ParquetTable:
    """A table of Parquet files that the workers read directly, without the JVM.

    Parameters
    ----------
    path : a directory or file, text or a `pathlib.Path`, local or on any file system pyarrow
        knows (``s3://``, ``gs://``, ``hdfs://``, ``abfs://``; ``s3a://`` is read as ``s3://``).
        A path that exists is that path; any other is a pattern (``year=202[56]``, ``{a,b}``,
        ``*``), as for Spark's reader. Hive-style partition directories below it become columns.
        Delta, Hudi and Iceberg tables are refused: which of their files count, only their own
        readers know.
    filters : rows to keep, as pyarrow takes them: ``[("month", "=", "2026-01")]``, a list of
        such lists for alternatives, or a `pyarrow.compute.Expression`. Partitions and row
        groups that cannot hold such rows are not read.
    columns : those a scored table keeps, all by default; a fit reads what it needs
    cached : keep what a fit reads in the executors' storage memory (and on their disks beyond
        that) after the first scan. None does so where the files are on an object store and half
        of the free storage memory holds the columns; on a local disk, or on HDFS, reading again
        costs no more than what the cache takes. Not on Spark Connect.
    filesystem : a `pyarrow.fs.FileSystem` for `path`, where the address does not say enough
        (credentials, another endpoint)

    Every numeric column is cast to float64. The files need not have the same columns: rows of a
    file that lacks an input have a gap there, for which see `missing`, and an unknown label where
    it lacks `labelCol`; a weight and a start label must be in all. The files are noted at the
    start of a fit, by size and modification time; a fit ends with an error if one of them changes
    under it.
    """

    path: str | os.PathLike[str]
    filters: Any = None
    columns: tuple[str, ...] | None = None
    cached: bool | None = None
    filesystem: fs.FileSystem | None = None

    def __post_init__(self) -> None:
        if isinstance(self.path, DataFrame):
            raise ConfigurationError(
                "ParquetTable takes the path of a table; hand a DataFrame itself to fit, transform "
                "and impute"
            )
        as_text(self.path)
        if isinstance(self.columns, str):
            raise ConfigurationError(
                f"columns is {self.columns!r}; it must be a list of names: [{self.columns!r}]"
            )

    def __getattr__(self, name: str) -> Any:
        what = f"'ParquetTable' object has no attribute {name!r}"
        if not name.startswith("_") and hasattr(DataFrame, name):
            what += (
                ", it is no DataFrame: give CrossValidator, and what else needs one, "
                "spark.read.parquet(path)"
            )
        raise AttributeError(what)

    def files(self) -> TableFiles:
        """The files as they are now, their footers read.

        Raises ConfigurationError where there is no such table, or one of another format, and
        InputDataError where a file is no Parquet.
        """
        return open_files(self.path, self.filesystem, self.filters)

    def schema(self) -> pa.Schema:
        """Names and Arrow types of the columns of all files together."""
        return self.files().schema


class ParquetSource:
    """Row groups of a table, split evenly over the tasks."""

    opening = "scan"

    def __init__(
        self,
        spark: SparkSession,
        table: ParquetTable,
        roles: Roles,
        missing: str = "error",
        files: TableFiles | None = None,
    ) -> None:
        self.spark = spark
        self.roles = roles
        files = files or table.files()
        for name in roles.numbers:
            files.check(name, "number", absent_input(missing))
        for rest in (roles.weight, roles.label):
            if rest is not None:
                files.check(rest, "number", "every row needs a value there")
        if roles.outcome is not None:
            files.check(roles.outcome, "outcome", None)
        if roles.membership is not None:
            files.check(roles.membership, "membership", None)
        rows, self.rows_at_most = row_group_reader(spark, files, roles.names)
        self.num_tasks = max(1, len(rows.tasks))
        self.reader = ParquetReader(rows, roles)
        self._partitions: Partitions | None = None
        self._cached = _is_cached(spark, table, rows, 8 * len(roles.names) * self.rows_at_most)

    def partitions(self) -> Partitions:
        """The row groups, a partition a task: made once, and each is sent its own alone."""
        if self._partitions is None:
            rows = self.reader.rows
            without_tasks = replace(self.reader, rows=replace(rows, tasks=()))
            self._partitions = distributed(
                self.spark, rows.tasks, self.num_tasks, without_tasks.of_tasks, cache=self._cached
            ) or Partitions(task_numbers(self.spark, rows), self.reader)
        return self._partitions

    @property
    def version(self) -> dict[str, Any]:
        """Size and time of modification of every file that is read, and the filters."""
        rows = self.reader.rows
        files = {part.file for task in rows.tasks for part in task}
        told = {file.path: _told(file) for file in sorted(files, key=lambda file: file.path)}
        return {**told, "filters": None if rows.filter is None else str(rows.filter)}

    def close(self) -> None:
        """Drop the cached blocks, if there are any."""
        if self._partitions is not None:
            self._partitions.close()


def _told(file: FileVersion) -> str:
    if file.modified is None:
        return f"{file.size:,} bytes"
    seconds, rest = divmod(file.modified, 10**9)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return f"{file.size:,} bytes of {moment:%Y-%m-%d %H:%M:%S}.{rest:09d}"


def _is_cached(spark: SparkSession, table: ParquetTable, rows: RowGroupReader, size: int) -> bool:
    if table.cached is not None:
        return table.cached
    far = rows.filesystem.type_name in _OBJECT_STORES
    return far and size <= free_storage(spark) / 2


def absent_input(missing: str) -> str | None:
    """What to do about a file without a column that is read; None where its rows have gaps."""
    if missing != "error":
        return None
    return (
        "set missing='marginalize' to take its rows by what is known of them, or 'skip' to leave "
        "them out"
    )


def row_group_reader(
    spark: SparkSession, files: TableFiles, names: tuple[str, ...]
) -> tuple[RowGroupReader, int]:
    """A reader of those columns with its tasks planned, and the rows it reads at most."""
    pieces = [(file.version, group, rows) for file in files.files for group, rows in file.groups]
    rows = sum(rows for _, _, rows in pieces)
    cores = parallelism(spark)
    waves = min(_MAX_WAVES, max(1, -(-8 * len(names) * rows // (cores * _TASK_BYTES))))
    schema = files.schema
    filter_columns = tuple(_referenced(files.filters, schema.names))
    reader = RowGroupReader(
        files.filesystem,
        _balanced(pieces, cores * int(waves)),
        names,
        files.expression,
        filter_columns,
        {name: schema.field(name).type for name in (*names, *filter_columns)},
    )
    return reader, rows


def task_numbers(spark: SparkSession, reader: RowGroupReader) -> DataFrame:
    """A frame of one row a task, in a partition of its own."""
    return spark.range(0, len(reader.tasks), 1, max(1, len(reader.tasks)))


def kept_columns(table: ParquetTable, files: TableFiles) -> list[str]:
    """The columns a scored table keeps; raises where one is not there, or is named twice."""
    names = list(files.schema.names if table.columns is None else table.columns)
    for name in names:
        files.kind(name)
        if names.count(name) > 1:
            raise ConfigurationError(f"columns: {name!r} is named twice; name it once")
    return names


def spark_fields(spark: SparkSession, files: TableFiles, names: list[str]) -> list[T.StructField]:
    """The columns as Spark has them; where files differ, or Spark cannot read them, as the types
    of the files are in common."""
    own = {name: SPARK_TYPES.get(files.one_type(name)) for name in names}
    fields: dict[str, T.StructField] = {}
    if files.is_sparks:
        try:
            fields = {field.name: field for field in files.frame(spark, []).schema.fields}
        except InputDataError:
            if None in own.values():
                raise
    known = [name for name in names if name in fields and not files.differ([name])]
    return [
        fields[name] if name in known else T.StructField(name, own[name] or T.NullType())
        for name in names
    ]


def table_frame(spark: SparkSession, table: ParquetTable) -> DataFrame:
    """The columns a table keeps as a DataFrame: by Spark's reader, or by the workers where files
    differ or Spark has no way to them."""
    files = table.files()
    names = kept_columns(table, files)
    if not files.is_sparks or files.differ(names):
        fields = spark_fields(spark, files, names)
        types = arrow_types(fields)
        if types is not None:
            reader, _ = row_group_reader(spark, files, tuple(names))
            numbered = [T.StructField(str(i), f.dataType) for i, f in enumerate(fields)]
            rows = TableRows(reader, types)
            found = task_numbers(spark, reader).mapInArrow(rows, T.StructType(numbered))
            return found.toDF(*names)
    return files.frame(spark, names).select(*map(quoted, names))


def _referenced(filters: Any, names: list[str]) -> list[str]:
    if filters is None:
        return []
    if isinstance(filters, ds.Expression):
        text = str(filters)
        return [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    flat = filters if isinstance(filters[0], tuple | list) and filters else []
    conditions = [c for part in flat for c in ([part] if isinstance(part[0], str) else part)]
    return sorted({c[0] for c in conditions})


def _balanced(
    pieces: list[tuple[FileVersion, int, int]], num_tasks: int
) -> tuple[tuple[RowGroups, ...], ...]:
    """Consecutive row groups, cut where a task has its share of the rows."""
    total = sum(rows for _, _, rows in pieces)
    num_tasks = max(1, min(num_tasks, len(pieces)))
    tasks: list[list[tuple[FileVersion, int]]] = [[] for _ in range(num_tasks)]
    seen = 0
    for file, group, rows in pieces:
        middle = seen + rows / 2
        tasks[min(num_tasks - 1, int(middle * num_tasks / max(total, 1)))].append((file, group))
        seen += rows
    return tuple(_grouped(task) for task in tasks if task)


def _grouped(task: list[tuple[FileVersion, int]]) -> tuple[RowGroups, ...]:
    groups: dict[FileVersion, list[int]] = {}
    for file, group in task:
        groups.setdefault(file, []).append(group)
    return tuple(RowGroups(file, tuple(numbers)) for file, numbers in groups.items())
