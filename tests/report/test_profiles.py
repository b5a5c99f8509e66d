"""Profiles of segments: rates, means and shares of what a segment's rows have, with intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F
from scipy import stats

from gmm_spark import GaussianMixtureModel
from gmm_spark.description import segment_rows
from gmm_spark.report.profiles import ALL, Outcome, normal, profile, wilson
from gmm_spark.report.segment_tables import mixture_table, tables_of


@pytest.mark.parametrize(("having", "rows"), [(0, 7), (7, 7), (1, 7), (169, 1000), (1, 10**6)])
def test_the_interval_of_a_rate_is_wilsons(having, rows) -> None:
    expected = stats.binomtest(having, rows).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson(having / rows, rows), expected, rtol=1e-9, atol=1e-15)


def test_the_interval_of_a_mean_is_the_normal_ones() -> None:
    values = np.random.default_rng(1).gamma(2.0, 3.0, 400)
    expected = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    found = normal(float(values.mean()), float(values.std(ddof=1)), 400)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """400 scored rows: segments 0, 1, noise and none; outcomes of every kind, with gaps."""
    rng = np.random.default_rng(3)
    segment = rng.choice([0.0, 1.0, -1.0, np.nan], 400, p=[0.6, 0.3, 0.07, 0.03])
    chosen = rng.random(400) < np.where(segment == 1, 0.7, 0.2)
    return pd.DataFrame(
        {
            "prediction": segment,
            "uncertainty": np.where(np.isnan(segment), np.nan, rng.random(400) / 3),
            "x": rng.normal(5e4 * (segment == 1), 100.0),
            "flag": chosen,
            "digit": chosen.astype(int),
            "yes": np.where(chosen, "Yes", "no"),
            "letter": np.where(chosen, "Y ", "N"),
            "gappy": np.where(rng.random(400) < 0.2, None, np.where(chosen, "true", "false")),
            "spend": np.where(rng.random(400) < 0.1, np.nan, rng.gamma(2, 30, 400)),
            "plan": rng.choice(["basic", "plus", "gold"], 400, p=[0.6, 0.3, 0.1]),
            "town": [f"town {i % 57}" for i in range(400)],
        }
    )


@pytest.fixture(scope="module")
def profiled(spark, rows) -> list[dict[str, Any]]:
    gaps = {name: rows[name].astype(object).where(rows[name].notna(), None) for name in rows}
    gaps["spend"] = rows["spend"]  # NaN is a gap as null is
    frame = spark.createDataFrame(
        pd.DataFrame(gaps),
        "prediction double, uncertainty double, x double, flag boolean, digit int, yes string, "
        "letter string, gappy string, spend double, plan string, town string",
    ).withColumn("prediction", F.col("prediction").cast("int"))
    names = ["flag", "digit", "yes", "letter", "gappy", "spend", "plan", "town"]
    outcomes = [Outcome(name, F.col(name), frame.schema[name].dataType) for name in names]
    gold = F.expr("plan = 'gold'")
    outcomes.append(Outcome("is_gold", gold, frame.select(gold).schema[0].dataType))
    return profile(frame, "prediction", "uncertainty", ["x"], outcomes)


def parts(rows: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    of = rows["prediction"]
    return [
        (-1, rows[of == -1]), (0, rows[of == 0]), (1, rows[of == 1]), (None, rows[of.isna()]),
        (ALL, rows),
    ]  # fmt: skip


def test_every_segment_and_all_rows_are_there(profiled, rows) -> None:
    assert [one["segment"] for one in profiled] == [segment for segment, _ in parts(rows)]
    for one, (_, part) in zip(profiled, parts(rows), strict=True):
        assert one["rows"] == len(part)
        assert one["means"]["x"] == pytest.approx(part["x"].mean(), rel=1e-12)
        deviation = one["standard_deviations"]["x"]
        assert deviation == pytest.approx(part["x"].std(), rel=1e-9)
        if one["segment"] is not None:
            assert one["mean_uncertainty"] == pytest.approx(part["uncertainty"].mean())


@pytest.mark.parametrize("name", ["flag", "digit", "yes", "letter", "gappy", "is_gold"])
def test_yes_and_no_have_a_rate_however_they_are_written(profiled, rows, name) -> None:
    true = {"flag": True, "digit": 1, "yes": "Yes", "letter": "Y ", "gappy": "true"}
    for one, (_, part) in zip(profiled, parts(rows), strict=True):
        values = part["plan"] if name == "is_gold" else part[name].dropna()
        having = int((values == true.get(name, "gold")).sum())
        found = one["profile"][name]
        assert (found["kind"], found["rows"]) == ("rate", len(values))
        assert found["value"] == pytest.approx(having / len(values))
        interval = stats.binomtest(having, len(values)).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose((found["low"], found["high"]), interval, atol=1e-12)


def test_a_number_has_a_mean_of_the_rows_that_have_it(profiled, rows) -> None:
    for one, (_, part) in zip(profiled, parts(rows), strict=True):
        values, found = part["spend"].dropna(), one["profile"]["spend"]
        assert (found["kind"], found["rows"]) == ("mean", len(values))
        assert found["value"] == one["means"]["spend"] == pytest.approx(values.mean())
        interval = stats.norm.interval(0.95, values.mean(), stats.sem(values))
        np.testing.assert_allclose((found["low"], found["high"]), interval, rtol=1e-9)


def test_text_has_a_rate_a_value_the_most_frequent_first(profiled, rows) -> None:
    for one, (_, part) in zip(profiled, parts(rows), strict=True):
        found = one["profile"]["plan"]
        assert (found["kind"], found["other_values"]) == ("values", 0)
        assert [value["value"] for value in found["values"]] == ["basic", "plus", "gold"]
        for value in found["values"]:
            assert value["count"] == (part["plan"] == value["value"]).sum()
            assert value["rate"] == pytest.approx(value["count"] / len(part))
            interval = stats.binomtest(value["count"], len(part)).proportion_ci(method="wilson")
            np.testing.assert_allclose((value["low"], value["high"]), interval, atol=1e-12)
    towns = profiled[-1]["profile"]["town"]
    assert (len(towns["values"]), towns["other_values"]) == (20, 37)
    assert all(value["count"] == 8 for value in towns["values"][:1])


def test_the_table_says_what_it_shows_and_what_it_leaves_out(profiled) -> None:
    text = tables_of(profiled, ["x"])
    lines = text.splitlines()
    for name in ("flag rate", "digit rate", "yes rate", "gappy rate", "spend mean", "is_gold rate"):
        assert name in lines[0]
    assert [line.split()[0] for line in lines[1:6]] == ["noise", "0", "1", "none", "all"]
    assert lines[5].split()[1:4] == ["400", "100.0", "%"]
    assert "  15 more values in manifest.json: town " in text
    assert "  and 37 rarer values, which are not counted" in text
    assert "95 % intervals" in lines[-1]
    assert "e-" not in text.replace("uncertainty", "")
    whole = profiled[-1]["profile"]["yes"]
    cell = f"{100 * whole['value']:.1f} % ({100 * whole['low']:.1f} to {100 * whole['high']:.1f})"
    assert cell in lines[5]


def test_a_segment_of_one_row_has_no_interval_of_its_mean(spark) -> None:
    frame = spark.sql("select 0 prediction, 0.0D uncertainty, 3.5D spend, 'No' churn")
    kinds = {name: frame.schema[name].dataType for name in ("spend", "churn")}
    outcomes = [Outcome(name, F.col(name), kind) for name, kind in kinds.items()]
    found = profile(frame, "prediction", "uncertainty", [], outcomes)
    assert found[0]["profile"]["spend"] == {
        "kind": "mean", "rows": 1, "value": 3.5, "low": None, "high": None,
    }  # fmt: skip
    low, high = wilson(0.0, 1)
    assert found[1]["profile"]["churn"] == {
        "kind": "rate", "rows": 1, "value": 0.0, "low": low, "high": high,
    }  # fmt: skip
    assert "3.500" in tables_of(found, [])


def test_the_table_of_a_mixture() -> None:
    names = [f"c{i}" for i in range(11)]
    means = np.array([np.linspace(0, 1e4, 11), np.full(11, 7.1e-15)])
    model = GaussianMixtureModel.fromParameters(
        [0.9997, 0.0003], means, np.ones((2, 11)), covarianceType="diag", inputCols=names
    )
    rows = segment_rows(model)
    assert [row["segment"] for row in rows] == [0, 1]
    assert rows[0]["means"] == dict(zip(names, means[0].tolist(), strict=True))
    assert set(rows[1]["standard_deviations"].values()) == {1.0}
    header, first, second, more = mixture_table(rows).splitlines()
    assert header.split() == ["segment", "weight", *names[:8]]
    assert first.split()[1:7] == [">", "99.9", "%", "0.000", "(sd", "1.000)"]
    assert second.split()[1:4] == ["<", "0.1", "%"]
    assert "e-" not in second
    assert "7,000.0 (sd 1.0)" in first
    assert more == "  3 more columns in manifest.json: c8, c9, c10"


def test_wilson_stays_between_none_and_all() -> None:
    for rows in (1, 2, 10, 10**9):
        assert wilson(0.0, rows)[0] == 0.0
        assert wilson(1.0, rows)[1] == 1.0
        assert all(math.isfinite(bound) for bound in (*wilson(0.0, rows), *wilson(1.0, rows)))
