"""Names of segments in plain words, made from what sets each apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gmm_spark.mixture.numerics import Array
from gmm_spark.report.column_words import are_alike
from gmm_spark.report.effects import MEDIUM, SMALL

MOST_PARTS = 3
# What is as much correlated with a part of a name says the same again.
_SAME = 0.75
AVERAGE, ALL, OUTLIERS = "average", "all", "unlike the others"


@dataclass(frozen=True)
class Phrase:
    """Something that can be said of a segment.

    effect : how much it sets it apart, 0 to 1
    feature : which of the features it is of, by its place in their correlations
    place : adjectives, 0, come before numbers, 1, and values, 2
    comparative : said against some segments, and not against all others
    preference : of two that set apart as much, the one with more is said
    """

    column: str
    words: str
    effect: float
    feature: int
    place: int = 1
    comparative: bool = False
    preference: float = 1.0


# What can be said of a segment against some others, by their places, the strongest first.
Contrast = Callable[[int, Sequence[int]], Sequence[Phrase]]


def named(
    phrases: Sequence[Sequence[Phrase]], correlations: Array, contrast: Contrast
) -> list[tuple[str, tuple[Phrase, ...]]]:
    """The name of every segment, and its parts; no two are the same.

    phrases : of every segment, against all others
    correlations : of the features, (F, F)
    contrast : tells segments apart that would have one name
    """
    count = len(phrases)
    if count == 1:
        return [(ALL, ())]
    parts = [_chosen(each, correlations) for each in phrases]
    for _ in range(MOST_PARTS):
        for group in _alike(parts):
            for j in group:
                others = [i for i in group if i != j]
                parts[j] = _told_apart(parts[j], contrast(j, others))
        if not _alike(parts):
            break
    found, taken = [], dict[str, int]()
    for own in parts:
        name = _said(own)
        taken[name] = taken.get(name, 0) + 1
        found.append((name if taken[name] == 1 else f"{name} ({taken[name]})", own))
    return found


def _said(parts: Sequence[Phrase]) -> str:
    ordered = sorted(parts, key=lambda part: part.place)
    words = [part.words for part in ordered]
    return ", ".join([AVERAGE, *words] if all(part.comparative for part in parts) else words)


def _chosen(phrases: Sequence[Phrase], correlations: Array) -> tuple[Phrase, ...]:
    chosen: list[Phrase] = []
    said = [phrase for phrase in phrases if phrase.effect >= MEDIUM]
    for phrase in sorted(said, key=lambda one: -one.effect * one.preference):
        if len(chosen) < MOST_PARTS and _adds(phrase, chosen, correlations):
            chosen.append(phrase)
    return tuple(chosen)


def _adds(phrase: Phrase, chosen: Sequence[Phrase], correlations: Array) -> bool:
    """Whether it says something that those chosen do not."""
    return not any(
        phrase.words == one.words
        or are_alike(phrase.column, one.column)
        or abs(correlations[phrase.feature, one.feature]) >= _SAME
        for one in chosen
    )


def _alike(parts: Sequence[tuple[Phrase, ...]]) -> list[list[int]]:
    """The segments that have one name, where there are several."""
    groups: dict[str, list[int]] = {}
    for j, own in enumerate(parts):
        groups.setdefault(_said(own), []).append(j)
    return [group for group in groups.values() if len(group) > 1]


def _told_apart(parts: tuple[Phrase, ...], phrases: Sequence[Phrase]) -> tuple[Phrase, ...]:
    """The parts with one more, or another last one, that the others of the same name lack."""
    said = {part.words for part in parts}
    for phrase in sorted(phrases, key=lambda one: -one.effect):
        if phrase.effect < SMALL:
            break
        if phrase.words in said:
            continue
        kept = [part for part in parts if part.column != phrase.column]
        kept = kept[: MOST_PARTS - 1]
        return (*kept, phrase)
    return parts
