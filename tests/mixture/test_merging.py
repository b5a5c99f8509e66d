"""Components merged into clusters, against mclust, loops over rows, and sums over values."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

from gmm_spark.engine.merging import probabilities
from gmm_spark.engine.scoring import Scorer, Scores
from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.families import Categorical, Count, Noise
from gmm_spark.mixture.merging import (
    EntropyMerging,
    Merging,
    Request,
    bhattacharyya_hierarchy,
    checked_merging,
    cluster_probabilities,
    numbered,
    pooled,
)
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import STRUCTURES

# Records of mclust_merging.jsonl; a test below asks for each.
REFERENCES = ("baudry_ex4.3", "baudry_ex4.4.1", "iris")


def by_entropy(
    responsibilities: np.ndarray,
    k: int = 1,
    weights: np.ndarray | None = None,
    *,
    has_noise: bool = False,
    foretold_by: Any = None,
    parts: int = 1,
) -> Any:
    """The merges of rows in so many parts, foretold by other responsibilities where given."""
    rows = responsibilities.shape[1]
    given = np.ones(rows) if weights is None else weights

    def sums(request: Request) -> np.ndarray:
        pieces = np.array_split(np.arange(rows), parts)
        found = [
            request.sums(responsibilities[:, at], None if weights is None else weights[at])
            for at in pieces
        ]
        return np.sum(found, axis=0)

    components = len(responsibilities) - has_noise
    foretell = None
    if foretold_by is not None:

        def foretell(request: Request) -> np.ndarray:
            return request.sums(foretold_by, None)

    work = EntropyMerging(
        components,
        has_noise,
        k,
        lambda partition: partition,
        sums,
        float(given.sum()),
        foretell,
        1.0 if foretold_by is None else foretold_by.shape[1],
    )
    hierarchy, sizes = work.run()
    return hierarchy, sizes, work.looks


def soft(rows: int, k: int, seed: int = 0, spread: float = 1.5) -> np.ndarray:
    """Responsibilities (k, rows) of rows that are sure to differing degrees."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=(k, 1)) + spread * rng.normal(size=(k, rows))
    found = np.exp(logits)
    return np.asarray(found / found.sum(axis=0))


def entropy_by_loops(t: np.ndarray, clusters: Any, weights: Any = None) -> float:
    total = 0.0
    for row in range(t.shape[1]):
        for cluster in clusters:
            share = sum(t[component, row] for component in cluster)
            if share > 0:
                weight = 1.0 if weights is None else weights[row]
                total -= weight * share * np.log(share)
    return total


def merges_by_loops(t: np.ndarray, k: int, weights: Any = None) -> list[tuple[Any, Any, float]]:
    """The pair whose merging leaves the least entropy, again and again."""
    fixed = [(component,) for component in range(k, len(t))]
    clusters = [(component,) for component in range(k)]
    found = []
    while len(clusters) > 1:
        tried = []
        for one, other in combinations(clusters, 2):
            rest = [cluster for cluster in clusters if cluster not in (one, other)]
            entropy = entropy_by_loops(t, [*rest, one + other, *fixed], weights)
            tried.append((entropy, one, other))
        entropy, one, other = min(tried)
        at = clusters.index(one)
        clusters[at] = tuple(sorted(one + other))
        clusters.remove(other)
        found.append((one, other, entropy))
    return found


def assert_merges(hierarchy: Any, expected: Any) -> None:
    assert [(m.first, m.second) for m in hierarchy.merges] == [(a, b) for a, b, _ in expected]
    assert_allclose([m.measure for m in hierarchy.merges], [e for *_, e in expected], atol=1e-9)


@pytest.fixture(scope="module")
def references(shared_data) -> dict[str, Any]:
    text = (shared_data / "classic_gmm/reference/mclust_merging.jsonl").read_text()
    return {one["dataset"]: one for one in map(json.loads, text.splitlines())}


def test_every_record_of_mclust_is_asked_for(references) -> None:
    assert set(references) == set(REFERENCES)


@pytest.mark.parametrize("name", REFERENCES)
def test_merges_and_entropies_are_those_of_mclust(name, references, shared_data) -> None:
    one = references[name]
    table = pd.read_csv(shared_data / f"classic_gmm/data/{name}.csv")
    parameters = Parameters(
        STRUCTURES["VVV"],
        np.array(one["weights"]),
        np.array(one["means"]),
        np.array(one["covariances"]),
    )
    rows = table[one["columns"]].to_numpy(dtype=float).T
    hierarchy, sizes, _ = by_entropy(probabilities(Scorer(parameters, "error"), rows), k=2)
    found = []
    for left in range(one["G"], 1, -1):
        before, merge = hierarchy.partition(left), hierarchy.merges[one["G"] - left]
        found.append([before.index(merge.first) + 1, before.index(merge.second) + 1])
    assert found == one["merges"]
    entropies = [merge.measure for merge in hierarchy.merges[::-1]] + [hierarchy.unmerged]
    assert_allclose(entropies, one["entropy_by_clusters"], rtol=1e-6, atol=1e-12)
    assert sum(sizes) == len(table)


@pytest.mark.parametrize("weighted", [False, True])
def test_every_merge_is_the_one_that_leaves_the_least_entropy(weighted) -> None:
    t = soft(60, 6)
    weights = np.random.default_rng(1).random(60) * 3 if weighted else None
    hierarchy, _, _ = by_entropy(t, weights=weights)
    assert_merges(hierarchy, merges_by_loops(t, 6, weights))
    singles = [(component,) for component in range(6)]
    assert_allclose(hierarchy.unmerged, entropy_by_loops(t, singles, weights), rtol=1e-12)
    for k in range(1, 6):
        assert len(hierarchy.partition(k)) == k
        measure = hierarchy.merges[5 - k].measure
        expected = entropy_by_loops(t, hierarchy.partition(k), weights)
        assert_allclose(measure, expected, rtol=1e-12, atol=1e-12)


def test_a_row_of_weight_two_is_the_row_twice() -> None:
    t = soft(50, 5, seed=2)
    weights = np.where(np.arange(50) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(t, weights.astype(int), axis=1)
    weighted, _, _ = by_entropy(t, weights=weights)
    plain, _, _ = by_entropy(twice)
    assert_merges(weighted, [(m.first, m.second, m.measure) for m in plain.merges])
    assert_allclose(weighted.unmerged, plain.unmerged, rtol=1e-12)


def test_rows_in_parts_give_the_same_merges() -> None:
    """Where several merges gain nothing the first pair is taken, however sums were rounded."""
    pairs = soft(500, 2, seed=3)
    t = np.zeros((6, 1500))
    for j in range(3):
        t[2 * j : 2 * j + 2, 500 * j : 500 * (j + 1)] = pairs  # three gains that are the same
    whole, _, _ = by_entropy(t)
    assert [(m.first, m.second) for m in whole.merges[:3]] == [
        ((0,), (1,)),
        ((2,), (3,)),
        ((4,), (5,)),
    ]
    rng = np.random.default_rng(4)
    for parts in (2, 7, 100):
        shuffled = t[:, rng.permutation(1500)]
        found, _, _ = by_entropy(shuffled, parts=parts)
        assert_merges(found, [(m.first, m.second, m.measure) for m in whole.merges])


def test_noise_is_merged_with_nothing_and_its_entropy_counts() -> None:
    t = soft(60, 5, seed=5)  # the last is noise
    hierarchy, sizes, _ = by_entropy(t, 2, has_noise=True)
    assert_merges(hierarchy, merges_by_loops(t, 4))
    assert hierarchy.partition(1) == ((0, 1, 2, 3),)
    chances = cluster_probabilities(t, hierarchy.partition(2))
    assert_array_equal(sizes, np.bincount(chances.argmax(axis=0), minlength=3))


def test_one_look_at_the_rows_is_enough_where_a_sample_says_the_same() -> None:
    t = soft(2000, 8, seed=6)
    alone, sizes, _ = by_entropy(t, 3)
    found, again, looks = by_entropy(t, 3, foretold_by=t[:, :1000])
    assert_merges(found, [(m.first, m.second, m.measure) for m in alone.merges])
    assert again == sizes
    assert looks == 1


def test_a_sample_that_is_mistaken_costs_looks_and_nothing_else() -> None:
    t = soft(2000, 8, seed=6)
    alone, sizes, _ = by_entropy(t, 3)
    other = soft(300, 8, seed=99)
    assert by_entropy(other)[0].merges[0] != alone.merges[0]
    found, again, looks = by_entropy(t, 3, foretold_by=other)
    assert_merges(found, [(m.first, m.second, m.measure) for m in alone.merges])
    assert again == sizes
    assert 1 < looks <= 8


def test_a_row_that_is_surely_in_one_component_has_no_entropy() -> None:
    t = np.eye(4)[:, [0, 1, 2, 3, 3]]
    hierarchy, sizes, _ = by_entropy(t, 2)
    assert hierarchy.unmerged == 0
    assert [m.measure for m in hierarchy.merges] == [0, 0, 0]
    assert sum(sizes) == 5


def test_one_component_is_one_cluster() -> None:
    hierarchy, sizes, _ = by_entropy(np.ones((1, 9)))
    assert hierarchy.merges == ()
    assert hierarchy.partition(1) == ((0,),)
    assert sizes == (9,)


def test_probabilities_of_clusters_are_the_sums_of_their_components() -> None:
    t = soft(20, 5, seed=7)
    found = cluster_probabilities(t, ((1, 3), (0, 2)))  # the last is noise
    assert_allclose(found, [t[1] + t[3], t[0] + t[2], t[4]])


def test_a_rows_component_is_the_likeliest_of_its_cluster_not_of_all() -> None:
    t = np.array([[0.35, 0.1], [0.25, 0.1], [0.4, 0.8]])
    scores = Scores(np.array([2, 2], dtype=np.int32), t, np.zeros(2), 1 - t.max(axis=0))
    clusters = ((0, 1), (2,))
    found = scores.of_clusters(clusters)
    assert_array_equal(found.prediction, [0, 1])
    assert_allclose(found.uncertainty, [0.4, 0.2])
    assert_array_equal(scores.component_within(found.prediction, clusters), [0, 2])


def test_clusters_are_numbered_by_weight_or_by_their_first_component() -> None:
    partition = ((0,), (1, 3), (2,))
    weights = np.array([0.2, 0.15, 0.35, 0.3])
    assert numbered(partition, weights, keep_order=False) == ((1, 3), (2,), (0,))
    assert numbered(((1, 3), (2,), (0,)), weights, keep_order=True) == partition


@pytest.mark.parametrize(
    ("k", "by", "said"),
    [
        (0, "entropy", "k is 0; it must be from 1 to the number of components, 3"),
        (4, "entropy", "k is 4; it must be from 1 to the number of components, 3"),
        (2, "ward", "by is 'ward'; it must be one of entropy, bhattacharyya"),
    ],
)
def test_what_cannot_be_merged_is_one_clear_error(k, by, said) -> None:
    with pytest.raises(SettingError, match=said):
        checked_merging(k, 3, by)


def test_a_merging_goes_through_json() -> None:
    hierarchy, sizes, _ = by_entropy(soft(40, 4), 2)
    merging = Merging(hierarchy.partition(2), hierarchy, sizes)
    assert Merging.from_json(json.loads(json.dumps(merging.to_json())), 4) == merging
    broken = merging.to_json() | {"clusters": [[0, 1], [1, 3]]}
    with pytest.raises(ValueError, match="are not of 4 components"):
        Merging.from_json(broken, 4)


# --- Bhattacharyya ------------------------------------------------------------------------


def normals(weights: Any, means: Any, covariances: Any, **more: Any) -> Parameters:
    means = np.array(means, dtype=float).reshape(len(weights), -1)
    d = means.shape[1]
    matrices = np.array(covariances, dtype=float).reshape(len(weights), d, d)
    return Parameters(STRUCTURES["VVV"], np.array(weights), means, matrices, **more)


def test_the_distance_of_normals_is_minus_the_log_of_the_integral() -> None:
    mixture = normals([0.5, 0.5], [[0.0], [2.5]], [1.0, 4.0])
    one, other = stats.norm(0, 1), stats.norm(2.5, 2)
    coefficient, _ = integrate.quad(lambda x: np.sqrt(one.pdf(x) * other.pdf(x)), -40, 40)
    (merge,) = bhattacharyya_hierarchy(mixture).merges
    assert_allclose(merge.measure, -np.log(coefficient), rtol=1e-9)


def test_the_distance_in_two_columns_is_minus_the_log_of_the_integral() -> None:
    covariances = [[[1.0, 0.6], [0.6, 2.0]], [[0.5, -0.2], [-0.2, 0.3]]]
    means = [[0.0, 0.0], [1.0, -1.5]]
    grid = np.linspace(-15, 15, 1201)
    at = np.stack(np.meshgrid(grid, grid), axis=-1)
    densities = [
        stats.multivariate_normal(mean, covariance).pdf(at)
        for mean, covariance in zip(means, covariances, strict=True)
    ]
    coefficient = np.sqrt(densities[0] * densities[1]).sum() * (grid[1] - grid[0]) ** 2
    (merge,) = bhattacharyya_hierarchy(normals([0.7, 0.3], means, covariances)).merges
    assert_allclose(merge.measure, -np.log(coefficient), rtol=1e-8)


def test_columns_of_families_count_beside_the_numbers() -> None:
    tables = np.array([[0.7, 0.2, 0.1, 0.9, 0.1], [0.1, 0.3, 0.6, 0.5, 0.5]])
    rates = np.array([[2.0], [7.5]])
    mixture = normals(
        [0.5, 0.5],
        [[0.0], [2.5]],
        [1.0, 4.0],
        families=(Categorical((3, 2)), Count(1)),
        family_parameters=(tables, rates),
    )
    counts = np.arange(200)
    poissons = [stats.poisson(rate).pmf(counts) for rate in rates[:, 0]]
    expected = -np.log(np.sqrt(tables[0] * tables[1])[:3].sum())
    expected -= np.log(np.sqrt(tables[0] * tables[1])[3:].sum())
    expected -= np.log(np.sqrt(poissons[0] * poissons[1]).sum())
    (numbers,) = bhattacharyya_hierarchy(normals([0.5, 0.5], [[0.0], [2.5]], [1.0, 4.0])).merges
    (merge,) = bhattacharyya_hierarchy(mixture).merges
    assert_allclose(merge.measure, numbers.measure + expected, rtol=1e-9)
    alone = replace(mixture, means=np.zeros((2, 0)), covariances=np.zeros((2, 0, 0)))
    assert_allclose(bhattacharyya_hierarchy(alone).merges[0].measure, expected, rtol=1e-9)


def test_a_merged_cluster_has_the_moments_of_its_components() -> None:
    """Those of rows drawn from them."""
    rng = np.random.default_rng(8)
    means, roots = rng.normal(size=(3, 2)) * 3, rng.normal(size=(3, 2, 2))
    covariances = roots @ roots.swapaxes(1, 2) + np.eye(2)
    mixture = normals(
        [0.5, 0.3, 0.2],
        means,
        covariances,
        families=(Count(1),),
        family_parameters=(np.array([[1.0], [4.0], [9.0]]),),
    )
    found = pooled(mixture, ((0, 2), (1,)))
    component = rng.choice([0, 2], p=[5 / 7, 2 / 7], size=400_000)
    factors = np.linalg.cholesky(covariances)
    drawn = means[component] + np.einsum(
        "nij,nj->ni", factors[component], rng.normal(size=(component.size, 2))
    )
    assert_allclose(found.weights, [0.7, 0.3])
    assert_allclose(found.means[0], drawn.mean(axis=0), atol=0.05)
    assert_allclose(found.covariances[0], np.cov(drawn.T), rtol=0.02, atol=0.1)
    assert_allclose(found.means[1], means[1])
    assert_allclose(found.covariances[1], covariances[1])
    assert_allclose(found.family_parameters[0], [[(5 * 1 + 2 * 9) / 7], [4.0]])


def test_the_nearest_clusters_are_merged_a_cluster_standing_for_its_moments() -> None:
    """By loops: after every merge the distances of the normals that stand for the clusters."""
    rng = np.random.default_rng(9)
    mixture = normals(
        np.full(6, 1 / 6), rng.normal(size=(6, 2)) * 4, [np.eye(2) * s for s in 1 + rng.random(6)]
    )

    def distance(means: Any, covariances: Any) -> float:
        middle = (covariances[0] + covariances[1]) / 2
        apart = means[0] - means[1]
        volumes = [np.linalg.det(covariance) for covariance in covariances]
        ratio = np.linalg.det(middle) / np.sqrt(volumes[0] * volumes[1])
        return float(apart @ np.linalg.inv(middle) @ apart / 8 + np.log(ratio) / 2)

    clusters: list[tuple[int, ...]] = [(j,) for j in range(6)]
    for merge in bhattacharyya_hierarchy(mixture).merges:
        tried = []
        for a, b in combinations(clusters, 2):
            both = pooled(mixture, (a, b))
            tried.append((distance(both.means, both.covariances), a, b))
        measure, a, b = min(tried)
        assert (merge.first, merge.second) == (a, b)
        assert_allclose(merge.measure, measure, rtol=1e-9)
        clusters[clusters.index(a)] = tuple(sorted(a + b))
        clusters.remove(b)


def test_units_and_noise_do_not_change_distances() -> None:
    rng = np.random.default_rng(10)
    roots = rng.normal(size=(3, 3, 3)) + 2 * np.eye(3)
    mixture = normals([0.4, 0.3, 0.3], rng.normal(size=(3, 3)), roots @ roots.swapaxes(1, 2))
    scale = np.array([1e-120, 1e120, 1.0])
    noise = Noise(0.1, np.zeros(3), np.zeros(3))
    other = replace(
        mixture,
        weights=0.9 * mixture.weights,
        means=scale * mixture.means,
        covariances=mixture.covariances * scale[:, None] * scale,
        noise=noise,
    )
    expected, found = bhattacharyya_hierarchy(mixture), bhattacharyya_hierarchy(other)
    assert_merges(found, [(m.first, m.second, m.measure) for m in expected.merges])


def test_components_that_lost_their_rows_are_merged_too() -> None:
    mixture = normals([1.0, 0.0, 0.0], [[0.0], [1.0], [1.5]], [1.0, 1.0, 1.0])
    hierarchy = bhattacharyya_hierarchy(mixture)
    assert [(m.first, m.second) for m in hierarchy.merges] == [((1,), (2,)), ((0,), (1, 2))]
    assert_allclose(
        hierarchy.merges[1].measure,
        ((1.25**2) / 8) / 1.03125 + 0.5 * np.log(1.03125 / np.sqrt(1.0625)),
        rtol=1e-9,
    )
