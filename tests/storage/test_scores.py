"""Published scores as readers see them: the table, the view, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gmm_spark
from gmm_spark.errors import ConfigurationError, InputDataError, ModelFileError
from gmm_spark.storage import publish_log, scores
from gmm_spark.storage.scores import published_scores, view_of


def write(root: Path, run_id: str, run_date: str | None, columns: dict[str, list[Any]]) -> Path:
    directory = root / publish_log.directory_by_run_date(run_id, run_date) / "scores"
    directory.mkdir(parents=True)
    pq.write_table(pa.table(columns), directory / f"part-{run_id}.parquet")
    (directory / "_SUCCESS").touch()
    return directory


def publish(
    root: Path, run_id: str, run_date: str | None, columns: dict[str, list[Any]], keep: int = 2
) -> Path:
    directory = write(root, run_id, run_date, columns)
    seen = publish_log.read(str(root))
    publish_log.publish_by_run_date(str(root), seen, run_id, keep=keep, run_date=run_date)
    return directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two days, of one of which two runs; a run at work on a third, and one on the first again.

    The run ids are digits, as they may be by chance.
    """
    root = tmp_path / "it's {1} lake"
    publish(root, "01", "2026-11-01", {"id": [1, 2], "segment": [0, 1]})
    publish(root, "2e1", "2026-11-02", {"id": [1, 2, 3], "segment": [1, 1, 0]})
    publish(root, "003", "2026-11-01", {"id": [1, 2], "segment": [2, 2]})
    write(root, "4", "2026-11-03", {"id": [9], "segment": [9]})
    write(root, "5", "2026-11-01", {"id": [9], "segment": [9]})
    return root


EXPECTED = [
    (1, 2, "2026-11-01", "003"),
    (2, 2, "2026-11-01", "003"),
    (1, 1, "2026-11-02", "2e1"),
    (2, 1, "2026-11-02", "2e1"),
    (3, 0, "2026-11-02", "2e1"),
]


def rows(frame: Any) -> list[tuple[Any, ...]]:
    frame = frame.select("id", "segment", "run_date", "run_id")
    return sorted(map(tuple, frame.collect()), key=lambda row: (row[2] or "", row[0]))


def ids(root: Path, *argv: Any, **others: Any) -> list[str]:
    return [one.version.run_id for one in published_scores(str(root), *argv, **others)]


def test_the_newest_published_run_of_every_date_counts(root: Path) -> None:
    assert ids(root) == ["003", "2e1"]
    assert ids(root, "2026-11-01") == ["003"]
    assert ids(root, version=1) == ["01"]
    with pytest.raises(ConfigurationError, match=r"'2026-11-03', of .* 2026-11-01, 2026-11-02"):
        ids(root, "2026-11-03")
    with pytest.raises(ConfigurationError, match=r"found no published scores under"):
        ids(root / "versions")


@pytest.mark.parametrize("change", ["added", "deleted", "cut"])
def test_scores_whose_files_changed_are_refused(root: Path, change: str) -> None:
    part = root / "versions/run_date=2026-11-02/run_id=2e1/scores/part-2e1.parquet"
    if change == "added":
        shutil.copy(part, part.with_name("part-copy.parquet"))
    elif change == "deleted":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match=r"version 2 at .* is not as it was published"):
        ids(root)
    assert ids(root, "2026-11-01") == ["003"]


def test_a_version_that_went_while_it_was_looked_for_is_looked_for_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = publish_log.checked

    def overtaken(path: str, version: Any) -> str:
        monkeypatch.undo()
        publish(root, "06", "2026-11-01", {"id": [1]}, keep=1)
        publish(root, "07", "2026-11-02", {"id": [1]}, keep=1)
        return checked(path, version)

    monkeypatch.setattr(publish_log, "checked", overtaken)
    assert ids(root) == ["06", "07"]


def test_they_are_read_as_one_table(root: Path, spark: Any) -> None:
    found = gmm_spark.read_scores(str(root))
    assert found.dtypes[-2:] == [("run_date", "string"), ("run_id", "string")]
    assert rows(found) == EXPECTED
    assert rows(gmm_spark.read_scores(str(root), "2026-11-01", spark=spark)) == EXPECTED[:2]
    assert rows(gmm_spark.read_scores(str(root), version=1)) == [
        (1, 0, "2026-11-01", "01"),
        (2, 1, "2026-11-01", "01"),
    ]


def test_columns_that_a_run_did_not_write_are_null(root: Path, spark: Any) -> None:
    publish(root, "08", None, {"id": [7], "density": [0.5]})
    found = gmm_spark.read_scores(str(root)).where("id > 2 or density is not null")
    assert sorted(found.columns) == ["density", "id", "run_date", "run_id", "segment"]
    expected = [(7, None, None, "08"), (3, 0, "2026-11-02", "2e1")]
    assert rows(found) == expected
    spark.sql(view_of(str(root), "scores_of_runs"))
    assert rows(spark.table("scores_of_runs").where("id > 2")) == expected


def test_partitions_within_a_run_are_columns(root: Path, spark: Any) -> None:
    directory = write(root, "09", "2026-11-03", {"id": [4]})
    (directory / "segment=5").mkdir()
    (directory / "part-09.parquet").rename(directory / "segment=5" / "part-09.parquet")
    seen = publish_log.read(str(root))
    publish_log.publish_by_run_date(str(root), seen, "09", keep=2, run_date="2026-11-03")
    expected = [*EXPECTED, (4, 5, "2026-11-03", "09")]
    assert rows(gmm_spark.read_scores(str(root))) == expected
    spark.sql(view_of(str(root), "scores_of_runs"))
    assert rows(spark.table("scores_of_runs")) == expected


def test_a_view_reads_what_was_published_when_it_was_made(root: Path, spark: Any) -> None:
    spark.sql(view_of(str(root), "scores_of_runs"))
    assert rows(spark.table("scores_of_runs")) == EXPECTED
    publish(root, "10", "2026-11-02", {"id": [1], "segment": [3]})
    assert rows(spark.table("scores_of_runs")) == EXPECTED
    spark.sql(view_of(str(root), "scores_of_runs"))
    assert rows(spark.table("scores_of_runs")) == [*EXPECTED[:2], (1, 3, "2026-11-02", "10")]


def test_a_view_of_a_run_that_is_deleted_is_an_error_and_no_empty_day(
    root: Path, spark: Any
) -> None:
    from pyspark.errors import AnalysisException

    spark.sql(view_of(str(root), "scores_of_runs"))
    publish(root, "10", "2026-11-02", {"id": [1], "segment": [3]}, keep=1)
    with pytest.raises(AnalysisException, match="PATH_NOT_FOUND"):
        spark.table("scores_of_runs").count()


INT32, FLOAT32 = pa.int32(), pa.float32()


def test_whole_numbers_of_several_sizes_are_of_the_largest(root: Path, spark: Any) -> None:
    """And a name of another case is the same column, as to Spark."""
    largest = 2**53 + 1
    publish(root, "11", "2026-11-03", {"ID": pa.array([3], INT32), "segment": pa.array([5], INT32)})
    publish(root, "12", "2026-11-04", {"id": [largest], "segment": [6]})
    expected = [*EXPECTED, (3, 5, "2026-11-03", "11"), (largest, 6, "2026-11-04", "12")]
    found = gmm_spark.read_scores(str(root))
    assert dict(found.dtypes)["segment"] == "bigint"
    assert len(found.columns) == 4
    assert rows(found) == expected
    spark.sql(view_of(str(root), "scores_of_runs"))
    assert rows(spark.table("scores_of_runs")) == expected


@pytest.mark.parametrize(
    ("ids", "kind"),
    [(["1"], "string"), ([1.0], "double"), ([True], "bool"), ([b"1"], "binary"), ([[1]], "list")],
)
def test_a_column_that_is_something_else_in_another_run_is_one_error(
    root: Path, spark: Any, ids: list[Any], kind: str
) -> None:
    """Of whole numbers beyond 2^53 a double has others; text and numbers are nothing together."""
    publish(root, "13", "2026-11-03", {"Id": ids, "segment": [1]})
    for read in (
        lambda: gmm_spark.read_scores(str(root)),
        lambda: view_of(str(root), "scores_of_runs"),
    ):
        with pytest.raises(InputDataError) as refused:
            read()
        said = str(refused.value)
        assert said.startswith(f"column 'Id' is {kind}")
        assert "in the scores of run date 2026-11-03 under " in said
        assert "and int64 in those of 2026-11-01: they are no one table. Read a run date" in said


def test_float_is_double_beside_it() -> None:
    of = scores._kind
    assert of(FLOAT32) == of(pa.float64()) != of(INT32) == of(pa.int64())
    assert of(pa.decimal128(4, 2)) == of(pa.decimal128(20, 4)) != of(pa.float64())
    assert of(pa.date32()) != of(pa.timestamp("us")) != of(pa.timestamp("us", "UTC"))
