"""What pyspark's own tests ask of its GaussianMixture, asked of both with the import changed.

Every probe runs with pyspark.ml.clustering and with gmm_spark. What comes out is the same, but for
what the README lists under "Different from MLlib on purpose": nothing else, and all of that.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyspark.ml.clustering as mllib
import pytest
from pyspark.errors import AnalysisException, IllegalArgumentException
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import Vectors
from pyspark.ml.stat import MultivariateGaussian
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import gmm_spark

ROOT = Path(__file__).parents[2]
CLASSES = ["GaussianMixture", "GaussianMixtureModel", "GaussianMixtureSummary"]
# What a caller may catch; a failure that is none of these is compared as a failure.
CAUGHT = IllegalArgumentException, AnalysisException, TypeError, KeyError, RuntimeError

POINTS = [
    (1.0, [-0.1, -0.05]), (2.0, [-0.01, -0.1]), (3.0, [0.9, 0.8]),
    (1.0, [0.75, 0.935]), (1.0, [-0.83, -0.68]), (1.0, [-0.91, -0.76]),
]  # fmt: skip


def differences() -> dict[str, str]:
    """What the README's table says is different, and why."""
    text = (ROOT / "README.md").read_text("utf-8")
    table = text.split("#### Different from MLlib on purpose")[1].split("\n\n")[2]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {row[0]: row[-1] for row in rows}


class Probes:
    """The probes of one package: what each found, or how it failed."""

    def __init__(self, package: Any, data: DataFrame, path: str) -> None:
        self.package, self.data, self.path = package, data, path
        self.estimator, self.summary = package.GaussianMixture, package.GaussianMixtureSummary
        mixture = self.estimator(k=2, maxIter=2, weightCol="weight", seed=1)
        self.mixture, self.model = mixture, mixture.fit(data)
        # The example of the class: three pairs of points.
        pairs = self.estimator(k=3, tol=0.0001, seed=10)
        self.pairs = pairs.setMaxIter(30)
        self.paired = pairs.fit(data).setPredictionCol("newPrediction")
        mixture.save(f"{path}/estimator")
        self.model.save(f"{path}/model")
        self.reloaded = self.estimator.load(f"{path}/estimator")
        self.loaded = package.GaussianMixtureModel.load(f"{path}/model")

    def found(self, probe: Callable[[Probes], Any]) -> Any:
        try:
            return probe(self)
        except Exception as error:
            kinds = {kind.__name__ for kind in CAUGHT if isinstance(error, kind)}
            return {"failed": kinds}

    def fitted(self, **params: Any) -> Any:
        return self.estimator(**{"maxIter": 1, "seed": 1, **params}).fit(self.data)

    def scored(self, model: Any = None) -> DataFrame:
        return (model or self.model).transform(self.data)


def parameters_of(instance: Any) -> dict[str, Any]:
    return {param.name: value for param, value in instance.extractParamMap().items()}


def cleared(mixture: Any) -> list[Any]:
    mixture.clear(mixture.k)
    return [mixture.isSet("k"), mixture.getK()]


def partition(values: list[int]) -> list[int]:
    """The same for labels that are named otherwise."""
    return [values.index(value) for value in values]


def first(frame: DataFrame) -> Any:
    return frame.first()


PROBES: dict[str, Callable[[Probes], Any]] = {
    # Params: pyspark's test_param, the suite's "default parameters" and "set parameters".
    "default columns": lambda p: [
        p.estimator().getFeaturesCol(), p.estimator().getPredictionCol(),
        p.estimator().getProbabilityCol(),
    ],
    "default `k`, `maxIter`, `aggregationDepth`": lambda p: [
        p.estimator().getK(), p.estimator().getMaxIter(), p.estimator().getAggregationDepth(),
    ],
    "default `tol`": lambda p: p.estimator().getTol(),
    "default `seed`": lambda p: p.estimator().getSeed(),
    "no weights": lambda p: [
        p.estimator().isSet("weightCol"), p.estimator().isDefined("weightCol"),
    ],
    "weightCol that is not set": lambda p: p.estimator().getWeightCol(),
    "constructor": lambda p: [
        p.mixture.getK(), p.mixture.getMaxIter(), p.mixture.getWeightCol(), p.mixture.getSeed(),
    ],
    "setters": lambda p: [
        parameters_of(
            p.estimator().setK(9).setFeaturesCol("f").setPredictionCol("c").setProbabilityCol("q")
            .setMaxIter(33).setSeed(123).setTol(1e-3).setWeightCol("w").setAggregationDepth(3)
        )[name]
        for name in (
            "k", "featuresCol", "predictionCol", "probabilityCol", "maxIter", "seed", "tol",
            "weightCol", "aggregationDepth",
        )
    ],
    "setParams": lambda p: p.estimator().setParams(k=4, tol=0.5).getK(),
    "by the name of a Param": lambda p: [
        p.estimator(k=3).getOrDefault("k"), p.estimator().hasParam("k"),
        p.estimator().getParam("tol").name,
    ],
    "text as k": lambda p: p.estimator(k="two"),
    "half a component": lambda p: p.estimator(k=2.5),
    "k of a numpy integer": lambda p: p.estimator(k=np.int64(3)).getK(),
    "text as tol": lambda p: p.estimator(tol="small"),
    "an unknown Param": lambda p: p.estimator(clusters=2),
    "positional arguments": lambda p: p.estimator(2),
    "copies are apart": lambda p: [
        p.mixture.copy().setK(7).getK(), p.mixture.getK(), p.mixture.copy().uid == p.mixture.uid,
    ],
    "copy with a Param": lambda p: p.mixture.copy({p.mixture.k: 5}).getK(),
    "clear": lambda p: cleared(p.estimator(k=4)),
    "names of Params": lambda p: {
        param.name for param in p.estimator().params
    } >= {param.name for param in mllib.GaussianMixture().params},
    "explained": lambda p: [
        "current: 2" in p.mixture.explainParam("maxIter"),
        "undefined" in p.estimator().explainParam("weightCol"),
    ],
    "uid": lambda p: [
        p.estimator().uid.rsplit("_", 1)[0], p.model.uid == p.mixture.uid,
        str(p.mixture) == p.mixture.uid,
    ],
    # The model: test_gaussian_mixture, the class's example, "fit, transform and summary".
    "Params of the model": lambda p: [
        p.model.getK(), p.model.getMaxIter(), p.model.getSeed(), p.model.getWeightCol(),
        p.paired.getAggregationDepth(), p.paired.getFeaturesCol(), p.paired.getTol(),
        p.paired.getPredictionCol(),
    ],
    "numFeatures": lambda p: p.model.numFeatures,
    "weights": lambda p: [
        type(p.model.weights).__name__, len(p.model.weights), type(p.model.weights[0]).__name__,
        round(sum(p.model.weights), 12),
    ],
    "where a fit starts": lambda p: np.round(sorted(p.model.weights), 3).tolist(),
    "gaussians": lambda p: [
        [type(g) is MultivariateGaussian, type(g.mean), type(g.cov), g.cov.toArray().shape]
        for g in p.model.gaussians
    ],
    "gaussiansDF": lambda p: [p.model.gaussiansDF.dtypes, p.model.gaussiansDF.count()],
    "gaussiansDF and gaussians": lambda p: all(
        row["mean"].asML() == g.mean and row["cov"].asML() == g.cov
        for row, g in zip(p.model.gaussiansDF.collect(), p.model.gaussians, strict=True)
    ),
    "columns of transform": lambda p: [(f.name, f.dataType) for f in p.scored().schema.fields],
    "attributes of transform": lambda p: [f.metadata for f in p.scored().schema.fields],
    "rows of transform": lambda p: p.scored().count(),
    "renamed outputs": lambda p: p.paired.transform(p.data).columns,
    "transform with a Param": lambda p: p.model.transform(
        p.data, {p.model.predictionCol: "other"}
    ).columns,
    "outputs left out": lambda p: [
        p.model.copy({p.model.predictionCol: ""}).transform(p.data).columns,
        p.model.copy({p.model.probabilityCol: ""}).transform(p.data).columns,
    ],
    "the most probable is predicted": lambda p: all(
        row["prediction"] == int(np.argmax(row["probability"].toArray()))
        and abs(row["probability"].toArray().sum() - 1) < 1e-9
        for row in p.scored().collect()
    ),
    "one row": lambda p: [
        [
            p.model.predict(row["features"]) == row["prediction"],
            np.allclose(p.model.predictProbability(row["features"]).toArray(), row["probability"]),
        ]
        for row in p.scored().collect()
    ],
    "types of one row": lambda p: [
        type(p.model.predict(Vectors.dense(0.0, 5.0))),
        type(p.model.predictProbability(Vectors.dense(0.0, 5.0))),
        p.model.predict(Vectors.sparse(2, [0], [0.5])) in (0, 1),
    ],
    "a row far from every component": lambda p: np.round(
        p.model.predictProbability(Vectors.dense(0.0, 5.0)).toArray(), 3
    ).tolist(),
    "a row of another width": lambda p: p.model.predict(Vectors.dense(0.0)),
    "three pairs": lambda p: [
        partition([row["newPrediction"] for row in p.paired.transform(p.data).collect()]),
        sorted(p.paired.summary.clusterSizes),
        np.round(sorted(p.paired.weights), 3).tolist(),
        np.round(sorted(g.mean.toArray().tolist() for g in p.paired.gaussians), 4).tolist(),
    ],
    "`str` of a model": lambda p: str(p.model).split(", covarianceType")[0].replace(
        p.model.uid, "uid"
    ),
    "more said by `str` of a model": lambda p: ", covarianceType" in str(p.model),
    "arrays of doubles and floats": lambda p: [
        p.estimator(k=2, maxIter=0, seed=1).fit(
            p.data.select(vector_to_array("features", kind).alias("features"))
        ).summary.numIter
        for kind in ("float64", "float32")
    ],
    # The summary: test_gaussian_mixture and test_training_summary.
    "has a summary": lambda p: [p.model.hasSummary, isinstance(p.model.summary, p.summary)],
    "a copy has the summary": lambda p: p.model.copy().hasSummary,
    "figures of the summary": lambda p: [p.model.summary.k, p.model.summary.numIter],
    "sizes of the summary": lambda p: [
        {type(size) for size in p.model.summary.clusterSizes},
        sum(p.model.summary.clusterSizes), len(p.model.summary.clusterSizes),
    ],
    "type of the log-likelihood": lambda p: type(p.model.summary.logLikelihood),
    "columns of the summary": lambda p: [
        p.model.summary.featuresCol, p.model.summary.predictionCol, p.model.summary.probabilityCol,
    ],
    "tables of the summary": lambda p: [
        [frame.columns, frame.count()]
        for frame in (
            p.model.summary.predictions, p.model.summary.cluster, p.model.summary.probability,
        )
    ],
    # Saved and loaded: the suite's "read/write", the class's example.
    "a loaded estimator": lambda p: [
        str(p.reloaded) == str(p.mixture), parameters_of(p.reloaded) == parameters_of(p.mixture),
    ],
    "a loaded model": lambda p: [
        str(p.loaded) == str(p.model), p.loaded.uid == p.model.uid,
        p.loaded.weights == p.model.weights,
        [g.mean for g in p.loaded.gaussians] == [g.mean for g in p.model.gaussians],
        [g.cov for g in p.loaded.gaussians] == [g.cov for g in p.model.gaussians],
        parameters_of(p.loaded) == parameters_of(p.model),
        p.scored(p.loaded).collect() == p.scored().collect(),
    ],
    "`hasSummary` of a loaded model": lambda p: p.loaded.hasSummary,
    "saved model, loaded by MLlib": lambda p: mllib.GaussianMixtureModel.load(
        f"{p.path}/model"
    ).weights,
    "saving over a model": lambda p: p.model.save(f"{p.path}/model"),
    "overwriting a model": lambda p: p.model.write().overwrite().save(f"{p.path}/model"),
    "loading what is not there": lambda p: p.package.GaussianMixtureModel.load(f"{p.path}/none"),
    "loading an estimator that is not there": lambda p: p.estimator.load(f"{p.path}/none"),
    "a model loaded as an estimator": lambda p: p.estimator.load(f"{p.path}/model"),
    # Refusals: "parameters validation", and what a pipeline meets.
    "`k=1`": lambda p: p.fitted(k=1).getK(),
    "no component": lambda p: p.fitted(k=0),
    "a negative maxIter": lambda p: p.fitted(maxIter=-1),
    "a negative tol": lambda p: p.fitted(tol=-1.0),
    "an aggregationDepth of 0": lambda p: p.fitted(aggregationDepth=0),
    "features that are not there": lambda p: p.fitted(featuresCol="none"),
    "text as features": lambda p: p.fitted(featuresCol="text"),
    "weights that are not there": lambda p: p.fitted(weightCol="none"),
    "text as weights": lambda p: p.fitted(weightCol="text"),
    "negative weights": lambda p: p.fitted(weightCol="negative"),
    "no rows": lambda p: p.estimator().fit(p.data.limit(0)),
    "an output that exists": lambda p: first(
        p.scored(p.model.copy({p.model.predictionCol: "text"}))
    ),
    "an output that exists, at the fit": lambda p: p.fitted(predictionCol="text"),
    "two outputs of one name, at the fit": lambda p: p.fitted(
        predictionCol="q", probabilityCol="q"
    ),
    "two outputs of one name": lambda p: first(
        p.scored(p.model.copy({p.model.predictionCol: "q", p.model.probabilityCol: "q"}))
    ),
    "scoring without the features": lambda p: first(p.model.transform(p.data.drop("features"))),
    "scoring text": lambda p: first(p.model.transform(p.data.withColumn("features", F.lit("a")))),
    # Several fits: Pipeline and CrossValidator are in test_drop_in.
    "fitMultiple": lambda p: sorted(
        (index, model.getK())
        for index, model in p.estimator(maxIter=0, seed=1).fitMultiple(
            p.data, [{p.estimator.k: 2}, {p.estimator.k: 3}]
        )
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(spark) -> DataFrame:
    rows = [
        (i, weight, Vectors.dense(point), "t", -weight) for i, (weight, point) in enumerate(POINTS)
    ]
    frame = spark.createDataFrame(rows, ["id", "weight", "features", "text", "negative"])
    return frame.coalesce(1).drop("id").cache()


@pytest.fixture(scope="module")
def answers(data, tmp_path_factory) -> dict[str, tuple[Any, Any]]:
    """By probe, what pyspark.ml answers, and this package."""
    both = [
        Probes(package, data, str(tmp_path_factory.mktemp("contract") / "saved"))
        for package in (mllib, gmm_spark)
    ]
    return {name: (both[0].found(p), both[1].found(p)) for name, p in PROBES.items()}


def agree(theirs: Any, ours: Any) -> bool:
    """The same, or ours can be caught as whatever theirs is."""
    if isinstance(theirs, dict) and "failed" in theirs:
        return isinstance(ours, dict) and theirs["failed"] <= ours["failed"]
    return bool(theirs == ours)


@pytest.mark.parametrize("name", [name for name in PROBES if name not in differences()])
def test_it_is_as_with_mllib(answers, name) -> None:
    if name == "numFeatures" and not hasattr(mllib.GaussianMixtureModel, name):
        pytest.skip("MLlib's model has numFeatures from Spark 4.1 on")
    theirs, ours = answers[name]
    assert agree(theirs, ours), f"MLlib: {theirs}, here: {ours}"


@pytest.mark.parametrize("name", list(differences()))
def test_what_the_readme_says_is_different_is(answers, name) -> None:
    theirs, ours = answers[name]
    assert not agree(theirs, ours), f"both {theirs}: take it out of the README"
    assert len(differences()[name]) > 20  # a reason


@pytest.mark.parametrize("kind", CLASSES)
def test_every_public_name_is_there_and_is_called_alike(kind) -> None:
    """Of the pyspark that is installed, whatever its version."""
    theirs, ours = getattr(mllib, kind), getattr(gmm_spark, kind)
    names = [name for name in dir(theirs) if not name.startswith("_")]
    assert len(names) >= 9
    fields = getattr(ours, "__dataclass_fields__", {})
    assert [name for name in names if not hasattr(ours, name) and name not in fields] == []
    for name in names:
        one, other = getattr(theirs, name), getattr(ours, name, None)
        assert callable(one) == callable(other), name
        if callable(one):
            assert accepts(inspect.signature(other), inspect.signature(one)), name


def accepts(ours: inspect.Signature, theirs: inspect.Signature) -> bool:
    """Whether what may be called by one signature may be by the other."""
    pairs = zip(theirs.parameters.values(), ours.parameters.values(), strict=False)
    more = list(ours.parameters.values())[len(theirs.parameters) :]
    return (
        len(ours.parameters) >= len(theirs.parameters)
        and all(
            one.name == other.name
            and one.kind == other.kind
            and (one.default is one.empty) >= (other.default is other.empty)
            for one, other in pairs
        )
        and all(parameter.default is not parameter.empty for parameter in more)
    )


def test_signatures_that_do_not_fit_are_told() -> None:
    def one(self: Any, a: int, b: int = 1) -> None: ...
    def more(self: Any, a: int, b: int = 2, c: int = 3) -> None: ...
    def needs(self: Any, a: int, b: int, c: int = 3) -> None: ...
    def renamed(self: Any, x: int, b: int = 1) -> None: ...

    theirs = inspect.signature(one)
    assert accepts(inspect.signature(more), theirs)
    for other in (needs, renamed, lambda self, a: None):
        assert not accepts(inspect.signature(other), theirs)


def test_the_readme_names_probes_only() -> None:
    assert set(differences()) <= set(PROBES)
    assert all(re.fullmatch(r"[^|]+[.)]?", reason) for reason in differences().values())
