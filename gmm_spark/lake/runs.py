"""A run of a job: settings, session, log, result, manifest, exit code.

| exit code | |
|---|---|
| 0 | done |
| 1 | unexpected |
| 2 | configuration: a setting or a path is wrong; also a refused overwrite |
| 3 | input: the table, or the model file, cannot be used |
| 4 | the fit did not converge, and the settings ask to fail then |
| 5 | publishing refused (reserved) |
"""

from __future__ import annotations

import datetime
import logging
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pyspark.errors import PySparkException
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from gmm_spark.config import JobSettings, in_keys, load_settings, without_secrets
from gmm_spark.engine.cluster import current_session
from gmm_spark.engine.table_files import FiltersError
from gmm_spark.errors import ConfigurationError, FitError, GmmError, InputDataError, ModelFileError
from gmm_spark.lake import evaluation, files, manifest, tables
from gmm_spark.lake.results import Result
from gmm_spark.session import failed_tasks_unlogged, get_session

logger = logging.getLogger(__name__)

DONE, UNEXPECTED, CONFIGURATION, INPUT, NOT_CONVERGED = range(5)

Settings = TypeVar("Settings", bound=JobSettings)


_QUERY_LOGGERS = "SQLQueryContextLogger", "DataFrameQueryContextLogger"


class NotConvergedError(FitError):
    """The fit ended before it converged, and the settings ask to fail then."""


@dataclass
class Run(Generic[Settings]):
    """What a job is given: its settings, a session, and where its result and its facts go."""

    settings: Settings
    spark: SparkSession
    result: Result
    facts: dict[str, Any] = field(default_factory=dict)

    def record(self, **facts: Any) -> None:
        """Keep facts for the manifest; it has them even if the job fails later."""
        self.facts.update(facts)


@dataclass(frozen=True)
class Job(Generic[Settings]):
    """A job: its name and settings, the directory of its result, and what it does.

    `work` writes `run.result` and returns the text to print; `check` raises what can be known
    without that, and says what would be done; `overwrite` says whether an earlier result may be
    replaced, `how` what would allow it.
    """

    name: str
    settings: type[Settings]
    result: str
    overwrite: Callable[[Settings], bool]
    how: str
    work: Callable[[Run[Settings]], str]
    check: Callable[[Run[Settings]], str]


def run_job(job: Job[Settings], argv: Sequence[str]) -> int:
    """Run a job to its exit code; whatever went wrong is one line on stderr and in the manifest.

    Only what is unexpected also shows a traceback.
    """
    try:
        settings = load_settings(job.settings, argv, prog=f"{job.name}.py")
    except ConfigurationError as error:
        return _say(error)
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    with (
        _logging(),
        _session(f"gmm_spark {job.name}") as spark,
        failed_tasks_unlogged(spark),
    ):
        try:
            directory = files.qualified(spark, settings.output)
            run_id = uuid.uuid4().hex[:12]
            result = Result(directory, job.result, run_id)
            if settings.dry_run:
                return _dry(job, Run(settings, spark, result))
            result.claim(overwrite=job.overwrite(settings), how=job.how)
        except GmmError as error:
            return _say(error)
        return _claimed(job, Run(settings, spark, result))


def _dry(job: Job[Settings], run: Run[Settings]) -> int:
    """Say what the run would do, or the error it would end with; nothing is written."""
    try:
        run.result.check(overwrite=job.overwrite(run.settings), how=job.how)
        text = job.check(run)
    except (Exception, KeyboardInterrupt) as error:
        return _say(_ours(error))
    there = ", which is there and would be replaced" if files.exists(run.result.uri) else ""
    print(
        f"Dry run: {text}\nNothing was written; {job.name} writes {run.result.uri}{there}",
        flush=True,
    )
    return DONE


def _claimed(job: Job[Settings], run: Run[Settings]) -> int:
    started = _now()
    logger.info("%s: started, run %s", job.name, run.result.run_id)
    text, failure = "", None
    try:
        text = job.work(run)
    except (Exception, KeyboardInterrupt) as error:
        failure = _ours(error)
        code = _code(failure)
    else:
        code = DONE
    run.result.clean()
    finished = _now()
    settings = without_secrets(run.settings)
    content = {
        "job": job.name,
        "status": "failed" if failure else "done",
        "exit_code": code,
        "reason": _reason(failure) if failure else None,
        "run_id": run.result.run_id,
        "run_date": run.settings.run_date,
        "started": started.isoformat(timespec="milliseconds"),
        "finished": finished.isoformat(timespec="milliseconds"),
        "seconds": round((finished - started).total_seconds(), 3),
        "input": {key: value for key, value in settings["input"].items() if value},
        "settings": settings,
        "versions": manifest.versions(run.spark),
        **run.facts,
    }
    try:
        uri = run.result.write_manifest(manifest.plain(content))
    except Exception as error:
        if failure is None:
            failure = error
            code = UNEXPECTED
        else:
            logger.warning("the manifest could not be written: %s", error)
    if failure is not None:
        return _say(failure, code)
    print(
        f"{text}\n\nWritten\n  {job.result:<9}{run.result.uri}\n  {'manifest':<9}{uri}", flush=True
    )
    logger.info("%s: done in %.1f s", job.name, content["seconds"])
    return DONE


def _ours(error: BaseException) -> BaseException:
    """The error of this package behind an error of Spark, when a worker raised it; by its key."""
    if isinstance(error, FiltersError):
        return ConfigurationError(f"input.{error}")
    if evaluation.is_data_exception(error):
        return evaluation.in_short(error, "a value")
    if isinstance(error, PySparkException):
        return tables.raised_in_worker(error) or error
    return error


def _code(error: BaseException) -> int:
    if isinstance(error, NotConvergedError):
        return NOT_CONVERGED
    if isinstance(error, ConfigurationError):
        return CONFIGURATION
    if isinstance(error, (InputDataError, ModelFileError, FitError)):
        return INPUT
    return UNEXPECTED


_PREFIXES = {
    NotConvergedError: "not converged",
    ConfigurationError: "configuration",
    InputDataError: "input",
    ModelFileError: "model",
    FitError: "fit",
}


def _reason(error: BaseException) -> str:
    for kind, prefix in _PREFIXES.items():
        if isinstance(error, kind):
            return "\n".join(f"{prefix}: {line}" for line in in_keys(str(error)).splitlines())
    lines = [line for line in str(error).splitlines() if line.strip()]
    # An error from a worker is a traceback whose last unindented line says what it was.
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    text = (raised[-1:] or lines[:1] or [""])[0]
    return f"unexpected: {type(error).__name__}: {text}"


def _say(error: BaseException, code: int | None = None) -> int:
    """One line a problem to stderr; a traceback only for what nobody foresaw."""
    if not isinstance(error, GmmError):
        logger.error("unexpected", exc_info=error)
    print(_reason(error), file=sys.stderr, flush=True)
    return _code(error) if code is None else code


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


@contextmanager
def _session(name: str) -> Iterator[SparkSession]:
    """A session, stopped at the end unless it was there before."""
    before = current_session()
    spark = get_session(name)
    try:
        yield spark
    finally:
        if before is None:
            spark.stop()


class _Formatter(logging.Formatter):
    """Warnings speak of the keys of the settings."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        return in_keys(text) if record.levelno == logging.WARNING else text


@contextmanager
def _logging() -> Iterator[None]:
    """The library's log to stderr for the time of the job."""
    library = logging.getLogger("gmm_spark")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    level = library.level
    # pyspark prints a JSON line of its own for an error in a query; the job has said it by then.
    queries = [PySparkLogger.getLogger(name) for name in _QUERY_LOGGERS]
    for log in queries:
        log.disabled = True
    library.addHandler(handler)
    library.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.setLevel(level)
        for log in queries:
            log.disabled = False
