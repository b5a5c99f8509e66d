"""Conjugate priors: maximum a posteriori instead of maximum likelihood.

A conjugate prior acts as rows that every component has seen before. On mean and covariance it is
normal-inverse-Wishart (normal-inverse-gamma where covariances are diagonal or spherical), with
the hyperparameters Fraley and Raftery propose ("Bayesian regularization for normal mixture
estimation and model-based clustering", 2007); on weights Dirichlet; every column family has its
own.
EM then raises the log-likelihood plus the log density of the prior (Green 1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.families import Family
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import Structure


@dataclass(frozen=True)
class Normal:
    """The prior of mean and covariance of every component, in standardised coordinates.

    Up to a constant its log density is the sum over components of
    -(rows log|Sigma| + tr(scatter Sigma^-1) + shrinkage (mu - mean)' Sigma^-1 (mu - mean)) / 2,
    where shared covariances count once for `rows` and `scatter`.
    """

    mean: Array  # (d,)
    shrinkage: float
    rows: float
    scatter: Array  # full (d, d), diagonal (d,), spherical ()


@dataclass(frozen=True)
class Prior:
    """What the M-step adds to the statistics of every component.

    weight : rows more for every weight, the Dirichlet's concentration less 1
    families : (num_features,) of every family, what its T(x) sums to over the rows that have been
        seen before
    normal : of mean and covariance, None where these are maximum likelihood
    """

    weight: float
    families: tuple[Array, ...] = ()
    normal: Normal | None = None

    @staticmethod
    def none(families: Sequence[Family] = ()) -> Prior:
        """Maximum likelihood."""
        return Prior(0.0, tuple(np.zeros(family.num_features) for family in families))

    def times(self, share: float) -> Prior:
        """The prior that weighs as much beside a share of the rows as this one beside all."""
        if share == 1.0:
            return self
        normal = self.normal
        if normal is not None:
            normal = replace(
                normal,
                shrinkage=share * normal.shrinkage,
                rows=share * normal.rows,
                scatter=share * normal.scatter,
            )
        return Prior(share * self.weight, tuple(share * own for own in self.families), normal)

    def log_density(self, parameters: Parameters) -> float:
        """Of parameters, up to a constant; dead components do not count."""
        total = 0.0
        alive = parameters.weights > 0
        if self.weight:
            weights = parameters.all_weights
            total += self.weight * float(np.log(weights[weights > 0]).sum())
        parts = zip(parameters.families, parameters.family_parameters, self.families, strict=True)
        for family, values, own in parts:
            total += family.log_prior(values[alive], own)
        return total + self._log_density_of_normals(parameters, alive)

    def _log_density_of_normals(self, parameters: Parameters, alive: NDArray[np.bool_]) -> float:
        prior = self.normal
        if prior is None or parameters.d == 0:
            return 0.0
        deviations = parameters.means - prior.mean
        covariances = parameters.dense_covariances()
        precisions = np.linalg.inv(covariances)
        distances = np.einsum("ki,kij,kj->k", deviations, precisions, deviations)
        found = prior.shrinkage * float(distances[alive].sum())
        which = slice(0, 1) if parameters.structure.shared else alive
        kind, d = parameters.structure.kind, parameters.d
        if kind == "full":
            traces = np.einsum("ij,kji->k", prior.scatter, precisions[which])
        else:
            diagonals = np.diagonal(precisions, axis1=1, axis2=2)[which]
            traces = diagonals @ prior.scatter if kind == "diagonal" else diagonals[:, 0]
            traces = traces * (1.0 if kind == "diagonal" else prior.scatter)
        log_determinants = np.linalg.slogdet(covariances[which])[1]
        if kind == "spherical":
            log_determinants = log_determinants / d  # rows count single variances there
        found += float((prior.rows * log_determinants + traces).sum())
        return -0.5 * found


@dataclass(frozen=True)
class Priors:
    """The prior of a mixture of any number of components.

    concentration : of the Dirichlet on weights, 1 is none
    rows : the columns of families have been seen in so many rows before, over all components
    families : (num_features,) of every family, what T(x) was in these on average; the data's own,
        by weight, without values that are far beyond the rest (the Bayes constants of Vermunt and
        Magidson 2016, Technical Guide for Latent GOLD, section 7.3)
    normal : hyperparameters of mean and covariance, None where these are maximum likelihood
    share : of all rows, beside which the prior stands
    """

    concentration: float = 1.0
    rows: float = 0.0
    families: tuple[Array, ...] = ()
    normal: FraleyRaftery | None = None
    share: float = 1.0

    def of(self, k: int) -> Prior:
        rows = self.rows / k
        families = tuple(rows * own for own in self.families)
        normal = None if self.normal is None else self.normal.of(k)
        return Prior(self.concentration - 1.0, families, normal).times(self.share)

    def times(self, share: float) -> Priors:
        return replace(self, share=self.share * share)


@dataclass(frozen=True)
class FraleyRaftery:
    """The default prior of Fraley and Raftery (2007), for standardised coordinates.

    mean, covariance : of all rows, standardised
    scale : (d,) of the standardisation: the prior's scale for diagonal and spherical covariances
        is one variance, the mean of the columns' own, in the user's units
    shrinkage : rows the prior mean counts for
    dof : degrees of freedom, d + 2 by default
    """

    structure: Structure
    mean: Array
    covariance: Array
    scale: Array
    shrinkage: float = 0.01
    dof: float | None = None

    def of(self, k: int) -> Normal:
        d, structure = self.mean.size, self.structure
        dof = d + 2.0 if self.dof is None else self.dof
        part = k ** (-2.0 / d)
        times = k if structure.shared else 1
        if structure.kind == "full":
            return Normal(self.mean, self.shrinkage, dof + d + 1 + times, part * self.covariance)
        variances = np.diag(self.covariance) * self.scale**2
        variance = part * float(np.mean(variances)) / self.scale**2
        if structure.kind == "diagonal":
            return Normal(self.mean, self.shrinkage, dof + 2 + times, variance)
        return Normal(self.mean, self.shrinkage, dof + 2 + d * times, np.asarray(variance[0]))
