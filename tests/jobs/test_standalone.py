"""On Spark's standalone cluster, from another directory, by what `make dist` makes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose

from gmm_spark import GaussianMixture, GaussianMixtureModel, ParquetTable
from tests.jobs.cluster_program import SETTINGS
from tests.jobs.standalone import SPARK_HOME, Cluster, python_without_the_package, without_spark

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("cluster_program.py")
pytestmark = pytest.mark.long  # processes of their own for every run

Submit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield cluster
    finally:
        cluster.end()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of driver and executors: all packages but gmm_spark."""
    return python_without_the_package(tmp_path_factory.mktemp("python"))


@pytest.fixture
def submit(cluster: Cluster, python: Path, tmp_path: Path) -> Submit:
    """spark-submit to the cluster, from a directory in which nothing is."""

    def run(*argv: object, **pythons: object) -> subprocess.CompletedProcess[str]:
        used = {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python, **pythons}
        environment = without_spark() | {name: str(path) for name, path in used.items()}
        environment |= {"SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1"}
        where = tmp_path / "elsewhere"
        where.mkdir(exist_ok=True)
        settings = {
            # Not before both workers have begun.
            "spark.cores.max": 2, "spark.scheduler.minRegisteredResourcesRatio": 1,
            "spark.executor.memory": "512m", "spark.driver.memory": "1g",
            "spark.ui.enabled": "false", "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
            "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1",
        }  # fmt: skip
        words = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
        return subprocess.run(
            [
                str(SPARK_HOME / "bin" / "spark-submit"), "--master", cluster.url,
                "--properties-file", str(ROOT / "conf" / "spark-defaults.conf"),
                *words, *map(str, argv),
            ],
            cwd=where, env=environment, capture_output=True, text=True,
            check=False, timeout=600,
        )  # fmt: skip

    yield run
    cluster.complete()


def found(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ended.returncode == 0, ended.stdout[-1000:] + ended.stderr[-4000:]
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize(
    ("source", "faults"),
    [("table", ["python", "speculation", "worker"]), ("frame", ["python", "worker"])],
)
def test_a_fit_whose_passes_are_disturbed(
    spark, cluster, submit, distributions, table, source, faults
) -> None:
    """Python workers that are killed, as they are for memory, a task that is done twice, a worker
    that is lost with its executor: the model is that of the same fit on one machine."""
    data = ParquetTable(str(table))
    if source == "frame":
        data = spark.read.parquet(str(table)).repartition(4, "a")
    expected = GaussianMixture(**SETTINGS).fit(data)
    victim, speculation = cluster.workers[0], ["--conf", "spark.speculation=true"]
    # Tasks that stand for longer than a fault, of which the others are done.
    speculation += ["--conf", "spark.speculation.minTaskRuntime=5s"]
    package = ["--py-files", distributions.package]
    told = found(submit(*package, *speculation, PROGRAM, source, table, victim.pid, *faults))
    assert told["passes"] > len(faults)
    assert victim.wait(10) == -9
    assert told["repeated"] > 0
    assert told["kept"] == 0
    assert told["rows"] == 20_000
    for name in ("weights", "means", "covariances"):
        if source == "table":
            assert np.array(told[name]).tobytes() == np.array(getattr(expected, name)).tobytes()
        else:
            assert_allclose(told[name], getattr(expected, name), rtol=1e-9, atol=1e-9)
    # Not the package of this checkout: the zip that the cluster was sent.
    for _, package, _ in [told["driver"], *told["workers"]]:
        assert "gmm_spark.zip/gmm_spark/" in package


def test_train_score_and_churn_with_the_zip(submit, distributions, lake, tmp_path) -> None:
    """Whose Python, on the driver and on the executors, has no gmm_spark: it is in the zip."""
    data = ["--input.path", lake / "customers"]

    def run(job: str, *argv: object) -> str:
        ended = submit("--py-files", distributions.package, ROOT / "jobs" / job, *data, *argv)
        assert ended.returncode == 0, ended.stdout[-1000:] + ended.stderr[-4000:]
        return str(ended.stdout)

    run("train.py", "--columns", "spend,visits", "--k", 3, "--output", tmp_path / "trained")
    model = tmp_path / "trained" / "model"
    assert sorted(GaussianMixtureModel.load(str(model)).summary.clusterSizes) == [100, 200, 300]
    scores = ["--keep_columns", "customer_id", "--output", tmp_path / "scored"]
    run("score.py", "--model", model, *scores)
    assert pq.read_table(tmp_path / "scored" / "scores").num_rows == 600
    argv = ["--id", "customer_id", "--outcome", "left", "--k", "2..4"]
    said = run("churn_segmentation.py", *argv, "--output", tmp_path / "churned")
    assert "600 customers in " in said
    written = {path.name for path in (tmp_path / "churned").iterdir()}
    assert written >= {"model", "scores", "segments.json", "report.html"}
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_environment_of_the_archive(submit, table, distributions, tmp_path) -> None:
    """What the executors unpack is their Python, numpy and gmm_spark; on the driver it does too."""
    unpacked = tmp_path / "environment"
    unpacked.mkdir()
    subprocess.run(["tar", "-xzf", distributions.environment, "-C", unpacked], check=True)
    told = found(
        submit(
            "--archives", f"{distributions.environment}#environment", PROGRAM, "table", table,
            PYSPARK_PYTHON="./environment/bin/python",
            PYSPARK_DRIVER_PYTHON=unpacked / "bin" / "python",
        )
    )  # fmt: skip
    assert told["rows"] == 20_000
    for prefix, *modules in told["workers"]:
        assert Path(prefix).name == "environment"
        assert Path(prefix).parents[1].name.startswith("app-")  # where the executor is at work
        assert [Path(path).is_relative_to(prefix) for path in modules] == [True, True]
    prefix, *modules = told["driver"]
    assert [Path(path).is_relative_to(unpacked) for path in (prefix, *modules)] == [True] * 3
