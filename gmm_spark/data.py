"""What a fit reads: the rows, scanned once, and the sample of them as a spec sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from gmm_spark.checkpoints import Checkpoint, checkpoint_of
from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.jobs import Source
from gmm_spark.engine.passes import PassEngine
from gmm_spark.engine.sample_executor import SparkSampleExecutor
from gmm_spark.engine.scan import Scan
from gmm_spark.engine.scanning import scan
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.families import noise_over
from gmm_spark.mixture.initialisation.candidates import InProcess, Sample, SampleExecutor
from gmm_spark.mixture.initialisation.methods import one_component
from gmm_spark.mixture.priors import FraleyRaftery, Priors
from gmm_spark.mixture.spec import Grid, Spec
from gmm_spark.mixture.standardisation import FAR, Columns, describe_columns
from gmm_spark.mixture.structures import structure_named
from gmm_spark.mixture.usable import scale_refusal, width_refusal
from gmm_spark.progress import say

# The sample: so many bytes, more where a mixture has many parameters, and rows at most.
_SAMPLE_BYTES = 24 << 20
_SAMPLE_BYTES_AT_MOST = 64 << 20
_SAMPLE_ROWS_PER_PARAMETER = 10
_SAMPLE_ROWS_AT_MOST = 300_000
# Noise starts with this weight where nothing says more.
_LEAST_NOISE = 0.01


# Opens what a fit is given: the source, and warnings about its categories.
Open = Callable[[], tuple[Source, list[str]]]


@dataclass
class Data:
    """What a fit reads, after the first scan."""

    source: Source
    scan: Scan
    engine: PassEngine
    opening: tuple[str, float]  # what the first scan was, and its seconds
    notes: list[str]  # warnings about categories
    checkpoint: Checkpoint
    _described: dict[tuple[str, bool, float | None], Columns] = field(default_factory=dict)
    _executors: list[SparkSampleExecutor] = field(default_factory=list)

    def columns(self, spec: Spec) -> Columns:
        """The columns as a spec sees them; spherical structures have one scale for all."""
        d = len(self.source.roles.features)
        structure = spec.structure_for(d)
        key = structure.kind, structure.one_scale, spec.floor
        if key not in self._described:
            scan = self.scan
            numbers = scan.sample[:d]
            lowest, highest = scan.lowest[:d], scan.highest[:d]
            found = describe_columns(numbers, lowest, highest, structure, spec.floor)
            wrong = scale_refusal(self.source.roles.features, found, lowest, highest)
            if wrong:
                raise InputDataError(wrong)
            self._described[key] = found
        return self._described[key]

    def sample(self, spec: Spec) -> Sample:
        """The sample as a spec sees it; raises where the data do not suit it."""
        roles, scanned = self.source.roles, self.scan
        d = len(roles.features)
        if spec.k > scanned.num_rows:
            raise InputDataError(
                f"k is {spec.k}, but there are only {scanned.num_rows} rows; use a smaller k"
            )
        columns = self.columns(spec)
        _refuse_singular(columns, spec, roles.features)
        by = columns.standardisation
        noise = None
        if spec.noise:
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
        return replace(sample, prior=_priors(sample, spec, share))

    def sample_executor(self, sample: Sample) -> SampleExecutor:
        """Shares out work on the sample."""
        if self.source.spark is None:
            return InProcess(sample)
        self._executors.append(SparkSampleExecutor(self.source.spark, sample))
        return self._executors[-1]

    def close(self) -> None:
        """Give back what the cluster holds."""
        for executor in self._executors:
            executor.close()
        self.source.close()


@contextmanager
def opened(
    open_source: Open,
    specs: Sequence[Spec],
    tried: Grid | None = None,
    known_columns: bool = False,
) -> Iterator[Data]:
    """The data scanned once and described for every spec; given back in the end.

    `tried` is what a search tries. What has been found is kept where `Spec.checkpoint_dir` says.
    `known_columns` is as for `scan`.
    """
    started, checkpoint = time.monotonic(), checkpoint_of(specs, tried)
    source, notes = open_source()
    data: Data | None = None
    try:
        roles, spec = source.roles, specs[0]
        refuse_wide(specs, len(roles.features), roles.label is not None)
        look = partial(
            scan,
            source,
            missing=spec.missing,
            seed=spec.positive_seed,
            sample_size=_sample_rows(specs, roles),
            weight_kind=spec.weight_kind,
            known_columns=known_columns,
        )
        scanned = checkpoint.scan(source, look)
        _check_labels(scanned, specs, roles)
        notes = [*notes, *_odd_columns(roles, scanned)]
        say("%s; sample of %d", _scanned_rows(scanned, len(roles.inputs)), scanned.sample.shape[1])
        engine = PassEngine(source, scanned, spec.aggregation_depth)
        with one_thread():
            opening = source.opening, time.monotonic() - started
            data = Data(source, scanned, engine, opening, notes, checkpoint)
            yield data
        checkpoint.finish()
    except SingularCovarianceError:
        raise InputDataError(
            "the covariances of the starting values are singular and there is no floor; use "
            "covarianceFloor='auto', a smaller k, or fewer columns"
        ) from None
    finally:
        (data or source).close()


@contextmanager
def one_thread() -> Iterator[None]:
    """Products of the size a search multiplies lose by threads: 1M x 16, k = 8 found its start in
    1.4 s with one and in 8 s with two, on a machine whose other cores had work."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # on an executor, which has one thread as Spark sets it
        yield
        return
    with threadpool_limits(1):
        yield


def num_parameters(spec: Spec, roles: Roles) -> int:
    """Free parameters of the mixture that a spec is of."""
    d = len(roles.features)
    structure = spec.structure_for(d)
    return structure.num_free_parameters(spec.k, d, roles.families, spec.noise)


def refuse_wide(specs: Sequence[Spec], d: int, labelled: bool) -> None:
    """Raise ConfigurationError for a structure that is not for d columns, or where their fit needs
    more memory than a machine is asked for; `labelled`: it starts from labels."""
    for spec in specs:
        starts = 1 if labelled or spec.initial_model is not None else spec.num_init
        structure = spec.structure_for(d)
        wrong = structure.columns_refused(d) if d else None
        wrong = wrong or width_refusal(structure, d, spec.k, starts)
        if wrong:
            raise ConfigurationError(wrong)


def _sample_rows(specs: Sequence[Spec], roles: Roles) -> int:
    if specs[0].sample_size:
        return specs[0].sample_size
    wanted = _SAMPLE_ROWS_PER_PARAMETER * max(num_parameters(spec, roles) for spec in specs)
    row = 8 * len(roles.inputs)
    rows = max(_SAMPLE_BYTES // row, min(wanted, _SAMPLE_BYTES_AT_MOST // row))
    return max(1000, min(rows, _SAMPLE_ROWS_AT_MOST))


def _check_labels(scanned: Scan, specs: Sequence[Spec], roles: Roles) -> None:
    k = min(spec.k for spec in specs)
    beyond = scanned.memberships[k:]
    if beyond:
        label = k + next(i for i, rows in enumerate(beyond) if rows)
        raise InputDataError(
            f"label column {roles.membership!r}: {sum(beyond)} rows have label {label} or a "
            f"higher one, k is {k}; labels are 0 to {k - 1}, and null where a row's component "
            "is not known"
        )


def _refuse_singular(columns: Columns, spec: Spec, names: tuple[str, ...]) -> None:
    if spec.floor != 0 or spec.structure_for(len(names)).kind == "spherical":
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


def _priors(sample: Sample, spec: Spec, share: float) -> Priors | None:
    """The prior as it stands beside the sample, which is that share of the rows."""
    rows = spec.category_prior if sample.families else 0.0
    concentration, normal = spec.weight_concentration, None
    if spec.prior == "conjugate" and sample.d > 0:
        plain = replace(sample, floor=np.zeros(sample.d), families=(), noise=None)
        plain = replace(plain, values=sample.values[: sample.d], allowed=None)
        plain = _without_far_rows(plain)
        whole = one_component(plain, structure_named("full"))
        # Of less than a row in all, n / (n - 1) is no correction.
        unbiased = plain.weight / max(plain.weight / 2, plain.weight - 1)
        normal = FraleyRaftery(
            spec.structure_for(sample.d),
            whole.means[0],
            unbiased * whole.covariances[0],
            sample.standardisation.scale,
            spec.prior_shrinkage,
        )
    if rows == 0 and concentration == 1 and normal is None:
        return None
    families = tuple(family.prior(values, sample.weights) for family, values in sample.of_families)
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
