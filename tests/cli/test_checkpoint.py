"""checkpoint_dir of the jobs: the same command goes on, and nothing is left when it has written."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gmm_spark.cli import churn, train
from gmm_spark.engine.passes import PassEngine
from gmm_spark.storage import publish_log
from tests.cli.conftest import Call, Ended, manifest, tree
from tests.estimator.test_cluster import held


def fit(call: Call, lake: Path, tmp_path: Path, *more: object) -> Ended:
    argv = ["--input.path", lake / "customers", "--seed", 1]
    argv += [] if "--columns" in more else ["--columns", "spend,visits"]
    where = ["--output", tmp_path / "out", "--checkpoint_dir", tmp_path / "kept"]
    return call(train.main, *argv, "--num_init", 2, *where, *more)


def segments(output: Path) -> dict[str, bytes]:
    """The data of a model, whose files have random names."""
    return {str(i): content for i, content in enumerate(tree(output / "model" / "data").values())}


def test_the_same_command_goes_on_and_what_was_kept_is_removed(
    call, lake, tmp_path, dies, caplog
) -> None:
    expected = fit(call, lake, tmp_path, "--k", 3, "--checkpoint_dir", "null")
    assert expected.code == 0
    model = segments(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    dies("passes-1-000002")
    ended = fit(call, lake, tmp_path, "--k", 3)
    assert ended.code != 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "log.txt",
        "manifest.json",
    ]

    dies("")
    refused = fit(call, lake, tmp_path, "--k", 4)
    assert refused.code == 2
    assert refused.problem.startswith("configuration: checkpoint_dir ")
    assert "k was 3 and is 4" in refused.problem

    ended = fit(call, lake, tmp_path, "--k", 3)
    assert (ended.code, ended.problem) == (0, "")
    assert sum("it goes on after the first scan" in line for line in ended.err.splitlines()) == 1
    assert segments(tmp_path / "out") == model
    assert not (tmp_path / "kept").exists()
    assert len(manifest(tmp_path / "out")["passes"]) > 3


def test_what_fails_after_the_fit_fits_nothing_again(call, lake, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(train, "_findings", lambda *args: 1 / 0)
        assert fit(call, lake, tmp_path, "--k", 3).code == 1
    assert (tmp_path / "kept" / "checkpoint.json").exists()
    ended = fit(call, lake, tmp_path, "--k", 3)
    assert ended.code == 0
    assert "this fit is finished there" in ended.err
    assert "pass 1 (" not in ended.err
    assert not (tmp_path / "kept").exists()


def test_sigterm_ends_a_run_cleanly_and_the_next_goes_on(
    call, lake, spark, tmp_path, monkeypatch
) -> None:
    """As a scheduler sends it, in the middle of a pass, while rows of a DataFrame are cached."""
    before, handler = held(spark), signal.getsignal(signal.SIGTERM)
    run_passes, held_within = PassEngine.run_passes, []

    def stopped(self: PassEngine, evaluators: object) -> object:
        if len(self.seconds) == 1:
            held_within.append(held(spark))
            os.kill(os.getpid(), signal.SIGTERM)
        return run_passes(self, evaluators)

    argv = ["--k", 3, "--input.format", "parquet", "--columns", "spend + 0.0 as money,visits"]
    with monkeypatch.context() as patch:
        patch.setattr(PassEngine, "run_passes", stopped)
        ended = fit(call, lake, tmp_path, *argv)
    assert (ended.code, held_within) == (143, [before + 1])
    assert ended.problem == (
        "stopped: SIGTERM, which schedulers send at a time limit and machines that shut down; "
        "nothing was published, what was begun is removed. Run the same command again: with "
        "checkpoint_dir a fit goes on where it was"
    )
    assert signal.getsignal(signal.SIGTERM) is handler
    assert held(spark) == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "log.txt",
        "manifest.json",
    ]
    found = manifest(tmp_path / "out")
    assert (found["status"], found["exit_code"]) == ("failed", 143)
    ended = fit(call, lake, tmp_path, *argv)
    assert ended.code == 0
    assert "1 pass over all the rows" in ended.err


def test_sigterm_while_a_result_is_published_comes_too_late(
    call, lake, tmp_path, monkeypatch
) -> None:
    """It is not half published: the run is done, and says so."""
    publish = publish_log.publish

    def interrupted(*args: Any, **others: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return publish(*args, **others)

    monkeypatch.setattr(publish_log, "publish", interrupted)
    ended = fit(call, lake, tmp_path, "--k", 2, "--keep_versions", 2)
    assert (ended.code, ended.problem) == (0, "")
    assert publish_log.find(str(tmp_path / "out")).number == 1


@pytest.mark.long
def test_churn_goes_on_after_its_choice(call, customers, tmp_path, dies) -> None:
    path = tmp_path / "customers.csv"
    pd.DataFrame(customers)[["customer_id", "spend", "visits"]].to_csv(path, index=False)
    where = ["--output", tmp_path / "out", "--checkpoint_dir", tmp_path / "kept"]
    argv = ["--input.path", path, "--columns", "spend,visits", "--k", 3, *where]
    dies("choice-000001")
    assert call(churn.main, *argv).code != 0
    dies("")
    ended = call(churn.main, *argv)
    assert (ended.code, ended.problem) == (0, "")
    assert "goes on after the first scan, the choice of segments" in ended.err
    assert not (tmp_path / "kept").exists()
