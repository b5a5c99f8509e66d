"""What a scan finds in parts of the rows is what it finds in all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gmm_spark.engine.blocks import Block, Roles
from gmm_spark.engine.scan import EVERY_ROW, Looking, PartialScan, merged_parts
from gmm_spark.errors import InputDataError

ROLES = Roles(("a", "b"), weight="w", label="start", membership="known", outcome="left")


def block(rows: slice, **changes) -> Block:
    rng = np.random.default_rng(7)
    values = np.vstack(
        [
            rng.normal(size=(2, 60)),
            rng.integers(1, 5, 60).astype(float),
            rng.integers(0, 3, 60).astype(float),
            np.where(rng.random(60) < 0.8, rng.integers(0, 2, 60), np.nan),
            np.where(rng.random(60) < 0.5, 2.0 ** rng.integers(0, 3, 60), np.nan),
        ]
    )
    values[0, 5] = values[1, 40] = np.nan
    for place, value in changes.items():
        row, column = map(int, place[1:].split("_"))
        values[row, column] = value
    part = values[:, rows]
    return Block(part, np.zeros(len(values), dtype=np.int64), ROLES, fingerprint=part.shape[1])


def scanned(
    *bounds: int, missing="marginalize", threshold: int = EVERY_ROW, **changes
) -> PartialScan:
    parts = []
    for a, b in itertools.pairwise(bounds):
        part = PartialScan(Looking(ROLES, missing, 3, threshold))
        part.add(block(slice(a, b), **changes))
        parts.append(part)
    return merged_parts(parts)


@pytest.mark.parametrize("bounds", [(0, 30, 60), (0, 1, 17, 17, 41, 60)])
@pytest.mark.parametrize("missing", ["marginalize", "skip"])
def test_parts_put_together_are_one_scan(bounds, missing):
    found = scanned(*bounds, missing=missing).finished(50, "importance")
    whole = scanned(0, 60, missing=missing).finished(50, "importance")
    for name, expected in vars(whole).items():
        if isinstance(expected, float):
            assert getattr(found, name) == pytest.approx(expected, rel=1e-14)
        else:
            assert_array_equal(getattr(found, name), expected, err_msg=name)
    values = block(slice(None)).values
    complete = ~np.isnan(values[:2]).any(axis=0)
    used = values if missing == "marginalize" else values[:, complete]
    assert found.num_rows == used.shape[1]
    assert found.num_skipped == 60 - used.shape[1]
    assert_array_equal(found.lowest, np.nanmin(used[:2], axis=1))
    assert_array_equal(found.highest, np.nanmax(used[:2], axis=1))
    assert found.weight == found.num_rows
    assert found.effective_rows == pytest.approx(used[2].sum() ** 2 / (used[2] ** 2).sum())
    assert found.labels == (0.0, 1.0, 2.0)
    assert found.gaps == ((1, 1) if missing == "marginalize" else (0, 0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"v2_8": -1.0, "v2_44": -3.0}, r"weight column 'w': 2 of 60 rows .* \(one: -1.0\)"),
        ({"v3_8": 0.5, "v3_44": 1.5}, r"label column 'start': 0.5 is not a whole number"),
        ({"v5_8": -2.5, "v5_44": -0.25}, r"label column 'known': 2 of 60 rows"),
        ({f"v4_{row}": np.nan for row in range(60)}, "'left': none of 60 rows has a value"),
        ({f"v4_{row}": 1.0 for row in range(60)}, "'left': all rows with a value have 1; segm"),
        ({"v4_8": np.inf}, "column 'left': 1 of 60 rows"),
        ({"v0_8": np.inf, "v0_44": -np.inf}, r"column 'a': 2 of 60 rows .*inf"),
    ],
)
def test_what_cannot_be_used_is_counted_over_all_parts_and_the_first_is_named(changes, said):
    for bounds in ((0, 60), (0, 10, 60), (0, 20, 30, 60)):
        with pytest.raises(InputDataError, match=said):
            scanned(*bounds, **changes).refuse()


@pytest.mark.parametrize("threshold", [EVERY_ROW, 2**63])
def test_an_outcome_comes_beside_its_row_and_decides_nothing(threshold):
    """The sample, its order and all that is found are those without the outcome."""
    found = scanned(0, 20, 60, threshold=threshold).finished(20, "frequency")
    values = block(slice(None)).values
    for row, outcome in zip(found.sample.T, found.sample_outcomes, strict=True):
        place = np.flatnonzero((values[:2] == row[:, None]).all(axis=0))
        if place.size:  # rows with a gap are equal to nothing
            assert_array_equal(outcome, values[4, place[0]])
    assert 0 < np.isnan(found.sample_outcomes).sum() < 20
    numbered = {f"v4_{row}": float(row) for row in range(60)}
    other = scanned(0, 20, 60, threshold=threshold, **numbered)
    without = other.finished(20, "frequency")
    for name, expected in vars(without).items():
        if name != "sample_outcomes":
            assert_array_equal(getattr(found, name), expected, err_msg=name)


def test_a_part_without_rows_changes_nothing():
    assert scanned(0, 0, 60, 60).rows == 60
    with pytest.raises(InputDataError, match="no rows"):
        scanned(0, 0, 0).refuse()
