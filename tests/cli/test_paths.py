"""The jobs' paths: by their own names, as patterns, and of what a stream wrote."""

from __future__ import annotations

import json

import pytest

from gmm_spark.cli import score, train
from tests.cli.conftest import manifest

SETTINGS = ["--columns", "spend,visits", "--k", 1, "--num_init", 1, "--seed", 1]


@pytest.mark.parametrize(
    "name", ["my data [1] {a,b}", pytest.param("100% #1?*", marks=pytest.mark.long)]
)
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
