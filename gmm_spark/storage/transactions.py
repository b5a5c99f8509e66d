"""Scores in a table of Delta or Iceberg: those of one run date replaced in one transaction, so that
readers see the old ones or the new ones, and a rerun leaves them once."""

from __future__ import annotations

from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from gmm_spark.engine.dataframe import text_literal
from gmm_spark.errors import ConfigurationError, spark_message
from gmm_spark.storage.scores import RUN_DATE
from gmm_spark.storage.tables import PACKAGES


def expect_format(spark: SparkSession, kind: str) -> None:
    """Raise ConfigurationError where this Spark has no jar for delta or iceberg."""
    try:
        spark.read.format(kind).load("/of-no-table")
    except (PySparkException, Py4JJavaError) as error:
        # Of a format that is there: no such table.
        if spark_message(error)[0] == "DATA_SOURCE_NOT_FOUND":
            raise ConfigurationError(
                f"scores_format: found {kind!r}, which this Spark cannot write; expected its jar, "
                f"for instance spark-submit --packages {PACKAGES[kind]}:<version>, and its "
                "extension and catalog in spark-defaults.conf"
            ) from None


def replace_run_date(frame: DataFrame, table: str, kind: str, run_date: str) -> None:
    """Replace the rows of a run date in a table of the catalog by those of `frame`, all of that
    date, or make the table, partitioned by it.

    Raises ConfigurationError where the table cannot be written.
    """
    dated = frame.withColumn(RUN_DATE, F.lit(run_date))
    try:
        if kind == "delta":
            (
                dated.write.format("delta")
                .mode("overwrite")
                .option("replaceWhere", f"{RUN_DATE} = {text_literal(run_date)}")
                .partitionBy(RUN_DATE)
                .saveAsTable(table)
            )
        elif frame.sparkSession.catalog.tableExists(table):
            # By the date and not by partitions: a run without rows leaves none of the earlier.
            dated.writeTo(table).overwrite(F.col(RUN_DATE) == run_date)
        else:
            writer: Any = dated.writeTo(table).using("iceberg")
            writer.partitionedBy(F.col(RUN_DATE)).create()
    except (PySparkException, Py4JJavaError) as error:
        raise ConfigurationError(
            f"scores_table: {table} cannot be written as {kind}: {spark_message(error)[1]}"
        ) from error
