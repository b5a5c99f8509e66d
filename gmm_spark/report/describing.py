"""A segmentation described: profiles, what sets segments apart, names, outcomes, value at risk."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import types as T

import gmm_spark
from gmm_spark.engine.inputs import no_column
from gmm_spark.engine.profiles import EDGES, FoundProfiles, Moments
from gmm_spark.engine.scoring import NOISE
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.outcomes import rows_of_outcomes
from gmm_spark.report.against_kmeans import against_kmeans
from gmm_spark.report.column_words import readable
from gmm_spark.report.names import OUTLIERS, Phrase, named
from gmm_spark.report.profiled import Profiled, described_columns, read_profiles
from gmm_spark.report.sampled_rows import SampledRows
from gmm_spark.report.scored_customers import PERCENTILES, density_percentiles
from gmm_spark.report.segment_map import segment_map
from gmm_spark.report.segment_words import segment_line
from gmm_spark.report.segments import (
    VERSION,
    Choice,
    Densities,
    Fit,
    Membership,
    NamePart,
    Outcome,
    Outliers,
    OutlierShare,
    Pass,
    Rows,
    Segment,
    SegmentMembership,
    SegmentOutcome,
    Segments,
    SegmentValue,
    Value,
    Whole,
)
from gmm_spark.report.typical import with_typical
from gmm_spark.report.vector_columns import with_entries


def describe_segments(
    model: GaussianMixtureModel,
    frame: DataFrame,
    *,
    outcomes: Sequence[str] = (),
    value: str | None = None,
    id: str | None = None,
    preparation: Sequence[Mapping[str, Any]] | None = None,
    describe_people: bool = False,
    noun: str = "customers",
    points: bool = True,
) -> Segments:
    """What a segmentation found, in figures and in words.

    The rows are read once, scored and summed up. They are weighted by their probabilities of the
    segments, and by `weightCol` where the model has one.

    Parameters
    ----------
    frame : the rows, with the columns that the model reads and those that segments are described
        by; a vector that the model is of is described by its entries
    outcomes : booleans or numbers that the model is not of, see `GaussianMixtureModel.outcomes`;
        value is at risk by the first that is a rate
    value : a column of money
    id : the column that names a row; it describes nothing
    preparation : what was done with every column, `PreparationModel.columns`: those that are left
        out there describe nothing. Without it every number, boolean, text and date of the frame
        does, but for what expressions of the model have made
    describe_people : whether columns that name or describe a person may be used in names
    noun : what a row is, in plural
    points : whether the map of the rows has some of them as points, without identifiers

    Raises ConfigurationError for a column that is not there or is none of what it should be, and
    what `GaussianMixtureModel.outcomes` raises.
    """
    _check(frame, outcomes, value, id)
    frame, entries = with_entries(model, frame)
    columns, left_out = described_columns(model, frame, outcomes, id, preparation)
    if entries:
        left_out.pop(model.getFeaturesCol(), None)
    measured = [name for name, kind in columns.items() if kind != "category"]
    if value is not None and value not in measured:
        measured.append(value)
    texts = [name for name, kind in columns.items() if kind == "category"]
    dates = [one for one in preparation or () if one.get("role") == "date"]
    days = {one["name"]: one["value"] for one in dates if one.get("value")}
    found = read_profiles(model, frame, columns, measured, texts, outcomes, days)
    if not found.rows.sum():
        raise InputDataError(
            f"none of {found.outcomes.skipped:,} rows has a segment: there is nothing to describe"
        )
    profiled = Profiled(
        found, columns, measured, texts, _in_model(model, columns, preparation, entries)
    )
    rates = rows_of_outcomes(model, frame, outcomes, found.outcomes)
    numbers = _segment_numbers(model)
    names = _names(profiled, model, describe_people)
    about = [
        Outcome(
            name=name,
            words=readable(name),
            kind=own[0]["kind"],
            value=own[0]["overall"],
            missing=own[0]["missing"],
        )
        for name in outcomes
        for own in [[row for row in rates if row["outcome"] == name]]
    ]
    of_segments = {
        number: [SegmentOutcome(**_outcome(row)) for row in rates if row["segment"] == number]
        for number in numbers
    }
    risk = next((i for i, outcome in enumerate(about) if outcome.kind == "rate"), None)
    values: Sequence[SegmentValue | None] = [None] * len(numbers)
    if value is not None:
        # Rates as counted are of the rows in a segment, and so is the value that is at risk.
        moments = found.counted if model._is_a_rule else found.moments
        values = _values(moments, profiled.places[value], of_segments, risk)
    whole = float(found.size.sum())
    membership = _membership(found, numbers)
    segments = []
    for j, number in enumerate(numbers):
        name, parts = names[j]
        segment = Segment(
            segment=number,
            name=name,
            name_parts=[NamePart(column=part.column, words=part.words) for part in parts],
            words="",
            size=float(found.size[j]),
            share=float(found.size[j]) / whole if whole else 0.0,
            rows=int(found.rows[j]),
            profile=profiled.profile(j),
            sets_apart=profiled.differences(j),
            outcomes=of_segments[number],
            value=values[j],
        )
        said = segment_line(
            segment,
            about,
            membership.segments[j],
            int(found.rows.sum()),
            noun,
            readable(value or ""),
        )
        segments.append(segment.model_copy(update={"words": said}))
    sampled = SampledRows.found(found, model.parameters.noise is not None)
    originals = {
        made: one["name"] for one in preparation or () for made in one.get("prepared") or ()
    }
    pictured, no_map = segment_map(model, sampled, originals, noun, points=points)
    titles = [one.name for one in segments]
    segments = with_typical(model, segments, preparation, entries)
    return Segments(
        version=VERSION,
        made_by=f"gmm_spark {gmm_spark.__version__}",
        noun=noun,
        rows=Rows(
            total=int(found.rows.sum()) + found.outcomes.skipped,
            with_segment=int(found.rows.sum()),
            without_segment=found.outcomes.skipped,
            weight=whole,
        ),
        columns=profiled.columns(),
        not_described={**left_out, **profiled.left_out},
        outcomes=about,
        value=None if value is None else _value(profiled, value, values, about, risk),
        segments=segments,
        whole=Whole(profile=profiled.profile(None)),
        membership=membership,
        outliers=_outliers(model, found, numbers),
        densities=_densities(model, sampled),
        quantiles=_how(found),
        choice=choice_of(model),
        fit=fit_of(model),
        preparation=None if preparation is None else [plain(dict(one)) for one in preparation],
        map=pictured,
        kmeans=against_kmeans(model, sampled, titles, outcomes, noun),
        notes=[*_notes(profiled, found, describe_people), *([no_map] if no_map else [])],
    )


def _check(frame: DataFrame, outcomes: Sequence[str], value: str | None, id: str | None) -> None:
    for name in [*outcomes, *(one for one in (value, id) if one is not None)]:
        if name not in frame.columns:
            raise no_column(name, frame.columns)
    if value is not None and not isinstance(frame.schema[value].dataType, T.NumericType):
        kind = frame.schema[value].dataType.simpleString()
        raise ConfigurationError(f"value {value!r} has type {kind}; expected a number")


def _segment_numbers(model: GaussianMixtureModel) -> list[int]:
    noise = [] if model.parameters.noise is None else [NOISE]
    return [*range(len(model.clusters)), *noise]


def _in_model(
    model: GaussianMixtureModel,
    columns: Mapping[str, Any],
    preparation: Sequence[Mapping[str, Any]] | None,
    entries: Sequence[str],
) -> dict[str, bool]:
    """Whether segments are made by a column, or by what was made of it."""
    read = {*(model._input_columns() or [model.getFeaturesCol()]), *entries}
    read |= {name for one in model._family_columns() for name in one.names}
    made = {one["name"] for one in preparation or () if one.get("prepared")}
    texts = model.getInputExpressions()
    return {
        name: name in read
        or name in made
        or any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for text in texts)
        for name in columns
    }


def _names(
    profiled: Profiled, model: GaussianMixtureModel, people: bool
) -> list[tuple[str, tuple[Phrase, ...]]]:
    k = len(model.clusters)
    every = range(profiled.k)
    against = [[i for i in every if i != j] for j in range(k)]
    phrases = [profiled.phrases(j, against[j], people=people) for j in range(k)]

    def contrast(j: int, others: Sequence[int]) -> list[Phrase]:
        return profiled.phrases(j, others, people=people, comparative=True)

    found = named(phrases, profiled.correlations, contrast)
    return [*found, (OUTLIERS, ())] if profiled.k > k else found


def _outcome(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in SegmentOutcome.model_fields}


def _values(
    moments: Moments,
    i: int,
    outcomes: Mapping[int, Sequence[SegmentOutcome]],
    risk: int | None,
) -> list[SegmentValue]:
    """The value of every segment, which is column i, and, where there is a rate, how much of it is
    at risk."""
    totals = [float(w * m) for w, m in zip(moments.weight[:, i], moments.mean[:, i], strict=True)]
    whole, found = sum(totals), []
    for j, own in enumerate(outcomes.values()):
        rate = None if risk is None else own[risk]
        of_rate = (None,) * 3 if rate is None else (rate.value, rate.low, rate.high)
        at_risk, *ends = [None if one is None else totals[j] * one for one in of_rate]
        # Where returns outweigh what was bought, the ends change places.
        known = sorted(one for one in ends if one is not None)
        low, high = known if len(known) == 2 else (None, None)
        found.append(
            SegmentValue(
                total=totals[j],
                share=totals[j] / whole if whole > 0 else None,
                mean=float(moments.mean[j, i]) if moments.weight[j, i] > 0 else None,
                at_risk=at_risk,
                at_risk_low=low,
                at_risk_high=high,
            )
        )
    all_of_it = sum(one.at_risk or 0.0 for one in found)
    if all_of_it <= 0:
        return found
    return [
        one.model_copy(update={"at_risk_share": one.at_risk and one.at_risk / all_of_it})
        for one in found
    ]


def _value(
    profiled: Profiled,
    name: str,
    values: Sequence[SegmentValue | None],
    outcomes: Sequence[Outcome],
    risk: int | None,
) -> Value:
    known = [one for one in values if one is not None]
    i = profiled.places[name]
    at_risk = [one.at_risk for one in known if one.at_risk is not None]
    return Value(
        column=name,
        total=sum(one.total for one in known),
        missing=int(profiled.found.rows.sum() - profiled.found.known_rows[i]),
        outcome=None if risk is None else outcomes[risk].name,
        at_risk=sum(at_risk) if at_risk else None,
    )


def _membership(found: FoundProfiles, numbers: Sequence[int]) -> Membership:
    segments = []
    for j, number in enumerate(numbers):
        rows = int(found.rows[j])
        shares = found.certainty[j] / max(rows, 1)
        together = [_within(one / rows) if rows else None for one in found.together[j].tolist()]
        segments.append(
            SegmentMembership(
                segment=number,
                rows=rows,
                mean_probability=together[j],
                shares=shares.tolist(),
                probabilities=together,
            )
        )
    return Membership(edges=list(EDGES), segments=segments)


def _within(share: float) -> float:
    return min(1.0, max(0.0, share))


def _outliers(
    model: GaussianMixtureModel, found: FoundProfiles, numbers: Sequence[int]
) -> Outliers | None:
    threshold = model.getOutlierThreshold()
    if threshold is None:
        return None
    total = int(found.rows.sum())
    return Outliers(
        threshold=threshold if math.isfinite(threshold) else None,
        rows=int(found.outliers.sum()),
        share=int(found.outliers.sum()) / total if total else None,
        segments=[
            OutlierShare(
                segment=number,
                rows=int(found.outliers[j]),
                share=int(found.outliers[j]) / int(found.rows[j]) if found.rows[j] else None,
            )
            for j, number in enumerate(numbers)
        ],
    )


def _densities(model: GaussianMixtureModel, rows: SampledRows) -> Densities | None:
    found = density_percentiles(model, rows.block)
    percent = PERCENTILES.round(2).tolist()
    return Densities(percent=percent, log_densities=plain(found)) if found else None


def _notes(profiled: Profiled, found: FoundProfiles, people: bool) -> list[str]:
    notes = []
    about_people = [one.name for one in profiled.columns() if one.describes_a_person]
    if about_people and not people:
        notes.append(f"no segment is named by what describes a person: {', '.join(about_people)}")
    if found.outcomes.skipped:
        notes.append(f"{found.outcomes.skipped:,} rows have gaps and no segment")
    return notes


def _how(found: FoundProfiles) -> str:
    sampled, rows = int(found.sample.hashes.size), int(found.rows.sum())
    what = "quantiles are the smallest values that so much of the weight does not exceed"
    if sampled == rows:
        return f"exact, of all {rows:,} rows; {what}"
    return (
        f"of a sample of {sampled:,} of {rows:,} rows, chosen by hashes of their content; counts, "
        f"shares, means and standard deviations are of all; {what}"
    )


def choice_of(model: GaussianMixtureModel) -> Choice | None:
    if not model.hasSummary or not (model.summary.candidates or model.summary.alternatives):
        return None
    summary = model.summary
    return Choice(
        segments=len(model.clusters),
        components=model.parameters.k,
        structure=model.getCovarianceType(),
        why=next((one.get("why") for one in summary.candidates), None),
        considered=[plain(one) for one in summary.candidates],
        alternatives=[plain(one) for one in summary.alternatives],
        outcome_information=plain(summary.outcomeInformation),
    )


def fit_of(model: GaussianMixtureModel) -> Fit | None:
    if not model.hasSummary:
        return None
    of = model.summary
    passes = [
        Pass(
            number=one["pass"],
            kind=one["kind"],
            mean_log_likelihood=plain(one["meanLogLikelihood"]),
            gain=plain(one["gain"]),
            seconds=plain(one["seconds"]),
        )
        for one in of.history
    ]
    return Fit(
        log_likelihood=plain(of.logLikelihood),
        mean_log_likelihood=plain(of.meanLogLikelihood),
        aic=plain(of.aic),
        bic=plain(of.bic),
        icl=plain(of.icl),
        converged=of.converged,
        reason=of.reason,
        rows=of.numRows,
        passes=passes,
        warnings=list(of.warnings),
    )


def plain(value: Any) -> Any:
    """A value as JSON has it: what is no number, NaN and infinity, is null; numpy's are Python's;
    anything else is text."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
