"""The exceptions of this package: one clear message each, raised before anything is written.

Those that stand where MLlib raises an exception of pyspark's are that too, so that
`except IllegalArgumentException` (or `AnalysisException`) of a script written for it still holds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.errors import AnalysisException, IllegalArgumentException

from gmm_spark.mixture.errors import DataError, SettingError


class GmmError(Exception):
    """Base of every error this package raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Not what pyspark's exceptions hold beside the message: all its error conditions.
        return type(self), self.args

    def getMessage(self) -> str:
        """The message, as `str(error)`; pyspark's has an error condition before it."""
        return str(self)


class ConfigurationError(GmmError, IllegalArgumentException, ValueError):
    """A setting, parameter or path is wrong; the data were not looked at."""


class InputDataError(GmmError, IllegalArgumentException, AnalysisException, ValueError):
    """The data cannot be used as they are: what was found, in which column, how many rows."""


class NoRowsError(InputDataError):
    """There is no row in the data; of a table that a job has read, it says which."""


class ModelFileError(GmmError, AnalysisException, ValueError):
    """A saved model is missing, unreadable, or not one of ours."""


class FitError(GmmError, RuntimeError):
    """A fit cannot go on, for instance because the table changed under it."""


class PublishError(GmmError, RuntimeError):
    """A result was not published: another run was first, or a rule of the gate speaks against
    it. What is published stays as it was."""


@contextmanager
def refusals(of: str = "") -> Iterator[None]:
    """What the mathematics refuses, as errors of this package; a decorator too. `of` is said
    before."""
    try:
        yield
    except SettingError as error:
        raise ConfigurationError(f"{of}{error}") from None
    except DataError as error:
        raise InputDataError(f"{of}{error}") from None


def reason_of_system(error: Exception) -> str:
    """What an error of a file system says, in a few words: "Not a directory"."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else (str(error).splitlines() or [type(error).__name__])[0]


def spark_message(error: Exception) -> tuple[str, str]:
    """The condition of an error of Spark and its text in one line, without plan and stack."""
    text = str(error)
    found = re.search(r"\[([A-Z0-9_.]+)\] *(.+)", text)
    if found:
        return found[1], found[2].split(" SQLSTATE:")[0].strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("An error occurred while calling"):
        # Java's own words, without the name of the error where there is more.
        java = re.match(r":\s*(?:[\w$]+\.)*([\w$]+)(?:: (.+))?$", lines[1])
        return "", (java[2] or java[1]) if java else lines[1]
    return "", lines[0] if lines else type(error).__name__
