"""Models in MLflow: logged, registered, and loaded as `mlflow.pyfunc`, which scores a pandas
DataFrame without Spark.

Needs the extra `mlflow` (mlflow-skinny is enough), and whoever scores numpy, pandas, pyarrow and
pyspark, of which no session is started.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gmm_spark.engine.column_types import check_type
from gmm_spark.engine.scoring import BatchScoring
from gmm_spark.errors import ConfigurationError, InputDataError, ModelFileError
from gmm_spark.mixture.arrays import from_arrays, to_arrays
from gmm_spark.mixture.families import Count, told_apart
from gmm_spark.scoring import row_columns, scoring_of_batches

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel

_FILE = "scoring.npz"
# Rows of the example that is saved beside a model.
_EXAMPLES = 5
# What is imported where a model is loaded; pandas and pyspark take the rest along.
_REQUIREMENTS = "numpy", "pandas", "pyarrow", "pyspark"


def log_model(
    model: GaussianMixtureModel,
    name: str = "model",
    *,
    registered_model_name: str | None = None,
    input_example: pd.DataFrame | None = None,
    **options: Any,
) -> Any:
    """Log a model to the active run of MLflow, or to one that is begun, as
    `mlflow.sklearn.log_model` does; returns MLflow's ModelInfo.

    `mlflow.pyfunc.load_model(info.model_uri).predict(frame)` gives the columns that `transform`
    adds: prediction, probability_0 to probability_<k-1> (and probability_noise), and, where the
    model has names for them, log density, uncertainty, outlier and component; equal to those of
    `transform`, for the same columns of input.

    Parameters
    ----------
    name : of the model among the run's
    registered_model_name : the registered model that this becomes a version of
    input_example : some rows of the columns that the model reads, whose types become those of the
        signature, which MLflow takes strictly: no whole numbers for doubles. Without it columns are
        of any type, as for `transform`, and the example is the middle of the first components
    options : of `mlflow.pyfunc.log_model`, such as pip_requirements, tags

    Raises ConfigurationError where mlflow is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _mlflow().pyfunc.log_model(
            name=name,
            registered_model_name=registered_model_name,
            **_arguments(model, Path(folder), input_example, options),
        )


def save_model(
    model: GaussianMixtureModel,
    path: str | Path,
    *,
    input_example: pd.DataFrame | None = None,
    **options: Any,
) -> None:
    """Save a model as a directory of MLflow's format, as `log_model` logs it."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = _arguments(model, Path(folder), input_example, options)
        _mlflow().pyfunc.save_model(path=str(path), **arguments)


def log_fit(model: GaussianMixtureModel) -> None:
    """Log what is known of a fit to the active run of MLflow, or to one that is begun.

    params : every Param of the model that is set or has a default
    metrics : the figures of the summary (logLikelihood, meanLogLikelihood, bic, aic, icl,
        numIter, numPasses, numRows); mean_log_likelihood, a step a pass
    tags : gmm_spark.converged, gmm_spark.reason, gmm_spark.warnings
    artifacts : summary.json, segments.html (the segments side by side, with the warnings)

    Raises ConfigurationError where mlflow is not installed, or the model came from no fit.
    """
    mlflow = _mlflow()
    if not model.hasSummary:
        raise ConfigurationError("log_fit: the model came from no fit; expected one with a summary")
    summary = model.summary
    mlflow.log_params(_params(model))
    figures = summary.to_json()
    mlflow.log_metrics(
        {
            name: float(value)
            for name, value in figures.items()
            if isinstance(value, (int, float))
            and not isinstance(value, bool)
            and np.isfinite(value)
        }
    )
    for record in summary.history:
        if record["meanLogLikelihood"] is not None:
            level = float(record["meanLogLikelihood"])
            mlflow.log_metric("mean_log_likelihood", level, step=record["pass"])
    mlflow.set_tags(
        {
            "gmm_spark.converged": summary.converged,
            "gmm_spark.reason": summary.reason,
            "gmm_spark.warnings": len(summary.warnings),
        }
    )
    mlflow.log_dict(figures, "summary.json")
    mlflow.log_text(model._repr_html_(), "segments.html")


def _mlflow() -> Any:
    try:
        import mlflow
        import mlflow.pyfunc
    except ImportError:
        raise ConfigurationError(
            "mlflow is not installed: pip install 'gmm_spark[mlflow]'"
        ) from None
    return mlflow


def _params(model: GaussianMixtureModel) -> dict[str, Any]:
    """Name and value of every Param that has one, but for a start, which is a model."""
    found = model.extractParamMap()
    return {param.name: value for param, value in found.items() if param.name != "initialModel"}


def _arguments(
    model: GaussianMixtureModel,
    folder: Path,
    input_example: pd.DataFrame | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """What MLflow is told to save: the numbers, the code that reads them, and the columns."""
    _mlflow()
    columns = _columns(model)
    scoring = scoring_of_batches(model, columns, 0)
    example = _middles(model, columns) if input_example is None else input_example
    if absent := [name for name in columns if name not in example.columns]:
        raise InputDataError(
            f"input_example: found no column {', '.join(absent)}; expected {', '.join(columns)}"
        )
    np.savez(folder / _FILE, **to_arrays(scoring))  # type: ignore[arg-type]
    arguments: dict[str, Any] = {
        "loader_module": __name__,
        "data_path": str(folder / _FILE),
        "code_paths": [str(Path(__file__).parent)],
        "pip_requirements": [_requirement(name) for name in _REQUIREMENTS],
        "signature": _signature(scoring, example[columns], is_strict=input_example is not None),
        "input_example": example[columns],
        "metadata": {
            "gmm_spark": sys.modules["gmm_spark"].__version__,
            "inputExpressions": list(model.getInputExpressions()),
        },
    }
    return {**arguments, **options}


def _requirement(name: str) -> str:
    from importlib.metadata import version

    return f"{name}=={version(name)}"


def _columns(model: GaussianMixtureModel) -> list[str]:
    """The columns that a row is scored by."""
    names = model._input_columns()
    return [model.getFeaturesCol()] if names is None else row_columns(model, names)


def _middles(model: GaussianMixtureModel, columns: list[str]) -> pd.DataFrame:
    """The means, rates and most probable values of the first components, a row each."""
    means = model.means[:_EXAMPLES]
    if model._input_columns() is None:
        return pd.DataFrame({columns[0]: means.tolist()})
    found: dict[str, Any] = dict(zip(columns, means.T, strict=False))
    found |= zip(model._columns.of_family(Count), model.rates[:_EXAMPLES].T, strict=True)
    for name, levels in model.categories.items():
        best = model.probabilities(name)[:_EXAMPLES].argmax(axis=1)
        found[name] = [levels[level] for level in best]
    return pd.DataFrame({name: found[name] for name in columns})


def _signature(scoring: BatchScoring, example: pd.DataFrame, *, is_strict: bool) -> Any:
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType

    kinds = {"int": DataType.integer, "double": DataType.double, "bool": DataType.boolean}
    outputs = Schema([ColSpec(kinds[kind], name) for name, kind in output_columns(scoring)])
    if is_strict:
        return ModelSignature(inputs=infer_signature(example).inputs, outputs=outputs)
    inputs = Schema([ColSpec(AnyType(), name) for name in example.columns])
    return ModelSignature(inputs=inputs, outputs=outputs)


def output_columns(scoring: BatchScoring) -> list[tuple[str, str]]:
    """Name and type (int, double or bool) of the columns that `PandasScorer` gives."""
    probability, prediction, *others = scoring.outputs
    parameters = scoring.scorer.parameters
    segments = parameters.k if scoring.clusters is None else len(scoring.clusters)
    numbers = [*map(str, range(segments)), *([] if parameters.noise is None else ["noise"])]
    found = [(prediction, "int")]
    found += [(f"{probability}_{number}", "double") for number in numbers if probability]
    found += zip(others, ("double", "double", "bool", "int"), strict=True)
    return [(name, kind) for name, kind in found if name]


class PandasScorer:
    """Scores rows of a pandas DataFrame: the python_model of MLflow's pyfunc."""

    def __init__(self, scoring: BatchScoring) -> None:
        self.scoring = scoring

    def predict(self, frame: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The columns of `output_columns`, for rows with the columns that the model reads, in any
        order (of others MLflow says which are absent). InputDataError as `transform` raises it; a
        row that missing="skip" leaves out has nothing anywhere."""
        if not len(frame):
            return pd.DataFrame({name: [] for name, _ in output_columns(self.scoring)})
        wanted = list(self.scoring.columns)
        try:
            batch = pa.RecordBatch.from_pandas(frame[wanted], preserve_index=False)
        except pa.ArrowException as error:
            raise InputDataError(f"the rows are not of one type a column: {error}") from None
        self._check_types(batch.schema)
        (scored,) = self.scoring([batch])
        names = [name for name in self.scoring.outputs if name]
        found = dict(zip(names, scored.columns, strict=True))
        columns: dict[str, Any] = {}
        if probability := self.scoring.outputs[0]:
            columns = _entries(probability, found.pop(probability), self.scoring)
        columns |= {name: _as_numpy(array) for name, array in found.items()}
        return pd.DataFrame(
            {name: columns[name] for name, _ in output_columns(self.scoring)}, index=frame.index
        )

    def _check_types(self, schema: pa.Schema) -> None:
        """As `transform`: text is no number, whatever it says. A column of nothing is a gap."""
        categories = told_apart(self.scoring.families)
        for name in self.scoring.inputs or ():
            kind = schema.field(name).type
            if not pa.types.is_null(kind):
                check_type(name, kind, "category" if name in categories else "number")


def _as_numpy(array: pa.Array) -> Any:
    """Values for pandas: whole numbers and booleans stay such beside nothing."""
    if not array.null_count or pa.types.is_floating(array.type):
        return array.to_numpy(zero_copy_only=False)
    kind = "boolean" if pa.types.is_boolean(array.type) else "Int32"
    return pd.array(array.to_pylist(), dtype=kind)


def _entries(name: str, vectors: pa.Array, scoring: BatchScoring) -> dict[str, Any]:
    """The entries of MLlib's vectors, a column each."""
    values = vectors.field("values").flatten().to_numpy(zero_copy_only=False)
    values = values.reshape(len(vectors), -1)
    names = [each for each, _ in output_columns(scoring) if each.startswith(f"{name}_")]
    return dict(zip(names, values.T, strict=True))


def _load_pyfunc(path: str) -> PandasScorer:
    """The scorer that was saved at a path: what MLflow calls."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return PandasScorer(from_arrays(BatchScoring, arrays))
    except ValueError as error:
        raise ModelFileError(f"the model at {path} cannot be used: {error}") from None
