"""A model fitted anew: the same segments under the same numbers, on rows that changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.testing import assert_allclose
from sklearn.cluster import KMeans

from gmm_spark.engine.array_source import array_source
from gmm_spark.mixture.merging import Merge, MergeHierarchy, Merging
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.spec import Spec
from gmm_spark.mixture.structures import STRUCTURES
from gmm_spark.segment_training import refit_segments
from gmm_spark.training import FittedMixture, fit_arrays
from tests.test_segment_training import segments_of

CENTRES = np.array([[0.0, 0.0], [9.0, 1.0], [2.0, 9.0]])


def rows(shares: list[float], seed: int, shift: float = 0.0) -> Any:
    rng = np.random.default_rng(seed)
    group = rng.choice(3, 900, p=shares)
    return group, (CENTRES[group] + shift + rng.normal(size=(900, 2))).T


def refitted(values: Any, start: Any, **more: Any) -> FittedMixture:
    spec = Spec(k=start.k, initial_model=start, covariance_type=start.structure.name)
    given = {"merging": None, "hard": False, **more}
    return refit_segments(lambda: (array_source(values), []), spec, None, **given)


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
