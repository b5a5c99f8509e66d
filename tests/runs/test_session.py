"""The session that a run makes where there is none."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.errors import PySparkRuntimeError

from gmm_spark.cli import train
from gmm_spark.runs import session
from gmm_spark.runs.exit_codes import TerminatedError

ROOT = Path(__file__).parents[2]


def test_a_job_from_plain_python_has_the_settings_of_the_file() -> None:
    lines = (ROOT / "conf" / "spark-defaults.conf").read_text("utf-8").splitlines()
    in_file = dict(line.split() for line in lines if line and not line.startswith("#"))
    # Spark's own default, in the file for those who read it.
    assert in_file.pop("spark.python.worker.reuse") == "true"
    assert in_file.pop("spark.driver.extraClassPath") == "conf"
    expected = dict(session._PLAIN_PYTHON)
    packaged = Path(expected.pop("spark.driver.extraClassPath"))
    assert in_file == expected
    # A wheel has no conf/ beside it: the file of the log is in the package, too.
    assert packaged.is_relative_to(Path(session.__file__).parent)
    for path in packaged.iterdir():
        assert path.read_bytes() == (ROOT / "conf" / path.name).read_bytes()
    assert (packaged / "log4j2.properties").is_file()


ARGV = ["--input.path", "lake", "--columns", "x", "--output"]


def test_sigterm_while_the_session_is_started(tmp_path: Path, capsys, monkeypatch) -> None:
    """That is the first seconds of a run; nothing is there yet to clean up."""

    def killed(name: str) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    monkeypatch.setattr(session, "get_session", killed)
    before = signal.getsignal(signal.SIGTERM)
    assert train.main([*ARGV, str(tmp_path / "out")]) == 143
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("stopped: SIGTERM, which schedulers send at a time limit")
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(tmp_path.iterdir()) == []


def test_sigterm_before_a_run_has_claimed_its_output(tmp_path: Path, capsys, monkeypatch) -> None:
    from gmm_spark.runs import runner

    monkeypatch.setattr(session, "current_session", lambda: SimpleNamespace())
    monkeypatch.setattr(runner, "failed_tasks_unlogged", lambda spark: session.suppress())

    def qualified(spark: Any, path: str) -> str:
        if path == "lake":
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        return path

    monkeypatch.setattr(runner.files, "qualified", qualified)
    assert train.main([*ARGV, str(tmp_path / "out")]) == 143
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_java_it_is_said(tmp_path: Path, capsys, monkeypatch) -> None:
    class Builder:
        def __getattr__(self, name: str) -> Any:
            return lambda *words: self

        def getOrCreate(self) -> Any:
            raise PySparkRuntimeError(errorClass="JAVA_GATEWAY_EXITED", messageParameters={})

    monkeypatch.setattr(session, "current_session", lambda: None)
    monkeypatch.setattr(session, "SparkSession", SimpleNamespace(builder=Builder()))
    assert train.main([*ARGV, str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "configuration: Spark's JVM could not be started, and what it said stands before this "
        "line; expected a JDK of version 17 or newer, which JAVA_HOME names or the path has\n"
    )


def test_py4j_shows_no_stack_trace_of_a_call_that_sigterm_interrupts() -> None:
    root, shown = logging.getLogger(), []
    handler = logging.Handler()
    handler.emit = shown.append  # type: ignore[method-assign,assignment]
    root.addHandler(handler)
    handlers = list(root.handlers)

    def interrupted() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            root.error("KeyboardInterrupt while sending command.")
            logging.getLogger("py4j.clientserver").error(
                "Exception occurred while shutting down connection"
            )
            assert shown == []
            root.error("something else")
            assert len(shown) == 1

    try:
        with pytest.raises(TerminatedError), session.ended_by_sigterm():
            interrupted()
        root.error("KeyboardInterrupt while sending command.")
        assert len(shown) == 2
        assert root.handlers == handlers
    finally:
        root.removeHandler(handler)
