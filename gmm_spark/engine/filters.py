"""Filters of a Parquet table as they are written, and as pyarrow compares them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa


def with_times(filters: Any, schema: pa.Schema) -> Any:
    """The filters with days and times where they compare a column of these with text.

    A day is a day, as in `("day", "=", "2026-11-26")`, or a time at its beginning; a column of
    times in a zone takes those alone that say theirs, `2026-11-26T06:00+01:00`. What cannot be
    read so stays text, which pyarrow then refuses.

    Parameters
    ----------
    filters : a list of (column, operator, value), or of such lists; anything else stays
    """
    if not isinstance(filters, list | tuple):
        return filters
    if _is_condition(filters):
        return _condition(filters, schema)
    return [with_times(one, schema) for one in filters]


def _is_condition(one: Sequence[Any]) -> bool:
    return len(one) == 3 and isinstance(one[0], str) and isinstance(one[1], str)


def _condition(one: Sequence[Any], schema: pa.Schema) -> Any:
    name, operator, value = one
    if schema.names.count(name) != 1:
        return one
    kind = schema.field(name).type
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        return one
    several = isinstance(value, list | tuple | set)
    found = [_moment(each, kind) for each in (value if several else [value])]
    if any(each is None for each in found):
        return one
    try:
        values = pa.array(found, kind)
    except pa.ArrowException:
        return one
    return name, operator, values if several else values[0]


def _moment(value: Any, kind: pa.DataType) -> datetime.date | None:
    """The day or time that a value says, as the type has it; None for none."""
    if isinstance(value, str):
        try:
            # Z is a zone to fromisoformat from Python 3.11 on.
            value = datetime.datetime.fromisoformat(re.sub(r"Z$", "+00:00", value.strip()))
        except ValueError:
            return None
        if pa.types.is_date(kind) and value.time() == datetime.time() and value.tzinfo is None:
            return value.date()
    elif pa.types.is_timestamp(kind) and type(value) is datetime.date:
        value = datetime.datetime.combine(value, datetime.time())
    is_time = isinstance(value, datetime.datetime)
    if pa.types.is_date(kind):
        return value if isinstance(value, datetime.date) and not is_time else None
    if not is_time or (value.tzinfo is None) != (kind.tz is None):
        return None
    return value if kind.tz is None else value.astimezone(datetime.timezone.utc)
