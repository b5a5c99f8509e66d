"""The way that the parameters of a fit took, as a summary reports it and a saved model keeps it.

First come the steps on the sample that led to the start, then the passes over all the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.initialisation.path import Path, evenly, num_bytes
from gmm_spark.mixture.parameters import Parameters, Standardisation

if TYPE_CHECKING:
    from gmm_spark.mixture.em import Fit

# Of the table that is saved; arrays are flat, their shapes are in the metadata.
SCHEMA = (
    "stage string, number int, round int, kind string, rows bigint, meanLogLikelihood double, "
    "weights array<double>, means array<double>, covariances array<double>, "
    "families array<array<double>>, noiseWeight double"
)
_FIGURES = "number", "round", "kind", "rows"
_ARRAYS = "weights", "means", "covariances"
# Bytes of parameters that are saved at most: under 2 MB with what stands around them.
_MOST_BYTES = 1_900_000


def sample_history(
    path: Path, fit: Fit, by: Standardisation, order: NDArray[np.intp]
) -> list[dict[str, Any]]:
    """A dictionary for every step on the sample, in the user's units, components in `order`.

    A start that was given took none: its parameters are all there is.
    """
    if path.length == 0:
        start = fit.history[0].parameters
        return [_step(0, 0, "start", None, None, start.restored(by).taken(order))]
    return [
        _step(
            step.number,
            step.round,
            step.kind,
            step.rows,
            step.mean_log_likelihood,
            step.parameters.restored(by).taken(order),
        )
        for step in path.steps
    ]


def _step(
    number: int,
    of_round: int,
    kind: str,
    rows: int | None,
    mean_log_likelihood: float | None,
    parameters: Parameters,
) -> dict[str, Any]:
    return {
        "step": number,
        "round": of_round,
        "kind": kind,
        "rows": rows,
        "meanLogLikelihood": mean_log_likelihood,
        "parameters": parameters,
    }


def written(
    steps: Sequence[dict[str, Any]],
    passes: Sequence[Parameters | None],
    history: Sequence[dict[str, Any]],
) -> tuple[list[tuple[Any, ...]], dict[str, Any] | None]:
    """Rows of `SCHEMA`, and what they are of, for the metadata; none where no parameters are kept.

    Where all of them would take more than 2 MB, some are left out, as evenly as can be: the first
    and the last stay. Where not even one is that small, there are none.

    Parameters
    ----------
    steps, passes, history : `sampleHistory`, `parameterHistory` and `history` of a summary
    """
    records = [
        (
            "sample",
            s["step"],
            s["round"],
            s["kind"],
            s["rows"],
            s["meanLogLikelihood"],
            s["parameters"],
        )
        for s in steps
    ]
    of_passes = (entry for entry in history if entry["pass"] > 0)
    records += [
        ("pass", h["pass"], None, h["kind"], None, h["meanLogLikelihood"], parameters)
        for h, parameters in zip(of_passes, passes, strict=False)
        if parameters is not None
    ]
    room = _MOST_BYTES // max(1, num_bytes(records[0][-1])) if records else 0
    if room == 0:
        return [], None
    kept = [records[place] for place in evenly(range(len(records)), room)]
    first: Parameters = kept[0][-1]
    shapes = {name: list(np.shape(getattr(first, name))) for name in _ARRAYS}
    described = {"records": len(records), "kept": len(kept), "shapes": shapes}
    return [(*figures, *_flat(parameters)) for *figures, parameters in kept], described


def _flat(parameters: Parameters) -> tuple[Any, ...]:
    noise = parameters.noise
    arrays = (np.ravel(getattr(parameters, name)).tolist() for name in _ARRAYS)
    families = [np.ravel(values).tolist() for values in parameters.family_parameters]
    return (*arrays, families, None if noise is None else noise.weight)


def read(
    rows: Iterable[Any], described: dict[str, Any], model: Parameters, num_passes: int
) -> tuple[list[dict[str, Any]], list[Parameters | None]]:
    """`sampleHistory` and `parameterHistory` of what `written` made rows of; the structure, the
    categories and the range of the noise are the model's."""
    steps: list[dict[str, Any]] = []
    passes: list[Parameters | None] = [None] * num_passes
    for row in sorted(rows, key=lambda row: (row["stage"] == "pass", row["number"])):
        parameters = _parameters(row, described["shapes"], model)
        if row["stage"] == "pass":
            passes[row["number"] - 1] = parameters
        else:
            number, of_round, kind, rows_of = (row[name] for name in _FIGURES)
            mean = row["meanLogLikelihood"]
            steps.append(_step(number, of_round, kind, rows_of, mean, parameters))
    return steps, passes


def _parameters(row: Any, shapes: dict[str, list[int]], model: Parameters) -> Parameters:
    weights, means, covariances = (
        np.array(row[name], dtype=float).reshape(shapes[name]) for name in _ARRAYS
    )
    families = tuple(
        np.array(values, dtype=float).reshape(model.k, family.num_parameters)
        for family, values in zip(model.families, row["families"], strict=True)
    )
    noise = model.noise
    if noise is not None and row["noiseWeight"] is not None:
        noise = replace(noise, weight=row["noiseWeight"])
    return Parameters(model.structure, weights, means, covariances, model.families, families, noise)
