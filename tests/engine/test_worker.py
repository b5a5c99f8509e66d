"""A Python worker of Spark whose connection closes, without Spark: pyspark's own loop, forked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The daemon's part, as pyspark.daemon.manager does it in the child after a fork. The import is
# what unpickling a task does.
WORKER = """
import os, socket, sys, traceback
from pyspark import daemon

spark, connection = socket.socketpair(socket.AF_UNIX)
if os.fork() == 0:
    spark.close()
    import gmm_spark.engine
    try:
        {work}
        daemon.worker(connection, True)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
connection.close()
spark.close()
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
# As pyspark.worker runs a task: it deals with an exception before it leaves.
TASK = """
import os, traceback
reader, writer = os.pipe()
os.close(reader)
try:
    os.write(writer, b"lost")
except OSError:
    traceback.print_exc()
    raise
"""


def last_words(work: str = "pass") -> tuple[str, str]:
    """What a worker ends with, and what it says on stderr."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON_UNIX_DOMAIN_ENABLED": "True"}
    # Spark's default.
    environment["PYTHON_DAEMON_KILL_WORKER_ON_FLUSH_FAILURE"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", WORKER.format(work=work)],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    return done.stdout.strip(), done.stderr


def test_a_worker_without_a_connection_ends_without_a_word() -> None:
    assert last_words() == ("0", "")


def test_a_pipe_that_breaks_during_a_task_is_an_error_as_ever() -> None:
    code, said = last_words(f"exec({TASK!r}, {{'__name__': 'pyspark.worker'}})")
    assert code == "1"
    assert "BrokenPipeError" in said


def test_the_driver_keeps_its_signals() -> None:
    code = "import signal, gmm_spark.engine; print(signal.getsignal(signal.SIGPIPE).name)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "SIG_IGN"
