"""Spark's standalone cluster: a master and two workers, each a process of its own on loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyspark

SPARK_HOME = Path(pyspark.__file__).parent
BEGINS, ENDS = 120.0, 30.0  # seconds until a process has begun, or has ended


def without_spark() -> dict[str, str]:
    """The environment without a Spark, settings or Python path that this machine may have."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SPARK_", "PYSPARK_", "PYTHON", "GMM_"))
    }


def python_without_the_package(directory: Path) -> Path:
    """A Python with the packages of this one, of which gmm_spark is none: editable installations
    are found by .pth files, and a directory that a .pth file names is not looked through for
    more of them."""
    venv.create(directory, with_pip=False, symlinks=True)
    python = directory / "bin" / "python"
    (installed,) = [path for path in sys.path if path.endswith("site-packages")]
    packages = directory / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (packages / "site-packages" / "others.pth").write_text(installed, "utf-8")
    code = "import importlib.util as u; print(u.find_spec('gmm_spark'), u.find_spec('numpy').name)"
    told = subprocess.run(
        [python, "-c", code], cwd=directory, env=without_spark(), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert told.stdout == "None numpy\n"
    return python


class Cluster:
    """Started when it is made; `end` ends what it has started, by id."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        (directory / "conf").mkdir()  # Spark's own defaults, and its log on stderr
        try:
            argv = ["master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
            log = self._start("master", argv, "127.0.0.1")[1]
            self.url = self._said(log, r"Starting Spark master at (spark://127\.0\.0\.1:\d+)")
            self.complete()
        except BaseException:
            self.end()
            raise

    def complete(self) -> None:
        """Two workers of a core each, where some were killed."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        logs = []
        while len(self.workers) < 2:
            name = f"worker-{len(self._started)}"
            # Each on a host of its own, or Spark gives no task to both at once.
            host = f"127.0.0.{len(self._started) + 1}"
            argv = ["worker.Worker", "--host", host, "--port", "0", "--webui-port", "0"]
            argv += ["--cores", "1", "--memory", "1g", "--work-dir", str(self._directory / name)]
            worker, log = self._start(name, [*argv, self.url], host)
            self.workers.append(worker)
            logs.append(log)
        for log in logs:
            self._said(log, "(Successfully registered with master)")

    def _start(self, name: str, argv: list[str], host: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = self._directory / f"{name}.log"
        environment = without_spark() | {
            "SPARK_HOME": str(SPARK_HOME),
            "SPARK_CONF_DIR": str(self._directory / "conf"),
            "SPARK_LOCAL_DIRS": str(self._directory / "local"),
            "SPARK_LOCAL_IP": host,
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        }
        words = [str(SPARK_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{argv[0]}"]
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*words, *argv[1:]],
                cwd=self._directory, env=environment, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._started.append(process)
        return process, log

    def _said(self, log: Path, pattern: str) -> str:
        found = waited_for(lambda: re.search(pattern, log.read_text("utf-8", "replace")))
        assert found is not None, log.read_text("utf-8", "replace")[-3000:]
        return found[1]

    def end(self) -> None:
        """Workers first, which end their executors."""
        for process in reversed(self._started):
            process.terminate()
            try:
                process.wait(ENDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in self._left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _left(self) -> list[int]:
        """Executors of workers that were killed, and their Pythons."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "cwd").resolve().is_relative_to(self._directory):
                    found.append(int(process.name))
        return found


def waited_for(condition: Callable[[], re.Match[str] | None]) -> re.Match[str] | None:
    until = time.monotonic() + BEGINS
    while time.monotonic() < until:
        found = condition()
        if found is not None:
            return found
        time.sleep(0.1)
    return None
