"""Column families: the distributions that columns beside the Gaussian ones have in a component.

A mixture here is one of exponential families, log w_k + log density = theta_k . T(x), and the rows
of T(x) of independent columns stand one below the other. So all that the rest of the package knows
of categories, of counts, and of any other such columns is the protocol `Family`: its rows of T(x)
and of theta, its M-step, its prior, its draws, what it expects of a missing cell, and how it is
said in words and in SQL. The numeric columns are the Gaussian core of the mixture, and no family:
they have units, a covariance structure, a floor, and gaps that depend on each other (`structures`,
`missing`). The noise has no columns: it asks every family for its uniform density (`noise`).

To add a family:

1. its file here: a frozen dataclass that subclasses `Family`, whose fields say how many columns
   there are, and the mathematics; numpy alone, since the E-step runs on executors;
2. its place at the end of `FAMILIES` below: rows of T(x), blocks and parameters have that order,
   so that models that were saved keep theirs;
3. the setting that names its columns, one entry in `mixture/spec.py`, with its row in the README's
   table of Params; `Family.setting` is its name;
4. an example in `tests/mixture/test_families.py`, which holds every family to one contract.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gmm_spark.mixture.families.categorical import Categorical, Category
from gmm_spark.mixture.families.count import Count
from gmm_spark.mixture.families.family import Family, Range, rows_of
from gmm_spark.mixture.families.noise import Noise, noise_over
from gmm_spark.mixture.numerics import Array

__all__ = [
    "FAMILIES",
    "Categorical",
    "Category",
    "Count",
    "Family",
    "FamilyColumns",
    "Noise",
    "Range",
    "noise_over",
    "numbers_of",
    "rows_of",
    "told_apart",
    "with_places",
]

# In the order in which their columns stand in a block.
FAMILIES: tuple[type[Family], ...] = (Categorical, Count)


@dataclass(frozen=True)
class FamilyColumns:
    """The columns of one family in a table: what they are called and, where their values are
    texts, which these are."""

    family: Family
    names: tuple[str, ...]
    categories: tuple[Category, ...] = ()

    @staticmethod
    def of(
        kind: type[Family], names: Sequence[str], categories: Sequence[Category] = ()
    ) -> FamilyColumns:
        """The columns of a family, of which those that are told apart have `categories`."""
        size = tuple(len(c.levels) for c in categories) if kind.told_apart else len(names)
        return FamilyColumns(kind(size), tuple(names), tuple(categories))  # type: ignore[call-arg]

    def filling(self, parameters: Array) -> Array:
        """The parameters that missing cells are filled by: of values that have no name, none."""
        unnamed = [place for place, one in enumerate(self.categories) if one.other]
        if not unnamed:
            return parameters
        ends = np.cumsum([len(one.levels) for one in self.categories])
        tables = np.array(parameters)
        tables[:, ends[unnamed] - 1] = 0.0
        return tables


def with_places(families: Sequence[Family]) -> list[type[Family]]:
    """The families that what is written of a model has a place for: those that every release
    knows, and those that there are. Numbers come before what is told apart."""
    there = {type(family) for family in families}
    kinds = [kind for kind in FAMILIES if kind.format_version <= 2 or kind in there]
    return sorted(kinds, key=lambda kind: kind.told_apart)


def numbers_of(columns: Sequence[FamilyColumns]) -> list[str]:
    """The names of the columns that are numbers in the table."""
    return [name for one in columns if not one.family.told_apart for name in one.names]


def told_apart(columns: Sequence[FamilyColumns]) -> list[str]:
    """The names of the columns whose values are told apart."""
    return [category.name for one in columns for category in one.categories]
