"""The DAG and the crontab of conf/: the commands in them are commands of gmm-spark."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gmm_spark.config import JOBS, load_settings
from gmm_spark.runs import exit_codes

ROOT = Path(__file__).resolve().parents[1]
DAG_FILE = ROOT / "conf" / "airflow" / "customer_segments.py"
CRONTAB = ROOT / "conf" / "crontab"
AIRFLOW = ROOT / ".venv-airflow" / "bin" / "python"


class Operator:
    """In place of Airflow's, which is not among what is installed for tests."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments

    def __rshift__(self, other: Operator) -> Operator:
        other.arguments["after"] = self.arguments["task_id"]
        return other


class Dag:
    def __init__(self, name: str, **arguments: Any) -> None:
        self.arguments = arguments

    def __enter__(self) -> Dag:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names in the DAG's file, read beside stand-ins for Airflow."""
    operators, sdk = ModuleType("bash"), ModuleType("sdk")
    operators.BashOperator = Operator  # type: ignore[attr-defined]
    sdk.DAG = Dag  # type: ignore[attr-defined]
    for name in "airflow", "airflow.providers", "airflow.providers.standard":
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "airflow.providers.standard.operators", ModuleType("all"))
    monkeypatch.setitem(sys.modules, "airflow.providers.standard.operators.bash", operators)
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    return runpy.run_path(str(DAG_FILE))


def ran(command: str, project: Path, places: dict[str, str]) -> tuple[Any, Any]:
    """The settings that a command of the shell gives to gmm-spark, which ends with exit code 5; and
    how the command has ended."""
    program = project / ".venv" / "bin" / "gmm-spark"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\njson.dump(sys.argv, open('said.json', 'w'))\n"
        "print('done', flush=True)\nprint('not published: why', file=sys.stderr)\nsys.exit(5)\n"
    )
    program.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=project,
        env={"PATH": os.environ["PATH"], **places},
        check=False,
        capture_output=True,
        text=True,
    )
    words = json.loads((project / "said.json").read_text("utf-8"))
    return load_settings(JOBS[words[1]], words[2:]), done


def test_the_tasks_are_commands_with_the_date_of_the_schedule(
    tasks: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    commands = (tasks[name].arguments["bash_command"] for name in ("segment", "score"))
    found = [ran(command.replace("{{ ds }}", "2026-11-26"), tmp_path, {}) for command in commands]
    assert [ended.returncode for _, ended in found] == [exit_codes.NOT_PUBLISHED] * 2
    (segment, _), (score, _) = found
    assert segment.run_date == score.run_date == "2026-11-26"
    assert segment.checkpoint_dir == "/lake/checkpoints/2026-11-26"
    assert segment.output == score.model == "/lake/segments"
    assert segment.keep_versions == 30
    assert score.partition_by == ["run_date"]
    # New customers have no outcome yet, by which conf/score.yaml profiles.
    assert score.profile == []
    assert tasks["score"].arguments["after"] == "segment"


def test_a_gate_skips_and_all_else_is_tried_again(tasks: dict[str, Any]) -> None:
    segment = tasks["segment"].arguments
    assert segment["skip_on_exit_code"] == exit_codes.NOT_PUBLISHED
    assert exit_codes.TERMINATED == 143
    assert tasks["dag"].arguments["default_args"]["retries"] > 0
    # A task that was skipped does not keep the scores from being made.
    assert tasks["score"].arguments["trigger_rule"] == "none_failed"


def test_no_variable_of_the_dag_is_one_that_settings_refuse() -> None:
    names = re.findall(r'environ.get\("(\w+)"', DAG_FILE.read_text("utf-8"))
    assert names
    assert not [name for name in names if name.startswith("GMM_")]


def test_the_line_of_cron_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = CRONTAB.read_text("utf-8").splitlines()
    variables = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]+=", line))
    (line,) = [line for line in lines if re.match(r"\d", line)]
    assert not re.search(r"(?<!\\)%", line)  # of which cron makes a new line
    command = line.split(None, 5)[5].replace("\\%", "%")
    (tmp_path / "lake").mkdir()
    assert variables.keys() == {"PROJECT", "LAKE"}
    places = {"PROJECT": str(tmp_path), "LAKE": str(tmp_path / "lake")}
    monkeypatch.chdir(ROOT)
    settings, ended = ran(command, tmp_path, places)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", str(settings.run_date))
    assert settings.checkpoint_dir == f"{places['LAKE']}/checkpoints/{settings.run_date}"
    log = (tmp_path / "lake" / f"{settings.run_date}.log").read_text()
    assert log == "done\nnot published: why\n"
    # What cron mails: of a run that is done nothing, though it says its passes on stderr.
    assert (ended.stderr, ended.stdout) == (
        "",
        f"segments of {settings.run_date}: exit code 5\nnot published: why\n",
    )


@pytest.mark.long
def test_airflow_parses_the_dag(tmp_path: Path) -> None:
    if not AIRFLOW.exists():
        pytest.skip("Airflow is not installed in .venv-airflow: make airflow")
    program = """
import sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1])
assert not bag.import_errors, bag.import_errors
segment, score = bag.dags["customer_segments"].tasks
print(segment.skip_on_exit_code, segment.retries, *segment.downstream_task_ids)
"""
    home = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "false"}
    done = subprocess.run(
        [AIRFLOW, "-c", program, str(DAG_FILE.parent)],
        env={"PATH": os.environ["PATH"], **home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[5] 3 score"
