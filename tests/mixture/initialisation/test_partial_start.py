"""A start of which only weights, means or covariances are given."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.families import Categorical, Noise
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.initialisation.multistart import search
from gmm_spark.mixture.initialisation.partial_start import PartialStart
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES

CENTRES = np.array([[0.0, 100.0], [8.0, 100.0], [0.0, 180.0]])
SHARES = 0.5, 0.3, 0.2


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Three groups of different sizes and widths, in units of 1 and of 10."""
    rng = np.random.default_rng(3)
    sizes = [round(600 * share) for share in SHARES]
    group = rng.permutation(np.repeat([0, 1, 2], sizes))
    width = np.array([1.0, 0.5, 2.0])[group]
    block = CENTRES[group].T + rng.normal(size=(2, 600)) * width * [[1.0], [10.0]]
    by = Standardisation(block.mean(axis=1), block.std(axis=1))
    return Sample(block, None, by, np.full(2, 1e-3))


def completed(sample: Sample, code: str = "VVV", k: int = 3, **parts: object) -> Parameters:
    structure = STRUCTURES[code]
    given = PartialStart(**{name: np.array(part, float) for name, part in parts.items()})
    given.checked(structure, k, sample.d)
    start = given.completed(
        sample, k, structure, lambda: search(sample, k, structure, num_init=2)[0]
    )
    return start.restored(sample.standardisation)


@pytest.mark.parametrize("code", STRUCTURES)
def test_means_alone_take_the_rows_nearest_to_them(sample, code) -> None:
    """In the order given; the rest is that of the groups."""
    if STRUCTURES[code].one_scale:
        sample = Sample(
            sample.values / [[1.0], [10.0]],
            None,
            Standardisation(np.zeros(2), np.ones(2)),
            np.full(2, 1e-3),
        )
    order = [2, 0, 1]
    means = (CENTRES + np.array([0.5, -5.0]))[order]
    if STRUCTURES[code].one_scale:
        means = means / [1.0, 10.0]
    start = completed(sample, code, means=means)
    assert_allclose(start.means, means)
    assert_allclose(start.weights, np.array(SHARES)[order], atol=0.01)
    if code == "VVV":
        deviations = np.sqrt(start.variances())
        assert_allclose(deviations, np.outer([2.0, 1.0, 0.5], [1.0, 10.0]), rtol=0.15)


def test_a_mean_far_from_all_rows_starts_with_a_little_weight(sample) -> None:
    start = completed(sample, means=[*CENTRES[:2], [500.0, 500.0]])
    assert_allclose(start.weights[2], 0.01, atol=1e-3)
    assert (start.variances() > 0).all()


@pytest.mark.parametrize("weights", [[0.2, 0.5, 0.3], [0.3, 0.2, 0.5]])
def test_weights_alone_are_those_of_the_groups_that_they_fit(sample, weights) -> None:
    start = completed(sample, weights=weights)
    assert_allclose(start.weights, weights)
    for weight, mean in zip(weights, start.means, strict=True):
        assert (np.abs(mean - CENTRES[SHARES.index(weight)]) < [0.5, 4.0]).all()


def test_covariances_alone_are_those_of_the_groups_that_they_fit(sample) -> None:
    spread = [np.diag([w**2, 100 * w**2]) for w in (0.5, 2.0, 1.0)]
    start = completed(sample, covariances=spread)
    assert_allclose(start.covariances, spread)
    assert_allclose(start.means, CENTRES[[1, 2, 0]], atol=4)
    assert_allclose(start.weights, [0.3, 0.2, 0.5], atol=0.03)


def test_parts_go_together_and_leave_room_for_noise(sample) -> None:
    noisy = Sample(
        sample.values,
        None,
        sample.standardisation,
        sample.floor,
        noise=Noise(0.1, np.log(np.full(2, 10.0))),
    )
    start = completed(noisy, weights=[0.2, 0.5, 0.3], means=CENTRES)
    assert_allclose(start.weights, 0.9 * np.array([0.2, 0.5, 0.3]))
    assert_allclose(start.means, CENTRES)


def test_categories_are_those_of_the_rows_nearest(sample) -> None:
    codes = (sample.values[:1] > 4).astype(float)
    mixed = Sample(
        np.concatenate([sample.values, codes]),
        None,
        sample.standardisation,
        sample.floor,
        families=(Categorical((2,)),),
    )
    start = completed(mixed, means=CENTRES)
    assert start.tables[0, 0] > start.tables[1, 0] + 0.2


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"weights": [0.5, 0.5, 0.5]}, "sum to 1, they sum to 1.5"),
        ({"weights": [0.5, 0.5]}, "do not match"),
        ({"means": [[0.0], [1.0], [2.0]]}, r"means have shape \(3, 1\), expected \(3, 2\)"),
        ({"means": CENTRES[:2]}, r"means have shape \(2, 2\), expected \(3, 2\)"),
        ({"means": [[0.0, np.nan]] * 3}, "not finite"),
        ({"covariances": [[1.0, 1.0]] * 3}, "covariances have shape"),
        ({"covariances": [np.zeros((2, 2))] * 3}, "a variance is not positive"),
    ],
)
def test_parts_of_no_mixture_are_refused(sample, parts, said) -> None:
    with pytest.raises(SettingError, match=said):
        completed(sample, **parts)


def test_weights_may_stand_beside_categories_alone() -> None:
    rows = np.random.default_rng(4).random(400) < 0.2
    codes = np.array([rows, rows, rows]).astype(float)
    by = Standardisation(np.zeros(0), np.ones(0))
    mixed = Sample(codes, None, by, np.zeros(0), families=(Categorical((2, 2, 2)),))
    structure = STRUCTURES["VVI"]
    start = PartialStart(weights=np.array([0.1, 0.9])).checked(structure, 2, 0)
    found = start.completed(
        mixed, 2, structure, lambda: Parameters.unit(structure, 2, 0, mixed.families)
    )
    assert_allclose(found.weights, [0.1, 0.9])
