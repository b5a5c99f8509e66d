"""A model fitted anew: the same segments under the same numbers, on rows that changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linear_sum_assignment
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
    **more: Any,
) -> FittedMixture:
    spec = Spec(
        k=start.k,
        initial_model=start,
        covariance_type=start.structure.name,
        covariance_floor=covariance_floor,
    )
    given = {"merging": None, "hard": False, **more}
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
    _, before = rows([0.5, 0.3, 0.2], 1)
    start = KMeans(3, n_init=1, random_state=0).fit((before / before.std(1, keepdims=True)).T)
    scale = before.std(axis=1)
    champion = Parameters(
        STRUCTURES["EEI"], np.full(3, 1 / 3), start.cluster_centers_ * scale, 0.3 * scale**2
    )
    rng = np.random.default_rng(3)
    now = rng.normal(size=(2, 900)) * [[4.0], [3.0]] + 3  # one cloud: EM would lead elsewhere
    found = refitted(now, champion, hard=True)
    scaled = (now / now.std(axis=1, keepdims=True)).T
    first = segments_of_start(champion, now)
    centres = np.array([scaled[first == j].mean(axis=0) for j in range(3)])
    expected = KMeans(3, init=centres, n_init=1, tol=0).fit(scaled)
    assert (segments_of(found, now) == expected.labels_).all()
    assert found.candidates[0]["origin"] == "k-means"


def segments_of_start(parameters: Parameters, values: Any) -> Any:
    apart = (values[:, None, :] - parameters.means.T[:, :, None]) ** 2
    return (apart / parameters.covariances[:, None, None]).sum(axis=0).argmin(axis=0)


def test_where_em_would_leave_the_segments_the_champion_stays() -> None:
    _, before = rows([0.5, 0.3, 0.2], 1)
    champion = fit_arrays(before, Spec(k=3)).parameters
    rng = np.random.default_rng(3)
    now = rng.normal(size=(2, 900)) * 0.5 + [[4.0], [4.0]]  # none of the groups is there any more
    found = refitted(now, champion)
    assert found.candidates[0]["why"].startswith("is the one there was, unchanged")
    assert_allclose(found.parameters.means, champion.means, rtol=1e-6)


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
            hard=champion.candidates[0]["origin"] == "k-means",
            covariance_floor=champion.spec.covariance_floor,
        )
        after = probabilities_of(found, rows)
        k = len(before)
        ids = np.array(matched(before @ after.T, range(k), k).ids)
        table_of_ids = cross_table(before.argmax(axis=0), after.argmax(axis=0))
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
