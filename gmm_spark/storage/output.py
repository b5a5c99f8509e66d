"""The directory a run writes its result to: refused, replaced or filled, never half filled.

What readers see changes here and in `publish_log` alone: `Output.publish` makes a finished result
visible, and where a result is a partitioned table, `replace_partitions` and `clear_partition` do it
for a part of it. No other module moves or deletes results.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import unquote

from pyspark.sql import DataFrame

from gmm_spark.engine.addresses import without_userinfo
from gmm_spark.engine.table_files import NO_VALUE
from gmm_spark.errors import ConfigurationError, PublishError, reason_of_system
from gmm_spark.storage import files, publish_log, tables

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
# Where the reason of a failure is kept while an earlier, whole result stands beside it.
FAILED_MANIFEST = "manifest-failed.json"
# What a run said, beside its manifest.
LOG, FAILED_LOG = "log.txt", "log-failed.txt"
_OF_FAILURES = FAILED_MANIFEST, FAILED_LOG
_TEMPORARY = "_temporary-"


def _is_partition(name: str, column: str, value: Any) -> bool:
    """Whether a directory is the partition of a value, which Spark writes in its own way: true of
    a boolean, a number as its column has it."""
    of, is_partition, escaped = name.partition("=")
    if not is_partition or unquote(of) != column:
        return False
    text = unquote(escaped)
    if isinstance(value, (bool, str)):
        wanted = str(value).lower() if isinstance(value, bool) else value or NO_VALUE
        return text == wanted
    try:
        return Decimal(text) == Decimal(str(value))
    except InvalidOperation:
        return text == str(value)


@dataclass
class Output:
    """`<directory>/<name>`, written under a temporary sibling and renamed when it is whole; with
    it what the run may write `beside` it, of which one that was not written is there no more."""

    directory: str
    name: str
    run_id: str
    beside: Sequence[str] = ()
    # Spark replaces the partitions of a table where they are.
    in_place: bool = False
    _is_visible: bool = field(default=False, init=False)
    _overwrites: bool = field(default=False, init=False)

    @property
    def uri(self) -> str:
        return files.join(self.directory, self.name)

    @property
    def temporary(self) -> str:
        """Where the result is written before it is published."""
        return self.temporary_of(self.name)

    def temporary_of(self, name: str) -> str:
        """Where one of several results is written before they are published."""
        return files.join(self._workspace, name)

    @property
    def published(self) -> list[tuple[str, str]]:
        """The results that are there: the name of each, and where it is."""
        every = [(name, files.join(self.results, name)) for name in (*self.beside, self.name)]
        return [(name, uri) for name, uri in every if name == self.name or files.exists(uri)]

    @property
    def results(self) -> str:
        """The directory in which results are once they are published."""
        return self.directory

    @property
    def _workspace(self) -> str:
        return files.join(self.directory, f"{_TEMPORARY}{self.run_id}")

    def expect_outside(self, source: str) -> None:
        """Raise ConfigurationError when what is written here would be read with `source`."""
        if f"{self.directory.rstrip('/')}/".startswith(f"{source.rstrip('/')}/"):
            raise ConfigurationError(
                f"output: found {self.directory}, in input.path; expected another directory, or "
                "the next run would read the result with the table"
            )

    def claim(self, *, overwrite: bool, how: str) -> None:
        """Make sure that a result may and can be written here; nothing there is changed.

        Raises ConfigurationError as `check` does, or when nothing can be written.
        """
        self.check(overwrite=overwrite, how=how)
        self._overwrites = overwrite
        try:
            files.make_directory(self._workspace)
        except OSError as error:
            raise ConfigurationError(
                f"output: cannot write to {self.directory}: {reason_of_system(error)}"
            ) from None

    def check(self, *, overwrite: bool, how: str) -> None:
        """Raise ConfigurationError when there is something already and `overwrite` is off (`how`
        says what would allow it)."""
        if files.is_file(self.directory):
            raise ConfigurationError(
                f"output: found a file at {self.directory}; expected a directory"
            )
        self._check_store()
        if not overwrite and (others := self._not_of_a_failed_run()):
            raise ConfigurationError(
                f"output: found {', '.join(others[:3])}{' ...' if others[3:] else ''} in "
                f"{self.directory}; expected nothing there, or {how}"
            )

    def _check_store(self) -> None:
        if publish_log.is_there(self.directory):
            raise ConfigurationError(
                f"output: versions are kept in {self.directory}, and readers take their champion, "
                "whatever is written beside them; expected keep_versions, or another directory"
            )
        if not self.in_place and not files.can_rename(self.directory):
            raise ConfigurationError(
                f"output: the store of {without_userinfo(self.directory)} cannot rename a "
                "directory, so that a result would be seen half written; expected keep_versions, "
                "by which a result is a version that becomes visible in one step (of scores, or "
                "partition_by with mode: overwrite, by which Spark replaces partitions)"
            )

    def _not_of_a_failed_run(self) -> list[str]:
        """What lies in the directory, apart from the traces of a run that failed."""
        others = [
            name
            for name in files.names(self.directory)
            if not name.startswith((_TEMPORARY, "_", ".")) and name not in _OF_FAILURES
        ]
        if MANIFEST in others and LOG in others:
            others.remove(LOG)
        return [] if others == [MANIFEST] and self._manifest_status() == "failed" else others

    def _manifest_status(self) -> Any:
        try:
            return json.loads(files.read_text(files.join(self.directory, MANIFEST))).get("status")
        except (OSError, ValueError, AttributeError):
            return None

    def publish(
        self, manifest: dict[str, Any], refused: str | None = None, log: str | None = None
    ) -> str:
        """Make a finished result visible: what was written to `temporary`, in place of what was
        there; and write the log and the manifest, returning where that is. Of a result whose
        partitions were replaced, all is visible already.
        """
        assert refused is None, "a result without versions has no gate"
        if self._is_visible:
            self._write_account(self.directory, manifest, log)
        else:
            self._replace(manifest, log)
        for name in _OF_FAILURES:
            files.delete(files.join(self.directory, name))
        return files.join(self.directory, MANIFEST)

    def _replace(self, manifest: dict[str, Any], log: str | None) -> None:
        with files.locked(self.directory):
            if not self._overwrites and self._not_of_a_failed_run():
                raise PublishError(
                    f"another run published under {self.directory} meanwhile; this one was not "
                    "published, since it is not to overwrite anything"
                )
            # Before anything is moved, what may not fit on the disk.
            self._write_account(self._workspace, manifest, log)
            self._move([*self.beside, LOG, self.name, MANIFEST])

    def _move(self, names: list[str]) -> None:
        # Noted before they are done: what comes between is undone too.
        moves: list[tuple[str, str]] = []

        def move(source: str, target: str) -> None:
            moves.append((source, target))
            files.move(source, target)

        try:
            # What is last goes first and comes last: where it is, everything is, of one run.
            for name in reversed(names):
                if files.exists(uri := files.join(self.directory, name)):
                    move(uri, files.join(self._workspace, f"earlier-{name}"))
            for name in names:
                # The result itself is expected; what may be beside it need not be.
                if name == self.name or files.exists(self.temporary_of(name)):
                    move(self.temporary_of(name), files.join(self.directory, name))
        except BaseException:
            for source, target in reversed(moves):
                if files.exists(target):
                    files.move(target, source)
            raise

    def replace_partitions(self, frame: DataFrame, partition_by: Sequence[str]) -> None:
        """Make rows visible at once, in place of the partitions that have rows among them.

        Raises ConfigurationError where the table that is there has other columns or partitions.
        """
        if files.exists(self.uri):
            tables.check_partitioned(frame, self.uri, partition_by)
        self._is_visible = True
        (
            frame.write.mode("overwrite")
            .option("partitionOverwriteMode", "dynamic")
            .partitionBy(*partition_by)
            .parquet(self.uri)
        )

    def clear_partition(self, values: Sequence[tuple[str, Any]]) -> bool:
        """Delete the partition `column=value/...`; False if there was none."""
        found = [self.uri]
        for column, value in values:
            found = [
                files.join(uri, name)
                for uri in found
                for name in files.names(uri)
                if _is_partition(name, column, value)
            ]
        for uri in found:
            files.delete(uri)
        return bool(found)

    def clean(self) -> None:
        """Remove the temporary sibling. Failing to is no failure of the run."""
        with contextlib.suppress(OSError, ConfigurationError):
            files.delete(self._workspace)

    def write_failed_manifest(self, manifest: dict[str, Any], log: str | None = None) -> str:
        """Write the manifest and the log of a run that failed; returns where the manifest is.

        An earlier whole result keeps its own.
        """
        return self._write_account(self.directory, manifest, log, failed=files.exists(self.uri))

    def _write_account(
        self, directory: str, manifest: dict[str, Any], log: str | None, *, failed: bool = False
    ) -> str:
        """The log, then the manifest, which has the last word; returns where it is."""
        if log is not None:
            try:
                files.write_text(files.join(directory, FAILED_LOG if failed else LOG), log)
            except OSError as error:  # no reason to lose a result
                logger.warning("the log could not be written: %s", error)
        uri = files.join(directory, FAILED_MANIFEST if failed else MANIFEST)
        files.write_text(uri, json.dumps(manifest, indent=2, allow_nan=False) + "\n")
        return uri
