"""Split-and-merge moves: out of a local optimum by moving a component elsewhere.

EM cannot carry a component across a region of low density. A move takes a component away where
the mixture misses it least and splits another one; a few steps of EM tell whether that is better
(Ueda, Nakano, Ghahramani and Hinton 2000, "SMEM algorithm for mixture models"; the choice of what
to take away follows the random swaps of Zhao, Hautamaki, Karkkainen and Franti 2012).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gmm_spark.mixture.initialisation.candidates import (
    Candidate,
    Sample,
    SampleExecutor,
    advance_all,
    log_joint_densities,
    log_likelihood_difference,
    ranked,
    robust_score,
    run_em_all,
    same_optimum,
)
from gmm_spark.mixture.multifit import STEPS_AHEAD
from gmm_spark.mixture.numerics import Array, softmax
from gmm_spark.mixture.parameters import Parameters

# Moves in a row, and moves tried at once.
_ROUNDS = 16
_MOVES = 48
# Standard errors from which on skewness or kurtosis is not chance.
_SIGNIFICANT = 3.5
# With fewer rows than this nothing is significant, and trying costs nothing.
_CHEAP_ROWS = 2000
# Rows, in those of the first stage; steps, the first of EM and the others accelerated; and how
# many moves go on after each stage. Then all of the sample, where that is more.
_SIZES = 1, 2, 4, 16
_STEPS = 8, 30, 60
_KEPT = 16, 4, 2
# A move is better where its log-likelihood is so many standard errors higher, and given up where it
# is so many lower.
_SIGNIFICANT_ERRORS = 3.0
_HOPELESS_ERRORS = 2.0
# Where no move of the likeliest helps, the next ones are tried (the second figure), then all
# again on so many times the rows, in the end on the last of the sample (negative) instead of the
# first: which moves get through on a part of the rows is partly chance. The last only where there
# was something to try before: where components are plain to see, it costs as much as all the rest.
_TRIES = (1, 0), (1, 1), (4, 0), (4, 1), (-4, 0)
# A move whose score comes so near to where it came from, with its weights and means, is back.
_BACK = 1e-3
# The mark of the candidate that the moves start from.
_STAYS = "stays"
# Products of components, terms and rows that a first stage may take: about a second.
_AFFORDABLE = 1e10
# A move that gains less is none: it may be the same optimum a few steps nearer.
_LEAST_GAIN = 1e-4


@dataclass(frozen=True)
class Moves:
    """Where a candidate has got by moves, and what is tried next.

    candidate : the best so far
    others : met on the way, at other optima
    position : in what is tried in turn (`_TRIES`)
    rounds : done
    finished : no move helps any more
    """

    candidate: Candidate
    others: tuple[Candidate, ...] = ()
    position: int = 0
    rounds: int = 0
    finished: bool = False


def try_moves(
    state: Moves,
    executor: SampleExecutor,
    sample: Sample,
    rows: int,
    tell: Callable[[str], None] = lambda text: None,
) -> Moves:
    """One round: many moves of the candidate are tried, and the best one taken if it raises the
    likelihood.

    They are tried for a few steps on the first `rows` of the sample, those that do not fall
    behind for more steps on more rows; one that gains too slowly to come near is given up. Which
    of two optima is the higher one is read from more rows until it is significant, in the end
    from all of the sample. Where those of the first rows do not help, those of the last may.

    Parameters
    ----------
    executor : shares out the work; its sample is `sample`
    tell : called with what is tried, whenever that is something else
    """
    tell(f"moves of components, round {state.rounds + 1} of {_ROUNDS} at most")
    tries = [t for t in _TRIES if abs(t[0]) == 1 or rows * abs(t[0]) <= sample.num_rows]
    factor, batch = tries[state.position]
    sizes = [_limited(rows * factor * size, sample.num_rows) for size in _SIZES]
    if abs(sizes[-1]) < sample.num_rows:
        sizes.append(sample.num_rows)
    candidate, moved, undecided = _best_move(state.candidate, executor, sample, sizes, batch)
    others, rounds = (*state.others, *undecided), state.rounds + 1
    if moved is not None:
        # The likeliest again, on the same rows.
        position = state.position - batch
        return Moves(moved, (*others, candidate), position, rounds, rounds == _ROUNDS)
    position, finished = state.position + 1, rounds == _ROUNDS
    if candidate is state.candidate:  # there was none to try, and none are next
        finished |= factor > 1
        position += sum(t == (factor, batch + 1) for t in tries)
    return Moves(candidate, others, position, rounds, finished or position == len(tries))


def _limited(rows: int, most: int) -> int:
    return max(-most, min(rows, most))


def _best_move(
    candidate: Candidate, executor: SampleExecutor, sample: Sample, sizes: list[int], batch: int
) -> tuple[Candidate, Candidate | None, list[Candidate]]:
    """The candidate some steps on, the move that is better than that, if one is, and those
    that are hardly worse."""
    found = moves(candidate.parameters, sample.part(sizes[0]), batch)
    field = [Candidate(moved, kind="move", path=candidate.path) for moved in found]
    for stage, rows in enumerate(sizes):
        if not field:
            break
        fresh = [candidate.unscored(_STAYS), *(c.unscored() for c in field)]
        steps, keep = _STEPS[min(stage, 2)], _KEPT[min(stage, 2)]
        through = advance_all if stage == 0 else run_em_all
        field = through(executor, rows, fresh, steps=steps, tol=_LEAST_GAIN / 10)
        stays = [c for c in field if c.mark == _STAYS]
        if not stays:
            break
        candidate, field = stays[0], [c for c in field if c.mark != _STAYS]
        part = sample.part(rows)
        if stage > 0:
            field = [c for c in field if not same_optimum(c, candidate, _BACK)]
        if stage == 0:
            hopeful = candidate.score + _LEAST_GAIN
            field = [c for c in field if c.score + STEPS_AHEAD * max(c.gain, 0.0) > hopeful]
        else:
            field = [c for c in field if _may_overtake(c, candidate, part)]
        field = ranked(part, field)[:keep]
        if stage < 2:
            continue
        supported, score = robust_score(candidate, part)
        if field and part.num_rows < sample.num_rows:
            difference, error = log_likelihood_difference(field[0], candidate, part)
            significant = difference > _SIGNIFICANT_ERRORS * error
            if significant and robust_score(field[0], part) > (supported, score):
                return candidate, field[0], []
        elif field and robust_score(field[0], part) > (supported, score + _LEAST_GAIN):
            return candidate, field[0], field[1:]
    return candidate, None, field


def _may_overtake(candidate: Candidate, other: Candidate, sample: Sample) -> bool:
    difference, error = log_likelihood_difference(candidate, other, sample)
    hoped = difference + STEPS_AHEAD * max(candidate.gain, 0.0)
    return hoped > -_HOPELESS_ERRORS * error


def moves(parameters: Parameters, sample: Sample, batch: int = 0) -> list[Parameters]:
    """Mixtures with one component taken away and another one split, likely ones first.

    What a split may gain is guessed from how far its rows are from normal, what a component is
    worth from what the likelihood loses without it. None where every component looks normal, or
    there are no numbers.

    Parameters
    ----------
    parameters : in standardised coordinates
    batch : the likeliest, those after them, ...
    """
    k, structure = parameters.k, parameters.structure
    if k < 2 or parameters.d == 0:
        return []
    responsibilities = _responsibilities(parameters, sample)
    losses = -np.log1p(-np.minimum(responsibilities, 1 - 1e-12)).mean(axis=1)
    gains = _misfits(parameters, sample, responsibilities)
    promise = gains[:, None] - losses[None, :]
    promise[(gains <= 0) | (parameters.weights <= 0)] = -np.inf
    np.fill_diagonal(promise, -np.inf)
    terms = parameters.d if structure.kind != "full" else parameters.d**2 / 2
    terms += sum(family.num_parameters for family in parameters.families)
    most = int(np.clip(_AFFORDABLE / (_STEPS[0] * k * terms * sample.num_rows), 4, _MOVES))
    order = np.argsort(-promise, axis=None, kind="stable")
    order = order[batch * (most // 2) : (batch + 1) * (most // 2)]
    pairs = [divmod(int(i), k) for i in order if np.isfinite(promise.flat[i])]
    return [how(parameters, away, split) for split, away in pairs for how in (_apart, _nested)]


def grown(parameters: Parameters, sample: Sample, most: int) -> list[Parameters]:
    """Mixtures with one component more, made by splitting one; the likeliest `most`. None where
    there are no numbers to split along."""
    k = parameters.k
    if parameters.d == 0:
        return []
    wider = _with_a_dead_one(parameters)
    gains = _misfits(parameters, sample, _responsibilities(parameters, sample))
    order = np.lexsort([-parameters.weights, -gains])
    pairs = [(int(split), how) for split in order for how in (_apart, _nested)]
    return [how(wider, k, split) for split, how in pairs if parameters.weights[split] > 0][:most]


def _with_a_dead_one(parameters: Parameters) -> Parameters:
    wider = parameters.taken(np.append(np.arange(parameters.k), 0))
    return replace(wider, weights=np.append(parameters.weights, 0.0))


def _responsibilities(parameters: Parameters, sample: Sample) -> Array:
    log_joint = log_joint_densities(parameters, sample)
    log_joint -= log_joint.max(axis=0)
    softmax(log_joint)
    return log_joint[: parameters.k]


def _misfits(parameters: Parameters, sample: Sample, responsibilities: Array) -> Array:
    """How far the rows of each component are from normal, by weight, (k,): the negentropy that
    skewness and excess kurtosis along the component's axes amount to (Jones and Sibson 1987);
    0 where that could be chance, and the rows are many."""
    z = sample.z
    found = np.zeros(parameters.k)
    for index, covariance in enumerate(parameters.dense_covariances()):
        share = responsibilities[index]
        rows = float(share.sum())
        if rows < 2:
            continue
        eigenvalues, vectors = np.linalg.eigh(covariance)
        deviations = z - parameters.means[index][:, None]
        if sample.gaps:
            deviations[np.isnan(deviations)] = 0.0
        axes = vectors.T @ deviations
        axes /= np.sqrt(np.maximum(eigenvalues, np.finfo(float).tiny))[:, None]
        square = axes * axes
        weight = share / rows
        skewness, kurtosis = (square * axes) @ weight, (square * square) @ weight - 3
        significant = sample.num_rows < _CHEAP_ROWS
        significant |= (np.abs(skewness) > _SIGNIFICANT * np.sqrt(15 / rows)) | (
            np.abs(kurtosis) > _SIGNIFICANT * np.sqrt(96 / rows)
        )
        negentropy = np.minimum(skewness**2 / 12 + kurtosis**2 / 48, 1.0)
        found[index] = rows / sample.num_rows * float(negentropy[significant].sum())
    return found


def _apart(parameters: Parameters, away: int, split: int) -> Parameters:
    """The component in two halves along its longest axis, which keep its covariance there."""
    covariance = parameters.dense_covariances()[split]
    eigenvalues, vectors = np.linalg.eigh(covariance)
    # Halves at +-0.8 deviations, of a variance of 0.36 along the axis, keep the variance.
    shift = 0.8 * np.sqrt(eigenvalues[-1]) * vectors[:, -1]
    narrower = covariance - np.outer(shift, shift)
    means = np.array(parameters.means)
    means[away], means[split] = means[split] - shift, means[split] + shift
    return _with(parameters, away, split, means, narrower, narrower)


def _nested(parameters: Parameters, away: int, split: int) -> Parameters:
    """A narrow and a wide component about the same mean."""
    covariance = parameters.dense_covariances()[split]
    means = np.array(parameters.means)
    means[away] = means[split]
    return _with(parameters, away, split, means, covariance / 2, covariance * 1.5)


def _with(
    parameters: Parameters, away: int, split: int, means: Array, first: Array, second: Array
) -> Parameters:
    weights = np.array(parameters.weights)
    weights[away] = weights[split] = weights[split] / 2
    covariances = np.array(parameters.covariances)
    of_families = tuple(np.array(values) for values in parameters.family_parameters)
    for values in of_families:
        values[away] = values[split]
    structure = parameters.structure
    if not structure.shared:
        covariances[away], covariances[split] = map(structure.storage.compact, (first, second))
        covariances = structure.member(covariances, weights)
    weights *= parameters.weights.sum() / weights.sum()
    return replace(
        parameters,
        weights=weights,
        means=means,
        covariances=covariances,
        family_parameters=of_families,
    )
