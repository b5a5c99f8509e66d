"""The preparation as a stage: one row is prepared at scoring as it was at training."""

from __future__ import annotations

import math
import re
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pyspark.ml import Pipeline, PipelineModel
from scipy import stats

from gmm_spark import GaussianMixture, Preparation, PreparationModel
from gmm_spark.errors import ConfigurationError, GmmError, InputDataError
from gmm_spark.prepare.scan import sampled

SCHEMA = (
    "id string, spend double, visits int, score double, calls int, plan string, net string, "
    "tv string, `town, name` string, code int, active boolean, bill string, since date, "
    "`last login` string, twice double, flat int, tags array<string>, churn boolean"
)
LAST = date(2024, 6, 30)


def rows(n: int = 600) -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(4)
    found = []
    for i in range(n):
        spend, net = float(np.exp(rng.normal(3, 1))), ["dsl", "fiber", "none"][rng.integers(3)]
        login = LAST - timedelta(days=int(rng.integers(0, 90)))
        found.append(
            (
                f"c{i:04}",
                None if i % 50 == 0 else (math.nan if i % 77 == 0 else spend),
                0 if i % 3 else int(np.exp(rng.normal(2, 1))),
                8 - float(rng.gamma(1.0, 2.0)),
                int(rng.poisson(1.5)),
                ["basic", "plus", "pro", "a", "b", "c"][min(i % 97, 5) if i % 97 > 2 else i % 3],
                net,
                "no net" if net == "none" else ["yes", "no"][rng.integers(2)],
                [" north", "south ", "it's \\ `east`", "  "][rng.integers(4)],
                int(rng.integers(0, 2)),
                bool(rng.integers(2)),
                " " if i % 40 == 0 else f"{rng.gamma(2, 20):.2f}",
                LAST - timedelta(days=int(rng.gamma(1.0, 300))),
                f"{login:%d.%m.%Y} 10:30" if i else "30.06.2024 08:00",
                spend * 2,
                7,
                ["x"],
                bool(rng.integers(2)),
            )
        )
    return found


@pytest.fixture(scope="module")
def data(spark: Any) -> Any:
    return spark.createDataFrame(rows(), SCHEMA).coalesce(1).cache()


@pytest.fixture(scope="module")
def prepared(data: Any) -> PreparationModel:
    return Preparation(idCol="id", outcomeCols=["churn"]).fit(data)


def by_id(frame: Any) -> dict[str, Any]:
    return {row["id"]: row for row in frame.collect()}


def about(prepared: PreparationModel, name: str) -> dict[str, Any]:
    return next(one for one in prepared.columns if one["name"] == name)


def test_every_column_has_its_role(prepared) -> None:
    assert {one["name"]: one["role"] for one in prepared.columns} == {
        "id": "left out",
        "spend": "number",
        "visits": "number",
        "score": "number",
        "calls": "count",
        "plan": "category",
        "net": "category",
        "tv": "category",
        "town, name": "category",
        "code": "category",
        "active": "category",
        "bill": "number",
        "since": "date",
        "last login": "date",
        "twice": "left out",
        "flat": "left out",
        "tags": "left out",
        "churn": "left out",
    }
    assert prepared.leftOut["twice"].startswith("the same as spend")
    assert prepared.inputCols[-2:] == ["since_prepared", "last login_prepared"]
    assert prepared.countCols == ["calls_prepared"]
    assert prepared.inputs["categoricalCols"] == prepared.categoricalCols
    assert set(prepared.leftOut) & {"id", "churn", "flat", "tags"} == {
        "id",
        "churn",
        "flat",
        "tags",
    }


def test_numbers_are_what_the_formulas_say(data, prepared) -> None:
    found = by_id(prepared.transform(data))
    raw = {row["id"]: row for row in data.collect()}
    spend = np.array([raw[i]["spend"] for i in raw], dtype=float)
    logs = np.log(spend)
    expected = (logs - np.nanmean(logs)) / np.nanstd(logs)
    mine = np.array([found[i]["spend_prepared"] for i in raw], dtype=float)
    assert_allclose(mine, expected, rtol=1e-9, atol=1e-12)
    assert found["c0000"]["spend_prepared"] is None
    assert found["c0077"]["spend_prepared"] is None  # NaN
    assert "logarithm" in about(prepared, "spend")["treatment"]
    score = np.array([raw[i]["score"] for i in raw])
    said = about(prepared, "score")["treatment"]
    assert "Yeo-Johnson" in said
    scale, power = map(float, re.search(r"/ ([\d.]+), lambda ([\d.]+)", said).groups())
    assert power == pytest.approx(2.0, abs=0.05)  # the highest there is where some are under 0
    fences = re.search(r"clipped to (\S+) to (\S+) ", said)
    low, high = map(float, fences.groups()) if fences else (score.min(), score.max())
    transformed = stats.yeojohnson(np.clip(score, low, high) / scale, lmbda=power)
    mine = np.array([found[i]["score_prepared"] for i in raw])
    expected = (transformed - transformed.mean()) / transformed.std()
    assert_allclose(mine, expected, atol=1e-9)


def test_dates_are_days_before_the_latest(data, prepared) -> None:
    found = by_id(prepared.transform(data))
    days = {row["id"]: (LAST - row["since"]).days for row in data.collect()}
    order = sorted(days, key=days.__getitem__)
    mine = [found[i]["since_prepared"] for i in order]
    assert mine == sorted(mine)
    assert "of the days to 2024-06-30" in about(prepared, "since")["treatment"]
    fixed = Preparation(dateCols=["since"], referenceDate="2024-12-31").fit(data)
    assert "2024-12-31" in about(fixed, "since")["treatment"]
    with pytest.raises(ConfigurationError, match="referenceDate"):
        Preparation(dateCols=["since"], referenceDate="soon").fit(data)


def test_categories_are_what_the_card_says(data, prepared) -> None:
    found = by_id(prepared.transform(data))
    for row in data.collect():
        mine = found[row["id"]]
        plan = row["plan"] if row["plan"] in ("basic", "plus", "pro") else None
        if plan is not None:
            assert mine["plan_prepared"] == plan
        assert mine["tv_prepared"] == (None if row["tv"] == "no net" else row["tv"])
        assert mine["town, name_prepared"] == (row["town, name"].strip() or None)
        assert mine["code_prepared"] == str(row["code"])
        assert mine["active_prepared"] == str(row["active"]).lower()
        assert mine["calls_prepared"] == row["calls"]
    assert "'no net' made null" in about(prepared, "tv")["treatment"]
    assert about(prepared, "bill")["null"] == "null"
    assert found["c0000"]["bill_prepared"] is None


NEW = (
    ("plan", "a new plan"),
    ("net", "cable"),
    ("town, name", None),
    ("code", 9),
    ("spend", None),
    ("spend", 1e9),
    ("spend", -5.0),
    ("bill", "a lot"),
    ("calls", -1),
    ("calls", 10**6),
    ("since", date(2030, 1, 1)),
    ("last login", "yesterday"),
)


def test_a_value_that_training_has_not_seen_becomes_what_the_card_says(
    spark, data, prepared
) -> None:
    usual = dict(zip(data.columns, rows(2)[1], strict=True))
    asked = [tuple({**usual, "id": str(i), name: value}.values()) for i, (name, value) in
             enumerate(NEW)]  # fmt: skip
    found = by_id(prepared.transform(spark.createDataFrame(asked, SCHEMA)))
    trained = prepared.transform(data).toPandas()
    for i, (name, value) in enumerate(NEW):
        card, mine = about(prepared, name), found[str(i)][f"{name}_prepared"]
        if value is None:
            assert (card["null"], mine) == ("null", None), name
        elif card["role"] == "category":
            assert (card["new_value"], mine) in {("(other)", "(other)"), ("null", None)}, name
        elif isinstance(value, str):
            assert mine is None, name
        elif card["role"] == "count":
            assert mine == (value if value >= 0 else None), name
        else:
            ends = trained[f"{name}_prepared"].min(), trained[f"{name}_prepared"].max()
            assert card["out_of_range"].startswith("the nearest of")
            assert mine in ends, name


def test_the_preparation_does_not_depend_on_partitions(data, prepared) -> None:
    other = Preparation(idCol="id", outcomeCols=["churn"]).fit(data.repartition(5, "score"))
    assert other.expressions == prepared.expressions
    assert other.columns == prepared.columns


def test_expressions_are_the_whole_preparation(data, prepared, tmp_path) -> None:
    def shown(frame: Any) -> dict[str, str]:
        return {name: str(row) for name, row in by_id(frame).items()}  # NaN is no other NaN

    expected = shown(prepared.transform(data))
    assert shown(data.selectExpr("*", *prepared.expressions)) == expected
    prepared.save(f"{tmp_path}/preparation")
    loaded = PreparationModel.load(f"{tmp_path}/preparation")
    assert loaded.columns == prepared.columns
    assert loaded.expressions == prepared.expressions
    assert shown(loaded.transform(data)) == expected


@pytest.mark.long
def test_a_mixture_behind_it_in_a_pipeline(data, prepared, tmp_path) -> None:
    preparation = Preparation(inputCols=["spend", "bill"], categoricalCols=["net"])
    mixture = GaussianMixture(
        k=2,
        inputCols=["spend_prepared", "bill_prepared"],
        categoricalCols=["net_prepared"],
        missing="marginalize",
        numInit=1,
        maxIter=2,
    )
    fitted = Pipeline(stages=[preparation, mixture]).fit(data)
    fitted.save(f"{tmp_path}/pipeline")
    loaded = PipelineModel.load(f"{tmp_path}/pipeline")
    expected = fitted.transform(data).select("id", "prediction")
    assert by_id(loaded.transform(data).select("id", "prediction")) == by_id(expected)
    # What is proposed is fitted first; a fitted stage is one of a Pipeline too.
    mixture = GaussianMixture(k=2, missing="marginalize", numInit=1, maxIter=1, **prepared.inputs)
    both = Pipeline(stages=[prepared, mixture]).fit(data)
    assert "prediction" in both.transform(data).columns


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputCols": ["spending"]}, "no column 'spending' in the data, did you mean 'spend'"),
        ({"inputCols": ["tags"]}, "'tags' has no value that is known"),
        ({"inputCols": ["plan"]}, "'plan' is to be a number, and holds text"),
        ({"idCol": "spend", "inputCols": ["spend"]}, "'spend' is in idCol and in inputCols"),
        ({"suffix": ""}, "suffix is empty"),
    ],
)
def test_what_cannot_be_prepared_is_one_line(data, settings, message) -> None:
    with pytest.raises(GmmError, match=message) as caught:
        Preparation(**settings).fit(data)
    assert len(str(caught.value).splitlines()) == 1


def test_where_all_columns_are_left_out_each_is_named(data) -> None:
    with pytest.raises(InputDataError, match="all columns are left out") as caught:
        Preparation(idCol="id").fit(data.select("id", "flat", "tags"))
    for said in ("id (names the row)", "flat (constant: 7)", "tags (of type array<string>"):
        assert said in str(caught.value)


def test_a_raw_column_that_is_gone_or_another_at_scoring(data, prepared) -> None:
    with pytest.raises(InputDataError, match="no column 'spend'"):
        prepared.transform(data.drop("spend"))
    with pytest.raises(InputDataError, match="'since' was prepared as a date and is now int"):
        prepared.transform(data.withColumn("since", data.code))
    # What takes no part need not be there.
    assert prepared.transform(data.drop("flat", "twice", "churn")).count() == data.count()


def test_infinities_are_warned_of_and_become_what_the_card_says(spark) -> None:
    """Counted in all rows, of every role that has them; the card is what `columns` says."""
    table = [
        (math.inf if i == 5 else -math.inf if i in (6, 7) else i / 9, float(i % 4), float(i % 3))
        for i in range(60)
    ]
    table[9] = (1.0, math.inf, -math.inf)
    frame = spark.createDataFrame(table, "spend double, calls double, kind double").coalesce(1)
    stage = Preparation(inputCols=["spend"], countCols=["calls"], categoricalCols=["kind"])
    prepared = stage.fit(frame)
    spend, calls, kind = map(about, [prepared] * 3, ["spend", "calls", "kind"])
    beyond = spend["out_of_range"]
    assert prepared.warnings == [
        f"column 'spend': 3 of 60 rows are infinite; they become {beyond}: make them null where "
        "they are not known",
        "column 'calls': 1 of 60 rows are infinite; they become null: make them null where they "
        "are not known",
        "column 'kind': 1 of 60 rows are infinite; they become null: make them null where they "
        "are not known",
    ]
    assert beyond == "the nearest of 0 to 6.55556"
    assert f"3 infinite values to {beyond}" in spend["treatment"]
    assert "infinite" not in calls["treatment"] + kind["treatment"]
    found = prepared.transform(frame).collect()
    x = [row["spend_prepared"] for row in found]
    assert (x[5], x[6], x[7]) == (max(x[i] for i in range(60) if i != 5), x[0], x[0])
    assert found[9]["calls_prepared"] is None
    assert found[9]["kind_prepared"] is None


def test_a_sample_of_many_equal_rows_stands_for_all(spark, monkeypatch) -> None:
    from gmm_spark.prepare import scan

    monkeypatch.setattr(scan, "SAMPLE_ROWS", 100)
    frame = spark.createDataFrame([(i % 3, float(i % 4)) for i in range(1200)], "a int, b double")
    for parts in (1, 4):
        a, b = scan.sampled(frame.repartition(parts), ["a", "b"], 0)
        assert a.known.size == 100
        assert a.num_rows == b.num_known == 1200
        assert np.abs(a.counts[1] - 100 / 3).max() < 2
        assert np.abs(b.counts[1] - 25).max() < 2


def test_values_that_a_sample_has_once_are_counted_in_all_rows(spark, monkeypatch) -> None:
    from gmm_spark.prepare import scan

    monkeypatch.setattr(scan, "SAMPLE_ROWS", 100)
    made = [
        "id * 3 AS n",
        "concat('a', id) AS text",
        "concat('b', id div 2) AS pairs",
        "id % 7 AS few",
    ]
    frame = spark.range(4000).selectExpr(*made)
    names = ["n", "text", "pairs", "few"]
    found = [
        [column.num_distinct for column in scan.sampled(frame.repartition(parts), names, 0)]
        for parts in (1, 3)
    ]
    assert found[0] == found[1]
    assert np.allclose(found[0], [4000, 4000, 2000, 7], rtol=0.06)


def test_text_of_numbers_is_told_from_text_by_all_of_its_rows(spark, monkeypatch) -> None:
    """In the first rows `late` has numbers alone, `early` words, and `bills` numbers or none."""
    monkeypatch.setattr("gmm_spark.prepare.scan._FIRST_ROWS", 5)
    monkeypatch.setattr("gmm_spark.prepare.scan.SAMPLE_ROWS", 50)
    table = [
        (str(i % 7), "n/a" if i % 4 == 0 else f"{i}.5", "x" if i == 299 else str(i % 9), "x")
        for i in range(300)
    ]
    table[100:] = [(*row[:3], str(i % 5)) for i, row in enumerate(table[100:])]
    frame = spark.createDataFrame(table, "plain string, bills string, late string, early string")
    found = sampled(frame.coalesce(1), frame.columns, seed=1)
    assert {one.name: (one.kind, one.num_known) for one in found} == {
        "plain": ("number", 300), "bills": ("number", 225), "late": ("text", 300),
        "early": ("text", 300),
    }  # fmt: skip
