"""A run of a job: settings, session, log, result, manifest, exit code."""

from __future__ import annotations

import datetime
import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pyspark.sql import SparkSession

from gmm_spark.config import JobSettings, in_keys, load_settings, without_secrets
from gmm_spark.errors import ConfigurationError, GmmError
from gmm_spark.runs import manifest
from gmm_spark.runs.exit_codes import DONE, UNEXPECTED, as_ours, code_of, reason_of, say
from gmm_spark.runs.log import library_log
from gmm_spark.runs.session import failed_tasks_unlogged, session_of_a_run
from gmm_spark.storage import files
from gmm_spark.storage.output import Output

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=JobSettings)


@dataclass
class Run(Generic[Settings]):
    """What a job is given: its settings, a session, and where its result and its facts go."""

    settings: Settings
    spark: SparkSession
    output: Output
    facts: dict[str, Any] = field(default_factory=dict)

    def record(self, **facts: Any) -> None:
        """Keep facts for the manifest; it has them even if the job fails later."""
        self.facts.update(facts)

    def warn(self, sentences: Iterable[str], *, logged: bool = False) -> None:
        """Say sentences that a reader has to know, unless they are logged already, and keep them
        for the manifest."""
        for sentence in sentences:
            if not logged:
                logger.warning("%s", sentence)
            self.facts.setdefault("warnings", []).append(in_keys(sentence))


@dataclass(frozen=True)
class Job(Generic[Settings]):
    """A job: its name and settings, the name of its result, and what it does.

    `work` writes to `run.output.temporary`, and of what is `beside` the result to
    `run.output.temporary_of(name)`, and returns the text to print: what it has written is
    published when it returns. `check` raises what can be known without that, and says what would
    be done; `overwrite` says whether an earlier result may be replaced, `how` what would allow it.
    """

    name: str
    settings: type[Settings]
    result: str
    overwrite: Callable[[Settings], bool]
    how: str
    work: Callable[[Run[Settings]], str]
    check: Callable[[Run[Settings]], str]
    beside: tuple[str, ...] = ()


def run(job: Job[Settings], argv: Sequence[str], prog: str) -> int:
    """Run a job to its exit code; whatever went wrong is one line on stderr and in the manifest.

    Only what is unexpected also shows a traceback. `prog` is how the job was called.
    """
    try:
        settings = load_settings(job.settings, argv, prog=prog)
    except ConfigurationError as error:
        return say(error)
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    with (
        library_log(),
        session_of_a_run(f"gmm_spark {job.name}") as spark,
        failed_tasks_unlogged(spark),
    ):
        try:
            directory = files.qualified(spark, settings.output)
            run_id = uuid.uuid4().hex[:12]
            output = Output(directory, job.result, run_id, job.beside)
            if settings.input.path is not None:
                output.expect_outside(files.qualified(spark, settings.input.path))
            if settings.dry_run:
                return _dry(job, Run(settings, spark, output))
            output.claim(overwrite=job.overwrite(settings), how=job.how)
        except GmmError as error:
            return say(error)
        return _claimed(job, Run(settings, spark, output))


def _dry(job: Job[Settings], run: Run[Settings]) -> int:
    """Say what the run would do, or the error it would end with; nothing is written."""
    try:
        run.output.check(overwrite=job.overwrite(run.settings), how=job.how)
        text = job.check(run)
    except (Exception, KeyboardInterrupt) as error:
        return say(as_ours(error))
    there = ", which is there and would be replaced" if files.exists(run.output.uri) else ""
    print(
        f"Dry run: {text}\nNothing was written; {job.name} writes {run.output.uri}{there}",
        flush=True,
    )
    return DONE


def _claimed(job: Job[Settings], run: Run[Settings]) -> int:
    started = _now()
    logger.info("%s: started, run %s", job.name, run.output.run_id)
    text, failure = "", None
    try:
        text = job.work(run)
        run.output.publish()
    except (Exception, KeyboardInterrupt) as error:
        failure = as_ours(error)
        code = code_of(failure)
    else:
        code = DONE
    run.output.clean()
    finished = _now()
    settings = without_secrets(run.settings)
    content = {
        "job": job.name,
        "status": "failed" if failure else "done",
        "exit_code": code,
        "reason": reason_of(failure) if failure else None,
        "run_id": run.output.run_id,
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
        uri = run.output.write_manifest(manifest.plain(content))
    except Exception as error:
        if failure is None:
            failure = error
            code = UNEXPECTED
        else:
            logger.warning("the manifest could not be written: %s", error)
    if failure is not None:
        return say(failure, code)
    written = [*run.output.published, ("manifest", uri)]
    width = max(len(name) for name, _ in written) + 1
    lines = [f"  {name:<{width}}{where}" for name, where in written]
    print("\n".join([text, "", "Written", *lines]), flush=True)
    logger.info("%s: done in %.1f s", job.name, content["seconds"])
    return DONE


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
