"""The search for k and the structure, against mclust's table of iris and groups of known number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import VectorAssembler

from gmm_spark import (
    GaussianMixture,
    GaussianMixtureModel,
    GaussianMixtureSearch,
    ParquetTable,
)
from gmm_spark.engine.passes import PassEngine
from gmm_spark.errors import ConfigurationError, InputDataError, ModelFileError
from gmm_spark.mixture.structures import structure_named
from tests.estimator.helpers import assert_same_model, table
from tests.mixture.reference import CODES

COLUMNS = {
    "k", "covarianceType", "numParameters", "criterion", "meanLogLikelihood", "standardError",
    "evaluatedOn", "problem",
}  # fmt: skip
XY = ["x", "y"]
# Those of scikit-learn, and the one that is best for iris; of all fourteen see
# tests/mixture/test_mclust_grid.py.
TRIED = (*CODES, "VEV")


def cells(model: Any) -> dict[tuple[str, int], dict[str, Any]]:
    return {(cell["covarianceType"], cell["k"]): cell for cell in model.summary.candidates}


def criteria(model: Any) -> list[float]:
    return [cell["criterion"] for cell in model.summary.candidates]


@pytest.fixture(scope="module")
def iris(shared_data) -> pd.DataFrame:
    frame = pd.read_csv(shared_data / "classic_gmm" / "data" / "iris.csv")
    return frame.select_dtypes("number").drop(columns=["index"], errors="ignore").astype(float)


@pytest.fixture(scope="module")
def mclust(shared_data) -> dict[tuple[str, int], float]:
    """BIC of iris by structure and k, of the opposite sign to mclust's: lower is better."""
    grid = pd.read_csv(shared_data / "classic_gmm" / "reference" / "mclust_grid.csv")
    grid = grid[(grid["dataset"] == "iris") & grid["model"].isin(TRIED) & (grid["G"] <= 5)]
    return {
        (structure_named(row["model"]).name, row["G"]): -row["BIC"] for _, row in grid.iterrows()
    }


@pytest.fixture(scope="module")
def searched(spark, iris) -> Any:
    # mclust has no floor; the default one is reached by small components of four and five.
    search = GaussianMixtureSearch(
        k=[1, 2, 3, 4, 5],
        covarianceType=list(TRIED),
        inputCols=list(iris),
        covarianceFloor=0.0,
    )
    return search.fit(table(spark, iris.to_numpy(), list(iris), 2))


def test_the_best_cell_of_iris_is_that_of_mclust(searched, mclust) -> None:
    best = min(mclust, key=lambda cell: mclust[cell])
    assert best == ("VEV", 2)
    assert (searched.getCovarianceType(), searched.getK()) == best
    assert (searched.parameters.structure.name, searched.summary.k) == best
    assert_allclose(searched.summary.bic, mclust[best], rtol=1e-7)
    assert searched.summary.converged


def test_no_cell_of_iris_is_worse_than_mclusts(searched, mclust) -> None:
    """mclust has one start a cell, so that ours may be better; up to two components, where
    there is little to miss, they are equal. The grid is fitted to 1e-5 a row."""
    found = cells(searched)
    assert set(found) == set(mclust)
    for cell, expected in mclust.items():
        assert found[cell]["criterion"] < expected + 0.05, cell
        if cell[1] <= 2:
            assert_allclose(found[cell]["criterion"], expected, rtol=0, atol=0.01, err_msg=cell)


def test_the_table_has_every_cell_the_best_first(searched) -> None:
    candidates = searched.summary.candidates
    assert len(candidates) == 5 * len(TRIED)
    assert all(set(cell) == COLUMNS for cell in candidates)
    assert criteria(searched) == sorted(criteria(searched))
    best = candidates[0]
    assert (best["k"], best["covarianceType"]) == (searched.summary.k, searched.getCovarianceType())
    assert best["criterion"] == searched.summary.bic
    assert best["meanLogLikelihood"] == searched.summary.meanLogLikelihood
    assert best["numParameters"] == searched.summary.numParameters
    assert (best["evaluatedOn"], best["standardError"]) == ("all rows", 0.0)
    for cell in candidates:
        total = 150 * cell["meanLogLikelihood"]
        expected = -2 * total + cell["numParameters"] * np.log(150)
        assert_allclose(cell["criterion"], expected, rtol=1e-12)
        assert cell["problem"] == ""


def test_the_table_is_also_a_dataframe(searched) -> None:
    found = searched.summary.candidatesDF
    assert set(found.columns) == COLUMNS
    assert [row.asDict() for row in found.collect()] == searched.summary.candidates


def test_the_table_is_saved_with_the_model(searched, tmp_path) -> None:
    searched.save(str(tmp_path / "model"))
    loaded = GaussianMixtureModel.load(str(tmp_path / "model"))
    assert loaded.summary.candidates == searched.summary.candidates
    assert loaded.summary.candidatesDF.count() == len(searched.summary.candidates)
    assert (loaded.getK(), loaded.getCovarianceType()) == (2, "VEV")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["VVV", "EEE"], {"full", "tied"}),
        (["full", "VVV", "EEI"], {"full", "EEI"}),
        (["VVI", "spherical", "EII"], {"diag", "spherical", "EII"}),
    ],
)
def test_a_structure_has_one_name_everywhere(spark, iris, caplog, given, names) -> None:
    caplog.set_level("INFO", "gmm_spark")
    search = GaussianMixtureSearch(
        k=[2], covarianceType=given, inputCols=list(iris)[:2], numInit=1, maxIter=1
    )
    fitted = search.fit(table(spark, iris.to_numpy(), list(iris), 1))
    assert {cell["covarianceType"] for cell in fitted.summary.candidates} == names
    assert fitted.getCovarianceType() == fitted.summary.candidates[0]["covarianceType"]
    logged = " ".join(record.getMessage() for record in caplog.records)
    aliased = {"VVV", "EEE", "VVI", "VII"}
    assert not [name for name in aliased if name in logged]
    assert search.getCovarianceType() == given  # what was set stays what was set


def test_a_model_saved_with_another_name_has_the_one_name(spark, tmp_path) -> None:
    model = GaussianMixtureModel.fromParameters([1.0], [[0.0]], [[[1.0]]], covarianceType="VVV")
    assert model.getCovarianceType() == "full"
    model._set(covarianceType="VVV")  # as earlier releases did
    model.save(str(tmp_path / "m"))
    assert GaussianMixtureModel.load(str(tmp_path / "m")).getCovarianceType() == "full"


def test_a_single_fit_has_no_table(model) -> None:
    assert model.summary.candidates == []
    assert model.summary.candidatesDF.count() == 0


def test_a_parquet_table_gives_the_same_choice(spark, frame, tmp_path) -> None:
    frame.coalesce(1).write.parquet(str(tmp_path / "t"))
    search = GaussianMixtureSearch(k=[2, 3, 4], covarianceType=["full", "tied"], inputCols=XY)
    by_frame = search.fit(spark.read.parquet(str(tmp_path / "t")))
    by_table = search.fit(ParquetTable(str(tmp_path / "t")))
    assert_same_model(by_table, by_frame, rtol=1e-7, atol=1e-9)
    assert by_frame.summary.k == 3
    names = [(cell["k"], cell["covarianceType"]) for cell in by_frame.summary.candidates]
    assert names == [(c["k"], c["covarianceType"]) for c in by_table.summary.candidates]
    assert_allclose(criteria(by_table), criteria(by_frame), rtol=1e-6)
    assert by_frame.summary.predictions.count() == 300


@pytest.mark.parametrize("criterion", ["bic", "aic", "icl", "heldout"])
def test_every_criterion_finds_groups_far_apart(frame, criterion) -> None:
    # One structure, the groups' own: aic alone would take more components for another's misfit.
    search = GaussianMixtureSearch(
        k=[1, 2, 3], covarianceType=["tied"], inputCols=XY, criterion=criterion
    )
    fitted = search.fit(frame)
    summary = fitted.summary
    assert summary.k == 3
    assert sorted(summary.clusterSizes) == [50, 100, 150]
    assert criteria(fitted) == sorted(criteria(fitted))
    if criterion != "heldout":
        assert_allclose(criteria(fitted)[0], getattr(summary, criterion), rtol=1e-12)


def test_the_best_is_that_of_a_single_fit(frame) -> None:
    chosen = GaussianMixtureSearch(k=[3], covarianceType=["tied"], inputCols=XY).fit(frame)
    single = GaussianMixture(k=3, covarianceType="tied", inputCols=XY).fit(frame)
    assert len(chosen.summary.candidates) == 1
    assert_allclose(chosen.summary.logLikelihood, single.summary.logLikelihood, rtol=1e-7)
    assert_allclose(chosen.means, single.means, rtol=1e-3)


@pytest.fixture(scope="module")
def large(spark, tmp_path_factory) -> Any:
    """6,000 rows in four groups far apart, as Parquet in two files, and their frame."""
    rng = np.random.default_rng(4)
    centres = np.array([[0.0, 0.0], [12.0, 0.0], [0.0, 12.0], [12.0, 12.0]])
    rows = rng.normal(centres[rng.integers(0, 4, 6000)])
    path = str(tmp_path_factory.mktemp("large") / "t")
    table(spark, rows, XY, 2).write.parquet(path)
    return path


@pytest.mark.parametrize("criterion", ["bic", "icl", "heldout"])
def test_a_table_larger_than_its_sample(large, criterion) -> None:
    search = GaussianMixtureSearch(
        k=[2, 3, 4, 5],
        covarianceType=["spherical", "full"],
        inputCols=XY,
        sampleSize=1500,
        criterion=criterion,
    )
    fitted = search.fit(ParquetTable(large))
    summary = fitted.summary
    assert (summary.k, summary.numRows) == (4, 6000)
    best, *others = summary.candidates
    assert len(summary.candidates) == 8
    if criterion == "heldout":
        assert {cell["evaluatedOn"] for cell in summary.candidates} == {"held-out rows"}
        assert all(cell["standardError"] > 0 for cell in others)
        return
    assert best["evaluatedOn"] == "all rows"
    assert {cell["evaluatedOn"] for cell in others} <= {"all rows", "sample"}
    for (_, k), cell in cells(fitted).items():
        if k < 4:  # groups left together cannot win, which the sample says
            assert cell["evaluatedOn"] == "sample"
        if cell["evaluatedOn"] == "sample":
            assert cell["standardError"] > 0
    if criterion == "bic":  # what the sample says of all the rows is near what they say
        full = GaussianMixture(k=2, inputCols=XY).fit(ParquetTable(large))
        estimate = cells(fitted)["full", 2]
        difference = abs(full.summary.bic - estimate["criterion"])
        assert difference < 4 * estimate["standardError"]


def test_fits_in_shared_scans_keep_their_own_histories(large) -> None:
    """Cells that a sample cannot tell apart are all fitted to all the rows; for icl to the end,
    since what it takes off is not known before."""
    search = GaussianMixtureSearch(
        k=[4, 5],
        covarianceType=["full", "diag", "tied"],
        criterion="icl",
        inputCols=XY,
        sampleSize=600,
    )
    fitted = search.fit(ParquetTable(large))
    summary = fitted.summary
    settled = [cell for cell in summary.candidates if cell["evaluatedOn"] == "all rows"]
    assert 2 <= len(settled) <= 4
    assert min(cell["criterion"] for cell in settled) == summary.icl
    assert [entry["pass"] for entry in summary.history] == list(range(summary.numPasses + 1))
    assert summary.history[-1]["meanLogLikelihood"] == summary.meanLogLikelihood
    first, *_, last = summary.sampleHistory
    assert (first["kind"], len(first["parameters"].weights)) == ("start", summary.k)
    np.testing.assert_array_equal(last["parameters"].means, summary.parameterHistory[0].means)
    assert fitted.parameters.structure == structure_named(fitted.getCovarianceType())


def test_losers_are_given_up_between_passes(large, monkeypatch) -> None:
    asked = []
    run_passes = PassEngine.run_passes

    def counted(engine, evaluators):
        asked.append(len(evaluators))
        return run_passes(engine, evaluators)

    monkeypatch.setattr(PassEngine, "run_passes", counted)
    search = GaussianMixtureSearch(
        k=[4, 5], covarianceType=["full", "diag", "tied"], inputCols=XY, sampleSize=600
    )
    fitted = search.fit(ParquetTable(large))
    assert asked[0] > 1
    best, *others = fitted.summary.candidates
    assert best["evaluatedOn"] == "all rows"
    assert {cell["evaluatedOn"] for cell in others} == {"sample"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": []}, r"^k is \[\]; it must be numbers of components, at least 1$"),
        ({"k": [0, 1]}, r"^k is \[0, 1\]; it must be"),
        ({"k": [3, -2]}, r"^k is \[3, -2\]; it must be"),
        ({"covarianceType": []}, "^covarianceType is empty; name at least one structure$"),
        ({"covarianceType": ["full", "fulll"]}, "fulll"),
        (
            {"criterion": "BIC"},
            "^criterion is 'BIC'; it must be one of bic, aic, icl, heldout, segmentation$",
        ),
        ({"numInit": 0}, "^numInit is 0; it must be at least 1$"),
        ({"acceleration": "fast"}, "^acceleration is 'fast'; it must be one of anderson, none$"),
    ],
)
def test_wrong_settings_are_one_line(frame, settings, message) -> None:
    search = GaussianMixtureSearch(inputCols=XY, **settings)
    with pytest.raises(ConfigurationError, match=message) as caught:
        search.fit(frame)
    assert "\n" not in str(caught.value)


def test_a_start_of_one_number_of_components_is_refused(frame, model) -> None:
    search = GaussianMixtureSearch(k=[2, 3], inputCols=XY)
    for given in (
        search.copy().setInitialModel(model),
        search.copy().setInitialLabelCol("label"),
    ):
        with pytest.raises(ConfigurationError, match="a search makes its own starts"):
            given.fit(frame)


@pytest.mark.parametrize("wrong", [{"k": 3}, {"k": ["a"]}, {"k": [2.5]}, {"covarianceType": 4}])
def test_params_of_a_wrong_type_are_refused_at_once(spark, wrong) -> None:
    with pytest.raises(TypeError):
        GaussianMixtureSearch(**wrong)


def test_more_components_than_rows(spark) -> None:
    few = table(spark, [(0.0, 0.0), (0.5, 1.0), (1.0, 0.3), (9.0, 9.0), (9.5, 8.0)], XY, 2)
    search = GaussianMixtureSearch(covarianceType=["EII"], inputCols=XY)
    with pytest.raises(InputDataError, match=r"^k is at least 6, but there are only 5 rows; use"):
        search.setK([7, 6]).fit(few)
    fitted = search.setK([1, 2, 5, 6]).fit(few)
    assert fitted.summary.k < 6
    assert {cell["k"] for cell in fitted.summary.candidates} == {1, 2, 5, 6}
    last = fitted.summary.candidates[-1]
    assert (last["k"], last["criterion"], last["evaluatedOn"]) == (6, None, "sample")
    assert "distinct rows" in last["problem"]
    assert fitted.summary.candidatesDF.collect()[-1]["criterion"] is None


def test_more_components_than_distinct_rows(spark) -> None:
    repeated = table(spark, [(0.0, 0.0), (0.5, 1.0), (4.0, 0.3)] * 20, XY, 2)
    fitted = GaussianMixtureSearch(k=[1, 2, 4], covarianceType=["EII"], inputCols=XY).fit(repeated)
    assert cells(fitted)["EII", 4]["problem"] != ""
    assert cells(fitted)["EII", 1]["problem"] == ""
    with pytest.raises(InputDataError, match="none of the mixtures can be fitted: "):
        GaussianMixtureSearch(k=[4, 5], covarianceType=["EII"], inputCols=XY).fit(repeated)


def test_gaps_and_weights_are_those_of_a_single_fit(spark, groups) -> None:
    weights = np.random.default_rng(6).integers(1, 4, 300)
    rows = [*np.column_stack([groups, weights]).tolist(), (None, 1.0, 1.0)]
    data = table(spark, rows, ["x", "y", "w"], 2)
    settings = {"inputCols": XY, "weightCol": "w", "missing": "skip", "covarianceType": ["tied"]}
    summary = GaussianMixtureSearch(k=[2, 3], **settings).fit(data).summary
    assert (summary.k, summary.numSkipped, summary.weightSum) == (3, 1, weights.sum())
    assert summary.candidates[0]["criterion"] == summary.bic


def test_setters_return_the_search_and_a_copy_is_its_own(spark) -> None:
    search = GaussianMixtureSearch()
    assert (search.getK(), search.getCovarianceType()) == (list(range(1, 10)), ["full"])
    assert search.getCriterion() == "bic"
    assert search.setK((2, 3)) is search
    assert search.setCovarianceType(("full", "EII")) is search
    assert search.setCriterion("icl") is search
    assert search.setTol(0.1) is search
    assert search.setParams(numInit=3, seed=4) is search
    copied = search.copy({search.k: [5]}).setCriterion("aic")
    assert (copied.getK(), copied.getCriterion(), copied.getNumInit()) == ([5], "aic", 3)
    assert (search.getK(), search.getCriterion(), search.getSeed()) == ([2, 3], "icl", 4)
    assert type(copied) is GaussianMixtureSearch
    assert GaussianMixture().getK() == 2
    for name in ("k", "covarianceType", "criterion"):
        assert f"{name}: " in search.explainParams()


def test_params_for_one_fit(frame) -> None:
    search = GaussianMixtureSearch(k=[1], covarianceType=["tied"], inputCols=XY)
    assert search.fit(frame, {search.k: [2, 3]}).summary.k == 3
    assert search.getK() == [1]


def test_the_model_has_the_uid_and_single_params(frame) -> None:
    search = GaussianMixtureSearch(
        k=[2, 3], covarianceType=["tied"], inputCols=XY, predictionCol="g", tol=1e-5
    )
    fitted = search.fit(frame)
    assert fitted.uid == search.uid
    assert (fitted.getK(), fitted.getCovarianceType()) == (3, "tied")
    assert (fitted.getPredictionCol(), fitted.getTol()) == ("g", 1e-5)
    assert not fitted.hasParam("criterion")
    assert fitted.transform(frame).select("g").distinct().count() == 3


def test_a_search_is_saved_and_loaded(spark, tmp_path) -> None:
    path = str(tmp_path / "search")
    search = GaussianMixtureSearch(
        k=[2, 4], covarianceType=["full", "EII"], inputCols=XY, criterion="icl", seed=3
    )
    search.save(path)
    loaded = GaussianMixtureSearch.load(path)
    assert type(loaded) is GaussianMixtureSearch
    assert loaded.uid == search.uid
    assert {p.name: v for p, v in loaded.extractParamMap().items()} == {
        p.name: v for p, v in search.extractParamMap().items()
    }
    GaussianMixtureSearch().write().overwrite().save(path)
    assert GaussianMixtureSearch.load(path).getK() == list(range(1, 10))
    with pytest.raises(ModelFileError, match=r"holds a gmm_spark\.search\.GaussianMixtureSearch"):
        GaussianMixture.load(path)


@pytest.mark.long
def test_in_a_pipeline(frame, tmp_path) -> None:
    assembler = VectorAssembler(inputCols=XY, outputCol="features")
    search = GaussianMixtureSearch(k=[2, 3], covarianceType=["tied", "EII"], seed=1)
    pipeline = Pipeline(stages=[assembler, search])
    pipeline.save(str(tmp_path / "pipeline"))
    fitted = Pipeline.load(str(tmp_path / "pipeline")).fit(frame)
    assert fitted.stages[-1].getK() == 3
    fitted.save(str(tmp_path / "fitted"))
    loaded = PipelineModel.load(str(tmp_path / "fitted"))
    assert loaded.stages[-1].summary.candidates == fitted.stages[-1].summary.candidates
    assert loaded.transform(frame).select("prediction").distinct().count() == 3
