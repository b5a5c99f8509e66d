"""Columns that SQL expressions give."""

from __future__ import annotations

import pytest

from gmm_spark.errors import ConfigurationError
from gmm_spark.storage.computed_columns import expressions, with_expressions


def test_two_expressions_of_one_name(spark, lake) -> None:
    frame = spark.read.parquet(str(lake / "customers"))
    with pytest.raises(ConfigurationError, match="two expressions of one name"):
        with_expressions(frame, expressions("columns", ["log1p(spend) as s", "spend * 2 as S"]))
    found = with_expressions(frame, expressions("columns", ["spend * 2 as Spend"]))
    assert "spend" not in found.columns
    assert "Spend" in found.columns
