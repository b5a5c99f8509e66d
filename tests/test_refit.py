"""A model fitted anew: the same segments under the same numbers, on rows that changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linear_sum_assignment
from scipy.stats import multivariate_normal
from sklearn.cluster import KMeans

from gmm_spark.engine.array_source import array_source
from gmm_spark.engine.merging import probabilities
from gmm_spark.engine.scoring import Scorer
from gmm_spark.mixture.divisions import cross_table
from gmm_spark.mixture.families import Categorical
from gmm_spark.mixture.matching import matched
from gmm_spark.mixture.merging import Merge, MergeHierarchy, Merging, cluster_probabilities
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.spec import Grid, Spec
from gmm_spark.mixture.structures import STRUCTURES
from gmm_spark.segment_training import refit_segments, segment_arrays
from gmm_spark.training import FittedMixture, fit_arrays
from tests.test_segment_training import segments_of

SAMPLE = Path(__file__).resolve().parents[1] / "sample" / "telco_churn"
CENTRES = np.array([[0.0, 0.0], [9.0, 1.0], [2.0, 9.0]])


def rows(shares: list[float], seed: int, shift: float = 0.0) -> Any:
    rng = np.random.default_rng(seed)
    group = rng.choice(3, 900, p=shares)
    return group, (CENTRES[group] + shift + rng.normal(size=(900, 2))).T


def refitted(
    values: Any,
    start: Any,
    families: Any = (),
    covariance_floor: Any = "auto",
    missing: Any = "error",
    **more: Any,
) -> FittedMixture:
    spec = Spec(
        k=start.k,
        initial_model=start,
        covariance_type=start.structure.name,
        covariance_floor=covariance_floor,
        missing=missing,
    )
    given = {"merging": None, "origin": "", **more}
    source = array_source(values, families=families)
    return refit_segments(lambda: (source, []), spec, None, **given)


def test_segments_keep_their_numbers_when_their_order_by_size_changes() -> None:
    _, before = rows([0.6, 0.3, 0.1], 1)
    champion = fit_arrays(before, Spec(k=3)).parameters
    group, now = rows([0.1, 0.3, 0.6], 2, shift=0.4)
    found = refitted(now, champion)
    assert_allclose(found.parameters.means, CENTRES + 0.4, atol=0.4)
    assert (segments_of(found, now) == group).mean() > 0.99
    # Nothing but EM from the champion.
    plain = fit_arrays(now, Spec(k=3, initial_model=champion))
    assert_allclose(found.parameters.means, plain.parameters.means, atol=1e-3)
    assert found.candidates[0]["why"] == "is the one there was, fitted anew"


def test_merged_components_stay_merged() -> None:
    _, before = rows([0.4, 0.3, 0.3], 1)
    champion = fit_arrays(before, Spec(k=3)).parameters
    places = [int(np.argmin(((champion.means - c) ** 2).sum(axis=1))) for c in CENTRES]
    together = tuple(sorted(places[:2]))
    clusters = (together, (places[2],))
    merge = Merge(2, (places[0],), (places[1],), 1.0)
    merging = Merging(clusters, MergeHierarchy("entropy", 3, (merge,), 0.0))
    group, now = rows([0.2, 0.3, 0.5], 2)
    found = refitted(now, champion, merging=merging)
    assert found.merging is not None
    assert found.merging.clusters == clusters
    division = segments_of(found, now)
    assert ((division == 1) == (group == 2)).mean() > 0.99
    assert found.merging.sizes == tuple(np.bincount(division))


def test_kmeans_goes_on_as_kmeans() -> None:
    """As scikit-learn's Lloyd from the same centres, in units of the columns' deviations."""
    # One cloud: EM would lead elsewhere, and so does k-means from elsewhere.
    random = np.random.default_rng(3)
    cloud = [random.normal(size=(2, 900)) * [[4.0], [3.0]] + 3 for _ in range(2)]
    scale = cloud[0].std(axis=1)
    start = KMeans(3, n_init=10, random_state=0).fit((cloud[0] / scale[:, None]).T)
    champion = Parameters(
        STRUCTURES["EEI"], np.full(3, 1 / 3), start.cluster_centers_ * scale, 0.3 * scale**2
    )
    now = cloud[1]
    found = refitted(now, champion, origin="k-means")
    scaled = (now / now.std(axis=1, keepdims=True)).T
    first = segments_of_start(champion, now)
    centres = np.array([scaled[first == j].mean(axis=0) for j in range(3)])
    expected = KMeans(3, init=centres, n_init=1, tol=0).fit(scaled)
    assert 0 < (first != expected.labels_).mean() < 0.1
    assert (segments_of(found, now) == expected.labels_).all()
    assert found.candidates[0]["origin"] == "k-means"
    assert found.candidates[0]["why"] == "is the one there was, fitted anew"


def test_of_rows_with_gaps_kmeans_stays_where_it_ended() -> None:
    """Of a third of the rows categories are not known, as of customers without the service that
    they are of: night after night the same rows are in the same segments."""
    random = np.random.default_rng(4)
    group = random.integers(3, size=1500)
    values = CENTRES[group].T * 0.3 + random.normal(size=(2, 1500))
    codes = random.integers(3, size=(4, 1500)).astype(float)
    codes[:, random.random(1500) < 0.4 * (group == 1) + 0.3] = np.nan
    families = [(Categorical((3,) * 4), codes)]
    unit = Parameters.unit(STRUCTURES["EEI"], 3, 2, (families[0][0],))
    start = replace(
        unit,
        means=CENTRES * 0.3,
        family_parameters=(random.dirichlet(np.ones(3), size=(3, 4)).reshape(3, 12),),
    )
    model, before = start, None
    for night in range(4):
        found = refitted(values, model, families, origin="k-means", missing="marginalize")
        now = probabilities_of(found, np.concatenate([values, codes])).argmax(axis=0)
        if night:
            assert (now == before).all()
            assert_allclose(found.parameters.means, model.means, atol=1e-9)
        model, before = found.parameters, now


def test_a_division_by_weighted_kmeans_stays_as_it_is() -> None:
    """EM leads away from it, and of k-means it has no weights: night after night the same rule."""
    _, before = rows([0.5, 0.3, 0.2], 1)
    champion = fit_arrays(before, Spec(k=3)).parameters
    _, now = rows([0.2, 0.3, 0.5], 2, shift=0.4)
    origin = "k-means, columns weighted by the outcome"
    for _ in range(2):
        found = refitted(now, champion, origin=origin)
        assert_allclose(found.parameters.means, champion.means, atol=1e-12)
        assert_allclose(found.parameters.covariances, champion.covariances, atol=1e-12)
        assert found.fit.reason == "kept"
        (row,) = found.candidates
        assert row["why"].startswith("is the one there was, unchanged: its columns were weighted")
        assert not found.notes
        origin = row["origin"]
    group, rest = rows([0.2, 0.3, 0.5], 2, shift=0.4)
    found = refitted(rest[:, group != 1], champion, origin=origin)
    (warning,) = (one for one in found.notes if one.startswith("segments_moved"))
    assert "1 of its 3 segments has no rows any more" in warning


@pytest.mark.parametrize("hard", [False, True])
def test_where_the_whole_way_leads_to_other_segments_it_is_gone_as_far_as_they_stay(hard) -> None:
    _, before = rows([0.5, 0.3, 0.2], 1)
    means, scale = CENTRES, before.std(axis=1)
    champion = fit_arrays(before, Spec(k=3)).parameters
    if hard:
        champion = Parameters(STRUCTURES["EEI"], np.full(3, 1 / 3), means, 0.3 * scale**2)
    random = np.random.default_rng(3)
    now = random.normal(size=(2, 900)) * [[4.0], [3.0]] + 3  # the groups are there no more
    found = refitted(now, champion, origin="k-means" if hard else "")
    (row,) = found.candidates
    assert row["why"].startswith("is the one there was, fitted anew by ")
    assert "from it ends in another one, with " in row["why"]
    (note,) = [one for one in found.notes if one.startswith("segments_moved: ")]
    assert "refit: choose" in note
    then, today = segments_of_parameters(champion, now), segments_of(found, now)
    assert 0 < (then != today).mean() <= 0.1
    assert found.fit.log_likelihood > log_likelihood(champion, now)


def segments_of_parameters(parameters: Parameters, values: Any) -> Any:
    return probabilities(Scorer(parameters, "error"), values).argmax(axis=0)


def log_likelihood(parameters: Parameters, values: Any) -> float:
    parts = [
        np.log(weight) + multivariate_normal(mean, covariance).logpdf(values.T)
        for weight, mean, covariance in zip(
            parameters.weights, parameters.means, parameters.dense_covariances(), strict=True
        )
    ]
    return float(np.logaddexp.reduce(parts).sum())


def test_where_one_step_leads_to_other_segments_the_parameters_stay() -> None:
    # The border between them lies in the middle of a group, and a step is enough to mend that.
    random = np.random.default_rng(0)
    now = np.concatenate([random.normal(-3.0, 1.0, 600), random.normal(3.0, 1.0, 600)])[None]
    champion = Parameters(
        STRUCTURES["EEE"], np.array([0.5, 0.5]), np.array([[-3.0], [8.0]]), np.eye(1)
    )
    found = refitted(now, champion)
    assert found.candidates[0]["why"].startswith("is the one there was, unchanged: EM from it ends")
    assert_allclose(found.parameters.means, champion.means, atol=1e-12)
    assert_allclose(found.parameters.weights, champion.weights, rtol=1e-12)


def segments_of_start(parameters: Parameters, values: Any) -> Any:
    apart = (values[:, None, :] - parameters.means.T[:, :, None]) ** 2
    return (apart / parameters.covariances[:, None, None]).sum(axis=0).argmin(axis=0)


@pytest.mark.long
def test_of_twenty_bootstrap_refits_of_telco_ids_follow_the_members() -> None:
    """Of the same rows scored by both models at most 10 % change their id, and no other assignment
    of ids would leave fewer."""
    table = pd.read_parquet(SAMPLE)
    numbers = table[["tenure", "monthly_charges"]]
    values = ((numbers - numbers.mean()) / numbers.std()).to_numpy(dtype=float).T
    names = ["contract", "internet_service", "payment_method", "tech_support", "multiple_lines"]
    codes = np.array([pd.Categorical(table[name]).codes for name in names], dtype=float)
    family = Categorical(tuple(int(table[name].nunique()) for name in names))
    outcome = table["churn"].astype(str).str.lower().isin(["yes", "true", "1"]).to_numpy(float)
    tried = Grid(k=(4, 5, 6), criterion="segmentation")
    champion = segment_arrays(values, Spec(), tried, families=[(family, codes)], outcomes=outcome)
    rows = np.concatenate([values, codes])
    before = probabilities_of(champion, rows)
    for seed in range(20):
        drawn = np.random.default_rng(seed).integers(len(table), size=len(table))
        families = [(family, codes[:, drawn])]
        found = refitted(
            values[:, drawn],
            champion.parameters,
            families=families,
            merging=champion.merging,
            origin=champion.candidates[0]["origin"],
            covariance_floor=champion.spec.covariance_floor,
        )
        after = probabilities_of(found, rows)
        k = len(before)
        table_of_ids = cross_table(before.argmax(axis=0), after.argmax(axis=0))
        ids = np.array(matched(table_of_ids, range(k), k, before @ after.T).ids)
        kept = sum(table_of_ids[id, j] for j, id in enumerate(ids) if id < k)
        best = table_of_ids[linear_sum_assignment(table_of_ids, maximize=True)].sum()
        assert kept == best
        assert kept >= 0.9 * len(table)


def probabilities_of(found: FittedMixture, values: Any) -> Any:
    """Of the segments, (k, rows)."""
    of_components = probabilities(Scorer(found.parameters, "marginalize"), values)
    if found.merging is None:
        return of_components
    return cluster_probabilities(of_components, found.merging.clusters)
