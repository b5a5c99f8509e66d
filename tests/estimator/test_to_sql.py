"""toSQL run by Spark and by DuckDB gives what transform gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gmm_spark import GaussianMixture, GaussianMixtureModel, Preparation
from tests.estimator.helpers import table
from tests.mixture.reference import random_parameters
from tests.test_statement import on_duckdb

# A key word, quotes, a blank, a backtick.
RENAMED = {
    "tenure": "order",
    "MonthlyCharges": 'monthly "charges"',
    "Contract": "it's a `contract`",
    "InternetService": "Internet.Service",
}


def assert_transformed(
    model: GaussianMixtureModel, rows: Any, found: pd.DataFrame, gaps: int
) -> None:
    """Of so many rows all is null; of all others every number is equal to 1e-9."""
    model = model.copy().setLogLikelihoodCol("log_density").setUncertaintyCol("uncertainty")
    expected = model.transform(rows).orderBy("id").toPandas()
    found = found.sort_values("id", ignore_index=True)
    assert_array_equal(found["id"], expected["id"])
    scored = found["log_density"].notna()
    assert (~scored).sum() == gaps
    assert found.loc[~scored, "prediction":].isna().all(axis=None)
    found, expected = found[scored], expected[scored]
    columns = [name for name in found if name.startswith("probability_")]
    probability = np.stack([one.toArray() for one in expected["probability"]])
    assert_allclose(found[columns].to_numpy(float), probability, rtol=0, atol=1e-9)
    for name in ("log_density", "uncertainty"):
        if name in found:
            assert_allclose(found[name].astype(float), expected[name], rtol=1e-9, atol=1e-9)
    for name in ("prediction", "outlier"):
        if name in expected:
            assert_array_equal(found[name].astype(int), expected[name].astype(int))


@pytest.fixture(scope="module")
def customers(spark: Any, shared_data: Path) -> Any:
    path = shared_data / "telco_churn" / "Telco-Customer-Churn.csv"
    raw = pd.read_csv(path, dtype={"TotalCharges": str}).drop(columns="Churn")
    raw = raw.rename(columns=RENAMED).reset_index(names="id")
    raw.loc[raw["id"] % 50 == 7, "it's a `contract`"] = None
    raw.loc[raw["id"] % 40 == 3, 'monthly "charges"'] = np.nan
    frame = spark.createDataFrame(raw.astype(object).where(raw.notna(), None)).coalesce(2)
    frame.createOrReplaceTempView("t")
    return frame, raw


@pytest.mark.long
def test_telco_with_categories_and_gaps(spark, customers) -> None:
    """Names with quotes, blanks, key words; an expression; 11 totals and 176 charges missing."""
    frame, raw = customers
    expression = "ln(try_cast(TotalCharges AS DOUBLE)) AS `log total`"
    model = GaussianMixture(
        k=4,
        inputCols=["order", 'monthly "charges"', "log total"],
        categoricalCols=["it's a `contract`", "Internet.Service", "SeniorCitizen"],
        missing="marginalize",
        contamination=0.02,
        numInit=1,
        maxIter=6,
        seed=3,
    ).fit(frame.selectExpr("*", expression))
    model.setInputExpressions([expression]).setUncertaintyCol("uncertainty")
    patterns = {tuple(one["columns"]) for one in model.summary.gapPatterns}
    assert patterns == {("log total",), ('monthly "charges"',)}
    made = frame.selectExpr("*", expression)
    assert_transformed(model, made, spark.sql(model.toSQL("spark", "t")).toPandas(), 0)
    found = on_duckdb(model.toSQL("duckdb", "t", keep=["id", "it's a `contract`"]), raw)
    assert_transformed(model, made, found, 0)
    fewer = on_duckdb(model.toSQL("duckdb", "t", maxPatterns=1), raw)
    assert_transformed(model, made, fewer, 11)


@pytest.mark.long  # Spark compiles such statements for seconds
def test_telco_prepared(spark, customers) -> None:
    frame, raw = customers
    raw = raw.assign(since=pd.Timestamp("2020-01-01") + pd.to_timedelta(raw["id"] % 900, unit="D"))
    raw["since"] = raw["since"].dt.strftime("%Y-%m-%d").where(raw["id"] % 60 != 5)
    frame = spark.createDataFrame(raw.astype(object).where(raw.notna(), None)).coalesce(2)
    frame = frame.withColumn("since", frame["since"].cast("date"))
    preparation = Preparation(idCol="id").fit(frame.drop("customerID", "TotalCharges"))
    assert any("unix_date" in one for one in preparation.expressions)
    made = preparation.transform(frame)
    model = GaussianMixture(
        k=3, missing="marginalize", numInit=1, maxIter=3, seed=3, **preparation.inputs
    ).fit(made)
    model.setInputExpressions(preparation.expressions)
    frame.createOrReplaceTempView("t")
    found = spark.sql(model.toSQL("spark", "t", keep="id")).toPandas()
    assert_transformed(model, made, found, 0)
    dated = model.toSQL("duckdb", "t", keep="id")
    assert_transformed(model, made, on_duckdb(dated, raw), 0)


@pytest.mark.long  # Spark compiles such statements for seconds
def test_twenty_columns_and_eight_segments(spark) -> None:
    parameters = random_parameters("VVV", 8, 20)
    names = [f"c{j}" for j in range(20)]
    model = GaussianMixtureModel.fromParameters(
        parameters.weights, parameters.means, parameters.covariances, inputCols=names
    )
    rows = np.random.default_rng(1).normal(size=(1000, 20)) * 3
    frame = table(spark, np.c_[np.arange(1000), rows], ["id", *names], 2)
    frame.createOrReplaceTempView("t")
    found = spark.sql(model.toSQL("spark", "t", keep=["id"])).toPandas()
    assert_transformed(model, frame, found, 0)


def test_patterns_of_gaps_are_kept_on_save(spark, tmp_path) -> None:
    rows = [(float(i % 7), None if i % 5 == 0 else float(i % 3)) for i in range(60)]
    frame = table(spark, rows, "x double, y double")
    model = GaussianMixture(
        k=2, inputCols=["x", "y"], missing="marginalize", numInit=1, maxIter=2
    ).fit(frame)
    model.save(str(tmp_path / "m"))
    loaded = GaussianMixtureModel.load(str(tmp_path / "m"))
    assert loaded.summary.gapPatterns == [{"columns": ["y"], "share": 0.2}]
    assert loaded.toSQL("spark", "t") == model.toSQL("spark", "t")
