"""Params as pyspark.ml has them: setters, copies, explanations, overrides."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from numpy.testing import assert_array_equal
from pyspark.ml.tuning import ParamGridBuilder

from gmm_spark import GaussianMixture, GaussianMixtureModel, GaussianMixtureSearch, ParquetTable
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.spec import SEARCH_SETTINGS, SETTINGS, SPEC, Setting
from tests.mixture.test_spec import outside

ROOT = Path(__file__).parents[2]


def another(setting: Setting) -> Any:
    """A value that the setting takes and that is not its default."""
    if setting.kind == "whole":
        return setting.default + 3
    if setting.kind == "text" and setting.choices:
        return setting.choices[-1] if setting.default != setting.choices[-1] else setting.choices[0]
    if setting.kind == "text":
        return f"another_{setting.key}"
    return {
        "number": 0.25 if setting.bounds is None or 0.25 in setting.bounds else 2.5,
        "switch": not setting.default,
        "texts": ["a", "b"],
        "structure": "diag",
        "auto or number": 0.1,
        "numbers": [[0.5, 0.25], [2.0, 3.0]],
        "log density": -7.5,
        "path": "some/where",
    }[setting.kind]


VALUES = {each.name: another(each) for each in SETTINGS if each.kind != "model"}


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


def test_every_param_is_a_setting_and_has_a_place_in_the_constructor() -> None:
    for kind, settings in ((GaussianMixture, SETTINGS), (GaussianMixtureSearch, SEARCH_SETTINGS)):
        names = {each.name for each in settings}
        assert {param.name for param in kind().params} == names
        starts = {each.name for each in settings if each.starts}
        taken = set(inspect.signature(kind).parameters)
        assert taken == (names if kind is GaussianMixture else names - starts)
        assert taken == set(inspect.signature(kind.setParams).parameters) - {"self"}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_getters_and_setters_say_what_they_are_of(setting) -> None:
    for way in ("get", "set"):
        method = getattr(GaussianMixture, way + capital(setting.name))
        assert setting.name in method.__doc__
        assert inspect.signature(method).parameters.keys() >= {"self"}


@pytest.mark.parametrize("kind", [GaussianMixture, GaussianMixtureSearch])
@pytest.mark.parametrize("way", ["constructor", "setParams"])
def test_unknown_arguments_are_refused_by_name(kind, way) -> None:
    call = kind if way == "constructor" else kind().setParams
    with pytest.raises(TypeError, match="unexpected keyword argument 'clusters'"):
        call(clusters=3)
    with pytest.raises(TypeError, match="only takes keyword arguments"):
        call(3)


@pytest.mark.parametrize("setting", SPEC, ids=lambda setting: setting.name)
def test_a_setting_out_of_its_bounds_is_refused_before_anything_is_read(setting) -> None:
    for wrong in outside(setting):
        with pytest.raises(ConfigurationError, match=f"^{setting.name}"):
            GaussianMixture(**{setting.name: wrong}).check(ParquetTable("nowhere"))


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


@pytest.mark.parametrize("name", [each.name for each in SETTINGS if each.of_model])
def test_what_a_model_lets_be_set_returns_the_model(spark, name) -> None:
    given = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]])
    assert getattr(given, f"set{capital(name)}")(VALUES[name]) is given
    assert given.getOrDefault(name) == VALUES[name]


def test_what_a_model_does_not_let_be_set_has_no_setter() -> None:
    assert {name for name in dir(GaussianMixtureModel) if name.startswith("set")} == {
        "set",
        *(f"set{capital(each.name)}" for each in SETTINGS if each.of_model),
        "setInputExpressions",
    }


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
