"""Log-odds by column: they add up, are the formula written out, and are nothing where a column says
nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, poisson

from gmm_spark.engine.scoring import central
from gmm_spark.mixture.explanations import Explainer, Explanations
from gmm_spark.mixture.families import Categorical, Count
from gmm_spark.mixture.families.categorical import split_tables
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.test_mixed import parameters_of, rows_of

FULL = STRUCTURES["VVV"]


def explained(parameters: Parameters, block: np.ndarray, clusters=None) -> Explanations:
    return Explainer(parameters, central(parameters), clusters).explained(block)


def two(means, covariances, weights=(0.6, 0.4), families=(), values=()) -> Parameters:
    return Parameters(
        FULL,
        np.array(weights),
        np.array(means, dtype=float),
        np.array(covariances, dtype=float),
        tuple(families),
        tuple(np.array(each, dtype=float) for each in values),
    )


def log_joint(parameters: Parameters, block: np.ndarray) -> np.ndarray:
    """log w + log density of what is known of rows, (K, n), by scipy, the noise last."""
    d, tables = parameters.d, split_tables(parameters.tables, parameters.levels)
    codes, counts = np.split(block[d:], [len(tables)])
    known = ~np.isnan(block)
    found = np.repeat(np.log(parameters.all_weights)[:, None], block.shape[1], axis=1)
    patterns, which = np.unique(known[:d], axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        rows, there = np.flatnonzero(which.ravel() == number), np.flatnonzero(pattern)
        for k, covariance in enumerate(parameters.dense_covariances()):
            if there.size:
                part = parameters.means[k][there], covariance[np.ix_(there, there)]
                values = block[np.ix_(there, rows)].T
                found[k, rows] += multivariate_normal(*part).logpdf(values)
    for k in range(parameters.k):
        for table, row in zip(tables, codes, strict=True):
            found[k] += np.log(np.where(np.isnan(row), 1, table[k][np.nan_to_num(row).astype(int)]))
        for rate, row in zip(parameters.rates[k], counts, strict=True):
            found[k] += np.where(np.isnan(row), 0, poisson(rate).logpmf(np.nan_to_num(row)))
    if parameters.noise is not None:
        ranges = [where.log_sizes for where in parameters.noise.ranges]
        found[-1] -= np.concatenate([parameters.noise.log_widths, *ranges]) @ known
    return found


def assert_adds_up(parameters: Parameters, block: np.ndarray, clusters=None) -> None:
    """To the log-odds by definition, of every row between its two most probable segments."""
    found = explained(parameters, block, clusters)
    joint = log_joint(parameters, block)
    groups = [[j] for j in range(parameters.k)] if clusters is None else [*map(list, clusters)]
    groups += [[parameters.k]] if parameters.noise is not None else []
    segments = np.array([logsumexp(joint[group], axis=0) for group in groups])
    order = np.argsort(-segments, axis=0)
    at = np.arange(block.shape[1])
    assert_array_equal(found.segment, order[0])
    assert_array_equal(found.runner_up, order[1])
    expected = segments[order[0], at] - segments[order[1], at]
    assert_allclose(found.base + found.contributions.sum(axis=0), expected, rtol=1e-9, atol=1e-9)
    assert_allclose(found.log_odds, expected, rtol=1e-9, atol=1e-9)
    assert_array_equal(found.contributions[np.isnan(block)], 0)
    assert_array_equal(found.distances[np.isnan(block)], 0)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("code", STRUCTURES)
def test_contributions_add_up_to_the_log_odds(code, noise) -> None:
    """Numbers, categories and counts, rows with gaps among them, and one of nothing else."""
    parameters = parameters_of(code, noise=noise, k=4)
    block = rows_of(parameters, 1000, 0.15)
    block[:, 0] = np.nan
    assert np.isnan(block).all(axis=0).any()
    assert not np.isnan(block).any(axis=0).all()
    assert_adds_up(parameters, block)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("code", ["VVV", "VVI"])
def test_they_add_up_between_clusters_of_components(code, noise) -> None:
    parameters = parameters_of(code, noise=noise, k=5)
    assert_adds_up(parameters, rows_of(parameters, 1000, 0.15), ((0, 3), (1,), (2, 4)))


@pytest.mark.parametrize("kind", [Categorical, Count])
def test_they_add_up_where_there_are_no_numbers(kind) -> None:
    parameters = parameters_of("VVI", noise=True)
    block = rows_of(parameters, 1000, 0.2)
    place = [type(family) for family in parameters.families].index(kind)
    where = parameters.noise.ranges[place]
    none = np.zeros((3, 0))
    parameters = replace(
        parameters,
        means=none,
        covariances=none,
        families=parameters.families[place : place + 1],
        family_parameters=parameters.family_parameters[place : place + 1],
        noise=replace(parameters.noise, log_widths=np.zeros(0), ranges=(where,)),
    )
    assert_adds_up(parameters, block[3:5] if kind is Categorical else block[5:])


def test_a_columns_contribution_is_the_formula_written_out() -> None:
    """z_j (inverse covariance . z)_j about either mean, of what is known."""
    parameters = two(
        [[0, 0, 0], [1, 2, -1]],
        [[[2, 0.8, 0], [0.8, 1, 0.3], [0, 0.3, 1]], [[1, -0.5, 0.2], [-0.5, 3, 0], [0.2, 0, 2]]],
        families=(Categorical((2,)), Count(1)),
        values=([[0.7, 0.3], [0.2, 0.8]], [[2.0], [5.0]]),
    )
    rows = np.array([[0.5, 1.0, 0.2, 1, 3], [2.0, np.nan, -1.0, 0, np.nan]])
    found = explained(parameters, rows.T)
    for number, row in enumerate(rows):
        known = ~np.isnan(row[:3])
        joint, shares, constants = np.zeros(2), np.zeros((2, 3)), np.zeros(2)
        for k in (0, 1):
            z = (row[:3] - parameters.means[k])[known]
            covariance = parameters.covariances[k][np.ix_(known, known)]
            shares[k, known] = z * (np.linalg.inv(covariance) @ z)
            constants[k] = np.log(parameters.weights[k]) - np.log(np.linalg.det(covariance)) / 2
            category = np.log(parameters.tables[k][int(row[3])])
            count = 0.0 if np.isnan(row[4]) else poisson(parameters.rates[k, 0]).logpmf(row[4])
            joint[k] = constants[k] - shares[k].sum() / 2 + category + count
        one = int(joint.argmax())
        sign = 1 if one == 0 else -1
        tables = np.log(parameters.tables[:, int(row[3])])
        rates = parameters.rates[:, 0]
        counts = 0.0 if np.isnan(row[4]) else row[4] * np.log(rates[0] / rates[1])
        counts -= 0.0 if np.isnan(row[4]) else rates[0] - rates[1]
        expected = [*(shares[1] - shares[0]) / 2, tables[0] - tables[1], counts]
        assert found.segment[number] == one
        assert_allclose(found.contributions[:, number], sign * np.array(expected), atol=1e-12)
        assert_allclose(found.base[number], sign * (constants[0] - constants[1]), atol=1e-12)
        assert_allclose(found.distances[:3, number], shares[one], atol=1e-12)


@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_a_column_that_is_the_same_and_independent_contributes_nothing(gaps) -> None:
    covariances = np.array([np.diag([1.0, 4.0, 2.0]), np.diag([3.0, 4.0, 0.5])])
    covariances[0, 0, 2] = covariances[0, 2, 0] = 0.9
    parameters = two(
        [[0, 7, 1], [3, 7, -1]],
        covariances,
        families=(Categorical((3, 2)), Count(2)),
        values=(
            [[0.2, 0.3, 0.5, 0.9, 0.1], [0.2, 0.3, 0.5, 0.4, 0.6]],
            [[4.0, 2.0], [4.0, 6.0]],
        ),
    )
    block = rows_of(parameters, 1000, gaps)
    found = explained(parameters, block)
    same = [1, 3, 5]
    assert_allclose(found.contributions[same], 0, atol=1e-12)
    others = found.contributions[[0, 2, 4, 6]]
    assert (np.abs(others[~np.isnan(block[[0, 2, 4, 6]])]) > 1e-9).mean() > 0.99


def test_columns_that_go_together_share_what_they_say() -> None:
    """The example of docs/explanations.md: the second column says by itself nothing of the segment,
    their means being the same; beside the first it says what of that was only to be expected."""
    covariance = [[1.0, 0.8], [0.8, 1.0]]
    parameters = two([[0, 0], [2, 0]], [covariance, covariance], (0.5, 0.5))
    found = explained(parameters, np.array([[2.0, 2.0], [np.nan, 2.0], [2.0, 0.0]]).T)
    assert_array_equal(found.segment[[0, 2]], [0, 1])
    assert_allclose(found.contributions[:, 0], [-10 / 9, 40 / 9], atol=1e-12)
    assert_allclose(found.contributions[:, 1], [0, 0], atol=1e-12)
    assert_allclose(found.contributions[:, 2], [50 / 9, 0], atol=1e-12)


def test_a_cluster_of_one_component_each_is_that_component() -> None:
    parameters = parameters_of("VVV", noise=True)
    block = rows_of(parameters, 200, 0.1)
    one, other = explained(parameters, block), explained(parameters, block, ((0,), (1,), (2,)))
    assert_array_equal(one.contributions, other.contributions)
    assert_array_equal(one.base, other.base)


def test_distances_are_mahalanobis_and_what_the_most_probable_value_is_above() -> None:
    parameters = parameters_of("VVV")
    block = rows_of(parameters, 300)
    found = explained(parameters, block)
    for row, k in zip(range(300), found.segment, strict=True):
        z = block[:3, row] - parameters.means[k]
        expected = z @ np.linalg.solve(parameters.covariances[k], z)
        assert_allclose(found.distances[:3, row].sum(), expected, rtol=1e-9)
        table = parameters.tables[k][:3]
        below = 2 * np.log(table.max() / table[int(block[3, row])])
        assert_allclose(found.distances[3, row], below, atol=1e-12)
        counts = poisson(parameters.rates[k, 1]).logpmf(np.arange(60))
        below = 2 * (counts.max() - counts[int(block[6, row])])
        assert_allclose(found.distances[6, row], below, atol=1e-9)


def test_the_distance_of_noise_is_that_from_the_runner_up() -> None:
    parameters = parameters_of("VVV", noise=True)
    block = rows_of(parameters, 20)
    block[0] = 40.0
    found = explained(parameters, block)
    assert_array_equal(found.segment, 3)
    z = block[:3, 0] - parameters.means[found.runner_up[0]]
    expected = z @ np.linalg.solve(parameters.covariances[found.runner_up[0]], z)
    assert_allclose(found.distances[:3, 0].sum(), expected, rtol=1e-9)


def test_what_is_impossible_decides_without_end() -> None:
    parameters = two(
        [[0.0], [0.0]],
        [[[1.0]], [[1.0]]],
        families=(Categorical((2,)),),
        values=([[0.5, 0.5], [0.0, 1.0]],),
    )
    found = explained(parameters, np.array([[0.3, 0.3], [0.0, 1.0]]))
    assert_array_equal(found.segment, [0, 1])
    assert found.contributions[1, 0] == found.log_odds[0] == np.inf
    assert_allclose(found.contributions[1, 1], np.log(2))


def test_rows_far_from_all_are_explained_by_what_is_far() -> None:
    parameters = two([[0, 0], [9, 0]], [np.eye(2), 2 * np.eye(2)])
    found = explained(parameters, np.array([[1e9, 3.0], [1e160, 1.0]]).T[:, :1])
    assert_array_equal(found.segment, 1)
    total = found.base + found.contributions.sum(axis=0)
    assert_allclose(total, found.log_odds, rtol=1e-9)
    assert found.contributions[0, 0] / found.log_odds[0] > 1 - 1e-9


def test_units_make_no_difference() -> None:
    parameters = parameters_of("VVV", noise=True)
    block = rows_of(parameters, 200, 0.1)
    one = explained(parameters, block)
    factor, shift = np.array([1e-3, 50.0, 1e6]), np.array([4.0, -1e3, 0.0])
    moved = replace(
        parameters,
        means=parameters.means * factor + shift,
        covariances=parameters.covariances * factor[:, None] * factor,
        noise=parameters.noise.scaled(np.log(factor), shift),
    )
    other = np.array(block)
    other[:3] = block[:3] * factor[:, None] + shift[:, None]
    found = explained(moved, other)
    assert_allclose(found.contributions, one.contributions, rtol=1e-6, atol=1e-8)
    assert_allclose(found.base, one.base, rtol=1e-6, atol=1e-8)
