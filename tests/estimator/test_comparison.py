"""Two models over one table: a model fitted anew, and rows by the segments of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from gmm_spark import GaussianMixtureModel
from gmm_spark.comparison import compare_models
from gmm_spark.refit import refitted

CENTRES = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(rng.normal(np.repeat(CENTRES, 80, axis=0)), columns=["a", "raw"])
    frame.loc[3, "a"] = np.nan
    return frame


def model(means: np.ndarray, missing: str) -> GaussianMixtureModel:
    k = len(means)
    found = GaussianMixtureModel.fromParameters(
        np.full(k, 1 / k), means, np.tile(np.eye(2), (k, 1, 1)), inputCols=["a", "b_prepared"]
    )
    return found.setMissing(missing)


def posterior(rows: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    density = np.array([multivariate_normal(m, np.eye(2)).pdf(rows) for m in means]) / len(means)
    return density / density.sum(axis=0), np.log(density.sum(axis=0))


def test_rows_are_summed_by_both_models_whatever_each_calls_its_columns(spark, table) -> None:
    """Both call what they prepared `b_prepared`, of other expressions."""
    old = model(CENTRES, "skip").setInputExpressions(["raw AS b_prepared"])
    means = np.array([[0.0, 2.0], [5.0, 1.0]])
    new = model(means, "skip").setInputExpressions(["raw + 1 AS b_prepared"])
    found = compare_models(spark.createDataFrame(table).repartition(3), old, new)
    rows = table.dropna().to_numpy()
    (p, old_density), (q, new_density) = (
        posterior(rows, CENTRES),
        posterior(rows + np.array([0, 1]), means),
    )
    assert_allclose(found.joint, p @ q.T, rtol=1e-9)
    modal = np.zeros((3, 2))
    np.add.at(modal, (p.argmax(axis=0), q.argmax(axis=0)), 1)
    assert (found.modal == modal).all()
    assert_allclose(found.log_density, [old_density.sum(), new_density.sum()], rtol=1e-9)
    assert (found.rows, found.unscored) == (239, 1)


def test_a_model_is_fitted_anew_with_its_settings_and_numbers(spark, table, tmp_path: Path) -> None:
    champion = model(CENTRES[[2, 0, 1]], "marginalize")
    champion.setInputExpressions(["raw AS b_prepared"])
    moved = table.assign(b_prepared=table["raw"] + 1)
    kept = tmp_path / "checkpoint"
    found = refitted(champion, spark.createDataFrame(moved), checkpoint_dir=str(kept))
    assert any(kept.iterdir())
    assert_allclose(found.means, CENTRES[[2, 0, 1]] + [0, 1], atol=0.4)
    assert found.getInputExpressions() == ["raw AS b_prepared"]
    assert (found.getMissing(), found.getInputCols()) == ("marginalize", ["a", "b_prepared"])
    assert found.summary.candidates[0]["why"] == "is the one there was, fitted anew"
