"""The EM loop: pass, M-step, stop with a reason. It never knows who answers the pass.

`run_pass(evaluator) -> statistics` may be an array in memory or a Spark job. Parameters are in
standardised coordinates throughout; nothing here reads a clock or writes a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gmm_spark.mixture.covariance import Floored, m_step, scatter_about_origin
from gmm_spark.mixture.kernel import (
    BlockKernel,
    Evaluator,
    SingularCovarianceError,
    natural_parameters,
)
from gmm_spark.mixture.parameters import Array, Parameters, Standardisation
from gmm_spark.mixture.sufficient import Statistics

RunPass = Callable[[Evaluator], Statistics]
Reason = Literal["converged", "max_iterations", "decreased", "singular"]

# A fall of the mean log-likelihood by less than this, relative, is rounding.
_ROUNDING = 1e-9
# Plain EM passes in a row whose gain must be under tol.
_CONFIRMATIONS = 2


@dataclass(frozen=True)
class PassRecord:
    """One pass over the data: the parameters it was asked about, and what it found."""

    number: int
    kind: str
    mean_log_likelihood: float
    gain: float | None
    parameters: Parameters
    floored: tuple[Floored, ...]
    dead: tuple[int, ...]


@dataclass(frozen=True)
class Fit:
    """Where EM ended. `parameters` are those at which `log_likelihood` was evaluated."""

    parameters: Parameters
    log_likelihood: float
    log_assignment: float
    cluster_sizes: Array
    weight: float
    num_rows: int
    converged: bool
    reason: Reason
    history: tuple[PassRecord, ...]
    floored: tuple[Floored, ...]
    dead: tuple[int, ...]


def array_pass(block: Array, weights: Array | None = None) -> RunPass:
    """The engine in memory: passes over `block` (d, n), rows of weight 1 or `weights` (n,)."""

    def run_pass(evaluator: Evaluator) -> Statistics:
        kernel = BlockKernel(evaluator)
        kernel.add(block, weights)
        return kernel.statistics()

    return run_pass


def fit(
    run_pass: RunPass,
    start: Parameters,
    standardisation: Standardisation,
    *,
    floor: Array,
    tol: float = 1e-6,
    max_iter: int = 100,
    listener: Callable[[PassRecord], None] | None = None,
) -> Fit:
    """Expectation-maximisation from `start` (Dempster, Laird and Rubin 1977).

    Parameters
    ----------
    run_pass : evaluates parameters on all rows
    start : in standardised coordinates
    floor : (d,) smallest standard deviation along each column, standardised; 0 is no floor
    tol : the fit has converged after two passes in a row whose gain of the mean log-likelihood
        per unit weight is under this
    max_iter : passes at most, at least 1
    listener : called with the record of every pass
    """
    history: list[PassRecord] = []
    scatter: Array | None = None
    parameters = start
    floored: tuple[Floored, ...] = ()
    dead: tuple[int, ...] = ()
    best: tuple[Parameters, Statistics, float] | None = None
    confirmations = 0
    reason: Reason = "max_iterations"
    while len(history) < max(1, max_iter):
        try:
            evaluator = natural_parameters(
                [parameters], standardisation, linear=scatter is not None
            )
        except SingularCovarianceError:
            if best is None:
                raise
            reason = "singular"
            break
        statistics = run_pass(evaluator)
        log_likelihood = float(evaluator.log_likelihoods(statistics, scatter)[0])
        log_likelihood -= statistics.weight * standardisation.log_volume
        if not np.isfinite(log_likelihood):
            raise FloatingPointError(
                f"the log-likelihood is {log_likelihood} at pass {len(history) + 1}"
            )
        mean = log_likelihood / statistics.weight
        gain = mean - history[-1].mean_log_likelihood if history else None
        record = PassRecord(len(history) + 1, "em", mean, gain, parameters, floored, dead)
        history.append(record)
        if listener is not None:
            listener(record)
        noise = float(parameters.weights @ evaluator.rounding)
        if gain is not None and gain < -_ROUNDING * max(1.0, abs(mean)) - noise:
            reason = "decreased"
            break
        best = parameters, statistics, log_likelihood
        confirmations = confirmations + 1 if gain is not None and gain < max(tol, noise) else 0
        if confirmations == _CONFIRMATIONS:
            reason = "converged"
            break
        if parameters.structure.shared and scatter is None:
            scatter = scatter_about_origin(statistics)
        try:
            step = m_step(statistics, slice(0, parameters.k), parameters, floor, scatter)
        except SingularCovarianceError:
            reason = "singular"
            break
        parameters, floored, dead = step.parameters, step.floored, step.dead
    assert best is not None
    parameters, statistics, log_likelihood = best
    last = next(r for r in reversed(history) if r.parameters is parameters)
    return Fit(
        parameters=parameters,
        log_likelihood=log_likelihood,
        log_assignment=float(statistics.log_assignments[0]),
        cluster_sizes=np.array(statistics.cluster_sizes),
        weight=statistics.weight,
        num_rows=statistics.num_rows,
        converged=reason == "converged",
        reason=reason,
        history=tuple(history),
        floored=last.floored,
        dead=last.dead,
    )


@dataclass(frozen=True)
class Candidate:
    """One of several fits that advance together; `score` is its mean log-likelihood."""

    parameters: Parameters
    score: float = -np.inf
    previous_score: float = -np.inf

    @property
    def gain(self) -> float:
        return self.score - self.previous_score if np.isfinite(self.previous_score) else np.inf


def advance(
    run_pass: RunPass,
    candidates: Sequence[Candidate],
    standardisation: Standardisation,
    *,
    floor: Array,
    steps: int,
    tol: float = 0.0,
) -> list[Candidate]:
    """Advance candidates by EM steps, all in one scan each; singular ones are dropped.

    Stops before `steps` when no candidate gains more than `tol`. Scores are of the parameters
    before the last M-step.
    """
    current = list(candidates)
    for _ in range(steps):
        try:
            evaluator = natural_parameters([c.parameters for c in current], standardisation)
        except SingularCovarianceError:
            current = [c for c in current if _is_regular(c.parameters, standardisation)]
            if not current:
                return []
            evaluator = natural_parameters([c.parameters for c in current], standardisation)
        statistics = run_pass(evaluator)
        scores = evaluator.log_likelihoods(statistics, None) / statistics.weight
        advanced = []
        pairs = zip(current, evaluator.layout.candidates(), scores, strict=True)
        for candidate, components, score in pairs:
            try:
                step = m_step(statistics, components, candidate.parameters, floor)
            except SingularCovarianceError:
                continue
            advanced.append(Candidate(step.parameters, float(score), candidate.score))
        current = advanced
        if not current or all(c.gain < tol for c in current):
            break
    return current


def _is_regular(parameters: Parameters, standardisation: Standardisation) -> bool:
    try:
        natural_parameters([parameters], standardisation)
    except SingularCovarianceError:
        return False
    return True
