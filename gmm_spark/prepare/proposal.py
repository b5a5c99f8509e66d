"""Which columns take part, and as what: proposed from the data, or said.

Every rule is of what stands in a column, none of what it is about: the same for customers,
sensors and songs. Columns are judged one by one, then against each other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import rankdata

from gmm_spark.mixture.numerics import Array
from gmm_spark.prepare.columns import RARE, Column, kept_values
from gmm_spark.prepare.settings import PreparationSettings

LEFT_OUT = "left out"
# One value in more rows than this is a constant, but for a few rows.
_CONSTANT = 0.995
# A column that is known in fewer rows says little of the others.
_KNOWN = 0.2
# Text with more different values than this share of the rows names them.
_NAMES_ROWS = 0.9
# Of fewer rows, values that all differ say nothing.
_LEAST_ROWS = 50
# Whole numbers that name rows lie this close, or are called an id.
_SPAN_OF_ROWS = 20
_CALLED_ID = re.compile(
    r"(?i:(^|[\W_])(id|uuid|guid|key|index|rownames?|rownum|rownumber)$)|[a-z]I[dD]$"
)
# Whole numbers of so many values are told apart as a category; with more, they are where their
# frequencies go up and down as those of codes do.
_FEW = 10
# A Poisson distribution suits a column whose variance over mean is within these, and of whose rows
# no more than a share would have to change their value for their frequencies to be the Poisson's.
_POISSON = (0.6, 1.5)
_POISSON_MEAN = 15.0
_OFF_POISSON = 0.1
# Correlation of columns that say the same, and share of the variance that others explain.
_SAME = 0.999
_DETERMINED = 0.99
# Ranks of all rows are compared where those of so many are nearly the same.
_RANKED_FIRST, _NEARLY_SAME = 2_000, 0.99
# Entropy of a category that another, of no more values than this, leaves open, of its own.
_OPEN = 0.01
_FEW_ENOUGH = 100


@dataclass(frozen=True)
class Role:
    """What a column takes part as: number, category, count, date, or left out, and why."""

    name: str
    role: str
    reason: str
    same: tuple[str, ...] = ()  # values that another column says already

    @property
    def takes_part(self) -> bool:
        return self.role != LEFT_OUT

    def out(self, reason: str) -> Role:
        """The same column, left out."""
        return Role(self.name, LEFT_OUT, reason)


def proposed(columns: Sequence[Column], settings: PreparationSettings) -> list[Role]:
    """The role of every column, in their order."""
    named, said = settings.named, settings.said
    roles = []
    for column in columns:
        setting = named.get(column.name)
        if setting is not None and column.name not in said:
            roles.append(Role(column.name, LEFT_OUT, _SAID[setting]))
        elif said:
            role = said.get(column.name)
            if role is None:
                roles.append(Role(column.name, LEFT_OUT, "not named"))
            else:
                roles.append(Role(column.name, role, f"said by {setting}"))
        else:
            roles.append(of_itself(column, settings.max_categories))
    return roles if said else _without_repetition(columns, roles)


_SAID = {
    "idCol": "names the row",
    "outcomeCols": "the outcome",
    "excludedCols": "excluded",
}


def of_itself(column: Column, most: int) -> Role:
    """The role of a column by its own values."""
    name = column.name
    if column.kind == "none":
        return Role(name, LEFT_OUT, f"of type {column.type}: no number, text or date")
    if column.num_known == 0 or column.known.size == 0:
        return Role(name, LEFT_OUT, "no value is known")
    if column.num_known < _KNOWN * column.num_rows:
        share = column.num_known / column.num_rows
        return Role(name, LEFT_OUT, f"known in {share:.1%} of the rows alone")
    if column.counts[0].size == 1:
        return Role(name, LEFT_OUT, f"constant: {column.label(column.commonest)}")
    if column.common_share > _CONSTANT:
        share, value = column.common_share, column.label(column.commonest)
        return Role(name, LEFT_OUT, f"nearly constant: {value} in {share:.1%} of the rows")
    if column.kind == "date":
        return Role(name, "date", "dates")
    return _of_text(column, most) if column.kind == "text" else _of_number(column, most)


def _of_text(column: Column, most: int) -> Role:
    rows, distinct = column.num_known, column.num_distinct
    if rows >= _LEAST_ROWS and distinct >= _NAMES_ROWS * rows:
        return Role(column.name, LEFT_OUT, "names the row: as many values as rows, nearly")
    kept, others = kept_values(column, most)
    values, counts = column.counts
    told = counts[np.isin(values, kept)].sum() / counts.sum()
    if others and told < 0.5:
        kinds = f"the {len(kept)} commonest of {distinct} are {told:.0%} of the rows"
        return Role(column.name, LEFT_OUT, f"too many values: {kinds if kept else distinct}")
    return Role(column.name, "category", f"text of {distinct} values")


def _of_number(column: Column, most: int) -> Role:
    name, (values, counts) = column.name, column.counts
    if (reason := column.out_of_reach) is not None:
        return Role(name, LEFT_OUT, reason)
    if values.size == 2:
        labels = " and ".join(map(column.label, values))
        return Role(name, "category", f"two values, {labels}")
    if not column.whole:
        if values.size <= _FEW:
            return Role(name, "category", f"{values.size} values")
        return Role(name, "number", "numbers")
    if _names_rows(column):
        return Role(name, LEFT_OUT, "names the row: whole numbers that all differ")
    if values.size <= most and _is_ragged(counts):
        return Role(name, "category", f"codes: {values.size} whole numbers in no order of size")
    if _poisson_suits(column):
        return Role(name, "count", "whole numbers from 0 on, as a Poisson distribution has them")
    if values.size <= _FEW:
        return Role(name, "category", f"{values.size} whole numbers")
    return Role(name, "number", "whole numbers")


def _names_rows(column: Column) -> bool:
    if column.num_known < _LEAST_ROWS or column.common_share * column.known.size > 1.5:
        return False
    if column.num_distinct < _NAMES_ROWS * column.num_known:
        return False
    span = float(np.ptp(column.counts[0])) + 1
    return span <= _SPAN_OF_ROWS * column.num_known or bool(_CALLED_ID.search(column.name))


def _poisson_suits(column: Column) -> bool:
    values, (distinct, counts) = column.known, column.counts
    mean = float(values.mean())
    if distinct.size <= 3 or distinct[0] < 0 or not 0 < mean <= _POISSON_MEAN:
        return False
    low, high = _POISSON
    if not low * mean <= values.var() <= high * mean:
        return False
    k = np.arange(int(distinct[-1]) + 1)
    expected = np.exp(k * np.log(mean) - mean - gammaln(k + 1))
    observed = np.bincount(distinct.astype(int), counts, minlength=k.size) / counts.sum()
    return bool(0.5 * np.abs(observed - expected).sum() <= _OFF_POISSON)


def _is_ragged(counts: NDArray[np.intp]) -> bool:
    """Whether frequencies rise again where they have fallen, beyond chance and more than once, or
    once by half: sizes and ages have one peak, or two, codes have many."""
    noise = 3 * np.sqrt(counts)
    rises, trough = 0, None
    peak = counts[0]
    for count, error in zip(counts[1:], noise[1:], strict=True):
        if trough is None:
            if count < peak - error - 3 * np.sqrt(peak):
                trough = count
            peak = max(peak, count)
        elif count > trough + error + 3 * np.sqrt(trough):
            rises, trough, peak = rises + 1, None, count
        else:
            trough = min(trough, count)
    return rises >= 2


def _without_repetition(columns: Sequence[Column], roles: list[Role]) -> list[Role]:
    """The roles without columns, and values, that say what others say already."""
    by_name = {column.name: column for column in columns}
    found = {role.name: role for role in roles}
    _same_numbers(by_name, found)
    _determined_numbers(by_name, found)
    _repeated_values(by_name, found)
    _determined_categories(by_name, found)
    return [found[role.name] for role in roles]


def _numbers(by_name: dict[str, Column], found: dict[str, Role]) -> list[Column]:
    kinds = ("number", "count", "date")
    return [by_name[role.name] for role in found.values() if role.role in kinds]


def _same_numbers(by_name: dict[str, Column], found: dict[str, Role]) -> None:
    """Leaves out numbers that correlate with an earlier one to more than 0.999, as they are or by
    their ranks, as logarithms do, where they are known in the same rows."""
    columns = _numbers(by_name, found)
    for place, later in enumerate(columns):
        for earlier in columns[:place]:
            if not found[earlier.name].takes_part:
                continue
            both = ~np.isnan(later.values) & ~np.isnan(earlier.values)
            if both.sum() < 3 or both.sum() < 0.95 * later.known.size:
                continue
            pair = earlier.values[both], later.values[both]
            r, what = _correlation(*pair), "correlation"
            if abs(r) <= _SAME and abs(_of_ranks(pair, _RANKED_FIRST)) > _NEARLY_SAME:
                r, what = _of_ranks(pair), "correlation of ranks"
            if abs(r) > _SAME:
                said = f"the same as {earlier.name}: {what} {r:.4f}"
                found[later.name] = found[later.name].out(said)
                break


def _of_ranks(pair: tuple[Array, Array], rows: int | None = None) -> float:
    """Spearman's correlation, of the first rows where not of all."""
    return _correlation(*(rankdata(values[:rows]) for values in pair))


def _correlation(one: Array, other: Array) -> float:
    deviations = one.std() * other.std()
    if not deviations > 0:
        return 0.0
    return float(((one - one.mean()) * (other - other.mean())).mean() / deviations)


def _determined_numbers(by_name: dict[str, Column], found: dict[str, Role]) -> None:
    """Leaves out numbers that are a sum, or a product, of others: of which the others explain more
    than 99 % of the variance, as they are or as logarithms."""
    while True:
        columns = [c for c in _numbers(by_name, found) if found[c.name].role == "number"]
        best = (_DETERMINED, -1, "")
        for logs in (True, False):
            usable = [
                c for c in columns if not logs or (c.counts[0][0] >= 0 and c.counts[0].size > 10)
            ]
            if len(usable) < 3:
                continue
            values = np.array([c.values for c in usable])
            values = values[:, ~np.isnan(values).any(axis=0)]
            if logs:
                values = values[:, (values > 0).all(axis=0)]
            if values.shape[1] < 10 * len(usable) or values.shape[1] < 0.5 * usable[0].values.size:
                continue
            explained = _explained(np.log(values) if logs else values)
            for place, share in enumerate(explained):
                how = "a product" if logs else "a sum"
                best = max(best, (round(float(share), 6), columns.index(usable[place]), how))
        share, place, how = best
        if place < 0:
            return
        name = columns[place].name
        said = f"{how} of other columns, which explain {share:.2%} of it"
        found[name] = found[name].out(said)


def _explained(values: Array) -> Array:
    """Share of the variance of every row of values (d, n) that the others explain linearly."""
    deviations = values.std(axis=1)
    usable = deviations > 0
    shares = np.zeros(len(values))
    z = (values[usable] - values[usable].mean(axis=1, keepdims=True)) / deviations[usable, None]
    correlation = z @ z.T / z.shape[1]
    inverse = np.linalg.pinv(correlation + 1e-9 * np.eye(len(z)))
    shares[usable] = 1 - 1 / np.maximum(np.diag(inverse), 1.0)
    return shares


def _repeated_values(by_name: dict[str, Column], found: dict[str, Role]) -> None:
    """Marks values of categories that are there in just the rows of a value of an earlier one, or
    of a category of two values: "no internet service", said in six columns, is one fact."""
    categories = [by_name[role.name] for role in found.values() if role.role == "category"]
    coded = {column.name: column.places for column in categories}
    for place, column in enumerate(categories):
        size = column.counts[0].size
        if size < 3:
            continue
        # Those of two values are what others repeat.
        others = sorted(categories, key=lambda one: one.counts[0].size > 2)
        for other in others:
            earlier = categories.index(other) < place
            if other is column or not (earlier or other.counts[0].size == 2):
                continue
            table = _table(coded[column.name], coded[other.name])
            known = np.array(
                [other.label(v) not in found[other.name].same for v in other.counts[0]]
            )
            same = tuple(
                column.label(column.counts[0][mine])
                for mine in np.flatnonzero((_same_rows(table) & known).any(axis=1))
            )
            if same and size - len(same) >= 2:
                role = found[column.name]
                said = f"{' and '.join(map(repr, same))} is {other.name}'s"
                found[column.name] = replace(role, same=same, reason=f"{role.reason}; {said}")
                break


def _table(one: NDArray[np.intp], other: NDArray[np.intp]) -> Array:
    """How often each value of one column meets each of another; the last of both is none known."""
    rows, columns = int(one.max(initial=0)) + 2, int(other.max(initial=0)) + 2
    one, other = np.where(one < 0, rows - 1, one), np.where(other < 0, columns - 1, other)
    found = np.bincount(one * columns + other, minlength=rows * columns)
    return found.reshape(rows, columns).astype(float)


def _same_rows(table: Array) -> NDArray[np.bool_]:
    """Of all pairs of values, whether they are in the same rows, but for one in a thousand."""
    either = table.sum(axis=1)[:, None] + table.sum(axis=0) - table
    same = (table >= RARE * table.sum()) & (table >= _SAME * either)
    return np.asarray(same[:-1, :-1])


def _determined_categories(by_name: dict[str, Column], found: dict[str, Role]) -> None:
    """Leaves out categories that another column of few values determines."""
    taking = [by_name[role.name] for role in found.values() if role.takes_part]
    few = [c for c in taking if c.counts[0].size <= min(_FEW_ENOUGH, c.known.size // 20)]
    coded = {column.name: _codes(column, found[column.name].same) for column in few}
    for one, other in permutations(reversed(few), 2):
        mine, theirs = found[one.name], found[other.name]
        if not mine.takes_part or not theirs.takes_part:
            continue
        if mine.role != "category" and theirs.role != "category":
            continue
        if _left_open(_table(coded[one.name], coded[other.name])) < _OPEN:
            found[one.name] = mine.out(f"determined by {other.name}")


def _codes(column: Column, same: Sequence[str]) -> NDArray[np.intp]:
    """The places of a column's values, -1 where another column says them."""
    gone = [place for place, v in enumerate(column.counts[0]) if column.label(v) in same]
    return np.where(np.isin(column.places, gone), -1, column.places)


def _left_open(table: Array) -> float:
    """The conditional entropy of a column given another, of its entropy, where both are known; 1
    where that is in too few rows."""
    known = table[:-1, :-1]
    entropy = _entropy(known.sum(axis=1))
    if known.sum() < 0.95 * table.sum() or entropy == 0:
        return 1.0
    return (_entropy(known.ravel()) - _entropy(known.sum(axis=0))) / entropy


def _entropy(counts: Array) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
