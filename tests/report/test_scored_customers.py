"""The table of scored customers, against the model's own outputs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gmm_spark import GaussianMixtureModel
from gmm_spark.errors import ConfigurationError
from gmm_spark.report.scored_customers import (
    COLUMNS,
    REASON_COLUMNS,
    density_percentiles,
    scored_customers,
)

NAMES = ["low", "it's \\ high", "far off"]


@pytest.fixture(scope="module")
def model() -> GaussianMixtureModel:
    return GaussianMixtureModel.fromParameters(
        [0.5, 0.3, 0.2], [[0.0], [2.0], [9.0]], [[[1.0]], [[1.0]], [[4.0]]], inputCols=["x"]
    ).setMissing("skip")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(0, 1, 500), rng.normal(2, 1, 300), rng.normal(9, 2, 200)])
    x[7] = np.nan
    return pd.DataFrame({"id": np.arange(1000), "x": x})


@pytest.fixture(scope="module")
def table(spark, model, rows) -> pd.DataFrame:
    frame = spark.createDataFrame(rows)
    percentiles = density_percentiles(model, rows[["x"]].dropna().to_numpy().T)
    found = scored_customers(model, frame, ["id"], NAMES, percentiles)
    assert found.columns == ["id", *COLUMNS]
    return found.orderBy("id").toPandas()


def test_the_segment_the_next_one_and_how_odd_a_row_is(table, model, rows) -> None:
    known = table[table["id"] != 7]
    x = rows["x"].drop(7).to_numpy()
    weights, deviations = np.array([0.5, 0.3, 0.2]), np.array([1.0, 1.0, 2.0])
    z = (x[:, None] - np.array([0.0, 2.0, 9.0])) / deviations
    joint = weights * np.exp(-(z**2) / 2) / deviations / np.sqrt(2 * np.pi)
    density = joint.sum(axis=1)
    probabilities = joint / density[:, None]
    order = np.argsort(-probabilities, axis=1)
    found = np.stack(known["probabilities"].to_numpy())
    np.testing.assert_allclose(found, probabilities, atol=1e-12)
    assert (known["segment"].to_numpy() == order[:, 0]).all()
    assert (known["runner_up"].to_numpy() == order[:, 1]).all()
    assert (known["segment_name"] == np.array(NAMES)[order[:, 0]]).all()
    ranked = np.take_along_axis(probabilities, order, axis=1)
    np.testing.assert_allclose(known["probability"], ranked[:, 0], atol=1e-12)
    np.testing.assert_allclose(known["runner_up_probability"], ranked[:, 1], atol=1e-12)
    np.testing.assert_allclose(known["uncertainty"], 1 - ranked[:, 0], atol=1e-12)
    np.testing.assert_allclose(known["log_density"], np.log(density), atol=1e-9)
    below = (np.sort(density)[None, :] < density[:, None]).mean(axis=1) * 100
    percentile = known["outlier_percentile"].to_numpy()
    # To the step below: of 1 in the middle, of 0.1 or less where outliers are.
    assert ((percentile <= below + 0.11) & (below < percentile + 1.11)).all()
    odd = below < 0.9
    assert odd.sum() == 9
    assert (below[odd] - percentile[odd] < 0.21).all()


def test_a_row_that_is_left_unscored_has_nulls(table) -> None:
    assert table.loc[7, list(COLUMNS)].isna().all()
    assert table["segment"].isna().sum() == 1


def test_no_rows_have_no_percentiles(model) -> None:
    assert density_percentiles(model, np.empty((1, 0))) == []


def test_one_segment_has_no_runner_up(spark, rows) -> None:
    model = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]], inputCols=["x"])
    frame = spark.createDataFrame(rows.head(5))
    found = scored_customers(model, frame, ["id", "x"], ["all"], []).toPandas()
    assert (found["segment"] == 0).all()
    assert found[["runner_up", "runner_up_probability", "outlier_percentile"]].isna().all().all()


def test_a_table_of_scores_is_refused(spark, model, rows) -> None:
    frame = spark.createDataFrame(rows.rename(columns={"id": "segment"}))
    with pytest.raises(ConfigurationError, match="has a column segment already"):
        scored_customers(model, frame, ["segment"], NAMES, [])


def test_reasons_are_of_the_raw_columns(spark) -> None:
    """Names with quotes, and values as the raw table has them: 2 as log1p(x)."""
    model = GaussianMixtureModel.fromParameters(
        [0.5, 0.5],
        [[0.0, 0.0], [2.0, 0.0]],
        [[[1.0, 0.0], [0.0, 1.0]]] * 2,
        inputCols=["x_prepared", "y"],
    ).setMissing("marginalize")
    rows = [(1, "six, or so", 2.0, 9.0), (2, "none", 0.0, 0.0), (3, None, None, None)]
    frame = spark.createDataFrame(rows, "id int, `it's x` string, x_prepared double, y double")
    found = scored_customers(
        model, frame, ["id"], ["low", "high"], [], {"x_prepared": "it's x"}
    ).orderBy("id")
    assert found.columns == ["id", *COLUMNS, *REASON_COLUMNS]
    high, low, unknown = (row.asDict() for row in found.collect())
    assert (high["segment"], high["reason_1"], high["reason_1_value"]) == (
        1,
        "it's x",
        "six, or so",
    )
    assert (high["reason_1_direction"], high["reason_2"]) == ("for", None)
    assert high["outlier_column"] == "y"
    assert (low["segment"], low["reason_1"], low["reason_1_value"]) == (0, "it's x", "none")
    assert [unknown[name] for name in REASON_COLUMNS] == [None] * len(REASON_COLUMNS)


def test_one_segment_has_no_reasons(spark, rows) -> None:
    one = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]], inputCols=["x"])
    row = scored_customers(one, spark.createDataFrame(rows[:3]), ["id"], ["all"], [], {}).first()
    assert [row[name] for name in REASON_COLUMNS] == [None] * len(REASON_COLUMNS)
