"""Ids and names of segments from run to run. No Spark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gmm_spark.cli import versions
from gmm_spark.mixture.matching import matched
from gmm_spark.report import succession
from gmm_spark.report.segments import Segments
from gmm_spark.report.succession import IDS, SegmentIds, ids_to_go_on_from, renamed
from gmm_spark.runs.gate import Figure
from gmm_spark.storage import publish_log
from tests.report.test_page import found


def follow(ids: SegmentIds, joint: list[list[float]], names: list[str]) -> SegmentIds:
    return ids.succeeded(matched(np.array(joint), ids.ids, ids.next_id), names)


def test_neither_ids_nor_names_are_given_twice_over_several_runs() -> None:
    one = SegmentIds.first(["new", "loyal"])
    # Numbers change places, and a third comes that is called as one that there is.
    two = follow(one, [[1, 90, 9], [60, 0, 0]], ["faithful", "recent", "loyal"])
    assert two.ids == (1, 0, 2)
    assert two.names == ("loyal", "new", "loyal (2)")
    # 1 goes; what comes next takes neither its id nor its name.
    three = follow(two, [[0, 0, 0], [90, 0, 0], [0, 50, 0]], ["new", "loyal", "loyal"])
    assert three.ids == (0, 2, 3)
    assert three.names == ("new", "loyal (2)", "loyal (3)")
    assert three.next_id == 4
    assert SegmentIds.from_json(three.to_json()) == three


def test_ids_that_a_challenger_has_given_are_not_given_again(tmp_path: Path) -> None:
    root = str(tmp_path)
    one = SegmentIds.first(["new", "loyal"])
    challenger = follow(one, [[50, 0, 0], [0, 40, 30]], ["new", "loyal", "lapsed"])
    assert challenger.ids == (0, 1, 2)
    for run_id, ids, alias in ("a", one, "champion"), ("b", challenger, "challenger"):
        directory = tmp_path / publish_log.directory_of(run_id)
        directory.mkdir(parents=True)
        (directory / IDS).write_text(ids.to_json(), "utf-8")
        publish_log.publish(root, publish_log.read(root), run_id, alias=alias, keep=5)
    # A model of another job has none.
    other = tmp_path / publish_log.directory_of("c")
    other.mkdir()
    (other / "model").write_text("", "utf-8")
    publish_log.publish(root, publish_log.read(root), "c", alias="challenger", keep=5)
    begun = ids_to_go_on_from(root, publish_log.find(root))
    assert (begun.ids, begun.next_id) == ((0, 1), 3)
    next_one = follow(begun, [[50, 0, 0], [0, 40, 30]], ["new", "loyal", "lapsed"])
    assert next_one.ids == (0, 1, 3)
    assert next_one.names == ("new", "loyal", "lapsed (3)")
    # Nor those of a version deleted by its number, a champion that was: its scores were read.
    publish_log.promote(root, 2)
    publish_log.promote(root, 1)
    for number, code in ((2, 0), (3, 0), (9, 2)):
        assert versions.main([root, "--delete", str(number)]) == code
    assert [one.number for one in publish_log.read(root).versions] == [1]
    assert ids_to_go_on_from(root, publish_log.find(root)) == begun


@pytest.fixture(scope="module")
def segments() -> Segments:
    return found()


def test_a_name_that_stays_is_said_where_today_would_give_another(segments: Segments) -> None:
    names = [one.name for one in segments.segments]
    ids = SegmentIds((4, 0, 2), ("old name", *names[1:]), 5, ())
    now = renamed(segments, ids)
    assert [one.id for one in now.segments[:3]] == [4, 0, 2]
    assert now.segments[0].name == "old name"
    assert now.segments[0].words.endswith(segments.segments[0].words.removeprefix(names[0]))
    (note,) = set(now.notes) - set(segments.notes)
    assert note.startswith("segment 4 keeps its name, old name; by its figures of today it would")
    assert [one.name for one in now.segments[1:]] == names[1:]


def test_a_name_that_stays_is_the_one_that_others_are_told_from(segments: Segments) -> None:
    """Two segments change their names with each other, and what is said of a third names one."""
    names = [one.name for one in segments.segments if one.segment >= 0]
    content = json.loads(segments.to_json())
    typical = {"runner_up": 0, "log_odds": 1.0, "reasons": []}
    content["segments"][2]["typical"] = {**typical, "words": f"here rather than in “{names[0]}”"}
    content["kmeans"]["words"] = [f"9 of “{names[1]}” are with most of “{names[0]}” in k-means."]
    ids = SegmentIds(tuple(range(len(names))), (names[1], names[0], *names[2:]), 9, ())
    now = renamed(Segments.model_validate(content), ids)
    assert now.segments[2].typical.words == f"here rather than in “{names[1]}”"
    assert now.kmeans.words == [f"9 of “{names[0]}” are with most of “{names[1]}” in k-means."]


def test_gaps_that_came_and_values_that_are_new_are_told() -> None:
    """Half of a column that cannot be read any more is no shift of the values that are known."""
    figures = [
        Figure("missing", "column tenure", 0.5, 0.0),
        Figure("missing", "column bill", 0.6, 0.58),
        Figure("missing", "column age", 0.1, 0.3),
        Figure("unseen", "column plan", 0.143),
        Figure("unseen", "column city", 0.01),
        Figure("psi", "column tenure", 0.0),
    ]
    assert succession._unknown_in_words(figures) == [
        "columns with more gaps than before: tenure 50.0 % (before 0.0 %)",
        "columns with values never seen before: plan 14.3 %",
    ]
    many = [Figure("unseen", f"column {name}", 0.2) for name in "abcdefghij"]
    (said,) = succession._unknown_in_words(many)
    assert said.endswith(f" and {10 - succession._SHOWN} more")
