"""Parameters in other units, and densities, whatever the mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import structure_named


@st.composite
def mixtures(draw: Any) -> tuple[Parameters, Standardisation]:
    """A mixture in the user's units, and scales that are not far from its own."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    structure = structure_named(draw(st.sampled_from(["VVV", "EEE", "VVI", "EEI", "VII", "EII"])))
    k, d = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    units = np.full(d, 10.0 ** draw(st.integers(-6, 6)))
    if structure.code[1:] != "II":
        units = units * 10.0 ** rng.integers(-2, 3, d)
    factors = rng.normal(size=(k, d, d)) + 2 * np.eye(d)
    full = np.einsum("kij,klj->kil", factors, factors) * units[:, None] * units
    covariances = {
        "VVV": full,
        "EEE": full[0],
        "VVI": np.diagonal(full, axis1=1, axis2=2),
        "EEI": np.diag(full[0]),
        "VII": full[:, 0, 0],
        "EII": full[0, 0, 0],
    }[structure.code]
    means = rng.normal(size=(k, d)) * 3 * units
    by = Standardisation(means.mean(axis=0), units * rng.uniform(0.5, 2))
    weights = rng.dirichlet(np.ones(k) * 3)
    return Parameters(structure, weights, means, np.array(covariances)).validated(), by


@given(mixtures())
def test_standardising_and_restoring_is_nothing(case) -> None:
    parameters, by = case
    found = parameters.standardised(by).restored(by)
    assert_allclose(found.means, parameters.means, rtol=1e-12, atol=1e-12 * by.scale.max())
    assert_allclose(found.covariances, parameters.covariances, rtol=1e-12)


@given(mixtures(), st.integers(0, 2**32))
def test_the_kernel_gives_the_density_of_the_mixture(case, seed) -> None:
    parameters, by = case
    rng = np.random.default_rng(seed)
    rows = parameters.means[rng.integers(parameters.k, size=20)]
    rows = rows + rng.normal(size=rows.shape) * np.sqrt(parameters.variances()).max(axis=0)
    kernel = BlockKernel(natural_parameters([parameters.standardised(by)], by))
    found = kernel.log_densities(rows.T) - by.log_volume
    components = zip(
        parameters.weights, parameters.means, parameters.dense_covariances(), strict=True
    )
    expected = np.logaddexp.reduce(
        [
            np.log(weight) + multivariate_normal(mean, covariance).logpdf(rows)
            for weight, mean, covariance in components
        ]
    )
    assert_allclose(found, expected, rtol=1e-9, atol=1e-7)
