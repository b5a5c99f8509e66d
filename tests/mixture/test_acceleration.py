"""Longer steps than EM's: the same fixed points, fewer passes, and nothing lost where they fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmm_spark.mixture import acceleration, em, multifit
from gmm_spark.mixture.acceleration import surrogate
from gmm_spark.mixture.em import Problem
from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.kernel import array_pass
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.statistics import pairs
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import (
    CODES,
    fit,
    log_likelihood,
    plain_scales,
    random_parameters,
    separate_groups,
    start_from_labels,
)


def overlapping(n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two groups so close that EM is slow, (2, n), and the side of the middle a row is on."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(2, n)) + np.where(rng.random(n) < 0.4, 0.0, 1.3)
    return rows, (rows.sum(axis=0) > 1.0).astype(np.intp)


def slow_fit(code: str = "VVV", n: int = 4000, **options):
    block, labels = overlapping(n)
    by = plain_scales(block, STRUCTURES[code])
    start = start_from_labels(block, labels, STRUCTURES[code], by)
    options = {"floor": np.full(2, 1e-3), "tol": 1e-8, "max_iter": 3000, **options}
    return fit(array_pass(block), start, by, **options)


@pytest.mark.parametrize("code", CODES)
def test_anderson_ends_at_the_optimum_of_em_in_fewer_passes(code) -> None:
    plain, fast = slow_fit(code), slow_fit(code, acceleration="anderson")
    assert plain.converged
    assert fast.converged
    assert fast.log_likelihood > plain.log_likelihood - 1e-3
    assert_allclose(fast.parameters.means, plain.parameters.means, atol=0.1)
    if len(plain.history) > 60:
        assert len(fast.history) < 0.7 * len(plain.history)
        assert "accelerated" in {record.kind for record in fast.history}


def test_some_structure_is_slow_enough_to_tell() -> None:
    assert len(slow_fit().history) > 200


def test_the_last_passes_are_plain_em_whose_gain_is_under_tol() -> None:
    found = slow_fit(acceleration="anderson")
    assert {record.kind for record in found.history[-2:]} <= {"em", "confirming"}
    assert found.history[-1].kind == "confirming"
    assert max(record.gain for record in found.history[-2:]) < 1e-8


def test_accepted_passes_never_lower_the_likelihood_and_rejected_ones_are_taken_back() -> None:
    block, labels = separate_groups(seed=5, k=4, d=3, n=300)
    by = plain_scales(block, STRUCTURES["VVV"])
    start = start_from_labels(
        block, np.random.default_rng(2).permutation(labels), STRUCTURES["VVV"], by
    )
    found = fit(
        array_pass(block), start, by, floor=np.full(3, 1e-3), acceleration="anderson", tol=1e-9
    )
    best = -np.inf
    rejected = 0
    for record in found.history:
        if record.kind == "rejected":
            rejected += 1
            assert record.mean_log_likelihood < best
            assert record.gain < 0
        else:
            assert record.mean_log_likelihood > best - 1e-9
            best = record.mean_log_likelihood
    assert rejected > 0
    assert_allclose(found.log_likelihood / found.weight, best, rtol=1e-12)


def test_a_rejected_pass_goes_on_from_the_em_step_before_it() -> None:
    """A proposal that is nonsense costs one pass, and plain EM is what remains."""
    plain = slow_fit(n=500, max_iter=5, tol=0.0)

    def nonsense(accelerator, at, stepped, floor):
        return accelerator, random_parameters("VVV", 2, 2, spread=50.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acceleration, "extrapolate", nonsense)
        found = slow_fit(n=500, max_iter=10, tol=0.0, acceleration="anderson")
    kept = [record for record in found.history if record.kind != "rejected"]
    assert len(kept) == 6
    for record, expected in zip(kept, plain.history, strict=True):
        assert_allclose(record.mean_log_likelihood, expected.mean_log_likelihood, rtol=1e-12)


class TestFlatForm:
    @pytest.mark.parametrize("code", CODES)
    def test_comes_back(self, code) -> None:
        parameters = random_parameters(code, 3, 4)
        alive = np.ones(3, dtype=bool)
        flat = acceleration._flat(parameters, alive)
        back = acceleration._unflat(flat, parameters, alive)
        assert flat.shape == acceleration._metric(parameters, alive).shape
        assert_allclose(back.weights, parameters.weights, rtol=1e-12)
        assert_allclose(back.means, parameters.means, rtol=1e-12)
        assert_allclose(back.covariances, parameters.covariances, rtol=1e-12)

    def test_leaves_a_dead_component_as_it_was(self) -> None:
        parameters = random_parameters("VVV", 3, 2)
        alive = np.array([True, False, True])
        back = acceleration._unflat(acceleration._flat(parameters, alive), parameters, alive)
        assert back.weights[1] == 0
        assert_allclose(back.means[1], parameters.means[1])


class TestSurrogate:
    """Passes over a sample, corrected to those over all the rows."""

    @pytest.mark.parametrize("code", CODES)
    def test_agree_with_all_the_rows_at_the_anchor(self, code) -> None:
        block, _ = separate_groups(n=900)
        by = plain_scales(block, STRUCTURES[code])
        evaluator = natural_parameters([random_parameters(code, 3, 3, spread=1.0)], by)
        everything = array_pass(block)(evaluator)
        run_pass, rows = surrogate(
            array_pass(block[:, :300]), evaluator, everything, np.full(3, 1e-3)
        )
        assert rows == 300
        assert_allclose(run_pass(evaluator).moments, everything.moments, rtol=1e-9, atol=1e-7)

    @pytest.mark.parametrize("code", CODES)
    def test_what_they_ascend_has_the_slope_of_the_likelihood_of_all_the_rows(self, code) -> None:
        """By differences, in directions that keep the structure: at the anchor the merit rises
        as the log-likelihood of all the rows does, and not as that of the sample."""
        block, _ = separate_groups(n=900)
        by = plain_scales(block, STRUCTURES[code])
        anchor = random_parameters(code, 3, 3, spread=1.0)
        evaluator = natural_parameters([anchor], by)
        sample = array_pass(block[:, :200])
        run_pass, _ = surrogate(sample, evaluator, array_pass(block)(evaluator), np.full(3, 1e-3))
        alive = np.ones(3, dtype=bool)
        flat = acceleration._flat(anchor, alive)
        direction = np.random.default_rng(3).normal(size=flat.size)

        def slope(value) -> float:
            step = 1e-5
            ends = [
                acceleration._unflat(flat + s * direction, anchor, alive) for s in (step, -step)
            ]
            high, low = (value(natural_parameters([end], by)) for end in ends)
            return (high - low) / (2 * step)

        merit = slope(lambda e: float(run_pass(e).log_likelihoods[0]))
        of_all = slope(lambda e: float(array_pass(block)(e).log_likelihoods[0]))
        of_sample = slope(lambda e: 4.5 * float(sample(e).log_likelihoods[0]))
        assert_allclose(merit, of_all, rtol=1e-4)
        assert abs(of_sample - of_all) > 1e-2 * abs(of_all)

    def test_moments_move_to_other_origins_as_the_rows_say(self) -> None:
        """Components evaluated about their own mean, against moments taken about zero."""
        rows = np.random.default_rng(0).normal(size=(3, 50)) + 4
        share = np.random.default_rng(1).random((2, 50))

        def about(origins) -> np.ndarray:
            columns = []
            for origin, weights in zip(origins, share, strict=True):
                z = rows - origin[:, None]
                second = (z * weights) @ z.T
                columns.append(
                    np.concatenate([(z * weights).sum(axis=1), [weights.sum()], second[pairs(3)]])
                )
            return np.stack(columns, axis=1)

        layout = natural_parameters(
            [random_parameters("VVV", 2, 3)], plain_scales(rows, STRUCTURES["VVV"])
        ).layout
        before, after = np.zeros((2, 3)), np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]])
        moved = acceleration._about(about(before), layout, before, after)
        assert_allclose(moved, about(after), rtol=1e-9, atol=1e-9)

    def test_far_from_the_anchor_they_refuse(self) -> None:
        block, _ = separate_groups(n=900)
        by = plain_scales(block, STRUCTURES["VVV"])
        anchor = random_parameters("VVV", 3, 3, spread=1.0)
        evaluator = natural_parameters([anchor], by)
        run_pass, _ = surrogate(
            array_pass(block[:, :60]), evaluator, array_pass(block)(evaluator), np.full(3, 1e-3)
        )
        far = random_parameters("VVV", 3, 3, seed=9, spread=30.0)
        with pytest.raises(SingularCovarianceError):
            run_pass(natural_parameters([far], by))


class TestStepsOnASample:
    @pytest.mark.parametrize("code", CODES)
    def test_end_at_the_optimum_of_all_the_rows_in_few_passes(self, code) -> None:
        block, labels = overlapping(40_000)
        by = plain_scales(block, STRUCTURES[code])
        start = start_from_labels(block, labels, STRUCTURES[code], by)
        options = {"floor": np.full(2, 1e-3), "tol": 1e-7, "max_iter": 3000}
        plain = fit(array_pass(block), start, by, **options)
        found = fit(
            array_pass(block),
            start,
            by,
            acceleration="anderson",
            run_sample=array_pass(block[:, :8000]),
            **options,
        )
        assert found.converged
        assert len(found.history) <= 12
        assert len(found.history) <= len(plain.history)
        assert found.log_likelihood > plain.log_likelihood - 1e-2
        ours = log_likelihood(found.parameters.restored(by), block.T)
        assert_allclose(found.log_likelihood, ours, rtol=1e-10)
        assert [record.kind for record in found.history[-2:]] == ["confirming"] * 2

    def test_near_an_optimum_there_is_no_pass_that_plain_em_does_not_need(self) -> None:
        # EM is slow here: under its tol, but not at the optimum, which longer steps would reach.
        block, _ = overlapping()
        by = plain_scales(block, STRUCTURES["VVV"])
        start = slow_fit(tol=1e-5).parameters
        options = {"floor": np.full(2, 1e-3), "tol": 1e-5}
        run_pass = array_pass(block)
        plain = fit(run_pass, start, by, **options)
        assert len(plain.history) == 3
        fast = fit(run_pass, start, by, acceleration="anderson", run_sample=run_pass, **options)
        assert [record.kind for record in fast.history] == ["em", "confirming", "confirming"]

    def test_a_sample_that_says_nothing_does_no_harm(self) -> None:
        """Five rows of one group: EM and its extrapolations are what is left."""
        block, labels = overlapping(3000)
        by = plain_scales(block, STRUCTURES["VVV"])
        start = start_from_labels(block, labels, STRUCTURES["VVV"], by)
        options = {"floor": np.full(2, 1e-3), "tol": 1e-7, "max_iter": 3000}
        plain = fit(array_pass(block), start, by, **options)
        few = block[:, np.flatnonzero(labels == 0)[:5]]
        found = fit(
            array_pass(block),
            start,
            by,
            acceleration="anderson",
            run_sample=array_pass(few),
            **options,
        )
        assert found.converged
        assert found.log_likelihood > plain.log_likelihood - 3000 * 1e-5


def test_fits_that_share_scans_are_what_each_is_alone() -> None:
    block, labels = separate_groups(n=600)
    by = plain_scales(block, STRUCTURES["VVV"])
    starts = [
        start_from_labels(block, labels % k, STRUCTURES[code], by)
        for k, code in ((2, "VVV"), (3, "VVI"), (3, "EEE"))
    ]
    options = {"floor": np.full(3, 1e-3), "acceleration": "anderson"}
    scans = []

    def run_passes(evaluators):
        scans.append(len(evaluators))
        return [array_pass(block)(evaluator) for evaluator in evaluators]

    problems, nothing_pruned = [Problem(by, **options)] * 3, [-np.inf] * 3
    state = multifit.run(run_passes, multifit.start(starts, problems), problems, nothing_pruned)
    together = multifit.results(state)
    for found, start in zip(together, starts, strict=True):
        alone = fit(array_pass(block), start, by, **options)
        assert [r.kind for r in found.history] == [r.kind for r in alone.history]
        assert found.log_likelihood == alone.log_likelihood
    assert len(scans) == max(len(found.history) for found in together)
    assert sum(scans) == sum(len(found.history) for found in together)


class TestPruning:
    """Several fits that share scans: one that cannot win is given up."""

    def together(self, penalties):
        block, labels = separate_groups()
        structure = STRUCTURES["VVV"]
        by = plain_scales(block, structure)
        floor = np.full(block.shape[0], 1e-3)
        right = start_from_labels(block, labels, structure, by)
        one = start_from_labels(block, np.zeros_like(labels), structure, by)
        problems, asked = [Problem(by, floor)] * 2, []

        def run_passes(evaluators):
            asked.append(len(evaluators))
            return [array_pass(block)(evaluator) for evaluator in evaluators]

        state = multifit.start([one, right], problems)
        state = multifit.run(run_passes, state, problems, penalties)
        assert state.last_scan == [index for index, gone in enumerate(state.pruned) if not gone]
        return multifit.results(state), asked

    def test_the_one_far_behind_ends_early(self):
        (one, right), asked = self.together([0.0, 0.0])
        assert one is None
        assert right.converged
        assert asked[0] == 2

    def test_a_penalty_turns_it_round(self):
        (one, right), _ = self.together([0.0, 1e3])
        assert one.converged
        assert right is None


def test_em_on_the_sample_may_end_with_a_rejected_pass(monkeypatch) -> None:
    """What was reached is the last pass that was kept, not the last one."""
    block, labels = separate_groups(seed=5, k=3, d=2, n=400)
    by = plain_scales(block, STRUCTURES["VVV"])
    start = start_from_labels(
        block, np.random.default_rng(2).permutation(labels), STRUCTURES["VVV"], by
    )
    real = em.fit

    def with_a_bad_end(*arguments, **options):
        found = real(*arguments, **options)
        last = found.history[-1]
        bad = replace(last, kind="rejected", objective=last.objective - 5.0, gain=-5.0)
        return replace(found, history=(*found.history, bad))

    monkeypatch.setattr(em, "fit", with_a_bad_end)
    sample = array_pass(block[:, ::2])
    problem = Problem(by, np.full(2, 1e-3), acceleration="anderson", run_sample=sample)
    found = real(array_pass(block), start, problem)
    assert "anchored" in {record.kind for record in found.history}
