"""One system at work, as the process the benchmarks start; prints a JSON line a result.

By hand: `python -m benchmarks.program fits pyspark.ml --table FOLDER --k 8 --seeds 1 2 3`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.data import Table
from benchmarks.systems import SYSTEMS, System

WARM_K = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("fits", "step", "impute", "scoring"))
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--k", type=int, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--partitions", type=int, help="of a DataFrame")
    parser.add_argument("--narrow", type=float, help="how narrow a component may be")
    parser.add_argument("--warm", type=Path, help="table of the fit that warms a Spark session")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    for result in _results(arguments, SYSTEMS[arguments.system]):
        print(json.dumps(result), flush=True)


def _results(arguments: argparse.Namespace, system: System) -> Iterator[dict[str, Any]]:
    table = Table.at(arguments.table, arguments.k)
    options: dict[str, Any] = {}
    if system.on_spark:
        options["cores"] = arguments.cores
        options["warm"] = Table.at(arguments.warm, WARM_K) if arguments.warm else table
    if system.variant is not None:
        options["variant"] = system.variant
    try:
        if arguments.what == "scoring":
            from benchmarks.scoring import scoring

            yield scoring(table, arguments.cores, arguments.repeats)
            return
        module = import_module(f"benchmarks.systems.{system.module}")
        if arguments.what == "fits":
            if arguments.narrow is not None:
                options["narrow"] = arguments.narrow
            yield from module.fits(table, arguments.seeds, **options)
            return
        if arguments.what == "impute":
            yield module.impute(table, **options)
            return
        if arguments.partitions is not None:
            options["partitions"] = arguments.partitions
        yield {"seconds": module.step(table, repeats=arguments.repeats, **options)}
    except Exception as error:
        first = str(error).strip().splitlines() or [""]
        print(json.dumps({"failed": f"{type(error).__name__}: {first[0]}"[:500]}), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
