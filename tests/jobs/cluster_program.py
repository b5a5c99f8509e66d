"""A fit on a cluster whose passes are disturbed, one after the other; for spark-submit.

`cluster_program.py SOURCE TABLE [WORKER FAULT ...]` prints a line of JSON. SOURCE is table or
frame, WORKER the process of a worker. Before every pass from the second on processes below it are
stopped, so that they are given tasks and do not do them, and then a FAULT comes:

python       the Python workers of its executor are killed
speculation  the executor goes on when another has done what it was given
worker       worker and executor are killed
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy
from pyspark import SparkContext
from pyspark.sql import SparkSession

import gmm_spark
from gmm_spark import GaussianMixture, ParquetTable
from gmm_spark.engine.passes import PassEngine

SETTINGS: dict[str, Any] = {
    "k": 5, "inputCols": list("abcd"), "seed": 2, "numInit": 2, "maxIter": 6,
    "tol": 1e-12, "acceleration": "none", "sampleSize": 4000,
}  # fmt: skip


def below(process: int, command: str) -> list[int]:
    """Processes of that command, whose parent or whose parent's parent is this one."""
    parents, commands = {}, {}
    for one in Path("/proc").glob("[0-9]*"):
        try:
            status = (one / "stat").read_text("utf-8").rpartition(")")[2].split()
            commands[int(one.name)] = (one / "cmdline").read_text("utf-8")
        except OSError:
            continue
        parents[int(one.name)] = int(status[1])
    return [
        pid
        for pid, parent in parents.items()
        if command in commands[pid] and process in (parent, parents.get(parent))
    ]


def send(number: int, processes: list[int]) -> None:
    for pid in processes:
        os.kill(pid, number)


def disturb(spark: SparkSession, worker: int, faults: list[str]) -> None:
    run_passes = PassEngine.run_passes
    tracker = spark.sparkContext.statusTracker()

    def tasks_are_at_work() -> bool:
        stages = map(tracker.getStageInfo, tracker.getActiveStageIds())
        return any(stage.numActiveTasks > 0 for stage in stages if stage is not None)

    def kill(processes: list[int], ended: threading.Event) -> None:
        # A pass that was given to the other executor alone may end before it is seen.
        while not tasks_are_at_work():
            if ended.wait(0.02):
                break
        time.sleep(1.0)  # less than the three that a task waits for the executor of its rows
        send(signal.SIGKILL, processes)

    def disturbed(self: PassEngine, evaluators: Any) -> Any:
        number = len(self.seconds) - 1
        if not 0 <= number < len(faults):
            return run_passes(self, evaluators)
        (executor,) = stopped = below(worker, "CoarseGrainedExecutorBackend")
        killed = [worker, executor]
        if faults[number] == "python":
            (daemon,) = below(executor, "pyspark.daemon")[:1]
            killed = stopped = below(daemon, "pyspark.daemon")
            assert killed
        send(signal.SIGSTOP, stopped)
        if faults[number] == "speculation":
            found = run_passes(self, evaluators)
            send(signal.SIGCONT, stopped)
            # Until it has said that it is free again, it is given nothing.
            time.sleep(2.0)
            return found
        ended = threading.Event()
        killer = threading.Thread(target=kill, args=(killed, ended))
        killer.start()
        try:
            found = run_passes(self, evaluators)
        finally:
            ended.set()
            killer.join()
        return found

    PassEngine.run_passes = disturbed  # type: ignore[method-assign]


def repeated(context: SparkContext) -> int:
    """Tasks that failed, and stages of which the rows of a shuffle were lost."""
    tracker = context.statusTracker()
    jobs = [tracker.getJobInfo(number) for number in tracker.getJobIdsForGroup()]
    stages = [tracker.getStageInfo(number) for job in jobs if job for number in job.stageIds]
    return sum(stage.numFailedTasks + stage.currentAttemptId for stage in stages if stage)


def of_this_process(_: Any) -> list[tuple[str, str, str]]:
    """Where this Python and its packages are."""
    return [(sys.prefix, gmm_spark.__file__, numpy.__file__)]


def main(source: str, path: str, worker: str = "", *faults: str) -> None:
    spark = SparkSession.builder.getOrCreate()
    context = spark.sparkContext
    workers = context.parallelize(range(4), 4).mapPartitions(of_this_process).distinct().collect()
    data: Any = ParquetTable(path)
    if source == "frame":
        data = spark.read.parquet(path).repartition(4, "a")
    if faults:
        disturb(spark, int(worker), list(faults))
    model = GaussianMixture(**SETTINGS).fit(data)
    found = {
        "driver": of_this_process(None)[0],
        "workers": workers,
        "weights": model.weights,
        "means": model.means.tolist(),
        "covariances": model.covariances.tolist(),
        "rows": model.summary.numRows,
        "passes": model.summary.numPasses,
        "repeated": repeated(context),
        "kept": context._jsc.getPersistentRDDs().size(),  # type: ignore[union-attr]
    }
    print(json.dumps(found))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
