"""A fit is a value: killed after any pass, written, and read by another process, it goes on to the
same bits; a step changes nothing but what it returns."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from gmm_spark.mixture import arrays, em, multifit
from gmm_spark.mixture.em import FitState, PassKind
from gmm_spark.mixture.multifit import MultiFit
from gmm_spark.mixture.structures import Structure
from tests.mixture.fits import CASES, Case, read, write

ROOT = Path(__file__).resolve().parents[2]


@lru_cache
def case_named(name: str) -> Case:
    return CASES[name]()


@lru_cache
def states_of(name: str) -> list[Any]:
    """The state before the first pass, those after each of them, and that at the end."""
    case, states = case_named(name), []
    states.append(case.started())
    ended = case.run(states[0], states.append)
    return [*states, ended]


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two values are not the same to the bit."""
    if type(one) is not type(other):
        return [where]
    if is_dataclass(one):
        names = [field.name for field in fields(one)]
        pairs = [(f"{where}.{n}", getattr(one, n), getattr(other, n)) for n in names]
    elif isinstance(one, tuple):
        if len(one) != len(other):
            return [where]
        pairs = [(f"{where}.{i}", *pair) for i, pair in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, np.ndarray):
        # In the same order in memory, too, on which the last bit of a sum depends.
        a, b = ((v.shape, v.dtype, v.flags.c_contiguous, v.tobytes()) for v in (one, other))
        return [] if a == b else [where]
    else:
        return [] if one == other else [where]
    return [found for name, a, b in pairs for found in differences(a, b, name)]


# Of fits with many passes those to the end; the first passes of them are cases of their own.
LONG, SEARCH = ("full", "search"), "search, to pass 9"
SHORT = [name for name in CASES if name not in LONG]


def gone_on_elsewhere(names: Any, folder: Path) -> Path:
    """Every state of the cases written, and ended by a process that knows the data and the arrays
    alone."""
    for name in names:
        (folder / name).mkdir()
        *killed, _ = states_of(name)
        for number, state in enumerate(killed):
            write(state, folder / name, f"killed-{number:03d}")
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.mixture.fits", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **one_thread}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=600)
    return folder


def assert_same_end(name: str, folder: Path) -> None:
    *killed, ended = states_of(name)
    for path, state in zip(sorted((folder / name).glob("killed-*")), killed, strict=True):
        assert differences(read(path), state) == []
    found = sorted((folder / name).glob("ended-*"))
    assert len(found) == len(killed)
    for path in found:
        assert differences(read(path), ended) == []


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    return gone_on_elsewhere(SHORT, tmp_path_factory.mktemp("fits"))


@pytest.mark.parametrize("name", SHORT)
def test_killed_after_any_pass_it_ends_at_the_same_bits(name, elsewhere) -> None:
    assert_same_end(name, elsewhere)


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_killed_after_any_of_many_passes_it_ends_at_the_same_bits(name, tmp_path) -> None:
    assert_same_end(name, gone_on_elsewhere([name], tmp_path))


def test_the_cases_have_all_that_a_state_can_hold() -> None:
    """Every kind of pass, steps on a sample that is smaller than the rows, floored and dead
    components, a reason of every kind but a fall, pruned fits that stood for several scans."""
    singles = [states_of(name) for name in SHORT if name != SEARCH]
    every = [state for states in singles for state in states]
    assert {r.kind for s in every for r in s.history} == set(get_args(PassKind))
    assert {s.reason for s in every} == {None, "converged", "max_iterations", "singular"}
    assert any(s.floored for s in every)
    assert any(s.dead for s in every)
    assert any(s.scatter is not None for s in every)
    assert any(s.confirmations for s in every)
    accelerators = [s.accelerator for s in every if s.accelerator is not None]
    assert any(len(a.points) > 2 for a in accelerators)
    assert len({a.sample_steps for a in accelerators}) > 2
    assert {a.sample_helps for a in accelerators} == {True, False}
    assert {a.lifts for a in accelerators} == {1, 2, 3}
    *_, ended = states_of(SEARCH)
    assert any(ended.pruned)
    assert max(len(f.history) for f, gone in zip(ended.fits, ended.pruned, strict=True) if gone) > 1


def leaves(value: Any) -> list[np.ndarray]:
    """The arrays in a value."""
    if isinstance(value, np.ndarray):
        return [value]
    parts = value if isinstance(value, tuple) else ()
    if is_dataclass(value):
        parts = tuple(getattr(value, field.name) for field in fields(value))
    return [array for part in parts for array in leaves(part)]


@pytest.mark.parametrize("name", ["tied", "categories", "labels and noise", "rejected", "lifted"])
def test_a_step_is_a_function_of_its_arguments(name) -> None:
    case = case_named(name)
    (problem,) = case.problems
    state = case.started()
    while state.reason is None:
        for array in leaves(state):
            array.flags.writeable = False
        state, evaluator = em.requested(state, problem)
        if evaluator is None:
            break
        statistics = case.run_pass(evaluator)
        before = statistics.values.copy()
        once, again = (em.step(state, evaluator, statistics, problem) for _ in range(2))
        assert differences(once, again) == []
        assert np.array_equal(statistics.values, before)
        state = once
    assert differences(state, states_of(name)[-1]) == []


def test_every_pass_is_told_with_the_state_after_it() -> None:
    states = states_of("plain EM")
    assert [len(state.history) for state in states] == [*range(14), 13]
    assert states[-1] is states[-2]
    assert all(isinstance(state, FitState) for state in states)


def test_seconds_are_kept_in_the_record_of_their_pass() -> None:
    """Who answers a scan says how long it took; of several fits each keeps that of its passes."""
    case = case_named(SEARCH)
    scans: list[float] = []

    def run_passes(evaluators: Any) -> Any:
        scans.append(0.25 * (len(scans) + 1))
        return [case.run_pass(evaluator) for evaluator in evaluators]

    state = states_of(SEARCH)[0]
    seconds = lambda: scans[-1]  # noqa: E731
    ended = multifit.run(run_passes, state, case.problems, case.penalties, seconds=seconds)
    for fit in ended.fits:
        assert [record.seconds for record in fit.history] == scans[: len(fit.history)]
    assert all(record.seconds is None for record in states_of(SEARCH)[-1].fits[0].history)


def classes_in(value: Any) -> set[type]:
    """The dataclasses that a value consists of, but the structures, which have a code each."""
    parts = value if isinstance(value, tuple) else ()
    found = set()
    if is_dataclass(value) and not isinstance(value, Structure):
        found.add(type(value))
        parts = tuple(getattr(value, field.name) for field in fields(value))
    return found.union(*(classes_in(part) for part in parts))


def test_a_state_without_one_of_its_fields_is_refused(monkeypatch) -> None:
    names = ["labels and noise", "floored"]
    for state in (MultiFit(tuple(states_of(name)[-1] for name in names), (False,) * 2),):
        classes = classes_in(state)
        assert {kind.__name__ for kind in classes} >= {"FitState", "Accelerator", "Statistics"}
        for kind in classes:
            for left_out in fields(kind):

                def others(one: Any, kind: type = kind, name: str = left_out.name) -> Any:
                    of = one if isinstance(one, type) else type(one)
                    return tuple(f for f in fields(one) if of is not kind or f.name != name)

                with monkeypatch.context() as patch:
                    patch.setattr(arrays, "fields", others)
                    written = state.to_arrays()
                with pytest.raises(ValueError, match=left_out.name):
                    MultiFit.from_arrays(written)
