"""toSQL: a mixture's scores as one SELECT, for engines that have no Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gmm_spark.engine.inputs import column_names
from gmm_spark.errors import ConfigurationError
from gmm_spark.expressions import column_name, expression_name, without_name
from gmm_spark.mixture.families import FamilyColumns
from gmm_spark.mixture.natural import LOG_ZERO
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import LARGEST, Parameters
from gmm_spark.mixture.sql import (
    less_half,
    log_normal_by_column,
    number,
    summed,
    whitened_squares,
)
from gmm_spark.output_columns import refuse_taken
from gmm_spark.scoring import missing_values, row_columns
from gmm_spark.sql_dialects import (
    check_dialect,
    column,
    identifier,
    of_spark,
    sqlglot_module,
    standard,
    table_named,
    text_literal,
    without_nan,
    written,
)

if TYPE_CHECKING:
    from sqlglot.expressions import Expression, Select, Table

    from gmm_spark.model import GaussianMixtureModel

# What a statement computes on its way has names that begin so.
_PREFIX = "gmm_"
# Values are taken up to so many standard deviations of the narrowest component, and as 0 under so
# few: squares neither overflow nor underflow, which some engines refuse.
_FARTHEST, _NEAREST = 1e60, 1e-60
# Under this, exp is taken to be 0: as in `numerics.exponentials`.
_LEAST = -700.0
# Under this log density, some 1e12 deviations from every component, rounding is more than what
# tells components apart.
_UNTOLD = -1e25

Gaps = tuple[bool, ...]  # of the numeric columns, which have none


def to_sql(
    model: GaussianMixtureModel,
    dialect: str,
    table: str,
    keep: str | Sequence[str],
    max_patterns: int,
    patterns: Sequence[Sequence[str]] | None,
    max_length: int,
) -> str:
    """The scores of a table's rows as a SELECT: see `GaussianMixtureModel.toSQL`."""
    parameters = model.parameters
    check_dialect(dialect)
    sqlglot_module()
    source = table_named(table, dialect)
    names = model._input_columns()
    if names is None:
        raise ConfigurationError(
            "toSQL reads columns by their names, and this model's numbers are in the vector "
            f"column {model.getFeaturesCol()!r}: name its entries with model.setInputCols([...])"
        )
    if len(names) != parameters.d:
        raise ConfigurationError(
            f"inputCols names {len(names)} columns, the model was fitted on {parameters.d}"
        )
    met = _patterns(model, names, max_patterns, patterns)
    statement = _Statement(model, dialect, names, keep, met)
    size = statement.size
    found = written(statement.select(source), dialect) if size <= max_length else ""
    if (size := max(size, len(found.encode()))) > max_length:
        raise ConfigurationError(
            f"the statement takes {'over ' if not found else ''}{size:,} bytes, and maxLength is "
            f"{max_length:,}: "
            + (
                f"score fewer patterns of gaps, {len(met)} now, by maxPatterns"
                if len(met) > 1
                else "use a model of fewer segments or columns, or covarianceType='diag'"
            )
            + "; or set maxLength to what the engine takes"
        )
    return found


def _patterns(
    model: GaussianMixtureModel,
    names: Sequence[str],
    most: int,
    given: Sequence[Sequence[str]] | None,
) -> list[Gaps]:
    """The patterns of gaps that are scored, that of complete rows first."""
    complete = (False,) * len(names)
    if missing_values(model) != "marginalize" or model.parameters.structure.kind != "full":
        return [complete]
    if given is None:
        given = _met(model, names)[:most]
    for columns in given if isinstance(given, Sequence) else [given]:
        listed = isinstance(columns, list | tuple | set | frozenset)
        if not listed or not set(columns) <= set(names):
            raise ConfigurationError(
                f"patterns: {columns!r} is no list of inputCols; name for every pattern the "
                f"columns that have gaps in it, among {', '.join(names)}"
            )
    found = (tuple(name in set(columns) for name in names) for columns in given)
    return list(dict.fromkeys([complete, *found]))


def _met(model: GaussianMixtureModel, names: Sequence[str]) -> list[list[str]]:
    """The patterns of gaps that the fit has met, the most frequent first."""
    if not model.hasSummary:
        return []
    found = [list(one["columns"]) for one in model.summary.gapPatterns]
    if not found and any(name in model.summary.numGaps for name in names):
        raise ConfigurationError(
            "this model does not know which columns have gaps together: it was saved by a release "
            "that did not keep that, or the sample of the fit has no such row; name them, "
            "patterns=[['income'], ['income', 'age']], or none, patterns=[]"
        )
    return found


class _Squares:
    """The squares that Mahalanobis distances are sums of, of every pattern of gaps.

    A whitened coordinate is of the columns up to its own, so that patterns share those of the
    columns before their first gap: columns come in the order of how many patterns have gaps there,
    and what several patterns may use is computed once, in `made`, beside its name.
    """

    def __init__(self, parameters: Parameters, patterns: Sequence[Gaps]) -> None:
        gaps = np.array(patterns, dtype=bool).reshape(len(patterns), parameters.d)
        self.made: list[tuple[str, str]] = []
        self._known: dict[tuple[int, tuple[int, ...]], str] = {}
        self._covariances, self._means = parameters.dense_covariances(), parameters.means
        self._order = np.argsort(gaps.sum(axis=0), kind="stable")
        self._complete = int((~gaps.any(axis=0)).sum())
        self._is_shared = len(patterns) > 1

    def of(self, component: int, gaps: Gaps) -> tuple[list[str], float]:
        """The squares of a component where these columns have gaps, and the constant of its log
        density."""
        known = [int(j) for j in self._order if not gaps[j]]
        covariance = self._covariances[component][np.ix_(known, known)]
        mean = self._means[component, known]
        squares, constant = whitened_squares(mean, covariance, _names(known))
        if not self._is_shared:
            return squares, constant
        found = []
        if self._complete:
            first = summed(squares[: self._complete])
            found.append(self._named(component, known[: self._complete], first))
        for place in range(self._complete, len(known)):
            found.append(self._named(component, known[: place + 1], squares[place]))
        return found, constant

    def _named(self, component: int, columns: Sequence[int], text: str) -> str:
        """The name of what is computed of these columns."""
        key = component, tuple(columns)
        if key not in self._known:
            name = f"square{component}_{len(self._known)}"
            self.made.append((name, text))
            self._known[key] = f"{_PREFIX}{name}"
        return self._known[key]


@dataclass(frozen=True)
class _Outputs:
    """The names of the columns that are added; an empty one leaves its column out."""

    prediction: str
    probabilities: tuple[str, ...]
    log_density: str
    uncertainty: str
    outlier: str
    component: str

    @property
    def all(self) -> list[str]:
        found = [self.prediction, *self.probabilities, self.log_density]
        found += [self.uncertainty, self.outlier, self.component]
        return [name for name in found if name]


class _Statement:
    """The steps of a statement, each a subquery that computes columns beside those of the one
    before: the inputs, their values, the pattern of gaps, the log joint densities, their largest,
    the ratios to it, the sums of these, the most probable cluster; then the outputs."""

    def __init__(
        self,
        model: GaussianMixtureModel,
        dialect: str,
        names: list[str],
        keep: str | Sequence[str],
        patterns: list[Gaps],
    ) -> None:
        self._model, self._dialect, self._patterns = model, dialect, patterns
        self._parameters = model.parameters
        self._exp = sqlglot_module().exp
        self._inputs = row_columns(model, names)
        self._outputs = _output_names(model)
        self._keep = _kept(keep, self._outputs)
        self._clusters = model.clusters
        self._squares = _Squares(self._parameters, patterns)
        joint = self._joint()
        self._steps: list[tuple[str, list[tuple[str, str]]]] = [
            ("values", self._values()),
            ("known", self._known()),
            ("squares", self._squares.made),
            ("joint", joint),
            ("maximum", [("largest", _greatest(self._columns("joint")))]),
            ("ratios", self._ratios()),
            ("sums", self._sums()),
            ("predicted", [("prediction", self._prediction())]),
        ]
        self._last = self._scores()

    @property
    def size(self) -> int:
        """About how many bytes the statement takes, and no more: before sqlglot has read it."""
        return sum(len(text) for _, made in self._steps for _, text in made)

    def select(self, source: Table) -> Select:
        """The statement. In Postgres every step is kept apart by OFFSET 0: it would put the
        expressions of one into the next, wherever they stand there, again and again."""
        exp = self._exp
        source.set("alias", exp.TableAlias(this=exp.to_identifier("gmm_table")))
        before = "inputs"
        steps = [(before, exp.Select(expressions=self._read()).from_(source))]
        for name, made in self._steps:
            if not made:
                continue
            # Nothing is copied: of what is written once, that would be most of the time.
            columns = [
                exp.alias_(standard(text), f"{_PREFIX}{key}", copy=False) for key, text in made
            ]
            query = exp.Select(expressions=[exp.Star(), *columns])
            steps.append((name, query.from_(f"{_PREFIX}{before}", copy=False)))
            before = name
        found: Select = exp.Select(expressions=[*self._carried(), *self._written()])
        found = found.from_(f"{_PREFIX}{before}", copy=False)
        for name, query in steps:
            fenced = query.offset(0, copy=False) if self._dialect == "postgres" else query
            found = found.with_(f"{_PREFIX}{name}", as_=fenced, copy=False)
        return found

    # --- the rows ---------------------------------------------------------------------------

    def _read(self) -> list[Expression]:
        """What the first step takes from the table: the columns that are kept, and the inputs, as
        doubles or texts."""
        exp = self._exp
        found: list[Expression]
        if self._keep is not None:
            found = [
                exp.alias_(column(name, self._dialect), f"gmm_kept{place}")
                for place, name in enumerate(self._keep)
            ]
        elif self._dialect == "postgres":  # which has no SELECT * EXCEPT: the row as one value
            found = [exp.alias_(exp.column("gmm_table"), "gmm_row")]
        else:
            found = [exp.Column(this=exp.Star(), table=exp.to_identifier("gmm_table"))]
        made = {
            column_name(text): text
            for text in self._model.getInputExpressions()
            if expression_name(text) is not None
        }
        kinds = ["double"] * self._parameters.d
        for columns in self._model._family_columns():
            kinds += ["text" if columns.family.told_apart else "double"] * len(columns.names)
        for place, (name, kind) in enumerate(zip(self._inputs, kinds, strict=True)):
            value = (
                of_spark(without_name(made[name]), self._dialect, f"column {name!r}")
                if name in made
                else column(name, self._dialect)
            )
            value = exp.cast(value, kind)
            if kind == "double":
                value = without_nan(value, self._dialect)
            found.append(exp.alias_(value, f"gmm_input{place}"))
        return found

    def _carried(self) -> list[Expression]:
        """What the last step has of the table."""
        exp = self._exp
        if self._keep is not None:
            return [
                exp.alias_(exp.column(f"gmm_kept{place}"), identifier(name, self._dialect))
                for place, name in enumerate(self._keep)
            ]
        if self._dialect == "postgres":
            row = exp.paren(exp.column("gmm_row"))
            return [exp.Dot(this=row, expression=exp.Star())]
        own = [f"gmm_input{place}" for place in range(len(self._inputs))]
        own += [f"{_PREFIX}{key}" for _, made in self._steps for key, _ in made]
        return [exp.Star(except_=[exp.to_identifier(name) for name in own])]

    def _values(self) -> list[tuple[str, str]]:
        """Every input as the number that a block has of it; null where it is not known."""
        deviations = np.sqrt(self._parameters.variances())
        found = []
        for place, smallest in enumerate(deviations.min(axis=0, initial=np.inf)):
            least = number(max(smallest * _NEAREST, np.finfo(float).tiny))
            value = f"gmm_input{place}"
            text = f"CASE WHEN ABS({value}) < {least} THEN 0e0 ELSE {value} END"
            found.append((f"value{place}", text))
        for columns, places in self._of_families():
            for place, category in zip(places, columns.categories, strict=False):
                value, levels = f"gmm_input{place}", list(category.levels)
                other = f"WHEN NOT {value} IS NULL THEN {len(levels) - 1} " * category.other
                whens = "".join(
                    f"WHEN {value} = {text_literal(level).sql()} THEN {code} "
                    for code, level in enumerate(levels)
                )
                found.append((f"value{place}", f"CASE {whens}{other}ELSE NULL END"))
            if not columns.categories:
                found += [(f"value{place}", f"gmm_input{place}") for place in places]
        return found

    def _of_families(self) -> list[tuple[FamilyColumns, range]]:
        """The columns of every family, and their places among the inputs."""
        found, first = [], self._parameters.d
        for columns in self._model._family_columns():
            found.append((columns, range(first, first + len(columns.names))))
            first += len(columns.names)
        return found

    def _known(self) -> list[tuple[str, str]]:
        """The number of the row's pattern of gaps, null where it is not scored; and what log
        densities have that is the same for all components."""
        d, every = self._parameters.d, range(len(self._inputs))
        deviations = np.sqrt(self._parameters.variances())
        refused = []
        for place, smallest in enumerate(deviations.min(axis=0, initial=np.inf)):
            most = min(LARGEST, smallest * _FARTHEST)
            refused.append(f"ABS(gmm_value{place}) > {number(most)}")
        beside = []
        for columns, places in self._of_families():
            names = [f"gmm_value{place}" for place in places]
            conditions = map(columns.family.sql_refused, names)
            refused += [condition for condition in conditions if condition is not None]
            if (part := columns.family.sql_beside(names)) is not None:
                beside.append(part)
        if missing_values(self._model) != "marginalize":
            asked = [f"gmm_value{place} IS NULL" for place in every]
            patterns = "ELSE 0"
            refused += asked
        elif self._parameters.structure.kind != "full" or d == 0:
            patterns = "ELSE 0"
        else:
            patterns = " ".join(
                f"WHEN {' AND '.join(_state(place, gap) for place, gap in enumerate(gaps))} "
                f"THEN {index}"
                for index, gaps in enumerate(self._patterns)
            )
        when = f"WHEN {' OR '.join(refused)} THEN NULL " if refused else ""
        pattern = f"CASE {when}{patterns} END" if when or patterns != "ELSE 0" else "0"
        return [("pattern", pattern), *([("beside", summed(beside))] if beside else [])]

    # --- the mixture ------------------------------------------------------------------------

    def _joint(self) -> list[tuple[str, str]]:
        """log w_k + log density of every component, and of the noise."""
        parameters, families = self._parameters, self._of_families()
        beside = any(columns.family.sql_beside([]) is not None for columns, _ in families)
        natural = [
            _natural(columns, values)
            for (columns, _), values in zip(families, parameters.family_parameters, strict=True)
        ]
        found = []
        for component, constant in enumerate(_log(parameters.weights)):
            normal = [self._normal(component, constant, gaps) for gaps in self._patterns]
            terms = [_by_pattern(normal)]
            for (columns, places), theta in zip(families, natural, strict=True):
                terms.append(columns.family.sql(theta[component], _names(places)))
            if beside:
                terms.append("gmm_beside")
            found.append((f"joint{component}", summed(terms)))
        if parameters.noise is not None:
            found.append((f"joint{parameters.k}", self._noise()))
        return found

    def _normal(self, component: int, constant: float, gaps: Gaps) -> str:
        parameters = self._parameters
        if parameters.structure.kind != "full" and missing_values(self._model) == "marginalize":
            names, variances = _names(range(parameters.d)), parameters.variances()
            return log_normal_by_column(
                parameters.means[component], variances[component], names, constant
            )
        squares, own = self._squares.of(component, gaps)
        return less_half(constant + own, squares)

    def _noise(self) -> str:
        parameters = self._parameters
        noise = parameters.noise
        assert noise is not None
        (constant,) = _log(np.array([noise.weight]))
        if parameters.structure.kind != "full" and missing_values(self._model) == "marginalize":
            terms = [number(constant)]
            terms += [
                f"CASE WHEN gmm_value{place} IS NULL THEN 0e0 ELSE {number(-width)} END"
                for place, width in enumerate(noise.log_widths)
            ]
            normal = [summed(terms)]
        else:
            normal = [
                number(constant - noise.log_widths[~np.array(gaps, dtype=bool)].sum())
                for gaps in self._patterns
            ]
        terms = [_by_pattern(normal)]
        for (columns, places), where in zip(self._of_families(), noise.ranges, strict=True):
            terms.append(columns.family.sql(columns.family.uniform(where), _names(places)))
        return summed(terms)

    # --- the scores -------------------------------------------------------------------------

    def _columns(self, key: str) -> list[str]:
        count = self._parameters.k + (self._parameters.noise is not None)
        return [f"{_PREFIX}{key}{component}" for component in range(count)]

    def _ratios(self) -> list[tuple[str, str]]:
        """The joint densities by the largest; what underflows is 0, where some engines fail."""
        return [
            (
                f"ratio{component}",
                f"CASE WHEN {joint} - gmm_largest < {number(_LEAST)} THEN 0e0 "
                f"ELSE EXP({joint} - gmm_largest) END",
            )
            for component, joint in enumerate(self._columns("joint"))
        ]

    def _shares(self) -> list[str]:
        """What is in proportion to the probabilities of the clusters, and of the noise."""
        ratios = self._columns("ratio")
        found = [summed([ratios[component] for component in one]) for one in self._clusters]
        found = [f"({text})" if "+" in text else text for text in found]
        return found + ratios[self._parameters.k :]

    def _sums(self) -> list[tuple[str, str]]:
        """The sum of the ratios, the same where it tells components apart, and of merged clusters
        the largest share."""
        found = [("sum", summed(self._columns("ratio")))]
        known = f"CASE WHEN gmm_largest >= {number(_UNTOLD)} THEN {found[0][1]} END"
        found.append(("divisor", known))
        if self._is_merged:
            found.append(("largest_share", _greatest(self._shares())))
        return found

    @property
    def _is_merged(self) -> bool:
        return self._model._merging is not None

    def _prediction(self) -> str:
        values, largest = self._columns("joint"), "gmm_largest"
        if self._is_merged:
            values, largest = self._shares(), "gmm_largest_share"
        numbers = [*range(len(self._clusters)), -1]
        return f"CASE WHEN gmm_divisor > 0e0 THEN {_first_equal(values, largest, numbers)} END"

    def _scores(self) -> list[tuple[str, str]]:
        """The outputs, by their names."""
        names, shares = self._outputs, self._shares()
        log_density = "gmm_largest + LN(gmm_sum)"
        others = [
            f"CASE WHEN gmm_prediction = {cluster} THEN 0e0 ELSE {share} END"
            for cluster, share in zip([*range(len(self._clusters)), -1], shares, strict=False)
        ]
        found = [(names.prediction, "gmm_prediction")]
        found += [
            (name, f"{share} / gmm_divisor")
            for name, share in zip(names.probabilities, shares, strict=False)
        ]
        found.append((names.log_density, log_density))
        found.append((names.uncertainty, f"({summed(others)}) / gmm_divisor"))
        threshold = self._model.getOutlierThreshold()
        if threshold is not None:
            # No engine has a literal for infinity.
            most = np.finfo(float).max
            found.append(
                (names.outlier, f"{log_density} < {number(np.clip(threshold, -most, most))}")
            )
        if self._is_merged:
            found.append((names.component, self._component()))
        return [(name, text) for name, text in found if name]

    def _component(self) -> str:
        """The likeliest component of the predicted cluster."""
        ratios, whens = self._columns("ratio"), []
        for predicted, cluster in enumerate(self._clusters):
            own = [ratios[component] for component in cluster]
            whens.append(f"WHEN {predicted} THEN {_first_equal(own, _greatest(own), cluster)}")
        return f"CASE gmm_prediction {' '.join(whens)} ELSE gmm_prediction END"

    def _written(self) -> list[Expression]:
        exp = self._exp
        return [
            exp.alias_(standard(text), identifier(name, self._dialect)) for name, text in self._last
        ]


def _output_names(model: GaussianMixtureModel) -> _Outputs:
    """The names that `transform` gives its columns; of the probabilities those of the score job."""
    has_threshold = model.getOutlierThreshold() is not None
    probability, *others = model._columns.outputs(has_threshold, merged=model._merging is not None)
    prediction, log_density, uncertainty, outlier, component = others
    numbers = [*map(str, range(len(model.clusters)))]
    numbers += ["noise"] if model.parameters.noise is not None else []
    return _Outputs(
        prediction,
        tuple(f"{probability}_{number}" for number in numbers) if probability else (),
        log_density or "log_density",
        uncertainty,
        outlier,
        component,
    )


def _kept(keep: str | Sequence[str], outputs: _Outputs) -> list[str] | None:
    """The columns of the table that go along; None for all."""
    if keep == "*":
        return None
    names = column_names("keep", keep)
    if not all(names) or len(set(names)) < len(names):
        raise ConfigurationError(
            f"keep is {keep!r}; it is '*' for all columns of the table, or a list of names, each "
            "once"
        )
    refuse_taken(outputs.all, names)
    return names


def _log(weights: Array) -> list[float]:
    with np.errstate(divide="ignore"):
        found: list[float] = np.maximum(np.log(weights), LOG_ZERO).tolist()
    return found


def _natural(columns: FamilyColumns, parameters: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.maximum(columns.family.natural(parameters), LOG_ZERO)


def _names(places: Iterable[int]) -> list[str]:
    return [f"gmm_value{place}" for place in places]


def _state(place: int, is_gap: bool) -> str:
    return f"gmm_value{place} IS NULL" if is_gap else f"NOT gmm_value{place} IS NULL"


def _by_pattern(expressions: Sequence[str]) -> str:
    """The expression of the row's pattern of gaps; null where it has none."""
    whens = " ".join(f"WHEN {place} THEN {text}" for place, text in enumerate(expressions))
    return f"CASE gmm_pattern {whens} END"


def _greatest(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"GREATEST({', '.join(values)})"


def _first_equal(values: Sequence[str], to: str, numbers: Sequence[int]) -> str:
    """The number of the first value that is equal to another."""
    if len(values) == 1:
        return f"CASE WHEN NOT {values[0]} IS NULL THEN {numbers[0]} END"
    whens = " ".join(
        f"WHEN {value} = {to} THEN {number}" for value, number in zip(values, numbers, strict=False)
    )
    return f"CASE {whens} END"
