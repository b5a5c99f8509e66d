"""Split-and-merge moves, and what candidates are compared by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmm_spark.mixture.families import Categorical, Count
from gmm_spark.mixture.initialisation import split_merge
from gmm_spark.mixture.initialisation.candidates import (
    Candidate,
    InProcess,
    Sample,
    ranked,
    robust_score,
)
from gmm_spark.mixture.initialisation.multistart import search
from gmm_spark.mixture.initialisation.split_merge import Moves, grown, moves, try_moves
from gmm_spark.mixture.kernel import array_pass
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import CODES, fit, plain_scales, start_from_labels


def three_groups(n: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """Two groups far to the left, one of twice the rows far to the right, (2, n)."""
    rng = np.random.default_rng(4)
    labels = rng.choice(3, n, p=[0.25, 0.25, 0.5]).astype(np.intp)
    centres = np.array([[-20.0, -3.0], [-20.0, 3.0], [20.0, 0.0]])
    return np.ascontiguousarray(rng.normal(size=(2, n)) + centres[labels].T), labels


def caught(code: str = "VVV") -> tuple[Sample, Parameters, float]:
    """EM ended with both left groups under one component and the right one under two, and the
    log-likelihood a row of the right answer."""
    block, labels = three_groups()
    structure = STRUCTURES[code]
    by = plain_scales(block, structure)
    sample = Sample(block, None, by, np.full(2, 1e-3))
    wrong = np.where(labels < 2, 0, 1 + (block[1] > 0)).astype(np.intp)
    start = start_from_labels(block, wrong, structure, by)
    trapped = fit(array_pass(block), start, by, floor=sample.floor, max_iter=30)
    ideal = start_from_labels(block, labels, structure, by)
    right = fit(array_pass(block), ideal, by, floor=sample.floor, tol=1e-8)
    goal = right.log_likelihood / right.weight
    assert trapped.log_likelihood / trapped.weight < goal - 0.1
    return sample, trapped.parameters, goal + by.log_volume


def moved(parameters: Parameters, sample: Sample, rows: int) -> Candidate:
    """The candidate when no move helps any more."""
    state = Moves(Candidate(parameters))
    while not state.finished:
        state = try_moves(state, InProcess(sample), sample, rows)
    return state.candidate


def test_a_component_takes_along_what_is_said_of_all_columns() -> None:
    """Halves of a component have its table and its rates."""
    sample, trapped, _ = caught()
    families = (Categorical((2,)), Count(1))
    tables, rates = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]), np.array([[1.0], [5.0], [9.0]])
    others = np.zeros((2, sample.num_rows))
    wider = replace(sample, values=np.vstack([sample.values, others]), families=families)
    mixed = replace(trapped, families=families, family_parameters=(tables, rates))
    for found in moves(mixed, wider):
        (away,) = np.flatnonzero((found.tables != tables).any(axis=1))
        source = int(np.flatnonzero((tables == found.tables[away]).all(axis=1))[0])
        assert found.rates[away] == rates[source]


@pytest.mark.parametrize("code", CODES)
def test_a_component_is_carried_to_where_it_is_missed(code) -> None:
    sample, trapped, goal = caught(code)
    found = moved(trapped, sample, 1000)
    by = sample.standardisation
    settled = fit(sample.run_pass, found.parameters, by, floor=sample.floor, tol=1e-8)
    assert_allclose(settled.log_likelihood / settled.weight + by.log_volume, goal, atol=1e-5)


def test_a_part_of_the_sample_is_its_first_rows_or_its_last() -> None:
    sample, _, _ = caught()
    n = sample.num_rows
    assert_allclose(sample.part(1000).values, sample.values[:, :1000])
    assert_allclose(sample.part(-1000).values, sample.values[:, n - 1000 :])
    for rows in (n, -n, 2 * n, -2 * n):
        assert sample.part(rows).num_rows == n


def test_components_that_look_normal_are_left_alone() -> None:
    sample, _, _ = caught()
    block, labels = three_groups()
    right = start_from_labels(block, labels, STRUCTURES["VVV"], sample.standardisation)
    assert moves(right, sample) == []


@pytest.mark.parametrize("code", CODES)
def test_moves_are_mixtures_of_as_many_components(code) -> None:
    sample, trapped, _ = caught(code)
    found = moves(trapped, sample)
    assert found
    for mixture in found:
        assert mixture.validated().k == 3
        assert_allclose(mixture.weights.sum(), 1.0)


@pytest.mark.parametrize("code", CODES)
def test_grown_mixtures_have_one_component_more(code) -> None:
    sample, trapped, _ = caught(code)
    found = grown(trapped, sample, 5)
    assert 1 <= len(found) <= 5
    assert {more.validated().k for more in found} == {4}
    assert all(more.weights.min() > 0 for more in found)


def test_one_component_has_nowhere_to_go() -> None:
    block, _ = three_groups()
    one = Parameters.unit(STRUCTURES["VVV"], 1, 2)
    sample = Sample(block, None, plain_scales(block, STRUCTURES["VVV"]), np.full(2, 1e-3))
    assert moves(one, sample) == []


def test_optima_that_the_sample_cannot_tell_apart_are_all_found() -> None:
    """Three groups in a row and two components: the middle one goes with either neighbour."""
    rng = np.random.default_rng(5)
    groups = rng.integers(-1, 2, 3000)
    values = rng.normal(size=(2, 3000)) + np.outer([8.0, 0.0], groups)
    structure = STRUCTURES["VVI"]
    sample = Sample(values, None, plain_scales(values, structure), np.full(2, 1e-3))
    found = search(sample, 2, structure)
    assert len(found) == 2
    alone = sorted(parameters.means[parameters.weights.argmin(), 0] for parameters in found)
    assert alone[0] < -1 < 1 < alone[1]


def test_one_start_alone_has_no_rivals() -> None:
    sample, _, _ = caught()
    assert len(search(sample, 3, STRUCTURES["VVV"], num_init=1)) == 1


class TestRobustScore:
    UNIT = Standardisation(np.zeros(2), np.ones(2))

    def candidate(self, small: float, width: float, score: float) -> Candidate:
        covariances = np.stack([np.eye(2), width**2 * np.eye(2)])
        weights = np.array([1 - small, small])
        return Candidate(
            Parameters(STRUCTURES["VVV"], weights, np.zeros((2, 2)), covariances), score
        )

    def sample(self, n: int = 1000) -> Sample:
        return Sample(np.zeros((2, n)), None, self.UNIT, np.full(2, 1e-2))

    def test_what_a_point_mass_gains_by_being_narrow_does_not_count(self) -> None:
        """0.5 % of the rows in a component of a hundredth of the width of the other: its rows
        gain 2 log 100 each, 0.046 a row of all."""
        narrow = self.candidate(0.005, 1e-2, score=1.0)
        supported, score = robust_score(narrow, self.sample())
        assert supported
        assert_allclose(score, 1.0 - 0.005 * 2 * np.log(100), rtol=1e-9)

    @pytest.mark.parametrize(("small", "width"), [(0.005, 0.5), (0.3, 1e-2)])
    def test_a_component_off_the_floor_or_of_many_rows_counts_in_full(self, small, width) -> None:
        assert robust_score(self.candidate(small, width, 1.0), self.sample()) == (True, 1.0)

    def test_fewer_rows_than_a_covariance_needs_come_last(self) -> None:
        few = self.candidate(0.002, 0.5, score=5.0)
        supported = self.candidate(0.2, 0.5, score=1.0)
        assert robust_score(few, self.sample())[0] is False
        assert ranked(self.sample(), [few, supported]) == [supported, few]

    def test_candidates_on_their_way_to_the_same_optimum_are_one(self) -> None:
        a, b, c = (self.candidate(0.2, 0.5, score) for score in (1.0, 1.00001, 0.9))
        other = self.candidate(0.4, 0.5, 1.0)
        assert ranked(self.sample(), [a, b, c, other]) == [b, other, c]


@pytest.mark.parametrize("doubtful", [False, True])
def test_the_last_rows_are_tried_where_there_was_something_to_try(monkeypatch, doubtful) -> None:
    sample, trapped, _ = caught()
    tried: list[tuple[int, int]] = []

    def best_move(candidate, executor, sample, sizes, batch):
        tried.append((sizes[0], batch))
        # The same candidate comes back where there were no moves.
        there_were = sizes[0] == 1000 or doubtful
        return Candidate(candidate.parameters) if there_were else candidate, None, []

    monkeypatch.setattr(split_merge, "_best_move", best_move)
    moved(trapped, sample, 1000)
    on_first = [(1000, 0), (1000, 1), (4000, 0)]
    assert tried == ([*on_first, (4000, 1), (-4000, 0)] if doubtful else on_first)
