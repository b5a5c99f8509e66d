"""SQL expressions that give a column its name: `log1p(total) as log_total`."""

from __future__ import annotations

import re

# `expression as name`; anything else is the name of a column.
_EXPRESSION = re.compile(r"\sas\s+(?:`(?P<quoted>(?:[^`]|``)+)`|(?P<plain>\w+))\s*$", re.IGNORECASE)

# Longer expressions say nothing at a glance.
LONGEST_SHOWN = 100


def expression_name(column: str) -> str | None:
    """The name an SQL expression such as `log1p(total) as log_total` gives; None for a column."""
    found = _EXPRESSION.search(column)
    if found is None:
        return None
    return found["quoted"].replace("``", "`") if found["quoted"] else found["plain"]


def column_name(column: str) -> str:
    """The name of the column that a column's name, or an expression, stands for."""
    return expression_name(column) or column


def without_name(column: str) -> str:
    """An SQL expression without the name it gives."""
    return _EXPRESSION.sub("", column)


def shown_expression(column: str) -> str:
    """An SQL expression as an error quotes it: of a long one, as a preparation makes them, the name
    that it gives."""
    if len(column) <= LONGEST_SHOWN:
        return repr(column)
    return f"{column_name(column)!r}, made by SQL that model.getInputExpressions() has"
