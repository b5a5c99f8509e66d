"""Rows drawn from a mixture have its moments, and are the same wherever they are drawn."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gmm_spark.engine.sampling import BLOCK, Sampling, draw
from gmm_spark.mixture.families import Categorical, Category, Count, FamilyColumns, Noise, Range
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import CODES

FULL = np.array([[[1.0, 0.6], [0.6, 4.0]], [[9.0, -2.0], [-2.0, 1.0]]])
BLOCKS = 12
FAMILIES = Categorical((3,)), Count(1)


def mixture(code: str) -> Parameters:
    """Of two components and noise, of two numbers, a category of three values and a count."""
    structure = STRUCTURES[code]
    covariances = {
        "full": FULL,
        "diagonal": np.diagonal(FULL, axis1=1, axis2=2),
        "spherical": np.array([2.0, 0.5]),
    }[structure.kind]
    return Parameters(
        structure,
        np.array([0.5, 0.3]),
        np.array([[0.0, 1e6], [5.0, -3.0]]),
        covariances[0] if structure.shared else covariances,
        FAMILIES,
        (np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]]), np.array([[0.5], [40.0]])),
        Noise(
            0.2,
            np.log([20.0, 4.0]),
            np.array([-10.0, 2.0]),
            (Range(np.log([3.0]), np.zeros(1)), Range(np.log([5.0]), np.array([3.0]))),
        ),
    )


@pytest.mark.parametrize("code", CODES)
def test_the_moments_are_those_of_the_parameters(code) -> None:
    """Within five standard errors, of about 98,000 rows."""
    parameters = mixture(code)
    parts = [draw(parameters, 1, number) for number in range(BLOCKS)]
    component = np.concatenate([part[0] for part in parts])
    values = np.concatenate([part[1] for part in parts], axis=1)
    codes, counts = (np.concatenate([part[2][i] for part in parts], axis=1) for i in (0, 1))
    n = component.size
    weights = np.append(parameters.weights, 0.2)
    for k, weight in zip((0, 1, -1), weights, strict=True):
        assert abs((component == k).mean() - weight) < 5 * np.sqrt(weight * (1 - weight) / n)
    for k, covariance in enumerate(parameters.dense_covariances()):
        mine = component == k
        size, deviations = mine.sum(), np.sqrt(np.diagonal(covariance))
        mean = values[:, mine].mean(axis=1)
        assert_allclose((mean - parameters.means[k]) / deviations, 0, atol=5 / np.sqrt(size))
        found = np.cov(values[:, mine] - parameters.means[k][:, None])
        errors = (found - covariance) / np.outer(deviations, deviations)
        assert_allclose(errors, 0, atol=5 * np.sqrt(2 / size))
        shares = np.bincount(codes[0, mine].astype(int), minlength=3) / size
        assert_allclose(shares, parameters.tables[k], atol=5 * 0.5 / np.sqrt(size))
        rate = parameters.rates[k, 0]
        assert abs(counts[0, mine].mean() - rate) < 5 * np.sqrt(rate / size)
        assert abs(counts[0, mine].var() - rate) < 5 * np.sqrt((rate + 2 * rate**2) / size)
    noise = component == -1
    size = noise.sum()
    box = values[:, noise]
    assert (box >= [[-10.0], [2.0]]).all()
    assert (box <= [[10.0], [6.0]]).all()
    errors = (box.mean(axis=1) - [0.0, 4.0]) / (np.array([20.0, 4.0]) / np.sqrt(12))
    assert_allclose(errors, 0, atol=5 / np.sqrt(size))
    for seen in (counts[0, noise] - 3, codes[0, noise]):
        values_seen, rows = np.unique(seen, return_counts=True)
        assert values_seen.tolist() == list(range(len(values_seen)))
        assert_allclose(rows / size, 1 / len(values_seen), atol=5 * 0.5 / np.sqrt(size))
    assert np.unique(counts[0, noise]).tolist() == [3, 4, 5, 6, 7]


def rows_of(work: Sampling, *tasks: list[int]) -> pa.Table:
    batches = [b for task in tasks for b in work([pa.record_batch({"id": task})])]
    return pa.Table.from_batches(batches)


def test_rows_are_the_same_however_they_are_shared_out_and_however_many() -> None:
    category = Category("kind", ("a", "b", "(other)"), other=True)
    columns = (
        FamilyColumns(FAMILIES[0], ("kind",), (category,)),
        FamilyColumns(FAMILIES[1], ("calls",)),
    )
    many = Sampling(mixture("VVV"), columns, False, 2 * BLOCK + 100, 5)
    whole = rows_of(many, [0, 1, 2])
    assert whole.num_rows == 2 * BLOCK + 100
    assert rows_of(many, [0], [1, 2]).equals(whole)
    fewer = Sampling(mixture("VVV"), columns, False, 50, 5)
    assert rows_of(fewer, [0]).equals(whole.slice(0, 50).combine_chunks())
    other = Sampling(mixture("VVV"), columns, False, 50, 6)
    assert not rows_of(other, [0]).equals(rows_of(fewer, [0]))
    assert set(whole.column(2).to_pylist()) == {"a", "b", "(other)"}


def test_a_component_without_weight_has_no_rows() -> None:
    dead = Parameters(STRUCTURES["VII"], np.array([0.0, 1.0]), np.zeros((2, 1)), np.ones(2))
    component, values, others = draw(dead, 0, 0)
    assert_array_equal(component, 1)
    assert (values.shape, others) == ((1, BLOCK), [])


def test_the_box_of_the_noise_moves_with_the_coordinates() -> None:
    from gmm_spark.mixture.parameters import Standardisation

    by = Standardisation(np.array([3.0, -2.0]), np.array([2.0, 0.5]))
    parameters = mixture("VVI")
    there = parameters.standardised(by)
    assert_allclose(there.noise.lowest, [(-10.0 - 3) / 2, (2.0 + 2) / 0.5])
    assert_allclose(there.restored(by).noise.lowest, [-10.0, 2.0])
    assert_array_equal(parameters.marginal(np.array([1])).noise.lowest, [2.0])
