"""`gmm-spark evaluate`: a model against a table, and against another model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gmm_spark import GaussianMixtureModel
from gmm_spark.cli import evaluate
from tests.cli.conftest import Call, manifest
from tests.report.test_page import found as found_segments


@pytest.fixture(scope="module")
def two(spark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two of the three groups of customers."""
    path = tmp_path_factory.mktemp("two") / "model"
    means, unit = np.array([[0.0, 10.0], [20.0, 0.0]]), np.tile(np.eye(2) * 4, (2, 1, 1))
    GaussianMixtureModel.fromParameters(
        [0.6, 0.4], means, unit, inputCols=["spend", "visits"]
    ).save(path)
    return path


def test_a_model_against_a_table_and_another_model(
    call: Call, lake: Path, model: Path, two: Path, customers: pd.DataFrame, tmp_path: Path
) -> None:
    argv = ["--input.path", lake / "customers", "--model", model, "--against", two]
    ended = call(evaluate.main, *argv, "--output", tmp_path / "out")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    assert found["rows"] == {"scored": 600, "unscored": 0}
    # The groups are far apart, so that the segments are these, the largest first.
    assert [one["rows"] for one in found["segments"]] == [300, 200, 100]
    assert found["comparison"]["by_most_probable"] == [[300, 0], [0, 200], [100, 0]]
    assert found["comparison"]["matched"] == [[0, 0], [1, 1]]
    assert found["comparison"]["changed_share"] == pytest.approx(100 / 600, abs=1e-4)
    # scikit-learn's, of the groups and of two of them together.
    from sklearn.metrics import adjusted_rand_score

    groups = customers["segment"]
    expected = adjusted_rand_score(groups, groups % 2)
    assert found["comparison"]["adjusted_rand_index"] == pytest.approx(expected)
    fit = found["model"]
    assert fit["change"] == pytest.approx(0, abs=1e-6)
    difference = found["against"]["mean_log_likelihood"] - fit["mean_log_likelihood"]
    assert found["comparison"]["difference_of_mean_log_likelihoods"] == pytest.approx(difference)
    assert found["against"]["mean_log_likelihood"] < fit["mean_log_likelihood"]
    assert found["against"]["change"] is None
    assert manifest(tmp_path / "out")["metrics"]["rows"]["scored"] == 600
    assert "600 rows in 3 segments" in ended.out
    assert "Against a model of 2 segments" in ended.out


def test_segments_are_called_as_the_run_that_made_them_has_called_them(
    call: Call, lake: Path, model: Path, two: Path, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "run" / "model")
    content = json.loads(found_segments().to_json())
    content["segments"] = [one for one in content["segments"] if one["segment"] >= 0]
    for one, id in zip(content["segments"], (4, 0, 2), strict=True):
        one["id"] = id
    (tmp_path / "run" / "segments.json").write_text(json.dumps(content), "utf-8")
    named = tmp_path / "run" / "model"
    argv = ["--input.path", lake / "customers", "--mode", "overwrite"]
    ended = call(
        evaluate.main, *argv, "--model", named, "--against", two, "--output", tmp_path / "out"
    )
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    told = [(one["segment"], one["id"], one["name"]) for one in found["segments"]]
    assert told == [(one["segment"], one["id"], one["name"]) for one in content["segments"]]
    assert found["against"]["called"] == [{"segment": 0}, {"segment": 1}]
    rows = [line.split() for line in ended.out.splitlines()]
    assert [row[0] for row in rows if "%" in "".join(row[1:2])][:3] == ["4", "0", "2"]
    assert all(one["name"] in ended.out for one in content["segments"])
    argv += ["--model", two, "--against", named, "--output", tmp_path / "out"]
    ended = call(evaluate.main, *argv)
    assert ["segment", "4", "0", "2"] in [line.split() for line in ended.out.splitlines()]


def test_a_model_of_other_columns_with_noise(
    call: Call, spark, lake: Path, model: Path, two: Path, tmp_path: Path
) -> None:
    """Densities of other columns are no better or worse; and noise is no segment 2."""
    other = GaussianMixtureModel.load(str(two))
    wide = GaussianMixtureModel.fromParameters(
        other.weights, other.means[:, :1], other.covariances[:, :1, :1], inputCols=["spend"]
    )
    wide.save(tmp_path / "wide")
    argv = ["--input.path", lake / "customers", "--model", model, "--against", tmp_path / "wide"]
    ended = call(evaluate.main, *argv, "--output", tmp_path / "out")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    assert found["comparison"]["difference_of_mean_log_likelihoods"] is None
    assert "; it is of other columns, not to be compared with the one above\n" in ended.out

    counts = [[5.0, 0.0, 1.0], [0.0, 4.0, 0.0]]
    segment = {"share": 0.5, "share_of_its_fit": 0.5, "change": 0.0}
    fit = {"segments": 2, "mean_log_likelihood": -1.0, "mean_log_likelihood_of_its_fit": None}
    said = evaluate._words(
        {
            "rows": {"scored": 10, "unscored": 0},
            "model": fit,
            "segments": [{"segment": j, "rows": 5, **segment} for j in (0, 1)],
            "against": {**fit, "called": [{"segment": j} for j in (0, 1, -1)]},
            "comparison": {
                "by_most_probable": counts, "adjusted_rand_index": 1.0, "changed_share": 0.0,
                "difference_of_mean_log_likelihoods": 0.0,
            },
        }
    )  # fmt: skip
    assert "  segment  0  1  -1\n        0  5  0   1\n        1  0  4   0\n" in said
    assert "not to be compared" not in said


@pytest.mark.parametrize(
    ("reason", "share", "of_its_fit"),
    [("converged", 0.7, 0.9), ("kept", 0.6, 0.55)],
)
def test_shares_of_a_division_that_em_leads_away_from_are_of_rows(
    reason: str, share: float, of_its_fit: float
) -> None:
    """Its weights are no shares: of the rows it was fitted to they would say a change."""
    model: Any = SimpleNamespace(
        clusters=[[0, 2], [1]],
        parameters=SimpleNamespace(weights=np.array([0.5, 0.1, 0.4]), noise=None),
        noiseWeight=0.0,
        hasSummary=True,
        summary=SimpleNamespace(
            reason=reason, clusterWeights=[90.0, 90.0, 20.0], noiseWeightSum=None
        ),
    )
    size, rows = np.array([7.0, 3.0]), np.array([6.0, 4.0])
    first, _ = evaluate._segments(model, size, rows)
    assert first["share"] == pytest.approx(share)
    assert first["share_of_its_fit"] == pytest.approx(of_its_fit)
    assert first["change"] == pytest.approx(share - of_its_fit)
    assert (first["size"], first["rows"], first["weight"]) == (7.0, 6, pytest.approx(0.9))


def test_rows_that_no_model_scores_are_told(
    call: Call, lake: Path, model: Path, tmp_path: Path
) -> None:
    argv = ["--input.path", lake / "gaps", "--model", model, "--missing", "skip"]
    ended = call(evaluate.main, *argv, "--output", tmp_path / "out")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    assert found["rows"] == {"scored": 593, "unscored": 7}
    assert "comparison" not in found
    nothing = call(evaluate.main, "--input.path", lake / "empty", "--model", model,
                   "--output", tmp_path / "none")  # fmt: skip
    assert nothing.code == 3
    assert "has no rows that are scored" in nothing.problem
