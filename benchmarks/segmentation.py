"""What segments say of an outcome that no clustering has seen: our choice beside k-means and
scikit-learn's mixture, in mutual information (bits).

    python -m benchmarks.segmentation ../shared/data/segmentation [--seeds 5] [--tables telco,fma]

What was found is in results/segmentation.json; seconds are of CPU, of the choice alone.
Of every table `outcome` is left out of the columns. Without the outcome, segments are compared on
all rows; with it, those of every other row choose, and all three are compared on the rest.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.records import RESULTS, Record, machine
from gmm_spark.mixture.divisions import mutual_information, outcome_spread, probabilities
from gmm_spark.mixture.initialisation.candidates import Candidate, InProcess, Sample, run_em_all
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.segmentation import Choice, SampleFor, choose, sample_of
from gmm_spark.mixture.standardisation import describe_columns
from gmm_spark.mixture.structures import Structure, structure_named

SEGMENTS = {"telco": 4, "iran": 4, "rfm": 4, "fma": 2, "mlc": 4}
STRUCTURES = ("full", "diag", "tied", "spherical")
Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Table:
    """Columns (d, n) in a random order of the rows, and the outcome, 0 or 1."""

    values: Array
    outcome: Array

    @staticmethod
    def read(path: Path, seed: int) -> Table:
        frame = pd.read_parquet(path)
        order = np.random.default_rng(seed).permutation(len(frame))
        outcome = frame.pop("outcome").to_numpy(float)[order]
        return Table(np.ascontiguousarray(frame.to_numpy(float)[order].T), outcome)

    @property
    def sample_for(self) -> SampleFor:
        values = self.values
        lowest, highest = values.min(axis=1), values.max(axis=1)

        def sample_for(structure: Structure, floor: float | None) -> Sample:
            columns = describe_columns(values, lowest, highest, structure, floor)
            by = columns.standardisation
            return Sample(values, None, by, columns.floor / by.scale)

        return sample_for


def chosen(table: Table, ks: Sequence[int], seed: int, *, by_outcome: bool) -> Choice:
    """The segments chosen."""
    structures = [structure_named(name) for name in STRUCTURES]
    outcome = table.outcome if by_outcome else None
    return choose(table.sample_for, ks, structures, outcome=outcome, seed=seed)


def segments(choice: Choice, table: Table) -> Labels:
    """The segments of all rows, after EM on all of them."""
    proposal = choice.chosen.proposal
    sample = sample_of(table.sample_for, proposal)
    if not proposal.hard:
        start = [Candidate(proposal.parameters)]
        ended = run_em_all(InProcess(sample), sample.num_rows, start, steps=100, tol=1e-6)
        proposal = replace(proposal, parameters=ended[0].parameters)
    found: Labels = probabilities(proposal.parameters, proposal.clusters, sample).argmax(axis=0)
    return found


def peers(table: Table, k: int, seed: int) -> dict[str, Labels]:
    """The segments of k-means and of a mixture of scikit-learn, columns standardised."""
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture
    from sklearn.preprocessing import StandardScaler

    points = StandardScaler().fit_transform(table.values.T)
    return {
        "KMeans": KMeans(k, n_init=10, random_state=seed).fit_predict(points),
        "scikit-learn": GaussianMixture(k, n_init=5, random_state=seed).fit_predict(points),
    }


def compared(path: Path, k: int, seed: int) -> list[dict[str, object]]:
    """A row for every way of finding segments in one table, with one seed."""
    table = Table.read(path, seed)
    every, half = slice(None), slice(1, None, 2)
    found = {name: (labels, every, 0.0, "") for name, labels in peers(table, k, seed).items()}
    found |= {f"{name}, half": (of[0], half, 0.0, "") for name, of in found.items()}
    for name, by_outcome, rows in (("ours", False, every), ("ours, half", True, half)):
        began = time.process_time()
        choice = chosen(table, [k], seed, by_outcome=by_outcome)
        seconds = time.process_time() - began
        found[name] = segments(choice, table), rows, seconds, choice.chosen.proposal.name
    return [
        {
            "table": path.stem,
            "k": k,
            "seed": seed,
            "by": name,
            "information": mutual_information(labels[rows], table.outcome[rows]),
            "spread": outcome_spread(labels[rows], table.outcome[rows]),
            "seconds": seconds,
            "what": what,
        }
        for name, (labels, rows, seconds, what) in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", default=",".join(SEGMENTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    command = f"python -m benchmarks.segmentation ../shared/data/segmentation --seeds {args.seeds}"
    record = Record(
        args.out / "segmentation.json",
        {"benchmark": "segmentation", "command": command, "machine": machine(os.cpu_count() or 1)},
    )
    rows: list[dict[str, object]] = []
    for name in args.tables.split(","):
        for seed in range(args.seeds):
            rows += compared(args.folder / f"{name}.parquet", SEGMENTS[name], seed)
        frame = pd.DataFrame([row for row in rows if row["table"] == name])
        median = frame.groupby("by", sort=False)[["information", "spread", "seconds"]].median()
        print(f"{name}, {SEGMENTS[name]} segments, median of {args.seeds} seeds")
        print(median.round(3).to_string(header=True))
        print(frame.loc[frame["what"] != "", ["by", "what", "information"]].to_string(index=False))
        record.content["medians"] = _medians(rows)
        record.content["fits"] = rows
        record.save()


def _medians(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Of every table and way, over the seeds."""
    by = ["table", "k", "by"]
    frame = pd.DataFrame(rows).groupby(by, sort=False)[["information", "spread", "seconds"]]
    found: list[dict[str, object]] = frame.median().reset_index().to_dict("records")
    return found


if __name__ == "__main__":
    main()
