"""A model of segments fitted anew: the same segments, on the rows of today."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame

from gmm_spark.data import Open
from gmm_spark.estimator import GaussianMixture
from gmm_spark.mixture.spec import SPEC, ColumnSettings, Spec
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.segment_training import refit_segments
from gmm_spark.training import FittedMixture

# Params of a model that say what came of its fit.
_FOUND = {"outlierThreshold", "inputExpressions"} | {each.name for each in SPEC if each.starts}


class _Refit(GaussianMixture):
    """Fits the division that a model makes anew."""

    def __init__(
        self, model: GaussianMixtureModel, outcome: str | None, checkpoint_dir: str | None
    ) -> None:
        super().__init__(k=model.parameters.k, initialModel=model)
        self._from, self._outcome_column = model, outcome
        for param, value in model._paramMap.items():
            if param.name not in _FOUND and self.hasParam(param.name):
                self._set(**{param.name: value})
        self._set(k=model.parameters.k)
        if checkpoint_dir is not None:
            self._set(checkpointDir=checkpoint_dir)

    @property
    def _outcome(self) -> str | None:
        return self._outcome_column

    def _trained(
        self, open_rows: Open, specs: Sequence[Spec], columns: ColumnSettings
    ) -> FittedMixture:
        model = self._from
        return refit_segments(
            open_rows,
            specs[0],
            columns.numeric,
            merging=model._merging,
            origin=model._origin,
        )


def refitted(
    model: GaussianMixtureModel,
    dataset: DataFrame,
    outcome: str | None = None,
    checkpoint_dir: str | None = None,
) -> GaussianMixtureModel:
    """The model of the rows as they are now that makes the division `model` makes: of as many
    components of the same structure, merged into the same segments, whose numbers stay.

    EM begins from the model; k-means goes on as k-means does. Where that ends in another division,
    it goes as far as no more than a tenth of the rows are in another segment than before; a warning
    (`segments_moved`) and `summary.candidates` say so. A division by k-means whose columns were
    weighted by an outcome stays as it is.

    Parameters
    ----------
    model : with the columns it was fitted to, which the dataset has, and its settings
    outcome : a column of which `summary.outcomeInformation` says what the segments tell
    checkpoint_dir : where the state of the fit is kept, as `checkpointDir`

    Raises what the `fit` of `GaussianMixture` raises.
    """
    found: Any = _Refit(model, outcome, checkpoint_dir).fit(dataset)
    fitted: GaussianMixtureModel = found
    return fitted.setInputExpressions(model.getInputExpressions())
