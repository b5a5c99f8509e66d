"""What is said of segments by columns that hardly any of their rows know."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from gmm_spark.engine.outcomes import OutcomeWork
from gmm_spark.engine.profiles import ProfileWork
from gmm_spark.engine.scoring import BatchScoring, Scorer
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import structure_named
from gmm_spark.report.profiled import Profiled
from gmm_spark.report.segments import CategoryProfile, NumberProfile


@pytest.fixture(scope="module")
def profiled() -> Profiled:
    """Two segments about 0 and 7; only rows of the second have a gap between purchases and a plan,
    and rows of the second are a little of the first."""
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(0, 1, 300), rng.normal(7, 1, 300)])
    known = np.arange(600) >= 300
    gap = np.where(known, rng.normal(50, 10, 600), np.nan)
    plan = np.where(known, "yearly", None).tolist()
    parameters = Parameters(
        structure_named("full"), np.array([0.5, 0.5]), np.array([[0.0], [7.0]]), np.ones((2, 1, 1))
    )
    scorer = Scorer(parameters, "error", ("x",))
    scoring = BatchScoring(("x",), 0, scorer, ("x",), "features", ("",) * 6)
    work = ProfileWork(OutcomeWork(scoring, (), None, 100), 2, 1, 1000)
    columns = [pa.array(x), pa.array(x), pa.array(gap), pa.array(plan, pa.string())]
    found = work.found([pa.RecordBatch.from_arrays(columns, list("0123"))])
    assert 0 < found.moments.weight[0, 1] < 0.5 < found.moments.weight[1, 1]
    kinds = {"x": "number", "gap": "number", "plan": "category"}
    return Profiled(found, kinds, ["x", "gap"], ["plan"], {})  # type: ignore[arg-type]


def test_less_than_half_a_row_is_no_row(profiled) -> None:
    _, gap, plan = profiled.profile(0)
    assert isinstance(gap, NumberProfile)
    assert gap.known == 0
    assert gap.missing == 1
    assert (gap.mean, gap.quantiles, gap.standard_units, gap.distribution) == (None,) * 4
    assert isinstance(plan, CategoryProfile)
    assert [one.share for one in plan.values] == [None]
    assert {one.column for one in profiled.differences(0)} == {"x"}
    _, gap, _ = profiled.profile(1)
    assert isinstance(gap, NumberProfile)
    assert gap.mean == pytest.approx(50, abs=3)
