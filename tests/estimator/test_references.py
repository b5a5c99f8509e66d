"""Fits against published results: Spark's own suite, mclust, scikit-learn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture as PeerMixture

from gmm_spark import GaussianMixture, GaussianMixtureModel
from tests.estimator.helpers import matched, table


@pytest.fixture(scope="module")
def suite(shared_data) -> dict[str, Any]:
    return json.loads((shared_data / "spark_gmm" / "suite_fixtures.json").read_text("utf-8"))


def classic(shared_data: Any, name: str) -> pd.DataFrame:
    return pd.read_csv(shared_data / "classic_gmm" / "data" / f"{name}.csv")


def numeric(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.select_dtypes("number").drop(columns=["index"], errors="ignore").astype(float)


def test_the_univariate_case_of_sparks_suite(spark, suite) -> None:
    case = suite["univariate"]
    start = case["initial_model"]
    initial = GaussianMixtureModel.fromParameters(
        start["weights"],
        np.reshape(start["means"], (2, 1)),
        np.reshape(start["variances"], (2, 1, 1)),
    )
    data = table(spark, np.reshape(case["data"], (-1, 1)), ["x"], partitions=2)
    mixture = GaussianMixture(k=case["k"], inputCols=["x"], initialModel=initial)
    model = mixture.fit(data)
    tolerance = {"rtol": 0, "atol": case["abs_tol"]}
    assert_allclose(model.weights, case["weights"], **tolerance)
    assert_allclose(model.means[:, 0], case["means"], **tolerance)
    assert_allclose(model.covariances[:, 0, 0], case["variances"], **tolerance)


def test_the_bivariate_case_of_sparks_suite(spark, suite) -> None:
    """The case is of R's mixtools, which starts at random: ours is the default start."""
    case = suite["mvnormalmixEM"]
    data = table(spark, np.array(case["data"]), ["a", "b"], partitions=2)
    model = GaussianMixture(k=case["k"], inputCols=["a", "b"]).fit(data)
    assert abs(model.summary.logLikelihood - case["loglik"]) <= case["loglik_abs_tol"]
    found = matched(model.weights, model.means, model.covariances, to=case["means"])
    for values, name in zip(found, ("weights", "means", "covariances"), strict=True):
        assert_allclose(values, case[name], rtol=0, atol=case["param_abs_tol"])


@pytest.fixture(scope="module")
def sample(shared_data) -> np.ndarray:
    return np.loadtxt(shared_data / "spark_gmm" / "gmm_data.txt")


@pytest.mark.parametrize(
    ("k", "from_k_means", "best"),
    [(2, -7127.222695, -6403.327792), (3, -6928.865334, -6396.987329)],
)
def test_the_default_start_finds_the_better_fit_of_sparks_sample_data(
    spark, sample, k, from_k_means, best
) -> None:
    """Two ellipses that cross at one centre: k-means cannot tell them apart. `best` is what
    scikit-learn reaches from the best of 30 starts with means at random rows."""
    model = GaussianMixture(k=k, inputCols=["a", "b"]).fit(table(spark, sample, ["a", "b"], 2))
    assert model.summary.logLikelihood > from_k_means + 500
    assert_allclose(model.summary.meanLogLikelihood, best / 2000, rtol=0, atol=2e-3)
    if k == 2:
        assert_allclose(model.summary.logLikelihood, best, rtol=0, atol=1e-2)
        assert_allclose(model.weights, [0.519666, 0.480334], rtol=0, atol=1e-3)
        assert_allclose(model.means, [[-0.104402, 0.042847], [0.072227, 0.016687]], atol=1e-2)


def mclust_run(shared_data: Any, dataset: str, code: str) -> dict[str, Any]:
    path = shared_data / "classic_gmm" / "reference" / "mclust_converged.jsonl"
    runs = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    (run,) = [run for run in runs if (run["dataset"], run["model"]) == (dataset, code)]
    return run


# Every structure and set is replayed without Spark, in tests/mixture/test_mclust_reference.py.
@pytest.mark.long
@pytest.mark.parametrize(("dataset", "code"), [("iris", "VVV"), ("crabs", "EEE")])
def test_em_from_mclusts_start_ends_where_mclust_does(spark, shared_data, dataset, code) -> None:
    run = mclust_run(shared_data, dataset, code)
    data = numeric(classic(shared_data, dataset))
    names = list(data)
    data["class"] = np.array(run["initial_classes"], float)
    mixture = GaussianMixture(
        k=run["G"],
        inputCols=names,
        initialLabelCol="class",
        covarianceType=code,
        covarianceFloor=0.0,
        acceleration="none",  # longer steps end in a better optimum of the crabs
        tol=1e-12,
        maxIter=500,
    )
    model = mixture.fit(table(spark, data.to_numpy(), list(data)))
    assert_allclose(model.summary.logLikelihood, run["loglik"], rtol=1e-6)
    found = matched(model.weights, model.means, model.covariances, to=run["means"])
    for values, name in zip(found, ("weights", "means", "covariances"), strict=True):
        assert_allclose(values, run[name], rtol=1e-4)
    assert model.summary.numParameters == run["df"]


@pytest.mark.parametrize(
    ("dataset", "k", "log_likelihood", "tolerance"),
    [("iris", 3, -180.1855, 1e-3), ("faithful", 2, -1130.26396, 1e-5)],
)
def test_default_settings_reach_the_best_known_fit(
    spark, shared_data, dataset, k, log_likelihood, tolerance
) -> None:
    data = numeric(classic(shared_data, dataset))
    frame = table(spark, data.to_numpy(), list(data), partitions=2)
    summary = GaussianMixture(k=k, inputCols=list(data)).fit(frame).summary
    assert summary.converged
    assert_allclose(summary.logLikelihood, log_likelihood, rtol=0, atol=tolerance)


def test_two_blobs_of_twenty_columns_are_told_apart(spark) -> None:
    """Densities underflow there; adding an epsilon to them loses the answer."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 2000)
    rows = rng.normal(size=(4000, 20)) + 20.0 / np.sqrt(20) * truth[:, None]
    names = [f"c{j}" for j in range(20)]
    frame = table(spark, rows, names, partitions=2)
    model = GaussianMixture(k=2, inputCols=names).fit(frame)
    scored = model.transform(frame).select("prediction").collect()
    assert adjusted_rand_score(truth, [row[0] for row in scored]) == 1.0
    peer = PeerMixture(2, reg_covar=0.0, random_state=0).fit(rows)
    assert_allclose(model.summary.meanLogLikelihood, peer.score(rows), rtol=0, atol=1e-2)


def test_latent_classes_of_patterns_and_their_counts_reach_the_published_fit(
    spark, shared_data
) -> None:
    """Goodman (1974), as poLCA reports it: without a prior EM alone would stay at zeros."""
    values = np.genfromtxt(shared_data / "classic_lca" / "values.csv", delimiter=",", names=True)
    rows = [tuple(map(int, row)) for row in values]
    frame = table(spark, rows, "A int, B int, C int, D int, n int", 2)
    mixture = GaussianMixture(k=3, categoricalCols=list("ABCD"), weightCol="n", categoryPrior=0.0)
    summary = mixture.fit(frame).summary
    assert summary.converged
    assert_allclose(summary.logLikelihood, -503.3011, rtol=0, atol=1e-3)
