"""oneDAL's EM through daal4py, in memory: em_gmm_init (20 trials of 10 iterations), then em_gmm.

em_gmm stops after 10 iterations unless told otherwise; here after 100, or at a gain of 1e-6 a row
(its threshold is of the total). Runs in an environment of its own, which has neither Spark nor
this project's package.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.data import Table, read_rows

TOL_A_ROW = 1e-6
MAX_ITERATIONS = 100


def fits(table: Table, seeds: list[int]) -> Iterator[dict[str, Any]]:
    """One fit a seed; reading the table and em_gmm_init are in the time."""
    import daal4py

    for seed in seeds:
        started = time.monotonic()
        rows = read_rows(table.path, table.columns)
        loaded = time.monotonic() - started
        engine = daal4py.engines_mt19937(seed=seed)
        start = daal4py.em_gmm_init(nComponents=table.k, engine=engine).compute(rows)
        initialised = time.monotonic() - started - loaded
        found = daal4py.em_gmm(
            nComponents=table.k,
            maxIterations=MAX_ITERATIONS,
            accuracyThreshold=TOL_A_ROW * len(rows),
        ).compute(rows, start.weights, start.means, start.covariances)
        iterations = int(found.nIterations[0, 0])
        yield {
            "seed": seed,
            "seconds": time.monotonic() - started,
            "of which loading": loaded,
            "of which starting": initialised,
            "iterations": iterations,
            "converged": iterations < MAX_ITERATIONS,
            "reported": float(found.goalFunction[0, 0]) / len(rows),
            "parameters": {
                "weights": found.weights[0].tolist(),
                "means": found.means.tolist(),
                "covariances": [covariance.tolist() for covariance in found.covariances],
            },
        }


def step(table: Table, *, repeats: int) -> list[float]:
    """Seconds an iteration: a longer fit less a shorter one, from the same start."""
    import daal4py

    rows = read_rows(table.path, table.columns)
    weights = np.full((1, table.k), 1 / table.k)
    means = rows[np.random.default_rng(1).choice(len(rows), table.k, replace=False)]
    covariances = [np.cov(rows.T)] * table.k

    def run(iterations: int) -> tuple[float, int]:
        algorithm = daal4py.em_gmm(
            nComponents=table.k, maxIterations=iterations, accuracyThreshold=0.0
        )
        started = time.monotonic()
        found = algorithm.compute(rows, weights, means, covariances)
        return time.monotonic() - started, int(found.nIterations[0, 0])

    run(2)
    seconds = []
    for _ in range(repeats):
        (short, first), (long, last) = run(2), run(12)
        seconds.append((long - short) / max(1, last - first))
    return seconds
