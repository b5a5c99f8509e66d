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
RESULTS = "model", "customers", "segments.json"
PUBLISHING = {one.__file__ for one in (create_only, files, output, publish_log, versioned_output)}
Reader = Callable[[Path], "set[str]"]


def begun(root: Path, text: str, *, versions: bool, overwrite: bool = True) -> Output:
    """A run that has written all it is to publish."""
    kind: Any = VersionedOutput if versions else Output
    run: Output = kind(str(root), "segments.json", text, RESULTS[:-1])
    run.claim(overwrite=overwrite, how="")
    for name in RESULTS[:-1]:
        files.make_directory(run.temporary_of(name))
        for part in range(3):
            files.write_text(files.join(run.temporary_of(name), f"part-{part}"), text)
    files.write_text(run.temporary_of("segments.json"), text)
    return run


def ran(root: Path, text: str, *, versions: bool) -> None:
    """A run, as `gmm_spark.runs.runner` has it."""
    run = begun(root, text, versions=versions)
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
    uri = Path(publish_log.checked(str(root), publish_log.find(str(root))))
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


def lines_of(root: Path, *, versions: bool) -> int:
    """Of a run beside an earlier one."""
    for text in ("1", "2"):
        ran(root, text, versions=versions)
    return before_line(0, lambda: None, lambda: ran(root, "3", versions=versions))


CASES = pytest.mark.parametrize(
    ("versions", "seen"), [(True, seen_by_alias), (False, seen_in_place)], ids=["versions", "plain"]
)


@CASES
def test_killed_before_any_line(tmp_path: Path, versions: bool, seen: Reader) -> None:
    """From its first file on. Readers of versions see the old or the new one; of results that
    are replaced in place, nothing for a moment, and never results of two runs. The next run
    completes and leaves nothing."""
    lines, found = lines_of(tmp_path / "lines", versions=versions), set()
    for number in range(1, lines, max(1, lines // 30)):
        root = tmp_path / str(number)
        for text in ("1", "2"):
            ran(root, text, versions=versions)

        def killed(number: int = number, root: Path = root) -> None:
            before_line(number, lambda: os._exit(9), lambda: ran(root, "3", versions=versions))
            os._exit(0)

        child = FORK.Process(target=killed)
        child.start()
        child.join()
        assert child.exitcode == 9
        now = seen(root)
        found.add(tuple(now))
        assert now in ({"2"}, {"3"}) if versions else now in ({"2"}, {"3"}, set())
        ran(root, "4", versions=versions)
        assert seen(root) == {"4"}
        if versions:
            publish_log.delete_abandoned(str(root))
            assert set(os.listdir(root / "versions")) == {"4"}
    assert {("2",), ("3",)} <= found


@CASES
def test_interrupted_before_any_line(tmp_path: Path, versions: bool, seen: Reader) -> None:
    """What is published is not taken for a half of something and deleted."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    lines, found = lines_of(tmp_path / "lines", versions=versions), set()
    for number in range(1, lines, max(1, lines // 50)):
        root = tmp_path / str(number)
        ran(root, "2", versions=versions)
        run = begun(root, "3", versions=versions)
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
def test_of_runs_that_publish_at_once(tmp_path: Path, versions: bool, seen: Reader) -> None:
    """Readers see one of them; who comes second is told, or has replaced what the first wrote."""
    for trial in range(5):
        root = tmp_path / str(trial)
        ran(root, "0", versions=versions)
        barrier, outcomes = FORK.Barrier(3), FORK.SimpleQueue()

        def publish(text: str, root: Path = root, barrier: Any = barrier) -> None:
            run = begun(root, text, versions=versions)
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
            assert versions
            assert said.startswith("another run published under ")
        ran(root, "4", versions=versions)
        assert seen(root) == {"4"}


def test_a_run_that_is_not_to_overwrite_does_not_when_it_is_second(tmp_path: Path) -> None:
    first, second = (begun(tmp_path, text, versions=False, overwrite=False) for text in "12")
    published(first)
    with pytest.raises(PublishError, match=r"another run published .* not to overwrite"):
        published(second)
    assert seen_in_place(tmp_path) == {"1"}
    assert sorted(os.listdir(tmp_path)) == sorted([*RESULTS, "manifest.json"])


@CASES
def test_a_full_disk(tmp_path: Path, versions: bool, seen: Reader) -> None:
    """Files of 100 bytes at most: readers see the earlier result, and what was begun is gone."""
    ran(tmp_path, "2", versions=versions)
    before = sorted(os.listdir(tmp_path))

    def full() -> None:
        run = begun(tmp_path, "3", versions=versions)
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
