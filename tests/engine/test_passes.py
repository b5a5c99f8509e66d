"""What tasks send of a pass, and how it is merged."""

from __future__ import annotations

import numpy as np

from gmm_spark.engine.passes import merge_payloads


def payload(fingerprint: int, values) -> bytes:
    return fingerprint.to_bytes(8, "little") + np.asarray(values, dtype=float).tobytes()


def test_payloads_merge_by_adding_in_their_order():
    """1e16 + 1 is 1e16 in float64, so that another order would be another sum."""
    parts = [payload(2**64 - 1, [1e16, 0.1]), payload(3, [1.0, 0.2]), payload(5, [-1e16, 0.3])]
    assert merge_payloads(parts) == payload(7, [0.0, 0.1 + 0.2 + 0.3])
    assert merge_payloads(parts[::-1]) != merge_payloads(parts)


def test_merging_in_stages_is_merging_at_once():
    rng = np.random.default_rng(0)
    # Whole numbers, whose sums are exact in any grouping.
    parts = [payload(int(f), rng.integers(-9, 9, 5)) for f in rng.integers(0, 2**62, 7)]
    staged = merge_payloads([merge_payloads(parts[:3]), merge_payloads(parts[3:5]), *parts[5:]])
    assert staged == merge_payloads(parts)
    assert merge_payloads(parts[:1]) == parts[0]
