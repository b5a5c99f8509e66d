"""Warnings: what they are of, and that what is logged is one line a kind."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gmm_spark import GaussianMixture, GaussianMixtureSearch
from gmm_spark.advice import about_weights, edge_of_search, headlines
from gmm_spark.engine.blocks import Roles


def kinds(model) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for warning in model.summary.warnings:
        kind, text = warning.split(": ", 1)
        found.setdefault(kind, []).append(text)
    return found


# --- without Spark -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "rows", "fractional", "scale", "said"),
    [
        (1.0, 600, True, 1.0, "sum to 1 over 600 rows"),
        (1e9, 600, True, 1.0, "sum to 1e+09 over 600 rows"),
        (299.0, 600, True, 1.0, "sum to 299 over 600 rows"),
        (6001.0, 600, True, 1.0, "sum to 6001 over 600 rows"),
        (301.0, 600, True, 1.0, None),
        (5999.0, 600, True, 1.0, None),
        (1e9, 600, False, 1.0, None),  # patterns with counts
        (600.0, 600, True, 600.0, None),  # scaled
    ],
)
def test_weights_that_do_not_sum_to_about_the_rows(total, rows, fractional, scale, said) -> None:
    scanned = SimpleNamespace(
        weight=total, num_rows=rows, fractional_weights=fractional, weight_scale=scale
    )
    found = about_weights(scanned, Roles(("x",), weight="w"))
    if said is None:
        assert found == []
    else:
        assert said in found[0]
        assert found[0].startswith("weights_sum: the weights in w ")
        assert "weightKind='importance'" in found[0]
    assert about_weights(scanned, Roles(("x",))) == []


@pytest.mark.parametrize(
    ("best", "tried", "said"),
    [
        (5, [1, 2, 3, 4, 5], ["k_at_edge: BIC is lowest at k = 5, the largest tried"]),
        (2, [2, 3, 4], ["k_at_edge: BIC is lowest at k = 2, the smallest tried"]),
        (3, [2, 3, 4], ["k_1_not_tried: the smallest k tried is 2"]),
        (4, [4, 3, 2, 2], ["k_at_edge: BIC is lowest at k = 4", "k_1_not_tried"]),
        (1, [1, 2, 3], []),
        (2, [1, 2, 3], []),
        (4, [4, 4], []),  # nothing to choose from
    ],
)
def test_the_edge_of_a_search(best, tried, said) -> None:
    found = edge_of_search(best, tried, "bic")
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True))


def test_what_is_logged_is_one_line_a_kind_and_short() -> None:
    floors = [f"covariance_floor: cluster {i}" for i in range(20)]
    long = "collinear_columns: " + ", ".join(f"column_{i}" for i in range(200))
    lines = headlines([*floors[:5], "rows_skipped: 3 of 9", *floors[5:], long])
    assert lines[:2] == [
        "covariance_floor: cluster 0 (19 more of this kind in summary.warnings)",
        "rows_skipped: 3 of 9",
    ]
    assert len(lines) == 3
    assert len(lines[2]) < 350
    assert lines[2].startswith("collinear_columns: column_0, ")
    assert lines[2].endswith(" ... (the whole in summary.warnings)")
    assert headlines([]) == []


# --- fits --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def customers() -> pd.DataFrame:
    """Two groups by minutes; calls to the service, 0 to 9, say nothing of them."""
    rng = np.random.default_rng(5)
    minutes = rng.normal(np.where(rng.random(600) < 0.5, 100.0, 220.0), 20.0)
    frame = pd.DataFrame({"minutes": minutes, "calls": np.minimum(rng.poisson(1.5, 600), 9)})
    return frame.astype({"calls": float})


def test_a_column_of_few_whole_numbers_that_takes_the_clusters_over(
    spark, customers, caplog
) -> None:
    data = spark.createDataFrame(customers)
    mixture = GaussianMixture(k=5, inputCols=["minutes", "calls"], seed=1)
    with caplog.at_level(logging.WARNING, "gmm_spark"):
        model = mixture.fit(data)
    (said,) = kinds(model)["one_number"]
    variances = model.covariances[:, 1, 1]
    assert (variances < 0.1).sum() >= 3  # what is said of the fit is so
    assert said.startswith(f"{(variances < 0.1).sum()} of 5 clusters are one number of calls each")
    assert "countCols" in said
    assert "categoricalCols" in said
    assert "covariance_floor" not in kinds(model)  # which would say it once more
    assert len(caplog.records) == len(kinds(model))
    cured = GaussianMixture(k=2, inputCols=["minutes"], countCols=["calls"], seed=1).fit(data)
    assert kinds(cured) == {}


def test_whole_numbers_that_do_no_harm_are_silent(spark, customers) -> None:
    rounded = customers.assign(minutes=(customers["minutes"] / 10).round())  # 4 to 28
    model = GaussianMixture(k=2, inputCols=["minutes"], seed=1).fit(spark.createDataFrame(rounded))
    assert kinds(model) == {}


def test_a_cluster_of_one_heavy_row_is_called_that(spark, customers) -> None:
    rows = customers.assign(w=1.0, x=np.random.default_rng(6).normal(size=600))
    rows.loc[0, ["x", "minutes", "w"]] = [40.0, 900.0, 500.0]
    data = spark.createDataFrame(rows)
    model = GaussianMixture(k=2, inputCols=["x", "minutes"], weightCol="w", seed=1).fit(data)
    summary = model.summary
    assert (summary.clusterSizes, summary.clusterWeights) == ([599, 1], [599.0, 500.0])
    assert kinds(model)["heavy_row"] == [
        "cluster 1 (45.50%) is one row of weight 500; check the weight, or leave it out"
    ]
    assert "covariance_floor" not in kinds(model)


def test_twenty_clusters_at_the_floor_are_one_line(spark, caplog) -> None:
    """Twenty values of a column of continuous ones; the largest is the one that is named."""
    rng = np.random.default_rng(7)
    sizes = np.arange(25, 5, -1)
    values = np.repeat(np.arange(20) * 3.3137 + 0.1, sizes)
    frame = pd.DataFrame({"x": np.r_[values, rng.normal(90, 1, 40)]})
    mixture = GaussianMixture(k=21, inputCols=["x"], seed=1, covarianceFloor=1e-5)
    with caplog.at_level(logging.WARNING, "gmm_spark"):
        model = mixture.fit(spark.createDataFrame(frame))
    floors = kinds(model)["covariance_floor"]
    assert len(floors) > 10
    lines = [r.getMessage() for r in caplog.records if "covariance_floor" in r.getMessage()]
    assert lines == [
        f"covariance_floor: {floors[0]} ({len(floors) - 1} more of this kind in summary.warnings)"
    ]
    shares = [float(text.split("(")[1].split("%")[0]) for text in floors]
    assert shares == sorted(shares, reverse=True)


def test_a_count_that_is_none_is_named_and_moves_no_rate(spark) -> None:
    """10,000 usual customers have the same rate with it and without."""
    counts = np.random.default_rng(1).poisson(3, 2000)
    data = spark.createDataFrame([(int(c),) for c in [*counts, 2**31 - 1]], "calls long")
    for prior in (1.0, 0.0):
        mixture = GaussianMixture(k=2, countCols=["calls"], categoryPrior=prior, seed=1)
        model = mixture.fit(data)
        nearest = model.rates[np.argmax(model.weights), 0]
        np.testing.assert_allclose(nearest, counts.mean(), rtol=1e-3)
        (said,) = kinds(model)["odd_count"]
        assert said.startswith(
            f"calls holds 2147483647 (0.05 % of rows), the others are {counts.max()} at most"
        )


def test_a_code_among_numbers_makes_no_prior(spark) -> None:
    """The conjugate prior is of rows that are near the others: with the code's, the scatter of
    one row would be that of ten thousand rows."""
    rows = np.random.default_rng(2).normal(size=(400, 1))
    data = spark.createDataFrame([(float(x),) for x in [*rows[:, 0], 1e9]], "x double")
    model = GaussianMixture(k=2, inputCols=["x"], prior="conjugate", seed=1).fit(data)
    largest = int(np.argmax(model.weights))
    np.testing.assert_allclose(model.covariances[largest, 0, 0], rows.var(), rtol=0.05)


def test_a_search_says_where_its_list_ends(spark, customers) -> None:
    data = spark.createDataFrame(customers)
    search = GaussianMixtureSearch(k=[2, 3], inputCols=["minutes"], numInit=2, seed=1)
    assert list(kinds(search.fit(data))) == ["k_at_edge"]
