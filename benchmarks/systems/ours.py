"""gmm_spark: from a Parquet table, from a DataFrame, without acceleration, and many k at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.data import Table, read_rows
from benchmarks.evaluation import column_deviations, narrowest
from benchmarks.systems.spark import cached_tables, session, warmed
from benchmarks.systems.throttled import far_away

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Enough for a DataFrame packed into the cache; a Parquet table needs none of it.
HEAP = {"dataframe": "6g", "far-cached": "6g"}
SMALL_HEAP = "2g"
SEARCHED = range(2, 13)
# A new value lies between the 5th and the 95th of 99 draws from its distribution 9 times in 10.
DRAWS, LOW, HIGH = 99, 4, 94


class NotYetError(Exception):
    """This version of gmm_spark cannot do what is measured."""


def fits(
    table: Table,
    seeds: list[int],
    *,
    variant: str,
    warm: Table,
    cores: int,
    narrow: float | None = None,
) -> Iterator[dict[str, Any]]:
    """One fit a seed; variants: parquet, dataframe, plain (no acceleration), search.

    The peers have no floor, or a ridge far below what a column was recorded in. With `narrow` a
    component may be as narrow as that, in deviations of the columns, and no narrower, so that
    likelihoods can be compared where a peer's component sits on a repeated value.
    """
    with session(cores, HEAP.get(variant, SMALL_HEAP)) as spark:
        _fit(spark, warm, 0, variant)
        floor = None if narrow is None else _floor(spark, table, narrow)
        for seed in seeds:
            yield _fit(spark, table, seed, variant, floor)


def _floor(spark: SparkSession, table: Table, narrow: float) -> float:
    """The covarianceFloor at which a component is that narrow: it is a fraction of the columns'
    deviation by their quartiles, which is not their standard deviation."""
    fitted = _fit(spark, table, 0, "parquet", narrow)["parameters"]
    deviations = column_deviations(table.path, table.columns)
    return narrow * narrow / narrowest(np.array(fitted["covariances"]), deviations)


def step(
    table: Table,
    *,
    variant: str,
    warm: Table,
    cores: int,
    repeats: int,
    partitions: int | None = None,
) -> list[float]:
    """Seconds of each pass after the first, over fits from one start away from the optimum.

    Variants beside those of `fits`: gaps (what is missing is integrated out), far and far-cached
    (on a throttled file system, read again every pass or kept by the executors).
    """
    with session(cores, HEAP.get(variant, SMALL_HEAP)) as spark:
        _fit(spark, warm, 0, variant)
        estimator = _estimator(table, seed=1, plain=True).setTol(0.0)
        estimator.setInitialModel(_rough_start(table)).setSampleSize(10_000)
        if variant == "gaps":
            estimator.setMissing("marginalize")

        def run(passes: int) -> list[float]:
            data = _data(spark, table, variant)
            if partitions is not None:
                data = data.repartition(partitions)
            history = estimator.setMaxIter(passes).fit(data).summary.history
            # Without the scan and the first pass, which starts the workers' caches.
            return [record["seconds"] for record in history[2:]]

        warmed(run)
        seconds: list[float] = []
        for _ in range(repeats):
            run(2)
            seconds += run(7)
    return seconds


def impute(table: Table, *, variant: str, warm: Table, cores: int) -> dict[str, Any]:
    """Fill the gaps of a table; the draws, for intervals of 90 %, are not in the time."""
    rows = read_rows(table.path, table.columns)
    missing = np.isnan(rows)
    with session(cores, SMALL_HEAP) as spark:
        _fit(spark, warm, 0, variant)
        started = time.monotonic()
        estimator = _estimator(table, seed=1, plain=False).setMissing("marginalize")
        model = estimator.fit(_data(spark, table, variant))
        in_order = spark.read.parquet(str(table.path)).orderBy(
            "_metadata.file_path", "_metadata.row_index"
        )
        filled = _collected(model.impute(in_order), table.columns)
        seconds = time.monotonic() - started
        assert np.array_equal(filled[~missing], rows[~missing])
        found = model.impute(in_order, draws=DRAWS, seed=1)
        numbered = _collected(found, ("imputation", *table.columns))
    # In every batch of rows the draws come one after the other.
    drawn = numbered[np.argsort(numbered[:, 0], kind="stable"), 1:].reshape(DRAWS, *rows.shape)
    assert (drawn[:, ~missing] == rows[~missing]).all()
    drawn = np.sort(drawn[:, missing], axis=0)
    return {
        "seconds": seconds,
        "put in": filled[missing].tolist(),
        "low": drawn[LOW].tolist(),
        "high": drawn[HIGH].tolist(),
    }


def _collected(frame: Any, columns: tuple[str, ...]) -> Any:
    found = frame.select(*columns).toArrow()
    return np.column_stack([column.to_numpy() for column in found.columns])


def _fit(
    spark: SparkSession, table: Table, seed: int, variant: str, floor: float | None = None
) -> dict[str, Any]:
    estimator = _searcher(table, seed) if variant == "search" else None
    estimator = estimator or _estimator(table, seed, plain=variant == "plain")
    if floor is not None:
        estimator.setCovarianceFloor(floor)
    started = time.monotonic()
    found = estimator.fit(_data(spark, table, variant))
    seconds = time.monotonic() - started
    model = getattr(found, "bestModel", found)
    summary = model.summary
    return {
        "seed": seed,
        "seconds": seconds,
        "iterations": summary.numIter,
        "passes": summary.numPasses,
        "converged": summary.converged,
        "reason": summary.reason,
        "reported": summary.meanLogLikelihood,
        "k": summary.k,
        "history": [
            {
                "kind": record["kind"],
                "seconds": record["seconds"],
                "mean_log_likelihood": record["meanLogLikelihood"],
            }
            for record in summary.history
            if record["pass"] > 0
        ],
        "warnings": list(summary.warnings),
        "cached": cached_tables(spark),
        "parameters": {
            "weights": list(model.weights),
            "means": model.means.tolist(),
            "covariances": model.covariances.tolist(),
        },
    }


def _estimator(table: Table, seed: int, plain: bool) -> Any:
    from gmm_spark import GaussianMixture

    estimator = GaussianMixture(k=table.k, inputCols=list(table.columns), seed=seed)
    if plain and estimator.hasParam("acceleration"):
        estimator._set(acceleration="none")
    return estimator


def _searcher(table: Table, seed: int) -> Any:
    try:
        from gmm_spark import GaussianMixtureSearch  # type: ignore[attr-defined, unused-ignore]
    except ImportError:
        raise NotYetError("this version has no GaussianMixtureSearch") from None
    searcher = GaussianMixtureSearch(
        k=list(SEARCHED),
        covarianceType=["full"],
        criterion="bic",
        inputCols=list(table.columns),
    )
    return searcher._set(seed=seed) if searcher.hasParam("seed") else searcher


def _data(spark: SparkSession, table: Table, variant: str) -> Any:
    if variant == "dataframe":
        return spark.read.parquet(str(table.path))
    from gmm_spark import ParquetTable

    if variant in ("far", "far-cached"):
        cached = variant == "far-cached"
        return ParquetTable(str(table.path), cached=cached, filesystem=far_away())
    return ParquetTable(str(table.path))


def _rough_start(table: Table) -> Any:
    """Rows of the table as means, and the whole table's covariance: far from any optimum."""
    from gmm_spark import GaussianMixtureModel

    rows = read_rows(next(iter(sorted(table.path.glob("*.parquet")))), table.columns)
    rows = rows[~np.isnan(rows).any(axis=1)]
    rng = np.random.default_rng(1)
    means = rows[rng.choice(len(rows), table.k, replace=len(rows) < table.k)]
    # A few rows of a wide table have no regular covariance of their own.
    covariance = np.cov(rows.T) + 0.1 * np.diag(rows.var(axis=0))
    return GaussianMixtureModel.fromParameters(
        np.full(table.k, 1 / table.k),
        means + 0.01 * rng.normal(size=means.shape),
        np.repeat(covariance[None], table.k, axis=0),
        inputCols=list(table.columns),
    )
