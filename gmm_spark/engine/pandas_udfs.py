"""Scoring and imputing of tables with columns that Arrow cannot carry to Python and back.

Intervals, structs with fields of one name and the like stay in the JVM: a vectorised UDF is given
the inputs alone, and what it returns stands beside the table's columns. Where all columns can be
carried, `mapInArrow` with all of them costs less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.engine.imputation import BatchImputing
from gmm_spark.engine.scoring import BatchScoring
from gmm_spark.mixture.families import told_apart

Batches = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]

_CARRIED = (
    T.BooleanType,
    T.NumericType,
    T.StringType,
    T.BinaryType,
    T.DateType,
    T.TimestampType,
    T.TimestampNTZType,
    T.DayTimeIntervalType,
)


def is_carried(kind: T.DataType) -> bool:
    """Whether Arrow brings values of the type to Python and back as they were."""
    if isinstance(kind, T.ArrayType):
        return is_carried(kind.elementType)
    if isinstance(kind, T.MapType):
        return is_carried(kind.keyType) and is_carried(kind.valueType)
    if isinstance(kind, T.StructType):
        return len(set(kind.names)) == len(kind) > 0 and all(is_carried(f.dataType) for f in kind)
    if isinstance(kind, T.UserDefinedType):
        return kind.typeName() == "vectorudt"
    # An interval of years is a number to Python's types, too, in some versions of Spark.
    return isinstance(kind, _CARRIED) and "year-month" not in kind.typeName()


def scored_beside(
    numbered: DataFrame, scoring: BatchScoring, added: Sequence[T.StructField]
) -> DataFrame:
    """The table, its columns named "0", "1", ..., with the output columns after them."""
    if not added:
        return numbered
    if scoring.inputs is None:
        place = scoring.columns.index(scoring.features)
        inputs = [_features(numbered, place)]
        names: tuple[str, ...] = (scoring.features,)
    else:
        names = scoring.inputs
        categories = told_apart(scoring.families)
        inputs = [_input(scoring.columns.index(name), name in categories) for name in names]
    alone = replace(scoring, columns=names, kept=0)
    kinds = [T.ArrayType(T.DoubleType()) if _is_vector(f) else f.dataType for f in added]
    found = _found(alone, kinds, inputs)
    outputs = []
    for number, field in enumerate(added):
        output = found.getField(str(number))
        if _is_vector(field):
            output = F.when(output.isNotNull(), array_to_vector(output))
        outputs.append(output.alias(field.name, metadata=field.metadata))
    return numbered.select("*", *outputs)


def imputed_beside(numbered: DataFrame, work: BatchImputing, outputs: Sequence[str]) -> DataFrame:
    """The table, its columns named "0", "1", ..., filled, with the output columns after them."""
    categories = told_apart(work.families)
    names = (*work.inputs, *categories)
    inputs = [_input(work.columns.index(name), name in categories) for name in names]
    alone: Batches = replace(work, columns=names)
    kinds: list[T.DataType] = [T.DoubleType()] * len(work.inputs)
    kinds += [T.StringType()] * len(categories)
    more: list[T.DataType] = [T.DoubleType()] * len(outputs)
    if work.draws:
        kinds, more = [T.ArrayType(kind) for kind in kinds], []
        alone = _Together(work.draws, alone)
    found, rows = _found(alone, [*kinds, *more], inputs), numbered
    if work.draws:
        # One struct of arrays a row, an entry a draw; and a row a draw of it.
        every = found.alias("found")
        fields = [F.col("found").getField(str(i)).alias(str(i)) for i in range(len(kinds))]
        rows = numbered.select("*", every).select("*", F.posexplode(F.arrays_zip(*fields)))
        found = F.col("col")
    columns = [F.col(str(place)) for place in range(len(work.columns))]
    for number, name in enumerate(names):
        place = work.columns.index(name)
        value = found.getField(str(number))
        if name in categories:
            kind = numbered.schema.fields[place].dataType
            value = F.coalesce(columns[place], value.cast(kind))
        columns[place] = value.alias(str(place))
    if work.draws:
        added = [F.col("pos").alias(outputs[0])]
    else:
        first = len(names)
        added = [found.getField(str(first + i)).alias(n) for i, n in enumerate(outputs)]
    return rows.select(*columns, *added)


class _Together:
    """The draws of a batch, which come one after the other, as arrays of the rows."""

    def __init__(self, draws: int, batches: Batches) -> None:
        self._draws, self._batches = draws, batches

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        drawn: list[pa.RecordBatch] = []
        for batch in self._batches(batches):
            drawn.append(batch)
            if len(drawn) < self._draws:
                continue
            rows = batch.num_rows
            order = np.arange(self._draws * rows).reshape(self._draws, rows).T.ravel()
            offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * self._draws)
            arrays = []
            for place in range(batch.num_columns - 1):  # the last says which draw it is
                values = pa.concat_arrays([part.column(place) for part in drawn])
                arrays.append(pa.ListArray.from_arrays(offsets, values.take(pa.array(order))))
            yield pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])
            drawn = []


def _found(batches: Batches, kinds: Sequence[T.DataType], inputs: Sequence[Column]) -> Column:
    """A struct of what `batches` returns, of fields "0", "1", ..."""
    returned = T.StructType([T.StructField(str(i), kind) for i, kind in enumerate(kinds)])

    def work(parts: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches(map(_as_batch, parts)):
            yield _as_frame(batch)

    udf = F.pandas_udf(work, returned)  # type: ignore[call-overload]
    given = (column.alias(str(i)) for i, column in enumerate(inputs))
    return udf(F.struct(*given))  # type: ignore[no-any-return]


def _as_batch(part: pd.DataFrame) -> pa.RecordBatch:
    arrays = [_as_array(part.iloc[:, place]) for place in range(part.shape[1])]
    return pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])


def _as_array(values: pd.Series) -> pa.Array:
    if values.dtype == np.float64:
        return pa.array(values.to_numpy(), pa.float64())  # NaN is a gap, as null is
    found = pa.array(values, from_pandas=True)
    if pa.types.is_list(found.type) or pa.types.is_string(found.type):
        return found
    return found.cast(pa.string() if pa.types.is_null(found.type) else found.type)


def _as_frame(batch: pa.RecordBatch) -> pd.DataFrame:
    arrays = (
        pc.struct_field(array, "values") if pa.types.is_struct(array.type) else array
        for array in batch.columns
    )
    columns = [_as_series(array) for array in arrays]
    return pd.concat(columns, axis=1, keys=[str(i) for i in range(len(columns))])


def _as_series(array: pa.Array) -> pd.Series:
    if pa.types.is_list(array.type):
        return array.to_pandas()
    # Arrow's own types, which have nulls for whole numbers and booleans too.
    return pd.Series(pd.arrays.ArrowExtensionArray(array))  # type: ignore[attr-defined]


def _input(place: int, is_category: bool) -> Column:
    return F.col(str(place)).cast("string" if is_category else "double")


def _features(numbered: DataFrame, place: int) -> Column:
    column = F.col(str(place))
    if isinstance(numbered.schema.fields[place].dataType, T.ArrayType):
        return column.cast("array<double>")
    return F.when(column.isNotNull(), vector_to_array(column))


def _is_vector(field: T.StructField) -> bool:
    return isinstance(field.dataType, T.UserDefinedType)
