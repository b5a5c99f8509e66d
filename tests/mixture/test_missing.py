"""Rows with gaps: the E-step row by row, in loops written for reading, and what must not change."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal

from gmm_spark.mixture import missing as module
from gmm_spark.mixture.kernel import BlockKernel, array_pass
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import (
    CODES,
    fit,
    random_parameters,
    separate_groups,
    start_from_labels,
)

UNIT = Standardisation(np.zeros(4), np.ones(4))


def with_gaps(block: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """The block with that share of its cells gone at random."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(block.shape) < share, np.nan, block)


def rows_of(n: int = 300, share: float = 0.3) -> np.ndarray:
    """Rows (4, n) with gaps; one is wholly missing, one complete."""
    block = with_gaps(np.random.default_rng(1).normal(size=(4, n), scale=1.5), share)
    block[:, 5] = np.nan
    block[:, 6] = [0.1, 0.2, -0.3, 0.4]
    return block


def density(row: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Of what is known of a row."""
    known = np.flatnonzero(~np.isnan(row))
    if known.size == 0:
        return 1.0
    part = covariance[np.ix_(known, known)]
    return float(multivariate_normal(mean[known], part).pdf(row[known]))


def completed(row, mean, covariance):
    """What a component expects of a row, and of its products."""
    missing, known = np.isnan(row), ~np.isnan(row)
    expected, spread = np.array(row), np.zeros((row.size, row.size))
    regression = covariance[np.ix_(missing, known)] @ np.linalg.pinv(
        covariance[np.ix_(known, known)]
    )
    expected[missing] = mean[missing] + regression @ (row[known] - mean[known])
    spread[np.ix_(missing, missing)] = (
        covariance[np.ix_(missing, missing)] - regression @ covariance[np.ix_(known, missing)]
    )
    return expected, np.outer(expected, expected) + spread


def by_hand(parameters: Parameters, block: np.ndarray, weights: np.ndarray):
    """Log-likelihood, counts (k,), first (k, d) and second moments (k, d, d), row by row."""
    k, d = parameters.means.shape
    covariances = parameters.dense_covariances()
    total, counts = 0.0, np.zeros(k)
    first, second = np.zeros((k, d)), np.zeros((k, d, d))
    for row, weight in zip(block.T, weights, strict=True):
        joint = np.array(
            [
                parameters.weights[c] * density(row, parameters.means[c], covariances[c])
                for c in range(k)
            ]
        )
        total += weight * np.log(joint.sum())
        for c, share in enumerate(weight * joint / joint.sum()):
            expected, products = completed(row, parameters.means[c], covariances[c])
            counts[c] += share
            first[c] += share * expected
            second[c] += share * products
    return total, counts, first, second


def of_the_kernel(parameters, block, weights, by=UNIT):
    """The same by the kernel, in the coordinates of the parameters."""
    evaluator = natural_parameters([parameters.standardised(by)], by, gaps=True)
    kernel = BlockKernel(evaluator)
    kernel.add(block[:, :100], weights[:100])
    kernel.add(block[:, 100:], weights[100:])
    found = kernel.statistics()
    total = found.log_likelihoods[0] - found.weight * by.log_volume
    origins = found.origins
    first = found.first + found.counts[:, None] * origins
    return total, found.counts, first, found


def assert_second(structure, found, second):
    """Second moments about the origins are those by hand, as far as the structure keeps them."""
    counts, first, origins = found.counts, found.first, found.origins
    about_zero = found.second
    if structure.kind == "full":
        cross = first[:, :, None] * origins[:, None, :]
        about_zero = about_zero + cross + cross.swapaxes(1, 2)
        about_zero += counts[:, None, None] * origins[:, :, None] * origins[:, None, :]
        assert_allclose(about_zero, second, rtol=1e-9, atol=1e-9)
        return
    diagonal = np.diagonal(second, axis1=1, axis2=2)
    shift = 2 * first * origins + counts[:, None] * origins**2
    if structure.kind == "diagonal":
        assert_allclose(about_zero + shift, diagonal, rtol=1e-9)
    else:
        assert_allclose(about_zero + shift.sum(axis=1), diagonal.sum(axis=1), rtol=1e-9)


@pytest.mark.parametrize("code", CODES)
def test_sums_are_those_of_every_row_completed_by_hand(code) -> None:
    parameters, block = random_parameters(code, 3, 4), rows_of()
    weights = np.random.default_rng(2).random(block.shape[1])
    total, counts, first, second = by_hand(parameters, block, weights)
    found_total, found_counts, found_first, found = of_the_kernel(parameters, block, weights)
    assert_allclose(found_total, total, rtol=1e-11)
    assert_allclose(found_counts, counts, rtol=1e-10)
    assert_allclose(found_first, first, rtol=1e-9, atol=1e-10)
    assert_second(parameters.structure, found, second)
    assert found.num_rows == block.shape[1]
    assert_allclose(found.weight, weights.sum())


@pytest.mark.parametrize("code", CODES)
def test_densities_are_in_the_units_of_what_is_known(code) -> None:
    """A gap adds nothing to a row's log density, whatever the column is divided by."""
    parameters, block = random_parameters(code, 3, 4), rows_of()
    scale = np.full(4, 7.0) if code in ("VII", "EII") else np.array([1e-3, 1.0, 50.0, 1e6])
    by = Standardisation(np.array([3.0, -1.0, 0.0, 2.0]), scale)
    weights = np.ones(block.shape[1])
    total, *_ = by_hand(parameters, block, weights)
    assert_allclose(of_the_kernel(parameters, block, weights, by)[0], total, rtol=1e-10)


@pytest.mark.parametrize("code", ["VVV", "VVI", "VII"])
def test_a_component_far_off_is_completed_about_its_mean(code) -> None:
    """1e6 deviations from the centre the expansion of the square has no digits left."""
    near = random_parameters(code, 2, 4)
    means = np.array([near.means[0], near.means[1] + 1e6])
    parameters = Parameters(near.structure, near.weights, means, near.covariances)
    block = rows_of()
    block[:, ::2] += 1e6
    weights = np.ones(block.shape[1])
    evaluator = natural_parameters([parameters], UNIT, gaps=True)
    assert [component.index for component in evaluator.centred] == [1]
    total, counts, first, _ = by_hand(parameters, block, weights)
    found_total, found_counts, found_first, found = of_the_kernel(parameters, block, weights)
    assert_allclose(found_total, total, rtol=1e-7)
    assert_allclose(found_counts, counts, rtol=1e-9)
    assert_allclose(found_first, first, rtol=1e-9, atol=1e-5)
    # About its own mean the far component keeps all digits. Of a row of which nothing is known it
    # has its weight, and its covariance.
    centred = Parameters(near.structure, np.ones(1), np.zeros((1, 4)), near.covariances[1:])
    unknown = np.isnan(block).all(axis=0)
    ours = (block[:, ::2] - means[1][:, None])[:, ~unknown[::2]]
    _, _, first, second = by_hand(centred, ours, np.ones(ours.shape[1]))
    second += unknown.sum() * parameters.weights[1] * centred.dense_covariances()
    assert_allclose(found.first[1], first[0], rtol=1e-7, atol=1e-7)
    if code == "VVV":
        assert_allclose(found.second[1], second[0], rtol=1e-7, atol=1e-7)
    else:
        expected = np.diag(second[0]) if code == "VVI" else np.trace(second[0])
        assert_allclose(found.second[1], expected, rtol=1e-7)


def test_patterns_beyond_what_is_kept_are_completed_and_made_again(monkeypatch) -> None:
    parameters, block = random_parameters("VVV", 3, 4), rows_of()
    weights = np.ones(block.shape[1])
    at_once = of_the_kernel(parameters, block, weights)
    size = parameters.k * (1 + 4 + 10)
    monkeypatch.setattr(module, "_KEPT_BYTES", 3 * 16 * size)
    in_parts = of_the_kernel(parameters, block, weights)
    assert_allclose(in_parts[3].values, at_once[3].values, rtol=1e-12)
    # Small blocks bring back patterns of which some are still there and some are forgotten.
    kernel = BlockKernel(natural_parameters([parameters], UNIT, gaps=True))
    for start in range(0, block.shape[1], 7):
        kernel.add(block[:, start : start + 7], weights[start : start + 7])
    assert_allclose(kernel.statistics().values, at_once[3].values, rtol=1e-12)


@pytest.mark.parametrize("code", CODES)
def test_complete_rows_are_those_of_a_fit_without_gaps(code) -> None:
    block, labels = separate_groups()
    by = Standardisation(np.zeros(3), np.ones(3))
    start = start_from_labels(block, labels, STRUCTURES[code], by)
    floor = np.full(3, 1e-3)
    plain = fit(array_pass(block), start, by, floor=floor)
    marginalised = fit(array_pass(block), start, by, floor=floor, has_missing=True)
    assert_allclose(marginalised.log_likelihood, plain.log_likelihood, rtol=1e-12)
    assert_allclose(marginalised.parameters.means, plain.parameters.means, rtol=1e-12, atol=1e-12)
    assert_allclose(
        marginalised.parameters.covariances, plain.parameters.covariances, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("acceleration", ["none", "anderson"])
@pytest.mark.parametrize("code", CODES)
def test_the_likelihood_never_falls(code, acceleration) -> None:
    block, labels = separate_groups()
    block = with_gaps(block, 0.4)
    by = Standardisation(np.zeros(3), np.ones(3))
    start = start_from_labels(np.nan_to_num(block), labels, STRUCTURES[code], by)
    found = fit(
        array_pass(block),
        start,
        by,
        floor=np.full(3, 1e-3),
        has_missing=True,
        acceleration=acceleration,
        max_iter=60,
    )
    kept = [r.mean_log_likelihood for r in found.history if r.kind != "rejected"]
    assert (np.diff(kept) >= -1e-12).all()
    assert found.reason in ("converged", "max_iterations")


def test_log_joint_densities_come_in_the_order_of_the_rows() -> None:
    parameters, block = random_parameters("VVV", 3, 4), rows_of()
    kernel = BlockKernel(natural_parameters([parameters], UNIT, gaps=True))
    together = kernel.log_joint(block)
    alone = np.concatenate([kernel.log_joint(block[:, [i]]) for i in range(block.shape[1])], axis=1)
    assert_allclose(together, alone, rtol=1e-12)
    assert_array_equal(together[:, 5], np.log(parameters.weights))
