"""Runs whose driver or executors are killed: the same model by the same command, nothing left."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gmm_spark import GaussianMixtureModel

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.long  # a JVM of its own for every run
# Passes last longer than in life, so that some are hit.
TRAIN = """
import sys, time
from gmm_spark.cli import train
from gmm_spark.engine.passes import PassEngine
run_passes = PassEngine.run_passes
def slow(self, evaluators):
    time.sleep(0.3)
    found = run_passes(self, evaluators)
    time.sleep(0.3)
    return found
PassEngine.run_passes = slow
sys.exit(train.main(sys.argv[1:]))
"""


def begun(table: Path, where: Path) -> subprocess.Popen[str]:
    """The scheduled command, in a process group of its own with its JVM."""
    environment = {key: v for key, v in os.environ.items() if not key.startswith("GMM_")}
    argv = ["--input.path", table, "--columns", "a,b,c,d", "--k", 6, "--seed", 2, "--overwrite"]
    argv += ["--acceleration", "none", "--max_iter", 12, "--sample_size", 4000]
    argv += ["--output", where / "out", "--checkpoint_dir", where / "kept"]
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, *map(str, argv)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def progress(where: Path) -> int:
    """States that were written so far."""
    last: dict[str, int] = {}
    for path in (where / "kept").glob("*.state"):
        step, number = path.stem.rsplit("-", 1)
        last[step] = max(int(number), last.get(step, 0))
    return sum(last.values())


def finished(table: Path, where: Path) -> tuple[GaussianMixtureModel, str]:
    with begun(table, where) as process:
        said = process.communicate()[0]
    assert process.returncode == 0, said
    return GaussianMixtureModel.load(str(where / "out" / "model")), said


@pytest.mark.parametrize("kills", [20])
def test_a_driver_that_is_killed_again_and_again_completes(spark, table, tmp_path, kills) -> None:
    """SIGKILL to the driver and its JVM: at random after it has kept something new, and every
    fourth time before that. What it had kept it never finds out again."""
    expected, _ = finished(table, tmp_path / "undisturbed")
    where, chance, before, done = tmp_path / "killed", random.Random(11), 0, 0
    for number in range(kills):
        with begun(table, where) as process:
            assert process.stdout is not None
            process.stdout.readline()
            waits = number % 4 < 3
            while waits and progress(where) == before and process.poll() is None:
                time.sleep(0.02)
            time.sleep(chance.uniform(0.0, 0.5))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                done += 1
        if process.returncode == 0:
            break
        now = progress(where)
        assert now > before or not waits
        before = now
    assert done >= min(kills, 10)
    found, _ = finished(table, where)
    assert found.means.tobytes() == expected.means.tobytes()
    assert found.covariances.tobytes() == expected.covariances.tobytes()
    assert found.summary.numPasses == expected.summary.numPasses
    assert not (where / "kept").exists()


def test_sigterm_to_the_driver_and_its_jvm(spark, table, tmp_path) -> None:
    expected, _ = finished(table, tmp_path / "undisturbed")
    where = tmp_path / "stopped"
    with begun(table, where) as process:
        while not (where / "kept" / "passes-1-000002.state").exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=120)[0]
    assert process.returncode == 143, said
    assert "stopped: SIGTERM, which schedulers send at a time limit" in said
    assert sorted(path.name for path in (where / "out").iterdir()) == ["log.txt", "manifest.json"]
    assert json.loads((where / "out" / "manifest.json").read_text())["exit_code"] == 143
    found, said = finished(table, where)
    assert re.search(r"it goes on after the first scan, .*, [2-4] passes over all the rows", said)
    assert found.means.tobytes() == expected.means.tobytes()


EXECUTORS = """
import os, signal, sys, threading, time
from pathlib import Path
from pyspark.sql import SparkSession
from gmm_spark import GaussianMixture, ParquetTable
from gmm_spark.engine.passes import PassEngine
spark = (SparkSession.builder.master("local-cluster[2,1,1024]")
    .config("spark.ui.enabled", "false").config("spark.driver.memory", "1g")
    .config("spark.executorEnv.PYTHONPATH", os.getcwd()).getOrCreate())
def executors():
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        mine = spark.sparkContext.applicationId.encode() in words
        if mine and b"CoarseGrainedExecutorBackend" in words and b"java" in words.split(b"\\0")[0]:
            found.append(int(process.name))
    return sorted(found)
killed = []
def kill_one():
    time.sleep(0.1)
    killed.append(executors()[0])
    os.kill(killed[-1], signal.SIGKILL)
run_passes = PassEngine.run_passes
def disturbed(self, evaluators):
    if len(self.seconds) == 1:
        thread = threading.Thread(target=kill_one)
        thread.start()
        found = run_passes(self, evaluators)
        thread.join()
        return found
    return run_passes(self, evaluators)
table = sys.argv[1]
mixture = GaussianMixture(k=5, inputCols=list("abcd"), seed=2, numInit=2, maxIter=6)
mixture.setAcceleration("none")
sources = ParquetTable(table), spark.read.parquet(table).repartition(4, "a")
held = lambda: spark.sparkContext._jsc.getPersistentRDDs().size()
for source in sources:
    PassEngine.run_passes = run_passes
    expected = mixture.fit(source)
    PassEngine.run_passes = disturbed
    found = mixture.fit(source)
    same = found.means.tobytes() == expected.means.tobytes()
    near = abs(found.means - expected.means).max() < 1e-9
    print("RESULT", same, near, len(killed), held(), flush=True)
spark.stop()
"""


def test_executors_that_are_killed_in_mid_pass(table) -> None:
    """One of a fit, in a cluster of two workers of their own; retried tasks count once."""
    ended = subprocess.run(
        [sys.executable, "-c", EXECUTORS, str(table)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    told = [line.split()[1:] for line in ended.stdout.splitlines() if line.startswith("RESULT")]
    assert len(told) == 2, ended.stderr[-3000:]
    assert told[0] == ["True", "True", "1", "0"]
    # Rows that come out of a shuffle once more may have another order, and sums other last bits.
    assert told[1][1:] == ["True", "2", "0"]
