"""`model.plot`: charts of a mixture for a notebook, those of the page in plain colours.

Altair is imported where a chart is made: the module is there without it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame

from gmm_spark.engine.inputs import check_data
from gmm_spark.engine.parquet import ParquetTable
from gmm_spark.errors import ConfigurationError
from gmm_spark.model import GaussianMixtureModel, as_frame
from gmm_spark.report.describing import describe_segments
from gmm_spark.report.drawing import PADDING
from gmm_spark.report.page import HEAT_ROWS, INSTALL, by_effect, measure_of, shown_values
from gmm_spark.report.page_template import STYLE
from gmm_spark.report.parameter_segments import parameter_segments
from gmm_spark.report.segment_map import map_of_parameters
from gmm_spark.report.segments import Segments

if TYPE_CHECKING:
    import altair as alt

_VARIABLE = re.compile(r"var\(--(\w+)\)")
# What would end the script that Altair writes a chart into, as it is, for a notebook.
_ENDS_SCRIPT = re.compile(r"<(?=/|!|script)", re.IGNORECASE)
_NO_WIDTH = "\u200b"


class Plots:
    """Charts of a fitted mixture, as Altair charts: a notebook shows them, `chart.save("x.svg")`
    writes them, and they can be changed and put together as any other.

    They are made of the model's parameters and the summary of its fit, without looking at a row,
    but for `map`, and `profiles` where it is given a table. They need the packages of
    `pip install 'gmm_spark[report]'`: without Altair each raises ConfigurationError.
    """

    def __init__(self, model: GaussianMixtureModel) -> None:
        self._model = model

    def __repr__(self) -> str:
        names = [name for name in dir(self) if not name.startswith("_")]
        return f"plots of {self._model.uid}: {', '.join(f'.{name}()' for name in names)}"

    def weights(self) -> alt.TopLevelMixin:
        """The weight of every segment, noise too, as bars; pointed at, the rows of the fit."""
        charts = _charts()
        return _shown(charts.weights_chart(parameter_segments(self._model)))

    def profiles(self, dataset: DataFrame | ParquetTable | None = None) -> alt.TopLevelMixin:
        """What the segments are like, as heat maps: of every number and count, how far its mean is
        from that of all, in standard deviations of all; of every category, the shares of its most
        frequent values. At most 32 rows each.

        Parameters
        ----------
        dataset : rows to describe the segments by, in one look: by all columns, those that tell
            segments apart most first, and with segments named in words, as on the page of
            `GaussianMixtureModel.report`; None for what the parameters say of the model's own
            columns
        """
        charts = _charts()
        who = "plot.profiles"
        found = self._components() if dataset is None else self._described(dataset, who)
        columns = by_effect(found)
        numbers = [one for one in columns if one.kind != "category"][:HEAT_ROWS]
        values = shown_values(found, [one for one in columns if one.kind == "category"])
        parts = [charts.heat_chart(found, numbers)] if numbers else []
        parts += [charts.shares_chart(found, values)] if values else []
        if not parts:
            raise ConfigurationError(f"{who}: there is no column to describe segments by")
        return _shown(parts[0] if len(parts) == 1 else charts.above(parts))

    def ellipses(self, x: str | None = None, y: str | None = None) -> alt.TopLevelMixin:
        """The components as ellipses that hold two thirds of each, with the number of the segment
        each is of, and a slider over the iterations of the fit, from its start on.

        Parameters
        ----------
        x, y : columns of numbers or counts of the model, which are drawn in their own units; None
            for the two directions that set most segments apart (Fisher's linear
            discriminants), a step of 1 being a standard deviation within segments

        Raises ConfigurationError where one is given without the other, there is no such column, or
        the columns vary in one direction alone.
        """
        charts = _charts()
        if (x is None) != (y is None) or (x is not None and x == y):
            raise ConfigurationError(
                f"plot.ellipses: x is {x!r} and y is {y!r}; name two columns, or none"
            )
        pictured = map_of_parameters(self._model, None if x is None or y is None else (x, y))
        found = self._components().model_copy(update={"map": pictured})
        return _shown(charts.map_chart(found, slider=True))

    def map(self, dataset: DataFrame | ParquetTable) -> alt.TopLevelMixin:
        """The map of the page: up to 1,500 rows, found in one look, as points in the two directions
        that set most segments apart, the components' ellipses, and a slider over the iterations of
        EM.

        Raises ConfigurationError where the columns vary in one direction alone, or are too many.
        """
        charts = _charts()
        found = self._described(dataset, "plot.map")
        if found.map is None:
            raise ConfigurationError(f"plot.map: {found.notes[-1]}")
        return _shown(charts.map_chart(found, slider=True))

    def history(self) -> alt.TopLevelMixin:
        """The mean log-likelihood after every pass of the fit over the data. Raises
        ConfigurationError where the model came from no fit."""
        charts = _charts()
        found = parameter_segments(self._model)
        passes = [] if found.fit is None else found.fit.passes
        if all(one.mean_log_likelihood is None for one in passes):
            raise ConfigurationError("plot.history: the model came from no fit, it has no passes")
        return _shown(charts.passes_chart(found))

    def choice(self) -> alt.TopLevelMixin:
        """What a `GaussianMixtureSearch` considered, by its criterion and number of segments; the
        diamond is what it took. Raises ConfigurationError where the model came from no search."""
        charts = _charts()
        found = parameter_segments(self._model)
        considered = [] if found.choice is None else found.choice.considered
        measure = measure_of(considered)
        if measure is None:
            raise ConfigurationError(
                "plot.choice: the model came from no GaussianMixtureSearch, there was no choice"
            )
        return _shown(charts.choice_chart(considered, *measure))

    def _components(self) -> Segments:
        """What the parameters say of the segments, but for noise, which is none of a column."""
        found = parameter_segments(self._model)
        described = [one for one in found.segments if one.profile]
        return found.model_copy(update={"segments": described})

    def _described(self, dataset: DataFrame | ParquetTable, who: str) -> Segments:
        check_data(dataset, (DataFrame, ParquetTable), who)
        return describe_segments(self._model, as_frame(dataset, who), noun="rows")


def _charts() -> Any:
    """The charts of the page; ConfigurationError where Altair is missing."""
    if find_spec("altair") is None:
        raise ConfigurationError(f"plot: {INSTALL.format('altair')}")
    from gmm_spark.report import page_charts

    return page_charts


@lru_cache(maxsize=1)
def _palette() -> dict[str, str]:
    """The colours of the page in light, by their names: the first rule of its style."""
    return dict(re.findall(r"--(\w+): (#\w+);", STYLE.partition("}")[0]))


def _shown(chart: Any) -> Any:
    """A chart of the page as one that stands alone, on a ground of its own in any notebook."""
    import altair as alt

    specification = _charts().specification(chart)
    specification["background"] = "var(--paper)"
    specification["padding"] = PADDING
    return alt.Chart.from_dict(_standing_alone(specification))


def _standing_alone(part: Any) -> Any:
    """A specification with the page's variables replaced by colours, whose texts end no script."""
    if isinstance(part, dict):
        return {key: _standing_alone(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_standing_alone(value) for value in part]
    if not isinstance(part, str):
        return part
    found = _VARIABLE.fullmatch(part)
    return _ENDS_SCRIPT.sub(f"<{_NO_WIDTH}", part) if found is None else _palette()[found[1]]
