"""How long explaining rows takes beside scoring them: `python -m benchmarks.explain`.

Parquet to Parquet, rows drawn from a mixture: 16 numbers and 8 segments; and a table like one of
customers, 6 numbers, 8 categories and 2 counts in 6 segments, with 3 % of all cells missing. What
each adds to the rows is written. The two take turns, and their ratio is the median over the pairs:
other work on the machine slows both. Seconds of CPU are those of the driver, the JVM and its Python
workers together.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.records import RESULTS, machine
from benchmarks.systems.spark import session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from gmm_spark import GaussianMixtureModel

_TICKS = os.sysconf("SC_CLK_TCK")


def mixture(d: int, k: int, categories: int, counts: int) -> GaussianMixtureModel:
    """A mixture of random parameters, its segments as far apart as those of customers are."""
    from gmm_spark import GaussianMixtureModel

    rng = np.random.default_rng(1)
    roots = rng.normal(size=(k, d, 2 * d)) / np.sqrt(2 * d)
    return GaussianMixtureModel.fromParameters(
        rng.dirichlet(np.full(k, 5.0)),
        rng.normal(size=(k, d)) * 4 / np.sqrt(d),
        roots @ roots.swapaxes(1, 2),
        inputCols=[f"x{i}" for i in range(d)],
        categories={
            f"c{i}": (["a", "b", "(other)"], rng.dirichlet(np.full(3, 2.0), size=k))
            for i in range(categories)
        },
        countCols=[f"n{i}" for i in range(counts)],
        rates=rng.uniform(1, 6, size=(k, counts)) if counts else None,
    )


def rows(model: GaussianMixtureModel, count: int, gaps: float, path: str) -> None:
    """Write so many rows of a mixture, some of their cells missing."""
    from pyspark.sql import functions as F

    drawn = model.sample(count, seed=3).drop("component")
    if gaps:
        drawn = drawn.select(
            *(
                F.when(F.rand(seed) >= gaps, F.col(name)).alias(name)
                for seed, name in enumerate(drawn.columns)
            )
        )
    drawn.write.parquet(path)


def cpu_seconds() -> float:
    """Of this process and all that came of it, those that have ended too."""
    parents, taken = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        taken[int(entry.name)] = sum(map(int, fields[11:15])) / _TICKS
    mine, seen = [os.getpid()], 0.0
    while mine:
        process = mine.pop()
        seen += taken.get(process, 0.0)
        mine += [one for one, parent in parents.items() if parent == process]
    return seen


def pairs(path: str, model: GaussianMixtureModel, count: int, out: str) -> dict[str, Any]:
    """Seconds and seconds of CPU of scoring and of explaining, in turns, and their ratios."""
    from pyspark.sql import SparkSession

    spark = SparkSession.getActiveSession()
    assert spark is not None
    data = spark.read.parquet(path)

    def write(frame: DataFrame) -> None:
        frame.drop(*data.columns).write.mode("overwrite").parquet(out)

    runs: dict[str, Callable[[], None]] = {
        "score": lambda: write(model.transform(data)),
        "explain": lambda: write(model.explain(data)),
    }
    found: dict[str, Any] = {name: {"seconds": [], "cpu_seconds": []} for name in runs}
    # The first of each warms the session.
    for turn in range(-1, count):
        for name, run in runs.items():
            wall, cpu = time.monotonic(), cpu_seconds()
            run()
            print(f"{name} {time.monotonic() - wall:.1f} s", file=sys.stderr, flush=True)
            if turn >= 0:
                found[name]["seconds"].append(round(time.monotonic() - wall, 3))
                found[name]["cpu_seconds"].append(round(cpu_seconds() - cpu, 2))
    for what in ("seconds", "cpu_seconds"):
        both = zip(found["explain"][what], found["score"][what], strict=True)
        found[f"ratio_of_{what}"] = round(statistics.median(one / other for one, other in both), 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    tables = {"numbers": (16, 8, 0, 0, 0.0), "customers": (6, 6, 8, 2, 0.03)}
    result: dict[str, Any] = {
        "benchmark": "explain",
        "command": f"python -m benchmarks.explain --rows {arguments.rows} "
        f"--pairs {arguments.pairs} --cores {arguments.cores}",
        "machine": machine(arguments.cores),
        "rows": arguments.rows,
        "tables": {},
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    with session(arguments.cores, "2g"), tempfile.TemporaryDirectory() as folder:
        for name, (d, k, categories, counts, gaps) in tables.items():
            model = mixture(d, k, categories, counts)
            model.setMissing("marginalize" if gaps else "error")
            path = os.path.join(folder, name)
            rows(model, arguments.rows, gaps, path)
            found = pairs(path, model, arguments.pairs, os.path.join(folder, "out"))
            result["tables"][name] = found
            print(json.dumps({name: found}), flush=True)
            (arguments.out / "explain.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
