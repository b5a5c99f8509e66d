"""The mixture as a model of scikit-learn, of MLlib or of ONNX, that scores as it does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gmm_spark.engine.cluster import mllib_mixture, needed_session
from gmm_spark.engine.scoring import Scorer, central
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import structure_named
from gmm_spark.mixture.whitening import inverse_factors

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel

# Probabilities of float32 differ by no more from those of float64, or there is no such model.
_FLOAT32_TOLERANCE = 1e-5
_CHECKED_ROWS = 1000
# The outputs as skl2onnx calls them, and as they are called.
_ONNX_OUTPUTS = {"label": "prediction", "probabilities": "probability"}


def to_sklearn(model: GaussianMixtureModel) -> Any:
    """A fitted `sklearn.mixture.GaussianMixture`: see `GaussianMixtureModel.toSklearn`."""
    parameters = _of_normals(model, "toSklearn", "scikit-learn")
    try:
        found = _sklearn_mixture(parameters)
    except ImportError:
        raise ConfigurationError(
            "toSklearn needs scikit-learn, which is not installed: pip install scikit-learn"
        ) from None
    names = model._input_columns()
    if names is not None:
        found.feature_names_in_ = np.array(names, dtype=object)
    summary = model.summary if model.hasSummary else None
    found.converged_ = summary is not None and summary.converged
    found.n_iter_ = 0 if summary is None else summary.numIter
    found.lower_bound_ = np.nan if summary is None else summary.meanLogLikelihood
    return found


def _sklearn_mixture(parameters: Parameters) -> Any:
    """A `sklearn.mixture.GaussianMixture` of these parameters; ImportError without the package."""
    from sklearn.mixture import GaussianMixture

    kind, is_tied = parameters.structure.kind, False
    if kind == "full":
        is_tied = parameters.structure.shared
        covariances = parameters.dense_covariances()[: 1 if is_tied else None]
        deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        roots = inverse_factors(covariances, deviations).swapaxes(1, 2)
        precisions = roots @ roots.swapaxes(1, 2)
    else:
        covariances = np.array(parameters.per_component())
        roots = 1 / np.sqrt(covariances)
        precisions = roots**2
    covariance_type = "tied" if is_tied else {"diagonal": "diag"}.get(kind, kind)
    found = GaussianMixture(n_components=parameters.k, covariance_type=covariance_type)
    found.weights_ = np.array(parameters.weights)
    found.means_ = np.array(parameters.means)
    found.covariances_ = _one(covariances, is_tied)
    found.precisions_ = _one(precisions, is_tied)
    found.precisions_cholesky_ = _one(roots, is_tied)
    found.n_features_in_ = parameters.d
    return found


def _one(values: Array, is_tied: bool) -> Array:
    return np.asarray(values[0] if is_tied else values)


def to_mllib(model: GaussianMixtureModel) -> Any:
    """A `pyspark.ml.clustering.GaussianMixtureModel`: see `GaussianMixtureModel.toMLlib`."""
    parameters = _of_normals(model, "toMLlib", "MLlib")
    found = mllib_mixture(
        needed_session(),
        parameters.weights.tolist(),
        parameters.means,
        parameters.dense_covariances(),
    )
    for name in ("featuresCol", "predictionCol", "probabilityCol"):
        found._set(**{name: model.getOrDefault(model.getParam(name))})
    found._set(k=parameters.k)
    return found


def to_onnx(model: GaussianMixtureModel, dtype: str) -> Any:
    """An `onnx.ModelProto`: see `GaussianMixtureModel.toONNX`."""
    if dtype not in ("float32", "float64"):
        raise ConfigurationError(f"toONNX: dtype is {dtype!r}; expected float32 or float64")
    parameters = _of_normals(model, "toONNX", "ONNX")
    if model.getMissing() != "error":
        raise ConfigurationError(
            f"toONNX: missing is {model.getMissing()!r}, and a model of ONNX takes no gaps; "
            "setMissing('error') where rows have none"
        )
    by = central(parameters)
    standardised = parameters.standardised(by)
    if dtype == "float32":
        # Of diagonal covariances skl2onnx multiplies squares out, which float32 has no digits for.
        covariances = standardised.dense_covariances()
        standardised = replace(
            standardised, structure=structure_named("full"), covariances=covariances
        )
    found = _converted(standardised, by, dtype)
    names = model._input_columns() or [model.getFeaturesCol()]
    found.metadata_props.add(key="inputCols", value=json.dumps(names))
    if dtype == "float32":
        _check_float32(found, parameters)
    return found


def _converted(parameters: Parameters, by: Standardisation, dtype: str) -> Any:
    """The ONNX of a mixture standardised `by`, for rows that are not."""
    try:
        from onnx import helper
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
        from sklearn.mixture import GaussianMixture
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise ConfigurationError(
            "toONNX needs skl2onnx, which is not installed: pip install 'gmm_spark[onnx]'"
        ) from None
    scaler = StandardScaler()
    scaler.mean_, scaler.scale_, scaler.var_ = by.centre, by.scale, by.scale**2
    scaler.n_features_in_ = parameters.d
    kind = FloatTensorType if dtype == "float32" else DoubleTensorType
    found = convert_sklearn(
        make_pipeline(scaler, _sklearn_mixture(parameters)),
        "gmm_spark",
        initial_types=[("features", kind([None, parameters.d]))],
        options={GaussianMixture: {"score_samples": True}},
    )
    graph = found.graph
    for node in graph.node:
        node.output[:] = [_ONNX_OUTPUTS.get(name, name) for name in node.output]
    for output in graph.output:
        output.name = _ONNX_OUTPUTS.get(output.name, "log_density")
    # In the user's units.
    graph.initializer.append(
        helper.make_tensor("log_volume", _tensor_type(dtype), [], [by.log_volume])
    )
    graph.node.append(helper.make_node("Sub", ["score_samples", "log_volume"], ["log_density"]))
    return found


def _tensor_type(dtype: str) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _check_float32(found: Any, parameters: Parameters) -> None:
    """Raise where float32 is too coarse for the mixture, by rows drawn from it."""
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(0)
    chosen = rng.choice(parameters.k, size=_CHECKED_ROWS, p=parameters.weights)
    roots = np.linalg.cholesky(parameters.dense_covariances())
    drawn = rng.normal(size=(_CHECKED_ROWS, parameters.d, 1))
    rows = (parameters.means[chosen] + (roots[chosen] @ drawn)[:, :, 0]).astype(np.float32)
    results: Any = ReferenceEvaluator(found).run(None, {"features": rows})
    expected = Scorer(parameters, "error").score(rows.T.astype(float)).probability.T
    off = float(np.abs(results[1] - expected).max())
    if not off <= _FLOAT32_TOLERANCE:
        raise ConfigurationError(
            f"toONNX: float32 is too coarse for this mixture: probabilities of rows drawn from it "
            f"are off by up to {off:.1g}; use dtype='float64'"
        )


def _of_normals(model: GaussianMixtureModel, who: str, whose: str) -> Parameters:
    """The parameters; ConfigurationError where the mixture is none of normal distributions alone,
    each a segment."""
    parameters = model.parameters
    others = [family.name for family in parameters.families]
    if parameters.noise is not None:
        others.append("noise")
    if others:
        raise ConfigurationError(
            f"{who}: the model has {' and '.join(others)}, which {whose}'s Gaussian mixtures have "
            "not"
        )
    if model.clusters != [[component] for component in range(parameters.k)]:
        raise ConfigurationError(
            f"{who}: the model's components are merged into clusters, which {whose}'s Gaussian "
            "mixtures cannot predict"
        )
    return parameters
