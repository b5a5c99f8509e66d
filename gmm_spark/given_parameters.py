"""Parameters as a user writes them, checked, in the form that a model keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gmm_spark.engine.categories import OTHER
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.families import Categorical, Category, Count, Family, Noise
from gmm_spark.mixture.families.count import MOST_COUNT
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import structure_named


def numbers(name: str, value: Any) -> Array:
    """`value` as an array; ConfigurationError where it is none of numbers."""
    try:
        return np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"mixture parameters: {name} is {_shown(value)}; it must be an array of numbers"
        ) from None


def _shown(value: Any) -> str:
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:57]}..."


def assembled(
    weights: Any,
    means: Any,
    covariances: Any,
    covarianceType: str,
    inputCols: Sequence[str] | None,
    categories: Mapping[str, tuple[Sequence[Any], Any]],
    countCols: Sequence[str],
    rates: Any,
    noiseWeight: float,
    noiseBox: Any,
) -> tuple[Parameters, tuple[Category, ...]]:
    """The mixture, and the values its categories have; see `GaussianMixtureModel.fromParameters`.

    Raises ConfigurationError, which names the first thing that is wrong.
    """
    for name, columns in (("inputCols", inputCols), ("countCols", countCols)):
        if isinstance(columns, str):
            raise ConfigurationError(f"{name} is {columns!r}; it must be a list of column names")
    if not isinstance(categories, Mapping):
        raise ConfigurationError(
            f"categories is {_shown(categories)}; it must be a dictionary of columns, each with "
            "its values and their probabilities"
        )
    pairs = {name: _pair(name, given) for name, given in categories.items()}
    weights = np.atleast_1d(numbers("weights", weights))
    k = weights.shape[0]
    means = np.zeros((k, 0)) if means is None else numbers("means", means)
    d = means.shape[-1] if means.ndim else 0
    if inputCols is not None and len(inputCols) != d:
        raise ConfigurationError(f"inputCols names {len(inputCols)} columns, the means have {d}")
    if d and inputCols is None and (categories or countCols):
        raise ConfigurationError(
            "categories and counts cannot stand beside featuresCol: name the columns of the means "
            "with inputCols"
        )
    names = [*(inputCols or ()), *categories, *countCols]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigurationError(
            f"column {twice} is named twice in inputCols, categories and countCols; name it once"
        )
    structure = structure_named(covarianceType if d else "diag")
    refused = structure.columns_refused(d) if d else None
    if refused:
        raise ConfigurationError(f"mixture parameters: {refused}")
    if d and covariances is None:
        raise ConfigurationError("mixture parameters: there are means, but no covariances")
    spread = numbers("covariances", covariances) if d else np.zeros((k, 0))
    found = tuple(_category(name, given) for name, given in pairs.items())
    tables = [_table(name, given, k) for name, given in pairs.items()]
    given: dict[type[Family], Array] = {
        Categorical: np.concatenate([np.zeros((k, 0)), *tables], axis=1),
        Count: _rates(rates, countCols, k),
    }
    levels, noise = [len(category.levels) for category in found], None
    families = tuple(
        kind.sized(values.shape[1], levels) for kind, values in given.items() if values.shape[1]
    )
    if noiseWeight:
        weight = numbers("noiseWeight", noiseWeight)
        if weight.ndim:
            raise ConfigurationError(f"noiseWeight is {_shown(noiseWeight)}; it must be a number")
        noise = _noise(float(weight), noiseBox, inputCols, d, countCols, families)
        total = float(weights.sum()) + noise.weight
        if not abs(total - 1) <= 1e-6:
            raise ConfigurationError(
                f"mixture parameters: weights sum to {weights.sum():g} and noiseWeight is "
                f"{noise.weight:g}; together they must sum to 1"
            )
    elif noiseBox is not None:
        raise ConfigurationError("noiseBox is given, but noiseWeight is 0; give both or neither")
    parameters = Parameters(
        structure,
        weights,
        means,
        spread,
        families,
        tuple(values for values in given.values() if values.shape[1]),
        noise,
    )
    return parameters.validated(), found


def _pair(name: str, given: Any) -> tuple[list[Any], Any]:
    """The values of a category, and their probabilities."""
    try:
        levels, table = given
        if isinstance(given, Mapping | str) or isinstance(levels, Mapping | str):
            raise TypeError
        return list(levels), table
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"categories: {name!r} is {_shown(given)}; it must be a pair, values and their "
            "probabilities"
        ) from None


def _category(name: str, given: tuple[list[Any], Any]) -> Category:
    levels, _ = given
    if any(level is None for level in levels):
        raise ConfigurationError(
            f"categories: {name!r} has the value None; null is a gap, and no value: leave it out"
        )
    texts = tuple(_as_text(level) for level in levels)
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None or not texts:
        what = "no value" if twice is None else f"the value {twice!r} twice"
        raise ConfigurationError(f"categories: {name!r} has {what}; name each once")
    if OTHER in texts[:-1]:
        raise ConfigurationError(
            f"categories: {name!r} has {OTHER!r} before its last value; it stands for all that "
            "are not named, and comes last"
        )
    return Category(name, texts, other=texts[-1] == OTHER)


def _as_text(level: Any) -> str:
    """A value as the columns' own are compared: True is "true", 3 and 3.0 are "3"."""
    if isinstance(level, bool | np.bool_):
        return str(bool(level)).lower()
    if isinstance(level, float | np.floating) and float(level).is_integer():
        return str(int(level))  # a column of whole numbers, as pandas has it where there are gaps
    return str(level)


def _table(name: str, given: Any, k: int) -> Array:
    table = numbers(f"the table of {name!r}", given[1])
    expected = k, len(given[0])
    if table.shape != expected:
        raise ConfigurationError(
            f"categories: the probabilities of {name!r} have shape {table.shape}, expected "
            f"{expected}: a row a component, a column a value"
        )
    bad = np.flatnonzero(~((table >= 0).all(axis=1) & (np.abs(table.sum(axis=1) - 1) <= 1e-6)))
    if bad.size:
        raise ConfigurationError(
            f"categories: the probabilities of {name!r} in component {bad[0]} are "
            f"{_shown(table[bad[0]].tolist())}; they must be at least 0 and sum to 1"
        )
    return table


def _rates(rates: Any, names: Sequence[str], k: int) -> Array:
    if not names:
        if rates is not None and np.size(rates):
            raise ConfigurationError("rates are given without countCols; name their columns")
        return np.zeros((k, 0))
    if rates is None:
        raise ConfigurationError(f"countCols names {', '.join(names)}, but there are no rates")
    found = numbers("rates", rates)
    if found.shape != (k, len(names)):
        raise ConfigurationError(
            f"rates have shape {found.shape}, expected {(k, len(names))}: a row a component, a "
            "column a count"
        )
    bad = np.argwhere(~((found >= 0) & (found < MOST_COUNT)))
    if bad.size:
        component, place = (int(i) for i in bad[0])
        raise ConfigurationError(
            f"rates: {names[place]!r} has {found[component, place]:g} in component {component}; a "
            "rate is at least 0 and, as counts are, under 2^53"
        )
    return found


def _noise(
    weight: float,
    box: Any,
    inputs: Sequence[str] | None,
    d: int,
    counts: Sequence[str],
    families: Sequence[Family],
) -> Noise:
    if not 0 < weight < 1:
        raise ConfigurationError(f"noiseWeight is {weight:g}; it must be in [0, 1)")
    names = [*(inputs or [f"features[{place}]" for place in range(d)]), *counts]
    if box is None:
        raise ConfigurationError(
            "noiseWeight is given without noiseBox: give the lowest and the highest value of every "
            "numeric column and count"
        )
    if isinstance(box, Mapping):
        differ = sorted({*box} ^ {*names})
        if differ:
            raise ConfigurationError(
                f"noiseBox: {differ[0]!r} is "
                + ("missing" if differ[0] in names else "no numeric column or count of the model")
                + f"; expected {', '.join(names) or 'none'}"
            )
        box = [box[name] for name in names]
    found = numbers("noiseBox", box) if len(names) else np.zeros((0, 2))
    if found.shape != (len(names), 2):
        raise ConfigurationError(
            f"noiseBox has shape {found.shape}, expected {(len(names), 2)}: the lowest and the "
            f"highest value of {', '.join(names)}"
        )
    widths = found[:, 1] - found[:, 0]
    widths[d:] += 1  # counts are whole numbers: how many there are
    bad = np.flatnonzero(~(np.isfinite(widths) & (widths > 0)))
    if bad.size:
        low, high = found[bad[0]]
        raise ConfigurationError(
            f"noiseBox: {names[bad[0]]!r} goes from {low:g} to {high:g}; give the lowest value, "
            "then a higher one"
        )
    # What is told apart is in no box.
    first, ranges = d, []
    for family in families:
        rows = slice(first, first + (0 if family.told_apart else family.num_columns))
        ranges.append(family.range_of(found[rows, 0], found[rows, 1]))
        first = rows.stop
    return Noise(weight, np.log(widths[:d]), found[:d, 0], tuple(ranges))
