"""Starting values, found on a sample in memory: many starts at once, the best goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from gmm_spark.errors import InputDataError
from gmm_spark.mixture.covariance import m_step
from gmm_spark.mixture.fitting import Candidate, advance, array_pass
from gmm_spark.mixture.kernel import (
    BlockKernel,
    SingularCovarianceError,
    natural_parameters,
)
from gmm_spark.mixture.parameters import Array, Parameters, Standardisation, Structure
from gmm_spark.mixture.scaling import FAR, mode_width
from gmm_spark.mixture.sufficient import Statistics

InitMode = Literal["k-means", "k-means++", "hierarchical", "random"]
INIT_MODES: tuple[InitMode, ...] = get_args(InitMode)

_SEARCH_ROWS = 4096  # rows of the first round
_HIERARCHICAL_ROWS = 1500  # Ward's linkage keeps all pairwise distances
_KMEANS_ROWS = 20_000
_FIRST_STEPS = 10
_LAST_STEPS = 100

Labels = NDArray[np.intp]


def from_labels(statistics: Statistics, structure: Structure, k: int, floor: Array) -> Parameters:
    """The M-step of rows that each belong wholly to one component."""
    blank = Parameters.unit(structure, k, statistics.layout.d)
    return m_step(statistics, slice(0, k), blank, floor).parameters


def search(
    sample: Array,
    weights: Array | None,
    k: int,
    structure: Structure,
    standardisation: Standardisation,
    floor: Array,
    *,
    init_mode: InitMode = "k-means",
    num_init: int = 16,
    seed: int = 0,
    tol: float = 1e-6,
) -> Parameters:
    """The best of `num_init` starts, advanced by EM on the sample, in standardised coordinates.

    All starts advance stacked in one kernel; after every round the better half goes on, on
    twice as many rows. A start in which a component holds fewer rows than it needs for its
    covariance (d + 1 where that is full, else 2) gives way to one where none does.

    Parameters
    ----------
    sample : (d, n), in the user's units, in random order
    weights : (n,) or None
    floor : (d,), standardised
    seed : the same sample and seed give the same start

    Raises InputDataError where the sample has fewer distinct rows than k, and
    SingularCovarianceError where every start is singular.
    """
    require_distinct_rows(sample, k)
    n, d = sample.shape[1], sample.shape[0]
    rows = min(n, max(_SEARCH_ROWS, 10 * k * d))
    candidates = []
    for index in range(num_init):
        rng = np.random.default_rng([seed, index])
        start = _start(
            sample[:, : min(n, max(rows, _KMEANS_ROWS))],
            weights,
            k,
            structure,
            standardisation,
            floor,
            init_mode,
            index,
            rng,
        )
        if start is not None:
            candidates.append(Candidate(start))
    steps = _FIRST_STEPS
    while len(candidates) > 1:
        candidates = _advance(
            sample[:, :rows], weights, candidates, standardisation, floor, steps, tol
        )
        keep = max(1, len(candidates) // 2)
        candidates = _ranked(candidates, min(rows, n), structure)[:keep]
        rows, steps = min(n, 2 * rows), min(2 * steps, _LAST_STEPS)
    if candidates:
        candidates = _advance(sample, weights, candidates, standardisation, floor, _LAST_STEPS, tol)
    if not candidates:
        raise SingularCovarianceError(0)
    return candidates[0].parameters


def require_distinct_rows(sample: Array, k: int) -> None:
    """Raise InputDataError where the sample has fewer than k distinct rows."""
    for size in (min(1000, sample.shape[1]), sample.shape[1]):
        distinct = np.unique(sample[:, :size], axis=1).shape[1]
        if distinct >= k:
            return
    raise InputDataError(
        f"k is {k}, but the {sample.shape[1]} rows looked at hold only {distinct} distinct rows; "
        f"use k of at most {distinct}"
    )


def _advance(
    sample: Array,
    weights: Array | None,
    candidates: list[Candidate],
    standardisation: Standardisation,
    floor: Array,
    steps: int,
    tol: float,
) -> list[Candidate]:
    run_pass = array_pass(sample, None if weights is None else weights[: sample.shape[1]])
    # Scores of earlier rounds are of fewer rows: not to be compared with.
    fresh = [Candidate(c.parameters) for c in candidates]
    return advance(run_pass, fresh, standardisation, floor=floor, steps=steps, tol=tol)


def _ranked(candidates: list[Candidate], rows: int, structure: Structure) -> list[Candidate]:
    def key(candidate: Candidate) -> tuple[bool, float]:
        needed = candidate.parameters.d + 1 if structure.shape == "full" else 2
        if structure.shared:
            needed = 1
        sound = bool((candidate.parameters.weights * rows >= needed).all())
        return sound, candidate.score

    return sorted(candidates, key=key, reverse=True)


def _start(
    sample: Array,
    weights: Array | None,
    k: int,
    structure: Structure,
    standardisation: Standardisation,
    floor: Array,
    init_mode: InitMode,
    index: int,
    rng: np.random.Generator,
) -> Parameters | None:
    """One start, or None where it is singular."""
    z = (sample - standardisation.centre[:, None]) / standardisation.scale[:, None]
    near = (np.abs(z) < FAR).all(axis=0)
    # Every other pair of starts gives far rows a component of their own: shared out among the
    # others, a handful of them would blow up every covariance.
    aside = (index // 2) % 2 == 0 and k > 1 and near.sum() >= k and not near.all()
    finder: Callable[[Array, int, int, np.random.Generator], Labels] = {
        "k-means": _kmeans_labels,
        "k-means++": _seed_labels,
        "hierarchical": _ward_labels,
        "random": _seed_labels,
    }[init_mode]
    try:
        if init_mode == "random":
            return _random_start(sample, weights, k, structure, standardisation, floor, rng)
        if aside:
            labels = np.full(z.shape[1], k - 1, dtype=np.intp)
            labels[near] = finder(_metric(z[:, near], k, structure, index), k - 1, index, rng)
        else:
            labels = finder(_metric(z, k, structure, index), k, index, rng)
        return _labelled_start(
            sample, weights, labels, k, structure, standardisation, floor, aside=aside
        )
    except SingularCovarianceError:
        return None


def _metric(z: Array, k: int, structure: Structure, index: int) -> Array:
    """Coordinates in which distances are taken.

    Even starts divide each column by its scale. Odd ones divide it by the width of its densest
    part, so that a column of separate groups weighs as much as their distance. A spherical
    component has its own metric: the common scale.
    """
    if structure.shape == "spherical" or index % 2 == 0:
        return z
    widths = np.array([mode_width(row, 1.0 / (k + 1)) for row in z])
    deviations = z.std(axis=1)
    # A point mass has no width; a tenth of the spread keeps such a column from ruling alone.
    widths = np.maximum(widths, 0.02 * np.minimum(deviations, 1.0))
    return z / np.where(widths > 0, widths, 1.0)[:, None]


def _labelled_start(
    sample: Array,
    weights: Array | None,
    labels: Labels,
    k: int,
    structure: Structure,
    standardisation: Standardisation,
    floor: Array,
    *,
    aside: bool = False,
) -> Parameters:
    d = sample.shape[0]
    kernel = BlockKernel(natural_parameters([Parameters.unit(structure, k, d)], standardisation))
    row_weights = None if weights is None else weights[: sample.shape[1]]
    kernel.add_labelled(sample, labels, row_weights)
    statistics = kernel.statistics()
    if structure.shared:
        return from_labels(statistics, structure, k, floor)
    start = from_labels(statistics, structure, k, np.maximum(floor, 1e-6))
    # A small group says little of its own covariance: lean on the pooled one, for the start.
    # Far rows are not pooled with the rest, and lean on their own variances.
    pool = slice(0, k - 1) if aside else slice(0, k)
    pooled = np.average(start.covariances[pool], axis=0, weights=statistics.counts[pool])
    support = np.repeat(pooled[None], k, axis=0)
    if aside:
        own = start.covariances[k - 1]
        support[k - 1] = np.diag(np.diag(own)) if structure.shape == "full" else own
    rows = statistics.counts / statistics.weight * statistics.num_rows
    share = ((d + 1) / (rows + d + 1)).reshape(-1, *[1] * pooled.ndim)
    return replace(start, covariances=(1 - share) * start.covariances + share * support)


def _random_start(
    sample: Array,
    weights: Array | None,
    k: int,
    structure: Structure,
    standardisation: Standardisation,
    floor: Array,
    rng: np.random.Generator,
) -> Parameters:
    """Means at k rows drawn at random, the covariance of all rows for every component."""
    everything = np.zeros(sample.shape[1], dtype=np.intp)
    whole = _labelled_start(sample, weights, everything, 1, structure, standardisation, floor)
    distinct = np.unique(sample, axis=1)
    chosen = distinct[:, rng.choice(distinct.shape[1], k, replace=False)]
    means = (chosen.T - standardisation.centre) / standardisation.scale
    covariances = whole.covariances
    if not structure.shared:
        covariances = np.repeat(covariances, k, axis=0)
    return Parameters(structure, np.full(k, 1.0 / k), means, covariances)


def _seeds(points: Array, k: int, rng: np.random.Generator) -> Array:
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


def _nearest(points: Array, centres: Array) -> Labels:
    distances = -2 * (centres.T @ points) + (centres**2).sum(axis=0)[:, None]
    return np.asarray(distances.argmin(axis=0), dtype=np.intp)


def _seed_labels(points: Array, k: int, index: int, rng: np.random.Generator) -> Labels:
    return _nearest(points, _seeds(points, k, rng))


def _kmeans_labels(points: Array, k: int, index: int, rng: np.random.Generator) -> Labels:
    """Lloyd's algorithm from k-means++ seeds."""
    centres = _seeds(points, k, rng)
    labels = _nearest(points, centres)
    for _ in range(30):
        members = np.zeros((k, points.shape[1]))
        members[labels, np.arange(points.shape[1])] = 1.0
        counts = members.sum(axis=1)
        filled = counts > 0
        centres[:, filled] = (points @ members[filled].T) / counts[filled]
        before, labels = labels, _nearest(points, centres)
        if (labels == before).all():
            break
    return labels


def _ward_labels(points: Array, k: int, index: int, rng: np.random.Generator) -> Labels:
    """Ward's linkage on part of the rows; the others join the nearest group's mean."""
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
    return _nearest(points, centres)
