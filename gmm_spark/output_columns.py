"""Whether the columns that a model writes have names of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gmm_spark.engine.cluster import current_session
from gmm_spark.engine.dataframe import is_case_sensitive
from gmm_spark.errors import ConfigurationError


def taken_names(outputs: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Which of the output columns are among `columns`, by Spark's rule for the case of names."""
    spelling = _spelling()
    known = {spelling(name): name for name in columns}
    found = ((name, known.get(spelling(name))) for name in dict.fromkeys(outputs))
    return sorted(
        name if name == there else f"{name} (as {there})"
        for name, there in found
        if there is not None
    )


def refuse_taken(outputs: Sequence[str], columns: Sequence[str]) -> None:
    """Raise ConfigurationError where an output column is among `columns`, or named twice."""
    outputs = [name for name in outputs if name]
    taken, spelling = taken_names(outputs, columns), _spelling()
    if taken or len(set(map(spelling, outputs))) < len(outputs):
        raise ConfigurationError(
            f"output columns {', '.join(outputs)}: "
            + (f"{', '.join(taken)} exist already" if taken else "two have the same name")
            + "; choose other names"
        )


def _spelling() -> Callable[[str], str]:
    """What is equal of two names that are one name to Spark."""
    spark = current_session()
    return str if spark is not None and is_case_sensitive(spark) else str.lower
