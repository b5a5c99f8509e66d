"""SQL of several engines, written by sqlglot: what each of them needs, and which of Spark's
expressions mean the same elsewhere.

sqlglot writes an expression in the words of another engine and leaves as it stands what it does not
know, so that a statement fails where it is run, or computes something else. So of expressions that
are not this package's own only what is listed here is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gmm_spark.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlglot.expressions import Column, Expression, Identifier, Literal, Table

DIALECTS = ("spark", "duckdb", "postgres", "bigquery", "snowflake")

# An expression is shown up to so many characters in a message.
_SHOWN = 120


def sqlglot_module() -> Any:
    """sqlglot; ConfigurationError where it is not installed."""
    try:
        import sqlglot
    except ImportError:
        raise ConfigurationError(
            "toSQL needs sqlglot, which is not installed: pip install 'gmm_spark[sql]'"
        ) from None
    return sqlglot


def check_dialect(dialect: Any) -> None:
    """Raise ConfigurationError for a dialect that is none of `DIALECTS`."""
    if dialect not in DIALECTS:
        raise ConfigurationError(
            f"dialect: {dialect!r} is not known; use {', '.join(DIALECTS[:-1])} or {DIALECTS[-1]}"
        )


def table_named(text: Any, dialect: str) -> Table:
    """The table of a FROM, in the dialect's own words: `db`.`my table`. ConfigurationError for
    anything else."""
    sqlglot = sqlglot_module()
    if not isinstance(text, str) or not text.strip():
        raise ConfigurationError(
            f"table: {text!r} is no name; name the table as a FROM does, 'lake.customers'"
        )
    try:
        found: Table = sqlglot.parse_one(text, into=sqlglot.exp.Table, dialect=dialect)
        plain = {"this", "db", "catalog"}
        if any(value for key, value in found.args.items() if key not in plain):
            raise ValueError
        if not all(isinstance(part, sqlglot.exp.Identifier) for part in found.parts):
            raise ValueError
    except (sqlglot.errors.SqlglotError, ValueError, AttributeError):
        raise ConfigurationError(
            f"table: {text!r} is no name of a table in {dialect}; name it as a FROM does, "
            "'lake.customers', and quote odd names as that engine does"
        ) from None
    return found


def identifier(name: str, dialect: str) -> Identifier:
    """A name as it stands, quoted. Snowflake keeps plain names in upper case, unless they were
    quoted when their column was made."""
    if dialect == "snowflake" and re.fullmatch("[a-z_][a-z0-9_]*", name):
        name = name.upper()
    found: Identifier = sqlglot_module().exp.to_identifier(name, quoted=True)
    return found


def column(name: str, dialect: str) -> Column:
    """A column by its name, whatever characters are in it."""
    found: Column = sqlglot_module().exp.Column(this=identifier(name, dialect))
    return found


def standard(text: str) -> Expression:
    """An expression of this package's own, in standard SQL."""
    found: Expression = sqlglot_module().parse_one(text)
    return found


def text_literal(value: str) -> Literal:
    """A text, whatever characters are in it."""
    found: Literal = sqlglot_module().exp.Literal.string(value)
    return found


def without_nan(value: Expression, dialect: str) -> Expression:
    """A number of double precision, null where it is NaN."""
    exp = sqlglot_module().exp
    found: Expression
    if dialect == "bigquery":  # where NaN is not equal to itself
        found = exp.If(this=exp.IsNan(this=value), true=exp.Null(), false=value.copy())
    else:
        found = exp.Nullif(this=value, expression=_nan())
    return found


def written(statement: Expression, dialect: str) -> str:
    """The statement in a dialect, numbers being of double precision there."""
    found: str = statement.transform(_doubles(dialect), copy=False).sql(
        dialect=dialect, pretty=True
    )
    return found


def _nan() -> Expression:
    exp = sqlglot_module().exp
    found: Expression = exp.cast(exp.Literal.string("NaN"), "double")
    return found


def _doubles(dialect: str) -> Callable[[Expression], Expression]:
    """What makes numbers with an exponent doubles: they are in Spark, DuckDB and BigQuery. Postgres
    takes them for decimals that a double beside them makes doubles, so that they need a cast where
    they stand alone; Snowflake's are decimals of 37 places, from which small ones would lose
    digits."""
    exp = sqlglot_module().exp

    def of_double(node: Expression) -> Expression:
        if not isinstance(node, exp.Literal) or node.is_string or "e" not in node.this.lower():
            return node
        around = node.parent.parent if isinstance(node.parent, exp.Neg) else node.parent
        alone = isinstance(around, exp.If | exp.Case | exp.Coalesce)
        if dialect == "snowflake":
            return exp.cast(exp.Literal.string(node.this), "double")
        if dialect == "postgres" and alone:
            return exp.cast(node.copy(), "double")
        return node

    return of_double


# --- Spark's expressions elsewhere ----------------------------------------------------------


def of_spark(text: str, dialect: str, key: str) -> Expression:
    """An expression of Spark's, without a name, in another dialect. `key` names it in messages.

    Raises ConfigurationError for what is not known to mean the same there.
    """
    sqlglot = sqlglot_module()
    found: Expression
    if dialect == "spark":  # to the letter, as `transform` has it
        found = sqlglot.exp.Var(this=text)
        return found
    try:
        found = sqlglot.parse_one(text, read="spark")
    except sqlglot.errors.SqlglotError:
        raise ConfigurationError(f"{key}: sqlglot cannot read {shortened(text)!r}") from None

    def refuse(what: str) -> ConfigurationError:
        return ConfigurationError(
            f"{key} is made by {shortened(text)!r}: {what}, so that {dialect} could compute "
            "something else; make the column in the table, and take its expression out of "
            "inputExpressions"
        )

    return _Portable(dialect, refuse).written(found)


def shortened(text: str) -> str:
    """What is shown of an expression."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class _Portable:
    """Spark's expressions, node by node, as what means the same in another engine."""

    def __init__(self, dialect: str, refuse: Callable[[str], Exception]) -> None:
        self._dialect, self._refuse = dialect, refuse
        exp = self._exp = sqlglot_module().exp
        # Kept as they are, with what is in them.
        self._same = (
            exp.Null, exp.Boolean, exp.Literal, exp.Paren, exp.Neg, exp.Add, exp.Sub, exp.Mul,
            exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.And, exp.Or, exp.Not, exp.Is,
            exp.In, exp.Between, exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Upper, exp.Lower,
            exp.Abs, exp.Floor, exp.Ceil, exp.Sign, exp.UnixDate, exp.DateDiff, exp.TsOrDsToDate,
        )  # fmt: skip

    def written(self, node: Expression) -> Expression:
        exp = self._exp
        found: Expression
        if isinstance(node, exp.Column):
            if node.table or not isinstance(node.this, exp.Identifier):
                raise self._refuse("it reads a field of a column")
            return column(node.name, self._dialect)
        if isinstance(node, exp.Cast):
            return self._cast(node)
        if isinstance(node, exp.Anonymous) and node.name.lower() == "log1p":
            (inside,) = node.expressions
            return self._log(exp.Add(this=exp.Literal.number("1e0"), expression=exp.paren(inside)))
        if isinstance(node, exp.Ln):
            return self._log(node.this)
        if isinstance(node, exp.Log) and node.expression is not None:
            base = exp.Ln(this=self._double(node.this))
            return exp.paren(exp.Div(this=self._log(node.expression), expression=base))
        if isinstance(node, exp.Div):
            sides = node.this, node.expression
            if any(map(_is_decimal, sides)) and not any(map(_is_double, sides)):
                text = shortened(node.sql("spark"))
                raise self._refuse(
                    f"of whole numbers Spark rounds {text} to the places of a decimal (1.0D for "
                    "1.0 does not)"
                )
            divisor = self.written(node.expression)
            return exp.Div(
                this=self._double(node.this),
                expression=divisor
                if _is_some(divisor)
                else exp.Nullif(this=divisor, expression=exp.Literal.number("0")),
            )
        if isinstance(node, exp.Nanvl):
            return self._nanvl(node)
        if isinstance(node, exp.IsNan):
            value = self._double(node.this)
            if self._dialect == "bigquery":
                return exp.IsNan(this=value)
            return exp.paren(exp.EQ(this=value, expression=_nan()))
        if isinstance(node, exp.Exp):
            value = self._double(node.this)
            # Postgres refuses to compute what underflows.
            small = exp.LT(this=value, expression=exp.Literal.number("-700"))
            return _when(small, exp.Literal.number("0e0"), exp.Exp(this=value.copy()))
        if isinstance(node, exp.Sqrt):
            value = self._double(node.this)
            at_least = exp.GTE(this=value, expression=exp.Literal.number("0"))
            return _when(at_least, exp.Sqrt(this=value.copy()))
        if isinstance(node, exp.Pow):
            return self._power(node)
        if isinstance(node, exp.Trim) and not node.expression and not node.args.get("position"):
            # BigQuery's takes other white space away, too.
            blank = exp.Literal.string(" ") if self._dialect == "bigquery" else None
            return exp.Trim(this=self.written(node.this), expression=blank)
        if not isinstance(node, self._same):
            name = (
                node.name
                if isinstance(node, exp.Anonymous)
                else node.sql_name()
                if isinstance(node, exp.Func)
                else node.key
            )
            raise self._refuse(f"{name} is not known to be the same elsewhere")
        found = node.copy()
        for key, value in node.args.items():
            if isinstance(value, exp.Expression):
                found.set(key, self.written(value))
            elif isinstance(value, list):
                found.set(key, [self.written(each) for each in value])
        return found

    def _double(self, node: Expression) -> Expression:
        found: Expression = self._exp.cast(self.written(node), "double")
        return found

    def _log(self, inside: Expression) -> Expression:
        """Spark's logarithm is null where others fail."""
        exp, value = self._exp, self._double(inside)
        positive = exp.GT(this=value, expression=exp.Literal.number("0"))
        return _when(positive, exp.Ln(this=value.copy()))

    def _nanvl(self, node: Expression) -> Expression:
        exp, value = self._exp, self._double(node.this)
        other = node.expression
        inside = other.this if isinstance(other, exp.Cast) else other
        if isinstance(inside, exp.Null):
            return without_nan(value, self._dialect)
        found: Expression = exp.Coalesce(
            this=without_nan(value, self._dialect), expressions=[self._double(other)]
        )
        # A null stays one.
        return _when(exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null())), found)

    def _power(self, node: Expression) -> Expression:
        """A power that others refuse, of a number below 0 to a fraction or of 0 to one below 0, is
        null."""
        exp = self._exp
        base, exponent = self._double(node.this), node.expression
        literal = exponent.this if isinstance(exponent, exp.Cast | exp.Neg) else exponent
        if not isinstance(literal, exp.Literal) or literal.is_string:
            raise self._refuse("power has an exponent that is not a number written out")
        power = float(literal.this) * (-1 if isinstance(exponent, exp.Neg) else 1)
        raised = exp.Pow(this=base, expression=standard(f"{power!r}"))
        if power == int(power) and power >= 0:
            return raised
        kind = exp.NEQ if power == int(power) else exp.GTE if power > 0 else exp.GT
        return _when(kind(this=base.copy(), expression=exp.Literal.number("0")), raised)

    def _cast(self, node: Any) -> Expression:
        exp = self._exp
        kind, inside = node.to.this, node.this
        types = exp.DataType.Type
        if kind == types.DOUBLE and isinstance(inside, exp.Literal) and not inside.is_string:
            text = str(inside.this).lower()
            number: Expression = exp.Literal.number(text if "e" in text else f"{text}e0")
            return number
        if kind in (types.BIGINT, types.INT):
            if not (isinstance(inside, exp.Floor | exp.Ceil | exp.Literal) or _is_whole(node)):
                raise self._refuse(
                    "a cast to whole numbers cuts decimals off in Spark and rounds them elsewhere "
                    "(floor does not)"
                )
        elif kind not in (types.DOUBLE, types.TEXT, types.VARCHAR, types.DATE):
            raise self._refuse(f"a cast to {node.to.sql('spark')} is not known to be the same")
        found: Expression = node.copy()
        found.set("this", self.written(inside))
        return found


def _is_whole(node: Expression) -> bool:
    """Whether a cast stands where its operand is known to be whole: CASE WHEN x = floor(x) THEN."""
    exp = sqlglot_module().exp
    branch = node.find_ancestor(exp.If)
    if branch is None:
        return False
    floor = exp.EQ(this=node.this, expression=exp.Floor(this=node.this.copy()))
    text = floor.sql("spark")
    return any(each.sql("spark") == text for each in branch.this.find_all(exp.EQ))


def _is_decimal(node: Expression) -> bool:
    """Whether a number is made of decimals that are written out: 1.5 * (i + 2)."""
    exp = sqlglot_module().exp
    if isinstance(node, exp.Literal):
        return not node.is_string and "." in node.this and "e" not in node.this.lower()
    if isinstance(node, exp.Paren | exp.Neg | exp.Add | exp.Sub | exp.Mul | exp.Div):
        return any(map(_is_decimal, node.iter_expressions()))
    return False


def _is_double(node: Expression) -> bool:
    """Whether a number is known to be of double precision."""
    exp = sqlglot_module().exp
    if isinstance(node, exp.Cast):
        return bool(node.to.this == exp.DataType.Type.DOUBLE)
    return isinstance(node, exp.Ln | exp.Log | exp.Exp | exp.Sqrt | exp.Pow | exp.Nanvl)


def _is_some(node: Expression) -> bool:
    """Whether an expression is a number that is written out, other than 0."""
    exp = sqlglot_module().exp
    return isinstance(node, exp.Literal) and not node.is_string and float(node.this) != 0


def _when(
    condition: Expression, value: Expression, otherwise: Expression | None = None
) -> Expression:
    exp = sqlglot_module().exp
    found: Expression = exp.Case(ifs=[exp.If(this=condition, true=value)], default=otherwise)
    return found
