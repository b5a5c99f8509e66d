"""A hundred scheduled runs over a growing table, while readers look on: `python -m benchmarks.soak`

Every night adds rows; a model is fitted, from the champion on, and the night is scored as a version
of its run date. Some nights get late rows and are scored again, some runs fail, a few are of other
jobs. One long-lived driver does it, every twelfth run is a process of its own. Meanwhile a process
without Spark, and a thread of the driver by `read_scores`, read all published scores again and
again: every row of the table has the number of the write it came with, so that a day that is half
of one write and half of another, short, doubled or gone is seen.

What is measured after every run: memory of Python and of the JVM's heap after a collection, what
Spark still keeps, threads, open files, temporary files, the directories of results. Slopes are
those of the second half of the runs, in which caches of Spark's that have a bound are full.

`--in-place` breaks publishing on purpose, a day written over where it is: the readers have to see
it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.processes import ROOT
from benchmarks.records import RESULTS, Record, machine

_MIB = 2**20
_FRESH = 12
_SEGMENTS = np.array([[20.0, 2.0], [60.0, 8.0], [90.0, 3.0]])
# Spark keeps the last thousand jobs, stages and queries for its pages, and 250 MB of what it found
# in directories: bounds that a hundred runs do not reach. With these what grows beyond is seen.
_BOUNDS = {
    "spark.ui.retainedJobs": 50,
    "spark.ui.retainedStages": 50,
    "spark.sql.ui.retainedExecutions": 50,
    "spark.sql.hive.filesourcePartitionFileCacheSize": 1 << 20,
}
# By run in the second half, beyond which something is taken to leak.
LIMITS = {
    "python_rss_mib": 0.5,
    "heap_after_gc_mib": 0.5,
    "storage_used_mib": 0.05,
    "temporary_mib": 0.1,
    "temporary_files": 0.5,
    "threads": 0.05,
    "open_files": 0.1,
    "models_mib": 0.05,
    "entries": 1.01,
}


# The lake: what the runs read and write.


@dataclass(frozen=True)
class Lake:
    """A table that grows by a file a night, and the directories of results."""

    root: Path
    rows: int

    @property
    def customers(self) -> Path:
        return self.root / "customers"

    def output(self, job: str) -> Path:
        return self.root / job

    def run_date(self, night: int) -> str:
        return str(date(2026, 1, 1) + timedelta(night))

    def size(self, run_date: str, write: int) -> int:
        """Rows of a night as of a write of it: late rows come with every further one."""
        return self.rows + date.fromisoformat(run_date).timetuple().tm_yday + 100 * write

    def write(self, night: int, write: int) -> None:
        """The rows of a night, which drift from night to night."""
        random = np.random.default_rng([night, write])
        size = self.size(self.run_date(night), write)
        segment = random.choice(3, size, p=[0.5, 0.3, 0.2])
        values = _SEGMENTS[segment] + random.normal(0, [4.0, 1.0], (size, 2)) + [0.05 * night, 0.0]
        number = np.arange(size)
        table = pa.table(
            {
                "id": number,
                "key": night * 1_000_000 + number,
                "night": np.full(size, night),
                "written": np.full(size, write),
                "spend": values[:, 0],
                "visits": values[:, 1],
                "plan": np.array(["basic", "family", "extra"])[(segment + (number % 5 == 0)) % 3],
                "left": random.random(size) < np.array([0.1, 0.2, 0.5])[segment],
            }
        )
        self.customers.mkdir(parents=True, exist_ok=True)
        partial = self.customers / f".{night}"
        pq.write_table(table, partial)
        partial.replace(self.customers / f"night-{night:04}.parquet")


@dataclass(frozen=True)
class Planned:
    """A run as a scheduler starts it: what is written before it, and the code it is to end with."""

    job: str
    argv: list[str]
    before: tuple[int, int] | None = None
    code: int = 0


def schedule(lake: Lake) -> Iterator[Planned]:
    """The runs, night after night, without an end."""

    def planned(job: str, night: int, *argv: object, **others: Any) -> Planned:
        words = ["--input.path", lake.customers, "--run_date", lake.run_date(night)]
        words += ["--output", lake.output(job), *argv]
        return Planned(job, [job, *map(str, words)], **others)

    def score(night: int, write: int, *argv: object, **others: Any) -> Planned:
        words = ["--model", lake.output("train"), "--keep_versions", 2]
        words += ["--keep_columns", "id,written", "--input.filters", f"night = {night}", *argv]
        return planned("score", night, *words, **{"before": (night, write), **others})

    night = 0
    while True:
        night += 1
        start = [] if night == 1 else ["--initial_model", lake.output("train")]
        fitted = ["--columns", "spend,visits", "--categorical_columns", "plan", "--k", 3, *start]
        fitted += ["--keep_versions", 3, "--max_iter", 20]
        yield planned("train", night, *fitted, before=(night, 0))
        yield score(night, 0)
        if night % 4 == 0:
            yield score(night - 1, 1)
            yield score(night - 1, 2)
        if night % 10 == 3:
            words = ["--model", lake.output("train"), "--mode", "overwrite"]
            yield planned("evaluate", night, *words)
        if night % 10 == 6:
            yield score(night, 0, "--columns", "cast(plan as double) as spend", code=3)
        if night % 15 == 9:
            words = ["--id", "key", "--outcome", "left", "--columns", "spend,visits"]
            words += ["--categorical_columns", "plan", "--k", "2,3", "--keep_versions", 2]
            yield planned("churn", night, *words)


# The readers.


@dataclass(frozen=True)
class Day:
    """What a reader has found of a run date."""

    run_date: str
    rows: int
    ids: int
    highest_id: int
    writes: tuple[int, int]
    run_ids: int = 1


@dataclass
class Witness:
    """What readers have seen so far, and what was wrong with it."""

    lake: Lake
    latest: dict[str, int] = field(default_factory=dict)
    looks: int = 0
    states: int = 0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def look(self, days: Sequence[Day]) -> None:
        """Hold what was found at one moment to what may be there."""
        self.looks += 1
        before, now = dict(self.latest), {one.run_date: one for one in days}
        if len(now) < len(days):
            self.wrong.append(f"a run date twice among {[one.run_date for one in days]}")
        self.wrong += [f"{day} is gone" for day in before if day not in now]
        for one in days:
            first, last = one.writes
            expected = self.lake.size(one.run_date, last)
            if first != last or one.run_ids != 1:
                self.wrong.append(f"{one.run_date} is of several runs: {one}")
            elif not one.rows == one.ids == one.highest_id + 1 == expected:
                self.wrong.append(f"{one.run_date} has not its {expected} rows: {one}")
            elif last < before.get(one.run_date, 0):
                self.wrong.append(f"{one.run_date} went back to an earlier run: {one}")
            self.latest[one.run_date] = last
        self.states += self.latest != before

    def failed(self, error: BaseException) -> None:
        """A look that ended in an error: right where nothing is published yet, and only there."""
        if self.latest or "no published scores" not in str(error):
            self.wrong.append(f"{type(error).__name__}: {str(error).splitlines()[0]}"[:500])

    def timed(self, look: Any) -> None:
        started = time.monotonic()
        try:
            self.look(look())
        except Exception as error:
            self.failed(error)
        self.slowest = max(self.slowest, time.monotonic() - started)

    def found(self) -> dict[str, Any]:
        return {
            "looks": self.looks,
            "states": self.states,
            "days": len(self.latest),
            "slowest_look_seconds": round(self.slowest, 2),
            "wrong": len(self.wrong),
            "first_wrong": self.wrong[:5],
        }


def days_without_spark(scores: Path) -> list[Day]:
    """All published scores, read by pyarrow."""
    from gmm_spark.storage.scores import published_scores

    found = []
    for one in published_scores(str(scores)):
        parts = [pq.read_table(f"{one.uri}/{name}", columns=["id", "written"]) for name in one.data]
        table = pa.concat_tables(parts)
        ids, writes = (table[name].to_numpy() for name in ("id", "written"))
        writes_seen = (int(writes.min(initial=1 << 40)), int(writes.max(initial=-1)))
        date_, highest = str(one.version.run_date), int(ids.max(initial=-1))
        found.append(Day(date_, len(ids), len(np.unique(ids)), highest, writes_seen))
    return found


def days_by_spark(frame: Any) -> list[Day]:
    """The same of a DataFrame of scores."""
    from pyspark.sql import functions as F

    figures = [
        F.count("*"),
        F.countDistinct("id"),
        F.max("id"),
        F.min("written"),
        F.max("written"),
        F.countDistinct("run_id"),
    ]
    rows = frame.groupBy("run_date").agg(*figures).collect()
    return [Day(*row[:4], (row[4], row[5]), row[6]) for row in rows]


def read_until(lake: Lake, stop: Path) -> None:
    """Look again and again, without Spark, until there is a file `stop`; print what was seen."""
    witness = Witness(lake)
    while not stop.exists():
        witness.timed(lambda: days_without_spark(lake.output("score")))
        time.sleep(0.1)
    print(json.dumps(witness.found()), flush=True)


class SessionReader(threading.Thread):
    """Looks by `read_scores` in the session in which runs are at work."""

    def __init__(self, lake: Lake, spark: Any) -> None:
        super().__init__(daemon=True)
        self.witness, self._lake, self._spark = Witness(lake), lake, spark
        self._done = threading.Event()
        # Held while it looks: what a look allocates is none of what stays.
        self.looking = threading.Lock()

    def run(self) -> None:
        import gmm_spark

        path = str(self._lake.output("score"))
        while not self._done.wait(1.0):
            read = lambda: days_by_spark(gmm_spark.read_scores(path, spark=self._spark))  # noqa: E731
            with self.looking:
                self.witness.timed(read)

    def ended(self) -> Witness:
        self._done.set()
        self.join()
        return self.witness


# What is measured.


def resident_mib(pid: int | str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def size_of(directory: Path) -> tuple[float, int]:
    """MiB and number of the files below a directory, of which some may go meanwhile."""
    size, count = 0, 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(folder, name)).st_size
                count += 1
    return size / _MIB, count


def measured(lake: Lake, spark: Any, temporary: Path) -> dict[str, float]:
    gc.collect()
    context, jvm = spark.sparkContext, spark.sparkContext._jvm
    runtime = jvm.java.lang.Runtime.getRuntime()
    # What is found to be of no use is cleaned up by a thread, and then it can be collected too.
    jvm.java.lang.System.gc()
    time.sleep(0.5)
    jvm.java.lang.System.gc()
    heap = runtime.totalMemory() - runtime.freeMemory()
    status = context._jsc.sc().getExecutorMemoryStatus().valuesIterator()
    storage = 0
    while status.hasNext():
        one = status.next()
        storage += one._1() - one._2()
    temporary_mib, temporary_files = size_of(temporary)
    scores_mib, scores_files = size_of(lake.output("score") / "versions")
    published = [lake.output(job) / "published" for job in ("train", "score")]
    return {
        "python_rss_mib": resident_mib("self"),
        "heap_after_gc_mib": heap / _MIB,
        "jvm_rss_mib": resident_mib(jvm.java.lang.ProcessHandle.current().pid()),
        "storage_used_mib": storage / _MIB,
        "persistent_rdds": context._jsc.getPersistentRDDs().size(),
        "threads": threading.active_count(),
        "open_files": len(os.listdir("/proc/self/fd")),
        "temporary_mib": temporary_mib,
        "temporary_files": temporary_files,
        "models_mib": size_of(lake.output("train"))[0],
        "scores_mib": scores_mib,
        "scores_files": scores_files,
        "entries": sum(len(os.listdir(path)) for path in published if path.exists()),
    }


def slope(values: Sequence[float]) -> float:
    """By run, of the second half, by least squares."""
    late = np.asarray(values[len(values) // 2 :], dtype=float)
    return float(np.polyfit(np.arange(len(late)), late, 1)[0]) if len(late) > 2 else 0.0


def steady(samples: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Of every figure the first, the one in the middle, the last and the slope by run."""
    found = {}
    for name in samples[0]:
        values = [one[name] for one in samples]
        places = {"first": 0, "middle": len(values) // 2, "last": -1}
        found[name] = {key: round(values[place], 2) for key, place in places.items()}
        found[name]["slope_per_run"] = round(slope(values), 4)
    return found


# The soak.


@dataclass
class Soak:
    lake: Lake
    temporary: Path
    cores: int
    samples: list[dict[str, float]] = field(default_factory=list)
    jobs: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    manifests: int = 0
    problems: list[str] = field(default_factory=list)

    def run(self, planned: Planned, number: int, spark: Any, reader: SessionReader) -> None:
        if planned.before is not None:
            self.lake.write(*planned.before)
        is_fresh = number % _FRESH == 0
        started = time.monotonic()
        code, said = self._fresh(planned) if is_fresh else self._in_session(planned)
        taken = time.monotonic() - started
        self.jobs[planned.job] += 1
        self.jobs["fresh"] += is_fresh
        if code != planned.code:
            self.problems.append(f"run {number}, {planned.argv}: exit code {code}: {said[-500:]}")
        self._check_manifest(planned, number)
        if not is_fresh:
            self.seconds.setdefault(planned.job, []).append(taken)
            with reader.looking:
                self.samples.append(measured(self.lake, spark, self.temporary))

    def _in_session(self, planned: Planned) -> tuple[int, str]:
        from gmm_spark.cli.main import main

        with open(self.temporary / "said.txt", "w+", encoding="utf-8") as said:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = main(planned.argv)
            said.seek(0)
            return code, said.read()

    def _fresh(self, planned: Planned) -> tuple[int, str]:
        conf = submit_arguments(self.cores, self.temporary)
        ended = subprocess.run(
            [sys.executable, "-m", "gmm_spark", *planned.argv],
            cwd=ROOT,
            env={**os.environ, "PYSPARK_SUBMIT_ARGS": conf},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return ended.returncode, ended.stdout

    def _check_manifest(self, planned: Planned, number: int) -> None:
        """That of the run that has just ended is valid, and has its log beside it."""
        from gmm_spark.runs.manifest import Manifest
        from gmm_spark.storage import publish_log

        output = self.lake.output(planned.job)
        where, log = output / "manifest.json", "log.txt"
        if planned.code:
            where, log = output / "manifest-failed.json", "log-failed.txt"
        elif publish_log.is_there(str(output)):
            newest = publish_log.read(str(output)).versions[-1]
            where = output / newest.directory / "manifest.json"
        try:
            found = Manifest.model_validate_json(where.read_text("utf-8"))
            said = where.with_name(log).read_text("utf-8")
        except (OSError, ValueError) as error:
            self.problems.append(f"run {number}: {where}: {error}")
            return
        self.manifests += 1
        wanted = planned.argv[planned.argv.index("--run_date") + 1]
        if found.run_date != wanted or found.exit_code != planned.code:
            self.problems.append(f"run {number}: the manifest is of another run: {where}")
        if f"run {found.run_id}" not in said:
            self.problems.append(f"run {number}: the log is of another run: {where}")


def submit_arguments(cores: int, temporary: Path) -> str:
    """For sessions whose temporary files are below a directory, the JVM's too."""
    bounds = " ".join(f"--conf {name}={value}" for name, value in _BOUNDS.items())
    return (
        f"--master local[{cores}] --driver-memory 1g {bounds} --conf spark.local.dir={temporary} "
        f"--driver-java-options -Djava.io.tmpdir={temporary} pyspark-shell"
    )


def in_place() -> None:
    """Publish as nobody should: a run date has one directory, in which runs write over it."""
    from gmm_spark.storage import publish_log, tables

    publish_log.directory_by_run_date = lambda run_id, run_date: f"versions/{run_date}"
    tables.write = lambda frame, uri, partition_by: frame.write.mode("overwrite").parquet(uri)


def soaked(lake: Lake, soak: Soak, runs: int) -> dict[str, Any]:
    """Do the runs; what came of them."""
    from gmm_spark.runs.session import get_session

    os.environ["PYSPARK_SUBMIT_ARGS"] = submit_arguments(soak.cores, soak.temporary)
    started, spark = time.monotonic(), get_session("soak")
    stop = soak.temporary / "stop"
    reading = [sys.executable, "-m", "benchmarks.soak", "--read", str(lake.root)]
    process = subprocess.Popen(
        [*reading, "--rows", str(lake.rows), "--stop", str(stop)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    thread = SessionReader(lake, spark)
    thread.start()
    view = Witness(lake)
    plan = schedule(lake)
    try:
        for number in range(1, runs + 1):
            planned = next(plan)
            soak.run(planned, number, spark, thread)
            if planned.job == "score" and number % 20 == 0:
                view.timed(lambda: days_of_a_view(lake, spark))
            now, taken = soak.samples[-1], time.monotonic() - started
            memory = f"{now['python_rss_mib']:.0f} and {now['heap_after_gc_mib']:.0f} MiB"
            print(f"run {number}: {planned.job}, {taken:.0f} s, {memory}", flush=True)
    finally:
        stop.touch()
        seen, _ = process.communicate()
        witness = thread.ended()
    readers = {
        "process": json.loads(seen),
        "session": witness.found(),
        "view": view.found(),
    }
    spark.stop()
    return {
        "runs": dict(soak.jobs),
        "seconds": round(time.monotonic() - started),
        "readers": readers,
        "manifests": soak.manifests,
        "problems": soak.problems,
        "figures": steady(soak.samples),
        "median_seconds": {job: round(float(np.median(s)), 2) for job, s in soak.seconds.items()},
        "samples": [{key: round(v, 1) for key, v in one.items()} for one in soak.samples],
    }


def days_of_a_view(lake: Lake, spark: Any) -> list[Day]:
    from gmm_spark.storage.scores import view_of

    spark.sql(view_of(str(lake.output("score")), "soaked_scores").rstrip(";"))
    return days_by_spark(spark.table("soaked_scores"))


def against(result: dict[str, Any]) -> list[str]:
    """What speaks against a soak."""
    found = list(result["problems"])
    for name, reader in result["readers"].items():
        found += [f"the reader by {name} saw {reader['wrong']} wrong states"] * bool(
            reader["wrong"]
        )
        found += [f"the reader by {name} saw nothing"] * (not reader["looks"])
    for name, limit in LIMITS.items():
        if (by_run := result["figures"][name]["slope_per_run"]) > limit:
            found.append(f"{name} grows by {by_run} a run, more than {limit}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1_000, help="of a night")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--in-place", action="store_true", help="break publishing")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stop", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.read is not None:
        read_until(Lake(arguments.read, arguments.rows), arguments.stop)
        return 0
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        temporary = Path(directory, "temporary")
        temporary.mkdir()
        # Of this process, of its JVM and workers, and of the runs in processes of their own.
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        lake = Lake(Path(directory, "lake"), arguments.rows)
        if arguments.in_place:
            in_place()
        result = soaked(lake, Soak(lake, temporary, arguments.cores), arguments.runs)
    said = f"python -m benchmarks.soak --runs {arguments.runs} --rows {arguments.rows}"
    content = {
        "benchmark": "soak",
        "command": f"{said} --cores {arguments.cores}",
        "machine": machine(arguments.cores),
        "rows_a_night": arguments.rows,
        "spark": _BOUNDS,
        "limits": LIMITS,
        **result,
    }
    wrong = against(result)
    if not arguments.in_place:
        Record(arguments.out / "soak.json", {**content, "against": wrong}).save()
    print(json.dumps({k: result[k] for k in ("runs", "seconds", "readers", "figures")}, indent=1))
    print("\n".join(wrong) or "Nothing is wrong and nothing grows.")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
