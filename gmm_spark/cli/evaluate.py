"""`gmm-spark evaluate`: how a model suits a table, and where another model differs from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from gmm_spark import GaussianMixtureModel
from gmm_spark.comparison import (
    are_of_one_space,
    compare_models,
    numeric_columns,
    scored_by_both,
)
from gmm_spark.config import EvaluateSettings
from gmm_spark.engine.comparison import ComparedRows
from gmm_spark.engine.scoring import NOISE
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.divisions import adjusted_rand_of_table
from gmm_spark.mixture.matching import matched
from gmm_spark.report.named_segments import add_names, named_segments
from gmm_spark.report.segments import Segments
from gmm_spark.report.text import table
from gmm_spark.runs import manifest, runner
from gmm_spark.runs.runner import Job, Run
from gmm_spark.storage import files, tables
from gmm_spark.storage.computed_columns import expressions, with_expressions
from gmm_spark.storage.customers import rows_of
from gmm_spark.storage.models import model_path
from gmm_spark.storage.problems import about_the_rows
from gmm_spark.storage.tracing import traced

RESULT = "evaluation.json"


def evaluate(run: Run[EvaluateSettings]) -> str:
    (model, named), (against, named_of_other) = _models(run)
    settings, rows = run.settings, _rows(run)
    other = model if against is None else against
    numbers = [*numeric_columns(model), *numeric_columns(other)]
    with traced(run.spark, settings.input, lambda: [(rows, [])]):
        try:
            found = compare_models(rows, model, other)
        except PySparkException as error:
            raise about_the_rows(error, rows, numbers, settings.missing) from error
    if not found.rows:
        raise InputDataError(
            f"{tables.describe(run.settings.input)} has no rows that are scored"
            + (f": {found.unscored:,} have gaps" if found.unscored else "")
        )
    content: dict[str, Any] = {
        "rows": {"scored": found.rows, "unscored": found.unscored},
        "model": _fit(model, found, 0),
        "segments": _segments(model, found.joint.sum(axis=1), found.modal.sum(axis=1)),
    }
    add_names(content["segments"], named)
    if against is not None:
        content["against"] = _fit(against, found, 1)
        called = [{"segment": number} for number in _numbers(against)]
        add_names(called, named_of_other)
        content["against"]["called"] = called
        content["comparison"] = _comparison(model, against, found)
    content = manifest.plain(content)
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    files.write_text(run.output.temporary, text)
    run.record(metrics=content)
    return _words(content)


_Named = tuple[GaussianMixtureModel, Segments | None]


def _models(run: Run[EvaluateSettings]) -> tuple[_Named, _Named | tuple[None, None]]:
    """The model, and the one it is compared with, each with the names of its segments, where it has
    some."""

    def loaded(key: str, given: str) -> _Named:
        def record(model_version: dict[str, Any]) -> None:
            run.record(**{f"{key}_version": model_version})

        path = model_path(run.spark, key, given, record)
        model = GaussianMixtureModel.load(path)
        return model.setMissing(run.settings.missing), named_segments(model, path)

    against = run.settings.against
    other = (None, None) if against is None else loaded("against", against)
    return loaded("model", run.settings.model), other


def _numbers(model: GaussianMixtureModel) -> list[int]:
    """Of the segments, as `prediction` has them."""
    noise = [] if model.parameters.noise is None else [NOISE]
    return [*range(len(model.clusters)), *noise]


def _rows(run: Run[EvaluateSettings]) -> DataFrame:
    """The table, with the columns that expressions of the settings give."""
    settings = run.settings
    read, warnings = rows_of(run.spark, settings)
    run.warn(warnings)
    return with_expressions(read, expressions("columns", settings.columns))


def _fit(model: GaussianMixtureModel, found: ComparedRows, place: int) -> dict[str, Any]:
    """How likely the rows are to a model, and were those of its fit."""
    now = float(found.log_density[place]) / found.rows
    then = model.summary.meanLogLikelihood if model.hasSummary else None
    return {
        "segments": len(model.clusters),
        "components": model.parameters.k,
        "covariance_type": model.getCovarianceType(),
        "mean_log_likelihood": now,
        "mean_log_likelihood_of_its_fit": then,
        "change": None if then is None else now - then,
    }


def _segments(model: GaussianMixtureModel, size: Any, rows: Any) -> list[dict[str, Any]]:
    """How many rows every segment has, by probabilities and by the most probable one; and its
    share of them, beside that of the rows of the fit.

    Where EM has converged, the weights of the mixture are the mean probabilities of the rows of
    the fit. Those of a division that EM leads away from are not: of it the rows most probably in a
    segment are counted, of the fit and now.
    """
    weights = _of_segments(model, model.parameters.weights, model.noiseWeight)
    then, counted = weights, size
    if model.hasSummary and model.summary.reason == "kept":
        summary, counted = model.summary, rows
        sums = _of_segments(model, summary.clusterWeights, summary.noiseWeightSum or 0.0)
        then = [one / sum(sums) for one in sums]
    now = counted / counted.sum()
    numbers = _numbers(model)
    return [
        {
            "segment": numbers[j],
            "size": float(size[j]),
            "share": float(now[j]),
            "weight": weights[j],
            "share_of_its_fit": then[j],
            "change": float(now[j]) - then[j],
            "rows": int(rows[j]),
        }
        for j in range(len(size))
    ]


def _of_segments(model: GaussianMixtureModel, of_components: Any, of_noise: float) -> list[float]:
    """Sums of what components have, a segment each; noise last, where the model has it."""
    sums = [float(sum(of_components[i] for i in cluster)) for cluster in model.clusters]
    return sums if model.parameters.noise is None else [*sums, of_noise]


def _comparison(
    model: GaussianMixtureModel, against: GaussianMixtureModel, found: ComparedRows
) -> dict[str, Any]:
    """Rows by the segments of both, and how much the two divisions are alike."""
    k, other = len(model.clusters), len(against.clusters)
    matching = matched(found.modal[:k, :other], range(k), k, found.joint[:k, :other])
    own = {id: j for j, id in enumerate(matching.ids) if id < k}
    difference = float(np.diff(found.log_density)[0]) / found.rows
    return {
        "by_probability": found.joint.tolist(),
        "by_most_probable": found.modal.tolist(),
        "adjusted_rand_index": adjusted_rand_of_table(found.modal),
        "matched": [[i, own[i]] for i in range(k) if i in own],
        "changed_share": matching.changed,
        "difference_of_mean_log_likelihoods": (
            difference if are_of_one_space(model, against) else None
        ),
    }


def _words(content: dict[str, Any]) -> str:
    """What is printed."""
    rows, fit = content["rows"], content["model"]
    lines = [f"{rows['scored']:,} rows in {fit['segments']} segments"]
    if rows["unscored"]:
        lines[0] += f"; {rows['unscored']:,} have gaps and no segment"
    shown = [
        [
            _called(one),
            f"{one['share']:.1%}",
            f"{one['share_of_its_fit']:.1%}",
            f"{one['change']:+.1%}",
            f"{one['rows']:,}",
            *([one["name"]] if "name" in one else []),
        ]
        for one in content["segments"]
    ]
    heads = ["segment", "share", "of its fit", "change", "rows"]
    heads += ["name"] * (len(shown[0]) - len(heads))
    lines += table(heads, shown).splitlines()
    lines.append(_likelihood("Mean log-likelihood", fit))
    if "comparison" not in content:
        return "\n".join(lines)
    found, other = content["comparison"], content["against"]
    counts = found["by_most_probable"]
    lines += ["", f"Against a model of {other['segments']} segments"]
    heads = [_called(one) for one in other["called"]]
    lines += table(
        ["segment", *heads],
        [
            [_called(one), *(f"{count:,.0f}" for count in row)]
            for one, row in zip(content["segments"], counts, strict=True)
        ],
    ).splitlines()
    is_other = found["difference_of_mean_log_likelihoods"] is None
    lines += [
        _likelihood("Its mean log-likelihood", other)
        + ("; it is of other columns, not to be compared with the one above" if is_other else ""),
        f"Adjusted Rand index {found['adjusted_rand_index']:.3f}; "
        f"{found['changed_share']:.1%} of the rows in a segment that is not the one matched",
    ]
    return "\n".join(lines)


def _called(segment: dict[str, Any]) -> str:
    """The id of a segment, where it has one, else its number."""
    return str(segment.get("id", segment["segment"]))


def _likelihood(what: str, fit: dict[str, Any]) -> str:
    then = fit["mean_log_likelihood_of_its_fit"]
    before = "" if then is None else f", of its fit {then:.4f}"
    return f"{what} {fit['mean_log_likelihood']:.4f}{before}"


def check(run: Run[EvaluateSettings]) -> str:
    (model, _), (against, _) = _models(run)
    scored_by_both(_rows(run), model, model if against is None else against)
    return f"{tables.describe(run.settings.input)} would be scored by the model"


JOB = Job(
    name="evaluate",
    settings=EvaluateSettings,
    result=RESULT,
    overwrite=lambda settings: settings.mode == "overwrite",
    how="mode: overwrite",
    work=evaluate,
    check=check,
)


def main(argv: Sequence[str], prog: str = "gmm-spark evaluate") -> int:
    """Evaluate by these words of a command line; the exit code. `prog` is how it was called."""
    return runner.run(JOB, argv, prog)
