"""A small table of customers in three clear segments, and the jobs called from Python."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

CENTRES = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
SIZES = (300, 200, 100)


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


@pytest.fixture(scope="session")
def customers() -> pd.DataFrame:
    """600 rows: two columns around three centres, the true segment, an outcome, a month, a name."""
    rng = np.random.default_rng(5)
    segment = np.repeat(range(3), SIZES)
    frame = pd.DataFrame(rng.normal(CENTRES[segment]), columns=["spend", "visits"])
    frame["customer_id"] = range(len(frame))
    frame["segment"] = segment
    frame["left"] = (segment == 1) | (frame["customer_id"] % 10 == 0)
    frame["month"] = np.where(frame["customer_id"] % 2 == 0, "2026-01", "2026-02")
    frame["name"] = [f"customer {i}" for i in range(len(frame))]
    return frame.sample(frac=1, random_state=3, ignore_index=True)


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory, customers: pd.DataFrame) -> Path:
    """The customers as Parquet (three files, a few row groups) and as CSV, and some with gaps."""
    directory = tmp_path_factory.mktemp("lake")
    _parquet(customers, directory / "customers")
    customers.to_csv(directory / "customers.csv", index=False)
    gaps = customers.copy()
    gaps.loc[gaps["customer_id"] < 7, "visits"] = None
    _parquet(gaps, directory / "gaps")
    _parquet(customers.iloc[:0], directory / "empty", files=1)
    return directory


def _parquet(frame: pd.DataFrame, directory: Path, files: int = 3) -> None:
    directory.mkdir()
    for i, part in enumerate(np.array_split(np.arange(len(frame)), files)):
        frame.iloc[part].to_parquet(directory / f"part-{i}.parquet", row_group_size=70, index=False)


Call = Callable[..., Ended]


@pytest.fixture
def call(spark: Any, capfd: pytest.CaptureFixture[str]) -> Call:
    """Call a job's main(argv) in this process, in the session of the tests."""

    def run(main: Callable[[list[str]], int], *argv: object) -> Ended:
        capfd.readouterr()
        code = main([str(word) for word in argv])
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def model(spark: Any, lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the customers, trained by the job."""
    from jobs import train

    output = tmp_path_factory.mktemp("trained") / "out"
    argv = ["--input.path", lake / "customers", "--columns", "spend,visits", "--k", 3]
    assert train.main([str(word) for word in [*argv, "--seed", 1, "--output", output]]) == 0
    return output / "model"


def manifest(output: Path) -> dict[str, Any]:
    return json.loads((output / "manifest.json").read_text("utf-8"))


def tree(directory: Path) -> dict[str, bytes]:
    """Every file and what is in it."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
