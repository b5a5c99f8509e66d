"""mclust's converged fits, replayed from its own hard assignments with the floor off.

Where components share their axes but not their shapes (VVE, EVE), an M-step has several maxima, and
a fit may end in a higher optimum than mclust's.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmm_spark.mixture.kernel import array_pass
from gmm_spark.mixture.spec import Spec
from gmm_spark.mixture.structures import STRUCTURES
from gmm_spark.training import fit_arrays
from tests.mixture.reference import CODES as SIX
from tests.mixture.reference import (
    classic_set,
    fit,
    plain_scales,
    start_from_labels,
)

# Of one column, mclust knows only equal (E) and varying (V) variances.
CODES = {"E": "EEE", "V": "VVV"}
EIGHT = ("EVI", "VEI", "EEV", "VEV", "EVV", "VVE", "EVE", "VEE")
FITS = [
    *(
        (name, model)
        for name in ("faithful", "iris", "thyroid", "crabs", "wine13")
        for model in (*SIX, *EIGHT)
    ),
    ("acidity", "E"),
    ("acidity", "V"),
]


@pytest.fixture(scope="module")
def references(shared_data):
    found = {}
    for name in ("mclust_converged.jsonl", "mclust_other_structures.jsonl"):
        path = shared_data / "classic_gmm" / "reference" / name
        records = map(json.loads, path.read_text().splitlines())
        found |= {(record["dataset"], record["model"]): record for record in records}
    return found


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

    ended = fit(array_pass(block), start, by, floor=np.zeros(d), tol=1e-13, max_iter=3000)

    assert ended.reason == "converged"
    assert ended.floored == ()
    gains = np.diff([record.objective for record in ended.history])
    assert gains.min() > -1e-12
    found = ended.parameters.restored(by)
    assert found.num_free_parameters == expected["df"]
    if ended.log_likelihood > expected["loglik"] + 1e-6 * abs(expected["loglik"]):
        assert model in ("VVE", "EVE")
        return
    assert_allclose(ended.log_likelihood, expected["loglik"], rtol=1e-6)
    assert_allclose(found.weights, expected["weights"], rtol=1e-4)
    assert_allclose(found.means, np.reshape(expected["means"], (k, d)), rtol=1e-4)
    covariances = np.reshape(expected["covariances"], (k, d, d))
    # A covariance near zero is measured by the standard deviations it stands between.
    deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    units = deviations[:, :, None] * deviations[:, None, :]
    # mclust's steps within an M-step end sooner: its likelihood is lower, in the twelfth digit.
    near = 1e-6 if model not in EIGHT else 1e-4
    assert_allclose(found.dense_covariances() / units, covariances / units, rtol=1e-4, atol=near)


@pytest.mark.long
@pytest.mark.parametrize(("name", "model"), [key for key in FITS if key[1] in EIGHT])
def test_the_default_start_is_no_worse_than_mclusts(name, model, references, shared_data):
    expected = references[name, model]["loglik"]
    k = references[name, model]["G"]
    found = fit_arrays(classic_set(shared_data, name), Spec(k=k, covariance_type=model)).fit
    assert found.log_likelihood > expected - 1e-6 * abs(expected)
