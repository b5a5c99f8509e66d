"""Real runs of spark-submit: the exit code and the files are what a scheduler sees.

Nothing of this machine's Spark is set, no SPARK_CONF_DIR either: spark-defaults.conf alone, as in
the README.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.long  # a JVM of its own for every run


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dist") / "gmm_spark.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for module in sorted((ROOT / "gmm_spark").rglob("*.py")):
            archive.write(module, module.relative_to(ROOT))
    return path


@pytest.fixture
def submit(package: Path, tmp_path: Path):
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("SPARK_", "PYSPARK_"))
    }
    environment |= {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}

    def run(job: str, *argv: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                str(Path(sys.executable).parent / "spark-submit"),
                "--master", "local[2]", "--conf", "spark.ui.enabled=false",
                "--properties-file", str(ROOT / "conf" / "spark-defaults.conf"),
                "--py-files", str(package), str(ROOT / "jobs" / job), *map(str, argv),
            ],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False,
        )  # fmt: skip

    return run


_SPARKS_OWN = re.compile(
    r"(\d\d/\d\d/\d\d )?(\d\d:\d\d:\d\d )?(TRACE|DEBUG|INFO|WARN|ERROR|FATAL) "
    r"|(WARNING|Using|Setting|To adjust|Traceback|Caused by|PySpark|Exception)\b|\[Stage|\s+at "
    r"|[\w.]+(Error|Exception)\b"
)


def not_ours(output: str) -> tuple[list[str], list[str]]:
    """Lines that are not the job's own, before and after it said that it has started."""
    lines = [line for line in output.splitlines() if line.strip()]
    started = [i for i, line in enumerate(lines) if re.match(r"[\d:]{8} \w+: started, run ", line)]
    assert len(started) == 1, output
    return lines[: started[0]], [line for line in lines[started[0] :] if _SPARKS_OWN.match(line)]


def test_train_then_score_the_sample_customers(submit, tmp_path) -> None:
    sample = ["--input.path", ROOT / "sample" / "telco_churn"]
    train = ["--config", ROOT / "conf" / "train.yaml", *sample, "--num_init", 4, "--tol", 1e-4]
    # From the project's directory, where conf/ is.
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    ended = submit("train.py", *train)
    assert ended.returncode == 0, ended.stdout
    assert "4 segments; 7,032 rows used, 11 skipped because of gaps" in ended.stdout
    before, after = not_ours(ended.stdout)
    # One of the JVM's: Spark 4.3 asks for a module in incubation.
    assert [line for line in before if not line.startswith("WARNING: Using incubator")] == []
    assert after == []
    assert (tmp_path / "output" / "segments" / "model" / "metadata").is_dir()

    # From anywhere else.
    (tmp_path / "conf").unlink()
    ended = submit("score.py", "--config", ROOT / "conf" / "score.yaml", *sample)
    assert ended.returncode == 0, ended.stdout
    before, after = not_ours(ended.stdout)
    assert len(before) <= 10, before
    assert after == []
    assert "7,043 rows scored" in ended.stdout
    assert "churn rate" in ended.stdout
    output = tmp_path / "output" / "scores"
    found = json.loads((output / "manifest.json").read_text("utf-8"))
    assert found["rows"] == {"read": 7043, "scored": 7043, "unscored": 0}
    table = pq.read_table(output / "scores")
    assert table.num_rows == 7043
    assert table["prediction"].null_count == 0

    gaps = [*sample, "--missing", "error", "--output", tmp_path / "none"]
    ended = submit("score.py", "--config", ROOT / "conf" / "score.yaml", *gaps)
    assert ended.returncode == 3
    _, after = not_ours(ended.stdout)
    assert after == []

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    ended = submit("train.py", *train, "--no-overwrite")
    assert ended.returncode == 2
    assert "configuration: output: found manifest.json, model in " in ended.stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_exit_code_reaches_the_scheduler(submit, tmp_path, lake) -> None:
    argv = ["--input.path", lake / "customers", "--output", tmp_path / "out"]
    # A value that cannot be cast fails in a task: Spark's log has nothing to add to our line.
    ended = submit("train.py", *argv, "--columns", "spend,cast(name as double) as number")
    assert ended.returncode == 3
    _, after = not_ours(ended.stdout)
    assert after == []
    assert "fails in 600 of 600 rows" in ended.stdout
    assert json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))["exit_code"] == 3
    ended = submit("train.py", *argv, "--columns", "spend", "--sede", 1)
    assert ended.returncode == 2
    assert "configuration: sede: unknown flag --sede; did you mean --seed?" in ended.stdout


def test_from_plain_python(tmp_path, lake) -> None:
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("SPARK_", "PYSPARK_")) and key != "PYTHONPATH"
    }
    ended = subprocess.run(
        [
            sys.executable, str(ROOT / "jobs" / "train.py"),
            "--input.path", str(lake / "customers"),
            "--columns", "spend,visits", "--k", "3", "--output", "out",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=environment | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "out" / "model").is_dir()
