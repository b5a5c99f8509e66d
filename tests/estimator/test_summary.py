"""What a fit reports of itself, against figures computed row by row."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyspark.sql import functions as F
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from gmm_spark import GaussianMixture, GaussianMixtureModel, ParquetTable
from gmm_spark.mixture.structures import STRUCTURES
from tests.estimator.helpers import table
from tests.mixture.reference import CODES


def log_joint(model: Any, rows: np.ndarray) -> np.ndarray:
    return np.stack(
        [
            np.log(weight) + multivariate_normal.logpdf(rows, mean, covariance)
            for weight, mean, covariance in zip(
                model.weights, model.means, model.covariances, strict=True
            )
        ],
        axis=1,
    )


def test_the_total_is_the_sum_of_the_rows_log_densities(model, frame) -> None:
    scored = model.copy().setLogLikelihoodCol("density").transform(frame)
    total = scored.agg(F.sum("density")).first()[0]
    assert_allclose(model.summary.logLikelihood, total, rtol=1e-12)


def test_the_figures_are_those_of_the_rows(model, groups) -> None:
    summary, joint = model.summary, log_joint(model, groups)
    total = logsumexp(joint, axis=1).sum()
    parameters = 2 + 3 * 2 + 3 * 3  # weights, means, covariances of three components in a plane
    assert_allclose(summary.logLikelihood, total, rtol=1e-10)
    assert_allclose(summary.meanLogLikelihood, total / 300, rtol=1e-10)
    assert summary.numParameters == parameters
    assert_allclose(summary.aic, 2 * parameters - 2 * total, rtol=1e-10)
    assert_allclose(summary.bic, parameters * np.log(300) - 2 * total, rtol=1e-10)
    log_probability = joint.max(axis=1) - logsumexp(joint, axis=1)
    assert_allclose(summary.icl, summary.bic - 2 * log_probability.sum(), rtol=1e-10)
    assert_array_equal(summary.clusterSizes, np.bincount(joint.argmax(axis=1), minlength=3))
    assert summary.clusterWeights == [float(size) for size in summary.clusterSizes]
    assert (summary.k, summary.numFeatures) == (3, 2)
    assert (summary.numRows, summary.numSkipped, summary.weightSum) == (300, 0, 300)
    assert summary.warnings == []


def test_components_come_by_weight_the_largest_first(model) -> None:
    assert_allclose(model.weights, [0.5, 1 / 3, 1 / 6], atol=0.02)
    assert_array_equal(np.argsort(model.weights), [2, 1, 0])
    assert_array_equal(model.summary.clusterSizes, [150, 100, 50])
    assert_allclose(model.means, [[0, 0], [9, 2], [3, 14]], atol=0.5)


def test_the_figures_are_weighted_where_rows_are(spark, groups) -> None:
    weights = np.random.default_rng(6).uniform(0.1, 3, 300)
    data = table(spark, np.column_stack([groups, weights]), ["x", "y", "w"], 2)
    fitted = GaussianMixture(k=3, inputCols=["x", "y"], weightCol="w").fit(data)
    summary, joint = fitted.summary, log_joint(fitted, groups)
    total = weights @ logsumexp(joint, axis=1)
    assert_allclose(summary.logLikelihood, total, rtol=1e-10)
    assert_allclose(summary.weightSum, weights.sum(), rtol=1e-12)
    assert_allclose(summary.meanLogLikelihood, total / weights.sum(), rtol=1e-10)
    assert_allclose(summary.bic, 17 * np.log(weights.sum()) - 2 * total, rtol=1e-10)
    members = joint.argmax(axis=1)
    assert summary.clusterSizes == np.bincount(members, minlength=3).tolist()
    assert all(type(size) is int for size in summary.clusterSizes)
    assert_allclose(summary.clusterWeights, np.bincount(members, weights, minlength=3), rtol=1e-12)


@pytest.fixture(scope="module", params=["none", "anderson"])
def long_fit(spark, request) -> Any:
    """Overlapping groups, started from 50 of the rows."""
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.normal(0, 1, (200, 2)), rng.normal(3, 1, (200, 2))])
    mixture = GaussianMixture(
        k=2, inputCols=["x", "y"], sampleSize=50, tol=1e-4, acceleration=request.param
    )
    return mixture.fit(table(spark, rows, ["x", "y"], 2))


def test_the_history_has_an_entry_a_pass_after_that_of_the_scan(long_fit) -> None:
    summary = long_fit.summary
    opening, *history = summary.history
    assert summary.converged
    assert summary.reason == "converged"
    assert len(history) == summary.numPasses == summary.numIter + 1 > 3
    assert [entry["pass"] for entry in summary.history] == list(range(len(history) + 1))
    assert (opening["kind"], opening["meanLogLikelihood"], opening["gain"]) == (
        "packing", None, None,
    )  # fmt: skip
    means = np.array([entry["meanLogLikelihood"] for entry in history])
    assert means[-1] == summary.meanLogLikelihood
    assert history[0]["gain"] is None
    assert all(entry["seconds"] > 0 for entry in summary.history)


def test_the_kinds_of_passes(long_fit) -> None:
    kinds = [entry["kind"] for entry in long_fit.summary.history[1:]]
    assert kinds[0] == "em"
    assert kinds[-1] == "confirming"
    if long_fit.getAcceleration() == "none":
        assert set(kinds) == {"em", "confirming"}
    else:
        assert set(kinds) <= {"em", "anchored", "accelerated", "rejected", "confirming"}
        assert {"anchored", "accelerated"} & set(kinds)


def test_the_first_look_at_a_parquet_table_is_a_scan(frame, tmp_path) -> None:
    frame.write.parquet(str(tmp_path / "t"))
    mixture = GaussianMixture(k=3, inputCols=["x", "y"], maxIter=0)
    fitted = mixture.fit(ParquetTable(str(tmp_path / "t")))
    assert [entry["kind"] for entry in fitted.summary.history] == ["scan", "em"]


def test_the_log_likelihood_never_falls_and_the_last_gains_are_under_tol(long_fit) -> None:
    """A pass at which it had fallen is taken back: the next gain is of the one before it."""
    kept = [e for e in long_fit.summary.history[1:] if e["kind"] != "rejected"]
    gains = [entry["gain"] for entry in kept[1:]]
    assert_allclose(gains, np.diff([entry["meanLogLikelihood"] for entry in kept]))
    assert min(gains) > -1e-12
    assert gains[-1] < 1e-4
    assert gains[-2] < 1e-4
    if long_fit.getAcceleration() == "none":
        assert gains[-3] >= 1e-4


def test_the_parameters_of_every_pass_are_kept(long_fit) -> None:
    path = long_fit.summary.parameterHistory
    assert len(path) == long_fit.summary.numPasses
    order = path[-1].canonical_order()
    assert_array_equal(path[-1].means[order], long_fit.means)
    assert not np.allclose(path[0].means[order], long_fit.means)


def test_the_way_to_the_start_begins_at_the_first_means(long_fit) -> None:
    """One of the 16 starts, by the M-step of its groups; it ends where the first pass looks."""
    summary = long_fit.summary
    first, *_, last = summary.sampleHistory
    assert (first["step"], first["round"], first["kind"], first["rows"]) == (0, 0, "start", 50)
    assert_array_equal(last["parameters"].means, summary.parameterHistory[0].means)
    assert [entry["step"] for entry in summary.sampleHistory] == list(
        range(len(summary.sampleHistory))
    )
    assert len(summary.sampleHistory) > 5
    for one, other in pairwise(summary.sampleHistory):
        if one["round"] == other["round"]:
            assert one["rows"] == other["rows"]
            assert other["meanLogLikelihood"] > one["meanLogLikelihood"] - 1e-9


def test_its_components_are_in_the_order_of_the_model(long_fit) -> None:
    centres = [long_fit.means.mean(axis=1)]
    centres += [entry["parameters"].means.mean(axis=1) for entry in long_fit.summary.sampleHistory]
    assert {tuple(centre.argsort()) for centre in centres} == {tuple(centres[0].argsort())}


def test_a_start_that_was_given_is_all_there_is_before_the_passes(model, frame) -> None:
    given = GaussianMixture(k=3, inputCols=["x", "y"], initialModel=model).fit(frame)
    partly = GaussianMixture(k=3, inputCols=["x", "y"], initialMeans=model.means).fit(frame)
    for fitted in given, partly:
        (only,) = fitted.summary.sampleHistory
        assert (only["kind"], only["rows"], only["meanLogLikelihood"]) == ("start", None, None)
        assert_array_equal(only["parameters"].means, fitted.summary.parameterHistory[0].means)
    assert_allclose(partly.summary.sampleHistory[0]["parameters"].means, model.means)


@pytest.mark.parametrize("most", [0, 1, 3])
def test_passes_end_at_maxiter_with_a_warning(frame, most) -> None:
    mixture = GaussianMixture(k=3, inputCols=["x", "y"], sampleSize=40, tol=0.0, maxIter=most)
    summary = mixture.fit(frame).summary
    assert (summary.numIter, summary.numPasses) == (most, most + 1)
    assert (summary.converged, summary.reason) == (False, "max_iterations")
    assert summary.warnings == ["not_converged: maxIter passes were not enough for tol"]


def test_predictions_are_the_transformed_rows(model, frame) -> None:
    summary = model.summary
    assert summary.predictions.collect() == model.transform(frame).collect()
    assert summary.cluster.columns == ["prediction"]
    assert summary.probability.columns == ["probability"]
    counts = summary.cluster.groupBy("prediction").count().collect()
    sizes = {row["prediction"]: row["count"] for row in counts}
    assert [sizes[i] for i in range(3)] == summary.clusterSizes


def test_a_model_is_never_lost_over_its_predictions(frame, monkeypatch) -> None:
    def no_predictions(*_: object) -> None:
        raise RuntimeError("no predictions")

    monkeypatch.setattr(GaussianMixtureModel, "_transform", no_predictions)
    fitted = GaussianMixture(k=2, inputCols=["x", "y"], numInit=1, maxIter=1).fit(frame)
    assert fitted.summary.numRows == 300
    with pytest.raises(RuntimeError, match="no predictions"):
        fitted.summary.predictions  # noqa: B018


def test_a_parquet_table_leaves_no_predictions_at_hand(spark, frame, tmp_path) -> None:
    frame.write.parquet(str(tmp_path / "t"))
    mixture = GaussianMixture(k=3, inputCols=["x", "y"], maxIter=1)
    fitted = mixture.fit(ParquetTable(str(tmp_path / "t")))
    with pytest.raises(RuntimeError, match=r"use model\.transform"):
        fitted.summary.predictions  # noqa: B018


def test_rows_with_gaps_are_left_out_and_counted(spark, groups, model) -> None:
    gaps = [(None, 1.0), (2.0, float("nan")), (None, None)]
    data = table(spark, [*gaps, *groups.tolist()], ["x", "y"], 3)
    fitted = GaussianMixture(k=3, inputCols=["x", "y"], seed=1, missing="skip").fit(data)
    summary = fitted.summary
    assert (summary.numRows, summary.numSkipped, summary.weightSum) == (300, 3, 300)
    assert summary.warnings == ["rows_skipped: 3 of 303 rows have a gap"]
    assert_allclose(fitted.means, model.means, rtol=1e-9, atol=1e-12)
    assert_allclose(summary.logLikelihood, model.summary.logLikelihood, rtol=1e-12)


def named(warnings: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for warning in warnings:
        name, text = warning.split(": ", 1)
        found.setdefault(name, []).append(text)
    return found


def test_constant_and_collinear_columns_are_named(spark, groups, model) -> None:
    x, y = groups.T
    names = ["x", "y", "same", "sum"]
    data = table(spark, np.column_stack([x, y, np.full(300, 4.0), 2 * x - y]), names, 2)
    fitted = GaussianMixture(k=3, inputCols=names, seed=1).fit(data)
    warnings = named(fitted.summary.warnings)
    assert set(warnings) == {"constant_column", "collinear_columns", "covariance_floor"}
    (constant,) = warnings["constant_column"]
    assert constant.startswith("same is 4 in every row")
    (collinear,) = warnings["collinear_columns"]
    assert collinear.startswith("x, y, sum are exactly collinear")
    assert len(warnings["covariance_floor"]) == 3
    assert_allclose(fitted.means[:, 2], 4.0)
    assert_array_equal(fitted.summary.clusterSizes, model.summary.clusterSizes)


def test_a_cluster_that_is_one_repeated_value_is_named(spark) -> None:
    rng = np.random.default_rng(2)
    rows = np.concatenate([rng.normal(0, 1, (80, 1)), np.full((40, 1), 30.0)])
    fitted = GaussianMixture(k=2, inputCols=["x"]).fit(table(spark, rows, ["x"]))
    (floor,) = named(fitted.summary.warnings)["covariance_floor"]
    assert floor.startswith("cluster 1 (33.33%) is as narrow as the floor along x")
    assert_allclose(fitted.covariances[0], np.var(rows[:80]), rtol=1e-6)


@pytest.mark.parametrize("code", [*CODES, "EVI", "VVE"])
def test_a_single_component_is_the_moments_of_the_rows(spark, groups, code) -> None:
    """Closed form: mean and covariance, their diagonal, or its mean."""
    structure = STRUCTURES[code]
    settings = {"k": 1, "inputCols": ["x", "y"], "covarianceType": code}
    fitted = GaussianMixture(**settings).fit(table(spark, groups, ["x", "y"], 3))
    covariance = np.cov(groups.T, bias=True)
    if structure.kind != "full":
        covariance = np.diag(np.diag(covariance))
    if structure.kind == "spherical":
        covariance = np.eye(2) * np.trace(covariance) / 2
    assert_allclose(fitted.means[0], groups.mean(axis=0), rtol=1e-12)
    assert_allclose(fitted.covariances[0], covariance, rtol=1e-11, atol=1e-14)
    assert_array_equal(fitted.weights, [1.0])
    total = multivariate_normal.logpdf(groups, groups.mean(axis=0), covariance).sum()
    assert_allclose(fitted.summary.logLikelihood, total, rtol=1e-11)
