"""Models by path, with the setting that named them in the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import SparkSession

from gmm_spark.engine.addresses import address
from gmm_spark.errors import ConfigurationError
from gmm_spark.storage import files

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
        where = address(path)
        found = where.found()
        if len(found) != 1:
            several = f"{len(found)} paths, from {found[0]} to {found[-1]}," if found else "nothing"
            raise ConfigurationError(
                f"{key}: found {several} at {path}; expected a model, <output>/model of the train "
                "job"
            )
        path = path if found == [where.path] else where.uri(found[0])
        inner = files.join(path, "model")
        if files.exists(inner) and not files.exists(files.join(path, "metadata")):
            path = inner
    return GaussianMixtureModel.load(path)
