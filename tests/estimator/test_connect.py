"""Spark Connect, where there is neither a SparkContext nor a JVM in the process."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.conftest import environment_of_a_process

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("connect_program.py")
needs_connect = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("grpc", "grpc_status")),
    reason="pyspark[connect] is not installed",
)
SIZES = [40, 60]
MEANS = [[0.0, 0.0], [9.0, 2.0]]

pytestmark = [needs_connect, pytest.mark.long]  # a server of its own


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, Any]:
    """What every step of the program found, and the calls that none made."""
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path_factory.mktemp("connect"))],
        env=environment_of_a_process(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    told: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return told


@pytest.fixture(scope="module")
def found(told) -> dict[str, Any]:
    """What every step of the program found."""
    steps: dict[str, Any] = told["steps"]
    return steps


def test_every_public_call_is_made(told) -> None:
    """A new method, property, getter or setter needs a step in the program."""
    assert told["not made"] == []


def test_no_public_call_fails(found) -> None:
    assert len(found) == PROGRAM.read_text("utf-8").count("\n@step\n")
    assert {n: v for n, v in found.items() if isinstance(v, dict) and "error" in v} == {}


def test_what_a_model_holds(found) -> None:
    sizes, has_summary, probabilities, rates, k, columns, files, same, drawn, rows = found[
        "what_a_model_holds"
    ]
    assert (sizes, has_summary, same) == (SIZES, False, True)
    assert (probabilities, rates, k) == ([2, 2], [2, 1], 2)
    assert columns == files == ["x", "y"]
    assert (drawn, rows) == (["x", "y", "component"], 50)
    said, *set_at_once = found["settings"]
    assert said > 50
    assert set_at_once == [3, [3], "_x"]


def test_charts_and_scoring_elsewhere(found) -> None:
    assert found["charts"] == ["https://vega.github.io/schema/"] * 6
    assert found["scored_elsewhere"] == [SIZES, True]


def test_columns_are_prepared(found) -> None:
    same, left_out, _, *names, sizes, of_the_estimator = found["prepare"]
    assert (same, left_out, sizes, of_the_estimator) == (True, {}, SIZES, ["x", "y"])
    assert names == [["x_prepared", "y_prepared"], ["plan_prepared"], []]


def test_the_jobs_run_and_publish(found) -> None:
    assert found["jobs"] == [[0, 0, 0, 0], 2, SIZES]


def test_a_page_is_written(found) -> None:
    assert found["report"] is True


def test_segments_are_chosen(found) -> None:
    clusters, sizes, k, information = found["choose_segments"]
    assert (clusters, sorted(sizes), k) == (2, SIZES, 2)
    assert information["bits"] > 0.8


def test_a_model_is_described_and_its_outputs_have_attributes(found) -> None:
    rows, attributes, text = found["described"]
    assert [size for size, _ in rows] == [60, 40]
    assert_allclose([mean for _, mean in rows], [0.0, 9.0], atol=0.5)
    nominal = {"ml_attr": {"num_vals": 2, "type": "nominal"}}
    assert attributes == [{"ml_attr": {"num_attrs": 2}}, nominal]
    assert "k=2, numFeatures=2" in text


def test_components_are_merged(found) -> None:
    assert found["merge_components"] == [[[0, 1]], True, [100], SIZES]


def test_fits_of_a_dataframe_and_of_a_table_are_one(found) -> None:
    """Of two groups, 60 rows about (0, 0) and 40 about (9, 2)."""
    weights, means, rows = found["fit_a_dataframe"]
    assert_allclose(weights, [0.6, 0.4], atol=1e-6)
    assert_allclose(means, MEANS, atol=0.6)
    assert rows == 100
    from_table = found["fit_a_table"]
    assert_allclose(from_table[0], weights, rtol=1e-9)
    assert_allclose(from_table[1], means, rtol=1e-9, atol=1e-12)
    assert from_table[2:] == [SIZES, [40], ["x", "probability", "prediction"]]


def test_what_is_scored_filled_and_drawn(found) -> None:
    assert found["transform"] == [["x", "y", "probability", "prediction"], SIZES, True]
    assert found["outcomes"] == [[0, 60, "three-step ML"], [1, 40, "three-step ML"]]
    assert found["impute"] == [["x", "y", "x_sd", "y_sd"], 0, 200]
    assert found["predict_columns"] == [["x", "y_mean", "y_sd"], 100]
    assert "Spark Connect has no way" in found["handed_over"][0]
    assert found["handed_over"][1] == 2
    assert found["explain"][0] == 300
    assert found["explain"][1][:6] == ["x", "y", "segment", "runner_up", "log_odds", "base"]
    assert found["explain"][2] == 100
    assert found["one_row"][0] == 1
    assert found["one_row"][1] > 0.999
    assert found["used_in_a_udf"] == SIZES
    mixed = found["fit_categories_counts_labels_noise"]
    assert mixed == [{"c": ["far", "near"]}, mixed[1], 100, ["n"]]


def test_what_the_model_and_its_summary_tell(found) -> None:
    means, shape, number, segments = found["gaussians"]
    assert segments == [[0, 60, means[0][0]], [1, 40, means[1][0]]]
    assert_allclose(means, found["fit_a_dataframe"][1])
    assert (shape, number) == ([2, 2], 2)
    assert found["summary"] == [100, ["prediction"], ["probability"], [60, 40], True]
    assert found["search"] == [2, 2, [1, 2]]


def test_a_model_is_updated(found) -> None:
    """60 and 40 rows count for half, and 40 of the second group come."""
    weights, weight, rows = found["update"]
    assert_allclose(weights, [30 / 90, 60 / 90], atol=1e-6)
    assert (weight, rows) == (190.0, 100)


def test_what_was_saved_comes_back(found) -> None:
    assert found["save_and_load"] == [True, True, True]
    said = found["load_what_is_not_there"]
    assert said[0].startswith("ModelFileError: there is no model at .../absent")
    assert "a gmm_spark.estimator.GaussianMixture was asked for" in said[1]


def test_what_is_there_is_not_written_over_unasked(found) -> None:
    """A model, a table, a directory that is empty: one error, before anything is written."""
    said, unchanged, in_the_empty = found["save_where_something_is"]
    assert said == [
        f"ConfigurationError: .../{name} exists already; "
        "use write().overwrite().save(path) to replace it"
        for name in ("model", "model", "table", "empty")
    ]
    assert unchanged
    assert in_the_empty == []


def test_what_is_written_over_is_gone(found) -> None:
    """An estimator with its start, one without, a model twice, the estimator again."""
    layouts, k, start, means = found["overwrite"]
    expected = [["initialModel", "metadata"], ["metadata"], ["data", "history", "metadata"]]
    assert layouts == [expected[0], expected[1], expected[2], expected[2], expected[1]]
    assert k == 7
    assert start == means == found["fit_a_dataframe"][1]


def test_pipelines_and_cross_validation(found) -> None:
    assert found["pipeline"] == [SIZES, SIZES, 2]
    assert found["cross_validation"] == [2, 2, 1]


def test_the_models_of_mllib(found) -> None:
    sizes, same_predictions, seed = found["mllib"]
    assert sizes == SIZES
    assert same_predictions
    assert seed == 3


def test_data_of_other_kinds(found) -> None:
    said = found["wrong_kinds"]
    assert len(said) == 9
    for text, call in zip(said, np.tile(["fit", "transform", "impute"], 3), strict=True):
        assert text.startswith(f"InputDataError: {call} takes a Spark DataFrame or a ParquetTable")
