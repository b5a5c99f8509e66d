"""Explain, on the driver: what is said of why rows are in their segments, and who computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import types as T

from gmm_spark.engine.explanations import BatchExplaining
from gmm_spark.errors import ConfigurationError
from gmm_spark.output_columns import refuse_taken
from gmm_spark.scoring import batch_scoring, check_carried, numbered_fields

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel


def explained(
    model: GaussianMixtureModel, dataset: DataFrame, top: int, as_lines: bool
) -> DataFrame:
    """Why the rows of a DataFrame are in their segments: see `GaussianMixtureModel.explain`."""
    segments = len(model.clusters) + (model.parameters.noise is not None)
    if segments < 2:
        raise ConfigurationError(
            "explain tells the segment of a row from the runner-up, and this model has one segment"
        )
    check_carried(dataset, "explain")
    added = [
        T.StructField("segment", T.IntegerType()),
        T.StructField("runner_up", T.IntegerType()),
        T.StructField("log_odds", T.DoubleType()),
        *(_of_lines() if as_lines else _of_columns(top)),
    ]
    refuse_taken([field.name for field in added], dataset.columns)
    width = len(dataset.columns)
    numbered = dataset.toDF(*map(str, range(width)))
    scoring = batch_scoring(model, dataset, dataset.columns, width)
    work = BatchExplaining(scoring, None if as_lines else top)
    fields = [*numbered.schema.fields, *numbered_fields(added, width)]
    found = numbered.mapInArrow(work, T.StructType(fields))
    return found.toDF(*dataset.columns, *(field.name for field in added))


def _of_lines() -> list[T.StructField]:
    return [
        T.StructField("column", T.StringType()),
        T.StructField("value", T.StringType()),
        T.StructField("contribution", T.DoubleType()),
        T.StructField("distance", T.DoubleType()),
    ]


def _of_columns(top: int) -> list[T.StructField]:
    fields = [T.StructField("base", T.DoubleType())]
    for number in range(1, top + 1):
        fields += [
            T.StructField(f"reason_{number}", T.StringType()),
            T.StructField(f"reason_{number}_value", T.StringType()),
            T.StructField(f"reason_{number}_direction", T.StringType()),
            T.StructField(f"reason_{number}_contribution", T.DoubleType()),
        ]
    return [
        *fields,
        T.StructField("distance", T.DoubleType()),
        T.StructField("distance_column", T.StringType()),
        T.StructField("distance_share", T.DoubleType()),
    ]
