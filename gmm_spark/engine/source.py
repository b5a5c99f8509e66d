"""The rows a fit is given, a DataFrame or a Parquet table, as a source of blocks."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession

from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.categories import find_categories
from gmm_spark.engine.cluster import cached, needed_session, released
from gmm_spark.engine.dataframe import (
    DataFrameSource,
    check_column,
    check_columns,
    feature_column,
    quoted,
)
from gmm_spark.engine.jobs import Source
from gmm_spark.engine.parquet import (
    ParquetSource,
    ParquetTable,
    absent_input,
    row_group_reader,
    task_numbers,
)
from gmm_spark.engine.table_files import TableFiles
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.families import FAMILIES, Category, FamilyColumns, numbers_of
from gmm_spark.mixture.spec import ColumnSettings, Missing

# What a fit is given, and with what warnings about its categories it comes.
Opened = tuple[Source, list[str]]


def check_source(
    dataset: DataFrame | ParquetTable,
    columns: ColumnSettings,
    missing: Missing,
    outcome: str | None = None,
) -> None:
    """Raise what `open_source` would raise before it reads a row: of columns and their types."""
    if isinstance(dataset, ParquetTable):
        files = dataset.files()
        if columns.numeric is not None:
            _check_categories(files, columns, missing)
            roles = _roles(columns, (), outcome)
            ParquetSource(needed_session(), dataset, roles, missing, files)
            return
        dataset = _frame_of(needed_session(), files, columns, outcome)
    _check_frame(dataset, columns, outcome)
    if columns.numeric is None:
        feature_column(dataset, columns.features_col)


def open_source(
    dataset: DataFrame | ParquetTable,
    columns: ColumnSettings,
    missing: Missing,
    max_categories: int,
    outcome: str | None = None,
) -> Opened:
    """The rows as a source, and warnings about the categories, whose values are counted first.

    `outcome` is a column that is read beside those that are fitted.

    Raises ConfigurationError or InputDataError for columns that cannot be read as they are named.
    """
    if isinstance(dataset, ParquetTable):
        spark, files = needed_session(), dataset.files()
        if columns.numeric is not None:
            return _from_table(spark, dataset, files, columns, missing, max_categories, outcome)
        if dataset.filters is not None:
            raise ConfigurationError(
                "filters need inputCols; for a vector column, filter a DataFrame"
            )
        dataset = _frame_of(spark, files, columns, outcome)
    return _from_frame(dataset, columns, max_categories, outcome)


def _frame_of(
    spark: SparkSession, files: TableFiles, columns: ColumnSettings, outcome: str | None
) -> DataFrame:
    """The table of a column of vectors as a DataFrame, with the outcome where there is one."""
    return files.frame(spark, [columns.features_col, *([] if outcome is None else [outcome])])


def _from_table(
    spark: SparkSession,
    table: ParquetTable,
    files: TableFiles,
    columns: ColumnSettings,
    missing: Missing,
    max_categories: int,
    outcome: str | None,
) -> Opened:
    weight = columns.weight
    categories: tuple[Category, ...] = ()
    notes: list[str] = []
    named = _told_apart(columns)
    if named:
        _check_categories(files, columns, missing)
        needed = tuple(named)
        if weight is not None:
            files.check(weight, "number", "every row needs a value there")
            needed += (weight,)
        reader, _ = row_group_reader(spark, files, needed)
        tasks = task_numbers(spark, reader)
        categories, notes = find_categories(tasks, named, max_categories, reader, weight)
    roles = _roles(columns, categories, outcome)
    return ParquetSource(spark, table, roles, missing, files), notes


def _from_frame(
    frame: DataFrame, columns: ColumnSettings, max_categories: int, outcome: str | None
) -> Opened:
    weight = columns.weight
    categories: tuple[Category, ...] = ()
    notes: list[str] = []
    kept: DataFrame | None = None
    named = _told_apart(columns)
    if named:
        _check_frame(frame, columns, outcome)
        # Its values are counted before they are packed: what is read twice is kept.
        others = (weight, columns.initial_label_col, columns.label_col, outcome)
        read = [*(columns.numeric or ()), *named, *numbers_of(_families(columns))]
        read += [name for name in others if name is not None]
        frame = kept = cached(frame.select(*map(quoted, dict.fromkeys(read))))
    try:
        if named:
            counted = [quoted(name).alias(str(i)) for i, name in enumerate(named)]
            if weight is not None:
                counted.append(quoted(weight).cast("double").alias(str(len(counted))))
            categories, notes = find_categories(
                frame.select(*counted), named, max_categories, weight=weight
            )
        source = DataFrameSource(
            frame,
            input_cols=columns.numeric,
            features_col=columns.features_col,
            weight=weight,
            label=columns.initial_label_col,
            membership=columns.label_col,
            families=_families(columns, categories),
            outcome=outcome,
        )
    finally:
        if kept is not None:
            released(kept)
    return source, notes


def _roles(columns: ColumnSettings, categories: tuple[Category, ...], outcome: str | None) -> Roles:
    return Roles(
        columns.numeric or (),
        columns.weight,
        columns.initial_label_col,
        columns.label_col,
        _families(columns, categories),
        outcome,
    )


def _told_apart(columns: ColumnSettings) -> list[str]:
    """The columns whose values are told apart."""
    return [name for kind in FAMILIES if kind.told_apart for name in columns.of_family(kind)]


def _families(
    columns: ColumnSettings, categories: Sequence[Category] = ()
) -> tuple[FamilyColumns, ...]:
    """The columns of every family that has any; of those that are told apart, these whose values
    are known."""
    found = []
    for kind in FAMILIES:
        names = columns.of_family(kind)
        own = [one for one in categories if one.name in names] if kind.told_apart else []
        if own or (names and not kind.told_apart):
            found.append(FamilyColumns.of(kind, names, own))
    return tuple(found)


def _check_categories(files: TableFiles, columns: ColumnSettings, missing: Missing) -> None:
    for name in _told_apart(columns):
        files.check(name, "category", absent_input(missing))


def _check_frame(frame: DataFrame, columns: ColumnSettings, outcome: str | None) -> None:
    for name in _told_apart(columns):
        check_column(frame, name, "category")
    check_columns(
        frame,
        columns.numeric,
        numbers_of(_families(columns)),
        columns.weight,
        columns.initial_label_col,
        columns.label_col,
        outcome,
    )
