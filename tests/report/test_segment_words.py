"""The line that is said of a segment."""

from __future__ import annotations

import pytest

from gmm_spark.report.segment_words import segment_line
from gmm_spark.report.segments import (
    Outcome,
    Segment,
    SegmentMembership,
    SegmentOutcome,
    SegmentValue,
)

CHURN = Outcome(name="churn", words="churn", kind="rate", value=0.2, missing=0)


def line(number=0, rows=250, sure=0.95, money=None, kind="rate", **outcome) -> str:
    figures = {"value": 0.4, "low": 0.35, "high": 0.45, "lift": 2.0, "estimate": "BCH"} | outcome
    own = SegmentOutcome(
        outcome="churn",
        rows=rows,
        standard_error=0.02,
        posterior=0.3,
        posterior_low=0.2,
        posterior_high=0.4,
        raw=0.3,
        **figures,
    )
    segment = Segment(
        segment=number,
        name="new, high bill",
        name_parts=[],
        words="",
        size=rows,
        share=0.25,
        rows=rows,
        profile=[],
        sets_apart=[],
        outcomes=[own],
        value=money,
    )
    membership = SegmentMembership(
        segment=number, rows=rows, mean_probability=sure, shares=[], probabilities=[]
    )
    about = CHURN.model_copy(update={"kind": kind})
    return segment_line(segment, [about], membership, 1000, "customers", "bill")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {},
            "new, high bill: 250 customers (25.0 %); churn 40.0 % (35.0 to 45.0), 2 times the "
            "average",
        ),
        ({"lift": 1.01}, "churn 40.0 % (35.0 to 45.0), about the average"),
        ({"value": 0.0, "low": 0.0, "high": 0.02, "lift": 0.0}, "churn 0.0 % (0.0 to 2.0)"),
        ({"lift": 12.3}, "12 times the average"),
        ({"value": None, "low": None, "high": None, "lift": None}, "250 customers (25.0 %)"),
        ({"rows": 40}, "few rows"),
        ({"sure": 0.7}, "mixed: 70.0 % sure on average"),
        ({"number": -1}, "like none of the segments"),
        ({"low": 0.0, "high": 1.0}, "its churn is hardly told apart from that of other segments"),
        ({"estimate": "posterior weights"}, "hardly told apart"),
        (
            {"kind": "mean", "value": 12.5, "low": 10.0, "high": 15.0},
            "churn 12.50 (10.00 to 15.00)",
        ),
    ],
)
def test_a_line_says_what_there_is_to_know(given, said) -> None:
    assert said in line(**given)


def test_value_at_risk_is_said_with_all_of_it() -> None:
    money = SegmentValue(
        total=2000.0, share=0.5, mean=8.0, at_risk=800.0, at_risk_low=700.0, at_risk_high=900.0,
        at_risk_share=0.6,
    )  # fmt: skip
    assert line(money=money).endswith("; 800 of 2,000 bill at risk (60.0 % of all at risk)")
