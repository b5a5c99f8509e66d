"""The query behind a DataFrame is computed once in a fit, whatever the fit asks of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.sql import functions as F

from gmm_spark import GaussianMixture, GaussianMixtureSearch
from gmm_spark.errors import InputDataError

SHAPES = {
    "plain": lambda rows: rows,
    "shuffled": lambda rows: rows.repartition(3, "id"),
    "grouped": lambda rows: rows.groupBy("id").agg(
        *(F.first(name).alias(name) for name in ("x", "y", "kind", "nothing"))
    ),
    "joined": lambda rows: rows.join(F.broadcast(rows.sparkSession.range(60)), "id"),
}
READ: dict[str, dict[str, Any]] = {
    "columns": {"inputCols": ["x", "y"]},
    "categories": {"inputCols": ["x"], "categoricalCols": ["kind"]},
    "vectors": {},
    "arrays": {"featuresCol": "array"},
}


def watched(spark: Any, folder: Path) -> Any:
    """60 rows in 2 partitions; every time that one of these is computed leaves a file."""

    def leave(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        (folder / uuid.uuid4().hex).touch()
        yield from batches

    rows = spark.sql(
        """select id, cast(id % 2 * 9 + id % 5 as double) x, cast(id % 7 as double) y,
        cast(id % 3 as string) kind, make_interval(1) nothing from range(0, 60, 1, 2)"""
    )
    left = rows.drop("nothing").mapInArrow(leave, rows.drop("nothing").schema)
    return left.withColumn("nothing", F.expr("make_interval(1)"))


def with_arrays(rows: Any) -> Any:
    rows = rows.withColumn("array", F.array("x", "y"))
    return rows.withColumn("features", array_to_vector("array"))


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ("plain", "columns"),
        ("plain", "categories"),
        ("plain", "vectors"),
        ("shuffled", "columns"),
        ("grouped", "categories"),
        ("joined", "arrays"),
    ],
)
def test_the_query_behind_a_dataframe_is_computed_once(spark, tmp_path, shape, read) -> None:
    before = spark.sparkContext._jsc.getPersistentRDDs().size()
    rows = with_arrays(SHAPES[shape](watched(spark, tmp_path)))
    GaussianMixture(k=2, numInit=1, maxIter=1, seed=1, **READ[read]).fit(rows)
    assert len(list(tmp_path.iterdir())) == 2
    assert spark.sparkContext._jsc.getPersistentRDDs().size() == before


def test_many_partitions_after_a_shuffle_are_few_tasks(spark, tmp_path) -> None:
    rows = watched(spark, tmp_path).repartition(40, "id")
    fitted = GaussianMixtureSearch(k=[1, 2], numInit=1, maxIter=1, seed=1, inputCols=["x", "y"])
    assert fitted.fit(rows).summary.numRows == 60
    assert len(list(tmp_path.iterdir())) == 2


def test_partitions_of_nulls_alone_have_as_many_features_as_the_others(spark) -> None:
    rows = spark.range(0, 90, 1, 3).select("id", F.array("id", "id").alias("features"))
    gaps = rows.withColumn("features", F.when(F.col("id") >= 30, F.col("features")))
    fitted = GaussianMixture(k=1, numInit=1, maxIter=1, missing="skip").fit(gaps)
    assert (fitted.summary.numRows, fitted.summary.numSkipped) == (60, 30)
    with pytest.raises(InputDataError, match=r"column 'features\[0\]': 30 null in 90 rows"):
        GaussianMixture(k=1).fit(gaps)


def test_lengths_that_differ_between_partitions_are_counted(spark) -> None:
    other = F.when(F.col("id") >= 50, F.array("id")).otherwise(F.array("id", "id"))
    rows = spark.range(0, 60, 1, 2).select(other.alias("features"))
    with pytest.raises(InputDataError, match=r"'features': 10 of 60 rows .* \(1, for .* has 2;"):
        GaussianMixture(k=1).fit(rows)
    whole = spark.range(0, 60, 1, 2).select(
        F.when(F.col("id") < 30, F.array("id")).otherwise(F.array("id", "id")).alias("features")
    )
    with pytest.raises(InputDataError, match=r"'features': 30 of 60 rows .* \(2, for .* has 1;"):
        GaussianMixture(k=1).fit(whole)
