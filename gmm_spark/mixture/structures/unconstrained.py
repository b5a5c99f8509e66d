"""Covariances that are free in the entries they are kept in: every component's, or all together's.

The floor is a constraint, not a penalty. In coordinates where each column is divided by its
floor f_j, the eigenvalues of a covariance may not be under 1; the maximiser of the likelihood
under that constraint replaces those that are by 1 (Ingrassia and Rocci 2007, "Constrained
monotone EM algorithms for finite mixture of multivariate Gaussians"). The likelihood still never
falls, and a fit that does not touch the floor is the plain maximum likelihood fit.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.structures.storage import Kind
from gmm_spark.mixture.structures.structure import Floored, Structure, columns_along

# Eigenvalues of a correlation matrix under this are rounding.
_SMALLEST_EIGENVALUE = 1e-11


@dataclass(frozen=True)
class Unconstrained(Structure):
    """VVV, VVI, VII, and with one matrix for all components EEE, EEI, EII."""

    @property
    def kind(self) -> Kind:
        if self.code[2] != "I":
            return "full"
        return "spherical" if self.code[1] == "I" else "diagonal"

    @property
    def shared(self) -> bool:
        return self.code[0] == "E"

    @property
    def one_scale(self) -> bool:
        return self.kind == "spherical"

    @property
    def conjugate(self) -> bool:
        return True

    def num_covariance_parameters(self, k: int, d: int) -> int:
        one = {"full": d * (d + 1) // 2, "diagonal": d, "spherical": 1}[self.kind]
        return one if self.shared else k * one

    def rows_needed(self, d: int) -> int:
        if self.shared:
            return 1
        return d + 1 if self.kind == "full" else 2

    def projected(self, matrices: Array, weights: Array) -> Array:
        """Shared matrices are the weighted mean over components; diagonals, and means of diagonals,
        are taken where fewer entries are kept."""
        if self.shared:
            matrices = np.einsum("k,kij->ij", weights / weights.sum(), matrices)
        return self.storage.compact(matrices)

    def member(self, covariances: Array, weights: Array) -> Array:
        return covariances

    def maximum(
        self, within: Array, rows: Array, previous: Array, floor: Array
    ) -> tuple[Array, tuple[Floored, ...]]:
        alive = rows > 0
        covariances, floored = self._above(within, floor, alive)
        if self.shared:
            return covariances[0], floored
        keep = alive.reshape(-1, *[1] * (covariances.ndim - 1))
        return np.where(keep, covariances, previous), floored

    def _above(
        self, covariances: Array, floor: Array, alive: np.ndarray
    ) -> tuple[Array, tuple[Floored, ...]]:
        covariances = np.array(covariances)
        floored = []
        if floor.size == 0:
            return covariances, ()
        if self.kind == "full" and (floor > 0).all():
            covariances = (covariances + covariances.swapaxes(1, 2)) / 2
            if _all_above(covariances, floor):
                return covariances, ()
        for index in range(covariances.shape[0]):
            if not self.shared and not alive[index]:
                continue
            if self.kind == "full":
                covariances[index], columns = _floor_matrix(covariances[index], floor, index)
            elif self.kind == "diagonal":
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


@dataclass(frozen=True)
class Univariate(Unconstrained):
    """mclust's names for the structures of one column: E, one variance, and V, one each."""

    @property
    def kind(self) -> Kind:
        return "diagonal"

    def columns_refused(self, d: int) -> str | None:
        if d == 1:
            return None
        others = "VVV, VVI or VII" if self.code == "V" else "EEE, EEI or EII"
        return f"covarianceType {self.code} is of one column, there are {d}: use {others}"


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
    return (lifted + lifted.T) / 2, columns_along(vectors[:, below])
