"""Cells of a text that Spark's reader does not take as they are meant."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.engine.dataframe import quoted
from gmm_spark.storage.formats import MISSING, NUMBERS_BY_MARK, TextTable

# Characters of windows-1252 where ISO 8859-1 has none that can be seen.
_WINDOWS = {
    code: bytes([code]).decode("windows-1252")
    for code in range(0x80, 0xA0)
    if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}


def as_written(frame: DataFrame, text: TextTable) -> DataFrame:
    """The table with numbers that have commas as numbers, and the characters of windows-1252.

    A column of which one cell is no such number stays a text.
    """
    if text.is_windows:
        seen, meant = "".join(map(chr, _WINDOWS)), "".join(_WINDOWS.values())
        frame = frame.select(
            *(
                (
                    F.translate(quoted(name), seen, meant) if kind == "string" else quoted(name)
                ).alias(name.translate(_WINDOWS))
                for name, kind in frame.dtypes
            )
        )
    marks = {
        name: text.marks[place]
        for place, (name, kind) in enumerate(frame.dtypes)
        if place in text.marks and kind == "string"
    }
    if not marks:
        return frame
    known = {name: _known(name) for name in marks}
    others = frame.agg(
        *(F.count_if(~known[name].rlike(_whole(mark))) for name, mark in marks.items())
    ).first()
    assert others is not None
    numbers = {
        name: _number(known[name], mark).alias(name)
        for (name, mark), count in zip(marks.items(), others, strict=True)
        if not count
    }
    return frame.select(*(numbers.get(name, quoted(name)) for name in frame.columns))


def _known(name: str) -> Column:
    """A cell, null where it stands for a gap."""
    cell = F.trim(quoted(name))
    return F.when(~cell.isin("", *MISSING), cell)


def _whole(mark: str) -> str:
    return f"^({NUMBERS_BY_MARK[mark]})$"


def _number(cell: Column, mark: str) -> Column:
    """The number of a cell: without the marks of thousands, and with a point."""
    thousands = F.lit("." if mark == "," else ",")
    plain = F.replace(F.replace(cell, thousands, F.lit("")), F.lit(mark), F.lit("."))
    return plain.cast(T.DoubleType())
