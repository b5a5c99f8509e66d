"""A table of Delta or Iceberg: what Spark is asked for, as neither's jar is at hand."""

from __future__ import annotations

from typing import Any

import pytest

from gmm_spark.errors import ConfigurationError
from gmm_spark.storage import transactions


class Recorded:
    """Stands for a DataFrame and its writers: what is called, with what, in order."""

    def __init__(self, tables: tuple[str, ...] = ()) -> None:
        self.calls: list[Any] = []
        self.tables = tables

    def __getattr__(self, name: str) -> Any:
        if name in ("write", "sparkSession", "catalog"):
            return self

        def call(*arguments: Any) -> Any:
            if name == "tableExists":
                return arguments[0] in self.tables
            self.calls.append((name, *arguments))
            return self

        return call


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns as their names: without a session there are no others."""

    class Named(str):
        def __eq__(self, other: object) -> Any:
            return f"{self} = {other}"

        __hash__ = str.__hash__

    monkeypatch.setattr(transactions.F, "lit", lambda value: value)
    monkeypatch.setattr(transactions.F, "col", Named)


def test_delta_replaces_the_rows_of_the_date_in_one_call() -> None:
    frame: Any = Recorded()
    transactions.replace_run_date(frame, "lake.scores", "delta", "2026-11-'26")
    assert frame.calls == [
        ("withColumn", "run_date", "2026-11-'26"),
        ("format", "delta"),
        ("mode", "overwrite"),
        ("option", "replaceWhere", "run_date = '2026-11-\\'26'"),
        ("partitionBy", "run_date"),
        ("saveAsTable", "lake.scores"),
    ]


def test_iceberg_overwrites_by_the_date_and_makes_the_table_that_is_not_there() -> None:
    there: Any = Recorded(tables=("lake.scores",))
    transactions.replace_run_date(there, "lake.scores", "iceberg", "2026-11-26")
    assert there.calls[1:] == [("writeTo", "lake.scores"), ("overwrite", "run_date = 2026-11-26")]
    absent: Any = Recorded()
    transactions.replace_run_date(absent, "lake.scores", "iceberg", "2026-11-26")
    assert [name for name, *_ in absent.calls[1:]] == [
        "writeTo",
        "using",
        "partitionedBy",
        "create",
    ]


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_where_the_jar_is_absent_one_error_names_it(spark: Any, kind: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        transactions.expect_format(spark, kind)
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"scores_format: found '{kind}', which this Spark cannot write")
    assert f"--packages {transactions.PACKAGES[kind]}:" in line
