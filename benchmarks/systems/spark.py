"""What the two systems on Spark share: a session, and a table to warm it with."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from benchmarks.data import Table

WARM_SECONDS = 15


@contextmanager
def session(cores: int, driver_memory: str) -> Iterator[SparkSession]:
    """A local session on some cores, with the heap given."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    from pyspark.sql import SparkSession

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


def warmed(run: Callable[[int], Any]) -> None:
    """Runs two passes or iterations again and again until the JVM has compiled what it needs for
    them: before that its compiler takes time of the cores from what is measured."""
    started = time.monotonic()
    while time.monotonic() - started < WARM_SECONDS:
        run(2)


def assembled(spark: SparkSession, table: Table) -> DataFrame:
    """The table with its columns in one vector, as pyspark.ml takes them."""
    from pyspark.ml.feature import VectorAssembler

    assembler = VectorAssembler(inputCols=list(table.columns), outputCol="features")
    return assembler.transform(spark.read.parquet(str(table.path))).select("features")


def cached_tables(spark: SparkSession) -> int:
    """How many data sets Spark holds in memory or on disk."""
    return len(spark.sparkContext._jsc.sc().getRDDStorageInfo())  # type: ignore[union-attr]
