"""What a sample tells of its columns: recording steps, scales, floors, degenerate columns."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gmm_spark.mixture.standardisation import (
    SMALLEST_FLOOR,
    describe_columns,
    mode_width,
    recording_step,
)
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import CODES, telco

N = 5000


def described(block, code="VVV", floor=None):
    return describe_columns(block, block.min(1), block.max(1), STRUCTURES[code], floor)


def normal(seed=0, n=N):
    return np.random.default_rng(seed).normal(size=n)


class TestRecordingStep:
    @pytest.mark.parametrize(
        ("values", "step"),
        [
            (np.random.default_rng(0).integers(0, 73, N), 1.0),  # months
            (np.round(20 + 100 * np.abs(normal()), 2), 0.01),  # prices in cents
            (np.round(normal(), 1), 0.1),
            (np.round(1e6 * np.abs(normal())) * 5, 5.0),
            (0.05 * np.random.default_rng(0).integers(300, 2400, N), 0.05),
            (1e9 + 86_400.0 * np.random.default_rng(0).integers(0, 900, N), 86_400.0),
            (np.random.default_rng(0).integers(0, 2, N), 1.0),  # yes and no
            (np.random.default_rng(0).choice([3.0, 9.0, 15.0], N), 6.0),
        ],
    )
    def test_of_a_lattice_is_its_constant(self, values, step):
        assert_allclose(recording_step(values.astype(float)), step, rtol=1e-6)

    def test_has_an_offset_and_a_sign_like_any_other(self):
        values = np.random.default_rng(0).integers(-40, 40, N) * 0.25 - 7.1
        assert_allclose(recording_step(values), 0.25, rtol=1e-6)

    @pytest.mark.parametrize("decimals", [0, 1])
    def test_survives_storage_as_float32(self, decimals):
        values = np.round(20 + 100 * np.abs(normal()), decimals)
        stored = values.astype(np.float32).astype(np.float64)
        assert_allclose(recording_step(stored), 10.0**-decimals, rtol=1e-3)

    def test_of_sparse_cents_stored_as_float32_is_a_few_cents_at_most(self):
        # Cents of hundreds are too near to what float32 rounds to be told from it for sure: the
        # gap between neighbouring prices stands in.
        values = np.round(20 + 100 * np.abs(normal()), 2)
        stored = values.astype(np.float32).astype(np.float64)
        assert 0.0099 < recording_step(stored) < 0.03

    def test_of_continuous_values_is_0(self):
        assert recording_step(normal()) == 0.0
        assert recording_step(normal().astype(np.float32).astype(float)) == 0.0
        assert recording_step(np.exp(3 * normal())) == 0.0

    def test_of_the_log_of_counts_is_the_gap_to_the_neighbour_of_a_usual_row(self):
        counts = np.random.default_rng(0).poisson(20, N) + 1.0
        step = recording_step(np.log(counts))
        # Between 10 and 35 neighbours are log(1 + 1 / count) apart.
        assert np.log(1 + 1 / 35) < step < np.log(1 + 1 / 10)

    @pytest.mark.parametrize("masses", [[0.0], [-9.0, 0.0, 40.0]])
    def test_of_continuous_values_with_point_masses_is_0(self, masses):
        values = 5 + np.abs(normal())
        for i, mass in enumerate(masses):
            values[i::5] = mass
        assert recording_step(values) == 0.0

    def test_of_the_log_of_counts_is_that_of_the_others_where_a_third_hold_one_value(self):
        counts = np.where(np.arange(N) % 3 == 0, 1.0, np.random.default_rng(0).poisson(20, N) + 1.0)
        step = recording_step(np.log(counts))
        assert np.log(1 + 1 / 35) < step < np.log(1 + 1 / 10)

    @pytest.mark.parametrize("values", [[], [1.5], [2.0, 2.0, 2.0]])
    def test_of_fewer_than_two_distinct_values_is_0(self, values):
        assert recording_step(np.array(values, dtype=float)) == 0.0

    def test_does_not_depend_on_the_order_of_rows(self):
        values = np.log(np.random.default_rng(0).poisson(20, N) + 1.0)
        shuffled = np.random.default_rng(1).permutation(values)
        assert recording_step(shuffled) == recording_step(values)

    def test_of_customers_is_months_cents_and_a_little_log(self, shared_data):
        tenure, monthly, log_total = telco(shared_data)
        assert recording_step(tenure) == 1.0
        assert_allclose(recording_step(monthly), 0.05, rtol=1e-6)
        # Totals of a few thousand, in steps of five cents.
        assert 1e-6 < recording_step(log_total) < 1e-2
        stored = monthly.astype(np.float32).astype(float)
        assert_allclose(recording_step(stored), 0.05, rtol=1e-3)


class TestFloor:
    def test_is_the_standard_deviation_of_a_rounding_error(self):
        block = np.stack([np.round(10 * normal()), np.round(normal(1), 2), normal(2)])
        columns = described(block)
        scale = columns.standardisation.scale
        expected = [1 / np.sqrt(12), 0.01 / np.sqrt(12), SMALLEST_FLOOR * scale[2]]
        assert_allclose(columns.floor, expected, rtol=1e-6)

    def test_is_never_under_a_millionth_of_the_scale(self):
        block = (1e9 * normal() + np.round(normal(1)))[None]
        columns = described(np.round(block))
        assert_allclose(columns.floor, SMALLEST_FLOOR * columns.standardisation.scale)

    def test_is_no_wider_than_the_column(self):
        values = np.zeros(N)
        values[::500] = 1.0
        columns = described(np.stack([values, normal()]))
        assert columns.floor[0] <= columns.standardisation.scale[0]
        assert columns.floor[0] > 0

    def test_as_a_fraction_is_of_the_columns_own_scale(self):
        block = np.stack([1e-9 * normal(), 1e9 * normal(1)])
        columns = described(block, floor=0.05)
        assert_allclose(columns.floor, 0.05 * columns.standardisation.scale)

    @pytest.mark.parametrize("code", CODES)
    def test_off_is_0_everywhere(self, code):
        block = np.stack([np.round(normal()), normal(1), np.full(N, 3.0)])
        assert_array_equal(described(block, code, floor=0.0).floor, 0.0)

    def test_scales_with_the_column(self):
        block = np.round(10 * normal())[None]
        plain, scaled = described(block), described(block * 1024)
        assert_allclose(scaled.floor, 1024 * plain.floor, rtol=1e-9)


class TestScale:
    def test_of_normal_columns_is_their_standard_deviation(self):
        deviations = np.array([1e-9, 2.5, 1e9])
        block = np.stack([normal(0, 50_000), normal(1, 50_000), normal(2, 50_000)])
        block = deviations[:, None] * (block + 3)
        by = described(block).standardisation
        assert_allclose(by.scale, deviations, rtol=0.02)
        assert_allclose(by.centre, 3 * deviations, rtol=0.02)

    @pytest.mark.parametrize("code", CODES)
    @pytest.mark.parametrize("far", [1e12, -1e12])
    def test_is_not_moved_by_rows_at_1e12(self, code, far):
        block = np.stack([normal(), 5 + 2 * normal(1), normal(2)])
        with_far = np.concatenate([block, np.full((3, 20), far)], axis=1)
        plain, found = described(block, code), described(with_far, code)
        assert_allclose(found.standardisation.scale, plain.standardisation.scale, rtol=0.05)
        assert_allclose(found.standardisation.centre, plain.standardisation.centre, atol=0.05)
        assert (found.floor < 0.01).all()

    @pytest.mark.parametrize("share", [0.6, 0.9, 0.995, 0.9999])
    def test_of_a_column_that_is_mostly_one_value_is_positive(self, share):
        values = np.where(np.arange(10_000) < share * 10_000, 0.0, 10 + normal(0, 10_000))
        columns = described(np.stack([values, normal(1, 10_000)]))
        assert columns.constant == ()
        assert 0 < columns.standardisation.scale[0] <= 20

    def test_of_a_column_that_is_mostly_one_value_is_not_moved_by_a_few_far_rows_either(self):
        values = np.where(np.arange(10_000) < 9_000, 0.0, 10 + normal(0, 10_000))
        values[-3:] = 1e12
        assert described(values[None]).standardisation.scale[0] <= 20

    @pytest.mark.parametrize("code", ["VII", "EII"])
    def test_of_spherical_structures_is_one_for_all_columns(self, code):
        block = np.stack([normal(), 7 * normal(1), np.full(N, 3.0)])
        scale = described(block, code).standardisation.scale
        assert len(set(scale)) == 1
        # The root mean square of the columns that vary.
        assert_allclose(scale[0], 5.0, rtol=0.05)


class TestDegenerateColumns:
    def test_constant_columns_are_named_by_the_range_of_all_rows(self):
        block = np.stack([normal(), np.full(N, 7.0), normal(1)])
        assert described(block).constant == (1,)
        # The sample may not have seen what varies.
        lowest, highest = block.min(1), block.max(1) + 1
        columns = describe_columns(block, lowest, highest, STRUCTURES["VVV"], None)
        assert columns.constant == ()
        assert (columns.standardisation.scale > 0).all()
        assert (columns.floor > 0).all()

    @pytest.mark.parametrize("code", ["VVV", "EEE"])
    def test_collinear_columns_are_named_together(self, code):
        a, b, c = normal(), normal(1), normal(2)
        block = np.stack([a, b, 1e6 * c, a - 1e-3 * b, np.full(N, 1.0)])
        columns = described(block, code)
        assert columns.collinear == ((0, 1, 3),) or columns.collinear == ((0, 3),)

    def test_every_dependence_is_its_own_group(self):
        a, b = normal(), normal(1)
        block = np.stack([a, b, 3 * a + 5, -2 * b + 1])
        groups = described(block).collinear
        assert groups == ((0, 2), (1, 3))

    def test_dependences_that_share_columns_are_as_many_as_columns_too_many(self):
        a, b = normal(), normal(1)
        groups = described(np.stack([a, b, a + b, a - b])).collinear
        assert len(groups) == 2
        assert all(len(group) == 3 for group in groups)

    @pytest.mark.parametrize("noise", [1e-3, 1e-5])
    def test_nearly_collinear_columns_are_not_called_collinear(self, noise):
        a, b = normal(), normal(1)
        assert described(np.stack([a, b, a + b + noise * normal(2)])).collinear == ()

    def test_collinearity_is_seen_beside_rows_at_1e12(self):
        a, b = normal(), normal(1)
        block = np.concatenate([np.stack([a, b, a + b]), np.full((3, 5), 1e12)], axis=1)
        assert described(block).collinear == ((0, 1, 2),)

    @pytest.mark.parametrize("code", ["VVI", "EEI", "VII", "EII"])
    def test_without_covariances_collinearity_is_no_matter(self, code):
        a, b = normal(), normal(1)
        assert described(np.stack([a, b, a + b]), code).collinear == ()

    def test_fewer_rows_than_columns_say_nothing_of_collinearity(self):
        assert described(np.random.default_rng(0).normal(size=(6, 5))).collinear == ()


class TestModeWidth:
    @pytest.mark.parametrize("sigma", [1e-9, 1.0, 1e6])
    def test_of_a_normal_is_near_its_standard_deviation(self, sigma):
        assert_allclose(mode_width(sigma * normal(), 0.25), sigma, rtol=0.1)

    def test_is_that_of_the_densest_group_alone(self):
        # Half of the rows: their density is half that of a normal distribution of its own.
        values = np.concatenate([0.1 * normal(), 1000 + 50 * normal(1)])
        assert_allclose(mode_width(values, 0.1), 0.2, rtol=0.15)

    def test_of_a_point_mass_is_0(self):
        assert mode_width(np.where(np.arange(N) % 2 == 0, 4.0, normal()), 1 / 3) == 0.0
