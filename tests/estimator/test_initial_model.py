"""A fit from a model: columns, levels and counts are found by name, components keep numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gmm_spark import GaussianMixture, GaussianMixtureModel
from gmm_spark.engine.blocks import Roles
from gmm_spark.errors import ConfigurationError
from gmm_spark.initial_model import check_columns, matched
from gmm_spark.mixture.families import Categorical, Category, Count, FamilyColumns
from tests.estimator.helpers import table

ABC = ["a", "b", "c"]
MEANS = [[1.0, 20.0, 300.0], [4.0, 50.0, 600.0]]
SPREAD: dict[str, Any] = {
    "VVV": [np.diag([1.0, 2.0, 3.0]) + 0.1, np.diag([4.0, 5.0, 6.0]) + 0.2],
    "EEE": np.diag([1.0, 2.0, 3.0]) + 0.1,
    "VVI": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
    "EEI": [1.0, 2.0, 3.0],
    "VII": [1.0, 2.0],
    "EII": 3.0,
}


def made(code: str = "VVV", **more: Any) -> GaussianMixtureModel:
    return GaussianMixtureModel.fromParameters(
        [0.3, 0.7], MEANS, SPREAD[code], covarianceType=code, **{"inputCols": ABC, **more}
    )


@pytest.mark.parametrize("code", SPREAD)
def test_numeric_columns_are_taken_by_name(code) -> None:
    """Column by column what the model says of it; covariances between columns move along."""
    wanted = ["c", "a", "b"]
    found, notes = matched(made(code), wanted, Roles(tuple(wanted)), [])
    expected = made(code)
    assert notes == []
    assert_array_equal(found.weights, [0.3, 0.7])
    assert_array_equal(found.means, [[300.0, 1.0, 20.0], [600.0, 4.0, 50.0]])
    dense = found.dense_covariances()
    for i, one in enumerate(wanted):
        for j, other in enumerate(wanted):
            own = expected.covariances[:, ABC.index(one), ABC.index(other)]
            assert_array_equal(dense[:, i, j], own)


@pytest.mark.parametrize("inputs", [None, ABC])
def test_without_names_columns_are_taken_by_place(inputs) -> None:
    """Of a vector's entries the data have no names; of some models neither."""
    model = made() if inputs is None else made(inputCols=None)
    found, _ = matched(model, inputs, Roles(("f[0]", "f[1]", "f[2]")), [])
    assert_array_equal(found.means, MEANS)


def mixed(**more: Any) -> GaussianMixtureModel:
    return made(
        categories={
            "plan": (["basic", "gold"], [[0.9, 0.1], [0.2, 0.8]]),
            "paid": ([False, True], [[0.4, 0.6], [0.7, 0.3]]),
        },
        countCols=["calls", "visits"],
        rates=[[1.0, 20.0], [3.0, 40.0]],
        **more,
    )


def columns(categories: Sequence[Category], *counts: str) -> tuple[FamilyColumns, ...]:
    found = [FamilyColumns.of(Categorical, [one.name for one in categories], categories)]
    return tuple([*found, FamilyColumns.of(Count, counts)] if counts else found)


def test_categories_and_counts_are_taken_by_name() -> None:
    categories = (Category("paid", ("false", "true")), Category("plan", ("gold", "basic")))
    roles = Roles(("b", "c", "a"), columns=columns(categories, "visits", "calls"))
    box = {"a": (0, 1), "b": (0, 2), "c": (0, 4), "calls": (0, 9), "visits": (0, 99)}
    model = mixed(noiseWeight=0.0)
    noisy = GaussianMixtureModel.fromParameters(
        [0.25, 0.65],
        MEANS,
        SPREAD["VVV"],
        inputCols=ABC,
        categories={"plan": (["basic", "gold"], model.probabilities("plan"))},
        countCols=["calls", "visits"],
        rates=model.rates,
        noiseWeight=0.1,
        noiseBox=box,
    )
    found, notes = matched(model, ["b", "c", "a"], roles, [np.full(4, 0.5), np.ones(4)])
    assert (found.levels, notes) == ((2, 2), [])
    assert_array_equal(found.tables, [[0.4, 0.6, 0.1, 0.9], [0.7, 0.3, 0.8, 0.2]])
    assert_array_equal(found.rates, [[20.0, 1.0], [40.0, 3.0]])
    roles = Roles(("b", "c", "a"), columns=columns(categories[1:], "visits", "calls"))
    found, _ = matched(noisy, ["b", "c", "a"], roles, [np.full(2, 0.5), np.ones(4)])
    assert_allclose(np.exp(found.noise.log_widths), [2, 4, 1])
    counts = found.noise.ranges[1]
    assert_allclose(np.exp(counts.log_sizes), [100, 10])
    assert_array_equal(counts.lowest, [0, 0])


@pytest.mark.parametrize(
    ("known", "wanted", "shares", "expected", "said"),
    [
        # In another order.
        (["a", "b", "c"], ["c", "a", "b"], [0.2, 0.3, 0.5], [0.5, 0.2, 0.3], None),
        # One that is new has the share it has of the data.
        (["a", "b"], ["a", "b", "c"], [0.4, 0.5, 0.1], [0.36, 0.54, 0.1], "'c' of x new"),
        # One that is gone leaves its probability to the others.
        (["a", "b", "c"], ["a", "c"], [0.5, 0.5], [0.2 / 0.7, 0.5 / 0.7], "'b' of x in no row"),
        # One that is not told apart any more is among the others.
        (["a", "b", "c"], ["a", "(other)"], [0.5, 0.5], [0.2, 0.8], None),
        # And what was among the others is told apart, by its share.
        (["a", "(other)"], ["a", "b", "c"], [0.6, 0.1, 0.3], [0.4, 0.15, 0.45], None),
        (["a", "(other)"], ["a", "b", "(other)"], [0.6, 0.1, 0.3], [0.4, 0.15, 0.45], None),
    ],
)
def test_levels_are_taken_by_name(known, wanted, shares, expected, said) -> None:
    table = {2: [0.4, 0.6], 3: [0.2, 0.3, 0.5]}[len(known)]
    model = GaussianMixtureModel.fromParameters([1.0], categories={"x": (known, [table])})
    category = Category("x", tuple(wanted), other=wanted[-1] == "(other)")
    found, notes = matched(model, [], Roles((), columns=columns([category])), [np.array(shares)])
    assert_allclose(found.tables, [expected], rtol=1e-12)
    if said is None:
        assert notes == []
    else:
        (note,) = notes
        assert note.startswith("initial_levels: ")
        assert said in note


def test_a_category_without_a_common_level_is_an_error() -> None:
    model = GaussianMixtureModel.fromParameters([1.0], categories={"x": (["1", "2"], [[0.5] * 2])})
    roles = Roles((), columns=columns([Category("x", ("1.0", "2.0"))]))
    with pytest.raises(ConfigurationError, match=r"'1', '2', the data '1\.0', '2\.0': none"):
        matched(model, [], roles, [np.full(2, 0.5)])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ((["a", "b"], [], []), "the columns a, b, c, the data a, b; .*: c is not in the data"),
        ((["a", "b", "d"], [], []), ": d is not in initialModel; c is not in the data"),
        (([*ABC, "d", "e"], [], []), ": d, e are not in initialModel"),
        (
            (ABC, ["plan"], []),
            "the categories none, the data plan; .*: plan is not in initialModel",
        ),
        ((ABC, [], ["n"]), "the counts none, the data n; .*: n is not in initialModel"),
    ],
)
def test_columns_that_differ_are_named(columns, said) -> None:
    inputs, categories, counts = columns
    with pytest.raises(
        ConfigurationError, match=f"^initialModel has {said}" if said[0] != ":" else said
    ):
        check_columns(made(), inputs, {Categorical: categories, Count: counts})


@pytest.fixture(scope="module")
def halves(spark) -> tuple[np.ndarray, Any]:
    rng = np.random.default_rng(1)
    rows = np.concatenate(
        [rng.normal([20, 20000], [3, 4000], (100, 2)), rng.normal([60, 90000], [5, 9000], (300, 2))]
    )
    return rows, table(spark, rows, ["age", "income"])


def test_a_refit_with_swapped_columns_is_the_same_model_with_the_same_numbers(
    spark, halves, tmp_path
) -> None:
    """The young, who are component 0 on Monday, are fewer than the old; the day after there are
    more of them: they are component 0 as before, through every refit and on disk."""
    rows, monday = halves
    start = GaussianMixtureModel.fromParameters(
        [0.5, 0.5],
        [[20.0, 20000.0], [60.0, 90000.0]],
        [np.diag([9.0, 16e6]), np.diag([25.0, 81e6])],
        inputCols=["age", "income"],
    )
    first = GaussianMixture(k=2, inputCols=["age", "income"], initialModel=start).fit(monday)
    assert_allclose(first.weights, [0.25, 0.75], atol=0.01)
    assert [round(size) for size in first.summary.clusterSizes] == [100, 300]
    assert_array_equal(first.summary.parameterHistory[-1].means, first.means)
    first.save(str(tmp_path / "monday"))
    loaded = GaussianMixtureModel.load(str(tmp_path / "monday"))
    assert_array_equal(loaded.means, first.means)
    tuesday = table(spark, np.concatenate([rows[:100]] * 6 + [rows[100:]]), ["age", "income"])
    swapped = GaussianMixture(k=2, inputCols=["income", "age"], initialModel=loaded, maxIter=2)
    again = swapped.fit(monday)
    assert again.summary.converged  # it is where it was
    assert_allclose(again.means, first.means[:, ::-1], rtol=1e-6)
    assert_allclose(again.summary.logLikelihood, first.summary.logLikelihood, rtol=1e-9)
    grown = swapped.setMaxIter(100).fit(tuesday)
    assert_allclose(grown.weights, [2 / 3, 1 / 3], atol=0.01)
    assert_allclose(grown.means[:, 1], [20, 60], atol=2)
    with pytest.raises(ConfigurationError, match="income is not in the data"):
        GaussianMixture(k=2, inputCols=["age"], initialModel=first).fit(monday)


def test_a_start_of_means_alone_is_kept_and_keeps_its_numbers(spark, halves, tmp_path) -> None:
    _, monday = halves
    parts = {"initialMeans": np.array([[30.0, 30000.0], [50.0, 80000.0]])}
    given = GaussianMixture(k=2, inputCols=["age", "income"], **parts)
    given.save(str(tmp_path / "estimator"))
    loaded = GaussianMixture.load(str(tmp_path / "estimator"))
    assert loaded.getInitialMeans() == parts["initialMeans"].tolist()
    assert_array_equal(loaded.setMaxIter(0).fit(monday).means, parts["initialMeans"])
    model = given.fit(monday)
    assert_allclose(model.weights, [0.25, 0.75], atol=0.01)  # the smaller first, as given
    assert model.getInitialMeans() is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"initialMeans": [[1.0], [2.0]]}, "2 inputCols: .*shape"),
        ({"initialMeans": [[1.0, 2.0]] * 3}, "with k = 2"),
        ({"initialWeights": [0.5, 0.6]}, "sum to 1, they sum to 1.1"),
        ({"initialWeights": [0.5, 0.5], "initialLabelCol": "l"}, "give initialLabelCol or parts"),
        ({"initialMeans": [[1.0]] * 2, "inputCols": [], "countCols": ["n"]}, "there are none"),
    ],
)
def test_parts_of_a_start_are_checked_before_the_data(spark, given, said) -> None:
    unreadable = spark.createDataFrame([("x",)], "s string")
    estimator = GaussianMixture(**{"k": 2, "inputCols": ["a", "b"], **given})
    with pytest.raises(ConfigurationError, match=said):
        estimator.fit(unreadable)
