"""Fits in memory, made of the golden tables as the estimator makes them, and of what else a fit
can meet; and going on with one that was killed.

python -m tests.mixture.fits FOLDER    # goes on from every FOLDER/CASE/killed-*.npz, to ended-*
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gmm_spark.mixture import em, multifit
from gmm_spark.mixture.em import FitState, Problem
from gmm_spark.mixture.families import Categorical, Count, Family, Noise
from gmm_spark.mixture.initialisation.candidates import Candidate, Sample, advance
from gmm_spark.mixture.initialisation.multistart import search
from gmm_spark.mixture.kernel import RunPass, array_pass
from gmm_spark.mixture.multifit import MultiFit
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.priors import Priors
from gmm_spark.mixture.standardisation import describe_columns
from gmm_spark.mixture.structures import STRUCTURES, structure_named
from tests.golden.cases import PARAMS, TABLES
from tests.mixture.reference import CODES, plain_scales, separate_groups, start_from_labels

# Of the 2,000 rows of a golden table.
SAMPLE_ROWS = 500


@dataclass(frozen=True)
class Case:
    """What is needed to go on with a fit, or with several that share scans, and, in `starts`, to
    begin it."""

    problems: Sequence[Problem]
    run_pass: RunPass
    starts: Callable[[], Sequence[Parameters]]
    penalties: Sequence[float] | None = None  # of fits that share scans

    def started(self) -> FitState | MultiFit:
        if self.penalties is None:
            return em.start(self.starts()[0], self.problems[0])
        return multifit.start(self.starts(), self.problems)

    def run(self, state: Any, on_pass: Callable[[Any], None] = lambda state: None) -> Any:
        if self.penalties is None:
            return em.run(self.run_pass, state, self.problems[0], on_pass)

        def run_passes(evaluators: Any) -> Any:
            return [self.run_pass(evaluator) for evaluator in evaluators]

        return multifit.run(run_passes, state, self.problems, self.penalties, on_scan=on_pass)


def golden(name: str, max_iter: int = 100) -> Case:
    """One of the golden fits, or the cells of the golden search all at once."""
    params, table = PARAMS[name], TABLES[name]()
    numbers = table[params["inputCols"]].to_numpy(float).T
    d, levels, rows = len(numbers), (), [numbers]
    for column in params.get("categoricalCols", []):
        codes, values = pd.factorize(table[column], sort=True)
        levels += (len(values),)
        rows.append(codes[None].astype(float))
    counts = params.get("countCols", [])
    rows += [table[column].to_numpy(float)[None] for column in counts]
    families: tuple[Family, ...] = (Categorical(levels),) if levels else ()
    families += (Count(len(counts)),) if counts else ()
    block = np.ascontiguousarray(np.concatenate(rows))
    weights = table[params["weightCol"]].to_numpy(float) if "weightCol" in params else None
    allowed = None
    if "labelCol" in params:
        known = table[params["labelCol"]].to_numpy(float, na_value=-1.0).astype(np.int64)
        allowed = np.where(known < 0, -1, np.left_shift(1, np.maximum(known, 0)))
    first = np.random.default_rng(0).permutation(block.shape[1])[:SAMPLE_ROWS]
    lowest, highest = np.nanmin(block, axis=1), np.nanmax(block, axis=1)

    def sample_of(code: str) -> Sample:
        of_numbers = block[:d, first], lowest[:d], highest[:d]
        columns = describe_columns(*of_numbers, structure_named(code), None)
        by, noise = columns.standardisation, None
        if params.get("noise"):
            widths = (highest - lowest)[:d] / by.scale
            noise = Noise(0.01, np.log(widths), (lowest[:d] - by.centre) / by.scale)
        sample = Sample(
            block[:, first],
            None if weights is None else weights[first],
            by,
            columns.floor / by.scale,
            bool(np.isnan(numbers).any()),
            families,
            None if allowed is None else allowed[first],
            None,
            noise,
        )
        if not families:
            return sample
        usual = tuple(family.prior(values, sample.weights) for family, values in sample.of_families)
        return replace(sample, prior=Priors(1.0, 1.0, usual, None, SAMPLE_ROWS / block.shape[1]))

    ks, codes = np.atleast_1d(params["k"]), np.atleast_1d(params.get("covarianceType", "full"))
    cells = [(int(k), sample_of(code), structure_named(code)) for code in codes for k in ks]
    problems = []
    for k, sample, _ in cells:
        prior = sample.prior and sample.prior.times(block.shape[1] / SAMPLE_ROWS).of(k)
        problems.append(
            Problem(
                sample.standardisation,
                sample.floor,
                max_iter=max_iter,
                acceleration="anderson",
                run_sample=sample.run_pass,
                has_missing=sample.gaps,
                prior=prior,
            )
        )

    def starts() -> list[Parameters]:
        num_init = 4 if len(cells) == 1 else 1  # which is faster
        return [search(s, k, of, num_init=num_init, seed=3)[0] for k, s, of in cells]

    penalties = None
    if len(cells) > 1:
        n = block.shape[1]
        penalties = [s.num_free_parameters(k, d) * np.log(n) / (2 * n) for k, _, s in cells]
    return Case(problems, array_pass(block, weights, allowed), starts, penalties)


def _from_labels(block: Any, labels: Any, code: str = "VVV", **settings: Any) -> Case:
    structure = STRUCTURES[code]
    by = plain_scales(block, structure)
    problem = Problem(by, np.full(len(block), settings.pop("floor", 1e-3)), **settings)
    start = start_from_labels(block, labels, structure, by, problem.floor)
    return Case([problem], array_pass(block), lambda: [start])


def plain() -> Case:
    block, labels = separate_groups(n=300)
    return _from_labels(block, np.sort(labels), max_iter=12, tol=0.0)


def rejected() -> Case:
    """Extrapolations alone, some of which are taken back."""
    block, labels = separate_groups(seed=5, k=4, d=3, n=300)
    labels = np.random.default_rng(2).permutation(labels)
    return _from_labels(block, labels, acceleration="anderson", tol=1e-9)


def of_structure(code: str) -> Case:
    """Groups cut across, of a covariance structure, with steps on a third of the rows."""
    block, labels = separate_groups(seed=3, k=3, d=3, n=300)
    sample = array_pass(block[:, ::3])
    settings = {"acceleration": "anderson", "run_sample": sample, "max_iter": 6}
    return _from_labels(block, np.sort(labels), code, **settings)


def floored(floor: float = 1e-3) -> Case:
    """20 of 220 rows on one point."""
    block = np.random.default_rng(0).normal(size=(2, 220))
    block[:, :20] = 8.0
    labels = np.where(np.arange(220) < 25, 1, 0)
    sample = array_pass(block[:, ::2])
    return _from_labels(block, labels, floor=floor, acceleration="anderson", run_sample=sample)


def singular() -> Case:
    """The same without a floor, which ends at the last regular pass."""
    return floored(0.0)


def dead() -> Case:
    """A component that is far from all rows."""
    block, labels = separate_groups(n=300)
    two = _from_labels(
        block, labels % 2, acceleration="anderson", run_sample=array_pass(block[:, :150])
    )
    (start,) = two.starts()
    three = replace(
        start,
        weights=np.append(start.weights / 2, 0.5),
        means=np.vstack([start.means, np.full(3, 500.0)]),
        covariances=np.concatenate([start.covariances, 1e-4 * np.eye(3)[None]]),
    )
    return replace(two, starts=lambda: [three])


def lifted() -> Case:
    """Four questions of three answers each; one answer that a group gives now and then has
    probability zero where EM has got to, and would stay. The first two lifts are too far."""
    truth = np.array([[0.7, 0.2, 0.1] * 4, [0.1, 0.3, 0.6] * 4])
    truth[0, :3] = 0.9, 0.003, 0.1 - 0.003
    block = np.array(np.meshgrid(*[range(3)] * 4)).reshape(4, -1).astype(float)
    of = [np.prod([t[3 * j + block[j].astype(int)] for j in range(4)], axis=0) for t in truth]
    tables = np.array(truth)
    tables[0, :3] = 0.9, 0.0, 0.1
    none = np.zeros((2, 0))
    families = (Categorical((3,) * 4),)
    start = Parameters(STRUCTURES["VVI"], np.array([0.4, 0.6]), none, none, families, (tables,))
    by = plain_scales(np.zeros((0, 1)), STRUCTURES["VVI"])
    problem = Problem(by, np.zeros(0), acceleration="anderson")
    weights = 400 * of[0] + 600 * of[1]
    sample = Sample(block, weights, by, np.zeros(0), False, start.families)

    def starts() -> list[Parameters]:
        (stuck,) = advance(sample, [Candidate(start)], steps=400, tol=-1.0)
        return [stuck.parameters]

    return Case([problem], array_pass(block, weights), starts)


CASES: dict[str, Callable[[], Case]] = {
    **{name: (lambda name=name: golden(name)) for name in PARAMS},
    "full, to pass 11": lambda: golden("full", 10),
    "search, to pass 9": lambda: golden("search", 8),
    "plain EM": plain,
    "rejected": rejected,
    "lifted": lifted,
    "floored": floored,
    "singular": singular,
    "dead": dead,
    **{code: (lambda code=code: of_structure(code)) for code in (*CODES, "EVI", "VVE")},
}


def read(path: Path) -> FitState | MultiFit:
    with np.load(path, allow_pickle=False) as arrays:
        kind = MultiFit if "MultiFit" in path.name else FitState
        return kind.from_arrays(dict(arrays))


def write(state: FitState | MultiFit, folder: Path, name: str) -> Path:
    path = folder / f"{name}-{type(state).__name__}.npz"
    np.savez(path, **state.to_arrays())
    return path


def main(folder: str) -> None:
    for of_case in sorted(Path(folder).iterdir()):
        case = CASES[of_case.name]()
        for path in sorted(of_case.glob("killed-*.npz")):
            number = path.name.split("-")[1]
            write(case.run(read(path)), of_case, f"ended-{number}")


if __name__ == "__main__":
    main(*sys.argv[1:])
