"""Versions and the publish log: what readers see, whoever is killed and whoever comes second."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from gmm_spark.errors import ConfigurationError, ModelFileError, PublishError
from gmm_spark.storage import create_only, files, publish_log
from gmm_spark.storage.publish_log import CHALLENGER, CHAMPION, Version

FORK = get_context("fork")


def written(root: Path, run_id: str) -> None:
    """A version as a run writes it, not yet published."""
    directory = root / publish_log.directory_of(run_id)
    (directory / "model").mkdir(parents=True)
    (directory / "model" / "part").write_text(f"model of {run_id}", "utf-8")
    (directory / "manifest.json").write_text("{}", "utf-8")


def published(root: Path, run_id: str, keep: int = 10, **others: Any) -> Version:
    written(root, run_id)
    seen = publish_log.read(str(root))
    return publish_log.publish(str(root), seen, run_id, keep=keep, **others)


def champion(root: Path) -> str:
    """What a reader finds: the text of the champion, whose files it has checked."""
    version = publish_log.find(str(root))
    uri = publish_log.checked(str(root), version)
    return files.read_text(files.join(uri, "model", "part"))


def directories(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "versions").iterdir())


def test_a_version_is_seen_once_it_is_published(tmp_path: Path) -> None:
    written(tmp_path, "run1")
    assert not publish_log.is_there(str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"found no version 'champion' .* there are none"):
        publish_log.find(str(tmp_path))
    first = publish_log.publish(str(tmp_path), publish_log.read(str(tmp_path)), "run1", keep=3)
    assert first.number == 1
    assert champion(tmp_path) == "model of run1"
    second = published(tmp_path, "run2", run_date="2026-11-01")
    assert champion(tmp_path) == "model of run2"
    assert publish_log.find(str(tmp_path), 1) == first
    assert publish_log.find(str(tmp_path), "2").run_date == "2026-11-01"
    assert second.directory == "versions/run2"
    assert sorted(os.listdir(tmp_path / "published")) == ["000001.json", "000002.json"]


def test_a_challenger_leaves_the_champion_until_it_is_made_one(tmp_path: Path) -> None:
    published(tmp_path, "run1")
    challenger = published(tmp_path, "run2", alias=CHALLENGER)
    assert champion(tmp_path) == "model of run1"
    assert publish_log.find(str(tmp_path), CHALLENGER) == challenger
    publish_log.promote(str(tmp_path), 2)
    assert champion(tmp_path) == "model of run2"
    with pytest.raises(ConfigurationError, match=r"found no version 'challenger'.*champion is 2"):
        publish_log.find(str(tmp_path), CHALLENGER)
    publish_log.promote(str(tmp_path), 1)  # and back
    assert champion(tmp_path) == "model of run1"


def test_a_refused_version_is_kept_and_named_by_nothing(tmp_path: Path) -> None:
    published(tmp_path, "run1")
    refused = published(tmp_path, "run2", refused="segment 3 halved")
    assert champion(tmp_path) == "model of run1"
    entry = publish_log.read(str(tmp_path))
    assert entry.version(2) == refused
    assert refused.refused == "segment 3 halved"
    assert dict(entry.aliases) == {CHAMPION: 1}
    assert entry.did == "kept 2, which was refused: segment 3 halved"


def test_old_versions_go_but_none_that_has_an_alias(tmp_path: Path) -> None:
    published(tmp_path, "run1", keep=2)
    for i in range(2, 6):
        published(tmp_path, f"run{i}", keep=2, alias=CHALLENGER)
    assert champion(tmp_path) == "model of run1"
    assert directories(tmp_path) == ["run1", "run4", "run5"]
    assert [one.number for one in publish_log.read(str(tmp_path)).versions] == [1, 4, 5]
    # A refused one is the newest, and kept, even where none is to be.
    published(tmp_path, "run7", keep=0, refused="a rule")
    assert directories(tmp_path) == ["run1", "run5", "run7"]


def test_one_version_is_deleted_by_name_and_never_the_champion(tmp_path: Path) -> None:
    for i in range(1, 4):
        published(tmp_path, f"run{i}")
    with pytest.raises(ConfigurationError, match="version 3 is the champion"):
        publish_log.delete_version(str(tmp_path), 3)
    publish_log.delete_version(str(tmp_path), 2)
    assert directories(tmp_path) == ["run1", "run3"]
    with pytest.raises(ConfigurationError, match=r"found no version '2' .* there are 1, 3"):
        publish_log.delete_version(str(tmp_path), 2)
    # The number of what is deleted is not used again.
    assert published(tmp_path, "run5").number == 5


def scored(
    root: Path, run_id: str, run_date: str | None, keep: int = 2, seen: Any = None
) -> Version:
    """Scores of a run date, published by a run that began when the log said what it has `seen`."""
    directory = root / publish_log.directory_by_run_date(run_id, run_date)
    (directory / "scores").mkdir(parents=True)
    (directory / "scores" / "part-0.parquet").write_text(f"scores of {run_id}", "utf-8")
    seen = publish_log.read(str(root)) if seen is None else seen
    return publish_log.publish_by_run_date(str(root), seen, run_id, keep=keep, run_date=run_date)


def counting(root: Path) -> dict[str | None, str]:
    return {date: one.run_id for date, one in publish_log.read(str(root)).by_run_date().items()}


def test_of_every_run_date_the_newest_version_counts(tmp_path: Path) -> None:
    for run_id, run_date in [("a", "11-01"), ("b", "11-02"), ("c", "11-01"), ("d", None)]:
        scored(tmp_path, run_id, run_date)
    assert counting(tmp_path) == {"11-01": "c", "11-02": "b", None: "d"}
    assert publish_log.find(str(tmp_path), 3).directory == "versions/run_date=11-01/run_id=c"
    nobody = "versions/run_date=__HIVE_DEFAULT_PARTITION__/run_id=d"
    assert publish_log.find(str(tmp_path), 4).directory == nobody
    assert publish_log.read(str(tmp_path)).aliases == ()
    with pytest.raises(ConfigurationError, match="where there are newer ones, delete them"):
        publish_log.promote(str(tmp_path), 1)
    publish_log.delete_version(str(tmp_path), 3)
    assert counting(tmp_path) == {"11-01": "a", "11-02": "b", None: "d"}


def test_of_every_run_date_so_many_versions_are_kept(tmp_path: Path) -> None:
    published(tmp_path, "model")
    for day in ("11-01", "11-02"):
        for i in range(3):
            scored(tmp_path, f"{day}-{i}", day, keep=2)
    kept = [one.run_id for one in publish_log.read(str(tmp_path)).versions]
    assert kept == ["model", "11-01-1", "11-01-2", "11-02-1", "11-02-2"]
    assert not (tmp_path / "versions" / "run_date=11-01" / "run_id=11-01-0").exists()
    scored(tmp_path, "last", "11-03", keep=1)
    assert counting(tmp_path) == {"11-01": "11-01-2", "11-02": "11-02-2", "11-03": "last"}
    assert len(publish_log.read(str(tmp_path)).versions) == 4
    assert champion(tmp_path) == "model of model"


def test_runs_of_several_dates_at_once_all_publish_and_of_one_date_one_does(
    tmp_path: Path,
) -> None:
    scored(tmp_path, "first", "11-01")
    seen = publish_log.read(str(tmp_path))
    scored(tmp_path, "a", "11-02", seen=seen)
    scored(tmp_path, "b", "11-01", seen=seen)
    with pytest.raises(PublishError, match=r"another run published run date 11-01 .* version 3"):
        scored(tmp_path, "c", "11-01", seen=seen)
    assert counting(tmp_path) == {"11-01": "b", "11-02": "a"}


def test_one_that_loses_the_race_for_an_entry_takes_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = create_only.create

    def beaten(uri: str, content: bytes) -> bool:
        monkeypatch.undo()
        scored(tmp_path, "other", "11-02")
        return create(uri, content)

    monkeypatch.setattr(create_only, "create", beaten)
    assert scored(tmp_path, "own", "11-01").number == 2
    assert counting(tmp_path) == {"11-01": "own", "11-02": "other"}


def test_a_run_date_is_escaped_as_spark_does(tmp_path: Path) -> None:
    scored(tmp_path, "a", "2026-11-01T00:00/x y")
    assert (tmp_path / "versions" / "run_date=2026-11-01T00%3A00%2Fx y" / "run_id=a").is_dir()
    assert publish_log.checked(str(tmp_path), publish_log.find(str(tmp_path), 1))


def test_abandoned_scores_are_found_below_their_date(tmp_path: Path) -> None:
    scored(tmp_path, "a", "11-01")
    (tmp_path / "versions" / "run_date=11-01" / "run_id=killed" / "scores").mkdir(parents=True)
    assert publish_log.delete_abandoned(str(tmp_path)) == ["run_date=11-01/run_id=killed"]
    assert os.listdir(tmp_path / "versions" / "run_date=11-01") == ["run_id=a"]


def test_of_the_log_the_last_hundred_entries_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_log, "_KEPT_ENTRIES", 3)
    for i in range(1, 6):
        published(tmp_path, f"run{i}", keep=2)
    names = ["000003.json", "000004.json", "000005.json"]
    assert sorted(os.listdir(tmp_path / "published")) == names
    assert champion(tmp_path) == "model of run5"


def test_what_could_not_be_deleted_is_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(tmp_path, "run1")

    def busy(uri: str) -> None:
        raise OSError("busy")

    with monkeypatch.context() as patched:
        patched.setattr(files, "delete", busy)
        published(tmp_path, "run2", keep=1)
    assert directories(tmp_path) == ["run1", "run2"]
    published(tmp_path, "run3", keep=2)
    assert directories(tmp_path) == ["run2", "run3"]


def test_of_two_that_began_together_the_second_is_told(tmp_path: Path) -> None:
    seen = publish_log.read(str(tmp_path))
    for run_id in ("run1", "run2"):
        written(tmp_path, run_id)
    publish_log.publish(str(tmp_path), seen, "run1", keep=3)
    with pytest.raises(PublishError, match=r"another run published .* as entry 1; .* from entry 0"):
        publish_log.publish(str(tmp_path), seen, "run2", keep=3)
    assert champion(tmp_path) == "model of run1"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "it cannot be read"),
        (lambda text: "", "it cannot be read"),
        (lambda text: "[]", "it cannot be read"),
        (lambda text: text.replace('"champion": 2', '"champion": 1'), "its checksum is another"),
    ],
    ids=["cut", "empty", "other", "changed"],
)
def test_a_damaged_entry_is_refused_and_no_older_one_taken(
    tmp_path: Path, damage: Callable[[str], str], said: str
) -> None:
    published(tmp_path, "run1")
    published(tmp_path, "run2")
    entry = tmp_path / "published" / "000002.json"
    entry.write_text(damage(entry.read_text("utf-8")), "utf-8")
    with pytest.raises(ModelFileError, match=rf"000002.json .* is damaged: {said}"):
        champion(tmp_path)
    entry.unlink()  # as the message says
    assert champion(tmp_path) == "model of run1"


def test_an_entry_of_a_later_release_is_not_guessed_at(tmp_path: Path) -> None:
    published(tmp_path, "run1")
    entry = tmp_path / "published" / "000001.json"
    stored = json.loads(entry.read_text("utf-8"))
    stored["format"] = 2
    del stored["sha256"]
    entry.write_text(
        json.dumps({**stored, "sha256": publish_log._checksum(stored)}), encoding="utf-8"
    )
    with pytest.raises(ModelFileError, match="has format 2, this release reads 1"):
        champion(tmp_path)


@pytest.mark.parametrize("change", ["content", "added", "deleted"])
def test_a_version_whose_files_changed_is_refused(tmp_path: Path, change: str) -> None:
    published(tmp_path, "run1")
    part = tmp_path / "versions" / "run1" / "model" / "part"
    if change == "content":
        part.write_text("model of run2", "utf-8")
    elif change == "added":
        part.with_name("part2").write_text("", "utf-8")
    else:
        part.unlink()
    with pytest.raises(ModelFileError, match=r"version 1 at .* is not as it was published"):
        champion(tmp_path)


def _killed_at(step: int, publish: Callable[[], Any]) -> None:
    """Run in a child: ends by _exit, as by kill -9, before the line of that number."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in (publish_log.__file__, create_only.__file__):
            return None
        if event == "line":
            lines += 1
            if lines > step:
                os._exit(9)
        return trace

    sys.settrace(trace)
    publish()
    sys.settrace(None)
    os._exit(0)


def test_killed_before_any_line_readers_see_the_old_or_the_new_version(tmp_path: Path) -> None:
    """And the next run publishes, and leaves nothing of what was to be deleted."""
    seen, step, ended = set(), 0, 9
    while ended == 9:
        root = tmp_path / str(step)
        for i in (1, 2):
            published(root, f"run{i}", keep=2)
        base = publish_log.read(str(root))
        written(root, "run3")

        def publish(root: Path = root, base: Any = base) -> None:
            publish_log.publish(str(root), base, "run3", keep=2)

        child = FORK.Process(target=_killed_at, args=(step, publish))
        child.start()
        child.join()
        ended = child.exitcode or 0
        assert ended in (0, 9)
        found = champion(root)
        seen.add(found)
        assert found in ("model of run2", "model of run3")
        if found == "model of run2":  # run1 is not deleted before run3 is there
            assert directories(root) == ["run1", "run2", "run3"]
        published(root, "run4", keep=2)
        assert champion(root) == "model of run4"
        publish_log.delete_abandoned(str(root))
        number = publish_log.find(str(root)).number
        assert directories(root) == (["run2", "run4"] if number == 3 else ["run3", "run4"])
        step += 7  # one line after the other finds the same, and takes longer
    assert seen == {"model of run2", "model of run3"}
    assert step > 100


def test_of_processes_that_publish_at_once_one_does(tmp_path: Path) -> None:
    count = 6
    for i in range(count):
        written(tmp_path, f"run{i}")
    barrier, outcomes = FORK.Barrier(count), FORK.Queue()

    def publish(run_id: str) -> None:
        seen = publish_log.read(str(tmp_path))
        barrier.wait()
        try:
            publish_log.publish(str(tmp_path), seen, run_id, keep=3)
            outcomes.put(run_id)
        except PublishError:
            outcomes.put("")
        outcomes.close()
        outcomes.join_thread()
        os._exit(0)

    children = [FORK.Process(target=publish, args=(f"run{i}",)) for i in range(count)]
    for child in children:
        child.start()
    found = [outcomes.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    (winner,) = [run_id for run_id in found if run_id]
    assert champion(tmp_path) == f"model of {winner}"
    assert os.listdir(tmp_path / "published") == ["000001.json"]


def test_a_file_is_created_once(tmp_path: Path) -> None:
    uri = str(tmp_path / "entry")
    assert create_only.create(uri, b"one")
    assert not create_only.create(uri, b"two")
    assert files.read_text(uri) == "one"
    # Of a call whose answer was lost, tried again.
    assert create_only.create(uri, b"one")
    assert os.listdir(tmp_path) == ["entry"]


def test_a_file_system_without_hard_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: str, target: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(ConfigurationError, match="has no hard links"):
        publish_log.check_store(str(tmp_path))
    assert os.listdir(tmp_path / "published") == []


def test_a_store_that_replaces_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", os.rename)
    with pytest.raises(ConfigurationError, match="replaces a file that is to be created once"):
        publish_log.check_store(str(tmp_path))


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        create_only.create(str(tmp_path / "entry"), b"one")
    assert os.listdir(tmp_path) == []


def test_a_store_without_a_way_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="sftp:// has no way"):
        create_only._put("sftp://name/lake/published/000001.json", b"")


def test_an_object_store_needs_obstore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'gmm_spark\[object-store\]'"):
        create_only._put("s3://bucket/lake/published/000001.json", b"")


def test_obstore_puts_once(tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    uri = f"file://{tmp_path}/entry"
    assert create_only._put(uri, b"one")
    assert not create_only._put(uri, b"two")
    assert files.read_text(uri) == "one"


def test_hadoops_client_renames_once(spark, tmp_path: Path) -> None:
    """As on HDFS, by the file system there is."""
    uri = f"file://{tmp_path}/published/entry"
    assert create_only._rename(uri, b"one")
    assert not create_only._rename(uri, b"two")
    assert files.read_text(uri) == "one"
    names = [name for name in os.listdir(tmp_path / "published") if not name.endswith(".crc")]
    assert names == ["entry"]


def test_a_uri_says_how_the_store_is_reached() -> None:
    uri = "s3://bucket/lake/x.json?region=eu-1&endpoint_override=127.0.0.1:9000&scheme=http"
    assert create_only._options(uri) == {
        "region": "eu-1",
        "endpoint": "127.0.0.1:9000",
        "client_options": {"allow_http": True},
    }
