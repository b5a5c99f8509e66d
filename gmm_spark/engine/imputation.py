"""Filling gaps inside a task.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import TaskContext

from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.columns import as_text, batch_columns
from gmm_spark.engine.scoring import central
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.families import FamilyColumns, told_apart
from gmm_spark.mixture.imputation import Imputer
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.usable import extremes, refusal, unusable


@dataclass(frozen=True)
class BatchImputing:
    """Fills the gaps of batches of rows, for `mapInArrow`.

    `columns` are the names of what is in a batch, where they may be numbered; `inputs` are those of
    them that are numbers, the features first. Without `draws` the means are put in, and a column of
    standard deviations for every input follows, and one of probabilities for every category; with
    them every row comes that often, with a number after its columns.
    """

    parameters: Parameters
    columns: tuple[str, ...]
    inputs: tuple[str, ...]
    draws: int
    seed: int
    families: tuple[FamilyColumns, ...] = ()

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        partition = 0 if context is None else context.partitionId()
        rng = np.random.default_rng([self.seed, partition])
        pairs = zip(self.families, self.parameters.family_parameters, strict=True)
        filling = [columns.filling(values) for columns, values in pairs]
        imputer = Imputer(self.parameters, central(self.parameters), filling)
        d = self.parameters.d
        roles = Roles(self.inputs[:d], columns=self.families)
        names, categories = roles.inputs, told_apart(self.families)
        # As they stand in the block, and as they come out: numbers, then categories.
        order = [names.index(name) for name in (*self.inputs, *categories)]
        for batch in batches:
            named = batch.rename_columns(list(self.columns))
            values, _ = batch_columns(named, names, roles.encoders)
            wrong = unusable(values, *extremes(values), roles.of_families)
            if wrong:
                raise InputDataError(refusal(wrong, names, batch.num_rows))
            if self.draws == 0:
                filled, deviations = imputer.expected(values)
                more = [pa.array(row) for row in deviations[order]]
                # A value that the model has not seen is a gap to it, and stays.
                for place, name in enumerate(categories, len(self.inputs)):
                    here = named.column(name).is_valid()
                    more[place] = pc.if_else(here, 1.0, more[place])
                yield self._batch(batch, filled[order], more)
                continue
            for number in range(self.draws):
                which = pa.array(np.full(batch.num_rows, number, dtype=np.int32))
                yield self._batch(batch, imputer.drawn(values, rng)[order], [which])

    def _batch(
        self, batch: pa.RecordBatch, filled: np.ndarray, more: list[pa.Array]
    ) -> pa.RecordBatch:
        arrays = list(batch.columns)
        first = len(self.inputs)
        for name, row in zip(self.inputs, filled[:first], strict=True):
            arrays[self.columns.index(name)] = pa.array(row)
        categories = (one for columns in self.families for one in columns.categories)
        for category, row in zip(categories, filled[first:], strict=True):
            place = self.columns.index(category.name)
            known = ~np.isnan(row)
            codes = pa.array(np.where(known, row, 0).astype(np.int64))
            texts = pa.array(category.levels, pa.string()).take(codes)
            missing = arrays[place].is_null()
            found = pc.if_else(missing, texts, as_text(arrays[place]))
            try:
                arrays[place] = found.cast(arrays[place].type)
            except pa.ArrowInvalid:
                raise InputDataError(
                    f"column {category.name!r} has type {arrays[place].type}, and a gap in it "
                    f"would be filled by a value of the model, {_no_such(texts, arrays[place])!r}; "
                    "cast the column to text"
                ) from None
        arrays += more
        return pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])


def _no_such(texts: pa.Array, like: pa.Array) -> str:
    """The first text that is no value of a column's type."""
    for text in texts.unique().to_pylist():
        try:
            pa.scalar(text).cast(like.type)
        except pa.ArrowInvalid:
            return str(text)
    return ""
