"""`mergeComponents`: the model whose predictions are clusters of components."""

from __future__ import annotations

import copy
import pickle
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyspark.ml import PipelineModel
from pyspark.ml.linalg import Vectors

from gmm_spark import GaussianMixture, GaussianMixtureModel, ParquetTable
from gmm_spark import merging as driver
from gmm_spark.errors import ConfigurationError, InputDataError
from tests.estimator.helpers import table

MEANS = [[0.0, 0.0], [1.5, 0.5], [9.0, 2.0], [3.0, 14.0], [4.5, 13.0]]
WEIGHTS = [0.3, 0.25, 0.2, 0.15, 0.1]


def mixture(**more: Any) -> GaussianMixtureModel:
    return GaussianMixtureModel.fromParameters(
        WEIGHTS, MEANS, [np.eye(2)] * 5, inputCols=["x", "y"], **more
    )


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.array(MEANS)[rng.choice(5, 400, p=WEIGHTS)] + rng.normal(size=(400, 2))


@pytest.fixture(scope="module")
def points(spark: Any, rows: np.ndarray) -> Any:
    return table(spark, rows, ["x", "y"], partitions=3)


@pytest.fixture(scope="module")
def merged(points: Any) -> Any:
    return mixture().mergeComponents(points, 3)


def scores(model: Any, frame: Any) -> dict[str, np.ndarray]:
    scored = model.transform(frame).toPandas()
    found = {name: scored[name].to_numpy() for name in scored.columns}
    return found | {"probability": np.array([p.toArray() for p in scored["probability"]])}


def least_entropy(t: np.ndarray, weights: Any = None) -> tuple[Any, float]:
    """The pair of columns of t whose merging leaves the least entropy, and that entropy."""

    def entropy(t: np.ndarray) -> float:
        terms = t * np.log(np.where(t > 0, t, 1.0))
        return -float((terms if weights is None else weights[:, None] * terms).sum())

    tried = []
    for a, b in combinations(range(t.shape[1]), 2):
        tried.append((entropy(np.c_[np.delete(t, [a, b], axis=1), t[:, a] + t[:, b]]), (a, b)))
    found, pair = min(tried)
    return pair, found


def test_predictions_and_probabilities_are_those_of_the_clusters(merged, points) -> None:
    plain, found = scores(mixture(), points), scores(merged, points)
    assert merged.clusters == [[0, 1], [3, 4], [2]]  # by weight: 0.55, 0.25, 0.2
    assert list(found) == ["x", "y", "probability", "prediction", "component"]
    together = [plain["probability"][:, cluster].sum(axis=1) for cluster in merged.clusters]
    assert_allclose(found["probability"], np.transpose(together), rtol=1e-12)
    assert_array_equal(found["prediction"], found["probability"].argmax(axis=1))
    for component, prediction, chances in zip(
        found["component"], found["prediction"], plain["probability"], strict=True
    ):
        cluster = merged.clusters[prediction]
        assert component == cluster[int(chances[cluster].argmax())]
    assert set(found["component"]) == {0, 1, 2, 3, 4}


def test_the_hierarchy_says_what_every_merge_did(merged, points) -> None:
    t = scores(mixture(), points)["probability"]
    table = merged.mergeHierarchy
    assert [row["clusters"] for row in table] == [4, 3, 2, 1]
    pair, entropy = least_entropy(t)
    assert table[0]["first"] + table[0]["second"] == list(pair)
    assert_allclose(table[0]["entropy"], entropy, rtol=1e-9)
    assert_allclose(table[0]["entropyBefore"], -(t * np.log(np.maximum(t, 1e-300))).sum())
    for before, after in pairwise(table):
        assert after["entropyBefore"] == before["entropy"] >= after["entropy"]
    assert mixture().mergeHierarchy == []
    assert mixture().clusters == [[0], [1], [2], [3], [4]]
    assert points.sparkSession.createDataFrame(table).count() == 4


def test_all_else_stays_the_components(merged, points) -> None:
    plain = mixture()
    assert merged is not plain
    assert plain.clusters == [[0], [1], [2], [3], [4]]
    assert_array_equal(merged.means, plain.means)
    assert merged.weights == plain.weights
    density = scores(plain.setLogLikelihoodCol("density"), points)["density"]
    merged = merged.copy().setLogLikelihoodCol("density").setUncertaintyCol("doubt")
    found = scores(merged.setOutlierThreshold(-6.0), points)
    assert list(found)[2:] == [
        "probability", "prediction", "density", "doubt", "outlier", "component",
    ]  # fmt: skip
    assert_array_equal(found["density"], density)
    assert_allclose(found["doubt"], 1 - found["probability"].max(axis=1), atol=1e-15)
    assert_array_equal(found["outlier"], density < -6.0)
    drawn = merged.sample(20, seed=1).select("component").distinct().count()
    assert drawn > 3


def test_columns_say_how_many_clusters_there_are(merged, points) -> None:
    fields = {field.name: field for field in merged.transform(points).schema}
    assert fields["probability"].metadata["ml_attr"]["num_attrs"] == 3
    assert fields["prediction"].metadata["ml_attr"]["num_vals"] == 3
    assert fields["component"].metadata["ml_attr"]["num_vals"] == 5
    without = merged.copy().setComponentCol("")
    assert without.transform(points).columns == ["x", "y", "probability", "prediction"]
    with pytest.raises(ConfigurationError, match="component exist already"):
        merged.transform(points.withColumnRenamed("y", "component").selectExpr("*", "1d y"))


def test_one_row_is_scored_by_cluster(merged) -> None:
    row = Vectors.dense([0.9, 0.3])
    chances = mixture().predictProbability(row).toArray()
    found = merged.predictProbability(row).toArray()
    assert_allclose(found, [chances[[0, 1]].sum(), chances[[3, 4]].sum(), chances[2]], rtol=1e-12)
    assert merged.predict(row) == 0


def test_segments_are_the_clusters(merged, points) -> None:
    found = merged.describe().toPandas()
    assert list(found["segment"]) == [0, 1, 2]
    assert_allclose(found["weight"], [0.55, 0.25, 0.2])
    sizes = np.bincount(scores(merged, points)["prediction"])
    assert_array_equal(found["size"], sizes)
    share = np.array([0.3, 0.25]) / 0.55
    mean = share @ [0.0, 1.5]
    assert_allclose(found["x_mean"][0], mean)
    assert_allclose(found["x_sd"][0], np.sqrt(1 + share @ [0.0, 1.5**2] - mean**2))
    assert "k=5, clusters=3," in str(merged)


def test_a_merged_model_is_saved_pickled_and_copied(merged, points, tmp_path) -> None:
    expected = scores(merged, points)
    merged.save(f"{tmp_path}/model")
    PipelineModel([merged]).save(f"{tmp_path}/pipeline")
    again = [
        GaussianMixtureModel.load(f"{tmp_path}/model"),
        PipelineModel.load(f"{tmp_path}/pipeline").stages[0],
        pickle.loads(pickle.dumps(merged)),
        merged.copy(),
        copy.deepcopy(merged),
    ]
    for one in again:
        assert one.clusters == merged.clusters
        assert one.mergeHierarchy == merged.mergeHierarchy
        assert list(one.describe().toPandas()["size"]) == list(merged.describe().toPandas()["size"])
    for one in again[:2]:
        found = scores(one, points)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    spark = points.sparkSession
    metadata = spark.read.json(f"{tmp_path}/model/metadata").first()
    assert metadata["formatVersion"] == 3


def test_a_fit_from_a_merged_model_starts_from_its_components(merged, points) -> None:
    fit = GaussianMixture(k=5, inputCols=["x", "y"], initialModel=merged, maxIter=0).fit(points)
    assert_allclose(fit.means, MEANS, rtol=1e-9, atol=1e-12)
    assert fit.clusters == [[0], [1], [2], [3], [4]]


def test_tables_and_vectors_give_the_same(merged, points, rows, tmp_path) -> None:
    """And the rows of a table that its filter keeps."""
    points.write.parquet(f"{tmp_path}/points")
    stored = ParquetTable(f"{tmp_path}/points")
    again = mixture().mergeComponents(stored, 3)
    assert again.clusters == merged.clusters
    for found, expected in zip(again.mergeHierarchy, merged.mergeHierarchy, strict=True):
        assert_allclose(found["entropy"], expected["entropy"], rtol=1e-12)
    found = merged.transform(stored).select("x", "prediction", "component").toPandas()
    expected = merged.transform(points).select("x", "prediction", "component").toPandas()
    key = ["x"]
    pd.testing.assert_frame_equal(
        found.sort_values(key, ignore_index=True), expected.sort_values(key, ignore_index=True)
    )
    vectors = points.sparkSession.createDataFrame([(Vectors.dense(r),) for r in rows], ["features"])
    model = GaussianMixtureModel.fromParameters(WEIGHTS, MEANS, [np.eye(2)] * 5)
    assert model.mergeComponents(vectors, 3).clusters == merged.clusters
    far = ParquetTable(f"{tmp_path}/points", filters=[("x", ">", 3.0)])
    kept = mixture().mergeComponents(far, 3).describe().toPandas()
    assert sum(kept["size"]) == np.sum(rows[:, 0] > 3)
    with pytest.raises(ConfigurationError, match="filters need inputCols"):
        model.mergeComponents(far, 3)


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample that foretells merges is of 250 rows: there are jobs for all of them."""
    sampled = driver.scan
    monkeypatch.setattr(
        driver, "scan", lambda *a, **more: sampled(*a, **{**more, "sample_size": 250})
    )


def test_all_the_rows_count_where_the_sample_is_less(
    merged, points, monkeypatch, small_sample
) -> None:
    """By jobs, whatever the partitions, in one pass over the rows."""
    looks = []
    summed = driver.sums_over_rows
    monkeypatch.setattr(driver, "sums_over_rows", lambda *a: looks.append(1) or summed(*a))
    sizes = list(merged.describe().toPandas()["size"])
    for frame in (points, points.coalesce(1)):
        looks.clear()
        found = mixture().mergeComponents(frame, 3)
        assert looks == [1]
        assert found.clusters == merged.clusters
        for one, expected in zip(found.mergeHierarchy, merged.mergeHierarchy, strict=True):
            assert (one["first"], one["second"]) == (expected["first"], expected["second"])
            assert_allclose(one["entropy"], expected["entropy"], rtol=1e-12, atol=1e-12)
        assert list(found.describe().toPandas()["size"]) == sizes


@pytest.mark.parametrize("kind", ["frequency", "importance"])
def test_weights_count_as_rows(spark, rows, small_sample, kind) -> None:
    """Importance weights as if they summed to the number of rows."""
    weights = np.where(np.arange(len(rows)) % 3 == 0, 3.0, 1.0)
    weighted = table(spark, np.c_[rows, weights], ["x", "y", "w"])
    thrice = table(spark, np.repeat(rows, weights.astype(int), axis=0), ["x", "y"])
    model = mixture()._set(weightCol="w", weightKind=kind).mergeComponents(weighted, 2)
    expected = mixture().mergeComponents(thrice, 2)
    scale = 1.0 if kind == "frequency" else len(rows) / weights.sum()
    for one, other in zip(model.mergeHierarchy, expected.mergeHierarchy, strict=True):
        assert (one["first"], one["second"]) == (other["first"], other["second"])
        assert_allclose(one["entropy"], scale * other["entropy"], rtol=1e-9, atol=1e-12)
    assert sum(model.describe().toPandas()["size"]) == len(rows)


def test_noise_stays_noise(spark, points) -> None:
    given = GaussianMixtureModel.fromParameters(
        list(0.9 * np.array(WEIGHTS)),
        MEANS,
        [np.eye(2)] * 5,
        inputCols=["x", "y"],
        noiseWeight=0.1,
        noiseBox=[[-50.0, 50.0], [-50.0, 50.0]],
    )
    strange = points.union(table(spark, [[40.0, -30.0]] * 3, ["x", "y"]))
    model = given.mergeComponents(strange, 2)
    found = scores(model, strange)
    assert found["probability"].shape[1] == 3
    assert_allclose(found["probability"].sum(axis=1), 1)
    assert list(found["prediction"][-3:]) == [-1] * 3
    assert list(found["component"][-3:]) == [-1] * 3
    described = model.describe().toPandas()
    assert list(described["segment"]) == [0, 1, -1]
    assert list(described["size"]) == [np.sum(found["prediction"] == j) for j in (0, 1, -1)]
    assert sorted(c for cluster in model.clusters for c in cluster) == [0, 1, 2, 3, 4]


def test_rows_with_gaps_are_taken_as_missing_says(spark, rows) -> None:
    gappy = [(None if i % 7 == 0 else float(x), float(y)) for i, (x, y) in enumerate(rows)]
    frame = table(spark, gappy, "x double, y double", partitions=2)
    with pytest.raises(InputDataError, match="column 'x': 58 null"):
        mixture().mergeComponents(frame, 2)
    skipping = mixture()._set(missing="skip").mergeComponents(frame, 2)
    assert sum(skipping.describe().toPandas()["size"]) == 400 - 58
    scored = skipping.transform(frame).toPandas()
    assert scored["component"].isna().sum() == scored["prediction"].isna().sum() == 58
    known = mixture()._set(missing="marginalize")
    merged = known.mergeComponents(frame, 2)
    pair, entropy = least_entropy(scores(known, frame)["probability"])
    assert merged.mergeHierarchy[0]["first"] + merged.mergeHierarchy[0]["second"] == list(pair)
    assert_allclose(merged.mergeHierarchy[0]["entropy"], entropy, rtol=1e-9)


def test_categories_and_counts_take_part(spark) -> None:
    rng = np.random.default_rng(5)
    component = rng.integers(0, 3, 200)
    plan = np.where(rng.random(200) < np.array([0.9, 0.7, 0.1])[component], "basic", "team")
    calls = rng.poisson(np.array([2.0, 3.0, 20.0])[component])
    frame = spark.createDataFrame(pd.DataFrame({"plan": plan, "calls": calls}))
    model = GaussianMixtureModel.fromParameters(
        [0.4, 0.35, 0.25],
        categories={"plan": (["basic", "team"], [[0.9, 0.1], [0.7, 0.3], [0.1, 0.9]])},
        countCols=["calls"],
        rates=[[2.0], [3.0], [20.0]],
    )
    strange = frame.selectExpr("if(calls = 0, 'vip', plan) plan", "calls")
    rows = int((calls == 0).sum())
    with pytest.raises(InputDataError, match=f"'plan': {rows} unknown to the model"):
        model.mergeComponents(strange, 2)
    for by in ("entropy", "bhattacharyya"):
        merged = model.mergeComponents(frame, 2, by)
        assert merged.clusters == [[0, 1], [2]]
        described = merged.describe().toPandas()
        assert_allclose(described["calls_rate"][0], (0.4 * 2 + 0.35 * 3) / 0.75)
        assert_allclose(described["plan_probability"][0], (0.4 * 0.9 + 0.35 * 0.7) / 0.75)
        assert sum(described["size"]) == 200


def test_distances_need_no_rows(merged, points) -> None:
    alone = mixture().mergeComponents(None, 3, by="bhattacharyya")
    assert alone.clusters == merged.clusters
    table = alone.mergeHierarchy
    assert [set(row) for row in table] == [{"clusters", "first", "second", "distance"}] * 4
    # Of unit covariances: an eighth of the squared distance between the means.
    assert_allclose(table[0]["distance"], min(1.5**2 + 0.5**2, 1.5**2 + 1) / 8)
    assert alone.describe().toPandas()["size"].isna().all()
    counted = mixture().mergeComponents(points, 3, by="bhattacharyya")
    assert counted.mergeHierarchy == table
    assert sum(counted.describe().toPandas()["size"]) == 400


def test_clusters_keep_the_order_of_numbers_that_components_have() -> None:
    model = GaussianMixtureModel.fromParameters(
        [0.1, 0.6, 0.3], [[0.0], [9.0], [1.0]], [[[1.0]]] * 3
    )
    assert model.mergeComponents(None, 2, "bhattacharyya").clusters == [[0, 2], [1]]
    labelled = mixture()._set(labelCol="known")
    assert labelled.mergeComponents(None, 3, "bhattacharyya").clusters == [[0, 1], [2], [3, 4]]


@pytest.mark.parametrize("k", [1, 5])
def test_one_cluster_and_as_many_as_components(k, points) -> None:
    model = mixture().mergeComponents(points, k)
    assert len(model.clusters) == k
    found = scores(model, points)
    assert found["probability"].shape[1] == k
    if k == 5:
        assert_array_equal(found["prediction"], scores(mixture(), points)["prediction"])
    else:
        assert not found["prediction"].any()


def test_what_cannot_be_merged_is_one_clear_error(points) -> None:
    wrong: list[tuple[type, str, Any]] = [
        (ConfigurationError, "k is 0; it must be from 1 to the number of components, 5", (0,)),
        (ConfigurationError, "k is 6; it must be from 1 to the number of components, 5", (6,)),
        (ConfigurationError, "k is 2.5", (2.5,)),
        (ConfigurationError, "by is 'ward'; it must be one of entropy, bhatt", (2, "ward")),
    ]
    for kind, said, arguments in wrong:
        with pytest.raises(kind, match=said):
            mixture().mergeComponents(points, *arguments)
    with pytest.raises(InputDataError, match="mergeComponents takes a Spark DataFrame"):
        mixture().mergeComponents(None, 2)
    with pytest.raises(InputDataError, match="no column 'y'"):
        mixture().mergeComponents(points.drop("y"), 2)
    vectors = points.sparkSession.createDataFrame([(Vectors.dense(1.0),)], ["features"])
    model = GaussianMixtureModel.fromParameters(WEIGHTS, MEANS, [np.eye(2)] * 5)
    with pytest.raises(InputDataError, match="have 1 features, the model was fitted on 2"):
        model.mergeComponents(vectors, 2)
