"""The search for k and the covariance structure: `GaussianMixtureSearch(k=[2, 3, 4]).fit(data)`."""

from __future__ import annotations

from collections.abc import Sequence

from gmm_spark.data import Open
from gmm_spark.errors import ConfigurationError
from gmm_spark.estimator import MixtureEstimator
from gmm_spark.grid_training import fit_best
from gmm_spark.mixture.spec import (
    GRID,
    SEARCH_SETTINGS,
    SEGMENTATION_K,
    SEGMENTATION_STRUCTURES,
    SPEC,
    ColumnSettings,
    Grid,
    Spec,
)
from gmm_spark.params import takes_settings, with_settings
from gmm_spark.segment_training import fit_segments
from gmm_spark.training import FittedMixture


@takes_settings([each for each in SEARCH_SETTINGS if not each.starts])
@with_settings(SEARCH_SETTINGS)
class GaussianMixtureSearch(MixtureEstimator):
    """Gaussian mixtures of several sizes and structures, of which the best is fitted.

    Every candidate of the grid is fitted on a sample; those that may win by `criterion` are fitted
    to all the rows in shared scans. `fit` returns the best model, whose `summary.candidates` (and
    `summary.candidatesDF`) hold the whole table. The Params are those of `GaussianMixture`, but
    that `k` and `covarianceType` are lists.

    Examples
    --------
    >>> from gmm_spark import GaussianMixtureSearch, ParquetTable
    >>> search = GaussianMixtureSearch(k=[2, 3, 4], inputCols=["age", "spend"])  # doctest: +SKIP
    >>> model = search.fit(ParquetTable("lake/customers"))  # doctest: +SKIP
    >>> model.summary.k, model.getCovarianceType()  # doctest: +SKIP
    """

    def _specs(self) -> Sequence[Spec]:
        tried = {each.key for each in GRID}
        common = Spec(**self._values([each for each in SPEC if each.key not in tried]))
        return self._grid.specs(common)

    def _check_start(self, specs: Sequence[Spec], columns: ColumnSettings) -> None:
        for each in SEARCH_SETTINGS:
            if each.starts and self.isSet(each.name):
                raise ConfigurationError(
                    f"{each.name} is of one number of components; a search makes its own starts"
                )
        if self._grid.criterion == "segmentation" and columns.label_col is not None:
            raise ConfigurationError(
                f"labelCol is {columns.label_col!r}, and criterion is 'segmentation': labels say "
                "what the clusters are, the criterion chooses them; leave one of them out"
            )

    @property
    def _grid(self) -> Grid:
        given = self._values(GRID)
        if given["criterion"] == "segmentation":
            usual = {"k": SEGMENTATION_K, "covariance_type": SEGMENTATION_STRUCTURES}
            given |= {
                s.key: usual[s.key] for s in GRID if s.key in usual and not self.isSet(s.name)
            }
        return Grid(**given)

    @property
    def _outcome(self) -> str | None:
        return self._grid.outcome_col

    def _trained(
        self, open_rows: Open, specs: Sequence[Spec], columns: ColumnSettings
    ) -> FittedMixture:
        tried = self._grid
        if tried.criterion == "segmentation":
            return fit_segments(open_rows, specs, tried)
        return fit_best(open_rows, specs, tried)
