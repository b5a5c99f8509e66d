"""Conjugate priors: maximum a posteriori instead of maximum likelihood.

A conjugate prior acts as rows that every component has seen before. On mean and covariance it is
normal-inverse-Wishart (normal-inverse-gamma where covariances are diagonal or spherical), with
the hyperparameters Fraley and Raftery propose ("Bayesian regularization for normal mixture
estimation and model-based clustering", 2007); on weights and on tables of categories Dirichlet.
EM then raises the log-likelihood plus the log density of the prior (Green 1990).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.parameters import Array, Parameters, Structure, even_table, split_tables


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
    normal : of mean and covariance, None where these are maximum likelihood
    """

    weight: float
    tables: Array
    normal: Normal | None = None

    @staticmethod
    def none(levels: tuple[int, ...] = ()) -> Prior:
        """Maximum likelihood."""
        return Prior(0.0, np.zeros(sum(levels)))

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
        return Prior(share * self.weight, share * self.tables, normal)

    def log_density(self, parameters: Parameters) -> float:
        """Of parameters, up to a constant; dead components do not count."""
        total = 0.0
        alive = parameters.weights > 0
        if self.weight:
            total += self.weight * float(np.log(parameters.weights[alive]).sum())
        seen = self.tables > 0
        if seen.any():
            log_tables = np.log(np.maximum(parameters.tables[alive][:, seen], 1e-300))
            total += float((log_tables @ self.tables[seen]).sum())
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
        shape, d = parameters.structure.shape, parameters.d
        if shape == "full":
            traces = np.einsum("ij,kji->k", prior.scatter, precisions[which])
        else:
            diagonals = np.diagonal(precisions, axis1=1, axis2=2)[which]
            traces = diagonals @ prior.scatter if shape == "diagonal" else diagonals[:, 0]
            traces = traces * (1.0 if shape == "diagonal" else prior.scatter)
        log_determinants = np.linalg.slogdet(covariances[which])[1]
        if shape == "spherical":
            log_determinants = log_determinants / d  # rows count single variances there
        found += float((prior.rows * log_determinants + traces).sum())
        return -0.5 * found


def smoothing(sample_codes: Array, levels: tuple[int, ...], k: int, rows: float) -> Array:
    """Pseudo-counts of the levels of categories for every one of k components, (L,): `rows` rows
    in all, spread evenly over components, their levels as frequent as in the data (the Bayes
    constant of Vermunt and Magidson 2016, Technical Guide for Latent GOLD, section 7.3).

    sample_codes : (q, n), NaN where a category is not known
    """
    shares = even_table(levels)
    for part, row in zip(split_tables(shares, levels), sample_codes, strict=True):
        known = row[row >= 0].astype(np.intp)
        if known.size:
            # A level the sample has not met is not impossible.
            counts = np.bincount(known, minlength=part.size) + 1.0 / part.size
            part[:] = counts / counts.sum()
    return rows / k * shares


def fraley_raftery(
    mean: Array,
    covariance: Array,
    k: int,
    structure: Structure,
    scale: Array,
    *,
    shrinkage: float = 0.01,
    dof: float | None = None,
) -> Normal:
    """The default prior of Fraley and Raftery (2007), for standardised coordinates.

    Parameters
    ----------
    mean, covariance : of all rows, standardised
    scale : (d,) of the standardisation: the prior's scale for diagonal and spherical covariances
        is one variance, the mean of the columns' own, in the user's units
    shrinkage : rows the prior mean counts for
    dof : degrees of freedom, d + 2 by default
    """
    d = mean.size
    dof = d + 2.0 if dof is None else dof
    part = k ** (-2.0 / d)
    if structure.shape == "full":
        rows = dof + d + 1 + (k if structure.shared else 1)
        return Normal(mean, shrinkage, rows, part * covariance)
    variance = part * float(np.mean(np.diag(covariance) * scale**2)) / scale**2
    if structure.shape == "diagonal":
        rows = dof + 2 + (k if structure.shared else 1)
        return Normal(mean, shrinkage, rows, variance)
    rows = dof + 2 + d * (k if structure.shared else 1)
    return Normal(mean, shrinkage, rows, np.asarray(variance[0]))
