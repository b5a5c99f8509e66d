"""What the mathematics refuses. It knows no Spark: `gmm_spark.errors` are what users see."""

from __future__ import annotations


class SettingError(ValueError):
    """A setting or a parameter of a mixture is wrong."""


class SingularCovarianceError(ValueError):
    """A covariance matrix is not positive definite; `component` says whose."""

    def __init__(self, component: int) -> None:
        super().__init__(f"the covariance of component {component} is singular")
        self.component = component


class DataError(ValueError):
    """The rows do not allow what is asked of them."""
