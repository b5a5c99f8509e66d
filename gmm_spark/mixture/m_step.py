"""The M-step: parameters from statistics, for every covariance structure, above a floor.

The floor is a constraint, not a penalty: the likelihood is maximised among covariances above it
(`structures`), so it still never falls. A prior has the form of a likelihood, so the same holds for
the two together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.priors import Normal, Prior
from gmm_spark.mixture.statistics import Statistics
from gmm_spark.mixture.structures import Floored, Structure

# A component with less than this share of one average row is dead: its weight becomes 0.
_DEAD = 1e-10


@dataclass(frozen=True)
class MStep:
    parameters: Parameters
    floored: tuple[Floored, ...]
    dead: tuple[int, ...]


def scatter_about_origin(statistics: Statistics) -> Array:
    """Weighted sum of z z' over all rows, as a matrix (d, d).

    Of the kind "diagonal" only the diagonal is known; of "spherical" its sum, spread evenly.
    """
    counts, first, origins = statistics.counts, statistics.first, statistics.origins
    second, d = statistics.second, statistics.layout.d
    if statistics.layout.kind == "full":
        cross = np.einsum("ki,kj->ij", first, origins)
        return second.sum(axis=0) + cross + cross.T + np.einsum("k,ki,kj", counts, origins, origins)
    shift = 2 * first * origins + counts[:, None] * origins**2
    if statistics.layout.kind == "diagonal":
        return np.diag((second + shift).sum(axis=0))
    return np.eye(d) * (second.sum() + shift.sum()) / d


def m_step(
    statistics: Statistics,
    components: slice,
    previous: Parameters,
    floor: Array,
    scatter: Array | None = None,
    prior: Prior | None = None,
) -> MStep:
    """Maximum likelihood parameters of one candidate under the covariance floor, or, with a
    prior, maximum a posteriori.

    Parameters
    ----------
    statistics : of a pass in which `previous` was evaluated
    components : the rows of the statistics that are this candidate's, its noise the last
    previous : what a dead component keeps its mean and covariance from
    floor : (d,) smallest standard deviation along each column, standardised; 0 is no floor
    scatter : (d, d) weighted sum of z z', needed where the statistics are of the kind "linear"

    Raises SingularCovarianceError where a covariance is singular and no floor stops it.
    """
    structure, noise = previous.structure, previous.noise
    prior = prior or Prior.none(previous.families)
    uniform = 0.0
    if noise is not None:
        uniform = float(statistics.counts[components.stop - 1])
        components = slice(components.start, components.stop - 1)
    counts = statistics.counts[components]
    total = counts.sum()
    alive = counts > _DEAD * statistics.weight / statistics.num_rows
    safe = np.where(alive, counts, 1.0)
    shift = statistics.first[components] / safe[:, None]
    origins = statistics.origins[components]
    means = np.where(alive[:, None], origins + shift, previous.means)
    rows = np.where(alive, counts + prior.weight, 0.0)
    everything = rows.sum() + (0.0 if noise is None else uniform + prior.weight)
    weights = rows / everything
    if noise is not None:
        noise = replace(noise, weight=float((uniform + prior.weight) / everything))

    if structure.shared:
        pooled = pooled_scatter(statistics, components, counts, means, shift, alive, scatter)
        scatters, effective = pooled[None], np.array([total])
    else:
        scatters, effective = component_scatters(statistics, components, safe, shift), safe
    if prior.normal is not None:
        means, scatters, effective = _with_prior(
            prior.normal, structure, counts, means, scatters, effective, alive
        )
    within = scatters / effective.reshape(-1, *[1] * (scatters.ndim - 1))
    if structure.shared:
        within = structure.storage.compact(within)
    elif structure.kind == "spherical" and prior.normal is None:
        within = within / means.shape[1]
    covariances, floored = structure.maximum(
        within,
        np.array([total]) if structure.shared else np.where(alive, counts, 0.0),
        previous.covariances,
        floor,
    )
    parts = zip(
        previous.families,
        statistics.of_families,
        prior.families,
        previous.family_parameters,
        strict=True,
    )
    of_families = tuple(
        family.m_step(sums[components], own_prior, before, alive)
        for family, sums, own_prior, before in parts
    )
    parameters = replace(
        previous,
        weights=weights,
        means=means,
        covariances=covariances,
        family_parameters=of_families,
        noise=noise,
    )
    return MStep(parameters, floored, tuple(int(i) for i in np.flatnonzero(~alive)))


def _with_prior(
    prior: Normal,
    structure: Structure,
    counts: Array,
    means: Array,
    scatters: Array,
    rows: Array,
    alive: NDArray[np.bool_],
) -> tuple[Array, Array, Array]:
    """Means, scatters about them and what these are divided by, with the prior's rows.

    The mode of a normal-inverse-Wishart posterior: the mean is drawn to the prior's, and the
    scatter gains the prior's and that between the two means (Fraley and Raftery 2007, table 1).
    """
    between = means - prior.mean
    weight = np.where(alive, counts * prior.shrinkage / (counts + prior.shrinkage), 0.0)
    drawn = prior.shrinkage / np.where(alive, counts + prior.shrinkage, 1.0)
    means = np.where(alive[:, None], means - drawn[:, None] * between, means)
    d = means.shape[1]
    if structure.shared:
        # Of a pooled matrix only what the structure keeps counts.
        extra = np.einsum("k,ki,kj->ij", weight, between, between)
        scatter = scatters[0] + extra
        if structure.kind == "full":
            scatter = scatter + prior.scatter
        elif structure.kind == "diagonal":
            scatter = scatter + np.diag(prior.scatter)
        else:
            # Its trace is what is divided; spread evenly, it is the mean of the diagonal.
            sum_of_squares = np.trace(scatter) + float(prior.scatter)
            scatter, rows = np.eye(d) * sum_of_squares, rows * d
        return means, scatter[None], rows + prior.rows
    if structure.kind == "full":
        scatters = scatters + weight[:, None, None] * between[:, :, None] * between[:, None, :]
        return means, scatters + prior.scatter, rows + prior.rows
    if structure.kind == "diagonal":
        return means, scatters + weight[:, None] * between**2 + prior.scatter, rows + prior.rows
    scatters = scatters + weight * np.einsum("ki,ki->k", between, between) + prior.scatter
    return means, scatters, rows * d + prior.rows


def above_floor(parameters: Parameters, floor: Array) -> Parameters:
    """The parameters with covariances in their structure, lifted to the floor where they are under
    it."""
    structure, covariances = parameters.structure, parameters.covariances
    rows = np.ones(1) if structure.shared else parameters.weights
    lifted, _ = structure.maximum(structure.stacked(covariances), rows, covariances, floor)
    return replace(parameters, covariances=lifted)


def component_scatters(
    statistics: Statistics, components: slice, counts: Array, shift: Array
) -> Array:
    """Scatter of every component about its mean: (k, d, d), (k, d) or the sum (k,)."""
    second, kind = statistics.second[components], statistics.layout.kind
    if kind == "full":
        return second - counts[:, None, None] * shift[:, :, None] * shift[:, None, :]
    if kind == "diagonal":
        return second - counts[:, None] * shift**2
    return second - counts * np.einsum("ki,ki->k", shift, shift)


def pooled_scatter(
    statistics: Statistics,
    components: slice,
    counts: Array,
    means: Array,
    shift: Array,
    alive: NDArray[np.bool_],
    scatter: Array | None,
) -> Array:
    """Within-component scatter summed over components, (d, d)."""
    kind, d = statistics.layout.kind, statistics.layout.d
    if kind == "linear":
        if scatter is None:
            raise ValueError("the kind 'linear' needs the scatter of the data")
        weighted = means[alive] * counts[alive, None]
        return scatter - weighted.T @ means[alive]
    second = statistics.second[components]
    if kind == "full":
        return second.sum(axis=0) - np.einsum("k,ki,kj->ij", counts, shift, shift)
    if kind == "diagonal":
        return np.diag((second - counts[:, None] * shift**2).sum(axis=0))
    return np.eye(d) * (second - counts * np.einsum("ki,ki->k", shift, shift)).sum() / d
