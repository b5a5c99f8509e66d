"""The map of a segmentation: its rows in two dimensions, and EM finding its components there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gmm_spark.engine.scoring import central
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.mixture import em
from gmm_spark.mixture.blurring import blurred
from gmm_spark.mixture.discriminants import Axes, discriminants, ellipses, positions
from gmm_spark.mixture.divisions import adjusted_rand_index, probabilities
from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.initialisation.methods import start_from_groups
from gmm_spark.mixture.initialisation.path import evenly
from gmm_spark.mixture.merging import Partition
from gmm_spark.mixture.numerics import Array, finite
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.segmentation.candidates import KMEANS
from gmm_spark.mixture.structures import structure_named
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.report.column_words import readable, value_words
from gmm_spark.report.sampled_rows import SampledRows, spec_of
from gmm_spark.report.segments import (
    MOST_ITERATIONS,
    MOST_POINTS,
    Axis,
    Ellipse,
    Iteration,
    Loading,
    Point,
    SegmentMap,
)
from gmm_spark.summary import few

# Rows that EM is run on again for the picture, and steps of it.
_ROWS, _STEPS, _TOLERANCE = 5_000, 100, 1e-5
# How much of what tells components apart is blurred away in the starts that are tried.
_BLURS = 0.95, 0.8, 0.6, 0.45, 0.3, 0.2
# EM comes to the model's division where the adjusted Rand index is at least this.
_SAME_DIVISION = 0.9
# Means that move by less than so many standard deviations within segments show nothing.
_MOVES = 1.0
# Of the places of rows along an axis, how many are left out at each end of the picture, and how
# much wider it is, and how far ellipses of the last iteration reach.
_BEYOND, _WIDER, _REACH = 0.005, 0.04, 1.5
# A component of a smaller share may lie beyond the picture.
_SEEN = 0.005
# Correlations that are kept of an axis, that are said of it, and how many.
_LOADINGS, _SAID, _MOST_SAID = 20, 0.35, 4
# Numbers that a covariance matrix of a wide model may have.
_MOST_ENTRIES = 50_000_000
# Rows a component needs for a covariance of its own, by column.
_ROWS_OF_COLUMN = 5

Way = Literal["of the fit", "again from a blurred start", "none"]


@dataclass(frozen=True)
class _Frame:
    """Parameters, in the user's units and the model's order, and how they came about."""

    number: int
    kind: str
    rows: int | None
    mean_log_likelihood: float | None
    parameters: Parameters


@dataclass(frozen=True)
class _Way:
    frames: list[_Frame]
    whose: Way
    words: str


def segment_map(
    model: GaussianMixtureModel,
    rows: SampledRows,
    originals: Mapping[str, str],
    noun: str,
    *,
    points: bool = True,
) -> tuple[SegmentMap | None, str | None]:
    """The map, or why there is none.

    Parameters
    ----------
    rows : what points are taken from, the first of them, and EM is run on again
    originals : by columns that the model reads those they were prepared from
    points : whether there are any
    """
    if is_too_wide(model.parameters):
        return None, "there is no map: the model has too many columns for one"
    try:
        pictured = _pictured(model, rows)
        axes = discriminants(pictured, _clusters(model))
    except (np.linalg.LinAlgError, InputDataError):
        axes = None  # moments that overflow, and rows too few for what all rows bear
    if axes is None:
        return None, (
            "there is no map: the model's columns vary in one direction alone, or in one so much "
            "that the others are lost in its rounding"
        )
    at = positions(rows.block, model.parameters, central(model.parameters), axes)
    if not np.isfinite(at).all():
        return None, "there is no map: some rows lie too far from all others"
    way = _way(model, rows, pictured, axes, noun)
    segment_of = {j: s for s, cluster in enumerate(model.clusters) for j in cluster}
    iterations = [_iteration(frame, axes, segment_of) for frame in way.frames]
    shown = min(MOST_POINTS, rows.size)
    bounds = [_bounds(at[axis], iterations[-1].ellipses, axis) for axis in range(2)]
    return SegmentMap(
        axes=[_axis(model, originals, axes, axis, bounds[axis]) for axis in range(2)],
        share=axes.share,
        points=[
            Point(
                x=round(float(x), 2),
                y=round(float(y), 2),
                segment=int(segment),
                probability=round(float(probability), 3),
            )
            for (x, y), segment, probability in zip(
                at.T[:shown], rows.segment[:shown], rows.probability[:shown], strict=True
            )
            if points
        ],
        sampled=f"{shown:,} of {rows.of:,} {noun}, chosen by hashes of their content"
        if points
        else f"no {noun}, as was asked for",
        iterations=iterations,
        way=way.whose,
        way_words=way.words,
    ), None


def map_of_parameters(
    model: GaussianMixtureModel, columns: tuple[str, str] | None = None
) -> SegmentMap:
    """The map of a model without rows, with the iterations of its fit.

    Parameters
    ----------
    columns : numbers or counts of the model that are the axes, in their own units; None for the
        axes of `segment_map`

    Raises ConfigurationError where there is no such column, or no plane to draw in.
    """
    parameters, who = model.parameters, "plot.ellipses"
    if is_too_wide(parameters):
        raise ConfigurationError(f"{who}: the model has too many columns for it")
    axes = discriminants(parameters, _clusters(model)) if columns is None else None
    if columns is not None:
        axes = _along_columns(model, columns, who)
    if axes is None:
        raise ConfigurationError(
            f"{who}: the model's columns vary in one direction alone, there is no plane to draw in"
        )
    own = [one for one in _of_the_fit(model) if one.parameters.k == parameters.k]
    frames = _thinned(own, axes) or [_Frame(0, "model", None, None, parameters)]
    segment_of = {j: s for s, cluster in enumerate(model.clusters) for j in cluster}
    iterations = [_iteration(frame, axes, segment_of) for frame in frames]
    shown = iterations[-1].ellipses
    places = np.array([[one.x, one.y] for one in shown])
    bounds = [_bounds(places[:, axis], shown, axis) for axis in range(2)]
    if columns is None:
        drawn = [_axis(model, {}, axes, axis, bounds[axis]) for axis in range(2)]
    else:
        drawn = [
            Axis(words=f"more: {name}", separation=0.0, low=low, high=high, loadings=[])
            for name, (low, high) in zip(columns, bounds, strict=True)
        ]
    return SegmentMap(
        axes=drawn,
        share=axes.share,
        points=[],
        sampled="no rows",
        iterations=iterations,
        way="of the fit" if own else "none",
        way_words="",
    )


def is_too_wide(parameters: Parameters) -> bool:
    """Whether covariances of all coordinates would take too much memory."""
    size = sum(family.num_parameters for family in parameters.families)
    return parameters.k * (parameters.d + size) ** 2 > _MOST_ENTRIES


def _along_columns(model: GaussianMixtureModel, columns: tuple[str, str], who: str) -> Axes:
    """Two columns as axes, in their own units; nothing is said of how far apart segments are."""
    known = [column if value is None else None for column, value, *_ in _coordinates(model, {})]
    for name in columns:
        if name not in known:
            listed = few([one for one in known if one is not None])
            raise ConfigurationError(
                f"{who}: there is no column of numbers or counts {name!r} in the model; there are "
                f"{listed}"
            )
    directions = np.zeros((len(known), 2))
    directions[[known.index(name) for name in columns], [0, 1]] = 1.0
    return Axes(np.zeros(len(known)), directions, np.zeros(directions.shape), np.zeros(2), 1.0)


def _clusters(model: GaussianMixtureModel) -> Partition:
    return tuple(tuple(cluster) for cluster in model.clusters)


def _pictured(model: GaussianMixtureModel, rows: SampledRows) -> Parameters:
    """The parameters that are drawn: the model's, but of k-means those of its segments' rows: its
    own only say which centre is nearest."""
    parameters = model.parameters
    if model._origin != KMEANS:
        return parameters
    wanted = _ROWS_OF_COLUMN * parameters.k * parameters.d
    structure = structure_named("full" if rows.size > wanted else "diag")
    spec = replace(spec_of(model).of_size(parameters.k, structure.name), covariance_floor="auto")
    with rows.seen_by(model, spec) as sample:
        labels = np.where(rows.segment < 0, parameters.k, rows.segment)
        found = start_from_groups(sample, labels, parameters.k, spec.structure_for(parameters.d))
        return found.restored(sample.standardisation)


# --- iterations ---------------------------------------------------------------------------


def _way(
    model: GaussianMixtureModel,
    rows: SampledRows,
    pictured: Parameters,
    axes: Axes,
    noun: str,
) -> _Way:
    """The iterations to show: those of the fit where its components moved, else of EM run again
    from a start that is blurred, where that comes back."""
    last = _Frame(0, "model", None, None, pictured)
    if model._is_a_rule:
        how = " whose columns are weighted by the outcome" if model._origin != KMEANS else ""
        return _Way(
            [last],
            "none",
            f"The segments are those of k-means{how}, which no iterations of EM have led to.",
        )
    own = _of_the_fit(model)
    if own and _movement(own, axes) >= _MOVES:
        return _Way(
            _thinned(own, axes),
            "of the fit",
            "The iterations are those of the fit that found the model: steps on a sample, then "
            "passes over all rows.",
        )
    again = _run_again(model, rows)
    if again is not None:
        frames, blur, count = again
        return _Way(
            _thinned(frames, axes),
            "again from a blurred start",
            f"For this picture EM was run again on {count:,} {noun}, from a start in which "
            f"{100 * blur:.0f} % of what tells the components apart was blurred away: it comes "
            "back to the same segments. The last iteration is the model itself.",
        )
    if len(own) > 1:
        return _Way(
            _thinned(own, axes),
            "of the fit",
            "The iterations are those of the fit that found the model, which began close to where "
            "it ended.",
        )
    return _Way([replace(last, kind="model")], "none", "No iterations of EM lead to this model.")


def _of_the_fit(model: GaussianMixtureModel) -> list[_Frame]:
    """The steps that a model keeps; what was taken back is none."""
    if not model.hasSummary:
        return []
    summary, frames = model.summary, list[_Frame]()
    for step in summary.sampleHistory:
        rows = step["rows"]
        frames.append(
            _Frame(
                len(frames),
                step["kind"],
                None if rows is None else abs(rows),
                step["meanLogLikelihood"],
                step["parameters"],
            )
        )
    of_passes = [one for one in summary.history if one["pass"] > 0]
    for one, parameters in zip(of_passes, summary.parameterHistory, strict=False):
        if parameters is not None and one["kind"] != "rejected":
            mean = one["meanLogLikelihood"]
            frames.append(_Frame(len(frames), one["kind"], None, mean, parameters))
    if not frames:
        return []
    if not _are_alike(frames[-1].parameters, model.parameters):
        frames.append(_Frame(len(frames), "model", None, None, model.parameters))
    return frames


def _are_alike(one: Parameters, other: Parameters) -> bool:
    return np.array_equal(one.means, other.means) and np.array_equal(one.weights, other.weights)


def _run_again(
    model: GaussianMixtureModel, rows: SampledRows
) -> tuple[list[_Frame], float, int] | None:
    """Plain EM on some of the rows from the model blurred, as much as it finds back from, how much
    that is, and the number of rows; None where it finds back from none."""
    parameters, part = model.parameters, rows.first(_ROWS)
    spec = spec_of(model).of_size(parameters.k, parameters.structure.name)
    if parameters.k == 1:
        return None
    try:
        with part.seen_by(model, spec) as sample:
            standardised = parameters.standardised(sample.standardisation)
            for blur in _BLURS:
                found = _from_start(sample, blurred(standardised, blur))
                if found is not None and _is_same(model, sample, found):
                    return _frames(model, sample, found), blur, part.size
    except InputDataError:
        pass  # a few rows may not bear what all do
    return None


def _from_start(sample: Sample, start: Parameters) -> em.Fit | None:
    """Plain EM from a start; None where that is singular."""
    problem = em.Problem(
        sample.standardisation,
        sample.floor,
        tol=_TOLERANCE,
        max_iter=_STEPS,
        has_missing=sample.gaps,
        prior=sample.prior_of(start.k),
    )
    try:
        return em.fit(sample.run_pass, start, problem)
    except (SingularCovarianceError, FloatingPointError):
        return None


def _is_same(model: GaussianMixtureModel, sample: Sample, found: em.Fit) -> bool:
    """Whether EM came to the model's segments."""
    clusters, standardised = _clusters(model), model.parameters.standardised(sample.standardisation)
    theirs, ours = (
        probabilities(one, clusters, sample).argmax(axis=0)
        for one in (standardised, found.parameters)
    )
    return adjusted_rand_index(theirs, ours) >= _SAME_DIVISION


def _frames(model: GaussianMixtureModel, sample: Sample, found: em.Fit) -> list[_Frame]:
    """The steps of a fit, and the model after them."""
    frames = [
        _Frame(
            record.number - 1,
            "start" if record.number == 1 else record.kind,
            sample.num_rows,
            record.mean_log_likelihood,
            record.parameters.restored(sample.standardisation),
        )
        for record in found.history
    ]
    return [*frames, _Frame(len(frames), "model", None, None, model.parameters)]


def _movement(frames: Sequence[_Frame], axes: Axes) -> float:
    """How far a component's mean is from where it began, on the map, at most."""
    first, last = (ellipses(frames[place].parameters, axes) for place in (0, -1))
    if len(first.means) != len(last.means):
        return 0.0
    return float(np.linalg.norm(last.means - first.means, axis=1).max())


def _thinned(frames: Sequence[_Frame], axes: Axes) -> list[_Frame]:
    """At most so many as are shown, the first and the last among them: closer to one another
    where components move more."""
    if len(frames) <= MOST_ITERATIONS:
        return list(frames)
    means = np.array([ellipses(frame.parameters, axes).means for frame in frames])
    moved = np.linalg.norm(np.diff(means, axis=0), axis=2).max(axis=1)
    along = np.concatenate([[0.0], np.cumsum(moved)])
    steps = np.arange(len(frames)) / (len(frames) - 1)
    along = along / along[-1] if along[-1] > 0 else steps
    places = evenly(((along + steps) * 1e6).astype(int).tolist(), MOST_ITERATIONS)
    return [frames[place] for place in places]


def _iteration(frame: _Frame, axes: Axes, segment_of: Mapping[int, int]) -> Iteration:
    found = ellipses(frame.parameters, axes)
    return Iteration(
        number=frame.number,
        kind=frame.kind,
        rows=frame.rows,
        mean_log_likelihood=finite(frame.mean_log_likelihood),
        ellipses=[
            Ellipse(
                component=j,
                segment=segment_of[j],
                weight=min(1.0, float(found.weights[j])),
                x=float(x),
                y=float(y),
                a=float(factor[0, 0]),
                b=float(factor[1, 0]),
                c=float(factor[1, 1]),
            )
            for j, ((x, y), factor) in enumerate(zip(found.means, found.factors, strict=True))
        ],
    )


# --- axes ---------------------------------------------------------------------------------


def _bounds(at: Array, shown: Sequence[Ellipse], axis: int) -> tuple[float, float]:
    """Where the picture begins and ends: nearly all rows, and the ellipses."""
    low, high = np.quantile(at, [_BEYOND, 1 - _BEYOND]) if at.size else (0.0, 0.0)
    for one in shown:
        middle = one.x if axis == 0 else one.y
        reach = _REACH * (one.a if axis == 0 else float(np.hypot(one.b, one.c)))
        if one.weight >= _SEEN:
            low, high = min(low, middle - reach), max(high, middle + reach)
    spare = _WIDER * (high - low) or 1.0
    return float(low - spare), float(high + spare)


def _axis(
    model: GaussianMixtureModel,
    originals: Mapping[str, str],
    axes: Axes,
    axis: int,
    bounds: tuple[float, float],
) -> Axis:
    correlations = axes.correlations[:, axis]
    order = np.argsort(-np.abs(correlations), kind="stable")
    named = _coordinates(model, originals)
    loadings = []
    for place in order.tolist():
        column, value, words, is_one_of_two = named[place]
        # Of two values the one that grows along the axis says it all.
        if not (is_one_of_two and correlations[place] < 0):
            correlation = float(np.clip(correlations[place], -1, 1))
            loadings.append(
                Loading(column=column, value=value, words=words, correlation=correlation)
            )
    return Axis(
        words=_said(loadings),
        separation=max(0.0, float(axes.separation[axis])),
        low=bounds[0],
        high=bounds[1],
        loadings=loadings[:_LOADINGS],
    )


def _coordinates(
    model: GaussianMixtureModel, originals: Mapping[str, str]
) -> list[tuple[str, str | None, str, bool]]:
    """What the coordinates of the axes are: column, value, words, whether it is one of two."""
    features = model.getFeaturesCol()
    numbers = model._input_columns() or [f"{features}[{i}]" for i in range(model.numFeatures)]
    found: list[tuple[str, str | None, str, bool]] = [
        (name, None, readable(originals.get(name, name)), False) for name in numbers
    ]
    for columns in model._family_columns():
        levels = [list(one.levels) for one in columns.categories] or [[]] * len(columns.names)
        for name, values in zip(columns.names, levels, strict=True):
            original = originals.get(name, name)
            if not values:
                found.append((name, None, readable(original), False))
            found += [
                (name, value, value_words(original, value, values), len(values) == 2)
                for value in values
            ]
    return found


def _said(loadings: Sequence[Loading]) -> str:
    """What an axis is made of, in a line."""
    more, less, columns = list[str](), list[str](), set[str]()
    for place, one in enumerate(loadings):
        is_said = abs(one.correlation) >= _SAID or place == 0
        if is_said and one.column not in columns and len(columns) < _MOST_SAID:
            columns.add(one.column)
            (more if one.correlation > 0 else less).append(one.words)
    parts = [f"{word}: {', '.join(of)}" for word, of in (("more", more), ("less", less)) if of]
    return "; ".join(parts)
