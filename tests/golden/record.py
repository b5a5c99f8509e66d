"""Record the golden fits, or hold this checkout's fits to them bit by bit.

python tests/golden/record.py            # writes tests/golden/golden.json
python tests/golden/record.py --check    # says which values have other bits, and by how much
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden.json"
sys.path.insert(0, str(HERE.parents[1]))


def fits() -> dict[str, dict[str, Any]]:
    """Every case from a Parquet table and from a DataFrame."""
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = str(HERE.parents[1])
    from pyspark.sql import SparkSession

    from gmm_spark import ParquetTable
    from tests.golden.cases import TABLES, estimator, kept

    spark = (
        SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for case, table in TABLES.items():
            path = f"{folder}/{case}.parquet"
            table().to_parquet(path, row_group_size=700, index=False)
            for source in "table", "frame":
                data = ParquetTable(path) if source == "table" else spark.read.parquet(path)
                found[f"{case}, {source}"] = kept(estimator(case).fit(data))
    spark.stop()
    return found


def difference(found: Any, golden: Any) -> float:
    """The largest relative difference of two values; infinity where they are not alike."""
    if isinstance(found, (list, tuple)):
        if not isinstance(golden, list) or len(found) != len(golden):
            return float("inf")
        return max((difference(*pair) for pair in zip(found, golden, strict=True)), default=0.0)
    if isinstance(found, float) and isinstance(golden, (int, float)):
        return abs(found - golden) / max(1e-300, abs(golden)) if found != golden else 0.0
    return 0.0 if found == golden else float("inf")


def main(argv: list[str]) -> int:
    found = json.loads(json.dumps(fits()))
    if argv != ["--check"]:
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        return 0
    golden = json.loads(GOLDEN.read_text("utf-8"))
    worst = 0.0
    for case, values in golden.items():
        for name, value in values.items():
            other = difference(found.get(case, {}).get(name), value)
            if other:
                print(f"{case}: {name} differs by {other:.2g}")
            worst = np.maximum(worst, other)
    print("the same bits" if worst == 0 else f"at most {worst:.2g}")
    return int(worst > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
