"""Rows far from every component, where float64 holds neither the squares nor, beside these, the
terms that tell one component from another.

With s the largest coordinate of a row and u = z / s, a log joint density is a polynomial in s,
-u'Pu/2 s^2 + u'P mu s + c. The component whose leading coefficient is largest stands for the
others to be compared with, coefficient by coefficient: where two covariances are the same, the
squares cancel exactly, and the means decide, as they do in infinite precision.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import structure_named
from gmm_spark.mixture.whitening import inverse_factors

# Beyond so many scales from the centre the expansion of the quadratic rounds noticeably.
FAR = 1e6
# Log densities under this are not told apart.
LEAST_LOG_DENSITY = -np.finfo(float).max
# What the log of a probability of 0 is taken for is under this.
_LOG_ZERO = -1e299


def log_joint_far(parameters: Parameters, by: Standardisation, block: Array) -> tuple[Array, Array]:
    """Log joint densities of rows of a block (..., m), in the user's units, under `parameters`,
    standardised `by`: differences to the largest, (K, m), and the largest, (m,), of the
    standardised row, finite. Gaps are integrated out; the noise, where there is one, comes last.
    """
    d, m = parameters.d, block.shape[1]
    others = _without_numbers(parameters, block[d:])
    noise = 0 if parameters.noise is None else 1
    differences = np.empty((parameters.k + noise, m))
    largest = np.empty(m)
    z = (block[:d] - by.centre[:, None]) / by.scale[:, None]
    patterns, which = np.unique(np.isnan(z).T, axis=0, return_inverse=True)
    for number, gaps in enumerate(patterns):
        rows = np.flatnonzero(which.ravel() == number)
        known = np.flatnonzero(~gaps)
        part = parameters.marginal(known)
        found = _of_pattern(part, z[np.ix_(known, rows)], others[:, rows])
        differences[:, rows], largest[rows] = found
        # A gap is in no units: the density of what is known is not one of all columns.
        largest[rows] += np.log(by.scale[gaps]).sum()
    return differences, np.maximum(largest, LEAST_LOG_DENSITY)


def _without_numbers(parameters: Parameters, block: Array) -> Array:
    """Log weights, and what the families' rows of a block say, (K, m)."""
    none: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
    k, unit = parameters.k, Standardisation(np.zeros(0), np.zeros(0))
    part = replace(
        parameters.marginal(none),
        structure=structure_named("diag"),
        covariances=np.zeros((k, 0)),
    )
    return BlockKernel(natural_parameters([part], unit)).log_joint(block)


def _of_pattern(parameters: Parameters, z: Array, others: Array) -> tuple[Array, Array]:
    k, (d, m) = parameters.k, z.shape
    reach = np.maximum(np.abs(z).max(axis=0, initial=0.0), 1.0)
    u = z / reach
    covariances = parameters.dense_covariances()
    deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    whitening = inverse_factors(covariances, deviations)
    precisions = whitening.swapaxes(1, 2) @ whitening
    shifted = np.einsum("kij,kj->ki", precisions, parameters.means)
    log_roots = np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(axis=1)
    constants = log_roots - 0.5 * d * np.log(2 * np.pi)
    constants -= 0.5 * np.einsum("ki,ki->k", parameters.means, shifted)
    constant = others.copy()
    constant[:k] += constants[:, None]
    possible = others > _LOG_ZERO
    possible |= ~possible.any(axis=0)
    one = np.zeros_like(others)
    two = np.zeros_like(others)
    for component in range(k):
        whitened = whitening[component] @ u
        two[component] = -0.5 * np.einsum("ij,ij->j", whitened, whitened)
        one[component] = shifted[component] @ u
    if parameters.noise is not None:
        constant[k] += parameters.noise.log_density
        precisions = np.concatenate([precisions, np.zeros((1, d, d))])
        shifted = np.concatenate([shifted, np.zeros((1, d))])
    compared = np.where(possible, two, -np.inf).argmax(axis=0)
    differences = np.empty_like(others)
    with np.errstate(over="ignore"):
        for component in np.unique(compared):
            rows = np.flatnonzero(compared == component)
            v, s = u[:, rows], reach[rows]
            squares = np.einsum("im,kij,jm->km", v, precisions - precisions[component], v)
            lines = (shifted - shifted[component]) @ v
            apart = s * (lines - 0.5 * s * squares)
            differences[:, rows] = apart + constant[:, rows] - constant[component, rows]
        differences = np.where(possible, differences, -np.inf)
        differences = np.minimum(differences, -LEAST_LOG_DENSITY)
        at = compared, np.arange(m)
        largest = reach * (reach * two[at] + one[at]) + constant[at] + differences.max(axis=0)
    differences -= differences.max(axis=0)
    return differences, np.maximum(largest, LEAST_LOG_DENSITY)
