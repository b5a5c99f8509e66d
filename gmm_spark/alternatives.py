"""Other optima that a fit met, as its summary tells of them: what is gained and lost by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gmm_spark.mixture.divisions import Division, changed_share, evaluated, mean_entropy
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.merging import Partition
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.spec import Spec

# As many are told of, by so many rows of the sample.
MOST_ALTERNATIVES, _ROWS = 10, 65_536


@dataclass(frozen=True)
class Optimum:
    """A mixture on a sample, and the clusters that it divides rows into.

    parameters : standardised as the sample is
    clusters : of components; None, each is one
    """

    parameters: Parameters
    spec: Spec
    sample: Sample
    clusters: Partition | None = None

    @property
    def partition(self) -> Partition:
        """The components of each cluster."""
        singletons = tuple((component,) for component in range(self.parameters.k))
        return singletons if self.clusters is None else self.clusters


def alternatives(chosen: Optimum, others: Sequence[Optimum]) -> list[dict[str, Any]]:
    """A dictionary for each of the others, ten at most, as `GaussianMixtureSummary.alternatives`
    says; none where there are none."""
    if not others:
        return []
    sample = chosen.sample.first(_ROWS)
    probability, density = evaluated(chosen.parameters, chosen.partition, sample)
    reference = float(np.average(density, weights=sample.weights))
    division = probability.argmax(axis=0)
    return list(_compared(division, reference, others[:MOST_ALTERNATIVES]))


def _compared(
    division: Division, reference: float, others: Sequence[Optimum]
) -> Iterator[dict[str, Any]]:
    for other in others:
        sample = other.sample.first(_ROWS)
        probability, density = evaluated(other.parameters, other.partition, sample)
        weights = sample.weights
        mean = float(np.average(density, weights=weights))
        yield {
            "k": len(other.partition),
            "components": other.parameters.k,
            "covarianceType": other.spec.structure.name,
            "meanLogLikelihood": mean,
            "difference": mean - reference,
            "entropy": mean_entropy(probability, weights),
            "changedShare": changed_share(division, probability.argmax(axis=0), weights),
        }
