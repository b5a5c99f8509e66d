"""Scoring a stream of files: after a failure and a restart no row is there twice or lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chispa import assert_df_equality
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from gmm_spark import GaussianMixtureModel

ROOT = Path(__file__).parents[2]
SCHEMA = "id long, x double, y double"


def write(groups: np.ndarray, source: Path, number: int) -> None:
    """A file of 50 customers, which appears whole."""
    source.mkdir(exist_ok=True)
    rows = pd.DataFrame(groups[50 * number : 50 * number + 50], columns=["x", "y"])
    rows.insert(0, "id", range(50 * number, 50 * number + 50))
    temporary = source / f"_{number}"
    rows.to_parquet(temporary)
    temporary.rename(source / f"{number}.parquet")


def scoring(spark: SparkSession, model: GaussianMixtureModel, lake: Path) -> Any:
    """A query that scores a file after the other, until all that are there are scored."""
    stream = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1)
    scored = model.transform(stream.parquet(str(lake / "in")))
    writer = scored.writeStream.format("parquet").trigger(availableNow=True)
    writer = writer.option("checkpointLocation", str(lake / "checkpoint"))
    return writer.start(str(lake / "out"))


def assert_scored_once(spark: SparkSession, model: GaussianMixtureModel, lake: Path) -> None:
    found = spark.read.parquet(str(lake / "out"))
    expected: DataFrame = model.transform(spark.read.schema(SCHEMA).parquet(str(lake / "in")))
    assert_df_equality(found, expected, ignore_row_order=True, ignore_metadata=True)
    assert found.count() == found.select(F.countDistinct("id")).first()[0]


@pytest.mark.long
def test_after_a_failure_the_stream_goes_on_where_it_was(spark, groups, model, tmp_path) -> None:
    """The third file holds a null, which the model refuses; it is put right, more come."""
    for number in range(4):
        write(groups, tmp_path / "in", number)
    os.utime(tmp_path / "in" / "0.parquet", (1, 1))  # the order in which they are read
    os.utime(tmp_path / "in" / "1.parquet", (2, 2))
    bad = groups.copy()
    bad[120, 1] = np.nan
    write(bad, tmp_path / "in", 2)
    query = scoring(spark, model, tmp_path)
    with pytest.raises(StreamingQueryException, match="column 'y'"):
        query.awaitTermination(120)
    assert 0 < spark.read.parquet(str(tmp_path / "out")).count() < 200
    for number in (2, 4, 5):
        write(groups, tmp_path / "in", number)
    for _ in range(2):  # the second time there is nothing to do
        assert scoring(spark, model, tmp_path).awaitTermination(120)
        assert_scored_once(spark, model, tmp_path)


STREAM = """
import sys
from pathlib import Path
from pyspark.sql import SparkSession
from gmm_spark import GaussianMixtureModel
from tests.estimator.test_streaming import scoring
spark = (SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    .config("spark.driver.memory", "1g").getOrCreate())
lake = Path(sys.argv[1])
model = GaussianMixtureModel.load(str(lake / "model"))
print("begun", flush=True)
scoring(spark, model, lake).awaitTermination()
"""


@pytest.mark.long  # a JVM for every kill
def test_a_driver_that_is_killed_loses_and_doubles_nothing(spark, groups, model, tmp_path) -> None:
    model.save(str(tmp_path / "model"))
    for number in range(6):
        write(groups, tmp_path / "in", number)
    chance = random.Random(3)
    for _ in range(4):
        command = [sys.executable, "-c", STREAM, str(tmp_path)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True, text=True
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(chance.uniform(0.5, 6.0))
            os.killpg(process.pid, signal.SIGKILL)
    assert scoring(spark, model, tmp_path).awaitTermination(120)
    assert_scored_once(spark, model, tmp_path)
