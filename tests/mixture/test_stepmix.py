"""Latent classes and mixed data end where StepMix ends from the same start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from stepmix.stepmix import StepMix

from gmm_spark.mixture.families import Categorical
from gmm_spark.mixture.kernel import BlockKernel, array_pass
from gmm_spark.mixture.m_step import m_step
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import fit

SAMPLE = Path(__file__).resolve().parents[2] / "sample" / "telco_churn"
CATEGORIES = ["contract", "internet_service", "payment_method", "multiple_lines"]
NUMBERS = ["tenure", "monthly_charges"]


class FromLabels(StepMix):
    """StepMix whose EM starts with the M-step of given labels on rows without gaps."""

    def started_from(self, labels: np.ndarray, complete: np.ndarray) -> FromLabels:
        self.labels, self.complete = labels, complete
        return self

    def _initialize_parameters(self, X, random_state):
        responsibilities = np.eye(self.n_components)[self.labels]
        self.log_resp_ = np.log(np.maximum(responsibilities, 1e-300))
        self.weights_ = responsibilities.mean(axis=0)
        self._initialize_parameters_measurement(self.complete, random_state)
        self._m_step(self.complete, responsibilities)


def rows_of(numbers: list[str]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Customers as numbers of unit deviation and codes, (d + q, n), and the categories' sizes."""
    table = pd.read_parquet(SAMPLE)
    coded = [table[name].astype("category").cat.codes.to_numpy(float) for name in CATEGORIES]
    levels = tuple(int(codes.max()) + 1 for codes in coded)
    numeric = [((table[n] - table[n].mean()) / table[n].std()).to_numpy(float) for n in numbers]
    return np.array([*numeric, *coded]), levels


@pytest.mark.parametrize("gaps", [0.0, 0.1])
@pytest.mark.parametrize("numbers", [[], NUMBERS])
@pytest.mark.parametrize("k", [2, 3])
def test_same_start_same_end(k: int, numbers: list[str], gaps: float) -> None:
    complete, levels = rows_of(numbers)
    gone = np.random.default_rng(1).random(complete.shape) < gaps
    block = np.where(gone, np.nan, complete)
    d, structure = len(numbers), STRUCTURES["VVI"]
    # By something else, so that no value is impossible in a class: EM would leave it so.
    table = pd.read_parquet(SAMPLE)
    labels = np.minimum(table["partner"] + table["dependents"], k - 1).to_numpy()

    ending = "_nan" if gaps else ""
    descriptor: dict = {
        "codes": {"model": f"categorical{ending}", "n_columns": len(levels)},
    }
    if d:
        descriptor = {
            "numbers": {"model": f"gaussian_diag{ending}", "n_columns": d},
            **descriptor,
        }
    if d and not gaps:
        descriptor["numbers"]["reg_covar"] = 0.0
    peer = FromLabels(
        k,
        measurement=descriptor,
        abs_tol=1e-13,
        max_iter=5000,
        progress_bar=0,
    ).started_from(labels, complete.T)
    peer.fit(pd.DataFrame(block.T))

    by = Standardisation(np.zeros(d), np.ones(d))
    unit = Parameters.unit(structure, k, d, (Categorical(levels),))
    kernel = BlockKernel(natural_parameters([unit], by))
    kernel.add_labelled(complete, labels, None)
    start = m_step(kernel.statistics(), slice(0, k), unit, np.zeros(d)).parameters
    found = fit(
        array_pass(block),
        start,
        by,
        floor=np.zeros(d),
        tol=1e-13,
        max_iter=5000,
        has_missing=bool(gaps and d),
    )
    n = block.shape[1]
    assert_allclose(found.log_likelihood / n, peer.score(pd.DataFrame(block.T)), rtol=1e-5)
    parameters = peer.get_parameters()
    assert_allclose(found.parameters.weights, parameters["weights"], atol=1e-5)
    measured = parameters["measurement"]
    tables = measured["codes"]["pis"]
    # StepMix keeps a column for as many values as the category with most has.
    width = tables.shape[1] // len(levels)
    expected = np.concatenate(
        [tables[:, i * width : i * width + n_levels] for i, n_levels in enumerate(levels)], axis=1
    )
    assert_allclose(found.parameters.tables, expected, atol=1e-5)
    if d:
        assert_allclose(found.parameters.means, measured["numbers"]["means"], atol=1e-5)
        assert_allclose(found.parameters.covariances, measured["numbers"]["covariances"], atol=1e-4)
