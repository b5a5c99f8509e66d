"""One Spark job over the blocks of a source: order, levels of merging, problems, settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gmm_spark.engine import jobs
from gmm_spark.engine.blocks import TaskProblemError
from gmm_spark.engine.cluster import Partitions, distributed
from gmm_spark.engine.jobs import run_job
from gmm_spark.errors import FitError

BATCH_SETTING = "spark.sql.execution.arrow.maxRecordsPerBatch"


def numbers(batches: Iterable[Any]) -> Iterator[int]:
    for batch in batches:
        yield from batch.column(0).to_pylist()


def themselves(items: Iterable[int]) -> Iterator[int]:
    yield from items


def spelled(items: Iterator[int]) -> bytes:
    return b"".join(b"[%d]" % item for item in items)


def spelled_but_for_5_and_20(items: Iterator[int]) -> bytes:
    items = list(items)
    for item in items:
        if item in (5, 20):
            raise TaskProblemError(f"found {item}")
    return spelled(items)


def source(spark, tasks: int, *, rdd: bool = False) -> Any:
    """A source of `tasks` partitions, of which each holds its own number."""
    return SimpleNamespace(
        spark=spark,
        num_tasks=tasks,
        partitions=lambda: (
            distributed(spark, range(tasks), tasks, themselves, cache=False)
            if rdd
            else Partitions(spark.range(0, tasks, 1, tasks), numbers)
        ),
    )


EXPECTED = [b"[%d]" % i for i in range(27)]


@pytest.mark.parametrize("rdd", [False, True])
def test_payloads_come_in_the_order_of_partitions(spark, rdd) -> None:
    assert run_job(source(spark, 27, rdd=rdd), spelled, "test") == EXPECTED


@pytest.mark.parametrize("rdd", [False, True])
@pytest.mark.parametrize(("depth", "payloads"), [(1, 27), (2, 5), (3, 3)])
def test_many_payloads_meet_in_as_many_stages_as_allowed(
    spark, monkeypatch, depth, payloads, rdd
) -> None:
    """27 go to the driver, or the merges of ceil(sqrt 27) = 6 each, or those of 3 of 3 each."""
    monkeypatch.setattr(jobs, "DRIVER_BYTES", 1)
    found = run_job(
        source(spark, 27, rdd=rdd),
        spelled,
        "test",
        merge=b"".join,
        payload_bytes=5,
        aggregation_depth=depth,
    )
    assert len(found) == payloads
    assert b"".join(found) == b"".join(EXPECTED)


def test_few_payloads_go_to_the_driver_at_once(spark) -> None:
    job = {"merge": b"".join, "payload_bytes": 5, "aggregation_depth": 3}
    assert run_job(source(spark, 5), spelled, "test", **job) == EXPECTED[:5]


@pytest.mark.parametrize("rdd", [False, True])
@pytest.mark.parametrize("limit", [1, 1 << 30])
def test_a_problem_in_a_task_ends_the_job_with_what_was_found(
    spark, monkeypatch, limit, rdd
) -> None:
    monkeypatch.setattr(jobs, "DRIVER_BYTES", limit)
    with pytest.raises(FitError, match=r"^found 5$"):
        run_job(
            source(spark, 27, rdd=rdd),
            spelled_but_for_5_and_20,
            "test",
            merge=b"".join,
            payload_bytes=5,
            aggregation_depth=3,
        )


def test_settings_of_the_session_are_as_before(spark) -> None:
    context = spark.sparkContext
    before = spark.conf.get(BATCH_SETTING)
    context.setJobDescription("mine")
    try:
        run_job(source(spark, 2), spelled, "test")
        with pytest.raises(FitError):
            run_job(source(spark, 27), spelled_but_for_5_and_20, "test")
        assert spark.conf.get(BATCH_SETTING) == before
        assert context.getLocalProperty("spark.job.description") == "mine"
        spark.conf.set(BATCH_SETTING, "77")
        run_job(source(spark, 2), spelled, "test")
        assert spark.conf.get(BATCH_SETTING) == "77"
    finally:
        spark.conf.set(BATCH_SETTING, before)
        context.setLocalProperty("spark.job.description", None)
