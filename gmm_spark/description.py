"""A model in words: the table of its segments, and one line; an estimator as a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.ml.param import Params
from pyspark.sql import DataFrame
from pyspark.sql import types as T

from gmm_spark.engine.cluster import needed_session
from gmm_spark.engine.scoring import NOISE
from gmm_spark.mixture.families import with_places
from gmm_spark.mixture.merging import pooled
from gmm_spark.summary import few

if TYPE_CHECKING:
    from gmm_spark.estimator import MixtureEstimator
    from gmm_spark.model import GaussianMixtureModel


def segment_rows(model: GaussianMixtureModel) -> list[dict[str, Any]]:
    """A dictionary a segment, in the order of their numbers, and where there is noise its own last.

    segment : its number, -1 for the noise
    weight : its share of the rows, or of their weights
    size : rows of the fit, or of the merging into clusters, most probably in it; None where there
        was none
    means, standard_deviations : by numeric column, in the user's units
    rates : by column of counts, their mean
    categories : by categorical column, the most probable value and its probability
    and so on, by the columns of every family

    What is by column is empty for the noise.
    """
    names = model._input_columns()
    if names is None:
        names = [f"{model.getFeaturesCol()}_{i}" for i in range(model.numFeatures)]
    of = model.parameters
    if model._merging is not None:
        of = pooled(of, model._merging.clusters)
    means, deviations = of.means.tolist(), np.sqrt(of.variances()).tolist()
    sizes, noise_size = cluster_sizes(model)
    unsaid: list[dict[str, Any]] = [{}] * of.k
    sections = {kind.section: unsaid for kind in with_places(of.families)}
    pairs = zip(model._family_columns(), of.family_parameters, strict=True)
    for columns, values in pairs:
        levels = [one.levels for one in columns.categories]
        found = columns.family.described(values, columns.names, levels)
        sections[columns.family.section] = found
    rows: list[dict[str, Any]] = [
        {
            "segment": j,
            "weight": weight,
            "size": sizes[j],
            "means": dict(zip(names, means[j], strict=True)),
            "standard_deviations": dict(zip(names, deviations[j], strict=True)),
            **{section: of_components[j] for section, of_components in sections.items()},
        }
        for j, weight in enumerate(of.weights.tolist())
    ]
    if of.noise is not None:
        figures = {"weight": model.noiseWeight, "size": noise_size}
        nothing: dict[str, Any] = {key: {} for key in rows[0] if isinstance(rows[0][key], dict)}
        rows.append({"segment": NOISE, **figures, **nothing})
    return rows


def segments(model: GaussianMixtureModel) -> DataFrame:
    """The table of `GaussianMixtureModel.describe`, which says what is in it."""
    found = segment_rows(model)
    first, double = found[0], T.DoubleType()
    columns: list[tuple[str, T.DataType, list[Any]]] = [
        ("segment", T.IntegerType(), [row["segment"] for row in found]),
        ("weight", double, [row["weight"] for row in found]),
        ("size", T.LongType(), [row["size"] for row in found]),
    ]
    for name in first["means"]:
        columns.append((f"{name}_mean", double, [row["means"].get(name) for row in found]))
        deviations = [row["standard_deviations"].get(name) for row in found]
        columns.append((f"{name}_sd", double, deviations))
    for kind in with_places(model.parameters.families):
        for name in first[kind.section]:
            said = [kind.said(name, row[kind.section].get(name)) for row in found]
            for column, value in said[0].items():
                text = isinstance(value, str)
                values = [one[column] for one in said]
                columns.append((column, T.StringType() if text else double, values))
    schema = T.StructType([T.StructField(name, kind) for name, kind, _ in columns])
    rows = list(zip(*(values for *_, values in columns), strict=True))
    return needed_session().createDataFrame(rows, schema)


def cluster_sizes(model: GaussianMixtureModel) -> tuple[list[int | None], int | None]:
    """Rows of every segment, and of the noise."""
    if model._merging is not None:
        k, sizes = len(model._merging.clusters), model._merging.sizes or ()
        return [*sizes[:k]] or [None] * k, sizes[k] if len(sizes) > k else None
    if not model.hasSummary:
        return [None] * model.parameters.k, None
    noise = model.summary.noiseSize
    return [round(size) for size in model.summary.clusterSizes], noise and round(noise)


def line(model: GaussianMixtureModel) -> str:
    """What MLlib's model says of itself, then of what columns and structure it is."""
    said = [f"GaussianMixtureModel: uid={model.uid}"]
    if model._parameters is None:
        return ", ".join([*said, "no parameters"])
    said.append(f"k={model.parameters.k}")
    if model._merging is not None:
        said.append(f"clusters={len(model._merging.clusters)}")
    said.append(f"numFeatures={model.numFeatures}")
    said.append(f"covarianceType={model.getCovarianceType()}")
    names = model._input_columns()
    if names is None:
        said.append(f"featuresCol={model.getFeaturesCol()}")
    elif names:
        said.append(f"inputCols={few(names)}")
    for columns in model._family_columns():
        said.append(f"{columns.family.setting}={few(columns.names)}")
    if model.parameters.noise is not None:
        said.append(f"noiseWeight={model.noiseWeight:.4g}")
    return ", ".join(said)


def settings_line(estimator: MixtureEstimator) -> str:
    """An estimator as its uid and the Params that are set."""
    said = [f"{type(estimator).__name__}: uid={estimator.uid}"]
    for setting in estimator._settings:
        if estimator.isSet(setting.name):
            said.append(f"{setting.name}={param_text(estimator.getOrDefault(setting.name))}")
    return ", ".join(said)


def param_text(value: Any) -> str:
    """The value of a Param in a few words, however large it is."""
    if isinstance(value, Params):  # an initial model
        return f"{type(value).__name__} (uid={value.uid})"
    if isinstance(value, list) and value and isinstance(value[0], list):
        return f"numbers of shape {np.shape(value)}"
    if isinstance(value, list):
        return few(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
