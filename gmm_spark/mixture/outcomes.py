"""Rates and means of an outcome per component, corrected for misclassification.

Rows are of a component with a probability, r_k, not for certain. A mean of an outcome y over the
rows by these weights, or over those that a component is the most probable of, mixes in what
belongs to others: segments seem more alike than they are. Where y depends on a row's component
alone, E[y | x] = sum of r_k(x) p_k, and with an assignment a(x) of the rows, their responsibilities
("soft") or 1 for the most probable component ("modal"),

    sum over rows of a_s y = sum over k of (sum over rows of a_s r_k) p_k        for every s,

which solved for p is the estimate of Bolck, Croon and Hagenaars (2004, "Estimating latent
structure models with categorical variables: one-step versus three-step estimators"; BCH): p may
leave [0, 1]. The three-step maximum likelihood of Vermunt (2010, "Latent class modeling with
covariates: two improved three-step approaches") takes a row assigned to s to be of component k
with probability P(k | s), and so has P(y | s) = sum of P(k | s) p_k. For a rate that is as many
numbers as there are equations: where p of BCH is within [0, 1] it is the maximum, and elsewhere
the maximum has rates of 0 or 1.

The variance has two parts: of y given the rows, and of the mixture, which was estimated too. The
latter goes through r alone: whatever the assignment, the equations hold for the true mixture, so
how the assignment itself depends on the estimated one does not matter to first order (as in Bakk,
Oberski and Vermunt 2014, "Relating latent class assignments to external variables: standard
errors for correct inference", whose assignments are of discrete patterns). The information about
the mixture is the mean outer product of its scores.

Where components overlap, the likelihood of the mixture is no parabola within two standard errors,
and what the mixture adds is had from its profile (`profile_likelihood`) where the rows are at hand
that it was fitted to.

An interval of a rate holds the values that a test of 5 % does not reject, the variance being that
at the value tested: for segments that do not overlap it is that of Wilson (1927), it never leaves
[0, 1], and does not widen near 0 and 1, as one on the logit scale does where segments overlap.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, reduce
from typing import Literal

import numpy as np

from gmm_spark.mixture.errors import SingularCovarianceError
from gmm_spark.mixture.kernel import BlockKernel
from gmm_spark.mixture.merging import Partition, cluster_probabilities
from gmm_spark.mixture.natural import natural_parameters
from gmm_spark.mixture.numerics import Array, softmax
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.profile_likelihood import Slopes, is_maximum, profile_bound
from gmm_spark.mixture.scores import ScoreFunction

Assignment = Literal["soft", "modal"]
Method = Literal["three-step ML", "BCH", "posterior weights", "counted"]

# The 97.5 % quantile of the normal distribution.
Z = 1.959963984540054
# Components are told apart where the smallest singular value of their assignments' correlations
# is more than this.
_LEAST_SINGULAR = 1e-6
# A component of less than this share of the rows has none.
_LEAST_SHARE = 1e-12
_NEWTON_STEPS = 200
_CHUNK = 1024
# Multiplications of one information matrix: where it takes more, the delta method has to do.
_MOST_WORK = 3e8


@dataclass(frozen=True)
class OutcomeSums:
    """Sums over the rows whose outcome is known; they merge by `+`.

    rows, missing : rows whose outcome is known, and is not
    weight, total : of the rows, and of their weights times y
    flags : rows whose outcome is 0 or 1
    lowest, highest : of the outcome
    responsibilities, outcomes : (K,) sums of r, and of r y
    soft : (K, K) of r_j r_s
    modal, modal_outcomes, modal_rows : (K, K) of r_j a_s, (K,) of a_s y, and the number of the
        rows, a_s being 1 where component s is the most probable of the row
    """

    rows: int
    missing: int
    weight: float
    total: float
    flags: int
    lowest: float
    highest: float
    responsibilities: Array
    outcomes: Array
    soft: Array
    modal: Array
    modal_outcomes: Array
    modal_rows: Array

    @staticmethod
    def of(responsibilities: Array, outcome: Array, weights: Array | None = None) -> OutcomeSums:
        """The sums of rows with responsibilities (K, m) and an outcome (m,), NaN where it is not
        known, of weight 1 or `weights` (m,)."""
        known = ~np.isnan(outcome)
        r, y = responsibilities[:, known], outcome[known]
        w = np.ones(y.size) if weights is None else weights[known]
        most = modal(r)
        weighted = r * w
        return OutcomeSums(
            rows=y.size,
            missing=outcome.size - y.size,
            weight=float(w.sum()),
            total=float(w @ y),
            flags=int(np.count_nonzero((y == 0) | (y == 1))),
            lowest=float(y.min(initial=np.inf)),
            highest=float(y.max(initial=-np.inf)),
            responsibilities=weighted.sum(axis=1),
            outcomes=weighted @ y,
            soft=weighted @ r.T,
            modal=weighted @ most.T,
            modal_outcomes=most @ (w * y),
            modal_rows=most.sum(axis=1),
        )

    @staticmethod
    def none(k: int) -> OutcomeSums:
        """The sums of no rows, for k components, the noise among them."""
        return OutcomeSums.of(np.zeros((k, 0)), np.zeros(0))

    def __add__(self, other: OutcomeSums) -> OutcomeSums:
        found = {
            one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)
        }
        found["lowest"] = min(self.lowest, other.lowest)
        found["highest"] = max(self.highest, other.highest)
        return OutcomeSums(**found)

    @property
    def is_rate(self) -> bool:
        """Whether the outcome is 0 or 1 in every row, and its means are rates."""
        return self.flags == self.rows > 0

    @property
    def mean(self) -> float:
        """Of all the rows."""
        return self.total / self.weight

    @property
    def modal_means(self) -> Array:
        """The means over the rows that each component is the most probable of, (K,); NaN where
        there are none. Not corrected for anything."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.modal_outcomes / self.modal.sum(axis=0))

    @property
    def present(self) -> Array:
        """Which components have rows, (K,)."""
        return np.asarray(self.responsibilities > _LEAST_SHARE * self.weight)

    def joint(self, assignment: Assignment) -> tuple[Array, Array]:
        """Sums of r_k a_s (K, K) and of a_s y (K,), by weight."""
        if assignment == "soft":
            return self.soft / self.weight, self.outcomes / self.weight
        return self.modal / self.weight, self.modal_outcomes / self.weight


def merged(parts: Sequence[OutcomeSums]) -> OutcomeSums:
    """The sums of several sets of rows, one at least, in the order given."""
    return reduce(OutcomeSums.__add__, parts)


def modal(responsibilities: Array) -> Array:
    """1 for the most probable component of each row, else 0, (K, m)."""
    return np.eye(len(responsibilities))[:, responsibilities.argmax(axis=0)]


@dataclass(frozen=True)
class Estimates:
    """Means of an outcome by component, (K,) each; NaN for a component without rows.

    method : how they were estimated
    low, high : the 95 % interval; a rate's lies in [0, 1]
    """

    method: Method
    values: Array
    standard_errors: Array
    low: Array
    high: Array


def posterior_weighted(sums: OutcomeSums) -> Array:
    """Means of the outcome by responsibilities, (K,): biased towards each other where components
    overlap. NaN for components without rows."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sums.present, sums.outcomes / sums.responsibilities, np.nan)


def are_told_apart(sums: OutcomeSums, assignment: Assignment = "soft") -> bool:
    """Whether the components are: else nothing can be corrected, as where two are the same, or
    ("modal") one is the most probable of no row."""
    joint = sums.joint(assignment)[0][np.ix_(sums.present, sums.present)]
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    if not (columns > 0).all():
        return False
    scaled = joint / np.sqrt(rows[:, None] * columns)
    return bool(np.linalg.svd(scaled, compute_uv=False).min(initial=1.0) > _LEAST_SINGULAR)


def bch(sums: OutcomeSums, assignment: Assignment = "soft") -> Array:
    """Means of the outcome by component, (K,), of Bolck, Croon and Hagenaars (2004): unbiased,
    and a rate may be outside of [0, 1]. NaN for components without rows.

    Raises ValueError where the components cannot be told apart.
    """
    _expect_told_apart(sums, assignment)
    joint, outcomes = sums.joint(assignment)
    there = sums.present
    values = np.full(there.size, np.nan)
    values[there] = np.linalg.solve(joint[np.ix_(there, there)].T, outcomes[there])
    return values


def three_step_ml(sums: OutcomeSums, assignment: Assignment = "soft") -> Array:
    """Rates of the outcome by component, (K,), of largest likelihood given the assignments and
    their errors (Vermunt 2010): those of BCH where these are within [0, 1]. NaN for components
    without rows.

    Raises ValueError where the outcome is not 0 or 1 in every row, or the components cannot be
    told apart.
    """
    if not sums.is_rate:
        raise ValueError("the outcome is no rate: it has other values than 0 and 1")
    values, there = bch(sums, assignment), sums.present
    found = values[there]
    if (found >= 0).all() and (found <= 1).all():
        return values
    joint, outcomes = sums.joint(assignment)
    values[there] = _largest_likelihood(joint[np.ix_(there, there)], outcomes[there])
    return values


def _expect_told_apart(sums: OutcomeSums, assignment: Assignment) -> None:
    if not are_told_apart(sums, assignment):
        raise ValueError(f"the components cannot be told apart by {assignment} assignments")


def _largest_likelihood(joint: Array, outcomes: Array) -> Array:
    """Rates p in [0, 1] at which sum of b log(q) + (g - b) log(1 - q) is largest, q = C' p, g the
    columns' sums of `joint` (K, S), C the joint divided by these: a concave function, by Newton's
    steps in the rates that are not held at a bound (Bertsekas 1982, "Projected Newton methods")."""
    assigned = joint.sum(axis=0)
    chances = joint / assigned
    having = np.clip(outcomes, 0.0, assigned)
    lacking = assigned - having

    def log_likelihood(rates: Array) -> float:
        q = np.clip(rates @ chances, 0.0, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.where(having > 0, having * np.log(q), 0.0)
            parts += np.where(lacking > 0, lacking * np.log1p(-q), 0.0)
        return float(parts.sum())

    rates = np.full(len(joint), having.sum() / assigned.sum())
    value = log_likelihood(rates)
    for _ in range(_NEWTON_STEPS):
        q = rates @ chances
        with np.errstate(divide="ignore", invalid="ignore"):
            up = np.where(having > 0, having / q, 0.0)
            down = np.where(lacking > 0, lacking / (1 - q), 0.0)
        gradient = chances @ (up - down)
        curvature = up**2 / np.where(having > 0, having, 1.0)
        curvature += down**2 / np.where(lacking > 0, lacking, 1.0)
        held = ((rates <= 0) & (gradient <= 0)) | ((rates >= 1) & (gradient >= 0))
        if held.all() or np.abs(gradient[~held]).max() < 1e-13:
            break
        free = chances[~held]
        direction = np.zeros_like(rates)
        direction[~held] = np.linalg.lstsq(
            (free * curvature) @ free.T, gradient[~held], rcond=None
        )[0]
        step = 1.0
        while step > 1e-10:
            tried = np.clip(rates + step * direction, 0.0, 1.0)
            found = log_likelihood(tried)
            if found > value:
                break
            step /= 2
        else:
            break
        moved = np.abs(tried - rates).max()
        rates, value = tried, found
        if moved < 1e-14:
            break
    return rates


@dataclass(frozen=True)
class OutcomeRows:
    """Rows whose outcome is known, all there are or a sample of them, each as likely: what the
    variances are estimated from.

    block : (columns, n) as the mixture takes them, in the user's units
    responsibilities : (K, n), of components, the noise's last
    outcome : (n,)
    weights : (n,), or None where all are 1
    """

    block: Array
    responsibilities: Array
    outcome: Array
    weights: Array | None = None


class Uncertainty:
    """How uncertain estimates of an outcome are: by the rows, and by the mixture.

    Parameters
    ----------
    sums : of all the rows
    rows : all of them, or a sample
    parameters : the mixture
    fitted_rows : how many rows, or how much weight of them, the mixture was fitted to; None where
        it is known without a fit. The information about it is that of `rows`, of so many.
    assignment : as for the estimates
    importance : weights say how much a row counts, and not how often it was seen
    clusters : of components, where the sums are of such
    """

    def __init__(
        self,
        sums: OutcomeSums,
        rows: OutcomeRows,
        parameters: Parameters,
        fitted_rows: float | None,
        assignment: Assignment = "soft",
        importance: bool = False,
        clusters: Partition | None = None,
    ) -> None:
        self._sums, self._rows = sums, rows
        self._responsibilities, k = rows.responsibilities, parameters.k
        parts = [[j] for j in range(len(self._responsibilities))]
        if clusters is not None:
            self._responsibilities = cluster_probabilities(rows.responsibilities, clusters)
            parts = [list(cluster) for cluster in clusters] + parts[k:]
        self._parts = [part for part, there in zip(parts, sums.present, strict=True) if there]
        self._assignment, self._importance = assignment, importance
        n = rows.outcome.size
        self._weights = np.ones(n) if rows.weights is None else rows.weights
        # Of sums over all rows, by weight: what a row of the sample stands for.
        share = 1.0 / (float(self._weights.sum()) * sums.weight)
        self._row_share = share * (self._weights**2 if importance else self._weights)
        self._mixture = None
        if fitted_rows is not None:
            self._mixture = _Mixture(parameters, rows, self._weights, fitted_rows)

    def of_posterior_weighted(self) -> Estimates:
        """The uncorrected means. Their interval is about what they estimate, which is not the mean
        of the component where components overlap."""
        sums = self._sums
        return self._weighted(
            "posterior weights",
            posterior_weighted(sums),
            self._responsibilities,
            sums.responsibilities / sums.weight,
            self._mixture,
        )

    def of_counted(self) -> Estimates:
        """Means of the rows whose most probable component it is: what there is to say where the
        components are a rule by which rows are divided, and no mixture that was fitted."""
        sums, values = self._sums, self._sums.modal_means
        counted = sums.modal.sum(axis=0)
        if sums.is_rate and not self._importance:
            # All the rows are counted: of a small segment the rows at hand may be few, or none.
            per_row = 1 / np.where(counted > 0, counted, np.nan)
            errors = np.sqrt(values * (1 - values) * per_row)
            return Estimates("counted", values, errors, *_wilson(values, per_row))
        weights = modal(self._responsibilities)
        found = self._weighted("counted", values, weights, counted / sums.weight, None)
        # A segment that none of the rows at hand is in has an error that is not known.
        known = np.where(weights.any(axis=1), 1.0, np.nan)
        return Estimates(
            "counted", values, found.standard_errors * known, found.low * known, found.high * known
        )

    def _weighted(
        self,
        method: Method,
        values: Array,
        weights: Array,
        all_shares: Array,
        mixture: _Mixture | None,
    ) -> Estimates:
        """Means (K,) by weights (K, n) of the rows, whose shares of all the weight are (K,); of a
        mixture where these depend on what was fitted."""
        rows, there = self._rows, np.logical_and(self._sums.present, all_shares > 0)
        variances, per_row = np.full(values.size, np.nan), np.full(values.size, np.nan)
        off = rows.outcome - values[there][:, None]
        shares = all_shares[there][:, None]
        variances[there] = (weights[there] * off / shares) ** 2 @ self._row_share
        if mixture is not None:
            slopes = mixture.slopes_of_means(self._parts, off / shares)
            variances[there] += mixture.variances(slopes)
        errors = np.sqrt(variances)
        if not self._sums.is_rate:
            return _linear(method, values, errors)
        # Wilson's, of as many rows as have that variance.
        squares = (weights[there] / shares) ** 2 @ self._row_share
        spread = values[there] * (1 - values[there])
        inner = spread > 1e-12
        per_row[there] = np.where(inner, variances[there] / np.where(inner, spread, 1.0), squares)
        return Estimates(method, values, errors, *_wilson(values, per_row))

    def of_bch(self) -> Estimates:
        """The estimates of `bch` with normal intervals; those of a rate are cut to [0, 1], and say
        nothing where the estimate is outside: see `of_three_step_ml`."""
        values = bch(self._sums, self._assignment)
        inverse = self._inverse()
        there = self._sums.present
        rows = self._rows
        expected = values[there] @ self._responsibilities[there]
        influence = inverse @ self._assigned() * (rows.outcome - expected)
        variances = np.full(values.size, np.nan)
        variances[there] = influence**2 @ self._row_share
        if self._mixture is not None:
            slopes = np.einsum("ks,sjp,j->kp", inverse, self._slopes(), values[there])
            variances[there] += self._mixture.variances(slopes)
        found = _linear("BCH", values, np.sqrt(variances))
        if not self._sums.is_rate:
            return self._profiled(found)
        return replace(found, low=np.clip(found.low, 0, 1), high=np.clip(found.high, 0, 1))

    def of_three_step_ml(self) -> Estimates:
        """The estimates of `three_step_ml`, and the rates that a test does not reject."""
        values = three_step_ml(self._sums, self._assignment)
        inverse, there = self._inverse(), self._sums.present
        responsibilities, rates = self._responsibilities[there], values[there]
        expected = np.clip(rates @ responsibilities, 0.0, 1.0)
        pull = (inverse @ self._assigned()) ** 2 * self._row_share
        # Where the rate of component k is t more than estimated, the variance of its estimate is
        # constant + linear t + quadratic t^2.
        constant = pull @ (expected * (1 - expected))
        linear = (pull * responsibilities) @ (1 - 2 * expected)
        quadratic = -(pull * responsibilities**2).sum(axis=1)
        if self._mixture is not None:
            slopes = np.einsum("ks,sjp->kjp", inverse, self._slopes())
            of_all = np.einsum("kjp,j->kp", slopes, rates)
            own = slopes[np.arange(rates.size), np.arange(rates.size)]
            constant = constant + self._mixture.variances(of_all)
            linear = linear + 2 * ((of_all @ self._mixture.covariance) * own).sum(axis=1)
            quadratic = quadratic + self._mixture.variances(own)
        full = np.full((3, values.size), np.nan)
        full[:, there] = constant, linear, quadratic
        low, high = _quadratic(values, full[0], full[1], full[2])
        errors = np.sqrt(np.maximum(full[0], 0))
        return self._profiled(Estimates("three-step ML", values, errors, low, high))

    def _profiled(self, estimates: Estimates) -> Estimates:
        """The estimates with the bounds of the profile likelihood, where these differ."""
        mixture, there = self._mixture, np.flatnonzero(self._sums.present)
        rows = self._rows.outcome.size
        if mixture is None or self._sums.rows > rows or mixture.work > _MOST_WORK:
            return estimates
        means = _MeansUnder(
            mixture, self._assigned(), self._parts, self._row_share, self._sums.is_rate
        )
        fitted = means(mixture.parameters)
        if fitted is None or not is_maximum(fitted[0].slopes()):
            return estimates
        low, high = np.array(estimates.low), np.array(estimates.high)
        for place, own in enumerate(fitted):
            for sign, bounds in ((-1, low), (1, high)):
                found = profile_bound(means.of(place), own, Z, sign)
                if found is not None:
                    bounds[there[place]] = found[0].interval(Z**2 - found[1])[(sign + 1) // 2]
        return replace(
            estimates,
            low=np.minimum(low, estimates.values),
            high=np.maximum(high, estimates.values),
        )

    def _inverse(self) -> Array:
        """What turns sums of a_s (y - E[y | x]) into changes of the means, (k, s)."""
        there = self._sums.present
        joint, _ = self._sums.joint(self._assignment)
        return np.asarray(np.linalg.inv(joint[np.ix_(there, there)].T))

    def _assigned(self) -> Array:
        responsibilities = self._responsibilities
        found = responsibilities if self._assignment == "soft" else modal(responsibilities)
        return np.asarray(found[self._sums.present])

    def _slopes(self) -> Array:
        assert self._mixture is not None
        return self._mixture.slopes(self._assigned(), self._parts)


class _Mixture:
    """The covariance of the parameters of a mixture, and how means of rows change with them."""

    def __init__(
        self, parameters: Parameters, rows: OutcomeRows, weights: Array, fitted_rows: float
    ) -> None:
        self.parameters, self.rows, self.fitted_rows = parameters, rows, fitted_rows
        self._scores = ScoreFunction(parameters)
        self.weights = weights / weights.sum()
        information: Array = np.zeros(())
        for at, raw in self._chunks():
            scores = self._scores.together(raw)
            information = information + (scores * self.weights[at, None]).T @ scores
        self.covariance = _inverse_information(information) / fitted_rows

    @property
    def work(self) -> float:
        """Multiplications of an information matrix."""
        return float(self.rows.outcome.size) * self._scores.size**2

    def chunks(self) -> Iterator[slice]:
        n = self.rows.outcome.size
        for start in range(0, n, _CHUNK):
            yield slice(start, min(n, start + _CHUNK))

    def _chunks(self) -> Iterator[tuple[slice, Array]]:
        for at in self.chunks():
            yield at, self._scores(self.rows.block[:, at], self.rows.responsibilities[:, at])

    def variances(self, slopes: Array) -> Array:
        """Of what changes with the parameters by slopes (n, parameters)."""
        return np.asarray(((slopes @ self.covariance) * slopes).sum(axis=1))

    def slopes(self, factors: Array, parts: Sequence[list[int]]) -> Array:
        """How the means of factors (S, n) times the responsibilities of each of the parts, sets of
        components, change with the parameters, (S, parts, parameters): r_k changes by r_k times
        its component's score less that of the mixture."""
        scores, r = self._scores, self.rows.responsibilities
        found = np.zeros((len(factors), len(parts), scores.size))
        for at, raw in self._chunks():
            weighted = factors[:, at] * self.weights[at]
            own = weighted @ raw
            for place, part in enumerate(parts):
                found[:, place] -= (weighted * r[part, at].sum(axis=0)) @ raw
                for j in part:
                    of_component = weighted @ r[j, at]
                    found[:, place, : len(r)] += np.outer(of_component, scores.of_weights(j))
                    if j < len(scores.components):  # the noise has a weight alone
                        block = scores.components[j]
                        found[:, place, block] += own[:, block]
        return scores.together(found)

    def slopes_of_means(self, parts: Sequence[list[int]], factors: Array) -> Array:
        """How the mean of each part's responsibilities times its own factor, (parts, n), changes,
        (parts, parameters)."""
        return np.array(
            [self.slopes(f[None], [p])[0, 0] for p, f in zip(parts, factors, strict=True)]
        )


class _MeansUnder:
    """Means of an outcome by component, or by cluster of them, under mixtures near the fitted
    one, at the same assignment of the rows.

    Parameters
    ----------
    mixture : the fitted one, with its rows
    assigned : (k, n) the assignment
    parts : the components of each of the k
    row_share : (n,) of the variance of a mean of the rows
    is_rate : whether the outcome is 0 or 1
    """

    def __init__(
        self,
        mixture: _Mixture,
        assigned: Array,
        parts: Sequence[list[int]],
        row_share: Array,
        is_rate: bool,
    ) -> None:
        self.mixture, self.assigned, self.parts = mixture, assigned, parts
        self.row_share, self.is_rate = row_share, is_rate
        weighted = assigned * mixture.weights
        self.weighted, self.outcomes = weighted, weighted @ mixture.rows.outcome
        parameters = mixture.parameters
        scale = np.sqrt(parameters.weights @ parameters.variances() / parameters.weights.sum())
        if parameters.structure.one_scale:
            scale[:] = scale.max(initial=0.0)
        self._by = Standardisation(parameters.weights @ parameters.means, scale)
        self._has_gaps = bool(np.isnan(mixture.rows.block).any())

    def __call__(self, parameters: Parameters) -> list[_MeanUnder] | None:
        """The means under that mixture; None where it has none."""
        try:
            evaluator = natural_parameters(
                [parameters.standardised(self._by)], self._by, gaps=self._has_gaps
            )
            joint = BlockKernel(evaluator).log_joint(self.mixture.rows.block)
            largest = joint.max(axis=0)
            joint -= largest
            total = softmax(joint)
            log_likelihood = float(self.mixture.weights @ (largest + np.log(total)))
            clusters = np.array([joint[part].sum(axis=0) for part in self.parts])
            inverse = np.linalg.inv(self.weighted @ clusters.T)
        except (SingularCovarianceError, np.linalg.LinAlgError):
            return None
        under = _Under(
            self, parameters, joint, clusters, inverse, log_likelihood * self.mixture.fitted_rows
        )
        return [_MeanUnder(under, place) for place in range(len(self.parts))]

    def of(self, place: int) -> Callable[[Parameters], _MeanUnder | None]:
        """One of the means, by mixture."""

        def found(parameters: Parameters) -> _MeanUnder | None:
            means = self(parameters)
            return None if means is None else means[place]

        return found


@dataclass(frozen=True)
class _Under:
    """What a mixture says of the rows.

    responsibilities, clusters : (K, n) of its components, and (k, n) of those together that a
        mean is of
    inverse : (k, k) what turns sums of a_s (y - E[y | x]) into changes of the means
    log_likelihood : of the rows that the mixture was fitted to
    """

    means: _MeansUnder
    parameters: Parameters
    responsibilities: Array
    clusters: Array
    inverse: Array
    log_likelihood: float

    @cached_property
    def values(self) -> Array:
        """The means of BCH, (k,)."""
        return np.asarray(self.inverse @ self.means.outcomes)

    @cached_property
    def bounded(self) -> Array:
        """The means, (k,), rates in [0, 1]."""
        return np.clip(self.values, 0.0, 1.0) if self.means.is_rate else self.values

    @cached_property
    def spread(self) -> Array:
        """The variance of the outcome of every row, (n,)."""
        expected = self.bounded @ self.clusters
        if self.means.is_rate:
            return np.asarray(np.clip(expected * (1 - expected), 0.0, None))
        return np.asarray((self.means.mixture.rows.outcome - expected) ** 2)

    @cached_property
    def slopes(self) -> list[Slopes]:
        """Of the log likelihood, and of each of the means."""
        mixture, rates = self.means.mixture, np.zeros(len(self.responsibilities))
        for rate, part in zip(self.bounded, self.means.parts, strict=True):
            rates[part] = rate
        scores = ScoreFunction(self.parameters)
        pull = self.inverse @ self.means.weighted
        expected = pull * (rates @ self.responsibilities)
        information: Array = np.zeros(())
        gradient, slopes = np.zeros(scores.size), np.zeros((len(pull), scores.size))
        for at in mixture.chunks():
            raw = scores(mixture.rows.block[:, at], self.responsibilities[:, at])
            along = scores.together(raw)
            information = information + (along * mixture.weights[at, None]).T @ along
            gradient += mixture.weights[at] @ raw
            own = pull[:, at] @ raw
            slopes += expected[:, at] @ raw
            for rate, block in zip(rates, scores.components, strict=False):
                slopes[:, block] -= rate * own[:, block]
        for j, rate in enumerate(rates):
            of_component = pull @ self.responsibilities[j]
            slopes[:, : rates.size] -= rate * np.outer(of_component, scores.of_weights(j))
        covariance = _inverse_information(information) / mixture.fitted_rows
        gradient = scores.together(gradient) * mixture.fitted_rows
        return [Slopes(covariance, gradient, one, scores.moved) for one in scores.together(slopes)]


@dataclass(frozen=True)
class _MeanUnder:
    """One of the means under a mixture (an `Estimate` of `profile_likelihood`)."""

    under: _Under
    place: int

    @property
    def log_likelihood(self) -> float:
        return self.under.log_likelihood

    @property
    def value(self) -> float:
        return float(self.under.values[self.place])

    @property
    def _pull(self) -> Array:
        means = self.under.means
        pull = self.under.inverse[self.place] @ means.assigned
        return np.asarray(pull**2 * means.row_share)

    @cached_property
    def variance(self) -> float:
        return float(self._pull @ self.under.spread)

    def slopes(self) -> Slopes:
        return self.under.slopes[self.place]

    def interval(self, square: float) -> tuple[float, float]:
        """The means that a test at this square of a normal quantile does not reject."""
        under, own = self.under, self.under.clusters[self.place]
        if not under.means.is_rate:
            half = float(np.sqrt(square * self.variance))
            return self.value - half, self.value + half
        linear = (self._pull * own) @ (1 - 2 * under.bounded @ under.clusters)
        values, constant = under.bounded[[self.place]], np.array([self.variance])
        quadratic = -(self._pull @ own**2)
        low, high = _quadratic(values, constant, np.array([linear]), np.array([quadratic]), square)
        return float(low[0]), float(high[0])


def _inverse_information(information: Array) -> Array:
    """What the rows say nothing of, as a common factor of weights, changes nothing."""
    return np.asarray(np.linalg.pinv(information, rcond=1e-10, hermitian=True))


def _linear(method: Method, values: Array, errors: Array) -> Estimates:
    return Estimates(method, values, errors, values - Z * errors, values + Z * errors)


def _wilson(values: Array, per_row: Array) -> tuple[Array, Array]:
    """The interval of rates of 1 / `per_row` rows (Wilson 1927)."""
    spread = values * (1 - values)
    return _quadratic(values, per_row * spread, per_row * (1 - 2 * values), -per_row)


def _quadratic(
    values: Array,
    constant: Array,
    linear: Array,
    quadratic: Array,
    most: float = Z**2,
) -> tuple[Array, Array]:
    """The rates c = value + t in [0, 1] with t^2 <= most (constant + linear t + quadratic t^2)."""
    square = 1 - most * quadratic
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = most * linear / (2 * square)
        half = np.sqrt(middle**2 + most * np.maximum(constant, 0.0) / square)
    bounded = square > 0
    low = np.where(bounded, values + middle - half, 0.0)
    high = np.where(bounded, values + middle + half, 1.0)
    low, high = np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
    # The estimate is among them, which rounding may miss.
    low, high = np.minimum(low, values), np.maximum(high, values)
    gone = np.isnan(values)
    return np.where(gone, np.nan, low), np.where(gone, np.nan, high)
