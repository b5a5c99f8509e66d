"""Probabilities and rates at zero: EM cannot leave there; a fit has converged only at maxima."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import poisson

from gmm_spark.mixture.edges import edges_to_leave, off_zero, with_weight
from gmm_spark.mixture.em import Fit
from gmm_spark.mixture.families import Categorical, Count, Family
from gmm_spark.mixture.initialisation.candidates import Candidate, Sample, advance
from gmm_spark.mixture.initialisation.methods import labelled_start
from gmm_spark.mixture.initialisation.multistart import search
from gmm_spark.mixture.kernel import BlockKernel, array_pass
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.priors import Prior
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import fit

DIAGONAL = STRUCTURES["VVI"]
NO_NUMBERS = Standardisation(np.zeros(0), np.ones(0))
ACCELERATIONS = pytest.mark.parametrize("acceleration", ["none", "anderson"])


def lca(weights: Any, tables: Any, levels: tuple[int, ...], rates: Any = None) -> Parameters:
    k = len(weights)
    return Parameters(
        DIAGONAL,
        np.array(weights, float),
        np.zeros((k, 0)),
        np.zeros((k, 0)),
        families_of(levels, 0 if rates is None else np.shape(rates)[1]),
        tuple(
            np.array(values, float).reshape(k, -1)
            for values in ([tables] if levels else []) + ([] if rates is None else [rates])
        ),
    )


def families_of(levels: tuple[int, ...], counts: int = 0) -> tuple[Family, ...]:
    categories = (Categorical(levels),) if levels else ()
    return (*categories, Count(counts)) if counts else categories


def run(block: Any, start: Parameters, weights: Any = None, **options: Any) -> Fit:
    options = {"tol": 1e-8, "max_iter": 2000, **options}
    return fit(array_pass(block, weights), start, NO_NUMBERS, floor=np.zeros(0), **options)


# What four questions of three values each say of two groups, exactly: every pattern with its
# probability for a weight.
TRUTH = np.array([[0.7, 0.2, 0.1] * 4, [0.1, 0.3, 0.6] * 4])
PATTERNS = np.array(np.meshgrid(*[range(3)] * 4)).reshape(4, -1).astype(float)


def expected_patterns(truth: Any) -> Any:
    """The weight of every pattern, 1,000 in sum."""
    of = [np.prod([t[3 * j + PATTERNS[j].astype(int)] for j in range(4)], axis=0) for t in truth]
    return 1000 * (0.4 * of[0] + 0.6 * of[1])


def log_likelihood_of_truth(weights: Any) -> float:
    return float(weights @ np.log(weights / weights.sum()))


def stuck(block: Any, start: Parameters, weights: Any) -> Parameters:
    """Where steps of EM end that do not leave zero: nothing is gained there by one more."""
    sample = Sample(block, weights, NO_NUMBERS, np.zeros(0), False, start.families)
    (end,) = advance(sample, [Candidate(start)], steps=400, tol=-1.0)
    assert abs(end.gain) < 1e-7
    return end.parameters


@ACCELERATIONS
@pytest.mark.parametrize("least", [0.0, 1e-10])
def test_a_probability_at_zero_is_left_where_the_likelihood_rises(least, acceleration) -> None:
    """The truth but for one probability of 0.2; the log-likelihood of the truth is known."""
    weights = expected_patterns(TRUTH)
    tables = np.array(TRUTH)
    tables[0, :3] = 0.9, 0.0, 0.1
    start = stuck(PATTERNS, lca([0.4, 0.6], tables, (3,) * 4), weights)
    assert start.tables[0, 1] == 0
    start.tables[0, 1] = least
    options = {"acceleration": acceleration, "tol": 1e-6}
    found = run(PATTERNS, start, weights, **options)
    assert found.converged
    assert found.history[1].gain < 1e-6  # where it started it seemed to have converged
    if acceleration == "anderson":
        assert "lifted" in [record.kind for record in found.history]
        assert len(found.history) < 30
    assert_allclose(found.log_likelihood, log_likelihood_of_truth(weights), atol=0.02)
    assert_allclose(found.parameters.tables, TRUTH, atol=0.02)


def test_a_value_that_no_component_knows_is_learnt() -> None:
    tables = np.array(TRUTH)
    tables[:, :3] = 0.5, 0.5, 0.0
    weights = expected_patterns(TRUTH)
    found = run(PATTERNS, lca([0.4, 0.6], tables, (3,) * 4), weights)
    assert found.history[0].mean_log_likelihood > -100
    assert_allclose(found.log_likelihood, log_likelihood_of_truth(weights), atol=1e-3)


@ACCELERATIONS
def test_a_probability_whose_maximum_is_zero_stays_there(acceleration) -> None:
    """No row of the first group has the second value: a fit at 0 has converged, and one that
    starts at 0.2 ends at 0."""
    truth = np.array(TRUTH)
    truth[0] = [0.8, 0.0, 0.2] * 4
    weights = expected_patterns(truth)
    options = {"acceleration": acceleration, "tol": 1e-6}
    there = run(PATTERNS, lca([0.4, 0.6], truth, (3,) * 4), weights, max_iter=2, **options)
    assert (there.converged, len(there.history)) == (True, 3)
    assert_allclose(there.parameters.tables, truth, atol=1e-9)
    assert there.parameters.tables.min() > 0.9e-12  # so that the next pass can tell
    away = run(PATTERNS, lca([0.4, 0.6], TRUTH, (3,) * 4), weights, acceleration=acceleration)
    assert away.converged
    assert_allclose(away.log_likelihood, log_likelihood_of_truth(weights), atol=1e-3)
    assert_allclose(away.parameters.tables[0, 1::3], 0, atol=1e-3)


@ACCELERATIONS
@pytest.mark.parametrize("least", [0.0, 1e-10])
def test_a_rate_at_zero_is_left_where_the_likelihood_rises(least, acceleration) -> None:
    """Counts of 1 and of 9 on average; the first group is said to have none."""
    counts = np.arange(40.0)
    weights = 1000 * (poisson.pmf(counts, 1) + poisson.pmf(counts, 9)) / 2
    start = lca([0.5, 0.5], np.zeros((2, 0)), (), [[0.0], [9.0]])
    start = stuck(counts[None], start, weights)
    start.rates[0] = least
    found = run(counts[None], start, weights, acceleration=acceleration)
    assert found.converged
    assert_allclose(found.log_likelihood, log_likelihood_of_truth(weights), atol=1e-3)
    assert_allclose(found.parameters.rates, [[1], [9]], atol=0.02)


def test_a_rate_whose_maximum_is_zero_stays_there() -> None:
    counts = np.arange(40.0)
    weights = 1000 * ((counts == 0) + poisson.pmf(counts, 9)) / 2
    start = lca([0.5, 0.5], np.zeros((2, 0)), (), [[0.0], [9.0]])
    found = run(counts[None], start, weights, tol=1e-6, max_iter=2)
    assert (found.converged, len(found.history)) == (True, 3)
    assert_allclose(found.parameters.rates, [[0], [9]], atol=1e-6)


def test_the_derivative_says_which_edges_to_leave() -> None:
    """By differences of the log-likelihood at the edge itself."""
    weights = expected_patterns(TRUTH)
    start = np.array(TRUTH)
    start[0, :3], start[1, 3:6] = [0.0, 0.9, 0.1], [0.4, 0.6, 0.0]
    at = off_zero(lca([0.4, 0.6], start, (3,) * 4))
    evaluated = []

    def pass_at(parameters: Parameters) -> float:
        run_pass = array_pass(PATTERNS, weights)
        options = {"floor": np.zeros(0), "max_iter": 0}
        return fit(
            lambda e: evaluated.append(run_pass(e)) or evaluated[-1],
            parameters,
            NO_NUMBERS,
            **options,
        ).log_likelihood

    here = pass_at(at)
    edges = edges_to_leave(at, evaluated[0], 1e-6)
    rises = np.zeros((2, 12), dtype=bool)
    for component, level in ((0, 0), (1, 5)):
        tables = np.array(at.tables)
        tables[component, level] += 1e-4
        table = tables[component, level // 3 * 3 : level // 3 * 3 + 3]
        table /= table.sum()
        rises[component, level] = pass_at(replace(at, family_parameters=(tables,))) > here
    assert rises.any()
    assert edges is not None
    assert (edges.where[0] == rises).all()


def test_with_a_prior_nothing_is_lifted() -> None:
    """A prior keeps probabilities from zero; the first pass is of the start as it is."""
    start = np.array(TRUTH)
    start[0, :3] = 0.9, 1e-13, 0.1
    prior = Prior(0.0, (np.full(12, 0.1),))
    given = lca([0.4, 0.6], start, (3,) * 4)
    found = run(PATTERNS, given, expected_patterns(TRUTH), prior=prior, max_iter=0)
    assert found.parameters is given


def test_a_component_without_weight_starts_with_a_little() -> None:
    start = with_weight(lca([0.0, 0.7, 0.3], [TRUTH[0]] * 3, (3,) * 4))
    assert_allclose(start.weights, np.array([0.01, 0.7, 0.3]) / 1.01)
    assert with_weight(start) is start


def as_sample(block: Any, levels: tuple[int, ...], seed: int = 0) -> Sample:
    order = np.random.default_rng(seed).permutation(block.shape[1])
    return Sample(block[:, order], None, NO_NUMBERS, np.zeros(0), False, families_of(levels))


def test_a_start_from_labels_has_every_value_that_rows_have() -> None:
    """Group 1 has no row with value 1, and no call: both start with a twentieth of what all rows
    have."""
    codes, calls = np.array([0.0, 0, 1, 1, 0, 0, 0, 0]), np.array([2.0, 2, 2, 2, 0, 0, 0, 0])
    families = families_of((2,), 1)
    sample = Sample(np.stack([codes, calls]), None, NO_NUMBERS, np.zeros(0), False, families)
    labels = np.repeat([0, 1], 4)

    def run_labelled(evaluator: Any) -> Any:
        kernel = BlockKernel(evaluator)
        kernel.add_labelled(sample.values, labels, None)
        return kernel.statistics()

    start = labelled_start(run_labelled, sample, 2, DIAGONAL, np.zeros(0))
    assert_allclose(start.tables, [[0.5125, 0.4875], [1 - 0.05 / 4, 0.05 / 4]])
    assert_allclose(start.rates, [[2 * 0.95 + 0.05], [0.05]])


@pytest.mark.parametrize(
    "seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 7))]
)
@pytest.mark.parametrize(("k", "published"), [(2, -504.4677), (3, -503.3011)])
def test_latent_classes_reach_the_published_maximum(shared_data, k, published, seed) -> None:
    """Goodman (1974), as poLCA reports it."""
    values = np.genfromtxt(shared_data / "classic_lca" / "values.csv", delimiter=",", names=True)
    codes = np.stack([values[name] - 1 for name in "ABCD"])
    sample = as_sample(np.repeat(codes, values["n"].astype(int), axis=1), (2,) * 4, seed)
    start = search(sample, k, DIAGONAL, seed=seed)[0]
    found = run(sample.values, start, tol=1e-6, acceleration="anderson", run_sample=sample.run_pass)
    assert found.converged
    assert_allclose(found.log_likelihood, published, rtol=0, atol=1e-4)
