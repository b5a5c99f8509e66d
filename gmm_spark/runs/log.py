"""The log of a run: the library's lines on stderr, in the words of the settings."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.logger import PySparkLogger

from gmm_spark.config import in_keys

_QUERY_LOGGERS = "SQLQueryContextLogger", "DataFrameQueryContextLogger"


class _Formatter(logging.Formatter):
    """Warnings speak of the keys of the settings."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        return in_keys(text) if record.levelno == logging.WARNING else text


@contextmanager
def library_log() -> Iterator[None]:
    """The library's log to stderr for the time of the job."""
    library = logging.getLogger("gmm_spark")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    level = library.level
    # pyspark prints a JSON line of its own for an error in a query; the job has said it by then.
    queries = [PySparkLogger.getLogger(name) for name in _QUERY_LOGGERS]
    for log in queries:
        log.disabled = True
    library.addHandler(handler)
    library.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.setLevel(level)
        for log in queries:
            log.disabled = False
