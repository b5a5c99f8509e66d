"""A mixture whose components are mixed up: a start that EM can be seen to leave.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gmm_spark.mixture.parameters import Parameters


def blurred(parameters: Parameters, share: float) -> Parameters:
    """The M-step of a mixture's own rows after that share of every row's probabilities has been
    given to the components by their weights alone: with 0 the mixture, with 1 components that are
    all as the whole is."""
    weights = parameters.weights / parameters.weights.sum()
    middle = weights @ parameters.means
    apart, dense = parameters.means - middle, parameters.dense_covariances()
    whole = np.tensordot(weights, dense, axes=1) + (weights[:, None] * apart).T @ apart
    covariances = (1 - share) * dense + share * whole
    covariances += share * (1 - share) * apart[:, :, None] * apart[:, None, :]
    return replace(
        parameters,
        means=middle + (1 - share) * apart,
        covariances=parameters.structure.projected(covariances, parameters.weights),
        family_parameters=tuple(
            (1 - share) * values + share * (weights @ values)
            for values in parameters.family_parameters
        ),
    )
