"""The log density that a share of the rows lies under, where the sample is all of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gmm_spark.engine.density_quantile import density_quantile
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES


@pytest.mark.parametrize("share", [0.05, 0.1, 0.07])
def test_the_unit_of_the_weights_makes_no_difference(share: float) -> None:
    rows = np.random.default_rng(0).normal(size=(1, 120))
    evaluator = natural_parameters(
        [Parameters.unit(STRUCTURES["VVV"], 1, 1)], Standardisation(np.zeros(1), np.ones(1))
    )
    source: Any = None
    found = set()
    for weight in (None, 0.37, 1 / 120, 1 / 3, 1e9):
        weights = None if weight is None else np.full(120, weight)
        scan: Any = SimpleNamespace(sample=rows, sample_weights=weights, num_rows=120)
        found.add(density_quantile(source, scan, evaluator, share))
    # log N(x) of the row that ceil(120 share) rows are as far out as.
    distance = np.sort(np.abs(rows[0]))[-int(np.ceil(120 * share - 1e-9))]
    assert len(found) == 1
    assert found.pop() == pytest.approx(-0.5 * (distance**2 + np.log(2 * np.pi)), rel=1e-12)
