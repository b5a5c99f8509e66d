"""The estimator: `GaussianMixture(k=4, inputCols=[...]).fit(data)`."""

from __future__ import annotations

from collections.abc import Sequence

from gmm_spark.base import MixtureEstimator
from gmm_spark.data import Open
from gmm_spark.initial_model import check_columns
from gmm_spark.mixture.families import FAMILIES
from gmm_spark.mixture.spec import SETTINGS, SPEC, ColumnSettings, Spec
from gmm_spark.params import takes_settings, with_settings
from gmm_spark.training import FittedMixture, check_start, fit


@takes_settings(SETTINGS)
@with_settings(SETTINGS)
class GaussianMixture(MixtureEstimator):
    """Gaussian mixture models by expectation-maximisation, for data too big for one machine.

    Takes MLlib's `GaussianMixture` Params under their own names, so that changing the import is
    the whole migration, and more: see `explainParams()`.

    Examples
    --------
    >>> from gmm_spark import GaussianMixture, ParquetTable
    >>> mixture = GaussianMixture(k=3, inputCols=["tenure", "monthly_charges"])
    >>> model = mixture.fit(ParquetTable("lake/customers"))  # doctest: +SKIP
    """

    def _specs(self) -> Sequence[Spec]:
        return [Spec(**self._values(SPEC))]

    def _check_start(self, specs: Sequence[Spec], columns: ColumnSettings) -> None:
        numeric, model = columns.numeric, specs[0].initial_model
        d = None if numeric is None else len(numeric)
        check_start(specs[0], d, columns.initial_label_col)
        if model is not None:
            check_columns(model, numeric, {kind: columns.of_family(kind) for kind in FAMILIES})

    def _trained(
        self, open_rows: Open, specs: Sequence[Spec], columns: ColumnSettings
    ) -> FittedMixture:
        return fit(open_rows, specs[0], columns.numeric)
