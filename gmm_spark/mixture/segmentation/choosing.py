"""Choosing segments among candidates, and saying why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.divisions import Division, outcome_spread, probabilities
from gmm_spark.mixture.errors import DataError, SingularCovarianceError
from gmm_spark.mixture.initialisation.candidates import Candidate, Sample, advance, log_densities
from gmm_spark.mixture.initialisation.methods import one_component, require_distinct_rows
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.segmentation.candidates import (
    ROWS,
    Points,
    Proposal,
    SampleFor,
    kmeans,
    kmeans_proposal,
    merged,
    optima,
    sizes_tried,
)
from gmm_spark.mixture.segmentation.judging import (
    Columns,
    Figures,
    corrected_information,
    in_parts,
    information_error,
    judged,
    pointwise_information,
    stability,
)
from gmm_spark.mixture.structures import STRUCTURES, Structure

# Rows of the sample whose outcome is looked at: every other one chooses, the rest measure.
_OUTCOME_ROWS = 20_000
# k-means is fitted on so many rows.
_KMEANS_ROWS = 16_384


@dataclass(frozen=True)
class Considered:
    """A division that was considered: how it is made, what it is worth, and why it was taken or
    not."""

    proposal: Proposal
    figures: Figures
    why: str = ""


@dataclass(frozen=True)
class Measured:
    """What segments say of an outcome, on the rows that did not choose.

    mutual_information, error : in bits, corrected for bias, and its standard error
    spread : highest less lowest rate, or mean, over segments with at least 1 % of these rows
    rows : with a known outcome
    """

    mutual_information: float
    error: float
    spread: float
    rows: int


@dataclass(frozen=True)
class Choice:
    """The segments chosen.

    chosen : also the first of `considered`
    considered : everything that was, best first
    has_segments : whether the rows fall into groups: with all of them as one group the data are
        told as well (by the integrated completed likelihood), where it is False
    finding : one sentence about that
    measured : what the chosen ones say of the outcome, on the half of the rows that did not
        choose; None without an outcome
    """

    chosen: Considered
    considered: tuple[Considered, ...]
    has_segments: bool
    finding: str
    measured: Measured | None = None


def choose(
    sample_for: SampleFor,
    ks: Sequence[int],
    structures: Sequence[Structure],
    *,
    min_share: float = 0.03,
    outcome: Array | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> Choice:
    """Segments that people can act on, of the numbers asked for.

    Candidates (`segmentation.candidates`) are fitted on the first 4,096 rows of the sample and
    judged there. Of one number of segments that division is taken that says most of the columns,
    one by one (`Figures.information`); the number is that of the best integrated completed
    likelihood (Biernacki, Celeux and Govaert 2000). With an outcome, every other row of the sample
    chooses: the fewest segments whose mutual information with it is within one standard error of
    the highest; what they say of it is measured on the other half of the rows.

    Parameters
    ----------
    sample_for : the sample that a structure and a covariance floor are fitted on; None is the
        floor of the recording resolution. All have the same rows, in the same random order
    ks : numbers of segments, each at least 2
    structures : that mixtures are tried of; `diag` where there are no numbers
    min_share : of the rows that a segment should have; divisions with smaller ones are taken only
        where there are no others
    outcome : (n,) of the rows of the sample, in their order: a number, or 0 and 1; NaN where it is
        not known. No candidate is fitted to it
    seed : the same samples and seed choose the same
    tell : called with what is tried, whenever that is something else

    Returns a choice whose parameters are in standardised coordinates, of EM on a part of the
    sample: EM goes on from there on all the rows, but for a proposal that is `hard`, which stays.

    Raises DataError where the sample has fewer distinct rows than the smallest k, and
    SingularCovarianceError where nothing can be fitted.
    """
    sample = sample_for(STRUCTURES["EEI"], None)
    ks = sorted(set(ks))
    require_distinct_rows(sample.values, ks[0])
    proposals = _proposals(sample_for, ks, structures, seed, tell)
    tell(f"judging {len(proposals)} divisions")
    part = sample.first(ROWS)
    columns = Columns(part)
    found = [
        (proposal, *judged(proposal, sample_of(sample_for, proposal).first(ROWS), columns))
        for proposal in proposals
    ]
    considered = [Considered(proposal, figures) for proposal, _, figures in found]
    usable = [one for one in considered if one.figures.smallest_share >= min_share] or considered
    has_segments, likely_k, finding = _compared_with_one(usable, sample_for, structures, part)
    if outcome is None:
        best = _most_informative(usable, likely_k)
        ranked = _ranked_without(considered, best, usable, min_share)
        measured = None
    else:
        choosing = _Choosing.of(considered, sample_for, outcome)
        considered = choosing.considered
        usable = [one for one in considered if one.figures.smallest_share >= min_share]
        usable = usable or considered
        best, words = choosing.best(usable)
        ranked = _ranked_by_outcome(considered, best, usable, min_share, words)
        measured = _measured(best.proposal, sample_for, outcome)
    place = next(i for i, proposal in enumerate(proposals) if proposal is best.proposal)
    seen = sample_of(sample_for, best.proposal).first(ROWS)
    steady = stability(best.proposal, seen, Points.of(part), found[place][1], seed)
    chosen = replace(ranked[0], figures=replace(ranked[0].figures, stability=steady))
    return Choice(chosen, (chosen, *ranked[1:]), has_segments, finding, measured)


def sample_of(sample_for: SampleFor, proposal: Proposal) -> Sample:
    """The sample as the mixture of a proposal sees it."""
    return sample_for(proposal.parameters.structure, proposal.floor)


def _proposals(
    sample_for: SampleFor,
    ks: Sequence[int],
    structures: Sequence[Structure],
    seed: int,
    tell: Callable[[str], None],
) -> list[Proposal]:
    """Everything that is to be compared."""
    sample = sample_for(STRUCTURES["EEI"], None).first(_KMEANS_ROWS)
    points = Points.of(sample)
    found: list[Proposal] = []
    labels = {}
    for k in sizes_tried(ks):
        tell(f"k-means of {k}")
        try:
            require_distinct_rows(sample.values, k)
        except DataError:
            continue
        centres, labels[k] = kmeans(points.values, k, seed)
        if k in ks:
            found.append(kmeans_proposal(sample, points, centres, labels[k]))
    for structure in structures:
        tell(f"mixtures, {structure.name}")
        for candidate, floor in optima(sample_for, structure, list(labels), labels, seed):
            found += merged(candidate, floor, ks, sample_for(structure, floor).first(ROWS))
    if not found:
        raise SingularCovarianceError(0)
    return found


# --- without an outcome -------------------------------------------------------------------


def _compared_with_one(
    usable: Sequence[Considered],
    sample_for: SampleFor,
    structures: Sequence[Structure],
    part: Sample,
) -> tuple[bool, int, str]:
    """Whether there are segments, how many, and what is said of it: by the integrated completed
    likelihood, lower is better."""

    def icl(one: Considered) -> float:
        assert one.figures.bic is not None
        entropy = (1 - one.figures.separation) * float(np.log(max(2, one.proposal.k)))
        return one.figures.bic + 2 * part.num_rows * entropy

    plain = [
        one for one in usable if one.proposal.merged_by is None and one.figures.bic is not None
    ]
    if not plain:
        return True, usable[0].proposal.k, "no mixture could be compared with one group"
    best = min(plain, key=icl)
    one_group = min(_bic_of_one(sample_for(structure, None), structure) for structure in structures)
    if icl(best) < one_group:
        return True, best.proposal.k, "the rows fall into groups"
    words = (
        "the rows do not fall into groups: by the integrated completed likelihood one group tells "
        "of them as well; these segments cut up what is one"
    )
    return False, best.proposal.k, words


def _bic_of_one(sample: Sample, structure: Structure) -> float:
    """BIC of one component, of the rows that candidates are judged on."""
    sample = sample.first(ROWS)
    advanced = advance(sample, [Candidate(one_component(sample, structure))], steps=2)
    if not advanced:
        return np.inf
    parameters = advanced[0].parameters
    mean = float(np.mean(log_densities(parameters, sample)) - sample.standardisation.log_volume)
    rows = sample.num_rows
    return -2 * mean * rows + parameters.num_free_parameters * float(np.log(rows))


def _most_informative(usable: Sequence[Considered], k: int) -> Considered:
    of_size = [one for one in usable if one.proposal.k == k] or usable
    return max(of_size, key=lambda one: one.figures.information)


def _ranked_without(
    considered: Sequence[Considered],
    best: Considered,
    usable: Sequence[Considered],
    min_share: float,
) -> list[Considered]:
    """Everything considered, the best first, with reasons."""
    ids = {id(one) for one in usable}

    def place(one: Considered) -> tuple[bool, bool, bool, float]:
        other_size = one.proposal.k != best.proposal.k
        return one is not best, other_size, id(one) not in ids, -one.figures.information

    def why(one: Considered) -> str:
        if one is best:
            return f"of {best.proposal.k} segments these say most of the columns"
        if id(one) not in ids:
            return _too_small(one, min_share)
        if one.proposal.k != best.proposal.k:
            return f"{best.proposal.k} segments are likelier (integrated completed likelihood)"
        mine, theirs = one.figures.information, best.figures.information
        return f"says less of the columns: {mine:.3f} against {theirs:.3f} of what there is to say"

    return [replace(one, why=why(one)) for one in sorted(considered, key=place)]


def _too_small(one: Considered, min_share: float) -> str:
    share = one.figures.smallest_share
    return f"its smallest segment is {share:.1%} of the rows, less than {min_share:.1%}"


# --- with an outcome ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Choosing:
    """The half of the rows that choose: what every division says of their outcomes.

    considered : with their mutual information
    pointwise : (rows,) of each, what a row adds to it
    """

    considered: list[Considered]
    pointwise: list[Array]

    @staticmethod
    def of(considered: Sequence[Considered], sample_for: SampleFor, outcome: Array) -> _Choosing:
        rows = _half(outcome, 0)
        known = in_parts(outcome)[rows]
        with_figures, pointwise = [], []
        for one in considered:
            division = _division(one.proposal, sample_for)[rows]
            figure = corrected_information(division, known)
            figures = replace(one.figures, mutual_information=figure)
            with_figures.append(replace(one, figures=figures))
            pointwise.append(pointwise_information(division, known))
        return _Choosing(with_figures, pointwise)

    def best(self, usable: Sequence[Considered]) -> tuple[Considered, str]:
        """The best of the fewest segments that say as much as any, within a standard error; and
        why others of its size and larger ones were not taken."""
        by_id = {id(one): own for one, own in zip(self.considered, self.pointwise, strict=True)}
        best_of = {
            k: max((one for one in usable if one.proposal.k == k), key=_informed)
            for k in sorted({one.proposal.k for one in usable})
        }
        most = max(best_of.values(), key=_informed)
        for one in best_of.values():
            difference = by_id[id(most)] - by_id[id(one)]
            error = float(difference.std() / np.sqrt(max(1, difference.size)))
            if _informed(most) - _informed(one) <= error:
                return one, f"within the standard error of the highest, {_informed(most):.3f}"
        return most, "the highest"


def _informed(one: Considered) -> float:
    return one.figures.mutual_information or 0.0


def _ranked_by_outcome(
    considered: Sequence[Considered],
    best: Considered,
    usable: Sequence[Considered],
    min_share: float,
    words: str,
) -> list[Considered]:
    """Everything considered, the best first, with reasons."""
    ids = {id(one) for one in usable}

    def why(one: Considered) -> str:
        if one is best:
            return (
                f"says {_informed(one):.3f} bits of the outcome on the half of the rows that "
                f"choose: {words}"
            )
        if id(one) not in ids:
            return _too_small(one, min_share)
        if _informed(one) >= _informed(best):
            return f"says hardly more of the outcome with {one.proposal.k} segments"
        return f"says less of the outcome: {_informed(one):.3f} against {_informed(best):.3f} bits"

    def place(one: Considered) -> tuple[bool, bool, float]:
        return one is not best, id(one) not in ids, -_informed(one)

    return [replace(one, why=why(one)) for one in sorted(considered, key=place)]


def _measured(proposal: Proposal, sample_for: SampleFor, outcome: Array) -> Measured:
    """What the chosen segments say of the outcome of the rows that did not choose."""
    rows = _half(outcome, 1)
    division, known = _division(proposal, sample_for)[rows], in_parts(outcome)[rows]
    return Measured(
        corrected_information(division, known),
        information_error(division, known),
        outcome_spread(division, outcome[rows]),
        int(rows.size),
    )


def reporting_rows(outcome: Array) -> NDArray[np.intp]:
    """The rows of the sample that do not choose, of those whose outcome is known."""
    return _half(outcome, 1)


def _half(outcome: Array, which: int) -> NDArray[np.intp]:
    """Every other row of the sample, of those whose outcome is known: the sample's order is random
    and does not depend on that of the table."""
    rows = np.arange(which, min(outcome.size, _OUTCOME_ROWS), 2)
    return rows[~np.isnan(outcome[rows])]


def _division(proposal: Proposal, sample_for: SampleFor) -> Division:
    """The segments of the rows whose outcome is looked at."""
    sample = sample_of(sample_for, proposal).first(_OUTCOME_ROWS)
    found: Division = probabilities(proposal.parameters, proposal.clusters, sample).argmax(axis=0)
    return found
