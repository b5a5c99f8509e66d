"""A pass over the data: parameters out by broadcast, statistics back, merged in order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gmm_spark.engine.blocks import Block
from gmm_spark.engine.cluster import Shared
from gmm_spark.engine.jobs import Source, run_job
from gmm_spark.engine.scan import Scan, as_labels, as_memberships
from gmm_spark.errors import FitError
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.natural import Evaluator
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.statistics import Statistics, merged


@dataclass(frozen=True)
class _PassWork:
    """One task's statistics, as bytes: the block fingerprints' sum, then float64 sums of one
    evaluator after the other."""

    evaluators: Shared
    labels: tuple[float, ...] | None
    gaps: bool
    weight_scale: float

    def __call__(self, blocks: Iterator[Block]) -> bytes:
        kernels = [BlockKernel(evaluator) for evaluator in self.evaluators.value]
        fingerprint = 0
        for block in blocks:
            fingerprint = (fingerprint + block.fingerprint) % 2**64
            if self.gaps:
                block = block.complete()
            weights, labels = block.weights, block.labels
            if weights is not None and self.weight_scale != 1.0:
                weights = self.weight_scale * weights
            for kernel in kernels:
                if self.labels is None:
                    kernel.add(block.inputs, weights, as_memberships(block.memberships))
                else:
                    assert labels is not None
                    kernel.add_labelled(block.inputs, as_labels(labels, self.labels), weights)
        sums = b"".join(kernel.statistics().values.tobytes() for kernel in kernels)
        return fingerprint.to_bytes(8, "little") + sums


def merge_payloads(payloads: list[bytes]) -> bytes:
    """The payload of several tasks together, added in the order given."""
    fingerprint = sum(int.from_bytes(p[:8], "little") for p in payloads) % 2**64
    values = merged([np.frombuffer(payload, offset=8) for payload in payloads])
    return fingerprint.to_bytes(8, "little") + values.tobytes()


class PassEngine:
    """Answers passes by jobs over a source; checks that each saw all rows once, as they were."""

    def __init__(self, source: Source, scan: Scan, aggregation_depth: int = 2) -> None:
        self._source = source
        self._scan = scan
        self._depth = aggregation_depth
        self.seconds: list[float] = []

    def run_pass(self, evaluator: Evaluator) -> Statistics:
        return self.run_passes([evaluator])[0]

    def run_passes(self, evaluators: Sequence[Evaluator]) -> list[Statistics]:
        """The passes of several fits in one scan."""
        return self._run(tuple(evaluators), None, f"EM pass {len(self.seconds) + 1}")

    def run_labelled(self, evaluator: Evaluator) -> Statistics:
        """Statistics with responsibility 1 for the component of each row's label."""
        labels = self._scan.labels
        return self._run((evaluator,), labels, "statistics of the labelled rows")[0]

    def _run(
        self,
        evaluators: tuple[Evaluator, ...],
        labels: tuple[float, ...] | None,
        description: str,
    ) -> list[Statistics]:
        started = time.monotonic()
        sizes = [evaluator.layout.size for evaluator in evaluators]
        # Parameters take as much room as the statistics that come back.
        num_bytes = 8 * sum(sizes)
        shared = Shared(self._source.spark, evaluators, num_bytes)
        try:
            payloads = run_job(
                self._source,
                _PassWork(shared, labels, self._scan.num_skipped > 0, self._scan.weight_scale),
                description,
                merge=merge_payloads,
                payload_bytes=num_bytes,
                aggregation_depth=self._depth,
            )
        finally:
            shared.destroy()
        whole = merge_payloads(payloads)
        values: Array = np.frombuffer(whole, offset=8)
        parts = np.split(values, np.cumsum(sizes)[:-1])
        found = [
            Statistics(evaluator.layout, evaluator.origins, part.copy())
            for evaluator, part in zip(evaluators, parts, strict=True)
        ]
        fingerprint = int.from_bytes(whole[:8], "little")
        num_rows = found[0].num_rows
        if num_rows != self._scan.num_rows or fingerprint != self._scan.fingerprint:
            raise FitError(
                f"the data changed under the fit: the first scan saw {self._scan.num_rows} rows, "
                f"this pass {num_rows}"
                + ("" if fingerprint == self._scan.fingerprint else " with other values")
                + "; the input must give the same rows each time it is read"
            )
        if labels is None:
            self.seconds.append(time.monotonic() - started)
        return found
