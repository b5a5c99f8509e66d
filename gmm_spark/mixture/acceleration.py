"""Steps that go farther than one of EM, proposed between passes over all the rows.

Neither can be trusted alone: a proposal is only where the next pass looks. That pass returns the
log-likelihood there, and where it fell, EM goes on from the step it had stored.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.edges import Edges
from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.families.family import LEAST_PROBABILITY, Family
from gmm_spark.mixture.kernel import RunPass
from gmm_spark.mixture.m_step import above_floor
from gmm_spark.mixture.natural import Evaluator
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.statistics import Layout, Statistics, pairs

if TYPE_CHECKING:
    from gmm_spark.mixture.em import Fit, FitState, PassKind, Problem

# Steps that an extrapolation is made of.
_DEPTH = 10
# Combinations of steps whose differences are smaller than this, relative, are left out.
_SMALLEST_DIFFERENCE = 1e-3
# A correction of a component's statistics by more than this factor is none.
_FARTHEST = 3.0
# Between two full passes, 20 to 300 steps of EM on the sample are taken: as many as read 20 times
# the rows that the pass reads. A full pass has a fixed cost of reading about 300,000 rows.
_SAMPLE_STEPS = 20, 300
_SAMPLE_SHARE = 20
_PASS_COSTS_ROWS = 300_000
# Fewer steps than this before the correction fails are no better than one of EM.
_FEWEST_STEPS = 3
# How much finer than the last gain these steps are taken: the anchor moves anyway.
_SAMPLE_PRECISION = 0.01
# To which share of what all rows have a value at an edge is raised: the first of these, in turn
# from the last, at which the log-likelihood does not fall.
_LIFTS = 0.02, 0.1, 0.3


def _nothing() -> Array:
    return np.zeros((0, 0))


class Proposal(NamedTuple):
    """Where the next pass looks, and of which kind it is."""

    parameters: Parameters
    kind: PassKind


@dataclass(frozen=True)
class Accelerator:
    """What longer steps than EM's remember from pass to pass.

    points, residuals : (n, p) in flat form, where the last n steps of EM began, and how far each
        went
    sample_steps : steps on the sample that may be taken before the next pass
    steps_taken : that were taken the last time
    sample_helps : steps on the sample have not failed too often
    arrived : the sample has nothing more to say at this point
    lifts : of the shares that values at an edge are raised to, how many are left to try
    """

    points: Array = field(default_factory=_nothing)
    residuals: Array = field(default_factory=_nothing)
    sample_steps: int = _SAMPLE_STEPS[1]
    steps_taken: int = _SAMPLE_STEPS[1]
    sample_helps: bool = True
    arrived: bool = False
    lifts: int = len(_LIFTS)

    def rejected(self, kind: PassKind) -> Accelerator:
        """After a proposal that lowered the log-likelihood."""
        found = self._forgetful()
        if kind == "anchored":
            found = found._shorter()
        if kind == "lifted":
            found = replace(found, lifts=found.lifts - 1)
        return found

    def lift(self, step: Parameters, edges: Edges) -> tuple[Accelerator, Proposal | None]:
        """A step of EM, and from there off the edges; None where that has failed before."""
        if self.lifts == 0:
            return self, None
        return self._forgetful(), Proposal(edges.left(step, _LIFTS[self.lifts - 1]), "lifted")

    def _forgetful(self) -> Accelerator:
        return replace(self, points=_nothing(), residuals=_nothing())

    def _shorter(self) -> Accelerator:
        steps = self.steps_taken // 4
        return replace(self, sample_steps=steps, sample_helps=self.sample_helps and steps >= 2)


# EM to its end on the rows that the first argument evaluates, from parameters; the last is the
# scatter of these rows where it is known (`em.fit`).
RunEM = Callable[[RunPass, Parameters, "Problem", "Array | None"], "Fit"]


def propose(
    state: FitState, evaluator: Evaluator, small: bool, problem: Problem, run_em: RunEM
) -> tuple[Accelerator, Proposal | None]:
    """Where to look next after an accepted pass; None where a plain step is as good.

    `small` says that the gain of that pass was under tol.
    """
    assert state.accelerator is not None
    assert state.accepted is not None
    record, step = state.history[-1], state.accepted.step.parameters
    accelerator, extrapolated = extrapolate(
        state.accelerator, record.parameters, step, problem.floor
    )
    accelerator, on_sample = _steps_on_sample(accelerator, state, evaluator, problem, run_em)
    if on_sample is None:
        usable = extrapolated is not None and not small
        found = Proposal(extrapolated, "accelerated") if usable else None  # type: ignore[arg-type]
        return replace(accelerator, arrived=small), found
    reached = on_sample.objective / on_sample.weight  # its last pass may be a rejected one
    arrived = reached - on_sample.history[0].objective < problem.tol
    if record.gain is None and len(on_sample.history) > 1:
        # The first of these steps is the one that EM takes: where the start is that near an
        # optimum already, more would be a pass that plain EM does not need.
        arrived |= (on_sample.history[1].gain or 0.0) < problem.tol
    found = None if arrived else Proposal(on_sample.parameters, "anchored")
    return replace(accelerator, arrived=arrived), found


def extrapolate(
    accelerator: Accelerator, at: Parameters, stepped: Parameters, floor: Array
) -> tuple[Accelerator, Parameters | None]:
    """Anderson acceleration of the EM map (Walker and Ni 2011; for EM, Henderson and Varadhan
    2019): the combination of the last steps in which their residuals cancel best.

    Works on logarithms of weights, the families' flat forms, means, and Cholesky factors with
    logarithms on the diagonal, so that every extrapolation is a mixture. EM goes from `at` to
    `stepped`; the first time there is nothing to combine, and no extrapolation.
    """
    alive = (at.weights > 0) & (stepped.weights > 0)
    try:
        point, image = _flat(at, alive), _flat(stepped, alive)
    except np.linalg.LinAlgError:
        return accelerator._forgetful(), None
    residual = image - point
    points, residuals = point[None], residual[None]
    if accelerator.points.shape[1] == point.size:
        points = np.concatenate([accelerator.points[-_DEPTH:], points])
        residuals = np.concatenate([accelerator.residuals[-_DEPTH:], residuals])
    accelerator = replace(accelerator, points=points, residuals=residuals)
    if len(points) < 2:
        return accelerator, None
    points, residuals = np.diff(points, axis=0), np.diff(residuals, axis=0)
    metric = _metric(stepped, alive)
    mixing = np.linalg.lstsq((residuals * metric).T, residual * metric, _SMALLEST_DIFFERENCE)[0]
    proposed = image - mixing @ (points + residuals)
    if not np.isfinite(proposed).all():
        return accelerator._forgetful(), None
    return accelerator, above_floor(_unflat(proposed, stepped, alive), floor)


def _steps_on_sample(
    accelerator: Accelerator,
    state: FitState,
    evaluator: Evaluator,
    problem: Problem,
    run_em: RunEM,
) -> tuple[Accelerator, Fit | None]:
    """EM on the sample by the surrogate likelihood, None where that says nothing of all the
    rows."""
    if problem.run_sample is None or not accelerator.sample_helps:
        return accelerator, None
    assert state.accepted is not None
    record, statistics = state.history[-1], state.accepted.statistics
    if record.kind == "anchored":
        longer = min(4 * accelerator.sample_steps, _SAMPLE_STEPS[1])
        accelerator = replace(accelerator, sample_steps=longer)
    tol = problem.tol / 4
    if record.gain is not None:
        tol = max(tol, _SAMPLE_PRECISION * record.gain)
    try:
        run_surrogate, sample_rows = surrogate(
            problem.run_sample, evaluator, statistics, problem.floor
        )
        affordable = _SAMPLE_SHARE * (statistics.num_rows + _PASS_COSTS_ROWS) / sample_rows
        most = min(accelerator.sample_steps, max(_SAMPLE_STEPS[0], int(affordable)))
        on_sample = run_em(
            run_surrogate,
            record.parameters,
            replace(problem, tol=tol, max_iter=most - 1, run_sample=None),
            state.scatter if evaluator.layout.kind == "linear" else None,
        )
    except (SingularCovarianceError, FloatingPointError):
        return accelerator._shorter(), None
    accelerator = replace(accelerator, steps_taken=len(on_sample.history))
    # It left at once the region where the correction holds.
    if on_sample.reason == "singular" and accelerator.steps_taken < _FEWEST_STEPS:
        return accelerator, None
    return accelerator, on_sample


def _flat(parameters: Parameters, alive: NDArray[np.bool_]) -> Array:
    structure = parameters.structure
    covariances = structure.of(parameters.covariances, alive)
    second = structure.storage.flat(covariances, parameters.d)
    means = parameters.means[alive]
    others = _of_families(parameters, alive, lambda family, values: family.flat(values))
    weights = np.log(_weights(parameters, alive))
    return np.concatenate([weights, others.ravel(), means.ravel(), np.ravel(second)])


def _of_families(
    parameters: Parameters, alive: NDArray[np.bool_], part: Callable[[Family, Array], Array]
) -> Array:
    """Something of every family, (components alive, ...), side by side."""
    pairs = zip(parameters.families, parameters.family_parameters, strict=True)
    found = [part(family, values[alive]) for family, values in pairs]
    return np.concatenate([np.zeros((int(alive.sum()), 0)), *found], axis=1)


def _weights(parameters: Parameters, alive: NDArray[np.bool_]) -> Array:
    """Weights of the components that are alive, then that of the noise, if there is any."""
    weights = parameters.weights[alive]
    noise = parameters.noise
    if noise is None:
        return weights
    return np.append(weights, max(noise.weight, LEAST_PROBABILITY))


def _unflat(values: Array, like: Parameters, alive: NDArray[np.bool_]) -> Parameters:
    k, d = int(alive.sum()), like.d
    widths = [family.num_parameters for family in like.families]
    sizes = np.cumsum([k + (like.noise is not None), k * sum(widths), k * d])
    logs, others, means, second = np.split(values, sizes)
    flat, first = others.reshape(k, sum(widths)), 0
    found_weights = np.exp(logs - logs.max())
    found_weights /= found_weights.sum()
    weights = np.zeros(like.k)
    weights[alive] = found_weights[:k]
    noise = like.noise
    if noise is not None:
        noise = replace(noise, weight=float(found_weights[-1]))
    of_families = tuple(np.array(values) for values in like.family_parameters)
    for family, whole, width in zip(like.families, of_families, widths, strict=True):
        whole[alive] = family.unflat(flat[:, first : first + width])
        first += width
    all_means = np.array(like.means)
    all_means[alive] = means.reshape(k, d)
    structure, covariances = like.structure, np.array(like.covariances)
    found = structure.storage.unflat(second, 1 if structure.shared else k, d)
    if structure.shared:
        covariances = found[0]
    else:
        covariances[alive] = found
    return replace(
        like,
        weights=weights,
        means=all_means,
        covariances=covariances,
        family_parameters=of_families,
        noise=noise,
    )


def _metric(parameters: Parameters, alive: NDArray[np.bool_]) -> Array:
    """What a change of each entry of the flat form amounts to: in deviations, by weight."""
    weights = np.sqrt(parameters.weights[alive])
    deviations = np.sqrt(parameters.variances()[alive])
    means = weights[:, None] / deviations
    shared, storage = parameters.structure.shared, parameters.structure.storage
    share = np.ones((1, 1)) if shared else weights[:, None]
    second = storage.flat_metric(share, deviations[:1] if shared else deviations)
    others = _of_families(parameters, alive, lambda family, values: family.metric(values))
    others = weights[:, None] * others
    logs = np.sqrt(_weights(parameters, alive))
    return np.concatenate([logs, others.ravel(), means.ravel(), second.ravel()])


def surrogate(
    run_sample: RunPass, evaluator: Evaluator, statistics: Statistics, floor: Array
) -> tuple[RunPass, int]:
    """Passes over a sample, corrected to agree with one over all the rows at its parameters, and
    the number of rows of the sample: the surrogate likelihood of Jordan, Lee and Yang (2019,
    "Communication-efficient distributed statistical inference"), for EM.

    With `statistics` S(a) of all rows at the anchor a and c the ratio of the weights, a pass at
    theta answers c s(theta) + delta, where s is of the sample and delta = S(a) - c s(a). In the
    place of the log-likelihood stands what these steps ascend, c l(theta) + theta . delta: an
    anchor that is a fixed point of EM on all the rows is a fixed point of these steps too.

    Far from the anchor the correction says nothing and what is ascended may have no bound: where
    it changes a component's weight or its variance in some direction by more than a factor of
    three, the pass raises SingularCovarianceError.
    """
    layout = evaluator.layout
    at_anchor = run_sample(evaluator)
    share = statistics.weight / at_anchor.weight
    delta = statistics.moments - share * at_anchor.moments

    def run_pass(other: Evaluator) -> Statistics:
        d = layout.d
        if _same(other, evaluator):
            # The anchor itself: the merit differs from the log-likelihood by a constant.
            merit = share * float(at_anchor.log_likelihoods[0]) + _log_joint(evaluator, delta)
            return statistics.replaced(layout, evaluator.origins, merit, statistics.moments)
        known = delta
        if other.layout.kind != layout.kind:
            if other.layout.kind != "linear":
                raise SingularCovarianceError(0)
            known = np.concatenate([delta[: d + 1], delta[layout.others]])
        found = run_sample(other)
        correction = _about(known, other.layout, evaluator.origins, other.origins)
        before = share * found.moments
        moments = before + correction
        _refuse_far(before, moments, other.layout, floor)
        # Of a rare level the sample may know too little.
        others = other.layout.others
        moments[others] = np.maximum(moments[others], before[others] / _FARTHEST)
        merit = share * float(found.log_likelihoods[0]) + _log_joint(other, correction)
        return statistics.replaced(other.layout, other.origins, merit, moments)

    return run_pass, at_anchor.num_rows


def _same(a: Evaluator, b: Evaluator) -> bool:
    return (
        a.layout == b.layout
        and np.array_equal(a.theta, b.theta)
        and np.array_equal(a.origins, b.origins)
    )


def _refuse_far(before: Array, after: Array, layout: Layout, floor: Array) -> None:
    """Raise where a correction, from moments (M, K) to others, is more than one."""
    d = layout.d
    noises = layout.noises
    for component in np.flatnonzero(before[d] > 0):
        counts = before[d, component], after[d, component]
        far = not 1 / _FARTHEST < counts[1] / counts[0] < _FARTHEST
        if not far and layout.kind != "linear" and d and component not in noises:
            first, second = (_within(moments[:, component], layout) for moments in (before, after))
            unit = floor**2 if layout.kind != "spherical" else np.array([(floor**2).sum()])
            if layout.kind == "full":
                try:
                    whitening = np.linalg.inv(np.linalg.cholesky(first + np.diag(unit)))
                except np.linalg.LinAlgError:
                    raise SingularCovarianceError(int(component)) from None
                ratios = np.linalg.eigvalsh(whitening @ (second + np.diag(unit)) @ whitening.T)
            else:
                ratios = (second + unit) / (first + unit)
            far = not (ratios.min() > 1 / _FARTHEST and ratios.max() < _FARTHEST)
        if far:
            raise SingularCovarianceError(int(component))


def _within(moments: Array, layout: Layout) -> Array:
    """Covariance (d, d), variances (d,) or their sum (1,) of a component's moments (M,)."""
    d = layout.d
    mean = moments[:d] / moments[d]
    second = moments[layout.second] / moments[d]
    if layout.kind == "diagonal":
        return second - mean**2
    if layout.kind == "spherical":
        return second - mean @ mean
    covariance = np.empty((d, d))
    rows, columns = pairs(d)
    covariance[rows, columns] = covariance[columns, rows] = second
    return covariance - np.outer(mean, mean)


def _about(moments: Array, layout: Layout, before: Array, after: Array) -> Array:
    """Moments (M, K) about other origins (K, d)."""
    shift = before - after
    if not shift.any():
        return moments
    d = layout.d
    moved = np.array(moments)
    first, counts = moments[:d].T, moments[d]
    moved[:d] += (counts[:, None] * shift).T
    if layout.kind == "full":
        cross = first[:, :, None] * shift[:, None, :]
        cross = cross + cross.swapaxes(1, 2)
        cross += counts[:, None, None] * shift[:, :, None] * shift[:, None, :]
        rows, columns = pairs(d)
        moved[layout.second] += cross[:, rows, columns].T
    elif layout.kind != "linear":
        cross = 2 * first * shift + counts[:, None] * shift**2
        moved[layout.second] += cross.T if layout.kind == "diagonal" else cross.sum(axis=1)
    return moved


def _log_joint(evaluator: Evaluator, moments: Array) -> float:
    """theta . moments, summed over components; moments (M, K) about the evaluator's origins."""
    total = float((evaluator.theta.T * moments).sum())
    layout, d = evaluator.layout, evaluator.layout.d
    for component in evaluator.centred:
        column = moments[:, component.index]
        precision = component.whitening.T @ component.whitening
        total += component.log_constant * column[d]
        if layout.kind == "full":
            rows, columns = pairs(d)
            twice = np.where(rows == columns, 1.0, 2.0)
            total -= 0.5 * float((precision[rows, columns] * twice) @ column[layout.second])
        elif layout.kind == "diagonal":
            total -= 0.5 * float(np.diag(precision) @ column[layout.second])
        else:
            total -= 0.5 * float(precision[0, 0] * column[d + 1])
    return total
