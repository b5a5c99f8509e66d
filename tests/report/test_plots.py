"""Charts of a model for a notebook: each is drawn, in plain colours, with the model's figures."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gmm_spark import GaussianMixtureModel
from gmm_spark.errors import ConfigurationError
from gmm_spark.report import plots
from gmm_spark.report.parameter_segments import parameter_segments
from gmm_spark.report.segments import CategoryProfile, NumberProfile, Segments
from tests.estimator.test_description import summary
from tests.report.test_notebook import given
from tests.report.test_page import EVIL

alt = pytest.importorskip("altair")
vl_convert = pytest.importorskip("vl_convert")

HISTORY = [
    {"pass": n, "kind": "em" if n else "scan", "meanLogLikelihood": -3.0 + 0.125 * n if n else None,
     "gain": 0.125 if n else None, "seconds": 1.0}
    for n in range(4)
]  # fmt: skip
CANDIDATES = [
    {"k": k, "covarianceType": "full", "criterion": 123.0 + k, "meanLogLikelihood": -3.0}
    for k in (3, 2, 4)
]
EVERY = [name for name in vars(plots.Plots) if not name.startswith("_")]
NAMES = [name for name in EVERY if name != "map"]  # which takes rows: see test_model_page


def fitted(model: GaussianMixtureModel | None = None) -> GaussianMixtureModel:
    """A model with categories, counts and noise, and a history."""
    figures = summary(history=HISTORY, candidates=CANDIDATES, noiseSize=5)
    return (model or given())._with_summary(figures)


def drawn(chart: Any) -> str:
    """As an SVG, in which a browser finds nothing of the page's style."""
    assert isinstance(chart, alt.TopLevelMixin)
    text: str = vl_convert.vegalite_to_svg(chart.to_dict(), vl_version="6.4")
    assert "var(" not in text
    assert "<script" not in text
    # A notebook has it within a script, as it is.
    page = chart.to_html()
    assert "</script>alert" not in page
    assert "alert(1)</script>" not in page
    return text


def texts(svg: str) -> list[str]:
    return [re.sub("<[^>]*>", "", one) for one in re.findall(r"<text[^>]*>(.*?)</text>", svg)]


@pytest.mark.parametrize("name", NAMES)
def test_every_chart_is_drawn(name: str) -> None:
    merged = fitted(given().mergeComponents(None, 1, "bhattacharyya"))
    one = GaussianMixtureModel.fromParameters([1.0], [[3.0, 4.0]], [np.eye(2)])
    for model in (fitted(), merged, fitted(one)):
        svg = drawn(getattr(model.plot, name)())
        assert svg.count("<path") > 3
        assert 'fill="#ffffff"' in svg


def test_what_there_is_can_be_asked_for() -> None:
    model = given()
    assert repr(model.plot) == f"plots of {model.uid}: " + ", ".join(
        f".{name}()" for name in sorted(EVERY)
    )
    assert all(getattr(plots.Plots, name).__doc__ for name in EVERY)


def values(chart: Any) -> list[dict[str, Any]]:
    """The rows of a chart's data, once where several layers have them."""
    found = chart.to_dict()

    def data(part: Any) -> list[list[dict[str, Any]]]:
        if isinstance(part, list):
            return [rows for one in part for rows in data(one)]
        if not isinstance(part, dict):
            return []
        own = [part["data"]["values"]] if "values" in part.get("data", {}) else []
        inner = [rows for key, one in part.items() if key != "data" for rows in data(one)]
        return [*own, *inner]

    listed = [*found.get("datasets", {}).values(), *data(found)]
    once = [rows for i, rows in enumerate(listed) if rows not in listed[:i]]
    return [row for rows in once for row in rows]


def test_weights_are_those_of_the_model_and_its_noise() -> None:
    rows = {row["label"]: row for row in values(fitted().plot.weights())}
    assert [row["share"] for row in rows.values()] == [0.6, 0.3, 0.1]
    assert [row["rows"] for row in rows.values()] == ["700", "300", "5"]
    assert list(rows)[-1] == "noise: 10.0 % of all"


def two(**changes: Any) -> Segments:
    """Two segments as likely as each other, of a number, a count and a category."""
    return parameter_segments(
        GaussianMixtureModel.fromParameters(
            **{
                "weights": [0.5, 0.5],
                "means": [[0.0], [2.0]],
                "covariances": [[[1.0]], [[1.0]]],
                "inputCols": [EVIL],
                "categories": {"plan": (["a", "b"], [[0.9, 0.1], [0.3, 0.7]])},
                "countCols": ["calls"],
                "rates": [[1.0], [3.0]],
                **changes,
            }
        )
    )


def test_what_parameters_say_of_all_is_the_mixtures_own() -> None:
    found = two()
    # Variance within and between: 1 + 1; of a Poisson count within, its mean: 2 + 1.
    units = [[p.standard_units for p in one.profile[:2]] for one in found.segments]
    np.testing.assert_allclose(
        units, [[-1 / np.sqrt(2), -1 / np.sqrt(3)], [1 / np.sqrt(2), 1 / np.sqrt(3)]]
    )
    number, count, category = found.whole.profile
    assert isinstance(number, NumberProfile)
    assert isinstance(count, NumberProfile)
    assert isinstance(category, CategoryProfile)
    assert (number.mean, count.mean) == (1.0, 2.0)
    assert count.standard_deviation == pytest.approx(np.sqrt(3))
    assert [one.share for one in category.values] == pytest.approx([0.6, 0.4])
    assert [one.kind for one in found.columns] == ["number", "count", "category"]
    # Noise says nothing of a column: all are the others.
    noisy = two(
        weights=[0.45, 0.45], noiseWeight=0.1, noiseBox={EVIL: (-9.0, 9.0), "calls": (0, 9)}
    )
    assert noisy.whole == found.whole
    assert [one.segment for one in noisy.segments] == [0, 1, -1]
    assert noisy.segments[-1].profile == []


def test_profiles_show_the_columns_of_the_model() -> None:
    shown = texts(drawn(fitted().plot.profiles()))
    # 1,000 and 10 by weights 1 : 2, in standard deviations; shares of "full".
    assert {"-0.7", "+1.4", "10", "75", "calls", "plan: full"} <= set(shown)
    wide = GaussianMixtureModel.fromParameters(
        [0.5, 0.5], np.arange(200.0).reshape(2, 100), [1.0, 1.0], covarianceType="spherical"
    )
    assert len(values(wide.plot.profiles())) == 2 * 32


def ellipses(chart: Any) -> dict[tuple[int, int], dict[str, Any]]:
    """By iteration and component."""
    return {(row["at"], row["component"]): row for row in values(chart)}


def covariance(row: dict[str, Any]) -> list[list[float]]:
    factor = np.array([[row["a"], 0.0], [row["b"], row["c"]]])
    return (factor @ factor.T).tolist()


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_ellipses_of_two_columns_are_in_their_units(scale: float) -> None:
    wide = [[4.0, 1.0], [1.0, 9.0]]
    model = GaussianMixtureModel.fromParameters(
        [0.6, 0.4],
        scale * np.array([[1.0, 7.0, 10.0], [5.0, 7.0, 30.0]]),
        scale**2 * np.array([[[4, 0, 1], [0, 1, 0], [1, 0, 9]], np.eye(3)]),
        inputCols=["x", "between", "y"],
    )
    found = ellipses(model.plot.ellipses("x", "y"))
    assert list(found) == [(0, 0), (0, 1)]
    for row, mean, cov in zip(found.values(), [[1, 10], [5, 30]], [wide, np.eye(2)], strict=True):
        np.testing.assert_allclose([row["x"] / scale, row["y"] / scale], mean, rtol=1e-3)
        np.testing.assert_allclose(np.array(covariance(row)) / scale**2, cov, atol=0.02)
    turned = ellipses(model.plot.ellipses("y", "x"))
    assert covariance(turned[0, 0])[0][0] == pytest.approx(9 * scale**2, rel=0.01)


def test_ellipses_of_a_count_have_its_variance() -> None:
    found = ellipses(given().plot.ellipses("a.b", "calls"))
    assert [row["y"] for row in found.values()] == [3.0, 0.5]
    assert [covariance(row)[1][1] for row in found.values()] == pytest.approx([3, 0.5], rel=1e-3)


def test_without_names_segments_lie_as_far_apart_as_they_can() -> None:
    # Along the diagonal by 3 sqrt(2), in standard deviations of 1.
    model = GaussianMixtureModel.fromParameters(
        [0.5, 0.5], [[0.0, 0.0, 9.0], [3.0, 3.0, 9.0]], [np.eye(3)] * 2
    )
    first, second = ellipses(model.plot.ellipses()).values()
    assert abs(first["x"] - second["x"]) == pytest.approx(3 * np.sqrt(2), rel=1e-3)
    assert abs(first["y"] - second["y"]) < 1e-6


def test_the_slider_has_the_iterations_of_the_fit() -> None:
    model = given()
    of, shrunk = model.parameters, [0.25, 0.5, 1.0]
    passes = [replace(of, means=of.means * by) for by in shrunk]
    model._with_summary(summary(history=HISTORY, parameterHistory=passes))
    chart = model.plot.ellipses(EVIL, "a.b")
    found = ellipses(chart)
    assert [found[at, 1]["y"] for at in range(3)] == [500.0, 1000.0, 2000.0]
    slider = next(one for one in chart.to_dict()["params"] if one["name"] == "iteration")
    assert (slider["value"], slider["bind"]["input"], slider["bind"]["max"]) == (2, "range", 2)


def test_what_has_no_ellipses_is_one_error() -> None:
    for names in [("a.b",), (None, "a.b"), ("a.b", "a.b")]:
        with pytest.raises(ConfigurationError, match="name two columns, or none"):
            given().plot.ellipses(*names)
    for name in ("plan", "else"):
        with pytest.raises(ConfigurationError, match=rf"no column .*{name}.*a\.b, calls"):
            given().plot.ellipses("a.b", name)
    line = GaussianMixtureModel.fromParameters([0.5, 0.5], [[0.0], [1.0]], [[[1.0]]] * 2)
    with pytest.raises(ConfigurationError, match="vary in one direction alone"):
        line.plot.ellipses()


def test_a_history_is_the_likelihood_of_every_pass() -> None:
    rows = values(fitted().plot.history())
    assert [(row["pass"], row["value"]) for row in rows] == [(1, -2.875), (2, -2.75), (3, -2.625)]


def test_a_choice_is_what_was_considered() -> None:
    rows = values(fitted().plot.choice())
    assert {(row["k"], row["value"], row["what"]) for row in rows} == {
        (3, 126.0, "taken"), (2, 125.0, "considered"), (4, 127.0, "considered"),
    }  # fmt: skip


def test_what_is_not_there_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("history", "choice"):
        with pytest.raises(ConfigurationError, match=rf"plot\.{name}: the model came from no"):
            getattr(given().plot, name)()
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    for name in NAMES:
        with pytest.raises(ConfigurationError, match=r"needs altair.*'gmm_spark\[report\]'"):
            getattr(fitted().plot, name)()
