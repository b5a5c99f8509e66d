"""`gmm-spark train`, called from Python in the session of the tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gmm_spark import GaussianMixtureModel
from gmm_spark.cli import train
from gmm_spark.storage import output as outputs
from tests.cli.conftest import Call, Ended, manifest, tree
from tests.customers import CENTRES, SIZES


def fit(call: Call, lake: Path, output: Path, *more: object, table: str = "customers") -> Ended:
    # What may be a list adds up when it is given twice.
    columns = [] if "--columns" in more else ["--columns", "spend,visits"]
    k = [] if "--k" in more else ["--k", 3]
    return call(
        train.main, "--input.path", lake / table, *columns, *k,
        "--seed", 1, "--output", output, *more,
    )  # fmt: skip


def assert_centres(means: np.ndarray) -> None:
    np.testing.assert_allclose(means, CENTRES, atol=0.4)


def test_a_model_a_manifest_and_findings(call, lake, tmp_path) -> None:
    output = tmp_path / "out"
    ended = fit(call, lake, output, "--run_date", "2026-11-01")
    assert (ended.code, ended.problem) == (0, "")
    assert sorted(path.name for path in output.iterdir()) == ["log.txt", "manifest.json", "model"]

    model = GaussianMixtureModel.load(str(output / "model"))
    assert_centres(model.means)
    np.testing.assert_allclose(model.weights, np.array(SIZES) / 600, atol=1e-6)

    found = manifest(output)
    assert found["status"] == "done"
    assert found["exit_code"] == 0
    assert found["reason"] is None
    assert found["run_date"] == "2026-11-01"
    assert found["input"]["path"] == str(lake / "customers")
    assert found["settings"]["k"] == 3
    assert found["settings"]["columns"] == ["spend", "visits"]
    assert found["rows"] == {"read": 600, "used": 600, "skipped": 0, "gaps": {}, "weight_sum": 600}
    assert found["metrics"]["converged"] is True
    assert found["metrics"]["cluster_sizes"] == list(SIZES)
    assert {"python", "spark", "numpy", "pyarrow", "gmm_spark"} <= set(found["versions"])
    assert found["passes"]
    for entry in found["passes"]:
        assert entry["seconds"] >= 0
        assert set(entry) == {"pass", "kind", "mean_log_likelihood", "gain", "seconds"}
    assert found["started"] < found["finished"]

    assert "3 segments; 600 rows used" in ended.out
    assert "50.0 %" in ended.out
    assert str(output / "model") in ended.out
    assert str(output / "manifest.json") in ended.out


def test_one_log_line_a_pass(call, lake, tmp_path) -> None:
    ended = fit(call, lake, tmp_path / "out")
    passes = manifest(tmp_path / "out")["passes"]
    log = [line for line in ended.err.splitlines() if "log-likelihood" in line]
    assert passes[0]["kind"] == "scan"
    assert passes[0]["mean_log_likelihood"] is None
    assert len(log) == len(passes) - 1 > 0


def test_an_earlier_result_is_refused_and_nothing_is_changed(call, lake, tmp_path) -> None:
    output = tmp_path / "out"
    assert fit(call, lake, output).code == 0
    before = tree(output)
    ended = fit(call, lake, output)
    assert ended.code == 2
    assert ended.problem.startswith("configuration: output: found manifest.json, model in ")
    assert "overwrite: true" in ended.problem
    assert tree(output) == before


def test_an_earlier_result_is_replaced_when_asked(call, lake, tmp_path) -> None:
    output = tmp_path / "out"
    assert fit(call, lake, output).code == 0
    first = manifest(output)["run_id"]
    assert fit(call, lake, output, "--overwrite", "--k", 2).code == 0
    assert manifest(output)["run_id"] != first
    assert len(GaussianMixtureModel.load(str(output / "model")).weights) == 2
    assert sorted(path.name for path in output.iterdir()) == ["log.txt", "manifest.json", "model"]


def test_a_failed_rerun_leaves_the_earlier_model_and_its_manifest(call, lake, tmp_path) -> None:
    output = tmp_path / "out"
    assert fit(call, lake, output).code == 0
    before = tree(output)
    ended = fit(call, lake, output, "--overwrite", table="gaps")
    assert ended.code == 3
    after = tree(output)
    failed = json.loads(after.pop(outputs.FAILED_MANIFEST))
    log = after.pop(outputs.FAILED_LOG).decode()
    assert after == before
    assert failed["status"] == "failed"
    assert f" INFO train: started, run {failed['run_id']}\n" in log
    assert log.endswith(f" ERROR {failed['reason']}\n")


def test_the_log_of_a_run_is_beside_its_manifest(call, lake, tmp_path) -> None:
    """What was said on stderr, with the day, and what was printed."""
    ended = fit(call, lake, tmp_path / "out", "--run_date", "2026-11-01")
    log = (tmp_path / "out" / "log.txt").read_text("utf-8")
    run_id = manifest(tmp_path / "out")["run_id"]
    said, printed = log.split(" INFO 3 segments; 600 rows used\n")
    assert f"Z INFO train: started, run {run_id}, run date 2026-11-01\n" in said
    passes = manifest(tmp_path / "out")["metrics"]["passes"]
    assert said.count("Z INFO pass ") == passes
    assert printed.rstrip("\n") in ended.out


@pytest.mark.parametrize(
    ("more", "code", "expected"),
    [
        (["--input.path", "/no/such/table"], 2, "configuration: input.path: found nothing at"),
        (["--columns", "spend,name"], 3, "name"),
        (["--columns", "spend,visit"], 3, "visit"),
        (["--columns", '["spend", "lag(visits as v"]'], 2, "configuration: columns"),
        (["--columns", '["spend", "nosuch(visits) as v"]'], 2, "configuration: columns: "),
        (["--k", "601"], 3, "601"),
        (["--input.format", "orc"], 3, "cannot be read as ORC"),
        (["--input.format", "delta"], 2, "configuration: input.format: found 'delta'"),
        (["--initial_model", "/no/such/model"], 2, "configuration: initial_model: found nothing"),
        (["--k", "601,602"], 3, "601"),
        (["--weight_column", "spend"], 3, "spend"),
        (["--input.filters", '[["month", "=", "1999-01"]]'], 3, "no rows"),
        (["--input.filters", '[["mnth", "=", "1999-01"]]'], 2, "configuration: input.filters: "),
        (["--input.filters", '[["spend", ">", "much"]]'], 2, "configuration: input.filters: "),
    ],
)
def test_what_cannot_be_used_is_one_line(call, lake, tmp_path, more, code, expected) -> None:
    output = tmp_path / "out"
    ended = fit(call, lake, output, *more)
    assert ended.code == code
    assert expected in ended.problem
    assert ended.problem.count("\n") == 0
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert not (output / "model").exists()
    if output.exists():
        assert sorted(path.name for path in output.iterdir()) == ["log.txt", "manifest.json"]
        found = manifest(output)
        assert (found["status"], found["exit_code"]) == ("failed", ended.code)
        assert found["reason"] == ended.problem


def test_an_empty_table(call, lake, tmp_path) -> None:
    ended = fit(call, lake, tmp_path / "out", table="empty")
    assert ended.code == 3
    assert ended.problem.startswith("input: ")


def test_an_unknown_key_writes_nothing(call, lake, tmp_path) -> None:
    ended = fit(call, lake, tmp_path / "out", "--sede", "3")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "configuration: sede: unknown flag --sede; did you mean --seed?\n"
    assert not (tmp_path / "out").exists()


def test_gaps_are_an_error_unless_they_may_be_skipped(call, lake, tmp_path) -> None:
    ended = fit(call, lake, tmp_path / "out", table="gaps")
    assert ended.code == 3
    assert ended.problem.startswith("input: ")
    assert "visits" in ended.problem
    assert "7" in ended.problem
    assert manifest(tmp_path / "out")["reason"] == ended.problem

    ended = fit(call, lake, tmp_path / "out", "--missing", "skip", table="gaps")
    assert ended.code == 0
    rows = manifest(tmp_path / "out")["rows"]
    assert (rows["read"], rows["used"], rows["skipped"]) == (600, 593, 7)
    assert "593 rows used, 7 skipped" in ended.out


def test_gaps_are_integrated_out_when_asked_and_counted(call, lake, tmp_path) -> None:
    output = tmp_path / "out"
    ended = fit(call, lake, output, "--missing", "marginalize", table="gaps")
    assert (ended.code, ended.problem) == (0, "")
    rows = manifest(output)["rows"]
    assert (rows["read"], rows["used"], rows["skipped"]) == (600, 600, 0)
    gaps = sum(rows["gaps"].values())
    assert gaps >= 7
    assert f"600 rows used, {gaps} gaps integrated out" in ended.out
    assert_centres(GaussianMixtureModel.load(str(output / "model")).means)


def test_not_converged_is_4_only_when_asked(call, lake, tmp_path) -> None:
    few = ["--max_iter", 1, "--tol", 0, "--num_init", 1]
    ended = fit(call, lake, tmp_path / "out", *few, "--fail_if_not_converged")
    assert ended.code == 4
    assert ended.problem.startswith("not converged: stopped after")
    found = manifest(tmp_path / "out")
    assert (found["status"], found["exit_code"]) == ("failed", 4)
    assert found["metrics"]["converged"] is False
    assert not (tmp_path / "out" / "model").exists()
    assert fit(call, lake, tmp_path / "out", *few).code == 0
    assert manifest(tmp_path / "out")["metrics"]["converged"] is False


def test_the_same_model_from_csv_and_by_an_expression(call, lake, model, tmp_path) -> None:
    expected = GaussianMixtureModel.load(str(model))
    csv = ["--input.path", lake / "customers.csv", "--input.format", "csv"]
    assert fit(call, lake, tmp_path / "csv", *csv).code == 0
    scaled = ["--columns", "spend * 2 as double_spend,visits"]
    assert fit(call, lake, tmp_path / "sql", *scaled).code == 0
    from_csv = GaussianMixtureModel.load(str(tmp_path / "csv" / "model"))
    np.testing.assert_allclose(from_csv.means, expected.means, atol=1e-6)
    from_sql = GaussianMixtureModel.load(str(tmp_path / "sql" / "model"))
    assert list(from_sql.getInputCols()) == ["double_spend", "visits"]
    np.testing.assert_allclose(from_sql.means, expected.means * [2, 1], atol=1e-5)


@pytest.mark.parametrize("way", ["parquet", "csv"])
def test_filters_leave_rows_out(call, lake, tmp_path, way) -> None:
    source = ["--input.path", lake / "customers.csv", "--input.format", "csv"]
    filters = '[["month", "=", "2026-01"], ["customer_id", "<", 500], ["segment", "in", [0, 1]]]'
    more = [*(source if way == "csv" else []), "--input.filters", filters, "--k", 2]
    if way == "csv":
        more += ["--input.options", '{"inferSchema": true, "dateFormat": "d.M.y"}']
    assert fit(call, lake, tmp_path / "out", *more).code == 0
    assert manifest(tmp_path / "out")["rows"]["used"] == 250


def test_a_catalog_table(call, spark, lake, tmp_path) -> None:
    spark.read.parquet(str(lake / "customers")).createOrReplaceTempView("customers")
    argv = ["--columns", "spend,visits", "--k", 3, "--output", tmp_path / "out"]
    assert call(train.main, "--input.table", "customers", *argv).code == 0
    assert manifest(tmp_path / "out")["rows"]["used"] == 600
    assert manifest(tmp_path / "out")["input"] == {"table": "customers"}
    ended = call(train.main, "--input.table", "nosuch", *argv[:-1], tmp_path / "other")
    assert ended.code == 2
    assert ended.problem.startswith("configuration: input.table: found no table nosuch")


def test_a_vector_column(call, spark, lake, tmp_path) -> None:
    from pyspark.ml.feature import VectorAssembler

    frame = spark.read.parquet(str(lake / "customers"))
    assembler = VectorAssembler(inputCols=["spend", "visits"], outputCol="features")
    assembler.transform(frame).select("features").write.parquet(str(tmp_path / "vectors"))
    ended = call(
        train.main, "--input.path", tmp_path / "vectors", "--vector_column", "features",
        "--k", 3, "--seed", 1, "--output", tmp_path / "out",
    )  # fmt: skip
    assert ended.code == 0
    assert_centres(GaussianMixtureModel.load(str(tmp_path / "out" / "model")).means)


def test_given_starts(call, lake, model, tmp_path) -> None:
    assert fit(call, lake, tmp_path / "a", "--initial_model", model).code == 0
    assert fit(call, lake, tmp_path / "b", "--initial_label_column", "segment").code == 0
    for name in "ab":
        assert_centres(GaussianMixtureModel.load(str(tmp_path / name / "model")).means)


def test_a_damaged_model_to_start_from(call, lake, model, tmp_path) -> None:
    shutil.copytree(model, tmp_path / "model")
    for path in (tmp_path / "model").rglob("part-*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for path in (tmp_path / "model").rglob(".*.crc"):
        path.unlink()
    ended = fit(call, lake, tmp_path / "out", "--initial_model", tmp_path / "model")
    assert ended.code == 3
    assert ended.problem.startswith("model: ")
    assert "Traceback" not in ended.err


def test_what_nobody_foresaw_is_1_with_a_traceback(call, lake, tmp_path, monkeypatch) -> None:
    def broken(*_: object) -> str:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(train, "_findings", broken)
    ended = fit(call, lake, tmp_path / "out")
    assert ended.code == 1
    assert "Traceback" in ended.err
    assert "unexpected: ZeroDivisionError: by design" in ended.err
    assert manifest(tmp_path / "out")["status"] == "failed"
    assert not (tmp_path / "out" / "model").exists()


def test_the_number_of_segments_is_chosen(call, lake, tmp_path) -> None:
    output = tmp_path / "out"
    more = ["--k", "1,2,3", "--covariance_type", "EII,VII", "--criterion", "icl"]
    ended = fit(call, lake, output, *more)
    assert (ended.code, ended.problem) == (0, "")
    model = GaussianMixtureModel.load(str(output / "model"))
    assert_centres(model.means)
    assert model.getCovarianceType() == "EII"

    found = manifest(output)
    assert found["settings"]["k"] == [1, 2, 3]
    metrics = found["metrics"]
    assert (metrics["k"], metrics["covariance_type"]) == (3, "EII")
    assert metrics["criterion"] == "icl"
    candidates = metrics["candidates"]
    assert len(candidates) == 6
    assert {(c["k"], c["covariance_type"]) for c in candidates} == {
        (k, name) for k in (1, 2, 3) for name in ("EII", "spherical")
    }
    assert candidates[0]["criterion"] == metrics["icl"]
    assert [c["criterion"] for c in candidates] == sorted(c["criterion"] for c in candidates)
    assert candidates[0]["evaluated_on"] == "all rows"
    assert set(candidates[0]) == {
        "k", "covariance_type", "parameters", "criterion", "mean_log_likelihood",
        "standard_error", "evaluated_on", "problem",
    }  # fmt: skip

    lines = ended.out.splitlines()
    assert lines[0].split() == ["k", "structure", "ICL", "evaluated", "on"]
    assert lines[1].split()[:2] == ["3", "EII"]
    assert [i for i, line in enumerate(lines) if line.endswith("best")] == [1]
    assert lines[7].startswith("3 segments; 600 rows used")


def test_segments_are_chosen_by_what_they_tell_apart(call, lake, tmp_path) -> None:
    output = tmp_path / "out"
    more = ["--criterion", "segmentation", "--outcome_column", "not left as stays"]
    ended = fit(call, lake, output, *more)
    assert (ended.code, ended.problem) == (0, "")
    metrics = manifest(output)["metrics"]
    assert metrics["criterion"] == "segmentation"
    first, *others = metrics["candidates"]
    assert (first["k"], len(metrics["clusters"]), bool(others)) == (3, 3, True)
    assert {"stability", "smallest_share", "mutual_information", "why"} <= set(first)
    assert metrics["outcome"]["outcome"] == "stays"
    assert metrics["outcome"]["bits"] > 0.3
    lines = ended.out.splitlines()
    assert lines[0].split()[:4] == ["k", "components", "structure", "stability"]
    assert lines[1].endswith("taken")
    assert f"Taken: {first['why']}" in lines
    (said,) = [line for line in lines if line.startswith("stays: ")]
    assert said.endswith("rows that did not choose")
    assert [line for line in lines if line.startswith("3 segments; 600 rows used")]


def test_an_outcome_takes_part_in_a_choice_of_segments_alone(call, lake, tmp_path) -> None:
    ended = fit(call, lake, tmp_path / "out", "--outcome_column", "spend")
    assert ended.code == 2
    assert "outcome_column: found criterion bic; expected criterion segmentation" in ended.problem
    more = ["--criterion", "segmentation", "--outcome_column", "spend"]
    ended = fit(call, lake, tmp_path / "out", *more)
    assert ended.code == 2
    assert "column 'spend' is outcome_column and in columns" in ended.problem


def test_a_long_list_of_candidates_is_cut_on_the_terminal(call, lake, tmp_path) -> None:
    more = ["--k", "1,2,3,4", "--covariance_type", "EII,EEI,EEE", "--num_init", 2]
    ended = fit(call, lake, tmp_path / "out", *more)
    assert ended.code == 0
    assert len(manifest(tmp_path / "out")["metrics"]["candidates"]) == 12
    assert "  and 2 more in manifest.json\n3 segments; " in ended.out


def test_one_k_is_no_choice(call, lake, tmp_path) -> None:
    ended = fit(call, lake, tmp_path / "out", "--acceleration", "none")
    assert ended.code == 0
    assert "candidates" not in manifest(tmp_path / "out")["metrics"]
    assert manifest(tmp_path / "out")["settings"]["acceleration"] == "none"
    kinds = {entry["kind"] for entry in manifest(tmp_path / "out")["passes"][1:]}
    assert kinds <= {"em", "confirming"}
    assert ended.out.startswith("3 segments; ")


def test_help(call, capfd) -> None:
    ended = call(train.main, "--help")
    assert ended.code == 0
    assert "--covariance_type" in ended.out
    assert "--k 2,3,4" in " ".join(ended.out.split())
