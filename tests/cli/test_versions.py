"""Versions of a model: published by a run, scored by alias and number, listed and changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gmm_spark.cli import main, train, versions
from gmm_spark.errors import ConfigurationError
from gmm_spark.runs import runner
from gmm_spark.storage import publish_log
from gmm_spark.storage.versioned_output import VersionedOutput
from tests.cli.conftest import Call, manifest, tree


@pytest.fixture(scope="module")
def root(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions of a model: the champion is 2, the challenger 3."""
    root = tmp_path_factory.mktemp("versions") / "segments"
    for number, alias in enumerate(["champion", "champion", "challenger"], 1):
        directory = root / publish_log.directory_of(f"run{number}")
        shutil.copytree(model, directory / "model")
        seen = publish_log.read(str(root))
        publish_log.publish(str(root), seen, f"run{number}", alias=alias, keep=9)
    return root


def test_a_run_adds_a_version(call: Call, lake: Path, tmp_path: Path) -> None:
    argv = ["--input.path", lake / "customers", "--columns", "spend,visits", "--k", 2]
    argv += ["--output", tmp_path / "out", "--keep_versions", 2, "--run_date", "2026-11-01"]
    ended = call(train.main, *argv)
    assert ended.code == 0, ended.err
    version = publish_log.find(str(tmp_path / "out"))
    assert (version.number, version.run_date) == (1, "2026-11-01")
    directory = tmp_path / "out" / version.directory
    assert f"version  1, champion\n  model    {directory}/model" in ended.out
    assert manifest(directory)["run_id"] == version.run_id
    assert sorted(path.name for path in directory.iterdir()) == [
        "log.txt",
        "manifest.json",
        "model",
    ]
    dry = call(train.main, *argv, "--publish_as", "challenger", "--dry_run")
    assert f"train writes a version under {tmp_path}/out, as challenger" in dry.out
    assert publish_log.read(str(tmp_path / "out")).number == 1


def test_a_model_is_loaded_by_alias_and_number(root: Path, spark, caplog) -> None:
    from gmm_spark.errors import ConfigurationError, ModelFileError
    from gmm_spark.storage.models import load_model

    def number(name: str) -> int:
        told = {}
        load_model(spark, "model", f"{root}{name}", lambda **facts: told.update(facts))
        return told["model_version"]["number"]

    assert [number(name) for name in ("", "@champion", "@challenger", "@1")] == [2, 2, 3, 1]
    with pytest.raises(ConfigurationError, match=r"model: found no version '9' .* are 1, 2, 3"):
        load_model(spark, "model", f"{root}@9")
    metadata = root / "versions" / "run3" / "model" / "metadata"
    part = next(path for path in metadata.iterdir() if path.name.startswith("part"))
    text = part.read_text("utf-8")
    part.write_text(text.replace("3", "2"), "utf-8")
    try:
        with pytest.raises(ModelFileError, match=r"version 3 at .* is not as it was published"):
            load_model(spark, "model", f"{root}@challenger")
    finally:
        part.write_text(text, "utf-8")


def test_a_model_is_read_from_the_output_of_a_run(root: Path, model: Path, tmp_path: Path) -> None:
    from gmm_spark import GaussianMixtureModel, read_model
    from gmm_spark.errors import ConfigurationError

    saved = GaussianMixtureModel.load(str(model))
    shutil.copytree(model, tmp_path / "out" / "model")
    for path in (root, f"{root}@challenger", f"{root}@1", tmp_path / "out", model):
        assert read_model(str(path)).weights == saved.weights
    with pytest.raises(
        ConfigurationError, match=r"^path: found no version '9' under .*; there are"
    ):
        read_model(f"{root}@9")
    with pytest.raises(ConfigurationError, match=r"^path: found nothing at .*nowhere; expected"):
        read_model(str(tmp_path / "nowhere"))


def test_scores_are_versions_of_their_run_date(root: Path, call: Call, lake: Path, spark) -> None:
    from gmm_spark import read_scores
    from gmm_spark.cli import score
    from gmm_spark.errors import ConfigurationError

    output = root.parent / "scores"
    argv = ["--input.path", lake / "customers", "--model", f"{root}@1", "--keep_versions", 1]
    argv += ["--output", output, "--partition_by", "run_date", "--keep_columns", "spend"]
    months = ("2026-01", "2026-02", "2026-01")
    for month, day in zip(months, ("2026-11-01", "2026-11-02", "2026-11-02"), strict=True):
        ended = call(score.main, *argv, "--run_date", day, "--input.filters", f"month = '{month}'")
        assert ended.code == 0, ended.err
    newest = publish_log.read(str(output)).by_run_date()["2026-11-02"]
    assert newest.directory == f"versions/run_date=2026-11-02/run_id={newest.run_id}"
    directory = output / newest.directory
    assert sorted(path.name for path in directory.iterdir()) == [
        "log.txt",
        "manifest.json",
        "scores",
    ]
    content = manifest(directory)
    assert content["model_version"]["number"] == 1
    assert (content["run_id"], content["run_date"]) == (newest.run_id, "2026-11-02")
    found = read_scores(str(output))
    assert found.columns[:2] == ["spend", "prediction"]
    counts = {row["run_date"]: row["count"] for row in found.groupBy("run_date").count().collect()}
    assert counts == {"2026-11-01": 300, "2026-11-02": 300}
    assert {row["run_id"] for row in found.where("run_date = '2026-11-02'").collect()} == {
        newest.run_id
    }
    listed = call(versions.main, output).out.splitlines()[1:]
    assert [line.split()[:3] for line in listed] == [
        ["3", "newest", "2026-11-02"],
        ["1", "newest", "2026-11-01"],
    ]
    spark.sql(call(versions.main, output, "--view", "scores_of_runs").out.rstrip(";\n"))
    assert sorted(map(str, spark.table("scores_of_runs").collect())) == sorted(
        map(str, found.collect())
    )
    with pytest.raises(ConfigurationError, match=r"found no published scores under|has no scores"):
        read_scores(str(root))

    # A rerun that yields no rows leaves the day as it is.
    none = [*argv, "--run_date", "2026-11-02", "--input.filters", "month = '1999-01'"]
    ended = call(score.main, *none)
    assert (ended.code, ended.problem.count("has no rows to score")) == (3, 1)
    assert publish_log.read(str(output)).by_run_date()["2026-11-02"] == newest
    assert not [path for path in directory.parent.iterdir() if path != directory]


def test_scores_by_run_date_have_no_alias_and_no_other_run_date(
    root: Path, call: Call, lake: Path, tmp_path: Path
) -> None:
    from gmm_spark.cli import score

    argv = ["--input.path", lake / "customers", "--model", f"{root}@1", "--keep_versions", 1]
    argv += ["--output", tmp_path / "out", "--run_date", "2026-11-01"]
    ended = call(score.main, *argv, "--publish_as", "challenger")
    assert ended.code == 2
    assert "publish_as: unknown flag" in ended.problem
    ended = call(score.main, *argv, "--columns", "month as Run_Date")
    assert ended.code == 2
    assert "keep_columns: found 'Run_Date' among the columns" in ended.problem
    ended = call(score.main, *argv, "--dry_run")
    assert ended.code == 0
    assert f"a version under {tmp_path}/out, of run date 2026-11-01" in ended.out


def test_versions_are_listed_and_changed(root: Path, call: Call, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    before = tree(copy)
    listed = call(main.main, "versions", copy)
    assert listed.code == 0
    assert [line.split()[:3] for line in listed.out.splitlines()[1:]] == [
        ["3", "challenger", "versions/run3"],
        ["2", "champion", "versions/run2"],
        ["1", "versions/run1"],
    ]
    assert tree(copy) == before
    refused = call(main.main, "versions", copy, "--delete", 2)
    assert refused.code == 2
    assert refused.problem.startswith("configuration: version 2 is the champion")
    assert call(main.main, "versions", copy, "--promote", 3).code == 0
    assert call(main.main, "versions", copy, "--delete", 2).code == 0
    assert publish_log.find(str(copy)).number == 3
    assert not (copy / "versions" / "run2").exists()
    (copy / "versions" / "killed").mkdir()
    cleaned = call(main.main, "versions", copy, "--delete_abandoned")
    assert "Deleted what 1 runs had left: killed" in cleaned.out
    assert sorted(path.name for path in (copy / "versions").iterdir()) == ["run1", "run3"]


def test_a_directory_without_versions_is_said(call: Call, tmp_path: Path) -> None:
    ended = call(versions.main, tmp_path)
    assert ended.code == 2
    assert "found no versions under" in ended.problem


@pytest.mark.parametrize("name", ["", "a b; drop table x", "1", "a.", "`a`b", "a-b"])
def test_what_is_no_name_of_a_view_is_said(call: Call, tmp_path: Path, name: str) -> None:
    ended = call(versions.main, tmp_path, "--view", name)
    assert (ended.code, ended.out) == (2, "")
    assert ended.problem.startswith(f"configuration: view: found {name!r}; expected the name of a")


def test_names_of_views_may_be_quoted_and_in_a_schema() -> None:
    for name in ("scores", "lake.scores_2", "`my scores`", "a.`b``c`"):
        assert versions._view(name) == name


def test_a_damaged_log_ends_a_run_before_it_begins(call: Call, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    entry = copy / "published" / "000003.json"
    entry.write_text(json.dumps({**json.loads(entry.read_text("utf-8")), "number": 7}), "utf-8")
    argv = ["--input.path", tmp_path / "table", "--columns", "x", "--k", 2]
    ended = call(train.main, *argv, "--output", copy, "--keep_versions", 2)
    assert ended.code == 3
    assert "000003.json of the publish log is damaged" in ended.problem


@pytest.mark.parametrize(
    ("path", "change", "needed"),
    [
        ("hdfs://nn/lake", "promote", True),
        ("viewfs://lake", "delete", True),
        ("hdfs://nn/lake", None, False),
        ("/lake", "promote", False),
        ("s3://lake", "delete", False),
    ],
)
def test_a_session_is_started_where_an_entry_is_created_by_hadoop(
    capsys, monkeypatch, path: str, change: str | None, needed: bool
) -> None:
    """Without one no version on HDFS could be promoted or deleted from a command line."""
    started, changed = [], []

    @contextmanager
    def session(name: str) -> Iterator[None]:
        started.append(name)
        yield

    monkeypatch.setattr(versions, "session_of_a_run", session)
    monkeypatch.setattr(versions, "versions", lambda *words: changed.append(len(started)) or "done")
    argv = [path, *([] if change is None else [f"--{change}", "1"])]
    assert versions.main(argv) == 0
    assert capsys.readouterr().out == "done\n"
    assert started == ["gmm_spark versions"] * needed
    assert changed == [int(needed)]


@pytest.mark.parametrize(
    ("run_date", "alias", "told"),
    [
        ("2026-10-31", "champion", True),
        ("20261031", "champion", True),
        ("2026-11-01", "champion", False),
        ("2026-12-01", "champion", False),
        ("2026-10-31", "challenger", False),
        ("monday", "champion", False),
        (None, "champion", False),
    ],
)
def test_a_run_of_an_earlier_day_says_that_it_takes_the_champions_place(
    tmp_path: Path, caplog, run_date: str | None, alias: str, told: bool
) -> None:
    """As a month that is made up for, when a later one is published already."""
    root = tmp_path / "out"
    (root / publish_log.directory_of("a")).mkdir(parents=True)
    seen = publish_log.read(str(root))
    publish_log.publish(str(root), seen, "a", keep=2, run_date="2026-11-01")
    output = VersionedOutput(str(root), "model", "b", alias=alias, run_date=run_date)
    output.check(overwrite=False, how="")
    caplog.clear()
    runner._tell_of_a_later_champion(output)
    assert [one.startswith("run_date: ") for one in caplog.messages] == [True] * told
    if told:
        assert "before that of the champion, version 1 of 2026-11-01, whose" in caplog.text


@pytest.mark.parametrize("manifest", ['{"job": "churn"}', "{}", "[]", "", None])
def test_versions_are_of_one_job(tmp_path: Path, manifest: str | None) -> None:
    """A model of the train job in the place of churn's champion ended every churn run after it."""
    root = tmp_path / "out"
    version = root / publish_log.directory_of("a")
    version.mkdir(parents=True)
    if manifest is not None:
        (version / "manifest.json").write_text(manifest)
    publish_log.publish(str(root), publish_log.read(str(root)), "a", keep=2)

    def of(job: str, **more: Any) -> VersionedOutput:
        return VersionedOutput(str(root), "model", "b", job=job, **more)

    of("churn").check(overwrite=False, how="")
    of("score", by_run_date=True).check(overwrite=False, how="")
    if manifest != '{"job": "churn"}':
        of("train").check(overwrite=False, how="")
        return
    with pytest.raises(ConfigurationError) as refused:
        of("train").check(overwrite=False, how="")
    assert str(refused.value) == (
        f"output: the champion in {root}, version 1, is of churn, and this run is of train; "
        "expected another directory, versions are of one job"
    )
