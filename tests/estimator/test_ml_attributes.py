"""Output columns stand in MLlib's order and carry its attributes, which later stages read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.ml.clustering import GaussianMixture as MLlibMixture
from pyspark.ml.feature import IndexToString, OneHotEncoder, VectorAssembler
from pyspark.sql import functions as F

from gmm_spark import GaussianMixtureModel, ParquetTable
from gmm_spark.mixture.families import Noise
from gmm_spark.model import GaussianMixtureModel as Model


def mixture(noise: bool = False) -> GaussianMixtureModel:
    """Three components of one deviation at 0, 10 and 20."""
    made = GaussianMixtureModel.fromParameters(
        [0.5, 0.3, 0.2], [[0.0], [10.0], [20.0]], [1.0, 1.0, 1.0],
        covarianceType="spherical", inputCols=["x"],
    )  # fmt: skip
    if not noise:
        return made
    box = Noise(0.1, np.log([1000.0]))
    with_noise = Model(made.parameters.with_noise(box))
    return with_noise._set(k=3, inputCols=["x"])


def attributes(scored: Any) -> dict[str, Any]:
    fields = [field for field in scored.schema.fields if field.name != "features"]
    return {field.name: field.metadata for field in fields if field.metadata}


@pytest.fixture(scope="module")
def data(spark) -> Any:
    """Rows near the first component alone, then one of the second."""
    return spark.createDataFrame([(0.1,), (-0.2,), (0.0,), (10.0,)], "x double").coalesce(1)


@pytest.fixture(scope="module")
def stored(data, tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("attributes") / "table")
    data.write.parquet(path)
    return path


@pytest.fixture(scope="module")
def theirs(data) -> Any:
    """What MLlib's model of three components makes of the same rows."""
    assembled = VectorAssembler(inputCols=["x"], outputCol="features").transform(data)
    return MLlibMixture(k=3, maxIter=1, seed=1).fit(assembled).transform(assembled)


def scored_from(source: str, spark: Any, data: Any, stored: str) -> Any:
    model = mixture()
    if source == "table":
        return model.transform(ParquetTable(stored))
    if source == "vectors":
        assembled = VectorAssembler(inputCols=["x"], outputCol="features").transform(data)
        model.clear(model.inputCols)
        return model.transform(assembled)
    if source == "stream":
        return model.transform(spark.readStream.schema("x double").parquet(stored))
    if source == "vectors of a table":
        model.clear(model.inputCols)
        arrays = stored + "_arrays"
        data.select(F.array("x").alias("features")).write.mode("overwrite").parquet(arrays)
        return model.transform(ParquetTable(arrays))
    return model.transform(data)


SOURCES = ["frame", "table", "vectors", "stream", "vectors of a table"]


@pytest.mark.parametrize("source", SOURCES)
def test_order_and_attributes_are_those_of_mllib(spark, data, stored, theirs, source) -> None:
    found = scored_from(source, spark, data, stored)
    assert found.columns[-2:] == theirs.columns[-2:] == ["probability", "prediction"]
    assert attributes(found) == attributes(theirs)
    types = [(f.name, f.dataType) for f in theirs.schema.fields[-2:]]
    assert [(f.name, f.dataType) for f in found.schema.fields[-2:]] == types


def test_our_columns_come_after_theirs(data) -> None:
    model = mixture().setLogLikelihoodCol("density").setUncertaintyCol("doubt")
    scored = model.setOutlierThreshold(-5.0).setOutlierCol("strange").transform(data)
    ours = ["probability", "prediction", "density", "doubt", "strange"]
    assert scored.columns == ["x", *ours]
    row = scored.first()  # by place, as insertInto takes them
    assert row[1].size == 3
    assert row[2] == 0
    assert row[3] < 0
    assert row[4] == pytest.approx(1 - row[1].toArray().max())
    assert row[5] is False


def test_an_output_that_is_left_out_takes_its_attributes_along(data) -> None:
    only = mixture().setPredictionCol("").transform(data)
    assert list(attributes(only)) == ["probability"]
    other = mixture().setProbabilityCol("").setPredictionCol("a.b").transform(data)
    assert attributes(other) == {"a.b": {"ml_attr": {"num_vals": 3, "type": "nominal"}}}
    assert other.first()["a.b"] == 0


def test_insert_into_a_table_that_mllib_filled(spark, data, theirs) -> None:
    theirs.select("x", "probability", "prediction").write.saveAsTable("filled", mode="overwrite")
    try:
        mixture().transform(data).write.insertInto("filled")
        assert spark.table("filled").where("prediction between 0 and 2").count() == 8
    finally:
        spark.sql("drop table filled")


def test_stages_that_ask_for_the_sizes_find_them(data) -> None:
    """VectorAssembler with handleInvalid keep asks probability, OneHotEncoder prediction: fitted
    where one cluster alone occurs, it knows the others."""
    scored = mixture().transform(data)
    assembler = VectorAssembler(
        inputCols=["probability", "x"], outputCol="all", handleInvalid="keep"
    )
    assert {row["all"].size for row in assembler.transform(scored).collect()} == {4}
    encoder = OneHotEncoder(inputCol="prediction", outputCol="hot", dropLast=False)
    fitted = encoder.fit(scored.where("prediction = 0"))
    assert [row["hot"].toArray().tolist() for row in fitted.transform(scored).collect()] == [
        *[[1, 0, 0]] * 3,
        [0, 1, 0],
    ]


def test_noise_is_one_probability_more_and_no_value_of_the_prediction(spark) -> None:
    rows = spark.createDataFrame([(0.0,), (10.0,), (400.0,)], "x double").coalesce(1)
    scored = mixture(noise=True).transform(rows)
    assert attributes(scored) == {
        "probability": {"ml_attr": {"num_attrs": 4}},
        "prediction": {"ml_attr": {"num_vals": 3, "type": "nominal"}},
    }
    assert [row["prediction"] for row in scored.collect()] == [0, 1, -1]
    assembler = VectorAssembler(inputCols=["probability"], outputCol="all", handleInvalid="keep")
    assert {row["all"].size for row in assembler.transform(scored).collect()} == {4}
    encoder = OneHotEncoder(
        inputCol="prediction", outputCol="hot", handleInvalid="keep", dropLast=False
    )
    hot = [row["hot"].toArray().tolist() for row in encoder.fit(scored).transform(scored).collect()]
    assert hot == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]


def test_what_a_kept_column_says_of_itself_is_kept(spark, data, tmp_path) -> None:
    described = data.select("x", F.col("x").alias("unit", metadata={"unit": "months"}))
    path = str(tmp_path / "described")
    described.write.parquet(path)
    for rows in (described, ParquetTable(path)):
        assert mixture().transform(rows).schema["unit"].metadata == {"unit": "months"}


def test_the_summary_predicts_in_the_same_order(model) -> None:
    assert model.summary.predictions.columns == ["x", "y", "probability", "prediction"]
    assert set(attributes(model.summary.predictions)) == {"probability", "prediction"}


def test_names_for_the_values_can_be_given(data) -> None:
    """IndexToString, with labels of its own, over the prediction."""
    names = IndexToString(inputCol="prediction", outputCol="name", labels=["low", "mid", "high"])
    scored = names.transform(mixture().transform(data).withColumn(
        "prediction", F.col("prediction").cast("double")
    ))  # fmt: skip
    assert [row["name"] for row in scored.collect()] == ["low", "low", "low", "mid"]


def test_weights_are_a_list_of_floats(model) -> None:
    assert type(model.weights) is list
    assert {type(weight) for weight in model.weights} == {float}
    assert sum(model.weights) == pytest.approx(1, abs=1e-12)
    assert isinstance(model.parameters.weights, np.ndarray)
    assert sorted(model.weights, reverse=True) == model.weights
