"""The preparation as a stage of pyspark.ml: `Preparation(idCol="id").fit(data)`."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, TypeVar

from pyspark.ml import Estimator, Model
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from gmm_spark.engine.dataframe import check_once, sql_name
from gmm_spark.engine.inputs import kind_of, no_column
from gmm_spark.engine.sql import unreadable
from gmm_spark.errors import InputDataError, refusals
from gmm_spark.output_columns import refuse_taken
from gmm_spark.params import HasSettings, takes_settings, with_settings
from gmm_spark.prepare.columns import Column
from gmm_spark.prepare.dates import day_of
from gmm_spark.prepare.persistence import PreparationReader, PreparationWriter
from gmm_spark.prepare.proposal import LEFT_OUT, Role, proposed
from gmm_spark.prepare.scan import is_plain, sampled
from gmm_spark.prepare.settings import SETTINGS, PreparationSettings
from gmm_spark.prepare.treatments import Prepared, infinite_values, prepared_columns

logger = logging.getLogger(__name__)

_Stage = TypeVar("_Stage", bound="_PreparationStage")
# Columns listed in the error that all are left out.
_LISTED = 10
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class PreparedColumn:
    """A raw column, what it takes part as and why, and what it becomes."""

    name: str
    role: str
    reason: str
    prepared: tuple[Prepared, ...] = ()
    type: str = ""  # at training, as Spark calls it
    value: str = ""  # as SQL: a number, days from 1970-01-01, or text

    def described(self, suffix: str) -> dict[str, Any]:
        """As a plain dictionary."""
        said: dict[str, Any] = {"name": self.name, "role": self.role, "reason": self.reason}
        said["prepared"] = [one.named(suffix) for one in self.prepared]
        for key in ("treatment", "new_value", "null", "out_of_range"):
            said[key] = "; ".join(getattr(one, key) for one in self.prepared) or None
        return {**said, "value": self.value or None}


class _PreparationStage(HasSettings, MLWritable, MLReadable):  # type: ignore[misc]
    """What a preparation has, fitted or not."""

    @property
    def _chosen(self) -> PreparationSettings:
        """The settings, checked; those that a fitted preparation has no Param for by default."""
        return PreparationSettings(**self._values(self._settings))

    def _to_json(self) -> dict[str, Any]:
        return {}

    def _with_json(self: _Stage, stored: dict[str, Any]) -> _Stage:
        return self

    def write(self) -> PreparationWriter:
        """Returns a writer; `write().overwrite().save(path)` replaces what is there."""
        return PreparationWriter(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save to a path that does not exist yet."""
        self.write().save(path)

    @classmethod
    def read(cls) -> PreparationReader:
        """Returns a reader."""
        return PreparationReader(cls)

    @classmethod
    def load(cls: type[_Stage], path: str | os.PathLike[str]) -> _Stage:
        """Load what was saved; ModelFileError where there is none, or it cannot be read."""
        loaded: _Stage = cls.read().load(path)
        return loaded


@with_settings([each for each in SETTINGS if each.of_model])
class PreparationModel(Model, _PreparationStage):  # type: ignore[misc]
    """A fitted preparation: what every column takes part as, and what is done to it.

    `transform` adds the prepared columns behind those there are. All it does are `expressions`, in
    built-in SQL functions of the raw columns.
    """

    def __init__(self, columns: Sequence[PreparedColumn] = ()) -> None:
        super().__init__()
        self._prepared = tuple(columns)
        self._warnings: list[str] = []

    @property
    def warnings(self) -> list[str]:
        """What the fit found odd, a sentence each; none of a preparation that was loaded."""
        return list(self._warnings)

    @property
    def inputCols(self) -> list[str]:
        """Names of the prepared columns that are numbers: for inputCols of a mixture."""
        return self._names("number")

    @property
    def categoricalCols(self) -> list[str]:
        """Names of the prepared columns that are categories."""
        return self._names("category")

    @property
    def countCols(self) -> list[str]:
        """Names of the prepared columns that are counts."""
        return self._names("count")

    @property
    def inputs(self) -> dict[str, list[str]]:
        """The prepared columns as keyword arguments of a mixture: `GaussianMixture(k=4,
        missing="marginalize", **prepared.inputs)`."""
        names = {
            "inputCols": self.inputCols,
            "categoricalCols": self.categoricalCols,
            "countCols": self.countCols,
        }
        return {key: columns for key, columns in names.items() if columns}

    @property
    def expressions(self) -> list[str]:
        """The whole preparation, an SQL expression with its name for every prepared column.

        `model.setInputExpressions(preparation.expressions)` makes a mixture know how its columns
        were made.
        """
        suffix = self._suffix()
        return [f"{one.sql} AS {sql_name(one.named(suffix))}" for one in self._all()]

    @property
    def columns(self) -> list[dict[str, Any]]:
        """Every raw column, in order, a dictionary each.

        name : of the raw column
        role : number, category, count, date, or left out
        reason : why
        prepared : names of the columns made of it
        treatment : what is done, in words
        new_value, null, out_of_range : what a value that training has not seen, no value, and a
            number beyond those of training become
        value : the raw value in SQL, as the preparation reads it: a number, of a date the days from
            1970-01-01, or text

        All but the first four are None of a column that is left out.
        """
        suffix = self._suffix()
        return [column.described(suffix) for column in self._prepared]

    @property
    def leftOut(self) -> dict[str, str]:
        """The columns that take no part, and why."""
        return {one.name: one.reason for one in self._prepared if one.role == LEFT_OUT}

    def transform(self, dataset: DataFrame, params: Any = None) -> DataFrame:
        """The data with the prepared columns behind theirs.

        Raises InputDataError where a raw column is not there, or of a type that cannot be prepared.
        """
        _check(dataset, "transform")
        transformed: DataFrame = super().transform(dataset, params)
        return transformed

    @refusals()
    def _transform(self, dataset: DataFrame) -> DataFrame:
        suffix = self._chosen.suffix
        types = _types(dataset)
        for column in self._prepared:
            if column.prepared and column.name not in types:
                raise no_column(column.name, dataset.columns)
            if column.prepared and types[column.name].simpleString() != column.type:
                _check_type(dataset, column, types[column.name])
        refuse_taken([one.named(suffix) for one in self._all()], dataset.columns)
        made = (F.expr(one.sql).alias(one.named(suffix)) for one in self._all())
        return dataset.select("*", *made)

    def copy(self, extra: Any = None) -> PreparationModel:
        copied: PreparationModel = super().copy(extra)
        return copied

    def __repr__(self) -> str:
        kinds = Counter(one.role for one in self._all())
        listed = ", ".join(f"{number} {role}" for role, number in sorted(kinds.items()))
        return f"PreparationModel: uid={self.uid}, prepared columns: {listed or 'none'}"

    def _all(self) -> list[Prepared]:
        return [one for column in self._prepared for one in column.prepared]

    def _names(self, role: str) -> list[str]:
        suffix = self._suffix()
        return [one.named(suffix) for one in self._all() if one.role == role]

    def _suffix(self) -> str:
        return str(self.getOrDefault("suffix"))

    def _to_json(self) -> dict[str, Any]:
        return {"columns": [asdict(column) for column in self._prepared]}

    def _with_json(self, stored: dict[str, Any]) -> PreparationModel:
        self._prepared = tuple(
            PreparedColumn(
                one["name"],
                one["role"],
                one["reason"],
                tuple(Prepared(**made) for made in one["prepared"]),
                one["type"],
                one["value"],
            )
            for one in stored["columns"]
        )
        return self


@takes_settings(SETTINGS)
@with_settings(SETTINGS)
class Preparation(Estimator, _PreparationStage):  # type: ignore[misc]
    """Finds which columns take part in a mixture, as what, and what is to be done to them first.

    With inputCols, categoricalCols, countCols or dateCols these columns are prepared, each under
    its name and `suffix`: age becomes age_prepared. With none of them the columns and their roles
    are proposed from the data; `columns` of the model says which and why.

    Examples
    --------
    >>> from gmm_spark import GaussianMixture, Preparation
    >>> preparation = Preparation(idCol="customer", outcomeCols=["churn"])
    >>> prepared = preparation.fit(customers)  # doctest: +SKIP
    >>> mixture = GaussianMixture(k=4, missing="marginalize", **prepared.inputs)  # doctest: +SKIP
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self._set(**settings)

    def setParams(self, **settings: Any) -> Preparation:
        """Sets the given Params."""
        return self._set(**settings)

    @refusals()
    def fit(self, dataset: DataFrame, params: Any = None) -> Any:
        """Fit the preparation to all the rows: two Spark jobs, three where a column may name
        the rows, and a sample of 20,000 rows.

        Raises
        ------
        ConfigurationError : a Param is wrong, or names a column twice
        InputDataError : a named column is not there or does not suit its role, there are no
            rows, or no column is left
        """
        _check(dataset, "fit")
        if dataset.isStreaming:
            raise InputDataError(
                "a preparation is fitted to data that are all there; this DataFrame is a stream"
            )
        return super().fit(dataset, params)

    @refusals()
    def fitToSample(self, dataset: DataFrame, sample: Sequence[Column]) -> PreparationModel:
        """As `fit`, to a sample that is there already: what `prepare.scan.sampled` gives of the
        columns that may take part, others among them."""
        return self._fitted(dataset, sample)

    def _fit(self, dataset: DataFrame) -> PreparationModel:
        return self._fitted(dataset, None)

    def _fitted(self, dataset: DataFrame, sample: Sequence[Column] | None) -> PreparationModel:
        settings = self._chosen
        types = _types(dataset)
        reference = _days(settings.reference_date)
        for name in settings.named:
            if name not in types:
                raise no_column(name, dataset.columns)
        taken = list(settings.said) or [name for name in types if name not in settings.named]
        as_text = settings.categorical_cols
        read = sampled(dataset, taken, settings.seed, as_text) if sample is None else sample
        found = {column.name: column for column in read if column.name in taken}
        columns = [found.get(name, Column(name, "none")) for name in types]
        roles = proposed(columns, settings)
        pairs = list(zip(columns, roles, strict=True))
        if reference is None:
            dates = [one for one, role in pairs if role.role == one.kind == "date"]
            reference = _latest(dataset, dates)
        prepared = [
            PreparedColumn(
                role.name,
                role.role,
                role.reason,
                prepared_columns(column, role, settings, reference),
                types[role.name].simpleString(),
                column.sql if role.takes_part else "",
            )
            for column, role in pairs
        ]
        _refuse_none(roles)
        model = PreparationModel(prepared)
        refuse_taken([one.named(settings.suffix) for one in model._all()], dataset.columns)
        model._resetUid(self.uid)
        model._warnings = [
            f"column {one.name!r}: {infinite_values(one, made.prepared[0])}"
            for one, made in zip(columns, prepared, strict=True)
            if one.num_infinite and made.prepared
        ]
        for told in model._warnings:
            logger.warning("%s", told)
        return self._copyValues(model)


def _latest(dataset: DataFrame, columns: Sequence[Column]) -> int:
    """The latest of the dates in the columns, in days from 1970-01-01."""
    if not columns:
        return 0
    (row,) = dataset.agg(*(F.expr(f"max({column.sql})") for column in columns)).collect()
    return int(max((days for days in row if days is not None), default=0))


def _days(text: str | None) -> int | None:
    """The reference date as days from 1970-01-01."""
    day = day_of("referenceDate", text)
    return None if day is None else day.toordinal() - _EPOCH


def _refuse_none(roles: Sequence[Role]) -> None:
    if any(role.takes_part for role in roles):
        return
    listed = "; ".join(f"{role.name} ({role.reason})" for role in roles[:_LISTED])
    more = f"; and {len(roles) - _LISTED} more" if len(roles) > _LISTED else ""
    raise InputDataError(
        f"all columns are left out: {listed}{more}; name those that take part with inputCols, "
        "categoricalCols, countCols or dateCols"
    )


def _check(dataset: Any, who: str) -> None:
    if not isinstance(dataset, DataFrame):
        raise InputDataError(
            f"{who} of a preparation takes a Spark DataFrame; this is {kind_of(dataset)}"
        )


def _types(dataset: DataFrame) -> dict[str, T.DataType]:
    for name in dataset.columns:
        check_once(dataset, name)
    return {field.name: field.dataType for field in dataset.schema.fields}


def _check_type(dataset: DataFrame, column: PreparedColumn, kind: T.DataType) -> None:
    problem = None if is_plain(kind) else "no number, text or date"
    for one in column.prepared:
        problem = problem or unreadable(dataset, one.sql)
    if problem is not None:
        raise InputDataError(
            f"column {column.name!r} was prepared as a {column.role} and is now "
            f"{kind.simpleString()}: {problem}"
        )
