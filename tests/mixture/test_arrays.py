"""Values as arrays: what comes back is what was written, to the bit, and what cannot be is said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gmm_spark.mixture.arrays import from_arrays, to_arrays
from gmm_spark.mixture.families import Categorical, Count, Noise
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import STRUCTURES


@dataclass(frozen=True)
class Single:
    one: Any


@dataclass(frozen=True)
class Pair:
    one: tuple[Single | None, ...] | np.ndarray
    other: Any


def through_a_file(value: Any, folder: Path) -> Any:
    np.savez(folder / "value.npz", **to_arrays(value))
    with np.load(folder / "value.npz", allow_pickle=False) as arrays:
        return from_arrays(type(value), arrays)


@pytest.mark.parametrize("code", STRUCTURES)
def test_parameters_of_every_structure(code, tmp_path) -> None:
    unit = Parameters.unit(
        STRUCTURES[code], 3, 2, (Categorical((2, 3)), Count(1)), Noise(0.1, np.zeros(2))
    )
    found = through_a_file(unit, tmp_path)
    assert found.validated().structure is STRUCTURES[code]
    for name in ("weights", "means", "covariances", "tables", "rates"):
        one, other = getattr(found, name), getattr(unit, name)
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert one.tobytes() == other.tobytes()
    assert (found.levels, found.noise.weight, found.noise.lowest) == ((2, 3), 0.1, None)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, -np.inf, 0.1, "k-means", (), [], ((1, "a"), [2.5, None]), {"a": (1,)},
        float(np.nextafter(1, 2)), np.float64(0.1), np.int64(7),
    ],
)  # fmt: skip
def test_plain_values(value, tmp_path) -> None:
    found = through_a_file(Single(value), tmp_path).one
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        np.array([np.nan, -0.0, np.inf, 5e-324]), np.zeros((0, 3)), np.array(2.0),
        np.arange(6.0).reshape(2, 3).T, np.array([True, False]), np.array([-1, 2**62]),
    ],
)  # fmt: skip
def test_arrays_lie_in_memory_as_they_did(array, tmp_path) -> None:
    _, found = through_a_file(Single((np.ones(3), array)), tmp_path).one
    assert (found.shape, found.dtype, found.strides) == (array.shape, array.dtype, array.strides)
    assert found.tobytes() == array.tobytes()


def test_what_is_held_twice_is_written_once() -> None:
    long = np.arange(1000.0)
    inner = Single(long)
    arrays = to_arrays(Pair((inner, None, inner), long))
    assert {name: array.size for name, array in arrays.items() if name != "plan"} == {
        "Single.one": 1000
    }
    found = from_arrays(Pair, arrays)
    assert found.one[0] is found.one[2]
    assert found.one[0].one is found.other


def test_what_has_no_place_in_a_value_is_said() -> None:
    with pytest.raises(TypeError, match="a function cannot"):
        to_arrays(Single(lambda: None))
    with pytest.raises(TypeError, match="object cannot"):
        to_arrays(np.array([None]))
    with pytest.raises(ValueError, match="a Pair is none of Single"):
        from_arrays(Single, to_arrays(Pair((), 1)))
    with pytest.raises(ValueError, match="expected a Pair, got a Single"):
        from_arrays(Pair, to_arrays(Single(1)))
    with pytest.raises(ValueError, match="expected an array 'plan', got"):
        from_arrays(Pair, {"a": np.ones(1)})


def test_a_value_with_another_field_is_of_another_release() -> None:
    arrays = to_arrays(Single(1))

    @dataclass(frozen=True)
    class Renamed:
        another: int

    Renamed.__name__ = "Single"
    with pytest.raises(ValueError, match="another release: another, one"):
        from_arrays(Renamed, arrays)
