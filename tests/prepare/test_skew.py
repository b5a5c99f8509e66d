"""Transforms of skewed columns against scipy's, and how one is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from gmm_spark.prepare.skew import Transform, chosen_transform, log_likelihood

RNG = np.random.default_rng(11)


@pytest.mark.parametrize("power", [-1.5, 0.0, 0.4, 1.0, 2.0, 2.7])
def test_yeo_johnson_is_scipys(power) -> None:
    values = RNG.normal(size=200) * 3
    found = Transform("yeo-johnson", power=power, scale=2.0)(values)
    assert_allclose(found, stats.yeojohnson(values / 2.0, lmbda=power), rtol=1e-12, atol=1e-12)


def test_the_likelihood_of_yeo_johnson_is_scipys_but_for_a_constant() -> None:
    values = RNG.gamma(1.5, size=500) - 1
    constant = -0.5 * np.log(2 * np.pi * np.e)
    for power in (-0.5, 0.3, 1.4):
        found = log_likelihood(values, Transform("yeo-johnson", power=power))
        assert_allclose(found - constant, stats.yeojohnson_llf(power, values) / 500, rtol=1e-10)


@pytest.mark.parametrize(
    "transform",
    [
        Transform(),
        Transform("log", shift=0.5),
        Transform("yeo-johnson", power=0.3, scale=4.0),
        Transform("yeo-johnson", power=2.6),
        Transform("yeo-johnson", power=0.0),
    ],
)
def test_the_likelihood_is_that_of_the_values_as_they_were(transform) -> None:
    """By the density of a normal distribution of the transformed values, and their derivative."""
    values = RNG.gamma(2.0, size=300)
    step = 1e-6
    slope = (transform(values + step) - transform(values - step)) / (2 * step)
    transformed = transform(values)
    density = stats.norm.logpdf(transformed, transformed.mean(), transformed.std())
    expected = float((density + np.log(slope)).mean())
    assert_allclose(log_likelihood(values, transform), expected, rtol=1e-6)
    assert_allclose(transform.inverse(transformed), values, rtol=1e-9)


def test_a_power_beyond_the_range_of_the_function_has_no_inverse() -> None:
    transform = Transform("yeo-johnson", power=-1.0)
    assert transform(np.array([1e9]))[0] < 1.0
    assert transform.inverse(np.array([1.5]))[0] == np.inf


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (RNG.normal(10, 2, 4000), "identity"),
        (RNG.uniform(0, 1, 4000), "identity"),
        (np.exp(RNG.normal(3, 1, 4000)), "log"),
        (np.floor(np.exp(RNG.normal(1, 1, 4000))), "log"),
        (8 - RNG.gamma(1.0, 2.0, 4000), "yeo-johnson"),
        (RNG.poisson(0.3, 4000).astype(float), "identity"),
    ],
)
def test_the_transform_that_suits_a_column_is_chosen(values, form) -> None:
    assert chosen_transform(values, float(values.min())).form == form


def test_the_transform_does_not_depend_on_the_unit() -> None:
    values = np.exp(RNG.normal(size=3000))
    for unit in (1e-6, 1.0, 1e6):
        assert chosen_transform(values * unit, float(values.min() * unit)) == Transform("log")
    skewed = 8 - RNG.gamma(1.0, 2.0, 3000)
    powers = [chosen_transform(skewed * unit, float(skewed.min() * unit)) for unit in (1.0, 1e3)]
    assert_allclose(powers[0].power, powers[1].power, atol=0.01)


def test_no_transform_bounds_what_is_large() -> None:
    """Skewed beyond a logarithm, as waiting times to the power of -1 are: their best power is
    under 0, where the transform comes to an end."""
    values = 4 + 3 * RNG.pareto(2.0, size=3000)
    best = stats.yeojohnson_normmax(values / values.std())
    assert best < -0.5
    found = chosen_transform(values, float(values.min()))
    assert found.form == "log"
    assert found.shift >= 0
    both = np.concatenate([values, -values[:500]])
    assert 0 <= chosen_transform(both, float(both.min())).power <= 2


def test_a_logarithm_is_defined_where_zero_occurs() -> None:
    values = np.exp(RNG.normal(size=1000))
    found = chosen_transform(values, 0.0)
    assert found.form == "log"
    # Near the values that are nearly the least of those above 0.
    assert 0.1 < found.shift < 0.3
    assert chosen_transform(np.ceil(values * 10), 0.0).shift == 1.0
