"""Blocks of rows inside a task: reading them from Parquet or from packed bytes.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gmm_spark.mixture.parameters import Array

# Batches of this size: one a row group where that is small, which saves cutting it up.
_BATCH_BYTES = 8 << 20
# A packed block holds about this many values, a megabyte, and at least so many rows.
_PACKED_VALUES = 128 << 10
_PACKED_ROWS = 1024


# Component numbers are kept as bits of a float64: up to this they are exact.
MOST_LABEL = 51
_FRACTION = -0.25


# What is said of columns of other types, wherever they are found.
NO_CATEGORY = (
    "column {name!r} has type {kind}; categories are text, whole numbers or booleans: convert it, "
    "or name it in inputCols"
)
NO_NUMBER = "column {name!r} has type {kind}, a number is needed; convert it or leave it out"
NO_MEMBERSHIP = (
    "label column {name!r} has type {kind}; labels are component numbers from 0 on, or arrays of "
    "them"
)
NO_WEIGHT = "weight column {name!r}: the weights of all rows sum to 0; some must be more than 0"


class TaskProblemError(Exception):
    """Something about the data that the driver turns into one clear error."""


class Encoder(Protocol):
    """Turns a column that is not of plain numbers into numbers; NaN is not known."""

    def encoded(self, column: pa.Array) -> Array: ...


@dataclass(frozen=True)
class Category:
    """A column of text, whole numbers or booleans, and the values it may have."""

    name: str
    levels: tuple[str, ...]
    other: bool = False  # the last level stands for every value that is not among the others

    def encoded(self, column: pa.Array) -> Array:
        """Positions among the levels; NaN for nulls, and for values that are not known."""
        column = as_text(column)
        found = pc.index_in(column, value_set=pa.array(self.levels, pa.string()))
        codes = found.cast(pa.float64()).to_numpy(zero_copy_only=False)
        if self.other:
            present = column.is_valid().to_numpy(zero_copy_only=False)
            codes = np.where(np.isnan(codes) & present, len(self.levels) - 1.0, codes)
        return np.asarray(codes)


@dataclass(frozen=True)
class Memberships:
    """A column of component numbers, or of arrays of them, as numbers whose bits they are.

    NaN is not known. What no component can have is negative: see `bad_membership`.
    """

    def encoded(self, column: pa.Array) -> Array:
        kind = column.type
        if pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            column = column.cast(pa.list_(kind.value_type))
        # Not safe: a number beyond 2^53 is no component's, and said to be none.
        if not pa.types.is_list(column.type):
            return _bits(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        flat = column.flatten().cast(pa.float64(), safe=False)
        flat = flat.to_numpy(zero_copy_only=False)
        bits, rows = _bits(flat), np.repeat(np.arange(len(column)), lengths)
        found = np.where(lengths > 0, 0.0, np.nan)
        whole = bits > 0
        sets = np.zeros(len(column), dtype=np.int64)
        np.bitwise_or.at(sets, rows[whole], bits[whole].astype(np.int64))
        found[lengths > 0] = sets[lengths > 0]
        found[rows[~whole]] = bits[~whole]  # a null among them, or what no component can have
        return found


def _bits(labels: Array) -> Array:
    bits = np.exp2(np.where((labels >= 0) & (labels <= MOST_LABEL), labels, 0.0))
    bits = np.where(labels > MOST_LABEL, -1.0 - labels, bits)
    bits = np.where(labels < 0, labels - 1.5, bits)
    return np.where(labels % 1 == 0, bits, np.where(np.isnan(labels), np.nan, _FRACTION))


def bad_membership(code: float) -> str:
    """What stood in the table for a negative code."""
    if code == _FRACTION:
        return "a number that is not whole"
    label = -1.0 - code if code % 1 == 0 else code + 1.5
    return f"{label:.0f}" if abs(label) < 1e15 else f"{label:g}"


@dataclass(frozen=True)
class Roles:
    """What the columns of a block are for: features first, then categories, counts, weight, the
    label of a given start, and whose component rows may be of."""

    features: tuple[str, ...]
    weight: str | None = None
    label: str | None = None
    categories: tuple[Category, ...] = ()
    membership: str | None = None
    counts: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Features, categories and counts: what the mixture is of."""
        return (*self.features, *(category.name for category in self.categories), *self.counts)

    @property
    def names(self) -> tuple[str, ...]:
        rest = (self.weight, self.label, self.membership)
        return (*self.inputs, *(name for name in rest if name is not None))

    @property
    def levels(self) -> tuple[int, ...]:
        return tuple(len(category.levels) for category in self.categories)

    @property
    def encoders(self) -> dict[int, Encoder]:
        """What turns columns that are not plain numbers into numbers, by their place."""
        first = len(self.features)
        found: dict[int, Encoder] = dict(enumerate(self.categories, first))
        if self.membership is not None:
            found[len(self.names) - 1] = Memberships()
        return found


@dataclass(frozen=True)
class Block:
    """Rows feature-major, as they stand in the table; gaps are NaN.

    `nulls` counts the nulls among them per column; other NaN were NaN in the table. Rows of
    weight 0 are not among them: `weightless` counts those that stood between them.
    """

    values: Array  # (columns, m)
    nulls: NDArray[np.int64]  # (columns,)
    roles: Roles
    fingerprint: int = 0
    weightless: int = 0

    @property
    def inputs(self) -> Array:
        """Features, codes of categories, and counts."""
        return self.values[: len(self.roles.inputs)]

    @property
    def weights(self) -> Array | None:
        return None if self.roles.weight is None else self.values[len(self.roles.inputs)]

    @property
    def labels(self) -> Array | None:
        if self.roles.label is None:
            return None
        return self.values[-1 if self.roles.membership is None else -2]

    @property
    def memberships(self) -> Array | None:
        return None if self.roles.membership is None else self.values[-1]

    def complete(self) -> Block:
        """The rows that have no gap in an input."""
        return replace(self, values=self.values[:, ~np.isnan(self.inputs).any(axis=0)])


def row_hashes(values: Array, seed: int) -> NDArray[np.uint64]:
    """A 64-bit hash of every row of values (d, m), of its content and the seed alone."""
    multiplier = np.uint64(0x9E3779B97F4A7C15)
    state = np.full(values.shape[1], _mixed(np.array([seed & (2**64 - 1)], dtype=np.uint64))[0])
    shift = np.uint64(29)
    for row in values:
        # Adding 0.0 makes -0.0 and 0.0, which compare equal, the same bits.
        state ^= (np.ascontiguousarray(row) + 0.0).view(np.uint64)
        state *= multiplier
        state ^= state >> shift
    return _mixed(state)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    state = state ^ (state >> np.uint64(30))
    state = state * np.uint64(0xBF58476D1CE4E5B9)
    state = state ^ (state >> np.uint64(27))
    state = state * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def occurrence_hashes(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes that differ between the first, second, ... occurrence of the same row."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    lengths = np.diff(np.append(starts, ordered.size))
    ranks = np.empty(ordered.size, dtype=np.uint64)
    ranks[order] = (np.arange(ordered.size) - np.repeat(starts, lengths)).astype(np.uint64)
    return _mixed(hashes + ranks * np.uint64(0xD1B54A32D192ED03))


def as_text(column: pa.Array) -> pa.Array:
    """Values of a category as they are compared."""
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def column_named(batch: pa.RecordBatch, name: str) -> pa.Array:
    """The one column of that name; ValueError where it is not there, or there twice."""
    places = batch.schema.get_all_field_indices(name)
    if len(places) != 1:
        raise ValueError(f"column {name!r} is there {len(places)} times; it must be there once")
    return batch.column(places[0])


def numbers(column: pa.Array) -> Array:
    """A column of numbers or booleans, (m,); NaN is null or NaN."""
    if not pa.types.is_float64(column.type):
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        column = column.cast(pa.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def weighted_rows(batch: pa.RecordBatch, place: int) -> tuple[pa.RecordBatch, int]:
    """The rows whose weight, the column at `place`, is not 0, and how many others there are.

    A row of weight 0 is no row, so it is left out before anything is looked at; one whose weight
    is not known stays, and is refused later.
    """
    present = numbers(batch.column(place)) != 0
    count = batch.num_rows - int(np.count_nonzero(present))
    return (batch.filter(pa.array(present)) if count else batch), count


def batch_columns(
    batch: pa.RecordBatch, names: Iterable[str], encoders: Mapping[int, Encoder] | None = None
) -> tuple[Array, Any]:
    """Columns of a batch by their names: see `stacked`."""
    return stacked([column_named(batch, name) for name in names], batch.num_rows, encoders)


def stacked(
    columns: Sequence[pa.Array], num_rows: int, encoders: Mapping[int, Encoder] | None = None
) -> tuple[Array, Any]:
    """Columns feature-major, (columns, m), and their null counts. Those that have no encoder are
    numeric."""
    encoders = encoders or {}
    values = np.empty((len(columns), num_rows))
    nulls = np.zeros(len(columns), dtype=np.int64)
    for index, column in enumerate(columns):
        nulls[index] = column.null_count
        if index in encoders:
            values[index] = encoders[index].encoded(column)
            continue
        values[index] = numbers(column)
    return values, nulls


@dataclass(frozen=True)
class Features:
    """Features of a batch, (d, m), and what was wrong with some of them."""

    values: Array
    nulls: NDArray[np.int64]  # (d,)
    wrong_length: int = 0
    an_other_length: int = -1


def array_features(column: pa.Array, length: int) -> Features:
    """A column of arrays or of ML vectors as features; a null row is a gap in every feature."""
    if pa.types.is_struct(column.type):
        return _vector_features(column, length)
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    present = lengths >= 0
    right = lengths == length
    features = np.full((length, len(column)), np.nan)
    flat = column.filter(pa.array(right)).flatten()
    # Not safe: whole numbers beyond 2^53 are rounded, as the fit rounds them.
    values = flat.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    features[:, right] = values.reshape(-1, length).T
    nulls = np.full(length, int((~present).sum()), dtype=np.int64)
    if flat.null_count:
        gaps = flat.is_null().to_numpy(zero_copy_only=False)
        nulls += gaps.reshape(-1, length).sum(axis=0)
    return _judged(features, nulls, lengths, present & ~right)


def _vector_features(column: pa.Array, length: int) -> Features:
    """MLlib's vectors: type 1 is dense, with values alone; type 0 sparse, with its size."""
    present = column.is_valid().to_numpy(zero_copy_only=False)
    kinds, sizes, indices, values = (
        pc.struct_field(column, name) for name in ("type", "size", "indices", "values")
    )
    dense = kinds.fill_null(-1).to_numpy(zero_copy_only=False) == 1
    lengths = pc.list_value_length(values).fill_null(-1).to_numpy(zero_copy_only=False)
    sparse = present & ~dense
    if sparse.any():
        lengths = np.where(sparse, sizes.fill_null(-1).to_numpy(zero_copy_only=False), lengths)
    features = np.full((length, len(column)), np.nan)
    right = lengths == length
    filled = dense & right
    flat = values.filter(pa.array(filled)).flatten().to_numpy(zero_copy_only=False)
    features[:, filled] = flat.reshape(-1, length).T
    for row in np.flatnonzero(sparse & right):
        features[:, row] = 0.0
        features[indices[row].as_py(), row] = values[row].as_py()
    nulls = np.full(length, int((~present).sum()), dtype=np.int64)
    return _judged(features, nulls, lengths, present & ~right)


def _judged(
    features: Array, nulls: NDArray[np.int64], lengths: NDArray[Any], wrong: NDArray[np.bool_]
) -> Features:
    count = int(wrong.sum())
    return Features(features, nulls, count, int(lengths[wrong][0]) if count else -1)


@dataclass(frozen=True)
class FileVersion:
    """A file as it was when the fit began."""

    path: str
    size: int
    modified: int | None  # nanoseconds
    partition: tuple[tuple[str, Any], ...] = ()  # hive keys of the path


@dataclass(frozen=True)
class RowGroups:
    """Part of a task: row groups of one file."""

    file: FileVersion
    groups: tuple[int, ...]


@dataclass(frozen=True)
class RowGroupReader:
    """Reads columns of the row groups of the tasks whose numbers it is sent."""

    filesystem: Any
    tasks: tuple[tuple[RowGroups, ...], ...]
    names: tuple[str, ...]
    filter: Any = None
    filter_columns: tuple[str, ...] = ()
    # Of columns in the table: what they are where a file lacks them, or has them without a type.
    types: Mapping[str, pa.DataType] = field(default_factory=dict)

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers = (number for batch in batches for number in batch.column(0).to_pylist())
        return self.of_tasks(self.tasks[number] for number in numbers)

    def of_tasks(self, tasks: Iterable[tuple[RowGroups, ...]]) -> Iterator[pa.RecordBatch]:
        for task in tasks:
            for part in task:
                yield from self._read(part)

    def _read(self, part: RowGroups) -> Iterator[pa.RecordBatch]:
        file = part.file
        info = self.filesystem.get_file_info(file.path)
        if info.size != file.size or info.mtime_ns != file.modified:
            raise TaskProblemError(
                f"{file.path} changed while it was being read: it had {file.size} bytes, now "
                f"{'it is gone' if info.size is None else f'{info.size}'}; run the job again"
            )
        names = list(dict.fromkeys([*self.names, *self.filter_columns]))
        partition = dict(file.partition)
        # From afar, a row group is fetched at once: a column after the other is a wait each.
        far = self.filesystem.type_name != "local"
        with self.filesystem.open_input_file(file.path) as stream:
            parquet = pq.ParquetFile(stream, pre_buffer=far)
            present = set(parquet.schema_arrow.names)
            absent = [name for name in names if name not in present and name not in partition]
            unknown = [name for name in absent if name not in self.types]
            if unknown:
                raise TaskProblemError(f"{file.path} has no column {unknown[0]!r}")
            stored = [name for name in names if name in present and name not in partition]
            rows = max(1024, _BATCH_BYTES // (8 * len(names)))
            fetched = [[group] for group in part.groups] if far else [list(part.groups)]
            batches = chain.from_iterable(
                parquet.iter_batches(rows, row_groups=groups, columns=stored, use_threads=False)
                for groups in fetched
            )
            for batch in batches:
                for name in names:
                    if name in partition:
                        value = pa.scalar(partition[name], self.types.get(name))
                        batch = batch.append_column(name, pa.repeat(value, batch.num_rows))
                for name in absent:
                    batch = batch.append_column(name, pa.nulls(batch.num_rows, self.types[name]))
                batch = self._typed(batch)
                if self.filter is not None:
                    table = pa.Table.from_batches([batch]).filter(self.filter)
                    batch = table.combine_chunks().to_batches()[0] if table.num_rows else None
                if batch is not None and batch.num_rows:
                    yield batch.select(list(self.names))

    def _typed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A column of nulls without a type has that of the other files."""
        pairs = zip(batch.schema.names, batch.schema.types, strict=True)
        for place, (name, kind) in enumerate(pairs):
            wanted = self.types.get(name, kind)
            if pa.types.is_null(kind) and wanted != kind:
                batch = batch.set_column(place, name, pa.nulls(batch.num_rows, wanted))
        return batch


@dataclass(frozen=True)
class TableRows:
    """The rows of a task's row groups in columns of given types, for `mapInArrow`."""

    reader: RowGroupReader
    types: pa.Schema  # of the first columns of the reader; others stay as they are

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in self.reader(batches):
            arrays = list(batch.columns)
            for index, kind in enumerate(self.types.types):
                if arrays[index].type != kind:
                    arrays[index] = arrays[index].cast(kind)
            yield pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])


@dataclass(frozen=True)
class ParquetReader:
    """Blocks of the row groups a task is sent the numbers of."""

    rows: RowGroupReader
    roles: Roles

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Block]:
        return self._blocks(self.rows(batches))

    def of_tasks(self, tasks: Iterable[tuple[RowGroups, ...]]) -> Iterator[Block]:
        return self._blocks(self.rows.of_tasks(tasks))

    def _blocks(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Block]:
        weightless = 0
        for batch in batches:
            if self.roles.weight is not None:
                batch, weightless = weighted_rows(batch, len(self.roles.inputs))
            # By place: a column may stand in two roles.
            values, nulls = stacked(batch.columns, batch.num_rows, self.roles.encoders)
            yield Block(values, nulls, self.roles, weightless=weightless)


PACKED_SCHEMA = (
    "rows long, weightless long, length long, wrong_length long, an_other_length long, "
    "nulls array<long>, "
    "fingerprint long, block binary"
)


def _regrouped(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `rows`, whatever came in; the last may be smaller."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        while count >= rows:
            table = pa.Table.from_batches(waiting)
            yield from table.slice(0, rows).combine_chunks().to_batches()
            waiting, count = table.slice(rows).to_batches(), count - rows
    if count:
        yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()


@dataclass(frozen=True)
class Packer:
    """Turns batches of rows into packed blocks, for `mapInArrow`.

    Either every column is a scalar, or the first holds arrays or vectors, of as many features as
    the first of the partition has. `encoders` are of columns that are not numbers, by their place.
    Rows of weight 0 are left out before they are packed.
    """

    columns: tuple[str, ...]
    arrays: bool = False
    encoders: dict[int, Encoder] = field(default_factory=dict)
    weight: int | None = None  # its place

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        first, length = int(self.arrays), 0
        weightless: list[int] = []
        batches = self._weighted(batches, weightless)
        if self.arrays:
            length, batches = _first_length(batches)
        encoders = {place - first: encoder for place, encoder in self.encoders.items()}
        width = max(1, len(self.columns) - first + length)
        for batch in _regrouped(batches, max(_PACKED_ROWS, _PACKED_VALUES // width)):
            extra, extra_nulls = stacked(batch.columns[first:], batch.num_rows, encoders)
            found = Features(extra[:0], extra_nulls[:0])
            if length > 0:
                found = array_features(batch.column(0), length)
            values = np.concatenate([found.values.reshape(-1, batch.num_rows), extra])
            nulls = np.concatenate([found.nulls, extra_nulls])
            yield _packed(values, nulls, batch.num_rows, length, found, sum(weightless))
            weightless.clear()
        if sum(weightless):  # after the last row that has a weight
            nothing = np.zeros(len(self.columns) - first + max(0, length), dtype=np.int64)
            values = np.empty((nothing.size, 0))
            yield _packed(values, nothing, 0, length, Features(values, nothing), sum(weightless))

    def _weighted(
        self, batches: Iterable[pa.RecordBatch], weightless: list[int]
    ) -> Iterator[pa.RecordBatch]:
        """The rows of some weight; the others are counted."""
        for batch in batches:
            if self.weight is not None:
                batch, count = weighted_rows(batch, self.weight)
                weightless.append(count)
            yield batch


def _packed(
    values: Array,
    nulls: NDArray[np.int64],
    rows: int,
    length: int,
    found: Features,
    weightless: int,
) -> pa.RecordBatch:
    fingerprint = int(row_hashes(values, 0).view(np.int64).sum(dtype=np.int64))
    return pa.RecordBatch.from_arrays(
        [
            pa.array([rows], pa.int64()),
            pa.array([weightless], pa.int64()),
            pa.array([length], pa.int64()),
            pa.array([found.wrong_length], pa.int64()),
            pa.array([found.an_other_length], pa.int64()),
            pa.array([nulls.tolist()], pa.list_(pa.int64())),
            pa.array([fingerprint], pa.int64()),
            pa.array([values.tobytes()], pa.binary()),
        ],
        [part.split()[0] for part in PACKED_SCHEMA.split(", ")],
    )


def _first_length(
    batches: Iterable[pa.RecordBatch],
) -> tuple[int, Iterator[pa.RecordBatch]]:
    """How many entries the first array or vector of the first column has; 0 where it is empty, -1
    where all are null; and all the batches."""
    remaining, looked_at = iter(batches), []
    for batch in remaining:
        looked_at.append(batch)
        present = batch.column(0).drop_null()
        if len(present):
            # Of one row, whatever its length: the others tell themselves.
            return _length(present[0]), chain(looked_at, remaining)
    return -1, iter(looked_at)


def _length(row: pa.Scalar) -> int:
    if not pa.types.is_struct(row.type):
        return len(row.values)
    return len(row["values"].values) if row["type"].as_py() == 1 else int(row["size"].as_py())


@dataclass(frozen=True)
class PackedReader:
    """Reads packed blocks back. A partition without a row that says how many features there are
    has gaps alone."""

    roles: Roles

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Block]:
        for batch in batches:
            rows, nulls = batch.column("rows").to_pylist(), batch.column("nulls").to_pylist()
            fingerprints = batch.column("fingerprint").to_pylist()
            weightless = batch.column("weightless").to_pylist()
            for index, packed in enumerate(batch.column("block")):
                values = np.frombuffer(packed.as_buffer()).reshape(len(nulls[index]), rows[index])
                absent = len(self.roles.names) - len(values)
                if absent:
                    values = np.vstack([np.full((absent, rows[index]), np.nan), values])
                yield Block(
                    values,
                    np.array([rows[index]] * absent + nulls[index], dtype=np.int64),
                    self.roles,
                    fingerprints[index],
                    weightless[index],
                )
