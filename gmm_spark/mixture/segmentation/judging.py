"""What a division of rows into segments is worth: with no outcome, and by one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.divisions import (
    Division,
    adjusted_rand_index,
    cross_table,
    mean_entropy,
    probabilities,
)
from gmm_spark.mixture.families import Categorical
from gmm_spark.mixture.initialisation.candidates import Candidate, Sample, advance, log_densities
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.segmentation.candidates import Points, Proposal, kmeans

# Numbers are cut into so many parts of equally many rows, to see what segments say of them.
_PARTS = 10
# Samples of rows drawn anew, and steps of EM on each.
_DRAWS, _STEPS = 2, 8


@dataclass(frozen=True)
class Figures:
    """What a division into segments is worth.

    information : what the segment of a row says of its value in one column, in bits, on average
        over columns, each as a share of what there is to say; see `Columns`
    separation : 1 less the entropy of the assignment as a share of the largest possible: 1 where
        every row is certain of its segment
    stability : adjusted Rand index between the segments and those of mixtures fitted to rows drawn
        anew, on average; None where it was not asked for
    smallest_share : of the rows that are in the smallest segment
    mean_log_likelihood, bic : of the mixture, in the user's units; bic is of the rows looked at.
        None for k-means
    mutual_information : with the outcome, in bits, on the rows that choose, corrected for its bias;
        None without outcome
    """

    information: float
    separation: float
    smallest_share: float
    mean_log_likelihood: float | None = None
    bic: float | None = None
    stability: float | None = None
    mutual_information: float | None = None


class Columns:
    """The columns of a sample, each in a few parts: numbers and counts in ten of equally many
    rows, a category by its levels. A gap is in no part."""

    def __init__(self, sample: Sample) -> None:
        numbers = [_parts(row) for row in sample.values[: sample.d]]
        for family, values in sample.of_families:
            told_apart = isinstance(family, Categorical)
            numbers += [
                np.where(np.isnan(row), -1, row).astype(np.intp) if told_apart else _parts(row)
                for row in values
            ]
        self._parts = [row for row in numbers if row.max(initial=-1) > 0]

    def information(self, division: Division) -> float:
        """The mean over columns of what the segment says of the part a row is in, as a share of
        what there is to say. 0 where no column varies."""
        found = []
        for parts in self._parts:
            known = parts >= 0
            table = cross_table(division[known], parts[known])
            mutual, entropy = _mutual_information(table)
            found.append(mutual / entropy if entropy > 0 else 0.0)
        return float(np.mean(found)) if found else 0.0


def _parts(values: Array) -> NDArray[np.intp]:
    known = ~np.isnan(values)
    if not known.any():
        return np.full(values.size, -1)
    cuts = np.unique(np.quantile(values[known], np.arange(1, _PARTS) / _PARTS))
    # A value that the lowest cut is at, of many rows alike, is a part of its own.
    parts = np.searchsorted(cuts, values, side="right")
    return np.where(known, parts, -1).astype(np.intp)


def _mutual_information(table: Array) -> tuple[float, float]:
    """Mutual information of rows and columns in bits, at least 0, and the entropy of the columns;
    both less their bias, which is about (cells - 1) / 2n (Miller 1955)."""
    total = table.sum()
    if total == 0:
        return 0.0, 0.0
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    mutual = _entropy(rows) + _entropy(columns) - _entropy(table.ravel())
    return max(0.0, mutual), _entropy(columns)


def _entropy(counts: Array) -> float:
    """In bits, by Miller and Madow's correction."""
    there = counts[counts > 0]
    share = there / there.sum()
    return float(-(share * np.log2(share)).sum() + (there.size - 1) / (2 * there.sum() * np.log(2)))


def judged(proposal: Proposal, sample: Sample, columns: Columns) -> tuple[Division, Figures]:
    """The segments of the rows of a sample, and what they are worth."""
    probability = probabilities(proposal.parameters, proposal.clusters, sample)
    division: Division = probability.argmax(axis=0)
    sizes = np.bincount(division, minlength=proposal.k)[: proposal.k]
    most = np.log(max(2, len(probability)))
    figures = Figures(
        information=columns.information(division),
        separation=1.0 - mean_entropy(probability, sample.weights) / float(most),
        smallest_share=float(sizes.min() / division.size),
    )
    if proposal.hard:
        return division, figures
    parameters = proposal.parameters
    mean = float(np.mean(log_densities(parameters, sample)) - sample.standardisation.log_volume)
    penalty = parameters.num_free_parameters * float(np.log(sample.num_rows))
    bic = -2 * mean * sample.num_rows + penalty
    return division, replace(figures, mean_log_likelihood=mean, bic=bic)


def stability(
    proposal: Proposal, sample: Sample, points: Points, division: Division, seed: int
) -> float:
    """How alike the segments are to those of mixtures fitted to rows drawn anew: the adjusted Rand
    index, on average (Hennig 2007, "Cluster-wise assessment of cluster stability")."""
    found = []
    for draw in range(_DRAWS):
        rng = np.random.default_rng([seed, 7, draw])
        rows = rng.integers(sample.num_rows, size=sample.num_rows)
        if proposal.hard:
            centres, _ = kmeans(points.values[:, rows], proposal.k, seed + draw, starts=1)
            values = points.values
            distances = (centres**2).sum(axis=0)[:, None] - 2 * (centres.T @ values)
            other: Division = distances.argmin(axis=0)
        else:
            again = advance(drawn(sample, rows), [Candidate(proposal.parameters)], steps=_STEPS)
            if not again:
                return 0.0
            one = probabilities(again[0].parameters, proposal.clusters, sample)
            other = one.argmax(axis=0)
        found.append(adjusted_rand_index(division, other))
    return float(np.mean(found))


def drawn(sample: Sample, rows: NDArray[np.intp]) -> Sample:
    """Some rows of a sample, in that order, some of them several times."""
    weights = None if sample.weights is None else sample.weights[rows]
    allowed = None if sample.allowed is None else sample.allowed[rows]
    values = np.ascontiguousarray(sample.values[:, rows])
    return replace(sample, values=values, weights=weights, allowed=allowed)


# --- by an outcome ------------------------------------------------------------------------


def corrected_information(division: Division, outcome: NDArray[np.intp]) -> float:
    """Mutual information of segments and an outcome in bits, less what chance adds to it (Miller
    1955)."""
    return _mutual_information(cross_table(division, outcome))[0]


def pointwise_information(division: Division, outcome: NDArray[np.intp]) -> Array:
    """What every row adds to the mutual information of segments and an outcome, (n,): the log of
    p(s, y) / p(s) p(y), in bits; their mean is the mutual information."""
    share = cross_table(division, outcome)
    share /= max(1.0, share.sum())
    expected = np.outer(share.sum(axis=1), share.sum(axis=0))
    there = share > 0
    logs = np.zeros(share.shape)
    logs[there] = np.log2(share[there] / expected[there])
    return np.asarray(logs[division, outcome])


def information_error(division: Division, outcome: NDArray[np.intp]) -> float:
    """Standard error of the mutual information of segments and an outcome, in bits."""
    return float(pointwise_information(division, outcome).std() / np.sqrt(max(1, division.size)))


def in_parts(outcome: Array) -> NDArray[np.intp]:
    """An outcome as the number of its value, of many values of one of ten parts; -1 is unknown."""
    known = ~np.isnan(outcome)
    values, places = np.unique(outcome[known], return_inverse=True)
    if values.size > _PARTS:
        return _parts(outcome)
    found = np.full(outcome.size, -1, dtype=np.intp)
    found[known] = places
    return found
