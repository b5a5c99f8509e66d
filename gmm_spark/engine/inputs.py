"""What is handed in: the kinds of data that are taken, columns that are not there, numbers."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Sequence
from os import PathLike
from typing import Any

from gmm_spark.errors import ConfigurationError, InputDataError

# Names listed where one is not found.
_LISTED = 20
_CREATE = "use spark.createDataFrame(...)"
# What people bring instead, by the first parts of the module of its type: how it is called, and
# what to do.
_KINDS = (
    ("pyspark.pandas", "pandas-on-Spark", "use its to_spark()"),
    ("pandas", "pandas", _CREATE),
    ("polars", "polars", "use spark.createDataFrame(...) of its to_pandas()"),
    ("pyarrow", "pyarrow", _CREATE),
    ("numpy", "numpy", _CREATE),
    ("pyspark.core.rdd", "pyspark", _CREATE),
    ("pyspark.rdd", "pyspark", _CREATE),
)


def check_data(data: Any, taken: tuple[type, ...], who: str) -> None:
    """Raise where the data are none of the types that are taken, with what to do."""
    if not isinstance(data, taken):
        raise InputDataError(
            f"{who} takes a Spark DataFrame or a ParquetTable; this is {kind_of(data)}"
        )


def column_names(what: str, value: Any) -> list[str]:
    """The name of a column, or a list of names, as a list; ConfigurationError for anything else."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence) and all(isinstance(name, str) for name in value):
        return list(value)
    raise ConfigurationError(f"{what}: expected the name of a column, or a list of names; this is "
                             f"{value!r}")  # fmt: skip


def kind_of(data: Any) -> str:
    """What somebody handed in, and how to make data of it that are taken."""
    if data is None:
        return "None"
    if isinstance(data, str | PathLike):
        path = str(data)
        if len(path) > 200 or not path.isprintable():
            return "a text"
        return f"a path: use ParquetTable({path!r}), or spark.read"
    if isinstance(data, list | tuple | dict):
        return f"{type_of(data)}: {_CREATE}"
    module = type(data).__module__
    for known, _, cure in _KINDS:
        if module == known or module.startswith(f"{known}."):
            return f"{type_of(data)}: {cure}"
    return type_of(data)


def type_of(data: Any) -> str:
    """What somebody handed in, by its type: data themselves are long."""
    if data is None:
        return "None"
    kind = type(data)
    for module, family, _ in _KINDS:
        if kind.__module__ == module or kind.__module__.startswith(f"{module}."):
            return f"a {family} {kind.__name__}"
    package = kind.__module__.partition(".")[0]
    return f"a {kind.__name__}" if package == "builtins" else f"a {package} {kind.__name__}"


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The name among those known that is most like this one, whatever the case; None where none
    is."""
    by_lower = {other.lower(): other for other in reversed(known)}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def no_column(
    name: str, known: Sequence[str], where: str = "the data", cure: str = ""
) -> InputDataError:
    """The error for a column that is not there, with the nearest name there is.

    `cure` is said before the names, where something else than another name would do too.
    """
    message = f"there is no column {name!r} in {where}"
    near = nearest(name, known)
    if near is not None:
        message += f", did you mean {near!r}?"
    if cure:
        message += f"; {cure}"
    listed = ", ".join(known[:_LISTED])
    if len(known) > _LISTED:
        listed += f" and {len(known) - _LISTED} more"
    return InputDataError(f"{message}; it has: {listed or 'none'}")


def whole(name: str, value: Any) -> int:
    """A whole number from 0 on, 0 for None; ConfigurationError for anything else."""
    try:
        found = 0 if value is None else operator.index(value)
    except TypeError:
        found = -1
    if found < 0:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number, at least 0")
    return found
