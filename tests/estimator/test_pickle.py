"""Models, estimators and searches are pickled, deep-copied, and used on the workers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from pyspark import cloudpickle
from pyspark.ml.linalg import Vectors
from pyspark.sql import functions as F

from gmm_spark import GaussianMixture, GaussianMixtureModel, GaussianMixtureSearch, ParquetTable
from tests.test_imports import WITHOUT, python

WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "oldest protocol": lambda value: pickle.loads(pickle.dumps(value, protocol=2)),
    "deepcopy": copy.deepcopy,
    "cloudpickle": lambda value: cloudpickle.loads(cloudpickle.dumps(value)),
}


def named(params: Any) -> dict[str, Any]:
    """The Params of an object that are set or have a default, by name."""
    return {param.name: value for param, value in params.extractParamMap().items()}


@pytest.fixture(scope="module")
def fitted(spark, frame, model, tmp_path_factory) -> dict[str, Any]:
    """Models by where they come from."""
    path = tmp_path_factory.mktemp("pickled")
    frame.write.parquet(str(path / "table"))
    model.save(str(path / "model"))
    quick: dict[str, Any] = {"inputCols": ["x", "y"], "numInit": 1, "maxIter": 2}
    table = ParquetTable(str(path / "table"))
    search = GaussianMixtureSearch(k=[1, 2], **quick)
    return {
        "DataFrame": model,
        "ParquetTable": GaussianMixture(k=2, noise=True, contamination=0.01, **quick).fit(table),
        "search": search.fit(frame),
        "loaded": GaussianMixtureModel.load(str(path / "model")),
        "given": GaussianMixtureModel.fromParameters([1.0], [[0.0, 1.0]], [[[1.0, 0], [0, 1]]]),
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", ["DataFrame", "ParquetTable", "search", "loaded", "given"])
def test_a_model_comes_back_with_params_and_summary(fitted, source, way) -> None:
    given = fitted[source]
    before = given.summary._predictions if given.hasSummary else None
    found = WAYS[way](given)
    assert type(found) is type(given)
    assert found.uid == given.uid
    assert named(found) == named(given)
    assert [p.name for p in found.params if found.isSet(p)] == [
        p.name for p in given.params if given.isSet(p)
    ]
    for name in ("weights", "means", "covariances"):
        assert_array_equal(getattr(found, name), getattr(given, name))
    point = Vectors.dense([9.0, 2.0])
    assert found.predict(point) == given.predict(point)
    assert_array_equal(found.predictProbability(point), given.predictProbability(point))
    assert found.hasSummary == given.hasSummary
    if given.hasSummary:
        assert found.summary == given.summary
        assert len(found.summary.parameterHistory) == len(given.summary.parameterHistory)
        assert len(found.summary.sampleHistory) == len(given.summary.sampleHistory) > 0
        assert given.summary._predictions is before
        with pytest.raises(RuntimeError, match=r"unpickled .* use model\.transform"):
            found.summary.predictions  # noqa: B018
    found.setPredictionCol("another")
    assert given.getPredictionCol() == "prediction"


@pytest.mark.parametrize("way", WAYS)
def test_an_estimator_comes_back_with_its_start(model, way) -> None:
    given = GaussianMixture(k=3, inputCols=["x", "y"], seed=5, weightCol=None, initialModel=model)
    found = WAYS[way](given)
    assert (found.uid, found.getK(), found.getSeed()) == (given.uid, 3, 5)
    assert not found.isSet("weightCol")
    assert_array_equal(found.getInitialModel().means, model.means)
    assert found.setParams(tol=0.5).getTol() == 0.5
    assert given.getTol() == 1e-6
    search = WAYS[way](GaussianMixtureSearch(k=[2, 3], criterion="aic"))
    assert (search.getK(), search.getCriterion()) == ([2, 3], "aic")


@pytest.mark.parametrize("way", WAYS)
def test_a_transform_after_it_is_that_of_before(frame, model, way) -> None:
    assert WAYS[way](model).transform(frame).collect() == model.transform(frame).collect()


def test_a_model_is_used_on_the_workers(spark, frame, model) -> None:
    """In a function of rows, of series, and of batches: none of them has a session there."""

    def of_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            yield pd.DataFrame({"found": [model.predict(row) for row in batch.to_numpy()]})

    @F.pandas_udf("int")  # type: ignore[call-overload]
    def of_series(x: pd.Series, y: pd.Series) -> pd.Series:
        return pd.Series([model.predict(Vectors.dense(row)) for row in zip(x, y, strict=True)])

    of_rows = F.udf(lambda x, y: model.predict([x, y]), "int")
    rows = model.transform(frame).limit(20)
    scored = rows.select("prediction", of_rows("x", "y"), of_series("x", "y")).collect()
    assert len(scored) == 20
    for prediction, by_row, by_series in scored:
        assert prediction == by_row == by_series
    found = [row.found for row in frame.mapInPandas(of_batches, "found int").collect()]
    assert found == [row.prediction for row in model.transform(frame).collect()]


def test_a_worker_unpickles_and_predicts_with_numpy_pandas_and_pyarrow_alone(model) -> None:
    point = np.array([9.0, 2.0])
    packages = ("scipy", "threadpoolctl", "pydantic", "yaml", "sklearn")
    code = (
        f"{WITHOUT.format(packages=packages)}\n"
        "import pickle\n"
        f"model = pickle.loads({pickle.dumps(model)!r})\n"
        "print(model.predict([9.0, 2.0]), model.summary.k)\n"
        "core = sys.modules.get('pyspark.core.context')\n"
        "print(core.SparkContext._gateway if core else None)\n"
    )
    assert python(code).split() == [str(model.predict(point)), "3", "None"]
