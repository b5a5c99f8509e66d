"""What a division of rows into segments is worth: with no outcome, and by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from gmm_spark.mixture.initialisation.candidates import (
    Candidate,
    Sample,
    advance,
    log_joint_densities,
)
from gmm_spark.mixture.initialisation.methods import nearest
from gmm_spark.mixture.merging import cluster_probabilities
from gmm_spark.mixture.numerics import Array, softmax
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.segmentation.candidates import (
    SAME_DIVISION,
    Points,
    Proposal,
    kmeans,
    of_segments,
)

# Numbers are cut into so many parts of equally many rows, to see what segments say of them; a
# value that more than a fifth of the rows have is not looked at: segments that only tell it from
# the rest would say most of the column.
_PARTS, _REPEATED = 10, 0.2
# The power of the share of a column that segments tell. Under 1, to tell something of many columns
# is worth more than to tell all of one: 1 fell for columns with a repeated value, 1/2 for divisions
# into many shallow cuts. It was set by looking at tables whose labels are known, those of the
# benchmark among them; their figures are no test of it.
_POWER = 2 / 3
# A column spells the segments out where so much of what they are is told by its value alone.
_SPELLED_OUT = 0.95
# Samples of rows drawn anew, and steps of EM on each.
_DRAWS, _STEPS = 3, 10


@dataclass(frozen=True)
class Figures:
    """What a division into segments is worth.

    information : how much of a row's values its segment tells, column by column: the mutual
        information of both as a share of the column's entropy, on average over columns
    breadth : the same of shares to the power 2/3, by which columns that are told wholly count less
    separation : 1 less the entropy of the assignment as a share of the largest possible: 1 where
        every row is certain of its segment
    smallest_share : of the rows that are in the smallest segment
    mean_log_likelihood, bic : of the mixture, in the user's units; bic is of the rows looked at.
        None for k-means
    spelled_out : the column, counted from 0, numbers first, whose value alone says the segment;
        None where there is none
    stability : adjusted Rand index between the segments and those of mixtures fitted to rows drawn
        anew, on average; None where it was not asked for
    mutual_information : with the outcome, in bits, on the rows that choose, corrected for its bias;
        None without outcome
    """

    information: float
    breadth: float
    separation: float
    smallest_share: float
    mean_log_likelihood: float | None = None
    bic: float | None = None
    spelled_out: int | None = None
    stability: float | None = None
    mutual_information: float | None = None


@dataclass(frozen=True)
class Judged:
    """A proposal with its segments on the rows that it was judged on.

    division : (n,)
    contributions : (n,) what every row adds to `Figures.breadth`, to first order
    """

    proposal: Proposal
    division: Division
    figures: Figures
    contributions: Array


class Columns:
    """The columns of a sample, each in a few parts: numbers and counts in ten of equally many
    rows, a category by its levels. A gap is in no part, nor is a value that is repeated often,
    unless there is little else."""

    def __init__(self, sample: Sample) -> None:
        found = _in_columns(sample, lambda row: _parts(_varied(row)))
        self._parts = [(place, row) for place, row in enumerate(found) if row.max(initial=-1) > 0]
        self._weights = sample.weights

    def told(self, division: Division) -> tuple[Array, Array, int | None]:
        """The share of every column that segments tell, what every row adds to the mean of their
        powers, (n,), and the column that spells the segments out."""
        shares, contributions = np.zeros(len(self._parts)), np.zeros(division.size)
        spelled_out, most = None, _SPELLED_OUT
        for index, (place, parts) in enumerate(self._parts):
            known = parts >= 0
            weights = None if self._weights is None else self._weights[known]
            table = cross_table(division[known], parts[known], weights)
            information, entropy = _mutual_information(table)
            if information <= 0 or entropy <= 0:
                continue
            shares[index] = share = information / entropy
            slope = _POWER * share ** (_POWER - 1) / entropy / len(self._parts)
            pointwise = pointwise_information(division[known], parts[known], weights)
            contributions[known] += slope * pointwise
            told = information / max(_entropy(table.sum(axis=1)), np.finfo(float).tiny)
            if told > most and len(self._parts) > 1:
                spelled_out, most = place, told
        return shares, contributions, spelled_out


def _in_columns(sample: Sample, cut: Callable[[Array], NDArray[np.intp]]) -> list[NDArray[np.intp]]:
    """The part that every row is in, -1 for a gap, of every column: of a category by its levels, of
    numbers and counts by `cut`."""
    found = [cut(row) for row in sample.values[: sample.d]]
    for family, values in sample.of_families:
        if isinstance(family, Categorical):
            found += [np.where(np.isnan(row), -1, row).astype(np.intp) for row in values]
        else:
            found += [cut(row) for row in values]
    return found


def _varied(values: Array) -> Array:
    """Values without those that are repeated often; all where fewer than a fifth remain."""
    distinct, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    often = counts > _REPEATED * values.size
    repeated = often[places.reshape(-1)] | np.isnan(values)
    if distinct.size <= _PARTS or repeated.mean() > 1 - _REPEATED:
        return values
    return np.where(repeated, np.nan, values)


def repeated_values(sample: Sample) -> NDArray[np.intp]:
    """Of every number, (d, n), which of the values that more than a fifth of the rows have it is,
    from 1; 0 is none of them."""
    found = np.zeros((sample.d, sample.num_rows), dtype=np.intp)
    for row, values in zip(found, sample.values, strict=False):
        distinct, counts = np.unique(values[~np.isnan(values)], return_counts=True)
        for number, value in enumerate(distinct[counts > _REPEATED * values.size], 1):
            row[values == value] = number
    return found


def _parts(values: Array) -> NDArray[np.intp]:
    """The number of the part that a value is in, from 0; -1 for a gap."""
    known = ~np.isnan(values)
    if not known.any():
        return np.full(values.size, -1, dtype=np.intp)
    cuts = np.unique(np.quantile(values[known], np.arange(1, _PARTS) / _PARTS))
    parts = np.searchsorted(cuts, values, side="right")
    return np.where(known, parts, -1).astype(np.intp)


def _mutual_information(table: Array) -> tuple[float, float]:
    """Mutual information of rows and columns in bits, at least 0, and the entropy of the columns,
    from sums of weights; the bias is taken off."""
    if table.sum() == 0:
        return 0.0, 0.0
    columns = _entropy(table.sum(axis=0))
    mutual = _entropy(table.sum(axis=1)) + columns - _entropy(table.ravel())
    return max(0.0, mutual), columns


def _entropy(counts: Array) -> float:
    """In bits, with the correction of Miller and Madow (Miller 1955)."""
    there = counts[counts > 0]
    total = there.sum()
    share = there / total
    return float(-(share * np.log2(share)).sum() + (there.size - 1) / (2 * total * np.log(2)))


@dataclass(frozen=True)
class Densities:
    """Of rows under a mixture: the probabilities of its components, (K, n), and the mean log
    density in the user's units."""

    probability: Array
    mean_log: float

    @staticmethod
    def of(parameters: Parameters, sample: Sample) -> Densities:
        return Densities.of_log_joint(log_joint_densities(parameters, sample), sample)

    @staticmethod
    def of_log_joint(log_joint: Array, sample: Sample) -> Densities:
        """Of what `log_joint_densities` gives, which is taken."""
        largest = log_joint.max(axis=0)
        log_joint -= largest
        densities = largest + np.log(softmax(log_joint)) - sample.standardisation.log_volume
        return Densities(log_joint, float(np.average(densities, weights=sample.weights)))


def judged(proposal: Proposal, sample: Sample, columns: Columns, densities: Densities) -> Judged:
    """A proposal judged by the rows of a sample, those of the columns and of the densities."""
    probability = cluster_probabilities(densities.probability, proposal.clusters)
    division: Division = probability.argmax(axis=0)
    shares, contributions, spelled_out = columns.told(division)
    sizes = np.bincount(division, weights=sample.weights, minlength=proposal.k)
    most = float(np.log(max(2, len(probability))))
    figures = Figures(
        float(shares.mean()) if shares.size else 0.0,
        float((shares**_POWER).mean()) if shares.size else 0.0,
        1.0 - mean_entropy(probability, sample.weights) / most,
        float(sizes[: proposal.k].min() / sizes.sum()),
        spelled_out=spelled_out,
    )
    if not proposal.hard:
        mean = densities.mean_log
        penalty = proposal.parameters.num_free_parameters * float(np.log(sample.weight))
        bic = -2 * mean * sample.weight + penalty
        figures = replace(figures, mean_log_likelihood=mean, bic=bic)
    return Judged(proposal, division, figures, contributions)


def stability(found: Judged, sample: Sample, points: Points, seed: int) -> float:
    """How alike the segments are to those of mixtures fitted to rows drawn anew: the adjusted Rand
    index, on average (Hennig 2007, "Cluster-wise assessment of cluster stability").

    Parameters
    ----------
    sample : the rows that were judged, as the mixture sees them
    points : the same as k-means sees them, its columns weighted where the proposal's are
    """
    indices = []
    for draw in range(_DRAWS):
        rows = np.random.default_rng([seed, draw]).integers(sample.num_rows, size=sample.num_rows)
        division = _made_of(rows, found.proposal, sample, points, seed + draw)
        if division is None:
            return 0.0
        indices.append(adjusted_rand_index(found.division, division))
    return float(np.mean(indices))


def _made_of(
    rows: NDArray[np.intp], proposal: Proposal, sample: Sample, points: Points, seed: int
) -> Division | None:
    """The segments of all rows of a sample by a proposal that is made of some rows in its way; None
    where that is singular."""
    if proposal.hard:
        optimum, *_ = kmeans(points.values[:, rows], proposal.k, seed, starts=1)
        if proposal.is_kmeans:
            return nearest(points.values, optimum.centres)
        structure = proposal.parameters.structure
        parameters = of_segments(drawn(sample, rows), optimum.labels, proposal.k, structure)
    else:
        led_to = advance(drawn(sample, rows), [Candidate(proposal.parameters)], steps=_STEPS)
        parameters = led_to[0].parameters if led_to else None
    if parameters is None:
        return None
    found: Division = probabilities(parameters, proposal.clusters, sample).argmax(axis=0)
    return found


def drawn(sample: Sample, rows: NDArray[np.intp]) -> Sample:
    """Some rows of a sample, in that order, some of them several times."""
    weights = None if sample.weights is None else sample.weights[rows]
    allowed = None if sample.allowed is None else sample.allowed[rows]
    values = np.ascontiguousarray(sample.values[:, rows])
    return replace(sample, values=values, weights=weights, allowed=allowed)


def unlike(found: Sequence[Judged], most: int) -> list[Judged]:
    """The first of those that divide the rows alike, so many at most."""
    kept: list[Judged] = []
    for one in found:
        if len(kept) == most:
            break
        if all(adjusted_rand_index(one.division, other.division) < SAME_DIVISION for other in kept):
            kept.append(one)
    return kept


# --- by an outcome ------------------------------------------------------------------------


def corrected_information(
    division: Division, outcome: NDArray[np.intp], weights: Array | None = None
) -> float:
    """Mutual information of segments and an outcome in bits, less what chance adds to it (Miller
    1955)."""
    return _mutual_information(cross_table(division, outcome, weights))[0]


def column_information(sample: Sample, outcome: NDArray[np.intp]) -> Array:
    """What every column of a sample says of an outcome, (columns,), numbers first: their mutual
    information in bits, less what chance adds to it, and at least 0. Rows with a gap are told
    nothing."""
    found = []
    for parts in _in_columns(sample, _parts):
        known = parts >= 0
        own = parts[known], outcome[known]
        by_chance = information_by_chance(cross_table(*own))
        said = float(pointwise_information(*own).mean()) - by_chance if known.any() else 0.0
        found.append(known.mean() * max(0.0, said))
    return np.array(found)


def information_by_chance(table: Array) -> float:
    """Mutual information in bits to be expected of two divisions that have nothing to do with one
    another, whose parts have as many rows as those of a table (parts, parts) of both (Vinh, Epps
    and Bailey 2010, "Information theoretic measures for clusterings comparison"). Of parts of few
    rows it is far more than the bias that Miller (1955) takes off."""
    from scipy.special import gammaln

    sizes, others = (table.sum(axis=axis).astype(np.intp) for axis in (1, 0))
    n = int(table.sum())
    log_factorial = gammaln(np.arange(n + 1) + 1.0)
    found = 0.0
    for a, times in zip(*np.unique(sizes[sizes > 0], return_counts=True), strict=True):
        for b in others[others > 0]:
            both = np.arange(max(1, a + b - n), min(a, b) + 1)
            log_chance = sum(log_factorial[m] for m in (a, b, n - a, n - b)) - sum(
                log_factorial[m] for m in (n, both, a - both, b - both, n - a - b + both)
            )
            information = both / n * np.log2(n * both / (a * b))
            found += float(times * (np.exp(log_chance) @ information))
    return found


def pointwise_information(
    division: Division, outcome: NDArray[np.intp], weights: Array | None = None
) -> Array:
    """What every row adds to the mutual information of segments and an outcome, (n,): the log of
    p(s, y) / p(s) p(y), in bits; their mean is the mutual information."""
    share = cross_table(division, outcome, weights)
    share /= max(float(share.sum()), np.finfo(float).tiny)
    expected = np.outer(share.sum(axis=1), share.sum(axis=0))
    there = share > 0
    logs = np.zeros(share.shape)
    logs[there] = np.log2(share[there] / expected[there])
    return np.asarray(logs[division, outcome])


def standard_error(pointwise: Array) -> float:
    """Of the mean of what every row adds, (n,)."""
    return float(pointwise.std() / np.sqrt(max(1, pointwise.size)))


def information_error(division: Division, outcome: NDArray[np.intp]) -> float:
    """Standard error of the mutual information of segments and an outcome, in bits."""
    return standard_error(pointwise_information(division, outcome))


def in_parts(outcome: Array) -> NDArray[np.intp]:
    """An outcome as the number of its value, of many values of one of ten parts; -1 is unknown."""
    known = ~np.isnan(outcome)
    values, places = np.unique(outcome[known], return_inverse=True)
    if values.size > _PARTS:
        return _parts(outcome)
    found = np.full(outcome.size, -1, dtype=np.intp)
    found[known] = places
    return found
