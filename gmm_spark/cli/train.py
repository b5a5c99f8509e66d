"""`gmm-spark train`: fit a Gaussian mixture to a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from gmm_spark import GaussianMixture, GaussianMixtureModel, GaussianMixtureSearch, ParquetTable
from gmm_spark.config import TrainSettings, in_keys
from gmm_spark.description import segment_rows
from gmm_spark.errors import ConfigurationError
from gmm_spark.estimator import MixtureEstimator
from gmm_spark.expressions import column_name
from gmm_spark.mixture.spec import COLUMNS, FAMILY_JOB_KEYS, SEARCH_SETTINGS, SETTINGS, Setting
from gmm_spark.mixture.structures import structure_named
from gmm_spark.report.segment_tables import mixture_table
from gmm_spark.report.text import table
from gmm_spark.runs import runner
from gmm_spark.runs.exit_codes import NotConvergedError
from gmm_spark.runs.runner import Job, Run
from gmm_spark.runs.updates import Before, model_before, update_facts, update_words
from gmm_spark.storage import files, publish_log, tables
from gmm_spark.storage.computed_columns import (
    Expression,
    Step,
    expect_names,
    expressions,
    with_expressions,
)
from gmm_spark.storage.models import load_model, model_path
from gmm_spark.storage.tracing import traced
from gmm_spark.storage.versioned_output import VersionedOutput
from gmm_spark.updating import check_update

# The keys of a training whose columns are read again to score.
_TRAINED_ON = "columns", *FAMILY_JOB_KEYS, "vector_column"
# More candidates than these are in the manifest.
_SHOWN_CANDIDATES = 10


def train(run: Run[TrainSettings]) -> str:
    settings, before = run.settings, _before(run)
    fit = _estimator(run).fit if before is None else before.updated
    source, wanted = _source(run.spark, settings), _expressions(settings)

    def steps() -> list[Step]:
        return [(tables.read_table(run.spark, settings.input), wanted)]

    try:
        with traced(run.spark, settings.input, steps):
            model = fit(source)
    except pa.ArrowException as error:
        raise tables.arrow_error(settings.input, error) from error
    if read := _read_again(wanted):
        model.setInputExpressions(read)
    updated = None
    if before is not None:
        updated = {"model": before.facts, **update_facts(model, before.model, before.fading)}
    summary = model.summary
    run.record(
        rows={
            "read": summary.numRows + summary.numSkipped + summary.numZeroWeight,
            "used": summary.numRows,
            "skipped": summary.numSkipped,
            "gaps": summary.numGaps,
            "weight_sum": summary.weightSum,
            **_weighted(model, settings),
        },
        metrics={
            "k": summary.k,
            "covariance_type": model.getCovarianceType(),
            "converged": summary.converged,
            "stopped": summary.reason,
            "log_likelihood": summary.logLikelihood,
            "mean_log_likelihood": summary.meanLogLikelihood,
            "iterations": summary.numIter,
            "passes": summary.numPasses,
            "aic": summary.aic,
            "bic": summary.bic,
            "icl": summary.icl,
            "cluster_sizes": summary.clusterSizes,
            "cluster_weights": summary.clusterWeights,
            "weights": model.weights,
            "segments": segment_rows(model),
            **_special(model),
            **_choice(model, settings),
        },
        passes=[_pass(entry) for entry in summary.history],
        warnings=[in_keys(warning) for warning in summary.warnings],
        **({} if updated is None else {"update": updated}),
    )
    if settings.fail_if_not_converged and not summary.converged:
        raise NotConvergedError(
            f"stopped after {summary.numPasses} passes ({summary.reason}); no model was written. "
            f"Raise max_iter (now {settings.max_iter}) or tol (now {settings.tol:g})"
        )
    findings = _findings(model, settings)
    if updated is not None:
        findings = f"{update_words(updated, summary.numRows)}\n{findings}"
    model.write().overwrite().save(run.output.temporary)
    return findings


def _before(run: Run[TrainSettings]) -> Before | None:
    """The model that the run updates instead of a fit; None where it fits one."""
    settings, output = run.settings, run.output
    if settings.refit != "update":
        return None
    facts: dict[str, Any] = {}
    if settings.initial_model is not None:
        path = model_path(run.spark, "initial_model", settings.initial_model)
    else:
        assert isinstance(output, VersionedOutput)
        if output.champion is None:
            return None
        path = files.join(publish_log.checked(output.directory, output.champion), "model")
        facts = {"version": output.champion.number, "run_id": output.champion.run_id}
    before = model_before(path, facts, settings.run_date, settings.half_life)
    _expect_same(run, before)
    if "missing" in settings.model_fields_set:
        before = replace(before, model=before.model.copy().setMissing(settings.missing))
    return before


def _expect_same(run: Run[TrainSettings], before: Before) -> None:
    """Raise ConfigurationError where the settings are of another model than the one to update."""
    settings, model = run.settings, before.model
    known: dict[str, Any] = {"expressions in columns": model.getInputExpressions()}
    found: dict[str, Any] = {"expressions in columns": _read_again(_expressions(settings))}
    for each in COLUMNS:
        if each.job_key is not None and not each.starts:
            value = getattr(model._columns, each.key)
            known[each.job_key] = list(value) if isinstance(value, tuple) else value
            found[each.job_key] = _given(run, each)
    if model._input_columns() is not None:
        known["vector_column"] = None
    if not settings.searches:
        known |= {"k": model.parameters.k, "covariance_type": model.getCovarianceType()}
        if "k" in settings.model_fields_set:
            found["k"] = settings.k
        if "covariance_type" in settings.model_fields_set:
            found["covariance_type"] = structure_named(settings.covariance_type).name
    for key, value in found.items():
        if (value or None) != (known[key] or None):
            raise ConfigurationError(
                f"{key}: found {_listed(value)}; expected {_listed(known[key])}, as {before.words} "
                "has it: an update keeps what a model is of. Leave refit out to fit another"
            )


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) and value else str(value or "none")


def _read_again(wanted: Sequence[Expression]) -> list[str]:
    """The expressions that make columns which are read again to score."""
    return [one.text for one in wanted if one.key in _TRAINED_ON]


def _expressions(settings: TrainSettings) -> list[Expression]:
    """Every expression a training reads, wherever a key takes a column."""
    keys = *_TRAINED_ON, "weight_column", "label_column", "initial_label_column", "outcome_column"
    return [found for key in keys for found in expressions(key, getattr(settings, key))]


def _source(spark: SparkSession, settings: TrainSettings) -> ParquetTable | DataFrame:
    """What to fit to: a Parquet table that the workers read themselves, wherever that can be.

    A catalog table, another format, a vector column, an SQL expression, a reader's option, or a
    store that only Spark has a way to make it a DataFrame.
    """
    wanted = _expressions(settings)
    table = None
    if settings.vector_column is None and not wanted:
        table = tables.parquet_table(spark, settings.input)
    if table is not None:
        expect_names(settings, _TRAINED_ON, table.schema().names)
        return table
    frame = tables.read_table(spark, settings.input)
    expect_names(settings, _TRAINED_ON, frame.columns)
    if tables.is_text(spark, settings.input):
        tables.check_numbers(frame, [*settings.columns, *settings.count_columns])
    return with_expressions(frame, wanted)


def _estimator(run: Run[TrainSettings]) -> MixtureEstimator:
    settings = run.settings
    kind: type[MixtureEstimator] = GaussianMixture
    wanted = SETTINGS
    if settings.searches:
        kind, wanted = GaussianMixtureSearch, SEARCH_SETTINGS
        if settings.criterion == "segmentation":  # what is not said of these is the search's to say
            said = settings.model_fields_set
            tried = ("k", "covariance_type")
            wanted = tuple(each for each in wanted if each.key not in tried or each.key in said)
    given = {each.name: _given(run, each) for each in wanted if each.job_key is not None}
    return kind(**{name: value for name, value in given.items() if value not in (None, [])})


def _given(run: Run[TrainSettings], setting: Setting) -> Any:
    """What the settings of the job say of one of a fit; None or empty where they say nothing."""
    assert setting.job_key is not None
    value = getattr(run.settings, setting.job_key)
    if value is None:
        return None
    if setting.kind == "model":
        return load_model(run.spark, setting.job_key, value)
    if setting.is_column:
        return list(map(column_name, value)) if isinstance(value, list) else column_name(value)
    several = setting.kind in ("wholes", "structures")
    return [value] if several and not isinstance(value, list) else value


def _weighted(model: GaussianMixtureModel, settings: TrainSettings) -> dict[str, Any]:
    """Of the rows' weights, where there are any."""
    if settings.weight_column is None:
        return {}
    summary = model.summary
    return {"zero_weight": summary.numZeroWeight, "effective": summary.effectiveNumRows}


def _special(model: GaussianMixtureModel) -> dict[str, Any]:
    """Of categories, noise and outliers, where there are any."""
    found: dict[str, Any] = {}
    if model.categories:
        found["categories"] = {
            name: {"values": levels, "probabilities": model.probabilities(name)}
            for name, levels in model.categories.items()
        }
    if model.getCountCols():
        found["rates"] = {"columns": model.getCountCols(), "means": model.rates}
    if model.parameters.noise is not None:
        found |= {"noise_weight": model.noiseWeight, "noise_size": model.summary.noiseSize}
    if model.getOutlierThreshold() is not None:
        found["outlier_threshold"] = model.getOutlierThreshold()
    return found


def _pass(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "pass": entry["pass"],
        "kind": entry["kind"],
        "mean_log_likelihood": entry["meanLogLikelihood"],
        "gain": entry["gain"],
        "seconds": entry["seconds"],
    }


def _choice(model: GaussianMixtureModel, settings: TrainSettings) -> dict[str, Any]:
    """What there was to choose from, best first; nothing where there was no choice."""
    if not settings.searches:
        return {}
    candidates = [
        {_in_manifest(key): value for key, value in candidate.items()}
        for candidate in model.summary.candidates
    ]
    found = {"criterion": settings.criterion, "candidates": candidates}
    if settings.criterion == "segmentation":
        found |= {"clusters": model.clusters, "outcome": model.summary.outcomeInformation}
    return found


def _in_manifest(key: str) -> str:
    """The name of a figure of a candidate: mean_log_likelihood for meanLogLikelihood."""
    return "parameters" if key == "numParameters" else re.sub("[A-Z]", _lowered, key)


def _lowered(capital: re.Match[str]) -> str:
    return f"_{capital[0].lower()}"


def _candidates(model: GaussianMixtureModel, settings: TrainSettings) -> list[str]:
    candidates = model.summary.candidates
    if not settings.searches:
        return []
    if settings.criterion == "segmentation":
        return _divisions(model)
    rows = [
        [
            str(candidate["k"]),
            candidate["covarianceType"],
            "-" if candidate["criterion"] is None else f"{candidate['criterion']:,.1f}",
            candidate["evaluatedOn"],
            "" if index else "best",
        ]
        for index, candidate in enumerate(candidates[:_SHOWN_CANDIDATES])
    ]
    criterion = (
        settings.criterion if settings.criterion == "heldout" else settings.criterion.upper()
    )
    shown = table(["k", "structure", criterion, "evaluated on", ""], rows)
    return [*shown.splitlines(), *_hidden(len(candidates) - len(rows))]


def _hidden(count: int) -> list[str]:
    return [f"  and {count} more in manifest.json"] if count else []


def _divisions(model: GaussianMixtureModel) -> list[str]:
    """The divisions that were considered, and what the chosen one says of the outcome."""
    candidates, information = model.summary.candidates, model.summary.outcomeInformation
    rows = [
        [
            str(candidate["k"]),
            str(candidate["components"]),
            candidate["covarianceType"],
            _figure(candidate["stability"], ".2f"),
            _figure(candidate["smallestShare"], ".1%"),
            _figure(candidate["mutualInformation"], ".4f"),
            "" if index else "taken",
        ]
        for index, candidate in enumerate(candidates[:_SHOWN_CANDIDATES])
    ]
    headings = ["k", "components", "structure", "stability", "smallest", "bits of outcome", ""]
    lines = table(headings, rows).splitlines()
    lines += _hidden(len(candidates) - len(rows))
    lines.append(f"Taken: {candidates[0]['why']}")
    if information is not None:
        lines.append(
            f"{information['outcome']}: {information['bits']:.4f} bits, spread "
            f"{information['spread']:.3g}, by {information['rows']:,} rows that did not choose"
        )
    return lines


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _findings(model: GaussianMixtureModel, settings: TrainSettings) -> str:
    summary = model.summary
    used = f"{summary.numRows:,} rows used"
    if summary.numSkipped:
        used += f", {summary.numSkipped:,} skipped because of gaps"
    if summary.numGaps:
        used += f", {sum(summary.numGaps.values()):,} gaps integrated out"
    how = "converged" if summary.converged else f"did not converge ({summary.reason})"
    passes = "1 pass" if summary.numPasses == 1 else f"{summary.numPasses} passes"
    lines = [
        *([] if summary.update else _candidates(model, settings)),
        f"{len(model.clusters)} segments; {used}",
        mixture_table(segment_rows(model)),
    ]
    if summary.bic is not None:
        lines.append(
            f"{how[0].upper()}{how[1:]} after {passes}; mean log-likelihood "
            f"{summary.meanLogLikelihood:.4f}, BIC {summary.bic:,.1f}"
        )
    return "\n".join(line.rstrip() for text in lines for line in text.splitlines())


def check(run: Run[TrainSettings]) -> str:
    settings, before = run.settings, _before(run)
    source = _source(run.spark, settings)
    try:
        if before is None:
            _estimator(run).check(source)
        else:
            check_update(before.model, source)
    except pa.ArrowException as error:
        raise tables.arrow_error(settings.input, error) from error
    k = " or ".join(map(str, settings.k)) if isinstance(settings.k, list) else settings.k
    what = tables.describe(settings.input)
    if before is not None:
        return f"{before.words} would be updated by the rows of {what}"
    return f"{k} segment{'' if k == 1 else 's'} would be fitted to {what}"


JOB = Job(
    name="train",
    settings=TrainSettings,
    result="model",
    overwrite=lambda settings: settings.overwrite,
    how="overwrite: true",
    work=train,
    check=check,
)


def main(argv: Sequence[str], prog: str = "gmm-spark train") -> int:
    """Train by these words of a command line; the exit code. `prog` is how it was called."""
    return runner.run(JOB, argv, prog)
