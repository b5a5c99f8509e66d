"""Components of a mixture merged into clusters, two at a time.

A cluster that is not normal takes several components, and whoever wants clusters puts these
together again: the two clusters between which rows are the least certain, by the entropy of the
assignment (Baudry, Raftery, Celeux, Lo and Gottardo 2010, as mclust's `clustCombi`), or the two
that lie nearest to each other (Bhattacharyya's distance, as Hennig 2010). The mixture stays as it
is: a cluster's probability is the sum of its components'. The noise is merged with nothing.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import structure_named

MergeCriterion = Literal["entropy", "bhattacharyya"]
MERGE_CRITERIA: tuple[MergeCriterion, ...] = get_args(MergeCriterion)

# The components of a cluster, ascending; and the clusters of all components.
Cluster = tuple[int, ...]
Partition = tuple[Cluster, ...]

# What two merges gain of entropy, a row, is the same up to this; the first of them is taken, so
# that it does not depend on the order in which rows were added up.
_SAME_GAIN = 1e-12
# Numbers that are worked on at once.
_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Merge:
    """Two clusters that become one, and how many clusters there are then.

    measure : by entropy, that of the assignment to the clusters after it, summed over rows; by
        Bhattacharyya's distance, that between the two
    """

    clusters: int
    first: Cluster
    second: Cluster
    measure: float


@dataclass(frozen=True)
class MergeHierarchy:
    """The merges of all components of a mixture into one cluster, in their order.

    unmerged : the entropy of the assignment to the components, summed over rows; None where they
        were merged by distance
    """

    by: MergeCriterion
    num_components: int
    merges: tuple[Merge, ...]
    unmerged: float | None = None

    def partition(self, k: int) -> Partition:
        """The k clusters that the merges come to; the merged one stands where its first was."""
        found = _singletons(self.num_components)
        for merge in self.merges[: self.num_components - k]:
            found = _merged(found, found.index(merge.first), found.index(merge.second))
        return found

    def table(self) -> list[dict[str, Any]]:
        """A dictionary a merge: `clusters` there are after it, `first` and `second`, the
        components of the two that it makes one; by entropy, `entropyBefore` and `entropy`, of the
        assignment with a cluster more and with these, summed over rows; else `distance`."""
        rows, before = [], self.unmerged
        for merge in self.merges:
            measures: dict[str, Any] = {"distance": merge.measure}
            if self.by == "entropy":
                measures = {"entropyBefore": before, "entropy": merge.measure}
                before = merge.measure
            row = {"clusters": merge.clusters, "first": list(merge.first)}
            rows.append({**row, "second": list(merge.second), **measures})
        return rows


@dataclass(frozen=True)
class Merging:
    """What a model knows of the clusters that its components were merged into.

    clusters : the components of each, in the order of the clusters' numbers
    sizes : rows most probably in each, and in the noise, where there is one, at the end; None
        where no rows were looked at
    """

    clusters: Partition
    hierarchy: MergeHierarchy
    sizes: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, to be saved."""
        hierarchy = self.hierarchy
        return {
            "clusters": [list(cluster) for cluster in self.clusters],
            "sizes": None if self.sizes is None else list(self.sizes),
            "by": hierarchy.by,
            "unmerged": hierarchy.unmerged,
            "merges": [
                [merge.clusters, list(merge.first), list(merge.second), merge.measure]
                for merge in hierarchy.merges
            ],
        }

    @staticmethod
    def from_json(values: dict[str, Any], k: int) -> Merging:
        """The inverse of `to_json`; ValueError where the clusters are not of k components."""
        clusters = tuple(tuple(cluster) for cluster in values["clusters"])
        if sorted(component for cluster in clusters for component in cluster) != list(range(k)):
            raise ValueError(f"clusters {values['clusters']} are not of {k} components")
        merges = tuple(
            Merge(left, tuple(first), tuple(second), measure)
            for left, first, second, measure in values["merges"]
        )
        hierarchy = MergeHierarchy(values["by"], k, merges, values["unmerged"])
        sizes = values["sizes"]
        return Merging(clusters, hierarchy, None if sizes is None else tuple(sizes))


def checked_merging(k: int, num_components: int, by: str) -> MergeCriterion:
    """The criterion; SettingError where it is none, or there cannot be k clusters."""
    if by not in MERGE_CRITERIA:
        raise SettingError(f"by is {by!r}; it must be one of {', '.join(MERGE_CRITERIA)}")
    if not 1 <= k <= num_components:
        raise SettingError(
            f"k is {k}; it must be from 1 to the number of components, {num_components}"
        )
    return by


def numbered(partition: Partition, weights: Array, *, keep_order: bool) -> Partition:
    """The clusters in the order of their numbers: by weight, largest first, or by the first
    component of each where components have numbers that are to be kept."""
    if keep_order:
        return tuple(sorted(partition))
    return tuple(sorted(partition, key=lambda one: (-weights[list(one)].sum(), one)))


def cluster_probabilities(probability: Array, clusters: Partition) -> Array:
    """Probabilities (c, m) of clusters by those (K, m) of components; what comes after these, the
    noise's, stays."""
    components = sum(map(len, clusters))
    parts = [probability[list(cluster)].sum(axis=0) for cluster in clusters]
    return np.vstack([*parts, probability[components:]])


# --- by entropy ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What is to be summed over rows: t log t of the probability t of being in each of some sets
    of components, the noise counted as the last component; and the rows most probably in each of
    some clusters."""

    sets: tuple[Cluster, ...]
    clusters: Partition

    @property
    def size(self) -> int:
        """Numbers that `sums` returns without noise."""
        return 1 + len(self.sets) + len(self.clusters)

    def sums(self, responsibilities: Array, weights: Array | None) -> Array:
        """Of rows with responsibilities (K, m), of the noise too: how many there are, then of the
        sets, by weight, then of the clusters and the noise, without. They add up over rows."""
        rows = responsibilities.shape[1]
        members = np.zeros((len(self.sets), len(responsibilities)))
        for place, one in enumerate(self.sets):
            members[place, list(one)] = 1.0
        entropies = np.zeros(len(self.sets))
        step = max(1, _AT_ONCE // max(1, len(self.sets)))
        for first in range(0, rows, step):
            at = slice(first, first + step)
            shares = members @ responsibilities[:, at]
            shares *= np.log(np.maximum(shares, 1e-300))
            entropies += shares.sum(axis=1) if weights is None else shares @ weights[at]
        chances = cluster_probabilities(responsibilities, self.clusters)
        sizes = np.bincount(chances.argmax(axis=0), minlength=len(chances))
        return np.concatenate([[rows], entropies, sizes])

    def split(self, found: Array) -> tuple[Array, tuple[int, ...]]:
        """What `sums` returned, of all rows: sums of the sets, and rows in every cluster."""
        values, sizes = np.split(found[1:], [len(self.sets)])
        return values, tuple(int(size) for size in sizes)


Sums = Callable[[Request], Array]


@dataclass
class EntropyMerging:
    """Merges by entropy, exactly, in few looks at the rows.

    That two clusters are merged leaves the sums of the others as they are, so a look at the rows
    can ask for many merges ahead: those that a sample foretells, for which the sums of some K^2
    sets are enough. Where all rows say what the sample said one look is all; where they say
    something else they are right, and are asked again from there on. A look tells at least the
    next merge, so there are K - 1 at most.

    Parameters
    ----------
    num_components : K, without the noise
    k : clusters of which the rows are counted
    number : gives clusters the order of their numbers
    rows, foretell : the sums of a request over all rows, and over a sample; None where the sample
        is all the rows
    weight, sample_weight : of all rows, and of the sample
    """

    num_components: int
    has_noise: bool
    k: int
    number: Callable[[Partition], Partition]
    rows: Sums
    weight: float
    foretell: Sums | None = None
    sample_weight: float = 1.0
    looks: int = 0
    _sizes: dict[Partition, tuple[int, ...]] = field(default_factory=dict)

    def run(self) -> tuple[MergeHierarchy, tuple[int, ...]]:
        """The hierarchy, and the rows in each of the k clusters and the noise."""
        known: dict[Cluster, float] = {}
        start = _singletons(self.num_components)
        noise = (self.num_components,) if self.has_noise else ()
        merges = _greedy(start, known, self._looked, noise, self.weight)
        unmerged = _entropy(start, known, noise)
        hierarchy = MergeHierarchy("entropy", self.num_components, merges, unmerged)
        clusters = self.number(hierarchy.partition(self.k))
        if clusters not in self._sizes:
            self._look(Request((), clusters))
        return hierarchy, self._sizes[clusters]

    def _looked(
        self, partition: Partition, known: dict[Cluster, float], wanted: list[Cluster]
    ) -> None:
        """Add to what is known what is wanted, and what is foretold to be wanted next."""
        ahead: dict[Cluster, float] = {}
        clusters = partition
        if self.foretell is not None:
            merges = _greedy(partition, ahead, self._foretold, (), self.sample_weight)
            for merge in merges[: max(0, len(partition) - self.k)]:
                at = clusters.index(merge.first), clusters.index(merge.second)
                clusters = _merged(clusters, *at)
        sets = tuple(dict.fromkeys([*wanted, *(one for one in ahead if one not in known)]))
        known.update(zip(sets, self._look(Request(sets, self.number(clusters))), strict=True))

    def _foretold(
        self, partition: Partition, known: dict[Cluster, float], wanted: list[Cluster]
    ) -> None:
        assert self.foretell is not None
        request = Request(tuple(wanted), partition)
        values, _ = request.split(self.foretell(request))
        known.update(zip(wanted, values.tolist(), strict=True))

    def _look(self, request: Request) -> list[float]:
        self.looks += 1
        values, sizes = request.split(self.rows(request))
        self._sizes[request.clusters] = sizes
        return [float(value) for value in values]


Ask = Callable[[Partition, dict[Cluster, float], list[Cluster]], None]


def _greedy(
    partition: Partition,
    known: dict[Cluster, float],
    ask: Ask,
    noise: Cluster,
    weight: float,
) -> tuple[Merge, ...]:
    """The merges from a partition on, each the one that lowers the entropy most, by the sums of
    t log t of every set; `ask` adds to `known` those that are wanted."""
    merges: list[Merge] = []
    while True:
        pairs = [(a, b) for a in range(len(partition)) for b in range(a + 1, len(partition))]
        unions = [_union(partition[a], partition[b]) for a, b in pairs]
        sets = [*partition, *unions, *([noise] if noise else [])]
        wanted = [one for one in sets if one not in known]
        if wanted:
            ask(partition, known, wanted)
        if not pairs:
            return tuple(merges)
        gains = np.array(
            [
                known[union] - known[partition[a]] - known[partition[b]]
                for (a, b), union in zip(pairs, unions, strict=True)
            ]
        )
        a, b = pairs[int(np.argmax(gains >= gains.max() - _SAME_GAIN * weight))]
        first, second = partition[a], partition[b]
        partition = _merged(partition, a, b)
        entropy = _entropy(partition, known, noise)
        merges.append(Merge(len(partition), first, second, entropy))


def _entropy(partition: Partition, known: dict[Cluster, float], noise: Cluster) -> float:
    return -sum(known[one] for one in (*partition, *([noise] if noise else [])))


def _singletons(count: int) -> Partition:
    return tuple((component,) for component in range(count))


def _union(one: Cluster, other: Cluster) -> Cluster:
    return tuple(sorted((*one, *other)))


def _merged(partition: Partition, a: int, b: int) -> Partition:
    """Clusters a < b as one, where a was."""
    both = _union(partition[a], partition[b])
    return (*partition[:a], both, *partition[a + 1 : b], *partition[b + 1 :])


# --- by distance --------------------------------------------------------------------------


def bhattacharyya_hierarchy(parameters: Parameters) -> MergeHierarchy:
    """Merges of the two clusters at the smallest Bhattacharyya distance, minus the log of the
    integral of the root of the product of their densities (Hennig 2010).

    A merged cluster stands, for the next merge, for one component with the weight, the mean and
    the covariance that its components have together, and so for the columns of every family.
    """
    partition = _singletons(parameters.k)
    merges: list[Merge] = []
    clusters = pooled(parameters, partition)
    distances = np.full((parameters.k, parameters.k), np.inf)
    for j in range(parameters.k):
        distances[j, j + 1 :] = _distances(clusters, j)[j + 1 :]
    while len(partition) > 1:
        a, b = (int(place) for place in np.unravel_index(distances.argmin(), distances.shape))
        measure = float(distances[a, b])
        merges.append(Merge(len(partition) - 1, partition[a], partition[b], measure))
        together = _merged(_singletons(len(partition)), a, b)
        clusters, partition = pooled(clusters, together), _merged(partition, a, b)
        distances = np.delete(np.delete(distances, b, axis=0), b, axis=1)
        found = _distances(clusters, a)
        distances[a, a + 1 :], distances[:a, a] = found[a + 1 :], found[:a]
    return MergeHierarchy("bhattacharyya", parameters.k, tuple(merges))


def pooled(parameters: Parameters, partition: Partition) -> Parameters:
    """One component for every cluster, with the moments that its components have together."""
    weights = np.zeros(len(partition))
    means = np.empty((len(partition), parameters.d))
    covariances = np.empty((len(partition), parameters.d, parameters.d))
    others: list[list[Array]] = [[] for _ in parameters.families]
    dense = parameters.dense_covariances()
    for j, cluster in enumerate(partition):
        own = list(cluster)
        weights[j] = parameters.weights[own].sum()
        # Components that lost all their rows have no weight to be averaged by.
        share = parameters.weights[own] / weights[j] if weights[j] > 0 else np.ones(len(own))
        share = share / share.sum()
        means[j] = share @ parameters.means[own]
        apart = parameters.means[own] - means[j]
        within = np.tensordot(share, dense[own], axes=1)
        covariances[j] = within + (share[:, None] * apart).T @ apart
        pairs = zip(parameters.families, parameters.family_parameters, strict=True)
        for values, (family, of_all) in zip(others, pairs, strict=True):
            values.append(family.pooled(of_all[own], share))
    return replace(
        parameters,
        structure=structure_named("full"),
        weights=weights,
        means=means,
        covariances=covariances,
        family_parameters=tuple(np.array(values) for values in others),
    )


def _distances(clusters: Parameters, j: int) -> Array:
    """Bhattacharyya distances (k,) of cluster j to every one."""
    found = np.zeros(clusters.k)
    if clusters.d:
        covariances = clusters.covariances
        log_volumes = np.linalg.slogdet(covariances)[1]
        between = (covariances + covariances[j]) / 2
        apart = clusters.means - clusters.means[j]
        whitened = np.linalg.solve(between, apart[:, :, None])[:, :, 0]
        found += (apart * whitened).sum(axis=1) / 8
        volumes = (log_volumes + log_volumes[j]) / 2
        found += (np.linalg.slogdet(between)[1] - volumes) / 2
    for family, values in zip(clusters.families, clusters.family_parameters, strict=True):
        found -= family.log_bhattacharyya(values[j], values)
    return found
