"""Types of columns: what Spark's are is what Arrow's are. No session."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_type

from gmm_spark.engine.column_types import SPARK_TYPES, check_type, is_usable
from gmm_spark.engine.columns import Memberships
from gmm_spark.errors import InputDataError

ONE = [
    T.BooleanType(), T.ByteType(), T.ShortType(), T.IntegerType(), T.LongType(), T.FloatType(),
    T.DoubleType(), T.DecimalType(10, 2), T.StringType(), T.DateType(), T.TimestampNTZType(),
    T.BinaryType(), T.NullType(), T.StructType([T.StructField("x", T.IntegerType())]),
]  # fmt: skip
TYPES = [*ONE, *(T.ArrayType(one) for one in ONE)]
KINDS = ["number", "category", "membership"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spark_type", TYPES, ids=lambda one: one.simpleString())
def test_spark_and_arrow_take_the_same(spark_type, kind) -> None:
    assert is_usable(spark_type, kind) == is_usable(to_arrow_type(spark_type), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arrow_type", SPARK_TYPES, ids=str)
def test_what_has_a_type_of_spark_is_of_the_same_kinds(arrow_type, kind) -> None:
    assert is_usable(arrow_type, kind) == is_usable(SPARK_TYPES[arrow_type], kind)


def test_the_kinds_differ() -> None:
    taken = {kind: {str(one) for one in TYPES if is_usable(one, kind)} for kind in KINDS}
    assert len(taken["number"]) == 9
    assert len(taken["category"]) == 7
    assert len(taken["membership"]) == 16
    dictionary = pa.dictionary(pa.int32(), pa.string())
    assert [is_usable(dictionary, kind) for kind in KINDS] == [False, True, False]


@pytest.mark.parametrize(
    ("found", "kind", "said"),
    [
        (T.StringType(), "number", "column 'x' has type string, a number is needed"),
        (pa.string(), "number", "column 'x' has type string, a number is needed"),
        (T.DoubleType(), "category", "column 'x' has type double; categories are text"),
        (pa.date32(), "category", r"column 'x' has type date32\[day\]; categories are text"),
        (T.DateType(), "membership", "label column 'x' has type date; labels are component"),
    ],
)
def test_a_refusal_names_column_and_type(found, kind, said) -> None:
    with pytest.raises(InputDataError, match=said):
        check_type("x", found, kind)


def test_labels_that_are_decimals_are_read_as_whole_numbers() -> None:
    whole = pa.array([0, None, 3, -1], pa.int64())
    lists = pa.array([[0, 2], None, [], [3]], pa.list_(pa.int64()))
    for labels, kind in ((whole, pa.decimal128(21, 2)), (lists, pa.list_(pa.decimal128(21, 2)))):
        found = Memberships().encoded(labels.cast(kind))
        np.testing.assert_array_equal(found, Memberships().encoded(labels))
