"""Scoring inside a task, against scipy's densities."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from gmm_spark.engine.scoring import SKIPPED, Scorer
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import CODES

WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[0.0, 5.0, 100.0], [3.0, -5.0, 140.0], [-4.0, 0.0, 90.0]])


def mixture(code: str) -> Parameters:
    structure = STRUCTURES[code]
    factors = np.random.default_rng(2).normal(size=(3, 3, 3))
    full = factors @ factors.swapaxes(1, 2) + np.eye(3)
    covariances = {
        "full": full,
        "diagonal": np.diagonal(full, axis1=1, axis2=2),
        "spherical": np.array([0.5, 2.0, 30.0]),
    }[structure.kind]
    return Parameters(
        structure, WEIGHTS, MEANS, covariances[0] if structure.shared else covariances
    )


def log_joint(parameters: Parameters, row: np.ndarray) -> np.ndarray:
    """log w_k + log N(x_o | mu_ko, Sigma_koo) of the observed entries o, one by one."""
    seen = ~np.isnan(row)
    covariances = parameters.dense_covariances()
    return np.array(
        [
            np.log(weight) + multivariate_normal.logpdf(row[seen], mean[seen], cov[seen][:, seen])
            for weight, mean, cov in zip(
                parameters.weights, parameters.means, covariances, strict=True
            )
        ]
    )


def block(n: int = 40) -> np.ndarray:
    rng = np.random.default_rng(9)
    return (MEANS[rng.integers(3, size=n)] + 3 * rng.normal(size=(n, 3))).T.copy()


def assert_scored(parameters: Parameters, rows: np.ndarray, scorer: Scorer) -> None:
    scores = scorer.score(rows)
    expected = np.array([log_joint(parameters, row) for row in rows.T])
    total = logsumexp(expected, axis=1)
    probability = np.exp(expected - total[:, None]).T
    assert_allclose(scores.log_density, total, rtol=1e-10)
    assert_allclose(scores.probability, probability, rtol=1e-9, atol=1e-300)
    assert_array_equal(scores.prediction, expected.argmax(axis=1))
    assert_allclose(scores.uncertainty, 1 - probability.max(axis=0), atol=1e-12)


@pytest.mark.parametrize("code", CODES)
def test_scores_are_those_of_the_densities(code) -> None:
    assert_scored(mixture(code), block(), Scorer(mixture(code), "error"))


@pytest.mark.parametrize("code", CODES)
def test_a_row_with_gaps_is_scored_on_what_is_observed(code) -> None:
    rows = block()
    rows[0, ::3] = np.nan
    rows[2, ::4] = np.nan
    rows[1, 5:9] = np.nan
    rows[:, 0] = [np.nan, np.nan, 101.0]
    assert_scored(mixture(code), rows, Scorer(mixture(code), "marginalize"))


def test_a_row_of_gaps_alone_has_the_weights_as_probabilities_and_density_one() -> None:
    scores = Scorer(mixture("VVV"), "marginalize").score(np.full((3, 2), np.nan))
    assert_array_equal(scores.probability.T, [WEIGHTS, WEIGHTS])
    assert_array_equal(scores.log_density, [0, 0])
    assert_array_equal(scores.prediction, [0, 0])
    assert_array_equal(scores.uncertainty, [0.5, 0.5])


def test_skipped_rows_are_marked_and_the_others_scored_as_ever() -> None:
    rows = block()
    whole = Scorer(mixture("VVV"), "error").score(rows)
    rows[1, 3] = np.nan
    scores = Scorer(mixture("VVV"), "skip").score(rows)
    assert scores.prediction[3] == SKIPPED
    assert np.isnan(scores.probability[:, 3]).all()
    assert np.isnan(scores.log_density[3])
    kept = np.arange(rows.shape[1]) != 3
    assert_array_equal(scores.prediction[kept], whole.prediction[kept])
    # To the bit with the BLAS of today; numpy 1.26 rounds the last rows of a block otherwise.
    assert_allclose(scores.probability[:, kept], whole.probability[:, kept], rtol=1e-12)


def test_a_gap_is_an_error_that_names_the_column_and_counts_the_rows() -> None:
    rows = block()
    rows[1, [3, 8]] = np.nan
    with pytest.raises(ValueError, match=r"^2 of 40 rows have a gap \(the first in column 'b'\)"):
        Scorer(mixture("VVV"), "error", ("a", "b", "c")).score(rows)


@pytest.mark.parametrize("gaps", ["error", "skip", "marginalize"])
def test_an_infinity_is_an_error_that_names_the_column_and_the_value(gaps) -> None:
    rows = block()
    rows[2, 4] = -np.inf
    with pytest.raises(ValueError, match=r"column 'c': 1 of 40 rows are infinite .*-inf"):
        Scorer(mixture("VVV"), gaps, ("a", "b", "c")).score(rows)


def test_probabilities_far_from_every_component_are_finite_and_sum_to_one() -> None:
    far = np.array([[1e3, -1e6, 1e9], [1e3, 1e6, 1e9], [1e3, 1e6, -1e9]])
    scores = Scorer(mixture("VVV"), "error").score(far)
    assert_allclose(scores.probability.sum(axis=0), 1)
    assert np.isfinite(scores.log_density).all()
    expected = [log_joint(mixture("VVV"), row).argmax() for row in far.T]
    assert_array_equal(scores.prediction, expected)


def test_a_component_without_weight_is_never_predicted() -> None:
    parameters = mixture("VVV")
    dead = Parameters(
        parameters.structure, np.array([0.6, 0.4, 0.0]), MEANS, parameters.covariances
    )
    scores = Scorer(dead, "error").score(MEANS.T.copy())
    assert_array_equal(scores.probability[2], 0)
    assert 2 not in scores.prediction


def test_no_rows_have_no_scores() -> None:
    scores = Scorer(mixture("VVV"), "error").score(np.empty((3, 0)))
    assert scores.probability.shape == (3, 0)
    assert scores.log_density.shape == (0,)


def test_a_scorer_travels() -> None:
    scorer = Scorer(mixture("VVV"), "marginalize", ("a", "b", "c"))
    scorer.score(block())
    assert_scored(mixture("VVV"), block(), pickle.loads(pickle.dumps(scorer)))
