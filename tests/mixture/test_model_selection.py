"""Choosing k and the structure on a sample: criteria, estimates for all the rows, finalists."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.mixture import GaussianMixture as PeerMixture

from gmm_spark.mixture import model_selection
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.model_selection import finalists, grid, penalised
from gmm_spark.mixture.spec import Criterion
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import plain_scales


def three_groups(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 6.0]])
    return np.ascontiguousarray(rng.normal(size=(2, n)) + centres[rng.integers(0, 3, n)].T)


def sample_of(block: np.ndarray, code: str = "VVV") -> Sample:
    return Sample(block, None, plain_scales(block, STRUCTURES[code]), np.full(2, 1e-3))


def tried(block, codes=("VVV",), ks=(1, 2, 3, 4), criterion="bic", weight=None, **options):
    samples = {code: sample_of(block, code) for code in codes}
    structures = [STRUCTURES[code] for code in codes]
    weight = float(block.shape[1]) if weight is None else weight
    return grid(samples, ks, structures, criterion, weight, num_init=4, **options)


def test_criteria_are_scikit_learns_and_mclusts() -> None:
    block = three_groups(500)
    peer = PeerMixture(3, n_init=3, random_state=0, tol=1e-8).fit(block.T)
    total = 500 * peer.score(block.T)
    assert_allclose(penalised("bic", total, -9.0, 17, 500), peer.bic(block.T), rtol=1e-9)
    assert_allclose(penalised("aic", total, -9.0, 17, 500), peer.aic(block.T), rtol=1e-9)
    # mclust: BIC + 2 sum of log z, where higher is better.
    assert_allclose(penalised("icl", total, -9.0, 17, 500), peer.bic(block.T) + 18, rtol=1e-9)
    assert penalised("heldout", total, -9.0, 17, 500) == -2 * total


@pytest.mark.parametrize("criterion", get_args(Criterion))
def test_three_separate_groups_are_three(criterion) -> None:
    block = three_groups(3000)
    best = tried(block, criterion=criterion)[0]
    assert best.k == 3


def test_where_the_sample_is_all_the_rows_the_figures_are_the_fits_own() -> None:
    block = three_groups(800)
    for candidate in tried(block, ks=(2, 3)):
        peer = PeerMixture(candidate.k, n_init=5, random_state=0, tol=1e-7).fit(block.T)
        assert_allclose(candidate.criterion, peer.bic(block.T), rtol=1e-3)


def test_an_estimate_for_all_the_rows_is_near_what_a_fit_on_them_has(monkeypatch) -> None:
    """1,500 of 30,000 rows: the criterion of each k within a few of its errors."""
    monkeypatch.setattr(model_selection, "_GRID_ROWS", 1500)
    block = three_groups(30_000)
    candidates = {c.k: c for c in tried(block[:, :3000], ks=(2, 3), weight=30_000.0)}
    full = {c.k: c for c in tried(block, ks=(2, 3), weight=30_000.0)}
    monkeypatch.undo()
    exact = {k: PeerMixture(k, n_init=3, random_state=0).fit(block.T).bic(block.T) for k in (2, 3)}
    for estimate in (candidates, full):
        difference = estimate[2].criterion - estimate[3].criterion
        expected = exact[2] - exact[3]
        assert abs(difference - expected) < 4 * estimate[2].error
        assert estimate[2].error < 0.2 * expected


def test_mixtures_that_cannot_win_stay_behind_and_those_that_may_go_on(monkeypatch) -> None:
    monkeypatch.setattr(model_selection, "_GRID_ROWS", 2000)
    block = three_groups(4000)
    candidates = tried(block, ks=(1, 2, 3, 4), weight=1e6)
    on = finalists(candidates, sampled=True)
    assert on[0] is candidates[0]
    assert {candidate.k for candidate in on} <= {3, 4}
    assert finalists(candidates, sampled=False) == candidates[:1]


def test_a_mixture_that_cannot_be_fitted_says_why_and_comes_last() -> None:
    block = np.tile(np.array([[0.0, 4.0, 9.0], [1.0, 3.0, 2.0]]), 50)
    candidates = tried(block, ks=(1, 2, 5))
    assert candidates[-1].k == 5
    assert candidates[-1].parameters is None
    assert "only 3 distinct rows" in candidates[-1].problem
    assert all(candidate.parameters is not None for candidate in candidates[:-1])


def test_structures_compete() -> None:
    """Round groups of one size: the fewest parameters that describe them win."""
    candidates = tried(three_groups(4000), codes=("VVV", "EEE", "VVI", "VII", "EII"), ks=(3,))
    assert candidates[0].structure.code == "EII"
    assert {candidate.structure.code for candidate in candidates} == {
        "VVV",
        "EEE",
        "VVI",
        "VII",
        "EII",
    }


def test_components_that_only_fit_chance_do_not_win(monkeypatch) -> None:
    """600 rows of one group stand for a million: four components fit them better by 0.1 a row,
    which times a million is far more than the penalty, and no truth about the million."""
    monkeypatch.setattr(model_selection, "_GRID_ROWS", 600)
    block = np.random.default_rng(5).normal(size=(6, 2000))
    samples = {"VVV": Sample(block, None, plain_scales(block, STRUCTURES["VVV"]), np.full(6, 1e-3))}
    candidates = grid(samples, (1, 2, 4), [STRUCTURES["VVV"]], "bic", 1e6, num_init=4)
    assert candidates[0].k == 1
