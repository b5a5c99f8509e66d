"""Covariance structures: each M-step against a general optimiser, and what its result has in
common; the floor; acceleration; moves and projections stay inside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import expm
from scipy.optimize import minimize

from gmm_spark.mixture.errors import SettingError, SingularCovarianceError
from gmm_spark.mixture.families import Categorical, Count, Noise, Range
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.initialisation.methods import starting_values
from gmm_spark.mixture.initialisation.multistart import search
from gmm_spark.mixture.initialisation.split_merge import grown, moves
from gmm_spark.mixture.kernel import array_pass
from gmm_spark.mixture.m_step import above_floor
from gmm_spark.mixture.parameters import Parameters, Standardisation, as_structure
from gmm_spark.mixture.spec import Spec
from gmm_spark.mixture.standardisation import describe_columns
from gmm_spark.mixture.structures import CODES, STRUCTURES, UNIVARIATE, structure_named
from gmm_spark.mixture.structures.orientation import _turned_by_bound
from tests.mixture.reference import (
    fit,
    plain_scales,
    random_parameters,
    separate_groups,
    start_from_labels,
)

EIGHT = ("EVI", "VEI", "EEV", "VEV", "EVV", "VVE", "EVE", "VEE")
ALL = tuple(STRUCTURES)


def scatters(k: int, d: int, seed: int = 0) -> np.ndarray:
    """Covariances within components that have nothing in common, (k, d, d)."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(k, d + 3, d)) @ rng.normal(size=(k, d, d))
    return rows.swapaxes(1, 2) @ rows / (d + 3)


def cost(covariances: np.ndarray, within: np.ndarray, rows: np.ndarray) -> float:
    """-2 log-likelihood, but for a constant, of rows whose scatter is given, over the rows."""
    total = 0.0
    for covariance, scatter, n in zip(covariances, within, rows, strict=True):
        total += n * np.linalg.slogdet(covariance)[1]
        total += n * np.trace(np.linalg.solve(covariance, scatter))
    return total / rows.sum()


def maximum(code: str, within: np.ndarray, rows: np.ndarray, floor: np.ndarray, previous=None):
    """The M-step of a structure as matrices (k, d, d), with `previous` one step of it. Common axes
    are the best after several steps: one of EM may be a part of the way."""
    structure, (k, d) = STRUCTURES[code], within.shape[:2]
    if structure.shared:
        compact = structure.storage.compact(np.einsum("k,kij->ij", rows / rows.sum(), within))[None]
        of = rows.sum(keepdims=True)
    else:
        compact, of = structure.storage.compact(within), rows
    start = structure.unit(k, d) if previous is None else previous
    found, floored = structure.maximum(compact, of, start, floor)
    for _ in range(200 if previous is None and code in ("VVE", "EVE") else 0):
        before = found
        found, floored = structure.maximum(compact, of, found, floor)
        if np.abs(found - before).max() < 1e-13:
            break
    dense = structure.storage.dense(structure.per_component(found, k), d)
    return dense, floored, found


def written_out(code: str, k: int, d: int):
    """A structure by its letters: how many free numbers there are, and the function from these to
    covariances, written for reading, and their eigenvalues."""
    volume, shape, orientation = code
    sizes = {"E": 1, "V": k, "I": 0}
    counts = [sizes[volume], sizes[shape] * d, sizes[orientation] * d * (d - 1) // 2]

    def build(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        volumes, shapes, angles = np.split(x, np.cumsum(counts)[:-1])
        covariances, logs = [], []
        for component in range(k):
            v = volumes[component if volume == "V" else 0]
            s = np.zeros(d)
            if shape != "I":
                s = shapes.reshape(-1, d)[component if shape == "V" else 0]
                s = s - s.mean()
            axes = np.eye(d)
            if orientation != "I":
                skew = np.zeros((d, d))
                which = component if orientation == "V" else 0
                skew[np.triu_indices(d, 1)] = angles.reshape(-1, d * (d - 1) // 2)[which]
                axes = expm(skew - skew.T)
            logs.append(np.clip(v + s, -15, 15))  # so that no trial of the optimiser overflows
            covariances.append(axes @ np.diag(np.exp(logs[-1])) @ axes.T)
        return np.array(covariances), np.array(logs)

    return sum(counts), build


def by_general_optimiser(code, within, rows, lowest: float | None) -> float:
    """The lowest cost that SLSQP finds from several starts."""
    k, d = within.shape[:2]
    size, build = written_out(code, k, d)
    constraints = ()
    if lowest is not None:
        constraints = ({"type": "ineq", "fun": lambda x: (build(x)[1] - lowest).ravel()},)
    best = np.inf
    for seed in range(4):
        start = np.random.default_rng(seed).normal(size=size)
        found = minimize(
            lambda x: cost(build(x)[0], within, rows),
            start,
            method="SLSQP",
            constraints=constraints,
            options={"maxiter": 500, "ftol": 1e-12},
        )
        kept = lowest is None or (build(found.x)[1] > lowest - 1e-7).all()
        if found.success and kept:
            best = min(best, found.fun)
    return best


def assert_structured(code: str, covariances: np.ndarray) -> None:
    """Volumes, shapes and orientations that the letters say are equal are, to rounding."""
    eigenvalues = np.linalg.eigvalsh(covariances)
    volumes = np.linalg.slogdet(covariances)[1] / covariances.shape[1]
    shapes = np.log(eigenvalues) - volumes[:, None]
    if code[0] == "E":
        assert_allclose(volumes, volumes[0], atol=1e-8)
    if code[1] == "E" and code[2] != "I":
        assert_allclose(shapes, np.broadcast_to(shapes[0], shapes.shape), atol=1e-8)
    if code[1] == "I":
        assert_allclose(shapes, 0.0, atol=1e-9)
    off = covariances - np.array([np.diag(np.diag(c)) for c in covariances])
    if code[2] == "I":
        assert_array_equal(off, 0.0)
        if code[1] == "E":
            ratios = np.diagonal(covariances, axis1=1, axis2=2) / covariances[:, :1, 0]
            assert_allclose(ratios, np.broadcast_to(ratios[0], ratios.shape), rtol=1e-9)
    if code[2] == "E":
        # The same axes: all commute with one another.
        for one in covariances:
            for other in covariances:
                size = np.abs(one).max() * np.abs(other).max()
                assert np.abs(one @ other - other @ one).max() < 1e-8 * size


class TestMaximum:
    @pytest.mark.parametrize("floored", [False, True])
    @pytest.mark.parametrize("code", ALL)
    def test_none_is_higher_by_a_general_optimiser(self, code, floored) -> None:
        k, d = 3, 2
        within, rows = scatters(k, d, seed=3), np.array([5.0, 2.0, 3.0])
        if STRUCTURES[code].kind != "full":
            # What is off the diagonal does not count, and the optimiser need not see it.
            within = within * np.eye(d)
        eigenvalues = np.linalg.eigvalsh(within)
        lowest = float(np.sort(eigenvalues.ravel())[3]) if floored else None
        floor = np.full(d, 0.0 if lowest is None else np.sqrt(lowest))
        found, touching, _ = maximum(code, within, rows, floor)
        expected = by_general_optimiser(
            code, within, rows, None if lowest is None else np.log(lowest)
        )
        assert np.isfinite(expected)
        assert cost(found, within, rows) < expected + 1e-7
        assert cost(found, within, rows) > expected - 1e-5 or code in ("VVE", "EVE")
        assert_structured(code, found)
        if lowest is not None:
            assert np.linalg.eigvalsh(found).min() > lowest * (1 - 1e-9)
            assert bool(touching) == (np.linalg.eigvalsh(found).min() < lowest * (1 + 1e-9))

    @pytest.mark.parametrize("code", ALL)
    def test_keeps_the_structure_in_more_dimensions_and_at_the_floor(self, code) -> None:
        k, d = 4, 6
        within, rows = scatters(k, d, seed=1), np.array([5.0, 2.0, 3.0, 9.0])
        for floor in (np.zeros(d), np.full(d, 0.8)):
            found, touching, kept = maximum(code, within, rows, floor)
            assert_structured(code, found)
            assert found.min(initial=np.inf) > -np.inf
            assert bool(touching) == bool(floor.any() and np.linalg.eigvalsh(found).min() < 0.65)
            # Once more from there: no other.
            again, _, _ = maximum(code, within, rows, floor, kept)
            assert_allclose(again, found, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("code", EIGHT)
    def test_never_falls_below_where_it_came_from(self, code) -> None:
        k, d = 3, 4
        rows = np.array([5.0, 2.0, 3.0])
        for seed, floor in ((0, 0.0), (1, 0.5), (2, 0.9)):
            floors = np.full(d, floor)
            _, _, previous = maximum(code, scatters(k, d, seed=10 + seed), rows, floors)
            within = scatters(k, d, seed=seed)
            if STRUCTURES[code].kind != "full":
                within = within * np.eye(d)
            before = STRUCTURES[code].storage.dense(previous, d)
            found, _, _ = maximum(code, within, rows, floors, previous)
            assert cost(found, within, rows) <= cost(before, within, rows) + 1e-12

    @pytest.mark.parametrize("code", EIGHT)
    def test_a_dead_component_says_nothing_of_what_is_common_and_has_it(self, code) -> None:
        k, d = 3, 3
        within, rows = scatters(k, d, seed=2), np.array([5.0, 0.0, 3.0])
        structure = STRUCTURES[code]
        previous = structure.projected(scatters(k, d, seed=5), np.ones(k))
        found, touching, _ = maximum(code, within, rows, np.full(d, 1e-3), previous)
        assert_structured(code, found)
        alive = [0, 2]
        alone, _, _ = maximum(code, within[alive], rows[alive], np.full(d, 1e-3), previous[alive])
        assert_allclose(found[alive], alone, rtol=1e-5, atol=1e-6)
        assert 1 not in [one.component for one in touching]

    @pytest.mark.parametrize("code", ["EVI", "EVV", "VEI"])
    def test_a_component_of_one_value_is_singular_without_a_floor(self, code) -> None:
        d = 2
        within = scatters(2, d)
        within[1] = 0.0
        with pytest.raises(SingularCovarianceError, match="component 1"):
            maximum(code, within, np.ones(2), np.zeros(d))
        found, touching, _ = maximum(code, within, np.ones(2), np.full(d, 0.1))
        # Of one volume, it has that of the others.
        assert [one.component for one in touching].count(1) == (code == "VEI")
        assert np.linalg.eigvalsh(found).min() > 0.01 * (1 - 1e-9)

    @pytest.mark.parametrize("code", ALL)
    def test_columns_may_be_scaled_each_by_its_own_factor_or_all_by_one(self, code) -> None:
        k, d, structure = 3, 3, STRUCTURES[code]
        within, rows = scatters(k, d, seed=4), np.array([5.0, 2.0, 3.0])
        factor = np.full(d, 7.0) if structure.one_scale else np.array([7.0, 0.2, 1.5])
        floor = np.full(d, 0.7)
        found, _, kept = maximum(code, within, rows, floor)
        scaled = within * factor[:, None] * factor
        other, _, also = maximum(code, scaled, rows, floor * factor)
        units = factor[:, None] * factor
        assert_allclose(other, found * units, rtol=1e-4, atol=1e-5 * units.max())
        assert_allclose(structure.rescaled(kept, factor), also, rtol=1e-4, atol=1e-5 * units.max())
        if structure.one_scale:
            with pytest.raises(ValueError, match="one scale"):
                structure.rescaled(kept, np.array([7.0, 0.2, 1.5]))


class TestEntries:
    def test_are_the_fourteen_and_of_one_column_two(self) -> None:
        assert len(STRUCTURES) == 14
        assert set(EIGHT) < set(STRUCTURES)
        assert (*STRUCTURES, *UNIVARIATE) == CODES

    @pytest.mark.parametrize("code", ALL)
    def test_count_the_numbers_that_are_free(self, code) -> None:
        """As the rank of the derivative of covariances by what the letters leave free."""
        k, d = 3, 3
        size, build = written_out(code, k, d)
        at = np.random.default_rng(0).normal(size=size)
        steps = 1e-5 * np.eye(size)
        columns = [(build(at + s)[0] - build(at - s)[0]).ravel() / 2e-5 for s in steps]
        rank = np.linalg.matrix_rank(np.array(columns), tol=1e-6)
        assert STRUCTURES[code].num_covariance_parameters(k, d) == rank

    @pytest.mark.parametrize("code", ALL)
    def test_leave_members_as_they_are_and_bring_others_in(self, code) -> None:
        parameters = random_parameters(code, 3, 4)
        assert_allclose(
            as_structure(parameters, STRUCTURES[code]).covariances,
            parameters.covariances,
            rtol=1e-7,
            atol=1e-9,
        )
        dense = random_parameters("VVV", 3, 4, seed=9)
        found = as_structure(dense, STRUCTURES[code]).validated()
        assert_structured(code, found.dense_covariances())

    @pytest.mark.parametrize("code", EIGHT)
    def test_refuse_covariances_that_are_none_of_theirs(self, code) -> None:
        structure = STRUCTURES[code]
        dense = random_parameters("VVV" if structure.kind == "full" else "VVI", 3, 4, seed=9)
        strange = replace(dense, structure=structure)
        with pytest.raises(SettingError, match=f"none of covarianceType {code}"):
            strange.validated()

    def test_of_one_column_have_names_of_their_own(self) -> None:
        assert structure_named("e").shared
        assert not structure_named("V").shared
        assert structure_named("V").columns_refused(1) is None
        said = structure_named("V").columns_refused(3)
        assert said == "covarianceType V is of one column, there are 3: use VVV, VVI or VII"
        assert STRUCTURES["VEV"].columns_refused(3) is None

    def test_without_a_conjugate_prior_say_so(self) -> None:
        for code in EIGHT:
            with pytest.raises(SettingError, match=f"{code} has no conjugate prior here"):
                Spec(covariance_type=code, prior="conjugate")
        assert Spec(covariance_type="EEI", prior="conjugate").structure.conjugate


class TestFits:
    @pytest.mark.parametrize("acceleration", ["none", "anderson"])
    @pytest.mark.parametrize("code", EIGHT)
    def test_never_fall_and_stay_in_the_structure_above_the_floor_and_on_it(
        self, code, acceleration
    ) -> None:
        block, labels = separate_groups(n=240)
        block[1, labels == 2] = np.round(block[1, labels == 2])
        structure = STRUCTURES[code]
        by = plain_scales(block, structure)
        for floor in (np.full(3, 1e-3), np.full(3, 0.25)):
            start = start_from_labels(block, labels, structure, by, floor)
            found = fit(
                array_pass(block),
                start,
                by,
                floor=floor,
                tol=1e-9,
                max_iter=300,
                acceleration=acceleration,
            )
            assert found.reason == "converged"
            kept = [r.objective for r in found.history if r.kind != "rejected"]
            # What acceleration proposes may fall by what could be rounding, 1e-9 relative.
            fall = 1e-11 if acceleration == "none" else 1e-9 * max(map(abs, kept))
            assert np.diff(kept).min() > -fall
            for record in found.history[1:]:
                dense = record.parameters.dense_covariances()
                assert_structured(code, dense)
                assert np.linalg.eigvalsh(dense).min() > floor[0] ** 2 * (1 - 1e-9)
        assert found.floored

    @pytest.mark.parametrize("code", EIGHT)
    def test_meet_those_of_plain_em_sooner_by_acceleration(self, code) -> None:
        block, labels = separate_groups(seed=3, n=600)
        mixed = np.random.default_rng(0).permutation(labels)
        mixed[::2] = labels[::2]
        by = plain_scales(block, STRUCTURES[code])
        start = start_from_labels(block, mixed, STRUCTURES[code], by)
        options = {"floor": np.full(3, 1e-3), "tol": 1e-11, "max_iter": 2000}
        plain = fit(array_pass(block), start, by, **options)
        sooner = fit(array_pass(block), start, by, acceleration="anderson", **options)
        assert sooner.log_likelihood > plain.log_likelihood - 1e-6 * abs(plain.log_likelihood)
        assert len(sooner.history) < len(plain.history) + 5

    @pytest.mark.parametrize("code", EIGHT)
    def test_with_gaps_categories_counts_noise_and_weights(self, code) -> None:
        rng = np.random.default_rng(5)
        block, labels = separate_groups(n=240)
        codes = np.where(rng.random(240) < 0.8, labels, rng.integers(0, 3, 240)).astype(float)
        counts = rng.poisson(1.0 + 3 * labels).astype(float)
        block[0, ::7] = np.nan
        block[2, ::11] = np.nan
        structure = STRUCTURES[code]
        scale = np.nanstd(block, axis=1)
        if structure.one_scale:
            scale[:] = scale.mean()
        by = Standardisation(np.nanmean(block, axis=1), scale)
        ranges = Range(np.log([3.0])), Range(np.log([20.0]))
        given = random_parameters(code, 3, 3, seed=1)
        start = replace(
            given,
            families=(Categorical((3,)), Count(1)),
            family_parameters=(np.full((3, 3), 1 / 3), np.array([[1.0], [4.0], [7.0]])),
        ).with_noise(Noise(0.05, np.full(3, np.log(8.0)), None, ranges))
        weights = rng.integers(1, 3, 240).astype(float)
        rows = np.vstack([block, codes, counts])
        found = fit(
            array_pass(rows, weights),
            start,
            by,
            floor=np.full(3, 1e-2),
            has_missing=True,
            max_iter=40,
        )
        gains = np.diff([record.objective for record in found.history])
        assert gains.min() > -1e-11
        assert_structured(code, found.parameters.dense_covariances())
        twice = np.repeat(rows, weights.astype(int), axis=1)
        doubled = fit(
            array_pass(twice), start, by, floor=np.full(3, 1e-2), has_missing=True, max_iter=40
        )
        assert_allclose(doubled.log_likelihood, found.log_likelihood, rtol=1e-8)


class TestSearching:
    @pytest.mark.parametrize("code", EIGHT)
    def test_starts_splits_and_lifted_ones_are_in_the_structure(self, code) -> None:
        block, labels = separate_groups(n=300)
        structure = STRUCTURES[code]
        by = plain_scales(block, structure)
        sample = Sample(block, None, by, np.full(3, 1e-3))
        for index in range(4):
            start = starting_values(sample, 3, structure, "k-means", index, 0)
            assert start is not None
            assert_structured(code, start.dense_covariances())
        two = start_from_labels(block, np.minimum(labels, 1), structure, by, np.full(3, 1e-3))
        tried = [*grown(two, sample, 4), *moves(start, sample)]
        assert len(tried) > 4
        for each in tried:
            assert_structured(code, each.validated().dense_covariances())
        # What an extrapolation ends in, which is of no structure.
        dense = random_parameters("VVV" if structure.kind == "full" else "VVI", 3, 3)
        lifted = above_floor(replace(dense, structure=structure), np.full(3, 0.9))
        assert_structured(code, lifted.dense_covariances())
        assert np.linalg.eigvalsh(lifted.dense_covariances()).min() > 0.81 * (1 - 1e-9)

    @pytest.mark.parametrize("code", ["EEV", "VEV", "VVE", "EVE"])
    def test_a_common_scale_has_a_common_floor(self, code) -> None:
        rng = np.random.default_rng(0)
        block = rng.normal(size=(3, 400)) * np.array([[1.0], [20.0], [1.0]])
        block[1] = np.round(block[1])
        block[2] = 5.0
        columns = describe_columns(block, block.min(1), block.max(1), STRUCTURES[code], None)
        assert np.ptp(columns.standardisation.scale) == 0
        floor = STRUCTURES[code].floor(columns.floor)
        assert_array_equal(floor, columns.floor[0])  # the finest column's, also of a constant one
        by = columns.standardisation
        sample = Sample(block, None, by, columns.floor / by.scale)
        start, *_ = search(sample, 2, STRUCTURES[code], num_init=4)
        found = fit(sample.run_pass, start, by, floor=sample.floor)
        assert found.reason == "converged"
        assert {2} == {j for one in found.floored for j in one.columns}


def test_all_structures_of_one_component_are_one() -> None:
    block, labels = separate_groups(n=200)
    found = {}
    for code in ALL:
        by = plain_scales(block, STRUCTURES[code])
        start = start_from_labels(block, 0 * labels, STRUCTURES[code], by)
        ended = fit(array_pass(block), start, by, floor=np.zeros(3))
        found[code] = ended.log_likelihood, ended.parameters.num_free_parameters
    for code in ALL:
        same = {"full": "VVV", "diagonal": "VVI", "spherical": "VII"}[STRUCTURES[code].kind]
        assert_allclose(found[code], found[same], rtol=1e-10)


def test_of_one_column_there_are_two() -> None:
    block, labels = separate_groups(d=1, n=200)
    by = plain_scales(block, STRUCTURES["VVV"])
    found = {}
    for code in (*ALL, *UNIVARIATE):
        structure = structure_named(code)
        start = start_from_labels(block, labels, structure, by)
        ended = fit(array_pass(block), start, by, floor=np.zeros(1), tol=1e-12, max_iter=500)
        found[code] = ended.log_likelihood
        assert structure.num_covariance_parameters(3, 1) == (3 if code[0] == "V" else 1)
    for code in ALL:
        assert_allclose(found[code], found[code[0]], rtol=1e-9)
    assert found["V"] > found["E"]


def test_parameters_are_kept_by_component() -> None:
    unit = Parameters.unit(STRUCTURES["VEV"], 3, 2)
    assert unit.covariances.shape == (3, 2, 2)
    assert Parameters.unit(STRUCTURES["EVI"], 3, 2).covariances.shape == (3, 2)


def test_axes_turned_by_the_bound_are_better_and_still_axes() -> None:
    rng = np.random.default_rng(8)
    for d in (2, 5):
        within = scatters(4, d, seed=d)
        precisions = rng.uniform(0.2, 5.0, (4, d))
        largest = np.linalg.eigvalsh(within)[:, -1]

        def traces(axes, within=within, precisions=precisions):
            return np.einsum("ki,ji,kjl,li->", precisions, axes, within, axes)

        axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
        for _ in range(5):
            turned = _turned_by_bound(axes, within, precisions, largest)
            assert_allclose(turned.T @ turned, np.eye(d), atol=1e-12)
            assert traces(turned) < traces(axes) - 1e-9
            axes = turned
