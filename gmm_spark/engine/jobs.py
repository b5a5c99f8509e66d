"""One Spark job over the blocks of a source: every task returns one row of bytes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from gmm_spark.engine.blocks import Block, Roles, TaskProblemError
from gmm_spark.errors import FitError

Reader = Callable[[Iterable[pa.RecordBatch]], Iterator[Block]]
Work = Callable[[Iterator[Block]], bytes]
Merge = Callable[[list[bytes]], bytes]

_RESULT_SCHEMA = "partition int, problem string, payload binary"
# Payloads of a job beyond this meet in a second, smaller stage before they reach the driver.
DRIVER_BYTES = 64 << 20


class Source(Protocol):
    """Where the rows of a fit come from."""

    spark: SparkSession
    roles: Roles
    num_tasks: int
    rows_at_most: int

    @property
    def reader(self) -> Reader:
        """Turns a task's batches into blocks, on the executor."""

    def frame(self) -> DataFrame:
        """What the tasks of a job are made of."""

    def close(self) -> None:
        """Give back what the source holds on the cluster."""


def run_job(
    source: Source,
    work: Work,
    description: str,
    *,
    merge: Merge | None = None,
    payload_bytes: int = 0,
    aggregation_depth: int = 2,
) -> list[bytes]:
    """The payloads of all tasks in partition order, merged in smaller stages where they are many.

    `merge` combines payloads given in partition order; without it all go to the driver.
    """
    reader = source.reader

    def task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        number = 0 if context is None else context.partitionId()
        problem: str | None = None
        payload = b""
        try:
            payload = work(reader(batches))
        except TaskProblemError as found:
            problem = str(found)
        yield _result(number, problem, payload)

    results = source.frame().mapInArrow(task, _RESULT_SCHEMA)
    if merge is not None:
        count = source.num_tasks
        for level in range(aggregation_depth, 1, -1):
            if count * payload_bytes <= DRIVER_BYTES:
                break
            per_group = math.ceil(count ** (1 / level))
            results = _merged(results, per_group, merge)
            count = math.ceil(count / per_group)
    with _described(source.spark, description), _small_batches(source.spark):
        rows = results.collect()
    problems = sorted((row["partition"], row["problem"]) for row in rows if row["problem"])
    if problems:
        raise FitError(problems[0][1])
    return [bytes(row["payload"]) for row in sorted(rows, key=lambda row: row["partition"])]


def _merged(results: DataFrame, per_group: int, merge: Merge) -> DataFrame:
    def combine(table: pa.Table) -> pa.Table:
        table = table.sort_by("partition")
        problems = [text for text in table.column("problem").to_pylist() if text]
        number = table.column("partition")[0].as_py() // per_group
        if problems:
            return pa.Table.from_batches([_result(number, problems[0], b"")])
        merged = merge([item.as_py() for item in table.column("payload")])
        return pa.Table.from_batches([_result(number, None, merged)])

    group = F.floor(F.col("partition") / per_group)
    return results.groupBy(group).applyInArrow(combine, _RESULT_SCHEMA)


def _result(number: int, problem: str | None, payload: bytes) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [
            pa.array([number], pa.int32()),
            pa.array([problem], pa.string()),
            pa.array([payload], pa.binary()),
        ],
        ["partition", "problem", "payload"],
    )


def is_connect(spark: SparkSession) -> bool:
    return type(spark).__module__.startswith("pyspark.sql.connect")


def parallelism(spark: SparkSession) -> int:
    """Tasks that can run at once, as far as Spark says."""
    if not is_connect(spark):
        return max(1, spark.sparkContext.defaultParallelism)
    partitions = spark.range(65_536).select(F.spark_partition_id().alias("p")).distinct()
    return max(1, partitions.count())


@contextmanager
def _described(spark: SparkSession, description: str) -> Iterator[None]:
    if is_connect(spark):
        yield
        return
    context = spark.sparkContext
    before = context.getLocalProperty("spark.job.description")
    context.setJobDescription(description)
    try:
        yield
    finally:
        context.setLocalProperty("spark.job.description", before)  # type: ignore[arg-type]


class Shared:
    """A value sent to the tasks: broadcast on classic Spark, in the closure on Connect."""

    def __init__(self, spark: SparkSession, value: Any) -> None:
        self._broadcast = None if is_connect(spark) else spark.sparkContext.broadcast(value)
        self._value = value if self._broadcast is None else None

    @property
    def value(self) -> Any:
        return self._value if self._broadcast is None else self._broadcast.value

    def destroy(self) -> None:
        if self._broadcast is not None:
            self._broadcast.destroy()


_batch_lock = threading.Lock()
_batch_users: dict[int, tuple[int, str | None]] = {}
# Packed blocks are about a megabyte; this many go to a worker at once.
_PACKED_RECORDS = 4
_BATCH_SETTING = "spark.sql.execution.arrow.maxRecordsPerBatch"


@contextmanager
def _small_batches(spark: SparkSession) -> Iterator[None]:
    """Arrow batches of few records while packed blocks are read: each record is a megabyte.

    Fits in several threads share the setting; the last one out restores it.
    """
    key = id(spark)
    with _batch_lock:
        users, before = _batch_users.get(key, (0, None))
        if users == 0:
            before = spark.conf.get(_BATCH_SETTING, None)
            spark.conf.set(_BATCH_SETTING, str(_PACKED_RECORDS))
        _batch_users[key] = users + 1, before
    try:
        yield
    finally:
        with _batch_lock:
            users, before = _batch_users.pop(key)
            if users > 1:
                _batch_users[key] = users - 1, before
            elif before is None:
                spark.conf.unset(_BATCH_SETTING)
            else:
                spark.conf.set(_BATCH_SETTING, before)
