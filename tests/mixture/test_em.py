"""The EM loop: what never changes, when it stops and what it says about it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.initialisation.candidates import Candidate, Sample, advance
from gmm_spark.mixture.kernel import array_pass
from gmm_spark.mixture.m_step import m_step
from gmm_spark.mixture.parameters import Standardisation
from gmm_spark.mixture.standardisation import describe_columns
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import (
    CODES,
    classic_set,
    fit,
    log_joint,
    log_likelihood,
    plain_scales,
    random_parameters,
    separate_groups,
    start_from_labels,
    statistics_of,
    telco,
)

# Far from convergence, so that rounding cannot make one of two fits stop a pass earlier.
PASSES = {"tol": 0.0, "max_iter": 11}


def run(block, labels, code="VVV", *, floor=None, weights=None, by=None, **options):
    """Fit from hard assignments; `floor` is a fraction of the scale."""
    structure = STRUCTURES[code]
    by = plain_scales(block, structure) if by is None else by
    floor = np.full(block.shape[0], 0.0 if floor is None else floor)
    start = start_from_labels(block, labels, structure, by, floor, weights)
    found = fit(array_pass(block, weights), start, by, floor=floor, **options)
    return found, found.parameters.restored(by)


def halves(block, k):
    """A poor start on purpose: rows cut into k by the order of one column."""
    order = block[0].argsort(kind="stable").argsort()
    return (order * k // block.shape[1]).astype(np.intp)


def point_mass():
    """20 of 220 customers on one point. Their component starts with 5 of the others as well,
    loses them, and collapses unless a floor stops it."""
    block = np.random.default_rng(0).normal(size=(2, 220))
    block[:, :20] = 8.0
    return block, np.where(np.arange(220) < 25, 1, 0)


def assert_never_falls(found):
    mean = np.array([record.mean_log_likelihood for record in found.history])
    assert (np.diff(mean) >= -1e-12 * np.maximum(1, np.abs(mean[1:]))).all()


def assert_same(a, b, rtol=1e-8, atol=1e-10):
    for name in ("weights", "means", "covariances"):
        assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, atol=atol)


class TestLogLikelihoodNeverFalls:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("code", CODES)
    def test_on_overlapping_groups(self, code, seed):
        block, _ = separate_groups(seed)
        found, _ = run(block, halves(block, 3), code, tol=1e-10, max_iter=300)
        assert len(found.history) > 5
        assert_never_falls(found)

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("code", CODES)
    def test_with_weights_and_far_rows(self, code, seed):
        block, _ = separate_groups(seed)
        rng = np.random.default_rng(seed)
        block[:, :3] += 1e6 * rng.normal(size=(3, 3))
        weights = rng.exponential(size=block.shape[1])
        columns = describe_columns(block, block.min(1), block.max(1), STRUCTURES[code], None)
        options = {"weights": weights, "by": columns.standardisation, "max_iter": 100}
        found, _ = run(block, halves(block, 4), code, floor=1e-6, **options)
        assert_never_falls(found)

    @pytest.mark.parametrize("code", CODES)
    def test_where_the_floor_is_touched(self, code):
        block, _ = separate_groups(1)
        found, _ = run(block, halves(block, 4), code, floor=0.7, tol=1e-10, max_iter=300)
        assert found.floored
        assert_never_falls(found)
        assert found.converged

    @pytest.mark.parametrize("k", [2, 5, 8])
    @pytest.mark.parametrize("code", CODES)
    def test_on_customers_with_point_masses(self, code, k, shared_data):
        block = telco(shared_data)[:, ::3]
        found, _ = run(block, halves(block, k), code, floor=0.01, max_iter=60)
        assert len(found.history) > 10
        assert_never_falls(found)

    def test_on_rounded_values(self):
        block = np.round(separate_groups(2)[0])
        found, _ = run(block, halves(block, 6), "VVV", floor=0.05, max_iter=200)
        assert found.floored
        assert_never_falls(found)


class TestEquivariance:
    """A fit of transformed rows is the transformed fit."""

    @pytest.mark.parametrize("shift", [-3.0, 1e4, 1e8])
    @pytest.mark.parametrize("code", CODES)
    def test_shifted_rows_shift_the_means_alone(self, code, shift):
        block, _ = separate_groups()
        block = np.round(block * 1024) / 1024  # so that shifting rounds nothing away
        labels = halves(block, 3)
        _, plain = run(block, labels, code, **PASSES)
        found, moved = run(block + shift, labels, code, **PASSES)
        assert len(found.history) == 12
        assert_same(replace(moved, means=moved.means - shift), plain, rtol=1e-7, atol=1e-6)

    @pytest.mark.parametrize("code", CODES)
    def test_scaled_columns_scale_means_and_covariances(self, code):
        block, _ = separate_groups()
        labels = halves(block, 3)
        factor = np.array([1e-9, 1.0, 1e9])
        if STRUCTURES[code].kind == "spherical":
            factor = np.full(3, 1e-9)
        by = Standardisation(np.zeros(3), factor)
        a, plain = run(block, labels, code, **PASSES)
        b, scaled = run(block * factor[:, None], labels, code, **PASSES)
        assert_same(scaled.standardised(by), plain)
        expected = a.log_likelihood - block.shape[1] * np.log(factor).sum()
        assert_allclose(b.log_likelihood, expected, rtol=1e-10)

    @pytest.mark.parametrize("code", CODES)
    def test_the_standardisation_itself_changes_nothing(self, code):
        block, _ = separate_groups()
        labels = halves(block, 3)
        scale = np.full(3, 7.0) if STRUCTURES[code].kind == "spherical" else np.array([9, 0.2, 3])
        other = Standardisation(np.array([5.0, -2.0, 1.0]), scale)
        a, plain = run(block, labels, code, **PASSES)
        b, found = run(block, labels, code, by=other, **PASSES)
        assert_same(found, plain)
        assert_allclose(b.log_likelihood, a.log_likelihood, rtol=1e-11)

    @pytest.mark.parametrize("floor", [0.0, 0.5])
    @pytest.mark.parametrize("code", CODES)
    def test_order_of_rows_does_not_matter(self, code, floor):
        block, _ = separate_groups()
        labels = halves(block, 3)
        order = np.random.default_rng(0).permutation(block.shape[1])
        a, plain = run(block, labels, code, floor=floor, **PASSES)
        b, found = run(block[:, order], labels[order], code, floor=floor, **PASSES)
        assert_same(found, plain)
        assert_allclose(b.log_likelihood, a.log_likelihood, rtol=1e-11)
        assert b.floored == a.floored

    @pytest.mark.parametrize("floor", [0.0, 0.5])
    @pytest.mark.parametrize("code", CODES)
    def test_order_of_columns_does_not_matter(self, code, floor):
        block, _ = separate_groups()
        labels, order = halves(block, 3), np.array([2, 0, 1])
        _, plain = run(block, labels, code, floor=floor, **PASSES)
        _, found = run(block[order], labels, code, floor=floor, **PASSES)
        assert_same(found, plain.marginal(order))

    @pytest.mark.parametrize("code", CODES)
    def test_order_of_components_does_not_matter(self, code):
        block, _ = separate_groups()
        labels = halves(block, 3)
        renamed = np.array([1, 2, 0])[labels]
        _, plain = run(block, labels, code, **PASSES)
        _, found = run(block, renamed, code, **PASSES)
        assert_same(found.taken(np.array([1, 2, 0])), plain)

    @pytest.mark.parametrize("code", CODES)
    def test_a_row_of_weight_2_is_the_row_twice(self, code):
        block, _ = separate_groups()
        labels, times = halves(block, 3), np.random.default_rng(0).integers(1, 4, block.shape[1])
        by = plain_scales(block, STRUCTURES[code])
        repeated = np.repeat(block, times, axis=1)
        a, twice = run(repeated, np.repeat(labels, times), code, by=by, **PASSES)
        b, weighted = run(block, labels, code, weights=times.astype(float), by=by, **PASSES)
        assert_same(weighted, twice)
        assert_allclose(b.log_likelihood, a.log_likelihood, rtol=1e-11)
        assert_allclose(b.weight, a.weight)
        assert_allclose(b.cluster_weights, a.cluster_sizes)

    def test_scaling_all_weights_changes_no_parameter(self):
        block, _ = separate_groups()
        labels, weights = halves(block, 3), np.random.default_rng(0).uniform(0.1, 2, 300)
        a, one = run(block, labels, weights=weights)
        b, many = run(block, labels, weights=1e6 * weights)
        assert_same(one, many)
        assert [r.kind for r in a.history] == [r.kind for r in b.history]


class TestWhatIsReturned:
    @pytest.mark.parametrize("code", CODES)
    def test_belongs_to_the_parameters_returned(self, code):
        block, _ = separate_groups()
        weights = np.random.default_rng(0).uniform(0.1, 2, block.shape[1])
        found, parameters = run(block, halves(block, 3), code, weights=weights, max_iter=7)
        joint = log_joint(parameters, block.T)
        shares = np.exp(joint - joint.max(axis=0))
        expected = log_likelihood(parameters, block.T, weights)
        assert_allclose(found.log_likelihood, expected, rtol=1e-11)
        assert_allclose(found.log_assignment, -weights @ np.log(shares.sum(axis=0)), rtol=1e-9)
        members = joint.argmax(axis=0)
        assert_array_equal(found.cluster_sizes, np.bincount(members, minlength=3))
        assert_allclose(found.cluster_weights, np.bincount(members, weights, minlength=3))
        assert_allclose(found.weight, weights.sum())
        assert found.num_rows == block.shape[1]

    @pytest.mark.parametrize("code", ["EEE", "EEI", "EII"])
    def test_log_likelihood_of_a_shared_covariance_holds_with_a_sentinel_in_the_rows(self, code):
        # 9999999 for "unknown": a component of its own, far from the centre.
        block, labels = separate_groups()
        block[:, :5] = 9_999_999.0
        labels = np.where(np.arange(300) < 5, 3, labels)
        by = Standardisation(np.median(block, axis=1), np.ones(3))
        found, parameters = run(block, labels, code, by=by, max_iter=50)
        assert_never_falls(found)
        assert_allclose(found.log_likelihood, log_likelihood(parameters, block.T), rtol=1e-10)
        assert_allclose(parameters.weights[3], 5 / 300)

    def test_history_holds_the_parameters_of_every_pass(self):
        block, _ = separate_groups()
        found, _ = run(block, halves(block, 3), max_iter=11)
        assert [record.number for record in found.history] == list(range(1, 13))
        by = plain_scales(block, STRUCTURES["VVV"])
        for before, record in zip((None, *found.history), found.history, strict=False):
            expected = log_likelihood(record.parameters.restored(by), block.T) / block.shape[1]
            assert_allclose(record.mean_log_likelihood, expected, rtol=1e-11)
            if before is None:
                assert record.gain is None
            else:
                gain = record.mean_log_likelihood - before.mean_log_likelihood
                assert_allclose(record.gain, gain, rtol=1e-12)

    def test_gain_does_not_depend_on_the_number_of_rows(self):
        block, _ = separate_groups()
        a, _ = run(block, halves(block, 3), max_iter=10)
        many = np.tile(block, 5)
        b, _ = run(many, np.tile(halves(block, 3), 5), max_iter=10)
        gains = [[r.gain for r in found.history[1:]] for found in (a, b)]
        assert_allclose(gains[1], gains[0], rtol=1e-8, atol=1e-13)


class TestStopping:
    def test_converges_after_two_gains_in_a_row_under_tol(self):
        block, _ = separate_groups()
        for tol in (1e-3, 1e-5, 1e-8):
            found, _ = run(block, halves(block, 3), tol=tol, max_iter=500)
            assert (found.reason, found.converged) == ("converged", True)
            small = [record.gain < tol for record in found.history[1:]]
            assert small[-2:] == [True, True]
            assert not any(a and b for a, b in pairwise(small[:-1]))

    def test_one_small_gain_is_not_enough(self):
        """A plateau of one pass, as EM has before a component finds its group."""
        block, _ = separate_groups()
        labels = halves(block, 3)
        by = plain_scales(block, STRUCTURES["VVV"])
        start = start_from_labels(block, labels, STRUCTURES["VVV"], by)
        answers = []

        def run_pass(evaluator):
            # The second pass is answered like the first.
            answers.append(answers[0] if len(answers) == 1 else array_pass(block)(evaluator))
            return answers[-1]

        found = fit(run_pass, start, by, floor=np.zeros(3), tol=1e-6, max_iter=500)
        assert found.history[1].gain == 0
        assert found.converged
        assert max(record.gain for record in found.history[-2:]) < 1e-6

    def test_at_an_optimum_three_passes_confirm_it(self):
        block, _ = separate_groups()
        by = plain_scales(block, STRUCTURES["VVV"])
        done, _ = run(block, halves(block, 3), tol=1e-12, max_iter=2000)
        options = {"floor": np.zeros(3), "tol": 1e-6, "max_iter": 2}
        again = fit(array_pass(block), done.parameters, by, **options)
        assert (again.reason, len(again.history)) == ("converged", 3)

    @pytest.mark.parametrize("max_iter", [0, 1, 2, 9])
    def test_max_iterations_counts_steps_of_em(self, max_iter):
        """The fit is that many M-steps from the start, and is evaluated there."""
        block, _ = separate_groups()
        found, parameters = run(block, halves(block, 3), tol=0.0, max_iter=max_iter)
        assert (found.reason, found.converged) == ("max_iterations", False)
        assert len(found.history) == max_iter + 1
        structure, by = STRUCTURES["VVV"], plain_scales(block, STRUCTURES["VVV"])
        expected = start_from_labels(block, halves(block, 3), structure, by)
        for _ in range(max_iter):
            statistics = statistics_of(expected, block, by)
            expected = m_step(statistics, slice(0, 3), expected, np.zeros(3)).parameters
        assert_same(found.parameters, expected)
        assert found.parameters is found.history[-1].parameters
        assert_allclose(found.log_likelihood, log_likelihood(parameters, block.T), rtol=1e-11)

    @pytest.mark.parametrize("code", ["VVV", "VVI", "VII"])
    def test_singular_keeps_the_last_regular_pass(self, code):
        block, labels = point_mass()
        found, parameters = run(block, labels, code, max_iter=2000, tol=1e-12)
        assert (found.reason, found.converged) == ("singular", False)
        assert len(found.history) >= 2
        assert found.parameters is found.history[-1].parameters
        parameters.validated()
        by = plain_scales(block, STRUCTURES[code])
        statistics = statistics_of(found.parameters, block, by)
        with pytest.raises(SingularCovarianceError, match="component 1"):
            m_step(statistics, slice(0, 2), found.parameters, np.zeros(2))
        mean = found.history[-1].mean_log_likelihood
        assert_allclose(found.log_likelihood, 220 * mean, rtol=1e-12)
        assert_never_falls(found)

    @pytest.mark.parametrize("code", ["VVV", "VVI", "VII"])
    def test_the_floor_lets_the_same_fit_converge_and_says_so(self, code):
        block, labels = point_mass()
        found, _ = run(block, labels, code, floor=1e-3, max_iter=2000)
        assert found.converged
        assert [touched.component for touched in found.floored] == [1]
        assert found.floored[0].columns == (0, 1)

    def test_a_singular_start_is_an_error(self):
        block, _ = separate_groups()
        block[2] = block[0]
        by = plain_scales(block, STRUCTURES["EEE"])
        flat = replace(random_parameters("EEE", 2, 3), covariances=np.ones((3, 3)))
        with pytest.raises(SingularCovarianceError):
            fit(array_pass(block), flat, by, floor=np.zeros(3))

    @pytest.mark.parametrize("code", CODES)
    def test_a_fall_ends_the_fit_with_the_best_parameters(self, code):
        block, _ = separate_groups()
        by = plain_scales(block, STRUCTURES[code])
        start = start_from_labels(block, halves(block, 3), STRUCTURES[code], by)
        passes = []

        def run_pass(evaluator):
            passes.append(array_pass(block)(evaluator))
            if len(passes) == 4:
                passes[-1].log_likelihoods[:] -= 300.0
            return passes[-1]

        found = fit(run_pass, start, by, floor=np.zeros(3), tol=1e-12)
        assert (found.reason, found.converged, len(found.history)) == ("decreased", False, 4)
        assert found.history[-1].gain < 0
        assert found.parameters is found.history[2].parameters
        assert_allclose(found.log_likelihood, found.weight * found.history[2].mean_log_likelihood)

    def test_a_log_likelihood_that_is_no_number_is_an_error(self):
        block, _ = separate_groups()
        by = plain_scales(block, STRUCTURES["VVV"])
        start = start_from_labels(block, halves(block, 3), STRUCTURES["VVV"], by)
        block[1, 7] = np.nan
        with pytest.raises(FloatingPointError, match="nan at pass 1"):
            fit(array_pass(block), start, by, floor=np.zeros(3))


class TestDeadComponents:
    @pytest.mark.parametrize("code", CODES)
    def test_drop_out_and_leave_the_fit_of_the_others(self, code):
        block, _ = separate_groups()
        structure, floor = STRUCTURES[code], np.zeros(3)
        by = plain_scales(block, structure)
        two = start_from_labels(block, halves(block, 2), structure, by)
        own = {"full": 1e-4 * np.eye(3), "diagonal": np.full(3, 1e-4), "spherical": 1e-4}
        covariances = two.covariances
        if not structure.shared:
            covariances = np.concatenate([covariances, np.array(own[structure.kind])[None]])
        three = replace(
            two,
            weights=np.append(two.weights / 2, 0.5),
            means=np.vstack([two.means, np.full(3, 500.0)]),
            covariances=covariances,
        )
        # The weight of a component that takes no row is lost to the others, which keep theirs.
        a = fit(array_pass(block), two, by, floor=floor, tol=1e-12, max_iter=500)
        b = fit(array_pass(block), three, by, floor=floor, tol=1e-12, max_iter=500)
        assert b.converged
        assert b.dead == (2,)
        assert b.parameters.weights[2] == 0
        assert b.cluster_sizes[2] == 0
        assert_array_equal(b.parameters.means[2], three.means[2])
        assert_allclose(b.log_likelihood, a.log_likelihood, rtol=1e-9)
        assert_allclose(b.parameters.means[:2], a.parameters.means, rtol=1e-4, atol=1e-5)
        assert b.history[0].dead == ()
        assert b.history[1].dead == (2,)


class TestAdvance:
    """Several candidates in one scan."""

    def test_does_to_each_what_it_does_to_it_alone(self):
        block, _ = separate_groups()
        by = plain_scales(block, STRUCTURES["VVV"])
        starts = [start_from_labels(block, halves(block, k), STRUCTURES["VVV"], by) for k in (2, 4)]
        floor = np.full(3, 1e-3)
        run_pass = array_pass(block)
        both = advance(Sample(block, None, by, floor), [Candidate(s) for s in starts], steps=5)
        for start, candidate in zip(starts, both, strict=True):
            alone = fit(run_pass, start, by, floor=floor, max_iter=5, tol=0.0)
            assert_same(candidate.parameters, alone.parameters)
            # A score is of the parameters before the last step, without the volume of the scale.
            score = alone.history[4].mean_log_likelihood + by.log_volume
            assert_allclose(candidate.score, score, rtol=1e-10)

    def test_drops_the_singular_and_goes_on_with_the_rest(self):
        block, _ = separate_groups()
        by = plain_scales(block, STRUCTURES["VVV"])
        sound = start_from_labels(block, halves(block, 2), STRUCTURES["VVV"], by)
        flat = replace(sound, covariances=np.stack([np.eye(3), np.ones((3, 3))]))
        sample = Sample(block, None, by, np.zeros(3))
        left = advance(sample, [Candidate(flat), Candidate(sound)], steps=3)
        assert len(left) == 1
        alone = fit(array_pass(block), sound, by, floor=np.zeros(3), max_iter=3, tol=0.0)
        assert_same(left[0].parameters, alone.parameters)

    def test_drops_what_becomes_singular_on_the_way(self):
        block, labels = point_mass()
        by = plain_scales(block, STRUCTURES["VVV"])
        collapsing = start_from_labels(block, labels, STRUCTURES["VVV"], by)
        sound = start_from_labels(block, halves(block, 2), STRUCTURES["VVV"], by)
        alone = fit(array_pass(block), collapsing, by, floor=np.zeros(2), tol=0.0)
        assert alone.reason == "singular"
        steps = len(alone.history)
        candidates = [Candidate(collapsing), Candidate(sound)]
        left = advance(Sample(block, None, by, np.zeros(2)), candidates, steps=steps)
        assert len(left) == 1
        other = fit(array_pass(block), sound, by, floor=np.zeros(2), tol=0.0, max_iter=steps)
        assert_same(left[0].parameters, other.parameters)

    def test_of_nothing_regular_is_empty(self):
        block, _ = separate_groups()
        by = plain_scales(block, STRUCTURES["VVV"])
        sound = start_from_labels(block, halves(block, 2), STRUCTURES["VVV"], by)
        only = [Candidate(replace(sound, covariances=np.ones((2, 3, 3))))]
        assert advance(Sample(block, None, by, np.zeros(3)), only, steps=3) == []


def test_one_component_is_the_mean_and_covariance_of_all_rows(shared_data):
    block = classic_set(shared_data, "iris")
    _, parameters = run(block, np.zeros(150, dtype=np.intp))
    assert_allclose(parameters.means[0], block.mean(axis=1), rtol=1e-12)
    assert_allclose(parameters.covariances[0], np.cov(block, bias=True), rtol=1e-10)


def test_an_array_answers_a_pass_with_the_kernels_statistics():
    parameters = random_parameters("VVV", 2, 3)
    by = Standardisation(np.zeros(3), np.ones(3))
    block, weights = np.random.default_rng(0).normal(size=(3, 50)), np.full(50, 2.0)
    answered = []
    fit(
        lambda evaluator: answered.append(array_pass(block, weights)(evaluator)) or answered[-1],
        parameters,
        by,
        floor=np.zeros(3),
        max_iter=0,
    )
    expected = statistics_of(parameters, block, by, weights)
    assert_array_equal(answered[0].values, expected.values)
