"""The search on the sample as Spark tasks, so that a cluster searches with all its cores."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pyspark.sql import SparkSession

from gmm_spark.engine.cluster import Shared, described, has_rdds, map_items, parallelism
from gmm_spark.mixture.initialisation.candidates import Sample

# Tasks for every one that can run at once: candidates take different numbers of steps.
_TASKS_PER_CORE = 3
# Seconds of work from which on a job is quicker: it takes a tenth itself, the first one more.
_WORTH_A_JOB = 0.8


class SparkSampleExecutor:
    """A `SampleExecutor` (`initialisation.candidates`) whose items are tasks of one job.

    The first item is worked on here, and so are the others where they would take less time than
    a job is worth. The sample is sent to the workers once; on Spark Connect, which would send it
    with every job, all the work is done here.
    """

    def __init__(self, spark: SparkSession, sample: Sample) -> None:
        self._spark, self._sample = spark, sample
        self._shared: Shared | None = None

    def __call__(self, work: Callable[[Sample, Any], Any], items: Sequence[Any]) -> list[Any]:
        if not items:
            return []
        started = time.monotonic()
        first = work(self._sample, items[0])
        others = items[1:]
        ahead = (time.monotonic() - started) * len(others)
        if not others or ahead < _WORTH_A_JOB or not has_rdds(self._spark):
            return [first, *(work(self._sample, item) for item in others)]
        if self._shared is None:
            self._shared = Shared(self._spark, self._sample, self._sample.values.nbytes)
        shared = self._shared
        tasks = min(len(others), _TASKS_PER_CORE * parallelism(self._spark))
        with described(self._spark, "search on the sample"):
            found = map_items(
                self._spark, lambda item: work(shared.value, item), list(others), tasks
            )
        return [first, *found]

    def close(self) -> None:
        """Give back what the workers hold."""
        if self._shared is not None:
            self._shared.destroy()
            self._shared = None
