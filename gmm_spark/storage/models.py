"""Models by path or by version, with the setting that named them in the message."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyspark.sql import SparkSession

from gmm_spark.engine.addresses import address
from gmm_spark.engine.cluster import needed_session
from gmm_spark.errors import ConfigurationError
from gmm_spark.storage import files, publish_log
from gmm_spark.storage.publish_log import CHAMPION

if TYPE_CHECKING:
    from gmm_spark import GaussianMixtureModel

logger = logging.getLogger(__name__)


def read_model(path: str, *, spark: SparkSession | None = None) -> GaussianMixtureModel:
    """The model that a run has written under `path`, its output.

    Where versions are kept it is that of the champion, or with "@challenger" or "@7" behind the
    path of another version, after its files were compared with what was published. The path of a
    saved model will do too, as for `GaussianMixtureModel.load`.

    Parameters
    ----------
    path : output of `gmm-spark train` or `gmm-spark churn`
    spark : the current session when left out

    Raises ConfigurationError where nothing is there, ModelFileError where it is no model, or files
    of the version were changed, added or deleted since.
    """
    return load_model(needed_session() if spark is None else spark, "path", path)


def load_model(
    spark: SparkSession, key: str, path: str, record: Callable[..., None] = lambda **facts: None
) -> GaussianMixtureModel:
    """The model at `path`, or the version of it that `path` names.

    Of a directory of versions it is the champion, or with "@challenger" or "@7" behind it another
    one, after its files were compared with what was published. `record` is told which it is.

    Raises ConfigurationError naming the setting `key` when there is nothing at `path`, and
    ModelFileError when what is there is no model of ours.
    """
    from gmm_spark import GaussianMixtureModel

    return GaussianMixtureModel.load(model_path(spark, key, path, record))


def model_path(
    spark: SparkSession, key: str, path: str, record: Callable[..., None] = lambda **facts: None
) -> str:
    """Where the model is that `load_model` loads; it raises what this raises."""
    path = files.qualified(spark, path)
    if files.reachable(path):
        path = _of_version(key, path, record) or path
        where = address(path)
        found = where.found()
        if len(found) != 1:
            several = f"{len(found)} paths, from {found[0]} to {found[-1]}," if found else "nothing"
            raise ConfigurationError(
                f"{key}: found {several} at {path}; expected a model, <output>/model of the train "
                "job, or <output> where versions are kept"
            )
        path = path if found == [where.path] else where.uri(found[0])
        inner = files.join(path, "model")
        if files.exists(inner) and not files.exists(files.join(path, "metadata")):
            path = inner
    return path


def _of_version(key: str, path: str, record: Callable[..., None]) -> str | None:
    """Where the version is that a path names; None where it names none."""
    root, at, name = path.rpartition("@")
    if not at or "/" in name or files.exists(path):
        root, name = path, CHAMPION
    if not publish_log.is_there(root):
        return None
    try:
        version = publish_log.find(root, name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{key}: {error}") from None
    uri = publish_log.checked(root, version)
    facts: dict[str, Any] = {"number": version.number, "run_id": version.run_id, "path": uri}
    record(model_version=facts)
    logger.info("%s: version %d of %s, run %s", key, version.number, root, version.run_id)
    return uri
