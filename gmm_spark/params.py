"""The Params of the estimator and the model: MLlib's names where it has one."""

from __future__ import annotations

from typing import Any, ClassVar

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


def _floor_converter(value: Any) -> Any:
    return "auto" if value == "auto" else TypeConverters.toFloat(value)


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
        "initialModel", "a GaussianMixtureModel to start from instead", TypeConverters.identity
    )
    initialLabelCol = _own(
        "initialLabelCol", "column of whole numbers, one value a component, to start from instead"
    )
    covarianceFloor = _own(
        "covarianceFloor",
        "smallest standard deviation of a component along any direction, as a fraction of the "
        "columns' own; auto: the recording resolution; 0: none",
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
        "covarianceFloor": "auto",
        "acceleration": "anderson",
        "missing": "error",
        "logLikelihoodCol": "",
        "uncertaintyCol": "",
        "sampleSize": 0,
    }

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(**self._DEFAULTS)

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

    def getCovarianceFloor(self) -> str | float:
        """Gets the value of covarianceFloor or its default."""
        return self.getOrDefault(self.covarianceFloor)

    def getAcceleration(self) -> str:
        """Gets the value of acceleration or its default."""
        return self.getOrDefault(self.acceleration)

    def getMissing(self) -> str:
        """Gets the value of missing or its default."""
        return self.getOrDefault(self.missing)

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
        return self.getInputCols() if self.isSet(self.inputCols) else None
