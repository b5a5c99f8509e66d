"""A mixture updated by new rows alone: one step of incremental EM (`mixture/incremental.py`)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import DataFrame

from gmm_spark.advice import headlines
from gmm_spark.data import Data, Open, opened
from gmm_spark.engine.parquet import ParquetTable
from gmm_spark.engine.scoring import Scorer
from gmm_spark.errors import ConfigurationError, InputDataError, refusals
from gmm_spark.merging import MergedRows
from gmm_spark.mixture.edges import can_vanish, off_zero
from gmm_spark.mixture.em import Fit, PassRecord
from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.incremental import (
    ComponentStatistics,
    Frame,
    KeptStatistics,
    component_statistics,
    fading_of,
    updated,
)
from gmm_spark.mixture.m_step import MStep
from gmm_spark.mixture.merging import Partition
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.spec import SPEC, Spec
from gmm_spark.mixture.standardisation import Columns
from gmm_spark.mixture.statistics import Statistics
from gmm_spark.progress import say
from gmm_spark.scoring import check_inputs, rows_of
from gmm_spark.summary import KEPT_PATTERNS, GaussianMixtureSummary, summarise
from gmm_spark.training import frame_of

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Update:
    """What an update by new rows led to.

    parameters : in the user's units, components in their order
    statistics : of all the rows, those before faded
    fit : the E-step of the new rows under the parameters before, and the M-step
    summary : figures of the new rows
    sizes : rows most probably in each cluster of merged components; None where there are none
    """

    parameters: Parameters
    statistics: KeptStatistics
    fit: Fit
    summary: GaussianMixtureSummary
    sizes: tuple[int, ...] | None = None


def update(
    open_source: Open,
    spec: Spec,
    parameters: Parameters,
    kept: KeptStatistics | None,
    fading: float = 1.0,
    clusters: Partition | None = None,
    **names: Any,
) -> Update:
    """One step of incremental EM by new rows, which are scanned, then read once more.

    Parameters
    ----------
    open_source : opens the rows; they are given back in the end
    parameters : in the user's units
    kept : statistics of the rows so far; None where the parameters were given
    fading : what these are multiplied by
    clusters : of merged components
    names : of columns, for the summary

    Raises InputDataError where the rows cannot be used.
    """
    with opened(open_source, [spec], known_columns=kept is not None) as data:
        frame = kept.frame if kept is not None else _frame(data, spec)
        by, scanned = frame.standardisation, data.scan
        start = parameters.standardised(by)
        if can_vanish(start, frame.prior):
            start = off_zero(start)
        gaps = any(scanned.gaps[: start.d])
        evaluator = natural_parameters([start], by, gaps=gaps)
        found = data.engine.run_pass(evaluator)
        log_likelihood = float(evaluator.log_likelihoods(found, None)[0])
        log_likelihood -= found.weight * by.log_volume
        if not np.isfinite(log_likelihood):
            raise InputDataError(
                "the rows lie so far from all components that their densities are not finite; "
                "look at the units of the columns, or fit a model of these rows"
            )
        new = component_statistics(found, start.structure)
        before = None if kept is None else kept.statistics
        try:
            statistics, step = updated(before, new, fading, start, frame)
        except SingularCovarianceError:
            raise InputDataError(
                "an update by these rows makes a covariance singular, and there is no floor; "
                "fit with covarianceFloor='auto', or update by more rows at once"
            ) from None
        sizes = None
        if clusters is not None:
            scorer = Scorer(parameters, spec.missing, data.source.roles.inputs)
            sizes = MergedRows(data.source, scanned, scorer).sizes(clusters)
    fit = _fit(found, log_likelihood, start, step, frame, data.engine.seconds[-1])
    say(
        "updated by %d rows, mean log-likelihood %.6f under the model before",
        found.num_rows,
        log_likelihood / found.weight,
    )
    floor, constant = frame.floor * by.scale, scanned.lowest == scanned.highest
    return Update(
        step.parameters.restored(by),
        KeptStatistics(statistics, frame),
        fit,
        summarise(
            fit,
            scanned,
            Columns(by, floor, tuple(np.flatnonzero(constant[: start.d]).tolist()), ()),
            np.arange(start.k),
            data.source.roles,
            notes=data.notes,
            opening=data.opening,
            merged=clusters is not None,
            **names,
        ),
        sizes,
    )


def _frame(data: Data, spec: Spec) -> Frame:
    """The frame of a fit that would begin with these rows."""
    return frame_of(data.sample(spec), spec.k, data.scan)


def _fit(
    found: Statistics,
    log_likelihood: float,
    start: Parameters,
    step: MStep,
    frame: Frame,
    seconds: float,
) -> Fit:
    log_prior = 0.0 if frame.prior is None else frame.prior.log_density(start)
    objective = log_likelihood + log_prior
    mean = log_likelihood / found.weight
    record = PassRecord(1, "em", mean, objective / found.weight, None, start, (), (), seconds)
    return Fit(
        parameters=step.parameters,
        log_likelihood=log_likelihood,
        objective=objective,
        log_assignment=float(found.log_assignments[0]),
        cluster_sizes=np.array(found.cluster_sizes),
        cluster_weights=np.array(found.cluster_weights),
        weight=found.weight,
        num_rows=found.num_rows,
        converged=True,
        reason="updated",
        history=(record,),
        floored=step.floored,
        dead=step.dead,
        statistics=found,
    )


# --- a model ------------------------------------------------------------------------------


@refusals()
def updated_model(
    model: GaussianMixtureModel,
    dataset: DataFrame | ParquetTable,
    half_life: float | None,
    elapsed: float,
) -> GaussianMixtureModel:
    """The model of `GaussianMixtureModel.update`, which says what it is of."""
    half_life, elapsed = _number("halfLife", half_life, np.inf), _number("elapsed", elapsed, 1.0)
    if half_life == 0:
        raise ConfigurationError("halfLife is 0; it must be more, or None for statistics that stay")
    if elapsed == np.inf:
        raise ConfigurationError("elapsed is inf; it must be the time since the rows before")
    fading = fading_of(half_life, elapsed)
    kept, merging = model._statistics, model._merging
    expect_statistics(model)
    spec = replace(Spec(**model._values(SPEC)), checkpoint_dir=None)
    label = model._columns.label_col
    done = update(
        lambda: (rows_of(model, dataset, label), []),
        spec,
        model.parameters,
        kept,
        fading,
        None if merging is None else merging.clusters,
        featuresCol=model.getFeaturesCol(),
        predictionCol=model.getPredictionCol(),
        probabilityCol=model.getProbabilityCol(),
    )
    before = None if kept is None else kept.statistics
    new: GaussianMixtureModel = model.copy()
    new._parameters, new._statistics = done.parameters, done.statistics
    new._summary = _summary(model, done, before, half_life, elapsed, fading)
    if merging is not None:
        new._merging = replace(merging, sizes=done.sizes)
    for line in headlines(new.summary.warnings):
        logger.warning(line)
    return new._with_predictions(dataset) if isinstance(dataset, DataFrame) else new


def check_update(model: GaussianMixtureModel, dataset: DataFrame | ParquetTable) -> None:
    """Raise what an update would raise before it reads a row: of the model, of columns and their
    types."""
    expect_statistics(model)
    names = model._input_columns()
    if names is not None:
        check_inputs(
            model, dataset.files() if isinstance(dataset, ParquetTable) else dataset, names
        )


def _number(name: str, value: Any, default: float) -> float:
    """A number from 0 on, or the default for None; ConfigurationError for anything else."""
    try:
        found = default if value is None else float(value)
    except (TypeError, ValueError):
        found = -1.0
    if not found >= 0 or isinstance(value, bool):
        raise ConfigurationError(f"{name} is {value!r}; it must be a number, at least 0")
    return found


def expect_statistics(model: GaussianMixtureModel) -> None:
    """Raise ConfigurationError for a model that came from a fit, and keeps nothing of its rows to
    add others to."""
    if model._statistics is not None or not model.hasSummary:
        return
    if model.summary.reason == "kept":
        raise ConfigurationError(
            "this model cannot be updated: its division stayed as it was found on a sample "
            "(k-means, or one that EM leads away from), and an update is a step of EM; fit it "
            "again with the new rows"
        )
    raise ConfigurationError(
        "this model keeps no statistics of the rows it was fitted to: it was saved by a release "
        "that did not keep them. Fit it once more from where it is, GaussianMixture(k=model."
        "parameters.k, initialModel=model, ...), and update the model of that fit"
    )


def _summary(
    model: GaussianMixtureModel,
    done: Update,
    before: ComponentStatistics | None,
    half_life: float,
    elapsed: float,
    fading: float,
) -> GaussianMixtureSummary:
    """The summary of the new rows, with what the model has of the rows before."""
    old = model.summary if model.hasSummary else None
    summary, total = done.summary, done.statistics.statistics
    earlier = 0 if old is None or old.update is None else old.update["updates"]
    faded = 0.0 if before is None else fading * before.weight
    warnings = list(summary.warnings)
    if before is None:
        warnings.append(
            "no_statistics: the parameters were given, and not fitted; the model is of the "
            f"{summary.numRows} rows of this update alone"
        )
    unknown = [name for name, gaps in summary.numGaps.items() if gaps == summary.numRows]
    if unknown:
        warnings.append(
            f"no_values: in {', '.join(unknown)} no row of {summary.numRows} has a value that the "
            "model can use, and what it knows of them stays; it was fitted to others: look at "
            "types and spelling"
        )
    return replace(
        summary,
        aic=None,
        bic=None,
        icl=None,
        warnings=warnings,
        candidates=[] if old is None else old.candidates,
        gapPatterns=_patterns(summary, old, faded / total.weight),
        update={
            "updates": earlier + 1,
            "halfLife": None if half_life == np.inf else half_life,
            "elapsed": elapsed,
            "fading": fading,
            "weightBefore": 0.0 if before is None else before.weight,
            "weightFaded": faded,
            "weight": total.weight,
        },
    )


def _patterns(
    new: GaussianMixtureSummary, old: GaussianMixtureSummary | None, share: float
) -> list[dict[str, Any]]:
    """Patterns of gaps of the new rows, and those of the rows before, which have that share."""
    shares: dict[tuple[str, ...], float] = {}
    for summary, part in ((old, share), (new, 1.0 - share)):
        for one in [] if summary is None else summary.gapPatterns:
            columns = tuple(one["columns"])
            shares[columns] = shares.get(columns, 0.0) + part * one["share"]
    ordered = sorted(shares.items(), key=lambda item: -item[1])[:KEPT_PATTERNS]
    return [{"columns": list(columns), "share": part} for columns, part in ordered]
