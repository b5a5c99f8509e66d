"""Rules over figures of change. No Spark."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from gmm_spark.config.gate import FIGURES, Gate, Name, Rule
from gmm_spark.runs.gate import Figure, in_one_line, judged, speaks_against

SHARE = Figure("segment_share", "segment 3", 0.02, 0.10)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"below": 0.03}, True),
        ({"below": 0.02}, False),
        ({"above": 0.01}, True),
        ({"above": 0.02}, False),
        ({"change": 0.08}, True),
        ({"change": 0.081}, False),
        ({"relative_change": 0.8}, True),
        ({"relative_change": 0.81}, False),
        # All that is said has to hold: a small segment that was as small is no news.
        ({"below": 0.03, "change": 0.5}, False),
        ({"below": 0.03, "change": 0.05, "relative_change": 0.5}, True),
        ({"above": 0.5, "change": 0.05}, False),
    ],
)
def test_a_rule_speaks_where_all_of_it_holds(rule, expected) -> None:
    assert speaks_against(Figure("segment_share", "", 0.02, 0.1000001), Rule(**rule)) is expected


def test_what_was_not_measured_before_has_no_change() -> None:
    psi = Figure("psi", "column plan", 0.4)
    assert speaks_against(psi, Rule(above=0.25))
    assert not speaks_against(psi, Rule(change=0.1))
    assert not speaks_against(psi, Rule(relative_change=0.1))


def test_what_was_nothing_has_changed_by_more_than_any_share_of_it() -> None:
    """A column that had no gaps and has some passes no rule that asks how many times as many."""
    rule = Rule(relative_change=0.5)
    assert speaks_against(Figure("missing", "column x", 0.2, 0.0), rule)
    assert not speaks_against(Figure("missing", "column x", 0.0, 0.0), rule)
    few = Figure("missing", "column x", 0.001, 0.0)
    assert not speaks_against(few, Rule(change=0.01, relative_change=0.5))


def test_reasons_are_one_line_in_the_words_of_the_settings() -> None:
    gate = TypeAdapter(Gate).validate_python(
        {"segment_share": [{"below": 0.05}, {"change": 0.5}], "psi": {"above": 0.25}}
    )
    figures = [SHARE, *(Figure("psi", f"column c{i}", 0.3 + i) for i in range(4))]
    reasons = judged(figures, gate)
    assert reasons[0] == "segment_share of segment 3: 0.02, before 0.1 (below: 0.05)"
    assert len(reasons) == 5
    line = in_one_line(reasons)
    assert line.endswith("psi of column c1: 1.3 (above: 0.25); and 2 more")
    assert "\n" not in line
    assert judged(figures, {}) == []


def test_a_gate_of_nothing_known_is_refused() -> None:
    for wrong in ({"sizes": {"below": 1}}, {"psi": {}}, {"psi": {"over": 1}},
                  {"psi": {"change": -1}}):  # fmt: skip
        with pytest.raises(ValidationError):
            TypeAdapter(Gate).validate_python(wrong)
    assert set(get_args(Name)) == set(FIGURES)
