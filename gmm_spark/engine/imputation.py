"""Filling gaps inside a task.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import TaskContext

from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.columns import as_text, batch_columns
from gmm_spark.engine.scoring import Gaps, central
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.families import FamilyColumns, told_apart
from gmm_spark.mixture.imputation import Imputer
from gmm_spark.mixture.numerics import Array
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


@dataclass(frozen=True)
class BatchPredicting:
    """Adds what a mixture expects of some columns given others to batches of rows, for
    `mapInArrow`: of a number mean and standard deviation, of a category the most probable value,
    its probability, and the probabilities of all.

    `columns` are the names of what is in a batch, where they may be numbered; `names` are those of
    a block's rows. `gaps` says what becomes of rows that lack some of what is given.
    """

    parameters: Parameters
    columns: tuple[str, ...]
    names: tuple[str, ...]
    families: tuple[FamilyColumns, ...]
    targets: tuple[str, ...]
    given: tuple[str, ...]
    gaps: Gaps

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        imputer = Imputer(self.parameters, central(self.parameters))
        roles = Roles(self.names[: self.parameters.d], columns=self.families)
        places = [self.names.index(name) for name in self.given]
        encoders = {
            number: roles.encoders[place]
            for number, place in enumerate(places)
            if place in roles.encoders
        }
        categories = {one.name: one for own in self.families for one in own.categories}
        for batch in batches:
            named = batch.rename_columns(list(self.columns))
            block = np.full((len(self.names), batch.num_rows), np.nan)
            block[places], _ = batch_columns(named, self.given, encoders)
            wrong = unusable(block, *extremes(block), roles.of_families)
            if wrong:
                raise InputDataError(refusal(wrong, self.names, batch.num_rows))
            skipped = self._skipped(np.isnan(block[places]))
            filled, deviations = imputer.expected(block)
            added: list[pa.Array] = []
            for target in self.targets:
                place = self.names.index(target)
                if target in categories:
                    chances = imputer.probabilities(block, place)
                    added += _predicted(chances, categories[target].levels, skipped)
                else:
                    added += [pa.array(row[place], mask=skipped) for row in (filled, deviations)]
            arrays = [*batch.columns, *added]
            yield pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])

    def _skipped(self, missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which rows are skipped, (m,), by where something given is missing, (given, m)."""
        incomplete = missing.any(axis=0)
        if self.gaps == "marginalize":
            return np.zeros_like(incomplete)
        if self.gaps == "error" and incomplete.any():
            name = self.given[int(np.flatnonzero(missing.any(axis=1))[0])]
            raise InputDataError(
                f"{np.count_nonzero(incomplete)} of {incomplete.size} rows have a gap, or a value "
                f"the model has not seen, in a given column (the first in column {name!r}); "
                "set missing='marginalize' to predict by what is known, or 'skip' for nulls"
            )
        return np.asarray(incomplete)


def _predicted(chances: Array, levels: Sequence[str], skipped: NDArray[np.bool_]) -> list[pa.Array]:
    """The most probable level, its probability, and all of them, (levels, m), row by row."""
    size, m = chances.shape
    level = chances.argmax(axis=0)
    offsets = pa.array(np.arange(0, (m + 1) * size, size, dtype=np.int32))
    every = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(chances.T).ravel()))
    return [
        pa.array(levels, pa.string()).take(pa.array(level, mask=skipped)),
        pa.array(chances[level, np.arange(m)], mask=skipped),
        pc.if_else(pa.array(skipped), None, every) if skipped.any() else every,
    ]


def _no_such(texts: pa.Array, like: pa.Array) -> str:
    """The first text that is no value of a column's type."""
    for text in texts.unique().to_pylist():
        try:
            pa.scalar(text).cast(like.type)
        except pa.ArrowInvalid:
            return str(text)
    return ""
