"""What every estimator, model and stage of the package keeps to, as stages of pyspark.ml do.

Another class is one line in STAGES, which a test holds against what the package has.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.ml import Estimator, Model, Pipeline, PipelineModel, Transformer
from pyspark.ml.param import Param
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import functions as F

import gmm_spark
from gmm_spark.errors import ConfigurationError, GmmError, InputDataError, ModelFileError
from gmm_spark.prepare.stage import PreparedColumn
from gmm_spark.prepare.treatments import Prepared

COLUMNS = ["x", "y"]


@dataclass(frozen=True)
class Stage:
    """A class with arguments that suit the table; `made` says how one is come by where not by its
    constructor, `changed` is a Param with another value that suits it too, and `wrong` one with
    a value that nothing suits (None where every value of the right type does)."""

    kind: type
    arguments: dict[str, Any]
    changed: tuple[str, Any]
    wrong: tuple[str, Any] | None
    made: Callable[..., Any] | None = None
    name: str = ""  # where the class has a line already
    # A column it adds, and the Param that names it with another value and the name then.
    adds: str = "prediction"
    renamed: tuple[str, str, str] = ("predictionCol", "other", "other")
    unusable: str = "CAST(y AS STRING)"  # what it cannot take for its column y
    has_summary: bool = True  # of what is fitted

    def make(self, **more: Any) -> Any:
        made = self.made or self.kind
        stage = made(**self.arguments)
        return stage._set(**more) if more else stage


_MIXTURE = {"weights": [0.5, 0.5], "means": [[0.0, 0.0], [9.0, 9.0]]}
_MIXTURE["covariances"] = [[[1.0, 0.0], [0.0, 1.0]]] * 2
_FAST = {"inputCols": COLUMNS, "numInit": 1, "maxIter": 3}
STAGES = (
    Stage(gmm_spark.GaussianMixture, {"k": 2, **_FAST}, ("tol", 0.5), ("tol", -1.0)),
    Stage(gmm_spark.GaussianMixtureSearch, {"k": [1, 2], **_FAST}, ("tol", 0.5), ("tol", -1.0)),
    Stage(
        gmm_spark.GaussianMixtureModel,
        {**_MIXTURE, "inputCols": COLUMNS},
        ("predictionCol", "segment"),
        ("predictionCol", "x"),
        gmm_spark.GaussianMixtureModel.fromParameters,
    ),
)
STAGES = (
    *STAGES,
    Stage(
        gmm_spark.GaussianMixtureModel,
        {**_MIXTURE, "inputCols": COLUMNS},
        ("componentCol", "part"),
        ("componentCol", "x"),
        lambda **arguments: gmm_spark.GaussianMixtureModel.fromParameters(
            **arguments
        ).mergeComponents(None, 1, "bhattacharyya"),
        "MergedModel",
    ),
)
_TWICE = Prepared("y", "2 * y", "number", "doubled", "taken as it is", "null", "taken as it is")
_PREPARES: dict[str, Any] = {
    "adds": "y_prepared",
    "renamed": ("suffix", "_other", "y_other"),
    "unusable": "array(y)",
    "has_summary": False,
}
STAGES = (
    *STAGES,
    Stage(
        gmm_spark.Preparation,
        {"inputCols": COLUMNS},
        ("suffix", "_new"),
        ("maxCategories", 1),
        **_PREPARES,
    ),
    Stage(
        gmm_spark.PreparationModel,
        {},
        ("suffix", "_new"),
        ("suffix", ""),
        lambda: gmm_spark.PreparationModel([PreparedColumn("y", "number", "said", (_TWICE,))]),
        **_PREPARES,
    ),
)
ESTIMATORS = [stage for stage in STAGES if issubclass(stage.kind, Estimator)]


def _named(stage: Stage) -> str:
    return stage.name or stage.kind.__name__


every_stage = pytest.mark.parametrize("stage", STAGES, ids=_named)
every_estimator = pytest.mark.parametrize("stage", ESTIMATORS, ids=_named)


@pytest.fixture(scope="module")
def data(spark: Any) -> Any:
    rng = np.random.default_rng(5)
    rows = np.concatenate([rng.normal(size=(60, 2)), rng.normal(size=(40, 2)) + 9])
    return spark.createDataFrame(pd.DataFrame(rows, columns=COLUMNS).assign(id=range(100)))


@pytest.fixture(scope="module")
def transformers(data: Any) -> dict[str, Any]:
    """Of every stage what transforms: itself, or the model it fits."""
    made = {}
    for stage in STAGES:
        one = stage.make()
        made[_named(stage)] = one.fit(data) if isinstance(one, Estimator) else one
    return made


def _values(stage: Any) -> dict[str, Any]:
    return {p.name: v for p, v in stage.extractParamMap().items()}


def _rows(frame: Any) -> list[Any]:
    return sorted(map(tuple, frame.collect()), key=lambda row: row[2])


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def test_every_class_of_the_package_is_held_to_this(spark) -> None:
    found = {
        value
        for value in (getattr(gmm_spark, name) for name in gmm_spark.__all__)
        if inspect.isclass(value) and issubclass(value, (Estimator, Transformer))
    }
    assert found == {stage.kind for stage in STAGES}


@every_stage
def test_it_is_made_without_arguments_and_by_keywords_alone(spark, stage) -> None:
    made = stage.kind()
    assert made.uid.startswith(stage.kind.__name__)
    assert made.uid != stage.kind().uid
    if stage.made is None:
        with pytest.raises(TypeError):
            stage.kind(2)
        with pytest.raises(TypeError):
            stage.kind(noSuchParam=2)
        parameters = inspect.signature(stage.kind).parameters
        assert set(parameters) <= {param.name for param in made.params}
        for name, parameter in parameters.items():
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
            default = parameter.default
            if made.hasDefault(name):
                expected = made.getOrDefault(name)
                assert (list(default) if isinstance(expected, list) else default) == expected
            else:
                assert default is None


@every_stage
def test_every_param_is_explained_read_and_set(spark, stage) -> None:
    made = stage.make()
    explained = made.explainParams()
    for param in made.params:
        assert param.doc, param.name
        assert f"{param.name}: {param.doc}" in explained
        assert made.getParam(param.name) is param
        assert isinstance(param, Param)
        if isinstance(made, Estimator):
            assert getattr(made, f"get{_capital(param.name)}").__doc__
            assert getattr(made, f"set{_capital(param.name)}").__doc__
    name, value = stage.changed
    assert getattr(made, f"set{_capital(name)}")(value) is made
    assert getattr(made, f"get{_capital(name)}")() == made.getOrDefault(name) == value


@every_stage
def test_none_is_not_set(spark, stage) -> None:
    made = stage.make()
    name, value = stage.changed
    before = made.getOrDefault(name)
    getattr(made, f"set{_capital(name)}")(value)
    made.set(made.getParam(name), None)
    assert made.getOrDefault(name) == before
    assert not made.isSet(name)


@every_stage
def test_a_copy_is_another_stage_with_the_same_values(spark, stage) -> None:
    made = stage.make()
    name, value = stage.changed
    copied = made.copy()
    assert copied is not made
    assert type(copied) is type(made)
    assert copied.uid == made.uid
    assert _values(copied) == _values(made)
    changed = made.copy({made.getParam(name): value})
    assert changed.getOrDefault(name) == value
    assert made.getOrDefault(name) != value
    assert made.getOrDefault(name) == copied.getOrDefault(name)


@every_stage
def test_it_is_saved_and_loaded(spark, stage, tmp_path) -> None:
    name, value = stage.changed
    made = stage.make(**{name: value})
    assert isinstance(made, MLWritable)
    assert isinstance(made, MLReadable)
    path = f"{tmp_path}/stage"
    made.save(path)
    loaded = stage.kind.load(path)
    assert type(loaded) is stage.kind
    assert loaded.uid == made.uid
    assert _values(loaded) == _values(made)
    assert {p.name for p in loaded._paramMap} == {p.name for p in made._paramMap}
    with pytest.raises(ConfigurationError, match="exists already"):
        made.save(path)
    stage.make().write().overwrite().save(path)
    assert stage.kind.read().load(path).getOrDefault(name) != value
    with pytest.raises(ModelFileError, match="there is no model"):
        stage.kind.load(f"{tmp_path}/nothing")
    others = [other.kind for other in STAGES if other.kind is not stage.kind]
    for other in others:
        with pytest.raises(ModelFileError, match=stage.kind.__name__):
            other.load(path)


@every_stage
def test_it_goes_through_pickle(spark, stage) -> None:
    name, value = stage.changed
    made = stage.make(**{name: value})
    found = pickle.loads(pickle.dumps(made))
    assert type(found) is stage.kind
    assert found.uid == made.uid
    assert {n: repr(v) for n, v in _values(found).items()} == {
        n: repr(v) for n, v in _values(made).items()
    }


@every_estimator
def test_what_is_fitted_knows_its_estimator(stage, data, transformers) -> None:
    fitted = transformers[_named(stage)]
    assert isinstance(fitted, Model)
    assert fitted.uid.startswith(stage.kind.__name__)
    assert not stage.has_summary or fitted.hasSummary
    name, value = stage.changed
    changed = stage.make()
    found = changed.fit(data, {changed.getParam(name): value})
    assert found.getOrDefault(name) == value
    assert changed.getOrDefault(name) != value


@every_estimator
def test_several_param_maps_fit_several_models(stage, data) -> None:
    made = stage.make()
    name, value = stage.changed
    found = made.fit(data, [{made.getParam(name): value}, {}])
    assert [one.getOrDefault(name) == value for one in found] == [True, False]


@every_stage
def test_transform_adds_columns_behind_those_there_are(stage, data, transformers) -> None:
    transformer = transformers[_named(stage)]
    out = transformer.transform(data)
    width = len(data.columns)
    assert out.columns[:width] == data.columns
    assert len(out.columns) > width
    assert [field.dataType for field in out.schema][:width] == [f.dataType for f in data.schema]
    assert [row[:width] for row in _rows(out)] == _rows(data)
    name, value, column = stage.renamed
    renamed = transformer.transform(data, {transformer.getParam(name): value})
    assert column in renamed.columns
    assert column not in transformer.transform(data).columns


@every_stage
def test_it_is_a_stage_of_a_pipeline(stage, data, transformers, tmp_path) -> None:
    pipeline = Pipeline(stages=[stage.make()])
    fitted = pipeline.fit(data)
    expected = _rows(transformers[_named(stage)].transform(data))
    assert _rows(fitted.transform(data)) == expected
    fitted.save(f"{tmp_path}/fitted")
    assert _rows(PipelineModel.load(f"{tmp_path}/fitted").transform(data)) == expected
    pipeline.save(f"{tmp_path}/pipeline")
    (loaded,) = Pipeline.load(f"{tmp_path}/pipeline").getStages()
    assert _values(loaded) == _values(stage.make()._resetUid(loaded.uid))


@every_stage
def test_bad_input_is_one_line_and_one_of_ours(stage, data, transformers) -> None:
    made, transformer = stage.make(), transformers[_named(stage)]
    refused: list[Callable[[], Any]] = [
        lambda: transformer.transform(data.drop("y")),
        lambda: transformer.transform(data.withColumn("y", F.expr(stage.unusable))),
        lambda: transformer.transform(data.withColumnRenamed("id", stage.adds)),
        lambda: transformer.transform([1, 2]),
    ]
    if isinstance(made, Estimator):
        name, value = stage.wrong or stage.changed
        refused += [
            lambda: made.fit(data.drop("y")),
            lambda: made.fit(data.withColumn("y", F.expr(stage.unusable))),
            lambda: made.fit(data.limit(0)),
            lambda: made.fit(data.toPandas()),
            lambda: stage.make(**{name: value}).fit(data),
        ]
    elif stage.wrong is not None:
        name, value = stage.wrong
        refused.append(lambda: stage.make(**{name: value}).transform(data))
    for number, wrong in enumerate(refused):
        with pytest.raises((ConfigurationError, InputDataError)) as caught:
            wrong()
        assert isinstance(caught.value, GmmError), number
        assert len(str(caught.value).splitlines()) == 1, number
        assert str(caught.value), number
