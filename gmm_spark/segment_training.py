"""The choice of segments: divisions are judged on a sample, the one taken fitted to all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from gmm_spark.alternatives import MOST_ALTERNATIVES, Optimum, alternatives
from gmm_spark.data import Data, Open, num_parameters, opened
from gmm_spark.engine.array_source import array_source
from gmm_spark.engine.scoring import Scorer
from gmm_spark.errors import InputDataError, refusals
from gmm_spark.merging import MergedRows
from gmm_spark.mixture.divisions import (
    Division,
    adjusted_rand_index,
    outcome_spread,
)
from gmm_spark.mixture.em import Fit
from gmm_spark.mixture.families import Family
from gmm_spark.mixture.initialisation.candidates import Candidate, Sample, run_em_all
from gmm_spark.mixture.merging import (
    Merging,
    Partition,
    bhattacharyya_hierarchy,
    numbered,
)
from gmm_spark.mixture.numerics import Array, finite
from gmm_spark.mixture.segmentation.candidates import (
    RULES,
    Proposal,
    refitted_kmeans,
    singletons,
)
from gmm_spark.mixture.segmentation.choosing import Choice, Considered, choose, reporting_rows
from gmm_spark.mixture.segmentation.following import (
    Followed,
    compared,
    division_of,
    followed,
    stays,
)
from gmm_spark.mixture.segmentation.judging import (
    corrected_information,
    in_parts,
    information_error,
)
from gmm_spark.mixture.spec import Grid, Spec
from gmm_spark.mixture.structures import Structure
from gmm_spark.progress import quiet, say, search_on_the_sample
from gmm_spark.training import (
    FittedMixture,
    Start,
    fitted,
    from_model,
    outlier_threshold,
    run_em,
)

# Steps of EM on the sample, from where a part of it led, at most.
_SETTLING_STEPS = 300
# As many divisions are in the table, the best, and the best of every number of clusters.
_MOST_CONSIDERED = 100
_CHOOSE = "Where the rows are not what they were, refit: choose looks for new segments"
# Columns whose weights are said.
_WEIGHTS_SAID = 5
# Divisions whose adjusted Rand index is at least this are one to whoever uses them.
_SAME_DIVISION = 0.9


def fit_segments(open_source: Open, specs: Sequence[Spec], tried: Grid) -> FittedMixture:
    """The division of the rows into clusters that is the most use, as a mixture whose components
    may be merged, and the table of what was considered.

    Parameters
    ----------
    open_source : opens the rows, with the outcome where there is one; they are given back in the
        end
    specs : of the mixtures, of every size and structure of `tried`

    Raises ConfigurationError, InputDataError or FitError as the search's `fit` does.
    """
    with opened(open_source, specs, tried) as data:
        samples = _Samples(data, specs[0])
        find = partial(_chosen, data, samples, specs, tried)
        choice = data.checkpoint.once("choice", Choice, find)
        taken = _on_all_rows(data, samples, choice.chosen.proposal)
        threshold = outlier_threshold(data, taken.start.sample, taken.start.spec, taken.fit)
        others = choice.considered[1 : MOST_ALTERNATIVES + 1]
        told = alternatives(taken.optimum, [samples.optimum(other.proposal) for other in others])
        table = _table(data, samples, choice, taken)
        found = fitted(data, taken.start, taken.fit, threshold, table, alternatives=told)
        merging, sizes = _clusters(data, taken, found)
        small = _small(sizes, taken.proposal.k, tried.min_segment_share)
        data.notes.extend([*_no_segments(choice), *small])
        information = _outcome_information(data, taken)
    say("%d segments taken, the division that %s", taken.proposal.k, choice.chosen.why)
    return replace(found, merging=merging, outcome_information=information)


def refit_segments(
    open_source: Open,
    spec: Spec,
    inputs: Sequence[str] | None,
    *,
    merging: Merging | None,
    origin: str,
) -> FittedMixture:
    """The division that `spec.initial_model` makes, fitted anew to the rows: as many components of
    the same structure, merged into the same clusters, whose numbers stay.

    EM begins from the model; k-means goes on as k-means does. Where that ends in another division,
    which a refit is not asked for, it goes as far as no more than a tenth of the rows are in
    another segment than before and every segment has its members. A division by k-means whose
    columns were weighted by an outcome stays as it is.

    Parameters
    ----------
    inputs : names of the numeric columns; None where they have none
    merging : of the model's components into clusters; None where each is one
    origin : how the division was come to, as `summary.candidates` says it

    Raises ConfigurationError, InputDataError or FitError as the estimator's `fit` does.
    """
    with opened(open_source, [spec]) as data:
        samples = _Samples(data, spec)
        sample = data.sample(spec)
        given = from_model(spec.initial_model, data, sample, spec, inputs)
        clusters = singletons(given.k) if merging is None else merging.clusters
        hard = origin in RULES
        start = origin if hard else "the model it was refitted from"
        taken = _refit(data, samples, Proposal(given, clusters, start=start, hard=hard))
        threshold = outlier_threshold(data, taken.start.sample, taken.start.spec, taken.fit)
        table = [_refit_row(data, taken)]
        found = fitted(data, taken.start, taken.fit, threshold, table)
        if merging is not None:
            scorer = Scorer(found.parameters, spec.missing, data.source.roles.inputs)
            sizes = MergedRows(data.source, data.scan, scorer).sizes(clusters)
            merging = replace(merging, sizes=sizes)
        information = _outcome_information(data, taken)
    say("%d segments, the division that %s", taken.proposal.k, table[0]["why"])
    return replace(found, merging=merging, outcome_information=information)


def _refit_row(data: Data, taken: _Taken) -> dict[str, Any]:
    """The one division that was considered, in the form of `_row`."""
    spec, proposal = taken.start.spec, taken.proposal
    sizes = np.bincount(taken.division, weights=taken.start.sample.weights, minlength=proposal.k)
    return {
        "k": proposal.k,
        "components": proposal.parameters.k,
        "covarianceType": spec.structure.name,
        "covarianceFloor": spec.floor,
        "origin": proposal.origin,
        "mergedBy": None,
        "numParameters": num_parameters(spec, data.source.roles),
        "meanLogLikelihood": finite(taken.fit.log_likelihood / taken.fit.weight),
        "stability": None,
        "entropy": None,
        "smallestShare": float(sizes[: proposal.k].min() / sizes.sum()),
        "columnInformation": None,
        "mutualInformation": None,
        "evaluatedOn": "all rows",
        "why": f"is the one there was, {taken.kept or 'fitted anew'}",
    }


@refusals()
def segment_arrays(
    values: Array,
    spec: Spec,
    tried: Grid,
    *,
    families: Sequence[tuple[Family, Array]] = (),
    weights: Array | None = None,
    outcomes: Array | None = None,
    names: Sequence[str] | None = None,
) -> FittedMixture:
    """As `fit_segments`, of rows in memory, without a SparkSession; nothing is printed.

    Parameters
    ----------
    values, families, weights, names : as for `training.fit_arrays`
    spec : its k and structure are those of `tried`
    outcomes : (n,) what segments should tell apart, NaN where it is not known
    """
    source = array_source(
        values, families=families, weights=weights, outcomes=outcomes, names=names
    )
    with quiet():
        return fit_segments(lambda: (source, []), tried.specs(spec), tried)


@dataclass(frozen=True)
class _Samples:
    """The sample, as mixtures of several structures and covariance floors see it.

    common : what all of them have in common
    """

    data: Data
    common: Spec
    _known: dict[tuple[str, float | None], Sample] = field(default_factory=dict)

    def __call__(self, structure: Structure, floor: float | None) -> Sample:
        key = structure.code, floor
        if key not in self._known:
            self._known[key] = self.data.sample(self.spec(1, structure, floor))
        return self._known[key]

    def spec(self, k: int, structure: Structure, floor: float | None) -> Spec:
        """Of a mixture; a floor of None is what the settings say."""
        spec = self.common.of_size(k, structure.name)
        return spec if floor is None else replace(spec, covariance_floor=floor)

    def of(self, proposal: Proposal) -> tuple[Spec, Sample]:
        """The mixture of a proposal, and the sample as it sees it."""
        parameters = proposal.parameters
        spec = self.spec(parameters.k, parameters.structure, proposal.floor)
        return spec, self(parameters.structure, proposal.floor)

    def optimum(self, proposal: Proposal) -> Optimum:
        """A proposal, to be compared with others."""
        spec, sample = self.of(proposal)
        return Optimum(proposal.parameters, spec, sample, proposal.clusters)


@dataclass(frozen=True)
class _Taken:
    """The division that was chosen, fitted to all the rows.

    division : of the rows of the sample, by the mixture that was fitted
    kept : why the parameters stayed as they were found on the sample; empty where they did not
    """

    proposal: Proposal
    start: Start
    fit: Fit
    division: Division
    kept: str = ""

    @property
    def optimum(self) -> Optimum:
        """The mixture that was fitted, to compare others with."""
        start = self.start
        return Optimum(self.fit.parameters, start.spec, start.sample, self.proposal.clusters)


def _chosen(data: Data, samples: _Samples, specs: Sequence[Spec], tried: Grid) -> Choice:
    """The divisions that were considered on the sample, the one to take first."""
    d = len(data.source.roles.features)
    ks = sorted({spec.k for spec in specs if spec.k <= data.scan.num_rows})
    if not ks:
        raise InputDataError(
            f"k is at least {min(spec.k for spec in specs)}, but there are only "
            f"{data.scan.num_rows} rows; use a smaller k"
        )
    structures = list(
        {spec.structure_for(d).code: spec.structure_for(d) for spec in specs}.values()
    )
    with search_on_the_sample() as tell:
        return choose(
            samples,
            ks,
            structures,
            min_share=tried.min_segment_share,
            outcome=data.scan.sample_outcomes,
            seed=samples.common.positive_seed,
            tell=tell,
        )


def _on_all_rows(data: Data, samples: _Samples, proposal: Proposal) -> _Taken:
    """The mixture of a division after EM on the sample and then on all the rows; where that leads
    away from the division that was chosen, as it was chosen."""
    spec, sample = samples.of(proposal)
    wanted = division_of(proposal, proposal.parameters, sample)
    start = Start(proposal.parameters, sample, spec)
    if proposal.hard:
        what = "k-means" if proposal.is_kmeans else "the division"
        return _kept(data, proposal, start, wanted, f"{what} stays as it was found on the sample")
    for settled in _settled(data, start):
        # A floor that was chosen is there to be touched, and no reason to warn.
        touched: dict[str, Any] = {} if proposal.floor is None else {"floored": ()}
        division = division_of(proposal, settled.parameters, sample)
        agreement = adjusted_rand_index(wanted, division, sample.weights)
        if agreement >= _SAME_DIVISION:
            found = replace(_fit(data, settled), **touched)
            division = division_of(proposal, found.parameters, sample)
            agreement = adjusted_rand_index(wanted, division, sample.weights)
            if agreement >= _SAME_DIVISION:
                return _Taken(proposal, settled, found, division)
        why = (
            "kept as found on a part of the rows: EM leads on to another division (adjusted Rand "
            f"index {agreement:.2f})"
        )
        return _kept(data, proposal, start, wanted, why)
    return _kept(data, proposal, start, wanted, "kept as found on a part of the rows: EM on more "
                 "of them comes to a singular covariance")  # fmt: skip


def _refit(data: Data, samples: _Samples, proposal: Proposal) -> _Taken:
    """The mixture of a division that there was, after EM on the sample and then on all the rows, as
    far as its segments stay."""
    spec, sample = samples.of(proposal)
    start = Start(proposal.parameters, sample, spec)
    before = division_of(proposal, proposal.parameters, sample)
    if proposal.hard and not proposal.is_kmeans:
        empty = proposal.k - np.unique(before[before < proposal.k]).size
        if empty:
            data.notes.append(_emptied(empty, proposal.k))
        why = "unchanged: its columns were weighted by an outcome, and EM leads away from it"
        return _kept(data, proposal, start, before, why)
    if proposal.hard:
        ended = [replace(start, parameters=refitted_kmeans(sample, before, proposal.k).parameters)]
    else:
        ended = _settled(data, start)
    on_sample = followed(proposal, sample, ended[0].parameters if ended else None)
    settled = replace(start, parameters=on_sample.parameters)
    division = division_of(proposal, on_sample.parameters, sample)
    if on_sample.steps is not None:
        data.notes.append(_stopped(proposal, on_sample))
        why = f"{_several_steps(on_sample.steps)}: {_ends(proposal, on_sample)}"
        return _kept(data, proposal, settled, division, why)
    if proposal.hard:
        return _kept(data, proposal, settled, division, "")
    settled = ended[0]
    found = _fit(data, settled)
    final = division_of(proposal, found.parameters, sample)
    if stays(compared(before, final, sample.weights)):
        return _Taken(proposal, settled, found, final)
    why = "fitted anew to a part of the rows: EM on all of them leads to another one"
    return _kept(data, proposal, settled, division, why)


def _several_steps(steps: int) -> str:
    if not steps:
        return "unchanged"
    return f"fitted anew by {steps} step{'s' if steps > 1 else ''}"


def _ends(proposal: Proposal, found: Followed) -> str:
    """Where all steps of a refit would have ended."""
    algorithm = "k-means" if proposal.hard else "EM"
    if found.changed is None:
        return f"{algorithm} from it ends in a singular covariance"
    moved = f"{found.changed:.1%} of the rows in another segment"
    return f"{algorithm} from it ends in another one, with {moved}"


def _stopped(proposal: Proposal, found: Followed) -> str:
    """A warning of a refit that does not go where it leads."""
    return (
        f"segments_moved: the division there was stays, {_several_steps(found.steps or 0)}: "
        f"{_ends(proposal, found)}. {_CHOOSE}"
    )


def _emptied(empty: int, k: int) -> str:
    """A warning of a division that stays as it is, where segments have lost all their rows."""
    return (
        f"segments_moved: the division there was stays, unchanged, and {empty} of its {k} segments "
        f"{'has' if empty == 1 else 'have'} no rows any more. {_CHOOSE}"
    )


def _settled(data: Data, start: Start) -> list[Start]:
    """Where EM leads on the sample; none where that is a singular mixture."""
    sample = start.sample
    found = run_em_all(
        data.sample_executor(sample),
        sample.num_rows,
        [Candidate(start.parameters)],
        steps=_SETTLING_STEPS,
        tol=start.spec.tol,
    )
    return [replace(start, parameters=one.parameters, path=one.path) for one in found]


def _kept(data: Data, proposal: Proposal, start: Start, division: Division, why: str) -> _Taken:
    """The division with the parameters it has: all the rows are looked at once."""
    found = _fit(data, replace(start, spec=replace(start.spec, max_iter=0)))
    found = replace(found, converged=True, reason="kept")
    return _Taken(proposal, start, found, division, why)


def _fit(data: Data, start: Start) -> Fit:
    (found,) = run_em(data, [start])
    assert found is not None
    return found


def _clusters(
    data: Data, taken: _Taken, found: FittedMixture
) -> tuple[Merging | None, tuple[int, ...]]:
    """The clusters in the order in which the model reports components, None where each is one
    component, and the rows in each, in any order, and in the noise, where there is one."""
    own = taken.proposal.clusters
    if all(len(cluster) == 1 for cluster in own):
        return None, tuple(round(rows) for rows in found.fit.cluster_sizes.tolist())
    reported = np.argsort(found.order)
    parameters = found.parameters
    clusters = tuple(tuple(sorted(int(reported[j]) for j in cluster)) for cluster in own)

    def number(partition: Partition) -> Partition:
        return numbered(partition, parameters.weights, keep_order=False)

    scorer = Scorer(parameters, found.spec.missing, data.source.roles.inputs)
    rows = MergedRows(data.source, data.scan, scorer)
    if taken.proposal.merged_by == "entropy":
        merging = rows.by_entropy(len(clusters), number)
    else:
        hierarchy = bhattacharyya_hierarchy(parameters)
        merging = Merging(number(hierarchy.partition(len(clusters))), hierarchy)
    clusters = number(clusters)
    if merging.clusters != clusters or merging.sizes is None:
        # What was judged and chosen is the division on the sample.
        merging = replace(merging, clusters=clusters, sizes=rows.sizes(clusters))
    assert merging.sizes is not None
    return merging, merging.sizes


def _small(sizes: Sequence[int], k: int, least: float) -> list[str]:
    """A warning of those of the k clusters, after which the noise comes, that are smaller than was
    asked for."""
    total = max(1, sum(sizes))
    small = sorted(size / total for size in sizes[:k] if size < least * total)
    if not small:
        return []
    which = "a cluster has" if len(small) == 1 else f"{len(small)} clusters have"
    return [
        f"small_segment: {which} less than minSegmentShare ({least:g}) of the rows, the smallest "
        f"{small[0]:.2%}; take fewer clusters, or lower minSegmentShare"
    ]


def _no_segments(choice: Choice) -> list[str]:
    """A warning where the rows are not of several groups."""
    return [] if choice.has_segments else [f"no_segments: {choice.finding}"]


def _outcome_information(data: Data, taken: _Taken) -> dict[str, Any] | None:
    """What the clusters say of the outcome, by the rows of the sample that did not choose."""
    outcomes, weights = data.scan.sample_outcomes, data.scan.sample_weights
    if outcomes is None:
        return None
    rows = reporting_rows(outcomes)
    division, outcomes = taken.division[rows], outcomes[rows]
    parts = in_parts(outcomes)
    return {
        "outcome": data.source.roles.outcome,
        "bits": corrected_information(division, parts),
        "standardError": information_error(division, parts),
        "spread": outcome_spread(division, outcomes, None if weights is None else weights[rows]),
        "rows": int(rows.size),
    }


def _table(data: Data, samples: _Samples, choice: Choice, taken: _Taken) -> list[dict[str, Any]]:
    """What was considered, the division taken first."""
    noise = samples.common.noise
    first_of = {one.proposal.k: place for place, one in reversed([*enumerate(choice.considered)])}
    shown = {*range(_MOST_CONSIDERED), *first_of.values()}
    told = [one for place, one in enumerate(choice.considered) if place in shown]
    rows = [_row(one, samples, data, noise) for one in told]
    rows[0] |= {
        "meanLogLikelihood": finite(taken.fit.log_likelihood / taken.fit.weight),
        "evaluatedOn": "all rows",
    }
    weights = taken.proposal.column_weights
    if weights is not None:
        rows[0]["why"] += f"; {_weighted_most(weights, data.source.roles.inputs)}"
    if taken.kept:
        rows[0]["why"] += f"; {taken.kept}"
    return rows


def _weighted_most(weights: Array, names: Sequence[str]) -> str:
    """The columns that k-means weighted most, in words."""
    most = [place for place in np.argsort(-weights, kind="stable") if weights[place] > 0]
    told = ", ".join(f"{names[place]} {weights[place]:.2f}" for place in most[:_WEIGHTS_SAID])
    return f"squared differences are weighted: {told}" + (", ..." if most[_WEIGHTS_SAID:] else "")


def _row(one: Considered, samples: _Samples, data: Data, noise: bool) -> dict[str, Any]:
    proposal, figures = one.proposal, one.figures
    parameters = proposal.parameters
    spec = samples.spec(parameters.k, parameters.structure, proposal.floor)
    largest = float(np.log(max(2, proposal.k + noise)))
    return {
        "k": proposal.k,
        "components": parameters.k,
        "covarianceType": spec.structure.name,
        "covarianceFloor": spec.floor,
        "origin": proposal.origin,
        "mergedBy": proposal.merged_by,
        "numParameters": num_parameters(spec, data.source.roles),
        "meanLogLikelihood": finite(figures.mean_log_likelihood),
        "stability": finite(figures.stability),
        "entropy": (1.0 - figures.separation) * largest,
        "smallestShare": figures.smallest_share,
        "columnInformation": figures.information,
        "mutualInformation": finite(figures.mutual_information),
        "evaluatedOn": "sample",
        "why": one.why,
    }
