"""Values of frozen dataclasses as a few arrays, and back to the bit: what `numpy.savez` can write
without pickle, and another process can go on from.

A value may hold arrays, numbers, text, None, tuples, lists, dictionaries with text for keys, and
other dataclasses that its annotations name. What it holds twice is written once, and is one again
when it comes back.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from inspect import isabstract
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.structures import STRUCTURES, Structure

T = TypeVar("T")

# The array that says how the others make up the value: JSON, as bytes.
_PLAN = "plan"


def to_arrays(value: Any) -> dict[str, NDArray[Any]]:
    """The arrays that `from_arrays` makes the value of again: one, "plan", that says what is
    where, and one for every field that holds arrays, as "Parameters.means", end to end.

    Raises TypeError for what is none of the things above: a function has no place in a value.
    """
    writer = _Writer()
    root = writer.plain(value, "")
    plan = json.dumps({"root": root, "objects": writer.objects}).encode()
    found = {name: np.concatenate(parts) for name, parts in writer.parts.items()}
    return {**found, _PLAN: np.frombuffer(plan, dtype=np.uint8)}


def from_arrays(kind: type[T], arrays: Mapping[str, NDArray[Any]]) -> T:
    """The value of a class that `to_arrays` made arrays of.

    Raises ValueError where the arrays are not such, or of other classes or fields: of another
    release.
    """
    if _PLAN not in arrays:
        raise ValueError(f"expected an array {_PLAN!r}, got {sorted(arrays)}")
    plan = json.loads(np.asarray(arrays[_PLAN]).tobytes())
    found = _Reader(arrays, plan["objects"], kind).value(plan["root"])
    if not isinstance(found, kind):
        raise ValueError(f"expected a {kind.__name__}, got a {type(found).__name__}")
    return found


class _Writer:
    def __init__(self) -> None:
        self.parts: dict[str, list[NDArray[Any]]] = {}
        self.objects: list[Any] = []
        self._sizes: dict[str, int] = {}
        self._numbers: dict[int, int] = {}
        self._held: list[Any] = []  # an identity is unique among what is alive

    def plain(self, value: Any, field: str) -> Any:
        """What stands for the value of a field in JSON."""
        if isinstance(value, (np.ndarray, np.generic)) or is_dataclass(value):
            return {"object": self._number(value, field)}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, tuple):
            return {"tuple": [self.plain(item, field) for item in value]}
        if isinstance(value, list):
            return [self.plain(item, field) for item in value]
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            items = {key: self.plain(item, field) for key, item in value.items()}
            return {"dictionary": items}
        raise TypeError(f"{field}: a {type(value).__name__} cannot be written as arrays")

    def _number(self, value: Any, field: str) -> int:
        known = self._numbers.get(id(value))
        if known is not None:
            return known
        self._held.append(value)
        described = self._described(value, field)  # whose parts have lower numbers
        self.objects.append(described)
        self._numbers[id(value)] = len(self.objects) - 1
        return len(self.objects) - 1

    def _described(self, value: Any, field: str) -> Any:
        if isinstance(value, Structure):  # an entry of a table: its code says all
            return {"structure": value.code}
        if is_dataclass(value):
            kind = type(value).__name__
            names = [field.name for field in fields(value)]
            own = {name: self.plain(getattr(value, name), f"{kind}.{name}") for name in names}
            return {"class": kind, "fields": own}
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{field}: an array of {array.dtype} cannot be written")
        # Sums over an array depend, in the last bit, on how it lies in memory.
        columns_first = array.flags.f_contiguous and not array.flags.c_contiguous
        order: Literal["C", "F"] = "F" if columns_first else "C"
        name = field
        if name in self.parts and self.parts[name][0].dtype != array.dtype:
            name = f"{field} ({array.dtype.name})"
        first = self._sizes.get(name, 0)
        self.parts.setdefault(name, []).append(array.ravel(order))
        self._sizes[name] = first + array.size
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: name, "first": first, "shape": array.shape, "order": order}


class _Reader:
    def __init__(self, arrays: Mapping[str, NDArray[Any]], objects: list[Any], kind: type) -> None:
        self._arrays = {name: np.asarray(arrays[name]) for name in arrays if name != _PLAN}
        self._classes = {one.__name__: one for one in _dataclasses(kind, set())}
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
        found = self._arrays[described["array" if "array" in described else "scalar"]]
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


def _dataclasses(kind: Any, seen: set[type]) -> Iterator[type]:
    """The dataclasses that a class, or an annotation, is or names, and those that these name; of
    an abstract class, all that are one."""
    for one in get_args(kind):
        yield from _dataclasses(one, seen)
    if isabstract(kind):
        for one in kind.__subclasses__():
            yield from _dataclasses(one, seen)
    if not isinstance(kind, type) or not is_dataclass(kind) or kind in seen:
        return
    seen.add(kind)
    yield kind
    for hint in get_type_hints(kind).values():
        yield from _dataclasses(hint, seen)
