"""Effects, quantiles and distributions of weighted rows, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from gmm_spark.report.effects import (
    cliffs_delta,
    correlations,
    distribution,
    intervals,
    ranks,
    weighted_quantiles,
)

rng = np.random.default_rng(6)


def test_cliffs_delta_is_more_less_less_over_all_pairs() -> None:
    values = np.round(rng.normal(size=80), 1)
    values[:7] = np.nan
    weights, others = rng.random((2, 80)), rng.random((2, 80))
    known = ~np.isnan(values)
    sign = np.sign(values[known][:, None] - values[known])
    for j, found in enumerate(cliffs_delta(values, weights, others)):
        own, rest = weights[j, known], others[j, known]
        assert found == pytest.approx(own @ sign @ rest / own.sum() / rest.sum(), abs=1e-12)


def test_of_a_flag_it_is_the_difference_of_shares() -> None:
    flag = (rng.random(200) < 0.3).astype(float)
    own = (rng.random(200) < 0.5).astype(float)
    found = cliffs_delta(flag, own[None], 1 - own[None])
    assert found[0] == pytest.approx(flag[own == 1].mean() - flag[own == 0].mean())


def test_it_is_bounded_and_the_same_on_any_scale() -> None:
    values = np.exp(rng.normal(size=50))
    own = np.arange(50) < 20
    low = np.where(own, values, values + 100)
    weights = own[None].astype(float)
    assert cliffs_delta(low, weights, 1 - weights)[0] == -1
    found = cliffs_delta(values, weights, 1 - weights)
    assert found == cliffs_delta(np.log(values), weights, 1 - weights)
    nothing = np.zeros((1, 50))
    assert cliffs_delta(values, nothing, weights) == cliffs_delta(values, weights, nothing) == 0
    assert cliffs_delta(np.full(50, np.nan), weights, 1 - weights) == 0


def test_quantiles_are_values_of_rows() -> None:
    assert weighted_quantiles(np.array([3.0, 1.0, np.nan]), np.ones(3), [0.5, 0.51]).tolist() == [
        1.0,
        3.0,
    ]
    tenths = weighted_quantiles(np.arange(10.0), np.full(10, 0.1), np.arange(1, 11) / 10)
    assert tenths.tolist() == list(range(10))
    assert weighted_quantiles(np.array([np.nan]), np.ones(1), [0.5]) is None
    assert weighted_quantiles(np.array([1.0]), np.zeros(1), [0.5]) is None


@pytest.mark.parametrize(
    "values",
    [
        rng.normal(size=500),
        np.exp(3 * rng.normal(size=500)),
        rng.poisson(3.0, 500).astype(float),
        np.concatenate([np.zeros(499), [1e12]]),
        np.concatenate([np.zeros(300), rng.normal(size=200)]),
        -np.exp(rng.normal(size=500)),
    ],
)
def test_every_row_is_in_one_interval(values) -> None:
    edges = intervals(values)
    assert edges == sorted(set(edges))
    assert len(edges) <= 26
    assert np.isfinite(edges).all()
    weights = rng.random(500)
    shares = distribution(values, weights, edges)
    assert len(shares) == len(edges) - 1
    assert sum(shares) == pytest.approx(1)
    inside = (values >= edges[1]) & (values < edges[-2])
    counts, _ = np.histogram(values[inside], edges[1:-1], weights=weights[inside])
    if len(edges) > 3:
        assert_allclose(shares[1:-1], counts / weights.sum(), atol=1e-12)


def test_of_one_value_or_none_there_are_no_intervals() -> None:
    assert intervals(np.ones(5)) is None
    assert intervals(np.full(5, np.nan)) is None
    assert intervals(np.linspace(-1, 1, 99) * 1.7e308) is None
    assert distribution(np.full(3, np.nan), np.ones(3), [0.0, 1.0]) is None


def test_correlations_of_ranks_are_spearmans() -> None:
    one, other = rng.normal(size=300), rng.poisson(2.0, 300).astype(float)
    found = correlations(np.array([ranks(one), ranks(other), np.ones(300)]), np.ones(300))
    assert found[0, 1] == pytest.approx(spearmanr(one, other).statistic)
    assert found[2].tolist() == [0, 0, 0]
