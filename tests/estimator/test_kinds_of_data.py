"""Data of another kind, a model of MLlib's as a start, and names that are nearly right."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.ml.evaluation import ClusteringEvaluator
from pyspark.ml.tuning import CrossValidator

from gmm_spark import GaussianMixture, GaussianMixtureModel, GaussianMixtureSearch, ParquetTable
from gmm_spark.engine.inputs import kind_of, no_column
from gmm_spark.errors import ConfigurationError, InputDataError

CREATE = "use spark.createDataFrame(...)"
PANDAS = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]})


class FromElsewhere:
    """As a type of a package that is not installed here."""


OTHERS: dict[str, tuple[Any, str]] = {
    "pandas": (PANDAS, f"a pandas DataFrame: {CREATE}"),
    "a pandas column": (PANDAS["x"], f"a pandas Series: {CREATE}"),
    "numpy": (np.zeros((2, 2)), f"a numpy ndarray: {CREATE}"),
    "pyarrow": (pa.table({"x": [1.0]}), f"a pyarrow Table: {CREATE}"),
    "a list": ([(1.0, 2.0)], f"a list: {CREATE}"),
    "a dictionary": ({"x": [1.0]}, f"a dict: {CREATE}"),
    "nothing": (None, "None"),
    "text": ("lake/customers", "a path: use ParquetTable('lake/customers'), or spark.read"),
    "a path": (Path("lake"), "a path: use ParquetTable('lake'), or spark.read"),
    "a long text": ("x" * 1000, "a text"),
    "a class": (ParquetTable, "a type"),
    "a number": (0.5, "a float"),
    "an estimator": (GaussianMixture(), "a gmm_spark GaussianMixture"),
}


def refusal(call: Any, data: Any) -> str:
    with pytest.raises(InputDataError) as caught:
        call(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", OTHERS)
def test_data_of_another_kind_are_one_line_wherever_data_are_taken(kind) -> None:
    data, expected = OTHERS[kind]
    model = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]], inputCols=["x"])
    estimator = GaussianMixture(k=1, inputCols=["x"])
    calls = {
        "fit": (
            estimator.fit,
            GaussianMixtureSearch(k=[1]).fit,
            lambda given: estimator.fit(given, {estimator.k: 2}),
            lambda given: estimator.fit(given, [{estimator.k: 1}, {estimator.k: 2}]),
        ),
        "transform": (model.transform, lambda given: model.transform(given, {model.k: 1})),
        "check": (estimator.check,),
        "impute": (model.impute, lambda given: model.impute(given, draws=2)),
    }
    for name, several in calls.items():
        for call in several:
            said = refusal(call, data)
            assert said == f"{name} takes a Spark DataFrame or a ParquetTable; this is {expected}"


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("pyspark.pandas.frame", "DataFrame", "a pandas-on-Spark DataFrame: use its to_spark()"),
        ("pyspark.core.rdd", "RDD", f"a pyspark RDD: {CREATE}"),
        ("pyspark.rdd", "PipelinedRDD", f"a pyspark PipelinedRDD: {CREATE}"),
        (
            "polars.dataframe.frame",
            "DataFrame",
            "a polars DataFrame: use spark.createDataFrame(...) of its to_pandas()",
        ),
        ("pyspark.sql.readwriter", "DataFrameReader", "a pyspark DataFrameReader"),
        ("dask_expr", "DataFrame", "a dask_expr DataFrame"),
    ],
)
def test_kinds_by_the_module_of_their_type(module, name, expected) -> None:
    kind = type(name, (FromElsewhere,), {"__module__": module})
    assert kind_of(kind()) == expected


def test_kinds_that_a_session_makes(spark, frame) -> None:
    """pandas-on-Spark, an RDD, a table to read that was not read, a stream to fit."""
    estimator = GaussianMixture(k=1, inputCols=["x", "y"])
    from pyspark import pandas

    # Spark 4.0 makes none otherwise, where SQL is ANSI's.
    with pandas.option_context("compute.fail_on_ansi_mode", False):
        assert refusal(estimator.fit, frame.pandas_api()).endswith("use its to_spark()")
    assert refusal(estimator.fit, frame.rdd).endswith(f"RDD: {CREATE}")
    assert refusal(estimator.fit, spark.read).endswith("a pyspark DataFrameReader")
    stream = spark.readStream.format("rate").load()
    said = refusal(estimator.fit, stream)
    assert said.startswith("fit takes data that are all there; this DataFrame is a stream")


def test_the_nearest_name_is_said() -> None:
    known = ["customer_id", "tenure", "Monthly_Charges"]
    listed = "; it has: customer_id, tenure, Monthly_Charges"
    for name, near in (
        ("tenur", ", did you mean 'tenure'?"),
        ("TENURE", ", did you mean 'tenure'?"),
        ("monthly_charge", ", did you mean 'Monthly_Charges'?"),
        ("zzz", ""),
    ):
        said = str(no_column(name, known))
        assert said == f"there is no column {name!r} in the data{near}{listed}"
    assert str(no_column("x", [])) == "there is no column 'x' in the data; it has: none"


def test_of_many_names_some_are_listed() -> None:
    said = str(no_column("c3", [f"column_{i}" for i in range(1000)], "lake/customers"))
    assert said.startswith("there is no column 'c3' in lake/customers; it has: column_0, ")
    assert said.endswith("column_19 and 980 more")


ROLES = ("inputCols", "weightCol", "labelCol", "initialLabelCol", "categoricalCols", "countCols")


@pytest.mark.parametrize("source", ["dataframe", "parquet"])
def test_a_name_nearly_right_in_every_role(spark, frame, tmp_path, source) -> None:
    renamed = frame.toDF("tenure", "spend")
    data: Any = renamed
    if source == "parquet":
        renamed.write.parquet(str(tmp_path / "t"))
        data = ParquetTable(str(tmp_path / "t"))
    for role in ROLES:
        given = ["tenur"] if role.endswith("Cols") else "tenur"
        params = {"inputCols": ["spend"], role: given}
        said = refusal(GaussianMixture(k=1, **params).fit, data)
        assert said.startswith("there is no column 'tenur' in ")
        assert said.endswith(", did you mean 'tenure'?; it has: tenure, spend")
    model = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]], inputCols=["Tenure"])
    for call in (model.transform, model.impute):
        assert ", did you mean 'tenure'?; it has" in refusal(call, data)


@pytest.mark.parametrize("source", ["dataframe", "parquet"])
def test_neither_input_columns_nor_a_vector(spark, frame, tmp_path, source) -> None:
    data: Any = frame
    if source == "parquet":
        frame.write.parquet(str(tmp_path / "t"))
        data = ParquetTable(str(tmp_path / "t"))
    model = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]])
    for call in (GaussianMixture(k=1).fit, GaussianMixtureSearch(k=[1]).fit, model.transform):
        assert refusal(call, data) == (
            "there is no column 'features' in the data; set inputCols to the numeric columns, or "
            "featuresCol to a column of vectors; it has: x, y"
        )
    said = refusal(GaussianMixture(k=1, featuresCol="xx").fit, data)
    assert said.startswith("there is no column 'xx' in the data, did you mean 'x'?; set inputCols")


def test_a_table_is_of_a_path_and_no_dataframe(spark) -> None:
    frame = spark.range(3)
    with pytest.raises(ConfigurationError, match=r"takes the path .* a DataFrame itself to fit"):
        ParquetTable(frame)
    with pytest.raises(ConfigurationError, match=r"columns is 'age'; .* list of names: \['age'\]"):
        ParquetTable("lake", columns="age")
    validator = CrossValidator(estimator=GaussianMixture(), estimatorParamMaps=[{}])
    validator.setEvaluator(ClusteringEvaluator())
    with pytest.raises(AttributeError, match=r"no DataFrame: .* spark.read.parquet\(path\)$"):
        validator.fit(ParquetTable("lake"))
    assert not hasattr(ParquetTable("lake"), "nothing_of_the_kind")
    given = ParquetTable("lake", filters=[("x", ">", 1)])
    assert pickle.loads(pickle.dumps(given)) == copy.deepcopy(given) == given
