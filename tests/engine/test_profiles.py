"""Profiles summed in tasks: the same however rows are cut, and their sample is like the rows."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from gmm_spark.engine.outcomes import OutcomeWork
from gmm_spark.engine.profiles import MOST_VALUES, Moments, ProfileWork, Values, merged
from gmm_spark.engine.scoring import BatchScoring, Scorer
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.structures import structure_named


@pytest.fixture(scope="module")
def work() -> ProfileWork:
    parameters = Parameters(
        structure_named("full"), np.array([0.6, 0.4]), np.array([[0.0], [3.0]]), np.ones((2, 1, 1))
    )
    scorer = Scorer(parameters, "error", ("x",))
    scoring = BatchScoring(("x",), 0, scorer, ("x",), "features", ("",) * 6)
    return ProfileWork(OutcomeWork(scoring, (), None, 100), 2, 1, 1000)


def table(n: int, seed: int = 0) -> pa.RecordBatch:
    """Half of the rows are the same row."""
    rng = np.random.default_rng(seed)
    same = rng.random(n) < 0.5
    x = np.where(same, 1.0, rng.normal(1.0, 2.0, n))
    y = np.where(same, 7.0, rng.normal(0.0, 1.0, n))
    y[rng.random(n) < 0.1] = np.nan
    words = np.where(same, "a", rng.choice(["b", "c"], n))
    columns = [pa.array(x), pa.array(x), pa.array(y), pa.array(words.tolist())]
    return pa.RecordBatch.from_arrays(columns, ["0", "1", "2", "3"])


def cut(batch: pa.RecordBatch, rows: int) -> list[pa.RecordBatch]:
    return [batch.slice(start, rows) for start in range(0, batch.num_rows, rows)]


def test_sums_are_the_same_however_rows_are_cut(work) -> None:
    batch = table(900)
    whole = work.found([batch])
    shuffled = batch.take(pa.array(np.random.default_rng(1).permutation(900)))
    parts = [work.found(cut(part, 37)) for part in cut(shuffled, 300)]
    parts = [pickle.loads(pickle.dumps(part)) for part in parts]
    again = merged([work.nothing(), *parts], 1000, 100)
    assert whole.rows.tolist() == again.rows.tolist()
    for name in ("size", "together", "certainty", "known_rows"):
        assert_allclose(getattr(whole, name), getattr(again, name), rtol=1e-12)
    assert_allclose(whole.counted.mean, again.counted.mean, rtol=1e-12)
    assert_allclose(whole.moments.mean, again.moments.mean, rtol=1e-12)
    assert_allclose(whole.moments.deviation, again.moments.deviation, rtol=1e-10)
    one, other = whole.categories[0], again.categories[0]
    for i, value in enumerate(one.values):
        assert_allclose(one.weights[i], other.weights[other.values.index(value)], rtol=1e-12)
    # Of so few rows all are sampled, with what stands in them.
    assert again.sample.hashes.size == 900
    texts = np.array(other.values)[again.sample.codes[0]]
    rows = sorted(zip(again.sample.numbers[0].tolist(), texts.tolist(), strict=True))
    wanted = sorted(zip(batch.column(1).to_pylist(), batch.column(3).to_pylist(), strict=True))
    assert rows == wanted


def test_a_sample_is_like_the_rows_also_where_many_are_the_same(work) -> None:
    work = replace(work, sent=2000)
    batch = table(60_000)
    found = merged([work.found(cut(part, 1000)) for part in cut(batch, 30_000)], 2000, 100).sample
    n = found.hashes.size
    assert 1900 <= n <= 2000
    same = (found.numbers[0] == 1.0).mean()
    everywhere = (batch.column(1).to_numpy() == 1.0).mean()
    assert abs(same - everywhere) < 4 * np.sqrt(0.25 / n)
    others = found.numbers[0][found.numbers[0] != 1.0]
    assert abs(others.mean() - 1.0) < 4 * 2 / np.sqrt(others.size)
    assert abs(others.std() - 2.0) < 0.2


def test_moments_keep_their_digits_and_merge() -> None:
    rng = np.random.default_rng(2)
    probability = rng.dirichlet([1, 1, 1], 500).T
    values = 1e9 + rng.normal(size=(1, 500))
    parts = [Moments.of(probability[:, at], values[:, at]) for at in (slice(200), slice(200, None))]
    found = parts[0] + parts[1]
    for j, p in enumerate(probability):
        mean = np.average(values[0] - 1e9, weights=p)
        assert found.mean[j, 0] - 1e9 == pytest.approx(mean, abs=1e-6)
        variance = np.average((values[0] - 1e9 - mean) ** 2, weights=p)
        assert found.deviation[j, 0] == pytest.approx(np.sqrt(variance), rel=1e-6)
    rest = found.rest()
    others = probability[1] + probability[2]
    assert rest.weight[0, 0] == pytest.approx(others.sum())
    assert rest.mean[0, 0] == pytest.approx(np.average(values[0], weights=others), rel=1e-15)


def test_of_too_many_values_none_is_kept() -> None:
    half = tuple(str(i) for i in range(MOST_VALUES // 2 + 1))
    other = tuple(f"x{i}" for i in range(MOST_VALUES // 2 + 1))
    one, two = (Values(v, np.ones((len(v), 2)), np.zeros(2)) for v in (half, other))
    assert not (one + one).too_many
    for found in (one + two, two + one, one + two + one):
        assert found.too_many
        assert not found.values
