"""A fit's table of contents: open, scan, sample, start, iterate, and what came out of it.

Plain functions over a source of rows and a spec: an estimator calls `fit` with the rows of a
DataFrame or a Parquet table, `fit_arrays` is the same on arrays in memory, without a
SparkSession, and so inside a task too (one model a group).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmm_spark.alternatives import Optimum, alternatives
from gmm_spark.data import Data, Open, opened
from gmm_spark.engine.array_source import array_source
from gmm_spark.engine.blocks import Roles
from gmm_spark.engine.density_quantile import density_quantile
from gmm_spark.engine.scan import Scan
from gmm_spark.errors import ConfigurationError, InputDataError, refusals
from gmm_spark.initial_model import matched
from gmm_spark.mixture import multifit
from gmm_spark.mixture.edges import off_zero, with_weight
from gmm_spark.mixture.em import Fit, PassRecord, Problem
from gmm_spark.mixture.families import Family
from gmm_spark.mixture.incremental import Frame, KeptStatistics, component_statistics
from gmm_spark.mixture.initialisation import multistart
from gmm_spark.mixture.initialisation.candidates import Candidate, Sample
from gmm_spark.mixture.initialisation.methods import labelled_start
from gmm_spark.mixture.initialisation.multistart import SearchState
from gmm_spark.mixture.initialisation.partial_start import PartialStart
from gmm_spark.mixture.initialisation.path import Path
from gmm_spark.mixture.merging import Merging
from gmm_spark.mixture.multifit import MultiFit
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters, as_structure
from gmm_spark.mixture.priors import Prior
from gmm_spark.mixture.spec import Spec
from gmm_spark.mixture.standardisation import Columns
from gmm_spark.progress import quiet, say, search_on_the_sample


@dataclass(frozen=True)
class FittedMixture:
    """What a fit ended in.

    spec : that was fitted; of a search, the one chosen
    parameters : in the user's units, components in the order in which they are reported
    fit : where EM ended, in standardised coordinates and in its own order of components
    order : (k,) which of the fit's components are reported, one after the other
    outlier_threshold : log density under which a row is an outlier; None where none is asked for
    scan, columns, roles : of the rows
    opening : what the first look at the data was, and its seconds
    notes : warnings about the data
    path : of the parameters on the sample, to where EM began; empty where the start was given
    candidates : of a search, what was tried
    alternatives : other optima that were met
    merging : of components into clusters, in the order in which they are reported; None where each
        is one
    outcome_information : what the clusters say of an outcome; None where there is none
    statistics : of the last E-step, by component in the order in which they are reported, for
        updates by new rows; None where the parameters stayed as they were found on the sample
    """

    spec: Spec
    parameters: Parameters
    fit: Fit
    order: NDArray[np.intp]
    outlier_threshold: float | None
    scan: Scan
    columns: Columns
    roles: Roles
    opening: tuple[str, float]
    notes: list[str]
    path: Path
    candidates: list[dict[str, Any]] = field(default_factory=list)
    alternatives: list[dict[str, Any]] = field(default_factory=list)
    merging: Merging | None = None
    outcome_information: dict[str, Any] | None = None
    statistics: KeptStatistics | None = None


@dataclass(frozen=True)
class Start:
    """Where EM begins on all the rows.

    parameters : in standardised coordinates
    sample : as the spec sees it
    whose : said in the log before every pass
    penalty : what is taken off its mean log-likelihood before several starts are compared
    path : that led here on the sample; empty where the start was given
    """

    parameters: Parameters
    sample: Sample
    spec: Spec
    whose: str = ""
    penalty: float = 0.0
    path: Path = field(default_factory=Path)


def fit(open_source: Open, spec: Spec, inputs: Sequence[str] | None = None) -> FittedMixture:
    """A whole fit of one mixture.

    Parameters
    ----------
    open_source : opens the rows; they are given back in the end
    inputs : names of the numeric columns; None where these have none, as entries of a vector

    Raises ConfigurationError, InputDataError or FitError as the estimator's `fit` does.
    """
    with opened(open_source, [spec]) as data:
        sample = data.sample(spec)
        met = _starting_candidates(data, sample, spec, inputs)
        # Of all the rows the sample has the last word.
        entered = met if sample.num_rows < data.scan.num_rows else met[:1]
        many = len(entered) > 1
        starts = [
            Start(one.parameters, sample, spec, f"start {i}, " if many else "", path=one.path)
            for i, one in enumerate(entered, 1)
        ]
        start, found = best(starts, run_em(data, starts))
        threshold = outlier_threshold(data, sample, spec, found)
        rivals = [one.parameters for one in met if one.parameters is not start.parameters]
        others = [Optimum(parameters, spec, sample) for parameters in rivals]
        told = alternatives(Optimum(found.parameters, spec, sample), others)
    return fitted(data, start, found, threshold, alternatives=told)


@refusals()
def fit_arrays(
    values: Array,
    spec: Spec,
    *,
    families: Sequence[tuple[Family, Array]] = (),
    weights: Array | None = None,
    labels: Array | None = None,
    start_labels: Array | None = None,
    names: Sequence[str] | None = None,
) -> FittedMixture:
    """A whole fit of rows in memory, as an estimator fits them, without a SparkSession.

    The same rows give the same mixture, whatever their order and wherever they come from. Nothing
    is printed.

    Parameters
    ----------
    values : (d, n) numeric columns; NaN is a gap
    families : other columns, each family with its own, (columns, n), in the order of `FAMILIES`:
        `(Categorical((3,)), codes)`, from 0 to 2, `(Count(2), counts)`; NaN is a gap
    weights : (n,) at least 0; a row of weight 0 is no row
    labels : (n,) numbers of components where they are known, NaN where not
    start_labels : (n,) whole numbers, one value a component, to start from
    names : of all columns, for messages; None numbers them

    `spec.initial_model` may be Parameters, in the user's units, for the columns in their order.

    Raises ConfigurationError for settings, InputDataError for rows that cannot be used.
    """
    source = array_source(
        values,
        families=families,
        weights=weights,
        labels=labels,
        start_labels=start_labels,
        names=names,
    )
    check_start(spec, len(source.roles.features), source.roles.label)
    with quiet():
        return fit(lambda: (source, []), spec)


def check_start(spec: Spec, d: int | None, label: str | None) -> None:
    """Raise ConfigurationError for a start that no rows can suit.

    `d` is the number of numeric columns, None where it is not known yet; `label` the column of
    labels to start from.
    """
    model, partial = spec.initial_model, partial_start(spec)
    if model is not None and label is not None:
        raise ConfigurationError("give initialModel or initialLabelCol, not both")
    if model is not None and _parameters_of(model).k != spec.k:
        raise ConfigurationError(
            f"k is {spec.k}, but initialModel has {_parameters_of(model).k} components"
        )
    if partial is None:
        return
    for name, given in (("initialModel", model), ("initialLabelCol", label)):
        if given is not None:
            raise ConfigurationError(
                f"give {name} or parts of a start (initialWeights, initialMeans, "
                "initialCovariances), not both"
            )
    if d == 0 and (partial.means is not None or partial.covariances is not None):
        raise ConfigurationError(
            "initialMeans and initialCovariances are of inputCols, and there are none"
        )
    with refusals(
        "initialWeights, initialMeans, initialCovariances with k = "
        f"{spec.k} and {'the vector' if d is None else f'{d} inputCols'}: "
    ):
        partial.checked(spec.structure if d is None else spec.structure_for(d), spec.k, d)


def partial_start(spec: Spec) -> PartialStart | None:
    """The parts of a start that are given, if any is."""
    given = spec.initial_weights, spec.initial_means, spec.initial_covariances
    return None if all(part is None for part in given) else PartialStart(*given)


def _starting_candidates(
    data: Data, sample: Sample, spec: Spec, inputs: Sequence[str] | None
) -> Sequence[Candidate]:
    """Where EM may begin on all the rows: what is given of a start, or what is found on the sample,
    the best first, then its rivals."""
    if spec.initial_model is not None:
        return [Candidate(from_model(spec.initial_model, data, sample, spec, inputs))]
    if data.source.roles.label is not None:
        return [Candidate(_from_labels(data, sample, spec))]
    structure, partial = spec.structure_for(sample.d), partial_start(spec)
    if partial is not None:
        partial.checked(structure, spec.k, sample.d)
        found = partial.completed(
            sample, spec.k, structure, lambda: _searched(data, sample, spec)[0].parameters
        )
        return [Candidate(found)]
    return _searched(data, sample, spec)


def _searched(data: Data, sample: Sample, spec: Spec) -> Sequence[Candidate]:
    kept = data.checkpoint
    with search_on_the_sample() as tell:
        state = kept.recall("search", SearchState) or multistart.start(
            sample,
            spec.k,
            spec.structure_for(sample.d),
            init_mode=spec.init_mode,
            num_init=spec.num_init,
            seed=spec.positive_seed,
            tol=spec.tol,
            tell=tell,
        )
        executor = data.sample_executor(sample)
        ended = multistart.run(state, sample, executor, tell, partial(kept.keep, "search"))
    return multistart.result(ended)


def _from_labels(data: Data, sample: Sample, spec: Spec) -> Parameters:
    labels = data.scan.labels
    if len(labels) != spec.k:
        shown = ", ".join(f"{label:g}" for label in labels[:10])
        raise InputDataError(
            f"label column {data.source.roles.label!r} has {len(labels)} "
            f"distinct values ({shown}), k is {spec.k}; they must be equal in number"
        )
    find = partial(
        labelled_start,
        data.engine.run_labelled,
        sample,
        spec.k,
        spec.structure_for(sample.d),
        sample.floor,
        _prior_of_all(sample, spec.k, data.scan.num_rows),
    )
    return data.checkpoint.once("start", Parameters, find)


def from_model(
    model: Any, data: Data, sample: Sample, spec: Spec, inputs: Sequence[str] | None
) -> Parameters:
    """The parameters of a model to start from, with or without noise as it is asked for."""
    given = _parameters_of(model)
    if given.d != sample.d:
        raise ConfigurationError(f"initialModel has {given.d} columns, the data {sample.d}")
    if model is not given:
        usual = [family.prior(values, sample.weights) for family, values in sample.of_families]
        given, notes = matched(model, inputs, data.source.roles, usual)
        data.notes.extend(notes)
    structure = spec.structure_for(sample.d)
    start = as_structure(given, structure).standardised(sample.standardisation)
    start = off_zero(with_weight(start))
    wanted = sample.noise
    if wanted is None or start.noise is None or start.noise.weight == 0:
        weights = start.weights / start.weights.sum()
        start = replace(start, weights=weights, noise=None)
        return start if wanted is None else start.with_noise(wanted)
    return replace(start, noise=replace(wanted, weight=start.noise.weight))


def _parameters_of(model: Any) -> Parameters:
    parameters: Parameters = model if isinstance(model, Parameters) else model.parameters
    return parameters


def run_em(data: Data, starts: Sequence[Start]) -> list[Fit | None]:
    """EM on all the rows from several starts, which share every scan; None for those that were
    given up because they could not win any more."""
    problems = [_problem(start, data.scan.num_rows) for start in starts]
    step = data.checkpoint.next_run()

    def passed(state: MultiFit) -> None:
        for index in state.last_scan:
            _log_pass(state.fits[index].history[-1], starts[index].whose)
        data.checkpoint.keep(step, state)

    begun = multifit.start([start.parameters for start in starts], problems)
    state = multifit.run(
        data.engine.run_passes,
        data.checkpoint.recall(step, MultiFit) or begun,
        problems,
        [start.penalty for start in starts],
        on_scan=passed,
        seconds=lambda: data.engine.seconds[-1],
    )
    return multifit.results(state)


def _problem(start: Start, num_rows: int) -> Problem:
    """What EM is to do from a start on all the rows."""
    sample, spec = start.sample, start.spec
    return Problem(
        sample.standardisation,
        sample.floor,
        tol=spec.tol,
        max_iter=spec.max_iter,
        acceleration=spec.acceleration,
        run_sample=sample.run_pass,
        has_missing=sample.gaps,
        prior=_prior_of_all(sample, start.parameters.k, num_rows),
    )


def _prior_of_all(sample: Sample, k: int, num_rows: int) -> Prior | None:
    """The prior of k components beside all the rows that the sample is of."""
    if sample.prior is None:
        return None
    return sample.prior.times(num_rows / sample.num_rows).of(k)


def _log_pass(record: PassRecord, whose: str) -> None:
    gain = "" if record.gain is None else f", gain {record.gain:.3g}"
    say(
        "%spass %d (%s), mean log-likelihood %.6f%s",
        whose,
        record.number,
        record.kind,
        record.mean_log_likelihood,
        gain,
    )


def best(starts: Sequence[Start], fits: Sequence[Fit | None]) -> tuple[Start, Fit]:
    """The fit of the highest objective, and where it began."""
    ended = [(s, fit) for s, fit in zip(starts, fits, strict=True) if fit is not None]
    return max(ended, key=lambda pair: pair[1].objective)


def outlier_threshold(data: Data, sample: Sample, spec: Spec, found: Fit) -> float | None:
    """The log density that `spec.contamination` of the rows lie under."""
    if spec.contamination == 0:
        return None
    evaluator = sample.evaluator([found.parameters])
    return density_quantile(data.source, data.scan, evaluator, spec.contamination)


def fitted(
    data: Data,
    start: Start,
    found: Fit,
    threshold: float | None,
    candidates: Sequence[dict[str, Any]] = (),
    **more: Any,
) -> FittedMixture:
    """What came out of a fit, in the user's units; `more` goes into it as it is."""
    spec, columns = start.spec, data.columns(start.spec)
    restored = found.parameters.restored(columns.standardisation)
    order: NDArray[np.intp] = np.arange(restored.k)
    if not _has_numbers(spec, data.source.roles):
        order = restored.canonical_order()
    return FittedMixture(
        spec,
        restored.taken(order),
        found,
        order,
        threshold,
        data.scan,
        columns,
        data.source.roles,
        data.opening,
        data.notes,
        start.path,
        list(candidates),
        statistics=_kept_statistics(data, start, found, order),
        **more,
    )


def _kept_statistics(
    data: Data, start: Start, found: Fit, order: NDArray[np.intp]
) -> KeptStatistics | None:
    if found.reason == "kept":  # whose M-step leads away
        return None
    statistics = component_statistics(
        found.statistics, found.parameters.structure, found.scatter
    ).taken(order)
    return KeptStatistics(statistics, frame_of(start.sample, start.parameters.k, data.scan))


def frame_of(sample: Sample, k: int, scanned: Scan) -> Frame:
    """What the M-steps of k components have in common, by a sample of all the rows."""
    prior = _prior_of_all(sample, k, scanned.num_rows)
    return Frame(sample.standardisation, sample.floor, prior)


def _has_numbers(spec: Spec, roles: Roles) -> bool:
    """Whether components have numbers already: their labels', or those of what the fit starts
    from."""
    given = roles.membership, spec.initial_model, partial_start(spec)
    return any(start is not None for start in given)
