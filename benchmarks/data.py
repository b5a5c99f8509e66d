"""Synthetic mixtures written as Parquet tables, the same for the same name.

`sep1` 1M x 16 in 8 components: means N(0, 1), covariances A A' with A = G / sqrt(d) + I / 2,
weights Dirichlet(5). `overlap` 1M x 8 in 5: means N(0, 0.4^2). `wide` 200k x 64 in 10.
`big` is `sep1` with 10M rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_FILE = 250_000
ROWS_PER_GROUP = 125_000


@dataclass(frozen=True)
class Mixture:
    """A mixture to draw a table from."""

    name: str
    rows: int
    d: int
    k: int
    spread: float = 1.0
    seed: int = 1

    @property
    def columns(self) -> list[str]:
        return [f"x{i}" for i in range(self.d)]


MIXTURES = {
    m.name: m
    for m in (
        Mixture("sep1", 1_000_000, 16, 8),
        Mixture("overlap", 1_000_000, 8, 5, spread=0.4),
        Mixture("wide", 200_000, 64, 10),
        Mixture("big", 10_000_000, 16, 8),
    )
}


def write_table(mixture: Mixture, folder: Path) -> Path:
    """The mixture's table below `folder`, written once."""
    path = folder / mixture.name
    if (path / "_SUCCESS").exists():
        return path
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(mixture.seed)
    d, k = mixture.d, mixture.k
    weights = rng.dirichlet(np.full(k, 5.0))
    means = rng.normal(scale=mixture.spread, size=(k, d))
    factors = rng.normal(size=(k, d, d)) / np.sqrt(d) + np.eye(d) / 2
    per_file = min(ROWS_PER_FILE, mixture.rows // 4)
    for number in range(-(-mixture.rows // per_file)):
        rows = min(per_file, mixture.rows - number * per_file)
        component = rng.choice(k, rows, p=weights)
        noise = rng.normal(size=(rows, d))
        values = np.empty((d, rows))
        for c in range(k):
            mine = component == c
            values[:, mine] = means[c][:, None] + factors[c] @ noise[mine].T
        table = pa.table(dict(zip(mixture.columns, values, strict=True)))
        pq.write_table(
            table, path / f"part-{number:04d}.parquet", row_group_size=min(ROWS_PER_GROUP, per_file)
        )
    (path / "_SUCCESS").touch()
    return path
