"""Segments in words: a line of each, and a table, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from gmm_spark.engine.scoring import NOISE
from gmm_spark.report.segments import Outcome, Segment, SegmentMembership, Segments
from gmm_spark.report.text import numbers, percent, table

# Rows of a segment are mixed where they are this sure, on average, or less.
_MIXED = 0.8
_FEW_ROWS = 100
# An interval of a rate that is wider says hardly anything.
_VAGUE = 0.4


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
    if segment.value is not None and segment.value.at_risk is not None:
        total = numbers([segment.value.at_risk, segment.value.total])
        at_risk = f"{total[0]} of {total[1]} {value} at risk"
        if segment.value.at_risk_share is not None:
            at_risk += f" ({percent(segment.value.at_risk_share)} of all at risk)"
        said.append(at_risk)
    said += _to_know(segment, membership, outcomes)
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
    segment: Segment, membership: SegmentMembership, outcomes: Sequence[Outcome]
) -> list[str]:
    if segment.segment == NOISE:
        return ["like none of the segments"]
    found = []
    if 0 < segment.rows < _FEW_ROWS:
        found.append("few rows")
    if membership.mean_probability is not None and membership.mean_probability < _MIXED:
        found.append(f"mixed: {percent(membership.mean_probability)} sure on average")
    for outcome, own in zip(outcomes, segment.outcomes, strict=True):
        is_vague = own.low is not None and own.high is not None and own.high - own.low > _VAGUE
        if own.estimate == "posterior weights" or (outcome.kind == "rate" and is_vague):
            found.append(f"its {outcome.words} is hardly told apart from that of other segments")
    return found


def words_of(segments: Segments) -> str:
    """The segments as text: a line each, then a table of them."""
    lines = [f"  {one.segment}  {one.words}" for one in segments.segments]
    return "\n".join([*lines, "", segments_table(segments)])


def segments_table(segments: Segments) -> str:
    """A table of the segments: rows, share, outcomes and value."""
    found = segments.segments
    rows = segments.rows.with_segment
    columns = [
        ["segment", *(str(one.segment) for one in found)],
        ["name", *(one.name for one in found)],
        [segments.noun, *(f"{one.rows:,}" for one in found)],
        ["share", *(percent(one.rows / rows if rows else None) for one in found)],
    ]
    for i, outcome in enumerate(segments.outcomes):
        own = [one.outcomes[i] for one in found]
        cells = [
            "-" if o.value is None else _estimate(outcome, o.value, o.low, o.high) for o in own
        ]
        columns.append([f"{outcome.words} {outcome.kind}", *cells])
        columns.append(["lift", *numbers([o.lift for o in own])])
    values = [one.value for one in found if one.value is not None]
    if values and segments.value is not None:
        columns.append([segments.value.column, *numbers([one.total for one in values])])
        if segments.value.outcome is not None:
            columns.append(["at risk", *numbers([one.at_risk for one in values])])
    header, *body = zip(*columns, strict=True)
    said = [table(header, body)]
    if segments.outcomes:
        said.append("  In brackets: 95 % intervals")
    return "\n".join(said)
