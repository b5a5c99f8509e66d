"""Real customers: months with point masses at 1 and 72, and a total that is nearly tenure times
charges. Every fit of 2 to 8 segments has to end well, whatever its seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmm_spark.mixture.spec import Spec
from gmm_spark.training import fit_arrays
from tests.mixture.reference import log_joint, log_likelihood, telco

SEEDS = range(10)
pytestmark = pytest.mark.long  # seventy fits


@pytest.fixture(scope="module")
def customers(shared_data):
    return telco(shared_data)


@pytest.fixture(scope="module")
def fits(customers):
    """Fits already run, by k and seed."""
    done = {}

    def fitted(k, seed):
        if (k, seed) not in done:
            done[k, seed] = fit_arrays(customers, Spec(k=k, seed=seed))
        return done[k, seed]

    return fitted


def unreported(found, columns, customers):
    """Components and columns in which a component is narrower than its column tells values
    apart, and the fit does not say so."""
    joint = log_joint(found.parameters.restored(columns.standardisation), customers.T)
    shares = np.exp(joint - joint.max(axis=0))
    shares /= shares.sum(axis=0)
    reported = {(f.component, j) for f in found.floored for j in f.columns}
    silent = []
    for component, share in enumerate(shares):
        centre = customers @ share / share.sum()
        spread = np.sqrt((customers - centre[:, None]) ** 2 @ share / share.sum())
        narrow = np.flatnonzero(spread < 0.9 * columns.floor)
        silent += [(component, j) for j in narrow if (component, j) not in reported]
    return silent


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", range(2, 9))
def test_every_fit_converges_and_reports_its_point_masses(k, seed, customers, fits):
    done = fits(k, seed)
    found, columns = done.fit, done.columns
    assert found.reason == "converged"
    accepted = [record for record in found.history if record.kind != "rejected"]
    mean = np.array([record.mean_log_likelihood for record in accepted])
    assert (np.diff(mean) >= -1e-9 * np.abs(mean[1:])).all()

    parameters = found.parameters.restored(columns.standardisation)
    expected = log_likelihood(parameters, customers.T)
    assert_allclose(found.log_likelihood, expected, rtol=1e-9)

    assert unreported(found, columns, customers) == []


def test_new_customers_are_a_reported_point_mass_of_independent_columns(customers):
    done = fit_arrays(customers, Spec(k=8, covariance_type="VVI"))
    found, columns = done.fit, done.columns
    parameters = found.parameters.restored(columns.standardisation)
    # Those of the first month with the cheapest contract.
    first_month = [f.component for f in found.floored]
    assert [f.columns for f in found.floored] == [(0,)]
    assert (np.abs(parameters.means[first_month, 0] - 1) < 0.05).all()
    assert list(np.round(parameters.means[first_month, 1])) == [20]
    # The highest known; searches that tried fewer moves ended up to 173 lower.
    assert found.log_likelihood > -62_936
    # Held at the resolution of months.
    assert_allclose(parameters.covariances[first_month, 0], 1 / 12, rtol=1e-9)
    assert unreported(found, columns, customers) == []
    silent = replace(found, floored=())
    assert sorted(j for j, _ in unreported(silent, columns, customers)) == first_month


def test_the_best_likelihood_grows_with_the_number_of_segments(fits):
    best = [max(fits(k, seed).fit.log_likelihood for seed in SEEDS) for k in range(2, 9)]
    assert (np.diff(best) > 0).all()
