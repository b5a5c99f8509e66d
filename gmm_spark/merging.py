"""Merging components into clusters, on the driver: which rows are looked at, and how often."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import DataFrame

from gmm_spark.data import one_thread
from gmm_spark.engine.jobs import Source
from gmm_spark.engine.merging import probabilities, sums_over_rows
from gmm_spark.engine.parquet import ParquetTable
from gmm_spark.engine.scan import Scan
from gmm_spark.engine.scanning import scan
from gmm_spark.engine.scoring import Scorer
from gmm_spark.mixture.merging import (
    EntropyMerging,
    Merging,
    Partition,
    Request,
    Sums,
    bhattacharyya_hierarchy,
    checked_merging,
    numbered,
)
from gmm_spark.mixture.numerics import Array
from gmm_spark.scoring import missing_values, rows_of

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel

logger = logging.getLogger(__name__)

# The sample that foretells merges: so many bytes, and rows at most.
_SAMPLE_BYTES = 24 << 20
_SAMPLE_ROWS = 50_000


@dataclass(frozen=True)
class MergedRows:
    """The rows that components are merged by, scanned once."""

    source: Source
    scan: Scan
    scorer: Scorer

    def by_entropy(self, k: int, number: Callable[[Partition], Partition]) -> Merging:
        """The merges of all components, and the k clusters they come to, in the order that
        `number` gives them."""
        over_rows, sampled = self.sums()
        parameters, sample_weights = self.scorer.parameters, self.scan.sample_weights
        work = EntropyMerging(
            parameters.k,
            parameters.noise is not None,
            k,
            number,
            over_rows,
            self.scan.weight,
            sampled,
            self.scan.sample.shape[1] if sample_weights is None else float(sample_weights.sum()),
        )
        hierarchy, sizes = work.run()
        if sampled is not None:
            logger.info("components merged after %d passes over the rows", work.looks)
        return Merging(number(hierarchy.partition(k)), hierarchy, sizes)

    def sizes(self, clusters: Partition) -> tuple[int, ...]:
        """Rows most probably in each cluster, and in the noise, where there is one."""
        request = Request((), clusters)
        return request.split(self.sums()[0](request))[1]

    def sample_sums(self) -> Sums:
        """Sums of a request over the sample."""
        found, weights = probabilities(self.scorer, self.scan.sample), self.scan.sample_weights
        return lambda request: request.sums(found, weights)

    def sums(self) -> tuple[Sums, Sums | None]:
        """Sums of a request over all the rows, and over the sample, where that is less."""
        sampled = self.sample_sums()
        if self.scan.sample.shape[1] == self.scan.num_rows:
            return sampled, None
        over_rows: Callable[[Request], Array] = lambda request: sums_over_rows(  # noqa: E731
            self.source, self.scan, self.scorer, request
        )
        return over_rows, sampled


def merging_of(
    model: GaussianMixtureModel, dataset: DataFrame | ParquetTable | None, k: int, by: str
) -> Merging:
    """The merges of a model's components, and the k clusters they come to: see
    `GaussianMixtureModel.mergeComponents`."""
    parameters = model.parameters
    criterion = checked_merging(k, parameters.k, by)

    def number(partition: Partition) -> Partition:
        return numbered(partition, parameters.weights, keep_order=_has_numbers(model))

    if criterion == "bhattacharyya":
        hierarchy = bhattacharyya_hierarchy(parameters)
        clusters = number(hierarchy.partition(k))
        if dataset is None:
            return Merging(clusters, hierarchy)
        with _opened(model, dataset) as rows:
            return Merging(clusters, hierarchy, rows.sizes(clusters))
    assert dataset is not None
    with _opened(model, dataset) as rows:
        return rows.by_entropy(k, number)


def _has_numbers(model: GaussianMixtureModel) -> bool:
    """Whether components have numbers of their own: those of labels, or of a model that the fit
    started from, which are seen by an order that is not by weight."""
    labelled = model._columns.label_col is not None
    return labelled or bool((np.diff(model.parameters.weights) > 0).any())


@contextmanager
def _opened(model: GaussianMixtureModel, dataset: DataFrame | ParquetTable) -> Iterator[MergedRows]:
    """The rows as the model reads them, scanned once; given back in the end."""
    missing: Any = missing_values(model)
    source = rows_of(model, dataset)
    try:
        rows = _SAMPLE_BYTES // (8 * len(source.roles.inputs))
        scanned = scan(
            source,
            missing=missing,
            seed=0,
            sample_size=max(1000, min(_SAMPLE_ROWS, rows)),
            weight_kind=model.getWeightKind(),
        )
        scorer = Scorer(model.parameters, missing, source.roles.inputs)
        with one_thread():
            yield MergedRows(source, scanned, scorer)
    finally:
        source.close()
