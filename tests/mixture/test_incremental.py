"""Incremental EM: an update is a step of EM on the rows it is of, wherever they are cut.

The reference is a step of EM in numpy, row by row in closed form: responsibilities by scipy's
densities, then the moments that they weight.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gmm_spark.mixture import em
from gmm_spark.mixture.em import Problem
from gmm_spark.mixture.families import Categorical, Count, Noise, Range
from gmm_spark.mixture.incremental import (
    ComponentStatistics,
    Frame,
    component_statistics,
    fading_of,
    maximised,
    updated,
)
from gmm_spark.mixture.kernel import array_pass
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.priors import FraleyRaftery, Prior
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import (
    CODES,
    dense_covariances,
    mixed_joint,
    random_parameters,
    separate_groups,
)

EXACT = {"rtol": 1e-12, "atol": 1e-13}
BY = Standardisation(np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 1.0]))
ONE_SCALE = Standardisation(BY.centre, np.full(3, 1.5))


def rows_and_start(code: str, n: int = 240) -> tuple[np.ndarray, Parameters]:
    """Rows (3, n) and parameters in the user's units that they are not yet the optimum of."""
    block, _ = separate_groups(seed=4, n=n)
    return block, random_parameters(code, 3, 3, seed=2, spread=4.0)


def scales(code: str) -> Standardisation:
    return ONE_SCALE if STRUCTURES[code].one_scale else BY


def frame_of(code: str, prior: Prior | None = None, floor: float = 1e-6) -> Frame:
    return Frame(scales(code), np.full(3, floor), prior)


def e_step(parameters, frame, block, weights=None, gaps=False) -> ComponentStatistics:
    """Of rows under parameters in the user's units."""
    by = frame.standardisation
    evaluator = natural_parameters([parameters.standardised(by)], by, gaps=gaps)
    return component_statistics(array_pass(block, weights)(evaluator), parameters.structure)


def one_update(parameters, frame, block, before=None, fading=1.0, weights=None, gaps=False):
    """The statistics and the parameters, in the user's units, after an update by all of a block."""
    new = e_step(parameters, frame, block, weights, gaps)
    start = parameters.standardised(frame.standardisation)
    found, step = updated(before, new, fading, start, frame)
    return found, step.parameters.restored(frame.standardisation)


# --- the reference --------------------------------------------------------------------------


def responsibilities(parameters: Parameters, block: np.ndarray) -> np.ndarray:
    """(n, K), the noise's last."""
    joint = np.array([mixed_joint(parameters, row) for row in block.T])
    return joint / joint.sum(axis=1, keepdims=True)


def em_step(parameters: Parameters, block: np.ndarray, weights=None):
    """Weights, means, covariance matrices, tables and rates after a step of EM by complete rows,
    for the structures whose maximum is a mean of scatters."""
    d, k = parameters.d, parameters.k
    resp = responsibilities(parameters, block)
    resp = resp if weights is None else resp * weights[:, None]
    n_k = resp.sum(axis=0)
    x = block[:d].T
    means = np.array([resp[:, j] @ x / n_k[j] for j in range(k)])
    scatter = np.array(
        [(resp[:, [j]] * (x - means[j])).T @ (x - means[j]) for j in range(k)]
    ).reshape(k, d, d)
    structure = parameters.structure
    if structure.shared:
        scatter = np.repeat(scatter.sum(axis=0)[None] / n_k[:k].sum(), k, axis=0)
    else:
        scatter = scatter / n_k[:k, None, None]
    if structure.kind == "diagonal":
        scatter = scatter * np.eye(d)
    elif structure.kind == "spherical":
        scatter = np.array([np.trace(one) / d * np.eye(d) for one in scatter])
    return resp, n_k[:k] / n_k.sum(), means, scatter


# --- one update is one step of EM -----------------------------------------------------------


class TestOneUpdateIsOneStepOfEM:
    @pytest.mark.parametrize("code", CODES)
    def test_of_every_kind_of_structure(self, code):
        block, start = rows_and_start(code)
        _, weights, means, covariances = em_step(start, block)
        _, found = one_update(start, frame_of(code), block)
        assert_allclose(found.weights, weights, **EXACT)
        assert_allclose(found.means, means, **EXACT)
        assert_allclose(dense_covariances(found), covariances, **EXACT)

    def test_of_weighted_rows(self):
        block, start = rows_and_start("VVV")
        rows = np.random.default_rng(0).uniform(0.2, 3.0, block.shape[1])
        _, weights, means, covariances = em_step(start, block, rows)
        statistics, found = one_update(start, frame_of("VVV"), block, weights=rows)
        assert_allclose(found.weights, weights, **EXACT)
        assert_allclose(found.means, means, **EXACT)
        assert_allclose(dense_covariances(found), covariances, **EXACT)
        assert statistics.weight == pytest.approx(rows.sum())
        assert statistics.num_rows == block.shape[1]

    def test_of_categories_counts_and_noise(self):
        block, start = mixed()
        resp, weights, means, covariances = em_step(start, block)
        _, found = one_update(start, frame_of("VVI"), block)
        assert_allclose(found.weights, weights, **EXACT)
        assert found.noise.weight == pytest.approx(resp[:, 3].sum() / resp.sum(), rel=1e-12)
        assert_allclose(found.means, means, **EXACT)
        assert_allclose(dense_covariances(found), covariances, **EXACT)
        codes, counts = block[3].astype(int), block[4]
        own = resp[:, :3]
        tables = np.array([own[codes == level].sum(axis=0) for level in range(3)]).T
        assert_allclose(found.tables, tables / tables.sum(axis=1, keepdims=True), **EXACT)
        rates = own.T @ counts / own.sum(axis=0)
        assert_allclose(found.rates, rates[:, None], **EXACT)

    def test_of_priors(self):
        """Fraley and Raftery (2007), table 1, for full covariances; the Dirichlet's on weights."""
        block, start = rows_and_start("VVV")
        by = BY
        z = (block - by.centre[:, None]) / by.scale[:, None]
        own = FraleyRaftery(start.structure, z.mean(axis=1), np.cov(z), by.scale, 2.0).of(3)
        prior = Prior(1.5, (), own)
        _, found = one_update(start, frame_of("VVV", prior), block)
        resp = responsibilities(start, block)
        n_k = resp.sum(axis=0)
        assert_allclose(found.weights, (n_k + 1.5) / (n_k + 1.5).sum(), **EXACT)
        for j in range(3):
            mean = resp[:, j] @ z.T / n_k[j]
            off = z.T - mean
            scatter = (resp[:, [j]] * off).T @ off
            apart = mean - own.mean
            scatter += n_k[j] * 2.0 / (n_k[j] + 2.0) * np.outer(apart, apart) + own.scatter
            drawn = (n_k[j] * mean + 2.0 * own.mean) / (n_k[j] + 2.0)
            # d + 2 degrees of freedom: the mode divides by n + dof + d + 2.
            expected = scatter / (n_k[j] + 5 + 3 + 2)
            assert_allclose(found.means[j], by.centre + by.scale * drawn, **EXACT)
            assert_allclose(found.covariances[j], expected * np.outer(by.scale, by.scale), **EXACT)

    @pytest.mark.parametrize("code", ["VVV", "EEE", "VVI"])
    def test_of_rows_with_gaps(self, code):
        """Ghahramani and Jordan (1994): what is missing is expected given what is known."""
        block, start = rows_and_start(code)
        holes = np.random.default_rng(1).random(block.shape) < 0.2
        holes[:, holes.all(axis=0)] = False
        block = np.where(holes, np.nan, block)
        resp = responsibilities(start, block)
        n_k, x = resp.sum(axis=0), block.T
        sums, squares = np.zeros((3, 3)), np.zeros((3, 3, 3))
        for j, covariance in enumerate(dense_covariances(start)):
            for row, share in zip(x, resp[:, j], strict=True):
                gap = np.isnan(row)
                filled, spread = np.array(row), np.zeros((3, 3))
                gain = covariance[np.ix_(gap, ~gap)] @ np.linalg.inv(covariance[np.ix_(~gap, ~gap)])
                filled[gap] = start.means[j][gap] + gain @ (row - start.means[j])[~gap]
                spread[np.ix_(gap, gap)] = (
                    covariance[np.ix_(gap, gap)] - gain @ covariance[np.ix_(~gap, gap)]
                )
                sums[j] += share * filled
                squares[j] += share * (np.outer(filled, filled) + spread)
        means = sums / n_k[:, None]
        within = squares - n_k[:, None, None] * means[:, :, None] * means[:, None, :]
        if start.structure.shared:
            within = np.repeat(within.sum(axis=0)[None] / n_k.sum(), 3, axis=0)
        else:
            within = within / n_k[:, None, None]
        if start.structure.kind == "diagonal":
            within = within * np.eye(3)
        _, found = one_update(start, frame_of(code), block, gaps=True)
        assert_allclose(found.weights, n_k / n_k.sum(), **EXACT)
        assert_allclose(found.means, means, rtol=1e-11, atol=1e-12)
        assert_allclose(dense_covariances(found), within, rtol=1e-11, atol=1e-12)

    @pytest.mark.parametrize("code", STRUCTURES)
    def test_of_every_structure_as_the_fit_takes_it(self, code):
        """The M-step of a fit, whose own references are in test_structures."""
        if STRUCTURES[code].columns_refused(3):
            pytest.skip("of one column")
        block, start = rows_and_start(code)
        frame = frame_of(code)
        problem = Problem(frame.standardisation, frame.floor, tol=0.0, max_iter=1)
        begun = em.start(start.standardised(frame.standardisation), problem)
        two = em.run(array_pass(block), begun, problem)
        expected = two.history[1].parameters.restored(frame.standardisation)
        _, found = one_update(start, frame, block)
        assert_allclose(found.weights, expected.weights, **EXACT)
        assert_allclose(found.means, expected.means, **EXACT)
        # Common axes are found by steps, which end where the likelihood does not tell them apart:
        # 1.4e-11 with numpy 1.26.
        rtol = 1e-10 if code in ("EVE", "VVE") else 1e-11
        assert_allclose(found.covariances, expected.covariances, rtol=rtol, atol=1e-12)


def mixed(n: int = 240) -> tuple[np.ndarray, Parameters]:
    """Numbers, a category of three values, a count, and noise: rows (5, n), parameters."""
    block, start = rows_and_start("VVI", n)
    rng = np.random.default_rng(7)
    block = np.vstack([block, rng.integers(0, 3, n), rng.poisson(3.0, n)]).astype(float)
    tables = rng.dirichlet(np.ones(3), size=3)
    rates = np.array([[1.0], [3.0], [6.0]])
    ranges = Range(np.full(1, np.log(3.0))), Range(np.full(1, np.log(12.0)), np.zeros(1))
    noise = Noise(0.1, np.log(np.ptp(block[:3], axis=1)), block[:3].min(axis=1), ranges)
    families = Categorical((3,)), Count(1)
    start = replace(start, families=families, family_parameters=(tables, rates))
    return block, start.with_noise(noise)


# --- parts add up ---------------------------------------------------------------------------


def parts_of(block, cuts=(0, 17, 90, 91, 240)):
    return [block[:, a:b] for a, b in pairwise(cuts)]


class TestPartsAddUp:
    @pytest.mark.parametrize("code", STRUCTURES)
    def test_statistics_under_the_same_parameters(self, code):
        if STRUCTURES[code].columns_refused(3):
            pytest.skip("of one column")
        block, start = rows_and_start(code)
        frame = frame_of(code)
        whole = e_step(start, frame, block)
        parts = [e_step(start, frame, part) for part in parts_of(block)]
        assert_same(reduce(ComponentStatistics.merged, parts), whole)
        assert_same(reduce(ComponentStatistics.merged, parts[::-1]), whole)

    def test_of_categories_counts_noise_and_weights(self):
        block, start = mixed()
        frame, rows = frame_of("VVI"), np.random.default_rng(3).uniform(0.5, 2.0, 240)
        whole = e_step(start, frame, block, rows)
        weights = parts_of(rows[None])
        parts = [
            e_step(start, frame, part, own[0])
            for part, own in zip(parts_of(block), weights, strict=True)
        ]
        assert_same(reduce(ComponentStatistics.merged, parts), whole)

    def test_updates_part_by_part_come_to_the_step_of_all(self):
        """Updates whose new statistics are all taken under the start: the last is EM's step."""
        block, start = rows_and_start("VVV")
        frame = frame_of("VVV")
        z = start.standardised(frame.standardisation)
        before = None
        for part in parts_of(block):
            before, step = updated(before, e_step(start, frame, part), 1.0, z, frame)
        found = step.parameters.restored(frame.standardisation)
        _, weights, means, covariances = em_step(start, block)
        assert_allclose(found.weights, weights, **EXACT)
        assert_allclose(found.means, means, **EXACT)
        assert_allclose(found.covariances, covariances, **EXACT)

    def test_far_away_nothing_is_lost(self):
        """New rows a million deviations away, of another component: what was there stays to the
        last digits, where sums of squares about a common origin would keep four of them."""
        rng = np.random.default_rng(0)
        near = rng.normal(size=(3, 400))
        far = 1e6 + rng.normal(size=(3, 400))
        start = Parameters(
            STRUCTURES["VVV"],
            np.array([0.5, 0.5]),
            np.array([np.zeros(3), np.full(3, 1e6)]),
            np.repeat(np.eye(3)[None], 2, axis=0),
        )
        frame = Frame(Standardisation(np.zeros(3), np.ones(3)), np.full(3, 1e-6))
        before, _ = one_update(start, frame, near)
        _, found = one_update(start, frame, far, before)
        assert_allclose(found.covariances[0], np.cov(near, bias=True), rtol=1e-11, atol=1e-13)
        assert_allclose(found.covariances[1], np.cov(far, bias=True), rtol=1e-9, atol=1e-9)
        # The same component, moved there: its covariance holds the way between the two.
        one = start.taken(np.array([0]))
        one = replace(one, weights=np.ones(1))
        before, _ = one_update(one, frame, near)
        _, found = one_update(one, frame, far, before)
        both = np.concatenate([near, far], axis=1)
        assert_allclose(found.covariances[0], np.cov(both, bias=True), rtol=1e-11)


def assert_same(found: ComponentStatistics, expected: ComponentStatistics) -> None:
    assert found.num_rows == expected.num_rows
    assert found.weight == pytest.approx(expected.weight, rel=1e-13)
    for name in ("counts", "means", "scatters"):
        assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-11, atol=1e-11)
    for one, other in zip(found.families, expected.families, strict=True):
        assert_allclose(one, other, rtol=1e-12, atol=1e-12)


# --- fading ---------------------------------------------------------------------------------


class TestFading:
    def test_is_a_half_after_a_half_life_and_nothing_is_lost_without_one(self):
        assert fading_of(7.0, 7.0) == 0.5
        assert fading_of(7.0, 21.0) == 0.125
        assert fading_of(np.inf, 1e9) == 1.0
        assert fading_of(3.0, 0.0) == 1.0

    @pytest.mark.parametrize("code", CODES)
    def test_is_rows_of_a_smaller_weight(self, code):
        """Old rows of weight 0.3 and new ones of weight 1, in one step of EM."""
        block, start = rows_and_start(code)
        frame, (old, new) = frame_of(code), (block[:, :150], block[:, 150:])
        before, _ = one_update(start, frame, old)
        found_statistics, found = one_update(start, frame, new, before, fading=0.3)
        weights = np.where(np.arange(240) < 150, 0.3, 1.0)
        _, expected, means, covariances = em_step(start, block, weights)
        assert_allclose(found.weights, expected, **EXACT)
        assert_allclose(found.means, means, **EXACT)
        assert_allclose(dense_covariances(found), covariances, **EXACT)
        assert found_statistics.weight == pytest.approx(0.3 * 150 + 90)
        assert found_statistics.num_rows == pytest.approx(0.3 * 150 + 90)

    def test_of_everything_leaves_the_new_rows(self):
        block, start = mixed()
        frame = frame_of("VVI")
        before, _ = one_update(start, frame, block[:, :100])
        _, found = one_update(start, frame, block[:, 100:], before, fading=0.0)
        _, expected = one_update(start, frame, block[:, 100:])
        assert_allclose(found.weights, expected.weights, **EXACT)
        assert_allclose(found.means, expected.means, **EXACT)
        assert_allclose(found.covariances, expected.covariances, **EXACT)
        for one, other in zip(found.family_parameters, expected.family_parameters, strict=True):
            assert_allclose(one, other, **EXACT)

    def test_alone_moves_nothing_without_a_prior(self):
        """Without a prior fading alone changes nothing: shares of sums have the same M-step."""
        block, start = mixed()
        frame = frame_of("VVI")
        statistics, _ = one_update(start, frame, block)
        z = start.standardised(frame.standardisation)
        one, other = (maximised(of, z, frame) for of in (statistics, statistics.faded(1e-3)))
        assert_allclose(one.parameters.means, other.parameters.means, **EXACT)
        assert_allclose(one.parameters.covariances, other.parameters.covariances, **EXACT)
        assert_allclose(one.parameters.weights, other.parameters.weights, **EXACT)


# --- what a fit leaves ----------------------------------------------------------------------


@pytest.mark.parametrize("code", STRUCTURES)
def test_what_a_fit_keeps_is_its_last_e_step(code):
    """Of shared covariances too, whose passes sum no second moments after the first: the M-step of
    what is kept is the step that follows, by the reference of one update."""
    if STRUCTURES[code].columns_refused(3):
        pytest.skip("of one column")
    block, start = rows_and_start(code)
    frame = frame_of(code)
    problem = Problem(frame.standardisation, frame.floor, tol=0.0, max_iter=3)
    fit = em.fit(array_pass(block), start.standardised(frame.standardisation), problem)
    assert fit.statistics.layout.kind == ("linear" if STRUCTURES[code].shared else fit_kind(code))
    kept = component_statistics(fit.statistics, start.structure, fit.scatter)
    step = maximised(kept, fit.parameters, frame)
    found = step.parameters.restored(frame.standardisation)
    _, expected = one_update(fit.parameters.restored(frame.standardisation), frame, block)
    assert_allclose(found.weights, expected.weights, **EXACT)
    assert_allclose(found.means, expected.means, **EXACT)
    assert_allclose(found.covariances, expected.covariances, rtol=1e-9, atol=1e-10)


def fit_kind(code):
    return STRUCTURES[code].kind


def test_components_in_another_order_take_everything_along():
    block, start = mixed()
    frame, order = frame_of("VVI"), np.array([2, 0, 1])
    found = e_step(start, frame, block).taken(order)
    assert_same(found, e_step(start.taken(order), frame, block))


def test_a_component_without_new_rows_keeps_its_mean_and_covariance_and_fades():
    rng = np.random.default_rng(0)
    here, there = rng.normal(size=(3, 300)), 50.0 + rng.normal(size=(3, 100))
    start = Parameters(
        STRUCTURES["VVV"],
        np.array([0.7, 0.3]),
        np.array([np.zeros(3), np.full(3, 50.0)]),
        np.repeat(np.eye(3)[None], 2, axis=0),
    )
    frame = Frame(Standardisation(np.zeros(3), np.ones(3)), np.full(3, 1e-6))
    before, first = one_update(start, frame, np.concatenate([here, there], axis=1))
    found, second = one_update(first, frame, here, before, fading=0.5)
    assert_allclose(second.means[1], first.means[1], rtol=1e-13)
    assert_allclose(second.covariances[1], first.covariances[1], rtol=1e-12, atol=1e-13)
    assert second.weights[1] == pytest.approx(50 / 500)
    # After 60 half-lives it has no weight, keeps what it was, and says so.
    last, step = updated(found, e_step(second, frame, here), 0.5**60, second, frame)
    assert step.dead == (1,)
    assert step.parameters.weights[1] == 0.0
    assert_array_equal(step.parameters.means[1], second.means[1])
    assert last.counts[1] < 1e-10
