"""Whether the segments of a refit are those that there were. No Spark."""

from __future__ import annotations

import numpy as np
import pytest

from gmm_spark.mixture.segmentation.following import compared, stays


def divisions(*pairs: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows in a segment before and in one now, so many each."""
    before, now = (np.concatenate([np.full(p[2], p[i]) for p in pairs]) for i in (0, 1))
    return before.astype(np.intp), now.astype(np.intp)


def test_a_tenth_of_the_rows_may_change_their_segment_and_no_more() -> None:
    tenth = compared(*divisions((0, 0, 500), (0, 1, 100), (1, 1, 400)))
    assert tenth.changed == pytest.approx(0.1)
    assert stays(tenth)
    assert not stays(compared(*divisions((0, 0, 500), (0, 1, 101), (1, 1, 399))))


def test_segments_that_have_changed_their_numbers_are_not_the_same() -> None:
    assert not stays(compared(*divisions((0, 1, 500), (1, 0, 500))))
    # However small they are.
    assert not stays(compared(*divisions((0, 0, 980), (1, 2, 10), (2, 1, 10))))


def test_a_small_segment_whose_members_go_is_not_the_same() -> None:
    gone = compared(*divisions((0, 0, 950), (1, 0, 30), (0, 1, 20)))
    assert not stays(gone)
    assert gone.gone == (1,)
    # Who has lost half of them, and taken nobody's, is.
    assert stays(compared(*divisions((0, 0, 950), (1, 0, 30), (1, 1, 20))))


def test_a_segment_that_nobody_is_in_and_was_in_is_no_reason() -> None:
    found = compared(*divisions((0, 0, 500), (3, 3, 500)))
    assert stays(found)
    assert found.old == (0, 3)


def test_rows_count_by_their_weights() -> None:
    before, now = divisions((0, 0, 9), (0, 1, 1), (1, 1, 9))
    weights = np.ones(19)
    weights[9] = 3.0
    assert compared(before, now, weights).changed == pytest.approx(3 / 21)
