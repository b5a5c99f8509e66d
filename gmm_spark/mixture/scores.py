"""How the log density of a row changes with the parameters of a mixture: its scores, whose mean
outer product is the Fisher information, and with it how uncertain fitted parameters are.

The score of a mixture is the mean, by responsibilities, of those of its components, and these are
written in coordinates of their own. With Sigma = L L' a normal component has

    mean mu + L delta            score z = L^-1 (x - mu)
    covariance L exp(E) L'       score (z z' - I) / 2

so that nothing depends on units or on how well a covariance is conditioned. The parameters of
other columns are in the flat form of their family, weights in logarithms. What is not known of a
row is expected given the rest of it (Louis 1982, "Finding the observed information matrix when
using the EM algorithm").

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.families.family import Family, rows_of
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.whitening import inverse_factors

# Information matrices of more parameters than this, 32 MB, are not made.
MOST_PARAMETERS = 2000
_STEP = 1e-5


class ScoreFunction:
    """The scores of rows under a mixture.

    Coordinates are of the weights first, K of them with the noise's, then component by component:
    d of the mean, those of the covariance, those of the families. Where these would be more than
    `most`, covariances change along the axes alone; then not at all; then the means neither.

    Attributes
    ----------
    size : how many coordinates there are, P
    components : where those of every component stand, beside the weight
    """

    def __init__(self, parameters: Parameters, most: int = MOST_PARAMETERS) -> None:
        self._parameters = parameters
        k, d = parameters.k, parameters.d
        self._weights = parameters.all_weights
        covariances = parameters.dense_covariances()
        deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        self._covariances, self._whitening = covariances, inverse_factors(covariances, deviations)
        others = sum(family.num_parameters for family in parameters.families)
        self._has_means, self._pairs = True, self._all_pairs()
        if self._size(others) > most:
            self._pairs = np.repeat(np.arange(d)[None], 2, axis=0)
        if self._size(others) > most:
            self._pairs = np.zeros((2, 0), dtype=np.intp)
        if self._size(others) > most:
            self._has_means = False
        self._jacobians = [
            [_jacobian(family, values[j : j + 1]) for j in range(k)]
            for family, values in zip(
                parameters.families, parameters.family_parameters, strict=True
            )
        ]
        self.size = self._size(others)
        width = (self.size - self._weights.size) // k
        first = self._weights.size
        self.components = [slice(first + j * width, first + (j + 1) * width) for j in range(k)]
        # Where the coordinates of all the covariances stand, as (k, of each).
        second = np.arange(self._num_second) + d * self._has_means
        starts = np.array([at.start for at in self.components])
        self._second = starts[:, None] + second
        self._tangent = self._tangent_of_structure() if second.size else None

    def _all_pairs(self) -> NDArray[np.intp]:
        """The entries of E that are free."""
        d = self._parameters.d
        if self._parameters.structure.kind == "full":
            return np.array(np.tril_indices(d))
        return np.repeat(np.arange(d)[None], 2, axis=0)

    @property
    def _num_second(self) -> int:
        found = self._pairs.shape[1]
        return min(found, 1) if self._parameters.structure.kind == "spherical" else found

    def _size(self, others: int) -> int:
        means = self._parameters.d * self._has_means
        return self._weights.size + self._parameters.k * (means + self._num_second + others)

    def __call__(self, block: Array, responsibilities: Array) -> Array:
        """Scores (m, P) of the rows of a block (columns, m), in the user's units, NaN where a value
        is not known; `responsibilities` (K, m), the noise's last."""
        found = np.empty((block.shape[1], self.size))
        found[:, : self._weights.size] = responsibilities.T - self._weights
        d = self._parameters.d
        families = rows_of(self._parameters.families, d)
        features = []
        for family, rows in families:
            of_family = np.empty((family.num_features, block.shape[1]))
            family.fill(block[rows], of_family)
            features.append(of_family)
        for j, at in enumerate(self.components):
            parts = [self._normal(j, block[:d])] if d else []
            parts += [
                own[j].T @ of_family
                for own, of_family in zip(self._jacobians, features, strict=True)
            ]
            found[:, at] = (np.concatenate(parts) * responsibilities[j]).T
        return found

    def of_weights(self, component: int) -> Array:
        """The score of the weights where a row is known to be of a component, (K,)."""
        found = -self._weights
        found[component] += 1.0
        return found

    def _normal(self, j: int, block: Array) -> Array:
        """Scores of the mean and the covariance of component j, known to be the row's."""
        whitening, mean = self._whitening[j], self._parameters.means[j]
        missing = np.isnan(block)
        if not missing.any():
            return self._of_whitened(whitening @ (block - mean[:, None]), None)
        found = np.empty((self._parameters.d * self._has_means + self._num_second, block.shape[1]))
        patterns, which = np.unique(missing, axis=1, return_inverse=True)
        for number, gone in enumerate(patterns.T):
            rows = np.flatnonzero(which.ravel() == number)
            known = ~gone
            off = np.zeros((block.shape[0], rows.size))
            off[known] = block[np.ix_(known, rows)] - mean[known, None]
            covariance = self._covariances[j]
            left = covariance[np.ix_(gone, gone)]
            if known.any() and gone.any():
                cross = covariance[np.ix_(gone, known)]
                onto = np.linalg.solve(covariance[np.ix_(known, known)], cross.T).T
                off[gone] = onto @ off[known]
                left = left - onto @ cross.T
            spread = whitening[:, gone] @ left @ whitening[:, gone].T
            found[:, rows] = self._of_whitened(whitening @ off, spread)
        return found

    def _of_whitened(self, z: Array, spread: Array | None) -> Array:
        """Of z (d, m), and its covariance where it is only expected."""
        one, other = self._pairs
        second = z[one] * z[other] - (one == other)[:, None]
        if spread is not None:
            second += spread[one, other][:, None]
        second[one == other] *= 0.5
        if self._parameters.structure.kind == "spherical" and one.size:
            second = second.sum(axis=0, keepdims=True)
        return np.concatenate([z, second]) if self._has_means else second

    def together(self, raw: Array) -> Array:
        """What is along the coordinates, (..., P), along the parameters that they are of: a
        covariance that components share is one, and others change within their structure."""
        structure = self._parameters.structure
        if structure.shared and self._second.size:
            found, keep = np.array(raw), np.ones(self.size, dtype=bool)
            first = self._second[0]
            for other in self._second[1:]:
                found[..., first] += raw[..., other]
                keep[other] = False
            return np.asarray(found[..., keep])
        if self._tangent is not None:
            found, at = np.array(raw), self._second.ravel()
            found[..., at] = raw[..., at] @ self._tangent
            return found
        return raw

    def moved(self, step: Array) -> Parameters:
        """The mixture changed by so much along each of its parameters, as `together` has them."""
        parameters, structure = self._parameters, self._parameters.structure
        whole = self._apart(step)
        change = whole[: self._weights.size]
        weights = self._weights * np.exp(change - change.max())
        weights /= weights.sum()
        d, one, other = parameters.d, *self._pairs
        means, covariances = np.array(parameters.means), np.array(self._covariances)
        factors = np.linalg.inv(self._whitening)
        others = [np.array(values) for values in parameters.family_parameters]
        for j, at in enumerate(self.components):
            own = whole[at]
            if self._has_means:
                means[j] += factors[j] @ own[:d]
                own = own[d:]
            if self._num_second:
                tangent = np.zeros((d, d))
                tangent[one, other] = tangent[other, one] = own[: self._num_second]
                values, vectors = np.linalg.eigh(tangent)
                root = factors[j] @ vectors
                covariances[j] = (root * np.exp(values)) @ root.T
                own = own[self._num_second :]
            for family, values in zip(parameters.families, others, strict=True):
                flat = family.flat(values[j : j + 1])
                values[j] = family.unflat(flat + own[: flat.size])[0]
                own = own[flat.size :]
        kept = structure.storage.compact(covariances)
        kept = structure.member(kept[0] if structure.shared else kept, parameters.weights)
        noise = parameters.noise
        return replace(
            parameters,
            weights=weights[: parameters.k],
            means=means,
            covariances=kept,
            family_parameters=tuple(others),
            noise=noise and replace(noise, weight=float(weights[-1])),
        )

    def _apart(self, step: Array) -> Array:
        """What `together` put together, along the coordinates."""
        found = np.zeros(self.size)
        if self._parameters.structure.shared and self._second.size:
            keep = np.ones(self.size, dtype=bool)
            keep[self._second[1:].ravel()] = False
            found[keep] = step
            found[self._second] = found[self._second[0]]
            return found
        found[:] = step
        if self._tangent is not None:
            at = self._second.ravel()
            found[at] = self._tangent @ step[at]
        return found

    def _tangent_of_structure(self) -> Array | None:
        """How covariances change, in all the coordinates, where each of them is changed and the
        nearest of the structure taken; None where nothing ties them, or they share one."""
        parameters, structure = self._parameters, self._parameters.structure
        free = structure.num_covariance_parameters(parameters.k, parameters.d)
        size = self._second.size
        if structure.shared or free >= size or self._pairs.shape[1] < self._all_pairs().shape[1]:
            return None
        factors = np.linalg.inv(self._whitening)
        tangent = np.empty((size, size))
        for place in range(size):
            j, pair = divmod(place, self._num_second)
            one, other = self._pairs[:, pair]
            ends = []
            for step in (_STEP, -_STEP):
                change = np.eye(parameters.d)
                change[one, other] = change[other, one] = change[one, other] + step
                moved = np.array(self._covariances)
                moved[j] = factors[j] @ change @ factors[j].T
                kept = structure.member(structure.storage.compact(moved), parameters.weights)
                ends.append(structure.storage.dense(kept, parameters.d))
            moves = self._whitening @ (ends[0] - ends[1]) @ self._whitening.swapaxes(1, 2)
            tangent[:, place] = moves[:, self._pairs[0], self._pairs[1]].ravel() / (2 * _STEP)
        return tangent


def _jacobian(family: Family, parameters: Array) -> Array:
    """How the natural parameters of one component change with its flat form, (num_features,
    num_parameters)."""
    flat = family.flat(parameters)[0]
    steps = _STEP * np.eye(flat.size)
    above, below = family.unflat(flat + steps), family.unflat(flat - steps)
    return np.asarray((family.natural(above) - family.natural(below)).T / (2 * _STEP))
