"""The files of one table: which they are, whose log says otherwise, and whether they agree."""

from __future__ import annotations

import datetime
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from gmm_spark.engine.parquet import ParquetTable
from gmm_spark.engine.table_files import common_type, open_files
from gmm_spark.errors import ConfigurationError, InputDataError
from tests.arrow_texts import written_texts

UTC = datetime.timezone.utc
NUMBERS = {"a": [1.0, 2.0], "b": [3.0, 4.0]}


def write(path: Path, columns: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def files_of(folder: Path, *columns: dict[str, Any]) -> Any:
    for i, one in enumerate(columns):
        write(folder / f"{i}.parquet", one)
    return open_files(folder)


def delta(folder: Path) -> None:
    write(folder / "part-0.parquet", NUMBERS)
    (folder / "_delta_log").mkdir()
    (folder / "_delta_log" / "00000000000000000000.json").write_text("{}")


def hudi(folder: Path) -> None:
    write(folder / "part-0.parquet", NUMBERS)
    (folder / ".hoodie").mkdir()
    (folder / ".hoodie" / "hoodie.properties").write_text("")


def iceberg(folder: Path) -> None:
    write(folder / "data" / "part-0.parquet", NUMBERS)
    (folder / "metadata").mkdir()
    (folder / "metadata" / "00000-1f3.metadata.json").write_text("{}")


def stream(folder: Path) -> None:
    write(folder / "part-0.parquet", NUMBERS)
    (folder / "_spark_metadata").mkdir()
    (folder / "_spark_metadata" / "0").write_text("v1")


FORMATS = {
    delta: 'is a Delta table.*format\\("delta"\\)',
    hudi: 'is a Hudi table.*format\\("hudi"\\)',
    iceberg: 'is an Iceberg table.*format\\("iceberg"\\)',
    stream: "is written by a stream",
}


@pytest.mark.parametrize("made", FORMATS)
@pytest.mark.parametrize("below", ["", "part=1", "year=1/month=2", "data", "*", "p*"])
def test_tables_with_a_log_are_refused_wherever_one_enters(tmp_path, made, below) -> None:
    folder = tmp_path / "lake" / "customers"
    made(folder)
    for inner in ("part=1", "year=1/month=2", "data"):
        write(folder / inner / "more.parquet", NUMBERS)
    with pytest.raises(ConfigurationError, match=FORMATS[made]) as caught:
        open_files(folder / below)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("made", FORMATS)
def test_a_file_of_such_a_table_and_a_folder_above_it_are_refused_too(tmp_path, made) -> None:
    folder = tmp_path / "lake" / "customers"
    made(folder)
    write(folder.parent / "plain.parquet", NUMBERS)
    file = next(folder.rglob("*.parquet"))
    for path in (file, folder.parent, tmp_path):
        with pytest.raises(ConfigurationError, match=FORMATS[made]):
            open_files(path)
    system = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    with pytest.raises(ConfigurationError, match=FORMATS[made]):
        open_files("lake/customers", system)
    # Its neighbours are tables of their own.
    assert len(open_files(folder.parent / "plain.parquet").files) == 1


@pytest.mark.parametrize("made", [delta, hudi, stream])
def test_so_are_deep_partitions_and_links_into_such_a_table(tmp_path, made) -> None:
    folder = tmp_path / "lake" / "customers"
    made(folder)
    deep = folder.joinpath(*(f"key{i}=1" for i in range(7)))
    file = write(deep / "0.parquet", NUMBERS)
    (tmp_path / "a").symlink_to(deep)
    (tmp_path / "b").symlink_to(folder)
    (tmp_path / "c.parquet").symlink_to(file)
    for path in (deep, file, tmp_path / "a", tmp_path / "b", tmp_path / "c.parquet"):
        with pytest.raises(ConfigurationError, match=FORMATS[made]):
            open_files(path)


def test_a_partition_of_hudi_says_what_it_is(tmp_path) -> None:
    file = write(tmp_path.joinpath("t", *"20261125", "0.parquet"), NUMBERS)
    (file.parent / ".hoodie_partition_metadata").write_text("")
    for path in (file, file.parent, file.parent.parent, tmp_path / "t"):
        with pytest.raises(ConfigurationError, match=FORMATS[hudi]):
            open_files(path)


def test_folders_that_only_look_like_such_a_table_are_read(tmp_path) -> None:
    write(tmp_path / "t" / "0.parquet", NUMBERS)
    (tmp_path / "t" / "metadata").mkdir()
    (tmp_path / "t" / "_SUCCESS").write_text("")
    (tmp_path / "t" / "_temporary").mkdir()
    write(tmp_path / "t" / "_temporary" / "1.parquet", NUMBERS)
    assert [Path(f.version.path).name for f in open_files(tmp_path / "t").files] == ["0.parquet"]


def test_a_file_twice_in_a_pattern_is_read_once(tmp_path) -> None:
    write(tmp_path / "t" / "0.parquet", NUMBERS)
    assert len(open_files(f"{tmp_path}/{{t,t/0.parquet}}").files) == 1


def test_partitions_are_below_the_path_as_for_spark(tmp_path) -> None:
    for month, name in ((1, "x"), (2, "y")):
        write(tmp_path / f"month={month}" / f"_kind={name}%20z" / "0.parquet", NUMBERS)
    whole = open_files(tmp_path)
    assert whole.partitions == ("month", "_kind")
    assert whole.schema.field("month").type == pa.int32()
    assert dict(whole.files[0].version.partition) == {"month": 1, "_kind": "x z"}
    assert open_files(tmp_path / "month=1").partitions == ("_kind",)
    assert len(open_files(tmp_path, filters=[("month", "=", 2)]).files) == 1
    assert len(open_files(tmp_path, filters=pc.field("_kind") == "x z").files) == 1


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (("k=1/0.parquet", "0.parquet"), "/0.parquet does not lie in a partition of k, as .*k=1"),
        (("k=1/0.parquet", "j=1/0.parquet"), "j=1/0.parquet does not lie in a partition of k"),
        (("k=1/j=2/0.parquet", "k=1/0.parquet"), "k=1/0.parquet does not lie .* of j, as .*j=2"),
    ],
)
def test_files_beside_the_partitions_are_refused(tmp_path, paths, said) -> None:
    for path in paths:
        write(tmp_path / path, NUMBERS)
    with pytest.raises(InputDataError, match=said):
        open_files(tmp_path)
    (tmp_path / paths[1]).rename(tmp_path / "_not_a_part.parquet")
    assert len(open_files(tmp_path).files) == 1


def test_a_partition_wins_over_a_stored_column_of_its_name(tmp_path) -> None:
    write(tmp_path / "month=1" / "0.parquet", {**NUMBERS, "month": ["one", "one"]})
    found = open_files(tmp_path)
    found.check("month", "number", "needed")
    assert found.schema.names == ["a", "b", "month"]


class TestColumnsThatDiffer:
    def test_a_column_of_some_files_is_a_column_of_the_table(self, tmp_path) -> None:
        found = files_of(tmp_path, {"a": [1.0]}, {"a": [1.0], "c": [2.0]}, {"a": [1.0]})
        assert found.schema.names == ["a", "c"]
        assert found.differ(["c"])
        assert not found.differ(["a"])
        found.check("c", "number", None)
        with pytest.raises(InputDataError, match=r"0\.parquet has no column 'c'.*2 of 3.*do this"):
            found.check("c", "number", "do this")
        with pytest.raises(InputDataError, match=r"no column 'd' in .*; it has: a, c$"):
            found.check("d", "number", None)

    @pytest.mark.parametrize(
        ("kind", "good", "bad"),
        [
            ("number", pa.array([1]), pa.array(["n/a"])),
            ("number", pa.array([1.5]), pa.array([0], pa.timestamp("s"))),
            ("category", pa.array(["x"]), pa.array([1.0])),
            ("category", pa.array([1]), pa.array([0], pa.date32())),
            ("membership", pa.array([1]), pa.array(["0"])),
            ("membership", pa.array([[1]]), pa.array([["0"]])),
        ],
    )
    @pytest.mark.parametrize("first", [True, False])
    def test_a_file_with_an_unusable_type_is_named(self, tmp_path, kind, good, bad, first) -> None:
        found = files_of(tmp_path, *({"c": c} for c in ((bad, good) if first else (good, bad))))
        kind_of = str(bad.type).partition("[")[0].partition("<")[0]
        expected = rf"column 'c' has type {kind_of}.* in .*{0 if first else 1}\.parquet"
        with pytest.raises(InputDataError, match=expected):
            found.check("c", kind, None)

    @pytest.mark.parametrize(
        ("kind", "columns"),
        [
            ("number", [pa.array([1]), pa.array([1.5]), pa.array([Decimal("1.5")]), pa.nulls(1)]),
            ("number", [pa.array([True]), pa.array([1], pa.uint8())]),
            (
                "category",
                [
                    *(pa.array(["x"], kind) for kind in written_texts()),
                    pa.array(["x"]).dictionary_encode(),
                    pa.nulls(1),
                ],
            ),
            (
                "membership",
                [pa.array([[1]]), pa.array([[1]], pa.large_list(pa.int8())), pa.nulls(1)],
            ),
        ],
    )
    def test_types_that_can_be_used_need_not_be_the_same(self, tmp_path, kind, columns) -> None:
        files_of(tmp_path, *({"c": column} for column in columns)).check("c", kind, "needed")

    def test_files_without_rows_do_not_matter(self, tmp_path) -> None:
        found = files_of(tmp_path, {"c": pa.array([], pa.string())}, {"a": [1.0], "c": [1.0]})
        found.check("a", "number", "needed")
        found.check("c", "number", "needed")

    def test_two_columns_of_one_name_are_refused_where_they_are_read(self, tmp_path) -> None:
        twice = pa.table([pa.array([1.0])] * 3, names=["a", "b", "b"])
        pq.write_table(twice, tmp_path / "0.parquet")
        found = open_files(tmp_path)
        found.check("a", "number", "needed")
        with pytest.raises(InputDataError, match=r"column 'b' is there 2 times in .*0\.parquet"):
            found.check("b", "number", "needed")

    def test_names_that_differ_in_case_are_one_name(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr("gmm_spark.engine.table_files.current_session", lambda: None)
        for folder, columns in (
            ("one", [{"a": [1.0], "A": [1.0]}]),
            ("two", [{"a": [1.0]}, {"A": [1.0]}]),
        ):
            found = files_of(tmp_path / folder, *columns)
            with pytest.raises(InputDataError, match=r"columns 'a' and 'A' of .* are one name"):
                found.check("a", "number", None)

    def test_a_filter_may_be_of_a_column_of_later_files(self, tmp_path) -> None:
        write(tmp_path / "0.parquet", {"a": [1.0]})
        write(tmp_path / "1.parquet", {"a": [1.0], "c": [5]})
        found = open_files(tmp_path, filters=[("c", ">", 3)])
        assert sum(rows for file in found.files for _, rows in file.groups) >= 1

    @pytest.mark.parametrize(
        ("filters", "said"),
        [
            ([("bb", ">", 3)], "there is no column 'bb' in the table, did you mean 'b'?; it has: "),
            ([[("a", ">", 3)], [("nope", "=", 1)]], "there is no column 'nope' in the table; it"),
            (pc.field("nope") > 3, "there is no column 'nope' in the table; it has: a, b"),
            (
                [("a", ">", "x")],
                'a column of double cannot be compared with a value of string (in (a > "x"))',
            ),
            ([("b", "in", [1])], "a column of string cannot be compared with a value of int64 (in"),
            ([("a", "~", 3)], "found [('a', '~', 3)] (\""),
            ("a > 3", "found 'a > 3' ("),
            (("a", ">", 3), "found ('a', '>', 3) ("),
            ([], "found [] ("),
            ({"a": 3}, "found a dict ("),
            (3, "found a int ("),
        ],
    )
    def test_filters_that_cannot_be_used_are_one_line(self, tmp_path, filters, said) -> None:
        write(tmp_path / "0.parquet", {"a": [1.0], "b": ["x"]})
        with pytest.raises(ConfigurationError) as caught:
            open_files(tmp_path, filters=filters)
        assert str(caught.value).startswith(f"filters: {said}")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("filters", "kept"),
        [
            ([("day", "=", "2026-10-25")], [1]),
            ([("day", "==", "2026-10-25T00:00")], [1]),
            ([("day", "<", "2026-10-25")], [0]),
            ([("day", "in", ["2026-10-24", "2026-10-26"])], [0, 2]),
            ([("day", "not in", ["2026-10-24"])], [1, 2]),
            ([[("day", "=", "2026-10-24")], [("day", "=", datetime.date(2026, 10, 26))]], [0, 2]),
            ([("at", ">=", "2026-10-25")], [1, 2]),
            ([("at", ">", "2026-10-25 06:30")], [2]),
            ([("at", "=", datetime.date(2026, 10, 26))], [2]),
            ([("ns", "=", "2026-10-25T06:30")], [1]),
            # Six o'clock in Berlin is four in the zone of the column.
            ([("utc", ">=", "2026-10-25T07:30+01:00")], [1, 2]),
            ([("utc", "=", "2026-10-25T06:30Z")], [1]),
            ([("utc", "=", datetime.datetime(2026, 10, 25, 6, 30, tzinfo=UTC))], [1]),
            ([("berlin", "=", "2026-10-25T07:30+01:00"), ("n", ">", 0)], [1]),
        ],
    )
    def test_days_and_times_are_compared_with_text(self, tmp_path, filters, kept) -> None:
        """As Spark's reader compares them, by which the score job reads the same filter."""
        at = [datetime.datetime(2026, 10, 24), datetime.datetime(2026, 10, 25, 6, 30)]
        at.append(datetime.datetime(2026, 10, 26))
        utc = [one.replace(tzinfo=UTC) for one in at]
        columns = {
            "n": [0, 1, 2],
            "day": [one.date() for one in at],
            "at": at,
            "ns": pa.array(at, pa.timestamp("ns")),
            "utc": pa.array(utc, pa.timestamp("us", "UTC")),
            "berlin": pa.array(utc, pa.timestamp("ms", "Europe/Berlin")),
        }
        write(tmp_path / "0.parquet", columns)
        expression = open_files(tmp_path, filters=filters).expression
        expression = pickle.loads(pickle.dumps(expression))
        found = pq.read_table(tmp_path / "0.parquet", filters=expression)
        assert found["n"].to_pylist() == kept

    @pytest.mark.parametrize(
        ("condition", "said"),
        [
            (("day", "=", "yesterday"), "a column of date32[day] cannot be compared with a value"),
            (("day", "=", "2026-10-25T06:00"), "a column of date32[day] cannot be compared with"),
            (("day", "in", ["2026-10-25", "x"]), "a column of date32[day] cannot be compared with"),
            (("utc", ">", "2026-10-25"), "a column of timestamp[us, tz=UTC] cannot be compared"),
        ],
    )
    def test_what_is_no_day_or_has_no_zone_is_said(self, tmp_path, condition, said) -> None:
        time = datetime.datetime(2026, 10, 24, tzinfo=UTC)
        write(
            tmp_path / "0.parquet",
            {"day": [time.date()], "utc": pa.array([time], pa.timestamp("us", "UTC"))},
        )
        with pytest.raises(ConfigurationError) as caught:
            open_files(tmp_path, filters=[condition])
        assert str(caught.value).startswith(f"filters: {said}")
        expected = {"day": "a day, '2026-11-26'", "utc": "a time, '2026-11-26T06:00', and with"}
        assert f"; expected {expected[condition[0]]}" in str(caught.value)

    def test_common_types(self) -> None:
        assert common_type([pa.int32(), pa.int64()]) == pa.int64()
        assert common_type([pa.int64(), pa.float64()]) == pa.float64()
        assert common_type([pa.null(), pa.date32()]) == pa.date32()
        assert (
            common_type([pa.large_string(), pa.dictionary(pa.int8(), pa.string())]) == pa.string()
        )
        assert common_type([pa.int64(), pa.string()]) is None


def test_a_table_is_named_by_text_or_path(tmp_path) -> None:
    write(tmp_path / "my data" / "0.parquet", NUMBERS)
    for path in (tmp_path / "my data", str(tmp_path / "my data"), (tmp_path / "my data").as_uri()):
        assert ParquetTable(path).schema().names == ["a", "b"]
    with pytest.raises(ConfigurationError, match=r"no table at .*absent"):
        ParquetTable(tmp_path / "absent").schema()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputDataError, match=r"there is no file in .*empty"):
        ParquetTable(tmp_path / "empty").schema()
