"""What one look at every row finds: ranges, gaps, weights, labels, a sample, and what is wrong.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from gmm_spark.engine.blocks import Block, Roles
from gmm_spark.engine.columns import MOST_LABEL, NO_WEIGHT, bad_membership
from gmm_spark.engine.hashing import occurrence_hashes, row_hashes
from gmm_spark.errors import InputDataError, NoRowsError
from gmm_spark.mixture.families.count import MOST_COUNT
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.spec import Missing, WeightKind
from gmm_spark.mixture.usable import Unusable, extremes, refusal, together, unusable

# Labels of a given start beyond this many distinct values are not counted on.
_MAX_LABELS = 10_000


@dataclass(frozen=True)
class Scan:
    """What the first scan found; `num_rows` are those a fit uses, `num_skipped` those left out for
    their gaps. Rows of weight 0 are neither: they are counted, and nothing else is of them."""

    num_rows: int
    num_skipped: int
    gaps: tuple[int, ...]  # (d + q,) of the rows used: how many have none in that column
    weight: float  # sum of the weights, scaled as a fit takes them
    lowest: Array  # (d + q + c,)
    highest: Array  # (d + q + c,)
    fingerprint: int
    labels: tuple[float, ...]
    sample: Array  # (d + q, n), in the order of the rows' hashes
    sample_weights: Array | None  # scaled
    sample_memberships: NDArray[np.int64] | None  # bits; -1 is not known
    memberships: tuple[int, ...] = ()  # rows that may be of component 0, 1, ...
    num_weightless: int = 0
    weight_scale: float = 1.0  # what the table's weights are multiplied by
    fractional_weights: bool = False
    effective_rows: float = 0.0  # Kish's: the square of the weights' sum by the sum of squares
    sample_outcomes: Array | None = None  # (n,) NaN is not known


@dataclass(frozen=True)
class Looking:
    """How rows are looked at: what becomes of gaps, and which rows are sampled.

    A row is sampled where its hash, by its content and the seed, is at most `threshold`. Where a
    model knows the columns, one of them may be nothing but gaps.
    """

    roles: Roles
    missing: Missing
    seed: int
    threshold: int
    known_columns: bool = False


@dataclass
class PartialScan:
    """What has been found in some of the rows; `add` looks at more, `merged` is that of two parts.

    The rows of a part are looked at in their order, and parts are merged in theirs, so that what
    is found depends on no timing.
    """

    how: Looking
    nulls: NDArray[np.int64] = field(init=False)  # by column
    nans: NDArray[np.int64] = field(init=False)
    lowest: Array = field(init=False)  # of the inputs
    highest: Array = field(init=False)
    unusable: Unusable = field(default_factory=dict)
    rows: int = 0
    skipped: int = 0
    weightless: int = 0
    weight: float = 0.0
    norm: float = 0.0  # the root of the sum of squared weights
    fractional: bool = False
    negative: int = 0
    first_negative: float | None = None
    fingerprint: int = 0
    labels: set[float] = field(default_factory=set)
    bad_label: float | None = None
    members: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(MOST_LABEL + 1, dtype=np.int64)
    )
    not_members: int = 0
    bad_member: float | None = None
    lowest_outcome: float = np.inf
    highest_outcome: float = -np.inf
    sampled: list[tuple[NDArray[np.uint64], Array]] = field(default_factory=list)

    def __post_init__(self) -> None:
        columns, inputs = len(self.how.roles.names), len(self.how.roles.inputs)
        self.nulls, self.nans = np.zeros((2, columns), dtype=np.int64)
        self.lowest, self.highest = np.full(inputs, np.inf), np.full(inputs, -np.inf)

    def add(self, block: Block) -> None:
        """Look at the rows of a block."""
        self.fingerprint = (self.fingerprint + block.fingerprint) % 2**64
        self.weightless += block.weightless
        if block.values.shape[1] == 0:
            return
        whole, low, high = self._without_gaps(block)
        num_rows, inputs = whole.values.shape[1], len(self.how.roles.inputs)
        self.rows += num_rows
        if num_rows == 0:
            return
        if num_rows < block.values.shape[1]:
            low, high = extremes(whole.inputs)
        self.lowest = np.fmin(self.lowest, low[:inputs])
        self.highest = np.fmax(self.highest, high[:inputs])
        self._add_weights(whole.weights, num_rows)
        self._add_labels(whole.labels)
        self._add_memberships(whole.memberships)
        self._add_outcomes(whole.outcomes)
        hashes = occurrence_hashes(row_hashes(whole.inputs, self.how.seed))
        chosen = hashes <= np.uint64(self.how.threshold)
        if chosen.any():
            self.sampled.append((hashes[chosen], whole.values[:, chosen]))

    def _without_gaps(self, block: Block) -> tuple[Block, Array, Array]:
        """The rows of a block that are used, and the lowest and highest of all of them."""
        roles = self.how.roles
        inputs = len(roles.inputs)
        checked = len(roles.names) - (roles.membership is not None)
        gaps = np.isnan(block.values)
        self.nulls += block.nulls
        self.nans += gaps.sum(axis=1) - block.nulls
        low, high = extremes(block.values[:checked])
        wrong = unusable(block.values[:checked], low, high, roles.of_families)
        self.unusable = together([self.unusable, wrong])
        values = block.values
        if self.how.missing != "marginalize" and gaps[:inputs].any():
            complete = ~gaps[:inputs].any(axis=0)
            self.skipped += int((~complete).sum())
            values = values[:, complete]
        return replace(block, values=np.ascontiguousarray(values)), low, high

    def _add_weights(self, weights: Array | None, num_rows: int) -> None:
        if weights is None:
            self.weight += num_rows
            return
        below = weights < 0
        if below.any():
            self.negative += int(below.sum())
            self.first_negative = _first(self.first_negative, weights[below])
        self.weight += float(weights.sum())
        self.norm = float(np.hypot(self.norm, _norm(weights)))
        with np.errstate(invalid="ignore"):  # infinities are refused in the end
            self.fractional |= bool((weights % 1 != 0).any())

    def _add_labels(self, labels: Array | None) -> None:
        if labels is None or len(self.labels) >= _MAX_LABELS:
            return
        self.labels.update(np.unique(labels).tolist())
        wrong = (labels % 1 != 0) | (np.abs(labels) >= MOST_COUNT)
        if wrong.any():
            self.bad_label = _first(self.bad_label, labels[wrong])

    def _add_memberships(self, memberships: Array | None) -> None:
        if memberships is None:
            return
        wrong = memberships < 0
        if wrong.any():
            self.not_members += int(wrong.sum())
            self.bad_member = _first(self.bad_member, memberships[wrong])
        known = memberships[memberships > 0].astype(np.int64)
        for component in range(int(known.max(initial=0)).bit_length()):
            self.members[component] += int(((known >> component) & 1).sum())

    def _add_outcomes(self, outcomes: Array | None) -> None:
        if outcomes is not None:
            low, high = extremes(outcomes[None])
            self.lowest_outcome = float(np.fmin(self.lowest_outcome, low[0]))
            self.highest_outcome = float(np.fmax(self.highest_outcome, high[0]))

    def merged(self, other: PartialScan) -> PartialScan:
        """What was found in the rows of this part and then in those of another."""
        both = PartialScan(self.how)
        for name in ("nulls", "nans", "rows", "skipped", "weightless", "weight"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        for name in ("negative", "members", "not_members", "sampled"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        for name in ("first_negative", "bad_label", "bad_member"):
            mine = getattr(self, name)
            setattr(both, name, getattr(other, name) if mine is None else mine)
        both.unusable = together([self.unusable, other.unusable])
        both.lowest = np.minimum(self.lowest, other.lowest)
        both.highest = np.maximum(self.highest, other.highest)
        both.lowest_outcome = min(self.lowest_outcome, other.lowest_outcome)
        both.highest_outcome = max(self.highest_outcome, other.highest_outcome)
        both.norm = float(np.hypot(self.norm, other.norm))
        both.fractional = self.fractional or other.fractional
        both.fingerprint = (self.fingerprint + other.fingerprint) % 2**64
        both.labels = self.labels | other.labels
        return both

    @property
    def num_sampled(self) -> int:
        return sum(len(hashes) for hashes, _ in self.sampled)

    def refuse(self) -> None:
        """Raise InputDataError for the first thing that makes the rows unusable."""
        roles, rows = self.how.roles, self.rows
        total = rows + self.skipped
        if total == 0:
            if self.weightless:
                raise InputDataError(NO_WEIGHT.format(name=roles.weight))
            raise NoRowsError("there are no rows in the data")
        wrong = refusal(self.unusable, roles.names, total)
        if wrong:
            raise InputDataError(wrong)
        self._refuse_gaps(total)
        if rows == 0:
            raise InputDataError(
                f"all {total} rows have a gap in some column: nothing is left to fit"
            )
        if self.negative:
            raise InputDataError(
                f"weight column {roles.weight!r}: {self.negative} of {total} rows are negative "
                f"(one: {self.first_negative}); a weight is 0 or more"
            )
        if self.weight <= 0:
            raise InputDataError(NO_WEIGHT.format(name=roles.weight))
        self._refuse_labels(total)
        self._refuse_outcome()

    def _refuse_gaps(self, total: int) -> None:
        roles, missing = self.how.roles, self.how.missing
        d = len(roles.inputs)
        unseen = {category.name for category in roles.categories}
        for j, name in enumerate(roles.names):
            if (name == roles.membership and j >= d) or j == roles.place("outcome"):
                continue
            nulls, nans = int(self.nulls[j]), int(self.nans[j])
            nothing = nulls + nans == total and not self.how.known_columns
            if missing == "marginalize" and j < d and nothing:
                raise InputDataError(
                    f"column {name!r}: all {total} rows have a gap there; leave the column out"
                )
            if (nulls or nans) and (missing == "error" or j >= d):
                # Of categories, where the levels are those of a model that is given.
                other = "NaN" if name not in unseen else "unknown to the model"
                found = " and ".join(
                    f"{count} {what}" for count, what in ((nulls, "null"), (nans, other)) if count
                )
                advice = (
                    "set missing='marginalize' to fit what is known of those rows, or 'skip' to "
                    "leave them out"
                    if j < d
                    else "every row needs a value there"
                )
                raise InputDataError(f"column {name!r}: {found} in {total} rows; {advice}")

    def _refuse_labels(self, total: int) -> None:
        roles = self.how.roles
        if self.bad_label is not None:
            why = "is not a whole number; labels are integers"
            if abs(self.bad_label) >= MOST_COUNT:
                why = (
                    "is not under 2^53, from where on neighbours are one number; number them from "
                    "0 on"
                )
            raise InputDataError(f"label column {roles.label!r}: {self.bad_label:.17g} {why}")
        if self.bad_member is not None:
            raise InputDataError(
                f"label column {roles.membership!r}: {self.not_members} of {total} rows hold what "
                f"is no component number (one: {bad_membership(self.bad_member)}); labels are "
                f"whole numbers from 0 to {MOST_LABEL}, or null where a row's component is not "
                "known"
            )

    def _refuse_outcome(self) -> None:
        name = self.how.roles.outcome
        if name is None:
            return
        if self.lowest_outcome > self.highest_outcome:
            raise InputDataError(
                f"outcome {name!r}: none of {self.rows:,} rows has a value; there is nothing to "
                "judge segments by, leave it out"
            )
        if self.lowest_outcome == self.highest_outcome:
            raise InputDataError(
                f"outcome {name!r}: all rows with a value have {self.lowest_outcome:g}; segments "
                "differ only in an outcome that differs between rows"
            )

    def finished(self, sample_size: int, weight_kind: WeightKind) -> Scan:
        """The scan, given that these are all the rows there are."""
        roles, rows = self.how.roles, self.rows
        inputs = len(roles.inputs)
        chosen = Block(self._ordered_sample(sample_size), np.zeros(0, dtype=np.int64), roles)
        effective, scale, weight, weights = float(rows), 1.0, self.weight, chosen.weights
        if weights is not None:
            effective = float((weight / self.norm) ** 2)
            if weight_kind == "importance":
                scale, weight = rows / weight, float(rows)
                weights = scale * weights
        gaps = (0,) * inputs
        if self.how.missing == "marginalize":
            gaps = tuple(int(n) for n in (self.nulls + self.nans)[:inputs])
        return Scan(
            num_rows=rows,
            num_skipped=self.skipped,
            gaps=gaps,
            weight=weight,
            lowest=self.lowest,
            highest=self.highest,
            fingerprint=self.fingerprint,
            labels=tuple(sorted(self.labels)),
            sample=chosen.inputs,
            sample_weights=weights,
            sample_memberships=as_memberships(chosen.memberships),
            memberships=tuple(int(n) for n in np.trim_zeros(self.members, "b")),
            num_weightless=self.weightless,
            weight_scale=scale,
            fractional_weights=self.fractional,
            effective_rows=effective,
            sample_outcomes=chosen.outcomes,
        )

    def _ordered_sample(self, size: int) -> Array:
        """Of the sampled rows the `size` of the lowest hashes, in their order, (columns, size)."""
        sample = np.concatenate([values for _, values in self.sampled], axis=1)
        hashes = np.concatenate([hashes for hashes, _ in self.sampled])
        if self.how.threshold == EVERY_ROW:
            # All rows are here: number duplicates over the whole, whatever part they came from.
            plain = row_hashes(sample[: len(self.how.roles.inputs)], self.how.seed)
            order = np.lexsort([*sample[::-1], plain])
            sample = sample[:, order]
            hashes = occurrence_hashes(plain[order])
        order = np.lexsort([*sample[::-1], hashes])[:size]
        return np.ascontiguousarray(sample[:, order])


# The threshold that every hash is under.
EVERY_ROW = 2**64 - 1


def merged_parts(parts: Sequence[PartialScan]) -> PartialScan:
    """Parts put together in the order given; one at least."""
    return reduce(PartialScan.merged, parts)


def _first(found: float | None, values: Array) -> float:
    return float(values[0]) if found is None else found


def _norm(values: Array) -> float:
    """The root of the sum of squares, which themselves might underflow."""
    largest = float(np.abs(values).max(initial=0.0))
    if not 0 < largest < np.inf:
        return largest
    return largest * float(np.sqrt(((values / largest) ** 2).sum()))


def as_memberships(values: Array | None) -> NDArray[np.int64] | None:
    """Memberships as bits; -1 where a row may be of any component."""
    if values is None:
        return None
    return np.where(np.isnan(values), -1.0, values).astype(np.int64)


def as_labels(values: Array, known: tuple[float, ...]) -> NDArray[np.intp]:
    """Positions of labels among the known ones, sorted."""
    return np.searchsorted(np.asarray(known), values).astype(np.intp)
