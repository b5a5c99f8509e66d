"""Models by path, with the setting that named them in the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import SparkSession

from gmm_spark.errors import ConfigurationError
from gmm_spark.lake import files

if TYPE_CHECKING:
    from gmm_spark import GaussianMixtureModel


def load_model(spark: SparkSession, key: str, path: str) -> GaussianMixtureModel:
    """The model at `path`.

    Raises ConfigurationError naming the setting `key` when there is nothing at `path`, and
    ModelFileError when what is there is no model of ours.
    """
    from gmm_spark import GaussianMixtureModel

    path = files.qualified(spark, path)
    if files.reachable(path):
        if not files.exists(path):
            raise ConfigurationError(
                f"{key}: found nothing at {path}; expected a model, <output>/model of the train job"
            )
        inner = files.join(path, "model")
        if files.exists(inner) and not files.exists(files.join(path, "metadata")):
            path = inner
    return GaussianMixtureModel.load(path)
