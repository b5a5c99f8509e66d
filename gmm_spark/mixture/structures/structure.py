"""What a covariance structure is: a set of covariances, and how a likelihood is maximised in it.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.families.family import Family
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.structures.storage import STORAGES, Kind, Storage

# A direction takes part in the floor from this share of its squared loadings on.
_LOADING = 0.1


@dataclass(frozen=True)
class Floored:
    """A component whose covariance touches the floor, and the columns it does so along."""

    component: int
    columns: tuple[int, ...]


def columns_along(vectors: Array) -> tuple[int, ...]:
    """The columns that take part in directions (d, m)."""
    loadings = (vectors**2).max(axis=1)
    found = np.flatnonzero(loadings >= min(_LOADING, float(loadings.max())))
    return tuple(int(j) for j in found)


@dataclass(frozen=True)
class Structure(ABC):
    """One of the parsimonious covariance models (Celeux and Govaert 1995).

    Attributes
    ----------
    code : mclust's three letters, for volume, shape and orientation: E is equal in all components,
        V varies, I is that of the identity (spherical shape; axes along the columns)
    alias : the word users know it by, where there is one
    kind : which second moments its M-step needs, and how covariances are kept
    shared : whether all components have the same matrix, kept once
    one_scale : whether it changes where columns are scaled each by its own factor: such a
        structure takes one common scale, and one floor
    conjugate : whether it has a conjugate prior here
    """

    code: str
    alias: str = ""

    @property
    @abstractmethod
    def kind(self) -> Kind: ...

    @property
    @abstractmethod
    def shared(self) -> bool: ...

    @property
    @abstractmethod
    def one_scale(self) -> bool: ...

    @property
    @abstractmethod
    def conjugate(self) -> bool: ...

    @abstractmethod
    def maximum(
        self,
        within: Array,
        rows: Array,
        previous: Array,
        floor: Array,
    ) -> tuple[Array, tuple[Floored, ...]]:
        """The covariances of the structure, above a floor, at which the likelihood of normal rows
        about given means is highest; and those that touch the floor.

        Parameters
        ----------
        within : (k, ...) scatter of every component about its mean, divided by its rows; (1, ...)
            of all where `shared`
        rows : (k,) or (1,) weight of the rows; a component of none is dead
        previous : as they are kept. The likelihood is not lower than there; what is particular to
            a dead component stays as it is there
        floor : (d,) smallest standard deviation along each column; 0 is no floor

        Raises SingularCovarianceError where a covariance is singular and no floor stops it.
        """

    @abstractmethod
    def projected(self, matrices: Array, weights: Array) -> Array:
        """The covariances of the structure, as they are kept, that stand best for matrices
        (k, d, d) of components of weights (k,)."""

    @abstractmethod
    def member(self, covariances: Array, weights: Array) -> Array:
        """Covariances of its kind, as they are kept, brought into the structure; those that are
        in it stay as they are."""

    @abstractmethod
    def num_covariance_parameters(self, k: int, d: int) -> int:
        """How many numbers are free in the covariances of k components of d columns."""

    @abstractmethod
    def rows_needed(self, d: int) -> int:
        """Rows that a component needs for a covariance of its own that says something."""

    def columns_refused(self, d: int) -> str | None:
        """The sentence about a number of columns that it is not for; None where it is."""
        return None

    def strangeness(self, covariances: Array, weights: Array) -> float:
        """How far covariances are from the structure, in their own variances: 0 if they are in."""
        return 0.0

    @property
    def name(self) -> str:
        """What a user reads wherever the structure is named: full, tied, diag, spherical, and
        mclust's code for those that have no such word."""
        return self.alias or self.code

    def num_free_parameters(
        self, k: int, d: int, families: Sequence[Family] = (), noise: bool = False
    ) -> int:
        """Of the whole mixture: k - 1 weights, k d means, the covariances, those of the families,
        and, as mclust counts, two of the noise: its weight and its volume."""
        others = k * sum(family.num_free_parameters for family in families)
        found = k - 1 + k * d + self.num_covariance_parameters(k, d) + others
        return found + 2 if noise else found

    @property
    def storage(self) -> Storage:
        """How covariances are kept."""
        return STORAGES[self.kind]

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """Of the covariances of k components as they are kept."""
        one = self.storage.shape(d)
        return one if self.shared else (k, *one)

    def unit(self, k: int, d: int) -> Array:
        """Identities, as they are kept."""
        return self.repeated(self.storage.unit(d), k)

    def repeated(self, one: Array, k: int) -> Array:
        """The same covariance for k components, as it is kept."""
        return one if self.shared else np.repeat(one[None], k, axis=0)

    def per_component(self, covariances: Array, k: int) -> Array:
        """Covariances repeated for every component: (k, d, d), (k, d) or (k,)."""
        return np.broadcast_to(covariances, (k, *covariances.shape)) if self.shared else covariances

    def stacked(self, covariances: Array) -> Array:
        """The covariances there are, one after the other: (k, ...), or (1, ...) where shared."""
        return covariances[None] if self.shared else covariances

    def of(self, covariances: Array, which: NDArray[np.bool_] | NDArray[np.intp]) -> Array:
        """Covariances of some components, as they are kept."""
        return covariances if self.shared else covariances[which]

    def rescaled(self, covariances: Array, factor: Array) -> Array:
        """The covariances where every column is multiplied by its factor, (d,)."""
        return self.storage.rescaled(covariances, factor)

    def floor(self, floor: Array) -> Array:
        """The floor (d,) as this structure takes it."""
        return floor
