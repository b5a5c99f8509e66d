"""Score every row of a table with a model.

    spark-submit --py-files dist/gmm_spark.zip jobs/score.py --config conf/score.yaml

Writes Parquet and manifest.json under `output`. `--help` lists the settings.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pyspark.errors import PySparkException
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, NumericType

from gmm_spark import GaussianMixtureModel, ParquetTable
from gmm_spark.config import ScoreSettings
from gmm_spark.engine.dataframe import arrow_types, same_names
from gmm_spark.engine.scoring import NOISE
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.lake import evaluation, files, tables
from gmm_spark.lake.models import load_model
from gmm_spark.lake.runs import Job, Run, run_job
from gmm_spark.lake.tables import quoted
from gmm_spark.lake.text import number, percent, table

PREDICTION, PROBABILITY = "prediction", "probability"
LOG_DENSITY, UNCERTAINTY = "log_density", "uncertainty"
OUTLIER = "outlier"

# More columns than fit on a line are in the table, not on the terminal.
_SHOWN_COLUMNS = 6


def score(run: Run[ScoreSettings]) -> str:
    settings = run.settings
    model = load_model(run.spark, "model", settings.model)
    steps, frame = _opened(run, model)
    scored = _scored(run, model, frame)
    shown = [name for name in _numbers(model) if _is_number(scored, name)]
    outcomes = _outcomes(scored, settings)

    replaces_partitions = (
        settings.mode == "overwrite"
        and bool(settings.partition_by)
        and files.exists(run.result.uri)
    )
    with evaluation.traced(run.spark, settings.input, lambda: steps):
        try:
            written = _write(run, frame, scored, replaces_partitions)
        except PySparkException as error:
            raise _about_the_rows(error, frame, model, settings) from error
    segments = _segments(written, [*shown, *outcomes])

    rows = sum(segment["rows"] for segment in segments)
    unscored = sum(segment["rows"] for segment in segments if segment["segment"] is None)
    run.record(
        rows={"read": rows, "scored": rows - unscored, "unscored": unscored},
        metrics={"k": len(model.weights), "segments": segments},
    )
    if rows == 0:
        return _nothing_to_score(run, replaces_partitions)
    findings = _findings(segments, shown, outcomes, scored)
    if not replaces_partitions:
        run.result.publish()
    return findings


def _opened(
    run: Run[ScoreSettings], model: GaussianMixtureModel
) -> tuple[list[evaluation.Step], DataFrame]:
    """The table with the columns that expressions give, and the steps it was made in."""
    settings = run.settings
    read, trained_on = tables.read_table(run.spark, settings.input), model.getInputExpressions()
    steps, frame = evaluation.scoring_steps(read, settings, trained_on)
    run.record(expressions=[one.text for _, wanted in steps for one in wanted])
    if "run_date" in settings.partition_by and not same_names("run_date", frame.columns):
        frame = frame.withColumn("run_date", F.lit(settings.run_date))
    return steps, frame


def _write(
    run: Run[ScoreSettings], frame: DataFrame, scored: DataFrame, replaces_partitions: bool
) -> DataFrame:
    """Write the scores; what was written, as a table."""
    partition_by = run.settings.partition_by
    if replaces_partitions:
        tables.write_partitioned(scored, run.result.uri, partition_by)
        return tables.read_partitions(scored, run.result.uri, frame, partition_by)
    tables.write(scored, run.result.temporary, partition_by)
    return tables.read_back(scored, run.result.temporary)


def _about_the_rows(
    error: PySparkException, frame: DataFrame, model: GaussianMixtureModel, settings: ScoreSettings
) -> Exception:
    """A worker sees its own rows alone; say what is wrong with the table."""
    found = tables.raised_in_worker(error)
    if found is None:
        return error
    gaps = settings.missing == "error"
    unusable = tables.unusable_values(frame, _numbers(model), gaps=gaps)
    if unusable is None:
        return found
    advice = "; missing: marginalize scores a row by the columns that are known" if gaps else ""
    return InputDataError(f"{unusable}{advice}")


def _scored(run: Run[ScoreSettings], model: GaussianMixtureModel, frame: DataFrame) -> DataFrame:
    """The columns that are kept, then what the model says of the row."""
    settings = run.settings
    probabilities = (
        [PROBABILITY]
        if settings.probability == "vector"
        else [f"{PROBABILITY}_{j}" for j in range(len(model.weights))]
    )
    if settings.probability == "columns" and model.parameters.noise is not None:
        probabilities.append(f"{PROBABILITY}_noise")
    new = [PREDICTION, *probabilities, LOG_DENSITY, UNCERTAINTY]
    if model.getOutlierThreshold() is not None:
        new.append(OUTLIER)
    if clash := [name for name in {PROBABILITY, *new} if name in frame.columns]:
        raise ConfigurationError(
            f"input: the table has a column {clash[0]} already, which scoring adds; "
            "is it a table of scores?"
        )
    kept = frame.columns if settings.keep_columns is None else settings.keep_columns
    _expect_columns("keep_columns", kept, frame.columns)
    kept = [*kept, *(name for name in settings.partition_by if name in frame.columns)]
    kept = list(dict.fromkeys(kept))
    _expect_columns("partition_by", settings.partition_by, [*kept, *new])

    model.setPredictionCol(PREDICTION).setProbabilityCol(PROBABILITY)
    model.setLogLikelihoodCol(LOG_DENSITY).setUncertaintyCol(UNCERTAINTY)
    model.setOutlierCol(OUTLIER).setMissing(settings.missing)
    scored = model.transform(_source(run, model, frame, kept))
    if settings.probability == "columns":
        # A row with gaps that was left unscored has no vector, and the conversion takes none.
        has_some = F.col(PROBABILITY).isNotNull()
        one_by_one = F.when(has_some, vector_to_array(F.col(PROBABILITY)))
        scored = scored.withColumns({name: one_by_one[j] for j, name in enumerate(probabilities)})
    return scored.select(*(F.col(quoted(name)) for name in [*kept, *new]))


def _source(
    run: Run[ScoreSettings], model: GaussianMixtureModel, frame: DataFrame, kept: list[str]
) -> DataFrame | ParquetTable:
    """The table itself, where the workers can read it and all that is kept is numbers or text;
    else the columns of the frame that are kept or read, for all of them pass through Python."""
    inputs = _input_columns(model)
    stored = {name for name in kept if arrow_types([frame.schema[name]]) is not None}
    computed = run.facts["expressions"]
    if inputs and len(stored) == len(kept) and not computed:
        table = tables.parquet_table(run.spark, run.settings.input, kept)
        if table is not None and {*kept, *inputs} <= set(table.schema().names):
            return table
    needed = {*kept, *(inputs or [model.getFeaturesCol()])}
    return frame.select(*(F.col(quoted(name)) for name in frame.columns if name in needed))


def _expect_columns(key: str, wanted: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ConfigurationError(
            f"{key}: found {missing[0]!r}; expected a column of the table: {', '.join(columns)}"
        )


def _input_columns(model: GaussianMixtureModel) -> list[str]:
    return [*_numbers(model), *model.categories, *model.getCountCols()]


def _numbers(model: GaussianMixtureModel) -> list[str]:
    return list(model.getInputCols()) if model.isDefined("inputCols") else []


def _is_number(frame: DataFrame, name: str) -> bool:
    return name in frame.columns and isinstance(
        frame.schema[name].dataType, (NumericType, BooleanType)
    )


def _outcomes(scored: DataFrame, settings: ScoreSettings) -> list[str]:
    _expect_columns("profile", settings.profile, scored.columns)
    for name in settings.profile:
        if not _is_number(scored, name):
            kind = scored.schema[name].dataType.simpleString()
            raise ConfigurationError(
                f"profile: found {name}, a {kind}; expected a number or a boolean"
            )
    return settings.profile


def _segments(written: DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows, means and uncertainty of every segment, from the table as it was written."""
    means = [
        F.avg(F.col(quoted(name)).cast("double")).alias(f"mean_{i}")
        for i, name in enumerate(columns)
    ]
    rows = (
        written.groupBy(PREDICTION)
        .agg(F.count(F.lit(1)).alias("rows"), F.avg(UNCERTAINTY).alias(UNCERTAINTY), *means)
        .orderBy(F.col(PREDICTION).asc_nulls_last())
        .collect()
    )
    return [
        {
            "segment": row[PREDICTION],
            "rows": row["rows"],
            "mean_uncertainty": row[UNCERTAINTY],
            "means": {name: row[f"mean_{i}"] for i, name in enumerate(columns)},
        }
        for row in rows
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
    cleared = tables.clear_partition(run.result.uri, partition)
    where = "/".join(f"{name}={value}" for name, value in partition)
    run.record(warnings=[f"no rows to score; partition {where} was cleared"])
    return f"{what} has no rows; {where} {'was cleared' if cleared else 'was not there before'}"


def _findings(
    segments: list[dict[str, Any]],
    shown: list[str],
    outcomes: list[str],
    scored: DataFrame,
) -> str:
    total = sum(segment["rows"] for segment in segments)
    shown = [name for name in shown if name not in outcomes][:_SHOWN_COLUMNS]
    rates = {name for name in outcomes if isinstance(scored.schema[name].dataType, BooleanType)}
    header = [
        "segment",
        "rows",
        "share",
        *(f"mean {name}" for name in shown),
        *(f"{name} {'rate' if name in rates else 'mean'}" for name in outcomes),
        "uncertainty",
    ]
    rows = [
        [
            {None: "none", NOISE: "noise"}.get(segment["segment"], str(segment["segment"])),
            f"{segment['rows']:,}",
            percent(segment["rows"] / total),
            *(number(segment["means"][name]) for name in shown),
            *((percent if name in rates else number)(segment["means"][name]) for name in outcomes),
            percent(segment["mean_uncertainty"]),
        ]
        for segment in segments
    ]
    text = f"{total:,} rows scored\n{table(header, rows)}"
    unscored = [segment["rows"] for segment in segments if segment["segment"] is None]
    return text + (f"\n{unscored[0]:,} rows have gaps and no segment" if unscored else "")


def check(run: Run[ScoreSettings]) -> str:
    settings = run.settings
    model = load_model(run.spark, "model", settings.model)
    _, frame = _opened(run, model)
    scored = _scored(run, model, frame)
    _outcomes(scored, settings)
    if settings.partition_by and files.exists(run.result.uri):
        tables.check_partitioned(scored, run.result.uri, settings.partition_by)
    what = tables.describe(settings.input)
    return f"{what} would be scored with {len(model.weights)} segments"


JOB = Job(
    name="score",
    settings=ScoreSettings,
    result="scores",
    overwrite=lambda settings: settings.mode == "overwrite",
    how="mode: overwrite",
    work=score,
    check=check,
)


def main(argv: Sequence[str] | None = None) -> int:
    return run_job(JOB, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
