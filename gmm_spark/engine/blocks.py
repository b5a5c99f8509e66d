"""Blocks of rows inside a task: reading them from Parquet or from packed bytes.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gmm_spark.mixture.parameters import Array

_BATCH_ROWS = 65_536


class TaskProblem(Exception):
    """Something about the data that the driver turns into one clear error."""


@dataclass(frozen=True)
class Roles:
    """What the columns of a block are for: features first, then weight, then label."""

    features: tuple[str, ...]
    weight: str | None = None
    label: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        extra = (name for name in (self.weight, self.label) if name is not None)
        return (*self.features, *extra)


@dataclass(frozen=True)
class Block:
    """Rows feature-major, as they stand in the table; gaps are NaN.

    `nulls` counts the nulls among them per column; other NaN were NaN in the table.
    """

    values: Array  # (columns, m)
    nulls: NDArray[np.int64]  # (columns,)
    roles: Roles
    fingerprint: int = 0

    @property
    def features(self) -> Array:
        return self.values[: len(self.roles.features)]

    @property
    def weights(self) -> Array | None:
        return None if self.roles.weight is None else self.values[len(self.roles.features)]

    @property
    def labels(self) -> Array | None:
        return None if self.roles.label is None else self.values[-1]


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


def batch_columns(batch: pa.RecordBatch, names: Iterable[str]) -> tuple[Array, Any]:
    """Numeric columns of a batch stacked feature-major, (columns, m), and their null counts."""
    names = list(names)
    values = np.empty((len(names), batch.num_rows))
    nulls = np.zeros(len(names), dtype=np.int64)
    for index, name in enumerate(names):
        column = batch.column(batch.schema.get_field_index(name))
        nulls[index] = column.null_count
        if not pa.types.is_float64(column.type):
            if pa.types.is_boolean(column.type):
                column = column.cast(pa.int8())
            column = column.cast(pa.float64(), safe=False)
        values[index] = column.to_numpy(zero_copy_only=False)
    return values, nulls


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
class ParquetReader:
    """Reads the row groups of the tasks whose numbers it is sent."""

    filesystem: Any
    tasks: tuple[tuple[RowGroups, ...], ...]
    roles: Roles
    filter: Any = None
    filter_columns: tuple[str, ...] = ()
    check_files: bool = field(default=True)

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Block]:
        for batch in batches:
            for task in batch.column(0).to_pylist():
                for part in self.tasks[task]:
                    yield from self._read(part)

    def _read(self, part: RowGroups) -> Iterator[Block]:
        file = part.file
        info = self.filesystem.get_file_info(file.path)
        if info.size != file.size or info.mtime_ns != file.modified:
            raise TaskProblem(
                f"{file.path} changed while it was being read: it had {file.size} bytes, now "
                f"{'it is gone' if info.size is None else f'{info.size}'}; run the job again"
            )
        names = list(dict.fromkeys([*self.roles.names, *self.filter_columns]))
        partition = dict(file.partition)
        with self.filesystem.open_input_file(file.path) as stream:
            parquet = pq.ParquetFile(stream)
            present = set(parquet.schema_arrow.names)
            missing = [name for name in names if name not in present and name not in partition]
            if missing:
                raise TaskProblem(f"{file.path} has no column {missing[0]!r}")
            stored = [name for name in names if name not in partition]
            for batch in parquet.iter_batches(
                _BATCH_ROWS, row_groups=list(part.groups), columns=stored, use_threads=False
            ):
                for name in names:
                    if name in partition:
                        constant = pa.repeat(partition[name], batch.num_rows)
                        batch = batch.append_column(name, constant)
                if self.filter is not None:
                    table = pa.Table.from_batches([batch]).filter(self.filter)
                    batch = table.combine_chunks().to_batches()[0] if table.num_rows else None
                if batch is not None and batch.num_rows:
                    values, nulls = batch_columns(batch, self.roles.names)
                    yield Block(values, nulls, self.roles)


PACKED_SCHEMA = (
    "rows long, wrong_length long, an_other_length long, nulls array<long>, "
    "fingerprint long, block binary"
)


@dataclass(frozen=True)
class Packer:
    """Turns batches of rows into packed blocks, for `mapInArrow`.

    Either every column is a scalar, or the first is an array of `length` features.
    """

    columns: tuple[str, ...]
    length: int | None

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows == 0:
                continue
            wrong, other = 0, -1
            if self.length is None:
                values, nulls = batch_columns(batch, self.columns)
            else:
                values, nulls, wrong, other = self._from_arrays(batch)
            fingerprint = int(row_hashes(values, 0).view(np.int64).sum(dtype=np.int64))
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array([values.shape[1]], pa.int64()),
                    pa.array([wrong], pa.int64()),
                    pa.array([other], pa.int64()),
                    pa.array([nulls.tolist()], pa.list_(pa.int64())),
                    pa.array([fingerprint], pa.int64()),
                    pa.array([values.tobytes()], pa.binary()),
                ],
                ["rows", "wrong_length", "an_other_length", "nulls", "fingerprint", "block"],
            )

    def _from_arrays(self, batch: pa.RecordBatch) -> tuple[Array, Any, int, int]:
        assert self.length is not None
        arrays = batch.column(0)
        extra, extra_nulls = batch_columns(batch, self.columns[1:])
        lengths = pc.list_value_length(arrays).fill_null(-1).to_numpy(zero_copy_only=False)
        present = lengths >= 0
        right = lengths == self.length
        wrong = present & ~right
        features = np.full((self.length, batch.num_rows), np.nan)
        flat = arrays.filter(pa.array(right)).flatten()
        entry_nulls = flat.null_count
        flat_values = flat.cast(pa.float64()).to_numpy(zero_copy_only=False)
        features[:, right] = flat_values.reshape(-1, self.length).T
        nulls = np.full(self.length, int((~present).sum()), dtype=np.int64)
        if entry_nulls:
            mask = flat.is_null().to_numpy(zero_copy_only=False).reshape(-1, self.length)
            nulls += mask.sum(axis=0)
        other = int(lengths[wrong][0]) if wrong.any() else -1
        return (
            np.concatenate([features, extra]),
            np.concatenate([nulls, extra_nulls]),
            int(wrong.sum()),
            other,
        )


@dataclass(frozen=True)
class PackedReader:
    """Reads packed blocks back."""

    roles: Roles

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Block]:
        for batch in batches:
            rows, nulls = batch.column("rows").to_pylist(), batch.column("nulls").to_pylist()
            fingerprints = batch.column("fingerprint").to_pylist()
            for index, packed in enumerate(batch.column("block")):
                values = np.frombuffer(packed.as_buffer()).reshape(-1, rows[index])
                yield Block(
                    values,
                    np.array(nulls[index], dtype=np.int64),
                    self.roles,
                    fingerprints[index],
                )
