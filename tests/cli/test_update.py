"""`refit: update`: the model of an earlier run brought up to date by new rows alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gmm_spark import GaussianMixtureModel
from gmm_spark.cli import churn, train
from gmm_spark.errors import ConfigurationError
from gmm_spark.runs.updates import fading, run_dates_beside
from gmm_spark.storage import publish_log
from tests.cli.conftest import Call, Ended, manifest


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of three days, 200 rows each, whose means move by 1 a day."""
    root = tmp_path_factory.mktemp("days") / "table"
    rng = np.random.default_rng(2)
    for number in range(3):
        rows = np.concatenate([rng.normal(0, 1, (120, 2)), rng.normal(20, 1, (80, 2))]) + number
        folder = root / f"day=2026-11-0{number + 1}"
        folder.mkdir(parents=True)
        pd.DataFrame(rows, columns=["x", "y"]).to_parquet(folder / "part-0.parquet", index=False)
    return root


def nightly(call: Call, days: Path, output: Path, day: int, *more: object) -> Ended:
    """The same command every night: the day's partition, its date."""
    date = f"2026-11-0{day}"
    return call(
        train.main, "--input.path", days, "--input.filters", f"day = '{date}'",
        "--columns", "x,y", "--k", 2, "--seed", 1, "--output", output, "--keep_versions", 5,
        "--refit", "update", "--half_life", 2, "--run_date", date, *more,
    )  # fmt: skip


def version(output: Path, number: int) -> Path:
    entry = publish_log.read(str(output))
    return output / entry.version(number).directory


def test_every_night_the_champion_takes_the_new_partition(call, days, tmp_path) -> None:
    output = tmp_path / "out"
    first = nightly(call, days, output, 1)
    assert (first.code, first.problem) == (0, "")
    assert "update" not in manifest(version(output, 1))  # there was nothing to update
    assert nightly(call, days, output, 2).code == 0
    third = nightly(call, days, output, 3)
    assert third.code == 0
    # A half-life of two days: 200 rows of the first day and of the second, faded twice and once.
    fades = 0.5**0.5
    said = manifest(version(output, 3))
    update = said["update"]
    assert said["rows"]["read"] == 200
    assert said["input"]["filters"] == [["day", "=", "2026-11-03"]]
    assert update["model"]["version"] == 2
    assert update["model"]["run_date"] == "2026-11-02"
    assert update["run_dates"] == ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert (update["half_life_days"], update["elapsed_days"]) == (2.0, 1.0)
    assert update["fading"] == pytest.approx(fades)
    assert update["weight_before"] == pytest.approx(200 * fades + 200)
    assert update["weight_faded"] == pytest.approx((200 * fades + 200) * fades)
    assert said["metrics"]["stopped"] == "updated"
    assert said["metrics"]["bic"] is None
    # Means of every day by their weights: 0, 1, 2 (and 20 more).
    shares = np.array([fades**2, fades, 1.0])
    model = GaussianMixtureModel.load(str(version(output, 3) / "model"))
    expected = shares @ [0.0, 1.0, 2.0] / shares.sum()
    assert model.means[0] == pytest.approx(expected, abs=0.25)
    assert model.means[1] == pytest.approx(20 + expected, abs=0.3)
    # The rows of the day under the model of the day before, by that model itself.
    before = GaussianMixtureModel.load(str(version(output, 2) / "model"))
    rows = pd.read_parquet(days / "day=2026-11-03").to_numpy()
    densities = [
        w * np.exp(-0.5 * np.einsum("ni,ij,nj->n", rows - m, np.linalg.inv(c), rows - m))
        / (2 * np.pi * np.sqrt(np.linalg.det(c)))
        for w, m, c in zip(before.weights, before.means, before.covariances, strict=True)
    ]  # fmt: skip
    assert update["mean_log_likelihood"] == pytest.approx(np.log(np.sum(densities, axis=0)).mean())
    assert update["mean_log_likelihood_before"] == before.summary.meanLogLikelihood
    assert "Updated by 200 rows, whose mean log-likelihood under the model before is" in third.out
    assert "after 1 day of a half-life of 2" in third.out

    # The same night once more would count its rows twice; an earlier day cannot fade.
    again = nightly(call, days, output, 3)
    assert again.code == 2
    assert "is of that run_date already: its rows would count twice" in again.problem
    late = nightly(call, days, output, 2)
    assert "version 3, which is of 2026-11-03, has been given the rows of that" in late.problem
    # From an earlier version it can be made once more.
    redone = nightly(call, days, output, 3, "--initial_model", f"{output}@2")
    assert redone.code == 0
    one = GaussianMixtureModel.load(str(version(output, 4) / "model"))
    np.testing.assert_array_equal(one.means, model.means)
    dry = nightly(call, days, output, 4, "--dry_run", "--run_date", "2026-11-04")
    assert "the champion, version 4, would be updated by the rows of" in dry.out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--columns", "x"], "columns: found x; expected x, y, as the model at"),
        (["--k", 3], "k: found 3; expected 2, as the model at"),
        (["--covariance_type", "diag"], "covariance_type: found diag; expected full"),
        (["--weight_column", "y"], "weight_column: found y; expected none"),
        (["--columns", '["x", "y * 2 as y"]'], "expressions in columns: found y * 2 as y"),
        (["--half_life", 3], "half_life: found nothing as run_date; expected a day like"),
        (["--half_life", 3, "--run_date", "monday"], "half_life: found 'monday' as run_date"),
    ],
)
def test_settings_that_are_of_another_model(
    call, days, fitted, tmp_path, more: list[Any], said: str
) -> None:
    columns = [] if "--columns" in more else ["--columns", "x,y"]
    ended = call(
        train.main, "--input.path", days, *columns, "--output", tmp_path / "out",
        "--refit", "update", "--initial_model", fitted, *more,
    )  # fmt: skip
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.problem


@pytest.fixture(scope="module")
def fitted(spark: Any, days: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without versions, of the first day and no date."""
    output = tmp_path_factory.mktemp("fitted") / "out"
    argv = ["--input.path", days / "day=2026-11-01", "--columns", "x,y", "--k", 2, "--num_init", 1]
    assert train.main([str(word) for word in [*argv, "--output", output]]) == 0
    return output / "model"


def test_a_model_by_its_path_and_nothing_fades(call, days, fitted, tmp_path) -> None:
    ended = call(
        train.main, "--input.path", days / "day=2026-11-02", "--columns", "x,y",
        "--output", tmp_path / "out", "--refit", "update", "--initial_model", fitted,
    )  # fmt: skip
    assert (ended.code, ended.problem) == (0, "")
    update = manifest(tmp_path / "out")["update"]
    assert (update["weight_before"], update["weight_faded"], update["weight"]) == (200, 200, 400)
    assert update["elapsed_days"] is None
    assert update["model"] == {"path": str(fitted), "run_date": None}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--refit", "update"], "refit: found update, and neither keep_versions"),
        (["--half_life", 3], "half_life: found refit nothing; expected update"),
        (["--refit", "update", "--keep_versions", 2, "--half_life", 0], "half_life"),
        (["--refit", "keep", "--keep_versions", 2], "refit"),
        # The first night fits, and the second could not say how old its rows are.
        (
            ["--refit", "update", "--keep_versions", 2, "--half_life", 3, "--run_date", "monday"],
            "half_life: found 'monday' as run_date; expected a day like 2026-11-26",
        ),
    ],
)
def test_settings_that_do_not_go_together(call, days, tmp_path, more, said) -> None:
    ended = call(
        train.main, "--input.path", days, "--columns", "x", "--output", tmp_path / "out", *more
    )
    assert ended.code == 2
    assert said in ended.problem


def test_a_champion_that_no_step_of_em_led_to_is_not_updated() -> None:
    """Of k-means, for instance; said before anything is read."""
    model = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]], inputCols=["x"])
    model._summary = SimpleNamespace(reason="kept")
    version = SimpleNamespace(number=3, run_date="2026-11-01")
    settings = SimpleNamespace(refit="update", run_date="2026-11-02", half_life=None)
    followed = SimpleNamespace(model=model, version=version)
    with pytest.raises(ConfigurationError) as refused:
        churn._fading(settings, followed)
    said = str(refused.value)
    assert said.startswith("refit: found update, and the champion, version 3, cannot be updated: ")
    assert said.endswith("Expected keep, or choose")
    assert churn._fading(SimpleNamespace(refit="keep"), followed) is None


class TestDaysBetweenTwoRuns:
    @pytest.mark.parametrize(
        ("run_date", "before", "days"),
        [
            ("2026-11-26", "2026-11-25", 1.0),
            ("2026-11-26T06:00", "2026-11-25", 1.25),
            ("2026-03-01", "2026-02-01", 28.0),
            ("2026-11-26T06:00+02:00", "2026-11-26T00:00+00:00", 4 / 24),
        ],
    )
    def test_are_those_of_the_calendar(self, run_date, before, days) -> None:
        assert fading(run_date, [before], 7.0, "it").elapsed == pytest.approx(days)

    def test_need_not_be_known_where_nothing_fades(self) -> None:
        assert fading(None, [], None, "it").half_life is None
        assert fading("monday", ["sunday"], None, "it").elapsed == 0.0

    def test_are_no_less_than_none(self) -> None:
        with pytest.raises(ConfigurationError, match="its rows would count twice"):
            fading("monday", ["monday"], None, "it")
        with pytest.raises(ConfigurationError, match="expected a later one"):
            fading("2026-11-25", ["2026-11-26"], 7.0, "it")
        with pytest.raises(ConfigurationError, match="found nothing as the run_date of it"):
            fading("2026-11-25", [None], 7.0, "it")

    @pytest.mark.parametrize("again", ["2026-11-25", "20261125", "2026-11-25T01:00+01:00"])
    def test_rows_of_any_run_count_once(self, again: str) -> None:
        """Not of the last one alone, and however the day is written."""
        dates = ["2026-11-25", "2026-11-26"]
        with pytest.raises(ConfigurationError) as refused:
            fading(again, dates, None, "the champion, version 2,")
        assert str(refused.value).startswith(
            f"run_date: found {again}, and the champion, version 2, which is of 2026-11-26, has "
            "been given the rows of that run_date already: its rows would count twice; "
        )
        with pytest.raises(ConfigurationError, match="is of that run_date already"):
            fading("20261126", dates, None, "it")
        found = fading("2026-11-24", dates, None, "it")  # a night that was late
        assert found.run_dates == ("2026-11-25", "2026-11-26", "2026-11-24")

    @pytest.mark.parametrize(
        ("manifest", "dates"),
        [
            (None, ()),
            ("{", ()),
            ("[]", ()),
            ('{"run_date": null}', (None,)),
            ('{"run_date": "b"}', ("b",)),
            ('{"run_date": "b", "update": {"run_dates": ["a", "b"]}}', ("a", "b")),
            ('{"run_date": "b", "update": {"model": {"run_date": "a"}}}', ("a", "b")),
        ],
    )
    def test_the_runs_of_a_model_stand_in_the_manifest_beside_it(
        self, tmp_path: Path, manifest: str | None, dates: tuple[str | None, ...]
    ) -> None:
        if manifest is not None:
            (tmp_path / "manifest.json").write_text(manifest)
        assert run_dates_beside(f"{tmp_path}/model") == dates
