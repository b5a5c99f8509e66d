"""Rows that two models have scored, summed up by their segments of both, in one pass.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from gmm_spark.engine.jobs import answer, answers
from gmm_spark.mixture.numerics import Array

# Columns of the frame that is summed: arrays of probabilities, and log densities.
OLD, NEW, OLD_DENSITY, NEW_DENSITY = "old", "new", "old_density", "new_density"


@dataclass(frozen=True)
class ComparedRows:
    """Sums over the rows that both models give a segment.

    joint : (K_old, K_new) of the rows' probabilities of both, noise last where there is one
    modal : the same, of the most probable segments: counts of rows
    log_density : (2,) sums of the log densities by both
    rows, unscored : counts of these rows, and of those that one of the models leaves unscored
    """

    joint: Array
    modal: Array
    log_density: Array
    rows: int
    unscored: int

    def __add__(self, other: ComparedRows) -> ComparedRows:
        return ComparedRows(
            self.joint + other.joint,
            self.modal + other.modal,
            self.log_density + other.log_density,
            self.rows + other.rows,
            self.unscored + other.unscored,
        )


@dataclass(frozen=True)
class _Work:
    """Sums the rows of a task, of models of so many segments, noise among them."""

    old: int
    new: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return answer(self.found, batches)

    def found(self, batches: Iterable[pa.RecordBatch]) -> ComparedRows:
        total = self.nothing()
        for batch in batches:
            total += self.of(batch)
        return total

    def nothing(self) -> ComparedRows:
        shape = self.old, self.new
        return ComparedRows(np.zeros(shape), np.zeros(shape), np.zeros(2), 0, 0)

    def of(self, batch: pa.RecordBatch) -> ComparedRows:
        both = pc.and_(batch[OLD].is_valid(), batch[NEW].is_valid())
        known = batch.filter(both)
        p = _probabilities(known[OLD], self.old)
        q = _probabilities(known[NEW], self.new)
        modal = np.zeros((self.old, self.new))
        np.add.at(modal, (p.argmax(axis=1), q.argmax(axis=1)), 1.0)
        densities = [
            known[name].to_numpy(zero_copy_only=False) for name in (OLD_DENSITY, NEW_DENSITY)
        ]
        return ComparedRows(
            p.T @ q,
            modal,
            np.array([float(values.sum()) for values in densities]),
            known.num_rows,
            batch.num_rows - known.num_rows,
        )


def _probabilities(column: pa.ListArray, k: int) -> Array:
    """Of every row, (m, k)."""
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), k)


def compared_rows(rows: DataFrame, old: int, new: int) -> ComparedRows:
    """The sums over all rows, which have the columns OLD, NEW, OLD_DENSITY and NEW_DENSITY, of
    models of so many segments, noise among them."""
    work = _Work(old, new)
    total = work.nothing()
    for part in answers(rows, work, "rows by the segments of two models"):
        total += part
    return total
