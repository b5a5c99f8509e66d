"""Probabilities and rates at zero, where EM cannot leave: is the likelihood highest there?

EM multiplies a level's probability p in a component by r = n_l / (n p), with n_l of the component's
n rows expected to have the level. As the derivative of the log-likelihood, where p grows at the
expense of the others, is n (r - 1), an edge p = 0 is a maximum only where r is at most 1 (Kuhn and
Tucker); the same holds for the rate of a count. But n_l is 0 where p is, so that EM stays at every
edge, and leaves what is near to one so slowly that its gains look like those of a converged fit.

So without a prior, which would keep p from zero, zero is a number too small to matter, at which r
can be read from every pass.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.priors import Prior
from gmm_spark.mixture.statistics import Statistics

# What stands for zero.
_ZERO = 1e-12
# A component that has no weight starts with this much: EM cannot give weight to what has none.
_LEAST_WEIGHT = 0.01
# A value is at an edge under this share of what all rows have.
_EDGE_SHARE = 0.01


def can_vanish(parameters: Parameters, prior: Prior | None) -> bool:
    """Whether there are probabilities or rates that no prior keeps from zero."""
    if not any(family.can_vanish for family in parameters.families):
        return False
    return prior is None or not any(own.any() for own in prior.families)


def off_zero(parameters: Parameters) -> Parameters:
    """The parameters with what stands for zero in its place."""
    return _at_least(
        parameters,
        [np.full(1, _ZERO if family.can_vanish else -np.inf) for family in parameters.families],
    )


def smoothed(parameters: Parameters, statistics: Statistics, share: float) -> Parameters:
    """The parameters with a share of every table and rate as all rows have them, so that no
    component starts without a level, or a count, that there is."""
    overall = _overall(parameters, statistics)
    parts = zip(parameters.families, parameters.family_parameters, overall, strict=True)
    leaning = tuple(
        (1 - share) * values + share * own if family.can_vanish else values
        for family, values, own in parts
    )
    return replace(parameters, family_parameters=leaning)


def with_weight(parameters: Parameters) -> Parameters:
    """The parameters with a little weight for components that have none."""
    dead = parameters.weights == 0
    if not dead.any():
        return parameters
    weights = np.where(dead, _LEAST_WEIGHT, parameters.weights)
    weights *= parameters.weights.sum() / weights.sum()
    return replace(parameters, weights=weights)


def _at_least(parameters: Parameters, least: Sequence[Array]) -> Parameters:
    parts = list(zip(parameters.families, parameters.family_parameters, least, strict=True))
    if not any((values < own).any() for _, values, own in parts):
        return parameters
    raised = tuple(
        family.at_least(values, own) if family.can_vanish else values
        for family, values, own in parts
    )
    return replace(parameters, family_parameters=raised)


def _overall(parameters: Parameters, statistics: Statistics) -> list[Array]:
    """Of every family the parameters of all rows together, (num_parameters,); of those that have
    no edges, none."""
    return [
        family.overall(sums) if family.can_vanish else np.zeros(family.num_parameters)
        for family, sums in zip(parameters.families, statistics.of_families, strict=True)
    ]


@dataclass(frozen=True)
class Edges:
    """Values at an edge that the likelihood would rise by leaving, (k, num_parameters) of every
    family, and what all rows have."""

    where: tuple[NDArray[np.bool_], ...]
    overall: tuple[Array, ...]

    def left(self, parameters: Parameters, share: float) -> Parameters:
        """The parameters with these values raised to a share of what all rows have."""
        pairs = zip(self.where, self.overall, strict=True)
        return _at_least(parameters, [np.where(at, share * own, -np.inf) for at, own in pairs])


def edges_to_leave(parameters: Parameters, statistics: Statistics, tol: float) -> Edges | None:
    """The edges among the parameters that a pass evaluated, which it says the likelihood would
    rise by leaving; None where there are none.

    `tol` is a gain of the mean log-likelihood that does not matter: so much at most, to first
    order, could be gained by going as far as all rows are.
    """
    k, enough = slice(0, parameters.k), tol * statistics.weight
    overall, where = _overall(parameters, statistics), []
    parts = zip(
        parameters.families,
        parameters.family_parameters,
        statistics.of_families,
        overall,
        strict=True,
    )
    for family, values, sums, own in parts:
        if not family.can_vanish:
            where.append(np.zeros(values.shape, dtype=bool))
            continue
        promise = family.promise(values, sums[k], own, _ZERO / 2)
        where.append((values < _EDGE_SHARE * own) & (promise > enough))
    if not any(at.any() for at in where):
        return None
    return Edges(tuple(where), tuple(overall))
