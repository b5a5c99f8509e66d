"""Rows drawn from a mixture, inside a task.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gmm_spark.engine.scoring import NOISE, dense_vectors
from gmm_spark.mixture.families import FamilyColumns
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters

# Rows are drawn in blocks of this many, each from the seed and its own number: which task draws
# a block makes no difference, and the first rows are the same however many there are.
BLOCK = 8192


@dataclass(frozen=True)
class Sampling:
    """Draws the blocks whose numbers it is sent, of `n` rows in all, for `mapInArrow`.

    What comes out: the numeric columns, or one of vectors, those of the families, and the
    component, -1 for noise.
    """

    parameters: Parameters
    families: tuple[FamilyColumns, ...]
    vectors: bool
    n: int
    seed: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield self._block(number)

    def _block(self, number: int) -> pa.RecordBatch:
        rows = min(BLOCK, self.n - number * BLOCK)
        component, values, others = draw(self.parameters, self.seed, number)
        values = values[:, :rows]
        numbers = [pa.array(row) for row in values]
        if self.vectors:
            numbers = [dense_vectors(values, np.zeros(rows, dtype=bool))]
        for columns, drawn in zip(self.families, others, strict=True):
            numbers += _columns(columns, drawn[:, :rows])
        arrays = [*numbers, pa.array(component[:rows].astype(np.int32))]
        return pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])


def _columns(columns: FamilyColumns, values: Array) -> list[pa.Array]:
    """The columns of a family as they stand in a table."""
    if columns.categories:
        return [
            pa.array(category.levels, pa.string()).take(pa.array(row.astype(np.int64)))
            for category, row in zip(columns.categories, values, strict=True)
        ]
    if columns.family.whole:
        return [pa.array(row.astype(np.int64)) for row in values]
    return [pa.array(row) for row in values]


def draw(
    parameters: Parameters, seed: int, number: int
) -> tuple[NDArray[np.intp], Array, list[Array]]:
    """A block of rows: their components (BLOCK,), NOISE among them, numbers (d, BLOCK), and the
    columns of every family (num_columns, BLOCK)."""
    rng = np.random.default_rng([seed, number])
    cumulated = np.cumsum(parameters.all_weights)
    component = np.searchsorted(cumulated, rng.random(BLOCK) * cumulated[-1], side="right")
    component = np.minimum(component, cumulated.size - 1)
    values = rng.normal(size=(parameters.d, BLOCK))
    pairs = zip(parameters.families, parameters.family_parameters, strict=True)
    others = [family.draw(own, component, rng) for family, own in pairs]
    deviations = np.sqrt(parameters.variances())
    for k in range(parameters.k):
        mine = np.flatnonzero(component == k)
        drawn = values[:, mine]
        if parameters.structure.kind == "full" and parameters.d:
            scale = np.outer(deviations[k], deviations[k])
            drawn = np.linalg.cholesky(parameters.per_component()[k] / scale) @ drawn
        values[:, mine] = parameters.means[k][:, None] + deviations[k][:, None] * drawn
    noise, mine = parameters.noise, np.flatnonzero(component == parameters.k)
    if noise is not None and noise.lowest is not None and noise.is_placed:
        uniform = rng.random((parameters.d, BLOCK))[:, mine]
        widths = np.exp(noise.log_widths)[:, None]
        values[:, mine] = noise.lowest[:, None] + widths * uniform
        for family, where, drawn in zip(parameters.families, noise.ranges, others, strict=True):
            of_noise = family.draw_uniform(where, BLOCK, rng)
            if of_noise is not None:
                drawn[:, mine] = of_noise[:, mine]
    return np.where(component == parameters.k, NOISE, component), values, others
