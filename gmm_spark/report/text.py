"""Findings as aligned text for a terminal or a log."""

from __future__ import annotations

import math
from collections.abc import Sequence

# A column all of whose figures lie between these is one of small units: 3.000e-09.
_NOTHING, _SMALL = 1e-12, 1e-4
# So much of what was measured is the rounding of a computer.
_ROUNDING = 1e-9
_LARGE = 1e15
# More names than these are counted.
_NAMES = 10


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their names, flush right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  "
        + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join(lines)


def left_out(names: Sequence[str], what: str = "column") -> list[str]:
    """A line that says what a table does not show, and where it is; none where it shows all."""
    if not names:
        return []
    listed = ", ".join(names[:_NAMES])
    if len(names) > _NAMES:
        listed += f" and {len(names) - _NAMES:,} others"
    return [f"  {len(names):,} more {what}{'s' * (len(names) > 1)} in manifest.json: {listed}"]


def numbers(values: Sequence[float | None], scale: float = 1.0) -> list[str]:
    """The figures of one column, with one number of decimals: four significant digits of the
    largest, two of the smallest. "-" is for what is not there.

    `scale` is the size of what was measured, a standard deviation for instance: a figure a
    billion times smaller than that and than the largest of the column is 0.
    """
    sizes = [abs(v) for v in values if v is not None and math.isfinite(v)]
    largest = max([scale, *sizes])
    rounding = max(_NOTHING, _ROUNDING * largest)
    sizes = [size for size in sizes if size > rounding]
    if sizes and (largest < _SMALL or max(sizes) >= _LARGE):
        return [_scientific(value, rounding) for value in values]
    decimals = _decimals(sizes)
    return [_fixed(value, decimals, rounding) for value in values]


def _decimals(sizes: Sequence[float]) -> int:
    if not sizes:
        return 0
    largest = max(sizes)
    if largest < _SMALL:
        return 4
    smallest = min(size for size in sizes if size >= max(_SMALL, _SMALL * largest))
    decimals = min(6, 3 - math.floor(math.log10(largest)))
    return max(0, decimals, min(4, 1 - math.floor(math.log10(smallest))))


def _fixed(value: float | None, decimals: int, rounding: float) -> str:
    if value is None or math.isnan(value):
        return "-"
    if abs(value) <= rounding:
        return f"{0:.{decimals}f}"
    shown = f"{value:,.{decimals}f}"
    if float(shown.replace(",", "")) == 0:
        least = f"{10.0**-decimals:.{decimals}f}"
        return f"< {least}" if value > 0 else f"> -{least}"
    return shown


def _scientific(value: float | None, rounding: float) -> str:
    if value is None or math.isnan(value):
        return "-"
    return "0" if abs(value) <= rounding else f"{value:.3e}"


def number(value: float | None, scale: float = 1.0) -> str:
    """A figure by itself, see `numbers`."""
    return numbers([value], scale)[0]


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal; what is neither none nor all is not called so."""
    if share is None or math.isnan(share):
        return "-"
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"
