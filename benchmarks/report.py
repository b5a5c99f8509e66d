"""Tables and charts of the results: `python -m benchmarks.report`.

Writes RESULTS.md and charts/ to the folder of the benchmarks, or to --out.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import charts, figures
from benchmarks.figures import Entry
from benchmarks.systems import PEERS, SYSTEMS

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    write(arguments.results, arguments.out)


def write(results: Path, out: Path) -> None:
    """RESULTS.md and charts/ in `out`, of the results in a folder."""
    found = figures.load(results)
    drawn = charts.draw_all(found, out / "charts")
    (out / "RESULTS.md").write_text(text(found, drawn))


def text(results: dict[str, Entry], drawn: dict[str, str]) -> str:
    """The whole page; `drawn` has the charts' titles by file name."""
    parts = [
        "# Results",
        "Written by `python -m benchmarks.report`; what is measured and how is in "
        "[README.md](README.md).",
        _origins(results),
        "## Acceptance",
        _acceptance(results),
        *[f"![{title}](charts/{name})" for name, title in drawn.items()],
        *_fits(results),
        *_time_to_reach(results),
        *_passes(results),
        *_seeds(results),
        *_search(results),
        *_growth(results),
        *_turns(results, "gaps", "One pass over rows with gaps"),
        *_turns(results, "remote", "One pass over files far away"),
        *_impute(results),
        *_churn(results),
        *_outcomes(results),
        *_scoring(results),
        *_memory(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table; what is None was not measured."""
    names = list(header)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        lines.append("| " + " | ".join("-" if cell is None else str(cell) for cell in row) + " |")
    return "\n".join(lines)


def time(value: float | None) -> str | None:
    """Seconds to three digits."""
    if value is None:
        return None
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def _origins(results: dict[str, Entry]) -> str:
    """Commands and machine, once for all results that share them."""
    shared: dict[tuple[str, tuple[tuple[str, Any], ...]], list[str]] = {}
    for name, result in results.items():
        if "machine" in result:
            key = (result["command"], tuple(result["machine"].items()))
            shared.setdefault(key, []).append(name)
    rows = [
        (f"`{command}`", ", ".join(f"{k} {v}" for k, v in machine), ", ".join(names))
        for (command, machine), names in shared.items()
    ]
    return table(("command", "machine", "results"), rows)


def _acceptance(results: dict[str, Entry]) -> str:
    small = any("--rows-factor" in result.get("command", "") for result in results.values())
    word = {True: "yes", False: "**no**", None: "-"}
    lines = figures.acceptance(results)
    return table(
        ("what", "asked", "found", "met"),
        ((line.name, line.asked, line.found, word[line.met]) for line in lines),
    ) + (
        f"\n\nLog-likelihoods are per row; a difference under {figures.EQUAL:g} is none. Times are "
        "medians, from Parquet to model."
        + (" **Some results are of smaller tables than are asked for.**" if small else "")
    )


def _fits(results: dict[str, Entry]) -> Iterable[str]:
    found = figures.sets_of(results, "fits")
    if not found:
        return
    yield "## Whole fits"
    yield (
        "The log-likelihood is the common evaluator's, a row, best and lowest of the seeds. "
        "*Narrowest* is the smallest standard deviation of a component along any direction, with "
        "columns at unit deviation: a system whose figure is far under gmm_spark's has put a "
        "component on a repeated value, where any density can be had. What compares there is *as "
        "recorded*, the lowest and the highest of the seeds: the log probability of the cells that "
        "values were rounded to, over their volume. Peak memory is of all processes of the system "
        "together."
    )
    for name, result in found.items():
        systems = result["systems"]
        rounded = any(figures.recorded(entry) for entry in systems.values())
        yield f"### {name}: {_shape(result['set'])}"
        yield table(
            (
                "system",
                "fits",
                "time",
                "least to most",
                "passes or iterations",
                "best",
                "lowest",
                "narrowest",
                *(("as recorded",) if rounded else ()),
                "peak memory",
            ),
            (_fit_row(system, entry, rounded) for system, entry in systems.items()),
        )


def _shape(found: Entry) -> str:
    return f"{found['rows']:,} x {found['d']}, k = {found['k']}"


def _fit_row(system: str, entry: Entry, rounded: bool) -> list[Any]:
    fits = entry["fits"]
    label = SYSTEMS[system].label + (f" ({entry['failed']})" if "failed" in entry else "")
    broken = [fit["degenerate"] for fit in fits if "degenerate" in fit]
    values = figures.reached(entry)
    times = [fit["seconds"] for fit in fits]
    key = "passes" if fits and "passes" in fits[0] else "iterations"
    narrow = [fit["narrowest"] for fit in fits if fit["narrowest"] is not None]
    peak, cells = figures.memory(entry), figures.recorded(entry)
    as_recorded = f"{cells[0]:.4f} to {cells[-1]:.4f}" if cells else None
    return [
        label + (f" ({len(broken)} without a density: {broken[0]})" if broken else ""),
        len(fits),
        time(figures.seconds(entry)),
        f"{time(min(times))} to {time(max(times))}" if len(times) > 1 else None,
        figures.most(entry, key),
        f"{values[-1]:.6f}" if values else None,
        f"{values[0]:.6f}" if values else None,
        f"{min(narrow):.1e}" if narrow else None,
        *((as_recorded,) if rounded else ()),
        f"{peak:,} MiB" if peak else None,
    ]


def _time_to_reach(results: dict[str, Entry]) -> Iterable[str]:
    rows = []
    for name, result in figures.sets_of(results, "fits").items():
        systems = result["systems"]
        for peer in PEERS:
            values = figures.reached(systems.get(peer))
            if not values:
                continue
            theirs = figures.seconds(systems[peer])
            own = figures.time_to(systems.get("gmm_spark"), values[-1])
            ratio = f"{theirs / own:.1f}" if own and theirs else None
            rows.append(
                (
                    name,
                    SYSTEMS[peer].label,
                    f"{values[-1]:.6f}",
                    time(theirs),
                    time(own) or "not reached by every seed",
                    ratio,
                )
            )
    if rows:
        yield "## Time to reach a peer's log-likelihood"
        yield table(("set", "peer", "its best", "its time", "gmm_spark", "times less"), rows)


def _passes(results: dict[str, Entry]) -> Iterable[str]:
    for name, result in figures.sets_of(results, "passes").items():
        own = figures.seconds(result["systems"].get("gmm_spark"))
        rows = []
        for system, entry in result["systems"].items():
            median, taken = figures.seconds(entry), entry["seconds"]
            label = SYSTEMS[system].label + (f" ({entry['failed']})" if "failed" in entry else "")
            between = f"{min(taken):.3f} to {max(taken):.3f} s" if taken else None
            ratio = f"{median / own:.2f}" if own and median else None
            rows.append((label, time(median), between, ratio))
        yield f"## One pass or iteration of {name}: {_shape(result['set'])}"
        yield table(("system", "median", "least to most", "gmm_spark = 1"), rows)


def _seeds(results: dict[str, Entry]) -> Iterable[str]:
    rows = []
    for name, entry in figures.sets_of(results, "seeds").items():
        values, apart = figures.reached(entry), figures.spread(entry)
        low, high = (f"{values[0]:.6f}", f"{values[-1]:.6f}") if values else (None, None)
        passes = [fit["passes"] for fit in entry["fits"]]
        counts = f"{min(passes)} to {max(passes)}" if passes else entry.get("failed")
        shown = f"{apart:.1e}" if apart is not None else None
        rows.append((name, _shape(entry["set"]), len(passes), low, high, shown, counts))
    if not rows:
        return
    yield "## Ten seeds"
    yield table(("set", "", "fits", "lowest", "highest", "spread", "passes"), rows)


def _search(results: dict[str, Entry]) -> Iterable[str]:
    for result in figures.sets_of(results, "search").values():
        yield f"## All k at once: {_shape(result['set'])}"
        yield table(
            ("fit", "median", "passes", ""),
            (
                (
                    SYSTEMS[system].label,
                    time(figures.seconds(entry)),
                    figures.most(entry, "passes"),
                    entry.get("failed", ""),
                )
                for system, entry in result["systems"].items()
            ),
        )


def _growth(results: dict[str, Entry]) -> Iterable[str]:
    for axis, title in (("k", "components"), ("d", "columns"), ("partitions", "partitions")):
        if f"growth-{axis}" not in results:
            continue
        rows = []
        for point in results[f"growth-{axis}"]["points"]:
            median, driver = figures.seconds(point), figures.driver_memory(point)
            rows.append(
                (
                    SYSTEMS[point["system"]].label,
                    f"{point[axis]:,}",
                    _shape(point),
                    time(median) or point.get("failed"),
                    f"{driver:,} MiB" if driver else None,
                    f"{point['peak_mib']['worker']:,} MiB"
                    if "worker" in point["peak_mib"]
                    else None,
                )
            )
        yield f"## One pass against {title}"
        yield table(("system", title, "table", "median", "driver", "a worker"), rows)


def _turns(results: dict[str, Entry], benchmark: str, title: str) -> Iterable[str]:
    for result in figures.sets_of(results, benchmark).values():
        yield f"## {title}: {_shape(result['set'])}"
        first = statistics.median(next(iter(result["systems"].values()))["seconds"] or [0.0])
        rows = []
        for system, entry in result["systems"].items():
            taken = entry["seconds"]
            median = statistics.median(taken) if taken else None
            rows.append(
                (
                    SYSTEMS[system].label,
                    entry.get("failed") or time(median),
                    f"{median / first:.2f}" if median and first else None,
                )
            )
        yield table(("passes", "median", "times the first"), rows)


def _impute(results: dict[str, Entry]) -> Iterable[str]:
    if "impute" not in results:
        return
    result = results["impute"]
    rows: list[tuple[Any, ...]] = []
    for share in result["shares"]:
        removed = f"{share['removed']:.0%}".replace("%", " %")
        for system, entry in share["systems"].items():
            covered = f"{100 * entry['covered']:.1f} %" if "covered" in entry else None
            error = f"{entry['error']:.4f}" if "error" in entry else entry["failed"]
            label = SYSTEMS[system].label
            rows.append((removed, label, error, time(entry.get("seconds")), covered))
        rows.append((removed, "the mixture itself, known", f"{share['least']:.4f}", None, None))
    yield f"## Filling gaps: {_shape(result['set'])}"
    yield (
        "Cells are removed at random from a known mixture. The error is the root mean square over "
        "the cells removed, with columns at unit deviation; what the mixture itself expects, its "
        "parameters known, has the least there is. Times are from Parquet to filled rows, the fit "
        "in them. Intervals are between the 5th and the 95th of 99 draws."
    )
    yield table(("removed", "filled by", "error", "time", "in intervals of 90 %"), rows)


def _churn(results: dict[str, Entry]) -> Iterable[str]:
    if "churn" not in results:
        return
    fits = results["churn"]["fits"]
    categories = max(found["categories"] for found in fits)
    yield "## Churn by segment, with and without categories"
    yield (
        f"The {fits[0]['rows']:,} sample customers, segmented by three numbers (eleven gaps), and "
        f"by these and {categories} categories; churn takes no part in the fit. AUC is that of the "
        "churn rate of a customer's segments, by probability; the information is that of the "
        "segment about churn, which itself has 0.835 bits."
    )
    yield table(
        ("segments", "fitted to", "lowest churn", "highest churn", "AUC", "information"),
        (
            (
                found["k"],
                found["columns"],
                f"{100 * found['lowest']:.1f} %",
                f"{100 * found['highest']:.1f} %",
                f"{found['auc']:.3f}",
                f"{found['information']:.3f} bits",
            )
            for found in fits
        ),
    )


def _outcomes(results: dict[str, Entry]) -> Iterable[str]:
    if "outcomes" not in results:
        return
    found = results["outcomes"]["simulations"]
    yield "## Rates by segment where segments overlap"
    yield (
        f"Normals of unit variance, fitted {found[0]['runs']:,} times each to rows drawn anew, "
        "with an outcome at the rate of the component: by component, what an estimate is off by on "
        "average, and the share of the runs in which its 95 % interval covers the rate. Off by "
        "less than a twentieth of the spread of the estimates is what that many runs show of none."
    )
    yield table(
        ("components", "structure", "rows", "estimate", "rates", "off by", "spread", "covered"),
        (
            (
                one["case"],
                one["structure"],
                f"{one['rows']:,}",
                how,
                _each(one["rates"], "g"),
                _each(told["bias"], "+.3f"),
                _each(told["deviation"], ".3f"),
                _each([100 * share for share in told["coverage"]], ".1f") + " %",
            )
            for one in found
            for how, told in one["estimates"].items()
        ),
    )


def _each(values: Iterable[float], form: str) -> str:
    return " / ".join(f"{value:{form}}" for value in values)


def _scoring(results: dict[str, Entry]) -> Iterable[str]:
    for result in figures.sets_of(results, "scoring").values():
        taken = {name: statistics.median(s) for name, s in result.get("seconds", {}).items()}
        theirs = taken.get("pyspark.ml")
        yield f"## Scoring, Parquet to Parquet: {_shape(result['set'])}"
        yield result.get("failed") or table(
            ("system", "median", "times faster than pyspark.ml"),
            ((name, time(s), f"{theirs / s:.2f}" if theirs else None) for name, s in taken.items()),
        )


def _memory(results: dict[str, Entry]) -> Iterable[str]:
    rows = []
    both = [("fits", r) for r in figures.sets_of(results, "fits").values()]
    both += [("memory", r) for r in figures.sets_of(results, "memory").values()]
    for benchmark, result in both:
        for system, entry in result["systems"].items():
            if not SYSTEMS[system].on_spark or "jvm" not in entry["peak_mib"]:
                continue
            peaks = entry["peak_mib"]
            worker = f"{peaks['worker']:,} MiB" if "worker" in peaks else None
            rows.append(
                (
                    f"{result['set']['name']} ({benchmark})",
                    SYSTEMS[system].label,
                    f"{peaks['jvm']:,} MiB",
                    f"{peaks['python']:,} MiB",
                    worker,
                )
            )
    if rows:
        yield "## Peak memory on Spark"
        yield (
            "The heap is at most 2 GiB for gmm_spark on a Parquet table, 6 GiB for a DataFrame "
            "and for pyspark.ml, whose rows are in the cache; a JVM takes what it may before it "
            "collects."
        )
        yield table(("set", "system", "JVM", "driver's Python", "a Python worker"), rows)


if __name__ == "__main__":
    main()
