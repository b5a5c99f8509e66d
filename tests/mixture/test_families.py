"""Every column family goes through one contract; a new one is a line in FAMILIES below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import approx_fprime, minimize

from gmm_spark.mixture import families
from gmm_spark.mixture.arrays import from_arrays, to_arrays
from gmm_spark.mixture.edges import edges_to_leave, off_zero
from gmm_spark.mixture.families import Categorical, Count, Family, FamilyColumns, noise_over
from gmm_spark.mixture.imputation import Imputer
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.initialisation.multistart import search
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.priors import Prior, Priors
from gmm_spark.mixture.structures import STRUCTURES

NO_NUMBERS = Standardisation(np.zeros(0), np.zeros(0))
DIAGONAL = STRUCTURES["VVI"]


@dataclass(frozen=True)
class Example:
    """A family with parameters of three components, and what its distribution is by definition:
    of column j with parameters p (num_parameters,), the log density of values (n,), a gap apart.
    """

    family: Family
    parameters: np.ndarray
    log_density: Callable[[np.ndarray, int, np.ndarray], np.ndarray]
    lowest: float
    highest: float


def categories(p: np.ndarray, j: int, values: np.ndarray) -> np.ndarray:
    table = np.split(p, [3])[j]
    return np.log(table[values.astype(int)])


TABLES = np.array([[0.6, 0.3, 0.1, 0.8, 0.2], [0.2, 0.2, 0.6, 0.1, 0.9], [0.1, 0.8, 0.1, 0.5, 0.5]])
EXAMPLES = {
    "categories": Example(Categorical((3, 2)), TABLES, categories, 0, 1),
    "counts": Example(
        Count(2),
        np.array([[0.5, 9.0], [4.0, 2.0], [12.0, 0.1]]),
        lambda p, j, values: stats.poisson(p[j]).logpmf(values),
        0,
        40,
    ),
}
EVERY = pytest.mark.parametrize("name", EXAMPLES)


def rows_of(example: Example, n: int, gaps: float = 0.0, seed: int = 0) -> tuple[Any, Any]:
    """Rows drawn from the three components in turn, (num_columns, n), and which they are."""
    rng = np.random.default_rng(seed)
    component = rng.integers(0, 3, n)
    values = example.family.draw(example.parameters, component, rng)
    return np.where(rng.random(values.shape) < gaps, np.nan, values), component


def log_densities(example: Example, parameters: Any, values: Any) -> np.ndarray:
    """Of what is known of rows, under every component, (k, n), by definition."""
    found = np.zeros((len(parameters), values.shape[1]))
    for k, (j, row) in product(range(len(parameters)), enumerate(values)):
        known = ~np.isnan(row)
        found[k, known] += example.log_density(parameters[k], j, row[known])
    return found


def features_of(family: Family, values: Any) -> tuple[np.ndarray, np.ndarray]:
    features = np.full((family.num_features, values.shape[1]), np.nan)
    base = family.fill(values, features)
    return features, np.zeros(values.shape[1]) if base is None else base


def mixture_of(example: Example, **more: Any) -> Parameters:
    none = np.zeros((3, 0))
    weights = np.array([0.5, 0.3, 0.2])
    return replace(
        Parameters(
            DIAGONAL, weights, none, none, (example.family,), (np.array(example.parameters),)
        ),
        **more,
    )


def test_every_family_is_here() -> None:
    assert {type(example.family) for example in EXAMPLES.values()} == set(families.FAMILIES)
    for word in ("setting", "section", "stored"):
        assert len({getattr(kind, word) for kind in families.FAMILIES}) == len(families.FAMILIES)


@EVERY
def test_sizes_are_those_of_what_there_is(name) -> None:
    example = EXAMPLES[name]
    family, parameters = example.family, example.parameters
    values, _ = rows_of(example, 20)
    assert values.shape[0] == family.num_columns
    assert parameters.shape[1] == family.num_parameters == family.unit().size
    assert family.natural(parameters).shape == (3, family.num_features)
    assert family.flat(parameters).shape == family.metric(parameters).shape == parameters.shape
    assert family.coordinates(values).shape[1] == 20
    assert family.sized(family.num_parameters, getattr(family, "levels", ())) == family
    assert family.problem(parameters) is None
    assert family.problem(np.where(np.arange(3)[:, None] == 1, -1.0, parameters)) is not None
    assert not family.refused(values).any()


@EVERY
def test_the_parameters_are_free_in_as_many_directions_as_are_counted(name) -> None:
    """Of the densities of many rows, as functions of the flat form."""
    example = EXAMPLES[name]
    values, _ = rows_of(example, 60)
    flat = example.family.flat(example.parameters[:1])

    def densities(x: np.ndarray) -> np.ndarray:
        return log_densities(example, example.family.unflat(x[None]), values)[0]

    slopes = np.array([approx_fprime(flat[0], lambda x, i=i: densities(x)[i]) for i in range(60)])
    assert np.linalg.matrix_rank(slopes, tol=1e-4) == example.family.num_free_parameters
    assert mixture_of(example).num_free_parameters == 2 + 3 * example.family.num_free_parameters


@EVERY
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_theta_times_the_features_is_the_log_density(name, gaps) -> None:
    """Of rows of which nothing is known, that is nothing."""
    example = EXAMPLES[name]
    values, _ = rows_of(example, 200, gaps)
    values[:, 0] = np.nan
    features, base = features_of(example.family, values)
    found = example.family.natural(example.parameters) @ features + base
    expected = log_densities(example, example.parameters, values)
    assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    assert_array_equal(features[:, 0], 0)
    assert base[0] == 0


@EVERY
def test_every_column_says_its_part_of_it(name) -> None:
    """What is not known says nothing, and nothing is more probable than the mode."""
    example = EXAMPLES[name]
    family, parameters = example.family, example.parameters
    values, _ = rows_of(example, 200, 0.3)
    found = family.log_probabilities(parameters, values)
    for j, row in enumerate(values):
        known = ~np.isnan(row)
        for k in range(3):
            expected = example.log_density(parameters[k], j, row[known])
            assert_allclose(found[k, j, known], expected, rtol=1e-10, atol=1e-10)
        assert_array_equal(found[:, j, ~known], 0)
    for k, mode in enumerate(family.modes(parameters)):
        highest = family.log_probabilities(parameters[k : k + 1], mode[:, None])[0]
        assert (found[k] <= np.where(np.isnan(values), 0, highest) + 1e-12).all()


@EVERY
def test_its_sql_is_the_log_density_and_knows_what_is_refused(name) -> None:
    """By DuckDB, of values from one end to the other, large ones and gaps."""
    example = EXAMPLES[name]
    family, (num_columns, far) = example.family, (example.family.num_columns, 100_000.0)
    values, _ = rows_of(example, 60, 0.2)
    values[:, :2] = [[example.lowest, example.highest]] * num_columns
    if not family.told_apart:
        values[:, 2] = far
    names = [f"v{j}" for j in range(num_columns)]
    terms = [family.sql(theta, names) for theta in family.natural(example.parameters)]
    base = family.sql_beside(names) or "0"
    refused = [family.sql_refused(one) for one in names if family.sql_refused(one)]
    given = [f"nullif({column}::DOUBLE, 'nan'::DOUBLE)" for column in names]
    listed = ", ".join(f"{one} AS {column}" for one, column in zip(given, names, strict=True))

    def computed(rows: Any, expressions: list[str]) -> np.ndarray:
        table = pd.DataFrame(dict(zip(names, rows, strict=True)))
        with duckdb.connect() as connection:
            connection.register("given", table)
            query = f"SELECT {', '.join(expressions)} FROM (SELECT {listed} FROM given)"
            return np.array(connection.execute(query).fetchall(), dtype=float).T

    expected = log_densities(example, example.parameters, values)
    found = computed(values, [f"{term} + {base}" for term in terms])
    assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    strange = np.array([[-1.0, 0.5, 2.0**53, 1.0]] * num_columns)
    is_refused = family.refused(strange).any(axis=0)
    assert bool(refused) == bool(family.refusal) == is_refused.any()
    if refused:
        assert_array_equal(computed(strange, [" OR ".join(refused)])[0], is_refused)


@EVERY
def test_the_kernel_knows_it_beside_noise(name) -> None:
    example = EXAMPLES[name]
    values, _ = rows_of(example, 100, 0.2)
    ends = (np.full(example.family.num_columns, end) for end in (example.lowest, example.highest))
    noise = noise_over(0.1, *ends, np.zeros(0), np.zeros(0), [example.family])
    mixture = mixture_of(example).with_noise(noise)
    kernel = BlockKernel(natural_parameters([mixture], NO_NUMBERS))
    found = kernel.log_joint(values)
    own = np.log(mixture.weights)[:, None] + log_densities(example, example.parameters, values)
    assert_allclose(found[:3], own, rtol=1e-10)
    # The uniform distribution sums, or integrates, to 1 over what is known.
    theta = natural_parameters([mixture], NO_NUMBERS).theta[3]
    features, _ = features_of(example.family, values)
    assert_allclose(found[3], np.log(0.1) + theta[1:] @ features, rtol=1e-10)
    sizes = [3, 2] if name == "categories" else np.exp(noise.ranges[0].log_sizes)
    known = ~np.isnan(values)
    assert_allclose(found[3], np.log(0.1) - np.log(sizes) @ known, rtol=1e-10)


@EVERY
@pytest.mark.parametrize("rows", [0.0, 7.0])
def test_the_m_step_is_where_likelihood_and_prior_are_highest(name, rows) -> None:
    example = EXAMPLES[name]
    family = example.family
    values, _ = rows_of(example, 300, 0.1)
    shares = np.random.default_rng(1).uniform(0.0, 1.0, 300)
    features, _ = features_of(family, values)
    sums, prior = features @ shares, rows * family.prior(values, None)
    alive = np.array([True])
    found = family.m_step(sums[None], prior, example.parameters[:1], alive)

    def minus(flat: np.ndarray) -> float:
        parameters = family.unflat(flat[None])
        return -float((family.natural(parameters) @ sums).sum()) - family.log_prior(
            parameters, prior
        )

    best = minimize(minus, family.flat(example.parameters[:1])[0], method="BFGS", tol=1e-10)
    assert minus(family.flat(found)[0]) <= best.fun + 1e-8 * abs(best.fun)
    assert_allclose(found[0], family.unflat(best.x[None])[0], rtol=1e-3, atol=1e-4)
    # And it is flat there, which the derivative of the prior has its part in.
    slope = approx_fprime(family.flat(found)[0], minus)
    assert_allclose(slope, 0, atol=1e-4 * sums.max())


@EVERY
def test_what_is_not_known_keeps_what_was(name) -> None:
    example = EXAMPLES[name]
    family, previous = example.family, example.parameters
    values, _ = rows_of(example, 50)
    values[0] = np.nan
    features, _ = features_of(family, values)
    sums, none = np.repeat(features.sum(axis=1)[None], 3, axis=0), np.zeros(family.num_features)
    found = family.m_step(sums, none, previous, np.array([True, False, True]))
    assert_array_equal(found[1], previous[1])
    first = family.of_columns(found, np.array([0]))
    assert_array_equal(first, family.of_columns(previous, np.array([0])))
    assert (found[0] != previous[0]).any()


@EVERY
def test_rows_of_which_nothing_is_known_contribute_nothing(name) -> None:
    example = EXAMPLES[name]
    mixture = mixture_of(example)
    values, _ = rows_of(example, 80)
    with_gaps = np.concatenate([values, np.full((len(values), 40), np.nan)], axis=1)
    sums = []
    for rows in (values, with_gaps):
        kernel = BlockKernel(natural_parameters([mixture], NO_NUMBERS))
        kernel.add(rows)
        sums.append(kernel.statistics())
    assert_allclose(sums[0].of_families[0], sums[1].of_families[0], rtol=1e-12)
    assert_allclose(sums[0].log_likelihoods, sums[1].log_likelihoods, rtol=1e-12)


@EVERY
def test_a_prior_is_what_its_rows_would_be(name) -> None:
    """Rows seen before count as the same rows do, by weight too."""
    example = EXAMPLES[name]
    family = example.family
    values, _ = rows_of(example, 60)
    weights = np.arange(60) % 3.0
    usual = family.prior(np.repeat(values, [w % 3 for w in range(60)], axis=1), None)
    assert_allclose(family.prior(values, weights), usual, rtol=1e-12)
    priors = Priors(1.0, 6.0, (usual,))
    assert_allclose(priors.of(3).families[0], 2 * usual)
    assert_allclose(priors.times(0.5).of(3).families[0], usual)
    one = family.log_prior(example.parameters, usual)
    assert_allclose(family.log_prior(example.parameters, 3 * usual), 3 * one, rtol=1e-12)
    assert family.log_prior(example.parameters, Prior.none([family]).families[0]) == 0


@EVERY
def test_the_flat_form_and_back(name) -> None:
    """Every point of it is a distribution."""
    family, parameters = EXAMPLES[name].family, EXAMPLES[name].parameters
    assert_allclose(family.unflat(family.flat(parameters)), parameters, rtol=1e-12)
    far = family.flat(parameters) + np.random.default_rng(2).normal(0, 30, parameters.shape)
    there = family.unflat(far)
    assert np.isfinite(there).all()
    assert family.problem(there) is None
    assert (family.metric(parameters) > 0).all()
    assert family.same_optimum(parameters, parameters)
    assert not family.same_optimum(parameters, parameters[::-1])


@EVERY
def test_a_start_at_a_row_is_nearer_to_it(name) -> None:
    example = EXAMPLES[name]
    values, _ = rows_of(example, 3, seed=4)
    whole = np.repeat(example.parameters[:1], 3, axis=0)
    found = example.family.at_rows(values, whole)
    assert example.family.problem(found) is None
    before, after = (log_densities(example, p, values).diagonal() for p in (whole, found))
    assert (after >= before).all()
    unknown = np.full_like(values, np.nan)
    assert_allclose(example.family.at_rows(unknown, whole), whole, rtol=1e-12)


@EVERY
def test_draws_have_the_conditional_mean_and_spread(name) -> None:
    """Rows, and missing cells, in five standard errors; the noise lies in its range."""
    example = EXAMPLES[name]
    family, parameters, n = example.family, example.parameters, 20_000
    rng, first = np.random.default_rng(3), np.zeros(20_000, dtype=np.intp)
    drawn = family.draw(parameters, first, rng)
    cells = [family.drawn(parameters, j, first, rng) for j in range(family.num_columns)]
    for rows in (drawn, np.array(cells)):
        for j, row in enumerate(rows):
            certain = np.array([[1.0], [0.0], [0.0]])
            expected, spread = family.expected(parameters, j, certain)
            if family.told_apart:
                assert expected == np.bincount(row.astype(int)).argmax()
                assert abs((row == expected).mean() - spread) < 5 * np.sqrt(0.25 / n)
            else:
                assert abs(row.mean() - expected) < 5 * spread / np.sqrt(n)
                assert_allclose(row.std(), spread, rtol=0.05)
    ends = (np.full(family.num_columns, end) for end in (example.lowest, example.highest))
    uniform = family.draw_uniform(family.range_of(*ends), n, rng)
    if uniform is None:  # then `draw` knows a component more
        uniform = family.draw(parameters, first + 3, rng)
        assert_allclose((uniform == 0).mean(axis=1), [1 / 3, 1 / 2], atol=0.02)
    else:
        assert (uniform >= example.lowest).all()
        assert (uniform <= example.highest).all()
        middle = (example.lowest + example.highest) / 2
        assert_allclose(uniform.mean(axis=1), middle, rtol=0.02)


@EVERY
def test_missing_cells_are_filled_by_the_mixture(name) -> None:
    """The mean of many draws is what is expected, given what is known of the row."""
    example = EXAMPLES[name]
    values, _ = rows_of(example, 4, seed=5)
    values[0, :2] = np.nan
    imputer = Imputer(mixture_of(example), NO_NUMBERS)
    filled, spread = imputer.expected(values)
    assert_array_equal(filled[:, 2:], values[:, 2:])
    assert_array_equal(spread[:, 2:], example.family.certain)
    rng = np.random.default_rng(6)
    drawn = np.array([imputer.drawn(values, rng)[0, :2] for _ in range(4000)])
    if example.family.told_apart:
        assert_allclose((drawn == filled[0, :2]).mean(axis=0), spread[0, :2], atol=0.04)
    else:
        errors = np.abs(drawn.mean(axis=0) - filled[0, :2]) / (spread[0, :2] / np.sqrt(4000))
        assert (errors < 5).all()


@EVERY
def test_a_search_finds_the_components(name) -> None:
    example = EXAMPLES[name]
    columns = np.tile(np.arange(example.family.num_columns), 4)
    family = FamilyColumns.of(
        type(example.family),
        [str(j) for j in columns],
        [families.Category(str(j), ("a", "b", "c")[: [3, 2][j]]) for j in columns]
        if example.family.told_apart
        else [],
    ).family
    wide = replace(
        example,
        family=family,
        parameters=example.family.of_columns(example.parameters, columns),
        log_density=example.log_density,
    )
    values, component = rows_of(wide, 900, 0.02)
    sample = Sample(values, None, NO_NUMBERS, np.zeros(0), families=(family,))
    sample = replace(sample, prior=Priors(1.0, 1.0, (family.prior(values, None),)))
    found = search(sample, 3, DIAGONAL, num_init=6, seed=1)[0]
    joint = BlockKernel(sample.evaluator([found])).log_joint(values)
    table = np.zeros((3, 3))
    np.add.at(table, (component, joint.argmax(axis=0)), 1)
    assert table.max(axis=1).sum() > 0.85 * 900


@EVERY
def test_values_next_to_zero_are_left_where_the_likelihood_rises(name) -> None:
    example = EXAMPLES[name]
    if not example.family.can_vanish:
        pytest.skip("EM leaves what it can reach")
    values, _ = rows_of(example, 500)
    mixture = mixture_of(example)
    low = np.array(example.parameters)
    low[0, 0] = 0.0
    stuck = off_zero(replace(mixture, family_parameters=(low,)))
    assert 0 < stuck.family_parameters[0][0, 0] < 1e-11
    kernel = BlockKernel(natural_parameters([stuck], NO_NUMBERS))
    kernel.add(values)
    edges = edges_to_leave(stuck, kernel.statistics(), 1e-6)
    assert edges is not None
    assert_array_equal(np.argwhere(edges.where[0]), [[0, 0]])
    lifted = edges.left(stuck, 0.1)
    assert example.family.problem(lifted.family_parameters[0]) is None
    after = BlockKernel(natural_parameters([lifted], NO_NUMBERS)).log_densities(values)
    before = BlockKernel(natural_parameters([stuck], NO_NUMBERS)).log_densities(values)
    assert after.sum() > before.sum()


@EVERY
def test_what_leaving_an_edge_promises_is_the_slope_of_the_likelihood(name) -> None:
    """By raising one parameter a little of the way to what all rows have."""
    example = EXAMPLES[name]
    family, step = example.family, 1e-6
    if not family.can_vanish:
        pytest.skip("EM leaves what it can reach")
    values, component = rows_of(example, 400)
    features, _ = features_of(family, values)
    sums = np.array([features[:, component == k].sum(axis=1) for k in range(3)])
    overall = family.overall(sums)
    promise = family.promise(example.parameters, sums, overall, 1e-12)
    for k, i in np.ndindex(promise.shape):
        one = example.parameters[k : k + 1]
        least = np.full(one.shape, -np.inf)
        least[0, i] = one[0, i] + step * overall[i]
        raised = family.at_least(one, least)
        gain = float(((family.natural(raised) - family.natural(one)) @ sums[k])[0])
        assert_allclose(gain / step, promise[k, i], rtol=1e-3, atol=0.05)


@EVERY
def test_parameters_come_back_from_arrays(name) -> None:
    example = EXAMPLES[name]
    ends = (np.full(example.family.num_columns, end) for end in (example.lowest, example.highest))
    noise = noise_over(0.1, *ends, np.zeros(0), np.zeros(0), [example.family])
    mixture = mixture_of(example).with_noise(noise)
    found = from_arrays(Parameters, to_arrays(mixture))
    assert found.families == mixture.families
    assert_array_equal(found.family_parameters[0], mixture.family_parameters[0])
    assert_array_equal(found.noise.ranges[0].log_sizes, noise.ranges[0].log_sizes)


@EVERY
def test_every_column_is_said_in_words(name) -> None:
    example = EXAMPLES[name]
    names = [f"c{j}" for j in range(example.family.num_columns)]
    levels = [("a", "b", "c"), ("no", "yes")] if example.family.told_apart else []
    described = example.family.described(example.parameters, names, levels)
    assert [list(one) for one in described] == [names] * 3
    for column in names:
        said = example.family.said(column, described[0][column])
        assert all(key.startswith(f"{column}_") for key in said)
        assert None not in said.values()
        assert example.family.said(column, None) == dict.fromkeys(said)


@EVERY
def test_bhattacharyyas_coefficient_is_the_sum_of_roots_of_products(name) -> None:
    """Over all values that one column after the other may have."""
    example = EXAMPLES[name]
    family, parameters = example.family, example.parameters
    expected = np.zeros((3, 3))
    for j in range(family.num_columns):
        size = getattr(family, "levels", {j: 200})[j]
        values = np.arange(size, dtype=float)
        densities = [np.exp(example.log_density(one, j, values)) for one in parameters]
        for one, other in product(range(3), range(3)):
            expected[one, other] += np.log(np.sqrt(densities[one] * densities[other]).sum())
    found = [family.log_bhattacharyya(one, parameters) for one in parameters]
    assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert_allclose(np.diag(found), 0, atol=1e-12)


@EVERY
def test_components_together_have_the_mean_features_of_their_rows(name) -> None:
    """So the M-step of rows of several components is what stands for these."""
    example = EXAMPLES[name]
    family, shares = example.family, np.array([0.5, 0.2, 0.3])
    component = np.repeat([0, 1, 2], (100_000 * shares).astype(int))
    values = family.draw(example.parameters, component, np.random.default_rng(3))
    features, _ = features_of(family, values)
    sums = features.sum(axis=1)[None]
    nothing, alive = np.zeros(family.num_features), np.ones(1, dtype=bool)
    expected = family.m_step(sums, nothing, example.parameters[:1], alive)[0]
    assert_allclose(family.pooled(example.parameters, shares), expected, rtol=0.02, atol=0.005)
