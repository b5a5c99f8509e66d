"""Versions of a result, and the log that says which of them there are and which counts.

    <root>/versions/<run id>/...    a version: written once, where it stays, and never changed
    <root>/versions/run_date=<run date>/run_id=<run id>/...
                                    a version of one run date, as runs that score write it
    <root>/published/000042.json    an entry of the log: all versions there are, and the aliases

The entry with the highest number is what readers see. It is created once, by one step
(`create_only`), so that a version is visible whole or not at all, and of two runs that publish at
once one is told. The number of an entry is that of the version it publishes. An entry holds a
checksum of itself and one of the files of every version, which readers check. Nothing is moved or
copied; what is deleted is what no entry names any more, and the entries before the last hundred.

Of models one version counts, that an alias names. Of scores one of every run date does, the newest:
runs of several dates may be at work at once, each publishes on top of what the log says then.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from gmm_spark.engine.table_files import NO_VALUE
from gmm_spark.errors import ConfigurationError, ModelFileError, PublishError
from gmm_spark.storage import create_only, files

CHAMPION, CHALLENGER = "champion", "challenger"
ALIASES = CHAMPION, CHALLENGER
_FORMAT = 1
# Files of more bytes are told by their size.
_READ_AGAIN = 4 << 20
# So are those of the table of scores: it may be large and of many days, and the names that Spark
# gives have an identifier of the write.
_TABLE = "scores/"
# Of older entries nothing is read again.
_KEPT_ENTRIES = 100
# What is under the root.
DIRECTORIES = _PUBLISHED, _VERSIONS = "published", "versions"
_ENTRY = re.compile(r"(\d{6,})\.json")
# As Hive and Spark write the value of a partition into the name of its directory.
_NOT_IN_NAMES = re.compile(r"""[\x00-\x1f\x7f"#%'*/:=?\\{\[\]^]""")


@dataclass(frozen=True)
class Version:
    """A result that a run wrote: its number, where it is under the root, and its checksum.

    refused : why it did not become the champion, where the gate spoke against it
    sha256 : of its files, as `checksum_of` has it
    by_run_date : whether the newest of its run date counts, and not what an alias names
    """

    number: int
    directory: str
    run_id: str
    run_date: str | None
    refused: str | None
    sha256: str
    by_run_date: bool = False


@dataclass(frozen=True)
class Entry:
    """What the log says: the versions there are, by number, and which of them an alias names.

    did : what this entry changed, in words
    dropped : directories of versions that are none any more and may not all be deleted yet
    """

    number: int = 0
    did: str = ""
    versions: tuple[Version, ...] = ()
    aliases: tuple[tuple[str, int], ...] = ()
    dropped: tuple[str, ...] = ()

    def version(self, number: int) -> Version | None:
        return next((one for one in self.versions if one.number == number), None)

    def alias(self, name: str) -> Version | None:
        number = dict(self.aliases).get(name)
        return None if number is None else self.version(number)

    def names_of(self, version: Version) -> list[str]:
        """The aliases of a version."""
        return [name for name, number in self.aliases if number == version.number]

    def by_run_date(self) -> dict[str | None, Version]:
        """Of versions by run date the newest of each, which is the one that counts."""
        ordered = sorted(self.versions, key=lambda one: one.number)
        return {one.run_date: one for one in ordered if one.by_run_date}


def directory_of(run_id: str) -> str:
    """Where a run writes its version, from the root on."""
    return f"{_VERSIONS}/{run_id}"


def directory_by_run_date(run_id: str, run_date: str | None) -> str:
    """Where a run writes its version of a run date, from the root on: by partitions, as Hive and
    Spark name their directories."""
    escaped = _NOT_IN_NAMES.sub(lambda found: f"%{ord(found[0]):02X}", run_date or NO_VALUE)
    return f"{_VERSIONS}/run_date={escaped}/run_id={run_id}"


def versions_under(root: str) -> str:
    """The directory that all versions are in."""
    return files.join(root, _VERSIONS)


def beside_entries(root: str, name: str = "") -> str:
    """The directory of the log, or a file there that is no entry of it."""
    return files.join(root, _PUBLISHED, name) if name else files.join(root, _PUBLISHED)


def check_store(root: str) -> None:
    """Raise ConfigurationError where the store has no way to publish a version in one step."""
    create_only.check_store(files.join(root, _PUBLISHED))


def is_there(root: str) -> bool:
    """Whether something was published under the root."""
    return bool(_numbers(root))


def read(root: str) -> Entry:
    """What the log says now; an entry of number 0 where nothing was published yet.

    Raises ModelFileError for an entry that is not as it was written: an older one is not taken in
    its place, or readers would see a state that was left, and not know it.
    """
    numbers = _numbers(root)
    if not numbers:
        return Entry()
    uri = _uri(root, max(numbers))
    try:
        stored = json.loads(files.read_text(uri))
        checksum, version = stored.pop("sha256"), stored.pop("format")
        is_whole = checksum == _checksum({"format": version, **stored})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(uri, f"it cannot be read ({error})") from None
    if not is_whole:
        raise _damaged(uri, "its checksum is another")
    if version != _FORMAT:
        raise ModelFileError(
            f"{uri} has format {version}, this release reads {_FORMAT}; read it with the release "
            "that wrote it"
        )
    versions = tuple(Version(**one) for one in stored["versions"])
    aliases, dropped = tuple(stored["aliases"].items()), tuple(stored["dropped"])
    return Entry(stored["number"], stored["did"], versions, aliases, dropped)


def find(root: str, name: str | int = CHAMPION) -> Version:
    """The version of an alias, or of a number.

    Raises ConfigurationError where there is none, saying which there are.
    """
    return _found(read(root), root, str(name))


def _found(entry: Entry, root: str, text: str) -> Version:
    found = entry.version(int(text)) if text.isdecimal() else entry.alias(text)
    if found is None:
        numbers = ", ".join(str(one.number) for one in entry.versions) or "none"
        aliases = ", ".join(f"{alias} is {number}" for alias, number in entry.aliases)
        raise ConfigurationError(
            f"found no version {text!r} under {root}; there are {numbers}"
            + (f", {aliases}" if aliases else "")
        )
    return found


def checked(root: str, version: Version) -> str:
    """Where a version is, after its files were compared with its checksum.

    Raises ModelFileError where a file is not as it was published.
    """
    uri = files.join(root, version.directory)
    if checksum_of(uri) != version.sha256:
        raise ModelFileError(
            f"version {version.number} at {uri} is not as it was published: a file was changed, "
            "added or deleted; take another version, or restore it"
        )
    return uri


def checksum_of(uri: str) -> str:
    """SHA-256 of the names and sizes of all files in a directory, and of the contents of those up
    to 4 MB, as the files of a model are; larger tables, and scores, would be read once more for
    it."""

    def is_read(name: str, size: int) -> bool:
        return size <= _READ_AGAIN and not name.startswith(_TABLE)

    lines = [
        [name, size, _content(files.join(uri, name)) if is_read(name, size) else None]
        for name, size in files.contents(uri).items()
    ]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def publish(
    root: str,
    seen: Entry,
    run_id: str,
    *,
    alias: str = CHAMPION,
    keep: int,
    run_date: str | None = None,
    refused: str | None = None,
) -> Version:
    """Publish what a run has written to `directory_of(run_id)`.

    Parameters
    ----------
    seen : what the log said when the run began
    alias : what names it from now on; nothing does where it was `refused`, and why
    keep : so many versions are kept, the newest, and those that an alias names

    Raises PublishError where the log has changed since it was `seen`.
    """
    directory = directory_of(run_id)
    checksum = checksum_of(files.join(root, directory))
    version = Version(seen.number + 1, directory, run_id, run_date, refused, checksum)
    aliases, did = dict(seen.aliases), f"published {version.number} as {alias}"
    if refused is None:
        aliases[alias] = version.number
    else:
        did = f"kept {version.number}, which was refused: {refused}"
    kept = _kept(seen.versions, version, keep, aliases.values())
    _append(root, seen, did, kept, aliases)
    return version


def publish_by_run_date(
    root: str, seen: Entry, run_id: str, *, keep: int, run_date: str | None
) -> Version:
    """Publish what a run has written to `directory_by_run_date(run_id, run_date)`: what counts for
    its run date from now on.

    Parameters
    ----------
    seen : what the log said when the run began
    keep : so many versions of every run date are kept, the newest

    Raises PublishError where another run has published the same run date since. Runs of other
    dates that did change nothing.
    """
    directory = directory_by_run_date(run_id, run_date)
    checksum = checksum_of(files.join(root, directory))
    before = seen.by_run_date().get(run_date)
    while True:
        now = read(root)
        there = now.by_run_date().get(run_date)
        if there is not None and (before is None or there.number > before.number):
            raise PublishError(
                f"another run published run date {run_date} under {root} meanwhile, as version "
                f"{there.number}, run {there.run_id}; this one was not published: run it again"
            )
        number = now.number + 1
        version = Version(number, directory, run_id, run_date, None, checksum, by_run_date=True)
        did = f"published {number} of run date {run_date}"
        kept = _kept(now.versions, version, keep, ())
        if _appended(root, now, did, kept, dict(now.aliases)):
            return version


def _kept(
    versions: Iterable[Version], new: Version, keep: int, named: Iterable[int]
) -> list[Version]:
    """The versions that are kept when one more is published: the newest, of every run date where
    they go by it, and those with an alias. Versions of the other kind stay."""
    numbers, places, kept = {*named, new.number}, Counter[str | None](), []
    for one in sorted((*versions, new), key=lambda one: -one.number):
        group = one.run_date if one.by_run_date else None
        if one.by_run_date == new.by_run_date:
            places[group] += 1
        if one.by_run_date != new.by_run_date or places[group] <= keep or one.number in numbers:
            kept.append(one)
    return kept[::-1]


def promote(root: str, number: int) -> None:
    """Make a version the champion; a challenger that becomes it is challenger no more.

    Raises ConfigurationError where there is none, or where none is champion, PublishError where
    another run was first.
    """
    seen = read(root)
    version = _found(seen, root, str(number))
    if version.by_run_date:
        raise ConfigurationError(
            f"version {number} is of run date {version.run_date}, of which the newest version "
            "counts, and none is champion; where there are newer ones, delete them"
        )
    aliases = {name: which for name, which in seen.aliases if which != version.number}
    aliases[CHAMPION] = version.number
    _append(root, seen, f"made {number} the champion", seen.versions, aliases)


def delete_version(root: str, number: int) -> None:
    """Delete a version.

    Raises ConfigurationError where there is none and for the champion, PublishError where another
    run was first.
    """
    seen = read(root)
    version = _found(seen, root, str(number))
    if CHAMPION in seen.names_of(version):
        raise ConfigurationError(
            f"version {number} is the champion, by which tables are scored; make another version "
            "the champion first"
        )
    kept = [one for one in seen.versions if one != version]
    aliases = {name: which for name, which in seen.aliases if which != number}
    _append(root, seen, f"deleted {number}", kept, aliases)


def delete_abandoned(root: str) -> list[str]:
    """Delete what runs have left that were killed before they published; returns the run ids.

    No run may be at work under the root: what it has written so far would be taken for left.
    """
    entry = read(root)
    known = {one.directory for one in entry.versions}
    left = [name for name in _written(root) if f"{_VERSIONS}/{name}" not in known]
    for name in left:
        files.delete(files.join(root, _VERSIONS, name))
    return left


def _written(root: str) -> list[str]:
    """The directories of versions, published or not, from `versions` on."""
    versions = versions_under(root)
    found: list[str] = []
    for name in files.names(versions):
        inner = files.names(files.join(versions, name)) if name.startswith("run_date=") else None
        found += [name] if inner is None else [f"{name}/{one}" for one in inner]
    return found


def _append(
    root: str, seen: Entry, did: str, versions: Iterable[Version], aliases: dict[str, int]
) -> None:
    """Create the next entry; PublishError where it is there already."""
    if not _appended(root, seen, did, versions, aliases):
        raise PublishError(
            f"another run published under {root} meanwhile, as entry {read(root).number}; this one "
            f"had begun from entry {seen.number} and was not published: run it again"
        )


def _appended(
    root: str, seen: Entry, did: str, versions: Iterable[Version], aliases: dict[str, int]
) -> bool:
    """Create the next entry, then delete the versions that it has no more; False where it is there
    already."""
    kept = tuple(versions)
    directories = {one.directory for one in kept}
    dropped = [one.directory for one in seen.versions if one.directory not in directories]
    waiting = [name for name in seen.dropped if files.exists(files.join(root, name))]
    entry = Entry(seen.number + 1, did, kept, tuple(sorted(aliases.items())), (*waiting, *dropped))
    uri = _uri(root, entry.number)
    numbers = _numbers(root)
    if max(numbers, default=0) != seen.number or not create_only.create(uri, _text(entry)):
        return False
    old = [_uri(root, number) for number in numbers if number <= entry.number - _KEPT_ENTRIES]
    for name in (*(files.join(root, name) for name in entry.dropped), *old):
        # What is left is deleted by the next run.
        with suppress(OSError):
            files.delete(name)
    return True


def _content(uri: str) -> str:
    return hashlib.sha256(files.read_bytes(uri)).hexdigest()


def _text(entry: Entry) -> bytes:
    stored = {"format": _FORMAT, **asdict(entry), "aliases": dict(entry.aliases)}
    return (json.dumps({**stored, "sha256": _checksum(stored)}, indent=1) + "\n").encode()


def _checksum(stored: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()


def _numbers(root: str) -> list[int]:
    names = files.names(files.join(root, _PUBLISHED))
    return [int(found[1]) for name in names if (found := _ENTRY.fullmatch(name))]


def _uri(root: str, number: int) -> str:
    return files.join(root, _PUBLISHED, f"{number:06}.json")


def _damaged(uri: str, why: str) -> ModelFileError:
    return ModelFileError(
        f"the entry {uri} of the publish log is damaged: {why}; restore it, or delete it, and the "
        "entry before it counts"
    )
