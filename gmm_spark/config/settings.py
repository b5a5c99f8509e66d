"""The settings of each job."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
    model_validator,
)

from gmm_spark.config.fields import fields_of
from gmm_spark.config.gate import FIGURES, Gate
from gmm_spark.config.values import (
    Column,
    ColumnsOrAuto,
    Filters,
    Label,
    NumbersOfSegments,
    Text,
    moment,
)
from gmm_spark.mixture.spec import FAMILY_JOB_KEYS, SEARCH_SETTINGS, SPEC, Missing

_STRUCTURES = next(each.choices for each in SPEC if each.key == "covariance_type")


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
    format: Literal["parquet", "csv", "json", "orc", "avro", "delta", "iceberg"] | None = Field(
        None, description="format of path; by the ending of its name when left out, else parquet"
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
    run_date: Label | None = Field(
        None,
        description="recorded in the manifest; never computed. Of transactions the day as of which "
        "they are known: later ones are left out",
    )
    keep_versions: int | None = Field(
        None,
        ge=1,
        description="a run adds a version under output, which becomes visible in one step, and "
        "replaces none; so many are kept, the newest, and those that an alias names; of scores so "
        "many of every run_date, of which the newest counts",
    )
    dry_run: bool = Field(
        False,
        description="check settings, paths, columns and the model, and end; nothing is fitted, "
        "scored or written",
    )

    # Of the merged sources: null on the command line takes back what the file says.
    _nulls = model_validator(mode="before")(_without_nulls)


class AliasSettings(JobSettings):
    """What jobs know whose versions an alias names."""

    publish_as: Literal["champion", "challenger"] | None = Field(
        None,
        description="alias of the version: champion, which readers take where nothing else is "
        "said, or challenger",
    )

    @model_validator(mode="after")
    def _versions(self) -> AliasSettings:
        if self.publish_as is not None and self.keep_versions is None:
            raise ValueError(
                "publish_as: found no keep_versions; expected how many versions are kept, an alias "
                "is of one"
            )
        return self


# The settings of a fit that jobs have.
_FITTED: Any = create_model(
    "_FITTED", __base__=AliasSettings, **fields_of(SEARCH_SETTINGS, AliasSettings.model_fields)
)


# Of an update by new rows.
HalfLife = Annotated[
    float | None,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="with refit: update, days between two run_dates after which the rows before "
        "count for half; all count when left out",
    ),
]


DAYS_BETWEEN_RUNS = (
    "expected a day like 2026-11-26 or a time like 2026-11-26T06:00, statistics fade by the days "
    "between two runs"
)


def expect_update(half_life: float | None, refit: str | None, run_date: str | None) -> None:
    """Raise for a half-life of a run that updates nothing, or that has no date: the first run too,
    of whose rows the next one has to know how old they are."""
    if half_life is None:
        return
    if refit != "update":
        found = "nothing" if refit is None else refit
        raise ValueError(
            f"half_life: found refit {found}; expected update, in which the rows before fade"
        )
    try:
        moment(run_date or "")
    except ValueError:
        shown = "nothing" if run_date is None else repr(run_date)
        raise ValueError(f"half_life: found {shown} as run_date; {DAYS_BETWEEN_RUNS}") from None


class TrainSettings(_FITTED):
    """Fit a Gaussian mixture to a table; write the model and manifest.json under `output`."""

    if TYPE_CHECKING:  # the keys that are made of settings

        def __getattr__(self, name: str) -> Any: ...

    overwrite: bool = Field(False, description="replace an earlier result under output")
    fail_if_not_converged: bool = Field(
        False, description="write no model and end with 4 when max_iter was not enough"
    )
    refit: Literal["update"] | None = Field(
        None,
        description="update: bring the model that there is, initial_model or else the champion, up "
        "to date by the rows of input, which are new, instead of a fit; without one, the first fit",
    )
    half_life: HalfLife = None

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
            if getattr(self, key) is not None and self.searches and self.refit is None:
                several = "several values of covariance_type"
                if isinstance(self.k, list):
                    several = "several values of k"
                elif self.criterion == "segmentation":
                    several = "criterion segmentation"
                raise ValueError(
                    f"{key}: found {several} as well; expected one, a choice makes its own starts"
                )
        if self.refit == "update" and self.initial_model is None and self.keep_versions is None:
            raise ValueError(
                "refit: found update, and neither keep_versions, by which there is a champion, nor "
                "initial_model; expected the model to update"
            )
        expect_update(self.half_life, self.refit, self.run_date)
        if self.outcome_column is not None and self.criterion != "segmentation":
            raise ValueError(
                f"outcome_column: found criterion {self.criterion}; expected criterion "
                "segmentation, which is the one that chooses by an outcome"
            )
        return self

    @property
    def searches(self) -> bool:
        """Whether there is something to choose: of one k too there are several divisions."""
        several = isinstance(self.k, list) or isinstance(self.covariance_type, list)
        return several or self.criterion == "segmentation"


# What is said of a table of transactions alone.
_OF_TRANSACTIONS = "customer", "time", "amount", "quantity", "basket", "churn_after_days"


class TransactionSettings(JobSettings):
    """What jobs know of customers: a table of them, or of their transactions."""

    customer: Text | None = Field(
        None, description="the table is one of transactions: the column that names the customer"
    )
    time: Text | None = Field(None, description="of a transaction: when it was")
    amount: Column | None = Field(
        None, description="of a transaction: what was paid, a column or an SQL expression"
    )
    quantity: Column | None = Field(
        None, description="of a transaction: pieces; fewer than 0 are a return"
    )
    basket: Text | None = Field(
        None, description="of a transaction: the purchase it is a line of, an invoice"
    )
    cut_off: Label | None = Field(
        None,
        description="the last day that is known: of transactions, what customers are like is of "
        "what was up to it, churn of what came after; of customers, dates are counted back from it",
    )

    @model_validator(mode="after")
    def _whole(self) -> TransactionSettings:
        said = [key for key in _OF_TRANSACTIONS if getattr(self, key, None) is not None]
        for key in ("customer", "time"):
            if said and getattr(self, key) is None:
                raise ValueError(
                    f"{key}: found nothing, but {said[0]}; expected a column, too: a table of "
                    "transactions has customer and time"
                )
        return self


class ScoreSettings(TransactionSettings):
    """Score every row of a table with a model; write Parquet and manifest.json under `output`."""

    model: Text = Field(
        description="path of the model, <output>/model of the train job; or where versions are, "
        "<output>, for the champion, with @challenger or @7 for another version"
    )
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
    scores_table: Text | None = Field(
        None,
        description="a table of the catalog, in which the scores of run_date are replaced too, in "
        "one transaction",
    )
    scores_format: Literal["delta", "iceberg"] | None = Field(
        None, description="format of scores_table, of which Spark needs the jar"
    )
    profile: list[Column] = Field(
        default_factory=list,
        description="outcomes whose mean or rate a segment is printed; expressions with a name too",
    )

    @property
    def replaces_partitions(self) -> bool:
        """Whether the partitions that have rows are replaced where they are."""
        return self.mode == "overwrite" and bool(self.partition_by) and self.keep_versions is None

    @property
    def partitions(self) -> list[str]:
        """The columns that the table is partitioned by; a version is one of its run date anyway."""
        is_said = self.keep_versions is not None
        return [name for name in self.partition_by if not (is_said and name == "run_date")]

    @model_validator(mode="after")
    def _consistent(self) -> ScoreSettings:
        if "run_date" in self.partition_by and self.run_date is None:
            raise ValueError("run_date: found nothing; expected a value, partition_by names it")
        if self.scores_table is not None and self.run_date is None:
            raise ValueError("run_date: found nothing, but scores_table; expected a value")
        if (self.scores_table is None) != (self.scores_format is None):
            absent = "scores_format" if self.scores_format is None else "scores_table"
            raise ValueError(f"{absent}: found nothing; expected scores_table and scores_format")
        return self


class EvaluateSettings(TransactionSettings, AliasSettings):
    """Say how a model suits a table, or another model; write evaluation.json under `output`."""

    model: Text = Field(description="path of the model, or where versions of it are, as for score")
    against: Text | None = Field(
        None, description="another model, to be compared with over the same rows"
    )
    missing: Missing = Field(
        "marginalize",
        description="rows with a gap: refuse, leave unscored, or score by the known columns",
    )
    mode: Literal["error", "overwrite"] = Field(
        "error", description="overwrite replaces an earlier result under output"
    )


def _output_of(source: dict[str, Any]) -> str:
    """Where what is made of a table goes when nothing is said: output/ and the table's name."""
    path = str(source.get("path") or "").rstrip("/*").rpartition("/")[2]
    name = re.sub(r"(\.[A-Za-z]\w{0,7})+$", "", path)
    name = name or str(source.get("table") or "").rpartition(".")[2]
    return "output/" + (re.sub(r"[^\w.=-]+", "_", name) or "churn")


# Names of covariance structures, one or a list.
Structures = Annotated[
    list[Literal[_STRUCTURES]],  # type: ignore[valid-type]
    BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
]


class ChurnSettings(TransactionSettings, AliasSettings):
    """Segment customers, of a table of them or of transactions; write it all under `output`."""

    id: Text | None = Field(None, description="column that names the customer; unique")
    outcome: Column | None = Field(
        None,
        description="what the segments are to tell apart, never an input: a column, or an SQL "
        "expression such as \"status = 'left' as left\"",
    )
    value: Column | None = Field(
        None, description="money a customer is worth, for the value at risk: a column or expression"
    )
    churn_after_days: int | None = Field(
        None, gt=0, description="no purchase in so many days after cut_off is churn: the outcome"
    )
    columns: ColumnsOrAuto = Field(
        default_factory=list,
        description="numeric columns, or SQL expressions with a name; auto, or none of the five "
        "lists: what takes part, and as what, is proposed from the data",
    )
    categorical_columns: list[Column] = Field(
        default_factory=list, description="columns of text, whole numbers or booleans"
    )
    count_columns: list[Column] = Field(
        default_factory=list, description="columns of whole numbers from 0 on, as Poisson counts"
    )
    date_columns: list[Column] = Field(
        default_factory=list, description="columns of dates, taken as days up to cut_off"
    )
    excluded_columns: list[Text] = Field(
        default_factory=list, description="columns that take no part, whatever is proposed"
    )
    max_categories: int = Field(
        64, ge=2, description="values of a category told apart; rarer ones count as one"
    )
    k: NumbersOfSegments = Field(
        [3, 4, 5, 6, 7, 8],
        description="numbers of segments to choose from: 4, 3,4,5 or 3..8",
    )
    covariance_type: Structures = Field(
        default_factory=list,
        description="structures of the covariances to choose from; a few when left out",
    )
    min_segment_share: float = Field(
        0.03, ge=0, lt=0.5, description="share of the customers under which a segment is too small"
    )
    missing: Missing = Field(
        "marginalize",
        description="rows with a gap: refuse, leave out, or take what is known of them",
    )
    describe_people: bool = Field(
        False,
        description="columns that name or describe a person (age, sex, postcode) may be in the "
        "names of segments",
    )
    points: bool = Field(
        True,
        description="the map of report.html and segments.json has up to 1,500 customers as points, "
        "without identifiers; --no-points leaves them out",
    )
    explain: bool = Field(
        False,
        description="beside every customer's segment the three columns that speak most for or "
        "against it, with value and direction, and the one that makes an outlier",
    )
    seed: int = Field(0, description="of the samples and the starts")
    output: Text = Field(
        "",
        description="directory or URI everything is written under; output/ and the name of the "
        "table when left out",
    )
    mode: Literal["error", "overwrite"] = Field(
        "error", description="overwrite replaces an earlier result under output"
    )
    checkpoint_dir: Text | None = Field(
        None,
        description="directory where the state of the fit is kept until the result is written: "
        "the same command goes on from there after a crash",
    )
    refit: Literal["keep", "choose", "update"] | None = Field(
        None,
        description="where there is a champion: keep its segments, columns and preparation and fit "
        "them anew, or choose new ones, for a challenger, or update them by the rows of input "
        "alone, which are new; keep when left out",
    )
    half_life: HalfLife = None
    gate: Gate = Field(
        default_factory=dict,
        description="what speaks against publishing a champion: a rule, or several, for each of "
        + ", ".join(FIGURES),
    )
    force: bool = Field(False, description="publish whatever the gate says")

    @property
    def follows(self) -> bool:
        """Whether the champion's segments are kept, where there is one."""
        return self.keep_versions is not None and self.refit != "choose"

    @property
    def alias(self) -> str:
        """What the version is to be."""
        return self.publish_as or ("challenger" if self.refit == "choose" else "champion")

    @model_validator(mode="before")
    @classmethod
    def _named_output(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("output") not in (None, [None]):
            return values
        given = values.get("input")
        source = given if isinstance(given, dict) else {}
        return {**values, "output": _output_of(source)}

    @model_validator(mode="after")
    def _of_versions(self) -> ChurnSettings:
        for key in ("refit", "gate", "force"):
            if getattr(self, key) and self.keep_versions is None:
                raise ValueError(
                    f"{key}: found no keep_versions; expected how many versions are kept, without "
                    "which there is no champion"
                )
        expect_update(self.half_life, self.refit, self.run_date)
        return self

    @model_validator(mode="after")
    def _consistent(self) -> ChurnSettings:
        if self.churn_after_days is not None and self.outcome is not None:
            raise ValueError(
                "churn_after_days: found outcome as well; expected one of them, since no purchase "
                "in so many days is the outcome"
            )
        if self.customer is not None and self.id not in (None, self.customer):
            raise ValueError(
                f"id: found {self.id!r}; expected nothing beside customer, which names the rows"
            )
        return self


# The jobs there are: a further one is an entry here and a module of that name in gmm_spark.cli.
JOBS: dict[str, type[JobSettings]] = {
    "churn": ChurnSettings,
    "train": TrainSettings,
    "score": ScoreSettings,
    "evaluate": EvaluateSettings,
}
