"""The page of any model and table, written to one file."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pyspark.sql import DataFrame

from gmm_spark.engine.addresses import as_text
from gmm_spark.engine.cluster import needed_session
from gmm_spark.errors import ConfigurationError
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.report.describing import describe_segments
from gmm_spark.report.page import INSTALL, missing_packages, page_of
from gmm_spark.storage import files


def write_page(
    model: GaussianMixtureModel,
    frame: DataFrame,
    path: str | os.PathLike[str],
    *,
    outcomes: Sequence[str],
    value: str | None,
    id: str | None,
    noun: str,
    points: bool,
    overwrite: bool,
) -> str:
    """The page of a model and the rows of a frame, written; returns where. See
    `GaussianMixtureModel.report`. What can be wrong is found before the rows are read."""
    if missing := missing_packages():
        raise ConfigurationError(f"report: {INSTALL.format(', '.join(missing))}")
    uri = files.qualified(needed_session(), as_text(path))
    _check(uri, overwrite)
    found = describe_segments(
        model, frame, outcomes=outcomes, value=value, id=id, noun=noun, points=points
    )
    text = page_of(found, of_file=False)
    try:
        files.make_directory(uri.rpartition("/")[0])
        files.write_text(uri, text)
    except OSError as error:
        raise ConfigurationError(
            f"report: cannot write {uri}: {str(error).splitlines()[0]}"
        ) from None
    return uri


def _check(uri: str, overwrite: bool) -> None:
    if not files.exists(uri):
        return
    if not files.is_file(uri):
        raise ConfigurationError(f"report: {uri} is a directory; name a file in it")
    if not overwrite:
        raise ConfigurationError(
            f"report: there is a file already, {uri}; overwrite=True replaces it"
        )
