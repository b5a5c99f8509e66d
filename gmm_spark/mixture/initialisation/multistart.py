"""The search for a start: many starts on a sample at once, the best goes on, then moves.

    state = start(sample, k, structure)
    while not state.finished:
        state = advance(state, sample)
    result(state)

A state holds all that was found so far: it can be written after any round
(`SearchState.to_arrays`), read elsewhere and gone on from, and the same is found, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from numpy.typing import NDArray

from gmm_spark.mixture.arrays import from_arrays, to_arrays
from gmm_spark.mixture.edges import can_vanish
from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.initialisation.candidates import (
    Candidate,
    InProcess,
    Sample,
    SampleExecutor,
    advance_all,
    log_likelihood_difference,
    ranked,
    run_em_all,
)
from gmm_spark.mixture.initialisation.methods import require_distinct_rows, starting_values
from gmm_spark.mixture.initialisation.split_merge import Moves, try_moves
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.spec import InitMode
from gmm_spark.mixture.structures import Structure

Tell = Callable[[str], None]
Stage = Literal["halving", "moves", "last", "finished"]

# Rows of the first round, at least, and for every coordinate of a mean.
_FIRST_ROWS = 8192
_FIRST_ROWS_PER_COORDINATE = 10
# Rounds: steps of EM, and on how many times the rows of the first; the last repeats.
_ROUNDS = ((6, 1), (8, 1), (12, 2), (20, 2))
# Steps of the last run of EM, at most.
_LAST_STEPS = 300
# How much finer than tol the last steps are where probabilities may go to zero: the likelihood is
# flat near there, and gains stay under tol long before the optimum.
_FLAT_PRECISION = 0.001
# Rivals of the best: how many, and how many standard errors behind.
_RIVALS = 2
_RIVAL_ERRORS = 2.0


def _silent(text: str) -> None:
    """Nobody is told what is tried."""


@dataclass(frozen=True)
class SearchState:
    """What a search has found so far, between two rounds.

    k : components
    tol : gain of the mean log-likelihood under which the last run of EM has converged
    num_starts : that were made or given
    with_moves : whether moves of components follow: there was a choice among starts
    candidates : those that go on, best first; when finished, what was found
    stage : what comes next: "halving" of the candidates, "moves" of the best, "last", a run of EM
        on the whole sample; or "finished"
    rounds : of halving, done
    moves : where the moves have got, None before and after
    """

    k: int
    tol: float
    num_starts: int
    with_moves: bool
    candidates: tuple[Candidate, ...]
    stage: Stage
    rounds: int = 0
    moves: Moves | None = None

    @property
    def finished(self) -> bool:
        return self.stage == "finished"

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The whole state as arrays, as numpy.savez takes them."""
        return to_arrays(self)

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> SearchState:
        """The state that these arrays, a dictionary or what numpy.load gives, were made from."""
        return from_arrays(SearchState, arrays)


def search(
    sample: Sample,
    k: int,
    structure: Structure,
    *,
    executor: SampleExecutor | None = None,
    tell: Tell = _silent,
    **options: Any,
) -> list[Parameters]:
    """The parameters that a whole search finds, best first; its options are those of `start`."""
    begun = start(sample, k, structure, tell=tell, **options)
    return [candidate.parameters for candidate in result(run(begun, sample, executor, tell))]


def start(
    sample: Sample,
    k: int,
    structure: Structure,
    *,
    init_mode: InitMode = "k-means",
    num_init: int = 16,
    seed: int = 0,
    tol: float = 1e-6,
    given: Sequence[Parameters] = (),
    tell: Tell = _silent,
) -> SearchState:
    """The state before the first round: `num_init` starts.

    Parameters
    ----------
    seed : the same sample and seed give the same starts
    given : starts that are tried beside these, in standardised coordinates
    tell : called with what is tried, whenever that is something else

    Raises DataError where the sample has fewer distinct rows than k, and
    SingularCovarianceError where every start is singular.
    """
    require_distinct_rows(sample.values, k)
    shown = sample.first(_first_rows(sample, k))
    if k == 1:
        num_init = 1  # every start would be the same
    tell(f"making {num_init} starts")
    starts = (
        starting_values(shown, k, structure, init_mode, index, seed) for index in range(num_init)
    )
    candidates = [Candidate(start) for start in (*given, *starts) if start is not None]
    with_moves = k > 1 and num_init + len(given) > 1
    state = SearchState(k, tol, len(candidates), with_moves, tuple(candidates), "halving")
    return _after_halving(state)


def run(
    state: SearchState,
    sample: Sample,
    executor: SampleExecutor | None = None,
    tell: Tell = _silent,
    on_round: Callable[[SearchState], None] = lambda state: None,
) -> SearchState:
    """The state in which the search ends. After every round `on_round` is called with the state
    then."""
    while not state.finished:
        state = advance(state, sample, executor, tell)
        on_round(state)
    return state


def advance(
    state: SearchState,
    sample: Sample,
    executor: SampleExecutor | None = None,
    tell: Tell = _silent,
) -> SearchState:
    """One round. A pure function of the state and the sample.

    All starts advance stacked in one kernel; after every round those on their way to the same
    optimum are counted as one and the better half goes on, in the end on twice as many rows.
    Where there was a choice, moves of single components then look for a better optimum
    (`split_merge`), and EM is run on the whole sample from the winner. Mixtures whose likelihood is
    high by chance give way to others (`candidates.robust_score`).

    After the best come those at other optima that the sample cannot tell from it: two at most,
    less than two standard errors behind.

    Parameters
    ----------
    sample : that of the start
    executor : shares out the work where there is much; its sample is `sample`. None does all here.
    tell : called with what is tried, whenever that is something else

    Raises SingularCovarianceError where every candidate has become singular.
    """
    executor = executor or InProcess(sample)
    if state.stage == "halving":
        return _halved(state, sample, executor, tell)
    if state.stage == "moves":
        return _moved(state, sample, executor, tell)
    if state.stage == "last":
        return _settled(state, sample, executor, tell)
    return state


def result(state: SearchState) -> tuple[Candidate, ...]:
    """What a search that has ended found, the best first, each with the path it took."""
    if not state.finished:
        raise ValueError("the search has not ended")
    return state.candidates


def _first_rows(sample: Sample, k: int) -> int:
    """Rows of the first round."""
    return min(sample.num_rows, max(_FIRST_ROWS, _FIRST_ROWS_PER_COORDINATE * k * sample.d))


def _halved(
    state: SearchState, sample: Sample, executor: SampleExecutor, tell: Tell
) -> SearchState:
    """All candidates some steps on, and the better half of them."""
    steps, factor = _ROUNDS[min(state.rounds, len(_ROUNDS) - 1)]
    part = sample.first(factor * _first_rows(sample, state.k))
    tell(f"{len(state.candidates)} of {state.num_starts} starts, {part.num_rows:,} rows")
    # Scores of earlier rounds are of other rows: not to be compared with.
    fresh = [candidate.unscored() for candidate in state.candidates]
    advanced = advance_all(executor, part.num_rows, fresh, steps=steps, tol=state.tol)
    best = ranked(part, advanced)[: max(1, len(fresh) // 2)]
    return _after_halving(replace(state, candidates=tuple(best), rounds=state.rounds + 1))


def _after_halving(state: SearchState) -> SearchState:
    """The state with what comes next."""
    if not state.candidates:
        raise SingularCovarianceError(0)
    if len(state.candidates) > 1:
        return state
    if state.with_moves:
        return replace(state, stage="moves", moves=Moves(state.candidates[0]))
    return replace(state, stage="last")


def _moved(state: SearchState, sample: Sample, executor: SampleExecutor, tell: Tell) -> SearchState:
    """The best after one round of moves."""
    assert state.moves is not None
    moves = try_moves(state.moves, executor, sample, _first_rows(sample, state.k), tell)
    if not moves.finished:
        return replace(state, moves=moves)
    candidates = (moves.candidate, *moves.others)
    return replace(state, candidates=candidates, stage="last", moves=None)


def _settled(
    state: SearchState, sample: Sample, executor: SampleExecutor, tell: Tell
) -> SearchState:
    """The best and its rivals, after EM on the whole sample."""
    best, tol = state.candidates[0], state.tol
    if can_vanish(best.parameters, sample.prior_of(state.k)):
        tol = _FLAT_PRECISION * tol
    tell(f"the best, {sample.num_rows:,} rows")
    settled = run_em_all(executor, sample.num_rows, state.candidates, steps=_LAST_STEPS, tol=tol)
    first, *rest = ranked(sample, settled or [best])
    rivals = [candidate for candidate in rest if _is_rival(candidate, first, sample)]
    return replace(state, candidates=(first, *rivals[:_RIVALS]), stage="finished")


def _is_rival(candidate: Candidate, best: Candidate, sample: Sample) -> bool:
    difference, error = log_likelihood_difference(candidate, best, sample)
    return difference > -_RIVAL_ERRORS * error
