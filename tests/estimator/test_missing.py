"""Tables with gaps through Spark: fitted and scored by what is known, and filled."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pyspark.sql import functions as F

from gmm_spark import (
    GaussianMixture,
    GaussianMixtureModel,
    GaussianMixtureSearch,
    ParquetTable,
)
from gmm_spark.errors import ConfigurationError, InputDataError
from tests.estimator.helpers import assert_same_model, table
from tests.mixture.reference import observed_log_likelihood

COLUMNS = ["x", "y", "z"]


@pytest.fixture(scope="module")
def block() -> np.ndarray:
    """900 rows of three columns in three groups, a fifth of the cells gone; one row wholly."""
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 3, 900)
    centres = np.array([[0.0, 0.0, 0.0], [8.0, 1.0, -4.0], [2.0, 9.0, 5.0]])
    mixing = np.array([[1.0, 0.5, 0.2], [0.0, 1.0, 0.6], [0.0, 0.0, 0.8]])
    rows = centres[labels] + rng.normal(size=(900, 3)) @ mixing
    rows[rng.random(rows.shape) < 0.2] = np.nan
    rows[17] = np.nan
    return np.ascontiguousarray(rows.T)


@pytest.fixture(scope="module")
def gappy(spark, block):
    """The rows as a DataFrame in three partitions; half of the gaps null, half NaN."""
    rows = [
        (i, *(None if np.isnan(v) and i % 2 else float(v) for v in row))
        for i, row in enumerate(block.T)
    ]
    return table(spark, rows, "id int, x double, y double, z double", 3)


@pytest.fixture(scope="module")
def fitted(gappy) -> GaussianMixtureModel:
    return mixture().fit(gappy)


def mixture(**options) -> GaussianMixture:
    return GaussianMixture(
        **{"k": 3, "inputCols": COLUMNS, "missing": "marginalize", "seed": 5, **options}
    )


def test_the_likelihood_is_that_of_what_is_known(fitted, block) -> None:
    summary = fitted.summary
    assert summary.converged
    assert (summary.numRows, summary.numSkipped) == (900, 0)
    assert summary.numGaps == dict(zip(COLUMNS, np.isnan(block).sum(axis=1), strict=True))
    expected = observed_log_likelihood(fitted.parameters, block)
    assert_allclose(summary.logLikelihood, expected, rtol=1e-10)
    assert_allclose(sorted(fitted.means[:, 0]), [0, 2, 8], atol=0.4)


@pytest.mark.parametrize("code", ["tied", "diag", "spherical"])
def test_so_it_is_for_other_structures(gappy, block, code) -> None:
    model = mixture(covarianceType=code).fit(gappy)
    expected = observed_log_likelihood(model.parameters, block)
    assert_allclose(model.summary.logLikelihood, expected, rtol=1e-10)


def test_a_parquet_table_gives_the_same_model(gappy, fitted, tmp_path) -> None:
    path = str(tmp_path / "t")
    gappy.write.parquet(path)
    assert_same_model(mixture().fit(ParquetTable(path)), fitted, rtol=1e-7, atol=1e-9)


def test_scores_are_those_the_fit_summed(gappy, fitted) -> None:
    scored = fitted.copy().setLogLikelihoodCol("density").transform(gappy)
    (total,) = scored.agg(F.sum("density")).first()
    assert_allclose(total, fitted.summary.logLikelihood, rtol=1e-10)
    (row,) = scored.where("id = 17").collect()
    assert_allclose(row["probability"].toArray(), fitted.weights)


def test_without_gaps_it_is_the_fit_of_complete_rows(frame) -> None:
    plain = GaussianMixture(k=3, inputCols=["x", "y"], seed=1).fit(frame)
    marginalised = GaussianMixture(k=3, inputCols=["x", "y"], seed=1, missing="marginalize").fit(
        frame
    )
    assert_same_model(marginalised, plain, rtol=1e-12)
    assert marginalised.summary.numGaps == {}


def test_starts_from_labels_and_weights_take_gaps(spark, block) -> None:
    """Twice the weight is every row twice, gaps included; labels start where the groups are."""
    labels = np.nan_to_num(block[0] + block[1], nan=0.0) > 5
    rows = [
        (*map(float, row), 2.0, float(label)) for row, label in zip(block.T, labels, strict=True)
    ]
    data = table(spark, rows, [*COLUMNS, "w", "label"], 2)
    twice = data.union(data)
    options = {"k": 2, "initialLabelCol": "label"}
    weighted = mixture(weightCol="w", **options).fit(data)
    doubled = mixture(**options).fit(twice)
    assert_allclose(weighted.summary.logLikelihood, doubled.summary.logLikelihood, rtol=1e-7)
    assert_allclose(weighted.means, doubled.means, rtol=1e-3)


def test_a_search_takes_gaps(gappy, fitted) -> None:
    search = GaussianMixtureSearch(k=[1, 2, 3, 4], inputCols=COLUMNS, missing="marginalize", seed=5)
    best = search.fit(gappy)
    assert best.summary.k == 3
    assert_allclose(best.summary.logLikelihood, fitted.summary.logLikelihood, rtol=1e-6)


def test_a_column_without_any_value_is_an_error(spark, block) -> None:
    rows = [(*map(float, row[:2]), None) for row in block.T[:50]]
    data = table(spark, rows, "x double, y double, z double")
    with pytest.raises(InputDataError, match="column 'z': all 50 rows have a gap there; leave"):
        mixture().fit(data)


def test_a_gap_in_a_weight_is_an_error(spark, block) -> None:
    rows = [(*map(float, row), None if i == 3 else 1.0) for i, row in enumerate(block.T[:50])]
    data = table(spark, rows, "x double, y double, z double, w double")
    with pytest.raises(InputDataError, match="column 'w': 1 null in 50 rows; every row needs"):
        mixture(weightCol="w").fit(data)


def test_missing_is_kept_on_save(fitted, gappy, tmp_path) -> None:
    path = str(tmp_path / "m")
    fitted.save(path)
    loaded = GaussianMixtureModel.load(path)
    assert loaded.getMissing() == "marginalize"
    assert loaded.summary.numGaps == fitted.summary.numGaps
    assert loaded.transform(gappy).count() == 900


class TestImpute:
    def test_gaps_are_filled_and_what_is_known_stays(self, gappy, fitted, block) -> None:
        filled = fitted.impute(gappy).orderBy("id")
        assert filled.columns == ["id", *COLUMNS, "x_sd", "y_sd", "z_sd"]
        found = np.array([[row[name] for name in COLUMNS] for row in filled.collect()]).T
        known = ~np.isnan(block)
        assert_allclose(found[known], block[known], rtol=0)
        assert np.isfinite(found).all()
        deviations = np.array(
            [[row[f"{name}_sd"] for name in COLUMNS] for row in filled.collect()]
        ).T
        assert ((deviations == 0) == known).all()
        # Nothing is known of row 17: it is filled by the mean of the mixture.
        assert_allclose(found[:, 17], np.array(fitted.weights) @ fitted.means, rtol=1e-9)

    def test_draws_are_numbered_copies(self, gappy, fitted, block) -> None:
        drawn = fitted.impute(gappy, draws=3, seed=2)
        assert drawn.columns == ["id", *COLUMNS, "imputation"]
        assert drawn.groupBy("imputation").count().orderBy("imputation").collect() == [
            (0, 900),
            (1, 900),
            (2, 900),
        ]
        again = fitted.impute(gappy, draws=3, seed=2)
        key = ["id", "imputation"]
        assert drawn.orderBy(key).collect() == again.orderBy(key).collect()
        gap = int(np.flatnonzero(np.isnan(block[0]))[0])
        values = {row["x"] for row in drawn.where(F.col("id") == gap).collect()}
        assert len(values) == 3

    def test_a_parquet_table_and_the_other_columns(self, gappy, fitted, tmp_path) -> None:
        path = str(tmp_path / "t")
        gappy.withColumn("name", F.lit("a")).write.parquet(path)
        filled = fitted.impute(ParquetTable(path))
        assert filled.where("x is null or isnan(x)").count() == 0
        assert filled.select("name").distinct().collect() == [("a",)]

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [
            (lambda data: data, {"draws": -1}, "^draws is -1; it must be a whole number, at"),
            (lambda data: data, {"draws": 1.5}, "^draws is 1.5; it must be a whole number, at"),
            (lambda data: data, {"draws": 1, "seed": -1}, "^seed is -1; it must be a whole"),
            (lambda data: data, {"seed": "a"}, "^seed is 'a'; it must be a whole number"),
            (lambda data: data.withColumn("y_sd", F.lit(1)), {}, "^output column y_sd exists"),
            (
                lambda data: data.withColumn("imputation", F.lit(1)),
                {"draws": 2},
                "^output column imputation exists",
            ),
            (
                lambda data: data.withColumn("Y_SD", F.lit(1)),
                {},
                r"^output column y_sd \(as Y_SD\) exists",
            ),
        ],
    )
    def test_what_cannot_be_asked_for(self, gappy, fitted, change, options, message) -> None:
        with pytest.raises(ConfigurationError, match=message):
            fitted.impute(change(gappy), **options)

    def test_columns_that_are_not_there_and_models_without_names(self, gappy, fitted) -> None:
        with pytest.raises(InputDataError, match="no column 'z'"):
            fitted.impute(gappy.drop("z"))
        nameless = GaussianMixtureModel.fromParameters(
            fitted.weights, fitted.means, fitted.covariances
        )
        with pytest.raises(ConfigurationError, match="fit with inputCols"):
            nameless.impute(gappy)

    def test_infinities_are_named(self, spark, fitted) -> None:
        data = table(spark, [(1.0, float("inf"), None)], "x double, y double, z double")
        with pytest.raises(Exception, match=r"column .y.: 1 of 1 rows are infinite"):
            fitted.impute(data).collect()
