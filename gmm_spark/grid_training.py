"""A search's table of contents: every candidate on the sample, those that may win on all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gmm_spark.advice import edge_of_search
from gmm_spark.alternatives import Optimum, alternatives
from gmm_spark.data import Data, Open, num_parameters, opened
from gmm_spark.errors import InputDataError
from gmm_spark.mixture import model_selection
from gmm_spark.mixture.em import Fit
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.model_selection import GridCandidate, GridState, finalists, penalised
from gmm_spark.mixture.numerics import finite
from gmm_spark.mixture.spec import Criterion, Grid, Spec
from gmm_spark.progress import say, search_on_the_sample
from gmm_spark.training import FittedMixture, Start, fitted, outlier_threshold, run_em


def fit_best(open_source: Open, specs: Sequence[Spec], tried: Grid) -> FittedMixture:
    """The best of several mixtures, and the table of what was tried.

    Parameters
    ----------
    open_source : opens the rows; they are given back in the end
    specs : of the mixtures, of every size and structure of `tried`

    Raises ConfigurationError, InputDataError or FitError as the search's `fit` does.
    """
    with opened(open_source, specs, tried) as data:
        candidates = _on_the_sample(data, specs, tried.criterion)
        entered = _entered(candidates, data, tried.criterion)
        trials = _on_all_rows(entered, data, specs, tried.criterion)
        table, chosen = _table(candidates, trials, data, specs, tried.criterion)
        spec = chosen.start.spec
        threshold = outlier_threshold(data, chosen.start.sample, spec, chosen.fit)
        others = [Optimum(one, spec, chosen.start.sample) for one in chosen.candidate.rivals]
        told = alternatives(Optimum(chosen.fit.parameters, spec, chosen.start.sample), others)
    data.notes += edge_of_search(spec.k, tried.k, tried.criterion)
    say("k = %d, %s has the lowest %s", spec.k, spec.structure.name, tried.criterion)
    return fitted(data, chosen.start, chosen.fit, threshold, table, alternatives=told)


@dataclass(frozen=True)
class _Trial:
    """A candidate fitted to all the rows."""

    candidate: GridCandidate
    start: Start
    fit: Fit


def _on_the_sample(data: Data, specs: Sequence[Spec], criterion: Criterion) -> list[GridCandidate]:
    """Every candidate as fitted on the sample, best first."""
    d, common = len(data.source.roles.features), specs[0]
    usable = [spec for spec in specs if spec.k <= data.scan.num_rows]
    if not usable:
        raise InputDataError(
            f"k is at least {min(spec.k for spec in specs)}, but there are only "
            f"{data.scan.num_rows} rows; use a smaller k"
        )
    samples: dict[str, Sample] = {}
    structures = {}
    for spec in usable:
        structure = spec.structure_for(d)
        if structure.code not in samples:
            samples[structure.code] = data.sample(spec)
            structures[structure.code] = structure
    kept = data.checkpoint
    state = kept.recall("search", GridState) or model_selection.start(
        # More than there are rows too: they are in the table, with the problem.
        [spec.k for spec in specs],
        list(structures.values()),
        criterion,
        data.scan.weight,
        init_mode=common.init_mode,
        num_init=common.num_init,
        seed=common.positive_seed,
        tol=common.tol,
    )
    with search_on_the_sample() as tell:
        ended = model_selection.run(
            state,
            samples,
            data.sample_executor,
            tell,
            listener=_log_candidate,
            on_round=partial(kept.keep, "search"),
        )
    return model_selection.result(ended, samples)


def _entered(
    candidates: Sequence[GridCandidate], data: Data, criterion: Criterion
) -> list[GridCandidate]:
    """The candidates that are fitted to all the rows."""
    if all(candidate.parameters is None for candidate in candidates):
        raise InputDataError(f"none of the mixtures can be fitted: {candidates[0].problem}")
    if criterion == "heldout":
        return finalists(candidates, False)
    return finalists(candidates, data.scan.sample.shape[1] < data.scan.num_rows)


def _on_all_rows(
    entered: Sequence[GridCandidate], data: Data, specs: Sequence[Spec], criterion: Criterion
) -> list[_Trial]:
    starts = []
    for candidate in entered:
        assert candidate.parameters is not None
        spec = _spec_of(candidate, data, specs)
        whose = f"k = {spec.k}, {spec.structure.name}, "
        penalty = _penalty(spec, data, criterion)
        sample, path = data.sample(spec), candidate.path
        starts.append(Start(candidate.parameters, sample, spec, whose, penalty, path))
    trials = zip(entered, starts, run_em(data, starts), strict=True)
    return [_Trial(c, start, found) for c, start, found in trials if found is not None]


def _penalty(spec: Spec, data: Data, criterion: Criterion) -> float:
    """What the criterion takes off the mean log-likelihood; for icl, which takes off more, and for
    heldout, which judges by other rows, so little that nothing is given up."""
    if criterion not in ("bic", "aic"):
        return -np.inf
    weight, p = data.scan.weight, num_parameters(spec, data.source.roles)
    return penalised(criterion, 0.0, 0.0, p, weight) / (2 * weight)


def _spec_of(candidate: GridCandidate, data: Data, specs: Sequence[Spec]) -> Spec:
    d = len(data.source.roles.features)
    return next(
        spec
        for spec in specs
        if spec.k == candidate.k and spec.structure_for(d) == candidate.structure
    )


def _table(
    candidates: Sequence[GridCandidate],
    trials: Sequence[_Trial],
    data: Data,
    specs: Sequence[Spec],
    criterion: Criterion,
) -> tuple[list[dict[str, Any]], _Trial]:
    """What was tried, best first, and the best trial."""
    criteria = [_criterion_of(trial, data, criterion) for trial in trials]
    best = int(np.argmin(criteria))
    rows = []
    for candidate in candidates:
        index = next((i for i, trial in enumerate(trials) if trial.candidate is candidate), None)
        found = None if index is None else trials[index].fit
        spec = _spec_of(candidate, data, specs)
        rows.append(
            {
                "k": candidate.k,
                "covarianceType": spec.structure.name,
                "numParameters": num_parameters(spec, data.source.roles),
                "criterion": finite(candidate.criterion if index is None else criteria[index]),
                "meanLogLikelihood": finite(
                    candidate.mean_log_likelihood
                    if found is None or criterion == "heldout"
                    else found.log_likelihood / found.weight
                ),
                "standardError": finite(candidate.error) if found is None else 0.0,
                "evaluatedOn": _evaluated_on(candidate, found, criterion),
                "problem": candidate.problem,
            }
        )
    chosen = trials[best].start.spec

    def place(row: dict[str, Any]) -> tuple[bool, bool, float]:
        is_best = (row["k"], row["covarianceType"]) == (chosen.k, chosen.structure.name)
        missing = row["criterion"] is None
        return not is_best, missing, 0.0 if missing else row["criterion"]

    return sorted(rows, key=place), trials[best]


def _criterion_of(trial: _Trial, data: Data, criterion: Criterion) -> float:
    """Of a candidate on all the rows; by rows held out it has been judged on the sample."""
    if criterion == "heldout":
        return trial.candidate.criterion
    found = trial.fit
    return penalised(
        criterion,
        found.log_likelihood,
        found.log_assignment,
        found.parameters.num_free_parameters,
        data.scan.weight,
    )


def _evaluated_on(candidate: GridCandidate, found: Fit | None, criterion: Criterion) -> str:
    if criterion == "heldout":
        return "held-out rows"
    return "sample" if found is None and not candidate.exact else "all rows"


def _log_candidate(candidate: GridCandidate) -> None:
    if candidate.parameters is None:
        say("k = %d, %s: %s", candidate.k, candidate.structure.name, candidate.problem)
    else:
        say(
            "k = %d, %s: mean log-likelihood about %.6f",
            candidate.k,
            candidate.structure.name,
            candidate.mean_log_likelihood,
        )
