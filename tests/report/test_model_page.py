"""`model.report`: the page of any model and table, by one look at the rows, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import functions as F

from gmm_spark import GaussianMixture, GaussianMixtureModel, ParquetTable
from gmm_spark.errors import ConfigurationError, InputDataError
from gmm_spark.report import model_page
from gmm_spark.report.describing import describe_segments
from tests.report.test_page import EVIL, Page
from tests.report.test_plots import values

for _name in ("altair", "vl_convert", "jinja2"):
    pytest.importorskip(_name)

N = 300


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    segment = np.repeat([0, 1], [200, 100])
    frame = pd.DataFrame({"x": 5.0 * segment + rng.normal(size=N), "y": rng.normal(size=N)})
    frame["plan"] = np.where(rng.random(N) < np.array([0.9, 0.2])[segment], "basic", "full")
    frame["calls"] = rng.poisson(np.array([1.0, 6.0])[segment])
    frame["left"] = rng.random(N) < np.array([0.5, 0.1])[segment]
    frame[EVIL] = frame["x"]
    frame["known"] = segment
    return frame


@pytest.fixture(scope="module")
def table(spark, rows):
    return spark.createDataFrame(rows).repartition(2).cache()


def mixture(**changes: Any) -> GaussianMixtureModel:
    values: dict[str, Any] = {
        "weights": [0.6, 0.4],
        "means": [[0.0, 0.0], [5.0, 0.0]],
        "covariances": [np.eye(2), np.eye(2)],
        "inputCols": ["x", "y"],
    }
    return GaussianMixtureModel.fromParameters(**{**values, **changes})


MODELS: dict[str, tuple[GaussianMixtureModel, list[str]]] = {
    "one component of one column with an odd name": (
        mixture(weights=[1.0], means=[[2.0]], covariances=[[[7.0]]], inputCols=[EVIL]),
        ["300 rows in 1 segment "],
    ),
    "categories, counts, noise, merged, another structure": (
        mixture(
            weights=[0.5, 0.2, 0.2],
            means=[[0.0, 0.0], [5.0, -1.0], [5.0, 1.0]],
            covariances=[1.0, 0.5, 0.5],
            covarianceType="spherical",
            categories={"plan": (["basic", "full"], [[0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])},
            countCols=["calls"],
            rates=[[1.0], [6.0], [6.0]],
            noiseWeight=0.1,
            noiseBox={"x": (-9.0, 20.0), "y": (-9.0, 9.0), "calls": (0, 20)},
        ).mergeComponents(None, 2, "bhattacharyya"),
        ["300 rows in 3 segments "],
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_any_kind_has_a_page(spark, table, tmp_path, name: str) -> None:
    model, words = MODELS[name]
    path = tmp_path / "a folder that is # not there" / "page.html"
    assert model.report(table, path) == str(path)
    text = path.read_text("utf-8")
    page = Page(text)
    said = " ".join(" ".join(page.words).split())
    assert all(word in said for word in words)
    assert "segments.json" not in text.split("<footer")[1].split("</footer>")[0]
    assert EVIL not in text
    assert not list(path.parent.glob("_*"))


def test_gaps_labels_and_outcomes(spark, rows, tmp_path) -> None:
    gaps = rows.assign(x=rows["x"].where(rows.index % 7 > 0), bill=10.0, id=rows.index)
    gaps["known"] = gaps["known"].where(gaps.index % 3 == 0)
    frame = spark.createDataFrame(gaps)
    fitted = GaussianMixture(
        k=2, inputCols=["x", "y"], labelCol="known", missing="marginalize", numInit=1, maxIter=2
    ).fit(frame)
    path = str(tmp_path / "page.html")
    fitted.report(frame, path, outcomeCol="left", valueCol="bill", idCol="id", noun="customers")
    page = Page(Path(path).read_text("utf-8"))
    said = " ".join(" ".join(page.words).split())
    assert "300 customers in 2 segments" in said
    assert "id (an identifier)" in said
    assert "known (the labels that the fit was given)" in said
    assert "left (an outcome)" in said
    assert len(page.column("left by segment", "rate")) == 2
    assert len(page.column("bill and what is at risk", "at risk")) == 2
    assert "Log-likelihood of every pass" in said


@pytest.fixture
def counted(spark, table) -> tuple[Any, Any]:
    """The table, and how often a row of it was computed."""
    read = spark.sparkContext.accumulator(0)

    def same(value):  # type: ignore[no-untyped-def]
        read.add(1)
        return value

    again = F.udf(same, "double").asNondeterministic()
    return table.withColumn("x", again("x")), read


def test_the_rows_are_read_once(counted, tmp_path) -> None:
    frame, read = counted
    page = mixture().report(frame, tmp_path / "page.html", outcomeCol=["left"], points=False)
    assert read.value == N
    text = " ".join(Path(page).read_text("utf-8").split())
    assert "Points: no rows, as was asked for" in text


def test_a_file_that_is_there_is_replaced_where_that_is_said(
    spark, counted, table, tmp_path
) -> None:
    frame, read = counted
    path = tmp_path / "page.html"
    path.write_text("mine")
    with pytest.raises(ConfigurationError, match=r"there is a file already.*overwrite=True"):
        mixture().report(frame, path)
    with pytest.raises(ConfigurationError, match="is a directory"):
        mixture().report(frame, tmp_path, overwrite=True)
    assert (read.value, path.read_text()) == (0, "mine")
    mixture().report(table, path.as_uri(), overwrite=True)
    assert "300 rows in 2 segments" in " ".join(path.read_text("utf-8").split())


def test_what_cannot_be_written_is_one_error(spark, table, tmp_path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigurationError, match="report: cannot write") as caught:
        mixture().report(table, tmp_path / "file" / "page.html")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ConfigurationError, match="is no path"):
        mixture().report(table, 7)


def test_what_is_missing_is_said_before_rows_are_read(
    counted, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, read = counted
    monkeypatch.setattr(model_page, "missing_packages", lambda: ["altair"])
    with pytest.raises(ConfigurationError, match=r"needs altair.*pip install 'gmm_spark\[report\]"):
        mixture().report(frame, tmp_path / "page.html")
    assert read.value == 0


def test_data_of_the_wrong_kind_are_one_error(spark, rows, tmp_path) -> None:
    with pytest.raises(InputDataError, match="report takes a Spark DataFrame or a ParquetTable"):
        mixture().report(rows, tmp_path / "page.html")
    stream = spark.readStream.format("rate").load()
    with pytest.raises(InputDataError, match="not a stream"):
        mixture().report(stream, tmp_path / "page.html")


def test_a_parquet_table_is_the_frame_of_it(spark, table, tmp_path) -> None:
    table.write.parquet(str(tmp_path / "table"))
    mixture().report(ParquetTable(tmp_path / "table"), tmp_path / "of table.html")
    mixture().report(spark.read.parquet(str(tmp_path / "table")), tmp_path / "of frame.html")
    one, other = ((tmp_path / f"of {what}.html").read_bytes() for what in ("table", "frame"))
    assert one == other


def test_a_vector_is_described_by_its_entries(spark, table) -> None:
    model = mixture(inputCols=None)
    assembled = VectorAssembler(inputCols=["x", "y"], outputCol="features").transform(table)
    # What was assembled is there: it stands for the entries.
    found = describe_segments(model, assembled)
    assert {one.name: one.in_model for one in found.columns} == {
        "x": True, "y": True, "plan": False, "calls": False, "left": False, EVIL: False,
        "known": False,
    }  # fmt: skip
    assert "features" not in found.not_described
    alone = describe_segments(model, assembled.select("features"))
    named = describe_segments(model, table.select(F.array("x", "y").alias("features")))
    assert [one.name for one in alone.columns] == ["x", "y"]
    assert [one.name for one in named.columns] == ["features_0", "features_1"]
    means = [[p.mean for p in s.profile[:2]] for s in found.segments]
    for other in (alone, named):
        own = [[p.mean for p in s.profile] for s in other.segments]
        np.testing.assert_allclose(own, means)


def test_a_map_has_rows_as_points(table) -> None:
    model = mixture()
    chart = model.plot.map(table)
    pictured = describe_segments(model, table).map
    points = [(row["x"], row["y"]) for row in values(chart) if "probability" in row]
    assert points == [(one.x, one.y) for one in pictured.points]
    assert len(points) == N
    with pytest.raises(ConfigurationError, match=r"plot\.map: .*in one direction alone"):
        MODELS["one component of one column with an odd name"][0].plot.map(table)


def test_profiles_of_rows_are_charts_of_what_is_described(table) -> None:
    rows = values(mixture().plot.profiles(table))
    found = describe_segments(mixture(), table)
    units = {(p.standard_units, s.name) for s in found.segments for p in s.profile[:2]}
    assert units <= {(row["unit"], row["name"]) for row in rows}
    assert {"plan: basic", "plan: full"} & {row["column"] for row in rows}
    with pytest.raises(InputDataError, match=r"plot\.profiles takes a Spark DataFrame"):
        mixture().plot.profiles([[1.0, 2.0]])
