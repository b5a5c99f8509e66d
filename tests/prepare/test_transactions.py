"""One row a customer from a log of transactions, against figures by hand and by pandas."""

from __future__ import annotations

import logging
import math
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.prepare.transactions import FEATURES, customer_table, open_log

CUT_OFF = date(2024, 6, 30)
# customer, day, invoice, quantity, price
ROWS = [
    ("anna", "2024-01-01", "a1", 1, 10.0),
    ("anna", "2024-01-01", "a1", 5, 1.0),
    ("anna", "2024-01-11", "a2", 2, 10.0),
    ("anna", "2024-01-31", "a3", 3, 10.0),
    ("anna", "2024-02-05", "a4", -1, 15.0),
    ("bert", "2024-03-01", "b1", 1, 100.0),
    ("bert", "2024-03-01", "b2", 1, 50.0),
    ("bert", "2024-05-30", "b3", 1, 25.0),
    ("cleo", "2024-06-30", "c1", 7, 1.0),
    ("dora", "2024-04-01", "d1", -3, 3.0),
    ("dora", "2024-04-02", "d2", 1, 0.0),
    (None, "2024-04-02", "n1", 1, 5.0),
    ("  ", "2024-04-02", "n2", 1, 5.0),
    # After the cut-off.
    ("anna", "2024-07-10", "a5", 1, 500.0),
    ("bert", "2024-07-05", "b4", -1, 25.0),
    ("cleo", "2024-07-31", "c2", 1, 1.0),
    ("dora", "2024-07-30", "d3", 1, 1.0),
    ("emil", "2024-07-01", "e1", 1, 1.0),
]
SCHEMA = "who string, day string, invoice string, quantity int, price double"
AMOUNT = "quantity * price"
# By hand: 151 days from 31 January to 30 June 2024; gaps of 10 and 20 days.
EXPECTED = {
    "anna": {
        "recency_days": 151, "tenure_days": 181, "purchases": 3, "spend": 65.0,
        "spend_per_purchase": 65 / 3, "items_per_purchase": 11 / 3, "lines_per_purchase": 4 / 3,
        "gap_days": 15.0, "gap_variation": math.sqrt(50) / 15, "trend": -1.0,
        "return_share": 15 / 65, "churned": False,
    },
    "bert": {
        "recency_days": 31, "tenure_days": 121, "purchases": 3, "spend": 175.0,
        "spend_per_purchase": 175 / 3, "items_per_purchase": 1.0, "lines_per_purchase": 1.0,
        "gap_days": 90.0, "gap_variation": None, "trend": -125 / 175,
        "return_share": 0.0, "churned": True,
    },
    "cleo": {
        "recency_days": 0, "tenure_days": 0, "purchases": 1, "spend": 7.0,
        "spend_per_purchase": 7.0, "items_per_purchase": 7.0, "lines_per_purchase": 1.0,
        "gap_days": None, "gap_variation": None, "trend": None,
        "return_share": 0.0, "churned": True,
    },
    "dora": {
        "recency_days": None, "tenure_days": None, "purchases": 0, "spend": 0.0,
        "spend_per_purchase": None, "items_per_purchase": None, "lines_per_purchase": None,
        "gap_days": None, "gap_variation": None, "trend": None,
        "return_share": 1.0, "churned": False,
    },
}  # fmt: skip


@pytest.fixture
def log(spark):
    return spark.createDataFrame(ROWS, SCHEMA)


def by_customer(table, name: str = "who") -> dict:
    return {
        row[name]: {k: v for k, v in row.asDict().items() if k != name} for row in table.collect()
    }


def made(df, **given):
    settings = {"customer": "who", "time": "day", "amount": AMOUNT, "quantity": "quantity"}
    return customer_table(df, **{**settings, "basket": "invoice", "cut_off": CUT_OFF, **given})


def test_the_figures_of_every_customer(log) -> None:
    table = made(log, churn_after_days=30)
    assert table.columns == ["who", *FEATURES, "churned"]
    found = by_customer(table)
    assert found.keys() == EXPECTED.keys()
    for who, expected in EXPECTED.items():
        for name, value in expected.items():
            same = value if value is None else pytest.approx(value, rel=1e-15)
            assert found[who][name] == same, (who, name)


def test_without_basket_and_quantity_purchases_are_days_and_a_return_is_an_amount_under_zero(log):
    found = by_customer(made(log, quantity=None, basket=None))
    assert {who: row["purchases"] for who, row in found.items()} == {
        "anna": 3, "bert": 2, "cleo": 1, "dora": 0,
    }  # fmt: skip
    assert found["anna"]["return_share"] == 15 / 65
    assert "items_per_purchase" not in found["anna"]
    assert "churned" not in found["anna"]


def test_without_amounts_every_row_counts_one(log) -> None:
    found = by_customer(made(log, amount=None))
    assert not {"spend", "spend_per_purchase"} & found["anna"].keys()
    assert {who: row["purchases"] for who, row in found.items()} == {
        "anna": 3, "bert": 3, "cleo": 1, "dora": 1,
    }  # fmt: skip
    assert found["anna"]["return_share"] == 1 / 4
    assert found["bert"]["trend"] == -1 / 3


def test_the_future_tells_nothing_but_who_churned(spark, log) -> None:
    """Whatever happens after the cut-off, the features are the same."""
    before = by_customer(made(log, churn_after_days=30))
    past = [row for row in ROWS if row[1] <= "2024-06-30"]
    other = [
        ("bert", "2024-07-01", "a1", 9, 1e6),  # a basket of somebody else's
        ("bert", "2024-07-02", "b1", 9, 1e6),  # and his own
        ("cleo", "2024-07-02", "c1", -9, 1e6),
        ("fred", "2024-07-02", "f1", 9, 1e6),
        ("anna", "2024-12-31", "a9", 1, 1.0),
    ]
    after = by_customer(made(spark.createDataFrame(past + other, SCHEMA), churn_after_days=30))
    churned = {who: row.pop("churned") for who, row in after.items()}
    assert churned == {"anna": True, "bert": False, "cleo": True, "dora": True}
    assert after == {
        who: {k: v for k, v in row.items() if k != "churned"} for who, row in before.items()
    }


def test_the_same_bits_whatever_the_order_and_the_partitions(spark) -> None:
    """0.1 a thousand times is another double in another order; a sum of decimals is not."""
    rng = np.random.default_rng(3)
    day, amount = rng.integers(0, 300, 3000), rng.choice([0.1, 0.2, 1e9, -0.7, 1e-3], 3000)
    rows = pd.DataFrame({"who": rng.integers(0, 9, 3000), "time": day, "amount": amount})
    rows["time"] = [date(2024, 1, 1) + timedelta(days=int(each)) for each in day]
    one = spark.createDataFrame(rows).coalesce(1)
    other = spark.createDataFrame(rows.sample(frac=1, random_state=1)).repartition(7)
    tables = [
        customer_table(df, "who", "time", "amount").toPandas().sort_values("who", ignore_index=True)
        for df in (one, other)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    bought = rows[rows["amount"] > 0]
    spent = bought.groupby("who")["amount"].agg(math.fsum)
    np.testing.assert_array_equal(tables[0]["spend"], spent)
    # Some buy on the very day in the middle: it is of the earlier half.
    first = bought.groupby("who")["time"].transform("min")
    since = [(day - start).days for day, start in zip(bought["time"], first, strict=True)]
    tenure = [(rows["time"].max() - start).days for start in first]
    assert any(2 * a == b for a, b in zip(since, tenure, strict=True))
    is_later = [2 * a > b for a, b in zip(since, tenure, strict=True)]
    later = bought[is_later].groupby("who")["amount"].sum()
    np.testing.assert_allclose(tables[0]["trend"], 2 * later / spent - 1, rtol=1e-9)


def test_the_cut_off_is_the_last_day_or_so_many_days_before_it(log) -> None:
    settings = {"customer": "who", "time": "day", "amount": AMOUNT}
    assert open_log(log, **settings).cut_off == date(2024, 7, 31)
    assert open_log(log, **settings, churn_after_days=30).cut_off == date(2024, 7, 1)
    assert open_log(log, **settings, run_date="2024-07-15").cut_off == date(2024, 7, 10)
    beyond = open_log(log, **settings, run_date="2024-09-30", cut_off="2024-08-31")
    assert beyond.cut_off == date(2024, 8, 31)


def test_what_is_left_out_is_counted(log, caplog) -> None:
    dated = log.withColumn("day", F.when(F.col("invoice") != "a2", F.col("day")))
    with caplog.at_level(logging.WARNING, "gmm_spark.prepare.transactions"):
        table = made(dated, cut_off=None, run_date="2024-06-30")
    assert [record.getMessage() for record in caplog.records] == [
        "2 of 18 transactions have no customer ('who' is null or blank) and are left out",
        "1 of 18 transactions have no day and are left out",
        "5 of 18 transactions lie after run_date, as late as 2024-07-31, and are left out",
    ]
    found = by_customer(table)
    assert "emil" not in found
    assert found["anna"]["spend"] == 45


WRITTEN = {
    "timestamp": "to_timestamp(day)",
    "timestamp_ntz": "to_timestamp_ntz(day)",
    "date": "to_date(day)",
    "whole number": "int(replace(day, '-'))",
    "month first": "date_format(to_date(day), 'M/d/yyyy') || ' 8:26'",
    "day first": "date_format(to_date(day), 'dd.MM.yyyy')",
}


@pytest.mark.parametrize("how", WRITTEN)
def test_days_are_read_however_they_are_written(log, how) -> None:
    found = open_log(
        log.withColumn("day", F.expr(WRITTEN[how])), customer="who", time="day", amount="price"
    )
    assert (found.first_day, found.last_day) == (date(2024, 1, 1), date(2024, 7, 31))


ODD = ["Call  Failure", "a.b", "back`tick", 'quo"te', "it's", "select", "first", "_day", "as x"]


def test_names_of_any_characters(spark) -> None:
    rows = [(c, d, "1", 2.0, 3) for c in "ab" for d in ("2024-01-01", "2024-01-03", "2024-02-28")]
    for i in range(len(ODD) - 1):
        names = [ODD[(i + place) % len(ODD)] for place in range(5)]
        df = spark.createDataFrame(rows, names)
        log = open_log(
            df,
            customer=names[0],
            time=names[1],
            basket=names[2],
            amount=names[3],
            quantity=names[4],
        )
        assert (log.rows, log.last_day) == (6, date(2024, 2, 28)), names
        if i % 4 == 2:
            assert by_customer(log.customers(), names[0])["a"]["spend"] == 6


LONG = "the log goes from 2024-01-01 to 2024-07-31"
# What is given, or a change of the log; the error and what it says.
REFUSED = {
    "no column": ({"customer": "whom"}, ConfigurationError, "customer: there is no column 'whom' "
        "in the data, did you mean 'who'?; it has: who, day, invoice, quantity, price"),
    "no column in an expression": ({"amount": "quantity * prize"}, ConfigurationError, "amount: "
        "found 'quantity * prize'; the table has no column 'prize'; did you mean 'price'?"),
    "amount of text": ({"amount": "invoice"}, InputDataError, "amount: column 'invoice' has type "
        "string, a number is needed; convert it or leave it out"),
    "quantity of text": ({"quantity": "invoice"}, InputDataError, "quantity: column 'invoice' has "
        "type string, a number is needed; convert it or leave it out"),
    "amount null": ({"amount": "if(who is null, 1, null) as m"}, InputDataError, "amount: "
        "'if(who is null, 1, null) as m' is null in all 16 rows of customers; expected what was "
        "paid, negative for a return"),
    "amount NaN": ({"amount": "double('nan') + price"}, InputDataError, "is null in all 16 rows"),
    "amount infinite": ({"amount": "if(who = 'bert', double('inf'), 1)"}, InputDataError,
        "amount: 4 of 18 rows of \"if(who = 'bert', double('inf'), 1)\" are infinite, or beyond "
        "1e+20; mend them, or make them null"),
    "time of numbers": ({"time": "price"}, InputDataError, "time: 'price' has type double; a date, "
        "a timestamp or text is needed"),
    "time of other text": ({"time": "who"}, InputDataError, "time: 'who' has type string and holds "
        "no days that can be recognised, for instance 'anna'; say how they are written: "
        "\"to_timestamp(`who`, 'dd.MM.yy HH:mm') as time\""),
    "time ambiguous": ({"time": "'1/2/2024' as t"}, InputDataError, "time: of \"'1/2/2024' as t\", "
        "as in '1/2/2024', it cannot be told which number is the month: both M/d/yyyy and d/M/yyyy "
        "read all 18 rows; say which, as in \"to_date(`t`, 'M/d/yyyy') as time\""),
    "customer none": ({"customer": "nullif(who, who) as c"}, InputDataError, "customer: of 18 "
        "transactions 18 have no customer ('c' is null or blank), 0 no day and 0 lie after "
        "run_date; there is nothing left"),
    "returns alone": ({"amount": "-abs(price)"}, InputDataError, "amount: none of 4 customers "
        "('who') has a purchase up to the cut-off, 2024-06-30: of all rows the amount is not over"),
    "a row a customer": ({"customer": "invoice", "churn_after_days": 30}, InputDataError,
        "customer: none of 12 customers ('invoice') has purchases on two days up to the cut-off, "
        "2024-06-30; expected a column that names a customer, not a transaction, and a cut-off "
        "with enough days before it"),
    "a name of the result": ({"customer": "who as Spend"}, ConfigurationError, "customer: found "
        "'who as Spend', and Spend is a column of the result; give it another name, as in 'id as "
        "customer_id'"),
    "cut-off before": ({"cut_off": "2023-12-31"}, ConfigurationError, "cut_off: found 2023-12-31, "
        f"and {LONG}; expected a day of it"),
    "cut-off after": ({"cut_off": "2024-08-01"}, ConfigurationError, "cut_off: found 2024-08-01, "
        f"and {LONG}; expected a day of it"),
    "cut-off after run_date": ({"run_date": "2024-06-01"}, ConfigurationError, "cut_off: found "
        "2024-06-30, and the log goes from 2024-01-01 to 2024-05-30; expected a day of it"),
    "cut-off too late": ({"churn_after_days": 32}, ConfigurationError, "cut_off: found 2024-06-30 "
        "with churn_after_days 32, and the log ends on 2024-07-31: whoever buys on the days after "
        "it would count as churned; expected a cut_off up to 2024-06-29, or fewer days"),
    "no day": ({"cut_off": "end of June"}, ConfigurationError, "cut_off: found 'end of June'; "
        "expected a day, as 2011-09-30"),
    "days too many": ({"cut_off": None, "churn_after_days": 213}, ConfigurationError,
        f"churn_after_days: found 213, and {LONG}; expected at most 212, so that there are days "
        "before the cut-off"),
    "days beyond all calendars": ({"churn_after_days": 10**12}, ConfigurationError,
        f"churn_after_days: found 1000000000000, and {LONG}; expected at most 212, so that"),
    "days none": ({"churn_after_days": 0}, ConfigurationError, "churn_after_days: found 0; "
        "expected a whole number of days, at least 1"),
    "all churn": ({"churn_after_days": 4}, InputDataError, "churn_after_days: each of 4 customers "
        "has churned, by no purchase in the 4 days after 2024-06-30; segments differ only in an "
        "outcome that differs between customers: say more days, or another cut_off"),
    "none churns": ({"customer": "if(who = 'dora', 'anna', left(who, 0) || 'x') as c",
        "churn_after_days": 31}, InputDataError, "churn_after_days: none of 2 customers has "
        "churned, by no purchase in the 31 days after 2024-06-30; segments differ only in an "
        "outcome that differs between customers: say fewer days, or another cut_off"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_used_is_one_line(log, what) -> None:
    given, kind, said = REFUSED[what]
    with pytest.raises(kind) as raised:
        made(log, **given)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_text_that_is_no_day_is_counted(spark) -> None:
    days = [datetime(2024, 1, 1) + timedelta(days=i) for i in range(1500)]
    rows = [("a", f"{day:%d/%m/%Y}", 1.0) for day in days] + [("b", "soon", 1.0)] * 3
    df = spark.createDataFrame(rows, "c string, t string, a double").coalesce(1)
    with pytest.raises(InputDataError) as raised:
        customer_table(df, "c", "t", "a")
    assert str(raised.value) == (
        "time: 3 of 1,503 rows of 't' hold no day as d/M/yyyy, for instance 'soon'; mend them, or "
        "make them null: \"try_to_timestamp(`t`, 'd/M/yyyy') as time\""
    )


@pytest.mark.long
def test_online_retail(spark, shared_data) -> None:
    """541,909 raw rows: the counts of the literature, the RFM table beside them, and the rest by
    pandas, written for reading."""
    path = shared_data / "online_retail"
    df = spark.read.parquet(str(path / "online_retail.parquet"))
    log = open_log(
        df,
        customer="CustomerID",
        time="InvoiceDate",
        amount="Quantity * UnitPrice",
        quantity="Quantity",
        basket="InvoiceNo",
    )
    assert (log.rows, log.without_customer) == (541_909, 135_080)
    table = log.customers().toPandas()
    bought = table[table["purchases"] > 0].astype({"CustomerID": int}).set_index("CustomerID")
    assert (len(table), len(bought)) == (4372, 4338)

    rfm = pd.read_csv(path / "rfm_2010_2011.csv", index_col="customer")
    bought = bought.loc[rfm.index]
    for ours, theirs in ("recency_days",) * 2, ("tenure_days",) * 2, ("purchases", "frequency"):
        np.testing.assert_array_equal(bought[ours], rfm[theirs])
    np.testing.assert_allclose(bought["spend"], rfm["monetary"], rtol=0, atol=0.00501)
    lines = bought["lines_per_purchase"] * bought["purchases"]
    np.testing.assert_allclose(lines, rfm["lines"], rtol=1e-12)

    raw = pd.read_parquet(path / "online_retail.parquet").dropna(subset=["CustomerID"])
    raw = raw[(raw["Quantity"] > 0) & (raw["UnitPrice"] > 0)]
    raw["day"] = raw["InvoiceDate"].dt.normalize()
    raw["amount"] = raw["Quantity"] * raw["UnitPrice"]
    end = raw["day"].max()

    def by_hand(rows: pd.DataFrame) -> pd.Series:
        days = rows["day"].drop_duplicates().sort_values()
        gaps = days.diff().dt.days.dropna()
        middle = days.min() + (end - days.min()) / 2
        later = rows.loc[rows["day"] > middle, "amount"].sum()
        earlier = rows.loc[rows["day"] <= middle, "amount"].sum()
        return pd.Series({
            "gap_days": gaps.mean(),
            "gap_variation": gaps.std(ddof=1) / gaps.mean(),
            "trend": (later - earlier) / (later + earlier) if len(days) > 1 else np.nan,
            "items_per_purchase": rows["Quantity"].sum() / rows["InvoiceNo"].nunique(),
        })  # fmt: skip

    some = rfm.index[::10]
    chosen = raw[raw["CustomerID"].isin(some)].astype({"CustomerID": int})
    expected = chosen.groupby("CustomerID").apply(by_hand, include_groups=False).loc[some]
    for name in expected:
        np.testing.assert_allclose(bought.loc[some, name], expected[name], rtol=1e-9, atol=1e-12)
