"""Which columns take part, and as what: a small table of each kind of column, and real tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gmm_spark.errors import InputDataError
from gmm_spark.mixture.errors import SettingError
from gmm_spark.prepare.columns import Column, column_of, kept_values
from gmm_spark.prepare.proposal import Role, of_itself, proposed
from gmm_spark.prepare.settings import PreparationSettings
from gmm_spark.prepare.treatments import fitted_number, prepared_columns

N = 4000
RNG = np.random.default_rng(3)


def role_of(values: Any, name: str = "x", **figures: Any) -> Role:
    return of_itself(column_of(name, list(values), **figures), 20)


def roles(table: dict[str, Any], **settings: Any) -> dict[str, Role]:
    columns = [column_of(name, list(values)) for name, values in table.items()]
    return {one.name: one for one in proposed(columns, PreparationSettings(**settings))}


def texts(of: str, shares: list[float], n: int = N) -> list[str]:
    return list(RNG.choice([f"{of}{i}" for i in range(len(shares))], size=n, p=shares))


@pytest.mark.parametrize(
    ("values", "role", "reason"),
    [
        (RNG.normal(size=N), "number", "numbers"),
        (np.round(np.exp(RNG.normal(3, 1, N)), 2), "number", "numbers"),
        (RNG.poisson(100, N), "number", "whole numbers"),
        (np.floor(np.exp(RNG.normal(2, 1, N))), "number", "whole numbers"),
        (RNG.poisson(1.6, N), "count", "Poisson"),
        (RNG.integers(0, 2, N), "category", "two values, 0 and 1"),
        (RNG.choice([1, 2, 3], N, p=[0.7, 0.2, 0.1]), "category", "3 whole numbers"),
        (RNG.choice([0, 0.2, 0.4, 0.6], N), "category", "4 values"),
        (RNG.choice(np.arange(1, 13), N, p=np.r_[0.3, 0.02, 0.2, 0.01, 0.15, np.full(7, 0.32 / 7)]),
         "category", "codes"),
        # Of the variance of a Poisson distribution, and of another shape.
        (RNG.choice([1, 2, 3, 4, 5, 8, 10], N, p=[0.15, 0.65, 0.08, 0.05, 0.03, 0.02, 0.02]),
         "category", "7 whole numbers"),
        (texts("plan", [0.5, 0.3, 0.2]), "category", "text of 3 values"),
        ([f"id-{i}" for i in range(N)], "left out", "names the row"),
        (range(10_000, 10_000 + N), "left out", "names the row"),
        (texts("town", [1 / 400] * 400), "left out", "too many values"),
        ([7.0] * N, "left out", "constant: 7"),
        ([0.0] * (N - 10) + [1.0] * 10, "left out", "nearly constant: 0"),
        (RNG.normal(size=N) * 1e300, "left out", "numbers too large"),
        (RNG.normal(size=N) * 1e-300, "left out", "numbers too small"),
        (np.where(np.arange(N) == 5, 1e70, RNG.normal(size=N)), "number", "numbers"),
        ([None] * N, "left out", "no value is known"),
        ([None] * (N - 100) + list(RNG.normal(size=100)), "left out", "known in 2.5% of the rows"),
    ],
)  # fmt: skip
def test_a_column_by_itself(values, role, reason) -> None:
    found = role_of(values)
    assert (found.role, reason in found.reason) == (role, True), found


def test_amounts_that_all_differ_are_no_identifiers_but_for_their_name() -> None:
    amounts = RNG.permutation(np.arange(1, 10**7, 2000))[:N]
    assert role_of(amounts, "amount").role == "number"
    for name in ("customer_id", "CustomerId", "id", "customerID", "KEY"):
        assert role_of(amounts, name).role == "left out", name
    for name in ("paid", "valid", "idle"):
        assert role_of(amounts, name).role == "number", name


def test_a_column_that_is_no_number_text_or_date() -> None:
    found = of_itself(Column("x", "none", type="array<int>"), 20)
    assert found.reason == "of type array<int>: no number, text or date"


def test_named_columns_are_left_out_with_the_reason() -> None:
    table = {name: RNG.normal(size=N) for name in "abcd"}
    found = roles(table, id_col="a", outcome_cols=("b",), excluded_cols=("c",))
    reasons = [one.reason for one in found.values()]
    assert reasons == ["names the row", "the outcome", "excluded", "numbers"]


def test_what_is_said_is_all_that_takes_part() -> None:
    table = {"a": RNG.integers(0, 3, N), "b": RNG.normal(size=N), "c": [1] * N, "d": [2] * N}
    found = roles(table, input_cols=("a", "c"), excluded_cols=("d",))
    assert [one.role for one in found.values()] == ["number", "left out", "number", "left out"]
    assert found["b"].reason == "not named"


def test_a_column_in_two_roles_is_refused() -> None:
    with pytest.raises(SettingError, match="'x' is in idCol and in categoricalCols"):
        PreparationSettings(id_col="x", categorical_cols=("x",))
    with pytest.raises(SettingError, match="'x' is twice in inputCols"):
        PreparationSettings(input_cols=("x", "x"))


def test_numbers_that_say_the_same_are_there_once() -> None:
    minutes = RNG.normal(200, 50, N)
    table = {"minutes": minutes, "charge": np.round(0.17 * minutes, 2), "credit": -minutes}
    table["near"] = minutes + RNG.normal(0, 10, N)
    table["spend"] = np.exp(RNG.normal(0, 2, N))
    table["log_spend"] = np.log(table["spend"])
    found = roles(table)
    assert [one.takes_part for one in found.values()] == [True, False, False, True, True, False]
    assert found["log_spend"].reason == "the same as spend: correlation of ranks 1.0000"
    assert found["charge"].reason.startswith("the same as minutes: correlation 1.0")


def test_a_product_and_a_sum_of_others_are_left_out() -> None:
    months = RNG.integers(1, 73, N).astype(float)
    bill = RNG.uniform(18, 120, N)
    table = {"months": months, "bill": bill, "total": months * bill * RNG.uniform(0.97, 1.03, N)}
    assert "a product of other columns" in roles(table)["total"].reason
    day, night = RNG.gamma(2, 50, N), RNG.gamma(2, 50, N)
    table = {"day": day, "night": night, "all": day + night, "other": RNG.normal(size=N)}
    found = roles(table)
    assert [one.takes_part for one in found.values()].count(False) == 1
    assert any("a sum of other columns" in one.reason for one in found.values())


def test_a_value_repeated_in_other_columns_is_its_parents() -> None:
    internet = np.array(texts("net", [0.4, 0.4, 0.2]))
    none = internet == "net2"
    extras = {
        f"extra{i}": np.where(none, "no internet", texts("yes", [0.6, 0.4])) for i in range(3)
    }
    found = roles({**extras, "internet": internet})
    # The first column keeps it.
    repeated = [("no internet",), ("no internet",), ("net2",)]
    assert [one.same for one in found.values()] == [(), *repeated]
    found = roles({"internet": internet, **extras})
    assert [one.same for one in found.values()] == [()] + [("no internet",)] * 3
    assert "'no internet' is internet's" in found["extra0"].reason


def test_a_category_that_another_determines_is_left_out() -> None:
    town = np.array(texts("town", [0.1] * 10))
    region = np.where(np.isin(town, ["town1", "town2", "town3"]), "north", "south")
    found = roles({"region": region, "town": town, "free": texts("f", [0.5, 0.5])})
    assert [one.takes_part for one in found.values()] == [False, True, True]
    assert found["region"].reason == "determined by town"
    code = np.array([3, 5, 8])[np.unique(town, return_inverse=True)[1] % 3]
    assert roles({"town": town, "code": code})["code"].reason == "determined by town"


def test_rare_values_stand_together_and_one_alone_stays() -> None:
    rare = ["a2"] * 8 + ["a3"] * 7 + ["a4"] * 5
    many = column_of("x", ["a0"] * 500 + ["a1"] * 480 + rare)
    kept, others = kept_values(many, 20)
    assert ([many.label(value) for value in kept], others) == (["a0", "a1"], 3)
    one = column_of("x", ["a"] * 700 + ["b"] * 296 + ["c"] * 4)
    assert kept_values(one, 20) == ([0.0, 1.0, 2.0], 0)
    assert kept_values(one, 2) == ([0.0, 1.0], 1)


def test_a_point_mass_does_not_decide_the_shape() -> None:
    sizes = np.exp(RNG.normal(3, 1, N))
    zeros = np.where(RNG.random(N) < 0.7, 0.0, sizes)
    found = fitted_number(zeros)
    assert (found.transform.form, found.masses[0][0]) == ("log", 0.0)
    assert found.masses[0][1] == pytest.approx(0.7, abs=0.03)
    assert found.high == zeros.max()
    # The first of falling frequencies, as of numbers of purchases, is none.
    assert fitted_number(np.ceil(RNG.pareto(0.8, N) + 0.01)).masses == ()


def test_a_heavy_tail_is_clipped_at_the_fences() -> None:
    values = np.append(RNG.normal(0, 1, N), [60.0, -80.0])
    found = fitted_number(values)
    low, high = np.quantile(values, [0.25, 0.75])
    assert found.transform.form == "identity"
    assert found.high == pytest.approx(high + 3 * (high - low), abs=0.01)
    assert found.low == pytest.approx(low - 3 * (high - low), abs=0.01)
    assert found.clipped == 2
    prepared = found(values)
    assert (prepared.mean(), prepared.std()) == (pytest.approx(0, abs=1e-12), pytest.approx(1))
    assert prepared[-2] == found(np.array([found.high]))[0]


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        (["a", "b"], {"input_cols": ("x",)}, "'x' is to be a number, and holds text, such as 'a'"),
        ([0.5, 2], {"count_cols": ("x",)}, "'x' is to be a count, and holds 0.5"),
        ([-1, 2], {"count_cols": ("x",)}, "'x' is to be a count, and holds -1"),
        ([1, 2], {"date_cols": ("x",)}, "'x' is to be a date, and holds numbers"),
        ([None, None], {"input_cols": ("x",)}, "'x' has no value that is known"),
        ([1e300, 2e300], {"input_cols": ("x",)}, "'x' holds numbers too large .* of size 1.5e.300"),
    ],
)
def test_a_column_that_does_not_suit_what_is_said(values, settings, message) -> None:
    column, chosen = column_of("x", values), PreparationSettings(**settings)
    (role,) = proposed([column], chosen)
    with pytest.raises(InputDataError, match=message):
        prepared_columns(column, role, chosen, 0)


# --- real tables: what each column is, typed by hand ------------------------------------


def table_roles(table: pd.DataFrame, **settings: Any) -> dict[str, str]:
    columns = [column_of(name, table[name].tolist()) for name in table]
    found = proposed(columns, PreparationSettings(**settings))
    return {one.name: one.role for one in found}


def expected(**names: str) -> dict[str, str]:
    """Names, apart by two spaces, by role."""
    return {
        name: role.replace("_", " ") for role, listed in names.items() for name in listed.split(" ")
    }


def test_telco(shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "telco_churn/Telco-Customer-Churn.csv")
    table["TotalCharges"] = pd.to_numeric(table["TotalCharges"], errors="coerce")
    assert table_roles(table, outcome_cols=("Churn",)) == expected(
        number="tenure MonthlyCharges",
        category="gender SeniorCitizen Partner Dependents PhoneService MultipleLines "
        "InternetService OnlineSecurity OnlineBackup DeviceProtection TechSupport StreamingTV "
        "StreamingMovies Contract PaperlessBilling PaymentMethod",
        left_out="customerID TotalCharges Churn",
    )


def test_iranian_churn(shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "iranian_churn/Customer_Churn.csv")
    table.columns = table.columns.str.replace(r"\s+", "_", regex=True)
    assert table_roles(table, outcome_cols=("Churn",)) == expected(
        number="Call_Failure Subscription_Length Charge_Amount Seconds_of_Use Frequency_of_use "
        "Frequency_of_SMS Distinct_Called_Numbers Customer_Value",
        category="Complains Age_Group Tariff_Plan Status",
        left_out="Age Churn",
    )


def test_mlc_churn(shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "mlc_churn/mlc_churn.csv")
    assert table_roles(table, outcome_cols=("churn",)) == expected(
        number="account_length number_vmail_messages total_day_minutes total_day_calls "
        "total_eve_minutes total_eve_calls total_night_minutes total_night_calls "
        "total_intl_minutes",
        count="total_intl_calls number_customer_service_calls",
        category="area_code international_plan",
        left_out="rownames state voice_mail_plan total_day_charge total_eve_charge "
        "total_night_charge total_intl_charge churn",
    )


def test_online_shoppers(shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "online_shoppers/online_shoppers_intention.csv", sep=";")
    table[["Weekend", "Revenue"]] = table[["Weekend", "Revenue"]].astype(str)
    assert table_roles(table, outcome_cols=("Revenue",)) == expected(
        number="Administrative Administrative_Duration Informational Informational_Duration "
        "ProductRelated ProductRelated_Duration BounceRates ExitRates PageValues",
        category="SpecialDay Month OperatingSystems Browser Region TrafficType VisitorType Weekend",
        left_out="Revenue",
    )


def test_customers_of_online_retail(shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "online_retail/rfm_2009_2010.csv")
    assert table_roles(table) == expected(
        number="frequency monetary lines recency_days tenure_days", left_out="customer"
    )
