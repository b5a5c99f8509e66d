"""Columns and SQL expressions that settings name, checked against the table."""

from __future__ import annotations

import re

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.engine.dataframe import check_once, sql_name
from gmm_spark.engine.inputs import no_column
from gmm_spark.engine.sql import unreadable
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.expressions import without_name

# What a name rarely has, and an expression does.
_SQL = re.compile(r"[()*/+<>=`'|]|\s-\s|\s(is|in|like|and|or|as)\s", re.IGNORECASE)


def sql_of(df: DataFrame, key: str, text: str) -> str:
    """A column, or an SQL expression with a name or without, as SQL reads it.

    Raises ConfigurationError, which names the setting, for a column that is not there and for an
    expression that Spark cannot read.
    """
    if text in df.columns:
        try:
            check_once(df, text)
        except InputDataError as error:
            raise ConfigurationError(f"{key}: {error}") from None
        return sql_name(text)
    sql = without_name(text)
    if not _SQL.search(text):
        same = [name for name in df.columns if name.lower() == text.lower()]
        if len(same) == 1:
            return sql_name(same[0])
        raise ConfigurationError(f"{key}: {no_column(text, df.columns)}")
    problem = unreadable(df, sql)
    if problem is not None:
        raise ConfigurationError(f"{key}: found {text!r}; {problem}")
    return sql


def known_text(df: DataFrame, sql: str) -> str:
    """The SQL condition that an expression has a value: not null, NaN or blank."""
    kind = df.select(F.expr(sql)).schema[0].dataType
    if isinstance(kind, T.StringType):
        return f"trim(coalesce({sql}, '')) != ''"
    if isinstance(kind, T.FractionalType) and not isinstance(kind, T.DecimalType):
        return f"({sql} IS NOT NULL AND NOT isnan({sql}))"
    return f"({sql} IS NOT NULL)"
