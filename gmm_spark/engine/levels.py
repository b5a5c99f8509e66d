"""The values that categories have, counted over all rows before anything is fitted."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from gmm_spark.engine.blocks import Category, RowGroupReader, TaskProblemError, as_text
from gmm_spark.engine.jobs import described
from gmm_spark.errors import FitError, InputDataError

# A column with more values than this is no category.
_MOST_DISTINCT = 50_000
OTHER = "(other)"


@dataclass(frozen=True)
class _Counting:
    """Counts the values of every column of a task's batches, for `mapInArrow`."""

    reader: RowGroupReader | None  # None where the batches are the rows themselves
    count: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        counts: list[Counter[str]] = [Counter() for _ in range(self.count)]
        problem = None
        try:
            for batch in batches if self.reader is None else self.reader(batches):
                for place, column in enumerate(batch.columns):
                    if len(counts[place]) > _MOST_DISTINCT:
                        continue
                    found = pc.value_counts(as_text(column).drop_null())
                    values, numbers = found.flatten()
                    pairs = zip(values.to_pylist(), numbers.to_pylist(), strict=True)
                    counts[place].update(dict(pairs))
        except TaskProblemError as error:
            problem = str(error)
        # More values than a category may have are not sent.
        payload = pickle.dumps([c if len(c) <= _MOST_DISTINCT else None for c in counts])
        yield pa.RecordBatch.from_arrays(
            [pa.array([problem], pa.string()), pa.array([payload], pa.binary())],
            ["problem", "counts"],
        )


def find_categories(
    rows: DataFrame, names: Sequence[str], most: int, reader: RowGroupReader | None = None
) -> tuple[tuple[Category, ...], list[str]]:
    """The categories of the columns `names`, and sentences about values told apart no longer.

    Where a column has more than `most` values, the most frequent stay, and the others become
    one. Raises InputDataError for a column that is no category: without any value, or with more
    than fifty thousand of them.

    Parameters
    ----------
    rows : the columns `names` in their order, or a row a task where a `reader` turns these into
        such columns
    """
    work = _Counting(reader, len(names))
    with described(rows.sparkSession, "values of the categories"):
        found = rows.mapInArrow(work, "problem string, counts binary").collect()
    problems = [row["problem"] for row in found if row["problem"]]
    if problems:
        raise FitError(problems[0])
    parts = [pickle.loads(row["counts"]) for row in found]
    categories, warnings = [], []
    for place, name in enumerate(names):
        counts: Counter[str] = Counter()
        for part in parts:
            if part[place] is not None and len(counts) <= _MOST_DISTINCT:
                counts.update(part[place])
        if len(counts) > _MOST_DISTINCT or any(part[place] is None for part in parts):
            raise InputDataError(
                f"column {name!r} has more than {_MOST_DISTINCT} distinct values: that is no "
                "category; leave it out, or group its values"
            )
        if not counts:
            raise InputDataError(
                f"column {name!r}: there is no value in any row; leave the column out"
            )
        ranked = sorted(counts, key=lambda level: (-counts[level], level))
        if len(ranked) <= most:
            categories.append(Category(name, tuple(sorted(ranked))))
            continue
        kept, rest = ranked[: most - 1], sum(counts[level] for level in ranked[most - 1 :])
        categories.append(Category(name, (*sorted(kept), OTHER), other=True))
        warnings.append(
            f"rare_values: {name} has {len(ranked)} values; the {len(kept)} most frequent are told "
            f"apart, the others ({rest / counts.total():.2%} of rows) count as one"
        )
    return tuple(categories), warnings
