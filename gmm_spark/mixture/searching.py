"""The search for a start: many starts on a sample at once, the best goes on, then moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, repeat

from gmm_spark.mixture.candidates import (
    Candidate,
    InProcess,
    Sample,
    SampleExecutor,
    advance_all,
    climb_all,
    lead,
    ranked,
)
from gmm_spark.mixture.edges import can_vanish
from gmm_spark.mixture.moving import improved
from gmm_spark.mixture.parameters import Parameters, Structure
from gmm_spark.mixture.starting import InitMode, require_distinct_rows, starting_values
from gmm_spark.mixture.whitening import SingularCovarianceError

# Rows of the first round, at least, and for every coordinate of a mean.
_FIRST_ROWS = 8192
_FIRST_ROWS_PER_COORDINATE = 10
# Rounds: steps of EM, and on how many times the rows of the first; the last repeats.
_ROUNDS = ((6, 1), (8, 1), (12, 2), (20, 2))
_CLIMB_STEPS = 300
# How much finer than tol the last steps are where probabilities may go to zero: the likelihood is
# flat near there, and gains stay under tol long before the optimum.
_FLAT_PRECISION = 0.001
# Rivals of the best: how many, and how many standard errors behind.
_RIVALS = 2
_RIVAL_LEAD = 2.0


def search(
    sample: Sample,
    k: int,
    structure: Structure,
    *,
    init_mode: InitMode = "k-means",
    num_init: int = 16,
    seed: int = 0,
    tol: float = 1e-6,
    given: Sequence[Parameters] = (),
    executor: SampleExecutor | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Parameters]:
    """The best of `num_init` starts, advanced by EM on the sample, in standardised coordinates.

    All starts advance stacked in one kernel; after every round those in one basin are counted as
    one and the better half goes on, on twice as many rows. Where there was a choice, moves of
    single components then look for a better optimum (`moving`), and the winner is climbed on the
    whole sample. Spurious mixtures give way to sound ones (`candidates.soundness`).

    After the best come those of other basins that the sample cannot tell from it: two at most,
    less than two standard errors behind.

    Parameters
    ----------
    seed : the same sample and seed give the same start
    given : starts that are tried beside these, in standardised coordinates
    executor : shares out the work where there is much; its sample is `sample`. None does all here.
    tell : called with what is tried, whenever that is something else

    Raises DataError where the sample has fewer distinct rows than k, and
    SingularCovarianceError where every start is singular.
    """
    require_distinct_rows(sample.values, k)
    rows = min(sample.num_rows, max(_FIRST_ROWS, _FIRST_ROWS_PER_COORDINATE * k * sample.d))
    shown = sample.first(rows)
    if k == 1:
        num_init = 1  # every start would be the same
    tell(f"making {num_init} starts")
    starts = (
        starting_values(shown, k, structure, init_mode, index, seed) for index in range(num_init)
    )
    candidates = [Candidate(start) for start in (*given, *starts) if start is not None]
    executor, many = executor or InProcess(sample), len(candidates)
    rounds = chain(_ROUNDS, repeat(_ROUNDS[-1]))
    while len(candidates) > 1:
        steps, factor = next(rounds)
        part = sample.first(factor * rows)
        tell(f"{len(candidates)} of {many} starts, {part.num_rows:,} rows")
        # Scores of earlier rounds are of other rows: not to be compared with.
        fresh = [Candidate(c.parameters) for c in candidates]
        candidates = ranked(part, advance_all(executor, part.num_rows, fresh, steps=steps, tol=tol))
        candidates = candidates[: max(1, len(fresh) // 2)]
    if not candidates:
        raise SingularCovarianceError(0)
    best, others = candidates[0], candidates[1:]
    if k > 1 and num_init + len(given) > 1:
        best, others = improved(best, executor, sample, rows, tell)
    if can_vanish(best.parameters, sample.prior_of(k)):
        tol = _FLAT_PRECISION * tol
    tell(f"the best, {sample.num_rows:,} rows")
    climbed = climb_all(executor, sample.num_rows, [best, *others], steps=_CLIMB_STEPS, tol=tol)
    first, *rest = ranked(sample, climbed or [best])
    rivals = [c for c in rest if _is_rival(c, first, sample)]
    return [c.parameters for c in (first, *rivals[:_RIVALS])]


def _is_rival(candidate: Candidate, best: Candidate, sample: Sample) -> bool:
    difference, error = lead(candidate, best, sample)
    return difference > -_RIVAL_LEAD * error
