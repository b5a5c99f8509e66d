"""The readers of the soak see a wrong state of published scores; what grows is told. No Spark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.soak import LIMITS, Day, Lake, Witness, against, days_without_spark, slope, steady
from gmm_spark.storage import publish_log

LAKE = Lake(Path("nowhere"), 10)
FIRST, SECOND = LAKE.run_date(1), LAKE.run_date(2)


def whole(run_date: str, write: int = 0) -> Day:
    size = LAKE.size(run_date, write)
    return Day(run_date, size, size, size - 1, (write, write))


def wrong(*looks: list[Day]) -> list[str]:
    witness = Witness(LAKE)
    for days in looks:
        witness.look(days)
    return witness.wrong


def test_days_that_come_and_are_replaced_are_right() -> None:
    looks = [], [whole(FIRST)], [whole(FIRST), whole(SECOND)], [whole(FIRST, 2), whole(SECOND)]
    assert wrong(*looks) == []


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ([[whole(FIRST)], []], "is gone"),
        ([[whole(FIRST), whole(FIRST)]], "twice"),
        ([[replace(whole(FIRST), rows=5, ids=5)]], "has not its"),
        ([[replace(whole(FIRST), rows=24)]], "has not its"),
        ([[replace(whole(FIRST), highest_id=90)]], "has not its"),
        ([[replace(whole(FIRST, 1), writes=(0, 1))]], "of several runs"),
        ([[replace(whole(FIRST), run_ids=2)]], "of several runs"),
        ([[whole(FIRST, 2)], [whole(FIRST, 1)]], "went back"),
    ],
)
def test_a_wrong_state_is_seen(looks: list[list[Day]], said: str) -> None:
    found = wrong(*looks)
    assert len(found) == 1
    assert said in found[0]


def test_an_error_is_right_before_anything_is_published_alone() -> None:
    witness = Witness(LAKE)
    nothing = ValueError("found no published scores under x")
    witness.failed(nothing)
    assert witness.wrong == []
    witness.failed(ValueError("version 1 is not as it was published"))
    witness.look([whole(FIRST)])
    witness.failed(nothing)
    assert len(witness.wrong) == 2


def write(scores: Path, number: int, write: int) -> None:
    """One of the two files of a day."""
    ids = range(5) if number == 0 else range(5, LAKE.size(FIRST, write))
    scores.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": list(ids), "written": [write] * len(ids)})
    pq.write_table(table, scores / f"part-{number}.parquet")


def scored(root: Path, run_id: str, version: int) -> Path:
    """A day that was published."""
    scores = root / publish_log.directory_by_run_date(run_id, FIRST) / "scores"
    write(scores, 0, version)
    write(scores, 1, version)
    seen = publish_log.read(str(root))
    publish_log.publish_by_run_date(str(root), seen, run_id, keep=2, run_date=FIRST)
    return scores


def test_published_scores_are_read_without_spark(tmp_path: Path) -> None:
    scored(tmp_path, "a", 0)
    scored(tmp_path, "b", 1)
    assert days_without_spark(tmp_path) == [whole(FIRST, 1)]


@pytest.mark.parametrize("checked", [True, False])
def test_a_day_that_is_written_over_in_place_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    """By the checksum, and by the rows where nobody looks at that."""
    scores, witness = scored(tmp_path, "a", 0), Witness(LAKE)
    if not checked:
        monkeypatch.setattr(publish_log, "checked", lambda root, version: str(scores.parent))
    witness.timed(lambda: days_without_spark(tmp_path))
    assert witness.wrong == []
    write(scores, 1, 1)
    witness.timed(lambda: days_without_spark(tmp_path))
    assert len(witness.wrong) == 1
    assert ("is not as it was published" if checked else "of several runs") in witness.wrong[0]


def test_what_grows_in_the_second_half_is_told() -> None:
    assert slope([9.0, 5.0, 7.0, *range(4)]) == pytest.approx(1.0)
    flat = steady([dict.fromkeys(LIMITS, 1.0)] * 8)
    reader = {"looks": 3, "wrong": 0}
    result = {"problems": [], "readers": {"process": reader}, "figures": flat}
    assert against(result) == []
    samples = [{**dict.fromkeys(LIMITS, 1.0), "threads": float(i)} for i in range(8)]
    result = {
        "problems": ["run 3: exit code 1"],
        "readers": {"process": {**reader, "wrong": 2}, "session": {**reader, "looks": 0}},
        "figures": steady(samples),
    }
    assert [line.split(",")[0] for line in against(result)] == [
        "run 3: exit code 1",
        "the reader by process saw 2 wrong states",
        "the reader by session saw nothing",
        "threads grows by 1.0 a run",
    ]
