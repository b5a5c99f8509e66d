"""The table of scored customers: the segment of each, the next one, and how odd the row is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from gmm_spark import GaussianMixtureModel
from gmm_spark.engine.dataframe import quoted, sql_name, text_literal
from gmm_spark.engine.scoring import Scorer
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.numerics import Array
from gmm_spark.output_columns import taken_names
from gmm_spark.scoring import missing_values, row_columns

# What the table has beside the columns that are kept, in this order.
COLUMNS = (
    "segment",
    "segment_name",
    "probability",
    "runner_up",
    "runner_up_probability",
    "uncertainty",
    "log_density",
    "outlier_percentile",
    "probabilities",
)
# What they and the score job add where segments have names and ids.
NAME, ID = "segment_name", "segment_id"
# What is added where reasons are asked for.
REASONS = 3
REASON_COLUMNS = (
    *(
        f"reason_{number}{end}"
        for number in range(1, REASONS + 1)
        for end in ("", "_value", "_direction")
    ),
    "outlier_column",
)
# In percent; finer where outliers are.
PERCENTILES = np.concatenate(
    [np.arange(0.01, 0.1, 0.01), np.arange(0.1, 1, 0.1), np.arange(1, 100, 1)]
)
_PREDICTION, _VECTOR = "gmm_spark prediction", "gmm_spark probability"
_VALUES, _SECOND = "gmm_spark values", "gmm_spark second"
_PERCENT = "gmm_spark percent"


def prepared_to_score(model: GaussianMixtureModel) -> GaussianMixtureModel:
    """A copy of the model whose output columns are those that the table is made of."""
    return (
        model.copy()
        .setPredictionCol(_PREDICTION)
        .setProbabilityCol(_VECTOR)
        .setLogLikelihoodCol("log_density")
        .setUncertaintyCol("uncertainty")
        .setComponentCol("")
        .setOutlierCol("")
    )


def density_percentiles(model: GaussianMixtureModel, block: Array) -> list[float]:
    """The log densities that the shares `PERCENTILES` of some rows lie under; none of no rows.

    block : (columns, n) rows as the mixture reads them, without gaps where those are left unscored
    """
    if not block.shape[1]:
        return []
    names = tuple(row_columns(model, model._input_columns() or []))
    densities = Scorer(model.parameters, missing_values(model), names).score(block).log_density
    return np.percentile(densities, PERCENTILES, method="higher").tolist()


def expect_kept(kept: Sequence[str], *, explained: bool, with_ids: bool) -> None:
    """Raise ConfigurationError where a column that is kept is called as one that scoring adds."""
    added = [*COLUMNS, *((ID,) if with_ids else ()), *(REASON_COLUMNS if explained else ())]
    if taken := taken_names(added, kept):
        raise ConfigurationError(
            f"input: the table has a column {taken[0]} already, which scoring adds; rename it, or "
            "let id name another: scores keep that column alone"
        )


def name_of(segment: str, names: Sequence[str]) -> str:
    """SQL of the name of a segment, by SQL of its number; null of noise and where there is none."""
    return _by_number(segment, list(map(text_literal, names)), otherwise="null")


def id_of(segment: str, ids: Sequence[int]) -> str:
    """SQL of the id of a segment, by SQL of its number; of noise -1, null where there is none."""
    return _by_number(segment, list(map(str, ids)), otherwise=segment)


def _by_number(segment: str, literals: Sequence[str], otherwise: str) -> str:
    # In Spark 4.3 an element of literals at null is the last one.
    found = f"element_at(array({', '.join(literals)}), {segment} + 1)"
    return f"if({segment} is null or {segment} < 0, {otherwise}, {found})"


def scored_customers(
    model: GaussianMixtureModel,
    customers: DataFrame,
    kept: Sequence[str],
    names: Sequence[str],
    percentiles: Sequence[float],
    raw: Mapping[str, str] | None = None,
    ids: Sequence[int] | None = None,
) -> DataFrame:
    """The customers' kept columns and `COLUMNS`; with `ids` segment_id, with `raw`
    `REASON_COLUMNS` too.

    segment : int, number of the most probable one
    segment_name : its name in words
    probability : of it
    runner_up, runner_up_probability : the next probable segment; null where there is one alone
    uncertainty : 1 - probability
    log_density : of the row
    outlier_percentile : the percentage of the customers of the fit whose log density is under the
        row's: 0, and then in steps of 0.01 up to 0.1, of 0.1 up to 1, of 1 up to 99; outliers are
        low
    probabilities : array, of every segment in the order of their numbers
    segment_id : int, that stays with its members from run to run; of noise -1
    reason_1, reason_1_value, reason_1_direction, ... : the raw columns that contribute most to the
        segment being it and not the next one, `GaussianMixtureModel.explain`; null of one segment
    outlier_column : the raw column that has most of the row's distance from its segment

    `raw` says of which raw column a column of the model was made, where it was made of one; `ids`
    are those of the segments, in the order of their numbers.

    All but the kept are null where a row has gaps and the model leaves such rows unscored.
    """
    expect_kept(kept, explained=raw is not None, with_ids=ids is not None)
    needed = dict.fromkeys([*kept, *row_columns(model, model._input_columns() or [])])
    wanted = customers.select(*map(quoted, needed))
    if raw is not None:
        wanted = _with_reasons(model, customers, list(needed), raw)
    scored = prepared_to_score(model).transform(wanted)
    # A row that is left unscored has no vector, and the conversion takes none.
    vector = F.col(_VECTOR)
    scored = scored.withColumn("probabilities", F.when(vector.isNotNull(), vector_to_array(vector)))
    segment = sql_name(_PREDICTION)
    # Written out: Spark compiles that, and evaluates a function of an array row by row.
    others = [
        f"if({segment} = {i}, -1D, element_at(probabilities, {i + 1}))"
        for i in range(len(model.clusters))
    ]
    second, places = "cast(null as double)", "null"
    if len(others) > 1:
        second = f"greatest({', '.join(others)})"
        at = (f"when {one} = {sql_name(_SECOND)} then {i}" for i, one in enumerate(others))
        places = f"case {' '.join(at)} end"
    scored = _with_percentile(scored.withColumn(_SECOND, F.expr(second)), percentiles)
    outputs = {
        "segment": segment,
        "segment_name": name_of(segment, names),
        # Spark 4.0 fails at an element of no array, where its place is null too.
        "probability": f"if({segment} is null, null, element_at(probabilities, {segment} + 1))",
        "runner_up": f"cast({places} as int)",
        "runner_up_probability": sql_name(_SECOND),
        "uncertainty": "uncertainty",
        "log_density": "log_density",
        "outlier_percentile": sql_name(_PERCENT),
        "probabilities": "probabilities",
    }
    if ids is not None:
        outputs[ID] = id_of(segment, ids)
    added = [F.expr(sql).alias(name) for name, sql in outputs.items()]
    reasons = [] if raw is None else map(quoted, REASON_COLUMNS)
    return scored.select(*map(quoted, kept), *added, *reasons)


def _with_reasons(
    model: GaussianMixtureModel,
    customers: DataFrame,
    needed: Sequence[str],
    raw: Mapping[str, str],
) -> DataFrame:
    """The needed columns of customers and `REASON_COLUMNS`, by the raw columns."""
    columns = row_columns(model, model._input_columns() or [])
    if len(model.clusters) + (model.parameters.noise is not None) < 2:
        nothing = [F.lit(None).cast("string").alias(name) for name in REASON_COLUMNS]
        return customers.select(*map(quoted, needed), *nothing)
    names = [raw.get(name, name) for name in columns]
    # As Spark writes them: a value is shown as it is in the table, not as it was prepared.
    values = F.array(*(quoted(name).cast("string") for name in names)).alias(_VALUES)
    found = model.explain(customers.select(*map(quoted, needed), values), top=REASONS)
    texts = ", ".join(map(text_literal, columns))
    shown = ", ".join(map(text_literal, names))

    def at(array: str, column: str) -> str:
        place = f"array_position(array({texts}), {column})"
        # In Spark 4.3 an element of literals at null is the last one.
        return f"if({column} is null, null, element_at({array}, cast({place} as int)))"

    made = []
    for number in range(1, REASONS + 1):
        reason = f"reason_{number}"
        made += [
            F.expr(at(f"array({shown})", reason)).alias(reason),
            F.expr(at(sql_name(_VALUES), reason)).alias(f"{reason}_value"),
            quoted(f"{reason}_direction"),
        ]
    made.append(F.expr(at(f"array({shown})", "distance_column")).alias("outlier_column"))
    return found.select(*map(quoted, needed), *made)


def _number(value: float) -> str:
    return f"cast('{value}' as double)" if not math.isfinite(value) else f"{value!r}D"


def _with_percentile(scored: DataFrame, percentiles: Sequence[float]) -> DataFrame:
    """The rows with the share of `PERCENTILES` that their log density has reached, by halving.

    A step is a column of its own, and looks edges up in an array: as one expression they are so
    much code that Java would not compile it.
    """
    if not len(percentiles):
        return scored.withColumn(_PERCENT, F.lit(None).cast("double"))
    size = 1 << len(percentiles).bit_length()
    edges = _numbers([*percentiles, *[math.inf] * (size - 1 - len(percentiles))])
    shares = [0.0, *PERCENTILES.round(2).tolist()]
    shares += [shares[-1]] * (size - len(shares))
    scored, at = scored.withColumn(_PERCENT, F.lit(0)), sql_name(_PERCENT)
    step = size // 2
    while step:
        further = f"if(log_density > element_at({edges}, {at} + {step}), {step}, 0)"
        scored, step = scored.withColumn(_PERCENT, F.expr(f"{at} + {further}")), step // 2
    found = f"if(log_density is null, null, element_at({_numbers(shares)}, {at} + 1))"
    return scored.withColumn(_PERCENT, F.expr(found))


def _numbers(values: Sequence[float]) -> str:
    return f"array({', '.join(map(_number, values))})"
