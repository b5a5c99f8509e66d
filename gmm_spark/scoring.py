"""Transform, on the driver: what a model reads of the data, what it adds, and who computes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame
from pyspark.sql import types as T

from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.cluster import needed_session
from gmm_spark.engine.column_types import arrow_types
from gmm_spark.engine.dataframe import (
    DataFrameSource,
    check_column,
    feature_column,
    quoted,
)
from gmm_spark.engine.jobs import Source
from gmm_spark.engine.pandas_udfs import is_carried, scored_beside
from gmm_spark.engine.parquet import (
    ParquetSource,
    ParquetTable,
    absent_input,
    kept_columns,
    row_group_reader,
    spark_fields,
    task_numbers,
)
from gmm_spark.engine.scoring import BatchScoring, Scorer, Scores, TableScoring
from gmm_spark.engine.table_files import TableFiles
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.expressions import column_name, shown_expression
from gmm_spark.mixture.families import FAMILIES, numbers_of, told_apart
from gmm_spark.mixture.spec import MISSING, Missing
from gmm_spark.output_columns import refuse_taken

if TYPE_CHECKING:
    from gmm_spark.model import GaussianMixtureModel


def transformed(model: GaussianMixtureModel, dataset: DataFrame) -> DataFrame:
    """The rows of a DataFrame with the output columns."""
    added = _outputs(model, dataset.columns)
    # mapInArrow asks for every column by its name, and does not quote it: numbers do.
    width = len(dataset.columns)
    numbered = dataset.toDF(*map(str, range(width)))
    fields = [*numbered.schema.fields, *numbered_fields(added, width)]
    scoring = batch_scoring(model, dataset, dataset.columns, width)
    if all(is_carried(field.dataType) for field in dataset.schema):
        scored = numbered.mapInArrow(scoring, T.StructType(fields))
    else:
        scored = scored_beside(numbered, scoring, fields[width:])
    return scored.toDF(*dataset.columns, *(field.name for field in added))


def transformed_table(model: GaussianMixtureModel, table: ParquetTable) -> DataFrame:
    """The rows of a Parquet table, which the workers read, with the output columns."""
    spark, files = needed_session(), table.files()
    kept = kept_columns(table, files)
    names = model._input_columns()
    fields = spark_fields(spark, files, kept)
    types = arrow_types(fields)
    if types is None or names is None:
        if table.filters is not None:
            raise ConfigurationError(
                "filters need inputCols, and columns of numbers, text, booleans or dates; "
                "filter a DataFrame instead"
            )
        outputs = [field.name for field in _outputs(model, [])]
        frame = files.frame(spark, [*kept, *row_columns(model, names or [])])
        return transformed(model, frame).select(*map(quoted, [*kept, *outputs]))
    added = _outputs(model, kept)
    names = row_columns(model, names)
    read = [*kept, *(name for name in names if name not in kept)]
    scoring = batch_scoring(model, files, read, len(kept))
    reader, _ = row_group_reader(spark, files, tuple(read))
    work = TableScoring(reader, types, scoring)
    scored = task_numbers(spark, reader).mapInArrow(
        work, T.StructType([*numbered_fields(fields, 0), *numbered_fields(added, len(kept))])
    )
    return scored.toDF(*kept, *(field.name for field in added))


def scored_row(model: GaussianMixtureModel, value: Any) -> Scores:
    """The scores of one row, a vector."""
    if model.parameters.families:
        others = " or ".join(kind.name for kind in FAMILIES)
        raise ConfigurationError(f"a row of a model with {others} is no vector; use transform")
    row = np.asarray(value.toArray() if hasattr(value, "toArray") else value, dtype=float)
    if row.shape != (model.numFeatures,):
        raise ConfigurationError(
            f"the row has {row.size} entries, the model {model.numFeatures} columns"
        )
    features = model.getFeaturesCol()
    names = model._input_columns() or [f"{features}[{i}]" for i in range(row.size)]
    found = Scorer(model.parameters, missing_values(model), tuple(names)).score(row[:, None])
    return found if model._merging is None else found.of_clusters(model._merging.clusters)


def missing_values(model: GaussianMixtureModel) -> Missing:
    """What becomes of gaps; ConfigurationError where that is none of the choices."""
    missing: Any = model.getMissing()
    if missing not in MISSING:
        known = f"{', '.join(MISSING[:-1])} or {MISSING[-1]}"
        raise ConfigurationError(f"missing: {missing!r} is not known; use {known}")
    found: Missing = missing
    return found


def row_columns(model: GaussianMixtureModel, names: list[str]) -> list[str]:
    """The columns that a row is scored by, in the order of a block's rows."""
    return [*names, *(name for columns in model._family_columns() for name in columns.names)]


def rows_of(
    model: GaussianMixtureModel, dataset: DataFrame | ParquetTable, membership: str | None = None
) -> Source:
    """The rows as the model reads them, with the values of categories that it knows; `membership`
    is a column of known components. To be closed.

    Raises ConfigurationError or InputDataError for columns that it cannot read.
    """
    names, weight = model._input_columns(), model._columns.weight
    families = model._family_columns()
    if isinstance(dataset, ParquetTable):
        spark, files = needed_session(), dataset.files()
        if names is not None:
            check_inputs(model, files, names)
            roles = Roles(tuple(names), weight, None, membership, families)
            return ParquetSource(spark, dataset, roles, missing_values(model), files)
        if dataset.filters is not None:
            raise ConfigurationError(
                "filters need inputCols; for a vector column, filter a DataFrame"
            )
        dataset = files.frame(spark, [model.getFeaturesCol()])
    if names is not None:
        check_inputs(model, dataset, names)
    source = DataFrameSource(
        dataset,
        input_cols=names,
        features_col=model.getFeaturesCol(),
        weight=weight,
        label=None,
        membership=membership,
        families=families,
    )
    if len(source.roles.features) != model.numFeatures:
        source.close()
        raise InputDataError(
            f"the rows have {len(source.roles.features)} features, the model was fitted on "
            f"{model.numFeatures}"
        )
    return source


def check_carried(dataset: DataFrame, who: str) -> None:
    """Raise where a column cannot go through Python."""
    for field in dataset.schema:
        if not is_carried(field.dataType):
            raise ConfigurationError(
                f"column {field.name!r} has type {field.dataType.simpleString()}, which cannot go "
                f"through the Python workers and back; drop it before {who}"
            )


def check_inputs(
    model: GaussianMixtureModel,
    dataset: DataFrame | TableFiles,
    names: list[str],
    only: Sequence[str] | None = None,
) -> None:
    """Raise where the data lack an input column (of all, or of those in `only`), or have it with
    another type."""
    if len(names) != model.numFeatures:
        raise ConfigurationError(
            f"inputCols names {len(names)} columns, the model was fitted on {model.numFeatures}"
        )
    families = model._family_columns()
    numbers, categories = [*names, *numbers_of(families)], told_apart(families)
    if only is not None:
        numbers = [name for name in numbers if name in only]
        categories = [name for name in categories if name in only]
    read = [*numbers, *categories]
    if isinstance(dataset, TableFiles):
        _expect_made(model, dataset.schema.names, read)
        absent = absent_input(missing_values(model))
        for name in numbers:
            dataset.check(name, "number", absent)
        for name in categories:
            dataset.check(name, "category", absent)
        return
    _expect_made(model, dataset.columns, read)
    for name in numbers:
        check_column(dataset, name, "number")
    for name in categories:
        check_column(dataset, name, "category")


def _expect_made(model: GaussianMixtureModel, columns: list[str], names: list[str]) -> None:
    """Raise where a column is absent that an expression made before the fit."""
    made = {column_name(text): text for text in model.getInputExpressions()}
    for name in names:
        if name in made and name not in columns:
            raise InputDataError(
                f"there is no column {name!r} in the data; the model was trained on "
                f"{shown_expression(made[name])}: add it, as with "
                "dataset.selectExpr('*', *model.getInputExpressions())"
            )


def _outputs(model: GaussianMixtureModel, columns: list[str]) -> list[T.StructField]:
    """The output columns, with MLlib's attributes; ConfigurationError where one is taken."""
    segments, noise = len(model.clusters), int(model.parameters.noise is not None)
    kinds: list[tuple[T.DataType, dict[str, Any]]] = [
        (VectorUDT(), {"num_attrs": segments + noise}),
        # Noise, -1, is none of the values, as readers of MLlib's attributes want them.
        (T.IntegerType(), {"num_vals": segments, "type": "nominal"}),
        (T.DoubleType(), {}),
        (T.DoubleType(), {}),
        (T.BooleanType(), {}),
        (T.IntegerType(), {"num_vals": model.parameters.k, "type": "nominal"}),
    ]
    fields = [
        T.StructField(name, kind, metadata={"ml_attr": attributes} if attributes else None)
        for name, (kind, attributes) in zip(_output_names(model), kinds, strict=True)
        if name
    ]
    refuse_taken([field.name for field in fields], columns)
    return fields


def batch_scoring(
    model: GaussianMixtureModel, dataset: DataFrame | TableFiles, columns: list[str], kept: int
) -> BatchScoring:
    """What scores the rows of a dataset, of whose columns the first that many are kept; raises
    where it lacks what the model reads."""
    names = model._input_columns()
    if names is not None:
        check_inputs(model, dataset, names)
    elif isinstance(dataset, DataFrame):
        _expect_made(model, dataset.columns, [model.getFeaturesCol()])
        feature_column(dataset, model.getFeaturesCol())
    return scoring_of_batches(model, columns, kept)


def scoring_of_batches(
    model: GaussianMixtureModel, columns: Sequence[str], kept: int
) -> BatchScoring:
    """What scores batches of these columns, of which the first that many are kept."""
    names = model._input_columns()
    if names is not None:
        names = row_columns(model, names)
    features = model.getFeaturesCol()
    entries = names or [f"{features}[{i}]" for i in range(model.numFeatures)]
    threshold = model.getOutlierThreshold()
    return BatchScoring(
        tuple(columns),
        kept,
        Scorer(model.parameters, missing_values(model), tuple(entries)),
        None if names is None else tuple(names),
        features,
        _output_names(model),
        model._family_columns(),
        -np.inf if threshold is None else threshold,
        None if model._merging is None else model._merging.clusters,
    )


def _output_names(model: GaussianMixtureModel) -> tuple[str, str, str, str, str, str]:
    return model._columns.outputs(
        model.getOutlierThreshold() is not None, merged=model._merging is not None
    )


def numbered_fields(fields: list[T.StructField], first: int) -> list[T.StructField]:
    return [
        T.StructField(str(first + i), field.dataType, metadata=field.metadata)
        for i, field in enumerate(fields)
    ]
