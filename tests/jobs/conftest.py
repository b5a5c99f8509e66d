"""A table for runs that are disturbed, and what `make dist` makes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


class Distributions(NamedTuple):
    """The package for --py-files, as a wheel, and with its environment for --archives."""

    package: Path
    wheel: Path
    environment: Path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 rows of five clusters, in four files."""
    rng = np.random.default_rng(5)
    centres = rng.normal(scale=3.0, size=(5, 4))
    rows = centres[rng.integers(0, 5, 20_000)] + rng.normal(size=(20_000, 4))
    path = tmp_path_factory.mktemp("lake") / "table"
    path.mkdir()
    for part in range(4):
        frame = pd.DataFrame(rows[part::4], columns=list("abcd"))
        frame.to_parquet(path / f"part-{part}.parquet")
    return path


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Made by `make dist`, of a copy, by the Python of the tests."""
    source = tmp_path_factory.mktemp("source")
    for name in ("Makefile", "setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    for name in ("gmm_spark", "scripts"):
        shutil.copytree(ROOT / name, source / name)
    # -o: this environment is as it should be.
    made = f"{sys.prefix}/.setup-done"
    argv = ["make", "-C", str(source), f"VENV={sys.prefix}", "-o", made, "dist"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    dist = source / "dist"
    assert sorted(path.suffix for path in dist.iterdir()) == [".gz", ".whl", ".zip"]
    (wheel,) = dist.glob("*.whl")
    return Distributions(dist / "gmm_spark.zip", wheel, dist / "gmm_spark_environment.tar.gz")
