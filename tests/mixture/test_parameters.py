"""Structures, changes of units, marginals and the order of components."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.parameters import Parameters, Standardisation, as_structure
from gmm_spark.mixture.structures import STRUCTURES, structure_named
from tests.mixture.reference import (
    CODES,
    dense_covariances,
    log_joint,
    random_parameters,
)


def scales(code, d=4):
    common = STRUCTURES[code].kind == "spherical"
    scale = np.full(d, 250.0) if common else np.array([1e-9, 0.3, 40.0, 1e9])[:d]
    return Standardisation(np.array([1e3, -5.0, 0.0, 7e9])[:d], scale)


class TestStructures:
    # Celeux and Govaert (1995), table 1, with k - 1 weights and k d means: k = 3, d = 4.
    @pytest.mark.parametrize(
        ("code", "expected"),
        [("VVV", 44), ("EEE", 24), ("VVI", 26), ("EEI", 18), ("VII", 17), ("EII", 15)],
    )
    def test_count_their_free_parameters(self, code, expected):
        assert STRUCTURES[code].num_free_parameters(3, 4) == expected
        assert random_parameters(code, 3, 4).num_free_parameters == expected

    @pytest.mark.parametrize(
        ("name", "code"),
        [("full", "VVV"), ("tied", "EEE"), ("diag", "VVI"), ("spherical", "VII"), ("eei", "EEI")],
    )
    def test_have_the_names_users_know(self, name, code):
        assert structure_named(name).code == code

    @pytest.mark.parametrize(
        ("given", "name"),
        [
            ("VVV", "full"), ("full", "full"), ("vvv", "full"), ("EEE", "tied"), ("tied", "tied"),
            ("VVI", "diag"), ("VII", "spherical"), ("EEI", "EEI"), ("EII", "EII"),
        ],
    )  # fmt: skip
    def test_have_one_name_however_they_were_called(self, given, name):
        assert structure_named(given).name == name
        assert structure_named(name) == structure_named(given)

    def test_unknown_is_an_error_that_lists_the_known(self):
        with pytest.raises(SettingError, match=r"'round'.*full, tied, diag, spherical"):
            structure_named("round")

    @pytest.mark.parametrize("code", CODES)
    def test_compact_covariances_stand_for_matrices(self, code):
        parameters = random_parameters(code, 3, 4)
        expected = dense_covariances(parameters)
        assert_array_equal(parameters.dense_covariances(), expected)
        assert_array_equal(parameters.variances(), [np.diag(matrix) for matrix in expected])

    @pytest.mark.parametrize("code", CODES)
    def test_unit_parameters_are_a_valid_mixture(self, code):
        blank = Parameters.unit(STRUCTURES[code], 3, 2).validated()
        assert_array_equal(blank.dense_covariances(), [np.eye(2)] * 3)

    def test_projection_takes_diagonals_and_weighted_means(self):
        dense = random_parameters("VVV", 2, 2)
        dense = replace(
            dense,
            weights=np.array([0.25, 0.75]),
            covariances=np.array([[[4.0, 1.0], [1.0, 8.0]], [[8.0, -1.0], [-1.0, 4.0]]]),
        )
        expected = {
            "VVV": dense.covariances,
            "EEE": [[7.0, -0.5], [-0.5, 5.0]],
            "VVI": [[4.0, 8.0], [8.0, 4.0]],
            "EEI": [7.0, 5.0],
            "VII": [6.0, 6.0],
            "EII": 6.0,
        }
        for code, covariances in expected.items():
            found = as_structure(dense, STRUCTURES[code])
            assert_allclose(found.covariances, covariances)
            assert_array_equal(found.means, dense.means)
            found.validated()


class TestUnits:
    @pytest.mark.parametrize("code", CODES)
    def test_restored_is_the_inverse_of_standardised(self, code):
        parameters, by = random_parameters(code, 3, 4), scales(code)
        back = parameters.restored(by).standardised(by)
        assert_allclose(back.covariances, parameters.covariances, rtol=1e-13)
        # A mean of 1e-9 about a centre of 1e3 has but the digits it was stored with.
        lost = np.finfo(float).eps * np.abs(by.centre) / by.scale
        assert (np.abs(back.means - parameters.means) <= lost + 1e-14 * 10).all()

    @pytest.mark.parametrize("code", CODES)
    def test_densities_change_by_the_volume_of_the_scale(self, code):
        parameters = random_parameters(code, 3, 4)
        by = Standardisation(np.array([1.0, -2.0, 0.5, 8.0]), np.array([2.0, 0.25, 4.0, 0.5]))
        if STRUCTURES[code].kind == "spherical":
            by = Standardisation(by.centre, np.full(4, 0.25))
        z = np.random.default_rng(0).normal(size=(20, 4))
        in_units = log_joint(parameters.restored(by), by.centre + by.scale * z)
        assert_allclose(in_units, log_joint(parameters, z) - by.log_volume, rtol=1e-12)

    @pytest.mark.parametrize("code", ["VII", "EII"])
    def test_a_spherical_covariance_refuses_several_scales(self, code):
        with pytest.raises(ValueError, match="one scale"):
            random_parameters(code, 2, 2).restored(Standardisation(np.zeros(2), np.array([1, 2.0])))


class TestMarginal:
    @pytest.mark.parametrize("columns", [[0], [2], [0, 2], [3, 1], [0, 1, 2, 3]])
    @pytest.mark.parametrize("code", CODES)
    def test_has_the_columns_means_and_covariances(self, code, columns):
        parameters = random_parameters(code, 3, 4)
        found = parameters.marginal(np.array(columns)).validated()
        assert_array_equal(found.weights, parameters.weights)
        for k, matrix in enumerate(dense_covariances(parameters)):
            for i, a in enumerate(columns):
                assert found.means[k, i] == parameters.means[k, a]
                for j, b in enumerate(columns):
                    assert found.dense_covariances()[k, i, j] == matrix[a, b]

    @pytest.mark.parametrize("code", CODES)
    def test_density_is_the_integral_over_the_other_column(self, code):
        parameters = random_parameters(code, 2, 2)
        grid = np.linspace(-30, 30, 6001)
        for x in (-1.0, 0.4):
            rows = np.column_stack([np.full_like(grid, x), grid])
            integral = np.exp(log_joint(parameters, rows)).sum(axis=1) * (grid[1] - grid[0])
            found = np.exp(log_joint(parameters.marginal(np.array([0])), np.array([[x]])))
            assert_allclose(found[:, 0], integral, rtol=1e-8)


class TestOrder:
    def test_is_by_weight_largest_first(self):
        parameters = replace(random_parameters("VVV", 4, 2), weights=np.array([0.1, 0.5, 0.1, 0.3]))
        ordered = parameters.taken(parameters.canonical_order())
        assert_array_equal(ordered.weights, [0.5, 0.3, 0.1, 0.1])
        assert_array_equal(ordered.means[:2], parameters.means[[1, 3]])
        assert_array_equal(ordered.covariances[:2], parameters.covariances[[1, 3]])

    def test_of_equal_weights_is_by_means_column_after_column(self):
        means = np.array([[2.0, 0.0], [1.0, 5.0], [1.0, 3.0], [-1.0, 9.0]])
        parameters = replace(random_parameters("EEE", 4, 2), means=means, weights=np.full(4, 0.25))
        assert_array_equal(parameters.canonical_order(), [3, 2, 1, 0])

    @pytest.mark.parametrize("code", CODES)
    def test_does_not_depend_on_the_order_before(self, code):
        parameters = random_parameters(code, 5, 3)
        expected = parameters.taken(parameters.canonical_order())
        shuffled = parameters.taken(np.array([3, 0, 4, 2, 1]))
        found = shuffled.taken(shuffled.canonical_order())
        for name in ("weights", "means", "covariances"):
            assert_array_equal(getattr(found, name), getattr(expected, name))

    @pytest.mark.parametrize("code", CODES)
    def test_taking_components_moves_their_densities_alone(self, code):
        parameters = random_parameters(code, 3, 2)
        rows, order = np.random.default_rng(0).normal(size=(10, 2)), np.array([2, 0, 1])
        expected = log_joint(parameters, rows)[order]
        assert_allclose(log_joint(parameters.taken(order), rows), expected, rtol=1e-14)


@pytest.mark.parametrize("code", CODES)
def test_arrays_have_one_order_in_memory(code):
    """However they come: a sum over an array in another order may have another last bit."""
    parameters = random_parameters(code, 3, 2)
    names = ("weights", "means", "covariances")
    given = {name: np.array(getattr(parameters, name).T, order="C").T for name in names}
    found = replace(parameters, **given)
    for name in names:
        assert getattr(found, name).flags.c_contiguous
        assert_array_equal(getattr(found, name), getattr(parameters, name))
        assert getattr(found, name).shape == getattr(parameters, name).shape


def broken(**changes):
    return replace(random_parameters("VVV", 2, 2), **changes)


class TestValidation:
    @pytest.mark.parametrize("code", CODES)
    def test_lets_valid_parameters_pass_unchanged(self, code):
        parameters = random_parameters(code, 3, 4)
        assert parameters.validated() is parameters
        assert parameters.restored(scales(code)).validated().k == 3

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            (broken(weights=np.array([0.5, 0.3, 0.2])), "do not match"),
            (broken(covariances=np.ones((2, 2))), r"shape \(2, 2\), expected \(2, 2, 2\)"),
            (broken(means=np.array([[np.nan, 0], [0, 0]])), "not finite"),
            (broken(weights=np.array([0.5, 0.4])), "sum to 0.9"),
            (broken(weights=np.array([1.5, -0.5])), "at least 0"),
            (broken(covariances=np.array([np.eye(2), np.diag([1.0, 0])])), "not positive"),
            (broken(covariances=np.array([np.eye(2), [[1, 0.5], [0, 1]]])), "not symmetric"),
            (broken(covariances=np.array([np.eye(2), [[1.0, 2], [2, 1]]])), "positive definite"),
        ],
    )
    def test_names_the_first_thing_wrong(self, parameters, message):
        with pytest.raises(SettingError, match=message):
            parameters.validated()
