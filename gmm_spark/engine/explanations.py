"""Explaining rows inside a task: why each is in its segment.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gmm_spark.engine.columns import as_text, column_named
from gmm_spark.engine.scoring import NOISE, BatchScoring, central
from gmm_spark.mixture.explanations import Explainer, Explanations
from gmm_spark.mixture.families import told_apart
from gmm_spark.mixture.numerics import Array, largest_of_rows
from gmm_spark.mixture.usable import extremes


@dataclass(frozen=True)
class BatchExplaining:
    """Adds why rows are in their segments to batches of them, for `mapInArrow`.

    With `top`, columns: segment, runner-up, log-odds, base; name, value, direction and contribution
    of so many columns, those that contribute most; and the distance, the column that has most of
    it, and how much. Without, every row comes once for each column of the model, and once for the
    base: segment, runner-up, log-odds, the column, its value, contribution and distance.

    `scoring` says how a batch is read, and which rows are scored.
    """

    scoring: BatchScoring
    top: int | None

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scoring, scorer = self.scoring, self.scoring.scorer
        explainer = Explainer(scorer.parameters, central(scorer.parameters), scoring.clusters)
        for batch in batches:
            named = batch.rename_columns(list(scoring.columns))
            block = scoring.block(named)
            scored = scorer.scored_rows(block, *extremes(block))
            found = explainer.explained(np.ascontiguousarray(block[:, scored]))
            found = found if scored.all() else _spread(found, scored)
            texts = _Texts(named, block, scorer.names, told_apart(scoring.families))
            segments = [
                pa.array(np.where(number == explainer.noise, NOISE, number), pa.int32(), ~scored)
                for number in (found.segment, found.runner_up)
            ]
            segments.append(pa.array(found.log_odds, mask=~scored))
            kept = batch.columns[: scoring.kept]
            if self.top is None:
                lines = np.repeat(np.arange(batch.num_rows), len(scorer.names) + 1)
                arrays = [array.take(pa.array(lines)) for array in (*kept, *segments)]
                arrays += _lines(found, scored, texts, scorer.names)
            else:
                base = pa.array(found.base, mask=~scored)
                arrays = [*kept, *segments, base]
                arrays += _reasons(found.contributions, texts, scorer.names, self.top)
                arrays += _distance(found.distances, scored, scorer.names)
            yield pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])


class _Texts:
    """The values of a batch as texts: of categories as the batch has them, else numbers."""

    def __init__(
        self,
        batch: pa.RecordBatch,
        block: Array,
        names: Sequence[str],
        categories: Sequence[str],
    ) -> None:
        self._block = block
        self._categories = {
            place: as_text(column_named(batch, name))
            for place, name in enumerate(names)
            if name in categories
        }

    def of(self, column: NDArray[np.intp], row: NDArray[np.intp]) -> pa.Array:
        """The values of cells (n,), null for gaps; null where a column is -1."""
        parts, places = [], []
        is_number = column >= 0
        for place, own in self._categories.items():
            here = np.flatnonzero(column == place)
            is_number[here] = False
            parts.append(own.take(pa.array(row[here])).cast(pa.string()))
            places.append(here)
        here = np.flatnonzero(is_number)
        values = self._block[column[here], row[here]]
        parts.append(pa.array(values, mask=np.isnan(values)).cast(pa.string()))
        places.append(here)
        order = np.full(column.size, -1)
        order[np.concatenate(places)] = np.arange(sum(map(len, places)))
        return pa.concat_arrays(parts).take(pa.array(order, mask=order < 0))


def _spread(found: Explanations, scored: NDArray[np.bool_]) -> Explanations:
    """Explanations of the rows that are scored, among all rows, which have zeros."""

    def spread(values: NDArray[Any]) -> NDArray[Any]:
        wide = np.zeros((*values.shape[:-1], scored.size), dtype=values.dtype)
        wide[..., scored] = values
        return wide

    return Explanations(*(spread(getattr(found, each.name)) for each in fields(found)))


def _lines(
    found: Explanations, scored: NDArray[np.bool_], texts: _Texts, names: Sequence[str]
) -> list[pa.Array]:
    """Column, value, contribution and distance, row by row the base and then every column."""
    width, m = len(names) + 1, scored.size
    place, row = np.tile(np.arange(width) - 1, m), np.repeat(np.arange(m), width)
    is_base = place < 0
    column = _named(names, place)
    value = texts.of(place, row)
    contributions = np.concatenate([found.base[None], found.contributions]).T.ravel()
    distances = np.concatenate([np.zeros((1, m)), found.distances]).T.ravel()
    skipped = ~scored[row]
    return [
        column,
        value,
        pa.array(contributions, mask=skipped),
        pa.array(distances, mask=skipped | is_base),
    ]


def _reasons(contributions: Array, texts: _Texts, names: Sequence[str], top: int) -> list[pa.Array]:
    """Name, value, direction and contribution of so many columns, largest first; null where
    none is left that contributes."""
    m, row = contributions.shape[1], np.arange(contributions.shape[1])
    sizes, shown = np.abs(contributions, order="C"), min(top, len(names))
    place, found = np.empty((shown, m), dtype=np.intp), np.empty((shown, m))
    for number in range(shown):
        place[number], _ = largest_of_rows(sizes)
        found[number] = contributions[place[number], row]
        sizes[place[number], row] = -1.0
    none = found.ravel() == 0
    named = np.where(none, -1, place.ravel())
    arrays = [
        _named(names, named),
        texts.of(named, np.tile(row, shown)),
        _named(("against", "for"), np.where(none, -1, found.ravel() > 0)),
        pa.array(found.ravel(), mask=none),
    ]
    reasons = [array.slice(number * m, m) for number in range(shown) for array in arrays]
    kinds = (*[pa.string()] * 3, pa.float64())
    return reasons + [pa.nulls(m, kind) for _ in range(top - shown) for kind in kinds]


def _named(names: Sequence[str], places: NDArray[np.intp]) -> pa.Array:
    """The names at places (n,), null where a place is -1."""
    return pa.array(names, pa.string()).take(pa.array(places, mask=places < 0))


def _distance(distances: Array, scored: NDArray[np.bool_], names: Sequence[str]) -> list[pa.Array]:
    """The distance, the column that has most of it, and how much that is."""
    farthest, most = largest_of_rows(np.ascontiguousarray(distances))
    none = ~scored | (most <= 0)
    return [
        pa.array(distances.sum(axis=0), mask=~scored),
        _named(names, np.where(none, -1, farthest)),
        pa.array(most, mask=none),
    ]
