"""What has changed since an earlier run. The figures without Spark, the counting in one job."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gmm_spark.engine.input_counts import NumberCounts, ValueCounts
from gmm_spark.report.drift import input_figures, segment_figures, stability_index
from gmm_spark.report.segments import Segments
from tests.report.test_page import found

BEFORE = {
    "rows": 1000,
    "numbers": {
        "age": {"edges": [0, 1, 2, 3], "counts": [300, 400, 200], "missing": 100, "lowest": 0.0,
                "highest": 3.0},
    },
    "categories": {"plan": {"counts": {"a": 600, "b": 400}, "missing": 0, "whole": True}},
}  # fmt: skip


def now(numbers: list[int], plan: dict[str, int], missing: int = 0, outside: int = 0) -> dict:
    age = {**BEFORE["numbers"]["age"], "counts": numbers, "missing": missing, "outside": outside}
    categories = {"plan": {"counts": plan, "missing": 0, "whole": True}}
    return {"rows": sum(numbers) + missing, "numbers": {"age": age}, "categories": categories}


def figure(figures, name: str, of: str = ""):
    return next(one for one in figures if (one.name, one.of) == (name, of))


def test_the_stability_index_is_the_published_formula() -> None:
    # Siddiqi (2006): sum of (actual - expected) ln(actual / expected).
    p, q = [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]
    expected = sum((b - a) * np.log(b / a) for a, b in zip(p, q, strict=True))
    assert stability_index([50, 30, 20], [400, 400, 200]) == pytest.approx(expected)
    assert stability_index([50, 30, 20], [500, 300, 200]) == 0
    assert stability_index([50, 50], [100, 0]) == stability_index([100, 0], [50, 50]) > 1


def test_columns_that_did_not_change_have_figures_of_nothing() -> None:
    figures = input_figures(BEFORE, now([600, 800, 400], {"a": 60, "b": 40}, missing=200))
    assert figure(figures, "missing", "column age").change == pytest.approx(0)
    for name, of in (("psi", "column age"), ("psi", "column plan"), ("unseen", "column plan"),
                     ("out_of_range", "column age")):  # fmt: skip
        assert figure(figures, name, of).value == pytest.approx(0)
    assert figure(figures, "rows").relative_change == 1.0


def test_each_change_shows_in_its_own_figure() -> None:
    figures = input_figures(BEFORE, now([90, 400, 310], {"a": 50, "b": 30, "c": 20}, 200, 80))
    assert figure(figures, "missing", "column age").value == pytest.approx(0.2)
    assert figure(figures, "missing", "column age").before == pytest.approx(0.1)
    assert figure(figures, "out_of_range", "column age").value == pytest.approx(0.1)
    assert figure(figures, "unseen", "column plan").value == pytest.approx(0.2)
    expected = stability_index([300, 400, 200], [90, 400, 310])
    assert figure(figures, "psi", "column age").value == pytest.approx(expected)


def test_chance_in_small_intervals_is_no_shift() -> None:
    rng = np.random.default_rng(0)
    values = [NumberCounts.of(rng.normal(size=2000), np.linspace(-3, 3, 25)) for _ in range(2)]
    sides = [
        {"rows": 2000, "categories": {}, "numbers": {"x": {"edges": [], "counts": v.counts.tolist(),
         "missing": 0, "lowest": v.lowest, "highest": v.highest, "outside": 0}}}
        for v in values
    ]  # fmt: skip
    assert figure(input_figures(*sides), "psi", "column x").value < 0.03


def test_counts_of_parts_add_up_to_those_of_the_whole() -> None:
    import pyarrow as pa

    values = np.array([-5.0, 0.5, np.nan, 1.0, 2.9, 3.0, 99.0])
    edges = [0.0, 1.0, 2.0, 3.0]
    whole = NumberCounts.of(values, edges)
    assert whole.counts.tolist() == [2, 1, 3]  # of what lies beyond, too; 1.0 begins the second
    assert (whole.missing, whole.lowest, whole.highest) == (1, -5.0, 99.0)
    parts = NumberCounts.of(values[:3], edges) + NumberCounts.of(values[3:], edges)
    assert parts.counts.tolist() == whole.counts.tolist()
    assert (parts.missing, parts.lowest, parts.highest) == (1, -5.0, 99.0)
    one, other = (ValueCounts.of(pa.array(v)) for v in (["a", None, "b", "a"], ["c", "a"]))
    assert (one + other).counts == {"a": 3, "b": 1, "c": 1}
    assert (one + other).missing == 1
    many = ValueCounts.of(pa.array([f"v{i}" for i in range(1001)]))
    assert not many.whole


def test_segments_are_compared_by_their_ids(example: Segments) -> None:
    figures = segment_figures(example, [0, 1, 2], example, [0, 1, 2])
    assert figures
    assert all(one.change == pytest.approx(0) for one in figures)
    # Under other numbers: what was 0 is 1 now.
    order = [1, 0, 2]
    swapped = example.model_copy(update={"segments": [example.segments[i] for i in order]})
    again = segment_figures(example, [0, 1, 2], swapped, order)
    assert all(one.change == pytest.approx(0) for one in again)
    wrong = segment_figures(example, [0, 1, 2], swapped, [0, 1, 2])
    assert any(abs(one.change) > 0.5 for one in wrong if one.name == "segment_mean")
    # One is gone, and one new.
    other = segment_figures(example, [0, 1, 2], example, [0, 1, 7])
    assert figure(other, "segment_share", "segment 2").value == 0
    assert figure(other, "segment_share", "segment 7").before is None


def test_means_are_in_deviations_of_the_earlier_table(example: Segments) -> None:
    """A mean that is two deviations of the earlier table higher has changed by 2."""
    unit = next(one for one in example.whole.profile if one.column == "tenure").standard_deviation
    segment = example.segments[1]
    moved = [
        one.model_copy(update={"mean": one.mean + 2 * unit}) if one.column == "tenure" else one
        for one in segment.profile
    ]
    parts = list(example.segments)
    parts[1] = segment.model_copy(update={"profile": moved})
    now_ = example.model_copy(update={"segments": parts})
    changes = {
        one.of: one.change
        for one in segment_figures(example, [0, 1, 2], now_, [0, 1, 2])
        if one.name == "segment_mean"
    }
    assert changes.pop("tenure in segment 1") == pytest.approx(2)
    assert changes
    assert_allclose(list(changes.values()), 0, atol=1e-12)


@pytest.fixture(scope="module")
def example() -> Segments:
    return found()
