"""What went wrong in Spark or in a worker, in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from gmm_spark import errors
from gmm_spark.engine.dataframe import quoted
from gmm_spark.errors import GmmError, InputDataError


def raised_in_worker(error: Exception) -> GmmError | None:
    """What a Python worker found wrong with the data, if that is how the job ended.

    An error of this package comes back as what it is, a ValueError raised in this package as
    InputDataError, and anything else as None: that is a fault, not the data's.
    """
    if isinstance(error, GmmError):
        return error
    text = str(error)
    own = re.findall(r"^gmm_spark\.errors\.(\w+): (.+)$", text, re.MULTILINE)
    if own and isinstance(kind := getattr(errors, own[-1][0], None), type):
        return kind(own[-1][1].strip())
    frames = re.findall(r'^ +File "(.+?)", line', text, re.MULTILINE)
    raised = re.findall(r"^ValueError: (.+)$", text, re.MULTILINE)
    if raised and frames and re.search(r"gmm_spark(\.zip)?[/\\]", frames[-1]):
        return InputDataError(raised[-1].strip())
    return None


def unusable_values(frame: DataFrame, columns: Sequence[str], *, gaps: bool) -> str | None:
    """The first column with an infinity (or a gap, where `gaps` says so): what, in how many rows.

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
        found = [
            f"{counts[f'{what}_{i}']} {what}"
            for j, what in wrong
            if j == i and counts[f"{what}_{i}"]
        ]
        if found:
            return f"column {name!r}: {' and '.join(found)} in {counts['total']} rows"
    return None
