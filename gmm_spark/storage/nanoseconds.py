"""Times in nanoseconds, as pandas writes them to Parquet and Spark does not read them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from gmm_spark.engine.dataframe import quoted, sql_name

_AS_LONG = "spark.sql.legacy.parquet.nanosAsLong"


def is_of_nanoseconds(message: str) -> bool:
    """Whether this is how Spark refuses a Parquet file with such times."""
    return "TIMESTAMP(NANOS" in message


def read_as_numbers(spark: SparkSession) -> None:
    """From now on this session reads them as whole numbers. Not for a moment alone: Spark looks at
    the setting again when the rows are read."""
    spark.conf.set(_AS_LONG, "true")


def reads_as_numbers(spark: SparkSession) -> bool:
    """Whether this session does."""
    return str(spark.conf.get(_AS_LONG, "false")).lower() == "true"


def with_times(frame: DataFrame, filesystem: fs.FileSystem, path: str) -> DataFrame:
    """A table that was read so, with times to the microsecond; `path` is one of its files."""
    with filesystem.open_input_file(path) as file:
        schema = pq.read_schema(file)
    times = {
        field.name: _time(field.name, field.type)
        for field in schema
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns"
    }
    return frame.select(*(times.get(name, quoted(name)) for name in frame.columns))


def _time(name: str, kind: pa.TimestampType) -> Column:
    # Rounded down before 1970 too.
    micros = f"CAST(floor({sql_name(name)} / 1000BD) AS BIGINT)"
    if kind.tz is not None:
        return F.expr(f"timestamp_micros({micros})").alias(name)
    seconds = f"CAST({micros} / 1000000BD AS DECIMAL(18, 6))"
    since = f"make_dt_interval(0, 0, 0, {seconds})"
    return F.expr(f"TIMESTAMP_NTZ '1970-01-01 00:00:00' + {since}").alias(name)
