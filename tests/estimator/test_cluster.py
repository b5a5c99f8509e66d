"""What a fit does on the cluster: data that change under it, what it keeps, what it is called."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark import SparkContext
from pyspark.sql import functions as F

from gmm_spark import GaussianMixture, ParquetTable
from gmm_spark.engine import passes
from gmm_spark.engine.passes import PassEngine
from gmm_spark.errors import FitError
from tests.estimator.helpers import assert_same_model, table


def mixture(**params: Any) -> GaussianMixture:
    return GaussianMixture(**{"k": 3, "inputCols": ["x", "y"], "seed": 1, **params})


@pytest.fixture
def after_first_pass(monkeypatch) -> Callable[[Callable[[], Any]], None]:
    """Something to happen between the first pass over the data and the second."""

    def set_up(happens: Callable[[], Any]) -> None:
        run_passes = PassEngine.run_passes

        def wrapped(self: Any, evaluators: Any) -> Any:
            statistics = run_passes(self, evaluators)
            if len(self.seconds) == 1:
                happens()
            return statistics

        monkeypatch.setattr(PassEngine, "run_passes", wrapped)

    return set_up


@pytest.fixture
def file(groups, tmp_path) -> Any:
    path = tmp_path / "data" / "a.parquet"
    path.parent.mkdir()
    pd.DataFrame(groups, columns=["x", "y"]).to_parquet(path)
    return path


@pytest.mark.parametrize("change", ["other values", "fewer rows", "gone"])
def test_a_file_that_changes_between_passes_ends_the_fit(
    spark, groups, file, after_first_pass, change
) -> None:
    def happens() -> None:
        if change == "gone":
            file.unlink()
            return
        rows = groups + 1 if change == "other values" else groups[:100]
        pd.DataFrame(rows, columns=["x", "y"]).to_parquet(file)
        os.utime(file, ns=(0, 12345))

    after_first_pass(happens)
    with pytest.raises(FitError, match=r"a\.parquet changed while it was being read"):
        mixture().fit(ParquetTable(str(file.parent)))


def test_a_file_that_is_added_between_passes_changes_nothing(
    spark, groups, file, model, after_first_pass
) -> None:
    more = file.parent / "b.parquet"
    rows = pd.DataFrame(groups + 50, columns=["x", "y"])
    after_first_pass(lambda: rows.to_parquet(more))
    assert_same_model(mixture().fit(ParquetTable(str(file.parent))), model)
    assert more.exists()


def test_rows_that_differ_when_computed_again_end_the_fit(spark, frame, after_first_pass) -> None:
    anew = F.udf(
        lambda value: value + np.random.default_rng().normal(), "double"
    ).asNondeterministic()
    moving = frame.select("x", anew("y").alias("y"))
    after_first_pass(spark.catalog.clearCache)
    with pytest.raises(FitError, match=r"the data changed under the fit: .* with other values"):
        mixture().fit(moving)


def test_rows_that_are_lost_from_the_cache_and_computed_again_the_same_do_no_harm(
    spark, frame, model, after_first_pass
) -> None:
    after_first_pass(spark.catalog.clearCache)
    assert_same_model(mixture().fit(frame), model, rtol=1e-12)


def test_rows_that_go_missing_end_the_fit(spark, frame, monkeypatch) -> None:
    """As if a task had read half of its rows: the sum would still look like statistics."""
    merge = passes.merge_payloads
    monkeypatch.setattr(passes, "merge_payloads", lambda payloads: merge(payloads[:1]))
    with pytest.raises(FitError, match="the first scan saw 300 rows, this pass 150"):
        mixture().fit(frame)


def held(spark: Any) -> int:
    return spark.sparkContext._jsc.getPersistentRDDs().size()


def test_a_fit_keeps_blocks_while_it_runs_and_none_after(spark, frame, after_first_pass) -> None:
    before, during = held(spark), []
    after_first_pass(lambda: during.append(held(spark)))
    mixture().fit(frame)
    assert during == [before + 1]
    assert held(spark) == before


def test_a_fit_that_fails_keeps_nothing(spark, frame, after_first_pass) -> None:
    before = held(spark)

    def interrupted() -> None:
        raise KeyboardInterrupt

    after_first_pass(interrupted)
    with pytest.raises(KeyboardInterrupt):
        mixture().fit(frame)
    assert held(spark) == before


def test_the_callers_own_cache_stays(spark, groups) -> None:
    mine = table(spark, groups, ["x", "y"]).cache()
    try:
        mine.count()
        before = held(spark)
        mixture().fit(mine)
        assert mine.is_cached
        assert held(spark) == before
    finally:
        mine.unpersist()


def test_a_parquet_table_is_not_cached(spark, file, after_first_pass) -> None:
    before, during = held(spark), []
    after_first_pass(lambda: during.append(held(spark)))
    mixture().fit(ParquetTable(str(file.parent)))
    assert during == [before]


@pytest.mark.parametrize("small", [False, True])
def test_every_pass_broadcasts_once_and_destroys_it(spark, frame, monkeypatch, small) -> None:
    """Parameters of a few bytes go with the code instead."""
    if not small:
        monkeypatch.setattr("gmm_spark.engine.cluster._CLOSURE_BYTES", 0)
    sent = []
    broadcast = SparkContext.broadcast

    def recorded(self: Any, value: Any) -> Any:
        sent.append(broadcast(self, value))
        return sent[-1]

    monkeypatch.setattr(SparkContext, "broadcast", recorded)
    fitted = mixture().fit(frame)
    assert len(sent) == (0 if small else fitted.summary.numPasses)
    assert not any(os.path.exists(variable._path) for variable in sent)


def described(spark: Any) -> dict[int, str]:
    """Descriptions of the jobs so far by their numbers, the oldest first; of many the last."""
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
    jobs = spark.sparkContext._jsc.sc().statusStore().jobsList(None)
    found = [(jobs.apply(i).jobId(), jobs.apply(i).description()) for i in range(jobs.size())]
    return {
        number: text.get() if text.isDefined() else ""
        for number, text in sorted(found, key=lambda j: j[0])
    }


@pytest.mark.parametrize("source", ["dataframe", "parquet"])
def test_jobs_say_what_they_are(spark, frame, file, source) -> None:
    before = max(described(spark), default=-1)
    data = frame if source == "dataframe" else ParquetTable(str(file.parent))
    fitted = mixture().fit(data)
    told = [text for number, text in described(spark).items() if number > before and text]
    passes = [f"EM pass {i}" for i in range(1, fitted.summary.numPasses + 1)]
    packing = ["packing of the rows"] if source == "dataframe" else []
    assert list(dict.fromkeys(told)) == [*packing, "scan of the data", *passes]


def test_fits_in_several_threads_do_not_mix(spark, frame, model) -> None:
    """CrossValidator's way: settings of the session are shared, and end as they were."""
    setting = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(setting)
    mixtures = mixture()
    maps = [{mixtures.k: k} for k in (1, 3, 2)]
    with ThreadPoolExecutor(3) as pool:
        fitted = list(pool.map(lambda params: mixtures.fit(frame, params), maps))
    assert [len(found.weights) for found in fitted] == [1, 3, 2]
    assert_same_model(fitted[1], model, rtol=1e-12)
    assert spark.conf.get(setting) == before
