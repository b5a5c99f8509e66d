"""Columns that SQL expressions give a table: read, checked and added."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from gmm_spark.config import JobSettings
from gmm_spark.engine.dataframe import quoted
from gmm_spark.engine.sql import unreadable
from gmm_spark.errors import ConfigurationError, spark_message
from gmm_spark.expressions import column_name, expression_name

# What the name of a column rarely has, and an expression does.
_SQL = re.compile(r"[()*/+<>=]|\s-\s")


@dataclass(frozen=True)
class Expression:
    """An SQL expression with a name, and the setting it is written in."""

    key: str
    text: str

    @property
    def name(self) -> str:
        return column_name(self.text)


Step = tuple[DataFrame, Sequence[Expression]]


def expressions(key: str, columns: str | Iterable[str] | None) -> list[Expression]:
    """Of the columns under a key of the settings, those that are expressions."""
    return [Expression(key, column) for column in _listed(columns) if expression_name(column)]


def _listed(columns: str | Iterable[str] | None) -> Iterable[str]:
    return [columns] if isinstance(columns, str) else columns or ()


def expect_names(settings: JobSettings, keys: Sequence[str], known: Sequence[str]) -> None:
    """Raise ConfigurationError for an expression that was given no name."""
    for key in keys:
        for column in _listed(getattr(settings, key)):
            if column not in known and not expression_name(column) and _SQL.search(column):
                raise ConfigurationError(
                    f"{key}: found {column!r}, which is no column of the table; an expression "
                    f"needs a name, as in '{column} as a_name'"
                )


def with_expressions(frame: DataFrame, wanted: Sequence[Expression]) -> DataFrame:
    """The table with these columns, all computed from it as it is; one of the same name goes.

    Raises ConfigurationError with the setting and the expression where one cannot be read.
    """
    if not wanted:
        return frame
    by_name: dict[str, Expression] = {}
    for expression in wanted:
        # Whatever the case: to Spark they are one name.
        other = by_name.setdefault(expression.name.lower(), expression)
        if other.text != expression.text:
            raise ConfigurationError(
                f"{expression.key}: found two expressions of one name, {other.text!r} and "
                f"{expression.text!r}; expected a name each"
            )
    for expression in by_name.values():
        problem = unreadable(frame, expression.text)
        if problem is not None:
            raise ConfigurationError(f"{expression.key}: found {expression.text!r}; {problem}")
    kept = [quoted(name) for name in frame.columns if name.lower() not in by_name]
    try:
        added = frame.select(*kept, *(F.expr(e.text) for e in by_name.values()))
        added.schema  # noqa: B018  on Spark Connect it is only now that the names are looked up
    except PySparkException as error:
        key = next(iter(by_name.values())).key
        raise ConfigurationError(f"{key}: {spark_message(error)[1]}") from None
    return added
