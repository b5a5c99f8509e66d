"""Gaussian mixtures by expectation-maximisation on Apache Spark.

Importing this package starts no JVM, and loads nothing but this file until a name is used: the
executors, which need numpy, pandas and pyarrow only, import it too.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gmm_spark.engine.parquet import ParquetTable
    from gmm_spark.estimator import GaussianMixture
    from gmm_spark.model import GaussianMixtureModel
    from gmm_spark.prepare.stage import Preparation, PreparationModel
    from gmm_spark.search import GaussianMixtureSearch
    from gmm_spark.storage.models import read_model
    from gmm_spark.storage.scores import read_scores
    from gmm_spark.summary import GaussianMixtureSummary

__version__ = "0.1.0"
__all__ = [
    "GaussianMixture",
    "GaussianMixtureModel",
    "GaussianMixtureSearch",
    "GaussianMixtureSummary",
    "ParquetTable",
    "Preparation",
    "PreparationModel",
    "read_model",
    "read_scores",
]

_HOMES = {
    "GaussianMixture": "gmm_spark.estimator",
    "GaussianMixtureModel": "gmm_spark.model",
    "GaussianMixtureSearch": "gmm_spark.search",
    "GaussianMixtureSummary": "gmm_spark.summary",
    "ParquetTable": "gmm_spark.engine.parquet",
    "Preparation": "gmm_spark.prepare.stage",
    "PreparationModel": "gmm_spark.prepare.stage",
    "read_model": "gmm_spark.storage.models",
    "read_scores": "gmm_spark.storage.scores",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
