"""The charts of the page, by Altair: one specification serves light, dark and print.

Colours are CSS variables of the page, which the browser resolves: scales whose colours would be
interpolated are cut into steps for that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np

from gmm_spark.engine.scoring import NOISE
from gmm_spark.mixture.numerics import Array
from gmm_spark.report.drift import SHIFT
from gmm_spark.report.page_changes import SHORT, Flows
from gmm_spark.report.page_tables import (
    column_title,
    day_of,
    groups,
    number_of,
    profile_of,
    range_of,
    signed,
)
from gmm_spark.report.segments import (
    Axis,
    CategoryProfile,
    Column,
    Ellipse,
    NumberProfile,
    Outcome,
    Segments,
)
from gmm_spark.report.text import number, percent

# Pixels of a picture that is not fitted to a screen, and what its labels at the left take of it.
_WIDE, _LABELS, _LONG_LABELS = 700, 195, 280
_ROW, _LINE = 46, 13
# More values of a category than there are colours are counted with the others.
MOST_VALUES = 7
_NO_GAIN = 0.002
_UNITS = [-1.5, -0.9, -0.3, 0.3, 0.9, 1.5]
_SHARES = [0.1, 0.25, 0.4, 0.6, 0.75, 0.9]
_DIVERGING = [f"var(--d{i})" for i in range(7)]
_SEQUENTIAL = [f"var(--s{i})" for i in range(7)]
_CATEGORIES = [f"var(--c{i})" for i in range(MOST_VALUES)]
# Of segments that there are no colours left for, colours come again with another shape.
_SHAPES = ["circle", "square", "triangle-up", "diamond"]
_MAP_HEIGHT, _MAP_LABELS = 430, 64
# An ellipse of this many standard deviations holds two thirds of a normal component.
ELLIPSE = math.sqrt(2 * math.log(3))
_TURN = 64
# Numbers of ellipses keep so far apart, in parts of the picture; places on a line that are tried.
_NUMBER, _NUMBER_TURN = 0.05, 32
# Between blocks of a flow, as a share of all; beside it; points of a band's edge.
_FLOW_GAP, _FLOW_ROOM, _FLOW_STEPS = 0.03, 0.16, 24

Rows = list[dict[str, Any]]


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """A chart as Vega-Lite, in the page's colours."""
    found: dict[str, Any] = chart.to_dict()
    found.pop("$schema")
    found["background"] = None
    found["config"] = {
        "aria": False,
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "text": {"color": "var(--ink)"},
        "axis": {
            "labelColor": "var(--ink)",
            "titleColor": "var(--soft)",
            "titleFontWeight": "normal",
            "gridColor": "var(--line)",
            "domainColor": "var(--line)",
            "tickColor": "var(--line)",
            "labelFontSize": 11,
            "labelPadding": 8,
            "titleFontSize": 12,
            "labelLimit": (found.get("usermeta") or {}).get("labels", _LABELS) - 14,
        },
        "legend": {
            "labelColor": "var(--ink)",
            "titleColor": "var(--soft)",
            "titleFontWeight": "normal",
            "labelFontSize": 12,
            "titleFontSize": 12,
            "orient": "bottom",
            "columns": 3,
            "labelLimit": 200,
            # The palest are hardly seen on paper.
            "symbolStrokeColor": "var(--soft)",
            **(found.get("usermeta") or {}).get("legend", {}),
        },
    }
    return found


def _labels(found: Segments) -> list[str]:
    return [f"{number_of(one.segment)}: {one.name}" for one in found.segments]


def _in_lines() -> dict[str, Any]:
    """Names over several lines, a part a line."""
    parts = "split(datum.label, ', ')"
    return {
        "title": None,
        "labelExpr": parts,
        "labelLineHeight": _LINE,
        "labelOffset": _centred(f"length({parts})"),
    }


def _segment_axis(field: str = "label") -> alt.Y:
    axis = alt.Axis(grid=False, ticks=False, domain=False, **_in_lines())
    return alt.Y(f"{field}:N", sort=None, axis=axis)


def _sized(chart: Any, rows: int, height: int = _ROW, labels: int = _LABELS) -> Any:
    """In rows of so many pixels; the page takes from its width what labels need."""
    sized = chart.properties(width=_WIDE - labels, height=rows * height)
    return sized.properties(usermeta={"labels": labels})


def above(charts: Sequence[Any]) -> Any:
    """Heat maps one above the other, each with its own colours."""
    for chart in charts:
        chart.usermeta = alt.Undefined
    together = alt.vconcat(*charts).resolve_scale(color="independent")
    return together.properties(usermeta={"labels": _LONG_LABELS})


def outcome_chart(found: Segments, position: int) -> Any:
    """Estimates and intervals of an outcome, with that of all rows as a line."""
    outcome = found.outcomes[position]
    rows = []
    for label, one in zip(_labels(found), found.segments, strict=True):
        own = one.outcomes[position]
        rows.append(
            {
                "label": label,
                "value": own.value,
                "low": own.low,
                "high": own.high,
                "all": outcome.value,
                outcome.kind: _said(outcome, own.value),
                "interval": f"{_said(outcome, own.low)} to {_said(outcome, own.high)}",
            }
        )
    return _estimates(
        rows,
        f"{outcome.words}, {outcome.kind}",
        "%" if outcome.kind == "rate" else "~s",
        [outcome.kind, "interval"],
    )


def _said(outcome: Outcome, value: float | None) -> str:
    return percent(value) if outcome.kind == "rate" else number(value, 0.0)


def value_chart(found: Segments) -> Any:
    """What is at risk in every segment, with intervals."""
    rows = []
    for label, one in zip(_labels(found), found.segments, strict=True):
        own = one.value
        if own is not None:
            rows.append(
                {
                    "label": label,
                    "value": own.at_risk,
                    "low": own.at_risk_low,
                    "high": own.at_risk_high,
                    "all": None,
                    "at risk": number(own.at_risk, 1.0),
                    "interval": f"{number(own.at_risk_low)} to {number(own.at_risk_high)}",
                }
            )
    return _estimates(rows, "at risk", "~s", ["at risk", "interval"], bars=True)


def _estimates(rows: Rows, title: str, form: str, tooltip: list[str], bars: bool = False) -> Any:
    base = alt.Chart(alt.Data(values=rows)).encode(y=_segment_axis())
    zero = "datum.value == 0 ? '0' : datum.label"
    axis = alt.Axis(format=form, tickCount=5, title=title, labelExpr=zero)
    x = alt.X("value:Q", scale=alt.Scale(zero=True), axis=axis)
    shown = [alt.Tooltip("label:N", title="segment"), *(alt.Tooltip(f"{t}:N") for t in tooltip)]
    layers = []
    if bars:
        layers.append(base.mark_bar(color="var(--s2)", height=18).encode(x=x, tooltip=shown))
    elif any(row["all"] is not None for row in rows):
        layers.append(
            base.mark_rule(color="var(--soft)", strokeDash=[4, 3]).encode(
                x=alt.X("all:Q"), y=alt.value(0), y2=alt.value("height")
            )
        )
    layers.append(
        base.mark_rule(color="var(--accent)", strokeWidth=3).encode(
            x=alt.X("low:Q", axis=axis), x2="high:Q", tooltip=shown
        )
    )
    if not bars:
        layers.append(
            base.mark_point(color="var(--accent)", fill="var(--accent)", size=90, opacity=1).encode(
                x=x, tooltip=shown
            )
        )
    return _sized(alt.layer(*layers), len(rows))


def heat_chart(found: Segments, columns: Sequence[Column]) -> Any:
    """Means in standard units, hovered over in the user's own."""
    rows = []
    for column in columns:
        whole = profile_of(found.whole.profile, column.name)
        for one in found.segments:
            own = profile_of(one.profile, column.name)
            if isinstance(own, NumberProfile) and isinstance(whole, NumberProfile):
                unit = own.standard_units
                rows.append(
                    {
                        "column": column_title(column),
                        "segment": number_of(one.segment),
                        "unit": unit,
                        "name": one.name,
                        "text": signed(unit, 1),
                        "mean": _in_units(column, own.mean),
                        "all": _in_units(column, whole.mean),
                    }
                )
    return _heat(rows, _UNITS, _DIVERGING, ["mean", "all"], "abs(datum.unit) >= 1.5")


def _in_units(column: Column, value: float | None) -> str:
    if value is None:
        return "-"
    return day_of(value) if column.kind == "date" else number(value, 0.0)


def shares_chart(found: Segments, values: Sequence[tuple[Column, str]]) -> Any:
    """Shares of values of categories by segment, and of all rows."""
    rows = []
    for column, value in values:
        for number_, name, profile in groups(found):
            own = profile_of(profile, column.name)
            if isinstance(own, CategoryProfile):
                share = next(one.share for one in own.values if one.value == value)
                rows.append(
                    {
                        "column": f"{column.words}: {value}",
                        "segment": number_,
                        "unit": share,
                        "name": name,
                        "text": "" if share is None else f"{100 * share:.0f}",
                        "share": percent(share),
                    }
                )
    return _heat(rows, _SHARES, _SEQUENTIAL, ["share"], "datum.unit >= 0.6")


def _heat(
    rows: Rows,
    steps: list[float],
    colours: list[str],
    tooltip: list[str],
    is_strong: str,
    by: str = "column",
    title: str = "segment",
    other: str = "other",
) -> Any:
    """Cells by row and segment, coloured by `unit` in steps, with its text."""
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X(
            "segment:N",
            sort=None,
            axis=alt.Axis(orient="top", labelAngle=0, title=title, domain=False, ticks=False),
        ),
        y=alt.Y(
            f"{by}:N",
            sort=None,
            axis=alt.Axis(
                domain=False, ticks=False, **({"title": None} if by == "column" else _in_lines())
            ),
        ),
    )
    colour = alt.Color(
        "unit:Q", scale=alt.Scale(type="threshold", domain=steps, range=colours), legend=None
    )
    shown = [
        alt.Tooltip(f"{by}:N", title=by if by == "column" else "segment"),
        alt.Tooltip("name:N", title="segment" if by == "column" else other),
        *(alt.Tooltip(f"{t}:N") for t in tooltip),
    ]
    cells = base.mark_rect(stroke="var(--paper)", strokeWidth=1).encode(color=colour, tooltip=shown)
    text = base.mark_text(fontSize=11).encode(
        text="text:N",
        color=alt.condition(is_strong, alt.value("var(--strong)"), alt.value("var(--weak)")),
        tooltip=shown,
    )
    kinds = len({row[by] for row in rows})
    if by == "column":
        return _sized(alt.layer(cells, text), kinds, 24, _LONG_LABELS)
    return _sized(alt.layer(cells, text), kinds)


def map_chart(found: Segments, slider: bool = False) -> Any:
    """Rows in two dimensions, and the ellipses of the components at an iteration of EM.

    The iteration is the parameter `iteration` of the chart, the last one at first. With `slider`
    the chart has one of its own, for where no page has.
    """
    pictured = found.map
    if pictured is None:
        raise ValueError("these segments have no map")
    labels = {one.segment: label for one, label in zip(found.segments, _labels(found), strict=True)}
    real = [label for segment, label in labels.items() if segment != NOISE]
    colours = [_CATEGORIES[i % len(_CATEGORIES)] for i in range(len(real))]
    shapes = [_SHAPES[i // len(_CATEGORIES) % len(_SHAPES)] for i in range(len(real))]
    if NOISE in labels:
        real, colours, shapes = (
            [*real, labels[NOISE]],
            [*colours, "var(--soft)"],
            [*shapes, "cross"],
        )
    legend = alt.Legend(symbolLimit=0, symbolOpacity=1, symbolSize=90)
    colour = alt.Color(
        "segment:N", title=None, scale=alt.Scale(domain=real, range=colours), legend=legend
    )
    shape = alt.Shape(
        "segment:N", title=None, scale=alt.Scale(domain=real, range=shapes), legend=legend
    )
    x_axis, y_axis = (
        alt.Axis(title=_axis_title(one.words), tickCount=5, titleLimit=600) for one in pictured.axes
    )
    x_scale, y_scale = (
        alt.Scale(domain=[one.low, one.high], nice=False, zero=False) for one in pictured.axes
    )
    x, y = alt.X("x:Q", scale=x_scale, axis=x_axis), alt.Y("y:Q", scale=y_scale, axis=y_axis)
    last = len(pictured.iterations) - 1
    at = alt.param("iteration", value=last)
    if slider and last:
        bound = alt.binding_range(min=0, max=last, step=1, name="Iteration ")
        at = alt.param("iteration", value=last, bind=bound)
    layers = []
    if pictured.points:
        points = [
            {
                "x": one.x,
                "y": one.y,
                "segment": labels.get(one.segment, number_of(one.segment)),
                "probability": percent(one.probability),
            }
            for one in pictured.points
        ]
        layers.append(
            alt.Chart(alt.Data(values=points))
            .mark_point(filled=True, size=16, opacity=0.55, clip=True)
            .encode(x=x, y=y, color=colour, shape=shape,
                    tooltip=[alt.Tooltip("segment:N"), alt.Tooltip("probability:N")])
        )  # fmt: skip
    digits = [_map_decimals(one.high - one.low) for one in pictured.axes]
    rounded = {"x": digits[0], "a": digits[0], "y": digits[1], "b": digits[1], "c": digits[1]}
    ellipses = [
        {
            "at": place,
            "component": one.component,
            "segment": labels.get(one.segment, number_of(one.segment)),
            "number": number_of(one.segment),
            "weight": percent(one.weight),
            **{key: round(getattr(one, key), decimals) for key, decimals in rounded.items()},
            "number_x": round(right, digits[0]),
            "number_y": round(up, digits[1]),
        }
        for place, iteration in enumerate(pictured.iterations)
        for one, right, up in zip(
            iteration.ellipses, *_number_places(iteration.ellipses, pictured.axes), strict=True
        )
    ]
    base = alt.Chart(alt.Data(values=ellipses)).transform_filter("datum.at == iteration")
    shown = [
        alt.Tooltip("segment:N"),
        alt.Tooltip("component:N"),
        alt.Tooltip("weight:N", title="share of all"),
    ]
    # Every ellipse in a rim of the paper's colour, which keeps it apart from its points.
    turned = base.transform_calculate(t=f"sequence(0, {_TURN + 1})").transform_flatten(["t"])
    turned = turned.transform_calculate(
        turn=f"{2 * math.pi / _TURN:.10f} * datum.t",
        right=f"datum.x + {ELLIPSE:.6f} * datum.a * cos(datum.turn)",
        up=f"datum.y + {ELLIPSE:.6f} * (datum.b * cos(datum.turn) + datum.c * sin(datum.turn))",
    ).encode(
        x=alt.X("right:Q", scale=x_scale, axis=x_axis),
        y=alt.Y("up:Q", scale=y_scale, axis=y_axis),
        detail="component:N",
        order="t:Q",
    )
    numbered = base.encode(
        x=alt.X("number_x:Q", scale=x_scale, axis=x_axis),
        y=alt.Y("number_y:Q", scale=y_scale, axis=y_axis),
        text="number:N",
        tooltip=shown,
    )
    # Behind the letters, by the page's style.
    halo: dict[str, Any] = {} if slider else {"stroke": "var(--paper)", "strokeWidth": 4}
    layers += [
        turned.mark_line(stroke="var(--paper)", strokeWidth=5, opacity=0.7, clip=True),
        turned.mark_line(strokeWidth=2.5, clip=True).encode(color=colour, tooltip=shown),
        numbered.mark_text(fontSize=15, fontWeight="bold", fill="var(--ink)", **halo),
    ]
    # Two columns of names at the most, and room for long ones.
    chart = _sized(alt.layer(*layers), 1, _MAP_HEIGHT, _MAP_LABELS).add_params(at)
    return chart.properties(
        usermeta={"labels": _MAP_LABELS, "legend": {"columns": 2, "labelLimit": 290}}
    )


def _number_places(drawn: Sequence[Ellipse], axes: Sequence[Axis]) -> tuple[list[float], ...]:
    """Where the numbers of ellipses stand, across and up: in the middle, and where another number
    is there already, on the ellipse's own line, farthest from those of the others."""
    low = np.array([one.low for one in axes])
    width = np.array([one.high - one.low for one in axes])
    turn = np.linspace(0, 2 * np.pi, _NUMBER_TURN, endpoint=False)
    middles = (np.array([[one.x, one.y] for one in drawn]).reshape(-1, 2) - low) / width
    lines = np.array(
        [[one.a * np.cos(turn), one.b * np.cos(turn) + one.c * np.sin(turn)] for one in drawn]
    ).reshape(-1, 2, _NUMBER_TURN)
    lines = middles[:, None] + ELLIPSE * lines.transpose(0, 2, 1) / width
    places = middles.copy()
    heaviest = sorted(range(len(drawn)), key=lambda j: -drawn[j].weight)
    for i, j in enumerate(heaviest):
        taken = places[heaviest[:i]]
        if _is_free(middles[j : j + 1], taken).all():
            continue
        is_seen = ((lines[j] > 0.02) & (lines[j] < 0.98)).all(axis=1)
        free = lines[j][is_seen & _is_free(lines[j], taken)]
        if free.size:
            others = np.delete(lines, j, axis=0).reshape(-1, 2)
            away = np.abs(free[:, None] - others).max(axis=2).min(axis=1)
            places[j] = free[np.argmax(away)]
    across, up = (low + places * width).T.tolist() if drawn else ([], [])
    return across, up


def _is_free(places: Array, taken: Array) -> Any:
    """Whether a number at a place, in parts of the picture, leaves those at others readable."""
    return np.all(np.any(np.abs(places[:, None] - taken) >= _NUMBER, axis=2), axis=1)


def _map_decimals(width: float) -> int:
    """Decimals of places on an axis of that width that are finer than a pixel."""
    return max(4, 4 - math.floor(math.log10(width)))


def _axis_title(words: str) -> list[str]:
    """What an axis is made of, a line what grows along it and a line what falls."""
    more, less = (
        next((part for part in words.split("; ") if part.startswith(word)), "")
        for word in ("more: ", "less: ")
    )
    grows = more.removeprefix("more: ")
    falls = less.removeprefix("less: ")
    lines = [f"{grows} →"] if grows else []
    return [*lines, f"← {falls}"] if falls else lines


def flow_chart(own: Flows) -> Any:
    """Rows from segment to segment, a band each: an area between two logistic curves (a Sankey
    diagram), as wide as rows are many."""
    total = sum(map(sum, own.rows)) or 1.0
    left, right = [sum(row) for row in own.rows], [sum(c) for c in zip(*own.rows, strict=True)]
    gap = _FLOW_GAP * total
    starts, ends = _stacked_up(left, gap), _stacked_up(right, gap)
    colours = {
        name: _CATEGORIES[i % len(_CATEGORIES)]
        for i, name in enumerate(dict.fromkeys([*own.old, *own.new]))
    }
    bands: Rows = []
    taken = list(ends)
    for i, row in enumerate(own.rows):
        at = starts[i]
        for j, count in enumerate(row):
            if count > 0:
                bands.append(
                    {
                        "id": len(bands),
                        "from": own.old[i],
                        "to": own.new[j],
                        "a": at,
                        "b": taken[j],
                        "wide": count,
                        "rows": f"{count:,.0f}",
                        "share": percent(count / left[i]),
                    }
                )
                at += count
                taken[j] += count
    nodes = [
        {"x": x, "x2": x + side * 0.03, "y": at, "y2": at + size, "name": name,
         "label": SHORT.get(name, name.split(":")[0]), "rows": f"{size:,.0f}",
         "at": x + side * 0.05}
        for x, side, names, places, sizes in (
            (0.0, -1, own.old, starts, left), (1.0, 1, own.new, ends, right))
        for name, at, size in zip(names, places, sizes, strict=True)
        if size > 0
    ]  # fmt: skip
    colour = alt.Scale(domain=list(colours), range=list(colours.values()))
    legend = alt.Legend(symbolLimit=0, symbolOpacity=1)
    height = max(sum(left) + gap * len(left), sum(right) + gap * len(right))
    x_scale = alt.Scale(domain=[-_FLOW_ROOM, 1 + _FLOW_ROOM], nice=False)
    y_scale = alt.Scale(domain=[0, height], reverse=True, nice=False)

    def channels(x: str, y: str) -> dict[str, Any]:
        return {
            "x": alt.X(f"{x}:Q", scale=x_scale, axis=None),
            "y": alt.Y(f"{y}:Q", scale=y_scale, axis=None),
        }

    curved = (
        alt.Chart(alt.Data(values=bands))
        .transform_calculate(t=f"sequence(0, {_FLOW_STEPS + 1})")
        .transform_flatten(["t"])
        .transform_calculate(
            x=f"datum.t / {_FLOW_STEPS}",
            # From 0 to 1 exactly.
            part="(1 / (1 + exp(-10 * (datum.x - 0.5))) - 0.0066929) / 0.9866143",
            top="datum.a + (datum.b - datum.a) * datum.part",
            bottom="datum.top + datum.wide",
        )
        .mark_area(opacity=0.6)
        .encode(
            **channels("x", "top"),
            y2="bottom:Q",
            detail="id:N",
            color=alt.Color("from:N", title=None, scale=colour, legend=legend),
            tooltip=[
                alt.Tooltip("from:N"),
                alt.Tooltip("to:N"),
                alt.Tooltip("rows:N"),
                alt.Tooltip("share:N", title="share of where from"),
            ],
        )
    )
    placed = alt.Chart(alt.Data(values=nodes))
    shown = [alt.Tooltip("name:N"), alt.Tooltip("rows:N")]
    blocks = placed.mark_rect().encode(
        **channels("x", "y"),
        x2="x2:Q",
        y2="y2:Q",
        color=alt.Color("name:N", title=None, scale=colour, legend=legend),
        tooltip=shown,
    )
    middles = placed.transform_calculate(middle="(datum.y + datum.y2) / 2")
    called = middles.encode(**channels("at", "middle"), text="label:N", tooltip=shown)
    letters: dict[str, Any] = {"fontSize": 11, "baseline": "middle"}
    texts = [
        called.transform_filter("datum.x == 0").mark_text(align="right", **letters),
        called.transform_filter("datum.x == 1").mark_text(align="left", **letters),
    ]
    chart = _sized(alt.layer(curved, blocks, *texts), 1, 340, 20)
    return chart.properties(usermeta={"labels": 20, "legend": {"columns": 2, "labelLimit": 290}})


def _stacked_up(sizes: Sequence[float], gap: float) -> list[float]:
    """Where blocks one below the other begin."""
    found, at = [], 0.0
    for size in sizes:
        found.append(at)
        at += size + (gap if size > 0 else 0.0)
    return found


def stability_chart(listed: Sequence[dict[str, Any]]) -> Any:
    """How much the distribution of every column has changed, the line where it is a shift."""
    rows = [
        {"column": one["of"].removeprefix("column "), "value": one["value"],
         "text": number(one["value"], 0.0)}
        for one in listed
    ]  # fmt: skip
    y = alt.Y(
        "column:N", sort=None, axis=alt.Axis(title=None, grid=False, domain=False, ticks=False)
    )
    axis = alt.Axis(title="population stability index", tickCount=5)
    bars = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(color="var(--s4)", height=14)
        .encode(
            y=y,
            x=alt.X("value:Q", axis=axis, scale=alt.Scale(zero=True)),
            tooltip=[alt.Tooltip("column:N"), alt.Tooltip("text:N", title="stability index")],
        )
    )
    line = (
        alt.Chart(alt.Data(values=[{"shift": SHIFT}]))
        .mark_rule(color="var(--accent)", strokeDash=[4, 3])
        .encode(x=alt.X("shift:Q", axis=axis))
    )
    return _sized(alt.layer(bars, line), len(rows), 22, _LONG_LABELS)


def kmeans_chart(found: Segments) -> Any:
    """How the rows of every segment are shared out among the clusters of k-means."""
    own = found.kmeans
    rows: Rows = []
    for label, counts in zip(_labels(found), [] if own is None else own.table, strict=False):
        total = sum(counts)
        for cluster, count in enumerate(counts):
            share = count / total if total else None
            rows.append(
                {
                    "label": label,
                    "segment": str(cluster),
                    "name": found.segments[cluster].name,
                    "unit": share,
                    "text": "" if not count else f"{count:,}",
                    "rows": f"{count:,}",
                    "share of the segment": percent(share),
                }
            )
    return _heat(
        rows,
        _SHARES,
        _SEQUENTIAL,
        ["rows", "share of the segment"],
        "datum.unit >= 0.6",
        by="label",
        title="cluster of k-means",
        other="most like",
    )


def mixing_chart(found: Segments) -> Any:
    """Mean probabilities of all segments over the rows of each."""
    rows = []
    for label, own in zip(_labels(found), found.membership.segments, strict=True):
        for other, probability in zip(found.segments, own.probabilities, strict=False):
            rows.append(
                {
                    "label": label,
                    "segment": number_of(other.segment),
                    "name": other.name,
                    "unit": probability,
                    "text": "" if probability is None else f"{100 * probability:.0f}",
                    "mean probability": percent(probability),
                }
            )
    return _heat(
        rows,
        _SHARES,
        _SEQUENTIAL,
        ["mean probability"],
        "datum.unit >= 0.6",
        by="label",
    )


def membership_chart(found: Segments) -> Any:
    """Shares of the rows of a segment by their largest probability."""
    edges = found.membership.edges
    ranges = [range_of(a, b) for a, b in pairwise(edges)]
    rows = [
        {"label": label, "sure": sure, "order": i, "share": share, "text": percent(share)}
        for label, one in zip(_labels(found), found.membership.segments, strict=True)
        for i, (sure, share) in enumerate(zip(ranges, one.shares, strict=False))
    ]
    colours = [_SEQUENTIAL[round(6 * i / max(1, len(ranges) - 1))] for i in range(len(ranges))]
    return _stacked(rows, "sure", ranges, colours, "probability of its segment")


def category_chart(found: Segments, column: Column) -> Any:
    """Shares of the values of a category, stacked, a bar a segment."""
    rows = []
    values = [one.value for one in _category(found, column).values[:MOST_VALUES]]
    for number_, name, profile in groups(found):
        own = profile_of(profile, column.name)
        if not isinstance(own, CategoryProfile):
            continue
        label = f"all {found.noun}" if number_ == "all" else f"{number_}: {name}"
        for i, one in enumerate(own.values):
            if i < MOST_VALUES and one.share is not None:
                rows.append(
                    {
                        "label": label,
                        "value": one.value,
                        "order": i,
                        "share": one.share,
                        "text": percent(one.share),
                    }
                )
    return _stacked(rows, "value", values, _CATEGORIES[: len(values)], column.words)


def _category(found: Segments, column: Column) -> CategoryProfile:
    own = profile_of(found.whole.profile, column.name)
    if not isinstance(own, CategoryProfile):
        raise TypeError(f"{column.name} is no category")
    return own


def _stacked(rows: Rows, field: str, kinds: list[str], colours: list[str], title: str) -> Any:
    colour = alt.Color(
        f"{field}:N",
        title=title,
        sort=None,
        scale=alt.Scale(domain=kinds, range=colours),
        legend=alt.Legend(symbolLimit=0),
    )
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(stroke="var(--paper)", strokeWidth=1)
        .encode(
            y=_segment_axis(),
            x=alt.X(
                "share:Q",
                stack="zero",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", tickCount=5, title="share of the segment"),
            ),
            color=colour,
            order="order:Q",
            tooltip=[
                alt.Tooltip("label:N", title="segment"),
                alt.Tooltip(f"{field}:N", title=title),
                alt.Tooltip("text:N", title="share"),
            ],
        )
    )
    return _sized(chart, len({row["label"] for row in rows}))


def number_chart(found: Segments, column: Column) -> Any:
    """The distribution of a number in every segment, a row of bars each, with its median.

    Intervals are shown equally wide: of values that range widely they are those of logarithms.
    """
    edges = column.edges or []
    bars: Rows = []
    middles: Rows = []
    names: list[list[str]] = []
    for number_, name, profile in groups(found):
        own = profile_of(profile, column.name)
        if not isinstance(own, NumberProfile) or own.distribution is None:
            continue
        label = f"all {found.noun}" if number_ == "all" else f"{number_}: {name}"
        base, highest = len(names) + 0.95, max(own.distribution) or 1.0
        for i, share in enumerate(own.distribution):
            if share > 0:
                bars.append(
                    {
                        "label": label,
                        "from": i,
                        "to": i + 1,
                        "base": base,
                        "top": base - 0.85 * share / highest,
                        "share": percent(share),
                        "interval": _interval(column, edges, i),
                    }
                )
        if own.quantiles is not None:
            median = own.quantiles.p50
            middles.append(
                {
                    "label": label,
                    "base": base,
                    "top": base - 0.85,
                    "middle": float(np.interp(median, edges, range(len(edges)))),
                    "median": _in_units(column, median),
                }
            )
        names.append(label.split(", "))
    segment = alt.Tooltip("label:N", title="segment")
    x_scale = alt.Scale(domain=[0, len(edges) - 1], nice=False)
    y = alt.Y(
        "base:Q",
        scale=alt.Scale(domain=[0, len(names)], reverse=True, nice=False),
        axis=_rows_axis(names),
    )
    shown = (
        alt.Chart(alt.Data(values=bars))
        .mark_rect(color="var(--s3)", stroke="var(--paper)", strokeWidth=0.5)
        .encode(
            x=alt.X("from:Q", scale=x_scale, axis=_edges_axis(column, edges)),
            x2="to:Q",
            y=y,
            y2="top:Q",
            tooltip=[segment, alt.Tooltip("interval:N"), alt.Tooltip("share:N")],
        )
    )
    medians = (
        alt.Chart(alt.Data(values=middles))
        .mark_rule(color="var(--accent)", strokeWidth=2)
        .encode(x=alt.X("middle:Q"), y=y, y2="top:Q", tooltip=[segment, alt.Tooltip("median:N")])
    )
    return _sized(alt.layer(shown, medians), len(names))


def _of_whole_numbers(edges: Sequence[float]) -> bool:
    """Whether every interval is one whole number, with it in the middle."""
    return all(b - a == 1 for a, b in pairwise(edges)) and edges[0] % 1 == 0.5


def _interval(column: Column, edges: Sequence[float], i: int) -> str:
    if _of_whole_numbers(edges):
        return f"{edges[i] + 0.5:,.0f}"
    return f"{_in_units(column, edges[i])} to {_in_units(column, edges[i + 1])}"


def _edges_axis(column: Column, edges: Sequence[float]) -> alt.Axis:
    """An axis of the intervals' numbers, with the values that they stand for."""
    last = len(edges) - 1
    if _of_whole_numbers(edges):
        step = max(1, round(last / 6))
        texts = {i + 0.5: f"{edges[i] + 0.5:,.0f}" for i in range(0, last, step)}
    else:
        if column.kind == "date":
            values = [edges[i] for i in sorted({round(i * last / 4) for i in range(5)})]
            said = [day_of(value) for value in values]
        else:
            values = ticks(edges)
            said = short(values)
        places = [float(place) for place in np.interp(values, edges, range(len(edges)))]
        texts = dict(zip(places, said, strict=True))
    return alt.Axis(
        values=list(texts),
        labelExpr=_by_value(texts),
        labelSeparation=6,
        title=column_title(column),
        grid=False,
    )


_ROUNDED = (round, math.floor, math.ceil)


def ticks(edges: Sequence[float]) -> list[float]:
    """Round values of an axis of intervals: in even steps, or where intervals are not equally
    wide (those of logarithms) each near where an even step would be."""
    low, high, last = edges[0], edges[-1], len(edges) - 1
    if not high > low:
        return [low]
    if np.allclose(np.diff(edges), (high - low) / last, rtol=1e-6):
        size = 10.0 ** math.floor(math.log10((high - low) / 8))
        step = next(m * size for m in (1, 2, 2.5, 5, 10) if (high - low) / (m * size) <= 8)
        return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    found = []
    for place in np.linspace(0, last, 5):
        value = float(np.interp(place, range(len(edges)), edges))
        size = 10.0 ** math.floor(math.log10(abs(value))) if value else 1.0
        near = [f(value / unit) * unit for unit in (size, size / 10) for f in _ROUNDED]
        places = np.interp(near, edges, range(len(edges)))
        found += [
            v
            for v, at in zip(near, places, strict=True)
            if low <= v <= high and abs(at - place) <= 0.06 * last
        ][:1] or [value]
    return sorted(set(found))


def short(values: Sequence[float]) -> list[str]:
    """Round values without the zeros that say nothing."""
    largest = max(map(abs, values), default=0.0)
    if largest and not 1e-3 <= largest < 1e6:
        return [f"{value:.3g}" for value in values]
    return [f"{value:,.6f}".rstrip("0").rstrip(".") for value in values]


def _rows_axis(names: Sequence[list[str]]) -> alt.Axis:
    """Names of rows in their middle, on an axis of numbers."""
    texts = {i + 0.5: lines for i, lines in enumerate(names)}
    return alt.Axis(
        values=list(texts),
        labelExpr=_by_value(texts),
        title=None,
        grid=False,
        ticks=False,
        domain=False,
        labelLineHeight=_LINE,
        labelOffset=_centred("length({})".format(_by_value(texts, "[]"))),
    )


def _by_value(texts: Mapping[Any, Any], otherwise: str = "''") -> str:
    """An expression for the texts of an axis; JSON is what expressions take for a text."""
    return (
        "".join(f"datum.value == {value} ? {json.dumps(text)} : " for value, text in texts.items())
        + otherwise
    )


def _centred(lines: str) -> Any:
    """Labels of several lines moved up, so that their middle is at the tick."""
    tests = [{"test": f"{lines} == {n}", "value": -_LINE * (n - 1) / 2} for n in (2, 3, 4)]
    return {"condition": tests, "value": 0}


def outliers_chart(found: Segments) -> Any:
    own = [] if found.outliers is None else found.outliers.segments
    names = dict(zip([one.segment for one in found.segments], _labels(found), strict=True))
    rows = [
        {
            "label": names.get(one.segment, number_of(one.segment)),
            "share": one.share,
            "text": percent(one.share),
            "outliers": f"{one.rows:,}",
        }
        for one in own
    ]
    return _share_bars(rows, "share of outliers", "outliers")


def weights_chart(found: Segments) -> Any:
    """The shares of the segments of all."""
    rows = [
        {"label": label, "share": one.share, "text": percent(one.share), "rows": f"{one.rows:,}"}
        for label, one in zip(_labels(found), found.segments, strict=True)
    ]
    return _share_bars(rows, "share of all", "rows")


def _share_bars(rows: Rows, title: str, counted: str) -> Any:
    """A bar a segment, with the field `counted` as a tooltip."""
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(color="var(--accent)", height=18)
        .encode(
            y=_segment_axis(),
            x=alt.X("share:Q", axis=alt.Axis(format="%", tickCount=5, title=title)),
            tooltip=[
                alt.Tooltip("label:N", title="segment"),
                alt.Tooltip(f"{counted}:N"),
                alt.Tooltip("text:N", title="share"),
            ],
        )
    )
    return _sized(chart, len(rows))


def choice_chart(considered: Sequence[dict[str, Any]], measure: str, title: str) -> Any:
    """What was considered, by number of segments; the first is what was taken."""
    rows = [
        {
            "k": one["k"],
            "value": one[measure],
            "structure": str(one.get("covarianceType", "")),
            "what": "taken" if i == 0 else "considered",
            "text": number(one[measure], 0.0),
            "why": str(one.get("why") or ""),
        }
        for i, one in enumerate(considered)
        if one.get(measure) is not None and one.get("k") is not None
    ]
    # Drawn last, so that nothing hides it.
    rows.reverse()
    kinds = ["taken", "considered"]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, opacity=0.85)
        .encode(
            x=alt.X("k:O", axis=alt.Axis(title="segments", labelAngle=0)),
            y=alt.Y(
                "value:Q", scale=alt.Scale(zero=False), axis=alt.Axis(title=title, tickCount=5)
            ),
            color=alt.Color(
                "what:N",
                title=None,
                scale=alt.Scale(domain=kinds, range=["var(--accent)", "var(--s4)"]),
            ),
            shape=alt.Shape("what:N", scale=alt.Scale(domain=kinds, range=["diamond", "circle"])),
            size=alt.Size("what:O", scale=alt.Scale(domain=kinds, range=[220, 50]), legend=None),
            tooltip=[
                alt.Tooltip("k:O", title="segments"),
                alt.Tooltip("text:N", title=title),
                alt.Tooltip("structure:N"),
                alt.Tooltip("why:N"),
            ],
        )
    )
    return _sized(chart, 1, 260, 60)


def passes_chart(found: Segments) -> Any:
    """The mean log-likelihood of every pass."""
    passes = [] if found.fit is None else found.fit.passes
    rows: Rows = [
        {
            "pass": one.number,
            "value": one.mean_log_likelihood,
            "kind": one.kind,
            "text": str(one.mean_log_likelihood),
        }
        for one in passes
        if one.mean_log_likelihood is not None
    ]
    values = [row["value"] for row in rows]
    # What is smaller is the last digits of sums, and no rise or fall.
    spare = max(0.05 * (max(values) - min(values)), _NO_GAIN)
    domain = [min(values) - spare, max(values) + spare]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(color="var(--accent)", point={"fill": "var(--accent)", "size": 60})
        .encode(
            x=alt.X("pass:O", axis=alt.Axis(labelAngle=0)),
            y=alt.Y(
                "value:Q",
                scale=alt.Scale(domain=domain, nice=False),
                axis=alt.Axis(title="mean log-likelihood", tickCount=4, format=",.3f"),
            ),
            tooltip=[
                alt.Tooltip("pass:O"),
                alt.Tooltip("kind:N"),
                alt.Tooltip("text:N", title="mean log-likelihood"),
            ],
        )
    )
    return _sized(chart, 1, 200, 90)
