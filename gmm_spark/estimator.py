"""The estimator: `GaussianMixture(k=4, inputCols=[...]).fit(data)`."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Any

import numpy as np
from pyspark.ml import Estimator
from pyspark.ml.param import Param
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import DataFrame

from gmm_spark.advice import headlines
from gmm_spark.data import Data, DataParams, Plan
from gmm_spark.engine.inputs import check_data
from gmm_spark.engine.outlying import density_quantile
from gmm_spark.engine.parquet import ParquetTable
from gmm_spark.errors import ConfigurationError, InputDataError, refusals
from gmm_spark.initial_model import check_columns, matched
from gmm_spark.mixture import multifit
from gmm_spark.mixture.candidates import Sample
from gmm_spark.mixture.completing import PartialStart
from gmm_spark.mixture.edges import off_zero, with_weight
from gmm_spark.mixture.em import Fit, PassRecord, Problem
from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.families import FAMILIES
from gmm_spark.mixture.multifit import MultiFit
from gmm_spark.mixture.parameters import Parameters, as_structure
from gmm_spark.mixture.prior import Prior
from gmm_spark.mixture.searching import search
from gmm_spark.mixture.spec import SETTINGS, SPEC, Spec
from gmm_spark.mixture.starting import labelled_start
from gmm_spark.mixture.structures import structure_named
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.params import takes_settings, with_settings
from gmm_spark.persistence import EstimatorReader, EstimatorWriter
from gmm_spark.progress import say, search_on_the_sample
from gmm_spark.summary import summarise

logger = logging.getLogger(__name__)


@takes_settings(SETTINGS)
@with_settings(SETTINGS)
class GaussianMixture(Estimator, DataParams, MLWritable, MLReadable):  # type: ignore[misc]
    """Gaussian mixture models by expectation-maximisation, for data too big for one machine.

    Takes MLlib's `GaussianMixture` Params under their own names, so that changing the import is
    the whole migration, and more: see `explainParams()`.

    Examples
    --------
    >>> from gmm_spark import GaussianMixture, ParquetTable
    >>> mixture = GaussianMixture(k=3, inputCols=["tenure", "monthly_charges"])
    >>> model = mixture.fit(ParquetTable("lake/customers"))  # doctest: +SKIP
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self._set(**settings)

    def setParams(self, **settings: Any) -> GaussianMixture:
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

    def _fit(self, dataset: DataFrame | ParquetTable) -> GaussianMixtureModel:
        self._check_settings()
        self._check_outputs(dataset)
        plan = self._plan()
        with self._opened(dataset, [plan]) as data:
            found = self._run(data, plan)
            threshold = self._threshold(data, plan, found)
        return self._model(dataset, data, plan, found, threshold)

    def _threshold(self, data: Data, plan: Plan, found: Fit) -> float | None:
        """The log density that `contamination` of the rows lie under."""
        share = self.getContamination()
        if share == 0:
            return None
        sample = self._sample(data, plan)
        evaluator = sample.evaluator([found.parameters])
        return density_quantile(data.source, data.scan, evaluator, share)

    def _run(self, data: Data, plan: Plan) -> Fit:
        """The best of the fits from every start that the sample leaves open, which share scans."""
        sample = self._sample(data, plan)
        starts = self._starts(data, sample, plan)
        problems = [self._problem(sample, start.k, data.scan.num_rows) for start in starts]

        def log(state: MultiFit) -> None:
            for index in state.last_scan:
                whose = f"start {index + 1}, " if len(starts) > 1 else ""
                _log_pass(state.fits[index].history[-1], whose)

        state = multifit.run(
            data.engine.run_passes,
            multifit.start(starts, problems),
            problems,
            [0.0] * len(starts),
            on_scan=log,
            seconds=lambda: data.engine.seconds[-1],
        )
        fits = multifit.results(state)
        return max((f for f in fits if f is not None), key=lambda f: f.objective)

    def _problem(self, sample: Sample, k: int, num_rows: int) -> Problem:
        """What EM is to do from a start of k components on all the rows."""
        return Problem(
            sample.standardisation,
            sample.floor,
            tol=self.getTol(),
            max_iter=self.getMaxIter(),
            acceleration=self.getAcceleration(),
            run_sample=sample.run_pass,
            has_missing=sample.gaps,
            prior=_beside_all(sample, k, num_rows),
        )

    def _model(
        self,
        dataset: DataFrame | ParquetTable,
        data: Data,
        plan: Plan,
        found: Fit,
        threshold: float | None,
        **more: Any,
    ) -> GaussianMixtureModel:
        columns = data.columns(plan)
        restored = found.parameters.restored(columns.standardisation)
        order = np.arange(restored.k)
        if not self._has_numbers():
            order = restored.canonical_order()
        model = GaussianMixtureModel(restored.taken(order), None, data.source.roles.categories)
        # The model's are what the plan chose.
        own = {"k", "covarianceType", "initialModel", *(part.name for part in self._parts())}
        for param, value in self._paramMap.items():
            if param.name not in own and model.hasParam(param.name):
                model._set(**{param.name: value})
        model._set(k=plan.k, covarianceType=plan.name)
        if threshold is not None:
            model._set(outlierThreshold=threshold)
        model._resetUid(self.uid)
        model._with_summary(
            summarise(
                found,
                data.scan,
                columns,
                order,
                data.source.roles,
                notes=data.notes,
                opening=data.opening,
                featuresCol=self.getFeaturesCol(),
                predictionCol=self.getPredictionCol(),
                probabilityCol=self.getProbabilityCol(),
                **more,
            )
        )
        for line in headlines(model.summary.warnings):
            logger.warning(line)
        return model._with_predictions(dataset) if isinstance(dataset, DataFrame) else model

    def _has_numbers(self) -> bool:
        """Whether components have numbers already: their labels', or those of what the fit starts
        from."""
        given = self.getLabelCol(), self.getInitialModel(), self._partial_start()
        return any(start is not None for start in given)

    def _parts(self) -> tuple[Param[Any], ...]:
        return self.initialWeights, self.initialMeans, self.initialCovariances

    def _partial_start(self) -> PartialStart | None:
        """The parts of a start that are given, if any is."""
        given = self.getInitialWeights(), self.getInitialMeans(), self.getInitialCovariances()
        if all(part is None for part in given):
            return None
        return PartialStart(*(None if p is None else np.array(p, dtype=float) for p in given))

    def _check_partial_start(self, plan: Plan) -> None:
        partial = self._partial_start()
        if partial is None:
            return
        for param in (self.initialModel, self.initialLabelCol):
            if self.isSet(param):
                raise ConfigurationError(
                    f"give {param.name} or parts of a start (initialWeights, initialMeans, "
                    "initialCovariances), not both"
                )
        names = self._input_columns()
        of_columns = partial.means is not None or partial.covariances is not None
        if names == [] and of_columns:
            raise ConfigurationError(
                "initialMeans and initialCovariances are of inputCols, and there are none"
            )
        try:
            partial.checked(plan.structure, plan.k, None if names is None else len(names))
        except SettingError as error:
            raise ConfigurationError(
                "initialWeights, initialMeans, initialCovariances with k = "
                f"{plan.k} and {'the vector' if names is None else f'{len(names)} inputCols'}: "
                f"{error}"
            ) from None

    def _check_settings(self) -> None:
        """Raise ConfigurationError for what is wrong before anything is read."""

        self._check_values()
        columns = self._columns
        columns.check_roles()
        if columns.has_families and self.isSet(self.featuresCol) and not columns.numeric:
            raise ConfigurationError(
                "categories and counts cannot stand beside featuresCol: name the numeric columns "
                "with inputCols"
            )

    def _check_values(self) -> None:
        """Raise SettingError for a value that its setting does not take."""
        Spec(**self._values(SPEC))

    def _plan(self) -> Plan:
        start = self.getInitialModel()
        if start is not None and self.getInitialLabelCol() is not None:
            raise ConfigurationError("give initialModel or initialLabelCol, not both")
        if start is not None and start.parameters.k != self.getK():
            raise ConfigurationError(
                f"k is {self.getK()}, but initialModel has {start.parameters.k} components"
            )
        if start is not None:
            named = {kind: self._columns.of_family(kind) for kind in FAMILIES}
            check_columns(start, self._input_columns(), named)
        num_features = None if start is None else start.parameters.d
        plan = self._planned(self.getK(), self.getCovarianceType(), num_features)
        self._check_partial_start(plan)
        return plan

    def _planned(self, k: int, name: str, num_features: int | None = None) -> Plan:
        floor = self.getCovarianceFloor()
        structure = structure_named(name)
        name = structure.name
        if self._input_columns() == []:
            structure = structure_named("diag")  # of no columns: any would do
        return Plan(k, name, structure, None if floor == "auto" else float(floor), num_features)

    def _starts(self, data: Data, sample: Sample, plan: Plan) -> list[Parameters]:
        given = self.getInitialModel()
        if given is not None:
            return [self._given(given, data, sample, plan)]
        if self.getInitialLabelCol() is not None:
            labels = data.scan.labels
            if len(labels) != plan.k:
                shown = ", ".join(f"{label:g}" for label in labels[:10])
                raise InputDataError(
                    f"label column {self.getInitialLabelCol()!r} has {len(labels)} "
                    f"distinct values ({shown}), k is {plan.k}; they must be equal in number"
                )
            return [
                labelled_start(
                    data.engine.run_labelled,
                    sample,
                    plan.k,
                    plan.structure,
                    sample.floor,
                    _beside_all(sample, plan.k, data.scan.num_rows),
                )
            ]
        partial = self._partial_start()
        if partial is not None:
            partial.checked(plan.structure, plan.k, sample.d)
            found = partial.completed(
                sample, plan.k, plan.structure, lambda: self._searched(data, sample, plan)[0]
            )
            return [found]
        starts = self._searched(data, sample, plan)
        # Of all the rows the sample has the last word.
        return starts if sample.num_rows < data.scan.num_rows else starts[:1]

    def _searched(self, data: Data, sample: Sample, plan: Plan) -> list[Parameters]:
        with search_on_the_sample() as tell:
            return search(
                sample,
                plan.k,
                plan.structure,
                init_mode=self.getInitMode(),
                num_init=self.getNumInit(),
                seed=self.getSeed() & (2**63 - 1),
                tol=self.getTol(),
                executor=data.sample_executor(sample),
                tell=tell,
            )

    def _given(
        self, model: GaussianMixtureModel, data: Data, sample: Sample, plan: Plan
    ) -> Parameters:
        """The parameters of a model to start from, with or without noise as it is asked for."""
        usual = [family.prior(values, sample.weights) for family, values in sample.of_families]
        given, notes = matched(model, self._input_columns(), data.source.roles, usual)
        data.notes.extend(notes)
        start = as_structure(given, plan.structure).standardised(sample.standardisation)
        start = off_zero(with_weight(start))
        wanted = sample.noise
        if wanted is None or start.noise is None or start.noise.weight == 0:
            weights = start.weights / start.weights.sum()
            start = replace(start, weights=weights, noise=None)
            return start if wanted is None else start.with_noise(wanted)
        return replace(start, noise=replace(wanted, weight=start.noise.weight))

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
    def load(cls, path: str | os.PathLike[str]) -> GaussianMixture:
        """Load an estimator; ModelFileError where there is none, or it cannot be read."""
        loaded: GaussianMixture = cls.read().load(path)
        return loaded


def _beside_all(sample: Sample, k: int, num_rows: int) -> Prior | None:
    """The prior of k components beside all the rows that the sample is of."""
    if sample.prior is None:
        return None
    return sample.prior.times(num_rows / sample.num_rows).of(k)


def _log_pass(record: PassRecord, whose: str = "") -> None:
    gain = "" if record.gain is None else f", gain {record.gain:.3g}"
    say(
        "%spass %d (%s), mean log-likelihood %.6f%s",
        whose,
        record.number,
        record.kind,
        record.mean_log_likelihood,
        gain,
    )
