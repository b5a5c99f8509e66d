"""The exceptions of this package: one clear message each, raised before anything is written."""

from __future__ import annotations


class GmmError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigurationError(GmmError, ValueError):
    """A setting, parameter or path is wrong; the data were not looked at."""


class InputDataError(GmmError, ValueError):
    """The data cannot be used as they are: what was found, in which column, how many rows."""


class ModelFileError(GmmError, ValueError):
    """A saved model is missing, unreadable, or not one of ours."""


class FitError(GmmError, RuntimeError):
    """A fit cannot go on, for instance because the table changed under it."""
