"""Rows with gaps: what is missing is integrated out, and its moments are put in for it.

Of a row x only the part x_o is known. Its density under a component is that of the marginal,
N(x_o | mu_o, Sigma_oo); the E-step puts in for the rest what the component expects of it given
x_o, and the M-step is that of complete rows (Little and Rubin 2002, section 11.3; for mixtures,
Ghahramani and Jordan 1994). Under "missing at random" this is maximum likelihood.

Rows with the same gaps are one pattern. With z_0 the row with 0 in its gaps, a pattern has
natural parameters of its own, so that its rows are evaluated as theta . T(z_0), and the row
completed is affine in z_0: E[z | z_o] = B z_0 + c. So T(z_0) is all that is summed, pattern by
pattern, and completed once in the end, however many the rows are. Where covariances are diagonal
nothing depends on patterns: counts of the gaps, column by column, complete the sums.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.statistics import Layout, pairs
from gmm_spark.mixture.whitening import inverse_factors

Mask = NDArray[np.bool_]

# Natural parameters and sums of patterns are kept up to this, then completed and forgotten.
_KEPT_BYTES = 64 << 20
# Matrices worked on at once.
_BATCH_BYTES = 8 << 20


@dataclass(frozen=True)
class Completion:
    """What is needed to complete rows under the components of an evaluator."""

    log_weights: Array  # (K,)
    means: Array  # (K, d)
    covariances: Array  # (K, d, d)
    origins: Array  # (K, d): the points moments are taken about, 0 or the mean
    centred: tuple[int, ...]  # components that are evaluated about their mean
    log_scale: Array  # (d,): a gap is in no units, so log densities gain it back


@dataclass(frozen=True)
class Stretch:
    """Neighbouring rows of one pattern in a chunk."""

    pattern: int
    columns: slice


class ByPattern:
    """Sums of incomplete rows for full covariances, by pattern."""

    def __init__(self, completion: Completion, layout: Layout) -> None:
        self._of, self._layout = completion, layout
        self._numbers: dict[bytes, int] = {}
        self._gaps: list[Mask] = []
        self._theta: list[Array] = []
        self._whitening: list[Array] = []
        self._constants: list[Array] = []
        self._sums: list[Array] = []
        size = layout.num_components * layout.num_features
        self.at_once = max(1, _KEPT_BYTES // (16 * size))
        self._total = np.zeros((layout.num_features, layout.num_components))

    def numbered(self, patterns: Mask) -> list[int]:
        """Numbers of patterns (d, p), `at_once` at most; new ones are made ready."""
        keys = [np.ascontiguousarray(pattern).tobytes() for pattern in patterns.T]
        new = [i for i, key in enumerate(keys) if key not in self._numbers]
        if len(self._numbers) + len(new) > self.at_once:
            self._settle()
            new = list(range(len(keys)))
        d, k = self._layout.d, self._layout.num_components
        step = max(1, _BATCH_BYTES // (8 * k * d * d))
        for start in range(0, len(new), step):
            self._prepare(patterns[:, new[start : start + step]].T)
        for index in new:
            self._numbers[keys[index]] = len(self._numbers)
        return [self._numbers[key] for key in keys]

    def log_joint(
        self, features: Array, gaps: Mask, stretches: Sequence[Stretch], out: Array
    ) -> None:
        """Log joint densities (K, m) from T(z_0) (M, m)."""
        for stretch in stretches:
            at = stretch.columns
            np.matmul(self._theta[stretch.pattern], features[:, at], out=out[:, at])
        for place, component in enumerate(self._of.centred):
            deviation = self._deviation(features, gaps, component)
            for stretch in stretches:
                at = stretch.columns
                whitened = self._whitening[stretch.pattern][place] @ deviation[:, at]
                distance = np.einsum("ij,ij->j", whitened, whitened)
                constant = self._constants[stretch.pattern][component]
                out[component, at] = constant - 0.5 * distance

    def add(
        self, features: Array, gaps: Mask, stretches: Sequence[Stretch], responsibilities: Array
    ) -> None:
        """Add T(z_0) @ R.T of every stretch to the sums of its pattern; uses R up."""
        d = self._layout.d
        terms = pairs(d)
        for component in self._of.centred:
            share = responsibilities[component]
            deviation = self._deviation(features, gaps, component)
            for stretch in stretches:
                at = stretch.columns
                weighted = deviation[:, at] * share[at]
                column = self._sums[stretch.pattern][:, component]
                column[:d] += weighted.sum(axis=1)
                column[d] += share[at].sum()
                column[d + 1 :] += (weighted @ deviation[:, at].T)[terms]
            share[:] = 0.0
        for stretch in stretches:
            at = stretch.columns
            self._sums[stretch.pattern] += features[:, at] @ responsibilities[:, at].T

    def moments(self) -> Array:
        """The sums of all rows, completed, (M, K)."""
        self._settle()
        return self._total

    def _deviation(self, features: Array, gaps: Mask, component: int) -> Array:
        deviation = features[: self._layout.d] - self._of.means[component][:, None]
        deviation[gaps] = 0.0
        return deviation

    def _prepare(self, gaps: Mask) -> None:
        """Natural parameters of patterns (p, d)."""
        of, d, k = self._of, self._layout.d, self._layout.num_components
        known = ~gaps
        both = known[:, None, :, None] & known[:, None, None, :]
        observed = np.where(both, of.covariances, 0.0)
        diagonal = np.arange(d)
        observed[..., diagonal, diagonal] += gaps[:, None, :]
        flat = observed.reshape(-1, d, d)
        deviations = np.sqrt(np.diagonal(flat, axis1=1, axis2=2))
        whitening = inverse_factors(flat, deviations).reshape(-1, k, d, d)
        precisions = np.where(both, whitening.swapaxes(-1, -2) @ whitening, 0.0)
        log_roots = np.log(np.diagonal(whitening, axis1=-2, axis2=-1)).sum(axis=-1)
        constants = of.log_weights + log_roots
        constants -= 0.5 * np.log(2 * np.pi) * known.sum(axis=1)[:, None]
        constants += (gaps @ of.log_scale)[:, None]
        shifted = np.einsum("pkij,kj->pki", precisions, of.means)
        theta = np.empty((len(gaps), k, self._layout.num_features))
        theta[:, :, :d] = shifted
        theta[:, :, d] = constants - 0.5 * np.einsum("kj,pkj->pk", of.means, shifted)
        rows, columns = pairs(d)
        theta[:, :, d + 1 :] = -precisions[:, :, rows, columns]
        theta[:, :, d + 1 :][:, :, rows == columns] *= 0.5
        self._gaps.extend(gaps)
        self._theta.extend(theta)
        self._whitening.extend(whitening[:, list(of.centred)])
        self._constants.extend(constants)
        self._sums.extend(np.zeros((len(gaps), self._layout.num_features, k)))

    def _settle(self) -> None:
        """Complete the sums of the patterns there are, and forget these."""
        d, k = self._layout.d, self._layout.num_components
        step = max(1, _BATCH_BYTES // (8 * k * d * d))
        for start in range(0, len(self._sums), step):
            self._total += self._completed(slice(start, start + step))
        self._numbers.clear()
        for kept in (self._gaps, self._theta, self._whitening, self._constants, self._sums):
            kept.clear()

    def _completed(self, some: slice) -> Array:
        of, d = self._of, self._layout.d
        gaps = np.array(self._gaps[some])[:, None, :]  # (p, 1, d)
        sums = np.array(self._sums[some]).swapaxes(1, 2)  # (p, K, M)
        rows, columns = pairs(d)
        packed = np.array(self._theta[some])[:, :, d + 1 :]
        precisions = np.empty((*packed.shape[:2], d, d))
        precisions[..., rows, columns] = precisions[..., columns, rows] = -packed
        precisions[..., np.arange(d), np.arange(d)] *= 2
        for place, component in enumerate(of.centred):
            whitening = np.array([matrices[place] for matrices in self._whitening[some]])
            inverse = whitening.swapaxes(1, 2) @ whitening
            known = ~gaps[:, 0]
            precisions[:, component] = np.where(known[:, :, None] & known[:, None, :], inverse, 0.0)
        count, first = sums[..., d], sums[..., :d]
        second = np.empty_like(precisions)
        second[..., rows, columns] = second[..., columns, rows] = sums[..., d + 1 :]

        regression = of.covariances @ precisions  # rows of gaps: Sigma_mo Sigma_oo^-1
        affine = np.where(gaps[..., None], regression, np.eye(d))
        means = of.means - of.origins
        expected = np.einsum("pkij,kj->pki", regression, means)
        constant = np.where(gaps, means - expected, 0.0)
        spread = of.covariances - regression @ of.covariances
        spread = np.where(gaps[..., None] & gaps[..., None, :], spread, 0.0)

        mean_sums = np.einsum("pkij,pkj->pki", affine, first)
        cross = mean_sums[..., :, None] * constant[..., None, :]
        completed = affine @ second @ affine.swapaxes(-1, -2) + cross + cross.swapaxes(-1, -2)
        completed += count[..., None, None] * (
            constant[..., :, None] * constant[..., None, :] + spread
        )
        mean_sums += count[..., None] * constant
        total = np.empty((self._layout.num_features, sums.shape[1]))
        total[:d] = mean_sums.sum(axis=0).T
        total[d] = count.sum(axis=0)
        total[d + 1 :] = completed.sum(axis=0)[:, rows, columns].T
        return total


class ByColumn:
    """Sums of incomplete rows for diagonal and spherical covariances, by column."""

    at_once = 1 << 62

    def __init__(self, completion: Completion, layout: Layout, theta: Array) -> None:
        self._of, self._layout = completion, layout
        self._variances = np.diagonal(completion.covariances, axis1=1, axis2=2)
        self._theta = np.array(theta)
        self._theta[:, layout.d] = completion.log_weights
        # What a known column adds to the log density beyond theta . T(z_0).
        self._known = -0.5 * np.log(2 * np.pi * self._variances)
        about_zero = np.ones(layout.num_components, dtype=bool)
        about_zero[list(completion.centred)] = False
        self._known -= 0.5 * about_zero[:, None] * completion.means**2 / self._variances
        self._total = np.zeros((layout.num_features, layout.num_components))
        self._missing = np.zeros((layout.num_components, layout.d))

    def numbered(self, patterns: Mask) -> list[int]:
        """Patterns make no difference here."""
        return [0] * patterns.shape[1]

    def log_joint(
        self, features: Array, gaps: Mask, stretches: Sequence[Stretch], out: Array
    ) -> None:
        """Log joint densities (K, m) from T(z_0) (M, m)."""
        np.matmul(self._theta, features, out=out)
        for component in self._of.centred:
            distance = self._deviation(features, gaps, component) ** 2
            out[component] = self._of.log_weights[component]
            out[component] -= 0.5 * (1 / self._variances[component]) @ distance
        out += self._known @ ~gaps + self._of.log_scale @ gaps

    def add(
        self, features: Array, gaps: Mask, stretches: Sequence[Stretch], responsibilities: Array
    ) -> None:
        """Add T(z_0) @ R.T, and the weight of what is missing by column."""
        d = self._layout.d
        sums = features @ responsibilities.T
        for component in self._of.centred:
            deviation = self._deviation(features, gaps, component)
            share = responsibilities[component]
            squares = deviation**2 @ share
            sums[:d, component] = deviation @ share
            sums[d + 1 :, component] = squares if self._by_column else squares.sum()
        self._total += sums
        self._missing += responsibilities @ gaps.T

    @property
    def _by_column(self) -> bool:
        return self._layout.kind == "diagonal"

    def moments(self) -> Array:
        """The sums of all rows, completed, (M, K)."""
        d = self._layout.d
        means = self._of.means - self._of.origins
        total = np.array(self._total)
        total[:d] += (self._missing * means).T
        squares = (self._missing * (means**2 + self._variances)).T
        total[d + 1 :] += squares if self._by_column else squares.sum(axis=0)
        return total

    def _deviation(self, features: Array, gaps: Mask, component: int) -> Array:
        deviation = features[: self._layout.d] - self._of.means[component][:, None]
        deviation[gaps] = 0.0
        return deviation


def by_pattern(gaps: Mask) -> NDArray[np.intp]:
    """The order that puts columns of gaps (d, m) that are the same together."""
    packed = np.ascontiguousarray(np.packbits(gaps, axis=0).T)
    if packed.shape[1] > 8:
        return np.argsort(packed.view([("", packed.dtype)] * packed.shape[1]).ravel())
    wide = np.zeros((packed.shape[0], 8), dtype=np.uint8)
    wide[:, : packed.shape[1]] = packed
    return np.argsort(wide.view(np.uint64).ravel(), kind="stable")
