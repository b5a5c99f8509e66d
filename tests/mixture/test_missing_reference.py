"""EM on tables with really missing values: published figures, and the gradient where it ends."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.initialisation.methods import labelled_start
from gmm_spark.mixture.initialisation.multistart import search
from gmm_spark.mixture.kernel import BlockKernel, array_pass
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES
from tests.mixture.reference import fit, observed_log_likelihood

FULL = STRUCTURES["VVV"]
# The measurements of each table; identifiers, codes and sums of other columns are left out.
MEASUREMENTS = {
    "airquality.csv": ["Ozone", "Solar.R", "Wind", "Temp"],
    "penguins.csv": ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"],
    "mice_nhanes.csv": ["age", "bmi", "hyp", "chl"],
    "mice_boys.csv": ["age", "hgt", "wgt", "bmi", "hc", "tv"],
    "vim_tao.csv": ["Sea.Surface.Temp", "Air.Temp", "Humidity", "UWind", "VWind"],
    "vim_sleep.csv": ["BodyWgt", "BrainWgt", "NonD", "Dream", "Span", "Gest"],
    "pima2.csv": ["pregnant", "glucose", "pressure", "triceps", "insulin", "mass", "age"],
    "ozone_la.csv": [f"V{i}" for i in range(4, 14)],
    "nycflights_weather.csv.gz": ["temp", "dewp", "humid", "wind_speed", "wind_gust", "pressure"],
    "nhanes10000.csv.gz": ["Age", "Weight", "Height", "Pulse", "BPSysAve", "BPDiaAve", "TotChol"],
    "air_quality_uci.csv.gz": ["CO(GT)", "NMHC(GT)", "C6H6(GT)", "NOx(GT)", "NO2(GT)", "T", "RH"],
    "beijing_pm25.csv.gz": ["pm2.5", "DEWP", "TEMP", "PRES", "Iws"],
    "mice_protein.csv.gz": ["DYRK1A_N", "ITSN1_N", "BDNF_N", "NR1_N", "NR2A_N", "pAKT_N", "BAD_N"],
    "communities_crime.csv.gz": ["householdsize", "medIncome", "PctPopUnderPov", "LemasSwornFT"],
    "hepatitis.csv": ["age", "bilirubin", "alk_phosphate", "sgot", "albumin", "protime"],
    "mammographic_masses.csv": ["birads", "age", "shape", "margin", "density"],
    "horse_colic.csv": [3, 4, 5, 15, 18, 19, 21],  # it has no header
}


def measurements(shared_data, name: str) -> np.ndarray:
    """The measurements of a table, (d, n), gaps NaN."""
    path = shared_data / "missing_values" / "data" / name
    table = pd.read_csv(path, header=None if name == "horse_colic.csv" else "infer")
    return np.ascontiguousarray(table[MEASUREMENTS[name]].to_numpy(float).T)


def scales(block: np.ndarray) -> Standardisation:
    return Standardisation(np.nanmean(block, axis=1), np.nanstd(block, axis=1))


def records(shared_data) -> list[dict]:
    path = shared_data / "missing_values" / "reference" / "em_missing.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("acceleration", ["none", "anderson"])
@pytest.mark.parametrize("k", [1, 2])
def test_airquality_ends_where_the_reference_does(shared_data, k, acceleration) -> None:
    (record,) = [r for r in records(shared_data) if r["k"] == k]
    block = measurements(shared_data, "airquality.csv")
    by = scales(block)
    sample = Sample(block, None, by, np.zeros(4), gaps=True)
    labels = np.zeros(block.shape[1], dtype=np.intp) if k == 1 else np.array(record["z0"])

    def run_labelled(evaluator):
        kernel = BlockKernel(evaluator)
        kernel.add_labelled(block, labels, None)
        return kernel.statistics()

    start = labelled_start(run_labelled, sample, k, FULL, sample.floor)
    found = fit(
        array_pass(block),
        start,
        by,
        floor=sample.floor,
        has_missing=True,
        tol=1e-13,
        max_iter=3000,
        acceleration=acceleration,
    )
    assert_allclose(found.log_likelihood, record["loglik"], rtol=1e-6)
    parameters = found.parameters.restored(by)
    order = np.argsort(parameters.means[:, 0])
    theirs = np.argsort([mean[0] for mean in record["means"]])
    assert_allclose(parameters.weights[order], np.array(record["weights"])[theirs], rtol=1e-4)
    assert_allclose(parameters.means[order], np.array(record["means"])[theirs], rtol=1e-4)
    covariances = np.array(record["covariances"])[theirs]
    deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    assert_allclose(
        parameters.covariances[order] / deviations[:, :, None] / deviations[:, None, :],
        covariances / deviations[:, :, None] / deviations[:, None, :],
        atol=1e-4,
    )


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_one_component_ends_where_the_gradient_is_zero(shared_data, name) -> None:
    block = measurements(shared_data, name)
    by, d = scales(block), block.shape[0]
    found = fit(
        array_pass(block),
        Parameters.unit(FULL, 1, d),
        by,
        floor=np.zeros(d),
        has_missing=True,
        tol=1e-14,
        max_iter=1500,
        acceleration="anderson",
    )
    kept = np.array([r.mean_log_likelihood for r in found.history if r.kind != "rejected"])
    assert (np.diff(kept) >= -1e-9 * np.abs(kept[1:])).all()
    at = found.parameters
    z = (block - by.centre[:, None]) / by.scale[:, None]
    total = observed_log_likelihood(at, z)
    log_volume = (~np.isnan(block)).sum(axis=1) @ np.log(by.scale)
    assert_allclose(found.log_likelihood, total - log_volume, rtol=1e-9)
    # Along random directions, in units of the component itself.
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(at.covariances[0])
    for _ in range(6):
        step = rng.normal(size=d) * 1e-4
        turn = rng.normal(size=(d, d)) * 1e-4
        sides = []
        for sign in (-1, 1):
            moved = root @ (np.eye(d) + sign * turn)
            means = at.means + sign * (root @ step)
            sides.append(
                observed_log_likelihood(
                    Parameters(FULL, at.weights, means, (moved @ moved.T)[None]), z
                )
            )
        slope = (sides[1] - sides[0]) / 2e-4 / block.shape[1]
        assert abs(slope) < 2e-5


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_two_components_from_the_default_start_never_fall(shared_data, name) -> None:
    block = measurements(shared_data, name)
    by = scales(block)
    sample = Sample(block, None, by, np.full(block.shape[0], 1e-3), gaps=True)
    start, *_ = search(sample, 2, FULL, num_init=4)
    found = fit(sample.run_pass, start, by, floor=sample.floor, has_missing=True, max_iter=20)
    mean = np.array([record.mean_log_likelihood for record in found.history])
    assert (np.diff(mean) >= -1e-9 * np.abs(mean[1:])).all()
    z = (block - by.centre[:, None]) / by.scale[:, None]
    log_volume = (~np.isnan(block)).sum(axis=1) @ np.log(by.scale)
    expected = observed_log_likelihood(found.parameters, z) - log_volume
    assert_allclose(found.log_likelihood, expected, rtol=1e-8)
