"""The search on the sample, shared out among tasks."""

from __future__ import annotations

import os

import numpy as np
import pytest

from gmm_spark.engine import sample_executor as module
from gmm_spark.engine.sample_executor import SparkSampleExecutor
from gmm_spark.mixture.initialisation.candidates import (
    Candidate,
    InProcess,
    Sample,
    advance_all,
    run_em_all,
)
from gmm_spark.mixture.initialisation.multistart import search
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES


@pytest.fixture(scope="module")
def sample() -> Sample:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(3, 4000)) + 4.0 * rng.integers(0, 4, 4000)
    return Sample(values, None, Standardisation(np.zeros(3), np.ones(3)), np.full(3, 1e-3))


@pytest.fixture
def executor(spark, sample, monkeypatch):
    monkeypatch.setattr(module, "_WORTH_A_JOB", 0.0)
    made = SparkSampleExecutor(spark, sample)
    yield made
    made.close()


def starts(count: int) -> list[Candidate]:
    rng = np.random.default_rng(8)
    unit = Parameters.unit(STRUCTURES["VVV"], 4, 3)
    return [
        Candidate(
            Parameters(unit.structure, unit.weights, rng.normal(size=(4, 3)), unit.covariances)
        )
        for _ in range(count)
    ]


def same(one: Candidate, other: Candidate) -> bool:
    return (
        one.score == other.score
        and (one.parameters.means == other.parameters.means).all()
        and (one.parameters.covariances == other.parameters.covariances).all()
    )


def process_of(sample: Sample, item: int) -> tuple[int, int]:
    return item, os.getpid()


def test_the_work_is_done_in_other_processes_and_comes_back_in_order(executor) -> None:
    found = executor(process_of, list(range(7)))
    assert [item for item, _ in found] == list(range(7))
    assert found[0][1] == os.getpid()
    assert os.getpid() not in {process for _, process in found[1:]}


def test_what_is_soon_done_is_done_here(spark, sample) -> None:
    executor = SparkSampleExecutor(spark, sample)
    assert {process for _, process in executor(process_of, list(range(7)))} == {os.getpid()}
    assert executor(process_of, []) == []
    executor.close()


@pytest.mark.parametrize("through", [advance_all, run_em_all])
def test_the_bits_are_those_of_one_alone(through, executor, sample) -> None:
    shared = through(executor, 3000, starts(6), steps=5, tol=0.0)
    alone = through(InProcess(sample), 3000, starts(6), steps=5, tol=0.0)
    assert len(shared) == len(alone) == 6
    assert all(same(a, b) for a, b in zip(shared, alone, strict=True))


def test_a_search_ends_where_it_ends_alone(executor, sample) -> None:
    structure = STRUCTURES["VVV"]
    shared = search(sample, 4, structure, num_init=4, executor=executor)
    alone = search(sample, 4, structure, num_init=4)
    assert all((a.means == b.means).all() for a, b in zip(shared, alone, strict=True))
