"""How a run ends: an exit code, and one line that says why.

| exit code | |
|---|---|
| 0 | done |
| 1 | unexpected |
| 2 | configuration: a setting or a path is wrong; also a refused overwrite |
| 3 | input: the table, or the model file, cannot be used |
| 4 | the fit did not converge, and the settings ask to fail then |
| 5 | not published: the gate refused it, what was written is kept; or another run was first |
| 143 | stopped by SIGTERM, which a scheduler sends: nothing was written |
"""

from __future__ import annotations

import logging
import re
import signal
import sys

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from gmm_spark.config import in_keys
from gmm_spark.config.messages import printable
from gmm_spark.engine.table_files import FiltersError
from gmm_spark.errors import (
    ConfigurationError,
    FitError,
    GmmError,
    InputDataError,
    ModelFileError,
    PublishError,
)
from gmm_spark.storage import problems, tracing

logger = logging.getLogger(__name__)

DONE, UNEXPECTED, CONFIGURATION, INPUT, NOT_CONVERGED, NOT_PUBLISHED = range(6)


TERMINATED = 128 + signal.SIGTERM


class TerminatedError(KeyboardInterrupt):
    """A scheduler ended the run; no error, which `except Exception` would hold back."""


class NotConvergedError(FitError):
    """The fit ended before it converged, and the settings ask to fail then."""


def as_ours(error: BaseException) -> BaseException:
    """The error of this package behind an error of Spark, when a worker raised it; by its key."""
    if isinstance(error, FiltersError):
        return ConfigurationError(f"input.{error}")
    if tracing.is_data_exception(error):
        return tracing.in_short(error, "a value")
    if isinstance(error, PySparkException | Py4JJavaError):
        found = problems.raised_in_worker(error) or problems.unreadable_file(error)
        return found or error
    return error


def code_of(error: BaseException) -> int:
    if isinstance(error, TerminatedError):
        return TERMINATED
    if isinstance(error, NotConvergedError):
        return NOT_CONVERGED
    if isinstance(error, PublishError):
        return NOT_PUBLISHED
    if isinstance(error, ConfigurationError):
        return CONFIGURATION
    if isinstance(error, (InputDataError, ModelFileError, FitError)):
        return INPUT
    return UNEXPECTED


_PREFIXES: dict[type[BaseException], str] = {
    TerminatedError: "stopped",
    NotConvergedError: "not converged",
    PublishError: "not published",
    ConfigurationError: "configuration",
    InputDataError: "input",
    ModelFileError: "model",
    FitError: "fit",
}


def reason_of(error: BaseException) -> str:
    for kind, prefix in _PREFIXES.items():
        if isinstance(error, kind):
            # Of settings a line for each mistake; anything else is one, whatever it quotes.
            problems = str(error).split("\n")
            if not isinstance(error, ConfigurationError):
                problems = [" ".join(part.strip() for part in problems if part.strip())]
            return "\n".join(f"{prefix}: {printable(in_keys(line))}" for line in problems)
    lines = [line for line in str(error).splitlines() if line.strip()]
    # An error from a worker is a traceback whose last unindented line says what it was.
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    text = (raised[-1:] or lines[:1] or [""])[0]
    return f"unexpected: {type(error).__name__}: {printable(text)}"


def say(error: BaseException, code: int | None = None) -> int:
    """One line a problem to stderr; a traceback only for what nobody foresaw."""
    if not isinstance(error, (GmmError, TerminatedError)):
        logger.error("unexpected", exc_info=error)
    print(reason_of(error), file=sys.stderr, flush=True)
    return code_of(error) if code is None else code
