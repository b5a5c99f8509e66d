"""A segmentation as far as a model's parameters and summary tell of it, without any rows."""

from __future__ import annotations

import numpy as np

import gmm_spark
from gmm_spark.description import cluster_sizes
from gmm_spark.engine.scoring import NOISE
from gmm_spark.mixture.families.categorical import split_tables
from gmm_spark.mixture.merging import pooled
from gmm_spark.model import GaussianMixtureModel
from gmm_spark.report.column_words import readable
from gmm_spark.report.describing import choice_of, fit_of
from gmm_spark.report.segments import (
    VERSION,
    CategoryProfile,
    Column,
    Kind,
    Membership,
    NumberProfile,
    Profile,
    Rows,
    Segment,
    Segments,
    ValueShare,
    Whole,
)
from gmm_spark.report.text import percent


def parameter_segments(model: GaussianMixtureModel) -> Segments:
    """Segments of the columns that a model reads: weights, means and standard deviations, rates,
    probabilities of values. "All rows" are what the mixture says of them, but for noise, which
    says nothing of a column and has no profile. Segments are named by their weights; what only
    rows can tell is empty."""
    found = _Moments(model)
    shares, numbers = found.weights.tolist(), list(range(len(found.weights)))
    if model.parameters.noise is not None:
        shares, numbers = [*shares, model.noiseWeight], [*numbers, NOISE]
    sizes, noise = cluster_sizes(model)
    rows = [int(size or 0) for size in (*sizes, noise)]
    total = sum(rows) if model.hasSummary else 0
    return Segments(
        version=VERSION,
        made_by=f"gmm_spark {gmm_spark.__version__}",
        noun="rows",
        rows=Rows(total=total, with_segment=total, without_segment=0, weight=1.0),
        columns=found.columns(),
        outcomes=[],
        segments=[
            Segment(
                segment=number,
                name=f"{percent(share)} of all",
                name_parts=[],
                words="",
                size=share,
                share=min(1.0, share),
                rows=rows[place],
                profile=[] if number == NOISE else found.profile(number, share),
                sets_apart=[],
                outcomes=[],
            )
            for place, (number, share) in enumerate(zip(numbers, shares, strict=True))
        ],
        whole=Whole(profile=found.profile(-1, 1.0)),
        membership=Membership(edges=[0.0, 1.0], segments=[]),
        quantiles="by the parameters alone, there are none",
        choice=choice_of(model),
        fit=fit_of(model),
    )


class _Moments:
    """Means, standard deviations and probabilities of every segment, and of all, the last."""

    def __init__(self, model: GaussianMixtureModel) -> None:
        of = model.parameters
        if model._merging is not None:
            of = pooled(of, model._merging.clusters)
        self.weights = of.weights
        features = model.getFeaturesCol()
        names = model._input_columns()
        if names is None:
            names = [f"{features}_{i}" for i in range(model.numFeatures)]
        self.numbers: list[tuple[str, Kind]] = [(name, "number") for name in names]
        self.numbers += [(name, "count") for name in _names(model, "counts")]
        means = np.concatenate([of.means, of.rates], axis=1)
        # A count is Poisson distributed: its variance is its mean.
        variances = np.concatenate([of.variances(), of.rates], axis=1)
        shares = of.weights / of.weights.sum()
        centre = shares @ means
        spread = shares @ (variances + (means - centre) ** 2)
        self.means = np.vstack([means, centre])
        self.deviations = np.sqrt(np.vstack([variances, spread]))
        levels = model.categories
        tables = split_tables(np.vstack([of.tables, shares @ of.tables]), of.levels)
        self.values = dict(zip(levels, zip(levels.values(), tables, strict=True), strict=True))

    def columns(self) -> list[Column]:
        kinds: list[tuple[str, Kind]] = [*self.numbers, *((n, "category") for n in self.values)]
        return [
            Column(
                name=name, words=readable(name), kind=kind, in_model=True, describes_a_person=False
            )
            for name, kind in kinds
        ]

    def profile(self, place: int, weight: float) -> list[Profile]:
        """Of a segment by its place; -1 is all."""
        found: list[Profile] = []
        for i, (name, kind) in enumerate(self.numbers):
            mean, deviation = float(self.means[place, i]), float(self.deviations[place, i])
            apart, spread = mean - float(self.means[-1, i]), float(self.deviations[-1, i])
            found.append(
                NumberProfile(
                    kind=kind,
                    column=name,
                    known=weight,
                    missing=None,
                    mean=mean,
                    standard_deviation=deviation,
                    quantiles=None,
                    standard_units=apart / spread if spread > 0 else 0.0,
                )
            )
        for name, (levels, table) in self.values.items():
            shares = zip(levels, np.clip(table[place], 0.0, 1.0).tolist(), strict=True)
            found.append(
                CategoryProfile(
                    kind="category",
                    column=name,
                    known=weight,
                    missing=None,
                    values=[ValueShare(value=level, share=share) for level, share in shares],
                    other=None,
                )
            )
        return found


def _names(model: GaussianMixtureModel, family: str) -> list[str]:
    return [n for one in model._family_columns() if one.family.name == family for n in one.names]
