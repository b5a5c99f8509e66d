"""The Spark session of a job: the one there is, or one with settings that suit short passes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from gmm_spark.engine.cluster import current_session, loggers_off_on_one_machine
from gmm_spark.errors import ConfigurationError
from gmm_spark.runs.exit_codes import TerminatedError

# The log of the JVM, as the project's conf/ has it: Spark says only what is wrong.
_LOG_CONF = Path(__file__).parent / "conf"
# What conf/spark-defaults.conf says, for a job started by plain python. The reasons are there.
_PLAIN_PYTHON = {
    "spark.python.unix.domain.socket.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.extraClassPath": str(_LOG_CONF) if _LOG_CONF.is_dir() else "conf",
    "spark.log.level": "WARN",
    "spark.sql.debug.maxToStringFields": "1000",
}

# What tells of a task that failed, with its stack trace, and of a write that it ended.
_LOGS_OF_TASKS = (
    "org.apache.spark.executor.Executor",
    "org.apache.spark.scheduler.TaskSetManager",
    "org.apache.spark.storage.BlockManager",
    "org.apache.spark.util.Utils",
    "org.apache.spark.util.SparkErrorUtils",
    "org.apache.spark.sql.execution.datasources.FileFormatWriter",
    "org.apache.hadoop.mapreduce.lib.output.FileOutputCommitter",
)

# What tells, with its stack trace, of a call of the JVM that SIGTERM has interrupted.
_LOGS_OF_CALLS = "", "py4j.clientserver"


def get_session(app_name: str) -> SparkSession:
    """The session there is, or a new one.

    The master and every size come from spark-submit, from spark-defaults.conf or, with neither,
    from Spark's own default, local[*]; this code sets none of them.

    Raises ConfigurationError where no JVM can be started.
    """
    session = current_session()
    if session is not None:
        return session
    # Spark's own default is whatever python3 is first on the path, which may lack numpy.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(app_name)
    if not _settings_come_from_outside():
        for key, value in _PLAIN_PYTHON.items():
            builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except PySparkRuntimeError as error:
        if error.getCondition() != "JAVA_GATEWAY_EXITED":
            raise
        raise ConfigurationError(
            "Spark's JVM could not be started, and what it said stands before this line; expected "
            "a JDK of version 17 or newer, which JAVA_HOME names or the path has"
        ) from None


def _settings_come_from_outside() -> bool:
    """spark-submit, a connect server or a configuration directory has the say."""
    return any(
        os.environ.get(name)
        for name in (
            "PYSPARK_GATEWAY_PORT",
            "SPARK_REMOTE",
            "SPARK_CONF_DIR",
            "PYSPARK_SUBMIT_ARGS",
        )
    )


@contextmanager
def failed_tasks_unlogged(spark: SparkSession) -> Iterator[None]:
    """On one machine, Spark's log says nothing of a failed task: the caller says what it was.

    On a cluster it does, since there it tells of machines that are lost.
    """
    with loggers_off_on_one_machine(spark, _LOGS_OF_TASKS):
        yield


def _is_no_interrupted_call(record: logging.LogRecord) -> bool:
    """Whether a line of the log is not py4j's of a call that was interrupted, with its stack trace:
    the run says that it was stopped."""
    text = record.getMessage()
    interrupted = "KeyboardInterrupt while sending command", "while shutting down connection"
    return not any(part in text for part in interrupted)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends what is within as an error does: what was begun is cleaned up. A second one
    changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # py4j logs by the root logger, which else would be given a handler by that.
    logs, nowhere = [logging.getLogger(name) for name in _LOGS_OF_CALLS], logging.NullHandler()

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for log in logs:
            log.addFilter(_is_no_interrupted_call)
        logs[0].addHandler(nowhere)
        raise TerminatedError(
            "SIGTERM, which schedulers send at a time limit and machines that shut down; nothing "
            "was published, what was begun is removed. Run the same command again: with "
            "checkpoint_dir a fit goes on where it was"
        )

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        for log in logs:
            log.removeFilter(_is_no_interrupted_call)
        logs[0].removeHandler(nowhere)


@contextmanager
def without_sigterm() -> Iterator[None]:
    """SIGTERM changes nothing: what is within takes moments, and is the last that a run does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def session_of_a_run(name: str) -> Iterator[SparkSession]:
    """A session, stopped at the end unless it was there before."""
    before = current_session()
    spark = get_session(name)
    try:
        yield spark
    finally:
        if before is None:
            with suppress(Exception):  # a JVM that was ended too has no session to stop
                spark.stop()
