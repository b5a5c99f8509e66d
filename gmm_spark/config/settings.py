"""The settings of each job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from gmm_spark.config.fields import fields_of
from gmm_spark.config.values import Column, Filters, Label, Text
from gmm_spark.mixture.spec import FAMILY_JOB_KEYS, SEARCH_SETTINGS, Missing


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
    filters: Filters = Field(
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


# The settings of a fit that jobs have.
_FITTED: Any = create_model(
    "_FITTED", __base__=JobSettings, **fields_of(SEARCH_SETTINGS, JobSettings.model_fields)
)


class TrainSettings(_FITTED):
    """Fit a Gaussian mixture to a table; write the model and manifest.json under `output`."""

    if TYPE_CHECKING:  # the keys that are made of settings

        def __getattr__(self, name: str) -> Any: ...

    overwrite: bool = Field(False, description="replace an earlier result under output")
    fail_if_not_converged: bool = Field(
        False, description="write no model and end with 4 when max_iter was not enough"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        *keys, last = "columns", *FAMILY_JOB_KEYS
        named = any(getattr(self, key) for key in (*keys, last))
        if named == (self.vector_column is not None):
            found = "both" if named else "neither"
            raise ValueError(
                f"columns: found {found}; expected {', '.join(keys)} or {last}, or vector_column"
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
    missing: Missing = Field(
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
