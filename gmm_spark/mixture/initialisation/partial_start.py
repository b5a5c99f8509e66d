"""A start of which only some parts are given: weights, means or covariances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gmm_spark.mixture.edges import with_weight
from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.initialisation.candidates import Sample, log_joint_densities
from gmm_spark.mixture.initialisation.methods import start_from_groups
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import Structure


@dataclass(frozen=True)
class PartialStart:
    """Parts of the parameters, in the user's units; None is not given.

    weights : (k,), summing to 1
    means : (k, d)
    covariances : in the shape of the structure
    """

    weights: Array | None = None
    means: Array | None = None
    covariances: Array | None = None

    def checked(self, structure: Structure, k: int, d: int | None) -> PartialStart:
        """The parts as they are. SettingError where no mixture of k components and d
        columns (None: as many as the means have) has them."""
        if d is None:
            d = 1 if self.means is None else self.means.shape[-1]
            if self.means is None and self.covariances is not None and self.covariances.ndim:
                d = self.covariances.shape[-1]
        if self.means is not None and self.means.shape != (k, d):
            raise SettingError(f"the means have shape {self.means.shape}, expected {(k, d)}")
        if self.means is None and self.covariances is None:
            d = max(d, 1)  # weights may stand beside categories and counts alone
        self._filled(Parameters.unit(structure, k, d)).validated()
        return self

    def _filled(self, rest: Parameters) -> Parameters:
        weights = rest.weights if self.weights is None else self.weights
        means = rest.means if self.means is None else self.means
        covariances = rest.covariances if self.covariances is None else self.covariances
        return replace(rest, weights=weights, means=means, covariances=covariances)

    def _standardised(self, by: Standardisation, structure: Structure, k: int) -> PartialStart:
        unit = Parameters.unit(structure, k, by.centre.size)
        found = self._filled(unit).standardised(by)
        return replace(
            self,
            means=None if self.means is None else found.means,
            covariances=None if self.covariances is None else found.covariances,
        )

    def completed(
        self, sample: Sample, k: int, structure: Structure, found: Callable[[], Parameters]
    ) -> Parameters:
        """A whole start, in standardised coordinates, with the parts as they are given.

        Where there are means, rows of the sample belong to the likeliest component, the nearest
        where nothing else is given, and the rest is these rows' own. Else the rest is that of
        the start that `found` returns, whose components are matched with the parts.
        """
        given = self._standardised(sample.standardisation, structure, k)
        if given.means is not None:
            unit = Parameters.unit(structure, k, sample.d, sample.families, sample.noise)
            joint = log_joint_densities(given._within(unit), sample)[:k]
            start = start_from_groups(sample, joint.argmax(axis=0), k, structure)
        else:
            start = found()
            start = start.taken(given._matched(start))
        return with_weight(given._within(start))

    def _within(self, rest: Parameters) -> Parameters:
        """The parts in the place of those of a mixture, which may have noise."""
        filled = self._filled(rest)
        return replace(filled, weights=filled.weights * rest.weights.sum() / filled.weights.sum())

    def _matched(self, start: Parameters) -> np.ndarray:
        """Which components of a start the given ones are, by weights and covariances, (k,)."""
        from scipy.optimize import linear_sum_assignment

        cost = np.zeros((start.k, start.k))
        if self.weights is not None:
            logs = (np.log(np.maximum(w, 1e-12)) for w in (self.weights, start.weights))
            one, other = logs
            cost += (one[:, None] - other) ** 2
        if self.covariances is not None and not start.structure.shared:
            one, other = (p.dense_covariances() for p in (self._filled(start), start))
            # The Kullback-Leibler divergences of normal distributions about one point, summed.
            cost += 0.5 * np.einsum("aij,bji->ab", np.linalg.inv(one), other)
            cost += 0.5 * np.einsum("aij,bji->ab", one, np.linalg.inv(other))
        return np.asarray(linear_sum_assignment(cost)[1], dtype=np.intp)
