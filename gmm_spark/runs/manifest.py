"""manifest.json: what a run read, did and wrote."""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import platform
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pyspark.sql import SparkSession


class Manifest(BaseModel):
    """What every manifest.json says; what a job knows beside it stands there too.

    `Manifest.model_json_schema()` is this as a JSON schema.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    job: str
    status: Literal["done", "failed", "refused"] = Field(
        description="refused: written and kept as a version, and not published"
    )
    exit_code: int = Field(ge=0, le=255)
    reason: str | None = Field(description="why it failed or was refused, in one line")
    run_id: str = Field(min_length=1)
    run_date: str | None = Field(description="as the settings say it; never computed")
    started: datetime
    finished: datetime
    seconds: float = Field(ge=0)
    input: dict[str, Any] = Field(description="the table that was read")
    settings: dict[str, Any] = Field(description="of the run, without credentials")
    versions: dict[str, str] = Field(description="of this package and what it computes with")
    rows: dict[str, Any] | None = Field(None, description="how many were read, used, left out")
    metrics: dict[str, Any] | None = None
    warnings: list[str] = Field(default_factory=list)
    passes: list[dict[str, Any]] = Field(default_factory=list, description="over all the rows")

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if (self.status == "done") != (self.exit_code == 0) or (self.reason is None) != (
            self.status == "done"
        ):
            raise ValueError(
                f"found status {self.status}, exit code {self.exit_code} and reason "
                f"{self.reason!r}; expected 0 and no reason of a run that is done, and of no other"
            )
        if self.finished < self.started:
            raise ValueError(f"found finished {self.finished} before started {self.started}")
        return self


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
