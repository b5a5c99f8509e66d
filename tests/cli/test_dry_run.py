"""--dry_run: what a real run would say of its settings and columns, and nothing done."""

from __future__ import annotations

import pytest

from gmm_spark import GaussianMixture, GaussianMixtureModel
from gmm_spark.cli import evaluate, score, train

from .conftest import tree


@pytest.fixture(autouse=True)
def _nothing_is_fitted_or_written(monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a dry run does nothing")

    monkeypatch.setattr(GaussianMixture, "_fit", refuse)
    monkeypatch.setattr("gmm_spark.storage.tables.write", refuse)
    monkeypatch.setattr("gmm_spark.storage.files.make_directory", refuse)
    monkeypatch.setattr(GaussianMixtureModel, "write", refuse)


COLUMNS = ["--columns", "spend,visits"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([*COLUMNS, "--k", "3"], "3 segments would be fitted to "),
        ([*COLUMNS, "--k", "2,3", "--categorical_columns", "month"], "2 or 3 segments would be"),
        (["--columns", "sqrt(spend + 9) as s", "--count_columns", "segment"], "2 segments would"),
        ([*COLUMNS, "--input.filters", "month = '2026-01' and spend > 3"], "2 segments would"),
    ],
)
def test_a_training_that_would_start(call, lake, tmp_path, more, said) -> None:
    argv = ["--input.path", lake / "customers", "--output", tmp_path / "out", *more]
    ended = call(train.main, *argv, "--dry_run")
    assert (ended.code, ended.problem) == (0, "")
    assert ended.out.startswith(f"Dry run: {said}")
    assert f"Nothing was written; train writes {tmp_path}/out/model\n" in ended.out
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--columns", "spend,vists"], 3, "there is no column 'vists' in"),
        (["--columns", "spend,name"], 3, "column 'name' has type string, a number is needed"),
        (["--columns", "sqrt(spent) as s"], 2, "spent"),
        ([*COLUMNS, "--categorical_columns", "mnth"], 3, "there is no column 'mnth'"),
        ([*COLUMNS, "--weight_column", "name"], 3, "column 'name' has type string"),
        ([*COLUMNS, "--label_column", "name"], 3, "label column 'name' has type string"),
        ([*COLUMNS, "--input.path", "none"], 2, "input.path: found nothing at"),
        ([*COLUMNS, "--initial_model", "none"], 2, "initial_model: found nothing at"),
        (["--vector_column", "spend"], 3, "column 'spend' has type double, a vector or an array"),
        (
            [*COLUMNS, "--covariance_floor", "1.5"],
            2,
            "covariance_floor: found '1.5'; expected 'auto' or le",
        ),
    ],
)
def test_a_training_that_would_not(call, lake, tmp_path, more, code, said) -> None:
    argv = ["--input.path", lake / "customers", "--output", tmp_path / "out", *more]
    ended = call(train.main, *argv, "--dry_run", "true")
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.problem
    assert "\n" not in ended.problem
    assert tree(tmp_path) == {}


def test_a_result_that_is_there(call, lake, model) -> None:
    before = tree(model.parent)
    argv = ["--input.path", lake / "customers", *COLUMNS, "--output", model.parent, "--dry_run"]
    ended = call(train.main, *argv)
    assert ended.code == 2
    assert ended.problem.startswith("configuration: output: found manifest.json, model in ")
    ended = call(train.main, *argv, "--overwrite")
    assert (ended.code, ended.problem) == (0, "")
    assert ended.out.endswith("model, which is there and would be replaced\n")
    assert tree(model.parent) == before


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--profile", "left", "--probability", "columns"], 0, " would be scored with 3 segments"),
        (["--partition_by", "run_date", "--run_date", "2026-11-01"], 0, " would be scored with"),
        (["--model", "none"], 2, "model: found nothing at"),
        (["--keep_columns", "nme"], 2, "keep_columns: found 'nme'; expected a column of"),
        (["--profile", "lft"], 2, "profile: found 'lft'; expected a column of"),
    ],
)
def test_a_scoring(call, lake, tmp_path, model, more, code, said) -> None:
    argv = ["--input.path", lake / "customers", "--model", model, "--output", tmp_path / "out"]
    ended = call(score.main, *argv, *more, "--dry_run")
    assert ended.code == code, ended.err
    assert said in ended.out + ended.problem
    assert "\n" not in ended.problem
    assert tree(tmp_path) == {}


def test_a_scoring_of_a_table_that_lacks_a_column(call, lake, tmp_path, model, customers) -> None:
    (tmp_path / "in").mkdir()
    customers[["spend"]].to_parquet(tmp_path / "in" / "part.parquet")
    before = tree(tmp_path)
    argv = ["--input.path", tmp_path / "in", "--model", model, "--output", tmp_path / "out"]
    ended = call(score.main, *argv, "--dry_run")
    assert (ended.code, ended.out) == (3, "")
    assert "'visits'" in ended.problem
    assert tree(tmp_path) == before


def test_types_are_looked_at_by_every_job(call, lake, tmp_path, model) -> None:
    """A number that has become text ends the run; the dry run too."""
    more = ["--model", model, "--columns", "cast(spend as string) as spend"]
    argv = ["--input.path", lake / "customers", "--output", tmp_path / "out", *more, "--dry_run"]
    for job in (score, evaluate):
        ended = call(job.main, *argv)
        assert (ended.code, ended.out) == (3, "")
        assert "column 'spend' has type string, a number is needed" in ended.problem
