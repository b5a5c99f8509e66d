"""The jobs, called from Python in the session of the tests."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Ended(NamedTuple):
    """How a job ended."""

    code: int
    out: str
    err: str

    @property
    def problem(self) -> str:
        """What was said on stderr, apart from progress bars and logs, which have a time first."""
        text = re.sub(r"\r?\[Stage[^\r\n]*", "", self.err)
        lines = [line for line in re.split(r"[\r\n]+", text) if not line[:2].isdigit()]
        return "\n".join(line for line in lines if line.strip())


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GMM_")]:
        monkeypatch.delenv(name)


Call = Callable[..., Ended]


@pytest.fixture
def call(spark: Any, capfd: pytest.CaptureFixture[str]) -> Call:
    """Call the main(argv) of a job, or of the command, in this process."""

    def run(main: Callable[[list[str]], int], *argv: object) -> Ended:
        capfd.readouterr()
        code = main([str(word) for word in argv])
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def model(spark: Any, lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the customers, trained by the job."""
    from gmm_spark.cli import train

    output = tmp_path_factory.mktemp("trained") / "out"
    argv = ["--input.path", lake / "customers", "--columns", "spend,visits", "--k", 3]
    assert train.main([str(word) for word in [*argv, "--seed", 1, "--output", output]]) == 0
    return output / "model"


def manifest(output: Path) -> dict[str, Any]:
    """The manifest of a run, which has to be valid."""
    from gmm_spark.runs.manifest import Manifest

    content = json.loads((output / "manifest.json").read_text("utf-8"))
    Manifest.model_validate(content)
    return content


def tree(directory: Path) -> dict[str, bytes]:
    """Every file and what is in it."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
