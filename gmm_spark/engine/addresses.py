"""Where a table, a model or a result is: what a user writes, as pyarrow and as Spark take it.

A path that exists as it is written is that path, whatever characters are in its name; any other
is a pattern, as Spark's readers have it: `*`, `?`, `[a-c]`, `[^a]`, `{a,b}`, and a backslash before
a character that stands for itself. As for Spark, `%`, `#` and spaces in a URI are characters of the
name.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
from pyarrow import fs

from gmm_spark.engine.inputs import type_of
from gmm_spark.errors import ConfigurationError

# Hadoop's names of stores that pyarrow knows by another.
_ALIASES = {"s3a": "s3", "s3n": "s3"}
# Of stores whose address begins with a name after two slashes.
_ONE_SLASH = re.compile(r"^(s3[an]?|gs|gcs|abfss?|wasbs?):/(?!/)")
_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(?://(?P<authority>[^/]*))?(?P<path>/.*|$)")
# Options of pyarrow's stores in a URI; any other question mark is of a name or a pattern.
_OPTIONS = re.compile(
    r"\?(?:(?:region|scheme|endpoint_override|access_key|secret_key|session_token|user|project_id|"
    r"allow_bucket_creation|allow_bucket_deletion|retry_limit_seconds|replication|buffer_size|"
    r"default_block_size|kerb_ticket|enable_tls|account_key|blob_storage_authority|"
    r"dfs_storage_authority)=[^&]*&?)+$"
)
_SPECIAL = re.compile(r"[\\*?\[\]{}]")


def as_text(path: Any) -> str:
    """A path as text; ConfigurationError for what is none."""
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if text == "":
        raise ConfigurationError("'' is no path; give text or a pathlib.Path")
    if not isinstance(text, str):
        raise ConfigurationError(f"{type_of(path)} is no path; give text or a pathlib.Path")
    if "\0" in text:
        raise ConfigurationError(f"{text!r} is no path: it has a NUL")
    # pathlib makes s3:/bucket of s3://bucket.
    return _ONE_SLASH.sub(r"\1://", text)


def has_scheme(path: str) -> bool:
    return _URI.match(path) is not None


def is_pattern(path: str) -> bool:
    """Whether something may match a path that does not exist as it is written."""
    return _SPECIAL.search(path) is not None


def escaped(path: str) -> str:
    """A path as Spark's readers, which take every path for a pattern, find it by its own name."""
    return _SPECIAL.sub(r"\\\g<0>", path)


@dataclass(frozen=True)
class Address:
    """A path or URI as it was written, and the same within a file system of pyarrow."""

    written: str
    filesystem: fs.FileSystem
    path: str
    # Spark's path is `prefix` and what follows `root` in pyarrow's; None where Spark has no way.
    prefix: str | None
    root: str

    def found(self) -> list[str]:
        """Paths within the file system, sorted: the one that is written, or those that match."""
        paths = [self.path]
        if self.prefix == "file:" and "%" in self.path:
            paths.append(unquote(self.path))  # as pathlib's as_uri() writes it
        for path in paths:
            if self._exists(path):
                return [path]
        return _matches(self.filesystem, self.path) if is_pattern(self.path) else []

    def uri(self, path: str) -> str:
        """A path within the file system by its own name, for pyarrow and for Spark's writers."""
        return f"{self.prefix or ''}{path[len(self.root) :]}"

    def for_spark(self, path: str) -> str | None:
        """A path within the file system as Spark's readers take it; None where they cannot."""
        return None if self.prefix is None else escaped(self.uri(path))

    def _exists(self, path: str) -> bool:
        return bool(self.filesystem.get_file_info(path).type != fs.FileType.NotFound)


def address(path: Any, filesystem: fs.FileSystem | None = None) -> Address:
    """Where a path or URI leads, in the file system that is given or in that of the URI.

    Raises ConfigurationError for what is no path, and where pyarrow has no way to the store.
    """
    written = as_text(path)
    uri = _URI.match(written)
    scheme = uri["scheme"].lower() if uri else "file"
    if filesystem is not None:
        is_local = type(filesystem) is fs.LocalFileSystem
        within = written
        if uri is not None:
            within = uri["path"] if scheme == "file" else f"{uri['authority'] or ''}{uri['path']}"
        within = os.path.abspath(within) if is_local else within.rstrip("/")
        return Address(written, filesystem, within, "file:" if is_local else None, "")
    if scheme == "file":
        if uri is not None and uri["authority"] not in (None, "", "localhost"):
            raise ConfigurationError(
                f"{written} names a machine, {uri['authority']!r}; a local path has one slash or "
                f"three: file:///{uri['authority']}{uri['path']}"
            )
        local = uri["path"] if uri else written
        return Address(written, fs.LocalFileSystem(), os.path.abspath(local), "file:", "")
    assert uri is not None
    return _remote(written, uri, scheme)


def _remote(written: str, uri: re.Match[str], scheme: str) -> Address:
    authority, path = uri["authority"], uri["path"]
    options = _OPTIONS.search(path)
    query = options[0] if options else ""
    path = path[: len(path) - len(query)].rstrip("/")
    before = "" if authority is None else f"//{authority}"
    literal = f"{_ALIASES.get(scheme, scheme)}:{before}{quote(path) or '/'}{query}"
    try:
        filesystem, found = fs.FileSystem.from_uri(literal)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot open {scheme}:// for {without_userinfo(written)}: {str(error).splitlines()[0]}"
        ) from None
    found = found.rstrip("/")
    root = found[: len(found) - len(path)] if found.endswith(path) else ""
    return Address(written, filesystem, found, f"{uri['scheme']}:{before}", root)


def without_userinfo(uri: str) -> str:
    """`s3://key:secret@bucket/x` without what stands before the colon's password."""
    return re.sub(r"^(\w+://)[^/@]*:[^/@]*@", r"\1***@", uri)


def is_hidden(name: str) -> bool:
    """Whether Spark's readers pass over a file or directory of that name."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _matches(filesystem: fs.FileSystem, pattern: str) -> list[str]:
    found: set[str] = set()
    for alternative in _alternatives(pattern):
        paths: list[str | None] = [None]
        for part in alternative.rstrip("/").split("/"):
            matcher = _matcher(part)
            if matcher is None:
                paths = [_below(path, _literal(part)) for path in paths]
            else:
                paths = [name for path in paths for name in _listed(filesystem, path, matcher)]
        infos = filesystem.get_file_info(paths) if paths else []
        found.update(info.path for info in infos if info.type != fs.FileType.NotFound)
    return sorted(found)


def _below(path: str | None, name: str) -> str:
    return name if path is None else f"{path}/{name}"


def _listed(filesystem: fs.FileSystem, path: str | None, matcher: re.Pattern[str]) -> list[str]:
    base = "" if path is None else path or "/"
    entries = filesystem.get_file_info(fs.FileSelector(base, allow_not_found=True))
    hidden = matcher.pattern.startswith(("_", r"\."))
    names = (entry.base_name for entry in entries if hidden or not is_hidden(entry.base_name))
    return [_below(path, name) for name in names if matcher.fullmatch(name)]


def _alternatives(pattern: str) -> list[str]:
    """The patterns without braces that one with braces stands for."""
    opening = _unescaped(pattern, "{", 0)
    if opening < 0:
        return [pattern]
    depth, cuts, place = 0, [opening], opening
    while place < len(pattern):
        character = pattern[place]
        if character == "\\":
            place += 1
        elif character == "{":
            depth += 1
        elif character == "," and depth == 1:
            cuts.append(place)
        elif character == "}":
            depth -= 1
            if depth == 0:
                cuts.append(place)
                before, after = pattern[:opening], pattern[place + 1 :]
                choices = [pattern[a + 1 : b] for a, b in pairwise(cuts)]
                return [p for choice in choices for p in _alternatives(before + choice + after)]
        place += 1
    raise ConfigurationError(f"{pattern} has a brace that is not closed, and does not exist")


def _unescaped(text: str, character: str, start: int) -> int:
    """Where the character first stands without a backslash; -1 where it does not."""
    place = start
    while place < len(text):
        if text[place] == "\\":
            place += 1
        elif text[place] == character:
            return place
        place += 1
    return -1


def _matcher(part: str) -> re.Pattern[str] | None:
    """What matches the names of one part of a pattern; None where it is a plain name."""
    expression, plain, place = "", True, 0
    while place < len(part):
        character = part[place]
        if character == "\\" and place + 1 < len(part):
            place += 1
            expression += re.escape(part[place])
        elif character in "*?":
            expression, plain = expression + (".*" if character == "*" else "."), False
        elif character == "[" and (closing := _unescaped(part, "]", place + 2)) > 0:
            inside = part[place + 1 : closing]
            negated = inside[:1] in ("^", "!")
            inside = re.sub(r"([\[&~|^])", r"\\\1", inside[1:] if negated else inside)
            expression, plain = f"{expression}[{'^' if negated else ''}{inside}]", False
            place = closing
        else:
            expression += re.escape(character)
        place += 1
    try:
        return None if plain else re.compile(expression, re.DOTALL)
    except re.error:
        raise ConfigurationError(f"{part!r} is no pattern, and does not exist") from None


def _literal(part: str) -> str:
    return re.sub(r"\\(.)", r"\1", part)
