"""Two directions along which segments lie apart, and a mixture seen along them.

Fisher's linear discriminants (Rao 1948) by the moments of a mixture instead of labelled rows: with
W the covariance of rows within segments and B that of the segments' means, directions a with
a' W a = 1 for which a' B a is largest, so that a unit on the map is a standard deviation within
segments. c segments have c - 1 such directions. Of these the two are taken that set most pairs of
segments apart, where 4 standard deviations are as good as any more: else a column that has one
value in a segment, and so no variance, would be all that is seen. Where there is one direction, or
none, the map is completed by those, uncorrelated with it, along which rows vary most.

Categories and counts take part by the coordinates whose means are their parameters: for every level
whether a row has it, and the count. Of what is not known of a row, the mixture's mean given what is
known stands on the map.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.families import rows_of
from gmm_spark.mixture.imputation import Imputer
from gmm_spark.mixture.merging import Partition
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters, Standardisation

# A variance of less than this, by the square of the mean, is rounding.
_NO_VARIANCE = 1e-24
# Standard deviations within segments that set two of them apart.
_APART = 4.0
# Of the variance within segments, and of the variance between them in its units.
_NO_WITHIN, _NO_BETWEEN = 1e-7, 1e-9


@dataclass(frozen=True)
class Axes:
    """Two axes of a map, of D coordinates: d numbers, then those of every family.

    centre : (D,) what lies at 0: the mean of all rows
    directions : (D, 2) by which a coordinate less its centre is multiplied
    correlations : (D, 2) of every coordinate with both axes, over all rows
    separation : (2,) variance of the segments' means along an axis; within them it is 1
    share : of what tells pairs of segments apart, how much the axes show, 0 to 1; 1 where nothing
        does
    """

    centre: Array
    directions: Array
    correlations: Array
    separation: Array
    share: float


@dataclass(frozen=True)
class Ellipses:
    """Components of a mixture along two axes: normal distributions have ellipses there.

    weights : (k,)
    means : (k, 2)
    factors : (k, 2, 2) lower triangular, L L' is the covariance
    """

    weights: Array
    means: Array
    factors: Array


def discriminants(parameters: Parameters, clusters: Partition) -> Axes | None:
    """The two axes that set most clusters of components apart, by the moments of the
    mixture; noise takes no part. None where rows vary along fewer than two directions, or the
    columns of one are lost in the rounding of another."""
    means = _means(parameters)
    weights = parameters.weights / parameters.weights.sum()
    centre = weights @ means
    apart = means - centre
    inside, between = np.array(means), np.zeros((means.shape[1],) * 2)
    shares, middles = list[float](), list[Array]()
    for cluster in clusters:
        own = list(cluster)
        share = weights[own].sum()
        if share > 0:
            middle = weights[own] @ apart[own] / share
            inside[own] = apart[own] - middle
            between += share * np.outer(middle, middle)
            shares.append(float(share))
            middles.append(middle)
    within = _mean_covariance(parameters, weights)
    within += (weights[:, None] * inside).T @ inside
    variances = np.diag(within) + np.diag(between)
    varies = variances > _NO_VARIANCE * np.maximum(centre**2, np.finfo(float).tiny)
    varies &= variances > 0
    if varies.sum() < 2:
        return None
    scale = np.sqrt(variances[varies])
    units = np.outer(scale, scale)
    found = _axes(
        within[np.ix_(varies, varies)] / units,
        between[np.ix_(varies, varies)] / units,
        np.array(shares),
        np.array(middles)[:, varies] / scale,
    )
    if found is None:
        return None
    along, separation, share = found
    whole = (within + between)[np.ix_(varies, varies)] / units
    spread = np.einsum("ir,ij,jr->r", along, whole, along)
    if not (np.isfinite(along).all() and (spread > 0).all()):
        return None
    correlations = np.zeros((centre.size, 2))
    correlations[varies] = np.clip(whole @ along / np.sqrt(spread), -1, 1)
    directions = np.zeros((centre.size, 2))
    directions[varies] = along / scale[:, None]
    # Of two opposite directions the one in which most of what an axis is made of grows.
    signs = np.where((correlations * np.abs(correlations)).sum(axis=0) < 0, -1.0, 1.0)
    return Axes(centre, directions * signs, correlations * signs, separation, share)


def ellipses(parameters: Parameters, axes: Axes) -> Ellipses:
    """The components along the axes."""
    d, directions = parameters.d, axes.directions
    means = (_means(parameters) - axes.centre) @ directions
    own = directions[:d]
    found = np.einsum("ir,kij,js->krs", own, parameters.dense_covariances(), own, optimize=True)
    first = d
    for family, values in zip(parameters.families, parameters.family_parameters, strict=True):
        last = first + family.num_parameters
        found = found + family.covariances_along(values, directions[first:last])
        first = last
    return Ellipses(parameters.weights, means, _factors(found))


def positions(block: Array, parameters: Parameters, by: Standardisation, axes: Axes) -> Array:
    """Where rows lie on the map, (2, m).

    Parameters
    ----------
    block : rows as a mixture reads them, in the user's units, then those of the families; NaN is
        a gap
    by : coordinates to evaluate the mixture in
    """
    d = parameters.d
    coordinates = np.empty((axes.centre.size, block.shape[1]))
    has_gaps = bool(np.isnan(block).any())
    imputer = Imputer(parameters, by) if has_gaps else None
    coordinates[:d] = block[:d] if imputer is None else imputer.expected(block)[0][:d]
    chances = None if imputer is None else imputer.responsibilities(block)
    first = d
    pairs = zip(rows_of(parameters.families, d), parameters.family_parameters, strict=True)
    for (family, rows), values in pairs:
        last = first + family.num_parameters
        own = family.mean_coordinates(block[rows])
        if chances is not None:
            own = np.where(np.isnan(own), values.T @ chances, own)
        coordinates[first:last] = own
        first = last
    return np.asarray(axes.directions.T @ (coordinates - axes.centre[:, None]))


def _means(parameters: Parameters) -> Array:
    """Of all coordinates, (k, D)."""
    return np.concatenate([parameters.means, *parameters.family_parameters], axis=1)


def _mean_covariance(parameters: Parameters, weights: Array) -> Array:
    """The covariance within components, averaged over them, (D, D)."""
    d = parameters.d
    sizes = [family.num_parameters for family in parameters.families]
    found = np.zeros((d + sum(sizes),) * 2)
    found[:d, :d] = np.tensordot(weights, parameters.dense_covariances(), axes=1)
    first = d
    for family, values in zip(parameters.families, parameters.family_parameters, strict=True):
        size = family.num_parameters
        for component, weight in enumerate(weights):
            along = family.covariances_along(values[component : component + 1], np.eye(size))
            found[first : first + size, first : first + size] += weight * along[0]
        first += size
    return found


def _axes(
    within: Array, between: Array, shares: Array, middles: Array
) -> tuple[Array, Array, float] | None:
    """Directions (D, 2), the variance between segments along each, and the share that they show of
    what tells segments apart; None where there are no two. `middles` (c, D) are the means of
    segments. In standard units."""
    variances, vectors = np.linalg.eigh(within)
    there: NDArray[np.bool_] = variances > _NO_WITHIN * variances[-1]
    if there.sum() < 2:
        return None
    whitened = vectors[:, there] / np.sqrt(variances[there])
    found, rotation = np.linalg.eigh(whitened.T @ between @ whitened)
    found, rotation = found[::-1], rotation[:, ::-1]
    possible = whitened @ rotation[:, : min(int((found > _NO_BETWEEN).sum()), len(shares) - 1)]
    taken, share = _two_of(middles @ possible, shares)
    along = possible[:, taken]
    while along.shape[1] < 2:
        widest = _widest(within, along)
        if widest is None:
            return None
        along = np.column_stack([along, widest])
    return along, np.einsum("ir,ij,jr->r", along, between, along), share


def _two_of(middles: Array, shares: Array) -> tuple[list[int], float]:
    """Of directions, those of most variance first, the two along which most segments lie apart, by
    their shares, and how much of what all directions tell; `middles` (c, directions)."""
    count = middles.shape[1]
    if count <= 2:
        return list(range(count)), 1.0
    one, other = np.triu_indices(len(shares), 1)
    distances = (middles[one] - middles[other]) ** 2

    def told(directions: Sequence[int]) -> float:
        apart = np.minimum(distances[:, list(directions)].sum(axis=1), _APART**2)
        return float((shares[one] * shares[other]) @ apart)

    best = max(combinations(range(count), 2), key=told)
    return list(best), min(1.0, told(best) / told(range(count)))


def _widest(within: Array, along: Array) -> Array | None:
    """The direction of the largest variance among those uncorrelated with the ones there are; None
    where rounding leaves no variance."""
    free = np.linalg.qr(within @ along, mode="complete")[0][:, along.shape[1] :]
    variances, vectors = np.linalg.eigh(free.T @ within @ free)
    if variances[-1] <= 0:
        return None
    return np.asarray(free @ vectors[:, -1] / np.sqrt(variances[-1]))


def _factors(covariances: Array) -> Array:
    """Lower triangular factors of (k, 2, 2), which may be singular."""
    found = np.zeros(covariances.shape)
    first = np.sqrt(np.maximum(covariances[:, 0, 0], 0.0))
    across = np.where(first > 0, covariances[:, 1, 0] / np.where(first > 0, first, 1.0), 0.0)
    found[:, 0, 0], found[:, 1, 0] = first, across
    found[:, 1, 1] = np.sqrt(np.maximum(covariances[:, 1, 1] - across**2, 0.0))
    return found
