"""What classic Spark and Spark Connect do each in their own way. No other module knows which it is.

Classic Spark has a JVM in reach, and with it RDDs, broadcasts, descriptions of jobs and Hadoop's
file systems. Spark Connect has queries alone: values travel with the code of a task, a job has no
name, and a file system is asked by reading and writing.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark import SparkContext, TaskContext
from pyspark.errors import AnalysisException, PySparkRuntimeError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from gmm_spark.engine.addresses import escaped
from gmm_spark.errors import ConfigurationError, spark_message

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.core.broadcast import Broadcast

logger = logging.getLogger(__name__)

Reader = Callable[[Iterable[Any]], Iterator[Any]]
# A task's number, the problem it met, its payload.
Outcome = tuple[int, str | None, bytes]
Task = Callable[[int, Iterator[Any]], Outcome]
Merge = Callable[[int, Iterable[Outcome]], Outcome]
Item = TypeVar("Item")
Found = TypeVar("Found")

# A value up to this size goes to every task with its code.
_CLOSURE_BYTES = 64 << 10
_RESULT_SCHEMA = "partition int, problem string, payload binary"


# The session.


def current_session() -> SparkSession | None:
    """The session of this thread, else the default one: a new thread has none of its own."""
    try:
        spark = SparkSession.active()
    except PySparkRuntimeError:
        return None
    stopped = not _is_connect(spark) and spark.sparkContext._jsc is None
    return None if stopped else spark


def needed_session() -> SparkSession:
    """The current session; ConfigurationError where there is none."""
    spark = current_session()
    if spark is None:
        raise ConfigurationError("there is no SparkSession; make one with SparkSession.builder")
    return spark


def _is_connect(spark: SparkSession) -> bool:
    return type(spark).__module__.startswith("pyspark.sql.connect")


def parallelism(spark: SparkSession) -> int:
    """Tasks that can run at once, as far as Spark says."""
    if not _is_connect(spark):
        return max(1, spark.sparkContext.defaultParallelism)
    partitions = spark.range(65_536).select(F.spark_partition_id().alias("p")).distinct()
    return max(1, partitions.count())


def free_storage(spark: SparkSession) -> int:
    """Bytes of storage memory the executors have left; 0 on Spark Connect, which does not say."""
    if _is_connect(spark):
        return 0
    context: Any = spark.sparkContext._jsc
    executors = context.sc().getExecutorMemoryStatus().valuesIterator()
    free = 0
    while executors.hasNext():
        free += executors.next()._2()
    return free


@contextmanager
def loggers_off_on_one_machine(spark: SparkSession, names: Sequence[str]) -> Iterator[None]:
    """Where the cluster is this machine, these loggers of the JVM say nothing."""
    if _is_connect(spark) or not str(spark.sparkContext.master).startswith("local"):
        yield
        return
    jvm: Any = spark.sparkContext._jvm
    log4j = jvm.org.apache.logging.log4j
    before = {name: log4j.LogManager.getLogger(name).getLevel() for name in names}
    configurator = log4j.core.config.Configurator
    for name in before:
        configurator.setLevel(name, log4j.Level.OFF)
    try:
        yield
    finally:
        with suppress(Exception):  # a JVM that has ended says nothing either
            for name, level in before.items():
                configurator.setLevel(name, level)


# Jobs, and what their tasks are given.


@contextmanager
def described(spark: SparkSession, description: str) -> Iterator[None]:
    """Name the jobs that are run within; a module that the workers lack is one clear error."""
    with _modules_found():
        if _is_connect(spark):
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
    hundredth of a second a pass. Spark Connect has no broadcasts, and without a session there are
    no tasks to send it to."""

    def __init__(self, spark: SparkSession | None, value: Any, num_bytes: int) -> None:
        self._broadcast: Broadcast[Any] | None = None
        if spark is not None and not _is_connect(spark) and num_bytes > _CLOSURE_BYTES:
            self._broadcast = spark.sparkContext.broadcast(value)
        self._value = value if self._broadcast is None else None

    @property
    def value(self) -> Any:
        return self._value if self._broadcast is None else self._broadcast.value

    def destroy(self) -> None:
        if self._broadcast is not None:
            self._broadcast.destroy()


def has_rdds(spark: SparkSession) -> bool:
    """Whether any function can be run on any items as tasks: what `map_items` needs."""
    return not _is_connect(spark)


def map_items(
    spark: SparkSession, function: Callable[[Item], Found], items: Sequence[Item], num_tasks: int
) -> list[Found]:
    """A function of every item, in their order, by so many tasks of one job."""
    return spark.sparkContext.parallelize(items, num_tasks).map(function).collect()


@dataclass(frozen=True)
class Partitions:
    """What the tasks of a job are made of, one of each partition, and what reads one.

    On classic Spark it may be an RDD: a job over one takes 0.03 s before any work is done, a new
    plan of mapInArrow 0.08 s, which a pass of 0.3 s feels. `reader` turns the elements of an RDD,
    or the record batches of a DataFrame, into what a task works on.
    """

    data: RDD[Any] | DataFrame | Sequence[Any]  # the last where there is no session
    reader: Reader
    is_cached: bool = False

    def close(self) -> None:
        """Give back what the cluster keeps of them."""
        if self.is_cached and not isinstance(self.data, Sequence):
            released(self.data)


def distributed(
    spark: SparkSession, items: Sequence[Any], num_tasks: int, reader: Reader, *, cache: bool
) -> Partitions | None:
    """Items shared out to partitions, each sent its own alone; None on Spark Connect.

    With `cache` what the reader makes of them stays on the cluster, from the first job on.
    """
    if _is_connect(spark):
        return None
    rdd = spark.sparkContext.parallelize(items, num_tasks)
    if not cache:
        return Partitions(rdd, reader)
    return Partitions(cached(rdd.mapPartitions(reader)), iter, is_cached=True)


def num_partitions(frame: DataFrame) -> int | None:
    """How many partitions the frame has; None where to ask would run a part of its query, which
    is what Spark does for shuffles, broadcasts and subqueries. 0 where there is no RDD to ask."""
    if _is_connect(frame.sparkSession):
        return 0
    plan = frame._jdf.queryExecution().executedPlan().toString()
    if "Exchange" in plan or "Subquery" in plan:
        return None
    return frame.rdd.getNumPartitions()


Kept = TypeVar("Kept", "RDD[Any]", DataFrame)


# Sessions that have refused to keep anything.
_keep_nothing: WeakSet[Any] = WeakSet()


def cached(data: Kept) -> Kept:
    """`data`, kept by the executors once it is computed, on their disks where memory ends.

    All that this package keeps on a cluster is kept by this function, and given back by `released`.
    A session that refuses whatever it is asked to keep (serverless Spark does) is asked once: its
    data are computed again each time they are read. What is wrong with `data` alone is raised.
    Not serialised: Java's serialisation holds on to the last hundred objects it wrote, blocks of
    megabytes here, which no executor counts, and a heap of 2 GiB ends at 10M rows of 12 columns.
    """
    session: Any = data.sparkSession if isinstance(data, DataFrame) else data.ctx
    if session in _keep_nothing:
        return data
    try:
        return data.persist(StorageLevel.MEMORY_AND_DISK_DESER)
    except Exception as error:  # of which type is up to who provides the session
        if _keeps_data(session):
            raise
        _keep_nothing.add(session)
        condition, text = spark_message(error)
        logger.warning(
            "this session keeps no data (%s): what is read several times is computed again each "
            "time; write the result of a costly query to a table first",
            condition or text,
        )
        return data


def _keeps_data(session: Any) -> bool:
    """Whether a session, or a context of RDDs, keeps something that nothing is wrong with."""
    try:
        if isinstance(session, SparkContext):
            session.parallelize([0], 1).persist(StorageLevel.MEMORY_AND_DISK_DESER).unpersist()
        else:
            session.range(1).persist(StorageLevel.MEMORY_AND_DISK_DESER).unpersist()
    except Exception:
        return False
    return True


def released(data: RDD[Any] | DataFrame) -> None:
    """Give back what `cached` keeps. Failing to is no failure of what needed it."""
    with suppress(Exception):
        data.unpersist()


def run_tasks(
    spark: SparkSession,
    partitions: Partitions,
    task: Task,
    merge: Merge,
    levels: Sequence[int],
) -> list[Outcome]:
    """The outcome of a task for every partition, in no order.

    A stage follows for each of `levels`, in which `merge(per_group, outcomes)` makes one of all
    those whose numbers, divided by `per_group`, are the same whole number.
    """
    if isinstance(partitions.data, DataFrame):
        return _by_plan(spark, partitions.data, partitions.reader, task, merge, levels)
    assert not isinstance(partitions.data, Sequence)
    return _by_rdd(partitions.data, partitions.reader, task, merge, levels)


def _by_rdd(
    rdd: RDD[Any],
    reader: Reader,
    task: Task,
    merge: Merge,
    levels: Sequence[int],
) -> list[Outcome]:
    def of_partition(number: int, items: Iterable[Any]) -> Iterator[Outcome]:
        yield task(number, reader(items))

    results = rdd.mapPartitionsWithIndex(of_partition)
    count = rdd.getNumPartitions()
    for per_group in levels:
        count = -(-count // per_group)
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
        yield merge(per_group, [outcome for _, outcome in pairs])

    return of_partition


def _by_plan(
    spark: SparkSession,
    frame: DataFrame,
    reader: Reader,
    task: Task,
    merge: Merge,
    levels: Sequence[int],
) -> list[Outcome]:
    def of_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        number = 0 if context is None else context.partitionId()
        yield _as_batch(task(number, reader(batches)))

    results = frame.mapInArrow(of_partition, _RESULT_SCHEMA)
    for per_group in levels:
        results = _merged(results, per_group, merge)
    with _small_batches(spark):
        rows = results.collect()
    return [(row["partition"], row["problem"], bytes(row["payload"])) for row in rows]


def _merged(results: DataFrame, per_group: int, merge: Merge) -> DataFrame:
    def combine(table: pa.Table) -> pa.Table:
        outcomes = zip(*(column.to_pylist() for column in table.columns), strict=True)
        return pa.Table.from_batches([_as_batch(merge(per_group, outcomes))])

    group = F.floor(F.col("partition") / per_group)
    return results.groupBy(group).applyInArrow(combine, _RESULT_SCHEMA)


def _as_batch(outcome: Outcome) -> pa.RecordBatch:
    number, problem, payload = outcome
    return pa.RecordBatch.from_arrays(
        [
            pa.array([number], pa.int32()),
            pa.array([problem], pa.string()),
            pa.array([payload], pa.binary()),
        ],
        ["partition", "problem", "payload"],
    )


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


# The file system that Spark reads from and writes to.


def default_filesystem(spark: SparkSession) -> str:
    """The file system in which Spark finds a path without a scheme; of Spark Connect, the local."""
    if _is_connect(spark):
        return "file:///"
    jsc: Any = spark.sparkContext._jsc
    return str(jsc.hadoopConfiguration().get("fs.defaultFS"))


def path_exists(spark: SparkSession, path: str) -> bool:
    """Whether something is at a path, by its own name."""
    if not _is_connect(spark):
        filesystem, hadoop_path = _by_hadoop(spark, path)
        return bool(filesystem.exists(hadoop_path))
    try:  # what reads a path looks whether it is there
        spark.read.text(escaped(path)).schema  # noqa: B018
    except AnalysisException as error:
        return "PATH_NOT_FOUND" not in str(error)
    return True


def matching_paths(spark: SparkSession, pattern: str) -> list[str]:
    """The path of that name where there is one, else the paths that match the pattern, sorted.

    None on Spark Connect, where no pattern is asked for.
    """
    if _is_connect(spark):
        return []
    filesystem, hadoop_path = _by_hadoop(spark, pattern)
    if filesystem.exists(hadoop_path):
        return [pattern]
    try:
        statuses = filesystem.globStatus(hadoop_path) or ()
    except Py4JError:  # no pattern either
        statuses = ()
    return sorted(status.getPath().toString() for status in statuses)


def rename_new(spark: SparkSession, path: str, to: str) -> bool:
    """Rename a file where nothing has the new name, in one step where the file system is HDFS;
    False, and nothing is done, where something has it.

    Raises ConfigurationError on Spark Connect, from which Hadoop's file systems are out of reach.
    """
    if _is_connect(spark):
        raise ConfigurationError(
            "on Spark Connect Hadoop's file systems are out of reach, by which a file is renamed "
            "and never replaces another; run the job with a classic session"
        )
    jvm: Any = spark._jvm  # type: ignore[attr-defined]
    hadoop = jvm.org.apache.hadoop.fs
    source, target = hadoop.Path(path), hadoop.Path(to)
    configuration = spark._jsparkSession.sessionState().newHadoopConf()  # type: ignore[attr-defined]
    gateway: Any = spark.sparkContext._gateway
    nothing_replaced = gateway.new_array(getattr(hadoop, "Options$Rename"), 0)
    files = hadoop.FileContext.getFileContext(source.toUri(), configuration)
    try:
        files.rename(source, target, nothing_replaced)
    except Py4JError as error:
        thrown = getattr(error, "java_exception", None)
        if thrown is None or "FileAlreadyExistsException" not in thrown.getClass().getName():
            raise
        return False
    return True


def delete_path(spark: SparkSession, path: str) -> None:
    """Delete a file or a directory with all that is in it; nothing if there is none."""
    if not _is_connect(spark):
        filesystem, hadoop_path = _by_hadoop(spark, path)
        filesystem.delete(hadoop_path, True)
        return
    # By a table of no rows written over it: Spark deletes the directory first, and of a
    # partitioned table that has no rows it writes no file.
    nothing = spark.createDataFrame([], "value string, partition string")
    writer = nothing.write.mode("overwrite").partitionBy("partition")
    writer = writer.option("partitionOverwriteMode", "static")
    writer.option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false").text(path)


def _by_hadoop(spark: Any, path: str) -> tuple[Any, Any]:
    """Hadoop's file system of a path, and the path."""
    hadoop_path = spark._jvm.org.apache.hadoop.fs.Path(path)
    configuration = spark._jsparkSession.sessionState().newHadoopConf()
    return hadoop_path.getFileSystem(configuration), hadoop_path


# MLlib, whose models live in the JVM.


def mllib_mixture(spark: SparkSession, weights: list[float], means: Any, covariances: Any) -> Any:
    """MLlib's model of components with these weights (k,), means (k, d) and covariances (k, d, d).
    ConfigurationError on Spark Connect, which has no way to the JVM."""
    if _is_connect(spark):
        raise ConfigurationError(
            "a model of MLlib is made in the JVM, to which Spark Connect has no way; save this "
            "model, and load it where the session is a classic one"
        )
    from pyspark.ml.clustering import GaussianMixtureModel
    from pyspark.ml.linalg import DenseMatrix, DenseVector

    jvm: Any = spark._jvm  # type: ignore[attr-defined]
    new, array = GaussianMixtureModel._new_java_obj, GaussianMixtureModel._new_java_array
    gaussian = "org.apache.spark.ml.stat.distribution.MultivariateGaussian"
    gaussians = [
        new(gaussian, DenseVector(mean), DenseMatrix(mean.size, mean.size, matrix.ravel(order="F")))
        for mean, matrix in zip(means, covariances, strict=True)
    ]
    kind = jvm.org.apache.spark.ml.stat.distribution.MultivariateGaussian
    made = jvm.org.apache.spark.ml.clustering.GaussianMixtureModel(
        f"GaussianMixtureModel_{uuid.uuid4().hex[-12:]}",
        array(weights, jvm.double),
        array(gaussians, kind),
    )
    return GaussianMixtureModel(made)
