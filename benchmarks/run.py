"""Benchmarks beside the peers: `python -m benchmarks.run [names] [options]`.

fits        whole fits of every set, every system in a process of its own
passes      one pass or iteration of every system
seeds       ten seeds on every set: the spread of what they reach
search      k = 2 to 12 at once, against a fit of the largest k
growth      one pass against components (growth-k), columns (growth-d) and partitions
            (growth-partitions); against rows, the fits of small, sep1 and big say it
gaps        one pass over rows with gaps
remote      one pass over files that are far away
impute      cells removed from a known mixture, and filled again
churn       segments of the sample customers by numbers and by all columns
outcomes    rates by segment of known mixtures, fitted 2,000 times each
scoring     Parquet to Parquet
memory      the fit of 10M rows alone

What is done is written at once, one file a benchmark and set; at the end the tables and charts
are made of it, as by `python -m benchmarks.report`.
"""

from __future__ import annotations

import argparse
import functools
import shlex
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import figures, report
from benchmarks.churn import separations
from benchmarks.data import (
    MIXTURES,
    REAL_SETS,
    SETS,
    AbsentError,
    Mixture,
    Table,
    Tables,
    read_rows,
)
from benchmarks.evaluation import (
    DegenerateError,
    column_deviations,
    expected,
    mean_log_likelihood,
    narrowest,
    recorded_log_likelihood,
)
from benchmarks.outcomes import simulations
from benchmarks.processes import ROOT, Outcome, Processes, note
from benchmarks.records import RESULTS, Record, machine
from benchmarks.systems import PEERS, as_narrow

REFERENCE_DATA = ROOT.parent / "shared" / "data"

FITTED = (
    "gmm_spark",
    "gmm_spark-dataframe",
    "gmm_spark-plain",
    "pyspark.ml",
    "scikit-learn",
    "onedal",
)
STEPPED = ("gmm_spark", "gmm_spark-dataframe", "pyspark.ml", "scikit-learn", "onedal")
IMPUTING = ("gmm_spark", "column-means", "iterative", "neighbours")
REMOVED = (0.1, 0.3, 0.5)
# The best of five starts is one run of scikit-learn's and 20 trials are one of oneDAL's.
ONE_RUN = ("scikit-learn", "onedal")
TEN_SEEDS = list(range(1, 11))
SEARCHED_TO = 12
GROWTH_K = (8, 16, 32, 64, 128, 256)
GROWTH_D = (16, 32, 64, 128, 256)
GROWTH_PARTITIONS = (8, 80, 400, 2000)
ROUNDS = 3


@dataclass(frozen=True)
class Bench:
    """What every benchmark needs: where tables come from, who runs, where results go."""

    tables: Tables
    processes: Processes
    out: Path
    sets: tuple[str, ...] | None
    systems: tuple[str, ...] | None
    seeds: int
    command: str

    def tables_of(self, default: tuple[str, ...]) -> Iterator[Table]:
        """Those sets, or the ones asked for, that are on this machine."""
        for name in self.sets or default:
            try:
                yield self.tables.named(name)
            except AbsentError as error:
                note(f"{name} is skipped: {error}")

    def systems_of(self, default: tuple[str, ...]) -> tuple[str, ...]:
        """Those systems that are asked for."""
        return tuple(s for s in default if self.systems is None or s in self.systems)

    def record(self, name: str, table: Table | None = None) -> Record:
        """A new result under that name."""
        content: dict[str, Any] = {
            "benchmark": name,
            "command": f"python -m benchmarks.run {self.command}",
            "machine": machine(self.processes.cores),
        }
        if table is not None:
            name = f"{name}-{table.name}"
            content["set"] = described(table)
        return Record(self.out / f"{name}.json", content)


def fits(bench: Bench) -> None:
    """Whole fits, from Parquet to model."""
    for table in bench.tables_of(SETS):
        record = bench.record("fits", table)
        systems = record.content["systems"] = {}
        seeds = list(range(1, bench.seeds + 1))
        for system in bench.systems_of(FITTED):
            own = [1] if system in ONE_RUN else seeds
            systems[system] = fitted(bench, system, table, own)
            record.save()
        for peer in PEERS:
            best = figures.best(systems.get(peer))
            if best is None or not figures.collapsed(best, systems):
                continue
            system = as_narrow(peer)
            systems[system] = fitted(bench, system, table, seeds, narrow=best["narrowest"])
            record.save()


def seeds(bench: Bench) -> None:
    """Ten seeds on every set."""
    for table in bench.tables_of(SETS):
        record = bench.record("seeds", table)
        record.content.update(fitted(bench, "gmm_spark", table, TEN_SEEDS, keep_history=False))
        record.save()


def search(bench: Bench) -> None:
    """All k from 2 to the largest in one search, against one fit of the largest."""
    for table in bench.tables_of(("sep1",)):
        table = replace(table, k=SEARCHED_TO)
        record = bench.record("search", table)
        systems = record.content["systems"] = {}
        for system in bench.systems_of(("gmm_spark", "gmm_spark-search")):
            systems[system] = fitted(bench, system, table, list(range(1, bench.seeds + 1)))
            record.save()


def memory(bench: Bench) -> None:
    """The largest table with a small heap."""
    for table in bench.tables_of(("big",)):
        record = bench.record("memory", table)
        record.content["systems"] = {"gmm_spark": fitted(bench, "gmm_spark", table, [1])}
        record.save()


def passes(bench: Bench) -> None:
    """One pass or iteration; systems take turns, so that a slow spell hits all alike."""
    for table in bench.tables_of(("sep1",)):
        record = bench.record("passes", table)
        systems: dict[str, Any] = {}
        record.content["systems"] = systems
        for number in range(ROUNDS):
            for system in bench.systems_of(STEPPED):
                entry = systems.setdefault(system, {"seconds": []})
                if "failed" in entry:
                    continue
                outcome = bench.processes.run("step", system, table, repeats=1)
                _keep_steps(entry, outcome)
                note(f"passes, {table.name}, round {number + 1}, {system}: {_told(entry)}")
                record.save()


def gaps(bench: Bench) -> None:
    """One pass over rows with gaps, against one over the same rows without."""
    whole = bench.tables.of_mixture(MIXTURES["sep1"])
    gappy = bench.tables.of_mixture(MIXTURES["gaps"])
    _take_turns(bench, "gaps", [("gmm_spark", whole), ("gmm_spark-gaps", gappy)])


def remote(bench: Bench) -> None:
    """One pass over files that are far away, read again every time or kept by the executors."""
    table = bench.tables.of_mixture(MIXTURES["sep1"])
    systems = ("gmm_spark", "gmm_spark-far", "gmm_spark-far-cached")
    _take_turns(bench, "remote", [(system, table) for system in systems])


def _take_turns(bench: Bench, name: str, pairs: list[tuple[str, Table]]) -> None:
    record = bench.record(name, pairs[0][1])
    systems = record.content["systems"] = {}
    for number in range(ROUNDS):
        for system, table in pairs:
            entry = systems.setdefault(system, {"seconds": []})
            _keep_steps(entry, bench.processes.run("step", system, table, repeats=1))
            note(f"{name}, round {number + 1}, {system}: {_told(entry)}")
            record.save()


def impute(bench: Bench) -> None:
    """Cells removed at random from a known mixture, and filled again."""
    mixture = MIXTURES["impute"]
    whole = bench.tables.of_mixture(mixture)
    values = read_rows(whole.path, whole.columns)
    record = bench.record("impute")
    record.content["set"] = described(whole)
    shares = record.content["shares"] = []
    for removed in REMOVED:
        gappy = replace(mixture, name=f"impute-{100 * removed:.0f}", gaps=removed)
        table = bench.tables.of_mixture(gappy)
        rows = read_rows(table.path, table.columns)
        gaps = np.isnan(rows)
        truth, deviations = values[gaps], values.std(axis=0)[np.nonzero(gaps)[1]]
        least = _error(expected(rows, **mixture.truth())[gaps], truth, deviations)
        systems: dict[str, Any] = {}
        shares.append({"removed": removed, "least": least, "systems": systems})
        for system in bench.systems_of(IMPUTING):
            outcome = bench.processes.run("impute", system, table)
            entry: dict[str, Any] = {}
            systems[system] = entry
            for found in outcome.results:
                entry["seconds"] = found["seconds"]
                entry["error"] = _error(np.array(found["put in"]), truth, deviations)
                if "low" in found:
                    inside = (np.array(found["low"]) < truth) & (truth < np.array(found["high"]))
                    entry["covered"] = float(inside.mean())
            if outcome.failed:
                entry["failed"] = outcome.failed
            told = f"error {entry['error']:.4f}" if "error" in entry else ""
            note(f"{table.name}, {system}: {told} {outcome.failed or ''}")
            record.save()


def _error(put_in: Any, truth: Any, deviations: Any) -> float:
    """Root mean square, with columns at unit deviation."""
    return float(np.sqrt(np.mean(((put_in - truth) / deviations) ** 2)))


def churn(bench: Bench) -> None:
    """Segments of the sample customers, by numbers alone and by all columns."""
    record = bench.record("churn")
    record.content["fits"] = []
    for found in separations(bench.processes.cores):
        record.content["fits"].append(found)
        record.save()
        note(f"churn, k = {found['k']}, {found['columns']}: AUC {found['auc']:.3f}")


def outcomes(bench: Bench) -> None:
    """Rates by segment where these overlap: bias and coverage."""
    record = bench.record("outcomes")
    record.content["simulations"] = []
    for found in simulations(processes=bench.processes.cores):
        record.content["simulations"].append(found)
        record.save()
        covered = found["estimates"]["three-step ML, soft"]["coverage"]
        note(f"outcomes, {found['case']}, {found['rows']} rows: covered {min(covered):.3f} or more")


def growth_k(bench: Bench) -> None:
    """One pass of 1M x 16 against the number of components."""
    table = bench.tables.of_mixture(MIXTURES["sep1"])
    points = [("gmm_spark", "k", k, replace(table, k=k), None) for k in GROWTH_K]
    _grow(bench, "growth-k", points)


def growth_d(bench: Bench) -> None:
    """One pass of 100k rows, k = 8, against the number of columns."""
    made = ((d, Mixture(f"columns-{d}", 100_000, d, 8)) for d in GROWTH_D)
    points = (("gmm_spark", "d", d, bench.tables.of_mixture(m), None) for d, m in made)
    _grow(bench, "growth-d", points)


def growth_partitions(bench: Bench) -> None:
    """One pass of 1M x 16 against the number of files, and of a DataFrame's partitions."""

    def points() -> Iterator[Point]:
        for number in GROWTH_PARTITIONS:
            table = bench.tables.of_mixture(MIXTURES["sep1"], files=number)
            yield "gmm_spark", "partitions", number, table, None
            yield "gmm_spark-dataframe", "partitions", number, table, number

    _grow(bench, "growth-partitions", points())


Point = tuple[str, str, int, Table, int | None]


def _grow(bench: Bench, name: str, points: Any) -> None:
    record = bench.record(name)
    found = record.content["points"] = []
    for system, axis, value, table, partitions in points:
        if system not in bench.systems_of((system,)):
            continue
        entry: dict[str, Any] = {"system": system, axis: value, **described(table), "seconds": []}
        outcome = bench.processes.run("step", system, table, repeats=2, partitions=partitions)
        _keep_steps(entry, outcome)
        note(f"{name}, {axis} = {value}, {system}: {_told(entry)}")
        found.append(entry)
        record.save()


def scoring(bench: Bench) -> None:
    """Parquet to Parquet, ours and pyspark.ml's in turn in one session."""
    for table in bench.tables_of(("sep1",)):
        record = bench.record("scoring", table)
        outcome = bench.processes.run("scoring", "gmm_spark", table, repeats=2 * ROUNDS)
        record.content.update(outcome.results[0] if outcome.results else {})
        if outcome.failed:
            record.content["failed"] = outcome.failed
        note(f"scoring, {table.name}: {outcome.failed or _medians(record.content['seconds'])}")
        record.save()


def fitted(
    bench: Bench,
    system: str,
    table: Table,
    seeds: list[int],
    *,
    keep_history: bool = True,
    narrow: float | None = None,
) -> dict[str, Any]:
    """Fits of one system, judged by the common evaluator."""
    outcome = bench.processes.run("fits", system, table, seeds=seeds, narrow=narrow)
    judged = [_judged(fit, table) for fit in outcome.results]
    if not keep_history:
        judged = [{key: fit[key] for key in fit if key != "history"} for fit in judged]
    entry: dict[str, Any] = {"fits": judged, "peak_mib": outcome.peak_mib}
    if outcome.failed:
        entry["failed"] = outcome.failed
    told = [f"{fit['seconds']:.2f} s to {fit['mean_log_likelihood']}" for fit in judged]
    note(f"{table.name}, k = {table.k}, {system}: {'; '.join(told)} {outcome.failed or ''}")
    return entry


def _judged(fit: dict[str, Any], table: Table) -> dict[str, Any]:
    parameters = {name: np.array(value) for name, value in fit.pop("parameters").items()}
    try:
        reached: float | None = mean_log_likelihood(table.path, table.columns, **parameters)
        narrow: float | None = narrowest(parameters["covariances"], _deviations(table))
    except DegenerateError as error:
        reached = narrow = None
        fit["degenerate"] = str(error)
    judged = {**fit, "mean_log_likelihood": reached, "narrowest": narrow}
    real = REAL_SETS.get(table.name)
    if real is not None and real.recorded is not None and reached is not None:
        cells = real.recorded(read_rows(table.path, table.columns))
        judged["recorded"] = recorded_log_likelihood(*cells, **parameters)
    return judged


@functools.cache
def _deviations(table: Table) -> Any:
    return column_deviations(table.path, table.columns)


def _keep_steps(entry: dict[str, Any], outcome: Outcome) -> None:
    for result in outcome.results:
        entry["seconds"] += result["seconds"]
    entry["peak_mib"] = outcome.peak_mib
    if outcome.failed:
        entry["failed"] = outcome.failed


def _told(entry: dict[str, Any]) -> str:
    if "failed" in entry:
        return str(entry["failed"])
    return f"{statistics.median(entry['seconds']):.3f} s"


def _medians(seconds: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {statistics.median(s):.2f} s" for name, s in seconds.items())


def described(table: Table) -> dict[str, Any]:
    """The table without its place on this machine."""
    return {"name": table.name, "rows": table.rows, "d": len(table.columns), "k": table.k}


BENCHMARKS: dict[str, tuple[Callable[[Bench], None], ...]] = {
    "passes": (passes,),
    "fits": (fits,),
    "seeds": (seeds,),
    "search": (search,),
    "growth": (growth_k, growth_d, growth_partitions),
    "growth-k": (growth_k,),
    "growth-d": (growth_d,),
    "growth-partitions": (growth_partitions,),
    "gaps": (gaps,),
    "remote": (remote,),
    "impute": (impute,),
    "churn": (churn,),
    "outcomes": (outcomes,),
    "scoring": (scoring,),
    "memory": (memory,),
}
ALL = tuple(name for name in BENCHMARKS if name != "memory" and not name.startswith("growth-"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # Not choices: argparse would check the default, a list, as if it were one of them.
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--sets", nargs="+", choices=SETS, help="instead of a benchmark's own")
    parser.add_argument("--systems", nargs="+", help="only these of a benchmark's own")
    parser.add_argument("--seeds", type=int, default=5, help="fits of gmm_spark and pyspark.ml")
    parser.add_argument("--rows-factor", type=float, default=1.0, help="0.02: all, but small")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds a process at most")
    parser.add_argument("--cores", type=int, default=2)
    temporary = Path(tempfile.gettempdir()) / "gmm_spark_benchmarks"
    places = {"data": temporary, "real": REFERENCE_DATA, "out": None}
    parser.add_argument("--data", type=Path, default=places["data"], help="folder for tables")
    parser.add_argument("--real", type=Path, default=places["real"], help="the reference data")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for results, results/ by default; with a --rows-factor, below --data",
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    small = arguments.rows_factor != 1
    tables = Tables(arguments.data, arguments.real, arguments.rows_factor)
    warm = Tables(arguments.data, arguments.real).of_mixture(Mixture("warm", 100_000, 16, 8))
    bench = Bench(
        tables=tables,
        processes=Processes(arguments.cores, arguments.timeout, warm),
        out=arguments.out or (arguments.data / "results" if small else RESULTS),
        sets=tuple(arguments.sets) if arguments.sets else None,
        systems=tuple(arguments.systems) if arguments.systems else None,
        seeds=arguments.seeds,
        command=_command(parser, arguments, tuple(places)),
    )
    for name in arguments.names or ALL:
        for benchmark in BENCHMARKS[name]:
            benchmark(bench)
    page = RESULTS.parent if bench.out == RESULTS else bench.out
    report.write(bench.out, page)
    note(f"results are in {bench.out}, the page of them in {page}")


def _command(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, places: tuple[str, ...]
) -> str:
    """The arguments again, without this machine's folders."""
    words = list(arguments.names)
    for name, value in vars(arguments).items():
        if name == "names" or name in places or value == parser.get_default(name):
            continue
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)


if __name__ == "__main__":
    main()
