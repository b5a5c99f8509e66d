"""Rates by segment where segments overlap: how far off they are, and how often intervals cover.

In every run rows are drawn from a known mixture, each with an outcome at the rate of its
component; the mixture is fitted to the rows, from the truth on; and the rates are estimated.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gmm_spark.mixture import em
from gmm_spark.mixture.kernel import BlockKernel, array_pass
from gmm_spark.mixture.merging import Partition, cluster_probabilities
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.numerics import softmax
from gmm_spark.mixture.outcomes import (
    Assignment,
    Estimates,
    OutcomeRows,
    OutcomeSums,
    Uncertainty,
    are_told_apart,
)
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES

RUNS = 2000


@dataclass(frozen=True)
class Case:
    """Normals of unit variance about `means` (k, d), fitted as of a structure, and the rates of
    the outcome."""

    said: str
    code: str
    weights: tuple[float, ...]
    means: tuple[tuple[float, ...], ...]
    rates: tuple[float, ...]
    clusters: Partition | None = None  # of components, where they are merged; rates are of these

    def truth(self) -> Parameters:
        structure, k, d = STRUCTURES[self.code], len(self.weights), len(self.means[0])
        means = np.array(self.means)
        return Parameters(structure, np.array(self.weights), means, structure.unit(k, d))


PLANE = ((0.0, 0.0), (2.0, 0.0), (1.0, 1.9))
CASES = {
    "two": Case("two, 2 apart", "EEE", (0.6, 0.4), ((0.0,), (2.0,)), (0.05, 0.6)),
    "line": Case(
        "three in a row, 2 apart", "EEE", (0.4, 0.3, 0.3), ((0.0,), (2.0,), (4.0,)),
        (0.05, 0.3, 0.6),
    ),
    "plane": Case("three, 2 apart", "EEE", (0.4, 0.35, 0.25), PLANE, (0.05, 0.3, 0.6)),
    "free": Case(
        "three, 2.5 apart", "VVV", (0.4, 0.35, 0.25), ((0.0, 0.0), (2.5, 0.0), (1.25, 2.2)),
        (0.05, 0.3, 0.6),
    ),
    "free and near": Case("three, 2 apart", "VVV", (0.4, 0.35, 0.25), PLANE, (0.05, 0.3, 0.6)),
    "merged": Case(
        "three, 2 apart, two of them merged", "EEE", (0.4, 0.35, 0.25), PLANE, (0.05, 0.6),
        ((0, 1), (2,)),
    ),
}  # fmt: skip
SETTINGS = (
    ("plane", 1000), ("merged", 1000), ("two", 1000), ("line", 2000), ("free", 3000),
    ("free and near", 3000),
)  # fmt: skip
ASSIGNMENTS: tuple[Assignment, ...] = "soft", "modal"


def simulations(runs: int = RUNS, processes: int = 1) -> Iterator[dict[str, Any]]:
    """What `simulated` finds of every case and number of rows."""
    for name, rows in SETTINGS:
        yield simulated(name, rows, runs, processes)


def simulated(
    name: str,
    rows: int,
    runs: int,
    processes: int = 1,
    assignments: tuple[Assignment, ...] = ASSIGNMENTS,
) -> dict[str, Any]:
    """Of each way to estimate, by component: the mean of what it is off by, the standard deviation
    of that, and in which share of the runs the 95 % interval covers the rate."""
    case = CASES[name]
    rates = np.array(case.rates)
    run = partial(_run, case, rows, assignments)
    if processes > 1:
        with ProcessPoolExecutor(processes) as pool:
            every = list(pool.map(run, range(runs), chunksize=20))
    else:
        every = [run(seed) for seed in range(runs)]
    found: dict[str, list[Estimates]] = {}
    for one in every:
        for how, estimates in one.items():
            found.setdefault(how, []).append(estimates)
    said = {"case": case.said, "structure": STRUCTURES[case.code].name, "rows": rows, "runs": runs}
    return {
        **said,
        "rates": case.rates,
        "estimates": {h: _told(e, rates) for h, e in found.items()},
    }


def _run(
    case: Case, rows: int, assignments: tuple[Assignment, ...], seed: int
) -> dict[str, Estimates]:
    rng, truth = np.random.default_rng(seed), case.truth()
    clusters = case.clusters or tuple((j,) for j in range(truth.k))
    cluster_of = np.array([[j in one for one in clusters] for j in range(truth.k)]).argmax(axis=1)
    component = rng.choice(truth.k, rows, p=truth.weights)
    block = np.ascontiguousarray((truth.means[component] + rng.normal(size=(rows, truth.d))).T)
    outcome = (rng.random(rows) < np.array(case.rates)[cluster_of[component]]).astype(float)
    by = Standardisation(np.zeros(truth.d), np.ones(truth.d))
    problem = em.Problem(by, np.zeros(truth.d), 1e-8, 1000, "anderson")
    fitted = em.fit(array_pass(block), truth, problem).parameters
    responsibilities = BlockKernel(natural_parameters([fitted], by)).log_joint(block)
    responsibilities -= responsibilities.max(axis=0)
    softmax(responsibilities)
    sums = OutcomeSums.of(cluster_probabilities(responsibilities, clusters), outcome)
    drawn = OutcomeRows(block, responsibilities, outcome)
    found = {}
    for assignment in assignments:
        if are_told_apart(sums, assignment):
            own = Uncertainty(sums, drawn, fitted, rows, assignment, clusters=clusters)
            found[f"three-step ML, {assignment}"] = own.of_three_step_ml()
    known = Uncertainty(sums, drawn, fitted, None, clusters=clusters)
    found["the mixture taken as known"] = known.of_three_step_ml()
    plain = Uncertainty(sums, drawn, fitted, rows, clusters=clusters)
    found["posterior weights"] = plain.of_posterior_weighted()
    return found


def _told(estimates: list[Estimates], rates: Any) -> dict[str, Any]:
    off = np.array([one.values for one in estimates]) - rates
    covers = [(one.low <= rates) & (one.high >= rates) for one in estimates]
    inside = all((one.low >= 0).all() and (one.high <= 1).all() for one in estimates)
    return {
        "runs": len(estimates),
        "bias": off.mean(axis=0).tolist(),
        "deviation": off.std(axis=0).tolist(),
        "coverage": np.mean(covers, axis=0).tolist(),
        "within 0 and 1": inside,
    }
