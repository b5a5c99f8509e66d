"""What a fit reads: the rows, scanned once, and the sample of them as a plan sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from pyspark.sql import DataFrame
from threadpoolctl import threadpool_limits

from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.cluster import cached, needed_session, released
from gmm_spark.engine.dataframe import (
    DataFrameSource,
    check_column,
    check_columns,
    feature_column,
    quoted,
)
from gmm_spark.engine.inputs import check_data
from gmm_spark.engine.jobs import Source
from gmm_spark.engine.levels import find_categories
from gmm_spark.engine.parquet import (
    ParquetSource,
    ParquetTable,
    absent_input,
    row_group_reader,
    task_numbers,
)
from gmm_spark.engine.passes import SparkEngine
from gmm_spark.engine.sample_executor import SparkSampleExecutor
from gmm_spark.engine.scan import Scan
from gmm_spark.engine.scanning import scan
from gmm_spark.errors import ConfigurationError, InputDataError, refusals
from gmm_spark.mixture.candidates import Sample, SampleExecutor
from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.families import FAMILIES, Category, FamilyColumns, noise_over, numbers_of
from gmm_spark.mixture.prior import FraleyRaftery, Priors
from gmm_spark.mixture.scaling import FAR, Columns, describe_columns
from gmm_spark.mixture.starting import one_component
from gmm_spark.mixture.structures import Structure, structure_named
from gmm_spark.mixture.usable import scale_refusal, width_refusal
from gmm_spark.output_columns import refuse_taken
from gmm_spark.params import GaussianMixtureParams
from gmm_spark.progress import say

# The sample: so many bytes, more where a mixture has many parameters, and rows at most.
_SAMPLE_BYTES = 24 << 20
_SAMPLE_BYTES_AT_MOST = 64 << 20
_SAMPLE_ROWS_PER_PARAMETER = 10
_SAMPLE_ROWS_AT_MOST = 300_000
# Noise starts with this weight where nothing says more.
_LEAST_NOISE = 0.01


@dataclass(frozen=True)
class Plan:
    """The settings of one fit, checked before anything is read."""

    k: int
    name: str  # of the structure asked for, see Structure.name
    structure: Structure
    floor: float | None
    num_features: int | None


@dataclass
class Data:
    """What a fit reads, after the first scan."""

    source: Source
    scan: Scan
    engine: SparkEngine
    opening: tuple[str, float]  # what the first scan was, and its seconds
    notes: list[str]  # warnings about categories
    _described: dict[tuple[str, bool, float | None], Columns] = field(default_factory=dict)
    _executors: list[SparkSampleExecutor] = field(default_factory=list)

    def columns(self, plan: Plan) -> Columns:
        """The columns as a plan sees them; spherical structures have one scale for all."""
        key = plan.structure.kind, plan.structure.one_scale, plan.floor
        if key not in self._described:
            scan = self.scan
            d = len(self.source.roles.features)
            numbers = scan.sample[:d]
            lowest, highest = scan.lowest[:d], scan.highest[:d]
            found = describe_columns(numbers, lowest, highest, plan.structure, plan.floor)
            wrong = scale_refusal(self.source.roles.features, found, lowest, highest)
            if wrong:
                raise InputDataError(wrong)
            self._described[key] = found
        return self._described[key]

    def sample_executor(self, sample: Sample) -> SampleExecutor:
        """Who searches on a sample: the cluster, where there is enough to do."""
        self._executors.append(SparkSampleExecutor(self.source.spark, sample))
        return self._executors[-1]

    def close(self) -> None:
        """Give back what the cluster holds."""
        for executor in self._executors:
            executor.close()
        self.source.close()


class DataParams(GaussianMixtureParams):
    """The part of the estimator that reads: everything here is asked of its Params."""

    @contextmanager
    def _opened(self, dataset: DataFrame | ParquetTable, plans: Sequence[Plan]) -> Iterator[Data]:
        """The data scanned once and described for every plan; given back in the end."""
        started = time.monotonic()
        self._refuse_wide(plans, len(self._input_columns() or ()))
        source, notes = self._source(dataset)
        opened: Data | None = None
        try:
            self._refuse_wide(plans, len(source.roles.features))
            scanned = scan(
                source,
                missing=self.getMissing(),
                seed=self.getSeed() & (2**63 - 1),
                sample_size=self._sample_rows(plans, source.roles),
                weight_kind=self.getWeightKind(),
            )
            self._check_labels(scanned, plans)
            notes += _odd_columns(source.roles, scanned)
            say(
                "%s; sample of %d",
                _scanned_rows(scanned, len(source.roles.inputs)),
                scanned.sample.shape[1],
            )
            engine = SparkEngine(source, scanned, self.getOrDefault("aggregationDepth"))
            kind = "scan" if isinstance(source, ParquetSource) else "packing"
            # Products of this size lose by threads: 1M x 16, k = 8 found its start in 1.4 s with
            # one and in 8 s with two, on a machine whose other cores had work.
            with threadpool_limits(1):
                opening = kind, time.monotonic() - started
                opened = Data(source, scanned, engine, opening, notes)
                yield opened
        except SingularCovarianceError:
            raise InputDataError(
                "the covariances of the starting values are singular and there is no floor; use "
                "covarianceFloor='auto', a smaller k, or fewer columns"
            ) from None
        finally:
            (opened or source).close()

    @refusals()
    def check(self, dataset: DataFrame | ParquetTable) -> None:
        """Raise what `fit` would raise before it reads a row: of settings, columns, their types."""
        check_data(dataset, (DataFrame, ParquetTable), "check")
        self._check_settings()
        self._check_outputs(dataset)
        names, categories = self._input_columns(), self._categorical_columns()
        weight, label = self._columns.weight, self.getInitialLabelCol()
        membership, others = self.getLabelCol(), self._family_columns()
        if isinstance(dataset, ParquetTable):
            files = dataset.files()
            if names is not None:
                for name in categories:
                    files.check(name, "category", absent_input(self.getMissing()))
                roles = Roles(tuple(names), weight, label, membership, others)
                ParquetSource(needed_session(), dataset, roles, self.getMissing(), files)
                return
            dataset = files.frame(needed_session(), [self.getFeaturesCol()])
        for name in categories:
            check_column(dataset, name, "category")
        check_columns(dataset, names, numbers_of(others), weight, label, membership)
        if names is None:
            feature_column(dataset, self.getFeaturesCol())

    def _check_settings(self) -> None:
        """Raise ConfigurationError for a setting that no data can suit."""
        raise NotImplementedError

    def _check_outputs(self, dataset: DataFrame | ParquetTable) -> None:
        """Raise ConfigurationError where the model could not score what it is fitted to."""
        outlier = self.getContamination() > 0 or self.getOutlierThreshold() is not None
        columns: list[str] = []
        if not isinstance(dataset, ParquetTable):
            columns = dataset.columns
        else:  # the columns that scoring keeps are named there; those that a fit reads, here
            named = (self._columns.weight, self.getInitialLabelCol(), self.getLabelCol())
            columns += [name for name in named if name is not None]
            columns += self._input_columns() or [self.getFeaturesCol()]
            columns += [name for kind in FAMILIES for name in self._columns.of_family(kind)]
            columns += dataset.columns or ()
        refuse_taken(self._columns.outputs(outlier), columns)

    def _source(self, dataset: DataFrame | ParquetTable) -> tuple[Source, list[str]]:
        """The rows, and warnings about the categories."""
        names, categories = self._input_columns(), self._categorical_columns()
        weight, label = self._columns.weight, self.getInitialLabelCol()
        membership, others = self.getLabelCol(), numbers_of(self._family_columns())
        found: tuple[Category, ...] = ()
        notes: list[str] = []
        kept: DataFrame | None = None
        if isinstance(dataset, ParquetTable):
            spark, files = needed_session(), dataset.files()
            if names is not None:
                if categories:
                    for name in categories:
                        files.check(name, "category", absent_input(self.getMissing()))
                    needed = tuple(categories)
                    if weight is not None:
                        files.check(weight, "number", "every row needs a value there")
                        needed += (weight,)
                    reader, _ = row_group_reader(spark, files, needed)
                    tasks, most = task_numbers(spark, reader), self.getMaxCategories()
                    found, notes = find_categories(tasks, categories, most, reader, weight)
                columns = self._family_columns(found)
                roles = Roles(tuple(names), weight, label, membership, columns)
                return ParquetSource(spark, dataset, roles, self.getMissing(), files), notes
            if dataset.filters is not None:
                raise ConfigurationError(
                    "filters need inputCols; for a vector column, filter a DataFrame"
                )
            dataset = files.frame(spark, [self.getFeaturesCol()])
        if categories:
            for name in categories:
                check_column(dataset, name, "category")
            check_columns(dataset, names, others, weight, label, membership)
            # Its values are counted before they are packed: what is read twice is kept.
            read = [*(names or ()), *categories, *others]
            read += [name for name in (weight, label, membership) if name is not None]
            dataset = dataset.select(*map(quoted, dict.fromkeys(read)))
            dataset = kept = cached(dataset)
        try:
            if categories:
                selected = [quoted(name).alias(str(i)) for i, name in enumerate(categories)]
                if weight is not None:
                    selected.append(quoted(weight).cast("double").alias(str(len(selected))))
                rows, most = dataset.select(*selected), self.getMaxCategories()
                found, notes = find_categories(rows, categories, most, weight=weight)
            source = DataFrameSource(
                dataset,
                input_cols=names,
                features_col=self.getFeaturesCol(),
                weight=weight,
                label=label,
                membership=membership,
                families=self._family_columns(found),
            )
        finally:
            if kept is not None:
                released(kept)
        return source, notes

    def _categorical_columns(self) -> list[str]:
        """The columns whose values are told apart."""
        return [
            name for kind in FAMILIES if kind.told_apart for name in self._columns.of_family(kind)
        ]

    def _family_columns(self, categories: Sequence[Category] = ()) -> tuple[FamilyColumns, ...]:
        """The columns of every family that has any; of those that are told apart, these whose
        values are known."""
        found = []
        for kind in FAMILIES:
            names = self._columns.of_family(kind)
            own = [one for one in categories if one.name in names] if kind.told_apart else []
            if own or (names and not kind.told_apart):
                found.append(FamilyColumns.of(kind, names, own))
        return tuple(found)

    def _sample_rows(self, plans: Sequence[Plan], roles: Roles) -> int:
        if self.getSampleSize():
            return self.getSampleSize()
        parameters = max(self._num_parameters(p.structure, p.k, roles) for p in plans)
        wanted = _SAMPLE_ROWS_PER_PARAMETER * parameters
        row = 8 * len(roles.inputs)
        rows = max(_SAMPLE_BYTES // row, min(wanted, _SAMPLE_BYTES_AT_MOST // row))
        return max(1000, min(rows, _SAMPLE_ROWS_AT_MOST))

    def _num_parameters(self, structure: Structure, k: int, roles: Roles) -> int:
        return structure.num_free_parameters(
            k, len(roles.features), roles.families, self.getNoise()
        )

    def _check_labels(self, scanned: Scan, plans: Sequence[Plan]) -> None:
        k = min(plan.k for plan in plans)
        beyond = scanned.memberships[k:]
        if beyond:
            label = k + next(i for i, rows in enumerate(beyond) if rows)
            raise InputDataError(
                f"label column {self.getLabelCol()!r}: {sum(beyond)} rows have label {label} or a "
                f"higher one, k is {k}; labels are 0 to {k - 1}, and null where a row's component "
                "is not known"
            )

    def _refuse_wide(self, plans: Sequence[Plan], d: int) -> None:
        """Raise ConfigurationError where a fit needs more memory than a machine is asked for."""
        given = self.getInitialModel() is not None or self.getInitialLabelCol() is not None
        for plan in plans:
            wrong = width_refusal(plan.structure, d, plan.k, 1 if given else self.getNumInit())
            if wrong:
                raise ConfigurationError(wrong)

    def _refuse_singular(self, columns: Columns, plan: Plan, names: tuple[str, ...]) -> None:
        if plan.floor != 0 or plan.structure.kind == "spherical":
            return
        if columns.constant:
            constant = ", ".join(names[j] for j in columns.constant)
            raise InputDataError(
                f"constant columns ({constant}) have no likelihood without a floor; leave them "
                "out, or use covarianceFloor='auto'"
            )
        if columns.collinear:
            group = ", ".join(names[j] for j in columns.collinear[0])
            raise InputDataError(
                f"columns {group} are exactly collinear: there is no likelihood without a floor; "
                "leave one out, or use covarianceFloor='auto'"
            )

    def _sample(self, data: Data, plan: Plan) -> Sample:
        """The sample as a plan sees it; raises where the data do not suit it."""
        roles, scanned = data.source.roles, data.scan
        d = len(roles.features)
        if plan.num_features not in (None, d):
            raise ConfigurationError(f"initialModel has {plan.num_features} columns, the data {d}")
        if plan.k > scanned.num_rows:
            raise InputDataError(
                f"k is {plan.k}, but there are only {scanned.num_rows} rows; use a smaller k"
            )
        columns = data.columns(plan)
        self._refuse_singular(columns, plan, roles.features)
        by = columns.standardisation
        noise = None
        if self.getNoise():
            noise = noise_over(
                _LEAST_NOISE, scanned.lowest, scanned.highest, by.centre, by.scale, roles.families
            )
        sample = Sample(
            scanned.sample,
            scanned.sample_weights,
            by,
            columns.floor / by.scale,
            any(scanned.gaps[:d]),
            roles.families,
            scanned.sample_memberships,
            None,
            noise,
        )
        share = scanned.sample.shape[1] / scanned.num_rows
        return replace(sample, prior=self._priors(sample, plan, share))

    def _priors(self, sample: Sample, plan: Plan, share: float) -> Priors | None:
        """The prior as it stands beside the sample, which is that share of the rows."""
        rows = self.getCategoryPrior() if sample.families else 0.0
        concentration, normal = self.getWeightConcentration(), None
        if self.getPrior() == "conjugate" and sample.d > 0:
            plain = replace(sample, floor=np.zeros(sample.d), families=(), noise=None)
            plain = replace(plain, values=sample.values[: sample.d], allowed=None)
            plain = _without_far_rows(plain)
            whole = one_component(plain, structure_named("full"))
            # Of less than a row in all, n / (n - 1) is no correction.
            unbiased = plain.weight / max(plain.weight / 2, plain.weight - 1)
            normal = FraleyRaftery(
                plan.structure,
                whole.means[0],
                unbiased * whole.covariances[0],
                sample.standardisation.scale,
                self.getPriorShrinkage(),
            )
        if rows == 0 and concentration == 1 and normal is None:
            return None
        families = tuple(
            family.prior(values, sample.weights) for family, values in sample.of_families
        )
        return Priors(concentration, rows, families, normal, share)


def _without_far_rows(sample: Sample) -> Sample:
    """The rows that say what is usual: a code for "not known" a million deviations away would
    make a prior that no row outweighs."""
    near = ~(np.abs(sample.z) >= FAR).any(axis=0)  # gaps are near
    if near.all() or not near.any():
        return sample
    weights = None if sample.weights is None else sample.weights[near]
    return replace(sample, values=sample.values[:, near], weights=weights)


def _scanned_rows(scanned: Scan, num_columns: int) -> str:
    """How many rows there are, and how many are not used where there are such."""
    parts = [f"{scanned.num_rows} rows of {num_columns} columns"]
    if scanned.num_skipped:
        parts.append(f"{scanned.num_skipped} left out for their gaps")
    if scanned.num_weightless:
        parts.append(f"{scanned.num_weightless} of weight 0")
    return ", ".join(parts)


def _odd_columns(roles: Roles, scanned: Scan) -> list[str]:
    """Warnings of what is odd about the columns of families."""
    found = [
        family.warning(
            roles.inputs[place],
            scanned.sample[place],
            scanned.sample_weights,
            float(scanned.highest[place]),
            scanned.num_rows,
        )
        for family, rows in roles.of_families
        for place in range(rows.start, rows.stop)
    ]
    return [said for said in found if said is not None]
