"""What row weights mean: a row of weight 0 is no row, and a row of weight 2 is the row twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyspark.ml.linalg import Vectors

from gmm_spark import GaussianMixture, GaussianMixtureSearch, ParquetTable
from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.packing import PackedReader, Packer
from gmm_spark.engine.row_groups import ParquetReader
from gmm_spark.errors import ConfigurationError, InputDataError
from tests.estimator.helpers import assert_same_model


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Two groups, with whatever a fit can be of."""
    rng = np.random.default_rng(8)
    group = rng.integers(0, 2, 240)
    frame = pd.DataFrame(rng.normal(6.0 * group, 1.0, (2, 240)).T, columns=["x", "y"])
    frame["plan"] = np.where(rng.random(240) < 0.2 + 0.6 * group, "basic", "team")
    frame["calls"] = rng.poisson(2.0 + 6.0 * group)
    frame["known"] = np.where(rng.random(240) < 0.2, group, np.nan)
    frame["w"] = rng.integers(1, 3, 240).astype(float)
    return frame.astype({"calls": float})


@pytest.fixture(scope="module")
def with_others(rows: pd.DataFrame) -> pd.DataFrame:
    """The same, and between them rows of weight 0 that hold what no fit takes."""
    others = pd.DataFrame(
        {
            "x": [np.inf, np.nan, -1e200, 1e6, 50.0] * 60,
            "y": [np.nan, -np.inf, 7.0, -1e6, 50.0] * 60,
            "plan": ["gone", None, *["rare"] * 3] * 60,
            "calls": [-2.0, 0.5, np.inf, 1e9, np.nan] * 60,
            "known": [99.0, -1.0, 0.5, 1.0, np.nan] * 60,
            "w": [0.0, -0.0, 0.0, 0.0, 0.0] * 60,
        }
    )
    index = np.empty(len(rows) + len(others), dtype=int)
    kept = np.sort(np.random.default_rng(1).choice(len(index), len(rows), replace=False))
    index[kept] = np.arange(len(rows))
    index[np.setdiff1d(np.arange(len(index)), kept)] = len(rows) + np.arange(len(others))
    return pd.concat([rows, others]).iloc[index]


KINDS: dict[str, Any] = {
    "numbers": GaussianMixture(k=2, inputCols=["x", "y"], numInit=1),
    "noise": GaussianMixture(
        k=2, inputCols=["x", "y"], noise=True, contamination=0.05, numInit=2, sampleSize=120
    ),
    "all kinds": GaussianMixture(
        k=2, inputCols=["x"], categoricalCols=["plan"], countCols=["calls"], labelCol="known",
        missing="marginalize", prior="conjugate", numInit=1,
    ),
    "search": GaussianMixtureSearch(
        k=[1, 2], inputCols=["x", "y"], missing="skip", criterion="icl", numInit=1
    ),
    "labels": GaussianMixture(k=2, inputCols=["x"], initialLabelCol="known", missing="skip"),
}  # fmt: skip


def written(frame: pd.DataFrame, path: Path) -> str:
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    return str(path)


def everything(model: Any) -> dict[str, Any]:
    """A model and what is said of it, but for what it took and how many rows were left out."""
    found = model.summary.to_json()
    found.pop("numZeroWeight")
    found["history"] = [{**h, "seconds": 0.0} for h in found["history"]]
    noise = {} if model.parameters.noise is None else vars(model.parameters.noise)
    found |= vars(model.parameters) | {"noise": noise}
    return found | {"threshold": model.getOutlierThreshold()}


@pytest.mark.parametrize("source", ["table", "frame"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_weight_0_are_absent_from_everything(
    spark, tmp_path, rows, with_others, kind, source
) -> None:
    """To the bit: they are left out before blocks are made, so that these are the same."""
    mixture = KINDS[kind].copy({KINDS[kind].weightCol: "w", KINDS[kind].seed: 5})
    if kind == "labels":
        known = ~rows["known"].isna()
        rows, with_others = rows[known], with_others[~with_others["known"].isna()]
    found = []
    for name, frame in (("without", rows), ("with", with_others)):
        path = written(frame, tmp_path / f"{name}.parquet")
        data = ParquetTable(path) if source == "table" else spark.read.parquet(path).coalesce(1)
        found.append(mixture.fit(data))
    without, beside = found
    assert without.summary.numZeroWeight == 0
    assert beside.summary.numZeroWeight == len(with_others) - len(rows)
    assert beside.categories == without.categories
    np.testing.assert_equal(*(everything(model) for model in (beside, without)))


@pytest.mark.parametrize("source", ["table", "frame"])
@pytest.mark.parametrize("columns", [{"inputCols": ["x"]}, {"categoricalCols": ["plan"]}])
def test_a_table_of_rows_of_weight_0_is_one_error(spark, tmp_path, rows, columns, source) -> None:
    path = written(rows.assign(w=0.0), tmp_path / "t.parquet")
    data = ParquetTable(path) if source == "table" else spark.read.parquet(path)
    with pytest.raises(InputDataError, match=r"^weight column 'w': the weights of all rows sum"):
        GaussianMixture(weightCol="w", **columns).fit(data)


def test_vectors_in_rows_of_weight_0_may_have_any_length(spark, rows) -> None:
    """The first row says how long vectors are, and is one of weight 0."""
    right = [(Vectors.dense(row), 1.0) for row in rows[["x", "y"]].to_numpy()[:40]]
    wrong = [(Vectors.dense([1.0, 2, 3]), 0.0), (Vectors.sparse(9, [1], [np.inf]), 0.0)]
    mixture = GaussianMixture(weightCol="w", numInit=1)
    models = [
        mixture.fit(spark.createDataFrame(data, ["features", "w"]).coalesce(1))
        for data in (right, [*wrong, *right, *wrong])
    ]
    assert_array_equal(models[1].means, models[0].means)
    assert [model.summary.numZeroWeight for model in models] == [0, 4]
    nothing = spark.createDataFrame([(row, 0.0) for row, _ in right], ["features", "w"])
    with pytest.raises(InputDataError, match=r"^weight column 'w': the weights of all rows sum"):
        mixture.fit(nothing)


def test_too_few_rows_of_some_weight_are_too_few(spark, rows) -> None:
    frame = spark.createDataFrame(rows.assign(w=[1.0, 2.0] + [0.0] * 238))
    with pytest.raises(InputDataError, match="k is 3, but there are only 2 rows"):
        GaussianMixture(k=3, inputCols=["x"], weightCol="w").fit(frame)


def test_values_of_a_category_are_ranked_by_weight(spark, tmp_path, rows) -> None:
    """Five rows of weight 10 are 50 rows: more than 40 rows of weight 1."""
    plans = ["a"] * 40 + ["b"] * 30 + ["c"] * 5
    frame = pd.DataFrame({"plan": plans, "w": [1.0] * 70 + [10.0] * 5})
    path = written(frame, tmp_path / "t.parquet")
    mixture = GaussianMixture(k=1, categoricalCols=["plan"], maxCategories=2, weightCol="w")
    for data in (ParquetTable(path), spark.read.parquet(path)):
        model = mixture.fit(data)
        assert model.categories == {"plan": ["c", "(other)"]}
        (said,) = model.summary.warnings
        assert "the others (58.33% of the weight) count as one" in said  # 70 of 120


# --- blocks, without Spark ---------------------------------------------------------------------

BATCH = pa.RecordBatch.from_arrays(
    [
        pa.array([1.0, np.inf, None, 4.0, 5.0]),
        pa.array([[0, 1], [2], None, [3, 4], [5, 6, 7]], pa.list_(pa.int32())),
        pa.array([1.0, 0.0, -0.0, None, 0.0]),
    ],
    ["x", "known", "w"],
)


def of_table() -> ParquetReader:
    class Rows:
        def __call__(self, batches: Any) -> Any:
            return (batch.select(["x", "w", "known"]) for batch in batches)

    return ParquetReader(Rows(), Roles(("x",), weight="w", membership="known"))  # type: ignore[arg-type]


def of_frame(batches: list[pa.RecordBatch]) -> list[Any]:
    roles = Roles(("x",), weight="w", membership="known")
    packer = Packer(("0", "1", "2"), False, roles.encoders, 1)
    numbered = [
        pa.RecordBatch.from_arrays([b["x"], b["w"], b["known"]], ["0", "1", "2"]) for b in batches
    ]
    return list(PackedReader(roles)(packer(numbered)))


@pytest.mark.parametrize("source", ["table", "frame"])
def test_blocks_hold_no_row_of_weight_0_and_keep_those_of_none(source) -> None:
    """A null is no 0: it is refused, once it is counted."""
    batches = [BATCH, BATCH.slice(1, 2)]
    blocks = list(of_table()(batches)) if source == "table" else of_frame(batches)
    values = np.concatenate([block.values for block in blocks], axis=1)
    assert_array_equal(values, [[1, 4], [1, np.nan], [3, 24]])
    assert sum(block.weightless for block in blocks) == 5
    assert_array_equal(sum(block.nulls for block in blocks), [0, 1, 0])


def test_rows_of_weight_0_alone_are_counted_too() -> None:
    (block,) = of_frame([BATCH.slice(1, 2)])
    assert (block.values.shape, block.weightless) == ((3, 0), 2)


# --- weights that are no counts of rows --------------------------------------------------------

MIXED = GaussianMixture(
    k=2, inputCols=["x", "y"], categoricalCols=["plan"], countCols=["calls"],
    prior="conjugate", priorShrinkage=0.5, weightConcentration=3.0, categoryPrior=2.0,
    weightCol="w", numInit=2, seed=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def uneven(rows: pd.DataFrame) -> pd.DataFrame:
    """Weights that sum to the number of rows."""
    weights = np.random.default_rng(4).uniform(0.2, 3, len(rows))
    return rows.assign(w=weights * len(rows) / weights.sum()).drop(columns="known")


@pytest.mark.parametrize("total", [1.0, 1e9])
def test_importance_weights_of_any_sum_are_as_if_they_summed_to_the_rows(
    spark, uneven, total
) -> None:
    """In the mixture with its priors, the criteria, and the search with its errors."""
    scaled = spark.createDataFrame(uneven.assign(w=uneven["w"] * total / len(uneven)))
    important = {MIXED.weightKind: "importance"}
    of_rows, model = MIXED.fit(spark.createDataFrame(uneven)), MIXED.fit(scaled, important)
    assert_same_model(model, of_rows)
    assert_allclose(model.rates, of_rows.rates)
    assert_allclose(model.probabilities("plan"), of_rows.probabilities("plan"))
    found, expected = model.summary, of_rows.summary
    for name in ("logLikelihood", "aic", "bic", "icl", "effectiveNumRows"):
        assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9)
    assert found.clusterSizes == expected.clusterSizes
    assert_allclose(found.weightSum, total)
    assert_allclose(sum(found.clusterWeights), total)
    assert found.warnings == []
    (said,) = MIXED.copy({MIXED.k: 1}).fit(scaled).summary.warnings
    assert said.startswith(f"weights_sum: the weights in w sum to {total:g} over 240 rows")


def test_a_search_takes_importance_weights_as_if_they_summed_to_the_rows(spark, uneven) -> None:
    search = GaussianMixtureSearch(
        k=[1, 2, 3], inputCols=["x"], weightCol="w", numInit=2, seed=3, sampleSize=150
    )
    tables = [
        search.fit(spark.createDataFrame(frame), {search.weightKind: kind}).summary.candidates
        for frame, kind in (
            (uneven, "frequency"),
            (uneven.assign(w=uneven["w"] / 240), "importance"),
        )
    ]
    for a, b in zip(*tables, strict=True):
        assert a["k"] == b["k"]
        for name in ("criterion", "meanLogLikelihood", "standardError"):
            assert_allclose(b[name], a[name], rtol=1e-6, atol=1e-9)


def test_effective_rows_are_kishs(spark, uneven) -> None:
    weights = uneven["w"].to_numpy()
    expected = weights.sum() ** 2 / (weights**2).sum()
    mixture = GaussianMixture(k=1, inputCols=["x"], weightCol="w")
    for scale in (1.0, 1e-170):  # whose square underflows
        data = spark.createDataFrame(uneven.assign(w=scale * weights)).repartition(3)
        found = mixture.fit(data, {mixture.weightKind: "importance"}).summary.effectiveNumRows
        assert_allclose(found, expected, rtol=1e-12)
    assert mixture.fit(data, {mixture.weightCol: None}).summary.effectiveNumRows == 240.0


def test_an_unknown_kind_of_weights_is_refused(spark) -> None:
    with pytest.raises(ConfigurationError, match="weightKind is 'survey'; it must be one of freq"):
        GaussianMixture(weightKind="survey").fit(spark.range(3))
