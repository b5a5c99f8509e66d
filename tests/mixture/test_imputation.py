"""Filled gaps: row by row by hand, and intervals that hold what they say."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gmm_spark.mixture.imputation import Imputer
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import CODES, random_parameters
from tests.mixture.test_missing import completed, density, rows_of, with_gaps


def imputer(parameters: Parameters) -> Imputer:
    scale = np.full(4, 2.0)
    if parameters.structure.kind != "spherical":
        scale = np.array([0.5, 2.0, 1.0, 30.0])
    return Imputer(parameters, Standardisation(np.array([1.0, 0.0, -2.0, 5.0]), scale))


@pytest.mark.parametrize("code", CODES)
def test_means_and_deviations_are_those_by_hand(code) -> None:
    parameters, block = random_parameters(code, 3, 4), rows_of(120)
    filled, deviations = imputer(parameters).expected(block)
    covariances = parameters.dense_covariances()
    for row, found, deviation in zip(block.T, filled.T, deviations.T, strict=True):
        joint = np.array(
            [
                weight * density(row, mean, covariance)
                for weight, mean, covariance in zip(
                    parameters.weights, parameters.means, covariances, strict=True
                )
            ]
        )
        shares = joint / joint.sum()
        parts = [
            completed(row, mean, covariance)
            for mean, covariance in zip(parameters.means, covariances, strict=True)
        ]
        mean = sum(share * expected for share, (expected, _) in zip(shares, parts, strict=True))
        square = sum(
            share * np.diag(products) for share, (_, products) in zip(shares, parts, strict=True)
        )
        missing = np.isnan(row)
        assert_allclose(found[missing], mean[missing], rtol=1e-9, atol=1e-9)
        assert_allclose(deviation[missing] ** 2, (square - mean**2)[missing], rtol=1e-7)
        assert_array_equal(found[~missing], row[~missing])
        assert_array_equal(deviation[~missing], 0.0)


def test_draws_have_the_mean_and_deviation_of_what_is_missing() -> None:
    parameters, block = random_parameters("VVV", 3, 4), rows_of(40)
    filling = imputer(parameters)
    mean, deviation = filling.expected(block)
    rng = np.random.default_rng(1)
    draws = np.stack([filling.drawn(block, rng) for _ in range(4000)])
    known = ~np.isnan(block)
    assert_array_equal(draws[:, known], np.broadcast_to(block[known], (4000, known.sum())))
    error = deviation[~known] / np.sqrt(4000)
    assert (np.abs(draws.mean(axis=0)[~known] - mean[~known]) < 5 * error).all()
    assert_allclose(draws.std(axis=0)[~known], deviation[~known], rtol=0.12)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_nine_intervals_of_ten_hold_the_value_that_was_there(share) -> None:
    parameters = random_parameters("VVV", 3, 4)
    rng = np.random.default_rng(3)
    labels = rng.choice(3, 3000, p=parameters.weights)
    roots = np.linalg.cholesky(parameters.covariances)
    noise = rng.normal(size=(3000, 4))
    block = np.ascontiguousarray(
        (parameters.means[labels] + np.einsum("nij,nj->ni", roots[labels], noise)).T
    )
    gone = with_gaps(block, share, seed=4)
    filling = imputer(parameters)
    draws = np.stack([filling.drawn(gone, rng) for _ in range(200)])
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    cells = np.isnan(gone)
    covered = ((low <= block) & (block <= high))[cells].mean()
    assert 0.87 < covered < 0.93


def test_complete_rows_are_left_as_they_are() -> None:
    parameters = random_parameters("VVV", 3, 4)
    block = np.random.default_rng(0).normal(size=(4, 50))
    filled, deviations = imputer(parameters).expected(block)
    assert_array_equal(filled, block)
    assert not deviations.any()
    assert_array_equal(imputer(parameters).drawn(block, np.random.default_rng(0)), block)


def test_a_column_that_is_a_sum_of_others_is_filled_exactly() -> None:
    """A conditional covariance of rank 0 has no Cholesky factor."""
    covariance = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 2.0]]) + 1e-13 * np.eye(3)
    one = Parameters(STRUCTURES["VVV"], np.ones(1), np.zeros((1, 3)), covariance[None])
    filling = Imputer(one, Standardisation(np.zeros(3), np.ones(3)))
    drawn = filling.drawn(np.array([[1.0], [2.0], [np.nan]]), np.random.default_rng(0))
    assert_allclose(drawn[:, 0], [1.0, 2.0, 3.0], atol=1e-5)
