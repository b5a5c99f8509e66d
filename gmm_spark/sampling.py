"""Rows drawn from a model, on the executors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame
from pyspark.sql import types as T

from gmm_spark.engine.cluster import needed_session
from gmm_spark.engine.sampling import BLOCK, Sampling
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.families import FamilyColumns
from gmm_spark.output_columns import refuse_taken

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel


def drawn_rows(model: GaussianMixtureModel, n: int, seed: int) -> DataFrame:
    """Rows drawn from the mixture: see `GaussianMixtureModel.sample`."""
    parameters, names = model.parameters, model._input_columns()
    if parameters.noise is not None and not parameters.noise.is_placed:
        raise ConfigurationError(
            "the model does not say where the box of its noise lies; fit it again with this release"
        )
    numbers: list[tuple[str, T.DataType]] = [(name, T.DoubleType()) for name in names or ()]
    if names is None:
        numbers = [(model.getFeaturesCol(), VectorUDT())]
    families = model._family_columns()
    columns = [*numbers, *((name, _type(one)) for one in families for name in one.names)]
    refuse_taken(["component"], [name for name, _ in columns])
    columns.append(("component", T.IntegerType()))
    work = Sampling(parameters, families, names is None, n, seed)
    fields = [T.StructField(str(i), kind) for i, (_, kind) in enumerate(columns)]
    blocks = needed_session().range(-(-n // BLOCK))
    drawn = blocks.mapInArrow(work, T.StructType(fields))
    return drawn.toDF(*(name for name, _ in columns))


def _type(columns: FamilyColumns) -> T.DataType:
    if columns.categories:
        return T.StringType()
    return T.LongType() if columns.family.whole else T.DoubleType()
