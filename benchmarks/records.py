"""Results of benchmarks: a file each, with the command and the machine they were taken by."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.processes import ONEDAL_PACKAGES, ROOT

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Record:
    """A result that is written whenever something is added."""

    path: Path
    content: dict[str, Any]

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.content, indent=1) + "\n")
        partial.replace(self.path)


def machine(cores: int) -> dict[str, Any]:
    """What the figures were taken on and with."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found: dict[str, Any] = {
        "cores": cores,
        "memory_gib": round(memory),
        "python": platform.python_version(),
        "commit": _commit(),
    }
    for package in ("pyspark", "numpy", "pyarrow", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    found["daal4py"] = ONEDAL_PACKAGES[0].partition("==")[2]
    return found


def _commit() -> str | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "gmm_spark")
        return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
