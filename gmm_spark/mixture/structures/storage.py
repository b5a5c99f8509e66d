"""How the covariances of one kind are kept: as numbers, diagonals or matrices.

Of `entries` the last axes are one component's; what stands before them, all components or nothing
where these share one matrix, is kept.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.numerics import Array

Kind = Literal["full", "diagonal", "spherical"]


class Storage(ABC):
    """The entries of one covariance, and what can be asked of them."""

    @abstractmethod
    def shape(self, d: int) -> tuple[int, ...]:
        """Of one covariance of d columns."""

    @abstractmethod
    def unit(self, d: int) -> Array:
        """The identity."""

    @abstractmethod
    def dense(self, entries: Array, d: int) -> Array:
        """Matrices (k, d, d) of the entries of k components."""

    @abstractmethod
    def variances(self, entries: Array, d: int) -> Array:
        """Variances of every column, (k, d), of the entries of k components."""

    @abstractmethod
    def compact(self, matrices: Array) -> Array:
        """The entries that are kept of matrices (..., d, d): all, the diagonal, or its mean."""

    @abstractmethod
    def rescaled(self, entries: Array, factor: Array) -> Array:
        """The entries where every column is multiplied by its factor, (d,)."""

    @abstractmethod
    def marginal(self, entries: Array, columns: NDArray[np.intp]) -> Array:
        """The entries of a subset of the columns."""

    @abstractmethod
    def flat(self, entries: Array, d: int) -> Array:
        """Numbers without bounds that stand for positive definite entries."""

    @abstractmethod
    def unflat(self, values: Array, count: int, d: int) -> Array:
        """The inverse of `flat`: the entries of so many covariances, (count, ...)."""

    @abstractmethod
    def flat_metric(self, share: Array, deviations: Array) -> Array:
        """What a change of each number of the flat form amounts to, in deviations.

        share : (k, 1) root of the weight of every component, or (1, 1) ones of a shared covariance
        deviations : (k, d) or (1, d), of every column
        """


class Full(Storage):
    def shape(self, d: int) -> tuple[int, ...]:
        return d, d

    def unit(self, d: int) -> Array:
        return np.eye(d)

    def dense(self, entries: Array, d: int) -> Array:
        return np.array(entries)

    def variances(self, entries: Array, d: int) -> Array:
        return np.array(np.diagonal(entries, axis1=1, axis2=2))

    def compact(self, matrices: Array) -> Array:
        return np.array(matrices)

    def rescaled(self, entries: Array, factor: Array) -> Array:
        return entries * factor[:, None] * factor

    def marginal(self, entries: Array, columns: NDArray[np.intp]) -> Array:
        return entries[..., columns[:, None], columns]

    def flat(self, entries: Array, d: int) -> Array:
        """Cholesky factors, with logarithms on the diagonal."""
        factors = np.array(np.linalg.cholesky(entries))
        diagonal = np.arange(d)
        factors[..., diagonal, diagonal] = np.log(factors[..., diagonal, diagonal])
        rows, columns = np.tril_indices(d)
        return np.asarray(factors[..., rows, columns])

    def unflat(self, values: Array, count: int, d: int) -> Array:
        rows, columns = np.tril_indices(d)
        factors = np.zeros((count, d, d))
        factors[:, rows, columns] = values.reshape(count, rows.size)
        diagonal = np.arange(d)
        factors[:, diagonal, diagonal] = np.exp(factors[:, diagonal, diagonal])
        return np.asarray(factors @ factors.swapaxes(1, 2))

    def flat_metric(self, share: Array, deviations: Array) -> Array:
        d = deviations.shape[1]
        rows, columns = np.tril_indices(d)
        along, across = np.repeat(share, d, axis=1), share / deviations
        return np.where(rows == columns, along[:, rows], across[:, rows])


class Diagonal(Storage):
    def shape(self, d: int) -> tuple[int, ...]:
        return (d,)

    def unit(self, d: int) -> Array:
        return np.ones(d)

    def dense(self, entries: Array, d: int) -> Array:
        return np.asarray(entries[:, :, None] * np.eye(d))

    def variances(self, entries: Array, d: int) -> Array:
        return np.array(entries)

    def compact(self, matrices: Array) -> Array:
        return np.array(np.diagonal(matrices, axis1=-2, axis2=-1))

    def rescaled(self, entries: Array, factor: Array) -> Array:
        return entries * factor**2

    def marginal(self, entries: Array, columns: NDArray[np.intp]) -> Array:
        return entries[..., columns]

    def flat(self, entries: Array, d: int) -> Array:
        """Logarithms of standard deviations."""
        return np.asarray(0.5 * np.log(entries))

    def unflat(self, values: Array, count: int, d: int) -> Array:
        return np.asarray(np.exp(2 * values).reshape(count, d))

    def flat_metric(self, share: Array, deviations: Array) -> Array:
        return np.repeat(share, deviations.shape[1], axis=1)


class Spherical(Storage):
    def shape(self, d: int) -> tuple[int, ...]:
        return ()

    def unit(self, d: int) -> Array:
        return np.ones(())

    def dense(self, entries: Array, d: int) -> Array:
        return np.asarray(entries[:, None, None] * np.eye(d))

    def variances(self, entries: Array, d: int) -> Array:
        return np.repeat(entries[:, None], d, axis=1)

    def compact(self, matrices: Array) -> Array:
        return np.array(np.diagonal(matrices, axis1=-2, axis2=-1).mean(axis=-1))

    def rescaled(self, entries: Array, factor: Array) -> Array:
        require_one_scale(factor)
        return entries if factor.size == 0 else np.asarray(entries * factor[0] ** 2)

    def marginal(self, entries: Array, columns: NDArray[np.intp]) -> Array:
        return entries

    def flat(self, entries: Array, d: int) -> Array:
        """Logarithms of standard deviations."""
        return np.asarray(0.5 * np.log(entries))

    def unflat(self, values: Array, count: int, d: int) -> Array:
        return np.asarray(np.exp(2 * values).reshape(count))

    def flat_metric(self, share: Array, deviations: Array) -> Array:
        return share


def require_one_scale(factor: Array) -> None:
    """Raise ValueError where columns are not all multiplied by the same factor, (d,)."""
    if factor.size and np.ptp(factor) > 1e-12 * factor[0]:
        raise ValueError("a covariance of this structure has one scale for all columns")


STORAGES: dict[Kind, Storage] = {
    "full": Full(),
    "diagonal": Diagonal(),
    "spherical": Spherical(),
}
