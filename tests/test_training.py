"""A fit of arrays in memory is the estimator's, without a SparkSession, and inside a task."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gmm_spark.engine.columns import as_text
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.mixture.families import Categorical, Count
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.spec import SPEC, Spec
from gmm_spark.mixture.structures import structure_named
from gmm_spark.training import FittedMixture, fit_arrays
from tests.golden.cases import _SEARCHED, PARAMS, TABLES
from tests.test_imports import NO_PROCESS, WITHOUT, python

GOLDEN = json.loads((Path(__file__).parent / "golden" / "golden.json").read_text("utf-8"))
KINDS = [kind for kind in TABLES if kind != "search"]


def spec_of(params: dict[str, Any]) -> Spec:
    """The settings of a fit among Params."""
    names = {each.name: each.key for each in SPEC}
    return Spec(**{names[name]: value for name, value in params.items() if name in names})


def arrays_of(table: pd.DataFrame, params: dict[str, Any]) -> dict[str, Any]:
    """A table as the arguments of `fit_arrays`, by the Params that name its columns."""
    import pyarrow as pa

    given: dict[str, Any] = {"values": table[params.get("inputCols", [])].to_numpy(float).T}
    codes, families = [], []
    for name in params.get("categoricalCols", []):
        text = as_text(pa.Array.from_pandas(table[name])).to_pandas()
        codes.append(pd.Categorical(text, sorted(text.dropna().unique())).codes.astype(float))
    if codes:
        stacked = np.where(np.array(codes) < 0, np.nan, codes)
        levels = tuple(int(np.nanmax(row)) + 1 for row in stacked)
        families.append((Categorical(levels), stacked))
    if "countCols" in params:
        counts = table[params["countCols"]].to_numpy(float).T
        families.append((Count(len(counts)), counts))
    given["families"] = families
    if "weightCol" in params:
        given["weights"] = table[params["weightCol"]].to_numpy(float)
    if "labelCol" in params:
        given["labels"] = (
            table[params["labelCol"]].astype("Float64").to_numpy(float, na_value=np.nan)
        )
    return given


def fitted(table: pd.DataFrame, params: dict[str, Any]) -> FittedMixture:
    given = arrays_of(table, params)
    return fit_arrays(given.pop("values"), spec_of(params), **given)


def assert_same(found: FittedMixture, model: Any, rtol: float = 1e-9) -> None:
    """A mixture is that of a model."""
    mixture, other = found.parameters, model.parameters
    assert mixture.structure == other.structure
    for name in ("weights", "means", "covariances", "tables", "rates"):
        assert_allclose(getattr(mixture, name), getattr(other, name), rtol=rtol, atol=rtol)
    assert_allclose(found.fit.log_likelihood, model.summary.logLikelihood, rtol=rtol)
    assert found.fit.reason == model.summary.reason
    assert [record.kind for record in found.fit.history] == [
        entry["kind"] for entry in model.summary.history[1:]
    ]
    threshold = model.getOutlierThreshold()
    if threshold is None:
        assert found.outlier_threshold is None
    else:
        assert_allclose(found.outlier_threshold, threshold, rtol=rtol)


@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_where_the_recorded_fits_of_the_estimator_did(kind) -> None:
    """As tests/golden has them: there other sums are rounded, and other processors round."""
    found = fitted(TABLES[kind](), {**PARAMS[kind], **_SEARCHED})
    golden = GOLDEN[f"{kind}, table"]
    for name in ("weights", "means", "covariances", "tables", "rates"):
        value = getattr(found.parameters, name)
        assert_allclose(value, golden[name], rtol=1e-7, atol=1e-9, err_msg=name)
    assert_allclose(found.fit.log_likelihood, golden["logLikelihood"], rtol=1e-9)
    assert [record.kind for record in found.fit.history] == [k for k, _ in golden["passes"]]


# Of every kind that the golden fits have not: importance weights, gaps in all, a prior, noise.
def mixed_table() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    group = rng.integers(0, 2, 600)
    table = pd.DataFrame(rng.normal(size=(600, 2)) + 5.0 * group[:, None], columns=["a", "b"])
    table["plan"] = np.where(rng.random(600) < 0.2 + 0.6 * group, "plus", "basic")
    table["calls"] = rng.poisson(1 + 6 * group).astype(float)
    table["w"] = rng.random(600) * (rng.random(600) < 0.95)
    for name in ("a", "plan", "calls"):
        table.loc[rng.random(600) < 0.1, name] = None
    return table


MIXED = {
    "k": 2, "inputCols": ["a", "b"], "categoricalCols": ["plan"], "countCols": ["calls"],
    "missing": "marginalize", "numInit": 3, "seed": 4, "weightCol": "w",
}  # fmt: skip
OTHERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "full": (TABLES["full"], {**PARAMS["full"], **_SEARCHED}),
    "diag": (TABLES["diag"], {**PARAMS["diag"], **_SEARCHED}),
    "mixed, importance weights": (mixed_table, {**MIXED, "weightKind": "importance"}),
    "mixed, noise and a prior": (
        mixed_table, {**MIXED, "noise": True, "prior": "conjugate", "covarianceType": "tied"},
    ),
    "skipped, contamination": (
        mixed_table,
        {"k": 2, "inputCols": ["b", "a"], "missing": "skip", "contamination": 0.1, "numInit": 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", ["table", "frame"])
@pytest.mark.parametrize("kind", OTHERS)
def test_it_is_the_estimators_model(spark, tmp_path, kind, source) -> None:
    from gmm_spark import GaussianMixture, ParquetTable

    make, params = OTHERS[kind]
    table = make()
    path = str(tmp_path / "table.parquet")
    table.to_parquet(path, row_group_size=250, index=False)
    data = ParquetTable(path) if source == "table" else spark.read.parquet(path)
    assert_same(fitted(table, params), GaussianMixture(**params).fit(data))


def test_the_order_of_rows_says_nothing() -> None:
    table, params = TABLES["full"](), {**PARAMS["full"], **_SEARCHED}
    one = fitted(table, params)
    other = fitted(table.sample(frac=1.0, random_state=3), params)
    assert_allclose(one.parameters.means, other.parameters.means, rtol=1e-9)
    assert_allclose(one.fit.log_likelihood, other.fit.log_likelihood, rtol=1e-12)


PROGRAM = """
import numpy as np
from gmm_spark.mixture.families import Categorical
from gmm_spark.mixture.spec import Spec
from gmm_spark.training import fit_arrays
rng = np.random.default_rng(0)
group = rng.integers(0, 2, 500)
values = rng.normal(size=(2, 500)) + 6 * group
codes = (rng.random(500) < 0.3 + 0.4 * group).astype(float)[None]
values[0, :50] = np.nan
found = fit_arrays(
    values, Spec(k=2, missing="marginalize"), families=[(Categorical((2,)), codes)],
    weights=np.ones(500),
)
print(found.fit.reason, *(np.round(found.parameters.means[:, 1]) + 0.0).tolist())
"""


def test_it_needs_no_session_and_what_executors_have_alone() -> None:
    packages = ["scipy", "sklearn", "threadpoolctl", "pydantic", "yaml"]
    found = python(NO_PROCESS + WITHOUT.format(packages=packages) + PROGRAM)
    assert sorted(found.split()) == ["0.0", "6.0", "converged"]


def test_one_model_a_group_inside_tasks(spark) -> None:
    rng = np.random.default_rng(2)
    group = rng.integers(0, 3, 900)
    far = 5.0 * (1 + group) * rng.integers(0, 2, 900)
    table = pd.DataFrame({"group": group, "a": rng.normal(size=900), "b": rng.normal(size=900)})
    table["a"] += far
    spec = Spec(k=2, num_init=3)

    def of_group(rows: pd.DataFrame) -> pd.DataFrame:
        found = fit_arrays(rows[["a", "b"]].to_numpy(float).T, spec)
        figures = [*found.parameters.means.ravel(), found.fit.log_likelihood]
        return pd.DataFrame({"group": rows["group"].iloc[:1], "figures": [figures]})

    fits = spark.createDataFrame(table).groupBy("group")
    schema = "group long, figures array<double>"
    rows = fits.applyInPandas(of_group, schema).collect()
    assert sorted(row["group"] for row in rows) == [0, 1, 2]
    for row in rows:
        (here,) = of_group(table[table["group"] == row["group"]])["figures"]
        assert_allclose(row["figures"], here, rtol=1e-9)


def test_nothing_is_said(capsys, caplog) -> None:
    with caplog.at_level(logging.INFO, "gmm_spark"):
        fit_arrays(np.random.default_rng(0).normal(size=(2, 100)), Spec(k=2, num_init=2))
    assert capsys.readouterr() == ("", "")
    assert caplog.records == []


def test_starts_that_are_given() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(400) % 2
    values = rng.normal(size=(2, 400)) + 7.0 * labels
    means = [[7.0, 7.0], [0.0, 0.0]]
    by_means = fit_arrays(values, Spec(k=2, initial_means=np.array(means)))
    by_labels = fit_arrays(values, Spec(k=2), start_labels=10 * labels)
    covariances = np.tile(np.eye(2), (2, 1, 1))
    model = Parameters(structure_named("full"), np.full(2, 0.5), np.array(means), covariances)
    by_model = fit_arrays(values, Spec(k=2, initial_model=model))
    known = fit_arrays(values, Spec(k=2), labels=np.where(np.arange(400) < 40, 1 - labels, np.nan))
    for found in (by_means, by_model, known):  # components keep their numbers
        assert_allclose(found.parameters.means, means, atol=0.3)
    assert_allclose(np.sort(by_labels.parameters.means[:, 0]), [0, 7], atol=0.3)
    assert_allclose(by_model.fit.log_likelihood, by_means.fit.log_likelihood, rtol=1e-9)


def test_rows_of_weight_0_are_no_rows() -> None:
    values = np.random.default_rng(5).normal(size=(2, 200))
    weights = np.ones(400)
    weights[200:] = 0
    found = fit_arrays(np.concatenate([values, 1e9 + values], 1), Spec(k=1), weights=weights)
    assert_array_equal(found.parameters.means, fit_arrays(values, Spec(k=1)).parameters.means)
    assert (found.scan.num_rows, found.scan.num_weightless) == (200, 200)


def test_other_optima_are_told_of() -> None:
    """Two components for three groups, of which any two may be together: three optima, which
    chance alone tells apart."""
    rng, group = np.random.default_rng(0), np.arange(300) % 3
    corners = 4.0 * np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    values = (corners[group] + rng.normal(size=(300, 2))).T
    found = fit_arrays(values, Spec(k=2, covariance_type="tied"))
    assert found.alternatives
    mean = found.fit.log_likelihood / 300
    for other in found.alternatives:
        assert (other["k"], other["components"], other["covarianceType"]) == (2, 2, "tied")
        assert_allclose(other["difference"], other["meanLogLikelihood"] - mean, atol=1e-9)
        assert -0.1 < other["difference"] <= 1e-9
        assert 0.2 < other["changedShare"] < 0.5  # a third of the rows, and those between groups
        assert 0 < other["entropy"] < np.log(2)
    by_means = fit_arrays(values, Spec(k=2, initial_means=corners[:2]))
    assert by_means.alternatives == []
    apart = values[:, group == 0]
    apart = np.concatenate([apart, apart + 100.0], axis=1)
    assert fit_arrays(apart, Spec(k=2)).alternatives == []


VALUES = np.random.default_rng(6).normal(size=(2, 50))


def of(family: Any, columns: Any) -> dict[str, Any]:
    return {"families": [(family, columns)]}


@pytest.mark.parametrize(
    ("values", "spec", "more", "error", "said"),
    [
        (VALUES[0], {}, {}, InputDataError, r"shape \(50,\), expected \(columns, rows\)"),
        (VALUES, {}, of(Count(1), np.ones((1, 49))), InputDataError, r"expected \(columns, 50\)"),
        (VALUES, {}, {"weights": np.ones(49)}, InputDataError, "must have 50 values, one a row"),
        (VALUES, {}, of(Count(2), np.ones((1, 50))), InputDataError, "counts: 1 columns for 2"),
        (
            VALUES, {}, of(Categorical((2,)), np.full((1, 50), 2.0)), InputDataError,
            r"50 rows hold no code \(the first: 2\); codes are 0 to 1",
        ),
        (VALUES, {}, of(Count(1), np.full((1, 50), 0.5)), InputDataError, "'counts_0': 50 of 50 r"),
        (VALUES, {}, {"names": ["a"]}, InputDataError, "1 names for 2 columns"),
        (VALUES * np.nan, {}, {"names": ["a", "b"]}, InputDataError, "'a': 50 NaN in 50 rows"),
        (VALUES, {}, {"weights": np.zeros(50)}, InputDataError, "weights of all rows sum to 0"),
        (VALUES, {"k": 51}, {}, InputDataError, "k is 51, but there are only 50 rows"),
        (np.ones((2, 50)), {"k": 2}, {}, InputDataError, "hold only 1 distinct rows"),
        (
            VALUES, {"initial_means": np.zeros((2, 3))}, {}, ConfigurationError,
            "with k = 2 and 2 inputCols: the means have shape",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused(values, spec, more, error, said) -> None:
    with pytest.raises(error) as caught:
        fit_arrays(values, Spec(**spec), **more)
    assert re.search(said, str(caught.value))
    assert "\n" not in str(caught.value)
