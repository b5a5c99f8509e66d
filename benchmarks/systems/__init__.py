"""The systems compared. One module each, with the same two functions:

`fits(table, seeds, ...)` yields a dictionary a fit, from Parquet to model; `step(table, ...)`
gives seconds of one pass or iteration. Those that fill gaps have `impute(table, ...)`: seconds
from Parquet to filled rows, and what was put into the gaps, row by row. A module imports its
system only when it is used: every system runs in a process of its own, oneDAL in an environment
of its own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """A system under one name; `variant` says what of the module."""

    name: str
    label: str
    module: str
    variant: str | None = None

    @property
    def on_spark(self) -> bool:
        return self.module in ("ours", "mllib")


PEERS = ("pyspark.ml", "scikit-learn", "onedal")


def as_narrow(peer: str) -> str:
    """The name of gmm_spark with a floor at the narrowest component of a peer."""
    return f"gmm_spark-as-{peer}"


SYSTEMS = {
    s.name: s
    for s in (
        System("gmm_spark", "gmm_spark", "ours", "parquet"),
        System("gmm_spark-dataframe", "gmm_spark, DataFrame", "ours", "dataframe"),
        System("gmm_spark-plain", "gmm_spark, plain EM", "ours", "plain"),
        System("gmm_spark-gaps", "gmm_spark, gaps", "ours", "gaps"),
        System("gmm_spark-far", "gmm_spark, far files", "ours", "far"),
        System("gmm_spark-far-cached", "gmm_spark, far files, cached", "ours", "far-cached"),
        System("gmm_spark-search", "gmm_spark, k = 2 to 12", "ours", "search"),
        System("pyspark.ml", "pyspark.ml", "mllib"),
        System("scikit-learn", "scikit-learn", "scikit_learn"),
        System("onedal", "oneDAL", "onedal"),
        System("column-means", "column means", "scikit_learn", "means"),
        System("iterative", "scikit-learn, IterativeImputer", "scikit_learn", "iterative"),
        System("neighbours", "scikit-learn, KNNImputer", "scikit_learn", "neighbours"),
        *(
            System(as_narrow(peer), f"gmm_spark, as narrow as {peer}", "ours", "parquet")
            for peer in PEERS
        ),
    )
}
