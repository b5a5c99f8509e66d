"""The map's axes are Fisher's discriminants, and its ellipses those of the projected mixture."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import linalg
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from gmm_spark.engine.scoring import central
from gmm_spark.mixture.discriminants import discriminants, ellipses, positions
from gmm_spark.mixture.families import Categorical, Count
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import STRUCTURES, structure_named

RNG = np.random.default_rng(5)
ALONE = ((0,), (1,), (2,))


def covariances(k: int, d: int, seed: int = 0) -> np.ndarray:
    roots = np.random.default_rng(seed).normal(size=(k, d, d))
    return roots @ roots.swapaxes(1, 2) / d + 0.2 * np.eye(d)


def mixture(k: int = 3, d: int = 4, seed: int = 0) -> Parameters:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(k, 5.0))
    means = 100 + 3 * rng.normal(size=(k, d))
    return Parameters(structure_named("full"), weights, means, covariances(k, d, seed))


def of_rows(rows: np.ndarray, labels: np.ndarray) -> Parameters:
    """The mixture whose moments are those of labelled rows (n, d)."""
    groups = [rows[labels == g] for g in np.unique(labels)]
    return Parameters(
        structure_named("full"),
        np.array([len(own) / len(rows) for own in groups]),
        np.array([own.mean(axis=0) for own in groups]),
        np.array([np.cov(own.T, bias=True) for own in groups]),
    )


def test_axes_are_those_of_discriminant_analysis_on_rows() -> None:
    n, labels = 3000, RNG.integers(0, 3, 3000)
    shared = np.linalg.cholesky(covariances(1, 4)[0])
    rows = (2 * RNG.normal(size=(3, 4)))[labels] + RNG.normal(size=(n, 4)) @ shared.T
    rows *= [1.0, 1e3, 1e-3, 1.0]  # units of columns do not matter
    found = discriminants(of_rows(rows, labels), ALONE)
    peer = LinearDiscriminantAnalysis(solver="eigen").fit(rows, labels)
    theirs = peer.transform(rows)[:, :2]
    ours = (rows - found.centre) @ found.directions
    for axis in range(2):
        assert abs(np.corrcoef(ours[:, axis], theirs[:, axis])[0, 1]) == pytest.approx(1, abs=1e-9)
        within = np.average([ours[labels == g, axis].var() for g in range(3)],
                            weights=np.bincount(labels))  # fmt: skip
        assert within == pytest.approx(1, rel=1e-9)
    assert_allclose(found.separation / found.separation.sum(), peer.explained_variance_ratio_[:2],
                    rtol=1e-6)  # fmt: skip
    # Two axes show all there is between three segments.
    assert found.share == pytest.approx(1)
    correlations = np.corrcoef(np.column_stack([rows, ours]).T)[:4, 4:]
    assert_allclose(found.correlations, correlations, atol=1e-9)


@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_the_share_is_that_of_the_distances_between_segments_up_to_four(spread) -> None:
    p = mixture(k=6, d=5)
    p = replace(p, means=p.means[0] + spread * (p.means - p.means[0]) / 3)
    found = discriminants(p, tuple((j,) for j in range(6)))
    apart = p.means - p.weights @ p.means
    between = (p.weights[:, None] * apart).T @ apart
    within = np.tensordot(p.weights, p.covariances, axes=1)
    values, vectors = linalg.eigh(between, within)
    values, places = values[::-1], p.means @ vectors[:, ::-1]

    def told(axes: list[int]) -> float:
        return sum(
            p.weights[i] * p.weights[j] * min(16.0, ((places[i] - places[j])[axes] ** 2).sum())
            for i, j in combinations(range(6), 2)
        )

    best = max(combinations(range(5), 2), key=lambda pair: told(list(pair)))
    assert_allclose(found.separation, values[list(best)], rtol=1e-7)
    assert found.share == pytest.approx(told(list(best)) / told([0, 1, 2, 3, 4]))
    if spread < 1:  # nothing is four deviations apart
        assert best == (0, 1)
        assert found.share == pytest.approx(values[:2].sum() / values.sum())


def test_of_two_segments_the_second_axis_is_the_widest_uncorrelated_one() -> None:
    p = mixture(k=2, d=3)
    found = discriminants(p, ((0,), (1,)))
    within = np.tensordot(p.weights, p.covariances, axes=1)
    apart = p.means[0] - p.means[1]
    a, b = found.directions.T
    fisher = np.linalg.solve(within, apart)
    assert abs(a @ fisher) / np.linalg.norm(a) / np.linalg.norm(fisher) == pytest.approx(1)
    assert_allclose([a @ within @ a, b @ within @ b, a @ within @ b], [1, 1, 0], atol=1e-9)
    assert found.separation[1] == pytest.approx(0, abs=1e-9)
    whole = within + p.weights.prod() * np.outer(apart, apart)
    scale = np.sqrt(np.diag(whole))
    best = 1 / np.linalg.norm(b * scale)  # its deviation, of a direction of length 1
    for turn in np.linspace(0, np.pi, 181):
        free = linalg.null_space((within / scale[:, None] @ (a))[None])
        other = free @ [np.cos(turn), np.sin(turn)]
        assert np.sqrt(other @ (within / np.outer(scale, scale)) @ other) <= best + 1e-9


def test_of_one_segment_they_are_its_principal_components() -> None:
    p = mixture(k=1, d=4)
    found = discriminants(p, ((0,),))
    deviations = np.sqrt(np.diag(p.covariances[0]))
    vectors = np.linalg.eigh(p.covariances[0] / np.outer(deviations, deviations))[1][:, ::-1]
    for axis in range(2):
        own = found.directions[:, axis] * deviations
        assert abs(own @ vectors[:, axis]) / np.linalg.norm(own) == pytest.approx(1)
    assert found.share == 1
    assert_allclose(found.separation, 0, atol=1e-12)


@pytest.mark.parametrize("code", ["VVV", "EEE", "VVI", "EEI", "VII", "EII"])
def test_ellipses_are_the_moments_of_projected_rows(code: str) -> None:
    structure, full = STRUCTURES[code], mixture(d=3)
    p = replace(full, structure=structure,
                covariances=structure.projected(full.covariances, full.weights))  # fmt: skip
    axes = discriminants(p, ALONE)
    found = ellipses(p, axes)
    dense = p.dense_covariances()
    for j in range(3):
        assert_allclose(found.means[j], (p.means[j] - axes.centre) @ axes.directions)
        covariance = found.factors[j] @ found.factors[j].T
        assert_allclose(covariance, axes.directions.T @ dense[j] @ axes.directions, atol=1e-9)
        assert found.factors[j, 0, 1] == 0
    inside = np.tensordot(p.weights, found.factors @ found.factors.swapaxes(1, 2), axes=1)
    assert_allclose(inside, np.eye(2), atol=1e-9)


def test_merged_components_are_one_segment() -> None:
    p = mixture(k=4, d=3)
    found = discriminants(p, ((0, 2), (1,), (3,)))
    weights = np.array([p.weights[[0, 2]].sum(), *p.weights[[1, 3]]])
    middle = p.weights[[0, 2]] @ p.means[[0, 2]] / weights[0]
    apart = np.array([middle, *p.means[[1, 3]]]) - p.weights @ p.means
    between = (weights[:, None] * apart).T @ apart
    inside = p.means[[0, 2]] - middle
    within = np.tensordot(p.weights, p.covariances, axes=1)
    within += (p.weights[[0, 2], None] * inside).T @ inside
    values = linalg.eigh(between, within, eigvals_only=True)[::-1]
    assert_allclose(found.separation, values[:2], rtol=1e-8)


def mixed() -> Parameters:
    numbers = mixture(k=3, d=2)
    tables = np.array(
        [[0.6, 0.3, 0.1, 0.8, 0.2], [0.2, 0.2, 0.6, 0.1, 0.9], [0.1, 0.8, 0.1, 0.5, 0.5]]
    )
    rates = np.array([[0.5], [4.0], [12.0]])
    return replace(
        numbers, families=(Categorical((3, 2)), Count(1)), family_parameters=(tables, rates)
    )


def drawn(p: Parameters, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    component = rng.choice(p.k, n, p=p.weights)
    roots = np.linalg.cholesky(p.dense_covariances())
    numbers = p.means[component] + np.einsum("nij,nj->ni", roots[component],
                                             rng.normal(size=(n, p.d)))  # fmt: skip
    others = [
        family.draw(values, component, rng)
        for family, values in zip(p.families, p.family_parameters, strict=True)
    ]
    return np.concatenate([numbers.T, *others]), component


def test_categories_and_counts_have_axes_and_ellipses_as_their_rows_have() -> None:
    p = mixed()
    axes = discriminants(p, ALONE)
    block, component = drawn(p, 60_000)
    at = positions(block, p, central(p), axes)
    found = ellipses(p, axes)
    for j in range(3):
        own = at[:, component == j]
        assert_allclose(own.mean(axis=1), found.means[j], atol=0.05)
        assert_allclose(np.cov(own), found.factors[j] @ found.factors[j].T, atol=0.06)
    # One-hot coordinates, by hand.
    hot = np.concatenate([block[:2], np.eye(3)[block[2].astype(int)].T,
                          np.eye(2)[block[3].astype(int)].T, block[4:]])  # fmt: skip
    assert_allclose(at, axes.directions.T @ (hot - axes.centre[:, None]), atol=1e-9)
    deviations = hot.std(axis=1)
    correlations = np.corrcoef(np.concatenate([hot, at]))[:8, 8:]
    assert (deviations > 0).all()
    assert_allclose(axes.correlations, correlations, atol=0.03)


def test_gaps_stand_where_the_mixture_expects_them() -> None:
    p = mixed()
    axes = discriminants(p, ALONE)
    block, _ = drawn(p, 30_000)
    at = positions(block, p, central(p), axes)
    hidden = np.array(block)
    rng = np.random.default_rng(8)
    hidden[rng.random(hidden.shape) < 0.3] = np.nan
    found = positions(hidden, p, central(p), axes)
    complete = ~np.isnan(hidden).any(axis=0)
    assert_allclose(found[:, complete], at[:, complete], rtol=1e-9)
    # A conditional mean errs by nothing on average, and goes with nothing that is known.
    assert_allclose((found - at)[:, ~complete].mean(axis=1), 0, atol=0.04)
    left, right = (found - at)[:, ~complete], found[:, ~complete]
    assert abs(np.corrcoef(left[0], right[0])[0, 1]) < 0.03
    nothing = np.full((len(block), 1), np.nan)
    assert_allclose(positions(nothing, p, central(p), axes), 0, atol=1e-9)


def test_of_one_column_there_is_no_map() -> None:
    assert discriminants(mixture(k=3, d=1), ALONE) is None
    p = mixture(k=3, d=0)
    two_values = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    p = replace(p, means=np.zeros((3, 0)), covariances=np.zeros((3, 0, 0)),
                families=(Categorical((2,)),), family_parameters=(two_values,))  # fmt: skip
    assert discriminants(p, ALONE) is None
    tables = np.array([[0.2, 0.7, 0.1], [0.5, 0.3, 0.2], [0.8, 0.1, 0.1]])
    p = replace(p, families=(Categorical((3,)),), family_parameters=(tables,))
    assert discriminants(p, ALONE) is not None


def test_columns_of_one_value_in_a_segment_leave_the_rest_to_be_seen() -> None:
    """Three plans, told apart by two columns without variance, each of a low and a high use."""
    plans = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    means = np.array([[*plan, use] for plan in plans for use in (0.0, 3.0)])
    covariances = np.tile(np.diag([1e-4, 1e-4, 1.0]), (6, 1, 1))
    mixture = Parameters(structure_named("full"), np.full(6, 1 / 6), means, covariances)
    axes = discriminants(mixture, tuple((j,) for j in range(6)))
    assert axes is not None
    places = (means - axes.centre) @ axes.directions
    apart = np.sqrt(((places[:, None] - places) ** 2).sum(axis=2))[np.triu_indices(6, 1)]
    assert apart.min() > 2.9
    assert axes.share == pytest.approx(1)
