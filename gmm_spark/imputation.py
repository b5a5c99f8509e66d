"""Impute, on the driver: which columns are filled, what stands beside them, and who computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import types as T

from gmm_spark.engine.imputation import BatchImputing
from gmm_spark.engine.pandas_udfs import imputed_beside, is_carried
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.families import numbers_of, told_apart
from gmm_spark.output_columns import taken_names
from gmm_spark.scoring import check_inputs, numbered_fields

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel


def imputed(model: GaussianMixtureModel, dataset: DataFrame, draws: int, seed: int) -> DataFrame:
    """The rows of a DataFrame with their gaps filled: see `GaussianMixtureModel.impute`."""
    names = model._input_columns()
    if names is None:
        raise ConfigurationError(
            "impute fills columns of their own; fit with inputCols, or model.setInputCols"
        )
    check_inputs(model, dataset, names)
    families = model._family_columns()
    names = [*names, *numbers_of(families)]
    columns = dataset.columns
    outputs = ["imputation"]
    if draws == 0:
        outputs = [f"{name}_sd" for name in names]
        outputs += [f"{name}_probability" for name in told_apart(families)]
    taken = taken_names(outputs, columns)
    if taken:
        raise ConfigurationError(
            f"output column {taken[0]} exists already; rename it or leave it out"
        )
    numbered = dataset.toDF(*map(str, range(len(columns))))
    kind: T.DataType = T.DoubleType() if draws == 0 else T.IntegerType()
    fields = [
        T.StructField(field.name, T.DoubleType()) if name in names else field
        for field, name in zip(numbered.schema.fields, columns, strict=True)
    ]
    fields += numbered_fields([T.StructField(name, kind) for name in outputs], len(columns))
    work = BatchImputing(model.parameters, tuple(columns), tuple(names), draws, seed, families)
    if all(is_carried(field.dataType) for field in dataset.schema):
        filled = numbered.mapInArrow(work, T.StructType(fields))
    else:
        filled = imputed_beside(numbered, work, [field.name for field in fields[len(columns) :]])
    return filled.toDF(*columns, *outputs)
