"""Folders with odd names: fitted, scored, filled, saved and loaded by their own names."""

from __future__ import annotations

import pytest

from gmm_spark import GaussianMixture, GaussianMixtureModel, GaussianMixtureSearch, ParquetTable
from gmm_spark.errors import ConfigurationError, ModelFileError

ODD = ["run[1] {a,b}", "100% a#b?c", r"x* back\slash"]


@pytest.fixture(scope="module")
def mixture() -> GaussianMixture:
    return GaussianMixture(k=1, inputCols=["x", "y"], numInit=1)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.long
def test_everything_is_where_it_is_said_to_be(spark, frame, mixture, tmp_path, name) -> None:
    root = tmp_path / name
    frame.write.parquet(str(root / "t"))
    # What the name would match as a pattern, or cut at a # or ?, is another table.
    for other in ("run1 a", "run1 b", "100% a", "100% a#b", "xx back", r"xx back\slash"):
        frame.limit(7).write.parquet(str(tmp_path / other / "t"))
    for path in (root / "t", f"file:{root}/t", f"file://{root}/t"):
        model = mixture.fit(ParquetTable(path))
        assert model.summary.numRows == 300
    assert model.transform(ParquetTable(root / "t")).count() == 300
    assert model.impute(ParquetTable(root / "t")).count() == 300
    model.save(root / "m")
    model.write().overwrite().save(root / "m")
    for path in (root / "m", f"file://{root}/m"):
        assert GaussianMixtureModel.load(path).means.tolist() == model.means.tolist()
    with pytest.raises(ConfigurationError, match="exists already"):
        model.save(root / "m")
    start = mixture.copy().setInitialModel(model)
    start.save(root / "e")
    assert GaussianMixture.load(root / "e").getInitialModel().means.tolist() == model.means.tolist()
    with pytest.raises(ModelFileError, match="there is no model at"):
        GaussianMixtureModel.load(root / "absent")


def test_patterns_and_vectors(spark, frame, tmp_path) -> None:
    for month in ("2026-01", "2026-02", "2027-01"):
        frame.selectExpr("*", "array(x, y) as features").write.parquet(str(tmp_path / month))
    data = ParquetTable(tmp_path / "2026-*")
    mixture = GaussianMixture(k=1, numInit=1, inputCols=["x", "y"])
    model = mixture.fit(data)
    assert model.summary.numRows == 600
    assert model.transform(data).count() == 600  # with a column that Spark reads
    assert model.impute(ParquetTable(tmp_path / "202[67]-01", columns=("x", "y"))).count() == 600
    search = GaussianMixtureSearch(k=[1], numInit=1, sampleSize=100)
    assert search.fit(ParquetTable(tmp_path / "{2026-01,2027-01}")).summary.numRows == 600
    model.save(tmp_path / "models" / "nightly 1")
    assert GaussianMixtureModel.load(tmp_path / "models" / "night*").means.tolist()
    model.save(tmp_path / "models" / "nightly 2")
    with pytest.raises(ModelFileError, match=r"2 paths match .*nightly 1 to .*nightly 2"):
        GaussianMixtureModel.load(tmp_path / "models" / "night*")


@pytest.mark.parametrize("path", [3, None, ["t"]])
def test_what_is_no_path_is_refused(spark, mixture, model, path) -> None:
    for act in (
        lambda: mixture.fit(ParquetTable(path)),
        lambda: model.transform(ParquetTable(path)),
        lambda: model.impute(ParquetTable(path)),
        lambda: model.save(path),
        lambda: mixture.save(path),
        lambda: GaussianMixtureModel.load(path),
    ):
        with pytest.raises(ConfigurationError, match="is no path"):
            act()
