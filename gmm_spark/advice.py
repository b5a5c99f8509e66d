"""What is odd about a fit, in sentences that say what was seen and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gmm_spark.engine.blocks import Roles
    from gmm_spark.engine.scan import Scan
    from gmm_spark.mixture.em import Fit
    from gmm_spark.mixture.standardisation import Columns

# Sums of weights, by the number of rows, that may well be rows.
_USUAL_WEIGHTS = 0.5, 10.0
# A column of whole numbers is one of few with so many distinct values.
_FEW_NUMBERS = 32
# A component whose variance along it is under this, in steps, has six of seven rows at one number.
_ONE_NUMBER = 0.12
# A cluster of this many times the usual weight a row is of heavy rows.
_HEAVY_ROW, _HEAVY_ROWS = 2.0, 10.0
# Longer lines are cut where they are logged.
_LINE = 300


def headlines(warnings: Sequence[str]) -> list[str]:
    """One line a kind of warning: the first, which is the worst, and how many others there are."""
    kinds: dict[str, list[str]] = {}
    for warning in warnings:
        kinds.setdefault(warning.split(":", 1)[0], []).append(warning)
    lines = []
    for first, *others in kinds.values():
        line = first if len(first) <= _LINE else f"{first[:_LINE].rsplit(' ', 1)[0]} ..."
        if others or line != first:
            more = f"{len(others)} more of this kind" if others else "the whole"
            line = f"{line} ({more} in summary.warnings)"
        lines.append(line)
    return lines


def about_weights(scanned: Scan, roles: Roles) -> list[str]:
    """Weights that are hardly counts of rows, and are taken for that."""
    if roles.weight is None or scanned.weight_scale != 1.0 or not scanned.fractional_weights:
        return []
    low, high = _USUAL_WEIGHTS
    if low <= scanned.weight / scanned.num_rows <= high:
        return []
    return [
        f"weights_sum: the weights in {roles.weight} sum to {scanned.weight:.6g} over "
        f"{scanned.num_rows} rows, and criteria and priors take that for the number of rows; if "
        "they are no counts of rows, set weightKind='importance' instead of 'frequency'"
    ]


def heavy_rows(found: Fit, scanned: Scan, roles: Roles) -> dict[int, str]:
    """Clusters of hardly more than one row, which is heavy, by component: what each is."""
    if roles.weight is None:
        return {}
    usual, sentences = found.weight / found.num_rows, {}
    for component in range(found.parameters.k):
        rows = round(float(found.cluster_sizes[component]))
        weight = float(found.cluster_weights[component])
        heavy = _HEAVY_ROW if rows == 1 else _HEAVY_ROWS
        if 1 <= rows <= found.parameters.d + 1 and weight >= heavy * usual * rows:
            who = "one row" if rows == 1 else f"{rows} rows"
            sentences[component] = f"{who} of weight {weight / scanned.weight_scale:.6g}"
    return sentences


def one_number_components(
    found: Fit, scanned: Scan, columns: Columns, roles: Roles
) -> dict[int, list[int]]:
    """Numeric columns of few whole numbers of which half the components, two at least, are one
    number each: by column, these components."""
    parameters, scale = found.parameters, columns.standardisation.scale
    taken: dict[int, list[int]] = {}
    if parameters.k < 2 or parameters.d == 0:
        return taken
    variances = np.diagonal(parameters.dense_covariances(), axis1=1, axis2=2) * scale**2
    for column in range(len(roles.features)):
        numbers = _few_numbers(scanned.sample[column])
        if numbers is None:
            continue
        step = float(np.diff(numbers).min())
        narrow = (variances[:, column] < _ONE_NUMBER * step**2) & (parameters.weights > 0)
        weight = parameters.weights[narrow].sum() / parameters.weights.sum()
        if narrow.sum() >= 2 and (narrow.sum() >= parameters.k / 2 or weight > 0.5):
            taken[column] = np.flatnonzero(narrow).tolist()
    return taken


def _few_numbers(values: np.ndarray) -> np.ndarray | None:
    """The distinct values of a column of few whole numbers, at least two; None for others."""
    for part in (values[:1000], values):  # most columns are told by their first rows
        distinct = np.unique(part[~np.isnan(part)])
        if distinct.size > _FEW_NUMBERS or (distinct % 1 != 0).any():
            return None
    return distinct if distinct.size > 1 else None


def one_number(
    taken: dict[int, list[int]], found: Fit, scanned: Scan, columns: Columns, roles: Roles
) -> list[str]:
    """The warning of every column that takes the segments over, the one that takes most first."""
    by, sentences = columns.standardisation, []
    for column in sorted(taken, key=lambda column: -len(taken[column])):
        components = taken[column]
        means = found.parameters.means[components, column] * by.scale[column] + by.centre[column]
        shown = ", ".join(f"{mean:.0f}" for mean in np.unique(np.round(means))[:10])
        sentences.append(
            f"one_number: {len(components)} of {found.parameters.k} clusters are one number of "
            f"{roles.features[column]} each ({shown}): as a number, a column of so few whole "
            "numbers takes the clusters over; name it in countCols if it counts something, else in "
            "categoricalCols"
        )
    return sentences


def edge_of_search(best: int, ks: Sequence[int], criterion: str) -> list[str]:
    """A best k at the end of what was tried, and k = 1 not tried."""
    tried = sorted(set(ks))
    if len(tried) < 2:
        return []
    name = criterion if criterion == "heldout" else criterion.upper()
    if best == tried[0] and best > 1:
        return [
            f"k_at_edge: {name} is lowest at k = {best}, the smallest tried; try smaller ones, "
            "with k = 1, which says whether there are clusters at all"
        ]
    sentences = []
    if best == tried[-1]:
        sentences.append(
            f"k_at_edge: {name} is lowest at k = {best}, the largest tried; try larger ones, or "
            "take fewer where further clusters gain little"
        )
    if tried[0] > 1:
        sentences.append(
            f"k_1_not_tried: the smallest k tried is {tried[0]}; k = 1 says whether there are "
            "clusters at all"
        )
    return sentences
