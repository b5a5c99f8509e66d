"""Counts that are no counts of the rest are told from heavy tails; the prior's mean is without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from gmm_spark.mixture.families import Categorical
from gmm_spark.mixture.odd_counts import OddCounts, odd_counts, usual_mean

USUAL = np.random.default_rng(1).poisson(3, 10_000).astype(float)
TOP = USUAL.max()

ODD: dict[str, tuple[Any, float, float]] = {
    "the largest int": ([2.0**31 - 1], 2.0**31 - 1, 1 / 10_001),
    "nines": ([999_999.0], 999_999, 1 / 10_001),
    "nines in a tenth of the rows": ([9999.0] * 1111, 9999, 1111 / 11_111),
    "two codes": ([9998.0, 9999.0], 9998, 2 / 10_002),
    "slips of any size": ([1e6, 3e7, 5e8, 2e9], 1e6, 4 / 10_004),
}


@pytest.mark.parametrize("case", ODD)
def test_a_value_far_beyond_all_others_is_found_and_left_out_of_the_mean(case) -> None:
    odd, first, share = ODD[case]
    values = np.random.default_rng(2).permutation([*USUAL, *odd, np.nan])
    found = odd_counts(values)
    assert (found.value, found.usual) == (first, TOP)
    np.testing.assert_allclose(found.share, share)
    np.testing.assert_allclose(usual_mean(values), USUAL.mean(), rtol=1e-12)


def test_rows_count_by_their_weight() -> None:
    """A code in a third of the rows, a hundredth of the weight, and the other way round."""
    values = np.append(USUAL, [9999.0] * 5000)
    weights = np.r_[np.full(10_000, 2.0), np.full(5000, 0.04)]
    found = odd_counts(values, weights)
    np.testing.assert_allclose((found.value, found.share), (9999, 200 / 20_200))
    np.testing.assert_allclose(usual_mean(values, weights), USUAL.mean())
    assert odd_counts(values, 1 / weights) is None  # what most of the weight is is usual
    uneven = np.random.default_rng(3).uniform(0.5, 2, 10_000)
    np.testing.assert_allclose(usual_mean(USUAL, uneven), np.average(USUAL, weights=uneven))


@pytest.mark.parametrize("codes", [[2.0**31 - 1], [999_998.0, 999_999.0]])
def test_a_code_in_most_rows_is_no_count_either(codes) -> None:
    few = USUAL[:500]
    values = np.append(few, np.repeat(codes, 4000))
    found = odd_counts(values)
    assert (found.value, found.usual) == (codes[0], few.max())
    np.testing.assert_allclose(found.share, 1 - 500 / values.size)
    np.testing.assert_allclose(usual_mean(values), few.mean())
    weights = np.append(np.full(500, 1e-3), np.full(values.size - 500, 7.0))
    np.testing.assert_allclose(usual_mean(values, weights), few.mean())


def test_the_mean_of_counts_that_are_usual_is_the_plain_mean_to_the_bit() -> None:
    with_gaps = np.where(np.arange(10_000) % 7 == 0, np.nan, USUAL)
    for values in (USUAL, with_gaps, np.zeros(9), np.full(9, 4.0)):
        assert usual_mean(values) == np.nanmean(values)
    assert usual_mean(np.full(9, np.nan)) == 1.0


def test_a_column_of_zeros_and_a_code_has_a_mean_above_zero() -> None:
    """A rate of 0 says that nothing else can happen."""
    assert usual_mean(np.append(np.zeros(999), 1e9)) == 1 / 1000


def test_what_is_beyond_the_sample_is_judged_by_how_far_more_rows_reach() -> None:
    assert odd_counts(USUAL, None, 2.0**31, 10**7) == OddCounts(2.0**31, TOP, 0.0)
    assert odd_counts(USUAL, None, 900.0, 10_000) == OddCounts(900.0, TOP, 0.0)
    assert odd_counts(USUAL, None, 900.0, 10**7) is None


TAILS: dict[str, Any] = {
    "lognormal": lambda rng: np.floor(np.exp(rng.normal(2, 2, 5000))),
    "negative binomial": lambda rng: rng.negative_binomial(0.1, 0.1 / 20, 5000),
    "Pareto": lambda rng: np.floor(rng.pareto(1.5, 5000)),
    "rare events": lambda rng: rng.poisson(0.001, 5000),
    "rare and large": lambda rng: rng.poisson(40, 5000) * (rng.random(5000) < 0.02),
    "two groups": lambda rng: rng.poisson(np.where(rng.random(5000) < 0.03, 900, 1)),
    "one value": lambda rng: np.full(50, 7),
}


@pytest.mark.parametrize("name", TAILS)
def test_heavy_tails_are_counts_like_others(name) -> None:
    for seed in range(10):
        values = TAILS[name](np.random.default_rng(seed)).astype(float)
        assert odd_counts(values) is None
        assert usual_mean(values) == values.mean()


@pytest.mark.parametrize(
    ("path", "columns"),
    [
        ("mlc_churn/mlc_churn.csv", ("number_customer_service_calls", "number_vmail_messages")),
        ("iranian_churn/Customer_Churn.csv", ("Seconds of Use", "Call  Failure")),
        ("online_retail/rfm_2010_2011.csv", ("frequency",)),
        ("missing_values/data/communities_crime.csv.gz", ("murders", "NumStreet", "robberies")),
        ("wholesale/wholesale.csv", ("Fresh", "Delicassen")),
    ],
)  # fmt: skip
def test_real_counts_are_silent(shared_data, path, columns) -> None:
    frame = pd.read_csv(shared_data / path)
    for column in columns:
        values = frame[column].dropna().to_numpy(float)
        assert odd_counts(values) is None, column
        assert usual_mean(values) == values.mean()


def test_frequencies_of_categories_are_by_weight() -> None:
    codes, weights = np.array([[0.0, 1.0, 1.0, np.nan]]), np.array([3.0, 1.0, 2.0, 50.0])
    np.testing.assert_allclose(Categorical((2,)).prior(codes, weights), [3.5 / 7, 3.5 / 7])
    twice = np.repeat(codes, [3, 1, 2, 5], axis=1)
    family = Categorical((2,))
    assert family.prior(twice, None).tolist() == family.prior(codes, weights).tolist()
