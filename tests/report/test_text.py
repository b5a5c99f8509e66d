"""Findings as text."""

from __future__ import annotations

import pytest

from gmm_spark.report.text import left_out, number, numbers, percent, table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.000"),
        (64.7616, "64.76"),
        (-2283.3004, "-2,283"),
        (1234567.0, "1,234,567"),
        (0.04321, "0.04321"),
        (0.00012345, "0.000123"),
        (1e12, "1,000,000,000,000"),
        (1.5e30, "1.500e+30"),
        (3e-7, "< 0.0001"),
        (-3e-7, "> -0.0001"),
        (7.1e-15, "0"),
        (3.8e-133, "0"),
        (None, "-"),
        (float("nan"), "-"),
    ],
)
def test_numbers_are_as_people_write_them(value, text) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("values", "scale", "texts"),
    [
        ([54.15, 14.868, 1.947, None], 1.0, ["54.15", "14.87", "1.95", "-"]),
        ([12000.5, 3.21, 0.5, 0.0], 1.0, ["12,000.5", "3.2", "0.5", "0.0"]),
        ([1.2, 7.1e-15, 3.8e-133, -2e-12], 1.0, ["1.200", "0.000", "0.000", "0.000"]),
        ([1.2, 0.0003], 1.0, ["1.2000", "0.0003"]),
        ([5e6, 3e-2], 1.0, ["5,000,000", "< 1"]),
        ([7.1e-15, -3e-16], 2.5, ["0", "0"]),
        ([3.8e-133, 1e-140], 1.0, ["0", "0"]),
        # Units are small: a mean of nanometres in metres.
        ([3.25e-9, -1.5e-8, 0.0], 2e-9, ["3.250e-09", "-1.500e-08", "0"]),
    ],
)
def test_the_figures_of_a_column_have_the_same_decimals(values, scale, texts) -> None:
    assert numbers(values, scale) == texts


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.26537, "26.5 %"), (0.0, "0.0 %"), (1.0, "100.0 %"), (3.8e-133, "< 0.1 %"),
        (0.0004, "< 0.1 %"), (0.0006, "0.1 %"), (0.99999, "> 99.9 %"), (0.9994, "99.9 %"),
        (None, "-"), (float("nan"), "-"),
    ],
)  # fmt: skip
def test_shares(share, text) -> None:
    assert percent(share) == text


def test_what_a_table_leaves_out_is_said() -> None:
    assert left_out([]) == []
    assert left_out(["a"]) == ["  1 more column in manifest.json: a"]
    assert left_out(["a", "b"], "value") == ["  2 more values in manifest.json: a, b"]
    many = [f"c{i}" for i in range(2000)]
    (line,) = left_out(many)
    assert line.startswith("  2,000 more columns in manifest.json: c0, c1, ")
    assert line.endswith("c9 and 1,990 others")


def test_columns_are_flush_right() -> None:
    assert table(["a", "long name"], [["1", "2"], ["333", "4"]]) == (
        "    a  long name\n    1          2\n  333          4"
    )
