"""Ids of segments follow their members. No Spark."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from gmm_spark.mixture.matching import matched


def counts_of(*pairs: tuple[int, int, float], old: int, new: int) -> np.ndarray:
    found = np.zeros((old, new))
    for i, j, rows in pairs:
        found[i, j] = rows
    return found


def test_ids_follow_the_members_whatever_the_numbers() -> None:
    found = matched(
        counts_of((0, 2, 90), (1, 0, 50), (2, 1, 30), (0, 0, 5), old=3, new=3), [4, 0, 7], 9
    )
    assert found.ids == (0, 7, 4)
    assert (found.next_id, found.new, found.gone, found.split, found.merged) == (9, (), (), {}, {})
    assert found.changed == pytest.approx(5 / 175)
    assert found.sentences() == []


def test_no_other_assignment_leaves_fewer_rows_with_another_id() -> None:
    random = np.random.default_rng(0)
    for k in (2, 3, 4, 5):
        # Of the same segments, somewhat blurred, as a refit finds them.
        table = random.permutation(np.eye(k)) * 100 + random.gamma(1.0, 5.0, (k, k))
        found = matched(table, range(k), k)
        kept = max(sum(table[i, j] for i, j in enumerate(p)) for p in permutations(range(k)))
        assert found.changed == pytest.approx(1 - kept / table.sum())
        assert found.new == found.gone == ()


def test_the_assignment_is_the_best_for_all_and_not_for_one_after_the_other() -> None:
    # The largest cell first would leave 60 + 0 rows; the best keeps 55 + 50.
    found = matched(np.array([[60.0, 55.0], [50.0, 0.0]]), [0, 1], 2)
    assert found.ids == (1, 0)


def test_a_segment_that_is_new_has_an_id_that_was_never_given() -> None:
    found = matched(counts_of((0, 0, 80), (0, 1, 20), (1, 2, 50), old=2, new=3), [0, 3], 6)
    assert found.ids == (0, 6, 3)
    assert (found.new, found.gone, found.next_id) == ((6,), (), 7)
    assert found.split == {0: (0, 6)}
    assert found.sentences() == ["segment 6 is new", "segment 0 was split into 0 and 6"]


def test_a_segment_that_is_gone_takes_its_id_along() -> None:
    found = matched(counts_of((0, 0, 80), (1, 0, 30), (2, 1, 50), old=3, new=2), [0, 1, 2], 3)
    assert found.ids == (0, 2)
    assert (found.gone, found.merged, found.next_id) == ((1,), {0: (0, 1)}, 3)
    assert found.sentences() == ["segment 1 is gone", "segment 0 is 0 and 1 merged"]
    assert found.sentences({1: "lapsed"})[0] == "segment 1 (lapsed) is gone"


def test_what_is_left_over_is_not_one_segment() -> None:
    """One splits and two merge: as many as before, and one new, one gone."""
    table = counts_of((0, 0, 60), (0, 1, 40), (1, 2, 50), (2, 2, 45), (2, 1, 1), old=3, new=3)
    found = matched(table, [0, 1, 2], 3)
    assert found.ids == (0, 3, 1)
    assert (found.new, found.gone) == ((3,), (2,))
    assert found.split == {0: (0, 3)}
    assert found.merged == {1: (1, 2)}
    assert found.changed == pytest.approx((40 + 45 + 1) / 196)


def test_segments_without_rows_in_common_are_new_ones() -> None:
    found = matched(np.zeros((2, 2)), [0, 1], 2)
    assert (found.ids, found.gone, found.changed) == ((2, 3), (0, 1), 0.0)


def test_ids_are_those_of_the_most_probable_segments_and_not_of_the_probabilities() -> None:
    """Of mixed rows the sum of probabilities can pair segments so that more rows change."""
    p = np.array([[0.51, 0.49]] * 60 + [[0.0, 1.0]] * 40)
    q = np.array([[0.51, 0.49]] * 55 + [[0.0, 1.0]] * 5 + [[1.0, 0.0]] * 35 + [[0.0, 1.0]] * 5)
    counts = np.zeros((2, 2))
    np.add.at(counts, (p.argmax(axis=1), q.argmax(axis=1)), 1)
    by_probability = matched(p.T @ q, [0, 1], 2)
    found = matched(counts, [0, 1], 2, p.T @ q)
    assert counts.tolist() == [[55, 5], [35, 5]]
    assert by_probability.ids == (1, 0)
    assert found.ids == (0, 1)
    assert found.changed == pytest.approx(0.4)


def test_where_counts_do_not_decide_probabilities_do() -> None:
    # Two small segments lie under a large one everywhere: they are nobody's most probable.
    counts = counts_of((0, 0, 100), old=3, new=3)
    joint = np.array([[80.0, 30.0, 20.0], [30.0, 1.0, 4.0], [20.0, 4.5, 0.5]])
    found = matched(counts, [5, 6, 7], 8, joint)
    assert found.ids == (5, 7, 6)
    assert (found.new, found.gone, found.changed) == ((), (), 0.0)
    # A row weighs more than all probabilities.
    one = matched(counts + counts_of((1, 1, 1), old=3, new=3), [5, 6, 7], 8, joint)
    assert one.ids == (5, 6, 7)


def test_of_a_model_that_was_updated_numbers_decide_wherever_the_rows_are() -> None:
    """Some come into the first segment out of the second, and no row is in the third."""
    table = counts_of((1, 0, 80), (1, 1, 10), old=3, new=3)
    assert matched(table, [4, 0, 7], 9).ids != (4, 0, 7)
    found = matched(table, [4, 0, 7], 9, same_numbers=True)
    assert (found.ids, found.next_id, found.new, found.gone) == ((4, 0, 7), 9, (), ())
    assert found.changed == pytest.approx(80 / 90)


def test_it_is_written_as_plain_values() -> None:
    found = matched(counts_of((0, 0, 80), (0, 1, 20), old=1, new=2), [0], 1).to_json()
    assert found == {
        "old": [0],
        "new": [0, 1],
        "rows": [[80.0, 20.0]],
        "changed_share": pytest.approx(0.2),
        "new_segments": [1],
        "gone_segments": [],
        "split": [{"segment": 0, "into": [0, 1]}],
        "merged": [],
    }
