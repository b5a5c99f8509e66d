"""What is said of segments: a line of each, the table, why these."""

from __future__ import annotations

import re

import pytest

from gmm_spark.report.segment_words import choice_words, segment_line, words_of
from gmm_spark.report.segments import (
    Choice,
    Fit,
    Membership,
    Outcome,
    Rows,
    Segment,
    SegmentMembership,
    SegmentOutcome,
    Segments,
    SegmentValue,
    Value,
    Whole,
)

CHURN = Outcome(name="churn", words="churn", kind="rate", value=0.2, missing=0)


def segment(number=0, rows=250, money=None, **outcome) -> Segment:
    figures = {"value": 0.4, "low": 0.35, "high": 0.45, "lift": 2.0, "estimate": "BCH", "raw": 0.36}
    figures |= outcome
    own = SegmentOutcome(
        outcome="churn",
        rows=rows,
        standard_error=0.02,
        posterior=0.3,
        posterior_low=0.2,
        posterior_high=0.4,
        **figures,
    )
    return Segment(
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


def line(number=0, rows=250, sure=0.95, money=None, kind="rate", **outcome) -> str:
    one = segment(number, rows, money, **outcome)
    membership = SegmentMembership(
        segment=number, rows=rows, mean_probability=sure, shares=[], probabilities=[]
    )
    about = CHURN.model_copy(update={"kind": kind})
    return segment_line(one, [about], membership, 1000, "customers", "bill")


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
        ({"rows": 40}, "few customers"),
        ({"raw": 0.349}, "2 times the average, as counted 34.9 %"),
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


def found(choice: Choice | None = None, **outcome) -> Segments:
    """Two segments of 250 and 750 customers, as far as words are made of them."""
    figures = [
        {"total": 2000.0, "share": 0.25, "mean": 8.0, "at_risk": 800.0, "at_risk_share": 0.8},
        {"total": 6000.0, "share": 0.75, "mean": 8.0, "at_risk": 200.0, "at_risk_share": 0.2},
    ]
    money = [SegmentValue(at_risk_low=1.0, at_risk_high=2.0, **each) for each in figures]
    made = [segment(0, 250, money[0], **outcome), segment(1, 750, money[1], **outcome)]
    first, second = line(0, 250, money=money[0], **outcome), "new, high bill: 750 customers"
    return Segments(
        version="1.0",
        made_by="a test",
        noun="customers",
        rows=Rows(total=1000, with_segment=1000, without_segment=0, weight=1000.0),
        columns=[],
        outcomes=[CHURN],
        value=Value(
            column="monthly_bill", total=8000.0, missing=0, outcome="churn", at_risk=1000.0
        ),
        segments=[
            one.model_copy(update={"words": words})
            for one, words in zip(made, (first, second), strict=True)
        ],
        whole=Whole(profile=[]),
        membership=Membership(edges=[], segments=[]),
        quantiles="exact",
        choice=choice,
    )


def test_segments_as_text_are_names_figures_and_a_table_of_them_and_of_all() -> None:
    text, _, table = words_of(found()).partition("\n\n")
    assert text.splitlines() == [
        "  0  new, high bill",
        "     250 customers (25.0 %); churn 40.0 % (35.0 to 45.0), 2 times the average;",
        "     800 of 2,000 bill at risk (80.0 % of all at risk)",
        "  1  new, high bill",
        "     750 customers",
    ]
    *rows, note = [re.split(r"  +", line.strip()) for line in table.splitlines()]
    assert rows == [
        ["segment", "customers", "share", "churn", "as counted", "lift", "monthly bill",
         "at risk", "of all at risk"],
        ["0", "250", "25.0 %", "40.0 % (35.0 to 45.0)", "36.0 %", "2.00", "2,000", "800", "80.0 %"],
        ["1", "750", "75.0 %", "40.0 % (35.0 to 45.0)", "36.0 %", "2.00", "6,000", "200", "20.0 %"],
        ["all", "1,000", "100.0 %", "20.0 %", "20.0 %", "1.00", "8,000", "1,000", "100.0 %"],
    ]  # fmt: skip
    assert note[-1].endswith("As counted: not corrected for customers in the wrong segment")


def test_of_losses_no_share_is_at_risk() -> None:
    """Where the sum is under 0, segments have no shares of it, and these do not add up to all."""
    segments = found()
    lost = [
        one.model_copy(
            update={
                "value": one.value.model_copy(
                    update={"at_risk": -one.value.at_risk, "at_risk_share": None}
                )
            }
        )
        for one in segments.segments
        if one.value is not None
    ]
    value = segments.value and segments.value.model_copy(update={"at_risk": -1000.0})
    text = words_of(segments.model_copy(update={"segments": lost, "value": value}))
    rows = [re.split(r"  +", line.strip()) for line in text.partition("\n\n")[2].splitlines()]
    assert [row[-2:] for row in rows[1:4]] == [["-800", "-"], ["-200", "-"], ["-1,000", "-"]]


def test_what_is_not_corrected_is_not_called_so() -> None:
    assert words_of(found(estimate="posterior weights")).endswith("In brackets: 95 % intervals")


def test_what_is_counted_is_said_once() -> None:
    """Of segments of k-means, whose figures are of the rows in them."""
    text = words_of(found(estimate="counted", value=0.4, raw=0.4, low=0.35, high=0.45))
    assert text.endswith("In brackets: 95 % intervals")
    assert "as counted" not in text
    assert "hardly told apart" not in text


def choice(k: int, tried: list[int], information: dict | None) -> Choice:
    return Choice(
        segments=k,
        components=k,
        structure="full",
        why="",
        considered=[{"k": one} for one in tried],
        alternatives=[],
        outcome_information=information,
    )


@pytest.mark.parametrize(
    ("tried", "said"),
    [
        ([3, 2, 4], "fewer say less of churn, and more say hardly more, by one half"),
        ([3, 3, 2], "fewer say less of churn, by one half"),
        ([3, 4, 5], "more say hardly more of what there is to say of churn, by one half"),
        ([3, 3], "no other division into 3 that was tried says clearly more of churn, by one half"),
    ],
)
def test_why_as_many_segments(tried, said) -> None:
    # The entropy of an outcome of 20 % is 0.722 bits.
    information = {"outcome": "churn", "bits": 0.361, "spread": 0.45, "rows": 500}
    why, told = choice_words(found(choice(3, tried, information)))
    assert why == f"Why 3 segments: {said} of the customers"
    assert told == (
        "By the other half: rates as counted up to 45.0 points apart; segments say 50.0 % of what "
        "there is to know of churn (0.361 bits)"
    )


def test_columns_that_count_by_the_outcome_are_spoken_of() -> None:
    information = {"outcome": "churn", "bits": 0.361, "spread": 0.45, "rows": 500}
    weighted = choice(3, [3, 4], information)
    weighted.considered[0]["origin"] = "k-means, columns weighted by the outcome"
    *_, last = choice_words(found(weighted))
    assert last == "Columns count in the division by what they say of churn"


def test_of_a_refit_it_is_said_that_nothing_was_chosen() -> None:
    information = {"outcome": "churn", "bits": 0.361, "spread": 0.45, "rows": 500}
    refit = choice(3, [3], information).model_copy(update={"why": "is the one there was, fitted"})
    why, told = choice_words(found(refit))
    assert why == "Why 3 segments: the division is the one there was, fitted"
    assert told.startswith("By one half of the customers: rates as counted up to 45.0 points apart")
    without = refit.model_copy(update={"outcome_information": None})
    assert choice_words(found(without)) == [why]


def test_of_an_update_it_is_said_that_nothing_was_chosen() -> None:
    """The candidates are those of the fit that it began with."""
    segments = found(choice(3, [3, 2, 4], None))
    fit = Fit.model_construct(reason="updated")
    assert choice_words(segments.model_copy(update={"fit": fit})) == [
        "Why 3 segments: the division is the one there was, brought up to date"
    ]


def test_why_as_many_segments_where_there_is_no_outcome() -> None:
    assert choice_words(found(choice(3, [3, 2, 4], None))) == [
        "Why 3 segments: fewer say less of the columns, and one more adds less than one does on "
        "average"
    ]
    assert choice_words(found(choice(3, [3, 4], None))) == [
        "Why 3 segments: one more adds less of what there is to say of the columns than one does "
        "on average"
    ]
    assert choice_words(found()) == []
