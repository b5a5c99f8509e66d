"""Findings as text, and values as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gmm_spark.lake.manifest import plain
from gmm_spark.lake.text import number, percent, table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.000"),
        (64.7616, "64.76"),
        (-2283.3004, "-2,283"),
        (1234567.0, "1,234,567"),
        (0.04321, "0.04321"),
        (0.00012345, "0.000123"),
        (1e12, "1.000e+12"),
        (3e-9, "3.000e-09"),
        (None, "-"),
        (float("nan"), "-"),
    ],
)
def test_numbers_are_short_and_readable(value, text) -> None:
    assert number(value) == text


def test_shares() -> None:
    assert percent(0.26537) == "26.5 %"
    assert percent(None) == "-"


def test_columns_are_flush_right() -> None:
    assert table(["a", "long name"], [["1", "2"], ["333", "4"]]) == (
        "    a  long name\n    1          2\n  333          4"
    )


def test_a_manifest_holds_what_json_can() -> None:
    value = {
        "array": np.array([[1.0, np.nan], [np.inf, 2.0]]),
        "scalar": np.float64(3),
        "count": np.int64(4),
        "flag": np.bool_(True),
        "tuple": (1, None, "x"),
        5: object,
    }
    expected = {
        "array": [[1.0, None], [None, 2.0]],
        "scalar": 3.0,
        "count": 4,
        "flag": True,
        "tuple": [1, None, "x"],
        "5": "<class 'object'>",
    }
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)
