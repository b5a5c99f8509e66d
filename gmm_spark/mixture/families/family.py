"""What a column family is: the protocol that generic code asks.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.numerics import Array

# What an extrapolation takes logarithms of is at least this.
LEAST_PROBABILITY = 1e-10


@dataclass(frozen=True)
class Range:
    """Where the values of columns lie, for the uniform distribution of the noise.

    log_sizes : (columns,) log of the width of an interval, or of how many values there are
    lowest : (columns,) the lowest value; None for models of releases that did not keep it
    """

    log_sizes: Array
    lowest: Array | None = None

    def taken(self, columns: NDArray[np.intp]) -> Range:
        """The range of some of the columns."""
        lowest = None if self.lowest is None else self.lowest[columns]
        return Range(self.log_sizes[columns], lowest)


class Family(ABC):
    """The columns of one distribution in a mixture, independent of each other and of the other
    columns within a component.

    An object knows how many columns there are (and, of categories, how many levels), not what
    they are called. Its parameters are an array (k, num_parameters), its rows of T(x), and the
    sums of these over rows, are num_features. A prior is what T(x) sums to over the rows that it
    stands for. Values that are not known are NaN.
    """

    # The setting that names its columns.
    setting: ClassVar[str]
    # What is said of them in a message, in plural, and the key of what `described` says.
    name: ClassVar[str]
    section: ClassVar[str]
    # Whether its columns hold texts to be told apart, whose places are the values.
    told_apart: ClassVar[bool] = False
    # Whether values are whole numbers.
    whole: ClassVar[bool] = False
    # Whether EM can bring parameters next to zero, from where it cannot leave (`edges`). Such a
    # family has `overall`, `promise` and `at_least`.
    can_vanish: ClassVar[bool] = False
    # What `expected` says beside a value that is known.
    certain: ClassVar[float] = 0.0
    # What is wrong with values that `refused` finds; {value} is the first of them.
    refusal: ClassVar[str] = ""

    # --- sizes ----------------------------------------------------------------------------

    @property
    @abstractmethod
    def num_columns(self) -> int:
        """Rows of a block that are its."""

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Its rows of T(x)."""

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Numbers that are kept of a component."""

    @property
    @abstractmethod
    def num_free_parameters(self) -> int:
        """Of these, how many are free."""

    # --- the E-step -----------------------------------------------------------------------

    @abstractmethod
    def fill(self, values: Array, features: Array) -> Array | None:
        """Put T(x) of values (num_columns, m) into features (num_features, m), 0 for what is not
        known; returns what the log density has beside theta . T(x), (m,), None where that is 0."""

    @abstractmethod
    def natural(self, parameters: Array) -> Array:
        """Natural parameters theta, (K, num_features). A log of 0 is -inf."""

    # --- the M-step -----------------------------------------------------------------------

    @abstractmethod
    def m_step(self, sums: Array, prior: Array, previous: Array, alive: NDArray[np.bool_]) -> Array:
        """Parameters (k, num_parameters) of largest likelihood, or posterior density, given the
        sums of responsibilities times T(x), (k, num_features). Components that are not alive, and
        columns of which nothing is known, keep `previous`."""

    @abstractmethod
    def unit(self) -> Array:
        """Parameters to hang statistics on, (num_parameters,)."""

    # --- the prior ------------------------------------------------------------------------

    @abstractmethod
    def prior(self, values: Array, weights: Array | None) -> Array:
        """What T(x) of one row is on average, (num_features,), in values (num_columns, n) of rows
        of weight 1 or `weights`; values far beyond the rest apart."""

    @abstractmethod
    def log_prior(self, parameters: Array, prior: Array) -> float:
        """Log density of parameters under a prior, up to a constant."""

    # --- extrapolation --------------------------------------------------------------------

    @abstractmethod
    def flat(self, parameters: Array) -> Array:
        """Coordinates (k, num_parameters) in which every point is a distribution, and straight
        lines are what EM's steps are near to."""

    @abstractmethod
    def unflat(self, flat: Array) -> Array:
        """The parameters of these coordinates."""

    @abstractmethod
    def metric(self, parameters: Array) -> Array:
        """What a change of each coordinate amounts to, in deviations of a row,
        (k, num_parameters)."""

    # --- starts ---------------------------------------------------------------------------

    @abstractmethod
    def same_optimum(self, one: Array, other: Array) -> bool:
        """Whether the parameters of two mixtures, sorted over components, hardly differ."""

    @abstractmethod
    def coordinates(self, values: Array) -> Array:
        """Rows (..., m) whose distances tell groups apart as those of standardised numbers do."""

    @abstractmethod
    def at_rows(self, values: Array, whole: Array) -> Array:
        """Parameters (k, num_parameters) between those of all rows, (k, num_parameters), and a
        row for each, values (num_columns, k)."""

    # --- edges ----------------------------------------------------------------------------

    def overall(self, sums: Array) -> Array:
        """Parameters of all rows together, (num_parameters,), by the sums over components."""
        raise NotImplementedError

    def promise(self, parameters: Array, sums: Array, overall: Array, least: float) -> Array:
        """To first order, what the log-likelihood would gain by going from each parameter, `least`
        at least, as far as all rows are, (k, num_parameters)."""
        raise NotImplementedError

    def at_least(self, parameters: Array, least: Array) -> Array:
        """The parameters raised to at least `least`."""
        raise NotImplementedError

    # --- noise ----------------------------------------------------------------------------

    @abstractmethod
    def range_of(self, lowest: Array, highest: Array) -> Range:
        """Where values lie, from the lowest and highest of every column."""

    @abstractmethod
    def uniform(self, range: Range) -> Array:
        """Natural parameters (num_features,) of the uniform distribution over a range. What the
        log density has beside theta . T(x) is not counted for it."""

    @abstractmethod
    def draw(
        self, parameters: Array, component: NDArray[np.intp], rng: np.random.Generator
    ) -> Array:
        """A row of each component, (num_columns, n); component k is the noise, for which
        `draw_uniform` may put something else in."""

    def draw_uniform(self, range: Range, n: int, rng: np.random.Generator) -> Array | None:
        """Rows of the noise, (num_columns, n); None where those of `draw` are."""
        return None

    # --- missing cells --------------------------------------------------------------------

    @abstractmethod
    def expected(
        self, parameters: Array, column: int, responsibilities: Array
    ) -> tuple[Array, Array]:
        """What is put in for a missing value of a column, (n,), and how sure that is, (n,), given
        the probabilities of the components (k, n)."""

    def chances(self, parameters: Array, column: int, responsibilities: Array) -> Array:
        """The probabilities of the values of a column, (levels, n), given those of the components
        (k, n), of a family whose values are told apart."""
        raise NotImplementedError

    @abstractmethod
    def drawn(
        self,
        parameters: Array,
        column: int,
        component: NDArray[np.intp],
        rng: np.random.Generator,
    ) -> Array:
        """Missing values of a column, (n,), drawn for rows of given components."""

    # --- explanations ---------------------------------------------------------------------

    @abstractmethod
    def log_probabilities(self, parameters: Array, values: Array) -> Array:
        """Log of the probability, or density, of every value (num_columns, m) in every component,
        (k, num_columns, m): -inf for an impossible one, 0 for one that is not known."""

    @abstractmethod
    def modes(self, parameters: Array) -> Array:
        """The most probable value of every column, (k, num_columns)."""

    # --- seen along a few directions ------------------------------------------------------

    @abstractmethod
    def mean_coordinates(self, values: Array) -> Array:
        """Of values (num_columns, m) the coordinates whose means in a component are its parameters,
        (num_parameters, m); NaN for what is not known."""

    @abstractmethod
    def covariances_along(self, parameters: Array, directions: Array) -> Array:
        """Covariance matrices (k, r, r) of these coordinates in every component, along directions
        (num_parameters, r)."""

    # --- SQL ------------------------------------------------------------------------------

    @abstractmethod
    def sql(self, natural: Array, names: Sequence[str]) -> str:
        """theta . T(x) of one component, theta (num_features,), as an SQL expression of the columns
        `names`, which hold the numbers of a block, null where a value is not known; see `sql` of
        the mixture for what it is written in."""

    def sql_beside(self, names: Sequence[str]) -> str | None:
        """What the log density has beside theta . T(x), as an SQL expression; None where that is
        0."""
        return None

    def sql_refused(self, name: str) -> str | None:
        """The condition under which a column holds what `refused` finds; None for a family that
        takes all values."""
        return None

    # --- components merged into clusters --------------------------------------------------

    @abstractmethod
    def log_bhattacharyya(self, one: Array, others: Array) -> Array:
        """Log of Bhattacharyya's coefficient, the sum over all values of the root of the product of
        two probabilities, of the distributions with parameters (num_parameters,) and, each,
        (k, num_parameters): (k,), finite."""

    def pooled(self, parameters: Array, shares: Array) -> Array:
        """Parameters (num_parameters,) that stand for components together, of parameters
        (k, num_parameters) and shares (k,) that sum to 1. Parameters that are means are averaged;
        a family of others has a method of its own."""
        return np.asarray(shares @ parameters)

    # --- what values may be ---------------------------------------------------------------

    def refused(self, values: Array) -> NDArray[np.bool_]:
        """Which values are none of the family's; `refusal` says why."""
        return np.zeros(values.shape, dtype=bool)

    def warning(
        self, name: str, values: Array, weights: Array | None, highest: float, rows: int
    ) -> str | None:
        """What is odd about a column, by a sample of its rows (n,) and the highest of all."""
        return None

    @abstractmethod
    def problem(self, parameters: Array) -> str | None:
        """The sentence about parameters that are none; None where they are."""

    # --- disk and words -------------------------------------------------------------------

    # The column of a saved model that holds its parameters, of every component a row; the first
    # version of the format that has it; and the keys of its range in what is said of the noise,
    # (log_sizes, lowest), where the range does not follow from the columns themselves.
    stored: ClassVar[str]
    format_version: ClassVar[int] = 3
    stored_range: ClassVar[tuple[str, str] | None] = None

    @classmethod
    @abstractmethod
    def sized(cls, num_parameters: int, levels: Sequence[int]) -> Family:
        """The family of so many parameters a component, and of columns with so many levels."""

    @abstractmethod
    def of_columns(self, parameters: Array, columns: NDArray[np.intp]) -> Array:
        """The parameters of the columns in another order."""

    @abstractmethod
    def described(
        self, parameters: Array, names: Sequence[str], levels: Sequence[Sequence[str]]
    ) -> list[dict[str, Any]]:
        """What is said of every component: by column, the value of this family."""

    @staticmethod
    @abstractmethod
    def said(name: str, described: Any) -> Mapping[str, Any]:
        """The columns of a table of segments that one column becomes, each with a number or a
        text; of what is not described, None, with nothing."""


def rows_of(families: Sequence[Family], first: int) -> list[tuple[Family, slice]]:
    """Every family with its rows of a block, which begin at `first`."""
    stops = first + np.cumsum([family.num_columns for family in families], dtype=int)
    return [
        (family, slice(int(stop) - family.num_columns, int(stop)))
        for family, stop in zip(families, stops, strict=True)
    ]
