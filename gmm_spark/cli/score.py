"""`gmm-spark score`: score every row of a table with a model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pyspark.errors import PySparkException
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from gmm_spark import GaussianMixtureModel, ParquetTable
from gmm_spark.comparison import numeric_columns
from gmm_spark.config import ScoreSettings
from gmm_spark.config.messages import shown
from gmm_spark.engine.cluster import cached, released
from gmm_spark.engine.column_types import arrow_types
from gmm_spark.engine.dataframe import quoted, same_names, sql_name
from gmm_spark.engine.inputs import no_column
from gmm_spark.engine.scoring import NOISE
from gmm_spark.engine.sql import unreadable
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.expressions import (
    LONGEST_SHOWN,
    column_name,
    expression_name,
    shown_expression,
)
from gmm_spark.prepare.outcome import outcome_columns
from gmm_spark.report.named_segments import add_names, named_segments
from gmm_spark.report.profiles import Outcome, can_be_profiled, profile
from gmm_spark.report.scored_customers import ID, NAME, id_of, name_of
from gmm_spark.report.segment_tables import tables_of
from gmm_spark.report.segments import Segments
from gmm_spark.runs import runner
from gmm_spark.runs.runner import Job, Run
from gmm_spark.storage import files, tables
from gmm_spark.storage.computed_columns import (
    Expression,
    Step,
    expect_names,
    expressions,
    with_expressions,
)
from gmm_spark.storage.customers import rows_of
from gmm_spark.storage.models import model_path
from gmm_spark.storage.problems import about_the_rows
from gmm_spark.storage.scores import RUN_DATE, RUN_ID, SCORES
from gmm_spark.storage.tracing import traced
from gmm_spark.storage.transactions import expect_format, replace_run_date

logger = logging.getLogger(__name__)

PREDICTION, PROBABILITY = "prediction", "probability"
LOG_DENSITY, UNCERTAINTY = "log_density", "uncertainty"
OUTLIER, COMPONENT = "outlier", "component"


def score(run: Run[ScoreSettings]) -> str:
    settings = run.settings
    model, named = _model(run)
    steps, frame = _opened(run, model)
    scored = _scored(run, model, named, frame, _kept(run, model, named, frame))
    _expect_outcomes(settings, scored, frame)

    replaces_partitions = settings.replaces_partitions and (
        files.exists(run.output.uri) or not files.can_rename(run.output.uri)
    )
    with traced(run.spark, settings.input, lambda: steps):
        run.warn(_unread(frame, steps[-1][1], _measured(model)))
        try:
            written = _write(run, frame, scored, replaces_partitions)
        except PySparkException as error:
            raise about_the_rows(error, frame, numeric_columns(model), settings.missing) from error
    means = [name for name in _measured(model) if name in frame.columns]
    asked = expressions("profile", settings.profile)
    with traced(run.spark, settings.input, lambda: [*steps, (frame, asked)]):
        profiles = _profiles(run, model, named, frame, written, means)
    *segments, whole = profiles
    add_names(segments, named)

    if settings.scores_table is not None:
        kind, run_date = str(settings.scores_format), str(settings.run_date)
        replace_run_date(written, settings.scores_table, kind, run_date)

    rows = whole["rows"]
    unscored = sum(segment["rows"] for segment in segments if segment["segment"] is None)
    run.record(
        rows={"read": rows, "scored": rows - unscored, "unscored": unscored},
        metrics={"k": len(model.clusters), "segments": segments, "all": whole},
    )
    if rows == 0:
        return _nothing_to_score(run, replaces_partitions)
    # Those of prepared columns, in units of none, say nothing at a glance; names do.
    shown = means if named is None else []
    findings = f"{rows:,} rows scored\n{tables_of(profiles, shown)}"
    if named is not None:
        findings += "\n\n" + _names(named)
    return findings + (f"\n{unscored:,} rows have gaps and no segment" if unscored else "")


def _model(run: Run[ScoreSettings]) -> tuple[GaussianMixtureModel, Segments | None]:
    """The model, and its segments with their names, where a churn run has left them beside it."""
    path = model_path(run.spark, "model", run.settings.model, run.record)
    model = GaussianMixtureModel.load(path)
    return model, named_segments(model, path)


def _opened(run: Run[ScoreSettings], model: GaussianMixtureModel) -> tuple[list[Step], DataFrame]:
    """The table with the columns that expressions give, and the steps it was made in."""
    settings, trained_on = run.settings, model.getInputExpressions()
    if settings.scores_format is not None:
        expect_format(run.spark, settings.scores_format)
    read, warnings = rows_of(run.spark, settings)
    run.warn(warnings)
    steps, frame = _steps(read, settings, trained_on)
    run.record(expressions=[one.text for _, wanted in steps for one in wanted])
    if "run_date" in settings.partitions and not same_names("run_date", frame.columns):
        frame = frame.withColumn("run_date", F.lit(settings.run_date))
    return steps, frame


def _steps(
    frame: DataFrame, settings: ScoreSettings, trained_on: Sequence[str]
) -> tuple[list[Step], DataFrame]:
    """The table with the expressions of the settings and those a model was trained on.

    What the settings say wins: a name of theirs that the model's expressions give too stands for
    it, whether it is an expression or a column of the table. Their other expressions come first,
    so that the model's may read them. Where an expression of the model cannot be evaluated, a
    column of its name is taken as it stands; InputDataError where there is none.
    """
    expect_names(settings, ["columns"], frame.columns)
    columns = settings.columns
    given, own = expressions("columns", columns), {column_name(text) for text in trained_on}
    before = [e for e in given if e.name not in own]
    defined = with_expressions(frame, before)
    wanted = [e for e in given if e.name in own]
    said = {e.name for e in wanted} | (set(columns) & set(frame.columns))
    for text in trained_on:
        name = column_name(text)
        if name in said:
            continue
        problem = unreadable(defined, text)
        if problem is None:
            wanted.append(Expression("model", text))
        elif name not in defined.columns:
            raise InputDataError(
                f"the model was trained on {shown_expression(text)}: {problem}; columns may say it "
                "in another way"
            )
        else:
            logger.info("%s is taken as it stands, not by %r: %s", name, text, problem)
    _tell(wanted)
    return [(frame, before), (defined, wanted)], with_expressions(defined, wanted)


def _tell(computed: Sequence[Expression]) -> None:
    """Say what is computed; of what is too long for a line, the names alone."""
    for one in computed:
        if len(one.text) <= LONGEST_SHOWN:
            logger.info("computed: %s", one.text)
    if long := [one.name for one in computed if len(one.text) > LONGEST_SHOWN]:
        logger.info("computed, by SQL that is in manifest.json: %s", ", ".join(long))


def _unread(frame: DataFrame, wanted: Sequence[Expression], numbers: Sequence[str]) -> list[str]:
    """What a model's expressions read nothing of, though there are values: text where there were
    numbers, or categories that are all new; and of `numbers` each text that is none."""
    of_one = {
        one.name: made_of[0]
        for one in wanted
        if one.key == "model" and len(made_of := outcome_columns(frame, one.text)) == 1
    }
    if not of_one:
        return []
    types = frame.select(*map(quoted, of_one.values())).schema.fields
    texts = [name for name, kind in zip(of_one, types, strict=True)
             if name in numbers and kind.dataType == StringType()]  # fmt: skip
    unread = {
        name: F.when(quoted(name).isNull() & (F.trim(raw) != ""), raw)
        for name in texts
        for raw in [quoted(of_one[name])]
    }
    found = frame.agg(
        *(F.count(quoted(raw)) for raw in of_one.values()),
        *(F.count(quoted(name)) for name in of_one),
        *(F.count(one) for one in unread.values()),
        *(F.min(one) for one in unread.values()),
    ).first()
    assert found is not None
    said, n, counts = [], len(of_one), found[2 * len(of_one) :]
    lost = dict(zip(texts, zip(counts, counts[len(texts) :], strict=False), strict=True))
    for (name, raw), known, read in zip(of_one.items(), found[:n], found[n : 2 * n], strict=True):
        rows, example = lost.get(name, (0, None))
        if known and not read:
            said.append(
                f"of column {raw!r} the model can use none of {known:,} values, and takes them as "
                "not known; it was trained on others: look at its type and its spelling"
            )
        elif rows:
            said.append(
                f"of column {raw!r} {rows:,} of {known:,} values are no numbers that the model can "
                f"use, such as {shown(example)}, and are taken as not known"
            )
    return said


def _write(
    run: Run[ScoreSettings], frame: DataFrame, scored: DataFrame, replaces_partitions: bool
) -> DataFrame:
    """Write the scores; what was written, as a table."""
    partition_by = run.settings.partitions
    if replaces_partitions:
        run.output.replace_partitions(scored, partition_by)
        return tables.read_partitions(scored, run.output.uri, frame, partition_by)
    tables.write(scored, run.output.temporary, partition_by)
    return tables.read_back(scored, run.output.temporary)


def _names(named: Segments) -> str:
    """Which segment is called what, and the ids of those that have one, by their numbers."""
    width = max(len(str(one.segment)) for one in named.segments)
    return "\n".join(
        f"  {one.segment:>{width}}  {'' if one.id is None else f'(segment_id {one.id}) '}{one.name}"
        for one in named.segments
    )


def _new(
    settings: ScoreSettings, model: GaussianMixtureModel, named: Segments | None
) -> tuple[list[str], list[str]]:
    """The columns that scoring adds, and which of them hold probabilities."""
    probabilities = [PROBABILITY]
    if settings.probability == "columns":
        probabilities = [f"{PROBABILITY}_{j}" for j in range(len(model.clusters))]
        if model.parameters.noise is not None:
            probabilities.append(f"{PROBABILITY}_noise")
    new = [PREDICTION, *_of_segments(named), *probabilities, LOG_DENSITY, UNCERTAINTY]
    if model.getOutlierThreshold() is not None:
        new.append(OUTLIER)
    if model.mergeHierarchy:
        new.append(COMPONENT)
    return new, probabilities


def _of_segments(named: Segments | None) -> dict[str, Column]:
    """The ids and the names of segments, as columns beside their numbers."""
    if named is None:
        return {}
    real = [one for one in named.segments if one.segment != NOISE]
    ids = [one.id for one in real if one.id is not None]
    found = {ID: F.expr(id_of(PREDICTION, ids))} if ids else {}
    return found | {NAME: F.expr(name_of(PREDICTION, [one.name for one in real]))}


def _kept(
    run: Run[ScoreSettings],
    model: GaussianMixtureModel,
    named: Segments | None,
    frame: DataFrame,
) -> list[str]:
    """The columns of the table that are written too."""
    settings = run.settings
    new, _ = _new(settings, model, named)
    if clash := [name for name in {PROBABILITY, *new} if name in frame.columns]:
        raise ConfigurationError(
            f"input: the table has a column {clash[0]} already, which scoring adds; "
            "is it a table of scores?"
        )
    kept = frame.columns if settings.keep_columns is None else settings.keep_columns
    _expect_columns("keep_columns", kept, frame.columns)
    kept = [*kept, *(name for name in settings.partitions if name in frame.columns)]
    kept = list(dict.fromkeys(kept))
    _expect_columns("partition_by", settings.partitions, [*kept, *new])
    _expect_no_column_of_versions(settings, kept)
    return kept


def _expect_no_column_of_versions(settings: ScoreSettings, kept: Sequence[str]) -> None:
    """Raise ConfigurationError where readers of versions would see another column of the name."""
    if settings.keep_versions is None:
        return
    for name in (RUN_DATE, RUN_ID):
        if clash := same_names(name, kept):
            raise ConfigurationError(
                f"keep_columns: found {clash[0]!r} among the columns that are written, and scores "
                f"of which versions are kept have a {name} of their run; expected keep_columns "
                "without it"
            )


def _scored(
    run: Run[ScoreSettings],
    model: GaussianMixtureModel,
    named: Segments | None,
    frame: DataFrame,
    kept: list[str],
) -> DataFrame:
    """The columns that are kept, then what the model says of the row."""
    settings = run.settings
    new, probabilities = _new(settings, model, named)
    model.setPredictionCol(PREDICTION).setProbabilityCol(PROBABILITY)
    model.setLogLikelihoodCol(LOG_DENSITY).setUncertaintyCol(UNCERTAINTY)
    model.setOutlierCol(OUTLIER).setComponentCol(COMPONENT).setMissing(settings.missing)
    scored = model.transform(_source(run, model, frame, kept))
    if settings.probability == "columns":
        # A row with gaps that was left unscored has no vector, and the conversion takes none.
        has_some = F.col(PROBABILITY).isNotNull()
        one_by_one = F.when(has_some, vector_to_array(F.col(PROBABILITY)))
        scored = scored.withColumns({name: one_by_one[j] for j, name in enumerate(probabilities)})
    if named is not None:  # Connect refuses to add none
        scored = scored.withColumns(_of_segments(named))
    return scored.select(*(quoted(name) for name in [*kept, *new]))


def _source(
    run: Run[ScoreSettings], model: GaussianMixtureModel, frame: DataFrame, kept: list[str]
) -> DataFrame | ParquetTable:
    """The table itself, where the workers can read it and all that is kept is numbers or text;
    else the columns of the frame that are kept or read, for all of them pass through Python."""
    inputs = _input_columns(model)
    stored = {name for name in kept if arrow_types([frame.schema[name]]) is not None}
    computed = run.facts["expressions"] or run.settings.customer is not None
    if inputs and len(stored) == len(kept) and not computed:
        table = tables.parquet_table(run.spark, run.settings.input, kept)
        if table is not None and {*kept, *inputs} <= set(table.schema().names):
            return table
    read = inputs or [model.getFeaturesCol()]
    for name in read:
        # Said here, where all columns of the table are known.
        if not same_names(name, frame.columns):
            raise no_column(name, frame.columns)
    needed = {*kept, *read}
    return frame.select(*(quoted(name) for name in frame.columns if name in needed))


def _expect_columns(key: str, wanted: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ConfigurationError(
            f"{key}: found {missing[0]!r}; expected a column of the table: {', '.join(columns)}"
        )


def _input_columns(model: GaussianMixtureModel) -> list[str]:
    return [*numeric_columns(model), *model.categories, *model.getCountCols()]


def _measured(model: GaussianMixtureModel) -> list[str]:
    """The columns of the model that have a mean."""
    return [*numeric_columns(model), *model.getCountCols()]


def _expect_outcomes(settings: ScoreSettings, scored: DataFrame, frame: DataFrame) -> None:
    """Raise ConfigurationError for an outcome that cannot be profiled, before any row is read."""
    known = list(dict.fromkeys([*frame.columns, *scored.columns]))
    expect_names(settings, ["profile"], known)
    names = [column_name(text) for text in settings.profile]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigurationError(f"profile: found {twice[0]!r} twice; expected each name once")
    for text in settings.profile:
        if not expression_name(text):
            _expect_columns("profile", [text], known)
        # Of the table, or of what scoring adds to it.
        problems = [unreadable(table, _sql(text)) for table in (frame, scored)]
        if all(problems):
            raise ConfigurationError(f"profile: found {text!r}; {problems[0]}")
        readable = scored if problems[0] else frame
        kind = readable.select(F.expr(_sql(text))).schema[0].dataType
        if not can_be_profiled(kind):
            raise ConfigurationError(
                f"profile: found {text}, a {kind.simpleString()}; expected a number, a boolean or "
                "text"
            )


def _sql(column: str) -> str:
    return column if expression_name(column) else sql_name(column)


def _profiles(
    run: Run[ScoreSettings],
    model: GaussianMixtureModel,
    named: Segments | None,
    frame: DataFrame,
    written: DataFrame,
    means: list[str],
) -> list[dict[str, Any]]:
    """The segments' profiles, from the scores as they were written where these hold all that is
    asked for. Else the rows are scored once more, with the columns that are not kept."""
    asked = run.settings.profile
    columns = {text: F.expr(_sql(text)) for text in asked}
    whole = set(means) <= set(written.columns) and not any(
        unreadable(written, _sql(text)) for text in asked
    )
    if whole:
        outcomes = _outcomes(written, columns)
        return profile(written, PREDICTION, UNCERTAINTY, means, outcomes)
    wider, kept = frame, list(means)
    for i, text in enumerate(asked):
        if unreadable(frame, _sql(text)) is None:
            # An expression may have the name of a column that the model reads.
            name = f"profile {i}" if expression_name(text) else text
            if expression_name(text):
                wider = wider.withColumn(name, columns[text])
            columns[text] = quoted(name)
            kept.append(name)
    again = _scored(run, model, named, wider, list(dict.fromkeys(kept)))
    outcomes = _outcomes(again, columns)
    if any(outcome.is_text for outcome in outcomes):
        # A text is a pass of its own; where nothing can be cached the rows are scored for each.
        with suppress(PySparkException):
            cached(again)
    try:
        return profile(again, PREDICTION, UNCERTAINTY, means, outcomes)
    finally:
        released(again)


def _outcomes(table: DataFrame, columns: dict[str, Column]) -> list[Outcome]:
    return [
        Outcome(column_name(text), column, table.select(column).schema[0].dataType)
        for text, column in columns.items()
    ]


def _nothing_to_score(run: Run[ScoreSettings], replaces_partitions: bool) -> str:
    """A rerun of a partition without rows any more clears it; else an empty table is an error."""
    settings = run.settings
    what = tables.describe(settings.input)
    known = {
        name: value for name, operator, value in settings.input.filters if operator in ("=", "==")
    }
    known.setdefault("run_date", settings.run_date)
    partition = []
    for name in settings.partition_by:
        if known.get(name) is None:
            break
        partition.append((name, known[name]))
    if not (replaces_partitions and partition):
        raise InputDataError(f"{what} has no rows to score; nothing was written")
    cleared = run.output.clear_partition(partition)
    where = "/".join(f"{name}={value}" for name, value in partition)
    run.record(warnings=[f"no rows to score; partition {where} was cleared"])
    return f"{what} has no rows; {where} {'was cleared' if cleared else 'was not there before'}"


def check(run: Run[ScoreSettings]) -> str:
    settings = run.settings
    model, named = _model(run)
    _, frame = _opened(run, model)
    scored = _scored(run, model, named, frame, _kept(run, model, named, frame))
    _expect_outcomes(settings, scored, frame)
    if settings.replaces_partitions and files.exists(run.output.uri):
        tables.check_partitioned(scored, run.output.uri, settings.partition_by)
    what = tables.describe(settings.input)
    return f"{what} would be scored with {len(model.clusters)} segments"


JOB = Job(
    name="score",
    settings=ScoreSettings,
    result=SCORES,
    overwrite=lambda settings: settings.mode == "overwrite",
    how="mode: overwrite",
    work=score,
    check=check,
    in_place=lambda settings: settings.replaces_partitions,
    by_run_date=True,
)


def main(argv: Sequence[str], prog: str = "gmm-spark score") -> int:
    """Score by these words of a command line; the exit code. `prog` is how it was called."""
    return runner.run(JOB, argv, prog)
