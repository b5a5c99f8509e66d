"""Logs of transactions that jobs read, as customers."""

from __future__ import annotations

from pyspark.sql import SparkSession

from gmm_spark.config import TransactionSettings
from gmm_spark.prepare.transactions import TransactionLog, open_log
from gmm_spark.progress import say
from gmm_spark.storage import tables


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
        "%d transactions from %s to %s; customers as they were on %s",
        log.rows,
        log.first_day,
        log.last_day,
        log.cut_off,
    )
    return log
