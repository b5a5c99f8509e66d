"""Choosing the number of components and the covariance structure.

Every cell of the grid is fitted on a sample first. What its criterion would be on all the rows is
estimated from other rows of the sample, with the error of the estimate; only cells that may win
go on to the full data, where they share scans. The likelihood of rows a fit has not seen is too
low by p / (2 m) a row, with p parameters from m rows (Akaike 1974), but that of rows it has seen
may be too high by far more: components that only fit chance would win.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from gmm_spark.mixture.candidates import (
    InProcess,
    Sample,
    SampleExecutor,
    log_densities,
    log_joint_densities,
)
from gmm_spark.mixture.errors import DataError
from gmm_spark.mixture.moving import grown
from gmm_spark.mixture.parameters import Array, Parameters, Structure
from gmm_spark.mixture.searching import search
from gmm_spark.mixture.starting import InitMode
from gmm_spark.mixture.whitening import SingularCovarianceError

Criterion = Literal["bic", "aic", "icl", "heldout"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)

# Rows of the sample that the grid is fitted on, and how finely, and its share where some of the
# rows there are have to be held out.
_GRID_ROWS = 65_536
_GRID_TOL = 1e-5
_FITTED_SHARE = 0.75
# Fresh starts of a cell: a quarter of a single fit's, since it also starts from its neighbour.
_FRESH_SHARE = 4
_GROWN = 8
# Cells whose estimate is so many standard errors behind the best cannot win.
_ERRORS = 3.0
_FINALISTS = 3


@dataclass(frozen=True)
class Cell:
    """A number of components and a structure, as fitted on the sample."""

    k: int
    structure: Structure
    parameters: Parameters | None  # standardised; None where it cannot be fitted
    criterion: float  # estimated for all the rows, lower is better
    error: float  # standard error of its difference to the best
    mean_log_likelihood: float  # estimated likewise, in the user's units
    problem: str = ""
    pessimism: float = 0.0  # what the estimate has too much, to first order
    exact: bool = False  # the sample is all the rows, and was fitted on and judged by


def penalised(
    criterion: Criterion, log_likelihood: float, log_assignment: float, p: int, weight: float
) -> float:
    """A criterion, lower is better, from a total log-likelihood, the sum of the log of every
    row's largest responsibility, the number of free parameters and the sum of weights."""
    if criterion == "heldout":
        return -2 * log_likelihood
    if criterion == "aic":
        return -2 * log_likelihood + 2 * p
    penalty = p * float(np.log(weight))
    return -2 * (log_likelihood + (log_assignment if criterion == "icl" else 0.0)) + penalty


def grid(
    samples: Mapping[str, Sample],
    ks: Sequence[int],
    structures: Sequence[Structure],
    criterion: Criterion,
    weight: float,
    *,
    init_mode: InitMode = "k-means",
    num_init: int = 16,
    seed: int = 0,
    tol: float = 1e-6,
    listener: Callable[[Cell], None] | None = None,
    executor_for: Callable[[Sample], SampleExecutor] = InProcess,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Cell]:
    """Every cell fitted on the sample, best first.

    Parameters
    ----------
    samples : by the code of the structure
    weight : of all the rows
    listener : called with every cell; its error is not known yet
    executor_for : who shares out the work on a sample
    tell : called with what is tried, whenever that is something else
    """
    cells: list[Cell] = []
    densities: list[Array] = []
    many = len(structures) * len(set(ks))
    for structure in structures:
        sample = samples[structure.code]
        fitted_on, judged_on = _parted(sample, criterion, weight)
        exact, executor = judged_on is fitted_on, executor_for(fitted_on)
        smaller: Parameters | None = None
        for k in sorted(set(ks)):
            which = f"mixture {len(cells) + 1} of {many}, k = {k}, {structure.name}"
            given = []
            if smaller is not None and smaller.k == k - 1:
                given = grown(smaller, fitted_on.first(8192), _GROWN)
            fresh = num_init if not given else max(1, num_init // _FRESH_SHARE)
            try:
                smaller, *_ = search(
                    fitted_on,
                    k,
                    structure,
                    init_mode=init_mode,
                    num_init=fresh,
                    seed=seed,
                    tol=max(tol, _GRID_TOL),
                    given=given,
                    executor=executor,
                    tell=_telling(tell, which),
                )
                density = _densities(smaller, judged_on, criterion)
            except (DataError, SingularCovarianceError) as error:
                smaller = None
                cells.append(Cell(k, structure, None, np.inf, np.inf, -np.inf, str(error)))
                densities.append(np.full(judged_on.num_rows, -np.inf))
                if listener is not None:
                    listener(cells[-1])
                continue
            expected = float(np.average(density, weights=judged_on.weights))
            p = smaller.num_free_parameters
            total = penalised(criterion, weight * expected, 0.0, p, weight)
            pessimism = 0.0
            if not exact and criterion != "heldout":
                pessimism = p * weight / fitted_on.weight
            if criterion == "icl":
                expected = float(
                    np.average(_densities(smaller, judged_on, "bic"), weights=judged_on.weights)
                )
            cells.append(
                Cell(
                    k,
                    structure,
                    smaller,
                    total,
                    0.0,
                    expected,
                    pessimism=pessimism,
                    exact=exact,
                )
            )
            densities.append(density)
            if listener is not None:
                listener(cells[-1])
    return _with_errors(cells, densities, judged_on.weights, weight)


def _telling(tell: Callable[[str], None], which: str) -> Callable[[str], None]:
    return lambda text: tell(f"{which}: {text}")


def finalists(cells: Sequence[Cell], sampled: bool) -> list[Cell]:
    """The likeliest of those that may win, three at most, of cells sorted; the first alone where
    the sample is all the rows."""
    usable = [cell for cell in cells if cell.parameters is not None]
    if not sampled:
        return usable[:1]

    def may_win(cell: Cell) -> bool:
        behind = cell.criterion - usable[0].criterion
        slack = max(0.0, cell.pessimism - usable[0].pessimism)
        return behind <= _ERRORS * cell.error + slack

    return [cell for cell in usable if may_win(cell)][:_FINALISTS]


def _parted(sample: Sample, criterion: Criterion, weight: float) -> tuple[Sample, Sample]:
    """The rows to fit on, and others to judge on; the same where they are all there are."""
    everything = sample.num_rows <= _GRID_ROWS and sample.weight >= weight * (1 - 1e-9)
    if everything and criterion != "heldout":
        return sample, sample
    cut = min(_GRID_ROWS, int(_FITTED_SHARE * sample.num_rows))
    return sample.first(cut), sample.between(cut, cut + _GRID_ROWS)


def _densities(parameters: Parameters, sample: Sample, criterion: Criterion) -> Array:
    """What the criterion sums over rows, (n,): the log density in the user's units, and for icl
    the log of the largest responsibility."""
    if criterion == "icl":
        found = log_joint_densities(parameters, sample).max(axis=0)
    else:
        found = log_densities(parameters, sample)
    return np.asarray(found - sample.standardisation.log_volume)


def _with_errors(
    cells: list[Cell], densities: list[Array], weights: Array | None, weight: float
) -> list[Cell]:
    """The cells with the standard errors of their differences to the best, which is first.

    `densities` are of rows of weight 1 or `weights`, the same for all; `weight` is that of all
    rows they are a sample of.
    """
    order = sorted(range(len(cells)), key=lambda i: (cells[i].criterion, cells[i].k))
    best = densities[order[0]]
    found = []
    for index in order:
        cell, error = cells[index], np.inf
        if cell.parameters is not None:
            difference = densities[index] - best
            error = 2 * weight * _standard_error(difference, weights)
        found.append(replace(cell, error=error))
    return found


def _standard_error(values: Array, weights: Array | None) -> float:
    """Of the mean of values (n,), of weight 1 or `weights`."""
    if weights is None:
        return float(values.std()) / float(np.sqrt(values.size))
    deviations = weights * (values - np.average(values, weights=weights))
    return float(np.sqrt((deviations**2).sum()) / weights.sum())
