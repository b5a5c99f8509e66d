"""The sample data of Spark's own Gaussian mixture, two ellipses that cross at one centre."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.cluster import KMeans

from gmm_spark.mixture.kernel import array_pass
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import fit, plain_scales, start_from_labels

pytestmark = pytest.mark.long  # hundreds of steps of plain EM


@pytest.mark.parametrize(
    ("k", "log_likelihood", "weights"),
    [
        (2, -7127.222695, [0.910657, 0.089343]),
        (3, -6928.865334, [0.610656, 0.206392, 0.182953]),
    ],
)
def test_from_k_means_em_ends_where_scikit_learn_does(
    shared_data, k, log_likelihood, weights
) -> None:
    """The figures of the README beside the data: the best of twenty runs, all from k-means."""
    block = np.loadtxt(shared_data / "spark_gmm" / "gmm_data.txt").T
    labels = KMeans(k, n_init=1, random_state=0).fit(block.T).labels_
    by = plain_scales(block, STRUCTURES["VVV"])
    start = start_from_labels(block, labels, STRUCTURES["VVV"], by)
    # Plain EM: longer steps find the better optimum that the default start ends in.
    found = fit(
        array_pass(block), start, by, floor=np.zeros(2), tol=1e-11, max_iter=500,
        acceleration="none",
    )  # fmt: skip
    assert found.reason == "converged"
    assert_allclose(found.log_likelihood, log_likelihood, rtol=0, atol=1e-3)
    assert_allclose(np.sort(found.parameters.weights)[::-1], weights, rtol=0, atol=1e-4)
