"""`gmm-spark churn`: segment customers, from a table of them or from transactions.

Read, make customers of transactions, prepare columns, choose and fit the segments, describe them,
score every customer; in this order, a function each.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark import GaussianMixtureModel, GaussianMixtureSearch, Preparation, PreparationModel
from gmm_spark.config import ChurnSettings
from gmm_spark.engine.cluster import cached, released
from gmm_spark.expressions import column_name
from gmm_spark.prepare.inputs import sql_of
from gmm_spark.prepare.transactions import CHURNED
from gmm_spark.progress import say
from gmm_spark.report.describing import describe_segments
from gmm_spark.report.scored_customers import density_percentiles, scored_customers
from gmm_spark.report.segment_words import words_of
from gmm_spark.report.segments import Segments
from gmm_spark.runs import manifest, runner
from gmm_spark.runs.runner import Job, Run
from gmm_spark.storage import files, tables
from gmm_spark.storage.computed_columns import expressions, with_expressions
from gmm_spark.storage.transactions import transaction_log

MODEL, SCORES, CUSTOMERS = "model", "scores", "customers"
PREPARATION, SEGMENTS = "preparation.json", "segments.json"
# Settings that name columns of a table of customers, or expressions.
_INPUTS = "columns", "categorical_columns", "count_columns", "date_columns"


@dataclass(frozen=True)
class Customers:
    """A row a customer, and what its columns are for.

    id : names the row; None where nothing does
    outcome : boolean or number that segments are to tell apart; None where there is none
    value : a column of money; None where there is none
    not_inputs : further columns that segments must not be made of
    """

    frame: DataFrame
    id: str | None
    outcome: str | None
    value: str | None
    not_inputs: tuple[str, ...] = ()


@dataclass
class _Phases:
    """What a run is at, said and timed."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str, told: str) -> Iterator[None]:
        say("%s", told)
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 3)


def churn(run: Run[ChurnSettings]) -> str:
    settings, phase = run.settings, _Phases()
    with phase("reading", f"reading {tables.describe(settings.input)}"):
        customers = _customers(run)
    try:
        with phase("preparation", "preparing columns: which take part, and as what"):
            preparation = _preparation(settings, customers).fit(customers.frame)
            prepared = preparation.transform(customers.frame)
        with phase("choice", _told_of(settings, preparation)):
            model = _search(settings, customers, preparation).fit(prepared)
            model.setInputExpressions(preparation.expressions)
        with phase("description", f"describing {len(model.clusters)} segments"):
            segments = _described(settings, customers, preparation, prepared, model)
        with phase("scoring", f"scoring {segments.rows.total:,} customers"):
            _write_scores(run, customers, prepared, model, segments)
    finally:
        released(customers.frame)
    run.warn(model.summary.warnings, logged=True)
    _write(run, preparation, model, segments)
    run.record(**_facts(model, preparation, segments, phase.seconds))
    return _words(model, preparation, segments)


def _customers(run: Run[ChurnSettings]) -> Customers:
    """The table of customers, as it is or made of transactions, with its outcome."""
    settings = run.settings
    log = transaction_log(run.spark, settings)
    if log is None:
        frame = tables.read_table(run.spark, settings.input)
        found = with_roles(settings, frame, settings.id)
        if tables.is_text(run.spark, settings.input):
            cached(found.frame)
        return found
    run.warn(log.warnings)
    made, uri = log.customers(), run.output.temporary_of(CUSTOMERS)
    # Written, and a result too: making them takes long.
    tables.write(made, uri, [])
    return with_roles(settings, tables.read_back(made, uri), log.customer)


def with_roles(settings: ChurnSettings, frame: DataFrame, by: str | None) -> Customers:
    """The table with the columns that expressions give it, and what its columns are for."""
    outcome = CHURNED if settings.churn_after_days is not None else settings.outcome
    wanted = [e for key in (*_INPUTS, "value") for e in expressions(key, getattr(settings, key))]
    frame = with_expressions(frame, wanted)
    if outcome is not None:
        frame, outcome = _with_outcome(frame, outcome)
    # What an expression made for one end is for that end alone.
    value = settings.value and column_name(settings.value)
    not_inputs = [value] if value and value != settings.value else []
    return Customers(frame, by, outcome, value, tuple(not_inputs))


def _with_outcome(frame: DataFrame, text: str) -> tuple[DataFrame, str]:
    """The table with the outcome as a boolean or a number, and its name."""
    sql = sql_of(frame, "outcome", text)
    name = column_name(text)
    found = F.expr(sql)
    if isinstance(frame.select(found).schema[0].dataType, T.StringType):
        found = F.when(found.isNotNull(), F.lower(F.trim(found)).isin("yes", "y", "true", "t", "1"))
    return frame.withColumn(name, found), name


def _preparation(settings: ChurnSettings, customers: Customers) -> Preparation:
    def names(columns: Sequence[str]) -> list[str] | None:
        return [column_name(column) for column in columns] or None

    outcomes = [] if customers.outcome is None else [customers.outcome]
    given = {
        "idCol": customers.id,
        "outcomeCols": outcomes or None,
        "inputCols": names(settings.columns),
        "categoricalCols": names(settings.categorical_columns),
        "countCols": names(settings.count_columns),
        "dateCols": names(settings.date_columns),
        "excludedCols": names([*settings.excluded_columns, *customers.not_inputs]),
        "referenceDate": settings.cut_off,
        "maxCategories": settings.max_categories,
        "seed": settings.seed,
    }
    return Preparation(**{key: value for key, value in given.items() if value is not None})


def _search(
    settings: ChurnSettings, customers: Customers, preparation: PreparationModel
) -> GaussianMixtureSearch:
    given = {
        "criterion": "segmentation",
        "k": settings.k,
        "covarianceType": settings.covariance_type or None,
        "minSegmentShare": settings.min_segment_share,
        "outcomeCol": customers.outcome,
        "missing": settings.missing,
        "maxCategories": settings.max_categories,
        "seed": settings.seed,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    return GaussianMixtureSearch(**chosen, **preparation.inputs)


def _told_of(settings: ChurnSettings, preparation: PreparationModel) -> str:
    """What is about to be chosen."""
    roles = [column["role"] for column in preparation.columns]
    taking_part = len(roles) - len(preparation.leftOut)
    k = _several(settings.k)
    return (
        f"choosing {k} segments of {taking_part} columns; {len(preparation.leftOut)} are left out"
    )


def _several(numbers: Sequence[int]) -> str:
    """Numbers of segments, as people say them."""
    first, last = min(numbers), max(numbers)
    if len(numbers) > 1 and sorted(numbers) == list(range(first, last + 1)):
        return f"{first} to {last}"
    return " or ".join(map(str, numbers))


def _described(
    settings: ChurnSettings,
    customers: Customers,
    preparation: PreparationModel,
    prepared: DataFrame,
    model: GaussianMixtureModel,
) -> Segments:
    return describe_segments(
        model,
        prepared,
        outcomes=[] if customers.outcome is None else [customers.outcome],
        value=customers.value,
        id=customers.id,
        preparation=preparation.columns,
        describe_people=settings.describe_people,
    )


def _write_scores(
    run: Run[ChurnSettings],
    customers: Customers,
    prepared: DataFrame,
    model: GaussianMixtureModel,
    segments: Segments,
) -> None:
    settings = run.settings
    rows = segments.rows.with_segment
    percentiles = density_percentiles(model, prepared, rows, settings.seed)
    kept = customers.frame.columns if customers.id is None else [customers.id]
    names = [one.name for one in segments.segments]
    scores = scored_customers(model, prepared, kept, names, percentiles)
    tables.write(scores, run.output.temporary_of(SCORES), [])


def _write(
    run: Run[ChurnSettings],
    preparation: PreparationModel,
    model: GaussianMixtureModel,
    segments: Segments,
) -> None:
    """The model, the card of its preparation, the profiles, and segments.json."""
    output = run.output
    model.write().overwrite().save(output.temporary_of(MODEL))
    card = json.dumps(manifest.plain(preparation.columns), indent=2, allow_nan=False)
    files.write_text(output.temporary_of(PREPARATION), card + "\n")
    files.write_text(output.temporary_of(SEGMENTS), segments.to_json())


def _facts(
    model: GaussianMixtureModel,
    preparation: PreparationModel,
    segments: Segments,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """What the manifest says of a run, beside its settings."""
    summary = model.summary
    return {
        "rows": {
            "read": segments.rows.total,
            "with_segment": segments.rows.with_segment,
            "gaps": summary.numGaps,
        },
        "columns": {column["name"]: column["role"] for column in preparation.columns},
        "metrics": {
            "segments": len(model.clusters),
            "components": model.parameters.k,
            "covariance_type": model.getCovarianceType(),
            "names": [one.name for one in segments.segments],
            "converged": summary.converged,
            "mean_log_likelihood": summary.meanLogLikelihood,
            "outcome_information": summary.outcomeInformation,
            "considered": summary.candidates,
            "seconds": seconds,
        },
        "passes": [
            {"pass": entry["pass"], "kind": entry["kind"], "seconds": entry["seconds"]}
            for entry in summary.history
        ],
    }


def _words(model: GaussianMixtureModel, preparation: PreparationModel, segments: Segments) -> str:
    """What is printed: the segments, why these, what was left out."""
    k = len(model.clusters)
    lines = [
        f"{segments.rows.total:,} customers in {k} segments",
        words_of(segments),
    ]
    chosen = model.summary.candidates[:1]
    if chosen and chosen[0].get("why"):
        lines += ["", f"Why {k}: {chosen[0]['why']}"]
    if (found := model.summary.outcomeInformation) is not None:
        lines.append(
            f"By the {found['rows']:,} customers that did not choose, the segment says "
            f"{found['bits']:.3f} bits of {found['outcome']}, and the highest "
            f"{'rate' if segments.outcomes[0].kind == 'rate' else 'mean'} is {found['spread']:.3f} "
            "over the lowest"
        )
    if preparation.leftOut:
        left = [f"{name} ({why})" for name, why in preparation.leftOut.items()]
        lines.append(f"Left out: {'; '.join(left)}")
    return "\n".join(lines)


def check(run: Run[ChurnSettings]) -> str:
    settings = run.settings
    if transaction_log(run.spark, settings) is None:
        with_roles(settings, tables.read_table(run.spark, settings.input), settings.id)
    what, k = tables.describe(settings.input), _several(settings.k)
    return f"{what} would be divided into {k} segments"


JOB = Job(
    name="churn",
    settings=ChurnSettings,
    result=SEGMENTS,
    overwrite=lambda settings: settings.mode == "overwrite",
    how="mode: overwrite",
    work=churn,
    check=check,
    beside=(MODEL, SCORES, CUSTOMERS, PREPARATION),
)


def main(argv: Sequence[str], prog: str = "gmm-spark churn") -> int:
    """Segment customers by these words of a command line; the exit code. `prog` is how it was
    called."""
    return runner.run(JOB, argv, prog)
