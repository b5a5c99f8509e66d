"""What an estimator, a model and a summary show of themselves in a notebook: short tables as HTML.

Made of what they hold alone: no Spark, no file, no package beside our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from gmm_spark.description import param_text, segment_rows
from gmm_spark.engine.scoring import NOISE
from gmm_spark.mixture.families import with_places
from gmm_spark.report.text import number, numbers, percent
from gmm_spark.summary import ending

if TYPE_CHECKING:
    from gmm_spark.estimator import MixtureEstimator
    from gmm_spark.model import GaussianMixtureModel
    from gmm_spark.summary import GaussianMixtureSummary

# More columns of a model, and more segments, are counted.
_COLUMNS, _SEGMENTS = 16, 12
_CELL = "padding:2px 8px;vertical-align:top;text-align"


def estimator_html(estimator: MixtureEstimator) -> str:
    """The Params that are set, with their meaning; the others are folded."""
    given: list[list[str]] = []
    others: list[list[str]] = []
    for setting in estimator._settings:
        param = estimator.getParam(setting.name)
        if estimator.isSet(param):
            given.append([param.name, param_text(estimator.getOrDefault(param)), setting.doc])
        else:
            default = estimator.getOrDefault(param) if estimator.hasDefault(param) else None
            others.append([param.name, "" if default is None else param_text(default), setting.doc])
    head = ["Param", "value", "meaning"]
    parts = [_title(type(estimator).__name__, estimator.uid)]
    parts.append(_table(head, given, words=3) if given else "<p>Every Param has its default.</p>")
    if others:
        title = f"{len(others)} Params with their defaults"
        parts.append(
            f"<details><summary>{title}</summary>{_table(head, others, words=3)}</details>"
        )
    return _whole(parts)


def model_html(model: GaussianMixtureModel) -> str:
    """The segments side by side: weight, size, means with standard deviations, rates, the most
    probable values; and the warnings of the fit."""
    title = _title(type(model).__name__, model.uid)
    if model._parameters is None:
        return _whole([title, "<p>No parameters: fit a model, or load one.</p>"])
    found = segment_rows(model)
    shown = found[:_SEGMENTS]
    if found[-1]["segment"] == NOISE and len(found) > len(shown):
        shown = [*shown[:-1], found[-1]]
    heads = [
        f"{NOISE} (noise)" if row["segment"] == NOISE else str(row["segment"]) for row in shown
    ]
    lines = [["weight", *(percent(row["weight"]) for row in shown)]]
    if any(row["size"] is not None for row in shown):
        lines.append(["rows", *(_count(row["size"]) for row in shown)])
    if model._merging is not None:
        parts = [*(str(len(cluster)) for cluster in model.clusters), "1"]
        lines.append(["components", *(parts[_place(row, parts)] for row in shown)])
    columns = _column_lines(model, shown)
    lines += columns[:_COLUMNS]
    said = [f"<p>{escape(_described(model))}</p>", _table(["segment", *heads], lines)]
    left = [_more(len(columns) - _COLUMNS, "column"), _more(len(found) - len(shown), "segment")]
    left = [one for one in left if one]
    if left:
        said.append(f"<p>{' and '.join(left)}: <code>model.describe()</code> has all.</p>")
    if model.parameters.d:
        said.append("<p>Numbers: the mean, in brackets the standard deviation.</p>")
    return _whole([title, *said, _warnings(model.summary.warnings if model.hasSummary else [])])


def _place(row: dict[str, Any], parts: Sequence[str]) -> int:
    return len(parts) - 1 if row["segment"] == NOISE else int(row["segment"])


def _count(size: int | None) -> str:
    return "-" if size is None else f"{size:,}"


def _column_lines(model: GaussianMixtureModel, rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A line for every column of the model, a cell a segment."""
    lines = []
    for name in rows[0]["means"]:
        means = [row["means"].get(name) for row in rows]
        deviations = [row["standard_deviations"].get(name) for row in rows]
        # With one number of decimals, a mean and its deviation.
        texts = numbers([*means, *deviations], max(one for one in deviations if one is not None))
        pairs = zip(texts[: len(rows)], texts[len(rows) :], strict=True)
        lines.append([name, *("" if m == "-" else f"{m} ({d})" for m, d in pairs)])
    for kind in with_places(model.parameters.families):
        for name in rows[0][kind.section]:
            said = [kind.said(name, row[kind.section].get(name)).values() for row in rows]
            lines.append([name, *map(_family_cell, said)])
    return lines


def _family_cell(values: Iterable[Any]) -> str:
    """A number; or a text and its probability."""
    known = [one for one in values if one is not None]
    if known and isinstance(known[0], str):
        return f"{known[0]} ({percent(known[1])})"
    return ", ".join(number(one, 0.0) for one in known)


def _described(model: GaussianMixtureModel) -> str:
    of = model.parameters
    said = [_several(of.k, "component")]
    if model._merging is not None:
        said.append(f"merged into {_several(len(model.clusters), 'cluster')}")
    if of.d:
        said.append(f"{model.getCovarianceType()} covariances of {_several(of.d, 'column')}")
    for columns in model._family_columns():
        said.append(f"{columns.family.name}: {len(columns.names):,}")
    if of.noise is not None:
        said.append("noise")
    if model.hasSummary:
        summary = model.summary
        how = "fitted to" if summary.update is None else "updated by"
        said.append(f"{how} {_several(summary.numRows, 'row')}")
        if summary.reason not in ("converged", "updated"):
            said.append(ending(summary.converged, summary.reason))
    return "; ".join(said)


def summary_html(summary: GaussianMixtureSummary) -> str:
    """How a fit went: its end, log-likelihood, criteria, sizes, warnings."""
    end = ending(summary.converged, summary.reason)
    lines = [
        ["rows", _count(summary.numRows)],
        ["components", _count(summary.k)],
        ["free parameters", _count(summary.numParameters)],
        ["end", f"{end}, after {_several(summary.numPasses, 'pass', 'passes')}"],
        ["log-likelihood", _figure(summary.logLikelihood)],
        ["mean log-likelihood", _figure(summary.meanLogLikelihood)],
    ]
    criteria = {"AIC": summary.aic, "BIC": summary.bic, "ICL": summary.icl}
    lines += [[name, _figure(value)] for name, value in criteria.items() if value is not None]
    lines.append(["rows of the components", _sizes(summary.clusterSizes)])
    if summary.noiseSize is not None:
        lines.append(["rows of noise", _count(round(summary.noiseSize))])
    if summary.numSkipped:
        lines.append(["rows skipped for gaps", _count(summary.numSkipped)])
    if summary.numGaps:
        gaps = [f"{name} {count:,}" for name, count in summary.numGaps.items()]
        listed = ", ".join(gaps[:_COLUMNS]) + (" ..." if len(gaps) > _COLUMNS else "")
        lines.append(["rows with a gap", listed])
    if summary.candidates:
        lines.append(["candidates considered", _count(len(summary.candidates))])
    parts = [
        _title(type(summary).__name__),
        _table([], lines, words=2),
        _warnings(summary.warnings),
    ]
    return _whole(parts)


def _figure(value: float) -> str:
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"


def _sizes(sizes: Sequence[int]) -> str:
    shown = ", ".join(f"{size:,}" for size in sizes[:_SEGMENTS])
    return f"{shown}, ... {len(sizes)} in all" if len(sizes) > _SEGMENTS else shown


def _several(count: int, one: str, more: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else more or f'{one}s'}"


def _more(count: int, what: str) -> str:
    return _several(count, f"more {what}") if count > 0 else ""


def _title(kind: str, uid: str | None = None) -> str:
    return f"<p><b>{escape(kind)}</b>{'' if uid is None else f' <code>{escape(uid)}</code>'}</p>"


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    listed = "".join(f"<li>{escape(one)}</li>" for one in warnings)
    return f"<p>Warnings</p><ul>{listed}</ul>"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table whose first cells, so many as `words`, are text, and the others figures."""

    def cells(texts: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} style="{_CELL}:{"left" if i < words else "right"}">{escape(text)}</{tag}>'
            for i, text in enumerate(texts)
        )

    heads = f"<thead><tr>{cells(head, 'th')}</tr></thead>" if head else ""
    body = "".join(f"<tr>{cells(line, 'td')}</tr>" for line in lines)
    return f"<table>{heads}<tbody>{body}</tbody></table>"


def _whole(parts: Sequence[str]) -> str:
    return f'<div style="overflow-x:auto">{"".join(parts)}</div>'
