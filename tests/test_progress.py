"""Progress: a line a pass where somebody watches, never twice, none on request."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gmm_spark import progress
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.initialisation.multistart import search
from gmm_spark.mixture.model_selection import grid
from gmm_spark.mixture.parameters import Standardisation
from gmm_spark.mixture.structures import STRUCTURES
from gmm_spark.progress import say, search_on_the_sample


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watch(monkeypatch: pytest.MonkeyPatch, stream: Any) -> Any:
    """The stream instead of stderr: that of sys itself is pytest's, anew for every phase."""
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream, modules=sys.modules))
    return stream


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    return watch(monkeypatch, Terminal())


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The package's, as it was before in the end."""
    found = logging.getLogger("gmm_spark")
    level, handlers = found.level, list(found.handlers)
    yield found
    found.setLevel(level)
    found.handlers[:] = handlers


def test_a_terminal_shows_a_line(terminal) -> None:
    say("pass %d, gain %.3g", 2, 0.01234)
    assert terminal.getvalue() == "pass 2, gain 0.0123\n"


@pytest.mark.parametrize("stream", [io.StringIO(), None, SimpleNamespace(write=print)])
def test_elsewhere_nothing_is_shown(monkeypatch, capsys, stream) -> None:
    watch(monkeypatch, stream)
    say("pass 1")
    assert not isinstance(stream, io.StringIO) or stream.getvalue() == ""
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("kernel", "shown"), [(object(), True), (None, False)])
def test_a_notebook_shows_it_ipython_in_a_pipe_does_not(monkeypatch, kernel, shown) -> None:
    stream, shell = watch(monkeypatch, io.StringIO()), SimpleNamespace(kernel=kernel)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    say("pass 1")
    assert (stream.getvalue() == "pass 1\n") is shown


def test_the_log_has_every_line_whoever_watches(caplog) -> None:
    caplog.set_level("INFO", "gmm_spark")
    say("pass %d", 1)
    assert caplog.messages == ["pass 1"]


@pytest.mark.parametrize("level", [logging.WARNING, logging.CRITICAL])
@pytest.mark.parametrize("name", ["gmm_spark", "gmm_spark.progress"])
def test_a_level_above_info_is_a_request_for_none(terminal, logger, name, level) -> None:
    named = logging.getLogger(name)
    named.setLevel(level)
    try:
        say("pass 1")
    finally:
        named.setLevel(logging.NOTSET)
    assert terminal.getvalue() == ""
    say("pass 2")
    assert terminal.getvalue() == "pass 2\n"


def test_all_logging_switched_off_is_a_request_for_none(terminal) -> None:
    logging.disable(logging.INFO)
    try:
        say("pass 1")
    finally:
        logging.disable(logging.NOTSET)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(5, "no terminal")])
def test_a_terminal_that_went_away_ends_no_fit(monkeypatch, error) -> None:
    def gone(text: str) -> None:
        raise error

    monkeypatch.setattr(watch(monkeypatch, Terminal()), "write", gone)
    say("pass 1")
    watch(monkeypatch, Terminal()).close()
    say("pass 2")


def test_what_a_handler_shows_is_not_said_twice(terminal, logger) -> None:
    """As of the jobs, and of logging.basicConfig(level="INFO")."""
    logger.addHandler(logging.StreamHandler(terminal))
    logger.setLevel(logging.INFO)
    say("pass 1")
    assert terminal.getvalue() == "pass 1\n"


@pytest.mark.parametrize("kind", ["file", "null", "warnings"])
def test_a_handler_that_shows_nothing_of_it_does_not_count(
    terminal, logger, monkeypatch, tmp_path, kind
) -> None:
    handlers = {
        "file": logging.FileHandler(tmp_path / "log"),
        "null": logging.NullHandler(),
        "warnings": logging.StreamHandler(terminal),
    }
    handlers["warnings"].setLevel(logging.WARNING)
    monkeypatch.setattr(logger, "propagate", False)  # past those of pytest
    logger.addHandler(handlers[kind])
    logger.setLevel(logging.INFO)
    say("pass 1")
    handlers["file"].close()
    assert terminal.getvalue() == "pass 1\n"


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, some seconds at most."""
    for _ in range(400):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_a_long_search_says_every_few_seconds_what_is_tried(terminal, monkeypatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", 0.02)
    with search_on_the_sample() as tell:
        tell("16 of 16 starts")
        until(lambda: terminal.getvalue().count("16 of 16 starts") >= 2)
        tell("8 of 16 starts")
        until(lambda: "8 of 16 starts, 0 s\n" in terminal.getvalue())
    said = terminal.getvalue()
    assert said.startswith("search on the sample: 16 of 16 starts, 0 s\n")
    time.sleep(0.1)
    assert terminal.getvalue() == said
    assert not [t for t in threading.enumerate() if t.name == "gmm_spark progress"]


def test_a_short_search_says_nothing(terminal) -> None:
    with search_on_the_sample() as tell:
        tell("16 of 16 starts")
    assert terminal.getvalue() == ""


def test_a_search_that_fails_says_no_more() -> None:
    with pytest.raises(KeyError), search_on_the_sample():
        raise KeyError("x")
    assert not [t for t in threading.enumerate() if t.name == "gmm_spark progress"]


def sample() -> Sample:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(2, 400)) + 8.0 * rng.integers(0, 2, 400)
    return Sample(values, None, Standardisation(np.zeros(2), np.ones(2)), np.full(2, 1e-3))


def test_the_search_tells_what_it_tries_and_finds_the_same() -> None:
    told: list[str] = []
    options = {"num_init": 4, "seed": 1}
    found = search(sample(), 3, STRUCTURES["VVV"], tell=told.append, **options)
    assert told[:3] == ["making 4 starts", "4 of 4 starts, 400 rows", "2 of 4 starts, 400 rows"]
    assert "moves of components, round 1 of 16 at most" in told
    assert told[-1] == "the best, 400 rows"
    silent = search(sample(), 3, STRUCTURES["VVV"], **options)
    assert_array_equal(found[0].means, silent[0].means)


def test_a_grid_tells_which_of_how_many() -> None:
    told: list[str] = []
    structures = [STRUCTURES["VVI"], STRUCTURES["VVV"]]
    samples = {structure.code: sample() for structure in structures}
    grid(samples, [1, 2], structures, "bic", 400.0, num_init=2, tell=told.append)
    which = list(dict.fromkeys(text.split(":")[0] for text in told))
    assert which == [
        "mixture 1 of 4, k = 1, diag", "mixture 2 of 4, k = 2, diag",
        "mixture 3 of 4, k = 1, full", "mixture 4 of 4, k = 2, full",
    ]  # fmt: skip


def test_a_fit_in_a_terminal_says_a_line_a_pass(frame_of_two, terminal) -> None:
    from gmm_spark import GaussianMixture

    fitted = GaussianMixture(k=1, inputCols=["x"]).fit(frame_of_two)
    lines = terminal.getvalue().splitlines()
    assert lines[0].startswith("4 rows of 1 columns")
    assert len(lines) == 1 + fitted.summary.numPasses
    assert lines[1].startswith("pass 1 (em), mean log-likelihood")


@pytest.fixture
def frame_of_two(spark):
    return spark.createDataFrame([(float(i),) for i in range(4)], "x double").coalesce(1)
