"""`model.outcomes`: rates by segment over tables, equal to those of the mathematics."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import functions as F

from gmm_spark import GaussianMixture, GaussianMixtureModel, ParquetTable
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.mixture.outcomes import OutcomeRows, OutcomeSums, Uncertainty

RATES = np.array([0.1, 0.4, 0.7])
MEANS = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 1.9]])
WEIGHTS = [0.5, 0.3, 0.2]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    component = rng.choice(3, 3000, p=WEIGHTS)
    x = MEANS[component] + rng.normal(size=(3000, 2))
    left = rng.random(3000) < RATES[component]
    table = pd.DataFrame({"id": np.arange(3000), "x": x[:, 0], "y": x[:, 1], "left": left})
    table["maybe"] = np.where(table["id"] % 5 == 0, np.nan, left.astype(float))
    table["spent"] = 10.0 * component + rng.normal(size=3000)
    table["w"] = 1.0 + table["id"] % 3
    return table


@pytest.fixture(scope="module")
def table(rows, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("outcomes") / "table"
    path.mkdir()
    for part in range(2):
        rows[part::2].to_parquet(path / f"{part}.parquet", row_group_size=500, index=False)
    return str(path)


@pytest.fixture(scope="module")
def model(spark, table) -> GaussianMixtureModel:
    mixture = GaussianMixture(
        k=3, inputCols=["x", "y"], covarianceType="tied", numInit=1, weightCol="w", seed=1
    )
    return mixture.fit(ParquetTable(table))


def as_frame(found) -> pd.DataFrame:
    return pd.DataFrame([row.asDict() for row in found.collect()])


@pytest.mark.parametrize("assignment", ["soft", "modal"])
def test_figures_are_those_of_the_mathematics(spark, table, model, rows, assignment) -> None:
    names = ["left", "maybe", "spent"]
    found = as_frame(model.outcomes(ParquetTable(table), names, assignment=assignment))
    assert list(zip(found["outcome"], found["segment"], strict=True)) == [
        (name, segment) for name in names for segment in range(3)
    ]
    scored = model.transform(spark.read.parquet(table)).select("id", "probability", "prediction")
    scored = scored.toPandas().sort_values("id")
    r = np.array([vector.toArray() for vector in scored["probability"]]).T
    block = rows[["x", "y"]].to_numpy().T
    for name in names:
        values = rows[name].to_numpy(float)
        known = ~np.isnan(values)
        y, w = values[known], rows["w"].to_numpy()[known]
        sums = OutcomeSums.of(r[:, known], y, w)
        sample = OutcomeRows(block[:, known], r[:, known], y, w)
        weight = float(rows["w"].sum())
        uncertainty = Uncertainty(sums, sample, model.parameters, weight, assignment)
        rate = name != "spent"
        expected = uncertainty.of_three_step_ml() if rate else uncertainty.of_bch()
        plain = uncertainty.of_posterior_weighted()
        own = found[found["outcome"] == name].reset_index()
        assert set(own["estimate"]) == {"three-step ML" if rate else "BCH"}
        assert set(own["kind"]) == {"rate" if rate else "mean"}
        assert set(own["missing"]) == {3000 - known.sum()}
        for column, figures in {
            "value": expected.values, "standard_error": expected.standard_errors,
            "low": expected.low, "high": expected.high, "posterior": plain.values,
            "posterior_low": plain.low, "posterior_high": plain.high,
            "lift": expected.values / np.average(y, weights=w),
            "share": r[:, known] @ w / w.sum(),
        }.items():  # fmt: skip
            assert_allclose(own[column], figures, rtol=1e-8, err_msg=column)
        # What is not corrected, by pandas.
        predicted = scored["prediction"].to_numpy()[known]
        parts = pd.DataFrame({"wy": w * y, "w": w, "segment": predicted}).groupby("segment")
        assert_allclose(own["raw"], parts["wy"].sum() / parts["w"].sum())
        assert own["rows"].tolist() == parts.size().tolist()


def test_the_rates_that_the_rows_were_drawn_with(table, model, rows) -> None:
    found = as_frame(model.outcomes(ParquetTable(table), "left"))
    order = [int(np.abs(MEANS - mean).sum(axis=1).argmin()) for mean in model.means]
    drawn = RATES[order]
    assert (np.abs(found["value"] - drawn) < 3.5 * found["standard_error"]).all()
    assert np.abs(found["posterior"] - drawn).max() > 0.1
    assert (found["low"] >= 0).all()
    assert (found["high"] <= 1).all()


def test_a_frame_and_partitions_change_nothing(spark, table, model, rows) -> None:
    names = ["left", "spent"]
    one = as_frame(model.outcomes(ParquetTable(table), names))
    frame = spark.createDataFrame(rows).repartition(3)
    other = as_frame(model.outcomes(frame, names))
    pd.testing.assert_frame_equal(one, other, rtol=1e-9)
    vectors = VectorAssembler(inputCols=["x", "y"], outputCol="features").transform(frame)
    # What Arrow cannot carry is not read.
    vectors = vectors.selectExpr("*", "make_interval(0, 0, 0, 1) as interval")
    of_vectors = GaussianMixtureModel.fromParameters(
        model.weights, model.means, model.parameters.covariances, covarianceType="tied"
    )
    columns = GaussianMixtureModel.fromParameters(
        model.weights,
        model.means,
        model.parameters.covariances,
        covarianceType="tied",
        inputCols=["x", "y"],
    )
    plain = as_frame(columns.outcomes(ParquetTable(table), names))
    pd.testing.assert_frame_equal(plain, as_frame(of_vectors.outcomes(vectors, names)), rtol=1e-9)
    assert (plain["standard_error"] < one["standard_error"]).any()  # taken as known


def test_an_outcome_that_is_rarely_known_has_a_sample_of_its_own(spark, monkeypatch) -> None:
    monkeypatch.setattr("gmm_spark.engine.outcomes.SAMPLE_ROWS", 1200)
    given = GaussianMixtureModel.fromParameters(
        WEIGHTS, MEANS, [np.eye(2)] * 3, inputCols=["x", "y"]
    )
    rows = given.sample(9000, seed=4).withColumn("all", F.col("x") + F.rand(2) > 1)
    rows = rows.withColumn("some", F.when(F.rand(3) < 0.03, F.col("all")))
    both = as_frame(given.outcomes(rows, ["all", "some"])).iloc[3:].reset_index(drop=True)
    alone = as_frame(given.outcomes(rows, "some"))
    pd.testing.assert_frame_equal(both, alone)
    assert alone["standard_error"].notna().all()


def test_noise_and_merged_components_and_gaps(spark) -> None:
    rng = np.random.default_rng(2)
    means = np.array([0.0, 1.5, 8.0, 30.0])
    component = rng.choice(4, 4000, p=[0.3, 0.3, 0.35, 0.05])
    x = means[component] + rng.normal(size=4000) * np.array([1, 1, 1, 20.0])[component]
    left = rng.random(4000) < np.array([0.2, 0.2, 0.6, 0.9])[component]
    table = pd.DataFrame({"x": x, "left": left.astype(int)})
    table.loc[::100, "x"] = np.nan
    frame = spark.createDataFrame(table)
    given = GaussianMixtureModel.fromParameters(
        [0.3, 0.3, 0.35], [[0.0], [1.5], [8.0]], np.ones((3, 1, 1)), inputCols=["x"],
        noiseWeight=0.05, noiseBox={"x": (-30.0, 90.0)},
    )  # fmt: skip
    merged = given.mergeComponents(None, 2, by="bhattacharyya")
    merged.setMissing("skip")
    found = as_frame(merged.outcomes(frame, "left"))
    assert found["segment"].tolist() == [0, 1, -1]
    assert_allclose(found["share"], [0.6, 0.35, 0.05], atol=0.03)
    assert (np.abs(found["value"] - [0.2, 0.6, 0.9]) < 4 * found["standard_error"]).all()
    assert found["rows"].sum() == 3960
    with pytest.raises(InputDataError, match="gap"):
        merged.setMissing("error").outcomes(frame, "left")
    merged.setMissing("marginalize")
    assert as_frame(merged.outcomes(frame, "left"))["rows"].sum() == 4000


def test_segments_that_are_one(spark, rows, caplog) -> None:
    twice = GaussianMixtureModel.fromParameters(
        [0.5, 0.5], np.zeros((2, 2)), [np.eye(2)] * 2, inputCols=["x", "y"]
    )
    found = as_frame(twice.outcomes(spark.createDataFrame(rows), "left"))
    assert set(found["estimate"]) == {"posterior weights"}
    assert_allclose(found["value"], rows["left"].mean())
    assert "cannot be told apart" in caplog.text


def test_a_rate_of_nothing(spark, rows) -> None:
    """BCH is beyond 0; what is shown is not, and it is said."""
    frame = spark.createDataFrame(rows.assign(none=(rows["x"] > 2) & rows["left"]))
    given = GaussianMixtureModel.fromParameters(
        WEIGHTS, MEANS, [np.eye(2)] * 3, inputCols=["x", "y"]
    )
    found = as_frame(given.outcomes(frame, "none"))
    first = found.iloc[0]
    assert (first["value"], first["low"]) == (0.0, 0.0)
    assert first["estimate"] == "three-step ML; BCH is under 0"
    assert 0 < first["high"] < 0.2
    assert first["lift"] == 0.0


def test_bad_input(spark, table, model, rows) -> None:
    frame = spark.createDataFrame(rows).withColumn("text", F.lit("yes"))
    frame = frame.withColumn("one", F.lit(True)).withColumn("empty", F.lit(None))
    frame = frame.withColumn("huge", F.when(F.col("id") == 7, float("inf")).otherwise(1.0))
    frame = frame.withColumn("minus", F.lit(-1.0))
    for name, said in {
        "x": "outcome 'x' is a column of the model",
        "text": "outcome 'text' has type string; an outcome is a boolean or a number",
        "lft": "no column 'lft' in the data, did you mean 'left'",
        "one": "outcome 'one': all 3,000 rows with a value have 1;",
        "empty": "outcome 'empty': none of 3,000 rows has a value",
        "huge": "outcome 'huge': 1 of .* rows are infinite",
    }.items():
        error = ConfigurationError if name == "x" else InputDataError
        with pytest.raises(error, match=said):
            model.outcomes(frame, name)
    parquet = ParquetTable(table)
    for columns, said in {
        (): "expected the name of a column",
        ("left", "left"): "'left' is named twice",
    }.items():
        with pytest.raises(ConfigurationError, match=said):
            model.outcomes(parquet, list(columns))
    with pytest.raises(ConfigurationError, match="assignment is 'hard'; use soft or modal"):
        model.outcomes(parquet, "left", assignment="hard")
    with pytest.raises(InputDataError, match="no column 'lft'"):
        model.outcomes(parquet, "lft")
    with pytest.raises(InputDataError, match="outcomes takes a Spark DataFrame"):
        model.outcomes(rows, "left")
    with pytest.raises(InputDataError, match="no column 'w'"):
        model.outcomes(frame.drop("w"), "left")
    negative = model.copy({model.weightCol: "minus"})
    with pytest.raises(InputDataError, match=r"weight column 'minus'.* hold no weight"):
        negative.outcomes(frame, "left")
