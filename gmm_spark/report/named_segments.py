"""The names and ids that a churn run has given to segments, found beside its model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gmm_spark import GaussianMixtureModel
from gmm_spark.engine.scoring import NOISE
from gmm_spark.errors import ModelFileError
from gmm_spark.report.segments import FILE, Segments
from gmm_spark.storage import files


def named_segments(model: GaussianMixtureModel, path: str) -> Segments | None:
    """What a churn run has left beside the model at `path`; None where it left nothing.

    Raises ModelFileError where that is damaged, or of other segments than the model's.
    """
    beside = f"{path.rstrip('/').rpartition('/')[0]}/{FILE}"
    if not files.reachable(path) or not files.exists(beside):
        return None
    try:
        named = Segments.from_json(files.read_text(beside))
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{beside}: {str(error).splitlines()[0]}; expected what a churn run "
            "of this release wrote, or no such file beside the model"
        ) from None
    if len([one for one in named.segments if one.segment != NOISE]) != len(model.clusters):
        raise ModelFileError(
            f"{beside} is of {len(named.segments)} segments, and the model beside it of "
            f"{len(model.clusters)}; expected both of one churn run"
        )
    return named


def add_names(parts: Sequence[dict[str, Any]], named: Segments | None) -> None:
    """Say in what is told of segments, by their numbers, what they are called."""
    of_number = {} if named is None else {one.segment: one for one in named.segments}
    for part in parts:
        if (one := of_number.get(part["segment"])) is not None:
            part |= {"name": one.name} | ({} if one.id is None else {"id": one.id})
