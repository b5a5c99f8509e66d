"""Customers who were in one segment at the champion's run, and are in another today."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from gmm_spark.report.succession import SegmentIds, customers_between

IDS = SegmentIds.first(["new", "loyal"])


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (["1", "2", "K3"], [1, 2, 4]),
        ([1, 2, 3], ["1", "2", "K4"]),
        ([1, 2, 3], [1.0, 2.0, 4.0]),
    ],
)
def test_ids_that_were_text_and_are_numbers(
    spark: Any, tmp_path: Path, then: list[Any], now: list[Any]
) -> None:
    """And the other way round: text that is no number is no customer who was there."""
    (tmp_path / "scores").mkdir()
    before = pd.DataFrame({"customer": then, "segment_id": [0, 1, 1]})
    before.to_parquet(tmp_path / "scores" / "part-0.parquet", index=False)
    champion: Any = SimpleNamespace(uri=str(tmp_path), ids=IDS)
    scores = spark.createDataFrame(pd.DataFrame({"customer": now, "segment_id": [0, 0, 1]}))
    found = customers_between(spark, champion, scores, "customer", IDS)
    assert found == {
        "old": [0, 1],
        "new": [0, 1],
        "rows": [[1, 0], [1, 0]],
        "came": [0, 1],
        "left": [0, 1],
    }
