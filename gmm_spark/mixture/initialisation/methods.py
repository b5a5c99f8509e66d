"""Starting values: k-means, Ward's linkage, random rows, given labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.edges import can_vanish, smoothed
from gmm_spark.mixture.errors import DataError, SingularCovarianceError
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.kernel import BlockKernel, RunPass
from gmm_spark.mixture.m_step import m_step
from gmm_spark.mixture.natural import Evaluator
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.priors import Prior
from gmm_spark.mixture.spec import InitMode
from gmm_spark.mixture.standardisation import FAR, mode_width
from gmm_spark.mixture.statistics import Statistics
from gmm_spark.mixture.structures import Structure

_HIERARCHICAL_ROWS = 1500  # Ward's linkage keeps all pairwise distances

_GAP_ROUNDS = 3

# Shares of rows that starts leave to noise, in turn; how many neighbours tell which.
_NOISE_SHARES = 0.05, 0.25, 0.6
_NEIGHBOURS = 10
_NEIGHBOURHOOD_ROWS = 4096

# How far probabilities and rates lean on those of all rows, where no prior keeps them from zero:
# in the start from given labels, and in those that the search tries. By half, as at random rows,
# 27 of 32 starts of a latent class analysis reach the best fit known, by a tenth 9.
_LEAST_SMOOTHING, _SMOOTHING = 0.05, 0.5

Labels = NDArray[np.intp]


def labelled_start(
    run_labelled: RunPass,
    sample: Sample,
    k: int,
    structure: Structure,
    floor: Array,
    prior: Prior | None = None,
    smoothing: float = _LEAST_SMOOTHING,
) -> Parameters:
    """The M-step of rows that each belong wholly to one component, or to the noise.

    `run_labelled` evaluates parameters with the labels for responsibilities. What is missing is
    put in by the parameters there are, so that a few rounds make these the rows' own. Where no
    prior keeps probabilities and rates from zero, they lean on those of all rows by the share
    `smoothing`.
    """
    start = Parameters.unit(structure, k, sample.d, sample.families, sample.noise)
    for _ in range(_GAP_ROUNDS if sample.gaps else 1):
        statistics = run_labelled(sample.evaluator([start]))
        blank = Parameters.unit(structure, k, sample.d, sample.families, start.noise)
        everything = slice(0, statistics.layout.num_components)
        start = m_step(statistics, everything, blank, floor, prior=prior).parameters
    if can_vanish(start, prior):
        start = smoothed(start, statistics, smoothing)
    least = sample.noise
    if least is not None and start.noise is not None and start.noise.weight < least.weight:
        return start.with_noise(least)  # EM cannot give weight to what has none
    return start


def require_distinct_rows(sample: Array, k: int) -> None:
    """Raise DataError where the sample has fewer than k distinct rows."""
    for size in (min(1000, sample.shape[1]), sample.shape[1]):
        # Gaps are alike, which NaN are not.
        distinct = np.unique(np.nan_to_num(sample[:, :size], nan=np.inf), axis=1).shape[1]
        if distinct >= k:
            return
    raise DataError(
        f"k is {k}, but the {sample.shape[1]} rows looked at hold only {distinct} distinct rows; "
        f"use k of at most {distinct}"
    )


def starting_values(
    sample: Sample, k: int, structure: Structure, init_mode: InitMode, index: int, seed: int
) -> Parameters | None:
    """The start of that number in standardised coordinates, or None where it is singular."""
    rng = np.random.default_rng([seed, index])
    if sample.noise is not None:
        sample = sample.first(_NEIGHBOURHOOD_ROWS)
    z = sample.z
    if sample.gaps:
        z[np.isnan(z)] = 0.0  # the centre: labels need distances
    near = np.asarray((np.abs(z) < FAR).all(axis=0))
    # Every other pair of starts gives far rows a component of their own: shared out among the
    # others, a handful of them would blow up every covariance.
    aside = (index // 2) % 2 == 0 and k > 1 and near.sum() >= k and not near.all()
    usual: NDArray[np.bool_] = np.ones(z.shape[1], dtype=bool)
    rest = groups = k
    if sample.noise is not None:
        aside, usual = False, _usual(z, _NOISE_SHARES[index // 3 % len(_NOISE_SHARES)])
    elif aside:
        usual, rest, groups = near, k - 1, k - 1
    finder: Callable[[Array, int, int, np.random.Generator], Labels] = {
        "k-means": _kmeans_labels,
        "k-means++": _seed_labels,
        "hierarchical": _ward_labels,
        "random": _seed_labels,
    }[init_mode]
    try:
        if init_mode == "random":
            return _random_start(sample, k, structure, rng)
        points = _metric(z[:, usual], k, structure, index)
        more = [family.coordinates(values)[:, usual] for family, values in sample.of_families]
        points = np.concatenate([points, *more])
        labels = np.full(z.shape[1], rest, dtype=np.intp)
        labels[usual] = finder(points, groups, index, rng)
        if sample.allowed is not None:
            labels = _permitted(labels, sample.allowed, k)
        return _labelled_start(sample, labels, k, structure, aside=aside)
    except SingularCovarianceError:
        return None


def _usual(z: Array, share: float) -> NDArray[np.bool_]:
    """All rows but a share of those whose neighbours are farthest (Byers and Raftery 1998)."""
    if z.shape[0] == 0 or z.shape[1] <= _NEIGHBOURS:
        return np.ones(z.shape[1], dtype=bool)
    from scipy.spatial import cKDTree

    distances = cKDTree(z.T).query(z.T, [_NEIGHBOURS + 1])[0][:, 0]
    return np.asarray(distances <= np.quantile(distances, 1 - share))


def _permitted(labels: Labels, allowed: NDArray[np.int64], k: int) -> Labels:
    """Labels numbered so that they agree with most of the components rows are known to be of,
    and changed where they still do not. Noise, k, is not numbered."""
    known = np.flatnonzero(allowed != -1)
    may = (allowed[known] >> np.arange(k)[:, None]) & 1 == 1
    agreement = np.zeros((k, k))
    usual = labels[known] < k
    np.add.at(agreement, labels[known][usual], (may / may.sum(axis=0)).T[usual])
    from scipy.optimize import linear_sum_assignment

    numbers = np.append(linear_sum_assignment(-agreement)[1], k)
    labels = numbers[labels]
    wrong = labels[known] == k
    wrong |= ~may[np.minimum(labels[known], k - 1), np.arange(known.size)]
    labels[known[wrong]] = may[:, wrong].argmax(axis=0)
    return np.asarray(labels, dtype=np.intp)


def _metric(z: Array, k: int, structure: Structure, index: int) -> Array:
    """Coordinates in which distances are taken, in turn from start to start.

    First each column divided by its scale. Then by the width of its densest part, so that a
    column of separate groups weighs as much as their distance. Then, where components have an
    orientation, sphered: groups that differ in how columns go together, not in the columns
    themselves, are as far apart as any (what mclust starts from; Scrucca and Raftery 2015). A
    spherical component has its own metric: the common scale.
    """
    if structure.kind == "spherical" or index % 3 == 0 or z.shape[0] == 0:
        return z
    if index % 3 == 2 and structure.kind == "full":
        return _sphered(z)
    widths = np.array([mode_width(row, 1.0 / (k + 1)) for row in z])
    deviations = z.std(axis=1)
    # A point mass has no width; a tenth of the spread keeps such a column from ruling alone.
    widths = np.maximum(widths, 0.02 * np.minimum(deviations, 1.0))
    return z / np.where(widths > 0, widths, 1.0)[:, None]


def _sphered(z: Array) -> Array:
    """Principal components of the same variance; those of none are left out."""
    centred = z - z.mean(axis=1, keepdims=True)
    eigenvalues, vectors = np.linalg.eigh(centred @ centred.T / z.shape[1])
    there = eigenvalues > 1e-9 * eigenvalues[-1]
    if not there.any():
        return z
    return np.asarray((vectors[:, there].T @ centred) / np.sqrt(eigenvalues[there])[:, None])


def _labelled_start(
    sample: Sample, labels: Labels, k: int, structure: Structure, *, aside: bool = False
) -> Parameters:
    d = sample.d

    def run_labelled(evaluator: Evaluator) -> Statistics:
        kernel = BlockKernel(evaluator)
        kernel.add_labelled(sample.values, labels, sample.weights)
        return kernel.statistics()

    lowest = sample.floor if structure.shared else np.maximum(sample.floor, 1e-6)
    prior = sample.prior_of(k)
    start = labelled_start(run_labelled, sample, k, structure, lowest, prior, _SMOOTHING)
    if structure.shared:
        return start
    if d == 0:
        return start
    # A small group says little of its own covariance: lean on the pooled one, for the start.
    # Far rows are not pooled with the rest, and lean on their own variances.
    pool = slice(0, k - 1) if aside else slice(0, k)
    pooled = np.average(start.covariances[pool], axis=0, weights=start.weights[pool])
    support = np.repeat(pooled[None], k, axis=0)
    if aside:
        own = start.covariances[k - 1]
        support[k - 1] = np.diag(np.diag(own)) if structure.kind == "full" else own
    rows = start.weights * sample.num_rows
    share = ((d + 1) / (rows + d + 1)).reshape(-1, *[1] * pooled.ndim)
    covariances = (1 - share) * start.covariances + share * support
    return replace(start, covariances=structure.member(covariances, start.weights))


def start_from_groups(sample: Sample, labels: Labels, k: int, structure: Structure) -> Parameters:
    """The M-step of rows of a sample that each belong to one component, `labels` (n,)."""
    return _labelled_start(sample, labels, k, structure)


def one_component(sample: Sample, structure: Structure) -> Parameters:
    """All rows as one component."""
    return _labelled_start(sample, np.zeros(sample.num_rows, dtype=np.intp), 1, structure)


def _random_start(
    sample: Sample, k: int, structure: Structure, rng: np.random.Generator
) -> Parameters:
    """Means at k rows drawn at random, the covariance of all rows for every component; what the
    families say between all rows and that row."""
    whole = one_component(sample, structure)
    seen = sample.values if not sample.gaps else np.nan_to_num(sample.values, nan=np.inf)
    distinct = np.unique(seen, axis=1, return_index=True)[1]
    rows = rng.choice(distinct, k, replace=distinct.size < k)
    if sample.allowed is not None:
        for component in range(k):
            own = np.flatnonzero(sample.allowed == 1 << component)
            if own.size:
                rows[component] = rng.choice(own)
    means = sample.z[:, rows].T
    covariances = structure.repeated(structure.stacked(whole.covariances)[0], k)
    pairs = zip(sample.of_families, whole.family_parameters, strict=True)
    return replace(
        whole,
        weights=np.full(k, whole.weights.sum() / k),
        means=np.where(np.isnan(means), whole.means, means),
        covariances=covariances,
        family_parameters=tuple(
            family.at_rows(values[:, rows], np.repeat(of_all, k, axis=0))
            for (family, values), of_all in pairs
        ),
    )


def seeds(points: Array, k: int, rng: np.random.Generator) -> Array:
    """Greedy k-means++ seeding (Arthur and Vassilvitskii 2007), (d, k)."""
    n = points.shape[1]
    centres = [points[:, rng.integers(n)]]
    distance = ((points - centres[0][:, None]) ** 2).sum(axis=0)
    for _ in range(1, k):
        total = distance.sum()
        if total <= 0:
            break
        trials = rng.choice(n, size=2 + int(np.log(k)), p=distance / total)
        closest = [
            np.minimum(distance, ((points - points[:, [t]]) ** 2).sum(axis=0)) for t in trials
        ]
        chosen = int(np.argmin([c.sum() for c in closest]))
        distance = closest[chosen]
        centres.append(points[:, trials[chosen]])
    while len(centres) < k:
        centres.append(points[:, rng.integers(n)])
    return np.stack(centres, axis=1)


def nearest(points: Array, centres: Array) -> Labels:
    distances = -2 * (centres.T @ points) + (centres**2).sum(axis=0)[:, None]
    return np.asarray(distances.argmin(axis=0), dtype=np.intp)


def _seed_labels(points: Array, k: int, index: int, rng: np.random.Generator) -> Labels:
    return nearest(points, seeds(points, k, rng))


def _kmeans_labels(points: Array, k: int, index: int, rng: np.random.Generator) -> Labels:
    """Lloyd's algorithm from k-means++ seeds."""
    centres = seeds(points, k, rng)
    labels = nearest(points, centres)
    for _ in range(30):
        members = np.zeros((k, points.shape[1]))
        members[labels, np.arange(points.shape[1])] = 1.0
        counts = members.sum(axis=1)
        filled = counts > 0
        centres[:, filled] = (points @ members[filled].T) / counts[filled]
        before, labels = labels, nearest(points, centres)
        if (labels == before).all():
            break
    return labels


def _ward_labels(points: Array, k: int, index: int, rng: np.random.Generator) -> Labels:
    """Ward's linkage on part of the rows; the others join the nearest group's mean."""
    from scipy.cluster.hierarchy import fcluster, linkage

    n = points.shape[1]
    size = min(n, _HIERARCHICAL_ROWS)
    first = ((index // 4) * size) % max(1, n - size + 1)
    part = points[:, first : first + size]
    groups = fcluster(linkage(part.T, method="ward"), k, criterion="maxclust") - 1
    centres = np.stack(
        [
            part[:, groups == g].mean(axis=1) if (groups == g).any() else part[:, g % size]
            for g in range(k)
        ],
        axis=1,
    )
    if size == n:
        return np.asarray(groups, dtype=np.intp)
    return nearest(points, centres)
