"""Outcomes of the rows of a mixture, summed inside tasks: one pass, one small row back a task.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from gmm_spark.engine.columns import batch_columns
from gmm_spark.engine.hashing import occurrence_hashes, row_hashes
from gmm_spark.engine.jobs import answer, answers
from gmm_spark.engine.row_groups import RowGroupReader
from gmm_spark.engine.scoring import SKIPPED, BatchScoring, Scores
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.outcomes import OutcomeSums

# Rows that variances are estimated from: of the standard errors they cost half a percent.
SAMPLE_ROWS = 20_000
# What one task sends of them.
_SENT_ROWS = 2000
_SENT_BYTES = 4 << 20


@dataclass(frozen=True)
class FoundOutcomes:
    """What was found of the outcomes in some of the rows; parts are put together by `merged`.

    sums : of every outcome
    skipped, weightless : rows left out, for their gaps and for a weight of 0
    hashes, block, outcomes, weights : a sample of those with some outcome, in the order of their
        hashes: the rows whose hash, of their content alone, is at most `reach`
    """

    sums: tuple[OutcomeSums, ...]
    skipped: int
    weightless: int
    hashes: NDArray[np.uint64]  # (n,)
    block: Array  # (columns, n)
    outcomes: Array  # (outcomes, n)
    weights: Array  # (n,)
    reach: int = 2**64 - 1

    def lowest(self, count: int) -> FoundOutcomes:
        """The same with that many rows in the sample, at most."""
        within = np.flatnonzero(self.hashes <= np.uint64(self.reach))
        reach = self.reach
        if within.size > count:
            reach = int(np.partition(self.hashes[within], count - 1)[count - 1])
            within = within[self.hashes[within] <= np.uint64(reach)]
        order = within[np.lexsort([*self.block[::-1, within], self.hashes[within]])][:count]
        return replace(
            self,
            hashes=self.hashes[order],
            block=np.ascontiguousarray(self.block[:, order]),
            outcomes=self.outcomes[:, order],
            weights=self.weights[order],
            reach=reach,
        )


def merged(parts: Sequence[FoundOutcomes], count: int) -> FoundOutcomes:
    """What was found in several parts, one at least, with a sample of that many rows at most."""
    sums = parts[0].sums
    for part in parts[1:]:
        sums = tuple(a + b for a, b in zip(sums, part.sums, strict=True))
    whole = FoundOutcomes(
        sums,
        sum(part.skipped for part in parts),
        sum(part.weightless for part in parts),
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.block for part in parts], axis=1),
        np.concatenate([part.outcomes for part in parts], axis=1),
        np.concatenate([part.weights for part in parts]),
        min(part.reach for part in parts),
    )
    return whole.lowest(count)


@dataclass(frozen=True)
class ScoredRows:
    """The rows of a batch that have a segment.

    places : (m,) theirs in the batch
    block, outcomes, weights : (columns, m), (outcomes, m), (m,), 1 where there is no weight
    skipped, weightless : rows that are none of these, for their gaps and for a weight of 0
    """

    places: NDArray[np.intp]
    block: Array
    scores: Scores
    outcomes: Array
    weights: Array
    skipped: int
    weightless: int


@dataclass(frozen=True)
class OutcomeWork:
    """Scores the rows of a task and sums their outcomes, for `mapInArrow`.

    scoring : of batches whose columns are those it reads, then the outcomes and the weight
    outcomes, weight : their names
    reader : reads the rows that a task is sent the numbers of; None where it is sent them
    """

    scoring: BatchScoring
    outcomes: tuple[str, ...]
    weight: str | None
    sent: int
    reader: RowGroupReader | None = None

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return answer(self.found, batches)

    def found(self, batches: Iterable[pa.RecordBatch]) -> FoundOutcomes:
        """What is found in all the batches. InputDataError for values that cannot be used."""
        total = self.nothing()
        for batch in batches if self.reader is None else self.reader(batches):
            total = merged([total, self.of_rows(self.scored_rows(batch))], self.sent)
        return total

    def nothing(self) -> FoundOutcomes:
        """What is found in no rows."""
        parameters, clusters = self.scoring.scorer.parameters, self.scoring.clusters
        columns = parameters.d + sum(family.num_columns for family in parameters.families)
        k = parameters.k if clusters is None else len(clusters)
        sums = OutcomeSums.none(k + int(parameters.noise is not None))
        return FoundOutcomes(
            (sums,) * len(self.outcomes),
            0,
            0,
            np.zeros(0, dtype=np.uint64),
            np.zeros((columns, 0)),
            np.zeros((len(self.outcomes), 0)),
            np.zeros(0),
        )

    def scored_rows(self, batch: pa.RecordBatch) -> ScoredRows:
        """The rows of a batch that have a segment. InputDataError for values that cannot be
        used."""
        named = batch.rename_columns(list(self.scoring.columns))
        outcomes, _ = batch_columns(named, self.outcomes)
        block, weights = self.scoring.block(named), np.ones(batch.num_rows)
        if self.weight is not None:
            weights = batch_columns(named, [self.weight])[0][0]
        self._check(outcomes, weights)
        places = np.flatnonzero(weights != 0)
        weightless = batch.num_rows - places.size
        if weightless:
            block = block[:, places]
        scores = self.scoring.scorer.score(block)
        if self.scoring.clusters is not None:
            scores = scores.of_clusters(self.scoring.clusters)
        used = scores.prediction != SKIPPED
        skipped = int(np.count_nonzero(~used))
        if skipped:
            block, scores, places = block[:, used], scores.taken(used), places[used]
        return ScoredRows(
            places, block, scores, outcomes[:, places], weights[places], skipped, weightless
        )

    def of_rows(self, rows: ScoredRows) -> FoundOutcomes:
        """What is found in them."""
        weights = None if self.weight is None else rows.weights
        responsibilities = rows.scores.probability
        sums = tuple(OutcomeSums.of(responsibilities, one, weights) for one in rows.outcomes)
        some = ~np.isnan(rows.outcomes).all(axis=0)
        block, outcomes = rows.block[:, some], rows.outcomes[:, some]
        return FoundOutcomes(
            sums,
            rows.skipped,
            rows.weightless,
            occurrence_hashes(row_hashes(np.concatenate([block, outcomes]), 0)),
            block,
            outcomes,
            rows.weights[some],
        )

    def _check(self, outcomes: Array, weights: Array) -> None:
        for name, values in zip(self.outcomes, outcomes, strict=True):
            if np.isinf(values).any():
                raise InputDataError(
                    f"outcome {name!r}: {np.isinf(values).sum()} of {values.size} rows are "
                    "infinite; correct them, or make them null"
                )
        if not (weights >= 0).all():
            wrong = weights[~(weights >= 0)]
            raise InputDataError(
                f"weight column {self.weight!r}: {wrong.size} of {weights.size} rows hold no "
                f"weight (one: {wrong[0]:g}); a weight is 0 or more"
            )


def sent_rows(columns: int, tasks: int) -> int:
    """Rows that every task sends, so that all of them together are a sample."""
    wanted = max(_SENT_ROWS, int(1.2 * SAMPLE_ROWS / max(1, tasks)))
    return max(1, min(wanted, _SENT_BYTES // (8 * max(1, columns))))


def found_outcomes(rows: DataFrame, work: OutcomeWork) -> FoundOutcomes:
    """What the tasks of a frame find, put together.

    Raises InputDataError for values that cannot be used, and where a file changed meanwhile.
    """
    parts = answers(rows, work, "outcomes of the segments")
    return merged(parts or [work.nothing()], SAMPLE_ROWS)
