"""Filters as people write them: "tenure > 3", "month in ('2026-01', '2026-02')"."""

from __future__ import annotations

import re
from typing import Any

from gmm_spark.config.words import pieces

# Of a sign first: "days in arrears > 3" is of days in arrears.
_CONDITIONS = [
    re.compile(
        r"(?:`(?P<quoted>(?:[^`]|``)+)`|(?P<plain>[^`'\"<>=!]+?))\s*"
        + operator
        + r"\s*(?P<value>.+)",
        re.IGNORECASE | re.DOTALL,
    )
    for operator in (r"(?P<operator><=|>=|!=|<>|==|=|<|>)", r"(?P<operator>\b(?:not\s+)?in\b)")
]
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_AND, _COMMA = re.compile(r"\band\b", re.IGNORECASE), re.compile(",")


def conditions(text: str) -> list[tuple[str, str, Any]]:
    """(column, operator, value) of every condition in `text`, which `and` may join.

    Raises ValueError, with what was found and what is expected, for anything else.
    """
    return [_condition(part) for part in pieces(text, _AND)]


def _condition(text: str) -> tuple[str, str, Any]:
    found = next((m for each in _CONDITIONS if (m := each.fullmatch(text))), None)
    if found is None:
        raise ValueError(
            f"found {text!r}; expected a column, one of = != < <= > >= in, not in, and a value: "
            "tenure > 3"
        )
    operator = " ".join(found["operator"].lower().split()).replace("<>", "!=")
    column = found["quoted"].replace("``", "`") if found["quoted"] else found["plain"].strip()
    value = found["value"].strip()
    if operator not in ("in", "not in"):
        return column, operator, _literal(value, text)
    if (value[0], value[-1]) not in (("(", ")"), ("[", "]")):
        raise ValueError(f"found {text!r}; expected values in brackets: month in ('a', 'b')")
    return column, operator, [_literal(part, text) for part in pieces(value[1:-1], _COMMA)]


def _literal(value: str, text: str) -> Any:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        quote = value[0]
        inner = value[1:-1].replace(quote * 2, "\0")
        if quote not in inner:
            return inner.replace("\0", quote)
    if _NUMBER.fullmatch(value):
        return int(value) if re.fullmatch(r"[+-]?\d+", value) else float(value)
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError(
        f"found {value!r} in {text!r}; expected a number, true, false, or text in quotes: "
        "churn = 'yes'"
    )
