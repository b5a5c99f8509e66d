"""The kernel: parameters evaluated on blocks of rows, and their statistics summed.

A block holds rows feature-major, X: d numeric columns, codes of the categories, counts. An E-step
is two matrix products and a softmax, whatever the covariance structure:

    L = Theta @ T(X)      R = softmax of L over components      S = T(X) @ R.T

The expansion of a quadratic form loses accuracy where a component is far from the centre or
nearly singular. Such components are *centred*: evaluated as |W (x - mu)|^2, and their statistics
are kept about mu instead of the common centre.

The noise, a uniform component, is one more row of Theta, whose only term is the constant.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from gmm_spark.mixture.gaps import ByColumn, ByPattern, Completion, Mask, Stretch, by_pattern
from gmm_spark.mixture.parameters import Array, Parameters, Standardisation, even_table
from gmm_spark.mixture.sufficient import Layout, Statistics, indicate, log_factorial, pairs
from gmm_spark.mixture.whitening import SingularCovarianceError, inverse_factors

__all__ = [
    "BlockKernel",
    "CentredComponent",
    "Evaluator",
    "SingularCovarianceError",
    "aligned",
    "exponentials",
    "natural_parameters",
]

# The log of the weight of a dead component: finite, so that matrix products stay finite.
_LOG_ZERO = -1e300
# Rounding the expansion may add to a log density near its component.
_EXPANSION_ERROR = 1e-8
# T(X) of one chunk, which the second-level cache holds: it is written once and read twice.
_CHUNK_BYTES = 1 << 20
# And its bound, reached from some 350 columns on, where 256 rows take more.
_ROOM_BYTES = 128 << 20
# OpenBLAS multiplies small matrices without packing them first, up to this volume: for few
# components that is twice as fast, 50 against 23 GFLOP/s for T(X) @ R.T at d = 16, k = 8.
_SMALL_PRODUCT = 1e6
_TILE_COLUMNS = 512
# With more components than this, products are faster in one piece.
_FEW_COMPONENTS = 32
# Numbers in a cache line.
_LINE = 8
# Below this a difference of log densities is minus infinity: exp takes three times as long where
# it underflows, thirty times where it gives a denormal number.
_LEAST = -700.0
_LEAST_EXPONENTIAL = np.exp(_LEAST)


@dataclass(frozen=True)
class CentredComponent:
    """A component evaluated as log_constant - |W (z - mean)|^2 / 2."""

    index: int
    mean: Array  # (d,)
    whitening: Array  # (d, d), W' W the inverse covariance
    log_constant: float


@dataclass(frozen=True)
class Evaluator:
    """Candidates in natural parameters, ready to be sent to where the rows are."""

    layout: Layout
    standardisation: Standardisation
    theta: Array  # (K, M)
    centred: tuple[CentredComponent, ...]
    precisions: Array | None  # of the kind "linear": (C, d, d)
    rounding: Array  # (K,) what the rounding of a covariance may change in a log density
    log_widths: Array | None = None  # (d,) of the noise's box, standardised
    completion: Completion | None = None  # where rows have gaps

    @property
    def origins(self) -> Array:
        origins = np.zeros((self.layout.num_components, self.layout.d))
        for component in self.centred:
            origins[component.index] = component.mean
        return origins

    def log_likelihoods(self, statistics: Statistics, scatter: Array | None) -> Array:
        """Log-likelihood of every candidate in standardised coordinates, (C,).

        `scatter` (d, d), the weighted sum of z z', completes those of the kind "linear".
        """
        if self.precisions is None:
            return np.array(statistics.log_likelihoods)
        if scatter is None:
            raise ValueError("the kind 'linear' needs the scatter of the data")
        quadratic = np.einsum("cij,ij->c", self.precisions, scatter)
        return statistics.log_likelihoods - 0.5 * quadratic


def natural_parameters(
    candidates: Sequence[Parameters],
    standardisation: Standardisation,
    *,
    linear: bool = False,
    gaps: bool = False,
) -> Evaluator:
    """Natural parameters of candidates of one structure, given in standardised coordinates.

    With `linear`, shared covariances are evaluated without their common quadratic; where a
    component is too ill-conditioned for the expansion, the structure's own terms are used.
    With `gaps`, values may be NaN, and these are integrated out; `linear` is not for them, nor
    for noise, which has no quadratic.

    Raises SingularCovarianceError where a covariance is not positive definite.
    """
    structure, noise = candidates[0].structure, candidates[0].noise
    d, levels, counts = candidates[0].d, candidates[0].levels, candidates[0].counts
    weights = np.concatenate([c.all_weights for c in candidates])
    # In the place of the noise stands a unit normal until its row is written.
    one = 0 if noise is None else 1
    blank = np.zeros((one, d)), np.ones((one, 1, 1)) * np.eye(d)
    means = np.concatenate([part for c in candidates for part in (c.means, blank[0])])
    covariances = np.concatenate(
        [part for c in candidates for part in (c.dense_covariances(), blank[1])]
    )
    tables, rates = (
        np.concatenate([np.pad(part, ((0, one), (0, 0))) for part in parts])
        for parts in ([c.tables for c in candidates], [c.rates for c in candidates])
    )
    deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    whitening = inverse_factors(covariances, deviations)
    precisions = whitening.swapaxes(1, 2) @ whitening
    log_determinants = -2 * np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(axis=1)
    log_weights = _log(weights)
    log_constants = log_weights - 0.5 * (d * np.log(2 * np.pi) + log_determinants)

    reach = np.abs(means) + 3 * deviations
    magnitudes = np.einsum("ki,kij,kj->k", reach, np.abs(precisions), reach)
    ill_conditioned = magnitudes * np.finfo(float).eps > _EXPANSION_ERROR
    linear = linear and structure.shared and not gaps and noise is None
    linear = linear and not ill_conditioned.any()

    conditions = np.einsum("ki,kij,kj->k", deviations, np.abs(precisions), deviations)

    sizes = tuple(c.k + one for c in candidates)
    kind = "linear" if linear else structure.shape
    layout = Layout(kind, d, sizes, levels, noise is not None, counts)
    theta = np.zeros((layout.num_components, layout.num_features))
    shifted = np.einsum("kij,kj->ki", precisions, means)
    theta[:, :d] = shifted
    theta[:, d] = log_constants - 0.5 * np.einsum("ki,ki->k", means, shifted)
    if layout.kind == "full":
        rows, columns = pairs(d)
        theta[:, layout.second] = -precisions[:, rows, columns]
        theta[:, layout.second][:, rows == columns] *= 0.5
    elif layout.kind == "diagonal":
        theta[:, layout.second] = -0.5 * np.diagonal(precisions, axis1=1, axis2=2)
    elif layout.kind == "spherical":
        theta[:, d + 1] = -0.5 * precisions[:, 0, 0]
    theta[:, layout.tables] = _log(tables)
    theta[:, layout.events], theta[:, layout.known] = _log(rates), -rates
    for row in layout.noises:
        theta[row] = 0.0
        theta[row, d] = log_weights[row] + noise.log_density  # type: ignore[union-attr]
        theta[row, layout.tables] = np.log(even_table(levels))
        theta[row, layout.known] = -noise.log_values  # type: ignore[union-attr]
    centred = []
    for index in np.flatnonzero(ill_conditioned):
        theta[index, : layout.others.start] = 0.0
        centred.append(
            CentredComponent(
                int(index), means[index], whitening[index], float(log_constants[index])
            )
        )
    rounding = conditions * np.finfo(float).eps
    shared = None
    if linear:
        shared = np.stack([precisions[c.start] for c in layout.candidates()])
    completion = None
    if gaps:
        origins = np.where(ill_conditioned[:, None], means, 0.0)
        indices = tuple(component.index for component in centred)
        log_scale = np.log(standardisation.scale)
        completion = Completion(log_weights, means, covariances, origins, indices, log_scale)
    rounding[layout.noises] = 0.0
    log_widths = None if noise is None else noise.log_widths
    return Evaluator(
        layout, standardisation, theta, tuple(centred), shared, rounding, log_widths, completion
    )


def _log(probabilities: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(probabilities), _LOG_ZERO)


Rows = slice | NDArray[np.intp]


@dataclass(frozen=True)
class _Stretches:
    """A chunk of incomplete rows: where its gaps are, and its patterns."""

    gaps: Mask
    stretches: list[Stretch]


class BlockKernel:
    """Evaluates blocks of rows and sums their statistics; keeps the buffers between blocks."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        layout = evaluator.layout
        num_features, k = layout.num_features, layout.num_components
        rows = _CHUNK_BYTES // (8 * (num_features + 2 * k))
        rows = int(np.clip(rows // 64 * 64, 256, 4096))
        # Of very wide tables a few rows have to do; 256 of 1,000 columns would take a gigabyte.
        most = _ROOM_BYTES // (8 * (num_features + 2 * k))
        self._chunk = max(8, min(rows, most // 8 * 8))
        self._copies = layout.d if layout.kind == "full" else 0  # rows of z above T(X), once more
        self._room = aligned((self._copies + num_features) * self._chunk)
        self._room_of_densities = aligned(k * self._chunk)
        self._room_transposed = aligned(k * self._chunk)
        self._product = np.empty((num_features, k))
        columns = max(_TILE_COLUMNS, int(_SMALL_PRODUCT / (k * num_features)))
        self._tile_columns = columns = min(self._chunk, columns)
        height = max(1, int(_SMALL_PRODUCT / (k * columns)))
        self._tiles = [slice(a, a + height) for a in range(0, num_features, height)]
        self._theta = [np.ascontiguousarray(evaluator.theta[:, tile]) for tile in self._tiles]
        self._centre = evaluator.standardisation.centre[:, None]
        self._per_unit = 1.0 / evaluator.standardisation.scale[:, None]
        self._resize(self._chunk)
        self._candidates = layout.candidates()
        self._moments = np.zeros((num_features, k))
        self._sizes = np.zeros((2, k))  # rows and weight
        self._sums = np.zeros((2, len(layout.sizes)))
        self._rows = 0
        self._weight = 0.0
        self._normal = slice(0, layout.others.start)  # T(X) without categories and counts
        self._mixed = layout.others.start < layout.num_features
        self._noises = layout.noises
        self._log_ranges = np.zeros(layout.d)  # of the noise's box, in the user's units
        if evaluator.log_widths is not None:
            self._log_ranges = evaluator.log_widths + np.log(evaluator.standardisation.scale)
        self._gaps: ByPattern | ByColumn | None = None
        if evaluator.completion is not None:
            normal = layout.normal
            self._gaps = (
                ByPattern(evaluator.completion, normal)
                if layout.kind == "full"
                else ByColumn(evaluator.completion, normal, evaluator.theta[:, self._normal])
            )

    def add(
        self,
        block: Array,
        weights: Array | None = None,
        allowed: NDArray[np.int64] | None = None,
    ) -> None:
        """Add the rows of `block` (d + q + c, m), of weight 1 or `weights` (m,), to the
        statistics.

        Codes of categories are 0, 1, ...; a NaN is a category or a count that is not known. Bit
        i of `allowed` (m,) says whether the row may be of component i; -1 of any, or noise.
        """
        for rows, part, gaps in self._parts(block):
            for at, chunk, stretches in self._chunks(part, gaps):
                row_weights = None if weights is None else weights[rows][at]
                log_joint = self._evaluate(chunk, stretches)
                if allowed is not None:
                    self._forbid(log_joint, allowed[rows][at])
                self._responsibilities(log_joint, row_weights)
                self._accumulate(log_joint, row_weights, stretches)

    def add_labelled(self, block: Array, labels: NDArray[np.intp], weights: Array | None) -> None:
        """Like `add`, with responsibility 1 for the component `labels` (m,) names."""
        for rows, part, gaps in self._parts(block):
            for at, chunk, stretches in self._chunks(part, gaps):
                row_weights = None if weights is None else weights[rows][at]
                responsibilities = self._evaluate(chunk, stretches)
                responsibilities[:] = 0.0
                responsibilities[labels[rows][at], np.arange(chunk.shape[1])] = 1.0
                if row_weights is not None:
                    responsibilities *= row_weights
                self._accumulate(responsibilities, row_weights, stretches)

    def log_joint(self, block: Array, allowed: NDArray[np.int64] | None = None) -> Array:
        """log w_k + log density for every row and component, (K, m); -inf where it may not be."""
        out = np.empty((self.evaluator.layout.num_components, block.shape[1]))
        for rows, part, gaps in self._parts(block):
            for at, chunk, stretches in self._chunks(part, gaps):
                found = self._evaluate(chunk, stretches)
                if allowed is not None:
                    self._forbid(found, allowed[rows][at])
                if isinstance(rows, slice):
                    out[:, at] = found
                else:
                    out[:, rows[at]] = found
        return out

    def log_densities(self, block: Array, allowed: NDArray[np.int64] | None = None) -> Array:
        """Log density of every row under all components together, standardised, (m,)."""
        log_joint = self.log_joint(block, allowed)
        largest = log_joint.max(axis=0)
        log_joint -= largest
        return np.asarray(largest + np.log(exponentials(log_joint).sum(axis=0)))

    def statistics(self) -> Statistics:
        moments = self._moments
        if self._gaps is not None:
            moments = np.array(moments)
            moments[self._normal] += self._gaps.moments()
        values = np.concatenate(
            [
                [float(self._rows), self._weight],
                self._sums.ravel(),
                self._sizes.ravel(),
                moments.ravel(),
            ]
        )
        return Statistics(self.evaluator.layout, self.evaluator.origins, values)

    def _parts(self, block: Array) -> Iterator[tuple[Rows, Array, Mask | None]]:
        """The complete rows, then those with gaps, ordered by pattern: which they are, they
        themselves, and where the gaps are."""
        if self._gaps is None:
            yield slice(None), block, None
            return
        gaps = np.isnan(block[: self.evaluator.layout.d])
        incomplete = gaps.any(axis=0)
        if not incomplete.any():
            yield slice(None), block, None
            return
        complete = np.flatnonzero(~incomplete)
        if complete.size:
            yield complete, block[:, complete], None
        rows = np.flatnonzero(incomplete)
        gaps = gaps[:, rows]
        order = by_pattern(gaps)
        yield rows[order], block[:, rows[order]], gaps[:, order]

    def _chunks(
        self, block: Array, gaps: Mask | None
    ) -> Iterator[tuple[slice, Array, _Stretches | None]]:
        m = block.shape[1]
        # About equally many rows in each: a last chunk of a few takes as long as its calls.
        chunks = max(1, -(-m // self._chunk))
        step = max(8, -(-m // (8 * chunks)) * 8)
        for start in range(0, m, step):
            at = slice(start, min(start + step, m))
            if gaps is None:
                yield at, block[:, at], None
                continue
            for piece, stretches in self._stretches(gaps[:, at]):
                inside = slice(start + piece.start, start + piece.stop)
                yield inside, block[:, inside], _Stretches(gaps[:, inside], stretches)

    def _stretches(self, gaps: Mask) -> Iterator[tuple[slice, list[Stretch]]]:
        """A chunk sorted by pattern, cut where it holds more patterns than are kept."""
        assert self._gaps is not None
        changes = np.flatnonzero((gaps[:, 1:] != gaps[:, :-1]).any(axis=0)) + 1
        bounds = [0, *changes.tolist(), gaps.shape[1]]
        for first in range(0, len(bounds) - 1, self._gaps.at_once):
            part = bounds[first : first + self._gaps.at_once + 1]
            numbers = self._gaps.numbered(gaps[:, part[:-1]])
            stretches = [
                Stretch(number, slice(a - part[0], b - part[0]))
                for number, (a, b) in zip(numbers, pairwise(part), strict=True)
            ]
            yield slice(part[0], part[-1]), stretches

    def _evaluate(self, chunk: Array, stretches: _Stretches | None = None) -> Array:
        evaluator, layout = self.evaluator, self.evaluator.layout
        d, m = layout.d, chunk.shape[1]
        first_count = d + len(layout.levels)
        if m != self._log_joint.shape[1]:
            self._resize(m)
        features, log_joint = self._features, self._log_joint
        z = features[:d]
        np.subtract(chunk[:d], self._centre, z)
        np.multiply(z, self._per_unit, z)
        if stretches is not None:
            z[stretches.gaps] = 0.0
        self._copy[:] = z[: self._copies]
        for one, other, product in self._products:
            np.multiply(one, other, product)
        if layout.kind == "spherical":
            np.einsum("ij,ij->j", z, z, out=features[d + 1])
        if layout.levels:
            indicate(chunk[d:first_count], layout.levels, features[layout.tables])
        log_base = self._count(chunk[first_count:], features) if layout.counts else None
        if stretches is not None:
            assert self._gaps is not None
            normal = features[self._normal]
            self._gaps.log_joint(normal, stretches.gaps, stretches.stretches, log_joint)
            for row in self._noises:
                log_joint[row] = evaluator.theta[row, d] + self._log_ranges @ stretches.gaps
            if self._mixed:
                log_joint += evaluator.theta[:, layout.others] @ features[layout.others]
            return self._with_base(log_joint, log_base)
        self._linear_form()
        for component in evaluator.centred:
            whitened = component.whitening @ (z - component.mean[:, None])
            distance = np.einsum("ij,ij->j", whitened, whitened)
            # The product has left there what tables and rates say, or 0.
            log_joint[component.index] += component.log_constant - 0.5 * distance
        return self._with_base(log_joint, log_base)

    def _resize(self, m: int) -> None:
        """Make the buffers of a chunk of m rows, contiguous in the room there is, and the views
        of them that a chunk needs: to slice takes as long as a small product."""
        layout = self.evaluator.layout
        d, copies = layout.d, self._copies
        height, k = copies + layout.num_features, layout.num_components
        buffer = self._room[: height * m].reshape(height, m)
        self._copy, self._features = buffer[:copies], buffer[copies:]
        self._features[d] = 1.0
        self._log_joint = self._room_of_densities[: k * m].reshape(k, m)
        self._transposed = self._room_transposed[: k * m].reshape(m, k)
        second = self._features[layout.second]
        self._products = []
        if layout.kind == "full":
            # See `pairs`: z_j for j = i + offset, counted on through the second z. All offsets
            # with d of them in one call: calls are what small chunks would spend their time on.
            whole, rest = divmod(layout.num_second, max(1, d))
            height, step = buffer.strides
            shape = whole, d, m
            one = as_strided(buffer, shape, (0, height, step))
            other = as_strided(buffer, shape, (height, height, step))
            self._products.append((one, other, second[: whole * d].reshape(shape)))
            if rest:
                self._products.append(
                    (buffer[:rest], buffer[whole : whole + rest], second[whole * d :])
                )
        elif layout.kind == "diagonal":
            z = self._features[:d]
            self._products.append((z, z, second))
        columns = [
            slice(a, min(a + self._tile_columns, m)) for a in range(0, m, self._tile_columns)
        ]
        # T(X), L and R.T in tiles: of some columns each, and of these by their rows.
        self._column_tiles = [
            (
                [self._features[tile, at] for tile in self._tiles],
                self._log_joint[:, at],
                self._transposed[at],
            )
            for at in columns
        ]

    def _count(self, counts: Array, features: Array) -> Array:
        """Put counts (c, m) into T(X); returns their log base measure, (m,)."""
        layout = self.evaluator.layout
        known = ~np.isnan(counts)
        present = np.where(known, counts, 0.0)
        features[layout.events], features[layout.known] = present, known
        return -log_factorial(present).sum(axis=0)

    def _with_base(self, log_joint: Array, log_base: Array | None) -> Array:
        if log_base is not None:
            log_joint += log_base
            log_joint[self._noises] -= log_base
        return log_joint

    def _forbid(self, log_joint: Array, allowed: NDArray[np.int64]) -> None:
        """Leave rows only the components they may be of."""
        some = np.flatnonzero(allowed != -1)
        if some.size == 0:
            return
        bits = allowed[some]
        for components in self._candidates:
            count = components.stop - components.start - self.evaluator.layout.noise
            for index in range(count):
                row = log_joint[components.start + index]
                row[some[(bits >> index) & 1 == 0]] = -np.inf
            if self.evaluator.layout.noise:
                log_joint[components.stop - 1, some] = -np.inf

    def _linear_form(self) -> None:
        """L = Theta @ T(X)."""
        if self._log_joint.shape[0] > _FEW_COMPONENTS:
            np.matmul(self.evaluator.theta, self._features, self._log_joint)
            return
        for tiles, log_joint, _ in self._column_tiles:
            np.matmul(self._theta[0], tiles[0], log_joint)
            for theta, tile in zip(self._theta[1:], tiles[1:], strict=True):
                log_joint += theta @ tile

    def _responsibilities(self, log_joint: Array, weights: Array | None) -> None:
        """Turn L into weighted responsibilities in place, and sum what depends on L."""
        for index, components in enumerate(self._candidates):
            block = log_joint[components]
            largest = block.max(axis=0)
            block -= largest
            sizes = _sizes_of_largest(block, weights)
            total = exponentials(block).sum(axis=0)
            log_total = np.log(total)
            if weights is None:
                logs = log_total.sum()
                self._sums[0, index] += largest.sum() + logs
                self._sums[1, index] -= logs
                np.divide(1.0, total, out=total)
            else:
                self._sums[0, index] += weights @ largest + weights @ log_total
                self._sums[1, index] -= weights @ log_total
                np.divide(weights, total, out=total)
            block *= total
            self._sizes[:, components] += sizes

    def _accumulate(
        self, responsibilities: Array, weights: Array | None, stretches: _Stretches | None = None
    ) -> None:
        layout = self.evaluator.layout
        d, m = layout.d, responsibilities.shape[1]
        features = self._features
        self._rows += m
        self._weight += float(m) if weights is None else float(weights.sum())
        if stretches is not None:
            assert self._gaps is not None
            if self._mixed:
                self._moments[layout.others] += features[layout.others] @ responsibilities.T
            normal = features[self._normal]
            self._gaps.add(normal, stretches.gaps, stretches.stretches, responsibilities)
            return
        for component in self.evaluator.centred:
            share = responsibilities[component.index]
            deviation = features[:d] - component.mean[:, None]
            weighted = deviation * share
            column = self._moments[:, component.index]
            column[:d] += weighted.sum(axis=1)
            column[d] += share.sum()
            if self._mixed:
                column[layout.others] += features[layout.others] @ share
            if layout.kind == "full":
                column[layout.second] += (weighted @ deviation.T)[pairs(d)]
            elif layout.kind == "diagonal":
                column[layout.second] += np.einsum("ij,ij->i", weighted, deviation)
            elif layout.kind == "spherical":
                column[d + 1] += np.einsum("ij,ij->", weighted, deviation)
            share[:] = 0.0
        if responsibilities.shape[0] > _FEW_COMPONENTS:
            self._moments += np.matmul(features, responsibilities.T, out=self._product)
        else:
            self._transposed[:] = responsibilities.T
            for tiles, _, transposed in self._column_tiles:
                for rows, tile in zip(self._tiles, tiles, strict=True):
                    np.matmul(tile, transposed, self._product[rows])
                self._moments += self._product


def aligned(size: int) -> Array:
    """Room for so many numbers that begins at a cache line: vector instructions write across
    two lines elsewhere, which takes twice as long."""
    room = np.empty(size + _LINE)
    return room[-(room.ctypes.data // room.itemsize) % _LINE :][:size]


def exponentials(differences: Array) -> Array:
    """exp, in place, of what log densities are below the largest; 0 from exp(-700) on."""
    np.maximum(differences, _LEAST, out=differences)
    np.exp(differences, out=differences)
    differences -= _LEAST_EXPONENTIAL
    return differences


def _sizes_of_largest(differences: Array, weights: Array | None) -> Array:
    """Number and weight, (2, K), of the columns in which a row holds the largest entry, given as
    0; of equal ones the first counts. A fraction of the time of argmax, which only ties need."""
    largest = differences == 0
    if np.count_nonzero(largest) != differences.shape[1]:
        largest = differences.argmax(axis=0) == np.arange(differences.shape[0])[:, None]
    numbers = largest.sum(axis=1)
    return np.stack([numbers, numbers if weights is None else largest @ weights])
