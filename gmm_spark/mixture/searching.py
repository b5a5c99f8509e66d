"""The search for a start: many starts on a sample at once, the best goes on, then moves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat

from gmm_spark.mixture.candidates import Candidate, Sample, advance, ranked
from gmm_spark.mixture.fitting import fit
from gmm_spark.mixture.kernel import SingularCovarianceError
from gmm_spark.mixture.moving import improved
from gmm_spark.mixture.parameters import Parameters, Structure
from gmm_spark.mixture.starting import InitMode, require_distinct_rows, starting_values

# Rows of the first round, at least, and for every coordinate of a mean.
_FIRST_ROWS = 8192
_FIRST_ROWS_PER_COORDINATE = 10
# Rounds: steps of EM, and on how many times the rows of the first; the last repeats.
_ROUNDS = ((6, 1), (8, 1), (12, 2), (20, 2))
_CLIMB_STEPS = 300


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
) -> Parameters:
    """The best of `num_init` starts, advanced by EM on the sample, in standardised coordinates.

    All starts advance stacked in one kernel; after every round those in one basin are counted as
    one and the better half goes on, on twice as many rows. Where there was a choice, moves of
    single components then look for a better optimum (`moving`), and the winner is climbed on the
    whole sample. Spurious mixtures give way to sound ones (`candidates.soundness`).

    Parameters
    ----------
    seed : the same sample and seed give the same start
    given : starts that are tried beside these, in standardised coordinates

    Raises InputDataError where the sample has fewer distinct rows than k, and
    SingularCovarianceError where every start is singular.
    """
    require_distinct_rows(sample.values, k)
    rows = min(sample.num_rows, max(_FIRST_ROWS, _FIRST_ROWS_PER_COORDINATE * k * sample.d))
    shown = sample.first(rows)
    starts = (
        starting_values(shown, k, structure, init_mode, index, seed) for index in range(num_init)
    )
    candidates = [Candidate(start) for start in (*given, *starts) if start is not None]
    rounds = chain(_ROUNDS, repeat(_ROUNDS[-1]))
    while len(candidates) > 1:
        steps, factor = next(rounds)
        part = sample.first(factor * rows)
        # Scores of earlier rounds are of other rows: not to be compared with.
        fresh = [Candidate(c.parameters) for c in candidates]
        candidates = ranked(part, advance(part, fresh, steps=steps, tol=tol))
        candidates = candidates[: max(1, len(fresh) // 2)]
    if not candidates:
        raise SingularCovarianceError(0)
    best = candidates[0]
    if k > 1 and num_init + len(given) > 1:
        best = improved(best, sample, (rows, 2 * rows, 4 * rows))
    climbed = fit(
        sample.run_pass,
        best.parameters,
        sample.standardisation,
        floor=sample.floor,
        tol=tol,
        max_iter=_CLIMB_STEPS,
        acceleration="anderson",
    )
    return climbed.parameters
