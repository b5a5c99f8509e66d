"""The jobs' paths: by their own names, as patterns, and of tables that are no plain Parquet."""

from __future__ import annotations

import json

import pytest

from gmm_spark.config import InputSettings
from gmm_spark.errors import ConfigurationError
from gmm_spark.lake import evaluation, tables
from jobs import score, train
from tests.jobs.conftest import manifest

SETTINGS = ["--columns", "spend,visits", "--k", 1, "--num_init", 1, "--seed", 1]


@pytest.mark.parametrize("name", ["my data [1] {a,b}", "100% #1?*"])
def test_a_run_in_a_folder_with_an_odd_name(call, spark, customers, tmp_path, name) -> None:
    root = tmp_path / name
    (root / "in").mkdir(parents=True)
    customers.to_parquet(root / "in" / "0.parquet", index=False)
    ended = call(train.main, "--input.path", root / "in", "--output", root / "out", *SETTINGS)
    assert (ended.code, ended.problem) == (0, "")
    for more in ([], ["--mode", "overwrite"]):
        ended = call(
            score.main, "--input.path", f"file://{root}/in", "--model", root / "out",
            "--output", root / "scored", "--partition_by", "month", *more,
        )  # fmt: skip
        assert (ended.code, ended.problem) == (0, "")
        assert manifest(root / "scored")["rows"]["scored"] == 600


@pytest.mark.parametrize("path", ["part-[01].parquet", "{part-0,part-1}.parquet"])
@pytest.mark.parametrize("options", [{}, {"mergeSchema": "false"}])
def test_a_pattern_is_the_files_it_matches(call, lake, tmp_path, path, options) -> None:
    """By the workers, and by Spark where its reader has an option."""
    more = ["--input.options", json.dumps(options)] if options else []
    argv = ["--input.path", lake / "customers" / path, "--output", tmp_path / "out", *more]
    assert call(train.main, *argv, *SETTINGS).code == 0
    assert manifest(tmp_path / "out")["rows"]["used"] == 400


def test_a_pattern_without_a_match_is_nothing(call, lake, tmp_path) -> None:
    argv = ["--input.path", lake / "customers" / "none*", "--output", tmp_path / "out", *SETTINGS]
    ended = call(train.main, *argv)
    assert ended.code == 2
    assert ended.problem.startswith("configuration: input.path: found nothing at")


MARKS = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table", "metadata": "an Iceberg table"}


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("source", [{}, {"options": {"mergeSchema": True}}, {"format": "orc"}])
def test_a_table_with_a_log_is_no_plain_parquet(spark, customers, tmp_path, mark, source) -> None:
    root = tmp_path / "customers"
    (root / mark).mkdir(parents=True)
    (root / mark / "0.metadata.json").write_text("{}")
    customers.to_parquet(root / "0.parquet", index=False)
    for path in (root, root / "0.parquet", root / "*.parquet"):
        settings = InputSettings(path=str(path), **source)
        for read in (tables.parquet_table, tables.read_table):
            if read is tables.parquet_table and source:
                continue  # Spark reads it
            with pytest.raises(ConfigurationError, match=f"input.path: .* is {MARKS[mark]}"):
                read(spark, settings)


def test_what_a_stream_wrote_is_read_by_its_log(call, spark, customers, tmp_path) -> None:
    customers.to_parquet(tmp_path / "in.parquet", index=False)
    frame = spark.readStream.schema(spark.read.parquet(str(tmp_path / "in.parquet")).schema)
    (tmp_path / "source").mkdir()
    (tmp_path / "in.parquet").rename(tmp_path / "source" / "in.parquet")
    query = frame.parquet(str(tmp_path / "source")).writeStream.trigger(availableNow=True)
    query = query.option("checkpointLocation", str(tmp_path / "state")).format("parquet")
    query.start(str(tmp_path / "sink")).awaitTermination()
    customers.to_parquet(tmp_path / "sink" / "left-over.parquet", index=False)
    argv = ["--input.path", tmp_path / "sink", "--output", tmp_path / "out", *SETTINGS]
    ended = call(train.main, *argv)
    assert (ended.code, ended.problem) == (0, "")
    assert manifest(tmp_path / "out")["rows"]["used"] == 600


def test_two_expressions_of_one_name(spark, lake) -> None:
    frame = spark.read.parquet(str(lake / "customers"))
    with pytest.raises(ConfigurationError, match="two expressions of one name"):
        evaluation.with_expressions(
            frame, evaluation.expressions("columns", ["log1p(spend) as s", "spend * 2 as S"])
        )
    found = evaluation.with_expressions(
        frame, evaluation.expressions("columns", ["spend * 2 as Spend"])
    )
    assert "spend" not in found.columns
    assert "Spend" in found.columns


@pytest.mark.parametrize(
    ("java", "said"),
    [
        (
            ': org.apache.hadoop.fs.UnsupportedFileSystemException: No FileSystem for scheme "s3"',
            'No FileSystem for scheme "s3"',
        ),
        (": java.lang.Exception: header flag: true or false", "header flag: true or false"),
        (": java.lang.NullPointerException", "NullPointerException"),
        ("Py4JError: it is gone", "Py4JError: it is gone"),
    ],
)
def test_an_error_of_java_is_said_in_its_words(java, said) -> None:
    text = f"An error occurred while calling o12.load.\n{java}\n\tat org.a.B.c(B.scala:3)\n"
    assert tables.spark_message(Exception(text)) == ("", said)
