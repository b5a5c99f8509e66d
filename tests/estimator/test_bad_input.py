"""Bad input: one clear error each, that names what was found, where, and in how many rows."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest
from pyspark.errors import PySparkException
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F

from gmm_spark import (
    GaussianMixture,
    GaussianMixtureModel,
    GaussianMixtureSearch,
    ParquetTable,
)
from gmm_spark.errors import ConfigurationError, InputDataError
from tests.estimator.helpers import table, vectors

INF, NAN = float("inf"), float("nan")


@pytest.fixture(scope="module")
def rows(groups) -> list[tuple[float, float]]:
    return [tuple(row) for row in groups[:20].tolist()]


def mixture(**params: Any) -> GaussianMixture:
    return GaussianMixture(**{"k": 2, "inputCols": ["x", "y"], "seed": 1, **params})


def held(spark: Any) -> int:
    """Tables and blocks that are kept on the cluster."""
    return spark.sparkContext._jsc.getPersistentRDDs().size()


def refusal(spark: Any, data: Any, kind: type[Exception] = InputDataError, **params: Any) -> str:
    """What a fit that ends with an error says; it leaves nothing on the cluster."""
    before = held(spark)
    with pytest.raises(kind) as caught:
        mixture(**params).fit(data)
    assert held(spark) == before
    return str(caught.value)


VALUES: dict[str, tuple[list[tuple[Any, Any]], str]] = {
    "null": ([(None, 1.0), (None, 2.0)], "column 'x': 2 null in 22 rows"),
    "nan": ([(1.0, NAN)], "column 'y': 1 NaN in 21 rows"),
    "null and nan": ([(None, 1.0), (NAN, 2.0)], "column 'x': 1 null and 1 NaN in 22 rows"),
    "infinity": ([(1.0, -INF), (2.0, INF)], "column 'y': 2 of 22 rows are infinite .*-inf"),
    "huge": ([(1e200, 1.0)], r"column 'x': 1 of 21 rows are beyond 1e\+150 \(the first: 1e\+200\)"),
    "huge of two": ([(1.0, 1.0), (INF, -1e151), (1.0, 2e151)], "column 'x': 1 of 23 .* infinite"),
}


@pytest.mark.parametrize("case", VALUES)
@pytest.mark.parametrize("source", ["dataframe", "parquet"])
def test_values_that_cannot_be_fitted(spark, rows, tmp_path, case, source) -> None:
    added, expected = VALUES[case]
    data: Any = table(spark, [*rows, *added], ["x", "y"], 2)
    if source == "parquet":
        data.write.parquet(str(tmp_path / "t"))
        data = ParquetTable(str(tmp_path / "t"))
    assert re.match(expected, refusal(spark, data))


def worker_said(action: Any) -> str:
    """The last line of what a worker ended with: the class of the error, and the sentence."""
    with pytest.raises(PySparkException) as caught:
        action()
    return [line for line in str(caught.value).splitlines() if line.strip()][-1]


@pytest.mark.parametrize("value", [INF, 1e200, -1e151])
def test_scoring_refuses_what_a_fit_refuses_in_the_same_words(spark, rows, model, value) -> None:
    data = table(spark, [*rows, (1.0, value)], ["x", "y"])
    said = refusal(spark, data)
    assert said.startswith("column 'y': 1 of 21 rows are ")
    for scored in (model.transform(data), model.impute(data)):
        assert worker_said(scored.count) == f"gmm_spark.errors.InputDataError: {said}"
    with pytest.raises(InputDataError) as caught:
        model.predict(Vectors.dense([1.0, value]))
    assert str(caught.value) == said.replace("of 21 rows", "of 1 rows")


@pytest.mark.long
def test_counts_are_refused_by_fits_and_scoring_in_the_same_words(spark) -> None:
    counted = {"inputCols": None, "countCols": ["n"], "numInit": 1}
    model = mixture(**counted).fit(table(spark, [(i % 5,) for i in range(40)], "n int"))
    for value in (-1.0, 1.5, 2.0**53, 1e300):
        data = table(spark, [(1.0,), (value,)], ["n"])
        said = refusal(spark, data, **counted)
        assert said.startswith("column 'n': 1 of 2 rows ")
        assert worker_said(model.transform(data).count).endswith(said)


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
@pytest.mark.parametrize("source", ["dataframe", "parquet"])
def test_a_scale_whose_squares_underflow_is_refused(
    spark, rows, tmp_path, covariance, source
) -> None:
    data: Any = table(spark, (np.array(rows) * 1e-170).tolist(), ["x", "y"])
    if source == "parquet":
        data.write.parquet(str(tmp_path / "t"))
        data = ParquetTable(str(tmp_path / "t"))
    said = refusal(spark, data, covarianceType=covariance)
    assert re.match(r"column 'x' has a standard deviation of \S+e-170; .* rescale", said)


def test_whole_numbers_beyond_what_float64_holds(spark) -> None:
    rows = [([2**53 + 1 + 2 * i, i % 7],) for i in range(40)]
    data = table(spark, rows, "features array<bigint>")
    model = mixture(k=1, inputCols=None).fit(data)
    assert model.transform(data).count() == 40
    labelled = table(spark, [(float(i % 7), 2**53 + 1 + i) for i in range(20)], "x double, id long")
    said = refusal(spark, labelled, inputCols=["x"], labelCol="id")
    assert re.match(r"label column 'id': 20 of 20 rows hold .* \(one: 9.0\d+e\+15\)", said)
    # As labels of a start two of these would be one, and any number of them is taken.
    said = refusal(spark, labelled, inputCols=["x"], initialLabelCol="id")
    assert re.match(r"label column 'id': 90071992547\d+ is not under 2\^53, from where on", said)


WEIGHTS: dict[str, tuple[list[Any], str]] = {
    "negative": ([1.0] * 18 + [-2.0, -3.0], r"weight column 'w': 2 of 20 rows are negative .*-2"),
    "all zero": ([0.0] * 20, "weight column 'w': the weights of all rows sum to 0"),
    "null": ([1.0] * 19 + [None], "column 'w': 1 null in 20 rows"),
    "infinite": ([1.0] * 19 + [INF], "column 'w': 1 of 20 rows are infinite .*inf"),
    "huge": ([1.0] * 18 + [1e200, 1e300], r"column 'w': 2 of 20 rows are beyond 1e\+150"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_cannot_be_used(spark, rows, case) -> None:
    weights, expected = WEIGHTS[case]
    data = table(spark, [(*r, w) for r, w in zip(rows, weights, strict=True)], ["x", "y", "w"])
    assert re.match(expected, refusal(spark, data, weightCol="w"))


@pytest.mark.parametrize("source", ["dataframe", "parquet"])
def test_columns_that_are_not_there_or_not_numbers(spark, rows, tmp_path, source) -> None:
    data: Any = table(spark, [(a, "b") for a, _ in rows], "x double, y string")
    if source == "parquet":
        data.write.parquet(str(tmp_path / "t"))
        data = ParquetTable(str(tmp_path / "t"))
    assert "column 'y' has type string, a number is needed" in refusal(spark, data)
    absent = refusal(spark, data, inputCols=["x", "z"])
    assert re.search(r"no column 'z' in .*; it has: x, y$", absent)
    absent = refusal(spark, data, inputCols=["x"], weightCol="z")
    assert re.search(r"no column 'z' in .*; it has: x, y$", absent)


def test_empty_tables(spark, tmp_path) -> None:
    empty = table(spark, [], ["x", "y"])
    assert refusal(spark, empty) == "there are no rows in the data"
    empty.write.parquet(str(tmp_path / "t"))
    assert refusal(spark, ParquetTable(str(tmp_path / "t"))) == "there are no rows in the data"
    said = refusal(spark, vectors(spark, []), inputCols=None)
    assert "no rows with a value in column 'features'" in said
    gaps = table(spark, [(None, 1.0), (2.0, NAN)], ["x", "y"])
    assert refusal(spark, gaps, missing="skip").startswith("all 2 rows have a gap")


def test_a_table_that_is_not_there(spark) -> None:
    said = refusal(spark, ParquetTable("not/there"), ConfigurationError)
    assert said == "there is no table at not/there"


def test_more_components_than_rows_or_distinct_rows(spark, rows) -> None:
    few = table(spark, rows[:3], ["x", "y"])
    assert refusal(spark, few, k=4) == "k is 4, but there are only 3 rows; use a smaller k"
    copies = table(spark, rows[:2] * 6, ["x", "y"])
    assert re.match("k is 3, but .* 12 rows .* only 2 distinct", refusal(spark, copies, k=3))


def test_vectors_of_different_lengths(spark, rows) -> None:
    good = [Vectors.dense(row) for row in rows]
    data = vectors(spark, [*good, Vectors.dense([1, 2, 3]), Vectors.sparse(3, [0], [1])], 2)
    said = refusal(spark, data, inputCols=None)
    assert re.match(r"column 'features': 2 of 22 rows .* \(3, for instance\) .* which has 2", said)


@pytest.mark.parametrize("first", [True, False])
def test_vectors_that_are_null(spark, rows, first) -> None:
    good = [Vectors.dense(row) for row in rows]
    data = vectors(spark, [None, *good] if first else [*good, None])
    assert re.match(r"column 'features.*': 1 null in 21 rows", refusal(spark, data, inputCols=None))


def test_vectors_with_values_that_cannot_be_fitted(spark, rows) -> None:
    good = [Vectors.dense(row) for row in rows]
    data = vectors(spark, [*good, Vectors.dense([1, INF])])
    said = refusal(spark, data, inputCols=None)
    assert re.match(r"column 'features\[1\]': 1 of 21 rows are infinite .*inf", said)
    empty = vectors(spark, [Vectors.dense([])])
    assert refusal(spark, empty, inputCols=None).startswith("column 'features': the first row")


@pytest.mark.parametrize(
    ("schema", "value", "kind"),
    [
        ("features double", 1.0, "double"),
        ("features array<string>", ["a"], "array<string>"),
        ("other double", 1.0, None),
    ],
)
def test_a_features_column_that_holds_no_vectors(spark, schema, value, kind) -> None:
    said = refusal(spark, table(spark, [(value,)], schema), inputCols=None)
    expected = f"column 'features' has type {kind}" if kind else "no column 'features'.*: other$"
    assert re.search(expected, said)


PARAMS: dict[str, tuple[dict[str, Any], str]] = {
    "k": ({"k": 0}, "k is 0; it must be at least 1"),
    "negative k": ({"k": -3}, "k is -3; it must be at least 1"),
    "maxIter": ({"maxIter": -1}, "maxIter is -1"),
    "tol": ({"tol": -1e-3}, r"tol is -0\.001"),
    "nan tol": ({"tol": NAN}, "tol is nan"),
    "numInit": ({"numInit": 0}, "numInit is 0"),
    "sampleSize": ({"sampleSize": -1}, "sampleSize is -1"),
    "aggregationDepth": ({"aggregationDepth": 0}, "aggregationDepth is 0"),
    "covarianceFloor": ({"covarianceFloor": 1.5}, r"covarianceFloor is 1\.5"),
    "initMode": ({"initMode": "warp"}, "initMode is 'warp'; it must be one of k-means, "),
    "covarianceType": ({"covarianceType": "XXX"}, "covarianceType: 'XXX' is not known; .* full"),
    "missing": ({"missing": "drop"}, "missing is 'drop'; it must be one of error, skip, marg"),
    "no columns": ({"inputCols": []}, "name at least one column"),
    "the same column": ({"inputCols": ["x", "x"]}, r"inputCols is \['x', 'x'\]"),
}


@pytest.mark.parametrize("case", PARAMS)
def test_params_are_checked_before_the_data_are_looked_at(spark, case) -> None:
    given, expected = PARAMS[case]
    unreadable = table(spark, [("x",)], "s string")
    assert re.search(expected, refusal(spark, unreadable, ConfigurationError, **given))


@pytest.mark.parametrize("given", [{"k": "two"}, {"covarianceFloor": "low"}, {"tol": "x"}])
def test_a_param_of_another_type_is_refused_when_it_is_set(given) -> None:
    with pytest.raises(TypeError, match=next(iter(given))):
        mixture(**given)


TAKEN: dict[str, tuple[dict[str, Any], str]] = {
    "an input": ({"predictionCol": "x"}, "x exist already"),
    "a column beside": ({"probabilityCol": "note"}, "note exist already"),
    "density": ({"logLikelihoodCol": "note"}, "note exist already"),
    "uncertainty": ({"uncertaintyCol": "y"}, "y exist already"),
    "outlier": ({"outlierCol": "note", "contamination": 0.1}, "note exist already"),
    "outlier by threshold": ({"outlierCol": "note", "outlierThreshold": -9.0}, "note exist"),
    "but for the case": ({"predictionCol": "NOTE"}, r"NOTE \(as note\) exist already"),
    "one name but for the case": ({"probabilityCol": "Prediction"}, "two have the same name"),
    "one name": ({"predictionCol": "p", "probabilityCol": "p"}, "two have the same name"),
    "one name of ours": ({"uncertaintyCol": "u", "logLikelihoodCol": "u"}, "the same name"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_output_columns_that_are_taken_are_refused_before_a_row_is_read(spark, case) -> None:
    given, expected = TAKEN[case]
    columns = (F.raise_error(F.lit("read")).cast("double").alias(name) for name in ("x", "y"))
    unread = spark.range(9).select(*columns, F.lit("a").alias("note"))
    assert re.search(expected, refusal(spark, unread, ConfigurationError, **given))
    with pytest.raises(ConfigurationError, match=expected):
        GaussianMixtureSearch(k=[1, 2], inputCols=["x", "y"], **given).fit(unread)


def test_case_alone_tells_output_columns_apart_where_spark_does(spark, rows) -> None:
    data = table(spark, [(*row, 1.0) for row in rows], ["x", "y", "Prediction"])
    given = {"numInit": 1, "maxIter": 1}
    with pytest.raises(ConfigurationError, match=r"prediction \(as Prediction\) exist already"):
        mixture(**given).fit(data)
    spark.conf.set("spark.sql.caseSensitive", "true")
    try:
        model = mixture(**given).fit(data)
        found = model.transform(data).agg(F.max("Prediction"), F.max("prediction")).first()
    finally:
        spark.conf.unset("spark.sql.caseSensitive")
    assert tuple(found) == (1.0, 1)


def test_output_columns_of_a_table_must_not_be_what_is_read_of_it(spark, rows, tmp_path) -> None:
    table(spark, rows, ["x", "y"]).withColumn("p", F.lit(1)).write.parquet(str(tmp_path / "t"))
    whole, kept = (ParquetTable(str(tmp_path / "t"), columns=c) for c in (None, ("x", "p")))
    for data, name in ((whole, "x"), (kept, "p")):
        said = refusal(spark, data, ConfigurationError, predictionCol=name)
        assert f"{name} exist already" in said


def test_a_column_that_is_not_taken_after_all(spark, rows) -> None:
    data = table(spark, [(*row, 1.0) for row in rows], ["x", "y", "outlier"])
    model = mixture(numInit=1, maxIter=1, predictionCol="").fit(data)
    assert model.summary.predictions.columns == ["x", "y", "outlier", "probability"]


def test_starts_that_do_not_fit_the_rest(spark, rows, frame, model) -> None:
    said = refusal(spark, frame, ConfigurationError, initialModel=model)
    assert said == "k is 2, but initialModel has 3 components"
    said = refusal(spark, frame, ConfigurationError, initialModel=model, k=3, inputCols=["x"])
    assert said == (
        "initialModel has the columns x, y, the data x; they must be the same: y is not in the data"
    )
    both = {"initialModel": model, "k": 3, "initialLabelCol": "x"}
    assert "not both" in refusal(spark, frame, ConfigurationError, **both)
    labelled = table(spark, [(*row, 1.0) for row in rows], ["x", "y", "l"])
    said = refusal(spark, labelled, initialLabelCol="l")
    assert re.match(r"label column 'l' has 1 distinct values \(1\), k is 2", said)
    labelled = table(spark, [(*row, 1.5) for row in rows], ["x", "y", "l"])
    said = refusal(spark, labelled, initialLabelCol="l")
    assert said.startswith("label column 'l': 1.5 is not a whole number")


def test_without_a_floor_constant_and_collinear_columns_are_refused(spark, groups) -> None:
    x, y = groups.T
    rows = np.column_stack([x, y, np.full(300, 4.0), 2 * x - y])
    data = table(spark, rows, ["x", "y", "same", "sum"])
    given = {"covarianceFloor": 0.0, "inputCols": ["x", "y", "same"]}
    assert refusal(spark, data, **given).startswith("constant columns (same) have no likelihood")
    given["inputCols"] = ["x", "y", "sum"]
    assert refusal(spark, data, **given).startswith("columns x, y, sum are exactly collinear")


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "expected"),
    [
        ([0.5, 0.4], [[0.0], [1.0]], [[[1.0]], [[1.0]]], "sum to 1, they sum to 0.9"),
        ([1.5, -0.5], [[0.0], [1.0]], [[[1.0]], [[1.0]]], "at least 0"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]], "not positive definite"),
        ([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.2, 1.0]]], "not symmetric"),
        ([1.0], [[0.0]], [[[0.0]]], "a variance is not positive"),
        ([1.0], [[NAN]], [[[1.0]]], "not finite"),
        ([0.5, 0.5], [[0.0]], [[[1.0]]], "do not match"),
        ([1.0], [[0.0]], [[1.0]], r"shape \(1, 1\), expected \(1, 1, 1\)"),
    ],
)
def test_parameters_that_are_no_mixture(spark, weights, means, covariances, expected) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        GaussianMixtureModel.fromParameters(weights, means, covariances)


def test_a_model_without_a_fit_has_no_summary(spark) -> None:
    given = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]])
    assert not given.hasSummary
    with pytest.raises(RuntimeError, match="did not come from a fit"):
        given.summary  # noqa: B018
    with pytest.raises(ConfigurationError, match="no parameters"):
        GaussianMixtureModel().weights  # noqa: B018


@pytest.mark.parametrize("as_table", [True, False])
def test_a_module_that_the_workers_lack_is_named(spark, rows, tmp_path, monkeypatch, as_table):
    frame = spark.createDataFrame(rows, ["x", "y"])
    frame.write.parquet(str(tmp_path / "rows"))
    bare = tmp_path / "python"  # without what is installed beside it
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(spark.sparkContext, "pythonExec", str(bare))
    data = ParquetTable(str(tmp_path / "rows")) if as_table else frame
    said = refusal(spark, data, ConfigurationError)
    assert re.search("no module '(numpy|pyarrow)'.* PYSPARK_PYTHON", said)
    assert sys.executable in said
