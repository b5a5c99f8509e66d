"""Steps that go farther than one of EM, proposed between passes over all the rows.

Neither can be trusted alone: a proposal is only where the next pass looks. That pass returns the
log-likelihood there, and where it fell, EM goes on from the step it had stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.covariance import above_floor
from gmm_spark.mixture.natural import Evaluator
from gmm_spark.mixture.parameters import Array, Parameters, split_tables
from gmm_spark.mixture.sufficient import Layout, Statistics, pairs
from gmm_spark.mixture.whitening import SingularCovarianceError

RunPass = Callable[[Evaluator], Statistics]

# Steps that an extrapolation is made of.
_DEPTH = 10
# Combinations of steps whose differences are smaller than this, relative, are left out.
_SMALLEST_DIFFERENCE = 1e-3
# In extrapolations a probability, or the rate of a count, is at least this.
_LEAST_PROBABILITY = 1e-10
_LARGEST_LOG_RATE = 50.0
# A correction of a component's statistics by more than this factor is none.
_FARTHEST = 3.0


@dataclass
class Anderson:
    """Anderson acceleration of the EM map (Walker and Ni 2011; for EM, Henderson and Varadhan
    2019): the combination of the last steps in which their residuals cancel best.

    Works on logarithms of weights, tables and rates, means, and Cholesky factors with logarithms
    on the diagonal, so that every extrapolation is a mixture.
    """

    floor: Array
    _points: list[Array] = field(default_factory=list)
    _residuals: list[Array] = field(default_factory=list)

    def clear(self) -> None:
        self._points.clear()
        self._residuals.clear()

    def propose(self, at: Parameters, stepped: Parameters) -> Parameters | None:
        """Where to look next, given that EM goes from `at` to `stepped`; None at first."""
        alive = (at.weights > 0) & (stepped.weights > 0)
        try:
            point, image = _flat(at, alive), _flat(stepped, alive)
        except np.linalg.LinAlgError:
            self.clear()
            return None
        if self._points and self._points[-1].shape != point.shape:
            self.clear()
        residual = image - point
        self._points = [*self._points[-_DEPTH:], point]
        self._residuals = [*self._residuals[-_DEPTH:], residual]
        if len(self._points) < 2:
            return None
        points, residuals = np.diff(self._points, axis=0), np.diff(self._residuals, axis=0)
        metric = _metric(stepped, alive)
        mixing = np.linalg.lstsq((residuals * metric).T, residual * metric, _SMALLEST_DIFFERENCE)[0]
        proposed = image - mixing @ (points + residuals)
        if not np.isfinite(proposed).all():
            self.clear()
            return None
        return above_floor(_unflat(proposed, stepped, alive), self.floor)


def _flat(parameters: Parameters, alive: NDArray[np.bool_]) -> Array:
    covariances = parameters.covariances
    if not parameters.structure.shared:
        covariances = covariances[alive]
    if parameters.structure.shape == "full":
        factors = np.array(np.linalg.cholesky(covariances))
        diagonal = np.arange(parameters.d)
        factors[..., diagonal, diagonal] = np.log(factors[..., diagonal, diagonal])
        rows, columns = np.tril_indices(parameters.d)
        second = factors[..., rows, columns]
    else:
        second = 0.5 * np.log(covariances)
    means = parameters.means[alive]
    others = np.concatenate([parameters.tables[alive], parameters.rates[alive]], axis=1)
    others = np.log(np.maximum(others, _LEAST_PROBABILITY))
    weights = np.log(_weights(parameters, alive))
    return np.concatenate([weights, others.ravel(), means.ravel(), np.ravel(second)])


def _weights(parameters: Parameters, alive: NDArray[np.bool_]) -> Array:
    """Weights of the components that are alive, then that of the noise, if there is any."""
    weights = parameters.weights[alive]
    noise = parameters.noise
    if noise is None:
        return weights
    return np.append(weights, max(noise.weight, _LEAST_PROBABILITY))


def _unflat(values: Array, like: Parameters, alive: NDArray[np.bool_]) -> Parameters:
    k, d = int(alive.sum()), like.d
    num_levels = sum(like.levels)
    sizes = np.cumsum([k + (like.noise is not None), k * (num_levels + like.counts), k * d])
    logs, others, means, second = np.split(values, sizes)
    log_tables, log_rates = np.split(others.reshape(k, -1), [num_levels], axis=1)
    found_weights = np.exp(logs - logs.max())
    found_weights /= found_weights.sum()
    weights = np.zeros(like.k)
    weights[alive] = found_weights[:k]
    noise = like.noise
    if noise is not None:
        noise = replace(noise, weight=float(found_weights[-1]))
    tables, rates = np.array(like.tables), np.array(like.rates)
    tables[alive], rates[alive] = log_tables, np.exp(np.minimum(log_rates, _LARGEST_LOG_RATE))
    for table in split_tables(tables, like.levels):
        table[alive] = np.exp(table[alive] - table[alive].max(axis=1, keepdims=True))
        table[alive] /= table[alive].sum(axis=1, keepdims=True)
    all_means = np.array(like.means)
    all_means[alive] = means.reshape(k, d)
    if like.structure.shape == "full":
        rows, columns = np.tril_indices(d)
        factors = np.zeros((second.size // rows.size, d, d))
        factors[:, rows, columns] = second.reshape(-1, rows.size)
        diagonal = np.arange(d)
        factors[:, diagonal, diagonal] = np.exp(factors[:, diagonal, diagonal])
        found = factors @ factors.swapaxes(1, 2)
    else:
        shared = like.structure.shared
        found = np.exp(2 * second).reshape(
            1 if shared else k, *like.covariances.shape[not shared :]
        )
    covariances = np.array(like.covariances)
    if like.structure.shared:
        covariances = found[0]
    else:
        covariances[alive] = found
    return replace(
        like,
        weights=weights,
        means=all_means,
        covariances=covariances,
        tables=tables,
        noise=noise,
        rates=rates,
    )


def _metric(parameters: Parameters, alive: NDArray[np.bool_]) -> Array:
    """What a change of each entry of the flat form amounts to: in deviations, by weight."""
    weights = np.sqrt(parameters.weights[alive])
    deviations = np.sqrt(parameters.variances()[alive])
    means = weights[:, None] / deviations
    d = parameters.d
    shape, shared = parameters.structure.shape, parameters.structure.shared
    if shape == "spherical":
        second = np.ones(1) if shared else weights
    else:
        share = np.ones((1, 1)) if shared else weights[:, None]
        second = np.repeat(share, d, axis=1)
        if shape == "full":
            rows, columns = np.tril_indices(d)
            scaled = share / (deviations[:1] if shared else deviations)
            second = np.where(rows == columns, second[:, rows], scaled[:, rows])
    others = np.concatenate([parameters.tables[alive], parameters.rates[alive]], axis=1)
    others = weights[:, None] * np.sqrt(others)
    logs = np.sqrt(_weights(parameters, alive))
    return np.concatenate([logs, others.ravel(), means.ravel(), second.ravel()])


def anchored(
    run_sample: RunPass, evaluator: Evaluator, statistics: Statistics, floor: Array
) -> tuple[RunPass, int]:
    """Passes over a sample, corrected to agree with one over all the rows at its parameters, and
    the number of rows of the sample.

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
