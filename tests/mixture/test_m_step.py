"""The M-step: closed forms, the covariance floor as a constrained optimum, dead components."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.m_step import m_step
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES, Floored
from tests.mixture.reference import CODES, log_joint, random_parameters, statistics_of


def unit(d):
    return Standardisation(np.zeros(d), np.ones(d))


def step_from(parameters, rows, floor, weights=None):
    statistics = statistics_of(parameters, rows.T, unit(rows.shape[1]), weights)
    return m_step(statistics, slice(0, parameters.k), parameters, np.asarray(floor, float))


def responsibilities(parameters, rows, weights=None):
    joint = log_joint(parameters, rows)
    joint -= joint.max(axis=0)
    shares = np.exp(joint) / np.exp(joint).sum(axis=0)
    return shares if weights is None else shares * weights


def scatters(shares, rows):
    """Weighted covariance of every component about its own mean, and its weight."""
    counts = shares.sum(axis=1)
    means = shares @ rows / counts[:, None]
    out = []
    for share, mean, count in zip(shares, means, counts, strict=True):
        deviation = rows - mean
        out.append((deviation * share[:, None]).T @ deviation / count)
    return counts, means, np.array(out)


def expected_log_likelihood(counts, within, covariances):
    """Of complete data, as far as it depends on covariance matrices (k, d, d)."""
    total = 0.0
    for count, scatter, covariance in zip(counts, within, covariances, strict=True):
        log_determinant = np.linalg.slogdet(covariance)[1]
        total -= 0.5 * count * (log_determinant + np.trace(np.linalg.solve(covariance, scatter)))
    return total


def flat_rows(seed=0, n=400):
    """Two groups: one flat along a direction of columns 0 and 2, one along column 1."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 3))
    first = np.arange(n) < n // 2
    direction = np.array([1.0, 0.0, -1.0]) / np.sqrt(2)
    flat = rows - np.outer(rows @ direction, direction) * 0.999
    rows[first] = flat[first] - 4
    rows[~first, 1] = 4 + 1e-3 * rows[~first, 1]
    rows[~first] += [4.0, 0.0, 4.0]
    return rows, np.where(first, 0, 1)


def two_groups(code, rows, labels):
    """Parameters that put every row where its label says, to rounding."""
    parameters = random_parameters(code, 2, rows.shape[1])
    means = np.stack([rows[labels == k].mean(axis=0) for k in range(2)])
    return replace(parameters, means=means, weights=np.full(2, 0.5))


class TestClosedForms:
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("code", CODES)
    def test_are_weighted_moments_of_the_rows(self, code, weighted):
        rng = np.random.default_rng(1)
        parameters = random_parameters(code, 3, 4)
        rows = 2 * rng.normal(size=(300, 4)) + rng.normal(size=4)
        weights = rng.uniform(0, 3, 300) if weighted else None
        counts, means, within = scatters(responsibilities(parameters, rows, weights), rows)
        step = step_from(parameters, rows, np.zeros(4), weights)
        pooled = np.einsum("k,kij->ij", counts, within) / counts.sum()
        expected = {
            "VVV": within,
            "EEE": pooled,
            "VVI": [np.diag(w) for w in within],
            "EEI": np.diag(pooled),
            "VII": [np.trace(w) / 4 for w in within],
            "EII": np.trace(pooled) / 4,
        }[code]
        assert_allclose(step.parameters.weights, counts / counts.sum(), rtol=1e-10)
        assert_allclose(step.parameters.means, means, rtol=1e-8, atol=1e-10)
        assert_allclose(step.parameters.covariances, expected, rtol=1e-8, atol=1e-10)
        assert (step.floored, step.dead) == ((), ())


def feasible(code, draws, floor, d):
    """Covariance matrices of a structure whose eigenvalues in units of the floor are at least 1,
    from any real numbers: (k, d, d)."""
    structure = STRUCTURES[code]
    matrices = []
    for draw in draws:
        if structure.kind == "full":
            factor = draw.reshape(d, d)
            matrix = np.eye(d) + factor @ factor.T
            matrices.append(matrix * np.outer(floor, floor))
        elif structure.kind == "diagonal":
            matrices.append(np.diag((1 + draw[:d] ** 2) * floor**2))
        else:
            matrices.append((1 + draw[0] ** 2) * floor.max() ** 2 * np.eye(d))
    return np.array(matrices * 2 if structure.shared else matrices)


def reached_floor(code):
    """A floor that the groups of `flat_rows` reach in part."""
    if STRUCTURES[code].kind == "spherical":
        return np.array([0.05, 0.2, 0.9])
    # Pooled, column 1 has half the variance it has in the first group.
    return np.array([0.05, 0.9 if STRUCTURES[code].shared else 0.2, 0.4])


class TestFloor:
    floor = np.array([0.05, 0.2, 0.4])

    @pytest.mark.parametrize("code", CODES)
    def test_result_maximises_the_expected_log_likelihood_under_the_constraint(self, code):
        rows, labels = flat_rows()
        floor = reached_floor(code)
        parameters = two_groups(code, rows, labels)
        counts, _, within = scatters(responsibilities(parameters, rows), rows)
        step = step_from(parameters, rows, floor)
        assert step.floored
        found = expected_log_likelihood(counts, within, step.parameters.dense_covariances())
        unconstrained = step_from(parameters, rows, np.zeros(3)).parameters.dense_covariances()
        assert found < expected_log_likelihood(counts, within, unconstrained)

        groups = 1 if STRUCTURES[code].shared else 2

        def loss(flat):
            covariances = feasible(code, flat.reshape(groups, 9), floor, 3)
            return -expected_log_likelihood(counts, within, covariances)

        rng = np.random.default_rng(2)
        best = min(
            minimize(loss, rng.normal(size=9 * groups), options={"maxiter": 2000}).fun
            for _ in range(4)
        )
        assert_allclose(found, -best, rtol=1e-6)
        assert found >= -best - 1e-9 * abs(best)

    @pytest.mark.parametrize("code", CODES)
    def test_no_feasible_neighbour_is_better(self, code):
        rows, labels = flat_rows(seed=3)
        floor = reached_floor(code)
        parameters = two_groups(code, rows, labels)
        counts, _, within = scatters(responsibilities(parameters, rows), rows)
        best = step_from(parameters, rows, floor).parameters
        found = expected_log_likelihood(counts, within, best.dense_covariances())
        rng = np.random.default_rng(4)
        shape, lowest = STRUCTURES[code].kind, floor**2
        for size in (1e-3, 1e-1):
            for _ in range(50):
                noise = size * rng.normal(size=best.covariances.shape)
                if shape == "full":
                    unit_free = best.covariances / np.outer(floor, floor)
                    unit_free = unit_free * (1 + (noise + noise.swapaxes(-1, -2)) / 2)
                    values, vectors = np.linalg.eigh(unit_free)
                    raised = np.maximum(values, 1.0)[..., None, :]
                    covariances = (vectors * raised) @ vectors.swapaxes(-1, -2)
                    covariances = covariances * np.outer(floor, floor)
                else:
                    least = lowest if shape == "diagonal" else lowest.max()
                    covariances = np.maximum(best.covariances * (1 + noise), least)
                neighbour = replace(best, covariances=covariances).dense_covariances()
                other = expected_log_likelihood(counts, within, neighbour)
                assert other <= found + 1e-10 * abs(found)

    @pytest.mark.parametrize("code", CODES)
    def test_leaves_alone_what_does_not_reach_it(self, code):
        parameters = random_parameters(code, 3, 4)
        rows = 2 * np.random.default_rng(1).normal(size=(300, 4))
        plain = step_from(parameters, rows, np.zeros(4))
        floored = step_from(parameters, rows, np.full(4, 1e-3))
        assert floored.floored == ()
        assert_array_equal(floored.parameters.covariances, plain.parameters.covariances)

    def test_leaves_the_other_components_alone(self):
        rows, labels = flat_rows()
        parameters = two_groups("VVV", rows, labels)
        floor = np.array([1e-6, 0.2, 1e-6])  # reached by the second group, along column 1
        plain = step_from(parameters, rows, np.zeros(3)).parameters
        step = step_from(parameters, rows, floor)
        assert_array_equal(step.parameters.covariances[0], plain.covariances[0])
        assert step.parameters.covariances[1, 1, 1] >= 0.04 * (1 - 1e-12)
        assert step.floored == (Floored(1, (1,)),)

    def test_says_which_component_and_which_columns(self):
        rows, labels = flat_rows()
        step = step_from(two_groups("VVV", rows, labels), rows, np.full(3, 0.2))
        assert step.floored == (Floored(0, (0, 2)), Floored(1, (1,)))
        step = step_from(two_groups("VVI", rows, labels), rows, np.full(3, 0.2))
        assert step.floored == (Floored(1, (1,)),)

    def test_names_no_column_that_hardly_takes_part_in_the_flat_direction(self):
        rows = np.random.default_rng(0).normal(size=(400, 3))
        direction = np.array([1.0, 0.2, 0.0]) / np.sqrt(1.04)  # column 1: 4 % of its square
        rows -= np.outer(rows @ direction, direction) * 0.999
        step = step_from(Parameters.unit(STRUCTURES["VVV"], 1, 3), rows, np.full(3, 0.01))
        assert step.floored == (Floored(0, (0,)),)

    def test_of_a_shared_covariance_is_reported_once(self):
        rows = np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 1e-3, 1.0]
        labels = np.arange(200) % 2
        rows[labels == 1, 0] += 9
        for code in ("EEE", "EEI"):
            step = step_from(two_groups(code, rows, labels), rows, np.full(3, 0.2))
            assert step.floored == (Floored(0, (1,)),)

    def test_of_a_spherical_covariance_is_the_largest_of_the_columns(self):
        rows, labels = flat_rows()
        step = step_from(two_groups("VII", rows * 1e-3, labels), rows * 1e-3, self.floor)
        assert_allclose(step.parameters.covariances, 0.4**2)
        assert step.floored == (Floored(0, (0, 1, 2)), Floored(1, (0, 1, 2)))

    def test_of_a_component_on_one_point_is_the_floor_itself(self):
        rows = np.concatenate([np.tile([5.0, 5.0, 5.0], (50, 1)), flat_rows()[0] - 9])
        labels = np.repeat([0, 1], [50, 400])
        for code in ("VVV", "VVI"):
            step = step_from(two_groups(code, rows, labels), rows, self.floor)
            dense = step.parameters.dense_covariances()[0]
            assert_allclose(dense, np.diag(self.floor**2), rtol=1e-9, atol=1e-12)
            assert step.floored[0] == Floored(0, (0, 1, 2))

    def test_keeps_exactly_collinear_columns_regular(self):
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(500, 3))
        rows[:, 2] = rows[:, 0] - 2 * rows[:, 1]
        parameters = Parameters.unit(STRUCTURES["VVV"], 1, 3)
        floor = np.full(3, 1e-6)
        step = step_from(parameters, rows, floor)
        scaled = step.parameters.covariances[0] / np.outer(floor, floor)
        assert np.linalg.eigvalsh(scaled).min() > 0.99
        assert step.floored == (Floored(0, (0, 1, 2)),)
        natural_parameters([step.parameters], unit(3))


class TestSingular:
    @pytest.mark.parametrize("code", CODES)
    def test_without_a_floor_is_an_error_that_names_the_component(self, code):
        rows = np.random.default_rng(0).normal(size=(60, 2))
        labels = np.repeat([0, 1], 30)
        rows[labels == 1] = [50.0, 50.0]
        if STRUCTURES[code].shared:
            rows[labels == 0] = [-50.0, -50.0]
        parameters = two_groups(code, rows, labels)
        with pytest.raises(SingularCovarianceError) as caught:
            step_from(parameters, rows, np.zeros(2))
        assert caught.value.component == (0 if STRUCTURES[code].shared else 1)

    def test_collinear_columns_without_a_floor_are_singular(self):
        rows = np.random.default_rng(0).normal(size=(60, 3))
        rows[:, 2] = rows[:, 0] + rows[:, 1]
        with pytest.raises(SingularCovarianceError):
            step_from(Parameters.unit(STRUCTURES["VVV"], 1, 3), rows, np.zeros(3))


class TestDeadComponents:
    @pytest.mark.parametrize("code", CODES)
    def test_get_weight_0_and_keep_their_place(self, code):
        rows = np.random.default_rng(0).normal(size=(100, 2))
        parameters = random_parameters(code, 3, 2)
        means = np.array([[0.0, 0.0], [400.0, 400.0], [1.0, 1.0]])
        parameters = replace(parameters, means=means)
        step = step_from(parameters, rows, np.full(2, 1e-3))
        assert step.dead == (1,)
        assert step.parameters.weights[1] == 0
        assert_allclose(step.parameters.weights.sum(), 1)
        assert_array_equal(step.parameters.means[1], [400.0, 400.0])
        if not STRUCTURES[code].shared:
            assert_array_equal(step.parameters.covariances[1], parameters.covariances[1])
        step.parameters.validated()

    @pytest.mark.parametrize("code", ["EEE", "EEI", "EII"])
    def test_do_not_enter_the_shared_covariance(self, code):
        rows = np.random.default_rng(0).normal(size=(100, 2))
        parameters = random_parameters(code, 2, 2)
        lively = replace(parameters, means=np.zeros((2, 2)))
        dying = replace(parameters, means=np.array([[0.0, 0.0], [400.0, 400.0]]))
        alone = replace(lively, weights=np.ones(1), means=np.zeros((1, 2)))
        found = step_from(dying, rows, np.zeros(2)).parameters.covariances
        assert_allclose(found, step_from(alone, rows, np.zeros(2)).parameters.covariances)

    def test_labels_no_row_has_are_dead(self):
        rows = np.random.default_rng(0).normal(size=(40, 2))
        blank = Parameters.unit(STRUCTURES["VVV"], 3, 2)
        kernel = BlockKernel(natural_parameters([blank], unit(2)))
        kernel.add_labelled(rows.T, np.arange(40) % 2, None)
        step = m_step(kernel.statistics(), slice(0, 3), blank, np.zeros(2))
        assert step.dead == (2,)
        assert_array_equal(step.parameters.weights, [0.5, 0.5, 0.0])
