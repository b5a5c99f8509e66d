"""What the mixture code is held to: slow evaluations written for reading, and small data sets."""

from __future__ import annotations

from fractions import Fraction
from math import exp, factorial, log, pi
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import multivariate_normal, wishart

from gmm_spark.mixture import em
from gmm_spark.mixture.em import Fit, Problem
from gmm_spark.mixture.families.categorical import split_tables
from gmm_spark.mixture.kernel import BlockKernel, RunPass
from gmm_spark.mixture.m_step import m_step
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES, Structure

# Of every kind, a structure of one covariance for all components and one of one for each: what the
# kernel can tell apart. The others have tests of their own (test_structures).
CODES = ("VVV", "EEE", "VVI", "EEI", "VII", "EII")
# The columns mclust's reference runs were fitted to.
REFERENCE_COLUMNS = {
    "faithful": ["eruptions", "waiting"],
    "iris": ["Sepal.Length", "Sepal.Width", "Petal.Length", "Petal.Width"],
    "thyroid": ["RT3U", "T4", "T3", "TSH", "DTSH"],
    "acidity": ["acidity"],
    "crabs": ["FL", "RW", "CL", "CW", "BD"],
    "wine13": [
        "Alcohol",
        "Malic",
        "Ash",
        "Alcalinity",
        "Magnesium",
        "Phenols",
        "Flavanoids",
        "Nonflavanoid",
        "Proanthocyanins",
        "Intensity",
        "Hue",
        "OD280",
        "Proline",
    ],
}


# --- data -----------------------------------------------------------------------------------


def classic_set(shared_data: Path, name: str) -> np.ndarray:
    """One of the sets mclust's references are of, feature-major (d, n)."""
    table = pd.read_csv(shared_data / "classic_gmm" / "data" / f"{name}.csv")
    return np.ascontiguousarray(table[REFERENCE_COLUMNS[name]].to_numpy(float).T)


def telco(shared_data: Path) -> np.ndarray:
    """Tenure in months, monthly charges and log total charges of 7,032 customers, (3, n)."""
    table = pd.read_csv(shared_data / "telco_churn" / "Telco-Customer-Churn.csv")
    total = pd.to_numeric(table["TotalCharges"], errors="coerce")
    known = total.notna()
    assert (~known).sum() == 11
    columns = [table["tenure"], table["MonthlyCharges"], np.log(total)]
    return np.stack([column[known].to_numpy(float) for column in columns])


def separate_groups(seed: int = 0, k: int = 3, d: int = 3, n: int = 300) -> tuple:
    """Overlapping Gaussian groups of different shapes, (d, n), and who belongs where, (n,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    spread = rng.normal(size=(k, d, d)) / np.sqrt(d)
    centres = 4 * rng.normal(size=(k, d))
    noise = rng.normal(size=(n, d))
    rows = centres[labels] + np.einsum("nij,nj->ni", spread[labels], noise) + 0.3 * noise
    return np.ascontiguousarray(rows.T), labels.astype(np.intp)


def random_parameters(code: str, k: int, d: int, seed: int = 0, spread: float = 2.0) -> Parameters:
    """Well-conditioned parameters of a structure."""
    structure, rng = STRUCTURES[code], np.random.default_rng(seed)
    full = np.atleast_3d(wishart(d + 4, np.eye(d) / (d + 4)).rvs(k, random_state=rng))
    full = full.reshape(k, d, d)
    full = full[0] if structure.shared else full
    covariances = {
        "full": full,
        "diagonal": np.array(np.diagonal(full, axis1=-2, axis2=-1)),
        "spherical": np.asarray(full[..., 0, 0]),
    }[structure.kind]
    weights = rng.dirichlet(np.full(k, 3.0))
    covariances = structure.member(covariances, weights)
    return Parameters(structure, weights, spread * rng.normal(size=(k, d)), covariances)


# --- density and statistics, the slow way ----------------------------------------------------


def log_joint(parameters: Parameters, rows: np.ndarray) -> np.ndarray:
    """log w_k + log N(x | mu_k, Sigma_k) by scipy, (k, n), of rows (n, d)."""
    out = np.empty((parameters.k, len(rows)))
    for k, covariance in enumerate(dense_covariances(parameters)):
        density = multivariate_normal(parameters.means[k], covariance)
        out[k] = np.log(parameters.weights[k]) + density.logpdf(rows)
    return out


def dense_covariances(parameters: Parameters) -> list[np.ndarray]:
    """Matrix by matrix what the structure's compact form stands for."""
    matrices = []
    for k in range(parameters.k):
        kept = parameters.covariances if parameters.structure.shared else parameters.covariances[k]
        if parameters.structure.kind == "spherical":
            kept = float(kept) * np.eye(parameters.d)
        elif parameters.structure.kind == "diagonal":
            kept = np.diag(kept)
        matrices.append(np.array(kept))
    return matrices


def log_likelihood(parameters: Parameters, rows: np.ndarray, weights: np.ndarray | None = None):
    """Weighted sum of log densities of rows (n, d)."""
    joint = log_joint(parameters, rows)
    largest = joint.max(axis=0)
    log_density = largest + np.log(np.exp(joint - largest).sum(axis=0))
    return float(log_density.sum() if weights is None else weights @ log_density)


def observed_log_likelihood(parameters: Parameters, block: np.ndarray) -> float:
    """Sum of the log densities of the known part of rows (d, n), gaps NaN, by scipy."""
    gaps = np.isnan(block)
    patterns, which = np.unique(gaps, axis=1, return_inverse=True)
    total = 0.0
    for number, pattern in enumerate(patterns.T):
        known = np.flatnonzero(~pattern)
        rows = block[np.ix_(known, np.flatnonzero(which.ravel() == number))].T
        if known.size == 0:
            continue
        joint = [
            np.log(weight)
            + np.atleast_1d(
                multivariate_normal(mean[known], covariance[np.ix_(known, known)]).logpdf(rows)
            )
            for weight, mean, covariance in zip(
                parameters.weights, parameters.means, parameters.dense_covariances(), strict=True
            )
        ]
        total += float(np.logaddexp.reduce(joint, axis=0).sum())
    return total


def mixed_joint(parameters: Parameters, row: np.ndarray) -> list[float]:
    """Weight times density of what is known of a row (d + q + c,), of every component and the
    noise, written out."""
    numbers = row[: parameters.d]
    codes, counts = np.split(row[parameters.d :], [len(parameters.levels)])
    known = np.flatnonzero(~np.isnan(numbers))
    found = []
    for k, covariance in enumerate(dense_covariances(parameters)):
        value = parameters.weights[k]
        if known.size:
            part = covariance[np.ix_(known, known)]
            off = numbers[known] - parameters.means[k][known]
            value *= exp(-0.5 * off @ np.linalg.solve(part, off))
            value /= np.sqrt((2 * pi) ** known.size * np.linalg.det(part))
        tables = split_tables(parameters.tables[k], parameters.levels)
        for table, code in zip(tables, codes, strict=True):
            value *= 1.0 if np.isnan(code) else table[int(code)]
        for rate, count in zip(parameters.rates[k], counts, strict=True):
            value *= 1.0 if np.isnan(count) else exp(-rate) * rate**count / factorial(int(count))
        found.append(value)
    if parameters.noise is not None:
        value = parameters.noise.weight / np.exp(parameters.noise.log_widths[known].sum())
        for levels, code in zip(parameters.levels, codes, strict=True):
            value *= 1.0 if np.isnan(code) else 1 / levels
        log_values = parameters.noise.ranges[1].log_sizes if counts.size else ()
        for log_value, count in zip(log_values, counts, strict=True):
            value *= 1.0 if np.isnan(count) else np.exp(-log_value)
        found.append(value)
    return found


def mixed_log_likelihood(parameters: Parameters, block: np.ndarray, allowed=None) -> float:
    """Sum of the log densities of rows (d + q + c, n), of the components that bits allow."""
    total = 0.0
    for index, row in enumerate(block.T):
        joint = mixed_joint(parameters, row)
        if allowed is not None and allowed[index] != -1:
            joint = [p for k, p in enumerate(joint) if k < parameters.k and allowed[index] >> k & 1]
        total += np.log(sum(joint))
    return total


def exact_log_normal(mean: np.ndarray, covariance: np.ndarray, row: np.ndarray) -> float:
    """log N(row | mean, covariance) in rational arithmetic: no rounding but that of the log."""
    d = len(mean)
    matrix = [[Fraction(float(value)) for value in line] for line in covariance]
    right = [Fraction(float(x)) - Fraction(float(m)) for x, m in zip(row, mean, strict=True)]
    # Gaussian elimination of [Sigma | x - mu]: pivots give the determinant, and
    # (x - mu)' Sigma^-1 (x - mu) is the sum of squared eliminated right sides over pivots.
    log_determinant, distance = 0.0, Fraction(0)
    for i in range(d):
        pivot = matrix[i][i]
        log_determinant += log(pivot)
        distance += right[i] ** 2 / pivot
        for j in range(i + 1, d):
            factor = matrix[j][i] / pivot
            right[j] -= factor * right[i]
            for c in range(i, d):
                matrix[j][c] -= factor * matrix[i][c]
    return -0.5 * (d * log(2 * pi) + log_determinant + float(distance))


def statistics_by_loops(parameters: Parameters, z: np.ndarray, weights: np.ndarray) -> dict:
    """Moments about 0 of standardised rows z (n, d), row by row, component by component."""
    n, d = z.shape
    k = parameters.k
    joint = log_joint(parameters, z)
    counts, first, second = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d))
    total, assignment = 0.0, 0.0
    sizes, cluster_weights = np.zeros(k), np.zeros(k)
    for row in range(n):
        largest = max(joint[:, row])
        density = sum(exp(joint[c, row] - largest) for c in range(k))
        total += weights[row] * (largest + log(density))
        assignment += weights[row] * -log(density)
        sizes[joint[:, row].argmax()] += 1
        cluster_weights[joint[:, row].argmax()] += weights[row]
        for c in range(k):
            responsibility = weights[row] * exp(joint[c, row] - largest) / density
            counts[c] += responsibility
            for i in range(d):
                first[c, i] += responsibility * z[row, i]
                for j in range(d):
                    second[c, i, j] += responsibility * z[row, i] * z[row, j]
    return {
        "counts": counts,
        "first": first,
        "second": second,
        "log_likelihood": total,
        "log_assignment": assignment,
        "cluster_sizes": sizes,
        "cluster_weights": cluster_weights,
    }


# --- running the code under test --------------------------------------------------------------


def plain_scales(block: np.ndarray, structure: Structure) -> Standardisation:
    """Mean and standard deviation, one common scale where the structure is spherical."""
    scale = block.std(axis=1)
    if structure.one_scale:
        scale = np.full_like(scale, scale.mean())
    return Standardisation(block.mean(axis=1), scale)


def statistics_of(
    parameters: Parameters,
    block: np.ndarray,
    by: Standardisation,
    weights: np.ndarray | None = None,
    linear: bool = False,
):
    kernel = BlockKernel(natural_parameters([parameters], by, linear=linear))
    kernel.add(block, weights)
    return kernel.statistics()


def start_from_labels(
    block: np.ndarray,
    labels: np.ndarray,
    structure: Structure,
    by: Standardisation,
    floor: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> Parameters:
    """The M-step of hard assignments, standardised."""
    k, d = int(labels.max()) + 1, block.shape[0]
    floor = np.zeros(d) if floor is None else floor
    unit = Parameters.unit(structure, k, d)
    kernel = BlockKernel(natural_parameters([unit], by))
    kernel.add_labelled(block, labels, weights)
    return m_step(kernel.statistics(), slice(0, k), unit, floor).parameters


def fit(run_pass: RunPass, start: Parameters, by: Standardisation, **settings) -> Fit:
    """EM to its end; the settings of `Problem` by name."""
    return em.fit(run_pass, start, Problem(by, **settings))


def assigned(parameters: Parameters, block: np.ndarray, by: Standardisation) -> np.ndarray:
    """The most probable component of every row."""
    return BlockKernel(natural_parameters([parameters], by)).log_joint(block).argmax(axis=0)
