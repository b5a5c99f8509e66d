"""Categories: of every column a table of probabilities of the values it may have.

T(x) has, for every level of every category, whether the row has it; theta is the log of the
level's probability, and a row of which a category is not known has none of its levels. A prior is
Dirichlet: so many rows that have been seen with each level before.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.families.family import LEAST_PROBABILITY, Family, Range
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.sql import chosen, number, summed

# Probabilities that differ by less than this are the same.
_SAME_PROBABILITY = 0.1


@dataclass(frozen=True)
class Category:
    """A column of text, whole numbers or booleans, and the values it may have."""

    name: str
    levels: tuple[str, ...]
    other: bool = False  # the last level stands for every value that is not among the others


@dataclass(frozen=True)
class Categorical(Family):
    """Categories whose values are the places of their levels, 0, 1, ...; their parameters are
    tables (k, L), the probabilities of the levels of one category after the other, L in sum."""

    levels: tuple[int, ...]  # how many each category has

    setting = "categoricalCols"
    name = "categories"
    section = "categories"
    told_apart = True
    can_vanish = True
    certain = 1.0
    stored = "table"
    format_version = 2

    @property
    def num_columns(self) -> int:
        return len(self.levels)

    @property
    def num_features(self) -> int:
        return sum(self.levels)

    @property
    def num_parameters(self) -> int:
        return sum(self.levels)

    @property
    def num_free_parameters(self) -> int:
        return sum(n - 1 for n in self.levels)

    def fill(self, values: Array, features: Array) -> Array | None:
        features[:] = 0.0
        first = 0
        for row, count in zip(values, self.levels, strict=True):
            known = np.flatnonzero(row >= 0)
            features[first + row[known].astype(np.intp), known] = 1.0
            first += count
        return None

    def natural(self, parameters: Array) -> Array:
        return np.log(parameters)

    def m_step(self, sums: Array, prior: Array, previous: Array, alive: NDArray[np.bool_]) -> Array:
        tables = np.array(previous)
        counts = np.maximum(sums, 0.0) + prior
        parts = zip(
            split_tables(tables, self.levels), split_tables(counts, self.levels), strict=True
        )
        for table, count in parts:
            total = count.sum(axis=1)
            known = alive & (total > 0)
            table[known] = count[known] / total[known, None]
        return tables

    def unit(self) -> Array:
        return even_table(self.levels)

    def prior(self, values: Array, weights: Array | None) -> Array:
        """How frequent the levels are; one that the rows have not is not impossible."""
        found = even_table(self.levels)
        for part, row in zip(split_tables(found, self.levels), values, strict=True):
            known = row >= 0
            of_known = None if weights is None else weights[known]
            seen = np.bincount(row[known].astype(np.intp), of_known, minlength=part.size)
            counts = seen + 1.0 / part.size
            part[:] = counts / counts.sum()
        return found

    def log_prior(self, parameters: Array, prior: Array) -> float:
        seen = prior > 0
        if not seen.any():
            return 0.0
        log_tables = np.log(np.maximum(parameters[:, seen], 1e-300))
        return float((log_tables @ prior[seen]).sum())

    def flat(self, parameters: Array) -> Array:
        return np.log(np.maximum(parameters, LEAST_PROBABILITY))

    def unflat(self, flat: Array) -> Array:
        tables = np.array(flat)
        for table in split_tables(tables, self.levels):
            table[:] = np.exp(table - table.max(axis=1, keepdims=True))
            table /= table.sum(axis=1, keepdims=True)
        return tables

    def metric(self, parameters: Array) -> Array:
        return np.sqrt(parameters)

    def same_optimum(self, one: Array, other: Array) -> bool:
        return bool(np.abs(one - other).max(initial=0.0) < _SAME_PROBABILITY)

    def coordinates(self, values: Array) -> Array:
        """A row for every level; two rows of different levels are as far apart as two independent
        standard normal numbers on average."""
        out = np.empty((sum(self.levels), values.shape[1]))
        self.fill(values, out)
        return out

    def at_rows(self, values: Array, whole: Array) -> Array:
        tables = np.array(whole)
        own = self.coordinates(values).T
        parts = zip(split_tables(tables, self.levels), split_tables(own, self.levels), strict=True)
        for table, of_row in parts:
            table += np.where(of_row.sum(axis=1, keepdims=True) > 0, of_row - table, 0.0) / 2
        return tables

    def overall(self, sums: Array) -> Array:
        shares = np.array(sums.sum(axis=0))
        for part in split_tables(shares, self.levels):
            total = float(part.sum())
            part[:] = part / total if total > 0 else 1 / part.size
        return shares

    def promise(self, parameters: Array, sums: Array, overall: Array, least: float) -> Array:
        promise = np.zeros_like(parameters)
        parts = (promise, parameters, sums, overall)
        split = (split_tables(part, self.levels) for part in parts)
        for into, table, found, share in zip(*split, strict=True):
            rows = found.sum(axis=1, keepdims=True)
            into[:] = (found / np.maximum(table, least) - rows) * share
        return promise

    def at_least(self, parameters: Array, least: Array) -> Array:
        tables = np.where(parameters < least, least, parameters)
        for table in split_tables(tables, self.levels):
            table /= table.sum(axis=1, keepdims=True)
        return tables

    def range_of(self, lowest: Array, highest: Array) -> Range:
        return Range(np.log(np.array(self.levels, dtype=float)), np.zeros(len(self.levels)))

    def uniform(self, range: Range) -> Array:
        return np.log(even_table(self.levels))

    def draw(
        self, parameters: Array, component: NDArray[np.intp], rng: np.random.Generator
    ) -> Array:
        chances = rng.random((len(self.levels), component.size))
        tables = np.vstack([parameters, even_table(self.levels)])
        codes = np.empty(chances.shape)
        for row, table in enumerate(split_tables(tables, self.levels)):
            ends = np.cumsum(table, axis=1)[component]
            place = (chances[row][:, None] * ends[:, -1:] >= ends).sum(axis=1)
            codes[row] = np.minimum(place, table.shape[1] - 1)
        return codes

    def expected(
        self, parameters: Array, column: int, responsibilities: Array
    ) -> tuple[Array, Array]:
        """The most probable level, and its probability."""
        chances = self.chances(parameters, column, responsibilities)
        level = chances.argmax(axis=0)
        return level.astype(float), chances[level, np.arange(level.size)]

    def chances(self, parameters: Array, column: int, responsibilities: Array) -> Array:
        table = split_tables(parameters, self.levels)[column]
        return np.asarray(table.T @ responsibilities)

    def drawn(
        self,
        parameters: Array,
        column: int,
        component: NDArray[np.intp],
        rng: np.random.Generator,
    ) -> Array:
        table = split_tables(parameters, self.levels)[column]
        return one_of_each(table[component].T, rng).astype(float)

    def log_probabilities(self, parameters: Array, values: Array) -> Array:
        found = np.zeros((len(parameters), *values.shape))
        for column, table in enumerate(split_tables(parameters, self.levels)):
            known = np.flatnonzero(values[column] >= 0)
            with np.errstate(divide="ignore"):
                logs = np.log(table)
            found[:, column, known] = logs[:, values[column, known].astype(np.intp)]
        return found

    def modes(self, parameters: Array) -> Array:
        found = np.zeros((len(parameters), len(self.levels)))
        for column, table in enumerate(split_tables(parameters, self.levels)):
            found[:, column] = table.argmax(axis=1)
        return found

    def mean_coordinates(self, values: Array) -> Array:
        found = self.coordinates(values)
        for part, row in zip(split_tables(found.T, self.levels), values, strict=True):
            part[np.isnan(row)] = np.nan
        return found

    def covariances_along(self, parameters: Array, directions: Array) -> Array:
        r = directions.shape[1]
        found = np.zeros((len(parameters), r, r))
        tables = split_tables(parameters, self.levels)
        for table, along in zip(tables, split_tables(directions.T, self.levels), strict=True):
            mean = table @ along.T
            found += np.einsum("kl,rl,sl->krs", table, along, along)
            found -= mean[:, :, None] * mean[:, None, :]
        return found

    def sql(self, natural: Array, names: Sequence[str]) -> str:
        tables = split_tables(natural, self.levels)
        pairs = zip(names, tables, strict=True)
        return summed([chosen(name, table.tolist(), number(0.0)) for name, table in pairs])

    def log_bhattacharyya(self, one: Array, others: Array) -> Array:
        roots = split_tables(np.sqrt(one * others), self.levels)
        sums = [np.maximum(table.sum(axis=1), np.finfo(float).tiny) for table in roots]
        return np.asarray(sum(map(np.log, sums), np.zeros(len(others))))

    def problem(self, parameters: Array) -> str | None:
        if parameters.shape[1] != sum(self.levels):
            expected = parameters.shape[0], sum(self.levels)
            return f"tables have shape {parameters.shape}, expected {expected}"
        if any(
            not ((table >= 0).all() and np.abs(table.sum(axis=1) - 1).max() < 1e-6)
            for table in split_tables(parameters, self.levels)
        ):
            return "probabilities of a category must be at least 0 and sum to 1"
        return None

    @classmethod
    def sized(cls, num_parameters: int, levels: Sequence[int]) -> Categorical:
        return cls(tuple(levels))

    def of_columns(self, parameters: Array, columns: NDArray[np.intp]) -> Array:
        tables = split_tables(parameters, self.levels)
        return np.concatenate([tables[column] for column in columns], axis=1)

    def described(
        self, parameters: Array, names: Sequence[str], levels: Sequence[Sequence[str]]
    ) -> list[dict[str, Any]]:
        tables = dict(zip(names, split_tables(parameters, self.levels), strict=True))
        return [
            {
                name: {
                    "value": values[int(tables[name][j].argmax())],
                    "probability": float(tables[name][j].max()),
                }
                for name, values in zip(names, levels, strict=True)
            }
            for j in range(len(parameters))
        ]

    @staticmethod
    def said(name: str, described: Any) -> Mapping[str, Any]:
        known = described or {}
        return {
            f"{name}_value": known.get("value"),
            f"{name}_probability": known.get("probability"),
        }


def even_table(levels: tuple[int, ...]) -> Array:
    """The same probability for every level of a category, (L,)."""
    return np.concatenate([np.zeros(0), *(np.full(n, 1.0 / n) for n in levels)])


def split_tables(tables: Array, levels: tuple[int, ...]) -> list[Array]:
    """Tables (..., L) category by category."""
    return np.split(tables, np.cumsum(levels)[:-1], axis=-1) if levels else []


def one_of_each(chances: Array, rng: np.random.Generator) -> NDArray[np.intp]:
    """One of each column's entries (n,), with chances (entries, n) in proportion."""
    cumulated = np.cumsum(chances, axis=0)
    above = rng.random(chances.shape[1]) * cumulated[-1] >= cumulated
    return np.asarray(np.minimum(above.sum(axis=0), len(chances) - 1))
