"""MLlib's models as a start, and what MLlib saved, read by the same call as before."""

from __future__ import annotations

import json
import logging
import pickle
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyspark.ml.clustering import GaussianMixture as MLlibMixture
from pyspark.ml.clustering import GaussianMixtureModel as MLlibModel
from pyspark.ml.feature import VectorAssembler

from gmm_spark import GaussianMixture, GaussianMixtureModel, GaussianMixtureSearch
from gmm_spark.errors import ConfigurationError, ModelFileError


@pytest.fixture(scope="module")
def data(frame) -> Any:
    return VectorAssembler(inputCols=["x", "y"], outputCol="vector").transform(frame).cache()


@pytest.fixture(scope="module")
def theirs(data, tmp_path_factory) -> tuple[Any, Any, Any]:
    """MLlib's estimator, the model it fitted, and where both are saved."""
    path = tmp_path_factory.mktemp("mllib")
    estimator = MLlibMixture(
        k=3, seed=10, tol=0.02, maxIter=30, featuresCol="vector", predictionCol="segment"
    )
    model = estimator.fit(data)
    estimator.save(str(path / "estimator"))
    model.save(str(path / "model"))
    return estimator, model, path


def assert_the_mixture_of(found: GaussianMixtureModel, model: MLlibModel) -> None:
    """Component by component: theirs keep their numbers, however large they are."""
    assert list(found.weights) == list(model.weights)
    for index, gaussian in enumerate(model.gaussians):
        assert_array_equal(found.means[index], gaussian.mean.toArray())
        assert_array_equal(found.covariances[index], gaussian.cov.toArray())


def test_a_model_that_mllib_saved_is_loaded(theirs, data) -> None:
    _, model, path = theirs
    loaded = GaussianMixtureModel.load(str(path / "model"))
    assert_the_mixture_of(loaded, model)
    assert (loaded.uid, loaded.getK(), loaded.getCovarianceType()) == (model.uid, 3, "full")
    assert (loaded.getFeaturesCol(), loaded.getPredictionCol()) == ("vector", "segment")
    assert (loaded.getSeed(), loaded.getMaxIter()) == (10, 30)
    assert not loaded.hasSummary
    ours = [row["segment"] for row in loaded.transform(data).collect()]
    assert ours == [row["segment"] for row in model.transform(data).collect()]
    loaded.save(str(path / "again"))
    again = GaussianMixtureModel.load(str(path / "again"))
    assert_array_equal(again.means, loaded.means)


def test_an_estimator_that_mllib_saved_is_loaded(theirs, caplog) -> None:
    _, _, path = theirs
    with caplog.at_level(logging.WARNING, "gmm_spark"):
        loaded = GaussianMixture.load(str(path / "estimator"))
    assert (loaded.getK(), loaded.getSeed(), loaded.getMaxIter()) == (3, 10, 30)
    assert (loaded.getFeaturesCol(), loaded.getPredictionCol()) == ("vector", "segment")
    assert (loaded.getTol(), loaded.isSet("tol")) == (1e-6, False)
    assert [record.getMessage() for record in caplog.records] == [
        "tol: MLlib's 0.02 is a gain of the total log-likelihood and is not taken over; here it "
        "is 1e-06, a gain of the mean log-likelihood"
    ]
    # Of what was not set, the defaults here: MLlib writes its own beside.
    assert not loaded.isSet("weightCol")
    assert loaded.getOrDefault("aggregationDepth") == 2


def test_without_a_tol_of_its_own_nothing_is_said(spark, tmp_path, caplog) -> None:
    MLlibMixture(k=4).save(str(tmp_path / "e"))
    with caplog.at_level(logging.WARNING, "gmm_spark"):
        loaded = GaussianMixture.load(str(tmp_path / "e"))
    assert (loaded.getK(), loaded.getTol(), loaded.getSeed()) == (4, 1e-6, 0)
    assert not caplog.records


def test_mllibs_files_of_the_other_class(theirs) -> None:
    _, _, path = theirs
    for kind, name in (
        (GaussianMixture, "model"),
        (GaussianMixtureModel, "estimator"),
        (GaussianMixtureSearch, "estimator"),
    ):
        with pytest.raises(ModelFileError, match=f"holds a org.*{kind.__name__} was asked for"):
            kind.load(str(path / name))


def test_a_model_of_mllibs_that_is_damaged(theirs, tmp_path) -> None:
    _, model, _ = theirs
    path = tmp_path / "m"
    model.save(str(path))
    for file in path.rglob(".*.crc"):
        file.unlink()
    (part,) = (path / "data").glob("part*")
    content = pq.read_table(part)
    rows = content.to_pylist()
    rows[0]["weights"][0] += 0.5
    pq.write_table(type(content).from_pylist(rows, content.schema), part)
    with pytest.raises(ModelFileError, match=r"MLlib's model at .* sum to 1\.5") as caught:
        GaussianMixtureModel.load(str(path))
    assert "\n" not in str(caught.value)
    metadata = json.loads(next((path / "metadata").glob("part*")).read_text())
    assert metadata["class"] == "org.apache.spark.ml.clustering.GaussianMixtureModel"


def test_a_fit_starts_from_a_model_of_mllibs(theirs, frame, data) -> None:
    """The start's log-likelihood is that of MLlib's mixture, by its density in every row."""
    _, model, path = theirs
    rows = np.array(frame.collect())
    log_joint = []
    for weight, gaussian in zip(model.weights, model.gaussians, strict=True):
        deviation = rows - gaussian.mean.toArray()
        covariance = gaussian.cov.toArray()
        distance = np.einsum("ni,ij,nj->n", deviation, np.linalg.inv(covariance), deviation)
        log_volume = np.log(np.linalg.det(2 * np.pi * covariance))
        log_joint.append(np.log(weight) - 0.5 * (distance + log_volume))
    expected = np.logaddexp.reduce(log_joint).mean()
    for source, columns in ((frame, {"inputCols": ["x", "y"]}), (data, {"featuresCol": "vector"})):
        started = GaussianMixture(k=3, initialModel=model, maxIter=1, **columns).fit(source)
        first = started.summary.history[1]["meanLogLikelihood"]
        assert_allclose(first, expected, rtol=1e-9)
    estimator = GaussianMixture(k=3, initialModel=model, inputCols=["x", "y"])
    assert_the_mixture_of(estimator.getInitialModel(), model)
    assert estimator.getInitialModel().getFeaturesCol() == "vector"
    estimator.save(str(path / "started"))
    loaded = GaussianMixture.load(str(path / "started"))
    assert_the_mixture_of(loaded.getInitialModel(), model)
    assert_the_mixture_of(pickle.loads(pickle.dumps(estimator)).getInitialModel(), model)
    assert_the_mixture_of(estimator.copy().setInitialModel(model).getInitialModel(), model)


def test_a_start_that_does_not_fit(theirs, frame, data) -> None:
    _, model, _ = theirs
    with pytest.raises(ConfigurationError, match="k is 2, but initialModel has 3 components"):
        GaussianMixture(k=2, initialModel=model, inputCols=["x", "y"]).fit(frame)
    with pytest.raises(ConfigurationError, match="initialModel has 2 columns, the data 1"):
        GaussianMixture(k=3, initialModel=model, inputCols=["x"]).fit(frame)


@pytest.mark.parametrize("start", ["lake/model", np.zeros((2, 2)), GaussianMixture(), 3])
def test_what_is_no_model_to_start_from(start) -> None:
    for way in (
        lambda: GaussianMixture(initialModel=start),
        lambda: GaussianMixture().setInitialModel(start),
        lambda: (plain := GaussianMixture()).copy({plain.initialModel: start}),
    ):
        with pytest.raises(TypeError, match=r'"initialModel".*fromParameters makes one') as caught:
            way()
        assert "\n" not in str(caught.value)
