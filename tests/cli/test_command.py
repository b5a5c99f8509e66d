"""The command `gmm-spark`, as the wheel has it, and `python -m gmm_spark`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import gmm_spark
from gmm_spark.cli.main import main
from gmm_spark.config import JOBS
from tests.cli.conftest import manifest

ROOT = Path(__file__).resolve().parents[2]


def test_it_lists_its_jobs(capsys) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: gmm-spark JOB --config FILE")
    for name, kind in JOBS.items():
        assert f"  {name:<{max(map(len, JOBS))}}  {str(kind.__doc__).splitlines()[0]}" in said
    assert max(map(len, said.splitlines())) <= 100


def test_without_a_job_it_says_how_it_is_used(capsys) -> None:
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("usage: gmm-spark JOB")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian", "--k", "3"], "configuration: trian: unknown job; did you mean train?\n"),
        (["xyz"], "configuration: xyz: unknown job; --help lists the known ones\n"),
        (["train", "--sede", "3"], "configuration: sede: unknown flag --sede; did you mean --seed"),
    ],
)
def test_a_mistake_is_one_line(capsys, words, said) -> None:
    assert main(words) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith(said)
    assert found.err.count("\n") == 1


def test_it_says_its_version(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gmm-spark {gmm_spark.__version__}\n"


@pytest.mark.parametrize("name", JOBS)
def test_help_of_a_job_says_how_it_was_called(name, capsys) -> None:
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: gmm-spark {name} --config FILE")
    job = import_module(f"gmm_spark.cli.{name}")
    assert job.main(["--help"], prog=f"{name}.py") == 0
    assert capsys.readouterr().out.startswith(f"usage: {name}.py --config FILE")


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_an_entry_and_a_module_of_its_name(name) -> None:
    job = import_module(f"gmm_spark.cli.{name}").JOB
    assert (job.name, job.settings) == (name, JOBS[name])
    files = (Path(gmm_spark.__file__).parent / "cli").glob("*.py")
    assert {path.stem for path in files} == {"__init__", "main", "versions", *JOBS}


@pytest.mark.parametrize("name", JOBS)
def test_every_job_is_a_file_for_spark_submit_too(name) -> None:
    own = f"from gmm_spark.cli.{name} import main"
    (path,) = (one for one in (ROOT / "jobs").glob("*.py") if own in one.read_text("utf-8"))
    assert len(path.read_text("utf-8").splitlines()) < 15
    ended = subprocess.run(
        [sys.executable, str(path), "--help"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"usage: {path.name} --config FILE")


def test_train_then_score(call, lake, tmp_path) -> None:
    source = ["--input.path", lake / "customers"]
    trained, scored = tmp_path / "trained", tmp_path / "scored"
    more = ["--columns", "spend,visits", "--k", 3, "--seed", 1, "--output", trained]
    ended = call(main, "train", *source, *more)
    assert (ended.code, ended.problem) == (0, "")
    ended = call(main, "score", *source, "--model", trained / "model", "--output", scored)
    assert (ended.code, ended.problem) == (0, "")
    assert ended.out.startswith("600 rows scored\n")
    assert manifest(scored)["rows"]["scored"] == 600


@pytest.mark.long
def test_the_command_of_an_installed_wheel(tmp_path) -> None:
    """What this environment has is there too, but not the checkout."""
    source, dist, home = (tmp_path / name for name in ("source", "dist", "home"))
    # setuptools builds where the source is.
    shutil.copytree(ROOT / "gmm_spark", source / "gmm_spark")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist), str(source)]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = dist.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (packages,) = home.glob("lib/python*/site-packages")
    install = ["-m", "pip", "install", "--no-deps", "--target", str(packages), str(wheel)]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    theirs = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "theirs.pth").write_text(theirs + "\n")
    script = (
        "from importlib.metadata import entry_points\n"
        "(found,) = entry_points(group='console_scripts', name='gmm-spark')\n"
        "import gmm_spark, sys\nprint(gmm_spark.__file__, file=sys.stderr)\n"
        "sys.exit(found.load()())\n"
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SPARK_", "PYSPARK_", "GMM_", "PYTHON"))
    }
    empty = tmp_path / "empty"
    empty.mkdir()

    def command(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(home / "bin" / "python"), "-c", script, *map(str, words)],
            cwd=empty, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    sample = ["--input.path", ROOT / "sample" / "telco_churn"]
    ended = command("train", "--config", ROOT / "conf" / "train.yaml", *sample, "--num_init", 2)
    assert ended.returncode == 0, ended.stderr
    assert str(packages) in ended.stderr
    assert ended.stdout.startswith("4 segments; 7,032 rows used, 11 skipped because of gaps\n")
    assert (empty / "output" / "segments" / "model" / "metadata").is_dir()
    # Of Spark and the JVM no line but the one that nothing turns off.
    log = [line for line in ended.stderr.splitlines()[1:] if not re.match(r"\d\d:\d\d:\d\d ", line)]
    assert [line for line in log if not line.startswith("WARNING: Using incubator")] == []
    ended = command("score", "--config", ROOT / "conf" / "score.yaml", *sample)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("7,043 rows scored\n")
    ended = command("train", "--config", ROOT / "conf" / "train.yaml", "--kk", 3)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[1:] == [
        "configuration: kk: unknown flag --kk; did you mean --k?"
    ]
