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


def test_published_scores_are_read_without_spark(tmp_path: Path) -> None:
    for run_id, write in (("a", 0), ("b", 1)):
        directory = tmp_path / publish_log.directory_by_run_date(run_id, FIRST) / "scores"
        directory.mkdir(parents=True)
        size = LAKE.size(FIRST, write)
        for number, part in enumerate((range(5), range(5, size))):
            table = pa.table({"id": list(part), "written": [write] * len(part)})
            pq.write_table(table, directory / f"part-{number}.parquet")
        seen = publish_log.read(str(tmp_path))
        publish_log.publish_by_run_date(str(tmp_path), seen, run_id, keep=2, run_date=FIRST)
    assert days_without_spark(tmp_path) == [whole(FIRST, 1)]


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
