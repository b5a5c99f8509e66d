"""The Params of the estimator and the model: MLlib's names where it has one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import (
    HasAggregationDepth,
    HasFeaturesCol,
    HasInputCols,
    HasMaxIter,
    HasPredictionCol,
    HasProbabilityCol,
    HasSeed,
    HasTol,
    HasWeightCol,
)

from gmm_spark.engine.cluster import current_session
from gmm_spark.engine.dataframe import is_case_sensitive
from gmm_spark.errors import ConfigurationError

_Self = TypeVar("_Self", bound=Params)


def _floor_converter(value: Any) -> Any:
    return "auto" if value == "auto" else TypeConverters.toFloat(value)


def _threshold_converter(value: Any) -> Any:
    threshold = TypeConverters.toFloat(value)
    if np.isnan(threshold):
        raise ConfigurationError("outlierThreshold is nan; it must be a number, a log density")
    return threshold


def _model_converter(value: Any) -> Any:
    from gmm_spark.mllib import started_from

    return started_from(value)


def _numbers_converter(value: Any) -> Any:
    try:
        return np.asarray(value, dtype=float).tolist()
    except ValueError:
        raise TypeError(f"{value!r} is no array of numbers") from None


class _OrNone:
    """A type converter that lets None through, which means not set: grids of Params convert
    their values before any of them is set."""

    def __init__(self, convert: Any) -> None:
        self._convert = convert

    def __call__(self, value: Any) -> Any:
        return None if value is None else self._convert(value)


def whole(name: str, value: Any) -> int:
    """A whole number from 0 on, 0 for None; ConfigurationError for anything else."""
    try:
        found = 0 if value is None else operator.index(value)
    except TypeError:
        found = -1
    if found < 0:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number, at least 0")
    return found


def _own(name: str, doc: str, converter: Any = TypeConverters.toString) -> Param[Any]:
    return Param(Params._dummy(), name, doc, typeConverter=converter)  # type: ignore[arg-type]


class GaussianMixtureParams(
    HasMaxIter,
    HasTol,
    HasSeed,
    HasFeaturesCol,
    HasInputCols,
    HasPredictionCol,
    HasProbabilityCol,
    HasWeightCol,
    HasAggregationDepth,
):
    """Params shared by `GaussianMixture` and `GaussianMixtureModel`."""

    k = _own("k", "number of components, at least 1", TypeConverters.toInt)
    covarianceType = _own(
        "covarianceType",
        "covariance structure: full, tied, diag, spherical, or mclust's code VVV, EEE, VVI, EEI, "
        "VII, EII",
    )
    initMode = _own("initMode", "how starts are made: k-means, k-means++, hierarchical, random")
    numInit = _own("numInit", "starts tried on the sample; the best goes on", TypeConverters.toInt)
    initialModel = _own(
        "initialModel",
        "a GaussianMixtureModel, of this package or MLlib's, to start from instead; columns are "
        "found by name, and components keep its numbers",
        _model_converter,
    )
    initialLabelCol = _own(
        "initialLabelCol", "column of whole numbers, one value a component, to start from instead"
    )
    initialWeights = _own(
        "initialWeights",
        "weights to start from, (k,); what is not given of a start is found on the sample",
        _numbers_converter,
    )
    initialMeans = _own(
        "initialMeans",
        "means to start from, (k, columns), in the order of inputCols or of the vector",
        _numbers_converter,
    )
    initialCovariances = _own(
        "initialCovariances",
        "covariances to start from, in the shape of covarianceType: full (k, d, d), tied (d, d), "
        "diag (k, d), spherical (k,)",
        _numbers_converter,
    )
    weightKind = _own(
        "weightKind",
        "what weights are: frequency (a row of weight 2 is the row twice, and the sum of weights "
        "is the number of rows), or importance (they are scaled to sum to the number of rows)",
    )
    covarianceFloor = _own(
        "covarianceFloor",
        "smallest standard deviation of a component along any direction, as a fraction of the "
        "columns' own, by their quartiles; auto: the recording resolution; 0: none",
        _floor_converter,
    )
    acceleration = _own(
        "acceleration",
        "anderson: steps longer than EM's where they raise the likelihood, on the sample and "
        "between passes; none: plain EM",
    )
    missing = _own(
        "missing",
        "rows with null or NaN in a feature: error; skip (left out of the fit, null when scored); "
        "marginalize (fitted and scored by what is known of them)",
    )
    categoricalCols = _own(
        "categoricalCols",
        "columns of text, whole numbers or booleans, each a probability table a component",
        TypeConverters.toListString,
    )
    countCols = _own(
        "countCols",
        "columns of whole numbers from 0 on, each a Poisson distribution a component",
        TypeConverters.toListString,
    )
    maxCategories = _own(
        "maxCategories",
        "values of a categorical column told apart, at least 2; the rarer ones count as one",
        TypeConverters.toInt,
    )
    categoryPrior = _own(
        "categoryPrior",
        "rows, over all components, that tables of categories and rates of counts have seen "
        "before, as the column is distributed; 0: maximum likelihood",
        TypeConverters.toFloat,
    )
    labelCol = _own(
        "labelCol",
        "column of component numbers, or arrays of them, where a row's component (or its allowed "
        "set) is known; null where it is not",
    )
    noise = _own(
        "noise",
        "a uniform component over the data's box takes outliers, with prediction -1",
        TypeConverters.toBoolean,
    )
    contamination = _own(
        "contamination",
        "share of rows, of lowest density, that outlierCol marks; 0: none",
        TypeConverters.toFloat,
    )
    outlierCol = _own(
        "outlierCol",
        "output column: whether the row's log density is under outlierThreshold, where the model "
        "has one; empty for none",
    )
    outlierThreshold = _own(
        "outlierThreshold",
        "log density under which a row is an outlier; a fit with contamination sets it",
        _threshold_converter,
    )
    prior = _own(
        "prior",
        "of means and covariances: none (maximum likelihood), or conjugate (Fraley and Raftery "
        "2007: maximum a posteriori)",
    )
    priorShrinkage = _own(
        "priorShrinkage", "rows that the prior mean counts for", TypeConverters.toFloat
    )
    weightConcentration = _own(
        "weightConcentration",
        "concentration of the Dirichlet prior on weights, at least 1; 1: none",
        TypeConverters.toFloat,
    )
    logLikelihoodCol = _own(
        "logLikelihoodCol", "output column: log density of the row; empty for none"
    )
    uncertaintyCol = _own(
        "uncertaintyCol", "output column: 1 - largest probability of the row; empty for none"
    )
    sampleSize = _own(
        "sampleSize",
        "rows sampled for starts, scales and steps between passes; 0: by width, 24 MiB or so",
        TypeConverters.toInt,
    )

    # Not HasSeed's own default: a hash of the class name, which Python salts anew each process.
    _DEFAULTS: ClassVar[dict[str, Any]] = {
        "k": 2,
        "maxIter": 100,
        "tol": 1e-6,
        "aggregationDepth": 2,
        "covarianceType": "full",
        "initMode": "k-means",
        "numInit": 16,
        "seed": 0,
        "weightKind": "frequency",
        "covarianceFloor": "auto",
        "acceleration": "anderson",
        "missing": "error",
        "maxCategories": 64,
        "categoryPrior": 1.0,
        "noise": False,
        "contamination": 0.0,
        "outlierCol": "outlier",
        "prior": "none",
        "priorShrinkage": 0.01,
        "weightConcentration": 1.0,
        "logLikelihoodCol": "",
        "uncertaintyCol": "",
        "sampleSize": 0,
    }

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(**self._DEFAULTS)

    def _copy_params(self) -> None:
        super()._copy_params()  # type: ignore[misc]
        for param in self.params:
            param.typeConverter = _OrNone(param.typeConverter)

    def __getstate__(self) -> dict[str, Any]:
        # What keyword_only leaves behind is in the Params already, converted.
        return {name: value for name, value in self.__dict__.items() if name != "_input_kwargs"}

    # Every way a Param is set ends in one of these two: constructors, setters, copies and params
    # given to fit in the first, loading in the second.
    def _set(self: _Self, **kwargs: Any) -> _Self:
        """Sets the given Params; one given as None is not set, and has its default again."""
        for name, value in kwargs.items():
            if value is None:
                self.clear(getattr(self, name))
            else:
                super()._set(**{name: value})  # type: ignore[misc]
        return self

    def set(self, param: Param[Any], value: Any) -> None:
        """Sets a Param; None clears it."""
        if value is None:
            self._shouldOwn(param)
            self.clear(param)
        else:
            super().set(param, value)

    def getK(self) -> int:
        """Gets the value of k or its default."""
        return self.getOrDefault(self.k)

    def getCovarianceType(self) -> str:
        """Gets the value of covarianceType or its default."""
        return self.getOrDefault(self.covarianceType)

    def getInitMode(self) -> str:
        """Gets the value of initMode or its default."""
        return self.getOrDefault(self.initMode)

    def getNumInit(self) -> int:
        """Gets the value of numInit or its default."""
        return self.getOrDefault(self.numInit)

    def getInitialModel(self) -> Any:
        """Gets the model to start from, or None."""
        return self.getOrDefault(self.initialModel) if self.isSet(self.initialModel) else None

    def getInitialLabelCol(self) -> str | None:
        """Gets the column of starting labels, or None."""
        is_set = self.isSet(self.initialLabelCol)
        return self.getOrDefault(self.initialLabelCol) if is_set else None

    def getInitialWeights(self) -> list[float] | None:
        """Gets the weights to start from, or None."""
        return self.getOrDefault(self.initialWeights) if self.isSet(self.initialWeights) else None

    def getInitialMeans(self) -> list[list[float]] | None:
        """Gets the means to start from, or None."""
        return self.getOrDefault(self.initialMeans) if self.isSet(self.initialMeans) else None

    def getInitialCovariances(self) -> Any:
        """Gets the covariances to start from, or None."""
        is_set = self.isSet(self.initialCovariances)
        return self.getOrDefault(self.initialCovariances) if is_set else None

    def getWeightKind(self) -> str:
        """Gets the value of weightKind or its default."""
        return self.getOrDefault(self.weightKind)

    def getCovarianceFloor(self) -> str | float:
        """Gets the value of covarianceFloor or its default."""
        return self.getOrDefault(self.covarianceFloor)

    def getAcceleration(self) -> str:
        """Gets the value of acceleration or its default."""
        return self.getOrDefault(self.acceleration)

    def getMissing(self) -> str:
        """Gets the value of missing or its default."""
        return self.getOrDefault(self.missing)

    def getCategoricalCols(self) -> list[str]:
        """Gets the categorical columns; empty where there are none."""
        is_set = self.isSet(self.categoricalCols)
        return list(self.getOrDefault(self.categoricalCols) or []) if is_set else []

    def getCountCols(self) -> list[str]:
        """Gets the columns that hold counts; empty where there are none."""
        is_set = self.isSet(self.countCols)
        return list(self.getOrDefault(self.countCols) or []) if is_set else []

    def getMaxCategories(self) -> int:
        """Gets the value of maxCategories or its default."""
        return self.getOrDefault(self.maxCategories)

    def getCategoryPrior(self) -> float:
        """Gets the value of categoryPrior or its default."""
        return self.getOrDefault(self.categoryPrior)

    def getLabelCol(self) -> str | None:
        """Gets the column of known components, or None."""
        return self.getOrDefault(self.labelCol) if self.isSet(self.labelCol) else None

    def getNoise(self) -> bool:
        """Gets the value of noise or its default."""
        return self.getOrDefault(self.noise)

    def getContamination(self) -> float:
        """Gets the value of contamination or its default."""
        return self.getOrDefault(self.contamination)

    def getOutlierCol(self) -> str:
        """Gets the value of outlierCol or its default."""
        return self.getOrDefault(self.outlierCol)

    def getOutlierThreshold(self) -> float | None:
        """Gets the log density under which a row is an outlier, or None."""
        is_set = self.isSet(self.outlierThreshold)
        return self.getOrDefault(self.outlierThreshold) if is_set else None

    def getPrior(self) -> str:
        """Gets the value of prior or its default."""
        return self.getOrDefault(self.prior)

    def getPriorShrinkage(self) -> float:
        """Gets the value of priorShrinkage or its default."""
        return self.getOrDefault(self.priorShrinkage)

    def getWeightConcentration(self) -> float:
        """Gets the value of weightConcentration or its default."""
        return self.getOrDefault(self.weightConcentration)

    def getLogLikelihoodCol(self) -> str:
        """Gets the value of logLikelihoodCol or its default."""
        return self.getOrDefault(self.logLikelihoodCol)

    def getUncertaintyCol(self) -> str:
        """Gets the value of uncertaintyCol or its default."""
        return self.getOrDefault(self.uncertaintyCol)

    def getSampleSize(self) -> int:
        """Gets the value of sampleSize or its default."""
        return self.getOrDefault(self.sampleSize)

    def _weight_column(self) -> str | None:
        column = self.getOrDefault(self.weightCol) if self.isDefined(self.weightCol) else None
        return column or None

    def _input_columns(self) -> list[str] | None:
        """Numeric columns; None where they are in a vector, which categories and counts cannot
        stand beside."""
        names = self.getInputCols() if self.isSet(self.inputCols) else None
        if names is not None:
            return list(names)
        return [] if self.getCategoricalCols() or self.getCountCols() else None

    def _output_names(self, outlier: bool) -> tuple[str, str, str, str, str]:
        """In MLlib's order, and then ours: insertInto goes by place. Empty: left out."""
        return (
            self.getProbabilityCol(),
            self.getPredictionCol(),
            self.getLogLikelihoodCol(),
            self.getUncertaintyCol(),
            self.getOutlierCol() if outlier else "",
        )


def taken_names(outputs: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Which of the output columns are among `columns`, by Spark's rule for the case of names."""
    spelling = _spelling()
    known = {spelling(name): name for name in columns}
    found = ((name, known.get(spelling(name))) for name in dict.fromkeys(outputs))
    return sorted(
        name if name == there else f"{name} (as {there})"
        for name, there in found
        if there is not None
    )


def refuse_taken(outputs: Sequence[str], columns: Sequence[str]) -> None:
    """Raise ConfigurationError where an output column is among `columns`, or named twice."""
    outputs = [name for name in outputs if name]
    taken, spelling = taken_names(outputs, columns), _spelling()
    if taken or len(set(map(spelling, outputs))) < len(outputs):
        raise ConfigurationError(
            f"output columns {', '.join(outputs)}: "
            + (f"{', '.join(taken)} exist already" if taken else "two have the same name")
            + "; choose other names"
        )


def _spelling() -> Callable[[str], str]:
    """What is equal of two names that are one name to Spark."""
    spark = current_session()
    return str if spark is not None and is_case_sensitive(spark) else str.lower


class EstimatorParams(GaussianMixtureParams):
    """The setters of `GaussianMixture`; the model has those of its own that it can use."""

    def _check_roles(self) -> None:
        """Raise ConfigurationError for a column in two roles that do not go together.

        A column may be its own weight, and start labels may be an input or the known labels.
        """
        numeric = self._input_columns()
        inputs = [
            ("inputCols", name) if numeric is not None else ("featuresCol", name)
            for name in (numeric if numeric is not None else [self.getFeaturesCol()])
        ]
        inputs += [("categoricalCols", name) for name in self.getCategoricalCols()]
        inputs += [("countCols", name) for name in self.getCountCols()]
        for place, (role, name) in enumerate(inputs):
            other = next((first for first, known in inputs[:place] if known == name), None)
            if other is not None:
                found = f"twice in {role}" if other == role else f"in {other} and in {role}"
                raise ConfigurationError(f"column {name!r} is {found}; name it once")
        roles = {name: role for role, name in inputs}
        label, weight = self.getLabelCol(), self._weight_column()
        if label in roles:
            raise ConfigurationError(
                f"column {label!r} is labelCol and in {roles[label]}: a segment that is known is "
                "no input; leave it out of one of them"
            )
        for role, column in (("labelCol", label), ("initialLabelCol", self.getInitialLabelCol())):
            if column is not None and column == weight:
                raise ConfigurationError(
                    f"column {column!r} is {role} and weightCol; it can be one of them"
                )

    def setK(self: _Self, value: int) -> _Self:
        """Sets the number of components."""
        return self._set(k=value)

    def setMaxIter(self: _Self, value: int) -> _Self:
        """Sets how many full passes come after the first at most: steps of EM, as MLlib's."""
        return self._set(maxIter=value)

    def setTol(self: _Self, value: float) -> _Self:
        """Sets the gain of the mean log-likelihood under which the fit has converged."""
        return self._set(tol=value)

    def setSeed(self: _Self, value: int | None) -> _Self:
        """Sets the seed of the sample and the starts."""
        return self._set(seed=value)

    def setFeaturesCol(self: _Self, value: str) -> _Self:
        """Sets the vector or array column of features."""
        return self._set(featuresCol=value)

    def setInputCols(self: _Self, value: list[str] | None) -> _Self:
        """Sets the numeric columns used instead of featuresCol."""
        return self._set(inputCols=value)

    def setPredictionCol(self: _Self, value: str) -> _Self:
        """Sets the output column of the most probable component."""
        return self._set(predictionCol=value)

    def setProbabilityCol(self: _Self, value: str) -> _Self:
        """Sets the output column of the probabilities."""
        return self._set(probabilityCol=value)

    def setWeightCol(self: _Self, value: str | None) -> _Self:
        """Sets the column of row weights."""
        return self._set(weightCol=value)

    def setWeightKind(self: _Self, value: str) -> _Self:
        """Sets what weights are: frequency or importance."""
        return self._set(weightKind=value)

    def setAggregationDepth(self: _Self, value: int) -> _Self:
        """Sets the number of stages large statistics are merged in."""
        return self._set(aggregationDepth=value)

    def setCovarianceType(self: _Self, value: str) -> _Self:
        """Sets the covariance structure."""
        return self._set(covarianceType=value)

    def setInitMode(self: _Self, value: str) -> _Self:
        """Sets how starts are made."""
        return self._set(initMode=value)

    def setNumInit(self: _Self, value: int) -> _Self:
        """Sets the number of starts tried on the sample."""
        return self._set(numInit=value)

    def setInitialModel(self: _Self, value: Any) -> _Self:
        """Sets the model to start from."""
        return self._set(initialModel=value)

    def setInitialLabelCol(self: _Self, value: str | None) -> _Self:
        """Sets the column of labels to start from."""
        return self._set(initialLabelCol=value)

    def setInitialWeights(self: _Self, value: Any) -> _Self:
        """Sets the weights to start from, (k,)."""
        return self._set(initialWeights=value)

    def setInitialMeans(self: _Self, value: Any) -> _Self:
        """Sets the means to start from, (k, columns)."""
        return self._set(initialMeans=value)

    def setInitialCovariances(self: _Self, value: Any) -> _Self:
        """Sets the covariances to start from, in the shape of covarianceType."""
        return self._set(initialCovariances=value)

    def setCovarianceFloor(self: _Self, value: str | float) -> _Self:
        """Sets the covariance floor: auto, a fraction of the columns' own deviation, or 0."""
        return self._set(covarianceFloor=value)

    def setAcceleration(self: _Self, value: str) -> _Self:
        """Sets whether longer steps than EM's are tried: anderson or none."""
        return self._set(acceleration=value)

    def setMissing(self: _Self, value: str) -> _Self:
        """Sets what becomes of rows with gaps: error, skip or marginalize."""
        return self._set(missing=value)

    def setCategoricalCols(self: _Self, value: list[str] | None) -> _Self:
        """Sets the columns that hold categories."""
        return self._set(categoricalCols=value)

    def setCountCols(self: _Self, value: list[str] | None) -> _Self:
        """Sets the columns that hold counts."""
        return self._set(countCols=value)

    def setMaxCategories(self: _Self, value: int) -> _Self:
        """Sets how many values of a categorical column are told apart."""
        return self._set(maxCategories=value)

    def setCategoryPrior(self: _Self, value: float) -> _Self:
        """Sets the rows that the tables of categories have seen before."""
        return self._set(categoryPrior=value)

    def setLabelCol(self: _Self, value: str | None) -> _Self:
        """Sets the column of components that are known."""
        return self._set(labelCol=value)

    def setNoise(self: _Self, value: bool) -> _Self:
        """Sets whether a uniform component takes outliers."""
        return self._set(noise=value)

    def setContamination(self: _Self, value: float) -> _Self:
        """Sets the share of rows that outlierCol marks."""
        return self._set(contamination=value)

    def setOutlierCol(self: _Self, value: str) -> _Self:
        """Sets the model's output column of outliers."""
        return self._set(outlierCol=value)

    def setOutlierThreshold(self: _Self, value: float | None) -> _Self:
        """Sets the log density under which the model calls a row an outlier."""
        return self._set(outlierThreshold=value)

    def setPrior(self: _Self, value: str) -> _Self:
        """Sets the prior of means and covariances: none or conjugate."""
        return self._set(prior=value)

    def setPriorShrinkage(self: _Self, value: float) -> _Self:
        """Sets the rows that the prior mean counts for."""
        return self._set(priorShrinkage=value)

    def setWeightConcentration(self: _Self, value: float) -> _Self:
        """Sets the concentration of the Dirichlet prior on weights."""
        return self._set(weightConcentration=value)

    def setLogLikelihoodCol(self: _Self, value: str) -> _Self:
        """Sets the model's output column of the log density."""
        return self._set(logLikelihoodCol=value)

    def setUncertaintyCol(self: _Self, value: str) -> _Self:
        """Sets the model's output column of 1 - largest probability."""
        return self._set(uncertaintyCol=value)

    def setSampleSize(self: _Self, value: int) -> _Self:
        """Sets the number of rows sampled for starts and scales."""
        return self._set(sampleSize=value)
