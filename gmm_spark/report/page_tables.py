"""The tables of the page: what is under every chart, as cells with their text and their value."""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gmm_spark.engine.scoring import NOISE
from gmm_spark.report.segments import (
    CategoryProfile,
    Column,
    Difference,
    NumberProfile,
    Outcome,
    Profile,
    Segment,
    Segments,
)
from gmm_spark.report.text import numbers, percent

_EPOCH = datetime.date(1970, 1, 1)
# Of a segment's differences so many are shown, and beyond them those that are at least so large.
_LEAST, _LARGE = 3, 0.1


@dataclass(frozen=True)
class Cell:
    """A cell: what is shown, and the figure as `segments.json` has it; None for a text."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table under a chart; the first cell of a row names the row."""

    caption: str
    header: list[str]
    rows: list[list[Cell]]

    @property
    def of_words(self) -> list[bool]:
        """Which columns are of texts."""
        columns = list(zip(*self.rows, strict=True)) or [() for _ in self.header]
        return [all(cell.value is None for cell in column) for column in columns]


def column_title(column: Column) -> str:
    """What a column is called on the page: its words, and its name where that says more."""
    said = " ".join(column.name.replace("_", " ").split()).lower()
    return column.words if said == column.words.lower() else f"{column.words} ({column.name})"


def number_of(segment: int) -> str:
    return "noise" if segment == NOISE else str(segment)


def day_of(days: float) -> str:
    """A date of days since 1970-01-01; figures of dates may be beyond the calendar."""
    try:
        return (_EPOCH + datetime.timedelta(days=math.floor(days))).isoformat()
    except OverflowError:
        return f"{days:,.0f} days"


def texts(values: Sequence[str]) -> list[Cell]:
    return [Cell(value) for value in values]


def signed(value: float | None, decimals: int = 2) -> str:
    """A difference, with its sign; what rounds to 0 has none."""
    if value is None:
        return ""
    text = f"{value:+,.{decimals}f}"
    return text if float(text.replace(",", "")) else text[1:]


def figures(values: Sequence[float | None], scale: float = 0.0) -> list[Cell]:
    """Cells of one column of figures, with one number of decimals."""
    return [Cell(text, value) for text, value in zip(numbers(values, scale), values, strict=True)]


def shares(values: Sequence[float | None]) -> list[Cell]:
    return [Cell(percent(value), value) for value in values]


def counts(values: Sequence[float | None]) -> list[Cell]:
    return [Cell("-" if value is None else f"{value:,.0f}", value) for value in values]


def days(values: Sequence[float | None]) -> list[Cell]:
    return [Cell("-" if value is None else day_of(value), value) for value in values]


def of_columns(caption: str, columns: Mapping[str, list[Cell]]) -> Table:
    """A table of columns by their heads."""
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return Table(caption, list(columns), rows)


def _named(found: Sequence[Segment]) -> dict[str, list[Cell]]:
    return {
        "segment": [Cell(number_of(one.segment), one.segment) for one in found],
        "name": texts([one.name for one in found]),
    }


def outcome_cells(outcome: Outcome) -> Callable[[Sequence[float | None]], list[Cell]]:
    return shares if outcome.kind == "rate" else figures


def outcome_table(found: Segments, position: int) -> Table:
    """An outcome by segment: estimate, interval, lift, and what is not corrected."""
    outcome = found.outcomes[position]
    own = [one.outcomes[position] for one in found.segments]
    cells = outcome_cells(outcome)
    columns = {
        **_named(found.segments),
        f"{found.noun} with a known {outcome.words}": counts([one.rows for one in own]),
        outcome.kind: cells([one.value for one in own]),
        "95 % from": cells([one.low for one in own]),
        "to": cells([one.high for one in own]),
        "lift": figures([one.lift for one in own]),
        "estimate": texts([one.estimate for one in own]),
        "by probabilities, not corrected": cells([one.posterior for one in own]),
        "as counted": cells([one.raw for one in own]),
    }
    return of_columns(f"{outcome.words} by segment", columns)


def value_table(found: Segments, title: str) -> Table | None:
    """The money of every segment, and what is at risk."""
    having = [one for one in found.segments if one.value is not None]
    own = [one.value for one in having if one.value is not None]
    if found.value is None or not own:
        return None
    columns = {
        **_named(having),
        title: figures([one.total for one in own]),
        "share of all": shares([one.share for one in own]),
        "mean": figures([one.mean for one in own]),
    }
    if found.value.outcome is not None:
        columns |= {
            "at risk": figures([one.at_risk for one in own]),
            "95 % from": figures([one.at_risk_low for one in own]),
            "to": figures([one.at_risk_high for one in own]),
            "share of all at risk": shares([one.at_risk_share for one in own]),
        }
    what = "in all" if found.value.outcome is None else "and what is at risk"
    return of_columns(f"{title} {what}", columns)


def _is_rest(one: Difference, other: Difference) -> bool:
    """Whether a value is what has not the other one of its column."""
    if one.column != other.column or one.value is None or one.value == other.value:
        return False
    pairs = [(one.segment, other.segment), (one.rest, other.rest)]
    return all(a is not None and b is not None and abs(a + b - 1) < 1e-9 for a, b in pairs)


def told_once(differences: Sequence[Difference]) -> list[list[Difference]]:
    """Differences, and with each those of other columns that say the same of the same rows: who
    has no internet service has none of what comes with it. Of a category of two values, one."""
    groups: dict[tuple[Any, ...], list[Difference]] = {}
    for place, one in enumerate(differences):
        if any(_is_rest(one, other) for other in differences[:place]):
            continue
        shares = [None if s is None else round(s, 9) for s in (one.segment, one.rest)]
        same = (place,) if one.value is None else (one.value, *shares)
        groups.setdefault(same, []).append(one)
    return list(groups.values())


def differences_table(found: Segments, segment: Segment, most: int) -> Table:
    """What sets a segment apart, the largest effects first; small ones only where there are few
    others."""
    words = {column.name: column_title(column) for column in found.columns}
    told = told_once(segment.sets_apart)[:most]
    told = [same for i, same in enumerate(told) if i < _LEAST or abs(same[0].effect) >= _LARGE]
    shown = [first for first, *_ in told]
    what = [", ".join(words.get(one.column, one.column) for one in same) for same in told]
    what = [
        text if one.value is None else f"{text}: {one.value}"
        for text, one in zip(what, shown, strict=True)
    ]
    is_share = [one.value is not None for one in shown]
    inside, outside = [], []
    for one, of_category in zip(shown, is_share, strict=True):
        cells = shares if of_category else figures
        pair = cells([one.segment, one.rest])
        inside.append(pair[0])
        outside.append(pair[1])
    columns = {
        "what": texts(what),
        "effect": [Cell(signed(one.effect), one.effect) for one in shown],
        "in the segment": inside,
        "in all others": outside,
    }
    if any(one.standardised is not None for one in shown):
        columns["SD apart"] = [Cell(signed(one.standardised), one.standardised) for one in shown]
    return of_columns(f"What sets apart {number_of(segment.segment)}: {segment.name}", columns)


def profile_of(profile: Sequence[Profile], column: str) -> Profile:
    return next(one for one in profile if one.column == column)


def shares_of(found: Segments, column: str, value: str) -> tuple[float | None, ...]:
    """The share of a value in every segment, rounded to what can be told apart."""
    row = []
    for one in found.segments:
        own = profile_of(one.profile, column)
        values = own.values if isinstance(own, CategoryProfile) else []
        share = next((known.share for known in values if known.value == value), None)
        row.append(None if share is None else round(share, 9))
    return tuple(row)


def groups(found: Segments) -> list[tuple[str, str, Sequence[Profile]]]:
    """Segments and all rows together: number, name, profile."""
    listed = [(number_of(one.segment), one.name, one.profile) for one in found.segments]
    return [*listed, ("all", f"all {found.noun}", found.whole.profile)]


def number_table(found: Segments, column: Column) -> Table:
    """A number, count or date in every segment: mean, standard deviation, quantiles."""
    listed = groups(found)
    own = [profile_of(profile, column.name) for _, _, profile in listed]
    profiles = [one for one in own if isinstance(one, NumberProfile)]
    cells = days if column.kind == "date" else figures
    columns = {
        "segment": texts([number for number, _, _ in listed]),
        "name": texts([name for _, name, _ in listed]),
        "mean": cells([one.mean for one in profiles]),
        "standard deviation": figures([one.standard_deviation for one in profiles]),
        "in standard units": [
            Cell(
                signed(one.standard_units),
                one.standard_units,
            )
            for one in profiles
        ],
    }
    for label, key in [
        ("5 %", "p05"),
        ("25 %", "p25"),
        ("median", "p50"),
        ("75 %", "p75"),
        ("95 %", "p95"),
    ]:
        values = [getattr(one.quantiles, key) if one.quantiles else None for one in profiles]
        columns[label] = cells(values)
    columns["without a value"] = shares([one.missing for one in profiles])
    return of_columns(f"{column_title(column)} by segment", columns)


def distribution_table(found: Segments, column: Column) -> Table | None:
    """The share of every segment in every interval of a number."""
    if column.edges is None:
        return None
    listed = groups(found)
    own = [profile_of(profile, column.name) for _, _, profile in listed]
    ends = (days if column.kind == "date" else figures)(column.edges)
    columns = {"from": ends[:-1], "to": ends[1:]}
    for (number, _, _), one in zip(listed, own, strict=True):
        if isinstance(one, NumberProfile) and one.distribution is not None:
            columns[number] = shares(one.distribution)
    return of_columns(f"{column_title(column)}: share of every segment in every interval", columns)


def category_table(found: Segments, column: Column) -> Table:
    """The share of every value of a category, by segment."""
    listed = groups(found)
    own = [profile_of(profile, column.name) for _, _, profile in listed]
    profiles = [one for one in own if isinstance(one, CategoryProfile)]
    columns = {"value": texts([*(one.value for one in profiles[-1].values), "(other)"])}
    for (number, _, _), one in zip(listed, profiles, strict=True):
        columns[number] = shares([*(value.share for value in one.values), one.other])
    return of_columns(f"{column_title(column)}: share of every value by segment", columns)


def shares_table(found: Segments, columns: Sequence[Column]) -> Table:
    """The shares of the values of categories, a column a segment."""
    parts = [category_table(found, column) for column in columns]
    rows = [
        [Cell(column_title(column)), *row]
        for column, part in zip(columns, parts, strict=True)
        for row in part.rows
    ]
    return Table("Share of every value by segment", ["column", *parts[0].header], rows)


def heat_table(found: Segments, columns: Sequence[Column]) -> Table:
    """Numbers in standard units, a column a segment."""
    cells: dict[str, list[Cell]] = {"column": texts([column_title(column) for column in columns])}
    for one in found.segments:
        own = [profile_of(one.profile, column.name) for column in columns]
        units = [p.standard_units if isinstance(p, NumberProfile) else None for p in own]
        cells[number_of(one.segment)] = [Cell(signed(unit), unit) for unit in units]
    return of_columns("Means in standard units, less those of all", cells)


def range_of(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def membership_table(found: Segments) -> Table:
    """How sure it is that rows are in their segment."""
    own = found.membership.segments
    edges = found.membership.edges
    columns = {
        **_named(found.segments),
        found.noun: counts([one.rows for one in own]),
        "size, by probabilities": figures([one.size for one in found.segments], 10.0),
        "share of sizes": shares([one.share for one in found.segments]),
        "mean probability": shares([one.mean_probability for one in own]),
    }
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        columns[range_of(low, high)] = shares(
            [one.shares[i] if i < len(one.shares) else None for one in own]
        )
    return of_columns("How sure it is", columns)


def mixing_table(found: Segments) -> Table:
    """The mean probabilities of all segments over the rows of each."""
    own = found.membership.segments
    columns = _named(found.segments)
    for i, other in enumerate(found.segments):
        of = [one.probabilities[i] if i < len(one.probabilities) else None for one in own]
        columns[f"in {number_of(other.segment)}"] = shares(of)
    return of_columns("Mean probabilities of all segments", columns)


def ellipses_table(found: Segments) -> Table | None:
    """Where the components lie on the map."""
    if found.map is None:
        return None
    names = {one.segment: one.name for one in found.segments}
    own = found.map.iterations[-1].ellipses
    columns = {
        "component": [Cell(str(one.component), one.component) for one in own],
        "segment": [Cell(number_of(one.segment), one.segment) for one in own],
        "name": texts([names.get(one.segment, "") for one in own]),
        "share of all": shares([one.weight for one in own]),
        "to the right": [Cell(signed(one.x), one.x) for one in own],
        "up": [Cell(signed(one.y), one.y) for one in own],
    }
    return of_columns("Middles of the ellipses", columns)


def loadings_table(found: Segments) -> Table | None:
    """What the axes of the map go with."""
    if found.map is None:
        return None
    right, up = ({(one.column, one.value): one for one in axis.loadings} for axis in found.map.axes)
    both = list(dict.fromkeys([*right, *up]))
    columns = {"what": texts([(right.get(key) or up[key]).words for key in both])}
    for title, own in (("correlation with the right", right), ("with up", up)):
        listed = [own[key].correlation if key in own else None for key in both]
        columns[title] = [Cell(signed(value) or "-", value) for value in listed]
    return of_columns("What the axes are made of", columns)


def iterations_table(found: Segments) -> Table | None:
    """The iterations of EM that the map shows."""
    if found.map is None or len(found.map.iterations) < 2:
        return None
    own = found.map.iterations
    columns = {
        "iteration": [Cell(str(one.number), one.number) for one in own],
        "kind": texts([one.kind for one in own]),
        "rows": [
            Cell("all", None) if one.rows is None else Cell(f"{one.rows:,}", one.rows)
            for one in own
        ],
        "mean log-likelihood": figures([one.mean_log_likelihood for one in own]),
    }
    return of_columns("Iterations of EM", columns)


def kmeans_table(found: Segments) -> Table | None:
    """Rows by segment and cluster of k-means."""
    if found.kmeans is None:
        return None
    columns = _named(found.segments)
    for cluster, counted in enumerate(zip(*found.kmeans.table, strict=True)):
        columns[f"cluster {cluster}"] = counts(counted)
    return of_columns(f"{_capital(found.noun)} by segment and cluster of k-means", columns)


def kmeans_outcomes_table(found: Segments) -> Table | None:
    """What both divisions say of outcomes."""
    own = [] if found.kmeans is None else found.kmeans.outcomes
    if not own:
        return None
    words = {one.name: one.words for one in found.outcomes}
    columns = {
        "outcome": texts([words.get(one.outcome, one.outcome) for one in own]),
        found.noun: counts([one.rows for one in own]),
        "bits, segments": figures([one.bits for one in own], 0.0),
        "standard error": figures([one.standard_error for one in own], 0.0),
        "bits, k-means": figures([one.kmeans_bits for one in own], 0.0),
        "highest less lowest, segments": figures([one.spread for one in own], 0.0),
        "highest less lowest, k-means": figures([one.kmeans_spread for one in own], 0.0),
    }
    return of_columns("What segments and k-means say of outcomes", columns)


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def outliers_table(found: Segments) -> Table | None:
    if found.outliers is None:
        return None
    names = {one.segment: one.name for one in found.segments}
    own = found.outliers.segments
    columns = {
        "segment": [Cell(number_of(one.segment), one.segment) for one in own],
        "name": texts([names.get(one.segment, "") for one in own]),
        "outliers": counts([one.rows for one in own]),
        "share": shares([one.share for one in own]),
    }
    return of_columns("Outliers by segment", columns)


# What keys of `summary.candidates` and `summary.alternatives` are called on the page.
_WORDS = {
    "k": "segments",
    "covarianceType": "structure",
    "covarianceFloor": "floor",
    "origin": "found by",
    "mergedBy": "merged by",
    "numParameters": "parameters",
    "meanLogLikelihood": "mean log-likelihood",
    "smallestShare": "smallest share",
    "columnInformation": "bits of the columns",
    "mutualInformation": "bits of the outcome",
    "evaluatedOn": "evaluated on",
    "changedShare": "in another segment",
}


def records_table(caption: str, records: Sequence[Mapping[str, Any]]) -> Table | None:
    """Records of figures and texts; a column that no record has anything in is left out."""
    names = list(dict.fromkeys(name for record in records for name in record))
    columns: dict[str, list[Cell]] = {}
    for name in names:
        values = [record.get(name) for record in records]
        if not all(value is None for value in values):
            columns[_WORDS.get(name, name)] = _cells(values)
    return of_columns(caption, columns) if columns else None


def _cells(values: Sequence[Any]) -> list[Cell]:
    known = [value for value in values if value is not None]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
        whole = all(float(value).is_integer() for value in known)
        return counts(values) if whole else figures(values)
    return texts([_text(value) for value in values])


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def passes_table(found: Segments) -> Table | None:
    passes = [] if found.fit is None else found.fit.passes
    if not passes:
        return None
    columns = {
        "pass": [Cell(str(one.number), one.number) for one in passes],
        "kind": texts([one.kind for one in passes]),
        "mean log-likelihood": figures([one.mean_log_likelihood for one in passes]),
        "gain": [Cell("" if one.gain is None else f"{one.gain:.3g}", one.gain) for one in passes],
    }
    return of_columns("Passes over the table", columns)


def criteria_table(found: Segments) -> Table | None:
    fit = found.fit
    if fit is None:
        return None
    listed = {
        "log-likelihood": fit.log_likelihood,
        "mean log-likelihood": fit.mean_log_likelihood,
        "AIC": fit.aic,
        "BIC": fit.bic,
        "ICL": fit.icl,
    }
    values = [figures([value])[0] for value in listed.values()]
    return of_columns("Criteria", {"criterion": texts(list(listed)), "value": values})


def preparation_table(found: Segments) -> Table | None:
    """What was done with every column, and why."""
    said = ["name", "role", "reason", "treatment", "new_value", "null", "out_of_range"]
    if not found.preparation:
        return None
    columns = {
        key.replace("_", " "): texts([_text(one.get(key)) for one in found.preparation])
        for key in said
    }
    return of_columns("What was done with every column", columns)
