"""A script written for pyspark.ml runs with only its import changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.estimator.helpers import table

pytestmark = pytest.mark.long  # both packages, each with all that the script does

THEIRS = "from pyspark.ml.clustering import GaussianMixture, GaussianMixtureModel"
OURS = "from gmm_spark import GaussianMixture, GaussianMixtureModel"
SCRIPT = f"""
from pyspark.ml import Pipeline, PipelineModel
{THEIRS}
from pyspark.ml.evaluation import ClusteringEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import Vectors
from pyspark.ml.tuning import CrossValidator, CrossValidatorModel, ParamGridBuilder

assembler = VectorAssembler(inputCols=["x", "y"], outputCol="features")
data = assembler.transform(frame)

gm = GaussianMixture(k=2, tol=0.0001, seed=10)
gm = GaussianMixture().setK(3).setTol(1e-4).setMaxIter(60).setSeed(10)
gm.setFeaturesCol("features").setPredictionCol("cluster").setProbabilityCol("chances")
gm.setAggregationDepth(2)
explained = gm.explainParam("k")
model = gm.fit(data)

found["k"] = model.getK()
found["params"] = [model.getMaxIter(), model.getTol(), model.getFeaturesCol(), model.getSeed()]
found["weights"] = sorted(model.weights)
gaussians = model.gaussiansDF.collect()
found["gaussians"] = sorted(
    [*row["mean"].toArray(), *row["cov"].toArray().ravel()] for row in gaussians
)
found["means"] = sorted(gaussian.mean.toArray().tolist() for gaussian in model.gaussians)
found["schema"] = {{field.name: field.dataType for field in model.transform(data).schema}}
rows = model.transform(data).select("cluster", "chances").collect()
found["groups"] = [row["cluster"] for row in rows]
found["certain"] = [max(row["chances"].toArray()) for row in rows]

point = Vectors.dense([9.0, 2.0])
found["predicted"] = model.predict(point) == rows_cluster(model, point)
found["chances"] = sorted(model.predictProbability(point).toArray())

found["hasSummary"] = model.hasSummary
summary = model.summary
found["summary"] = {{
    "k": summary.k,
    "sizes": sorted(summary.clusterSizes),
    "logLikelihood": summary.logLikelihood,
    "columns": [summary.featuresCol, summary.predictionCol, summary.probabilityCol],
    "predictions": summary.predictions.count(),
    "cluster": summary.cluster.columns,
    "probability": summary.probability.columns,
    "iterations": summary.numIter > 0,
}}

model.save(path + "/model")
loaded = GaussianMixtureModel.load(path + "/model")
found["loaded"] = sorted(loaded.weights) == sorted(model.weights)
found["loaded column"] = loaded.getPredictionCol()
again = [row["cluster"] for row in loaded.transform(data).collect()]
found["loaded groups"] = again == found["groups"]
gm.write().overwrite().save(path + "/estimator")
found["loaded k"] = GaussianMixture.load(path + "/estimator").getK()
model.setFeaturesCol("features").setPredictionCol("other").setProbabilityCol("p")
found["renamed"] = sorted(model.transform(data).columns)

pipeline = Pipeline(stages=[assembler, GaussianMixture(k=3, seed=4)])
fitted = pipeline.fit(frame)
pipeline.write().overwrite().save(path + "/pipeline")
fitted.write().overwrite().save(path + "/pipeline model")
found["pipeline k"] = Pipeline.load(path + "/pipeline").getStages()[1].getK()
reloaded = PipelineModel.load(path + "/pipeline model")
found["pipeline"] = sorted(reloaded.transform(frame).columns)
found["pipeline groups"] = [
    row["prediction"] for row in reloaded.transform(frame).select("prediction").collect()
]

candidate = GaussianMixture(seed=3)
grid = ParamGridBuilder().addGrid(candidate.k, [2, 3]).build()
validator = CrossValidator(
    estimator=candidate,
    estimatorParamMaps=grid,
    evaluator=ClusteringEvaluator(),
    numFolds=2,
    parallelism=2,
    seed=5,
)
validated = validator.fit(data)
found["best k"] = validated.bestModel.getK()
found["metrics"] = validated.avgMetrics
validated.write().overwrite().save(path + "/validated")
found["validated k"] = CrossValidatorModel.load(path + "/validated").bestModel.getK()
copied = gm.copy({{gm.k: 2}})
found["copied"] = [copied.getK(), gm.getK(), copied.uid == gm.uid]
found["overridden"] = gm.fit(data, {{gm.k: 2}}).getK()
found["many"] = [fitted.getK() for fitted in gm.fit(data, [{{gm.k: 2}}, {{gm.k: 3}}])]
"""


def rows_cluster(model: Any, point: Any) -> int:
    return int(np.argmax(model.predictProbability(point).toArray()))


@pytest.fixture(scope="module")
def runs(spark, groups, tmp_path_factory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the script finds with pyspark.ml, and with this package."""
    assert SCRIPT.count(THEIRS) == 1
    results = []
    for imported in (THEIRS, OURS):
        found: dict[str, Any] = {}
        path = tmp_path_factory.mktemp("saved")
        frame = table(spark, groups, ["x", "y"], 2)
        names = {"frame": frame, "found": found, "path": str(path), "rows_cluster": rows_cluster}
        exec(SCRIPT.replace(THEIRS, imported), names)
        results.append(found)
    return results[0], results[1]


def test_the_script_runs_to_its_end_with_either(runs) -> None:
    theirs, ours = runs
    assert list(theirs) == list(ours)
    assert "many" in ours


@pytest.mark.parametrize(
    "name",
    [
        "k", "params", "schema", "predicted", "hasSummary", "loaded", "loaded column",
        "loaded groups", "loaded k", "renamed", "pipeline k", "pipeline", "best k", "validated k",
        "copied", "overridden", "many",
    ],
)  # fmt: skip
def test_what_the_script_reads_is_the_same(runs, name) -> None:
    theirs, ours = runs
    assert ours[name] == theirs[name]


def test_the_mixtures_agree(runs) -> None:
    """On three clear groups both find the one maximum, theirs stopping somewhat before it."""
    theirs, ours = runs
    for name in ("weights", "means", "gaussians", "chances", "certain"):
        assert_allclose(ours[name], theirs[name], atol=1e-3)
    # Of k = 3, the last; two components have several maxima, of which ours is the higher, and the
    # silhouette is another measure.
    assert_allclose(ours["metrics"][-1], theirs["metrics"][-1], atol=0.02)


@pytest.mark.parametrize("name", ["groups", "pipeline groups"])
def test_the_clusters_agree(runs, name) -> None:
    theirs, ours = runs
    assert len(set(zip(ours[name], theirs[name], strict=True))) == len(set(ours[name])) == 3


def test_the_summaries_agree(runs) -> None:
    theirs, ours = (dict(found["summary"]) for found in runs)
    assert_allclose(ours.pop("logLikelihood"), theirs.pop("logLikelihood"), rtol=1e-5)
    assert ours == theirs
