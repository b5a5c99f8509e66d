"""Scoring a ParquetTable, which the workers read, is scoring the DataFrame of the same files."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from chispa import assert_df_equality
from pyspark.sql import functions as F

from gmm_spark import GaussianMixtureModel, ParquetTable
from gmm_spark.errors import ConfigurationError, InputDataError


@pytest.fixture(scope="module")
def model():
    covariances = [[[1.0, 0.3], [0.3, 2.0]], [[0.5, 0.0], [0.0, 0.5]]]
    return GaussianMixtureModel.fromParameters(
        [0.6, 0.4], [[0.0, 0.0], [4.0, 1.0]], covariances, inputCols=["a", "b"]
    ).setLogLikelihoodCol("density")


@pytest.fixture(scope="module")
def path(spark, tmp_path_factory):
    where = str(tmp_path_factory.mktemp("lake") / "table")
    rng = np.random.default_rng(3)
    frame = spark.createDataFrame(
        [
            (i, f"row {i}", float(x), int(10 * y), datetime.date(2026, 1, 1 + i % 28), i % 2 == 0)
            for i, (x, y) in enumerate(rng.normal(size=(300, 2)))
        ],
        "id long, name string, a float, b int, day date, even boolean",
    ).withColumn("part", (F.col("id") % 3).cast("int"))
    frame.repartition(4).write.partitionBy("part").parquet(where)
    return where


def test_all_columns_and_scores_are_those_of_the_frame(spark, model, path):
    expected = model.transform(spark.read.parquet(path))
    found = model.transform(ParquetTable(path))
    assert found.columns == expected.columns
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_it_keeps_the_columns_it_names_and_the_rows_of_its_filters(spark, model, path):
    table = ParquetTable(path, filters=[("part", "=", 1), ("id", "<", 100)], columns=("id", "name"))
    frame = spark.read.parquet(path).where((F.col("part") == 1) & (F.col("id") < 100))
    expected = model.transform(frame).select("id", "name", "probability", "prediction", "density")
    assert_df_equality(
        model.transform(table), expected, ignore_row_order=True, ignore_nullable=True
    )
    assert model.transform(table).count() == 33


def test_a_type_that_pyarrow_reads_otherwise_goes_through_spark(spark, model, path, tmp_path):
    where = str(tmp_path / "times")
    at = F.timestamp_seconds(F.col("id")).alias("at")
    spark.read.parquet(path).select("a", "b", at).write.parquet(where)
    expected = model.transform(spark.read.parquet(where))
    assert_df_equality(model.transform(ParquetTable(where)), expected, ignore_row_order=True)
    with pytest.raises(ConfigurationError, match="filters need"):
        model.transform(ParquetTable(where, filters=[("a", ">", 0)]))


def test_columns_that_are_not_there_or_taken_are_named(model, path):
    with pytest.raises(InputDataError, match="no column 'nope'"):
        model.transform(ParquetTable(path, columns=("nope",)))
    taken = model.copy().setPredictionCol("name")
    with pytest.raises(ConfigurationError, match="name exist already"):
        taken.transform(ParquetTable(path))
