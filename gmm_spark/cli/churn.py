"""`gmm-spark churn`: segment customers, from a table of them or from transactions.

Read, make customers of transactions, prepare columns, choose and fit the segments, describe them,
score every customer; in this order, a function each.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame

from gmm_spark import GaussianMixtureModel, GaussianMixtureSearch, Preparation, PreparationModel
from gmm_spark.config import ChurnSettings
from gmm_spark.engine.cluster import cached, released
from gmm_spark.engine.dataframe import quoted
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.expressions import column_name
from gmm_spark.prepare.proposal import LEFT_OUT
from gmm_spark.progress import say
from gmm_spark.refit import refitted
from gmm_spark.report.describing import describe_segments
from gmm_spark.report.page import INSTALL, missing_packages, page_of
from gmm_spark.report.scored_customers import expect_kept, scored_customers
from gmm_spark.report.segment_frames import segment_frames
from gmm_spark.report.segment_words import choice_words, typical_words, words_of
from gmm_spark.report.segments import FILE, Segments
from gmm_spark.report.succession import (
    IDS,
    INPUTS,
    Champion,
    Succession,
    changes_in_words,
    customers_between,
    first,
    renamed,
    succeeded,
    with_changes,
)
from gmm_spark.report.typical import raw_columns
from gmm_spark.runs import manifest, runner
from gmm_spark.runs.gate import in_one_line, judged
from gmm_spark.runs.runner import Job, Run
from gmm_spark.runs.updates import Fading, fading, run_dates_beside, update_facts
from gmm_spark.storage import files, tables
from gmm_spark.storage.customers import Customers, checked, transaction_log, with_roles
from gmm_spark.storage.publish_log import CHAMPION
from gmm_spark.storage.tracing import traced
from gmm_spark.storage.versioned_output import VersionedOutput
from gmm_spark.updating import expect_statistics

logger = logging.getLogger(__name__)

MODEL, SCORES, PROFILES, CUSTOMERS = "model", "scores", "profiles", "customers"
PREPARATION, SEGMENTS, PAGE = "preparation.json", FILE, "report.html"
# The warning that rows do not fall into groups.
_NO_SEGMENTS = "no_segments: "


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
    with traced(run.spark, run.settings.input, list):
        return _churn(run)


def _churn(run: Run[ChurnSettings]) -> str:
    settings, phase, champion = run.settings, _Phases(), _champion(run)
    followed = champion if settings.follows else None
    how = None if followed is None else _fading(settings, followed)
    with phase("reading", f"reading {tables.describe(settings.input)}"):
        customers = _customers(run)
    try:
        with phase("preparation", "preparing columns: which take part, and as what"):
            if followed is not None:
                prepared, card = followed.prepared(customers.frame), followed.card
            else:
                preparation = _prepared(settings, customers)
                run.warn(preparation.warnings, logged=True)
                prepared = preparation.transform(customers.frame)
                card = _card(customers, preparation)
        with phase("choice", _told_of(settings, card, followed)), _of_raw_columns(card):
            if followed is not None:
                model = _refitted(settings, customers, followed, prepared, how)
            else:
                search = _search(settings, customers, preparation)
                read = _read_by_a_fit(prepared, preparation.expressions, customers.outcome)
                model = search.fit(read)
                model.setInputExpressions(preparation.expressions)
        with phase("description", f"describing {len(model.clusters)} segments"):
            segments = _described(settings, customers, card, prepared, model)
        succession = None
        if settings.keep_versions is not None:
            with phase("comparison", "comparing with the champion, where there is one"):
                succession = _succession(champion, customers, model, segments, how is not None)
            segments = renamed(segments, succession.ids)
        with phase("scoring", f"scoring {segments.rows.total:,} customers"):
            scores = _write_scores(run, customers, prepared, model, segments)
    finally:
        released(customers.frame)
    run.warn(model.summary.warnings, logged=True)
    if followed is not None and how is not None:
        run.record(update=update_facts(model, followed.model, how))
    if succession is not None:
        segments = _judged(run, champion, customers, scores, segments, succession)
    _write(run, card, model, segments)
    if not missing_packages():
        with phase("page", f"writing {PAGE}"):
            _write_page(run, segments)
    run.record(**_facts(model, card, segments, phase.seconds))
    return _words(model, card, segments, explain=settings.explain)


@contextmanager
def _of_raw_columns(card: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """What is wrong with a prepared column, said of the one that the table has."""
    try:
        yield
    except InputDataError as error:
        text = str(error)
        for column in card:
            for name in column["prepared"]:
                text = text.replace(repr(name), f"{column['name']!r}, as it is prepared")
        raise InputDataError(text) from None


def _champion(run: Run[ChurnSettings]) -> Champion | None:
    """The version that counts, where versions are kept and there is one."""
    output = run.output
    if not isinstance(output, VersionedOutput) or output.champion is None:
        return None
    return Champion.read(output.directory, output.champion)


def _succession(
    champion: Champion | None,
    customers: Customers,
    model: GaussianMixtureModel,
    segments: Segments,
    same_numbers: bool,
) -> Succession:
    if champion is None:
        return first(customers.frame, segments)
    return succeeded(champion, customers.frame, model, segments, same_numbers=same_numbers)


def _fading(settings: ChurnSettings, followed: Champion) -> Fading | None:
    """How the champion's statistics fade, where the run updates it; None where it fits it anew.

    Raises ConfigurationError where it cannot be updated.
    """
    if settings.refit != "update":
        return None
    version = followed.version
    words = f"the champion, version {version.number},"
    try:
        expect_statistics(followed.model)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"refit: found update, and {words} cannot be updated: {error}. Expected keep, or choose"
        ) from None
    dates = run_dates_beside(files.join(followed.uri, MODEL)) or (version.run_date,)
    return fading(settings.run_date, dates, settings.half_life, words)


def _judged(
    run: Run[ChurnSettings],
    champion: Champion | None,
    customers: Customers,
    scores: DataFrame,
    segments: Segments,
    succession: Succession,
) -> Segments:
    """The segments with what has changed; of a champion that the gate is against, the run is told
    not to publish it."""
    settings, output = run.settings, run.output
    files.write_text(output.temporary_of(IDS), succession.ids.to_json())
    text = json.dumps(manifest.plain(succession.inputs), indent=1, allow_nan=False)
    files.write_text(output.temporary_of(INPUTS), text + "\n")
    if champion is None:
        return segments
    moved = customers_between(run.spark, champion, scores, customers.id, succession.ids)
    against = judged(succession.figures, settings.gate)
    if against and settings.alias == CHAMPION and not settings.force:
        run.refuse(in_one_line(against))
    run.record(
        champion={"version": champion.version.number, "run_id": champion.version.run_id},
        gate={"against": against, "forced": bool(against) and settings.force},
    )
    return with_changes(segments, succession, moved, against)


def _customers(run: Run[ChurnSettings]) -> Customers:
    """The table of customers, as it is or made of transactions, with its outcome."""
    settings = run.settings
    log = transaction_log(run.spark, settings)
    if log is None:
        found = with_roles(settings, tables.read_table(run.spark, settings.input), settings.id)
        if tables.is_text(run.spark, settings.input):
            cached(found.frame)
    else:
        run.warn(log.warnings)
        made, uri = log.unchecked(), run.output.temporary_of(CUSTOMERS)
        # Written, and a result too: making them takes long.
        tables.write(made, uri, [])
        table = tables.read_back(made, uri)
        log.check(table)
        found = with_roles(settings, table, log.customer)
    _expect_kept(settings, found)
    found, warnings = checked(found, settings)
    run.warn(warnings)
    return found


def _kept(customers: Customers) -> list[str]:
    """The columns that scores have beside the segments."""
    return customers.frame.columns if customers.id is None else [customers.id]


def _expect_kept(settings: ChurnSettings, customers: Customers) -> None:
    """Raise ConfigurationError, before anything is read, for a table that scores cannot be of."""
    with_ids = settings.keep_versions is not None
    expect_kept(_kept(customers), explained=settings.explain, with_ids=with_ids)


def _preparation(settings: ChurnSettings, customers: Customers) -> Preparation:
    def names(columns: Iterable[str]) -> list[str] | None:
        return [column_name(column) for column in columns] or None

    has_role = {customers.id, customers.outcome, *customers.inputs}
    excluded = dict.fromkeys([*settings.excluded_columns, *customers.not_inputs])
    given = {
        "idCol": customers.id,
        "outcomeCols": customers.outcome and [customers.outcome],
        "inputCols": names(settings.columns),
        "categoricalCols": names(settings.categorical_columns),
        "countCols": names(settings.count_columns),
        "dateCols": names(settings.date_columns),
        "excludedCols": names(name for name in excluded if name not in has_role),
        "referenceDate": settings.cut_off,
        "maxCategories": settings.max_categories,
        "seed": settings.seed,
    }
    return Preparation(**{key: value for key, value in given.items() if value is not None})


def _prepared(settings: ChurnSettings, customers: Customers) -> PreparationModel:
    preparation = _preparation(settings, customers)
    if customers.sample is not None:
        return preparation.fitToSample(customers.frame, customers.sample)
    found: PreparationModel = preparation.fit(customers.frame)
    return found


def _card(customers: Customers, preparation: PreparationModel) -> list[dict[str, Any]]:
    """What was done with every column, and why; what the run itself left out, by its reason."""
    reasons = {name: why for name, why in customers.not_inputs.items() if name != customers.outcome}
    return [
        {**column, "reason": reasons.get(column["name"], column["reason"])}
        for column in preparation.columns
    ]


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
        "checkpointDir": settings.checkpoint_dir,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    return GaussianMixtureSearch(**chosen, **preparation.inputs)


def _refitted(
    settings: ChurnSettings,
    customers: Customers,
    followed: Champion,
    prepared: DataFrame,
    how: Fading | None,
) -> GaussianMixtureModel:
    """The champion's segments, fitted anew, or updated as `how` says. Of rows that cannot be read
    the error says that they are prepared as the champion's were: its columns, and the values it
    knows."""
    model, outcome = followed.model, customers.outcome
    read = _read_by_a_fit(prepared, model.getInputExpressions(), outcome)
    try:
        if how is not None:
            return how.update(model, read)
        return refitted(model, read, outcome, settings.checkpoint_dir)
    except InputDataError as error:
        raise InputDataError(
            f"{error}. Rows are prepared as the champion, version {followed.version.number}, "
            "prepares them, with the values that it knows; with refit: choose a challenger is "
            "made of the rows as they are"
        ) from None


def _read_by_a_fit(
    prepared: DataFrame, prepared_by: Sequence[str], outcome: str | None
) -> DataFrame:
    """The prepared columns and the outcome alone: others may be called what models write."""
    names = [*map(column_name, prepared_by), *([] if outcome is None else [outcome])]
    return prepared.select(*map(quoted, names))


def _left_out(card: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The columns that take no part, and why."""
    return {column["name"]: column["reason"] for column in card if column["role"] == LEFT_OUT}


def _told_of(
    settings: ChurnSettings, card: Sequence[Mapping[str, Any]], followed: Champion | None
) -> str:
    """What is about to be chosen."""
    if followed is not None:
        version, k = followed.version.number, len(followed.model.clusters)
        if settings.refit == "update":
            return f"updating the {k} segments of the champion, version {version}"
        return f"fitting the {k} segments of the champion, version {version}, anew"
    out = len(_left_out(card))
    without = f"; {out} left out" if out else ""
    return f"choosing {_several(settings.k)} segments of {len(card) - out} columns{without}"


def _several(numbers: Sequence[int]) -> str:
    """Numbers of segments, as people say them."""
    first, last = min(numbers), max(numbers)
    if len(numbers) > 1 and sorted(numbers) == list(range(first, last + 1)):
        return f"{first} to {last}"
    return " or ".join(map(str, numbers))


def _described(
    settings: ChurnSettings,
    customers: Customers,
    card: Sequence[Mapping[str, Any]],
    prepared: DataFrame,
    model: GaussianMixtureModel,
) -> Segments:
    found = describe_segments(
        model,
        prepared,
        outcomes=[] if customers.outcome is None else [customers.outcome],
        value=customers.value,
        id=customers.id,
        preparation=card,
        describe_people=settings.describe_people,
        points=settings.points,
    )
    found = found.model_copy(update={"run_date": settings.run_date})
    if found.fit is None:
        return found
    # How long a pass took stands in the manifest: without it the same run writes the same file.
    passes = [one.model_copy(update={"seconds": None}) for one in found.fit.passes]
    fit = found.fit.model_copy(update={"passes": passes})
    return found.model_copy(update={"fit": fit})


def _write_scores(
    run: Run[ChurnSettings],
    customers: Customers,
    prepared: DataFrame,
    model: GaussianMixtureModel,
    segments: Segments,
) -> DataFrame:
    """Write the scores; what was written, as a table."""
    settings = run.settings
    found = segments.densities.log_densities if segments.densities else []
    percentiles = [-math.inf if one is None else one for one in found]
    names = [one.name for one in segments.segments]
    raw = raw_columns(segments.preparation) if settings.explain else None
    ids = [one.id for one in segments.segments if one.id is not None] or None
    scores = scored_customers(model, prepared, _kept(customers), names, percentiles, raw, ids)
    uri = run.output.temporary_of(SCORES)
    tables.write(scores, uri, [])
    return tables.read_back(scores, uri)


def _write(
    run: Run[ChurnSettings],
    card: Sequence[Mapping[str, Any]],
    model: GaussianMixtureModel,
    segments: Segments,
) -> None:
    """The model, the card of its preparation, the profiles, and segments.json."""
    output = run.output
    model.write().overwrite().save(output.temporary_of(MODEL))
    for name, frame in segment_frames(run.spark, segments).items():
        tables.write(frame.coalesce(1), files.join(output.temporary_of(PROFILES), name), [])
    text = json.dumps(manifest.plain(card), indent=2, allow_nan=False)
    files.write_text(output.temporary_of(PREPARATION), text + "\n")
    files.write_text(output.temporary_of(SEGMENTS), segments.to_json())


def _write_page(run: Run[ChurnSettings], segments: Segments) -> None:
    """The page. It is made of segments.json alone: a run of hours does not fail by a picture."""
    try:
        text = page_of(segments)
    except Exception as error:
        logger.warning("%s was not made", PAGE, exc_info=error)
        run.warn([f"{PAGE}: could not be made of {SEGMENTS}: {error}"], logged=True)
        return
    files.write_text(run.output.temporary_of(PAGE), text)


def _facts(
    model: GaussianMixtureModel,
    card: Sequence[Mapping[str, Any]],
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
        "columns": {column["name"]: column["role"] for column in card},
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


def _words(
    model: GaussianMixtureModel,
    card: Sequence[Mapping[str, Any]],
    segments: Segments,
    *,
    explain: bool = False,
) -> str:
    """What is printed: the segments, why these, what was left out; with `explain` what decides
    between them."""
    segments = segments.by_id()
    lines = [f"{segments.rows.total:,} {segments.noun} in {len(model.clusters)} segments"]
    if (without := segments.rows.without_segment) > 0:
        lines[0] += f"; {without:,} have gaps and no segment"
    warnings = model.summary.warnings
    lines += [_sentence(one) for one in warnings if one.startswith(_NO_SEGMENTS)]
    lines += ["", words_of(segments), "", *choice_words(segments)]
    if changes := changes_in_words(segments):
        lines += ["", *changes]
    if explain:
        lines += ["", *typical_words(segments)]
    if left_out := _left_out(card):
        width = max(map(len, left_out))
        lines += ["", "Left out", *(f"  {name:<{width}}  {why}" for name, why in left_out.items())]
    if missing := missing_packages():
        lines += ["", f"No {PAGE}: {INSTALL.format(', '.join(missing))}"]
    return "\n".join(lines)


def _sentence(warning: str) -> str:
    """A warning without its name."""
    text = warning.partition(": ")[2]
    return f"{text[:1].upper()}{text[1:]}"


def check(run: Run[ChurnSettings]) -> str:
    settings = run.settings
    champion = _champion(run) if settings.follows else None
    if transaction_log(run.spark, settings) is None:
        table = tables.read_table(run.spark, settings.input)
        found = with_roles(settings, table, settings.id)
        _expect_kept(settings, found)
        if champion is not None:
            champion.prepared(found.frame)
    what = tables.describe(settings.input)
    if champion is not None:
        k, version = len(champion.model.clusters), champion.version.number
        if _fading(settings, champion) is not None:
            return f"the {k} segments of version {version} would be updated by {what}"
        return f"the {k} segments of version {version} would be fitted anew to {what}"
    return f"{what} would be divided into {_several(settings.k)} segments"


JOB = Job(
    name="churn",
    settings=ChurnSettings,
    result=SEGMENTS,
    overwrite=lambda settings: settings.mode == "overwrite",
    how="mode: overwrite",
    work=churn,
    check=check,
    beside=(MODEL, SCORES, PROFILES, CUSTOMERS, PREPARATION, IDS, INPUTS, PAGE),
    alias=lambda settings: settings.alias,
)


def main(argv: Sequence[str], prog: str = "gmm-spark churn") -> int:
    """Segment customers by these words of a command line; the exit code. `prog` is how it was
    called."""
    return runner.run(JOB, argv, prog)
