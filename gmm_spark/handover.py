"""The mixture as a model of scikit-learn, or of MLlib, that scores as it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gmm_spark.engine.cluster import mllib_mixture, needed_session
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.whitening import inverse_factors

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel


def to_sklearn(model: GaussianMixtureModel) -> Any:
    """A fitted `sklearn.mixture.GaussianMixture`: see `GaussianMixtureModel.toSklearn`."""
    parameters = _of_normals(model, "toSklearn", "scikit-learn")
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError:
        raise ConfigurationError(
            "toSklearn needs scikit-learn, which is not installed: pip install scikit-learn"
        ) from None
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
    names = model._input_columns()
    if names is not None:
        found.feature_names_in_ = np.array(names, dtype=object)
    summary = model.summary if model.hasSummary else None
    found.converged_ = summary is not None and summary.converged
    found.n_iter_ = 0 if summary is None else summary.numIter
    found.lower_bound_ = np.nan if summary is None else summary.meanLogLikelihood
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
