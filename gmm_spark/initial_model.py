"""A model to start a fit from, brought to the columns of the data: by name, not by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gmm_spark.engine.blocks import Roles
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.families import FAMILIES, Category, Family, FamilyColumns
from gmm_spark.mixture.families.categorical import split_tables
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel

# Of levels that differ between the model and the data, so many are named.
_SHOWN = 3


def check_columns(
    model: GaussianMixtureModel,
    inputs: Sequence[str] | None,
    families: Mapping[type[Family], Sequence[str]],
) -> None:
    """Raise ConfigurationError where the columns of the data are not those of the model.

    `inputs` are None where they are entries of a vector: these, as those of a model without
    names, are taken by their place. `families` are the columns of each.
    """
    parameters, names = model.parameters, model._input_columns()
    if names is not None and len(names) != parameters.d:
        raise ConfigurationError(
            f"initialModel names {len(names)} inputCols, and is of {parameters.d} columns"
        )
    if inputs is not None and names is None and len(inputs) != parameters.d:
        raise ConfigurationError(f"initialModel has {parameters.d} columns, the data {len(inputs)}")
    if inputs is not None and names is not None:
        _require_same("columns", names, inputs)
    known = {type(columns.family): columns.names for columns in model._family_columns()}
    for kind, wanted in families.items():
        _require_same(kind.name, known.get(kind, ()), wanted)


def _require_same(kind: str, known: Sequence[str], wanted: Sequence[str]) -> None:
    more = [name for name in wanted if name not in known]
    fewer = [name for name in known if name not in wanted]
    if more or fewer:
        differences = [
            f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not in {where}"
            for names, where in ((more, "initialModel"), (fewer, "the data"))
            if names
        ]
        raise ConfigurationError(
            f"initialModel has the {kind} {_listed(known)}, the data {_listed(wanted)}; they must "
            f"be the same: {'; '.join(differences)}"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def matched(
    model: GaussianMixtureModel,
    inputs: Sequence[str] | None,
    roles: Roles,
    usual: Sequence[Array],
) -> tuple[Parameters, list[str]]:
    """The parameters of the model for columns and levels in the order of the data, in the user's
    units, and sentences about levels that only one of the two knows.

    Parameters
    ----------
    inputs : numeric columns of the data; None where they are entries of a vector
    usual : of every family what T(x) is on average: how frequent the levels of categories are

    Raises ConfigurationError where columns differ, or a category has no level in common.
    """
    wanted = {type(columns.family): columns.names for columns in roles.columns}
    check_columns(model, inputs, {kind: wanted.get(kind, ()) for kind in FAMILIES})
    parameters, names = model.parameters, model._input_columns()
    if inputs is not None and names is not None:
        parameters = parameters.marginal(_places(names, inputs))
    found, ranges, notes = [], [], []
    known = {
        type(columns.family): (columns, values, place)
        for place, (columns, values) in enumerate(
            zip(model._family_columns(), parameters.family_parameters, strict=True)
        )
    }
    for columns, share in zip(roles.columns, usual, strict=True):
        own, values, place = known[type(columns.family)]
        order = _places(own.names, columns.names)
        if columns.categories:
            values, more = _all_releveled(own, values, columns, share)
            notes += more
        else:
            values = own.family.of_columns(values, order)
        found.append(values)
        if parameters.noise is not None:
            ranges.append(parameters.noise.ranges[place].taken(order))
    if parameters.noise is not None:
        parameters = replace(parameters, noise=replace(parameters.noise, ranges=tuple(ranges)))
    if notes:
        notes = [f"initial_levels: {'; '.join(notes)}"]
    parameters = replace(parameters, families=roles.families, family_parameters=tuple(found))
    return parameters, notes


def _all_releveled(
    known: FamilyColumns, tables: Array, wanted: FamilyColumns, shares: Array
) -> tuple[Array, list[str]]:
    """Tables over the levels of the data, one category after the other, and what differs."""
    levels = tuple(len(one.levels) for one in known.categories)
    by_name = dict(zip(known.names, split_tables(tables, levels), strict=True))
    categories = dict(zip(known.names, known.categories, strict=True))
    parts = split_tables(shares, tuple(len(one.levels) for one in wanted.categories))
    found, notes = [], []
    for category, share in zip(wanted.categories, parts, strict=True):
        name = category.name
        table, more = _releveled(categories[name], by_name[name], category, share)
        found.append(table)
        notes += more
    return np.concatenate(found, axis=1), notes


def _places(known: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    return np.array([list(known).index(name) for name in wanted], dtype=np.intp)


def _releveled(
    known: Category, table: Array, wanted: Category, shares: Array
) -> tuple[Array, list[str]]:
    """A table (k, L) over the levels of the data, and what differs.

    A level that is not told apart any more goes into the data's "(other)"; where the model's
    "(other)" held levels that now are told apart, they share it as they share the data. A level
    new altogether has the data's share in every component, and one that is gone has none.
    """
    if known.levels == wanted.levels and known.other == wanted.other:
        return table, []
    places = {level: place for place, level in enumerate(wanted.levels)}
    common = [level for level in known.levels if level in places]
    if not common:
        raise ConfigurationError(
            f"column {wanted.name!r}: initialModel has the values {_some(known.levels)}, the data "
            f"{_some(wanted.levels)}: none in common; bring the column into the form it had"
        )
    found, last = np.zeros((table.shape[0], len(wanted.levels))), len(wanted.levels) - 1
    new = [place for level, place in places.items() if level not in known.levels]
    gone = []
    for place, level in enumerate(known.levels):
        if known.other and place == len(known.levels) - 1:
            held = [*new, last] if wanted.other else new
        elif level in places:
            held = [places[level]]
        else:
            held = [last] if wanted.other else []
        if held:
            share = shares[held] / shares[held].sum()
            found[:, held] += table[:, [place]] * share
        else:
            gone.append(level)
    unknown = [p for p in new if not found[:, p].any()]
    total = found.sum(axis=1, keepdims=True)
    # A component that was only of levels that are gone says nothing of those there are.
    found = np.where(total > 0, found / np.where(total > 0, total, 1.0), shares)
    if unknown:
        found[:, unknown] = 0.0
        found *= (1 - shares[unknown].sum()) / found.sum(axis=1, keepdims=True)
        found[:, unknown] = shares[unknown]
    differences = []
    if unknown:
        names = [wanted.levels[place] for place in unknown]
        differences.append(f"{_some(names)} of {wanted.name} new, at the share of the data")
    if gone:
        differences.append(f"{_some(gone)} of {wanted.name} in no row")
    return found, differences


def _some(levels: Sequence[str]) -> str:
    shown = ", ".join(repr(level) for level in levels[:_SHOWN])
    return f"{shown} and {len(levels) - _SHOWN} more" if len(levels) > _SHOWN else shown
