"""The churn run: what its segments say of an outcome, and its time.

python -m benchmarks.churn tables              the five tables of conf/, beside KMeans
python -m benchmarks.churn scale --rows 10000000   a run against one fit and a scoring

Each writes `churn-tables.json` or `churn-scale.json` into `--out`, results/ where it is not said.

`separations` is a benchmark of benchmarks.run: what categories add.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from benchmarks.customers import write_customers
from benchmarks.records import RESULTS, Record, machine
from benchmarks.systems.spark import session

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

    from gmm_spark import GaussianMixtureModel

ROOT = Path(__file__).resolve().parents[1]

SAMPLE = ROOT / "sample" / "telco_churn"
# Where the tables of conf/ are: in the project, or in the reference data.
TABLES = {
    "telco_churn": "sample/telco_churn",
    "online_retail": "online_retail/online_retail.parquet",
    "iranian_churn": "iranian_churn/Customer_Churn.csv",
    "mlc_churn": "mlc_churn/mlc_churn.csv",
    "online_shoppers": "online_shoppers/online_shoppers_intention.csv",
}
NUMBERS = ["tenure", "monthly_charges", "log_total_charges"]
SEGMENTS = (2, 3, 4, 6, 8)
SEED = 7


def separations(cores: int) -> Iterator[dict[str, Any]]:
    """Of every number of segments, by numbers and by all columns: how unlike their churn is."""
    with session(cores, "2g"):
        from gmm_spark import GaussianMixture, ParquetTable

        table = ParquetTable(str(SAMPLE))
        left_out = {"customer_id", "churn", "total_charges", *NUMBERS}
        categories = [name for name in table.schema().names if name not in left_out]
        for k in SEGMENTS:
            for columns, chosen in (("numbers", []), ("all columns", categories)):
                mixture = GaussianMixture(
                    k=k, inputCols=NUMBERS, missing="marginalize", seed=SEED, numInit=16
                )
                if chosen:
                    mixture.setCategoricalCols(chosen)
                model = mixture.fit(table)
                scored = model.transform(table).select("churn", "probability").collect()
                churn = np.array([row["churn"] for row in scored])
                shares = np.array([row["probability"].toArray() for row in scored])
                yield {
                    "k": k,
                    "columns": columns,
                    "rows": len(churn),
                    "categories": len(chosen),
                    **_separation(churn, shares),
                }


def _separation(churn: Any, shares: Any) -> dict[str, float]:
    rates = churn @ shares / shares.sum(axis=0)
    ranks = rankdata(shares @ rates)
    left, stayed = int(churn.sum()), int((~churn).sum())
    joint = np.array([(~churn) @ shares, churn @ shares]) / churn.size
    apart = joint.sum(axis=0) * joint.sum(axis=1)[:, None]
    return {
        "lowest": float(rates.min()),
        "highest": float(rates.max()),
        "auc": (ranks[churn].sum() - left * (left + 1) / 2) / (left * stayed),
        "information": float((joint * np.log2(joint / apart)).sum()),
    }


def tables(names: Sequence[str], data: Path, cores: int) -> Iterator[dict[str, Any]]:
    """Of the runs of conf/NAME.yaml: what their segments say of the outcome, beside KMeans of as
    many clusters on the same prepared columns, numbers standardised and categories one-hot."""
    with session(cores, "2g") as spark, tempfile.TemporaryDirectory() as scratch:
        for name in names:
            source = TABLES[name]
            path = ROOT / source if source.startswith("sample") else data / source
            output = Path(scratch, name)
            config = ROOT / "conf" / f"{name}.yaml"
            argv = ["--config", config, "--input.path", path, "--output", output]
            yield {"table": name, **_beside_kmeans(spark, [str(word) for word in argv], output)}


def _beside_kmeans(spark: SparkSession, argv: list[str], output: Path) -> dict[str, Any]:
    from gmm_spark import GaussianMixtureModel
    from gmm_spark.cli import churn
    from gmm_spark.config import ChurnSettings, load_settings
    from gmm_spark.mixture.divisions import mutual_information, outcome_spread
    from gmm_spark.storage.customers import with_roles
    from gmm_spark.storage.tables import read_table

    if churn.main(argv) != 0:
        raise SystemExit(f"the run {' '.join(argv)} failed")
    settings = load_settings(ChurnSettings, argv)
    model = GaussianMixtureModel.load(str(output / "model"))
    made = output / "customers"
    frame = spark.read.parquet(str(made)) if made.exists() else read_table(spark, settings.input)
    customers = with_roles(settings, frame, settings.customer or settings.id)
    prepared = customers.frame.selectExpr("*", *model.getInputExpressions())
    rows = model.transform(prepared).toPandas()
    outcome = rows[customers.outcome].to_numpy(dtype=float)
    ours, k = rows["prediction"].to_numpy(), len(model.clusters)
    information = json.loads((output / "manifest.json").read_text("utf-8"))["metrics"]
    peers = [_kmeans(_one_hot(rows, model), k, seed) for seed in range(5)]
    return {
        "rows": len(rows),
        "k": k,
        "reported": information["outcome_information"],
        "bits": mutual_information(ours, outcome),
        "spread": outcome_spread(ours, outcome),
        "kmeans_bits": float(np.median([mutual_information(one, outcome) for one in peers])),
        "kmeans_spread": float(np.median([outcome_spread(one, outcome) for one in peers])),
    }


def _one_hot(rows: pd.DataFrame, model: GaussianMixtureModel) -> Any:
    """The columns of the model as KMeans takes them: gaps are the mean, or no value."""
    import pandas as pd

    numbers = [*(model.getInputCols() if model.isDefined("inputCols") else [])]
    values = rows[[*numbers, *model.getCountCols()]].astype(float)
    values = ((values - values.mean()) / values.std(ddof=0)).fillna(0.0)
    flags = [pd.get_dummies(rows[name], dtype=float) for name in model.categories]
    return np.column_stack([values.to_numpy(), *(flag.to_numpy() for flag in flags)])


def _kmeans(values: Any, k: int, seed: int) -> Any:
    from sklearn.cluster import KMeans

    return KMeans(k, n_init=10, random_state=seed).fit_predict(values).astype(np.intp)


def scale(rows: int, cores: int, driver_memory: str, directory: Path) -> dict[str, Any]:
    """Of a run on so many synthetic customers: its seconds, beside those of one fit of the chosen
    k and structure and one scoring, and the most memory the driver's two processes have held."""
    table, warm = write_customers(rows, directory), write_customers(20_000, directory)
    with session(cores, driver_memory) as spark, tempfile.TemporaryDirectory() as scratch:
        _timed_run(warm, Path(scratch, "warm"))
        run = Path(scratch, "run")
        seconds = _timed_run(table, run)
        found = {
            "rows": rows,
            "cores": cores,
            "run": seconds,
            **_fit_and_scoring(spark, table, run),
        }
        found["ratio"] = seconds / (found["fit"] + found["scoring"])
        manifest = json.loads((run / "manifest.json").read_text("utf-8"))
        return found | {"phases": manifest["metrics"].get("seconds"), **_peaks(spark)}


def _timed_run(table: Path, output: Path) -> float:
    from gmm_spark.cli import churn

    said = {"input.path": table, "id": "customer", "outcome": "left", "output": output}
    argv = [str(word) for key, value in said.items() for word in (f"--{key}", value)]
    started = time.monotonic()
    if churn.main(argv) != 0:
        raise SystemExit(f"the run of {table} failed")
    return time.monotonic() - started


def _fit_and_scoring(spark: SparkSession, table: Path, run: Path) -> dict[str, Any]:
    """Seconds of a fit of the k and structure that the run chose, without a choice, of the columns
    it prepared, and of a scoring of all the rows."""
    from gmm_spark import GaussianMixture, GaussianMixtureModel

    chosen = GaussianMixtureModel.load(str(run / "model"))
    columns = {
        "inputCols": chosen.getInputCols() if chosen.isDefined("inputCols") else None,
        "categoricalCols": chosen.getCategoricalCols(),
        "countCols": chosen.getCountCols(),
    }
    k, structure = chosen.parameters.k, chosen.getCovarianceType()
    mixture = GaussianMixture(
        k=k,
        covarianceType=structure,
        missing="marginalize",
        **{name: list(value) for name, value in columns.items() if value},
    )
    prepared = spark.read.parquet(str(table)).selectExpr("*", *chosen.getInputExpressions())
    started = time.monotonic()
    model = mixture.fit(prepared)
    fitted = time.monotonic()
    scored = model.setLogLikelihoodCol("log_density").transform(prepared)
    scored = scored.select("customer", "prediction", "probability", "log_density")
    scored.write.parquet(str(run / "again"))
    return {
        "components": k,
        "segments": len(chosen.clusters),
        "structure": structure,
        "fit": fitted - started,
        "scoring": time.monotonic() - fitted,
    }


def _peaks(spark: SparkSession) -> dict[str, int]:
    """The most memory that the driver's Python and its JVM have held, MiB."""
    processes = {"python_mib": "self", "jvm_mib": spark.sparkContext._gateway.proc.pid}  # type: ignore[union-attr]
    found = {}
    for name, process in processes.items():
        status = Path(f"/proc/{process}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        for line in lines:
            if line.startswith("VmHWM"):
                found[name] = int(line.split()[1]) // 1024
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["tables", "scale"])
    parser.add_argument("--rows", type=int, default=10_000_000, help="synthetic customers")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--driver-memory", default="2g")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--names", nargs="+", default=list(TABLES), choices=TABLES)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(argv)
    name = f"churn-{given.what}"
    record = Record(
        given.out / f"{name}.json",
        {
            "benchmark": name,
            "command": " ".join(["python -m benchmarks.churn", *map(str, argv or sys.argv[1:])]),
            "machine": machine(given.cores),
            "runs": [],
        },
    )
    if given.what == "scale":
        runs = iter([scale(given.rows, given.cores, given.driver_memory, given.directory)])
    else:
        runs = tables(given.names, given.data, given.cores)
    for found in runs:
        print(json.dumps(found), flush=True)
        record.content["runs"].append(found)
        record.save()


if __name__ == "__main__":
    main()
