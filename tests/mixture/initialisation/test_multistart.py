"""A search on the sample, and a grid of them, killed after any round and gone on from elsewhere."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gmm_spark.mixture import model_selection
from gmm_spark.mixture.families import Categorical, Count, Noise
from gmm_spark.mixture.initialisation import multistart
from gmm_spark.mixture.initialisation.candidates import Candidate, InProcess, Sample, advance
from gmm_spark.mixture.initialisation.multistart import SearchState
from gmm_spark.mixture.initialisation.split_merge import Moves
from gmm_spark.mixture.model_selection import GridState
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES

ROOT = Path(__file__).resolve().parents[3]

# Goes on from every state in a folder, in a process that has seen nothing of the search.
RESUME = """
import sys
from pathlib import Path
import numpy as np
from threadpoolctl import threadpool_limits
from tests.mixture.initialisation.test_multistart import CASES
threadpool_limits(1)  # as what it is compared with
case, folder = CASES[sys.argv[1]], Path(sys.argv[2])
for path in sorted(folder.glob("round-*.npz")):
    with np.load(path, allow_pickle=False) as arrays:
        state = case.kind.from_arrays(arrays)
    np.savez(folder / path.name.replace("round", "end"), **case.run(state).to_arrays())
"""


def groups(n: int, d: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """Groups that touch, (d, n), which is which, and the generator they are from."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, k, n)
    spread = rng.normal(size=(k, d, d)) / np.sqrt(d)
    rows = 3.0 * rng.normal(size=(k, d))[which]
    rows += np.einsum("nij,nj->ni", spread[which], rng.normal(size=(n, d)))
    return np.ascontiguousarray(rows.T), which, rng


def seen(values: np.ndarray, d: int, **more: Any) -> Sample:
    by = Standardisation(np.nanmean(values[:d], axis=1), np.nanstd(values[:d], axis=1))
    return Sample(values, more.pop("weights", None), by, np.full(d, 1e-3), **more)


def plain() -> Sample:
    values, _, rng = groups(2000, 2, 6, 7)
    return seen(values, 2, weights=rng.uniform(0.5, 2.0, 2000))


def few() -> Sample:
    return seen(groups(400, 2, 3, 5)[0], 2)


def mixed() -> Sample:
    """Numbers with gaps, a category and a count."""
    values, which, rng = groups(800, 2, 3, 6)
    values[rng.random(values.shape) < 0.05] = np.nan
    others = [rng.integers(0, 3, 800) * (which > 0), rng.poisson(1 + 3 * which)]
    return seen(np.vstack([values, *others]), 2, gaps=True, families=(Categorical((3,)), Count(1)))


def noisy() -> Sample:
    values, _, rng = groups(800, 2, 3, 7)
    values[:, :40] = rng.uniform(-15, 15, (2, 40))
    sample = seen(values, 2)
    by = sample.standardisation
    return replace(sample, noise=Noise(0.01, np.log(np.ptp(values, axis=1) / by.scale)))


@dataclass(frozen=True)
class Search:
    """A search on a sample."""

    sample: Callable[[], Sample]
    k: int
    code: str
    num_init: int = 8
    kind = SearchState

    def begun(self) -> SearchState:
        structure = STRUCTURES[self.code]
        return multistart.start(self.sample(), self.k, structure, num_init=self.num_init, seed=4)

    def run(self, state: SearchState, **more: Any) -> SearchState:
        return multistart.run(state, self.sample(), **more)


@dataclass(frozen=True)
class Grid:
    """A grid over k and two structures; three distinct rows are not enough for the last k."""

    sample: Callable[[], Sample]
    ks: tuple[int, ...]
    criterion: Any = "bic"
    weight: float = 5000.0
    kind = GridState

    def begun(self) -> GridState:
        structures = [STRUCTURES["VVV"], STRUCTURES["EEI"]]
        return model_selection.start(
            self.ks, structures, self.criterion, self.weight, num_init=2, seed=4
        )

    def run(self, state: GridState, **more: Any) -> GridState:
        sample = self.sample()
        return model_selection.run(state, {"VVV": sample, "EEI": sample}, **more)


def three_rows() -> Sample:
    values = np.tile(np.array([[0.0, 4.0, 9.0], [1.0, 3.0, 2.0]]), 60)
    return seen(values + 0.0, 2)


CASES: dict[str, Any] = {
    "full": Search(plain, 6, "VVV"),
    "tied": Search(plain, 5, "EEE", num_init=2),
    "one start": Search(plain, 4, "VVI", num_init=1),
    "mixed": Search(mixed, 3, "VVI", num_init=4),
    "noise": Search(noisy, 3, "VVV", num_init=4),
    "grid": Grid(few, (1, 2, 3), weight=400.0),
    "grid of rows held out": Grid(few, (2,), "heldout"),
    "grid with what cannot be": Grid(three_rows, (2, 3, 4)),
}


@dataclass(frozen=True)
class Rounds:
    """A search that nothing disturbed: its state before the first round and after every one."""

    states: list[Any]
    told: list[str]


@pytest.fixture(scope="module")
def undisturbed() -> Callable[[str], Rounds]:
    known: dict[str, Rounds] = {}

    def of(name: str) -> Rounds:
        if name not in known:
            case, told = CASES[name], []
            states = [case.begun()]
            case.run(states[0], tell=told.append, on_round=states.append)
            known[name] = Rounds(states, told)
        return known[name]

    return of


def walked(one: Any, other: Any, place: str = "state") -> Iterator[tuple[str, str, Any]]:
    """Every field of two values that are held to be the same, with its class and its value."""
    assert type(one) is type(other), place
    if is_dataclass(one):
        for field in fields(one):
            value, copy = getattr(one, field.name), getattr(other, field.name)
            yield type(one).__name__, field.name, value
            yield from walked(value, copy, f"{place}.{field.name}")
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other), place
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from walked(*pair, f"{place}[{number}]")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    else:
        assert one == other, place


def assert_same_bits(one: Any, other: Any) -> None:
    list(walked(one, other))


def same_bits(one: Any, other: Any) -> bool:
    try:
        assert_same_bits(one, other)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("name", CASES)
def test_killed_after_any_round_it_ends_at_the_same_bits(undisturbed, name, tmp_path) -> None:
    states = undisturbed(name).states
    for number, state in enumerate(states):
        np.savez(tmp_path / f"round-{number:03}.npz", **state.to_arrays())
    command = [sys.executable, "-c", RESUME, name, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert states[-1].finished
    assert len(states) > (1 if name == "one start" else 3)
    for number in range(len(states)):
        with np.load(tmp_path / f"end-{number:03}.npz", allow_pickle=False) as arrays:
            assert_same_bits(type(states[0]).from_arrays(arrays), states[-1])


def test_every_field_of_a_state_comes_back(undisturbed) -> None:
    """And none is always at its default, which would come back unwritten too."""
    told = defaultdict(set)
    for name in CASES:
        for state in undisturbed(name).states:
            copy = type(state).from_arrays(state.to_arrays())
            for kind, field, value in walked(state, copy):
                told[kind].add((field, repr(value)))
    kinds = "SearchState", "Moves", "Candidate", "Path", "SampleStep", "GridState", "GridCandidate"
    assert set(kinds) <= told.keys()
    constant = {"GridState.seed", "GridState.init_mode", "GridState.num_init", "GridState.tol"}
    constant |= {"GridState.weight", "GridState.structures", "SearchState.tol"}
    constant |= {"Moves.finished"}  # then they are no part of the state any more
    for kind in kinds:
        values = defaultdict(set)
        for field, value in told[kind]:
            values[field].add(value)
        once = {f"{kind}.{field}" for field, seen_of in values.items() if len(seen_of) == 1}
        assert once <= constant


@dataclass
class Tasks:
    """An executor as a cluster is one: what it is given and what comes back is pickled, and the
    last item is worked on first."""

    sample: Sample
    sent: int = 0

    def __call__(self, work: Any, items: Any) -> list[Any]:
        found = []
        for item in reversed(items):
            message = pickle.dumps((work, item))
            answer = pickle.dumps(pickle.loads(message)[0](self.sample, pickle.loads(message)[1]))
            self.sent = max(self.sent, len(message), len(answer))
            found.append(pickle.loads(answer))
        return found[::-1]


@pytest.mark.parametrize("name", ["full", "mixed"])
def test_shared_out_it_ends_at_the_same_bits(undisturbed, name) -> None:
    case, states = CASES[name], undisturbed(name).states
    told: list[str] = []
    found = case.run(case.begun(), executor=Tasks(case.sample()), tell=told.append)
    assert_same_bits(found, states[-1])
    assert told == undisturbed(name).told


def test_a_round_leaves_the_state_before_it_as_it_was(undisturbed) -> None:
    states = undisturbed("full").states
    written = [state.to_arrays() for state in states]
    for state, arrays in zip(states, written, strict=True):
        multistart.advance(state, plain())
        assert_same_bits(state, SearchState.from_arrays(arrays))


def test_the_rounds_of_a_search(undisturbed) -> None:
    states = undisturbed("full").states
    assert [state.stage for state in states][:4] == ["halving"] * 3 + ["moves"]
    assert [len(state.candidates) for state in states[:4]] == [8, 4, 2, 1]
    assert [state.stage for state in states][-2:] == ["last", "finished"]
    assert multistart.advance(states[-1], plain()) is states[-1]
    with pytest.raises(ValueError, match="not ended"):
        multistart.result(states[0])


def test_a_grid_says_which_mixture_is_next(undisturbed) -> None:
    states = undisturbed("grid").states
    nexts = [state.next for state in states[:-1]]
    order = [(structure.code, k) for structure, k in dict.fromkeys(nexts)]
    assert order == [(code, k) for code in ("VVV", "EEI") for k in (1, 2, 3)]
    assert {state.search is None for state in states[:-1]} == {True, False}


def test_what_cannot_be_fitted_is_in_the_grid_that_goes_on(undisturbed) -> None:
    last = undisturbed("grid with what cannot be").states[-1]
    assert ["3 distinct rows" in one.problem for one in last.candidates] == [False, False, True] * 2


class TestPath:
    def test_it_begins_at_the_start_and_ends_at_what_was_found(self, undisturbed) -> None:
        for name in ("full", "tied", "one start", "mixed", "noise"):
            states = undisturbed(name).states
            starts = [candidate.parameters for candidate in states[0].candidates]
            for found in states[-1].candidates:
                first, last = found.path.steps[0], found.path.steps[-1]
                assert (first.number, first.round, first.kind) == (0, 0, "start")
                assert any(same_bits(first.parameters, start) for start in starts)
                assert_same_bits(last.parameters, found.parameters)
                assert last.number == found.path.length - 1 == len(found.path.steps) - 1

    def test_every_step_has_the_log_likelihood_of_its_rows(self, undisturbed) -> None:
        sample = plain()
        for step in undisturbed("full").states[-1].candidates[0].path.steps:
            part = sample.part(step.rows)
            statistics = part.run_pass(part.evaluator([step.parameters]))
            expected = float(statistics.log_likelihoods[0]) / part.weight
            expected -= sample.standardisation.log_volume
            assert step.mean_log_likelihood == pytest.approx(expected, rel=1e-12)

    def test_within_a_round_the_log_likelihood_never_falls(self, undisturbed) -> None:
        for name in ("full", "tied", "one start", "mixed", "noise"):
            for found in undisturbed(name).states[-1].candidates:
                rounds = defaultdict(list)
                for step in found.path.steps:
                    rounds[step.round].append(step)
                assert sorted(rounds) == list(range(found.path.rounds))
                for steps in rounds.values():
                    assert len({step.rows for step in steps}) == 1
                    assert {step.kind for step in steps[1:]} <= {
                        "em", "accelerated", "lifted", "confirming",
                    }  # fmt: skip
                    values = [step.mean_log_likelihood for step in steps]
                    assert np.diff(values).min(initial=0.0) > -1e-9  # what is rounding

    def test_a_step_of_em_leads_to_the_next(self, undisturbed) -> None:
        """Where both are of one round: the M-step of the rows there, by the numbers."""
        sample = plain()
        steps = undisturbed("tied").states[-1].candidates[0].path.steps
        pairs = [(a, b) for a, b in pairwise(steps) if b.kind == "em" and a.round == b.round < 3]
        assert len(pairs) > 4
        for one, other in pairs:
            part = sample.part(one.rows)
            statistics = part.run_pass(part.evaluator([one.parameters]))
            weights = statistics.counts / part.weight
            np.testing.assert_allclose(other.parameters.weights, weights, rtol=1e-10)

    def test_after_a_move_it_goes_on_from_where_it_was_made(self) -> None:
        """Two groups under one component and one under two: a move, from EM's wrong answer."""
        from tests.mixture.initialisation.test_split_merge import caught

        sample, trapped, _ = caught()
        candidates = advance(sample, [Candidate(trapped)], steps=2)
        state = SearchState(3, 1e-6, 1, True, (), "moves", moves=Moves(*candidates))
        (found, *_) = multistart.result(multistart.run(state, sample))
        kinds = [step.kind for step in found.path.steps]
        assert kinds[:3] == ["start", "em", "move"]
        assert kinds.count("move") == 1
        before, move = found.path.steps[1:3]
        assert (before.round, move.round) == (0, 1)
        # From a step of EM on: one component was taken away, and another one split.
        moved = move.parameters.means != candidates[0].parameters.means
        assert moved.any(axis=1).sum() == 2

    def test_a_long_one_is_thinned_evenly_and_keeps_its_ends(self, undisturbed, monkeypatch):
        from gmm_spark.mixture.initialisation import path

        whole = undisturbed("full").states[-1].candidates[0].path
        size = path.num_bytes(whole.steps[0].parameters)
        monkeypatch.setattr(path, "_MOST_BYTES", 12 * size)
        case = CASES["full"]
        found = case.run(case.begun()).candidates[0]
        steps = found.path.steps
        assert found.path.length == whole.length > 24
        assert 6 <= len(steps) <= 12
        numbers = [step.number for step in steps]
        assert numbers == sorted(set(numbers))
        assert (numbers[0], numbers[-1]) == (0, whole.length - 1)
        assert max(np.diff(numbers)) <= 4 * whole.length / len(steps)
        by_number = {step.number: step for step in whole.steps}
        for step in steps:
            assert_same_bits(step.parameters, by_number[step.number].parameters)
            assert step.round == by_number[step.number].round

    def test_parameters_over_two_megabytes_have_none(self) -> None:
        rng = np.random.default_rng(0)
        sample = seen(rng.normal(size=(400, 900)), 400)
        unit = Parameters.unit(STRUCTURES["VVV"], 2, 400)
        (found,) = advance(sample, [Candidate(unit)], steps=2)
        assert found.path.steps == ()
        assert (found.path.length, found.path.rounds) == (2, 1)

    def test_tasks_are_sent_no_paths(self, undisturbed) -> None:
        """What goes to a task and comes back does not grow with the steps that came before."""
        case, last = CASES["full"], undisturbed("full").states[-1]
        short = replace(last, stage="last", candidates=last.candidates[:1])
        bare = replace(short.candidates[0], path=type(last.candidates[0].path)())
        sent = []
        for candidate in (short.candidates[0], bare):
            tasks = Tasks(case.sample())
            multistart.advance(replace(short, candidates=(candidate,)), case.sample(), tasks)
            sent.append(tasks.sent)
        assert len(short.candidates[0].path.steps) > 20
        assert sent[0] == sent[1]


def test_alone_is_an_executor_too(undisturbed) -> None:
    case = CASES["tied"]
    found = case.run(case.begun(), executor=InProcess(case.sample()))
    assert_same_bits(found, undisturbed("tied").states[-1])
