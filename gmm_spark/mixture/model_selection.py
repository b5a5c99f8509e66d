"""Choosing the number of components and the covariance structure.

Every mixture of the grid is fitted on a sample first. What its criterion would be on all the rows
is estimated from other rows of the sample, with the error of the estimate; only those that may win
go on to the full data, where they share scans. The likelihood of rows a fit has not seen is too
low by p / (2 m) a row, with p parameters from m rows (Akaike 1974), but that of rows it has seen
may be too high by far more: components that only fit chance would win.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.arrays import from_arrays, to_arrays
from gmm_spark.mixture.errors import DataError, SingularCovarianceError
from gmm_spark.mixture.initialisation import multistart as multistart
from gmm_spark.mixture.initialisation.candidates import (
    InProcess,
    Sample,
    SampleExecutor,
    log_densities,
    log_joint_densities,
)
from gmm_spark.mixture.initialisation.multistart import SearchState, Tell
from gmm_spark.mixture.initialisation.path import Path
from gmm_spark.mixture.initialisation.split_merge import grown
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.spec import Criterion, InitMode
from gmm_spark.mixture.structures import Structure

# Rows of the sample that the grid is fitted on, and how finely, and its share where some of the
# rows there are have to be held out.
_GRID_ROWS = 65_536
_GRID_TOL = 1e-5
_FITTED_SHARE = 0.75
# Fresh starts of a mixture: a quarter of a single fit's, since it also starts from its neighbour.
_FRESH_SHARE = 4
_GROWN = 8
# What is so many standard errors behind the best by its estimate cannot win.
_ERRORS = 3.0
_FINALISTS = 3


@dataclass(frozen=True)
class GridCandidate:
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
    path: Path = field(default_factory=Path)  # that the parameters took
    rivals: tuple[Parameters, ...] = ()  # other optima that the sample cannot tell from it


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


@dataclass(frozen=True)
class GridState:
    """What has been found so far of a grid of mixtures, between two rounds of its searches.

    structures, ks : of the grid; for every structure, every k in turn
    criterion : by which the mixtures are compared
    weight : of all the rows that the sample is of
    init_mode, num_init, seed, tol : of the searches
    candidates : mixtures that are done, in their order; their errors are not known yet
    densities : (n,) of every one of them, what the criterion sums over the rows it is judged by
    search : of the mixture that is next, None before it has begun
    """

    structures: tuple[Structure, ...]
    ks: tuple[int, ...]
    criterion: Criterion
    weight: float
    init_mode: InitMode
    num_init: int
    seed: int
    tol: float
    candidates: tuple[GridCandidate, ...] = ()
    densities: tuple[Array, ...] = ()
    search: SearchState | None = None

    @property
    def size(self) -> int:
        """Mixtures of the grid."""
        return len(self.structures) * len(self.ks)

    @property
    def finished(self) -> bool:
        return len(self.candidates) == self.size

    @property
    def next(self) -> tuple[Structure, int]:
        """The mixture that is next."""
        place, number = divmod(len(self.candidates), len(self.ks))
        return self.structures[place], self.ks[number]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The whole state as arrays, as numpy.savez takes them."""
        return to_arrays(self)

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> GridState:
        """The state that these arrays, a dictionary or what numpy.load gives, were made from."""
        return from_arrays(GridState, arrays)


def grid(
    samples: Mapping[str, Sample],
    ks: Sequence[int],
    structures: Sequence[Structure],
    criterion: Criterion,
    weight: float,
    *,
    listener: Callable[[GridCandidate], None] = lambda candidate: None,
    executor_for: Callable[[Sample], SampleExecutor] = InProcess,
    tell: Tell = lambda text: None,
    **options: Any,
) -> list[GridCandidate]:
    """Every mixture of the grid fitted on the sample, best first.

    Parameters
    ----------
    samples : by the code of the structure
    listener : called with every mixture that is done; its error is not known yet
    executor_for : makes what shares out the work on a sample
    tell : called with what is tried, whenever that is something else
    options : of the searches, as for `start`
    """
    state = start(ks, structures, criterion, weight, **options)
    return result(run(state, samples, executor_for, tell, listener=listener), samples)


def start(
    ks: Sequence[int],
    structures: Sequence[Structure],
    criterion: Criterion,
    weight: float,
    *,
    init_mode: InitMode = "k-means",
    num_init: int = 16,
    seed: int = 0,
    tol: float = 1e-6,
) -> GridState:
    """The state before the first search; `weight` is that of all the rows."""
    return GridState(
        tuple(structures),
        tuple(sorted(set(ks))),
        criterion,
        weight,
        init_mode,
        num_init,
        seed,
        max(tol, _GRID_TOL),
    )


def run(
    state: GridState,
    samples: Mapping[str, Sample],
    executor_for: Callable[[Sample], SampleExecutor] = InProcess,
    tell: Tell = lambda text: None,
    *,
    listener: Callable[[GridCandidate], None] = lambda candidate: None,
    on_round: Callable[[GridState], None] = lambda state: None,
) -> GridState:
    """The state in which the whole grid is done. After every round `on_round` is called with the
    state then, and `listener` with every mixture that is done."""
    executors: dict[str, SampleExecutor] = {}
    while not state.finished:
        structure, _ = state.next
        if structure.code not in executors:
            executors[structure.code] = executor_for(_parted(samples[structure.code], state)[0])
        before = len(state.candidates)
        state = advance(state, samples, executors[structure.code], tell)
        for candidate in state.candidates[before:]:
            listener(candidate)
        on_round(state)
    return state


def advance(
    state: GridState,
    samples: Mapping[str, Sample],
    executor: SampleExecutor | None = None,
    tell: Tell = lambda text: None,
) -> GridState:
    """One round of the search for the mixture that is next; its starts are made before the first,
    and after the last it is judged. A pure function of the state and the samples.

    Parameters
    ----------
    samples : by the code of the structure, those of the rounds before
    executor : shares out the work on the rows that are fitted on. None does all here.
    tell : called with what is tried, whenever that is something else
    """
    if state.finished:
        return state
    structure, k = state.next
    fitted_on, judged_on = _parted(samples[structure.code], state)
    which = f"mixture {len(state.candidates) + 1} of {state.size}, k = {k}, {structure.name}"
    telling = _telling(tell, which)
    try:
        search = state.search or _begun(state, fitted_on, telling)
        search = multistart.advance(search, fitted_on, executor, telling)
        if not search.finished:
            return replace(state, search=search)
        best, *rivals = multistart.result(search)
        found, density = _judged(best.parameters, fitted_on, judged_on, state)
        others = tuple(rival.parameters for rival in rivals)
        found = replace(found, path=best.path, rivals=others)
    except (DataError, SingularCovarianceError) as error:
        found = GridCandidate(k, structure, None, np.inf, np.inf, -np.inf, str(error))
        density = np.full(judged_on.num_rows, -np.inf)
    return replace(
        state,
        candidates=(*state.candidates, found),
        densities=(*state.densities, density),
        search=None,
    )


def result(state: GridState, samples: Mapping[str, Sample]) -> list[GridCandidate]:
    """The mixtures of a grid that is done, best first, with the errors of their criteria."""
    _, judged_on = _parted(samples[state.structures[-1].code], state)
    return _with_errors(state.candidates, state.densities, judged_on.weights, state.weight)


def _begun(state: GridState, fitted_on: Sample, tell: Tell) -> SearchState:
    """The search for the mixture that is next, with its starts: fewer where it also starts from
    its neighbour."""
    structure, k = state.next
    given: list[Parameters] = []
    if state.candidates:
        before = state.candidates[-1]
        if before.structure == structure and before.k == k - 1 and before.parameters is not None:
            given = grown(before.parameters, fitted_on.first(8192), _GROWN)
    return multistart.start(
        fitted_on,
        k,
        structure,
        init_mode=state.init_mode,
        num_init=state.num_init if not given else max(1, state.num_init // _FRESH_SHARE),
        seed=state.seed,
        tol=state.tol,
        given=given,
        tell=tell,
    )


def _judged(
    parameters: Parameters, fitted_on: Sample, judged_on: Sample, state: GridState
) -> tuple[GridCandidate, Array]:
    """A mixture with its criterion, and what that sums over the rows it is judged by."""
    criterion, weight = state.criterion, state.weight
    exact = judged_on is fitted_on
    density = _densities(parameters, judged_on, criterion)
    expected = float(np.average(density, weights=judged_on.weights))
    p = parameters.num_free_parameters
    total = penalised(criterion, weight * expected, 0.0, p, weight)
    pessimism = 0.0
    if not exact and criterion != "heldout":
        pessimism = p * weight / fitted_on.weight
    if criterion == "icl":
        expected = float(
            np.average(_densities(parameters, judged_on, "bic"), weights=judged_on.weights)
        )
    found = GridCandidate(
        parameters.k,
        parameters.structure,
        parameters,
        total,
        0.0,
        expected,
        pessimism=pessimism,
        exact=exact,
    )
    return found, density


def _telling(tell: Tell, which: str) -> Tell:
    return lambda text: tell(f"{which}: {text}")


def finalists(candidates: Sequence[GridCandidate], sampled: bool) -> list[GridCandidate]:
    """The likeliest of those that may win, three at most, of candidates sorted; the first alone
    where the sample is all the rows."""
    usable = [candidate for candidate in candidates if candidate.parameters is not None]
    if not sampled:
        return usable[:1]

    def may_win(candidate: GridCandidate) -> bool:
        behind = candidate.criterion - usable[0].criterion
        slack = max(0.0, candidate.pessimism - usable[0].pessimism)
        return behind <= _ERRORS * candidate.error + slack

    return [candidate for candidate in usable if may_win(candidate)][:_FINALISTS]


def _parted(sample: Sample, state: GridState) -> tuple[Sample, Sample]:
    """The rows to fit on, and others to judge on; the same where they are all there are."""
    everything = sample.num_rows <= _GRID_ROWS and sample.weight >= state.weight * (1 - 1e-9)
    if everything and state.criterion != "heldout":
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
    candidates: Sequence[GridCandidate],
    densities: Sequence[Array],
    weights: Array | None,
    weight: float,
) -> list[GridCandidate]:
    """The candidates with the standard errors of their differences to the best, which is first.

    `densities` are of rows of weight 1 or `weights`, the same for all; `weight` is that of all
    rows they are a sample of.
    """
    order = sorted(range(len(candidates)), key=lambda i: (candidates[i].criterion, candidates[i].k))
    best = densities[order[0]]
    found = []
    for index in order:
        candidate, error = candidates[index], np.inf
        if candidate.parameters is not None:
            difference = densities[index] - best
            error = 2 * weight * _standard_error(difference, weights)
        found.append(replace(candidate, error=error))
    return found


def _standard_error(values: Array, weights: Array | None) -> float:
    """Of the mean of values (n,), of weight 1 or `weights`."""
    if weights is None:
        return float(values.std()) / float(np.sqrt(values.size))
    deviations = weights * (values - np.average(values, weights=weights))
    return float(np.sqrt((deviations**2).sum()) / weights.sum())
