"""Tables by path: those of another format are refused."""

from __future__ import annotations

import pandas as pd
import pytest

from gmm_spark.config import InputSettings
from gmm_spark.errors import ConfigurationError
from gmm_spark.storage import tables

MARKS = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table", "metadata": "an Iceberg table"}


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("source", [{}, {"options": {"mergeSchema": True}}, {"format": "orc"}])
def test_a_table_with_a_log_is_no_plain_parquet(spark, customers, tmp_path, mark, source) -> None:
    root = tmp_path / "customers"
    (root / mark).mkdir(parents=True)
    (root / mark / "0.metadata.json").write_text("{}")
    customers.to_parquet(root / "0.parquet", index=False)
    for path in (root, root / "0.parquet", root / "*.parquet"):
        settings = InputSettings(path=str(path), **source)
        for read in (tables.parquet_table, tables.read_table):
            if read is tables.parquet_table and source:
                continue  # Spark reads it
            with pytest.raises(ConfigurationError, match=f"input.path: .* is {MARKS[mark]}"):
                read(spark, settings)


@pytest.mark.parametrize("source", [{}, {"format": "parquet"}])
def test_times_of_nanoseconds_are_read_to_the_microsecond(spark, tmp_path, source) -> None:
    """As pandas writes times, and Spark refuses them."""
    texts = ["2024-03-10 02:30:00.123456789", "1969-12-31 23:59:59.999999999", None]
    rows = pd.DataFrame({"a.b": pd.to_datetime(texts), "n": [1, 2, 3]})
    rows["zoned"] = pd.to_datetime(texts).tz_localize("UTC").tz_convert("America/New_York")
    root = tmp_path / "log"
    root.mkdir()
    rows.to_parquet(root / "log.parquet", index=False)
    frame = tables.read_table(spark, InputSettings(path=str(root), **source))
    assert dict(frame.dtypes) == {"a.b": "timestamp_ntz", "n": "bigint", "zoned": "timestamp"}
    found = frame.orderBy("n").selectExpr("string(`a.b`)", "unix_micros(zoned)").collect()
    assert [row[0] for row in found] == [
        "2024-03-10 02:30:00.123456", "1969-12-31 23:59:59.999999", None,
    ]  # fmt: skip
    assert [row[1] for row in found] == [1710037800123456, -1, None]


def test_a_filter_of_a_day_is_read_alike_by_spark_and_the_workers(spark, tmp_path) -> None:
    day = pd.Series(["2026-10-24", "2026-10-25"]).astype("datetime64[s]").dt.date
    pd.DataFrame({"day": day, "x": [1.0, 2.0]}).to_parquet(tmp_path / "0.parquet", index=False)
    source = InputSettings(path=str(tmp_path), filters="day = '2026-10-25'")
    assert [row.x for row in tables.read_table(spark, source).collect()] == [2.0]
    table = tables.parquet_table(spark, source)
    assert table is not None
    assert str(table.files().expression) == "(day == 2026-10-25)"
    # And what neither can compare is a mistake in the settings to both.
    wrong = InputSettings(path=str(tmp_path), filters="day = 5")
    for read in (tables.read_table, lambda *of: tables.parquet_table(*of).files()):
        with pytest.raises(ConfigurationError, match=r"^(input\.)?filters: "):
            read(spark, wrong)
