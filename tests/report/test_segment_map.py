"""The map of a segmentation and its comparison with k-means, of models in memory; no Spark."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmm_spark import GaussianMixture, GaussianMixtureModel
from gmm_spark.mixture.blurring import blurred
from gmm_spark.mixture.families import Categorical
from gmm_spark.mixture.merging import Merging, bhattacharyya_hierarchy
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.spec import Spec
from gmm_spark.mixture.structures import structure_named
from gmm_spark.report.against_kmeans import against_kmeans
from gmm_spark.report.sampled_rows import SampledRows
from gmm_spark.report.segment_map import segment_map
from gmm_spark.report.segments import MOST_ITERATIONS, MOST_POINTS, SegmentMap
from gmm_spark.training import fit_arrays

NAMES = ["tenure", "bill", "calls"]


def groups(n: int = 2400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows (3, n) of three groups, and which."""
    rng = np.random.default_rng(seed)
    group = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    means = np.array([[0.0, 0.0, 0.0], [6.0, 1.0, 0.0], [1.0, 7.0, 0.0]])
    return means[group].T + rng.normal(size=(3, n)), group


def model_of(values: np.ndarray, k: int = 3, **settings: Any) -> GaussianMixtureModel:
    names = NAMES[: len(values)]
    found = fit_arrays(values, Spec(k=k, **settings), names=names)
    return GaussianMixture(k=k, inputCols=names)._model(found, None)


def rows_of(
    model: GaussianMixtureModel, values: np.ndarray, outcomes: np.ndarray | None = None
) -> SampledRows:
    """Rows as profiles sample them, scored by the model."""
    from gmm_spark.engine.scoring import NOISE, Scorer

    scores = Scorer(model.parameters, "marginalize").score(values)
    if model._merging is not None:
        scores = scores.of_clusters(model._merging.clusters)
    n = values.shape[1]
    largest = scores.probability.max(axis=0)
    segment = np.where(scores.prediction == NOISE, NOISE, scores.prediction)
    outcomes = np.zeros((0, n)) if outcomes is None else outcomes
    return SampledRows(values, np.ones(n), segment.astype(np.intp), largest, outcomes, 3 * n)


def mapped(model: GaussianMixtureModel, rows: SampledRows, **more: Any) -> SegmentMap:
    found, why = segment_map(model, rows, {"bill": "MonthlyBill"}, "customers", **more)
    assert found is not None, why
    return found


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return groups()[0]


@pytest.fixture(scope="module")
def model(values: np.ndarray) -> GaussianMixtureModel:
    return model_of(values)


def test_points_are_the_first_rows_of_the_sample(model, values) -> None:
    rows = rows_of(model, values)
    found = mapped(model, rows)
    assert len(found.points) == MOST_POINTS
    assert found.sampled == "1,500 of 7,200 customers, chosen by hashes of their content"
    assert [one.segment for one in found.points] == rows.segment[:MOST_POINTS].tolist()
    at = np.array([(one.x, one.y) for one in found.points])
    assert_allclose(at, at.round(2))
    # They lie about the middles of their segments as the ellipses say.
    for one in found.iterations[-1].ellipses:
        own = at[rows.segment[:MOST_POINTS] == one.segment]
        assert_allclose(own.mean(axis=0), [one.x, one.y], atol=0.15)
        factor = np.array([[one.a, 0.0], [one.b, one.c]])
        inside = np.linalg.norm(np.linalg.solve(factor, (own - [one.x, one.y]).T), axis=0)
        assert (inside < np.sqrt(2 * np.log(3))).mean() == pytest.approx(2 / 3, abs=0.06)
    for place, axis in enumerate(found.axes):
        within = (axis.low < at[:, place]) & (at[:, place] < axis.high)
        assert within.mean() > 0.98


def test_axes_say_what_they_are_made_of(model, values) -> None:
    found = mapped(model, rows_of(model, values))
    assert found.share == pytest.approx(1)
    said = {one.words.split(": ")[1].split(",")[0] for one in found.axes}
    assert said == {"tenure", "monthly bill"}
    for axis in found.axes:
        sizes = [abs(one.correlation) for one in axis.loadings]
        assert sizes == sorted(sizes, reverse=True)
        assert {one.column for one in axis.loadings} == set(NAMES)
        assert abs(next(o.correlation for o in axis.loadings if o.column == "calls")) < 0.2


def test_no_row_is_a_point_where_that_is_asked_for(model, values) -> None:
    rows = rows_of(model, values)
    found, with_points = mapped(model, rows, points=False), mapped(model, rows)
    assert found.points == []
    assert found.sampled == "no customers, as was asked for"
    assert found.iterations == with_points.iterations
    assert found.axes == with_points.axes


def test_where_the_fit_began_close_em_is_run_again(model, values) -> None:
    rows = rows_of(model, values)
    begun = replace(
        model.summary,
        sampleHistory=model.summary.sampleHistory[-2:],
        parameterHistory=model.summary.parameterHistory,
    )
    again = GaussianMixtureModel(model.parameters, begun)
    again._set(inputCols=NAMES, k=3)
    found = mapped(again, rows)
    assert found.way == "again from a blurred start"
    assert "2,400 customers" in found.way_words
    iterations = found.iterations
    assert (iterations[0].kind, iterations[-1].kind) == ("start", "model")
    assert iterations[-1].rows is None
    known = [one.mean_log_likelihood for one in iterations[:-1]]
    assert np.diff(known).min() > 0
    # At the start all are in the middle; each goes to where the model has it.
    first, before, last = (
        np.array([(one.x, one.y) for one in iterations[place].ellipses]) for place in (0, -2, -1)
    )
    assert np.linalg.norm(first, axis=1).max() < 0.1 * np.linalg.norm(last, axis=1).max()
    assert_allclose(before, last, atol=0.1)


def test_where_components_moved_the_iterations_are_the_fits_own(values) -> None:
    model = model_of(values, init_mode="random", num_init=1, seed=3)
    found = mapped(model, rows_of(model, values))
    assert found.way == "of the fit"
    summary = model.summary
    steps = len(summary.sampleHistory) + len(summary.parameterHistory)
    assert len(found.iterations) <= MOST_ITERATIONS
    assert found.iterations[0].mean_log_likelihood == summary.sampleHistory[0]["meanLogLikelihood"]
    assert [one.number for one in found.iterations][:1] == [0]
    assert found.iterations[-1].number == steps - 1
    last = mapped(model, rows_of(model, values)).iterations[-1]
    assert last.mean_log_likelihood == summary.history[-1]["meanLogLikelihood"]


def test_long_ways_are_thinned_where_little_moves(model, values) -> None:
    way = [
        replace(model.parameters, means=model.parameters.means * (1 - 0.95 ** (step + 1)))
        for step in range(199)
    ]
    passes = [{"pass": i, "kind": "em", "meanLogLikelihood": float(i)} for i in range(201)]
    summary = replace(
        model.summary,
        sampleHistory=[],
        parameterHistory=[*way, model.parameters],
        history=passes,
    )
    long = GaussianMixtureModel(model.parameters, summary)
    long._set(inputCols=NAMES, k=3)
    numbers = [one.number for one in mapped(long, rows_of(model, values)).iterations]
    assert len(numbers) == MOST_ITERATIONS
    assert (numbers[0], numbers[-1]) == (0, 199)
    gaps = np.diff(numbers)
    assert gaps.min() > 0
    assert gaps[:8].mean() < 0.5 * gaps[-8:].mean()


def test_components_of_a_merged_model_have_their_segments_number(values) -> None:
    model = model_of(values, k=4, seed=1)
    hierarchy = bhattacharyya_hierarchy(model.parameters)
    merged = model.copy()
    merged._merging = Merging(hierarchy.partition(3), hierarchy)
    found = mapped(merged, rows_of(merged, values))
    for one in found.iterations[-1].ellipses:
        assert one.component in merged.clusters[one.segment]
    assert {one.segment for one in found.points} == {0, 1, 2}


def test_noise_is_among_the_points_and_has_no_ellipse(values) -> None:
    rng = np.random.default_rng(4)
    far = np.concatenate([values, rng.uniform(-60, 60, (3, 120))], axis=1)
    far = far[:, rng.permutation(far.shape[1])]
    model = model_of(far, noise=True)
    found = mapped(model, rows_of(model, far))
    assert -1 in {one.segment for one in found.points}
    assert {one.segment for one in found.iterations[-1].ellipses} == {0, 1, 2}


def test_a_model_without_a_fit_has_a_map(values) -> None:
    fitted = model_of(values)
    bare = GaussianMixtureModel(fitted.parameters)
    bare._set(inputCols=NAMES, k=3)
    found = mapped(bare, rows_of(bare, values))
    assert found.way == "again from a blurred start"
    assert_allclose(
        [(one.x, one.y, one.a, one.b, one.c) for one in found.iterations[-1].ellipses],
        [(one.x, one.y, one.a, one.b, one.c)
         for one in mapped(fitted, rows_of(fitted, values)).iterations[-1].ellipses],
        atol=1e-9,
    )  # fmt: skip


def test_where_em_does_not_come_back_the_map_stands_still() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(3, 900))  # one group, cut in two by a model that no EM would find
    means = np.array([[-0.7, 0.0, 0.0], [0.7, 0.0, 0.0]])
    parameters = Parameters(
        structure_named("full"), np.array([0.5, 0.5]), means, np.repeat(np.eye(3)[None] / 9, 2, 0)
    )
    bare = GaussianMixtureModel(parameters)
    bare._set(inputCols=NAMES, k=2)
    found = mapped(bare, rows_of(bare, values))
    assert (found.way, len(found.iterations)) == ("none", 1)
    assert found.way_words == "No iterations of EM lead to this model."


def test_of_one_column_there_is_a_word_instead_of_a_map() -> None:
    values = groups()[0][:1]
    model = model_of(values, k=2)
    found, why = segment_map(model, rows_of(model, values), {}, "customers")
    assert found is None
    assert why is not None
    assert "one direction" in why


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9, 1e140])
def test_units_of_columns_make_no_other_map(values, unit: float) -> None:
    model = model_of(values * unit)
    found = mapped(model, rows_of(model, values * unit))
    plain = model_of(values)
    for own, other in zip(found.axes, mapped(plain, rows_of(plain, values)).axes, strict=True):
        assert (own.low, own.high) == pytest.approx((other.low, other.high), rel=1e-3)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_a_row_at_a_million_million_ends_no_run(values, unit: float) -> None:
    far = np.array(values * unit)
    far[:, 5] = 1e12 * unit
    model = model_of(far)
    found, why = segment_map(model, rows_of(model, far), {}, "customers")
    assert (found is None) != (why is None)
    if found is not None:
        assert all(np.isfinite([axis.low, axis.high]).all() for axis in found.axes)


def test_two_yes_and_no_are_said_once_in_the_words_of_the_column() -> None:
    rng = np.random.default_rng(6)
    values, group = groups(1500)
    codes = (rng.random(1500) < np.array([0.9, 0.1, 0.5])[group]).astype(float)[None]
    family = Categorical((2,))
    found = fit_arrays(values[:2], Spec(k=3), families=[(family, codes)], names=[*NAMES[:2], "own"])
    categories = tuple(replace(one, levels=("no", "yes")) for one in found.roles.categories)
    model = GaussianMixtureModel(found.parameters, None, categories)
    model._set(inputCols=NAMES[:2], categoricalCols=["own"], k=3)
    block = np.concatenate([values[:2], codes])
    block[2, :200] = np.nan
    pictured = mapped(model, rows_of(model, block))
    for axis in pictured.axes:
        of_category = [one for one in axis.loadings if one.column == "own"]
        assert len(of_category) == 1
        assert of_category[0].correlation >= 0
        assert of_category[0].value in ("yes", "no")


def test_of_k_means_the_ellipses_are_the_moments_of_its_segments(model, values) -> None:
    """Its own parameters only say which centre is nearest."""
    tight = replace(model.parameters, covariances=model.parameters.covariances / 1e4)
    summary = replace(model.summary, candidates=[{"origin": "k-means"}])
    hard = GaussianMixtureModel(tight, summary)
    hard._set(inputCols=NAMES, k=3)
    rows = rows_of(model, values)
    found = mapped(hard, rows)
    assert found.way == "none"
    assert "k-means" in found.way_words
    at = np.array([(one.x, one.y) for one in found.points])
    for one in found.iterations[-1].ellipses:
        own = at[rows.segment[:MOST_POINTS] == one.segment]
        assert_allclose(own.std(axis=0), [one.a, np.hypot(one.b, one.c)], rtol=0.15)


def test_of_k_means_with_weighted_columns_no_iterations_are_shown(model, values) -> None:
    """The mixture is that of its segments' rows, and drawn as it is."""
    origin = "k-means, columns weighted by the outcome"
    summary = replace(model.summary, candidates=[{"origin": origin}])
    hard, rows = GaussianMixtureModel(model.parameters, summary), rows_of(model, values)
    hard._set(inputCols=NAMES, k=3)
    found = mapped(hard, rows)
    assert found.way == "none"
    assert "k-means whose columns are weighted by the outcome, which no iter" in found.way_words
    (said,) = against_kmeans(hard, rows, ["a", "b", "c"], [], "customers").words
    assert said == "k-means whose columns all count alike comes to the same segments."
    (last,) = found.iterations
    expected = mapped(model, rows).iterations[-1]
    assert last.ellipses == expected.ellipses


def test_blurred_is_the_m_step_of_blurred_probabilities() -> None:
    """Against rows drawn from the mixture: sums by hand."""
    rng = np.random.default_rng(7)
    means = np.array([[0.0, 0.0], [5.0, 2.0]])
    covariances = np.array([[[1.0, 0.3], [0.3, 2.0]], [[0.5, 0.0], [0.0, 0.2]]])
    tables = np.array([[0.9, 0.1], [0.2, 0.8]])
    p = Parameters(structure_named("full"), np.array([0.7, 0.3]), means, covariances,
                   (Categorical((2,)),), (tables,))  # fmt: skip
    n = 200_000
    group = rng.choice(2, n, p=p.weights)
    roots = np.linalg.cholesky(covariances)
    x = means[group] + np.einsum("nij,nj->ni", roots[group], rng.normal(size=(n, 2)))
    code = rng.random(n) < tables[group, 1]
    found = blurred(p, 0.6)
    for j in range(2):
        r = 0.4 * (group == j) + 0.6 * p.weights[j]
        mean = r @ x / r.sum()
        assert_allclose(found.means[j], mean, atol=0.02)
        covariance = ((r[:, None] * (x - mean)).T @ (x - mean)) / r.sum()
        assert_allclose(found.covariances[j], covariance, atol=0.05)
        assert found.tables[j, 1] == pytest.approx(r @ code / r.sum(), abs=0.01)
    assert_allclose(blurred(p, 0.0).covariances, covariances)
    assert_allclose(np.diff(blurred(p, 1.0).means, axis=0), 0, atol=1e-12)


# --- against k-means ----------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_where_groups_are_round_and_far_apart_k_means_agrees(model, values, shift: int) -> None:
    """Whatever numbers the clusters have."""
    rows = rows_of(model, values)
    rows = replace(rows, segment=(rows.segment + shift) % 3)
    found = against_kmeans(model, rows, ["a", "b", "c"], [], "customers")
    assert found.adjusted_rand_index > 0.98
    assert found.words == ["k-means comes to the same segments."]
    table = np.array(found.table)
    assert table.sum() == found.rows == values.shape[1]
    assert found.moved == pytest.approx(1 - np.trace(table) / table.sum())
    assert found.moved < 0.02
    assert table.sum(axis=1).tolist() == [int((rows.segment == j).sum()) for j in range(3)]


def one_mean(n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Two groups with one mean, a narrow and a wide one: k-means cannot tell them apart."""
    rng = np.random.default_rng(8)
    group = (rng.random(n) < 0.5).astype(int)
    return np.where(group, 6.0, 0.5) * rng.normal(size=(2, n)), group


def test_of_two_groups_with_one_mean_the_mixture_is_right() -> None:
    values, group = one_mean()
    model = model_of(values, k=2)
    outcome = group.astype(float)
    outcome[:100] = np.nan
    rows = rows_of(model, values, outcome[None])
    found = against_kmeans(model, rows, ["wide", "narrow"], ["kind"], "customers")
    assert found.adjusted_rand_index < 0.2
    (said,) = found.outcomes
    assert said.rows == len(group) - 100
    assert said.bits > 0.7
    assert said.kmeans_bits < 0.25
    assert said.spread > 0.9
    text = " ".join(found.words)
    assert "divides them otherwise" in text
    assert "Of kind the segments say more" in text
    assert "helped to choose" not in text
    chosen = replace(model.summary, outcomeInformation={"outcome": "kind"})
    judged = GaussianMixtureModel(model.parameters, chosen)
    judged._set(inputCols=NAMES[:2], k=2)
    text = " ".join(against_kmeans(judged, rows, ["w", "n"], ["kind"], "customers").words)
    assert "half of the rows helped to choose the segments by it, and none k-means" in text


def test_noise_and_gaps_are_compared_too(values) -> None:
    rng = np.random.default_rng(9)
    far = np.concatenate([values, rng.uniform(-60, 60, (3, 120))], axis=1)
    model = model_of(far, noise=True)
    far[0, ::7] = np.nan
    rows = rows_of(model, far)
    found = against_kmeans(model, rows, ["a", "b", "c", "noise"], [], "customers")
    table = np.array(found.table)
    assert table.shape == (4, 3)
    assert table[3].sum() == (rows.segment == -1).sum() > 0


def test_of_one_segment_there_is_nothing_to_compare(values) -> None:
    model = model_of(values, k=1)
    assert against_kmeans(model, rows_of(model, values), ["a"], [], "customers") is None
