"""Days: which columns hold them, text among them, and the SQL expression that reads a day."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime

from pyspark.sql import types as T

from gmm_spark.errors import ConfigurationError

# Of Spark, and the same of Python. Years of two digits are left to an expression: 98 is 1998 to one
# reader and 2098 to the next.
_PATTERNS = {
    "yyyy-M-d": "%Y-%m-%d",
    "yyyy/M/d": "%Y/%m/%d",
    "yyyyMMdd": "%Y%m%d",
    "d.M.yyyy": "%d.%m.%Y",
    "M/d/yyyy": "%m/%d/%Y",
    "d/M/yyyy": "%d/%m/%Y",
    "M-d-yyyy": "%m-%d-%Y",
    "d-M-yyyy": "%d-%m-%Y",
    "d-MMM-yyyy": "%d-%b-%Y",
    "d MMM yyyy": "%d %b %Y",
    "MMM d, yyyy": "%b %d, %Y",
}
# Where the time of day begins.
_TIME = "[ T](?=[0-9]{1,2}:)"


def is_day(kind: T.DataType) -> bool:
    """Whether a column of this type holds days: dates, or times, of which the day counts."""
    return isinstance(kind, T.DateType | T.TimestampType | T.TimestampNTZType)


def day_patterns(texts: Iterable[str]) -> list[str]:
    """Spark's patterns by which every one of these texts is a day, a time of day after it or not.

    None where the texts are no days; several where it cannot be told which number is the day and
    which the month.
    """
    days = {re.split(_TIME, text.strip(), maxsplit=1)[0] for text in texts if text.strip()}
    if not days:
        return []
    return [ours for ours, pythons in _PATTERNS.items() if all(_reads(d, pythons) for d in days)]


def day_in(text: str, pattern: str) -> date:
    """The day of a text that one of `day_patterns` reads."""
    day = re.split(_TIME, text.strip(), maxsplit=1)[0]
    return datetime.strptime(day, _PATTERNS[pattern]).date()


def _reads(text: str, pattern: str) -> bool:
    try:
        found = datetime.strptime(text, pattern)
    except ValueError:
        return False
    # Eight digits may be any number, and Python takes seven of them for a day.
    return pattern != "%Y%m%d" or (len(text) == 8 and 1900 <= found.year <= 2100)


def day_sql(sql: str, kind: T.DataType, pattern: str | None = None) -> str:
    """The SQL expression of the day that an expression of this type holds; null where it holds
    none. `pattern` is one of `day_patterns`, for text and whole numbers."""
    if is_day(kind):
        return f"CAST({sql} AS DATE)"
    text = f"split(trim(CAST({sql} AS STRING)), '{_TIME}')[0]"
    return f"CAST(try_to_timestamp({text}, '{pattern}') AS DATE)"


def day_of(key: str, value: str | date | None) -> date | None:
    """A setting that is a day, as 2011-09-30; ConfigurationError for anything else."""
    if value is None:
        return None
    if isinstance(value, date):  # a datetime is one too
        return value.date() if isinstance(value, datetime) else value
    try:
        return date.fromisoformat(value.strip()[:10])
    except (ValueError, AttributeError):
        raise ConfigurationError(f"{key}: found {value!r}; expected a day, as 2011-09-30") from None
