"""The manifest: values as JSON."""

from __future__ import annotations

import json

import numpy as np

from gmm_spark.runs.manifest import plain


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
