"""What must not change a fit: partitions, files, copies of rows, units, a second run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F

from gmm_spark import GaussianMixture, ParquetTable
from gmm_spark.engine import cluster, jobs
from tests.estimator.helpers import assert_same_model, table, vectors

XY = ["x", "y"]


def mixture(**params: Any) -> GaussianMixture:
    """Started from 150 of the rows, so that the best start is not the end already."""
    settings = {"k": 3, "inputCols": XY, "seed": 1, "sampleSize": 150, **params}
    return GaussianMixture(**settings)


@pytest.fixture(scope="module")
def blurred() -> np.ndarray:
    """600 rows in three groups that touch: EM has some way to go."""
    rng = np.random.default_rng(4)
    centres = np.repeat([[0.0, 0.0], [4.0, 1.0], [1.0, 5.0]], [300, 180, 120], axis=0)
    return rng.permutation(centres + rng.normal(size=(600, 2)))


@pytest.fixture(scope="module")
def reference(spark, blurred) -> Any:
    fitted = mixture().fit(table(spark, blurred, XY))
    assert fitted.summary.converged
    assert fitted.summary.numPasses > 4
    return fitted


@pytest.mark.parametrize("partitions", [3, pytest.param(17, marks=pytest.mark.long)])
def test_partitions_do_not_matter(spark, blurred, reference, partitions) -> None:
    frame = table(spark, blurred, XY, partitions)
    assert frame.rdd.getNumPartitions() == partitions
    assert_same_model(mixture().fit(frame), reference)


def test_the_order_of_rows_does_not_matter(spark, blurred, reference) -> None:
    assert_same_model(mixture().fit(table(spark, blurred[::-1], XY, 2)), reference)


def test_empty_partitions_do_not_matter(spark, blurred, reference) -> None:
    frame = table(spark, blurred, XY, 2)
    empty = table(spark, blurred[:0], XY, 3)
    assert_same_model(mixture().fit(empty.union(frame).union(empty)), reference)


@pytest.mark.long
def test_the_same_partitions_twice_give_the_same_bits(spark, blurred) -> None:
    first, second = (mixture().fit(table(spark, blurred, XY, 5)) for _ in range(2))
    for name in ("weights", "means", "covariances"):
        assert_array_equal(getattr(first, name), getattr(second, name))
    without_time = [
        [{k: v for k, v in entry.items() if k != "seconds"} for entry in fitted.summary.history]
        for fitted in (first, second)
    ]
    assert without_time[0] == without_time[1]


@pytest.fixture(scope="module")
def lake(blurred, tmp_path_factory) -> dict[str, Any]:
    """The rows in Parquet: one group, many small ones, several files, hive partitions, and
    among others that a filter leaves out."""
    root = tmp_path_factory.mktemp("lake")
    frame = pd.DataFrame(blurred, columns=XY)
    frame["month"] = np.arange(len(frame)) % 3
    whole = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(whole, root / "one.parquet")
    pq.write_table(whole, root / "many.parquet", row_group_size=23)
    (root / "files").mkdir()
    for i, part in enumerate(np.array_split(np.arange(len(frame)), 5)):
        frame.iloc[part].to_parquet(root / "files" / f"part-{i}.parquet", row_group_size=90)
    pq.write_to_dataset(whole, root / "hive", partition_cols=["month"])
    others = frame.assign(x=frame["x"] + 100, month=7)
    mixed = pd.concat([frame, others]).sample(frac=1, random_state=0)
    mixed.to_parquet(root / "mixed.parquet", row_group_size=100)
    return {
        "one": ParquetTable(str(root / "one.parquet")),
        "many": ParquetTable(str(root / "many.parquet")),
        "files": ParquetTable(str(root / "files")),
        "hive": ParquetTable(str(root / "hive")),
        "filtered": ParquetTable(str(root / "mixed.parquet"), filters=[("month", "<", 7)]),
    }


@pytest.mark.parametrize("layout", ["one", "many", "files", "hive", "filtered"])
def test_a_parquet_table_gives_the_model_of_the_dataframe(spark, lake, reference, layout) -> None:
    assert_same_model(mixture().fit(lake[layout]), reference)


def test_spark_reading_the_files_gives_the_same_model(spark, lake, reference) -> None:
    frame = spark.read.parquet(lake["hive"].path)
    assert_same_model(mixture().fit(frame), reference)


def test_a_start_from_all_rows_does_not_depend_on_how_they_are_kept(spark, blurred, lake) -> None:
    start = mixture(sampleSize=0, maxIter=0)
    expected = start.fit(lake["one"])
    assert_same_model(start.fit(lake["filtered"]), expected)
    assert_same_model(start.fit(table(spark, blurred, XY, 7)), expected)


def test_another_seed_starts_elsewhere(lake, reference) -> None:
    other = mixture(maxIter=0, seed=2).fit(lake["one"])
    same = mixture(maxIter=0, seed=1).fit(lake["one"])
    first = reference.summary.history[1]["meanLogLikelihood"]  # of pass 1; 0 is the packing
    assert_allclose(same.summary.meanLogLikelihood, first, rtol=1e-12)
    assert abs(other.summary.meanLogLikelihood - first) > 1e-6


def test_columns_vectors_and_arrays_give_the_same_model(spark, blurred, reference) -> None:
    frame = table(spark, blurred, XY, 2)
    assembled = VectorAssembler(inputCols=XY, outputCol="features").transform(frame)
    by_vector = mixture(inputCols=None).fit(assembled.select("features"))
    assert_same_model(by_vector, reference)
    arrays = frame.select(F.array("x", "y").alias("both"))
    assert_same_model(mixture(inputCols=None, featuresCol="both").fit(arrays), reference)


def test_sparse_vectors_give_the_model_of_dense_ones(spark) -> None:
    rows = np.random.default_rng(5).poisson(1.0, size=(200, 3)).astype(float)
    dense = [Vectors.dense(row) for row in rows]
    sparse = [Vectors.sparse(3, np.flatnonzero(row), row[row != 0]) for row in rows]
    fitted = GaussianMixture(k=2, maxIter=3, seed=1)
    assert_same_model(
        fitted.fit(vectors(spark, sparse, 2)), fitted.fit(vectors(spark, dense, 2)), rtol=1e-12
    )


def test_whole_numbers_give_the_same_model_whatever_their_type(spark) -> None:
    rows = np.random.default_rng(5).integers([0, 0, -9], [50, 2, 9], size=(200, 3)).astype(float)
    names = ["a", "b", "c"]
    doubles = table(spark, rows, names, 2)
    typed = doubles.selectExpr(
        "cast(a as smallint) a", "cast(b as boolean) b", "cast(c as decimal(9, 2)) c"
    )
    others = doubles.selectExpr("cast(a as float) a", "cast(b as bigint) b", "cast(c as int) c")
    mixed = mixture(inputCols=names, k=2, maxIter=3)
    expected = mixed.fit(doubles)
    assert_same_model(mixed.fit(typed), expected, rtol=1e-12)
    assert_same_model(mixed.fit(others), expected, rtol=1e-12)


def test_the_order_of_columns_permutes_the_model(spark, blurred, reference) -> None:
    turned = mixture(inputCols=["y", "x"]).fit(table(spark, blurred, XY))
    assert_allclose(turned.summary.logLikelihood, reference.summary.logLikelihood, rtol=1e-5)
    assert_allclose(turned.means[:, ::-1], reference.means, atol=0.02)
    assert_allclose(turned.covariances[:, ::-1, ::-1], reference.covariances, atol=0.05)


@pytest.fixture(scope="module")
def labelled(blurred) -> np.ndarray:
    """The rows with a start: the nearest of three points."""
    points = np.array([[0.0, 0.0], [4.0, 1.0], [1.0, 5.0]])
    nearest = ((blurred[:, None] - points) ** 2).sum(axis=2).argmin(axis=1)
    return np.column_stack([blurred, nearest])


def test_a_row_of_weight_two_is_the_row_twice(spark, labelled) -> None:
    rows = labelled[:400]
    # Plain EM, whose steps are of the same sums; the two samples are not of the same rows.
    start = {"initialLabelCol": "label", "acceleration": "none"}
    twice = np.concatenate([rows, rows[:100]])
    weights = np.where(np.arange(400) < 100, 2.0, 1.0)
    by_weight = mixture(weightCol="w", **start).fit(
        table(spark, np.column_stack([rows, weights]), [*XY, "label", "w"], 3)
    )
    by_copy = mixture(**start).fit(table(spark, twice, [*XY, "label"], 2))
    assert_same_model(by_weight, by_copy)
    assert (by_weight.summary.numRows, by_weight.summary.weightSum) == (400, 500.0)
    assert_allclose(by_weight.summary.clusterWeights, by_copy.summary.clusterSizes)
    for name in ("aic", "bic", "icl"):
        assert_allclose(getattr(by_weight.summary, name), getattr(by_copy.summary, name))


def test_a_row_of_weight_zero_is_no_row(spark, labelled) -> None:
    start = {"initialLabelCol": "label", "weightCol": "w", "acceleration": "none"}
    weights = np.where(np.arange(600) % 4 == 0, 0.0, 1.0)
    names = [*XY, "label", "w"]
    weighted = np.column_stack([labelled, weights])
    # Scales are from all rows of the sample: those without weight only move rounding.
    assert_same_model(
        mixture(**start).fit(table(spark, weighted, names)),
        mixture(**start).fit(table(spark, weighted[weights > 0], names)),
        rtol=1e-7,
    )


@pytest.mark.parametrize("acceleration", ["none", "anderson"])
def test_a_fit_speaks_the_units_of_the_data(spark, labelled, acceleration) -> None:
    """x -> a + b x, column by column: the mixture moves along, the density by the volume.

    Step by step without acceleration, which makes more of a difference in rounding; with it, in
    the end.
    """
    shift, scale = np.array([-7e4, 12.0]), np.array([250.0, 3e-4])
    start = {"initialLabelCol": "label", "acceleration": acceleration}
    same_steps = acceleration == "none"
    rtol = 1e-7 if same_steps else 1e-2
    moved = labelled.copy()
    moved[:, :2] = shift + scale * moved[:, :2]
    here = mixture(**start).fit(table(spark, labelled, [*XY, "label"]))
    there = mixture(**start).fit(table(spark, moved, [*XY, "label"]))
    assert not same_steps or here.summary.numPasses == there.summary.numPasses
    assert_allclose(there.weights, here.weights, rtol=rtol)
    assert_allclose((there.means - shift) / scale, here.means, rtol=rtol, atol=rtol)
    assert_allclose(there.covariances, here.covariances * np.outer(scale, scale), rtol=rtol)
    volume = np.log(scale).sum()
    assert_allclose(
        there.summary.meanLogLikelihood,
        here.summary.meanLogLikelihood - volume,
        rtol=1e-9 if same_steps else 1e-6,
    )


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.long
def test_merging_in_stages_gives_the_same_model(
    spark, lake, blurred, reference, monkeypatch, depth
) -> None:
    """Eight partitions are the most a DataFrame is packed into on two cores."""
    monkeypatch.setattr(jobs, "DRIVER_BYTES", 1)
    stages = []
    merged = cluster._merged
    monkeypatch.setattr(cluster, "_merged", lambda *args: stages.append(args[1]) or merged(*args))
    found = mixture(aggregationDepth=depth).fit(table(spark, blurred, XY, 8))
    assert len(stages) == (depth - 1) * found.summary.numPasses
    assert_same_model(found, reference)
