"""`segments.json`: what a segmentation found, all that a page shows of it, in a versioned format.

The JSON Schema in `docs/segments.schema.json` is made from these models (`python -m
gmm_spark.report.segments` prints it); `docs/segments.md` explains it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

# Its name beside a model.
FILE = "segments.json"
# A minor version adds optional parts, a major one changes what is there.
VERSION: Literal["1.0"] = "1.0"
# Of points of a picture, so many at most.
MOST_POINTS = 1500
# Of iterations of EM, so many at most.
MOST_ITERATIONS = 25

Share = Annotated[float, Field(ge=0, le=1)]
Effect = Annotated[float, Field(ge=-1, le=1)]
Kind = Literal["number", "count", "date", "category"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Rows(_Part):
    """How many rows there are."""

    total: int = Field(description="Rows of the table; rows of weight 0 are none.")
    with_segment: int = Field(description="Of these, rows that have a segment, noise among them.")
    without_segment: int = Field(description="Rows without: they have gaps that were skipped.")
    weight: float = Field(
        description="Sum of the weights of rows with a segment; their number where the model has "
        "no column of weights."
    )


class Column(_Part):
    """A column that segments are described by."""

    name: str
    words: str = Field(description="Its name made readable: monthly charges.")
    kind: Kind
    in_model: bool = Field(
        description="Whether segments are made by it, or by what was prepared from it."
    )
    describes_a_person: bool = Field(
        description="Whether it names or describes a person, as age, sex and postcode do: it is "
        "not used in names, unless that was asked for."
    )
    edges: list[float] | None = Field(
        default=None,
        description="Of a number, the edges of the intervals of `distribution`, ascending; the "
        "first and the last interval take what lies beyond.",
    )


class Quantiles(_Part):
    """Values that 5, 25, 50, 75 and 95 % of the rows, by weight, do not exceed."""

    p05: float
    p25: float
    p50: float
    p75: float
    p95: float


class NumberProfile(_Part):
    """What a number, a count or a date is in a segment. Rows are weighted by their probability of
    the segment. A date is in days since 1970-01-01."""

    kind: Literal["number", "count", "date"]
    column: str
    known: float = Field(description="Size of the segment where the column has a value.")
    missing: Share | None = Field(description="Share of the segment without a value.")
    mean: float | None
    standard_deviation: float | None
    quantiles: Quantiles | None
    standard_units: float | None = Field(
        default=None,
        description="The mean less that of all rows, in standard deviations of all rows.",
    )
    distribution: list[Share] | None = Field(
        default=None, description="Share of the known rows in every interval of the column's edges."
    )


class ValueShare(_Part):
    """A value of a category, and how much of a segment has it."""

    value: str
    share: Share | None = Field(description="Of the rows with a value.")


class CategoryProfile(_Part):
    """What a category is in a segment. Rows are weighted by their probability of the segment."""

    kind: Literal["category"]
    column: str
    known: float = Field(description="Size of the segment where the column has a value.")
    missing: Share | None = Field(description="Share of the segment without a value.")
    values: list[ValueShare] = Field(
        description="The most frequent values of all rows, most frequent first, in every segment "
        "the same."
    )
    other: Share | None = Field(description="Share of all other values together.")


Profile = Annotated[NumberProfile | CategoryProfile, Field(discriminator="kind")]


class Difference(_Part):
    """How a segment differs from all other rows in a column, or in a value of a category."""

    column: str
    value: str | None = Field(
        default=None, description="Of a category, the value; null for numbers."
    )
    effect: Effect = Field(
        description="Of a number Cliff's delta: of a random row of the segment and a random one of "
        "the rest, the probability that the former has more, less that it has less. Of a value the "
        "difference of shares, which is the same of 'has it'. One scale, -1 to 1."
    )
    standardised: float | None = Field(
        default=None,
        description="Of a number, the difference of the means by the root of the mean of the two "
        "variances (Cohen's d).",
    )
    segment: float | None = Field(description="Mean, or share, in the segment.")
    rest: float | None = Field(description="Mean, or share, in all other rows.")
    words: str = Field(description="A sentence: tenure 60.1, elsewhere 25.4.")


class SegmentOutcome(_Part):
    """What an outcome is in a segment."""

    outcome: str
    rows: int = Field(description="Rows predicted to be in it whose outcome is known.")
    estimate: str = Field(
        description="Which estimate `value` is: three-step ML or BCH, corrected for rows of the "
        "wrong segment; posterior weights, where segments cannot be told apart; or counted, of the "
        "rows predicted to be in it, where the segments are those of k-means."
    )
    value: float | None = Field(description="Rate, or mean.")
    standard_error: float | None
    low: float | None = Field(description="95 % interval of `value`.")
    high: float | None
    lift: float | None = Field(description="`value` by that of all rows.")
    posterior: float | None = Field(description="By probabilities, not corrected.")
    posterior_low: float | None
    posterior_high: float | None
    raw: float | None = Field(description="Of the rows predicted to be in it, not corrected.")


class SegmentValue(_Part):
    """The money of a segment, and how much of it is at risk."""

    total: float = Field(
        description="Sum over rows of their probability of the segment x value; over the rows "
        "predicted to be in it where the segments are those of k-means."
    )
    share: float | None = Field(description="Of the total of all rows.")
    mean: float | None
    at_risk: float | None = Field(
        default=None,
        description="`total` x the segment's rate of the outcome: what is lost where customers "
        "leave at that rate whatever their value.",
    )
    at_risk_low: float | None = Field(default=None, description="By the rate's 95 % interval.")
    at_risk_high: float | None = None
    at_risk_share: float | None = Field(
        default=None, description="Of what is at risk in all segments."
    )


class NamePart(_Part):
    """A part of a segment's name, and what it is said of."""

    column: str
    words: str


class Reason(_Part):
    """A column that speaks for a segment, or against it."""

    column: str
    value: str | None = Field(
        description="The median, or the most frequent value, in the segment, as it is written."
    )
    direction: Literal["for", "against"]
    contribution: float | None = Field(
        description="To the log-odds; null where it is infinite, a value that is impossible in one."
    )
    words: str


class Typical(_Part):
    """Why a typical row of a segment, which is no row of the table, is in it and not in the
    segment that it is nearest to."""

    runner_up: int = Field(description="That segment.")
    log_odds: float | None = Field(description="Of the segment against it; null where infinite.")
    reasons: list[Reason] = Field(description="The columns that contribute most, by size.")
    words: str


class Segment(_Part):
    """A segment; number -1 is noise, the rows that no segment is like."""

    segment: int = Field(ge=-1, description="The number that `prediction` has.")
    id: int | None = Field(
        default=None,
        description="The number that stays with its members from run to run, and is never given "
        "to another segment; null where no versions are kept.",
    )
    name: str = Field(description="In plain words; no two segments have the same.")
    name_parts: list[NamePart]
    words: str = Field(description="One line: name, size, outcome, value at risk, what to know.")
    size: float = Field(ge=0, description="Sum of the rows' probabilities (x their weights).")
    share: Share = Field(description="Of the sizes of all segments.")
    rows: int = Field(ge=0, description="Rows that are most probably in it.")
    profile: list[Profile] = Field(description="A part for every column, in their order.")
    sets_apart: list[Difference] = Field(
        description="What sets it apart from all other rows, the largest effects first."
    )
    outcomes: list[SegmentOutcome] = Field(description="In the order of `outcomes` above.")
    value: SegmentValue | None = None
    typical: Typical | None = Field(
        default=None, description="Why a typical row is in it; null for noise, and for one alone."
    )


class Whole(_Part):
    """All rows that have a segment together."""

    profile: list[Profile]


class Outcome(_Part):
    """Something that happened to rows, or did not, that segments are compared by."""

    name: str
    words: str
    kind: Literal["rate", "mean"]
    value: float | None = Field(description="Rate, or mean, of all rows.")
    missing: int = Field(description="Rows without a value.")


class Value(_Part):
    """The column of money."""

    column: str
    total: float
    missing: int = Field(description="Rows without a value; they count as 0.")
    outcome: str | None = Field(description="The outcome that value is at risk by.")
    at_risk: float | None = Field(description="Of all segments together.")


class SegmentMembership(_Part):
    """How sure it is that the rows predicted to be in a segment are in it."""

    segment: int
    rows: int
    mean_probability: Share | None = Field(description="Of the segment, over these rows.")
    shares: list[Share] = Field(
        description="Shares of these rows whose largest probability is in every interval."
    )
    probabilities: list[Share | None] = Field(
        description="Mean probabilities of all segments over these rows, in their order."
    )


class Membership(_Part):
    """How mixed rows are between segments."""

    edges: list[Share] = Field(description="Of the intervals of the largest probability.")
    segments: list[SegmentMembership]


class OutlierShare(_Part):
    segment: int
    rows: int
    share: Share | None


class Outliers(_Part):
    """Rows whose log density is under a threshold."""

    threshold: float | None = Field(description="The log density.")
    rows: int
    share: Share | None
    segments: list[OutlierShare]


class Densities(_Part):
    """Log densities of the rows: how odd a row is, is the share of all that lie under its own."""

    percent: list[float] = Field(description="Shares of the rows, in percent, ascending.")
    log_densities: list[float | None] = Field(
        description="What they lie under, one each; null where it is beyond the smallest number."
    )


class Choice(_Part):
    """How the number of segments was chosen, and what was considered."""

    segments: int
    components: int = Field(description="More than segments where components were merged.")
    structure: str = Field(description="Of covariances: `covarianceType`.")
    why: str | None = Field(description="Why this one was taken.")
    considered: list[dict[str, JsonValue]] = Field(
        description="A row a candidate: `summary.candidates`."
    )
    alternatives: list[dict[str, JsonValue]] = Field(
        description="Other optima that were met: `summary.alternatives`."
    )
    outcome_information: dict[str, JsonValue] | None = Field(
        description="What the segments say of the outcome, by rows that did not choose: "
        "`summary.outcomeInformation`."
    )


class Pass(_Part):
    number: int
    kind: str
    mean_log_likelihood: float | None
    gain: float | None
    seconds: float | None


class Fit(_Part):
    """How the fit went."""

    log_likelihood: float | None
    mean_log_likelihood: float | None
    aic: float | None
    bic: float | None
    icl: float | None
    converged: bool
    reason: str
    rows: int
    passes: list[Pass]
    warnings: list[str]


class Loading(_Part):
    """How much an axis of the map goes with a column, or with a value of a category."""

    column: str = Field(description="A column that the model reads.")
    value: str | None = Field(default=None, description="Of a category, the value.")
    words: str
    correlation: Effect = Field(description="With the axis, over all rows, by the model.")


class Axis(_Part):
    """An axis of the map: a standard deviation within segments is 1, the mean of all rows 0."""

    words: str = Field(description="What grows along it, and what falls.")
    separation: float = Field(
        ge=0, description="Variance of the segments' means along it, that within segments being 1."
    )
    low: float = Field(description="Where the picture begins; some rows may lie beyond.")
    high: float
    loadings: list[Loading] = Field(description="The largest correlations first.")


class Ellipse(_Part):
    """A component on the map: the points `mean + r (a cos t, b cos t + c sin t)` are an ellipse
    that holds 1 - exp(-r^2 / 2) of a normal component."""

    component: int
    segment: int = Field(description="That it is of.")
    weight: Share
    x: float
    y: float
    a: float = Field(ge=0, description="With b and c a factor of the covariance.")
    b: float
    c: float = Field(ge=0)


class Iteration(_Part):
    """The mixture after a step of EM."""

    number: int = Field(ge=0, description="0 is the start; some are left out.")
    kind: str = Field(description="How it came about: start, em, anchored, accelerated, ...")
    rows: int | None = Field(description="That EM read; null is all.")
    mean_log_likelihood: float | None = Field(description="Of these rows, in the model's columns.")
    ellipses: list[Ellipse]


class Point(_Part):
    x: float
    y: float
    segment: int
    probability: Share = Field(description="Of the segment.")


class SegmentMap(_Part):
    """The rows in the two dimensions that set most segments apart: Fisher's linear
    discriminants, by the moments of the mixture."""

    axes: list[Axis] = Field(min_length=2, max_length=2)
    share: Share = Field(description="Of what tells segments apart, how much the map shows.")
    points: list[Point] = Field(
        max_length=MOST_POINTS,
        description="A sample of the rows, without identifiers, places to 0.01 and probabilities "
        "to 0.001; none where that was asked for.",
    )
    sampled: str = Field(description="Which rows are points, and whether any are.")
    iterations: list[Iteration] = Field(
        min_length=1,
        max_length=MOST_ITERATIONS,
        description="Of EM, the last the model itself; one alone where there is no way to show.",
    )
    way: Literal["of the fit", "again from a blurred start", "none"] = Field(
        description="Whose iterations they are: of the fit that found the model, of EM that was "
        "run again, on a sample, for the picture, or none but the model."
    )
    way_words: str = Field(description="The same as sentences.")


class KMeansOutcome(_Part):
    """What both divisions say of an outcome, by the same rows."""

    outcome: str
    rows: int = Field(description="Whose outcome is known.")
    bits: float = Field(
        description="Mutual information of segment and outcome, corrected for chance (Miller "
        "1955); an outcome of more than ten values is cut into ten parts."
    )
    kmeans_bits: float
    standard_error: float = Field(description="Of `bits`.")
    spread: float = Field(
        description="The highest less the lowest rate, or mean, of segments of 1 % of the rows."
    )
    kmeans_spread: float


class KMeans(_Part):
    """What k-means makes of the same columns with as many clusters, over a sample of the rows."""

    rows: int
    clusters: int
    table: list[list[int]] = Field(
        description="Rows of each segment, in their order, in each cluster; clusters are paired "
        "with the segments that they share most rows with, and stand in their order."
    )
    moved: Share = Field(description="Of the rows, those in a cluster of another segment.")
    adjusted_rand_index: float = Field(description="1: the same division, 0: alike by chance.")
    is_kmeans: bool = Field(description="Whether the segments are those of k-means themselves.")
    words: list[str] = Field(description="Where they differ, and who is right.")
    outcomes: list[KMeansOutcome]


class Segments(_Part):
    """What a segmentation found."""

    version: Literal["1.0"] = Field(
        description="Of this format: a minor version adds optional parts, a major one changes "
        "what is there."
    )
    made_by: str
    run_date: str | None = Field(
        default=None, description="The date that the run was for; null where it had none."
    )
    noun: str = Field(description="What a row is, in plural: customers.")
    rows: Rows
    columns: list[Column]
    not_described: dict[str, str] = Field(
        default={}, description="Columns that segments are not described by, and why."
    )
    outcomes: list[Outcome]
    value: Value | None = None
    segments: list[Segment] = Field(description="By number; noise, -1, is the last.")
    whole: Whole
    membership: Membership
    outliers: Outliers | None = None
    densities: Densities | None = None
    quantiles: str = Field(description="How quantiles, distributions and effects were found.")
    choice: Choice | None = None
    fit: Fit | None = None
    preparation: list[dict[str, JsonValue]] | None = Field(
        default=None, description="What was done with every column, and why."
    )
    map: SegmentMap | None = None
    kmeans: KMeans | None = None
    drift: dict[str, JsonValue] | None = Field(
        default=None,
        description="What has changed since the champion's run (`since`): `figures`, each with "
        "name, of, value, before, change and relative_change, and those that speak `against` "
        "publishing, in words.",
    )
    transitions: dict[str, JsonValue] | None = Field(
        default=None,
        description="From segment to segment since the champion's run (`since`), by ids: "
        "`same_rows`, the rows of today by their most probable segments of both models, `rows` a "
        "list for each of `old`; `customers`, those of that run and of this one, with who `came` "
        "and who `left`.",
    )
    notes: list[str] = Field(default=[], description="What a reader has to know.")

    def to_json(self) -> str:
        """The text of `segments.json`."""
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Segments:
        """The segmentation in such a text; pydantic's ValidationError where it is none."""
        return Segments.model_validate_json(text)

    def by_id(self) -> Segments:
        """The same with ids in the place of numbers, where segments have ids: what people are
        shown, for it is the same from run to run."""
        ids = {one.segment: one.id for one in self.segments if one.id is not None}
        if all(number == id for number, id in ids.items()):
            return self
        content = self.model_dump()
        parts = [*content["segments"], *content["membership"]["segments"]]
        if content["outliers"] is not None:
            parts += content["outliers"]["segments"]
        if content["map"] is not None:
            parts += content["map"]["points"]
            parts += [part for one in content["map"]["iterations"] for part in one["ellipses"]]
        for part in parts:
            part["segment"] = ids.get(part["segment"], part["segment"])
        for part in [one["typical"] for one in content["segments"] if one["typical"] is not None]:
            part["runner_up"] = ids.get(part["runner_up"], part["runner_up"])
        return Segments.model_validate(content)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `segments.json`."""
    schema = Segments.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
