"""Covariances that have volume, shape or orientation in common, but not all of them.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.structures import eigenvalues, orientation
from gmm_spark.mixture.structures.storage import Kind, require_one_scale
from gmm_spark.mixture.structures.structure import Floored, Structure, columns_along

_MODELS: dict[str, eigenvalues.EigenvalueModel] = {
    "EE": eigenvalues.equal,
    "EV": eigenvalues.equal_volume,
    "VE": eigenvalues.equal_shape,
    "VV": eigenvalues.varying,
}
# Logarithms of eigenvalues that are nearer to the floor than this are on it.
_ON_THE_FLOOR = 1e-9
# Eigenvalues of a correlation matrix under this are rounding; where there are such, eigenvalues are
# at least this share of the largest.
_SMALLEST_SHARE = 1e-11
# Variances whose logarithm is under this are those of a single value.
_NOTHING = -500.0


@dataclass(frozen=True)
class Parsimonious(Structure):
    """EVI, VEI, EEV, VEV, EVV, VVE, EVE, VEE: by the letters for volume, shape and orientation."""

    @property
    def kind(self) -> Kind:
        return "diagonal" if self.code[2] == "I" else "full"

    @property
    def shared(self) -> bool:
        return False

    @property
    def one_scale(self) -> bool:
        return self.code[2] != "I" and self.code[1] != self.code[2]

    @property
    def conjugate(self) -> bool:
        return False

    def num_covariance_parameters(self, k: int, d: int) -> int:
        counts = 1, d - 1, d * (d - 1) // 2
        times = {"E": 1, "V": k, "I": 0}
        return sum(n * times[letter] for n, letter in zip(counts, self.code, strict=True))

    def rows_needed(self, d: int) -> int:
        return d + 1 if self.code[1:] == "VV" else 2

    def projected(self, matrices: Array, weights: Array) -> Array:
        """The M-step of components whose scatters are these matrices."""
        return self.member(self.storage.compact(matrices), weights)

    def member(self, covariances: Array, weights: Array) -> Array:
        return self._assembled(*self._maximum(covariances, weights, -np.inf, covariances))

    def strangeness(self, covariances: Array, weights: Array) -> float:
        difference = np.abs(self.member(covariances, weights) - covariances)
        if self.kind == "diagonal":
            return float((difference / covariances).max())
        deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        return float((difference / (deviations[:, :, None] * deviations[:, None, :])).max())

    def rescaled(self, covariances: Array, factor: Array) -> Array:
        if self.one_scale:
            require_one_scale(factor)
        return super().rescaled(covariances, factor)

    def floor(self, floor: Array) -> Array:
        """Where axes may point anywhere, that of the column with the lowest one: a constant
        column, which has none, has it too."""
        if not self.one_scale or not (floor > 0).any():
            return floor
        return np.full(floor.size, floor[floor > 0].min())

    def maximum(
        self, within: Array, rows: Array, previous: Array, floor: Array
    ) -> tuple[Array, tuple[Floored, ...]]:
        alive = rows > 0
        if floor.size == 0 or not alive.any():
            return previous, ()
        keep = alive.reshape(-1, *[1] * (within.ndim - 1))
        within = np.where(keep, within, previous)
        unit = self.floor(floor)
        if not (unit > 0).all():
            axes, logs = self._maximum(within, rows, -np.inf, previous)
            found = self._assembled(axes, logs)
            self._refuse_singular(found, logs, within, alive)
            return found, ()
        within, previous = (self.storage.rescaled(each, 1 / unit) for each in (within, previous))
        lowest = 0.0
        axes, logs = self._maximum(within, rows, lowest, previous)
        found = self._assembled(axes, logs)
        if (self._least_correlations(found) < _SMALLEST_SHARE).any():
            lowest = max(0.0, float(logs.max() + np.log(_SMALLEST_SHARE)))
            axes, logs = self._maximum(within, rows, lowest, previous)
            found = self._assembled(axes, logs)
        return self.storage.rescaled(found, unit), self._floored(axes, logs, lowest, alive)

    def _least_correlations(self, covariances: Array) -> Array:
        """The smallest eigenvalue of every correlation matrix, (k,)."""
        if self.kind == "diagonal":
            return np.ones(len(covariances))
        deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        correlations = covariances / (deviations[:, :, None] * deviations[:, None, :])
        return np.asarray(np.linalg.eigvalsh(correlations)[:, 0])

    def _maximum(
        self, within: Array, rows: Array, lowest: float, previous: Array
    ) -> tuple[Array | None, Array]:
        """Axes and logarithms of the eigenvalues; axes along the columns are None."""
        model = _MODELS[self.code[:2]]
        if self.kind == "diagonal":
            volumes = orientation.log_volumes(previous)
            return None, model(within, rows, lowest, volumes)
        if self.code[2] == "V":
            return orientation.own_axes(model, within, rows, lowest, previous)
        if self.code[1] == "E":
            return orientation.proportional(within, rows, lowest, previous)
        return orientation.common_axes(model, within, rows, lowest, previous)

    def _assembled(self, axes: Array | None, logs: Array) -> Array:
        values = np.exp(logs)
        if axes is None:
            return values
        found = (axes * values[:, None, :]) @ axes.swapaxes(-1, -2)
        return np.asarray((found + found.swapaxes(1, 2)) / 2)

    def _floored(
        self, axes: Array | None, logs: Array, lowest: float, alive: np.ndarray
    ) -> tuple[Floored, ...]:
        k, d = logs.shape
        vectors = np.broadcast_to(np.eye(d) if axes is None else axes, (k, d, d))
        below = logs <= lowest + _ON_THE_FLOOR
        return tuple(
            Floored(index, columns_along(vectors[index][:, below[index]]))
            for index in range(k)
            if alive[index] and below[index].any()
        )

    def _refuse_singular(
        self, covariances: Array, logs: Array, within: Array, alive: np.ndarray
    ) -> None:
        k, d = logs.shape
        singular = (logs < _NOTHING).any(axis=1)
        if self.code[:2] == "EV":
            # Of one volume, a component that has none may have any shape.
            singular |= (self.storage.variances(within, d) <= 0).any(axis=1)
        regular = np.flatnonzero(~singular)
        smallest = np.ones(k)
        smallest[regular] = self._least_correlations(covariances[regular])
        singular |= smallest < 10 * d * np.finfo(float).eps
        if (singular & alive).any():
            raise SingularCovarianceError(int(np.flatnonzero(singular & alive)[0]))
