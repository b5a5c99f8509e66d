"""A model of an earlier run updated by the rows of this one: which it is, and how old its rows are.

Time is counted between the `run_date` of the two runs, in days; nothing reads the clock.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gmm_spark.config.settings import DAYS_BETWEEN_RUNS
from gmm_spark.config.values import moment
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
    run_dates : of all runs whose rows are in the model then, as they were given
    """

    half_life: float | None
    elapsed: float
    run_dates: tuple[str, ...] = ()

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

    dates = run_dates_beside(path)
    before = dates[-1] if dates else None
    words = f"the model at {without_userinfo(path)}"
    if "version" in facts:
        words = f"the champion, version {facts['version']},"
    how = fading(run_date, dates, half_life, words)
    told = {"path": without_userinfo(path), **facts, "run_date": before}
    return Before(GaussianMixtureModel.load(path), words, told, how)


def run_dates_beside(model: str) -> tuple[str | None, ...]:
    """The `run_date` of every run whose rows are in a model, by the manifest beside it: of the run
    that fitted it, and of those that updated it; the last is that of the run that wrote it. Empty
    where there is no manifest."""
    directory = model.rstrip("/").rpartition("/")[0]
    try:
        manifest = json.loads(files.read_text(files.join(directory, MANIFEST)))
        update, last = manifest.get("update") or {}, manifest.get("run_date")
        earlier = list(update.get("run_dates") or [(update.get("model") or {}).get("run_date")])
    except (OSError, ValueError, AttributeError, TypeError):
        return ()
    return (*(str(one) for one in earlier if one is not None and one != last), last)


def fading(
    run_date: str | None, dates: Sequence[str | None], half_life: float | None, of: str
) -> Fading:
    """How the statistics of a model fade until this run.

    Parameters
    ----------
    run_date : of this run
    dates : of the runs whose rows are in the model, as they were given; the last is its own
    of : the model, in words

    Raises ConfigurationError where a date that is needed is none, or the rows of this run are in
    the model already.
    """
    before, run_dates = dates[-1] if dates else None, [*dates, run_date]
    of_all = tuple(dict.fromkeys(one for one in run_dates if one is not None))
    if run_date is not None and _is_among(run_date, dates):
        told = "is of that run_date already"
        if not _is_among(run_date, [before]):
            told = f"which is of {before}, has been given the rows of that run_date already"
        raise ConfigurationError(
            f"run_date: found {run_date}, and {of} {told}: its rows would "
            "count twice; expected a later one. To make that run anew, promote the version before "
            "it first (gmm-spark versions)"
        )
    if half_life is None:
        return Fading(None, 0.0, of_all)
    of_model = f"the run_date of {of.rstrip(',')}"
    elapsed = (_moment("run_date", run_date) - _moment(of_model, before)) / _DAY
    if elapsed <= 0:
        raise ConfigurationError(
            f"run_date: found {run_date}, and {of} is of {before}; expected a later one, since "
            "statistics fade by the days between the two"
        )
    return Fading(half_life, elapsed, of_all)


def _is_among(run_date: str, dates: Iterable[str | None]) -> bool:
    """Whether a date is one of others, in whatever form: 20261126 is 2026-11-26."""
    return _comparable(run_date) in {_comparable(one) for one in dates if one is not None}


def _comparable(text: str) -> Any:
    try:
        return moment(text)
    except ValueError:
        return text


def _moment(what: str, text: str | None) -> datetime.datetime:
    try:
        return moment(text or "")
    except ValueError:
        shown = "nothing" if text is None else repr(text)
        raise ConfigurationError(
            f"half_life: found {shown} as {what}; {DAYS_BETWEEN_RUNS}"
        ) from None


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
        "run_dates": list(how.run_dates),
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
        after = "1 day" if days == 1 else f"{days:g} days"
        faded += f" after {after} of a half-life of {life:g}"
    earlier = facts["mean_log_likelihood_before"]
    beside = "" if earlier is None else f" ({earlier:.4f} of those before)"
    return (
        f"Updated by {rows:,} rows, whose mean log-likelihood under the model before is "
        f"{facts['mean_log_likelihood']:.4f}{beside}; {faded}"
    )
