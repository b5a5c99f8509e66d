"""Fits end where they ended when they were recorded (record.py says by what, and compares bits)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden.cases import TABLES, estimator, kept

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text("utf-8"))


# Of most kinds one source is enough to see that something moved; `make test-long` has the others.
_FRAMES = ("full", "categories")
CASES = [
    pytest.param(
        case, source, marks=pytest.mark.long if source == "frame" and case not in _FRAMES else ()
    )
    for case in TABLES
    for source in ("table", "frame")
]


@pytest.mark.parametrize(("case", "source"), CASES)
def test_a_fit_ends_where_it_did(spark: Any, tmp_path: Path, case: str, source: str) -> None:
    from gmm_spark import ParquetTable

    path = str(tmp_path / "table.parquet")
    TABLES[case]().to_parquet(path, row_group_size=700, index=False)
    data = ParquetTable(path) if source == "table" else spark.read.parquet(path)
    found, golden = kept(estimator(case).fit(data)), GOLDEN[f"{case}, {source}"]
    assert found.keys() == golden.keys()
    assert [kind for kind, _ in found["passes"]] == [kind for kind, _ in golden["passes"]]
    for name in ("structure", "reason"):
        assert found.pop(name) == golden[name]
    for name, value in found.items():
        value = [level for _, level in value] if name == "passes" else value
        wanted = [level for _, level in golden[name]] if name == "passes" else golden[name]
        # Other processors round otherwise, and a fit goes on from there.
        np.testing.assert_allclose(value, wanted, rtol=1e-7, atol=1e-9, err_msg=name)
