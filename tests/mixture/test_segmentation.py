"""Segments chosen among mixtures, where the right ones are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gmm_spark.mixture.divisions import adjusted_rand_index, probabilities
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.segmentation import Choice, SampleFor, choose, sample_of
from gmm_spark.mixture.standardisation import describe_columns
from gmm_spark.mixture.structures import Structure, structure_named

STRUCTURES = [structure_named(name) for name in ("full", "diag")]


def sample_for_of(values: np.ndarray) -> SampleFor:
    """Samples of all rows of a table (d, n), as they stand."""

    def sample_for(structure: Structure, floor: float | None) -> Sample:
        columns = describe_columns(values, values.min(axis=1), values.max(axis=1), structure, floor)
        by = columns.standardisation
        return Sample(values, None, by, columns.floor / by.scale)

    return sample_for


def segments_of(choice: Choice, sample_for: SampleFor) -> np.ndarray:
    proposal = choice.chosen.proposal
    sample = sample_of(sample_for, proposal)
    return probabilities(proposal.parameters, proposal.clusters, sample).argmax(axis=0)


def groups(seed: int = 0, n: int = 600, apart: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    """Three normal groups in the plane."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    centres = apart * np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return centres[:, labels] + rng.normal(size=(2, n)), labels


def test_groups_that_are_plain_to_see_are_found_and_counted():
    values, labels = groups()
    sample_for = sample_for_of(values)
    choice = choose(sample_for, range(2, 6), STRUCTURES)
    assert choice.chosen.proposal.k == 3
    assert adjusted_rand_index(segments_of(choice, sample_for), labels) > 0.99
    assert choice.has_segments
    assert choice.chosen.figures.stability > 0.99
    assert all(one.why for one in choice.considered)


def test_one_group_is_said_to_be_one():
    values = np.random.default_rng(1).normal(size=(3, 800))
    choice = choose(sample_for_of(values), range(3, 6), STRUCTURES)
    assert not choice.has_segments
    assert "do not fall into groups" in choice.finding


def test_the_outcome_picks_among_two_divisions_that_are_as_good():
    rng = np.random.default_rng(2)
    n = 1200
    sides = rng.integers(2, size=(2, n))
    values = 8.0 * sides + rng.normal(size=(2, n))
    for column in (0, 1):
        outcome = (rng.random(n) < np.where(sides[column] == 1, 0.8, 0.2)).astype(float)
        sample_for = sample_for_of(values)
        choice = choose(sample_for, [2], STRUCTURES, outcome=outcome)
        found = segments_of(choice, sample_for)
        assert adjusted_rand_index(found, sides[column]) > 0.95
        assert choice.measured is not None
        assert choice.measured.spread == pytest.approx(0.6, abs=0.08)
        assert choice.measured.rows == n / 2


def test_the_same_seed_chooses_the_same():
    values, labels = groups(seed=3, apart=3.0)
    outcome = (labels == 1).astype(float)
    one, other = (
        choose(sample_for_of(values), [3, 4], STRUCTURES, outcome=outcome, seed=5) for _ in range(2)
    )
    assert one.chosen.figures == other.chosen.figures
    assert [c.why for c in one.considered] == [c.why for c in other.considered]
    assert_array_equal(one.chosen.proposal.parameters.means, other.chosen.proposal.parameters.means)
