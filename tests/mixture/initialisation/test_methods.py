"""Starts found on a sample: known optima, hard geometries, every mode, too few rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture as PeerMixture

from gmm_spark.mixture import standardisation
from gmm_spark.mixture.errors import DataError, SingularCovarianceError
from gmm_spark.mixture.initialisation import methods
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.initialisation.multistart import search
from gmm_spark.mixture.kernel import array_pass
from gmm_spark.mixture.parameters import Standardisation
from gmm_spark.mixture.spec import INIT_MODES, Spec
from gmm_spark.mixture.structures import STRUCTURES
from gmm_spark.training import fit_arrays
from tests.mixture.reference import (
    CODES,
    assigned,
    classic_set,
    fit,
    log_likelihood,
    plain_scales,
    separate_groups,
    start_from_labels,
)


def searched(block, k, code="VVV", weights=None, floor=None, **options):
    structure = STRUCTURES[code]
    by = plain_scales(block, structure)
    floor = np.full(block.shape[0], 1e-3 if floor is None else floor)
    best, *_ = search(Sample(block, weights, by, floor), k, structure, **options)
    return best, by, floor


class TestKnownOptima:
    """The best likelihoods known, from the default start and settings."""

    @pytest.mark.parametrize("seed", range(6))
    def test_iris_with_three_components(self, seed, shared_data):
        found = fit_arrays(classic_set(shared_data, "iris"), Spec(k=3, seed=seed)).fit
        assert_allclose(found.log_likelihood, -180.185477, rtol=0, atol=1e-3)
        assert found.converged
        assert found.floored == ()

    @pytest.mark.parametrize("seed", range(6))
    def test_faithful_with_two_components(self, seed, shared_data):
        found = fit_arrays(classic_set(shared_data, "faithful"), Spec(k=2, seed=seed)).fit
        assert_allclose(found.log_likelihood, -1130.26396, rtol=0, atol=1e-3)
        assert found.converged
        assert found.floored == ()

    @pytest.mark.parametrize("mode", INIT_MODES)
    def test_faithful_from_every_mode(self, mode, shared_data):
        block = classic_set(shared_data, "faithful")
        found = fit_arrays(block, Spec(k=2, init_mode=mode)).fit
        assert_allclose(found.log_likelihood, -1130.26396, rtol=0, atol=1e-3)

    @pytest.mark.parametrize("mode", ["k-means", "k-means++", "hierarchical"])
    def test_iris_from_every_mode_that_looks_for_groups(self, mode, shared_data):
        found = fit_arrays(classic_set(shared_data, "iris"), Spec(k=3, init_mode=mode)).fit
        assert_allclose(found.log_likelihood, -180.185477, rtol=0, atol=1e-3)


def blobs(d, where, seed=0, n=4000):
    """Two unit Gaussian groups 20 standard deviations apart, along one column or all."""
    rng = np.random.default_rng([d, seed])
    block, labels = rng.normal(size=(d, n)), np.arange(n) % 2
    if where == "one":
        block[0] += 20 * labels
    else:
        block += 20 / np.sqrt(d) * labels
    return block, labels


def assert_groups_found(found, columns, block, labels):
    """Every row is where it belongs, and components are their groups' moments."""
    by = columns.standardisation
    where = assigned(found.parameters, block, by)[: len(labels)]
    assert adjusted_rand_score(labels, where) == 1.0
    parameters = found.parameters.restored(by)
    for label in range(2):
        k = where[labels == label][0]
        mine = block[:, : len(labels)][:, labels == label]
        units = np.sqrt(np.diag(np.cov(mine, bias=True)))
        assert_allclose(parameters.means[k] / units, mine.mean(axis=1) / units, atol=1e-6)
        expected = np.cov(mine, bias=True) / np.outer(units, units)
        covariance = parameters.covariances[k] / np.outer(units, units)
        assert_allclose(covariance, expected, atol=1e-6)


class TestWideData:
    """pyspark.ml merges such groups from 20 columns on: its densities underflow."""

    num_init = 4

    @pytest.mark.parametrize("where", ["one", "all"])
    @pytest.mark.parametrize("d", [10, 20, 40, 64])
    def test_groups_20_sigma_apart_are_found_at_any_width(self, d, where):
        block, labels = blobs(d, where)
        done = fit_arrays(block, Spec(k=2, num_init=self.num_init))
        found, columns = done.fit, done.columns
        assert_groups_found(found, columns, block, labels)
        assert (found.reason, found.floored) == ("converged", ())
        peer = PeerMixture(2, random_state=0).fit(block.T)
        assert adjusted_rand_score(labels, peer.predict(block.T)) == 1.0
        mean = found.log_likelihood / found.weight
        assert_allclose(mean, peer.score(block.T), rtol=0, atol=1e-2)

    def test_groups_20_sigma_apart_are_found_in_200_columns(self):
        block, labels = blobs(200, "all")
        done = fit_arrays(block, Spec(k=2, num_init=2))
        found, columns = done.fit, done.columns
        assert_groups_found(found, columns, block, labels)
        parameters = found.parameters.restored(columns.standardisation)
        expected = log_likelihood(parameters, block.T) / found.weight
        assert_allclose(found.log_likelihood / found.weight, expected, rtol=1e-10)

    @pytest.mark.parametrize("where", ["one", "all"])
    @pytest.mark.parametrize("d", [10, 20, 40, 64])
    def test_rows_1e12_away_take_a_component_of_their_own(self, d, where):
        block, labels = blobs(d, where)
        far = 1e12 * np.random.default_rng(d).normal(size=(d, 5))
        block = np.concatenate([block, far], axis=1)
        done = fit_arrays(block, Spec(k=3, num_init=self.num_init))
        found, columns = done.fit, done.columns
        assert_groups_found(found, columns, block, labels)
        outside = assigned(found.parameters, block, columns.standardisation)
        assert len(set(outside[4000:])) == 1
        assert_allclose(np.sort(found.parameters.weights)[0], 5 / 4005, rtol=1e-9)
        # Five rows span no more than four directions: the floor holds the others.
        assert [touched.component for touched in found.floored or found.history[-1].floored] == [
            outside[4000]
        ]

    # Where the covariance of the far rows is singular but for the floor, rounding in its smallest
    # eigenvalues moves the log-likelihood by more than the fit takes for rounding.
    def test_fewer_far_rows_than_columns_let_the_fit_converge(self):
        reasons = set()
        for seed in range(4):
            block, _ = blobs(30, "one", seed, n=2000)
            far = 1e12 * np.random.default_rng(seed).normal(size=(30, 5))
            block = np.concatenate([block, far], axis=1)
            reasons.add(fit_arrays(block, Spec(k=3, num_init=2)).fit.reason)
        assert reasons == {"converged"}

    @pytest.mark.parametrize("where", ["one", "all"])
    @pytest.mark.parametrize("d", [10, 20, 40, 64])
    def test_scales_from_1e_minus_9_to_1e9_change_nothing_but_the_volume(self, d, where):
        block, labels = blobs(d, where)
        factor = np.resize([1e-9, 1.0, 1e9], d)
        plain = fit_arrays(block, Spec(k=2, num_init=self.num_init)).fit
        done = fit_arrays(block * factor[:, None], Spec(k=2, num_init=self.num_init))
        found, columns = done.fit, done.columns
        assert_groups_found(found, columns, block * factor[:, None], labels)
        assert found.converged
        expected = plain.log_likelihood / plain.weight - np.log(factor).sum()
        assert_allclose(found.log_likelihood / found.weight, expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("code", CODES)
    def test_every_structure_finds_them(self, code):
        block, labels = blobs(20, "all", n=1000)
        done = fit_arrays(block, Spec(k=2, covariance_type=code, num_init=self.num_init))
        found, columns = done.fit, done.columns
        where = assigned(found.parameters, block, columns.standardisation)
        assert adjusted_rand_score(labels, where) == 1.0


class TestSearch:
    @pytest.mark.parametrize("mode", INIT_MODES)
    @pytest.mark.parametrize("code", CODES)
    def test_every_mode_starts_every_structure(self, code, mode):
        block, _ = separate_groups()
        start, by, floor = searched(block, 3, code, init_mode=mode, num_init=4)
        assert start.structure.code == code
        assert start.validated().weights.shape == (3,)
        assert start.covariances.shape == start.unit(start.structure, 3, 3).covariances.shape
        assert fit(array_pass(block), start, by, floor=floor).converged

    @pytest.mark.parametrize("mode", INIT_MODES)
    def test_one_component_needs_no_search(self, mode):
        block, _ = separate_groups()
        start, by, _ = searched(block, 1, init_mode=mode, num_init=3)
        found = start.restored(by)
        assert_allclose(found.means[0], block.mean(axis=1), rtol=1e-10)
        assert_allclose(found.covariances[0], np.cov(block, bias=True), rtol=1e-9)

    def test_the_same_seed_gives_the_same_start_and_another_seed_another(self):
        block = np.random.default_rng(0).normal(size=(2, 400))
        options = {"init_mode": "random", "num_init": 1}
        first, second, other = (searched(block, 4, seed=s, **options)[0] for s in (7, 7, 8))
        assert_array_equal(first.means, second.means)
        assert_array_equal(first.covariances, second.covariances)
        assert np.abs(first.means - other.means).max() > 1e-3

    @pytest.mark.parametrize("code", CODES)
    def test_more_starts_are_never_much_worse(self, code):
        """The one start is among the many, and only rounds on the sample stand between them."""
        block, _ = separate_groups(seed=5, k=6, n=600)
        scores = []
        for num_init in (1, 16):
            options = {"init_mode": "random", "num_init": num_init, "seed": 3}
            start, by, _ = searched(block, 6, code, **options)
            scores.append(log_likelihood(start.restored(by), block.T) / 600)
        assert scores[1] >= scores[0] - 1e-3

    def test_many_starts_escape_the_optimum_one_start_ends_in(self):
        k, rng = 12, np.random.default_rng(1)
        labels = np.arange(600) % k
        block = rng.uniform(0, 32, (2, k))[:, labels] + rng.normal(size=(2, 600))
        by, floor = plain_scales(block, STRUCTURES["VVV"]), np.full(2, 1e-3)

        def fitted(start):
            return fit(array_pass(block), start, by, floor=floor).log_likelihood

        ideal = fitted(start_from_labels(block, labels, STRUCTURES["VVV"], by))
        one = [fitted(searched(block, k, seed=seed, num_init=1)[0]) for seed in range(4)]
        many = [fitted(searched(block, k, seed=seed, num_init=16)[0]) for seed in range(4)]
        assert min(one) < ideal - 10
        assert_allclose(many, ideal, rtol=0, atol=0.1)

    def test_weights_of_rows_count(self):
        block, labels = separate_groups(n=300)
        times = np.where(labels == 0, 4, 1)
        start, _, _ = searched(block, 3, weights=times.astype(float), num_init=4)
        shares = np.sort(start.weights)
        assert_allclose(shares, [1 / 6, 1 / 6, 4 / 6], atol=0.02)

    def test_a_start_with_a_component_of_too_few_rows_gives_way_to_one_without(self):
        """A lone row makes a component of unbounded likelihood, and the worst segment."""
        block, _ = separate_groups(seed=3, k=2, d=2, n=400)
        block[:, 0] = block.mean(axis=1) + 20
        smallest = {
            num_init: [
                400 * searched(block, 3, num_init=num_init, seed=seed)[0].weights.min()
                for seed in range(6)
            ]
            for num_init in (1, 16)
        }
        assert min(smallest[1]) < 3  # some starts do end there
        assert min(smallest[16]) >= 3

    @pytest.mark.parametrize("mode", INIT_MODES)
    def test_fewer_distinct_rows_than_components_is_an_error_that_says_how_many(self, mode):
        block = np.tile(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), 500)
        with pytest.raises(DataError, match=r"k is 4.*1500 rows.*3 distinct.*at most 3"):
            searched(block, 4, init_mode=mode, num_init=2)

    @pytest.mark.parametrize("code", CODES)
    @pytest.mark.parametrize("mode", INIT_MODES)
    def test_as_many_components_as_distinct_rows_is_one_a_row(self, mode, code):
        distinct = np.array([[1.0, 2.0, 9.0], [4.0, -5.0, 6.0]])
        block = np.tile(distinct, 50)
        start, by, floor = searched(block, 3, code, init_mode=mode, num_init=8)
        found = fit(array_pass(block), start, by, floor=floor)
        means = found.parameters.restored(by).means
        assert_allclose(means[means[:, 0].argsort()], distinct.T, atol=1e-6)
        assert found.floored

    def test_random_starts_are_at_distinct_rows(self):
        """Drawn among all rows, five would all but never be the five values there are."""
        block = np.repeat(np.array([0.0, 1.0, 2.0, 3.0, 4.0]), [1000, 5, 5, 5, 5])[None]
        for seed in range(3):
            start, by, _ = searched(block, 5, init_mode="random", num_init=1, seed=seed)
            means = start.restored(by).means[:, 0]
            assert len(np.unique(np.round(means, 3))) == 5

    def test_a_distinct_row_late_in_the_sample_counts(self):
        block = np.zeros((1, 3000))
        block[0, 2500:] = 1.0
        methods.require_distinct_rows(block, 2)
        with pytest.raises(DataError, match="at most 2"):
            methods.require_distinct_rows(block, 3)

    @pytest.mark.parametrize("mode", INIT_MODES)
    def test_without_a_floor_collinear_columns_leave_no_start(self, mode):
        block, _ = separate_groups()
        block[2] = block[0] - block[1]
        with pytest.raises(SingularCovarianceError):
            searched(block, 2, floor=0.0, init_mode=mode, num_init=3)


class TestDegenerateColumns:
    @pytest.mark.parametrize("code", ["VVV", "EEE", "VVI", "EEI"])
    def test_a_constant_column_changes_nothing_for_the_others(self, code):
        block, _ = separate_groups()
        with_constant = np.concatenate([block, np.full((1, 300), 7.0)])
        plain = fit_arrays(block, Spec(k=3, covariance_type=code, tol=1e-12)).fit
        done = fit_arrays(with_constant, Spec(k=3, covariance_type=code, tol=1e-12))
        found, columns = done.fit, done.columns
        assert columns.constant == (3,)
        assert found.converged
        assert {j for touched in found.floored for j in touched.columns} == {3}
        order, other = found.parameters.canonical_order(), plain.parameters.canonical_order()
        assert_allclose(found.parameters.weights[order], plain.parameters.weights[other], 1e-5)
        parameters = found.parameters.restored(columns.standardisation)
        assert_allclose(parameters.means[:, 3], 7.0)
        # What a constant column adds is the density of a standard deviation of 1 at its mean.
        expected = plain.log_likelihood - 300 * 0.5 * np.log(2 * np.pi)
        assert_allclose(found.log_likelihood, expected, rtol=1e-7)

    def test_a_collinear_column_is_named_and_the_groups_are_found_all_the_same(self):
        block, labels = blobs(3, "all", n=1500)
        block = np.concatenate([block, block[:1] + 2 * block[1:2]])
        done = fit_arrays(block, Spec(k=2))
        found, columns = done.fit, done.columns
        assert columns.collinear == ((0, 1, 3),)
        where = assigned(found.parameters, block, columns.standardisation)
        assert adjusted_rand_score(labels, where) == 1.0
        assert {touched.component for touched in found.floored} == {0, 1}
        for touched in found.floored:
            assert set(touched.columns) <= {0, 1, 3}

    def test_sentinels_in_one_column_do_not_squeeze_the_rest(self):
        """999999999 for "unknown" in 5 of 4,005 rows of one column."""
        block, labels = blobs(4, "all")
        rows = np.random.default_rng(9).normal(size=(4, 5))
        rows[2] = 999_999_999.0
        block = np.concatenate([block, rows], axis=1)
        done = fit_arrays(block, Spec(k=3))
        found, columns = done.fit, done.columns
        where = assigned(found.parameters, block, columns.standardisation)
        assert adjusted_rand_score(labels, where[:4000]) == 1.0
        assert set(where[4000:]).isdisjoint(where[:4000])


def test_starts_from_labels_are_the_groups_moments():
    block, labels = separate_groups()
    by = Standardisation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 0.5]))
    found = start_from_labels(block, labels, STRUCTURES["VVV"], by).restored(by)
    for k in range(3):
        mine = block[:, labels == k]
        assert_allclose(found.weights[k], mine.shape[1] / 300)
        assert_allclose(found.means[k], mine.mean(axis=1), rtol=1e-10)
        assert_allclose(found.covariances[k], np.cov(mine, bias=True), rtol=1e-8, atol=1e-10)


def test_columns_are_judged_without_the_far_rows():
    block = np.random.default_rng(0).normal(size=(3, 4000))
    far = np.concatenate([block, 1e12 * np.ones((3, 5))], axis=1)
    for code in CODES:
        a, b = (
            standardisation.describe_columns(x, x.min(1), x.max(1), STRUCTURES[code], None)
            for x in (block, far)
        )
        assert_allclose(b.standardisation.centre, a.standardisation.centre, atol=0.1)
        assert_allclose(b.standardisation.scale, a.standardisation.scale, rtol=0.02)
