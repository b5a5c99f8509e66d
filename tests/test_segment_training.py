"""The choice of segments on rows in memory: honest figures, any order of rows, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import adjusted_rand_score, mutual_info_score

from gmm_spark import segment_training
from gmm_spark.engine.merging import probabilities
from gmm_spark.engine.scoring import Scorer
from gmm_spark.errors import InputDataError
from gmm_spark.mixture import divisions
from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.families import Categorical
from gmm_spark.mixture.merging import cluster_probabilities
from gmm_spark.mixture.segmentation import Proposal, choose, sample_of
from gmm_spark.mixture.spec import Grid, Spec
from gmm_spark.mixture.structures import Floored
from gmm_spark.segment_training import segment_arrays
from gmm_spark.summary import summarise
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


def test_the_half_that_reports_is_not_the_half_that_chooses() -> None:
    """Of an outcome that the segments tell on every other row of the sample alone, those that
    choose, the summary says nothing."""
    sample = segment_arrays(VALUES, Spec(), grid()).scan.sample
    row_of = {tuple(row): place for place, row in enumerate(VALUES.T)}
    order = np.array([row_of[tuple(row)] for row in sample.T])
    outcome = np.random.default_rng(1).integers(0, 2, N).astype(float)
    outcome[order[::2]] = GROUP[order[::2]] == 0
    found = segment_arrays(VALUES, Spec(), grid(), outcomes=outcome)
    assert found.candidates[0]["mutualInformation"] > 0.8
    assert found.outcome_information["bits"] < 0.02
    assert found.outcome_information["rows"] == N // 2


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


def test_a_long_table_keeps_the_best_and_the_best_of_every_k(monkeypatch) -> None:
    whole = segment_arrays(VALUES, Spec(), grid(k=(2, 3), covariance_type=("diag",)))
    monkeypatch.setattr(segment_training, "_MOST_CONSIDERED", 5)
    found = segment_arrays(VALUES, Spec(), grid(k=(2, 3), covariance_type=("diag",)))
    first_of = {row["k"]: row for row in reversed(whole.candidates)}
    assert found.candidates[:5] == whole.candidates[:5]
    others = [row for row in first_of.values() if row not in whole.candidates[:5]]
    assert found.candidates[5:] == others
    assert {row["k"] for row in found.candidates} == {2, 3}


def test_alternatives_are_the_other_divisions(chosen) -> None:
    assert 1 <= len(chosen.alternatives) <= 10
    for other in chosen.alternatives:
        assert 0 <= other["changedShare"] < 1
        assert other["entropy"] >= 0


chosen_divisions: list[Any] = []  # on the sample, of what was chosen


def with_first(monkeypatch: Any, wanted: Callable[[Proposal], bool], **changes: Any) -> None:
    """What suits is chosen, whatever is better, with these changes."""

    def chosen_so(*arguments: Any, **more: Any) -> Any:
        found = choose(*arguments, **more)
        first = next(one for one in found.considered if wanted(one.proposal))
        others = tuple(one for one in found.considered if one is not first)
        first = replace(first, proposal=replace(first.proposal, **changes))
        seen = sample_of(arguments[0], first.proposal)
        probability = divisions.probabilities(
            first.proposal.parameters, first.proposal.clusters, seen
        )
        chosen_divisions.append(probability.argmax(axis=0))
        return replace(found, chosen=first, considered=(first, *others))

    monkeypatch.setattr(segment_training, "choose", chosen_so)


def test_kmeans_stays_kmeans(monkeypatch) -> None:
    with_first(monkeypatch, lambda proposal: proposal.hard)
    found = segment_arrays(BENT, Spec(), grid(k=(4,)))
    assert found.candidates[0]["origin"] == "k-means"
    assert found.candidates[0]["why"].endswith("; k-means stays as it was found on the sample")
    assert (found.fit.reason, len(found.fit.history)) == ("kept", 1)
    assert found.fit.converged
    division, scaled = segments_of(found, BENT), BENT / BENT.std(axis=1)[:, None]
    centres = np.stack([scaled[:, division == j].mean(axis=1) for j in range(4)])
    nearest = ((scaled.T[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == division).mean() > 0.99


@pytest.mark.parametrize("by", ["entropy", "bhattacharyya"])
def test_a_merged_division_is_the_one_that_was_chosen(monkeypatch, by) -> None:
    """Whatever the order in which components are reported."""
    # The two hierarchies come to the same clusters here, which are proposed once.
    with_first(monkeypatch, lambda proposal: proposal.parameters.k == 6, merged_by=by)
    found = segment_arrays(BENT, Spec(), grid())
    division, merging = segments_of(found, BENT), found.merging
    assert merging is not None
    assert len(merging.clusters) == 3
    assert merging.hierarchy.by == found.candidates[0]["mergedBy"] == by
    assert merging.sizes == tuple(np.bincount(division))
    weights = [found.parameters.weights[list(one)].sum() for one in merging.clusters]
    assert weights == sorted(weights, reverse=True)
    # The order of components in the fit is another than that in which they are reported.
    assert (found.order[found.order] != np.arange(found.order.size)).any()
    rows = {tuple(row): place for place, row in enumerate(BENT.T)}
    order = [rows[tuple(row)] for row in found.scan.sample.T]
    assert adjusted_rand_score(chosen_divisions[-1], division[order]) > 0.95


@pytest.mark.parametrize(("merged", "said"), [(True, "component"), (False, "cluster")])
def test_warnings_name_components_where_these_are_not_the_clusters(chosen, merged, said) -> None:
    fit = replace(chosen.fit, floored=(Floored(0, (1,)),), dead=(1,))
    summary = summarise(
        fit,
        chosen.scan,
        chosen.columns,
        chosen.order,
        chosen.roles,
        notes=[],
        opening=chosen.opening,
        path=chosen.path,
        merged=merged,
        featuresCol="features",
        predictionCol="prediction",
        probabilityCol="probability",
    )
    floor, empty = summary.warnings
    place = chosen.order.tolist().index(0)
    assert floor.startswith(f"covariance_floor: {said} {place} (")
    assert empty.startswith(f"empty_component: {said} ")


@pytest.mark.parametrize("same", [0.9, 1.1])
def test_em_goes_on_as_long_as_the_division_stays(monkeypatch, same) -> None:
    monkeypatch.setattr(segment_training, "_SAME_DIVISION", same)
    with_first(monkeypatch, lambda proposal: not proposal.hard and proposal.merged_by is None)
    found = segment_arrays(VALUES, Spec(), grid())
    kept = "EM leads on to another division" in found.candidates[0]["why"]
    assert kept == (same > 1)  # no division is as alike as that
    assert (len(found.fit.history) == 1) == kept == (found.fit.reason == "kept")
    assert found.fit.converged


def test_a_floor_that_was_chosen_is_no_reason_to_warn(monkeypatch) -> None:
    with_first(monkeypatch, lambda proposal: proposal.floor == 0.3)
    found = segment_arrays(BENT, Spec(), grid(k=(4,), covariance_type=("spherical",)))
    assert found.candidates[0]["covarianceFloor"] == found.spec.covariance_floor == 0.3
    assert len(found.fit.history) > 1
    assert found.fit.floored == ()


def test_rows_of_one_group_are_said_to_be_that() -> None:
    cloud = np.random.default_rng(4).normal(size=(2, 800))
    (said,) = [note for note in segment_arrays(cloud, Spec(), grid()).notes if "segment" in note]
    assert said.startswith("no_segments: ")
    assert not segment_arrays(VALUES, Spec(), grid()).notes


def test_noise_is_no_cluster() -> None:
    far = np.random.default_rng(4).uniform(-30, 30, (2, 15))
    found = segment_arrays(np.concatenate([VALUES, far], axis=1), Spec(noise=True), grid())
    assert found.parameters.noise is not None
    assert found.candidates[0]["k"] == 3
    assert not [note for note in found.notes if note.startswith("small_segment")]


def test_clusters_too_small_to_act_on_are_told_of() -> None:
    uneven = np.concatenate([VALUES, 40.0 + np.random.default_rng(4).normal(size=(2, 300))], axis=1)
    found = segment_arrays(uneven, Spec(), grid(k=(2,), min_segment_share=0.45))
    (said,) = [note for note in found.notes if note.startswith("small_segment: ")]
    assert "less than minSegmentShare (0.45) of the rows, the smallest" in said


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
