"""Whether segments keep their ids from one model to the next: `python -m benchmarks.succession`.

retail : the churn run on online_retail as it was known on three days, each time the champion's
    segments fitted anew (`refit: keep`), and as many of the same structure chosen anew
    (`refit: choose`); customers of the day are scored by both models
telco : twenty bootstraps of the sample customers, to which the champion's segments are fitted anew,
    beginning from it, and to which as many of the same structure are chosen anew; all customers are
    scored by both models

`changed` is the share of the rows with another id, `fewest` that which the best assignment of ids
would leave. Results are in results/succession.json; twenty minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from scipy.optimize import linear_sum_assignment

from benchmarks.records import RESULTS, Record, machine
from benchmarks.systems.spark import session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from gmm_spark import GaussianMixtureModel
    from gmm_spark.report.succession import Champion

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "sample" / "telco_churn"
RETAIL = Path("online_retail", "online_retail.parquet")
DAYS = "2011-06-01", "2011-09-01", "2011-12-01"
# How the next model comes about, by whether it begins from the champion.
KEEP, CHOOSE = "from the champion", "chosen anew"


def retail(spark: SparkSession, table: Path, scratch: Path) -> Iterator[dict[str, Any]]:
    """Of every day but the first: how many of its customers have another id than by the model of
    the day before."""
    for way in (KEEP, CHOOSE):
        output = scratch / way.replace(" ", "_")
        config = ["--config", ROOT / "conf" / "online_retail.yaml", "--input.path", table]
        before = _run(output, [*config, "--run_date", DAYS[0]])
        more = ["--refit", "keep"]
        if way == CHOOSE:
            more = ["--refit", "choose", *_as_many(before.model)]
        for day in DAYS[1:]:
            now = _run(output, [*config, "--run_date", day, *more])
            found = _compared(spark.read.parquet(f"{now.uri}/customers"), before, now)
            yield {"table": "online_retail", "as_known_on": day, "start": way} | found
            before = now


def _run(output: Path, settings: Sequence[Any]) -> Champion:
    """What a churn run made the champion."""
    from gmm_spark.cli import churn
    from gmm_spark.report.succession import Champion
    from gmm_spark.storage import publish_log

    argv = [*settings, "--output", output, "--mode", "error", "--keep_versions", 10]
    if churn.main([*map(str, argv), "--publish_as", "champion"]) != 0:
        raise SystemExit(f"the run {' '.join(map(str, argv))} failed")
    return Champion.read(str(output), publish_log.find(str(output)))


def _as_many(model: GaussianMixtureModel) -> list[str]:
    return ["--k", str(len(model.clusters)), "--covariance_type", model.getCovarianceType()]


def _compared(rows: DataFrame, before: Champion, now: Champion) -> dict[str, Any]:
    """The rows by both models, under the ids that the run has given."""
    from gmm_spark.comparison import compare_models

    counts = compare_models(rows, before.model, now.model).modal
    same = np.equal.outer(before.ids.ids, now.ids.ids)
    return {
        **_changed(counts, same),
        "segments": len(now.ids.ids),
        "new": [id for id in now.ids.ids if id not in before.ids.ids],
        "gone": [id for id in before.ids.ids if id not in now.ids.ids],
        "why": now.model.summary.candidates[0]["why"],
        "mean_log_likelihood": now.model.summary.meanLogLikelihood,
    }


def _changed(counts: Any, same: Any) -> dict[str, Any]:
    """Shares of the rows, by a table of them, (old, new), and whether ids are the same."""
    total = counts.sum()
    best = counts[linear_sum_assignment(counts, maximize=True)].sum()
    return {
        "rows": int(total),
        "changed": float(1 - counts[same].sum() / total),
        "fewest": float(1 - best / total),
    }


def telco(spark: SparkSession, refits: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """Of every bootstrap and way: how many of the customers have another id than by the
    champion."""
    from gmm_spark.comparison import compare_models
    from gmm_spark.mixture.matching import matched

    config = ROOT / "conf" / "telco_churn.yaml"
    champion = _run(scratch / "telco", ["--config", config, "--input.path", SAMPLE])
    rows = spark.read.parquet(str(SAMPLE))
    table = pq.read_table(SAMPLE)
    k = len(champion.model.clusters)
    for seed in range(refits):
        drawn = np.random.default_rng(seed).integers(table.num_rows, size=table.num_rows)
        path = scratch / f"bootstrap-{seed}.parquet"
        pq.write_table(table.take(drawn), path)
        prepared = champion.prepared(spark.read.parquet(str(path)))
        for way, model in _models(champion.model, prepared):
            found = compare_models(rows, champion.model, model)
            matching = matched(found.modal, range(k), k, found.joint)
            yield {
                "table": "telco_churn",
                "seed": seed,
                "start": way,
                **_changed(found.modal, np.equal.outer(matching.old, matching.ids)),
                "segments": len(model.clusters),
                "new": list(matching.new),
                "gone": list(matching.gone),
                "why": model.summary.candidates[0]["why"],
            }


def _models(
    champion: GaussianMixtureModel, prepared: DataFrame
) -> Iterator[tuple[str, GaussianMixtureModel]]:
    """Of rows that were prepared as the champion's: from it, and without it."""
    from gmm_spark import GaussianMixtureSearch
    from gmm_spark.refit import refitted

    yield KEEP, refitted(champion, prepared)
    columns = {
        "inputCols": champion.getInputCols() if champion.isDefined("inputCols") else [],
        "categoricalCols": list(champion.categories),
        "countCols": champion.getCountCols(),
    }
    search = GaussianMixtureSearch(
        criterion="segmentation",
        k=[len(champion.clusters)],
        covarianceType=[champion.getCovarianceType()],
        outcomeCol="churn",
        missing=champion.getMissing(),
        **{name: list(value) for name, value in columns.items() if value},
    )
    model = search.fit(prepared)
    yield CHOOSE, model.setInputExpressions(champion.getInputExpressions())


def summaries(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of every table and way."""
    found = []
    for table, start in dict.fromkeys((one["table"], one["start"]) for one in runs):
        of = [one for one in runs if (one["table"], one["start"]) == (table, start)]
        changed = [one["changed"] for one in of]
        found.append(
            {
                "table": table,
                "start": start,
                "models": len(of),
                "changed_median": statistics.median(changed),
                "changed_most": max(changed),
                "over_a_tenth": sum(one > 0.1 for one in changed),
                "fewer_by_another_assignment": sum(
                    one["fewest"] < one["changed"] - 1e-12 for one in of
                ),
            }
        )
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", default=["retail", "telco"])
    parser.add_argument("--refits", type=int, default=20, help="bootstraps of telco")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(argv)
    words = sys.argv[1:] if argv is None else argv
    record = Record(
        given.out / "succession.json",
        {
            "benchmark": "succession",
            "command": " ".join(["python -m benchmarks.succession", *words]),
            "machine": machine(given.cores),
            "summaries": [],
            "runs": [],
        },
    )
    with session(given.cores, "2g") as spark, tempfile.TemporaryDirectory() as scratch:
        parts = {
            "retail": lambda: retail(spark, given.data / RETAIL, Path(scratch)),
            "telco": lambda: telco(spark, given.refits, Path(scratch)),
        }
        for name in given.tables:
            for found in parts[name]():
                print(json.dumps(found), flush=True)
                record.content["runs"].append(found)
                record.content["summaries"] = summaries(record.content["runs"])
                record.save()
    print(json.dumps(record.content["summaries"], indent=1))


if __name__ == "__main__":
    main()
