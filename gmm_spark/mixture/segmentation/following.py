"""Segments that are fitted anew and stay: EM, or k-means, from where they were, as far as the rows
stay in their segments.

An optimum that is close on the rows of then can be far on those of today: EM of a mixture that is
merged into few segments ends where it is likeliest, and not where the segments are the same. Every
step of it is likelier than the one before, so where it has to be stopped it still is the better for
the steps that were taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmm_spark.mixture.divisions import Division, probabilities
from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.initialisation.candidates import Candidate, Sample, advance
from gmm_spark.mixture.matching import Matching, matched
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.segmentation.candidates import Proposal, refitted_kmeans

# The share of the rows that may be in another segment than before.
MOST_CHANGED = 0.1
# Steps that are taken one by one where all of them together would move more rows, at most.
_SINGLE_STEPS = 100


@dataclass(frozen=True)
class Followed:
    """How far segments could be followed on the rows of today.

    parameters : standardised
    steps : that were taken one by one; None where all were
    changed : share of the rows that all steps would have put into another segment than before;
        None where they end in a singular mixture
    """

    parameters: Parameters
    steps: int | None
    changed: float | None


def followed(proposal: Proposal, sample: Sample, ended: Parameters | None) -> Followed:
    """The division of before, fitted to the sample.

    Parameters
    ----------
    proposal : the division of before
    ended : where EM, or k-means, from it ends; None where that is a singular mixture
    """
    before = division_of(proposal, proposal.parameters, sample)
    found = None if ended is None else _compared(proposal, ended, sample, before)
    changed = None if found is None else found.changed
    if ended is not None and found is not None and stays(found):
        return Followed(ended, None, changed)
    at = proposal.parameters
    for steps in range(_SINGLE_STEPS):
        one = _one_step(proposal, at, sample)
        found = None if one is None else _compared(proposal, one, sample, before)
        if one is None or found is None or not stays(found):
            return Followed(at, steps, changed)
        at = one
    return Followed(at, _SINGLE_STEPS, changed)


def stays(found: Matching) -> bool:
    """Whether every segment has its members, and hardly any row has changed its segment."""
    return found.ids == found.old and found.changed <= MOST_CHANGED


def compared(before: Division, now: Division, weights: Array | None = None) -> Matching:
    """The segments of one division as those of another, by the rows of both; those without rows in
    either are left out."""
    k = 1 + int(max(before.max(initial=0), now.max(initial=0)))
    counts = np.bincount(before * k + now, weights, k * k).reshape(k, k).astype(float)
    there = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    return matched(counts[np.ix_(there, there)], there.tolist(), k)


def division_of(proposal: Proposal, parameters: Parameters, sample: Sample) -> Division:
    """The most probable cluster of every row; noise comes after the last."""
    found: Division = probabilities(parameters, proposal.clusters, sample).argmax(axis=0)
    return found


def _compared(
    proposal: Proposal, parameters: Parameters, sample: Sample, before: Division
) -> Matching | None:
    try:
        now = division_of(proposal, parameters, sample)
    except SingularCovarianceError:
        return None
    return compared(before, now, sample.weights)


def _one_step(proposal: Proposal, at: Parameters, sample: Sample) -> Parameters | None:
    """None is a singular mixture."""
    if proposal.hard:
        labels = division_of(proposal, at, sample)
        return refitted_kmeans(sample, labels, at.k, steps=1).parameters
    found = advance(sample, [Candidate(at)], steps=1)
    return found[0].parameters if found else None
