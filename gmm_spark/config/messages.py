"""What a mistake in the settings says: the key, what was found, what is expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable
from typing import Any, TypeGuard, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

ENV_PREFIX = "GMM_"


def keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key of a settings class, nested ones with a dot."""
    names = []
    for name, field in kind.model_fields.items():
        names.append(prefix + name)
        if is_model(field.annotation):
            names += keys(field.annotation, f"{prefix}{name}.")
    return names


def is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    """Whether the values of a key are settings with keys of their own."""
    # In Python 3.10 dict[str, int] is a type too, of which issubclass makes an error.
    is_class = isinstance(annotation, type) and get_origin(annotation) is None
    return is_class and issubclass(annotation, BaseModel)


def problems(kind: type[BaseModel], errors: Iterable[ErrorDetails]) -> list[str]:
    """One line a key, whatever the number of alternatives pydantic tried for it."""
    known = keys(kind)
    mappings = {
        name for name, field in kind.model_fields.items() if get_origin(field.annotation) is dict
    }
    by_key: dict[str, list[ErrorDetails]] = {}
    for error in errors:
        key = _key(error["loc"], known, mappings, error["type"])
        by_key.setdefault(key, []).append(error)
    return [printable(_problem(key, of_key, known)) for key, of_key in by_key.items()]


def _key(
    location: tuple[int | str, ...], known: list[str], mappings: Container[str], kind: str
) -> str:
    """The key as the user wrote it: pydantic adds the alternatives of a union to it."""
    name = ""
    for i, part in enumerate(location):
        longer = f"{name}.{part}" if name else str(part)
        if longer not in known and not (kind == "extra_forbidden" and i == len(location) - 1):
            if name in mappings and "[key]" not in location:
                inner = [p for p in location[i:] if isinstance(p, str) and p.isidentifier()]
                return ".".join([name, *inner])
            index = [f"[{p}]" for p in location[i:] if isinstance(p, int)]
            return name + "".join(index[:1])
        name = longer
    return name


def _problem(key: str, errors: list[ErrorDetails], known: list[str]) -> str:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key{suggestion(key, known)}"
    if "[" in key and any(error["type"] == "missing" for error in errors):
        return f"{key}: found too few values; expected [column, operator, value]"
    if first["type"] == "missing":
        key = "input.path" if key == "input" else key
        flag, variable = f"--{key}", ENV_PREFIX + key.replace(".", "__").upper()
        return f"{key}: found nothing; expected a value ({flag}, {variable}, or in the YAML file)"
    if first["type"] in ("value_error", "assertion_error"):
        message = first["msg"].removeprefix("Value error, ")
        return f"{key}: {message}" if key else message
    expected = " or ".join(dict.fromkeys(_expected(error["msg"]) for error in errors))
    return f"{key}: found {shown(first['input'])}; expected {expected}"


def _expected(message: str) -> str:
    message = message.removeprefix("Input should be ").removeprefix("Input should ")
    if "boolean" in message:
        return "true or false"
    if "dictionary" in message:
        return "keys and values"
    if message == "String should have at least 1 character":
        return "text"
    # "a valid integer, unable to parse string as an integer"
    return re.sub(r"(?:a valid|valid) (\w+)(?:, (?:unable|got).*)?$", r"a \1", message).replace(
        "a integer", "an integer"
    )


def printable(text: str) -> str:
    """`text` in one line: what a terminal would not show, or would obey, as Python writes it."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def suggestion(name: str, known: Iterable[str], before: str = "") -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {before}{near[0]}?" if near else "; --help lists the known ones"
