"""Explanations through Spark: they are those of `transform`'s segments, of both sources."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pyspark.ml.linalg import Vectors

from gmm_spark import GaussianMixtureModel, ParquetTable
from gmm_spark.errors import ConfigurationError, InputDataError
from tests.estimator.helpers import table, vectors

SCHEMA = "id int, x double, y double, visits int, plan string"


@pytest.fixture(scope="module")
def model() -> GaussianMixtureModel:
    made = GaussianMixtureModel.fromParameters(
        [0.5, 0.3, 0.1],
        [[0.0, 0.0], [2.0, 0.0], [9.0, 9.0]],
        [[[1.0, 0.8], [0.8, 1.0]], [[1.0, 0.8], [0.8, 1.0]], [[1.0, 0.0], [0.0, 4.0]]],
        inputCols=["x", "y"],
        categories={"plan": (["basic", "(other)"], [[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])},
        countCols=["visits"],
        rates=[[2.0], [6.0], [2.0]],
        noiseWeight=0.1,
        noiseBox={"x": (-50.0, 50.0), "y": (-50.0, 50.0), "visits": (0, 40)},
    )
    return made.setMissing("marginalize")


ROWS = [
    (0, 0.1, 0.2, 1, "basic"),
    (1, 2.0, 2.0, 7, "gold"),
    (2, 9.0, 14.0, None, None),
    (3, None, 0.0, 6, "basic"),
    (4, -8.0, 6.0, 2, "basic"),
    (5, 2.5, float("nan"), 5, "basic"),
]


@pytest.fixture(scope="module")
def data(spark):
    return table(spark, ROWS, SCHEMA, 2)


@pytest.fixture(scope="module")
def lines(model, data) -> list:
    return model.explain(data, asTable=True).collect()


def by_row(lines: list) -> dict:
    found: dict = {}
    for line in lines:
        found.setdefault(line["id"], []).append(line)
    return found


def test_a_table_has_a_line_for_every_column_and_the_base(model, data, lines) -> None:
    transformed = {row["id"]: row for row in model.transform(data).collect()}
    found = by_row(lines)
    assert sorted(found) == [0, 1, 2, 3, 4, 5]
    for number, own in found.items():
        assert [line["column"] for line in own] == [None, "x", "y", "plan", "visits"]
        first, probability = own[0], transformed[number]["probability"].toArray()
        order = np.argsort(-probability)
        expected = [-1 if one == 3 else one for one in order[:2]]
        assert [first["segment"], first["runner_up"]] == expected
        assert first["segment"] == transformed[number]["prediction"]
        total = sum(line["contribution"] for line in own)
        assert_allclose(total, first["log_odds"], rtol=1e-9, atol=1e-9)
        odds = math.log(probability[order[0]] / probability[order[1]])
        assert_allclose(total, odds, rtol=1e-6)
    assert found[4][0]["segment"] == -1


def test_values_stand_beside_their_columns(lines) -> None:
    found = {key: [line["value"] for line in own] for key, own in by_row(lines).items()}
    assert found[1] == [None, "2", "2", "gold", "7"]
    assert found[3] == [None, None, "0", "basic", "6"]
    assert found[5] == [None, "2.5", None, "basic", "5"]
    gaps = [line for line in lines if line["column"] and line["value"] is None]
    assert {line["contribution"] for line in gaps} == {0.0}


def test_columns_name_what_contributes_most(model, data, lines) -> None:
    own = by_row(lines)
    frame = model.explain(data, top=2)
    assert frame.columns[5:9] == ["segment", "runner_up", "log_odds", "base"]
    assert frame.columns[-3:] == ["distance", "distance_column", "distance_share"]
    for row in frame.collect():
        columns = sorted(own[row["id"]][1:], key=lambda line: -abs(line["contribution"]))
        assert_allclose(row["base"], own[row["id"]][0]["contribution"])
        for number, line in enumerate(columns[:2], 1):
            if line["contribution"] == 0:
                assert row[f"reason_{number}"] is None
                continue
            assert row[f"reason_{number}"] == line["column"]
            assert row[f"reason_{number}_value"] == line["value"]
            assert row[f"reason_{number}_contribution"] == line["contribution"]
            direction = "for" if line["contribution"] > 0 else "against"
            assert row[f"reason_{number}_direction"] == direction
        assert_allclose(row["distance"], sum(line["distance"] for line in columns))
        if row["id"] == 2:  # an outlier of segment 2 by y: 5 / 2 deviations
            assert (row["segment"], row["distance_column"]) == (2, "y")
            assert_allclose(row["distance_share"], 5.0**2 / 4)


def test_more_columns_than_there_are_leave_nulls(model, data) -> None:
    row = model.explain(data, top=6).where("id = 3").first()
    assert row["reason_4"] is None  # x is a gap
    assert row["reason_6"] is row["reason_6_contribution"] is None


def test_a_parquet_table_is_explained_as_its_rows_are(model, data, lines, tmp_path) -> None:
    path = str(tmp_path / "t")
    data.write.parquet(path)
    found = model.explain(ParquetTable(path), asTable=True).collect()
    assert sorted(map(str, found)) == sorted(map(str, lines))
    with pytest.raises(ConfigurationError, match="filters are not for explain"):
        model.explain(ParquetTable(path, filters=[("id", ">", 2)]))


def test_rows_that_are_skipped_have_nulls(model, data) -> None:
    skipping = model.copy().setMissing("skip")
    for row in skipping.explain(data).collect():
        skipped = row["id"] in (2, 3, 5)
        for name in ("segment", "log_odds", "base", "reason_1", "distance", "distance_column"):
            assert (row[name] is None) == skipped
    found = by_row(skipping.explain(data, asTable=True).collect())
    assert [line["contribution"] for line in found[2]] == [None] * 5
    assert found[0][1]["contribution"] == pytest.approx(
        by_row(model.explain(data, asTable=True).collect())[0][1]["contribution"]
    )


def test_merged_components_are_explained_as_clusters(model, data) -> None:
    merged = model.mergeComponents(None, 2, "bhattacharyya")
    predicted = {row["id"]: row["prediction"] for row in merged.transform(data).collect()}
    for own in by_row(merged.explain(data, asTable=True).collect()).values():
        assert own[0]["segment"] == predicted[own[0]["id"]]
        total = sum(line["contribution"] for line in own)
        assert_allclose(total, own[0]["log_odds"], rtol=1e-9, atol=1e-9)


def test_entries_of_a_vector_are_columns(spark) -> None:
    plain = GaussianMixtureModel.fromParameters(
        [0.5, 0.5], [[0.0, 0.0], [4.0, 0.0]], [[[1.0, 0.0], [0.0, 1.0]]] * 2
    )
    (row,) = plain.explain(vectors(spark, [Vectors.dense(4.0, 1.0)])).collect()
    assert (row["segment"], row["reason_1"], row["reason_1_value"]) == (1, "features[0]", "4")
    assert_allclose(row["reason_1_contribution"], 8.0)
    assert row["reason_2"] is None
    assert row["distance_column"] == "features[1]"


def test_what_cannot_be_explained_is_one_clear_error(model, data) -> None:
    one = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]], inputCols=["x"])
    with pytest.raises(ConfigurationError, match="this model has one segment"):
        one.explain(data)
    with pytest.raises(ConfigurationError, match="segment exist already"):
        model.explain(data.withColumnRenamed("id", "segment"))
    with pytest.raises(ConfigurationError, match="top is -1"):
        model.explain(data, top=-1)
    with pytest.raises(ConfigurationError, match=r"column 'gap' has type interval.*drop it"):
        model.explain(data.selectExpr("*", "interval 1 month as gap"))
    with pytest.raises(InputDataError, match="'y'"):
        model.explain(data.drop("y"))
    with pytest.raises(InputDataError, match="explain takes a Spark DataFrame"):
        model.explain(None)
