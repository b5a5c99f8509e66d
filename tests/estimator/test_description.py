"""A model as a table of its segments, and as one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmm_spark import GaussianMixture, GaussianMixtureModel
from gmm_spark.summary import GaussianMixtureSummary, few


@pytest.fixture(scope="module")
def given() -> GaussianMixtureModel:
    """Two segments of two numbers, a count and a category, and noise."""
    return GaussianMixtureModel.fromParameters(
        weights=[0.6, 0.3],
        means=[[1.0, 10.0], [2.0, 20.0]],
        covariances=[[[4.0, 1.0], [1.0, 9.0]], [[16.0, 0.0], [0.0, 25.0]]],
        inputCols=["tenure", "a.b"],
        categories={"plan": (["basic", "full"], [[0.9, 0.1], [0.25, 0.75]])},
        countCols=["calls"],
        rates=[[3.0], [0.5]],
        noiseWeight=0.1,
        noiseBox={"tenure": (0.0, 9.0), "a.b": (0.0, 90.0), "calls": (0, 9)},
    )


SCHEMA = [
    ("segment", "int"), ("weight", "double"), ("size", "bigint"),
    ("tenure_mean", "double"), ("tenure_sd", "double"), ("a.b_mean", "double"),
    ("a.b_sd", "double"), ("calls_rate", "double"), ("plan_value", "string"),
    ("plan_probability", "double"),
]  # fmt: skip
ROWS = [
    (0, 0.6, None, 1.0, 2.0, 10.0, 3.0, 3.0, "basic", 0.9),
    (1, 0.3, None, 2.0, 4.0, 20.0, 5.0, 0.5, "full", 0.75),
    (-1, 0.1, None, None, None, None, None, None, None, None),
]


def test_the_segments_of_numbers_counts_categories_and_noise(spark, given) -> None:
    described = given.describe()
    assert described.dtypes == SCHEMA
    assert [tuple(row) for row in described.collect()] == ROWS


def test_a_loaded_model_describes_itself_as_it_did(spark, given, model, tmp_path) -> None:
    for number, one in enumerate((given, model)):
        one.save(str(tmp_path / str(number)))
        loaded = GaussianMixtureModel.load(str(tmp_path / str(number)))
        assert loaded.describe().dtypes == one.describe().dtypes
        assert loaded.describe().collect() == one.describe().collect()
        assert str(loaded) == str(one)
        assert loaded._repr_html_() == one._repr_html_()


def test_sizes_are_the_rows_that_are_predicted(model, frame) -> None:
    counted = model.transform(frame).groupBy("prediction").count().collect()
    sizes = {row["segment"]: row["size"] for row in model.describe().collect()}
    assert sizes == {row["prediction"]: row["count"] for row in counted}
    joined = model.describe().withColumnRenamed("segment", "prediction")
    assert joined.join(model.transform(frame), "prediction").count() == 300


@pytest.mark.parametrize(
    ("code", "covariances", "deviations"),
    [
        ("tied", [[4.0, 1.0], [1.0, 9.0]], [[2.0, 3.0], [2.0, 3.0]]),
        ("diag", [[4.0, 9.0], [1.0, 25.0]], [[2.0, 3.0], [1.0, 5.0]]),
        ("spherical", [4.0, 9.0], [[2.0, 2.0], [3.0, 3.0]]),
    ],
)
def test_deviations_of_every_structure_and_names_of_vectors(
    spark, code, covariances, deviations
) -> None:
    one = GaussianMixtureModel.fromParameters(
        [0.5, 0.5], [[1.0, 10.0], [2.0, 20.0]], covariances, covarianceType=code
    )
    rows = one.describe().collect()
    found = [[row["features_0_sd"], row["features_1_sd"]] for row in rows]
    assert_allclose(found, deviations)
    assert [row["features_1_mean"] for row in rows] == [10.0, 20.0]


def test_the_line_begins_as_mllibs_and_names_the_columns(given, model) -> None:
    mllib = f"GaussianMixtureModel: uid={model.uid}, k=3, numFeatures=2"
    assert str(model) == f"{mllib}, covarianceType=full, inputCols=[x, y]"
    assert repr(model) == str(model)
    assert str(given).endswith(
        "k=2, numFeatures=2, covarianceType=full, inputCols=[tenure, a.b], "
        "categoricalCols=[plan], countCols=[calls], noiseWeight=0.1"
    )
    vectors = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [1.0], covarianceType="spherical")
    assert str(vectors).endswith(
        "k=1, numFeatures=1, covarianceType=spherical, featuresCol=features"
    )
    assert str(GaussianMixtureModel()).endswith(", no parameters")
    assert str(model) in GaussianMixture(k=3, initialModel=model).explainParam("initialModel")


def test_a_line_of_many_columns_counts_them() -> None:
    assert few(["a", "b"]) == "[a, b]"
    assert few(range(64)) == "[0, 1, 2, 3, 4, 5, 6, 7, ... 64 in all]"


def summary(**changes: Any) -> GaussianMixtureSummary:
    values: dict[str, Any] = {
        "k": 2, "numFeatures": 3, "logLikelihood": -1234.5678, "meanLogLikelihood": -1.2,
        "numIter": 4, "numPasses": 5, "converged": True, "reason": "converged",
        "history": [{"pass": n} for n in range(50)], "aic": 2500.0, "bic": 2512.25, "icl": 2513.0,
        "clusterSizes": [700, 300], "warnings": [], "numRows": 1000, "numSkipped": 0,
        "weightSum": 1000.0, "numParameters": 19,
    }  # fmt: skip
    return GaussianMixtureSummary(**{**values, **changes})


def test_a_summary_is_one_short_line() -> None:
    assert repr(summary()) == (
        "GaussianMixtureSummary: k=2, numFeatures=3, numRows=1000, logLikelihood=-1234.57, "
        "bic=2512.25, clusterSizes=[700, 300], converged after 5 passes"
    )
    other = summary(
        converged=False, reason="max_iterations", numPasses=1, warnings=["a: b", "c: d"]
    )
    assert repr(other).endswith("not converged (max_iterations) after 1 pass, 2 warnings")
    many = summary(k=200, clusterSizes=np.arange(200).tolist(), warnings=["a: b"])
    assert len(repr(many)) < 250
    assert repr(many).endswith("1 warning")
