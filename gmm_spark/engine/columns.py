"""Columns of a record batch as rows of float64: numbers, codes of categories, known components.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gmm_spark.mixture.families import Category, FamilyColumns
from gmm_spark.mixture.numerics import Array

NO_WEIGHT = "weight column {name!r}: the weights of all rows sum to 0; some must be more than 0"
# Component numbers are kept as bits of a float64: up to this they are exact.
MOST_LABEL = 51
_FRACTION = -0.25


class Encoder(Protocol):
    """Turns a column that is not of plain numbers into numbers; NaN is not known."""

    def encoded(self, column: pa.Array) -> Array: ...


@dataclass(frozen=True)
class Levels:
    """The values of a category as their places among its levels."""

    category: Category

    def encoded(self, column: pa.Array) -> Array:
        """Positions among the levels; NaN for nulls, and for values that are not known."""
        column, levels = as_text(column), self.category.levels
        found = pc.index_in(column, value_set=pa.array(levels, pa.string()))
        codes = found.cast(pa.float64()).to_numpy(zero_copy_only=False)
        if self.category.other:
            present = column.is_valid().to_numpy(zero_copy_only=False)
            codes = np.where(np.isnan(codes) & present, len(levels) - 1.0, codes)
        return np.asarray(codes)


def encoders_of(families: Sequence[FamilyColumns], first: int) -> dict[int, Encoder]:
    """What turns the columns of families that are not plain numbers into numbers, by their place;
    theirs begin at `first`."""
    found: dict[int, Encoder] = {}
    for columns in families:
        found.update((first + i, Levels(one)) for i, one in enumerate(columns.categories))
        first += len(columns.names)
    return found


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
            return member_bits(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        flat = column.flatten().cast(pa.float64(), safe=False)
        flat = flat.to_numpy(zero_copy_only=False)
        bits, rows = member_bits(flat), np.repeat(np.arange(len(column)), lengths)
        found = np.where(lengths > 0, 0.0, np.nan)
        whole = bits > 0
        sets = np.zeros(len(column), dtype=np.int64)
        np.bitwise_or.at(sets, rows[whole], bits[whole].astype(np.int64))
        found[lengths > 0] = sets[lengths > 0]
        found[rows[~whole]] = bits[~whole]  # a null among them, or what no component can have
        return found


def member_bits(labels: Array) -> Array:
    """Component numbers (m,) as numbers with the one bit that says it; NaN is not known, and what
    no component can have is negative."""
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
