"""Natural parameters: candidates as rows of Theta, log w_k + log density being theta . T(x).

The expansion of a quadratic form loses accuracy where a component is far from the centre or
nearly singular. Such components are *centred*: evaluated as |W (x - mu)|^2, and their statistics
are kept about mu instead of the common centre.

The noise, a uniform component, is one more row of Theta, whose only term is the constant.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gmm_spark.mixture.missing import Completion
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.statistics import Layout, Statistics, pairs
from gmm_spark.mixture.whitening import inverse_factors

# The log of the weight of a dead component: finite, so that matrix products stay finite.
LOG_ZERO = -1e300
# Rounding the expansion may add to a log density near its component.
_EXPANSION_ERROR = 1e-8


@dataclass(frozen=True)
class CentredComponent:
    """A component evaluated as log_constant - |W (z - mean)|^2 / 2."""

    index: int
    mean: Array  # (d,)
    whitening: Array  # (d, d), W' W the inverse covariance
    log_constant: float


@dataclass(frozen=True)
class Evaluator:
    """Candidates in natural parameters, ready to be sent to where the rows are."""

    layout: Layout
    standardisation: Standardisation
    theta: Array  # (K, M)
    centred: tuple[CentredComponent, ...]
    precisions: Array | None  # of the kind "linear": (C, d, d)
    rounding: Array  # (K,) what the rounding of a covariance may change in a log density
    log_widths: Array | None = None  # (d,) of the noise's box, standardised
    completion: Completion | None = None  # where rows have gaps

    @property
    def origins(self) -> Array:
        origins = np.zeros((self.layout.num_components, self.layout.d))
        for component in self.centred:
            origins[component.index] = component.mean
        return origins

    def log_likelihoods(self, statistics: Statistics, scatter: Array | None) -> Array:
        """Log-likelihood of every candidate in standardised coordinates, (C,).

        `scatter` (d, d), the weighted sum of z z', completes those of the kind "linear".
        """
        if self.precisions is None:
            return np.array(statistics.log_likelihoods)
        if scatter is None:
            raise ValueError("the kind 'linear' needs the scatter of the data")
        quadratic = np.einsum("cij,ij->c", self.precisions, scatter)
        return statistics.log_likelihoods - 0.5 * quadratic


def natural_parameters(
    candidates: Sequence[Parameters],
    standardisation: Standardisation,
    *,
    linear: bool = False,
    gaps: bool = False,
) -> Evaluator:
    """Natural parameters of candidates of one structure, given in standardised coordinates.

    With `linear`, shared covariances are evaluated without their common quadratic; where a
    component is too ill-conditioned for the expansion, the structure's own terms are used.
    With `missing`, values may be NaN, and these are integrated out; `linear` is not for them, nor
    for noise, which has no quadratic.

    Raises SingularCovarianceError where a covariance is not positive definite.
    """
    structure, noise = candidates[0].structure, candidates[0].noise
    d, families = candidates[0].d, candidates[0].families
    weights = np.concatenate([c.all_weights for c in candidates])
    # In the place of the noise stands a unit normal until its row is written.
    one = 0 if noise is None else 1
    blank = np.zeros((one, d)), np.ones((one, 1, 1)) * np.eye(d)
    means = np.concatenate([part for c in candidates for part in (c.means, blank[0])])
    covariances = np.concatenate(
        [part for c in candidates for part in (c.dense_covariances(), blank[1])]
    )
    deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    whitening = inverse_factors(covariances, deviations)
    precisions = whitening.swapaxes(1, 2) @ whitening
    log_determinants = -2 * np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(axis=1)
    log_weights = _log(weights)
    log_constants = log_weights - 0.5 * (d * np.log(2 * np.pi) + log_determinants)

    reach = np.abs(means) + 3 * deviations
    magnitudes = np.einsum("ki,kij,kj->k", reach, np.abs(precisions), reach)
    ill_conditioned = magnitudes * np.finfo(float).eps > _EXPANSION_ERROR
    linear = linear and structure.shared and not gaps and noise is None
    linear = linear and not ill_conditioned.any()

    conditions = np.einsum("ki,kij,kj->k", deviations, np.abs(precisions), deviations)

    sizes = tuple(c.k + one for c in candidates)
    kind = "linear" if linear else structure.kind
    layout = Layout(kind, d, sizes, families, noise is not None)
    theta = np.zeros((layout.num_components, layout.num_features))
    shifted = np.einsum("kij,kj->ki", precisions, means)
    theta[:, :d] = shifted
    theta[:, d] = log_constants - 0.5 * np.einsum("ki,ki->k", means, shifted)
    if layout.kind == "full":
        rows, columns = pairs(d)
        theta[:, layout.second] = -precisions[:, rows, columns]
        theta[:, layout.second][:, rows == columns] *= 0.5
    elif layout.kind == "diagonal":
        theta[:, layout.second] = -0.5 * np.diagonal(precisions, axis1=1, axis2=2)
    elif layout.kind == "spherical":
        theta[:, d + 1] = -0.5 * precisions[:, 0, 0]
    own = np.delete(np.arange(layout.num_components), layout.noises)
    for place, (family, at) in enumerate(zip(families, layout.of_families, strict=True)):
        values = np.concatenate([c.family_parameters[place] for c in candidates])
        with np.errstate(divide="ignore"):
            theta[own, at] = np.maximum(family.natural(values), LOG_ZERO)
    if noise is not None:
        theta[layout.noises] = 0.0
        theta[layout.noises, d] = log_weights[layout.noises] + noise.log_density
        for family, at, where in zip(families, layout.of_families, noise.ranges, strict=True):
            theta[layout.noises, at] = family.uniform(where)
    centred = []
    for index in np.flatnonzero(ill_conditioned):
        theta[index, : layout.others.start] = 0.0
        centred.append(
            CentredComponent(
                int(index), means[index], whitening[index], float(log_constants[index])
            )
        )
    rounding = conditions * np.finfo(float).eps
    shared = None
    if linear:
        shared = np.stack([precisions[c.start] for c in layout.candidates()])
    completion = None
    if gaps:
        origins = np.where(ill_conditioned[:, None], means, 0.0)
        indices = tuple(component.index for component in centred)
        log_scale = np.log(standardisation.scale)
        completion = Completion(log_weights, means, covariances, origins, indices, log_scale)
    rounding[layout.noises] = 0.0
    log_widths = None if noise is None else noise.log_widths
    return Evaluator(
        layout, standardisation, theta, tuple(centred), shared, rounding, log_widths, completion
    )


def _log(probabilities: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(probabilities), LOG_ZERO)
