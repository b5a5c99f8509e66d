"""What a fit reports of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from gmm_spark.mixture.parameters import Parameters


@dataclass(frozen=True)
class GaussianMixtureSummary:
    """Figures of a fit; information criteria are lower for better models.

    Attributes
    ----------
    k : components
    numFeatures : columns
    logLikelihood : total, of the returned model, weighted
    meanLogLikelihood : per unit weight
    numIter : EM steps taken, numPasses : full passes over the data
    converged, reason : "converged", "max_iterations", "decreased" or "singular"
    history : a dictionary a pass: pass, kind, meanLogLikelihood, gain, seconds
    aic, bic : Akaike's and Schwarz's criteria, with the sum of weights as the number of rows
    icl : bic minus twice the sum of the log probability of each row's cluster (Biernacki,
        Celeux and Govaert 2000, with hard assignments, as mclust)
    clusterSizes : weight (rows, where there is no weight column) most probably in each cluster
    warnings : sentences, each beginning with its name and a colon
    numRows, numSkipped : rows used, and left out for their gaps
    weightSum : of the rows used
    numParameters : free parameters
    """

    k: int
    numFeatures: int
    logLikelihood: float
    meanLogLikelihood: float
    numIter: int
    numPasses: int
    converged: bool
    reason: str
    history: list[dict[str, Any]]
    aic: float
    bic: float
    icl: float
    clusterSizes: list[float]
    warnings: list[str]
    numRows: int
    numSkipped: int
    weightSum: float
    numParameters: int
    featuresCol: str = "features"
    predictionCol: str = "prediction"
    probabilityCol: str = "probability"
    parameterHistory: list[Parameters] = field(default_factory=list, repr=False, compare=False)
    _predictions: DataFrame | None = field(default=None, repr=False, compare=False)

    @property
    def predictions(self) -> DataFrame:
        """The training data with the model's output columns; not kept on save."""
        if self._predictions is None:
            raise RuntimeError(
                "the training data are not at hand (the model was loaded, or fitted on a "
                "ParquetTable); use model.transform"
            )
        return self._predictions

    @property
    def cluster(self) -> DataFrame:
        """The predicted cluster of every training row."""
        return self.predictions.select(self.predictionCol)

    @property
    def probability(self) -> DataFrame:
        """The cluster probabilities of every training row."""
        return self.predictions.select(self.probabilityCol)

    def to_json(self) -> dict[str, Any]:
        """The figures alone, as plain values."""
        return {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("parameterHistory", "_predictions")
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> GaussianMixtureSummary:
        return GaussianMixtureSummary(**values)
