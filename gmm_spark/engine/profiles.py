"""What the rows of every segment are like, summed inside tasks: one pass, one row back a task.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from gmm_spark.engine.cluster import num_partitions, parallelism
from gmm_spark.engine.columns import numbers
from gmm_spark.engine.hashing import occurrences, of_occurrences, row_hashes, salted
from gmm_spark.engine.jobs import answer, answers
from gmm_spark.engine.outcomes import SAMPLE_ROWS as OUTCOME_ROWS
from gmm_spark.engine.outcomes import FoundOutcomes, OutcomeWork, sent_rows
from gmm_spark.engine.outcomes import merged as merged_outcomes
from gmm_spark.engine.scoring import NOISE
from gmm_spark.mixture.numerics import Array

# Rows that quantiles and effects are found from; of fewer rows they are exact.
SAMPLE_ROWS = 50_000
_SAMPLE_BYTES = 48 << 20
_LEAST_SENT = 500
# Batches whose samples are put together at once: it copies what was sampled before.
_PENDING = 16
# A column of more values than these says nothing of a segment by them.
MOST_VALUES = 1000
# Intervals of the largest probability of a row.
EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
_NULL = -1


@dataclass(frozen=True)
class Moments:
    """Weights, means and sums of squares about them, of K segments and d columns, each (K, d)."""

    weight: Array
    mean: Array
    squares: Array

    @staticmethod
    @np.errstate(over="ignore", invalid="ignore")  # the largest numbers have no squares
    def of(probability: Array, values: Array) -> Moments:
        """Of rows with weights (K, m) and values (d, m), NaN where they are not known."""
        known = np.isfinite(values)
        rows = known.sum(axis=1)
        filled = np.where(known, values, 0.0)
        # About a centre near to all of the rows, so that the squares keep their digits.
        centre = filled.sum(axis=1) / np.maximum(rows, 1)
        about = np.where(known, values - centre[:, None], 0.0)
        weight = probability @ known.T.astype(float)
        shift = _by(probability @ about.T, weight)
        squares = probability @ (about**2).T - weight * shift**2
        return Moments(weight, centre + shift, np.maximum(squares, 0.0))

    @np.errstate(over="ignore", invalid="ignore")
    def __add__(self, other: Moments) -> Moments:
        """Of both (Chan, Golub and LeVeque 1979)."""
        weight = self.weight + other.weight
        apart = other.mean - self.mean
        mean = np.where(self.weight > 0, self.mean + apart * _by(other.weight, weight), other.mean)
        between = apart**2 * _by(self.weight * other.weight, weight)
        return Moments(weight, mean, self.squares + other.squares + between)

    def total(self) -> Moments:
        """Of all segments together, (1, d)."""
        each = [
            Moments(*(part[j : j + 1] for part in (self.weight, self.mean, self.squares)))
            for j in range(len(self.weight))
        ]
        return reduce(Moments.__add__, each)

    def rest(self) -> Moments:
        """Of every segment, those of all others together."""
        k, d = self.weight.shape
        nothing = Moments(np.zeros((1, d)), np.zeros((1, d)), np.zeros((1, d)))
        found = []
        for j in range(k):
            others = [i for i in range(k) if i != j]
            part = Moments(self.weight[others], self.mean[others], self.squares[others])
            found.append(part.total() if others else nothing)
        return Moments(
            np.concatenate([one.weight for one in found]),
            np.concatenate([one.mean for one in found]),
            np.concatenate([one.squares for one in found]),
        )

    def of_weight(self, least: float) -> Moments:
        """Nothing where the weight is under `least`."""
        there = self.weight >= least
        return Moments(*(np.where(there, each, 0.0) for each in astuple(self)))

    @property
    def deviation(self) -> Array:
        """Standard deviations, NaN where there are no rows."""
        return np.where(self.weight > 0, np.sqrt(_by(self.squares, self.weight)), np.nan)


def _by(numerator: Array, denominator: Array) -> Array:
    """The quotient, 0 where there is nothing to divide by."""
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1.0), 0.0)


@dataclass(frozen=True)
class Values:
    """The values of a category that were seen, and their weights by segment.

    values, weights : V of them, and (V, K)
    missing : (K,) weight of the rows without a value
    too_many : more than MOST_VALUES were seen; nothing else is known then
    """

    values: tuple[str, ...]
    weights: Array
    missing: Array
    too_many: bool = False

    def __add__(self, other: Values) -> Values:
        if self.too_many or other.too_many:
            return self._none()
        values = tuple(dict.fromkeys([*self.values, *other.values]))
        if len(values) > MOST_VALUES:
            return self._none()
        weights = np.zeros((len(values), self.missing.size))
        for part in (self, other):
            weights[part.places_in(values)] += part.weights
        return Values(values, weights, self.missing + other.missing)

    def places_in(self, values: Sequence[str]) -> NDArray[np.intp]:
        """Where its values are among others."""
        known = {value: place for place, value in enumerate(values)}
        return np.array([known[value] for value in self.values], dtype=np.intp)

    def of_weight(self, least: float) -> Values:
        """Nothing of segments where the weight of all values is under `least`."""
        there = self.weights.sum(axis=0) >= least
        return replace(self, weights=self.weights * there)

    def _none(self) -> Values:
        k = self.missing.size
        return Values((), np.zeros((0, k)), np.zeros(k), too_many=True)


@dataclass(frozen=True)
class Sample:
    """Some of the rows, by the hash of their content: those of at most `reach`.

    probability (K, n), weights x probabilities; numbers (d, n); codes (c, n), places among the
    values of the categories, -1 where there is none; block (columns, n), as the mixture reads
    them; outcomes (o, n)
    """

    hashes: NDArray[np.uint64]
    probability: Array
    numbers: Array
    codes: NDArray[np.int32]
    block: Array
    outcomes: Array
    reach: int = 2**64 - 1

    def taken(self, rows: Any) -> Sample:
        return replace(
            self,
            hashes=self.hashes[rows],
            probability=np.ascontiguousarray(self.probability[:, rows]),
            numbers=np.ascontiguousarray(self.numbers[:, rows]),
            codes=np.ascontiguousarray(self.codes[:, rows]),
            block=np.ascontiguousarray(self.block[:, rows]),
            outcomes=np.ascontiguousarray(self.outcomes[:, rows]),
        )

    def below(self, reach: int) -> Sample:
        """Of its rows those whose hash is at most `reach`."""
        if reach >= self.reach:
            return self
        return replace(self.taken(self.hashes <= np.uint64(reach)), reach=reach)

    def lowest(self, count: int) -> Sample:
        """That many rows at most, those of the lowest hashes."""
        if self.hashes.size <= count:
            return self
        highest = np.partition(self.hashes, count - 1)[count - 1]
        return self.below(int(highest))

    def ordered(self) -> Sample:
        """The same in the order of hashes and content, whatever order rows came in."""
        more = [*self.outcomes[::-1], *self.block[::-1]]
        content = [*more, *self.codes[::-1], *self.probability[::-1], *self.numbers[::-1]]
        return self.taken(np.lexsort([*content, self.hashes]))


@dataclass(frozen=True)
class FoundProfiles:
    """What was found of the segments in some of the rows; `merged` puts parts together.

    K segments, the noise, where there is one, the last.

    rows : (K,) most probably in every segment
    size : (K,) sums of weights x probabilities
    together : (K, K) sums of the probabilities of every segment, over the rows predicted to be in
        each
    certainty : (K, intervals) rows of each by their largest probability, see EDGES
    outliers : (K,) of its rows
    moments, categories : of the columns
    counted : moments of the rows predicted to be in every segment, which count wholly
    known_rows : (d,) rows with a number, whatever their weight
    outcomes : see there
    """

    rows: NDArray[np.int64]
    size: Array
    together: Array
    certainty: NDArray[np.int64]
    outliers: NDArray[np.int64]
    moments: Moments
    counted: Moments
    known_rows: NDArray[np.int64]
    categories: tuple[Values, ...]
    sample: Sample
    outcomes: FoundOutcomes

    def coded(self, categories: Sequence[Values]) -> Sample:
        """The sample with codes among the values of these categories."""
        codes = np.array(self.sample.codes)
        for i, (own, wanted) in enumerate(zip(self.categories, categories, strict=True)):
            if wanted.too_many:
                codes[i] = _NULL
            elif own.values != wanted.values:
                places = np.append(own.places_in(wanted.values), _NULL)  # the last for -1
                codes[i] = places[codes[i]]
        return replace(self.sample, codes=codes)


def merged(parts: Sequence[FoundProfiles], count: int, outcome_rows: int) -> FoundProfiles:
    """What was found in several parts, one at least, with samples of some `count` rows at most, and
    of `outcome_rows` with an outcome."""
    columns = zip(*(part.categories for part in parts), strict=True)
    categories = tuple(reduce(Values.__add__, column) for column in columns)
    reach = min(part.sample.reach for part in parts)
    samples = [part.coded(categories).below(reach) for part in parts]
    sample = Sample(
        np.concatenate([one.hashes for one in samples]),
        np.concatenate([one.probability for one in samples], axis=1),
        np.concatenate([one.numbers for one in samples], axis=1),
        np.concatenate([one.codes for one in samples], axis=1),
        np.concatenate([one.block for one in samples], axis=1),
        np.concatenate([one.outcomes for one in samples], axis=1),
        reach,
    )
    return FoundProfiles(
        _sum([part.rows for part in parts]),
        _sum([part.size for part in parts]),
        _sum([part.together for part in parts]),
        _sum([part.certainty for part in parts]),
        _sum([part.outliers for part in parts]),
        reduce(Moments.__add__, [part.moments for part in parts]),
        reduce(Moments.__add__, [part.counted for part in parts]),
        _sum([part.known_rows for part in parts]),
        categories,
        sample.lowest(count),
        merged_outcomes([part.outcomes for part in parts], outcome_rows),
    )


def _sum(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The sum of arrays, in their order."""
    return reduce(np.add, arrays)


@dataclass(frozen=True)
class ProfileWork:
    """Scores the rows of a task and sums them up by segment, for `mapInArrow`.

    rows : scores them, and sums their outcomes; it reads the first columns of a batch
    numbers, categories : how many columns follow, the latter as texts
    sent : rows of the sample that a task sends
    """

    rows: OutcomeWork
    numbers: int
    categories: int
    sent: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return answer(self.found, batches)

    def found(self, batches: Iterable[pa.RecordBatch]) -> FoundProfiles:
        """What is found in all the batches. InputDataError for values that cannot be used."""
        found, pending = self.nothing(), list[FoundProfiles]()
        for batch in batches:
            part = self._of(batch)
            reach = found.sample.reach
            pending.append(replace(part, sample=part.sample.below(reach)))
            if len(pending) == _PENDING:
                found, pending = self._merged([found, *pending]), []
        return self._merged([found, *pending])

    def _merged(self, parts: Sequence[FoundProfiles]) -> FoundProfiles:
        return merged(parts, self.sent, self.rows.sent)

    def nothing(self) -> FoundProfiles:
        """What is found in no rows."""
        k, nothing = self._segments, self.rows.nothing()
        empty = np.zeros((k, 0))
        no_moments = Moments.of(empty, np.zeros((self.numbers, 0)))
        return FoundProfiles(
            np.zeros(k, dtype=np.int64),
            np.zeros(k),
            np.zeros((k, k)),
            np.zeros((k, len(EDGES) - 1), dtype=np.int64),
            np.zeros(k, dtype=np.int64),
            no_moments,
            no_moments,
            np.zeros(self.numbers, dtype=np.int64),
            (Values((), np.zeros((0, k)), np.zeros(k)),) * self.categories,
            Sample(
                np.zeros(0, dtype=np.uint64),
                empty,
                np.zeros((self.numbers, 0)),
                np.zeros((self.categories, 0), dtype=np.int32),
                nothing.block,
                nothing.outcomes,
            ),
            nothing,
        )

    @property
    def _segments(self) -> int:
        scoring = self.rows.scoring
        parameters, clusters = scoring.scorer.parameters, scoring.clusters
        k = parameters.k if clusters is None else len(clusters)
        return k + int(parameters.noise is not None)

    def _of(self, batch: pa.RecordBatch) -> FoundProfiles:
        k, first = self._segments, len(self.rows.scoring.columns)
        read = pa.RecordBatch.from_arrays(batch.columns[:first], [str(i) for i in range(first)])
        rows = self.rows.scored_rows(read)
        scores, m = rows.scores, rows.places.size
        whole = m == batch.num_rows
        described = batch if whole else batch.take(pa.array(rows.places))
        values = np.empty((self.numbers, m))
        for i in range(self.numbers):
            values[i] = numbers(described.column(first + i))
        values[~np.isfinite(values)] = np.nan
        probability = scores.probability
        weighted = probability * rows.weights
        prediction = np.where(scores.prediction == NOISE, k - 1, scores.prediction)
        own = np.zeros((k, m))
        own[prediction, np.arange(m)] = 1.0
        largest = probability.max(axis=0, initial=0.0)
        interval = np.clip(np.searchsorted(EDGES, largest, side="right") - 1, 0, len(EDGES) - 2)
        certainty = np.zeros((k, len(EDGES) - 1), dtype=np.int64)
        np.add.at(certainty, (prediction, interval), 1)
        outlier = scores.log_density < self.rows.scoring.threshold
        coded = [
            _coded(described.column(first + self.numbers + i), weighted)
            for i in range(self.categories)
        ]
        codes = np.array([code for _, code in coded], dtype=np.int32).reshape(self.categories, m)
        hashes = self._hashes(weighted, values)
        sample = Sample(hashes, weighted, values, codes, rows.block, rows.outcomes)
        return FoundProfiles(
            np.bincount(prediction, minlength=k).astype(np.int64),
            weighted.sum(axis=1),
            own @ probability.T,
            certainty,
            np.bincount(prediction[outlier], minlength=k).astype(np.int64),
            Moments.of(weighted, values),
            Moments.of(own * rows.weights, values),
            np.isfinite(values).sum(axis=1),
            tuple(found for found, _ in coded),
            sample.lowest(self.sent),
            self.rows.of_rows(rows),
        )

    @staticmethod
    def _hashes(weighted: Array, values: Array) -> NDArray[np.uint64]:
        """Of every row one, by its content. Those of rows that are there several times would be
        the same in every batch, and be sampled together, or not at all: batches differ."""
        plain = row_hashes(np.concatenate([weighted, values]), 0)
        ranks = occurrences(plain)
        found = of_occurrences(plain, ranks)
        return np.where(ranks > 0, salted(found, int(plain.sum(dtype=np.uint64))), found)


def _coded(column: pa.Array, weighted: Array) -> tuple[Values, NDArray[np.int32]]:
    """The values of a category in some rows, and the place among them of each."""
    k, m = weighted.shape
    encoded = column.dictionary_encode()
    codes = encoded.indices.fill_null(_NULL).to_numpy(zero_copy_only=False).astype(np.int32)
    values = tuple(encoded.dictionary.to_pylist())
    if len(values) > MOST_VALUES:
        nothing = Values((), np.zeros((0, k)), np.zeros(k), too_many=True)
        return nothing, np.full(m, _NULL, dtype=np.int32)
    sums = np.zeros((len(values) + 1, k))  # the last for those without a value
    for j in range(k):
        sums[:, j] = np.bincount(codes % len(sums), weighted[j], minlength=len(sums))
    return Values(values, sums[:-1], sums[-1]), codes


def found_profiles(rows: DataFrame, work: ProfileWork) -> FoundProfiles:
    """What the tasks of a frame find, put together; how much of a sample each sends is found out
    here.

    Raises InputDataError for values that cannot be used.
    """
    spark = rows.sparkSession
    tasks = num_partitions(rows) or parallelism(spark)
    sample = work.nothing().sample
    read = len(sample.block) + len(sample.outcomes)
    width = work.numbers + work.categories + read + len(sample.probability) + 1
    most = max(1, min(SAMPLE_ROWS, _SAMPLE_BYTES // (8 * width)))
    work = replace(
        work,
        rows=replace(work.rows, sent=sent_rows(len(work.rows.scoring.columns), tasks)),
        sent=min(most, max(_LEAST_SENT, int(1.2 * most / tasks))),
    )
    parts = answers(rows, work, "profiles of the segments")
    found = merged([work.nothing(), *parts], most, OUTCOME_ROWS)
    return replace(found, sample=found.sample.ordered())
