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
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.families import rows_of
from gmm_spark.mixture.far import FAR, LEAST_LOG_DENSITY, log_joint_far
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.merging import Partition
from gmm_spark.mixture.missing import Mask, by_pattern
from gmm_spark.mixture.natural import LOG_ZERO, natural_parameters
from gmm_spark.mixture.numerics import Array, largest_of_rows
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.whitening import inverse_factors

# What is beyond this says that something is impossible.
_IMPOSSIBLE = -LOG_ZERO / 10
# Cells that are worked on at once: what second-level caches hold several times.
_CHUNK_CELLS = 1 << 15
# What patterns of gaps need is kept up to this.
_KEPT_BYTES = 64 << 20


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

    def taken(self, rows: slice) -> Explanations:
        """Views of those of some of the rows."""
        return Explanations(*(getattr(self, each.name)[..., rows] for each in fields(self)))


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
        self._parameters = parameters = parameters.standardised(by)
        self._by = by
        self._kernel = BlockKernel(natural_parameters([parameters], by, gaps=True))
        self._distances = _Distances(parameters)
        with np.errstate(divide="ignore"):
            self._log_weights = np.maximum(np.log(parameters.all_weights), LOG_ZERO)
        # Of every family the log probability of the most probable value, (k, columns).
        self._highest = [
            np.concatenate(
                [
                    family.log_probabilities(own, family.modes(own).T)[:, :, 0]
                    for own in np.split(values, parameters.k)
                ]
            )
            for family, values in zip(
                parameters.families, parameters.family_parameters, strict=True
            )
        ]
        groups = [np.array([j]) for j in range(parameters.k)]
        if clusters is not None:
            groups = [np.array(cluster) for cluster in clusters]
        self.noise = len(groups)
        if parameters.noise is not None:
            groups.append(np.array([parameters.k]))
        self._segments = groups
        self._are_merged = len(groups) < self._log_weights.size
        self._segment_of = np.empty(self._log_weights.size, dtype=np.intp)
        for number, group in enumerate(groups):
            self._segment_of[group] = number

    def explained(self, block: Array) -> Explanations:
        """Why the rows of a block (columns, m) are in their segments."""
        columns, m = block.shape
        found = Explanations(
            np.empty(m, dtype=np.intp),
            np.empty(m, dtype=np.intp),
            np.empty(m),
            np.zeros(m),
            # A row lies in one piece: those of a component are taken and put back.
            np.zeros((m, columns)).T,
            np.zeros((m, columns)).T,
        )
        step = max(256, _CHUNK_CELLS // columns)
        for start in range(0, m, step):
            at = slice(start, start + step)
            self._explain(block[:, at], found.taken(at))
        return found

    def _explain(self, block: Array, found: Explanations) -> None:
        """Put into `found`, which is 0, why the rows of a block are in their segments."""
        d = self._parameters.d
        z = (block[:d] - self._by.centre[:, None]) / self._by.scale[:, None]
        joint = self._log_joint(block, z)
        by_segment = np.stack([_log_sum(joint[group]) for group in self._segments])
        # The probability of every component within its segment.
        within = np.exp(joint - by_segment[self._segment_of]) if self._are_merged else None
        found.segment[:], found.log_odds[:] = largest_of_rows(by_segment)
        by_segment[found.segment, np.arange(block.shape[1])] = -np.inf
        found.runner_up[:], of_runner_up = largest_of_rows(by_segment)
        found.log_odds[:] -= of_runner_up
        self._add(np.ascontiguousarray(np.concatenate([z, block[d:]]).T), within, found)
        for part in (found.log_odds, found.base, found.contributions, found.distances):
            if max(part.max(initial=0.0), -part.min(initial=0.0)) > _IMPOSSIBLE:
                part[part > _IMPOSSIBLE] = np.inf
                part[part < -_IMPOSSIBLE] = -np.inf

    def _log_joint(self, block: Array, z: Array) -> Array:
        """log w + log density up to a constant of the row, (K, m), the noise last."""
        highest = np.fmax.reduce(z, axis=None, initial=0)
        lowest = np.fmin.reduce(z, axis=None, initial=0)
        if max(highest, -lowest) <= FAR:
            return self._kernel.log_joint(block)
        far = np.flatnonzero((np.abs(z) > FAR).any(axis=0))
        joint = np.empty((self._log_weights.size, block.shape[1]))
        near = np.delete(np.arange(block.shape[1]), far)
        joint[:, near] = self._kernel.log_joint(block[:, near])
        joint[:, far], _ = log_joint_far(self._parameters, self._by, block[:, far])
        return np.maximum(joint, LEAST_LOG_DENSITY)

    def _add(self, values: Array, within: Array | None, found: Explanations) -> None:
        """Add what the components say of rows (m, columns), standardised, to base, contributions
        and distances; `within` (K, m) are probabilities within segments, None where all are 1."""
        gaps = np.isnan(values)
        known = ~gaps if gaps.any() else None
        patterns = self._distances.patterns(known)
        near = np.where(found.segment == self.noise, found.runner_up, found.segment)
        base, contributions, distances = found.base, found.contributions.T, found.distances.T
        for component, number in enumerate(self._segment_of):
            is_own = found.segment == number
            rows = np.flatnonzero(is_own | (found.runner_up == number))
            if within is not None:
                rows = rows[within[component, rows] > 0]
            if patterns.numbers is not None:
                rows = rows[np.argsort(patterns.numbers[rows], kind="stable")]
            there = None if known is None else known[rows]
            if component == self._parameters.k:
                constants, logs = self._noise(rows.size, there)
                own = None
            else:
                constants, logs, own = self._component(
                    component, values[rows], there, patterns.taken(rows)
                )
            constants += self._log_weights[component]
            weights = np.where(is_own[rows], 1.0, -1.0)
            is_near = np.flatnonzero(near[rows] == number)
            if within is not None:
                shares = within[component, rows]
                weights *= shares
                # The entropy within the segment less that within the runner-up.
                constants -= np.log(shares)
                if own is not None:
                    own *= shares[:, None]
            base[rows] += weights * constants
            logs *= weights[:, None]
            contributions[rows] += logs
            if own is not None:
                distances[rows[is_near]] += own[is_near]

    def _component(
        self, component: int, values: Array, known: Mask | None, patterns: _Patterns
    ) -> tuple[Array, Array, Array]:
        """What a component says of rows (n, columns): what is no column's, (n,), log densities and
        distances by column, (n, columns)."""
        d, parameters = self._parameters.d, self._parameters
        distances = np.empty(values.shape)
        constants = self._distances.put(component, values, known, patterns, distances)
        logs = -0.5 * distances
        pairs = zip(rows_of(parameters.families, d), parameters.family_parameters, strict=True)
        for number, ((family, at), of_family) in enumerate(pairs):
            own = family.log_probabilities(of_family[component : component + 1], values[:, at].T)
            logs[:, at] = np.maximum(own[0].T, LOG_ZERO)
            distances[:, at] = 2 * (self._highest[number][component] - logs[:, at])
            if known is not None:
                distances[:, at] *= known[:, at]
        return constants, logs, distances

    def _noise(self, n: int, known: Mask | None) -> tuple[Array, Array]:
        """What the noise says of n rows, by which cells are known, (n, columns): as a component."""
        noise, parameters = self._parameters.noise, self._parameters
        assert noise is not None
        sizes = [noise.log_widths, *(where.log_sizes for where in noise.ranges)]
        logs = np.tile(-np.concatenate(sizes), (n, 1))
        if known is not None:
            logs *= known
        constants = logs[:, : parameters.d].sum(axis=1)
        logs[:, : parameters.d] = 0.0
        return constants, logs


@dataclass(frozen=True)
class _Pattern:
    """A pattern of gaps, under every component: the known columns whitened, and the log density at
    the mean. A gap has a variance of 1 and goes with nothing."""

    whitening: Array  # (k, d, d)
    constants: Array  # (k,)


@dataclass(frozen=True)
class _Patterns:
    """Which pattern of gaps rows have, (m,): the place among the patterns; None where all have the
    one that there is, or patterns make no difference."""

    numbers: NDArray[np.intp] | None
    of: list[_Pattern]

    def taken(self, rows: NDArray[np.intp]) -> _Patterns:
        """Those of some of the rows."""
        return _Patterns(None if self.numbers is None else self.numbers[rows], self.of)

    def stretches(self, m: int) -> Iterator[tuple[_Pattern, slice]]:
        """The patterns of m rows that are in their order, with the rows of each."""
        if self.numbers is None:
            yield self.of[0], slice(0, m)
            return
        changes = np.flatnonzero(self.numbers[1:] != self.numbers[:-1]) + 1
        for start, stop in itertools.pairwise([0, *changes.tolist(), m]):
            if start < stop:
                yield self.of[self.numbers[start]], slice(start, stop)


class _Distances:
    """Mahalanobis' squared distances of standardised rows from normal components, shared out to
    the columns."""

    def __init__(self, parameters: Parameters) -> None:
        self._means = parameters.means
        self._variances = parameters.variances()
        self._is_full = parameters.structure.kind == "full"
        self._covariances = parameters.dense_covariances() if self._is_full else np.zeros(0)
        self._kept: dict[bytes, _Pattern] = {}

    def patterns(self, known: Mask | None) -> _Patterns:
        """The patterns of rows, by which cells are known, (m, columns)."""
        d = self._means.shape[1]
        if not self._is_full or known is None or known[:, :d].all():
            return _Patterns(None, [self._pattern(np.ones(d, dtype=bool))] if self._is_full else [])
        known = known[:, :d]
        order = by_pattern(~known.T)
        ordered = known[order]
        firsts = [0, *(np.flatnonzero((ordered[1:] != ordered[:-1]).any(axis=1)) + 1).tolist()]
        numbers = np.empty(len(known), dtype=np.intp)
        numbers[order] = np.repeat(np.arange(len(firsts)), np.diff([*firsts, len(known)]))
        return _Patterns(numbers, [self._pattern(ordered[first]) for first in firsts])

    def put(
        self, component: int, values: Array, known: Mask | None, patterns: _Patterns, out: Array
    ) -> Array:
        """Put the columns' shares of the distances of rows (n, columns), which are in the order of
        their patterns, into the first d columns, 0 for gaps; log densities at the mean, (n,)."""
        n, d = len(values), self._means.shape[1]
        off, shares = values[:, :d], out[:, :d]
        off -= self._means[component]
        if known is not None:
            off[~known[:, :d]] = 0.0
        if not self._is_full:
            variances = self._variances[component]
            np.divide(off * off, variances, out=shares)
            constants = -0.5 * np.log(2 * np.pi * variances)
            return np.full(n, constants.sum()) if known is None else known[:, :d] @ constants
        constants = np.empty(n)
        for pattern, at in patterns.stretches(n):
            constants[at] = pattern.constants[component]
            whitening = pattern.whitening[component]
            # Two products: the inverse covariance itself rounds where columns are nearly the same.
            np.matmul(off[at] @ whitening.T, whitening, out=shares[at])
        shares *= off
        return constants

    def _pattern(self, known: NDArray[np.bool_]) -> _Pattern:
        key = known.tobytes()
        if key not in self._kept:
            if len(self._kept) * self._covariances.nbytes > _KEPT_BYTES:
                self._kept.clear()
            covariances = np.where(known[:, None] & known, self._covariances, np.eye(known.size))
            deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
            whitening = inverse_factors(covariances, deviations)
            log_roots = np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(axis=1)
            constants = log_roots - 0.5 * np.log(2 * np.pi) * known.sum()
            self._kept[key] = _Pattern(whitening, constants)
        return self._kept[key]


def _log_sum(values: Array) -> Array:
    """log sum exp of the rows of (n, m), (m,)."""
    if len(values) == 1:
        return np.asarray(values[0])
    largest = values.max(axis=0)
    return np.asarray(largest + np.log(np.exp(values - largest).sum(axis=0)))
