"""Parquet to Parquet: prediction and probability of every row, both sides in turn."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks.data import Table
from benchmarks.systems.spark import assembled, session


def scoring(table: Table, cores: int, repeats: int) -> dict[str, Any]:
    """Seconds of scoring a whole table, ours from the table and from a DataFrame, and theirs."""
    from pyspark.ml.clustering import GaussianMixture as PeerMixture

    from gmm_spark import GaussianMixture, ParquetTable

    path = str(table.path)
    with session(cores, "6g") as spark, tempfile.TemporaryDirectory() as out:
        vectors = assembled(spark, table).limit(50_000)
        theirs = PeerMixture(k=table.k, seed=1, maxIter=3).fit(vectors)
        ours = GaussianMixture(k=table.k, inputCols=list(table.columns), seed=1, numInit=1)
        model = ours.setMaxIter(2).fit(ParquetTable(path))

        def write(scored: Any) -> None:
            scored.select("prediction", "probability").write.mode("overwrite").parquet(out)

        runs: dict[str, Callable[[], None]] = {
            "gmm_spark, ParquetTable": lambda: write(
                model.transform(ParquetTable(path, columns=()))
            ),
            "pyspark.ml": lambda: write(theirs.transform(assembled(spark, table))),
            "gmm_spark, DataFrame": lambda: write(model.transform(spark.read.parquet(path))),
        }
        for run in runs.values():
            run()
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(repeats):
            for name, run in runs.items():
                started = time.monotonic()
                run()
                seconds[name].append(time.monotonic() - started)
    return {"seconds": seconds}
