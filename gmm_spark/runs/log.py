"""The log of a run: the library's lines on stderr, in the words of the settings, and kept for the
file beside the manifest."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.logger import PySparkLogger

from gmm_spark.config import in_keys
from gmm_spark.engine.addresses import without_userinfo

_QUERY_LOGGERS = "SQLQueryContextLogger", "DataFrameQueryContextLogger"


class _Formatter(logging.Formatter):
    """Warnings speak of the keys of the settings."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        return in_keys(text) if record.levelno == logging.WARNING else text


class _FileFormatter(_Formatter):
    """The day too, in UTC, to the millisecond: a file is read later and elsewhere."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


class RunLog(logging.Handler):
    """What a run has said, for the file that is written when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_FileFormatter("%(asctime)s %(levelname)s %(message)s"))
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))

    def add(self, text: str, level: int = logging.INFO) -> None:
        """Keep what was said in another way than by the library's log."""
        name = logging.getLevelName(level)
        self.handle(logging.makeLogRecord({"msg": text, "levelno": level, "levelname": name}))

    @property
    def text(self) -> str:
        """All of it, without passwords of addresses."""
        lines = "".join(f"{line}\n" for line in self._lines)
        return re.sub(r"\w+://\S+", lambda found: without_userinfo(found[0]), lines)


@contextmanager
def library_log() -> Iterator[RunLog]:
    """The library's log to stderr, and kept, for the time of the job."""
    library = logging.getLogger("gmm_spark")
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    kept = RunLog()
    level = library.level
    # pyspark prints a JSON line of its own for an error in a query; the job has said it by then.
    queries = [PySparkLogger.getLogger(name) for name in _QUERY_LOGGERS]
    for log in queries:
        log.disabled = True
    library.addHandler(shown)
    library.addHandler(kept)
    library.setLevel(logging.INFO)
    try:
        yield kept
    finally:
        library.removeHandler(shown)
        library.removeHandler(kept)
        library.setLevel(level)
        for log in queries:
            log.disabled = False
