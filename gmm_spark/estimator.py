"""The estimator: `GaussianMixture(k=4, inputCols=[...]).fit(data)`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pyspark import keyword_only
from pyspark.ml import Estimator
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import DataFrame, SparkSession
from threadpoolctl import threadpool_limits

from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.crew import SparkCrew
from gmm_spark.engine.dataframe import DataFrameSource
from gmm_spark.engine.jobs import Source
from gmm_spark.engine.parquet import ParquetSource, ParquetTable
from gmm_spark.engine.passes import SparkEngine
from gmm_spark.engine.scanning import MISSING, Scan, scan
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.mixture.candidates import Crew, Sample
from gmm_spark.mixture.fitting import ACCELERATIONS, Fit, PassRecord, Race, fit_together, passes
from gmm_spark.mixture.kernel import Evaluator, SingularCovarianceError
from gmm_spark.mixture.parameters import Parameters, Structure, as_structure, structure_named
from gmm_spark.mixture.scaling import Columns, describe_columns
from gmm_spark.mixture.searching import search
from gmm_spark.mixture.starting import INIT_MODES, labelled_start
from gmm_spark.mixture.sufficient import Statistics
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.params import GaussianMixtureParams
from gmm_spark.persistence import EstimatorReader, EstimatorWriter
from gmm_spark.summary import summarise

logger = logging.getLogger(__name__)

# The sample: so many bytes, more where a mixture has many parameters, and rows at most.
_SAMPLE_BYTES = 24 << 20
_SAMPLE_BYTES_AT_MOST = 64 << 20
_SAMPLE_ROWS_PER_PARAMETER = 10
_SAMPLE_ROWS_AT_MOST = 300_000


@dataclass(frozen=True)
class _Plan:
    """The settings of one fit, checked before anything is read."""

    k: int
    name: str  # of the structure, as the user wrote it
    structure: Structure
    floor: float | None
    num_features: int | None


@dataclass
class _Data:
    """What a fit reads, after the first scan."""

    source: Source
    scan: Scan
    engine: SparkEngine
    opening: tuple[str, float]  # what the first scan was, and its seconds
    _described: dict[tuple[str, float | None], Columns] = field(default_factory=dict)
    _crews: list[SparkCrew] = field(default_factory=list)

    def columns(self, plan: _Plan) -> Columns:
        """The columns as a plan sees them; spherical structures have one scale for all."""
        key = plan.structure.shape, plan.floor
        if key not in self._described:
            scan = self.scan
            self._described[key] = describe_columns(
                scan.sample, scan.lowest, scan.highest, plan.structure, plan.floor
            )
        return self._described[key]

    def crew(self, sample: Sample) -> Crew:
        """Who searches on a sample: the cluster, where there is enough to do."""
        self._crews.append(SparkCrew(self.source.spark, sample))
        return self._crews[-1]

    def close(self) -> None:
        """Give back what the cluster holds."""
        for crew in self._crews:
            crew.close()
        self.source.close()


class GaussianMixture(Estimator, GaussianMixtureParams, MLWritable, MLReadable):  # type: ignore[misc]
    """Gaussian mixture models by expectation-maximisation, for data too big for one machine.

    Takes MLlib's `GaussianMixture` Params under their own names, so that changing the import is
    the whole migration, and more: see `explainParams()`.

    Examples
    --------
    >>> from gmm_spark import GaussianMixture, ParquetTable
    >>> mixture = GaussianMixture(k=3, inputCols=["tenure", "monthly_charges"])
    >>> model = mixture.fit(ParquetTable("lake/customers"))  # doctest: +SKIP
    """

    _input_kwargs: dict[str, Any]

    @keyword_only
    def __init__(
        self,
        *,
        featuresCol: str = "features",
        predictionCol: str = "prediction",
        k: int = 2,
        probabilityCol: str = "probability",
        tol: float = 1e-6,
        maxIter: int = 100,
        seed: int | None = None,
        aggregationDepth: int = 2,
        weightCol: str | None = None,
        inputCols: list[str] | None = None,
        covarianceType: str = "full",
        initMode: str = "k-means",
        numInit: int = 16,
        initialModel: GaussianMixtureModel | None = None,
        initialLabelCol: str | None = None,
        covarianceFloor: str | float = "auto",
        acceleration: str = "anderson",
        missing: str = "error",
        logLikelihoodCol: str = "",
        uncertaintyCol: str = "",
        sampleSize: int = 0,
    ) -> None:
        super().__init__()
        self._set(**self._input_kwargs)

    @keyword_only
    def setParams(
        self,
        *,
        featuresCol: str = "features",
        predictionCol: str = "prediction",
        k: int = 2,
        probabilityCol: str = "probability",
        tol: float = 1e-6,
        maxIter: int = 100,
        seed: int | None = None,
        aggregationDepth: int = 2,
        weightCol: str | None = None,
        inputCols: list[str] | None = None,
        covarianceType: str = "full",
        initMode: str = "k-means",
        numInit: int = 16,
        initialModel: GaussianMixtureModel | None = None,
        initialLabelCol: str | None = None,
        covarianceFloor: str | float = "auto",
        acceleration: str = "anderson",
        missing: str = "error",
        logLikelihoodCol: str = "",
        uncertaintyCol: str = "",
        sampleSize: int = 0,
    ) -> GaussianMixture:
        """Sets the given Params."""
        return self._set(**self._input_kwargs)

    def fit(self, dataset: DataFrame | ParquetTable, params: Any = None) -> Any:
        """Fit the mixture to a DataFrame, or to a Parquet table the workers read themselves.

        Raises
        ------
        ConfigurationError : a Param is wrong
        InputDataError : the data cannot be used; says in which column, what and how many
        FitError : the data changed while they were read
        """
        return super().fit(dataset, params)  # type: ignore[arg-type]

    def _fit(self, dataset: DataFrame | ParquetTable) -> GaussianMixtureModel:
        self._check_settings()
        plan = self._plan()
        with self._opened(dataset, [plan]) as data:
            found, seconds = self._run(data, plan)
        return self._model(dataset, data, plan, found, seconds)

    @contextmanager
    def _opened(self, dataset: DataFrame | ParquetTable, plans: Sequence[_Plan]) -> Iterator[_Data]:
        """The data scanned once and described for every plan; given back in the end."""
        started = time.monotonic()
        source = self._source(dataset)
        opened: _Data | None = None
        try:
            d = len(source.roles.features)
            scanned = scan(
                source,
                missing=self.getMissing(),  # type: ignore[arg-type]
                seed=self.getSeed() & (2**63 - 1),
                sample_size=self._sample_rows(plans, d),
            )
            logger.info(
                "%d rows of %d columns, %d left out for their gaps; sample of %d",
                scanned.num_rows,
                d,
                scanned.num_skipped,
                scanned.sample.shape[1],
            )
            engine = SparkEngine(source, scanned, self.getOrDefault("aggregationDepth"))
            kind = "scan" if isinstance(source, ParquetSource) else "packing"
            # Products of this size lose by threads: 1M x 16, k = 8 found its start in 1.4 s with
            # one and in 8 s with two, on a machine whose other cores had work.
            with threadpool_limits(1):
                opened = _Data(source, scanned, engine, (kind, time.monotonic() - started))
                yield opened
        except SingularCovarianceError:
            raise InputDataError(
                "the covariances of the starting values are singular and there is no floor; use "
                "covarianceFloor='auto', a smaller k, or fewer columns"
            ) from None
        finally:
            (opened or source).close()

    def _run(self, data: _Data, plan: _Plan) -> tuple[Fit, list[float]]:
        """The best of the fits from every start that the sample leaves open, which share scans."""
        sample = self._sample(data, plan)
        starts = self._starts(data, sample, plan)
        race = Race([0.0] * len(starts))
        climbs = []
        for index, start in enumerate(starts):

            def listen(record: PassRecord, index: int = index) -> None:
                race.passed(index, record)
                _log_pass(record, f"start {index + 1}, " if len(starts) > 1 else "")

            climbs.append(self._climb(start, sample, listen))
        fits = fit_together(data.engine.run_passes, climbs, race.hopeless)
        best = max((f for f in fits if f is not None), key=lambda f: f.log_likelihood)
        return best, data.engine.seconds[: len(best.history)]

    def _sample(self, data: _Data, plan: _Plan) -> Sample:
        """The sample as a plan sees it; raises where the data do not suit it."""
        roles, scanned = data.source.roles, data.scan
        d = len(roles.features)
        if plan.num_features not in (None, d):
            raise ConfigurationError(f"initialModel has {plan.num_features} columns, the data {d}")
        if plan.k > scanned.num_rows:
            raise InputDataError(
                f"k is {plan.k}, but there are only {scanned.num_rows} rows; use a smaller k"
            )
        columns = data.columns(plan)
        self._refuse_singular(columns, plan, roles.features)
        by = columns.standardisation
        floor = columns.floor / by.scale
        return Sample(scanned.sample, scanned.sample_weights, by, floor, any(scanned.gaps))

    def _climb(
        self, start: Parameters, sample: Sample, listener: Callable[[PassRecord], None]
    ) -> Generator[Evaluator, Statistics, Fit]:
        return passes(
            start,
            sample.standardisation,
            floor=sample.floor,
            tol=self.getTol(),
            max_iter=self.getMaxIter(),
            acceleration=self.getAcceleration(),  # type: ignore[arg-type]
            run_sample=sample.run_pass,
            gaps=sample.gaps,
            listener=listener,
        )

    def _model(
        self,
        dataset: DataFrame | ParquetTable,
        data: _Data,
        plan: _Plan,
        found: Fit,
        seconds: list[float],
        **more: Any,
    ) -> GaussianMixtureModel:
        columns = data.columns(plan)
        restored = found.parameters.restored(columns.standardisation)
        order = restored.canonical_order()
        model = GaussianMixtureModel(restored.taken(order))
        own = {"k", "covarianceType", "initialModel"}  # the model's are what the plan chose
        for param, value in self._paramMap.items():
            if param.name not in own and model.hasParam(param.name):
                model._set(**{param.name: value})
        model._set(k=plan.k, covarianceType=plan.name)
        model._resetUid(self.uid)
        model._with_summary(
            summarise(
                found,
                seconds,
                data.scan,
                columns,
                order,
                data.source.roles,
                opening=data.opening,
                featuresCol=self.getFeaturesCol(),
                predictionCol=self.getPredictionCol(),
                probabilityCol=self.getProbabilityCol(),
                **more,
            )
        )
        for warning in model.summary.warnings:
            logger.warning(warning)
        return model._with_predictions(dataset) if isinstance(dataset, DataFrame) else model

    def _check_settings(self) -> None:
        """Raise ConfigurationError for what is wrong before anything is read."""

        def require(holds: bool, name: str, expected: str) -> None:
            if not holds:
                raise ConfigurationError(
                    f"{name} is {self.getOrDefault(name)!r}; it must be {expected}"
                )

        require(self.getMaxIter() >= 0, "maxIter", "at least 0")
        require(self.getTol() >= 0, "tol", "at least 0")
        require(self.getNumInit() >= 1, "numInit", "at least 1")
        require(self.getSampleSize() >= 0, "sampleSize", "at least 0")
        require(self.getOrDefault("aggregationDepth") >= 1, "aggregationDepth", "at least 1")
        require(
            self.getAcceleration() in ACCELERATIONS,
            "acceleration",
            f"one of {', '.join(ACCELERATIONS)}",
        )
        require(self.getInitMode() in INIT_MODES, "initMode", f"one of {', '.join(INIT_MODES)}")
        floor = self.getCovarianceFloor()
        require(floor == "auto" or 0 <= float(floor) < 1, "covarianceFloor", "auto, or in [0, 1)")
        require(self.getMissing() in MISSING, "missing", f"one of {', '.join(MISSING)}")
        names = self._input_columns()
        if names is not None and (len(names) == 0 or len(set(names)) < len(names)):
            raise ConfigurationError(
                f"inputCols is {names}; name at least one column, and each once"
            )

    def _plan(self) -> _Plan:
        if self.getK() < 1:
            raise ConfigurationError(f"k is {self.getK()}; it must be at least 1")
        start = self.getInitialModel()
        if start is not None and self.getInitialLabelCol() is not None:
            raise ConfigurationError("give initialModel or initialLabelCol, not both")
        if start is not None and start.parameters.k != self.getK():
            raise ConfigurationError(
                f"k is {self.getK()}, but initialModel has {start.parameters.k} components"
            )
        num_features = None if start is None else start.parameters.d
        return self._planned(self.getK(), self.getCovarianceType(), num_features)

    def _planned(self, k: int, name: str, num_features: int | None = None) -> _Plan:
        floor = self.getCovarianceFloor()
        structure = structure_named(name)
        return _Plan(k, name, structure, None if floor == "auto" else float(floor), num_features)

    def _source(self, dataset: DataFrame | ParquetTable) -> Source:
        names = self._input_columns()
        weight, label = self._weight_column(), self.getInitialLabelCol()
        if isinstance(dataset, ParquetTable):
            spark = SparkSession.getActiveSession()
            if spark is None:
                raise ConfigurationError(
                    "there is no active SparkSession; make one with SparkSession.builder"
                )
            if names is not None:
                return ParquetSource(spark, dataset, Roles(tuple(names), weight, label))
            if dataset.filters is not None:
                raise ConfigurationError(
                    "filters need inputCols; for a vector column, filter a DataFrame"
                )
            dataset = spark.read.parquet(dataset.path)
        return DataFrameSource(
            dataset,
            input_cols=names,
            features_col=self.getFeaturesCol(),
            weight=weight,
            label=label,
        )

    def _sample_rows(self, plans: Sequence[_Plan], d: int) -> int:
        if self.getSampleSize():
            return self.getSampleSize()
        parameters = max(plan.structure.num_free_parameters(plan.k, d) for plan in plans)
        wanted = _SAMPLE_ROWS_PER_PARAMETER * parameters
        rows = max(_SAMPLE_BYTES // (8 * d), min(wanted, _SAMPLE_BYTES_AT_MOST // (8 * d)))
        return max(1000, min(rows, _SAMPLE_ROWS_AT_MOST))

    def _refuse_singular(self, columns: Columns, plan: _Plan, names: tuple[str, ...]) -> None:
        if plan.floor != 0 or plan.structure.shape == "spherical":
            return
        if columns.constant:
            constant = ", ".join(names[j] for j in columns.constant)
            raise InputDataError(
                f"constant columns ({constant}) have no likelihood without a floor; leave them "
                "out, or use covarianceFloor='auto'"
            )
        if columns.collinear:
            group = ", ".join(names[j] for j in columns.collinear[0])
            raise InputDataError(
                f"columns {group} are exactly collinear: there is no likelihood without a floor; "
                "leave one out, or use covarianceFloor='auto'"
            )

    def _starts(self, data: _Data, sample: Sample, plan: _Plan) -> list[Parameters]:
        by = sample.standardisation
        given = self.getInitialModel()
        if given is not None:
            return [as_structure(given.parameters, plan.structure).standardised(by)]
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
                    data.engine.run_labelled, sample, plan.k, plan.structure, sample.floor
                )
            ]
        found = search(
            sample,
            plan.k,
            plan.structure,
            init_mode=self.getInitMode(),  # type: ignore[arg-type]
            num_init=self.getNumInit(),
            seed=self.getSeed() & (2**63 - 1),
            tol=self.getTol(),
            crew=data.crew(sample),
        )
        # Of all the rows the sample has the last word.
        return found if sample.num_rows < data.scan.num_rows else found[:1]

    def write(self) -> EstimatorWriter:
        """Returns a writer; `write().overwrite().save(path)` replaces what is there."""
        return EstimatorWriter(self)

    def save(self, path: str) -> None:
        """Save this estimator to a path that does not exist yet."""
        self.write().save(path)

    @classmethod
    def read(cls) -> EstimatorReader:
        """Returns a reader."""
        return EstimatorReader(cls)

    @classmethod
    def load(cls, path: str) -> GaussianMixture:
        """Load an estimator; ModelFileError where there is none, or it cannot be read."""
        loaded: GaussianMixture = cls.read().load(path)
        return loaded

    def setK(self, value: int) -> GaussianMixture:
        """Sets the number of components."""
        return self._set(k=value)

    def setMaxIter(self, value: int) -> GaussianMixture:
        """Sets the number of full passes at most."""
        return self._set(maxIter=value)

    def setTol(self, value: float) -> GaussianMixture:
        """Sets the gain of the mean log-likelihood under which the fit has converged."""
        return self._set(tol=value)

    def setSeed(self, value: int) -> GaussianMixture:
        """Sets the seed of the sample and the starts."""
        return self._set(seed=value)

    def setFeaturesCol(self, value: str) -> GaussianMixture:
        """Sets the vector or array column of features."""
        return self._set(featuresCol=value)

    def setInputCols(self, value: list[str]) -> GaussianMixture:
        """Sets the numeric columns used instead of featuresCol."""
        return self._set(inputCols=value)

    def setPredictionCol(self, value: str) -> GaussianMixture:
        """Sets the output column of the most probable component."""
        return self._set(predictionCol=value)

    def setProbabilityCol(self, value: str) -> GaussianMixture:
        """Sets the output column of the probabilities."""
        return self._set(probabilityCol=value)

    def setWeightCol(self, value: str) -> GaussianMixture:
        """Sets the column of row weights."""
        return self._set(weightCol=value)

    def setAggregationDepth(self, value: int) -> GaussianMixture:
        """Sets the number of stages large statistics are merged in."""
        return self._set(aggregationDepth=value)

    def setCovarianceType(self, value: str) -> GaussianMixture:
        """Sets the covariance structure."""
        return self._set(covarianceType=value)

    def setInitMode(self, value: str) -> GaussianMixture:
        """Sets how starts are made."""
        return self._set(initMode=value)

    def setNumInit(self, value: int) -> GaussianMixture:
        """Sets the number of starts tried on the sample."""
        return self._set(numInit=value)

    def setInitialModel(self, value: GaussianMixtureModel) -> GaussianMixture:
        """Sets the model to start from."""
        return self._set(initialModel=value)

    def setInitialLabelCol(self, value: str) -> GaussianMixture:
        """Sets the column of labels to start from."""
        return self._set(initialLabelCol=value)

    def setCovarianceFloor(self, value: str | float) -> GaussianMixture:
        """Sets the covariance floor: auto, a fraction of the columns' own deviation, or 0."""
        return self._set(covarianceFloor=value)

    def setAcceleration(self, value: str) -> GaussianMixture:
        """Sets whether longer steps than EM's are tried: anderson or none."""
        return self._set(acceleration=value)

    def setMissing(self, value: str) -> GaussianMixture:
        """Sets what becomes of rows with gaps: error, skip or marginalize."""
        return self._set(missing=value)

    def setLogLikelihoodCol(self, value: str) -> GaussianMixture:
        """Sets the model's output column of the log density."""
        return self._set(logLikelihoodCol=value)

    def setUncertaintyCol(self, value: str) -> GaussianMixture:
        """Sets the model's output column of 1 - largest probability."""
        return self._set(uncertaintyCol=value)

    def setSampleSize(self, value: int) -> GaussianMixture:
        """Sets the number of rows sampled for starts and scales."""
        return self._set(sampleSize=value)


def _log_pass(record: PassRecord, whose: str = "") -> None:
    gain = "" if record.gain is None else f", gain {record.gain:.3g}"
    logger.info(
        "%spass %d (%s), mean log-likelihood %.6f%s",
        whose,
        record.number,
        record.kind,
        record.mean_log_likelihood,
        gain,
    )
