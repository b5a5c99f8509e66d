"""Two models and one table: how many rows are in which segment of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from gmm_spark.engine.comparison import (
    NEW,
    NEW_DENSITY,
    OLD,
    OLD_DENSITY,
    ComparedRows,
    compared_rows,
)
from gmm_spark.engine.dataframe import check_once, quoted, same_names
from gmm_spark.engine.inputs import no_column
from gmm_spark.engine.sql import unreadable
from gmm_spark.errors import InputDataError
from gmm_spark.expressions import column_name, shown_expression

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel

_PREFIX = "gmm_spark new "


def compare_models(
    frame: DataFrame, old: GaussianMixtureModel, new: GaussianMixtureModel
) -> ComparedRows:
    """Sums over the rows by their segments of both models, in one pass; every row counts once,
    whatever its weight.

    The columns that a model reads are made by its `inputExpressions` where it has them, else they
    are those of the frame. Rows with gaps are scored as the model's `missing` says.

    Raises InputDataError where a column cannot be read as a model needs it.
    """
    rows = scored_by_both(frame, old, new)
    return compared_rows(rows, number_of_segments(old), number_of_segments(new))


def scored_by_both(
    frame: DataFrame, old: GaussianMixtureModel, new: GaussianMixtureModel
) -> DataFrame:
    """The rows with the probabilities and log densities of two models; nothing is read yet.

    Raises InputDataError where a column cannot be read as a model needs it.
    """
    olds, news = input_columns(old), input_columns(new)
    _check_readable(frame, old)
    _check_readable(frame, new)
    # The new model's under names of their own, for both may call what they have prepared the same.
    made = [
        *(expression.alias(name) for name, expression in _expressions(old, olds)),
        *(expression.alias(_PREFIX + name) for name, expression in _expressions(new, news)),
    ]
    rows = _scored(old, frame.select(*made), OLD, OLD_DENSITY)
    names = [quoted(_PREFIX + name).alias(name) for name in news]
    rows = _scored(new, rows.select(OLD, OLD_DENSITY, *names), NEW, NEW_DENSITY)
    return rows.select(OLD, OLD_DENSITY, NEW, NEW_DENSITY)


def _check_readable(frame: DataFrame, model: GaussianMixtureModel) -> None:
    """Raise InputDataError where the frame lacks a column of a model, or what it is made of."""
    made = {column_name(text): text for text in model.getInputExpressions()}
    for name in input_columns(model):
        if name in made:
            problem = unreadable(frame, made[name])
            if problem is not None:
                shown = shown_expression(made[name])
                raise InputDataError(f"the model was trained on {shown}: {problem}")
        elif not same_names(name, frame.columns):
            raise no_column(name, frame.columns)
        else:
            check_once(frame, name)


def are_of_one_space(one: GaussianMixtureModel, other: GaussianMixtureModel) -> bool:
    """Whether two models are densities of the same columns, prepared in the same way; else their
    log-likelihoods say nothing of each other."""

    def columns(model: GaussianMixtureModel) -> dict[str, str | None]:
        made = {column_name(text): text for text in model.getInputExpressions()}
        return {name: made.get(name) for name in input_columns(model)}

    return columns(one) == columns(other)


def number_of_segments(model: GaussianMixtureModel) -> int:
    """Its segments, and the noise, where there is one."""
    return len(model.clusters) + int(model.parameters.noise is not None)


def input_columns(model: GaussianMixtureModel) -> list[str]:
    """The columns that a row is scored by."""
    names = model._input_columns()
    numbers = [model.getFeaturesCol()] if names is None else names
    return [*numbers, *(name for columns in model._family_columns() for name in columns.names)]


def numeric_columns(model: GaussianMixtureModel) -> list[str]:
    """The columns of numbers that a row is scored by, where each is a column."""
    return list(model.getInputCols()) if model.isDefined("inputCols") else []


def _expressions(model: GaussianMixtureModel, names: Sequence[str]) -> list[tuple[str, F.Column]]:
    made = {column_name(text): text for text in model.getInputExpressions()}
    return [(name, F.expr(made[name]) if name in made else quoted(name)) for name in names]


def _scored(
    model: GaussianMixtureModel, frame: DataFrame, probability: str, density: str
) -> DataFrame:
    """The rows with an array of probabilities, null where there are none, and log densities."""
    vector = f"{_PREFIX}vector"
    copied = model.copy().setProbabilityCol(vector).setLogLikelihoodCol(density)
    copied.setPredictionCol("").setUncertaintyCol("").setOutlierCol("").setComponentCol("")
    scored = copied.transform(frame)
    array = F.when(quoted(vector).isNotNull(), vector_to_array(quoted(vector)))
    return scored.withColumn(probability, array).drop(vector)
