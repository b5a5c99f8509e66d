"""`gmm-spark churn`: segment customers, from a table of them or from transactions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import types as T

from gmm_spark import GaussianMixtureSearch
from gmm_spark.config import ChurnSettings, in_keys
from gmm_spark.description import segment_rows
from gmm_spark.errors import ConfigurationError
from gmm_spark.expressions import column_name
from gmm_spark.progress import say
from gmm_spark.report.scored_customers import density_percentiles, scored_customers
from gmm_spark.report.segment_tables import mixture_table
from gmm_spark.runs import manifest, runner
from gmm_spark.runs.runner import Job, Run
from gmm_spark.storage import files, tables
from gmm_spark.storage.computed_columns import expressions, with_expressions

MODEL, SCORES, PROFILES = "model", "scores", "profiles"
PREPARATION, SEGMENTS = "preparation.json", "segments.json"


def churn(run: Run[ChurnSettings]) -> str:
    settings = run.settings
    customers = _customers(run)
    search, columns = _search(settings, customers)
    model = search.fit(customers)
    summary = model.summary
    names = [f"segment {number}" for number in range(len(model.clusters))]

    say("scoring %d customers", summary.numRows + summary.numSkipped)
    percentiles = density_percentiles(model, customers, summary.numRows, settings.seed)
    kept = customers.columns if settings.id is None else [settings.id]
    scores = scored_customers(model, customers, kept, names, percentiles)
    tables.write(scores, run.output.temporary_of(SCORES), [])

    model.write().overwrite().save(run.output.temporary_of(MODEL))
    _write_json(run, PREPARATION, columns)
    _write_json(run, SEGMENTS, {"segments": segment_rows(model)})
    run.record(
        rows={"read": summary.numRows + summary.numSkipped, "used": summary.numRows},
        metrics={"k": len(model.clusters), "candidates": summary.candidates},
        warnings=[in_keys(warning) for warning in summary.warnings],
    )
    return mixture_table(segment_rows(model))


def _customers(run: Run[ChurnSettings]) -> DataFrame:
    """A row a customer."""
    settings = run.settings
    frame = tables.read_table(run.spark, settings.input)
    wanted = [
        found
        for key in ("outcome", "value", "columns", "categorical_columns", "count_columns")
        for found in expressions(key, getattr(settings, key))
    ]
    return with_expressions(frame, wanted)


def _search(
    settings: ChurnSettings, customers: DataFrame
) -> tuple[GaussianMixtureSearch, list[dict[str, Any]]]:
    numbers = [column_name(name) for name in settings.columns]
    categories = [column_name(name) for name in settings.categorical_columns]
    counts = [column_name(name) for name in settings.count_columns]
    if not (numbers or categories or counts):
        numbers = [
            field.name
            for field in customers.schema
            if isinstance(field.dataType, T.NumericType)
            and field.name not in (settings.id, column_name(settings.outcome or ""))
            and field.name not in settings.excluded_columns
        ]
    if not (numbers or categories or counts):
        raise ConfigurationError("columns: found none that can take part")
    search = GaussianMixtureSearch(
        k=settings.k,
        missing=settings.missing,
        seed=settings.seed,
        inputCols=numbers or None,
        categoricalCols=categories or None,
        countCols=counts or None,
    )
    return search, [{"name": name, "role": "number"} for name in numbers]


def _write_json(run: Run[ChurnSettings], name: str, content: Any) -> None:
    text = json.dumps(manifest.plain(content), indent=2, allow_nan=False)
    files.write_text(run.output.temporary_of(name), text + "\n")


def check(run: Run[ChurnSettings]) -> str:
    settings = run.settings
    customers = _customers(run)
    search, _ = _search(settings, customers)
    search.check(customers)
    k = " or ".join(map(str, settings.k))
    return f"{tables.describe(settings.input)} would be divided into {k} segments"


JOB = Job(
    name="churn",
    settings=ChurnSettings,
    result=SEGMENTS,
    overwrite=lambda settings: settings.mode == "overwrite",
    how="mode: overwrite",
    work=churn,
    check=check,
    beside=(MODEL, SCORES, PROFILES, PREPARATION),
)


def main(argv: Sequence[str], prog: str = "gmm-spark churn") -> int:
    """Segment customers by these words of a command line; the exit code. `prog` is how it was
    called."""
    return runner.run(JOB, argv, prog)
