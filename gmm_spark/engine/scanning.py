"""The first scan: what the columns hold, whether they can be used, and a sample of the rows."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gmm_spark.engine.blocks import Block, Roles
from gmm_spark.engine.columns import MOST_LABEL, NO_WEIGHT, bad_membership
from gmm_spark.engine.hashing import occurrence_hashes, row_hashes
from gmm_spark.engine.jobs import Source, run_job
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.parameters import Array
from gmm_spark.mixture.usable import MOST_COUNT, Unusable, extremes, refusal, together, unusable

Missing = Literal["error", "skip", "marginalize"]
MISSING: tuple[Missing, ...] = get_args(Missing)
WeightKind = Literal["frequency", "importance"]
WEIGHT_KINDS: tuple[WeightKind, ...] = get_args(WeightKind)

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


@dataclass(frozen=True)
class _ScanWork:
    """The scan of one task; its payload is a pickled dictionary for our own driver."""

    roles: Roles
    missing: Missing
    seed: int
    threshold: int

    def __call__(self, blocks: Iterator[Block]) -> bytes:
        columns = len(self.roles.names)
        inputs = len(self.roles.inputs)
        nulls = np.zeros(columns, dtype=np.int64)
        nans = np.zeros(columns, dtype=np.int64)
        checked = columns - (self.roles.membership is not None)
        found: list[Unusable] = []
        lowest, highest = np.full(inputs, np.inf), np.full(inputs, -np.inf)
        counts = slice(inputs - len(self.roles.counts), inputs)
        rows = skipped = weightless = negative = 0
        first_negative: float | None = None
        weight, fingerprint, norm, fractional_weights = 0.0, 0, 0.0, False
        labels: set[float] = set()
        bad_label: float | None = None
        members = np.zeros(MOST_LABEL + 1, dtype=np.int64)
        not_members = 0
        bad_member: float | None = None
        kept: list[tuple[Any, Array]] = []
        for block in blocks:
            fingerprint = (fingerprint + block.fingerprint) % 2**64
            weightless += block.weightless
            if block.values.shape[1] == 0:
                continue
            nulls += block.nulls
            gaps = np.isnan(block.values)
            nans += gaps.sum(axis=1) - block.nulls
            low, high = extremes(block.values[:checked])
            found.append(unusable(block.values[:checked], low, high, counts))
            values = block.values
            if self.missing != "marginalize" and gaps[:inputs].any():
                complete = ~gaps[:inputs].any(axis=0)
                skipped += int((~complete).sum())
                values = values[:, complete]
            values = np.ascontiguousarray(values)
            rows += values.shape[1]
            if values.shape[1] == 0:
                continue
            if values.shape[1] < block.values.shape[1]:
                low, high = extremes(values[:inputs])
            lowest = np.fmin(lowest, low[:inputs])
            highest = np.fmax(highest, high[:inputs])
            if self.roles.weight is not None:
                below = values[inputs] < 0
                if below.any():
                    negative += int(below.sum())
                    first_negative = float(values[inputs][below][0])
                weight += float(values[inputs].sum())
                norm = float(np.hypot(norm, _norm(values[inputs])))
                with np.errstate(invalid="ignore"):  # infinities are refused below
                    fractional_weights |= bool((values[inputs] % 1 != 0).any())
            whole = replace(block, values=values)
            if whole.labels is not None and len(labels) < _MAX_LABELS:
                labels.update(np.unique(whole.labels).tolist())
                wrong = (whole.labels % 1 != 0) | (np.abs(whole.labels) >= MOST_COUNT)
                if wrong.any():
                    bad_label = float(whole.labels[wrong][0])
            if whole.memberships is not None:
                wrong = whole.memberships < 0
                if wrong.any():
                    not_members += int(wrong.sum())
                    bad_member = float(whole.memberships[wrong][0])
                known = whole.memberships[whole.memberships > 0].astype(np.int64)
                for component in range(int(known.max(initial=0)).bit_length()):
                    members[component] += int(((known >> component) & 1).sum())
            hashes = occurrence_hashes(row_hashes(values[:inputs], self.seed))
            chosen = hashes <= np.uint64(self.threshold)
            if chosen.any():
                kept.append((hashes[chosen], values[:, chosen]))
        return pickle.dumps(
            {
                "nulls": nulls,
                "nans": nans,
                "unusable": together(found),
                "lowest": lowest,
                "highest": highest,
                "rows": rows,
                "skipped": skipped,
                "weightless": weightless,
                "negative": negative,
                "first_negative": first_negative,
                "weight": weight if self.roles.weight is not None else float(rows),
                "norm": norm,
                "fractional": fractional_weights,
                "fingerprint": fingerprint,
                "labels": labels,
                "bad_label": bad_label,
                "members": members,
                "not_members": not_members,
                "bad_member": bad_member,
                "hashes": np.concatenate([h for h, _ in kept]) if kept else None,
                "sample": np.concatenate([v for _, v in kept], axis=1) if kept else None,
            }
        )


def _norm(values: Array) -> float:
    """The root of the sum of squares, which themselves might underflow."""
    largest = float(np.abs(values).max(initial=0.0))
    if not 0 < largest < np.inf:
        return largest
    return largest * float(np.sqrt(((values / largest) ** 2).sum()))


def scan(
    source: Source,
    *,
    missing: Missing,
    seed: int,
    sample_size: int,
    weight_kind: WeightKind = "frequency",
) -> Scan:
    """Look at every row once; again only where many rows are left out and the sample is short.

    The sample holds every row with the same probability, by a hash of its content and the seed:
    it does not depend on partitioning, file layout or the order of tasks (but for exact
    duplicates of a whole row, where more than `sample_size` rows are sampled from). Weights of
    the kind "importance" are scaled to sum to the number of rows.

    Raises InputDataError for what cannot be used: gaps (where `missing` is "error"),
    infinities, negative weights, a total weight of 0, no rows.
    """
    expected = max(1, source.rows_at_most)
    while True:
        wanted = sample_size + 6 * np.sqrt(sample_size) + 16
        share = min(1.0, wanted / expected)
        threshold = 2**64 - 1 if share == 1.0 else int(share * 2**64)
        work = _ScanWork(source.roles, missing, seed, threshold)
        parts = [pickle.loads(p) for p in run_job(source, work, "scan of the data")]
        rows = sum(part["rows"] for part in parts)
        _check(parts, source.roles, missing, rows)
        sampled = sum(len(part["hashes"]) for part in parts if part["hashes"] is not None)
        if share == 1.0 or sampled >= min(rows, sample_size):
            break
        expected = max(1, min(rows, int(expected * 0.9)))
    inputs = len(source.roles.inputs)
    sample = np.concatenate([p["sample"] for p in parts if p["sample"] is not None], axis=1)
    hashes = np.concatenate([p["hashes"] for p in parts if p["hashes"] is not None])
    if share == 1.0:
        # All rows are here: number duplicates over the whole, whatever task they came from.
        plain = row_hashes(sample[:inputs], seed)
        order = np.lexsort([*sample[::-1], plain])
        sample = sample[:, order]
        hashes = occurrence_hashes(plain[order])
    order = np.lexsort([*sample[::-1], hashes])[:sample_size]
    sample = np.ascontiguousarray(sample[:, order])
    chosen = Block(sample, np.zeros(0, dtype=np.int64), source.roles)
    members = np.sum([part["members"] for part in parts], axis=0)
    weight = sum(part["weight"] for part in parts)
    effective, scale, weights = float(rows), 1.0, chosen.weights
    if weights is not None:
        effective = float((weight / np.hypot.reduce([part["norm"] for part in parts])) ** 2)
        if weight_kind == "importance":
            scale, weight = rows / weight, float(rows)
            weights = scale * weights
    return Scan(
        num_rows=rows,
        num_skipped=sum(part["skipped"] for part in parts),
        gaps=tuple(int(n) for n in np.sum([p["nulls"] + p["nans"] for p in parts], axis=0)[:inputs])
        if missing == "marginalize"
        else (0,) * inputs,
        weight=weight,
        lowest=np.min([part["lowest"] for part in parts], axis=0),
        highest=np.max([part["highest"] for part in parts], axis=0),
        fingerprint=sum(part["fingerprint"] for part in parts) % 2**64,
        labels=tuple(sorted(set().union(*(part["labels"] for part in parts)))),
        sample=chosen.inputs,
        sample_weights=weights,
        sample_memberships=as_memberships(chosen.memberships),
        memberships=tuple(int(n) for n in np.trim_zeros(members, "b")),
        num_weightless=sum(part["weightless"] for part in parts),
        weight_scale=scale,
        fractional_weights=any(part["fractional"] for part in parts),
        effective_rows=effective,
    )


def _check(parts: list[dict[str, Any]], roles: Roles, missing: Missing, rows: int) -> None:
    total = rows + sum(part["skipped"] for part in parts)
    if total == 0:
        if sum(part["weightless"] for part in parts):
            raise InputDataError(NO_WEIGHT.format(name=roles.weight))
        raise InputDataError("there are no rows in the data")
    d = len(roles.inputs)
    wrong = refusal(together([part["unusable"] for part in parts]), roles.names, total)
    if wrong:
        raise InputDataError(wrong)
    for j, name in enumerate(roles.names):
        if name == roles.membership and j >= d:
            continue
        nulls = int(sum(part["nulls"][j] for part in parts))
        nans = int(sum(part["nans"][j] for part in parts))
        if missing == "marginalize" and j < d and nulls + nans == total:
            raise InputDataError(
                f"column {name!r}: all {total} rows have a gap there; leave the column out"
            )
        if (nulls or nans) and (missing == "error" or j >= d):
            found = " and ".join(
                f"{count} {what}" for count, what in ((nulls, "null"), (nans, "NaN")) if count
            )
            advice = (
                "set missing='marginalize' to fit what is known of those rows, or 'skip' to leave "
                "them out"
                if j < d
                else "every row needs a value there"
            )
            raise InputDataError(f"column {name!r}: {found} in {total} rows; {advice}")
    if rows == 0:
        raise InputDataError(f"all {total} rows have a gap in some column: nothing is left to fit")
    negative = sum(part["negative"] for part in parts)
    if negative:
        first = next(p["first_negative"] for p in parts if p["first_negative"] is not None)
        raise InputDataError(
            f"weight column {roles.weight!r}: {negative} of {total} rows are negative (one: "
            f"{first}); a weight is 0 or more"
        )
    if sum(part["weight"] for part in parts) <= 0:
        raise InputDataError(NO_WEIGHT.format(name=roles.weight))
    bad = [p["bad_label"] for p in parts if p["bad_label"] is not None]
    if bad:
        why = "is not a whole number; labels are integers"
        if abs(bad[0]) >= MOST_COUNT:
            why = (
                "is not under 2^53, from where on neighbours are one number; number them from 0 on"
            )
        raise InputDataError(f"label column {roles.label!r}: {bad[0]:.17g} {why}")
    not_members = sum(part["not_members"] for part in parts)
    if not_members:
        first = next(p["bad_member"] for p in parts if p["bad_member"] is not None)
        raise InputDataError(
            f"label column {roles.membership!r}: {not_members} of {total} rows hold what is no "
            f"component number (one: {bad_membership(first)}); labels are whole numbers from 0 to "
            f"{MOST_LABEL}, or null where a row's component is not known"
        )


def as_memberships(values: Array | None) -> NDArray[np.int64] | None:
    """Memberships as bits; -1 where a row may be of any component."""
    if values is None:
        return None
    return np.where(np.isnan(values), -1.0, values).astype(np.int64)


def as_labels(values: Array, known: tuple[float, ...]) -> NDArray[np.intp]:
    """Positions of labels among the known ones, sorted."""
    return np.searchsorted(np.asarray(known), values).astype(np.intp)
