"""Data and a fit that several tests of the estimator use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.estimator.helpers import table


@pytest.fixture(scope="session")
def groups() -> np.ndarray:
    """300 rows of two columns in three groups of 150, 100 and 50, in no order."""
    rng = np.random.default_rng(12)
    centres = np.repeat([[0.0, 0.0], [9.0, 2.0], [3.0, 14.0]], [150, 100, 50], axis=0)
    rows = centres + rng.normal(size=(300, 2)) @ np.array([[1.0, 0.4], [0.0, 0.8]])
    return rng.permutation(rows)


@pytest.fixture(scope="session")
def frame(spark: Any, groups: np.ndarray) -> Any:
    """The groups as a DataFrame of columns x and y, in two partitions."""
    return table(spark, groups, ["x", "y"], partitions=2)


@pytest.fixture(scope="session")
def model(frame: Any) -> Any:
    """Three components fitted to the frame."""
    from gmm_spark import GaussianMixture

    return GaussianMixture(k=3, inputCols=["x", "y"], seed=1).fit(frame)
