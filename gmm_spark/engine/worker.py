"""What the tasks of this package ask of the Python worker they run in."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType


def end_quietly() -> None:
    """Let this worker end without a traceback when Spark has closed its connection.

    Spark closes the connections of idle workers at the end of a session, and after a minute
    without work; and that of a task whose other rows nobody wants (`limit`, `show`). A worker
    answers with an error on that connection. Over TCP the answer goes nowhere; over a Unix domain
    socket writing it fails, and the traceback (BrokenPipeError) lands in the output of whoever
    runs the session. Meant for the daemon's workers alone.
    """
    if (
        threading.current_thread() is threading.main_thread()
        # Python's own choice; a program that made another one keeps it.
        and signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    ):
        signal.signal(signal.SIGPIPE, _end_outside_of_tasks)


def _end_outside_of_tasks(number: int, frame: FrameType | None) -> None:
    # While pyspark.worker waits for a task or runs one nothing changes: a write to any broken
    # pipe raises, as if the signal were ignored. Once it has returned, the only pipe is Spark's.
    while frame is not None:
        if frame.f_globals.get("__name__") == "pyspark.worker":
            return
        frame = frame.f_back
    os._exit(0)
