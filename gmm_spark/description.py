"""A model in words: the table of its segments, and one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import types as T

from gmm_spark.engine.jobs import needed_session
from gmm_spark.summary import few

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel

_NOISE = -1


def segments(model: GaussianMixtureModel) -> DataFrame:
    """The table of `GaussianMixtureModel.describe`, which says what is in it."""
    parameters = model.parameters
    d, k = parameters.d, parameters.k
    names = model._input_columns()
    if names is None:
        names = [f"{model.getFeaturesCol()}_{i}" for i in range(d)]
    columns: dict[str, tuple[T.DataType, Sequence[Any]]] = {
        "segment": (T.IntegerType(), range(k)),
        "weight": (T.DoubleType(), model.weights),
        "size": (T.LongType(), _sizes(model)),
    }
    for name, means, variances in zip(names, model.means.T, parameters.variances().T, strict=True):
        columns[f"{name}_mean"] = T.DoubleType(), means.tolist()
        columns[f"{name}_sd"] = T.DoubleType(), np.sqrt(variances).tolist()
    for name, rates in zip(model.getCountCols(), model.rates.T, strict=True):
        columns[f"{name}_rate"] = T.DoubleType(), rates.tolist()
    for name, values in model.categories.items():
        table = model.probabilities(name)
        columns[f"{name}_value"] = T.StringType(), [values[i] for i in table.argmax(axis=1)]
        columns[f"{name}_probability"] = T.DoubleType(), table.max(axis=1).tolist()
    rows = list(zip(*(values for _, values in columns.values()), strict=True))
    if parameters.noise is not None:
        size = model.summary.noiseSize if model.hasSummary else None
        noise = _NOISE, model.noiseWeight, None if size is None else round(size)
        rows.append((*noise, *[None] * (len(columns) - len(noise))))
    schema = T.StructType([T.StructField(name, kind) for name, (kind, _) in columns.items()])
    return needed_session().createDataFrame(rows, schema)


def _sizes(model: GaussianMixtureModel) -> list[int | None]:
    if not model.hasSummary:
        return [None] * model.parameters.k
    return [round(size) for size in model.summary.clusterSizes]


def line(model: GaussianMixtureModel) -> str:
    """What MLlib's model says of itself, then of what columns and structure it is."""
    said = [f"GaussianMixtureModel: uid={model.uid}"]
    if model._parameters is None:
        return ", ".join([*said, "no parameters"])
    said += [f"k={model.parameters.k}", f"numFeatures={model.numFeatures}"]
    said.append(f"covarianceType={model.getCovarianceType()}")
    names = model._input_columns()
    if names is None:
        said.append(f"featuresCol={model.getFeaturesCol()}")
    elif names:
        said.append(f"inputCols={few(names)}")
    if model.categories:
        said.append(f"categoricalCols={few(list(model.categories))}")
    if model.getCountCols():
        said.append(f"countCols={few(model.getCountCols())}")
    if model.parameters.noise is not None:
        said.append(f"noiseWeight={model.noiseWeight:.4g}")
    return ", ".join(said)
