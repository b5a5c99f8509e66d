"""Hashes of rows: a sample, and the sum that tells changed data, depend on no partitioning.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.numerics import Array


def row_hashes(values: Array, seed: int) -> NDArray[np.uint64]:
    """A 64-bit hash of every row of values (d, m), of its content and the seed alone."""
    multiplier = np.uint64(0x9E3779B97F4A7C15)
    state = np.full(values.shape[1], _mixed(np.array([seed & (2**64 - 1)], dtype=np.uint64))[0])
    shift = np.uint64(29)
    for row in values:
        # Adding 0.0 makes -0.0 and 0.0, which compare equal, the same bits.
        state ^= (np.ascontiguousarray(row) + 0.0).view(np.uint64)
        state *= multiplier
        state ^= state >> shift
    return _mixed(state)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    state = state ^ (state >> np.uint64(30))
    state = state * np.uint64(0xBF58476D1CE4E5B9)
    state = state ^ (state >> np.uint64(27))
    state = state * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def occurrence_hashes(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes that differ between the first, second, ... occurrence of the same row."""
    return of_occurrences(hashes, occurrences(hashes))


def of_occurrences(hashes: NDArray[np.uint64], ranks: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes of rows that are there for the time that `ranks` says."""
    return _mixed(hashes + ranks * np.uint64(0xD1B54A32D192ED03))


def occurrences(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """0 for the first row of a hash, 1 for the second, ..."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    lengths = np.diff(np.append(starts, ordered.size))
    ranks = np.empty(ordered.size, dtype=np.uint64)
    ranks[order] = (np.arange(ordered.size) - np.repeat(starts, lengths)).astype(np.uint64)
    return ranks


def salted(hashes: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    """Other hashes of the same rows, independent of those by another salt."""
    return _mixed(hashes ^ _mixed(np.array([salt % 2**64], dtype=np.uint64)))
