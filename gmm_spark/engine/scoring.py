"""Scoring rows under a mixture, inside a task.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gmm_spark.engine.blocks import RowGroupReader, array_features, batch_columns
from gmm_spark.mixture.kernel import BlockKernel, natural_parameters
from gmm_spark.mixture.parameters import Array, Parameters, Standardisation

Gaps = Literal["error", "skip", "marginalize"]


@dataclass(frozen=True)
class Scores:
    """Of m rows; a row that was skipped has prediction -1 and NaN elsewhere."""

    prediction: NDArray[np.int32]  # (m,)
    probability: Array  # (k, m)
    log_density: Array  # (m,)
    uncertainty: Array  # (m,), 1 - largest probability


def central(parameters: Parameters) -> Standardisation:
    """Centre and scale for evaluating a mixture whose data are not at hand."""
    weights = parameters.weights
    centre = np.array([_weighted_median(column, weights) for column in parameters.means.T])
    deviations = np.sqrt(parameters.variances())
    scale = np.array([_weighted_median(column, weights) for column in deviations.T])
    if parameters.structure.shape == "spherical":
        scale = np.full_like(scale, scale[0])
    return Standardisation(centre, scale)


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulated, cumulated[-1] / 2)])


@dataclass
class Scorer:
    """Evaluates blocks of rows (d, m), in the user's units; gaps are NaN.

    `names` are those of the columns, for what is said of bad ones.
    """

    parameters: Parameters
    gaps: Gaps
    names: tuple[str, ...] = ()
    _kernels: dict[bytes, tuple[BlockKernel, float]] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kernels": {}}

    def score(self, block: Array) -> Scores:
        """Scores of every row. ValueError for infinities, and for gaps where those are errors."""
        gaps = np.isnan(block)
        infinite = np.isinf(block)
        if infinite.any():
            column = int(np.flatnonzero(infinite.any(axis=1))[0])
            raise ValueError(
                f"column {self._name(column)}: {np.count_nonzero(infinite[column])} of "
                f"{block.shape[1]} rows are infinite (the first: "
                f"{block[column][infinite[column]][0]}); replace them or leave those rows out"
            )
        if not gaps.any():
            return self._complete(block, gaps[:, 0] if gaps.shape[1] else np.zeros(0, bool))
        if self.gaps == "error":
            column = int(np.flatnonzero(gaps.any(axis=1))[0])
            count = int(gaps.any(axis=0).sum())
            raise ValueError(
                f"{count} of {block.shape[1]} rows have a gap (the first in column "
                f"{self._name(column)}); "
                "set missing='marginalize' to score them on what is observed, or 'skip' for nulls"
            )
        scores = self._empty(block.shape[1])
        patterns, which = np.unique(gaps, axis=1, return_inverse=True)
        which = which.ravel()
        for number in range(patterns.shape[1]):
            pattern = patterns[:, number]
            if self.gaps == "skip" and pattern.any():
                continue
            rows = np.flatnonzero(which == number)
            part = self._complete(np.ascontiguousarray(block[~pattern][:, rows]), pattern)
            scores.prediction[rows] = part.prediction
            scores.probability[:, rows] = part.probability
            scores.log_density[rows] = part.log_density
            scores.uncertainty[rows] = part.uncertainty
        return scores

    def _name(self, column: int) -> str:
        return repr(self.names[column]) if self.names else f"number {column}"

    def _empty(self, m: int) -> Scores:
        k = self.parameters.k
        return Scores(
            np.full(m, -1, dtype=np.int32),
            np.full((k, m), np.nan),
            np.full(m, np.nan),
            np.full(m, np.nan),
        )

    def _complete(self, block: Array, gaps: NDArray[np.bool_]) -> Scores:
        """Scores on the columns without a gap: the marginal mixture of those columns."""
        m = block.shape[1]
        if m == 0:
            return self._empty(0)
        if gaps.all():
            weights = self.parameters.weights
            probability = np.repeat(weights[:, None], m, axis=1)
            best = int(weights.argmax())
            return Scores(
                np.full(m, best, dtype=np.int32),
                probability,
                np.zeros(m),
                np.full(m, 1.0 - weights[best]),
            )
        kernel, log_volume = self._kernel(gaps)
        log_joint = kernel.log_joint(block)
        prediction = log_joint.argmax(axis=0)
        largest = log_joint[prediction, np.arange(m)]
        log_joint -= largest
        np.exp(log_joint, out=log_joint)
        total = log_joint.sum(axis=0)
        log_joint /= total
        return Scores(
            prediction.astype(np.int32),
            log_joint,
            largest + np.log(total) - log_volume,
            1.0 - 1.0 / total,
        )

    def _kernel(self, gaps: NDArray[np.bool_]) -> tuple[BlockKernel, float]:
        key = gaps.tobytes()
        if key not in self._kernels:
            observed = self.parameters
            if gaps.any():
                observed = observed.marginal(np.flatnonzero(~gaps))
            standardisation = central(observed)
            evaluator = natural_parameters(
                [observed.standardised(standardisation)], standardisation
            )
            self._kernels[key] = BlockKernel(evaluator), standardisation.log_volume
        return self._kernels[key]


@dataclass(frozen=True)
class BatchScoring:
    """Adds the output columns to batches of rows, for `mapInArrow`.

    `columns` are the names of what is in a batch, where they may be numbered. `outputs` names
    prediction, probability, log density and uncertainty; an empty name leaves one out. Features
    are the columns `inputs`, or one column of arrays or vectors.
    """

    columns: tuple[str, ...]
    kept: int  # so many of the columns, from the first, are in what comes out
    scorer: Scorer
    inputs: tuple[str, ...] | None
    features: str
    outputs: tuple[str, str, str, str]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            named = batch.rename_columns(list(self.columns))
            if self.inputs is not None:
                values, _ = batch_columns(named, self.inputs)
            else:
                values = self._features(named)
            scores = self.scorer.score(values)
            skipped = scores.prediction < 0
            added = (
                pa.array(scores.prediction, mask=skipped),
                dense_vectors(scores.probability, skipped),
                pa.array(scores.log_density, mask=skipped),
                pa.array(scores.uncertainty, mask=skipped),
            )
            wanted = [array for array, name in zip(added, self.outputs, strict=True) if name]
            arrays = [*batch.columns[: self.kept], *wanted]
            yield pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])

    def _features(self, batch: pa.RecordBatch) -> Array:
        d = self.scorer.parameters.d
        column = batch.column(batch.schema.get_field_index(self.features))
        found = array_features(column, d)
        if found.wrong_length:
            raise ValueError(
                f"column {self.features!r}: {found.wrong_length} of {batch.num_rows} rows have "
                f"another number of entries ({found.an_other_length}, for instance) than the "
                f"model, which has {d}"
            )
        return found.values


def dense_vectors(values: Array, null: NDArray[np.bool_]) -> pa.Array:
    """The columns of values (k, m) as MLlib's dense vectors in their Arrow form."""
    k, m = values.shape
    offsets = pa.array(np.arange(0, (m + 1) * k, k, dtype=np.int32))
    lists = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(values.T).ravel()))
    return pa.StructArray.from_arrays(
        [
            pa.array(np.ones(m, dtype=np.int8)),
            pa.nulls(m, pa.int32()),
            pa.nulls(m, pa.list_(pa.int32())),
            lists,
        ],
        ["type", "size", "indices", "values"],
        mask=pa.array(null) if null.any() else None,
    )


@dataclass(frozen=True)
class TableScoring:
    """Reads the row groups of a task and scores them, for `mapInArrow`."""

    reader: RowGroupReader
    types: pa.Schema  # of the columns that are kept, as Spark wants them
    scoring: BatchScoring

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return self.scoring(self._cast(batch) for batch in self.reader(batches))

    def _cast(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = list(batch.columns)
        for index, kind in enumerate(self.types.types):
            if arrays[index].type != kind:
                arrays[index] = arrays[index].cast(kind)
        return pa.RecordBatch.from_arrays(arrays, list(batch.schema.names))
