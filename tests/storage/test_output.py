"""The directory of a result: refused, replaced, never half filled. No Spark."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from gmm_spark.errors import ConfigurationError, PublishError
from gmm_spark.storage import files, publish_log
from gmm_spark.storage.output import Output
from gmm_spark.storage.versioned_output import VersionedOutput


@pytest.fixture
def result(tmp_path: Path) -> Output:
    return Output(str(tmp_path / "out"), "model", "run1")


def write(result: Output, text: str) -> None:
    files.make_directory(result.temporary)
    files.write_text(files.join(result.temporary, "part"), text)


def claim(result: Output, overwrite: bool = False) -> None:
    result.claim(overwrite=overwrite, how="overwrite: true")


def test_a_result_is_not_there_before_it_is_published(result: Output) -> None:
    claim(result)
    write(result, "new")
    assert not files.exists(result.uri)
    result.publish({"status": "done"})
    result.clean()
    assert files.read_text(files.join(result.uri, "part")) == "new"
    assert files.names(result.directory) == ["manifest.json", "model"]


def test_an_earlier_result_is_refused_and_left_as_it_is(result: Output) -> None:
    test_a_result_is_not_there_before_it_is_published(result)
    later = Output(result.directory, "model", "run2")
    with pytest.raises(ConfigurationError, match=r"output: found .*model in .*overwrite: true"):
        claim(later)
    assert files.names(result.directory) == ["manifest.json", "model"]


def test_an_earlier_result_stays_until_the_new_one_is_whole(result: Output) -> None:
    test_a_result_is_not_there_before_it_is_published(result)
    later = Output(result.directory, "model", "run2")
    claim(later, overwrite=True)
    write(later, "newer")
    assert files.read_text(files.join(result.uri, "part")) == "new"
    later.publish({"status": "done"})
    later.clean()
    assert files.read_text(files.join(result.uri, "part")) == "newer"
    assert files.names(result.directory) == ["manifest.json", "model"]


def test_an_earlier_result_comes_back_when_there_is_nothing_to_publish(result: Output) -> None:
    test_a_result_is_not_there_before_it_is_published(result)
    later = Output(result.directory, "model", "run2")
    claim(later, overwrite=True)
    with pytest.raises(FileNotFoundError):
        later.publish({"status": "done"})
    assert files.read_text(files.join(result.uri, "part")) == "new"


def several(directory: Path, run_id: str, texts: dict[str, str]) -> Output:
    """A run of the result segments.json, and what may be beside it, that has written these."""
    output = Output(str(directory), "segments.json", run_id, ("model", "customers"))
    claim(output, overwrite=True)
    for name, text in texts.items():
        files.write_text(output.temporary_of(name), text)
    return output


def test_several_results_become_visible_together(tmp_path: Path) -> None:
    first = several(tmp_path, "run1", {"segments.json": "1", "model": "1", "customers": "1"})
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "_"] == []
    first.publish({"status": "done"})
    assert [name for name, _ in first.published] == ["model", "customers", "segments.json"]
    later = several(tmp_path, "run2", {"segments.json": "2", "model": "2"})
    later.publish({"status": "done"})
    for output in (first, later):
        output.clean()
    # What the later run has not written is not left beside what it has.
    assert [(name, files.read_text(uri)) for name, uri in later.published] == [
        ("model", "2"),
        ("segments.json", "2"),
    ]
    assert files.names(later.directory) == ["manifest.json", "model", "segments.json"]


def test_of_several_results_all_come_back_when_one_cannot_be_published(tmp_path: Path) -> None:
    several(tmp_path, "run1", {"segments.json": "1", "model": "1", "customers": "1"}).publish(
        {"status": "done"}
    )
    later = several(tmp_path, "run2", {"model": "2"})
    with pytest.raises(FileNotFoundError):
        later.publish({"status": "done"})
    assert [files.read_text(uri) for _, uri in later.published] == ["1", "1", "1"]
    assert files.read_text(later.temporary_of("model")) == "2"


def test_foreign_files_are_refused_and_survive_an_overwrite(result: Output) -> None:
    directory = Path(result.directory)
    directory.mkdir()
    (directory / "thesis.txt").write_text("years of work", "utf-8")
    with pytest.raises(ConfigurationError, match=r"found thesis.txt"):
        claim(result)
    claim(result, overwrite=True)
    write(result, "new")
    result.publish({"status": "done"})
    result.clean()
    assert files.names(result.directory) == ["manifest.json", "model", "thesis.txt"]


def test_a_failed_run_can_be_run_again_without_overwrite(result: Output) -> None:
    claim(result)
    result.clean()
    uri = result.write_failed_manifest({"status": "failed"})
    assert uri.endswith("/manifest.json")
    claim(Output(result.directory, "model", "run2"))


def test_a_failure_does_not_touch_the_manifest_of_an_earlier_result(result: Output) -> None:
    claim(result)
    write(result, "new")
    result.publish({"status": "done", "run": 1})
    uri = result.write_failed_manifest({"status": "failed"})
    assert uri.endswith("/manifest-failed.json")
    manifest = Path(result.directory, "manifest.json")
    assert json.loads(manifest.read_text("utf-8")) == {"status": "done", "run": 1}
    claim(result, overwrite=True)
    write(result, "newer")
    result.publish({"status": "done", "run": 3})
    result.clean()
    assert files.names(result.directory) == ["manifest.json", "model"]
    assert json.loads(manifest.read_text("utf-8"))["run"] == 3


def test_a_file_where_the_directory_should_be(result: Output) -> None:
    Path(result.directory).write_text("", "utf-8")
    with pytest.raises(ConfigurationError, match=r"found a file at"):
        claim(result, overwrite=True)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(ConfigurationError, match=r"output: cannot write to"):
        claim(Output(str(tmp_path / "file" / "out"), "model", "run1"))


def test_a_store_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot open nosuch://"):
        claim(Output("nosuch://bucket/out", "model", "run1"))


def test_a_store_that_cannot_rename_is_refused_before_anything_is_written(
    result: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_RENAMING", ())
    with pytest.raises(ConfigurationError, match=r"cannot rename a directory.* keep_versions"):
        claim(result)
    assert not Path(result.directory).exists()
    # Spark replaces partitions where they are.
    claim(Output(result.directory, "scores", "run2", in_place=True), overwrite=True)


def versioned(directory: Path, run_id: str, text: str, keep: int = 2) -> VersionedOutput:
    """A run that adds a version, and has written its model."""
    output = VersionedOutput(str(directory), "model", run_id, keep=keep)
    claim(output)
    write(output, text)
    return output


def test_a_version_stays_where_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_RENAMING", ())  # and nothing is moved for it

    def move(source: str, target: str) -> None:
        raise AssertionError(f"{source} was moved")

    monkeypatch.setattr(files, "move", move)
    for number in (1, 2, 3):
        output = versioned(tmp_path, f"run{number}", f"model {number}")
        if number > 1:
            assert publish_log.find(str(tmp_path)).number == number - 1
        where = output.publish({"status": "done", "run": number})
        output.clean()
        assert output.published == [("model", f"{tmp_path}/versions/run{number}/model")]
        assert output.standing == f"{number}, champion"
        assert json.loads(files.read_text(where))["run"] == number
    uri = publish_log.checked(str(tmp_path), publish_log.find(str(tmp_path)))
    assert files.read_text(files.join(uri, "model", "part")) == "model 3"
    assert files.names(files.join(str(tmp_path), "versions")) == ["run2", "run3"]


def test_a_version_says_what_it_counts_as(tmp_path: Path) -> None:
    versioned(tmp_path / "models", "run1", "model 1").publish({"status": "done"})
    refused = versioned(tmp_path / "models", "run2", "model 2")
    refused.publish({"status": "refused"}, "segment 3 halved")
    assert refused.standing == "2, not published; the champion is 1"
    words = str(tmp_path / "scores"), "scores", "run3"
    of_a_day = VersionedOutput(*words, run_date="2026-11-01", by_run_date=True)
    claim(of_a_day)
    write(of_a_day, "scores")
    of_a_day.publish({"status": "done"})
    assert of_a_day.standing == "1, of run date 2026-11-01"


def test_of_a_run_that_fails_no_version_is_left(tmp_path: Path) -> None:
    versioned(tmp_path, "run1", "model 1").publish({"status": "done"})
    output = versioned(tmp_path, "run2", "model 2")
    output.clean()
    output.write_failed_manifest({"status": "failed"})
    assert files.names(files.join(str(tmp_path), "versions")) == ["run1"]
    assert files.names(str(tmp_path)) == ["manifest-failed.json", "published", "versions"]
    versioned(tmp_path, "run3", "model 3").publish({"status": "done"})
    assert files.names(str(tmp_path)) == ["published", "versions"]


def test_a_run_is_told_where_another_published_meanwhile(tmp_path: Path) -> None:
    first, second = (versioned(tmp_path, run_id, run_id) for run_id in ("run1", "run2"))
    first.publish({"status": "done"})
    with pytest.raises(PublishError, match="another run published"):
        second.publish({"status": "done"})
    second.clean()
    assert files.names(files.join(str(tmp_path), "versions")) == ["run1"]


def test_versions_do_not_go_beside_a_result_without(result: Output, tmp_path: Path) -> None:
    test_a_result_is_not_there_before_it_is_published(result)
    with pytest.raises(ConfigurationError, match=r"found manifest\.json, model in"):
        versioned(tmp_path / "out", "run2", "")


@pytest.mark.parametrize("in_place", [False, True])
def test_a_result_without_versions_does_not_go_beside_them(tmp_path: Path, in_place: bool) -> None:
    """Readers of the directory would go on taking the champion."""
    versioned(tmp_path, "run1", "model 1").publish({"status": "done"})
    output = Output(str(tmp_path), "model", "run2", in_place=in_place)
    with pytest.raises(
        ConfigurationError, match=r"versions are kept in .*; expected keep_versions"
    ):
        output.claim(overwrite=True, how="overwrite: true")
    assert files.names(str(tmp_path)) == ["published", "versions"]


PACKAGE = Path(files.__file__).parents[1]
# Where results are moved and deleted, and with what; saving over a model is its user's wish.
PUBLISHING = {
    "checkpoints.py",  # the state of a fit, which is no result
    "storage/create_only.py",
    "storage/files.py",
    "storage/output.py",
    "storage/publish_log.py",
    "storage/transactions.py",  # a transaction of Delta's or Iceberg's own
    "storage/versioned_output.py",
    "engine/cluster.py",
}
MOVING = {"move", "delete", "rename", "delete_file", "delete_dir", "rmtree", "unlink"}


def changes(source: str) -> list[str]:
    """What a module does to files or tables that are there."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "np":
            continue  # of an array
        words = [word.value for word in node.args if isinstance(word, ast.Constant)]
        if node.func.attr in MOVING or (node.func.attr == "mode" and "overwrite" in words):
            found.append(node.func.attr)
    return found


def test_no_other_module_moves_or_deletes_results() -> None:
    found = {
        name: changed
        for path in PACKAGE.rglob("*.py")
        if (changed := changes(path.read_text("utf-8")))
        for name in [path.relative_to(PACKAGE).as_posix()]
    }
    assert set(found) == PUBLISHING, found


def test_a_table_whose_partitions_were_replaced_needs_no_publishing(spark, tmp_path: Path) -> None:
    output = Output(str(tmp_path / "out"), "scores", "run1")
    frame = spark.createDataFrame([(1, "a"), (2, "b")], "x int, part string")
    frame.write.partitionBy("part").parquet(output.uri)
    claim(output, overwrite=True)
    output.replace_partitions(spark.createDataFrame([(3, "b")], "x int, part string"), ["part"])
    output.publish({"status": "done"})
    output.clean()
    found = spark.read.parquet(output.uri).orderBy("x").collect()
    assert [tuple(row) for row in found] == [(1, "a"), (3, "b")]
    assert output.clear_partition([("part", "b")])
    assert not output.clear_partition([("part", "b")])
    assert [row["x"] for row in spark.read.parquet(output.uri).collect()] == [1]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (True, "true"), (False, "false"), ("true", "true"), (1, "1"), (1.0, "1"), (1, "1.0"),
        (0.5, "0.5"), (-3, "-3"), (12345678, "1.2345678E7"), ("a/b", "a%2Fb"), ("x=%", "x%3D%25"),
        ("", "__HIVE_DEFAULT_PARTITION__"), ("2026-11-01", "2026-11-01"), ("01", "01"),
    ],
)  # fmt: skip
def test_a_partition_is_found_by_the_value_of_a_filter(tmp_path: Path, value, name) -> None:
    """As Spark writes it into the name of a directory: what was not found would stay, and be read
    as rows of this run."""
    output = Output(str(tmp_path / "out"), "scores", "run1")
    root = Path(output.uri)
    others = [f"part={other}" for other in ("2", "truer", "other") if other != name]
    for directory in (f"part={name}", *others, f"apart={name}"):
        (root / directory / "day=1").mkdir(parents=True)
    assert not output.clear_partition([("part", value), ("day", 2)])
    assert output.clear_partition([("part", value), ("day", 1)])
    assert not (root / f"part={name}" / "day=1").exists()
    assert output.clear_partition([("part", value)])
    assert {one.name for one in root.iterdir()} == {*others, f"apart={name}"}
