"""The manifest: values as JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from gmm_spark.runs.manifest import Manifest, plain


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


DONE = {
    "job": "train",
    "status": "done",
    "exit_code": 0,
    "reason": None,
    "run_id": "0a1b2c",
    "run_date": None,
    "started": "2026-11-01T01:00:00.000+00:00",
    "finished": "2026-11-01T01:00:02.500+00:00",
    "seconds": 2.5,
    "input": {"path": "lake/customers"},
    "settings": {"k": 3},
    "versions": {"numpy": "2.0"},
    "model_version": {"number": 3},
}
FAILED = {**DONE, "status": "failed", "exit_code": 3, "reason": "input: no rows"}


def test_manifests_are_valid() -> None:
    for content in (DONE, FAILED, {**FAILED, "status": "refused", "exit_code": 5}):
        Manifest.model_validate(content)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "running"},
        {"exit_code": 3},
        {"status": "failed"},
        {"reason": "fit: none"},
        {"run_id": ""},
        {"seconds": -1},
        {"finished": "2026-11-01T00:00:00+00:00"},
        {"versions": None},
        {"warnings": "none"},
    ],
    ids=str,
)
def test_a_manifest_that_contradicts_itself_is_not(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate({**DONE, **change})


@pytest.mark.parametrize("key", [key for key in DONE if key != "model_version"])
def test_what_a_manifest_has_to_say(key: str) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate({name: value for name, value in DONE.items() if name != key})
