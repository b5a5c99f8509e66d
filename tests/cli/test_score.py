"""`gmm-spark score`, called from Python in the session of the tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from gmm_spark.cli import score
from gmm_spark.storage.computed_columns import Expression
from tests.cli.conftest import Call, Ended, manifest, tree
from tests.customers import SIZES


def rate(call: Call, model: Path, lake: Path, output: Path, *more: object, table="customers"):
    return call(
        score.main, "--input.path", lake / table, "--model", model, "--output", output, *more
    )


def scores(output: Path) -> pd.DataFrame:
    frame = pq.read_table(output / "scores").to_pandas()
    return frame.sort_values("customer_id", ignore_index=True)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if not path.name.startswith((".", "_")))


def test_every_row_gets_its_segment(call, model, lake, customers, tmp_path) -> None:
    output = tmp_path / "out"
    ended = rate(call, model, lake, output, "--profile", "left", "--probability", "columns")
    assert (ended.code, ended.problem) == (0, "")
    assert names(output) == ["log.txt", "manifest.json", "scores"]

    found = scores(output)
    assert list(found.columns) == [
        *customers.columns, "prediction", "probability_0", "probability_1", "probability_2",
        "log_density", "uncertainty",
    ]  # fmt: skip
    assert found["customer_id"].is_unique
    assert len(found) == 600
    np.testing.assert_array_equal(found["prediction"], found["segment"])
    probabilities = found[[f"probability_{j}" for j in range(3)]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), found["prediction"])
    np.testing.assert_allclose(found["uncertainty"], 1 - probabilities.max(axis=1), atol=1e-12)
    assert found["log_density"].between(-20, 0).all()

    content = manifest(output)
    assert content["rows"] == {"read": 600, "scored": 600, "unscored": 0}
    segments = content["metrics"]["segments"]
    assert [segment["rows"] for segment in segments] == list(SIZES)
    left = customers.groupby("segment")["left"].mean()
    for j, segment in enumerate(segments):
        assert segment["means"]["left"] == pytest.approx(left[j])
        of_segment = customers[customers["segment"] == j]
        assert segment["means"]["spend"] == pytest.approx(of_segment["spend"].mean())

    header, *lines = ended.out.splitlines()[1:6]
    assert header.endswith("  left rate  uncertainty")
    assert [line.split()[:2] for line in lines] == [
        ["0", "300"], ["1", "200"], ["2", "100"], ["all", "600"],
    ]  # fmt: skip
    assert "100.0 % (98.1 to 100.0)" in lines[1]
    share = customers["left"].mean()
    assert content["metrics"]["all"]["profile"]["left"]["value"] == pytest.approx(share)
    assert str(output / "scores") in ended.out


def test_probabilities_as_one_vector(call, spark, model, lake, tmp_path) -> None:
    keep = ["--keep_columns", "customer_id"]
    assert rate(call, model, lake, tmp_path / "out", *keep).code == 0
    frame = spark.read.parquet(str(tmp_path / "out" / "scores"))
    expected = ["customer_id", "prediction", "probability", "log_density", "uncertainty"]
    assert frame.columns == expected
    assert frame.schema["probability"].dataType.simpleString() == "vector"
    assert len(frame.first()["probability"]) == 3


def test_rows_with_gaps(call, model, lake, tmp_path) -> None:
    gaps = {"table": "gaps"}
    output = tmp_path / "known"
    assert rate(call, model, lake, output, "--probability", "columns", **gaps).code == 0
    found = scores(output)
    assert found["visits"].isna().sum() == 7
    assert found["prediction"].notna().all()
    assert found["probability_0"].notna().all()

    skip = ["--missing", "skip", "--probability", "columns"]
    ended = rate(call, model, lake, tmp_path / "left", *skip, **gaps)
    assert ended.code == 0
    assert manifest(tmp_path / "left")["rows"] == {"read": 600, "scored": 593, "unscored": 7}
    found = scores(tmp_path / "left")
    assert (found["visits"].isna() == found["prediction"].isna()).all()
    assert (found["visits"].isna() == found["probability_2"].isna()).all()
    assert "7 rows have gaps and no segment" in ended.out

    ended = rate(call, model, lake, tmp_path / "refused", "--missing", "error", **gaps)
    assert ended.code == 3
    assert ended.problem.startswith("input: column 'visits': 7 null in 600 rows")
    assert names(tmp_path / "refused") == ["log.txt", "manifest.json"]


def test_an_infinity_cannot_be_scored(call, model, lake, tmp_path) -> None:
    columns = ["--columns", '["spend", "if(customer_id < 2, double(\'inf\'), visits) as visits"]']
    ended = rate(call, model, lake, tmp_path / "out", *columns)
    assert ended.code == 3
    assert ended.problem == (
        "input: column 'visits': 2 of 600 rows are infinite; replace them or leave those rows out"
    )
    assert names(tmp_path / "out") == ["log.txt", "manifest.json"]


def test_an_earlier_result_is_refused_or_replaced(call, model, lake, tmp_path) -> None:
    output = tmp_path / "out"
    assert rate(call, model, lake, output).code == 0
    before = tree(output)
    ended = rate(call, model, lake, output)
    assert ended.code == 2
    assert "mode: overwrite" in ended.problem
    assert tree(output) == before

    ended = rate(
        call, model, lake, output, "--mode", "overwrite", "--missing", "error", table="gaps"
    )
    assert ended.code == 3
    assert {
        name: content for name, content in tree(output).items() if "failed" not in name
    } == before

    few = ["--input.filters", '[["month", "=", "2026-01"]]']
    assert rate(call, model, lake, output, "--mode", "overwrite", *few).code == 0
    assert len(scores(output)) == 300
    assert names(output) == ["log.txt", "manifest.json", "scores"]


def month(call: Call, model: Path, lake: Path, output: Path, value: str, *more: object) -> Ended:
    return rate(
        call, model, lake, output, "--partition_by", "month", "--mode", "overwrite",
        "--input.filters", f'[["month", "=", "{value}"]]', *more,
    )  # fmt: skip


def test_a_partition_is_replaced_and_the_others_stay(call, model, lake, tmp_path) -> None:
    output = tmp_path / "out"
    assert month(call, model, lake, output, "2026-01").code == 0
    assert month(call, model, lake, output, "2026-02").code == 0
    assert names(output / "scores") == ["month=2026-01", "month=2026-02"]
    other = tree(output / "scores" / "month=2026-01")
    ended = month(call, model, lake, output, "2026-02")
    assert ended.code == 0
    assert tree(output / "scores" / "month=2026-01") == other
    assert len(scores(output)) == 600
    assert manifest(output)["rows"]["read"] == 300
    assert ended.out.startswith("300 rows scored")

    # Columns that differ would make a table nobody can read.
    ended = month(call, model, lake, output, "2026-02", "--probability", "columns")
    assert ended.code == 2
    assert "probability_0" in ended.problem
    assert len(scores(output)) == 600


def test_a_rerun_without_rows_clears_its_partition(call, model, lake, tmp_path) -> None:
    output = tmp_path / "out"
    day = ["--partition_by", "run_date", "--mode", "overwrite", "--run_date"]
    assert rate(call, model, lake, output, *day, "2026-11-01").code == 0
    assert rate(call, model, lake, output, *day, "2026-11-02").code == 0
    assert names(output / "scores") == ["run_date=2026-11-01", "run_date=2026-11-02"]
    ended = rate(call, model, lake, output, *day, "2026-11-02", table="empty")
    assert ended.code == 0
    assert "run_date=2026-11-02 was cleared" in ended.out
    assert names(output / "scores") == ["run_date=2026-11-01"]
    assert manifest(output)["rows"]["read"] == 0


def test_an_empty_table(call, model, lake, tmp_path) -> None:
    ended = rate(call, model, lake, tmp_path / "out", table="empty")
    assert ended.code == 3
    assert ended.problem.startswith("input: ")
    assert ended.problem.endswith("has no rows to score; nothing was written")
    assert names(tmp_path / "out") == ["log.txt", "manifest.json"]


@pytest.mark.parametrize(
    ("more", "code", "expected"),
    [
        (["--input.path", "/no/such/table"], 2, "configuration: input.path: found nothing at"),
        (["--model", "/no/such/model"], 2, "configuration: model: found nothing at"),
        (["--profile", "lefft"], 2, "configuration: profile: found 'lefft'"),
        (["--profile", "probability"], 2, "configuration: profile: found probability, a vector"),
        (["--keep_columns", "idd"], 2, "configuration: keep_columns: found 'idd'"),
        (["--partition_by", "idd"], 2, "configuration: partition_by: found 'idd'"),
        (["--columns", "name as prediction"], 2, "configuration: input: the table has a column"),
        (["--columns", "name as visits"], 3, "visits"),
    ],
)
def test_what_cannot_be_used_is_one_line(call, model, lake, tmp_path, more, code, expected) -> None:
    ended = rate(call, model, lake, tmp_path / "out", *more)
    assert ended.code == code
    assert expected in ended.problem
    assert "\n" not in ended.problem
    assert "Traceback" not in ended.err
    assert names(tmp_path / "out") == ["log.txt", "manifest.json"]
    assert manifest(tmp_path / "out")["reason"] == ended.problem


def test_a_table_without_a_column_of_the_model(call, spark, model, lake, tmp_path) -> None:
    spark.read.parquet(str(lake / "customers")).drop("visits").createOrReplaceTempView("fewer")
    out = tmp_path / "out"
    ended = call(score.main, "--input.table", "fewer", "--model", model, "--output", out)
    assert ended.code == 3
    assert "visits" in ended.problem


def test_a_model_that_is_none(call, model, lake, tmp_path) -> None:
    (tmp_path / "model").mkdir()
    ended = rate(call, tmp_path / "model", lake, tmp_path / "out")
    assert ended.code == 3
    assert ended.problem.startswith("model: ")

    shutil.copytree(model, tmp_path / "damaged")
    for path in (tmp_path / "damaged").rglob("part-*"):
        path.write_bytes(b"{")
    for path in (tmp_path / "damaged").rglob(".*.crc"):
        path.unlink()
    ended = rate(call, tmp_path / "damaged", lake, tmp_path / "out")
    assert ended.code == 3
    assert ended.problem.startswith("model: ")
    assert "\n" not in ended.problem
    assert "Traceback" not in ended.err


def test_an_expression_the_model_was_trained_on(call, lake, tmp_path) -> None:
    from gmm_spark.cli import train

    columns = ["--columns", "spend * 2 as double_spend,visits"]
    argv = ["--input.path", lake / "customers", *columns, "--k", 3, "--output", tmp_path / "t"]
    assert call(train.main, *argv).code == 0
    trained = tmp_path / "t" / "model"
    assert rate(call, trained, lake, tmp_path / "out", *columns).code == 0
    found = scores(tmp_path / "out")
    np.testing.assert_array_equal(found["prediction"], found["segment"])
    np.testing.assert_allclose(found["double_spend"], 2 * found["spend"])


def test_the_train_directory_will_do_for_the_model(call, model, lake, tmp_path) -> None:
    assert rate(call, model.parent, lake, tmp_path / "out").code == 0


def test_a_model_of_merged_components_gives_clusters(call, model, lake, tmp_path) -> None:
    from gmm_spark import GaussianMixtureModel

    merged = GaussianMixtureModel.load(model).mergeComponents(None, 2, "bhattacharyya")
    merged.save(tmp_path / "merged")
    columns = ["--probability", "columns", "--keep_columns", "customer_id,segment"]
    assert rate(call, tmp_path / "merged", lake, tmp_path / "out", *columns).code == 0
    found = scores(tmp_path / "out")
    assert list(found.columns)[2:] == [
        "prediction", "probability_0", "probability_1", "log_density", "uncertainty", "component",
    ]  # fmt: skip
    np.testing.assert_array_equal(found["component"], found["segment"])
    of_component = {c: j for j, cluster in enumerate(merged.clusters) for c in cluster}
    np.testing.assert_array_equal(found["prediction"], found["component"].map(of_component))
    assert manifest(tmp_path / "out")["metrics"]["k"] == 2


def test_of_long_sql_the_names_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="gmm_spark")
    long = [Expression("model", f"{'spend + ' * 20}1 as {name}") for name in ("one", "two")]
    score._tell([Expression("columns", "spend * 2 as double_spend"), *long])
    assert caplog.messages == [
        "computed: spend * 2 as double_spend",
        "computed, by SQL that is in manifest.json: one, two",
    ]


def test_text_that_is_no_number_is_told(spark) -> None:
    """One cell in a column of numbers makes the column text, of which nothing was said."""
    from gmm_spark.cli.score import _unread
    from gmm_spark.storage.computed_columns import Expression, with_expressions

    rows = [("1", "a", "x"), ("n/a?", "b", "y"), ("", "c", "z"), (None, None, None)]
    frame = spark.createDataFrame(rows, "bill string, plan string, other string")
    number = Expression("model", "try_cast(bill AS DOUBLE) AS bill_prepared")
    category = Expression("model", "CASE WHEN plan = 'a' THEN plan END AS plan_prepared")
    new = Expression("model", "try_cast(other AS DOUBLE) AS other_prepared")
    wanted = [number, category, new]
    said = _unread(with_expressions(frame, wanted), wanted, ["bill_prepared", "other_prepared"])
    assert said == [
        "of column 'bill' 1 of 3 values are no numbers that the model can use, such as 'n/a?', "
        "and are taken as not known",
        "of column 'other' the model can use none of 3 values, and takes them as not known; it was "
        "trained on others: look at its type and its spelling",
    ]
