"""Several mixtures that advance on a sample: together in one scan each step, or each alone.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gmm_spark.mixture.em import Problem, fit
from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.families import Family, Noise, rows_of
from gmm_spark.mixture.initialisation.path import Path, SampleStep, one_round
from gmm_spark.mixture.kernel import BlockKernel, RunPass, array_pass
from gmm_spark.mixture.m_step import m_step
from gmm_spark.mixture.natural import Evaluator, natural_parameters
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.priors import Prior, Priors

# A component on the floor that holds less than this share of the rows is spurious.
_SMALL = 0.01
# Eigenvalues in units of the floor up to this are on it.
_ON_THE_FLOOR = 1 + 1e-6
# Candidates that share a scan: as many, whoever does the work.
_STACKED = 4
# Candidates whose scores, weights and means differ by less than this go to the same optimum.
_SAME_SCORE, _SAME_WEIGHT, _SAME_MEAN = 1e-4, 0.01, 0.2


@dataclass(frozen=True)
class Sample:
    """Rows in random order, so that its beginning is a sample too, and how they are seen."""

    values: Array  # numbers in the user's units, (d, n), then the rows of every family
    weights: Array | None  # (n,)
    standardisation: Standardisation
    floor: Array  # (d,) standardised
    gaps: bool = False  # some values are NaN, and are integrated out
    families: tuple[Family, ...] = ()
    allowed: NDArray[np.int64] | None = None  # (n,) whose components rows may be of, by bits
    prior: Priors | None = None  # as it weighs beside these rows
    noise: Noise | None = None  # with a little weight; None is no noise

    @property
    def num_rows(self) -> int:
        return int(self.values.shape[1])

    @property
    def d(self) -> int:
        return int(self.floor.size)

    @property
    def of_families(self) -> list[tuple[Family, Array]]:
        """Every family with its values, (num_columns, n)."""
        return [(family, self.values[rows]) for family, rows in rows_of(self.families, self.d)]

    @property
    def z(self) -> Array:
        """Numbers standardised, (d, n)."""
        by = self.standardisation
        return (self.values[: self.d] - by.centre[:, None]) / by.scale[:, None]

    def first(self, rows: int) -> Sample:
        """The first rows, or all there are."""
        return self.between(0, rows)

    def part(self, rows: int) -> Sample:
        """The first rows; the last ones where `rows` is negative."""
        if rows >= 0:
            return self.first(rows)
        return self.between(max(0, self.num_rows + rows), self.num_rows)

    def between(self, start: int, stop: int) -> Sample:
        """Some of the rows."""
        values = self.values[:, start:stop]
        weights = None if self.weights is None else self.weights[start:stop]
        allowed = None if self.allowed is None else self.allowed[start:stop]
        prior = self.prior
        if prior is not None:
            prior = prior.times(values.shape[1] / self.num_rows)
        return replace(self, values=values, weights=weights, allowed=allowed, prior=prior)

    @property
    def weight(self) -> float:
        """Sum of the rows' weights."""
        return float(self.num_rows if self.weights is None else self.weights.sum())

    def evaluator(self, candidates: Sequence[Parameters]) -> Evaluator:
        """Natural parameters of candidates, in standardised coordinates, for these rows."""
        return natural_parameters(candidates, self.standardisation, gaps=self.gaps)

    def prior_of(self, k: int) -> Prior | None:
        """The prior of a mixture of k components beside these rows."""
        return None if self.prior is None else self.prior.of(k)

    @property
    def run_pass(self) -> RunPass:
        return array_pass(self.values, self.weights, self.allowed)


@dataclass(frozen=True)
class Candidate:
    """One of several fits on a sample that advance together.

    parameters : in standardised coordinates
    score : mean log-likelihood of standardised values, and log density of the prior where there
        is one, of the parameters before the last step
    previous_score : that of the step before
    mark : what stays as it was when candidates advance
    kind : how the parameters came about, as `path.SampleStep` has it
    path : steps so far, up to the parameters before these, or where these have been evaluated
        (the kind is "rows"), up to these
    """

    parameters: Parameters
    score: float = -np.inf
    previous_score: float = -np.inf
    mark: str = ""
    kind: str = "start"
    path: Path = field(default_factory=Path)

    @property
    def gain(self) -> float:
        return self.score - self.previous_score if np.isfinite(self.previous_score) else np.inf

    def unscored(self, mark: str = "") -> Candidate:
        """Where the candidate stands, with another mark: on other rows its scores say nothing."""
        return replace(self, score=-np.inf, previous_score=-np.inf, mark=mark)


class SampleExecutor(Protocol):
    """Does the same work for several items, each with the sample at hand, in their order; maybe
    in several places at once. What is found does not depend on how many there are."""

    def __call__(self, work: Callable[[Sample, Any], Any], items: Sequence[Any]) -> list[Any]: ...


@dataclass(frozen=True)
class InProcess:
    """The sample executor without Spark: all the work here, one item after the other."""

    sample: Sample

    def __call__(self, work: Callable[[Sample, Any], Any], items: Sequence[Any]) -> list[Any]:
        return [work(self.sample, item) for item in items]


def advance(
    sample: Sample, candidates: Sequence[Candidate], *, steps: int, tol: float = 0.0
) -> list[Candidate]:
    """Advance candidates by EM steps, all in one scan each; singular ones are dropped.

    Stops before `steps` when no candidate gains more than `tol`. Scores are of the parameters
    before the last M-step, of standardised values.
    """
    return _gone_on(candidates, _advanced(sample, sample.num_rows, candidates, steps, tol))


def _advanced(
    sample: Sample, rows: int, candidates: Sequence[Candidate], steps: int, tol: float
) -> list[Candidate | None]:
    """The candidates after EM steps on `rows` of a sample (`Sample.part`), each with the path of
    this round alone; None is singular."""
    part = sample.part(rows)
    current = {i: replace(c, path=Path(rounds=1)) for i, c in enumerate(candidates)}
    log_volume, run_pass = part.standardisation.log_volume, part.run_pass
    for _ in range(steps):
        try:
            evaluator = part.evaluator([c.parameters for c in current.values()])
        except SingularCovarianceError:
            current = {i: c for i, c in current.items() if _is_regular(c.parameters, part)}
            if not current:
                break
            evaluator = part.evaluator([c.parameters for c in current.values()])
        statistics = run_pass(evaluator)
        scores = evaluator.log_likelihoods(statistics, None)
        advanced = {}
        each = zip(current.items(), evaluator.layout.candidates(), scores, strict=True)
        for (index, candidate), components, score in each:
            at = candidate.parameters
            mean_log_likelihood = float(score / statistics.weight - log_volume)
            prior = part.prior_of(at.k)
            if prior is not None:
                score += prior.log_density(at)
            score /= statistics.weight
            try:
                step = m_step(statistics, components, at, part.floor, prior=prior)
            except SingularCovarianceError:
                continue
            taken = SampleStep(0, 0, candidate.kind, rows, mean_log_likelihood, at)
            advanced[index] = replace(
                candidate,
                parameters=step.parameters,
                score=float(score),
                previous_score=candidate.score,
                kind="em",
                path=candidate.path.with_step(taken),
            )
        current = advanced
        if not current or all(c.gain < tol for c in current.values()):
            break
    return [current.get(index) for index in range(len(candidates))]


def _gone_on(before: Sequence[Candidate], after: Iterable[Candidate | None]) -> list[Candidate]:
    """Candidates after a round, each with its path up to there; those that are None are left out.

    Paths stay here: what is sent to the tasks and back are the steps of one round.
    """
    pairs = zip(before, after, strict=True)
    return [replace(a, path=b.path.then(a.path)) for b, a in pairs if a is not None]


def _without_paths(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [replace(candidate, path=Path()) for candidate in candidates]


def advance_all(
    executor: SampleExecutor, rows: int, candidates: Sequence[Candidate], *, steps: int, tol: float
) -> list[Candidate]:
    """`advance` on a part of the executor's sample (`Sample.part`), a few candidates in a scan."""
    bare = _without_paths(candidates)
    groups = [bare[a : a + _STACKED] for a in range(0, len(bare), _STACKED)]
    found = executor(_advance_group, [(rows, group, steps, tol) for group in groups])
    return _gone_on(candidates, chain.from_iterable(found))


def _advance_group(
    sample: Sample, item: tuple[int, Sequence[Candidate], int, float]
) -> list[Candidate | None]:
    return _advanced(sample, *item)


def run_em_all(
    executor: SampleExecutor, rows: int, candidates: Sequence[Candidate], *, steps: int, tol: float
) -> list[Candidate]:
    """Every candidate alone, by accelerated EM: a step costs more than stacked, and is worth
    several. Singular ones are dropped."""
    bare = _without_paths(candidates)
    return _gone_on(candidates, executor(_run_em, [(rows, one, steps, tol) for one in bare]))


def _run_em(sample: Sample, item: tuple[int, Candidate, int, float]) -> Candidate | None:
    """The candidate where EM ends, with the path of this round alone; None is singular."""
    rows, candidate, steps, tol = item
    part, by = sample.part(rows), sample.standardisation
    problem = Problem(
        by,
        part.floor,
        tol,
        max_iter=steps - 1,  # the first pass is one of them
        acceleration="anderson",
        has_missing=part.gaps,
        prior=part.prior_of(candidate.parameters.k),
    )
    try:
        found = fit(part.run_pass, candidate.parameters, problem)
    except (SingularCovarianceError, FloatingPointError):
        return None
    if found.reason == "singular":
        return None
    accepted = [record for record in found.history if record.kind != "rejected"]
    scores = [record.objective + by.log_volume for record in accepted]
    before = scores[-2] if len(scores) > 1 else -np.inf
    if found.reason == "decreased":
        accepted = accepted[:-1]  # where it fell is where the fit was not left
    kinds = [candidate.kind, *(record.kind for record in accepted[1:])]
    path = one_round(
        SampleStep(0, 0, kind, rows, record.mean_log_likelihood, record.parameters)
        for kind, record in zip(kinds, accepted, strict=True)
    )
    return Candidate(found.parameters, scores[-1], before, candidate.mark, "rows", path)


def log_densities(parameters: Parameters, sample: Sample) -> Array:
    """Log density of every row of the sample, standardised, (n,)."""
    kernel = BlockKernel(sample.evaluator([parameters]))
    return kernel.log_densities(sample.values, sample.allowed)


def log_joint_densities(parameters: Parameters, sample: Sample) -> Array:
    """log w_k + log density of every component, the noise's last, and row of the sample, (K, n)."""
    evaluator = sample.evaluator([parameters])
    return BlockKernel(evaluator).log_joint(sample.values, sample.allowed)


def log_likelihood_difference(
    candidate: Candidate, other: Candidate, sample: Sample
) -> tuple[float, float]:
    """How much higher the mean log-likelihood of one is than that of another, and the standard
    error of that as a figure for all the rows the sample is from."""
    difference = log_densities(candidate.parameters, sample)
    difference -= log_densities(other.parameters, sample)
    weights = np.ones_like(difference) if sample.weights is None else sample.weights
    mean = float(np.average(difference, weights=weights))
    return mean, float(np.sqrt(((weights * (difference - mean)) ** 2).sum()) / weights.sum())


def _is_regular(parameters: Parameters, sample: Sample) -> bool:
    try:
        sample.evaluator([parameters])
    except SingularCovarianceError:
        return False
    return True


def ranked(sample: Sample, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates by `robust_score`, best first; of several on their way to the same optimum the
    best."""
    judged = [(robust_score(candidate, sample), candidate) for candidate in candidates]
    kept: list[Candidate] = []
    for _, candidate in sorted(judged, key=lambda pair: pair[0], reverse=True):
        if not any(same_optimum(candidate, other) for other in kept):
            kept.append(candidate)
    return kept


def same_optimum(a: Candidate, b: Candidate, score: float = _SAME_SCORE) -> bool:
    """Whether two candidates are on their way to the same optimum: their scores, weights and means
    agree."""
    if abs(a.score - b.score) > score:
        return False
    one, other = a.parameters, b.parameters
    weights = np.sort(one.weights) - np.sort(other.weights)
    means = np.sort(one.means, axis=0) - np.sort(other.means, axis=0)
    parts = zip(one.families, one.family_parameters, other.family_parameters, strict=True)
    return bool(
        np.abs(weights).max() < _SAME_WEIGHT
        and np.abs(means).max(initial=0.0) < _SAME_MEAN
        and all(
            family.same_optimum(np.sort(mine, axis=0), np.sort(others, axis=0))
            for family, mine, others in parts
        )
    )


def robust_score(candidate: Candidate, sample: Sample) -> tuple[bool, float]:
    """What candidates are compared by: whether every component is well supported by rows, then
    the score without what spurious components gain by being narrow.

    The likelihood of a mixture has high maxima that say nothing: a component on a handful of
    rows that happen to lie near a hyperplane, or on one repeated value (McLachlan and Peel 2000,
    section 3.10). A component is well supported with as many rows as its covariance needs
    (`Structure.rows_needed`). It is spurious if it touches the floor with less than 1 %
    of the rows; these count as if it were as wide as the other components on average.
    """
    parameters = candidate.parameters
    structure, weights, d = parameters.structure, parameters.weights, parameters.d
    supported = bool((weights * sample.num_rows > structure.rows_needed(d) - 0.5).all())
    if structure.shared:
        return supported, candidate.score
    small = np.flatnonzero((weights > 0) & (weights < _SMALL))
    floor = structure.floor(sample.floor)
    if small.size == 0 or d == 0 or not (floor > 0).all():
        return supported, candidate.score
    dense = parameters.dense_covariances() / np.outer(floor, floor)
    spurious = small[np.linalg.eigvalsh(dense[small])[:, 0] <= _ON_THE_FLOOR]
    others = np.setdiff1d(np.flatnonzero(weights > 0), spurious)
    if spurious.size == 0 or others.size == 0:
        return supported, candidate.score
    typical = np.average(dense[others], axis=0, weights=weights[others])
    widths = np.linalg.slogdet(typical)[1] - np.linalg.slogdet(dense[spurious])[1]
    return supported, candidate.score - 0.5 * float(weights[spurious] @ np.maximum(widths, 0.0))
