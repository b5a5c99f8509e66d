"""Settings as words: flags and environment variables read, and `--help` written."""

from __future__ import annotations

import argparse
import json
import os
import re
import types
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gmm_spark.config.messages import ENV_PREFIX, is_model, keys, printable, shown, suggestion
from gmm_spark.errors import ConfigurationError

_COMMA = re.compile(",")
# As in YAML: not set, which takes back what the file says.
_NOT_SET = "null"
# What a key takes stands in its explanation where it is longer than this.
_LONG = 70
_EXPLAINED = (
    "A key is a flag, a line of the YAML file and an environment variable (--input.path, "
    "GMM_INPUT__PATH); the flag wins, then the environment, then the file. A list is a,b,c or "
    'JSON, ["a", "b"]; --KEY null takes back what the file says.'
)


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are errors of this package, of one line."""

    def error(self, message: str) -> NoReturn:
        message = printable(message)
        message = message.replace("expected one argument", "found no value after it; expected one")
        message = re.sub("ignored explicit argument (.*)", r"found \1; expected no value", message)
        message = re.sub(
            "not allowed with argument (.*)", r"found \1 as well; expected one of them", message
        )
        found = re.match(r"argument --?([^\s/]+)\S*: (.*)", message)
        raise ConfigurationError(f"{found[1]}: {found[2]}" if found else message)


def from_command_line(
    kind: type[BaseModel], argv: Sequence[str], prog: str | None = None
) -> dict[str, Any]:
    """The settings that flags give: `--key value`, `--key=value`, `--switch`, `--no-switch`.

    Values of a list, and keys and values of a mapping, add up over several flags; else the last
    flag counts. Raises ConfigurationError for the first word that is none of these, and
    SystemExit(0) after `--help`.
    """
    given, unknown = _parser(kind, prog).parse_known_args(list(argv))
    if unknown:
        raise ConfigurationError(_stray(unknown[0], argv, kind))
    fields, found = _fields(kind), dict[str, Any]()
    for key, texts in vars(given).items():
        for text in texts:
            _put(found, key, _value(key, text, fields[key]), add=True)
    return found


def _parser(kind: type[BaseModel], prog: str | None) -> Parser:
    parser = Parser(
        prog=prog,
        usage="%(prog)s --config FILE [--KEY VALUE ...]",
        description=f"{str(kind.__doc__).splitlines()[0]} {_EXPLAINED}",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=8, width=98),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for key, field in _fields(kind).items():
        if is_model(field.annotation):
            continue
        takes, meant = _takes(field.annotation), f"{field.description}{_default(field)}"
        if len(takes) > _LONG:
            takes, meant = "VALUE", f"{meant}: {takes}"
        meant = meant.replace("%", "%%")
        switch = bool in _alternatives(field.annotation)
        values: dict[str, Any] = {"nargs": "?", "const": "true"} if switch else {}
        add = partial(parser.add_argument, dest=key)
        add(f"--{key}", action="append", metavar=takes, help=meant, **values)
        if switch:
            add(f"--no-{key}", action="append_const", const="false", help=argparse.SUPPRESS)
        if len(key) == 1:
            add(f"-{key}", action="append", help=argparse.SUPPRESS)
    return parser


def _stray(word: str, argv: Sequence[str], kind: type[BaseModel]) -> str:
    """What is said of a word that no flag takes."""
    if word.startswith("-"):
        flag = printable(word.partition("=")[0])
        name = flag.lstrip("-")
        known = [each for each in keys(kind) if each != "input"]
        return f"{name}: unknown flag {flag}{suggestion(name, known, '--')}"
    flags = [each for each in argv[: list(argv).index(word)] if each.startswith("-")]
    key = flags[-1].lstrip("-") if flags else ""
    field = _fields(kind).get(key)
    if field is not None and list in _kinds(field.annotation):
        return f"{key}: found {word!r} after its value; expected a list as one word, --{key} a,b"
    return f"{printable(word)}: found on the command line; expected flags and their values"


def from_environment(kind: type[BaseModel]) -> dict[str, Any]:
    """The settings that variables give, GMM_K or GMM_INPUT__PATH. Empty is not set."""
    environment = {name.upper(): value for name, value in os.environ.items() if value}
    found: dict[str, Any] = {}
    for key, field in _fields(kind).items():
        name = variable(key)
        if name in environment:
            _put(found, key, _value(name, environment[name], field))
    return found


def variable(key: str) -> str:
    return ENV_PREFIX + key.replace(".", "__").upper()


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Of two sets of settings, every key of either; `above` has the say."""
    both = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            both[key] = merged(below[key], above[key])
    return both


def pieces(text: str, separator: re.Pattern[str]) -> list[str]:
    """`text` between separators, but for those in quotes or brackets."""
    found, start, at, depth, quote = [], 0, 0, 0, ""
    while at < len(text):
        letter = text[at]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"`":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif depth == 0 and (between := separator.match(text, at)):
            found.append(text[start:at].strip())
            at = start = between.end()
            continue
        at += 1
    # An apostrophe, not a quote.
    return (
        [part.strip() for part in separator.split(text)]
        if quote
        else [*found, text[start:].strip()]
    )


def _fields(kind: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Every key, nested ones with a dot."""
    found: dict[str, FieldInfo] = {}
    for name, field in kind.model_fields.items():
        found[prefix + name] = field
        if is_model(field.annotation):
            found |= _fields(field.annotation, f"{prefix}{name}.")
    return found


def _put(found: dict[str, Any], key: str, value: Any, *, add: bool = False) -> None:
    *outer, name = key.split(".")
    for each in outer:
        found = found.setdefault(each, {})
    before = found.get(name)
    if add and isinstance(before, list) and isinstance(value, list):
        value = [*before, *value]
    elif isinstance(before, dict) and isinstance(value, dict):
        value = {**before, **value}
    found[name] = value


def _value(key: str, text: str, field: FieldInfo) -> Any:
    """A word as what its key takes: text, or the entries of a list or a mapping, as texts."""
    takes = _kinds(field.annotation)
    if text == _NOT_SET:
        return None
    if list in takes:
        if text.lstrip().startswith("["):
            return _parsed(key, text, list, "a list: a,b or JSON")
        return [part for part in pieces(text, _COMMA) if part]
    if dict in takes:
        name, equals, value = text.partition("=")
        if not text.lstrip().startswith("{") and equals:
            return {name.strip(): value}
        return _parsed(key, text, dict, "keys and values, name=value or JSON")
    return text


def _parsed(key: str, text: str, kind: type, expected: str) -> Any:
    readers: tuple[Callable[[str], Any], ...] = (json.loads, yaml.safe_load)
    for read in readers:
        try:
            value = read(text)
        except (ValueError, yaml.YAMLError):
            continue
        if isinstance(value, kind):
            return value
    raise ConfigurationError(f"{key}: found {shown(text)}; expected {expected}")


def _alternatives(annotation: Any) -> list[Any]:
    """The types a value may have, without what pydantic says of them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [each for member in get_args(annotation) for each in _alternatives(member)]
    return [] if annotation is types.NoneType else [annotation]


def _kinds(annotation: Any) -> set[Any]:
    """Of the types a value may have, what they are in the large: list, dict, bool, ..."""
    found = {get_origin(each) or each for each in _alternatives(annotation)}
    models = {each for each in found if is_model(each)}
    return (found - models) | ({dict} if models else set())


_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _takes(annotation: Any) -> str:
    words: list[str] = []
    for each in _alternatives(annotation):
        origin = get_origin(each)
        if origin is Literal:
            words.append(" | ".join(map(str, get_args(each))))
        elif origin is list:
            words.append("a list of them" if words else "a list")
        elif origin is dict:
            words.append("names and values")
        else:
            words.append(_WORDS[each])
    return ", or ".join(words)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return " (required)"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default in (None, "", [], {}):
        return ""
    return f" (default {str(default).lower() if isinstance(default, bool) else default})"
