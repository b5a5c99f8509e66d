"""What has changed since an earlier run, as sizes of effects: columns, segments, likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from gmm_spark.engine.input_counts import CountingWork, NumberCounts, ValueCounts, input_counts
from gmm_spark.prepare.treatments import text_sql
from gmm_spark.report.profiled import as_number
from gmm_spark.report.segments import NumberProfile, Segments
from gmm_spark.runs.gate import Figure

# A population stability index over this is usually called a shift.
SHIFT = 0.25
# Intervals are put together until each holds such a share of the rows of before.
_LEAST_EXPECTED = 0.05
# Nothing is taken for such a share, which has a logarithm.
_LEAST_SHARE = 1e-4


def counted_inputs(
    frame: DataFrame, segments: Segments, earlier: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The columns that segments are described by, counted in one pass: by their own intervals, to
    be kept for the next run, and by those of an earlier run, which kept them.

    Returns plain values: `rows`; `numbers` by name with edges, counts, missing, lowest, highest
    (and of those of the earlier run `outside`, its extremes); `categories` by name with counts,
    missing, and whether all values are `whole`.
    """
    days = {
        str(one["name"]): str(one["value"])
        for one in segments.preparation or ()
        if one.get("role") == "date" and one.get("value")
    }
    own = {one.name: one.edges or [] for one in segments.columns if one.kind != "category"}
    texts = [one.name for one in segments.columns if one.kind == "category"]
    there = set(frame.columns)
    before = {} if earlier is None else earlier["numbers"]
    known = {name: one for name, one in before.items() if name in there}
    texts_before = [] if earlier is None else [n for n in earlier["categories"] if n in there]
    asked = [*own.items(), *((name, one["edges"]) for name, one in known.items())]
    asked += [(name, _range(one)) for name, one in known.items()]
    categories = list(dict.fromkeys([*texts, *texts_before]))
    columns = [as_number(frame, name, days.get(name)) for name, _ in asked]
    columns += [F.expr(text_sql(name)) for name in categories]
    rows = frame.select(*columns)
    work = CountingWork(tuple(tuple(edges) for _, edges in asked), len(categories))
    found = input_counts(rows.toDF(*map(str, range(len(rows.columns)))), work)
    numbers = [_number(edges, one) for (_, edges), one in zip(asked, found.numbers, strict=True)]
    by_category = dict(zip(categories, map(_category, found.categories), strict=True))
    mine = {
        "rows": found.rows,
        "numbers": dict(zip(own, numbers, strict=False)),
        "categories": {name: by_category[name] for name in texts},
    }
    if earlier is None:
        return mine, None
    on_edges = numbers[len(own) : len(own) + len(known)]
    ranges = found.numbers[len(own) + len(known) :]
    beside = {
        name: {**one, "outside": int(inside.counts[0] + inside.counts[2])}
        for name, one, inside in zip(known, on_edges, ranges, strict=True)
    }
    categories_now = {name: by_category[name] for name in texts_before}
    return mine, {"rows": found.rows, "numbers": beside, "categories": categories_now}


def _range(one: Mapping[str, Any]) -> list[float]:
    """Edges whose first and last intervals are what lies outside of the range."""
    low = -math.inf if one["lowest"] is None else one["lowest"]
    high = math.inf if one["highest"] is None else one["highest"]
    return [low, low, float(np.nextafter(high, math.inf)), math.inf]


def _number(edges: Sequence[float], found: NumberCounts) -> dict[str, Any]:
    known = math.isfinite(found.lowest)
    return {
        "edges": list(edges),
        "counts": found.counts.tolist(),
        "missing": found.missing,
        "lowest": found.lowest if known else None,
        "highest": found.highest if known else None,
    }


def _category(found: ValueCounts) -> dict[str, Any]:
    counts = dict(sorted(found.counts.items(), key=lambda pair: (-pair[1], pair[0])))
    return {"counts": counts, "missing": found.missing, "whole": found.whole}


def input_figures(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Figure]:
    """How the columns of an earlier run have changed, of what `counted_inputs` gives for it and
    beside it."""
    figures = [Figure("rows", "", now["rows"], before["rows"])]
    for name, one in now["numbers"].items():
        was, of = before["numbers"][name], f"column {name}"
        figures.append(_missing(of, one, now["rows"], was, before["rows"]))
        counts, expected = one["counts"], was["counts"]
        if sum(counts) and sum(expected):
            figures.append(Figure("out_of_range", of, one["outside"] / sum(counts)))
            figures.append(Figure("psi", of, stability_index(*_together(expected, counts))))
    for name, one in now["categories"].items():
        was, of = before["categories"][name], f"column {name}"
        figures.append(_missing(of, one, now["rows"], was, before["rows"]))
        total, known = sum(one["counts"].values()), was["counts"]
        if not (was["whole"] and one["whole"] and total and known):
            continue
        unseen = sum(rows for value, rows in one["counts"].items() if value not in known)
        figures.append(Figure("unseen", of, unseen / total))
        values = [*known, *(value for value in one["counts"] if value not in known)]
        then = [known.get(value, 0) for value in values]
        today = [one["counts"].get(value, 0) for value in values]
        figures.append(Figure("psi", of, stability_index(then, today)))
    return figures


def _missing(of: str, now: Any, rows: int, before: Any, rows_before: int) -> Figure:
    return Figure(
        "missing", of, now["missing"] / max(rows, 1), before["missing"] / max(rows_before, 1)
    )


def stability_index(before: Sequence[float], now: Sequence[float]) -> float:
    """The population stability index of counts: the sum over intervals of (q - p) log(q / p), p
    and q their shares before and now; nothing is taken for a ten-thousandth. It is symmetric,
    and 0 where nothing changed; over 0.25 is usually called a shift."""
    p = np.maximum(np.asarray(before, dtype=float) / sum(before), _LEAST_SHARE)
    q = np.maximum(np.asarray(now, dtype=float) / sum(now), _LEAST_SHARE)
    return float(((q - p) * np.log(q / p)).sum())


def _together(expected: Sequence[int], counts: Sequence[int]) -> tuple[list[int], list[int]]:
    """Neighbouring intervals put together until each was of so many rows, that chance in small
    ones is not taken for change."""
    least = _LEAST_EXPECTED * sum(expected)
    merged: list[tuple[int, int]] = []
    one = other = 0
    for before, now in zip(expected, counts, strict=True):
        one, other = one + before, other + now
        if one >= least:
            merged.append((one, other))
            one = other = 0
    if merged and (one or other):
        last = merged.pop()
        merged.append((last[0] + one, last[1] + other))
    return [pair[0] for pair in merged], [pair[1] for pair in merged]


def segment_figures(
    before: Segments, old_ids: Sequence[int], now: Segments, ids: Sequence[int]
) -> list[Figure]:
    """How sizes and means of segments have changed, by their ids, which are in the order of the
    segments' numbers. Means are in standard deviations of the earlier table from its mean."""
    old = dict(zip(old_ids, before.segments, strict=False))
    new = dict(zip(ids, now.segments, strict=False))
    figures = []
    for id in sorted({*old, *new}):
        value = new[id].share if id in new else 0.0
        was = old[id].share if id in old else None
        figures.append(Figure("segment_share", f"segment {id}", value, was))
    whole = {one.column: one for one in before.whole.profile if isinstance(one, NumberProfile)}
    for id in sorted(set(old) & set(new)):
        profile_before, profile_now = _means(old[id].profile), _means(new[id].profile)
        for name, mean in profile_now.items():
            unit, centre = (
                (whole[name].standard_deviation, whole[name].mean)
                if name in whole
                else (None, None)
            )
            was = profile_before.get(name)
            if unit is None or unit <= 0 or centre is None or was is None:
                continue
            of = f"{name} in segment {id}"
            figures.append(
                Figure("segment_mean", of, (mean - centre) / unit, (was - centre) / unit)
            )
    return figures


def _means(profile: Sequence[Any]) -> dict[str, float]:
    return {
        one.column: one.mean
        for one in profile
        if isinstance(one, NumberProfile) and one.mean is not None
    }
