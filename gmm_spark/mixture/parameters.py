"""Weights, means and covariances of a mixture.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.numerics import Array as Array
from gmm_spark.mixture.structures import Structure

# Values beyond this are not used: their squares, and sums of these, must be finite.
LARGEST = 1e150


@dataclass(frozen=True)
class Standardisation:
    """The affine map z = (x - centre) / scale, column by column."""

    centre: Array  # (d,)
    scale: Array  # (d,), positive

    @property
    def log_volume(self) -> float:
        """What to subtract from a log density of z to have that of x."""
        return float(np.log(self.scale).sum())


@dataclass(frozen=True)
class Noise:
    """A component of outliers, uniform over a box, and over the levels of every category
    (Banfield and Raftery 1993)."""

    weight: float
    log_widths: Array  # (d,) of the box; in the coordinates of the mixture it is of
    log_values: Array = field(default_factory=lambda: np.zeros(0))  # (c,) how many a count has
    lowest: Array | None = None  # (d,) corner of the box; None for models of earlier releases
    least_counts: Array | None = None  # (c,) the same of counts

    @property
    def log_density(self) -> float:
        """Of all numeric columns together."""
        return -float(self.log_widths.sum())


@dataclass(frozen=True)
class Parameters:
    """A mixture of normal distributions, and of tables for categories and Poisson distributions
    for counts, independent of these and of each other within a component. Covariances are kept as
    compactly as their structure allows.

    Attributes
    ----------
    structure : Structure
    weights : (k,), sum to 1, or with the noise's weight to 1; a dead component has weight 0
    means : (k, d)
    covariances : (k, d, d), (k, d) or (k,) where the structure's kind is full, diagonal or
        spherical; (d, d), (d,) or () where all components share one
    tables : (k, L) probabilities of the levels of every category, one category after the other
    levels : how many levels each category has, L in sum
    rates : (k, c) means of the counts
    noise : the uniform component, if there is one
    """

    structure: Structure
    weights: Array
    means: Array
    covariances: Array
    tables: Array = None  # type: ignore[assignment]
    levels: tuple[int, ...] = ()
    noise: Noise | None = None
    rates: Array = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        none = np.zeros((self.weights.shape[0], 0))
        if not self.levels:
            object.__setattr__(self, "tables", none)
        if self.rates is None or self.rates.shape[-1] == 0:
            object.__setattr__(self, "rates", none)
        # In one order in memory: sums over arrays in another one differ in their last bit.
        for name in ("weights", "means", "covariances", "tables", "rates"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), order="C"))

    @staticmethod
    def unit(
        structure: Structure,
        k: int,
        d: int,
        levels: tuple[int, ...] = (),
        noise: Noise | None = None,
        counts: int = 0,
    ) -> Parameters:
        """Equal weights, zero means, unit covariances, even tables, rates of one: a place to hang
        statistics on."""
        covariances = structure.unit(k, d)
        share = 1.0 if noise is None else 1.0 - noise.weight
        tables = np.repeat(even_table(levels)[None], k, axis=0)
        weights, means = np.full(k, share / k), np.zeros((k, d))
        rates = np.ones((k, counts))
        return Parameters(structure, weights, means, covariances, tables, levels, noise, rates)

    @property
    def k(self) -> int:
        return int(self.weights.shape[0])

    @property
    def d(self) -> int:
        return int(self.means.shape[1])

    @property
    def counts(self) -> int:
        """How many columns are counts."""
        return int(self.rates.shape[1])

    @property
    def num_free_parameters(self) -> int:
        return self.structure.num_free_parameters(
            self.k, self.d, self.levels, self.noise is not None, self.counts
        )

    @property
    def all_weights(self) -> Array:
        """Weights with that of the noise, where there is one, at the end."""
        return self.weights if self.noise is None else np.append(self.weights, self.noise.weight)

    def with_noise(self, noise: Noise) -> Parameters:
        """The mixture with its weights scaled to leave room for the noise."""
        weights = self.weights * (1 - noise.weight) / self.weights.sum()
        return replace(self, weights=weights, noise=noise)

    def per_component(self) -> Array:
        """Covariances repeated for every component: (k, d, d), (k, d) or (k,)."""
        return self.structure.per_component(self.covariances, self.k)

    def dense_covariances(self) -> Array:
        """Covariance matrices, (k, d, d)."""
        return self.structure.storage.dense(self.per_component(), self.d)

    def variances(self) -> Array:
        """Variances of every column in every component, (k, d)."""
        return self.structure.storage.variances(self.per_component(), self.d)

    def standardised(self, by: Standardisation) -> Parameters:
        """These parameters for z = (x - centre) / scale."""
        means = (self.means - by.centre) / by.scale
        return replace(
            self,
            means=means,
            covariances=self.structure.rescaled(self.covariances, 1.0 / by.scale),
            noise=self._noise_scaled(-np.log(by.scale), -by.centre / by.scale),
        )

    def restored(self, by: Standardisation) -> Parameters:
        """The inverse of `standardised`: parameters for x = centre + scale z."""
        means = by.centre + by.scale * self.means
        return replace(
            self,
            means=means,
            covariances=self.structure.rescaled(self.covariances, by.scale),
            noise=self._noise_scaled(np.log(by.scale), by.centre),
        )

    def _noise_scaled(self, log_factor: Array, shift: Array) -> Noise | None:
        noise = self.noise
        if noise is None:
            return None
        lowest = None if noise.lowest is None else shift + np.exp(log_factor) * noise.lowest
        return replace(noise, log_widths=noise.log_widths + log_factor, lowest=lowest)

    def taken(self, order: NDArray[np.intp]) -> Parameters:
        """The components in the given order."""
        return replace(
            self,
            weights=self.weights[order],
            means=self.means[order],
            covariances=self.structure.of(self.covariances, order),
            tables=self.tables[order],
            rates=self.rates[order],
        )

    def canonical_order(self) -> NDArray[np.intp]:
        """Component order by weight, largest first; equal weights by their means and tables."""
        keys = [*self.rates.T[::-1], *self.tables.T[::-1], *self.means.T[::-1], -self.weights]
        return np.lexsort(keys)

    def marginal(self, columns: NDArray[np.intp]) -> Parameters:
        """The mixture of a subset of the columns."""
        covariances = self.structure.storage.marginal(self.covariances, columns)
        noise = self.noise
        if noise is not None:
            lowest = None if noise.lowest is None else noise.lowest[columns]
            noise = replace(noise, log_widths=noise.log_widths[columns], lowest=lowest)
        return replace(self, means=self.means[:, columns], covariances=covariances, noise=noise)

    def validated(self) -> Parameters:
        """These parameters, or an error that names the first thing wrong with them."""
        k, d = self.k, self.means.shape[-1]
        expected = self.structure.shape(k, d)
        problem = None
        if not (d or self.levels or self.counts):
            problem = "there are no means, no categories and no counts: nothing to tell rows by"
        elif k < 1 or self.means.shape != (k, d):
            problem = f"weights {self.weights.shape} and means {self.means.shape} do not match"
        elif self.covariances.shape != expected:
            problem = f"covariances have shape {self.covariances.shape}, expected {expected}"
        elif not all(
            np.isfinite(values).all() for values in (self.weights, self.means, self.covariances)
        ):
            problem = "a value is not finite"
        elif (np.abs(self.means) > LARGEST).any():
            problem = f"a mean is beyond {LARGEST:g}; squares of such values overflow: rescale"
        elif self.tables.shape != (k, sum(self.levels)):
            problem = f"tables have shape {self.tables.shape}, expected {(k, sum(self.levels))}"
        elif self.rates.shape[0] != k or not (np.isfinite(self.rates) & (self.rates >= 0)).all():
            problem = "rates of counts must be finite and at least 0"
        elif (self.all_weights < 0).any() or abs(self.all_weights.sum() - 1) > 1e-6:
            total = self.all_weights.sum()
            problem = f"weights must be at least 0 and sum to 1, they sum to {total}"
        elif any(
            not ((table >= 0).all() and np.abs(table.sum(axis=1) - 1).max() < 1e-6)
            for table in split_tables(self.tables, self.levels)
        ):
            problem = "probabilities of a category must be at least 0 and sum to 1"
        elif (self.variances() <= 0).any():
            problem = "a variance is not positive"
        elif d and not _in_range(self.variances()):
            variances = self.variances()
            problem = (
                f"variances go from {variances.min():.3g} to {variances.max():.3g}; squares under "
                f"{np.finfo(float).tiny:.3g} underflow, those beyond {LARGEST**2:g} overflow: "
                "rescale"
            )
        elif self.structure.kind == "full" and d:
            deviations = np.sqrt(self.variances())
            dense = self.per_component()
            correlations = dense / (deviations[:, :, None] * deviations[:, None, :])
            if np.abs(correlations - correlations.swapaxes(-1, -2)).max() > 1e-6:
                problem = "a covariance matrix is not symmetric"
            elif np.linalg.eigvalsh(correlations).min() <= 0:
                problem = "a covariance matrix is not positive definite"
        if problem:
            raise SettingError(f"mixture parameters: {problem}")
        return self


def as_structure(given: Parameters, structure: Structure) -> Parameters:
    """Parameters projected on another structure."""
    covariances = structure.projected(given.dense_covariances(), given.weights)
    return replace(given, structure=structure, covariances=covariances)


def even_table(levels: tuple[int, ...]) -> Array:
    """The same probability for every level of a category, (L,)."""
    return np.concatenate([np.zeros(0), *(np.full(n, 1.0 / n) for n in levels)])


def split_tables(tables: Array, levels: tuple[int, ...]) -> list[Array]:
    """Tables (..., L) category by category."""
    return np.split(tables, np.cumsum(levels)[:-1], axis=-1) if levels else []


def _in_range(variances: Array) -> bool:
    return bool(variances.min() >= np.finfo(float).tiny and variances.max() <= LARGEST**2)
