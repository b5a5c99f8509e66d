"""The values that categories have, counted over all rows before anything is fitted."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from gmm_spark.engine.blocks import TaskProblemError
from gmm_spark.engine.cluster import described
from gmm_spark.engine.columns import NO_WEIGHT, as_text, numbers, weighted_rows
from gmm_spark.engine.row_groups import RowGroupReader
from gmm_spark.errors import FitError, InputDataError
from gmm_spark.mixture.families import Category
from gmm_spark.mixture.numerics import Array

# A column with more values than this is no category.
_MOST_DISTINCT = 50_000
OTHER = "(other)"


@dataclass(frozen=True)
class _Counting:
    """Counts the values of every column of a task's batches, for `mapInArrow`: by weight, where
    there is one column more, of weights."""

    reader: RowGroupReader | None  # None where the batches are the rows themselves
    count: int
    weighted: bool

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        counts: list[dict[str, float]] = [{} for _ in range(self.count)]
        problem, rows, weights = None, 0, None
        try:
            for batch in batches if self.reader is None else self.reader(batches):
                if self.weighted:
                    batch, _ = weighted_rows(batch, self.count)
                    weights = numbers(batch.column(self.count))
                rows += batch.num_rows
                for place, column in enumerate(batch.columns[: self.count]):
                    if len(counts[place]) <= _MOST_DISTINCT:
                        _count(as_text(column), weights, counts[place])
        except TaskProblemError as error:
            problem = str(error)
        # More values than a category may have are not sent.
        sent = [c if len(c) <= _MOST_DISTINCT else None for c in counts]
        payload = pickle.dumps((rows, sent))
        yield pa.RecordBatch.from_arrays(
            [pa.array([problem], pa.string()), pa.array([payload], pa.binary())],
            ["problem", "counts"],
        )


def _count(column: pa.Array, weights: Array | None, counts: dict[str, float]) -> None:
    """Add how often every value of a text column is there, or the weight of the rows it is in."""
    if weights is None:
        values, sums = pc.value_counts(column.drop_null()).flatten()
    else:
        known = column.is_valid().to_numpy(zero_copy_only=False)
        encoded = column.drop_null().dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        # A weight that is none is refused by the scan.
        usable = np.where(weights[known] > 0, weights[known], 0.0)
        values = encoded.dictionary
        sums = pa.array(np.bincount(codes, usable, minlength=len(values)))
    for value, number in zip(values.to_pylist(), sums.to_pylist(), strict=True):
        counts[value] = counts.get(value, 0) + number


def find_categories(
    rows: DataFrame,
    names: Sequence[str],
    most: int,
    reader: RowGroupReader | None = None,
    weight: str | None = None,
) -> tuple[tuple[Category, ...], list[str]]:
    """The categories of the columns `names`, and sentences about values told apart no longer.

    Where a column has more than `most` values, the most frequent stay, and the others become
    one; a row counts by its weight, and what stands in rows of weight 0 alone is no value. Raises
    InputDataError for a column that is no category: without any value, or with more than fifty
    thousand of them; and where no row has a weight.

    Parameters
    ----------
    rows : the columns `names` in their order, then the weight, where there is one; or a row a
        task where a `reader` turns these into such columns
    weight : name of its column
    """
    work = _Counting(reader, len(names), weight is not None)
    with described(rows.sparkSession, "values of the categories"):
        found = rows.mapInArrow(work, "problem string, counts binary").collect()
    problems = [row["problem"] for row in found if row["problem"]]
    if problems:
        raise FitError(problems[0])
    sent = [pickle.loads(row["counts"]) for row in found]
    parts = [counts for _, counts in sent]
    if weight is not None and not sum(count for count, _ in sent):
        raise InputDataError(NO_WEIGHT.format(name=weight))
    categories: list[Category] = []
    lumped: list[tuple[float, str]] = []
    for place, name in enumerate(names):
        counts: dict[str, float] = {}
        for part in parts:
            if part[place] is not None and len(counts) <= _MOST_DISTINCT:
                for value, number in part[place].items():
                    counts[value] = counts.get(value, 0) + number
        if len(counts) > _MOST_DISTINCT or any(part[place] is None for part in parts):
            raise InputDataError(
                f"column {name!r} has more than {_MOST_DISTINCT} distinct values: that is no "
                "category; leave it out, or group its values"
            )
        if not counts:
            raise InputDataError(
                f"column {name!r}: there is no value in any row; leave the column out"
            )
        # Sums of weights in another order differ in rounding, which is no rank.
        ranked = sorted(counts, key=lambda level: (-float(f"{counts[level]:.12g}"), level))
        if len(ranked) <= most:
            categories.append(Category(name, tuple(sorted(ranked))))
            continue
        kept, rest = ranked[: most - 1], sum(counts[level] for level in ranked[most - 1 :])
        categories.append(Category(name, (*sorted(kept), OTHER), other=True))
        share = rest / (sum(counts.values()) or 1.0)
        of = "rows" if weight is None else "the weight"
        said = (
            f"rare_values: {name} has {len(ranked)} values; the {len(kept)} most frequent are told "
            f"apart, the others ({share:.2%} of {of}) count as one"
        )
        lumped.append((share, said))
    # Where most is lumped together first.
    return tuple(categories), [said for _, said in sorted(lumped, key=lambda one: -one[0])]
