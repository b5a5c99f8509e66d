"""The columns of a vector, one by one, where a model is of a vector."""

from __future__ import annotations

from typing import Any

from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from gmm_spark.engine.column_types import is_vector
from gmm_spark.engine.dataframe import quoted
from gmm_spark.model import GaussianMixtureModel


def with_entries(model: GaussianMixtureModel, frame: DataFrame) -> tuple[DataFrame, list[str]]:
    """The frame with a column for every entry of the model's vector, and the names of these; the
    frame itself where the model is of columns, or the vector is not there.

    An entry has the name that the vector gives it, as `VectorAssembler` does; where the frame has a
    column of that name, which is what was assembled, that one stands for it. Without a name it is
    features_0.
    """
    vector = model.getFeaturesCol()
    if model._input_columns() is not None or frame.columns.count(vector) != 1:
        return frame, []
    field = frame.schema[vector]
    named = _names(field.metadata)
    names = [named.get(i, f"{vector}_{i}") for i in range(model.numFeatures)]
    entries = quoted(vector)
    if is_vector(field.dataType):
        entries = F.when(entries.isNotNull(), vector_to_array(entries))
    there = {name.lower() for name in frame.columns}
    added = {
        name: F.get(entries, F.lit(i)).cast("double")
        for i, name in enumerate(names)
        if name.lower() not in there
    }
    return frame.withColumns(added) if added else frame, names


def _names(metadata: dict[str, Any]) -> dict[int, str]:
    """Names of entries by their places, from Spark's attributes of a vector."""
    kinds = metadata.get("ml_attr", {}).get("attrs", {})
    listed = [one for kind in kinds.values() for one in kind if "name" in one]
    names = {int(one["idx"]): str(one["name"]) for one in listed}
    # Names that are there twice tell nothing apart.
    lower = [name.lower() for name in names.values()]
    return {i: name for i, name in names.items() if lower.count(name.lower()) == 1}
