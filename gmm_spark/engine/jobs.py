"""One Spark job over the blocks of a source: every task returns one row of bytes.

On classic Spark a source may offer an RDD: a job over one takes 0.03 s before any work is done,
a new plan of mapInArrow 0.08 s, which a pass of 0.3 s feels. Everything else, and Spark Connect,
goes through mapInArrow.
"""

from __future__ import annotations

import math
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
from pyspark import TaskContext
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from gmm_spark.engine.blocks import Block, Roles, TaskProblemError
from gmm_spark.errors import ConfigurationError, FitError

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.core.broadcast import Broadcast

Reader = Callable[[Iterable[Any]], Iterator[Block]]
Work = Callable[[Iterator[Block]], bytes]
Merge = Callable[[list[bytes]], bytes]

# A value up to this size goes to every task with its code.
_CLOSURE_BYTES = 64 << 10
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
        """What the tasks of a job are made of: `reader` takes its batches."""

    def rdd(self) -> tuple[RDD[Any], Reader] | None:
        """The same on classic Spark, without a plan, and what reads its elements."""

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
    payload_levels = _groups_per_level(source.num_tasks, payload_bytes, aggregation_depth)
    levels = [] if merge is None else payload_levels
    with described(source.spark, description):
        direct = None if is_connect(source.spark) else source.rdd()
        if direct is None:
            outcomes = _by_plan(source, work, merge, levels)
        else:
            outcomes = _by_rdd(*direct, work, merge, levels)
    outcomes.sort(key=lambda outcome: outcome[0])
    for _, problem, _ in outcomes:
        if problem:
            raise FitError(problem)
    return [payload for _, _, payload in outcomes]


# A task's number, the problem it met, its payload.
Outcome = tuple[int, str | None, bytes]


def _groups_per_level(count: int, payload_bytes: int, depth: int) -> list[int]:
    """How many outcomes each stage of merging puts together, until the rest suits the driver."""
    levels = []
    for level in range(depth, 1, -1):
        if count * payload_bytes <= DRIVER_BYTES:
            break
        levels.append(math.ceil(count ** (1 / level)))
        count = math.ceil(count / levels[-1])
    return levels


def _outcome(number: int, work: Work, blocks: Iterator[Block]) -> Outcome:
    try:
        return number, None, work(blocks)
    except TaskProblemError as found:
        return number, str(found), b""


def _together(outcomes: Iterable[Outcome], per_group: int, merge: Merge) -> Outcome:
    ordered = sorted(outcomes, key=lambda outcome: outcome[0])
    number = ordered[0][0] // per_group
    for _, problem, _ in ordered:
        if problem:
            return number, problem, b""
    return number, None, merge([payload for _, _, payload in ordered])


def _by_rdd(
    rdd: RDD[Any], reader: Reader, work: Work, merge: Merge | None, levels: list[int]
) -> list[Outcome]:
    def task(number: int, items: Iterable[Any]) -> Iterator[Outcome]:
        yield _outcome(number, work, reader(items))

    results = rdd.mapPartitionsWithIndex(task)
    count = rdd.getNumPartitions()
    for per_group in levels:
        assert merge is not None
        count = math.ceil(count / per_group)
        grouped = results.keyBy(_group_of(per_group)).partitionBy(count, _identity)
        results = grouped.mapPartitions(_merger(per_group, merge))
    return results.collect()


def _group_of(per_group: int) -> Callable[[Outcome], int]:
    return lambda outcome: outcome[0] // per_group


def _identity(number: int) -> int:
    return number


def _merger(
    per_group: int, merge: Merge
) -> Callable[[Iterable[tuple[int, Outcome]]], Iterator[Outcome]]:
    def of_partition(pairs: Iterable[tuple[int, Outcome]]) -> Iterator[Outcome]:
        yield _together([outcome for _, outcome in pairs], per_group, merge)

    return of_partition


def _by_plan(source: Source, work: Work, merge: Merge | None, levels: list[int]) -> list[Outcome]:
    reader = source.reader

    def task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        number = 0 if context is None else context.partitionId()
        yield _result(_outcome(number, work, reader(batches)))

    results = source.frame().mapInArrow(task, _RESULT_SCHEMA)
    for per_group in levels:
        assert merge is not None
        results = _merged(results, per_group, merge)
    with _small_batches(source.spark):
        rows = results.collect()
    return [(row["partition"], row["problem"], bytes(row["payload"])) for row in rows]


def _merged(results: DataFrame, per_group: int, merge: Merge) -> DataFrame:
    def combine(table: pa.Table) -> pa.Table:
        outcomes = zip(*(column.to_pylist() for column in table.columns), strict=True)
        return pa.Table.from_batches([_result(_together(outcomes, per_group, merge))])

    group = F.floor(F.col("partition") / per_group)
    return results.groupBy(group).applyInArrow(combine, _RESULT_SCHEMA)


def _result(outcome: Outcome) -> pa.RecordBatch:
    number, problem, payload = outcome
    return pa.RecordBatch.from_arrays(
        [
            pa.array([number], pa.int32()),
            pa.array([problem], pa.string()),
            pa.array([payload], pa.binary()),
        ],
        ["partition", "problem", "payload"],
    )


def current_session() -> SparkSession | None:
    """The session of this thread, else the default one: a new thread has none of its own."""
    try:
        spark = SparkSession.active()
    except PySparkRuntimeError:
        return None
    stopped = not is_connect(spark) and spark.sparkContext._jsc is None
    return None if stopped else spark


def needed_session() -> SparkSession:
    """The current session; ConfigurationError where there is none."""
    spark = current_session()
    if spark is None:
        raise ConfigurationError("there is no SparkSession; make one with SparkSession.builder")
    return spark


def is_connect(spark: SparkSession) -> bool:
    return type(spark).__module__.startswith("pyspark.sql.connect")


def parallelism(spark: SparkSession) -> int:
    """Tasks that can run at once, as far as Spark says."""
    if not is_connect(spark):
        return max(1, spark.sparkContext.defaultParallelism)
    partitions = spark.range(65_536).select(F.spark_partition_id().alias("p")).distinct()
    return max(1, partitions.count())


@contextmanager
def described(spark: SparkSession, description: str) -> Iterator[None]:
    """Name the jobs that are run within; a module that the workers lack is one clear error."""
    with _modules_found():
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


@contextmanager
def _modules_found() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of which type is up to the version of Spark and the kind of job
        missing = re.search(r"ModuleNotFoundError: No module named '(\w+)", str(error))
        if missing is None:
            raise
        raise ConfigurationError(
            f"the Python of Spark's workers has no module {missing[1]!r}: it needs numpy, pandas "
            "and pyarrow, and gmm_spark, there or by --py-files. Set PYSPARK_PYTHON, before the "
            f"session starts, to one that has them (on this machine {sys.executable})"
        ) from None


class Shared:
    """A value sent to the tasks: broadcast where it is large, else in the closure, which saves a
    hundredth of a second a pass. Spark Connect has no broadcasts."""

    def __init__(self, spark: SparkSession, value: Any, num_bytes: int) -> None:
        self._broadcast: Broadcast[Any] | None = None
        if not is_connect(spark) and num_bytes > _CLOSURE_BYTES:
            self._broadcast = spark.sparkContext.broadcast(value)
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
