"""Starting a system as a process of its own, and watching its memory and its time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks.data import Table
from benchmarks.systems import SYSTEMS

ROOT = Path(__file__).resolve().parents[1]
ONEDAL = ROOT / ".venv-onedal"
ONEDAL_PACKAGES = ("daal4py==2024.7", "scikit-learn<1.6", "packaging", "pyarrow")
ONEDAL_PYTHONS = ((3, 9), (3, 11))

_POLL_SECONDS = 0.5
_MIB = 2**20


class UnavailableError(Exception):
    """A system cannot run here; the message says why."""


@dataclass
class Outcome:
    """What a process printed, and the most memory its parts held."""

    results: list[dict[str, Any]] = field(default_factory=list)
    peak_mib: dict[str, int] = field(default_factory=dict)
    failed: str | None = None


@dataclass(frozen=True)
class Processes:
    """Starts systems on so many cores, each for so many seconds at most."""

    cores: int
    timeout: float
    warm: Table

    def run(
        self,
        what: str,
        system: str,
        table: Table,
        *,
        seeds: list[int] | None = None,
        repeats: int | None = None,
        partitions: int | None = None,
        narrow: float | None = None,
    ) -> Outcome:
        """Run one system to its end, or to the time-out; never raises for what it does."""
        try:
            python = _onedal_python() if SYSTEMS[system].module == "onedal" else sys.executable
        except UnavailableError as error:
            return Outcome(failed=str(error))
        command = [python, "-m", "benchmarks.program", what, system]
        command += ["--table", str(table.path), "--k", str(table.k), "--cores", str(self.cores)]
        if SYSTEMS[system].on_spark:
            command += ["--warm", str(self.warm.path)]
        if seeds is not None:
            command += ["--seeds", *map(str, seeds)]
        if repeats is not None:
            command += ["--repeats", str(repeats)]
        if partitions is not None:
            command += ["--partitions", str(partitions)]
        if narrow is not None:
            command += ["--narrow", str(narrow)]
        with tempfile.TemporaryFile("w+") as errors:
            return self._finish(self._start(command, errors), errors)

    def _start(self, command: list[str], errors: IO[str]) -> subprocess.Popen[str]:
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # a group of its own, so that all of it can be ended
            preexec_fn=self._limit_cores if hasattr(os, "sched_setaffinity") else None,
        )

    def _limit_cores(self) -> None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: self.cores])

    def _finish(self, process: subprocess.Popen[str], errors: IO[str]) -> Outcome:
        watcher = _Watcher(process.pid)
        timer = threading.Timer(self.timeout, _end, [process])
        watcher.start()
        timer.start()
        outcome = Outcome()
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(json.JSONDecodeError):
                result = json.loads(line)
                if isinstance(result, dict):
                    outcome.results.append(result)
        code = process.wait()
        out_of_time = not timer.is_alive()
        timer.cancel()
        outcome.peak_mib = watcher.peaks()
        if outcome.results and "failed" in outcome.results[-1]:
            outcome.failed = outcome.results.pop()["failed"]
        elif out_of_time:
            outcome.failed = f"stopped after {self.timeout:.0f} s"
        elif code != 0:
            errors.seek(0)
            lines = errors.read().strip().splitlines()
            outcome.failed = f"exit code {code}: {lines[-1] if lines else 'no message'}"[:500]
        return outcome


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and its group; a JVM ends with the Python that started it."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        try:
            process.wait(10)
            return
        except subprocess.TimeoutExpired:
            continue


class _Watcher(threading.Thread):
    """Looks at a process and its descendants now and then.

    The kernel keeps each process's own peak, so looking seldom misses little of it; `all` is the
    largest sum of what they held at one look.
    """

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._root = root
        self._done = threading.Event()
        self._peaks: dict[str, int] = {}

    def run(self) -> None:
        while not self._done.wait(_POLL_SECONDS):
            self._look()

    def peaks(self) -> dict[str, int]:
        self._done.set()
        self.join()
        return {kind: round(peak / _MIB) for kind, peak in sorted(self._peaks.items())}

    def _look(self) -> None:
        together = 0
        for pid in _family(self._root):
            kind = "python" if pid == self._root else _kind(pid)
            memory = _memory(pid)
            together += memory.get("VmRSS", 0)
            if kind is not None:
                self._keep(kind, memory.get("VmHWM", 0))
        self._keep("all", together)

    def _keep(self, kind: str, value: int) -> None:
        self._peaks[kind] = max(self._peaks.get(kind, 0), value)


def _family(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(after_name[1]), []).append(int(entry.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _kind(pid: int) -> str | None:
    """What a descendant is: the JVM, a Python worker, or nothing of interest."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    if b"pyspark.daemon" in command or b"pyspark.worker" in command:
        return "worker"
    if Path(os.fsdecode(command.split(b"\0")[0])).name == "java":
        return "jvm"
    return None


def _memory(pid: int) -> dict[str, int]:
    """VmRSS and VmHWM, in bytes."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("VmRSS", "VmHWM")):
                found[line.split(":")[0]] = int(line.split()[1]) * 1024
    return found


def _onedal_python() -> str:
    """The Python of oneDAL's environment, which is made when it is first needed."""
    python = ONEDAL / "bin" / "python"
    done = ONEDAL / ".setup-done"
    if done.exists():
        return str(python)
    lowest, highest = ONEDAL_PYTHONS
    if not lowest <= sys.version_info[:2] <= highest:
        version = ".".join(map(str, sys.version_info[:2]))
        raise UnavailableError(
            f"{ONEDAL_PACKAGES[0]} has wheels for Python 3.9 to 3.11 only, this is {version}"
        )
    note(f"making {ONEDAL.name}")
    for command in (
        [sys.executable, "-m", "venv", str(ONEDAL)],
        [str(python), "-m", "pip", "install", "--quiet", *ONEDAL_PACKAGES],
    ):
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            note(made.stderr.strip())
            raise UnavailableError("an environment for daal4py could not be made")
    done.touch()
    return str(python)


def note(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
