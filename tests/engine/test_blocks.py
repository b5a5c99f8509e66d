"""Blocks inside a task: hashes of rows, columns of a batch, packing and reading back."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.columns import batch_columns
from gmm_spark.engine.hashing import occurrence_hashes, row_hashes
from gmm_spark.engine.packing import PackedReader, Packer


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(3, 2000))


def test_a_hash_is_of_the_row_alone_wherever_it_stands(rows) -> None:
    order = np.random.default_rng(0).permutation(rows.shape[1])
    assert_array_equal(row_hashes(rows[:, order], 7), row_hashes(rows, 7)[order])
    parts = [row_hashes(rows[:, :900], 7), row_hashes(rows[:, 900:], 7)]
    assert_array_equal(np.concatenate(parts), row_hashes(rows, 7))


def test_a_hash_depends_on_the_seed_on_every_bit_and_on_the_order_of_columns(rows) -> None:
    plain = row_hashes(rows, 7)
    assert not (plain == row_hashes(rows, 8)).any()
    assert not (plain == row_hashes(rows[::-1], 7)).any()
    for column in range(3):
        changed = rows.copy()
        changed[column] = np.nextafter(changed[column], np.inf)
        assert not (plain == row_hashes(changed, 7)).any()


def test_zero_has_one_hash_whatever_its_sign() -> None:
    assert_array_equal(row_hashes(np.array([[0.0]]), 1), row_hashes(np.array([[-0.0]]), 1))


def test_rows_of_small_integers_do_not_collide() -> None:
    a, b = np.meshgrid(np.arange(300.0), np.arange(300.0))
    assert np.unique(row_hashes(np.stack([a.ravel(), b.ravel()]), 0)).size == 90_000


def test_the_lowest_hashes_are_a_uniform_sample(rows) -> None:
    """Chi-squared of how often each of 2,000 rows is among the 500 lowest, over 400 seeds."""
    n, size, seeds = rows.shape[1], 500, 400
    chosen = np.zeros(n)
    for seed in range(seeds):
        chosen[np.argsort(row_hashes(rows, seed))[:size]] += 1
    share = size / n
    statistic = ((chosen - seeds * share) ** 2).sum() / (seeds * share * (1 - share))
    assert abs(statistic - n) < 6 * np.sqrt(2 * n)


def test_copies_of_a_row_hash_differently_and_in_any_order_the_same() -> None:
    hashes = row_hashes(np.array([[1.0, 2.0, 1.0, 1.0, 3.0, 2.0]]), 0)
    occurrences = occurrence_hashes(hashes)
    assert np.unique(occurrences).size == 6
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(6)
        assert_array_equal(np.sort(occurrence_hashes(hashes[order])), np.sort(occurrences))


def test_columns_of_any_numeric_type_become_float64_and_nulls_are_told_from_nan() -> None:
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([1, 2, None], pa.int32()),
            pa.array([0.5, None, float("nan")], pa.float32()),
            pa.array([True, False, None]),
            pa.array([Decimal("1.25"), Decimal("-3.50"), Decimal("0.01")]),
            pa.array([float("nan"), 1e300, -1.0]),
            pa.array([2**53 + 1, 0, 1], pa.int64()),
        ],
        ["a", "b", "c", "d", "e", "f"],
    )
    values, nulls = batch_columns(batch, "abcdef")
    nan = np.nan
    expected = [
        [1, 2, nan],
        [0.5, nan, nan],
        [1, 0, nan],
        [1.25, -3.5, 0.01],
        [nan, 1e300, -1],
        [2.0**53, 0, 1],
    ]
    assert_array_equal(values, expected)
    assert_array_equal(nulls, [1, 1, 1, 0, 0, 0])


def read_back(packer: Packer, batches: list[pa.RecordBatch], roles: Roles) -> list:
    return list(PackedReader(roles)(packer(batches)))


def test_what_is_packed_is_read_back_with_its_roles(rows) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(row) for row in rows], ["0", "1", "2"])
    roles = Roles(("x",), weight="w", label="l")
    (block,) = read_back(Packer(("0", "1", "2")), [batch], roles)
    assert_array_equal(block.inputs, rows[:1])
    assert_array_equal(block.weights, rows[1])
    assert_array_equal(block.labels, rows[2])


def test_fingerprints_add_up_to_the_same_however_rows_are_cut(rows) -> None:
    def total(cuts: list[int]) -> int:
        bounds = [0, *cuts, rows.shape[1]]
        batches = [
            pa.RecordBatch.from_arrays([pa.array(row[a:b]) for row in rows], ["0", "1", "2"])
            for a, b in pairwise(bounds)
        ]
        blocks = read_back(Packer(("0", "1", "2")), batches, Roles(("x", "y", "z")))
        return sum(block.fingerprint for block in blocks) % 2**64

    assert total([]) == total([1, 17, 1999]) == total([500, 500, 1000])
    rows = rows.copy()
    before = total([])
    rows[1, 1234] += 1e-12
    assert total([]) != before


def test_arrays_become_columns_with_their_gaps_counted() -> None:
    arrays = pa.array([[1.0, 2.0], None, [3.0, None], [float("nan"), 4.0]])
    weights = pa.array([1.0, 2.0, 3.0, None])
    batch = pa.RecordBatch.from_arrays([arrays, weights], ["0", "1"])
    (block,) = read_back(Packer(("0", "1"), True), [batch], Roles(("x", "y"), weight="w"))
    nan = np.nan
    assert_array_equal(block.inputs, [[1, nan, 3, nan], [2, nan, nan, 4]])
    assert_array_equal(block.weights, [1, 2, 3, nan])
    assert_array_equal(block.nulls, [1, 2, 1])


def test_arrays_of_another_length_are_counted() -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([[1.0, 2.0], [1.0], [], [1.0, 2.0, 3.0]])], ["0"])
    (packed,) = Packer(("0",), True)([batch])
    assert packed.column("rows").to_pylist() == [4]
    assert packed.column("wrong_length").to_pylist() == [3]
    assert packed.column("an_other_length").to_pylist() == [1]
