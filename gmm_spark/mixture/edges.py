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

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.parameters import Array, Parameters, split_tables
from gmm_spark.mixture.prior import Prior
from gmm_spark.mixture.sufficient import Statistics

# What stands for zero.
_ZERO = 1e-12
# A component that has no weight starts with this much: EM cannot give weight to what has none.
_LEAST_WEIGHT = 0.01
# A value is at an edge under this share of what all rows have.
_EDGE_SHARE = 0.01


def can_vanish(parameters: Parameters, prior: Prior | None) -> bool:
    """Whether there are probabilities or rates that no prior keeps from zero."""
    if not parameters.levels and not parameters.counts:
        return False
    return prior is None or not (prior.tables.any() or prior.exposure)


def off_zero(parameters: Parameters) -> Parameters:
    """The parameters with what stands for zero in its place."""
    return _at_least(parameters, np.full(sum(parameters.levels), _ZERO), np.full(1, _ZERO))


def smoothed(parameters: Parameters, statistics: Statistics, share: float) -> Parameters:
    """The parameters with a share of every table and rate as all rows have them, so that no
    component starts without a level, or a count, that there is."""
    shares, means = _overall(statistics, parameters.levels)
    tables = (1 - share) * parameters.tables + share * shares
    return replace(parameters, tables=tables, rates=(1 - share) * parameters.rates + share * means)


def with_weight(parameters: Parameters) -> Parameters:
    """The parameters with a little weight for components that have none."""
    dead = parameters.weights == 0
    if not dead.any():
        return parameters
    weights = np.where(dead, _LEAST_WEIGHT, parameters.weights)
    weights *= parameters.weights.sum() / weights.sum()
    return replace(parameters, weights=weights)


def _at_least(parameters: Parameters, probabilities: Array, rates: Array) -> Parameters:
    low, few = parameters.tables < probabilities, parameters.rates < rates
    if not low.any() and not few.any():
        return parameters
    return _with(
        parameters,
        np.where(low, probabilities, parameters.tables),
        np.where(few, rates, parameters.rates),
    )


def _with(parameters: Parameters, tables: Array, rates: Array) -> Parameters:
    for table in split_tables(tables, parameters.levels):
        table /= table.sum(axis=1, keepdims=True)
    return replace(parameters, tables=tables, rates=rates)


def _overall(statistics: Statistics, levels: tuple[int, ...]) -> tuple[Array, Array]:
    """How frequent levels are (L,), and the means of counts (c,), over all components."""
    shares = np.array(statistics.tables.sum(axis=0))
    for part in split_tables(shares, levels):
        total = float(part.sum())
        part[:] = part / total if total > 0 else 1 / part.size
    exposures = statistics.exposures.sum(axis=0)
    return shares, statistics.events.sum(axis=0) / np.maximum(exposures, np.finfo(float).tiny)


@dataclass(frozen=True)
class Edges:
    """Values at an edge that the likelihood would rise by leaving, and what all rows have."""

    tables: NDArray[np.bool_]  # (k, L)
    rates: NDArray[np.bool_]  # (k, c)
    shares: Array  # (L,)
    means: Array  # (c,)

    def left(self, parameters: Parameters, share: float) -> Parameters:
        """The parameters with these values raised to a share of what all rows have."""
        tables = np.where(self.tables, share * self.shares, 0.0)
        rates = np.where(self.rates, share * self.means, 0.0)
        return _at_least(parameters, tables, rates)


def edges_to_leave(parameters: Parameters, statistics: Statistics, tol: float) -> Edges | None:
    """The edges among the parameters that a pass evaluated, which it says the likelihood would
    rise by leaving; None where there are none.

    `tol` is a gain of the mean log-likelihood that does not matter: so much at most, to first
    order, could be gained by going as far as all rows are.
    """
    shares, means = _overall(statistics, parameters.levels)
    k = slice(0, parameters.k)
    promise = np.zeros_like(parameters.tables)
    parts = (promise, parameters.tables, statistics.tables[k], shares)
    split = (split_tables(part, parameters.levels) for part in parts)
    for into, table, found, share in zip(*split, strict=True):
        rows = found.sum(axis=1, keepdims=True)
        into[:] = (found / np.maximum(table, _ZERO / 2) - rows) * share
    exposures = statistics.exposures[k]
    rates = np.maximum(parameters.rates, _ZERO / 2)
    of_rates = (statistics.events[k] / rates - exposures) * means
    enough = tol * statistics.weight
    found_tables = (parameters.tables < _EDGE_SHARE * shares) & (promise > enough)
    found_rates = (parameters.rates < _EDGE_SHARE * means) & (of_rates > enough)
    if not found_tables.any() and not found_rates.any():
        return None
    return Edges(found_tables, found_rates, shares, means)
