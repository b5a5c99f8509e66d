"""The log density under which a given share of the rows lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gmm_spark.engine.blocks import Block
from gmm_spark.engine.cluster import Shared
from gmm_spark.engine.jobs import Source, run_job
from gmm_spark.engine.scan import Scan
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.natural import Evaluator
from gmm_spark.mixture.numerics import Array

_BINS = 4096
# Sums of weights are right to this, relative.
_ROUNDING = 1e-12
# Where the quantile is looked for: so many of the sample's standard errors around the sample's.
_ERRORS = 8.0


@dataclass(frozen=True)
class _Histogram:
    """Weight of a task's rows below, in the bins of, and above a range of log densities."""

    evaluator: Shared
    edges: Array  # of equal width
    gaps: bool

    def __call__(self, blocks: Iterator[Block]) -> bytes:
        kernel = BlockKernel(self.evaluator.value)
        weights = np.zeros(len(self.edges) + 1)
        for block in blocks:
            if self.gaps:
                block = block.complete()
            places = np.searchsorted(self.edges, _log_densities(kernel, block.inputs), "right")
            weights += np.bincount(places, block.weights, minlength=weights.size)
        return weights.tobytes()


def _log_densities(kernel: BlockKernel, rows: Array) -> Array:
    """Of rows (d + q + c, m), in the user's units."""
    return kernel.log_densities(rows) - kernel.evaluator.standardisation.log_volume


def _sum(payloads: list[bytes]) -> bytes:
    total: Array = np.sum([np.frombuffer(payload) for payload in payloads], axis=0)
    return total.tobytes()


def density_quantile(source: Source, scan: Scan, evaluator: Evaluator, share: float) -> float:
    """The log density that `share` of the rows, by weight, lie under.

    Exact where the sample is all the rows. Else the sample says where to look, and a pass over
    all rows counts them into bins there, which merge by adding: right to a bin's width, within
    which it interpolates.
    """
    sampled = _log_densities(BlockKernel(evaluator), scan.sample)
    weights = np.ones_like(sampled) if scan.sample_weights is None else scan.sample_weights
    order = np.argsort(sampled)
    sampled, cumulated = sampled[order], np.cumsum(weights[order]) / weights.sum()
    if sampled.size == scan.num_rows:
        return float(sampled[np.searchsorted(cumulated, share * (1 - _ROUNDING))])
    error = _ERRORS * np.sqrt(share * (1 - share) / sampled.size) + 1 / sampled.size
    low, high = (
        float(sampled[min(np.searchsorted(cumulated, at), sampled.size - 1)])
        for at in (share - error, share + error)
    )
    while True:
        width = max(high - low, 1e-9 * max(1.0, abs(low)))
        edges = np.linspace(low, low + width, _BINS + 1)
        found = _counted(source, scan, evaluator, edges)
        cumulated = np.cumsum(found)
        target = share * cumulated[-1]
        if target < found[0]:
            low, high = low - 8 * width, low
        elif target > cumulated[-2]:
            low, high = high, high + 8 * width
        else:
            return float(np.interp(target, cumulated[:-1], edges))


def _counted(source: Source, scan: Scan, evaluator: Evaluator, edges: Array) -> Array:
    shared = Shared(source.spark, evaluator, 8 * evaluator.layout.size)
    try:
        payloads = run_job(
            source,
            _Histogram(shared, edges, scan.num_skipped > 0),
            "quantile of the log density",
            merge=_sum,
            payload_bytes=8 * (len(edges) + 1),
        )
    finally:
        shared.destroy()
    return np.frombuffer(_sum(payloads)).copy()
