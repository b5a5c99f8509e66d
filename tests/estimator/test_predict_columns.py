"""Mixture regression through Spark: it is the formula written out, of both sources."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F
from scipy.stats import multivariate_normal, poisson

from gmm_spark import GaussianMixtureModel, ParquetTable
from gmm_spark.errors import ConfigurationError, InputDataError
from tests.estimator.helpers import table, vectors

TABLE = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
RATES = np.array([2.0, 7.0])


@pytest.fixture(scope="module")
def model() -> GaussianMixtureModel:
    return GaussianMixtureModel.fromParameters(
        [0.6, 0.4],
        [[0.0, 1.0, -1.0], [2.0, -1.0, 3.0]],
        [
            [[1.0, 0.6, 0.2], [0.6, 2.0, -0.3], [0.2, -0.3, 1.5]],
            [[2.0, -0.9, 0.0], [-0.9, 1.0, 0.4], [0.0, 0.4, 3.0]],
        ],
        inputCols=["x", "y", "z"],
        categories={"plan": (["a", "b", "(other)"], TABLE)},
        countCols=["visits"],
        rates=RATES[:, None],
    )


ROWS = [(0.5, 1.0, "a", 3), (3.0, -2.0, "b", 9), (1.0, 0.0, "never seen", 0)]


@pytest.fixture(scope="module")
def data(spark):
    """The targets are not there."""
    return table(
        spark,
        [(i, *row) for i, row in enumerate(ROWS)],
        "id int, x double, z double, plan string, visits int",
        2,
    )


def shares(model: GaussianMixtureModel, row: tuple, given: list[int]) -> np.ndarray:
    """Probabilities of the components given x and z, the plan and the visits, or some of them."""
    joint = np.array(model.weights)
    numbers = [place for place in (0, 2) if place in given]
    values = [row[0] if place == 0 else row[1] for place in numbers]
    for k in (0, 1):
        if numbers:
            part = model.means[k][numbers], model.covariances[k][np.ix_(numbers, numbers)]
            joint[k] *= multivariate_normal(*part).pdf(values)
        if 3 in given:
            joint[k] *= TABLE[k, {"a": 0, "b": 1}.get(row[2], 2)]
        if 4 in given:
            joint[k] *= poisson(RATES[k]).pmf(row[3])
    return joint / joint.sum()


def test_a_number_has_the_mean_and_deviation_of_the_formula(model, data) -> None:
    found = {row["id"]: row for row in model.predictColumns(data, "y").collect()}
    for number, row in enumerate(ROWS):
        share, means, variances = shares(model, row, [0, 2, 3, 4]), np.zeros(2), np.zeros(2)
        for k, covariance in enumerate(model.covariances):
            inverse = np.linalg.inv(covariance[np.ix_([0, 2], [0, 2])])
            across = covariance[1, [0, 2]] @ inverse
            means[k] = model.means[k][1] + across @ (np.array(row[:2]) - model.means[k][[0, 2]])
            variances[k] = covariance[1, 1] - across @ covariance[[0, 2], 1]
        mean = share @ means
        deviation = np.sqrt(share @ (variances + means**2) - mean**2)
        assert_allclose(found[number]["y_mean"], mean, rtol=1e-10)
        assert_allclose(found[number]["y_sd"], deviation, rtol=1e-10)


def test_categories_have_probabilities_and_counts_means(model, data) -> None:
    frame = model.predictColumns(data.drop("plan", "visits"), ["plan", "visits"], ["x", "z"])
    assert frame.columns == [
        "id", "x", "z", "plan_value", "plan_probability", "plan_probabilities",
        "visits_mean", "visits_sd",
    ]  # fmt: skip
    for row in frame.collect():
        share = shares(model, ROWS[row["id"]], [0, 2])
        chances = share @ TABLE
        assert_allclose(row["plan_probabilities"], chances, rtol=1e-10)
        assert row["plan_value"] == ["a", "b", "(other)"][chances.argmax()]
        assert_allclose(row["plan_probability"], chances.max(), rtol=1e-10)
        mean = share @ RATES
        assert_allclose(row["visits_mean"], mean, rtol=1e-10)
        assert_allclose(row["visits_sd"] ** 2, share @ (RATES + RATES**2) - mean**2, rtol=1e-10)


def test_of_nothing_given_it_is_the_mixtures_own_mean(model, data) -> None:
    (row, *_) = model.predictColumns(data.select("id"), ["x", "plan"], []).collect()
    assert_allclose(row["x_mean"], np.array(model.weights) @ model.means[:, 0], rtol=1e-10)
    assert_allclose(row["plan_probabilities"], np.array(model.weights) @ TABLE, rtol=1e-10)


def test_what_the_target_is_in_the_data_makes_no_difference(model, data) -> None:
    expected = [row["y_mean"] for row in model.predictColumns(data, "y").orderBy("id").collect()]
    with_it = data.selectExpr("*", "'far' as y")
    found = [row["y_mean"] for row in model.predictColumns(with_it, "y").orderBy("id").collect()]
    assert found == expected


def test_a_parquet_table_is_predicted_as_its_rows_are(model, data, tmp_path) -> None:
    data.write.parquet(str(tmp_path / "t"))
    found = model.predictColumns(ParquetTable(str(tmp_path / "t")), ["y", "plan"], "x")
    expected = model.predictColumns(data, ["y", "plan"], "x")
    assert sorted(found.collect()) == sorted(expected.collect())


def test_gaps_are_as_missing_says(model, data) -> None:
    gappy = data.selectExpr("id", "if(id = 1, null, x) as x", "z", "plan", "visits")
    with pytest.raises(Exception, match=r"1 of 1 rows have a gap, .* \(the first in column 'x'\)"):
        model.predictColumns(gappy.where("id = 1"), ["y"]).collect()
    marginal = model.copy().setMissing("marginalize").predictColumns(gappy, "y", ["x", "z"])
    without = model.predictColumns(data, "y", ["z"]).where("id = 1").first()
    assert marginal.where("id = 1").first()["y_mean"] == pytest.approx(without["y_mean"])
    skipped = model.copy().setMissing("skip").predictColumns(gappy, ["y", "plan"], ["x", "z"])
    for row in skipped.collect():
        for name in ("y_mean", "y_sd", "plan_value", "plan_probability", "plan_probabilities"):
            assert (row[name] is None) == (row["id"] == 1)


def test_what_cannot_be_predicted_is_one_clear_error(spark, model, data) -> None:
    with pytest.raises(ConfigurationError, match="column 'y' is a target and given"):
        model.predictColumns(data, ["y"], ["x", "y"])
    with pytest.raises(ConfigurationError, match=r"targets: there is no column 'visit'.*'visits'"):
        model.predictColumns(data, "visit")
    with pytest.raises(ConfigurationError, match="given: there is no column 'income'"):
        model.predictColumns(data, "y", ["x", "income"])
    with pytest.raises(ConfigurationError, match="targets names column 'y' twice"):
        model.predictColumns(data, ["y", "y"])
    with pytest.raises(ConfigurationError, match="targets is empty"):
        model.predictColumns(data, [])
    for wrong in (F.col("y"), 3, [F.col("y")], [1]):
        with pytest.raises(ConfigurationError, match="targets: expected the name of a column"):
            model.predictColumns(data, wrong)
        with pytest.raises(ConfigurationError, match="given: expected the name of a column"):
            model.predictColumns(data, "y", wrong)
    with pytest.raises(ConfigurationError, match="y_mean exist already"):
        model.predictColumns(data.withColumnRenamed("id", "y_mean"), "y")
    with pytest.raises(InputDataError, match="there is no column 'z'"):
        model.predictColumns(data.drop("z"), "y")
    with pytest.raises(InputDataError, match="predictColumns takes a Spark DataFrame"):
        model.predictColumns([1], "y")
    unnamed = GaussianMixtureModel.fromParameters([1.0], [[0.0, 0.0]], [np.eye(2)])
    with pytest.raises(ConfigurationError, match="takes columns by name"):
        unnamed.predictColumns(vectors(spark, [Vectors.dense(1.0, 2.0)]), "features_0")
