"""The page: its numbers are those of segments.json, it asks for nothing, names end no script."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from gmm_spark.errors import ConfigurationError
from gmm_spark.report import page, page_tables
from gmm_spark.report.segments import Segments
from gmm_spark.report.text import percent

pytest.importorskip("altair")
pytest.importorskip("vl_convert")
pytest.importorskip("jinja2")

from gmm_spark.report import page_charts

# Names that end a script, a tag, an attribute or a text of an expression.
EVIL = "<script>alert(1)</script>"
VALUES = ["</script><b>x</b>", "it's \"><img src=x onerror=alert(1)>, & so", "${x} {{ 7 * 7 }}"]
NAMES = ["new, <i>high</i> bill", 'long-standing, "low" bill', "average"]
CHARTS = 18  # 3 of outcomes and value, 2 of profiles, 4 of columns, 9 of the rest
HEAT = "Means in standard units, less those of all"
EDGES = {"tenure": [0.0, 10.0, 25.0, 70.0], "calls": [-0.5, 0.5, 1.5, 2.5], "since": [1e4, 2e4]}


def found(segments: int = 3) -> Segments:
    """A segmentation of figures drawn at random: two hold the same number by no chance."""
    draw = np.random.default_rng(7)

    def share() -> float:
        return float(draw.uniform(0.01, 0.99))

    def profile(with_units: bool) -> list[dict[str, Any]]:
        numbers = [
            {
                "kind": "date" if name == "since" else "count" if name == "calls" else "number",
                "column": name,
                "known": share() * 1000,
                "missing": share(),
                "mean": share() * edges[-1],
                "standard_deviation": share() * edges[-1],
                "quantiles": {
                    key: float(value)
                    for key, value in zip(
                        ["p05", "p25", "p50", "p75", "p95"],
                        np.sort(draw.uniform(edges[0], edges[-1], 5)),
                        strict=True,
                    )
                },
                "standard_units": float(draw.normal()) if with_units else None,
                "distribution": draw.dirichlet(np.ones(len(edges) - 1)).tolist(),
            }
            for name, edges in EDGES.items()
        ]
        values = draw.dirichlet(np.ones(4)).tolist()
        category = {
            "kind": "category",
            "column": EVIL,
            "known": share() * 1000,
            "missing": 0.0,
            "values": [{"value": v, "share": s} for v, s in zip(VALUES, values, strict=False)],
            "other": values[3],
        }
        return [*numbers, category]

    def outcome(name: str, scale: float) -> dict[str, Any]:
        low, value, high = np.sort(draw.uniform(0.01, 0.99, 3)) * scale
        return {
            "outcome": name,
            "rows": int(draw.integers(100, 1000)),
            "estimate": "BCH",
            "value": value,
            "standard_error": share(),
            "low": low,
            "high": high,
            "lift": share() * 3,
            "posterior": share() * scale,
            "posterior_low": 0.0,
            "posterior_high": 1.0,
            "raw": share() * scale,
        }

    listed = [
        {
            "segment": number,
            "name": NAMES[number],
            "name_parts": [],
            "words": f"{NAMES[number]}: 1,234 customers (12.3 %); left 45.6 % (40.0 to 50.0)",
            "size": share() * 1000,
            "share": share(),
            "rows": int(draw.integers(100, 1000)),
            "profile": profile(True),
            "sets_apart": [
                {"column": "tenure", "effect": share(), "standardised": share(),
                 "segment": share() * 70, "rest": share() * 70, "words": "tenure"},
                {"column": EVIL, "value": VALUES[0], "effect": -share(), "segment": share(),
                 "rest": share(), "words": "category"},
            ],
            "outcomes": [outcome("left", 1.0), outcome("spent", 500.0)],
            "value": {
                key: share() * (1 if "share" in key else 10000)
                for key in ["total", "share", "mean", "at_risk", "at_risk_low", "at_risk_high",
                            "at_risk_share"]
            },
        }
        for number in range(segments)
    ]  # fmt: skip
    considered = [
        {"k": k, "components": k + 1, "covarianceType": "full", "covarianceFloor": None,
         "mutualInformation": share(), "columnInformation": share(),
         "stability": None if k == 3 else share(), "why": EVIL}
        for k in (3, 2, 4)
    ]  # fmt: skip

    def ellipses() -> list[dict[str, Any]]:
        return [
            {"component": j, "segment": min(j, segments - 1), "weight": share(),
             "x": 1.5 * j - 2, "y": float(draw.normal()), "a": share(),
             "b": float(draw.normal()), "c": share()}
            for j in range(segments + 1)
        ]  # fmt: skip

    pictured = {
        "axes": [
            {"words": f"more: {EVIL}, {VALUES[0]}; less: {VALUES[1]}", "separation": share() * 9,
             "low": -4.0 - axis, "high": 4.0 + axis,
             "loadings": [{"column": EVIL, "value": VALUES[axis], "words": VALUES[axis],
                           "correlation": -share()},
                          {"column": "tenure", "words": "tenure", "correlation": share()}]}
            for axis in range(2)
        ],
        "share": share(),
        "points": [
            {"x": float(x), "y": float(y), "segment": i % segments, "probability": share()}
            for i, (x, y) in enumerate(draw.normal(size=(60, 2)).round(2))
        ],
        "sampled": "60 of 5,321 customers, chosen by hashes of their content",
        "iterations": [
            {"number": 3 * i, "kind": ["start", "em", "em", "model"][i],
             "rows": None if i == 3 else 2000, "ellipses": ellipses(),
             "mean_log_likelihood": None if i == 3 else -14 + i + share()}
            for i in range(4)
        ],
        "way": "again from a blurred start",
        "way_words": "EM was run again.",
    }  # fmt: skip
    kmeans = {
        "rows": 900, "clusters": segments, "moved": share(), "adjusted_rand_index": share(),
        "is_kmeans": False, "words": [f"{EVIL} is elsewhere."],
        "table": draw.integers(1, 300, (segments, segments)).tolist(),
        "outcomes": [{"outcome": "left", "rows": 880, "bits": share(), "kmeans_bits": share(),
                      "standard_error": share(), "spread": share(), "kmeans_spread": share()}],
    }  # fmt: skip
    since = {"version": 3, "run_id": "abc", "run_date": "2026-10-01"}
    transitions = {
        "since": since,
        "same_rows": {"old": [0, 1], "new": [0, 1, 4], "rows": [[1.0, 2.0, 3.0]] * 2},
        "customers": {
            "old": [0, 1, None],
            "new": [0, 1, 4],
            "rows": draw.integers(1, 300, (3, 3)).tolist(),
            "came": [7, 0, 11],
            "left": [5, 6, 0],
        },
        "words": [f"segment 4 is new {EVIL}"],
    }
    drift = {
        "since": since,
        "figures": [
            {"name": name, "of": of, "value": share(), "before": before,
             "change": 1200.0 if name == "rows" else before and 0.25,
             "relative_change": None}
            for name, of, before in [("rows", "", 5300.0), ("psi", "column tenure", None),
                                     ("psi", f"column {EVIL}", None),
                                     ("segment_share", "segment 4", 0.125)]
        ],
        "against": ["psi of column tenure: 0.3 (above: 0.25)"],
    }  # fmt: skip
    return Segments.model_validate(
        {
            "version": "1.0",
            "made_by": "gmm_spark 0.1.0",
            "noun": "customers",
            "rows": {"total": 5432, "with_segment": 5321, "without_segment": 111, "weight": 5321},
            "columns": [
                {"name": name, "words": name, "in_model": True, "describes_a_person": False,
                 "kind": {"since": "date", "calls": "count"}.get(name, "number"), "edges": edges}
                for name, edges in EDGES.items()
            ]
            + [{"name": EVIL, "words": "script alert 1 script", "kind": "category",
                "in_model": True, "describes_a_person": False}],
            "not_described": {"<b>id</b>": "an identifier"},
            "outcomes": [
                {"name": "left", "words": "left", "kind": "rate", "value": 0.271, "missing": 3},
                {"name": "spent", "words": "spent", "kind": "mean", "value": 234.5, "missing": 0},
            ],
            "value": {"column": "bill", "total": 98765.4, "missing": 0, "outcome": "left",
                      "at_risk": 23456.7},
            "segments": listed,
            "whole": {"profile": profile(False)},
            "membership": {
                "edges": [0.0, 0.5, 0.9, 1.0],
                "segments": [
                    {"segment": number, "rows": int(draw.integers(100, 1000)),
                     "mean_probability": share(), "shares": draw.dirichlet(np.ones(3)).tolist(),
                     "probabilities": draw.dirichlet(np.ones(segments)).tolist()}
                    for number in range(segments)
                ],
            },
            "outliers": {
                "threshold": -12.3, "rows": 55, "share": 0.0103,
                "segments": [{"segment": number, "rows": int(draw.integers(1, 40)),
                              "share": share()} for number in range(segments)],
            },
            "quantiles": "exact",
            "choice": {
                "segments": segments, "components": 4, "structure": "full", "why": "the best",
                "considered": considered,
                "alternatives": [{"k": 3, "difference": share()}],
                "outcome_information": {"outcome": "left", "bits": share(), "spread": share(),
                                        "rows": 2660},
            },
            "fit": {
                "log_likelihood": -54321.6, "mean_log_likelihood": -10.2, "aic": 1.1e5,
                "bic": 1.2e5, "icl": 1.3e5, "converged": True, "reason": "converged",
                "rows": 5321, "warnings": ["k_at_edge: <u>the best</u> k is the last"],
                "passes": [{"number": i, "kind": "em", "mean_log_likelihood": -11 + share(),
                            "gain": share(), "seconds": None} for i in range(3)],
            },
            "preparation": [{"name": EVIL, "role": "category", "reason": "text",
                             "treatment": "as it is", "new_value": "(other)", "null": "null",
                             "out_of_range": None}],
            "map": pictured,
            "kmeans": kmeans,
            "transitions": transitions,
            "drift": drift,
            "notes": ["<u>no segment</u> is named by age"],
        }
    )  # fmt: skip


class Page(HTMLParser):
    """What a browser makes of a page: tables by caption, texts, scripts, attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[tuple[str, float | None]]]] = {}
        self.scripts: list[tuple[str | None, str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self._open: list[str] = []
        self._caption = ""
        self._value: float | None = None
        self._cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        given = dict(attrs)
        if tag not in ("meta", "path", "rect", "line"):
            self._open.append(tag)
        if tag == "caption":
            self._caption = ""
        elif tag == "tr":
            self.tables.setdefault(self._caption, []).append([])
        elif tag in ("td", "th"):
            value = given.get("data-value")
            self._value, self._cell = None if value is None else float(value), []
        elif tag == "script":
            self.scripts.append((given.get("type"), ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.tables[self._caption][-1].append(("".join(self._cell), self._value))
            self._cell = None
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        elif inside == "caption":
            self._caption += data
        elif self._cell is not None:
            self._cell.append(data)
        elif inside != "style" and "svg" not in self._open:
            self.words.append(data)

    def values(self, caption: str) -> list[list[float | None]]:
        return [[value for _, value in row] for row in self.tables[caption][1:]]

    def column(self, caption: str, head: str) -> list[float | None]:
        place = [text for text, _ in self.tables[caption][0]].index(head)
        return [row[place] for row in self.values(caption)]


@pytest.fixture(scope="module")
def segments() -> Segments:
    return found()


@pytest.fixture(scope="module")
def html(segments: Segments) -> str:
    return page.page_of(segments)


@pytest.fixture(scope="module")
def read(html: str) -> Page:
    return Page(html)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    else:
        yield value


def shown_number(text: str) -> float | None:
    """The number that a text of a cell says; None where it is a bound or a date."""
    if not re.fullmatch(r"[-+]?[\d,]+(\.\d+)?(e[-+]\d+)?( %)?", text):
        return None
    plain = float(text.removesuffix(" %").replace(",", ""))
    return plain / 100 if text.endswith("%") else plain


def test_every_number_of_the_tables_is_in_segments_json(read: Page, segments: Segments) -> None:
    known = {
        float(value)
        for value in leaves(json.loads(segments.to_json()))
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    cells = [cell for rows in read.tables.values() for row in rows for cell in row]
    valued = [(text, value) for text, value in cells if value is not None]
    assert len(valued) > 250
    assert [value for _, value in valued if value not in known] == []
    # A figure without its value would pass unseen; the numbers of segments are heads and labels.
    body = [cell for rows in read.tables.values() for row in rows[1:] for cell in row]
    bare = {text for text, value in body if value is None and shown_number(text) is not None}
    assert bare == {str(one.segment) for one in segments.segments}
    for text, value in valued:
        said = shown_number(text)
        if said is not None:
            decimals = len(text.removesuffix(" %").partition(".")[2])
            unit = 10.0**-decimals / (100 if text.endswith("%") else 1)
            assert abs(said - value) <= 0.5 * unit + 1e-9 * abs(value) or "e" in text, text


# Numbers that explain and are none of the table's: of intervals, of probabilities, of effects.
EXPLAINING = {"0", "1", "0.15", "0.33", "0.47", "80", "95", "100"}


def test_every_number_in_words_is_in_segments_json(read: Page, segments: Segments) -> None:
    """Figures of sentences, as they are or rounded; also those that are within its texts."""
    content = list(leaves(json.loads(segments.to_json())))
    known = [float(v) for v in content if isinstance(v, (int, float)) and not isinstance(v, bool)]
    number = r"[\d,]*\d(?:\.\d+)?"
    within = {n for v in content if isinstance(v, str) for n in re.findall(number, v)} | EXPLAINING
    said = re.findall(rf"({number})(\s%)?", " ".join(read.words))
    assert len(said) > 40
    for text, sign in said:
        decimals, value = len(text.partition(".")[2]), float(text.replace(",", ""))
        scaled = [100 * v for v in known] if sign else known
        assert text in within or any(
            abs(abs(v) - value) <= 0.5 * 10.0**-decimals + 1e-9 for v in scaled
        ), text


def test_the_tables_have_their_numbers_in_place(read: Page, segments: Segments) -> None:
    own = segments.segments
    for i, (name, head) in enumerate([("left", "rate"), ("spent", "mean")]):
        caption = f"{name} by segment"
        outcomes = [one.outcomes[i] for one in own]
        assert read.column(caption, head) == [o.value for o in outcomes]
        assert read.column(caption, "95 % from") == [o.low for o in outcomes]
        assert read.column(caption, "to") == [o.high for o in outcomes]
        assert read.column(caption, "lift") == [o.lift for o in outcomes]
    money = [one.value for one in own if one.value is not None]
    assert read.column("bill and what is at risk", "at risk") == [one.at_risk for one in money]
    for one in own:
        rows = read.values(f"What sets apart {one.segment}: {one.name}")
        assert [row[1:4] for row in rows] == [[d.effect, d.segment, d.rest] for d in one.sets_apart]
    for name in EDGES:
        profiles = [
            next(p for p in of.profile if p.column == name) for of in [*own, segments.whole]
        ]
        assert read.column(f"{name} by segment", "mean") == [p.mean for p in profiles]
        assert read.column(f"{name} by segment", "median") == [p.quantiles.p50 for p in profiles]
        shares = read.values(f"{name}: share of every segment in every interval")
        assert [list(column) for column in zip(*shares, strict=True)][2:] == [
            p.distribution for p in profiles
        ]
        units = {row[0][0]: [v for _, v in row[1:]] for row in read.tables[HEAT][1:]}
        assert units[name] == [p.standard_units for p in profiles[:-1]]
    title = f"script alert 1 script ({EVIL}): share of every value by segment"
    category = [of.profile[-1] for of in [*own, segments.whole]]
    assert [row[1:] for row in read.values(title)] == [
        *([p.values[i].share for p in category] for i in range(3)),
        [p.other for p in category],
    ]
    sure = segments.membership.segments
    assert [row[-3:] for row in read.values("How sure it is")] == [one.shares for one in sure]
    assert [row[2:] for row in read.values("Mean probabilities of all segments")] == [
        one.probabilities for one in sure
    ]
    assert read.column("Outliers by segment", "outliers") == [
        one.rows for one in segments.outliers.segments
    ]
    considered = segments.choice.considered
    assert read.column("What was considered, the best first", "bits of the outcome") == [
        one["mutualInformation"] for one in considered
    ]
    assert read.column("Passes over the table", "mean log-likelihood") == [
        one.mean_log_likelihood for one in segments.fit.passes
    ]
    fit = segments.fit
    assert read.column("Criteria", "value")[2:] == [fit.aic, fit.bic, fit.icl]
    shown = segments.map.iterations[-1].ellipses
    assert [row[3:] for row in read.values("Middles of the ellipses")] == [
        [one.weight, one.x, one.y] for one in shown
    ]
    made = read.values("What the axes are made of")
    right, up = (axis.loadings for axis in segments.map.axes)
    assert [row[1:] for row in made] == [
        [right[0].correlation, None],
        [right[1].correlation, up[1].correlation],
        [None, up[0].correlation],
    ]
    assert read.column("Iterations of EM", "mean log-likelihood") == [
        one.mean_log_likelihood for one in segments.map.iterations
    ]
    table = read.values("Customers by segment and cluster of k-means")
    assert [row[2:] for row in table] == segments.kmeans.table
    (said,) = segments.kmeans.outcomes
    assert read.values("What segments and k-means say of outcomes")[0][1:] == [
        said.rows, said.bits, said.standard_error, said.kmeans_bits, said.spread,
        said.kmeans_spread,
    ]  # fmt: skip


def test_no_two_tables_have_one_caption(html: str) -> None:
    captions = re.findall(r"<caption[^>]*>(.*?)</caption>", html)
    assert len(captions) > 15
    assert len(set(captions)) == len(captions)


def test_the_first_screen_says_what_was_found(read: Page, segments: Segments) -> None:
    words = " ".join(" ".join(read.words).split())
    assert "5,321 customers in 3 segments" in words
    for one in segments.segments:
        assert one.name in words
        said = one.words.removeprefix(f"{one.name}: ")
        assert all(part in words for part in said.split("; "))
    rates = {one.outcomes[0].value: one.name for one in segments.segments}
    most, least = max(rates), min(rates)
    assert (
        f"Left is 27.1 % of all customers: {percent(most)} in “{rates[most]}”, the most, and "
        f"{percent(least)} in “{rates[least]}”."
    ) in words
    shares = {one.value.at_risk_share: one.name for one in segments.segments if one.value}
    most = max(share for share in shares if share is not None)
    assert f"At risk: 23,457 of 98,765 bill; {percent(most)} of that in “{shares[most]}”." in words
    assert "111 customers have gaps that were skipped" in words


def test_charts_have_the_numbers_of_their_tables(read: Page, segments: Segments) -> None:
    charts = [json.loads(text) for kind, text in read.scripts if kind == "application/json"]
    assert len(charts) == read.tags.count("svg") == CHARTS
    known = set(leaves(json.loads(segments.to_json())))
    known |= {count / sum(row) for row in segments.kmeans.table for count in row}
    for chart in charts:
        parts = [chart, *chart.get("layer", [])]
        rows = [row for part in parts for row in part.get("data", {}).get("values", [])]
        assert rows
        # Beside these is where something is drawn: tops of bars, places of ticks.
        shown = [row[key] for row in rows for key in ("value", "low", "high", "unit") if key in row]
        assert [v for v in shown if isinstance(v, float) and v not in known] == []


def test_changes_are_those_of_segments_json(read: Page, segments: Segments) -> None:
    given = segments.transitions["customers"]
    assert [row[1:] for row in read.values("From segment to segment")] == [
        *([*row, gone] for row, gone in zip(given["rows"], given["left"], strict=True)),
        [*given["came"], 0],
    ]
    assert [row[0][0] for row in read.tables["From segment to segment"][1:]] == [
        "0", "1", "no segment", "not there before",
    ]  # fmt: skip
    figures = segments.drift["figures"]
    found = {(row[2], row[3], row[4]) for row in read.values("What has changed")}
    assert found == {(one["value"], one["before"], one["change"]) for one in figures}
    # Rows are whole.
    (rows,) = (row for row in read.tables["What has changed"] if row[0][0] == "rows")
    assert [rows[3][0], rows[4][0]] == ["5,300", "+1,200"]
    words = " ".join(" ".join(read.words).split())
    assert "Since version 3 of 2026-10-01." in words
    assert f"Segment 4 is new {EVIL}." in words
    assert "A rule of the gate is against it: psi of column tenure: 0.3 (above: 0.25)." in words


def test_bands_of_a_flow_fill_their_blocks(read: Page, html: str, segments: Segments) -> None:
    (chart,) = (json.loads(t) for _, t in read.scripts if t.startswith("{") and '"wide"' in t)
    bands, blocks = (layer["data"]["values"] for layer in chart["layer"][:2])
    given = segments.transitions["customers"]
    total = sum(map(sum, given["rows"])) + sum(given["came"]) + sum(given["left"])
    assert sum(one["wide"] for one in bands) == total
    for x, key, end in ((0.0, "from", "a"), (1.0, "to", "b")):
        for block in (one for one in blocks if one["x"] == x):
            own = sorted((o[end], o[end] + o["wide"]) for o in bands if o[key] == block["name"])
            assert own[0][0] == pytest.approx(block["y"])
            assert own[-1][1] == pytest.approx(block["y2"])
            assert all(a[1] == pytest.approx(b[0]) for a, b in pairwise(own))
    # In the picture every band goes from one block to the other.
    figure = html.split('id="changes"')[1].split("</figure>")[0]
    paths = re.findall(r'<path d="(M[^"]+Z)" fill="var\(--c\d\)" opacity="0.6"', figure)
    assert len(paths) == len(bands)
    for path, band in zip(paths, bands, strict=True):
        at = np.array([xy.split(",") for xy in re.findall(r"[-\d.e]+,[-\d.e]+", path)], float)
        left, right = at[0], at[len(at) // 2 - 1]
        height = 340 / (chart["layer"][0]["encoding"]["y"]["scale"]["domain"][1])
        assert left[1] == pytest.approx(band["a"] * height, abs=0.1)
        assert right[1] == pytest.approx(band["b"] * height, abs=0.1)


def test_without_ids_the_rows_of_this_run_are_shown(segments: Segments) -> None:
    given = {**segments.transitions, "customers": None}
    read = Page(page.page_of(segments.model_copy(update={"transitions": given, "drift": None})))
    assert [row[1:] for row in read.values("From segment to segment")] == [[1.0, 2.0, 3.0]] * 2
    assert "The rows of this run" in " ".join(" ".join(read.words).split())
    assert "What has changed" not in read.tables


def map_of(read: Page) -> dict[str, Any]:
    (chart,) = (json.loads(text) for _, text in read.scripts if '"iteration"' in text[:200_000]
                and text.startswith("{"))  # fmt: skip
    return chart


def test_the_map_has_every_iteration_and_begins_with_the_last(
    read: Page, segments: Segments
) -> None:
    chart, last = map_of(read), len(segments.map.iterations) - 1
    assert chart["params"] == [{"name": "iteration", "value": last}]
    rows = [layer["data"]["values"] for layer in chart["layer"]]
    assert [(one["x"], one["y"]) for one in rows[0]] == [(p.x, p.y) for p in segments.map.points]
    assert rows[1] == rows[2] == rows[3]
    assert [(one["at"], one["component"], *(one[key] for key in "xyabc")) for one in rows[1]] == [
        (at, one.component, *(round(getattr(one, key), 4) for key in "xyabc"))
        for at, iteration in enumerate(segments.map.iterations)
        for one in iteration.ellipses
    ]
    slider = {name: value for tag, name, value in read.attributes if tag == "input"}
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == (
        "range", "0", str(last), str(last),
    )  # fmt: skip
    said = json.loads(slider["data-said"])
    assert said[0].startswith("the start: mean log-likelihood -1")
    assert said[1].startswith("iteration 3: mean")
    assert said[-1] == "the model"


def test_the_picture_of_the_map_is_the_model(html: str, segments: Segments) -> None:
    """Without a script the ellipses are those of the last iteration: points at their edge are
    where the mixture says."""
    figure = html.split('id="map"')[1].split("</figure>")[0]
    tree = ElementTree.fromstring(figure[figure.index("<svg") : figure.index("</svg>") + 6])
    paths = [
        one.get("d")
        for group in tree.iter("{http://www.w3.org/2000/svg}g")
        if "layer_2_pathgroup" in group.get("class", "")
        for one in group.iter("{http://www.w3.org/2000/svg}path")
        if (one.get("d") or "").count("L") > 20
    ]
    shown = segments.map.iterations[-1].ellipses
    assert len(paths) == len(shown)
    right, up = segments.map.axes
    width = 700 - 64
    radius = np.sqrt(2 * np.log(3))  # two thirds of a normal distribution in two dimensions
    for path, one in zip(paths, shown, strict=True):
        at = np.array([pair.split(",") for pair in re.findall(r"[-\d.e]+,[-\d.e]+", path)], float)
        x = right.low + at[:, 0] / width * (right.high - right.low)
        y = up.high - at[:, 1] / 430 * (up.high - up.low)
        factor = np.array([[one.a, 0.0], [one.b, one.c]])
        z = np.linalg.solve(factor, np.array([x - one.x, y - one.y]))
        np.testing.assert_allclose(np.linalg.norm(z, axis=0), radius, rtol=0.01)


def test_numbers_of_ellipses_with_one_middle_stand_apart_and_on_their_own_line(
    segments: Segments,
) -> None:
    content = json.loads(segments.to_json())
    right, up = content["map"]["axes"]
    wide, high = (axis["high"] - axis["low"] for axis in (right, up))
    ellipses = content["map"]["iterations"][-1]["ellipses"]
    for i, one in enumerate(ellipses):
        one.update(x=right["low"] + wide / 2, y=up["low"] + high / 2, weight=(5 - i) / 15)
        one.update(a=wide * (5 - i) / 20, b=0.01 * high, c=high * (5 - i) / 20)
    read = Page(page.page_of(Segments.model_validate(content)))
    chart, last = map_of(read), len(segments.map.iterations) - 1
    drawn = [row for row in chart["layer"][-1]["data"]["values"] if row["at"] == last]
    assert len(drawn) > 2
    at = np.array(
        [[(r["number_x"] - r["x"]) / wide, (r["number_y"] - r["y"]) / high] for r in drawn]
    )
    assert not at[0].any()  # the heaviest has the middle
    gaps = np.abs(at[:, None] - at).max(axis=2)
    assert gaps[~np.eye(len(at), dtype=bool)].min() >= 0.05
    for row, (x, y) in zip(drawn[1:], at[1:], strict=True):
        factor = np.array([[row["a"] / wide, 0.0], [row["b"] / high, row["c"] / high]])
        z = np.linalg.solve(factor, [x, y])
        np.testing.assert_allclose(np.linalg.norm(z), np.sqrt(2 * np.log(3)), rtol=0.01)


def test_segments_are_called_by_their_ids_where_they_have_some(segments: Segments) -> None:
    """Numbers change from run to run, and scores and changes are told by ids."""
    content = json.loads(segments.to_json())
    ids = {}
    for one in content["segments"]:
        if one["segment"] >= 0:
            ids[one["segment"]] = one["id"] = 41 + (one["segment"] * 3) % 7
    text = page.page_of(Segments.model_validate(content))
    read, names = Page(text), {one.segment: one.name for one in segments.segments}
    shown = {*map(str, ids.values()), "noise", "all"}
    columns = [
        (caption, [row[rows[0].index(("segment", None))][0] for row in rows[1:]])
        for caption, rows in read.tables.items()
        if rows and ("segment", None) in rows[0]
    ]
    assert len(columns) > 3
    assert [(caption, cells) for caption, cells in columns if not {*cells} <= shown] == []
    charts = " ".join(text for _, text in read.scripts)
    for number, id in ids.items():
        name = json.dumps(names[number])[1:-1].replace("<", "\\u003c")
        assert f'"{number}: {name}' not in charts
        assert f'"{id}: {name}' in charts
    numbered = [one for one in map_of(read)["layer"][-1]["data"]["values"] if "number" in one]
    assert {one["number"] for one in numbered} == {*map(str, ids.values())}


def test_a_page_says_of_which_date_it_is(segments: Segments) -> None:
    read = Page(page.page_of(segments.model_copy(update={"run_date": "2026-11-03 <i>"})))
    said = [" ".join(words.split()) for words in read.words]
    assert said.count("2026-11-03 <i>") == 1
    assert sum(words.endswith("customers, 2026-11-03 <i>") for words in said) == 1
    assert "i" not in read.tags
    assert segments.run_date is None


def test_it_is_said_at_once_where_there_are_no_groups(segments: Segments) -> None:
    content = json.loads(segments.to_json())
    content["fit"]["warnings"] = ["no_segments: one group tells of them as well"]
    words = " ".join(Page(page.page_of(Segments.model_validate(content))).words)
    first = " ".join(words.split("What happens in the segments")[0].split())
    assert "The customers are not of clear groups" in first
    assert "not of clear groups" not in " ".join(Page(page.page_of(segments)).words)


def test_it_is_said_what_rates_are_of(segments: Segments, read: Page) -> None:
    """Corrected for customers of the wrong segment; of segments of k-means as counted."""
    own = [
        one.model_copy(
            update={
                "outcomes": [o.model_copy(update={"estimate": "counted"}) for o in one.outcomes]
            }
        )
        for one in segments.segments
    ]
    counted, whole = (
        " ".join(" ".join(one.words).split())
        for one in (Page(page.page_of(segments.model_copy(update={"segments": own}))), read)
    )
    corrected = "corrected for customers counted to the wrong one"
    assert corrected in whole
    assert "far off, act by that one" in whole
    assert "in every segment, of the customers that are in it." in counted
    assert corrected not in counted
    assert "far off, act by that one" not in counted


def test_small_differences_are_shown_where_there_are_few_others(segments: Segments) -> None:
    one = segments.segments[0]
    number = one.sets_apart[0]
    effects = [0.5, 0.09, 0.08, 0.07, 0.06]
    told = [
        number.model_copy(update={"column": f"c{i}", "effect": effect})
        for i, effect in enumerate(effects)
    ]
    table = page_tables.differences_table(segments, one.model_copy(update={"sets_apart": told}), 8)
    assert [row[1].value for row in table.rows] == effects[:3]
    told[3] = told[3].model_copy(update={"effect": -0.2})
    table = page_tables.differences_table(segments, one.model_copy(update={"sets_apart": told}), 8)
    assert [row[1].value for row in table.rows] == [0.5, 0.09, 0.08, -0.2]


def test_a_model_without_iterations_has_no_slider(segments: Segments) -> None:
    content = json.loads(segments.to_json())
    content["map"]["iterations"] = content["map"]["iterations"][-1:]
    content["map"].update(points=[], sampled="no customers, as was asked for", way="none")
    content["map"]["way_words"] = "No iterations of EM lead to this model."
    read = Page(page.page_of(Segments.model_validate(content)))
    assert "input" not in read.tags
    assert len(map_of(read)["layer"]) == 3
    words = " ".join(" ".join(read.words).split())
    assert "no customers, as was asked for" in words
    assert "No iterations of EM lead to this model." in words
    assert "Move the slider" not in words
    assert "Iterations of EM" not in read.tables


def test_nothing_is_asked_for_from_anywhere(html: str, read: Page) -> None:
    content = [v for tag, name, v in read.attributes if (tag, name) == ("meta", "content")]
    assert any(v and v.startswith("default-src 'none'") and "http" not in v for v in content)
    for tag, name, value in read.attributes:
        if name in ("href", "src", "srcset", "xlink:href", "action", "data", "poster"):
            assert value is not None
            assert value.startswith("#"), (tag, name, value)
        assert not name.startswith("on"), (tag, name)
    own = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert "url(http" not in own
    assert "@import" not in own
    assert {"link", "iframe", "img", "object", "embed"}.isdisjoint(read.tags)


def test_names_end_no_tag_and_no_script(read: Page, html: str) -> None:
    assert {"b", "i", "u"} & set(read.tags) <= {"b"}
    assert "x" not in [word.strip() for word in read.words]
    # One for each chart, the bundle, the page's own.
    assert len(read.scripts) == read.tags.count("svg") + 2
    assert not any(text.startswith("alert") for _, text in read.scripts)
    assert EVIL not in html
    cells = {cell for rows in read.tables.values() for row in rows for cell, _ in row}
    assert any(EVIL in cell for cell in cells)
    # No template is made of a value.
    assert VALUES[2] in cells


def test_without_a_script_each_chart_is_a_picture(html: str, read: Page) -> None:
    chart = r'<div class="chart" role="img" aria-label="[^"]+"><div aria-hidden="true">(.*?)</div>'
    pictures = re.findall(chart, html, re.DOTALL)
    assert len(pictures) == CHARTS
    texts = []
    for picture in pictures:
        tree = ElementTree.fromstring(picture)
        texts += ["".join(one.itertext()) for one in tree.iter("{http://www.w3.org/2000/svg}text")]
    # Labels cut at their width begin with the name.
    assert any("<i>high</i> bill" in text for text in texts)
    # Each figure has its table after the picture, in the file itself.
    for figure in html.split("<figure>")[1:]:
        if 'class="chart"' in figure:
            assert figure.index("<svg") < figure.index("<table>")
    assert "var(--accent)" in "".join(pictures)


def test_the_page_is_small_and_the_same_each_time(html: str, segments: Segments) -> None:
    assert len(html.encode()) < 3_000_000
    assert page.page_of(segments) == html


# What grows with the number of rows.
COUNTS = {
    *("total", "with_segment", "without_segment", "weight", "rows", "size", "known", "missing"),
    *("at_risk", "at_risk_low", "at_risk_high", "log_likelihood", "aic", "bic", "icl"),
}


def grown(value: Any, times: int, key: str = "") -> Any:
    """What is found in a table of so many times the rows."""
    if isinstance(value, dict):
        return {name: grown(one, times, name) for name, one in value.items()}
    if isinstance(value, list):
        return [grown(one, times, key) for one in value]
    is_share = isinstance(value, float) and 0 <= value <= 1
    return value * times if key in COUNTS and value is not None and not is_share else value


def test_a_page_of_ten_million_is_as_large_as_one_of_seven_thousand(
    segments: Segments, html: str
) -> None:
    many = Segments.model_validate(grown(json.loads(segments.to_json()), 10_000_000 // 7_000))
    assert many.rows.with_segment == 5321 * 1428
    text = page.page_of(many)
    assert "7,598,388 customers in" in text
    assert abs(len(text.encode()) / len(html.encode()) - 1) < 0.1


def test_a_page_of_the_least_there_can_be(segments: Segments) -> None:
    bare = segments.model_copy(
        update={
            "outcomes": [],
            "value": None,
            "outliers": None,
            "map": None,
            "kmeans": None,
            "transitions": None,
            "drift": None,
            "choice": None,
            "fit": None,
            "preparation": None,
            "notes": [],
            "not_described": {},
            "segments": [
                one.model_copy(update={"outcomes": [], "value": None, "sets_apart": []})
                for one in segments.segments
            ],
        }
    )
    read = Page(page.page_of(bare))
    assert "How mixed the customers are" in " ".join(read.words)
    assert "What happens in the segments" not in " ".join(read.words)


def test_of_a_search_by_a_criterion_lower_is_better(segments: Segments) -> None:
    content = json.loads(segments.to_json())
    content["choice"].update(
        considered=[
            {"k": k, "covarianceType": "full", "criterion": 1e4 + k, "why": None} for k in (3, 4, 5)
        ],
        why="the lowest BIC",
        outcome_information=None,
    )
    read = Page(page.page_of(Segments.model_validate(content)))
    words = " ".join(" ".join(read.words).split())
    assert "Lower is better; points close" in words
    assert "Why these: the lowest BIC." in words
    (chart,) = (text for _, text in read.scripts if '"considered"' in text and '"k":5' in text)
    assert '"value":10005.0' in chart


def test_nothing_known_is_no_number(segments: Segments) -> None:
    """Segments without rows: null wherever there is nothing to compute a figure from."""
    text = segments.to_json()
    content = json.loads(text)
    empty = content["segments"][0]
    for one in empty["outcomes"]:
        one.update(dict.fromkeys(["value", "low", "high", "lift", "posterior", "raw"]))
    for one in empty["profile"]:
        if one["kind"] == "category":
            one.update(missing=None, other=None)
            for value in one["values"]:
                value["share"] = None
        else:
            one.update(dict.fromkeys(
                ["missing", "mean", "standard_deviation", "quantiles", "standard_units",
                 "distribution"]
            ))  # fmt: skip
    content["membership"]["segments"][0].update(
        mean_probability=None, shares=[], probabilities=[None] * 3
    )
    empty["value"].update(dict.fromkeys(["at_risk", "at_risk_low", "at_risk_high", "share"]))
    for one in content["fit"]["passes"]:
        one["mean_log_likelihood"] = None
    found = page.page_of(Segments.model_validate(content))
    for word in ("None", "nan", "NaN"):
        assert not any(word in text for text in Page(found).words)
        cells = [c for rows in Page(found).tables.values() for row in rows for c, _ in row]
        assert word not in cells


def test_what_is_missing_is_said(segments: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "find_spec", lambda name: None if name == "vl_convert" else name)
    assert page.missing_packages() == ["vl-convert-python"]
    with pytest.raises(ConfigurationError, match=r"vl-convert-python.*pip install 'gmm_spark\[re"):
        page.page_of(segments)


def test_the_module_needs_no_extra() -> None:
    code = (
        "import sys\n"
        "for name in ('altair', 'jinja2', 'vl_convert'): sys.modules[name] = None\n"
        "import gmm_spark.report.page, gmm_spark.report.page_tables\n"
    )
    root = Path(page.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=120)


def test_columns_that_say_the_same_are_told_once(segments: Segments) -> None:
    """Who has no internet service has none of what comes with it: one line, not one a service."""
    one = segments.segments[0]
    number, value = one.sets_apart
    again = value.model_copy(update={"column": "backup"})
    other = value.model_copy(update={"column": "phone", "rest": 0.123})
    assert value.segment is not None
    assert value.rest is not None
    rest = value.model_copy(
        update={"value": "?", "segment": 1 - value.segment, "rest": 1 - value.rest}
    )
    told = page_tables.told_once([number, value, again, other, rest])
    assert told == [[number], [value, again], [other]]
    table = page_tables.differences_table(
        segments, one.model_copy(update={"sets_apart": [number, value, again, other]}), 8
    )
    assert [row[0].text for row in table.rows][1].endswith(f"({EVIL}), backup: {VALUES[0]}")


def test_the_first_screen_has_no_mean_against_its_effect(segments: Segments) -> None:
    """Most of a segment spends more, a few others so much that the means say less."""
    one, other, *rest = segments.segments
    figures = {"effect": 0.8, "segment": 10.0, "rest": 20.0, "words": "tenure 10, elsewhere 20"}
    number = one.sets_apart[0].model_copy(update=figures)
    said = number.model_copy(update={"segment": 30.0, "words": "tenure 30, elsewhere 20"})
    read = Page(
        page.page_of(
            segments.model_copy(
                update={
                    "segments": [
                        one.model_copy(update={"sets_apart": [number]}),
                        other.model_copy(update={"sets_apart": [said]}),
                        *(s.model_copy(update={"sets_apart": []}) for s in rest),
                    ]
                }
            )
        )
    )
    words = [w for w in read.words if w.startswith("tenure")]
    assert [w for w in words if "elsewhere" in w] == ["tenure 30, elsewhere 20"]


@pytest.mark.parametrize(
    ("edges", "ticks"),
    [
        (np.linspace(1, 72, 25), ["10", "20", "30", "40", "50", "60", "70"]),
        (np.linspace(-0.5, 0.5, 21), ["-0.4", "-0.2", "0", "0.2", "0.4"]),
        (np.expm1(np.linspace(0, np.log1p(36_000), 25)), ["0", "10", "200", "3,000", "30,000"]),
        ([3.0, 3.0], ["3"]),
    ],
)
def test_axes_have_round_numbers_within_their_edges(edges: Any, ticks: list[str]) -> None:
    found = page_charts.ticks(list(edges))
    assert page_charts.short(found) == ticks
    assert min(edges) <= found[0] <= found[-1] <= max(edges)
