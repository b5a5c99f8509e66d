"""Categories, known components, noise, outliers and priors through Spark."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyspark.sql import functions as F

from gmm_spark import (
    GaussianMixture,
    GaussianMixtureModel,
    GaussianMixtureSearch,
    ParquetTable,
)
from gmm_spark.errors import ConfigurationError, InputDataError
from tests.estimator.helpers import table
from tests.mixture.reference import mixed_joint, mixed_log_likelihood

SCHEMA = (
    "id int, x double, y double, plan string, seats int, paid boolean, town string, w double, "
    "known int, may array<int>, class int"
)
PLANS = ["basic", "plus", "pro"]


@pytest.fixture(scope="module")
def rows() -> list[tuple]:
    """600 rows of three classes that numbers and categories tell apart; some cells are gone."""
    rng = np.random.default_rng(21)
    found = []
    for i in range(600):
        c = int(rng.integers(0, 3))
        x, y = rng.normal(size=2) + 5.0 * np.array([[0, 0], [1, 0], [0, 1]])[c]
        plan = PLANS[c] if rng.random() < 0.8 else PLANS[int(rng.integers(0, 3))]
        seats = int(rng.choice([1, 2, 5], p=np.roll([0.7, 0.2, 0.1], c)))
        gone = rng.random(5) < 0.08
        known = rng.random() < 0.1
        found.append(
            (
                i,
                None if gone[0] else float(x),
                float("nan") if gone[1] else float(y),
                None if gone[2] else plan,
                None if gone[3] else seats,
                None if gone[4] else bool(rng.random() < 0.2 + 0.3 * c),
                f"town-{min(int(rng.exponential(3.0)), 11)}",
                float(rng.uniform(0.5, 2.0)),
                c if known else None,
                [c, (c + 1) % 3] if rng.random() < 0.1 else None,
                c,
            )
        )
    return found


@pytest.fixture(scope="module")
def frame(spark, rows):
    return table(spark, rows, SCHEMA, 3)


@pytest.fixture(scope="module")
def stored(frame, tmp_path_factory) -> ParquetTable:
    path = str(tmp_path_factory.mktemp("mixed") / "rows")
    frame.write.parquet(path)
    return ParquetTable(path)


def mixture(**options) -> GaussianMixture:
    options = {
        "k": 3,
        "inputCols": ["x", "y"],
        "categoricalCols": ["plan", "seats", "paid"],
        "missing": "marginalize",
        "seed": 5,
        **options,
    }
    return GaussianMixture(**options)


@pytest.fixture(scope="module")
def fitted(frame) -> GaussianMixtureModel:
    return mixture().fit(frame)


def block_of(rows: list[tuple], model: GaussianMixtureModel) -> np.ndarray:
    """Rows as numbers and codes, (5, n), by hand."""
    levels = model.categories

    def code(name: str, value) -> float:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return np.nan if value is None else float(levels[name].index(text))

    return np.array(
        [
            [
                np.nan if r[1] is None else r[1],
                r[2],
                code("plan", r[3]),
                code("seats", r[4]),
                code("paid", r[5]),
            ]
            for r in rows
        ]
    ).T


def test_the_model_says_what_it_tells_apart(fitted) -> None:
    assert fitted.categories == {
        "plan": PLANS,
        "seats": ["1", "2", "5"],
        "paid": ["false", "true"],
    }
    for name, levels in fitted.categories.items():
        table_of = fitted.probabilities(name)
        assert table_of.shape == (3, len(levels))
        assert_allclose(table_of.sum(axis=1), 1, rtol=1e-12)
    # Every class has its plan, four times in five and by chance.
    assert_allclose(fitted.probabilities("plan").max(axis=1), 0.8 + 0.2 / 3, atol=0.08)
    with pytest.raises(
        ConfigurationError, match=r"no categorical column 'city'.*plan, seats, paid"
    ):
        fitted.probabilities("city")


def test_likelihood_and_scores_are_the_densities_row_by_row(fitted, frame, rows) -> None:
    block = block_of(rows, fitted)
    expected = mixed_log_likelihood(fitted.parameters, block)
    assert_allclose(fitted.summary.logLikelihood, expected, rtol=1e-10)
    assert fitted.summary.numParameters == 2 + 3 * 5 + 3 * (2 + 2 + 1)
    assert fitted.summary.numGaps.keys() == {"x", "y", "plan", "seats", "paid"}
    scored = fitted.setLogLikelihoodCol("density").transform(frame).orderBy("id").collect()
    joint = np.array([mixed_joint(fitted.parameters, row) for row in block.T])
    assert_allclose([r["density"] for r in scored], np.log(joint.sum(axis=1)), rtol=1e-9)
    probability = np.array([r["probability"].toArray() for r in scored])
    assert_allclose(probability, joint / joint.sum(axis=1, keepdims=True), rtol=1e-7, atol=1e-12)


def test_smoothing_is_the_stated_prior(fitted, rows) -> None:
    """At the end of a fit another M-step, done here, changes nothing."""
    block = block_of(rows, fitted)
    joint = np.array([mixed_joint(fitted.parameters, row) for row in block.T])
    shares = joint / joint.sum(axis=1, keepdims=True)
    codes = block[2]
    known = ~np.isnan(codes)
    counts = np.array([shares[known & (codes == level)].sum(axis=0) for level in range(3)]).T
    frequency = np.bincount(codes[known].astype(int), minlength=3) + 1 / 3
    smoothed = counts + frequency / frequency.sum() / 3
    assert_allclose(
        fitted.probabilities("plan"), smoothed / smoothed.sum(axis=1, keepdims=True), atol=2e-3
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_a_table_gives_what_a_data_frame_gives(frame, stored, weighted: bool) -> None:
    options = {"weightCol": "w"} if weighted else {}
    one = mixture(labelCol="known", **options).fit(frame)
    other = mixture(labelCol="known", **options).fit(stored)
    assert_allclose(one.summary.logLikelihood, other.summary.logLikelihood, rtol=1e-9)
    assert_allclose(one.parameters.tables, other.parameters.tables, atol=1e-6)
    assert_allclose(one.means, other.means, atol=1e-5)
    scored = [
        model.transform(data).orderBy("id").select("prediction").collect()
        for model, data in ((one, frame), (one, stored))
    ]
    assert scored[0] == scored[1]


def test_categories_alone(frame, stored, rows) -> None:
    options = {"inputCols": None, "categoricalCols": ["plan", "seats"], "k": 2}
    for data in (frame, stored):
        model = mixture(**options).fit(data)
        assert model.numFeatures == 0
        block = block_of(rows, mixture().fit(data))[2:4]
        expected = mixed_log_likelihood(model.parameters, block)
        assert_allclose(model.summary.logLikelihood, expected, rtol=1e-10)
        assert model.transform(data).select("prediction").distinct().count() == 2


def test_rare_values_become_one(frame, tmp_path) -> None:
    model = mixture(categoricalCols=["town"], maxCategories=4).fit(frame)
    assert len(model.categories["town"]) == 4
    assert model.categories["town"][-1] == "(other)"
    (warning,) = [w for w in model.summary.warnings if w.startswith("rare_values")]
    assert re.search(r"town has 12 values; the 3 most frequent .* \(\d+\.\d+% of rows\)", warning)
    new = frame.limit(2).withColumn("town", F.lit("Atlantis"))
    one = model.setMissing("error").transform(new.where("x is not null and not isnan(y)"))
    assert one.count() >= 1  # an unseen town is one of the others
    # No town is called so: the most frequent real one is put in, though the others are more.
    assert (model.probabilities("town").argmax(axis=1) == 3).any()
    filled = model.impute(frame.limit(50).withColumn("town", F.lit(None).cast("string")))
    assert {r["town"] for r in filled.collect()} <= set(model.categories["town"][:-1])
    model.save(str(tmp_path / "m"))
    assert GaussianMixtureModel.load(str(tmp_path / "m")).categories == model.categories


def test_values_never_seen(fitted, frame) -> None:
    new = frame.where("id < 3").select(
        "id", F.lit(1.0).alias("x"), F.lit(1.0).alias("y"), "plan", "seats", "paid"
    )
    new = new.fillna({"plan": "pro", "seats": 1}).withColumn("paid", F.lit(True))
    strange = new.withColumn("plan", F.when(F.col("id") == 1, "gold").otherwise(F.col("plan")))
    model = fitted.copy()
    with pytest.raises(Exception, match=r"column 'plan': 1 of .* not seen .*'gold'.*marginalize"):
        model.setMissing("error").transform(strange).collect()
    skipped = model.setMissing("skip").transform(strange).orderBy("id").collect()
    assert [r["prediction"] is None for r in skipped] == [False, True, False]
    as_gap = new.withColumn("plan", F.when(F.col("id") != 1, F.col("plan")))
    one, other = (
        [r["probability"] for r in model.setMissing("marginalize").transform(d).collect()]
        for d in (strange, as_gap)
    )
    assert one == other


def test_saved_and_loaded(fitted, frame, tmp_path) -> None:
    path = str(tmp_path / "model")
    model = mixture(noise=True, contamination=0.05).fit(frame)
    model.save(path)
    loaded = GaussianMixtureModel.load(path)
    assert loaded.categories == model.categories
    assert_array_equal(loaded.parameters.tables, model.parameters.tables)
    assert loaded.noiseWeight == model.noiseWeight
    assert loaded.getOutlierThreshold() == model.getOutlierThreshold()
    kept = ["prediction", "probability", "outlier"]
    one, other = (m.transform(frame).orderBy("id").select(*kept).collect() for m in (model, loaded))
    assert one == other
    again = mixture(noise=True, initialModel=loaded).fit(frame)
    assert_allclose(again.summary.logLikelihood, model.summary.logLikelihood, rtol=1e-6)
    mixture(labelCol="known", noise=True).save(str(tmp_path / "estimator"))
    back = GaussianMixture.load(str(tmp_path / "estimator"))
    assert back.getCategoricalCols() == ["plan", "seats", "paid"]
    assert (back.getLabelCol(), back.getNoise()) == ("known", True)


def test_a_start_must_know_the_same_categories(fitted, frame) -> None:
    with pytest.raises(ConfigurationError, match=r"initialModel has the categories.*the same"):
        mixture(categoricalCols=["plan"], initialModel=fitted).fit(frame)


def test_gaps_in_categories_are_filled(fitted, frame, rows) -> None:
    filled = {r["id"]: r for r in fitted.impute(frame).collect()}
    block = block_of(rows, fitted)
    tables = fitted.probabilities("plan")
    for row, values in zip(rows, block.T, strict=True):
        found = filled[row[0]]
        joint = np.array(mixed_joint(fitted.parameters, values))
        chances = joint / joint.sum() @ tables
        if row[3] is None:
            assert found["plan"] == PLANS[chances.argmax()]
            assert_allclose(found["plan_probability"], chances.max(), rtol=1e-6)
        else:
            assert (found["plan"], found["plan_probability"]) == (row[3], 1.0)
        if row[4] is not None:
            assert found["seats"] == row[4]
    assert filled[0]["paid"] in (True, False)
    drawn = fitted.impute(frame.where("plan is null"), draws=200, seed=3)
    shares = {
        r["plan"]: r["n"] for r in drawn.groupBy("plan").agg(F.count("*").alias("n")).collect()
    }
    missing = block[:, [r[3] is None for r in rows]]
    joint = np.array([mixed_joint(fitted.parameters, row) for row in missing.T])
    expected = (joint / joint.sum(axis=1, keepdims=True) @ tables).mean(axis=0)
    total = sum(shares.values())
    assert_allclose([shares[plan] / total for plan in PLANS], expected, atol=0.02)


def test_known_components_are_kept_and_named(frame, stored, rows) -> None:
    for data in (frame, stored):
        model = mixture(labelCol="known").fit(data)
        scored = model.transform(data).select("prediction", "class").collect()
        agree = np.mean([r["prediction"] == r["class"] for r in scored])
        assert agree > 0.97  # the numbers are those of the labels
    allowed = np.array([-1 if r[8] is None else 1 << r[8] for r in rows])
    expected = mixed_log_likelihood(model.parameters, block_of(rows, model), allowed)
    assert_allclose(model.summary.logLikelihood, expected, rtol=1e-10)


def test_allowed_sets(frame, rows) -> None:
    model = mixture(labelCol="may", numInit=1).fit(frame)
    allowed = np.array([-1 if r[9] is None else sum(1 << c for c in r[9]) for r in rows])
    expected = mixed_log_likelihood(model.parameters, block_of(rows, model), allowed)
    assert_allclose(model.summary.logLikelihood, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-1", "12 of 600 rows hold what is no component number .one: -1"),
        ("60", "no component number .one: 60"),
        ("1.5D", "a number that is not whole"),
        ("3", "12 rows have label 3 or a higher one, k is 3; labels are 0 to 2"),
        ("'a'", "label column 'known' has type string; labels are component numbers"),
    ],
)
def test_labels_that_are_none(frame, value: str, message: str) -> None:
    wrong = frame.withColumn("known", F.expr(f"if(id < 12, {value}, null)"))
    with pytest.raises(InputDataError, match=message):
        mixture(labelCol="known").fit(wrong)


def test_noise_takes_what_no_cluster_holds(spark) -> None:
    rng = np.random.default_rng(3)
    clusters = rng.normal(size=(400, 2)) * 0.3 + np.repeat([[2.0, 0], [-2, 0]], 200, axis=0)
    rows = np.concatenate([clusters, rng.uniform(-6, 6, size=(200, 2))])
    frame = table(
        spark, rng.permutation(np.c_[rows, np.repeat([0, 1], [400, 200])]), ["x", "y", "n"]
    )
    model = GaussianMixture(k=2, inputCols=["x", "y"], noise=True, seed=1).fit(frame)
    assert abs(model.noiseWeight - 1 / 3) < 0.05
    assert_allclose(sum(model.weights) + model.noiseWeight, 1)
    scored = model.transform(frame).collect()
    agree = np.mean([(r["prediction"] == -1) == (r["n"] == 1) for r in scored])
    assert agree > 0.94
    assert model.summary.noiseSize == sum(r["prediction"] == -1 for r in scored)
    assert all(len(r["probability"]) == 3 for r in scored)
    assert_allclose([r["probability"].toArray().sum() for r in scored], 1)
    # One third of the rows as noise, written out.
    volume = np.prod(np.ptp(rows, axis=0))
    density = model.setLogLikelihoodCol("d").transform(frame).agg(F.min("d")).first()[0]
    assert density > np.log(model.noiseWeight / volume) - 1e-9


@pytest.mark.parametrize("sample", [0, 1000])
def test_contamination_marks_that_share(spark, sample: int) -> None:
    rng = np.random.default_rng(5)
    frame = table(spark, rng.normal(size=(5000, 2)), ["x", "y"], 4)
    model = GaussianMixture(
        k=1, inputCols=["x", "y"], contamination=0.03, sampleSize=sample, logLikelihoodCol="d"
    ).fit(frame)
    scored = model.transform(frame).select("outlier", "d").collect()
    assert abs(sum(r["outlier"] for r in scored) - 150) <= 1
    assert max(r["d"] for r in scored if r["outlier"]) < model.getOutlierThreshold()
    without = model.copy().setOutlierCol("")
    assert "outlier" not in without.transform(frame).columns


def test_priors_draw_means_and_weights(spark) -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(50, 2))
    frame = table(spark, rows, ["x", "y"])
    model = GaussianMixture(
        k=1, inputCols=["x", "y"], prior="conjugate", priorShrinkage=5.0, covarianceFloor=0.0
    ).fit(frame)
    # One component: the mean is the prior's own; the covariance that of the closed form.
    centred = rows - rows.mean(axis=0)
    assert_allclose(model.means[0], rows.mean(axis=0), atol=1e-9)
    expected = (centred.T @ centred + np.cov(rows.T)) / (50 + 4 + 4)
    assert_allclose(model.covariances[0], expected, rtol=1e-8)
    even = GaussianMixture(k=2, inputCols=["x", "y"], weightConcentration=1e6).fit(frame)
    assert_allclose(even.weights, 0.5, atol=1e-3)


@pytest.mark.long
def test_a_search_knows_categories_noise_and_labels(frame) -> None:
    search = GaussianMixtureSearch(
        k=[2, 3, 4],
        inputCols=["x", "y"],
        categoricalCols=["plan", "seats", "paid"],
        missing="marginalize",
        numInit=2,
    )
    model = search.fit(frame)
    assert model.summary.k == 3
    parameters = {c["k"]: c["numParameters"] for c in model.summary.candidates}
    assert parameters[3] == model.summary.numParameters
    alone = GaussianMixtureSearch(
        k=[1, 2], categoricalCols=["plan"], missing="skip", numInit=1
    ).fit(frame)
    assert {c["k"] for c in alone.summary.candidates} == {1, 2}
    assert alone.summary.k == 1  # one category cannot tell classes apart
    labelled = search.copy()._set(noise=True, labelCol="known", k=[3]).fit(frame)
    assert labelled.parameters.noise is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"categoricalCols": ["plan", "plan"]},
            "column .plan. is twice in categoricalCols; name it once",
        ),
        ({"categoricalCols": ["x"]}, "column .x. is in inputCols and in categoricalCols; name it"),
        ({"inputCols": None, "featuresCol": "f"}, "cannot stand beside featuresCol"),
        ({"maxCategories": 1}, "maxCategories is 1; it must be at least 2"),
        ({"categoryPrior": -1.0}, "categoryPrior is -1.0"),
        ({"categoryPrior": np.inf}, "categoryPrior is inf; it must be at least 0, and finite"),
        ({"weightConcentration": np.inf}, "weightConcentration is inf"),
        ({"priorShrinkage": np.inf}, "priorShrinkage is inf"),
        ({"outlierThreshold": np.nan}, "outlierThreshold is nan"),
        ({"contamination": 0.5}, "contamination is 0.5; it must be in"),
        ({"prior": "flat"}, "prior is 'flat'; it must be one of none, conjugate"),
        ({"weightConcentration": 0.5}, "weightConcentration is 0.5"),
        ({"priorShrinkage": 0.0}, "priorShrinkage is 0.0"),
    ],
)
def test_settings_that_are_none(frame, options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        mixture(**options).fit(frame)


@pytest.mark.parametrize("source", ["frame", "stored"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categoricalCols": ["city"]}, "there is no column 'city'"),
        ({"categoricalCols": ["w"]}, "column 'w' has type double; categories are text"),
        ({"categoricalCols": ["plan"], "missing": "error", "inputCols": None}, "column 'plan': "),
        ({"labelCol": "town"}, "label column 'town' has type string"),
    ],
)
def test_columns_that_are_none(request, source: str, options: dict, message: str) -> None:
    with pytest.raises(InputDataError, match=message):
        mixture(**options).fit(request.getfixturevalue(source))


def test_a_category_without_values_and_one_with_too_many(spark, frame, monkeypatch) -> None:
    empty = frame.withColumn("plan", F.lit(None).cast("string"))
    with pytest.raises(InputDataError, match="column 'plan': there is no value in any row"):
        mixture().fit(empty)
    many = spark.range(60_000).select(
        F.col("id").cast("double").alias("x"), F.col("id").cast("string").alias("name")
    )
    with pytest.raises(InputDataError, match="'name' has more than 50000 distinct values"):
        GaussianMixture(inputCols=["x"], categoricalCols=["name"]).fit(many)


@pytest.fixture(scope="module")
def calls(spark):
    """500 rows of two classes that a number and two counts tell apart; some are gone."""
    rng = np.random.default_rng(9)
    found = []
    for i in range(500):
        c = int(rng.integers(0, 2))
        gone = rng.random(2) < 0.1
        found.append(
            (
                i,
                float(rng.normal() + 2 * c),
                None if gone[0] else int(rng.poisson([1.0, 6.0][c])),
                None if gone[1] else float(rng.poisson([30.0, 12.0][c])),
                c,
            )
        )
    return table(spark, found, "id int, x double, calls int, minutes double, class int", 2)


class TestCounts:
    @staticmethod
    def mixture(**options) -> GaussianMixture:
        counts = ["calls", "minutes"]
        plain = {"k": 2, "inputCols": ["x"], "countCols": counts, "missing": "marginalize"}
        return GaussianMixture(**{**plain, **options})

    def test_are_fitted_scored_filled_and_saved(self, calls, tmp_path) -> None:
        calls.write.parquet(str(tmp_path / "rows"))
        model = self.mixture().fit(calls)
        other = self.mixture().fit(ParquetTable(str(tmp_path / "rows")))
        assert_allclose(other.rates, model.rates, atol=1e-6)
        assert_allclose(np.sort(model.rates, axis=0), [[1, 12], [6, 30]], rtol=0.1)
        assert model.summary.numParameters == 1 + 2 * 2 + 2 * 2
        rows = calls.orderBy("id").collect()
        block = np.array([[r[name] for name in ("x", "calls", "minutes")] for r in rows], float).T
        expected = mixed_log_likelihood(model.parameters, block)
        assert_allclose(model.summary.logLikelihood, expected, rtol=1e-10)
        model.save(str(tmp_path / "m"))
        loaded = GaussianMixtureModel.load(str(tmp_path / "m"))
        assert_array_equal(loaded.rates, model.rates)
        one, two = (m.transform(calls).orderBy("id").collect() for m in (model, loaded))
        assert one == two
        filled = model.impute(calls).orderBy("id").collect()
        for row, values in zip(filled, block.T, strict=True):
            joint = np.array(mixed_joint(model.parameters, values))
            share = joint / joint.sum()
            if np.isnan(values[1]):
                rates = model.rates[:, 0]
                mean = share @ rates
                assert_allclose(row["calls"], mean, rtol=1e-7)
                deviation = np.sqrt(share @ (rates + rates**2) - mean**2)
                assert_allclose(row["calls_sd"], deviation, rtol=1e-7)
            else:
                assert (row["calls"], row["calls_sd"]) == (values[1], 0.0)
        drawn = model.impute(calls.where("calls is null"), draws=300).select("calls").collect()
        assert all(r["calls"] % 1 == 0 for r in drawn)
        means = np.mean([r["calls"] for r in filled if r["calls_sd"] > 0])
        assert_allclose(np.mean([r["calls"] for r in drawn]), means, rtol=0.05)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("-1", "column 'calls': 7 of 500 rows hold no count .the first: -1.; counts are whole"),
            ("2.5D", "column 'calls': 7 of 500 rows hold no count .the first: 2.5."),
            ("'a'", "column 'calls' has type string, a number is needed"),
        ],
    )
    def test_that_are_none(self, calls, value: str, message: str) -> None:
        wrong = calls.withColumn("calls", F.expr(f"if(id < 7, {value}, null)"))
        wrong = wrong.withColumn("minutes", F.lit(1))
        with pytest.raises(InputDataError, match=message):
            self.mixture().fit(wrong)

    def test_below_zero_are_refused_when_scored(self, calls) -> None:
        model = self.mixture().fit(calls)
        with pytest.raises(Exception, match=r"column 'calls': 3 of 3 rows hold no count"):
            model.transform(calls.limit(3).withColumn("calls", F.lit(-2))).collect()
