"""One row a customer from a log of transactions, and who churned by a stated rule.

Days are whole days of the calendar. A purchase is a row with an amount over zero that is no return;
a return is a row with a quantity or an amount under zero. Of customers, all is told that was known
on the day of the cut-off; what comes after it says who churned, and nothing else.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.engine.column_types import type_refusal
from gmm_spark.engine.dataframe import same_names, sql_name
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.expressions import column_name
from gmm_spark.prepare.dates import day_of, day_patterns, day_sql, is_day
from gmm_spark.prepare.inputs import known_text, sql_of

logger = logging.getLogger(__name__)

CHURNED = "churned"
FEATURES = (
    "recency_days",
    "tenure_days",
    "purchases",
    "spend",
    "spend_per_purchase",
    "items_per_purchase",
    "lines_per_purchase",
    "gap_days",
    "gap_variation",
    "trend",
    "return_share",
)
# Sums of decimals are the same in any order, those of doubles are not. Ten places are far under any
# coin, and leave room for sums of 1e28.
_EXACT = "DECIMAL(30, 10)"
_MOST = 1e20
# Texts looked at to find out how days are written.
_LOOKED_AT = 1000


@dataclass(frozen=True)
class TransactionLog:
    """A log of transactions, looked through once: which rows count, and up to which day.

    rows : of the log. Left out of them: without_customer; without_day (of customers);
        after_run_date (of customers), up to `latest`
    first_day, last_day : of what is left
    cut_off : the last day of which features are made
    churn_after_days : who buys in so many days after the cut-off has not churned; None: no label
    warnings : what was left out, in words
    """

    frame: DataFrame
    customer: str
    has_amount: bool
    has_quantity: bool
    rows: int
    without_customer: int
    without_day: int
    after_run_date: int
    latest: date
    first_day: date
    last_day: date
    cut_off: date
    churn_after_days: int | None

    @property
    def warnings(self) -> list[str]:
        left_out = {
            f"have no customer ({self.customer!r} is null or blank)": self.without_customer,
            "have no day": self.without_day,
            f"lie after run_date, as late as {self.latest},": self.after_run_date,
        }
        return [
            f"{count:,} of {self.rows:,} transactions {what} and are left out"
            for what, count in left_out.items()
            if count
        ]

    def customers(self) -> DataFrame:
        """The table of `customer_table`, which says what is in it and what is raised."""
        table = self.unchecked()
        self.check(table)
        return table

    def unchecked(self) -> DataFrame:
        """The same table, for who writes it first: it takes as long to check as to write."""
        return _per_customer(self)

    def check(self, table: DataFrame) -> None:
        """Raise InputDataError for a table of customers that nothing can be learnt from."""
        _check(self, table)


def customer_table(
    df: DataFrame,
    customer: str,
    time: str,
    amount: str | None = None,
    quantity: str | None = None,
    *,
    basket: str | None = None,
    cut_off: str | date | None = None,
    churn_after_days: int | None = None,
    run_date: str | date | None = None,
) -> DataFrame:
    """One row a customer of a log of transactions, by Spark SQL alone; the same rows, to the bit,
    however the log is partitioned.

    `customer`, `time`, `amount` (of the whole row, not of a piece), `quantity` and `basket` (the
    invoice) are columns or SQL expressions, such as "Quantity * UnitPrice". `time` is a date, a
    timestamp, or text that is recognised as one. Without `amount` every row counts 1, and nothing
    is said of money. `cut_off` is the last day that features know of; not said, it is the last day
    of the log, or with `churn_after_days` so many days before it. Nothing after `run_date` is read.

    A customer is whoever has a row up to the cut-off. Rows without a customer or a day are left
    out, and counted in a warning. The columns, beside the customer's own:

    recency_days, tenure_days : from the last and from the first purchase to the cut-off
    purchases : different baskets; days with a purchase where no basket is said
    spend : sum of the amounts of purchases
    spend_per_purchase, items_per_purchase (with `quantity`), lines_per_purchase : means
    gap_days : mean number of days between a day with a purchase and the next such day
    gap_variation : their standard deviation (n - 1) divided by their mean: 0 is like clockwork
    trend : (later - earlier) / (later + earlier), of what was spent in the later and the earlier
        half of the days from the first purchase to the cut-off; -1 to 1
    return_share : what was returned divided by what was spent, at most 1
    churned : with `churn_after_days`, whether there is no purchase in so many days after the
        cut-off

    What a customer has too little history for is null: days and means without a purchase, trend and
    gap_days with one day of purchases, gap_variation with two.

    Raises ConfigurationError for a column that is not there, an expression that cannot be read and
    days that do not go together; InputDataError for columns of another type, amounts that are all
    null or infinite, text that is no day, a log without a customer who bought on two days, and
    where all customers churn or none.
    """
    log = open_log(
        df,
        customer=customer,
        time=time,
        amount=amount,
        quantity=quantity,
        basket=basket,
        cut_off=cut_off,
        churn_after_days=churn_after_days,
        run_date=run_date,
    )
    for warning in log.warnings:
        logger.warning(warning)
    return log.customers()


def open_log(
    df: DataFrame,
    *,
    customer: str,
    time: str,
    amount: str | None = None,
    quantity: str | None = None,
    basket: str | None = None,
    cut_off: str | date | None = None,
    churn_after_days: int | None = None,
    run_date: str | date | None = None,
) -> TransactionLog:
    """Look through a log of transactions once; the settings are those of `customer_table`."""
    if churn_after_days is not None and (
        isinstance(churn_after_days, bool)
        or not isinstance(churn_after_days, int)
        or churn_after_days < 1
    ):
        raise ConfigurationError(
            f"churn_after_days: found {churn_after_days!r}; expected a whole number of days, at "
            "least 1"
        )
    last_known, said = day_of("run_date", run_date), day_of("cut_off", cut_off)
    name = column_name(customer)
    if same_names(name, [*FEATURES, CHURNED]):
        raise ConfigurationError(
            f"customer: found {customer!r}, and {name} is a column of the result; give it another "
            "name, as in 'id as customer_id'"
        )
    customer_sql = sql_of(df, "customer", customer)
    frame = df.select(
        F.expr(customer_sql).alias("_customer"),
        F.expr(known_text(df, customer_sql)).alias("_known"),
        _day(df, time).alias("_day"),
        *_number(df, "amount", amount),
        *_number(df, "quantity", quantity),
        *([] if basket is None else [F.expr(sql_of(df, "basket", basket)).alias("_basket")]),
    )
    found = _look(frame, last_known)
    _check_numbers(found, amount, quantity)
    known = found["known"] - found["without_day"] - found["after"]
    if not known:
        raise InputDataError(
            f"customer: of {found['rows']:,} transactions {found['rows'] - found['known']:,} have "
            f"no customer ({name!r} is null or blank), {found['without_day']:,} no day and "
            f"{found['after']:,} lie after run_date; there is nothing left"
        )
    first, last = found["first"], found["last"]
    kept = frame.where(F.col("_known") & F.col("_day").isNotNull()).drop("_known")
    if last_known is not None:
        kept = kept.where(F.col("_day") <= F.lit(last_known))
    return TransactionLog(
        frame=kept,
        customer=name,
        has_amount=amount is not None,
        has_quantity=quantity is not None,
        rows=found["rows"],
        without_customer=found["rows"] - found["known"],
        without_day=found["without_day"],
        after_run_date=found["after"],
        latest=found["latest"],
        first_day=first,
        last_day=last,
        cut_off=_cut_off(first, last, last_known, said, churn_after_days),
        churn_after_days=churn_after_days,
    )


def _day(df: DataFrame, time: str) -> Column:
    """The day of a transaction. Raises InputDataError where the column holds none."""
    sql = sql_of(df, "time", time)
    values = df.select(F.expr(sql).alias("time"))
    kind = values.schema["time"].dataType
    if is_day(kind):
        return F.expr(day_sql(sql, kind))
    if not isinstance(kind, T.StringType | T.IntegralType):
        raise InputDataError(
            f"time: {time!r} has type {kind.simpleString()}; a date, a timestamp or text is needed"
        )
    text = F.trim(F.col("time").cast("string"))
    texts = values.select(text.alias("time")).where("time != ''")
    looked_at = [row["time"] for row in texts.limit(_LOOKED_AT).collect()]
    patterns = day_patterns(looked_at)
    if not patterns:
        if not looked_at:
            raise InputDataError(f"time: no row has a value of {time!r}; there is nothing to read")
        example = f", for instance {looked_at[0]!r}"
        raise InputDataError(
            f"time: {time!r} has type {kind.simpleString()} and holds no days that can be "
            f"recognised{example}; say how they are written: "
            f"\"to_timestamp({sql_name(column_name(time))}, 'dd.MM.yy HH:mm') as time\""
        )
    text_kind = texts.schema["time"].dataType
    unread = texts.agg(
        F.count(F.lit(1)),
        *(F.count_if(F.expr(day_sql("time", text_kind, p)).isNull()) for p in patterns),
        *(
            F.min(F.when(F.expr(day_sql("time", text_kind, p)).isNull(), F.col("time")))
            for p in patterns
        ),
    ).first()
    assert unread is not None
    total, failed, examples = unread[0], unread[1 : len(patterns) + 1], unread[len(patterns) + 1 :]
    reading = [p for p, count in zip(patterns, failed, strict=True) if not count]
    if len(reading) > 1:
        raise InputDataError(
            f"time: of {time!r}, as in {looked_at[0]!r}, it cannot be told which number is the "
            f"month: both {' and '.join(reading)} read all {total:,} rows; say which, as in "
            f"\"to_date({sql_name(column_name(time))}, '{reading[0]}') as time\""
        )
    if not reading:
        best = min(range(len(patterns)), key=lambda i: failed[i])
        raise InputDataError(
            f"time: {failed[best]:,} of {total:,} rows of {time!r} hold no day as "
            f"{patterns[best]}, for instance {examples[best]!r}; mend them, or make them null: "
            f"\"try_to_timestamp({sql_name(column_name(time))}, '{patterns[best]}') as time\""
        )
    return F.expr(day_sql(sql, kind, reading[0]))


def _number(df: DataFrame, key: str, text: str | None) -> list[Column]:
    """A number that is added up exactly, and whether it is too large for that; 1 where none is
    said."""
    if text is None:
        return [F.lit(1).cast(_EXACT).alias(f"_{key}"), F.lit(False).alias(f"_{key}_too_large")]
    sql = sql_of(df, key, text)
    kind = df.select(F.expr(sql)).schema[0].dataType
    if not isinstance(kind, T.NumericType):
        raise InputDataError(f"{key}: {type_refusal(text, kind.simpleString(), 'number')}")
    value = F.expr(sql)
    # NaN, the largest to Spark, is a gap.
    double = F.nullif(value.cast("double"), F.lit(float("nan")))
    return [
        F.expr(f"TRY_CAST({sql} AS {_EXACT})").alias(f"_{key}"),
        (F.abs(double) >= _MOST).alias(f"_{key}_too_large"),
    ]


def _look(frame: DataFrame, last_known: date | None) -> dict[str, Any]:
    """What one scan of the log finds."""
    known = F.col("_known")
    late = F.lit(False) if last_known is None else F.col("_day") > F.lit(last_known)
    day = F.when(known & ~late, F.col("_day"))
    found = frame.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if(known).alias("known"),
        F.count_if(known & F.col("_day").isNull()).alias("without_day"),
        F.count_if(known & late).alias("after"),
        F.count_if(known & F.col("_amount").isNotNull()).alias("amounts"),
        F.count_if(known & F.col("_amount_too_large")).alias("too_large_amount"),
        F.count_if(known & F.col("_quantity_too_large")).alias("too_large_quantity"),
        F.max(F.when(known, F.col("_day"))).alias("latest"),
        F.min(day).alias("first"),
        F.max(day).alias("last"),
    ).first()
    assert found is not None
    return found.asDict()


def _check_numbers(found: dict[str, Any], amount: str | None, quantity: str | None) -> None:
    for key, text in ("amount", amount), ("quantity", quantity):
        if found[f"too_large_{key}"]:
            raise InputDataError(
                f"{key}: {found[f'too_large_{key}']:,} of {found['rows']:,} rows of {text!r} are "
                f"infinite, or beyond {_MOST:g}; mend them, or make them null"
            )
    if found["known"] and not found["amounts"]:
        raise InputDataError(
            f"amount: {amount!r} is null in all {found['known']:,} rows of customers; "
            "expected what was paid, negative for a return"
        )


def _cut_off(
    first: date, last: date, last_known: date | None, said: date | None, after: int | None
) -> date:
    """The last day that features know of. Raises ConfigurationError where it is outside of the
    log, or customers cannot be watched long enough after it."""
    log = f"the log goes from {first} to {last}"
    end = last if last_known is None else max(last, last_known)
    longest = ((last if said is None else end) - first).days
    if after is not None and after > longest:
        expected = f"at most {longest}" if longest > 0 else "a longer log"
        raise ConfigurationError(
            f"churn_after_days: found {after}, and {log}; expected {expected}, so that there are "
            "days before the cut-off"
        )
    if said is None:
        return last if after is None else last - timedelta(days=after)
    if not first <= said <= end:
        raise ConfigurationError(f"cut_off: found {said}, and {log}; expected a day of it")
    if after is not None and said + timedelta(days=after) > end:
        raise ConfigurationError(
            f"cut_off: found {said} with churn_after_days {after}, and the log ends on {end}: "
            f"whoever buys on the days after it would count as churned; expected a cut_off up to "
            f"{end - timedelta(days=after)}, or fewer days"
        )
    return said


def _per_customer(log: TransactionLog) -> DataFrame:
    """Aggregated twice: to a customer's days (and baskets), which have an order, and to customers.

    All sums are of whole numbers and decimals, so that no order changes them.
    """
    customer = F.col("_customer")
    cut_off = F.lit(log.cut_off)
    amount, day = F.col("_amount"), F.col("_day")
    goes_back = F.coalesce(F.col("_quantity") < 0, F.lit(False))
    is_return, is_purchase = (amount < 0) | goes_back, (amount > 0) & ~goes_back
    past = day <= cut_off
    watched = log.frame
    if log.churn_after_days is not None:
        window_end = log.cut_off + timedelta(days=log.churn_after_days)
        watched = watched.where(day <= F.lit(window_end))
    else:
        watched = watched.where(past)
    has_basket = "_basket" in log.frame.columns
    zero = F.lit(0).cast(_EXACT)
    days = watched.groupBy(customer, day, *([F.col("_basket")] if has_basket else [])).agg(
        F.count_if(is_purchase).alias("lines"),
        F.coalesce(F.sum(F.when(is_purchase, amount)), zero).alias("spend"),
        F.coalesce(F.sum(F.when(is_return, F.abs(amount))), zero).alias("returned"),
        F.sum(F.when(is_purchase, F.col("_quantity"))).alias("items"),
    )
    # Nothing after the cut-off goes beyond this line but that there was a purchase.
    bought = F.col("lines") > 0
    purchase_day = F.when(bought & past, day)
    before = F.last("purchase_day", ignorenulls=True)
    own = Window.partitionBy(customer)
    earlier = own.orderBy("_day").rowsBetween(Window.unboundedPreceding, -1)
    ordered = days.withColumn("purchase_day", purchase_day).select(
        "*",
        F.min("purchase_day").over(own).alias("first"),
        F.datediff("purchase_day", before.over(earlier)).alias("gap"),
    )
    gap = F.when(F.col("gap") > 0, F.col("gap")).cast("long")
    since = F.datediff(purchase_day, F.col("first"))
    is_later = 2 * since > F.datediff(cut_off, F.col("first"))
    purchase = F.date_format("purchase_day", "yyyy-MM-dd")
    if has_basket:
        purchase = F.when(
            F.col("purchase_day").isNotNull(),
            F.coalesce(F.col("_basket").cast("string"), F.concat(F.lit("\0"), purchase)),
        )
    sums = ordered.groupBy(customer).agg(
        F.count_if(past).alias("past"),
        F.count_if(bought & ~past).alias("future"),
        F.max("purchase_day").alias("last"),
        F.first("first").alias("first"),
        F.count_distinct(purchase).alias("purchases"),
        F.sum(F.when(past, F.col("lines"))).alias("lines"),
        F.sum(F.when(past, F.col("spend"))).cast("double").alias("spend"),
        F.sum(F.when(is_later, F.col("spend"))).cast("double").alias("later"),
        F.sum(F.when(past, F.col("returned"))).cast("double").alias("returned"),
        F.count(gap).alias("gaps"),
        F.sum(gap).alias("sum_of_gaps"),
        F.sum(gap * gap).alias("sum_of_squares"),
        F.sum(F.when(past, F.col("items"))).cast("double").alias("items"),
    )
    sums = sums.where(F.col("past") > 0)
    purchases, gaps, total = F.col("purchases"), F.col("gaps"), F.col("sum_of_gaps")
    # In whole numbers up to the root: n sum(x^2) - sum(x)^2 loses no digit.
    scatter = gaps * F.col("sum_of_squares") - total * total
    deviation = F.sqrt(F.try_divide(scatter, gaps * (gaps - 1)))
    spend, later = F.col("spend"), F.coalesce(F.col("later"), F.lit(0.0))
    returned = F.col("returned")
    features = {
        "recency_days": F.datediff(cut_off, F.col("last")),
        "tenure_days": F.datediff(cut_off, F.col("first")),
        "purchases": purchases,
        "spend": spend,
        "spend_per_purchase": F.try_divide(spend, purchases),
        "items_per_purchase": F.try_divide(F.col("items"), purchases),
        "lines_per_purchase": F.try_divide(F.col("lines"), purchases),
        "gap_days": F.try_divide(total, gaps),
        "gap_variation": F.try_divide(deviation * gaps, total),
        "trend": F.when(gaps > 0, (2 * later - spend) / spend),
        "return_share": F.when(
            (spend > 0) | (returned > 0),
            F.coalesce(F.least(F.try_divide(returned, spend), F.lit(1.0)), F.lit(1.0)),
        ),
    }
    unknown = [] if log.has_amount else ["spend", "spend_per_purchase"]
    unknown += [] if log.has_quantity else ["items_per_purchase"]
    label = [] if log.churn_after_days is None else [(F.col("future") == 0).alias(CHURNED)]
    return sums.select(
        customer.alias(log.customer),
        *(column.alias(name) for name, column in features.items() if name not in unknown),
        *label,
    )


def _check(log: TransactionLog, table: DataFrame) -> None:
    """Raise InputDataError for a table that nothing can be learnt from."""
    churned = F.col(CHURNED) if log.churn_after_days is not None else F.lit(False)
    found = table.agg(
        F.count(F.lit(1)).alias("customers"),
        F.count("gap_days").alias("again"),
        F.max("purchases").alias("purchases"),
        F.count_if(churned).alias("churned"),
    ).first()
    assert found is not None
    customers = found["customers"]
    if not found["purchases"]:
        key = "amount" if log.has_amount else "quantity"
        raise InputDataError(
            f"{key}: none of {customers:,} customers ({log.customer!r}) has a purchase up to the "
            f"cut-off, {log.cut_off}: of all rows the amount is not over 0, or the quantity under "
            '0, which is a return; where what is paid is negative say the amount as "-paid"'
        )
    if not found["again"]:
        raise InputDataError(
            f"customer: none of {customers:,} customers ({log.customer!r}) has purchases on two "
            f"days up to the cut-off, {log.cut_off}; expected a column that names a customer, "
            "not a transaction, and a cut-off with enough days before it"
        )
    if log.churn_after_days is not None and found["churned"] in (0, customers):
        who, cure = ("none", "fewer") if not found["churned"] else ("each", "more")
        raise InputDataError(
            f"churn_after_days: {who} of {customers:,} customers has churned, by no purchase in "
            f"the {log.churn_after_days} days after {log.cut_off}; segments differ only in an "
            f"outcome that differs between customers: say {cure} days, or another cut_off"
        )
