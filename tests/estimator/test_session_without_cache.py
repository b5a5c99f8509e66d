"""A session that refuses to keep data, as serverless Spark does."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pyspark import RDD
from pyspark.errors import PySparkException
from pyspark.sql.classic.dataframe import DataFrame

from gmm_spark import GaussianMixture, ParquetTable
from gmm_spark.engine import cluster
from tests.estimator.helpers import assert_same_model, table


@pytest.fixture
def asked(monkeypatch) -> list[Any]:
    """What the session was asked to keep; it refuses."""
    found: list[Any] = []

    def refuse(self: Any, *args: Any) -> Any:
        found.append(self)
        raise PySparkException(
            "[NOT_SUPPORTED_WITH_SERVERLESS] PERSIST TABLE is not supported on serverless compute. "
            "SQLSTATE: 0A000"
        )

    def nothing(self: Any, *args: Any) -> Any:
        raise PySparkException("[NOT_SUPPORTED_WITH_SERVERLESS] UNPERSIST TABLE is not supported")

    monkeypatch.setattr(DataFrame, "persist", refuse)
    monkeypatch.setattr(DataFrame, "unpersist", nothing)
    monkeypatch.setattr(RDD, "persist", refuse)
    monkeypatch.setattr(cluster, "_keep_nothing", type(cluster._keep_nothing)())
    return found


def test_a_fit_is_the_same_and_it_is_asked_and_told_once(
    spark, frame, groups, model, asked, caplog
) -> None:
    caplog.set_level(logging.WARNING, logger="gmm_spark")
    mixture = GaussianMixture(k=3, inputCols=["x", "y"], seed=1)
    assert_same_model(mixture.fit(frame), model, rtol=1e-12)
    assert_same_model(mixture.fit(frame), model, rtol=1e-12)
    assert model.update(frame).summary.update["weight"] == 600
    assert len(asked) == 2  # of the rows, and whether it is because of them
    told = [r.getMessage() for r in caplog.records if "keeps no data" in r.getMessage()]
    assert len(told) == 1
    assert "keeps no data (NOT_SUPPORTED_WITH_SERVERLESS)" in told[0]


def test_categories_and_tables_that_would_be_kept(spark, groups, asked, tmp_path) -> None:
    rows = [(float(x), float(y), "a" if x > 4 else "b") for x, y in groups]
    mixed = table(spark, rows, "x double, y double, c string", partitions=2)
    mixture = GaussianMixture(k=2, inputCols=["x", "y"], categoricalCols=["c"], seed=1, maxIter=2)
    found = mixture.fit(mixed)
    mixed.write.parquet(str(tmp_path / "table"))
    assert_same_model(mixture.fit(ParquetTable(tmp_path / "table", cached=True)), found, rtol=1e-9)


@pytest.mark.parametrize("as_rdd", [False, True], ids=["a DataFrame", "an RDD"])
def test_what_is_wrong_with_one_table_is_raised(spark, monkeypatch, as_rdd) -> None:
    """And the session keeps others as before."""
    frame = spark.range(3)
    data = frame.rdd if as_rdd else frame
    kind, persist = type(data), type(data).persist

    def refuse(self: Any, *args: Any) -> Any:
        if self is data:
            raise PySparkException("[UNRESOLVED_COLUMN] this one alone")
        return persist(self, *args)

    monkeypatch.setattr(kind, "persist", refuse)
    with pytest.raises(PySparkException, match="this one alone"):
        cluster.cached(data)
    other = cluster.cached(spark.range(5))
    assert other.storageLevel.useMemory
    cluster.released(other)
