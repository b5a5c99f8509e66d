"""Scoring tables: what the columns hold, gaps, bad rows, streams."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from chispa import assert_df_equality
from numpy.testing import assert_allclose, assert_array_equal
from pyspark.ml.linalg import SparseVector, Vectors
from pyspark.sql import functions as F
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from gmm_spark import GaussianMixture, GaussianMixtureModel
from gmm_spark.errors import ConfigurationError, InputDataError
from tests.estimator.helpers import table, vectors

INF, NAN = float("inf"), float("nan")
XYZ = ["x", "y", "z"]
WEIGHTS = [0.5, 0.3, 0.2]
MEANS = np.array([[0.0, 0.0, 0.0], [2.0, 1.0, -1.0], [0.0, 3.0, 2.0]])
COVARIANCES = np.array(
    [
        [[1.0, 0.5, 0.1], [0.5, 2.0, -0.3], [0.1, -0.3, 0.7]],
        [[0.5, 0.0, 0.2], [0.0, 0.9, 0.0], [0.2, 0.0, 3.0]],
        np.eye(3),
    ]
)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(8).normal([1, 1, 0], 2, size=(60, 3))


@pytest.fixture
def given(spark) -> GaussianMixtureModel:
    made = GaussianMixtureModel.fromParameters(WEIGHTS, MEANS, COVARIANCES, inputCols=XYZ)
    return made.setLogLikelihoodCol("density").setUncertaintyCol("doubt")


def log_joint(row: np.ndarray) -> np.ndarray:
    """log w_k + log density of what is observed of the row, component by component."""
    seen = np.flatnonzero(~np.isnan(row))
    return np.array(
        [
            np.log(w) + multivariate_normal.logpdf(row[seen], m[seen], c[np.ix_(seen, seen)])
            for w, m, c in zip(WEIGHTS, MEANS, COVARIANCES, strict=True)
        ]
    )


def assert_scored(scored: list[Any], rows: np.ndarray) -> None:
    for found, row in zip(scored, rows, strict=True):
        expected = log_joint(row)
        probability = np.exp(expected - logsumexp(expected))
        assert found["prediction"] == expected.argmax()
        assert_allclose(found["probability"].toArray(), probability, rtol=1e-9, atol=1e-15)
        assert_allclose(found["density"], logsumexp(expected), rtol=1e-10)
        assert_allclose(found["doubt"], 1 - probability.max(), atol=1e-12)


def test_scores_are_those_of_the_densities(spark, given, rows) -> None:
    assert_scored(given.transform(table(spark, rows, XYZ, 3)).collect(), rows)


def test_the_columns_have_the_types_pyspark_users_expect(spark, given, rows) -> None:
    schema = given.transform(table(spark, rows, XYZ)).schema
    added = {field.name: field.dataType.simpleString() for field in schema.fields[3:]}
    assert added == {
        "prediction": "int",
        "probability": "vector",
        "density": "double",
        "doubt": "double",
    }


def test_a_column_without_a_name_is_left_out(spark, given, rows) -> None:
    data = table(spark, rows, XYZ)
    only = given.setPredictionCol("").setUncertaintyCol("").transform(data)
    assert only.columns == [*XYZ, "probability", "density"]
    assert_allclose(only.first()["density"], logsumexp(log_joint(rows[0])), rtol=1e-10)


def test_the_other_columns_pass_through_whatever_they_hold(spark, given, rows) -> None:
    """Names with dots, spaces and backticks too, and a name that stands there twice."""
    n = 6
    schema = """id bigint, `a.b` string, `c d` timestamp, `e``f` date, g array<int>,
        h map<string, double>, i struct<j: int, `k.l`: string>, m decimal(20, 5), n binary,
        o boolean, p float, q string, `1` tinyint, x double, y double, z double"""
    others = (
        "text é",
        dt.datetime(2026, 1, 31, 23, 59, 59, 123456),
        dt.date(1969, 7, 20),
        [1, None, 3],
        {"a": 1.0},
        (1, "b"),
        Decimal("123456789012345.12345"),
        bytearray(b"\x00\xff"),
        True,
        0.5,
        None,
        7,
    )
    wide = table(spark, [(i, *others, *rows[i].tolist()) for i in range(n)], schema, 2)
    wide = wide.withColumn("v", F.lit(None).cast("string"))
    scored = given.transform(wide)
    assert scored.columns == [*wide.columns, "probability", "prediction", "density", "doubt"]
    kept = scored.drop("probability", "prediction", "density", "doubt")
    assert_df_equality(kept, wide, ignore_nullable=True)
    assert_scored(scored.collect(), rows[:n])
    twice = wide.select("id", "q", "x", "y", "z", F.col("id").alias("q"))
    assert given.transform(twice).columns[:6] == twice.columns
    assert_scored(given.transform(twice).collect(), rows[:n])


def test_a_vector_column_passes_through_as_it_was(spark, given, rows) -> None:
    data = [Vectors.dense(rows[0]), Vectors.sparse(3, [1], [2.5])]
    given = given.setFeaturesCol("features").clear(given.inputCols) or given
    scored = given.transform(vectors(spark, data)).collect()
    assert [row["features"] for row in scored] == data
    assert isinstance(scored[1]["features"], SparseVector)
    assert_scored(scored, np.array([rows[0], [0.0, 2.5, 0.0]]))


@pytest.mark.parametrize("kind", ["array<double>", "array<float>", "array<int>"])
def test_arrays_are_scored_as_vectors(spark, given, kind) -> None:
    given.clear(given.inputCols)
    values = np.array([[1, 2, 3], [-4, 0, 5]])
    cast = float if kind != "array<int>" else int
    data = table(spark, [([cast(v) for v in row],) for row in values], f"features {kind}")
    assert_scored(given.transform(data).collect(), values.astype(float))


def test_numbers_of_any_type_are_scored(spark, given) -> None:
    data = table(spark, [(3, Decimal("1.25"), True)], "x int, y decimal(10, 2), z boolean")
    assert_scored(given.transform(data).collect(), np.array([[3.0, 1.25, 1.0]]))


def with_gaps(rows: np.ndarray) -> list[list[float | None]]:
    """The rows with some cells null, some NaN."""
    cells = rows[:8].tolist()
    cells[1][0] = None
    cells[3][1] = NAN
    cells[4] = [None, cells[4][1], NAN]
    return cells


def as_nan(cells: list[list[float | None]]) -> np.ndarray:
    return np.array([[NAN if v is None else v for v in row] for row in cells])


def test_gaps_are_an_error_that_names_the_column(spark, given, rows) -> None:
    scored = given.transform(table(spark, with_gaps(rows), XYZ))
    with pytest.raises(Exception, match=r"3 of 8 rows have a gap \(the first in column 'x'\)"):
        scored.collect()


def test_rows_with_gaps_can_be_skipped(spark, given, rows) -> None:
    cells = with_gaps(rows)
    scored = given.setMissing("skip").transform(table(spark, cells, XYZ)).collect()
    gaps = np.isnan(as_nan(cells)).any(axis=1)
    assert gaps.sum() == 3
    for row in np.array(scored, dtype=object)[gaps]:
        assert tuple(row[3:]) == (None, None, None, None)
    kept = [row for row, gap in zip(scored, gaps, strict=True) if not gap]
    assert_scored(kept, as_nan(cells)[~gaps])


def test_rows_with_gaps_can_be_scored_on_what_is_observed(spark, given, rows) -> None:
    cells = with_gaps(rows)
    scored = given.setMissing("marginalize").transform(table(spark, cells, XYZ)).collect()
    assert_scored(scored, as_nan(cells))


def test_a_row_of_gaps_alone_has_the_weights_as_probabilities(spark, given) -> None:
    data = table(spark, [(None, NAN, None)], XYZ)
    (row,) = given.setMissing("marginalize").transform(data).collect()
    assert_allclose(row["probability"].toArray(), WEIGHTS)
    assert (row["prediction"], row["density"], row["doubt"]) == (0, 0.0, 0.5)


@pytest.mark.parametrize("kind", ["vector", "array"])
def test_null_vectors_are_rows_of_gaps(spark, given, rows, kind) -> None:
    given.clear(given.inputCols)
    if kind == "vector":
        data = vectors(spark, [Vectors.dense(rows[0]), None])
    else:
        data = table(spark, [(rows[0].tolist(),), (None,)], "features array<double>")
    with pytest.raises(Exception, match=r"1 of 2 rows have a gap .*'features\[0\]'"):
        given.transform(data).collect()
    skipped = given.setMissing("skip").transform(data).collect()
    assert tuple(skipped[1][1:]) == (None, None, None, None)
    assert_scored(skipped[:1], rows[:1])
    marginal = given.setMissing("marginalize").transform(data).collect()
    assert_allclose(marginal[1]["probability"].toArray(), WEIGHTS)


def test_infinities_are_an_error_that_names_the_column_and_the_value(spark, given, rows) -> None:
    for missing in ("error", "skip", "marginalize"):
        data = table(spark, [*rows[:3].tolist(), (1.0, -INF, 1.0)], XYZ)
        with pytest.raises(Exception, match=r"column 'y': 1 of 4 rows are infinite .*-inf"):
            given.setMissing(missing).transform(data).collect()


def test_vectors_of_another_length_are_an_error_that_names_the_column(spark, given, rows) -> None:
    given.clear(given.inputCols)
    data = vectors(spark, [Vectors.dense(rows[0]), Vectors.dense([1.0])])
    expected = r"column 'features': 1 of 2 rows .* \(1, for instance\) .* which has 3"
    with pytest.raises(Exception, match=expected):
        given.transform(data).collect()


def test_what_can_be_known_beforehand_is_said_before_anything_runs(spark, given, rows) -> None:
    data = table(spark, rows, XYZ)

    def refusal(kind: type[Exception], changed: GaussianMixtureModel, frame: Any = data) -> str:
        with pytest.raises(kind) as caught:
            changed.transform(frame)
        return str(caught.value)

    assert "x exist already" in refusal(ConfigurationError, given.copy().setPredictionCol("x"))
    same = given.copy().setPredictionCol("p").setProbabilityCol("p")
    assert "two have the same name" in refusal(ConfigurationError, same)
    assert "'drop' is not known" in refusal(ConfigurationError, given.copy().setMissing("drop"))
    fewer = given.copy().setInputCols(["x", "y"])
    assert "names 2 columns, the model was fitted on 3" in refusal(ConfigurationError, fewer)
    absent = refusal(InputDataError, given, data.drop("y"))
    assert absent == "there is no column 'y' in the data; it has: x, z"
    text = refusal(InputDataError, given, data.withColumn("y", F.lit("a")))
    assert "column 'y' has type string" in text
    given.clear(given.inputCols)
    assert "no column 'features'" in refusal(InputDataError, given)


def test_an_empty_table_is_scored_to_an_empty_table(spark, given) -> None:
    scored = given.transform(table(spark, [], XYZ))
    assert scored.columns == [*XYZ, "probability", "prediction", "density", "doubt"]
    assert scored.collect() == []


def test_one_row_is_scored_as_the_table_is(spark, given, rows) -> None:
    expected = log_joint(rows[5])
    assert given.predict(Vectors.dense(rows[5])) == expected.argmax()
    found = given.predictProbability(Vectors.dense(rows[5]))
    assert_allclose(found.toArray(), np.exp(expected - logsumexp(expected)), rtol=1e-9)
    sparse = given.predictProbability(Vectors.sparse(3, [1], [2.5])).toArray()
    assert_array_equal(sparse, given.predictProbability(Vectors.dense([0, 2.5, 0])).toArray())
    with pytest.raises(ConfigurationError, match="has 2 entries, the model 3 columns"):
        given.predict(Vectors.dense([1, 2]))


def test_a_stream_is_scored_as_a_table_is(spark, given, rows, tmp_path) -> None:
    source = str(tmp_path / "in")
    table(spark, rows, XYZ, 2).write.parquet(source)
    schema = "x double, y double, z double"
    stream = given.transform(spark.readStream.schema(schema).parquet(source))
    assert stream.isStreaming
    query = (
        stream.writeStream.format("memory")
        .queryName("scored")
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    try:
        assert query.awaitTermination(60)
        found = spark.table("scored")
        assert_df_equality(
            found, given.transform(spark.read.parquet(source)), ignore_row_order=True
        )
        assert found.count() == len(rows)
    finally:
        query.stop()
        spark.catalog.dropTempView("scored")


def test_columns_with_dots_and_spaces_are_fitted_and_scored(spark, groups) -> None:
    names = ["a.b", "c d"]
    plain = GaussianMixture(k=3, inputCols=["x", "y"], seed=2)
    expected = plain.fit(table(spark, groups, ["x", "y"]))
    odd = GaussianMixture(k=3, inputCols=names, seed=2, predictionCol="p.q", probabilityCol="r s")
    data = table(spark, groups, names)
    fitted = odd.fit(data)
    assert_array_equal(fitted.means, expected.means)
    found = fitted.transform(data).select("`r s`", "`p.q`").collect()
    same = expected.transform(table(spark, groups, ["x", "y"])).collect()
    assert [tuple(row) for row in found] == [tuple(row)[2:] for row in same]
    backtick = GaussianMixture(k=1, inputCols=["e`f"]).fit(table(spark, groups[:, :1], ["e`f"]))
    assert_allclose(backtick.means[0], groups[:, :1].mean(axis=0))
    assert re.fullmatch(r"e`f", backtick.getInputCols()[0])
