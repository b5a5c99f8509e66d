"""How models that are updated day by day follow what moves: `python -m benchmarks.updates`.

Thirty daily partitions of a mixture whose means move at a steady pace, each component in a
direction of its own; updated by every day's rows alone, with several half-lives, beside refits of
the last day and of all days so far. An error is what a row of the day is described worse by the
model than by the mixture it was drawn from: nats of the mean log density, on rows of their own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from benchmarks.records import RESULTS, machine
from gmm_spark.engine.array_source import array_source
from gmm_spark.mixture.incremental import KeptStatistics, fading_of
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.spec import Spec
from gmm_spark.progress import quiet
from gmm_spark.training import fit_arrays
from gmm_spark.updating import update

K, D, DAYS, ROWS, TEST_ROWS, SEEDS = 3, 4, 30, 1000, 20_000, 10
# Standard deviations a day.
PACES = 0.0, 0.003, 0.02, 0.1
HALF_LIVES = 2.0, 7.0, 30.0, np.inf
LOOKED_AT = 10, 20, 30
SPEC = Spec(k=K, num_init=4)


class Drift:
    """A mixture of unit normals, six deviations apart, whose means move."""

    def __init__(self, pace: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.weights = np.array([0.5, 0.3, 0.2])
        self._start = 6.0 * np.eye(K, D)
        ways = rng.normal(size=(K, D))
        self._step = pace * ways / np.linalg.norm(ways, axis=1, keepdims=True)

    def means(self, day: int) -> np.ndarray:
        return self._start + day * self._step

    def rows(self, day: int, n: int, rng: np.random.Generator) -> np.ndarray:
        """(D, n)"""
        component = rng.choice(K, n, p=self.weights)
        return (self.means(day)[component] + rng.normal(size=(n, D))).T


def log_density(weights: Any, means: Any, covariances: Any, rows: np.ndarray) -> float:
    """The mean over rows (D, n)."""
    joint = [
        np.log(w) + multivariate_normal(m, c).logpdf(rows.T)
        for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    return float(logsumexp(joint, axis=0).mean())


def one_run(pace: float, seed: int) -> dict[str, list[float]]:
    """Errors of every way on the days that are looked at."""
    drift, rng = Drift(pace, seed), np.random.default_rng(1000 + seed)
    days = [drift.rows(day, ROWS, rng) for day in range(1, DAYS + 1)]
    first = fit_arrays(days[0], SPEC)
    assert first.statistics is not None
    updated: dict[float, tuple[Parameters, KeptStatistics]] = dict.fromkeys(
        HALF_LIVES, (first.parameters, first.statistics)
    )
    errors: dict[str, list[float]] = {}
    refits = {"refit of the day": first.parameters, "refit of all days": first.parameters}
    for day in range(2, DAYS + 1):
        today = array_source(days[day - 1])
        for half_life, (parameters, statistics) in updated.items():
            with quiet():
                found = update(
                    lambda today=today: (today, []),
                    SPEC,
                    parameters,
                    statistics,
                    fading_of(half_life, 1.0),
                )
            updated[half_life] = found.parameters, found.statistics
        if day not in LOOKED_AT:
            continue
        rows_of = {
            "refit of the day": days[day - 1],
            "refit of all days": np.concatenate(days[:day], axis=1),
        }
        for way, rows in rows_of.items():
            spec = Spec(k=K, initial_model=refits[way])
            refits[way] = fit_arrays(rows, spec).parameters
        models = {
            "as fitted to day 1": first.parameters,
            **{_name(half_life): found for half_life, (found, _) in updated.items()},
            **refits,
        }
        rows = drift.rows(day, TEST_ROWS, rng)
        best = log_density(drift.weights, drift.means(day), [np.eye(D)] * K, rows)
        for way, model in models.items():
            found = log_density(model.weights, model.means, model.dense_covariances(), rows)
            errors.setdefault(way, []).append(best - found)
    return errors


def _name(half_life: float) -> str:
    return "updated, nothing fades" if half_life == np.inf else f"updated, {half_life:g} days"


def measured(paces: Sequence[float], seeds: int) -> list[dict[str, Any]]:
    """A dictionary a pace: errors of every way, means over seeds with their standard errors."""
    found = []
    for pace in paces:
        runs = [one_run(pace, seed) for seed in range(seeds)]
        errors = {}
        for way in runs[0]:
            of_way = np.array([run[way] for run in runs])
            spread = of_way.std(axis=0, ddof=1) / np.sqrt(seeds)
            errors[way] = {
                f"day {day}": {"nats": round(mean, 5), "standard_error": round(error, 5)}
                for day, mean, error in zip(
                    LOOKED_AT, of_way.mean(axis=0).tolist(), spread.tolist(), strict=True
                )
            }
        found.append({"pace": pace, "best_half_life": best_half_life(pace), "errors": errors})
    return found


def best_half_life(pace: float) -> float | None:
    """Of docs/production.md: where what rows lag behind and what few rows cost are least in sum."""
    p = K - 1 + K * D + K * D * (D + 1) // 2
    return None if pace == 0 else round(float((p / (12 * ROWS * pace**2)) ** (1 / 3)), 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    result = {
        "benchmark": "updates",
        "command": "python -m benchmarks.updates",
        "machine": machine(1),
        "k": K,
        "columns": D,
        "days": DAYS,
        "rows_a_day": ROWS,
        "seeds": arguments.seeds,
        "paces": measured(PACES, arguments.seeds),
    }
    (arguments.out / "updates.json").write_text(json.dumps(result, indent=1) + "\n")
    for one in result["paces"]:
        print(f"\n{one['pace']:g} standard deviations a day; best {one['best_half_life']} days")
        for way, errors in one["errors"].items():
            print(f"  {way:26}", *(f"{error['nats']:9.4f}" for error in errors.values()))


if __name__ == "__main__":
    main()
