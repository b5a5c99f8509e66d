"""Features out of one column of arrays or of ML vectors.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gmm_spark.mixture.numerics import Array


@dataclass(frozen=True)
class Features:
    """Features of a batch, (d, m), and what was wrong with some of them."""

    values: Array
    nulls: NDArray[np.int64]  # (d,)
    wrong_length: int = 0
    an_other_length: int = -1


def array_features(column: pa.Array, length: int) -> Features:
    """A column of arrays or of ML vectors as features; a null row is a gap in every feature."""
    if pa.types.is_struct(column.type):
        return _vector_features(column, length)
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    present = lengths >= 0
    right = lengths == length
    features = np.full((length, len(column)), np.nan)
    flat = column.filter(pa.array(right)).flatten()
    # Not safe: whole numbers beyond 2^53 are rounded, as the fit rounds them.
    values = flat.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    features[:, right] = values.reshape(-1, length).T
    nulls = np.full(length, int((~present).sum()), dtype=np.int64)
    if flat.null_count:
        gaps = flat.is_null().to_numpy(zero_copy_only=False)
        nulls += gaps.reshape(-1, length).sum(axis=0)
    return _judged(features, nulls, lengths, present & ~right)


def _vector_features(column: pa.Array, length: int) -> Features:
    """MLlib's vectors: type 1 is dense, with values alone; type 0 sparse, with its size."""
    present = column.is_valid().to_numpy(zero_copy_only=False)
    kinds, sizes, indices, values = (
        pc.struct_field(column, name) for name in ("type", "size", "indices", "values")
    )
    dense = kinds.fill_null(-1).to_numpy(zero_copy_only=False) == 1
    lengths = pc.list_value_length(values).fill_null(-1).to_numpy(zero_copy_only=False)
    sparse = present & ~dense
    if sparse.any():
        lengths = np.where(sparse, sizes.fill_null(-1).to_numpy(zero_copy_only=False), lengths)
    features = np.full((length, len(column)), np.nan)
    right = lengths == length
    filled = dense & right
    flat = values.filter(pa.array(filled)).flatten().to_numpy(zero_copy_only=False)
    features[:, filled] = flat.reshape(-1, length).T
    for row in np.flatnonzero(sparse & right):
        features[:, row] = 0.0
        features[indices[row].as_py(), row] = values[row].as_py()
    nulls = np.full(length, int((~present).sum()), dtype=np.int64)
    return _judged(features, nulls, lengths, present & ~right)


def _judged(
    features: Array, nulls: NDArray[np.int64], lengths: NDArray[Any], wrong: NDArray[np.bool_]
) -> Features:
    count = int(wrong.sum())
    return Features(features, nulls, count, int(lengths[wrong][0]) if count else -1)
