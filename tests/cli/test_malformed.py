"""Every malformed input of `tests.cli.malformed` ends with its exit code and one line, and writes
nothing but the manifest that says so and the log. The lines are docs/malformed-inputs.md, which

    REWRITE=1 python -m pytest tests/cli/test_malformed.py

writes; read what has changed in it as somebody would who has never seen the project."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gmm_spark.cli.main import main
from gmm_spark.storage import publish_log
from tests.cli.conftest import Call, Ended, tree
from tests.cli.malformed import CASES, HERE, LAKE, MODEL, VERSIONS, Case, Places
from tests.customers import CENTRES, SIZES

DOCUMENT = Path(__file__).parents[2] / "docs" / "malformed-inputs.md"
ABOUT = """# Malformed inputs

What each job says of an input that it cannot use: one line on stderr (of settings one for each
mistake). Where the run had come so far it is the `reason` in `manifest.json` too, beside the log;
nothing else is written, and an earlier result stays as it was. This file is written by
`tests/cli/test_malformed.py`, which holds the jobs to it. `HERE` is a directory of the input's
own, `LAKE` a table of customers, `MODEL` a model of its columns `spend` and `visits`, `VERSIONS`
two versions of that model.
"""
EVERY = [(title, case) for title, cases in CASES.items() for case in cases]


@pytest.fixture(scope="module")
def places(spark: Any, lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Places:
    """What cases share: none may change it."""
    from gmm_spark import GaussianMixtureModel

    directory = tmp_path_factory.mktemp("shared")
    model, versions = directory / "model", directory / "versions"
    weights, covariances = np.array(SIZES) / sum(SIZES), np.tile(np.eye(2), (3, 1, 1))
    GaussianMixtureModel.fromParameters(
        weights, CENTRES, covariances, inputCols=["spend", "visits"]
    ).save(str(model))
    for number in (1, 2):
        shutil.copytree(model, versions / publish_log.directory_of(f"run{number}") / "model")
        seen = publish_log.read(str(versions))
        publish_log.publish(str(versions), seen, f"run{number}", keep=9)
    return {LAKE: lake, MODEL: model, VERSIONS: versions}


def recorded() -> dict[str, str]:
    """The document, by case."""
    if not DOCUMENT.exists():
        return {}
    found = {}
    for line in DOCUMENT.read_text("utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| malformed |"):
            what, *_ = line.removeprefix("| ").split(" | ")
            found[what] = line
    return found


def row(case: Case, ended: Ended, places: Places) -> str:
    """What came of a case, as a line of the document."""
    said = ended.problem
    for word, path in sorted(places.items(), key=lambda one: -len(str(one[1]))):
        said = said.replace(str(path), word)
    shown = "<br>".join(f"`{line}`" for line in said.replace("|", "\\|").split("\n"))
    return f"| {case.what} | {case.job} | {ended.code} | {shown} |"


@pytest.fixture(scope="module")
def rewritten() -> Iterator[dict[str, str]]:
    """What came of the cases; the document is written of it where that is asked for."""
    found: dict[str, str] = {}
    yield found
    if os.environ.get("REWRITE"):
        lines = {**recorded(), **found}
        text = ABOUT
        for title, cases in CASES.items():
            rows = [lines[case.what] for case in cases if case.what in lines]
            head = ["| malformed | job | exit code | message |", "|---|---|---|---|"]
            text += "\n".join(["", f"## {title}", "", *head, *rows, ""])
        DOCUMENT.write_text(text, "utf-8")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.what, marks=pytest.mark.long if case.slow else ())
        for _, case in EVERY
    ],
)
def test_a_malformed_input_is_one_line(
    case: Case, call: Call, places: Places, tmp_path: Path, monkeypatch, rewritten
) -> None:
    here = {HERE: tmp_path, **places}
    words = case.prepare(here)
    for name, value in case.variables.items():
        monkeypatch.setenv(name, value)
    before = {name: tree(path) for name, path in here.items()}
    ended = call(main, *words)

    rewritten[case.what] = row(case, ended, here)
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert ended.code == case.code, ended.err
    assert ended.problem.count("\n") == case.lines - 1
    assert re.match(r"(configuration|input|model|fit): ", ended.problem)
    after = {name: tree(path) for name, path in here.items()}
    new = {name: after[HERE].pop(name) for name in set(after[HERE]) - set(before[HERE])}
    kept = sorted(Path(name).name.replace("-failed", "") for name in new)
    assert kept in ([], ["log.txt", "manifest.json"])
    for name, content in new.items():
        if name.endswith(".json"):
            assert json.loads(content)["reason"] == ended.problem
    assert after == before
    assert not list(tmp_path.rglob("_temporary*"))
    if not os.environ.get("REWRITE"):
        assert row(case, ended, here) == recorded().get(case.what), (
            f"{DOCUMENT.name} says otherwise; if it is meant: REWRITE=1 python -m pytest {__file__}"
        )


def test_the_document_is_of_these_cases() -> None:
    assert len({case.what for _, case in EVERY}) == len(EVERY)
    assert list(recorded()) == [case.what for _, case in EVERY]
    assert DOCUMENT.read_text("utf-8").startswith(ABOUT)
