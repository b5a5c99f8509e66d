"""The columns of a table by segment, read in one pass: profiles, differences, what can be said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.engine.dataframe import check_once, quoted
from gmm_spark.engine.profiles import (
    MOST_VALUES,
    FoundProfiles,
    ProfileWork,
    Values,
    found_profiles,
)
from gmm_spark.expressions import column_name
from gmm_spark.mixture.numerics import Array, finite
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.outcomes import frame_work
from gmm_spark.prepare.treatments import number_sql, text_sql
from gmm_spark.report.column_words import (
    amount_words,
    describes_a_person,
    is_code,
    number_forms,
    preference,
    readable,
    tokens,
    unknown_words,
    value_words,
    values_words,
)
from gmm_spark.report.effects import (
    MEDIUM,
    cliffs_delta,
    correlations,
    distribution,
    intervals,
    ranks,
    weighted_quantiles,
)
from gmm_spark.report.names import Phrase
from gmm_spark.report.segments import (
    CategoryProfile,
    Column,
    Difference,
    Kind,
    NumberProfile,
    Profile,
    Quantiles,
    ValueShare,
)
from gmm_spark.report.text import numbers, percent

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Values of a category that are named, and differences of a segment.
_SHOWN_VALUES = 20
_SHOWN_DIFFERENCES = 50
# Rows that correlations of features are found from, and rows times features.
_CORRELATED_ROWS, _CORRELATED_CELLS = 20_000, 4_000_000
# A category of more values than this share of its rows says nothing by them.
_OWN_VALUES = 0.5
# What a segment is called by, most of its rows have; and what it has none of, hardly any.
_MOST, _BOTH, _HARDLY_ANY = 0.5, 0.7, 0.1
# A segment is new, and not fairly new, where half of it is among so many of the newest.
_OUTER = 0.28
# Tenure and recency say more than what comes of them.
_ADJECTIVE = 1.2
# Of a pair of values, each is there in so much of the segment.
_LEAST_OF_PAIR = 0.15


def described_columns(
    model: GaussianMixtureModel,
    frame: DataFrame,
    outcomes: Sequence[str],
    id: str | None,
    preparation: Sequence[Mapping[str, Any]] | None,
) -> tuple[dict[str, Kind], dict[str, str]]:
    """The columns that segments are described by, with their kinds, and why others are not."""
    prepared = {one["name"]: one for one in preparation or ()}
    made = {column_name(text) for text in model.getInputExpressions()}
    made |= {name for one in prepared.values() for name in one.get("prepared") or ()}
    passed = made - set(prepared)
    if {model.getPredictionCol(), model.getProbabilityCol()} <= set(frame.columns):
        passed |= set(model._columns.outputs(True, merged=True))  # scored already
    found: dict[str, Kind] = {}
    left_out: dict[str, str] = {}
    for name in frame.columns:
        said, type = prepared.get(name, {}), frame.schema[name].dataType
        kind = _kind(model, type, name, said)
        if name in passed:
            continue
        if name in outcomes:
            left_out[name] = "an outcome"
        elif name == model._columns.weight:
            left_out[name] = "the weight of a row"
        elif name == model._columns.label_col:
            left_out[name] = "the labels that the fit was given"
        elif name == id or (preparation is None and _is_identifier(name)):
            left_out[name] = "an identifier"
        elif said.get("role") == "left out":
            left_out[name] = str(said.get("reason") or "left out")
        elif kind is None:
            left_out[name] = f"its type, {type.simpleString()}"
        else:
            check_once(frame, name)
            found[name] = kind
    return found, left_out


def _is_identifier(name: str) -> bool:
    return any(word.lower() in {"id", "uuid", "guid"} for word in tokens(name)[-1:])


def _kind(
    model: GaussianMixtureModel, type: T.DataType, name: str, said: Mapping[str, Any]
) -> Kind | None:
    role = said.get("role")
    if role == "date" or isinstance(type, T.DateType | T.TimestampType | T.TimestampNTZType):
        return "date"
    if isinstance(type, T.StringType) and role in ("number", "count"):
        found: Kind = role
        return found
    if isinstance(type, T.BooleanType | T.StringType):
        return "category"
    if not isinstance(type, T.NumericType):
        return None
    if name in model.categories or role == "category":
        # Few whole numbers may be codes or sizes; by sizes segments are described as by numbers.
        is_size = "codes" not in str(said.get("reason")) and not is_code(name)
        return "number" if is_size and "two values" not in str(said.get("reason")) else "category"
    return "count" if role == "count" or name in model.getCountCols() else "number"


def read_profiles(
    model: GaussianMixtureModel,
    frame: DataFrame,
    columns: Mapping[str, Kind],
    measured: Sequence[str],
    texts: Sequence[str],
    outcomes: Sequence[str],
    days: Mapping[str, str],
) -> FoundProfiles:
    """The numbers, the categories and the outcomes of a frame by segment, in one job. `days` are
    the SQL expressions of columns that are dates to their preparation."""
    read, work = frame_work(model, frame, tuple(outcomes))
    described = [as_number(frame, name, days.get(name)) for name in measured]
    described += [F.expr(text_sql(name)) for name in texts]
    rows = frame.select(*read, *described)
    rows = rows.toDF(*map(str, range(len(rows.columns))))
    return found_profiles(rows, ProfileWork(work, len(measured), len(texts), 0))


def as_number(frame: DataFrame, name: str, days: str | None) -> SparkColumn:
    type = frame.schema[name].dataType
    if isinstance(type, T.TimestampType | T.TimestampNTZType):
        return F.unix_micros(quoted(name).cast("timestamp")).cast("double") / 86_400e6
    if days is not None:
        return F.expr(days)
    if isinstance(type, T.DateType):
        return F.unix_date(quoted(name)).cast("double")
    if isinstance(type, T.NumericType):
        return quoted(name).cast("double")
    return F.expr(number_sql(name))


@dataclass(frozen=True)
class Feature:
    """Something that rows have more or less of: a number, a value of a category (its place among
    those), or no value at all."""

    column: str
    value: int | None = None
    is_missing: bool = False


class Profiled:
    """What was found of the columns by segment, and what can be said of it.

    Segments are spoken of by their places, the noise, where there is one, the last.
    """

    def __init__(
        self,
        found: FoundProfiles,
        columns: Mapping[str, Kind],
        measured: Sequence[str],
        texts: Sequence[str],
        in_model: Mapping[str, bool],
    ) -> None:
        # Of less than half a row, what is known are shares of rows of other segments.
        least = 0.5 * float(found.size.sum()) / max(int(found.rows.sum()), 1)
        self.found = replace(found, moments=found.moments.of_weight(least))
        self.sample, self.in_model = found.sample, dict(in_model)
        self.places = {name: i for i, name in enumerate(measured)}
        self.whole = found.moments.total()
        self.rest = found.moments.rest()
        self.categories: dict[str, Values] = {}
        self.left_out: dict[str, str] = {}
        self.codes = {}
        for i, (name, values) in enumerate(zip(texts, found.categories, strict=True)):
            problem = _problem(values, int(found.rows.sum()))
            if problem is None:
                self.categories[name], self.codes[name] = _most_frequent(
                    values.of_weight(least), self.sample.codes[i]
                )
            else:
                self.left_out[name] = problem
        self.kinds = {name: kind for name, kind in columns.items() if name not in self.left_out}
        self.numbers = [name for name, kind in self.kinds.items() if kind != "category"]
        self.edges = {name: intervals(self.values_of(name)) for name in self.numbers}

    @property
    def k(self) -> int:
        return int(self.found.size.size)

    def values_of(self, name: str) -> Array:
        """A number of the rows of the sample, (n,)."""
        return np.asarray(self.sample.numbers[self.places[name]])

    def columns(self) -> list[Column]:
        return [
            Column(
                name=name,
                words=readable(name),
                kind=kind,
                in_model=self.in_model.get(name, False),
                describes_a_person=describes_a_person(name),
                edges=self.edges.get(name),
            )
            for name, kind in self.kinds.items()
        ]

    # --- profiles -------------------------------------------------------------------------

    def profile(self, j: int | None) -> list[Profile]:
        """Of a segment, or of all rows."""
        return [
            self._category(name, j) if name in self.categories else self._number(name, j)
            for name in self.kinds
        ]

    def _number(self, name: str, j: int | None) -> NumberProfile:
        i, row = self.places[name], j or 0
        moments = self.whole if j is None else self.found.moments
        known, mean = float(moments.weight[row, i]), float(moments.mean[row, i])
        weights = self._weights(j) if known > 0 else np.zeros(self.sample.hashes.size)
        at = weighted_quantiles(self.values_of(name), weights, _QUANTILES)
        quantiles = None
        if at is not None:
            quantiles = Quantiles(**dict(zip(Quantiles.model_fields, at.tolist(), strict=True)))
        spread, edges = float(self.whole.deviation[0, i]), self.edges[name]
        has_units = j is not None and known > 0 and spread > 0
        kind = self.kinds[name]
        assert kind != "category"
        return NumberProfile(
            kind=kind,
            column=name,
            known=known,
            missing=_missing(known, self._size(j)),
            mean=finite(mean) if known > 0 else None,
            standard_deviation=finite(moments.deviation[row, i]),
            quantiles=quantiles,
            standard_units=finite((mean - self.whole.mean[0, i]) / spread) if has_units else None,
            distribution=edges and distribution(self.values_of(name), weights, edges),
        )

    def _category(self, name: str, j: int | None) -> CategoryProfile:
        values = self.categories[name]
        weights = values.weights.sum(axis=1) if j is None else values.weights[:, j]
        known, shown = float(weights.sum()), weights[:_SHOWN_VALUES].tolist()
        shares = [_share(weight, known) for weight in shown]
        return CategoryProfile(
            kind="category",
            column=name,
            known=known,
            missing=_missing(known, self._size(j)),
            values=[
                ValueShare(value=value, share=share)
                for value, share in zip(values.values, shares, strict=False)
            ],
            other=_share(float(weights[_SHOWN_VALUES:].sum()), known),
        )

    def _weights(self, j: int | None) -> Array:
        found = self.sample.probability
        return np.asarray(found.sum(axis=0) if j is None else found[j])

    def _size(self, j: int | None) -> float:
        return float(self.found.size.sum() if j is None else self.found.size[j])

    # --- differences ----------------------------------------------------------------------

    @cached_property
    def deltas(self) -> dict[str, Array]:
        """Cliff's delta of every number, in every segment against all other rows, (K,)."""
        own = self.sample.probability
        others = own.sum(axis=0) - own
        return {name: cliffs_delta(self.values_of(name), own, others) for name in self.numbers}

    def differences(self, j: int) -> list[Difference]:
        """Of a segment and all other rows, the largest effects first."""
        found = [*self._of_numbers(j), *self._of_values(j)]
        found.sort(key=lambda one: -abs(one.effect))
        return found[:_SHOWN_DIFFERENCES]

    def _of_numbers(self, j: int) -> Iterator[Difference]:
        own, rest = self.found.moments, self.rest
        for name in self.numbers:
            i = self.places[name]
            if own.weight[j, i] <= 0 or rest.weight[j, i] <= 0:
                continue
            means = [float(own.mean[j, i]), float(rest.mean[j, i])]
            spread = float(np.hypot(own.deviation[j, i], rest.deviation[j, i]) / np.sqrt(2))
            shown = numbers(means, float(self.whole.deviation[0, i]))
            if self.kinds[name] == "date":
                shown = [str(np.datetime64(round(mean), "D")) for mean in means]
            yield Difference(
                column=name,
                effect=float(self.deltas[name][j]),
                standardised=finite((means[0] - means[1]) / spread) if spread > 0 else None,
                segment=finite(means[0]),
                rest=finite(means[1]),
                words=f"{readable(name)} {shown[0]}, elsewhere {shown[1]}",
            )

    def _of_values(self, j: int) -> Iterator[Difference]:
        others = [i for i in range(self.k) if i != j]
        for name, values in self.categories.items():
            own, rest = _shares(values, [j]), _shares(values, others)
            if own is None or rest is None:
                continue
            for i, value in enumerate(values.values[:_SHOWN_VALUES]):
                yield Difference(
                    column=name,
                    value=value,
                    effect=float(np.clip(own[i] - rest[i], -1, 1)),
                    segment=float(own[i]),
                    rest=float(rest[i]),
                    words=f"{readable(name)} {' '.join(value.split())}: {percent(own[i])}, "
                    f"elsewhere {percent(rest[i])}",
                )

    # --- what can be said -----------------------------------------------------------------

    @cached_property
    def features(self) -> dict[Feature, int]:
        """What correlations are of, with their places."""
        found = []
        for name in self.kinds:
            if name in self.categories:
                count = min(len(self.categories[name].values), _SHOWN_VALUES)
                found += [Feature(name, value) for value in range(count)]
            else:
                found.append(Feature(name))
            found.append(Feature(name, is_missing=True))
        return {feature: place for place, feature in enumerate(found)}

    @cached_property
    def correlations(self) -> Array:
        """Of the features, between rows."""
        rows = min(_CORRELATED_ROWS, max(1000, _CORRELATED_CELLS // len(self.features)))
        scores = [self._scores(feature)[:rows] for feature in self.features]
        weights = self._weights(None)[:rows]
        return correlations(np.array(scores).reshape(len(scores), weights.size), weights)

    def _scores(self, feature: Feature) -> Array:
        if feature.column in self.codes:
            wanted = -1 if feature.is_missing else feature.value
            return np.asarray(self.codes[feature.column] == wanted, dtype=float)
        values = self.values_of(feature.column)
        return np.isnan(values).astype(float) if feature.is_missing else ranks(values)

    def phrases(
        self, j: int, others: Sequence[int], *, people: bool, comparative: bool = False
    ) -> list[Phrase]:
        """What can be said of a segment against others; of people only where that is wanted."""
        found: list[Phrase] = []
        for name in self.kinds:
            if describes_a_person(name) and not people:
                continue
            if name in self.categories:
                found += self._values_phrases(name, j, others)
            else:
                found += self._number_phrases(name, j, others, comparative)
            found += self._missing_phrase(name, j, others)
        return found

    def _number_phrases(
        self, name: str, j: int, others: Sequence[int], comparative: bool
    ) -> Iterator[Phrase]:
        i, values, place = self.places[name], self.values_of(name), self.features[Feature(name)]
        own = self.sample.probability[j]
        rest = self.sample.probability[list(others)].sum(axis=0)
        if len(others) == self.k - 1:
            effect = float(self.deltas[name][j])
        else:
            effect = float(cliffs_delta(values, own[None], rest[None])[0])
        if effect == 0 or self.found.moments.weight[j, i] <= 0:
            return
        having = [_having(values, weights) for weights in (own, rest)]
        known = values[~np.isnan(values)]
        distinct = np.unique(known)
        if distinct.size == 2:
            yes = effect > 0
            share = _having(values - distinct[0], own)
            if (share if yes else 1 - share) >= _MOST:
                two = [f"{value:g}" for value in distinct]
                words = value_words(name, two[int(yes)], two)
                yield Phrase(name, words, abs(effect), place, 2)
            return
        if known.min(initial=0.0) >= 0:
            if effect < 0 and having[0] <= _HARDLY_ANY and having[1] - having[0] >= MEDIUM:
                yield Phrase(name, f"no {amount_words(name)}", abs(effect), place, 2)
                return
            if effect > 0 and having[1] <= _MOST and having[0] >= 1 - _HARDLY_ANY:
                yield Phrase(name, f"with {amount_words(name)}", abs(effect), place, 2)
                return
        mean = float(self.found.moments.mean[j, i])
        forms = number_forms(name, self.kinds[name], falls=known.min() < 0 and mean < 0)
        words = forms.of(effect, comparative)
        if not comparative and not self._is_far_out(values, own, effect):
            words = words if words.startswith("hardly ") else f"fairly {words}"
        yield Phrase(
            name,
            words,
            abs(effect),
            place,
            int(not forms.is_adjective),
            comparative,
            preference(name) * (_ADJECTIVE if forms.is_adjective else 1.0),
        )

    def _is_far_out(self, values: Array, own: Array, effect: float) -> bool:
        """Whether most of a segment is in the outer quarter of all rows."""
        middle = weighted_quantiles(self._ranks(values), own, [0.5])
        at = 0.5 if middle is None else float(middle[0])
        return (at if effect < 0 else 1 - at) <= _OUTER

    def _ranks(self, values: Array) -> Array:
        return np.where(np.isnan(values), np.nan, ranks(values))

    def _values_phrases(self, name: str, j: int, others: Sequence[int]) -> Iterator[Phrase]:
        values = self.categories[name]
        own, rest = _shares(values, [j]), _shares(values, others)
        if own is None or rest is None:
            return
        shown = values.values[:_SHOWN_VALUES]
        more = [i for i in range(len(shown)) if own[i] > rest[i]]
        found = []
        for i in more:
            if own[i] >= _MOST:
                words = value_words(name, shown[i], shown)
                found.append((float(own[i] - rest[i]), words, i))
        for a, b in combinations(more, 2):
            is_pair = own[a] + own[b] >= _BOTH and min(own[a], own[b]) >= _LEAST_OF_PAIR
            if is_pair and len(values.values) > 2:
                first, second = (a, b) if own[a] >= own[b] else (b, a)
                words = values_words(name, shown[first], shown[second])
                found.append((float(own[a] + own[b] - rest[a] - rest[b]), words, first))
        if found:
            effect, words, i = max(found, key=lambda one: one[0])
            yield Phrase(name, words, effect, self.features[Feature(name, i)], 2)

    def _missing_phrase(self, name: str, j: int, others: Sequence[int]) -> Iterator[Phrase]:
        if name in self.categories:
            missing = self.categories[name].missing
        else:
            missing = self.found.size - self.found.moments.weight[:, self.places[name]]
        size = self.found.size
        rest = float(size[list(others)].sum())
        own = _share(float(missing[j]), float(size[j]))
        elsewhere = _share(float(missing[list(others)].sum()), rest)
        if own is not None and elsewhere is not None and own >= _MOST:
            place = self.features[Feature(name, is_missing=True)]
            yield Phrase(name, unknown_words(name), own - elsewhere, place, 2)


def _problem(values: Values, rows: int) -> str | None:
    """Why a category says nothing of segments; None where it does."""
    if values.too_many:
        return f"more than {MOST_VALUES:,} values"
    if len(values.values) > max(_SHOWN_VALUES, _OWN_VALUES * rows):
        return "nearly every row has a value of its own"
    return None


def _most_frequent(values: Values, codes: Any) -> tuple[Values, Any]:
    """The values and the codes of a sample in the order of their weights, largest first."""
    weights = values.weights.sum(axis=1)
    order = sorted(range(len(values.values)), key=lambda i: (-weights[i], values.values[i]))
    place = np.empty(len(order) + 1, dtype=np.int64)
    place[order] = range(len(order))
    place[-1] = -1
    ordered = Values(tuple(values.values[i] for i in order), values.weights[order], values.missing)
    return ordered, place[codes]


def _shares(values: Values, segments: Sequence[int]) -> Array | None:
    """Of every value, its share in some segments together; None where none is known."""
    weights = values.weights[:, list(segments)].sum(axis=1)
    total = weights.sum()
    return None if total <= 0 else np.asarray(weights / total)


def _having(values: Array, weights: Array) -> float:
    """Share of the known values, by weight, that are more than 0."""
    known = ~np.isnan(values)
    total = float(weights[known].sum())
    return float(weights[known & (values > 0)].sum()) / total if total > 0 else 0.0


def _share(part: float, whole: float) -> float | None:
    """Within [0, 1], which rounding may miss; None of nothing."""
    return min(1.0, max(0.0, part / whole)) if whole > 0 else None


def _missing(known: float, size: float) -> float | None:
    """The share that is not known; what is rounding is 0."""
    found = _share(size - known, size)
    return 0.0 if found is not None and found < 1e-12 else found
