"""The block kernel against densities by scipy, exact rational arithmetic and plain loops."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.m_step import m_step, scatter_about_origin
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.numerics import aligned, exponentials
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.statistics import merged
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import (
    CODES,
    dense_covariances,
    exact_log_normal,
    log_joint,
    log_likelihood,
    random_parameters,
    statistics_by_loops,
    statistics_of,
)

SHARED = ("EEE", "EEI", "EII")
EPS = np.finfo(float).eps


def unit(d):
    return Standardisation(np.zeros(d), np.ones(d))


def away(d, seed=0, common=False):
    """Centres and scales as real columns have them."""
    rng = np.random.default_rng(seed)
    scale = np.full(d, 3.7) if common else 10.0 ** rng.uniform(-4, 6, d)
    return Standardisation(scale * rng.normal(size=d), scale)


def evaluated(candidates, rows, by):
    return BlockKernel(natural_parameters(candidates, by)).log_joint(np.ascontiguousarray(rows.T))


class TestLogJoint:
    @pytest.mark.parametrize("code", CODES)
    @pytest.mark.parametrize("d", [1, 2, 5])
    def test_is_the_log_of_weight_times_density(self, code, d):
        parameters = random_parameters(code, 3, d)
        rows = np.random.default_rng(1).normal(size=(200, d)) * 3
        found = evaluated([parameters], rows, unit(d))
        assert_allclose(found, log_joint(parameters, rows), rtol=0, atol=1e-8)

    @pytest.mark.parametrize("code", CODES)
    def test_in_the_users_units_differs_by_the_volume_of_the_scale_alone(self, code):
        d = 3
        parameters = random_parameters(code, 3, d)
        by = away(d, common=STRUCTURES[code].kind == "spherical")
        rows = by.centre + by.scale * np.random.default_rng(1).normal(size=(100, d))
        found = evaluated([parameters], rows, by) - by.log_volume
        factor = np.diag(by.scale)
        covariances = [factor @ c @ factor for c in dense_covariances(parameters)]
        dense = Parameters(
            STRUCTURES["VVV"],
            parameters.weights,
            by.centre + parameters.means * by.scale,
            np.array(covariances),
        )
        expected = [
            [
                np.log(dense.weights[k]) + exact_log_normal(dense.means[k], covariances[k], row)
                for row in rows
            ]
            for k in range(dense.k)
        ]
        assert_allclose(found, expected, rtol=0, atol=1e-8)

    @pytest.mark.parametrize("code", CODES)
    def test_of_stacked_candidates_is_that_of_each_alone(self, code):
        candidates = [random_parameters(code, k, 4, seed=k) for k in (2, 1, 5)]
        rows = np.random.default_rng(1).normal(size=(50, 4)) * 2
        expected = np.concatenate([log_joint(c, rows) for c in candidates])
        assert_allclose(evaluated(candidates, rows, unit(4)), expected, rtol=0, atol=1e-8)

    @pytest.mark.parametrize("rows_in_block", [1, 255, 256, 4096, 4097, 9001])
    def test_does_not_depend_on_how_rows_fall_into_chunks(self, rows_in_block):
        parameters = random_parameters("VVV", 3, 2)
        rows = np.random.default_rng(1).normal(size=(rows_in_block, 2))
        expected = log_joint(parameters, rows)
        assert_allclose(evaluated([parameters], rows, unit(2)), expected, rtol=0, atol=1e-8)

    def test_takes_blocks_that_are_not_contiguous(self):
        parameters = random_parameters("VVV", 3, 2)
        rows = np.random.default_rng(1).normal(size=(300, 4))[:, ::2]
        kernel = BlockKernel(natural_parameters([parameters], unit(2)))
        assert_allclose(kernel.log_joint(rows.T), log_joint(parameters, rows), rtol=0, atol=1e-8)

    @pytest.mark.parametrize("code", CODES)
    def test_of_rows_at_1e12_is_right_to_relative_precision(self, code):
        parameters = random_parameters(code, 3, 4)
        rows = 1e12 * np.random.default_rng(1).normal(size=(20, 4))
        found = evaluated([parameters], rows, unit(4))
        assert_allclose(found, log_joint(parameters, rows), rtol=1e-12)

    def test_of_a_dead_component_is_finite_and_takes_no_row(self):
        live = random_parameters("VVV", 3, 2)
        weights = np.array([0.4, 0.0, 0.6])
        parameters = Parameters(live.structure, weights, live.means, live.covariances)
        rows = np.random.default_rng(1).normal(size=(40, 2))
        statistics = statistics_of(parameters, rows.T, unit(2))
        without = Parameters(
            live.structure, weights[[0, 2]], live.means[[0, 2]], live.covariances[[0, 2]]
        )
        assert np.isfinite(evaluated([parameters], rows, unit(2))).all()
        assert statistics.counts[1] == 0
        assert statistics.cluster_sizes[1] == 0
        assert np.isfinite(statistics.values).all()
        assert_allclose(statistics.log_likelihoods[0], log_likelihood(without, rows), rtol=1e-12)

    def test_room_begins_at_a_cache_line(self):
        # Wherever an array begins: a pass takes a quarter longer across two lines.
        rooms = [aligned(size) for size in range(1, 60)]
        assert [room.size for room in rooms] == list(range(1, 60))
        assert {room.ctypes.data % 64 for room in rooms} == {0}

    def test_exponentials_end_in_zero_before_they_end_in_denormal_numbers(self):
        """These take thirty times as long; and a row is to have none of a dead component."""
        found = exponentials(
            np.array([[0.0, -1.0, -30.0, -690.0], [-700.0, -745.0, -1e300, -np.inf]])
        )
        assert_allclose(found[0], [1.0, np.exp(-1.0), np.exp(-30.0), np.exp(-690.0)], rtol=1e-4)
        assert_allclose(found[0, :3], np.exp([0.0, -1.0, -30.0]), rtol=1e-15)
        assert_array_equal(found[1], 0.0)


def near_rows(mean, factor, seed, n=6):
    """Rows up to a few standard deviations from a component."""
    noise = np.random.default_rng(seed).normal(size=(n, len(mean)))
    return mean + 1.5 * noise @ factor.T


class TestIllConditionedComponents:
    """Against rational arithmetic, in which a condition of 1e12 costs nothing."""

    @pytest.mark.parametrize("distance", [0.0, 1.0, 1e3, 1e6])
    @pytest.mark.parametrize("condition", [1.0, 1e3, 1e6, 1e9, 1e12])
    @pytest.mark.parametrize("code", ["VVV", "VVI", "VII"])
    def test_narrow_components_far_from_the_centre(self, code, condition, distance):
        d, rng = 3, np.random.default_rng(0)
        deviations = np.array([1.0, condition**-0.25, condition**-0.5])
        full = random_parameters("VVV", 1, d).covariances[0] * np.outer(deviations, deviations)
        covariances = {"VVV": full, "VVI": np.diag(full), "VII": full[d - 1, d - 1]}[code]
        direction = rng.normal(size=d)
        means = np.stack([np.zeros(d), distance * direction])
        parameters = Parameters(
            STRUCTURES[code], np.array([0.25, 0.75]), means, np.array([covariances, covariances])
        )
        dense = dense_covariances(parameters)
        for k in range(2):
            rows = near_rows(means[k], np.linalg.cholesky(dense[k]), seed=k)
            expected = [exact_log_normal(means[k], dense[k], row) for row in rows]
            found = evaluated([parameters], rows, unit(d))[k] - np.log(parameters.weights[k])
            assert_allclose(found, expected, rtol=0, atol=1e-8)

    @pytest.mark.parametrize("distance", [0.0, 1e3, 1e6])
    @pytest.mark.parametrize("condition", [1e3, 1e6, 1e9, 1e12])
    def test_nearly_collinear_components_lose_no_more_than_the_covariance_itself(
        self, condition, distance
    ):
        d, rng = 4, np.random.default_rng(int(np.log10(condition)))
        axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
        factor = axes * np.geomspace(1, condition**-0.5, d)
        covariance = factor @ factor.T
        covariance = (covariance + covariance.T) / 2
        mean = distance * rng.normal(size=d)
        parameters = Parameters(STRUCTURES["VVV"], np.ones(1), mean[None], covariance[None])
        rows = near_rows(mean, factor, seed=1)
        expected = np.array([exact_log_normal(mean, covariance, row) for row in rows])
        found = evaluated([parameters], rows, unit(d))[0]
        # Rounding the entries of the matrix by half a unit in the last place moves a log density
        # by about condition x eps x squared distance: nobody can ask for more than that.
        squared = 1 + np.abs(expected - expected.max()) * 2
        assert_allclose(found - expected, 0, atol=1e-8 + 2 * condition * EPS * squared.max())

    @pytest.mark.parametrize("code", ["VVV", "VVI", "VII"])
    def test_keep_their_statistics_about_their_own_mean(self, code):
        structure, d = STRUCTURES[code], 2
        rng = np.random.default_rng(0)
        # A component 1e-7 wide a million away: moments about 0 would hold nothing of its width.
        mean = np.array([1e6, -1e6])
        rows = mean + 1e-7 * np.round(rng.normal(size=(500, d)) * 64) / 64
        rows = np.concatenate([rows, rng.normal(size=(500, d))])
        variances = np.array([1e-14, 1.0])
        covariances = {
            "VVV": variances[:, None, None] * np.eye(d),
            "VVI": variances[:, None] * np.ones(d),
            "VII": variances,
        }[code]
        parameters = Parameters(
            structure, np.full(2, 0.5), np.stack([mean, np.zeros(d)]), covariances
        )
        statistics = statistics_of(parameters, rows.T, unit(d))
        step = m_step(statistics, slice(0, 2), parameters, np.zeros(d))
        for k, members in enumerate((rows[:500], rows[500:])):
            deviation = (members - parameters.means[k]) - (members - parameters.means[k]).mean(0)
            expected = deviation.T @ deviation / 500
            if code == "VVI":
                expected = np.diag(expected)
            elif code == "VII":
                expected = np.trace(expected) / d
            assert_allclose(step.parameters.covariances[k], expected, rtol=1e-6)
            assert_allclose(step.parameters.means[k], members.mean(0), rtol=1e-12, atol=1e-12)

    def test_not_positive_definite_is_an_error_that_names_the_component(self):
        covariances = np.stack([np.eye(2), [[1.0, 2.0], [2.0, 1.0]]])
        parameters = Parameters(STRUCTURES["VVV"], np.full(2, 0.5), np.zeros((2, 2)), covariances)
        with pytest.raises(SingularCovarianceError, match="component 1") as caught:
            natural_parameters([parameters], unit(2))
        assert caught.value.component == 1


class TestStatistics:
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("code", CODES)
    def test_are_the_sums_that_plain_loops_find(self, code, weighted):
        d, n = 3, 40
        rng = np.random.default_rng(2)
        parameters = random_parameters(code, 3, d)
        by = away(d, common=STRUCTURES[code].kind == "spherical")
        z = rng.normal(size=(n, d)) * 2
        weights = rng.uniform(0, 5, n) if weighted else np.ones(n)
        rows = by.centre + by.scale * z
        found = statistics_of(parameters, rows.T, by, weights if weighted else None)
        expected = statistics_by_loops(parameters, z, weights)
        second = {
            "full": expected["second"],
            "diagonal": np.einsum("kii->ki", expected["second"]),
            "spherical": np.einsum("kii->k", expected["second"]),
        }[STRUCTURES[code].kind]
        assert found.num_rows == n
        assert_allclose(found.weight, weights.sum(), rtol=1e-12)
        assert_allclose(found.counts, expected["counts"], rtol=1e-9)
        assert_allclose(found.first, expected["first"], rtol=1e-8, atol=1e-9)
        assert_allclose(found.second, second, rtol=1e-8, atol=1e-9)
        assert_allclose(found.log_likelihoods, [expected["log_likelihood"]], rtol=1e-11)
        assert_allclose(found.log_assignments, [expected["log_assignment"]], rtol=1e-8)
        assert_array_equal(found.cluster_sizes, expected["cluster_sizes"])
        assert_allclose(found.cluster_weights, expected["cluster_weights"], rtol=1e-12)
        assert found.values.size == found.layout.size

    def test_of_stacked_candidates_are_those_of_each_alone(self):
        candidates = [random_parameters("VVV", k, 3, seed=k) for k in (2, 4)]
        rows = np.random.default_rng(1).normal(size=(60, 3))
        weights = np.random.default_rng(2).uniform(0.1, 2, 60)
        kernel = BlockKernel(natural_parameters(candidates, unit(3)))
        kernel.add(rows.T, weights)
        together = kernel.statistics()
        for index, (candidate, components) in enumerate(
            zip(candidates, together.layout.candidates(), strict=True)
        ):
            alone = statistics_by_loops(candidate, rows, weights)
            assert_allclose(together.counts[components], alone["counts"], rtol=1e-9)
            assert_allclose(together.second[components], alone["second"], rtol=1e-8, atol=1e-10)
            assert_allclose(together.log_likelihoods[index], alone["log_likelihood"], rtol=1e-11)
            assert_allclose(together.log_assignments[index], alone["log_assignment"], rtol=1e-8)
            for name in ("cluster_sizes", "cluster_weights"):
                assert_allclose(getattr(together, name)[components], alone[name])

    @pytest.mark.parametrize("code", CODES)
    def test_of_rows_at_1e12_are_finite_and_the_near_rows_keep_theirs(self, code):
        parameters = random_parameters(code, 2, 3)
        rng = np.random.default_rng(1)
        near, far = rng.normal(size=(50, 3)), 1e12 * rng.normal(size=(4, 3))
        both = statistics_of(parameters, np.concatenate([near, far]).T, unit(3))
        alone = statistics_of(parameters, near.T, unit(3))
        assert np.isfinite(both.values).all()
        assert_allclose(both.counts.sum(), 54)
        assert (both.counts >= alone.counts - 1e-12).all()

    @pytest.mark.parametrize("weighted", [False, True])
    def test_count_a_row_that_two_components_share_for_the_first(self, weighted):
        one = random_parameters("VVV", 3, 2)
        twice = np.array([2, 0, 0])
        parameters = Parameters(
            one.structure, np.array([0.2, 0.4, 0.4]), one.means[twice], one.covariances[twice]
        )
        rows = np.random.default_rng(1).normal(size=(200, 2)) * 2
        weights = np.random.default_rng(2).uniform(0, 3, 200) if weighted else np.ones(200)
        joint = log_joint(parameters, rows)
        first = np.where(joint[0] > joint[1], 0, 1)
        found = statistics_of(parameters, rows.T, unit(2), weights if weighted else None)
        assert_array_equal(found.cluster_sizes, np.bincount(first, minlength=3))
        of_rows = np.bincount(first, weights, minlength=3)
        assert_allclose(found.cluster_weights, of_rows, atol=1e-12)

    def test_with_hard_assignments_are_sums_over_the_members(self):
        rng = np.random.default_rng(1)
        rows, labels = rng.normal(size=(5000, 2)), rng.integers(0, 3, 5000)
        weights = rng.uniform(0, 2, 5000)
        blank = Parameters.unit(STRUCTURES["VVV"], 3, 2)
        kernel = BlockKernel(natural_parameters([blank], unit(2)))
        kernel.add_labelled(rows.T, labels, weights)
        statistics = kernel.statistics()
        for k in range(3):
            mine, w = rows[labels == k], weights[labels == k]
            assert_allclose(statistics.counts[k], w.sum())
            assert_allclose(statistics.first[k], w @ mine)
            assert_allclose(statistics.second[k], (mine * w[:, None]).T @ mine)

    def test_of_no_rows_are_zero_and_change_nothing(self):
        parameters = random_parameters("VVV", 2, 3)
        rows = np.random.default_rng(1).normal(size=(50, 3))
        empty = statistics_of(parameters, rows[:0].T, unit(3))
        whole = statistics_of(parameters, rows.T, unit(3))
        assert_array_equal(empty.values, 0)
        assert_array_equal(merged([whole.values, empty.values]), whole.values)


class TestMerging:
    @pytest.mark.parametrize("code", CODES)
    def test_any_split_of_the_rows_adds_up_to_the_whole(self, code):
        rng = np.random.default_rng(3)
        parameters = random_parameters(code, 3, 4)
        rows, weights = rng.normal(size=(1000, 4)) * 2, rng.uniform(0, 3, 1000)
        whole = statistics_of(parameters, rows.T, unit(4), weights)
        for cuts in ([500], [1, 2, 3], [999], sorted(rng.integers(0, 1000, 16))):
            edges = [0, *cuts, 1000]
            parts = [
                statistics_of(parameters, rows[a:b].T, unit(4), weights[a:b])
                for a, b in pairwise(edges)
            ]
            values = merged([part.values for part in parts])
            assert replace(whole, values=values).num_rows == 1000
            assert_allclose(values, whole.values, rtol=1e-11, atol=1e-9)

    def test_is_associative_and_commutative_to_rounding(self):
        parameters = random_parameters("VVV", 3, 4)
        rows = np.random.default_rng(3).normal(size=(900, 4))
        parts = np.split(rows, 3)
        a, b, c = (statistics_of(parameters, part.T, unit(4)).values for part in parts)
        first, last = merged([merged([a, b]), c]), merged([a, merged([b, c])])
        assert_allclose(first, last, rtol=1e-13, atol=1e-12)
        assert_array_equal(first, merged([a, b, c]))
        assert_array_equal(merged([a, b]), merged([b, a]))

    @pytest.mark.parametrize("code", CODES)
    def test_a_row_of_weight_2_is_the_row_twice(self, code):
        rng = np.random.default_rng(4)
        parameters = random_parameters(code, 3, 3)
        rows, weights = rng.normal(size=(300, 3)), rng.integers(0, 4, 300)
        weighted = statistics_of(parameters, rows.T, unit(3), weights.astype(float))
        repeated = statistics_of(parameters, np.repeat(rows, weights, axis=0).T, unit(3))
        # Rows are counted as rows, whatever they weigh.
        assert (weighted.num_rows, repeated.num_rows) == (300, weights.sum())
        of_rows = slice(4, 4 + 3)  # cluster sizes, after the four sums of a single candidate
        same = [np.delete(found.values, of_rows)[1:] for found in (weighted, repeated)]
        assert_allclose(*same, rtol=1e-11, atol=1e-10)


class TestLinearKind:
    """Shared covariances without their quadratic, which cancels in the responsibilities."""

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("code", SHARED)
    def test_gives_what_the_full_evaluation_gives(self, code, weighted):
        rng = np.random.default_rng(5)
        candidates = [random_parameters(code, k, 4, seed=k) for k in (3, 2)]
        by = away(4, common=code == "EII")
        rows = by.centre + by.scale * 2 * rng.normal(size=(700, 4))
        weights = rng.uniform(0, 2, 700) if weighted else None
        evaluators = [natural_parameters(candidates, by, linear=linear) for linear in (True, False)]
        assert [e.layout.kind for e in evaluators] == ["linear", STRUCTURES[code].kind]
        found = []
        for evaluator in evaluators:
            kernel = BlockKernel(evaluator)
            kernel.add(rows.T, weights)
            found.append(kernel.statistics())
        linear, full = found
        z = (rows - by.centre) / by.scale
        w = np.ones(700) if weights is None else weights
        scatter = (z * w[:, None]).T @ z
        assert_allclose(linear.counts, full.counts, rtol=1e-10)
        assert_allclose(linear.first, full.first, rtol=1e-9, atol=1e-9)
        assert_allclose(linear.cluster_sizes, full.cluster_sizes, rtol=1e-12)
        assert_allclose(linear.log_assignments, full.log_assignments, rtol=1e-9)
        expected = [log_likelihood(c, z, w) for c in candidates]
        for evaluator, statistics in zip(evaluators, found, strict=True):
            assert_allclose(evaluator.log_likelihoods(statistics, scatter), expected, rtol=1e-11)

        for candidate, components in zip(candidates, linear.layout.candidates(), strict=True):
            steps = [m_step(s, components, candidate, np.zeros(4), scatter) for s in found]
            for name in ("weights", "means", "covariances"):
                a, b = (getattr(step.parameters, name) for step in steps)
                assert_allclose(a, b, rtol=1e-9, atol=1e-10)

    @pytest.mark.parametrize("code", CODES)
    def test_needs_the_scatter_that_a_full_pass_knows(self, code):
        rng = np.random.default_rng(6)
        parameters = random_parameters(code, 3, 3)
        # One component narrow and far away: its moments are kept about its own mean.
        means = parameters.means + np.array([[3e5], [0], [0]])
        parameters = Parameters(
            parameters.structure, parameters.weights, means, parameters.covariances
        )
        rows = np.concatenate([means[0] + rng.normal(size=(40, 3)), rng.normal(size=(60, 3))])
        weights = rng.uniform(0.5, 2, 100)
        statistics = statistics_of(parameters, rows.T, unit(3), weights)
        assert np.abs(statistics.origins).max() > 1e5
        expected = (rows * weights[:, None]).T @ rows
        if STRUCTURES[code].kind == "diagonal":
            expected = np.diag(np.diag(expected))
        elif STRUCTURES[code].kind == "spherical":
            expected = np.eye(3) * np.trace(expected) / 3
        assert_allclose(scatter_about_origin(statistics), expected, rtol=1e-11)

    def test_gives_way_to_the_full_terms_where_a_component_is_ill_conditioned(self):
        shared = random_parameters("EEE", 2, 3)
        means = shared.means + np.array([[1e6], [0]])
        parameters = Parameters(shared.structure, shared.weights, means, shared.covariances)
        rows = np.concatenate([means[0] + np.eye(3), means[1] + np.eye(3)])
        evaluator = natural_parameters([parameters], unit(3), linear=True)
        kernel = BlockKernel(evaluator)
        kernel.add(rows.T)
        found = evaluator.log_likelihoods(kernel.statistics(), rows.T @ rows)
        assert_allclose(found, [log_likelihood(parameters, rows)], rtol=1e-10)

    def test_without_the_scatter_is_an_error(self):
        parameters = random_parameters("EEE", 2, 3)
        evaluator = natural_parameters([parameters], unit(3), linear=True)
        kernel = BlockKernel(evaluator)
        kernel.add(np.ones((3, 5)))
        with pytest.raises(ValueError, match="scatter"):
            evaluator.log_likelihoods(kernel.statistics(), None)
        with pytest.raises(ValueError, match="scatter"):
            m_step(kernel.statistics(), slice(0, 2), parameters, np.zeros(3))
