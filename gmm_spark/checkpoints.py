"""What a fit has found so far, kept in a directory: the same fit goes on from there after a crash.

    checkpoint.json        whose it is: release, settings, columns, rows, and whether it is finished
    scan-000001.state      the first scan with its sample
    search-000004.state    the search on the sample after its 4th round, and after the one before
    passes-1-000012.state  EM on all the rows after its 12th pass, and after the one before

A state is written under another name and appears whole, once: its number is never written a second
time, so that of two fits that write to one directory one is told. It has a checksum; of a step the
last two states are kept, and where the last is damaged the one before it is gone on from.

The directory holds rows of the table, those of the sample.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from pyarrow import fs
from pyspark.sql import SparkSession

from gmm_spark.engine.addresses import address, has_scheme
from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.cluster import current_session, default_filesystem
from gmm_spark.engine.jobs import Source
from gmm_spark.engine.scan import Scan
from gmm_spark.errors import ConfigurationError, FitError, InputDataError, reason_of_system
from gmm_spark.mixture.arrays import from_arrays, to_arrays
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.spec import GRID, SPEC, Grid, Spec
from gmm_spark.progress import say

logger = logging.getLogger(__name__)

T = TypeVar("T")

_ABOUT, _ENDING, _TEMPORARY = "checkpoint.json", ".state", ".state-being-written"
_STATE = re.compile(r"([a-z][a-z0-9-]*)-(\d{6,})\.state")
# What begins a state, before its checksum, the number of its fit and its arrays.
_FORMAT = b"gmm_spark state 1"
# What changes nothing that is found: where it is kept, and how sums meet.
_NO_MATTER = "checkpoint_dir", "aggregation_depth"
_CURE = "Give checkpointDir another directory, or remove this one to begin anew"
_OTHER = {
    "gmm_spark": "another release",
    "settings": "other settings",
    "columns": "other columns",
    "rows": "other rows",
}
# As many differences are named.
_NAMED = 3


class Checkpoint:
    """Keeps nothing: of a fit without `checkpointDir`, and what a fit asks of any."""

    def __init__(self) -> None:
        self._runs = 0

    def next_run(self) -> str:
        """The name of the next run of EM on all the rows."""
        self._runs += 1
        return f"passes-{self._runs}"

    def scan(self, source: Source, look: Callable[[], Scan]) -> Scan:
        """The first scan: that of the fit that is gone on with, where the rows are the same."""
        return look()

    def recall(self, step: str, kind: type[T]) -> T | None:
        """What the fit that is gone on with had found in a step; None where that is nothing."""
        return None

    def keep(self, step: str, found: Any) -> None:
        """Keep what a step has found so far."""

    def once(self, step: str, kind: type[T], find: Callable[[], T]) -> T:
        """What a step finds: recalled, or found and kept."""
        found = self.recall(step, kind)
        if found is None:
            found = find()
            self.keep(step, found)
        return found

    def finish(self) -> None:
        """Note that the fit has ended."""


def checkpoint_of(specs: Sequence[Spec], tried: Grid | None) -> Checkpoint:
    """Where a fit keeps what it finds; `tried` is what a search tries.

    Raises ConfigurationError where another fit, that was interrupted, is kept there, or nothing
    can be.
    """
    path = specs[0].checkpoint_dir
    if path is None:
        return Checkpoint()
    directory = Directory(qualified(current_session(), path))
    return KeptCheckpoint(directory, _settings_of(specs[0], tried))


def remove_checkpoint(path: str) -> None:
    """Remove what is kept in a directory, and the directory where nothing else is in it. Failing to
    is no failure of what was kept there."""
    with suppress(OSError, pa.ArrowException, ConfigurationError):
        directory = Directory(qualified(current_session(), path))
        directory.clear()
        directory.remove_if_empty()


def qualified(spark: SparkSession | None, path: str) -> str:
    """A path as Spark finds it: without a scheme on its default file system."""
    default = "file:" if spark is None else default_filesystem(spark)
    if has_scheme(path) or default.startswith("file:"):
        return path
    return f"{default.rstrip('/')}/{path.lstrip('/')}"


class KeptCheckpoint(Checkpoint):
    """Keeps what a fit finds in a directory."""

    def __init__(self, directory: Directory, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self._directory = directory
        self._about: dict[str, Any] = {
            "gmm_spark": sys.modules["gmm_spark"].__version__,
            "settings": _plain(settings),
        }
        self._last: dict[str, int] = {}
        self._loaded: dict[str, dict[int, bytes]] = {}
        self._fails = False
        earlier = self._earlier()
        if earlier is not None and not earlier["finished"]:
            self._refuse_others(earlier, "gmm_spark", "settings")

    def scan(self, source: Source, look: Callable[[], Scan]) -> Scan:
        version, seen = source.version, None
        if version is None:  # what the rows are is known when they have been looked at
            seen = look()
            version = _content(source.roles, seen)
        self._begin({**_levels(source.roles), **version}, _columns(source.roles))
        return self.once("scan", Scan, lambda: look() if seen is None else seen)

    def recall(self, step: str, kind: type[T]) -> T | None:
        states = self._loaded.pop(step, {})
        self._last.pop(step, None)
        for number in sorted(states, reverse=True):
            try:
                with np.load(io.BytesIO(states[number]), allow_pickle=False) as arrays:
                    found = from_arrays(kind, arrays)
            except ValueError as error:  # of another release
                self._drop(step, number, str(error))
            else:
                self._last[step] = number
                return found
        return None

    def keep(self, step: str, found: Any) -> None:
        number = self._last.get(step, 0) + 1
        content = io.BytesIO()
        arrays: dict[str, Any] = to_arrays(found)
        np.savez(content, **arrays)
        try:
            self._directory.create(_name(step, number), _sealed(content.getvalue(), self._id))
        except FileExistsError:
            raise FitError(
                f"checkpointDir {self._directory}: another fit writes there, which has just "
                f"written {_name(step, number)}; name a directory for each fit"
            ) from None
        except (OSError, pa.ArrowException) as error:
            if not self._fails:
                logger.warning(
                    "checkpoint %s: cannot be written (%s); the fit goes on, and after a crash it "
                    "begins again %s",
                    self._directory,
                    reason_of_system(error),
                    f"after {told}" if (told := _told(self._last)) else "from its start",
                )
            self._fails = True
            return
        self._fails = False
        self._last[step] = number
        with suppress(OSError, pa.ArrowException):
            self._directory.delete(_name(step, number - 2))

    def finish(self) -> None:
        with suppress(OSError, pa.ArrowException):
            self._write_about(finished=True)

    @property
    def _id(self) -> str:
        """Of the fit: by what it is of, so that what the same one left is its own."""
        return hashlib.sha256(_text(self._about).encode()).hexdigest()[:32]

    def _begin(self, rows: Mapping[str, Any], columns: Mapping[str, Any]) -> None:
        """Load what the same fit has left; raise where another one, interrupted, is kept here."""
        self._about |= {"columns": _plain(columns), "rows": _plain(rows)}
        earlier = self._earlier()
        if earlier is not None:
            same = _text({**self._about, "finished": True}) == _text({**earlier, "finished": True})
            if same:
                self._load()
                self._tell(earlier["finished"])
                return
            if not earlier["finished"]:
                self._refuse_others(earlier, *_OTHER)
        try:
            self._directory.make()
            if earlier is not None:
                say("checkpoint %s: of another fit, which is finished; begun anew", self._directory)
            self._directory.clear()
            self._write_about(finished=False)
        except (OSError, pa.ArrowException) as error:
            raise ConfigurationError(
                f"checkpointDir {self._directory} cannot be written: {reason_of_system(error)}"
            ) from None

    def _tell(self, finished: bool) -> None:
        """Say what is used again, and why."""
        told = _told(self._last)
        if finished:
            say(
                "checkpoint %s: this fit is finished there, by the same settings and rows; EM is "
                "not run again",
                self._directory,
            )
        elif told:
            say(
                "checkpoint %s: settings and rows are those of the fit that was interrupted; it "
                "goes on after %s",
                self._directory,
                told,
            )

    def _earlier(self) -> dict[str, Any] | None:
        """What is said of the fit that is kept here; None where there is none."""
        try:
            text = self._directory.read(_ABOUT)
            found = None if text is None else json.loads(text)
        except (OSError, pa.ArrowException) as error:
            raise ConfigurationError(
                f"checkpointDir {self._directory} cannot be read: {reason_of_system(error)}"
            ) from None
        except ValueError:
            found = {}
        wanted = {"gmm_spark", "settings", "columns", "rows", "finished"}
        if found is not None and not (isinstance(found, dict) and wanted <= found.keys()):
            raise ConfigurationError(
                f"checkpointDir {self._directory}: {_ABOUT} is damaged, or of something else. "
                f"{_CURE}"
            )
        return found

    def _write_about(self, *, finished: bool) -> None:
        text = json.dumps({**self._about, "finished": finished}, indent=1)
        self._directory.replace(_ABOUT, text.encode())

    def _refuse_others(self, earlier: Mapping[str, Any], *parts: str) -> None:
        for part in parts:
            was, now = earlier[part], self._about[part]
            if not isinstance(was, dict):
                was, now = {part: was}, {part: now}
            differing = list(_differences(was, now))
            if not differing:
                continue
            more = len(differing) - _NAMED
            shown = "; ".join(differing[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
            kind = InputDataError if part == "rows" else ConfigurationError
            raise kind(
                f"checkpointDir {self._directory} is of a fit that was interrupted, of "
                f"{_OTHER[part]}: {shown}. {_CURE}"
            )

    def _load(self) -> None:
        """The states that are whole, the last two of every step."""
        for name in self._directory.names():
            if name.endswith(_TEMPORARY):
                with suppress(OSError, pa.ArrowException):
                    self._directory.delete(name)
            known = _STATE.fullmatch(name)
            if known is None:
                continue
            step, number = known[1], int(known[2])
            content, problem = None, "it cannot be read"
            with suppress(OSError, pa.ArrowException):
                content, problem = _opened(self._directory.read(name) or b"", self._id)
            if content is None:
                self._drop(step, number, problem)
                continue
            self._loaded.setdefault(step, {})[number] = content
            self._last[step] = max(number, self._last.get(step, 0))
        for step, states in self._loaded.items():
            for number in sorted(states)[:-2]:  # what a driver that was killed had not deleted yet
                del states[number]
                with suppress(OSError, pa.ArrowException):
                    self._directory.delete(_name(step, number))

    def _drop(self, step: str, number: int, problem: str) -> None:
        """Do without a state, and say so."""
        logger.warning(
            "checkpoint %s: %s is not used, %s; the fit goes on from what was kept before it",
            self._directory,
            _name(step, number),
            problem,
        )
        with suppress(OSError, pa.ArrowException):
            self._directory.delete(_name(step, number))


def _name(step: str, number: int) -> str:
    return f"{step}-{number:06d}{_ENDING}"


def _sealed(content: bytes, fit: str) -> bytes:
    """What is kept of a fit with its checksum."""
    checksum = hashlib.sha256(content).hexdigest()
    return b" ".join([_FORMAT, checksum.encode(), fit.encode()]) + b"\n" + content


def _opened(sealed: bytes, fit: str) -> tuple[bytes | None, str]:
    """What is kept, or what is wrong with it."""
    head, _, content = sealed.partition(b"\n")
    if not head.startswith(_FORMAT) or len(words := head.split()) != len(_FORMAT.split()) + 2:
        return None, "it is damaged"
    checksum, of = (word.decode("ascii", "replace") for word in words[-2:])
    if checksum != hashlib.sha256(content).hexdigest():
        return None, "it is damaged"
    return (content, "") if of == fit else (None, "it is of another fit")


# --- what a fit is of ---------------------------------------------------------------------


def _settings_of(spec: Spec, tried: Grid | None) -> dict[str, Any]:
    found = {each.name: getattr(spec, each.key) for each in SPEC if each.key not in _NO_MATTER}
    return found | ({} if tried is None else {one.name: getattr(tried, one.key) for one in GRID})


def _columns(roles: Roles) -> dict[str, Any]:
    """The columns of a fit by the settings that name them."""
    return {
        "inputCols": roles.features,
        **{columns.family.setting: columns.names for columns in roles.columns},
        "weightCol": roles.weight,
        "initialLabelCol": roles.label,
        "labelCol": roles.membership,
        "outcomeCol": roles.outcome,
    }


def _levels(roles: Roles) -> dict[str, Any]:
    """The values of categories, which are found in the rows."""
    return {f"values of {one.name!r}": one.levels for one in roles.categories}


def _content(roles: Roles, seen: Scan) -> dict[str, Any]:
    """What the rows are, by a look at all of them: the last is a sum of hashes of whole rows."""
    ranges = zip(roles.inputs, seen.lowest, seen.highest, strict=False)
    return {
        "rows": seen.num_rows,
        "rows left out": seen.num_skipped,
        "rows of weight 0": seen.num_weightless,
        **{f"range of {name!r}": [low, high] for name, low, high in ranges},
        "labels": seen.labels,
        "hash of the rows": f"{seen.fingerprint:016x}",
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them; of arrays and models what tells them from others."""
    found: dict[str, Any] = json.loads(json.dumps(dict(values), default=_digest))
    return found


def _digest(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        shape = " x ".join(map(str, value.shape))
        return f"{shape} numbers {_hash(value.astype(float).tobytes())}"
    parameters = value if isinstance(value, Parameters) else value.parameters
    arrays = to_arrays(parameters)
    return f"a model {_hash(b''.join(arrays[name].tobytes() for name in sorted(arrays)))}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*was, *now]):
        if name not in now:
            yield f"{name} is not there any more"
        elif name not in was:
            yield f"{name} is new"
        elif _text(was[name]) != _text(now[name]):
            yield f"{name} was {_shown(was[name])} and is {_shown(now[name])}"


def _shown(value: Any) -> str:
    text = "not set" if value is None else value if isinstance(value, str) else _text(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _told(last: Mapping[str, int]) -> str:
    """In words what has been found."""
    passes = sum(number for step, number in last.items() if step.startswith("passes"))
    words = {"scan": "the first scan", "choice": "the choice of segments", "start": "the start"}
    found = [told for step, told in words.items() if step in last]
    if "search" in last:
        found.append(_several(last["search"], "round", "of the search on the sample"))
    if passes:
        found.append(_several(passes, "pass", "over all the rows"))
    return ", ".join(found)


def _several(number: int, what: str, rest: str) -> str:
    plural = "" if number == 1 else "es" if what.endswith("s") else "s"
    return f"{number} {what}{plural} {rest}"


# --- files that appear whole --------------------------------------------------------------


def _linked(temporary: str, path: str) -> None:
    """Give a file its own name. Raises FileExistsError where that is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.exists(path):
            raise FileExistsError(path) from None
        os.rename(temporary, path)


class Directory:
    """A directory of small files that appear whole or not at all, wherever pyarrow reaches.

    On a local disk a file is written under another name, forced to the disk and linked or renamed
    to its own; elsewhere it is put under its own name by one write, which object stores show when
    it has ended.
    """

    def __init__(self, uri: str) -> None:
        where = address(uri)
        self._uri, self._filesystem, self._path = uri, where.filesystem, where.path

    def __str__(self) -> str:
        return self._uri

    @property
    def _is_local(self) -> bool:
        return isinstance(self._filesystem, fs.LocalFileSystem)

    def _of(self, name: str) -> str:
        return f"{self._path}/{name}"

    def make(self) -> None:
        self._filesystem.create_dir(self._path, recursive=True)

    def names(self) -> list[str]:
        """Of the files there, sorted; none where there is no directory."""
        found = self._filesystem.get_file_info(fs.FileSelector(self._path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == fs.FileType.File)

    def read(self, name: str) -> bytes | None:
        """What is in a file; None where there is none."""
        try:
            with self._filesystem.open_input_stream(self._of(name)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def create(self, name: str, content: bytes) -> None:
        """Write a file that is not there yet. Raises FileExistsError where it is."""
        if self._is_local:
            self._write(name, content, _linked)
        elif name in self.names():
            raise FileExistsError(name)
        else:
            self._put(name, content)

    def replace(self, name: str, content: bytes) -> None:
        """Write a file, in place of one that may be there."""
        if self._is_local:
            self._write(name, content, os.replace)
        else:
            self._put(name, content)

    def delete(self, name: str) -> None:
        """Delete a file, where there is one."""
        with suppress(FileNotFoundError):
            self._filesystem.delete_file(self._of(name))

    def clear(self) -> None:
        """Delete the files of a checkpoint: what says whose it is first."""
        names = self.names()
        ours = [name for name in names if _STATE.fullmatch(name) or name.endswith(_TEMPORARY)]
        for name in [*(name for name in names if name == _ABOUT), *ours]:
            self.delete(name)

    def remove_if_empty(self) -> None:
        """Remove the directory where nothing is in it; stores without directories have none."""
        if self._is_local:
            os.rmdir(self._path)
        elif not self._filesystem.get_file_info(fs.FileSelector(self._path, allow_not_found=True)):
            self._filesystem.delete_dir(self._path)

    def _put(self, name: str, content: bytes) -> None:
        with self._filesystem.open_output_stream(self._of(name)) as stream:
            stream.write(content)

    def _write(self, name: str, content: bytes, appear: Callable[[str, str], None]) -> None:
        temporary = self._of(f"{name}.{os.getpid()}{_TEMPORARY}")
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            appear(temporary, self._of(name))
        finally:
            with suppress(OSError):
                os.unlink(temporary)
        directory = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
