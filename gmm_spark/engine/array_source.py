"""Rows in memory as a source of blocks: a fit without a SparkSession, inside a task for instance.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gmm_spark.engine.blocks import Block, Roles
from gmm_spark.engine.cluster import Partitions
from gmm_spark.engine.columns import member_bits
from gmm_spark.engine.hashing import row_hashes
from gmm_spark.mixture.errors import DataError
from gmm_spark.mixture.families import Categorical, Category, Family, FamilyColumns
from gmm_spark.mixture.numerics import Array

_START_LABELS, _LABELS, _WEIGHTS = "start_labels", "labels", "weights"
_OUTCOMES = "outcomes"


@dataclass(frozen=True)
class ArraySource:
    """One block of rows, all there are. `array_source` makes one of arrays."""

    block: Block
    spark: None = None  # its jobs are done in this process
    version: None = None
    num_tasks: int = 1
    opening: str = "scan"

    @property
    def roles(self) -> Roles:
        return self.block.roles

    @property
    def rows_at_most(self) -> int:
        return int(self.block.values.shape[1])

    def partitions(self) -> Partitions:
        """The block, which is the one task's."""
        return Partitions([self.block], iter)

    def close(self) -> None:
        """Nothing is held."""


def array_source(
    values: Array,
    *,
    families: Sequence[tuple[Family, Array]] = (),
    weights: Array | None = None,
    labels: Array | None = None,
    start_labels: Array | None = None,
    outcomes: Array | None = None,
    names: Sequence[str] | None = None,
) -> ArraySource:
    """Rows as a fit reads them; the arguments are those of `training.fit_arrays`.

    Raises DataError where the arrays are not of the same rows, or a code is no level.
    """
    values = _rows(values)
    num_rows = values.shape[1]
    others = [(family, _rows(columns, num_rows)) for family, columns in families]
    named = _names(names, values, others)
    features, columns = tuple(named[: len(values)]), []
    first = len(values)
    for family, given in others:
        own = named[first : first + len(given)]
        first += len(given)
        columns.append(FamilyColumns(family, tuple(own), _categories(family, own, given)))
    roles = Roles(
        features,
        None if weights is None else _WEIGHTS,
        None if start_labels is None else _START_LABELS,
        None if labels is None else _LABELS,
        tuple(columns),
        None if outcomes is None else _OUTCOMES,
    )
    rows = [*values, *(row for _, given in others for row in given)]
    for extra in (weights, start_labels, outcomes):
        if extra is not None:
            rows.append(np.asarray(extra, dtype=float))
    if labels is not None:
        rows.append(member_bits(np.asarray(labels, dtype=float)))
    if any(row.shape != (num_rows,) for row in rows):
        raise DataError(f"weights, labels and outcomes must have {num_rows} values, one a row")
    stacked = np.stack(rows) if rows else np.zeros((0, num_rows))
    weightless = 0
    if weights is not None:  # a row of weight 0 is no row
        present = stacked[len(roles.inputs)] != 0
        weightless, stacked = int((~present).sum()), stacked[:, present]
    nulls, stacked = np.zeros(len(roles.names), dtype=np.int64), np.ascontiguousarray(stacked)
    fingerprint = int(row_hashes(stacked, 0).sum(dtype=np.uint64))
    return ArraySource(Block(stacked, nulls, roles, fingerprint, weightless))


def _rows(values: Array, num_rows: int | None = None) -> Array:
    found = np.asarray(values, dtype=float)
    if found.ndim != 2 or (num_rows is not None and found.shape[1] != num_rows):
        expected = "(columns, rows)" if num_rows is None else f"(columns, {num_rows})"
        raise DataError(f"an array has the shape {found.shape}, expected {expected}")
    return found


def _names(
    names: Sequence[str] | None, values: Array, others: Sequence[tuple[Family, Array]]
) -> list[str]:
    """A name for every column; those that are given, or the kind and a number."""
    kinds = [("column", len(values))]
    for family, given in others:
        if len(given) != family.num_columns:
            raise DataError(f"{family.name}: {len(given)} columns for {family.num_columns}")
        kinds.append((family.name, len(given)))
    numbered = [f"{kind}_{place}" for kind, number in kinds for place in range(number)]
    if names is not None and len(names) != len(numbered):
        raise DataError(f"there are {len(names)} names for {len(numbered)} columns")
    return numbered if names is None else list(names)


def _categories(family: Family, names: Sequence[str], codes: Array) -> tuple[Category, ...]:
    """The columns of a family whose values are told apart, with their levels by number."""
    if not isinstance(family, Categorical):
        return ()
    for name, row, size in zip(names, codes, family.levels, strict=True):
        known = row[~np.isnan(row)]
        wrong = known[(known % 1 != 0) | (known < 0) | (known >= size)]
        if wrong.size:
            raise DataError(
                f"column {name!r}: {wrong.size} rows hold no code (the first: {wrong[0]:g}); "
                f"codes are 0 to {size - 1}, and NaN where a value is not known"
            )
    sized = zip(names, family.levels, strict=True)
    return tuple(Category(name, tuple(map(str, range(size)))) for name, size in sized)
