"""Expectation-maximisation as a value: the state of a fit, one step of it, and when to stop.

    state = start(parameters, problem)
    evaluator = request(state, problem)                  what to evaluate on all the rows
    state = step(state, evaluator, statistics, problem)  one pass: M-step, acceleration, stopping
    result(state)

A state is arrays and scalars, `step` is a function of its arguments: nothing here reads a clock
or a file, or knows who answers the pass, an array in memory or a Spark job. A fit can stop after
any pass, be written (`FitState.to_arrays`), read elsewhere and gone on with, and ends at the same
bits. Parameters are in standardised coordinates throughout.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.acceleration import Accelerator, Proposal, propose
from gmm_spark.mixture.arrays import from_arrays, to_arrays
from gmm_spark.mixture.edges import Edges, can_vanish, edges_to_leave, off_zero
from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.kernel import RunPass
from gmm_spark.mixture.m_step import MStep, m_step, scatter_about_origin
from gmm_spark.mixture.natural import Evaluator, natural_parameters
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.priors import Prior
from gmm_spark.mixture.spec import Acceleration
from gmm_spark.mixture.statistics import Statistics
from gmm_spark.mixture.structures import Floored

# "kept": nothing was to be fitted, the parameters were given and stay (`segment_training`).
# "updated": the mixture of a fit took one step by new rows (`incremental`).
Reason = Literal["converged", "max_iterations", "decreased", "singular", "kept", "updated"]
PassKind = Literal["em", "accelerated", "anchored", "lifted", "rejected", "confirming"]
_PROPOSED: tuple[PassKind, ...] = ("accelerated", "anchored", "lifted")

# A fall of the mean log-likelihood by less than this, relative, is rounding.
_ROUNDING = 1e-9
# Plain EM passes in a row whose gain must be under tol.
_CONFIRMATIONS = 2


@dataclass(frozen=True)
class Problem:
    """What does not change from pass to pass of a fit: how rows are seen, and how EM is to go on.

    Parameters
    ----------
    standardisation : of the rows; parameters are in its coordinates
    floor : (d,) smallest standard deviation along each column, standardised; 0 is no floor
    tol : the fit has converged after two passes of plain EM in a row whose gain of the mean
        log-likelihood per unit weight is under this
    max_iter : passes after the first, of any kind, at most; so many steps of EM where all are. With
        0 the start alone is evaluated.
    acceleration : "anderson" tries longer steps than EM's; where one lowers the log-likelihood,
        EM goes on from before it. "none" is plain EM.
    run_sample : evaluates parameters on a sample; with acceleration, steps are taken on it
        between passes, corrected by the last pass
    has_missing : values may be NaN, and these are integrated out
    prior : maximum a posteriori; what may not fall is then the log-likelihood plus its log density
    """

    standardisation: Standardisation
    floor: Array
    tol: float = 1e-6
    max_iter: int = 100
    acceleration: Acceleration = "none"
    run_sample: RunPass | None = None
    has_missing: bool = False
    prior: Prior | None = None


@dataclass(frozen=True)
class PassRecord:
    """One pass over the data: the parameters it was asked about, and what it found.

    `kind` says where they came from: "em", a step of EM; "accelerated", an extrapolation of
    steps; "anchored", steps on the sample; "lifted", a step of EM with probabilities or rates next
    to zero raised; "confirming", a step of EM after which the fit may stop. "rejected" is a pass
    at which the log-likelihood had fallen: EM goes on from before it.
    """

    number: int
    kind: PassKind
    mean_log_likelihood: float
    objective: float  # what EM raises: with a prior, its log density by weight on top
    gain: float | None  # of the objective
    parameters: Parameters
    floored: tuple[Floored, ...]
    dead: tuple[int, ...]
    seconds: float | None = None  # that the pass took, where who ran it has said so


@dataclass(frozen=True)
class AcceptedPass:
    """A pass that was not taken back, and the step of EM from there.

    number : of its record in the history
    statistics : what it found
    log_likelihood : of all the rows, in the user's units
    step : parameters EM goes to, and what that did to covariances
    """

    number: int
    statistics: Statistics
    log_likelihood: float
    step: MStep


@dataclass(frozen=True)
class FitState:
    """A fit between two passes.

    parameters, kind, floored, dead : what the next pass evaluates, and how it came about
    accepted : the last accepted pass, None before the first
    confirmations : plain EM passes in a row so far whose gain was under tol
    history : every pass so far, with its parameters
    scatter : (d, d) weighted sum of z z' over all rows, where shared covariances have shown it
    accelerator : what longer steps than EM's remember, None for plain EM
    reason : why the fit has ended, None as long as it goes on
    """

    parameters: Parameters
    kind: PassKind = "em"
    floored: tuple[Floored, ...] = ()
    dead: tuple[int, ...] = ()
    accepted: AcceptedPass | None = None
    confirmations: int = 0
    history: tuple[PassRecord, ...] = ()
    scatter: Array | None = None
    accelerator: Accelerator | None = None
    reason: Reason | None = None

    @property
    def accepted_record(self) -> PassRecord | None:
        """The record of the last accepted pass."""
        return None if self.accepted is None else self.history[self.accepted.number - 1]

    @property
    def is_proposal(self) -> bool:
        """Whether what is evaluated next was proposed by the acceleration, and may be rejected."""
        return self.accelerator is not None and self.kind in _PROPOSED

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The whole state as named arrays, as numpy.savez takes them."""
        return to_arrays(self)

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> FitState:
        """The state that these arrays were made from; ValueError where they are of another
        release."""
        return from_arrays(FitState, arrays)


@dataclass(frozen=True)
class Fit:
    """Where EM ended. `parameters` are those at which `log_likelihood` was evaluated, and
    `statistics`, whose M-step would be the next; `scatter` (d, d), the weighted sum of z z',
    completes those of shared covariances."""

    parameters: Parameters
    log_likelihood: float
    objective: float  # with a prior, its log density on top
    log_assignment: float
    cluster_sizes: Array  # rows
    cluster_weights: Array
    weight: float
    num_rows: int
    converged: bool
    reason: Reason
    history: tuple[PassRecord, ...]
    floored: tuple[Floored, ...]
    dead: tuple[int, ...]
    statistics: Statistics
    scatter: Array | None = None


def start(parameters: Parameters, problem: Problem, scatter: Array | None = None) -> FitState:
    """The state before the first pass, which evaluates `parameters`; `scatter` (d, d), the
    weighted sum of z z', where it is known already."""
    if can_vanish(parameters, problem.prior):
        parameters = off_zero(parameters)
    accelerator = Accelerator() if problem.acceleration == "anderson" else None
    return FitState(parameters, scatter=scatter, accelerator=accelerator)


def request(state: FitState, problem: Problem) -> Evaluator:
    """What to evaluate next on all the rows.

    Raises SingularCovarianceError where that cannot be; `singular` says how the fit goes on.
    """
    return natural_parameters(
        [state.parameters],
        problem.standardisation,
        linear=state.scatter is not None,
        gaps=problem.has_missing,
    )


def singular(state: FitState, error: SingularCovarianceError) -> FitState:
    """The state after a pass that cannot be made: a proposal is taken back, EM ends. At the
    start, raises `error`."""
    if state.accepted is None:
        raise error
    return _taken_back(state) if state.is_proposal else replace(state, reason="singular")


def requested(state: FitState, problem: Problem) -> tuple[FitState, Evaluator | None]:
    """The state with proposals that are singular taken back, and what to evaluate then; None
    where the fit has ended."""
    while state.reason is None:
        try:
            return state, request(state, problem)
        except SingularCovarianceError as error:
            state = singular(state, error)
    return state, None


def step(
    state: FitState,
    evaluator: Evaluator,
    statistics: Statistics,
    problem: Problem,
    seconds: float | None = None,
) -> FitState:
    """One pass of expectation-maximisation (Dempster, Laird and Rubin 1977): the state after the
    pass that answered `request`. A pure function.

    Parameters
    ----------
    evaluator : what was requested
    statistics : of all the rows, evaluated there
    seconds : that took, to be kept in the pass's record

    Raises FloatingPointError where the log-likelihood is not finite.
    """
    parameters, before = state.parameters, state.accepted_record
    log_likelihood = float(evaluator.log_likelihoods(statistics, state.scatter)[0])
    log_likelihood -= statistics.weight * problem.standardisation.log_volume
    number = len(state.history) + 1
    if not np.isfinite(log_likelihood):
        raise FloatingPointError(f"the log-likelihood is {log_likelihood} at pass {number}")
    log_prior = 0.0 if problem.prior is None else problem.prior.log_density(parameters)
    objective = (log_likelihood + log_prior) / statistics.weight
    gain = None if before is None else objective - before.objective
    rounding = float(parameters.all_weights @ evaluator.rounding)
    fell = gain is not None and gain < -_ROUNDING * max(1.0, abs(objective)) - rounding
    rejected = fell and state.is_proposal
    record = PassRecord(
        number,
        "rejected" if rejected else state.kind,
        log_likelihood / statistics.weight,
        objective,
        gain,
        parameters,
        state.floored,
        state.dead,
        seconds,
    )
    state = replace(state, history=(*state.history, record))
    if rejected:
        state = _taken_back(state)
    elif fell:
        state = replace(state, reason="decreased")
    else:
        small = gain is not None and gain < max(problem.tol, rounding)
        state = _accepted(state, evaluator, statistics, log_likelihood, small, problem)
    if state.reason is None and number > problem.max_iter:
        state = replace(state, reason="max_iterations")
    return state


def _taken_back(state: FitState) -> FitState:
    """The state after a proposal that was none: EM goes on from the last accepted pass."""
    assert state.accepted is not None
    assert state.accelerator is not None
    step = state.accepted.step
    return replace(
        state,
        parameters=step.parameters,
        kind="em",
        floored=step.floored,
        dead=step.dead,
        accelerator=state.accelerator.rejected(state.kind),
    )


def _accepted(
    state: FitState,
    evaluator: Evaluator,
    statistics: Statistics,
    log_likelihood: float,
    small: bool,
    problem: Problem,
) -> FitState:
    """The state after a pass whose log-likelihood did not fall: whether it was the last, or where
    the next one looks. `small` says that the gain was under tol."""
    parameters = state.parameters
    vanishing = can_vanish(parameters, problem.prior)
    edges: Edges | None = None
    if small and vanishing:
        edges = edges_to_leave(parameters, statistics, problem.tol)
        small = edges is None
    plain = state.kind in ("em", "confirming")
    scatter = state.scatter
    if parameters.structure.shared and scatter is None:
        scatter = np.asarray(scatter_about_origin(statistics), order="C")
    here = MStep(parameters, state.floored, state.dead)
    accepted = AcceptedPass(len(state.history), statistics, log_likelihood, here)
    state = replace(
        state,
        accepted=accepted,
        confirmations=state.confirmations + 1 if small and plain else 0,
        scatter=scatter,
    )
    if state.confirmations == _CONFIRMATIONS:
        return replace(state, reason="converged")
    try:
        everything = slice(0, statistics.layout.num_components)
        step = m_step(statistics, everything, parameters, problem.floor, scatter, problem.prior)
    except SingularCovarianceError:
        return replace(state, reason="singular")
    if vanishing:
        step = replace(step, parameters=off_zero(step.parameters))
    state = replace(state, accepted=replace(accepted, step=step))
    state, proposal = _proposed(state, evaluator, edges, small, problem)
    if proposal is not None:
        return replace(
            state, parameters=proposal.parameters, kind=proposal.kind, floored=(), dead=()
        )
    arrived = state.accelerator is not None and state.accelerator.arrived
    return replace(
        state,
        parameters=step.parameters,
        kind="confirming" if small or arrived else "em",
        floored=step.floored,
        dead=step.dead,
    )


def _proposed(
    state: FitState, evaluator: Evaluator, edges: Edges | None, small: bool, problem: Problem
) -> tuple[FitState, Proposal | None]:
    """Where to look instead of at the step of EM, None where a plain step is as good."""
    accelerator = state.accelerator
    if accelerator is None or state.confirmations or len(state.history) > problem.max_iter:
        return state, None
    proposal = None
    if edges is not None:
        assert state.accepted is not None
        accelerator, proposal = accelerator.lift(state.accepted.step.parameters, edges)
    if proposal is None:
        accelerator, proposal = propose(state, evaluator, small, problem, fit)
    return replace(state, accelerator=accelerator), proposal


def result(state: FitState) -> Fit:
    """Where a fit that has ended has got."""
    accepted, record = state.accepted, state.accepted_record
    if accepted is None or record is None or state.reason is None:
        raise ValueError("the fit has not ended")
    statistics = accepted.statistics
    return Fit(
        parameters=record.parameters,
        log_likelihood=accepted.log_likelihood,
        objective=record.objective * statistics.weight,
        log_assignment=float(statistics.log_assignments[0]),
        cluster_sizes=np.array(statistics.cluster_sizes),
        cluster_weights=np.array(statistics.cluster_weights),
        weight=statistics.weight,
        num_rows=statistics.num_rows,
        converged=state.reason == "converged",
        reason=state.reason,
        history=state.history,
        floored=record.floored,
        dead=record.dead,
        statistics=statistics,
        scatter=state.scatter,
    )


def run(
    run_pass: RunPass,
    state: FitState,
    problem: Problem,
    on_pass: Callable[[FitState], None] = lambda state: None,
) -> FitState:
    """The state in which the fit ends, its passes answered by `run_pass`. After every pass
    `on_pass` is called with the state then."""
    while state.reason is None:
        try:
            evaluator = request(state, problem)
            statistics = run_pass(evaluator)
        except SingularCovarianceError as error:
            state = singular(state, error)
            continue
        state = step(state, evaluator, statistics, problem)
        on_pass(state)
    return state


def fit(
    run_pass: RunPass, parameters: Parameters, problem: Problem, scatter: Array | None = None
) -> Fit:
    """A whole fit from `parameters`; `scatter` as for `start`."""
    return result(run(run_pass, start(parameters, problem, scatter), problem))
