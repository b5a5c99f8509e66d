"""Segments as tables of text: what their rows are like, and what a mixture says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gmm_spark.engine.scoring import NOISE
from gmm_spark.report.text import left_out, numbers, percent, table

# Of the values of a text that have a rate.
_SHOWN_VALUES = 5
# More columns than fit on a line are in the manifest.
_SHOWN_MEANS = 6
_SHOWN_COLUMNS = 8


def tables_of(profiles: Sequence[dict[str, Any]], means: Sequence[str]) -> str:
    """The profiles as text: a table of the segments with these means and the outcomes, and one
    for each text of many values."""
    whole, outcomes = profiles[-1], profiles[-1]["profile"]
    texts = [name for name, found in outcomes.items() if found["kind"] == "values"]
    shown = [name for name in means if name not in outcomes][:_SHOWN_MEANS]
    columns = [
        ["segment", *(_name(one["segment"]) for one in profiles)],
        ["rows", *(f"{one['rows']:,}" for one in profiles)],
        ["share", *(percent(one["rows"] / whole["rows"]) for one in profiles)],
    ]
    for name in shown:
        scale = whole["standard_deviations"][name] or 0.0
        columns.append([f"mean {name}", *numbers([one["means"][name] for one in profiles], scale)])
    for name, found in outcomes.items():
        if name not in texts:
            summaries = [one["profile"][name] for one in profiles]
            columns.append([f"{name} {found['kind']}", *_with_intervals(summaries, found["kind"])])
    columns.append(["uncertainty", *(percent(one["mean_uncertainty"]) for one in profiles)])
    lines = [_of_columns(columns)]
    lines += left_out([name for name in means if name not in (*outcomes, *shown)])
    for name in texts:
        lines += ["", *_values_table(name, profiles)]
    if outcomes:
        lines.append("  In brackets: 95 % intervals")
    return "\n".join(lines)


def mixture_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of `segment_rows` as text: means and standard deviations, rates, usual values."""
    first = rows[0]
    sections = [key for key, value in first.items() if isinstance(value, dict)]
    sections = [key for key in sections if key not in ("means", "standard_deviations")]
    names = [*first["means"], *(name for section in sections for name in first[section])]
    shown = names[:_SHOWN_COLUMNS]
    columns = [
        ["segment", *(_name(row["segment"]) for row in rows)],
        ["weight", *(percent(row["weight"]) for row in rows)],
    ]
    for name in shown:
        if name in first["means"]:
            cells = _with_deviations(name, rows)
        else:
            section = next(section for section in sections if name in first[section])
            cells = _said([row[section].get(name) for row in rows])
        of_columns = ["means", *sections]
        empty = [not any(name in row[section] for section in of_columns) for row in rows]
        columns.append([name, *("" if e else c for e, c in zip(empty, cells, strict=True))])
    return "\n".join([_of_columns(columns), *left_out(names[len(shown) :])])


def _said(values: Sequence[Any]) -> list[str]:
    """What a family says of a column, by segment: a number, or a value and its probability."""
    if not isinstance(values[0], dict):
        return numbers(values)
    return [
        "-" if v is None else f"{_short(v['value'])} ({percent(v['probability'])})" for v in values
    ]


def _with_deviations(name: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    means = [row["means"].get(name) for row in rows]
    deviations = [row["standard_deviations"].get(name) for row in rows]
    shown = numbers([*means, *deviations], 0.0)
    return [
        f"{mean} (sd {deviation})"
        for mean, deviation in zip(shown[: len(rows)], shown[len(rows) :], strict=True)
    ]


def _values_table(name: str, profiles: Sequence[dict[str, Any]]) -> list[str]:
    columns = [["segment", *(_name(one["segment"]) for one in profiles)]]
    found = profiles[-1]["profile"][name]
    values = [one["value"] for one in found["values"]]
    for i, value in enumerate(values[:_SHOWN_VALUES]):
        rates = [one["profile"][name]["values"][i] for one in profiles]
        rates = [{**rate, "value": rate["rate"]} for rate in rates]
        columns.append([_short(value), *_with_intervals(rates, "rate")])
    others = [_short(value) for value in values[_SHOWN_VALUES:]]
    lines = [name, _of_columns(columns), *left_out(others, "value")]
    if found["other_values"]:
        lines.append(f"  and {found['other_values']:,} rarer values, which are not counted")
    return lines


def _short(value: str) -> str:
    """A value of a text as the head of a column: of one line, and not long."""
    line = " ".join(value.split()) or repr(value)
    return line if len(line) <= 30 else f"{line[:27]}..."


def _of_columns(columns: Sequence[Sequence[str]]) -> str:
    header, *rows = zip(*columns, strict=True)
    return table(header, rows)


def _name(segment: Any) -> str:
    return {None: "none", NOISE: "noise"}.get(segment, str(segment))


def _with_intervals(summaries: Sequence[dict[str, Any]], kind: str) -> list[str]:
    if kind == "rate":
        return [
            percent(one["value"])
            + (
                ""
                if one["low"] is None
                else f" ({100 * one['low']:.1f} to {100 * one['high']:.1f})"
            )
            for one in summaries
        ]
    flat = [one[key] for one in summaries for key in ("value", "low", "high")]
    shown = numbers(flat, max((abs(v) for v in flat if v is not None), default=0.0))
    triples = zip(summaries, shown[::3], shown[1::3], shown[2::3], strict=True)
    return [
        value if one["low"] is None else f"{value} ({low} to {high})"
        for one, value, low, high in triples
    ]
