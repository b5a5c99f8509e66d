"""What components may have in common in their eigenvalues, volume and shape.

The covariances of a structure are D_k diag(e_k) D_k'. With s_ki the scatter of component k along
its axis i, divided by its n_k rows, -2 times the log-likelihood is, up to a constant, the sum over
k and i of n_k (l_ki + s_ki exp(-l_ki)), where l_ki = log e_ki: convex in these logarithms, in which
"one volume" (their sum over i is that of all components), "one shape" (l_ki = v_k + a_i) and a
floor (they are at least that of the floor) are linear. So its maximum is the only one, and each
function here finds it, above a floor or not (the M-steps without one are those of Celeux and
Govaert 1995).

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gmm_spark.mixture.numerics import Array

# Of log volumes, when they are found in turn with shapes (the likelihood, which is flat there, is
# then exact), and so many turns at most; of the equation for a common volume.
PRECISION = 1e-9
MOST_STEPS = 500
_EXACT = 1e-14
_TINY = 1e-300

EigenvalueModel = Callable[[Array, Array, float, Array], Array]
"""(scatter, rows, lowest, volumes) -> logarithms of the eigenvalues, (k, d).

scatter : (k, d) along the axes of every component, divided by its rows
rows : (k,) weights; a component of none adds nothing to what is common, and takes the rest from its
    own scatter
lowest : of the logarithms, -inf where there is no floor
volumes : (k,) to begin with, mean logarithms; the likelihood is not lower than with these
"""


def varying(scatter: Array, rows: Array, lowest: float, volumes: Array) -> Array:
    """Volumes and shapes of their own: VV."""
    return np.maximum(_log(scatter), lowest)


def equal(scatter: Array, rows: Array, lowest: float, volumes: Array) -> Array:
    """One volume and one shape: EE."""
    logs = np.maximum(_log(rows @ scatter / rows.sum()), lowest)
    return np.broadcast_to(logs, scatter.shape)


def equal_volume(scatter: Array, rows: Array, lowest: float, volumes: Array) -> Array:
    """One volume, shapes of their own: EV.

    For a given sum L of a component's logarithms they are best at max(log s_i - log c, lowest),
    with c such that L is their sum (as water is filled in), and the volume is best where the mean
    of c over the rows is 1. Its logarithm is convex in L, so that Newton's steps from the left
    do not go too far; without a floor it is linear, and the first step ends there.
    """
    d, share = scatter.shape[1], rows / rows.sum()
    logs = _log(scatter)
    if np.isneginf(lowest):
        means = logs.mean(axis=1)
        return logs - means[:, None] + _log_mean(means, share)
    above = logs - lowest
    sums = np.cumsum(-np.sort(-above, axis=1), axis=1)
    counts = np.arange(1, d + 1)
    total = 0.0
    for _ in range(MOST_STEPS):
        levels = (sums - total) / counts
        which = levels.argmax(axis=1)
        level = levels.max(axis=1)
        height = _log_mean(level, share)
        if height <= _EXACT:
            break
        slope = share * np.exp(level - height) @ (1 / counts[which])
        total += height / float(slope)
    return np.maximum(above - level[:, None], 0.0) + lowest


def equal_shape(scatter: Array, rows: Array, lowest: float, volumes: Array) -> Array:
    """Volumes of their own, one shape: VE, the best shape for given volumes and the best volumes
    for a given shape in turn."""
    share, alive = rows / rows.sum(), rows > 0
    for _ in range(MOST_STEPS):
        shape = _log(share @ (scatter * np.exp(-volumes)[:, None]))
        shape = np.maximum(shape, lowest - volumes[alive].min())
        before, volumes = volumes, best_volumes(scatter, shape, lowest)
        if np.abs(volumes - before)[alive].max() <= PRECISION:
            break
    return volumes[:, None] + shape


def best_volumes(scatter: Array, shape: Array, lowest: float) -> Array:
    """The log volumes (k,) that are best for a shape (d,), in logarithms."""
    return np.maximum(_log((scatter * np.exp(-shape)).mean(axis=1)), lowest - shape.min())


def _log(values: Array) -> Array:
    return np.asarray(np.log(np.maximum(values, _TINY)))


def _log_mean(logs: Array, share: Array) -> float:
    """Of what `logs` (k,) are the logarithms of, the log of the mean by weight."""
    highest = logs[share > 0].max()
    return float(highest + np.log(share @ np.exp(np.minimum(logs - highest, 0.0))))
