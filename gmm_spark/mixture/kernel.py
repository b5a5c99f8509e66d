"""The kernel: parameters evaluated on blocks of rows, and their statistics summed.

A block holds rows feature-major, X: d numeric columns, then those of every family. An E-step
is two matrix products and a softmax, whatever the covariance structure:

    L = Theta @ T(X)      R = softmax of L over components      S = T(X) @ R.T

Theta is of `natural`, which says what *centred* components are.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from gmm_spark.mixture.families.family import rows_of
from gmm_spark.mixture.missing import ByColumn, ByPattern, Mask, Stretch, by_pattern
from gmm_spark.mixture.natural import Evaluator
from gmm_spark.mixture.numerics import Array, aligned, exponentials
from gmm_spark.mixture.statistics import Statistics, pairs

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
        self._normal = slice(0, layout.others.start)  # T(X) without the families
        self._mixed = layout.others.start < layout.num_features
        self._noises = layout.noises
        # Every family with its rows of a block and of T(X).
        self._families = [
            (family, rows, at)
            for (family, rows), at in zip(
                rows_of(layout.families, layout.d), layout.of_families, strict=True
            )
        ]
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
        """Add the rows of `block` (rows of a block, m), of weight 1 or `weights` (m,), to the
        statistics.

        A NaN is a value that is not known. Bit i of `allowed` (m,) says whether the row may be of
        component i; -1 of any, or noise.
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
        log_base: Array | None = None
        for family, rows, at in self._families:
            base = family.fill(chunk[rows], features[at])
            if base is not None:
                log_base = base if log_base is None else log_base + base
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
            # The product has left there what the families say, or 0.
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


def _sizes_of_largest(differences: Array, weights: Array | None) -> Array:
    """Number and weight, (2, K), of the columns in which a row holds the largest entry, given as
    0; of equal ones the first counts. A fraction of the time of argmax, which only ties need."""
    largest = differences == 0
    if np.count_nonzero(largest) != differences.shape[1]:
        largest = differences.argmax(axis=0) == np.arange(differences.shape[0])[:, None]
    numbers = largest.sum(axis=1)
    return np.stack([numbers, numbers if weights is None else largest @ weights])


# Who answers a pass: an array in memory, or a Spark job.
RunPass = Callable[[Evaluator], Statistics]


def array_pass(
    block: Array, weights: Array | None = None, allowed: NDArray[np.int64] | None = None
) -> RunPass:
    """The engine in memory: passes over `block` (d + q + c, n), rows of weight 1 or `weights`
    (n,), of the components that the bits of `allowed` (n,) say, or of any."""

    def run_pass(evaluator: Evaluator) -> Statistics:
        kernel = BlockKernel(evaluator)
        kernel.add(block, weights, allowed)
        return kernel.statistics()

    return run_pass
