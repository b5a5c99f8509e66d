"""Settings from where they are written: one YAML file, the environment, the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from gmm_spark.config.messages import ENV_PREFIX, keys, problems, shown, suggestion
from gmm_spark.config.settings import JOBS, JobSettings
from gmm_spark.config.words import from_command_line, from_environment, merged, variable
from gmm_spark.errors import ConfigurationError

Settings = TypeVar("Settings", bound=JobSettings)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"config: found no readable file {path} ({error.strerror})"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ConfigurationError(f"config: {path} is not YAML{line}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"config: {path} is not YAML: {' '.join(str(error).split())}"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"config: found {shown(content)} in {path}; expected lines of the form key: value"
        )
    content = _nested({str(key): value for key, value in content.items()})
    if "config" in content:
        raise ConfigurationError(f"config: found in {path} itself; expected on the command line")
    return content


def _nested(content: dict[str, Any]) -> dict[str, Any]:
    """A key may be written as it is in a flag, `input.path: lake`, too."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        first, *inner = key.split(".")
        for each in reversed(inner):
            value = {each: value}
        found = merged(found, {first: value})
    return found


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
