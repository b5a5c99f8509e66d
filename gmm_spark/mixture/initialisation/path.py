"""The way that parameters took on a sample, from their start to the best of a search.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gmm_spark.mixture.parameters import Parameters

# Bytes of parameters that a path holds at most, and those that a task sends of one round.
_MOST_BYTES = 2_000_000
_MOST_BYTES_SENT = 250_000


@dataclass(frozen=True)
class SampleStep:
    """Parameters of a fit on a sample, and what they were worth there.

    number : of the step, from 0; numbers are missing where a long path was thinned
    round : of the search, from 0. Within one the rows are the same and the log-likelihood never
        falls (with a prior: with its log density on top); between two it may, since the rows are
        others, or a component was moved.
    kind : how the parameters came about: "start"; "move", a component taken away and another one
        split; "rows", no step, the same parameters on other rows; else as the kind of a pass: "em",
        "accelerated", "lifted", "confirming"
    rows : of the sample that they were evaluated on, its first ones; the last where negative
    mean_log_likelihood : of these rows, in the user's units
    parameters : in standardised coordinates
    """

    number: int
    round: int
    kind: str
    rows: int
    mean_log_likelihood: float
    parameters: Parameters


@dataclass(frozen=True)
class Path:
    """Steps in their order, the first and the last always among them, thinned evenly where their
    parameters would take more than 2 MB; none where those of one step would.

    length, rounds : how many steps and rounds there were, those thinned out too
    """

    steps: tuple[SampleStep, ...] = ()
    length: int = 0
    rounds: int = 0

    def with_step(self, step: SampleStep) -> Path:
        """The path of a round with one step more, as a task sends it."""
        step = replace(step, number=self.length)
        return Path(_bounded((*self.steps, step), _MOST_BYTES_SENT), self.length + 1, self.rounds)

    def then(self, later: Path) -> Path:
        """The path that goes on with another one, of later rounds."""
        moved = (
            replace(step, number=self.length + step.number, round=self.rounds + step.round)
            for step in later.steps
        )
        return Path(
            _bounded((*self.steps, *moved), _MOST_BYTES),
            self.length + later.length,
            self.rounds + later.rounds,
        )


def one_round(steps: Iterable[SampleStep]) -> Path:
    """The path of one round, as a task sends it."""
    path = Path(rounds=1)
    for step in steps:
        path = path.with_step(step)
    return path


def num_bytes(parameters: Parameters) -> int:
    """What the arrays of parameters take."""
    numeric = parameters.weights, parameters.means, parameters.covariances
    return sum(int(array.nbytes) for array in (*numeric, *parameters.family_parameters))


def _bounded(steps: Sequence[SampleStep], most: int) -> tuple[SampleStep, ...]:
    """The steps; where they are more than so many bytes, half as many as there is room for, so
    that a path that grows is not thinned at every step."""
    size = num_bytes(steps[0].parameters) if steps else 0
    if size > _MOST_BYTES:
        return ()
    room = max(1, most // max(1, size))
    if len(steps) <= room:
        return tuple(steps)
    kept = evenly([step.number for step in steps], max(min(2, room), room // 2))
    return tuple(steps[place] for place in kept)


def evenly(numbers: Sequence[int], most: int) -> list[int]:
    """The places of at most so many of ascending numbers, spaced as evenly as they can be: the
    first always among them, and the last where two are."""
    if len(numbers) <= most:
        return list(range(len(numbers)))
    wanted = np.linspace(numbers[0], numbers[-1], most)
    after = np.searchsorted(numbers, wanted).clip(1, len(numbers) - 1)
    known = np.asarray(numbers)
    nearer = wanted - known[after - 1] <= known[after] - wanted
    return sorted({int(place) for place in after - nearer})
