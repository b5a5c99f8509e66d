"""What has changed since an earlier run, read from segments.json for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gmm_spark.engine.scoring import NOISE
from gmm_spark.report.page_tables import Cell, Table, counts, figures, of_columns, signed, texts
from gmm_spark.report.segments import Segments

# What figures of `drift` are called on the page.
_CALLED = {
    "rows": "rows",
    "log_likelihood": "mean log density",
    "segment_share": "share of the rows",
    "segment_mean": "mean, in standard deviations",
    "changed": "rows most probably in another segment",
    "missing": "without a value",
    "out_of_range": "beyond the range of before",
    "unseen": "values not seen before",
    "psi": "population stability index",
}
NEW, GONE, NO_SEGMENT = "not there before", "not there now", "no segment"
# What stands at their blocks, where there is little room.
SHORT = {NEW: "came", GONE: "left", NO_SEGMENT: "none"}


@dataclass(frozen=True)
class Flows:
    """How many rows went from which segment to which.

    old, new : names of where they came from and went to, in the order of the table
    rows : a list for each of `old`
    are_customers : whether the same customers are counted in both runs, and not the rows of this
        one by both models
    """

    old: list[str]
    new: list[str]
    rows: list[list[float]]
    are_customers: bool


def flows(found: Segments) -> Flows | None:
    """Those of the customers, where they are known by their ids, else of the rows of this run."""
    given: Any = found.transitions
    if given is None:
        return None
    of = given.get("customers") or given.get("same_rows")
    if of is None:
        return None
    names = {getattr(one, "id", None): one.name for one in found.segments}
    old, new = ([_called(id, names) for id in of[key]] for key in ("old", "new"))
    rows = [[float(count) for count in row] for row in of["rows"]]
    if any(of.get("left") or ()):
        rows, new = (
            [[*row, float(n)] for row, n in zip(rows, of["left"], strict=True)],
            [*new, GONE],
        )
    if any(of.get("came") or ()):
        came = [float(count) for count in of["came"]]
        rows, old = [*rows, came + [0.0] * (len(new) - len(came))], [*old, NEW]
    return Flows(old, new, rows, bool(given.get("customers")))


def _called(id: int | None, names: dict[int | None, str]) -> str:
    if id is None:
        return NO_SEGMENT
    if id == NOISE:
        return "noise"
    return f"{id}: {names[id]}" if id in names else str(id)


def since(given: Any) -> str:
    """The earlier run, in words."""
    of = given.get("since") or {}
    said = f"version {of['version']}" if of.get("version") is not None else "the run before"
    return f"{said} of {of['run_date']}" if of.get("run_date") else said


def sentences(found: Segments) -> list[str]:
    """Since when, what became of the segments, and what speaks against the new ones."""
    transitions: Any = found.transitions or {}
    drift: Any = found.drift or {}
    said = list(transitions.get("words", ()))
    if not any(one.startswith("since ") for one in said):
        said.insert(0, f"since {since(transitions or drift)}")
    said += [f"a rule of the gate is against it: {one}" for one in drift.get("against", ())]
    return [f"{one[:1].upper()}{one[1:]}." for one in said]


def flows_table(own: Flows) -> Table:
    """A row where rows came from, a column where they went to."""
    columns = {"from": texts(own.old)}
    for name, column in zip(own.new, zip(*own.rows, strict=True), strict=True):
        columns[f"to {name}"] = counts(column)
    return of_columns("From segment to segment", columns)


def drift_table(found: Segments) -> Table | None:
    """All figures of the drift, the largest stability indices first."""
    listed = drift_figures(found)
    if not listed:
        return None

    columns = {
        "what": texts([_CALLED.get(one["name"], one["name"]) for one in listed]),
        "of": texts([one["of"] for one in listed]),
        "now": [_figure(one, "value") for one in listed],
        "before": [_figure(one, "before") for one in listed],
        "change": [_change(one) for one in listed],
    }
    return of_columns("What has changed", columns)


def _figure(one: Mapping[str, Any], key: str) -> Cell:
    value = one.get(key)
    return (counts if one["name"] == "rows" else figures)([value])[0]


def _change(one: Mapping[str, Any]) -> Cell:
    value = one.get("change")
    return Cell(signed(value, 0 if one["name"] == "rows" else 3) or "-", value)


def drift_figures(found: Segments, name: str | None = None) -> Sequence[dict[str, Any]]:
    """The figures, of one name or all; stability indices first, the largest first."""
    drift: Any = found.drift or {}
    listed = [one for one in drift.get("figures", ()) if name is None or one["name"] == name]
    return sorted(listed, key=lambda one: -one["value"] if one["name"] == "psi" else 1e300)
