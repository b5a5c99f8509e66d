"""Tables with columns that never reach Python: fitted, scored and filled as if these were not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import Matrices
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StringType, StructField, StructType

from gmm_spark import GaussianMixture, GaussianMixtureModel
from gmm_spark.engine.pandas_udfs import is_carried

ODD = {
    "calendar": "make_interval(1, 2, 0, 3)",
    "months": "make_ym_interval(1, cast(id as int))",
    "twins": "named_struct('a', id, 'a', id + 1)",
    "nothing": "null",
    "nested": "array(named_struct('m', make_interval(0, cast(id as int))))",
    "mapped": "map('k', make_ym_interval(1, 2))",
}


@pytest.fixture(scope="module")
def plain(spark) -> Any:
    """60 rows: numbers of several types with gaps, a category, a count, and vectors."""
    return spark.sql(
        """select id, id % 7 + 0.125D * (id % 3) as x,
        if(id % 9 = 2, null, cast(id % 5 as float)) as y,
        cast(id % 4 as decimal(9, 2)) as z,
        if(id % 8 = 3, null, cast(id % 3 as int)) as kind,
        if(id % 10 = 1, null, cast(id % 6 as int)) as calls, id % 2 = 0 as flag
        from range(0, 60, 1, 2)"""
    )


def with_odd(plain: Any) -> Any:
    return plain.select("*", *(F.expr(sql).alias(f"{n}.") for n, sql in ODD.items()))


def comparable(frame: Any) -> list[str]:
    """Rows with their odd columns as Spark itself writes them."""
    shown = [
        F.col(f"`{name}`").cast("string").alias(name) if name[:-1] in ODD else F.col(f"`{name}`")
        for name in frame.columns
        if name != "twins."
    ]
    return sorted(map(repr, frame.select(*shown).collect()))


@pytest.fixture(scope="module")
def model(plain) -> GaussianMixtureModel:
    found = GaussianMixture(
        k=2,
        inputCols=["x", "y", "z"],
        categoricalCols=["kind", "flag"],
        countCols=["calls"],
        missing="marginalize",
        numInit=1,
        maxIter=2,
        seed=1,
        contamination=0.1,
        logLikelihoodCol="density",
        uncertaintyCol="doubt",
    ).fit(with_odd(plain))
    assert found.summary.predictions.count() == 60
    return found


OUTPUTS = "id", "probability", "prediction", "density", "doubt", "outlier"


@pytest.mark.parametrize("missing", ["marginalize", "skip"])
def test_scores_are_the_same_to_the_bit(plain, model, missing) -> None:
    model = model.copy({model.missing: missing})
    odd = with_odd(plain)
    scored, expected = model.transform(odd), model.transform(plain)
    assert scored.columns == [*odd.columns, *OUTPUTS[1:]]
    assert [f.metadata for f in scored.select(*OUTPUTS).schema] == [
        f.metadata for f in expected.select(*OUTPUTS).schema
    ]
    assert sorted(scored.select(*OUTPUTS).collect()) == sorted(expected.select(*OUTPUTS).collect())
    assert comparable(scored.select(*(f"`{name}`" for name in odd.columns))) == comparable(odd)


def test_gaps_are_filled_the_same_to_the_bit(plain, model) -> None:
    odd = with_odd(plain)
    for draws in (0, 3):
        filled, expected = (model.impute(data, draws=draws) for data in (odd, plain))
        names = expected.columns
        assert filled.columns == [*odd.columns, *names[len(plain.columns) :]]
        assert [f.dataType for f in filled.select(*names).schema] == [
            f.dataType for f in expected.schema
        ]
        found = sorted(filled.select(*names).collect(), key=repr)
        assert found == sorted(expected.collect(), key=repr)


def test_vectors_and_arrays_are_scored_the_same_to_the_bit(spark, plain) -> None:
    given = GaussianMixtureModel.fromParameters(
        [0.5, 0.5], [[0.0, 1.0], [3.0, 2.0]], np.stack([np.eye(2), 2 * np.eye(2)])
    ).setMissing("marginalize")
    arrays = plain.select("id", F.array(F.col("x"), F.col("y").cast("double")).alias("features"))
    arrays = arrays.withColumn("features", F.when(F.col("id") != 5, F.col("features")))
    whole = plain.select("id", array_to_vector(F.array("x", F.col("z").cast("double"))).alias("v"))
    for data in (arrays, whole.withColumnRenamed("v", "features")):
        odd = data.withColumn("contract", F.expr("make_interval(1, 2)"))
        names = ["id", "probability", "prediction"]
        found, expected = (given.transform(d).select(names).collect() for d in (odd, data))
        assert sorted(found) == sorted(expected)


def test_a_worker_says_the_same(plain, model) -> None:
    model = model.copy({model.missing: "error"})
    said = []
    for data in (plain, with_odd(plain)):
        with pytest.raises(Exception, match="InputDataError") as caught:
            model.transform(data.coalesce(1)).collect()
        said.append([line for line in str(caught.value).splitlines() if line.strip()][-1])
    assert said[0] == said[1]
    assert said[0].startswith("gmm_spark.errors.InputDataError: ")


def test_a_stream_is_scored(spark, model, plain, tmp_path) -> None:
    plain.coalesce(1).write.parquet(str(tmp_path / "in"))
    stream = spark.readStream.schema(plain.schema).parquet(str(tmp_path / "in"))
    odd = stream.withColumn("contract", F.expr("make_ym_interval(1, 2)"))
    scored = model.transform(odd).drop("contract")
    query = scored.writeStream.format("memory").queryName("odd_scores").start()
    try:
        query.processAllAvailable()
        found = spark.table("odd_scores").select("id", "density").collect()
    finally:
        query.stop()
    whole = model.transform(plain.coalesce(1)).select("id", "density")
    assert sorted(found) == sorted(whole.collect())


def test_types_that_are_carried(spark) -> None:
    same = StructType([StructField("a", DoubleType()), StructField("a", StringType())])
    matrix = spark.createDataFrame([(Matrices.dense(1, 1, [1.0]),)], ["m"])
    assert not is_carried(same)
    assert not is_carried(matrix.schema["m"].dataType)
    carried = spark.sql(
        """select 1 a, 'b' b, binary('c') c, array(map('k', 1.5)) d,
        named_struct('x', date'2020-01-01') e,
        timestamp'2020-01-01' f, timestamp_ntz'2020-01-01' g, interval '1' day h"""
    )
    assert all(is_carried(field.dataType) for field in carried.schema)
    for sql in ODD.values():
        assert not is_carried(spark.sql(f"select {sql} as c from range(1)").schema["c"].dataType)
