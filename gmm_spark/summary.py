"""What a fit reports of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gmm_spark.advice import about_weights, heavy_rows, one_number, one_number_components
from gmm_spark.kept_history import sample_history
from gmm_spark.mixture.initialisation.path import Path

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from gmm_spark.engine.blocks import Roles
    from gmm_spark.engine.scan import Scan
    from gmm_spark.mixture.em import Fit
    from gmm_spark.mixture.numerics import Array
    from gmm_spark.mixture.parameters import Parameters
    from gmm_spark.mixture.standardisation import Columns

# Of the tables of candidates: of mixtures, and of divisions by criterion segmentation.
_CANDIDATES = (
    "k int, covarianceType string, numParameters int, criterion double, "
    "meanLogLikelihood double, standardError double, evaluatedOn string, problem string"
)
_DIVISIONS = (
    "k int, components int, covarianceType string, covarianceFloor double, origin string, "
    "mergedBy string, numParameters int, meanLogLikelihood double, stability double, "
    "entropy double, smallestShare double, columnInformation double, mutualInformation double, "
    "evaluatedOn string, why string"
)
# Patterns of gaps that are kept.
KEPT_PATTERNS = 1000
# More entries than these are counted, not shown, in one line.
_SHOWN = 8


@dataclass(frozen=True)
class GaussianMixtureSummary:
    """Figures of a fit; information criteria are lower for better models.

    Attributes
    ----------
    k : components
    numFeatures : numeric columns
    logLikelihood : total, of the returned model, weighted: where weightKind is "importance", by
        weights scaled to sum to the number of rows, as everything but the sums of weights is
    meanLogLikelihood : per unit weight
    numPasses : full passes over the data, that of the start included
    numIter : passes after that one, of any kind; what maxIter bounds
    converged, reason : "converged", "max_iterations", "decreased" or "singular"; "updated", see
        `update`; and "kept", which counts as converged, where criterion segmentation took a
        division as it was found on the sample (k-means, or one that EM leads away from): no step of
        EM was taken on all the rows, and meanLogLikelihood, bic and the like are not those of an
        optimum
    history : a dictionary a pass: pass, kind, meanLogLikelihood, gain (with a prior, of the
        log-likelihood plus its log density: only that never falls), seconds. Pass 0 is the
        first look at the data, of kind "scan", or "packing" where a DataFrame was brought into
        blocks. Then "em", a step of EM; "anchored", steps on the sample, corrected by the pass
        before; "accelerated", an extrapolation of steps; "lifted", a step of EM with probabilities
        or rates next to zero raised (categoryPrior=0); "rejected", one of these that had
        lowered the likelihood and was taken back; "confirming", a step of EM at the end
    parameterHistory : the parameters of every pass after pass 0, in the user's units, components in
        the order of the model. A loaded model has None for passes whose parameters were not kept
    sampleHistory : how the start was found on the sample, a dictionary a step of EM: step, round,
        kind, rows, meanLogLikelihood (of these rows), parameters (as in parameterHistory). Within
        one round the rows are the same and the log-likelihood never falls (with a prior: with its
        log density); a new round has other rows, or a component was moved. Kinds are "start";
        "em", "accelerated", "lifted", "confirming" as above; "move", a component taken away and
        another one split; "rows", the parameters of the step before on other rows. `rows` are
        the first ones of the sample, the last ones where negative. Steps are missing where they
        would take more than 2 MB. A start that was given (initialModel, initialLabelCol,
        initialWeights, initialMeans, initialCovariances) took no steps: it alone is there, its
        rows and meanLogLikelihood are None
    candidates : of a `GaussianMixtureSearch`, a dictionary for every k and structure, the best
        first; by criterion segmentation, for every division that was considered, the 100 best and
        the best of every k where they are more: see `candidatesDF`
    alternatives : other optima that were met, at most 10, the best first, a dictionary each:
        k, clusters; components, in them; covarianceType; meanLogLikelihood, of the sample, in the
        user's units; difference, of that to this model's on the same rows; entropy, of the
        assignment of rows to clusters, the mean over the sample in nats (0: every row is certain);
        changedShare, of the sample that would be in another cluster than with this model, clusters
        paired so that it is least. Of a fit, those optima that the sample cannot tell from the best
        by their likelihood; by criterion segmentation, the best of the other divisions. Empty where
        the start was given, or there was no other
    outcomeInformation : by criterion segmentation with outcomeCol, what the clusters say of the
        outcome, by the rows of the sample that did not choose: outcome, its column; bits, mutual
        information with the cluster, corrected for chance (Miller 1955), of an outcome of more than
        ten values in ten parts; standardError of that; spread, the highest less the lowest rate or
        mean over clusters with 1 % of these rows; rows, how many have an outcome. None without one
    aic, bic : Akaike's and Schwarz's criteria, with the sum of weights as the number of rows
    icl : bic minus twice the sum of the log probability of each row's cluster (Biernacki,
        Celeux and Govaert 2000, with hard assignments, as mclust)
    clusterSizes : how many rows are most probably in each cluster, ints
    clusterWeights : sums of the weights of these rows; the rows, where there is no weight column
    noiseSize, noiseWeightSum : rows most probably noise, and their weight; None without noise
    warnings : sentences, each beginning with its name and a colon
    numRows, numSkipped : rows used, and left out for their gaps
    numZeroWeight : rows of weight 0, which are absent from all of this
    numGaps : of the rows used, how many have none, by column; only columns that have any
    gapPatterns : which numeric columns have gaps together, a dictionary each, the most frequent
        first: columns, and share, of the rows of the sample. `toSQL` scores rows with these gaps.
        At most 1,000
    weightSum : of the rows used, as the weights stand in the table
    effectiveNumRows : Kish's effective sample size, the square of the sum of weights by the sum of
        their squares: numRows where all are equal; None for a model saved by a release without it
    numParameters : free parameters
    update : of a model that `GaussianMixtureModel.update` made, None of a fitted one: updates, how
        many there have been since the fit; halfLife (None: infinite) and elapsed, as they were
        given; fading, what the statistics of the rows before were multiplied by; weightBefore,
        the weight of these rows, and weightFaded, after that; weight, of all rows that the model
        now stands for. All else is of the new rows, evaluated under the model before: reason is
        "updated", which counts as converged; logLikelihood and meanLogLikelihood say how well that
        model foretold the rows, sizes how it divides them; aic, bic and icl are None, since what
        all rows are like under the new parameters is not known; candidates are those of the fit
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
    aic: float | None
    bic: float | None
    icl: float | None
    clusterSizes: list[int]
    warnings: list[str]
    numRows: int
    numSkipped: int
    weightSum: float
    numParameters: int
    featuresCol: str = "features"
    predictionCol: str = "prediction"
    probabilityCol: str = "probability"
    noiseSize: int | None = None
    noiseWeightSum: float | None = None
    numZeroWeight: int = 0
    effectiveNumRows: float | None = None
    clusterWeights: list[float] = field(default_factory=list)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    alternatives: list[dict[str, Any]] = field(default_factory=list)
    outcomeInformation: dict[str, Any] | None = None
    numGaps: dict[str, int] = field(default_factory=dict)
    gapPatterns: list[dict[str, Any]] = field(default_factory=list)
    update: dict[str, Any] | None = None
    parameterHistory: list[Parameters | None] = field(
        default_factory=list, repr=False, compare=False
    )
    sampleHistory: list[dict[str, Any]] = field(default_factory=list, repr=False, compare=False)
    _predictions: Callable[[], DataFrame] | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        passes = "1 pass" if self.numPasses == 1 else f"{self.numPasses} passes"
        end = ending(self.converged, self.reason)
        said = [
            f"k={self.k}",
            f"numFeatures={self.numFeatures}",
            f"numRows={self.numRows}",
            f"logLikelihood={self.logLikelihood:.6g}",
            *([] if self.bic is None else [f"bic={self.bic:.6g}"]),
            f"clusterSizes={few(self.clusterSizes)}",
            f"{end} after {passes}",
        ]
        if self.warnings:
            said.append(
                "1 warning" if len(self.warnings) == 1 else f"{len(self.warnings)} warnings"
            )
        return f"GaussianMixtureSummary: {', '.join(said)}"

    def _repr_html_(self) -> str:
        from gmm_spark.report.notebook import summary_html

        return summary_html(self)

    @property
    def predictions(self) -> DataFrame:
        """The training data with the model's output columns; not kept on save, nor where the
        model is pickled or deep-copied. As MLlib's, a DataFrame that reads its data, and computes
        the query behind them, where it is used."""
        if self._predictions is None:
            raise RuntimeError(
                "the training data are not at hand (the model was loaded, unpickled or "
                "deep-copied, or fitted on a ParquetTable); use model.transform"
            )
        return self._predictions()

    def __getstate__(self) -> dict[str, Any]:
        # A DataFrame is of its session alone: it goes neither to disk nor to the workers.
        return {**self.__dict__, "_predictions": None}

    @property
    def candidatesDF(self) -> DataFrame:
        """What a `GaussianMixtureSearch` tried, best first: k, covarianceType, numParameters,
        criterion, meanLogLikelihood, standardError of the criterion's difference to the best,
        evaluatedOn ("all rows", "sample" or "held-out rows"), problem.

        By criterion segmentation, the divisions that were considered: k, clusters; components, in
        them; covarianceType; covarianceFloor, null for auto; origin, how it was come to; mergedBy,
        by what components were merged, null where each is a cluster; numParameters;
        meanLogLikelihood; stability, the adjusted Rand index of the same division made of other
        rows, at most 1; entropy, of the assignment, the mean over rows in nats; smallestShare of
        the rows in a cluster; columnInformation, what the cluster says of the columns, one by one:
        mutual information as a share of what there is to say; mutualInformation of cluster and
        outcome in bits, by the rows that choose; evaluatedOn; why it was taken or not. What was not
        measured is null."""
        from gmm_spark.engine.cluster import needed_session

        divisions = any("stability" in candidate for candidate in self.candidates)
        schema = _DIVISIONS if divisions else _CANDIDATES
        rows = [tuple(c[name.split()[0]] for name in schema.split(", ")) for c in self.candidates]
        return needed_session().createDataFrame(rows, schema)

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
        others = "parameterHistory", "sampleHistory", "_predictions"
        return {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in others
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> GaussianMixtureSummary:
        """The summary of a saved model. One saved before rows and weights were told apart has
        weights alone, under the names that rows have now."""
        values = dict(values)
        values.setdefault("clusterWeights", [float(size) for size in values["clusterSizes"]])
        if values.get("noiseSize") is not None:
            values.setdefault("noiseWeightSum", float(values["noiseSize"]))
        return GaussianMixtureSummary(**values)


def ending(converged: bool, reason: str) -> str:
    """How a fit ended, in words."""
    if reason == "kept":
        return "kept as found on the sample"
    if reason == "updated":
        return "updated by new rows"
    return "converged" if converged else f"not converged ({reason})"


def few(values: Sequence[Any]) -> str:
    """The first of a list, and how many there are where they are many."""
    shown = ", ".join(map(str, values[:_SHOWN]))
    return f"[{shown}]" if len(values) <= _SHOWN else f"[{shown}, ... {len(values)} in all]"


def summarise(
    found: Fit,
    scanned: Scan,
    columns: Columns,
    order: NDArray[np.intp],
    roles: Roles,
    *,
    notes: list[str],
    opening: tuple[str, float],
    path: Path | None = None,
    merged: bool = False,
    **more: Any,
) -> GaussianMixtureSummary:
    """The summary of a fit whose components are reported in the given order.

    `notes` are warnings, `opening` is what the first scan was and its seconds, `path` is how the
    start was found on the sample, None where it was given; `merged` says whether components are
    merged into clusters, and so are not called that; `more` goes into the summary as it is.
    """
    p, total = found.parameters.num_free_parameters, found.log_likelihood
    bic = -2 * total + p * float(np.log(found.weight))
    noise = found.parameters.noise
    kind, spent = opening
    history: list[dict[str, Any]] = [
        {"pass": 0, "kind": kind, "meanLogLikelihood": None, "gain": None, "seconds": spent}
    ]
    history += [
        {
            "pass": record.number,
            "kind": record.kind,
            "meanLogLikelihood": record.mean_log_likelihood,
            "gain": record.gain,
            "seconds": record.seconds,
        }
        for record in found.history
    ]
    return GaussianMixtureSummary(
        k=found.parameters.k,
        numFeatures=found.parameters.d,
        logLikelihood=total,
        meanLogLikelihood=total / found.weight,
        numIter=len(found.history) - 1,
        numPasses=len(found.history),
        converged=found.converged,
        reason=found.reason,
        history=history,
        aic=-2 * total + 2 * p,
        bic=bic,
        icl=bic - 2 * found.log_assignment,
        clusterSizes=[round(rows) for rows in found.cluster_sizes[order].tolist()],
        clusterWeights=(found.cluster_weights[order] / scanned.weight_scale).tolist(),
        noiseSize=None if noise is None else round(float(found.cluster_sizes[-1])),
        noiseWeightSum=None
        if noise is None
        else float(found.cluster_weights[-1]) / scanned.weight_scale,
        warnings=[*notes, *_warnings(found, scanned, columns, order, roles, merged)],
        numRows=found.num_rows,
        numSkipped=scanned.num_skipped,
        numZeroWeight=scanned.num_weightless,
        numGaps={n: g for n, g in zip(roles.inputs, scanned.gaps, strict=True) if g},
        gapPatterns=_gap_patterns(scanned.sample[: len(roles.features)], roles.features),
        weightSum=found.weight / scanned.weight_scale,
        effectiveNumRows=scanned.effective_rows,
        numParameters=p,
        parameterHistory=[
            record.parameters.restored(columns.standardisation).taken(order)
            for record in found.history
        ],
        sampleHistory=sample_history(path or Path(), found, columns.standardisation, order),
        **more,
    )


def _gap_patterns(sample: Array, names: Sequence[str]) -> list[dict[str, Any]]:
    """Which numeric columns have gaps together, and how often, in sampled rows (d, n)."""
    gaps = np.isnan(sample)
    patterns, counts = np.unique(gaps[:, gaps.any(axis=0)], axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:KEPT_PATTERNS]
    return [
        {
            "columns": [name for name, gap in zip(names, patterns[:, place], strict=True) if gap],
            "share": float(counts[place] / sample.shape[1]),
        }
        for place in order
    ]


def _coarse(columns: Columns, names: tuple[str, ...]) -> list[str]:
    """Of columns that float64 rounds by more than a thousandth of their standard deviation."""
    by = columns.standardisation
    rounding = np.spacing(np.abs(by.centre))
    return [
        f"rounded_column: {names[j]} is about {by.centre[j]:.6g}, which float64 holds in steps of "
        f"{rounding[j]:.3g}, with a standard deviation of {by.scale[j]:.3g}; subtract the offset "
        "before it becomes a double"
        for j in np.flatnonzero(rounding > 1e-3 * by.scale)
        if j not in columns.constant
    ]


def _warnings(
    found: Fit,
    scanned: Scan,
    columns: Columns,
    order: NDArray[np.intp],
    roles: Roles,
    merged: bool,
) -> list[str]:
    noun = "component" if merged else "cluster"
    names = roles.features
    position = {int(old): new for new, old in enumerate(order)}
    weights = found.parameters.weights
    shared = found.parameters.structure.shared
    warnings = []
    if scanned.num_skipped:
        total = scanned.num_rows + scanned.num_skipped
        warnings.append(f"rows_skipped: {scanned.num_skipped} of {total} rows have a gap")
    heavy = heavy_rows(found, scanned, roles)
    taken = one_number_components(found, scanned, columns, roles)
    warnings += about_weights(scanned, roles)
    for component in sorted(heavy, key=lambda component: -weights[component]):
        warnings.append(
            f"heavy_row: {noun} {position[component]} ({weights[component]:.2%}) is "
            f"{heavy[component]}; check the weight, or leave it out"
        )
    warnings += one_number(taken, found, scanned, columns, roles)
    for j in columns.constant:
        warnings.append(
            f"constant_column: {names[j]} is {scanned.lowest[j]:g} in every row; it cannot tell "
            "clusters apart"
        )
    warnings += _coarse(columns, names)
    for group in columns.collinear:
        listed = ", ".join(names[j] for j in group)
        warnings.append(f"collinear_columns: {listed} are exactly collinear; leave one out")
    # The largest first: it is the one that is logged. What was said above is not said again.
    for touched in sorted(found.floored, key=lambda one: -weights[one.component]):
        known = {j for j, components in taken.items() if shared or touched.component in components}
        known |= set(columns.constant)
        along = [names[j] for j in touched.columns if j not in known]
        if not along or (touched.component in heavy and not shared):
            continue
        who = "the shared covariance"
        if not shared:
            who = f"{noun} {position[touched.component]} ({weights[touched.component]:.2%})"
        warnings.append(
            f"covariance_floor: {who} is as narrow as the floor along {', '.join(along)}; "
            "it may be one repeated value"
        )
    for component in found.dead:
        warnings.append(f"empty_component: {noun} {position[component]} lost all its rows")
    if not found.converged:
        meaning = {
            "max_iterations": "maxIter passes were not enough for tol",
            "decreased": "the log-likelihood fell by more than rounding; the best pass was kept",
            "singular": "a covariance became singular without a floor; the last regular pass "
            "was kept; use covarianceFloor='auto' or a smaller k",
        }[found.reason]
        warnings.append(f"not_converged: {meaning}")
    return warnings
