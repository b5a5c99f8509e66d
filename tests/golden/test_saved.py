"""Models saved before the history of parameters was kept load, and score as they did.

In saved/ is a model of every golden kind, and in saved/scores.json what it made of the first rows
of the kind's table: log density, prediction and probabilities.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from numpy.testing import assert_allclose

from tests.golden.cases import TABLES

SAVED = Path(__file__).parent / "saved"
SCORES = json.loads((SAVED / "scores.json").read_text("utf-8"))


@pytest.mark.parametrize("case", TABLES)
def test_a_saved_model_scores_as_it_did(spark: Any, case: str) -> None:
    from gmm_spark import GaussianMixtureModel

    name = case.replace(" ", "_")
    expected = SCORES[name]
    model = GaussianMixtureModel.load(str(SAVED / name))
    assert model.getLogLikelihoodCol() == "density"
    assert model.summary.numPasses == len(model.summary.history) - 1
    rows = spark.createDataFrame(TABLES[case]().head(len(expected))).coalesce(1)
    found = model.transform(rows).select("density", "prediction", "probability").collect()
    assert [row["prediction"] for row in found] == [prediction for _, prediction, _ in expected]
    assert_allclose([row["density"] for row in found], [d for d, _, _ in expected], rtol=1e-12)
    probabilities = [list(row["probability"]) for row in found]
    assert_allclose(probabilities, [p for _, _, p in expected], rtol=1e-11, atol=1e-15)
