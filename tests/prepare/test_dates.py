"""Days: text that is recognised, and the expression Spark reads it by."""

from __future__ import annotations

from datetime import date, datetime

import pytest
from pyspark.sql import functions as F

from gmm_spark.errors import ConfigurationError
from gmm_spark.prepare.dates import day_of, day_patterns, day_sql

# How the 9th of December 2011 and the 31st of January 2012 are written.
WRITTEN = {
    "yyyy-M-d": ("2011-12-09", "2012-1-31"),
    "yyyy/M/d": ("2011/12/09 12:50", "2012/1/31 8:26:00"),
    "yyyyMMdd": ("20111209", "20120131"),
    "d.M.yyyy": ("9.12.2011", "31.01.2012 23:59"),
    "M/d/yyyy": ("12/9/2011 12:50", "01/31/2012 8:26"),
    "d/M/yyyy": ("9/12/2011", "31/1/2012"),
    "M-d-yyyy": ("12-09-2011", "1-31-2012"),
    "d-M-yyyy": ("09-12-2011", "31-1-2012"),
    "d-MMM-yyyy": ("9-Dec-2011", "31-JAN-2012"),
    "d MMM yyyy": ("09 Dec 2011 12:50 PM", "31 Jan 2012"),
    "MMM d, yyyy": ("Dec 9, 2011 12:50:01", "Jan 31, 2012"),
}


@pytest.mark.parametrize("pattern", WRITTEN)
def test_a_way_to_write_days_is_recognised(pattern) -> None:
    assert day_patterns(WRITTEN[pattern]) == [pattern]


@pytest.mark.parametrize(
    "texts",
    [
        ["2011-12-09", "soon"],
        ["12345678", "20111209"],  # month 56
        ["30010101"],  # a number
        ["2011121"],
        ["9/12/11"],
        ["7590-VHVEG"],
        ["", " "],
        [],
    ],
)
def test_other_texts_are_no_days(texts) -> None:
    assert day_patterns(texts) == []


def test_day_and_month_that_cannot_be_told_apart_have_two_patterns() -> None:
    assert day_patterns(["1/2/2011", "12/12/2011"]) == ["M/d/yyyy", "d/M/yyyy"]


def test_spark_reads_what_was_recognised(spark) -> None:
    days = [date(2011, 12, 9), date(2012, 1, 31)]
    frame = spark.createDataFrame([tuple(t) for t in zip(*WRITTEN.values(), strict=True)])
    for name, pattern in zip(frame.columns, WRITTEN, strict=True):
        read = F.expr(day_sql(f"`{name}`", frame.schema[name].dataType, pattern))
        assert [row[0] for row in frame.select(read).collect()] == days, pattern


def test_what_is_no_day_is_null(spark) -> None:
    frame = spark.createDataFrame([("31/1/2011",), ("1/31/2011",), ("",), (None,)], "t string")
    read = F.expr(day_sql("t", frame.schema["t"].dataType, "d/M/yyyy"))
    assert [row[0] for row in frame.select(read).collect()] == [date(2011, 1, 31), *[None] * 3]


def test_times_and_whole_numbers_have_days(spark) -> None:
    frame = spark.sql(
        "SELECT TIMESTAMP'2011-12-09 23:59:59' t, TIMESTAMP_NTZ'2011-12-09 00:00:01' n, "
        "DATE'2011-12-09' d, 20111209 w"
    )
    for name in frame.columns:
        read = F.expr(day_sql(name, frame.schema[name].dataType, "yyyyMMdd"))
        assert frame.select(read).first()[0] == date(2011, 12, 9), name


@pytest.mark.parametrize(
    "value", ["2011-09-30", "2011-09-30 12:00", date(2011, 9, 30), datetime(2011, 9, 30, 12)]
)
def test_a_setting_is_a_day(value) -> None:
    assert day_of("cut_off", value) == date(2011, 9, 30)


@pytest.mark.parametrize("value", ["September", 20110930, "2011-13-01"])
def test_a_setting_that_is_no_day_is_refused(value) -> None:
    with pytest.raises(ConfigurationError, match=r"cut_off: found .*; expected a day, as 2011-09"):
        day_of("cut_off", value)
