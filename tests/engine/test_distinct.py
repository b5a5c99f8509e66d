"""Whether keys are there twice, against numpy's unique."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gmm_spark.engine import distinct


def differ(tasks: list[list[list[int | None]]]) -> bool:
    """What tasks, of batches, of keys find, as Spark would put their parts together."""
    rows: dict[int, list[bytes]] = {}
    for task in tasks:
        batches = (pa.RecordBatch.from_arrays([pa.array(b, pa.int64())], ["key"]) for b in task)
        for sent in distinct._sorted_parts(batches):
            for row in sent.to_pylist():
                rows.setdefault(row["part"], []).append(row["keys"])
    found = [
        distinct._differ(
            pa.table({"part": [part] * len(keys), "keys": pa.array(keys, pa.binary())})
        )
        for part, keys in rows.items()
    ]
    return all(one.column("differ")[0].as_py() for one in found)


EDGES = [-(2**63), -(2**63) + 1, -1, 0, 1, 2**56 - 1, 2**56, 2**63 - 1]


@pytest.mark.parametrize("at_once", [3, 1 << 20])
def test_keys_that_are_there_twice_are_found_wherever_they_are(monkeypatch, at_once) -> None:
    monkeypatch.setattr(distinct, "_AT_ONCE", at_once)
    rng = np.random.default_rng(5)
    keys = np.unique(rng.integers(-(2**63), 2**63 - 1, 4000, dtype=np.int64)).tolist()
    keys = [key for key in keys if key not in EDGES] + EDGES
    assert differ([[keys[:1500], keys[1500:2000]], [keys[2000:]], []])
    for again in [*EDGES, keys[17]]:
        assert not differ([[keys[:1500], keys[1500:]], [[again]]])
        assert not differ([[keys[:1500], [*keys[1500:], again]]])


def test_a_row_without_a_key_is_as_one_that_is_there_twice() -> None:
    keys: list[Any] = [5, 6]
    assert differ([[keys]])
    assert not differ([[keys, [7, None]]])


def test_on_spark(spark) -> None:
    keys = spark.range(3000).selectExpr("xxhash64(id) AS key").repartition(3)
    assert distinct.all_differ(keys)
    assert not distinct.all_differ(keys.union(keys.limit(1)))
    assert not distinct.all_differ(keys.union(spark.sql("SELECT CAST(NULL AS BIGINT)")))
