"""Every public call on Spark Connect, in a process and a session of their own.

`python connect_program.py directory` prints a line of JSON: what each step found, or its error.
A process is of Spark Connect or of classic Spark, hence not a test itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyspark
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.clustering import GaussianMixture as MLlibMixture
from pyspark.ml.clustering import GaussianMixtureModel as MLlibModel
from pyspark.ml.evaluation import ClusteringEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.tuning import CrossValidator, CrossValidatorModel, ParamGridBuilder
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import gmm_spark
from gmm_spark import (
    GaussianMixture,
    GaussianMixtureModel,
    GaussianMixtureSearch,
    GaussianMixtureSummary,
    ParquetTable,
    Preparation,
    PreparationModel,
)
from gmm_spark.cli import churn, evaluate, score, train
from gmm_spark.errors import ConfigurationError
from gmm_spark.prepare.scan import sampled
from tests.estimator.public_calls import public_calls, record_calls

STEPS: dict[str, Callable[[Any], Any]] = {}


def step(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    STEPS[work.__name__] = work
    return work


class Session:
    """What the steps share."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        builder = SparkSession.builder.remote("local[2]").config("spark.ui.enabled", "false")
        builder = builder.config("spark.sql.shuffle.partitions", "2")
        # As in the session of the other tests: of short jobs, and fewer waits for workers.
        builder = builder.config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
        if tuple(int(part) for part in pyspark.__version__.split(".")[:2]) >= (4, 1):
            builder = builder.config("spark.python.unix.domain.socket.enabled", "true")
        self.spark = builder.config("spark.driver.memory", "1g").getOrCreate()
        rng = np.random.default_rng(4)
        rows = np.repeat([[0.0, 0.0], [9.0, 2.0]], [60, 40], axis=0) + rng.normal(size=(100, 2))
        self.frame = self.spark.createDataFrame(rows.tolist(), "x double, y double")
        self.gaps = self.frame.withColumn("y", F.when(F.col("x") < 9, F.col("y")))
        self.mixture = GaussianMixture(k=2, inputCols=["x", "y"], numInit=1, maxIter=5)
        self.model: Any = None
        self.assembler = VectorAssembler(inputCols=["x", "y"], outputCol="features")

    def path(self, name: str) -> str:
        return str(self.directory / name)


def groups(scored: Any, column: str = "prediction") -> list[int]:
    return sorted(row["count"] for row in scored.groupBy(column).count().collect())


@step
def fit_a_dataframe(s: Session) -> Any:
    s.model = s.mixture.fit(s.frame)
    return [list(s.model.weights), s.model.means.tolist(), s.model.summary.numRows]


@step
def fit_a_table(s: Session) -> Any:
    s.frame.write.parquet(s.path("table"))
    table = ParquetTable(s.path("table"))
    found = s.mixture.fit(table)
    far = ParquetTable(s.path("table"), columns=("x",), filters=[("x", ">", 5.0)])
    scored = found.transform(far)
    sizes = [groups(found.transform(table)), groups(scored), scored.columns]
    return [list(found.weights), found.means.tolist(), *sizes]


@step
def fit_categories_counts_labels_noise(s: Session) -> Any:
    frame = s.frame.withColumn("c", F.when(F.col("x") > 5, "far").otherwise("near"))
    frame = frame.withColumn("n", (F.abs("y") * 2).cast("int"))
    frame = frame.withColumn("w", F.lit(2.0)).withColumn("known", (F.col("x") > 5).cast("int"))
    mixed = GaussianMixture(
        k=2, inputCols=["x", "y"], categoricalCols=["c"], countCols=["n"], weightCol="w",
        labelCol="known", noise=True, contamination=0.01, numInit=1, maxIter=3,
    )  # fmt: skip
    found = mixed.fit(frame)
    found.save(s.path("mixed"))
    loaded = GaussianMixtureModel.load(s.path("mixed"))
    scored = loaded.transform(frame).select("prediction", "outlier").collect()
    return [loaded.categories, loaded.noiseWeight > 0, len(scored), loaded.getCountCols()]


@step
def choose_segments(s: Session) -> Any:
    frame = s.frame.withColumn("far", F.col("x") > 5.0)
    search = GaussianMixtureSearch(
        k=[2], covarianceType=["diag"], inputCols=["x", "y"], criterion="segmentation",
        outcomeCol="far",
    )  # fmt: skip
    found = search.fit(frame)
    found.save(s.path("segments"))
    loaded = GaussianMixtureModel.load(s.path("segments"))
    table = loaded.summary.candidatesDF.collect()
    information = loaded.summary.outcomeInformation
    return [len(loaded.clusters), groups(loaded.transform(frame)), table[0]["k"], information]


@step
def transform(s: Session) -> Any:
    scored = s.model.transform(s.frame)
    rows = scored.collect()
    vectors = np.array([row["probability"].toArray() for row in rows])
    return [scored.columns, groups(scored), bool(np.allclose(vectors.sum(axis=1), 1.0))]


@step
def impute(s: Session) -> Any:
    filled = s.model.impute(s.gaps)
    drawn = s.model.impute(s.gaps, draws=2, seed=3)
    return [filled.columns, filled.where("y is null").count(), drawn.count()]


@step
def predict_columns(s: Session) -> Any:
    found = s.model.predictColumns(s.frame.select("x"), "y")
    return [found.columns, found.where("y_sd > 0").count()]


@step
def explain(s: Session) -> Any:
    lines = s.model.explain(s.frame.select("x", "y"), asTable=True)
    columns = s.model.explain(ParquetTable(s.path("table"), columns=["x", "y"]), top=1)
    return [lines.count(), columns.columns, columns.where("log_odds > 0").count()]


@step
def handed_over(s: Session) -> Any:
    try:
        s.model.toMLlib()
    except ConfigurationError as error:
        return [str(error), s.model.toSklearn().n_components]


@step
def one_row(s: Session) -> Any:
    vector = s.model.predictProbability([9.0, 2.0]).toArray()
    return [s.model.predict([9.0, 2.0]), float(vector[1]), s.model.numFeatures]


@step
def gaussians(s: Session) -> Any:
    rows = s.model.gaussiansDF.collect()
    found = [row["mean"].toArray().tolist() for row in rows]
    described = [row.asDict() for row in s.model.describe().collect()]
    segments = [(row["segment"], row["size"], row["x_mean"]) for row in described]
    return [found, rows[0]["cov"].toArray().shape, len(s.model.gaussians), segments]


@step
def summary(s: Session) -> Any:
    found = s.model.summary
    rows = [found.predictions.count(), found.cluster.columns, found.probability.columns]
    return [*rows, list(found.clusterSizes), np.isfinite(found.logLikelihood).item()]


@step
def described(s: Session) -> Any:
    rows = s.model.describe().orderBy("segment").collect()
    attributes = [field.metadata for field in s.model.transform(s.frame).schema.fields[-2:]]
    return [[[row["size"], row["x_mean"]] for row in rows], attributes, str(s.model)]


@step
def merge_components(s: Session) -> Any:
    merged = s.model.mergeComponents(s.frame, 1)
    merged.save(s.path("merged"))
    loaded = GaussianMixtureModel.load(s.path("merged"))
    scored = loaded.transform(s.frame)
    entropy = merged.mergeHierarchy[0]["entropy"]
    sizes = [row["size"] for row in merged.describe().collect()]
    return [loaded.clusters, abs(entropy) < 1e-9, sizes, groups(scored, "component")]


@step
def update(s: Session) -> Any:
    far = ParquetTable(s.path("table"), filters=[("x", ">", 5.0)])
    faded = s.model.update(far, halfLife=1.0)
    faded.save(s.path("updated"))
    again = GaussianMixtureModel.load(s.path("updated")).update(s.frame)
    return [list(faded.weights), again.summary.update["weight"], again.summary.numRows]


@step
def search(s: Session) -> Any:
    grid = GaussianMixtureSearch(k=[1, 2], inputCols=["x", "y"], numInit=1, maxIter=3)
    found = grid.fit(s.frame)
    first = found.summary.candidatesDF.collect()[0]
    grid.write().overwrite().save(s.path("search"))
    loaded = GaussianMixtureSearch.load(s.path("search"))
    return [found.summary.k, first["k"], loaded.getK()]


@step
def save_and_load(s: Session) -> Any:
    s.model.save(s.path("model"))
    loaded = GaussianMixtureModel.load(s.path("model"))
    same = loaded.transform(s.frame).collect() == s.model.transform(s.frame).collect()
    ways = [
        [
            summary.parameterHistory[0].means.tolist(),
            summary.sampleHistory[0]["parameters"].means.tolist(),
        ]
        for summary in (loaded.summary, s.model.summary)
    ]
    same = same and ways[0] == ways[1]
    return [same, loaded.summary == s.model.summary, loaded.uid == s.model.uid]


def files(directory: Path) -> list[str]:
    inside = directory.rglob("*")
    return sorted(str(path.relative_to(directory)) for path in inside if path.is_file())


@step
def save_where_something_is(s: Session) -> Any:
    before, said = files(s.directory / "model"), []
    other = GaussianMixture(k=7)
    (s.directory / "empty").mkdir()
    for what, name in ((s.model, "model"), (other, "model"), (s.model, "table"), (other, "empty")):
        try:
            what.save(s.path(name))
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}".replace(str(s.directory), "..."))
    return [said, files(s.directory / "model") == before, files(s.directory / "empty")]


@step
def overwrite(s: Session) -> Any:
    """Each time the other: nothing of what was there is left."""
    path = s.path("over")
    started = GaussianMixture(k=2, inputCols=["x", "y"], initialModel=s.model)
    plain = GaussianMixture(k=7)
    layouts = []
    for what in (started, plain, s.model, s.model, plain):
        what.write().overwrite().save(path)
        layouts.append(sorted(entry.name for entry in Path(path).iterdir()))
    k = GaussianMixture.load(path).getK()
    started.write().overwrite().save(path)
    means = GaussianMixture.load(path).getInitialModel().means.tolist()
    s.model.write().overwrite().save(path)
    return [layouts, k, means, GaussianMixtureModel.load(path).means.tolist()]


@step
def load_what_is_not_there(s: Session) -> Any:
    said = []
    for kind, name in ((GaussianMixtureModel, "absent"), (GaussianMixture, "model")):
        try:
            kind.load(s.path(name))
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}".replace(str(s.directory), "..."))
    return said


@step
def pipeline(s: Session) -> Any:
    stages = [s.assembler, GaussianMixture(k=2, numInit=1, maxIter=3)]
    both = Pipeline(stages=stages)
    fitted = both.fit(s.frame)
    found = [groups(fitted.transform(s.frame))]
    for _ in range(2):
        both.write().overwrite().save(s.path("pipeline"))
        fitted.write().overwrite().save(s.path("pipeline model"))
    loaded = PipelineModel.load(s.path("pipeline model"))
    found.append(groups(loaded.transform(s.frame)))
    return [*found, Pipeline.load(s.path("pipeline")).getStages()[1].getK()]


@step
def cross_validation(s: Session) -> Any:
    data = s.assembler.transform(s.frame)
    candidate = GaussianMixture(numInit=1, maxIter=2)
    validator = CrossValidator(
        estimator=candidate,
        estimatorParamMaps=ParamGridBuilder().addGrid(candidate.k, [2]).build(),
        evaluator=ClusteringEvaluator(),
        numFolds=2,
        parallelism=2,
        seed=5,
    )
    validated = validator.fit(data)
    validated.write().overwrite().save(s.path("validated"))
    loaded = CrossValidatorModel.load(s.path("validated"))
    return [validated.bestModel.getK(), loaded.bestModel.getK(), len(validated.avgMetrics)]


@step
def outcomes(s: Session) -> Any:
    rows = s.frame.withColumn("left", F.col("x") + F.col("y") > 5)
    found = s.model.outcomes(rows, "left").collect()
    return [[row["segment"], row["rows"], row["estimate"]] for row in found]


@step
def report(s: Session) -> Any:
    path = s.model.report(s.frame, s.path("page.html"))
    return "100 rows in 2 segments" in " ".join(Path(path).read_text("utf-8").split())


@step
def mllib(s: Session) -> Any:
    """MLlib's model as a start, and MLlib's files."""
    data = s.assembler.transform(s.frame)
    theirs = MLlibMixture(k=2, seed=3, maxIter=5)
    model = theirs.fit(data)
    model.write().overwrite().save(s.path("theirs"))
    theirs.write().overwrite().save(s.path("their estimator"))
    started = GaussianMixture(k=2, inputCols=["x", "y"], initialModel=model).fit(s.frame)
    loaded = GaussianMixtureModel.load(s.path("theirs"))
    again = MLlibModel.load(s.path("theirs"))
    ours = [row["prediction"] for row in loaded.transform(data).collect()]
    expected = [row["prediction"] for row in again.transform(data).collect()]
    seed = GaussianMixture.load(s.path("their estimator")).getSeed()
    return [sorted(started.summary.clusterSizes), ours == expected, seed]


@step
def wrong_kinds(s: Session) -> Any:
    said = []
    for data in (s.frame.toPandas(), s.path("table"), None):
        for call in (s.mixture.fit, s.model.transform, s.model.impute):
            try:
                call(data)
            except Exception as error:
                said.append(f"{type(error).__name__}: {error}".replace(str(s.directory), "..."))
    return said


@step
def used_in_a_udf(s: Session) -> Any:
    model = s.model
    predict = F.udf(lambda x, y: model.predict([x, y]), "int")
    return groups(s.frame.select(predict("x", "y").alias("prediction")))


@step
def prepare(s: Session) -> Any:
    frame = s.frame.withColumn("plan", F.when(F.col("x") > 5, "far").otherwise("near"))
    preparation = Preparation(inputCols=["x", "y"], categoricalCols=["plan"])
    prepared = preparation.fit(frame)
    prepared.write().overwrite().save(s.path("prepared"))
    loaded = PreparationModel.load(s.path("prepared")).copy()
    preparation.save(s.path("preparation"))
    sample = sampled(frame, ["x", "y", "plan"], 0, ("plan",))
    again = preparation.fitToSample(frame, sample)
    mixture = GaussianMixture(k=2, numInit=1, maxIter=3, **loaded.inputs)
    return [
        loaded.columns == prepared.columns == again.columns, loaded.leftOut, loaded.expressions[:1],
        loaded.inputCols, loaded.categoricalCols, loaded.countCols,
        groups(mixture.fit(loaded.transform(frame)).transform(loaded.transform(frame))),
        Preparation.load(s.path("preparation")).getInputCols(),
    ]  # fmt: skip


@step
def settings(s: Session) -> Any:
    """Every getter that has a value, and every setter."""
    said = 0
    prepared = PreparationModel.load(s.path("prepared"))
    for stage in (s.mixture, GaussianMixtureSearch(), s.model, Preparation(), prepared):
        for name in dir(stage):
            if name.startswith("get") and stage.hasParam(f"{name[3:4].lower()}{name[4:]}"):
                try:
                    value = getattr(stage, name)()
                except KeyError:  # neither set nor a default
                    value = None
                said += value is not None
                getattr(stage.copy(), f"set{name[3:]}", id)(value)
    names = [
        GaussianMixture().setParams(k=3).getK(),
        GaussianMixtureSearch().setParams(k=[3]).getK(),
    ]
    return [said, *names, Preparation().setParams(suffix="_x").getSuffix()]


@step
def what_a_model_holds(s: Session) -> Any:
    s.mixture.check(s.frame)
    model = GaussianMixtureModel.fromParameters(
        weights=[0.6, 0.4], means=s.model.means, covariances=s.model.covariances,
        inputCols=["x", "y"],
    )  # fmt: skip
    mixed = GaussianMixtureModel.load(s.path("mixed"))
    held = [mixed.probabilities("c").shape, mixed.rates.shape, mixed.parameters.k]
    table = ParquetTable(s.path("table"))
    told = GaussianMixtureSummary.from_json(json.loads(json.dumps(s.model.summary.to_json())))
    drawn = model.sample(50, seed=3)
    return [
        groups(model.transform(s.frame)), model.hasSummary, *held, table.schema().names,
        table.files().schema.names, told == s.model.summary, drawn.columns, drawn.count(),
    ]  # fmt: skip


@step
def charts(s: Session) -> Any:
    searched = GaussianMixtureModel.load(s.path("segments")).plot
    plot = s.model.plot
    made = [plot.weights(), plot.profiles(s.frame), plot.ellipses(), plot.map(s.frame)]
    return [chart.to_dict()["$schema"][:30] for chart in [*made, plot.history(), searched.choice()]]


@step
def scored_elsewhere(s: Session) -> Any:
    """By the statement in SQL as by the model, and as ONNX."""
    s.frame.createOrReplaceTempView("rows")
    rows = s.spark.sql(s.model.toSQL("spark", "rows"))
    return [groups(rows), len(s.model.toONNX().graph.output) > 0]


@step
def jobs(s: Session) -> Any:
    """Exit codes, with versions and their log; and the scores that were published."""
    frame = s.frame.withColumn("id", F.monotonically_increasing_id())
    frame = frame.withColumn("left", F.col("x") + F.col("y") > 5)
    frame.coalesce(1).write.parquet(s.path("customers"))

    def run(job: Any, *argv: Any) -> int:
        words = ["--input.path", s.path("customers"), *argv]
        return int(job.main([str(word) for word in words]))

    columns = ["--columns", "x,y"]
    model = s.path("trained")
    codes = [
        run(train, *columns, "--k", 2, "--output", model, "--keep_versions", 2),
        run(score, "--model", model, "--output", s.path("scores"), "--keep_versions", 2),
        run(evaluate, "--model", model, "--output", s.path("evaluated")),
        run(churn, "--id", "id", "--outcome", "left", "--k", "2", "--output", s.path("churned")),
    ]
    k = len(gmm_spark.read_model(model).weights)
    return [codes, k, groups(gmm_spark.read_scores(s.path("scores")))]


def main(directory: str) -> None:
    made = record_calls()
    session = Session(Path(directory))
    found = {}
    for name, work in STEPS.items():
        try:
            found[name] = work(session)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            found[name] = {"error": f"{type(error).__name__}: {lines[0]}"}
    print(json.dumps({"steps": found, "not made": sorted(public_calls() - made)}))
    session.spark.stop()


if __name__ == "__main__":
    main(sys.argv[1])
