"""Tables of customers that jobs read: as they are or made of transactions, and what their columns
are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.config import ChurnSettings, TransactionSettings
from gmm_spark.engine.dataframe import quoted, same_names
from gmm_spark.engine.inputs import no_column
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.expressions import column_name, expression_name
from gmm_spark.prepare.columns import Column
from gmm_spark.prepare.inputs import sql_of
from gmm_spark.prepare.outcome import (
    check_unique,
    days_after,
    giveaways_among,
    outcome_columns,
    refuse_inputs,
    with_outcome,
)
from gmm_spark.prepare.scan import sampled
from gmm_spark.prepare.transactions import CHURNED, TransactionLog, open_log
from gmm_spark.progress import say
from gmm_spark.storage import tables
from gmm_spark.storage.computed_columns import expect_names, expressions, with_expressions

# Settings that name inputs: columns, or expressions.
INPUTS = "columns", "categorical_columns", "count_columns", "date_columns"


@dataclass(frozen=True)
class Customers:
    """A row a customer, and what its columns are for.

    id : names the row; None where nothing does
    outcome : boolean or number that segments are to tell apart; None where there is none
    value : a column of money; None where there is none
    inputs : columns that are named as inputs; none where they are proposed from the data
    not_inputs : columns that segments must not be made of, and why; the outcome among them
    sample : of the columns that may take part; None where none was taken
    """

    frame: DataFrame
    id: str | None
    outcome: str | None = None
    value: str | None = None
    inputs: tuple[str, ...] = ()
    not_inputs: Mapping[str, str] = field(default_factory=dict)
    sample: Sequence[Column] | None = None


def transaction_log(spark: SparkSession, settings: TransactionSettings) -> TransactionLog | None:
    """The log of transactions, looked through once; None where the table is one of customers."""
    if settings.customer is None or settings.time is None:
        return None
    log = open_log(
        tables.read_table(spark, settings.input),
        customer=settings.customer,
        time=settings.time,
        amount=settings.amount,
        quantity=settings.quantity,
        basket=settings.basket,
        cut_off=settings.cut_off,
        churn_after_days=getattr(settings, "churn_after_days", None),
        run_date=settings.run_date,
    )
    say(
        "%s transactions, of which those from %s to %s are taken; customers as they were on %s",
        f"{log.rows:,}",
        log.first_day,
        log.last_day,
        log.cut_off,
    )
    return log


def rows_of(spark: SparkSession, settings: TransactionSettings) -> tuple[DataFrame, list[str]]:
    """The table of the settings, made of transactions where it is one of these, and warnings."""
    log = transaction_log(spark, settings)
    if log is None:
        return tables.read_table(spark, settings.input), []
    return log.customers(), list(log.warnings)


def with_roles(settings: ChurnSettings, frame: DataFrame, by: str | None) -> Customers:
    """A table of customers, a row each that `by` names, with the columns that expressions give it,
    and what its columns are for.

    Raises ConfigurationError and InputDataError for an outcome, a value or an expression that
    cannot be used, and for an outcome that is to be an input.
    """
    expect_names(settings, INPUTS, frame.columns)
    frame = with_expressions(
        frame, [e for key in INPUTS for e in expressions(key, getattr(settings, key))]
    )
    inputs = tuple(column_name(text) for key in INPUTS for text in getattr(settings, key))
    for name in (*inputs, *settings.excluded_columns):
        if name not in frame.columns:
            raise no_column(name, frame.columns)
    if by is not None:
        by = _id_of(frame, by)
    not_inputs = dict[str, str]()
    outcome = CHURNED if settings.churn_after_days is not None else settings.outcome
    if outcome is not None:
        made_of = outcome_columns(frame, outcome)
        frame, outcome = with_outcome(frame, outcome)
        not_inputs |= dict.fromkeys(made_of, f"is what the outcome {outcome} is made of")
        not_inputs[outcome] = "is the outcome"
        refuse_inputs(not_inputs, inputs)
    value = settings.value
    if value is not None:
        frame, value = _with_value(frame, value)
        if value != settings.value:
            # What an expression made for one end is for that end alone.
            not_inputs[value] = "is the value"
    return Customers(frame, by, outcome, value, inputs, not_inputs)


def _id_of(frame: DataFrame, text: str) -> str:
    """The column that names the customer, as the table spells it."""
    sql_of(frame, "id", text)
    if text in frame.columns:
        return text
    same = same_names(text, frame.columns)
    if not same:
        raise ConfigurationError(f"id: found {text!r}, an expression; expected a column")
    return same[0]


def _with_value(frame: DataFrame, text: str) -> tuple[DataFrame, str]:
    sql = sql_of(frame, "value", text)
    kind = frame.select(F.expr(sql)).schema[0].dataType
    if not isinstance(kind, T.NumericType):
        raise ConfigurationError(
            f"value: found {text!r}, of type {kind.simpleString()}; expected a number, money"
        )
    if text in frame.columns:
        return frame, text
    name = expression_name(text) or "value"
    return frame.withColumn(name, F.expr(sql)), name


def checked(customers: Customers, settings: ChurnSettings) -> tuple[Customers, list[str]]:
    """The customers after a look at their rows, and warnings of it: days that are not over yet,
    and columns that give the outcome away, which are no inputs then unless they are named.

    Raises InputDataError for an id that several rows have, or none, and for a value that none has.
    """
    frame, warnings = customers.frame, list[str]()
    if customers.id is not None and settings.customer is None:
        check_unique(frame, customers.id)
    if settings.run_date is not None and _is_day(settings.run_date):
        warnings += days_after(frame, settings.run_date)
    if customers.value is not None:
        warnings += _of_money(frame, customers.value)
    if customers.outcome is None:
        return customers, warnings
    others = {customers.id, *customers.not_inputs, *settings.excluded_columns}
    columns = customers.inputs or [name for name in frame.columns if name not in others]
    categories = [column_name(text) for text in settings.categorical_columns]
    sample = sampled(frame, [customers.outcome, *columns], settings.seed, categories)
    customers = replace(customers, sample=sample)
    found = giveaways_among(*sample)
    kept = "it takes part, since it is named" if customers.inputs else "it is left out"
    warnings += [f"outcome: column {one.name!r} {one.reason}; {kept}" for one in found]
    if customers.inputs:
        return customers, warnings
    reasons = {one.name: f"gives the outcome away: {one.reason}" for one in found}
    not_inputs = {**customers.not_inputs, **reasons}
    return replace(customers, not_inputs=not_inputs), warnings


def _of_money(frame: DataFrame, name: str) -> list[str]:
    """What is to be known of the value before its sums are read."""
    value = F.nullif(quoted(name).cast("double"), F.lit(float("nan")))
    found = frame.agg(
        F.count(value).alias("known"),
        F.count_if(F.abs(value) == float("inf")).alias("infinite"),
        F.count_if((value < 0) & (value > float("-inf"))).alias("negative"),
    ).first()
    assert found is not None
    if found["known"] == found["infinite"]:
        raise InputDataError(
            f"value: {name!r} is known in no row; without money to count leave the setting out"
        )
    told = {
        "infinite": "count as not known",
        "negative": "lower what is at risk, and shares of it may lie outside of 0 to 100 %",
    }
    return [
        f"value: {found[kind]:,} rows of {name!r} are {kind}; they {what}"
        for kind, what in told.items()
        if found[kind]
    ]


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
