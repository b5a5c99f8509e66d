"""Any DataFrame as a source: packed once into binary blocks, cached, read back every pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.cluster import (
    Partitions,
    cached,
    described,
    num_partitions,
    parallelism,
    released,
)
from gmm_spark.engine.column_types import ColumnKind, check_type, is_vector
from gmm_spark.engine.columns import NO_WEIGHT
from gmm_spark.engine.inputs import no_column
from gmm_spark.engine.packing import PACKED_SCHEMA, PackedReader, Packer
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.families import FamilyColumns

# Partitions beyond this many a core cost more to start than they balance.
_PARTITIONS_PER_CORE = 4


def check_column(frame: DataFrame, name: str, kind: ColumnKind) -> None:
    """Raise where the frame has no such column, or it is not of the kind that is needed."""
    if name not in frame.columns:
        raise no_column(name, frame.columns)
    check_once(frame, name)
    check_type(name, frame.schema[name].dataType, kind)


def check_columns(
    frame: DataFrame,
    input_cols: Sequence[str] | None,
    others: Sequence[str],
    weight: str | None,
    label: str | None,
    membership: str | None,
    outcome: str | None = None,
) -> None:
    """Raise where the frame lacks one of the columns, or it is not of the type that is needed."""
    extra = [name for name in (weight, label) if name is not None]
    for name in [*(input_cols or ()), *others, *extra]:
        check_column(frame, name, "number")
    if outcome is not None:
        check_column(frame, outcome, "outcome")
    if membership is not None:
        check_column(frame, membership, "membership")


def check_once(frame: DataFrame, name: str) -> None:
    """Raise where several columns of the frame answer to a name."""
    same = same_names(name, frame.columns)
    if len(same) > 1 and (same.count(name) > 1 or not is_case_sensitive(frame.sparkSession)):
        raise InputDataError(several_columns(name, same, "the data"))


def same_names(name: str, columns: Iterable[str]) -> list[str]:
    """The columns of a name, whatever their case."""
    return [column for column in columns if column.lower() == name.lower()]


def is_case_sensitive(spark: SparkSession) -> bool:
    """Whether Spark tells names apart that differ in case alone."""
    return str(spark.conf.get("spark.sql.caseSensitive", "false")).lower() == "true"


def several_columns(name: str, same: Sequence[str], where: str) -> str:
    """What is wrong with a name that several columns have."""
    if len(set(same)) == 1:
        found = f"column {name!r} is there {len(same)} times in {where}"
    else:
        names = " and ".join(map(repr, same))
        found = f"columns {names} of {where} are one name, of which Spark ignores the case"
    return f"{found}; rename all but one, or select the one that is meant"


def quoted(name: str) -> Column:
    """The column, whatever characters are in its name."""
    return F.col(sql_name(name))


def sql_name(name: str) -> str:
    """The name of a column as SQL reads it, whatever characters are in it."""
    return "`" + name.replace("`", "``") + "`"


def text_literal(value: str) -> str:
    """A text as SQL reads it, whatever characters are in it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def feature_column(frame: DataFrame, name: str) -> Column:
    """A vector column, or an array column as an array of doubles."""
    if name not in frame.columns:
        raise no_column(
            name,
            frame.columns,
            cure="set inputCols to the numeric columns, or featuresCol to a column of vectors",
        )
    check_once(frame, name)
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

    opening = "packing"
    version = None

    def __init__(
        self,
        frame: DataFrame,
        *,
        input_cols: Sequence[str] | None,
        features_col: str,
        weight: str | None,
        label: str | None,
        membership: str | None = None,
        families: tuple[FamilyColumns, ...] = (),
        outcome: str | None = None,
    ) -> None:
        self.spark = frame.sparkSession
        self._frame, self._features = frame, features_col
        features = tuple(input_cols) if input_cols is not None else (features_col,)
        self.roles = Roles(features, weight, label, membership, families, outcome)
        others = self.roles.numbers[len(features) :]
        check_columns(frame, input_cols, others, weight, label, membership, outcome)
        selected, encoders = [], self.roles.encoders
        for place, name in enumerate(self.roles.names):
            if input_cols is None and place == 0:
                column = feature_column(frame, features_col)
            else:
                column = quoted(name) if place in encoders else quoted(name).cast("double")
            selected.append(column.alias(str(place)))
        columns = tuple(str(place) for place in range(len(selected)))
        packer = Packer(columns, input_cols is None, encoders, self.roles.place("weight"))
        packed = frame.select(*selected).mapInArrow(packer, PACKED_SCHEMA)
        self._most = _PARTITIONS_PER_CORE * parallelism(self.spark)
        partitions = num_partitions(frame)
        if partitions is not None and partitions > self._most:
            packed = packed.coalesce(self._most)
        self._packed = cached(packed)
        self._blocks = self._packed
        try:
            with described(self.spark, "packing of the rows"):
                self._materialise(partitions, input_cols is None)
        except BaseException:
            self.close()
            raise
        self.reader = PackedReader(self.roles)

    def _materialise(self, partitions: int | None, arrays: bool) -> None:
        by_partition = self._packed.select(
            F.spark_partition_id().alias("partition"),
            "rows",
            "weightless",
            "length",
            "wrong_length",
        )
        totals = (
            by_partition.groupBy("partition")
            .agg(
                F.sum("rows").alias("rows"),
                F.max("length").alias("longest"),
                F.min(F.when(F.col("length") >= 0, F.col("length"))).alias("shortest"),
                F.sum("wrong_length").alias("wrong_length"),
                F.sum("weightless").alias("weightless"),
            )
            .agg(
                F.sum("rows"),
                F.count("rows"),
                F.max("longest"),
                F.min("shortest"),
                F.sum("wrong_length"),
                F.sum("weightless"),
            )
            .first()
        )
        assert totals is not None
        self.rows_at_most = int(totals[0] or 0)
        self.num_tasks = max(1, int(totals[1]))
        # How many partitions a query with a shuffle has is known only now.
        if partitions is None and self.num_tasks > self._most:
            self._blocks = self._packed.coalesce(self._most)
            self.num_tasks = self._most
        if not arrays:
            return
        longest, shortest, wrong = totals[2], totals[3], totals[4]
        if totals[5] and not self.rows_at_most:
            raise InputDataError(NO_WEIGHT.format(name=self.roles.weight))
        if longest is None or longest < 0:
            raise InputDataError(
                f"there are no rows with a value in column {self._features!r}: nothing is there "
                "to fit"
            )
        if wrong or longest != shortest:
            self._refuse_lengths()
        if longest < 1:
            raise InputDataError(f"column {self._features!r}: the first row has no entries")
        names = tuple(f"{self._features}[{i}]" for i in range(longest))
        self.roles = replace(self.roles, features=names)

    def _refuse_lengths(self) -> None:
        """Raise for rows of different lengths; counts them, in another look at the data."""
        # Here and not at the top: it takes scipy along.
        from pyspark.ml.functions import vector_to_array

        features = feature_column(self._frame, self._features)
        if is_vector(self._frame.schema[self._features].dataType):
            features = vector_to_array(features)
        present = self._frame.where(quoted(self._features).isNotNull())
        if self.roles.weight is not None:
            weights = quoted(self.roles.weight).cast("double")
            present = present.where(weights.isNull() | (weights != 0))
        lengths = present.select(F.size(features).alias("length"))
        first = lengths.first()
        expected = 0 if first is None else int(first["length"])
        if expected < 1:
            raise InputDataError(f"column {self._features!r}: the first row has no entries")
        other = F.when(F.col("length") != expected, F.col("length"))
        found = lengths.agg(F.count(other), F.max(other)).first()
        assert found is not None
        raise InputDataError(
            f"column {self._features!r}: {found[0]} of {self.rows_at_most} rows have another "
            f"number of entries ({found[1]}, for instance) than the first, which has {expected}; "
            "every row needs the same"
        )

    def partitions(self) -> Partitions:
        """The cached blocks.

        In an RDD they would be read in a third of the time (1M x 16: 0.09 s, not 0.26 s), but
        bringing them there costs as much as ten passes save.
        """
        return Partitions(self._blocks, self.reader)

    def close(self) -> None:
        """Drop the cached blocks."""
        released(self._packed)
