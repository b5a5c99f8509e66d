"""Which types of columns are numbers, categories and labels, to Spark and to Arrow alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
from pyspark.sql import types as T

from gmm_spark.errors import InputDataError

ColumnKind = Literal["number", "category", "membership", "outcome"]


def check_type(name: str, found: T.DataType | pa.DataType, kind: ColumnKind) -> None:
    """Raise InputDataError where a column of this type is none of this kind."""
    if not is_usable(found, kind):
        of = found.simpleString() if isinstance(found, T.DataType) else found
        raise InputDataError(type_refusal(name, of, kind))


def is_usable(found: T.DataType | pa.DataType, kind: ColumnKind) -> bool:
    """Whether a column of this type is of this kind."""
    if isinstance(found, T.DataType):
        return _KINDS[kind].of_spark(found)
    return _KINDS[kind].of_arrow(found)


def type_refusal(name: str, found: object, kind: ColumnKind) -> str:
    """What is said of a column whose type is none of this kind."""
    return _KINDS[kind].refusal.format(name=name, kind=found)


def is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_vector(kind: T.DataType) -> bool:
    return isinstance(kind, T.UserDefinedType) and kind.typeName() == "vectorudt"


def value_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values of a column, which may be a dictionary of them."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_spark_number(kind: T.DataType) -> bool:
    return isinstance(kind, T.NumericType | T.BooleanType | T.NullType)


def _is_arrow_number(kind: pa.DataType) -> bool:
    kind = value_type(kind)
    return bool(_is_numeric(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind))


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _is_spark_category(kind: T.DataType) -> bool:
    return isinstance(kind, T.StringType | T.IntegralType | T.BooleanType | T.NullType)


def _is_arrow_category(kind: pa.DataType) -> bool:
    kind = value_type(kind)
    whole = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    return bool(is_text(kind) or whole or pa.types.is_null(kind))


def _is_spark_membership(kind: T.DataType) -> bool:
    one = kind.elementType if isinstance(kind, T.ArrayType) else kind
    return isinstance(one, T.NumericType | T.NullType)


def _is_arrow_membership(kind: pa.DataType) -> bool:
    a_list = (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
    one = value_type(kind.value_type if a_list else kind)
    return bool(_is_numeric(one) or pa.types.is_null(one))


@dataclass(frozen=True)
class _Kind:
    refusal: str
    of_spark: Callable[[T.DataType], bool]
    of_arrow: Callable[[pa.DataType], bool]


_KINDS: dict[ColumnKind, _Kind] = {
    "number": _Kind(
        "column {name!r} has type {kind}, a number is needed; convert it or leave it out",
        _is_spark_number,
        _is_arrow_number,
    ),
    "category": _Kind(
        "column {name!r} has type {kind}; categories are text, whole numbers or booleans: convert "
        "it, or name it in inputCols",
        _is_spark_category,
        _is_arrow_category,
    ),
    "membership": _Kind(
        "label column {name!r} has type {kind}; labels are component numbers from 0 on, or arrays "
        "of them",
        _is_spark_membership,
        _is_arrow_membership,
    ),
    "outcome": _Kind(
        "outcome {name!r} has type {kind}; an outcome is a boolean or a number: compare it with "
        "the value that is meant, as in withColumn('left', F.col('status') == 'left')",
        _is_spark_number,
        _is_arrow_number,
    ),
}


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

# The other way, and what Spark has no type for.
SPARK_TYPES: dict[pa.DataType, T.DataType] = {
    **{kind: of() for of, kind in _SIMPLE.items()},
    pa.uint8(): T.ShortType(),
    pa.uint16(): T.IntegerType(),
    pa.uint32(): T.LongType(),
    pa.float16(): T.FloatType(),
}


def arrow_types(fields: list[T.StructField]) -> pa.Schema | None:
    """Arrow's types of columns that mean the same to Spark and to pyarrow, else None."""
    kinds = [_SIMPLE.get(type(field.dataType)) for field in fields]
    if any(kind is None for kind in kinds):
        return None
    return pa.schema([(field.name, kind) for field, kind in zip(fields, kinds, strict=True)])
