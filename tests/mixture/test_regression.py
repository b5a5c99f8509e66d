"""Mixture regression beside column means and linear regression, on rows that were not fitted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmm_spark.engine.scoring import central
from gmm_spark.mixture.families import Categorical
from gmm_spark.mixture.families.categorical import split_tables
from gmm_spark.mixture.imputation import Imputer
from gmm_spark.mixture.spec import Spec
from gmm_spark.training import fit_arrays
from tests.mixture.reference import telco
from tests.mixture.test_explanations import log_joint
from tests.mixture.test_mixed import parameters_of, rows_of


def errors(fitted: np.ndarray, others: np.ndarray, column: int, truth: np.ndarray, k: int) -> list:
    """Root mean square errors of the fitted rows' mean, of linear regression and of a mixture."""
    given = [place for place in range(len(fitted)) if place != column]
    design = [np.vstack([part[given], np.ones(part.shape[1])]).T for part in (fitted, others)]
    slopes = np.linalg.lstsq(design[0], fitted[column], rcond=None)[0]
    parameters = fit_arrays(fitted, Spec(k=k, seed=1)).parameters
    gappy = np.array(others)
    gappy[column] = np.nan
    mixture = Imputer(parameters, central(parameters)).expected(gappy)[0][column]
    found = fitted[column].mean(), design[1] @ slopes, mixture
    return [float(np.sqrt(np.mean((each - truth) ** 2))) for each in found]


def test_it_recovers_a_curve_that_a_line_cannot() -> None:
    """y = sin 2x and a deviation of 0.1: what is left is a third of that."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-3, 3, 1200)
    rows = np.stack([x, np.sin(2 * x) + 0.1 * rng.normal(size=1200)])
    mean, line, mixture = errors(rows[:, :800], rows[:, 800:], 1, np.sin(2 * x[800:]), 10)
    assert min(mean, line) > 0.6
    assert mixture < 0.05


@pytest.mark.parametrize(("column", "most"), [(0, 0.25), (1, 0.35), (2, 0.25)])
def test_held_out_customers_are_predicted_better_than_by_a_line(shared_data, column, most) -> None:
    rows = telco(shared_data)
    rows = rows[:, np.random.default_rng(1).permutation(rows.shape[1])]
    mean, line, mixture = errors(rows[:, :3500], rows[:, 3500:], column, rows[column, 3500:], 4)
    assert line < mean
    assert mixture < most * line


def test_probabilities_of_a_category_are_those_of_its_components() -> None:
    """Bayes' rule by scipy's densities, rows with gaps among them."""
    parameters = parameters_of("VVV")
    block = rows_of(parameters, 200, 0.2)
    block[4] = np.nan
    joint = np.exp(log_joint(parameters, block))
    place = [type(family) for family in parameters.families].index(Categorical)
    table = split_tables(parameters.family_parameters[place], parameters.levels)[1]
    found = Imputer(parameters, central(parameters)).probabilities(block, 4)
    assert_allclose(found, table.T @ (joint / joint.sum(axis=0)), rtol=1e-9)
    assert_allclose(found.sum(axis=0), 1, rtol=1e-12)
