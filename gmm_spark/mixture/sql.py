"""Log densities as SQL expressions: text of standard SQL that needs +, -, *, CASE, COALESCE, ABS,
LN and POWER alone.

Numbers are written with all their digits and an exponent, 1.5e0: without one they would be decimals
to several engines.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.whitening import inverse_factors

# Where the whitened coordinates of a component's rows are larger than this before its mean is
# taken off, it is taken off the columns first: the difference of two large numbers has few digits.
_LARGE = 1e4


def number(value: float) -> str:
    """A finite number as a literal of double precision."""
    text = repr(float(value)).removesuffix(".0")
    return text if "e" in text else f"{text}e0"


def summed(terms: Sequence[str]) -> str:
    """The sum of expressions; 0 of none."""
    if not terms:
        return number(0.0)
    signed = (f" - {term[1:]}" if term.startswith("-") else f" + {term}" for term in terms[1:])
    return terms[0] + "".join(signed)


def chosen(value: str, entries: Sequence[float], otherwise: str) -> str:
    """The entry whose place a column holds, where it holds one; else another expression."""
    whens = " ".join(f"WHEN {place} THEN {number(entry)}" for place, entry in enumerate(entries))
    return f"CASE {value} {whens} ELSE {otherwise} END"


def whitened_squares(
    mean: Array, covariance: Array, names: Sequence[str]
) -> tuple[list[str], float]:
    """The log density of a normal distribution, mean (d,) and covariance (d, d), at the columns
    `names`, none of which is null: a constant less half of the sum of d squares, the coordinates of
    W (x - mean), W' W the inverse covariance. Returns the squares, each of the columns up to its
    own alone, and the constant."""
    if not names:
        return [], 0.0
    deviations = np.sqrt(np.diagonal(covariance))
    # Rounding leaves something above the diagonal.
    whitening = np.tril(inverse_factors(covariance[None], deviations[None])[0])
    constant = float(np.log(np.diagonal(whitening)).sum()) - 0.5 * len(names) * np.log(2 * np.pi)
    return [_square(row, mean, deviations, names) for row in whitening], constant


def less_half(constant: float, squares: Sequence[str]) -> str:
    """A constant less half of the sum of squares."""
    return f"{number(constant)} - 0.5e0 * ({summed(squares)})" if squares else number(constant)


def log_normal_by_column(
    mean: Array, variances: Array, names: Sequence[str], constant: float
) -> str:
    """A constant plus the log density of a normal distribution whose covariance is diagonal,
    variances (d,), at what is known of the columns: nulls are integrated out."""
    terms = []
    for place, name in enumerate(names):
        at = slice(place, place + 1)
        squares, own = whitened_squares(mean[at], np.diag(variances[at]), [name])
        terms.append(f"COALESCE({less_half(own, squares)}, {number(0.0)})")
    return summed([number(constant), *terms])


def _square(row: Array, mean: Array, deviations: Array, names: Sequence[str]) -> str:
    """The square of one whitened coordinate, row . (x - mean)."""
    used: NDArray[np.intp] = np.flatnonzero(row)
    if np.abs(row) @ (np.abs(mean) + 3 * deviations) > _LARGE:
        parts = [f"{number(row[j])} * ({names[j]} - {number(mean[j])})" for j in used]
    else:
        parts = [f"{number(row[j])} * {names[j]}" for j in used]
        constant = -float(row @ mean)
        parts += [number(constant)] if constant else []
    return f"POWER({summed(parts)}, 2)"
