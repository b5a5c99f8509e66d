"""toSQL on DuckDB, without Spark: what it says of rows is what scoring says of them."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import sqlglot
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sqlglot import expressions as exp

from gmm_spark import GaussianMixtureModel
from gmm_spark.engine.dataframe import text_literal
from gmm_spark.engine.scoring import NOISE, SKIPPED, Scorer, Scores
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.spec import Spec
from gmm_spark.mixture.structures import STRUCTURES
from gmm_spark.prepare.skew import Transform
from gmm_spark.prepare.treatments import Number, number_sql, text_sql
from gmm_spark.sql_dialects import DIALECTS, of_spark, written
from gmm_spark.summary import summarise
from gmm_spark.training import fit_arrays
from tests.mixture.reference import random_parameters

NAMES = ["x", "y z", 'select "q"']
PLANS = ["basic", "it's \\ gold", "(other)"]
TYPES = {"float64": "DOUBLE", "Int64": "BIGINT", "object": "VARCHAR", "int64": "BIGINT"}


def on_duckdb(sql: str, table: pd.DataFrame) -> pd.DataFrame:
    """What a statement gives of a table called t, in the order of its ids."""
    with duckdb.connect() as connection:
        connection.register("given", table)
        kinds = [(name.replace('"', '""'), TYPES[str(table[name].dtype)]) for name in table]
        columns = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, kind in kinds)
        connection.execute(f"CREATE TABLE t AS SELECT {columns} FROM given")
        return connection.execute(sql).df().sort_values("id", ignore_index=True)


def mixture(code: str = "VVV", *, noise: float = 0.05, mixed: bool = True) -> Any:
    """A model of four components of three numbers, two categories and two counts."""
    rng = np.random.default_rng(5)
    parameters = random_parameters(code, 4, 3)
    more: dict[str, Any] = {}
    box = dict.fromkeys(NAMES, (-20.0, 20.0))
    if mixed:
        plans, flags = rng.dirichlet(np.ones(3), 4), rng.dirichlet(np.ones(2), 4)
        more |= {"categories": {"plan": (PLANS, plans), "flag": (["0", "1"], flags)}}
        more |= {"countCols": ["calls", "order"], "rates": rng.gamma(2, 5, (4, 2))}
        box |= {"calls": (0, 60), "order": (0, 90)}
    if noise:
        more |= {"noiseWeight": noise, "noiseBox": box}
    return GaussianMixtureModel.fromParameters(
        parameters.weights * (1 - noise),
        parameters.means,
        parameters.covariances,
        covarianceType=code,
        inputCols=NAMES,
        **more,
    )


def rows(n: int = 400, gaps: float = 0.15, *, mixed: bool = True) -> tuple[pd.DataFrame, Any]:
    """Rows of such a table, and as a block."""
    rng = np.random.default_rng(3)
    numbers = rng.normal(size=(3, n)) * 3
    numbers[:, :20] *= 30
    numbers[rng.random(numbers.shape) < gaps] = np.nan
    table = pd.DataFrame({"id": np.arange(n), **dict(zip(NAMES, numbers, strict=True))})
    if not mixed:
        return table, numbers
    plans = np.array([*PLANS[:2], "silver", "brass"], dtype=object)
    codes = np.array([[rng.integers(0, 4, n)], [rng.integers(0, 2, n)]])[:, 0].astype(float)
    counts = rng.poisson(9, (2, n)).astype(float)
    counts[0, :8] = [0, 1, 9, 10, 11, 1_000, 16_384, 1e6]
    for values in (codes, counts):
        values[rng.random(values.shape) < gaps] = np.nan
    table["plan"] = [None if np.isnan(code) else plans[int(code)] for code in codes[0]]
    table["flag"] = pd.array(codes[1], dtype="Int64")
    table["calls"], table["order"] = (pd.array(row, dtype="Int64") for row in counts)
    return table, np.stack([*numbers, np.minimum(codes[0], 2), codes[1], *counts])


ALL_GAPS = [
    [n for n, gone in zip(NAMES, each, strict=True) if gone] for each in product([0, 1], repeat=3)
]


def scores_of(model: Any, block: np.ndarray) -> Scores:
    return Scorer(model.parameters, model.getMissing()).score(block)


def assert_scored(found: pd.DataFrame, expected: Scores, k: int = 4, noise: bool = True) -> None:
    """All numbers are equal to 1e-9, and null where a row is skipped."""
    skipped = expected.prediction == SKIPPED
    names = [*map(str, range(k)), *(["noise"] if noise else [])]
    probability = found[[f"probability_{name}" for name in names]].to_numpy(float, na_value=np.nan)
    log_density = found["log_density"].to_numpy(float, na_value=np.nan)
    assert_allclose(probability.T, expected.probability, rtol=0, atol=1e-9)
    assert_allclose(log_density, expected.log_density, rtol=1e-9, atol=1e-9)
    prediction = found["prediction"].astype("Int64")
    assert_array_equal(prediction.isna(), skipped)
    assert_array_equal(prediction[~skipped], expected.prediction[~skipped])


# --- equal to scoring -----------------------------------------------------------------------


@pytest.mark.parametrize("code", STRUCTURES)
def test_every_structure_with_categories_counts_noise_and_gaps(code) -> None:
    model, (table, block) = mixture(code).setMissing("marginalize"), rows()
    found = on_duckdb(model.toSQL("duckdb", "t", patterns=ALL_GAPS), table)
    expected = scores_of(model, block)
    assert list(found.columns[: len(table.columns)]) == list(table.columns)
    assert NOISE in expected.prediction
    assert_scored(found, expected)


@pytest.mark.parametrize("code", ["VVV", "VVI"])
@pytest.mark.parametrize("missing", ["skip", "error"])
def test_gaps_that_are_not_integrated_out_have_nulls(code, missing) -> None:
    model, (table, block) = mixture(code), rows()
    found = on_duckdb(model.setMissing(missing).toSQL("duckdb", "t", keep="id"), table)
    assert_scored(found, scores_of(model.setMissing("skip"), block))


def test_of_other_patterns_of_gaps_all_is_null() -> None:
    model, (table, block) = mixture(noise=0.0).setMissing("marginalize"), rows()
    found = on_duckdb(model.toSQL("duckdb", "t", patterns=[["x"], [NAMES[2], "x"]]), table)
    gaps = np.isnan(block[:3])
    scored = ~gaps[1] & (gaps[0] | ~gaps[2])
    expected = scores_of(model, block[:, scored])
    assert_scored(found[scored], expected, noise=False)
    outputs = found.loc[~scored, "prediction":]
    assert len(outputs) > 50
    assert outputs.isna().all(axis=None)


def test_values_that_scoring_refuses_have_nulls() -> None:
    model = mixture().setMissing("marginalize")
    table, _ = rows(12, 0.0)
    table.loc[[0, 1, 2], "x"] = [np.inf, -np.inf, 1e151]
    table["calls"] = np.where(table["id"] == 3, 2.5, table["calls"].astype(float))
    table.loc[[4, 5], "calls"] = [-1.0, 2.0**53]
    found = on_duckdb(model.toSQL("duckdb", "t"), table)
    assert_array_equal(found["log_density"].isna(), table["id"] < 6)


def test_clusters_of_components_outliers_and_uncertainty() -> None:
    model = mixture("VEV").mergeComponents(None, 2, "bhattacharyya").setMissing("marginalize")
    assert max(map(len, model.clusters)) > 1
    model.setOutlierThreshold(-18.0).setUncertaintyCol("doubt").setLogLikelihoodCol("density")
    model.setProbabilityCol("p")
    table, block = rows()
    found = on_duckdb(model.toSQL("duckdb", "t", keep=["id"], patterns=ALL_GAPS), table)
    by_component = scores_of(model, block)
    expected = by_component.of_clusters(model.clusters)
    outputs = ["prediction", "p_0", "p_1", "p_noise", "density", "doubt", "outlier", "component"]
    assert list(found.columns) == ["id", *outputs]
    renamed = found.rename(columns=lambda name: name.replace("p_", "probability_"))
    assert_scored(renamed.rename(columns={"density": "log_density"}), expected, 2)
    assert_allclose(found["doubt"], expected.uncertainty, rtol=1e-9, atol=1e-12)
    assert_array_equal(found["outlier"], expected.log_density < -18)
    assert 0 < found["outlier"].sum() < len(found)
    component = by_component.component_within(expected.prediction, model.clusters)
    assert_array_equal(found["component"], component)
    assert len(set(component)) > 3


def test_one_component_and_outputs_that_are_left_out() -> None:
    model = GaussianMixtureModel.fromParameters([1.0], [[1.0]], [[[4.0]]], inputCols=["x"])
    model.setPredictionCol("").setProbabilityCol("").setOutlierThreshold(-np.inf)
    table = pd.DataFrame({"id": [0, 1], "x": [1.0, 5.0]})
    found = on_duckdb(model.toSQL("duckdb", "t", keep=["id"]), table)
    assert list(found.columns) == ["id", "log_density", "outlier"]
    assert_allclose(found["log_density"], stats.norm(1, 2).logpdf([1, 5]), rtol=1e-12)
    assert not found["outlier"].any()


def test_categories_and_counts_alone_impossible_values_among_them() -> None:
    model = GaussianMixtureModel.fromParameters(
        [0.6, 0.4, 0.0],
        categories={"plan": (["a", "b"], [[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])},
        countCols=["n"],
        rates=[[3.0], [0.0], [1.0]],
    )
    table = pd.DataFrame({"id": range(4), "plan": ["a", "b", "a", "c"], "n": [0, 0, 2, 1]})
    found = on_duckdb(model.toSQL("duckdb", "t"), table)
    block = np.array([[0, 1, 0, np.nan], [0, 0, 2, 1]])
    assert_scored(found, scores_of(model.setMissing("skip"), block), 3, noise=False)
    assert_allclose(found["probability_1"][:3], [0.2 / (0.2 + 0.6 * np.exp(-3)), 1, 0], atol=1e-12)


def test_narrow_components_far_from_zero_keep_their_digits() -> None:
    """Against exact arithmetic: deviations are whole multiples of a power of 2."""
    step, base = 2.0**-20, 2.0**20
    model = GaussianMixtureModel.fromParameters(
        [0.5, 0.5],
        [[base], [base + 8 * step]],
        [[[9 * step**2]], [[49 * step**2]]],
        inputCols=["x"],
    )
    places = np.array([-3, 0, 1, 4, 8, 20])
    table = pd.DataFrame({"id": range(6), "x": base + places * step})
    found = on_duckdb(model.toSQL("duckdb", "t"), table)
    joint = np.stack([stats.norm(0, 3).logpdf(places), stats.norm(8, 7).logpdf(places)])
    expected = np.logaddexp.reduce(joint + np.log(0.5)) - np.log(step)
    assert_allclose(found["log_density"], expected, rtol=1e-12)


def test_nothing_overflows_and_squares_of_next_to_nothing_are_nothing() -> None:
    model = GaussianMixtureModel.fromParameters(
        [0.5, 0.5], [[0.0], [1.0]], [[[1.0]], [[1.0]]], inputCols=["x"]
    )
    model.setOutlierThreshold(-30.0)
    x = np.array([0.0, 1e-300, -5e-324, 60.0, 1e5, -1e50])
    found = on_duckdb(model.toSQL("duckdb", "t"), pd.DataFrame({"id": range(6), "x": x}))
    assert_scored(found[:5], scores_of(model, x[None, :5]), 2, noise=False)
    # There a thousand times the difference of the two is lost to rounding.
    assert found["prediction"].isna().tolist() == [False] * 5 + [True]
    assert np.isnan(found["probability_0"][5])
    assert_allclose(found["log_density"][5], -5e99, rtol=1e-12)
    assert found["outlier"].tolist() == [False, False, False, True, True, True]
    statement = sqlglot.parse_one(model.toSQL("postgres", "t"), dialect="postgres")
    # Of -5e-324 the square would be an error in Postgres; so would exp(-800).
    assert "< 1e-60 THEN CAST(0e0 AS DOUBLE PRECISION)" in statement.sql("postgres")
    assert statement.sql("postgres").count("< -700e0") == 2


# --- what is written ------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_is_sql_of_every_dialect_and_its_numbers_are_doubles(dialect) -> None:
    model = mixture().setMissing("marginalize").setOutlierThreshold(-9.0)
    found = model.toSQL(dialect, "a.t", keep=["id"], patterns=[["x"]])
    statement = sqlglot.parse_one(found, dialect=dialect)
    assert isinstance(statement, exp.Select)
    names = [each.alias.lower() for each in statement.selects]
    probabilities = [f"probability_{name}" for name in (0, 1, 2, 3, "noise")]
    assert names == ["id", "prediction", *probabilities, "log_density", "outlier"]
    numbers = [each for each in statement.find_all(exp.Literal) if not each.is_string]
    bare = [each for each in numbers if not each.this.isdigit()]
    assert all("e" in each.this for each in bare)
    if dialect == "snowflake":
        assert not bare
    if dialect == "postgres":
        for each in bare:
            around = each.parent.parent if isinstance(each.parent, exp.Neg) else each.parent
            assert not isinstance(around, exp.If | exp.Case | exp.Coalesce)
        steps = [each for each in statement.find_all(exp.Select) if each is not statement]
        assert len(steps) > 5
        assert all(each.args["offset"] is not None for each in steps)


def test_names_are_those_of_the_table_in_every_dialect() -> None:
    model = GaussianMixtureModel.fromParameters(
        [1.0], [[0.0, 0.0, 0.0]], [np.eye(3)], inputCols=["order", 'it "is"', "Big"]
    )

    def read(dialect: str, table: str) -> tuple[str, set[str]]:
        found = model.toSQL(dialect, table, keep=["customer id"])
        statement = sqlglot.parse_one(found, dialect=dialect)
        columns = {each.name for each in statement.find_all(exp.Column)}
        source = next(t for t in statement.find_all(exp.Table) if t.alias.lower() == "gmm_table")
        source.set("alias", None)
        return source.sql(dialect), {name for name in columns if not name.startswith("gmm_")}

    own = {"order", 'it "is"', "Big", "customer id"}
    assert read("spark", "db.`my table`") == ("db.`my table`", own)
    assert read("duckdb", 'db."my table"') == ('db."my table"', own)
    assert read("postgres", "t") == ("t", own)
    assert read("bigquery", "`my-project.db.t`")[1] == own
    # There plain names are in upper case, unless they were quoted when they were made.
    assert read("snowflake", "db.t") == ("db.t", own - {"order"} | {"ORDER"})


def test_all_columns_go_along_in_every_dialect() -> None:
    model = mixture(mixed=False)
    ends = {
        dialect: model.toSQL(dialect, "t").split("gmm_joint4 = gmm_largest")[-1]
        for dialect in DIALECTS
    }
    for dialect, word in (("spark", "EXCEPT"), ("bigquery", "EXCEPT"), ("snowflake", "EXCLUDE")):
        assert word in ends[dialect]
    assert "(\n    gmm_row\n  ).*" in ends["postgres"] or "(gmm_row).*" in ends["postgres"]


def twenty_columns() -> tuple[Any, list[str], np.ndarray]:
    """A model of eight components, and rows."""
    parameters = random_parameters("VVV", 8, 20)
    names = [f"c{j}" for j in range(20)]
    model = GaussianMixtureModel.fromParameters(
        parameters.weights, parameters.means, parameters.covariances, inputCols=names
    )
    return model, names, np.random.default_rng(1).normal(size=(20, 200)) * 3


def test_patterns_of_gaps_share_what_is_before_their_first_gap() -> None:
    model, names, block = twenty_columns()
    patterns = [list(each) for n in (1, 2) for each in combinations(("c3", "c12", "c18"), n)]
    for row in range(200):
        for name in patterns[row % 6] if row % 3 else []:
            block[names.index(name), row] = np.nan
    model.setMissing("marginalize")
    table = pd.DataFrame({"id": range(200), **dict(zip(names, block, strict=True))})
    sql = model.toSQL("duckdb", "t", keep=["id"], patterns=patterns)
    assert_scored(on_duckdb(sql, table), scores_of(model, block), 8, noise=False)
    # Each of the seven by itself takes 70,000 bytes.
    assert len(sql) < 115_000


def test_twenty_columns_and_eight_segments() -> None:
    model, names, block = twenty_columns()
    table = pd.DataFrame({"id": range(200), **dict(zip(names, block, strict=True))})
    sql = model.toSQL("duckdb", "t", keep=["id"])
    assert_scored(on_duckdb(sql, table), scores_of(model, block), 8, noise=False)
    assert 75_000 < len(sql) < 85_000  # as docs/sql.md says
    with pytest.raises(ConfigurationError, match=r"takes [\d,]+ bytes, and maxLength is 80,000"):
        model.toSQL("snowflake", "t", maxLength=80_000)
    model.setMissing("marginalize")
    many = [[one, other] for one in names for other in names if one < other]
    with pytest.raises(ConfigurationError, match="fewer patterns of gaps, 191 now, by maxPatterns"):
        model.toSQL("duckdb", "t", patterns=many)


# --- preparation ----------------------------------------------------------------------------

VALUES = [None, -3.0, 0.0, 0.25, 1.0, 2.0, 900.0, float("nan")]
EXPRESSIONS = {
    "log1p(v)": lambda v: np.log1p(v) if v > -1 else None,
    "ln(v)": lambda v: np.log(v) if v > 0 else None,
    "log10(v + 1)": lambda v: np.log10(v + 1) if v > -1 else None,
    "sqrt(v)": lambda v: np.sqrt(v) if v >= 0 else None,
    "exp(-v)": lambda v: np.exp(-v),
    "exp(-1000 * v)": lambda v: np.exp(-1000 * v) if v >= 0 else None,
    "power(v, 1.5D)": lambda v: v**1.5 if v >= 0 else None,
    "power(v, 2)": lambda v: v**2,
    "power(v, -1)": lambda v: 1 / v if v else None,
    "ln(exp(v / 12.0D)) / 2.5": lambda v: v / 12 / 2.5,
    "v / 4": lambda v: v / 4,
    "1 / v": lambda v: 1 / v if v else None,
    "CASE WHEN v BETWEEN 0 AND 2 THEN abs(-v) ELSE floor(v) END": lambda v: (
        float(np.floor(v)) if not 0 <= v <= 2 else v
    ),
    "if(v > 1, 1.0D, -1.0D)": lambda v: 1.0 if v > 1 else -1.0,
    "nanvl(v, 7)": lambda v: v,
    "CASE WHEN v = floor(v) THEN CAST(v AS BIGINT) ELSE -1 END": lambda v: v if v == int(v) else -1,
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_what_spark_computes_of_a_number_duckdb_does(text) -> None:
    table = pd.DataFrame({"id": range(len(VALUES)), "v": pd.array(VALUES, dtype=float)})
    if text == "exp(-1000 * v)":
        table.loc[table["v"] < 0, "v"] = 0.0  # infinite
    column = exp.cast(of_spark(text, "duckdb", "a"), "double")
    query = exp.select(exp.column("id"), column.as_("a")).from_("t")
    found = on_duckdb(written(query, "duckdb"), table)["a"].to_numpy(float, na_value=np.nan)
    known = {"if(v > 1, 1.0D, -1.0D)": -1.0, "nanvl(v, 7)": 7.0}
    expected = [EXPRESSIONS[text](v) if v == v else None for v in table["v"].to_numpy(float)]
    expected[-1] = known.get(text) if text.startswith("nanvl") else expected[-1]
    assert_allclose(found[1:-1], np.array(expected[1:-1], dtype=float), rtol=1e-14)


@pytest.mark.parametrize(
    "transform",
    [Transform(), Transform("log", shift=2.0), Transform("yeo-johnson", power=0.3, scale=2.0)],
)
def test_what_a_preparation_does_to_a_number(transform) -> None:
    one = Number(transform, -1.5, 40.0, 0.3, 2.5, 0)
    column = exp.cast(of_spark(one.sql(number_sql("v")), "duckdb", "a"), "double")
    texts = ["-7", "-1", "0", "2.5", " 12 ", "900", "x", None]
    table = pd.DataFrame({"id": range(8), "v": pd.Series(texts, dtype=object)})
    query = exp.select(exp.column("id"), column.as_("a")).from_("t")
    found = on_duckdb(written(query, "duckdb"), table)["a"].to_numpy(float, na_value=np.nan)
    expected = one(np.array([-7, -1, 0, 2.5, 12, 900, np.nan, np.nan]))
    assert_allclose(found, expected, rtol=1e-12)


def test_a_prepared_category_and_a_prepared_number_are_scored() -> None:
    model = GaussianMixtureModel.fromParameters(
        [0.5, 0.5],
        [[0.0], [3.0]],
        [[[1.0]], [[1.0]]],
        inputCols=["log_total"],
        categories={"plan_prepared": (["it's \\ gold", "(other)"], [[0.9, 0.1], [0.2, 0.8]])},
    )
    gold = text_literal("it's \\ gold")
    plan = text_sql("plan")
    sql = f"CASE WHEN {plan} IN ({gold}) THEN {plan} WHEN {plan} IS NOT NULL THEN '(other)' END"
    model.setInputExpressions(
        ["log1p(total) as log_total", f"{sql} as plan_prepared", "1 as unused"]
    )
    table = pd.DataFrame(
        {"id": range(4), "total": [0.0, 20.0, 5.0, 1.0], "plan": [" it's \\ gold", "x", "", "y"]}
    )
    found = on_duckdb(model.toSQL("duckdb", "t", keep="id"), table)
    block = np.array([np.log1p(table["total"]), [0, 1, np.nan, 1]])
    assert_scored(found, scores_of(model.setMissing("skip"), block), 2, noise=False)
    # In Spark they stand to the letter.
    assert f"CAST({sql} AS STRING)" in " ".join(model.toSQL("spark", "t").split())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("soundex(v)", "SOUNDEX is not known to be the same elsewhere"),
        ("my_function(v)", "my_function is not known"),
        ("CAST(v AS INT)", r"cuts decimals off in Spark and rounds them elsewhere"),
        ("CAST(v AS DECIMAL(3, 1))", r"a cast to DECIMAL\(3, 1\) is not known"),
        ("round(v, 1)", "ROUND is not known"),
        ("greatest(v, w)", "GREATEST is not known"),
        ("power(2, v)", "an exponent that is not a number written out"),
        ("v / 12.0", r"Spark rounds v / 12\.0 to the places of a decimal"),
        ("(v * 0.5) / 7", "to the places of a decimal"),
        ("a.v", "reads a field of a column"),
        ("v +* 2", "sqlglot cannot read 'v [+][*] 2'"),
        ("log(2, v) + rand()", "RAND is not known"),
    ],
)
@pytest.mark.parametrize("dialect", ["duckdb", "snowflake"])
def test_what_is_not_known_to_mean_the_same_is_refused(text, said, dialect) -> None:
    model = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]], inputCols=["a"])
    model.setInputExpressions([f"{text} as a"])
    with pytest.raises(ConfigurationError, match=rf"column 'a'.*{said}"):
        model.toSQL(dialect, "t")
    assert text in model.toSQL("spark", "t")


# --- bad input ------------------------------------------------------------------------------


def test_bad_input_is_one_clear_error(monkeypatch) -> None:
    model = mixture().setMissing("marginalize")
    for wrong, said in [
        ({"dialect": "oracle"}, "'oracle' is not known; use spark, duckdb, postgres, bigquery or"),
        ({"table": " "}, "' ' is no name; name the table as a FROM does"),
        ({"table": None}, "None is no name"),
        ({"table": "t; drop table u"}, "is no name of a table in duckdb"),
        ({"table": "(SELECT 1)"}, "is no name of a table"),
        ({"table": "a b"}, "is no name of a table"),
        ({"keep": ["id", "id"]}, "keep is .* each once"),
        ({"keep": 3}, "keep: expected the name of a column, or a list of names; this is 3"),
        ({"keep": ["prediction"]}, "prediction exist already"),
        ({"patterns": [["age"]]}, r"\['age'\] is no list of inputCols; .* among x, y z"),
        ({"patterns": ["x"]}, "'x' is no list of inputCols"),
        ({"patterns": [1]}, "1 is no list of inputCols"),
        ({"patterns": 2}, "patterns: 2 is no list of inputCols"),
        ({"maxPatterns": -1}, "maxPatterns is -1"),
        ({"maxLength": 2.5}, "maxLength is 2.5"),
        ({"maxLength": 500}, "maxLength is 500"),
    ]:
        asked = {"dialect": "duckdb", "table": "t", **wrong}
        with pytest.raises(ConfigurationError, match=said):
            model.toSQL(**asked)
    with pytest.raises(ConfigurationError, match="this model has no parameters"):
        GaussianMixtureModel().toSQL("duckdb", "t")
    vector = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]])
    with pytest.raises(ConfigurationError, match=r"in the vector column 'features': name its"):
        vector.toSQL("duckdb", "t")
    assert "x" in vector.setInputCols(["x"]).toSQL("duckdb", "t")
    with pytest.raises(ConfigurationError, match=r"inputCols names 2 columns, the model .* on 1"):
        vector.setInputCols(["x", "y"]).toSQL("duckdb", "t")
    monkeypatch.setitem(sys.modules, "sqlglot", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'gmm_spark\[sql\]'"):
        model.toSQL("duckdb", "t")


# --- patterns met in a fit ------------------------------------------------------------------


def test_a_fit_knows_which_columns_have_gaps_together() -> None:
    rng = np.random.default_rng(2)
    block = np.concatenate([rng.normal(size=(3, 100)), rng.normal(size=(3, 100)) + 6], axis=1)
    block[1, :30] = block[2, :30] = block[0, 50:60] = np.nan
    fit = fit_arrays(block, Spec(k=2, missing="marginalize", num_init=2), names=["x", "y", "z"])
    summary = summarise(
        fit.fit,
        fit.scan,
        fit.columns,
        fit.order,
        fit.roles,
        notes=fit.notes,
        opening=fit.opening,
        path=fit.path,
    )
    assert summary.gapPatterns == [
        {"columns": ["y", "z"], "share": 0.15},
        {"columns": ["x"], "share": 0.05},
    ]
    model = GaussianMixtureModel(fit.parameters, summary)
    model._set(inputCols=["x", "y", "z"], missing="marginalize")
    older = GaussianMixtureModel(fit.parameters, replace(summary, gapPatterns=[]))
    older._set(inputCols=["x", "y", "z"], missing="marginalize")
    with pytest.raises(ConfigurationError, match="does not know which columns have gaps together"):
        older.toSQL("duckdb", "t")
    assert older.toSQL("duckdb", "t", patterns=[["x"]]) == model.toSQL(
        "duckdb", "t", patterns=[["x"]]
    )
    table = pd.DataFrame({"id": range(200), **dict(zip("xyz", block, strict=True))})
    found = on_duckdb(model.toSQL("duckdb", "t"), table)
    assert_scored(found, scores_of(model, block), 2, noise=False)
    fewer = on_duckdb(model.toSQL("duckdb", "t", maxPatterns=1), table)
    assert_array_equal(fewer["log_density"].isna(), np.isnan(block[0]))


def test_the_example_of_the_page_runs(capsys) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "sql.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(code, "docs/sql.md", "exec"), {})
    shown = capsys.readouterr().out.split()
    assert shown[:5] == ["id", "prediction", "probability_0", "probability_1", "log_density"]
    assert [shown[6:8], shown[12:14]] == [["1", "0"], ["2", "1"]]
