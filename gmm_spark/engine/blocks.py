"""Blocks of rows inside a task, feature-major, and what their columns are for.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gmm_spark.engine.columns import Encoder, Memberships, encoders_of
from gmm_spark.mixture.families import Category, Family, FamilyColumns, numbers_of, rows_of
from gmm_spark.mixture.numerics import Array


class TaskProblemError(Exception):
    """Something about the data that the driver turns into one clear error."""


@dataclass(frozen=True)
class Roles:
    """What the columns of a block are for: features first, then those of every family, weight,
    the label of a given start, the outcome, which segments are judged by and never made of, and
    whose component rows may be of."""

    features: tuple[str, ...]
    weight: str | None = None
    label: str | None = None
    membership: str | None = None
    columns: tuple[FamilyColumns, ...] = ()
    outcome: str | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Features and the columns of families: what the mixture is of."""
        return (*self.features, *(name for columns in self.columns for name in columns.names))

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.inputs, *(name for name in self._rest if name is not None))

    @property
    def _rest(self) -> tuple[str | None, ...]:
        """What stands beside the inputs, in its order."""
        return self.weight, self.label, self.outcome, self.membership

    def place(self, role: Literal["weight", "label", "outcome", "membership"]) -> int | None:
        """The row of a block that has this role; None where there is none."""
        index = ("weight", "label", "outcome", "membership").index(role)
        if self._rest[index] is None:
            return None
        before = sum(name is not None for name in self._rest[:index])
        return len(self.inputs) + before

    @property
    def numbers(self) -> tuple[str, ...]:
        """Those of the inputs that are numbers in the table."""
        return (*self.features, *numbers_of(self.columns))

    @property
    def categories(self) -> tuple[Category, ...]:
        """Those of the inputs whose values are told apart."""
        return tuple(one for columns in self.columns for one in columns.categories)

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(columns.family for columns in self.columns)

    @property
    def of_families(self) -> list[tuple[Family, slice]]:
        """Every family with its rows of a block."""
        return rows_of(self.families, len(self.features))

    @property
    def encoders(self) -> dict[int, Encoder]:
        """What turns columns that are not plain numbers into numbers, by their place."""
        found = encoders_of(self.columns, len(self.features))
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
        """Features, and the columns of families."""
        return self.values[: len(self.roles.inputs)]

    @property
    def weights(self) -> Array | None:
        return self._row(self.roles.place("weight"))

    @property
    def labels(self) -> Array | None:
        return self._row(self.roles.place("label"))

    @property
    def outcomes(self) -> Array | None:
        return self._row(self.roles.place("outcome"))

    @property
    def memberships(self) -> Array | None:
        return self._row(self.roles.place("membership"))

    def _row(self, place: int | None) -> Array | None:
        return None if place is None else self.values[place]

    def complete(self) -> Block:
        """The rows that have no gap in an input."""
        return replace(self, values=self.values[:, ~np.isnan(self.inputs).any(axis=0)])
