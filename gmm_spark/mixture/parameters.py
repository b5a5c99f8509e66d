"""Weights, means and covariances of a mixture.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.families import FAMILIES, Categorical, Count, Family, Noise
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.structures import Structure

# Values beyond this are not used: their squares, and sums of these, must be finite.
LARGEST = 1e150
# Covariances that are farther from their structure than this, in their variances, are not of it;
# what is written in three digits is.
_STRANGE = 1e-2


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
class Parameters:
    """A mixture of normal distributions, and of those of other column families, independent of
    these and of each other within a component. Covariances are kept as compactly as their
    structure allows.

    Attributes
    ----------
    structure : Structure
    weights : (k,), sum to 1, or with the noise's weight to 1; a dead component has weight 0
    means : (k, d)
    covariances : (k, d, d), (k, d) or (k,) where the structure's kind is full, diagonal or
        spherical; (d, d), (d,) or () where all components share one
    families : of the columns that are not numeric, in the order of `FAMILIES`
    family_parameters : (k, num_parameters) of every family
    noise : the uniform component, if there is one
    """

    structure: Structure
    weights: Array
    means: Array
    covariances: Array
    families: tuple[Family, ...] = ()
    family_parameters: tuple[Array, ...] = ()
    noise: Noise | None = None

    def __post_init__(self) -> None:
        # In one order in memory: sums over arrays in another one differ in their last bit.
        for name in ("weights", "means", "covariances"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), order="C"))
        of_families = tuple(np.asarray(values, order="C") for values in self.family_parameters)
        object.__setattr__(self, "family_parameters", of_families)

    @staticmethod
    def unit(
        structure: Structure,
        k: int,
        d: int,
        families: tuple[Family, ...] = (),
        noise: Noise | None = None,
    ) -> Parameters:
        """Equal weights, zero means, unit covariances, families that say nothing: a place to hang
        statistics on."""
        covariances = structure.unit(k, d)
        share = 1.0 if noise is None else 1.0 - noise.weight
        weights, means = np.full(k, share / k), np.zeros((k, d))
        others = tuple(np.repeat(family.unit()[None], k, axis=0) for family in families)
        return Parameters(structure, weights, means, covariances, families, others, noise)

    @property
    def k(self) -> int:
        return int(self.weights.shape[0])

    @property
    def d(self) -> int:
        return int(self.means.shape[1])

    def of(self, kind: type[Family]) -> Array:
        """Parameters of the family of that class, (k, num_parameters); (k, 0) where there is
        none."""
        for family, values in zip(self.families, self.family_parameters, strict=True):
            if type(family) is kind:
                return values
        return np.zeros((self.k, 0))

    @property
    def levels(self) -> tuple[int, ...]:
        """How many levels each category has, L in sum."""
        found = (family.levels for family in self.families if isinstance(family, Categorical))
        return next(found, ())

    @property
    def tables(self) -> Array:
        """Probabilities of the levels of every category, one category after the other, (k, L)."""
        return self.of(Categorical)

    @property
    def rates(self) -> Array:
        """Means of the counts, (k, c)."""
        return self.of(Count)

    @property
    def num_free_parameters(self) -> int:
        return self.structure.num_free_parameters(
            self.k, self.d, self.families, self.noise is not None
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
            noise=self.noise and self.noise.scaled(-np.log(by.scale), -by.centre / by.scale),
        )

    def restored(self, by: Standardisation) -> Parameters:
        """The inverse of `standardised`: parameters for x = centre + scale z."""
        means = by.centre + by.scale * self.means
        return replace(
            self,
            means=means,
            covariances=self.structure.rescaled(self.covariances, by.scale),
            noise=self.noise and self.noise.scaled(np.log(by.scale), by.centre),
        )

    def taken(self, order: NDArray[np.intp]) -> Parameters:
        """The components in the given order."""
        return replace(
            self,
            weights=self.weights[order],
            means=self.means[order],
            covariances=self.structure.of(self.covariances, order),
            family_parameters=tuple(values[order] for values in self.family_parameters),
        )

    def canonical_order(self) -> NDArray[np.intp]:
        """Component order by weight, largest first; equal weights by their means, then by what
        the families say."""
        keys = [row for values in self.family_parameters[::-1] for row in values.T[::-1]]
        return np.lexsort([*keys, *self.means.T[::-1], -self.weights])

    def marginal(self, columns: NDArray[np.intp]) -> Parameters:
        """The mixture of a subset of the columns."""
        covariances = self.structure.storage.marginal(self.covariances, columns)
        noise = self.noise and self.noise.marginal(columns)
        return replace(self, means=self.means[:, columns], covariances=covariances, noise=noise)

    def validated(self) -> Parameters:
        """These parameters, or an error that names the first thing wrong with them."""
        k, d = self.k, self.means.shape[-1]
        expected = self.structure.shape(k, d)
        problem = None
        if not (d or self.families):
            others = " and ".join(f"no {kind.name}" for kind in FAMILIES)
            problem = f"there are no means, {others}: nothing to tell rows by"
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
        elif any(values.shape[0] != k for values in self.family_parameters):
            shapes = ", ".join(str(values.shape) for values in self.family_parameters)
            problem = f"parameters of families have shapes {shapes}, expected {k} rows"
        elif wrong := [
            said
            for family, values in zip(self.families, self.family_parameters, strict=True)
            if (said := family.problem(values))
        ]:
            problem = wrong[0]
        elif (self.all_weights < 0).any() or abs(self.all_weights.sum() - 1) > 1e-6:
            total = self.all_weights.sum()
            problem = f"weights must be at least 0 and sum to 1, they sum to {total}"
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
        if not problem and d:
            strange = self.structure.strangeness(self.covariances, self.weights)
            if strange > _STRANGE:
                free = "full" if self.structure.kind == "full" else "diag"
                problem = (
                    f"the covariances are none of covarianceType {self.structure.name}: the "
                    f"nearest that are differ from them by {strange:.2g} of a variance; use "
                    f"covarianceType={free!r}"
                )
        if problem:
            raise SettingError(f"mixture parameters: {problem}")
        return self


def as_structure(given: Parameters, structure: Structure) -> Parameters:
    """Parameters projected on another structure."""
    covariances = structure.projected(given.dense_covariances(), given.weights)
    return replace(given, structure=structure, covariances=covariances)


def _in_range(variances: Array) -> bool:
    return bool(variances.min() >= np.finfo(float).tiny and variances.max() <= LARGEST**2)
