"""The M-step: parameters from statistics, for every covariance structure, above a floor.

The floor is a constraint, not a penalty. In coordinates where each column is divided by its
floor f_j, the eigenvalues of a covariance may not be under 1; the maximiser of the likelihood
under that constraint replaces those that are by 1 (Ingrassia and Rocci 2007, "Constrained
monotone EM algorithms for finite mixture of multivariate Gaussians"). The likelihood still never
falls, and a fit that does not touch the floor is the plain maximum likelihood fit. A prior has
the form of a likelihood, so the same holds for the two together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.parameters import Array, Parameters, Structure, split_tables
from gmm_spark.mixture.prior import Normal, Prior
from gmm_spark.mixture.sufficient import Statistics
from gmm_spark.mixture.whitening import SingularCovarianceError

# A component with less than this share of one average row is dead: its weight becomes 0.
_DEAD = 1e-10
# A direction takes part in the floor from this share of its squared loadings on.
_LOADING = 0.1
# Eigenvalues of a correlation matrix under this are rounding.
_SMALLEST_EIGENVALUE = 1e-11


@dataclass(frozen=True)
class Floored:
    """A component whose covariance touches the floor, and the columns it does so along."""

    component: int
    columns: tuple[int, ...]


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
    prior = prior or Prior.none(previous.levels, previous.counts)
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
        pooled = _pooled(statistics, components, counts, means, shift, alive, scatter)
        scatters, effective = pooled[None], np.array([total])
    else:
        second = statistics.second[components]
        kind = statistics.layout.kind
        if kind == "full":
            scatters = second - safe[:, None, None] * shift[:, :, None] * shift[:, None, :]
        elif kind == "diagonal":
            scatters = second - safe[:, None] * shift**2
        else:
            scatters = second - safe * np.einsum("ki,ki->k", shift, shift)
        effective = safe
    if prior.normal is not None:
        means, scatters, effective = _with_prior(
            prior.normal, structure, counts, means, scatters, effective, alive
        )
    if structure.shared:
        covariances = _shaped(scatters / effective[:, None, None], structure)
    else:
        covariances = scatters / effective.reshape(-1, *[1] * (scatters.ndim - 1))
        if structure.shape == "spherical" and prior.normal is None:
            covariances = covariances / means.shape[1]
    covariances, floored = _apply_floor(covariances, floor, structure, alive)
    if structure.shared:
        covariances = covariances[0]
    else:
        keep = alive.reshape(-1, *[1] * (covariances.ndim - 1))
        covariances = np.where(keep, covariances, previous.covariances)
    tables = _tables(statistics.tables[components], previous, prior, alive)
    exposures = statistics.exposures[components] + prior.exposure
    known = alive[:, None] & (exposures > 0)
    rates = np.maximum(statistics.events[components], 0.0) + prior.events
    rates = np.where(known, rates / np.where(known, exposures, 1.0), previous.rates)
    parameters = replace(
        previous,
        weights=weights,
        means=means,
        covariances=covariances,
        tables=tables,
        noise=noise,
        rates=rates,
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
        if structure.shape == "full":
            scatter = scatter + prior.scatter
        elif structure.shape == "diagonal":
            scatter = scatter + np.diag(prior.scatter)
        else:
            # Its trace is what is divided; spread evenly, it is the mean of the diagonal.
            sum_of_squares = np.trace(scatter) + float(prior.scatter)
            scatter, rows = np.eye(d) * sum_of_squares, rows * d
        return means, scatter[None], rows + prior.rows
    if structure.shape == "full":
        scatters = scatters + weight[:, None, None] * between[:, :, None] * between[:, None, :]
        return means, scatters + prior.scatter, rows + prior.rows
    if structure.shape == "diagonal":
        return means, scatters + weight[:, None] * between**2 + prior.scatter, rows + prior.rows
    scatters = scatters + weight * np.einsum("ki,ki->k", between, between) + prior.scatter
    return means, scatters, rows * d + prior.rows


def _tables(found: Array, previous: Parameters, prior: Prior, alive: NDArray[np.bool_]) -> Array:
    """Probabilities of levels, (k, L), from their weighted counts."""
    tables = np.array(previous.tables)
    if not previous.levels:
        return tables
    counts = np.maximum(found, 0.0) + prior.tables
    parts = zip(
        split_tables(tables, previous.levels), split_tables(counts, previous.levels), strict=True
    )
    for table, count in parts:
        total = count.sum(axis=1)
        known = alive & (total > 0)
        table[known] = count[known] / total[known, None]
    return tables


def above_floor(parameters: Parameters, floor: Array) -> Parameters:
    """The parameters with covariances lifted to the floor where they are under it."""
    shared = parameters.structure.shared
    covariances = parameters.covariances[None] if shared else parameters.covariances
    lifted, _ = _apply_floor(covariances, floor, parameters.structure, parameters.weights > 0)
    return replace(parameters, covariances=lifted[0] if shared else lifted)


def _pooled(
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


def _shaped(matrices: Array, structure: Structure) -> Array:
    if structure.shape == "full":
        return matrices
    diagonals = np.array(np.diagonal(matrices, axis1=1, axis2=2))
    return diagonals if structure.shape == "diagonal" else diagonals.mean(axis=1)


def _apply_floor(
    covariances: Array, floor: Array, structure: Structure, alive: NDArray[np.bool_]
) -> tuple[Array, tuple[Floored, ...]]:
    covariances = np.array(covariances)
    floored = []
    if floor.size == 0:
        return covariances, ()
    if structure.shape == "full" and (floor > 0).all():
        covariances = (covariances + covariances.swapaxes(1, 2)) / 2
        if _all_above(covariances, floor):
            return covariances, ()
    for index in range(covariances.shape[0]):
        if not structure.shared and not alive[index]:
            continue
        if structure.shape == "full":
            covariances[index], columns = _floor_matrix(covariances[index], floor, index)
        elif structure.shape == "diagonal":
            below = covariances[index] < floor**2
            covariances[index] = np.maximum(covariances[index], floor**2)
            columns = tuple(int(j) for j in np.flatnonzero(below))
            if (covariances[index] <= 0).any():
                raise SingularCovarianceError(index)
        else:
            smallest = float(floor.max()) ** 2
            below = covariances[index] < smallest
            covariances[index] = max(float(covariances[index]), smallest)
            columns = tuple(range(len(floor))) if below else ()
            if covariances[index] <= 0:
                raise SingularCovarianceError(index)
        if columns:
            floored.append(Floored(index, columns))
    return covariances, tuple(floored)


def _all_above(covariances: Array, floor: Array) -> bool:
    """Whether no matrix needs lifting: what is usual, in one call for all of them."""
    deviations = np.sqrt(np.maximum(np.diagonal(covariances, axis1=1, axis2=2), 0.0))
    if not (deviations > 0).all():
        return False
    correlations = covariances / (deviations[:, :, None] * deviations[:, None, :])
    eye = np.eye(len(floor))
    try:
        np.linalg.cholesky(covariances / np.outer(floor, floor) - eye)
        np.linalg.cholesky(correlations - _SMALLEST_EIGENVALUE * eye)
    except np.linalg.LinAlgError:
        return False
    return True


def _floor_matrix(covariance: Array, floor: Array, index: int) -> tuple[Array, tuple[int, ...]]:
    covariance = (covariance + covariance.T) / 2
    if not (floor > 0).all():
        variances = np.diag(covariance)
        if (variances <= 0).any():
            raise SingularCovarianceError(index)
        deviations = np.sqrt(variances)
        eigenvalues = np.linalg.eigvalsh(covariance / np.outer(deviations, deviations))
        if eigenvalues[0] < 10 * len(floor) * np.finfo(float).eps:
            raise SingularCovarianceError(index)
        return covariance, ()
    covariance, columns = _lift(covariance, floor, 1.0)
    # What float64 cannot tell from singular is lifted too, in the component's own scale.
    deviations = np.sqrt(np.diag(covariance))
    covariance, unresolved = _lift(covariance, deviations, _SMALLEST_EIGENVALUE)
    return covariance, tuple(sorted({*columns, *unresolved}))


def _lift(covariance: Array, unit: Array, smallest: float) -> tuple[Array, tuple[int, ...]]:
    """Raise eigenvalues under `smallest`, of the covariance in the given units, to it."""
    scaled = covariance / np.outer(unit, unit)
    try:
        np.linalg.cholesky(scaled - smallest * np.eye(len(unit)))
        return covariance, ()
    except np.linalg.LinAlgError:
        pass
    eigenvalues, vectors = np.linalg.eigh(scaled)
    below = eigenvalues < smallest
    if not below.any():
        return covariance, ()
    lifted = (vectors * np.maximum(eigenvalues, smallest)) @ vectors.T * np.outer(unit, unit)
    loadings = (vectors[:, below] ** 2).max(axis=1)
    columns = np.flatnonzero(loadings >= min(_LOADING, float(loadings.max())))
    return (lifted + lifted.T) / 2, tuple(int(j) for j in columns)
