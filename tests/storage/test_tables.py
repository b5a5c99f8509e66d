"""Tables by path: those of another format are refused."""

from __future__ import annotations

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
