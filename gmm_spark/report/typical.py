"""Why a typical row of a segment is in it, and not in the one it is nearest to.

The row is no one's: of a model's columns it has the means of the segment's component, the most
probable category and count. What is shown are medians and most frequent values of the raw columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gmm_spark.engine.scoring import NOISE, central
from gmm_spark.mixture.explanations import Explainer
from gmm_spark.mixture.numerics import Array, finite
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.report.column_words import readable, value_words
from gmm_spark.report.page_tables import day_of, profile_of
from gmm_spark.report.segments import NumberProfile, Reason, Segment, Typical
from gmm_spark.report.text import numbers
from gmm_spark.scoring import row_columns

# Reasons that are told.
_MOST = 3
# What most of a segment has no value of says nothing of a typical row.
_MISSING = 0.5


def raw_columns(preparation: Sequence[Mapping[str, Any]] | None) -> dict[str, str]:
    """The raw column that every prepared one was made of, by `PreparationModel.columns`."""
    return {
        made: column["name"] for column in preparation or () for made in column["prepared"] or ()
    }


def with_typical(
    model: GaussianMixtureModel,
    segments: Sequence[Segment],
    preparation: Sequence[Mapping[str, Any]] | None,
    entries: Sequence[str],
) -> list[Segment]:
    """The segments with why a typical row is in each, but for noise, and where the row in the
    middle of a segment would be in none of two that it is among.

    `entries` are the names of a vector's entries, where the model is of one.
    """
    if len(segments) < 2:
        return list(segments)
    raw = raw_columns(preparation)
    columns = row_columns(model, model._input_columns() or list(entries))
    names = [raw.get(name, name) for name in columns]
    clusters = None if model._merging is None else model._merging.clusters
    parameters = model.parameters
    explainer = Explainer(parameters, central(parameters), clusters)
    real = [one for one in segments if one.segment != NOISE]
    found = explainer.explained(_middles(model, real, names))
    titles = {one.segment: one.name for one in segments}
    done = list(segments)
    for j, segment in enumerate(real):
        number, other = int(found.segment[j]), int(found.runner_up[j])
        if segment.segment not in (number, other):
            continue
        # In the middle of a small segment another one may be more probable.
        sign = 1.0 if number == segment.segment else -1.0
        other = other if sign > 0 else number
        other = NOISE if other == explainer.noise else other
        reasons = _reasons(segment, names, sign * found.contributions[:, j])
        typical = Typical(
            runner_up=other,
            log_odds=finite(sign * float(found.log_odds[j])),
            reasons=reasons,
            words=_words(titles[other], reasons),
        )
        done[j] = segment.model_copy(update={"typical": typical})
    return done


def _middles(model: GaussianMixtureModel, real: Sequence[Segment], names: Sequence[str]) -> Array:
    """A row for every segment, (columns, segments): of its heaviest component the means and the
    most probable values."""
    parameters = model.parameters
    heaviest = [max(cluster, key=lambda j: parameters.weights[j]) for cluster in model.clusters]
    modes = [
        family.modes(values)
        for family, values in zip(parameters.families, parameters.family_parameters, strict=True)
    ]
    rows = np.concatenate([parameters.means, *modes], axis=1)[heaviest].T
    for j, segment in enumerate(real):
        missing = {one.column: one.missing for one in segment.profile}
        for place, name in enumerate(names):
            if (missing.get(name) or 0.0) > _MISSING:
                rows[place, j] = np.nan
    return rows


def _reasons(segment: Segment, names: Sequence[str], contributions: Array) -> list[Reason]:
    """Those of most weight, the largest first."""
    order = np.argsort(-np.abs(contributions), kind="stable")[:_MOST]
    return [
        Reason(
            column=names[place],
            value=(value := _value(segment, names[place])),
            direction="for" if contributions[place] > 0 else "against",
            contribution=finite(float(contributions[place])),
            words=_said(segment, names[place], value),
        )
        for place in order.tolist()
        if contributions[place] != 0
    ]


def _value(segment: Segment, name: str) -> str | None:
    """What a column is in the middle of a segment, as it is written."""
    if name not in {one.column for one in segment.profile}:
        return None
    profile = profile_of(segment.profile, name)
    if isinstance(profile, NumberProfile):
        if profile.quantiles is None:
            return None
        middle = profile.quantiles.p50
        return day_of(middle) if profile.kind == "date" else _short(middle)
    known = [one for one in profile.values if one.share is not None]
    return max(known, key=lambda one: one.share or 0.0).value if known else None


def _said(segment: Segment, name: str, value: str | None) -> str:
    """A column's value in the middle of a segment as words: tenure 51, with partner."""
    if value is None:
        return readable(name)
    profile = profile_of(segment.profile, name)
    if isinstance(profile, NumberProfile):
        return f"{readable(name)} {value}"
    return value_words(name, value, [one.value for one in profile.values])


def _short(value: float) -> str:
    """Four significant digits, none of them a 0 at the end of decimals."""
    text = numbers([value], 0.0)[0]
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def _words(other: str, reasons: Sequence[Reason]) -> str:
    """A sentence without its subject: what tells a typical row from the other segment."""
    said = [one.words for one in reasons if one.direction == "for"]
    against = [one.words for one in reasons if one.direction == "against"]
    text = f"here rather than in “{other}”"
    if said:
        text += f" because of {_and(said)}"
    return f"{text}; against it: {_and(against)}" if against else text


def _and(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
