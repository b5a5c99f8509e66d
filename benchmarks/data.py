"""The tables of the benchmarks: synthetic mixtures, and the real sets of the reference data.

`sep1` 1M x 16 in 8 components: means N(0, 1), covariances A A' with A = G / sqrt(d) + I / 2,
weights Dirichlet(5). `overlap` 1M x 8 in 5: means N(0, 0.4^2). `wide` 200k x 64 in 10.
`small` and `big` are `sep1` with 100k and 10M rows, `gaps` is `sep1` with a tenth of the cells of
ten columns missing. `impute` 20k x 8 in 4, whole and with gaps in every column. A mixture gives the
same rows every time, with gaps or without.

`covertype`, `skin`, `magic` and `rfm` are read from the reference data, which are no part of the
project; where these are not, the sets are absent.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROWS_PER_FILE = 250_000
ROWS_PER_GROUP = 125_000
# A small table keeps enough rows for every component.
FEWEST_ROWS = 2_000


class AbsentError(Exception):
    """A set's source is not on this machine; the message says what is missing where."""


@dataclass(frozen=True)
class Table:
    """A Parquet table to fit, and the number of components to fit to it."""

    name: str
    path: Path
    k: int
    columns: tuple[str, ...]
    rows: int

    @staticmethod
    def at(path: Path, k: int) -> Table:
        """A table that exists."""
        files = sorted(path.glob("*.parquet"))
        columns = tuple(pq.read_schema(files[0]).names)
        return Table(path.name, path, k, columns, sum(pq.read_metadata(f).num_rows for f in files))


@dataclass(frozen=True)
class Mixture:
    """A mixture to draw a table from."""

    name: str
    rows: int
    d: int
    k: int
    spread: float = 1.0
    seed: int = 1
    gaps: float = 0.0  # share of the cells of the first ten columns that are missing

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"x{i}" for i in range(self.d))

    def parameters(self, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """Weights (k,), means (k, d) and factors A (k, d, d) of the covariances A A'."""
        weights = rng.dirichlet(np.full(self.k, 5.0))
        means = rng.normal(scale=self.spread, size=(self.k, self.d))
        factors = rng.normal(size=(self.k, self.d, self.d)) / np.sqrt(self.d) + np.eye(self.d) / 2
        return weights, means, factors

    def truth(self) -> dict[str, Array]:
        """The parameters the rows are drawn from, as the evaluator takes them."""
        weights, means, factors = self.parameters(np.random.default_rng(self.seed))
        covariances = factors @ factors.transpose(0, 2, 1)
        return {"weights": weights, "means": means, "covariances": covariances}


@dataclass(frozen=True)
class RealSet:
    """A set of the reference data: `read` gives its columns (d, n) from `source`.

    `recorded` gives the bounds of the cells that rows (n, d) were rounded to, where that matters.
    """

    name: str
    k: int
    columns: tuple[str, ...]
    source: str
    read: Callable[[Path], Array]
    recorded: Callable[[Array], tuple[Array, Array]] | None = None


def _npz(path: Path) -> Array:
    with np.load(path, allow_pickle=False) as arrays:
        return np.ascontiguousarray(arrays["X"].T, dtype=np.float64)


def _log_rfm(path: Path) -> Array:
    with path.open(newline="") as lines:
        customers = list(csv.DictReader(lines))
    names = ("recency_days", "frequency", "monetary")
    return np.log1p(np.array([[float(row[name]) for row in customers] for name in names]))


def _days_purchases_and_cents(rows: Array) -> tuple[Array, Array]:
    units = np.array([1.0, 1.0, 0.01])
    recorded = np.round(np.expm1(rows) / units) * units
    return np.log1p(recorded - units / 2), np.log1p(recorded + units / 2)


MIXTURES = {
    m.name: m
    for m in (
        Mixture("small", 100_000, 16, 8),
        Mixture("sep1", 1_000_000, 16, 8),
        Mixture("overlap", 1_000_000, 8, 5, spread=0.4),
        Mixture("wide", 200_000, 64, 10),
        Mixture("big", 10_000_000, 16, 8),
        Mixture("gaps", 1_000_000, 16, 8, gaps=0.1),
        Mixture("impute", 20_000, 8, 4),
    )
}

REAL_SETS = {
    s.name: s
    for s in (
        RealSet(
            "covertype",
            10,
            (
                "elevation",
                "aspect",
                "slope",
                "horizontal_distance_to_hydrology",
                "vertical_distance_to_hydrology",
                "horizontal_distance_to_roadways",
                "hillshade_9am",
                "hillshade_noon",
                "hillshade_3pm",
                "horizontal_distance_to_fire_points",
            ),
            "big_covertype/10_cover.npz",
            _npz,
        ),
        RealSet("skin", 6, ("blue", "green", "red"), "big_skin/33_skin.npz", _npz),
        RealSet(
            "magic",
            5,
            (
                "f_length",
                "f_width",
                "f_size",
                "f_conc",
                "f_conc1",
                "f_asym",
                "f_m3_long",
                "f_m3_trans",
                "f_alpha",
                "f_dist",
            ),
            "magic_gamma/22_magic.gamma.npz",
            _npz,
        ),
        RealSet(
            "rfm",
            4,
            ("log_recency_days", "log_frequency", "log_monetary"),
            "online_retail/rfm_2010_2011.csv",
            _log_rfm,
            _days_purchases_and_cents,
        ),
    )
}

# `big` last: what is quick is known early.
SETS = ("sep1", "overlap", "wide", *REAL_SETS, "small", "big")


@dataclass(frozen=True)
class Tables:
    """Makes tables below `folder`, each once; `rows_factor` under 1 makes small ones."""

    folder: Path
    real: Path
    rows_factor: float = 1.0

    def named(self, name: str) -> Table:
        """The table of a set; AbsentError where its source is not on this machine."""
        if name in MIXTURES:
            return self.of_mixture(MIXTURES[name])
        return self._of_real_set(REAL_SETS[name])

    def of_mixture(self, mixture: Mixture, files: int | None = None) -> Table:
        """A table drawn from a mixture, in as many files as are asked for."""
        mixture = replace(mixture, rows=self._scaled(mixture.rows))
        per_file = min(ROWS_PER_FILE, -(-mixture.rows // 4))
        name = f"{mixture.name}-{mixture.rows}"
        if files is not None:
            per_file = -(-mixture.rows // files)
            name += f"-{files}-files"
        path = self.folder / name
        if not (path / "_SUCCESS").exists():
            _write_mixture(mixture, path, per_file)
        return Table(mixture.name, path, mixture.k, mixture.columns, mixture.rows)

    def _of_real_set(self, found: RealSet) -> Table:
        source = self.real / found.source
        if not source.is_file():
            raise AbsentError(
                f"{found.source} is not among the reference data; --real says where these are"
            )
        values = found.read(source)
        rows = self._scaled(values.shape[1])
        if rows < values.shape[1]:
            values = values[:, np.random.default_rng(1).permutation(values.shape[1])[:rows]]
        path = self.folder / f"{found.name}-{rows}"
        if not (path / "_SUCCESS").exists():
            _start(path)
            _write_file(path, 0, found.columns, values, rows_per_group=-(-rows // 8))
            (path / "_SUCCESS").touch()
        return Table(found.name, path, found.k, found.columns, rows)

    def _scaled(self, rows: int) -> int:
        return max(min(rows, FEWEST_ROWS), round(rows * self.rows_factor))


def _start(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)  # what an interrupted run left
    path.mkdir(parents=True)


def _write_mixture(mixture: Mixture, path: Path, per_file: int) -> None:
    _start(path)
    rng = np.random.default_rng(mixture.seed)
    d, k = mixture.d, mixture.k
    weights, means, factors = mixture.parameters(rng)
    for number in range(-(-mixture.rows // per_file)):
        rows = min(per_file, mixture.rows - number * per_file)
        component = rng.choice(k, rows, p=weights)
        noise = rng.normal(size=(rows, d))
        values = np.empty((d, rows))
        for c in range(k):
            mine = component == c
            values[:, mine] = means[c][:, None] + factors[c] @ noise[mine].T
        if mixture.gaps:
            # Numbers of their own: the rows are those of the mixture without gaps.
            own, gappy = np.random.default_rng([mixture.seed, number]), values[:10]
            gappy[own.random(gappy.shape) < mixture.gaps] = np.nan
        _write_file(path, number, mixture.columns, values, min(ROWS_PER_GROUP, per_file))
    (path / "_SUCCESS").touch()


def _write_file(
    path: Path, number: int, columns: tuple[str, ...], values: Array, rows_per_group: int
) -> None:
    table = pa.table(dict(zip(columns, values, strict=True)))
    # As Spark writes a table: it gives up on a dictionary of values that hardly repeat, pyarrow
    # only on one of more than a megabyte, and to read it takes half as long again.
    repeating = [n for n in columns if 2 * len(table[n].unique()) < table.num_rows]
    path = path / f"part-{number:04d}.parquet"
    pq.write_table(table, path, row_group_size=rows_per_group, use_dictionary=repeating)


def read_rows(path: Path, columns: tuple[str, ...]) -> Array:
    """A whole table in memory, (n, d): where the in-memory peers begin."""
    table = pq.read_table(path, columns=list(columns))
    return np.column_stack([column.to_numpy() for column in table.columns])
