"""The outcome: what becomes of a column, what is refused in which words, what gives it away."""

from __future__ import annotations

import numpy as np
import pytest

from gmm_spark.engine.dataframe import sql_name
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.prepare import outcome as under_test
from gmm_spark.prepare.columns import column_of
from gmm_spark.prepare.outcome import (
    check_unique,
    days_after,
    giveaways,
    outcome_columns,
    refuse_inputs,
    with_outcome,
)

ROWS = """
    (1, 'Yes', 1, 'gone', 10.0, DATE'2024-01-31', 1),
    (2, 'No', 0, 'here', 20.0, NULL, 2),
    (3, ' no.', 0, 'here', 30.0, NULL, 2),
    (4, 'TRUE', 1, 'gone', double('nan'), DATE'9999-12-31', 1),
    (4, NULL, NULL, NULL, NULL, NULL, 1),
    (NULL, '', 0, 'it\\'s', 40.0, NULL, 2)"""


@pytest.fixture
def table(spark):
    names = "id, `Churn  now`, flag, plan, spend, left_on, `a.b`"
    return spark.sql(f"SELECT * FROM VALUES {ROWS} AS t({names})")


# The column or expression, the outcome's name, its type and its values in the order of the rows.
MADE = {
    "Churn  now": ("Churn  now", "boolean", [True, False, False, True, None, None]),
    "flag": ("flag", "boolean", [True, False, False, True, None, False]),
    "cast(flag as string) as f": ("f", "boolean", [True, False, False, True, None, False]),
    "spend": ("spend", "double", [10.0, 20.0, 30.0, None, None, 40.0]),
    "plan = 'gone' as left": ("left", "boolean", [True, False, False, True, None, False]),
    "plan = 'gone'": ("outcome", "boolean", [True, False, False, True, None, False]),
    "`a.b` = 2 as `a.b`": ("a.b", "boolean", [False, True, True, False, False, True]),
    "flag = 1 as `a``b`": ("a`b", "boolean", [True, False, False, True, None, False]),
    "left_on is not null as PLAN": ("PLAN", "boolean", [True, False, False, True, False, False]),
}


@pytest.mark.parametrize("outcome", MADE)
def test_what_an_outcome_becomes(table, outcome) -> None:
    name, kind, values = MADE[outcome]
    made, found = with_outcome(table, outcome)
    assert found == name
    assert dict(made.dtypes)[name] == kind
    ids = [1, 2, 3, 4, 4, None]
    rows = made.select("id", sql_name(name)).collect()
    assert [tuple(row) for row in rows] == list(zip(ids, values, strict=True))
    # In its column's place, or last.
    places = [column.lower() for column in table.columns]
    place = places.index(name.lower()) if name.lower() in places else len(places)
    assert made.columns.index(name) == place
    assert len(made.columns) == len(places) + (place == len(places))


REFUSED = {
    "plan": "outcome: 'plan' has the values 'gone' (2 rows), 'here' (2 rows), \"it's\" (1 rows); "
        "say which is meant, as in \"plan = 'gone' as plan\"",
    "nullif(plan, 'it\\'s') as p": "outcome: \"nullif(plan, 'it\\\\'s') as p\" has the values "
        "'gone' (2 rows), 'here' (2 rows); say which is meant, as in \"nullif(plan, 'it\\'s') = "
        "'here' as p\"",
    "a.b": "outcome: 'a.b' has two values, 1 and 2; say which is meant, as in \"`a.b` = 2 as a_b\"",
    "left_on": "outcome: 'left_on' has type date; an outcome is a boolean, a number, or a text of "
        "yes and no: say what is meant, as in \"left_on is not null as left\"",
    "plan = 'away' as left": "outcome: all 5 rows of \"plan = 'away' as left\" with a value have "
        "False; segments differ only in an outcome that differs between rows",
    "if(flag = 1, 'yes', null) as f": "outcome: all 2 rows of \"if(flag = 1, 'yes', null) as f\" "
        "with a value have 'yes'; segments differ only in an outcome that differs between rows",
    "spend * 0 + 7 as s": "outcome: all 4 rows of 'spend * 0 + 7 as s' with a value have 7.0; "
        "segments differ only in an outcome that differs between rows",
    "nullif(spend, spend) as s": "outcome: 'nullif(spend, spend) as s' is null in all rows; "
        "without an outcome leave the setting out",
    "nullif(plan, plan) as p": "outcome: 'nullif(plan, plan) as p' is null in all rows; without an "
        "outcome leave the setting out",
    "spend * double('inf') as s": "outcome: 4 rows of \"spend * double('inf') as s\" are infinite; "
        "mend them, or make them null",
}  # fmt: skip
UNREADABLE = {
    "churn": "outcome: there is no column 'churn' in the data",
    "plan == gone as left": "outcome: found 'plan == gone as left'; the table has no column 'gone'",
    "plan = 'gone": 'outcome: found "plan = \'gone"; it is no SQL expression',
}


@pytest.mark.parametrize("outcome", REFUSED)
def test_an_outcome_that_cannot_be_used_is_one_line(table, outcome) -> None:
    with pytest.raises(InputDataError) as raised:
        with_outcome(table, outcome)
    assert str(raised.value) == REFUSED[outcome]


@pytest.mark.parametrize("outcome", UNREADABLE)
def test_an_outcome_that_cannot_be_read_is_one_line(table, outcome) -> None:
    with pytest.raises(ConfigurationError) as raised:
        with_outcome(table, outcome)
    assert str(raised.value).startswith(UNREADABLE[outcome])
    assert "\n" not in str(raised.value)


def test_an_expression_without_a_name_takes_no_column_of_the_table(table) -> None:
    frame = table.withColumnRenamed("plan", "Outcome")
    with pytest.raises(ConfigurationError) as raised:
        with_outcome(frame, "flag = 1")
    assert str(raised.value) == (
        "outcome: found 'flag = 1' without a name, and a column 'outcome'; name it, as in "
        "'flag = 1 as left'"
    )
    assert with_outcome(frame.withColumnRenamed("flag", "x"), "x")[1] == "x"


def test_the_columns_an_outcome_is_made_of(table) -> None:
    def of(text: str) -> list[str]:
        return outcome_columns(table, text)

    assert of("Churn  now") == ["Churn  now"]
    assert of("PLAN = 'flag' as spend") == ["plan"]  # neither the text nor the name it gets
    assert of('if(`a.b` > 1, spend, "id") = 1') == ["spend", "a.b"]
    assert of("`Churn  now` = 'Yes' and left_on is null") == ["Churn  now", "left_on"]


def test_an_input_that_says_the_outcome_is_refused() -> None:
    refuse_inputs({"left_on": "gives the outcome away"}, ["spend"])
    with pytest.raises(ConfigurationError) as raised:
        refuse_inputs({"left_on": "gives the outcome away"}, ["spend", "left_on"])
    assert str(raised.value) == (
        "columns: found 'left_on', which gives the outcome away: segments made of it say what is "
        "known already; leave it out"
    )


N = 2000
RNG = np.random.default_rng(1)
CHURN = RNG.random(N) < 0.1
SCORE = np.where(CHURN, RNG.normal(3, 1, N), RNG.normal(0, 1, N))


def gapped(values, there) -> list:
    return [value if known else None for value, known in zip(values, there, strict=True)]


def flipped(values, rows: int) -> np.ndarray:
    other = np.array(values).copy()
    other[RNG.choice(N, rows, replace=False)] ^= True
    return other


KEPT = {
    "a score": list(SCORE),
    "noise": list(RNG.normal(size=N)),
    "a mode": [("yes" if value else "no") for value in flipped(CHURN, N // 20)],
    "names": [f"customer {i}" for i in range(N)],
    "numbers of rows": list(RNG.permutation(N)),
    "gaps of chance": gapped(SCORE, RNG.random(N) < 0.5),
    "one value": [1] * N,
    "no value": [None] * N,
}
TOLD = {
    "day of leaving": (gapped(RNG.normal(size=N), CHURN), "is null in 100.0% of the rows where "
        "churn is false or low, and in 0.0% of the others"),
    "day of renewal": (gapped(RNG.normal(size=N), ~CHURN), "is null in 100.0% of the rows where "
        "churn is true or high, and in 0.0% of the others"),
    "nearly": (gapped(RNG.normal(size=N), flipped(CHURN, 2)), "of the others"),
    "a copy": ([("left" if value else "stays") for value in CHURN], "tells churn by itself (100% "),
    "reasons": ([f"reason {i % 7}" if c else "none" for i, c in enumerate(CHURN)], "tells churn"),
    "their own reasons": ([f"reason {i}" if c else "none" for i, c in enumerate(CHURN)], "tells"),
    "an end in 9999": (list(np.where(CHURN, RNG.integers(0, 400, N), 9999)), "tells churn"),
    "a margin": (list(np.where(CHURN, 5, 0) + RNG.random(N)), "tells churn by itself (100% of it)"),
    "both ends": (list(np.where(CHURN, RNG.choice([-5, 5], N), 0) + RNG.random(N)), "tells churn"),
}  # fmt: skip


def found_in(monkeypatch, outcome, **columns) -> dict[str, str]:
    """What `giveaways` finds in a sample of these columns."""
    made = [column_of(name, values) for name, values in {"churn": outcome, **columns}.items()]
    monkeypatch.setattr(under_test, "sampled", lambda df, names, seed: made)
    return {one.name: one.reason for one in giveaways(None, "churn", list(columns))}


@pytest.mark.parametrize("name", TOLD)
def test_a_column_that_gives_the_outcome_away(monkeypatch, name) -> None:
    values, said = TOLD[name]
    texts = [str(value).lower() for value in CHURN]  # booleans, as a sample has them
    assert said in found_in(monkeypatch, texts, column=values)["column"]
    as_numbers = found_in(monkeypatch, list(CHURN.astype(float)), column=values)
    assert said in as_numbers["column"]


def test_other_columns_do_not(monkeypatch) -> None:
    assert found_in(monkeypatch, list(CHURN.astype(float)), **KEPT) == {}
    few = [1.0] * 4 + [0.0] * (N - 4)
    assert found_in(monkeypatch, few, column=few) == {}  # too few rows to say


def test_in_small_tables_chance_gives_nothing_away(monkeypatch) -> None:
    for rows, churned in ((20, 5), (60, 5), (60, 30), (200, 10)):
        rng = np.random.default_rng(rows + churned)
        columns = {f"number {i}": list(rng.normal(size=rows)) for i in range(50)}
        columns |= {f"text {i}": list(rng.choice(list("abcdefghij"), rows)) for i in range(50)}
        outcome = [1.0] * churned + [0.0] * (rows - churned)
        assert found_in(monkeypatch, outcome, **columns) == {}


def test_a_value_that_many_rows_have_is_looked_at_by_itself(monkeypatch) -> None:
    churn = np.arange(600) < 60
    change = np.where(churn, np.random.default_rng(2).normal(size=600), 0.0)
    found = found_in(monkeypatch, list(churn.astype(float)), change=list(change))
    assert found.keys() == {"change"}


def test_an_outcome_of_numbers_is_given_away_by_its_multiple(monkeypatch) -> None:
    spend = np.where(RNG.random(N) < 0.7, 0.0, RNG.gamma(2, 50, N))
    found = found_in(monkeypatch, list(spend), tax=list(0.19 * spend), other=list(SCORE))
    assert found.keys() == {"tax"}


def test_giveaways_of_a_table(spark) -> None:
    rows = [(i, i % 5 == 0, i % 7, "2024-01-31" if i % 5 == 0 else None) for i in range(200)]
    frame = spark.createDataFrame(rows, "id int, churn boolean, calls int, left_on string")
    found = giveaways(frame, "churn", ["id", "calls", "left_on"])
    assert [one.name for one in found] == ["left_on"]


def test_an_id_is_unique(table) -> None:
    check_unique(table.where("id < 4"), "id")
    with pytest.raises(InputDataError) as raised:
        check_unique(table, "id")
    assert str(raised.value) == (
        "id: 2 rows share 1 ids of 'id', for instance 4 (2 rows) and 'id' is null in 1 rows; "
        "expected one row a customer: another column, or none, or for a table of transactions "
        "customer and time"
    )
    with pytest.raises(InputDataError, match=r"^id: 'id' is null in 1 rows; expected one row a"):
        check_unique(table.where("id < 4 or id is null"), "id")
    with pytest.raises(ConfigurationError, match=r"^id: there is no column 'ident' in the data"):
        check_unique(table, "ident")


def test_days_after_the_day_of_the_run(table) -> None:
    assert days_after(table, "2024-01-30") == [
        "column 'left_on': 2 rows lie after run_date, 2024-01-30, as late as 9999-12-31"
    ]
    assert days_after(table.where("id = 1"), "2024-01-31") == []
    assert days_after(table.drop("left_on"), "2024-01-31") == []
