"""A Parquet table as a source: the workers read its row groups themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs
from pyspark.sql import DataFrame, SparkSession
from pyspark.storagelevel import StorageLevel

from gmm_spark.engine.blocks import (
    NO_CATEGORY,
    NO_MEMBERSHIP,
    FileVersion,
    ParquetReader,
    Roles,
    RowGroupReader,
    RowGroups,
)
from gmm_spark.engine.inputs import no_column
from gmm_spark.engine.jobs import Reader, is_connect, parallelism
from gmm_spark.errors import ConfigurationError, InputDataError

if TYPE_CHECKING:
    from pyspark import RDD

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
    path : a directory or file, local or on any file system pyarrow knows (``s3://``,
        ``gs://``, ``hdfs://``, ``abfs://``; ``s3a://`` is read as ``s3://``). Hive-style
        partition directories become columns.
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

    Every column is cast to float64. The files are noted at the start of a fit, by size and
    modification time; a fit ends with an error if one of them changes under it.
    """

    path: str
    filters: Any = None
    columns: tuple[str, ...] | None = None
    cached: bool | None = None
    filesystem: fs.FileSystem | None = None

    def dataset(self) -> tuple[ds.Dataset, Any]:
        """The pyarrow dataset and the filter expression; ConfigurationError if unreadable."""
        uri = str(self.path)
        if uri.startswith(("s3a://", "s3n://")):
            uri = "s3://" + uri.split("://", 1)[1]
        try:
            filesystem, root = self.filesystem, uri
            if filesystem is None and "://" in uri:
                filesystem, root = fs.FileSystem.from_uri(uri)
            filesystem = filesystem or fs.LocalFileSystem()
            if filesystem.get_file_info(root).type == fs.FileType.NotFound:
                raise ConfigurationError(f"there is no table at {self.path}")
            dataset = ds.dataset(root, filesystem=filesystem, format="parquet", partitioning="hive")
        except (pa.ArrowInvalid, OSError) as error:
            raise InputDataError(f"{self.path} cannot be read as Parquet: {error}") from error
        expression = self.filters
        if expression is not None and not isinstance(expression, ds.Expression):
            expression = pq.filters_to_expression(expression)
        return dataset, expression

    def schema(self) -> pa.Schema:
        """Names and Arrow types of the columns."""
        return self.dataset()[0].schema


class ParquetSource:
    """Row groups of a table, split evenly over the tasks."""

    def __init__(self, spark: SparkSession, table: ParquetTable, roles: Roles) -> None:
        self.spark = spark
        self.roles = roles
        schema = table.schema()
        for place, name in enumerate(roles.names):
            if place not in roles.encoders:
                check_column(name, schema, table.path)
        if roles.membership is not None:
            check_membership_column(roles.membership, schema, table.path)
        rows, self.rows_at_most = row_group_reader(spark, table, roles.names)
        self.num_tasks = max(1, len(rows.tasks))
        self.reader = ParquetReader(rows, roles)
        self._rdd: RDD[Any] | None = None
        self._cached = _is_cached(spark, table, rows, 8 * len(roles.names) * self.rows_at_most)

    def frame(self) -> DataFrame:
        return task_numbers(self.spark, self.reader.rows)

    def rdd(self) -> tuple[RDD[Any], Reader]:
        without_tasks = replace(self.reader, rows=replace(self.reader.rows, tasks=()))
        # Made once; each task is sent its own row groups, not everyone's.
        if self._rdd is None:
            tasks = self.reader.rows.tasks
            self._rdd = self.spark.sparkContext.parallelize(tasks, self.num_tasks)
            if self._cached:
                self._rdd = self._rdd.mapPartitions(without_tasks.of_tasks)
                self._rdd.persist(StorageLevel.MEMORY_AND_DISK)
        return self._rdd, iter if self._cached else without_tasks.of_tasks

    def close(self) -> None:
        """Drop the cached blocks, if there are any."""
        if self._cached and self._rdd is not None:
            self._rdd.unpersist()


def _is_cached(spark: SparkSession, table: ParquetTable, rows: RowGroupReader, size: int) -> bool:
    if is_connect(spark):
        return False
    if table.cached is not None:
        return table.cached
    far = rows.filesystem.type_name in _OBJECT_STORES
    return far and size <= _free_storage(spark) / 2


def _free_storage(spark: SparkSession) -> int:
    """Bytes of storage memory the executors have left."""
    context: Any = spark.sparkContext._jsc
    executors = context.sc().getExecutorMemoryStatus().valuesIterator()
    free = 0
    while executors.hasNext():
        free += executors.next()._2()
    return free


def row_group_reader(
    spark: SparkSession, table: ParquetTable, names: tuple[str, ...]
) -> tuple[RowGroupReader, int]:
    """A reader of those columns with its tasks planned, and the rows it reads at most."""
    dataset, expression = table.dataset()
    pieces = _pieces(dataset, expression)
    rows = sum(rows for _, _, rows in pieces)
    cores = parallelism(spark)
    waves = min(_MAX_WAVES, max(1, -(-8 * len(names) * rows // (cores * _TASK_BYTES))))
    reader = RowGroupReader(
        dataset.filesystem,
        _balanced(pieces, cores * int(waves)),
        names,
        expression,
        tuple(_referenced(table.filters, dataset.schema.names)),
    )
    return reader, rows


def task_numbers(spark: SparkSession, reader: RowGroupReader) -> DataFrame:
    """A frame of one row a task, in a partition of its own."""
    return spark.range(0, len(reader.tasks), 1, max(1, len(reader.tasks)))


def check_category_column(name: str, schema: pa.Schema, where: str) -> None:
    """Raise where the table has no such column, or its values are no categories."""
    kind = _type_of(name, schema, where)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (text or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise InputDataError(NO_CATEGORY.format(name=name, kind=kind))


def check_membership_column(name: str, schema: pa.Schema, where: str) -> None:
    """Raise where the table has no such column, or it holds no component numbers."""
    kind = _type_of(name, schema, where)
    one = kind.value_type if pa.types.is_list(kind) else kind
    if not (pa.types.is_integer(one) or pa.types.is_floating(one)):
        raise InputDataError(NO_MEMBERSHIP.format(name=name, kind=kind))


def _type_of(name: str, schema: pa.Schema, where: str) -> pa.DataType:
    if name not in schema.names:
        raise no_column(name, schema.names, where)
    return schema.field(name).type


def check_column(name: str, schema: pa.Schema, where: str) -> None:
    """Raise where the table has no such column, or it is not numeric."""
    kind = _type_of(name, schema, where)
    numeric = (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )
    if not numeric:
        raise InputDataError(
            f"column {name!r} has type {kind}, a number is needed; convert it or leave it out"
        )


def _referenced(filters: Any, names: list[str]) -> list[str]:
    if filters is None:
        return []
    if isinstance(filters, ds.Expression):
        text = str(filters)
        return [name for name in names if name in text]
    flat = filters if isinstance(filters[0], tuple | list) and filters else []
    conditions = [c for part in flat for c in ([part] if isinstance(part[0], str) else part)]
    return sorted({c[0] for c in conditions})


def _pieces(dataset: ds.Dataset, expression: Any) -> list[tuple[FileVersion, int, int]]:
    """File, row group and its rows, for all that can hold rows of the filter."""
    fragments = list(dataset.get_fragments(filter=expression))

    def of_fragment(fragment: Any) -> list[tuple[FileVersion, int, int]]:
        info = dataset.filesystem.get_file_info(fragment.path)
        keys = tuple(ds.get_partition_keys(fragment.partition_expression).items())
        file = FileVersion(fragment.path, info.size, info.mtime_ns, keys)
        try:
            parts = fragment.split_by_row_group(filter=expression, schema=dataset.schema)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputDataError(f"{fragment.path} cannot be read as Parquet: {error}") from error
        return [(file, group.id, group.num_rows) for part in parts for group in part.row_groups]

    with ThreadPoolExecutor(16) as pool:
        return [piece for pieces in pool.map(of_fragment, fragments) for piece in pieces]


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
