"""The public calls of the package, and which of them were made."""

from __future__ import annotations

import functools
from typing import Any

import gmm_spark
from gmm_spark.report.plots import Plots

_PUBLIC = {name: getattr(gmm_spark, name) for name in gmm_spark.__all__}
_FUNCTIONS = {name: one for name, one in _PUBLIC.items() if not isinstance(one, type)}


def _members() -> dict[str, tuple[type, str, Any]]:
    """What the public classes, and what `model.plot` is, have of our own: by class and name, each
    of the class that defines it."""
    found = {}
    for public in [Plots, *(one for one in _PUBLIC.values() if isinstance(one, type))]:
        for name in dir(public):
            kind = next((base for base in public.__mro__ if name in vars(base)), object)
            member = vars(kind).get(name)
            called = callable(member) or hasattr(member, "__get__")
            if called and kind.__module__.startswith("gmm_spark.") and not name.startswith("_"):
                found[f"{kind.__qualname__}.{name}"] = kind, name, member
    return found


def public_calls() -> set[str]:
    """Every function by its name, every method and property by its class and name."""
    return {*_FUNCTIONS, *_members()}


def record_calls() -> set[str]:
    """What is called from now on in this process, as `public_calls` names it."""
    made: set[str] = set()

    def noted(function: Any, name: str) -> Any:
        @functools.wraps(function)
        def wrapped(*args: Any, **settings: Any) -> Any:
            made.add(name)
            return function(*args, **settings)

        return wrapped

    for called, (kind, name, member) in _members().items():
        new: Any
        if isinstance(member, property):
            new = property(noted(member.fget, called))
        elif isinstance(member, classmethod | staticmethod):
            new = type(member)(noted(member.__func__, called))
        else:
            new = noted(member, called)
        setattr(kind, name, new)
    for name, function in _FUNCTIONS.items():
        setattr(gmm_spark, name, noted(function, name))
    return made
