"""The first scan as a Spark job: every task looks at its rows, and the driver puts it together."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gmm_spark.engine.blocks import Block
from gmm_spark.engine.jobs import Source, run_job
from gmm_spark.engine.scan import (
    EVERY_ROW,
    Looking,
    PartialScan,
    Scan,
    merged_parts,
)
from gmm_spark.mixture.spec import Missing, WeightKind


@dataclass(frozen=True)
class _ScanWork:
    """The scan of one task; its payload is pickled for our own driver."""

    how: Looking

    def __call__(self, blocks: Iterator[Block]) -> bytes:
        part = PartialScan(self.how)
        for block in blocks:
            part.add(block)
        return pickle.dumps(part)


def scan(
    source: Source,
    *,
    missing: Missing,
    seed: int,
    sample_size: int,
    weight_kind: WeightKind = "frequency",
    known_columns: bool = False,
) -> Scan:
    """Look at every row once; again only where many rows are left out and the sample is short.

    The sample holds every row with the same probability, by a hash of its content and the seed:
    it does not depend on partitioning, file layout or the order of tasks (but for exact
    duplicates of a whole row, where more than `sample_size` rows are sampled from). Weights of
    the kind "importance" are scaled to sum to the number of rows. With `known_columns` a model
    knows the columns, of which one may be nothing but gaps.

    Raises InputDataError for what cannot be used: gaps (where `missing` is "error"),
    infinities, negative weights, a total weight of 0, no rows.
    """
    expected = max(1, source.rows_at_most)
    while True:
        wanted = sample_size + 6 * np.sqrt(sample_size) + 16
        share = min(1.0, wanted / expected)
        threshold = EVERY_ROW if share == 1.0 else int(share * 2**64)
        work = _ScanWork(Looking(source.roles, missing, seed, threshold, known_columns))
        payloads = run_job(source, work, "scan of the data")
        parts = [pickle.loads(payload) for payload in payloads]
        found = merged_parts([PartialScan(work.how), *parts])
        found.refuse()
        if share == 1.0 or found.num_sampled >= min(found.rows, sample_size):
            return found.finished(sample_size, weight_kind)
        expected = max(1, min(found.rows, int(expected * 0.9)))
