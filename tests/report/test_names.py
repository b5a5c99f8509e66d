"""Names of segments, from what can be said of each; no Spark."""

from __future__ import annotations

import numpy as np
import pytest

from gmm_spark.engine.outcomes import FoundOutcomes
from gmm_spark.engine.profiles import EDGES, FoundProfiles, Moments, Sample, Values
from gmm_spark.report.names import Phrase, named
from gmm_spark.report.profiled import Profiled

NO_OUTCOMES = FoundOutcomes(
    (), 0, 0, np.zeros(0, np.uint64), np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0)
)


def profiled(segment, numbers, categories, kinds=None) -> Profiled:
    """What is found of rows that are in their segments for certain; a None among the values is
    not known."""
    segment = np.asarray(segment)
    k, n = segment.max() + 1, segment.size
    probability = np.zeros((k, n))
    probability[segment, np.arange(n)] = 1.0
    values = np.array([np.asarray(column, dtype=float) for column in numbers.values()])
    values = values.reshape(len(numbers), n)
    found, codes = [], []
    for column in categories.values():
        there = list(dict.fromkeys(value for value in column if value is not None))
        code = np.array([-1 if value is None else there.index(value) for value in column])
        weights = np.array([probability[:, code == i].sum(axis=1) for i in range(len(there))])
        weights = weights.reshape(len(there), k)
        found.append(Values(tuple(there), weights, probability[:, code == -1].sum(axis=1)))
        codes.append(code)
    sample = Sample(
        np.arange(n, dtype=np.uint64),
        probability,
        values,
        np.array(codes, dtype=np.int32).reshape(len(categories), n),
        np.zeros((0, n)),
        np.zeros((0, n)),
    )
    rows = probability.sum(axis=1)
    all_found = FoundProfiles(
        rows.astype(np.int64),
        rows,
        np.diag(rows),
        np.zeros((k, len(EDGES) - 1), dtype=np.int64),
        np.zeros(k, dtype=np.int64),
        Moments.of(probability, values),
        Moments.of(probability, values),
        np.isfinite(values).sum(axis=1),
        tuple(found),
        sample,
        NO_OUTCOMES,
    )
    kinds = dict.fromkeys(numbers, "number") | dict.fromkeys(categories, "category")
    return Profiled(all_found, kinds, list(numbers), list(categories), {})


def names(of: Profiled, people: bool = False) -> list[str]:
    every = range(of.k)
    phrases = [of.phrases(j, [i for i in every if i != j], people=people) for j in every]

    def contrast(j, others):
        return of.phrases(j, others, people=people, comparative=True)

    return [name for name, _ in named(phrases, of.correlations, contrast)]


rng = np.random.default_rng(4)
SEGMENT = np.repeat([0, 1, 2, 3], 250)


def spread(*means, sd=1.0) -> np.ndarray:
    return np.array(means)[SEGMENT] + sd * rng.normal(size=SEGMENT.size)


def test_a_name_is_what_sets_a_segment_apart() -> None:
    of = profiled(
        SEGMENT,
        {"tenure": spread(60, 60, 5, 5), "monthly_charges": spread(90, 20, 90, 20)},
        {
            "contract": np.array(["Two year", "Two year", "Month-to-month", "Month-to-month"])[
                SEGMENT
            ]
        },
    )
    assert names(of) == [
        "long-standing, high monthly charges",
        "long-standing, low monthly charges",
        "new, high monthly charges",
        "new, low monthly charges",
    ]  # the contract says the same as tenure


def test_what_says_the_same_again_is_left_out_and_another_column_said() -> None:
    tenure = spread(60, 30, 30, 5)
    of = profiled(
        SEGMENT,
        {"tenure": tenure, "tenure_weeks": 4.3 * tenure + rng.normal(size=tenure.size)},
        {"paperless": np.where((SEGMENT == 0) == (rng.random(1000) < 0.9), "Yes", "No")},
    )
    found = names(of)
    assert found[0] == "long-standing, with paperless"
    assert found[3] == "new"


def test_an_average_segment_is_called_so_and_no_two_have_one_name() -> None:
    noise = {f"c{i}": rng.normal(size=SEGMENT.size) for i in range(3)}
    found = names(profiled(SEGMENT, noise, {}))
    assert found == ["average", "average (2)", "average (3)", "average (4)"]
    noise["orders"] = spread(4.0, 4.0, 4.6, 4.6)
    found = names(profiled(SEGMENT, noise, {}))
    assert len(set(found)) == 4
    # Three that are high in one column differ in it, or in others.
    found = names(profiled(SEGMENT, {"bill": spread(1, 51, 52, 80)}, {}))
    assert found[0] == "low bill"
    assert found[3] == "high bill"
    assert found[1] != found[2]


def test_people_are_described_where_that_is_asked_for_alone() -> None:
    numbers = {"age": spread(70, 20, 45, 45), "bill": spread(50, 50, 55, 55)}
    of = profiled(SEGMENT, numbers, {"Gender": np.array(["f", "m", "f", "m"])[SEGMENT]})
    assert not any(word in name for name in names(of) for word in ("age ", "gender"))
    assert names(of, people=True)[0].startswith("high age")


def test_flags_gaps_and_nothing_are_said_as_such() -> None:
    calls = np.where(SEGMENT == 0, 0.0, 1.0 + rng.poisson(3.0, SEGMENT.size))
    messages = np.where(SEGMENT == 1, 5.0 + rng.poisson(5.0, SEGMENT.size), 0.0)
    balance = np.where(SEGMENT == 2, np.nan, spread(5, 5, 5, 5))
    of = profiled(
        SEGMENT,
        {"calls": calls, "messages": messages, "balance": balance, "has_card": SEGMENT == 3},
        {},
    )
    for name, part in zip(
        names(of), ["no calls", "with messages", "balance unknown", "with card"], strict=True
    ):
        assert part in name.split(", ")


def test_one_segment_columns_without_values_and_constants() -> None:
    whole = np.zeros(50, dtype=int)
    nothing = {"empty": np.full(50, np.nan), "same": np.ones(50), "x": rng.normal(size=50)}
    of = profiled(whole, nothing, {"none": [None] * 50, "one": ["a"] * 50})
    assert names(of) == ["all"]
    (profile,) = [one for one in of.profile(0) if one.column == "empty"]
    assert (profile.mean, profile.quantiles, profile.known, profile.missing) == (None, None, 0, 1)
    two = np.repeat([0, 1], 25)
    of = profiled(two, nothing, {"none": [None] * 50, "one": ["a"] * 50})
    assert len(set(names(of))) == 2
    assert of.differences(0)


@pytest.mark.parametrize("name", ["", "a, b", "x" * 300, "`;--", "日本", "42"])
def test_strange_names_of_columns_make_names_of_one_line(name) -> None:
    of = profiled(SEGMENT, {name: spread(9, 5, 5, 1)}, {})
    found = names(of)
    assert len(set(found)) == 4
    assert all("\n" not in one and len(one) < 100 for one in found)


def test_a_part_that_differs_is_put_beside_what_is_the_same() -> None:
    same = [Phrase("bill", "high bill", 0.9, 0)] * 2

    def contrast(j, others):
        words = ("newer", "longer-standing")[j]
        return [Phrase("tenure", words, 0.5, 1, 0, comparative=True)]

    found = named([same[:1], same[1:]], np.eye(2), contrast)
    assert [name for name, _ in found] == ["newer, high bill", "longer-standing, high bill"]


def test_numbers_too_large_to_be_squared_have_no_deviation() -> None:
    of = profiled(np.repeat([0, 1], 20), {"huge": np.repeat([1e300, -1e300], 20)}, {})
    (profile,) = of.profile(0)
    assert profile.mean == pytest.approx(1e300)
    (whole,) = of.profile(None)
    assert whole.standard_deviation is None
    assert [one.effect for one in of.differences(0)] == [1.0]
