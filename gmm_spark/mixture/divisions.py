"""Divisions of rows into segments: how much two are alike, and what one says of an outcome.

A division is a whole number a row, (n,); rows have weight 1, or `weights` (n,).

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.initialisation.candidates import Sample, log_joint_densities
from gmm_spark.mixture.merging import Partition, cluster_probabilities
from gmm_spark.mixture.numerics import Array, softmax
from gmm_spark.mixture.parameters import Parameters

Division = NDArray[np.intp]

# An outcome of more distinct values than this is cut into so many parts of equally many rows.
_OUTCOME_PARTS = 10
# Segments of a smaller share of the rows say nothing of how far outcomes are apart.
_LEAST_SHARE = 0.01


def probabilities(parameters: Parameters, clusters: Partition, sample: Sample) -> Array:
    """Of every cluster, the noise's last where there is one, and row of the sample, (c, n);
    `parameters` are standardised."""
    return evaluated(parameters, clusters, sample)[0]


def evaluated(parameters: Parameters, clusters: Partition, sample: Sample) -> tuple[Array, Array]:
    """As `probabilities`, and the log density of every row in the user's units, (n,)."""
    log_joint = log_joint_densities(parameters, sample)
    largest = log_joint.max(axis=0)
    log_joint -= largest
    density = largest + np.log(np.exp(log_joint).sum(axis=0)) - sample.standardisation.log_volume
    softmax(log_joint)
    return cluster_probabilities(log_joint, clusters), density


def mean_entropy(probability: Array, weights: Array | None = None) -> float:
    """How uncertain the assignment of rows with probabilities (c, n) is: the mean over rows of
    their entropy, in nats."""
    entropy = -(probability * np.log(np.maximum(probability, 1e-300))).sum(axis=0)
    return float(np.average(entropy, weights=weights))


def cross_table(one: Division, other: Division, weights: Array | None = None) -> Array:
    """Rows, by weight, in each pair of segments of two divisions."""
    rows, columns = int(one.max(initial=-1)) + 1, int(other.max(initial=-1)) + 1
    found = np.bincount(one * columns + other, weights=weights, minlength=rows * columns)
    return found.reshape(rows, columns).astype(float)


def adjusted_rand_index(one: Division, other: Division, weights: Array | None = None) -> float:
    """How much two divisions are alike: 1 where they are the same, about 0 where they agree by
    chance (Hubert and Arabie 1985, equation 5)."""
    return adjusted_rand_of_table(cross_table(one, other, weights))


def adjusted_rand_of_table(table: Array) -> float:
    """The adjusted Rand index of two divisions, by the rows in each pair of their segments."""

    def pairs(counts: Array) -> float:
        return float((counts * (counts - 1)).sum()) / 2

    both, ones, others = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    total = pairs(table.sum(keepdims=True))
    expected = ones * others / total if total > 0 else 0.0
    largest = (ones + others) / 2
    return 1.0 if largest == expected else (both - expected) / (largest - expected)


def changed_share(one: Division, other: Division, weights: Array | None = None) -> float:
    """Share of the rows that are in another segment by one division than by the other, their
    segments paired so that it is least."""
    table = cross_table(one, other, weights)
    size = max(table.shape)
    square = np.zeros((size, size))
    square[: table.shape[0], : table.shape[1]] = table
    pairs = best_pairs(square)
    return max(0.0, 1.0 - float(square[np.arange(size), pairs].sum() / square.sum()))


def best_pairs(gain: Array) -> NDArray[np.intp]:
    """For every row of a square table the column of its own by which the sum is largest: the
    assignment problem, by shortest augmenting paths (Jonker and Volgenant 1987)."""
    size = len(gain)
    cost = np.zeros((size + 1, size + 1))
    cost[1:, 1:] = -gain
    rows, columns = np.zeros(size + 1), np.zeros(size + 1)  # dual prices
    owner, way = np.zeros((2, size + 1), dtype=np.intp)  # of columns; 0 is nobody
    for row in range(1, size + 1):
        owner[0], column = row, 0
        least = np.full(size + 1, np.inf)
        seen = np.zeros(size + 1, dtype=bool)
        while True:
            seen[column] = True
            mine = owner[column]
            reduced = cost[mine] - rows[mine] - columns
            better = ~seen & (reduced < least)
            better[0] = False
            least[better], way[better] = reduced[better], column
            open_ = np.where(seen, np.inf, least)
            open_[0] = np.inf
            following = int(open_.argmin())
            step = open_[following]
            rows[owner[seen]] += step
            columns[seen] -= step
            least[~seen] -= step
            column = following
            if owner[column] == 0:
                break
        while column:
            owner[column] = owner[way[column]]
            column = int(way[column])
    pairs = np.empty(size, dtype=np.intp)
    pairs[owner[1:] - 1] = np.arange(size)
    return pairs


def mutual_information(segments: Division, outcome: Array, weights: Array | None = None) -> float:
    """What the segment of a row says of its outcome, in bits; rows whose outcome is NaN are not
    counted. An outcome of many values is cut into ten parts of about equally many rows."""
    known = ~np.isnan(outcome)
    if not known.any():
        return 0.0
    parts = _parted(outcome[known])
    table = cross_table(segments[known], parts, None if weights is None else weights[known])
    share = table / table.sum()
    independent = np.outer(share.sum(axis=1), share.sum(axis=0))
    there = share > 0
    return max(0.0, float((share[there] * np.log2(share[there] / independent[there])).sum()))


def _parted(outcome: Array) -> Division:
    values, places = np.unique(outcome, return_inverse=True)
    if values.size > _OUTCOME_PARTS:
        cuts = np.unique(np.quantile(outcome, np.arange(1, _OUTCOME_PARTS) / _OUTCOME_PARTS))
        places = np.searchsorted(cuts, outcome, side="right")
    return places.astype(np.intp).reshape(-1)


def outcome_spread(segments: Division, outcome: Array, weights: Array | None = None) -> float:
    """The highest less the lowest rate, or mean, of the outcome over segments with at least 1 % of
    the rows; rows whose outcome is NaN are not counted."""
    known = ~np.isnan(outcome)
    segments, outcome = segments[known], outcome[known]
    weights = np.ones(outcome.size) if weights is None else weights[known]
    sizes = np.bincount(segments, weights)
    sums = np.bincount(segments, weights * outcome)
    counted = sizes >= max(_LEAST_SHARE * sizes.sum(), np.finfo(float).tiny)
    means = sums[counted] / sizes[counted]
    return float(means.max() - means.min()) if means.size else 0.0
