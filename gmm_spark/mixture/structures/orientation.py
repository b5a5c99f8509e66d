"""Axes of covariances: the columns', each component's own, or the same for all components.

Each function returns the axes (k, d, d), in columns, or (d, d) where all have the same, and the
logarithms of the eigenvalues along them (k, d), for scatters within components (k, d, d); see
`eigenvalues` for the other arguments.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.structures.eigenvalues import (
    MOST_STEPS,
    PRECISION,
    EigenvalueModel,
    best_volumes,
)

# A round of rotations that lowers -2 log-likelihood by less than this, for every row, is the last;
# and so many rounds at most.
_LEAST_GAIN = 1e-10
_MOST_ROUNDS = 100
# Steps by the bound on the likelihood, and the gain of the last one, for every row, from which on
# they are all there is of an M-step.
_BOUND_STEPS = 5
_MUCH = 1e-4


def own_axes(
    model: EigenvalueModel, within: Array, rows: Array, lowest: float, previous: Array
) -> tuple[Array, Array]:
    """Those of the scatters: whatever the eigenvalues are, none are better if they have the same
    order (von Neumann's inequality for traces)."""
    scatter, axes = np.linalg.eigh(within)
    return axes, model(scatter, rows, lowest, log_volumes(previous))


def proportional(within: Array, rows: Array, lowest: float, previous: Array) -> tuple[Array, Array]:
    """The same axes and one shape, VEE: covariances are multiples of one matrix. The best matrix
    for given volumes and the best volumes for a given matrix in turn."""
    share, alive = rows / rows.sum(), rows > 0
    volumes = log_volumes(previous)
    for _ in range(MOST_STEPS):
        common, axes = np.linalg.eigh(np.einsum("k,kij->ij", share * np.exp(-volumes), within))
        shape = np.log(np.maximum(common, np.finfo(float).tiny))
        shape = np.maximum(shape, lowest - volumes[alive].min())
        before, volumes = volumes, best_volumes(_along(within, axes), shape, lowest)
        if np.abs(volumes - before)[alive].max() <= PRECISION:
            break
    return axes, volumes[:, None] + shape


def common_axes(
    model: EigenvalueModel, within: Array, rows: Array, lowest: float, previous: Array
) -> tuple[Array, Array]:
    """The same axes for all components, eigenvalues by `model`.

    From the axes of `previous`, a few steps that turn all axes at once by a bound on the likelihood
    (Browne and McNicholas 2014). Where they still gain much, that is the step of EM, a generalised
    one: the likelihood of given axes has several maxima, and the far end of a first step is often
    near a poor one. Where they hardly gain, the axes that are best: for given eigenvalues the
    likelihood is a sum over axes, the best rotation in the plane of two of them has a closed form,
    and those in planes without a common axis do not interfere (Flury and Gautschi 1986). Between
    steps the eigenvalues are the best for the axes, so that none of this lowers the likelihood.
    """
    volumes = log_volumes(previous)
    numbers = 1 + np.arange(len(previous)) * 0.6180339887 % 1  # that no two axes tie by chance
    traces = np.trace(previous, axis1=1, axis2=2)
    axes = np.linalg.eigh(np.einsum("k,kij->ij", numbers / traces, previous))[1]
    scatter = _along(within, axes)
    logs = model(scatter, rows, lowest, volumes)
    cost = before = _cost(scatter, logs, rows)
    largest = np.asarray(np.linalg.eigvalsh(within)[:, -1], dtype=float)
    for _ in range(_BOUND_STEPS):
        axes = _turned_by_bound(axes, within, rows[:, None] * np.exp(-logs), largest)
        scatter = _along(within, axes)
        logs = model(scatter, rows, lowest, volumes)
        before, cost = cost, _cost(scatter, logs, rows)
    if before - cost > _MUCH * rows.sum():
        return axes, logs
    turned = axes.T @ within @ axes
    diagonal = np.arange(axes.shape[0])
    for _ in range(_MOST_ROUNDS):
        before = cost
        for i, j in _rounds(axes.shape[0]):
            c, s = _best_rotations(turned, logs, rows, i, j)
            _rotate(turned.swapaxes(0, 1), i, j, c[:, None, None], s[:, None, None])
            _rotate(turned.swapaxes(0, 2), i, j, c[:, None, None], s[:, None, None])
            _rotate(axes.T, i, j, c[:, None], s[:, None])
            logs = model(turned[:, diagonal, diagonal], rows, lowest, volumes)
        cost = _cost(turned[:, diagonal, diagonal], logs, rows)
        if before - cost <= _LEAST_GAIN * rows.sum():
            break
    return axes, logs


def _turned_by_bound(axes: Array, within: Array, precisions: Array, largest: Array) -> Array:
    """Axes at which an upper bound of sum_k tr(W_k D P_k D'), which touches it at `axes`, is
    lowest, D being the axes and P_k diagonal: that of W_k less its largest eigenvalue."""
    slope = np.einsum("ki,kij->ij", precisions, axes.T @ within)
    slope -= (largest @ precisions)[:, None] * axes.T
    left, _, right = np.linalg.svd(-slope)
    return np.asarray(right.T @ left.T)


def log_volumes(covariances: Array) -> Array:
    """Mean logarithms of the eigenvalues of covariances (k, d, d) or (k, d)."""
    d = covariances.shape[-1]
    if covariances.ndim == 2:
        return np.asarray(np.log(covariances).mean(axis=1))
    return np.asarray(np.linalg.slogdet(covariances)[1] / d)


def _along(within: Array, axes: Array) -> Array:
    """Scatter along common axes, (k, d)."""
    return np.asarray(((axes.T @ within) * axes.T).sum(axis=-1))


def _cost(scatter: Array, logs: Array, rows: Array) -> float:
    return float(rows @ (logs + scatter * np.exp(-logs)).sum(axis=1))


def _best_rotations(
    turned: Array, logs: Array, rows: Array, i: NDArray[np.intp], j: NDArray[np.intp]
) -> tuple[Array, Array]:
    """Cosines and sines of the best rotations of axes i towards axes j.

    By the angle t, -2 times the log-likelihood is p cos 2t + q sin 2t and a constant.
    """
    weights = rows[:, None] * (np.exp(-logs[:, i]) - np.exp(-logs[:, j]))
    p = 0.5 * (weights * (turned[:, i, i] - turned[:, j, j])).sum(axis=0)
    q = (weights * turned[:, i, j]).sum(axis=0)
    radius = np.hypot(p, q)
    gain = np.where(p < 0, q * q / np.maximum(radius - p, np.finfo(float).tiny), p + radius)
    angle = np.where(gain > 1e-17 * rows.sum(), 0.5 * np.arctan2(-q, -p), 0.0)
    return np.cos(angle), np.sin(angle)


def _rotate(rows: Array, i: NDArray[np.intp], j: NDArray[np.intp], c: Array, s: Array) -> None:
    """Rows i and j of an array, in place."""
    first, second = rows[i], rows[j]
    rows[i], rows[j] = c * first + s * second, c * second - s * first


@lru_cache(maxsize=32)
def _rounds(d: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """All pairs of d axes, in rounds in which each is in one pair at most, as a tournament."""
    even = d + d % 2
    found = []
    for turn in range(even - 1):
        places = [0, *((turn + n) % (even - 1) + 1 for n in range(even - 1))]
        pairs = [(places[n], places[-1 - n]) for n in range(even // 2)]
        pairs = [(min(pair), max(pair)) for pair in pairs if max(pair) < d]
        first, second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
        found.append((first, second))
    return found
