"""Eight kinds of fit on tables made from a seed, and what is kept of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

# A start is sought on fewer rows than there are, so that every fit has passes to make.
_SEARCHED = {"numInit": 4, "sampleSize": 500, "seed": 3}


def _groups(rng: np.random.Generator, n: int, centres: Any, spread: Any) -> tuple[Any, Any]:
    """n rows in groups that touch, and the group of each."""
    centres, spread = np.asarray(centres, dtype=float), np.asarray(spread, dtype=float)
    group = rng.choice(
        len(centres), n, p=np.arange(len(centres), 0, -1) / np.arange(len(centres) + 1).sum()
    )
    noise = rng.normal(size=(n, centres.shape[1]))
    return centres[group] + np.einsum("nij,nj->ni", spread[group], noise), group


def _three(seed: int, n: int = 2000) -> tuple[Any, Any, np.random.Generator]:
    rng = np.random.default_rng(seed)
    spread = [
        [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.3, 1.2]],
        [[0.7, 0.0, 0.0], [-0.5, 1.1, 0.0], [0.2, 0.0, 0.5]],
        [[1.5, 0.0, 0.0], [0.0, 0.4, 0.0], [0.4, 0.4, 0.9]],
    ]
    rows, group = _groups(rng, n, [[0, 0, 0], [3, 1, -1], [0, 4, 2]], spread)
    return rows, group, rng


def _full() -> pd.DataFrame:
    return pd.DataFrame(_three(1)[0], columns=list("abc"))


def _tied() -> pd.DataFrame:
    rows, _, rng = _three(2)
    return pd.DataFrame(rows, columns=list("abc")).assign(
        w=rng.integers(1, 4, len(rows)).astype(float)
    )


def _gaps() -> pd.DataFrame:
    rows, _, rng = _three(3)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    return pd.DataFrame(rows[~np.isnan(rows).all(axis=1)], columns=list("abc"))


def _categories() -> pd.DataFrame:
    rows, group, rng = _three(4)
    frame = pd.DataFrame(rows[:, :2], columns=list("ab"))
    likely = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.1, 0.6]])
    frame["plan"] = [rng.choice(["basic", "plus", "team"], p=likely[g]) for g in group]
    frame["paper"] = rng.random(len(group)) < np.array([0.9, 0.4, 0.1])[group]
    return frame


def _counts() -> pd.DataFrame:
    rows, group, rng = _three(5)
    calls = rng.poisson(np.array([1.0, 4.0, 9.0])[group])
    visits = rng.poisson(np.array([3.0, 0.5, 2.0])[group])
    return pd.DataFrame({"a": rows[:, 0], "calls": calls, "visits": visits})


def _labels() -> pd.DataFrame:
    rows, group, rng = _three(6)
    rows[:60] = rng.uniform(-15, 15, (60, 3))
    known = np.where((rng.random(len(rows)) < 0.1) & (np.arange(len(rows)) >= 60), group, np.nan)
    return pd.DataFrame(rows, columns=list("abc")).assign(known=pd.array(known).astype("Int32"))


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "full": _full,
    "diag": _full,
    "tied": _tied,
    "gaps": _gaps,
    "categories": _categories,
    "counts": _counts,
    "labels and noise": _labels,
    "search": _full,
}
_COLUMNS = {"inputCols": ["a", "b", "c"]}
PARAMS: dict[str, dict[str, Any]] = {
    "full": {"k": 3, **_COLUMNS},
    "diag": {"k": 3, **_COLUMNS, "covarianceType": "diag"},
    "tied": {"k": 3, **_COLUMNS, "covarianceType": "tied", "weightCol": "w"},
    "gaps": {"k": 3, **_COLUMNS, "missing": "marginalize"},
    "categories": {"k": 3, "inputCols": ["a", "b"], "categoricalCols": ["plan", "paper"]},
    "counts": {"k": 3, "inputCols": ["a"], "countCols": ["calls", "visits"]},
    "labels and noise": {
        "k": 3, **_COLUMNS, "labelCol": "known", "noise": True, "contamination": 0.02,
    },
    "search": {"k": [1, 2, 3, 4], **_COLUMNS, "covarianceType": ["full", "diag"]},
}  # fmt: skip


def estimator(case: str) -> Any:
    from gmm_spark import GaussianMixture, GaussianMixtureSearch

    kind = GaussianMixtureSearch if case == "search" else GaussianMixture
    return kind(**PARAMS[case], **_SEARCHED)


def kept(model: Any) -> dict[str, Any]:
    """What a fit ended in and the way it took, as plain values."""
    parameters, summary = model.parameters, model.summary
    found: dict[str, Any] = {
        "structure": parameters.structure.code,
        "weights": np.asarray(parameters.weights).tolist(),
        "means": parameters.means.tolist(),
        "covariances": parameters.covariances.tolist(),
        "tables": parameters.tables.tolist(),
        "rates": parameters.rates.tolist(),
        "logLikelihood": summary.logLikelihood,
        "icl": summary.icl,
        "reason": summary.reason,
        "passes": [[h["kind"], h["meanLogLikelihood"]] for h in summary.history[1:]],
        "candidates": [[c["k"], c["numParameters"], c["criterion"]] for c in summary.candidates],
    }
    if parameters.noise is not None:
        found["noise"] = [parameters.noise.weight, *parameters.noise.log_widths.tolist()]
    if model.getOutlierThreshold() is not None:
        found["outlierThreshold"] = model.getOutlierThreshold()
    return found
