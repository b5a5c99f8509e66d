"""SQL expressions in the jobs: kept with the model, computed again to score, traced on failure."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from gmm_spark import GaussianMixtureModel
from gmm_spark.cli import score, train
from gmm_spark.errors import InputDataError
from gmm_spark.expressions import shown_expression
from tests.cli.conftest import manifest

NUMBER = "spend * 2 as double_spend"
CATEGORY = "upper(month) as period"
COUNT = "cast(segment as int) as calls"


@pytest.fixture(scope="module")
def trained(spark, lake, tmp_path_factory) -> Path:
    """A model of a column and of an expression of each kind."""
    output = tmp_path_factory.mktemp("expressions") / "out"
    argv = [
        "--input.path", lake / "customers", "--columns", f'["{NUMBER}", "visits"]',
        "--categorical_columns", CATEGORY, "--count_columns", COUNT,
        "--weight_column", "if(visits is null, 0, 1) as one", "--k", 3, "--num_init", 1,
        "--seed", 1, "--output", output,
    ]  # fmt: skip
    assert train.main([str(word) for word in argv]) == 0
    return output / "model"


def scored(call, model, output, *more, table) -> object:
    return call(score.main, "--input.table", table, "--model", model, "--output", output, *more)


@pytest.fixture
def view(spark, lake):
    frame = spark.read.parquet(str(lake / "customers"))

    def made(name: str, *columns: str) -> str:
        frame.selectExpr(*columns).createOrReplaceTempView(name)
        return name

    return made


def rows(output: Path) -> dict[str, np.ndarray]:
    found = pq.read_table(output / "scores").to_pandas().sort_values("customer_id")
    return {name: found[name].to_numpy() for name in found}


def test_the_model_keeps_the_expressions_and_kinds_it_was_trained_on(trained) -> None:
    model = GaussianMixtureModel.load(str(trained))
    assert model.getInputExpressions() == [NUMBER, CATEGORY, COUNT]
    assert model.getInputCols() == ["double_spend", "visits"]
    assert list(model.categories) == ["period"]
    assert model.getCountCols() == ["calls"]
    assert model.getWeightCol() == "one"
    assert model.copy().getInputExpressions() == model.getInputExpressions()
    kept = pickle.loads(pickle.dumps(model.extractParamMap()))
    assert model.getInputExpressions() in kept.values()


def test_scoring_needs_no_repeat(call, lake, trained, tmp_path) -> None:
    argv = ["--input.path", lake / "customers", "--model", trained, "--output", tmp_path / "out"]
    ended = call(score.main, *argv)
    assert (ended.code, ended.problem) == (0, "")
    found = rows(tmp_path / "out")
    np.testing.assert_array_equal(found["double_spend"], 2 * found["spend"])
    np.testing.assert_array_equal(found["calls"], found["segment"])
    np.testing.assert_array_equal(found["prediction"], found["segment"])
    assert manifest(tmp_path / "out")["expressions"] == [NUMBER, CATEGORY, COUNT]


def test_columns_that_are_given_win_and_the_others_may_read_them(
    call, view, trained, tmp_path
) -> None:
    table = view("renamed", "customer_id", "spend as outlay", "visits", "month", "segment")
    columns = ["--columns", '["outlay as spend", "upper(month) || \'\' as period"]']
    ended = scored(call, trained, tmp_path / "out", *columns, table=table)
    assert (ended.code, ended.problem) == (0, "")
    found = rows(tmp_path / "out")
    np.testing.assert_array_equal(found["double_spend"], 2 * found["outlay"])
    np.testing.assert_array_equal(found["prediction"], found["segment"])

    wins = ["--columns", '["0.5 * outlay as double_spend", "outlay as spend"]']
    assert scored(call, trained, tmp_path / "wins", *wins, table=table).code == 0
    found = rows(tmp_path / "wins")
    np.testing.assert_array_equal(found["double_spend"], 0.5 * found["outlay"])


def test_a_column_of_that_name_is_taken_where_it_cannot_be_computed(
    call, view, trained, tmp_path
) -> None:
    others = "customer_id", "visits", "month", "segment"
    table = view("computed", *others, "spend * 2 as double_spend")
    ended = scored(call, trained, tmp_path / "out", table=table)
    assert ended.code == 0
    assert "double_spend is taken as it stands" in ended.err
    found = rows(tmp_path / "out")
    np.testing.assert_array_equal(found["prediction"], found["segment"])

    # Where it can be computed it is, as in the training, unless the settings name the column.
    table = view("both", *others, "spend", "spend - 1000 as double_spend")
    assert scored(call, trained, tmp_path / "both", table=table).code == 0
    found = rows(tmp_path / "both")
    np.testing.assert_array_equal(found["double_spend"], 2 * found["spend"])
    plain = ["--columns", "double_spend"]
    assert scored(call, trained, tmp_path / "plain", *plain, table=table).code == 0
    found = rows(tmp_path / "plain")
    np.testing.assert_array_equal(found["double_spend"], found["spend"] - 1000)

    ended = scored(call, trained, tmp_path / "no", table=view("fewer", *others))
    assert ended.code == 3
    assert ended.problem == (
        f"input: the model was trained on {NUMBER!r}: the table has no column 'spend'; "
        "columns may say it in another way"
    )


def test_the_library_names_the_expression_of_a_column_that_is_not_there(spark, tmp_path) -> None:
    model = GaussianMixtureModel.fromParameters(
        [1.0], [[0.0]], [[[1.0]]], inputCols=["log_total"]
    ).setInputExpressions(["log1p(total) as log_total"])
    model.save(str(tmp_path / "m"))
    frame = spark.createDataFrame([(1.0,)], ["total"])
    for one in (model, model.copy(), GaussianMixtureModel.load(str(tmp_path / "m"))):
        with pytest.raises(InputDataError, match=r"'log_total' .* 'log1p\(total\) as log_total'"):
            one.transform(frame)
        with pytest.raises(InputDataError, match=r"'log1p\(total\) as log_total'"):
            one.impute(frame)
    made = frame.selectExpr("*", *model.getInputExpressions())
    assert model.transform(made).first()["prediction"] == 0
    vector = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]], featuresCol="v")
    with pytest.raises(InputDataError, match=r"array\(total\) as v"):
        vector.setInputExpressions(["array(total) as v"]).transform(frame)


@pytest.fixture(scope="module")
def dirty(spark) -> str:
    """60 rows: text of which 7 are no numbers, a zero in 4 of b, an array too short in 12."""
    frame = spark.range(60).selectExpr(
        "id", "double(id % 13) as a", "int(id % 15) as b",
        "if(id < 7, ' ', string(id / 7.0 + 1)) as t",
        "if(id % 5 = 0, array(1), array(1, id)) as r",
    )  # fmt: skip
    frame.repartition(2).createOrReplaceTempView("dirty")
    return "dirty"


FAILS = [
    ("columns", "log(t) as x", 7, "try_cast(... as double)"),
    ("columns", "coalesce(cast(t as decimal(9,2)), 0) as x", 7, "try_cast(... as decimal"),
    ("columns", "1 / b as x", 4, "try_divide"),
    ("columns", "r[1] as x", 12, "get()"),
    ("columns", "element_at(r, 2) as x", 12, "try_element_at"),
    ("columns", "cast('x' as int) as x", 60, "try_cast(... as int)"),
    ("categorical_columns", "cast(t as boolean) as x", 60, "try_cast(... as boolean)"),
    ("count_columns", "cast(id * 3 as tinyint) as x", 17, "try_cast(... as tinyint)"),
    ("weight_column", "if(id = 3, raise_error('three'), 1) as x", 1, ""),
]


@pytest.mark.parametrize(("key", "text", "failing", "advice"), FAILS)
def test_a_value_that_cannot_be_computed_is_3_in_one_line(
    call, dirty, tmp_path, key, text, failing, advice
) -> None:
    columns = f'["{text}", "a"]' if key == "columns" else "a"
    argv = ["--input.table", dirty, "--columns", columns, "--output", tmp_path / "out"]
    if key != "columns":
        argv += [f"--{key}", text if key == "weight_column" else f'["{text}"]']
    ended = call(train.main, *argv)
    assert ended.code == 3
    assert ended.problem.count("\n") == 0
    assert ended.problem.startswith(f"input: {key}: {text!r} fails in {failing} of 60 rows: ")
    assert advice in ended.problem
    assert "Traceback" not in ended.err
    assert manifest(tmp_path / "out")["reason"] == ended.problem


def test_a_filter_that_cannot_be_evaluated_is_3_in_one_line(call, dirty, tmp_path) -> None:
    filters = ["--input.filters", '[["id", "<", 50], ["t", ">", 2.5]]']
    argv = ["--input.table", dirty, "--columns", "a,b", "--output", tmp_path / "out"]
    ended = call(train.main, *argv, *filters)
    assert ended.code == 3
    assert ended.problem.startswith("input: input.filters: 't > 2.5' fails in 7 of 60 rows: ")
    # Of the rows that the filters leave alone is an expression's failure counted.
    fewer = ["--columns", "1 / b as x", "--input.filters", '[["id", "<", 10]]']
    ended = call(train.main, *argv[:2], *fewer, *argv[4:])
    assert ended.problem.startswith("input: columns: '1 / b as x' fails in 1 of 10 rows: ")


def test_a_value_that_cannot_be_computed_in_scoring(call, dirty, tmp_path) -> None:
    model = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]], inputCols=["x"])
    model.setInputExpressions(["log(t) as x"]).save(str(tmp_path / "model"))
    argv = ["--input.table", dirty, "--model", tmp_path / "model", "--output"]
    ended = call(score.main, *argv, tmp_path / "out")
    assert ended.code == 3
    assert ended.problem.startswith("input: model: 'log(t) as x' fails in 7 of 60 rows: ")
    ended = call(score.main, *argv, tmp_path / "given", "--columns", "a / b as x")
    assert ended.problem.startswith("input: columns: 'a / b as x' fails in 4 of 60 rows: ")
    assert sorted(path.name for path in (tmp_path / "given").iterdir()) == [
        "log.txt",
        "manifest.json",
    ]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ('["log1p(spnd) as v"]', "'log1p(spnd) as v'; the table has no column 'spnd'; did you "
         "mean 'spend'?"),
        ('["logp1(spend) as v"]', "'logp1(spend) as v'; Spark has no function 'logp1'; did you "
         "mean 'log1p'?"),
        ('["spend 2 3 as v"]', "'spend 2 3 as v'; it is no SQL expression: "),
        ('["sum(spend) as v"]', "'sum(spend) as v'; "),
        ('["sqrt(month, 2) as v"]', "'sqrt(month, 2) as v'; "),
        ('["log1p(spend)"]', "'log1p(spend)', which is no column of the table; an expression "
         "needs a name, as in 'log1p(spend) as a_name'"),
        ('["spend as v", "visits as v"]', "two expressions of one name, 'spend as v' and 'visits "
         "as v'; expected a name each"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("job", ["train", "score"])
def test_an_expression_that_cannot_be_read_is_2_in_one_line(
    call, lake, model, tmp_path, job, columns, expected
) -> None:
    argv = ["--input.path", lake / "customers", "--columns", columns, "--output", tmp_path / "o"]
    main = train.main if job == "train" else score.main
    ended = call(main, *argv, *(["--model", model] if job == "score" else []))
    assert ended.code == 2
    assert ended.problem.startswith(f"configuration: columns: found {expected}")
    assert ended.problem.count("\n") == 0


def test_a_value_that_nothing_of_ours_computes(call, spark, lake, tmp_path) -> None:
    """The query behind a view, for instance."""
    frame = spark.read.parquet(str(lake / "customers"))
    frame.withColumn("spend", F.expr("cast(name as double)")).createOrReplaceTempView("behind")
    argv = ["--input.table", "behind", "--columns", "spend,visits", "--output", tmp_path / "out"]
    ended = call(train.main, *argv)
    assert ended.code == 3
    assert ended.problem.startswith("input: table behind: The value 'customer ")
    assert ended.problem.count("\n") == 0


def test_of_a_long_expression_an_error_has_the_name() -> None:
    """As those of a preparation are, of hundreds of characters."""
    assert shown_expression("a + 1 as b") == "'a + 1 as b'"
    long = f"case when {' + '.join(['tenure'] * 30)} is null then null end as `tenure_prepared`"
    assert shown_expression(long).startswith("'tenure_prepared', made by SQL that model.get")
