"""A segmentation against k-means: the same columns, as many clusters, where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gmm_spark.engine.scoring import NOISE
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.divisions import (
    Division,
    adjusted_rand_index,
    best_pairs,
    cross_table,
    outcome_spread,
)
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.segmentation.candidates import KMEANS, WEIGHTED_KMEANS, Points, kmeans
from gmm_spark.mixture.segmentation.judging import (
    corrected_information,
    in_parts,
    information_error,
)
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.report.column_words import readable
from gmm_spark.report.sampled_rows import SampledRows, spec_of
from gmm_spark.report.segments import KMeans, KMeansOutcome
from gmm_spark.report.text import percent

# Rows that both are compared by.
_ROWS = 20_000
# Divisions of at least this adjusted Rand index are the same, and of less than this another.
_SAME, _ALIKE = 0.98, 0.8
# Rows of a segment in clusters of others that are worth a sentence, and how many sentences.
_WORTH, _SENTENCES = 0.02, 3


def against_kmeans(
    model: GaussianMixtureModel,
    rows: SampledRows,
    names: Sequence[str],
    outcomes: Sequence[str],
    noun: str,
) -> KMeans | None:
    """The comparison; None where there is one segment alone, or fewer rows than segments.

    Parameters
    ----------
    names : of the segments; the noise, where there is one, last
    outcomes : in the order of the rows' outcomes
    """
    k, part = len(model.clusters), rows.first(_ROWS)
    if k < 2 or part.size < k:
        return None
    # Columns as they are: the distances of k-means know no structure and no floor.
    spec = replace(spec_of(model), k=1, covariance_type="diag", covariance_floor="auto")
    spec = replace(spec, noise=False, prior="none")
    try:
        with part.seen_by(model, spec) as sample:
            points = Points.of(sample).values
    except InputDataError:
        return None
    labels = kmeans(points, k, spec.positive_seed)[0].labels
    segment = np.where(part.segment == NOISE, k, part.segment)
    labels = _paired(segment, labels, k)
    table = cross_table(segment, labels)
    full = np.zeros((len(names), k))
    full[: table.shape[0], : table.shape[1]] = table
    is_kmeans = model._origin == KMEANS
    weighted = model._origin == WEIGHTED_KMEANS
    of = "k-means whose columns all count alike" if weighted else "k-means"
    index = adjusted_rand_index(segment, labels)
    moved = float((segment != labels).mean())
    judged = [
        _judged(name, segment, labels, values)
        for name, values in zip(outcomes, part.outcomes, strict=True)
    ]
    known = [one for one in judged if one is not None]
    chosen_by = model.summary.outcomeInformation if model.hasSummary else None
    return KMeans(
        rows=part.size,
        clusters=k,
        table=full.astype(int).tolist(),
        moved=moved,
        adjusted_rand_index=index,
        is_kmeans=is_kmeans,
        words=[
            _agreement(index, moved, is_kmeans, noun, of),
            *_differences(full, names, noun, index),
            *(_who_is_right(one, chosen_by) for one in known if index < _SAME),
        ],
        outcomes=known,
    )


def _paired(segment: Division, labels: Division, k: int) -> Division:
    """Clusters numbered as the segments that they share most rows with."""
    square = np.zeros((k, k))
    both = cross_table(segment, labels)[:k]
    square[: both.shape[0], : both.shape[1]] = both
    number = np.empty(k, dtype=np.intp)
    number[best_pairs(square)] = np.arange(k)
    found: Division = number[labels]
    return found


def _judged(name: str, segment: Division, labels: Division, outcome: Array) -> KMeansOutcome | None:
    known = ~np.isnan(outcome)
    if not known.any():
        return None
    segment, labels, outcome = segment[known], labels[known], outcome[known]
    parts = in_parts(outcome)
    return KMeansOutcome(
        outcome=name,
        rows=int(known.sum()),
        bits=corrected_information(segment, parts),
        kmeans_bits=corrected_information(labels, parts),
        standard_error=information_error(segment, parts),
        spread=outcome_spread(segment, outcome),
        kmeans_spread=outcome_spread(labels, outcome),
    )


def _agreement(index: float, moved: float, is_kmeans: bool, noun: str, of: str) -> str:
    if is_kmeans and index >= _SAME:
        return "The segments are those of k-means: no mixture was of more use."
    if index >= _SAME:
        return f"{of} comes to the same segments."
    what = f"{percent(moved)} of the {noun} are elsewhere (adjusted Rand index {index:.2f})"
    if is_kmeans:
        return f"The segments are an optimum of k-means; by another one, {what}."
    alike = "comes to much the same segments" if index >= _ALIKE else "divides them otherwise"
    return f"{of} {alike}: {what}."


def _differences(table: Array, names: Sequence[str], noun: str, index: float) -> list[str]:
    """The largest groups that k-means puts elsewhere, as sentences."""
    if index >= _SAME:
        return []
    k, total = table.shape[1], float(table.sum())
    elsewhere = [
        (float(table[row, column]), row, column)
        for row in range(len(table))
        for column in range(k)
        if row != column and table[row, column] >= _WORTH * total
    ]
    elsewhere.sort(key=lambda one: (-one[0], one[1], one[2]))
    return [
        f"{count:,.0f} {noun} of “{names[row]}” ({percent(count / table[row].sum())} of it) are "
        f"with most of “{names[column]}” in k-means."
        for count, row, column in elsewhere[:_SENTENCES]
    ]


def _who_is_right(one: KMeansOutcome, chosen_by: Mapping[str, Any] | None) -> str:
    """Which division says more of an outcome; one that the segments were chosen by favours them."""
    what, apart = readable(one.outcome), one.bits - one.kmeans_bits
    figures = f"{one.bits:.3f} bits against {one.kmeans_bits:.3f} (standard error "
    figures += f"{one.standard_error:.3f})"
    if abs(apart) <= one.standard_error:
        return f"Of {what} both say about as much: {figures}."
    said = f"Of {what} {'the segments say' if apart > 0 else 'k-means says'} more: {figures}"
    if apart > 0 and chosen_by is not None and chosen_by.get("outcome") == one.outcome:
        said += "; half of the rows helped to choose the segments by it, and none k-means"
    return f"{said}."
