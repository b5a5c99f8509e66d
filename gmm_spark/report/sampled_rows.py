"""The sample of rows that a segmentation is pictured by, and how mixtures see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.data import opened
from gmm_spark.engine.array_source import array_source
from gmm_spark.engine.profiles import FoundProfiles
from gmm_spark.engine.scoring import NOISE
from gmm_spark.mixture.families import rows_of
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.spec import SPEC, Spec
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.progress import quiet


@dataclass(frozen=True)
class SampledRows:
    """Rows of a table, chosen by hashes of their content, in the order of these.

    block : (columns, n) as the mixture reads them, in the user's units
    weights : (n,)
    segment, probability : (n,) the most probable segment, noise being NOISE, and its probability
    outcomes : (o, n), NaN where not known
    of : how many rows the sample is of
    """

    block: Array
    weights: Array
    segment: NDArray[np.intp]
    probability: Array
    outcomes: Array
    of: int

    @staticmethod
    def found(profiles: FoundProfiles, has_noise: bool) -> SampledRows:
        """Those of the profiles; rows without weight are none of them."""
        sample = profiles.sample
        weights = sample.probability.sum(axis=0)
        segment = sample.probability.argmax(axis=0)
        largest = sample.probability[segment, np.arange(segment.size)]
        if has_noise:
            segment = np.where(segment == len(sample.probability) - 1, NOISE, segment)
        probability = np.clip(largest / np.where(weights > 0, weights, 1.0), 0.0, 1.0)
        rows = int(profiles.rows.sum())
        return SampledRows(sample.block, weights, segment, probability, sample.outcomes, rows)

    def first(self, count: int) -> SampledRows:
        """The first rows, which are a sample too."""
        return replace(
            self,
            block=self.block[:, :count],
            weights=self.weights[:count],
            segment=self.segment[:count],
            probability=self.probability[:count],
            outcomes=self.outcomes[:, :count],
        )

    @property
    def size(self) -> int:
        return int(self.segment.size)

    @contextmanager
    def seen_by(self, model: GaussianMixtureModel, spec: Spec) -> Iterator[Sample]:
        """The rows as fits of the model's columns see them. InputDataError where they do not suit
        the spec."""
        parameters = model.parameters
        places = rows_of(parameters.families, parameters.d)
        weights = None if (self.weights == 1).all() else self.weights
        source = array_source(
            self.block[: parameters.d],
            families=[(family, self.block[rows]) for family, rows in places],
            weights=weights,
        )
        with quiet(), opened(lambda: (source, []), [spec]) as data:
            # Whatever order the scan has brought them into.
            yield replace(data.sample(spec), values=self.block, weights=weights)


def spec_of(model: GaussianMixtureModel) -> Spec:
    """The settings of the fit that made a model, but for where it started."""
    kept = [each for each in SPEC if not each.starts]
    found = Spec(**model._values(kept))
    return replace(found, missing="marginalize", sample_size=0)
