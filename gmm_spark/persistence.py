"""Saving and loading: Spark's directory layout, JSON metadata and a Parquet table, versioned.

    path/metadata     Spark ML's metadata: class, uid, params; ours: format version, summary
    path/data         a row a component: component, weight, mean, covariance, and the parameters
                      of every column family: the table of probabilities of categories, the
                      rates of counts; and, for updates by new rows, the sufficient statistics of
                      the last E-step, as `mixture/incremental.py` has them, whose coordinates,
                      floor and prior are in the metadata. Models of earlier releases have none
    path/history      of a fitted model, the parameters of its passes and of the steps on the sample
                      that led to its start, as summary.parameterHistory and sampleHistory have
                      them: under 2 MB, thinned evenly where there are more. The metadata say how
                      many records there were and are, and the shapes of the flat arrays. Models
                      of earlier releases have none, and a model without it loads.
    path/initialModel of an estimator that starts from a model

The covariance of a structure that all components share stands in the first row alone. Version 2
is that of models with categories, counts or noise, version 3 that of models whose components were
merged into clusters, which stand in the metadata; the data of others are those of version 1, which
is still read. The metadata hold the default of every Param: a release that does not know one of
these cannot read the model, whatever its version.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pyspark.errors import AnalysisException
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReader, MLWriter

from gmm_spark import kept_history, mllib
from gmm_spark.engine.addresses import as_text, escaped, is_pattern
from gmm_spark.engine.cluster import delete_path, matching_paths, needed_session, path_exists
from gmm_spark.errors import ConfigurationError, ModelFileError
from gmm_spark.mixture.families import FAMILIES, Category, Family, Noise, Range, with_places
from gmm_spark.mixture.incremental import ComponentStatistics, Frame, KeptStatistics
from gmm_spark.mixture.merging import Merging
from gmm_spark.mixture.numerics import Array
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.priors import Normal, Prior
from gmm_spark.mixture.structures import structure_named
from gmm_spark.summary import GaussianMixtureSummary

# Of models whose components were merged: an earlier release would predict the components.
_MERGED_VERSION = 3
FORMAT_VERSION = max(_MERGED_VERSION, *(kind.format_version for kind in FAMILIES))
_DATA_SCHEMA = "component int, weight double, mean array<double>, covariance array<double>"
_STATISTICS_SCHEMA = (
    "statistics struct<count: double, mean: array<double>, scatter: array<double>, "
    "families: array<array<double>>>"
)


class Writer(MLWriter):
    """Writes metadata, and in `saveImpl` what a subclass has beside them."""

    def __init__(self, instance: Any) -> None:
        super().__init__()
        self.instance = instance

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save to `path`; ConfigurationError where something is there already."""
        path = as_text(path)
        exists = ConfigurationError(
            f"{path} exists already; use write().overwrite().save(path) to replace it"
        )
        # Asked first: what is there may lack one of the directories written below, and would
        # end up with half a model in it.
        if not self.shouldOverwrite and path_exists(needed_session(), path):
            raise exists
        try:
            if self.shouldOverwrite:
                delete_path(needed_session(), path)
            self.saveImpl(path)
        except AnalysisException as error:
            if "PATH_ALREADY_EXISTS" in str(error):
                raise exists from None
            raise

    def _save_metadata(self, path: str, extra: dict[str, Any]) -> None:
        instance = self.instance
        params = {p.name: v for p, v in instance._paramMap.items() if p.name != "initialModel"}
        DefaultParamsWriter.saveMetadata(instance, path, needed_session(), extra, params)


class ModelWriter(Writer):
    """Writes a `GaussianMixtureModel`; the metadata last, so that half a model is none."""

    def saveImpl(self, path: str) -> None:
        parameters: Parameters = self.instance.parameters
        stacked = parameters.structure.stacked(parameters.covariances)
        places = with_places(parameters.families)
        stored = [kind for kind in FAMILIES if kind in places]
        rows, statistics = [], _statistics_rows(self.instance._statistics, parameters.k)
        for index in range(parameters.k):
            # One that all components share stands in the first row alone.
            covariance = stacked[index].ravel().tolist() if index < len(stacked) else None
            weight, mean = float(parameters.weights[index]), parameters.means[index].tolist()
            others = [parameters.of(kind)[index].tolist() for kind in stored]
            rows.append((index, weight, mean, covariance, *others, statistics[index]))
        frame = needed_session().createDataFrame(rows, _schema(stored)).coalesce(1)
        frame.write.parquet(f"{path}/data")
        noise, categories = parameters.noise, self.instance._categories
        versions = [type(family).format_version for family in parameters.families]
        extra: dict[str, Any] = {
            "formatVersion": max([1 if noise is None else 2, *versions]),
            "structure": parameters.structure.code,
            "k": parameters.k,
            "numFeatures": parameters.d,
        }
        if categories:
            extra["categories"] = [
                {"name": c.name, "levels": list(c.levels), "other": c.other} for c in categories
            ]
        if noise is not None:
            extra["noise"] = _noise_as_json(noise, parameters.families, stored)
        if self.instance._statistics is not None:
            extra["statistics"] = _statistics_as_json(self.instance._statistics)
        if self.instance._merging is not None:
            extra["formatVersion"] = max(_MERGED_VERSION, extra["formatVersion"])
            extra["merging"] = self.instance._merging.to_json()
        if self.instance.hasSummary:
            extra["summary"] = self.instance.summary.to_json()
            kept = _write_history(self.instance.summary, f"{path}/history")
            if kept is not None:
                extra["history"] = kept
        self._save_metadata(path, extra)


def _write_history(summary: GaussianMixtureSummary, path: str) -> dict[str, Any] | None:
    """Writes the parameters that a summary has of its passes and steps, if it has any; returns
    what the metadata say of them."""
    rows, described = kept_history.written(
        summary.sampleHistory, summary.parameterHistory, summary.history
    )
    if described is not None:
        frame = needed_session().createDataFrame(rows, kept_history.SCHEMA).coalesce(1)
        # So that what is written is no larger than the numbers, which are all different.
        frame.write.option("parquet.enable.dictionary", "false").parquet(path)
    return described


def _with_history(
    summary: GaussianMixtureSummary, described: Any, path: str, model: Parameters
) -> GaussianMixtureSummary:
    """The summary with what `_write_history` wrote, where it did and that is still there."""
    if described is None:
        return summary
    try:
        rows = needed_session().read.schema(kept_history.SCHEMA).parquet(path).collect()
    except AnalysisException as error:
        if "PATH_NOT_FOUND" not in str(error):
            raise
        return summary
    steps, passes = kept_history.read(rows, described, model, summary.numPasses)
    return replace(summary, sampleHistory=steps, parameterHistory=passes)


class EstimatorWriter(Writer):
    """Writes a `GaussianMixture`."""

    def saveImpl(self, path: str) -> None:
        start = self.instance.getInitialModel()
        if start is not None:
            start.save(f"{path}/initialModel")
        self._save_metadata(path, {"formatVersion": 1, "hasInitialModel": start is not None})


class Reader(MLReader):  # type: ignore[type-arg]
    """Reads the metadata of a class; a subclass what else there is."""

    def __init__(self, cls: type) -> None:
        super().__init__()
        self.cls = cls

    def _load_metadata(self, path: str) -> dict[str, Any]:
        """What is written about what is saved there, by us or (then it is `_of_mllib`) MLlib."""
        try:
            metadata = DefaultParamsReader.loadMetadata(_readable(path), needed_session())
        except AnalysisException as error:
            if "PATH_NOT_FOUND" in str(error):
                raise ModelFileError(
                    f"there is no model at {path}: it has no metadata; expected a directory that "
                    "a model was saved to"
                ) from None
            raise ModelFileError(f"there is no model at {path}: {_first_line(error)}") from None
        except Exception as error:
            # What is not there at all Spark reads as None.
            why = "they are empty" if isinstance(error, TypeError) else _first_line(error)
            raise ModelFileError(
                f"the model at {path} has unreadable metadata ({why}); restore it, or save it again"
            ) from error
        expected = f"{self.cls.__module__}.{self.cls.__name__}"
        if _of_mllib(metadata) and mllib.CLASSES[metadata["class"]] == expected:
            return metadata
        if metadata.get("class") != expected:
            raise ModelFileError(
                f"{path} holds a {metadata.get('class')}, a {expected} was asked for"
            )
        version = metadata.get("formatVersion")
        if type(version) is not int or version < 1:
            raise ModelFileError(f"{path} has format version {version}: no release wrote that")
        if version > FORMAT_VERSION:
            raise ModelFileError(
                f"{path} has format version {version}, this release reads up to {FORMAT_VERSION}; "
                "load it with a newer release of gmm_spark"
            )
        return metadata


class ModelReader(Reader):
    """Reads a `GaussianMixtureModel`."""

    def load(self, path: str | os.PathLike[str]) -> Any:
        path = as_text(path)
        metadata = self._load_metadata(path)
        spark = needed_session()
        if _of_mllib(metadata):
            return self._loaded_from_mllib(path, metadata)
        try:
            rows = spark.read.schema(_schema(FAMILIES)).parquet(f"{_readable(path)}/data").collect()
            categories = tuple(
                Category(c["name"], tuple(c["levels"]), c["other"])
                for c in metadata.get("categories", [])
            )
            parameters = _parameters(rows, metadata, [len(c.levels) for c in categories])
            summary = metadata.get("summary")
            if summary is not None:
                summary = GaussianMixtureSummary.from_json(summary)
                kept, place = metadata.get("history"), f"{_readable(path)}/history"
                summary = _with_history(summary, kept, place, parameters)
            model = self.cls(parameters, summary, categories)
            model._statistics = _statistics(rows, metadata.get("statistics"), parameters)
            if metadata.get("merging") is not None:
                model._merging = Merging.from_json(metadata["merging"], parameters.k)
            model._resetUid(metadata["uid"])
            DefaultParamsReader.getAndSetParams(model, metadata)
            # Earlier releases kept it as it was written.
            model._set(covarianceType=structure_named(model.getCovarianceType()).name)
        except ModelFileError as error:
            raise ModelFileError(f"the model at {path} is corrupt: {error}") from None
        except Exception as error:
            why = _first_line(error)
            if "READ_FILE" in why:  # of a part of it, by a name that Spark gave
                why = "its parameters cannot be read"
            raise ModelFileError(
                f"the model at {path} is corrupt: {why}; restore it, or save it again"
            ) from error
        return model

    def _loaded_from_mllib(self, path: str, metadata: dict[str, Any]) -> Any:
        """As `load`, with MLlib's order of the components; MLlib keeps no summary."""
        try:
            parameters = mllib.saved_parameters(needed_session(), _readable(path))
            model = self.cls(parameters)
            model._resetUid(metadata["uid"])
            mllib.set_params(model, metadata["paramMap"])
            model._set(k=parameters.k, covarianceType="full")
        except Exception as error:
            raise ModelFileError(
                f"MLlib's model at {path} cannot be used: {_first_line(error)}"
            ) from None
        return model


class EstimatorReader(Reader):
    """Reads a `GaussianMixture`."""

    def load(self, path: str | os.PathLike[str]) -> Any:
        path = as_text(path)
        metadata = self._load_metadata(path)
        estimator = self.cls()
        try:
            estimator._resetUid(metadata["uid"])
            if _of_mllib(metadata):
                mllib.set_params(estimator, metadata["paramMap"])
                mllib.warn_of_tol(metadata["paramMap"], estimator.getTol())
            else:
                DefaultParamsReader.getAndSetParams(estimator, metadata)
        except Exception as error:
            raise ModelFileError(
                f"the estimator at {path} is corrupt: {_first_line(error)}"
            ) from error
        if metadata.get("hasInitialModel"):
            from gmm_spark.model import GaussianMixtureModel

            estimator._set(initialModel=GaussianMixtureModel.load(f"{path}/initialModel"))
        return estimator


def _of_mllib(metadata: dict[str, Any]) -> bool:
    return metadata.get("class") in mllib.CLASSES


def _schema(families: Sequence[type[Family]]) -> str:
    of_families = (f"{kind.stored} array<double>" for kind in families)
    return ", ".join([_DATA_SCHEMA, *of_families, _STATISTICS_SCHEMA])


def _statistics_rows(kept: KeptStatistics | None, k: int) -> list[Any]:
    """What is kept of every component."""
    if kept is None:
        return [None] * k
    of = kept.statistics
    scatters = [one.ravel().tolist() for one in of.scatters]
    scatters += [None] * (k - len(scatters))  # of a shared covariance in the first row alone
    families = [[sums[index].tolist() for sums in of.families] for index in range(k)]
    counts, means = of.counts[:k].tolist(), of.means.tolist()
    return list(zip(counts, means, scatters, families, strict=True))


def _statistics_as_json(kept: KeptStatistics) -> dict[str, Any]:
    """What is kept beside the rows of the components."""
    of, frame = kept.statistics, kept.frame
    prior, normal = frame.prior, None if frame.prior is None else frame.prior.normal
    return {
        "numRows": of.num_rows,
        "weight": of.weight,
        "noiseCount": of.counts[of.k :].tolist(),
        "centre": frame.standardisation.centre.tolist(),
        "scale": frame.standardisation.scale.tolist(),
        "floor": frame.floor.tolist(),
        "prior": prior
        and {
            "weight": prior.weight,
            "families": [own.tolist() for own in prior.families],
            "normal": normal
            and {
                "mean": normal.mean.tolist(),
                "shrinkage": normal.shrinkage,
                "rows": normal.rows,
                "scatter": normal.scatter.tolist(),
            },
        },
    }


def _statistics(
    rows: Sequence[Any], stored: dict[str, Any] | None, of: Parameters
) -> KeptStatistics | None:
    """What `_statistics_rows` and `_statistics_as_json` wrote; None where they did not."""
    if stored is None:
        return None
    kept = [row["statistics"] for row in sorted(rows, key=lambda row: row["component"])]
    scatters = [one["scatter"] for one in (kept[:1] if of.structure.shared else kept)]
    shape = len(scatters), *of.structure.storage.shape(of.d)
    sizes = [family.num_features for family in of.families]
    statistics = ComponentStatistics(
        stored["numRows"],
        stored["weight"],
        np.array([*(one["count"] for one in kept), *stored["noiseCount"]]),
        np.array([one["mean"] for one in kept], dtype=float).reshape(of.k, of.d),
        np.array(scatters, dtype=float).reshape(shape),
        tuple(
            np.array([one["families"][place] for one in kept], dtype=float).reshape(of.k, size)
            for place, size in enumerate(sizes)
        ),
    )
    prior = stored["prior"]
    if prior is not None:
        normal = prior["normal"]
        if normal is not None:
            mean, scatter = np.array(normal["mean"]), np.array(normal["scatter"])
            normal = Normal(mean, normal["shrinkage"], normal["rows"], scatter)
        families = tuple(np.array(own, dtype=float) for own in prior["families"])
        prior = Prior(prior["weight"], families, normal)
    centre, scale, floor = (
        np.array(stored[key], dtype=float) for key in ("centre", "scale", "floor")
    )
    return KeptStatistics(statistics, Frame(Standardisation(centre, scale), floor, prior))


def _noise_as_json(
    noise: Noise, families: Sequence[Family], stored: Sequence[type[Family]]
) -> dict[str, Any]:
    ranges = {type(family): where for family, where in zip(families, noise.ranges, strict=True)}
    found: dict[str, Any] = {"weight": noise.weight, "logWidths": noise.log_widths.tolist()}
    placed = {} if noise.lowest is None else {"lowest": noise.lowest.tolist()}
    for kind in stored:
        if kind.stored_range is None:
            continue
        where = ranges.get(kind, Range(np.zeros(0), np.zeros(0)))
        found[kind.stored_range[0]] = where.log_sizes.tolist()
        if where.lowest is not None:
            placed[kind.stored_range[1]] = where.lowest.tolist()
    return {**found, **placed} if noise.is_placed else found


def _noise(stored: dict[str, Any], families: Sequence[Family]) -> Noise:
    def kept(key: str) -> Array | None:
        return np.array(stored[key], dtype=float) if key in stored else None

    ranges = []
    for family in families:
        keys, nothing = type(family).stored_range, np.zeros(0)
        sizes = None if keys is None else kept(keys[0])
        if keys is None or sizes is None:
            ranges.append(family.range_of(nothing, nothing))
        else:
            ranges.append(Range(sizes, kept(keys[1])))
    widths = np.array(stored["logWidths"], dtype=float)
    return Noise(stored["weight"], widths, kept("lowest"), tuple(ranges))


def _parameters(rows: list[Any], metadata: dict[str, Any], levels: Sequence[int]) -> Parameters:
    k, d = metadata["k"], metadata["numFeatures"]
    structure = structure_named(metadata["structure"])
    rows = sorted(rows, key=lambda row: row["component"])
    if [row["component"] for row in rows] != list(range(k)):
        raise ModelFileError(f"{len(rows)} of {k} components are there")
    kept = [row["covariance"] for row in (rows[:1] if structure.shared else rows)]
    covariances = np.array(kept).reshape(structure.shape(k, d))
    weights = np.array([row["weight"] for row in rows])
    means = np.array([row["mean"] for row in rows], dtype=float).reshape(k, d)
    families, others = [], []
    for kind in FAMILIES:
        values = np.array([row[kind.stored] or [] for row in rows], dtype=float).reshape(k, -1)
        if values.shape[1] or (kind.told_apart and levels):
            families.append(kind.sized(values.shape[1], levels))
            others.append(values)
    noise = metadata.get("noise")
    found = Parameters(
        structure,
        weights,
        means,
        covariances,
        tuple(families),
        tuple(others),
        None if noise is None else _noise(noise, families),
    )
    return found.validated()


def _readable(path: str) -> str:
    """A path as Spark's readers find it: the one that is written, else the one that matches.

    Raises ModelFileError where several match. On Spark Connect, from which the file system is out
    of reach, a path is what is written.
    """
    found = matching_paths(needed_session(), path) if is_pattern(path) else []
    if len(found) > 1:
        raise ModelFileError(
            f"{len(found)} paths match {path}, from {found[0]} to {found[-1]}; name one model"
        )
    return escaped(found[0] if found else path)


def _first_line(error: Exception) -> str:
    # Of a Java exception, what it says itself, not the call it came out of.
    thrown = getattr(error, "java_exception", None)
    text = str(error if thrown is None else thrown.getMessage()).strip()
    return text.splitlines()[0] if text else type(error).__name__
