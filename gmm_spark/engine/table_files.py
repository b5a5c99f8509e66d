"""The files of a Parquet table: which they are, and whether their columns go together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from py4j.protocol import Py4JError
from pyarrow import fs
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from gmm_spark.engine.addresses import Address, address, is_hidden
from gmm_spark.engine.cluster import current_session
from gmm_spark.engine.column_types import (
    ColumnKind,
    check_type,
    is_text,
    is_usable,
    type_refusal,
    value_type,
)
from gmm_spark.engine.dataframe import is_case_sensitive, same_names, several_columns
from gmm_spark.engine.filters import with_times
from gmm_spark.engine.inputs import no_column, type_of
from gmm_spark.engine.row_groups import FileVersion
from gmm_spark.errors import ConfigurationError, InputDataError

# Partitions and Iceberg's folders lie this deep in a table, as a rule.
_PARENTS = 4
# The folders in which formats keep which files count.
STREAM = "stream"
_LOGS = {"_delta_log": "delta", ".hoodie": "hudi", "_spark_metadata": STREAM}
# And the file that Hudi keeps in every partition.
_MARKS = {**_LOGS, ".hoodie_partition_metadata": "hudi"}
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_NOT_PARQUET = pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError


# What pyarrow says of a comparison, and of a list, that are of another type than the column.
_TYPE = r"(\w+(?:\[[^\]]*\])?)"
_TWO_TYPES = re.compile(rf"(?:input types \(|values set: ){_TYPE}(?:,| vs) {_TYPE}")
# What a filter of such a column takes.
_TIMES = {
    "date": "a day, '2026-11-26'",
    "timestamp": "a time, '2026-11-26T06:00', and with its zone where the column has one: "
    "'2026-11-26T06:00+01:00'",
}


class FiltersError(ConfigurationError):
    """The filters of a table cannot be used."""


@dataclass(frozen=True)
class TableFile:
    """A file, what its footer says, and its row groups that can hold rows of the filter."""

    version: FileVersion
    schema: pa.Schema
    num_rows: int
    groups: tuple[tuple[int, int], ...]  # number, rows


@dataclass(frozen=True)
class TableFiles:
    """The files of a table as they were when it was opened, in the order of their paths."""

    written: str  # the path as the user wrote it
    address: Address
    roots: tuple[str, ...]
    files: tuple[TableFile, ...]
    schema: pa.Schema  # of all the files together, then the partition columns
    partitions: tuple[str, ...]
    filters: Any  # as they were given
    expression: Any

    @property
    def filesystem(self) -> fs.FileSystem:
        return self.address.filesystem

    def kind(self, name: str) -> pa.DataType:
        """The type of a column; InputDataError where there is none, or several."""
        names = self.schema.names
        if name not in names:
            raise no_column(name, names, self.written)
        same = same_names(name, names)
        if len(same) > 1:
            spark = current_session()
            if spark is None or not is_case_sensitive(spark):
                raise InputDataError(several_columns(name, same, self.written))
        if name not in self.partitions:
            for file in self._telling():
                count = len(file.schema.get_all_field_indices(name))
                if count > 1:
                    same = [name] * count
                    raise InputDataError(several_columns(name, same, file.version.path))
        return self.schema.field(name).type

    def check(self, name: str, kind: ColumnKind, absent: str | None) -> None:
        """Raise InputDataError where the column cannot be used, with the file and its type.

        A file that has no such column is an error too, for which `absent` says what to do; None
        where its rows have gaps there.
        """
        whole = self.kind(name)
        if name in self.partitions:
            check_type(name, whole, kind)
            return
        telling = self._telling()
        types = [_type_in(file, name) for file in telling]
        usable = [found is not None and is_usable(found, kind) for found in types]
        wrong = [i for i, found in enumerate(types) if found is not None and not usable[i]]
        if wrong:
            where = f" in {telling[wrong[0]].version.path}" if any(usable) else ""
            raise InputDataError(type_refusal(name, f"{types[wrong[0]]}{where}", kind))
        lacking = [i for i, found in enumerate(types) if found is None]
        if lacking and absent is not None:
            raise InputDataError(
                f"{telling[lacking[0]].version.path} has no column {name!r}, which other files of "
                f"the table have ({len(lacking)} of {len(types)} lack it); {absent}"
            )

    def differ(self, names: Iterable[str]) -> bool:
        """Whether some file has no such column, or one of another type."""
        return any(
            (kind := _type_in(file, name)) is None or _plain(kind) != self.schema.field(name).type
            for name in names
            if name not in self.partitions
            for file in self._telling()
        )

    def one_type(self, name: str) -> pa.DataType:
        """The type that holds the column's values of all files; InputDataError for none."""
        whole = self.kind(name)
        for file in () if name in self.partitions else self._telling():
            found = _type_in(file, name)
            if found is not None and common_type([whole, found]) != whole:
                raise InputDataError(
                    f"column {name!r} has type {found} in {file.version.path}, in other files "
                    f"{whole}; convert it, or leave it out"
                )
        return whole

    @property
    def is_sparks(self) -> bool:
        """Whether Spark's reader has a way to the files."""
        return self.address.prefix is not None

    def frame(self, spark: SparkSession, names: Iterable[str]) -> DataFrame:
        """The same files by Spark's reader, which gives a column one type.

        Raises ConfigurationError where Spark has no way to them, and InputDataError where a file
        has another type in one of the columns `names`.
        """
        paths = [self.address.for_spark(root) for root in self.roots]
        if None in paths:
            raise ConfigurationError(
                f"{self.written}: vectors, arrays, decimals and times are read by Spark, which "
                "does not know the `filesystem`; name other columns"
            )
        stored = [name for name in names if name not in self.partitions]
        for name in stored:
            self._one_for_spark(name)
        # Else Spark takes the columns of the first file for those of all.
        merged = any(_type_in(file, name) is None for file in self.files for name in stored)
        reader = spark.read.option("mergeSchema", str(merged).lower())
        try:
            return reader.parquet(*[path for path in paths if path is not None])
        except (PySparkException, Py4JError) as error:
            said = re.search(r"\[[A-Z0-9_.]+\] [^\n]*", str(error))
            raise InputDataError(
                f"{self.written} cannot be read by Spark: "
                f"{said[0] if said else str(error).splitlines()[0]}"
            ) from None

    def _one_for_spark(self, name: str) -> None:
        if name not in self.schema.names:
            return
        whole = self.schema.field(name).type
        for file in self._telling():
            found = _type_in(file, name)
            if found is not None and _plain(found) not in (whole, pa.null()):
                raise InputDataError(
                    f"column {name!r} has type {found} in {file.version.path}, all files together "
                    f"{whole}, and Spark reads one type; convert it, or leave it out"
                )

    def _telling(self) -> tuple[TableFile, ...]:
        return _telling(self.files)


def _telling(files: tuple[TableFile, ...]) -> tuple[TableFile, ...]:
    """Files whose columns matter: those with rows, or all where none has any."""
    return tuple(file for file in files if file.num_rows) or files


def _type_in(file: TableFile, name: str) -> pa.DataType | None:
    place = file.schema.get_all_field_indices(name)
    return file.schema.field(place[0]).type if place else None


def open_files(
    path: Any, filesystem: fs.FileSystem | None = None, filters: Any = None
) -> TableFiles:
    """The files of the table at a path or pattern, their footers read.

    Raises ConfigurationError where nothing is there, or where what is there is a table of
    another format, and for filters that cannot be used; InputDataError for what is no Parquet.
    """
    where = address(path, filesystem)
    try:
        roots = where.found()
        if not roots:
            raise ConfigurationError(f"there is no table at {where.written}")
        infos, keys = _listed(where, roots)
    except OSError as error:
        raise InputDataError(f"{where.written} cannot be read: {error}") from error
    partitions = _partition_fields(keys)
    versions = [
        FileVersion(info.path, info.size, info.mtime_ns, _typed(found, partitions))
        for info, found in zip(infos, keys, strict=True)
    ]
    _as_condition(filters)
    files, expression = _opened(where.filesystem, versions, partitions, filters)
    schema = _united(_telling(files), partitions)
    names = tuple(partitions.names)
    return TableFiles(where.written, where, tuple(roots), files, schema, names, filters, expression)


def _listed(where: Address, roots: list[str]) -> tuple[list[Any], list[dict[str, str]]]:
    """The files below the roots that Spark's readers would take, and the hive keys of each."""
    found: dict[str, tuple[Any, dict[str, str]]] = {}
    asked: set[str] = set()
    for root in roots:
        other = other_format(where, root, asked)
        if other is not None:
            raise ConfigurationError(refusal(*other))
        info = where.filesystem.get_file_info(root)
        if info.type == fs.FileType.File:
            found.setdefault(root, (info, {}))
            continue
        for entry in where.filesystem.get_file_info(fs.FileSelector(root, recursive=True)):
            parts = entry.path[len(root) :].strip("/").split("/")
            format_, above = _marked(parts)
            if format_ is not None:
                raise ConfigurationError(refusal(format_, "/".join([root, *parts[:above]])))
            if entry.type != fs.FileType.File or any(map(is_hidden, parts)):
                continue
            pairs = (part.partition("=") for part in parts[:-1] if "=" in part)
            keys = {unquote(key): unquote(value) for key, _, value in pairs}
            found.setdefault(entry.path, (entry, keys))
    if not found:
        raise InputDataError(f"there is no file in {where.written}")
    _require_same_keys({path: keys for path, (_, keys) in found.items()})
    ordered = sorted(found.items())
    return [info for _, (info, _) in ordered], [keys for _, (_, keys) in ordered]


def _require_same_keys(found: dict[str, dict[str, str]]) -> None:
    """Raise InputDataError for a file beside the partitions of others: Spark leaves it out."""
    most = max(found, key=lambda path: len(found[path]))
    for path, keys in found.items():
        lacking = [key for key in found[most] if key not in keys]
        if lacking:
            raise InputDataError(
                f"{path} does not lie in a partition of {', '.join(lacking)}, as {most} does; "
                "Spark's readers leave one of them out, or refuse both: move it into a partition, "
                "or elsewhere"
            )


def _marked(parts: list[str]) -> tuple[str | None, int]:
    """The format of a table whose log a path below a root belongs to, and how deep the table is."""
    for place, part in enumerate(parts):
        format_ = _MARKS.get(part)
        if format_ is not None:
            return format_, place
        if place and part.endswith(".metadata.json") and parts[place - 1] == "metadata":
            return "iceberg", place - 1
    return None, 0


def other_format(
    where: Address, path: str, asked: set[str] | None = None
) -> tuple[str, str] | None:
    """The table of another format that a file or folder is (part of): its format and folder."""
    asked = set() if asked is None else asked
    is_file = where.filesystem.get_file_info(path).type == fs.FileType.File
    paths = [path]
    if isinstance(where.filesystem, fs.LocalFileSystem) and os.path.realpath(path) != path:
        paths.append(os.path.realpath(path))  # a link into a table
    for one in paths:
        found = _above(where.filesystem, one.rpartition("/")[0] if is_file else one, asked)
        if found is not None:
            return found
    return None


def _above(filesystem: fs.FileSystem, folder: str, asked: set[str]) -> tuple[str, str] | None:
    """The format of the table that a folder or one above it is, and which of them."""
    parents = 0
    while folder and folder not in asked:
        asked.add(folder)
        format_ = _format_of(filesystem, folder)
        if format_ is not None:
            return format_, folder
        above, _, name = folder.rpartition("/")
        parents += "=" not in name  # a partition, of which there may be many
        if parents > _PARENTS:
            break
        folder = above
    return None


def _format_of(filesystem: fs.FileSystem, folder: str) -> str | None:
    names = {f"{folder}/{name}": format_ for name, format_ in _MARKS.items()}
    for info in filesystem.get_file_info(list(names)):
        is_log = info.base_name in _LOGS
        if info.type == (fs.FileType.Directory if is_log else fs.FileType.File):
            return names[info.path]
    metadata = fs.FileSelector(f"{folder}/metadata", allow_not_found=True)
    try:
        entries = filesystem.get_file_info(metadata)
    except OSError:  # a file of that name
        return None
    iceberg = any(re.search(r"\.metadata\.json$|^version-hint", e.base_name) for e in entries)
    return "iceberg" if iceberg else None


_REFUSED = {
    "delta": ("a Delta table", 'spark.read.format("delta").load(path)', ", in a job format: delta"),
    "hudi": ("a Hudi table", 'spark.read.format("hudi").load(path)', ", in a job input.table"),
    "iceberg": (
        "an Iceberg table",
        'spark.read.format("iceberg").load(path)',
        ", in a job format: iceberg or input.table",
    ),
    STREAM: ("written by a stream", "spark.read.parquet(path)", ""),
}


def refusal(format_: str, folder: str) -> str:
    """Why the files of a table of another format are not read by themselves."""
    what, reader, setting = _REFUSED[format_]
    return (
        f"{folder} is {what}: only its log says which of its files count, and read as plain "
        f"Parquet, rows that were deleted come back; use {reader}{setting}"
    )


def _partition_fields(keys: list[dict[str, str]]) -> pa.Schema:
    """Names and types of the hive keys: whole numbers where all values are, else text."""
    values: dict[str, set[str]] = {}
    for found in keys:
        for key, value in found.items():
            values.setdefault(key, set()).add(value)
    return pa.schema([(key, _partition_type(found)) for key, found in values.items()])


def _partition_type(values: set[str]) -> pa.DataType:
    known = values - {NO_VALUE}
    if not known or not all(re.fullmatch(r"-?\d{1,18}", value) for value in known):
        return pa.string()
    small = all(-(2**31) <= int(value) < 2**31 for value in known)
    return pa.int32() if small else pa.int64()


def _typed(found: dict[str, str], partitions: pa.Schema) -> tuple[tuple[str, Any], ...]:
    def value(key: str, text: str) -> Any:
        if text == NO_VALUE:
            return None
        return int(text) if pa.types.is_integer(partitions.field(key).type) else text

    return tuple((key, value(key, text)) for key, text in found.items())


def _opened(
    filesystem: fs.FileSystem, versions: list[FileVersion], partitions: pa.Schema, filters: Any
) -> tuple[tuple[TableFile, ...], Any]:
    """The footers of the files that can hold rows of the filters, at least the first; and the
    filters as an expression."""
    made = ds.ParquetFileFormat()
    fragments = {
        file.path: made.make_fragment(
            file.path, filesystem, partition_expression=_as_expression(file, partitions)
        )
        for file in versions
    }

    def within(paths: Iterable[str], schema: pa.Schema) -> list[str]:
        """The paths of files whose partitions can hold rows of the filter."""
        those = [fragments[path] for path in paths]
        dataset = ds.FileSystemDataset(those, schema, made, filesystem)
        return [fragment.path for fragment in dataset.get_fragments(filter=expression)]

    def footer(file: FileVersion) -> TableFile:
        try:
            metadata = fragments[file.path].metadata
            sizes = ((i, metadata.row_group(i).num_rows) for i in range(metadata.num_row_groups))
            schema = fragments[file.path].physical_schema
            return TableFile(file, schema, metadata.num_rows, tuple(sizes))
        except _NOT_PARQUET as error:
            raise _no_parquet(file.path, error) from error

    def parts(file: TableFile) -> TableFile:
        path = file.version.path
        try:
            found = fragments[path].split_by_row_group(filter=expression, schema=schema)
        except _NOT_PARQUET as error:
            raise _no_parquet(path, error) from error
        groups = tuple((group.id, group.num_rows) for part in found for group in part.row_groups)
        return TableFile(file.version, file.schema, file.num_rows, groups)

    first = footer(versions[0])
    expression = _as_condition(with_times(filters, _united((first,), partitions)))
    paths = list(fragments)
    if expression is not None:
        # Files of partitions without such rows are not opened. A filter may be of a column that
        # the first file lacks: then all are.
        try:
            paths = within(paths, _united((first,), partitions))
        except pa.ArrowException:
            paths = list(fragments)
    chosen = [file for file in versions if file.path in set(paths)]
    with ThreadPoolExecutor(16) as pool:
        files = tuple(pool.map(footer, chosen))
        if expression is not None:
            schema = _united(_telling(files or (first,)), partitions)
            _check_condition(expression, schema)
            kept = set(within(paths, schema))
            files = tuple(pool.map(parts, (f for f in files if f.version.path in kept)))
    return files or (TableFile(first.version, first.schema, first.num_rows, ()),), expression


def _as_condition(filters: Any) -> Any:
    """The filters as an expression; FiltersError where they are none."""
    if filters is None or isinstance(filters, ds.Expression):
        return filters
    try:
        return pq.filters_to_expression(filters)
    except (TypeError, ValueError, LookupError, pa.ArrowException) as error:
        shown = repr(filters) if isinstance(filters, str | list | tuple) else type_of(filters)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise FiltersError(
            f"filters: found {shown} ({str(error).splitlines()[0]}); they are a list of "
            "(column, operator, value), a list of such lists, or a pyarrow.compute.Expression"
        ) from None


def _check_condition(expression: Any, schema: pa.Schema) -> None:
    """Raise FiltersError where the columns are not there, or cannot be compared so."""
    try:
        schema.empty_table().filter(expression)
    except pa.ArrowException as error:
        said = str(error).splitlines()[0]
        absent = re.search(r"^No match for FieldRef\.Name\((.*)\) in ", said)
        if absent:
            said = str(no_column(absent[1], schema.names, "the table"))
        elif kinds := _TWO_TYPES.search(said):
            said = f"a column of {kinds[1]} cannot be compared with a value of {kinds[2]}"
            said += f" (in {' '.join(str(expression).split())})"
            said += "".join(
                f"; expected {x}" for of, x in _TIMES.items() if kinds[1].startswith(of)
            )
        raise FiltersError(f"filters: {said}") from None


def _as_expression(file: FileVersion, partitions: pa.Schema) -> Any:
    expression = pc.scalar(True)
    for key, value in file.partition:
        field = pc.field(key)
        kind = partitions.field(key).type
        same = field.is_null() if value is None else field == pa.scalar(value, kind)
        expression = expression & same
    return expression


def _united(files: tuple[TableFile, ...], partitions: pa.Schema) -> pa.Schema:
    """The columns of all files, and the partition columns, which win over stored ones."""
    types: dict[str, list[pa.DataType]] = {}
    before: pa.Schema | None = None
    for file in files:
        if before is None or not file.schema.equals(before):
            for field in file.schema:
                types.setdefault(field.name, []).append(field.type)
        before = file.schema
    stored = {name: common_type(found) or _plain(found[0]) for name, found in types.items()}
    own = {field.name: field.type for field in partitions}
    return pa.schema(list({**stored, **own}.items()))


def _plain(kind: pa.DataType) -> pa.DataType:
    kind = value_type(kind)
    return pa.string() if is_text(kind) else kind


def common_type(kinds: Iterable[pa.DataType]) -> pa.DataType | None:
    """A type that holds the values of all the types; None where there is none."""
    distinct = dict.fromkeys(map(_plain, kinds))
    if len(distinct) == 1:
        return next(iter(distinct))
    schemas = [pa.schema([("column", kind)]) for kind in distinct]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def damaged(path: str, what: str = "read as Parquet") -> InputDataError:
    """A file that is not what it should be, and so cannot be read."""
    return InputDataError(
        f"{path} cannot be {what}: it is cut short, damaged or something else; write it again, or "
        "take it away"
    )


def _no_parquet(path: str, error: Exception) -> InputDataError:
    # As pyarrow says it of what has no footer, or another.
    if "Could not open Parquet input source" in str(error):
        return damaged(path)
    return InputDataError(f"{path} cannot be read as Parquet: {error}")
