"""Lines of a text that are not as the others: Spark would fill or cut them without a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame, DataFrameReader
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.config.messages import shown
from gmm_spark.engine.dataframe import quoted
from gmm_spark.errors import InputDataError

# What Spark calls the text of a line that it could not read.
_CORRUPT = "_corrupt_record"
_ASKED = "mode", "columnnameofcorruptrecord"
_CURE = (
    "mend them, or leave such lines out by input.options: {mode: DROPMALFORMED}, or have cells "
    "that are missing taken as gaps and others dropped by {mode: PERMISSIVE}"
)


def check_lines(
    what: str,
    format_: str,
    reader: DataFrameReader,
    frame: DataFrame,
    paths: list[str],
    given: Mapping[str, Any],
) -> None:
    """Raise InputDataError for lines of CSV with more or fewer cells than the header, and for lines
    of JSON that are none. One look at all of the table; none where `mode` of Spark's reader is
    among the options that are `given`: it says what is to be done with such lines."""
    if any(key.lower() in _ASKED for key in given):
        return
    fields = [field for field in frame.schema.fields if field.name != _CORRUPT]
    is_json = format_ == "json"
    if not fields:
        if is_json and frame.columns:
            raise InputDataError(f"{what} is no JSON: no line is an object")
        raise InputDataError(f"{what} is empty: it has no columns")
    if is_json and len(fields) == len(frame.columns):
        return
    corrupt = T.StructField(_CORRUPT, T.StringType())
    table = reader.schema(T.StructType([*fields, corrupt])).load(paths)
    found = table.agg(
        F.count_if(F.col(_CORRUPT).isNotNull()),
        F.count(F.lit(1)),
        F.first(_CORRUPT, ignorenulls=True),
        # Of lines of which not all columns are asked for, Spark does not count the cells.
        F.max(F.xxhash64(*(quoted(field.name) for field in fields))),
    ).first()
    assert found is not None
    if found[0]:
        problem = (
            "are no JSON"
            if is_json
            else (f"have more or fewer cells than the header has names ({len(fields)})")
        )
        raise InputDataError(
            f"{what}: {found[0]:,} of {found[1]:,} lines {problem}, for instance "
            f"{shown(found[2])}; {_CURE}"
        )
