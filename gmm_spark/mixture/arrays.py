"""Values of frozen dataclasses as a few arrays, and back to the bit: what `numpy.savez` can write
without pickle, and another process can go on from.

A value may hold arrays, numbers, text, None, tuples, lists, dictionaries with text for keys, and
other dataclasses. What it holds twice is written once, and is one again when it comes back.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.parameters import STRUCTURES, Structure

# The array that says how the others make up the value: JSON, as bytes.
_PLAN = "plan"


def to_arrays(value: Any) -> dict[str, NDArray[Any]]:
    """The value as one array for every type of number in it, and one that says what is where.

    Raises TypeError for what is none of the things above: a function has no place in a value.
    """
    writer = _Writer()
    root = writer.plain(value)
    plan = json.dumps({"root": root, "objects": writer.objects}).encode()
    found = {name: np.concatenate(parts) for name, parts in writer.parts.items()}
    return {**found, _PLAN: np.frombuffer(plan, dtype=np.uint8)}


def from_arrays(arrays: Mapping[str, NDArray[Any]], classes: Iterable[type]) -> Any:
    """The value that `to_arrays` made arrays of; `classes` are the dataclasses it may consist of.

    Raises ValueError where the arrays are not such, or of other classes or fields: of another
    release.
    """
    if _PLAN not in arrays:
        raise ValueError(f"expected an array {_PLAN!r}, got {sorted(arrays)}")
    plan = json.loads(np.asarray(arrays[_PLAN]).tobytes())
    return _Reader(arrays, plan["objects"], classes).value(plan["root"])


class _Writer:
    def __init__(self) -> None:
        self.parts: dict[str, list[NDArray[Any]]] = {}
        self.objects: list[Any] = []
        self._sizes: dict[str, int] = {}
        self._numbers: dict[int, int] = {}
        self._held: list[Any] = []  # an identity is unique among what is alive

    def plain(self, value: Any) -> Any:
        """What stands for the value in JSON."""
        if isinstance(value, (np.ndarray, np.generic)) or is_dataclass(value):
            return {"object": self._number(value)}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, tuple):
            return {"tuple": [self.plain(item) for item in value]}
        if isinstance(value, list):
            return [self.plain(item) for item in value]
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {"dictionary": {key: self.plain(item) for key, item in value.items()}}
        raise TypeError(f"a {type(value).__name__} cannot be written as arrays")

    def _number(self, value: Any) -> int:
        known = self._numbers.get(id(value))
        if known is not None:
            return known
        self._held.append(value)
        described = self._described(value)  # whose parts have lower numbers
        self.objects.append(described)
        self._numbers[id(value)] = len(self.objects) - 1
        return len(self.objects) - 1

    def _described(self, value: Any) -> Any:
        if isinstance(value, Structure):
            return {"structure": value.code}
        if is_dataclass(value):
            own = {field.name: self.plain(getattr(value, field.name)) for field in fields(value)}
            return {"class": type(value).__name__, "fields": own}
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"an array of {array.dtype} cannot be written")
        # Sums over an array depend, in the last bit, on how it lies in memory.
        columns_first = array.flags.f_contiguous and not array.flags.c_contiguous
        order: Literal["C", "F"] = "F" if columns_first else "C"
        name = array.dtype.name
        first = self._sizes.get(name, 0)
        self.parts.setdefault(name, []).append(array.ravel(order))
        self._sizes[name] = first + array.size
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: name, "first": first, "shape": array.shape, "order": order}


class _Reader:
    def __init__(
        self, arrays: Mapping[str, NDArray[Any]], objects: list[Any], classes: Iterable[type]
    ) -> None:
        self._arrays = {name: np.asarray(arrays[name]) for name in arrays if name != _PLAN}
        self._classes = {one.__name__: one for one in classes}
        self._objects: list[Any] = []
        for described in objects:
            self._objects.append(self._made(described))

    def value(self, plain: Any) -> Any:
        if isinstance(plain, list):
            return [self.value(item) for item in plain]
        if not isinstance(plain, dict):
            return plain
        if "object" in plain:
            return self._objects[plain["object"]]
        if "tuple" in plain:
            return tuple(self.value(item) for item in plain["tuple"])
        return {key: self.value(item) for key, item in plain["dictionary"].items()}

    def _made(self, described: Any) -> Any:
        if "structure" in described:
            return STRUCTURES[described["structure"]]
        if "class" in described:
            return self._dataclass(described["class"], described["fields"])
        shape, first = tuple(described["shape"]), described["first"]
        found = self._arrays[described.get("array") or described["scalar"]]
        found = found[first : first + int(np.prod(shape, dtype=int))]
        # A copy: an array that lies where any other would.
        array = np.array(found.reshape(shape, order=described["order"]), order=described["order"])
        return array if "array" in described else array[()]

    def _dataclass(self, name: str, plain: dict[str, Any]) -> Any:
        kind = self._classes.get(name)
        if kind is None:
            raise ValueError(f"a {name} is none of {', '.join(sorted(self._classes))}")
        expected = {field.name for field in fields(kind)}
        if expected != plain.keys():
            differing = ", ".join(sorted(expected ^ plain.keys()))
            raise ValueError(f"a {name} of another release: {differing} on one side alone")
        return kind(**{key: self.value(item) for key, item in plain.items()})
