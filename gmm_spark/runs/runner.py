"""A run of a job: settings, session, log, result, manifest, exit code."""

from __future__ import annotations

import datetime
import logging
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pyspark.sql import SparkSession

from gmm_spark.checkpoints import remove_checkpoint
from gmm_spark.config import JobSettings, in_keys, load_settings, without_secrets
from gmm_spark.config.values import moment
from gmm_spark.errors import (
    ConfigurationError,
    GmmError,
    InputDataError,
    NoRowsError,
    PublishError,
)
from gmm_spark.runs import manifest
from gmm_spark.runs.exit_codes import DONE, as_ours, code_of, reason_of, say
from gmm_spark.runs.log import RunLog, library_log
from gmm_spark.runs.session import (
    ended_by_sigterm,
    failed_tasks_unlogged,
    session_of_a_run,
    without_sigterm,
)
from gmm_spark.storage import files
from gmm_spark.storage.output import Output
from gmm_spark.storage.publish_log import CHAMPION
from gmm_spark.storage.tables import describe
from gmm_spark.storage.versioned_output import VersionedOutput

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=JobSettings)


@dataclass
class Run(Generic[Settings]):
    """What a job is given: its settings, a session, and where its result and its facts go."""

    settings: Settings
    spark: SparkSession
    output: Output
    facts: dict[str, Any] = field(default_factory=dict)
    refusal: str | None = None

    def refuse(self, reason: str) -> None:
        """Have what was written kept, and not published."""
        self.refusal = reason

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
    be done; `overwrite` says whether an earlier result may be replaced, `how` what would allow it,
    `in_place` whether Spark replaces a part of it where it is, `alias` what a version is to be,
    `by_run_date` whether it is one of its run date.
    """

    name: str
    settings: type[Settings]
    result: str
    overwrite: Callable[[Settings], bool]
    how: str
    work: Callable[[Run[Settings]], str]
    check: Callable[[Run[Settings]], str]
    beside: tuple[str, ...] = ()
    in_place: Callable[[Settings], bool] = lambda settings: False
    alias: Callable[[Settings], str] = lambda settings: (
        getattr(settings, "publish_as", None) or CHAMPION
    )
    by_run_date: bool = False


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
    with ended_by_sigterm(), library_log() as log, ExitStack() as stack:
        try:
            spark = stack.enter_context(session_of_a_run(f"gmm_spark {job.name}"))
            stack.enter_context(failed_tasks_unlogged(spark))
        except (Exception, KeyboardInterrupt) as error:
            return say(as_ours(error))
        output = None
        try:
            with _path_of("output"):
                directory = files.qualified(spark, settings.output)
                files.filesystem(directory)
            run_id = uuid.uuid4().hex[:12]
            output = _output(job, settings, directory, run_id)
            if settings.input.path is not None:
                with _path_of("input.path"):
                    output.expect_outside(files.qualified(spark, settings.input.path))
            if settings.dry_run:
                return _dry(job, Run(settings, spark, output))
            output.claim(overwrite=job.overwrite(settings), how=job.how)
        except (Exception, KeyboardInterrupt) as error:
            if output is not None and not isinstance(error, GmmError):
                output.clean()
            return say(as_ours(error))
        return _claimed(job, Run(settings, spark, output), log)


@contextmanager
def _path_of(key: str) -> Iterator[None]:
    """What is wrong with a path, by the setting that it is of."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(re.sub("^path: ", f"{key}: ", str(error))) from None


def _dry(job: Job[Settings], run: Run[Settings]) -> int:
    """Say what the run would do, or the error it would end with; nothing is written."""
    try:
        run.output.check(overwrite=job.overwrite(run.settings), how=job.how)
        text = job.check(run)
    except (Exception, KeyboardInterrupt) as error:
        return say(as_ours(error))
    where = run.output.uri
    if files.exists(where):
        where += ", which is there and would be replaced"
    if isinstance(run.output, VersionedOutput):
        of_date = f"of run date {run.output.run_date}"
        what = of_date if run.output.by_run_date else f"as {run.output.alias}"
        where = f"a version under {run.output.directory}, {what}"
    print(
        f"Dry run: {text}\nNothing was written; {job.name} writes {where}",
        flush=True,
    )
    return DONE


def _output(job: Job[Settings], settings: Settings, directory: str, run_id: str) -> Output:
    """Where the result goes: in place of the earlier one, or as one more version."""
    if settings.keep_versions is None:
        in_place = job.in_place(settings)
        return Output(directory, job.result, run_id, job.beside, in_place=in_place)
    return VersionedOutput(
        directory,
        job.result,
        run_id,
        job.beside,
        keep=settings.keep_versions,
        alias=job.alias(settings),
        run_date=settings.run_date,
        by_run_date=job.by_run_date,
        job=job.name,
    )


def _claimed(job: Job[Settings], run: Run[Settings], log: RunLog) -> int:
    started = _now()
    date = run.settings.run_date
    of_date = "" if date is None else f", run date {date}"
    logger.info("%s: started, run %s%s", job.name, run.output.run_id, of_date)
    _tell_of_a_later_champion(run.output)
    try:
        text = job.work(run)
        refused = None if run.refusal is None else PublishError(_refusal(run))
        content = _manifest(job, run, started, refused)
        log.add(text if refused is None else f"{text}\n{content['reason']}")
        with without_sigterm():
            uri = run.output.publish(content, run.refusal, log.text)
    except (Exception, KeyboardInterrupt) as error:
        failure, run.refusal = _by_its_table(as_ours(error), run.settings), None
        run.output.clean()
        code = say(failure)
        log.add(reason_of(failure), logging.ERROR)
        try:
            content = _manifest(job, run, started, failure)
            run.output.write_failed_manifest(content, log.text)
        except Exception as unwritten:
            logger.warning("the manifest could not be written: %s", unwritten)
        return code
    run.output.clean()
    # Of a refused version too: the next run is of another table.
    _forget_checkpoint(run.settings)
    written = [*_standing(run.output), *run.output.published, ("manifest", uri)]
    width = max(len(name) for name, _ in written) + 1
    lines = [f"  {name:<{width}}{where}" for name, where in written]
    print("\n".join([text, "", "Written", *lines]), flush=True)
    if refused is not None:
        return say(refused)
    logger.info("%s: done in %.1f s", job.name, (_now() - started).total_seconds())
    return DONE


def _standing(output: Output) -> list[tuple[str, str]]:
    """Of a version its number, and what it counts as."""
    return [("version", output.standing)] if isinstance(output, VersionedOutput) else []


def _refusal(run: Run[Settings]) -> str:
    """Why a version is not published, and what publishes it all the same."""
    output = run.output
    assert run.refusal is not None
    assert isinstance(output, VersionedOutput)
    number = output.seen.number + 1
    promote = f"gmm-spark versions {output.directory} --promote {number}"
    return f"{run.refusal}; kept as version {number}: {promote} makes it the champion"


def _by_its_table(error: BaseException, settings: JobSettings) -> BaseException:
    """That there are no rows, with the table that has none, and the filters that took them."""
    if not isinstance(error, NoRowsError):
        return error
    taken = " and ".join(f"{name} {how} {value!r}" for name, how, value in settings.input.filters)
    by = f" with input.filters {taken}" if taken else ""
    return InputDataError(f"{error}: read was {describe(settings.input)}{by}")


def _tell_of_a_later_champion(output: Output) -> None:
    """Say where a run of an earlier day is about to take the champion's place, as one that is made
    up for does: readers would go back to it."""
    if not isinstance(output, VersionedOutput) or output.by_run_date or output.alias != CHAMPION:
        return
    champion = output.champion
    if champion is None or champion.run_date is None or output.run_date is None:
        return
    with suppress(ValueError):  # no days
        if moment(output.run_date) < moment(champion.run_date):
            logger.warning(
                "run_date: %s is before that of the champion, version %d of %s, whose place this "
                "run takes; publish_as: challenger leaves it there",
                output.run_date,
                champion.number,
                champion.run_date,
            )


def _manifest(
    job: Job[Settings],
    run: Run[Settings],
    started: datetime.datetime,
    failure: BaseException | None,
) -> dict[str, Any]:
    """What the manifest says of a run that is done, or of one that failed or was refused."""
    finished = _now()
    settings = without_secrets(run.settings)
    status = "done" if failure is None else "failed" if run.refusal is None else "refused"
    content = {
        "job": job.name,
        "status": status,
        "exit_code": DONE if failure is None else code_of(failure),
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
    found: dict[str, Any] = manifest.plain(content)
    return found


def _forget_checkpoint(settings: JobSettings) -> None:
    """Remove the state of a fit whose result is written: until then a run may be interrupted."""
    kept = getattr(settings, "checkpoint_dir", None)
    if kept is not None:
        remove_checkpoint(kept)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
