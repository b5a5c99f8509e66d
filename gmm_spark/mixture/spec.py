"""Every setting of a fit, once: its name, default, bounds, choices and meaning.

A setting is a field of `Spec` (what the mathematics works with), of `ColumnSettings` (what stands
in which column) or of `Grid` (what a search tries). Params with their getters and setters, keyword
arguments, checks, keys of the jobs, flags and environment variables are made from these fields: to
add a setting, add one and use it.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.families import FAMILIES, Family
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.structures import (
    CODES,
    STRUCTURES,
    UNIVARIATE,
    WORDS,
    Structure,
    structure_named,
)

Acceleration = Literal["anderson", "none"]
Criterion = Literal["bic", "aic", "icl", "heldout", "segmentation"]
InitMode = Literal["k-means", "k-means++", "hierarchical", "random"]
Missing = Literal["error", "skip", "marginalize"]
PriorKind = Literal["none", "conjugate"]
WeightKind = Literal["frequency", "importance"]
INIT_MODES: tuple[InitMode, ...] = get_args(InitMode)
MISSING: tuple[Missing, ...] = get_args(Missing)

Kind = Literal[
    "whole", "number", "switch", "text", "texts", "wholes",  # as Python types say it
    "auto or number", "numbers", "log density", "structure", "structures", "model", "path",
]  # fmt: skip
_KINDS: dict[Any, Kind] = {
    int: "whole",
    float: "number",
    bool: "switch",
    str: "text",
    tuple[str, ...]: "texts",
    tuple[int, ...]: "wholes",
}
_WORDS = ", ".join(WORDS)
_CODES = f"{', '.join(STRUCTURES)}; of one column {' or '.join(UNIVARIATE)}"


@dataclass(frozen=True)
class Bounds:
    """Which numbers a setting takes."""

    least: float
    above: bool = False  # the least itself is not taken
    below: float | None = None  # None: no end; infinity: any that is finite

    def __contains__(self, value: float) -> bool:
        beyond = operator.gt if self.above else operator.ge
        return bool(beyond(value, self.least)) and (self.below is None or value < self.below)

    def __str__(self) -> str:
        if self.below is None or self.below == np.inf:
            start = "more than" if self.above else "at least"
            return f"{start} {self.least:g}{'' if self.below is None else ', and finite'}"
        return f"in {'(' if self.above else '['}{self.least:g}, {self.below:g})"


@dataclass(frozen=True)
class Setting:
    """One setting, as everything that is made of it needs it."""

    key: str  # of the field
    default: Any
    kind: Kind
    doc: str
    bounds: Bounds | None = None
    choices: tuple[str, ...] = ()
    job_key: str | None = None  # None: jobs do not have it
    job_doc: str = ""
    job_default: Any = None
    starts: bool = False  # it says where a fit of one number of components starts
    of_model: bool = False  # a fitted model lets it be set too

    @property
    def name(self) -> str:
        """Of the Param: init_mode is initMode."""
        first, *others = self.key.split("_")
        return first + "".join(word.capitalize() for word in others)

    @property
    def is_column(self) -> bool:
        """Whether it names columns."""
        return self.key.endswith(("_col", "_cols"))

    def check(self, value: Any) -> None:
        """Raise SettingError for a value that the setting does not take."""
        expected = self._expected(value)
        if expected:
            raise SettingError(f"{self.name} is {value!r}; it must be {expected}")

    def _expected(self, value: Any) -> str | None:
        """What is expected instead of a value; None where it will do."""
        if self.kind == "structure":
            structure_named(value)
        elif self.choices and self.kind == "text" and value not in self.choices:
            return f"one of {', '.join(self.choices)}"
        elif self.bounds is not None and self.kind == "auto or number":
            return None if value == "auto" or value in self.bounds else f"auto, or {self.bounds}"
        elif self.bounds is not None and self.kind != "wholes" and value not in self.bounds:
            return str(self.bounds)
        return None


def setting(
    default: Any,
    doc: str,
    *,
    kind: Kind | None = None,
    bounds: Bounds | None = None,
    choices: tuple[str, ...] = (),
    in_jobs: str | bool = True,
    job_key: str | None = None,
    left_out: bool = False,
    starts: bool = False,
    of_model: bool = False,
) -> Any:
    """A field that is a setting.

    Parameters
    ----------
    default : None where it need not be given and stands for nothing
    doc : one line of meaning, for `explainParams` and wherever nothing else is said
    kind : what it takes; of text, numbers and choices the annotation says it
    in_jobs : what the jobs say of it, where they have other words; False: they do not have it
    job_key : its key in the jobs, where that is another than the name of the field
    left_out : jobs know no default of their own: what is not given is left to the library
    starts : it says where a fit of one number of components starts: a search has none of these
    of_model : a fitted model lets it be set too
    """
    return field(
        default=default,
        metadata={
            "doc": doc,
            "kind": kind,
            "bounds": bounds,
            "choices": choices,
            "in_jobs": in_jobs,
            "job_key": job_key,
            "left_out": left_out,
            "starts": starts,
            "of_model": of_model,
        },
    )


def settings_of(owner: Any) -> tuple[Setting, ...]:
    """The settings that a class has for its fields, in their order."""
    hints = get_type_hints(owner)
    return tuple(_described(one.name, one.default, hints[one.name], one.metadata)
                 for one in fields(owner))  # fmt: skip


def _described(key: str, default: Any, hint: Any, said: Any) -> Setting:
    known = [part for part in get_args(hint) if part is not type(None)]
    plain = known[0] if type(None) in get_args(hint) else hint
    choices = get_args(plain) if get_origin(plain) is Literal else said["choices"]
    kind = said["kind"] or ("text" if get_origin(plain) is Literal else _KINDS[plain])
    words = said["in_jobs"]
    job_key = said["job_key"] or _job_key(key)
    return Setting(
        key,
        default,
        kind,
        said["doc"],
        said["bounds"],
        choices,
        None if words is False else job_key,
        said["doc"] if words is True else words or "",
        None if said["left_out"] else default,
        said["starts"],
        said["of_model"],
    )


def _job_key(key: str) -> str:
    for short, word in ("_col", "_column"), ("_cols", "_columns"):
        if key.endswith(short):
            return key.removesuffix(short) + word
    return key


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The settings of a fit, checked: what the mathematics works with.

    Raises SettingError for a value that a setting does not take.
    """

    k: int = setting(
        2,
        "number of components, at least 1",
        bounds=Bounds(1),
        in_jobs="number of segments, or several to choose from: --k 2,3,4",
    )
    covariance_type: str = setting(
        "full",
        f"covariance structure: {_WORDS}, or mclust's code {_CODES}",
        kind="structure",
        choices=(*WORDS, *CODES),
        in_jobs="structure of the covariances, or several to choose from",
    )
    tol: float = setting(
        1e-6,
        "converged when a pass gains less mean log-likelihood than this",
        bounds=Bounds(0),
    )
    max_iter: int = setting(
        100, "passes over all the data after the first, at most", bounds=Bounds(0)
    )
    # Not HasSeed's own default: a hash of the class name, which Python salts anew each process.
    seed: int = setting(0, "of the sample and the starts", left_out=True)
    aggregation_depth: int = setting(
        2, "stages in which large statistics are merged", bounds=Bounds(1), in_jobs=False
    )
    weight_kind: WeightKind = setting(
        "frequency",
        "what weights are: frequency (a row of weight 2 is the row twice, and the sum of weights "
        "is the number of rows), or importance (they are scaled to sum to the number of rows)",
        in_jobs="importance scales weights to sum to the number of rows, as survey weights "
        "need it; frequency: weight 2 is the row twice",
    )
    init_mode: InitMode = setting(
        "k-means",
        f"how starts are made: {', '.join(INIT_MODES)}",
        in_jobs="how the starts are made",
    )
    num_init: int = setting(
        16, "starts tried on the sample; the best goes on", bounds=Bounds(1)
    )  # fmt: skip
    initial_model: Any = setting(
        None,
        "a GaussianMixtureModel, of this package or MLlib's, to start from instead; columns are "
        "found by name, and components keep its numbers",
        kind="model",
        in_jobs="path of a model to start from",
        starts=True,
    )
    initial_weights: Array | None = setting(
        None,
        "weights to start from, (k,); what is not given of a start is found on the sample",
        kind="numbers",
        in_jobs=False,
        starts=True,
    )
    initial_means: Array | None = setting(
        None,
        "means to start from, (k, columns), in the order of inputCols or of the vector",
        kind="numbers",
        in_jobs=False,
        starts=True,
    )
    initial_covariances: Array | None = setting(
        None,
        "covariances to start from, in the shape of covarianceType: full (k, d, d), tied (d, d), "
        "diag (k, d), spherical (k,)",
        kind="numbers",
        in_jobs=False,
        starts=True,
    )
    covariance_floor: float | str = setting(
        "auto",
        "smallest standard deviation of a component along any direction, as a fraction of the "
        "columns' own, by their quartiles; auto: the recording resolution; 0: none",
        kind="auto or number",
        bounds=Bounds(0, below=1),
        in_jobs="auto, or a fraction of a column's standard deviation; 0 is off",
    )
    acceleration: Acceleration = setting(
        "anderson",
        "anderson: steps longer than EM's where they raise the likelihood, on the sample and "
        "between passes; none: plain EM",
        in_jobs="steps longer than EM's where they help; none is plain EM",
    )
    missing: Missing = setting(
        "error",
        "rows with null or NaN in a feature: error; skip (left out of the fit, null when scored); "
        "marginalize (fitted and scored by what is known of them)",
        in_jobs="rows with a gap: refuse, leave out, or fit what is known of them",
        of_model=True,
    )
    max_categories: int = setting(
        64,
        "values of a categorical column told apart, at least 2; the rarer ones count as one",
        bounds=Bounds(2),
        in_jobs="values of a categorical column told apart; rarer ones count as one",
    )
    category_prior: float = setting(
        1.0,
        "rows, over all components, that tables of categories and rates of counts have seen "
        "before, as the column is distributed; 0: maximum likelihood",
        bounds=Bounds(0, below=np.inf),
        in_jobs="rows that categories and counts have seen before, over all segments",
    )
    noise: bool = setting(
        False,
        "a uniform component over the data's box takes outliers, with prediction -1",
        in_jobs="a uniform component takes outliers: segment -1",
    )
    contamination: float = setting(
        0.0,
        "share of rows, of lowest density, that outlierCol marks; 0: none",
        bounds=Bounds(0, below=0.5),
        in_jobs="share of rows of lowest density that scoring marks",
    )
    prior: PriorKind = setting(
        "none",
        "of means and covariances: none (maximum likelihood), or conjugate (Fraley and Raftery "
        "2007: maximum a posteriori)",
        in_jobs="of means and covariances; conjugate is Fraley and Raftery's",
    )
    prior_shrinkage: float = setting(
        0.01,
        "rows that the prior mean counts for",
        bounds=Bounds(0, above=True, below=np.inf),
    )
    weight_concentration: float = setting(
        1.0,
        "concentration of the Dirichlet prior on weights, at least 1; 1: none",
        bounds=Bounds(1, below=np.inf),
        in_jobs="of the Dirichlet prior on the segments' weights; 1 is none",
    )
    sample_size: int = setting(
        0,
        "rows sampled for starts, scales and steps between passes; 0: by width, 24 MiB or so",
        bounds=Bounds(0),
        in_jobs="rows the starts are tried on; 0: by width, 24 MiB or so",
        left_out=True,
    )
    checkpoint_dir: str | None = setting(
        None,
        "directory where the state of the fit is kept after every pass, with the sample: the same "
        "fit, begun again after a crash, goes on from there",
        kind="path",
        in_jobs="directory where the state of the fit is kept until the result is written: the "
        "same command goes on from there after a crash",
    )

    def __post_init__(self) -> None:
        for each in SPEC:
            each.check(getattr(self, each.key))
        if self.prior == "conjugate" and not self.structure.conjugate:
            usable = ", ".join(s.name for s in STRUCTURES.values() if s.conjugate)
            raise SettingError(
                f"prior is 'conjugate', and covarianceType {self.structure.name} has no conjugate "
                f"prior here; use prior='none', or one of {usable}"
            )

    @property
    def structure(self) -> Structure:
        """The covariance structure."""
        return structure_named(self.covariance_type)

    def structure_for(self, d: int) -> Structure:
        """The covariance structure of d numeric columns: of none, any would do."""
        return self.structure if d > 0 else structure_named("diag")

    @property
    def floor(self) -> float | None:
        """The covariance floor as a fraction of the columns' deviations; None is auto."""
        return None if self.covariance_floor == "auto" else float(self.covariance_floor)

    @property
    def positive_seed(self) -> int:
        """The seed as generators of random numbers and hashes take it."""
        return self.seed & (2**63 - 1)

    def of_size(self, k: int, covariance_type: str) -> Spec:
        """The same of another size and structure."""
        return replace(self, k=k, covariance_type=covariance_type)


@dataclass(frozen=True, kw_only=True)
class ColumnSettings:
    """Which columns a fit reads, in which role, and which a model writes.

    Raises SettingError for a column in two roles that do not go together.
    """

    features_col: str = setting(
        "features",
        "one column of vectors or arrays, instead of inputCols",
        in_jobs="one column of vectors or arrays, instead of columns",
        job_key="vector_column",
        left_out=True,
        of_model=True,
    )
    prediction_col: str = setting(
        "prediction", "output column: the most probable component", in_jobs=False, of_model=True
    )
    probability_col: str = setting(
        "probability",
        "output column: the probability of every component",
        in_jobs=False,
        of_model=True,
    )
    weight_col: str | None = setting(None, "weight of a row")
    input_cols: tuple[str, ...] | None = setting(
        None,
        "numeric columns, instead of featuresCol",
        job_key="columns",
        of_model=True,
    )
    categorical_cols: tuple[str, ...] = setting(
        (),
        "columns of text, whole numbers or booleans, each a probability table a component",
        in_jobs="columns of text, whole numbers or booleans",
    )
    count_cols: tuple[str, ...] = setting(
        (),
        "columns of whole numbers from 0 on, each a Poisson distribution a component",
        in_jobs="columns of whole numbers from 0 on, as Poisson counts",
    )
    label_col: str | None = setting(
        None,
        "column of component numbers, or arrays of them, where a row's component (or its allowed "
        "set) is known; null where it is not",
        in_jobs="segment numbers, or arrays of them, where a row's segment is known",
    )
    initial_label_col: str | None = setting(
        None,
        "column of whole numbers, one value a component, to start from instead",
        in_jobs="column of segments to start from",
        starts=True,
    )
    outlier_col: str = setting(
        "outlier",
        "output column: whether the row's log density is under outlierThreshold, where the model "
        "has one; empty for none",
        in_jobs=False,
        of_model=True,
    )
    outlier_threshold: float | None = setting(
        None,
        "log density under which a row is an outlier; a fit with contamination sets it",
        kind="log density",
        in_jobs=False,
        of_model=True,
    )
    log_likelihood_col: str = setting(
        "", "output column: log density of the row; empty for none", in_jobs=False, of_model=True
    )
    uncertainty_col: str = setting(
        "",
        "output column: 1 - largest probability of the row; empty for none",
        in_jobs=False,
        of_model=True,
    )
    component_col: str = setting(
        "component",
        "output column: the most probable component of the row's cluster, where mergeComponents "
        "has merged components into clusters; empty for none",
        in_jobs=False,
        of_model=True,
    )

    @property
    def numeric(self) -> tuple[str, ...] | None:
        """Numeric columns; None where they are in a vector, which categories and counts cannot
        stand beside."""
        if self.input_cols is not None:
            return self.input_cols
        return () if self.has_families else None

    def of_family(self, kind: type[Family]) -> tuple[str, ...]:
        """The columns of a family, by the setting that names them."""
        found: tuple[str, ...] = getattr(self, _KEYS[kind.setting])
        return found

    @property
    def has_families(self) -> bool:
        """Whether there are columns that are not numeric."""
        return any(self.of_family(kind) for kind in FAMILIES)

    @property
    def weight(self) -> str | None:
        """The column of weights; an empty name is none."""
        return self.weight_col or None

    def outputs(
        self, outlier: bool, *, merged: bool = False
    ) -> tuple[str, str, str, str, str, str]:
        """In MLlib's order, and then ours: insertInto goes by place. Empty: left out."""
        return (
            self.probability_col,
            self.prediction_col,
            self.log_likelihood_col,
            self.uncertainty_col,
            self.outlier_col if outlier else "",
            self.component_col if merged else "",
        )

    def check_roles(self, outcome: str | None = None) -> None:
        """Raise SettingError for a column in two roles that do not go together, or no input;
        `outcome` is a column that a search chooses by.

        A column may be its own weight, and start labels may be an input or the known labels.
        """
        numeric = self.numeric
        nothing = numeric == () and not self.has_families
        if numeric is not None and (nothing or len(set(numeric)) < len(numeric)):
            raise SettingError(
                f"inputCols is {list(numeric)}; name at least one column, and each once"
            )
        inputs = [
            ("inputCols", name) if numeric is not None else ("featuresCol", name)
            for name in (numeric if numeric is not None else [self.features_col])
        ]
        inputs += [(kind.setting, name) for kind in FAMILIES for name in self.of_family(kind)]
        for place, (role, name) in enumerate(inputs):
            other = next((first for first, known in inputs[:place] if known == name), None)
            if other is not None:
                found = f"twice in {role}" if other == role else f"in {other} and in {role}"
                raise SettingError(f"column {name!r} is {found}; name it once")
        roles = {name: role for role, name in inputs}
        if self.label_col in roles:
            raise SettingError(
                f"column {self.label_col!r} is labelCol and in {roles[self.label_col]}: a segment "
                "that is known is no input; leave it out of one of them"
            )
        if outcome in roles:
            raise SettingError(
                f"column {outcome!r} is outcomeCol and in {roles[outcome]}: segments are judged by "
                "the outcome, and must not be made of it; leave it out of one of them"
            )
        if outcome is not None and outcome == self.weight:
            raise SettingError(
                f"column {outcome!r} is outcomeCol and weightCol; it can be one of them"
            )
        labels = (("labelCol", self.label_col), ("initialLabelCol", self.initial_label_col))
        for role, column in labels:
            if column is not None and column == self.weight:
                raise SettingError(
                    f"column {column!r} is {role} and weightCol; it can be one of them"
                )


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What a search tries, and what it chooses by.

    Raises SettingError where there is nothing to try.
    """

    k: tuple[int, ...] = setting(
        tuple(range(1, 10)), "numbers of components to try", bounds=Bounds(1)
    )
    covariance_type: tuple[str, ...] = setting(
        ("full",),
        f"covariance structures to try: {_WORDS}, or mclust's codes {_CODES}",
        kind="structures",
    )
    criterion: Criterion = setting(
        "bic",
        "what the best is lowest in: bic, aic, icl, or heldout (minus twice the log-likelihood "
        "of rows held out of the sample); or segmentation: the division into k clusters that is "
        "the most use to people, of components merged where that is better",
        in_jobs="what is lowest in the chosen one, where there are several; segmentation: the "
        "division that is the most use, of 3 to 8 segments unless k says how many",
    )
    min_segment_share: float = setting(
        0.03,
        "of the rows: a division with a smaller cluster is taken only where there is no other, "
        "with criterion segmentation",
        bounds=Bounds(0, below=0.5),
        in_jobs="of the rows: smaller segments are too small to act on; for criterion segmentation",
    )
    outcome_col: str | None = setting(
        None,
        "column of booleans or numbers, null where it is not known, that the clusters should tell "
        "apart, with criterion segmentation: half of the rows choose by it, the others say how far "
        "they do",
        in_jobs="boolean or number that segments should tell apart; for criterion segmentation",
    )

    def __post_init__(self) -> None:
        for each in GRID:
            each.check(getattr(self, each.key))
        if not self.k or min(self.k) < 1:
            raise SettingError(f"k is {list(self.k)}; it must be numbers of components, at least 1")
        if not self.covariance_type:
            raise SettingError("covarianceType is empty; name at least one structure")
        if self.outcome_col is not None and self.criterion != "segmentation":
            raise SettingError(
                f"outcomeCol is {self.outcome_col!r}, and criterion is {self.criterion!r}; an "
                "outcome takes part with criterion='segmentation' alone"
            )
        if self.criterion == "segmentation" and min(self.k) < 2:
            raise SettingError(
                f"k is {list(self.k)}; with criterion='segmentation' it must be numbers of "
                "clusters, at least 2"
            )
        if self.criterion == "segmentation" and self.min_segment_share * min(self.k) >= 1:
            raise SettingError(
                f"minSegmentShare is {self.min_segment_share:g}, and k at least {min(self.k)}: so "
                "many clusters cannot all have that share; lower one of them"
            )

    def specs(self, common: Spec) -> list[Spec]:
        """A fit of every size and structure, of names for one structure the first."""
        unique = {structure_named(name).code: name for name in reversed(self.covariance_type)}
        return [common.of_size(k, name) for name in unique.values() for k in sorted(set(self.k))]


# What criterion segmentation tries where nothing else is said: as many segments as people tell
# apart, and structures.
SEGMENTATION_K = tuple(range(3, 9))
SEGMENTATION_STRUCTURES = ("full", "diag", "tied", "spherical")

SPEC, COLUMNS, GRID = settings_of(Spec), settings_of(ColumnSettings), settings_of(Grid)
_KEYS = {each.name: each.key for each in COLUMNS}
# The keys of the jobs that name the columns of a family.
FAMILY_JOB_KEYS = tuple(
    each.job_key for each in COLUMNS if each.job_key and each.name in {k.setting for k in FAMILIES}
)
# Of a fit, and of a search, which tries several values where a fit has one.
SETTINGS = (*COLUMNS, *SPEC)
SEARCH_SETTINGS = tuple({each.key: each for each in (*SETTINGS, *GRID)}.values())
