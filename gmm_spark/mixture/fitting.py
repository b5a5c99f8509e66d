"""The EM loop: pass, M-step, stop with a reason. It never knows who answers the pass.

`run_pass(evaluator) -> statistics` may be an array in memory or a Spark job. Parameters are in
standardised coordinates throughout; nothing here reads a clock or writes a file.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.accelerating import Anderson, RunPass, anchored
from gmm_spark.mixture.covariance import Floored, m_step, scatter_about_origin
from gmm_spark.mixture.edges import Edges, can_vanish, edges_to_leave, off_zero
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.natural import Evaluator, natural_parameters
from gmm_spark.mixture.parameters import Array, Parameters, Standardisation
from gmm_spark.mixture.prior import Prior
from gmm_spark.mixture.spec import Acceleration
from gmm_spark.mixture.sufficient import Statistics
from gmm_spark.mixture.whitening import SingularCovarianceError

Reason = Literal["converged", "max_iterations", "decreased", "singular"]
PassKind = Literal["em", "accelerated", "anchored", "lifted", "rejected", "confirming"]
_PROPOSED: tuple[PassKind, ...] = ("accelerated", "anchored", "lifted")

# A fall of the mean log-likelihood by less than this, relative, is rounding.
_ROUNDING = 1e-9
# Plain EM passes in a row whose gain must be under tol.
_CONFIRMATIONS = 2
# Steps on the sample between two passes over all the rows: at least, at most, and as many as
# read this many times the rows, a pass costing as much as so many rows before it reads one.
_SAMPLE_STEPS = 20, 300
_SAMPLE_SHARE = 20
_PASS_COSTS_ROWS = 300_000
# Fewer steps than this before the correction fails are no better than one of EM.
_FEWEST_STEPS = 3
# A fit may hope to gain so many times what its last pass gained.
_STEPS_AHEAD = 60
# To which share of what all rows have a value at an edge is raised: the first of these, in turn
# from the last, at which the log-likelihood does not fall.
_LIFTS = 0.02, 0.1, 0.3
# How much finer than the last gain these steps are taken: the anchor moves anyway.
_SAMPLE_PRECISION = 0.01


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


@dataclass(frozen=True)
class Fit:
    """Where EM ended. `parameters` are those at which `log_likelihood` was evaluated."""

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


def array_pass(
    block: Array, weights: Array | None = None, allowed: NDArray[np.int64] | None = None
) -> RunPass:
    """The engine in memory: passes over `block` (d + q, n), rows of weight 1 or `weights` (n,),
    of the components that the bits of `allowed` (n,) say, or of any."""

    def run_pass(evaluator: Evaluator) -> Statistics:
        kernel = BlockKernel(evaluator)
        kernel.add(block, weights, allowed)
        return kernel.statistics()

    return run_pass


def fit(
    run_pass: RunPass, start: Parameters, standardisation: Standardisation, **options: Any
) -> Fit:
    """Expectation-maximisation from `start` by `run_pass`; the options are those of `passes`."""

    def run_each(evaluators: Sequence[Evaluator]) -> list[Statistics | SingularCovarianceError]:
        try:
            return [run_pass(evaluators[0])]
        except SingularCovarianceError as error:
            return [error]

    (found,) = fit_together(run_each, [passes(start, standardisation, **options)])
    assert found is not None
    return found


def fit_together(
    run_passes: Callable[[Sequence[Evaluator]], Sequence[Statistics | SingularCovarianceError]],
    climbs: Sequence[Generator[Evaluator, Statistics, Fit]],
    hopeless: Callable[[int], bool] = lambda index: False,
) -> list[Fit | None]:
    """Several fits, made by `passes`, that share every scan of the data until they end.

    Before every scan `hopeless` is asked of each that goes on; one given up is None.
    """
    found: dict[int, Fit | None] = {}
    waiting: dict[int, Evaluator] = {}
    answers: dict[int, Statistics | SingularCovarianceError | None] = dict.fromkeys(
        range(len(climbs))
    )
    while answers:
        for index, answer in answers.items():
            climb = climbs[index]
            try:
                if isinstance(answer, SingularCovarianceError):
                    waiting[index] = climb.throw(answer)
                elif answer is None:
                    waiting[index] = next(climb)
                else:
                    waiting[index] = climb.send(answer)
            except StopIteration as stop:
                found[index] = stop.value
        asked = {index: asks for index, asks in waiting.items() if not hopeless(index)}
        for index in waiting.keys() - asked.keys():
            climbs[index].close()
            found[index] = None
        waiting = {}
        answered = run_passes(list(asked.values())) if asked else []
        answers = dict(zip(asked, answered, strict=True))
    return [found[index] for index in range(len(climbs))]


class Race:
    """Tells which of several fits that share their scans cannot become the best any more: one
    that would stay behind if it gained sixty times what its last pass did.

    Parameters
    ----------
    penalties : what is taken off every fit's mean log-likelihood before they are compared
    """

    def __init__(self, penalties: Sequence[float]) -> None:
        self._penalties = penalties
        self._last: dict[int, PassRecord] = {}

    def passed(self, index: int, record: PassRecord) -> None:
        """Takes note of a pass of one of the fits."""
        self._last[index] = record

    def hopeless(self, index: int) -> bool:
        if index not in self._last or self._last[index].gain is None:
            return False
        best = max(self._standing(other) for other in self._last)
        gain = self._last[index].gain or 0.0
        return self._standing(index) + _STEPS_AHEAD * max(gain, 0.0) < best

    def _standing(self, index: int) -> float:
        return self._last[index].objective - self._penalties[index]


def passes(
    start: Parameters,
    standardisation: Standardisation,
    *,
    floor: Array,
    tol: float = 1e-6,
    max_iter: int = 100,
    acceleration: Acceleration = "none",
    run_sample: RunPass | None = None,
    scatter: Array | None = None,
    gaps: bool = False,
    prior: Prior | None = None,
    listener: Callable[[PassRecord], None] | None = None,
) -> Generator[Evaluator, Statistics, Fit]:
    """Expectation-maximisation from `start` (Dempster, Laird and Rubin 1977), as a generator.

    It yields what to evaluate on all the rows, is sent their statistics, and returns the fit, so
    that several fits can share a scan.

    Parameters
    ----------
    start : in standardised coordinates
    floor : (d,) smallest standard deviation along each column, standardised; 0 is no floor
    tol : the fit has converged after two passes of plain EM in a row whose gain of the mean
        log-likelihood per unit weight is under this
    max_iter : passes after the first, of any kind, at most; so many steps of EM where all are. With
        0 the start alone is evaluated.
    acceleration : "anderson" tries longer steps than EM's; where one lowers the log-likelihood,
        EM goes on from before it. "none" is plain EM.
    run_sample : evaluates parameters on a sample; with acceleration, steps are taken on it
        between passes, corrected by the last pass
    scatter : (d, d) weighted sum of z z', where it is known; only shared covariances need it
    gaps : values may be NaN, and these are integrated out
    prior : maximum a posteriori; what may not fall is then the log-likelihood plus its log density
    listener : called with the record of every pass
    """
    history: list[PassRecord] = []
    leap = None
    if acceleration == "anderson":
        leap = _Leap(floor, standardisation, tol, run_sample, gaps, prior)
    vanishing = can_vanish(start, prior)
    parameters = off_zero(start) if vanishing else start
    kind: PassKind = "em"
    floored: tuple[Floored, ...] = ()
    dead: tuple[int, ...] = ()
    best: _Visit | None = None
    confirmations = 0
    reason: Reason = "max_iterations"
    while len(history) <= max_iter:
        try:
            evaluator = natural_parameters(
                [parameters], standardisation, linear=scatter is not None, gaps=gaps
            )
            statistics = yield evaluator
        except SingularCovarianceError:
            if best is None:
                raise
            if leap is not None and kind in _PROPOSED:
                leap.rejected(kind)
                parameters, floored, dead, kind = *best.step, "em"
                continue
            reason = "singular"
            break
        log_likelihood = float(evaluator.log_likelihoods(statistics, scatter)[0])
        log_likelihood -= statistics.weight * standardisation.log_volume
        if not np.isfinite(log_likelihood):
            raise FloatingPointError(
                f"the log-likelihood is {log_likelihood} at pass {len(history) + 1}"
            )
        log_prior = 0.0 if prior is None else prior.log_density(parameters)
        objective = (log_likelihood + log_prior) / statistics.weight
        gain = None if best is None else objective - best.record.objective
        rounding = float(parameters.all_weights @ evaluator.rounding)
        fell = gain is not None and gain < -_ROUNDING * max(1.0, abs(objective)) - rounding
        reject = fell and leap is not None and kind in _PROPOSED
        record = PassRecord(
            len(history) + 1,
            "rejected" if reject else kind,
            log_likelihood / statistics.weight,
            objective,
            gain,
            parameters,
            floored,
            dead,
        )
        history.append(record)
        if listener is not None:
            listener(record)
        if reject:
            assert leap is not None
            assert best is not None
            leap.rejected(kind)
            parameters, floored, dead, kind = *best.step, "em"
            continue
        if fell:
            reason = "decreased"
            break
        small = gain is not None and gain < max(tol, rounding)
        edges: Edges | None = None
        if small and vanishing:
            edges = edges_to_leave(parameters, statistics, tol)
            small = edges is None
        confirmations = confirmations + 1 if small and kind in ("em", "confirming") else 0
        if parameters.structure.shared and scatter is None:
            scatter = scatter_about_origin(statistics)
        if confirmations == _CONFIRMATIONS:
            best = _Visit(record, statistics, log_likelihood, (parameters, floored, dead))
            reason = "converged"
            break
        try:
            everything = slice(0, statistics.layout.num_components)
            step = m_step(statistics, everything, parameters, floor, scatter, prior)
        except SingularCovarianceError:
            best = _Visit(record, statistics, log_likelihood, (parameters, floored, dead))
            reason = "singular"
            break
        if vanishing:
            step = replace(step, parameters=off_zero(step.parameters))
        best = _Visit(
            record, statistics, log_likelihood, (step.parameters, step.floored, step.dead)
        )
        leapt = None
        if leap is not None and confirmations == 0 and len(history) <= max_iter:
            if edges is not None:
                leapt = leap.lift(best.step[0], edges)
            leapt = leapt or leap.propose(evaluator, best, small, scatter)
        if leapt is None:
            parameters, floored, dead = best.step
            kind = "confirming" if small or (leap is not None and leap.arrived) else "em"
        else:
            parameters, kind = leapt
            floored = dead = ()
    assert best is not None
    return Fit(
        parameters=best.record.parameters,
        log_likelihood=best.log_likelihood,
        objective=best.record.objective * best.statistics.weight,
        log_assignment=float(best.statistics.log_assignments[0]),
        cluster_sizes=np.array(best.statistics.cluster_sizes),
        cluster_weights=np.array(best.statistics.cluster_weights),
        weight=best.statistics.weight,
        num_rows=best.statistics.num_rows,
        converged=reason == "converged",
        reason=reason,
        history=tuple(history),
        floored=best.record.floored,
        dead=best.record.dead,
    )


@dataclass(frozen=True)
class _Visit:
    """An accepted pass, and the step of EM from there with what it did to covariances."""

    record: PassRecord
    statistics: Statistics
    log_likelihood: float
    step: tuple[Parameters, tuple[Floored, ...], tuple[int, ...]]


class _Leap:
    """Where to look next when a step of EM would be a short one."""

    def __init__(
        self,
        floor: Array,
        standardisation: Standardisation,
        tol: float,
        run_sample: RunPass | None,
        gaps: bool,
        prior: Prior | None,
    ) -> None:
        self._floor, self._standardisation, self._tol = floor, standardisation, tol
        self._run_sample, self._gaps, self._prior = run_sample, gaps, prior
        self._anderson = Anderson(floor)
        self._steps = self._taken = _SAMPLE_STEPS[1]
        self._lifts = list(_LIFTS)
        # The sample has nothing more to say at this point.
        self.arrived = False

    def rejected(self, kind: PassKind) -> None:
        """A proposal lowered the log-likelihood."""
        if kind == "anchored":
            self._shorten()
        if kind == "lifted":
            self._lifts.pop()
        self._anderson.clear()

    def lift(self, step: Parameters, edges: Edges) -> tuple[Parameters, PassKind] | None:
        """A step of EM, and from there off the edges; None where that has failed before."""
        if not self._lifts:
            return None
        self._anderson.clear()
        return edges.left(step, self._lifts[-1]), "lifted"

    def _shorten(self) -> None:
        self._steps = self._taken // 4
        if self._steps < 2:
            self._run_sample = None

    def propose(
        self, evaluator: Evaluator, visit: _Visit, small: bool, scatter: Array | None
    ) -> tuple[Parameters, PassKind] | None:
        """Parameters and the kind of the pass there; None where a plain step is as good.

        `small` says that the last gain was under tol.
        """
        at, step = visit.record.parameters, visit.step[0]
        extrapolated = self._anderson.propose(at, step)
        on_sample = self._steps_on_sample(evaluator, visit, scatter)
        if on_sample is None:
            self.arrived = small
            usable = extrapolated is not None and not small
            return (extrapolated, "accelerated") if usable else None  # type: ignore[return-value]
        reached = on_sample.objective / on_sample.weight  # its last pass may be a rejected one
        self.arrived = reached - on_sample.history[0].objective < self._tol
        if visit.record.gain is None and len(on_sample.history) > 1:
            # The first of these steps is the one that EM takes: where the start is that near an
            # optimum already, more would be a pass that plain EM does not need.
            self.arrived |= (on_sample.history[1].gain or 0.0) < self._tol
        return None if self.arrived else (on_sample.parameters, "anchored")

    def _steps_on_sample(
        self, evaluator: Evaluator, visit: _Visit, scatter: Array | None
    ) -> Fit | None:
        """The climb on the sample, None where that says nothing of all the rows."""
        if self._run_sample is None:
            return None
        gain = visit.record.gain
        if visit.record.kind == "anchored":
            self._steps = min(4 * self._steps, _SAMPLE_STEPS[1])
        tol = self._tol / 4 if gain is None else max(self._tol / 4, _SAMPLE_PRECISION * gain)
        linear = evaluator.layout.kind == "linear"
        try:
            run_anchored, sample_rows = anchored(
                self._run_sample, evaluator, visit.statistics, self._floor
            )
            affordable = (
                _SAMPLE_SHARE * (visit.statistics.num_rows + _PASS_COSTS_ROWS) / sample_rows
            )
            on_sample = fit(
                run_anchored,
                visit.record.parameters,
                self._standardisation,
                floor=self._floor,
                tol=tol,
                max_iter=min(self._steps, max(_SAMPLE_STEPS[0], int(affordable))) - 1,
                acceleration="anderson",
                scatter=scatter if linear else None,
                gaps=self._gaps,
                prior=self._prior,
            )
        except (SingularCovarianceError, FloatingPointError):
            self._shorten()
            return None
        self._taken = len(on_sample.history)
        # It left at once the region where the correction holds.
        if on_sample.reason == "singular" and self._taken < _FEWEST_STEPS:
            return None
        return on_sample
