"""The gate: figures of what has changed since the champion, and the rules they are held to.

Figures are sizes of effects, not p-values, which flag everything where there are many rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gmm_spark.config.gate import Rule

# Of rules that speak against publishing, so many are named.
_NAMED = 3


@dataclass(frozen=True)
class Figure:
    """Something measured today and, where it was, at the champion's run.

    name : what it is, as rules call it
    of : of which segment or column; empty where it is of all rows
    """

    name: str
    of: str
    value: float
    before: float | None = None

    @property
    def change(self) -> float | None:
        return None if self.before is None else self.value - self.before

    @property
    def relative_change(self) -> float | None:
        """The change as a share of what was before; None of nothing."""
        if self.before is None or self.before == 0:
            return None
        return (self.value - self.before) / abs(self.before)

    def words(self) -> str:
        """The figure as a reader needs it: segment_share of segment 3: 0.021, before 0.098."""
        of = f" of {self.of}" if self.of else ""
        before = "" if self.before is None else f", before {self.before:.4g}"
        return f"{self.name}{of}: {self.value:.4g}{before}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "change": self.change, "relative_change": self.relative_change}


def speaks_against(figure: Figure, rule: Rule) -> bool:
    """Whether a figure is all that a rule says: beyond its thresholds, and changed by so much at
    least. What was not measured before has changed by nothing known, and is left alone by a rule
    that asks for a change."""
    if rule.above is not None and not figure.value > rule.above:
        return False
    if rule.below is not None and not figure.value < rule.below:
        return False
    change, before = figure.change, figure.before
    if rule.change is not None and (change is None or not abs(change) >= rule.change):
        return False
    if rule.relative_change is None:
        return True
    if not change or before is None:
        return False
    # Where there was nothing, anything is more than any share of it.
    return abs(change) >= rule.relative_change * abs(before)


def judged(figures: Iterable[Figure], rules: Mapping[Any, Sequence[Rule]]) -> list[str]:
    """What speaks against publishing, a sentence each, in the order of the figures."""
    return [
        f"{figure.words()} ({rule.words()})"
        for figure in figures
        for rule in rules.get(figure.name, ())
        if speaks_against(figure, rule)
    ]


def in_one_line(reasons: Sequence[str]) -> str:
    """The reasons as one line; of many the first, and how many there are."""
    more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    return "; ".join(reasons[:_NAMED]) + more
