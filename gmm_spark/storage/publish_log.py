"""Versions of a result, and the log that says which of them there are and which counts.

    <root>/versions/<run id>/...    a version: written once, where it stays, and never changed
    <root>/published/000042.json    an entry of the log: all versions there are, and the aliases

The entry with the highest number is what readers see. It is created once, by one step
(`create_only`), so that a version is visible whole or not at all, and of two runs that publish at
once one is told. The number of an entry is that of the version it publishes. An entry holds a
checksum of itself and one of the files of every version, which readers check. Nothing is moved or
copied; what is deleted is what no entry names any more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from gmm_spark.errors import ConfigurationError, ModelFileError, PublishError
from gmm_spark.storage import create_only, files

CHAMPION, CHALLENGER = "champion", "challenger"
ALIASES = CHAMPION, CHALLENGER
_FORMAT = 1
# Files of more bytes are told by their size.
_READ_AGAIN = 4 << 20
# What is under the root.
DIRECTORIES = _PUBLISHED, _VERSIONS = "published", "versions"
_ENTRY = re.compile(r"(\d{6,})\.json")


@dataclass(frozen=True)
class Version:
    """A result that a run wrote: its number, where it is under the root, and its checksum.

    refused : why it did not become the champion, where the gate spoke against it
    sha256 : of its files, as `checksum_of` has it
    """

    number: int
    directory: str
    run_id: str
    run_date: str | None
    refused: str | None
    sha256: str


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


def directory_of(run_id: str) -> str:
    """Where a run writes its version, from the root on."""
    return f"{_VERSIONS}/{run_id}"


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
    to 4 MB, as the files of a model are; larger tables would be read once more for it."""
    lines = [
        [name, size, _content(files.join(uri, name)) if size <= _READ_AGAIN else None]
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
    number = seen.number + 1
    directory = directory_of(run_id)
    checksum = checksum_of(files.join(root, directory))
    version = Version(number, directory, run_id, run_date, refused, checksum)
    aliases, did = dict(seen.aliases), f"published {number} as {alias}"
    if refused is None:
        aliases[alias] = number
    else:
        did = f"kept {number}, which was refused: {refused}"
    newest = sorted((*seen.versions, version), key=lambda one: one.number)
    kept = [
        one
        for place, one in enumerate(reversed(newest))
        if place < keep or one.number in aliases.values() or one is version
    ]
    _append(root, seen, did, reversed(kept), aliases)
    return version


def promote(root: str, number: int) -> None:
    """Make a version the champion; a challenger that becomes it is challenger no more.

    Raises ConfigurationError where there is none, PublishError where another run was first.
    """
    seen = read(root)
    version = _found(seen, root, str(number))
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
    names = files.names(files.join(root, _VERSIONS))
    left = [name for name in names if directory_of(name) not in known]
    for name in left:
        files.delete(files.join(root, directory_of(name)))
    return left


def _append(
    root: str, seen: Entry, did: str, versions: Iterable[Version], aliases: dict[str, int]
) -> None:
    """Create the next entry; then delete the versions that it has no more."""
    kept = tuple(versions)
    directories = {one.directory for one in kept}
    dropped = [one.directory for one in seen.versions if one.directory not in directories]
    waiting = [name for name in seen.dropped if files.exists(files.join(root, name))]
    entry = Entry(seen.number + 1, did, kept, tuple(sorted(aliases.items())), (*waiting, *dropped))
    uri = _uri(root, entry.number)
    if max(_numbers(root), default=0) != seen.number or not create_only.create(uri, _text(entry)):
        raise PublishError(
            f"another run published under {root} meanwhile, as entry {read(root).number}; this one "
            f"had begun from entry {seen.number} and was not published: run it again"
        )
    for name in entry.dropped:
        # What is left is deleted by the next run.
        with suppress(OSError):
            files.delete(files.join(root, name))


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
