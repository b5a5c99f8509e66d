"""One job over the blocks of a source, or over a frame: every task returns one row of bytes."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from gmm_spark.engine.blocks import Block, Roles, TaskProblemError
from gmm_spark.engine.cluster import Outcome, Partitions, described, run_tasks
from gmm_spark.errors import FitError, InputDataError

Work = Callable[[Iterator[Block]], bytes]
Merge = Callable[[list[bytes]], bytes]

# Payloads of a job beyond this meet in a second, smaller stage before they reach the driver.
DRIVER_BYTES = 64 << 20


class Source(Protocol):
    """Where the rows of a fit come from."""

    @property
    def spark(self) -> SparkSession | None:
        """None where all the rows are in this process, which then does the tasks' work."""

    @property
    def opening(self) -> str:
        """What the first look at its rows is called: scan, or packing."""

    @property
    def roles(self) -> Roles: ...

    @property
    def version(self) -> Mapping[str, Any] | None:
        """What tells its rows from others without a look at them; None where nothing does."""

    @property
    def num_tasks(self) -> int: ...

    @property
    def rows_at_most(self) -> int: ...

    def partitions(self) -> Partitions:
        """What the tasks of a job are made of; their reader gives blocks."""

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
    if source.spark is None:
        here = source.partitions()
        assert isinstance(here.data, Sequence)
        return [work(here.reader(here.data))]
    payload_levels = _groups_per_level(source.num_tasks, payload_bytes, aggregation_depth)
    levels = [] if merge is None else payload_levels
    with described(source.spark, description):
        outcomes = run_tasks(
            source.spark,
            source.partitions(),
            partial(_outcome, work),
            partial(_together, merge),
            levels,
        )
    outcomes.sort(key=lambda outcome: outcome[0])
    for _, problem, _ in outcomes:
        if problem:
            raise FitError(problem)
    return [payload for _, _, payload in outcomes]


def answer(
    found: Callable[[Iterable[pa.RecordBatch]], Any], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """What a task finds in its batches, or what is wrong with them, as the row it returns."""
    try:
        problem, payload = None, pickle.dumps(found(batches))
    except (InputDataError, TaskProblemError) as error:
        problem, payload = str(error), b""
    yield pa.RecordBatch.from_arrays(
        [pa.array([problem], pa.string()), pa.array([payload], pa.binary())],
        ["problem", "payload"],
    )


def answers(
    rows: DataFrame,
    work: Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]],
    description: str,
) -> list[Any]:
    """What the tasks of a frame find, whose work gives an `answer`.

    Raises InputDataError for values that cannot be used, and where a file changed meanwhile.
    """
    with described(rows.sparkSession, description):
        collected = rows.mapInArrow(work, "problem string, payload binary").collect()
    for row in collected:
        if row["problem"]:
            raise InputDataError(row["problem"])
    return [pickle.loads(bytes(row["payload"])) for row in collected]


def _groups_per_level(count: int, payload_bytes: int, depth: int) -> list[int]:
    """How many outcomes each stage of merging puts together, until the rest suits the driver."""
    levels = []
    for level in range(depth, 1, -1):
        if count * payload_bytes <= DRIVER_BYTES:
            break
        levels.append(math.ceil(count ** (1 / level)))
        count = math.ceil(count / levels[-1])
    return levels


def _outcome(work: Work, number: int, blocks: Iterator[Block]) -> Outcome:
    try:
        return number, None, work(blocks)
    except TaskProblemError as found:
        return number, str(found), b""


def _together(merge: Merge | None, per_group: int, outcomes: Iterable[Outcome]) -> Outcome:
    assert merge is not None
    ordered = sorted(outcomes, key=lambda outcome: outcome[0])
    number = ordered[0][0] // per_group
    for _, problem, _ in ordered:
        if problem:
            return number, problem, b""
    return number, None, merge([payload for _, _, payload in ordered])
