"""Saving and loading models, estimators and pipelines; files that are damaged."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.util import DefaultParamsWriter

from gmm_spark import GaussianMixture, GaussianMixtureModel
from gmm_spark.errors import ConfigurationError, ModelFileError
from gmm_spark.summary import GaussianMixtureSummary


def tree(directory: Path) -> dict[str, bytes]:
    """Every file and what is in it."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    model.save(str(path))
    return path


def test_a_model_comes_back_as_it_was(saved, model, frame) -> None:
    loaded = GaussianMixtureModel.load(str(saved))
    for name in ("weights", "means", "covariances"):
        assert_array_equal(getattr(loaded, name), getattr(model, name))
    assert loaded.uid == model.uid
    assert loaded.summary == model.summary
    assert loaded.extractParamMap() == {
        loaded.getParam(param.name): value for param, value in model.extractParamMap().items()
    }
    assert loaded.transform(frame).collect() == model.transform(frame).collect()
    with pytest.raises(RuntimeError, match=r"model\.transform"):
        loaded.summary.predictions  # noqa: B018


def same_parameters(one: Any, other: Any) -> bool:
    names = "weights", "means", "covariances", "tables", "rates"
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)


def test_the_way_of_its_parameters_comes_back_with_a_model(saved, model) -> None:
    before, after = model.summary, GaussianMixtureModel.load(str(saved)).summary
    assert len(before.parameterHistory) == len(after.parameterHistory) == before.numPasses
    assert len(before.sampleHistory) == len(after.sampleHistory) > 5
    assert all(map(same_parameters, after.parameterHistory, before.parameterHistory))
    for one, other in zip(after.sampleHistory, before.sampleHistory, strict=True):
        assert same_parameters(one["parameters"], other["parameters"])
        assert {k: v for k, v in one.items() if k != "parameters"} == {
            k: v for k, v in other.items() if k != "parameters"
        }
    kept = json.loads(part(saved, "metadata").read_text("utf-8"))["history"]
    assert kept["records"] == kept["kept"] == len(before.sampleHistory) + before.numPasses
    assert kept["shapes"]["means"] == [3, 2]


def test_a_model_without_that_loads_as_those_of_earlier_releases(saved, model, tmp_path) -> None:
    """Of these, the metadata say nothing of it either."""
    old = tmp_path / "old"
    shutil.copytree(saved, old)
    shutil.rmtree(old / "history")
    for _ in range(2):
        loaded = GaussianMixtureModel.load(str(old))
        assert loaded.summary == model.summary
        assert (loaded.summary.parameterHistory, loaded.summary.sampleHistory) == ([], [])
        assert_array_equal(loaded.means, model.means)
        for file in (old / "metadata").glob(".*.crc"):
            file.unlink()
        rewritten(history=...)(old)


def test_a_wide_model_keeps_both_ends_of_its_way_in_two_megabytes(spark, model, tmp_path) -> None:
    """30 components of 60 columns: its parameters are 0.88 MB at every pass."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(30, 60, 60))
    wide = GaussianMixtureModel.fromParameters(
        np.full(30, 1 / 30), rng.normal(size=(30, 60)), factors @ factors.swapaxes(1, 2)
    )
    passes = [replace(wide.parameters, means=rng.normal(size=(30, 60))) for _ in range(9)]
    step = {"step": 0, "round": 0, "kind": "start", "rows": 50, "meanLogLikelihood": -1.0}
    history = [model.summary.history[0]]
    history += [{**model.summary.history[1], "pass": number} for number in range(1, 10)]
    wide._with_summary(
        replace(
            model.summary,
            numPasses=9,
            history=history,
            parameterHistory=passes,
            sampleHistory=[{**step, "parameters": passes[3]}],
        )
    )
    wide.save(str(tmp_path / "m"))
    files = [path for path in (tmp_path / "m" / "history").rglob("*") if path.is_file()]
    assert 1_000_000 < sum(path.stat().st_size for path in files) < 2_000_000
    summary = GaussianMixtureModel.load(str(tmp_path / "m")).summary
    assert same_parameters(summary.sampleHistory[0]["parameters"], passes[3])
    assert summary.parameterHistory[:-1] == [None] * 8
    assert same_parameters(summary.parameterHistory[-1], passes[-1])


SHAPES: dict[str, Any] = {
    "VVV": [[[1.0, 0.3], [0.3, 2.0]], [[0.1, 0.0], [0.0, 1e-9]]],
    "EEE": [[1.0, 0.3], [0.3, 2.0]],
    "VVI": [[1.0, 1 / 3], [1e-9, 1e9]],
    "EEI": [1 / 3, 2.0],
    "VII": [0.1, 1e-12],
    "EII": 1 / 7,
    "EVI": [[1 / 3, 3.0], [0.1, 10.0]],
    "VEV": [[[1 / 3, 0.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, 1.0]]],
}


@pytest.mark.parametrize("code", SHAPES)
def test_parameters_of_every_structure_come_back_to_the_bit(spark, tmp_path, code) -> None:
    given = GaussianMixtureModel.fromParameters(
        [2 / 3, 1 / 3], [[0.1, 1e150], [1 / 3, -5e-324]], SHAPES[code], covarianceType=code
    )
    given.save(str(tmp_path / "m"))
    loaded = GaussianMixtureModel.load(str(tmp_path / "m"))
    assert loaded.parameters.structure == given.parameters.structure
    for name in ("weights", "means", "covariances"):
        assert_array_equal(getattr(loaded.parameters, name), getattr(given.parameters, name))
    assert not loaded.hasSummary
    assert loaded.getCovarianceType() == given.parameters.structure.name


def test_nothing_that_is_saved_is_a_pickle(saved) -> None:
    files = {Path(name).suffix for name in tree(saved)}
    assert files <= {".txt", ".parquet", ".crc", ""}
    (metadata,) = saved.glob("metadata/part*")
    assert json.loads(metadata.read_text())["formatVersion"] == 1


def test_a_used_path_is_refused_and_left_as_it_was(model, saved, tmp_path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    shutil.copytree(saved, tmp_path / "model")
    GaussianMixture(k=2).save(str(tmp_path / "estimator"))
    before = tree(tmp_path)
    for name in ("notes", "file", "empty", "model", "estimator"):
        for thing in (model, GaussianMixture(k=3, initialModel=model)):
            with pytest.raises(ConfigurationError, match=rf"{name} exists already; use write"):
                thing.save(str(tmp_path / name))
    assert tree(tmp_path) == before
    assert list((tmp_path / "empty").iterdir()) == []


def test_overwriting_replaces_what_was_there(model, saved, tmp_path) -> None:
    path = tmp_path / "m"
    GaussianMixture(k=7).save(str(path))
    model.write().overwrite().save(str(path))
    assert_array_equal(GaussianMixtureModel.load(str(path)).means, model.means)
    assert not list(path.glob("initialModel"))


def test_half_a_model_is_none(model, tmp_path, monkeypatch) -> None:
    """The metadata are written last: where that fails, what is there is not taken for a model."""

    def full_disk(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(DefaultParamsWriter, "saveMetadata", staticmethod(full_disk))
    with pytest.raises(OSError, match="no space left"):
        model.save(str(tmp_path / "m"))
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match="no model at"):
        GaussianMixtureModel.load(str(tmp_path / "m"))


def test_loading_from_a_path_where_nothing_is(spark, tmp_path) -> None:
    for kind in (GaussianMixture, GaussianMixtureModel):
        with pytest.raises(ModelFileError, match=r"there is no model at .*absent"):
            kind.load(str(tmp_path / "absent"))


def test_loading_what_something_else_saved(spark, model, saved, tmp_path) -> None:
    VectorAssembler(inputCols=["x"], outputCol="v").save(str(tmp_path / "other"))
    for kind, path in (
        (GaussianMixture, saved),
        (GaussianMixture, tmp_path / "other"),
        (GaussianMixtureModel, tmp_path / "other"),
    ):
        with pytest.raises(ModelFileError, match=f"holds a .*{kind.__name__} was asked for"):
            kind.load(str(path))


def part(path: Path, directory: str) -> Path:
    (found,) = (path / directory).glob("part*")
    return found


def cut(directory: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = part(path, directory)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return damage


def without(directory: str) -> Callable[[Path], None]:
    return lambda path: shutil.rmtree(path / directory)


def rewritten(**changes: Any) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = part(path, "metadata")
        metadata = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({k: v for k, v in metadata.items() if v is not ...}))

    return damage


def first_row(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = part(path, "data")
        data = pq.read_table(file)
        rows = data.to_pylist()
        rows[0][name] = change(rows[0][name])
        pq.write_table(pa.Table.from_pylist(rows, data.schema), file)

    return damage


def a_row_less(path: Path) -> None:
    file = part(path, "data")
    pq.write_table(pq.read_table(file).slice(1), file)


def a_byte_flipped(path: Path) -> None:
    file = part(path, "data")
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(bytes(content))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "metadata cut": (cut("metadata"), "unreadable metadata"),
    "metadata gone": (without("metadata"), "no model at"),
    "metadata empty": (lambda path: part(path, "metadata").write_text(""), "unreadable metadata"),
    "metadata no object": (
        lambda path: part(path, "metadata").write_text("[1, 2]\n"),
        "unreadable metadata",
    ),
    "data cut": (cut("data"), "is corrupt"),
    "data gone": (without("data"), "is corrupt: .*Path does not exist"),
    "data flipped": (a_byte_flipped, "is corrupt"),
    "a component gone": (a_row_less, "is corrupt: 2 of 3 components are there"),
    "a weight changed": (
        first_row("weight", lambda weight: weight + 0.01),
        r"is corrupt: .*weights must .* sum to 1\.01",
    ),
    "a weight null": (first_row("weight", lambda weight: None), "is corrupt"),
    "a mean short": (first_row("mean", lambda mean: mean[:1]), "is corrupt"),
    "a covariance not positive": (
        first_row("covariance", lambda c: [-value for value in c]),
        "is corrupt: .*variance is not positive",
    ),
    "a nan": (first_row("mean", lambda mean: [float("nan"), 1.0]), "is corrupt: .*not finite"),
    "structure unknown": (rewritten(structure="ABC"), "is corrupt"),
    "k gone": (rewritten(k=...), "is corrupt"),
    "summary damaged": (rewritten(summary={"k": 3}), "is corrupt"),
    "clusters of other components": (
        rewritten(merging={"clusters": [[0, 7]], "merges": []}),
        r"is corrupt: clusters \[\[0, 7\]\] are not of 3 components",
    ),
    "a newer format": (rewritten(formatVersion=9), "has format version 9, this release reads"),
    "no format": (rewritten(formatVersion=...), "has format version None"),
    "a format of text": (rewritten(formatVersion="1"), "has format version 1: no release"),
    "format zero": (rewritten(formatVersion=0), "has format version 0: no release"),
}


@pytest.mark.parametrize("checksums", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_said_to_be_one(spark, saved, tmp_path, damage, checksums) -> None:
    """Whether the checksums of Hadoop's local files still lie beside it or not."""
    path = tmp_path / "damaged"
    shutil.copytree(saved, path)
    for file in [] if checksums else path.rglob(".*.crc"):
        file.unlink()
    inflict, expected = DAMAGES[damage]
    inflict(path)
    with pytest.raises(ModelFileError) as caught:
        GaussianMixtureModel.load(str(path))
    said = str(caught.value)
    assert str(path) in said
    assert "\n" not in said
    assert "calling o" not in said
    if not checksums:
        assert re.search(expected, said)


def test_a_damaged_estimator_is_said_to_be_one(spark, tmp_path) -> None:
    path = tmp_path / "estimator"
    GaussianMixture(k=2).save(str(path))
    for file in path.rglob(".*.crc"):
        file.unlink()
    metadata = json.loads(part(path, "metadata").read_text())
    rewritten(paramMap={**metadata["paramMap"], "k": "two"})(path)
    with pytest.raises(ModelFileError, match=r"is corrupt: .*two"):
        GaussianMixture.load(str(path))


def test_an_estimator_comes_back_with_all_params_and_its_start(
    spark, model, frame, tmp_path
) -> None:
    given = GaussianMixture(
        k=3,
        inputCols=["x", "y"],
        seed=11,
        tol=1e-5,
        maxIter=7,
        covarianceType="tied",
        covarianceFloor=0.01,
        missing="skip",
        logLikelihoodCol="density",
        initialModel=model,
    )
    given.save(str(tmp_path / "e"))
    loaded = GaussianMixture.load(str(tmp_path / "e"))
    assert loaded.uid == given.uid

    def others(of: GaussianMixture) -> dict[str, Any]:
        params = of.extractParamMap().items()
        return {param.name: value for param, value in params if param.name != "initialModel"}

    assert others(loaded) == others(given)
    assert_array_equal(loaded.getInitialModel().means, model.means)
    assert_array_equal(loaded.fit(frame).means, given.fit(frame).means)


def test_files_that_hold_null_for_a_param_load(spark, model, frame, tmp_path) -> None:
    """They were written where an optional setting was given as None."""
    optional = ("weightCol", "labelCol", "initialLabelCol", "outlierThreshold", "categoricalCols")
    nulls = dict.fromkeys((*optional, "countCols", "seed", "missing"))
    estimator = GaussianMixture(k=3, inputCols=["x", "y"])
    Pipeline(stages=[estimator]).save(str(tmp_path / "pipeline"))
    PipelineModel([model]).save(str(tmp_path / "fitted"))
    estimator.save(str(tmp_path / "estimator"))
    model.save(str(tmp_path / "model"))
    stages = [
        path for name in ("pipeline", "fitted") for path in (tmp_path / name).glob("stages/*")
    ]
    paths = [tmp_path / "estimator", tmp_path / "model", *stages]
    assert len(paths) == 4
    for path in paths:
        for file in path.rglob(".*.crc"):
            file.unlink()
        metadata = json.loads(part(path, "metadata").read_text())
        rewritten(paramMap={**metadata["paramMap"], **nulls})(path)
    (stage,) = Pipeline.load(str(tmp_path / "pipeline")).getStages()
    loaded = PipelineModel.load(str(tmp_path / "fitted")).stages[0]
    for found in (
        stage,
        loaded,
        GaussianMixture.load(str(tmp_path / "estimator")),
        GaussianMixtureModel.load(str(tmp_path / "model")),
    ):
        assert found.getK() == 3
        assert [name for name in nulls if found.isSet(name)] == []
        assert (found.getSeed(), found.getMissing()) == (0, "error")
    assert loaded.transform(frame).collect() == model.transform(frame).collect()


def test_what_was_given_as_none_is_not_written(spark, tmp_path) -> None:
    given = GaussianMixture(k=2, inputCols=["x"], weightCol=None, seed=None, initialModel=None)
    given.save(str(tmp_path / "e"))
    assert json.loads(part(tmp_path / "e", "metadata").read_text())["paramMap"] == {
        "k": 2,
        "inputCols": ["x"],
    }


def test_a_start_is_not_kept_with_the_model_that_came_of_it(spark, model, frame, tmp_path) -> None:
    fitted = GaussianMixture(k=3, inputCols=["x", "y"], initialModel=model, maxIter=1).fit(frame)
    assert fitted.getInitialModel() is None
    fitted.save(str(tmp_path / "m"))
    assert GaussianMixtureModel.load(str(tmp_path / "m")).getInitialModel() is None


def test_pipelines_come_back(spark, frame, tmp_path) -> None:
    assembler = VectorAssembler(inputCols=["x", "y"], outputCol="features")
    pipeline = Pipeline(stages=[assembler, GaussianMixture(k=3, seed=3, tol=1e-3)])
    fitted = pipeline.fit(frame)
    pipeline.save(str(tmp_path / "pipeline"))
    fitted.save(str(tmp_path / "fitted"))
    stage = Pipeline.load(str(tmp_path / "pipeline")).getStages()[1]
    assert isinstance(stage, GaussianMixture)
    assert (stage.getK(), stage.getTol()) == (3, 1e-3)
    loaded = PipelineModel.load(str(tmp_path / "fitted"))
    assert isinstance(loaded.stages[1], GaussianMixtureModel)
    assert_array_equal(loaded.stages[1].means, fitted.stages[1].means)
    assert loaded.transform(frame).collect() == fitted.transform(frame).collect()


def test_what_was_loaded_can_be_saved_again(saved, tmp_path) -> None:
    loaded = GaussianMixtureModel.load(str(saved))
    loaded.save(str(tmp_path / "again"))
    again = GaussianMixtureModel.load(str(tmp_path / "again"))
    assert again.summary == loaded.summary
    assert np.array_equal(again.covariances, loaded.covariances)


def test_a_summary_from_before_rows_and_weights_were_told_apart_is_read(model) -> None:
    old = model.summary.to_json()
    sizes = old["clusterSizes"]
    for name in ("clusterWeights", "noiseWeightSum", "numZeroWeight", "effectiveNumRows"):
        del old[name]
    loaded = GaussianMixtureSummary.from_json(old | {"noiseSize": 7})
    assert loaded.clusterWeights == sizes
    assert (loaded.noiseSize, loaded.noiseWeightSum) == (7, 7.0)
    assert (loaded.numZeroWeight, loaded.effectiveNumRows) == (0, None)
