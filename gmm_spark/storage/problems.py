"""What went wrong in Spark or in a worker, in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark import errors
from gmm_spark.engine.dataframe import quoted
from gmm_spark.engine.table_files import damaged
from gmm_spark.errors import GmmError, InputDataError

# The file in what Spark says of one, and what it says of a column with types that differ.
_FILE = re.compile(r"reading file (?:file:/*(?=/))?(\S+?)\.?(?:\s|$)")
_MISMATCH = re.compile(
    r"Parquet column \[(.+?)\]\. Expected Spark type (\S+), actual Parquet type (\w+)"
)


def raised_in_worker(error: Exception) -> GmmError | None:
    """What a Python worker found wrong with the data, if that is how the job ended.

    An error of this package comes back as what it is, a ValueError or OSError raised in this
    package as InputDataError, and anything else as None: that is a fault, not the data's.
    """
    if isinstance(error, GmmError):
        return error
    text = str(error)
    own = re.findall(r"^gmm_spark\.errors\.(\w+): (.+)$", text, re.MULTILINE)
    if own and isinstance(kind := getattr(errors, own[-1][0], None), type):
        return kind(own[-1][1].strip())
    frames = re.findall(r'^ +File "(.+?)", line', text, re.MULTILINE)
    raised = re.findall(r"^(?:ValueError|OSError): (.+)$", text, re.MULTILINE)
    if raised and frames and re.search(r"gmm_spark(\.zip)?[/\\]", frames[-1]):
        return InputDataError(raised[-1].strip())
    return None


def unreadable_file(error: Exception, format_: str | None = None) -> InputDataError | None:
    """What Spark says of a file that it cannot read, in the words of one line; None of anything
    else."""
    text = str(error)
    found = _FILE.search(text)
    if found is None or not re.search(r"CANNOT_READ_FILE|FAILED_READ_FILE|read footer", text):
        return None
    path = found[1]
    if "FAILED_READ_FILE.FILE_NOT_EXIST" in text:
        return InputDataError(f"{path} is gone: somebody wrote to the table; run the job again")
    if mismatch := _MISMATCH.search(text):
        column, expected, actual = mismatch.groups()
        return InputDataError(
            f"column {column!r} has type {actual} in {path}, and {expected} in other files of the "
            "table; write it again with one type"
        )
    return damaged(path, "read" if format_ is None else f"read as {format_}")


def about_the_rows(
    error: PySparkException, frame: DataFrame, columns: Sequence[str], missing: str
) -> Exception:
    """What a job ended with, said of the whole table where it is a value that cannot be scored: a
    worker sees its own rows alone. `columns` are numbers that a model reads."""
    found = raised_in_worker(error)
    if found is None:
        return error
    # Of what is no number the worker has said so.
    are_numbers = {one.name for one in frame.schema if isinstance(one.dataType, T.NumericType)}
    there = [name for name in columns if name in are_numbers]
    unusable = unusable_values(frame, there, gaps=missing == "error")
    return found if unusable is None else InputDataError(unusable)


def unusable_values(frame: DataFrame, columns: Sequence[str], *, gaps: bool) -> str | None:
    """The first column with an infinity (or a gap, where `gaps` says so): what, in how many rows,
    and what to do.

    One pass over the table, for when a job has failed already.
    """
    wrong = {}
    for i, name in enumerate(columns):
        column = quoted(name).cast("double")
        tests = {"infinite": F.abs(column) == float("inf")}
        if gaps:
            tests |= {"null": column.isNull(), "NaN": F.isnan(column)}
        for what, test in tests.items():
            wrong[i, what] = F.count_if(test).alias(f"{what}_{i}")
    counts = frame.select(F.count(F.lit(1)).alias("total"), *wrong.values()).first()
    assert counts is not None
    for i, name in enumerate(columns):
        found = {what: counts[f"{what}_{i}"] for j, what in wrong if j == i}
        if number := found.pop("infinite"):
            return (
                f"column {name!r}: {number} of {counts['total']} rows are infinite; replace them "
                "or leave those rows out"
            )
        if any(found.values()):
            told = " and ".join(f"{number} {what}" for what, number in found.items() if number)
            return (
                f"column {name!r}: {told} in {counts['total']} rows; missing: marginalize scores a "
                "row by the columns that are known"
            )
    return None
