"""Any DataFrame as a source: packed once into binary blocks, cached, read back every pass."""

from __future__ import annotations

from contextlib import suppress

import pyarrow as pa
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.storagelevel import StorageLevel

from gmm_spark.engine.blocks import (
    NO_CATEGORY,
    NO_MEMBERSHIP,
    PACKED_SCHEMA,
    Category,
    Encoder,
    PackedReader,
    Packer,
    Roles,
)
from gmm_spark.engine.inputs import no_column
from gmm_spark.engine.jobs import described, is_connect, parallelism
from gmm_spark.errors import InputDataError

# Partitions beyond this many a core cost more to start than they balance.
_PARTITIONS_PER_CORE = 4


def check_numeric(frame: DataFrame, name: str) -> None:
    """Raise where the frame has no such column, or it is not numeric."""
    _check_there(frame, name)
    kind = frame.schema[name].dataType
    if not isinstance(kind, T.NumericType | T.BooleanType):
        raise InputDataError(
            f"column {name!r} has type {kind.simpleString()}, a number is needed; convert it or "
            "leave it out"
        )


def check_category(frame: DataFrame, name: str) -> None:
    """Raise where the frame has no such column, or its values are no categories."""
    _check_there(frame, name)
    kind = frame.schema[name].dataType
    if not isinstance(kind, T.StringType | T.IntegralType | T.BooleanType):
        raise InputDataError(NO_CATEGORY.format(name=name, kind=kind.simpleString()))


def check_membership(frame: DataFrame, name: str) -> None:
    """Raise where the frame has no such column, or it holds no component numbers."""
    _check_there(frame, name)
    kind = frame.schema[name].dataType
    one = kind.elementType if isinstance(kind, T.ArrayType) else kind
    if not isinstance(one, T.NumericType):
        raise InputDataError(NO_MEMBERSHIP.format(name=name, kind=kind.simpleString()))


def _check_there(frame: DataFrame, name: str) -> None:
    if name not in frame.columns:
        raise no_column(name, frame.columns)


def is_vector(kind: T.DataType) -> bool:
    return isinstance(kind, T.UserDefinedType) and kind.typeName() == "vectorudt"


def quoted(name: str) -> Column:
    """The column, whatever characters are in its name."""
    return F.col(f"`{name.replace('`', '``')}`")


def feature_column(frame: DataFrame, name: str) -> Column:
    """A vector column, or an array column as an array of doubles."""
    if name not in frame.columns:
        raise no_column(
            name,
            frame.columns,
            cure="set inputCols to the numeric columns, or featuresCol to a column of vectors",
        )
    kind = frame.schema[name].dataType
    if is_vector(kind):
        return quoted(name)
    if isinstance(kind, T.ArrayType) and isinstance(kind.elementType, T.NumericType):
        return quoted(name).cast("array<double>")
    raise InputDataError(
        f"column {name!r} has type {kind.simpleString()}, a vector or an array of numbers is "
        "needed; name scalar columns with inputCols"
    )


class DataFrameSource:
    """A DataFrame packed into cached blocks. Features are scalar columns or one array."""

    def __init__(
        self,
        frame: DataFrame,
        *,
        input_cols: list[str] | None,
        features_col: str,
        weight: str | None,
        label: str | None,
        categories: tuple[Category, ...] = (),
        membership: str | None = None,
        counts: tuple[str, ...] = (),
    ) -> None:
        self.spark = frame.sparkSession
        extra = [name for name in (weight, label) if name is not None]
        for name in [*(input_cols or []), *counts, *extra]:
            check_numeric(frame, name)
        if membership is not None:
            check_membership(frame, membership)
        length: int | None = None
        if input_cols is not None:
            self.roles = Roles(tuple(input_cols), weight, label, categories, membership, counts)
            selected = []
        else:
            features = feature_column(frame, features_col)
            length = _first_length(frame, features, features_col)
            names = tuple(f"{features_col}[{i}]" for i in range(length))
            self.roles = Roles(names, weight, label, categories, membership, counts)
            selected = [features.alias("0")]
        encoders: dict[int, Encoder] = {}
        skipped = 0 if length is None else length
        for place, name in enumerate(self.roles.names[skipped:], skipped):
            encoder = self.roles.encoders.get(place)
            column = quoted(name) if encoder is not None else quoted(name).cast("double")
            if encoder is not None:
                encoders[len(selected)] = encoder
            selected.append(column.alias(str(len(selected))))
        packer = Packer(tuple(str(i) for i in range(len(selected))), length, encoders)
        packed = frame.select(*selected).mapInArrow(packer, PACKED_SCHEMA)
        cores = parallelism(self.spark)
        if not is_connect(self.spark):
            partitions = frame.rdd.getNumPartitions()
            if partitions > _PARTITIONS_PER_CORE * cores:
                packed = packed.coalesce(_PARTITIONS_PER_CORE * cores)
        self._packed = packed.persist(StorageLevel.MEMORY_AND_DISK)
        try:
            with described(self.spark, "packing of the rows"):
                self._materialise(length, features_col)
        except BaseException:
            self.close()
            raise
        self.reader = PackedReader(self.roles)

    def _materialise(self, length: int | None, features_col: str) -> None:
        by_partition = self._packed.select(
            F.spark_partition_id().alias("partition"), "rows", "wrong_length", "an_other_length"
        )
        totals = (
            by_partition.groupBy("partition")
            .agg(
                F.sum("rows").alias("rows"),
                F.sum("wrong_length").alias("wrong_length"),
                F.max("an_other_length").alias("an_other_length"),
            )
            .agg(F.sum("rows"), F.sum("wrong_length"), F.max("an_other_length"), F.count("rows"))
            .first()
        )
        assert totals is not None
        self.rows_at_most = int(totals[0] or 0)
        self.num_tasks = max(1, int(totals[3]))
        if totals[1]:
            raise InputDataError(
                f"column {features_col!r}: {totals[1]} of {self.rows_at_most} rows have another "
                f"number of entries ({totals[2]}, for instance) than the first, which has "
                f"{length}; every row needs the same"
            )

    def frame(self) -> DataFrame:
        return self._packed

    def rdd(self) -> None:
        # Blocks cached in an RDD are read in a third of the time (1M x 16: 0.09 s, not 0.26 s),
        # but bringing them there costs as much as ten passes save.
        return None

    def close(self) -> None:
        """Drop the cached blocks."""
        with suppress(Exception):
            self._packed.unpersist()


def _first_length(frame: DataFrame, features: Column, name: str) -> int:
    array = vector_to_array(features) if is_vector(frame.schema[name].dataType) else features
    first = frame.where(features.isNotNull()).select(F.size(array).alias("n")).first()
    if first is None:
        raise InputDataError(
            f"there are no rows with a value in column {name!r}: nothing is there to fit"
        )
    if first["n"] < 1:
        raise InputDataError(f"column {name!r}: the first row has no entries")
    return int(first["n"])


_SIMPLE: dict[type[T.DataType], pa.DataType] = {
    T.BooleanType: pa.bool_(),
    T.ByteType: pa.int8(),
    T.ShortType: pa.int16(),
    T.IntegerType: pa.int32(),
    T.LongType: pa.int64(),
    T.FloatType: pa.float32(),
    T.DoubleType: pa.float64(),
    T.StringType: pa.string(),
    T.DateType: pa.date32(),
}


def arrow_types(fields: list[T.StructField]) -> pa.Schema | None:
    """Arrow's types of columns that mean the same to Spark and to pyarrow, else None."""
    kinds = [_SIMPLE.get(type(field.dataType)) for field in fields]
    if any(kind is None for kind in kinds):
        return None
    return pa.schema([(field.name, kind) for field, kind in zip(fields, kinds, strict=True)])
