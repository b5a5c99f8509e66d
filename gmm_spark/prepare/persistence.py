"""Saving and loading preparations: Spark's layout, everything in the metadata."""

from __future__ import annotations

import os
from typing import Any

from pyspark.ml.util import DefaultParamsReader

from gmm_spark.engine.addresses import as_text
from gmm_spark.errors import ModelFileError
from gmm_spark.persistence import Reader, Writer


class PreparationWriter(Writer):
    """Writes a preparation, fitted or not."""

    def saveImpl(self, path: str) -> None:
        self._save_metadata(path, {"formatVersion": 1, **self.instance._to_json()})


class PreparationReader(Reader):
    """Reads a preparation, fitted or not."""

    def load(self, path: str | os.PathLike[str]) -> Any:
        path = as_text(path)
        metadata = self._load_metadata(path)
        try:
            stage: Any = self.cls()
            stage._resetUid(metadata["uid"])
            DefaultParamsReader.getAndSetParams(stage, metadata)
            return stage._with_json(metadata)
        except Exception as error:
            raise ModelFileError(f"the preparation at {path} is corrupt: {error!r}") from error
