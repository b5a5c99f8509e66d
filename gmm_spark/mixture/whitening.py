"""Inverse Cholesky factors of covariance matrices, or which of them is singular.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

import numpy as np

from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.numerics import Array


def inverse_factors(covariances: Array, deviations: Array) -> Array:
    """W with W' W the inverse of a covariance, lower triangular, for all of (K, d, d).

    Raises SingularCovarianceError.
    """
    eye = np.eye(covariances.shape[-1])
    try:
        correlations = covariances / (deviations[:, :, None] * deviations[:, None, :])
        factors = np.linalg.cholesky(correlations)
        if np.isfinite(factors).all():
            solved: Array = np.linalg.solve(factors, np.broadcast_to(eye, factors.shape))
            return solved / deviations[:, None, :]
    except np.linalg.LinAlgError:
        pass
    # One of them is not positive definite: which?
    whitening = np.empty_like(covariances)
    for index, (covariance, deviation) in enumerate(zip(covariances, deviations, strict=True)):
        correlation = covariance / np.outer(deviation, deviation)
        if not np.isfinite(correlation).all():
            raise SingularCovarianceError(index)
        try:
            factor = np.linalg.cholesky(correlation)
        except np.linalg.LinAlgError:
            raise SingularCovarianceError(index) from None
        whitening[index] = np.linalg.solve(factor, eye) / deviation
    return whitening
