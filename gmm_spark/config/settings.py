"""The settings of each job."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from gmm_spark.config.filters import conditions
from gmm_spark.config.messages import shown

Text = Annotated[str, StringConstraints(min_length=1)]
# YAML reads 2026-11-01 as a date and 202611 as a number; both are meant as they are written.
Label = Annotated[
    Text,
    BeforeValidator(
        lambda v: str(v) if isinstance(v, (datetime.date, int)) and not isinstance(v, bool) else v
    ),
]


def _whole(column: str) -> str:
    if column.count("(") != column.count(")"):
        raise ValueError(
            f"found {column!r}, cut at a comma; expected JSON where an expression has one: "
            """'["a", "round(b, 2) as c"]'"""
        )
    return column


Operator = Literal["=", "==", "!=", "<", "<=", ">", ">=", "in", "not in"]
Column = Annotated[Text, AfterValidator(_whole)]


def _values_of_an_operator(condition: tuple[str, str, Any]) -> tuple[str, str, Any]:
    column, operator, value = condition
    if isinstance(value, (list, tuple)) != (operator in ("in", "not in")):
        expected = "a list" if operator in ("in", "not in") else "one value"
        raise ValueError(f"found {shown(value)} for {column} {operator}; expected {expected}")
    return condition


def _conditions(value: Any) -> Any:
    """Conditions as text, "tenure > 3", among those in three parts."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)):
        return value
    each = [conditions(entry) if isinstance(entry, str) else [entry] for entry in entries]
    return [condition for found in each for condition in found]


Filter = Annotated[tuple[Text, Operator, Any], AfterValidator(_values_of_an_operator)]
Covariance = Literal[
    "full", "tied", "diag", "spherical", "VVV", "EEE", "VVI", "EEI", "VII", "EII"
]  # fmt: skip


def _alone_if_one(value: Any) -> Any:
    """A list of one is that one, since the command line makes a list of every value."""
    if isinstance(value, str) and "," in value:
        return [part.strip() for part in value.split(",")]
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _one_or_several(value: Any) -> str:
    return "several" if isinstance(value, (list, tuple)) else "one"


def _not_empty(values: list[Any]) -> list[Any]:
    if not values:
        raise ValueError("found []; expected at least one value")
    return values


# One value, or a list to choose from. Which it is is asked first, so that what a mistake says is
# of the one that was meant.
_Components = Annotated[int, Field(ge=1)]
Components = Annotated[
    Annotated[_Components, Tag("one")]
    | Annotated[list[_Components], AfterValidator(_not_empty), Tag("several")],
    Discriminator(_one_or_several),
    BeforeValidator(_alone_if_one),
]
Covariances = Annotated[
    Annotated[Covariance, Tag("one")]
    | Annotated[list[Covariance], AfterValidator(_not_empty), Tag("several")],
    Discriminator(_one_or_several),
    BeforeValidator(_alone_if_one),
]


def _without_nulls(values: Any) -> Any:
    """A key without a value, or with null, is one that was left out."""
    if not isinstance(values, dict):
        return values
    given = {key: value for key, value in values.items() if value not in (None, [None])}
    return {key: _without_nulls(value) for key, value in given.items()}


class InputSettings(BaseModel):
    """The table to read: a path or a catalog table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Text | None = Field(None, description="directory, file or URI")
    table: Text | None = Field(None, description="catalog table, instead of path")
    format: Literal["parquet", "csv", "json", "orc", "avro", "delta", "iceberg"] = Field(
        "parquet", description="format of path"
    )
    options: dict[str, str | bool | int | float] = Field(
        default_factory=dict, description="options of Spark's reader, e.g. {sep: ';'}"
    )
    filters: Annotated[list[Filter], BeforeValidator(_conditions)] = Field(
        default_factory=list,
        description='rows to take, all must hold: "tenure > 3", "month in (\'2026-01\', '
        "'2026-02')\", or [column, operator, value]",
    )

    @model_validator(mode="after")
    def _one_source(self) -> InputSettings:
        if (self.path is None) == (self.table is None):
            found = "neither" if self.path is None else "both"
            raise ValueError(f"found {found}; expected either path or table")
        return self


class JobSettings(BaseModel):
    """What both jobs know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    config: Text | None = Field(None, description="YAML file with any of the keys below")
    input: InputSettings = Field(description="the table to read")
    columns: list[Column] = Field(
        default_factory=list,
        description="columns, or SQL expressions with a name: 'log1p(total) as log_total'",
    )
    output: Text = Field(description="directory or URI everything is written under")
    run_date: Label | None = Field(None, description="recorded in the manifest; never computed")
    dry_run: bool = Field(
        False,
        description="check settings, paths, columns and the model, and end; nothing is fitted, "
        "scored or written",
    )

    # Of the merged sources: null on the command line takes back what the file says.
    _nulls = model_validator(mode="before")(_without_nulls)


class TrainSettings(JobSettings):
    """Fit a Gaussian mixture to a table; write the model and manifest.json under `output`."""

    vector_column: Text | None = Field(
        None, description="one column of vectors or arrays, instead of columns"
    )
    categorical_columns: list[Column] = Field(
        default_factory=list, description="columns of text, whole numbers or booleans"
    )
    count_columns: list[Column] = Field(
        default_factory=list, description="columns of whole numbers from 0 on, as Poisson counts"
    )
    max_categories: int = Field(
        64, ge=2, description="values of a categorical column told apart; rarer ones count as one"
    )
    category_prior: float = Field(
        1.0, ge=0, description="rows that categories and counts have seen before, over all segments"
    )
    weight_column: Text | None = Field(None, description="weight of a row")
    weight_kind: Literal["frequency", "importance"] = Field(
        "frequency",
        description="importance scales weights to sum to the number of rows, as survey weights "
        "need it; frequency: weight 2 is the row twice",
    )
    k: Components = Field(2, description="number of segments, or several to choose from: --k 2,3,4")
    covariance_type: Covariances = Field(
        "full", description="structure of the covariances, or several to choose from"
    )
    criterion: Literal["bic", "aic", "icl", "heldout"] = Field(
        "bic", description="what is lowest in the chosen one, where there are several"
    )
    init_mode: Literal["k-means", "k-means++", "hierarchical", "random"] = Field(
        "k-means", description="how the starts are made"
    )
    num_init: int = Field(16, ge=1, description="starts tried on the sample; the best goes on")
    seed: int | None = Field(None, description="of the sample and the starts")
    tol: float = Field(
        1e-6, ge=0, description="converged when a pass gains less mean log-likelihood than this"
    )
    max_iter: int = Field(
        100, ge=0, description="passes over all the data after the first, at most"
    )
    covariance_floor: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        "auto", description="auto, or a fraction of a column's standard deviation; 0 is off"
    )
    acceleration: Literal["anderson", "none"] = Field(
        "anderson", description="steps longer than EM's where they help; none is plain EM"
    )
    missing: Literal["error", "skip", "marginalize"] = Field(
        "error", description="rows with a gap: refuse, leave out, or fit what is known of them"
    )
    label_column: Text | None = Field(
        None, description="segment numbers, or arrays of them, where a row's segment is known"
    )
    noise: bool = Field(False, description="a uniform component takes outliers: segment -1")
    contamination: float = Field(
        0.0, ge=0, lt=0.5, description="share of rows of lowest density that scoring marks"
    )
    prior: Literal["none", "conjugate"] = Field(
        "none", description="of means and covariances; conjugate is Fraley and Raftery's"
    )
    prior_shrinkage: float = Field(0.01, gt=0, description="rows that the prior mean counts for")
    weight_concentration: float = Field(
        1.0, ge=1, description="of the Dirichlet prior on the segments' weights; 1 is none"
    )
    sample_size: int | None = Field(None, ge=1, description="rows the starts are tried on")
    initial_model: Text | None = Field(None, description="path of a model to start from")
    initial_label_column: Text | None = Field(None, description="column of segments to start from")
    overwrite: bool = Field(False, description="replace an earlier result under output")
    fail_if_not_converged: bool = Field(
        False, description="write no model and end with 4 when max_iter was not enough"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        named = bool(self.columns or self.categorical_columns or self.count_columns)
        if named == (self.vector_column is not None):
            found = "both" if named else "neither"
            raise ValueError(
                f"columns: found {found}; expected columns, categorical_columns or count_columns, "
                "or vector_column"
            )
        if self.initial_model is not None and self.initial_label_column is not None:
            raise ValueError(
                "initial_model: found initial_label_column as well; expected one start, not two"
            )
        for key in ("initial_model", "initial_label_column"):
            if getattr(self, key) is not None and self.searches:
                several = "k" if isinstance(self.k, list) else "covariance_type"
                raise ValueError(
                    f"{key}: found several values of {several} as well; expected one, a choice "
                    "makes its own starts"
                )
        return self

    @property
    def searches(self) -> bool:
        """Whether there is something to choose."""
        return isinstance(self.k, list) or isinstance(self.covariance_type, list)


class ScoreSettings(JobSettings):
    """Score every row of a table with a model; write Parquet and manifest.json under `output`."""

    model: Text = Field(description="path of the model, <output>/model of the train job")
    keep_columns: list[Text] | None = Field(
        None, description="columns of the table that are written too; all when left out"
    )
    probability: Literal["vector", "columns"] = Field(
        "vector", description="one vector column, or probability_0, probability_1, ..."
    )
    missing: Literal["error", "skip", "marginalize"] = Field(
        "marginalize",
        description="rows with a gap: refuse, leave unscored, or score by the known columns",
    )
    partition_by: list[Text] = Field(
        default_factory=list,
        description="columns the output is partitioned by; run_date may be one",
    )
    mode: Literal["error", "overwrite"] = Field(
        "error", description="overwrite replaces the earlier scores, or with partition_by only "
        "the partitions that have rows in this run",
    )  # fmt: skip
    profile: list[Column] = Field(
        default_factory=list,
        description="outcomes whose mean or rate a segment is printed; expressions with a name too",
    )

    @model_validator(mode="after")
    def _consistent(self) -> ScoreSettings:
        if "run_date" in self.partition_by and self.run_date is None:
            raise ValueError("run_date: found nothing; expected a value, partition_by names it")
        return self


# The jobs there are: a further one is an entry here and a module of that name in gmm_spark.cli.
JOBS: dict[str, type[JobSettings]] = {"train": TrainSettings, "score": ScoreSettings}
