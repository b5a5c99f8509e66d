"""Outcomes by segment, on the driver: what is read of the data, and the table of rates."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import types as T

from gmm_spark.engine.cluster import needed_session, num_partitions, parallelism
from gmm_spark.engine.dataframe import check_column, quoted
from gmm_spark.engine.outcomes import (
    FoundOutcomes,
    OutcomeWork,
    found_outcomes,
    sent_rows,
)
from gmm_spark.engine.parquet import ParquetTable, row_group_reader, task_numbers
from gmm_spark.engine.scoring import NOISE, Scorer
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.mixture.families import told_apart
from gmm_spark.mixture.numerics import finite
from gmm_spark.mixture.outcomes import (
    Assignment,
    Estimates,
    OutcomeRows,
    Uncertainty,
    are_told_apart,
    bch,
)
from gmm_spark.scoring import batch_scoring, missing_values, row_columns

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel

logger = logging.getLogger(__name__)

# An outcome has a look at the data of its own where fewer rows of the common sample have it.
_FEWEST_ROWS = 1000
# Where segments hardly overlap BCH has a rate of 0 to about this.
_ROUNDING = 1e-6
_ASSIGNMENTS = "soft", "modal"
_SCHEMA: tuple[tuple[str, T.DataType], ...] = (
    ("outcome", T.StringType()),
    ("segment", T.IntegerType()),
    ("rows", T.LongType()),
    ("share", T.DoubleType()),
    ("kind", T.StringType()),
    ("estimate", T.StringType()),
    ("value", T.DoubleType()),
    ("standard_error", T.DoubleType()),
    ("low", T.DoubleType()),
    ("high", T.DoubleType()),
    ("lift", T.DoubleType()),
    ("posterior", T.DoubleType()),
    ("posterior_low", T.DoubleType()),
    ("posterior_high", T.DoubleType()),
    ("raw", T.DoubleType()),
    ("overall", T.DoubleType()),
    ("missing", T.LongType()),
)


def outcome_table(
    model: GaussianMixtureModel,
    dataset: DataFrame | ParquetTable,
    names: Sequence[str],
    assignment: str,
) -> DataFrame:
    """The table of `GaussianMixtureModel.outcomes`, which says what is in it."""
    rows = outcome_rows(model, dataset, names, assignment)
    schema = T.StructType([T.StructField(name, kind) for name, kind in _SCHEMA])
    values = [tuple(row[name] for name, _ in _SCHEMA) for row in rows]
    return needed_session().createDataFrame(values, schema)


def outcome_rows(
    model: GaussianMixtureModel,
    dataset: DataFrame | ParquetTable,
    names: Sequence[str],
    assignment: str = "soft",
) -> list[dict[str, Any]]:
    """The rows of that table, as dictionaries: outcome by outcome, the segments by number, the
    noise's last."""
    if assignment not in _ASSIGNMENTS:
        known = " or ".join(_ASSIGNMENTS)
        raise ConfigurationError(f"assignment is {assignment!r}; use {known}")
    if isinstance(names, str) or not names or not all(isinstance(n, str) for n in names):
        raise ConfigurationError(
            f"outcomes are {names!r}; expected the name of a column, or a list of names"
        )
    found = _found(model, dataset, tuple(names))
    return rows_of_outcomes(model, dataset, names, found, assignment)


def rows_of_outcomes(
    model: GaussianMixtureModel,
    dataset: DataFrame | ParquetTable,
    names: Sequence[str],
    found: FoundOutcomes,
    assignment: str = "soft",
) -> list[dict[str, Any]]:
    """The rows of the table of what one pass over the data has found. An outcome that is rarely
    known, beside others, has a look at the data of its own."""
    how: Assignment = "modal" if assignment == "modal" else "soft"
    table = []
    for place, name in enumerate(names):
        sums, sampled = found.sums[place], np.count_nonzero(~np.isnan(found.outcomes[place]))
        if sampled < min(sums.rows, _FEWEST_ROWS):
            table += _rows(model, _found(model, dataset, (name,)), name, 0, how)
        else:
            table += _rows(model, found, name, place, how)
    return table


def _found(
    model: GaussianMixtureModel, dataset: DataFrame | ParquetTable, names: tuple[str, ...]
) -> FoundOutcomes:
    """What one pass over the data finds."""
    inputs, weight = model._input_columns(), model._columns.weight
    needed = _needed(model, names)
    spark = needed_session()
    if isinstance(dataset, ParquetTable):
        files = dataset.files()
        for name in names:
            files.check(name, "outcome", None)
        if weight is not None:
            files.check(weight, "number", "every row needs a value there")
        if inputs is not None:
            scoring = batch_scoring(model, files, needed, 0)
            reader, _ = row_group_reader(spark, files, tuple(needed))
            sent = sent_rows(len(needed), len(reader.tasks))
            work = OutcomeWork(scoring, names, weight, sent, reader)
            return found_outcomes(task_numbers(spark, reader), work)
        if dataset.filters is not None:
            raise ConfigurationError("filters need inputCols; filter a DataFrame instead")
        dataset = files.frame(spark, needed)
    columns, work = frame_work(model, dataset, names)
    rows = dataset.select(*columns).toDF(*map(str, range(len(columns))))
    tasks = num_partitions(rows) or parallelism(spark)
    return found_outcomes(rows, replace(work, sent=sent_rows(len(needed), tasks)))


def _needed(model: GaussianMixtureModel, names: Sequence[str]) -> list[str]:
    """The columns that are read: those of the model, the outcomes and the weight."""
    if twice := [name for name in names if list(names).count(name) > 1]:
        raise ConfigurationError(f"outcome {twice[0]!r} is named twice; name it once")
    inputs, weight = model._input_columns(), model._columns.weight
    read = [model.getFeaturesCol()] if inputs is None else row_columns(model, inputs)
    if of_model := [name for name in names if name in read]:
        raise ConfigurationError(
            f"outcome {of_model[0]!r} is a column of the model: the segments are made by it, and "
            "differ in it by that alone; fit without it"
        )
    return list(dict.fromkeys([*read, *names, *([] if weight is None else [weight])]))


def frame_work(
    model: GaussianMixtureModel, dataset: DataFrame, names: tuple[str, ...]
) -> tuple[list[Column], OutcomeWork]:
    """The columns of a frame that its rows are scored by and their outcomes read from, and what is
    done with batches of them."""
    needed, weight = _needed(model, names), model._columns.weight
    for name in names:
        check_column(dataset, name, "outcome")
    if weight is not None:
        check_column(dataset, weight, "number")
    scoring = batch_scoring(model, dataset, needed, 0)
    categories = told_apart(model._family_columns())
    columns = [_carried(dataset, name, name in categories) for name in needed]
    return columns, OutcomeWork(scoring, names, weight, 0)


def _carried(dataset: DataFrame, name: str, is_category: bool) -> Column:
    """A column as Arrow carries it: one of nulls without a type has none."""
    column = quoted(name)
    if isinstance(dataset.schema[name].dataType, T.NullType):
        return column.cast("string" if is_category else "double")
    return column


def _rows(
    model: GaussianMixtureModel,
    found: FoundOutcomes,
    name: str,
    place: int,
    assignment: Assignment,
) -> list[dict[str, Any]]:
    """The rows of one outcome, of all segments."""
    sums = found.sums[place]
    if sums.rows == 0:
        raise InputDataError(
            f"outcome {name!r}: none of {sums.missing:,} rows has a value; there is nothing to "
            "estimate from"
        )
    if sums.lowest == sums.highest:
        raise InputDataError(
            f"outcome {name!r}: all {sums.rows:,} rows with a value have {sums.lowest:g}; segments "
            "differ only in an outcome that differs between rows"
        )
    known = ~np.isnan(found.outcomes[place])
    block = found.block[:, known]
    scorer = Scorer(model.parameters, missing_values(model))
    rows = OutcomeRows(
        block,
        scorer.score(block).probability,
        found.outcomes[place][known],
        None if model._columns.weight is None else found.weights[known],
    )
    importance = model.getWeightKind() == "importance"
    uncertainty = Uncertainty(
        sums,
        rows,
        model.parameters,
        _fitted_rows(model, importance),
        assignment,
        importance,
        None if model._merging is None else model._merging.clusters,
    )
    plain = uncertainty.of_posterior_weighted()
    shown = plain
    said: list[str] = [plain.method] * plain.values.size
    if model._is_a_rule:
        shown = uncertainty.of_counted()
        said = [shown.method] * plain.values.size
    elif not are_told_apart(sums, assignment):
        logger.warning(
            "outcome %r: by %s assignments the segments cannot be told apart, and their rates not "
            "be corrected; those by posterior weights are shown",
            name,
            assignment,
        )
    else:
        shown = uncertainty.of_three_step_ml() if sums.is_rate else uncertainty.of_bch()
        said = [shown.method] * plain.values.size
        if sums.is_rate:
            free = bch(sums, assignment)
            said = [f"{method}{_beyond(value)}" for method, value in zip(said, free, strict=True)]
    k = len(model.clusters)
    return [
        {
            "outcome": name,
            "segment": NOISE if j == k else j,
            "rows": int(sums.modal_rows[j]),
            "share": float(sums.responsibilities[j] / sums.weight),
            "kind": "rate" if sums.is_rate else "mean",
            "estimate": said[j],
            **_figures(shown, j),
            "lift": None if sums.mean == 0 else finite(shown.values[j] / sums.mean),
            "posterior": finite(plain.values[j]),
            "posterior_low": finite(plain.low[j]),
            "posterior_high": finite(plain.high[j]),
            "raw": finite(sums.modal_means[j]),
            "overall": sums.mean,
            "missing": sums.missing,
        }
        for j in range(plain.values.size)
    ]


def _beyond(value: float) -> str:
    """What is said of the estimate of BCH where it is none."""
    if value < -_ROUNDING:
        return "; BCH is under 0"
    return "; BCH is over 1" if value > 1 + _ROUNDING else ""


def _figures(estimates: Estimates, j: int) -> dict[str, float | None]:
    return {
        "value": finite(estimates.values[j]),
        "standard_error": finite(estimates.standard_errors[j]),
        "low": finite(estimates.low[j]),
        "high": finite(estimates.high[j]),
    }


def _fitted_rows(model: GaussianMixtureModel, importance: bool) -> float | None:
    """How many rows the mixture was fitted to, by their weights; None where it came from none."""
    if not model.hasSummary:
        return None
    if model.summary.update is not None:
        return float(model.summary.update["weight"])
    if importance:
        return float(model.summary.effectiveNumRows or model.summary.numRows)
    return float(model.summary.weightSum)
