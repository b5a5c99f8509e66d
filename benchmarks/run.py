"""Benchmarks against pyspark.ml: `python -m benchmarks.run [passes] [scoring] [memory]`.

Every figure is taken in one process that runs both sides in turn, after a warm-up of each, and
what counts is the ratio. Results are printed and written to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)

import pyspark
from pyspark.ml.clustering import GaussianMixture as PeerMixture
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

from benchmarks.data import MIXTURES, Mixture, write_table
from gmm_spark import GaussianMixture, ParquetTable

RESULTS = Path(__file__).parent / "results"
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*", help="names; all by default")
    parser.add_argument("--data", default="/tmp/gmm_spark_benchmarks", help="folder for tables")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    benchmarks = {
        "passes": passes,
        "passes-others": partial(passes, tables=("overlap", "wide")),
        "scoring": scoring,
        "memory": memory,
    }
    folder = Path(arguments.data)
    for name in arguments.which or benchmarks:
        result = {
            "command": f"python -m benchmarks.run {name}",
            "machine": machine(arguments.cores),
            **benchmarks[name](folder, arguments.cores),
        }
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
        print(json.dumps(result, indent=2))


def machine(cores: int) -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": cores,
        "memory_gib": round(memory),
        "python": platform.python_version(),
        "spark": pyspark.__version__,
    }


@contextmanager
def session(cores: int, driver_memory: str) -> Iterator[SparkSession]:
    spark = (
        SparkSession.builder.master(f"local[{cores}]")
        .config("spark.driver.memory", driver_memory)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.python.unix.domain.socket.enabled", "true")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    try:
        yield spark
    finally:
        spark.stop()


def seconds(run: Callable[[], Any]) -> float:
    started = time.monotonic()
    run()
    return time.monotonic() - started


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def passes(folder: Path, cores: int, tables: tuple[str, ...] = ("sep1",)) -> dict[str, Any]:
    """One EM pass of ours, from Parquet and from a DataFrame, against one iteration of theirs."""
    figures = {}
    with session(cores, "6g") as spark:
        for name in tables:
            figures[name] = _passes_of(spark, MIXTURES[name], write_table(MIXTURES[name], folder))
    return {"seconds a pass": figures}


def _passes_of(spark: SparkSession, mixture: Mixture, path: Path) -> dict[str, Any]:
    frame = spark.read.parquet(str(path))
    assembled = VectorAssembler(inputCols=mixture.columns, outputCol="features").transform(frame)
    vectors = assembled.select("features").cache()
    vectors.count()
    # Any start will do: a small sample finds one soon.
    ours = GaussianMixture(k=mixture.k, inputCols=mixture.columns, seed=1, numInit=1, maxIter=1)
    start = ours.setSampleSize(10_000).fit(ParquetTable(str(path)))
    # A start away from the optimum, so that no side stops early.
    ours = ours.setTol(0.0).setInitialModel(_blurred(start)).setMaxIter(6)

    def own(data: Any) -> list[float]:
        return [record["seconds"] for record in ours.fit(data).summary.history[1:]]

    def peer(iterations: int) -> tuple[float, int]:
        estimator = PeerMixture(k=mixture.k, seed=1, tol=0.0, maxIter=iterations)
        started = time.monotonic()
        done = estimator.fit(vectors).summary.numIter
        return time.monotonic() - started, done

    peer(2)
    parquet: list[float] = []
    packed: list[float] = []
    theirs: list[float] = []
    for _ in range(REPEATS):
        parquet += own(ParquetTable(str(path)))
        (short, first), (long, last) = peer(2), peer(7)
        if last > first:
            theirs.append((long - short) / (last - first))
        packed += own(frame)
    vectors.unpersist()
    figures: dict[str, Any] = {
        "gmm_spark, Parquet": _spread(parquet),
        "gmm_spark, DataFrame": _spread(packed),
    }
    if not theirs:
        return {**figures, "pyspark.ml": f"gives up after {last} iterations of 7"}
    middle = statistics.median(theirs)
    return {
        **figures,
        "pyspark.ml": _spread(theirs),
        "ratio, Parquet": round(middle / statistics.median(parquet), 2),
        "ratio, DataFrame": round(middle / statistics.median(packed), 2),
    }


def _blurred(model: Any) -> Any:
    return model.fromParameters(
        model.weights, model.means, 2 * model.covariances, inputCols=model.getInputCols()
    )


def scoring(folder: Path, cores: int) -> dict[str, Any]:
    """Parquet to Parquet: prediction and probability of every row, ours against theirs."""
    mixture = MIXTURES["sep1"]
    path = str(write_table(mixture, folder))
    out = str(folder / "scored")
    with session(cores, "6g") as spark:
        frame = spark.read.parquet(path)
        assembler = VectorAssembler(inputCols=mixture.columns, outputCol="features")
        vectors = assembler.transform(frame.limit(50_000))
        theirs = PeerMixture(k=mixture.k, seed=1, maxIter=3).fit(vectors)
        ours = GaussianMixture(k=mixture.k, inputCols=mixture.columns, seed=1, numInit=1)
        model = ours.setMaxIter(2).fit(ParquetTable(path))

        def write(scored: Any) -> None:
            scored.select("prediction", "probability").write.mode("overwrite").parquet(out)

        def own() -> None:
            write(model.transform(ParquetTable(path, columns=())))

        def own_frame() -> None:
            write(model.transform(spark.read.parquet(path)))

        def peer() -> None:
            write(theirs.transform(assembler.transform(spark.read.parquet(path))))

        own(), own_frame(), peer()
        table, dataframe, theirs_seconds = [], [], []
        for _ in range(2 * REPEATS):
            table.append(seconds(own))
            theirs_seconds.append(seconds(peer))
            dataframe.append(seconds(own_frame))
    middle = statistics.median(theirs_seconds)
    return {
        "rows": mixture.rows,
        "gmm_spark, ParquetTable": _spread(table),
        "gmm_spark, DataFrame": _spread(dataframe),
        "pyspark.ml": _spread(theirs_seconds),
        "ratio, ParquetTable": round(middle / statistics.median(table), 2),
        "ratio, DataFrame": round(middle / statistics.median(dataframe), 2),
    }


def memory(folder: Path, cores: int) -> dict[str, Any]:
    """10M x 16, k = 8, from Parquet with a driver heap of 2 GiB: peak memory of the workers."""
    mixture = MIXTURES["big"]
    path = str(write_table(mixture, folder))
    peaks: dict[int, int] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            for pid in _python_workers():
                peaks[pid] = max(peaks.get(pid, 0), _resident(pid))

    with session(cores, "2g") as spark:
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        estimator = GaussianMixture(k=mixture.k, inputCols=mixture.columns, seed=1)
        started = time.monotonic()
        model = estimator.fit(ParquetTable(path))
        took = time.monotonic() - started
        cached = int(spark.sparkContext._jsc.sc().getRDDStorageInfo().__len__())
        stop.set()
        watcher.join()
    summary = model.summary
    return {
        "rows": summary.numRows,
        "driver heap": "2g",
        "seconds": round(took, 1),
        "passes": summary.numPasses,
        "converged": summary.converged,
        "mean log-likelihood": round(summary.meanLogLikelihood, 6),
        "seconds a pass": _spread([record["seconds"] for record in summary.history]),
        "peak MiB of a worker": round(max(peaks.values()) / 2**20),
        "cached RDDs": cached,
    }


def _python_workers() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"pyspark.daemon" in command:
                found.append(int(entry.name))
    return found


def _resident(pid: int) -> int:
    try:
        for line in (Path("/proc") / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


if __name__ == "__main__":
    main()
