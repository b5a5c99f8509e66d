"""The search for k and the covariance structure: `GaussianMixtureSearch(k=[2, 3, 4]).fit(data)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.sql import DataFrame

from gmm_spark.advice import edge_of_search
from gmm_spark.data import Data, Plan
from gmm_spark.engine.parquet import ParquetTable
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.estimator import GaussianMixture
from gmm_spark.mixture import multifit
from gmm_spark.mixture.candidates import Sample
from gmm_spark.mixture.em import Fit, PassRecord
from gmm_spark.mixture.multifit import MultiFit
from gmm_spark.mixture.selection import GridCandidate, finalists, grid, penalised
from gmm_spark.mixture.spec import GRID, SEARCH_SETTINGS, SPEC, Grid, Spec
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.params import takes_settings, with_settings
from gmm_spark.progress import say, search_on_the_sample


@takes_settings([each for each in SEARCH_SETTINGS if not each.starts])
@with_settings(SEARCH_SETTINGS)
class GaussianMixtureSearch(GaussianMixture):
    """Gaussian mixtures of several sizes and structures, of which the best is fitted.

    Every cell of the grid is fitted on a sample; those that may win by `criterion` are fitted to
    all the rows in shared scans. `fit` returns the best model, whose `summary.candidates` (and
    `summary.candidatesDF`) hold the whole table. The Params are those of `GaussianMixture`, but
    that `k` and `covarianceType` are lists.

    Examples
    --------
    >>> from gmm_spark import GaussianMixtureSearch, ParquetTable
    >>> search = GaussianMixtureSearch(k=[2, 3, 4], inputCols=["age", "spend"])  # doctest: +SKIP
    >>> model = search.fit(ParquetTable("lake/customers"))  # doctest: +SKIP
    >>> model.summary.k, model.getCovarianceType()  # doctest: +SKIP
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self._set(**settings)

    def setParams(self, **settings: Any) -> GaussianMixtureSearch:
        """Sets the given Params."""
        return self._set(**settings)

    def _fit(self, dataset: DataFrame | ParquetTable) -> GaussianMixtureModel:
        self._check_settings()
        self._check_outputs(dataset)
        plans = self._plans()
        with self._opened(dataset, plans) as data:
            cells = self._grid(data, plans)
            entered = self._entered(cells, data)
            trials = self._on_all_rows(entered, data)
            table, best = self._table(cells, trials, data)
            chosen = trials[best]
            threshold = self._threshold(data, chosen.plan, chosen.fit)
        data.notes += edge_of_search(chosen.plan.k, self.getOrDefault(self.k), self.getCriterion())
        say("k = %d, %s has the lowest %s", chosen.plan.k, chosen.plan.name, self.getCriterion())
        return self._model(dataset, data, chosen.plan, chosen.fit, threshold, candidates=table)

    def _check_settings(self) -> None:
        super()._check_settings()
        for each in SEARCH_SETTINGS:
            if each.starts and self.isSet(each.name):
                raise ConfigurationError(
                    f"{each.name} is of one number of components; a search makes its own starts"
                )

    def _check_values(self) -> None:
        common = [each for each in SPEC if each.key not in ("k", "covariance_type")]
        Spec(**self._values(common))
        Grid(**self._values(GRID))

    def _plans(self) -> list[Plan]:
        common = [each for each in SPEC if each.key not in ("k", "covariance_type")]
        grid = Grid(**self._values(GRID))
        specs = grid.specs(Spec(**self._values(common)))
        return [self._planned(spec.k, spec.covariance_type) for spec in specs]

    def _grid(self, data: Data, plans: Sequence[Plan]) -> list[GridCandidate]:
        samples: dict[str, Sample] = {}
        usable = [plan for plan in plans if plan.k <= data.scan.num_rows]
        if not usable:
            raise InputDataError(
                f"k is at least {min(p.k for p in plans)}, but there are only "
                f"{data.scan.num_rows} rows; use a smaller k"
            )
        for plan in usable:
            if plan.structure.code not in samples:
                samples[plan.structure.code] = self._sample(data, plan)
        with search_on_the_sample() as tell:
            return grid(
                samples,
                # More than there are rows too: their cells are in the table, with the problem.
                [plan.k for plan in plans],
                [next(p.structure for p in usable if p.structure.code == code) for code in samples],
                self.getCriterion(),  # type: ignore[arg-type]
                data.scan.weight,
                init_mode=self.getInitMode(),  # type: ignore[arg-type]
                num_init=self.getNumInit(),
                seed=self.getSeed() & (2**63 - 1),
                tol=self.getTol(),
                listener=_log_cell,
                executor_for=data.sample_executor,
                tell=tell,
            )

    def _entered(self, cells: Sequence[GridCandidate], data: Data) -> list[GridCandidate]:
        """The cells that are fitted to all the rows."""
        if all(cell.parameters is None for cell in cells):
            raise InputDataError(f"none of the mixtures can be fitted: {cells[0].problem}")
        if self.getCriterion() == "heldout":
            return finalists(cells, False)
        return finalists(cells, data.scan.sample.shape[1] < data.scan.num_rows)

    def _on_all_rows(self, entered: Sequence[GridCandidate], data: Data) -> list[_Trial]:
        plans = [self._plan_of(cell) for cell in entered]
        starts = [cell.parameters for cell in entered if cell.parameters is not None]
        problems = [
            self._problem(self._sample(data, plan), plan.k, data.scan.num_rows) for plan in plans
        ]

        def log(state: MultiFit) -> None:
            for index in state.last_scan:
                _log_pass(plans[index], state.fits[index].history[-1])

        state = multifit.run(
            data.engine.run_passes,
            multifit.start(starts, problems),
            problems,
            [self._penalty(plan, data) for plan in plans],
            on_scan=log,
            seconds=lambda: data.engine.seconds[-1],
        )
        trials = zip(entered, plans, multifit.results(state), strict=True)
        return [_Trial(c, p, fitted) for c, p, fitted in trials if fitted is not None]

    def _penalty(self, plan: Plan, data: Data) -> float:
        """What the criterion takes off the mean log-likelihood; for icl, which takes off more,
        and for heldout, which judges by other rows, so little that nothing is given up."""
        criterion, weight = self.getCriterion(), data.scan.weight
        if criterion not in ("bic", "aic"):
            return -np.inf
        p = self._num_parameters(plan.structure, plan.k, data.source.roles)
        return penalised(criterion, 0.0, 0.0, p, weight) / (2 * weight)  # type: ignore[arg-type]

    def _plan_of(self, cell: GridCandidate) -> Plan:
        names: Any = self.getOrDefault(self.covarianceType)
        plans = (self._planned(cell.k, name) for name in names)
        return next(plan for plan in plans if plan.structure == cell.structure)

    def _table(
        self, cells: Sequence[GridCandidate], trials: Sequence[_Trial], data: Data
    ) -> tuple[list[dict[str, Any]], int]:
        """What was tried, best first, and the number of the best trial."""
        weight = data.scan.weight
        criteria = []
        for trial in trials:
            found = trial.fit
            held_out = self.getCriterion() == "heldout"
            criteria.append(
                trial.cell.criterion
                if held_out
                else penalised(
                    self.getCriterion(),  # type: ignore[arg-type]
                    found.log_likelihood,
                    found.log_assignment,
                    found.parameters.num_free_parameters,
                    weight,
                )
            )
        best = int(np.argmin(criteria))
        rows = []
        for cell in cells:
            index = next((i for i, trial in enumerate(trials) if trial.cell is cell), None)
            fitted = None if index is None else trials[index].fit
            rows.append(
                {
                    "k": cell.k,
                    "covarianceType": self._plan_of(cell).name,
                    "numParameters": self._num_parameters(
                        cell.structure, cell.k, data.source.roles
                    ),
                    "criterion": _finite(cell.criterion if index is None else criteria[index]),
                    "meanLogLikelihood": _finite(
                        cell.mean_log_likelihood
                        if fitted is None or self.getCriterion() == "heldout"
                        else fitted.log_likelihood / fitted.weight
                    ),
                    "standardError": _finite(cell.error) if fitted is None else 0.0,
                    "evaluatedOn": self._evaluated_on(cell, fitted),
                    "problem": cell.problem,
                }
            )
        first = trials[best].cell
        chosen = {"k": first.k, "covarianceType": self._plan_of(first).name}

        def place(row: dict[str, Any]) -> tuple[bool, bool, float]:
            is_best = all(row[name] == value for name, value in chosen.items())
            missing = row["criterion"] is None
            return not is_best, missing, 0.0 if missing else row["criterion"]

        return sorted(rows, key=place), best

    def _evaluated_on(self, cell: GridCandidate, fitted: Fit | None) -> str:
        if self.getCriterion() == "heldout":
            return "held-out rows"
        return "sample" if fitted is None and not cell.exact else "all rows"


@dataclass(frozen=True)
class _Trial:
    """A cell fitted to all the rows."""

    cell: GridCandidate
    plan: Plan
    fit: Fit


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _log_cell(cell: GridCandidate) -> None:
    if cell.parameters is None:
        say("k = %d, %s: %s", cell.k, cell.structure.name, cell.problem)
    else:
        say(
            "k = %d, %s: mean log-likelihood about %.6f",
            cell.k,
            cell.structure.name,
            cell.mean_log_likelihood,
        )


def _log_pass(plan: Plan, record: PassRecord) -> None:
    say(
        "k = %d, %s, pass %d (%s), mean log-likelihood %.6f",
        plan.k,
        plan.name,
        record.number,
        record.kind,
        record.mean_log_likelihood,
    )
