"""Which segment of a new model is which of an old one, by the rows that both have.

Of every pair of an old segment i and a new one j the rows are counted that are most probably in
both, C_ij, and summed up by their probabilities of both, J_ij = sum over rows of p(i | row)
q(j | row). The new segments take the ids of old ones so that as many rows as can be keep theirs:
the assignment of the largest sum of C_ij (Kuhn 1955, as scipy's linear_sum_assignment finds it),
and of those with as large a sum, such as of segments that are nobody's most probable one, that of
the largest sum of J_ij. By J alone fewer rows might keep their ids, for what they have is the id of
their most probable segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from gmm_spark.mixture.numerics import Array


@dataclass(frozen=True)
class Matching:
    """The ids of new segments, and what became of the old ones.

    old, ids : ids of the segments of the old model and of the new one, in the order of their
        numbers; no id is given twice, ever
    next_id : the lowest that was never given
    counts : (old, new) rows that are most probably in both
    new, gone : ids that the old model had not, and that the new one has not
    split : of an old id, the ids of several segments that are mostly of its rows
    merged : of a new id, the ids of several old segments whose rows are mostly in it
    changed : share of the rows that have another id now
    """

    old: tuple[int, ...]
    ids: tuple[int, ...]
    next_id: int
    counts: Array
    new: tuple[int, ...]
    gone: tuple[int, ...]
    split: dict[int, tuple[int, ...]]
    merged: dict[int, tuple[int, ...]]
    changed: float

    def sentences(self, names: Mapping[int, str] | None = None) -> list[str]:
        """What became of the segments, a sentence each; none where all are there as before.

        `names` of segments, by their ids, are said of what is new or gone.
        """

        def called(id: int) -> str:
            return f"segment {id} ({names[id]})" if names and id in names else f"segment {id}"

        said = [f"{called(id)} is new" for id in self.new]
        said += [f"{called(id)} is gone" for id in self.gone]
        said += [
            f"segment {id} was split into {_listed(parts)}" for id, parts in self.split.items()
        ]
        said += [f"segment {id} is {_listed(parts)} merged" for id, parts in self.merged.items()]
        return said

    def to_json(self) -> dict[str, Any]:
        """As plain values: `rows` is a list a segment of the old model."""
        return {
            "old": list(self.old),
            "new": list(self.ids),
            "rows": self.counts.tolist(),
            "changed_share": self.changed,
            "new_segments": list(self.new),
            "gone_segments": list(self.gone),
            "split": [{"segment": id, "into": list(parts)} for id, parts in self.split.items()],
            "merged": [{"segment": id, "of": list(parts)} for id, parts in self.merged.items()],
        }


def matched(
    counts: Array,
    old: Sequence[int],
    next_id: int,
    joint: Array | None = None,
    *,
    same_numbers: bool = False,
) -> Matching:
    """Give the new segments their ids.

    A new segment that is assigned an old one keeps its id, but where most of either's rows are
    elsewhere from the other's point of view too: a pair that is left over is not one segment.

    Parameters
    ----------
    counts : (old, new) rows that are most probably in both
    old : the ids of the old segments
    next_id : the lowest id that was never given
    joint : (old, new) sums of the rows' probabilities of both, which decide where counts do not
    same_numbers : the new segments are the old ones, number by number, wherever their rows are
    """
    counts = np.asarray(counts, dtype=float)
    rows_in_common = counts
    if joint is not None:
        # All that an assignment can have of it is less than a row.
        rows_in_common = counts + 0.5 * np.asarray(joint, dtype=float) / max(1.0, joint.sum())
    rows, columns = linear_sum_assignment(rows_in_common, maximize=True)
    best_new, best_old = rows_in_common.argmax(axis=1), rows_in_common.argmax(axis=0)
    without = np.add.outer(counts.sum(axis=1), counts.sum(axis=0)) == 0
    kept = {
        int(j): int(i)
        for i, j in zip(rows, columns, strict=True)
        if rows_in_common[i, j] > 0 and (best_new[i] == j or best_old[j] == i or without[i, j])
    }
    if same_numbers:
        kept = {number: number for number in range(counts.shape[1])}
    ids, unused = [], next_id
    for j in range(counts.shape[1]):
        if j in kept:
            ids.append(old[kept[j]])
        else:
            ids.append(unused)
            unused += 1
    whole = counts.sum()
    staying = sum(counts[i, j] for j, i in kept.items())
    of_old = counts > 0.5 * counts.sum(axis=1, keepdims=True)
    of_new = counts > 0.5 * counts.sum(axis=0, keepdims=True)
    split = {old[i]: np.flatnonzero(of_new[i]).tolist() for i in range(counts.shape[0])}
    merged = {ids[j]: np.flatnonzero(of_old[:, j]).tolist() for j in range(counts.shape[1])}
    return Matching(
        old=tuple(old),
        ids=tuple(ids),
        next_id=unused,
        counts=counts,
        new=tuple(id for id in ids if id not in old),
        gone=tuple(id for id in old if id not in ids),
        split={id: tuple(ids[j] for j in parts) for id, parts in split.items() if len(parts) > 1},
        merged={id: tuple(old[i] for i in parts) for id, parts in merged.items() if len(parts) > 1},
        changed=float(1.0 - staying / whole) if whole > 0 else 0.0,
    )


def _listed(ids: Sequence[int]) -> str:
    *first, last = map(str, ids)
    return f"{', '.join(first)} and {last}"
