"""The directory of results of which versions are kept: a run adds one, and publishes it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

from gmm_spark.errors import ConfigurationError, ModelFileError
from gmm_spark.storage import files, publish_log
from gmm_spark.storage.output import FAILED_LOG, FAILED_MANIFEST, MANIFEST, Output
from gmm_spark.storage.publish_log import CHAMPION, Entry, Version


@dataclass
class VersionedOutput(Output):
    """`<directory>/versions/<run id>/<name>`, written where it stays, and published as one more
    version by an entry of the publish log.

    keep : so many versions are kept, the newest, and those that an alias names; by run date, of
        every run date
    alias : what names this one; the first is the champion
    by_run_date : it is a version of its run date, of which the newest counts; no alias names it
    job : the name of the job that writes it
    seen : what the log said when the run began
    """

    keep: int = 1
    alias: str = CHAMPION
    run_date: str | None = None
    by_run_date: bool = False
    job: str | None = None
    seen: Entry = field(default_factory=Entry, init=False)
    version: Version | None = field(default=None, init=False)

    @property
    def uri(self) -> str:
        return self.temporary

    @property
    def results(self) -> str:
        return self._workspace

    @property
    def _workspace(self) -> str:
        if self.by_run_date:
            within = publish_log.directory_by_run_date(self.run_id, self.run_date)
        else:
            within = publish_log.directory_of(self.run_id)
        return files.join(self.directory, within)

    def claim(self, *, overwrite: bool, how: str) -> None:
        super().claim(overwrite=overwrite, how=how)
        try:
            publish_log.check_store(self.directory)
        except ConfigurationError:
            self.clean()
            raise

    def check(self, *, overwrite: bool, how: str) -> None:
        """Read the log, as the run sees it until it ends; raise as for any output."""
        super().check(overwrite=overwrite, how=how)
        self.seen = publish_log.read(self.directory)
        self._expect_champion_of_this_job()

    def _expect_champion_of_this_job(self) -> None:
        """Raise ConfigurationError where the champion is of another job: readers of it, and runs
        that follow it, would find a result of another kind in its place."""
        if self.champion is None or self.by_run_date:
            return
        uri = files.join(self.directory, self.champion.directory, MANIFEST)
        try:
            job = json.loads(files.read_text(uri)).get("job")
        except (OSError, ValueError, AttributeError):  # it is read where it is followed
            return
        if job is not None and self.job not in (None, job):
            raise ConfigurationError(
                f"output: the champion in {self.directory}, version {self.champion.number}, is of "
                f"{job}, and this run is of {self.job}; expected another directory, versions are "
                "of one job"
            )

    def _check_store(self) -> None:
        """Nothing is renamed."""

    def _not_of_a_failed_run(self) -> list[str]:
        of_versions = (*publish_log.DIRECTORIES, FAILED_MANIFEST, FAILED_LOG)
        return [name for name in super()._not_of_a_failed_run() if name not in of_versions]

    @property
    def champion(self) -> Version | None:
        """The version that counts, as the run has seen it."""
        return self.seen.alias(CHAMPION)

    def publish(
        self, manifest: dict[str, Any], refused: str | None = None, log: str | None = None
    ) -> str:
        uri = self._write_account(self._workspace, manifest, log)
        self.version = self._published(refused)
        with contextlib.suppress(OSError):
            for name in (FAILED_MANIFEST, FAILED_LOG):
                files.delete(files.join(self.directory, name))
        return uri

    def _published(self, refused: str | None) -> Version:
        if self.by_run_date:
            assert refused is None, "scores have no gate"
            return publish_log.publish_by_run_date(
                self.directory, self.seen, self.run_id, keep=self.keep, run_date=self.run_date
            )
        return publish_log.publish(
            self.directory,
            self.seen,
            self.run_id,
            alias=CHAMPION if self.champion is None else self.alias,
            keep=self.keep,
            run_date=self.run_date,
            refused=refused,
        )

    @property
    def standing(self) -> str:
        """The number of the version that was published, and what it counts as."""
        version = self.version
        assert version is not None, "nothing is published yet"
        if self.by_run_date:
            date = "without a run date" if self.run_date is None else f"of run date {self.run_date}"
            return f"{version.number}, {date}"
        if version.refused is None:
            return f"{version.number}, {CHAMPION if self.champion is None else self.alias}"
        assert self.champion is not None, "only what follows a champion is refused"
        return f"{version.number}, not published; the champion is {self.champion.number}"

    def clean(self) -> None:
        """Remove what was written, unless it was published: an entry of the log may name it where
        `publish` ended by an error all the same."""
        with contextlib.suppress(OSError, ModelFileError):  # a log that cannot be read may too
            entry = publish_log.read(self.directory)
            if all(one.run_id != self.run_id for one in entry.versions):
                super().clean()

    def write_failed_manifest(self, manifest: dict[str, Any], log: str | None = None) -> str:
        return self._write_account(self.directory, manifest, log, failed=True)
