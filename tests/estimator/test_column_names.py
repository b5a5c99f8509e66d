"""Two columns of one name, one column in two roles: an error that names it, or the right one."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal
from pyspark.sql import functions as F

from gmm_spark import GaussianMixture, GaussianMixtureModel, ParquetTable
from gmm_spark.errors import ConfigurationError, InputDataError
from tests.estimator.helpers import table

NAMES = ("x", "plan", "visits", "w", "known", "start")


@pytest.fixture(scope="module")
def rows(spark, groups):
    """A column for every role; `start` and `known` are the half of x."""
    plain = [
        (x, "ab"[x > 3], int(abs(y)), 1.0 + i % 3, int(x > 3) if i % 5 else None, int(x > 3), 0.5)
        for i, (x, y) in enumerate(groups.tolist())
    ]
    schema = "x double, plan string, visits int, w double, known int, start int, free double"
    return table(spark, plain, schema, 2)


def mixture(**params) -> GaussianMixture:
    given = {"k": 2, "inputCols": ["x"], "numInit": 1, "maxIter": 3, "seed": 1, **params}
    return GaussianMixture(**given)


ALL = {
    "categoricalCols": ["plan"],
    "countCols": ["visits"],
    "weightCol": "w",
    "labelCol": "known",
    "initialLabelCol": "start",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_refuses_a_column_that_is_there_twice(rows, name) -> None:
    doubled = rows.select("*", F.col(name).alias(name))
    with pytest.raises(InputDataError, match=rf"column '{name}' is there 2 times .*rename") as e:
        mixture(**ALL).fit(doubled)
    assert "\n" not in str(e.value)
    other = rows.withColumnRenamed("free", name.upper())
    with pytest.raises(InputDataError, match=rf"'{name}' and '{name.upper()}' of .* one name"):
        mixture(**ALL).fit(other)


@pytest.fixture(scope="module")
def model(rows) -> GaussianMixtureModel:
    return mixture(categoricalCols=["plan"], countCols=["visits"]).fit(rows)


@pytest.mark.parametrize("name", ["x", "plan", "visits"])
def test_scoring_and_imputing_refuse_it_too(rows, model, name) -> None:
    for doubled in (
        rows.select("*", F.col(name).alias(name)),
        rows.select(F.col(name).alias(name.upper()), "*"),
    ):
        for act in (model.transform, model.impute):
            with pytest.raises(InputDataError, match=name):
                act(doubled)


def test_a_column_of_vectors_that_is_there_twice(spark) -> None:
    frame = spark.createDataFrame(
        [([1.0, 2.0], 1), ([2.0, 1.0], 2)], "features array<double>, i int"
    )
    doubled = frame.select("features", F.reverse("features").alias("features"))
    with pytest.raises(InputDataError, match="'features' is there 2 times"):
        GaussianMixture(k=1).fit(doubled)
    model = GaussianMixtureModel.fromParameters([1.0], [[0.0, 0.0]], [[[1.0, 0.0], [0.0, 1.0]]])
    with pytest.raises(InputDataError, match="'features' is there 2 times"):
        model.transform(doubled)


def test_names_that_the_model_does_not_read_pass_through(rows, model) -> None:
    doubled = rows.select("*", (F.col("free") * 2).alias("free"), F.col("w").alias("FREE"))
    expected = model.transform(rows).select("x", "prediction").collect()
    scored = model.transform(doubled)
    assert scored.columns[: len(doubled.columns)] == doubled.columns
    found = scored.toDF(*map(str, range(len(scored.columns)))).collect()
    place = scored.columns.index("prediction")
    assert [(row[0], row[place]) for row in found] == [tuple(row) for row in expected]
    assert all(2 * row[6] == row[7] for row in found)
    filled = model.impute(doubled)
    assert filled.columns[: len(doubled.columns)] == doubled.columns
    assert [row[7] for row in filled.collect()] == 300 * [1.0]


def test_where_spark_tells_cases_apart_they_are_two_names(spark, rows, model) -> None:
    other = rows.withColumnRenamed("free", "X")
    expected = [row.prediction for row in model.transform(rows).collect()]
    spark.conf.set("spark.sql.caseSensitive", "true")
    try:
        assert [row.prediction for row in model.transform(other).collect()] == expected
    finally:
        spark.conf.unset("spark.sql.caseSensitive")


@pytest.fixture(scope="module")
def path(rows, tmp_path_factory) -> str:
    where = str(tmp_path_factory.mktemp("roles") / "table")
    rows.write.parquet(where)
    return where


SENSIBLE = {
    "its own weight": {"weightCol": "x_", "inputCols": ["x_", "x"]},
    "a count that weighs": {"weightCol": "visits_", "countCols": ["visits_"]},
    "a start that is a category": {"categoricalCols": ["start"], "initialLabelCol": "start"},
    "known labels that start": {"labelCol": "start", "initialLabelCol": "start"},
}


@pytest.mark.parametrize("case", SENSIBLE)
@pytest.mark.parametrize("source", ["frame", "table"])
def test_a_column_in_two_roles_is_that_column_in_both(spark, rows, tmp_path, case, source) -> None:
    """The fit is that of a copy of the column under another name."""
    params = SENSIBLE[case]
    data = rows.withColumns({"x_": 20 + F.abs("x"), "visits_": F.col("visits") + 1})
    name = params.get("weightCol") or params["initialLabelCol"]
    copied = data.withColumn("copy", F.col(name))
    role = "weightCol" if "weightCol" in params else "initialLabelCol"
    expected = mixture(**{**params, role: "copy"}).fit(copied)
    if source == "table":
        data.write.parquet(str(tmp_path / "t"))
        data = ParquetTable(tmp_path / "t")
    found = mixture(**params).fit(data)
    assert found.summary.weightSum == expected.summary.weightSum
    assert found.summary.logLikelihood == pytest.approx(expected.summary.logLikelihood, rel=1e-12)
    assert abs(found.means - expected.means).max() < 1e-9


SENSELESS = {
    "label and input": ({"labelCol": "x"}, "column 'x' is labelCol and in inputCols"),
    "label and category": (
        {"labelCol": "known", "categoricalCols": ["known"]},
        "column 'known' is labelCol and in categoricalCols",
    ),
    "label and count": (
        {"labelCol": "known", "countCols": ["known"]},
        "column 'known' is labelCol and in countCols",
    ),
    "label and features": (
        {"inputCols": None, "featuresCol": "f", "labelCol": "f"},
        "column 'f' is labelCol and in featuresCol",
    ),
    "label and weight": ({"labelCol": "w", "weightCol": "w"}, "'w' is labelCol and weightCol"),
    "start and weight": (
        {"initialLabelCol": "w", "weightCol": "w"},
        "'w' is initialLabelCol and weightCol",
    ),
    "input and count": ({"countCols": ["x"]}, "column 'x' is in inputCols and in countCols"),
}


@pytest.mark.parametrize("case", SENSELESS)
def test_roles_that_do_not_go_together_are_named(rows, case) -> None:
    params, expected = SENSELESS[case]
    with pytest.raises(ConfigurationError, match=expected):
        mixture(**params).fit(rows)


def test_a_file_with_two_columns_of_one_name(spark, tmp_path) -> None:
    columns = [pa.array([1.0, 2.0, 4.0]), pa.array([5.0, 6.0, 8.0]), pa.array([7.0, 7.5, 9.0])]
    pq.write_table(pa.table(columns, names=["a", "b", "b"]), tmp_path / "t.parquet")
    with pytest.raises(InputDataError, match=r"'b' is there 2 times in .*t\.parquet"):
        GaussianMixture(k=1, inputCols=["a", "b"]).fit(ParquetTable(tmp_path / "t.parquet"))
    with pytest.raises(InputDataError, match="'b' is there 2 times"):
        GaussianMixture(k=1, inputCols=["a"], weightCol="b").fit(
            ParquetTable(tmp_path / "t.parquet")
        )
    alone = GaussianMixture(k=1, inputCols=["a"]).fit(ParquetTable(tmp_path / "t.parquet"))
    assert_array_equal(alone.means, [[7 / 3]])
    with pytest.raises(ConfigurationError, match="'a' is named twice"):
        alone.transform(ParquetTable(tmp_path / "t.parquet", columns=("a", "a")))
