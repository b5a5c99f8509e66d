"""SQL expressions beside a table: what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from gmm_spark.engine.inputs import nearest
from gmm_spark.errors import spark_message


def unreadable(frame: DataFrame, text: str) -> str | None:
    """What is wrong with an expression beside this table; None where Spark can evaluate it."""
    try:
        frame.select("*", F.expr(text)).schema  # noqa: B018
    except PySparkException as error:
        condition, message = spark_message(error)
        named = re.search(r"`([^`]+)`(?: cannot be resolved| on search path)", message)
        if condition.startswith("UNRESOLVED_COLUMN") and named:
            return f"the table has no column {named[1]!r}{_nearest(named[1], frame.columns)}"
        if condition.startswith("UNRESOLVED_ROUTINE") and named:
            known = _functions(frame.sparkSession)
            return f"Spark has no function {named[1]!r}{_nearest(named[1], known)}"
        return f"it is no SQL expression: {message}" if condition.startswith("PARSE") else message
    return None


def _nearest(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known)
    return "" if near is None else f"; did you mean {near!r}?"


def _functions(spark: SparkSession) -> list[str]:
    return [row[0] for row in spark.sql("SHOW SYSTEM FUNCTIONS").collect()]
