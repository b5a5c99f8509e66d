"""Charts of the results: each a function from results to a figure, or None without data."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks import figures
from benchmarks.figures import Entry
from benchmarks.systems import PEERS, SYSTEMS

# Okabe and Ito's colours, which the colour-blind tell apart; a marker each says it again.
STYLE = {
    "gmm_spark": ("#0072B2", "o"),
    "gmm_spark-dataframe": ("#56B4E9", "s"),
    "gmm_spark-plain": ("#6E6E6E", "v"),
    "pyspark.ml": ("#D55E00", "^"),
    "scikit-learn": ("#009E73", "D"),
    "onedal": ("#B0578D", "X"),
}
ROWS_SETS = ("small", "sep1", "big")
# Log-likelihoods closer to the best than this are drawn as this close.
CLOSEST = 1e-6

RC: dict[Any, Any] = {
    "figure.dpi": 120,
    "savefig.bbox": "tight",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "lines.linewidth": 2,
    "lines.markersize": 6,
}


def draw_all(results: dict[str, Entry], folder: Path) -> dict[str, str]:
    """Write every chart there are results for; its title by file name."""
    charts: dict[str, tuple[str, Callable[[dict[str, Entry]], Figure | None]]] = {
        "time-against-rows.png": ("Time of a whole fit against rows", time_against_rows),
        "log-likelihood-against-time.png": (
            "Log-likelihood against time, every set",
            log_likelihood_against_time,
        ),
        "growth.png": ("Growth of one pass", growth),
        "memory-against-rows.png": ("Peak memory against rows", memory_against_rows),
    }
    drawn = {}
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(RC):
        for name, (title, chart) in charts.items():
            figure = chart(results)
            if figure is None:
                continue
            figure.savefig(folder / name)
            plt.close(figure)
            drawn[name] = title
    return drawn


def time_against_rows(results: dict[str, Entry]) -> Figure | None:
    """Median time of whole fits of small, sep1 and big; where a system gave up, no point."""
    lines = _against_rows(results, figures.seconds)
    title = "Whole fit, from Parquet to model: seconds"
    return _rows_chart(lines, title, _unfinished(results))


def memory_against_rows(results: dict[str, Entry]) -> Figure | None:
    """Peak memory of all processes of a system together."""
    lines = _against_rows(results, figures.memory)
    gib = {s: [(x, mib / 1024) for x, mib in points] for s, points in lines.items()}
    title = "Peak memory of all processes of a system: GiB"
    return _rows_chart(gib, title, _unfinished(results))


def _against_rows(
    results: dict[str, Entry], value: Callable[[Entry], float | None]
) -> dict[str, list[tuple[float, float]]]:
    fits = figures.sets_of(results, "fits")
    lines: dict[str, list[tuple[float, float]]] = {}
    for name in ROWS_SETS:
        for system in ("gmm_spark", "gmm_spark-dataframe", *PEERS):
            entry = fits.get(name, {}).get("systems", {}).get(system)
            found = value(entry) if entry and entry["fits"] else None
            if found:
                lines.setdefault(system, []).append((fits[name]["set"]["rows"], found))
    return lines


def _unfinished(results: dict[str, Entry]) -> dict[str, str]:
    """The fewest rows at which a system ended without a single fit."""
    fits = figures.sets_of(results, "fits")
    found: dict[str, str] = {}
    for name in ROWS_SETS:
        for system, entry in fits.get(name, {}).get("systems", {}).items():
            if not entry["fits"]:
                found.setdefault(system, _plain_number(fits[name]["set"]["rows"]))
    return found


def _rows_chart(
    lines: dict[str, list[tuple[float, float]]], title: str, unfinished: dict[str, str]
) -> Figure | None:
    rows = sorted({x for points in lines.values() for x, _ in points})
    if len(rows) < 2:
        return None
    figure, axes = plt.subplots(figsize=(7.4, 4.6))
    for system, points in lines.items():
        colour, marker = STYLE[system]
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker)
    axes.set(xscale="log", yscale="log", xlabel="rows (16 columns, 8 components)")
    axes.set_title(title)
    _log_ticks(axes, "x", rows, _plain_number)
    _decades(axes, _plain_number)
    ends = []
    for system, points in lines.items():
        gave_up = f" (no fit of {unfinished[system]})" if system in unfinished else ""
        ends.append((SYSTEMS[system].label + gave_up, STYLE[system][0], *points[-1]))
    _label_ends(axes, ends)
    return figure


def _label_ends(axes: Axes, ends: list[tuple[str, str, float, float]]) -> None:
    """Each line's name at its end, moved apart where they would cover each other."""
    figure = axes.figure
    figure.canvas.draw()
    height = 14 * figure.dpi / 72  # of a line of text, in pixels
    placed: list[tuple[float, float]] = []
    for label, colour, x, y in sorted(ends, key=lambda end: end[3]):
        px, py = axes.transData.transform((x, y))
        near = [other for at, other in placed if abs(at - px) < 90]
        low = max([py, *(other + height for other in near)])
        placed.append((px, low))
        axes.annotate(
            label,
            (x, y),
            xytext=(9, (low - py) * 72 / figure.dpi),
            textcoords="offset points",
            va="center",
            color=colour,
            fontweight="bold" if label == "gmm_spark" else "normal",
            annotation_clip=False,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


def log_likelihood_against_time(results: dict[str, Entry]) -> Figure | None:
    """Pass by pass for gmm_spark, where they ended for the peers; a panel a set."""
    fits = {n: r for n, r in figures.sets_of(results, "fits").items() if n != "small"}
    if not fits:
        return None
    columns = min(3, len(fits))
    lines = -(-len(fits) // columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(3.7 * columns, 3.0 * lines + 0.9), squeeze=False
    )
    for axes in grid.flat[len(fits) :]:
        axes.set_visible(False)
    shown: set[str] = set()
    for axes, (name, result) in zip(grid.flat, fits.items(), strict=False):
        shown |= _reaching(axes, name, result)
    for line in grid:
        line[0].set_ylabel("nats a row below the best")
    for number, axes in enumerate(grid.flat[: len(fits)]):
        if number + columns >= len(fits):
            axes.set_xlabel("seconds from Parquet")
    handles = []
    for system in STYLE:
        if system in shown:
            colour, marker = STYLE[system]
            line = "-" if system == "gmm_spark" else "none"
            label = SYSTEMS[system].label + (", pass by pass" if system == "gmm_spark" else "")
            handles.append(Line2D([], [], color=colour, marker=marker, ls=line, label=label))
    if "collapsed" in shown:
        label = "hollow: a component on a repeated value, not counted as best"
        handles.append(Line2D([], [], color="#444444", marker="o", mfc="white", ls="", label=label))
    figure.suptitle(
        "Log-likelihood reached against time (higher and further left is better)",
        x=0.01,
        ha="left",
        fontweight="bold",
        fontsize=12,
    )
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False)
    legend_inches = 0.35 + 0.25 * -(-len(handles) // 3)
    figure.tight_layout(rect=(0, legend_inches / figure.get_figheight(), 1, 0.98))
    return figure


def _reaching(axes: Axes, name: str, result: Entry) -> set[str]:
    """One set's panel; the systems drawn in it. The best is of fits that did not collapse."""
    systems = {s: e for s, e in result["systems"].items() if s in STYLE and figures.reached(e)}
    systems = {s: e for s, e in systems.items() if s not in ("gmm_spark-dataframe",)}
    everything = [(s, f) for s, e in systems.items() for f in e["fits"]]
    sound = [
        f["mean_log_likelihood"]
        for _, f in everything
        if f["mean_log_likelihood"] is not None and not figures.collapsed(f, systems)
    ]
    drawn: set[str] = set()
    if not sound:
        axes.set_title(name)
        return drawn
    best = max(sound)

    def below(value: float) -> float:
        return max(CLOSEST, best - value)

    for system, fit in everything:
        value = fit["mean_log_likelihood"]
        if value is None:
            continue
        colour, marker = STYLE[system]
        hollow = figures.collapsed(fit, systems)
        drawn |= {system, "collapsed"} if hollow else {system}
        if system == "gmm_spark":
            points = [(t, below(v)) for t, v in figures.progress(fit)]
            axes.plot(*zip(*points, strict=True), color=colour, marker=".", lw=1.2, alpha=0.8)
        axes.plot(
            fit["seconds"] if system != "gmm_spark" else points[-1][0],
            below(value),
            marker=marker,
            color=colour,
            markerfacecolor="white" if hollow else colour,
            ls="none",
            clip_on=False,
            zorder=3,
        )
    shape = result["set"]
    axes.set_title(f"{name}: {_plain_number(shape['rows'])} x {shape['d']}, k = {shape['k']}")
    axes.set(xscale="log", yscale="log")
    bottom = max([below(v) for v in sound] + [1e-2])
    axes.set_ylim(bottom * 4, CLOSEST / 2)
    low, high = axes.get_xlim()
    if high / low < 30:  # a log axis of less than a decade or so has next to no labels
        middle = math.sqrt(low * high)
        axes.set_xlim(middle / 5.5, middle * 5.5)
    _decades(axes, _plain_number, "x")
    exponents = range(-6, math.ceil(math.log10(bottom)) + 1, 2 if bottom < 1e3 else 3)
    axes.yaxis.set_major_locator(FixedLocator([10.0**e for e in exponents]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_below_label))
    return drawn


def _below_label(value: float, _: Any) -> str:
    return "≤ 1e-6" if value <= CLOSEST * 1.01 else f"{value:g}"


def growth(results: dict[str, Entry]) -> Figure | None:
    """One pass against rows, components, columns and partitions."""
    panels: list[tuple[str, str, dict[str, list[tuple[float, float]]]]] = []
    rows = _against_rows(results, _pass_seconds)
    rows = {s: points for s, points in rows.items() if s.startswith("gmm_spark") and points}
    if any(len(points) > 1 for points in rows.values()):
        panels.append(("Rows (16 columns, k = 8)", "rows", rows))
    for axis in ("k", "d", "partitions"):
        lines: dict[str, list[tuple[float, float]]] = {}
        points = results.get(f"growth-{axis}", {}).get("points", [])
        for point in points:
            median = figures.seconds(point)
            if median is not None:
                lines.setdefault(point["system"], []).append((point[axis], median))
        if lines:
            shape = points[0]
            size = _plain_number(shape["rows"])
            title, label = {
                "k": (f"Components ({size} x {shape['d']})", "components k"),
                "d": (f"Columns ({size} rows, k = {shape['k']})", "columns d"),
                "partitions": (f"Partitions ({size} x {shape['d']}, k = {shape['k']})", "files"),
            }[axis]
            panels.append((title, label, lines))
    if not panels:
        return None
    columns = min(2, len(panels))
    height = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        height, columns, figsize=(4.7 * columns, 3.5 * height), squeeze=False
    )
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, label, lines) in zip(grid.flat, panels, strict=False):
        ticks = sorted({x for points in lines.values() for x, _ in points})
        for system, points in lines.items():
            colour, marker = STYLE[system]
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker)
        axes.set(xscale="log", yscale="log")
        axes.set_title(title)
        axes.set_xlabel(label + (" or DataFrame partitions" if label == "files" else ""))
        _log_ticks(axes, "x", ticks, _plain_number)
        _widen(axes)
        _decades(axes, _plain_number)
        if label != "files" and "gmm_spark" in lines:
            _proportional(axes, lines["gmm_spark"], label)
    figure.suptitle(
        "Seconds of one pass of gmm_spark", x=0.01, ha="left", fontweight="bold", fontsize=12
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    for axes, (_, _, lines) in zip(grid.flat, panels, strict=False):
        if len(lines) > 1:
            _label_above(axes, lines)
    return figure


def _pass_seconds(entry: Entry) -> float | None:
    taken = sorted(p["seconds"] for fit in entry["fits"] for p in fit.get("history", []))
    return taken[len(taken) // 2] if taken else None


def _label_above(axes: Axes, lines: dict[str, list[tuple[float, float]]]) -> None:
    """Names beside the first points: the higher line's above, the lower one's below."""
    order = sorted(lines, key=lambda system: lines[system][0][1])
    for system in order:
        x, y = lines[system][0]
        upper = system == order[-1]
        axes.annotate(
            SYSTEMS[system].label if system != "gmm_spark" else "gmm_spark, Parquet",
            (x, y),
            xytext=(0, 10 if upper else -10),
            textcoords="offset points",
            ha="left",
            va="bottom" if upper else "top",
            color=STYLE[system][0],
        )


def _proportional(axes: Axes, points: list[tuple[float, float]], label: str) -> None:
    """A dashed line through the last point: what growth in proportion looks like."""
    (x, y), (first, _) = points[-1], points[0]
    power = 2 if label.startswith("columns") else 1
    low, high = axes.get_ylim()
    axes.plot([first, x], [y * (first / x) ** power, y], color="#888888", ls=(0, (3, 3)), lw=1)
    axes.set_ylim(low, high)
    axes.annotate(
        "dashed: in proportion to " + ("d squared" if power == 2 else label.split()[0]),
        (0.02, 0.93),
        xycoords="axes fraction",
        color="#666666",
        fontsize=9,
    )


def _widen(axes: Axes) -> None:
    """At least a decade on the time axis, so that noise does not look like growth."""
    low, high = axes.get_ylim()
    middle = math.sqrt(low * high)
    factor = max(math.sqrt(high / low) * 1.3, 4.0)
    axes.set_ylim(middle / factor, middle * factor)


def _log_ticks(
    axes: Axes, which: str, values: list[float], formatted: Callable[[float, Any], str]
) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(values))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(formatted))


def _decades(axes: Axes, formatted: Callable[[float, Any], str], which: str = "y") -> None:
    """Ticks at powers of ten, with 2 and 5 between where there are few."""
    low, high = sorted(axes.get_ylim() if which == "y" else axes.get_xlim())
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 200 else (1, 3) if high / low < 1000 else (1,)
    values = [s * 10.0**e for e in exponents for s in steps]
    _log_ticks(axes, which, [v for v in values if low <= v <= high], formatted)


def _plain_number(value: float, _: Any = None) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    if value >= 1e4:
        return f"{value / 1e3:.3g}k"
    return f"{value:,g}" if value >= 1 else f"{value:.3g}"
