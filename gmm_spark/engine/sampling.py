"""Rows drawn from a mixture, inside a task.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gmm_spark.engine.columns import Category
from gmm_spark.engine.scoring import NOISE, dense_vectors
from gmm_spark.mixture.parameters import Array, Parameters, even_table, split_tables

# Rows are drawn in blocks of this many, each from the seed and its own number: which task draws
# a block makes no difference, and the first rows are the same however many there are.
BLOCK = 8192


@dataclass(frozen=True)
class Sampling:
    """Draws the blocks whose numbers it is sent, of `n` rows in all, for `mapInArrow`.

    What comes out: the numeric columns, or one of vectors, the categories, the counts, and the
    component, -1 for noise.
    """

    parameters: Parameters
    categories: tuple[Category, ...]
    vectors: bool
    n: int
    seed: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield self._block(number)

    def _block(self, number: int) -> pa.RecordBatch:
        rows = min(BLOCK, self.n - number * BLOCK)
        component, values, codes, counts = draw(self.parameters, self.seed, number)
        values = values[:, :rows]
        numbers = [pa.array(row) for row in values]
        if self.vectors:
            numbers = [dense_vectors(values, np.zeros(rows, dtype=bool))]
        texts = [
            pa.array(category.levels, pa.string()).take(pa.array(row[:rows]))
            for category, row in zip(self.categories, codes, strict=True)
        ]
        whole = [pa.array(row[:rows].astype(np.int64)) for row in counts]
        arrays = [*numbers, *texts, *whole, pa.array(component[:rows].astype(np.int32))]
        return pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])


def draw(
    parameters: Parameters, seed: int, number: int
) -> tuple[NDArray[np.intp], Array, NDArray[np.intp], Array]:
    """A block of rows: their components (BLOCK,), NOISE among them, numbers (d, BLOCK), codes of
    the categories (q, BLOCK) and counts (c, BLOCK)."""
    rng = np.random.default_rng([seed, number])
    cumulated = np.cumsum(parameters.all_weights)
    component = np.searchsorted(cumulated, rng.random(BLOCK) * cumulated[-1], side="right")
    component = np.minimum(component, cumulated.size - 1)
    values = rng.normal(size=(parameters.d, BLOCK))
    chances = rng.random((len(parameters.levels), BLOCK))
    rates = np.vstack([parameters.rates, np.zeros((1, parameters.counts))])
    counts = rng.poisson(rates[component].T).astype(float)
    deviations = np.sqrt(parameters.variances())
    for k in range(parameters.k):
        mine = np.flatnonzero(component == k)
        drawn = values[:, mine]
        if parameters.structure.kind == "full" and parameters.d:
            scale = np.outer(deviations[k], deviations[k])
            drawn = np.linalg.cholesky(parameters.per_component()[k] / scale) @ drawn
        values[:, mine] = parameters.means[k][:, None] + deviations[k][:, None] * drawn
    noise, mine = parameters.noise, np.flatnonzero(component == parameters.k)
    tables = np.vstack([parameters.tables, even_table(parameters.levels)])
    if noise is not None and noise.lowest is not None and noise.least_counts is not None:
        uniform = rng.random((parameters.d + parameters.counts, BLOCK))[:, mine]
        widths = np.exp(noise.log_widths)[:, None]
        values[:, mine] = noise.lowest[:, None] + widths * uniform[: parameters.d]
        places = np.floor(np.exp(noise.log_values)[:, None] * uniform[parameters.d :] + 1e-9)
        counts[:, mine] = noise.least_counts[:, None] + places
    codes = np.empty(chances.shape, dtype=np.intp)
    for row, table in enumerate(split_tables(tables, parameters.levels)):
        ends = np.cumsum(table, axis=1)[component]
        place = (chances[row][:, None] * ends[:, -1:] >= ends).sum(axis=1)
        codes[row] = np.minimum(place, table.shape[1] - 1)
    return np.where(component == parameters.k, NOISE, component), values, codes, counts
