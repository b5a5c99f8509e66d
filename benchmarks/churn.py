"""What categories add: the sample customers segmented by numbers alone, and by all columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks.systems.spark import session

SAMPLE = Path(__file__).resolve().parents[1] / "sample" / "telco_churn"
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
