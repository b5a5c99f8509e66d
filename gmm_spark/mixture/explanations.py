"""Why a row is in its segment: the log-odds of its segment against the runner-up, column by column.

With z a row about the mean of a component, the quadratic form of its density is a sum over
columns, z' P z = sum_j z_j (P z)_j, P the inverse covariance; what is one component's less the
other's is the column's contribution to the log-odds, and columns that go together share what they
say together.
Weights and determinants are no column's: they are the base. A column of a family contributes the
difference of its log probabilities. A gap is integrated out: what is left is the density of the
known columns, so that it contributes nothing, and the base is that of the known columns.

Of a cluster of components, with r their probabilities within it and H the entropy of these,

    log sum_k exp(l_k) = sum_k r_k l_k + H(r)

so that a column contributes the average of what it does to the components; H is in the base.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.families import rows_of
from gmm_spark.mixture.far import FAR, LEAST_LOG_DENSITY, log_joint_far
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.merging import Partition
from gmm_spark.mixture.missing import by_pattern
from gmm_spark.mixture.natural import LOG_ZERO, natural_parameters
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.whitening import inverse_factors

# What is beyond this says that something is impossible.
_IMPOSSIBLE = -LOG_ZERO / 10


@dataclass(frozen=True)
class Explanations:
    """Why m rows are in their segments, which are clusters of components; the number after the
    last of them is the noise.

    The log-odds are `base + contributions.sum(axis=0)`. What has probability 0 under one of the
    two makes them, and the column's contribution, infinite.

    Attributes
    ----------
    segment, runner_up : (m,), the most probable segment and the one after it
    log_odds : (m,), of the segment against the runner-up
    base : (m,), what no column contributes: weights, determinants, the box of the noise
    contributions : (columns, m), as a block has its columns; 0 for a gap
    distances : (columns, m), how far the row is from the segment (for noise, from the runner-up):
        of numbers the shares of Mahalanobis' squared distance, of other columns twice what the
        log probability is below that of the most probable value
    """

    segment: NDArray[np.intp]
    runner_up: NDArray[np.intp]
    log_odds: Array
    base: Array
    contributions: Array
    distances: Array


class Explainer:
    """Explains rows: numbers in the user's units, (d, m), then the rows of every family; gaps are
    NaN.

    Parameters
    ----------
    parameters : in the user's units; at least two segments, the noise among them
    by : coordinates to work in
    clusters : of components; None where every component is a segment

    Attributes
    ----------
    noise : the number of the noise among the segments, where there is one
    """

    def __init__(
        self, parameters: Parameters, by: Standardisation, clusters: Partition | None = None
    ) -> None:
        self._parameters = parameters.standardised(by)
        self._covariances = self._parameters.dense_covariances()
        self._by = by
        self._kernel = BlockKernel(natural_parameters([self._parameters], by, gaps=True))
        # Complete rows are what there is most of.
        self._complete = self._whitening(np.arange(parameters.d)) if self._is_full else None
        with np.errstate(divide="ignore"):
            self._log_weights = np.maximum(np.log(parameters.all_weights), LOG_ZERO)
        groups = [np.array([j]) for j in range(parameters.k)]
        if clusters is not None:
            groups = [np.array(cluster) for cluster in clusters]
        self.noise = len(groups)
        if parameters.noise is not None:
            groups.append(np.array([parameters.k]))
        self._segments = groups
        self._segment_of = np.empty(self._log_weights.size, dtype=np.intp)
        for number, group in enumerate(groups):
            self._segment_of[group] = number

    @property
    def _is_full(self) -> bool:
        return self._parameters.structure.kind == "full"

    def explained(self, block: Array) -> Explanations:
        """Why the rows of a block (columns, m) are in their segments."""
        m = block.shape[1]
        joint = self._log_joint(block)
        by_segment = np.stack([_log_sum(joint[group]) for group in self._segments])
        at = np.arange(m)
        segment = by_segment.argmax(axis=0)
        others = np.array(by_segment)
        others[segment, at] = -np.inf
        runner_up = others.argmax(axis=0)
        near = np.where(segment == self.noise, runner_up, segment)
        # The probability of every component within its segment.
        within = np.exp(joint - by_segment[self._segment_of])
        of_row = self._segment_of[:, None]
        signed = within * (1.0 * (of_row == segment) - (of_row == runner_up))
        found = Explanations(
            segment,
            runner_up,
            by_segment[segment, at] - by_segment[runner_up, at],
            self._entropies(within, signed),
            np.zeros(block.shape),
            np.zeros(block.shape),
        )
        self._add(block, signed, np.where(of_row == near, within, 0.0), found)
        for part in (found.log_odds, found.base, found.contributions, found.distances):
            part[part > _IMPOSSIBLE] = np.inf
            part[part < -_IMPOSSIBLE] = -np.inf
        return found

    def _log_joint(self, block: Array) -> Array:
        """log w + log density up to a constant of the row, (K, m), the noise last."""
        z = self._standardised(block)
        far = np.flatnonzero((np.abs(z) > FAR).any(axis=0))
        if far.size == 0:
            return self._kernel.log_joint(block)
        joint = np.empty((self._log_weights.size, block.shape[1]))
        near = np.delete(np.arange(block.shape[1]), far)
        joint[:, near] = self._kernel.log_joint(block[:, near])
        joint[:, far], _ = log_joint_far(self._parameters, self._by, block[:, far])
        return np.maximum(joint, LEAST_LOG_DENSITY)

    def _standardised(self, block: Array) -> Array:
        d = self._parameters.d
        return np.asarray((block[:d] - self._by.centre[:, None]) / self._by.scale[:, None])

    def _entropies(self, within: Array, signed: Array) -> Array:
        """Entropy within the segment less that within the runner-up, (m,)."""
        logs = np.log(np.where(within > 0, within, 1.0))
        return np.asarray(-(signed * logs).sum(axis=0))

    def _add(self, block: Array, signed: Array, near: Array, found: Explanations) -> None:
        """Add what the components say, with weights `signed` (K, m), to base and contributions,
        and with `near` (K, m) to distances."""
        z = self._standardised(block)
        if self._is_full:
            self._add_quadratic(z, signed, near, found)
        else:
            self._add_by_column(z, signed, near, found)
        for component in range(self._parameters.k):
            rows = np.flatnonzero(signed[component])
            weights = signed[component, rows]
            found.base[rows] += weights * self._log_weights[component]
            self._add_families(component, block, rows, signed, near, found)
        if self._parameters.noise is not None:
            self._add_noise(block, signed[-1], found)

    def _add_quadratic(self, z: Array, signed: Array, near: Array, found: Explanations) -> None:
        for rows, known, whitening in self._patterns(z):
            log_roots = np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(axis=1)
            constants = log_roots - 0.5 * np.log(2 * np.pi) * known.size
            for component in range(self._parameters.k):
                mine = rows[signed[component, rows] != 0]
                if mine.size == 0:
                    continue
                cells = np.ix_(known, mine)
                off = z[cells] - self._parameters.means[component, known, None]
                factor = whitening[component]
                shares = off * (factor.T @ (factor @ off))
                weights = signed[component, mine]
                found.base[mine] += weights * constants[component]
                found.contributions[cells] -= 0.5 * weights * shares
                found.distances[cells] += near[component, mine] * shares

    def _patterns(self, z: Array) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], Array]]:
        """The rows of a pattern of gaps (n,), its known columns (q,), and the whitening of these
        under every component (k, q, q)."""
        gaps = np.isnan(z)
        incomplete = gaps.any(axis=0)
        complete = np.flatnonzero(~incomplete)
        if complete.size and self._complete is not None:
            yield complete, np.arange(len(z)), self._complete
        rows = np.flatnonzero(incomplete)
        if rows.size == 0:
            return
        rows = rows[by_pattern(gaps[:, rows])]
        gaps = gaps[:, rows]
        changes = np.flatnonzero((gaps[:, 1:] != gaps[:, :-1]).any(axis=0)) + 1
        for start, stop in itertools.pairwise([0, *changes.tolist(), rows.size]):
            known = np.flatnonzero(~gaps[:, start])
            yield rows[start:stop], known, self._whitening(known)

    def _whitening(self, known: NDArray[np.intp]) -> Array:
        covariances = self._covariances[:, known[:, None], known]
        return inverse_factors(covariances, np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)))

    def _add_by_column(self, z: Array, signed: Array, near: Array, found: Explanations) -> None:
        d, known = self._parameters.d, ~np.isnan(z)
        variances = self._parameters.variances()
        constants = -0.5 * np.log(2 * np.pi * variances)
        for component in range(self._parameters.k):
            rows = np.flatnonzero(signed[component])
            off = z[:, rows] - self._parameters.means[component][:, None]
            off[~known[:, rows]] = 0.0
            shares = off**2 / variances[component][:, None]
            weights = signed[component, rows]
            found.base[rows] += weights * (constants[component] @ known[:, rows])
            found.contributions[:d, rows] -= 0.5 * weights * shares
            found.distances[:d, rows] += near[component, rows] * shares

    def _add_families(
        self,
        component: int,
        block: Array,
        rows: NDArray[np.intp],
        signed: Array,
        near: Array,
        found: Explanations,
    ) -> None:
        parameters = self._parameters
        pairs = zip(
            rows_of(parameters.families, parameters.d), parameters.family_parameters, strict=True
        )
        for (family, of_family), values in pairs:
            own = values[component : component + 1]
            cells = np.ix_(np.arange(of_family.start, of_family.stop), rows)
            logs = np.maximum(family.log_probabilities(own, block[cells])[0], LOG_ZERO)
            highest = family.log_probabilities(own, family.modes(own).T)[0]
            below = np.where(np.isnan(block[cells]), 0.0, highest - logs)
            found.contributions[cells] += signed[component, rows] * logs
            found.distances[cells] += near[component, rows] * 2 * below

    def _add_noise(self, block: Array, signed: Array, found: Explanations) -> None:
        parameters, noise = self._parameters, self._parameters.noise
        assert noise is not None
        rows = np.flatnonzero(signed)
        known = ~np.isnan(block[:, rows])
        weights, d = signed[rows], parameters.d
        found.base[rows] += weights * (self._log_weights[-1] - noise.log_widths @ known[:d])
        for (_, of_family), where in zip(
            rows_of(parameters.families, d), noise.ranges, strict=True
        ):
            cells = np.ix_(np.arange(of_family.start, of_family.stop), rows)
            found.contributions[cells] -= weights * where.log_sizes[:, None] * known[of_family]


def _log_sum(values: Array) -> Array:
    """log sum exp of the rows of (n, m), (m,)."""
    if len(values) == 1:
        return np.asarray(values[0])
    largest = values.max(axis=0)
    return np.asarray(largest + np.log(np.exp(values - largest).sum(axis=0)))
