"""Whatever the rows and however they are cut: hashes, encoders, packing, scans, statistics."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from gmm_spark.engine.blocks import Block, Roles
from gmm_spark.engine.columns import Levels, Memberships, numbers
from gmm_spark.engine.hashing import occurrence_hashes, row_hashes
from gmm_spark.engine.packing import PackedReader, Packer
from gmm_spark.engine.scan import EVERY_ROW, Looking, PartialScan, merged_parts
from gmm_spark.mixture.families import Category

numeric = st.floats(-1e100, 1e100) | st.sampled_from([0.0, -0.0, np.nan, 1e-300, 0.1])


@st.composite
def cut_rows(draw: Any) -> tuple[np.ndarray, list[int]]:
    """Rows (columns, n), and where they are cut into parts."""
    columns, n = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    rows = draw(arrays(float, (columns, n), elements=numeric))
    cuts = draw(st.lists(st.integers(0, n), max_size=5))
    return rows, [0, *sorted(cuts), n]


@given(cut_rows(), st.integers(0, 2**63 - 1))
def test_a_hash_is_of_the_row_alone(case, seed) -> None:
    rows, cuts = case
    whole = row_hashes(rows, seed)
    parts = [row_hashes(rows[:, a:b], seed) for a, b in pairwise(cuts)]
    assert_array_equal(np.concatenate(parts), whole)
    # Equal rows, and only these, have hashes that their number tells apart.
    assert np.unique(occurrence_hashes(whole)).size == rows.shape[1]


@given(st.lists(st.none() | st.sampled_from(["", "a", "b", "é", " a", "(other)", "new"])))
def test_codes_of_a_category_are_places_of_its_values(values) -> None:
    levels = ("a", "é", " a", "(other)")
    column = pa.array(values, pa.string())
    closed, opened = (
        Levels(Category("c", levels, other)).encoded(column) for other in (False, True)
    )
    for value, without, within in zip(values, closed, opened, strict=True):
        if value in levels:
            assert levels[int(without)] == value == levels[int(within)]
        else:
            assert np.isnan(without)
            assert np.isnan(within) if value is None else within == 3


@given(st.lists(st.none() | st.integers(0, 51) | st.lists(st.integers(0, 51), max_size=3)))
def test_bits_of_known_components_are_those_named(values) -> None:
    sets = [None if v is None else v if isinstance(v, list) else [v] for v in values]
    found = Memberships().encoded(pa.array(sets, pa.list_(pa.int64())))
    for named, bits in zip(sets, found, strict=True):
        if not named:
            assert np.isnan(bits)
        else:
            assert int(bits) == sum(1 << component for component in set(named))


@given(cut_rows(), st.booleans())
def test_packed_rows_come_back(case, weighted) -> None:
    rows, cuts = case
    names = tuple(f"c{i}" for i in range(len(rows)))
    if weighted:
        rows = np.vstack([rows, np.arange(rows.shape[1]) % 3])
        names += ("w",)
    roles = Roles(names[: len(names) - weighted], weight="w" if weighted else None)
    batches = [
        pa.RecordBatch.from_arrays([pa.array(row) for row in rows[:, a:b]], list(names))
        for a, b in pairwise(cuts)
    ]
    packer = Packer(names, weight=len(names) - 1 if weighted else None)
    blocks = list(PackedReader(roles)(packer(batches)))
    kept = rows[:, rows[-1] != 0] if weighted else rows
    found = np.concatenate([block.values for block in blocks], axis=1)
    assert_array_equal(found, kept)
    assert sum(block.weightless for block in blocks) == rows.shape[1] - kept.shape[1]
    # The sum that tells changed data is of the rows, however they were cut.
    whole = int(row_hashes(kept, 0).sum(dtype=np.uint64))
    assert sum(block.fingerprint for block in blocks) % 2**64 == whole


@given(cut_rows(), st.integers(1, 50))
def test_a_scan_does_not_depend_on_the_cuts(case, size) -> None:
    rows, cuts = case
    roles = Roles(tuple(f"c{i}" for i in range(len(rows))))

    def scanned(cuts: list[int], rows: np.ndarray = rows) -> Any:
        parts = []
        for a, b in pairwise(cuts):
            part = PartialScan(Looking(roles, "marginalize", 1, EVERY_ROW))
            part.add(Block(rows[:, a:b], np.zeros(len(rows), dtype=np.int64), roles))
            parts.append(part)
        return merged_parts(parts).finished(size, "frequency")

    whole, parted = scanned([0, rows.shape[1]]), scanned(cuts)
    for name, value in vars(whole).items():
        assert_array_equal(getattr(parted, name), value, err_msg=name)
    assert whole.sample.shape[1] == min(size, rows.shape[1])
    backwards = scanned([0, rows.shape[1]], rows[:, ::-1])
    assert_array_equal(backwards.sample, whole.sample)


@given(st.lists(st.none() | st.integers(-(2**62), 2**62) | st.booleans()))
def test_whole_numbers_are_the_nearest_doubles(values) -> None:
    whole = [None if v is None else int(v) for v in values]
    found = numbers(pa.array(whole, pa.int64()))
    assert_allclose(found, [np.nan if v is None else float(v) for v in whole], rtol=0)
