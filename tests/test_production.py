"""The table of faults in docs/production.md: every row is of tests that there are."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def rows() -> list[list[str]]:
    text = (ROOT / "docs" / "production.md").read_text("utf-8")
    table = text.split("## Faults, and what comes of them")[1].split("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


@cache
def is_long_by_test(file: str) -> dict[str, bool]:
    """The tests of a file, and whether they are long or have cases that are."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    long = "mark.long"
    whole = any(
        isinstance(node, ast.Assign) and long in ast.unparse(node) and "pytestmark" in
        ast.unparse(node.targets[0]) for node in tree.body
    )  # fmt: skip
    return {
        node.name: whole or any(long in ast.unparse(one) for one in node.decorator_list)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def named() -> list[tuple[str, str, str]]:
    """Fault, file and test, row by row; a test without a file is of the file before it."""
    found, file = [], ""
    for fault, *_, tests in rows():
        for name, test in re.findall(r"`([\w/.]*)::(\w+)`", tests):
            file = name or file
            found.append((fault, file, test))
    return found


def test_there_are_many_and_each_says_all() -> None:
    table = rows()
    assert len(table) >= 20
    assert [row for row in table if len(row) != 4 or not all(row)] == []
    assert {row[0] for row in table} == {fault for fault, _, _ in named()}


@pytest.mark.parametrize(("fault", "file", "test"), named())
def test_a_row_is_of_a_test(fault: str, file: str, test: str) -> None:
    assert test in is_long_by_test(file)
    assert ("(long" in fault) == is_long_by_test(file)[test]
