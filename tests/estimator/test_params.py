"""Params as pyspark.ml has them: setters, copies, explanations, overrides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from numpy.testing import assert_array_equal
from pyspark.ml.tuning import ParamGridBuilder

from gmm_spark import GaussianMixture, GaussianMixtureModel, GaussianMixtureSearch

ROOT = Path(__file__).parents[2]
VALUES: dict[str, Any] = {
    "k": 4,
    "maxIter": 9,
    "tol": 0.5,
    "seed": 8,
    "featuresCol": "f",
    "inputCols": ["a", "b"],
    "predictionCol": "p",
    "probabilityCol": "q",
    "weightCol": "w",
    "weightKind": "importance",
    "aggregationDepth": 3,
    "covarianceType": "diag",
    "initMode": "random",
    "numInit": 2,
    "initialLabelCol": "l",
    "initialWeights": [0.5, 0.5],
    "initialMeans": [[0.0, 1.0], [2.0, 3.0]],
    "initialCovariances": [[1.0, 1.0], [2.0, 2.0]],
    "covarianceFloor": 0.1,
    "acceleration": "none",
    "missing": "skip",
    "categoricalCols": ["c"],
    "countCols": ["n"],
    "maxCategories": 9,
    "categoryPrior": 0.5,
    "labelCol": "known",
    "noise": True,
    "contamination": 0.1,
    "outlierCol": "o",
    "outlierThreshold": -7.5,
    "prior": "conjugate",
    "priorShrinkage": 0.2,
    "weightConcentration": 3.0,
    "logLikelihoodCol": "d",
    "uncertaintyCol": "u",
    "sampleSize": 77,
}


def capital(name: str) -> str:
    return name[0].upper() + name[1:]


@pytest.mark.parametrize("name", VALUES)
def test_a_param_is_set_by_keyword_by_setter_and_by_setparams(spark, name) -> None:
    value = VALUES[name]
    estimator = GaussianMixture()
    assert getattr(estimator, f"set{capital(name)}")(value) is estimator
    for found in (
        estimator,
        GaussianMixture(**{name: value}),
        GaussianMixture().setParams(**{name: value}),
        (plain := GaussianMixture()).copy({getattr(plain, name): value}),
    ):
        assert getattr(found, f"get{capital(name)}")() == value
        assert found.getOrDefault(name) == value


def test_every_param_has_a_place_in_the_constructor(spark) -> None:
    estimator = GaussianMixture()
    assert {param.name for param in estimator.params} == {*VALUES, "initialModel"}


def test_defaults_that_users_are_told_of(spark) -> None:
    estimator = GaussianMixture()
    defaults = {name: estimator.getOrDefault(name) for name in VALUES if estimator.hasDefault(name)}
    told = {
        "k": 2,
        "maxIter": 100,
        "tol": 1e-6,
        "featuresCol": "features",
        "predictionCol": "prediction",
        "probabilityCol": "probability",
        "aggregationDepth": 2,
        "covarianceType": "full",
        "initMode": "k-means",
        "numInit": 16,
        "acceleration": "anderson",
        "weightKind": "frequency",
        "covarianceFloor": "auto",
        "missing": "error",
        "maxCategories": 64,
        "categoryPrior": 1.0,
        "noise": False,
        "contamination": 0.0,
        "outlierCol": "outlier",
        "prior": "none",
        "priorShrinkage": 0.01,
        "weightConcentration": 1.0,
        "logLikelihoodCol": "",
        "uncertaintyCol": "",
        "sampleSize": 0,
    }
    assert {name: defaults[name] for name in told} == told
    assert estimator.getInitialModel() is None
    assert estimator.getInitialLabelCol() is None


def test_the_default_seed_is_the_same_in_every_process() -> None:
    """Python salts the hash of a string anew in every process, on which pyspark's rests."""
    program = "from gmm_spark import GaussianMixture as G; print(G().getSeed())"
    seeds = set()
    for salt in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        seeds.add(ended.stdout.strip())
    assert len(seeds) == 1


def test_positional_arguments_are_refused(spark) -> None:
    with pytest.raises(TypeError):
        GaussianMixture(3)


def test_params_are_explained(spark, model) -> None:
    for explained in (GaussianMixture(k=5).explainParams(), model.explainParams()):
        for name in (*VALUES, "initialModel"):
            assert f"{name}: " in explained
    assert "(default: 2, current: 5)" in GaussianMixture(k=5).explainParam("k")


def test_a_copy_is_its_own(spark) -> None:
    estimator = GaussianMixture(k=3, tol=0.1)
    copied = estimator.copy({estimator.k: 5})
    copied.setTol(0.2)
    assert (estimator.getK(), estimator.getTol()) == (3, 0.1)
    assert (copied.getK(), copied.getTol()) == (5, 0.2)
    assert copied.uid == estimator.uid


def test_a_copy_of_a_model_keeps_mixture_and_summary(model) -> None:
    copied = model.copy({model.predictionCol: "other"})
    copied.setProbabilityCol("p")
    assert (copied.getPredictionCol(), model.getPredictionCol()) == ("other", "prediction")
    assert model.getProbabilityCol() == "probability"
    assert_array_equal(copied.means, model.means)
    assert copied.summary == model.summary
    assert copied.uid == model.uid


@pytest.mark.parametrize(
    "name",
    [
        "featuresCol", "inputCols", "predictionCol", "probabilityCol", "logLikelihoodCol",
        "uncertaintyCol", "missing",
    ],
)  # fmt: skip
def test_what_a_model_lets_be_set_returns_the_model(spark, name) -> None:
    given = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]])
    assert getattr(given, f"set{capital(name)}")(VALUES[name]) is given
    assert given.getOrDefault(name) == VALUES[name]


def test_a_model_has_the_params_and_the_uid_of_its_estimator(spark, frame) -> None:
    estimator = GaussianMixture(k=2, inputCols=["x", "y"], tol=0.01, maxIter=1, predictionCol="g")
    fitted = estimator.fit(frame)
    assert fitted.uid == estimator.uid
    assert fitted.getK() == 2
    assert fitted.getTol() == 0.01
    assert fitted.getPredictionCol() == "g"
    assert fitted.getInputCols() == ["x", "y"]


def test_fit_takes_params_for_this_once(spark, frame) -> None:
    estimator = GaussianMixture(k=2, inputCols=["x", "y"], maxIter=1)
    one = estimator.fit(frame, {estimator.k: 3})
    assert len(one.weights) == 3
    many = estimator.fit(frame, [{estimator.k: 1}, {estimator.k: 2}])
    assert [len(fitted.weights) for fitted in many] == [1, 2]
    assert estimator.getK() == 2


@pytest.mark.parametrize("name", [*VALUES, "initialModel"])
def test_none_is_not_set_whatever_the_param_and_the_way(name) -> None:
    value = VALUES.get(name)
    if name == "initialModel":
        value = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]])
    plain = GaussianMixture()
    given = GaussianMixture(**{name: value})
    setter = f"set{capital(name)}"
    by_set = GaussianMixture(**{name: value})
    by_set.set(getattr(by_set, name), None)
    for found in (
        GaussianMixture(**{name: None}),
        getattr(GaussianMixture(**{name: value}), setter)(None),
        GaussianMixture(**{name: value}).setParams(**{name: None}),
        given.copy({getattr(given, name): None}),
        by_set,
    ):
        assert not found.isSet(name)
        assert found.explainParam(name) == plain.explainParam(name)
    assert given.isSet(name)


@pytest.mark.parametrize("kind", [GaussianMixture, GaussianMixtureSearch])
def test_a_grid_of_params_may_have_none(kind) -> None:
    estimator = kind()
    for param in estimator.params:
        builder = ParamGridBuilder().addGrid(param, [None]).baseOn({estimator.tol: None})
        found = estimator.copy(builder.build()[0])
        assert not found.isSet(param.name)
    with pytest.raises(TypeError, match="string"):
        ParamGridBuilder().addGrid(estimator.weightCol, [7]).build()


def test_none_is_not_set_in_a_search_and_in_a_model() -> None:
    plain = GaussianMixtureSearch()
    search = GaussianMixtureSearch(k=None, covarianceType=None, criterion=None, seed=None)
    search.setK([2, 3]).setK(None).setCovarianceType(["diag"]).setCovarianceType(None)
    search.setCriterion("aic").setCriterion(None)
    for param in search.params:
        assert not search.isSet(param)
    assert search.extractParamMap() == {
        search.getParam(param.name): value for param, value in plain.extractParamMap().items()
    }
    model = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]], inputCols=["x"])
    assert model.setInputCols(None).setOutlierThreshold(-1.0).setOutlierThreshold(None) is model
    assert model.setMissing("skip").setMissing(None).getMissing() == "error"
    assert model.setPredictionCol("p").setPredictionCol(None).getPredictionCol() == "prediction"
    assert model.getOutlierThreshold() is None
    assert not model.isSet("inputCols")


def test_none_in_the_params_of_one_fit_or_one_transform(spark, frame) -> None:
    estimator = GaussianMixture(k=2, inputCols=["x", "y"], maxIter=1, numInit=1, weightCol="absent")
    fitted = estimator.fit(frame, {estimator.weightCol: None, estimator.seed: None})
    assert fitted.summary.weightSum == 300
    fitted.setPredictionCol("p")
    assert "prediction" in fitted.transform(frame, {fitted.predictionCol: None}).columns
    assert estimator.getWeightCol() == "absent"
    again = fitted.impute(frame.limit(3), draws=None, seed=None)
    assert again.columns == fitted.impute(frame.limit(3)).columns


def test_the_params_of_a_search_may_be_given_to_its_model(frame) -> None:
    """As CrossValidator does, in `transform`."""
    search = GaussianMixtureSearch(inputCols=["x", "y"], maxIter=1, numInit=1)
    given = {search.k: [2], search.covarianceType: ["diag"], search.predictionCol: "p"}
    fitted = search.fit(frame, given)
    assert (fitted.getK(), fitted.getCovarianceType()) == (2, "diag")
    assert fitted.transform(frame, given).columns == ["x", "y", "probability", "p"]
