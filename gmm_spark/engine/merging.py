"""What merging components asks of the rows: probabilities of a sample, and sums over all rows.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gmm_spark.engine.blocks import Block
from gmm_spark.engine.cluster import Shared
from gmm_spark.engine.jobs import Source, run_job
from gmm_spark.engine.passes import merge_payloads
from gmm_spark.engine.scan import Scan
from gmm_spark.engine.scoring import Scorer
from gmm_spark.errors import FitError
from gmm_spark.mixture.merging import Request
from gmm_spark.mixture.numerics import Array

# Rows whose probabilities are worked on at once.
_ROWS = 16_384


def probabilities(scorer: Scorer, rows: Array) -> Array:
    """Of the components, and the noise, for rows (columns, m): (K, m), as `transform` has them."""
    parts = [scorer.score(rows[:, first : first + _ROWS]).probability for first in _firsts(rows)]
    return np.concatenate(parts, axis=1)


def _firsts(rows: Array) -> range:
    return range(0, max(1, rows.shape[1]), _ROWS)


@dataclass(frozen=True)
class _Work:
    """The sums of a task's rows, as bytes: the block fingerprints' sum, then float64."""

    scorer: Shared
    request: Request
    gaps: bool
    weight_scale: float

    def __call__(self, blocks: Iterator[Block]) -> bytes:
        scorer: Scorer = self.scorer.value
        noise = scorer.parameters.noise is not None
        total, fingerprint = np.zeros(self.request.size + noise), 0
        for block in blocks:
            fingerprint = (fingerprint + block.fingerprint) % 2**64
            if self.gaps:
                block = block.complete()
            weights = None if block.weights is None else self.weight_scale * block.weights
            for first in _firsts(block.inputs):
                at = slice(first, first + _ROWS)
                found = scorer.score(block.inputs[:, at]).probability
                total += self.request.sums(found, None if weights is None else weights[at])
        return fingerprint.to_bytes(8, "little") + total.tobytes()


def sums_over_rows(source: Source, scan: Scan, scorer: Scorer, request: Request) -> Array:
    """What `Request.sums` gives for all the rows, by a Spark job.

    Raises FitError where these are not the rows that the scan saw.
    """
    p = scorer.parameters
    shared = Shared(source.spark, scorer, 8 * p.k * (p.d + 1) * (p.d + 1))
    try:
        payloads = run_job(
            source,
            _Work(shared, request, scan.num_skipped > 0, scan.weight_scale),
            "sums over the rows for merging",
            merge=merge_payloads,
            payload_bytes=8 * request.size,
        )
    finally:
        shared.destroy()
    whole = merge_payloads(payloads)
    found: Array = np.frombuffer(whole, offset=8)
    if found[0] != scan.num_rows or int.from_bytes(whole[:8], "little") != scan.fingerprint:
        raise FitError(
            f"the data changed while components were merged: the first scan saw {scan.num_rows} "
            f"rows, this one {found[0]:.0f}; the input must give the same rows each time it is read"
        )
    return found
