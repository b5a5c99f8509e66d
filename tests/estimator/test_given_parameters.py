"""`GaussianMixtureModel.fromParameters` with tables of categories, rates of counts and noise."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyspark.errors import PySparkException
from scipy.stats import norm, poisson

from gmm_spark import GaussianMixture, GaussianMixtureModel
from gmm_spark.errors import ConfigurationError
from tests.estimator.helpers import table

PLAN = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
GIVEN: dict[str, Any] = {
    "weights": [0.35, 0.6],
    "means": [[0.0], [10.0]],
    "covariances": [[1.0], [4.0]],
    "covarianceType": "diag",
    "inputCols": ["x"],
    "categories": {"plan": (["basic", "gold", "old"], PLAN), "paid": ([True, False], [[1, 0]] * 2)},
    "countCols": ["calls"],
    "rates": [[2.0], [7.0]],
    "noiseWeight": 0.05,
    "noiseBox": {"x": (-5.0, 20.0), "calls": (0, 19)},
}


def given(**changed: Any) -> GaussianMixtureModel:
    return GaussianMixtureModel.fromParameters(**{**GIVEN, **changed})


ROWS = [(1, 0.5, "basic", True, 3), (2, 9.0, "old", True, 8), (3, 4.0, None, True, 30)]
SCHEMA = "id int, x double, plan string, paid boolean, calls int"


def test_a_given_model_scores_fills_starts_and_comes_back(spark, tmp_path) -> None:
    frame = table(spark, ROWS, SCHEMA)
    given().setMissing("marginalize").save(str(tmp_path / "m"))
    model = GaussianMixtureModel.load(str(tmp_path / "m")).setLogLikelihoodCol("density")
    assert model.categories == {"plan": ["basic", "gold", "old"], "paid": ["true", "false"]}
    assert_array_equal(model.probabilities("plan"), PLAN)
    assert_array_equal(model.rates, GIVEN["rates"])
    assert model.noiseWeight == 0.05
    found = {row["id"]: row for row in model.transform(frame).collect()}
    for number, x, plan, _, calls in ROWS:
        joint = np.array([0.35, 0.6]) * norm.pdf(x, [0, 10], [1, 2]) * poisson.pmf(calls, [2, 7])
        # Noise: uniform over 25 units of x, 20 counts and the values of both categories.
        noise = 0.05 / 25 / 20 / 2
        if plan is not None:
            joint = joint * PLAN[:, ["basic", "gold", "old"].index(plan)]
            noise = noise / 3
        joint = np.append(joint, noise)
        assert_allclose(found[number]["density"], np.log(joint.sum()), rtol=1e-12)
        probability = found[number]["probability"].toArray()
        assert_allclose(probability, joint / joint.sum(), rtol=1e-9, atol=1e-300)
    assert found[3]["prediction"] == -1
    filled = {row["id"]: row["plan"] for row in model.impute(frame).collect()}
    assert filled[3] == "old"  # most probable where the calls are many
    estimator = GaussianMixture(
        k=2,
        inputCols=["x"],
        categoricalCols=["paid", "plan"],
        countCols=["calls"],
        covarianceType="diag",
        noise=True,
        missing="marginalize",
        initialModel=model,
        maxIter=0,
    )
    start = estimator.fit(frame)
    assert_allclose(start.means, GIVEN["means"])
    assert_allclose(start.weights, GIVEN["weights"])
    assert start.categories["paid"] == ["true"]  # there is no other in the data
    assert_allclose(start.probabilities("plan"), [[1, 0], [2 / 7, 5 / 7]], atol=1e-9)


def test_categories_and_counts_alone_are_a_model_too(tmp_path) -> None:
    model = GaussianMixtureModel.fromParameters(
        [0.5, 0.5],
        categories={"seats": ([1, 2], [[0.9, 0.1], [0.1, 0.9]])},
        countCols=["calls"],
        rates=[[1.0], [4.0]],
    )
    assert (model.numFeatures, model.getK()) == (0, 2)
    assert model.categories == {"seats": ["1", "2"]}
    for levels in (np.array([1.0, 2.0]), (seats for seats in (1, 2))):
        again = GaussianMixtureModel.fromParameters(
            [0.5, 0.5], categories={"seats": (levels, [[0.9, 0.1], [0.1, 0.9]])}
        )
        assert again.categories == model.categories
    assert json.dumps(model.getCategoricalCols()) == '["seats"]'


def test_impute_leaves_values_the_model_does_not_know(spark) -> None:
    rows = [(1, 0.5, "new", True, 3), (2, 9.0, None, True, 8)]
    filled = {row["id"]: row for row in given().impute(table(spark, rows, SCHEMA)).collect()}
    assert (filled[1]["plan"], filled[1]["plan_probability"]) == ("new", 1.0)
    assert filled[2]["plan"] == "old"
    assert 0.4 < filled[2]["plan_probability"] < 0.51


def test_a_gap_that_no_value_of_the_column_fills_is_named(spark) -> None:
    schema = SCHEMA.replace("plan string", "plan int")
    known = given().impute(table(spark, [(1, 0.5, 7, True, 3)], schema)).first()
    assert (known["plan"], known["plan_probability"]) == (7, 1.0)
    wrong = given().impute(table(spark, [(1, 0.5, None, True, 3)], schema))
    said = "'plan' has type int32, .* by a value of the model, 'basic'; cast the column to text"
    with pytest.raises(PySparkException, match=said):
        wrong.collect()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights": "half"}, "weights is 'half'; it must be an array of numbers"),
        ({"weights": [0.4, 0.6]}, r"weights sum to 1 and noiseWeight is 0\.05; together"),
        ({"covariances": None}, "means, but no covariances"),
        ({"inputCols": None}, "name the columns of the means with inputCols"),
        ({"inputCols": ["x", "y"]}, "inputCols names 2 columns, the means have 1"),
        ({"inputCols": ["plan"]}, "column plan is named twice"),
        ({"categories": {"plan": PLAN[0]}}, "must be a pair, values and their probabilities"),
        ({"categories": {"plan": (["a", "a", "b"], PLAN)}}, "the value 'a' twice"),
        ({"categories": {"plan": (["a", "b"], PLAN)}}, r"shape \(2, 3\), expected \(2, 2\)"),
        (
            {"categories": {"plan": (["a", "b"], [[0.5, 0.5], [0.5, 0.4]])}},
            r"'plan' in component 1 are \[0\.5, 0\.4\]; they must be at least 0 and sum to 1",
        ),
        ({"categories": {"p": (["a", "b"], [[1.5, -0.5]] * 2)}}, "in component 0 are"),
        ({"rates": [[1.0], [-2.0]]}, "'calls' has -2 in component 1"),
        ({"rates": [1.0, 2.0]}, r"shape \(2,\), expected \(2, 1\)"),
        ({"rates": None}, "countCols names calls, but there are no rates"),
        ({"countCols": None}, "rates are given without countCols"),
        ({"noiseWeight": 1.5}, r"noiseWeight is 1\.5"),
        ({"noiseBox": None}, "noiseWeight is given without noiseBox"),
        ({"noiseWeight": 0.0, "weights": [0.4, 0.6]}, "noiseBox is given, but noiseWeight is 0"),
        ({"noiseBox": {"x": (0, 1)}}, "'calls' is missing; expected x, calls"),
        ({"noiseBox": [(0, 1)]}, r"shape \(1, 2\), expected \(2, 2\): the lowest and the highest"),
        ({"noiseBox": [0, 1, 0, 9, 5]}, r"shape \(5,\), expected \(2, 2\)"),
        ({"noiseBox": {"x": 1, "calls": 2}}, r"shape \(2,\), expected \(2, 2\)"),
        ({"noiseWeight": "a bit"}, "noiseWeight is 'a bit'"),
        ({"noiseWeight": [0.05]}, r"noiseWeight is \[0.05\]; it must be a number"),
        ({"inputCols": "x"}, "inputCols is 'x'; it must be a list"),
        ({"countCols": "calls"}, "countCols is 'calls'; it must be a list"),
        ({"categories": [("plan", PLAN)]}, r"categories is \[.*; it must be a dictionary"),
        ({"categories": {"plan": (3, PLAN)}}, "'plan' is .*; it must be a pair, values and their"),
        ({"categories": {"plan": ("abc", PLAN)}}, "'plan' is .*; it must be a pair"),
        ({"categories": {"plan": ([None, "a", "b"], PLAN)}}, "has the value None; null is a gap"),
        ({"rates": [[2.0], [1e17]]}, r"'calls' has 1e\+17 in component 1.*under 2\^53"),
        ({"categories": {"plan": (["a", "(other)", "b"], PLAN)}}, "before its last value"),
        ({"covarianceType": 3}, "covarianceType: 3 is not known; use one of full"),
        ({"noiseBox": [(3, 3), (0, 9)]}, "'x' goes from 3 to 3"),
    ],
)
def test_what_is_no_mixture_is_named(changed, said) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        given(**changed)
    assert "\n" not in str(caught.value)
