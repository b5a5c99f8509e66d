"""pyspark.ml's GaussianMixture with its defaults: maxIter 100, tol 0.01."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.data import Table
from benchmarks.systems.spark import assembled, session, warmed

# The assembled vectors of 10M x 16 are some 3 GB in the cache.
HEAP = "6g"


def fits(table: Table, seeds: list[int], *, warm: Table, cores: int) -> Iterator[dict[str, Any]]:
    """One fit a seed on the assembled and cached table; assembling and caching are in the time."""
    from pyspark.ml.clustering import GaussianMixture

    with session(cores, HEAP) as spark:

        def fit(data: Table, seed: int, iterations: int = 100) -> dict[str, Any]:
            started = time.monotonic()
            vectors = assembled(spark, data).cache()
            vectors.count()
            loaded = time.monotonic() - started
            estimator = GaussianMixture(k=data.k, seed=seed, maxIter=iterations)
            model = estimator.fit(vectors)
            seconds = time.monotonic() - started
            result = {
                "seed": seed,
                "seconds": seconds,
                "of which loading": loaded,
                "iterations": model.summary.numIter,
                "converged": model.summary.numIter < iterations,
                "reported": model.summary.logLikelihood / data.rows,
                "parameters": {
                    "weights": list(model.weights),
                    "means": [np.array(g.mean.toArray()).tolist() for g in model.gaussians],
                    "covariances": [g.cov.toArray().tolist() for g in model.gaussians],
                },
            }
            vectors.unpersist(blocking=True)
            return result

        fit(warm, 0, iterations=10)
        for seed in seeds:
            yield fit(table, seed)


def step(table: Table, *, warm: Table, cores: int, repeats: int) -> list[float]:
    """Seconds an iteration: a longer fit less a shorter one, of the same seed."""
    from pyspark.ml.clustering import GaussianMixture

    with session(cores, HEAP) as spark:
        vectors = assembled(spark, table).cache()
        vectors.count()

        def run(iterations: int) -> tuple[float, int]:
            estimator = GaussianMixture(k=table.k, seed=1, tol=0.0, maxIter=iterations)
            started = time.monotonic()
            done = estimator.fit(vectors).summary.numIter
            return time.monotonic() - started, done

        warmed(run)
        seconds: list[float] = []
        for _ in range(repeats):
            (short, first), (long, last) = run(2), run(7)
            if last <= first:
                raise RuntimeError(f"gives up after {last} iterations of 7")
            seconds.append((long - short) / (last - first))
    return seconds
