"""A run after another: the champion there is, and what became of its segments.

Segments have ids beside their numbers: the first model's are its numbers; a later one's segments
take the ids, and the names, of those whose members they have (`mixture/matching.py`), and what is
new has an id that was never given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import NumericType

from gmm_spark.comparison import compare_models
from gmm_spark.engine.addresses import escaped
from gmm_spark.engine.comparison import ComparedRows
from gmm_spark.engine.dataframe import quoted
from gmm_spark.engine.scoring import NOISE
from gmm_spark.engine.sql import unreadable
from gmm_spark.errors import InputDataError, ModelFileError
from gmm_spark.expressions import column_name
from gmm_spark.mixture.matching import Matching, matched
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.report.drift import SHIFT, counted_inputs, input_figures, segment_figures
from gmm_spark.report.segments import FILE, Segments
from gmm_spark.report.text import percent
from gmm_spark.runs.gate import Figure
from gmm_spark.storage import create_only, files, publish_log
from gmm_spark.storage.publish_log import Version

IDS, INPUTS = "segment_ids.json", "inputs.json"
# Beside the log, of versions that were deleted.
_OF_DELETED = "segment_ids-"
# Of gaps that came, and of values that are new, such a share of the rows is told.
_NOTABLE = 0.05
# So many of the columns that have shifted are named.
_SHOWN = 3


@dataclass(frozen=True)
class SegmentIds:
    """The ids and names of a model's segments, in the order of their numbers.

    next_id : the lowest that was never given
    given : all names there ever were
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    next_id: int
    given: tuple[str, ...]

    @staticmethod
    def first(names: Sequence[str]) -> SegmentIds:
        """Of a model before which there was none."""
        return SegmentIds(tuple(range(len(names))), tuple(names), len(names), tuple(names))

    def succeeded(self, matching: Matching, names: Sequence[str]) -> SegmentIds:
        """Of the next model, whose segments are called `names` where they are new; a name that
        there was already has the id behind it."""
        kept = dict(zip(self.ids, self.names, strict=True))
        found: list[str] = []
        for id, name in zip(matching.ids, names, strict=True):
            new = f"{name} ({id})" if name in self.given else name
            found.append(kept.get(id, new))
        given = tuple(dict.fromkeys([*self.given, *found]))
        return SegmentIds(matching.ids, tuple(found), matching.next_id, given)

    def after(self, others: Sequence[SegmentIds]) -> SegmentIds:
        """What the next model begins from: ids and names that others have given are not given
        again."""
        next_id = max([self.next_id, *(other.next_id for other in others)])
        given = [*self.given, *(name for other in others for name in other.given)]
        return replace(self, next_id=next_id, given=tuple(dict.fromkeys(given)))

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> SegmentIds:
        stored = json.loads(text)
        return SegmentIds(
            tuple(stored["ids"]),
            tuple(stored["names"]),
            stored["next_id"],
            tuple(stored["given"]),
        )


@dataclass(frozen=True)
class Champion:
    """The version of a churn run that counts, and what it wrote.

    card : what was done with every column
    inputs : its columns counted, as `counted_inputs` gives them
    """

    version: Version
    uri: str
    model: GaussianMixtureModel
    segments: Segments
    ids: SegmentIds
    card: list[dict[str, Any]]
    inputs: dict[str, Any]

    @staticmethod
    def read(root: str, version: Version) -> Champion:
        """Raises ModelFileError where the version is not as it was published, or not of a churn
        run."""
        uri = publish_log.checked(root, version)
        try:
            texts = {
                name: files.read_text(files.join(uri, name))
                for name in (FILE, INPUTS, "preparation.json")
            }
            return Champion(
                version,
                uri,
                GaussianMixtureModel.load(files.join(uri, "model")),
                Segments.from_json(texts[FILE]),
                ids_to_go_on_from(root, version),
                json.loads(texts["preparation.json"]),
                json.loads(texts[INPUTS]),
            )
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, ModelFileError):
                raise
            what = str(error).splitlines()[0]
            raise ModelFileError(
                f"version {version.number} at {uri} cannot be followed: {what}; expected what a "
                "churn run of this release wrote"
            ) from None

    def prepared(self, frame: DataFrame) -> DataFrame:
        """The rows with the columns that the model reads, prepared as they were.

        Raises InputDataError where a column cannot be read as it was.
        """
        texts = self.model.getInputExpressions()
        for text in texts:
            if (problem := unreadable(frame, text)) is not None:
                raise InputDataError(
                    f"the champion, version {self.version.number}, reads {column_name(text)!r}, "
                    f"which cannot be made as it was: {problem}; bring the column back, or set "
                    "refit: choose, for a challenger of the columns there are"
                )
        return frame.select("*", *map(F.expr, texts))


def ids_to_go_on_from(root: str, version: Version) -> SegmentIds:
    """Those of a version; what another one, such as a challenger, has given is not given again, nor
    what one has that was deleted since. A version of no churn run has none.

    Raises OSError where the version itself has none.
    """

    def read(of: Version) -> SegmentIds:
        uri = files.join(root, of.directory, IDS)
        return SegmentIds.from_json(files.read_text(uri))

    others = [
        read(one)
        for one in publish_log.read(root).versions
        if one != version and files.exists(files.join(root, one.directory, IDS))
    ]
    log = publish_log.beside_entries(root)
    others += [
        SegmentIds.from_json(files.read_text(files.join(log, name)))
        for name in files.names(log)
        if name.startswith(_OF_DELETED)
    ]
    return read(version).after(others)


def remember_ids(root: str, number: int) -> None:
    """Keep the ids that a version has given beside the log, before it is deleted by its number: the
    versions that would know them may all be older."""
    version = publish_log.read(root).version(number)
    if version is None or not files.exists(uri := files.join(root, version.directory, IDS)):
        return
    name = f"{_OF_DELETED}{number:06}.json"
    create_only.create(publish_log.beside_entries(root, name), files.read_bytes(uri))


@dataclass(frozen=True)
class Succession:
    """What a run found out about the champion before it, and its own segments' ids.

    figures : of change; empty where there was no champion
    """

    ids: SegmentIds
    inputs: dict[str, Any]
    figures: tuple[Figure, ...] = ()
    matching: Matching | None = None
    champion: Champion | None = None


def first(frame: DataFrame, segments: Segments) -> Succession:
    """Of the first run: its ids are its numbers."""
    inputs, _ = counted_inputs(frame, segments, None)
    return Succession(SegmentIds.first(_names(segments)), inputs)


def succeeded(
    champion: Champion,
    frame: DataFrame,
    model: GaussianMixtureModel,
    segments: Segments,
    *,
    same_numbers: bool = False,
) -> Succession:
    """Of a run after the champion's: both models score the raw rows of today in one pass, and their
    columns are counted in another. `same_numbers`: the model is the champion's, updated, and its
    segments are the same, number by number."""
    compared = compare_models(frame, champion.model, model)
    old, new = len(champion.model.clusters), len(model.clusters)
    counts, joint = (of[:old, :new] for of in (compared.modal, compared.joint))
    known = champion.ids
    matching = matched(counts, known.ids, known.next_id, joint, same_numbers=same_numbers)
    ids = champion.ids.succeeded(matching, _names(segments))
    inputs, beside = counted_inputs(frame, segments, champion.inputs)
    assert beside is not None
    figures = [
        *_likelihood(champion, compared),
        Figure("changed", "", matching.changed),
        *segment_figures(champion.segments, champion.ids.ids, segments, ids.ids),
        *input_figures(champion.inputs, beside),
    ]
    return Succession(ids, inputs, tuple(figures), matching, champion)


def _names(segments: Segments) -> list[str]:
    return [one.name for one in segments.segments if one.segment != NOISE]


def _likelihood(champion: Champion, compared: ComparedRows) -> list[Figure]:
    if not compared.rows or not champion.model.hasSummary:
        return []
    now = float(compared.log_density[0]) / compared.rows
    return [Figure("log_likelihood", "", now, champion.model.summary.meanLogLikelihood)]


def renamed(segments: Segments, ids: SegmentIds) -> Segments:
    """The segments under the names that stay with their ids, in what is said of others too."""
    found, notes = [], list(segments.notes)
    real = [one.name for one in segments.segments if one.segment != NOISE]
    names = dict(zip(real, ids.names, strict=True))

    def said(words: str) -> str:
        return re.sub("“([^”]*)”", lambda name: f"“{names.get(name[1], name[1])}”", words)

    for place, one in enumerate(segments.segments):
        if one.segment == NOISE:
            found.append(one)
            continue
        name = ids.names[place]
        words = one.words
        if name != one.name:
            words = name + words.removeprefix(one.name)
            notes.append(
                f"segment {ids.ids[place]} keeps its name, {name}; by its figures of today it "
                f"would be called {one.name}"
            )
        typical = one.typical
        if typical is not None:
            typical = typical.model_copy(update={"words": said(typical.words)})
        update = {"id": ids.ids[place], "name": name, "words": words, "typical": typical}
        found.append(one.model_copy(update=update))
    kmeans = segments.kmeans
    if kmeans is not None:
        kmeans = kmeans.model_copy(update={"words": [said(words) for words in kmeans.words]})
    return segments.model_copy(update={"segments": found, "notes": notes, "kmeans": kmeans})


def with_changes(
    segments: Segments,
    succession: Succession,
    customers: dict[str, Any] | None,
    against: Sequence[str],
) -> Segments:
    """The segments with what has changed since the champion: `drift` and `transitions`."""
    champion, matching, ids = succession.champion, succession.matching, succession.ids
    if champion is None or matching is None:
        return segments
    version = champion.version
    since = {"version": version.number, "run_id": version.run_id, "run_date": version.run_date}
    figures = [one.to_json() for one in succession.figures]
    drift = {"since": since, "figures": figures, "against": list(against)}
    names = {
        id: name for of in (champion.ids, ids) for id, name in zip(of.ids, of.names, strict=True)
    }
    words = [
        _same_rows_in_words(version, matching, segments.noun),
        *_customers_in_words(customers, segments.noun),
        *matching.sentences(names),
        *_shifts_in_words(succession.figures),
        *_unknown_in_words(succession.figures),
    ]
    transitions = {
        "since": since,
        "same_rows": matching.to_json(),
        "customers": customers,
        "words": words,
    }
    return segments.model_copy(update={"drift": drift, "transitions": transitions})


def _same_rows_in_words(version: Version, matching: Matching, noun: str) -> str:
    """How many rows the models put into different segments."""
    day = "" if version.run_date is None else f" of {version.run_date}"
    total = round(matching.counts.sum())
    changed = f"{round(matching.changed * total):,} ({percent(matching.changed)})"
    return (
        f"since version {version.number}{day}: of the {total:,} {noun} of today {changed} are in "
        "another segment by this model than by that one"
    )


def _customers_in_words(customers: dict[str, Any] | None, noun: str) -> list[str]:
    """How many of those who were there then are elsewhere today, by what they have done and by the
    model."""
    if customers is None:
        return []
    old, new, rows = customers["old"], customers["new"], customers["rows"]
    total = sum(map(sum, rows))
    if not total:
        return []
    moved = sum(
        count
        for id, row in zip(old, rows, strict=True)
        for other, count in zip(new, row, strict=True)
        if id != other
    )
    came, left = sum(customers["came"]), sum(customers["left"])
    return [
        f"of {total:,} {noun} of then {moved:,} ({percent(moved / total)}) are in another segment "
        f"today, each as they were on the day; {came:,} came, {left:,} left"
    ]


def _shifts_in_words(figures: Sequence[Figure]) -> list[str]:
    """The columns that have shifted most."""
    shifted = [one for one in figures if one.name == "psi" and one.value > SHIFT]
    if not shifted:
        return []
    shifted.sort(key=lambda one: -one.value)
    shown = [f"{one.of.removeprefix('column ')} {one.value:.2f}" for one in shifted[:_SHOWN]]
    more = f" and {len(shifted) - _SHOWN} more" if len(shifted) > _SHOWN else ""
    return [
        f"columns that have shifted (population stability index over {SHIFT}): "
        f"{', '.join(shown)}{more}"
    ]


def _unknown_in_words(figures: Sequence[Figure]) -> list[str]:
    """The columns that have more gaps than they had, or values that the champion never saw."""
    found = []
    for name, what in (
        ("missing", "more gaps than before"),
        ("unseen", "values never seen before"),
    ):
        more = [one for one in figures if one.name == name and _news(one) >= _NOTABLE]
        more.sort(key=lambda one: -one.value)
        shown = [
            f"{one.of.removeprefix('column ')} {percent(one.value)}"
            + ("" if one.before is None else f" (before {percent(one.before)})")
            for one in more[:_SHOWN]
        ]
        if shown:
            rest = f" and {len(more) - _SHOWN} more" if len(more) > _SHOWN else ""
            found.append(f"columns with {what}: {', '.join(shown)}{rest}")
    return found


def _news(figure: Figure) -> float:
    return figure.value if figure.change is None else figure.change


def changes_in_words(segments: Segments) -> list[str]:
    """What became of the segments since the champion's run, a sentence each."""
    said: Any = (segments.transitions or {}).get("words", [])
    return [f"{one[:1].upper()}{one[1:]}" for one in said]


def customers_between(
    spark: SparkSession, champion: Champion, scores: DataFrame, id: str | None, ids: SegmentIds
) -> dict[str, Any] | None:
    """How many customers went from which segment of the champion's run to which of this one; None
    where they have no id, or the scores of that run are of others.

    Returns plain values: `old` and `new`, ids of segments (noise is -1, no segment null); `rows`, a
    list for each of `old`; `came`, by `new`, those that the champion's run had not; `left`, by
    `old`, those that this one has not.
    """
    uri = files.join(champion.uri, "scores")
    if id is None or not files.exists(uri):
        return None
    before = spark.read.parquet(escaped(uri))
    if id not in before.columns or "segment_id" not in before.columns:
        return None
    kinds = [frame.schema[id].dataType for frame in (before, scores)]
    key = quoted(id)
    if kinds[0] != kinds[1] and not all(isinstance(kind, NumericType) for kind in kinds):
        # Text that was a number before: as Spark compares the two, one that is none is an error.
        key = key.cast("string")
    then = before.select(
        key.alias("id"), quoted("segment_id").alias("then"), F.lit(True).alias("was")
    )
    now = scores.select(key.alias("id"), quoted("segment_id").alias("now"), F.lit(True).alias("is"))
    counts = then.join(now, "id", "full").groupBy("was", "is", "then", "now").count().collect()
    old, new = _with_others(champion.ids.ids, counts, "then"), _with_others(ids.ids, counts, "now")
    rows = [[0] * len(new) for _ in old]
    came, left = [0] * len(new), [0] * len(old)
    for was, is_, before_id, now_id, count in counts:
        if was and is_:
            rows[old.index(before_id)][new.index(now_id)] += count
        elif is_:
            came[new.index(now_id)] += count
        else:
            left[old.index(before_id)] += count
    return {"old": old, "new": new, "rows": rows, "came": came, "left": left}


def _with_others(ids: Sequence[int], counts: Sequence[Any], key: str) -> list[int | None]:
    """The ids, and what else there is: noise, and no segment."""
    others = {row[key] for row in counts} - set(ids)
    has = "was" if key == "then" else "is"
    if None in others and not any(row[has] and row[key] is None for row in counts):
        others.discard(None)
    return [*ids, *sorted(others, key=lambda one: (one is None, one or 0))]
