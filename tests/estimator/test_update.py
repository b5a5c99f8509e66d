"""`update`: a model brought up to date by new rows alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal

from gmm_spark import GaussianMixture, GaussianMixtureModel, ParquetTable, updating
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.mixture.arrays import to_arrays
from gmm_spark.outcomes import _fitted_rows
from tests.estimator.helpers import table

SAVED = Path(__file__).parents[1] / "golden" / "saved"
WEIGHTS, MEANS = [0.5, 0.3, 0.2], [[1.0, 0.5], [7.0, 2.0], [4.0, 12.0]]
COVARIANCES = [4 * np.eye(2), [[3.0, 1.0], [1.0, 2.0]], 9 * np.eye(2)]


def em_step(
    rows: np.ndarray, weights: Any = WEIGHTS, means: Any = MEANS, within: Any = COVARIANCES
):
    """Weights, means and covariances after a step of EM, and the mean log density before."""
    densities = [w * multivariate_normal(m, c).pdf(rows) for w, m, c in
                 zip(weights, means, within, strict=True)]  # fmt: skip
    total = np.sum(densities, axis=0)
    found = []
    for resp in densities / total:
        mean = resp @ rows / resp.sum()
        off = rows - mean
        found.append((resp.sum() / len(rows), mean, (resp[:, None] * off).T @ off / resp.sum()))
    weights, means, within = zip(*found, strict=True)
    return np.array(weights), np.array(means), np.array(within), np.log(total).mean()


def given(**more: Any) -> GaussianMixtureModel:
    return GaussianMixtureModel.fromParameters(
        WEIGHTS, MEANS, COVARIANCES, inputCols=["x", "y"], **more
    )


def assert_is(model: Any, expected: Any, rtol: float = 1e-12) -> None:
    for name, value in zip(("weights", "means", "covariances"), expected, strict=False):
        assert_allclose(getattr(model, name), value, rtol=rtol, atol=rtol)


@pytest.fixture(scope="module")
def parts(spark: Any, groups: np.ndarray, tmp_path_factory: Any) -> str:
    """The groups as a table of three days."""
    path = str(tmp_path_factory.mktemp("update") / "days")
    rows = [(x, y, "abc"[i % 3]) for i, (x, y) in enumerate(groups.tolist())]
    frame = table(spark, rows, "x double, y double, day string")
    frame.coalesce(1).write.partitionBy("day").parquet(path)
    return path


def day(parts: str, *names: str) -> ParquetTable:
    return ParquetTable(parts, filters=[("day", "in", list(names))])


def test_of_a_given_start_by_all_rows_it_is_a_step_of_em(groups, frame, parts) -> None:
    expected = em_step(groups)
    for dataset in (frame, ParquetTable(parts)):
        found = given().update(dataset)
        assert_is(found, expected)
        assert found.summary.meanLogLikelihood == pytest.approx(expected[3], rel=1e-12)
        assert found.summary.reason == "updated"
        assert found.summary.update["weight"] == 300
        assert [w.split(":")[0] for w in found.summary.warnings] == ["no_statistics"]


def test_of_a_fitted_model_rows_of_the_past_fade(groups, model, parts) -> None:
    """The step of EM by the fit's rows at half their weight, evaluated where the fit ended, and
    the new rows."""
    new = groups[0::3]
    found = model.update(day(parts, "a"), halfLife=7.0, elapsed=7.0)
    both = np.concatenate([groups, new, new])  # half the weight is the new ones twice
    expected = em_step(both, model.weights, model.means, model.covariances)
    assert_is(found, expected, rtol=1e-10)
    assert found.summary.numRows == len(new)
    assert found.summary.update == {
        "updates": 1,
        "halfLife": 7.0,
        "elapsed": 7.0,
        "fading": 0.5,
        "weightBefore": 300.0,
        "weightFaded": 150.0,
        "weight": 250.0,
    }
    before = em_step(new, model.weights, model.means, model.covariances)[3]
    assert found.summary.meanLogLikelihood == pytest.approx(before, rel=1e-12)
    assert sum(found.summary.clusterSizes) == len(new)
    assert found.summary.bic is None
    assert "updated by new rows" in repr(found.summary)
    # The model that was updated is as it was.
    assert model.summary.update is None
    assert model._statistics.statistics.weight == 300


def test_saved_and_loaded_it_goes_on_to_the_same_bits(model, parts, tmp_path) -> None:
    once = model.update(day(parts, "a"), halfLife=3.0)
    once.save(tmp_path / "once")
    loaded = GaussianMixtureModel.load(tmp_path / "once")
    assert loaded.summary == once.summary
    one, other = (of.update(day(parts, "b", "c"), halfLife=3.0) for of in (once, loaded))
    for name, array in to_arrays(one._statistics).items():
        assert_array_equal(array, to_arrays(other._statistics)[name])
    assert_array_equal(one.means, other.means)
    assert one.summary.update["updates"] == 2
    assert one.summary.update["weightBefore"] == pytest.approx(300 / 2 ** (1 / 3) + 100)


def test_of_every_family_what_is_kept_is_saved(spark, groups, tmp_path, caplog) -> None:
    rng = np.random.default_rng(1)
    rows = [
        (x, y, "far" if x > 5 else "near", int(n), 0.5 + (i % 3))
        for i, ((x, y), n) in enumerate(zip(groups.tolist(), rng.poisson(3, 300), strict=True))
    ]
    frame = table(spark, rows, "x double, y double, c string, n long, w double")
    mixture = GaussianMixture(
        k=2, inputCols=["x", "y"], categoricalCols=["c"], countCols=["n"], weightCol="w",
        weightKind="importance", covarianceType="tied", noise=True, prior="conjugate",
        weightConcentration=2.0, numInit=1, maxIter=2,
    )  # fmt: skip
    found = mixture.fit(frame)
    found.save(tmp_path / "model")
    loaded = GaussianMixtureModel.load(tmp_path / "model")
    kept = to_arrays(found._statistics)
    assert "Normal.scatter" in kept
    for name, array in kept.items():
        assert_array_equal(array, to_arrays(loaded._statistics)[name])
    # A value that the model has not seen is a gap, and that is an error unless it may be one.
    unseen, schema = (0.0, 0.0, "new", 1, 1.0), "x double, y double, c string, n long, w double"
    strange = table(spark, [unseen], schema)
    with pytest.raises(InputDataError, match="'c': 1 unknown to the model"):
        loaded.update(strange)
    caplog.clear()
    again = loaded.setMissing("marginalize").update(strange)
    assert again.summary.numGaps == {"c": 1}
    # It is said where no row at all knows anything of a column, and logged, as a fit's warnings.
    (said,) = [one for one in again.summary.warnings if one.startswith("no_values: ")]
    assert said.startswith("no_values: in c no row of 1 has a value that the model can use, and")
    assert said in caplog.messages
    some = table(spark, [rows[0], unseen], schema)
    assert "no_values" not in " ".join(loaded.update(some).summary.warnings)
    assert_allclose(again.probabilities("c").sum(axis=1), 1.0)
    assert again.summary.update["weight"] == pytest.approx(301)


def test_merged_components_keep_their_clusters(groups, model, frame, parts) -> None:
    merged = model.mergeComponents(frame, 2)
    found = merged.update(day(parts, "a"))
    assert found.clusters == merged.clusters
    assert found.mergeHierarchy == merged.mergeHierarchy
    sizes = [row["size"] for row in found.describe().collect()]
    predicted = merged.transform(frame).toPandas()["prediction"].to_numpy()[0::3]
    assert sizes == np.bincount(predicted).tolist()


def test_a_vector_column_and_one_row(spark, groups, model) -> None:
    from pyspark.ml.linalg import Vectors

    from tests.estimator.helpers import vectors

    of_vectors = GaussianMixtureModel.fromParameters(WEIGHTS, MEANS, COVARIANCES)
    rows = vectors(spark, [Vectors.dense(row) for row in groups])
    found = of_vectors.update(rows)
    assert_is(found, em_step(groups))
    again = found.update(vectors(spark, [Vectors.dense([1.0, 1.0])]), halfLife=1.0, elapsed=0.0)
    assert again.summary.update["weight"] == 301


class TestWhatIsRefused:
    def test_a_model_of_an_earlier_release_which_loads_as_ever(self, spark, frame) -> None:
        old = GaussianMixtureModel.load(str(SAVED / "full"))
        assert old.summary.update is None
        with pytest.raises(ConfigurationError, match=r"keeps no statistics.*initialModel=model"):
            old.update(frame)

    def test_a_division_that_no_step_of_em_led_to(self, model, frame) -> None:
        kept = model.copy()
        kept._summary, kept._statistics = replace(model.summary, reason="kept"), None
        with pytest.raises(ConfigurationError, match="k-means, or one that EM leads away from"):
            kept.update(frame)

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"halfLife": 0}, "halfLife is 0; it must be more"),
            ({"halfLife": -1.0}, "halfLife is -1.0; it must be a number, at least 0"),
            ({"halfLife": float("nan")}, "halfLife is nan"),
            ({"halfLife": "7 days"}, "halfLife is '7 days'"),
            ({"elapsed": -1}, "elapsed is -1; it must be a number, at least 0"),
            ({"elapsed": float("inf")}, "elapsed is inf"),
            ({"elapsed": True}, "elapsed is True"),
        ],
    )
    def test_numbers_that_are_none(self, model, frame, settings, said) -> None:
        with pytest.raises(ConfigurationError, match=said):
            model.update(frame, **settings)

    def test_rows_that_cannot_be_used(self, spark, model, frame) -> None:
        with pytest.raises(InputDataError, match="there are no rows in the data"):
            model.update(frame.limit(0))
        with pytest.raises(InputDataError, match="column 'y': 1 null in 2 rows"):
            model.update(table(spark, [(1.0, 2.0), (1.0, None)], ["x", "y"]))
        with pytest.raises(InputDataError, match="there is no column 'y'"):
            model.update(frame.select("x"))
        with pytest.raises(InputDataError, match="this is a list"):
            model.update([[1.0, 2.0]])


def test_patterns_of_gaps_of_the_rows_before_stay_by_their_share() -> None:
    """Which `toSQL` scores rows by: those of the last day alone would leave others without."""
    old = SimpleNamespace(
        gapPatterns=[{"columns": ["x"], "share": 0.2}, {"columns": ["x", "y"], "share": 0.1}]
    )
    new = SimpleNamespace(
        gapPatterns=[{"columns": ["y"], "share": 0.4}, {"columns": ["x"], "share": 0.1}]
    )
    found = updating._patterns(new, old, 0.75)
    assert [one["columns"] for one in found] == [["x"], ["y"], ["x", "y"]]
    assert_allclose([one["share"] for one in found], [0.175, 0.1, 0.075])


def test_outcomes_count_on_all_rows_that_a_model_stands_for() -> None:
    update = {"weight": 250.0}
    summary = SimpleNamespace(update=update, weightSum=100.0, numRows=100, effectiveNumRows=90.0)
    model = SimpleNamespace(hasSummary=True, summary=summary)
    assert _fitted_rows(model, False) == _fitted_rows(model, True) == 250.0
