"""The choice of segments on rows in memory: honest figures, any order of rows, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import adjusted_rand_score, mutual_info_score

from gmm_spark.engine.merging import probabilities
from gmm_spark.engine.scoring import Scorer
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.families import Categorical
from gmm_spark.mixture.merging import cluster_probabilities
from gmm_spark.mixture.spec import Grid, Spec
from gmm_spark.segment_training import segment_arrays
from gmm_spark.training import FittedMixture

N = 1200
RNG = np.random.default_rng(8)
GROUP = RNG.choice(3, N, p=[0.5, 0.3, 0.2])
VALUES = np.array([[0.0, 0.0], [6.0, 1.0], [2.0, 7.0]])[GROUP].T + RNG.normal(size=(2, N))
# Of the first group two in three have a ring of their own: no normal distribution.
ANGLE = RNG.uniform(0, np.pi, N)
BENT = np.where(GROUP == 0, 3 * np.array([np.cos(ANGLE), np.sin(ANGLE) - 2]) + VALUES / 3, VALUES)
LEFT = (RNG.random(N) < np.array([0.05, 0.3, 0.7])[GROUP]).astype(float)
SOME_LEFT = np.where(RNG.random(N) < 0.2, np.nan, LEFT)


def grid(**more: Any) -> Grid:
    return Grid(**{"k": (3,), "criterion": "segmentation", **more})


def segments_of(found: FittedMixture, values: Any) -> Any:
    """The cluster of every row, as a model predicts it."""
    scorer = Scorer(found.parameters, "marginalize")
    of_components = probabilities(scorer, values)
    if found.merging is None:
        return of_components.argmax(axis=0)
    return cluster_probabilities(of_components, found.merging.clusters).argmax(axis=0)


@pytest.fixture(scope="module")
def chosen() -> FittedMixture:
    return segment_arrays(BENT, Spec(), grid(), outcomes=SOME_LEFT)


def test_segments_are_the_groups_and_say_of_the_outcome_what_these_say(chosen) -> None:
    division = segments_of(chosen, BENT)
    assert adjusted_rand_score(GROUP, division) > 0.9
    information = chosen.outcome_information
    assert information is not None
    known = np.count_nonzero(~np.isnan(SOME_LEFT))
    assert abs(information["rows"] - known / 2) < 0.1 * known
    expected = mutual_info_score(GROUP, LEFT) / np.log(2)
    assert abs(information["bits"] - expected) < 0.06  # of half of the rows
    assert abs(information["spread"] - 0.65) < 0.1


def test_the_half_that_reports_is_not_the_half_that_chooses(chosen) -> None:
    """Choosing and reporting halves give the whole: what one of them says is not the other's."""
    first = chosen.candidates[0]
    assert first["mutualInformation"] != chosen.outcome_information["bits"]


def test_an_outcome_that_depends_on_nothing_has_no_bits() -> None:
    bits = []
    for seed in range(3):
        outcome = np.random.default_rng(seed).integers(0, 2, N).astype(float)
        found = segment_arrays(VALUES, Spec(), grid(k=(3, 4)), outcomes=outcome)
        bits.append(found.outcome_information["bits"])
    # Chance alone: (k - 1) / (2 n log 2) is expected of n rows.
    assert max(bits) < 0.02
    assert np.median(bits) < 0.01


def test_the_order_of_rows_makes_no_difference(chosen) -> None:
    order = np.random.default_rng(0).permutation(N)
    other = segment_arrays(BENT[:, order], Spec(), grid(), outcomes=SOME_LEFT[order])
    assert_allclose(other.parameters.means, chosen.parameters.means, rtol=1e-9, atol=1e-9)
    assert (other.merging is None) == (chosen.merging is None)
    if chosen.merging is not None:
        assert other.merging.clusters == chosen.merging.clusters
        assert other.merging.sizes == chosen.merging.sizes
    for name in ("bits", "spread", "rows"):
        expected = chosen.outcome_information[name]
        assert other.outcome_information[name] == pytest.approx(expected, rel=1e-9)
    ours, theirs = ([c["why"] for c in found.candidates] for found in (chosen, other))
    assert ours == theirs


def test_without_an_outcome_there_is_nothing_of_it() -> None:
    found = segment_arrays(VALUES, Spec(), grid())
    assert found.outcome_information is None
    assert all(row["mutualInformation"] is None for row in found.candidates)
    assert adjusted_rand_score(GROUP, segments_of(found, VALUES)) > 0.95


def test_the_table_has_the_chosen_one_first_and_its_figures(chosen) -> None:
    first, *others = chosen.candidates
    assert others
    clusters = chosen.merging.clusters if chosen.merging else range(chosen.parameters.k)
    assert (first["k"], first["components"]) == (len(clusters), chosen.parameters.k)
    assert first["covarianceType"] == chosen.spec.structure.name
    assert first["evaluatedOn"].startswith("all rows")
    assert_allclose(first["meanLogLikelihood"], chosen.fit.log_likelihood / N)
    division = segments_of(chosen, BENT)
    assert abs(first["smallestShare"] - np.bincount(division).min() / N) < 0.02
    assert all(row["why"] for row in chosen.candidates)
    assert {row["evaluatedOn"] for row in others} == {"sample"}


def test_alternatives_are_the_other_divisions(chosen) -> None:
    assert 1 <= len(chosen.alternatives) <= 10
    for other in chosen.alternatives:
        assert 0 <= other["changedShare"] < 1
        assert other["entropy"] >= 0


def test_gaps_categories_and_weights() -> None:
    """A row of weight 2 is the row twice, but for the rows that choose."""
    values, codes = np.array(BENT), GROUP[None] % 2.0
    values[0, ::9] = np.nan
    codes[0, 1::7] = np.nan
    spec = Spec(missing="marginalize")
    found = segment_arrays(
        values,
        spec,
        grid(),
        families=[(Categorical((2,)), codes)],
        weights=np.full(N, 2.0),
        outcomes=LEFT,
    )
    division = segments_of(found, np.concatenate([values, codes]))
    assert adjusted_rand_score(GROUP, division) > 0.7
    assert found.scan.weight == 2 * N


@pytest.mark.parametrize(
    ("tried", "said"),
    [
        ({"criterion": "bic", "outcome_col": "left"}, "criterion is 'bic'; an outcome takes part"),
        ({"min_segment_share": 0.5}, r"minSegmentShare is 0.5; it must be in \[0, 0.5\)"),
        ({"min_segment_share": -0.1}, "minSegmentShare is -0.1"),
        ({"min_segment_share": 0.3, "k": (4, 5)}, "so many clusters cannot all have that share"),
    ],
)
def test_settings_that_do_not_go_together(tried, said) -> None:
    with pytest.raises(SettingError, match=said):
        grid(**tried)


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        (np.ones(N), "'outcomes': all rows with a value have 1"),
        (np.full(N, np.nan), "'outcomes': none of 1,200 rows has a value"),
        (np.where(np.arange(N) == 5, np.inf, LEFT), "column 'outcomes': 1 of 1200 rows"),
        (LEFT[:-1], "weights, labels and outcomes must have 1200 values"),
    ],
)
def test_outcomes_that_cannot_be_used(outcomes, said) -> None:
    with pytest.raises(InputDataError, match=said):
        segment_arrays(VALUES, Spec(), grid(), outcomes=outcomes)


def test_fewer_rows_than_segments() -> None:
    with pytest.raises(InputDataError, match="k is at least 3, but there are only 2 rows"):
        segment_arrays(VALUES[:, :2], Spec(), grid())
