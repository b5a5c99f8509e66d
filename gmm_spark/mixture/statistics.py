"""Sufficient statistics of Gaussian mixtures: sums over rows that merge by adding.

A mixture of exponential families has log w_k + log N(x | mu_k, Sigma_k) = theta_k . T(x). T(X)
stacks x, 1 and the second-order terms the structure needs: none for a shared covariance (the
quadratic is common to all components), |x|^2 for a spherical one, x_i^2 for a diagonal one,
x_i x_j for a full one; then the rows of every column family, categories and counts (`families`).
The statistics of a component are the weighted sum of its responsibilities times T(x).

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.families.family import Family
from gmm_spark.mixture.numerics import Array

Kind = Literal["linear", "spherical", "diagonal", "full"]


@dataclass(frozen=True)
class Layout:
    """Where everything stands in the flat vector of statistics, so that merging is adding."""

    kind: Kind
    d: int
    sizes: tuple[int, ...]  # components of every stacked candidate, the noise's last
    families: tuple[Family, ...] = ()  # of the columns that are not numeric
    noise: bool = False

    @property
    def num_components(self) -> int:
        return sum(self.sizes)

    @property
    def num_second(self) -> int:
        d = self.d
        return {"linear": 0, "spherical": 1, "diagonal": d, "full": d * (d + 1) // 2}[self.kind]

    @property
    def num_features(self) -> int:
        """Rows of T(X): x, 1, the second-order terms, and those of the families."""
        of_families = sum(family.num_features for family in self.families)
        return self.d + 1 + self.num_second + of_families

    @property
    def second(self) -> slice:
        """Where the second-order terms are in T(X)."""
        return slice(self.d + 1, self.d + 1 + self.num_second)

    @property
    def others(self) -> slice:
        """Where in T(X) is what does not belong to the normal distribution."""
        return slice(self.d + 1 + self.num_second, self.num_features)

    @property
    def of_families(self) -> list[slice]:
        """Where the rows of every family are in T(X)."""
        sizes = [family.num_features for family in self.families]
        stops = self.others.start + np.cumsum(sizes, dtype=int)
        return [slice(int(b) - n, int(b)) for n, b in zip(sizes, stops, strict=True)]

    @property
    def normal(self) -> Layout:
        """The same without families."""
        return replace(self, families=())

    @property
    def noises(self) -> list[int]:
        """The noise of every candidate."""
        return [components.stop - 1 for components in self.candidates()] if self.noise else []

    @property
    def size(self) -> int:
        return 2 + 2 * len(self.sizes) + self.num_components * (self.num_features + 2)

    def candidates(self) -> list[slice]:
        """The components of every candidate."""
        stops = np.cumsum(self.sizes)
        return [slice(int(b) - n, int(b)) for n, b in zip(self.sizes, stops, strict=True)]


@lru_cache(maxsize=8)
def pairs(d: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Columns i and j of the terms x_i x_j of full covariances, d (d + 1) / 2 of each.

    First all with j = i, then all with j = i + 1, the last with the first, and so on: of rows
    that stand twice in memory, x and x again, each of these is one product of neighbouring rows.
    """
    offsets, first = np.divmod(np.arange(d * (d + 1) // 2), d)
    return first, (first + offsets) % d


@dataclass(frozen=True)
class Statistics:
    """Sums over rows, in standardised coordinates; see `merged`.

    `origins` (K, d) are the points the moments are taken about: 0, or the mean of a centred
    component. They are the same for all blocks of a pass.
    """

    layout: Layout
    origins: Array
    values: Array

    def replaced(
        self, layout: Layout, origins: Array, log_likelihood: float, moments: Array
    ) -> Statistics:
        """Statistics of the same rows with another log-likelihood and other moments; what is
        known of single rows' assignments is 0."""
        values = np.zeros(layout.size)
        values[:3] = self.values[0], self.values[1], log_likelihood
        values[-moments.size :] = moments.ravel()
        return Statistics(layout, origins, values)

    @property
    def num_rows(self) -> int:
        return round(float(self.values[0]))

    @property
    def weight(self) -> float:
        """Sum of the rows' weights."""
        return float(self.values[1])

    @property
    def log_likelihoods(self) -> Array:
        """Weighted sum of log densities under every candidate, (C,); for the kind "linear"
        without the common quadratic."""
        return self.values[2 : 2 + len(self.layout.sizes)]

    @property
    def log_assignments(self) -> Array:
        """Weighted sum of the log of the largest responsibility, (C,), at most 0."""
        c = len(self.layout.sizes)
        return self.values[2 + c : 2 + 2 * c]

    @property
    def cluster_sizes(self) -> Array:
        """How many rows there are for which a component is the most probable, (K,)."""
        c, k = len(self.layout.sizes), self.layout.num_components
        return self.values[2 + 2 * c : 2 + 2 * c + k]

    @property
    def cluster_weights(self) -> Array:
        """Weight of these rows, (K,)."""
        c, k = len(self.layout.sizes), self.layout.num_components
        return self.values[2 + 2 * c + k : 2 + 2 * c + 2 * k]

    @property
    def moments(self) -> Array:
        """Weighted sums of responsibilities times T(z - origin), (M, K)."""
        k = self.layout.num_components
        return self.values[-k * self.layout.num_features :].reshape(self.layout.num_features, k)

    @property
    def counts(self) -> Array:
        """Weighted sum of responsibilities, (K,)."""
        return self.moments[self.layout.d]

    @property
    def first(self) -> Array:
        """Weighted sum of r (z - origin), (K, d)."""
        return self.moments[: self.layout.d].T

    @property
    def second(self) -> Array:
        """Weighted sum of r times products of z - origin: full (K, d, d), diagonal (K, d),
        spherical (K,)."""
        packed = self.moments[self.layout.second].T
        if self.layout.kind == "diagonal":
            return packed
        if self.layout.kind == "spherical":
            return packed[:, 0]
        if self.layout.kind == "linear":
            raise ValueError("statistics of the kind 'linear' hold no second moments")
        d = self.layout.d
        rows, columns = pairs(d)
        dense = np.empty((packed.shape[0], d, d))
        dense[:, rows, columns] = packed
        dense[:, columns, rows] = packed
        return dense

    @property
    def of_families(self) -> list[Array]:
        """Of every family, weighted sums of r times its rows of T(x), (K, num_features)."""
        moments = self.moments
        return [moments[at].T for at in self.layout.of_families]


def merged(parts: Sequence[Array]) -> Array:
    """The values of statistics of several sets of rows put together, added in the order given, so
    that a rerun has the same bits."""
    total = np.array(parts[0])
    for part in parts[1:]:
        total += part
    return total
