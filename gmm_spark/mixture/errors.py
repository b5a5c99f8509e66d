"""What the mathematics refuses. It knows no Spark: `gmm_spark.errors` are what users see."""

from __future__ import annotations


class SettingError(ValueError):
    """A setting or a parameter of a mixture is wrong."""


class DataError(ValueError):
    """The rows do not allow what is asked of them."""
