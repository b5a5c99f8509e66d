"""Settings from where they are written: one YAML file, the environment, the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from gmm_spark.config.messages import ENV_PREFIX, keys, printable, problems, shown, suggestion
from gmm_spark.config.settings import JOBS, JobSettings
from gmm_spark.config.words import from_command_line, from_environment, merged, variable
from gmm_spark.errors import ConfigurationError

Settings = TypeVar("Settings", bound=JobSettings)


# What to do about what the parser says, where it does not say so itself.
_HINTS = {
    "found character '\\t'": "indent by spaces, not by tabs",
    "mapping values are not allowed here": "put text with a colon into quotes",
    "found another document": "expected one, without ---",
    "could not determine a constructor": "expected plain values",
    "found unhashable key": "expected text as a key",
    "found unconstructable recursive node": "what is named by & cannot contain itself",
}


class _TwiceError(Exception):
    """A key that stands in a file twice: the first value would be lost without a word."""


class _Loader(yaml.SafeLoader):
    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            # At once, with all that is in it: what contains itself is an error only then.
            return super().construct_object(node, deep=True)
        except (ValueError, KeyError, AttributeError):  # as the types of a value raise them
            raise yaml.constructor.ConstructorError(
                problem=f"found {shown(node.value)}, which is no {node.tag.rpartition(':')[2]}; "
                "put text into quotes",
                problem_mark=node.start_mark,
            ) from None

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        lines: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in lines:
                lines_of_both = f"lines {lines[key.value]} and {key.start_mark.line + 1}"
                raise _TwiceError(f"{printable(key.value)}: found twice, in {lines_of_both}")
            lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep=True)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        why = error.strerror
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"config: {path} is not YAML: found a byte that is no UTF-8 at {error.start}; expected "
            "text in UTF-8"
        ) from None
    except ValueError as error:  # a path that no system has
        why = str(error)
    raise ConfigurationError(f"config: found no readable file {path} ({why})")


def _read_yaml(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        content = yaml.load(text, _Loader)
    except RecursionError:
        raise ConfigurationError(
            f"config: {path} is nested too deeply; expected keys, and of some keys and values"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        said = str(error.problem).removeprefix("but ")
        hint = next((f"; {do}" for part, do in _HINTS.items() if part in said), "")
        raise ConfigurationError(f"config: {path} is not YAML{line}: {said}{hint}") from None
    except _TwiceError as error:
        raise ConfigurationError(f"{error} of {path}; expected it once") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"config: {path} is not YAML: {str(error).splitlines()[0]}"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"config: found {shown(content)} in {path}; expected lines of the form key: value"
        )
    content = _nested({str(key): value for key, value in content.items()}, path)
    if "config" in content:
        raise ConfigurationError(f"config: found in {path} itself; expected on the command line")
    return content


def _nested(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """A key may be written as it is in a flag, `input.path: lake`, too."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        first, *inner = key.split(".")
        for each in reversed(inner):
            value = {each: value}
        said = {first: value}
        if (twice := _in_both(found, said)) is not None:
            raise ConfigurationError(f"{printable(twice)}: found twice in {path}; expected it once")
        found = merged(found, said)
    return found


def _in_both(below: Mapping[str, Any], above: Mapping[str, Any]) -> str | None:
    """A key that has a value in both, of those that `merged` would take from one."""
    for key in below.keys() & above.keys():
        one, other = below[key], above[key]
        if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
            return str(key)
        if (inner := _in_both(one, other)) is not None:
            return f"{key}.{inner}"
    return None


def load_settings(kind: type[Settings], argv: Sequence[str], prog: str | None = None) -> Settings:
    """The settings of a job from the command line, the environment and the file `--config` names.

    Raises ConfigurationError with one line a problem, `key: what was found; what is expected`.
    Raises SystemExit(0) after `--help`.
    """
    _check_environment()
    given = merged(from_environment(kind), from_command_line(kind, argv, prog))
    values = merged(_read_yaml(Path(given["config"])), given) if given.get("config") else given
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError("\n".join(problems(kind, error.errors()))) from None


def _check_environment() -> None:
    """Refuse a GMM_ variable that no job knows: it is a key mistyped, and would be ignored."""
    known = {variable(key) for kind in JOBS.values() for key in keys(kind)}
    unknown = [
        f"{name}: unknown environment variable{suggestion(name, known)}"
        for name in sorted(os.environ)
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known
    ]
    if unknown:
        raise ConfigurationError("\n".join(unknown))
