"""`report.html`: what a segmentation found, for people who act on it, as one file without requests.

It needs the extra `report` (Altair, vl-convert-python, jinja2); this module is there without it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gmm_spark.engine.scoring import NOISE
from gmm_spark.errors import ConfigurationError
from gmm_spark.report import page_changes as changes
from gmm_spark.report import page_tables as tables
from gmm_spark.report.column_words import is_flag, is_yes, readable
from gmm_spark.report.drawing import pictures, script
from gmm_spark.report.drift import SHIFT
from gmm_spark.report.page_tables import Table
from gmm_spark.report.page_template import TEMPLATE
from gmm_spark.report.segment_words import are_counted, choice_words
from gmm_spark.report.segments import CategoryProfile, Column, Iteration, Segment, Segments

if TYPE_CHECKING:
    from types import ModuleType

# More columns have no chart of their own, only their tables; so many are open at first.
_CHARTS, _OPEN = 12, 3
# Rows of the two heat maps, differences of a segment, and of these on the first screen.
HEAT_ROWS, _DIFFERENCES, _FIRST = 32, 8, 3
# A map of this share of what tells segments apart shows all of it.
_ALL_SHOWN = 0.995
# An effect that a name is made of.
_MEDIUM = 0.33
# Said where packages are missing.
INSTALL = "it needs {}, not installed here: pip install 'gmm_spark[report]'"
_MODULES = {"altair": "altair", "vl_convert": "vl-convert-python", "jinja2": "jinja2"}


@dataclass(frozen=True)
class Figure:
    """A chart with what it shows, how to read it, what to do about it, and its numbers.

    `picture` is its Vega-Lite, as JSON that may stand in a script.
    """

    title: str
    shows: str
    read: str = ""
    act: str = ""
    picture: str | None = None
    tables: list[Table] = field(default_factory=list)
    # Tables that are open, where there is no chart to be looked at instead.
    is_open: bool = False
    folded: bool | None = None
    # Of a chart with a parameter `iteration`, what is said of each of its values.
    iterations: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """A part of the page; `key` is what the numbers in its charts stand for."""

    id: str
    title: str
    words: list[str]
    figures: list[Figure]
    key: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Card:
    """A segment on the first screen: its first outcome, as lengths in % of the longest bar with
    that of all, the lines of its figures, and what it is like beside the others."""

    number: str
    name: str
    lines: list[str]
    outcome: str | None
    bar: tuple[float, float] | None
    differences: list[str]


def missing_packages() -> list[str]:
    """The packages of the extra `report` that are not installed."""
    return [package for module, package in _MODULES.items() if find_spec(module) is None]


def page_of(segments: Segments, *, of_file: bool = True) -> str:
    """The page of a segmentation as the text of one HTML file, the same for the same segments.

    It asks for nothing from anywhere, and has nothing but what is in `segments`; that these are
    kept beside it, in segments.json, it says unless `of_file` is false. Raises
    ConfigurationError where the extra `report` is not installed.
    """
    if missing := missing_packages():
        raise ConfigurationError(f"report.html: {INSTALL.format(', '.join(missing))}")
    import jinja2

    segments = segments.by_id()
    sections = _sections(segments)
    figures = [figure for section in sections for figure in section.figures]
    charts = [figure.picture for figure in figures if figure.picture is not None]
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    text: str = environment.from_string(TEMPLATE).render(
        found=segments,
        of_file=of_file,
        cards=(cards := _cards(segments)),
        longest=_longest_words(segments) if any(card.bar for card in cards) else None,
        lead=_lead(segments),
        notes=_notes(segments),
        sections=sections,
        svg=dict(zip(charts, pictures(charts), strict=True)),
        script=script(),
    )
    return text


def _charts() -> ModuleType:
    from gmm_spark.report import page_charts

    return page_charts


def _picture(chart: Any) -> str:
    specification = _charts().specification(chart)
    text = json.dumps(specification, separators=(",", ":"), allow_nan=False, sort_keys=True)
    # A text within it ends no script.
    return text.replace("<", "\\u003c")


def _cards(found: Segments) -> list[Card]:
    """The segments as the first screen shows them."""
    first = next(iter(found.outcomes), None)
    figures = [] if first is None else [one.outcomes[0].value for one in found.segments]
    known = [value for value in figures if value is not None]
    whole = None if first is None else first.value
    longest = _longest(found)
    has_bars = whole is not None and longest > 0 and min([*known, whole]) >= 0
    cards = []
    for i, one in enumerate(found.segments):
        lines = _figures(one)
        said = None
        if first is not None:
            said = next((line for line in lines if line.startswith(f"{first.words} ")), None)
        value = figures[i] if figures else None
        cards.append(
            Card(
                number=tables.number_of(one.segment),
                name=one.name,
                lines=[line for line in lines if line != said],
                outcome=said,
                bar=(100 * value / longest, 100 * (whole or 0.0) / longest)
                if has_bars and said is not None and value is not None
                else None,
                differences=_first_differences(one),
            )
        )
    return cards


def _longest(found: Segments) -> float:
    """The first outcome's figure that is a full bar."""
    known = [outcome.value for outcome in found.outcomes[:1]]
    known += [outcome.value for one in found.segments for outcome in one.outcomes[:1]]
    return max((value for value in known if value is not None), default=0.0)


def _longest_words(found: Segments) -> str:
    return tables.outcome_cells(found.outcomes[0])([_longest(found)])[0].text


def _figures(segment: Segment) -> list[str]:
    """What the line of a segment says beside its name."""
    return segment.words.removeprefix(segment.name).removeprefix(": ").split("; ")


def _first_differences(segment: Segment) -> list[str]:
    """What sets a segment apart most, a column once; not where a few large values turn the means
    the other way."""
    columns: dict[str, str] = {}
    for first, *same in tables.told_once(segment.sets_apart):
        is_so = (
            first.segment is not None
            and first.rest is not None
            and first.effect * (first.segment - first.rest) > 0
            and abs(first.effect) >= _MEDIUM
        )
        if is_so and columns.keys().isdisjoint(one.column for one in [first, *same]):
            columns[first.column] = first.words
    return list(columns.values())[:_FIRST]


def _lead(found: Segments) -> list[str]:
    """What was found, in two or three sentences."""
    real = [one for one in found.segments if one.segment != NOISE]
    said = []
    for i, outcome in enumerate(found.outcomes):
        known = [(one.outcomes[i].value, one) for one in real if one.outcomes[i].value is not None]
        if outcome.value is None or not known:
            continue
        cells = tables.outcome_cells(outcome)
        low, high = min(known, key=_first), max(known, key=_first)
        whole, least, most = [c.text for c in cells([outcome.value, low[0], high[0]])]
        sentence = f"{outcome.words} is {whole} of all {found.noun}"
        if outcome.kind != "rate":
            sentence = f"{outcome.words} is {whole} on average"
        if low[1] is not high[1]:
            sentence += f": {most} in “{high[1].name}”, the most, and {least} in “{low[1].name}”"
        said.append(_capital(f"{sentence}."))
    money = found.value
    if money is not None and money.at_risk is not None:
        at_risk, total = [c.text for c in tables.figures([money.at_risk, money.total], 1.0)]
        sentence = f"At risk: {at_risk} of {total} {_money(found)}"
        shared = [(one.value.at_risk_share, one) for one in real if one.value is not None]
        worst = max(((s, one) for s, one in shared if s is not None), key=_first, default=None)
        if worst is not None and len(real) > 1:
            sentence += f"; {tables.percent(worst[0])} of that in “{worst[1].name}”"
        said.append(f"{sentence}.")
    if not said and len(real) > 1:
        largest = max(real, key=lambda one: one.rows)
        said.append(f"The largest is “{largest.name}”: {_figures(largest)[0]}.")
    if found.rows.without_segment:
        said.append(
            f"{found.rows.without_segment:,} {found.noun} have gaps that were skipped, and no "
            "segment."
        )
    return said


def _notes(found: Segments) -> list[str]:
    """What a reader of the first screen has to know, a sentence each."""
    warnings = [] if found.fit is None else found.fit.warnings
    divided = [
        f"The {found.noun} are not of clear groups, by the integrated completed likelihood: the "
        "segments divide what goes over into one another"
        for warning in warnings
        if warning.startswith("no_segments: ")
    ]
    return [f"{_capital(line)}." for line in [*divided, *found.notes]]


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _money(found: Segments) -> str:
    """The column of money in words."""
    return "" if found.value is None else readable(found.value.column)


def _outcome(found: Segments) -> str:
    """The outcome that money is at risk by, in words."""
    name = "" if found.value is None else found.value.outcome
    return next((one.words for one in found.outcomes if one.name == name), name or "")


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def _present(*found: Table | None) -> list[Table]:
    return [one for one in found if one is not None and one.rows]


def _sections(found: Segments) -> list[Section]:
    listed = [
        _changes(found),
        _outcomes(found),
        _differences(found),
        _map(found),
        _profile(found),
        _distributions(found),
        _membership(found),
        _outliers(found),
        _choice(found),
        _against_kmeans(found),
        _fit(found),
        _preparation(found),
    ]
    return [one for one in listed if one is not None]


def _changes(found: Segments) -> Section | None:
    given = found.transitions or found.drift
    if given is None:
        return None
    figures, own = [], changes.flows(found)
    if own is not None:
        whose = (
            f"The {found.noun} of both runs, from their segment then to their segment now."
            if own.are_customers
            else "The rows of this run, from the segment that the model of before gives them to "
            "their segment now, by probabilities."
        )
        figures.append(
            Figure(
                "From segment to segment",
                whose,
                "A band is as wide as there are many. Straight across: they stayed. Bands that "
                "leave a block say where its members went.",
                "A wide band to a segment that leaves more often: ask those customers, before they "
                "go.",
                _picture(_charts().flow_chart(own)),
                [changes.flows_table(own)],
            )
        )
    shifts = changes.drift_figures(found, "psi")[:HEAT_ROWS]
    table = changes.drift_table(found)
    if table is not None:
        figures.append(
            Figure(
                "What has changed",
                "How far columns, segments and the fit are from where they were"
                + ("; the bars are the distributions of the columns." if shifts else "."),
                "The population stability index compares shares of intervals, or of values, then "
                f"and now: 0 is no change, beyond the line ({SHIFT:g}) is a shift.",
                "Look first at the longest bars: is it the customers that have changed, or how the "
                "column is made?",
                _picture(_charts().stability_chart(shifts)) if shifts else None,
                [table],
            )
        )
    title = "What has changed since the run before"
    return Section("changes", title, changes.sentences(found), figures)


def _outcomes(found: Segments) -> Section | None:
    figures = []
    for i, outcome in enumerate(found.outcomes):
        if are_counted([one.outcomes[i] for one in found.segments]):
            how, instead = f"of the {found.noun} that are in it", ""
        else:
            how = f"corrected for {found.noun} counted to the wrong one"
            instead = " Where the figure as counted, in the table, is far off, act by that one."
        figures.append(
            Figure(
                _capital(f"{outcome.words} by segment"),
                f"The {outcome.kind} of {outcome.words} in every segment, {how}. The dashed line "
                f"is all {found.noun}.",
                "The point is the estimate; the bar is its 95 % interval: made in this way, it "
                "holds the true figure 95 times of 100. Segments whose bars do not overlap differ.",
                "Begin where the figure is far from the line and the bar is short. A bar across "
                f"the line: no reason to treat that segment otherwise than all.{instead}",
                _picture(_charts().outcome_chart(found, i)),
                [tables.outcome_table(found, i)],
            )
        )
    money = tables.value_table(found, _money(found))
    if money is not None and found.value is not None:
        is_at_risk = found.value.outcome is not None
        figures.append(
            Figure(
                _capital(
                    f"{_money(found)} at risk" if is_at_risk else f"{_money(found)} by segment"
                ),
                f"The {_money(found)} of a segment times its rate of {_outcome(found)}: "
                "what is lost where its members leave at that rate, whatever their value."
                if is_at_risk
                else f"The {_money(found)} of every segment.",
                "A longer bar is more to lose; the line is its 95 % interval, by that of the rate."
                if is_at_risk
                else "",
                "Begin with the longest bars: few segments often hold most of what is at risk."
                if is_at_risk
                else "",
                _picture(_charts().value_chart(found)) if is_at_risk else None,
                [money],
                is_open=not is_at_risk,
            )
        )
    return Section("outcomes", "What happens in the segments", [], figures) if figures else None


def _differences(found: Segments) -> Section:
    figures = [
        Figure(
            f"{tables.number_of(one.segment)}: {one.name}",
            f"A typical one is {one.typical.words}." if one.typical else "",
            tables=[tables.differences_table(found, one, _DIFFERENCES)],
            is_open=True,
        )
        for one in found.segments
        if one.sets_apart
    ]
    words = [
        "What each segment has more of (+) or less of (-) than all others, the largest effects "
        "first: means of numbers, shares of the values of categories.",
        "An effect of +1 says that everybody in the segment has more than "
        "everybody else, 0 that there is no difference; 0.15 is small, 0.33 medium, 0.47 large. Of "
        "a value of a category it is the difference of the shares. “SD apart”: between the means, "
        "in standard deviations of the column.",
        "Take the first lines as the portrait of the segment, and write an offer, or "
        "a question to ask, for that portrait. What goes together need not be a cause.",
    ]
    if any(one.typical for one in found.segments):
        words.append(
            "The sentence above each table is about a typical row, which is nobody's: medians and "
            "most frequent values. It says which columns decide, to the model, between the segment "
            "and the one it is nearest to; columns that go together share what they say together."
        )
    return Section("differences", "What sets each segment apart", words, figures)


def _map(found: Segments) -> Section | None:
    pictured = found.map
    if pictured is None:
        return None
    moves = len(pictured.iterations) > 1
    words = [
        f"{direction}, there is {axis.words.replace(': ', ' of: ')}."
        for direction, axis in zip(("To the right", "Upwards"), pictured.axes, strict=True)
    ]
    if any(one.separation > 0 for one in pictured.axes):
        share = tables.percent(pictured.share).replace(" ", "\u00a0")
        words.append(
            "These are the two directions that set most segments apart, in standard deviations "
            f"within them; they show {share} of what tells the segments from one another."
        )
        if pictured.share < _ALL_SHOWN:
            words.append("What overlaps here may be apart in what the map does not show.")
    shows = (
        f"Points: {pictured.sampled}. An ellipse holds two thirds of a component of the mixture; "
        f"its number is that of the segment it is of. {pictured.way_words}"
    )
    figure = Figure(
        "Where the segments lie",
        shows,
        "Segments that lie apart are easily told from one another; where ellipses overlap, "
        f"{found.noun} between them could be of either. The arrows at the axes say what there is "
        "more of in a direction."
        + (
            " Move the slider, by mouse or arrow keys, to see how EM brings the ellipses from "
            "their start to the groups."
            if moves
            else ""
        ),
        "Neighbours can share an offer; a segment far from all others needs its own. Points far "
        "from every ellipse are worth a look: what are they?",
        _picture(_charts().map_chart(found)),
        _present(
            tables.ellipses_table(found),
            tables.loadings_table(found),
            tables.iterations_table(found),
        ),
        iterations=[_said_of(one) for one in pictured.iterations] if moves else [],
    )
    return Section("map", f"A map of the {found.noun}", words, [figure])


def _said_of(iteration: Iteration) -> str:
    """What is said beside the slider."""
    said = "the model" if iteration.kind == "model" else f"iteration {iteration.number}"
    if iteration.kind == "start":
        said = "the start"
    if iteration.mean_log_likelihood is not None:
        said += f": mean log-likelihood {tables.figures([iteration.mean_log_likelihood])[0].text}"
    return said


def _against_kmeans(found: Segments) -> Section | None:
    own = found.kmeans
    if own is None:
        return None
    figure = Figure(
        "Segments and clusters of k-means",
        f"How {own.rows:,} {found.noun} of the segments are shared out among as many clusters that "
        "k-means makes of the same columns; each cluster stands under the segment that it is most "
        "like.",
        "Figures off the diagonal are placed differently. k-means puts everybody with the nearest "
        "middle: it takes groups for equally wide, round, and certain.",
        "Where they agree, the segments do not hang on the method. Where they differ, "
        + (
            "look at the outcome: the division that says more of it is the one to act by."
            if own.outcomes
            else "look at some of those who are placed otherwise: whom are they like?"
        ),
        _picture(_charts().kmeans_chart(found)),
        _present(tables.kmeans_table(found), tables.kmeans_outcomes_table(found)),
    )
    return Section("kmeans", "Against k-means", own.words, [figure])


def _effect(found: Segments, column: str) -> float:
    """The largest effect that a column has in any segment."""
    return max(
        (abs(d.effect) for one in found.segments for d in one.sets_apart if d.column == column),
        default=0.0,
    )


def by_effect(found: Segments) -> list[Column]:
    return sorted(found.columns, key=lambda column: -_effect(found, column.name))


def _profile(found: Segments) -> Section | None:
    columns = by_effect(found)
    numbers = [one for one in columns if one.kind != "category"]
    figures = []
    if numbers:
        shown = numbers[:HEAT_ROWS]
        figures.append(
            Figure(
                "Numbers, in standard units",
                f"How far the mean of a segment is from that of all {found.noun}, in standard "
                "deviations of all, for every column; those that tell segments apart most, first.",
                "Blue is less than the whole, red is more, grey is about the same; beyond 1 is "
                "far. Point at a cell for the means in your own units.",
                "Look down a column for what a segment is like, along a row for where to find who "
                "has much of something.",
                _picture(_charts().heat_chart(found, shown)),
                [tables.heat_table(found, numbers)],
            )
        )
    values = shown_values(found, [one for one in columns if one.kind == "category"])
    if values:
        figures.append(
            Figure(
                "Categories, shares in %",
                "How much of every segment has a value, and how much of all. A row that would "
                "say the same as one above is in the table alone.",
                "The stronger the colour, the more. Compare a cell with the one under “all”: where "
                "they are the same, the value says nothing of that segment.",
                "A value that nearly all of a segment has, and few others, finds its members "
                "without any model.",
                _picture(_charts().shares_chart(found, values)),
                [tables.shares_table(found, [one for one in columns if one.kind == "category"])],
            )
        )
    key = [(tables.number_of(one.segment), one.name) for one in found.segments]
    return Section("profile", "What the segments are like", [], figures, key) if figures else None


def shown_values(found: Segments, columns: Sequence[Column]) -> list[tuple[Column, str]]:
    """The values of categories that have a row of the heat map."""
    listed, shown = [], set()
    for column in columns:
        own = tables.profile_of(found.whole.profile, column.name)
        if isinstance(own, CategoryProfile):
            values = [one.value for one in own.values]
            # Of two the one says what the other does: of yes and no, yes.
            if len(values) == 2 and not own.other:
                values = [v for v in values if is_flag(values) and is_yes(v)] or values[1:]
            for value in values[: _charts().MOST_VALUES]:
                row = tables.shares_of(found, column.name, value)
                if row not in shown:
                    shown.add(row)
                    listed.append((column, value))
    return listed[:HEAT_ROWS]


# Of a number, and of a category.
_READ_COLUMN = (
    "High bars are frequent values. The intervals are the same in all rows; the first and last "
    "take what lies beyond. The heights compare within a row.",
    "Compare the lengths of one colour down the bars.",
)
_ACT_ON_COLUMN = (
    "Choose a limit, say for an offer, where the bars of one segment end and those of the others "
    "begin; where they overlap, no limit parts them.",
    "Where two segments look the same, this column does not tell them apart.",
)


def _distributions(found: Segments) -> Section | None:
    figures: list[Figure] = []
    explained: set[bool] = set()
    for i, column in enumerate(by_effect(found)):
        is_category = column.kind == "category"
        # What is said of the first chart of numbers, and of categories, holds for the others.
        is_first = is_category not in explained
        explained.add(is_category)
        own = (
            [tables.category_table(found, column)]
            if is_category
            else _present(
                tables.number_table(found, column), tables.distribution_table(found, column)
            )
        )
        has_picture = i < _CHARTS and (is_category or column.edges is not None)
        chart = _charts().category_chart if is_category else _charts().number_chart
        figures.append(
            Figure(
                tables.column_title(column),
                "The share of every value in each segment."
                if is_category
                else "How many of each segment have how much; the line is the median: half have no "
                "more.",
                _READ_COLUMN[is_category] if is_first else "",
                _ACT_ON_COLUMN[is_category] if is_first else "",
                _picture(chart(found, column)) if has_picture else None,
                own,
                folded=i >= _OPEN,
            )
        )
    words = [
        "Column by column; those that tell segments apart most, first.",
        f"How quantiles and distributions were found: {found.quantiles}.",
    ]
    return Section("distributions", "Distributions", words, figures) if figures else None


def _membership(found: Segments) -> Section:
    figures = [
        Figure(
            "How sure it is",
            f"The {found.noun} of every segment by the probability that they are in it.",
            "A long last part (95 to 100 %): the segment stands by itself. Long first parts: it "
            "blends into others, and its members are in it by a narrow margin.",
            "Where it matters who gets an offer, take those of a probability above 80 %, and treat "
            "those between two segments as either.",
            _picture(_charts().membership_chart(found)),
            [tables.membership_table(found)],
        )
    ]
    if all(one.probabilities for one in found.membership.segments):
        figures.append(
            Figure(
                "Who is mixed with whom",
                "The mean probabilities, in %, of all segments for the members of each.",
                "A row is the members of one segment; away from the diagonal is where else they "
                "may be.",
                "Two segments that are much mixed can get one treatment.",
                _picture(_charts().mixing_chart(found)),
                [tables.mixing_table(found)],
            )
        )
    return Section("membership", f"How mixed the {found.noun} are", [], figures)


def _outliers(found: Segments) -> Section | None:
    table = tables.outliers_table(found)
    if table is None or found.outliers is None:
        return None
    own = found.outliers
    figure = Figure(
        "Outliers by segment",
        f"{found.noun.capitalize()} that the model finds improbable: {own.rows:,}, "
        f"{tables.percent(own.share)} of all.",
        "A long bar: many of the segment fit it badly.",
        "Look at some of them, by the scores: errors in the data, or a kind of its own?",
        _picture(_charts().outliers_chart(found)),
        [table],
    )
    return Section("outliers", "Outliers", [], [figure])


def measure_of(considered: Sequence[dict[str, Any]]) -> tuple[str, str] | None:
    """What candidates are compared by: the key, and what it is called."""
    for key, title in [
        ("mutualInformation", "bits of the outcome"),
        ("columnInformation", "bits of the columns"),
        ("criterion", "criterion"),
    ]:
        if any(isinstance(one.get(key), float) and one.get("k") for one in considered):
            return key, title
    return None


def _choice(found: Segments) -> Section | None:
    choice = found.choice
    if choice is None:
        return None
    words = [
        f"Segments: {choice.segments:,}; components: {choice.components:,}; structure of the "
        f"covariances: {choice.structure}."
    ]
    if any("columnInformation" in one for one in choice.considered):
        # The first line: the next has figures that are not in segments.json.
        words += [f"{line}." for line in choice_words(found)[:1]]
    elif choice.why:
        words.append(f"Why these: {choice.why}.")
    said = choice.outcome_information
    own = _present(
        tables.records_table("What was considered, the best first", choice.considered),
        tables.records_table("Other optima that were met", choice.alternatives),
        tables.records_table("By rows that did not choose", [said] if said else []),
    )
    measure = measure_of(choice.considered)
    picture = _picture(_charts().choice_chart(choice.considered, *measure)) if measure else None
    is_of_bits = measure is not None and measure[1].startswith("bits")
    better, but = (
        ("Higher", ", and fewer segments where they say about as much")
        if is_of_bits
        else ("Lower", "")
    )
    figure = Figure(
        "What was considered",
        "Every division that was tried, by its number of segments; the diamond is the one taken.",
        f"{better} is better{but}; points close to one another are as good as equal. Why each was "
        "not taken is in the table.",
        "If another number of segments suits you better and its point is about as good, ask for "
        "that number.",
        picture,
        own,
    )
    return Section("choice", "Why this many segments", words, [figure] if own else [])


_STOPPED = {
    "kept": "the division stays as it was found on a part of the rows",
    "max_iterations": "as many passes as were allowed",
    "updated": "one step of EM by new rows alone, beside what is known of those before",
}


def _fit(found: Segments) -> Section | None:
    fit = found.fit
    if fit is None:
        return None
    words = [f"Of {fit.rows:,} rows. The fit stopped: {_STOPPED.get(fit.reason, fit.reason)}."]
    passes = tables.passes_table(found)
    known = [one for one in fit.passes if one.mean_log_likelihood is not None]
    figure = Figure(
        "Log-likelihood of every pass",
        "How well the mixture describes a row on average, after every pass over the table.",
        "A rise, then a flat line: the fit is done. Most of the way is gone on a sample before, so "
        "the line may be flat from the first pass.",
        "If it still rises at the end, allow more iterations.",
        _picture(_charts().passes_chart(found)) if len(known) > 1 else None,
        _present(passes, tables.criteria_table(found)),
    )
    return Section("fit", "How the fit went", [*words, *fit.warnings], [figure])


def _preparation(found: Segments) -> Section | None:
    table = tables.preparation_table(found)
    left = found.not_described
    words = []
    if left:
        listed = "; ".join(f"{name} ({why})" for name, why in left.items())
        words.append(f"Segments are not described by: {listed}.")
    figures = (
        []
        if table is None
        else [
            Figure(
                "Every column",
                "What was done with it, and why; what becomes of values that the "
                "model has not seen.",
                tables=[table],
            )
        ]
    )
    return Section("columns", "Columns", words, figures) if words or figures else None
