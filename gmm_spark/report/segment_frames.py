"""A segmentation as tables: segments, profiles, what sets segments apart, and outcomes."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame, SparkSession

from gmm_spark.report.segments import CategoryProfile, Profile, Segments

_SEGMENTS = (
    "segment int, name string, words string, size double, share double, rows bigint, "
    "mean_probability double, value double, value_share double, value_at_risk double, "
    "value_at_risk_low double, value_at_risk_high double, segment_id int"
)
_PROFILES = (
    "segment int, name string, column string, kind string, value string, statistic string, "
    "figure double"
)
_DIFFERENCES = (
    "segment int, name string, place int, column string, value string, effect double, "
    "standardised double, in_segment double, elsewhere double, words string"
)
_OUTCOMES = (
    "segment int, name string, outcome string, kind string, rows bigint, estimate string, "
    "value double, standard_error double, low double, high double, lift double, "
    "posterior double, posterior_low double, posterior_high double, raw double, overall double"
)


def segment_frames(spark: SparkSession, found: Segments) -> dict[str, DataFrame]:
    """Four tables, by name.

    segments : a row a segment
    profiles : a row a figure: segment (null is all rows), column, kind, value (of a category),
        statistic (known, missing, mean, standard_deviation, p05 to p95, standard_units, share) and
        figure; what other values have is the share of a null value
    differences : what sets each segment apart, the largest effects first
    outcomes : a row a segment and outcome
    """
    tables = {
        "segments": (_segments(found), _SEGMENTS),
        "profiles": (_profiles(found), _PROFILES),
        "differences": (_differences(found), _DIFFERENCES),
        "outcomes": (_outcomes(found), _OUTCOMES),
    }
    return {name: spark.createDataFrame(rows, schema) for name, (rows, schema) in tables.items()}


def _segments(found: Segments) -> list[tuple[Any, ...]]:
    rows = []
    for one, membership in zip(found.segments, found.membership.segments, strict=True):
        said = (one.segment, one.name, one.words, one.size, one.share, one.rows)
        value: tuple[float | None, ...] = (None,) * 5
        if (own := one.value) is not None:
            value = own.total, own.share, own.at_risk, own.at_risk_low, own.at_risk_high
        rows.append((*said, membership.mean_probability, *value, one.id))
    return rows


def _profiles(found: Segments) -> list[tuple[Any, ...]]:
    each = [(one.segment, one.name, one.profile) for one in found.segments]
    return [
        (segment, name, one.column, one.kind, *figure)
        for segment, name, profile in [*each, (None, "all", found.whole.profile)]
        for one in profile
        for figure in _figures(one)
    ]


def _figures(one: Profile) -> list[tuple[str | None, str, float | None]]:
    found: list[tuple[str | None, str, float | None]] = [
        (None, "known", one.known),
        (None, "missing", one.missing),
    ]
    if isinstance(one, CategoryProfile):
        found += [(value.value, "share", value.share) for value in one.values]
        return [*found, (None, "share", one.other)]
    found += [(None, "mean", one.mean), (None, "standard_deviation", one.standard_deviation)]
    if one.quantiles is not None:
        found += [(None, name, value) for name, value in one.quantiles.model_dump().items()]
    return [*found, (None, "standard_units", one.standard_units)]


def _differences(found: Segments) -> list[tuple[Any, ...]]:
    return [
        (
            own.segment,
            own.name,
            place,
            one.column,
            one.value,
            one.effect,
            one.standardised,
            one.segment,
            one.rest,
            one.words,
        )
        for own in found.segments
        for place, one in enumerate(own.sets_apart, 1)
    ]


def _outcomes(found: Segments) -> list[tuple[Any, ...]]:
    return [
        (
            own.segment,
            own.name,
            outcome.name,
            outcome.kind,
            *(value for key, value in one if key != "outcome"),
            outcome.value,
        )
        for own in found.segments
        for outcome, one in zip(found.outcomes, own.outcomes, strict=True)
    ]
