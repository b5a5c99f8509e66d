"""A raw column as a preparation is fitted to it: values of a sample, and figures of all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.numerics import Array

Kind = Literal["number", "text", "date", "none"]
# A value of a category that fewer rows have is told apart no longer.
RARE = 0.01
# Fourth powers of numbers in between are doubles still.
LARGEST, SMALLEST = 1e70, 1e-70


@dataclass(frozen=True, eq=False)
class Column:
    """A column of the sample.

    Attributes
    ----------
    values : (n,) numbers; of a text the place of each value in `texts`; of a date days from
        1970-01-01. NaN is not known.
    type : as Spark calls it
    sql : how a value is read, null where there is none; of a date its days
    num_rows, num_known, num_infinite : of all rows; infinite ones are known, and not in `values`
    num_distinct : different values of all rows, about, where nearly all of the sample's differ;
        else of the sample
    """

    name: str
    kind: Kind
    values: Array = field(default_factory=lambda: np.zeros(0))
    texts: tuple[str, ...] = ()
    type: str = ""
    sql: str = ""
    num_rows: int = 0
    num_known: int = 0
    num_infinite: int = 0
    num_distinct: int = 0

    @cached_property
    def known(self) -> Array:
        """The values that are known."""
        return self.values[~np.isnan(self.values)]

    @cached_property
    def counts(self) -> tuple[Array, NDArray[np.intp]]:
        """The different values, ascending, and how often each is there."""
        distinct, counts = np.unique(self.known, return_counts=True)
        return distinct, counts

    @cached_property
    def places(self) -> NDArray[np.intp]:
        """(n,) the place of each value among the different ones; -1 where not known."""
        found = np.full(self.values.size, -1)
        found[~np.isnan(self.values)] = np.searchsorted(self.counts[0], self.known)
        return found

    @cached_property
    def whole(self) -> bool:
        """Whether all numbers are whole."""
        return bool(np.all(self.counts[0] == np.round(self.counts[0])))

    @property
    def out_of_reach(self) -> str | None:
        """What is wrong with numbers too large, or too small, for their squares to be told apart;
        None where they are not. A few that are too large are outliers like others."""
        sizes = np.abs(self.counts[0][self.counts[0] != 0])
        if self.kind != "number" or not sizes.size:
            return None
        typical = float(np.median(sizes))
        if SMALLEST < typical < LARGEST:
            return None
        what = "large" if typical > 1 else "small"
        return f"numbers too {what} to be reckoned with, of size {typical:.3g}: change their unit"

    @property
    def common_share(self) -> float:
        """The share of the commonest value among those known."""
        counts = self.counts[1]
        return float(counts.max() / counts.sum()) if counts.size else 1.0

    @property
    def commonest(self) -> float:
        """The commonest value; the lowest of several."""
        return float(self.counts[0][self.counts[1].argmax()])

    def label(self, value: float) -> str:
        """A value in words, as the prepared category has it."""
        return self.texts[int(value)] if self.kind == "text" else f"{value:.15g}"


def column_of(name: str, values: Sequence[Any], **figures: Any) -> Column:
    """A column of values in memory, None or NaN where not known: numbers, or texts."""
    missing = np.array([value is None or value != value for value in values], dtype=bool)
    known = [value for value, gone in zip(values, missing, strict=True) if not gone]
    is_text = bool(known) and isinstance(known[0], str)
    texts = tuple(sorted(map(str, set(known)))) if is_text else ()
    places = {text: place for place, text in enumerate(texts)}
    numbers = np.full(missing.size, np.nan)
    numbers[~missing] = [places[value] for value in known] if is_text else known
    of_all = {"num_rows": missing.size, "num_known": len(known), "num_distinct": len(set(known))}
    return Column(name, "text" if is_text else "number", numbers, texts, **{**of_all, **figures})


def kept_values(column: Column, most: int, same: Sequence[str] = ()) -> tuple[list[float], int]:
    """The values of a category that are told apart, ascending, and how many others there are.

    These are the ones that at least one row in a hundred has, and at most `most`. One rare value
    alone stays: together it would have nothing to stand with.
    """
    values, counts = column.counts
    usable = np.array([column.label(value) not in same for value in values], dtype=bool)
    values, counts = values[usable], counts[usable]
    order = np.lexsort((values, -counts))
    enough = counts >= RARE * counts.sum()
    kept = [float(values[i]) for i in order if enough[i]][:most]
    others = values.size - len(kept)
    if others == 1 and len(kept) < most:
        kept, others = [float(value) for value in values], 0
    return sorted(kept), others
