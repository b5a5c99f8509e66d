"""What is at a path where nobody says: the format, and how a CSV file is written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from gmm_spark.config import InputSettings
from gmm_spark.engine.addresses import address
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.storage import formats
from gmm_spark.storage.formats import (
    csv_table,
    decimal_mark,
    files_at,
    format_by_name,
    json_options,
)
from gmm_spark.storage.tables import parquet_table, read_table

NAMES = {
    "customers.csv": "csv",
    "customers.CSV": "csv",
    "customers.csv.gz": "csv",
    "customers.tsv": "csv",
    "a.b.txt": "csv",
    "events.jsonl": "json",
    "events.json.bz2": "json",
    "t.parquet": "parquet",
    "t.snappy.parquet": "parquet",
    "t.orc": "orc",
    "t.avro": "avro",
    "customers": None,
    "part-00000": None,
    "customers.gz": None,
    "v1.2": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_says_its_format(name) -> None:
    assert format_by_name(name) == NAMES[name]


def found(root: Path, *names: str) -> tuple[str, str | None, str | None]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("a,b\n1,2\n")
    at = files_at(address(root), [str(root)])
    return at.format, at.example and str(Path(at.example).relative_to(root)), at.pattern


def test_a_folder_is_what_its_files_are(tmp_path) -> None:
    assert found(tmp_path / "a", "_SUCCESS", "README.md", "x.csv", "y.csv.gz", "notes.txt") == (
        "csv", "x.csv", "*{.csv,.csv.gz}",
    )  # fmt: skip
    assert found(tmp_path / "b.csv", "month=1/part-0.parquet") == (
        "parquet", "month=1/part-0.parquet", "*{.parquet}",
    )  # fmt: skip
    assert found(tmp_path / "c", "part-00000", ".part-0.csv.crc") == ("parquet", "part-00000", None)
    with pytest.raises(ConfigurationError, match=r"found files of csv and parquet in .*/d; expec"):
        found(tmp_path / "d", "x.csv", "y.parquet")


def options(path: Path, text: str | bytes, **given) -> dict:
    """What is said to Spark of a CSV file, beside what is always said."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    table = csv_table(address(path), str(path), given)
    always = {"header": True, "inferSchema": True}
    always |= {"ignoreLeadingWhiteSpace": True, "ignoreTrailingWhiteSpace": True}
    assert always.keys() <= table.options.keys()
    return {k: v for k, v in table.options.items() if always.get(k) != v}


RFC = {"escape": '"'}
WRITTEN = {
    "a,b\n1,2\n3,4\n": {"sep": ",", **RFC},
    "a;b\n1,5;2,5\n3,5;4,5\n": {"sep": ";", **RFC},
    "a\tb c\n1\t2, 3\n": {"sep": "\t", **RFC},
    "a|b|c\n1|2;3|4\n": {"sep": "|", **RFC},
    "a\n1\n2\n": {"sep": ",", **RFC},
    'name;note\nx;"a, b, c; d"\ny;"e, f"\n': {"sep": ";", **RFC},
    "a, in euro, or so;b\n1;2\n3;4\n": {"sep": ";", **RFC},
    'a,b\n1,"two\nlines"\n': {"sep": ",", "multiLine": True, **RFC},
    'a,b\n1,"a \\" quote"\n': {"sep": ","},
    "1,2,3\n4,5,6\n": {"sep": ",", "header": False, **RFC},
    ",2019,2020\nx,5,6\n": {"sep": ",", **RFC},
    "a,b\n1,NA\n2,3\n": {"sep": ",", "nullValue": "NA", **RFC},
    "a,b\nNA,x\n?,y\n1,z\n": {"sep": ",", **RFC},  # two, which Spark's reader does not take
    "a,b\n1,NA\n2,DE\n": {"sep": ",", **RFC},  # Namibia
    "": {},
}


@pytest.mark.parametrize("text", WRITTEN)
def test_how_a_text_is_written_is_found_out(tmp_path, text) -> None:
    assert options(tmp_path / "t.csv", text) == WRITTEN[text]


def test_encodings_and_compression(tmp_path) -> None:
    text = "a;b\nMünchen;2\n"
    assert options(tmp_path / "bom.csv", "\ufeff" + text) == {"sep": ";", **RFC}
    latin = options(tmp_path / "latin.csv", text.encode("windows-1252"))
    assert latin == {"sep": ";", "encoding": "ISO-8859-1", **RFC}  # what Spark 4 reads
    assert options(tmp_path / "t.csv.gz", gzip.compress(text.encode())) == {"sep": ";", **RFC}
    with pytest.raises(InputDataError, match=r"t.csv has bytes of 0 and is no text as CSV is"):
        options(tmp_path / "t.csv", text.encode("utf-16"))


MARKS = {
    ("40,5", "-3,25", "7"): ",",
    ("1.234,50", "12,00", "NA"): ",",
    ("0,125", "0,250"): ",",
    ("1,234.50", "999.00"): ".",
    ("1,234", "5.5"): ".",
    ("1,234", "2,500"): None,  # of either
    ("40.5", "3"): None,  # no comma, and read as it is
    ("40,5", "1,234.5"): None,
    ("007", "012"): None,
    ("40,5", "none"): None,
    ("1,2,3", "4,5"): None,
    (): None,
}


@pytest.mark.parametrize("cells", MARKS)
def test_the_mark_of_decimals_is_found_where_it_is_sure(cells) -> None:
    assert decimal_mark(cells) == MARKS[cells]


def test_a_table_of_another_country(spark, tmp_path, monkeypatch) -> None:
    """Decimal commas, thousands, the encoding of Windows; and a column that stays a text,
    by one cell after the first bytes."""
    monkeypatch.setattr(formats, "_HEAD", 400)
    rows = [f"{i};{i % 7},5;1.234,{i:02};1,{i:02};größer € {i}" for i in range(100)]
    odd = "100;NA;-2,5;12 or so;\u2013"
    (tmp_path / "t.csv").write_bytes("\n".join(["i;a €;b;c;d", *rows, odd]).encode("windows-1252"))
    frame = read_table(spark, InputSettings(path=str(tmp_path / "t.csv")))
    kinds = [("i", "int"), ("a €", "double"), ("b", "double"), ("c", "string"), ("d", "string")]
    assert frame.dtypes == kinds
    found = frame.orderBy("i").collect()
    assert tuple(found[8]) == (8, 1.5, 1234.08, "1,08", "größer € 8")
    assert tuple(found[100]) == (100, None, -2.5, "12 or so", "\u2013")


def test_a_cut_last_line_does_not_count(tmp_path) -> None:
    """The first bytes end within a character, and within a cell."""
    text = "a;b;c\n" + "ü;2;3\n" * 60_000
    assert options(tmp_path / "long.csv", text) == {"sep": ";", **RFC}
    assert options(tmp_path / "long1.csv", "x" + text) == {"sep": ";", **RFC}
    text = "aaa,b\n2,33\n" + "1,NA\n" * 60_000
    assert text[: 1 << 18].endswith("1,N")
    assert options(tmp_path / "long2.csv", text) == {"sep": ",", "nullValue": "NA", **RFC}


def test_options_that_are_given_win(tmp_path) -> None:
    text = "a;b\n1;NA\n2;3\n"
    given = {"Delimiter": ",", "HEADER": "false", "nullvalue": "x", "charset": "latin1"}
    assert options(tmp_path / "a.csv", text, inferSchema=True) == {
        "sep": ";", "nullValue": "NA", **RFC,
    }  # fmt: skip
    (tmp_path / "t.csv").write_text(text)
    table = csv_table(address(tmp_path / "t.csv"), str(tmp_path / "t.csv"), given)
    assert {k: v for k, v in table.options.items() if not k.startswith("ignore")} == {
        "inferSchema": True, "escape": '"', **given,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"), [('[{"a": 1}]', {"multiLine": True}), ('{"a": 1}', {}), ("", {})]
)
def test_an_array_of_objects_is_told_from_one_a_line(tmp_path, text, expected) -> None:
    (tmp_path / "t.json").write_text(text)
    assert json_options(address(tmp_path / "t.json"), str(tmp_path / "t.json"), {}) == expected


AWKWARD = (
    '﻿customer id;Call  Failure;a.b;back`tick;it\'s;select;total;zip;note\n'
    '007;1;2.5 ;true;2024-01-31;x ; ;01069;"said ""no"", twice"\n'
    '012;NA;-1e3;false;2024-02-29;y;12.5;99999;"two\nlines"\n'
)  # fmt: skip


def test_a_table_nobody_has_seen(spark, tmp_path) -> None:
    """Separator, byte order mark, odd names, types, gaps, quotes and zeros in front, unsaid."""
    (tmp_path / "README.md").write_text("# About\n")
    (tmp_path / "new.csv").write_text(AWKWARD, encoding="utf-8")
    for path in (tmp_path, tmp_path / "new.csv", tmp_path / "*.csv"):
        settings = InputSettings(path=str(path))
        assert parquet_table(spark, settings) is None
        frame = read_table(spark, settings)
        assert [(name, kind) for name, kind in frame.dtypes] == [
            ("customer id", "string"),
            ("Call  Failure", "int"),
            ("a.b", "double"),
            ("back`tick", "boolean"),
            ("it's", "date"),
            ("select", "string"),
            ("total", "double"),
            ("zip", "string"),
            ("note", "string"),
        ]
        rows = [tuple(map(str, row)) for row in frame.collect()]
        assert rows == [
            ("007", "1", "2.5", "True", "2024-01-31", "x", "None", "01069", 'said "no", twice'),
            ("012", "None", "-1000.0", "False", "2024-02-29", "y", "12.5", "99999", "two\nlines"),
        ]


def test_empty_cells_between_tabs_are_gaps(spark, tmp_path) -> None:
    (tmp_path / "t.tsv").write_text("a\tb\tc\n\t\t3\n1\t\t\n1\t2\t\n")
    rows = read_table(spark, InputSettings(path=str(tmp_path / "t.tsv"))).collect()
    assert [tuple(row) for row in rows] == [(None, None, 3), (1, None, None), (1, 2, None)]


def test_filters_take_the_names_as_they_are(spark, tmp_path) -> None:
    (tmp_path / "new.csv").write_text(AWKWARD, encoding="utf-8")
    for text in ("Call  Failure = 1", "`a.b` > 0", "customer id = '007'", "`back``tick` = true"):
        settings = InputSettings(path=str(tmp_path / "new.csv"), filters=[text])
        assert read_table(spark, settings).count() == 1, text


def test_formats_by_their_endings(spark, lake, tmp_path) -> None:
    frame = spark.read.parquet(str(lake / "customers")).orderBy("customer_id").limit(20)
    rows = {tuple(row) for row in frame.select("customer_id", "name", "left").collect()}
    frame.coalesce(1).write.option("header", True).csv(str(tmp_path / "zipped"), compression="gzip")
    frame.write.option("sep", "\t").option("header", True).csv(str(tmp_path / "tabs"))
    frame.write.json(str(tmp_path / "lines"))
    frame.write.orc(str(tmp_path / "orc"))
    array = [row.asDict() for row in frame.collect()]
    (tmp_path / "array.json").write_text(json.dumps(array))
    frame.write.partitionBy("month").parquet(str(tmp_path / "months"))
    for name in ("zipped", "tabs", "lines", "orc", "array.json", "months"):
        read = read_table(spark, InputSettings(path=str(tmp_path / name)))
        found = read.select("customer_id", "name", "left").collect()
        assert {tuple(row) for row in found} == rows, name
    assert parquet_table(spark, InputSettings(path=str(tmp_path / "months"))) is not None


def test_a_format_that_is_said_is_that_format(spark, tmp_path) -> None:
    for name in ("t.parquet", "nothing", "folder/part-00000"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a;b\n1;2\n")
        settings = InputSettings(path=str(tmp_path / name.partition("/")[0]), format="csv")
        assert read_table(spark, settings).dtypes == [("a", "int"), ("b", "int")], name
