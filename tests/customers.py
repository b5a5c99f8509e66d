"""A small table of customers in three clear segments, and a lake of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

CENTRES = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
SIZES = (300, 200, 100)


def rows() -> pd.DataFrame:
    """600 rows: two columns around three centres, the true segment, an outcome, a month, a name."""
    rng = np.random.default_rng(5)
    segment = np.repeat(range(3), SIZES)
    frame = pd.DataFrame(rng.normal(CENTRES[segment]), columns=["spend", "visits"])
    frame["customer_id"] = range(len(frame))
    frame["segment"] = segment
    frame["left"] = (segment == 1) | (frame["customer_id"] % 10 == 0)
    frame["month"] = np.where(frame["customer_id"] % 2 == 0, "2026-01", "2026-02")
    frame["name"] = [f"customer {i}" for i in range(len(frame))]
    return frame.sample(frac=1, random_state=3, ignore_index=True)


def write_lake(customers: pd.DataFrame, directory: Path) -> None:
    """The customers as Parquet (three files, a few row groups) and as CSV, and some with gaps."""
    _parquet(customers, directory / "customers")
    customers.to_csv(directory / "customers.csv", index=False)
    gaps = customers.copy()
    gaps.loc[gaps["customer_id"] < 7, "visits"] = None
    _parquet(gaps, directory / "gaps")
    _parquet(customers.iloc[:0], directory / "empty", files=1)


def _parquet(frame: pd.DataFrame, directory: Path, files: int = 3) -> None:
    directory.mkdir()
    for i, part in enumerate(np.array_split(np.arange(len(frame)), files)):
        frame.iloc[part].to_parquet(directory / f"part-{i}.parquet", row_group_size=70, index=False)
