"""The wheel of `make dist`: installed without a network, and its command used from elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.standalone import python_without_the_package, without_spark

pytestmark = pytest.mark.long  # a JVM of its own for every run


def test_the_command_of_the_wheel(distributions, lake, tmp_path) -> None:
    """Train, score, evaluate and churn, by the command alone."""
    python = python_without_the_package(tmp_path / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    offline = ["--no-deps", "--no-index", "--disable-pip-version-check", distributions.wheel]
    subprocess.run([*pip, *offline], check=True, cwd=tmp_path, env=without_spark())
    where = tmp_path / "elsewhere"
    where.mkdir()

    def run(*argv: object) -> str:
        ended = subprocess.run(
            [python.with_name("gmm-spark"), *map(str, argv)],
            cwd=where, env=without_spark(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout[-1000:] + ended.stderr[-3000:]
        return ended.stdout

    assert run("--help").startswith("usage: gmm-spark JOB")
    data = ["--input.path", lake / "customers"]
    run("train", *data, "--columns", "spend,visits", "--k", 3, "--output", "trained")
    run("score", *data, "--model", "trained/model", "--output", "scored")
    run("evaluate", *data, "--model", "trained/model", "--output", "evaluated")
    run("churn", *data, "--id", "customer_id", "--outcome", "left", "--k", 3, "--output", "churned")
    assert sorted(path.name for path in where.iterdir()) == [
        "churned", "evaluated", "scored", "trained",
    ]  # fmt: skip
    for output in where.iterdir():
        assert json.loads((output / "manifest.json").read_text("utf-8"))["status"] == "done"
    assert Path(where / "churned" / "report.html").stat().st_size > 10_000
