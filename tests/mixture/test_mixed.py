"""Categories, counts, noise, labels and priors: the E-step row by row in loops for reading, fits
whose likelihood is computed apart, and closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from gmm_spark.mixture.families import Categorical, Count, Noise, Range
from gmm_spark.mixture.families.categorical import split_tables
from gmm_spark.mixture.initialisation.candidates import Sample, log_densities
from gmm_spark.mixture.initialisation.multistart import search
from gmm_spark.mixture.kernel import BlockKernel, array_pass
from gmm_spark.mixture.m_step import m_step
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.priors import FraleyRaftery, Prior, Priors
from gmm_spark.mixture.spec import INIT_MODES
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import (
    CODES,
    fit,
    mixed_joint,
    mixed_log_likelihood,
    random_parameters,
)

LEVELS = (3, 2)
BY = Standardisation(np.array([0.3, -1.0, 2.0]), np.array([1.5, 1.5, 1.5]))
FAMILIES = Categorical(LEVELS), Count(2)
WIDTHS, VALUES = np.log([9.0, 7.0, 11.0]), np.log([16.0, 20.0])


def parameters_of(code: str, *, noise: bool = False, seed: int = 0, k: int = 3) -> Parameters:
    """In the user's units."""
    rng = np.random.default_rng([seed, 7])
    tables = np.concatenate([rng.dirichlet(np.ones(n), size=k) for n in LEVELS], axis=1)
    rates = rng.uniform(0.5, 8.0, size=(k, 2))
    found = replace(
        random_parameters(code, k, 3, seed), families=FAMILIES, family_parameters=(tables, rates)
    )
    return found.with_noise(noise_of(0.15)) if noise else found


def noise_of(weight: float) -> Noise:
    return Noise(weight, WIDTHS, None, (Range(np.log([3.0, 2.0])), Range(VALUES)))


def rows_of(parameters: Parameters, n: int, gaps: float = 0.0, seed: int = 0) -> np.ndarray:
    """Rows drawn from the mixture, (d + q + c, n), the noise about the origin; gaps are NaN."""
    rng = np.random.default_rng([seed, 11])
    which = rng.choice(parameters.all_weights.size, size=n, p=parameters.all_weights)
    first_count = parameters.d + len(parameters.levels)
    block = np.empty((first_count + parameters.rates.shape[1], n))
    for row, component in enumerate(which):
        if component == parameters.k:
            widths = np.exp(parameters.noise.log_widths)
            block[: parameters.d, row] = rng.uniform(-0.5, 0.5, parameters.d) * widths
            tables = [np.full(count, 1 / count) for count in parameters.levels]
            block[first_count:, row] = rng.integers(0, np.exp(VALUES).round().astype(int))
        else:
            block[: parameters.d, row] = rng.multivariate_normal(
                parameters.means[component], parameters.dense_covariances()[component]
            )
            tables = split_tables(parameters.tables[component], parameters.levels)
            block[first_count:, row] = rng.poisson(parameters.rates[component])
        for place, table in enumerate(tables):
            block[parameters.d + place, row] = rng.choice(table.size, p=table)
    return np.where(rng.random(block.shape) < gaps, np.nan, block)


def evaluator_of(parameters: Parameters, gaps: bool):
    return natural_parameters([parameters.standardised(BY)], BY, gaps=gaps)


def fitted(parameters: Parameters, block: np.ndarray, *, allowed=None, prior=None, **options):
    """A fit from these parameters, both in the user's units."""
    options = {"tol": 1e-12, "max_iter": 3000, "acceleration": "anderson", **options}
    found = fit(
        array_pass(block, None, allowed),
        parameters.standardised(BY),
        BY,
        floor=np.zeros(parameters.d),
        has_missing=bool(np.isnan(block).any()),
        prior=prior,
        **options,
    )
    gains = [r.gain for r in found.history if r.gain is not None and r.kind != "rejected"]
    assert min(gains) > -1e-8
    return found, found.parameters.restored(BY)


class TestKernel:
    @pytest.mark.parametrize("code", CODES)
    @pytest.mark.parametrize("noise", [False, True])
    @pytest.mark.parametrize("gaps", [0.0, 0.3])
    def test_is_the_density_row_by_row(self, code: str, noise: bool, gaps: float) -> None:
        parameters = parameters_of(code, noise=noise)
        block = rows_of(parameters, 60, gaps)
        kernel = BlockKernel(evaluator_of(parameters, bool(gaps)))
        # log_joint leaves a gap's density in no units: take off those of the known columns only.
        found = kernel.log_joint(block) - BY.log_volume
        expected = np.log([mixed_joint(parameters, row) for row in block.T]).T
        assert_allclose(found, expected, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("gaps", [0.0, 0.3])
    def test_of_components_evaluated_about_their_mean(self, gaps: float) -> None:
        parameters = parameters_of("VVV", noise=True)
        covariances = np.array(parameters.covariances)
        # So narrow and so far out that the expansion would lose its digits.
        covariances[1] = 1e-8 * covariances[1]
        means = np.array(parameters.means)
        means[1] += 60.0
        parameters = replace(parameters, covariances=covariances, means=means)
        evaluator = evaluator_of(parameters, bool(gaps))
        assert [c.index for c in evaluator.centred] == [1]
        block = rows_of(parameters, 60, gaps)
        found = BlockKernel(evaluator).log_joint(block) - BY.log_volume
        near = np.array([mixed_joint(parameters, row)[1] > 1e-200 for row in block.T])
        assert near.sum() > 5
        expected = np.log([mixed_joint(parameters, row)[1] for row in block.T[near]])
        assert_allclose(found[1, near], expected, rtol=1e-6)
        kernel = BlockKernel(evaluator)
        kernel.add(block)
        shares = np.exp(found - np.logaddexp.reduce(found, axis=0))
        counts = np.nan_to_num(block[5:])
        assert_allclose(kernel.statistics().of_families[1][:, :2], shares @ counts.T, rtol=1e-9)

    @pytest.mark.parametrize("code", ["VVV", "VVI", "EII"])
    @pytest.mark.parametrize("gaps", [0.0, 0.3])
    def test_sums_tables_and_noise_by_responsibility(self, code: str, gaps: float) -> None:
        parameters = parameters_of(code, noise=True)
        block = rows_of(parameters, 80, gaps)
        weights = np.random.default_rng(3).uniform(0.5, 2, size=80)
        kernel = BlockKernel(evaluator_of(parameters, bool(gaps)))
        kernel.add(block, weights)
        statistics = kernel.statistics()
        tables, counts = np.zeros((4, 5)), np.zeros(4)
        events, exposures = np.zeros((4, 2)), np.zeros((4, 2))
        for row, weight in zip(block.T, weights, strict=True):
            joint = np.array(mixed_joint(parameters, row))
            share = weight * joint / joint.sum()
            counts += share
            for place, count in enumerate(row[5:]):
                if not np.isnan(count):
                    events[:, place] += share * count
                    exposures[:, place] += share
            for code_of_row, first in zip(row[3:5], (0, 3), strict=True):
                if not np.isnan(code_of_row):
                    tables[:, first + int(code_of_row)] += share
        assert_allclose(statistics.counts, counts, rtol=1e-9)
        found = statistics.of_families
        assert_allclose(found[0], tables, rtol=1e-9, atol=1e-12)
        assert_allclose(found[1], np.concatenate([events, exposures], axis=1), rtol=1e-9)

    def test_labels_leave_rows_their_components(self) -> None:
        parameters = parameters_of("VVV", noise=True)
        block = rows_of(parameters, 50)
        allowed = np.full(50, -1)
        allowed[:10], allowed[10:20] = 0b001, 0b110
        kernel = BlockKernel(evaluator_of(parameters, False))
        kernel.add(block, None, allowed)
        found = kernel.statistics().log_likelihoods[0] - 50 * BY.log_volume
        assert_allclose(found, mixed_log_likelihood(parameters, block, allowed), rtol=1e-10)
        only = BlockKernel(evaluator_of(parameters, False))
        only.add(block[:, :10], None, allowed[:10])
        assert_allclose(only.statistics().counts, [10, 0, 0, 0], atol=1e-12)

    def test_labels_count_where_optima_are_compared(self) -> None:
        parameters = parameters_of("VVV")
        block = rows_of(parameters, 40)
        allowed = np.where(np.arange(40) < 15, 0b010, -1)
        sample = Sample(block, None, BY, np.full(3, 1e-3), families=FAMILIES, allowed=allowed)
        found = log_densities(parameters.standardised(BY), sample).sum() - 40 * BY.log_volume
        assert_allclose(found, mixed_log_likelihood(parameters, block, allowed), rtol=1e-10)


class TestFits:
    @pytest.mark.parametrize(
        ("code", "noise"),
        [
            pytest.param("VVV", True, marks=pytest.mark.long),
            pytest.param("EEE", True, marks=pytest.mark.long),
            ("VII", False),
        ],
    )
    def test_end_where_the_likelihood_is_flat(self, code: str, noise: bool) -> None:
        truth = parameters_of(code, noise=noise)
        block = rows_of(truth, 80, 0.1)
        found, parameters = fitted(truth, block)
        assert_allclose(found.log_likelihood, mixed_log_likelihood(parameters, block), rtol=1e-10)

        # Along weights and tables, in logits, and means.
        def moved(x: np.ndarray) -> float:
            logits, shift, tables, rates = np.split(x, [parameters.all_weights.size, -21, -6])
            weights = parameters.all_weights * np.exp(logits)
            weights /= weights.sum()
            at = parameters.tables * np.exp(tables.reshape(3, 5))
            for table in split_tables(at, LEVELS):
                table /= table.sum(axis=1, keepdims=True)
            changed = replace(
                parameters,
                weights=weights[:3],
                means=parameters.means + shift.reshape(3, 3),
                family_parameters=(at, parameters.rates * np.exp(rates.reshape(3, 2))),
            )
            if noise:
                changed = replace(changed, noise=noise_of(weights[3]))
            return mixed_log_likelihood(changed, block) / 80

        slope = approx_fprime(np.zeros(parameters.all_weights.size + 9 + 15 + 6), moved, 1e-6)
        assert_allclose(slope, 0, atol=2e-5)

    @pytest.mark.parametrize("acceleration", ["anderson", "none"])
    def test_with_steps_on_a_sample_end_at_the_same_place(self, acceleration: str) -> None:
        truth = parameters_of("VVV", noise=True)
        block = rows_of(truth, 3000, 0.05)
        plain, at = fitted(truth, block, acceleration="none")
        part = array_pass(block[:, :1500])
        found, parameters = fitted(truth, block, acceleration=acceleration, run_sample=part)
        assert_allclose(found.log_likelihood, plain.log_likelihood, rtol=1e-9)
        assert_allclose(parameters.tables, at.tables, atol=1e-4)
        assert_allclose(parameters.rates, at.rates, atol=1e-3)
        assert_allclose(parameters.noise.weight, at.noise.weight, atol=1e-4)

    def test_categories_that_say_nothing_change_nothing(self) -> None:
        truth = parameters_of("VVV")
        block = rows_of(truth, 300)
        block = block[:5]
        block[3:] = 0.0
        certain = np.tile([1.0, 0, 0, 1, 0], (3, 1))
        said = replace(truth, families=FAMILIES[:1], family_parameters=(certain,))
        with_tables = fitted(said, block, acceleration="none")[0]
        plain = replace(truth, families=(), family_parameters=())
        without = fitted(plain, block[:3], acceleration="none")[0]
        assert_allclose(with_tables.log_likelihood, without.log_likelihood, rtol=1e-12)
        assert with_tables.parameters.num_free_parameters == (
            without.parameters.num_free_parameters + 3 * 3
        )

    def test_labels_pull_components_together(self) -> None:
        truth = parameters_of("VVV")
        block = rows_of(truth, 200)
        allowed = np.full(200, -1)
        allowed[:40], allowed[40:60] = 0b001, 0b011
        found, parameters = fitted(truth, block, allowed=allowed)
        expected = mixed_log_likelihood(parameters, block, allowed)
        assert_allclose(found.log_likelihood, expected, rtol=1e-10)


def seen(codes: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What T(x) of a row is on average, by the categories and the means of counts."""
    return Categorical(LEVELS).prior(codes, None), np.concatenate([means, np.ones(2)])


class TestPriors:
    @pytest.mark.parametrize("code", CODES)
    def test_of_one_component_is_the_closed_form(self, code: str) -> None:
        # Fraley and Raftery (2007), table 1 with G = 1.
        rng = np.random.default_rng(5)
        d, n = 3, 40
        block = rng.normal(size=(d, n)) * 2.0 + 1.0
        shape = STRUCTURES[code].kind
        mean, covariance = np.array([0.5, 0.0, -0.5]), np.cov(block)
        prior = FraleyRaftery(STRUCTURES[code], mean, covariance, np.ones(d), 0.3).of(1)
        unit = Standardisation(np.zeros(d), np.ones(d))
        found = fit(
            array_pass(block),
            Parameters.unit(STRUCTURES[code], 1, d),
            unit,
            floor=np.zeros(d),
            tol=0,
            max_iter=5,
            prior=Prior(0.0, (), prior),
        ).parameters
        centre = block.mean(axis=1)
        assert_allclose(found.means[0], (n * centre + 0.3 * mean) / (n + 0.3), rtol=1e-12)
        between = n * 0.3 / (n + 0.3) * np.outer(centre - mean, centre - mean)
        scatter = n * np.cov(block, bias=True) + between
        dof, one = d + 2, np.trace(covariance) / d
        expected = {
            "full": (scatter + covariance) / (dof + n + d + 2),
            "diagonal": np.diag(np.diag(scatter) + one) / (dof + n + 3),
            "spherical": np.eye(d) * (np.trace(scatter) + one) / (dof + (n + 1) * d + 2),
        }[shape]
        assert_allclose(found.dense_covariances()[0], expected, rtol=1e-10)

    @pytest.mark.parametrize("code", CODES)
    def test_m_step_is_where_posterior_of_complete_rows_is_highest(self, code: str) -> None:
        # The responsibilities are held; what is maximised is written out and not the code's own.
        rng = np.random.default_rng(6)
        structure = STRUCTURES[code]
        start = parameters_of(code).standardised(BY)
        block = rows_of(parameters_of(code), 60)
        kernel = BlockKernel(natural_parameters([start], BY))
        kernel.add(block)
        family = FraleyRaftery(structure, rng.normal(size=3), np.eye(3) + 0.2, BY.scale, 2.0)
        means = np.array([2.0, 4.0])
        prior = Priors(2.5, 2.0, seen(block[3:5], means), family).of(3)
        normal = prior.normal
        best = m_step(kernel.statistics(), slice(0, 3), start, np.zeros(3), prior=prior).parameters

        joint = np.array([mixed_joint(start.restored(BY), row) for row in block.T])
        shares = joint / joint.sum(axis=1, keepdims=True)

        def objective(at: Parameters) -> float:
            of_user = at.restored(BY)
            logs = np.log([mixed_joint(of_user, row) for row in block.T])
            total = float((shares * logs).sum()) + 1.5 * np.log(at.weights).sum()
            total += float((np.log(at.tables) @ prior.families[0]).sum())
            # A gamma distribution: two rows of the means, over three components.
            total += float((2 / 3 * (np.log(at.rates) @ means - at.rates.sum(axis=1))).sum())
            for k in range(3):
                covariance = at.dense_covariances()[k]
                precision = np.linalg.inv(covariance)
                off = at.means[k] - normal.mean
                total -= normal.shrinkage / 2 * off @ precision @ off
                if structure.shared and k > 0:
                    continue
                scatter = normal.scatter
                if structure.kind == "spherical":
                    log_determinant = np.log(covariance[0, 0])
                    trace = precision[0, 0] * float(scatter)
                else:
                    log_determinant = np.linalg.slogdet(covariance)[1]
                    full = scatter if structure.kind == "full" else np.diag(scatter)
                    trace = np.trace(precision @ full)
                total -= (normal.rows * log_determinant + trace) / 2
            return total

        top = objective(best)
        for _ in range(5):
            step = 1e-3 * rng.normal(size=4)
            scaled = replace(
                best,
                means=best.means * (1 + step[0]),
                covariances=best.covariances * np.exp(step[1]),
            )
            assert objective(scaled) < top
            weights = best.weights * np.exp(1e-3 * rng.normal(size=3))
            assert objective(replace(best, weights=weights / weights.sum())) < top
            at = best.tables * np.exp(1e-3 * rng.normal(size=(3, 5)))
            for table in split_tables(at, LEVELS):
                table /= table.sum(axis=1, keepdims=True)
            assert objective(replace(best, family_parameters=(at, best.rates))) < top
            rates = best.rates * np.exp(1e-3 * rng.normal(size=(3, 2)))
            assert objective(replace(best, family_parameters=(best.tables, rates))) < top

    def test_the_penalised_objective_does_not_fall_and_the_likelihood_may(self) -> None:
        truth = parameters_of("VVV")
        block = rows_of(truth, 60)
        means = block[5:].mean(axis=1)
        prior = Priors(6.0, 30.0, seen(block[3:5], means)).of(3)
        maximum, at = fitted(truth, block, acceleration="none")
        found, _ = fitted(at, block, prior=prior, acceleration="none")
        assert found.log_likelihood < maximum.log_likelihood - 0.1
        assert found.objective > found.history[0].objective * 60

    @pytest.mark.parametrize("code", ["VVV", "EEE"])
    def test_noise_has_the_prior_of_the_other_weights(self, code: str) -> None:
        truth = parameters_of(code, noise=True)
        block = rows_of(truth, 300)
        prior = replace(Prior.none(FAMILIES), weight=40.0)
        found, at = fitted(truth, block, prior=prior, acceleration="none", tol=1e-9)
        assert found.converged
        # The mode of a Dirichlet posterior: (rows + 40) / (300 + 4 * 40).
        joint = np.array([mixed_joint(at, row) for row in block.T])
        rows = (joint / joint.sum(axis=1, keepdims=True)).sum(axis=0)
        assert_allclose(at.all_weights, (rows + 40) / 460, atol=1e-6)

    def test_smoothing_is_the_levels_own_frequency(self) -> None:
        codes = np.array([[0.0, 0, 0, 1, np.nan], [1.0, 1, 1, 1, 1]])
        found = Priors(1.0, 8.0, (Categorical((2, 2)).prior(codes, None),)).of(4).families[0]
        assert_allclose([found[:2].sum(), found[2:].sum()], 2.0)
        assert_allclose(found, 2 * np.array([3.5 / 5, 1.5 / 5, 0.5 / 6, 5.5 / 6]))


class TestSearch:
    @pytest.mark.parametrize("mode", INIT_MODES)
    @pytest.mark.parametrize("code", ["VVV", "VVI"])
    def test_finds_classes_that_only_categories_tell_apart(self, mode: str, code: str) -> None:
        rng = np.random.default_rng(2)
        classes = rng.integers(0, 3, size=1500)
        codes = np.where(rng.random((6, 1500)) < 0.85, classes, rng.integers(0, 3, size=(6, 1500)))
        block = np.concatenate([rng.normal(size=(1, 1500)), codes])
        sample = Sample(
            block,
            None,
            Standardisation(np.zeros(1), np.ones(1)),
            np.full(1, 1e-3),
            families=(Categorical((3,) * 6),),
            prior=Priors(1.0, 1.0, (np.full(18, 1 / 3),)),
        )
        found = search(sample, 3, STRUCTURES[code], init_mode=mode)[0]  # type: ignore[arg-type]
        joint = BlockKernel(sample.evaluator([found])).log_joint(block)
        table = np.zeros((3, 3))
        np.add.at(table, (classes, joint.argmax(axis=0)), 1)
        assert table.max(axis=1).sum() > 0.97 * 1500

    @pytest.mark.parametrize("mode", INIT_MODES)
    def test_finds_classes_that_only_counts_tell_apart(self, mode: str) -> None:
        rng = np.random.default_rng(2)
        classes = rng.integers(0, 2, size=1000)
        counts = rng.poisson(np.array([[1.0, 9.0], [6.0, 2.0]])[:, classes]).astype(float)
        by = Standardisation(np.zeros(0), np.ones(0))
        sample = Sample(counts, None, by, np.zeros(0), families=(Count(2),))
        found = search(sample, 2, STRUCTURES["VVI"], init_mode=mode)[0]  # type: ignore[arg-type]
        joint = BlockKernel(sample.evaluator([found])).log_joint(counts)
        agree = (joint.argmax(axis=0) == classes).mean()
        assert max(agree, 1 - agree) > 0.97

    @pytest.mark.parametrize("mode", INIT_MODES)
    def test_components_take_the_numbers_of_their_labels(self, mode: str) -> None:
        rng = np.random.default_rng(4)
        classes = rng.integers(0, 3, size=900)
        block = rng.normal(size=(2, 900)) + 4.0 * np.array([[2, 0, 1], [0, 1, 2]])[:, classes]
        allowed = np.where(rng.random(900) < 0.05, 1 << classes, -1)
        by = Standardisation(block.mean(axis=1), block.std(axis=1))
        sample = Sample(block, None, by, np.full(2, 1e-3), allowed=allowed)
        # One start, and no moves to mend it.
        options = {"init_mode": mode, "num_init": 1, "seed": 3}
        found = search(sample, 3, STRUCTURES["VVV"], **options)[0]  # type: ignore[arg-type]
        joint = BlockKernel(sample.evaluator([found])).log_joint(block)
        assert (joint.argmax(axis=0) == classes).mean() > 0.97

    @pytest.mark.parametrize("mode", INIT_MODES)
    def test_noise_is_told_from_clusters(self, mode: str) -> None:
        rng = np.random.default_rng(8)
        classes = np.repeat([0, 1, 2], [400, 400, 700])
        order = rng.permutation(1500)
        block = rng.normal(size=(2, 1500)) * 0.3 + np.array([[2.0, -2, 0], [1, -1, 0]])[:, classes]
        block[:, classes == 2] = rng.uniform(-5, 5, size=(2, 700))
        block, classes = block[:, order], classes[order]
        by = Standardisation(np.zeros(2), np.ones(2))
        widths = np.log(np.ptp(block, axis=1))
        sample = Sample(block, None, by, np.full(2, 1e-3), noise=Noise(0.01, widths))
        found = search(sample, 2, STRUCTURES["VVV"], init_mode=mode)[0]  # type: ignore[arg-type]
        joint = BlockKernel(sample.evaluator([found])).log_joint(block)
        assert abs(found.noise.weight - 700 / 1500) < 0.03
        assert ((joint.argmax(axis=0) == 2) == (classes == 2)).mean() > 0.95


def chevron(shared_data) -> tuple[np.ndarray, np.ndarray]:
    """mclust's minefield: 350 mines along a chevron in 754 points of clutter, (2, n), and which
    they are."""
    import pandas as pd

    table = pd.read_csv(shared_data / "classic_gmm" / "data" / "chevron.csv")
    table = table.sample(frac=1, random_state=0)
    return table[["x", "y"]].to_numpy(float).T, (table["class"] == "data").to_numpy()


def test_chevron_ends_where_em_with_noise_written_out_does(shared_data) -> None:
    """From the mines, halved, and the clutter; the volume is mclust's, that of the box."""
    block, mines = chevron(shared_data)
    n = block.shape[1]
    # Of the two volumes that mclust takes the smaller of, the principal components' is larger.
    turned = np.linalg.svd(block - block.mean(axis=1)[:, None])[0].T @ block
    assert np.ptp(turned, axis=1).prod() > np.ptp(block, axis=1).prod()
    left = block[0] < np.median(block[0][mines])
    shares = np.array([mines & left, mines & ~left, ~mines], dtype=float)

    def step(shares: np.ndarray) -> tuple[float, np.ndarray]:
        counts = shares.sum(axis=1)
        densities = [
            counts[k] / n * multivariate_normal(mean, scatter).pdf(block.T)
            for k in range(2)
            for mean in [block @ shares[k] / counts[k]]
            for off in [block - mean[:, None]]
            for scatter in [(shares[k] * off) @ off.T / counts[k]]
        ]
        noise = np.full(n, counts[2] / n / np.ptp(block, axis=1).prod())
        joint = np.array([*densities, noise])
        return float(np.log(joint.sum(axis=0)).sum()), joint / joint.sum(axis=0)

    for _ in range(2000):
        log_likelihood, shares = step(shares)

    by = Standardisation(block.mean(axis=1), block.std(axis=1))
    widths = np.log(np.ptp(block, axis=1) / by.scale)
    labels = np.where(mines, np.where(left, 0, 1), 2)
    unit = Parameters.unit(STRUCTURES["VVV"], 2, 2, (), Noise(0.1, widths))
    kernel = BlockKernel(natural_parameters([unit], by))
    kernel.add_labelled(block, labels, None)
    start = m_step(kernel.statistics(), slice(0, 3), unit, np.zeros(2)).parameters
    found = fit(array_pass(block), start, by, floor=np.zeros(2), tol=1e-13, max_iter=3000)
    assert_allclose(found.log_likelihood, log_likelihood, rtol=1e-9)
    assert_allclose(found.parameters.noise.weight, shares[2].mean(), rtol=1e-5)
    assert_allclose(found.parameters.weights, shares[:2].mean(axis=1), rtol=1e-5)


def test_chevron_is_told_from_its_noise(shared_data) -> None:
    block, mines = chevron(shared_data)
    by = Standardisation(np.median(block, axis=1), block.std(axis=1))
    widths = np.log(np.ptp(block, axis=1) / by.scale)
    sample = Sample(block, None, by, np.full(2, 1e-3), noise=Noise(0.01, widths))
    found = search(sample, 2, STRUCTURES["VVV"])[0]
    joint = BlockKernel(sample.evaluator([found])).log_joint(block)
    mine = joint.argmax(axis=0) < 2
    # EM in the units of the data, with mclust's volume, the box's, written out.
    parameters = found.restored(by)
    density = mixed_log_likelihood(parameters, block)
    total = float(np.logaddexp.reduce(joint, axis=0).sum()) - 1104 * by.log_volume
    assert_allclose(total, density, rtol=1e-10)
    assert (mine == mines).mean() > 0.85
