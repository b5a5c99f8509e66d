"""Impute, on the driver: which columns are filled, what stands beside them, and who computes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import types as T

from gmm_spark.engine.imputation import BatchImputing, BatchPredicting
from gmm_spark.engine.inputs import no_column
from gmm_spark.engine.pandas_udfs import imputed_beside, is_carried
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.families import numbers_of, told_apart
from gmm_spark.output_columns import refuse_taken, taken_names
from gmm_spark.scoring import (
    check_carried,
    check_inputs,
    missing_values,
    numbered_fields,
    row_columns,
)

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


def predicted(
    model: GaussianMixtureModel,
    dataset: DataFrame,
    targets: Sequence[str],
    given: Sequence[str] | None,
) -> DataFrame:
    """The rows of a DataFrame with what is expected of the targets: see
    `GaussianMixtureModel.predictColumns`."""
    names = model._input_columns()
    if names is None:
        raise ConfigurationError(
            "predictColumns takes columns by name, and this model has those of a vector; fit with "
            "inputCols, or model.setInputCols"
        )
    every = row_columns(model, names)
    if not targets:
        raise ConfigurationError("targets is empty; name a column of the model")
    targets = _of_the_model("targets", targets, every)
    rest = [name for name in every if name not in targets]
    given = rest if given is None else _of_the_model("given", given, every)
    both = [name for name in targets if name in given]
    if both:
        raise ConfigurationError(
            f"column {both[0]!r} is a target and given; what is given needs no prediction: leave "
            "it out of one"
        )
    check_inputs(model, dataset, names, given)
    check_carried(dataset, "predictColumns")
    families = model._family_columns()
    added: list[T.StructField] = []
    for name in targets:
        if name in told_apart(families):
            added += [
                T.StructField(f"{name}_value", T.StringType()),
                T.StructField(f"{name}_probability", T.DoubleType()),
                T.StructField(f"{name}_probabilities", T.ArrayType(T.DoubleType())),
            ]
        else:
            added += [T.StructField(f"{name}_{end}", T.DoubleType()) for end in ("mean", "sd")]
    refuse_taken([field.name for field in added], dataset.columns)
    width = len(dataset.columns)
    numbered = dataset.toDF(*map(str, range(width)))
    work = BatchPredicting(
        model.parameters,
        tuple(dataset.columns),
        tuple(every),
        families,
        tuple(targets),
        tuple(given),
        missing_values(model),
    )
    fields = [*numbered.schema.fields, *numbered_fields(added, width)]
    found = numbered.mapInArrow(work, T.StructType(fields))
    return found.toDF(*dataset.columns, *(field.name for field in added))


def _of_the_model(what: str, names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The names; ConfigurationError where one is no column of the model, or there twice."""
    for number, name in enumerate(names):
        if name not in known:
            raise ConfigurationError(f"{what}: {no_column(name, known, 'the model')}")
        if name in names[:number]:
            raise ConfigurationError(f"{what} names column {name!r} twice")
    return list(names)
