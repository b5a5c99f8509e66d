"""Files of one table that differ: gaps where a column is absent, one line where it is unusable."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose
from pyarrow import fs

from gmm_spark import GaussianMixture, GaussianMixtureModel, ParquetTable
from gmm_spark.errors import ConfigurationError, InputDataError
from tests.arrow_texts import written_texts
from tests.estimator.helpers import table

N = 60


@pytest.fixture(scope="module")
def columns() -> dict[str, list[Any]]:
    """Of 2 N rows; a numeric, a category, a count, a weight, a known component."""
    rng = np.random.default_rng(8)
    side = np.arange(2 * N) % 2
    return {
        "a": (6.0 * side + rng.normal(size=2 * N)).tolist(),
        "b": (3.0 * side + rng.normal(size=2 * N)).tolist(),
        "plan": ["xy"[s] for s in side],
        "visits": rng.poisson(1 + 4 * side).tolist(),
        "w": (1.0 + side).tolist(),
        "known": side.tolist(),
    }


def written(folder: Path, *parts: dict[str, Any]) -> Path:
    folder.mkdir()
    for i, part in enumerate(parts):
        pq.write_table(pa.table(part), folder / f"{i}.parquet")
    return folder


def halves(columns: dict[str, list[Any]], without: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first rows without a column, and the others."""
    first = {name: values[:N] for name, values in columns.items() if name != without}
    return first, {name: values[N:] for name, values in columns.items()}


def mixture(**params: Any) -> GaussianMixture:
    given = {"k": 2, "inputCols": ["a", "b"], "categoricalCols": ["plan"], "countCols": ["visits"]}
    return GaussianMixture(**{**given, "numInit": 1, "maxIter": 4, "seed": 2, **params})


@pytest.mark.parametrize("name", ["b", "plan", "visits"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.long
def test_an_absent_column_is_a_gap(spark, tmp_path, columns, name, swapped) -> None:
    """The fit, the scores and what is filled in are those of nulls in a DataFrame."""
    parts = halves(columns, name)
    path = written(tmp_path / "t", *(parts[::-1] if swapped else parts))
    nulls = {**columns, name: [None] * N + columns[name][N:]}
    rows = list(zip(*nulls.values(), strict=True))
    schema = "a double, b double, plan string, visits long, w double, known long"
    frame = table(spark, rows, schema, 2)
    expected = mixture(missing="marginalize").fit(frame)
    found = mixture(missing="marginalize").fit(ParquetTable(path))
    assert found.summary.numGaps == expected.summary.numGaps == {name: N}
    assert_allclose(found.means, expected.means, rtol=1e-9)
    assert_allclose(found.rates, expected.rates, rtol=1e-9)
    assert_allclose(found.probabilities("plan"), expected.probabilities("plan"), rtol=1e-9)

    def scores(data: Any) -> np.ndarray:
        scored = found.transform(data).select("a", "b", "plan", "visits", "probability").collect()
        return np.array([row.probability.toArray() for row in sorted(scored, key=lambda r: r.a)])

    assert_allclose(scores(ParquetTable(path)), scores(frame), rtol=1e-9)
    filled = found.impute(ParquetTable(path)).orderBy("a").select("a", "b", "plan", "visits")
    assert filled.collect() == found.impute(frame).orderBy("a").select(filled.columns).collect()


@pytest.mark.parametrize("name", ["b", "plan", "visits", "w", "start"])
def test_else_the_file_and_the_column_are_named(spark, tmp_path, columns, name) -> None:
    columns = {**columns, "start": columns["known"]}
    path = written(tmp_path / "t", *halves(columns, name)[::-1])
    params = {"weightCol": "w", "initialLabelCol": "start"}
    expected = rf"1\.parquet has no column '{name}', which other files .* \(1 of 2 lack it\)"
    with pytest.raises(InputDataError, match=expected) as caught:
        mixture(**params).fit(ParquetTable(path))
    assert "\n" not in str(caught.value)
    if name in ("w", "start"):  # no gap may be there
        with pytest.raises(InputDataError, match="every row needs a value there"):
            mixture(missing="marginalize", **params).fit(ParquetTable(path))


def test_rows_of_a_file_without_labels_are_of_no_known_component(spark, tmp_path, columns) -> None:
    path = written(tmp_path / "t", *halves(columns, "known"))
    rows = zip(*columns.values(), strict=True)
    nulls = [(*row[:5], None if i < N else row[5]) for i, row in enumerate(rows)]
    schema = "a double, b double, plan string, visits long, w double, known long"
    expected = mixture(labelCol="known").fit(table(spark, nulls, schema))
    found = mixture(labelCol="known").fit(ParquetTable(path))
    assert_allclose(found.means, expected.means, rtol=1e-9)


def test_scoring_says_it_before_anything_runs(spark, tmp_path, columns) -> None:
    path = written(tmp_path / "t", *halves(columns, "b")[::-1])
    model = GaussianMixtureModel.fromParameters(
        [1.0], [[0.0, 0.0]], [[[1.0, 0.0], [0.0, 1.0]]], inputCols=["a", "b"]
    )
    with pytest.raises(InputDataError, match=r"1\.parquet has no column 'b'"):
        model.transform(ParquetTable(path))
    model.setMissing("skip")
    scored = model.transform(ParquetTable(path, columns=("a",))).collect()
    assert sum(row.prediction is None for row in scored) == N


TYPES = {
    "ints, doubles, decimals": [
        pa.array([1, 2, 3]),
        pa.array([4.5, 5.5, 9.0]),
        pa.array([Decimal("6.25"), Decimal("7.00"), None]),
        pa.nulls(2),
    ],
    "narrow and wide": [pa.array([1, 2], pa.int8()), pa.array([2.5, 7.5], pa.float32())],
    "yes and no": [pa.array([True, False, True]), pa.array([3, 4], pa.uint16())],
}


@pytest.mark.parametrize("case", TYPES)
def test_numbers_need_not_have_one_type(spark, tmp_path, case) -> None:
    parts = TYPES[case]
    path = written(tmp_path / "t", *({"v": part} for part in parts))
    values = [float(v) for part in parts for v in part.to_pylist() if v is not None]
    model = GaussianMixture(k=1, inputCols=["v"], missing="skip").fit(ParquetTable(path))
    assert model.summary.numRows == len(values)
    assert_allclose(model.means, [[np.mean(values)]], rtol=1e-12)
    scored = model.transform(ParquetTable(path, columns=())).count()
    assert scored == sum(map(len, parts))


def test_text_has_many_types(spark, tmp_path) -> None:
    texts = ["x", "y", "x", None]
    arrays = [pa.array(texts, kind) for kind in written_texts()] + [
        pa.array(texts).dictionary_encode()
    ]
    path = written(tmp_path / "t", *({"plan": a, "i": [1] * 4} for a in arrays), {"i": [1]})
    model = GaussianMixture(k=1, categoricalCols=["plan"], missing="skip", categoryPrior=0.0)
    found = model.fit(ParquetTable(path))
    assert found.summary.numRows == 3 * len(arrays)
    assert_allclose(found.probabilities("plan"), [[2 / 3, 1 / 3]])
    kept = found.transform(ParquetTable(path)).collect()
    number = len(arrays)
    assert sorted(str(row.plan) for row in kept) == (
        (number + 1) * ["None"] + 2 * number * ["x"] + number * ["y"]
    )


@pytest.mark.parametrize(
    ("value", "kind"),
    [(["n/a"], "string"), (pa.array([0], pa.date32()), "date32"), ([[1.0]], "list")],
)
def test_an_unusable_column_of_a_later_file_is_one_line(spark, tmp_path, value, kind) -> None:
    path = written(tmp_path / "t", {"v": [1.0, 2.0]}, {"v": value})
    with pytest.raises(InputDataError, match=rf"'v' has type {kind}.* in .*1\.parquet") as caught:
        GaussianMixture(k=1, inputCols=["v"], missing="skip").fit(ParquetTable(path))
    assert "\n" not in str(caught.value)


def test_kept_columns_that_differ(spark, tmp_path) -> None:
    path = written(
        tmp_path / "t", {"v": [1.0], "id": [7]}, {"v": [2.0], "id": [8.5], "name": ["z"]}
    )
    model = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]], inputCols=["v"])
    rows = model.transform(ParquetTable(path)).orderBy("v").collect()
    assert [(row.v, row.id, row.name) for row in rows] == [(1.0, 7.0, None), (2.0, 8.5, "z")]
    other = written(tmp_path / "other", {"v": [1.0], "id": [7]}, {"v": [2.0], "id": ["b"]})
    with pytest.raises(InputDataError, match=r"'id' has type string in .*1\.parquet"):
        model.transform(ParquetTable(other))
    assert model.transform(ParquetTable(other, columns=("v",))).count() == 2


def test_a_file_system_of_ones_own_is_scored_as_it_is_fitted(spark, tmp_path) -> None:
    """Spark would look for the same path on another disk."""
    written(tmp_path / "t", {"v": [1.0, 2.0], "day": pa.array([0, 1], pa.date32())})
    below = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    data = ParquetTable("t", filesystem=below)
    model = GaussianMixture(k=1, inputCols=["v"]).fit(data)
    assert sorted(row.v for row in model.transform(data).collect()) == [1.0, 2.0]
    assert model.impute(data).count() == 2
    with pytest.raises(ConfigurationError, match="does not know the `filesystem`"):
        GaussianMixture(k=1).fit(data)


class TestIds:
    """Whole numbers that a double cannot hold."""

    def test_arrays_are_scored_as_they_were_fitted(self, spark) -> None:
        rows = [([2**53 + 1 + 2 * i, i % 7],) for i in range(40)]
        frame = table(spark, rows, "features array<bigint>")
        model = GaussianMixture(k=1).fit(frame)
        doubles = frame.selectExpr("cast(features as array<double>) as features")
        expected = [row.prediction for row in model.transform(doubles).collect()]
        assert [row.prediction for row in model.transform(frame).collect()] == expected

    @pytest.mark.parametrize("schema", ["x double, id bigint", "x double, id array<bigint>"])
    def test_a_label_that_is_an_id_is_one_line(self, spark, schema) -> None:
        ids = [2**53 + 1 + i for i in range(20)]
        rows = [(float(i % 7), [one] if "array" in schema else one) for i, one in enumerate(ids)]
        mixture = GaussianMixture(k=2, inputCols=["x"], labelCol="id")
        said = r"label column 'id': 20 of 20 rows hold .* number \(one: 9.0072e\+15\)"
        with pytest.raises(InputDataError, match=said) as caught:
            mixture.fit(table(spark, rows, schema))
        assert "\n" not in str(caught.value)

    def test_in_a_parquet_table_too(self, spark, tmp_path) -> None:
        path = written(tmp_path / "t", {"x": [1.0, 2.0], "id": [2**60, 2**60 + 1]})
        mixture = GaussianMixture(k=1, inputCols=["x"], labelCol="id")
        with pytest.raises(InputDataError, match="no component number"):
            mixture.fit(ParquetTable(path))
