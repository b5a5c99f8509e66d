"""What results say: figures derived from the files of a run, without a look at how to show them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data import SETS
from benchmarks.systems import as_narrow

# Log-likelihoods a row that differ by less are equal: ten times the default tol.
EQUAL = 1e-5
# A component this much narrower than gmm_spark's narrowest sits on a repeated value.
COLLAPSED = 0.1

Entry = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One line of the acceptance: `met` is None where it was not measured."""

    name: str
    asked: str
    found: str
    met: bool | None


def load(folder: Path) -> dict[str, Entry]:
    """Results by the name of their file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def sets_of(results: dict[str, Entry], benchmark: str) -> dict[str, Entry]:
    """Results of a benchmark by set, in the order of the sets."""
    names = [name for name in SETS if f"{benchmark}-{name}" in results]
    return {name: results[f"{benchmark}-{name}"] for name in names}


def reached(entry: Entry | None) -> list[float]:
    """Mean log-likelihoods of a system's fits, the lowest first."""
    values = (fit["mean_log_likelihood"] for fit in (entry or {}).get("fits", []))
    return sorted(v for v in values if v is not None)


def recorded(entry: Entry | None) -> list[float]:
    """Mean log probabilities of the recorded values, over their cells' volumes, lowest first."""
    fits = (entry or {}).get("fits", [])
    return sorted(fit["recorded"] for fit in fits if fit.get("recorded") is not None)


def seconds(entry: Entry | None) -> float | None:
    """Median time of a system's fits, or of its passes."""
    found = (entry or {}).get("seconds") or [
        fit["seconds"] for fit in (entry or {}).get("fits", [])
    ]
    return statistics.median(found) if found else None


def most(entry: Entry | None, key: str) -> int | None:
    """The most passes or iterations a system's fits took."""
    found = [fit[key] for fit in (entry or {}).get("fits", []) if fit.get(key) is not None]
    return max(found) if found else None


def memory(entry: Entry, kinds: tuple[str, ...] = ("all", "python", "jvm")) -> int | None:
    """Peak MiB; of `all` the processes at once, which no single one can exceed."""
    found = [entry["peak_mib"][kind] for kind in kinds if kind in entry.get("peak_mib", {})]
    return max(found) if found else None


def driver_memory(entry: Entry) -> int | None:
    """Peak MiB of the JVM and the driver's Python."""
    peaks = entry.get("peak_mib", {})
    return peaks["jvm"] + peaks["python"] if {"jvm", "python"} <= peaks.keys() else None


def best(entry: Entry | None) -> Entry | None:
    """The fit of a system with the highest log-likelihood."""
    fits = [f for f in (entry or {}).get("fits", []) if f["mean_log_likelihood"] is not None]
    return max(fits, key=lambda fit: fit["mean_log_likelihood"], default=None)


def collapsed(fit: Entry, systems: dict[str, Entry]) -> bool:
    """Whether a component sits on a repeated value, where any likelihood can be had."""
    own = [f["narrowest"] for f in systems.get("gmm_spark", {}).get("fits", []) if f["narrowest"]]
    return bool(own) and (fit["narrowest"] is None or fit["narrowest"] < COLLAPSED * min(own))


def progress(fit: Entry) -> list[tuple[float, float]]:
    """Seconds since the start and the mean log-likelihood known by then, a pass each.

    What is no pass (the scan, the start, steps on the sample) counts as if all of it came first,
    so that no pass is said to end earlier than it did.
    """
    passes = fit["history"]
    elapsed = fit["seconds"] - sum(p["seconds"] for p in passes)
    points = []
    for record in passes:
        elapsed += record["seconds"]
        points.append((elapsed, record["mean_log_likelihood"]))
    return points


def time_to(entry: Entry | None, target: float) -> float | None:
    """Median over seeds of the seconds to a log-likelihood; None if a seed does not reach it."""
    found = []
    for fit in (entry or {}).get("fits", []):
        times = [t for t, value in progress(fit) if value >= target - EQUAL]
        if not times:
            return None
        found.append(times[0])
    return statistics.median(found) if found else None


def spread(entry: Entry) -> float | None:
    """Highest less lowest log-likelihood of the fits."""
    values = reached(entry)
    return values[-1] - values[0] if values else None


def acceptance(results: dict[str, Entry]) -> list[Line]:
    """Every line of the acceptance, measured or not."""
    fits = sets_of(results, "fits")
    return [
        _quality("1", "pyspark.ml", fits),
        *_faster("1", "pyspark.ml", fits, {"sep1": 5, "big": 15}),
        *_pass_times(results),
        _quality("3", "scikit-learn", fits),
        *_faster("3", "scikit-learn", fits, {"sep1": 15}),
        *_passes(fits),
        _search(results),
        _seeds(results),
        *_growth(fits),
    ]


def _quality(number: str, peer: str, fits: dict[str, Entry]) -> Line:
    told, compared, equal = [], 0, 0
    for name, result in fits.items():
        systems = result["systems"]
        ours, theirs = reached(systems.get("gmm_spark")), best(systems.get(peer))
        if not ours or theirs is None:
            continue
        compared += 1
        ahead = ours[0] - theirs["mean_log_likelihood"]
        said = f"{name} {ahead:+.2g}"
        if collapsed(theirs, systems):
            said += (
                " in density, which has no bound where a component sits on a repeated value, as "
                "one of theirs does"
            )
            narrow = reached(systems.get(as_narrow(peer)))
            if narrow:
                ahead = narrow[0] - theirs["mean_log_likelihood"]
                said += f"; as narrow as that, {ahead:+.2g}"
            own, other = recorded(systems.get("gmm_spark")), recorded(systems.get(peer))
            if own and other:
                ahead = own[0] - other[-1]
                said += f"; by the probability of what was recorded, {ahead:+.2g}"
            told.append(said)
        elif ahead < -EQUAL:
            told.append(said)
        equal += ahead >= -EQUAL
    return Line(
        f"{number}. log-likelihood against {peer}",
        "at least equal on every set, our lowest seed against its best",
        f"{equal} of {compared} sets" + "".join(f"; {one}" for one in told),
        None if not compared else equal == compared,
    )


def _faster(number: str, peer: str, fits: dict[str, Entry], asked: dict[str, int]) -> list[Line]:
    lines = []
    for name, factor in asked.items():
        systems = fits.get(name, {}).get("systems", {})
        ours, theirs = systems.get("gmm_spark"), systems.get(peer)
        found, met = "not measured", None
        if ours and theirs and reached(theirs):
            their_time, own_time = seconds(theirs), time_to(ours, reached(theirs)[-1])
            if own_time is None:
                found, met = "its log-likelihood is not reached", False
            elif their_time is not None:
                found = f"{their_time / own_time:.1f} times ({own_time:.2f} s, {their_time:.1f} s)"
                met = their_time >= factor * own_time
        elif theirs and theirs.get("failed"):
            found = f"it was {theirs['failed']}"
        asked_for = f"at least {factor} times less than its time"
        lines.append(Line(f"{number}. time to its log-likelihood, {name}", asked_for, found, met))
    return lines


def _pass_times(results: dict[str, Entry]) -> list[Line]:
    systems = results.get("passes-sep1", {}).get("systems", {})
    own = seconds(systems.get("gmm_spark"))
    lines = []
    limits: tuple[tuple[str, str, str, Callable[[float], bool]], ...] = (
        ("pyspark.ml", "at least 5 times faster", "faster", lambda ratio: ratio >= 5),
        ("onedal", "at most 3 times as long", "as long", lambda ratio: ratio <= 3),
    )
    for peer, asked, word, holds in limits:
        theirs = seconds(systems.get(peer))
        found, met = "not measured", None
        if own and theirs:
            ratio = theirs / own if word == "faster" else own / theirs
            found = f"{ratio:.2f} times {word} ({own:.3f} s, {theirs:.3f} s)"
            met = holds(ratio)
        lines.append(Line(f"2. one pass, sep1, against {peer}'s", asked, found, met))
    return lines


def _passes(fits: dict[str, Entry]) -> list[Line]:
    counts, worse, compared = {}, [], 0
    for name, result in fits.items():
        systems = result["systems"]
        own = most(systems.get("gmm_spark"), "passes")
        if own is not None:
            counts[name] = own
        plain = {f["seed"]: f for f in systems.get("gmm_spark-plain", {}).get("fits", [])}
        for fit in systems.get("gmm_spark", {}).get("fits", []):
            if fit["seed"] in plain:
                compared += 1
                if fit["passes"] > plain[fit["seed"]]["passes"]:
                    worse.append(f"{name} seed {fit['seed']}")
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    return [
        Line(
            "4. full passes after the first scan",
            "at most 8 on every set",
            listed or "not measured",
            max(counts.values()) <= 8 if counts else None,
        ),
        Line(
            "4. passes against plain EM from the same start",
            "never more",
            f"{compared - len(worse)} of {compared} fits" + "".join(f"; more: {w}" for w in worse),
            None if not compared else not worse,
        ),
    ]


def _search(results: dict[str, Entry]) -> Line:
    systems = results.get("search-sep1", {}).get("systems", {})
    one, many = seconds(systems.get("gmm_spark")), seconds(systems.get("gmm_spark-search"))
    found, met = systems.get("gmm_spark-search", {}).get("failed", "not measured"), None
    if one and many:
        found, met = f"{many / one:.2f} times ({many:.1f} s, {one:.1f} s)", many <= 3 * one
    return Line("5. k = 2 to 12 at once, sep1", "at most 3 times one fit of k = 12", found, met)


def _seeds(results: dict[str, Entry]) -> Line:
    sets = sets_of(results, "seeds")
    spreads = {name: spread(entry) for name, entry in sets.items()}
    known = {name: value for name, value in spreads.items() if value is not None}
    listed = ", ".join(f"{name} {value:.1e}" for name, value in known.items())
    met = max(known.values()) < 1e-3 if known else None
    return Line("6. spread of ten seeds", "under 1e-3 on every set", listed or "not measured", met)


def _growth(fits: dict[str, Entry]) -> list[Line]:
    lines = []
    million = fits.get("sep1", {}).get("systems", {}).get("gmm_spark")
    ten = fits.get("big", {}).get("systems", {}).get("gmm_spark")
    found, met = "not measured", None
    if million and ten and driver_memory(million) and driver_memory(ten):
        small, large = driver_memory(million) or 0, driver_memory(ten) or 0
        found, met = f"{small:,} MiB, {large:,} MiB", large <= 1.1 * small
    asked = "flat: at most a tenth more"
    lines.append(Line("7. driver memory from 1M to 10M rows", asked, found, met))
    found, met = "not measured", None
    if million and ten and seconds(million) and seconds(ten):
        rows = fits["big"]["set"]["rows"] / fits["sep1"]["set"]["rows"]
        whole = (seconds(ten) or 0) / (seconds(million) or 1) / rows
        one = _pass_seconds(ten) / _pass_seconds(million) / rows
        found = f"a row takes {whole:.2f} times as long in a fit, {one:.2f} times in a pass"
        met = one <= 1.2 and whole <= 1.2
    asked = "linear in rows within 20 %: at most 1.2 times as long a row"
    lines.append(Line("7. time from 1M to 10M rows", asked, found, met))
    return lines


def _pass_seconds(entry: Entry) -> float:
    return statistics.median(p["seconds"] for fit in entry["fits"] for p in fit["history"])
