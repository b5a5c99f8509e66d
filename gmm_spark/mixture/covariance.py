"""The M-step: parameters from statistics, for every covariance structure, above a floor.

The floor is a constraint, not a penalty. In coordinates where each column is divided by its
floor f_j, the eigenvalues of a covariance may not be under 1; the maximiser of the likelihood
under that constraint replaces those that are by 1 (Ingrassia and Rocci 2007, "Constrained
monotone EM algorithms for finite mixture of multivariate Gaussians"). The likelihood still never
falls, and a fit that does not touch the floor is the plain maximum likelihood fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.kernel import SingularCovarianceError
from gmm_spark.mixture.parameters import Array, Parameters, Structure
from gmm_spark.mixture.sufficient import Statistics

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
) -> MStep:
    """Maximum likelihood parameters of one candidate under the covariance floor.

    Parameters
    ----------
    statistics : of a pass in which `previous` was evaluated
    components : the rows of the statistics that are this candidate's
    previous : what a dead component keeps its mean and covariance from
    floor : (d,) smallest standard deviation along each column, standardised; 0 is no floor
    scatter : (d, d) weighted sum of z z', needed where the statistics are of the kind "linear"

    Raises SingularCovarianceError where a covariance is singular and no floor stops it.
    """
    structure = previous.structure
    counts = statistics.counts[components]
    total = counts.sum()
    alive = counts > _DEAD * statistics.weight / statistics.num_rows
    safe = np.where(alive, counts, 1.0)
    shift = statistics.first[components] / safe[:, None]
    origins = statistics.origins[components]
    means = np.where(alive[:, None], origins + shift, previous.means)
    weights = np.where(alive, counts, 0.0) / counts[alive].sum()

    if structure.shared:
        covariances = _pooled(statistics, components, counts, means, shift, alive, scatter)
        covariances = _shaped(covariances[None] / total, structure)
    else:
        second = statistics.second[components]
        within = second / safe.reshape(-1, *[1] * (second.ndim - 1))
        kind = statistics.layout.kind
        if kind == "full":
            within = within - shift[:, :, None] * shift[:, None, :]
        elif kind == "diagonal":
            within = within - shift**2
        else:
            within = (within - np.einsum("ki,ki->k", shift, shift)) / means.shape[1]
        covariances = within
    covariances, floored = _apply_floor(covariances, floor, structure, alive)
    if structure.shared:
        covariances = covariances[0]
    else:
        keep = alive.reshape(-1, *[1] * (covariances.ndim - 1))
        covariances = np.where(keep, covariances, previous.covariances)
    parameters = Parameters(structure, weights, means, covariances)
    return MStep(parameters, floored, tuple(int(i) for i in np.flatnonzero(~alive)))


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
