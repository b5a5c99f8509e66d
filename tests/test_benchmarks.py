"""The evaluator that judges every system of the benchmarks, against scipy; tables with gaps; what
the acceptance says of a peer on a repeated value."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import multivariate_normal, norm

from benchmarks import figures
from benchmarks.data import REAL_SETS, Mixture, Tables, read_rows
from benchmarks.evaluation import (
    DegenerateError,
    expected,
    log_density,
    mean_log_likelihood,
    narrowest,
    recorded_log_likelihood,
)

WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[0.0, 1e3], [4.0, 1e3], [0.0, 1e3 + 5]])
COVARIANCES = np.array(
    [[[1.0, 0.5], [0.5, 2.0]], [[0.1, 0.0], [0.0, 3.0]], [[2.0, -1.0], [-1.0, 1.0]]]
)


@pytest.fixture
def table(tmp_path):
    rows = np.random.default_rng(3).normal(size=(500, 2)) * 3 + [1, 1e3]
    for number, part in enumerate(np.array_split(rows, 3)):
        columns = {"b": part[:, 1], "a": part[:, 0]}  # the order of the columns is the caller's
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
    return rows, tmp_path


def test_the_mean_log_likelihood_is_scipys(table):
    rows, path = table
    density = sum(
        w * multivariate_normal(m, c).pdf(rows)
        for w, m, c in zip(WEIGHTS, MEANS, COVARIANCES, strict=True)
    )
    found = mean_log_likelihood(path, ("a", "b"), WEIGHTS, MEANS, COVARIANCES)
    np.testing.assert_allclose(found, np.log(density).mean(), rtol=1e-12)


def test_an_empty_component_counts_for_nothing(table):
    _, path = table
    covariances = COVARIANCES.copy()
    covariances[2] = 0
    found = mean_log_likelihood(path, ("a", "b"), np.array([0.6, 0.4, 0]), MEANS, covariances)
    two = mean_log_likelihood(path, ("a", "b"), np.array([0.6, 0.4]), MEANS[:2], COVARIANCES[:2])
    assert found == two


def test_a_singular_covariance_is_named(table):
    _, path = table
    covariances = COVARIANCES.copy()
    covariances[1] = 0
    with pytest.raises(DegenerateError, match="component 1 is not positive definite"):
        mean_log_likelihood(path, ("a", "b"), WEIGHTS, MEANS, covariances)


def test_the_narrowest_direction_is_in_deviations_of_the_columns():
    covariances = np.array([np.diag([4.0, 100.0]), np.diag([1.0, 400.0])])
    assert narrowest(covariances, np.array([10.0, 100.0])) == pytest.approx(0.1)


def test_a_rounded_value_has_the_probability_of_its_cell():
    values = np.array([[0.0], [1.0], [7.0], [-40.0]])
    weights, means, deviations = (
        np.array([0.6, 0.4]),
        np.array([[0.2], [0.0]]),
        np.array([2.0, 9.0]),
    )
    covariances = (deviations**2)[:, None, None]
    found = recorded_log_likelihood(values - 0.5, values + 0.5, weights, means, covariances)
    probability = sum(
        w * (norm(m, s).cdf(values + 0.5) - norm(m, s).cdf(values - 0.5))
        for w, m, s in zip(weights, means[:, 0], deviations, strict=True)
    )
    np.testing.assert_allclose(found, np.log(probability).mean(), rtol=1e-9)


def test_cells_far_out_are_as_likely_on_both_sides():
    one, zero = np.ones((1, 1)), np.zeros((1, 1))
    above, below = (
        recorded_log_likelihood(at - 0.5 * one, at + 0.5 * one, one[0], zero, one[None])
        for at in (200 * one, -200 * one)
    )
    assert above == below
    np.testing.assert_allclose(above, norm.logsf(199.5), rtol=1e-9)  # all of the tail is there


def test_cells_of_several_columns_are_integrated():
    rows = MEANS + np.array([[0.5, 0.7], [-0.2, 2.0], [1.0, 0.0]])
    halves = np.array([0.5, 1.5])
    grid = np.stack(np.meshgrid(*[(np.arange(400) - 199.5) / 200] * 2), axis=-1).reshape(-1, 2)
    parameters = WEIGHTS, MEANS, COVARIANCES
    average = [np.exp(log_density(row + grid * halves, *parameters)).mean() for row in rows]
    found = recorded_log_likelihood(rows - halves, rows + halves, *parameters)
    np.testing.assert_allclose(found, np.log(average).mean(), rtol=1e-5)


def test_a_component_on_a_repeated_value_gains_density_without_bound_but_no_more_than_its_cell():
    rows = np.column_stack([np.zeros(50), np.linspace(-1, 1, 50)])
    halves = np.array([0.5, 1e-6])

    def figures_of(narrow):
        parameters = np.ones(1), np.zeros((1, 2)), np.diag([narrow**2, 1.0])[None]
        cells = rows - halves, rows + halves
        return log_density(rows, *parameters).mean(), recorded_log_likelihood(*cells, *parameters)

    densities, recorded = zip(*(figures_of(narrow) for narrow in (1e-1, 1e-4, 1e-8)), strict=True)
    assert densities[2] - densities[0] > 16
    best = norm.logpdf(rows[:, 1]).mean()  # of the other column; this one's cell is certain
    np.testing.assert_allclose(recorded, best, atol=1e-5)


def test_cells_are_those_of_the_recorded_units():
    low, high = REAL_SETS["rfm"].recorded(np.log1p(np.array([[3.0, 1.0, 310.44]])))
    np.testing.assert_allclose(np.expm1(low), [[2.5, 0.5, 310.435]])
    np.testing.assert_allclose(np.expm1(high), [[3.5, 1.5, 310.445]])


def test_a_gap_is_expected_to_be_what_integration_says():
    grid = np.linspace(-12, 16, 4001)
    points = np.column_stack([grid, np.full(len(grid), 1001.5)])
    density = sum(
        w * multivariate_normal(m, c).pdf(points)
        for w, m, c in zip(WEIGHTS, MEANS, COVARIANCES, strict=True)
    )
    rows = np.array([[np.nan, 1001.5], [np.nan, np.nan], [3.0, 1002.0]])
    found = expected(rows, WEIGHTS, MEANS, COVARIANCES)
    np.testing.assert_allclose(found[0], [(grid * density).sum() / density.sum(), 1001.5])
    np.testing.assert_allclose(found[1], WEIGHTS @ MEANS)
    np.testing.assert_array_equal(found[2], rows[2])


def test_a_table_with_gaps_has_the_rows_of_the_one_without(tmp_path):
    whole, gappy = (
        Tables(tmp_path, tmp_path).of_mixture(Mixture(name, 8_000, 3, 2, gaps=gaps))
        for name, gaps in (("whole", 0.0), ("gappy", 0.3))
    )
    rows, values = read_rows(gappy.path, gappy.columns), read_rows(whole.path, whole.columns)
    gaps = np.isnan(rows)
    assert abs(gaps.mean() - 0.3) < 0.02
    np.testing.assert_array_equal(rows[~gaps], values[~gaps])


def test_a_peer_on_a_repeated_value_is_compared_by_what_was_recorded_or_with_a_fit_as_narrow():
    def fits(*found):
        same = {"seed": 1, "passes": 3}
        return {"fits": [{**same, "mean_log_likelihood": v, "narrowest": n} for v, n in found]}

    def line(**systems):
        return figures.acceptance({"fits-rfm": {"systems": systems}})[0]

    ours, theirs = fits((-2.9, 0.08), (-2.8, 0.08)), fits((0.5, 1e-4), (-3.0, 0.09))
    alone = line(gmm_spark=ours, **{"pyspark.ml": theirs})
    assert alone.met is False
    assert "-3.4" in alone.found
    higher = line(
        gmm_spark=ours, **{"pyspark.ml": theirs, "gmm_spark-as-pyspark.ml": fits((0.6, 1e-4))}
    )
    assert higher.met is True
    assert "-3.4" in higher.found
    assert "+0.1" in higher.found
    lower = line(
        gmm_spark=ours, **{"pyspark.ml": theirs, "gmm_spark-as-pyspark.ml": fits((0.4, 1e-4))}
    )
    assert lower.met is False
    # What was recorded has the last word, where it is known.
    for fit, value in zip([*ours["fits"], *theirs["fits"]], (-3.5, -3.4, -3.6, -3.8), strict=True):
        fit["recorded"] = value
    by_cells = line(gmm_spark=ours, **{"pyspark.ml": theirs})
    assert by_cells.met is True
    assert "-3.4" in by_cells.found
    assert "+0.1" in by_cells.found
    theirs["fits"][1]["recorded"] = -3.45
    assert line(gmm_spark=ours, **{"pyspark.ml": theirs}).met is False
    # Where the peer's component is none such, a lower floor does not help.
    sound = line(
        gmm_spark=ours,
        **{"pyspark.ml": fits((-2.0, 0.05)), "gmm_spark-as-pyspark.ml": fits((0.6, 1e-4))},
    )
    assert sound.met is False
