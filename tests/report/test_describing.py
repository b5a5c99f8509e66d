"""Segments described over tables: every figure equals a plain aggregation by Spark or numpy."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pyspark.ml.functions import vector_to_array
from pyspark.sql import functions as F
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from gmm_spark import GaussianMixture, GaussianMixtureModel
from gmm_spark.engine import profiles
from gmm_spark.errors import GmmError, InputDataError
from gmm_spark.report import typical
from gmm_spark.report.describing import describe_segments
from gmm_spark.report.segment_frames import segment_frames
from gmm_spark.report.segments import CategoryProfile, Segment, Segments, json_schema
from tests.conftest import ROOT

SCHEMA = json.loads((ROOT / "docs" / "segments.schema.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    n = 1500
    segment = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    frame = pd.DataFrame({"customer_id": np.arange(n)})
    frame["tenure"] = np.round(np.array([10.0, 40.0, 25.0])[segment] + 6 * rng.normal(size=n))
    frame["bill"] = np.array([20.0, 60.0, 90.0])[segment] + 12 * rng.normal(size=n)
    frame["plan"] = np.where(rng.random(n) < np.array([0.8, 0.3, 0.1])[segment], "basic", "full")
    frame.loc[rng.random(n) < 0.1, "plan"] = None
    frame["calls"] = rng.poisson(np.array([1.0, 3.0, 8.0])[segment]).astype(float)
    frame.loc[rng.random(n) < 0.2, "calls"] = np.nan
    frame["since"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(frame["tenure"], unit="D")
    frame["left"] = rng.random(n) < np.array([0.5, 0.2, 0.05])[segment]
    frame["empty"] = np.nan
    far = rng.random(n) < 0.02  # the noise
    frame.loc[far, "tenure"] = np.round(400 * rng.random(far.sum()))
    frame.loc[far, "bill"] = 500 * rng.random(far.sum())
    frame["w"] = 1.0 + frame["customer_id"] % 3
    return frame


@pytest.fixture(scope="module")
def table(spark, rows):
    return spark.createDataFrame(rows).repartition(3, "customer_id").cache()


@pytest.fixture(scope="module", params=["plain", "weights, noise and merging"])
def model(request, table) -> GaussianMixtureModel:
    mixture = GaussianMixture(k=3, inputCols=["tenure", "bill"], numInit=1, seed=1)
    if request.param == "plain":
        return mixture.fit(table)
    mixture.setK(4).setNoise(True).setWeightCol("w").setContamination(0.02)
    return mixture.fit(table).mergeComponents(table, 3)


@pytest.fixture(scope="module")
def found(model, table) -> Segments:
    return describe_segments(model, table, outcomes=["left"], value="bill", id="customer_id")


def test_profiles_are_plain_aggregations_weighted_by_probabilities(model, table, found) -> None:
    scored = model.transform(table).withColumn("p", vector_to_array("probability"))
    weight = F.col("w") if model.isSet("weightCol") else F.lit(1.0)
    total = scored.count()
    assert found.rows.total == found.rows.with_segment == total
    for j, segment in enumerate(found.segments):
        p = F.col("p")[j] * weight
        profile = {one.column: one for one in segment.profile}
        wanted = [F.sum(p).alias("size")]
        for name in ("tenure", "bill", "calls"):
            value = F.nanvl(name, F.lit(None).cast("double"))
            own = F.when(value.isNotNull(), p)
            mean = F.sum(own * value) / F.sum(own)
            wanted += [F.sum(own).alias(f"{name} known"), mean.alias(f"{name} mean")]
            wanted.append((F.sum(own * value**2) / F.sum(own) - mean**2).alias(f"{name} variance"))
        for value in ("basic", "full"):
            share = F.sum(F.when(F.col("plan") == value, p)) / F.sum(
                F.when(F.col("plan").isNotNull(), p)
            )
            wanted.append(share.alias(value))
        wanted.append((F.sum(F.when(F.col("left"), p).otherwise(0.0)) / F.sum(p)).alias("rate"))
        plain = scored.agg(*wanted).first()
        assert segment.size == pytest.approx(plain["size"], rel=1e-9)
        for name in ("tenure", "bill", "calls"):
            one = profile[name]
            assert one.known == pytest.approx(plain[f"{name} known"], rel=1e-9)
            assert one.mean == pytest.approx(plain[f"{name} mean"], rel=1e-9)
            assert one.missing == pytest.approx(1 - one.known / segment.size, abs=1e-9)
            variance = plain[f"{name} variance"]
            assert one.standard_deviation**2 == pytest.approx(variance, rel=1e-6)
        shares = {one.value: one.share for one in profile["plan"].values}
        assert shares == pytest.approx({v: plain[v] for v in ("basic", "full")}, rel=1e-9)
        assert segment.outcomes[0].posterior == pytest.approx(plain["rate"], rel=1e-6)
        own = scored.where(F.col("prediction") == segment.segment)
        assert segment.rows == own.count()
        if segment.rows and not model.isSet("weightCol"):
            raw = own.agg(F.avg(F.col("left").cast("double"))).first()[0]
            assert segment.outcomes[0].raw == pytest.approx(raw)
    assert sum(one.share for one in found.segments) == pytest.approx(1)


def test_quantiles_and_effects_are_those_of_weighted_rows(model, table, found) -> None:
    scored = model.transform(table).withColumn("p", vector_to_array("probability")).toPandas()
    p = np.array(scored["p"].tolist()).T
    if model.isSet("weightCol"):
        p = p * scored["w"].to_numpy()
    for name in ("tenure", "calls"):
        values = scored[name].to_numpy()
        known = ~np.isnan(values)
        for j, segment in enumerate(found.segments):
            (one,) = [one for one in segment.profile if one.column == name]
            own, rest = p[j][known], (p.sum(axis=0) - p[j])[known]
            # The least value that a share of the weight lies at or under.
            order = np.argsort(values[known])
            shares = np.cumsum(own[order]) / own.sum()
            places = np.searchsorted(shares, [0.05, 0.25, 0.5, 0.75, 0.95])
            expected = values[known][order][places]
            assert list(one.quantiles.model_dump().values()) == expected.tolist()
            sign = np.sign(values[known][:, None] - values[known][None])
            delta = own @ sign @ rest / own.sum() / rest.sum()
            (found_one,) = [one for one in segment.sets_apart if one.column == name]
            assert found_one.effect == pytest.approx(delta, abs=1e-9)
    assert "exact, of all 1,500 rows" in found.quantiles


def test_the_rows_are_on_a_map_and_beside_k_means(model, found) -> None:
    assert len(found.map.points) == 1500
    segments = {one.segment for one in found.segments}
    assert {one.segment for one in found.map.points} <= segments
    components = [one.component for one in found.map.iterations[-1].ellipses]
    assert components == list(range(model.parameters.k))
    assert len(found.map.iterations) > 1
    table = np.array(found.kmeans.table)
    assert table.shape == (len(segments), len(model.clusters))
    assert table.sum() == found.kmeans.rows == 1500
    rows = [one.rows for one in found.segments]
    assert table.sum(axis=1).tolist() == rows
    (said,) = found.kmeans.outcomes
    assert (said.outcome, said.rows) == ("left", 1500)
    assert said.bits > 0


def test_what_is_written_is_valid_and_read_back(found) -> None:
    text = found.to_json()
    jsonschema.validate(json.loads(text), SCHEMA)
    assert "NaN" not in text
    assert Segments.from_json(text) == found


def test_tables_hold_the_same_figures(spark, found) -> None:
    tables = {name: frame.toPandas() for name, frame in segment_frames(spark, found).items()}
    assert list(tables) == ["segments", "profiles", "differences", "outcomes"]
    assert tables["segments"]["name"].tolist() == [one.name for one in found.segments]
    assert tables["segments"]["size"].tolist() == [one.size for one in found.segments]
    long = tables["profiles"]
    own = long[(long["column"] == "tenure") & (long["statistic"] == "mean")]
    expected = [one.profile[0].mean for one in [*found.segments, found.whole]]
    assert own["figure"].tolist() == expected
    shares = long[(long["column"] == "plan") & (long["statistic"] == "share")]
    assert shares.groupby("segment")["figure"].sum().tolist() == pytest.approx(
        [1.0] * len(found.segments)
    )
    first = tables["differences"][tables["differences"]["place"] == 1]
    assert first["effect"].tolist() == [one.sets_apart[0].effect for one in found.segments]
    rates = [one.outcomes[0].value for one in found.segments]
    assert tables["outcomes"]["value"].tolist() == rates


def test_value_at_risk_is_value_times_rate(found) -> None:
    (outcome,) = found.outcomes
    assert found.value.outcome == outcome.name == "left"
    for segment in found.segments:
        value, rate = segment.value, segment.outcomes[0]
        assert value.at_risk == pytest.approx(value.total * rate.value)
        assert value.at_risk_low == pytest.approx(value.total * rate.low)
        assert value.at_risk_high == pytest.approx(value.total * rate.high)
    assert found.value.at_risk == pytest.approx(sum(s.value.at_risk for s in found.segments))


def test_of_kmeans_value_at_risk_is_of_the_rows_that_rates_are_of(
    model, table, monkeypatch
) -> None:
    origin = "k-means, columns weighted by the outcome"
    monkeypatch.setattr(GaussianMixtureModel, "_origin", origin)
    found = describe_segments(model, table, outcomes=["left"], value="bill", id="customer_id")
    weight = F.col("w") if model.isSet("weightCol") else F.lit(1.0)
    bill = F.sum(weight * F.col("bill"))
    aggregates = bill.alias("total"), (bill / F.sum(weight)).alias("mean")
    scored = model.transform(table).groupBy("prediction").agg(*aggregates).collect()
    expected = {row["prediction"]: row for row in scored}
    for segment in found.segments:
        value, (rate,) = segment.value, segment.outcomes
        assert rate.estimate == "counted"
        assert value.total == pytest.approx(expected[segment.segment]["total"], rel=1e-12)
        assert value.mean == pytest.approx(expected[segment.segment]["mean"], rel=1e-12)
        assert value.at_risk == pytest.approx(value.total * rate.raw, rel=1e-12)


def test_a_typical_row_is_told_from_the_next_segment_by_the_formula(model, found) -> None:
    """At the mean of the heaviest component, by scipy; of merged components and with noise too."""
    weights = np.array([*model.weights, model.noiseWeight])
    logs = np.log(weights[:-1]) if not model.noiseWeight else np.log(weights)
    real = [one for one in found.segments if one.segment != -1]
    for one, cluster in zip(real, model.clusters, strict=True):
        middle = model.means[max(cluster, key=lambda j: model.weights[j])]
        joint = np.array(
            [
                logs[j] + multivariate_normal(model.means[j], model.covariances[j]).logpdf(middle)
                for j in range(len(model.weights))
            ]
        )
        of_segments = [logsumexp(joint[own]) for own in model.clusters]
        if model.noiseWeight:
            of_segments.append(logs[-1] - model.parameters.noise.log_widths.sum())
        others = [value for j, value in enumerate(of_segments) if j != one.segment]
        assert_allclose(one.typical.log_odds, of_segments[one.segment] - max(others), rtol=1e-9)
        other = one.typical.runner_up
        assert of_segments[other] == max(others)
        if len(cluster) == 1 and other != -1 and len(model.clusters[other]) == 1:
            (place,) = model.clusters[other]
            z = middle - model.means[place]
            shares = z * np.linalg.solve(model.covariances[place], z) / 2
            told = {reason.column: reason.contribution for reason in one.typical.reasons}
            assert_allclose([told["tenure"], told["bill"]], shares, rtol=1e-7)
    assert all(one.typical is None for one in found.segments if one.segment == -1)


@pytest.mark.parametrize(
    ("values", "value", "words"),
    [(["0", "1"], "1", "with partner"), (["no", "yes"], "no", "no partner"),
     (["Month-to-month", "Two year"], "Two year", "two-year partner")],
)  # fmt: skip
def test_a_typical_value_is_said_as_in_names(values, value, words) -> None:
    profile = CategoryProfile(
        kind="category", column="partner", known=9.0, missing=0.0, other=0.0,
        values=[{"value": one, "share": 0.5} for one in values],
    )  # fmt: skip
    segment = Segment.model_construct(profile=[profile])
    assert typical._said(segment, "partner", value) == words


def test_membership_and_outliers_are_counts_of_the_scored_rows(model, table, found) -> None:
    scored = model.transform(table).toPandas()
    p = np.array([vector.toArray() for vector in scored["probability"]])
    for j, one in enumerate(found.membership.segments):
        own = (scored["prediction"] == one.segment).to_numpy()
        assert one.rows == own.sum()
        assert_allclose(one.probabilities, p[own].mean(axis=0), atol=1e-12)
        assert one.mean_probability == one.probabilities[j]
        counts, _ = np.histogram(p[own].max(axis=1), found.membership.edges)
        assert_allclose(one.shares, counts / own.sum(), atol=1e-12)
    if model.getOutlierThreshold() is None:
        assert found.outliers is None
    else:
        assert found.outliers.rows == scored["outlier"].sum()


def test_the_schema_is_that_of_the_models() -> None:
    """`python -m gmm_spark.report.segments > docs/segments.schema.json` writes it."""
    assert json_schema() == SCHEMA
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"outcomes": ["lefft"]}, "lefft"),
        ({"outcomes": ["tenure"]}, "outcome 'tenure' is a column of the model"),
        ({"outcomes": ["left", "left"]}, "outcome 'left' is named twice"),
        ({"outcomes": ["plan"]}, "'plan'"),
        ({"value": "plan"}, "value 'plan' has type string; expected a number"),
        ({"value": "money"}, "money"),
        ({"id": "ident"}, "ident"),
    ],
)
def test_what_cannot_be_described_is_one_error(table, asked, expected) -> None:
    model = GaussianMixtureModel.fromParameters(
        [0.5, 0.5], [[10.0], [40.0]], [[[25.0]], [[25.0]]], inputCols=["tenure"]
    )
    with pytest.raises(GmmError) as error:
        describe_segments(model, table, **asked)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_rows_without_a_segment_are_counted_and_described_by_none(table) -> None:
    model = GaussianMixtureModel.fromParameters(
        [0.6, 0.4], [[2.0], [8.0]], [[[2.0]], [[8.0]]], inputCols=["calls"]
    )
    gaps = table.where(F.col("calls").isNull()).count()
    with pytest.raises(InputDataError, match="have a gap"):
        describe_segments(model, table)
    found = describe_segments(model.setMissing("skip"), table, outcomes=["left"])
    assert found.rows.without_segment == gaps > 0
    assert found.rows.total == table.count()
    assert sum(one.rows for one in found.segments) == found.rows.with_segment
    assert found.segments[0].profile[0].missing is not None
    with pytest.raises(InputDataError, match=r"none of \d+ rows has a segment"):
        describe_segments(model, table.where(F.col("calls").isNull()))


def test_a_large_table_is_described_by_a_sample_of_its_rows(table, monkeypatch) -> None:
    model = GaussianMixtureModel.fromParameters(
        [0.5, 0.5], [[10.0], [40.0]], [[[25.0]], [[25.0]]], inputCols=["tenure"]
    )
    whole = describe_segments(model, table)
    monkeypatch.setattr(profiles, "SAMPLE_ROWS", 900)
    monkeypatch.setattr(profiles, "_LEAST_SENT", 400)
    some = describe_segments(model, table)
    assert "of a sample of 900 of 1,500 rows" in some.quantiles
    for one, other in zip(whole.segments, some.segments, strict=True):
        assert one.size == pytest.approx(other.size, rel=1e-12)
        assert one.profile[0].mean == pytest.approx(other.profile[0].mean, rel=1e-12)
        apart = {each.column: each.effect for each in one.sets_apart if each.value is None}
        for each in other.sets_apart:
            if each.value is None:
                assert each.effect == pytest.approx(apart[each.column], abs=0.15)
