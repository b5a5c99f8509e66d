"""Models in MLflow: pyfunc predicts what the mixture says. Files in tmp_path, no server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gmm_spark import GaussianMixtureModel
from gmm_spark.errors import ConfigurationError, InputDataError

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed (the extra mlflow)")

WEIGHTS, LEVELS = [0.6, 0.4], ["monthly", "two years"]
TABLE = np.array([[0.9, 0.1], [0.2, 0.8]])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """MLflow with runs and models in files: no server, and nothing asked of the network."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    yield tmp_path
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


@pytest.fixture
def customers() -> GaussianMixtureModel:
    return GaussianMixtureModel.fromParameters(
        weights=WEIGHTS,
        means=[[5.0], [60.0]],
        covariances=[[[9.0]], [[400.0]]],
        inputCols=["tenure"],
        categories={"contract": (LEVELS, TABLE)},
    )


def test_a_registered_model_predicts_by_bayes_rule(
    store: Path, customers: GaussianMixtureModel
) -> None:
    from gmm_spark.mlflow import log_model

    customers.setLogLikelihoodCol("log_density")
    with mlflow.start_run():
        info = log_model(customers, "segments", registered_model_name="customers")
    assert info.registered_model_version == 1
    loaded = mlflow.pyfunc.load_model("models:/customers/1")
    # Whole numbers, in another order, beside a column that is none of the model's.
    rows = pd.DataFrame(
        {"id": ["a", "b", "c"], "contract": [*LEVELS, "monthly"], "tenure": [4, 70, 21]},
        index=[7, 3, 5],
    )
    found = loaded.predict(rows)
    joint = np.array(WEIGHTS) * stats.norm.pdf(rows.tenure.to_numpy()[:, None], [5, 60], [3, 20])
    joint *= TABLE[:, [0, 1, 0]].T
    assert list(found.index) == [7, 3, 5]
    assert found.prediction.tolist() == [0, 1, 1] == joint.argmax(axis=1).tolist()
    probabilities = found[["probability_0", "probability_1"]].to_numpy()
    np.testing.assert_allclose(probabilities, joint / joint.sum(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(found.log_density, np.log(joint.sum(axis=1)), rtol=1e-9)
    # As transform has it: text is no number, and nothing is a gap.
    for strange, said in (
        (["4", "70", "21"], "column 'tenure' has type string, a number is needed"),
        (["4", 70, 21], "the rows are not of one type a column: "),
        (None, "3 of 3 rows have a gap"),
    ):
        with pytest.raises(InputDataError, match=said):
            loaded.predict(rows.assign(tenure=strange))
    signature = loaded.metadata.signature
    assert signature.inputs.input_names() == ["tenure", "contract"]
    assert signature.outputs.input_names() == list(found.columns)


@pytest.mark.long
def test_it_is_loaded_without_pickle_and_scores_without_a_session(
    store: Path, customers: GaussianMixtureModel
) -> None:
    from gmm_spark.mlflow import save_model

    path = store / "saved"
    save_model(customers, path)
    kinds = {each.suffix for each in path.rglob("*") if each.is_file()}
    assert not kinds & {".pkl", ".pickle"}
    program = f"""
import sys
def refuse(event, arguments):
    if event == "subprocess.Popen" and "java" in str(arguments):
        raise RuntimeError("a JVM was started")
sys.addaudithook(refuse)
import mlflow
model = mlflow.pyfunc.load_model({str(path)!r})
print(model.predict(model.input_example).prediction.tolist())
import gmm_spark
print(gmm_spark.__file__)
"""
    # Elsewhere: the package is the one that was saved beside the model.
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=store,
        env={"PATH": "", "PYTHONPATH": ":".join(each for each in sys.path if "site-" in each)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    predictions, where = done.stdout.strip().splitlines()[-2:]
    assert json.loads(predictions) == [0, 1]
    assert Path(where).is_relative_to(path)


def test_gaps_and_rows_that_cannot_be_scored(store: Path, customers: GaussianMixtureModel) -> None:
    from gmm_spark.mlflow import save_model

    rows = pd.DataFrame({"tenure": [4.0, np.nan], "contract": ["monthly", None]})
    found = {}
    for missing in "error", "skip", "marginalize":
        save_model(customers.setMissing(missing), store / missing)
        found[missing] = mlflow.pyfunc.load_model(str(store / missing))
    with pytest.raises(InputDataError, match=r"1 of 2 rows have a gap .*'tenure'"):
        found["error"].predict(rows)
    skipped = found["skip"].predict(rows)
    assert skipped.prediction.tolist() == [0, pd.NA]
    assert skipped.probability_0.isna().tolist() == [False, True]
    # Of a row of which nothing is known the weights are all there is.
    assert found["marginalize"].predict(rows).probability_0.tolist()[1] == WEIGHTS[0]
    with pytest.raises(mlflow.MlflowException, match=r"missing inputs \['contract'\]"):
        found["skip"].predict(rows[["tenure"]])
    assert list(found["skip"].predict(rows[:0]).columns) == list(skipped.columns)


def test_the_types_of_an_example_are_those_of_the_signature(
    store: Path, customers: GaussianMixtureModel
) -> None:
    from gmm_spark.mlflow import save_model

    example = pd.DataFrame({"tenure": [3], "contract": ["monthly"], "id": [1]})
    save_model(customers, store / "strict", input_example=example)
    inputs = mlflow.pyfunc.load_model(str(store / "strict")).metadata.signature.inputs
    assert [str(each.type) for each in inputs.inputs] == ["DataType.long", "DataType.string"]
    with pytest.raises(InputDataError, match="input_example: found no column contract"):
        save_model(customers, store / "another", input_example=example[["tenure"]])


def test_a_model_of_merged_clusters_vectors_and_noise(store: Path) -> None:
    from gmm_spark.mlflow import save_model

    model = GaussianMixtureModel.fromParameters(
        weights=[0.4, 0.3, 0.2],
        means=[[0.0, 0.0], [3.0, 0.0], [30.0, 0.0]],
        covariances=np.array([np.eye(2)] * 3),
        noiseWeight=0.1,
        noiseBox=[[-100.0, 100.0]] * 2,
    )
    merged = model.mergeComponents(None, 2, by="bhattacharyya").setOutlierThreshold(-20.0)
    merged.setComponentCol("component").setOutlierCol("outlier")
    save_model(merged, store / "merged")
    rows = pd.DataFrame({"features": [[0.1, 0.0], [3.1, 0.2], [30.0, 0.0], [-80.0, 70.0]]})
    found = mlflow.pyfunc.load_model(str(store / "merged")).predict(rows)
    assert found.prediction.tolist() == [0, 0, 1, -1]
    assert found.component.tolist() == [0, 1, 2, -1]
    assert found.probability_noise[3] > 0.999
    np.testing.assert_allclose(found.filter(like="probability").sum(axis=1), 1.0, rtol=1e-12)


def test_a_fit_is_logged_and_pyfunc_equals_transform(store: Path, model: Any, frame: Any) -> None:
    from gmm_spark.mlflow import log_fit, log_model

    with mlflow.start_run() as run:
        log_fit(model)
        info = log_model(model)
    client = mlflow.MlflowClient()
    kept = client.get_run(run.info.run_id).data
    assert kept.params["k"] == str(model.getK())
    assert kept.metrics["bic"] == pytest.approx(model.summary.bic, rel=1e-12)
    assert kept.tags["gmm_spark.reason"] == model.summary.reason
    levels = client.get_metric_history(run.info.run_id, "mean_log_likelihood")
    assert levels[-1].value == pytest.approx(model.summary.meanLogLikelihood, rel=1e-12)
    names = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert {"summary.json", "segments.html"} <= names
    expected = model.transform(frame).toPandas()
    found = mlflow.pyfunc.load_model(info.model_uri).predict(expected[["x", "y"]])
    assert found.prediction.tolist() == expected.prediction.tolist()
    probabilities = np.array([row.toArray() for row in expected.probability])
    assert (found.filter(like="probability").to_numpy() == probabilities).all()


def test_what_came_from_no_fit_has_none_to_log(
    store: Path, customers: GaussianMixtureModel
) -> None:
    from gmm_spark.mlflow import log_fit

    with pytest.raises(ConfigurationError, match="log_fit: the model came from no fit"):
        log_fit(customers)
