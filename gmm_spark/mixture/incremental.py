"""Incremental EM: statistics of the rows seen before, faded, and those of new rows, are one M-step.

With S the sufficient statistics that a mixture's parameters theta come from, an update by new rows
is

    S <- fading S + statistics of the new rows under theta        theta <- M-step of S

Without fading (1) that is an incremental step of Neal and Hinton ("A view of the EM algorithm that
justifies incremental, sparse, and other variants", 1998), every part of the rows looked at once;
with it the online EM of Cappe and Moulines ("On-line expectation-maximization algorithm for latent
data models", 2009), whose step size is the share of the new rows among all that count.

S is kept about the means of the components (Chan, Golub and LeVeque 1983), so that it stays exact
wherever later rows lie. Parameters are in standardised coordinates, those of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.edges import can_vanish, off_zero
from gmm_spark.mixture.m_step import MStep, component_scatters, m_step, pooled_scatter
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.priors import Prior
from gmm_spark.mixture.statistics import Layout, Statistics, pairs
from gmm_spark.mixture.structures import Structure


@dataclass(frozen=True)
class ComponentStatistics:
    """Sufficient statistics of rows by component, in standardised coordinates.

    num_rows : how many rows they are of; faded ones are less than one
    weight : sum of the rows' weights
    counts : (K,) sums of responsibilities, the noise's last where there is one
    means : (k, d) of the rows, by responsibilities
    scatters : about these means: full (k, d, d), diagonal (k, d), spherical, summed over columns,
        (k,); of all components together, (1, ...), where the structure shares one covariance
    families : (k, num_features) of every family, sums of responsibilities times its T(x)
    """

    num_rows: float
    weight: float
    counts: Array
    means: Array
    scatters: Array
    families: tuple[Array, ...] = ()

    @property
    def k(self) -> int:
        """Components, without the noise."""
        return int(self.means.shape[0])

    def faded(self, factor: float) -> ComponentStatistics:
        """The same rows at a share of their weight; their means and covariances stay."""
        return replace(
            self,
            num_rows=factor * self.num_rows,
            weight=factor * self.weight,
            counts=factor * self.counts,
            scatters=factor * self.scatters,
            families=tuple(factor * sums for sums in self.families),
        )

    def merged(self, other: ComponentStatistics) -> ComponentStatistics:
        """Those of the rows of both, under the same or other parameters."""
        own, more = self.counts[: self.k], other.counts[: self.k]
        total = np.where(own + more > 0, own + more, 1.0)
        apart = other.means - self.means
        # Not the mean of the two weighted: where they are the same that would round.
        means = self.means + (more / total)[:, None] * apart
        means = np.where((own > 0)[:, None], means, other.means)
        between = _products(own * more / total, apart, self.scatters.ndim - 1)
        if self.scatters.shape[0] != self.k:
            between = between.sum(axis=0, keepdims=True)
        return ComponentStatistics(
            self.num_rows + other.num_rows,
            self.weight + other.weight,
            self.counts + other.counts,
            means,
            self.scatters + other.scatters + between,
            tuple(a + b for a, b in zip(self.families, other.families, strict=True)),
        )

    def taken(self, order: NDArray[np.intp]) -> ComponentStatistics:
        """Those of the components in the given order; the noise stays the last."""
        own = self.scatters.shape[0] == self.k
        return replace(
            self,
            counts=np.append(self.counts[order], self.counts[self.k :]),
            means=self.means[order],
            scatters=self.scatters[order] if own else self.scatters,
            families=tuple(sums[order] for sums in self.families),
        )


def _products(weights: Array, vectors: Array, axes: int) -> Array:
    """Weights (k,) times the squares of vectors (k, d): as matrices, (k, d, d), column by column,
    (k, d), or summed, (k,)."""
    if axes == 2:
        return np.asarray(np.einsum("k,ki,kj->kij", weights, vectors, vectors))
    squares = weights[:, None] * vectors**2
    return np.asarray(squares if axes == 1 else squares.sum(axis=1))


@dataclass(frozen=True)
class Frame:
    """What the M-steps of a mixture have in common, from its fit on.

    standardisation : whose coordinates statistics are in
    floor : (d,) smallest standard deviation along each column, standardised
    prior : beside the rows; None for maximum likelihood
    """

    standardisation: Standardisation
    floor: Array
    prior: Prior | None = None


@dataclass(frozen=True)
class KeptStatistics:
    """What is kept beside the parameters of a mixture for updates by new rows."""

    statistics: ComponentStatistics
    frame: Frame


def component_statistics(
    statistics: Statistics, structure: Structure, scatter: Array | None = None
) -> ComponentStatistics:
    """The statistics of an E-step of one mixture of that structure, about its components' means.

    `scatter` (d, d), the weighted sum of z z', completes those of the kind "linear".
    """
    layout = statistics.layout
    everyone = slice(0, layout.num_components - layout.noise)
    counts = statistics.counts[everyone]
    there = counts > 0
    safe = np.where(there, counts, 1.0)
    shift = statistics.first[everyone] / safe[:, None]
    means = statistics.origins[everyone] + shift
    if not structure.shared:
        scatters = component_scatters(statistics, everyone, counts, shift)
    else:
        pooled = pooled_scatter(statistics, everyone, counts, means, shift, there, scatter)
        kept = {"full": pooled, "diagonal": np.diag(pooled), "spherical": np.trace(pooled)}
        scatters = np.array(kept[structure.kind])[None]
    return ComponentStatistics(
        float(statistics.num_rows),
        statistics.weight,
        np.array(statistics.counts),
        means,
        scatters,
        tuple(np.array(sums[everyone]) for sums in statistics.of_families),
    )


def maximised(statistics: ComponentStatistics, previous: Parameters, frame: Frame) -> MStep:
    """The M-step of a fit from statistics of components, see `m_step`; `previous` is what a
    component without rows keeps its mean and covariance from.

    Raises SingularCovarianceError where a covariance is singular and no floor stops it.
    """
    flat = _about_means(statistics, previous)
    everything = slice(0, flat.layout.num_components)
    step = m_step(flat, everything, previous, frame.floor, prior=frame.prior)
    if can_vanish(previous, frame.prior):
        step = replace(step, parameters=off_zero(step.parameters))
    return step


def updated(
    before: ComponentStatistics | None,
    new: ComponentStatistics,
    fading: float,
    previous: Parameters,
    frame: Frame,
) -> tuple[ComponentStatistics, MStep]:
    """The statistics of all rows after an update, and the parameters they lead to.

    Parameters
    ----------
    before : of the rows so far; None where there were none, the parameters having been given
    new : of the new rows, evaluated under `previous`
    fading : what the rows so far are multiplied by, from 0 to 1, as `fading_of` says it

    Raises SingularCovarianceError where a covariance is singular and no floor stops it.
    """
    found = new if before is None else before.faded(fading).merged(new)
    return found, maximised(found, previous, frame)


def fading_of(half_life: float, elapsed: float) -> float:
    """The share of their weight that statistics keep after some time, both in the same unit."""
    return float(0.5 ** (elapsed / half_life))


def _about_means(statistics: ComponentStatistics, of: Parameters) -> Statistics:
    """As a pass gives statistics, whose moments are about the components' means."""
    noise = of.noise is not None
    layout = Layout(of.structure.kind, of.d, (of.k + noise,), of.families, noise)
    scatters, k, d = statistics.scatters, of.k, of.d
    if of.structure.shared:  # of which the sum alone counts
        scatters = np.repeat(scatters / k, k, axis=0)
    if layout.kind == "full":
        scatters = scatters[(slice(None), *pairs(d))]
    elif layout.kind == "spherical":
        scatters = scatters[:, None]
    moments = np.zeros((layout.num_features, layout.num_components))
    moments[d] = statistics.counts
    moments[layout.second, :k] = scatters.T
    for at, sums in zip(layout.of_families, statistics.families, strict=True):
        moments[at, :k] = sums.T
    origins = np.zeros((layout.num_components, d))
    origins[:k] = statistics.means
    values = np.zeros(layout.size)
    # Which says what an average row weighs, and no more.
    values[:2] = max(1.0, statistics.num_rows), statistics.weight
    values[-moments.size :] = moments.ravel()
    return Statistics(layout, origins, values)
