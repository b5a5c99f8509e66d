"""Columns and values in plain words, and which columns are about a person."""

from __future__ import annotations

import pytest

from gmm_spark.report.column_words import (
    amount_words,
    are_alike,
    describes_a_person,
    flag_words,
    number_forms,
    readable,
    unknown_words,
    value_words,
    values_words,
)

PEOPLE = """
    age Age AGE customer_age AgeGroup birth_year dateOfBirth dob gender Gender sex Female
    SeniorCitizen senior_citizen marital_status Partner Dependents postcode PostalCode zip
    ZipCode zip_code city nationality race religion name first_name LastName customer_name
    email email_address phone_number PhoneNumber mobile telephone address Latitude education
    job EstimatedSalary income household_size Geschlecht plz
"""

THINGS = """
    tenure account_age contract_age device_age phone_service PhoneService mobile_plan
    plan_name product_name monthly_charges usage page_views average_spend message_count
    family_plan percentage language sextet region agent_calls manager storage mail_order
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("monthly_charges", "monthly charges"),
        ("MonthlyCharges", "monthly charges"),
        ("MONTHLY_CHARGES", "monthly charges"),
        ("Call  Failure", "call failure"),
        ("StreamingTV", "streaming TV"),
        ("streaming_tv", "streaming TV"),
        ("churned", "churn"),
        ("number_vmail_messages", "number voice mail messages"),
        ("log_total_charges", "total charges"),
        ("log", "log"),
        ("balance_eur", "balance"),
        ("Größe_m²", "größe m²"),
        ("客户价值", "客户价值"),
        ("a,b", "a b"),
        ("___", "___"),
        ("  ", "'  '"),
        ("how satisfied were you with all of our service last month", None),
    ],
)
def test_names_of_columns_are_made_readable(name, words) -> None:
    found = readable(name)
    assert found == words or (words is None and len(found) == 40 and found.endswith("..."))


@pytest.mark.parametrize(
    ("name", "kind", "high", "low"),
    [
        ("tenure", "number", "long-standing", "new"),
        ("Subscription  Length", "number", "long-standing", "new"),
        ("account_age_days", "number", "long-standing", "new"),
        ("recency_days", "number", "lapsed", "recent"),
        ("days_since_last_purchase", "number", "lapsed", "recent"),
        ("days_since_first_purchase", "number", "long-standing", "new"),
        ("frequency", "number", "frequent", "infrequent"),
        ("Frequency of SMS", "number", "frequent SMS", "rare SMS"),
        ("monetary_value", "number", "high-spending", "low-spending"),
        ("spend", "number", "high-spending", "low-spending"),
        ("Customer Value", "number", "high-value", "low-value"),
        ("monthly_charges", "number", "high monthly charges", "low monthly charges"),
        ("spend_per_purchase", "number", "high spend per purchase", "low spend per purchase"),
        ("items_per_purchase", "number", "many items per purchase", "few items per purchase"),
        ("number_customer_service_calls", "count", "many customer service calls", None),
        ("NumOfProducts", "count", "many products", "few products"),
        ("order_count", "count", "many orders", "few orders"),
        ("total_day_minutes", "number", "many day minutes", "few day minutes"),
        ("total_charges", "number", "high total charges", "low total charges"),
        ("Seconds of Use", "number", "many seconds of use", "few seconds of use"),
        ("BounceRates", "number", "high bounce rates", "low bounce rates"),
        ("Administrative_Duration", "number", "long administrative duration", None),
        ("gap_days", "number", "long gaps", "short gaps"),
        ("gap_variation", "number", "irregular", "regular"),
        ("signup_date", "date", "new", "long-standing"),
        ("last_login_at", "date", "recent", "lapsed"),
        ("delivery_date", "date", "late delivery", "early delivery"),
    ],
)
def test_much_and_little_are_said_by_what_a_column_is(name, kind, high, low) -> None:
    forms = number_forms(name, kind)
    assert forms.of(0.5) == high
    assert low is None or forms.of(-0.5) == low


def test_what_shrinks_is_not_said_to_grow() -> None:
    assert number_forms("trend", "number").of(0.5) == "growing"
    assert number_forms("trend", "number", falls=True).of(-0.5) == "declining"
    assert number_forms("trend", "number", falls=True).of(0.5) == "hardly declining"


@pytest.mark.parametrize(
    ("name", "value", "values", "words"),
    [
        ("contract", "Two year", (), "two-year contract"),
        ("contract", "Month-to-month", (), "month-to-month contract"),
        ("internet_service", "Fiber optic", (), "fiber optic"),
        ("InternetService", "DSL", (), "DSL internet service"),
        ("internet_service", "No", (), "no internet service"),
        ("online_security", "No internet service", (), "no internet service"),
        ("online_security", "Yes", (), "with online security"),
        ("senior", "1", ("0", "1"), "with senior"),
        ("is_premium", "true", ("true", "false"), "premium"),
        ("is_premium", "false", ("true", "false"), "not premium"),
        ("HasCrCard", "0", ("0", "1"), "no cr card"),
        ("Weekend", "true", ("true", "false"), "at weekends"),
        ("Region", "3.0", (), "region 3"),
        ("state", "CA", (), "state CA"),
        ("Month", "Nov", (), "month Nov"),
        ("VisitorType", "Returning_Visitor", (), "returning visitor"),
        ("Country", "United Kingdom", (), "United Kingdom"),
        ("plan", "premium", (), "premium plan"),
        ("plan", "a, b", (), "plan a b"),
        ("note", " ", (), "note ' '"),
    ],
)
def test_values_are_said_with_their_column_where_they_need_it(name, value, values, words) -> None:
    assert value_words(name, value, values) == words


def test_what_is_not_known_is_said() -> None:
    assert unknown_words("income_eur") == "income unknown"
    assert unknown_words("gap_days") == "no second purchase"
    assert unknown_words("gap_variation") == "purchases on two days at most"


def test_pairs_of_values_share_their_words() -> None:
    assert values_words("contract", "Two year", "One year") == "one-year or two-year contract"
    assert values_words("payment", "Mailed check", "Electronic check") == (
        "mailed or electronic check"
    )
    assert values_words("Region", "1", "3") == "region 1 or 3"
    assert values_words("colour", "green", "blue") == "green or blue"


def test_nothing_of_something_is_said() -> None:
    assert amount_words("number_vmail_messages") == "voice mail messages"
    assert amount_words("return_share") == "returns"
    assert amount_words("BounceRates") == "bounces"
    assert flag_words("no_contract", True) == "no contract"
    assert flag_words("no_contract", False) == "with contract"


@pytest.mark.parametrize("name", PEOPLE.split())
def test_columns_about_a_person_are_known_by_their_names(name) -> None:
    assert describes_a_person(name)


@pytest.mark.parametrize("name", THINGS.split())
def test_other_columns_are_not(name) -> None:
    assert not describes_a_person(name)


def test_columns_of_one_thing_are_alike() -> None:
    assert are_alike("monthly_charges", "total_charges")
    assert are_alike("streaming_tv", "streaming_movies")
    assert are_alike("ProductRelated", "ProductRelated_Duration")
    assert not are_alike("BounceRates", "ExitRates")
    assert not are_alike("customer_service_calls", "international_calls")
    assert are_alike("Seconds of Use", "Frequency of use")
