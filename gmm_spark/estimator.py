"""The estimator: `GaussianMixture(k=4, inputCols=[...]).fit(data)`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pyspark import keyword_only
from pyspark.ml import Estimator
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import DataFrame, SparkSession
from threadpoolctl import threadpool_limits

from gmm_spark.engine.blocks import Category, Roles
from gmm_spark.engine.crew import SparkCrew
from gmm_spark.engine.dataframe import DataFrameSource, check_category, quoted
from gmm_spark.engine.jobs import Source
from gmm_spark.engine.levels import find_categories
from gmm_spark.engine.outlying import density_quantile
from gmm_spark.engine.parquet import (
    ParquetSource,
    ParquetTable,
    check_category_column,
    row_group_reader,
    task_numbers,
)
from gmm_spark.engine.passes import SparkEngine
from gmm_spark.engine.scanning import MISSING, Scan, scan
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.mixture.candidates import Crew, Sample
from gmm_spark.mixture.fitting import ACCELERATIONS, Fit, PassRecord, Race, fit_together, passes
from gmm_spark.mixture.kernel import Evaluator, SingularCovarianceError
from gmm_spark.mixture.parameters import Noise, Parameters, Structure, as_structure, structure_named
from gmm_spark.mixture.prior import FraleyRaftery, Prior, Priors, frequencies
from gmm_spark.mixture.scaling import Columns, describe_columns
from gmm_spark.mixture.searching import search
from gmm_spark.mixture.starting import INIT_MODES, labelled_start, one_component
from gmm_spark.mixture.sufficient import Statistics
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.params import GaussianMixtureParams
from gmm_spark.persistence import EstimatorReader, EstimatorWriter
from gmm_spark.summary import summarise

logger = logging.getLogger(__name__)

PRIORS = "none", "conjugate"
# Noise starts with this weight where nothing says more.
_LEAST_NOISE = 0.01

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
    notes: list[str]  # warnings about categories
    _described: dict[tuple[str, float | None], Columns] = field(default_factory=dict)
    _crews: list[SparkCrew] = field(default_factory=list)

    def columns(self, plan: _Plan) -> Columns:
        """The columns as a plan sees them; spherical structures have one scale for all."""
        key = plan.structure.shape, plan.floor
        if key not in self._described:
            scan = self.scan
            d = len(self.source.roles.features)
            numbers = scan.sample[:d]
            self._described[key] = describe_columns(
                numbers, scan.lowest[:d], scan.highest[:d], plan.structure, plan.floor
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
        categoricalCols: list[str] | None = None,
        countCols: list[str] | None = None,
        maxCategories: int = 64,
        categoryPrior: float = 1.0,
        labelCol: str | None = None,
        noise: bool = False,
        contamination: float = 0.0,
        outlierCol: str = "outlier",
        outlierThreshold: float | None = None,
        prior: str = "none",
        priorShrinkage: float = 0.01,
        weightConcentration: float = 1.0,
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
        categoricalCols: list[str] | None = None,
        countCols: list[str] | None = None,
        maxCategories: int = 64,
        categoryPrior: float = 1.0,
        labelCol: str | None = None,
        noise: bool = False,
        contamination: float = 0.0,
        outlierCol: str = "outlier",
        outlierThreshold: float | None = None,
        prior: str = "none",
        priorShrinkage: float = 0.01,
        weightConcentration: float = 1.0,
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
            threshold = self._threshold(data, plan, found)
        return self._model(dataset, data, plan, found, seconds, threshold)

    def _threshold(self, data: _Data, plan: _Plan, found: Fit) -> float | None:
        """The log density that `contamination` of the rows lie under."""
        share = self.getContamination()
        if share == 0:
            return None
        sample = self._sample(data, plan)
        evaluator = sample.evaluator([found.parameters])
        return density_quantile(data.source, data.scan, evaluator, share)

    @contextmanager
    def _opened(self, dataset: DataFrame | ParquetTable, plans: Sequence[_Plan]) -> Iterator[_Data]:
        """The data scanned once and described for every plan; given back in the end."""
        started = time.monotonic()
        source, notes = self._source(dataset)
        opened: _Data | None = None
        try:
            scanned = scan(
                source,
                missing=self.getMissing(),  # type: ignore[arg-type]
                seed=self.getSeed() & (2**63 - 1),
                sample_size=self._sample_rows(plans, source.roles),
            )
            self._check_labels(scanned, plans)
            logger.info(
                "%d rows of %d columns, %d left out for their gaps; sample of %d",
                scanned.num_rows,
                len(source.roles.inputs),
                scanned.num_skipped,
                scanned.sample.shape[1],
            )
            engine = SparkEngine(source, scanned, self.getOrDefault("aggregationDepth"))
            kind = "scan" if isinstance(source, ParquetSource) else "packing"
            # Products of this size lose by threads: 1M x 16, k = 8 found its start in 1.4 s with
            # one and in 8 s with two, on a machine whose other cores had work.
            with threadpool_limits(1):
                opening = kind, time.monotonic() - started
                opened = _Data(source, scanned, engine, opening, notes)
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

            climbs.append(self._climb(start, sample, data.scan.num_rows, listen))
        fits = fit_together(data.engine.run_passes, climbs, race.hopeless)
        best = max((f for f in fits if f is not None), key=lambda f: f.objective)
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
        noise = None
        if self.getNoise():
            ranges = scanned.highest - scanned.lowest
            widths = np.where(ranges[:d] > 0, ranges[:d] / by.scale, 1.0)
            values = ranges[len(ranges) - len(roles.counts) :] + 1
            noise = Noise(_LEAST_NOISE, np.log(widths), np.log(values))
        sample = Sample(
            scanned.sample,
            scanned.sample_weights,
            by,
            columns.floor / by.scale,
            any(scanned.gaps[:d]),
            roles.levels,
            scanned.sample_memberships,
            None,
            noise,
        )
        share = scanned.sample.shape[1] / scanned.num_rows
        return replace(sample, prior=self._priors(sample, plan, share))

    def _priors(self, sample: Sample, plan: _Plan, share: float) -> Priors | None:
        """The prior as it stands beside the sample, which is that share of the rows."""
        rows = self.getCategoryPrior() if sample.levels or sample.counts.size else 0.0
        concentration, normal = self.getWeightConcentration(), None
        if self.getPrior() == "conjugate" and sample.d > 0:
            plain = replace(sample, floor=np.zeros(sample.d), levels=(), noise=None)
            plain = replace(plain, values=sample.values[: sample.d], allowed=None)
            whole = one_component(plain, structure_named("full"))
            unbiased = sample.num_rows / max(1, sample.num_rows - 1)
            normal = FraleyRaftery(
                plan.structure,
                whole.means[0],
                unbiased * whole.covariances[0],
                sample.standardisation.scale,
                self.getPriorShrinkage(),
            )
        if rows == 0 and concentration == 1 and normal is None:
            return None
        means = np.array([np.nanmean(row) if (row >= 0).any() else 1.0 for row in sample.counts])
        shares = frequencies(sample.codes, sample.levels)
        return Priors(concentration, rows, shares, means, normal, share)

    def _climb(
        self,
        start: Parameters,
        sample: Sample,
        num_rows: int,
        listener: Callable[[PassRecord], None],
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
            prior=_beside_all(sample, start.k, num_rows),
            listener=listener,
        )

    def _model(
        self,
        dataset: DataFrame | ParquetTable,
        data: _Data,
        plan: _Plan,
        found: Fit,
        seconds: list[float],
        threshold: float | None,
        **more: Any,
    ) -> GaussianMixtureModel:
        columns = data.columns(plan)
        restored = found.parameters.restored(columns.standardisation)
        order = restored.canonical_order()
        if self.getLabelCol() is not None:
            order = np.arange(restored.k)  # components have the numbers of their labels
        model = GaussianMixtureModel(restored.taken(order), None, data.source.roles.categories)
        own = {"k", "covarianceType", "initialModel"}  # the model's are what the plan chose
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
                seconds,
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
        require(self.getMaxCategories() >= 2, "maxCategories", "at least 2")
        require(self.getCategoryPrior() >= 0, "categoryPrior", "at least 0")
        require(0 <= self.getContamination() < 0.5, "contamination", "in [0, 0.5)")
        require(self.getPrior() in PRIORS, "prior", f"one of {', '.join(PRIORS)}")
        require(self.getPriorShrinkage() > 0, "priorShrinkage", "more than 0")
        require(self.getWeightConcentration() >= 1, "weightConcentration", "at least 1")
        names, categories = self._input_columns(), self.getCategoricalCols()
        counts = self.getCountCols()
        nothing = names == [] and not categories and not counts
        if names is not None and (nothing or len(set(names)) < len(names)):
            raise ConfigurationError(
                f"inputCols is {names}; name at least one column, and each once"
            )
        every = [*(names or ()), *categories, *counts]
        twice = sorted({name for name in every if every.count(name) > 1})
        if twice:
            raise ConfigurationError(
                f"column {twice[0]} is named twice in inputCols, categoricalCols and countCols; "
                "name it once"
            )
        if (categories or counts) and self.isSet(self.featuresCol) and not names:
            raise ConfigurationError(
                "categories and counts cannot stand beside featuresCol: name the numeric columns "
                "with inputCols"
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
        if self._input_columns() == []:
            structure = structure_named("diag")  # of no columns: any would do
        return _Plan(k, name, structure, None if floor == "auto" else float(floor), num_features)

    def _source(self, dataset: DataFrame | ParquetTable) -> tuple[Source, list[str]]:
        """The rows, and warnings about the categories."""
        names, categories = self._input_columns(), self.getCategoricalCols()
        weight, label = self._weight_column(), self.getInitialLabelCol()
        membership, counts = self.getLabelCol(), tuple(self.getCountCols())
        found: tuple[Category, ...] = ()
        notes: list[str] = []
        if isinstance(dataset, ParquetTable):
            spark = SparkSession.getActiveSession()
            if spark is None:
                raise ConfigurationError(
                    "there is no active SparkSession; make one with SparkSession.builder"
                )
            if names is not None:
                if categories:
                    schema = dataset.schema()
                    for name in categories:
                        check_category_column(name, schema, dataset.path)
                    reader, _ = row_group_reader(spark, dataset, tuple(categories))
                    tasks, most = task_numbers(spark, reader), self.getMaxCategories()
                    found, notes = find_categories(tasks, categories, most, reader)
                roles = Roles(tuple(names), weight, label, found, membership, counts)
                return ParquetSource(spark, dataset, roles), notes
            if dataset.filters is not None:
                raise ConfigurationError(
                    "filters need inputCols; for a vector column, filter a DataFrame"
                )
            dataset = spark.read.parquet(dataset.path)
        if categories:
            for name in categories:
                check_category(dataset, name)
            columns = (quoted(name).alias(str(i)) for i, name in enumerate(categories))
            rows, most = dataset.select(*columns), self.getMaxCategories()
            found, notes = find_categories(rows, categories, most)
        source = DataFrameSource(
            dataset,
            input_cols=names,
            features_col=self.getFeaturesCol(),
            weight=weight,
            label=label,
            categories=found,
            membership=membership,
            counts=counts,
        )
        return source, notes

    def _sample_rows(self, plans: Sequence[_Plan], roles: Roles) -> int:
        if self.getSampleSize():
            return self.getSampleSize()
        parameters = max(self._num_parameters(p.structure, p.k, roles) for p in plans)
        wanted = _SAMPLE_ROWS_PER_PARAMETER * parameters
        row = 8 * len(roles.inputs)
        rows = max(_SAMPLE_BYTES // row, min(wanted, _SAMPLE_BYTES_AT_MOST // row))
        return max(1000, min(rows, _SAMPLE_ROWS_AT_MOST))

    def _num_parameters(self, structure: Structure, k: int, roles: Roles) -> int:
        return structure.num_free_parameters(
            k, len(roles.features), roles.levels, self.getNoise(), len(roles.counts)
        )

    def _check_labels(self, scanned: Scan, plans: Sequence[_Plan]) -> None:
        k = min(plan.k for plan in plans)
        beyond = scanned.memberships[k:]
        if beyond:
            label = k + next(i for i, rows in enumerate(beyond) if rows)
            raise InputDataError(
                f"label column {self.getLabelCol()!r}: {sum(beyond)} rows have label {label} or a "
                f"higher one, k is {k}; labels are 0 to {k - 1}, and null where a row's component "
                "is not known"
            )

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

    def _given(
        self, model: GaussianMixtureModel, data: _Data, sample: Sample, plan: _Plan
    ) -> Parameters:
        """The parameters of a model to start from, with or without noise as it is asked for."""
        categories = data.source.roles.categories
        if model.parameters.counts != len(data.source.roles.counts):
            raise ConfigurationError(
                f"initialModel has {model.parameters.counts} counts, the data "
                f"{len(data.source.roles.counts)}; they must be the same"
            )
        if model.categories != {c.name: list(c.levels) for c in categories}:
            raise ConfigurationError(
                f"initialModel has the categories {model.categories}, the data "
                f"{ {c.name: list(c.levels) for c in categories} }; they must be the same"
            )
        start = as_structure(model.parameters, plan.structure).standardised(sample.standardisation)
        wanted = sample.noise
        if wanted is None or start.noise is None:
            weights = start.weights / start.weights.sum()
            start = replace(start, weights=weights, noise=None)
            return start if wanted is None else start.with_noise(wanted)
        return replace(start, noise=replace(wanted, weight=start.noise.weight))

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

    def setCategoricalCols(self, value: list[str]) -> GaussianMixture:
        """Sets the columns that hold categories."""
        return self._set(categoricalCols=value)

    def setCountCols(self, value: list[str]) -> GaussianMixture:
        """Sets the columns that hold counts."""
        return self._set(countCols=value)

    def setMaxCategories(self, value: int) -> GaussianMixture:
        """Sets how many values of a categorical column are told apart."""
        return self._set(maxCategories=value)

    def setCategoryPrior(self, value: float) -> GaussianMixture:
        """Sets the rows that the tables of categories have seen before."""
        return self._set(categoryPrior=value)

    def setLabelCol(self, value: str) -> GaussianMixture:
        """Sets the column of components that are known."""
        return self._set(labelCol=value)

    def setNoise(self, value: bool) -> GaussianMixture:
        """Sets whether a uniform component takes outliers."""
        return self._set(noise=value)

    def setContamination(self, value: float) -> GaussianMixture:
        """Sets the share of rows that outlierCol marks."""
        return self._set(contamination=value)

    def setOutlierCol(self, value: str) -> GaussianMixture:
        """Sets the model's output column of outliers."""
        return self._set(outlierCol=value)

    def setOutlierThreshold(self, value: float) -> GaussianMixture:
        """Sets the log density under which the model calls a row an outlier."""
        return self._set(outlierThreshold=value)

    def setPrior(self, value: str) -> GaussianMixture:
        """Sets the prior of means and covariances: none or conjugate."""
        return self._set(prior=value)

    def setPriorShrinkage(self, value: float) -> GaussianMixture:
        """Sets the rows that the prior mean counts for."""
        return self._set(priorShrinkage=value)

    def setWeightConcentration(self, value: float) -> GaussianMixture:
        """Sets the concentration of the Dirichlet prior on weights."""
        return self._set(weightConcentration=value)

    def setLogLikelihoodCol(self, value: str) -> GaussianMixture:
        """Sets the model's output column of the log density."""
        return self._set(logLikelihoodCol=value)

    def setUncertaintyCol(self, value: str) -> GaussianMixture:
        """Sets the model's output column of 1 - largest probability."""
        return self._set(uncertaintyCol=value)

    def setSampleSize(self, value: int) -> GaussianMixture:
        """Sets the number of rows sampled for starts and scales."""
        return self._set(sampleSize=value)


def _beside_all(sample: Sample, k: int, num_rows: int) -> Prior | None:
    """The prior of k components beside all the rows that the sample is of."""
    if sample.prior is None:
        return None
    return sample.prior.times(num_rows / sample.num_rows).of(k)


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
