"""Scores are the derivatives of the log density of a row, whatever the mixture is of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmm_spark.mixture.families import Categorical, Count, Noise
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.numerics import softmax
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.scores import ScoreFunction
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import random_parameters

D, K = 3, 2
MISSING = np.array([[0, 0, 1, 1, 0, 1], [0, 1, 0, 1, 0, 1], [0, 0, 0, 0, 1, 1]], dtype=bool)


def a_mixture(code: str) -> Parameters:
    """Of three numbers, a category, two counts and noise."""
    plain = random_parameters(code, K, D, seed=3)
    families = Categorical((3,)), Count(2)
    tables = np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
    rates = np.array([[1.0, 4.0], [2.0, 0.5]])
    noise = Noise(
        0.1,
        np.full(D, 2.0),
        ranges=tuple(f.range_of(np.zeros(2), np.full(2, 9.0)) for f in families),
    )
    mixed = replace(plain, families=families, family_parameters=(tables, rates))
    return mixed.with_noise(noise)


def log_joint(parameters: Parameters, block: np.ndarray) -> np.ndarray:
    by = Standardisation(np.zeros(D), np.ones(D))
    return BlockKernel(natural_parameters([parameters], by, gaps=True)).log_joint(block)


def responsibilities(parameters: Parameters, block: np.ndarray) -> np.ndarray:
    found = log_joint(parameters, block)
    found -= found.max(axis=0)
    softmax(found)
    return found


def moved(parameters: Parameters, place: int, step: float) -> Parameters:
    """The mixture with the coordinate at `place` of the first component's own changed, by what
    the module says these are."""
    pairs = [(a, b) for a in range(D) for b in range(a + 1)]
    if parameters.structure.kind == "diagonal":
        pairs = [(a, a) for a in range(D)]
    spherical = parameters.structure.kind == "spherical"
    second = 1 if spherical else len(pairs)
    factor = np.linalg.cholesky(parameters.dense_covariances()[0])
    if place < D:
        means = np.array(parameters.means)
        means[0] += step * factor[:, place]
        return replace(parameters, means=means)
    place -= D
    if place < second:
        change = np.eye(D)
        if spherical:
            change *= 1 + step
        else:
            a, b = pairs[place]
            change[a, b] += step
            change[b, a] = change[a, b]
        dense = parameters.dense_covariances()
        dense[0] = factor @ change @ factor.T
        compact = parameters.structure.storage.compact(dense)
        return replace(parameters, covariances=compact)
    place -= second
    tables, rates = (np.array(values) for values in parameters.family_parameters)
    if place < 3:
        tables[0, place] *= np.exp(step)
        tables[0] /= tables[0].sum()
    else:
        rates[0, place - 3] *= np.exp(step)
    return replace(parameters, family_parameters=(tables, rates))


@pytest.mark.parametrize("code", ["VVV", "VVI", "VII"])
def test_scores_are_derivatives_of_the_log_density(code: str) -> None:
    parameters = a_mixture(code)
    rng = np.random.default_rng(1)
    numbers = np.where(MISSING, np.nan, rng.normal(size=MISSING.shape))
    codes = np.array([[0, 1, 2, np.nan, 1, 0.0]])
    counts = np.array([[1, 2, np.nan, 0, 3, 1.0], [0, np.nan, 4, 1, 2, 2.0]])
    block = np.concatenate([numbers, codes, counts])
    scores = ScoreFunction(parameters)
    found = scores(block, responsibilities(parameters, block))
    own = scores.components[0]
    step = 1e-5

    def log_density(one: Parameters) -> np.ndarray:
        return np.logaddexp.reduce(log_joint(one, block), axis=0)

    for place in range(own.stop - own.start):
        ends = [log_density(moved(parameters, place, s)) for s in (step, -step)]
        assert_allclose(found[:, own.start + place], (ends[0] - ends[1]) / (2 * step), atol=1e-8)
    for j in range(K + 1):  # in the logarithm of a weight
        ends = []
        for s in (step, -step):
            weights = np.array(parameters.all_weights)
            weights[j] *= np.exp(s)
            weights /= weights.sum()
            noise = replace(parameters.noise, weight=weights[-1])
            ends.append(log_density(replace(parameters, weights=weights[:-1], noise=noise)))
        assert_allclose(found[:, j], (ends[0] - ends[1]) / (2 * step), atol=1e-8)


@pytest.mark.parametrize("code", STRUCTURES)
def test_moves_are_along_what_scores_are_derivatives_for(code: str) -> None:
    parameters = a_mixture(code)
    rng = np.random.default_rng(2)
    rows = 12
    block = np.vstack(
        [
            rng.normal(size=(D, rows)),
            rng.integers(0, 3, (1, rows)).astype(float),
            rng.poisson(2, (2, rows)).astype(float),
        ]
    )
    block[:, :6][MISSING.repeat([1, 1, 4], axis=0)] = np.nan
    function = ScoreFunction(parameters)
    scores = function.together(function(block, responsibilities(parameters, block)))

    def log_density(step: np.ndarray) -> np.ndarray:
        return np.logaddexp.reduce(log_joint(function.moved(step), block), axis=0)

    step = 1e-5
    for place, unit in enumerate(step * np.eye(scores.shape[1])):
        found = (log_density(unit) - log_density(-unit)) / (2 * step)
        assert_allclose(found, scores[:, place], atol=1e-7, err_msg=str(place))


@pytest.mark.parametrize("code", STRUCTURES)
def test_as_many_parameters_as_the_structure_has(code: str) -> None:
    parameters = random_parameters(code, K, D, seed=5, spread=1.0)
    rng = np.random.default_rng(2)
    block = 2 * rng.normal(size=(D, 400))
    scores = ScoreFunction(parameters)
    together = scores.together(scores(block, responsibilities(parameters, block)))
    information = together.T @ together
    eigenvalues = np.linalg.eigvalsh(information)
    free = np.count_nonzero(eigenvalues > 1e-6 * eigenvalues.max())
    # The weights sum to 1.
    assert free == parameters.structure.num_free_parameters(K, D)


def test_less_of_wide_tables() -> None:
    parameters = random_parameters("VVV", K, D)
    sizes = [ScoreFunction(parameters, most).size for most in (100, 19, 13, 7)]
    assert sizes == [2 + 2 * (3 + 6), 2 + 2 * (3 + 3), 2 + 2 * 3, 2]
