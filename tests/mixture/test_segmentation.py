"""Segments chosen among mixtures, where the right ones are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import KMeans
from sklearn.metrics.cluster import expected_mutual_information

from benchmarks.segmentation import SEGMENTS, compared
from gmm_spark.mixture.divisions import (
    adjusted_rand_index,
    cross_table,
    mutual_information,
    outcome_spread,
    probabilities,
)
from gmm_spark.mixture.families import Categorical, Count
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.priors import Priors
from gmm_spark.mixture.segmentation import Choice, SampleFor, choose, sample_of
from gmm_spark.mixture.segmentation.candidates import (
    WEIGHTED_KMEANS,
    Points,
    kmeans,
    kmeans_proposals,
)
from gmm_spark.mixture.segmentation.choosing import _ByOutcome, _judged, reporting_rows
from gmm_spark.mixture.segmentation.judging import column_information, information_by_chance
from gmm_spark.mixture.standardisation import describe_columns
from gmm_spark.mixture.structures import Structure, structure_named
from gmm_spark.mixture.usable import extremes

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


def test_a_value_that_a_third_of_the_rows_have_makes_no_segment():
    values, labels = groups(seed=12, n=900)
    rng = np.random.default_rng(13)
    column = np.where(rng.random(900) < 1 / 3, 0.0, 3 + rng.normal(size=900))
    sample_for = sample_for_of(np.vstack([values, column]))
    choice = choose(sample_for, [3], STRUCTURES)
    assert adjusted_rand_index(segments_of(choice, sample_for), labels) > 0.98


def test_of_the_same_divisions_a_mixture_that_em_has_fitted_is_taken():
    values, labels = groups(seed=14)
    for outcome in (None, (labels == 1).astype(float)):
        sample_for = sample_for_of(values)
        choice = choose(sample_for, [3], STRUCTURES, outcome=outcome)
        assert not choice.chosen.proposal.hard
        assert choice.chosen.proposal.merged_by is None
        assert any(one.proposal.hard for one in choice.considered)
        assert adjusted_rand_index(segments_of(choice, sample_for), labels) > 0.99


def test_one_group_is_said_to_be_one():
    values = np.random.default_rng(1).normal(size=(3, 800))
    choice = choose(sample_for_of(values), range(3, 6), STRUCTURES)
    assert not choice.has_segments
    assert "do not fall into groups" in choice.finding


@pytest.mark.parametrize("together", [False, True])
def test_values_that_many_rows_share_are_groups_only_where_they_come_together(together):
    rng = np.random.default_rng(14)
    values = rng.normal(size=(5, 1500))
    none = rng.random((5, 1500)) < 0.4
    if together:
        none[1:3] = none[:3].any(axis=0)
    values[:3] = np.where(none[:3], 0.0, 3.0 + values[:3])
    choice = choose(sample_for_of(values), [3, 4], STRUCTURES)
    assert choice.has_segments == together


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
        rows = reporting_rows(outcome)
        assert rows.size == n / 2
        assert outcome_spread(found[rows], outcome[rows]) == pytest.approx(0.6, abs=0.08)


def test_the_same_seed_chooses_the_same():
    values, labels = groups(seed=3, apart=3.0)
    outcome = (labels == 1).astype(float)
    one, other = (
        choose(sample_for_of(values), [3, 4], STRUCTURES, outcome=outcome, seed=5) for _ in range(2)
    )
    assert one.chosen.figures == other.chosen.figures
    assert [c.why for c in one.considered] == [c.why for c in other.considered]
    assert_array_equal(one.chosen.proposal.parameters.means, other.chosen.proposal.parameters.means)


def test_small_segments_are_taken_only_where_there_are_no_others_and_it_is_said():
    values, _ = groups(seed=7, n=600)
    values[:, :9] += 60.0
    choice = choose(sample_for_of(values), [4], STRUCTURES, min_share=0.05)
    assert choice.chosen.why.endswith("though its smallest segment is 1.5%")
    sample_for = sample_for_of(groups(seed=7, n=600, apart=3.0)[0])
    free = choose(sample_for, [4], STRUCTURES, min_share=0.0).chosen.figures.smallest_share
    choice = choose(sample_for, [4], STRUCTURES, min_share=free + 0.01)
    assert choice.chosen.figures.smallest_share > free
    small = [one for one in choice.considered if one.figures.smallest_share < free + 0.01]
    assert small
    assert all("of the rows, less than" in one.why for one in small)


def test_kmeans_is_a_mixture_whose_most_probable_components_are_the_nearest_centres():
    values, _ = groups(seed=8, apart=2.0)
    sample = sample_for_of(values)(structure_named("EEI"), None)
    points = Points.of(sample)
    optima = kmeans(points.values, 4, seed=0)
    centres, labels = optima[0].centres, optima[0].labels
    proposal, *_ = kmeans_proposals(sample, points, optima)
    found = probabilities(proposal.parameters, proposal.clusters, sample).argmax(axis=0)
    assert_array_equal(found, labels)
    assert_array_equal(
        labels, ((points.values[:, None] - centres[:, :, None]) ** 2).sum(axis=0).argmin(axis=0)
    )


def test_kmeans_of_categories_and_counts_divides_rows_as_scikit_learn_does():
    rng = np.random.default_rng(11)
    n = 500
    codes = np.array([rng.integers(4, size=n), rng.random(n) < 0.3]).astype(float)
    counts = rng.poisson([[2.0], [40.0]], size=(2, n)).astype(float)
    values = np.vstack([rng.normal(size=(2, n)) * [[1.0], [30.0]], codes, counts])
    families = Categorical((4, 2)), Count(2)
    columns = describe_columns(
        values[:2], values[:2].min(axis=1), values[:2].max(axis=1), structure_named("EEI"), None
    )
    by = columns.standardisation
    sample = Sample(values, None, by, columns.floor / by.scale, families=families)
    flags = [np.arange(levels)[:, None] == row for levels, row in zip((4, 2), codes, strict=True)]
    numbers, counted = ((of - of.mean(axis=1)[:, None]) / of.std(axis=1)[:, None]
                        for of in (values[:2], counts))  # fmt: skip
    by_hand = np.concatenate([numbers, *flags, counted]).T
    points = Points.of(sample)
    np.testing.assert_allclose(points.values.T, by_hand, atol=1e-12)
    optima = kmeans(points.values, 5, seed=0)
    centres = optima[0].centres
    assert len(optima) > 1
    peer = KMeans(5, init=centres.T, n_init=1, max_iter=1).fit(by_hand)
    peer.cluster_centers_ = np.ascontiguousarray(centres.T)
    proposal, *_ = kmeans_proposals(sample, points, optima)
    found = probabilities(proposal.parameters, proposal.clusters, sample).argmax(axis=0)
    assert_array_equal(found, peer.predict(by_hand))


def test_kmeans_ends_where_no_row_changes_as_near_to_its_rows_as_that_of_scikit_learn():
    """Of rows without groups: many optima are nearly as good, and all of them far away."""
    points = np.random.default_rng(13).normal(size=(8, 5000))
    optima = kmeans(points, 7, seed=0)
    for one in optima:
        distances = ((points[:, None] - one.centres[:, :, None]) ** 2).sum(axis=0)
        assert_array_equal(one.labels, distances.argmin(axis=0))
        assert one.inertia == pytest.approx(distances.min(axis=0).sum())
        means = [points[:, one.labels == j].mean(axis=1) for j in range(7)]
        np.testing.assert_allclose(one.centres.T, means, atol=1e-12)
    inertias = [one.inertia for one in optima]
    assert inertias == sorted(inertias)
    peer = KMeans(7, n_init=10, random_state=0).fit(points.T).inertia_
    assert inertias[0] < 1.001 * peer


def test_of_kmeans_optima_that_are_as_good_the_outcome_picks():
    rng = np.random.default_rng(12)
    n = 2000
    sides = rng.integers(2, size=(2, n))

    def peer(noise: float, column: int) -> tuple[float, np.ndarray]:
        values = 8.0 * sides + rng.normal(size=(2, n)) * [[1.0], [noise]]
        outcome = (rng.random(n) < np.where(sides[column] == 1, 0.8, 0.2)).astype(float)
        sample_for = sample_for_of(values)
        sample = sample_for(structure_named("EEI"), None)
        points = Points.of(sample)
        proposals = kmeans_proposals(sample, points, kmeans(points.values, 2, seed=0))
        assert len(proposals) > 1
        choosing = _ByOutcome.of(outcome, sample_for)
        looked_at = _judged(proposals, sample_for, sample)
        found = choosing.peer(choosing.contenders(looked_at, 0.03))
        return found.proposal.excess, found.division

    excess, division = peer(noise=1.03, column=1)
    assert 0 < excess < 0.005
    assert adjusted_rand_index(division, sides[1]) > 0.95
    excess, division = peer(noise=1.03, column=0)
    assert excess == 0
    assert adjusted_rand_index(division, sides[0]) > 0.95
    # Another run of k-means would not find it.
    excess, division = peer(noise=1.5, column=1)
    assert excess == 0
    assert adjusted_rand_index(division, sides[0]) > 0.95


def cloud(seed: int, n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Ten independent numbers, no groups, and an outcome that goes with two of them alone."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(10, n))
    rates = np.where(values[2] > 1, 0.7, np.where(values[7] > 1, 0.5, 0.05))
    return values, (rng.random(n) < rates).astype(float)


def test_where_there_are_no_groups_columns_count_by_what_they_say_of_the_outcome():
    values, outcome = cloud(0)
    choice = choose(sample_for_of(values), range(3, 6), STRUCTURES, outcome=outcome)
    chosen, rows = choice.chosen.proposal, reporting_rows(outcome)
    assert not choice.has_segments
    assert chosen.origin == WEIGHTED_KMEANS
    assert set(np.argsort(chosen.column_weights)[-2:]) == {2, 7}
    assert np.sort(chosen.column_weights)[:8].max() < 0.05
    found = segments_of(choice, sample_for_of(values))
    peers = [KMeans(chosen.k, n_init=5, random_state=seed).fit_predict(values.T) for seed in (0, 1)]
    # By the rows that do not choose.
    said = [mutual_information(peer[rows], outcome[rows]) for peer in peers]
    assert mutual_information(found[rows], outcome[rows]) > 3 * max(said)
    spreads = [outcome_spread(peer[rows], outcome[rows]) for peer in peers]
    assert outcome_spread(found[rows], outcome[rows]) > 1.5 * max(spreads)


def test_columns_count_by_the_outcome_too_where_groups_say_nothing_of_it():
    """Heavy tails, which narrow components in wide ones fit, and a value that a quarter of the rows
    have: the likelihood sees groups, and no mixture says more than k-means."""
    values, outcome = cloud(0, n=1500)
    values = np.sign(values) * values**2
    values[0] = np.where(np.abs(values[0]) < 0.3, 0.0, values[0])
    choice = choose(sample_for_of(values), [4], STRUCTURES, outcome=outcome)
    assert choice.has_segments
    assert choice.chosen.proposal.origin == WEIGHTED_KMEANS
    rows = reporting_rows(outcome)
    found = segments_of(choice, sample_for_of(values))[rows]
    scaled = (values / values.std(axis=1, keepdims=True)).T
    peer = KMeans(4, n_init=5, random_state=0).fit_predict(scaled)[rows]
    said = mutual_information(found, outcome[rows])
    assert said > 3 * mutual_information(peer, outcome[rows])


def test_the_outcome_of_the_half_that_reports_weights_no_column():
    values, outcome = cloud(1)
    rows = reporting_rows(outcome)
    other = np.array(outcome)
    other[rows] = np.random.default_rng(2).permutation(outcome[rows])
    one, two = (
        choose(sample_for_of(values), [4], STRUCTURES, outcome=y).chosen.proposal
        for y in (outcome, other)
    )
    assert one.origin == two.origin == WEIGHTED_KMEANS
    assert_array_equal(one.column_weights, two.column_weights)
    assert_array_equal(one.parameters.means, two.parameters.means)


def test_an_outcome_of_many_values_is_cut_where_the_half_that_chooses_says():
    values, _ = cloud(2, n=600)
    outcome = values[2] + 0.1 * values[3]
    other = np.array(outcome)
    rows = reporting_rows(outcome)
    other[rows] = 5 - 3 * outcome[rows]
    one, two = (_ByOutcome.of(y, sample_for_of(values)).parts for y in (outcome, other))
    assert_array_equal(one, two)
    assert np.bincount(one).tolist() == [30] * 10


@pytest.mark.parametrize("apart", [True, False])
def test_no_column_is_weighted_where_there_are_groups_or_nothing_to_weight_by(apart):
    values, outcome = cloud(3, n=1000)
    if apart:
        values[:2], labels = groups(seed=4, n=1000)
        outcome = (np.random.default_rng(5).random(1000) < np.array([0.1, 0.3, 0.8])[labels]) + 0.0
    else:
        outcome[::2] = 0.0  # of the rows that choose there is nothing to know
    choice = choose(sample_for_of(values), [3], STRUCTURES, outcome=outcome)
    assert choice.has_segments == apart
    assert all(one.proposal.origin != WEIGHTED_KMEANS for one in choice.considered)


def test_what_a_column_says_of_an_outcome():
    """A column that is the outcome says its entropy, 1 bit; one that has nothing to do with it
    nothing, but for chance; a gap says nothing, here of a fifth of the rows."""
    rng = np.random.default_rng(6)
    outcome = np.arange(4000) % 2
    values = np.vstack([outcome + 0.01 * rng.normal(size=4000), rng.normal(size=4000)])
    values[:, ::5] = np.nan
    codes = np.vstack([outcome, rng.integers(3, size=4000)]).astype(float)
    counts = (3.0 * outcome)[None]
    families = (Categorical((2, 3)), Count(1))
    columns = describe_columns(values, *extremes(values), structure_named("diag"), None)
    by = columns.standardisation
    sample = Sample(
        np.vstack([values, codes, counts]),
        None,
        by,
        columns.floor / by.scale,
        gaps=True,
        families=families,
    )
    found = column_information(sample, outcome.astype(np.intp))
    assert found.shape == (5,)
    assert found[[0, 2, 4]] == pytest.approx([0.8, 1.0, 1.0], abs=2e-3)
    assert (found[[1, 3]] < 2e-3).all()
    # Weights multiply squared differences, a category's of all its levels.
    weights = np.array([0.25, 1.0, 0.5, 2.0, 3.0])
    plain, weighted = Points.of(sample).values, Points.of(sample, weights).values
    expected = np.repeat(weights, [1, 1, 2, 3, 1])[:, None] * plain**2
    assert_allclose(weighted**2, expected, rtol=1e-12)


@pytest.mark.parametrize(("n", "parts", "values"), [(12, 3, 2), (60, 40, 2), (3000, 700, 10)])
def test_information_by_chance_is_that_of_scikit_learn(n, parts, values):
    rng = np.random.default_rng(n)
    table = cross_table(rng.integers(parts, size=n), rng.integers(values, size=n))
    peers = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0].astype(int)
    expected = expected_mutual_information(peers, n) / np.log(2)
    assert information_by_chance(table) == pytest.approx(expected, rel=1e-9)


def test_columns_of_chance_count_for_nothing_though_their_parts_have_few_rows():
    """A category of nearly as many values as rows, and a number that is known of few of them: what
    they seem to say is how few rows there are of each value."""
    values, outcome = cloud(5, n=2000)
    rng = np.random.default_rng(7)
    codes = rng.integers(700, size=(1, 2000)).astype(float)
    codes[0, :700] = np.arange(700)
    values[0] = np.where(rng.random(2000) < 0.99, np.nan, values[0])
    columns = describe_columns(values, *extremes(values), STRUCTURES[1], None)
    by = columns.standardisation
    sample = Sample(
        np.concatenate([values, codes]),
        None,
        by,
        columns.floor / by.scale,
        gaps=True,
        families=(Categorical((700,)),),
    )
    found = column_information(sample, outcome.astype(np.intp))
    assert found.argmax() == 2
    assert found[[0, -1]].max() < 0.1 * found[2]


def test_kmeans_of_categories_that_are_known_of_some_segments_only_stays_nearly_the_same():
    """As of customers of a telephone company without internet, who have no kind of it."""
    rng = np.random.default_rng(15)
    without = rng.random(800) < 0.3
    kinds = np.array([[0.1, 0.1, 0.1, 0.9, 0.9], [0.9, 0.9, 0.9, 0.1, 0.1]])
    codes = (rng.random((5, 800)) < kinds[rng.integers(2, size=800)].T).astype(float)
    codes[:, without] = np.nan
    values = np.vstack([rng.normal(size=(1, 800)), without, codes])
    columns = describe_columns(
        values[:1], values[:1].min(axis=1), values[:1].max(axis=1), structure_named("EEI"), None
    )
    by = columns.standardisation
    families = (Categorical((2,) * 6),)
    sample = Sample(values, None, by, columns.floor / by.scale, True, families)
    points = Points.of(sample)
    for k, least in ((3, 0.99), (4, 0.9)):
        optima = kmeans(points.values, k, seed=0)
        proposal, *_ = kmeans_proposals(sample, points, optima)
        found = probabilities(proposal.parameters, proposal.clusters, sample).argmax(axis=0)
        assert adjusted_rand_index(found, optima[0].labels) > least


def test_categories_and_gaps_take_part():
    values, labels = groups(seed=9, n=600)
    rng = np.random.default_rng(10)
    values[rng.random(values.shape) < 0.1] = np.nan
    codes = np.where(rng.random(600) < 0.9, labels, rng.integers(3, size=600)).astype(float)
    codes[::17] = np.nan
    family = Categorical((3,))

    def sample_for(structure: Structure, floor: float | None) -> Sample:
        lowest, highest = np.nanmin(values, axis=1), np.nanmax(values, axis=1)
        columns = describe_columns(values, lowest, highest, structure, floor)
        by = columns.standardisation
        block = np.vstack([values, codes])
        sample = Sample(block, None, by, columns.floor / by.scale, True, (family,))
        usual = tuple(one.prior(of, None) for one, of in sample.of_families)
        return replace(sample, prior=Priors(1.0, 1.0, usual, None, 1.0))

    choice = choose(sample_for, [3], STRUCTURES)
    assert adjusted_rand_index(segments_of(choice, sample_for), labels) > 0.9


@pytest.mark.long
@pytest.mark.parametrize("name", ["telco", "iran", "rfm", "fma", "mlc"])
def test_segments_say_as_much_of_an_outcome_as_those_of_others(name, shared_data):
    """Without the outcome on four of five tables: of telco customers the division that says most
    of the columns is not the one that says most of churn."""
    path = shared_data / "segmentation" / f"{name}.parquet"
    rows = [row for seed in range(5) for row in compared(path, SEGMENTS[name], seed)]
    found = pd.DataFrame(rows).groupby("by")["information"].median()
    better = max(found["KMeans"], found["scikit-learn"])
    assert found["ours"] >= better - (0.01 if name == "telco" else 0.005)
    better = max(found["KMeans, half"], found["scikit-learn, half"])
    assert found["ours, half"] >= better - 0.01
