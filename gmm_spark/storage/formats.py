"""What a path holds where nobody says: its format by the ending of its name, and of text how it is
written, from its first bytes."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import fs

from gmm_spark.engine.addresses import Address, is_hidden
from gmm_spark.errors import ConfigurationError, InputDataError

PARQUET = "parquet"
_ENDINGS = {
    "parquet": PARQUET,
    "pq": PARQUET,
    "csv": "csv",
    "tsv": "csv",
    "tab": "csv",
    "txt": "csv",
    "json": "json",
    "jsonl": "json",
    "ndjson": "json",
    "orc": "orc",
    "avro": "avro",
}
_COMPRESSED = re.compile(r"\.(gz|bz2|zst|lz4|snappy|deflate)$")
# Folders gone down into, to find a file: partitions, as a rule.
_DEEPEST = 10
# Of a file: enough for a few hundred lines.
_HEAD = 1 << 18
_SEPARATORS = ",;\t|"
MISSING = ("NA", "N/A", "n/a", "na", "NULL", "null", "None", "nan", "?", "-", ".")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# As the decimals have a comma or a point, thousands have the other; "1,234" may be either.
NUMBERS_BY_MARK = {
    ",": r"[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+)(,\d+)?",
    ".": r"[+-]?(\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d+)?",
}
_LEADING_ZERO = re.compile(r"0\d+")


def format_by_name(name: str) -> str | None:
    """The format that the ending of a name stands for, whether compressed or not; None where it
    stands for none."""
    ending = _COMPRESSED.sub("", name.lower().rstrip("/")).rpartition(".")[2]
    return _ENDINGS.get(ending)


@dataclass(frozen=True)
class Files:
    """The format of what is at a path, one of its files, and the pattern its files' names have."""

    format: str
    example: str | None = None
    pattern: str | None = None


def files_at(where: Address, found: Sequence[str]) -> Files:
    """The format of files, or of those in folders; Parquet where no ending says.

    Raises ConfigurationError for a folder of several formats.
    """
    for path in found:
        for _ in range(_DEEPEST):
            info = where.filesystem.get_file_info(path)
            if info.type == fs.FileType.File:
                kind = format_by_name(info.base_name)
                return Files(kind or PARQUET, path)
            inside = _entries(where, path)
            named = {
                each.path: kind
                for each in inside
                if each.is_file and (kind := format_by_name(each.base_name))
            }
            # A text beside tables is a note, as a rule.
            tables = {one: kind for one, kind in named.items() if not one.endswith(".txt")}
            named = tables or named
            if kinds := sorted(set(named.values())):
                if len(kinds) > 1:
                    raise ConfigurationError(
                        f"input.path: found files of {' and '.join(kinds)} in {path}; expected "
                        "one format: name it in input.format, or the files by a pattern such as "
                        f"*.{kinds[0]}"
                    )
                endings = sorted({_ending(each) for each in named})
                return Files(kinds[0], next(iter(named)), f"*{{{','.join(endings)}}}")
            folders = [each for each in inside if each.type == fs.FileType.Directory]
            if not folders:
                files = [each.path for each in inside if each.is_file]
                return Files(PARQUET, files[0] if files else None)
            path = folders[0].path
    return Files(PARQUET)


def _entries(where: Address, path: str) -> list[Any]:
    entries = where.filesystem.get_file_info(fs.FileSelector(path))
    visible = (each for each in entries if not is_hidden(each.base_name))
    return sorted(visible, key=lambda each: each.path)


def _ending(name: str) -> str:
    """`.csv.gz` of a name."""
    compressed = _COMPRESSED.search(name.lower())
    cut = len(name) - (len(compressed[0]) if compressed else 0)
    return name[name[:cut].rindex(".") :]


@dataclass(frozen=True)
class TextTable:
    """How a text is written.

    options : of Spark's reader
    texts : columns whose numbers begin with zeros that mean something
    marks : by their places, columns of numbers that Spark takes for texts, "1.234,50" or
        "1,234.50", and the mark of their decimals
    is_windows : characters of 128 to 159 are those of windows-1252, which Spark does not read
    """

    options: dict[str, Any]
    texts: tuple[str, ...] = ()
    marks: dict[int, str] = field(default_factory=dict)
    is_windows: bool = False


def csv_table(where: Address | None, path: str | None, given: dict[str, Any]) -> TextTable:
    """How a CSV file is written: separator, quotes, encoding, lines, what stands for a gap.

    Options that are given win. Raises InputDataError for a file that is no text.
    """
    options: dict[str, Any] = {"header": True, "inferSchema": True}
    # In " 12" there is a number and in " " there is none.
    options |= {"ignoreLeadingWhiteSpace": True, "ignoreTrailingWhiteSpace": True}
    head = None if where is None or path is None else _head(where, path)
    asked = {key.lower(): value for key, value in given.items()}
    texts, marks = tuple[str, ...](), dict[int, str]()
    if head and (head_text := _decoded(head, path, options)):
        separator = asked.get("sep", asked.get("delimiter"))
        if separator is None:
            separator = options["sep"] = _separator(head_text)
        if '\\"' not in head_text:
            options["escape"] = '"'  # as RFC 4180 has it; Spark's own is a backslash
        if len(str(separator)) == 1:
            texts, marks = _of_rows(_rows(head_text, str(separator)), asked, options)
    synonyms = {"delimiter": "sep", "charset": "encoding"}
    said = {synonyms.get(key, key) for key in asked}
    found = {k: v for k, v in options.items() if k.lower() not in said} | given
    is_windows = "encoding" in options and "encoding" not in said
    return TextTable(found, texts, marks, is_windows)


def json_options(where: Address | None, path: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Whether a file is an array of objects, not one a line. Options that are given win."""
    head = None if where is None or path is None else _head(where, path)
    an_array = head is not None and head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["
    return ({"multiLine": True} if an_array else {}) | given


def _head(where: Address, path: str) -> bytes | None:
    """The first bytes of a file; None where only Spark can read it."""
    try:
        with where.filesystem.open_input_stream(path, compression="detect") as stream:
            return bytes(stream.read(_HEAD))
    except (pa.ArrowException, OSError):
        return None


def _decoded(head: bytes, path: str | None, options: dict[str, Any]) -> str:
    if b"\0" in head:
        raise InputDataError(
            f"input.path: {path} has bytes of 0 and is no text as CSV is written; name its format "
            "in input.format, or save it as UTF-8"
        )
    if len(head) == _HEAD:
        head = head[: head.rfind(b"\n") + 1]  # the last line may be cut
    try:
        return head.decode("utf-8-sig")
    except UnicodeDecodeError:
        options["encoding"] = "ISO-8859-1"
        return head.decode("windows-1252", errors="replace")


def _rows(text: str, separator: str) -> list[list[str]]:
    rows = []
    with suppress(csv.Error):
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            if row:
                rows.append([cell.strip() for cell in row])
    return rows


def _separator(text: str) -> str:
    """The character by which the rows have most of the first row's cells, and as many."""

    def quality(separator: str) -> tuple[bool, int]:
        rows = _rows(text, separator)
        width = len(rows[0]) if rows else 0
        same = sum(len(row) == width for row in rows)
        return width > 1 and same >= 0.9 * len(rows), width

    return max(_SEPARATORS, key=quality)


def _of_rows(
    rows: list[list[str]], asked: dict[str, Any], options: dict[str, Any]
) -> tuple[tuple[str, ...], dict[int, str]]:
    """What the cells say: a header or none, gaps, lines within cells; the columns whose values
    begin with zeros; and those of numbers with a comma."""
    if not rows:
        return (), {}
    if any("\n" in cell or "\r" in cell for row in rows for cell in row):
        options["multiLine"] = True
    if all(map(_is_number, rows[0])):
        options["header"] = False
    header = str(asked.get("header", options["header"])).lower() == "true"
    values = rows[1:] if header else rows
    columns = [_column(values, place) for place in range(len(rows[0]))]
    for cells in columns:
        if found := _gap(cells):
            options["nullValue"] = found
            break
    texts = [
        place for place, cells in enumerate(columns) if any(map(_LEADING_ZERO.fullmatch, cells))
    ]
    marks = {place: mark for place, cells in enumerate(columns) if (mark := decimal_mark(cells))}
    return tuple(rows[0][place] for place in texts) if header else (), marks


def _column(rows: list[list[str]], place: int) -> list[str]:
    return [row[place] for row in rows if len(row) > place and row[place]]


def decimal_mark(cells: Iterable[str]) -> str | None:
    """The mark of the decimals of a column of numbers that have commas, "40,5" or "1,234.50"; None
    for other columns, and where it cannot be told whether a comma is of decimals or thousands."""
    known = [cell for cell in cells if cell not in MISSING]
    if all(map(_is_number, known)):
        return None
    found = [
        mark
        for mark, number in NUMBERS_BY_MARK.items()
        if all(re.fullmatch(number, cell) for cell in known)
    ]
    return found[0] if len(found) == 1 else None


def _gap(cells: Iterable[str]) -> str | None:
    """What stands for a gap in a column of numbers; None where it is no such column."""
    others = {cell for cell in cells if not _is_number(cell)}
    is_a_gap = len(others) == 1 and others <= set(MISSING) and len(set(cells)) > 1
    return others.pop() if is_a_gap else None


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None
