"""The estimator, `GaussianMixture(k=4, inputCols=[...]).fit(data)`, and what it shares."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, TypeVar

from pyspark.ml import Estimator
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import DataFrame

from gmm_spark.advice import headlines
from gmm_spark.data import Open, refuse_wide
from gmm_spark.description import settings_line
from gmm_spark.engine.inputs import check_data
from gmm_spark.engine.parquet import ParquetTable
from gmm_spark.engine.source import check_source, open_source
from gmm_spark.errors import ConfigurationError, InputDataError, refusals
from gmm_spark.initial_model import check_columns
from gmm_spark.mixture.families import FAMILIES
from gmm_spark.mixture.spec import SETTINGS, SPEC, ColumnSettings, Spec
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.output_columns import refuse_taken
from gmm_spark.params import GaussianMixtureParams, takes_settings, with_settings
from gmm_spark.persistence import EstimatorReader, EstimatorWriter
from gmm_spark.summary import summarise
from gmm_spark.training import FittedMixture, check_start, fit

logger = logging.getLogger(__name__)

_Self = TypeVar("_Self", bound="MixtureEstimator")


class MixtureEstimator(Estimator, GaussianMixtureParams, MLWritable, MLReadable):  # type: ignore[misc]
    """An estimator that fits a mixture to a DataFrame or to a Parquet table.

    A subclass says what is fitted (`_specs`), and fits it (`_trained`).
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self._set(**settings)

    def setParams(self: _Self, **settings: Any) -> _Self:
        """Sets the given Params."""
        return self._set(**settings)

    @refusals()
    def fit(self, dataset: DataFrame | ParquetTable, params: Any = None) -> Any:
        """Fit the mixture to a DataFrame, or to a Parquet table the workers read themselves.

        Raises
        ------
        ConfigurationError : a Param is wrong
        InputDataError : the data cannot be used; says in which column, what and how many
        FitError : the data changed while they were read
        """
        check_data(dataset, (DataFrame, ParquetTable), "fit")
        if isinstance(dataset, DataFrame) and dataset.isStreaming:
            raise InputDataError(
                "fit takes data that are all there; this DataFrame is a stream: fit a stored "
                "table, and transform the stream with the model"
            )
        return super().fit(dataset, params)  # type: ignore[arg-type]

    @refusals()
    def check(self, dataset: DataFrame | ParquetTable) -> None:
        """Raise what `fit` would raise before it reads a row: of settings, columns, their types."""
        check_data(dataset, (DataFrame, ParquetTable), "check")
        _, columns = self._checked(dataset)
        check_source(dataset, columns, self.getMissing(), self._outcome)

    def _fit(self, dataset: DataFrame | ParquetTable) -> GaussianMixtureModel:
        specs, columns = self._checked(dataset)
        outcome = self._outcome

        def opened() -> Any:
            refuse_wide(specs, len(columns.numeric or ()), columns.initial_label_col is not None)
            missing, max_categories = specs[0].missing, specs[0].max_categories
            return open_source(dataset, columns, missing, max_categories, outcome)

        return self._model(self._trained(opened, specs, columns), dataset)

    def _specs(self) -> Sequence[Spec]:
        """What is fitted: a spec of every mixture, all with the same settings but for their size
        and structure."""
        raise NotImplementedError

    @property
    def _outcome(self) -> str | None:
        """A column that is read beside those that are fitted, and chosen by."""
        return None

    def _check_start(self, specs: Sequence[Spec], columns: ColumnSettings) -> None:
        """Raise ConfigurationError for a start that no data can suit."""
        raise NotImplementedError

    def _trained(
        self, open_rows: Open, specs: Sequence[Spec], columns: ColumnSettings
    ) -> FittedMixture:
        """The mixture that is the best of these on the rows."""
        raise NotImplementedError

    def _checked(self, dataset: DataFrame | ParquetTable) -> tuple[Sequence[Spec], ColumnSettings]:
        """Params as specs and columns; raises for what is wrong before anything is read."""
        columns = self._columns
        specs = self._specs()
        columns.check_roles(self._outcome)
        if columns.has_families and self.isSet(self.featuresCol) and not columns.numeric:
            raise ConfigurationError(
                "categories and counts cannot stand beside featuresCol: name the numeric columns "
                "with inputCols"
            )
        self._check_outputs(dataset, columns)
        self._check_start(specs, columns)
        return specs, columns

    def _check_outputs(self, dataset: DataFrame | ParquetTable, columns: ColumnSettings) -> None:
        """Raise ConfigurationError where the model could not score what it is fitted to."""
        outlier = self.getContamination() > 0 or columns.outlier_threshold is not None
        if not isinstance(dataset, ParquetTable):
            there = dataset.columns
        else:  # the columns that scoring keeps are named there; those that a fit reads, here
            named = columns.weight, columns.initial_label_col, columns.label_col
            there = [name for name in named if name is not None]
            there += columns.numeric or [columns.features_col]
            there += [name for kind in FAMILIES for name in columns.of_family(kind)]
            there += dataset.columns or ()
        refuse_taken(columns.outputs(outlier), there)

    def _model(
        self, found: FittedMixture, dataset: DataFrame | ParquetTable
    ) -> GaussianMixtureModel:
        """The model of a mixture, with the Params of this estimator that it has too."""
        model = GaussianMixtureModel(found.parameters, None, found.roles.categories)
        model._merging, model._statistics = found.merging, found.statistics
        # The model's are what the fit chose; the start, and where it is kept, are not part of it.
        own = {"k", "covarianceType", "checkpointDir"}
        own |= {each.name for each in SPEC if each.starts}
        for param, value in self._paramMap.items():
            if param.name not in own and model.hasParam(param.name):
                model._set(**{param.name: value})
        model._set(k=found.spec.k, covarianceType=found.spec.structure.name)
        if found.spec.covariance_floor != self.getCovarianceFloor():
            model._set(covarianceFloor=found.spec.covariance_floor)
        if found.outlier_threshold is not None:
            model._set(outlierThreshold=found.outlier_threshold)
        model._resetUid(self.uid)
        model._with_summary(
            summarise(
                found.fit,
                found.scan,
                found.columns,
                found.order,
                found.roles,
                notes=found.notes,
                opening=found.opening,
                path=found.path,
                merged=found.merging is not None,
                candidates=found.candidates,
                alternatives=found.alternatives,
                outcomeInformation=found.outcome_information,
                featuresCol=self.getFeaturesCol(),
                predictionCol=self.getPredictionCol(),
                probabilityCol=self.getProbabilityCol(),
            )
        )
        for line in headlines(model.summary.warnings):
            logger.warning(line)
        return model._with_predictions(dataset) if isinstance(dataset, DataFrame) else model

    # `str` is the uid, as MLlib's, whose `repr` is no more.
    def __str__(self) -> str:
        return str(self.uid)

    def __repr__(self) -> str:
        return settings_line(self)

    def _repr_html_(self) -> str:
        from gmm_spark.report.notebook import estimator_html

        return estimator_html(self)

    def write(self) -> EstimatorWriter:
        """Returns a writer; `write().overwrite().save(path)` replaces what is there."""
        return EstimatorWriter(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save this estimator to a path that does not exist yet."""
        self.write().save(path)

    @classmethod
    def read(cls) -> EstimatorReader:
        """Returns a reader."""
        return EstimatorReader(cls)

    @classmethod
    def load(cls: type[_Self], path: str | os.PathLike[str]) -> _Self:
        """Load an estimator; ModelFileError where there is none, or it cannot be read."""
        loaded: _Self = cls.read().load(path)
        return loaded


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
