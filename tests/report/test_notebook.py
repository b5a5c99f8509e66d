"""Estimators, models and summaries as a notebook shows them: figures in place, names escaped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gmm_spark
from gmm_spark import GaussianMixture, GaussianMixtureModel, GaussianMixtureSearch
from tests.estimator.test_description import summary
from tests.report.test_page import EVIL, Page


def given(**changes: Any) -> GaussianMixtureModel:
    """Segments of two numbers, a count and a category, and noise."""
    values: dict[str, Any] = {
        "weights": [0.6, 0.3],
        "means": [[1.0, 10.0], [2.0, 2000.0]],
        "covariances": [[[4.0, 1.0], [1.0, 9.0]], [[16.0, 0.0], [0.0, 25.0]]],
        "inputCols": [EVIL, "a.b"],
        "categories": {"plan": (["<b>basic", "full"], [[0.9, 0.1], [0.25, 0.75]])},
        "countCols": ["calls"],
        "rates": [[3.0], [0.5]],
        "noiseWeight": 0.1,
        "noiseBox": {EVIL: (0.0, 9.0), "a.b": (0.0, 90.0), "calls": (0, 9)},
    }
    return GaussianMixtureModel.fromParameters(**{**values, **changes})


def read(shown: Any) -> tuple[list[list[str]], str]:
    """The lines of the tables, and what is said beside them."""
    page = Page(shown._repr_html_())
    # Of what is handed in nothing is taken for a tag.
    assert set(page.tags) <= {
        "div", "p", "b", "code", "table", "thead", "tbody", "tr", "th", "td", "details", "summary",
        "ul", "li",
    }  # fmt: skip
    assert all(name == "style" for _, name, _ in page.attributes)
    return [[text for text, _ in row] for row in page.tables[""]], " ".join(page.words)


def test_a_model_has_its_segments_side_by_side() -> None:
    lines, words = read(given())
    assert lines == [
        ["segment", "0", "1", "-1 (noise)"],
        ["weight", "60.0 %", "30.0 %", "10.0 %"],
        [EVIL, "1.000 (2.000)", "2.000 (4.000)", ""],
        ["a.b", "10.0 (3.0)", "2,000.0 (5.0)", ""],
        ["calls", "3.000", "0.5000", ""],
        ["plan", "<b>basic (90.0 %)", "full (75.0 %)", ""],
    ]
    assert "2 components; full covariances of 2 columns; categories: 1; counts: 1; noise" in words
    assert "Warnings" not in words


def test_of_a_fit_sizes_and_warnings_are_said() -> None:
    model = given()
    warnings = [f"one_value: {EVIL} is one", "k_at_edge: more"]
    figures = summary(warnings=warnings, noiseSize=5, clusterSizes=[1234, 5], reason="kept")
    lines, words = read(model._with_summary(figures))
    assert "noise; fitted to 1,000 rows; kept as found on the sample" in words
    assert lines[2] == ["rows", "1,234", "5", "5"]
    assert all(one in words for one in warnings)


def test_clusters_of_components_are_the_segments() -> None:
    lines, words = read(given().mergeComponents(None, 1, "bhattacharyya"))
    # Mean of the two by weight, 2 : 1; variance within and between them.
    within, between = (2 * 4 + 16) / 3, 2 / 9
    deviation = np.sqrt(within + between)
    assert lines[0] == ["segment", "0", "-1 (noise)"]
    assert lines[2] == ["components", "2", "1"]
    assert lines[3] == [EVIL, f"{4 / 3:.3f} ({deviation:.3f})", ""]
    assert "merged into 1 cluster;" in words


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_of_many_segments_and_columns_the_rest_is_counted(noise: float) -> None:
    weights = np.full(50, (1 - noise) / 50)
    means = np.random.default_rng(0).normal(size=(50, 40))
    model = GaussianMixtureModel.fromParameters(
        weights,
        means,
        np.ones(50),
        covarianceType="spherical",
        noiseWeight=noise,
        noiseBox=[(-9.0, 9.0)] * 40 if noise else None,
    )
    lines, words = read(model)
    assert len(lines) == 1 + 1 + 16
    assert len(lines[0]) == 1 + 12
    assert lines[0][-1] == ("-1 (noise)" if noise else "11")
    left = 51 - 12 if noise else 50 - 12
    assert f"24 more columns and {left} more segments:" in words
    assert len(model._repr_html_()) < 40_000


def test_a_model_of_one_column_and_one_component() -> None:
    lines, words = read(GaussianMixtureModel.fromParameters([1.0], [[3.0]], [[[4.0]]]))
    assert lines[1:] == [["weight", "100.0 %"], ["features_0", "3.000 (2.000)"]]
    assert "1 component; full covariances of 1 column" in words
    assert "No parameters" in GaussianMixtureModel()._repr_html_()


def test_an_estimator_shows_what_is_set_and_folds_the_rest() -> None:
    estimator = GaussianMixture(
        k=3, inputCols=[EVIL], tol=1e-5, initialMeans=[[1.0], [2.0], [3.0]], initialModel=given()
    )
    lines, words = read(estimator)
    heads = [i for i, line in enumerate(lines) if line[0] == "Param"]
    of_set = {line[0]: line[1] for line in lines[1 : heads[1]]}
    assert of_set == {
        "inputCols": f"[{EVIL}]",
        "k": "3",
        "tol": "1e-05",
        "initialMeans": "numbers of shape (3, 1)",
        "initialModel": f"GaussianMixtureModel (uid={estimator.getInitialModel().uid})",
    }
    rest = {line[0]: line[1] for line in lines[heads[1] + 1 :]}
    assert rest["maxIter"] == "100"
    assert rest["weightCol"] == ""
    assert set(of_set) | set(rest) == {param.name for param in estimator.params}
    assert f"{len(rest)} Params with their defaults" in words
    assert "Every Param has its default." in read(GaussianMixtureSearch())[1]


def test_an_estimator_is_a_line_of_what_is_set_and_its_uid_to_str() -> None:
    estimator = GaussianMixture(k=3, inputCols=[f"x{i}" for i in range(20)], seed=7)
    assert str(estimator) == estimator.uid
    assert repr(estimator) == (
        f"GaussianMixture: uid={estimator.uid}, "
        "inputCols=[x0, x1, x2, x3, x4, x5, x6, x7, ... 20 in all], k=3, seed=7"
    )
    search = GaussianMixtureSearch(k=[1, 2], covarianceType=["full"])
    assert repr(search).endswith(", k=[1, 2], covarianceType=[full]")


def test_a_summary_says_how_the_fit_went() -> None:
    lines, words = read(
        summary(warnings=[f"one: {EVIL}"], numGaps={EVIL: 3}, numSkipped=4, noiseSize=0)
    )
    assert dict(lines) == {
        "rows": "1,000",
        "components": "2",
        "free parameters": "19",
        "end": "converged, after 5 passes",
        "log-likelihood": "-1,234.57",
        "mean log-likelihood": "-1.2",
        "AIC": "2,500",
        "BIC": "2,512.25",
        "ICL": "2,513",
        "rows of the components": "700, 300",
        "rows of noise": "0",
        "rows skipped for gaps": "4",
        "rows with a gap": f"{EVIL} 3",
    }
    assert f"one: {EVIL}" in words
    other = summary(converged=False, reason="singular", numPasses=1, clusterSizes=[1] * 90)
    found = dict(read(other)[0])
    assert found["end"] == "not converged (singular), after 1 pass"
    assert found["rows of the components"].endswith(", ... 90 in all")


def test_nothing_is_needed_for_it_but_the_package() -> None:
    code = (
        "import sys\n"
        "for name in ('altair', 'jinja2', 'vl_convert'): sys.modules[name] = None\n"
        "from gmm_spark import GaussianMixture, GaussianMixtureModel\n"
        "from pyspark import SparkContext\n"
        "model = GaussianMixtureModel.fromParameters([1.0], [[3.0]], [[[4.0]]])\n"
        "assert '3.000 (2.000)' in model._repr_html_()\n"
        "assert 'Param' in GaussianMixture(k=3)._repr_html_()\n"
        "assert SparkContext._gateway is None\n"
    )
    root = Path(gmm_spark.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=120)
