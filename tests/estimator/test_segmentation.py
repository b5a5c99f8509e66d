"""Criterion segmentation of the search: merged models, the same on any source, saved and loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pyspark.ml import Pipeline
from pyspark.ml.feature import VectorAssembler
from sklearn.metrics import adjusted_rand_score

from gmm_spark import (
    GaussianMixture,
    GaussianMixtureModel,
    GaussianMixtureSearch,
    ParquetTable,
)
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.refit import refitted

DIVISIONS = [
    "k", "components", "covarianceType", "covarianceFloor", "origin", "mergedBy", "numParameters",
    "meanLogLikelihood", "stability", "entropy", "smallestShare",
    "columnInformation", "mutualInformation", "evaluatedOn", "why",
]  # fmt: skip
N = 600


@pytest.fixture(scope="module")
def customers() -> pd.DataFrame:
    """Three groups that differ in two numbers, a plan, and how many of them left; with gaps."""
    rng = np.random.default_rng(3)
    group = rng.choice(3, N, p=[0.5, 0.3, 0.2])
    x, y = np.array([[0.0, 0.0], [6.0, 1.0], [2.0, 7.0]])[group].T + rng.normal(size=(2, N))
    likely = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    plan = [rng.choice(["basic", "plus", "team"], p=likely[g]) for g in group]
    left = pd.array(rng.random(N) < np.array([0.05, 0.3, 0.8])[group], dtype="boolean")
    left[rng.random(N) < 0.1] = pd.NA
    x[rng.random(N) < 0.05] = np.nan
    frame = pd.DataFrame({"id": range(N), "x": x, "y": y, "plan": plan, "left": left})
    frame.loc[rng.random(N) < 0.05, "plan"] = None
    return frame.assign(group=group)


@pytest.fixture(scope="module")
def stored(customers, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("segmentation") / "customers.parquet"
    customers.to_parquet(path, row_group_size=130, index=False)
    return str(path)


def search(**more: Any) -> GaussianMixtureSearch:
    given = {
        "k": [3],
        "inputCols": ["x", "y"],
        "categoricalCols": ["plan"],
        "missing": "marginalize",
        "criterion": "segmentation",
        "outcomeCol": "left",
        "seed": 5,
    }
    return GaussianMixtureSearch(**{**given, **more})


@pytest.fixture(scope="module")
def by_table(spark, stored) -> GaussianMixtureModel:
    return search().fit(ParquetTable(stored))


def rows(model: Any, data: Any) -> pd.DataFrame:
    return model.transform(data).select("id", "prediction", "probability").toPandas()


def assert_same_choice(found: Any, expected: Any) -> None:
    assert found.clusters == expected.clusters
    assert_allclose(found.means, expected.means, rtol=1e-7, atol=1e-9)
    assert_allclose(found.weights, expected.weights, rtol=1e-7)
    ours, theirs = found.summary, expected.summary
    assert [c["why"] for c in ours.candidates] == [c["why"] for c in theirs.candidates]
    assert ours.outcomeInformation["outcome"] == theirs.outcomeInformation["outcome"]
    for name in ("bits", "spread", "rows"):
        assert_allclose(ours.outcomeInformation[name], theirs.outcomeInformation[name], rtol=1e-9)
    assert len(ours.alternatives) == len(theirs.alternatives)


def test_segments_are_the_groups(by_table, stored, customers) -> None:
    assert len(by_table.clusters) == 3
    scored = rows(by_table, ParquetTable(stored)).sort_values("id")
    assert set(scored["prediction"]) == {0, 1, 2}
    assert {len(p) for p in scored["probability"]} == {3}
    assert adjusted_rand_score(customers["group"], scored["prediction"]) > 0.8
    assert by_table.describe().count() == 3
    information = by_table.summary.outcomeInformation
    assert information["outcome"] == "left"
    assert 0.1 < information["bits"] < 0.5
    assert 0.5 < information["spread"] < 1
    known = int(customers["left"].notna().sum())
    assert abs(information["rows"] - known / 2) < 0.15 * known


def test_a_dataframe_in_any_partitions_gives_the_same_choice(spark, by_table, stored) -> None:
    frame = spark.read.parquet(stored).repartition(3)
    found = search().fit(frame)
    assert_same_choice(found, by_table)
    assert found.summary.predictions.count() == N


def test_the_table_of_what_was_considered(by_table) -> None:
    found = by_table.summary.candidatesDF
    assert found.columns == DIVISIONS
    table = [row.asDict() for row in found.collect()]
    assert table == by_table.summary.candidates
    first = table[0]
    assert (first["k"], first["components"]) == (3, by_table.summary.k)
    assert first["covarianceType"] == by_table.getCovarianceType()
    assert (first["covarianceFloor"] or "auto") == by_table.getCovarianceFloor()
    assert first["evaluatedOn"].startswith("all rows")
    assert all(row["why"] for row in table)


def test_all_of_it_is_saved(by_table, stored, tmp_path) -> None:
    by_table.save(str(tmp_path / "model"))
    loaded = GaussianMixtureModel.load(str(tmp_path / "model"))
    for name in ("candidates", "alternatives", "outcomeInformation", "warnings"):
        assert getattr(loaded.summary, name) == getattr(by_table.summary, name), name
    assert loaded.clusters == by_table.clusters
    assert loaded.mergeHierarchy == by_table.mergeHierarchy
    assert loaded.summary.candidatesDF.columns == DIVISIONS
    data = ParquetTable(stored)
    pd.testing.assert_frame_equal(
        rows(loaded, data).sort_values("id"), rows(by_table, data).sort_values("id")
    )


def test_the_search_is_saved_with_its_settings(spark, tmp_path) -> None:
    search(minSegmentShare=0.1).save(str(tmp_path / "search"))
    loaded = GaussianMixtureSearch.load(str(tmp_path / "search"))
    assert loaded.getCriterion() == "segmentation"
    assert (loaded.getOutcomeCol(), loaded.getMinSegmentShare()) == ("left", 0.1)


def test_a_pipeline_of_vectors(spark, customers) -> None:
    """Whatever is chosen, predictions are clusters; the component stands beside a merged one."""
    numbers = customers[["x", "y", "left"]].fillna({"x": 0.0})
    frame = spark.createDataFrame(numbers.astype({"left": object}).where(numbers.notna(), None))
    assembled = VectorAssembler(inputCols=["x", "y"], outputCol="features")
    chosen = search(categoricalCols=None, inputCols=None)
    fitted = Pipeline(stages=[assembled, chosen]).fit(frame)
    model, scored = fitted.stages[-1], fitted.transform(frame)
    merged = any(len(cluster) > 1 for cluster in model.clusters)
    assert ("component" in scored.columns) == merged
    assert scored.select("prediction").distinct().count() == len(model.clusters) == 3
    assert model.copy().clusters == model.clusters
    assert model.summary.outcomeInformation["bits"] > 0.1


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"outcomeCol": "x"}, ConfigurationError, "'x' is outcomeCol and in inputCols: segments"),
        ({"outcomeCol": "plan"}, ConfigurationError, "'plan' is outcomeCol and in categoricalCols"),
        ({"criterion": "bic"}, ConfigurationError, "outcomeCol is 'left', and criterion is 'bic'"),
        ({"minSegmentShare": 0.5}, ConfigurationError, "minSegmentShare is 0.5; it must be in"),
        ({"labelCol": "group"}, ConfigurationError, "labelCol is 'group', and criterion is 'segm"),
        ({"weightCol": "left"}, ConfigurationError, "'left' is outcomeCol and weightCol"),
        ({"outcomeCol": "lefft"}, InputDataError, "there is no column 'lefft'.* mean 'left'"),
        ({"outcomeCol": "plan", "categoricalCols": None}, InputDataError, "outcome 'plan' has typ"),
        ({"outcomeCol": "one"}, InputDataError, "outcome 'one': all rows with a value have 1"),
        ({"outcomeCol": "none"}, InputDataError, "outcome 'none': none of 600 rows has a value"),
    ],
)
def test_bad_input_is_one_error(spark, stored, settings, error, said) -> None:
    read = spark.read.parquet(stored)
    frame = read.selectExpr("*", "1 as one", "cast(null as double) as none")
    with pytest.raises(error, match=said) as caught:
        search(**settings).fit(frame)
    assert "\n" not in str(caught.value)


def test_a_table_checks_the_outcome_before_it_reads(spark, stored) -> None:
    with pytest.raises(InputDataError, match="outcome 'plan' has type string; an outcome is a"):
        search(outcomeCol="plan", categoricalCols=None).check(ParquetTable(stored))
    search().check(ParquetTable(stored))


def test_other_fits_know_nothing_of_it(spark, stored) -> None:
    with pytest.raises(TypeError):
        GaussianMixture(outcomeCol="left")
    plain = search(criterion="bic", outcomeCol=None, k=[1, 2]).fit(ParquetTable(stored))
    assert plain.summary.outcomeInformation is None
    assert "criterion" in plain.summary.candidatesDF.columns


def test_rows_without_groups_are_divided_where_the_outcome_differs(spark, tmp_path) -> None:
    """Its columns count by what they say of it; rates are of the rows that are in a segment, as
    Spark counts them; saved and loaded it stays that, and a refit leaves it as it is."""
    rng = np.random.default_rng(11)
    names = ["a", "b", "c", "d", "e"]
    table = pd.DataFrame(rng.normal(size=(2000, 5)), columns=names)
    rates = np.where(table["c"] > 1, 0.8, 0.1)
    frame = spark.createDataFrame(table.assign(left=rng.random(2000) < rates))
    found = search(k=[3], inputCols=names, categoricalCols=[]).fit(frame)
    first = found.summary.candidates[0]
    assert first["origin"] == "k-means, columns weighted by the outcome"
    assert "; squared differences are weighted: c 1.00, " in first["why"]
    assert first["why"].endswith("; the division stays as it was found on the sample")
    assert found.summary.reason == "kept"
    found.save(str(tmp_path / "model"))
    loaded = GaussianMixtureModel.load(str(tmp_path / "model"))
    told = loaded.outcomes(frame, "left").toPandas()
    scored = loaded.transform(frame).selectExpr("prediction", "double(left) AS y")
    expected = scored.groupBy("prediction").avg("y").toPandas().set_index("prediction")["avg(y)"]
    assert set(told["estimate"]) == {"counted"}
    assert_allclose(told["value"], expected.sort_index(), rtol=1e-12)
    assert (told["low"] < told["value"]).all()
    assert told["rows"].sum() == 2000
    assert told["value"].max() - told["value"].min() > 0.4
    again = refitted(loaded, frame, "left")
    assert_allclose(again.means, found.means, rtol=1e-12)
    assert again.summary.candidates[0]["origin"] == first["origin"]
