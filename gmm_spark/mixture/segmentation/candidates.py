"""Mixtures that may stand for segments: optima of the likelihood and what lies beside them.

The optimum of the highest likelihood is often not the division people can use, so several ways of
coming to k segments are tried: k-means; EM from there and from other starts, of several covariance
structures; the same with components that may not be narrow; and mixtures of more components merged
into k clusters, by the entropy of the assignment and by Bhattacharyya's distance. Where there is an
outcome, and rows do not fall into groups or nothing says more of it than k-means, also k-means
whose columns are weighted by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gmm_spark.mixture.divisions import adjusted_rand_index, probabilities
from gmm_spark.mixture.errors import DataError, SingularCovarianceError
from gmm_spark.mixture.families import Categorical
from gmm_spark.mixture.families.categorical import split_tables
from gmm_spark.mixture.initialisation.candidates import (
    Candidate,
    Sample,
    advance,
    log_densities,
    log_joint_densities,
    ranked,
)
from gmm_spark.mixture.initialisation.methods import (
    Labels,
    nearest,
    require_distinct_rows,
    seeds,
    start_from_groups,
    starting_values,
)
from gmm_spark.mixture.m_step import above_floor
from gmm_spark.mixture.merging import (
    EntropyMerging,
    MergeCriterion,
    Partition,
    bhattacharyya_hierarchy,
    numbered,
)
from gmm_spark.mixture.numerics import Array, softmax
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import STRUCTURES, Structure

# The sample that a structure and a covariance floor, a fraction of the columns' deviations or None
# for their recording resolution, are fitted on. All have the same rows in the same order.
SampleFor = Callable[[Structure, float | None], Sample]

# How divisions were come to, in the tables of what was considered.
KMEANS, WEIGHTED_KMEANS = "k-means", "k-means, columns weighted by the outcome"
# Those that are a rule by which rows are divided, and no mixture that was fitted.
RULES = KMEANS, WEIGHTED_KMEANS
FLOORS = 0.1, 0.3
# Rows that candidates are fitted on, and those that k-means goes on with.
ROWS, _KMEANS_ROWS = 4096, 16_384
# Starts of k-means, optima kept, but for those that are nearly the least, and steps of Lloyd's
# algorithm, at most. What a step gains of the squared values, under which the next ones are left
# for later: on the first rows, and on more of them.
KMEANS_STARTS, KMEANS_OPTIMA, _KMEANS_STEPS = 10, 5, 300
_FIRST_GAIN, _GAIN = 1e-4, 1e-5
# Another run of k-means may well end in an optimum whose sum is within this share of the least.
NEARLY_LEAST = 0.005
# Divisions whose adjusted Rand index is at least this are one.
SAME_DIVISION = 0.98
# A share of rows whose category is known that says nothing of the others.
_HARDLY_KNOWN = 0.02
# Multiples of the variance within k-means' segments that are tried, and rows they are tried on.
_VARIANCES, _VARIANCE_ROWS = (0.5, 0.7, 1.0, 1.4), 1024
# Starts of EM beside that from k-means, in the other metrics of `starting_values`: where one number
# of segments is asked for; where several are, they also start from each other by merging, and one
# will do. Steps of EM of all starts, on a part of the rows, of those that go on, where one number
# is asked for and where several are, and with a floor.
_STARTS, _OF_SEVERAL = (1, 2), {"full": (2,)}
_FIRST_ROWS, _FIRST_STEPS, _STEPS, _STEPS_OF_SEVERAL, _FLOOR_STEPS = 2048, 8, 30, 20, 15
# A mixture is tried where its components have so many times the rows that their covariances need.
_ROWS_OF_NEEDED = 2


@dataclass(frozen=True)
class Proposal:
    """A way of dividing rows into segments.

    parameters : of the mixture, in standardised coordinates
    clusters : which of its components are one segment
    floor : the covariance floor it was fitted with, a fraction; None is the recording resolution
    start : in words, where EM began
    merged_by : how components were merged; None where each is a segment
    hard : the parameters are those of rows that each belong wholly to one segment; EM, which
        shares rows out, would lead away from them
    column_weights : by which k-means weighted the columns, where it did: the mixture is then that
        of its segments' rows
    excess : of k-means, the share by which its sum of squared distances is above the least found
    """

    parameters: Parameters
    clusters: Partition
    floor: float | None = None
    start: str = KMEANS
    merged_by: MergeCriterion | None = None
    hard: bool = False
    column_weights: Array | None = None
    excess: float = 0.0

    @property
    def k(self) -> int:
        """Segments."""
        return len(self.clusters)

    @property
    def is_kmeans(self) -> bool:
        """Whether it divides rows as k-means does."""
        return self.hard and self.start == KMEANS

    @property
    def origin(self) -> str:
        """How it was come to, in words."""
        return self.start if self.hard else f"EM from {self.start}"

    @property
    def name(self) -> str:
        """What it is, in words."""
        if self.is_kmeans:
            return KMEANS
        parts = [self.parameters.structure.name]
        if self.hard:
            parts.append(f"of {self.start}")
        if self.floor is not None:
            parts.append(f"no narrower than {self.floor:g}")
        if self.merged_by is not None:
            parts.append(f"{self.parameters.k} components merged by {self.merged_by}")
        return ", ".join(parts)


# --- k-means ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Points:
    """Rows as k-means sees them: numbers and counts divided by their standard deviations, the
    levels of categories as 0 and 1; what is not known lies at the mean.

    values : (D, n)
    deviations : (d,) of the numbers, in standardised coordinates
    """

    values: Array
    deviations: Array

    @staticmethod
    def of(sample: Sample, column_weights: Array | None = None) -> Points:
        """Of the rows of a sample; squared differences of a column (numbers first) are multiplied
        by its weight where there are any."""
        z = sample.z
        means, deviations = _moments(z)
        parts = [(z - means[:, None]) / deviations[:, None]]
        for family, values in sample.of_families:
            if isinstance(family, Categorical):
                parts.append(family.coordinates(values))
            else:
                mean, deviation = _moments(values)
                parts.append((values - mean[:, None]) / deviation[:, None])
        points = np.concatenate(parts)
        points[np.isnan(points)] = 0.0
        if column_weights is not None:
            points *= np.sqrt(np.repeat(column_weights, _coordinates(sample)))[:, None]
        return Points(points, deviations)


def _coordinates(sample: Sample) -> list[int]:
    """How many coordinates every column of a sample has."""
    sizes = [1] * sample.d
    for family, values in sample.of_families:
        sizes += family.levels if isinstance(family, Categorical) else [1] * len(values)
    return sizes


def _moments(values: Array) -> tuple[Array, Array]:
    """Means and standard deviations of what is known of rows; 1 where there is no deviation."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=1), 1)
    means = np.where(known, values, 0.0).sum(axis=1) / count
    squares = np.where(known, (values - means[:, None]) ** 2, 0.0).sum(axis=1) / count
    return means, np.sqrt(np.where(squares > 0, squares, 1.0))


@dataclass(frozen=True)
class Optimum:
    """Where Lloyd's algorithm ended.

    centres : (D, k)
    labels : (n,) the nearest centre of every row
    inertia : the sum of squared distances of the rows that it was run on
    """

    centres: Array
    labels: Labels
    inertia: float


def kmeans(
    points: Array, k: int, seed: int, starts: int = KMEANS_STARTS, most: int = KMEANS_OPTIMA
) -> list[Optimum]:
    """The different optima that runs of Lloyd's algorithm end in, the least sum of squared
    distances first: all that are nearly the least, and others up to so many in all.

    Every run starts from greedy k-means++ seeds (`seeds`) and goes on, on the first rows and then
    on more of them, until a step gains little; those whose optima are kept, until no row changes.
    """
    first, more = points[:, :ROWS], points[:, :_KMEANS_ROWS]
    found = []
    for index in range(starts):
        centres = seeds(first, k, np.random.default_rng([seed, k, index]))
        for rows, gain in ((first, _FIRST_GAIN), (more, _GAIN)):
            centres, inertia = _lloyd(rows, centres, gain)
        found.append((inertia, centres))
    found.sort(key=lambda pair: pair[0])
    optima: list[Optimum] = []
    for inertia, start in found:
        if len(optima) >= most and (most == 1 or inertia > (1 + NEARLY_LEAST) * found[0][0]):
            break
        centres, inertia = _lloyd(more, start, 0.0)
        labels = nearest(points, centres)
        if all(adjusted_rand_index(labels, of.labels) < SAME_DIVISION for of in optima):
            optima.append(Optimum(centres, labels, inertia))
    return sorted(optima, key=lambda of: of.inertia)


def _lloyd(
    points: Array, centres: Array, gain: float, steps: int = _KMEANS_STEPS
) -> tuple[Array, float]:
    """Centres after so many steps of Lloyd's algorithm, at least one, and the sum of squared
    distances: or until a step gains less than `gain` of the sum over one centre, or no row
    changes."""
    centres, rows = np.array(centres), np.arange(points.shape[1])
    squares = float((points**2).sum())
    labels, before = None, np.inf
    for _ in range(steps):
        distances = (-2 * centres).T @ points
        distances += (centres**2).sum(axis=0)[:, None]
        last, labels = labels, distances.argmin(axis=0)
        inertia = squares + float(distances[labels, rows].sum())
        if last is not None and ((labels == last).all() or before - inertia < gain * squares):
            break
        before = inertia
        members = np.zeros(distances.shape)
        members[labels, rows] = 1.0
        counts = members.sum(axis=1)
        filled = counts > 0
        centres[:, filled] = (points @ members[filled].T) / counts[filled]
    return centres, inertia


def refitted_kmeans(sample: Sample, labels: Labels, k: int, steps: int = _KMEANS_STEPS) -> Proposal:
    """k-means that goes on from a division of the rows into k segments, for so many steps at most;
    one that has none begins at the mean of all.

    Rows with gaps are divided otherwise by the mixture than by the nearest centre: where there are
    some a step divides rows as the mixture does, so that of the same rows a division that it ended
    in is that in which it begins.
    """
    points = Points.of(sample)
    if not np.isnan(sample.values).any():
        centres, inertia = _lloyd(points.values, _centres(points, labels, k), 0.0, steps)
        labels = nearest(points.values, centres)
        return _kmeans_proposal(sample, points, Optimum(centres, labels, inertia))
    for _ in range(steps):
        centres, before = _centres(points, labels, k), labels
        found = _kmeans_proposal(sample, points, Optimum(centres, labels, 0.0))
        labels = probabilities(found.parameters, found.clusters, sample).argmax(axis=0)
        if (labels == before).all():
            break
    return found


def _centres(points: Points, labels: Labels, k: int) -> Array:
    """Means (D, k) of the rows of every segment; zero of one without."""
    members = labels == np.arange(k)[:, None]
    return (points.values @ members.T) / np.maximum(members.sum(axis=1), 1)


def kmeans_proposals(sample: Sample, points: Points, optima: Sequence[Optimum]) -> list[Proposal]:
    """Optima of k-means, the least first, as mixtures."""
    least = max(optima[0].inertia, np.finfo(float).tiny)
    return [
        replace(_kmeans_proposal(sample, points, one), excess=one.inertia / least - 1)
        for one in optima
    ]


def _kmeans_proposal(sample: Sample, points: Points, optimum: Optimum) -> Proposal:
    """k-means as a mixture whose most probable component is that of the nearest centre, of rows
    without gaps: k-means is classification EM of equal covariances, proportional to the columns'
    variances (Celeux and Govaert 1992). Gaps take no part in the distance, by which a few rows with
    many of them may be of another component.

    A squared distance d^2 on categories as 0 and 1, and on counts, is linear in what their
    distributions are exponential in: of a centre m, -d^2 / 2 s^2 is the logarithm of a table
    proportional to exp(m / s^2) (of a rate, exp(m / deviation s^2)) but for what does not depend
    on the row, which the weights make good. So tables, rates and weights are those that divide
    rows as k-means does, and not the shares and means of the segments. The variance s^2 does not
    move the division; it is the one of the highest likelihood.
    """
    centres, labels = optimum.centres, optimum.labels
    k, d = centres.shape[1], sample.d
    unit = Parameters.unit(STRUCTURES["EEI"], k, d, sample.families, sample.noise)
    means, _ = _moments(sample.z)
    means = (means[:, None] + points.deviations[:, None] * centres[:d]).T
    apart = points.values[:d] - centres[:d, labels]
    within = max(float((apart**2).mean()), 1e-6) if d else 0.5

    def mixture(variance: float) -> Parameters:
        tables, log_weights = _of_distances(sample, centres, variance)
        return replace(
            unit,
            weights=unit.weights.sum() * np.exp(log_weights),
            means=means,
            covariances=np.maximum(variance * points.deviations**2, sample.floor**2),
            family_parameters=tables,
        )

    tried = [mixture(within * factor) for factor in (_VARIANCES if sample.families else (1.0,))]
    part = sample.first(_VARIANCE_ROWS)
    best = max(tried, key=lambda one: float(log_densities(one, part).mean()))
    return Proposal(best, singletons(k), hard=True)


def _of_distances(
    sample: Sample, centres: Array, variance: float
) -> tuple[tuple[Array, ...], Array]:
    """Tables and rates of every family, and log weights (k,), by which a component is the more
    probable the nearer its centre (D, k) is."""
    tables, log_weights, place = [], np.zeros(centres.shape[1]), sample.d
    for family, values in sample.of_families:
        size = family.num_parameters
        own = centres[place : place + size].T
        place += size
        if isinstance(family, Categorical):
            own = _shares_of_known(own, family.levels)
        log_weights -= (own**2).sum(axis=1) / (2 * variance)
        if isinstance(family, Categorical):
            table = own / variance
            for part in split_tables(table, family.levels):
                largest = part.max(axis=1, keepdims=True)
                log_sum = largest + np.log(np.exp(part - largest).sum(axis=1, keepdims=True))
                part -= log_sum
                log_weights += log_sum[:, 0]
            tables.append(np.exp(table))
        else:
            mean, deviation = _moments(values)
            rates = np.exp(own / (variance * deviation))
            rates *= np.maximum(mean, 1e-6) / rates.mean(axis=0)
            log_weights += (rates - own * mean / (variance * deviation)).sum(axis=1)
            tables.append(rates)
    log_weights -= log_weights.max()
    return tuple(tables), log_weights - np.log(np.exp(log_weights).sum())


def _shares_of_known(shares: Array, levels: tuple[int, ...]) -> Array:
    """Shares of levels (k, L) among the rows whose category is known; those of all segments where
    hardly any is."""
    found = np.array(shares)
    for part in split_tables(found, levels):
        known = part.sum(axis=1, keepdims=True)
        everywhere = part.sum(axis=0) / max(float(part.sum()), 1e-12)
        part[:] = np.where(known > _HARDLY_KNOWN, part / np.maximum(known, 1e-12), everywhere)
    return found


def weighted_kmeans_proposals(
    sample_for: SampleFor,
    structures: Sequence[Structure],
    ks: Sequence[int],
    column_weights: Array,
    seed: int,
) -> Iterator[Proposal]:
    """Mixtures of the rows of k-means' segments, of every structure, where k-means weights columns,
    as in preweighted clustering (Gaynor and Bair 2017, "Identification of relevant subtypes via
    preweighted sparse clustering").

    Parameters
    ----------
    column_weights : (columns,) of squared differences, numbers first
    """
    plain = sample_for(STRUCTURES["EEI"], None).first(_KMEANS_ROWS)
    points = Points.of(plain, column_weights).values
    for k in ks:
        try:
            require_distinct_rows(points, k)
        except DataError:
            continue
        for optimum in kmeans(points, k, seed):
            for structure in structures:
                sample = sample_for(structure, None).first(_KMEANS_ROWS)
                found = of_segments(sample, optimum.labels, k, structure)
                if found is not None:
                    yield Proposal(
                        found,
                        singletons(k),
                        start=WEIGHTED_KMEANS,
                        hard=True,
                        column_weights=column_weights,
                    )


def of_segments(sample: Sample, labels: Labels, k: int, structure: Structure) -> Parameters | None:
    """The mixture of rows that each belong to one segment; None where that is singular, or rows are
    few for it."""
    if _ROWS_OF_NEEDED * k * structure.rows_needed(sample.d) > sample.num_rows:
        return None
    try:
        return start_from_groups(sample, labels[: sample.num_rows], k, structure)
    except SingularCovarianceError:
        return None


def singletons(k: int) -> Partition:
    """Every component a cluster of its own."""
    return tuple((component,) for component in range(k))


# --- mixtures -----------------------------------------------------------------------------


def sizes_tried(ks: Sequence[int]) -> tuple[int, ...]:
    """Numbers of components: of the segments asked for, and more of them to be merged."""
    most = max(ks)
    more = (most + 2, 2 * most) if len(ks) > 1 else (most + 2, 2 * most, 3 * most)
    return tuple(sorted({*ks, *more}))


def optima(
    sample_for: SampleFor,
    structure: Structure,
    sizes: Sequence[int],
    labels: dict[int, Labels],
    seed: int,
    *,
    several: bool,
) -> Iterator[tuple[Candidate, float | None]]:
    """Where EM leads, for every number of components: from k-means, and from other starts where
    that is another optimum; and with wider floors where these make a difference.

    Parameters
    ----------
    labels : by number of components, those of k-means, (n,), of the sample's first rows
    several : whether several numbers of segments are asked for
    """
    sample = sample_for(structure, None).first(ROWS)
    indices = _OF_SEVERAL.get(structure.kind, (1,)) if several else _STARTS
    starts = _starts(sample.first(_FIRST_ROWS), structure, sizes, labels, indices, seed)
    found = list(_advanced(sample, starts, _STEPS_OF_SEVERAL if several else _STEPS))
    yield from ((one, None) for one in found)
    if structure.shared or sample.d == 0:
        return
    for fraction in FLOORS:
        wider = sample_for(structure, fraction).first(ROWS)
        lifted = [
            Candidate(above_floor(one.parameters, wider.floor), mark=one.mark)
            for one in found
            if _narrowest(one.parameters) < fraction and not (several and one.mark != "k-means")
        ]
        if lifted:
            after = advance(wider, lifted, steps=_FLOOR_STEPS, tol=1e-5)
            yield from ((one, fraction) for one in after)


def _starts(
    sample: Sample,
    structure: Structure,
    sizes: Sequence[int],
    labels: dict[int, Labels],
    indices: Sequence[int],
    seed: int,
) -> list[Candidate]:
    """Starts of every size; the mark says from what."""
    starts: list[Candidate] = []
    for k in sizes:
        if _ROWS_OF_NEEDED * k * structure.rows_needed(sample.d) > sample.num_rows:
            continue
        own = labels.get(k)
        start = None if own is None else of_segments(sample, own, k, structure)
        if start is not None:
            starts.append(Candidate(start, mark="k-means"))
        for index in indices:
            other = starting_values(sample, k, structure, "k-means", index, seed)
            if other is not None:
                starts.append(Candidate(other, mark="another start"))
    return starts


def _advanced(sample: Sample, starts: Sequence[Candidate], steps: int) -> Iterator[Candidate]:
    """Starts some steps on, stacked; of every size that from k-means, and the best one at another
    optimum."""
    part = sample.first(_FIRST_ROWS)
    first = advance(part, starts, steps=_FIRST_STEPS) if starts else []
    going: list[Candidate] = []
    for k in sorted({one.parameters.k for one in first}):
        of_size = [one for one in first if one.parameters.k == k]
        going += [one for one in of_size if one.mark == "k-means"]
        going += [one for one in ranked(part, of_size) if one.mark != "k-means"][:1]
    fresh = [one.unscored(one.mark) for one in going]
    after = advance(sample, fresh, steps=steps, tol=1e-5) if going else []
    for k in sorted({one.parameters.k for one in after}):
        yield from ranked(sample, [one for one in after if one.parameters.k == k])


def _narrowest(parameters: Parameters) -> float:
    """The smallest deviation of a component along any direction."""
    dense = parameters.dense_covariances()[parameters.weights > 0]
    return float(np.sqrt(max(0.0, np.linalg.eigvalsh(dense).min(initial=np.inf))))


def unmerged(candidate: Candidate, floor: float | None, ks: Sequence[int]) -> Iterator[Proposal]:
    """Its components as segments, where there are as many as asked for."""
    k = candidate.parameters.k
    if k in ks:
        yield Proposal(candidate.parameters, singletons(k), floor, candidate.mark)


def merged(
    candidate: Candidate, floor: float | None, ks: Sequence[int], sample: Sample
) -> Iterator[Proposal]:
    """Its components as segments, where there are as many as asked for, and merged where they are
    more, up to twice as many (of one number of segments, three times)."""
    parameters = candidate.parameters
    yield from unmerged(candidate, floor, ks)
    plain = Proposal(parameters, singletons(parameters.k), floor, candidate.mark)
    sizes = sizes_tried(ks)
    fewer = [k for k in ks if parameters.k in _sizes_merged(k, sizes, single=len(ks) == 1)]
    if not fewer or (parameters.weights <= 0).any():
        return
    log_joint = log_joint_densities(parameters, sample)
    log_joint -= log_joint.max(axis=0)
    softmax(log_joint)
    by_entropy = EntropyMerging(
        parameters.k,
        parameters.noise is not None,
        min(fewer),
        lambda partition: partition,
        lambda request: request.sums(log_joint, sample.weights),
        sample.weight,
    )
    hierarchies = by_entropy.run()[0], bhattacharyya_hierarchy(parameters)
    for k in fewer:
        seen: set[Partition] = set()
        for hierarchy in hierarchies:
            clusters = numbered(hierarchy.partition(k), parameters.weights, keep_order=False)
            if clusters not in seen:
                seen.add(clusters)
                yield replace(plain, clusters=clusters, merged_by=hierarchy.by)


def _sizes_merged(k: int, sizes: Sequence[int], *, single: bool) -> set[int]:
    """Of the numbers of components tried, those that are merged into k."""
    more = [size for size in sizes if size > k]
    wanted = (k + 2, 2 * k, 3 * k) if single else (k + 2, 2 * k)
    return {min(more, key=lambda size: abs(size - want)) for want in wanted if more}
