"""The values that settings of the jobs have, beside numbers and choices."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
)

from gmm_spark.config.filters import conditions
from gmm_spark.config.messages import shown


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"found {shown(text)}; expected text without NUL")
    return text


Text = Annotated[str, StringConstraints(min_length=1), AfterValidator(_without_nul)]
# YAML reads 2026-11-01 as a date and 202611 as a number; both are meant as they are written.
Label = Annotated[
    Text,
    BeforeValidator(
        lambda v: str(v) if isinstance(v, (datetime.date, int)) and not isinstance(v, bool) else v
    ),
]


def moment(text: str) -> datetime.datetime:
    """The moment that a day, or a time, says; ValueError where it says none.

    A day, and a time in no zone, are taken for UTC: what is meant is the same everywhere.
    """
    # Forms that fromisoformat knows from Python 3.11 on.
    text = re.sub(r"^(\d{4})(\d\d)(\d\d)(?!\d)", r"\1-\2-\3", text.strip())
    found = datetime.datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))
    zone = datetime.timezone.utc
    return found.replace(tzinfo=zone) if found.tzinfo is None else found.astimezone(zone)


def _whole(column: str) -> str:
    if column.count("(") != column.count(")"):
        raise ValueError(
            f"found {column!r}, with a bracket that is not closed, or cut at a comma; expected "
            """JSON where an expression has a comma: '["a", "round(b, 2) as c"]'"""
        )
    return column


Operator = Literal["=", "==", "!=", "<", "<=", ">", ">=", "in", "not in"]
Column = Annotated[Text, AfterValidator(_whole)]


def _values_of_an_operator(condition: tuple[str, str, Any]) -> tuple[str, str, Any]:
    column, operator, value = condition
    if isinstance(value, (list, tuple)) != (operator in ("in", "not in")):
        expected = "a list" if operator in ("in", "not in") else "one value"
        raise ValueError(f"found {shown(value)} for {column} {operator}; expected {expected}")
    return condition


def _conditions(value: Any) -> Any:
    """Conditions as text, "tenure > 3", among those in three parts."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)):
        return value
    each = [conditions(entry) if isinstance(entry, str) else [entry] for entry in entries]
    return [condition for found in each for condition in found]


Filter = Annotated[tuple[Text, Operator, Any], AfterValidator(_values_of_an_operator)]
Filters = Annotated[list[Filter], BeforeValidator(_conditions)]


def _alone_if_one(value: Any) -> Any:
    """A list of one is that one, since the command line makes a list of every value."""
    if isinstance(value, str) and "," in value:
        return [part.strip() for part in value.split(",")]
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _one_or_several(value: Any) -> str:
    return "several" if isinstance(value, (list, tuple)) else "one"


def _not_empty(values: list[Any]) -> list[Any]:
    if not values:
        raise ValueError("found []; expected at least one value")
    return values


def one_or_several(one: Any) -> Any:
    """One value, or a list to choose from. Which it is is asked first, so that what a mistake says
    is of the one that was meant."""
    several: Any = list[one]
    return Annotated[
        Annotated[one, Tag("one")] | Annotated[several, AfterValidator(_not_empty), Tag("several")],
        Discriminator(_one_or_several),
        BeforeValidator(_alone_if_one),
    ]


def _numbers_of_a_range(value: Any) -> Any:
    """The whole numbers of a range, "3..8", and a list of a number alone."""
    entries = value if isinstance(value, (list, tuple)) else [value]
    found: list[Any] = []
    for entry in entries:
        for part in entry.split(",") if isinstance(entry, str) else [entry]:
            ends = re.fullmatch(r"\s*(\d+)\s*\.\.\s*(\d+)\s*", str(part))
            if ends is None:
                found.append(part)
                continue
            first, last = int(ends[1]), int(ends[2])
            if not first <= last:
                raise ValueError(f"found {part!r}; expected a range as 3..8, the lower end first")
            if last >= first + 100:
                raise ValueError(f"found {part!r}; expected a range of up to 100 numbers, as 3..8")
            found += range(first, last + 1)
    return found


# Of how many segments: 4, [3, 4, 5] or 3..8.
NumbersOfSegments = Annotated[
    list[Annotated[int, Field(ge=2)]],
    AfterValidator(_not_empty),
    BeforeValidator(_numbers_of_a_range),
]


def _auto_is_nothing(value: Any) -> Any:
    """ "auto" is what is there where nothing is said."""
    return [] if value in ("auto", ["auto"]) else value


# Columns by name; auto, or none: they are proposed from the data.
ColumnsOrAuto = Annotated[list[Column], BeforeValidator(_auto_is_nothing)]
