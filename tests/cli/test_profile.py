"""The outcomes that `gmm-spark score` profiles segments by."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gmm_spark.cli import score
from tests.cli.conftest import manifest


def test_what_is_not_kept_is_profiled_all_the_same(call, model, lake, customers, tmp_path) -> None:
    churn = "if(left, 'Yes', 'No') as churn"
    asked = f'["left", "{churn}", "month", "log_density < -3 as rare", "spend > 10 as visits"]'
    more = ["--keep_columns", "customer_id", "--profile", asked]
    argv = ["--input.path", lake / "customers", "--model", model, "--output", tmp_path / "out"]
    ended = call(score.main, *argv, *more)
    assert (ended.code, ended.problem) == (0, "")
    metrics = manifest(tmp_path / "out")["metrics"]
    by_segment = customers.groupby("segment")
    for name in ("spend", "visits"):
        expected = by_segment[name].mean()
        if name == "spend":
            assert [s["means"][name] for s in metrics["segments"]] == pytest.approx(list(expected))
    left = by_segment["left"].mean()
    for name in ("left", "churn"):
        rates = [segment["profile"][name]["value"] for segment in metrics["segments"]]
        assert rates == pytest.approx(list(left))
        assert metrics["all"]["profile"][name]["value"] == pytest.approx(customers["left"].mean())
    values = metrics["all"]["profile"]["month"]["values"]
    assert {v["value"]: v["count"] for v in values} == {"2026-01": 300, "2026-02": 300}
    assert 0 < metrics["all"]["profile"]["rare"]["value"] < 1
    # An expression of the name of a column that the model reads does not change the scores.
    big = (customers["spend"] > 10).mean()
    assert metrics["all"]["profile"]["visits"]["value"] == pytest.approx(big)
    assert [segment["rows"] for segment in metrics["segments"]] == [300, 200, 100]
    written = pq.read_table(tmp_path / "out" / "scores").column_names
    assert written == ["customer_id", "prediction", "probability", "log_density", "uncertainty"]


@pytest.mark.parametrize(
    ("asked", "code", "expected"),
    [
        ('["lefft"]', 2, "configuration: profile: found 'lefft'"),
        (
            '["spend > 2 3 as x"]',
            2,
            "configuration: profile: found 'spend > 2 3 as x'; it is no SQL",
        ),
        ('["spendd > 1 as x"]', 2, "the table has no column 'spendd'; did you mean 'spend'?"),
        ('["spend > 1"]', 2, "needs a name, as in 'spend > 1 as a_name'"),
        ('["array(spend) as x"]', 2, "found array(spend) as x, a array<double>; expected a number"),
        ('["to_date(month) as x"]', 2, "a date; expected a number, a boolean or text"),
        ('["left", "spend > 1 as left"]', 2, "profile: found 'left' twice"),
        ('["cast(name as int) as x"]', 3, "profile: 'cast(name as int) as x' fails in 600 of 600"),
    ],
)
def test_an_outcome_that_cannot_be_had_is_one_line(
    call, model, lake, tmp_path, asked, code, expected
) -> None:
    argv = ["--input.path", lake / "customers", "--model", model, "--output", tmp_path / "out"]
    ended = call(score.main, *argv, "--profile", asked)
    assert ended.code == code
    assert expected in ended.problem
    assert "\n" not in ended.problem
    assert not Path(tmp_path / "out" / "scores").exists()
