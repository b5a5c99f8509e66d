"""The fitted mixture as a pyspark.ml Model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from pyspark.ml import Model
from pyspark.ml.linalg import DenseMatrix, DenseVector, Vector, Vectors
from pyspark.ml.stat import MultivariateGaussian
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.mllib.linalg import DenseMatrix as OldMatrix
from pyspark.mllib.linalg import DenseVector as OldVector
from pyspark.sql import DataFrame

from gmm_spark.description import line, segments
from gmm_spark.engine.cluster import needed_session
from gmm_spark.engine.inputs import check_data, column_names, whole
from gmm_spark.engine.parquet import (
    ParquetTable,
    table_frame,
)
from gmm_spark.errors import ConfigurationError, InputDataError, refusals
from gmm_spark.explanations import explained
from gmm_spark.given_parameters import assembled
from gmm_spark.handover import to_mllib, to_onnx, to_sklearn
from gmm_spark.imputation import imputed, predicted
from gmm_spark.merging import merging_of
from gmm_spark.mixture.families import Category, FamilyColumns
from gmm_spark.mixture.families.categorical import split_tables
from gmm_spark.mixture.incremental import KeptStatistics
from gmm_spark.mixture.merging import Merging
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.segmentation.candidates import RULES
from gmm_spark.mixture.spec import SETTINGS
from gmm_spark.mixture.structures import structure_named
from gmm_spark.outcomes import outcome_table
from gmm_spark.params import GaussianMixtureParams, own, with_settings
from gmm_spark.persistence import ModelReader, ModelWriter
from gmm_spark.sampling import drawn_rows
from gmm_spark.scoring import scored_row, transformed, transformed_table
from gmm_spark.statement import to_sql
from gmm_spark.summary import GaussianMixtureSummary
from gmm_spark.updating import updated_model

if TYPE_CHECKING:
    from gmm_spark.report.plots import Plots


@with_settings(SETTINGS, sets=[each for each in SETTINGS if each.of_model])
class GaussianMixtureModel(Model, GaussianMixtureParams, MLWritable, MLReadable):  # type: ignore[misc]
    """A Gaussian mixture, fitted by `GaussianMixture` or made by `fromParameters`.

    Attributes
    ----------
    weights : list of k floats, largest first; components keep the numbers of labelCol,
        initialModel, or the model that was updated
    means : ndarray (k, d), in the user's units
    covariances : ndarray (k, d, d)
    """

    inputExpressions = own(
        "inputExpressions",
        "SQL expressions that columns were made by before the fit, each with its name: "
        "log1p(total) as log_total",
        "texts",
    )

    def __init__(
        self,
        parameters: Parameters | None = None,
        summary: GaussianMixtureSummary | None = None,
        categories: tuple[Category, ...] = (),
    ) -> None:
        super().__init__()
        self._parameters = parameters
        self._summary = summary
        self._categories = categories
        self._merging: Merging | None = None
        self._statistics: KeptStatistics | None = None

    @staticmethod
    @refusals()
    def fromParameters(
        weights: Any,
        means: Any = None,
        covariances: Any = None,
        *,
        covarianceType: str = "full",
        inputCols: list[str] | None = None,
        featuresCol: str = "features",
        categories: Mapping[str, tuple[Sequence[Any], Any]] | None = None,
        countCols: list[str] | None = None,
        rates: Any = None,
        noiseWeight: float = 0.0,
        noiseBox: Any = None,
    ) -> GaussianMixtureModel:
        """A model of given parameters, to start a fit from or to score with.

        Parameters
        ----------
        weights : (k,), summing to 1, or with `noiseWeight` to 1
        means : (k, d); None where there are no numeric columns
        covariances : in the shape of `covarianceType`: full (k, d, d), tied (d, d), diag
            (k, d), spherical (k,), EEI (d,), EII a number
        categories : for every categorical column its values, L of them, and their probabilities
            (k, L); "(other)" as the last value stands for all that are not named
        countCols, rates : columns of counts, and their means (k, counts)
        noiseWeight, noiseBox : weight of the uniform component, and its box: the lowest and the
            highest value of every numeric column and count, by name, or in their order

        Raises ConfigurationError where they are not a mixture.
        """
        covarianceType = covarianceType or "full"
        parameters, found = assembled(
            weights,
            means,
            covariances,
            covarianceType,
            inputCols,
            {} if categories is None else categories,
            countCols or (),
            rates,
            noiseWeight,
            noiseBox,
        )
        model = GaussianMixtureModel(parameters, None, found)
        name = structure_named(covarianceType).name
        model._set(k=parameters.k, covarianceType=name, featuresCol=featuresCol)
        if inputCols is not None:
            model._set(inputCols=list(inputCols))
        if found:
            model._set(categoricalCols=[category.name for category in found])
        if countCols:
            model._set(countCols=list(countCols))
        return model

    @property
    def parameters(self) -> Parameters:
        """Weights, means and covariances in the compact form of the structure."""
        if self._parameters is None:
            raise ConfigurationError("this model has no parameters; fit one or load one")
        return self._parameters

    def _family_columns(self) -> tuple[FamilyColumns, ...]:
        """The columns of every family that the model is of."""
        found, categories = [], iter(self._categories)
        for family in self.parameters.families:
            own = tuple(islice(categories, family.num_columns)) if family.told_apart else ()
            names = [one.name for one in own] or list(self._columns.of_family(type(family)))
            found.append(FamilyColumns(family, tuple(names), own))
        return tuple(found)

    @property
    def weights(self) -> list[float]:
        """Weights of the components, k of them, summing to 1 (with noise, to 1 less its weight),
        largest first unless components have the numbers of labelCol, initialModel or the model
        that was updated; as an array they are in `parameters.weights`."""
        return self.parameters.weights.tolist()

    @property
    def means(self) -> Array:
        """Means of the components, (k, d), in the user's units."""
        return self.parameters.means

    @property
    def covariances(self) -> Array:
        """Covariance matrices of the components, (k, d, d), in the user's units."""
        return self.parameters.dense_covariances()

    @property
    def numFeatures(self) -> int:
        """Number of numeric columns the model is of."""
        return self.parameters.d

    @property
    def categories(self) -> dict[str, list[str]]:
        """The values of every categorical column that the model tells apart."""
        return {category.name: list(category.levels) for category in self._categories}

    def probabilities(self, column: str) -> Array:
        """Probabilities of the values of a categorical column, (k, values), in their order in
        `categories`. ConfigurationError where there is no such column."""
        names = list(self.categories)
        if column not in names:
            known = ", ".join(names) or "none"
            raise ConfigurationError(
                f"there is no categorical column {column!r}; there are {known}"
            )
        tables = split_tables(self.parameters.tables, self.parameters.levels)
        return tables[names.index(column)]

    @property
    def rates(self) -> Array:
        """Means of the counts in every component, (k, counts), in the order of `countCols`."""
        return self.parameters.rates

    @property
    def noiseWeight(self) -> float:
        """Weight of the noise; 0 for a model without."""
        noise = self.parameters.noise
        return 0.0 if noise is None else noise.weight

    @property
    def gaussians(self) -> list[MultivariateGaussian]:
        """The components, as MLlib's `MultivariateGaussian`."""
        d = self.numFeatures
        return [
            MultivariateGaussian(DenseVector(mean), DenseMatrix(d, d, cov.ravel(order="F")))
            for mean, cov in zip(self.means, self.covariances, strict=True)
        ]

    @property
    def gaussiansDF(self) -> DataFrame:
        """A row a component: mean (Vector) and cov (Matrix), as MLlib's."""
        d = self.numFeatures
        rows = [
            (OldVector(mean), OldMatrix(d, d, cov.ravel(order="F")))
            for mean, cov in zip(self.means, self.covariances, strict=True)
        ]
        return needed_session().createDataFrame(rows, ["mean", "cov"])

    @property
    def clusters(self) -> list[list[int]]:
        """The components of every cluster that `transform` predicts, in the order of the clusters'
        numbers: each of its own, until `mergeComponents` has merged some."""
        if self._merging is None:
            return [[component] for component in range(self.parameters.k)]
        return [list(cluster) for cluster in self._merging.clusters]

    @property
    def mergeHierarchy(self) -> list[dict[str, Any]]:
        """The merges of all components into one cluster, a dictionary each, in their order:
        `clusters` there are after it, `first` and `second`, the components of the two clusters
        that became one, and `entropyBefore` and `entropy`, of the assignment of the rows before
        and after it (summed over rows, by weight, in nats), or `distance`, Bhattacharyya's of the
        two. Empty for a model whose components were not merged. `spark.createDataFrame` takes it.
        """
        return [] if self._merging is None else self._merging.hierarchy.table()

    @refusals()
    def mergeComponents(
        self, dataset: DataFrame | ParquetTable | None, k: int, by: str = "entropy"
    ) -> GaussianMixtureModel:
        """A model of the same mixture whose predictions are k clusters, each of one component or
        of several that make one cluster together: a cluster need not be normal.

        The components are merged two at a time, from K on: by "entropy" those two clusters between
        which the rows are least certain, so that the entropy of their assignment falls most
        (Baudry, Raftery, Celeux, Lo and Gottardo 2010, as mclust's `clustCombi`); by
        "bhattacharyya" those two that lie nearest to each other, a merged cluster standing for one
        component of the same mean and covariance (after Hennig 2010), for which no rows are needed.

        Of the new model `prediction` (0 to k - 1), `probability` (k entries), `uncertainty` and
        `describe` are the clusters', `componentCol` has the component, `clusters` says which
        components are in which cluster, and `mergeHierarchy` has all merges, down to one cluster.
        Parameters, log densities, outliers, `impute`, `sample` and the summary of the fit stay the
        components'. Clusters are numbered by weight, largest first, or, where components have
        numbers of their own (labelCol, initialModel), by the first component in each. Noise is
        merged with nothing and stays -1.

        By entropy the result is exact for all the rows: they are scanned once, and once more where
        they are many, since a sample foretells which sums all merges will need; where it is
        mistaken, once for every mistake. Rows with gaps are taken as `missing` says, weights by
        `weightCol`; `labelCol` is not looked at. A merged model may be merged again, from its
        components on.

        Parameters
        ----------
        dataset : the rows the model was fitted to, or others; with "bhattacharyya" they are only
            counted, and None will do
        k : number of clusters, 1 to the number of components
        by : "entropy" or "bhattacharyya"

        Raises ConfigurationError where k or by is none of these, InputDataError where the rows
        cannot be used.
        """
        if dataset is not None or by == "entropy":
            check_data(dataset, (DataFrame, ParquetTable), "mergeComponents")
        if isinstance(dataset, DataFrame) and dataset.isStreaming:
            raise InputDataError("mergeComponents takes data that are all there, and not a stream")
        merged = self.copy()
        merged._merging = merging_of(self, dataset, whole("k", k), by)
        return merged

    def update(
        self,
        dataset: DataFrame | ParquetTable,
        *,
        halfLife: float | None = None,
        elapsed: float = 1.0,
    ) -> GaussianMixtureModel:
        """A model updated by new rows alone, as `partial_fit` of scikit-learn; this one stays.

        A model keeps the sufficient statistics of its last E-step: by component the weight of the
        rows, their mean and scatter, what categories and counts sum to. An update is one step of
        EM: the new rows are evaluated under this model, the kept statistics are multiplied by
        0.5 ** (elapsed / halfLife), those of the new rows added, and the M-step of the fit gives
        the new parameters: above its floor, beside its priors, in its covariance structure. With
        no half-life that is the incremental EM of Neal and Hinton (1998), and `update` of a model
        `fromParameters` by all rows is a step of EM; with one, the online EM of Cappe and Moulines
        (2009). The rows of the past are not read again.

        What the columns are stays as it was fitted: the values of categories, scales, recording
        resolution and floor, priors, outlierThreshold. Components keep their numbers, merged ones
        their clusters. A component that no new rows come to keeps its mean and covariance, and
        fades; one that has lost all its rows has weight 0 and does not come back.

        `summary` is of the new rows under this model: `meanLogLikelihood`, which falls where they
        drift away from it, sizes, gaps; `summary.update` has the weights. Rows are read as `fit`
        reads them, with `weightCol`, `labelCol` and `missing`; a DataFrame is packed once. One row
        is enough. On a stream, call it in `foreachBatch`.

        Parameters
        ----------
        dataset : the new rows, each in one update only
        halfLife : time after which the rows so far count for half; more than 0, None: for ever
        elapsed : time since the rows before, in the same unit. With 1, half-lives are in updates,
            as `setHalfLife(..., "batches")` of MLlib's StreamingKMeans has them

        Raises ConfigurationError where this model came from a fit and keeps no statistics (it was
        saved by an earlier release, or stayed as it was found on a sample), or halfLife or elapsed
        is no such number; InputDataError where there are no rows or they cannot be used.
        """
        check_data(dataset, (DataFrame, ParquetTable), "update")
        if isinstance(dataset, DataFrame) and dataset.isStreaming:
            raise InputDataError(
                "update takes rows that are all there, and not a stream; call it on the batches "
                "of one, in foreachBatch"
            )
        return updated_model(self, dataset, halfLife, elapsed)

    def describe(self) -> DataFrame:
        """The segments, a row each (the clusters, where components were merged into such), with
        these columns:

        segment : int, the number that `transform` predicts; -1, the last, is noise
        weight : double
        size : bigint, rows of the fit, or of the merging, most probably in it; null where there
            was none
        <column>_mean, <column>_sd : double, of every column of `inputCols`, in the user's units
            (of a vector column named features: features_0_mean, ...)
        <column>_rate : double, the mean of every column of `countCols`
        <column>_value, <column>_probability : string and double, the most probable value of every
            column of `categoricalCols`

        All but the first three are null for noise.
        """
        return segments(self)

    def __repr__(self) -> str:
        return line(self)

    def _repr_html_(self) -> str:
        from gmm_spark.report.notebook import model_html

        return model_html(self)

    @property
    def hasSummary(self) -> bool:
        """Whether the model knows the fit it came from; a saved model takes it along, which
        MLlib's does not."""
        return self._summary is not None

    @property
    def _origin(self) -> str:
        """How the division was come to, where it was chosen among several: else empty."""
        tried = self._summary.candidates if self._summary is not None else []
        return tried[0].get("origin") or "" if tried else ""

    @property
    def _is_a_rule(self) -> bool:
        """Whether its segments are those of k-means, columns weighted or not: of a rule, and of no
        mixture that was fitted."""
        return self._origin in RULES

    @property
    def summary(self) -> GaussianMixtureSummary:
        """Figures of the fit; RuntimeError where the model did not come from one."""
        if self._summary is None:
            raise RuntimeError("this model did not come from a fit: it has no summary")
        return self._summary

    def predict(self, value: Vector) -> int:
        """The most probable component, or cluster, of one row; -1 is noise."""
        return int(scored_row(self, value).prediction[0])

    def predictProbability(self, value: Vector) -> DenseVector:
        """The probability of every component, or cluster, for one row, and of the noise, where
        there is one."""
        return Vectors.dense(scored_row(self, value).probability[:, 0])

    def transform(self, dataset: DataFrame | ParquetTable, params: Any = None) -> DataFrame:
        """The rows of `dataset` with the output columns; works on streams too.

        In this order, the first two as MLlib's: probabilityCol vector, predictionCol int,
        logLikelihoodCol and uncertaintyCol double, outlierCol boolean where there is an
        outlierThreshold, componentCol int where components were merged into clusters; an output
        column with an empty name is left out. The attributes of the first two say how many
        components, or clusters, there are. Noise has prediction -1 and the last probability. A
        category's value that the model has not seen counts as the column's "(other)" value, if it
        has one, else as a gap, for which see `missing`. All columns of a DataFrame pass through
        the Python workers, but where Arrow cannot carry one of them: select those you want before,
        not after. A `ParquetTable` is read by the workers themselves, and keeps the columns it
        names.

        Raises ConfigurationError where an output column exists, InputDataError where an input
        column is missing or not numeric.
        """
        check_data(dataset, (DataFrame, ParquetTable), "transform")
        return super().transform(dataset, params)  # type: ignore[arg-type]

    def _transform(self, dataset: DataFrame | ParquetTable) -> DataFrame:
        if isinstance(dataset, ParquetTable):
            return transformed_table(self, dataset)
        return transformed(self, dataset)

    def impute(
        self, dataset: DataFrame | ParquetTable, *, draws: int | None = 0, seed: int | None = 0
    ) -> DataFrame:
        """The rows of `dataset` with their gaps (null or NaN) in `inputCols`,
        `countCols` and `categoricalCols` filled.

        Without `draws`, by what the mixture expects given what is known of the row, averaged
        over the segments it may belong to; beside every input column stands `<column>_sd`, the
        standard deviation of what was put in, 0 where the value was there. A category's gap is
        filled by the most probable value, never "(other)", and beside it stands
        `<column>_probability`, its probability, 1 where a value was there. With `draws`, every
        row comes that many times, numbered from 0 in the column `imputation`, its gaps drawn
        from their distribution: estimates made of each and pooled are honest about what is not
        known (Rubin 1987). Numbers and counts come back as double. A row of which nothing is known
        is filled by the mixture's own mean.

        Parameters
        ----------
        draws : how many times every row is drawn, 0 for the means
        seed : of the draws, at least 0; the same seed and partitioning give the same values

        Raises ConfigurationError where an output column exists, the model has no inputCols, or
        draws or seed is no such number, InputDataError where an input column is missing or not
        numeric.
        """
        check_data(dataset, (DataFrame, ParquetTable), "impute")
        draws, seed = whole("draws", draws), whole("seed", seed)
        return imputed(self, as_frame(dataset, "impute"), draws, seed)

    def predictColumns(
        self,
        dataset: DataFrame | ParquetTable,
        targets: str | Sequence[str],
        given: str | Sequence[str] | None = None,
    ) -> DataFrame:
        """The rows of `dataset` with what the mixture expects of some of its columns given others:
        mixture regression, from the distribution that `impute` fills gaps from.

        Given a component, a number is a linear regression on those given; which component it is,
        what is given says in probabilities, so that the mean over components is a curve. The
        targets need not be in the data, and are not looked at.

        Of a number or a count is added

        <target>_mean, <target>_sd : double, its conditional mean and standard deviation

        and of a category

        <target>_value : string, its most probable value, "(other)" among them
        <target>_probability : double, of that value
        <target>_probabilities : array<double>, of all values, in their order in `categories`

        Noise says nothing of the targets. Gaps in what is given are as `missing` says: an error,
        nulls, or integrated out.

        Parameters
        ----------
        dataset : rows with the columns that are given; streams too
        targets : columns of the model
        given : columns of the model, none of them a target; None for all others, and of an empty
            list the prediction is the mixture's own mean

        Raises ConfigurationError where a target is given too, the model has no such column or none
        by name, or an output column exists, InputDataError where what is given is missing or has
        another type.
        """
        check_data(dataset, (DataFrame, ParquetTable), "predictColumns")
        return predicted(
            self,
            as_frame(dataset, "predictColumns"),
            column_names("targets", targets),
            None if given is None else column_names("given", given),
        )

    def explain(
        self, dataset: DataFrame | ParquetTable, *, top: int = 3, asTable: bool = False
    ) -> DataFrame:
        """Why every row is in its segment and not in the runner-up, column by column.

        The log-odds of the two segments, the log of how many times more probable the one is, are
        `base`, which weights and determinants make, and what every column contributes: more than 0
        speaks for the segment, less against it. With a full covariance that is the difference of
        z_j (inverse covariance . z)_j / 2, z about the means of the two: columns that go together
        share what they say together, and one that is the same in both and goes with no other
        contributes nothing. Categories and counts contribute the difference of their log
        probabilities, infinite where a value is impossible in one of the two; a gap contributes
        nothing. Of merged components a cluster has the average, by the row's probabilities within
        it. Noise is a segment, -1, whose density over the numeric columns is in the base.

        For an outlier, `distance` says which column makes it one: how far the row is from its
        segment (from the runner-up where the segment is noise), Mahalanobis' squared distance
        shared out in the same way; of categories and counts twice what the log probability is
        below that of the most probable value. A share is negative where a value makes up for
        those of other columns.

        Beside the columns of `dataset`, or in a table with a row for each of them, stand

        segment, runner_up : int, as `transform` predicts, and the most probable other one
        log_odds : double

        and, without `asTable`,

        base : double
        reason_1, reason_1_value, reason_1_direction, reason_1_contribution, ... : the `top`
            columns that contribute most, by size: name and value, strings; "for" or "against" the
            segment; double. Null where no more contribute.
        distance, distance_column, distance_share : double; the column that has most of it, string;
            and how much, double

        With `asTable` every row comes once for every column of the model, and once for the base,
        whose `column` is null; the contributions of a row sum to its log-odds:

        column, value : string
        contribution, distance : double

        Rows that are skipped (`missing`) have nulls.

        Parameters
        ----------
        dataset : rows as `transform` takes them; streams too
        top : how many columns are named, at least 0; not of a table
        asTable : whether to return the table

        Raises ConfigurationError where the model has one segment alone, an output column exists,
        a column cannot go through Python, or top is no such number, InputDataError where an input
        column is missing or not numeric.
        """
        check_data(dataset, (DataFrame, ParquetTable), "explain")
        return explained(self, as_frame(dataset, "explain"), whole("top", top), asTable)

    def outcomes(
        self,
        dataset: DataFrame | ParquetTable,
        columns: str | Sequence[str],
        *,
        assignment: str = "soft",
    ) -> DataFrame:
        """Rates, or means, of outcomes in every segment, with 95 % intervals, corrected for rows
        that are counted to the wrong segment: how many customers of a segment leave.

        Where segments overlap, the rate of the rows that are predicted to be in one mixes in what
        belongs to others, and segments seem more alike than they are. That an outcome depends on
        the segment alone, and not on the columns of the model beside it, is what the correction
        takes for granted.

        Parameters
        ----------
        dataset : read in one pass; rows are weighted by `weightCol`, where the model has one
        columns : names of booleans or numbers that the model is not of. Where all values are 0, 1,
            true or false it is a rate, else a mean. Rows without a value are left out, for that
            outcome.
        assignment : how rows are assigned before that is corrected: "soft", by their
            probabilities, which has the smaller errors; or "modal", to the most probable segment.
            As StepMix's `assignment`, with which BCH agrees by either, and ML by "modal".

        Returns a row an outcome and segment, with these columns:

        outcome : string, the column
        segment : int, as predicted; -1, the last, is noise, a class of its own: rows would be
            counted to wrong segments without it
        rows : bigint, those predicted to be in it whose outcome is known
        share : double, the segment's share of all rows, by probabilities
        kind : string, rate or mean
        estimate : string, which estimate `value` is: of a rate, the three-step maximum likelihood
            of Vermunt (2010), which is that of Bolck, Croon and Hagenaars (2004), BCH, unless the
            latter is under 0 or over 1, which is said; of a mean, BCH; the one by posterior
            weights, with a warning, where the segments cannot be told apart; and `raw`, counted,
            where the segments are those of k-means: a rule, and no mixture that was fitted, which
            can say how often rows are counted to the wrong one
        value, standard_error, low, high : double, the estimate, its standard error and its 95 %
            interval. The uncertainty of the fitted mixture is counted, but for a model that came
            from no fit, which is taken as known, and for k-means. Of over 2,000 parameters that of
            covariances is counted along the axes alone, or not at all. From over 20,000 rows or so
            a sample says how large the errors are.
        lift : double, `value` by `overall`, the rate or mean of all rows
        posterior, posterior_low, posterior_high : double, by posterior weights, not corrected
        raw : double, of the rows that are predicted to be in it, not corrected
        overall : double
        missing : bigint, rows without a value

        Null is what there are no rows for. Of a model of merged components the segments are the
        clusters.

        Raises ConfigurationError where an outcome is a column of the model, InputDataError where
        it is not there, no boolean or number, infinite, or the same in all rows.
        """
        check_data(dataset, (DataFrame, ParquetTable), "outcomes")
        return outcome_table(
            self, dataset, [columns] if isinstance(columns, str) else columns, assignment
        )

    def report(
        self,
        dataset: DataFrame | ParquetTable,
        path: str | os.PathLike[str],
        *,
        outcomeCol: str | Sequence[str] | None = None,
        valueCol: str | None = None,
        idCol: str | None = None,
        noun: str = "rows",
        points: bool = True,
        overwrite: bool = False,
    ) -> str:
        """Write a page of what this model finds in a table: its segments by name, what they are
        like and what sets them apart, how mixed they are, how they were found; with charts, as one
        HTML file that asks for nothing from anywhere.

        The rows are read once, scored and summed up. Segments are described by every number,
        boolean, text and date of the table, by what the model's vector is made of, and not by
        labels and weights. It needs the packages of `pip install 'gmm_spark[report]'` on the
        driver.

        Parameters
        ----------
        dataset : rows as `transform` takes them, with what else segments are to be described by
        path : of the file; a path as `save` takes it, or any address pyarrow can write to
        outcomeCol : a boolean or number that the model is not of, or several, by which segments
            are compared: see `outcomes`
        valueCol : a column of money, which is at risk by the first outcome that is a rate
        idCol : a column that names a row, and describes nothing
        noun : what a row is, in plural: customers
        points : whether a map of the rows has up to 1,500 of them as points, without identifiers
        overwrite : whether to replace a file that is there; without it that is an error

        Returns where the page is.

        Raises ConfigurationError where a package is missing, there is a file already or none can
        be written, a column is not there or none of what it should be; InputDataError where the
        rows cannot be scored.
        """
        check_data(dataset, (DataFrame, ParquetTable), "report")
        if isinstance(dataset, DataFrame) and dataset.isStreaming:
            raise InputDataError("report takes data that are all there, and not a stream")
        from gmm_spark.report.model_page import write_page

        return write_page(
            self,
            as_frame(dataset, "report"),
            path,
            outcomes=[outcomeCol] if isinstance(outcomeCol, str) else list(outcomeCol or ()),
            value=valueCol,
            id=idCol,
            noun=noun,
            points=points,
            overwrite=overwrite,
        )

    @property
    def plot(self) -> Plots:
        """Charts for a notebook, as Altair charts: `model.plot.ellipses()`, `.profiles()`,
        `.weights()`, `.history()`, `.choice()` of the parameters and the fit, and `.map(table)`."""
        from gmm_spark.report.plots import Plots

        return Plots(self)

    def sample(self, n: int, seed: int | None = 0) -> DataFrame:
        """Rows drawn from the mixture, on the executors.

        Numeric columns are double, as inputCols names them, or one vector column, featuresCol;
        categories are text, with "(other)" for what the model does not tell apart; counts are
        bigint; and `component`, int, says which of them a row is drawn from, -1 for noise, which
        is uniform over its box. The same n and seed give the same rows on any cluster.

        Parameters
        ----------
        n : how many rows, at least 0
        seed : at least 0

        Raises ConfigurationError where n or seed is no such number, a column is called component,
        or the model was saved by a release that did not keep where the noise's box lies.
        """
        return drawn_rows(self, whole("n", n), whole("seed", seed))

    def toSklearn(self) -> Any:
        """This mixture as a fitted `sklearn.mixture.GaussianMixture`: `predict_proba` and
        `score_samples` are what `transform` says.

        Its covariance_type is full, tied, diag or spherical: of the structures that scikit-learn
        has not the next wider one, which scores the same and would be fitted with more freedom.
        Columns stand in the order of `inputCols`, which are its feature_names_in_. It takes no
        gaps, and has no outlierThreshold.

        Raises ConfigurationError where the model has categories, counts, noise or merged
        components, or scikit-learn is not installed.
        """
        return to_sklearn(self)

    def toMLlib(self) -> Any:
        """This mixture as a `pyspark.ml.clustering.GaussianMixtureModel`, whose covariances are all
        full, for `featuresCol`, a vector of the columns in the order of `inputCols`.

        It says what `transform` says near the components. MLlib adds 2e-16 to every density, so
        that far from all of them its probabilities come to be alike.

        Raises ConfigurationError where the model has categories, counts, noise or merged
        components, and on Spark Connect.
        """
        return to_mllib(self)

    def toONNX(self, dtype: str = "float32") -> Any:
        """This mixture as an `onnx.ModelProto`, made by skl2onnx: `onnx.save(model.toONNX(),
        "mixture.onnx")` is a file that onnxruntime scores rows by as `transform` does.

        Its input `features` is a tensor (n, columns) of `dtype` in the order of `inputCols`, which
        its metadata name. Its outputs are `prediction`, int64 (n, 1), `probability`, (n, k), and
        `log_density`, (n, 1). A row with a NaN has probabilities that are NaN. Every covariance
        structure is there.

        Parameters
        ----------
        dtype : "float32", which every runtime has, probabilities being off by 1e-5 at most on rows
            drawn from the mixture, which is looked after; or "float64", 1e-9, which onnxruntime has

        Raises ConfigurationError where the model has categories, counts, noise or merged
        components, or takes gaps (`missing`), float32 is too coarse for it, or skl2onnx is not
        installed: the extra `onnx`.
        """
        return to_onnx(self, dtype)

    def toSQL(
        self,
        dialect: str,
        table: str,
        *,
        keep: str | Sequence[str] = "*",
        maxPatterns: int | None = 20,
        patterns: Sequence[Sequence[str]] | None = None,
        maxLength: int | None = 1_000_000,
    ) -> str:
        """Scoring as one SELECT, for a warehouse that has no Python: what `transform` says of the
        rows of a table, `inputExpressions` included.

        Beside the columns that are kept stand

        <predictionCol> : a whole number; -1 is noise
        <probabilityCol>_0, ..., <probabilityCol>_noise : double, a column a component, or cluster
        <logLikelihoodCol>, or log_density where that is not set : double
        <uncertaintyCol>, <outlierCol>, <componentCol> : where `transform` has them

        All of these are null where `transform` has nulls or an error: gaps, unless `missing` is
        marginalize; values that are no numbers or counts. With marginalize and covariances that
        are not diagonal, rows are scored whose gaps are in columns that had gaps together in the
        fit, or that are named; all others have nulls.

        Numbers agree with `transform` to 1e-9, up to a thousand standard deviations from the
        components. From 1e12 on the log density, and whether the row is an outlier, is all that is
        said of it; from 1e60 on nothing.

        Parameters
        ----------
        dialect : spark, duckdb, postgres, bigquery or snowflake
        table : as a FROM of that engine names it: "lake.customers"
        keep : names of the table's columns that go along; "*" for all
        maxPatterns : how many patterns of gaps are scored beside complete rows, the most frequent
            of `summary.gapPatterns`
        patterns : these patterns instead, each the list of inputCols that have gaps in it
        maxLength : bytes of the statement at most; BigQuery and Snowflake take some 1,000,000

        Raises ConfigurationError where the dialect is none of these, the table has no name, the
        model's numbers are in a vector, an expression is not known to mean the same in that
        dialect, an output column is kept too, the statement is longer than `maxLength`, or sqlglot
        is not installed (the extra `sql`).
        """
        return to_sql(
            self,
            dialect,
            table,
            keep,
            whole("maxPatterns", maxPatterns),
            patterns,
            whole("maxLength", maxLength),
        )

    def copy(self, extra: Any = None) -> GaussianMixtureModel:
        # What the fit found: in the params of a search, which CrossValidator hands to `transform`
        # too, these are lists.
        found = ("k", "covarianceType")
        extra = {p: value for p, value in (extra or {}).items() if p.name not in found}
        copied: GaussianMixtureModel = super().copy(extra)
        return copied

    def write(self) -> ModelWriter:
        """Returns a writer; `write().overwrite().save(path)` replaces a model."""
        return ModelWriter(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save this model to a path that does not exist yet."""
        self.write().save(path)

    @classmethod
    def read(cls) -> ModelReader:
        """Returns a reader."""
        return ModelReader(cls)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> GaussianMixtureModel:
        """Load a model; ModelFileError where there is none, or it cannot be read."""
        loaded: GaussianMixtureModel = cls.read().load(path)
        return loaded

    def getInputExpressions(self) -> list[str]:
        """Gets the SQL expressions the columns were made by; empty where none are known."""
        is_set = self.isSet(self.inputExpressions)
        return list(self.getOrDefault(self.inputExpressions) or []) if is_set else []

    def setInputExpressions(self, value: list[str]) -> GaussianMixtureModel:
        """Sets the SQL expressions the columns were made by: `log1p(total) as log_total`.

        `transform` reads the columns and does not make them: `dataset.selectExpr("*",
        *model.getInputExpressions())` does, and `gmm-spark score`.
        """
        return self._set(inputExpressions=value)

    def _with_summary(self, summary: GaussianMixtureSummary) -> GaussianMixtureModel:
        self._summary = summary
        return self

    def _with_predictions(self, dataset: DataFrame) -> GaussianMixtureModel:
        """Gives the summary the predictions, which are made where they are asked for."""
        if self._summary is not None:
            fitted = self.copy()
            self._summary = replace(self._summary, _predictions=lambda: fitted.transform(dataset))
        return self


def as_frame(dataset: DataFrame | ParquetTable, who: str) -> DataFrame:
    """The data as a DataFrame; ConfigurationError for a table with filters."""
    if isinstance(dataset, DataFrame):
        return dataset
    if dataset.filters is not None:
        raise ConfigurationError(f"filters are not for {who}; filter a DataFrame instead")
    return table_frame(needed_session(), dataset)
