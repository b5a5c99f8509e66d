"""mclust's converged fits, replayed from its own hard assignments with the floor off."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmm_spark.mixture.kernel import array_pass
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import classic_set, fit, plain_scales, start_from_labels

# Of one column, mclust knows only equal (E) and varying (V) variances.
CODES = {"E": "EEE", "V": "VVV"}
MODELS = ("VVV", "VVI", "VII", "EEE", "EEI", "EII")
FITS = [
    *(
        (name, model)
        for name in ("faithful", "iris", "thyroid", "crabs", "wine13")
        for model in MODELS
    ),
    ("acidity", "E"),
    ("acidity", "V"),
]


@pytest.fixture(scope="module")
def references(shared_data):
    path = shared_data / "classic_gmm" / "reference" / "mclust_converged.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return {(record["dataset"], record["model"]): record for record in records}


def test_every_reference_of_a_known_structure_is_replayed(references):
    known = {key for key in references if CODES.get(key[1], key[1]) in STRUCTURES}
    assert known == set(FITS)


@pytest.mark.parametrize(("name", "model"), FITS)
def test_converges_to_mclust_from_its_start(name, model, references, shared_data):
    expected = references[name, model]
    block = classic_set(shared_data, name)
    k, d = expected["G"], expected["d"]
    assert block.shape == (d, expected["n"])
    structure = STRUCTURES[CODES.get(model, model)]
    by = plain_scales(block, structure)
    start = start_from_labels(block, np.array(expected["initial_classes"]) - 1, structure, by)

    ended = fit(array_pass(block), start, by, floor=np.zeros(d), tol=1e-13, max_iter=1000)

    assert ended.reason == "converged"
    assert ended.floored == ()
    assert_allclose(ended.log_likelihood, expected["loglik"], rtol=1e-6)
    found = ended.parameters.restored(by)
    assert_allclose(found.weights, expected["weights"], rtol=1e-4)
    assert_allclose(found.means, np.reshape(expected["means"], (k, d)), rtol=1e-4)
    covariances = np.reshape(expected["covariances"], (k, d, d))
    # A covariance near zero is measured by the standard deviations it stands between.
    deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    units = deviations[:, :, None] * deviations[:, None, :]
    assert_allclose(found.dense_covariances() / units, covariances / units, rtol=1e-4, atol=1e-6)
    assert found.num_free_parameters == expected["df"]
