"""The two sources of rows: the same rows, scanned and sampled the same, however they are kept."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyarrow import fs

from gmm_spark.engine import parquet as module
from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.dataframe import DataFrameSource
from gmm_spark.engine.parquet import ParquetSource, ParquetTable
from gmm_spark.engine.passes import PassEngine
from gmm_spark.engine.scan import Scan
from gmm_spark.engine.scanning import scan
from gmm_spark.errors import ConfigurationError, FitError, InputDataError
from gmm_spark.mixture.kernel import array_pass
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES

N = 900
NAMES = ("x", "y")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Two features, a weight, a label, an integer and a month to divide by."""
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(rng.normal([3, -50], [1, 20], size=(N, 2)), columns=list(NAMES))
    frame["w"] = rng.uniform(0.5, 2, N)
    frame["label"] = rng.integers(0, 3, N)
    frame["age"] = rng.integers(18, 90, N)
    frame["month"] = np.arange(N) % 3 + 1
    return frame


@pytest.fixture(scope="module")
def layouts(rows, tmp_path_factory) -> dict[str, str]:
    """The rows as one file, as many row groups, as several shuffled files, as hive partitions."""
    root = tmp_path_factory.mktemp("layouts")
    table = pa.Table.from_pandas(rows, preserve_index=False)
    pq.write_table(table, root / "one.parquet")
    pq.write_table(table, root / "groups.parquet", row_group_size=37)
    (root / "files").mkdir()
    shuffled = rows.sample(frac=1, random_state=1)
    for i, part in enumerate(np.array_split(np.arange(N), 7)):
        shuffled.iloc[part].to_parquet(root / "files" / f"{9 - i}.parquet", row_group_size=50)
    pq.write_to_dataset(table, root / "hive", partition_cols=["month"])
    return {
        "one": str(root / "one.parquet"),
        "groups": str(root / "groups.parquet"),
        "files": str(root / "files"),
        "hive": str(root / "hive"),
    }


LAYOUTS = ("one", "groups", "files", "hive")
ROLES = Roles(NAMES, weight="w", label="label")


def parquet(spark, path: str, roles: Roles = ROLES, filters: Any = None) -> ParquetSource:
    return ParquetSource(spark, ParquetTable(path, filters), roles)


def scanned(source: Any, **settings: Any) -> Scan:
    try:
        return scan(source, **{"missing": "error", "seed": 5, "sample_size": 2000, **settings})
    finally:
        source.close()


def frame_source(frame: Any, names: tuple[str, ...] = NAMES, **roles: Any) -> DataFrameSource:
    roles = {"weight": None, "label": None, **roles}
    return DataFrameSource(frame, input_cols=list(names), features_col="", **roles)


def as_frame(spark, rows: pd.DataFrame, partitions: int) -> Any:
    parallel = spark.sparkContext.parallelize(rows.values.tolist(), partitions)
    return spark.createDataFrame(parallel, ", ".join(f"{name} double" for name in rows))


def assert_same_sample(found: Scan, expected: Scan) -> None:
    assert_array_equal(found.sample, expected.sample)
    assert_array_equal(found.sample_weights, expected.sample_weights)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_scan_finds_what_is_in_the_table(spark, rows, layouts, layout) -> None:
    found = scanned(parquet(spark, layouts[layout]))
    assert (found.num_rows, found.num_skipped) == (N, 0)
    assert_allclose(found.weight, rows["w"].sum(), rtol=1e-13)
    assert_array_equal(found.lowest, rows[list(NAMES)].min())
    assert_array_equal(found.highest, rows[list(NAMES)].max())
    assert found.labels == (0, 1, 2)
    order = np.lexsort(found.sample)
    expected = rows[["x", "y", "w"]].to_numpy().T
    expected = expected[:, np.lexsort(expected[:2])]
    assert_array_equal(found.sample[:, order], expected[:2])
    assert_array_equal(found.sample_weights[order], expected[2])


@pytest.mark.parametrize("size", [100, 2000])
def test_the_sample_is_the_same_however_the_rows_are_kept(spark, rows, layouts, size) -> None:
    """Both where it is part of the rows, in no order of theirs, and where it is all of them."""
    expected = scanned(parquet(spark, layouts["one"]), sample_size=size)
    assert expected.sample.shape == (2, min(size, N))
    for layout in LAYOUTS[1:]:
        found = scanned(parquet(spark, layouts[layout]), sample_size=size)
        assert_same_sample(found, expected)
    for partitions in (1, 5):
        source = frame_source(as_frame(spark, rows, partitions), weight="w", label="label")
        assert_same_sample(scanned(source, sample_size=size), expected)


def test_another_seed_takes_another_sample(spark, layouts) -> None:
    one, other = (
        scanned(parquet(spark, layouts["groups"]), sample_size=100, seed=seed) for seed in (1, 2)
    )
    assert one.sample.shape == other.sample.shape == (2, 100)
    common = set(one.sample[0]) & set(other.sample[0])
    assert len(common) < 40


def test_rows_left_out_do_not_shorten_the_sample(spark, rows) -> None:
    gaps = rows.copy()
    gaps.loc[gaps.index % 10 != 0, "x"] = np.nan
    found = scanned(frame_source(as_frame(spark, gaps, 3)), missing="skip", sample_size=60)
    assert (found.num_rows, found.num_skipped) == (90, 810)
    assert found.sample.shape == (2, 60)
    assert set(found.sample[0]) <= set(gaps["x"].dropna())


def test_copies_of_rows_are_sampled_as_rows(spark, rows) -> None:
    twice = pd.concat([rows, rows])
    found = scanned(frame_source(as_frame(spark, twice, 3)), sample_size=5000)
    assert found.sample.shape == (2, 2 * N)


@pytest.mark.parametrize("kind", ["VVV", "VVI", "VII"])
@pytest.mark.parametrize("layout", ["groups", "files", "dataframe"])
def test_a_pass_finds_the_statistics_of_the_rows_in_memory(
    spark, rows, layouts, layout, kind
) -> None:
    structure = STRUCTURES[kind]
    unit = Parameters.unit(structure, 2, 2)
    start = Parameters(structure, unit.weights, np.array([[0.5, 0], [-0.5, 0.1]]), unit.covariances)
    scale = 10.0 if kind == "VII" else np.array([1.0, 20.0])
    evaluator = natural_parameters(
        [start], Standardisation(np.array([3.0, -50]), scale * np.ones(2))
    )
    if layout == "dataframe":
        source: Any = frame_source(as_frame(spark, rows, 4), weight="w")
    else:
        source = parquet(spark, layouts[layout], Roles(NAMES, weight="w"))
    try:
        seen = scan(source, missing="error", seed=0, sample_size=10)
        found = PassEngine(source, seen).run_pass(evaluator)
    finally:
        source.close()
    values = rows[list(NAMES)].to_numpy().T.copy()
    expected = array_pass(values, rows["w"].to_numpy())(evaluator)
    assert_allclose(found.values, expected.values, rtol=1e-11, atol=1e-9)


FILTERS: dict[str, Any] = {
    "a condition": ([("age", ">=", 50)], lambda r: r["age"] >= 50),
    "two conditions": (
        [("age", ">=", 50), ("month", "=", 2)],
        lambda r: (r["age"] >= 50) & (r["month"] == 2),
    ),
    "alternatives": (
        [[("age", "<", 30)], [("month", "in", [1, 3]), ("x", ">", 3.5)]],
        lambda r: (r["age"] < 30) | (r["month"].isin([1, 3]) & (r["x"] > 3.5)),
    ),
    "an expression": (
        (pc.field("y") < -60.0) & (pc.field("month") != 1),
        lambda r: (r["y"] < -60) & (r["month"] != 1),
    ),
}


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("layout", ["groups", "hive"])
def test_filters_keep_the_rows_they_name(spark, rows, layouts, layout, filters) -> None:
    given, keeps = FILTERS[filters]
    expected = rows[keeps(rows)]
    found = scanned(parquet(spark, layouts[layout], filters=given))
    assert found.num_rows == len(expected)
    assert 0 < len(expected) < N
    assert_array_equal(np.sort(found.sample[0]), np.sort(expected["x"]))
    assert_allclose(found.weight, expected["w"].sum(), rtol=1e-13)


def test_filters_that_keep_no_row_are_an_empty_table(spark, layouts) -> None:
    for filters in ([("age", ">", 1000)], [("age", "=", 18), ("age", "=", 19)]):
        with pytest.raises(InputDataError, match="no rows"):
            scanned(parquet(spark, layouts["groups"], filters=filters))


def test_hive_partitions_that_a_filter_excludes_are_not_opened(spark, layouts, tmp_path) -> None:
    hive = tmp_path / "hive"
    pq.write_to_dataset(pq.read_table(layouts["one"]), hive, partition_cols=["month"])
    for path in (hive / "month=2").iterdir():
        path.write_bytes(b"this is no Parquet file")
    found = scanned(parquet(spark, str(hive), filters=[("month", "!=", 2)]))
    assert found.num_rows == N - N // 3


def test_a_partition_column_can_be_a_feature(spark, rows, layouts) -> None:
    found = scanned(parquet(spark, layouts["hive"], Roles(("x", "month"))))
    expected = rows[["x", "month"]].to_numpy(float)
    assert_array_equal(np.sort(found.sample[1]), np.sort(expected[:, 1]))
    order = np.argsort(found.sample[0])
    assert_array_equal(found.sample[:, order].T, expected[np.argsort(expected[:, 0])])


def test_partition_columns_can_be_all_the_features(spark, rows, layouts) -> None:
    found = scanned(parquet(spark, layouts["hive"], Roles(("month",))))
    assert_array_equal(np.sort(found.sample[0]), np.sort(rows["month"]))


def test_rows_of_the_partition_without_a_value_have_a_gap(spark, rows, tmp_path) -> None:
    month = rows["month"].astype("Int64").mask(rows["month"] == 2)
    frame = pa.Table.from_pandas(rows.assign(month=month), preserve_index=False)
    pq.write_to_dataset(frame, tmp_path / "hive", partition_cols=["month"])
    roles = Roles(("x", "month"))
    with pytest.raises(InputDataError, match=f"column 'month': {N // 3} null in {N} rows"):
        scanned(parquet(spark, str(tmp_path / "hive"), roles))
    found = scanned(parquet(spark, str(tmp_path / "hive"), roles), missing="skip")
    assert (found.num_rows, found.num_skipped) == (N - N // 3, N // 3)


def test_columns_of_other_types_and_odd_names_are_read(spark, tmp_path) -> None:
    path = tmp_path / "odd.parquet"
    columns = {
        "a": pa.array([1, 2, 3], pa.int16()),
        "a.b": pa.array([0.5, 1.5, 2.5], pa.float32()),
        "a b": pa.array([True, False, True]),
        "c`d": pa.array(["1.25", "2.50", "3.75"]).cast(pa.decimal128(10, 2)),
    }
    pq.write_table(pa.table(columns), path)
    found = scanned(parquet(spark, str(path), Roles(("a", "a.b", "a b", "c`d"))))
    order = np.argsort(found.sample[0])
    expected = [[1, 2, 3], [0.5, 1.5, 2.5], [1, 0, 1], [1.25, 2.5, 3.75]]
    assert_array_equal(found.sample[:, order], expected)


def test_row_groups_are_shared_out_evenly(spark, layouts) -> None:
    for layout in ("groups", "files"):
        source = parquet(spark, layouts[layout])
        sizes = []
        for task in source.reader.rows.tasks:
            files = [(pq.ParquetFile(part.file.path).metadata, part.groups) for part in task]
            sizes.append(sum(m.row_group(g).num_rows for m, groups in files for g in groups))
        assert sum(sizes) == N
        assert len(sizes) == source.num_tasks == spark.sparkContext.defaultParallelism
        assert max(sizes) - min(sizes) <= 50


def test_a_partition_without_rows_changes_nothing(spark, rows) -> None:
    frame = as_frame(spark, rows, 2)
    with_empty = frame.union(frame.limit(0)).union(as_frame(spark, rows.iloc[:0], 3))
    expected, found = (scanned(frame_source(f), sample_size=100) for f in (frame, with_empty))
    assert found.num_rows == N
    assert found.fingerprint == expected.fingerprint
    assert_same_sample(found, expected)


def test_a_table_that_is_not_there_is_said_so(spark, tmp_path) -> None:
    with pytest.raises(ConfigurationError, match=r"no table at .*absent"):
        parquet(spark, str(tmp_path / "absent"))


def test_a_file_that_is_no_parquet_is_named(spark, layouts, tmp_path) -> None:
    (tmp_path / "bad.parquet").write_text("x,y\n1,2\n")
    with pytest.raises(InputDataError, match=r"bad\.parquet.* cannot be read as Parquet"):
        parquet(spark, str(tmp_path / "bad.parquet"))


def test_a_file_cut_short_is_named(spark, layouts, tmp_path) -> None:
    whole = Path(layouts["one"]).read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole)
    (tmp_path / "b.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputDataError, match=r"b\.parquet.* cannot be read as Parquet"):
        parquet(spark, str(tmp_path))


def test_a_file_without_the_column_is_named(spark, rows, tmp_path) -> None:
    rows[["x", "y"]].to_parquet(tmp_path / "a.parquet")
    rows[["x"]].to_parquet(tmp_path / "b.parquet")
    with pytest.raises((FitError, InputDataError), match=r"b\.parquet has no column 'y'"):
        scanned(parquet(spark, str(tmp_path), Roles(NAMES)))


@pytest.mark.parametrize("change", ["rewritten", "touched", "gone"])
def test_a_file_that_changes_after_it_was_noted_ends_the_job(spark, rows, tmp_path, change) -> None:
    path = tmp_path / "a.parquet"
    rows.to_parquet(path)
    source = parquet(spark, str(path))
    if change == "rewritten":
        rows.iloc[:50].to_parquet(path)
    elif change == "touched":
        os.utime(path, (1, 1))
    else:
        path.unlink()
    with pytest.raises(FitError, match=r"a\.parquet changed while it was being read"):
        scanned(source)


class TestCached:
    """A table kept in the executors' storage after the first scan."""

    def source(self, spark, path: Path, **options: Any) -> ParquetSource:
        return ParquetSource(spark, ParquetTable(str(path), **options), Roles(NAMES))

    def copy(self, rows, tmp_path: Path) -> Path:
        path = tmp_path / "t.parquet"
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), path, row_group_size=200)
        return path

    def evaluator(self):
        by = Standardisation(np.zeros(2), np.ones(2))
        start = Parameters(
            STRUCTURES["VVV"], np.ones(1), np.array([[3.0, -50.0]]), 100 * np.eye(2)[None]
        )
        return natural_parameters([start], by)

    def test_passes_do_not_read_the_files_again(self, spark, rows, tmp_path) -> None:
        path = self.copy(rows, tmp_path)
        sums = []
        for cached in (False, True):
            source = self.source(spark, path, cached=cached)
            found = scan(source, missing="error", seed=1, sample_size=100)
            if cached:
                path.unlink()
            sums.append(PassEngine(source, found).run_pass(self.evaluator()).values)
            source.close()
        assert_array_equal(sums[0], sums[1])

    def test_what_is_kept_is_given_back(self, spark, rows, tmp_path) -> None:
        kept = spark.sparkContext._jsc.getPersistentRDDs
        before = kept().size()
        source = self.source(spark, self.copy(rows, tmp_path), cached=True)
        scan(source, missing="error", seed=1, sample_size=100)
        assert kept().size() == before + 1
        source.close()
        assert kept().size() == before

    @pytest.mark.parametrize(
        ("store", "free", "expected"),
        [("s3", 1 << 30, True), ("s3", 20_000, False), ("local", 1 << 30, False)],
    )
    def test_by_default_what_is_far_away_and_fits(
        self, spark, rows, tmp_path, monkeypatch, store, free, expected
    ) -> None:
        class Elsewhere:
            type_name = store

        path = self.copy(rows, tmp_path)
        source = self.source(spark, path)
        monkeypatch.setattr(module, "free_storage", lambda _: free)
        reader = replace(source.reader.rows, filesystem=Elsewhere())
        table = ParquetTable(str(path))
        assert module._is_cached(spark, table, reader, 8 * 2 * N) is expected
        chosen = replace(table, cached=not expected)
        assert module._is_cached(spark, chosen, reader, 8 * 2 * N) is not expected

    def test_executors_say_how_much_is_free(self, spark) -> None:
        assert 1 << 20 < module.free_storage(spark) < 1 << 40

    def test_another_file_system(self, spark, rows, tmp_path) -> None:
        self.copy(rows, tmp_path)
        below = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
        source = self.source(spark, Path("t.parquet"), filesystem=below)
        assert scan(source, missing="error", seed=1, sample_size=100).num_rows == N
