"""`model.sample`: a DataFrame of rows drawn from a fitted mixture."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import functions as F

from gmm_spark import GaussianMixture, GaussianMixtureModel
from gmm_spark.errors import ConfigurationError


def test_rows_of_a_mixture_of_everything(spark, tmp_path) -> None:
    rows = spark.sql(
        """select cast(id % 2 * 9 + id % 5 as double) `x.`, cast(id % 3 as string) kind,
        cast(id % 4 as int) calls from range(0, 200, 1, 2)"""
    )
    model = GaussianMixture(
        k=2, inputCols=["x."], categoricalCols=["kind"], countCols=["calls"], noise=True,
        numInit=1, maxIter=1, seed=1,
    ).fit(rows)  # fmt: skip
    drawn = model.sample(10_000, seed=3)
    assert drawn.dtypes == [
        ("x.", "double"), ("kind", "string"), ("calls", "bigint"), ("component", "int"),
    ]  # fmt: skip
    by_component = {
        r["component"]: r["count"] for r in drawn.groupBy("component").count().collect()
    }
    assert sum(by_component.values()) == 10_000
    for k, weight in enumerate(model.weights):
        assert abs(by_component[k] - 10_000 * weight) < 5 * np.sqrt(10_000 * weight)
    lowest, highest = drawn.where("component = -1").agg(F.min("`x.`"), F.max("`x.`")).first()
    assert 0 <= lowest <= highest <= 13
    again = model.sample(10_000, seed=3).repartition(3).sort(*("`x.`", "calls", "kind"))
    assert again.collect() == drawn.sort("`x.`", "calls", "kind").collect()
    model.save(str(tmp_path / "model"))
    loaded = GaussianMixtureModel.load(str(tmp_path / "model"))
    assert loaded.sample(100, seed=3).collect() == model.sample(100, seed=3).collect()


def test_rows_of_vectors_and_what_cannot_be_drawn(spark) -> None:
    given = GaussianMixtureModel.fromParameters([1.0], [[1.0, 2.0]], [np.eye(2)])
    drawn = given.sample(20, seed=1)
    assert drawn.columns == ["features", "component"]
    assert given.transform(drawn).count() == 20
    assert given.sample(0).count() == 0
    assert given.sample(np.int64(2), seed=None).collect() == given.sample(2).collect()
    for n, seed, said in ((-1, 0, "n is -1"), (1, -1, "seed is -1"), (2.5, 0, "n is 2.5"),
                          ("3", 0, "n is '3'"), (1, 0.5, "seed is 0.5")):  # fmt: skip
        with pytest.raises(ConfigurationError, match=f"^{said}; it must be a whole number"):
            given.sample(n, seed)
    clash = GaussianMixtureModel.fromParameters([1.0], [[1.0]], [[[1.0]]], inputCols=["component"])
    with pytest.raises(ConfigurationError, match="component exist already"):
        clash.sample(1)
    clash.setInputCols(["Component"])
    with pytest.raises(ConfigurationError, match=r"component \(as Component\) exist already"):
        clash.sample(1)
