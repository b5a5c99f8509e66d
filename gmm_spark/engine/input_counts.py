"""The columns of a table counted: values in intervals and by category, gaps, extremes; one pass.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from gmm_spark.engine.jobs import answer, answers

# A category of more values is not told by them.
MOST_VALUES = 1000


@dataclass(frozen=True)
class NumberCounts:
    """Values of a number: how many are in every interval between edges, of which the first and the
    last take what lies beyond; how many are not known; the lowest and the highest."""

    counts: NDArray[np.int64]
    missing: int
    lowest: float
    highest: float

    @staticmethod
    def of(values: NDArray[np.float64], edges: Sequence[float]) -> NumberCounts:
        known = values[~np.isnan(values)]
        places = np.searchsorted(np.asarray(edges[1:-1]), known, side="right")
        counts = np.bincount(places, minlength=max(len(edges) - 1, 1)).astype(np.int64)
        low, high = known.min(initial=np.inf), known.max(initial=-np.inf)
        return NumberCounts(counts, values.size - known.size, float(low), float(high))

    def __add__(self, other: NumberCounts) -> NumberCounts:
        return NumberCounts(
            self.counts + other.counts,
            self.missing + other.missing,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
        )


@dataclass(frozen=True)
class ValueCounts:
    """Rows of every value of a category, and of none; `whole` is False where there are too many
    values, and some are not counted."""

    counts: dict[str, int]
    missing: int
    whole: bool = True

    @staticmethod
    def of(values: pa.Array) -> ValueCounts:
        found = {
            one["values"]: one["counts"]
            for one in pc.value_counts(values).to_pylist()
            if one["values"] is not None
        }
        return ValueCounts({}, values.null_count) + ValueCounts(found, 0)

    def __add__(self, other: ValueCounts) -> ValueCounts:
        counts = dict(self.counts)
        for value, rows in other.counts.items():
            counts[value] = counts.get(value, 0) + rows
        whole = self.whole and other.whole and len(counts) <= MOST_VALUES
        if len(counts) > MOST_VALUES:
            kept = sorted(counts, key=lambda value: (-counts[value], value))[:MOST_VALUES]
            counts = {value: counts[value] for value in kept}
        return ValueCounts(counts, self.missing + other.missing, whole)


@dataclass(frozen=True)
class InputCounts:
    """Of a table: its rows, its numbers and its categories, in their order."""

    rows: int
    numbers: tuple[NumberCounts, ...]
    categories: tuple[ValueCounts, ...]

    def __add__(self, other: InputCounts) -> InputCounts:
        return InputCounts(
            self.rows + other.rows,
            tuple(a + b for a, b in zip(self.numbers, other.numbers, strict=True)),
            tuple(a + b for a, b in zip(self.categories, other.categories, strict=True)),
        )


@dataclass(frozen=True)
class CountingWork:
    """Counts the rows of a task: of columns of doubles, each by its edges, then texts."""

    edges: tuple[tuple[float, ...], ...]
    num_categories: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return answer(self.found, batches)

    def found(self, batches: Iterable[pa.RecordBatch]) -> InputCounts:
        total = self.nothing()
        for batch in batches:
            total += self.of(batch)
        return total

    def nothing(self) -> InputCounts:
        none = np.zeros(0)
        return InputCounts(
            0,
            tuple(NumberCounts.of(none, edges) for edges in self.edges),
            (ValueCounts({}, 0),) * self.num_categories,
        )

    def of(self, batch: pa.RecordBatch) -> InputCounts:
        d = len(self.edges)
        columns = batch.columns
        numbers = [
            np.asarray(pc.fill_null(column, np.nan).to_numpy(zero_copy_only=False), dtype=float)
            for column in columns[:d]
        ]
        return InputCounts(
            batch.num_rows,
            tuple(NumberCounts.of(v, e) for v, e in zip(numbers, self.edges, strict=True)),
            tuple(ValueCounts.of(column) for column in columns[d:]),
        )


def input_counts(rows: DataFrame, work: CountingWork) -> InputCounts:
    """The counts of all rows, whose columns are the doubles and the texts of `work`."""
    total = work.nothing()
    for part in answers(rows, work, "columns counted, to be compared with an earlier run"):
        total += part
    return total
