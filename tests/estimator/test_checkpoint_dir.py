"""checkpointDir: a fit whose driver died goes on, on a cluster, from a table or a DataFrame."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gmm_spark import GaussianMixture, GaussianMixtureSearch, ParquetTable
from gmm_spark.engine import scanning
from gmm_spark.engine.passes import PassEngine
from gmm_spark.errors import ConfigurationError, InputDataError
from tests.estimator.helpers import assert_same_model, table
from tests.estimator.test_cluster import held

PLAIN = {"k": 3, "inputCols": ["x", "y"], "seed": 1, "numInit": 2, "acceleration": "none"}


class Died(BaseException):
    """The end of a driver."""


@pytest.fixture
def lake(groups, tmp_path) -> Path:
    path = tmp_path / "table"
    path.mkdir()
    for part in range(2):
        rows = pd.DataFrame(groups[part::2], columns=["x", "y"])
        rows.assign(w=1.0).to_parquet(path / f"part-{part}.parquet")
    return path


@pytest.fixture
def interrupted(spark, dies, tmp_path) -> Callable[..., GaussianMixture]:
    """A fit that died after its second pass, and the estimator to fit again."""

    def of(dataset: Any, **params: Any) -> GaussianMixture:
        mixture = GaussianMixture(**PLAIN, **params, checkpointDir=str(tmp_path / "kept"))
        dies("passes-1-000002", Died)
        with pytest.raises(Died):
            mixture.fit(dataset)
        dies("")
        return mixture

    return of


@pytest.fixture
def work(monkeypatch) -> dict[str, int]:
    """How many scans and passes there were."""

    def start() -> dict[str, int]:
        made = {"scans": 0, "passes": 0}
        run_passes, look = PassEngine.run_passes, scanning.scan

        def passed(self: PassEngine, evaluators: Any) -> Any:
            made["passes"] += 1
            return run_passes(self, evaluators)

        def scanned(*args: Any, **more: Any) -> Any:
            made["scans"] += 1
            return look(*args, **more)

        monkeypatch.setattr(PassEngine, "run_passes", passed)
        monkeypatch.setattr("gmm_spark.data.scan", scanned)
        return made

    return start


@pytest.mark.parametrize("kind", ["table", "frame"])
def test_it_goes_on_at_the_next_pass_to_the_same_model(
    spark, frame, lake, interrupted, work, kind
) -> None:
    dataset = ParquetTable(lake) if kind == "table" else frame
    expected = GaussianMixture(**PLAIN).fit(dataset)
    before = held(spark)
    mixture = interrupted(dataset)
    assert held(spark) == before
    made = work()
    found = mixture.fit(dataset)
    assert held(spark) == before
    # A table is the same by its files; of a DataFrame the rows are looked at.
    assert made == {"scans": int(kind == "frame"), "passes": expected.summary.numPasses - 2}
    assert_same_model(found, expected, rtol=1e-12)
    if kind == "table":
        assert found.means.tobytes() == expected.means.tobytes()
    records = [{**one, "seconds": None} for one in found.summary.history]
    assert records == [{**one, "seconds": None} for one in expected.summary.history]


CHANGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a file more": (
        lambda path: pd.DataFrame({"x": [1.0], "y": [2.0]}).to_parquet(path / "new.parquet"),
        r"new\.parquet is new",
    ),
    "a file less": (
        lambda path: (path / "part-1.parquet").unlink(),
        r"part-1\.parquet is not there any more",
    ),
    "a file written again": (
        lambda path: os.utime(path / "part-0.parquet", ns=(0, 12345)),
        r"part-0\.parquet was .*1970.* and is|part-0\.parquet was .* and is .*1970",
    ),
    "a file of other rows": (
        lambda path: pd.DataFrame({"x": [1.0], "y": [2.0]}).to_parquet(path / "part-0.parquet"),
        r"part-0\.parquet was .* bytes.* and is .* bytes",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_table_is_refused_by_the_file(lake, interrupted, work, change) -> None:
    mixture = interrupted(ParquetTable(lake))
    happens, said = CHANGES[change]
    happens(lake)
    made = work()
    with pytest.raises(InputDataError, match=f"of other rows: .*{said}") as refused:
        mixture.fit(ParquetTable(lake))
    assert "remove this one to begin anew" in str(refused.value)
    assert made == {"scans": 0, "passes": 0}


def test_another_filter_is_refused(lake, interrupted) -> None:
    mixture = interrupted(ParquetTable(lake))
    with pytest.raises(InputDataError, match=r"filters was not set and is \(x > 0"):
        mixture.fit(ParquetTable(lake, filters=[("x", ">", 0.0)]))


def test_another_row_of_a_frame_is_refused(spark, frame, groups, interrupted) -> None:
    mixture = interrupted(frame)
    before, changed = held(spark), groups.copy()
    changed[17, 1] = np.nextafter(changed[17, 1], 9.0)
    with pytest.raises(InputDataError, match="of other rows: hash of the rows was"):
        mixture.fit(table(spark, changed, ["x", "y"], partitions=2))
    assert held(spark) == before
    # And the same rows, cut and ordered in another way, are the same.
    again = table(spark, groups[::-1].copy(), ["x", "y"], partitions=3)
    assert_same_model(mixture.fit(again), GaussianMixture(**PLAIN).fit(frame), rtol=1e-9)


def test_other_columns_are_refused(lake, interrupted) -> None:
    mixture = interrupted(ParquetTable(lake))
    with pytest.raises(ConfigurationError, match="weightCol was not set and is w"):
        mixture.setWeightCol("w").fit(ParquetTable(lake))


def test_a_search_goes_on_in_the_middle_of_its_search_and_of_its_passes(
    spark, frame, dies, tmp_path
) -> None:
    settings = {"k": [2, 3], "inputCols": ["x", "y"], "seed": 1, "numInit": 2, "sampleSize": 150}
    expected = GaussianMixtureSearch(**settings).fit(frame)
    search = GaussianMixtureSearch(**settings, checkpointDir=str(tmp_path / "kept"))
    for state in ("search-000002", "passes-1-000001"):
        dies(state, Died)
        with pytest.raises(Died):
            search.fit(frame)
    dies("")
    found = search.fit(frame)
    assert_same_model(found, expected, rtol=1e-12)
    assert found.summary.candidates == expected.summary.candidates


def test_the_param_is_a_path_and_no_part_of_a_model(spark, frame, tmp_path) -> None:
    where = tmp_path / "kept"
    mixture = GaussianMixture(**PLAIN, checkpointDir=where)
    assert mixture.getCheckpointDir() == str(where)
    found = mixture.fit(frame)
    assert not found.isSet("checkpointDir")
    assert (where / "checkpoint.json").exists()
    with pytest.raises(ConfigurationError, match="'' is no path"):
        GaussianMixture(checkpointDir="")


def test_every_fold_of_a_cross_validation_has_its_turn(spark, frame, tmp_path) -> None:
    """Each finds that the fit before it is finished, and begins anew."""
    mixture = GaussianMixture(**PLAIN, checkpointDir=str(tmp_path / "kept"))
    found = mixture.fit(frame, [{mixture.k: 2}, {mixture.k: 3}])
    assert [len(one.weights) for one in found] == [2, 3]
    assert_same_model(found[1], GaussianMixture(**PLAIN).fit(frame), rtol=1e-12)
