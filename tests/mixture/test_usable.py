"""Values a mixture can be fitted to and scored by: the limits, and what is said beyond them."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gmm_spark.engine.scoring import NOISE, Scorer
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.families import Count, Noise
from gmm_spark.mixture.far import log_joint_far
from gmm_spark.mixture.imputation import Imputer
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.standardisation import describe_columns
from gmm_spark.mixture.structures import STRUCTURES
from gmm_spark.mixture.usable import (
    extremes,
    refusal,
    scale_refusal,
    together,
    unusable,
    width_refusal,
)
from tests.mixture.reference import CODES

INF, NAN = np.inf, np.nan


def said(values: list[float], count: bool = False) -> str | None:
    block = np.array([[1.0] * len(values), values])
    found = unusable(block, *extremes(block), [(Count(1), slice(1, 2))] if count else [])
    return refusal(found, ["x", "y"], len(values))


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [
        ([1.0, INF, -INF], False, "column 'y': 2 of 3 rows are infinite (the first: inf)"),
        ([1e151, 2.0, -1e200], False, "column 'y': 2 of 3 rows are beyond 1e+150 (the first: 1e"),
        ([1e200, INF], False, "column 'y': 1 of 2 rows are infinite"),
        ([1.0, -2.0, 1.5], True, "column 'y': 2 of 3 rows hold no count (the first: -2)"),
        ([3.0, 2.0**53], True, "column 'y': 1 of 2 rows hold no count (the first: 9.0072e+15)"),
    ],
)
def test_what_cannot_be_used_is_named_and_counted(values, count, expected) -> None:
    assert said(values, count).startswith(expected)


def test_what_can_be_used_is_not_refused() -> None:
    assert said([1e150, -1e150, NAN]) is None
    assert said([NAN, NAN]) is None
    assert said([0.0, 2.0**53 - 1, NAN], count=True) is None
    empty = np.zeros((2, 0))
    assert unusable(empty, *extremes(empty)) == {}


def test_parts_add_up_and_the_first_value_is_that_of_the_first_part() -> None:
    parts = [{}, {(0, "large"): (2, 1e160)}, {(0, "large"): (3, 1e170), (1, "count"): (1, -1.0)}]
    assert together(parts) == {(0, "large"): (5, 1e160), (1, "count"): (1, -1.0)}


@pytest.mark.parametrize("code", ["VVV", "VVI", "EEE"])
@pytest.mark.parametrize("floor", [None, 0.0])
@pytest.mark.parametrize(("scale", "usable"), [(1e-170, False), (1e-155, False), (1e-140, True)])
def test_a_column_too_small_in_scale_is_refused(code, floor, scale, usable) -> None:
    rows = np.random.default_rng(0).normal(size=(2, 100)) * [[1.0], [scale]]
    ends = rows.min(axis=1), rows.max(axis=1)
    found = scale_refusal(["x", "y"], describe_columns(rows, *ends, STRUCTURES[code], floor), *ends)
    if usable:
        assert found is None
    else:
        assert found.startswith("column 'y' has a standard deviation of ")


def test_spherical_columns_are_judged_by_their_common_scale() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 100)) * 1e-170
    for factor, refused in ((np.ones((2, 1)), True), (np.array([[1e170], [1.0]]), False)):
        block = rows * factor
        ends = block.min(axis=1), block.max(axis=1)
        columns = describe_columns(block, *ends, STRUCTURES["VII"], None)
        assert (scale_refusal(["x", "y"], columns, *ends) is not None) == refused


def test_a_value_too_far_out_for_the_spread_of_its_column_is_refused() -> None:
    rows = np.random.default_rng(0).normal(size=(1, 100)) * 1e-100
    rows[0, 7] = -1e60
    ends = rows.min(axis=1), rows.max(axis=1)
    columns = describe_columns(rows, *ends, STRUCTURES["VVV"], None)
    found = scale_refusal(["x"], columns, *ends)
    assert found.startswith("column 'x' holds -1e+60, where its standard deviation is ")
    near = rows.clip(-1e20)
    ends = near.min(axis=1), near.max(axis=1)
    assert scale_refusal(["x"], columns, *ends) is None


@pytest.mark.parametrize(
    ("mean", "variance", "expected"),
    [(1e151, 1.0, "a mean is beyond"), (0.0, 1e-310, "underflow"), (0.0, 1e301, "overflow")],
)
def test_parameters_beyond_the_limits_are_no_mixture(mean, variance, expected) -> None:
    given = Parameters(STRUCTURES["VVI"], np.ones(1), np.array([[mean]]), np.array([[variance]]))
    with pytest.raises(SettingError, match=expected):
        given.validated()


def exact(parameters: Parameters, row: list[float]) -> tuple[int, float]:
    """The component of the largest density, and about its log, of diagonal covariances: the
    quadratics in rational arithmetic, where nothing is rounded."""
    found = []
    for weight, mean, variance in zip(
        parameters.weights, parameters.means, parameters.covariances, strict=True
    ):
        square = sum(
            (Fraction(x) - Fraction(m)) ** 2 / Fraction(v)
            for x, m, v in zip(row, mean, variance, strict=True)
        )
        found.append(-square / 2 + Fraction(np.log(weight) - 0.5 * np.log(variance).sum()))
    best = max(range(len(found)), key=lambda k: found[k])
    return best, max(float(found[best]), -np.finfo(float).max)


MEANS = np.array([[0.0, 0.0], [1.0, 0.5], [-2.0, 0.25]])
FAR = [1e7, 1e12, 1e16, 1e20, 1e50, 1e100, 1e149]


@pytest.mark.parametrize("variances", [[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1e-9, 1e-9, 1e-20]])
@pytest.mark.parametrize("direction", [(1.0, 0.0), (-1.0, 0.0), (-1.0, 1.0), (0.0, 1.0)])
def test_rows_far_out_go_where_exact_arithmetic_says(variances, direction) -> None:
    covariances = np.array(variances)[:, None] * [1.0, 1.0]
    parameters = Parameters(STRUCTURES["VVI"], np.array([0.5, 0.3, 0.2]), MEANS, covariances)
    rows = np.outer(direction, FAR)
    scores = Scorer(parameters, "error").score(rows)
    expected = [exact(parameters, row.tolist()) for row in rows.T]
    assert_array_equal(scores.prediction, [best for best, _ in expected])
    assert_allclose(scores.log_density, [log for _, log in expected], rtol=1e-9)
    assert_allclose(scores.probability.sum(axis=0), 1.0)
    assert (scores.uncertainty < 1e-9).all()


@pytest.mark.parametrize("code", CODES)
def test_far_and_near_rows_are_scored_side_by_side(code) -> None:
    structure = STRUCTURES[code]
    shape = {"full": np.diag([1.0, 4.0]), "diagonal": np.array([1.0, 4.0])}
    one = shape.get(structure.kind, np.array(2.0))
    covariances = one if structure.shared else np.stack([one, 2 * one, one])
    parameters = Parameters(structure, np.array([0.5, 0.3, 0.2]), MEANS, covariances)
    rows = np.array([[0.1, 1e100, 2.0, -1e9, NAN], [1.0, NAN, 0.0, -1e90, 1e30]])
    scores = Scorer(parameters, "marginalize").score(rows)
    assert np.isfinite(scores.log_density).all()
    assert_allclose(scores.probability.sum(axis=0), 1.0)
    alone = Scorer(parameters, "marginalize").score(rows[:, [0, 2]])
    assert_array_equal(scores.probability[:, [0, 2]], alone.probability)
    assert_array_equal(scores.log_density[[0, 2]], alone.log_density)
    # Of the widest component; where all are as wide, of the one whose mean lies that way.
    far = scores.prediction[[1, 3]].tolist()
    assert far == ([1, 0] if structure.shared else [1, 1])


def test_at_the_seam_both_ways_of_scoring_agree() -> None:
    rng = np.random.default_rng(3)
    factors = rng.normal(size=(3, 2, 2))
    full = factors @ factors.swapaxes(1, 2) + np.eye(2)
    noise = Noise(0.1, np.log([30.0, 40.0]))
    parameters = Parameters(STRUCTURES["VVV"], np.array([0.4, 0.3, 0.2]), MEANS, full, noise=noise)
    rows = rng.normal(size=(2, 50))
    rows[:, 0] = [NAN, 3.0]
    scorer = Scorer(parameters, "marginalize")
    kernel = scorer.kernel()
    by = kernel.evaluator.standardisation
    expected = kernel.log_joint(rows)
    differences, largest = log_joint_far(parameters.standardised(by), by, rows)
    assert_allclose(largest + differences, expected, rtol=1e-10, atol=1e-10)


def test_a_row_far_out_is_noise_where_there_is_some() -> None:
    noise = Noise(0.1, np.log([30.0, 40.0]))
    parameters = Parameters(
        STRUCTURES["VII"], np.array([0.4, 0.3, 0.2]), MEANS, np.ones(3), noise=noise
    )
    scores = Scorer(parameters, "error").score(np.array([[1e100, 1.0], [0.0, 1e9]]))
    assert scores.prediction.tolist() == [NOISE, NOISE]
    assert_allclose(scores.log_density, np.log(0.1 / 1200.0), rtol=1e-12)


def test_a_component_without_weight_takes_no_row_far_out() -> None:
    covariances = np.array([1.0, 1.0, 50.0])
    parameters = Parameters(STRUCTURES["VII"], np.array([0.5, 0.5, 0.0]), MEANS, covariances)
    scores = Scorer(parameters, "error").score(np.array([[1e100], [0.0]]))
    assert scores.prediction.tolist() == [1]
    assert scores.probability[2].tolist() == [0.0]


def test_gaps_of_rows_far_out_are_filled_by_the_component_they_are_of() -> None:
    parameters = Parameters(STRUCTURES["EII"], np.array([0.5, 0.3, 0.2]), MEANS, np.ones(()))
    rows = np.array([[1e100, -1e100, 0.0], [NAN, NAN, NAN]])
    unit = Standardisation(np.zeros(2), np.ones(2))
    filled, deviations = Imputer(parameters, unit).expected(rows)
    assert_allclose(filled[1, :2], [0.5, 0.25], rtol=1e-12)
    assert_allclose(deviations[1, :2], 1.0, rtol=1e-12)


@pytest.mark.parametrize("gaps", ["error", "skip", "marginalize"])
@pytest.mark.parametrize("value", [1e151, -1e200, INF])
def test_scoring_refuses_what_a_fit_refuses(gaps, value) -> None:
    parameters = Parameters(STRUCTURES["EII"], np.array([0.5, 0.3, 0.2]), MEANS, np.ones(()))
    rows = np.array([[0.0, value, NAN], [1.0, 2.0, 3.0]])
    with pytest.raises(InputDataError) as caught:
        Scorer(parameters, gaps, ("x", "y")).score(rows)
    assert str(caught.value) == refusal(unusable(rows, *extremes(rows)), ["x", "y"], 3)


@pytest.mark.parametrize(
    ("code", "d", "k", "starts", "expected"),
    [
        ("VVV", 1000, 2, 16, None),
        ("VVV", 64, 100, 64, None),
        ("VVI", 100_000, 10, 16, None),
        ("VVV", 3000, 8, 16, "3.2 GiB a task, and 51.5 GiB on the driver.* a smaller numInit or k"),
        ("EEE", 20_000, 1, 1, "17.9 GiB a task.* or a smaller k$"),
    ],
)
def test_mixtures_too_wide_for_memory(code, d, k, starts, expected) -> None:
    found = width_refusal(STRUCTURES[code], d, k, starts)
    if expected is None:
        assert found is None
    else:
        assert re.search(expected, found)


def test_the_room_of_a_wide_kernel_is_bounded_and_its_chunks_are_those_of_a_narrow_one() -> None:
    d = 400
    parameters = Parameters.unit(STRUCTURES["VVV"], 1, d)
    by = Standardisation(np.zeros(d), np.ones(d))
    wide = BlockKernel(natural_parameters([parameters], by))
    assert wide._room.nbytes + wide._room_of_densities.nbytes <= 130 << 20
    rows = np.random.default_rng(1).normal(size=(d, 250))
    wide.add(rows)
    assert wide._chunk < 250
    expected = -0.5 * (rows**2).sum() - 250 * d / 2 * np.log(2 * np.pi)
    assert_allclose(wide.statistics().log_likelihoods, expected, rtol=1e-12)
    assert_allclose(wide.statistics().second[0], rows @ rows.T, rtol=1e-9, atol=1e-9)
    for narrow in (1, 16, 64, 255):  # as ever: results do not change by a bit
        unit = Parameters.unit(STRUCTURES["VVV"], 2, narrow)
        by = Standardisation(np.zeros(narrow), np.ones(narrow))
        kernel = BlockKernel(natural_parameters([unit], by))
        terms = narrow * (narrow + 1) // 2 + narrow + 1 + 4
        assert kernel._chunk == int(np.clip((1 << 20) // (8 * terms) // 64 * 64, 256, 4096))
