"""Segments in words: a line of each, a table, why these, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from gmm_spark.engine.scoring import NOISE
from gmm_spark.mixture.segmentation.candidates import WEIGHTED_KMEANS
from gmm_spark.report.column_words import readable
from gmm_spark.report.segments import Outcome, Segment, SegmentMembership, SegmentOutcome, Segments
from gmm_spark.report.text import number, numbers, percent, table

# Rows of a segment are mixed where they are this sure, on average, or less.
_MIXED = 0.8
_FEW_ROWS = 100
# An interval of a rate that is wider says hardly anything.
_VAGUE = 0.4
_UNCORRECTED, _COUNTED = "posterior weights", "counted"
_WIDTH = 86


def segment_line(
    segment: Segment,
    outcomes: Sequence[Outcome],
    membership: SegmentMembership,
    rows: int,
    noun: str,
    value: str,
) -> str:
    """One line of a segment of `rows` that are called `noun`, with money called `value`: name,
    size, outcomes with intervals and lift, value at risk, and what there is to know."""
    said = [f"{segment.rows:,} {noun} ({percent(segment.rows / rows if rows else None)})"]
    for outcome, own in zip(outcomes, segment.outcomes, strict=True):
        if own.value is None:
            continue
        said.append(f"{outcome.words} {_estimate(outcome, own.value, own.low, own.high)}")
        if own.lift and outcome.kind == "rate":
            said[-1] += f", {_times(own.lift)}"
        if own.raw is not None and _is_off(own):
            said[-1] += f", as counted {_estimate(outcome, own.raw, None, None)}"
    if segment.value is not None and segment.value.at_risk is not None:
        total = numbers([segment.value.at_risk, segment.value.total])
        at_risk = f"{total[0]} of {total[1]} {value} at risk"
        if segment.value.at_risk_share is not None:
            at_risk += f" ({percent(segment.value.at_risk_share)} of all at risk)"
        said.append(at_risk)
    said += _to_know(segment, membership, outcomes, noun)
    return f"{segment.name}: {'; '.join(said)}"


def _estimate(outcome: Outcome, value: float, low: float | None, high: float | None) -> str:
    if outcome.kind == "rate":
        ends = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
        return f"{percent(value)}{ends}"
    shown = numbers([value, low, high])
    return shown[0] if low is None else f"{shown[0]} ({shown[1]} to {shown[2]})"


def _times(lift: float) -> str:
    if 0.95 <= lift < 1.05:
        return "about the average"
    return f"{lift:.2g} times the average" if lift < 10 else f"{lift:.0f} times the average"


def _to_know(
    segment: Segment, membership: SegmentMembership, outcomes: Sequence[Outcome], noun: str
) -> list[str]:
    if segment.segment == NOISE:
        return ["like none of the segments"]
    found = []
    if 0 < segment.rows < _FEW_ROWS:
        found.append(f"few {noun}")
    if membership.mean_probability is not None and membership.mean_probability < _MIXED:
        found.append(f"mixed: {percent(membership.mean_probability)} sure on average")
    for outcome, own in zip(outcomes, segment.outcomes, strict=True):
        is_vague = own.low is not None and own.high is not None and own.high - own.low > _VAGUE
        if own.estimate == _UNCORRECTED or (outcome.kind == "rate" and is_vague):
            found.append(f"its {outcome.words} is hardly told apart from that of other segments")
    return found


def _is_off(own: SegmentOutcome) -> bool:
    """Whether the corrected figure leaves out what is counted in the segment: where rows are not
    sure of theirs, or the outcome goes with columns within a segment too."""
    if own.raw is None or own.low is None or own.high is None:
        return False
    return is_corrected(own) and not own.low <= own.raw <= own.high


def is_corrected(own: SegmentOutcome) -> bool:
    """Whether the figure is corrected for rows that are counted to the wrong segment."""
    return own.estimate not in (_UNCORRECTED, _COUNTED)


def are_counted(own: Sequence[SegmentOutcome]) -> bool:
    """Whether the figures of all segments are of the rows that are in them."""
    return all(one.estimate == _COUNTED for one in own)


def words_of(segments: Segments) -> str:
    """The segments as text: name and figures of each, then a table of them."""
    lines = []
    width = max(len(str(one.segment)) for one in segments.segments)
    for one in segments.segments:
        lines.append(f"  {one.segment:>{width}}  {one.name}")
        figures = one.words.removeprefix(f"{one.name}: ")
        lines += [f"{'':{width + 4}}{line}" for line in _wrapped(figures)]
    return "\n".join([*lines, "", segments_table(segments)])


def typical_words(segments: Segments) -> list[str]:
    """Why a typical row of each segment is in it; nothing where there is one segment."""
    known = [(one.segment, one.typical.words) for one in segments.segments if one.typical]
    if not known:
        return []
    width = max(len(str(segment)) for segment, _ in known)
    lines = [f"What decides about typical {segments.noun}"]
    for segment, words in known:
        first, *others = _wrapped(words)
        lines += [f"  {segment:>{width}}  {first}", *(f"{'':{width + 4}}{one}" for one in others)]
    return lines


def _wrapped(words: str) -> Iterator[str]:
    """Lines of a sentence, which end where a part of it does."""
    line = ""
    for part in words.split("; "):
        if line and len(line) + len(part) + 2 > _WIDTH:
            yield f"{line};"
            line = ""
        line += f"; {part}" if line else part
    yield line


def segments_table(segments: Segments) -> str:
    """A table of the segments, and of all rows: rows, share, outcomes and value."""
    found, value = segments.segments, segments.value
    rows = segments.rows.with_segment
    counts = [*(one.rows for one in found), rows]
    columns = [
        ["segment", *(str(one.segment) for one in found), "all"],
        [segments.noun, *(f"{count:,}" for count in counts)],
        ["share", *(percent(count / rows if rows else None) for count in counts)],
    ]
    for i, outcome in enumerate(segments.outcomes):
        own = [one.outcomes[i] for one in found]
        cells = [
            "-" if o.value is None else _estimate(outcome, o.value, o.low, o.high) for o in own
        ]
        whole = "-" if outcome.value is None else _estimate(outcome, outcome.value, None, None)
        heading = outcome.words if outcome.kind == "rate" else f"mean {outcome.words}"
        columns.append([heading, *cells, whole])
        if not are_counted(own):
            counted = [*(o.raw for o in own), outcome.value]
            shown = map(percent, counted) if outcome.kind == "rate" else numbers(counted)
            columns.append(["as counted", *shown])
        lifts = [*(o.lift for o in own), None if outcome.value is None else 1.0]
        columns.append(["lift", *("-" if lift is None else f"{lift:,.2f}" for lift in lifts)])
    values = [one.value for one in found if one.value is not None]
    if values and value is not None:
        columns.append(
            [readable(value.column), *numbers([*(one.total for one in values), value.total])]
        )
        if value.outcome is not None:
            at_risk = [*(one.at_risk for one in values), value.at_risk]
            columns.append(["at risk", *numbers(at_risk)])
            shares = [one.at_risk_share for one in values]
            whole = percent(None if all(share is None for share in shares) else 1.0)
            columns.append(["of all at risk", *map(percent, shares), whole])
    header, *body = zip(*columns, strict=True)
    said = [table(header, body)]
    if segments.outcomes:
        said.append("  In brackets: 95 % intervals")
        if any(is_corrected(one) for each in found for one in each.outcomes):
            said[-1] += f". As counted: not corrected for {segments.noun} in the wrong segment"
    return "\n".join(said)


def choice_words(segments: Segments) -> list[str]:
    """Why these segments, and how far they tell the outcome apart; nothing where nothing was
    chosen."""
    choice, noun = segments.choice, segments.noun
    if choice is None or not choice.considered:
        return []
    k, information = choice.segments, choice.outcome_information
    if segments.fit is not None and segments.fit.reason == "updated":
        return [f"Why {k} segments: the division is the one there was, brought up to date"]
    if len(choice.considered) == 1 and choice.why:
        # Of a refit: nothing was chosen.
        said = [f"Why {k} segments: the division {choice.why}"]
        if information is not None:
            of = next(one for one in segments.outcomes if one.name == information["outcome"])
            said.append(f"By one half of the {noun}: {_told(of, information)}")
        return said
    tried = {int(str(one["k"])) for one in choice.considered}
    if information is None:
        more = "one more adds less{} than one does on average"
        return [f"Why {k} segments: {_why(k, tried, 'the columns', more)}"]
    of = next(one for one in segments.outcomes if one.name == information["outcome"])
    why = _why(k, tried, of.words, "more say hardly more{}")
    said = [
        f"Why {k} segments: {why}, by one half of the {noun}",
        f"By the other half: {_told(of, information)}",
    ]
    if choice.considered[0].get("origin") == WEIGHTED_KMEANS:
        said.append(f"Columns count in the division by what they say of {of.words}")
    return said


def _why(k: int, tried: Collection[int], of: str, more: str) -> str:
    """Why as many segments as these, or these of as many; `of` is what they are to say much of, and
    is put into `more`, why not more segments, where nothing has said it."""
    if set(tried) == {k}:
        return f"no other division into {k} that was tried says clearly more of {of}"
    said = [f"fewer say less of {of}"] if min(tried) < k else []
    if max(tried) > k:
        said.append(more.format("" if said else f" of what there is to say of {of}"))
    return ", and ".join(said)


def _told(outcome: Outcome, information: Mapping[str, Any]) -> str:
    """How far segments tell an outcome apart."""
    bits, spread = float(information["bits"]), float(information["spread"])
    if outcome.kind != "rate":
        return f"means as counted of {outcome.words} up to {number(spread)} apart"
    share = _share_told(bits, outcome.value)
    return (
        f"rates as counted up to {100 * spread:.1f} points apart; segments say {percent(share)} of "
        f"what there is to know of {outcome.words} ({bits:.3f} bits)"
    )


def _share_told(bits: float, rate: float | None) -> float | None:
    """The mutual information with an outcome of this rate, as a share of its entropy (Theil's
    uncertainty coefficient)."""
    if rate is None or not 0 < rate < 1:
        return None
    entropy = -(rate * math.log2(rate) + (1 - rate) * math.log2(1 - rate))
    return min(1.0, max(0.0, bits / entropy))
