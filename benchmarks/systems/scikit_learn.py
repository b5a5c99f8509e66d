"""scikit-learn in memory: GaussianMixture with n_init = 5 and defaults else (max_iter 100).

Its imputers have their defaults; `means` puts in the means of columns.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.data import Table, read_rows


def fits(table: Table, seeds: list[int]) -> Iterator[dict[str, Any]]:
    """One fit a seed, the best of five starts each; reading the table is in the time."""
    from sklearn.mixture import GaussianMixture

    for seed in seeds:
        started = time.monotonic()
        rows = read_rows(table.path, table.columns)
        loaded = time.monotonic() - started
        mixture = GaussianMixture(table.k, n_init=5, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge is in the result
            mixture.fit(rows)
        yield {
            "seed": seed,
            "seconds": time.monotonic() - started,
            "of which loading": loaded,
            "iterations": int(mixture.n_iter_),
            "converged": bool(mixture.converged_),
            "reported": float(mixture.lower_bound_),
            "parameters": {
                "weights": mixture.weights_.tolist(),
                "means": mixture.means_.tolist(),
                "covariances": mixture.covariances_.tolist(),
            },
        }


def step(table: Table, *, repeats: int) -> list[float]:
    """Seconds an iteration: a longer fit less a shorter one, from the same start."""
    from sklearn.mixture import GaussianMixture

    rows = read_rows(table.path, table.columns)
    means = rows[np.random.default_rng(1).choice(len(rows), table.k, replace=False)]
    precision = np.linalg.inv(np.cov(rows.T))

    def run(iterations: int) -> float:
        mixture = GaussianMixture(
            table.k,
            tol=0.0,
            max_iter=iterations,
            weights_init=np.full(table.k, 1 / table.k),
            means_init=means,
            precisions_init=np.repeat(precision[None], table.k, axis=0),
            init_params="random_from_data",
        )
        started = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mixture.fit(rows)
        return time.monotonic() - started

    run(1)
    return [(run(6) - run(1)) / 5 for _ in range(repeats)]


def impute(table: Table, *, variant: str) -> dict[str, Any]:
    """Fill the gaps of a table; variants: means, iterative, neighbours."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    imputers = {"means": SimpleImputer, "iterative": IterativeImputer, "neighbours": KNNImputer}
    imputer = imputers[variant]()
    started = time.monotonic()
    rows = read_rows(table.path, table.columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ten rounds without convergence, the default
        filled = imputer.fit_transform(rows)
    seconds = time.monotonic() - started
    return {"seconds": seconds, "put in": filled[np.isnan(rows)].tolist()}
