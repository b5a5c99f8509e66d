"""Conjugate priors: maximum a posteriori instead of maximum likelihood.

A conjugate prior acts as rows that every component has seen before. On mean and covariance it is
normal-inverse-Wishart (normal-inverse-gamma where covariances are diagonal or spherical), with
the hyperparameters Fraley and Raftery propose ("Bayesian regularization for normal mixture
estimation and model-based clustering", 2007); on weights and on tables of categories Dirichlet.
EM then raises the log-likelihood plus the log density of the prior (Green 1990).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.parameters import Array, Parameters, even_table, split_tables
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
    tables : (L,) rows more for every level of every category
    events, exposure : (c,) and a number; so much more is counted, in so many rows more (the
        rates' prior is a gamma distribution)
    normal : of mean and covariance, None where these are maximum likelihood
    """

    weight: float
    tables: Array
    normal: Normal | None = None
    events: Array = field(default_factory=lambda: np.zeros(0))
    exposure: float = 0.0

    @staticmethod
    def none(levels: tuple[int, ...] = (), counts: int = 0) -> Prior:
        """Maximum likelihood."""
        return Prior(0.0, np.zeros(sum(levels)), None, np.zeros(counts))

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
        return Prior(
            share * self.weight,
            share * self.tables,
            normal,
            share * self.events,
            share * self.exposure,
        )

    def log_density(self, parameters: Parameters) -> float:
        """Of parameters, up to a constant; dead components do not count."""
        total = 0.0
        alive = parameters.weights > 0
        if self.weight:
            weights = parameters.all_weights
            total += self.weight * float(np.log(weights[weights > 0]).sum())
        seen = self.tables > 0
        if seen.any():
            log_tables = np.log(np.maximum(parameters.tables[alive][:, seen], 1e-300))
            total += float((log_tables @ self.tables[seen]).sum())
        if self.exposure and parameters.counts:
            rates = np.maximum(parameters.rates[alive], 1e-300)
            total += float((np.log(rates) @ self.events - self.exposure * rates.sum(axis=1)).sum())
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
    rows : the levels of a category, and counts, have been seen this often before, over all
        components
    frequencies, means : (L,) how often each level was it, and (c,) the counts' mean then; the
        data's own, by weight, counts without those that are far beyond the rest (the Bayes
        constants of Vermunt and Magidson 2016, Technical Guide for Latent GOLD, section 7.3)
    normal : hyperparameters of mean and covariance, None where these are maximum likelihood
    share : of all rows, beside which the prior stands
    """

    concentration: float = 1.0
    rows: float = 0.0
    frequencies: Array | None = None
    means: Array | None = None
    normal: FraleyRaftery | None = None
    share: float = 1.0

    def of(self, k: int) -> Prior:
        rows, nothing = self.rows / k, np.zeros(0)
        tables = nothing if self.frequencies is None else rows * self.frequencies
        events = nothing if self.means is None else rows * self.means
        normal = None if self.normal is None else self.normal.of(k)
        return Prior(self.concentration - 1.0, tables, normal, events, rows).times(self.share)

    def times(self, share: float) -> Priors:
        return replace(self, share=self.share * share)


def frequencies(codes: Array, levels: tuple[int, ...], weights: Array | None = None) -> Array:
    """How frequent the levels of categories are in codes (q, n), NaN where one is not known, of
    rows of weight 1 or `weights` (n,)."""
    found = even_table(levels)
    for part, row in zip(split_tables(found, levels), codes, strict=True):
        known = row >= 0
        of_known = None if weights is None else weights[known]
        # A level the sample has not met is not impossible.
        seen = np.bincount(row[known].astype(np.intp), of_known, minlength=part.size)
        counts = seen + 1.0 / part.size
        part[:] = counts / counts.sum()
    return found


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
