"""Churn runs one after the other: ids and names that stay, what has changed, and the gate."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gmm_spark import GaussianMixtureModel
from gmm_spark.cli import churn
from gmm_spark.report.segments import Segments
from gmm_spark.storage import publish_log
from tests.cli.conftest import Ended, manifest
from tests.cli.test_churn import customers, ran

pytestmark = pytest.mark.long  # whole runs, of customers and after one another
GATE = '{"unseen": {"above": 0.1}, "missing": {"above": 0.5, "change": 0.1}}'


class Runs:
    """Two runs of one schedule: what the second did, on customers of whom some are others."""

    def __init__(self, directory: Path) -> None:
        self.output = directory / "out"
        self.before = customers().drop(columns=["note", "country", "bill_in_cents"])
        first = self.run(directory / "one", self.before, "2026-10-01")
        assert first.code == 0, first.err
        self.first = self.output / publish_log.find(str(self.output)).directory
        rng = np.random.default_rng(5)
        self.now = self.before.iloc[100:].copy()
        self.now["tenure"] += 1
        # Of the smallest kind many come to a plan that nobody had.
        self.now.loc[rng.random(len(self.now)) < 0.3, "plan"] = "lifetime"
        come = self.before.iloc[:40].assign(customer=[f"D{i}" for i in range(40)])
        self.now = pd.concat([self.now, come], ignore_index=True)
        self.gated = self.run(directory / "two", self.now, "2026-11-01", "--gate", GATE)

    def run(self, table: Path, rows: pd.DataFrame, day: str, *more: str) -> Ended:
        table.mkdir(exist_ok=True)
        rows.to_parquet(table / "part.parquet", index=False)
        argv: list[Any] = ["--input.path", table, "--id", "customer", "--outcome", "left"]
        argv += ["--k", 3, "--output", self.output, "--keep_versions", 5, "--run_date", day]
        return ran(churn.main, *argv, "--excluded_columns", "kind", *more)

    def segments(self, directory: Path) -> Segments:
        return Segments.from_json((directory / "segments.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def runs(spark, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("schedule"))


@pytest.fixture(scope="module")
def second(runs: Runs) -> Path:
    """What the second run wrote, and did not publish."""
    version = publish_log.read(str(runs.output)).version(2)
    assert version is not None
    return runs.output / version.directory


def test_a_run_that_the_gate_is_against_is_written_and_not_published(runs: Runs, second) -> None:
    ended = runs.gated
    assert ended.code == 5, ended.err
    line = ended.problem
    assert line.startswith("not published: unseen of column plan: 0.")
    assert " (above: 0.1); kept as version 2: " in line
    assert line.endswith(f"gmm-spark versions {runs.output} --promote 2 makes it the champion")
    assert re.search("^  version +2, not published; the champion is 1$", ended.out, re.M)
    assert "\n" not in line
    found = manifest(second)
    assert (found["status"], found["exit_code"], found["reason"]) == ("refused", 5, line)
    assert found["gate"]["against"]
    entry = publish_log.read(str(runs.output))
    assert dict(entry.aliases) == {"champion": 1}
    assert entry.version(2).refused
    assert (second / "report.html").exists() == (runs.first / "report.html").exists()


def test_the_segments_keep_their_ids_and_names(runs: Runs, second) -> None:
    first, now = runs.segments(runs.first), runs.segments(second)
    assert [one.id for one in first.segments] == [0, 1, 2]
    assert [one.id for one in now.segments] == [0, 1, 2]
    assert [one.name for one in now.segments] == [one.name for one in first.segments]
    # By the truth that made the rows: the same kind has the same id.
    kinds = [
        pd.read_parquet(directory / "scores").merge(rows, on="customer")
        .groupby("segment_id")["kind"].agg(lambda kind: kind.mode()[0])
        for directory, rows in ((runs.first, runs.before), (second, runs.now))
    ]  # fmt: skip
    assert kinds[0].to_dict() == kinds[1].to_dict()
    assert sorted(kinds[0]) == [0, 1, 2]


def test_preparation_and_settings_are_the_champions(runs: Runs, second) -> None:
    cards = [
        json.loads((directory / "preparation.json").read_text("utf-8"))
        for directory in (runs.first, second)
    ]
    assert cards[0] == cards[1]
    considered = runs.segments(second).choice.considered
    assert len(considered) == 1
    assert "is the one there was" in considered[0]["why"]


def test_customers_are_counted_between_the_runs(runs: Runs, second) -> None:
    transitions = runs.segments(second).transitions
    assert transitions["since"]["version"] == 1
    found = transitions["customers"]
    before, now = (pd.read_parquet(one / "scores") for one in (runs.first, second))
    both = before.merge(now, on="customer", suffixes=("_then", "_now"))
    assert len(both) == 500
    expected = pd.crosstab(both["segment_id_then"], both["segment_id_now"])
    for i, old in enumerate(found["old"]):
        for j, new in enumerate(found["new"]):
            there = old in expected.index and new in expected.columns
            assert found["rows"][i][j] == (expected.loc[old, new] if there else 0)
    assert (sum(found["came"]), sum(found["left"])) == (40, 100)
    same = np.array(transitions["same_rows"]["rows"])
    assert same.sum() == len(runs.now)
    changed = 1 - np.trace(same) / same.sum()
    assert transitions["same_rows"]["changed_share"] == pytest.approx(changed)
    assert changed < 0.1


def test_figures_say_what_has_changed(runs: Runs, second, spark) -> None:
    figures = {(one["name"], one["of"]): one for one in runs.segments(second).drift["figures"]}
    share = (runs.now["plan"] == "lifetime").mean()
    assert figures["unseen", "column plan"]["value"] == pytest.approx(share)
    assert figures["missing", "column bill"]["value"] == pytest.approx(
        runs.now["bill"].isna().mean()
    )
    assert figures["rows", ""]["value"] == len(runs.now)
    model = GaussianMixtureModel.load(runs.first / "model").setLogLikelihoodCol("density")
    prepared = spark.createDataFrame(runs.now).selectExpr(*model.getInputExpressions())
    density = model.transform(prepared).select("density").toPandas()["density"]
    likelihood = figures["log_likelihood", ""]
    assert likelihood["value"] == pytest.approx(density.mean())
    assert likelihood["before"] == runs.segments(runs.first).fit.mean_log_likelihood
    beyond = (runs.now["tenure"] > runs.before["tenure"].max()).mean()
    assert figures["out_of_range", "column tenure"]["value"] == pytest.approx(beyond)


def test_a_run_by_force_is_published_and_says_so(runs: Runs, tmp_path: Path) -> None:
    ended = runs.run(tmp_path / "two", runs.now, "2026-11-02", "--gate", GATE, "--force")
    assert ended.code == 0, ended.err
    version = publish_log.find(str(runs.output))
    assert version.number == 3
    found = manifest(runs.output / version.directory)
    assert found["status"] == "done"
    assert found["gate"] == {"against": found["gate"]["against"], "forced": True}
    assert "Since version 1 of 2026-10-01: of the 540 customers of today " in ended.out
    assert "Of 500 customers of then " in ended.out
    assert "; 40 came, 100 left" in ended.out
    assert "Why 3 segments: the division is the one there was, fitted anew\n" in ended.out


def test_a_dry_run_says_whose_segments_and_what_is_amiss(runs: Runs, tmp_path: Path) -> None:
    ended = runs.run(tmp_path / "same", runs.before, "2026-12-01", "--dry_run")
    assert ended.code == 0, ended.err
    assert "the 3 segments of version " in ended.out
    without = runs.run(
        tmp_path / "less", runs.before.drop(columns="tenure"), "2026-12-01", "--dry_run"
    )
    assert without.code == 3
    assert "reads 'tenure_prepared', which cannot be made as it was: " in without.problem
    assert without.problem.endswith("for a challenger of the columns there are")
    assert len(without.problem) < 400


def test_a_category_of_which_the_champion_knows_no_value(runs: Runs, tmp_path: Path) -> None:
    """The column has values, so that it has none is said of what the champion makes of it."""
    renamed = runs.before.assign(plan=runs.before["plan"].str.upper())
    ended = runs.run(tmp_path / "renamed", renamed, "2026-12-01")
    assert ended.code == 3, ended.err
    assert ended.problem.startswith(
        "input: column 'plan', as it is prepared: there is no value in any row"
    )
    assert "as the champion, version " in ended.problem
    assert "refit: choose" in ended.problem
    assert "\n" not in ended.problem


def test_an_update_keeps_every_segment_and_fades_what_was(runs: Runs, tmp_path: Path) -> None:
    """By new customers of one kind alone: the others have no row, and stay who they are."""
    before = publish_log.find(str(runs.output))
    rows = runs.now[runs.now["kind"] == 0].assign(customer=lambda of: "N" + of["customer"])
    more = ("--refit", "update", "--half_life", "30")
    ended = runs.run(tmp_path / "new", rows, "2026-12-02", *more)
    assert (ended.code, ended.problem) == (0, ""), ended.err
    after = publish_log.find(str(runs.output))
    found = manifest(runs.output / after.directory)
    update = found["update"]
    elapsed = (date.fromisoformat("2026-12-02") - date.fromisoformat(before.run_date)).days
    assert (update["elapsed_days"], update["half_life_days"]) == (elapsed, 30)
    assert update["weight_faded"] == pytest.approx(update["weight_before"] * 0.5 ** (elapsed / 30))
    assert update["weight"] == pytest.approx(update["weight_faded"] + len(rows))
    then, now = (
        json.loads((runs.output / one.directory / "segment_ids.json").read_text("utf-8"))
        for one in (before, after)
    )
    assert now == then
    scores = pd.read_parquet(runs.output / after.directory / "scores")
    assert len(scores) == len(rows)
    old, new = (
        GaussianMixtureModel.load(runs.output / one.directory / "model") for one in (before, after)
    )
    assert new.clusters == old.clusters
    assert new.getInputExpressions() == old.getInputExpressions()
    again = runs.run(tmp_path / "new", rows, "2026-12-02", *more)
    assert again.code == 2
    assert "is of that run_date already: its rows would count twice" in again.problem
