"""Tables and comparisons the tests of the estimator share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.testing import assert_allclose
from pyspark.ml.linalg import Vector, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructField, StructType


def table(
    spark: SparkSession, rows: Any, schema: str | Sequence[str], partitions: int = 1
) -> DataFrame:
    """A DataFrame of rows in consecutive partitions; a list of names makes double columns."""
    if not isinstance(schema, str):
        schema = ", ".join(f"`{name.replace('`', '``')}` double" for name in schema)
    if isinstance(rows, np.ndarray):
        rows = rows.tolist()
    parallel = spark.sparkContext.parallelize([tuple(row) for row in rows], partitions)
    return spark.createDataFrame(parallel, schema)


def vectors(spark: SparkSession, rows: Sequence[Vector | None], partitions: int = 1) -> DataFrame:
    """A DataFrame of one vector column, "features"."""
    parallel = spark.sparkContext.parallelize([(row,) for row in rows], partitions)
    return spark.createDataFrame(parallel, StructType([StructField("features", VectorUDT())]))


def assert_same_model(found: Any, expected: Any, rtol: float = 1e-9, atol: float = 1e-12) -> None:
    """Two fits ended in the same mixture, after as many passes."""
    assert found.summary.numPasses == expected.summary.numPasses
    assert found.summary.reason == expected.summary.reason
    assert_allclose(found.summary.logLikelihood, expected.summary.logLikelihood, rtol=rtol)
    for name in ("weights", "means", "covariances"):
        assert_allclose(getattr(found, name), getattr(expected, name), rtol=rtol, atol=atol)


def matched(weights: Any, means: Any, covariances: Any, to: Any) -> tuple[Any, Any, Any]:
    """The components in the order of those with the nearest means among `to` (k, d)."""
    weights, means, covariances = map(np.asarray, (weights, means, covariances))
    distances = ((means[None] - np.asarray(to)[:, None]) ** 2).sum(axis=2)
    order = distances.argmin(axis=1)
    assert sorted(order) == list(range(len(weights)))
    return weights[order], means[order], covariances[order]
