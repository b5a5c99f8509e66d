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

# Moves in a row, components tried for taking away, moves tried at once.
_ROUNDS = 10
_TAKEN = 4
_MOVES = 48
# Steps of EM on the three sizes of sample, and how many moves go on after the first two.
_STEPS = 6, 12, 30
_KEPT = 8, 3
# A move that gains less is none: it may be the same optimum a few steps nearer.
_LEAST_GAIN = 1e-4


def improved(candidate: Candidate, sample: Sample, sizes: tuple[int, int, int]) -> Candidate:
    """The candidate after the moves that raise its likelihood, as long as there are any.

    Many moves are tried for a few steps on the first `sizes[0]` rows, the better ones for more
    steps on more rows. One is taken where it ends above the candidate after as many steps.
    """
    few, some, most = (sample.first(rows) for rows in sizes)
    for _ in range(_ROUNDS):
        (candidate, *_) = advance(most, [Candidate(candidate.parameters)], steps=_STEPS[2]) or [
            candidate
        ]
        tried = [Candidate(moved) for moved in moves(candidate.parameters, few)]
        tried = ranked(few, advance(few, tried, steps=_STEPS[0]))[: _KEPT[0]]
        tried = ranked(some, advance(some, tried, steps=_STEPS[1]))[: _KEPT[1]]
        tried = ranked(
            most, advance(most, [Candidate(c.parameters) for c in tried], steps=_STEPS[2])
        )
        if not tried:
            break
        fed, score = soundness(candidate, most)
        if soundness(tried[0], most) <= (fed, score + _LEAST_GAIN):
            break
        candidate = tried[0]
    return candidate


def moves(parameters: Parameters, sample: Sample) -> list[Parameters]:
    """Mixtures with one component taken away and another one split, likely ones first.

    Parameters
    ----------
    parameters : in standardised coordinates, two components at least
    """
    k = parameters.k
    losses = _losses(parameters, sample)
    taken = [int(m) for m in np.argsort(losses)[:_TAKEN]]
    found: list[Parameters] = []
    order = [int(s) for s in np.argsort(-parameters.weights)]
    for how in (_apart, _nested):
        for split in order:
            for away in taken:
                if split != away and parameters.weights[split] > 0 and len(found) < _MOVES:
                    found.append(how(parameters, away, split))
    return found if k > 1 else []


def _losses(parameters: Parameters, sample: Sample) -> Array:
    """How much the mean log-likelihood loses without a component, (k,): -mean log(1 - r)."""
    evaluator = natural_parameters([parameters], sample.standardisation)
    log_joint = BlockKernel(evaluator).log_joint(sample.values)
    joint = np.exp(log_joint - log_joint.max(axis=0))
    responsibilities = joint / joint.sum(axis=0)
    return -np.log1p(-np.minimum(responsibilities, 1 - 1e-12)).mean(axis=1)


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
