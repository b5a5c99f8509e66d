"""Outcomes of the rows of a mixture, summed inside tasks: one pass, one small row back a task.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from gmm_spark.engine.blocks import TaskProblemError
from gmm_spark.engine.cluster import described
from gmm_spark.engine.columns import batch_columns
from gmm_spark.engine.hashing import occurrence_hashes, row_hashes
from gmm_spark.engine.row_groups import RowGroupReader
from gmm_spark.engine.scoring import SKIPPED, BatchScoring
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.outcomes import OutcomeSums

_SCHEMA = "problem string, payload binary"
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
        within = self.hashes <= np.uint64(self.reach)
        order = np.lexsort([*self.block[::-1], self.hashes])
        order = order[within[order]]
        reach = self.reach
        if order.size > count:
            order = order[:count]
            reach = int(self.hashes[order[-1]])
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
        try:
            problem, payload = None, pickle.dumps(self.found(batches))
        except (InputDataError, TaskProblemError) as error:
            problem, payload = str(error), b""
        yield pa.RecordBatch.from_arrays(
            [pa.array([problem], pa.string()), pa.array([payload], pa.binary())],
            ["problem", "payload"],
        )

    def found(self, batches: Iterable[pa.RecordBatch]) -> FoundOutcomes:
        """What is found in all the batches. InputDataError for values that cannot be used."""
        total = self._nothing()
        for batch in batches if self.reader is None else self.reader(batches):
            named = batch.rename_columns(list(self.scoring.columns))
            outcomes, _ = batch_columns(named, self.outcomes)
            weights = None
            if self.weight is not None:
                weights = batch_columns(named, [self.weight])[0][0]
            part = self._of(self.scoring.block(named), outcomes, weights)
            total = merged([total, part], self.sent)
        return total

    def _nothing(self) -> FoundOutcomes:
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

    def _of(self, block: Array, outcomes: Array, weights: Array | None) -> FoundOutcomes:
        scorer, clusters = self.scoring.scorer, self.scoring.clusters
        self._check(outcomes, weights)
        present = np.ones(block.shape[1], dtype=bool) if weights is None else weights != 0
        weightless = int(np.count_nonzero(~present))
        if weightless:
            block, outcomes = block[:, present], outcomes[:, present]
        weights = None if weights is None else weights[present]
        scores = scorer.score(block)
        if clusters is not None:
            scores = scores.of_clusters(clusters)
        used = scores.prediction != SKIPPED
        skipped = int(np.count_nonzero(~used))
        responsibilities = scores.probability
        if skipped:
            block, outcomes = block[:, used], outcomes[:, used]
            responsibilities = responsibilities[:, used]
            weights = None if weights is None else weights[used]
        sums = tuple(OutcomeSums.of(responsibilities, one, weights) for one in outcomes)
        some = ~np.isnan(outcomes).all(axis=0)
        block, outcomes = block[:, some], outcomes[:, some]
        return FoundOutcomes(
            sums,
            skipped,
            weightless,
            occurrence_hashes(row_hashes(np.concatenate([block, outcomes]), 0)),
            block,
            outcomes,
            np.ones(block.shape[1]) if weights is None else weights[some],
        )

    def _check(self, outcomes: Array, weights: Array | None) -> None:
        for name, values in zip(self.outcomes, outcomes, strict=True):
            if np.isinf(values).any():
                raise InputDataError(
                    f"outcome {name!r}: {np.isinf(values).sum()} of {values.size} rows are "
                    "infinite; correct them, or make them null"
                )
        if weights is not None and not (weights >= 0).all():
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
    with described(rows.sparkSession, "outcomes of the segments"):
        answers = rows.mapInArrow(work, _SCHEMA).collect()
    for answer in answers:
        if answer["problem"]:
            raise InputDataError(answer["problem"])
    parts = [pickle.loads(bytes(answer["payload"])) for answer in answers]
    return merged(parts or [work.found([])], SAMPLE_ROWS)
