"""Split-and-merge moves: out of a local optimum by moving a component elsewhere.

EM cannot carry a component across a region of low density. A move takes a component away where
the mixture misses it least and splits another one; a few steps of EM tell whether that is better
(Ueda, Nakano, Ghahramani and Hinton 2000, "SMEM algorithm for mixture models"; the choice of what
to take away follows the random swaps of Zhao, Hautamaki, Karkkainen and Franti 2012).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gmm_spark.mixture.candidates import Candidate, Sample, advance, ranked, soundness
from gmm_spark.mixture.kernel import BlockKernel, natural_parameters
from gmm_spark.mixture.parameters import Array, Parameters

# Moves in a row, and moves tried at once.
_ROUNDS = 12
_MOVES = 48
# Standard errors from which on skewness or kurtosis is not chance.
_SIGNIFICANT = 5.0
# With fewer rows than this nothing is significant, and trying costs nothing.
_CHEAP_ROWS = 2000
# Steps of EM on the three sizes of sample, and how many moves go on after each.
_STEPS = 8, 15, 40
_KEPT = 12, 4, 1
# Where no move of the likeliest helps, the next ones are tried, so often.
_BATCHES = 2
# A move may hope to gain so many times what its last step gained.
_STEPS_AHEAD = 60
# The mark of the candidate that the moves start from.
_STAYS = "stays"
# Products of components, terms and rows that a first stage may take: about a second.
_AFFORDABLE = 1e10
# A move that gains less is none: it may be the same optimum a few steps nearer.
_LEAST_GAIN = 1e-4


def improved(candidate: Candidate, sample: Sample, sizes: tuple[int, int, int]) -> Candidate:
    """The candidate after the moves that raise its likelihood, as long as there are any.

    Many moves are tried for a few steps on the first `sizes[0]` rows beside the candidate itself,
    the better ones for more steps on more rows; one that gains too slowly to come near is given
    up. The winner is taken where it ends above the candidate.
    """
    parts = [sample.first(rows) for rows in sizes]
    batch = 0
    for _ in range(_ROUNDS):
        before = candidate
        candidate, moved = _best_move(candidate, parts, batch)
        if moved is not None:
            candidate, batch = moved, 0
        elif batch + 1 < _BATCHES and candidate is not before:
            batch += 1
        else:
            break
    return candidate


def _best_move(
    candidate: Candidate, parts: list[Sample], batch: int
) -> tuple[Candidate, Candidate | None]:
    """The candidate some steps on, and the move that is better than that, if one is."""
    field = [Candidate(moved) for moved in moves(candidate.parameters, parts[0], batch)]
    for part, steps, keep in zip(parts, _STEPS, _KEPT, strict=True):
        if not field:
            return candidate, None
        fresh = [Candidate(c.parameters) for c in field]
        fresh.append(Candidate(candidate.parameters, mark=_STAYS))
        field = advance(part, fresh, steps=steps, tol=_LEAST_GAIN / 10)
        stays = [c for c in field if c.mark == _STAYS]
        if not stays:
            return candidate, None
        candidate, field = stays[0], [c for c in field if c.mark != _STAYS]
        hopeful = candidate.score + _LEAST_GAIN
        field = [c for c in field if c.score + _STEPS_AHEAD * max(c.gain, 0.0) > hopeful]
        field = ranked(part, field)[:keep]
    fed, score = soundness(candidate, parts[-1])
    better = bool(field) and soundness(field[0], parts[-1]) > (fed, score + _LEAST_GAIN)
    return candidate, field[0] if better else None


def moves(parameters: Parameters, sample: Sample, batch: int = 0) -> list[Parameters]:
    """Mixtures with one component taken away and another one split, likely ones first.

    What a split may gain is guessed from how far its rows are from normal, what a component is
    worth from what the likelihood loses without it. None where every component looks normal.

    Parameters
    ----------
    parameters : in standardised coordinates
    batch : the likeliest, those after them, ...
    """
    k, structure = parameters.k, parameters.structure
    if k < 2:
        return []
    responsibilities = _responsibilities(parameters, sample)
    losses = -np.log1p(-np.minimum(responsibilities, 1 - 1e-12)).mean(axis=1)
    gains = _misfits(parameters, sample, responsibilities)
    promise = gains[:, None] - losses[None, :]
    promise[(gains <= 0) | (parameters.weights <= 0)] = -np.inf
    np.fill_diagonal(promise, -np.inf)
    terms = parameters.d if structure.shape != "full" else parameters.d**2 / 2
    most = int(np.clip(_AFFORDABLE / (_STEPS[0] * k * terms * sample.num_rows), 4, _MOVES))
    order = np.argsort(-promise, axis=None, kind="stable")
    order = order[batch * (most // 2) : (batch + 1) * (most // 2)]
    pairs = [divmod(int(i), k) for i in order if np.isfinite(promise.flat[i])]
    return [how(parameters, away, split) for split, away in pairs for how in (_apart, _nested)]


def grown(parameters: Parameters, sample: Sample, most: int) -> list[Parameters]:
    """Mixtures with one component more, made by splitting one; the likeliest `most`."""
    k = parameters.k
    wider = _with_a_dead_one(parameters)
    gains = _misfits(parameters, sample, _responsibilities(parameters, sample))
    order = np.lexsort([-parameters.weights, -gains])
    pairs = [(int(split), how) for split in order for how in (_apart, _nested)]
    return [how(wider, k, split) for split, how in pairs if parameters.weights[split] > 0][:most]


def _with_a_dead_one(parameters: Parameters) -> Parameters:
    covariances = parameters.covariances
    if not parameters.structure.shared:
        covariances = np.concatenate([covariances, covariances[:1]])
    return replace(
        parameters,
        weights=np.append(parameters.weights, 0.0),
        means=np.concatenate([parameters.means, parameters.means[:1]]),
        covariances=covariances,
    )


def _responsibilities(parameters: Parameters, sample: Sample) -> Array:
    evaluator = natural_parameters([parameters], sample.standardisation)
    log_joint = BlockKernel(evaluator).log_joint(sample.values)
    joint = np.exp(log_joint - log_joint.max(axis=0))
    return np.asarray(joint / joint.sum(axis=0))


def _misfits(parameters: Parameters, sample: Sample, responsibilities: Array) -> Array:
    """How far the rows of each component are from normal, by weight, (k,): the negentropy that
    skewness and excess kurtosis along the component's axes amount to (Jones and Sibson 1987);
    0 where that could be chance, and the rows are many."""
    by = sample.standardisation
    z = (sample.values - by.centre[:, None]) / by.scale[:, None]
    found = np.zeros(parameters.k)
    for index, covariance in enumerate(parameters.dense_covariances()):
        share = responsibilities[index]
        rows = float(share.sum())
        if rows < 2:
            continue
        eigenvalues, vectors = np.linalg.eigh(covariance)
        axes = vectors.T @ (z - parameters.means[index][:, None])
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
    if not parameters.structure.shared:
        for index, dense in ((away, first), (split, second)):
            if parameters.structure.shape == "full":
                covariances[index] = dense
            elif parameters.structure.shape == "diagonal":
                covariances[index] = np.diag(dense)
            else:
                covariances[index] = np.diag(dense).mean()
    return replace(
        parameters, weights=weights / weights.sum(), means=means, covariances=covariances
    )
