"""Several fits that share every scan of the data, as one value; what cannot win is pruned.

A fit is pruned before a scan where it would stay behind the best even if it gained sixty times
what its last pass did. Like a single fit (`em`), all of them together can be written after any
scan, read elsewhere and gone on with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from gmm_spark.mixture import em
from gmm_spark.mixture.arrays import from_arrays, to_arrays
from gmm_spark.mixture.em import Fit, FitState, Problem
from gmm_spark.mixture.natural import Evaluator
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.statistics import Statistics

# A fit may hope to gain so many times what its last pass gained.
STEPS_AHEAD = 60


@dataclass(frozen=True)
class MultiFit:
    """Several fits between two scans, and which of them are pruned."""

    fits: tuple[FitState, ...]
    pruned: tuple[bool, ...]

    @property
    def last_scan(self) -> list[int]:
        """The fits that took part in the last scan: every scan is a pass of all that go on."""
        scans = max(len(fit.history) for fit in self.fits)
        return [i for i, fit in enumerate(self.fits) if scans and len(fit.history) == scans]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The whole state as named arrays, as numpy.savez takes them."""
        return to_arrays(self)

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> MultiFit:
        """The state that these arrays were made from; ValueError where they are of another
        release."""
        return from_arrays(MultiFit, arrays)


def start(starts: Sequence[Parameters], problems: Sequence[Problem]) -> MultiFit:
    """The state before the first scan, of a fit from each of the starts."""
    fits = tuple(em.start(*pair) for pair in zip(starts, problems, strict=True))
    return MultiFit(fits, (False,) * len(fits))


def request(
    state: MultiFit, problems: Sequence[Problem], penalties: Sequence[float]
) -> tuple[MultiFit, dict[int, Evaluator]]:
    """What the next scan is to evaluate, of each fit that goes on, and the state in which the
    others are pruned or have ended.

    `penalties` are taken off the fits' mean log-likelihoods before they are compared.
    """
    fits, evaluators = list(state.fits), {}
    for index, problem in enumerate(problems):
        if not state.pruned[index]:
            fits[index], evaluator = em.requested(fits[index], problem)
            if evaluator is not None:
                evaluators[index] = evaluator
    behind = [index for index in evaluators if _cannot_win(index, fits, penalties)]
    pruned = tuple(was or index in behind for index, was in enumerate(state.pruned))
    wanted = {index: asked for index, asked in evaluators.items() if index not in behind}
    return MultiFit(tuple(fits), pruned), wanted


def _cannot_win(index: int, fits: Sequence[FitState], penalties: Sequence[float]) -> bool:
    standings = {
        i: fit.history[-1].objective - penalties[i] for i, fit in enumerate(fits) if fit.history
    }
    if index not in standings or fits[index].history[-1].gain is None:
        return False
    gain = fits[index].history[-1].gain or 0.0
    return standings[index] + STEPS_AHEAD * max(gain, 0.0) < max(standings.values())


def step(
    state: MultiFit,
    evaluators: Mapping[int, Evaluator],
    statistics: Sequence[Statistics],
    problems: Sequence[Problem],
    seconds: float | None = None,
) -> MultiFit:
    """The state after the scan that answered `request`; `seconds` it took. A pure function."""
    fits = list(state.fits)
    for (index, evaluator), found in zip(evaluators.items(), statistics, strict=True):
        fits[index] = em.step(fits[index], evaluator, found, problems[index], seconds)
    return replace(state, fits=tuple(fits))


def results(state: MultiFit) -> list[Fit | None]:
    """Where the fits have got; None for those that were pruned."""
    pairs = zip(state.fits, state.pruned, strict=True)
    return [None if pruned else em.result(fit) for fit, pruned in pairs]


def run(
    run_passes: Callable[[Sequence[Evaluator]], Sequence[Statistics]],
    state: MultiFit,
    problems: Sequence[Problem],
    penalties: Sequence[float],
    *,
    on_scan: Callable[[MultiFit], None] = lambda state: None,
    seconds: Callable[[], float | None] = lambda: None,
) -> MultiFit:
    """The state in which the last of the fits ends.

    Parameters
    ----------
    run_passes : evaluates several mixtures in one scan of the data
    penalties : as for `request`
    on_scan : called with the state after every scan
    seconds : how long the last scan took, as who answers it has measured
    """
    while True:
        state, evaluators = request(state, problems, penalties)
        if not evaluators:
            return state
        statistics = run_passes(list(evaluators.values()))
        state = step(state, evaluators, statistics, problems, seconds())
        on_scan(state)
