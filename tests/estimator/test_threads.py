"""In a new thread no session is active: what asks for one takes the default session."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gmm_spark import GaussianMixture, GaussianMixtureModel, ParquetTable
from gmm_spark.engine import cluster
from gmm_spark.errors import ConfigurationError
from gmm_spark.runs.session import session_of_a_run


def in_threads(work: Any, *items: Any) -> list[Any]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, items))


@pytest.fixture(scope="module")
def regions(spark, frame, tmp_path_factory) -> list[str]:
    """The groups as two tables, of the even rows and of the odd."""
    root = tmp_path_factory.mktemp("regions") / "table"
    halves = frame.selectExpr("*", "pmod(cast(x * 1000 as int), 2) as half").coalesce(1)
    halves.write.partitionBy("half").parquet(str(root))
    return [str(root / "half=0"), str(root / "half=1")]


def test_tables_are_fitted_scored_and_filled_in_a_thread_pool(spark, regions) -> None:
    def fitted(path: str) -> tuple[int, int, int]:
        model = GaussianMixture(k=1, inputCols=["x", "y"], numInit=1).fit(ParquetTable(path))
        scored = model.transform(ParquetTable(path)).count()
        return model.summary.numRows, scored, model.impute(ParquetTable(path)).count()

    expected = [3 * (spark.read.parquet(path).count(),) for path in regions]
    assert in_threads(fitted, *regions) == expected


def test_models_are_saved_and_loaded_in_a_thread_pool(spark, model, tmp_path) -> None:
    def saved(name: str) -> list[Any]:
        model.save(str(tmp_path / name))
        loaded = GaussianMixtureModel.load(str(tmp_path / name))
        return [loaded.gaussiansDF.count(), loaded.means.tolist()]

    assert in_threads(saved, "a", "b") == 2 * [[3, model.means.tolist()]]


def test_a_job_in_a_thread_leaves_the_session_as_it_was(spark) -> None:
    def job(name: str) -> bool:
        with session_of_a_run(name) as found:
            return found is spark

    assert in_threads(job, "train", "score") == [True, True]
    assert spark.range(3).count() == 3


def test_without_any_session_it_is_said_what_to_do(spark, regions, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "current_session", lambda: None)
    with pytest.raises(ConfigurationError, match="no SparkSession; make one"):
        GaussianMixture(k=1, inputCols=["x", "y"]).fit(ParquetTable(regions[0]))
