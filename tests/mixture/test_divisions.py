"""How divisions of rows are compared, against scikit-learn, scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, mutual_info_score

from gmm_spark.mixture.divisions import (
    adjusted_rand_index,
    best_pairs,
    changed_share,
    mean_entropy,
    mutual_information,
    outcome_spread,
)

RNG = np.random.default_rng(3)
ONE = RNG.integers(0, 5, 400)
OTHER = np.where(RNG.random(400) < 0.6, ONE, RNG.integers(0, 7, 400))


@pytest.mark.parametrize("pair", [(ONE, OTHER), (ONE, ONE), (OTHER, 0 * ONE), (0 * ONE, 0 * ONE)])
def test_the_adjusted_rand_index_is_scikit_learns(pair) -> None:
    assert_allclose(adjusted_rand_index(*pair), adjusted_rand_score(*pair), atol=1e-12)


def test_a_row_of_weight_2_is_the_row_twice() -> None:
    weights = RNG.integers(1, 4, 400)
    outcome = np.where(RNG.random(400) < 0.1, np.nan, RNG.integers(0, 2, 400))
    one, other, twice = (np.repeat(a, weights) for a in (ONE, OTHER, outcome))
    w = weights.astype(float)
    assert_allclose(adjusted_rand_index(ONE, OTHER, w), adjusted_rand_index(one, other))
    assert_allclose(changed_share(ONE, OTHER, w), changed_share(one, other))
    assert_allclose(mutual_information(ONE, outcome, w), mutual_information(one, twice))
    assert_allclose(outcome_spread(ONE, outcome, w), outcome_spread(one, twice))


@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_the_best_pairs_are_scipys(size) -> None:
    for seed in range(20):
        gain = np.random.default_rng(seed).integers(0, 30, (size, size)).astype(float)
        pairs = best_pairs(gain)
        assert sorted(pairs) == list(range(size))
        best = gain[linear_sum_assignment(-gain)].sum()
        assert gain[np.arange(size), pairs].sum() == best


def test_rows_that_change_places_whatever_the_numbers() -> None:
    renamed = np.array([3, 0, 4, 1, 2])[ONE]
    assert changed_share(ONE, renamed) == 0
    moved = renamed.copy()
    moved[:40] = (moved[:40] + 1) % 5
    assert_allclose(changed_share(ONE, moved), 0.1)
    # A segment in two halves: those of the smaller half have changed.
    halves = np.where(ONE == 2, np.where(np.arange(400) % 4 == 0, 5, 2), ONE)
    assert_allclose(changed_share(halves, ONE), ((ONE == 2) & (np.arange(400) % 4 == 0)).mean())


def test_mutual_information_is_in_bits() -> None:
    outcome = RNG.integers(0, 2, 400).astype(float)
    expected = mutual_info_score(OTHER, outcome) / np.log(2)
    assert_allclose(mutual_information(OTHER, outcome), expected)
    assert_allclose(mutual_information(np.arange(400) % 2, np.arange(400) % 2.0), 1.0)
    unknown = np.where(np.arange(400) < 100, np.nan, outcome)
    assert_allclose(
        mutual_information(OTHER, unknown), mutual_information(OTHER[100:], outcome[100:])
    )
    assert mutual_information(OTHER, np.full(400, np.nan)) == 0


def test_an_outcome_of_many_values_is_cut_into_tenths() -> None:
    money = np.exp(np.arange(1000.0) / 100)
    assert_allclose(mutual_information(np.arange(1000) // 500, money), 1.0)
    assert_allclose(mutual_information(np.arange(1000) // 100, money), np.log2(10))


def test_the_spread_is_over_segments_that_are_large_enough() -> None:
    segments = np.array([0] * 500 + [1] * 495 + [2] * 5)
    outcome = np.array([1.0] * 50 + [0.0] * 450 + [1.0] * 198 + [0.0] * 297 + [1.0] * 5)
    assert_allclose(outcome_spread(segments, outcome), 0.4 - 0.1)


def test_entropy_is_of_a_row() -> None:
    probability = np.array([[1.0, 0.5], [0.0, 0.5]])
    assert_allclose(mean_entropy(probability), np.log(2) / 2)
    assert_allclose(mean_entropy(probability, np.array([1.0, 3.0])), 0.75 * np.log(2))
