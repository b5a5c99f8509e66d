"""A notebook, run by nbclient: a fit, what objects show of themselves, and a chart."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import environment_of_a_process
from tests.report.test_page import Page

pytestmark = pytest.mark.long  # a kernel and a session of its own

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
for _name in ("ipykernel", "altair", "vl_convert"):
    pytest.importorskip(_name)

START = """
import altair as alt
import numpy as np
from pyspark.sql import SparkSession
from gmm_spark import GaussianMixture

alt.renderers.enable("svg")
builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
builder = builder.config("spark.driver.memory", "1g").config("spark.driver.host", "127.0.0.1")
builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
spark = builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()
spark.sparkContext.setLogLevel("OFF")
rng = np.random.default_rng(1)
rows = np.repeat([[0.0, 0.0], [9.0, 2.0]], [60, 40], axis=0) + rng.normal(size=(100, 2))
frame = spark.createDataFrame(rows.tolist(), "`<script>` double, y double")
mixture = GaussianMixture(k=2, inputCols=["<script>", "y"], numInit=1)
"""
CELLS = [
    START,
    "mixture",
    "model = mixture.fit(frame)\nmodel",
    "model.summary",
    "model.plot.ellipses()",
    "model.plot.profiles(frame)",
    "[mixture, model]",
    "spark.stop()",
]


@pytest.fixture(scope="module")
def cells() -> list[Any]:
    """The cells after they were run."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in CELLS])
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3")
    return client.execute(env=environment_of_a_process()).cells


def shown(cell: Any, kind: str) -> str:
    """What a cell ends in."""
    found = [one["data"] for one in cell.outputs if one["output_type"] == "execute_result"]
    found += [one["data"] for one in cell.outputs if one["output_type"] == "display_data"]
    assert len(found) == 1
    return str(found[0][kind])


def lines(cell: Any) -> list[list[str]]:
    page = Page(shown(cell, "text/html"))
    assert "script" not in page.tags
    return [[text for text, _ in row] for row in page.tables[""]]


def test_estimator_model_and_summary_are_tables(cells) -> None:
    assert ["inputCols", "[<script>, y]"] in [line[:2] for line in lines(cells[1])]
    of_model = {line[0]: line[1:] for line in lines(cells[2])}
    assert of_model["rows"] == ["60", "40"]
    means = [float(one.split()[0]) for one in of_model["<script>"]]
    assert means == pytest.approx([0.0, 9.0], abs=0.5)
    assert dict(lines(cells[3]))["rows of the components"] == "60, 40"


def test_charts_are_pictures(cells) -> None:
    for cell in cells[4:6]:
        svg = shown(cell, "image/svg+xml")
        assert svg.startswith("<svg")
        assert "var(" not in svg


def test_in_a_list_they_are_lines(cells) -> None:
    text = shown(cells[6], "text/plain")
    assert "GaussianMixture: uid=" in text
    assert "GaussianMixtureModel: uid=" in text
    assert "inputCols=[<script>, y]" in text


def test_no_cell_says_anything_else(cells) -> None:
    """What a fit says of its progress is in the cell that fits; nothing warns or fails."""
    for number, cell in enumerate(cells[1:7], 1):
        others = [one for one in cell.outputs if one["output_type"] in ("stream", "error")]
        assert number in (2, 5) or others == [], others
