"""manifest.json: what a run read, did and wrote."""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import platform
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from pyspark.sql import SparkSession


def versions(spark: SparkSession) -> dict[str, str]:
    """Of everything that can change a result."""
    found = {"python": platform.python_version(), "spark": spark.version}
    for module in ("numpy", "scipy", "pandas", "pyarrow"):
        found[module] = importlib.import_module(module).__version__
    found["gmm_spark"] = _own_version()
    return found


def _own_version() -> str:
    own = getattr(sys.modules["gmm_spark"], "__version__", None)
    if own is None:
        try:
            own = importlib.metadata.version("gmm_spark")
        except importlib.metadata.PackageNotFoundError:
            own = "unknown"  # from a zip, which carries no metadata
    return str(own)


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: numpy unpacked, and null for what is not a finite number."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return str(value)
