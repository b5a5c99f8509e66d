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

from gmm_spark.engine.columns import as_text, batch_columns, column_named, encoders_of
from gmm_spark.engine.row_groups import RowGroupReader, TableRows
from gmm_spark.engine.vectors import array_features
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.families import FamilyColumns, rows_of
from gmm_spark.mixture.far import FAR, LEAST_LOG_DENSITY, log_joint_far
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.merging import Partition, cluster_probabilities
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.numerics import Array, softmax
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.usable import extremes, refusal, unusable

Gaps = Literal["error", "skip", "marginalize"]

NOISE, SKIPPED = -1, -2


@dataclass(frozen=True)
class Scores:
    """Of m rows; a row that was skipped has NaN everywhere but in its predictions."""

    prediction: NDArray[np.int32]  # (m,) the component, NOISE, or SKIPPED
    probability: Array  # (k, m), and of the noise, where there is one, at the end
    log_density: Array  # (m,)
    uncertainty: Array  # (m,), 1 - largest probability

    def taken(self, rows: NDArray[np.bool_]) -> Scores:
        """The scores of some of the rows."""
        return Scores(
            self.prediction[rows],
            self.probability[:, rows],
            self.log_density[rows],
            self.uncertainty[rows],
        )

    def of_clusters(self, clusters: Partition) -> Scores:
        """The scores by clusters of components, numbered in the order given."""
        probability = cluster_probabilities(self.probability, clusters)
        columns = np.arange(self.prediction.size)
        found = probability.argmax(axis=0)
        # Not 1 - largest, which rounds to nothing what is small.
        others = np.array(probability)
        others[found, columns] = 0.0
        prediction = np.where(found == len(clusters), NOISE, found)
        prediction = np.where(self.prediction == SKIPPED, SKIPPED, prediction)
        return Scores(
            prediction.astype(np.int32), probability, self.log_density, others.sum(axis=0)
        )

    def component_within(
        self, prediction: NDArray[np.int32], clusters: Partition
    ) -> NDArray[np.int32]:
        """Where these are the scores by component: of every row the likeliest component, (m,),
        among those of the cluster it is predicted to be in; NOISE and SKIPPED are themselves."""
        found = np.array(prediction)
        for number, cluster in enumerate(clusters):
            rows = np.flatnonzero(prediction == number)
            own = np.array(cluster, dtype=np.int32)
            found[rows] = own[self.probability[np.ix_(own, rows)].argmax(axis=0)]
        return found


def central(parameters: Parameters) -> Standardisation:
    """Centre and scale for evaluating a mixture whose data are not at hand."""
    weights = parameters.weights
    centre = np.array([_weighted_median(column, weights) for column in parameters.means.T])
    deviations = np.sqrt(parameters.variances())
    scale = np.array([_weighted_median(column, weights) for column in deviations.T])
    if parameters.structure.one_scale:
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
    _kernel: BlockKernel | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kernel": None}

    def score(self, block: Array) -> Scores:
        """Scores of every row. InputDataError for values that a fit refuses too, and for gaps where
        those are errors."""
        low, high = extremes(block)
        scored = self.scored_rows(block, low, high)
        far = self._reach_far(low, high)
        if scored.all():
            return self._scores(block, far)
        complete = np.flatnonzero(scored)
        part = self._scores(block[:, complete], far)
        scores = self._empty(block.shape[1])
        scores.prediction[complete] = part.prediction
        scores.probability[:, complete] = part.probability
        scores.log_density[complete] = part.log_density
        scores.uncertainty[complete] = part.uncertainty
        return scores

    def scored_rows(self, block: Array, lowest: Array, highest: Array) -> NDArray[np.bool_]:
        """Which rows are scored, (m,): where gaps are skipped, the complete ones. InputDataError as
        `score` raises it; `lowest` and `highest` are the extremes of the columns."""
        wrong = unusable(
            block, lowest, highest, rows_of(self.parameters.families, self.parameters.d)
        )
        if wrong:
            names = self.names or [f"number {column}" for column in range(len(block))]
            raise InputDataError(refusal(wrong, names, block.shape[1]))
        gaps = np.isnan(block)
        incomplete = gaps.any(axis=0)
        if self.gaps == "marginalize":
            return np.ones(block.shape[1], dtype=bool)
        if self.gaps == "error" and incomplete.any():
            column = int(np.flatnonzero(gaps.any(axis=1))[0])
            raise InputDataError(
                f"{np.count_nonzero(incomplete)} of {block.shape[1]} rows have a gap (the first in "
                f"column {self._name(column)}); "
                "set missing='marginalize' to score them on what is observed, or 'skip' for nulls"
            )
        return np.asarray(~incomplete)

    def _name(self, column: int) -> str:
        return repr(self.names[column]) if self.names else f"number {column}"

    def _empty(self, m: int) -> Scores:
        k = self.parameters.all_weights.size
        return Scores(
            np.full(m, SKIPPED, dtype=np.int32),
            np.full((k, m), np.nan),
            np.full(m, np.nan),
            np.full(m, np.nan),
        )

    def _reach_far(self, lowest: Array, highest: Array) -> bool:
        """Whether a row may be far from every component, by the extremes of the columns."""
        d, by = self.parameters.d, self.kernel().evaluator.standardisation
        reach = np.fmax(by.centre - lowest[:d], highest[:d] - by.centre)
        return bool((reach > FAR * by.scale).any())

    def _scores(self, block: Array, far: bool) -> Scores:
        """Scores of rows by what is known of them; of nothing, by the weights."""
        if block.shape[1] == 0:
            return self._empty(0)
        if far:
            return self._with_far(block)
        kernel = self.kernel()
        log_joint = kernel.log_joint(block)
        prediction = log_joint.argmax(axis=0)
        largest = log_joint[prediction, np.arange(block.shape[1])]
        log_joint -= largest
        scores = self._of_differences(prediction, log_joint, largest)
        unknown = np.isnan(block).all(axis=0) if self.gaps == "marginalize" else np.zeros(0, bool)
        if unknown.any():  # exactly, where rounding would leave 1e-17
            weights = self.parameters.all_weights
            scores.probability[:, unknown] = weights[:, None]
            scores.log_density[unknown] = 0.0
            scores.uncertainty[unknown] = 1.0 - weights.max()
        return scores

    def _of_differences(
        self, prediction: NDArray[np.intp], differences: Array, largest: Array
    ) -> Scores:
        """Scores from log joint densities, (K, m), less the largest of each row; in place."""
        total = softmax(differences)
        log_volume = self.kernel().evaluator.standardisation.log_volume
        return Scores(
            np.where(prediction == self.parameters.k, NOISE, prediction).astype(np.int32),
            differences,
            largest + np.log(total) - log_volume,
            1.0 - 1.0 / total,
        )

    def _with_far(self, block: Array) -> Scores:
        """Scores of rows of which some are far from every component."""
        by = self.kernel().evaluator.standardisation
        z = (block[: self.parameters.d] - by.centre[:, None]) / by.scale[:, None]
        far = (np.abs(z) > FAR).any(axis=0)
        rows = np.flatnonzero(far)
        differences, largest = log_joint_far(self.parameters.standardised(by), by, block[:, rows])
        found = self._of_differences(differences.argmax(axis=0), differences, largest)
        scores = self._empty(block.shape[1])
        for at, part in ((np.flatnonzero(~far), None), (rows, found)):
            part = part or self._scores(block[:, at], far=False)
            scores.prediction[at] = part.prediction
            scores.probability[:, at] = part.probability
            scores.log_density[at] = np.maximum(part.log_density, LEAST_LOG_DENSITY)
            scores.uncertainty[at] = part.uncertainty
        return scores

    def kernel(self) -> BlockKernel:
        """The kernel of the mixture, made once in a process."""
        if self._kernel is None:
            by = central(self.parameters)
            parameters = self.parameters.standardised(by)
            gaps = self.gaps == "marginalize"
            self._kernel = BlockKernel(natural_parameters([parameters], by, gaps=gaps))
        return self._kernel


@dataclass(frozen=True)
class BatchScoring:
    """Adds the output columns to batches of rows, for `mapInArrow`.

    `columns` are the names of what is in a batch, where they may be numbered. `outputs` names
    probability, prediction, log density, uncertainty, outlier and component; an empty name leaves
    one out.
    Features are the columns `inputs`, or one column of arrays or vectors.
    """

    columns: tuple[str, ...]
    kept: int  # so many of the columns, from the first, are in what comes out
    scorer: Scorer
    inputs: tuple[str, ...] | None
    features: str
    outputs: tuple[str, str, str, str, str, str]
    families: tuple[FamilyColumns, ...] = ()  # in `inputs` after the numbers
    threshold: float = -np.inf  # log densities under it are outliers
    clusters: Partition | None = None  # of components; None where they are not merged

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            named = batch.rename_columns(list(self.columns))
            scores = self.scorer.score(self.block(named))
            component = scores.prediction
            if self.clusters is not None:
                by_component, scores = scores, scores.of_clusters(self.clusters)
                component = by_component.component_within(scores.prediction, self.clusters)
            skipped = scores.prediction == SKIPPED
            added = (
                dense_vectors(scores.probability, skipped),
                pa.array(scores.prediction, mask=skipped),
                pa.array(scores.log_density, mask=skipped),
                pa.array(scores.uncertainty, mask=skipped),
                pa.array(scores.log_density < self.threshold, mask=skipped),
                pa.array(component, mask=skipped),
            )
            wanted = [array for array, name in zip(added, self.outputs, strict=True) if name]
            arrays = [*batch.columns[: self.kept], *wanted]
            yield pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])

    def block(self, batch: pa.RecordBatch) -> Array:
        """The rows of a batch with the names of `columns`, feature-major."""
        return self._features(batch) if self.inputs is None else self._inputs(batch, self.inputs)

    def _inputs(self, batch: pa.RecordBatch, names: tuple[str, ...]) -> Array:
        encoders = encoders_of(self.families, self.scorer.parameters.d)
        values, nulls = batch_columns(batch, names, encoders)
        if self.scorer.gaps == "error":
            for place in encoders:
                unknown = np.isnan(values[place])
                if unknown.sum() > nulls[place]:
                    column = as_text(column_named(batch, names[place]))
                    strange = column.filter(pa.array(unknown)).drop_null()
                    raise InputDataError(
                        f"column {names[place]!r}: {len(strange)} of {batch.num_rows} rows hold "
                        f"values the model has not seen (the first: {strange[0].as_py()!r}); set "
                        "missing='marginalize' to score them by their other columns, or 'skip' "
                        "for nulls"
                    )
        return values

    def _features(self, batch: pa.RecordBatch) -> Array:
        d = self.scorer.parameters.d
        column = column_named(batch, self.features)
        found = array_features(column, d)
        if found.wrong_length:
            raise InputDataError(
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
        return self.scoring(TableRows(self.reader, self.types)(batches))
