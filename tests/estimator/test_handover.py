"""Models handed to scikit-learn and MLlib score as `transform` does."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyspark.ml.feature import VectorAssembler

from gmm_spark import GaussianMixture, GaussianMixtureModel
from gmm_spark.engine.scoring import Scorer
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import random_parameters

COLUMNS = ["x", "y", "z"]
TYPES = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical", "EEI": "diag"}


def model_of(code: str, **more) -> GaussianMixtureModel:
    parameters = random_parameters(code, 4, 3)
    return GaussianMixtureModel.fromParameters(
        parameters.weights,
        parameters.means,
        parameters.covariances,
        covarianceType=code,
        inputCols=COLUMNS,
        **more,
    )


def rows(n: int = 1000) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(n, 3)) * 3


def drawn_from(model: GaussianMixtureModel, n: int = 1000) -> np.ndarray:
    rng = np.random.default_rng(8)
    chosen = rng.choice(len(model.weights), size=n, p=model.weights)
    return np.stack([rng.multivariate_normal(model.means[k], model.covariances[k]) for k in chosen])


@pytest.mark.parametrize("code", STRUCTURES)
def test_scikit_learn_gives_the_same_probabilities(code) -> None:
    model, block = model_of(code), rows()
    found, scores = model.toSklearn(), Scorer(model.parameters, "error").score(block.T)
    assert found.covariance_type == TYPES.get(code, found.covariance_type)
    frame = pd.DataFrame(block, columns=COLUMNS)
    assert_allclose(found.predict_proba(frame).T, scores.probability, rtol=0, atol=1e-9)
    assert_allclose(found.score_samples(frame), scores.log_density, rtol=1e-9)
    assert_array_equal(found.predict(frame), scores.prediction)
    identity = [one @ two for one, two in zip(_dense(found), model.covariances, strict=True)]
    assert_allclose(identity, [np.eye(3)] * 4, atol=1e-9)
    with pytest.raises(ValueError, match="feature names"):
        found.predict(frame[["z", "y", "x"]])


def _dense(found) -> list:
    """The inverse covariances of scikit-learn's model."""
    kept = found.precisions_
    return {
        "full": lambda: list(kept),
        "tied": lambda: [kept] * 4,
        "diag": lambda: [np.diag(each) for each in kept],
        "spherical": lambda: [each * np.eye(3) for each in kept],
    }[found.covariance_type]()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-9)])
@pytest.mark.parametrize("code", STRUCTURES)
def test_onnxruntime_gives_the_same_probabilities(code, dtype, tolerance) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = model_of(code)
    block = drawn_from(model).astype(dtype)
    made = model.toONNX(dtype).SerializeToString()
    session = runtime.InferenceSession(made, providers=["CPUExecutionProvider"])
    outputs = [one.name for one in session.get_outputs()]
    assert outputs == ["prediction", "probability", "log_density"]
    prediction, probability, log_density = session.run(None, {"features": block})
    scores = Scorer(model.parameters, "error").score(block.astype(float).T)
    assert_allclose(probability.T, scores.probability, rtol=0, atol=tolerance)
    assert_allclose(log_density[:, 0], scores.log_density, rtol=tolerance, atol=tolerance)
    largest = np.sort(scores.probability, axis=0)
    is_sure = largest[-1] - largest[-2] > 2 * tolerance
    assert is_sure.sum() > 990
    assert_array_equal(prediction[is_sure, 0], scores.prediction[is_sure])
    assert session.get_modelmeta().custom_metadata_map["inputCols"] == '["x", "y", "z"]'


def test_onnx_of_columns_far_from_zero_keeps_their_digits() -> None:
    """Sums of money in the millions, a column in thousandths: as float32 they are 7 digits."""
    runtime = pytest.importorskip("onnxruntime")
    parameters = random_parameters("VVV", 4, 3)
    factor, shift = np.array([2e4, 1e-3, 1.0]), np.array([1e6, -0.02, 3.0])
    model = GaussianMixtureModel.fromParameters(
        parameters.weights,
        parameters.means * factor + shift,
        parameters.covariances * factor[:, None] * factor,
    )
    block = drawn_from(model).astype(np.float32)
    session = runtime.InferenceSession(
        model.toONNX().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    _, probability, log_density = session.run(None, {"features": block})
    scores = Scorer(model.parameters, "error").score(block.astype(float).T)
    assert_allclose(probability.T, scores.probability, rtol=0, atol=1e-5)
    assert_allclose(log_density[:, 0], scores.log_density, rtol=1e-5, atol=1e-5)


def test_what_float32_is_too_coarse_for_is_one_clear_error() -> None:
    pytest.importorskip("onnx")
    narrow = GaussianMixtureModel.fromParameters(
        [0.6, 0.2, 0.2], [[-1e3], [1e3], [1e3 + 3e-3]], [[[1e-6]]] * 3
    )
    with pytest.raises(ConfigurationError, match=r"off by up to .*; use dtype='float64'"):
        narrow.toONNX()
    assert narrow.toONNX("float64").graph.output


def test_scikit_learns_own_fit_is_given_back() -> None:
    """What it keeps of a fit of its own, attribute by attribute."""
    from sklearn.mixture import GaussianMixture as Peer

    for kind in ("full", "tied", "diag", "spherical"):
        peer = Peer(3, covariance_type=kind, random_state=1).fit(rows(300))
        model = GaussianMixtureModel.fromParameters(
            peer.weights_, peer.means_, peer.covariances_, covarianceType=kind
        )
        found = model.toSklearn()
        for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
            assert_allclose(getattr(found, name), getattr(peer, name), rtol=1e-9, atol=1e-12)
        assert not hasattr(found, "feature_names_in_")


@pytest.mark.parametrize("code", ["VVV", "EEE", "VVI", "VII", "VEV"])
def test_mllib_gives_the_same_probabilities(code, spark, tmp_path) -> None:
    """Of rows drawn from the mixture; MLlib adds 2e-16 to every density, which far from all
    components is more than theirs."""
    model = model_of(code).setPredictionCol("segment")
    drawn = drawn_from(model)
    densities = Scorer(model.parameters, "error").score(drawn.T).log_density
    near = densities > -15
    assert near.sum() >= 995
    data = spark.createDataFrame(pd.DataFrame(drawn, columns=COLUMNS).assign(id=range(1000)))
    assembled = VectorAssembler(inputCols=COLUMNS, outputCol="features").transform(data)
    found = model.toMLlib()
    assert found.getK() == 4
    assert_allclose(found.weights, model.weights, rtol=1e-12)
    found.write().save(str(tmp_path / "m"))
    loaded = type(found).load(str(tmp_path / "m"))
    ours = model.transform(data).orderBy("id").collect()
    for theirs in (found, loaded):
        scored = theirs.transform(assembled).orderBy("id").collect()
        probabilities = [[row["probability"].toArray() for row in own] for own in (ours, scored)]
        assert_allclose(*(np.array(own)[near] for own in probabilities), rtol=0, atol=1e-9)
        assert_array_equal(*([row["segment"] for row in own] for own in (ours, scored)))


def test_a_fit_takes_its_figures_along(spark) -> None:
    data = spark.createDataFrame(pd.DataFrame(rows(200), columns=COLUMNS))
    model = GaussianMixture(k=2, inputCols=COLUMNS, seed=1).fit(data)
    found = model.toSklearn()
    assert found.converged_ == model.summary.converged
    assert found.n_iter_ == model.summary.numIter
    frame = pd.DataFrame(rows(200), columns=COLUMNS)
    assert_allclose(found.lower_bound_, found.score(frame), rtol=1e-9)


@pytest.mark.parametrize("call", ["toSklearn", "toMLlib", "toONNX"])
def test_what_they_cannot_hold_is_one_clear_error(call) -> None:
    noisy = GaussianMixtureModel.fromParameters(
        [0.9], [[0.0]], [[[1.0]]], noiseWeight=0.1, noiseBox=[(-5.0, 5.0)]
    )
    with pytest.raises(ConfigurationError, match=rf"{call}: the model has noise, which"):
        getattr(noisy, call)()
    counted = GaussianMixtureModel.fromParameters([1.0], countCols=["n"], rates=[[2.0]])
    with pytest.raises(ConfigurationError, match=r"the model has counts, which"):
        getattr(counted, call)()
    merged = model_of("VVV").mergeComponents(None, 2, "bhattacharyya")
    with pytest.raises(ConfigurationError, match=r"merged into clusters, which"):
        getattr(merged, call)()


def test_onnx_refuses_what_its_graph_has_not() -> None:
    with pytest.raises(
        ConfigurationError, match=r"dtype is 'float16'; expected float32 or float64"
    ):
        model_of("VVV").toONNX("float16")
    with pytest.raises(ConfigurationError, match=r"missing is 'marginalize'.*takes no gaps"):
        model_of("VVV").setMissing("marginalize").toONNX()


def test_without_skl2onnx_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'gmm_spark\[onnx\]'"):
        model_of("VVV").toONNX()


def test_without_scikit_learn_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.mixture", None)
    with pytest.raises(ConfigurationError, match="pip install scikit-learn"):
        model_of("VVV").toSklearn()
