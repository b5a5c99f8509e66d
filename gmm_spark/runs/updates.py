"""A model of an earlier run updated by the rows of this one: which it is, and how old its rows are.

Time is counted between the `run_date` of the two runs, in days; nothing reads the clock.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gmm_spark.engine.addresses import without_userinfo
from gmm_spark.errors import ConfigurationError
from gmm_spark.storage import files
from gmm_spark.storage.output import MANIFEST

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from gmm_spark import GaussianMixtureModel, ParquetTable

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Fading:
    """How statistics of the rows so far fade in a run, in days.

    half_life : None where they stay
    elapsed : between the two runs; 0 where nothing fades and it is not known
    """

    half_life: float | None
    elapsed: float

    def update(
        self, model: GaussianMixtureModel, dataset: DataFrame | ParquetTable
    ) -> GaussianMixtureModel:
        """The model after an update by new rows."""
        return model.update(dataset, halfLife=self.half_life, elapsed=self.elapsed)


@dataclass(frozen=True)
class Before:
    """The model of an earlier run that this one updates.

    words : which it is
    facts : the same for the manifest
    """

    model: GaussianMixtureModel
    words: str
    facts: dict[str, Any]
    fading: Fading

    def updated(self, dataset: DataFrame | ParquetTable) -> GaussianMixtureModel:
        """The model after an update by new rows."""
        return self.fading.update(self.model, dataset)


def model_before(
    path: str, facts: dict[str, Any], run_date: str | None, half_life: float | None
) -> Before:
    """The model at a path, to be updated by a run; `facts` say what else is known of it.

    Raises ConfigurationError as `fading` does.
    """
    from gmm_spark import GaussianMixtureModel

    before = run_date_beside(path)
    words = f"the model at {without_userinfo(path)}"
    if "version" in facts:
        words = f"the champion, version {facts['version']},"
    how = fading(run_date, before, half_life, words)
    told = {"path": without_userinfo(path), **facts, "run_date": before}
    return Before(GaussianMixtureModel.load(path), words, told, how)


def run_date_beside(model: str) -> str | None:
    """The `run_date` of the run that wrote a model, by the manifest beside it."""
    directory = model.rstrip("/").rpartition("/")[0]
    try:
        found = json.loads(files.read_text(files.join(directory, MANIFEST))).get("run_date")
    except (OSError, ValueError, AttributeError):
        return None
    return None if found is None else str(found)


def fading(run_date: str | None, before: str | None, half_life: float | None, of: str) -> Fading:
    """How the statistics of a model fade until this run.

    Parameters
    ----------
    run_date, before : of this run, and of the one that the model is of, as they were given
    of : the model, in words

    Raises ConfigurationError where a date that is needed is none, or the rows of this run are in
    the model already.
    """
    if run_date is not None and run_date == before:
        raise ConfigurationError(
            f"run_date: found {run_date}, and {of} is of that run_date already: its rows would "
            "count twice; expected a later one. To make that run anew, promote the version before "
            "it first (gmm-spark versions)"
        )
    if half_life is None:
        return Fading(None, 0.0)
    elapsed = (_moment("run_date", run_date) - _moment(f"the run_date of {of}", before)) / _DAY
    if elapsed <= 0:
        raise ConfigurationError(
            f"run_date: found {run_date}, and {of} is of {before}; expected a later one, since "
            "statistics fade by the days between the two"
        )
    return Fading(half_life, elapsed)


def _moment(what: str, text: str | None) -> datetime.datetime:
    try:
        found = datetime.datetime.fromisoformat(text or "")
    except ValueError:
        shown = "nothing" if text is None else repr(text)
        raise ConfigurationError(
            f"half_life: found {shown} as {what}; expected a day like 2026-11-26 or a time like "
            "2026-11-26T06:00, statistics fade by the days between two runs"
        ) from None
    # Of a day, and of a time in no zone, what is meant is the same everywhere.
    zone = datetime.timezone.utc
    return found.replace(tzinfo=zone) if found.tzinfo is None else found.astimezone(zone)


def update_facts(
    model: GaussianMixtureModel, old: GaussianMixtureModel, how: Fading
) -> dict[str, Any]:
    """What the manifest says of an update of an old model: days; weights of the rows; and mean
    log-likelihoods, of the new rows under the old model, and of those that this one was last
    fitted to or updated by."""
    summary = model.summary
    update = summary.update or {}
    earlier = old.summary.meanLogLikelihood if old.hasSummary else None
    return {
        "updates": update["updates"],
        "half_life_days": how.half_life,
        "elapsed_days": None if how.half_life is None else how.elapsed,
        "fading": update["fading"],
        "weight_before": update["weightBefore"],
        "weight_faded": update["weightFaded"],
        "weight": update["weight"],
        "mean_log_likelihood": summary.meanLogLikelihood,
        "mean_log_likelihood_before": earlier,
    }


def update_words(facts: dict[str, Any], rows: int) -> str:
    """An update in one sentence."""
    faded = f"the {facts['weight_before']:,.0f} rows before count for {facts['weight_faded']:,.1f}"
    if facts["half_life_days"] is not None:
        days, life = facts["elapsed_days"], facts["half_life_days"]
        faded += f" after {days:g} days of a half-life of {life:g}"
    earlier = facts["mean_log_likelihood_before"]
    beside = "" if earlier is None else f" ({earlier:.4f} of those before)"
    return (
        f"Updated by {rows:,} rows, whose mean log-likelihood under the model before is "
        f"{facts['mean_log_likelihood']:.4f}{beside}; {faded}"
    )
