"""A run that is killed, interrupted, second, or short of disk while it publishes: what readers see,
and that the same command completes afterwards. No Spark."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from gmm_spark.errors import PublishError
from gmm_spark.storage import create_only, files, output, publish_log, versioned_output
from gmm_spark.storage.output import Output
from gmm_spark.storage.versioned_output import VersionedOutput

FORK = get_context("fork")
DATE = "2026-11-01"
RESULTS = "model", "customers", "segments.json"
PUBLISHING = {one.__file__ for one in (create_only, files, output, publish_log, versioned_output)}
Reader = Callable[[Path], "set[str]"]


def begun(root: Path, text: str, kind: str, *, overwrite: bool = True) -> Output:
    """A run that has written all it is to publish."""
    words = str(root), "segments.json", text, RESULTS[:-1]
    run = Output(*words)
    if kind != "plain":
        run = VersionedOutput(*words, run_date=DATE, by_run_date=kind == "date")
    run.claim(overwrite=overwrite, how="")
    for name in RESULTS[:-1]:
        files.make_directory(run.temporary_of(name))
        for part in range(3):
            files.write_text(files.join(run.temporary_of(name), f"part-{part}"), text)
    files.write_text(run.temporary_of("segments.json"), text)
    return run


def ran(root: Path, text: str, kind: str) -> None:
    """A run, as `gmm_spark.runs.runner` has it."""
    run = begun(root, text, kind)
    published(run)


def published(run: Output) -> None:
    try:
        run.publish({"status": "done", "run": run.run_id})
    finally:
        run.clean()


def texts_of(directory: Path) -> set[str]:
    """What is in a result with all its parts; empty where it is not there."""
    assert len(list(directory.iterdir())) == 3
    return {path.read_text("utf-8") for path in directory.iterdir()}


def seen_by_alias(root: Path) -> set[str]:
    return seen_of(root, publish_log.find(str(root)))


def seen_by_date(root: Path) -> set[str]:
    return seen_of(root, publish_log.read(str(root)).by_run_date()[DATE])


def seen_of(root: Path, version: publish_log.Version) -> set[str]:
    uri = Path(publish_log.checked(str(root), version))
    return {uri.joinpath("segments.json").read_text("utf-8")}.union(
        *(texts_of(uri / name) for name in RESULTS[:-1])
    )


def seen_in_place(root: Path) -> set[str]:
    """Beside the result that comes last; nothing where that is not there."""
    if not (root / "segments.json").exists():
        return set()
    return {(root / "segments.json").read_text("utf-8")}.union(
        *(texts_of(root / name) for name in RESULTS[:-1])
    )


def before_line(number: int, happens: Callable[[], None], work: Callable[[], None]) -> int:
    """Do something before the line of that number of what publishes; how many lines there were."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in PUBLISHING:
            return None
        if event == "line":
            lines += 1
            if lines == number:
                happens()
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return lines


def lines_of(root: Path, kind: str) -> int:
    """Of a run beside an earlier one."""
    for text in ("1", "2"):
        ran(root, text, kind)
    return before_line(0, lambda: None, lambda: ran(root, "3", kind))


CASES = pytest.mark.parametrize(
    ("kind", "seen"), [("alias", seen_by_alias), ("date", seen_by_date), ("plain", seen_in_place)]
)


@CASES
def test_killed_before_any_line(tmp_path: Path, kind: str, seen: Reader) -> None:
    """From its first file on. Readers of versions see the old or the new one; of results that
    are replaced in place, nothing for a moment, and never results of two runs. The next run
    completes and leaves nothing."""
    lines, found = lines_of(tmp_path / "lines", kind), set()
    for number in range(1, lines, max(1, lines // 20)):
        root = tmp_path / str(number)
        for text in ("1", "2"):
            ran(root, text, kind)

        def killed(number: int = number, root: Path = root) -> None:
            before_line(number, lambda: os._exit(9), lambda: ran(root, "3", kind))
            os._exit(0)

        child = FORK.Process(target=killed)
        child.start()
        child.join()
        assert child.exitcode == 9
        now = seen(root)
        found.add(tuple(now))
        assert now in ({"2"}, {"3"}) if kind != "plain" else now in ({"2"}, {"3"}, set())
        ran(root, "4", kind)
        assert seen(root) == {"4"}
        if kind != "plain":
            publish_log.delete_abandoned(str(root))
            left = {path.parent.name for path in root.glob("versions/**/segments.json")}
            assert {name.removeprefix("run_id=") for name in left} == {"4"}
    assert {("2",), ("3",)} <= found


@CASES
def test_interrupted_before_any_line(tmp_path: Path, kind: str, seen: Reader) -> None:
    """What is published is not taken for a half of something and deleted."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    lines, found = lines_of(tmp_path / "lines", kind), set()
    for number in range(1, lines, max(1, lines // 30)):
        root = tmp_path / str(number)
        ran(root, "2", kind)
        run = begun(root, "3", kind)
        try:
            before_line(number, interrupt, lambda run=run: published(run))
        except KeyboardInterrupt:
            run.clean()
        now = seen(root)
        assert now in ({"2"}, {"3"})
        found.add(tuple(now))
        assert [name for name in os.listdir(root) if name.startswith("_temporary")] == []
    assert found == {("2",), ("3",)}


@CASES
def test_of_runs_that_publish_at_once(tmp_path: Path, kind: str, seen: Reader) -> None:
    """Readers see one of them; who comes second is told, or has replaced what the first wrote."""
    for trial in range(5):
        root = tmp_path / str(trial)
        ran(root, "0", kind)
        barrier, outcomes = FORK.Barrier(3), FORK.SimpleQueue()

        def publish(text: str, root: Path = root, barrier: Any = barrier) -> None:
            run = begun(root, text, kind)
            barrier.wait()
            try:
                published(run)
                outcomes.put((text, "published"))  # noqa: B023
            except Exception as error:  # not to be waited for for ever
                outcomes.put((text, str(error)))  # noqa: B023
            os._exit(0)

        children = [FORK.Process(target=publish, args=(text,)) for text in "123"]
        for child in children:
            child.start()
        told = dict(outcomes.get() for _ in children)
        for child in children:
            child.join()
        winners = [text for text, said in told.items() if said == "published"]
        assert seen(root) in [{text} for text in winners]
        for said in set(told.values()) - {"published"}:
            assert kind != "plain"
            assert said.startswith("another run published ")
        ran(root, "4", kind)
        assert seen(root) == {"4"}


def test_a_run_that_is_not_to_overwrite_does_not_when_it_is_second(tmp_path: Path) -> None:
    first, second = (begun(tmp_path, text, "plain", overwrite=False) for text in "12")
    published(first)
    with pytest.raises(PublishError, match=r"another run published .* not to overwrite"):
        published(second)
    assert seen_in_place(tmp_path) == {"1"}
    assert sorted(os.listdir(tmp_path)) == sorted([*RESULTS, "manifest.json"])


@CASES
def test_a_full_disk(tmp_path: Path, kind: str, seen: Reader) -> None:
    """Files of 100 bytes at most: readers see the earlier result, and what was begun is gone."""
    ran(tmp_path, "2", kind)
    before = sorted(os.listdir(tmp_path))

    def full() -> None:
        run = begun(tmp_path, "3", kind)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            run.publish({"status": "done", "run": "3" * 200})
        except OSError:
            run.clean()
            os._exit(7)
        os._exit(0)

    child = FORK.Process(target=full)
    child.start()
    child.join()
    assert child.exitcode == 7
    assert seen(tmp_path) == {"2"}
    assert sorted(os.listdir(tmp_path)) == before
