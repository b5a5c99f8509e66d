"""Rows of a DataFrame packed into blocks of bytes, once, and read back on every pass.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gmm_spark.engine.blocks import Block, Roles
from gmm_spark.engine.columns import Encoder, stacked, weighted_rows
from gmm_spark.engine.hashing import row_hashes
from gmm_spark.engine.vectors import Features, array_features
from gmm_spark.mixture.numerics import Array

PACKED_SCHEMA = (
    "rows long, weightless long, length long, wrong_length long, an_other_length long, "
    "nulls array<long>, "
    "fingerprint long, block binary"
)
# A packed block holds about this many values, a megabyte, and at least so many rows.
_PACKED_VALUES = 128 << 10
_PACKED_ROWS = 1024


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
