"""Choosing segments among candidates, and saying why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.divisions import (
    Division,
    adjusted_rand_index,
    mean_entropy,
    outcome_spread,
)
from gmm_spark.mixture.errors import DataError, SingularCovarianceError
from gmm_spark.mixture.initialisation.candidates import (
    Candidate,
    InProcess,
    Sample,
    advance,
    log_joint_densities,
    run_em_all,
)
from gmm_spark.mixture.initialisation.methods import one_component, require_distinct_rows
from gmm_spark.mixture.merging import cluster_probabilities
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.segmentation.candidates import (
    NEARLY_LEAST,
    ROWS,
    SAME_DIVISION,
    Points,
    Proposal,
    SampleFor,
    kmeans,
    kmeans_proposals,
    merged,
    optima,
    sizes_tried,
    unmerged,
    weighted_kmeans_proposals,
)
from gmm_spark.mixture.segmentation.judging import (
    Columns,
    Densities,
    Figures,
    Judged,
    column_information,
    corrected_information,
    drawn,
    in_parts,
    judged,
    pointwise_information,
    repeated_values,
    stability,
    standard_error,
    unlike,
)
from gmm_spark.mixture.structures import STRUCTURES, Structure

# Rows that every candidate is judged on, before the finalists are on `candidates.ROWS`.
_FIRST_JUDGED = 2048
# Candidates of the chosen number of segments that EM brings to their optimum; its steps and tol.
_FINALISTS, _STEPS, _TOL = 6, 150, 1e-6
# Divisions of which one says so many standard errors less of the columns are told apart.
_ERRORS = 1.0
# So many divisions of every number of segments, those that say most of the outcome on the first
# rows, are judged by it on all that choose.
_CONTENDERS = 12
# The fewest segments are taken that say nearly as much of the outcome as any number: all but
# a tenth, or a standard error where that is more.
_SLACK = 0.1
# Rows of the sample whose outcome is looked at: every other one chooses, the rest measure.
_OUTCOME_ROWS = 20_000
# For k-means, and for merged components, a mixture of as many components is taken where it gives
# the same division: so many of those are gone on with whose divisions are nearly that.
_TIES, _ALIKE = 3, 0.95
# So many mixtures, those of the best ICL, are compared with one group where values are repeated.
_COMPARED = 10
# k-means is fitted on so many rows.
_KMEANS_ROWS = 16_384

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Considered:
    """A division that was considered: how it is made, what it is worth, and why it was taken or
    not."""

    proposal: Proposal
    figures: Figures
    why: str = ""


@dataclass(frozen=True)
class Choice:
    """The segments chosen.

    chosen : also the first of `considered`
    considered : everything that was, best first
    has_segments : whether the rows fall into groups: not where all of them as one group are told
        as well by the integrated completed likelihood
    finding : one sentence about that
    """

    chosen: Considered
    considered: tuple[Considered, ...]
    has_segments: bool
    finding: str


def choose(
    sample_for: SampleFor,
    ks: Sequence[int],
    structures: Sequence[Structure],
    *,
    min_share: float = 0.03,
    outcome: Array | None = None,
    seed: int = 0,
    tell: Tell = lambda text: None,
) -> Choice:
    """Segments that people can act on, of the numbers asked for.

    Candidates (`segmentation.candidates`) are fitted and judged on the first 4,096 rows of the
    sample. Without an outcome that division is taken that tells most of the columns, one by one
    (`Figures.breadth`); of those within a standard error of it the one whose rows are the
    surest of their segment. Their number is the one after which a segment more says less than one
    does on average, from one segment to the largest number (the knee; Satopaa et al. 2011,
    "Finding a kneedle in a haystack").

    With an outcome, every other row of the sample chooses: the fewest segments whose mutual
    information with it is within a tenth, or one standard error, of the highest; of the divisions
    into so many k-means, unless others say more of the outcome by a standard error and set apart
    as much: of these, and of those within half a standard error of the highest, the one between
    whose segments the outcome differs most. k-means is its optimum of the least sum of squared
    distances, or one within 0.5 % of that which says more and sets apart as much. Where the rows do
    not fall into groups, or nothing is better than k-means, they are also divided by k-means whose
    columns are weighted by their mutual information with the outcome, on the rows that choose.
    `reporting_rows` are those that do not choose.

    Parameters
    ----------
    sample_for : the sample that a structure and a covariance floor are fitted on; None is the
        floor of the recording resolution. All have the same rows, in the same random order
    ks : numbers of segments, each at least 2
    structures : that mixtures are tried of; `diag` where there are no numbers
    min_share : of the rows that a segment should have; divisions with smaller ones are taken only
        where there are no others
    outcome : (n,) of the rows of the sample, in their order: a number, or 0 and 1; NaN where it is
        not known. No candidate is fitted to it, but for the weights of columns
    seed : the same samples and seed choose the same
    tell : called with what is tried, whenever that is something else

    Returns a choice whose parameters are in standardised coordinates, of EM on a part of the
    sample: EM goes on from there on all the rows, but for a proposal that is `hard`, which stays.

    Raises DataError where the sample has fewer distinct rows than the smallest k, and
    SingularCovarianceError where nothing can be fitted.
    """
    ks = sorted(set(ks))
    plain = sample_for(STRUCTURES["EEI"], None)
    require_distinct_rows(plain.values, ks[0])
    proposals = _proposals(sample_for, ks, structures, seed, tell)
    tell(f"judging {len(proposals)} divisions")
    first = plain.first(_FIRST_JUDGED)
    looked_at = _judged(proposals, sample_for, first)
    has_segments, finding = _compared_with_one(looked_at, sample_for, structures, first)
    choosing = _ByColumns() if outcome is None else _ByOutcome.of(outcome, sample_for)
    found = _compared(looked_at, sample_for, choosing, min_share, tell) if has_segments else None
    if found is None or found.best.proposal.is_kmeans:
        # There are no groups, or no mixture says more: the rows are cut up, wherever that is.
        weighted = _judged(choosing.proposals(ks, structures, seed, tell), sample_for, first)
        if weighted or found is None:
            looked_at = [*looked_at, *weighted]
            found = _compared(looked_at, sample_for, choosing, min_share, tell)
    best, part = found.best, plain.first(ROWS)
    seen = sample_of(sample_for, best.proposal).first(ROWS)
    points = Points.of(part, best.proposal.column_weights)
    steady = stability(best, seen, points, seed)
    table = _table(found, steady, choosing, min_share)
    return Choice(table[0], tuple(table), has_segments, finding)


@dataclass(frozen=True)
class _Compared:
    """Divisions compared.

    best : of the finalists
    finalists : as they ended, and were judged on all the rows that candidates are fitted on
    others : that were looked at
    words : why as many segments
    """

    best: Judged
    finalists: list[Judged]
    others: list[Judged]
    words: str


def _compared(
    looked_at: Sequence[Judged],
    sample_for: SampleFor,
    choosing: _ByColumns | _ByOutcome,
    min_share: float,
    tell: Tell,
) -> _Compared:
    """The best of divisions: of the best number of segments, those that promise most are gone on
    with and judged once more."""
    contenders = choosing.contenders(looked_at, min_share)
    k, words = choosing.number(_usable(contenders, min_share))
    tell(f"the best divisions into {k} segments")
    of_size = [one for one in contenders if one.proposal.k == k]
    ordered = sorted(_usable(of_size, min_share), key=choosing.value, reverse=True)
    entered = unlike(ordered, _FINALISTS)
    peer = choosing.peer(of_size)
    if peer is not None and not any(one is peer for one in entered):
        entered.append(peer)
    part = sample_for(STRUCTURES["EEI"], None).first(ROWS)
    ended = [found for one in entered if (found := _ended(one.proposal, sample_for)) is not None]
    finalists = choosing.with_figures(_judged(ended, sample_for, part))
    best = choosing.best(_usable(finalists, min_share), peer)
    if best.proposal.hard or best.proposal.merged_by is not None:
        alike = _usable([one for one in looked_at if one.proposal.k == k], min_share)
        same = _same_as(best, _judged(_alike(best, alike, sample_for), sample_for, part))
        same = choosing.with_figures(same)
        finalists, best = [*same, *finalists], (*same, best)[0]
    entered_too = {id(one.proposal) for one in entered}
    others = [*contenders, *_others(looked_at, contenders)]
    others = [one for one in others if id(one.proposal) not in entered_too]
    return _Compared(best, finalists, others, words)


def sample_of(sample_for: SampleFor, proposal: Proposal) -> Sample:
    """The sample as the mixture of a proposal sees it."""
    return sample_for(proposal.parameters.structure, proposal.floor)


def _proposals(
    sample_for: SampleFor,
    ks: Sequence[int],
    structures: Sequence[Structure],
    seed: int,
    tell: Tell,
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
        # Of sizes that are but merged from, one optimum is enough.
        ended = kmeans(points.values, k, seed, *(() if k in ks else (4, 1)))
        labels[k] = ended[0].labels
        if k in ks:
            found += kmeans_proposals(sample, points, ended)
    for structure in structures:
        tell(f"mixtures, {structure.name}")
        led_to = optima(sample_for, structure, list(labels), labels, seed, several=len(ks) > 1)
        merged_from: set[tuple[int, float | None]] = set()
        for candidate, floor in led_to:
            size = candidate.parameters.k, floor
            if len(ks) > 1 and size in merged_from:
                # It is of the optima of a size the second best.
                found += unmerged(candidate, floor, ks)
                continue
            merged_from.add(size)
            found += merged(candidate, floor, ks, sample_for(structure, floor).first(ROWS))
    if not found:
        raise SingularCovarianceError(0)
    return found


def _judged(proposals: Sequence[Proposal], sample_for: SampleFor, rows: Sample) -> list[Judged]:
    columns, found = Columns(rows), list[Judged]()
    for _, of_them in groupby(proposals, key=lambda one: id(one.parameters)):
        # Several are often the same mixture, merged in several ways.
        several = list(of_them)
        sample = sample_of(sample_for, several[0]).first(rows.num_rows)
        densities = Densities.of(several[0].parameters, sample)
        found += [judged(one, sample, columns, densities) for one in several]
    return found


def _others(found: Sequence[Judged], those: Sequence[Judged]) -> list[Judged]:
    left_out = {id(one.proposal) for one in those}
    return [one for one in found if id(one.proposal) not in left_out]


def _usable(found: Sequence[Judged], min_share: float) -> list[Judged]:
    """Those without small segments; all where there are none."""
    usual = [one for one in found if one.figures.smallest_share >= min_share]
    return usual or list(found)


def _ended(proposal: Proposal, sample_for: SampleFor) -> Proposal | None:
    """Where EM ends on the rows that candidates are fitted on; None where that is singular."""
    if proposal.hard:
        return proposal
    sample = sample_of(sample_for, proposal).first(ROWS)
    candidate = Candidate(proposal.parameters)
    found = run_em_all(InProcess(sample), sample.num_rows, [candidate], steps=_STEPS, tol=_TOL)
    return replace(proposal, parameters=found[0].parameters) if found else None


def _alike(best: Judged, found: Sequence[Judged], sample_for: SampleFor) -> list[Proposal]:
    """Where EM ends from mixtures whose components divide rows nearly as the best does, those of
    the best BIC first."""
    alike = [
        one
        for one in found
        if one.figures.bic is not None
        and one.proposal.merged_by is None
        and adjusted_rand_index(one.division, best.division[: one.division.size]) >= _ALIKE
    ]
    alike.sort(key=lambda one: one.figures.bic or 0.0)
    ended = (_ended(one.proposal, sample_for) for one in alike[:_TIES])
    return [one for one in ended if one is not None]


def _same_as(best: Judged, found: Sequence[Judged]) -> list[Judged]:
    """The first that gives the same division as the best."""
    for one in found:
        if adjusted_rand_index(one.division, best.division) >= SAME_DIVISION:
            return [one]
    return []


# --- whether there are segments -----------------------------------------------------------


def _compared_with_one(
    found: Sequence[Judged],
    sample_for: SampleFor,
    structures: Sequence[Structure],
    rows: Sample,
) -> tuple[bool, str]:
    """Whether the rows fall into groups, by the integrated completed likelihood (Biernacki, Celeux
    and Govaert 2000), and what is said of it."""

    def icl(one: Judged) -> float:
        assert one.figures.bic is not None
        entropy = (1 - one.figures.separation) * float(np.log(max(2, one.proposal.k)))
        return one.figures.bic + 2 * rows.weight * entropy

    def seen_by(structure: Structure, floor: float | None = None) -> Sample:
        return sample_for(structure, floor).first(rows.num_rows)

    unmerged = [
        one for one in found if one.figures.bic is not None and one.proposal.merged_by is None
    ]
    unmerged = sorted(unmerged, key=icl)
    none = np.zeros((0, rows.num_rows), dtype=np.intp)
    one_group = min(_icl_of_one(seen_by(structure), structure, none) for structure in structures)
    has_segments = not unmerged or icl(unmerged[0]) < one_group
    repeated = repeated_values(rows)
    if unmerged and has_segments and repeated.any():
        # One normal distribution has no place for a value that many rows share: a component on it
        # would pass for a group, though it may say nothing of the other columns.
        one_group = min(
            _icl_of_one(seen_by(structure), structure, repeated) for structure in structures
        )
        has_segments = any(
            _icl_apart(of.parameters, seen_by(of.parameters.structure, of.floor), repeated)
            < one_group
            for of in (one.proposal for one in unmerged[:_COMPARED])
        )
    if has_segments:
        return True, "the rows fall into groups"
    return False, (
        "the rows do not fall into groups: one group tells of them as well, by the integrated "
        "completed likelihood; these segments cut up what is one"
    )


def _icl_of_one(sample: Sample, structure: Structure, repeated: NDArray[np.intp]) -> float:
    """That of one component, as `_icl_apart`."""
    seen = _without(sample, repeated)
    steps = 20 if seen.gaps else 2
    try:
        advanced = advance(seen, [Candidate(one_component(seen, structure))], steps=steps)
    except SingularCovarianceError:
        return np.inf
    return _icl_apart(advanced[0].parameters, sample, repeated) if advanced else np.inf


def _icl_apart(parameters: Parameters, sample: Sample, repeated: NDArray[np.intp]) -> float:
    """Integrated completed likelihood of a mixture, as BIC: lower is better. Values that are
    repeated often are no numbers to it but levels, of which components have their own shares.

    `repeated` is that of `judging.repeated_values`, (m, n).
    """
    responsibilities = Densities.of(parameters, sample).probability
    if sample.weights is not None:
        responsibilities = responsibilities * sample.weights
    log_joint = log_joint_densities(parameters, _without(sample, repeated))
    free = parameters.num_free_parameters
    for row in repeated[repeated.any(axis=1)]:
        shares = responsibilities @ np.eye(row.max() + 1)[row] + 0.5
        shares /= shares.sum(axis=1, keepdims=True)
        log_joint += np.log(shares)[:, row]
        free += len(shares) * int(row.max())
    densities = Densities.of_log_joint(log_joint, sample)
    entropy = mean_entropy(densities.probability, sample.weights)
    return 2 * sample.weight * (entropy - densities.mean_log) + free * float(np.log(sample.weight))


def _without(sample: Sample, repeated: NDArray[np.intp]) -> Sample:
    """The sample with gaps for the values that are repeated often."""
    if not repeated.any():
        return sample
    values = np.array(sample.values)
    values[: sample.d][repeated > 0] = np.nan
    return replace(sample, values=values, gaps=True)


# --- what is compared ---------------------------------------------------------------------


def _knee(values: dict[int, float]) -> int:
    """The number of segments from which on one more adds less than one does on average."""
    largest = max(values)
    slope = values[largest] / max(1, largest - 1)
    return max(values, key=lambda k: (values[k] - slope * (k - 1), -k))


def _best_of_each_number(
    found: Sequence[Judged], value: Callable[[Judged], float]
) -> dict[int, Judged]:
    """Of every number of segments the division of the highest value, the first of equals."""
    best: dict[int, Judged] = {}
    for one in found:
        k = one.proposal.k
        if k not in best or value(one) > value(best[k]):
            best[k] = one
    return best


class _ByColumns:
    """Divisions compared by what they say of the columns."""

    def proposals(
        self, ks: Sequence[int], structures: Sequence[Structure], seed: int, tell: Tell
    ) -> list[Proposal]:
        return []

    def contenders(self, found: Sequence[Judged], min_share: float) -> list[Judged]:
        return list(found)

    def with_figures(self, found: Sequence[Judged]) -> list[Judged]:
        return list(found)

    def value(self, one: Judged) -> float:
        return one.figures.breadth

    def number(self, usable: Sequence[Judged]) -> tuple[int, str]:
        """How many segments, and why not another number of them."""
        best = _best_of_each_number(usable, self.value)
        k = _knee({k: one.figures.information for k, one in best.items()})
        return k, f"from {k} segments on, one more adds less than one does on average"

    def peer(self, of_size: Sequence[Judged]) -> Judged | None:
        return None

    def best(self, finalists: Sequence[Judged], peer: Judged | None) -> Judged:
        most = max(finalists, key=self.value)

        def as_good(one: Judged) -> bool:
            error = standard_error(most.contributions - one.contributions)
            return self.value(most) - self.value(one) <= _ERRORS * error

        tied = [one for one in finalists if as_good(one)]
        return max(tied, key=lambda one: (round(one.figures.separation, 3), self.value(one)))

    def taken(self, best: Judged) -> str:
        return (
            f"says most of the columns ({self.value(best):.3f}), or as much within the standard "
            "error and with rows that are surer of their segment"
        )

    def behind(self, one: Judged, best: Judged) -> str:
        if self.value(one) > self.value(best):
            surer = f"{one.figures.separation:.3f} against {best.figures.separation:.3f}"
            return f"says no more of the columns, within the error, and separates less: {surer}"
        against = f"{self.value(one):.3f} against {self.value(best):.3f}"
        return f"says less of the columns: {against}"


@dataclass(frozen=True)
class _ByOutcome:
    """Divisions compared by what they say of an outcome, on every other row of the sample.

    outcome, parts : of the rows that choose
    rows : the places of these in the sample
    """

    outcome: Array
    parts: NDArray[np.intp]
    rows: NDArray[np.intp]
    sample_for: SampleFor

    @staticmethod
    def of(outcome: Array, sample_for: SampleFor) -> _ByOutcome:
        rows = _half(outcome, 0)
        return _ByOutcome(outcome[rows], in_parts(outcome[rows]), rows, sample_for)

    def proposals(
        self, ks: Sequence[int], structures: Sequence[Structure], seed: int, tell: Tell
    ) -> list[Proposal]:
        """Of rows that are cut up and not grouped: where is open, and is best where the outcome
        differs. Columns count by what they say of it on the rows that choose."""
        sample = drawn(self.sample_for(STRUCTURES["EEI"], None), self.rows)
        weights = column_information(sample, self.parts)
        if not weights.any():
            return []
        tell("k-means with columns weighted by the outcome")
        weights /= weights.max()
        found = weighted_kmeans_proposals(self.sample_for, structures, ks, weights, seed)
        return list(found)

    def contenders(self, found: Sequence[Judged], min_share: float) -> list[Judged]:
        """Those that say most of the outcome on the first rows, of every number of segments, with
        what they say of it on all the rows that choose."""
        first = self.rows < found[0].division.size
        rows, parts = self.rows[first], self.parts[first]
        said = [corrected_information(one.division[rows], parts) for one in found]
        best: list[int] = []
        for k in sorted({one.proposal.k for one in found}):
            of_size = [place for place, one in enumerate(found) if one.proposal.k == k]
            small = {place: found[place].figures.smallest_share < min_share for place in of_size}
            order = sorted(of_size, key=lambda place: (small[place], -said[place]))
            best += {*order[:_CONTENDERS], *(i for i in of_size if _is_peer(found[i]))}
        return self.with_figures([found[place] for place in sorted(best)])

    def with_figures(self, found: Sequence[Judged]) -> list[Judged]:
        divisions = self._divisions([one.proposal for one in found])
        figures = [corrected_information(division, self.parts) for division in divisions]
        return [
            replace(one, figures=replace(one.figures, mutual_information=figure))
            for one, figure in zip(found, figures, strict=True)
        ]

    def value(self, one: Judged) -> float:
        return one.figures.mutual_information or 0.0

    def number(self, usable: Sequence[Judged]) -> tuple[int, str]:
        best = _best_of_each_number(usable, self.value)
        most = max(best.values(), key=self.value)
        slack = max(standard_error(self._pointwise(most)), _SLACK * self.value(most))
        k = min(k for k, one in best.items() if self.value(most) - self.value(one) <= slack)
        against = f"{self.value(best[k]):.3f} against {self.value(most):.3f} bits"
        words = f"{k} segments say nearly as much of the outcome as any number of them ({against})"
        return k, words

    def peer(self, of_size: Sequence[Judged]) -> Judged | None:
        """k-means, which what is taken should be no worse than: of its optima that are nearly the
        least, between which chance decides, the one that says most of the outcome, of those that
        say as much and set apart as much as the least."""
        peers = [one for one in of_size if _is_peer(one)]
        if not peers:
            return None
        least = min(peers, key=lambda one: one.proposal.excess)
        said, spread = self.value(least), self._spread(least)
        better = [one for one in peers if self.value(one) > said and self._spread(one) >= spread]
        return max(better, key=self.value, default=least)

    def best(self, finalists: Sequence[Judged], peer: Judged | None) -> Judged:
        """k-means, unless others say more of the outcome, by a standard error of the difference,
        and set apart as much: of these, and of those that say as much as any within half a
        standard error, the one that sets apart most."""
        spreads = {id(one): self._spread(one) for one in finalists}
        if peer is not None:
            finalists = self._better(finalists, peer, spreads)
        most = max(finalists, key=self.value)
        slack = standard_error(self._pointwise(most)) / 2
        tied = [one for one in finalists if self.value(most) - self.value(one) <= slack]
        return max(tied, key=lambda one: (spreads[id(one)], self.value(one)))

    def _better(
        self, finalists: Sequence[Judged], peer: Judged, spreads: dict[int, float]
    ) -> Sequence[Judged]:
        """Those that are better than k-means; k-means where none is."""
        own = [one for one in finalists if one.proposal is peer.proposal]
        said, spread = self._pointwise(peer), self._spread(peer)
        better = [
            one
            for one in finalists
            if self.value(one) - self.value(peer) > standard_error(self._pointwise(one) - said)
            and spreads[id(one)] >= spread
        ]
        return better or own or finalists

    def _spread(self, one: Judged) -> float:
        return outcome_spread(self._division(one.proposal), self.outcome)

    def taken(self, best: Judged) -> str:
        said = f"{self.value(best):.3f} bits"
        return (
            f"says {said} of the outcome on the half of the rows that choose, as much as any "
            "within the error"
        )

    def behind(self, one: Judged, best: Judged) -> str:
        if one.figures.mutual_information is None:
            return "says less of the outcome on the first rows"
        against = f"{self.value(one):.3f} against {self.value(best):.3f} bits"
        if self.value(one) >= self.value(best):
            return f"says no more of the outcome, within the error, and sets apart less: {against}"
        return f"says less of the outcome: {against}"

    def _pointwise(self, one: Judged) -> Array:
        return pointwise_information(self._division(one.proposal), self.parts)

    def _division(self, proposal: Proposal) -> Division:
        """The segments of the rows that choose."""
        return self._divisions([proposal])[0]

    def _divisions(self, proposals: Sequence[Proposal]) -> list[Division]:
        found: list[Division] = []
        for _, of_them in groupby(proposals, key=lambda one: id(one.parameters)):
            several = list(of_them)
            sample = drawn(sample_of(self.sample_for, several[0]), self.rows)
            probability = Densities.of(several[0].parameters, sample).probability
            found += [
                cluster_probabilities(probability, one.clusters).argmax(axis=0) for one in several
            ]
        return found


def _is_peer(one: Judged) -> bool:
    """Whether it is what k-means may well find."""
    return one.proposal.is_kmeans and one.proposal.excess <= NEARLY_LEAST


def reporting_rows(outcome: Array) -> NDArray[np.intp]:
    """The rows of the sample that do not choose, of those whose outcome is known."""
    return _half(outcome, 1)


def _half(outcome: Array, which: int) -> NDArray[np.intp]:
    """Every other row of the sample, of those whose outcome is known: the sample's order is random
    and does not depend on that of the table."""
    rows = np.arange(which, min(outcome.size, _OUTCOME_ROWS), 2)
    return rows[~np.isnan(outcome[rows])]


def _table(
    found: _Compared, steady: float, choosing: _ByColumns | _ByOutcome, min_share: float
) -> list[Considered]:
    """Everything considered with reasons: the best, those of as many segments, the rest; of each,
    what is worth more first."""
    best = found.best

    def place(one: Judged) -> tuple[bool, bool, bool, float]:
        small = one.figures.smallest_share < min_share
        return one is not best, one.proposal.k != best.proposal.k, small, -choosing.value(one)

    def why(one: Judged) -> str:
        share = one.figures.smallest_share
        if one is best:
            small = f"; though its smallest segment is {share:.1%}" if share < min_share else ""
            return choosing.taken(one) + small
        if share < min_share:
            return f"its smallest segment is {share:.1%} of the rows, less than {min_share:.1%}"
        if one.proposal.k != best.proposal.k:
            return found.words
        return choosing.behind(one, best)

    ordered = sorted((*found.finalists, *found.others), key=place)
    table = [Considered(one.proposal, one.figures, why(one)) for one in ordered]
    figures = replace(table[0].figures, stability=steady)
    return [replace(table[0], figures=figures), *table[1:]]
