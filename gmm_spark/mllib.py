"""MLlib's Gaussian mixtures as ours: a model in memory, and what MLlib saved."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import SparkSession

from gmm_spark.errors import ConfigurationError, refusals
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import structure_named

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel

logger = logging.getLogger(__name__)

_PACKAGE = "org.apache.spark.ml.clustering"
# What MLlib's metadata call the classes that we read as ours of the same name.
CLASSES = {
    f"{_PACKAGE}.GaussianMixture": "gmm_spark.estimator.GaussianMixture",
    f"{_PACKAGE}.GaussianMixtureModel": "gmm_spark.model.GaussianMixtureModel",
}


def started_from(model: Any) -> GaussianMixtureModel:
    """A model to start from, as ours: ours, or MLlib's, whose components keep their numbers.

    Raises TypeError where it is neither, ConfigurationError where MLlib's is no mixture that has
    a density (its covariances may be singular).
    """
    from pyspark.ml.clustering import GaussianMixtureModel as MLlibModel

    from gmm_spark.model import GaussianMixtureModel

    if isinstance(model, GaussianMixtureModel):
        return model
    if not isinstance(model, MLlibModel):
        kind = type(model)
        raise TypeError(
            "A GaussianMixtureModel is needed, of gmm_spark or of MLlib, this is a "
            f"{kind.__module__}.{kind.__name__}: GaussianMixtureModel.load reads a saved one, "
            "GaussianMixtureModel.fromParameters makes one"
        )
    gaussians = model.gaussians
    parameters = _parameters(
        model.weights,
        [gaussian.mean.toArray() for gaussian in gaussians],
        [gaussian.cov.toArray() for gaussian in gaussians],
    )
    found = GaussianMixtureModel(parameters)
    set_params(found, {p.name: model.getOrDefault(p) for p in model.params if model.isSet(p)})
    found._set(k=parameters.k, covarianceType="full")
    found._resetUid(model.uid)
    return found


def saved_parameters(spark: SparkSession, path: str) -> Parameters:
    """The mixture of a model that MLlib saved."""
    row = spark.read.parquet(f"{path}/data").select("weights", "mus", "sigmas").first()
    if row is None:
        raise ConfigurationError("there is no row in its data")
    return _parameters(
        row["weights"],
        [mean.toArray() for mean in row["mus"]],
        [covariance.toArray() for covariance in row["sigmas"]],
    )


def set_params(found: Any, given: dict[str, Any]) -> None:
    """Set the Params that were set with MLlib, but for `tol`, which is of another figure there."""
    for name, value in given.items():
        if name != "tol" and found.hasParam(name):
            found._set(**{name: value})


def warn_of_tol(given: dict[str, Any], tol: float) -> None:
    """Say that MLlib's tol, where it was set, gave way to that of this package."""
    if given.get("tol") is not None:
        logger.warning(
            "tol: MLlib's %g is a gain of the total log-likelihood and is not taken over; here "
            "it is %g, a gain of the mean log-likelihood",
            given["tol"],
            tol,
        )


@refusals()
def _parameters(weights: Any, means: Any, covariances: Any) -> Parameters:
    return Parameters(
        structure_named("full"),
        np.asarray(weights, dtype=float),
        np.asarray(means, dtype=float),
        np.asarray(covariances, dtype=float),
    ).validated()
