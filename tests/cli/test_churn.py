"""`gmm-spark churn`: a whole run on a small table, and what it says of tables it cannot use."""

from __future__ import annotations

import contextlib
import io
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from gmm_spark import GaussianMixtureModel
from gmm_spark.cli import churn, score
from gmm_spark.config import ChurnSettings
from gmm_spark.errors import InputDataError
from gmm_spark.mixture.divisions import adjusted_rand_index
from gmm_spark.report.page import page_of
from gmm_spark.report.scored_customers import COLUMNS, REASON_COLUMNS
from gmm_spark.report.segments import Segments
from gmm_spark.storage.customers import checked, with_roles
from tests.cli.conftest import Call, Ended, manifest, tree

SIZES = (300, 180, 120)
CHURN = (0.05, 0.30, 0.70)
PLANS = ("two years", "yearly", "monthly")


def customers() -> pd.DataFrame:
    """600 customers of three kinds, with columns that can take no part."""
    rng = np.random.default_rng(11)
    kind = np.repeat(range(3), SIZES)
    tenure = np.round(rng.normal(np.array([60, 30, 5])[kind], np.array([6, 5, 1.5])[kind]))
    bill = np.round(rng.normal(np.array([40, 90, 70])[kind], 5), 2)
    rows = len(kind)
    frame = pd.DataFrame(
        {
            "customer": [f"C{i:05}" for i in range(rows)],
            "tenure": np.maximum(tenure, 0),
            "bill": bill,
            "bill_in_cents": bill * 100,
            "plan": np.where(rng.random(rows) < 0.9, np.array(PLANS)[kind], "prepaid"),
            "country": "Norway",
            "note": [f"called on day {i} about {rng.integers(1e9)}" for i in range(rows)],
            "left": np.where(rng.random(rows) < np.array(CHURN)[kind], "yes", "no"),
            "kind": kind,
        }
    )
    frame.loc[frame.index % 40 == 0, "bill"] = np.nan
    frame.loc[frame.index % 40 == 0, "bill_in_cents"] = np.nan
    return frame.sample(frac=1, random_state=2, ignore_index=True)


class Done(NamedTuple):
    """A run that has ended, and what it was of."""

    ended: Ended
    output: Path
    source: Path
    rows: pd.DataFrame

    @property
    def segments(self) -> Segments:
        return Segments.from_json((self.output / "segments.json").read_text("utf-8"))

    @property
    def scores(self) -> pd.DataFrame:
        return pd.read_parquet(self.output / "scores")


def ran(main: Any, *argv: object) -> Ended:
    """A job called as a command; for what is shared by tests, which capfd is not."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in argv])
    return Ended(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def done(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A run with a path, an id, an outcome and a value, all else left out but for k."""
    directory, rows = tmp_path_factory.mktemp("churn"), customers()
    source = directory / "customers.parquet"
    rows.drop(columns="kind").to_parquet(source, row_group_size=300, index=False)
    config = directory / "run.yaml"
    config.write_text(f"input.path: {source}\nid: customer\noutcome: left\nvalue: bill\n", "utf-8")
    output = directory / "out"
    argv = ["--config", config, "--k", "2..4", "--output", output, "--run_date", "2026-11-01"]
    argv += ["--explain", "true"]
    return Done(ran(churn.main, *argv), output, source, rows)


def test_a_run_ends_with_the_segments_in_words(done: Done) -> None:
    assert (done.ended.code, done.ended.problem) == (0, "")
    assert "600 customers in 3 segments" in done.ended.out
    for one in done.segments.segments:
        figures = one.words.removeprefix(f"{one.name}: ")
        assert f"  {one.segment}  {one.name}\n" in done.ended.out
        assert figures in done.ended.out.replace(";\n     ", "; ")
    written = ["model", "scores", "profiles", "preparation.json", "segments.json", "report.html"]
    assert sorted(path.name for path in done.output.iterdir()) == sorted(
        [*written, "log.txt", "manifest.json"]
    )
    for name in written:
        assert f"{done.output / name}\n" in done.ended.out


def test_the_page_is_that_of_segments_json(done: Done) -> None:
    assert (done.output / "report.html").read_text("utf-8") == page_of(done.segments)


def test_no_customer_is_told_from_what_is_shown(done: Done) -> None:
    for name in ("report.html", "segments.json"):
        shown = (done.output / name).read_text("utf-8")
        assert [one for one in [*done.rows["customer"], *done.rows["note"]] if one in shown] == []


def test_a_page_that_cannot_be_made_fails_no_run(
    done: Done, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(segments: Segments) -> str:
        raise ValueError("no fonts")

    monkeypatch.setattr(churn, "page_of", fails)
    run: Any = SimpleNamespace(output=None, warned=[])
    run.warn = lambda said, logged: run.warned.extend(said)
    churn._write_page(run, done.segments)
    assert run.warned == ["report.html: could not be made of segments.json: no fonts"]
    assert "report.html was not made" in caplog.text


def test_what_takes_no_part_is_named_with_the_reason(done: Done) -> None:
    card = {one["name"]: one for one in json.loads((done.output / PREPARATION).read_text("utf-8"))}
    left_out = {name for name, one in card.items() if one["role"] == "left out"}
    assert {"customer", "country", "note", "left"} < left_out
    assert len(left_out & {"bill", "bill_in_cents"}) == 1
    assert left_out.isdisjoint({"tenure", "plan"})
    said = done.ended.out.partition("\nLeft out\n")[2].splitlines()[: len(left_out)]
    assert [line.split(maxsplit=1) for line in said] == [
        [name, card[name]["reason"]] for name in card if name in left_out
    ]
    assert manifest(done.output)["columns"] == {n: one["role"] for n, one in card.items()}


def test_every_customer_has_a_segment(done: Done) -> None:
    scores = done.scores.set_index("customer")
    assert list(scores.columns) == [*COLUMNS, *REASON_COLUMNS]
    assert len(scores) == len(done.rows)
    rows = done.rows.set_index("customer").loc[scores.index]
    segments = scores["segment"].to_numpy()
    assert adjusted_rand_index(segments, rows["kind"].to_numpy()) > 0.9
    names = {one.segment: one.name for one in done.segments.segments}
    assert len(set(names.values())) == 3
    assert (scores["segment_name"] == scores["segment"].map(names)).all()
    shares = np.stack(scores["probabilities"].to_numpy())
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-12)
    assert (shares.argmax(axis=1) == segments).all()
    assert scores["outlier_percentile"].between(0, 99).all()


def test_why_a_customer_is_in_a_segment_is_said_in_raw_columns_and_values(done: Done) -> None:
    """The model is of prepared ones, which are on another scale."""
    scores = done.scores.set_index("customer")
    rows = done.rows.set_index("customer").loc[scores.index]
    card = json.loads((done.output / PREPARATION).read_text("utf-8"))
    taking_part = {one["name"] for one in card if one["role"] != "left out"}
    for number in (1, 2, 3):
        reason, value = scores[f"reason_{number}"], scores[f"reason_{number}_value"]
        assert set(reason.dropna()) <= taking_part
        assert set(scores[f"reason_{number}_direction"].dropna()) <= {"for", "against"}
        for name in ("tenure", "plan"):
            own = reason == name
            raw = rows.loc[own, name]
            known = value[own] if name == "plan" else value[own].astype(float)
            assert (known == raw).all()
    named = pd.concat([scores[f"reason_{number}"] for number in (1, 2, 3)])
    assert {"tenure", "plan"} <= set(named)
    # What is not known speaks for nothing.
    unknown = rows.index[rows["bill"].isna()]
    bills = {"bill", "bill_in_cents"}
    reasons = scores.loc[unknown, [f"reason_{number}" for number in (1, 2, 3)]]
    assert not reasons.isin(bills).any().any()
    odd = scores["outlier_column"]
    assert odd.notna().all()
    assert set(odd) <= taking_part


def test_a_typical_customer_of_every_segment_is_explained(done: Done) -> None:
    for one in done.segments.segments:
        assert one.typical is not None
        assert one.typical.log_odds is not None
        assert one.typical.log_odds > 0
        assert one.typical.runner_up != one.segment
        profiles = {each.column: each for each in one.profile}
        for reason in one.typical.reasons:
            own = profiles[reason.column]
            if own.kind == "category":
                shares = {each.value: each.share or 0.0 for each in own.values}
                assert shares[reason.value or ""] == max(shares.values())
            else:
                assert float(reason.value or "nan") == pytest.approx(own.quantiles.p50, rel=1e-3)
        first, *_ = one.typical.words.split("; ")
        assert f"  {one.segment}  {first}" in done.ended.out


def test_rates_are_those_of_the_outcome_in_the_segments(done: Done) -> None:
    found = done.segments
    scores = done.scores.set_index("customer")["segment"]
    left = done.rows.set_index("customer")["left"].loc[scores.index] == "yes"
    (outcome,) = found.outcomes
    assert (outcome.name, outcome.kind, outcome.value) == ("left", "rate", left.mean())
    for one in found.segments:
        own = scores == one.segment
        assert one.rows == own.sum()
        assert one.outcomes[0].raw == pytest.approx(left[own].mean())
        assert one.outcomes[0].low < one.outcomes[0].value < one.outcomes[0].high
    rates = sorted(one.outcomes[0].value for one in found.segments)
    np.testing.assert_allclose(rates, CHURN, atol=0.08)
    assert found.value is not None
    assert found.value.total == pytest.approx(done.rows["bill"].sum(), rel=1e-9)


def test_what_was_considered_and_why_one_was_taken(done: Done) -> None:
    found = manifest(done.output)
    considered = found["metrics"]["considered"]
    assert considered[0]["k"] == 3
    assert {one["k"] for one in considered} == {2, 3, 4}
    assert "Why 3 segments: fewer say less of left, and more say hardly more" in done.ended.out
    choice = done.segments.choice
    assert choice is not None
    assert [one["k"] for one in choice.considered] == [one["k"] for one in considered]
    information = found["metrics"]["outcome_information"]
    assert information["outcome"] == "left"
    assert 250 < information["rows"] < 350
    assert f"{information['bits']:.3f} bits" in done.ended.out
    assert 0.1 < information["bits"] < 0.4


def test_its_manifest(done: Done) -> None:
    found = manifest(done.output)
    assert (found["job"], found["status"], found["run_date"]) == ("churn", "done", "2026-11-01")
    assert found["rows"]["read"] == found["rows"]["with_segment"] == 600
    assert found["metrics"]["names"] == [one.name for one in done.segments.segments]
    phases = ["reading", "preparation", "choice", "description", "scoring", "page"]
    assert list(found["metrics"]["seconds"]) == phases


def test_segments_json_has_nothing_that_differs_from_run_to_run(done: Done) -> None:
    fit = done.segments.fit
    assert fit is not None
    assert fit.passes
    assert {one.seconds for one in fit.passes} == {None}
    text = (done.output / "segments.json").read_text("utf-8")
    found = manifest(done.output)
    assert not any(found[key] in text for key in ("run_id", "started", "finished"))


def test_where_nothing_has_segments_that_is_said_first(done: Done) -> None:
    warnings = ["k_at_edge: one", "no_segments: the rows do not fall into groups"]
    summary = SimpleNamespace(warnings=warnings, candidates=[], outcomeInformation=None)
    model: Any = SimpleNamespace(clusters=[[0], [1], [2]], summary=summary)
    first, second, *_ = churn._words(model, [], done.segments).splitlines()
    assert first == "600 customers in 3 segments"
    assert second == "The rows do not fall into groups"


def test_the_profiles_are_tables(done: Done) -> None:
    tables = {path.name: pd.read_parquet(path) for path in (done.output / "profiles").iterdir()}
    assert set(tables) == {"segments", "profiles", "differences", "outcomes"}
    assert list(tables["segments"]["name"]) == [one.name for one in done.segments.segments]
    rates = [one.outcomes[0].value for one in done.segments.segments]
    assert list(tables["outcomes"]["value"]) == rates
    assert (tables["outcomes"]["outcome"] == "left").all()


def test_the_score_job_gives_new_rows_of_the_raw_table_the_same_segments(
    done: Done, call: Call, tmp_path: Path
) -> None:
    """Row for row; in another order, other files, as CSV."""
    again = done.rows.drop(columns="kind").sample(frac=1, random_state=5)
    again.to_csv(tmp_path / "new.csv", index=False)
    argv = ["--input.path", tmp_path / "new.csv", "--input.format", "csv"]
    argv += [
        "--model",
        with_ids(done, tmp_path / "run", [7, 3, 5]),
        "--output",
        tmp_path / "scored",
    ]
    ended = call(score.main, *argv, "--keep_columns", "customer", "--probability", "columns")
    assert ended.code == 0, ended.err
    found = pd.read_parquet(tmp_path / "scored" / "scores").set_index("customer")
    scores = done.scores.set_index("customer").loc[found.index]
    assert (found["prediction"] == scores["segment"]).all()
    assert (found["segment_name"] == scores["segment_name"]).all()
    assert (found["segment_id"] == found["prediction"].map({0: 7, 1: 3, 2: 5})).all()
    names = {one.segment: one.name for one in done.segments.segments}
    assert f"  1  (segment_id 3) {names[1]}\n" in ended.out
    assert "_prepared" not in ended.out
    told = manifest(tmp_path / "scored")["metrics"]["segments"]
    assert [(one["id"], one["name"]) for one in told] == [
        (7, names[0]),
        (3, names[1]),
        (5, names[2]),
    ]
    shares = found[[f"probability_{j}" for j in range(3)]].to_numpy()
    np.testing.assert_allclose(shares, np.stack(scores["probabilities"].to_numpy()), atol=1e-12)
    np.testing.assert_allclose(found["log_density"], scores["log_density"], atol=1e-9)
    model = GaussianMixtureModel.load(str(done.output / "model"))
    assert len(model.clusters) == 3


def with_ids(done: Done, output: Path, ids: Sequence[int]) -> Path:
    """A model and segments.json as a run leaves them whose segments have other ids than numbers."""
    shutil.copytree(done.output / "model", output / "model")
    content = json.loads((done.output / "segments.json").read_text("utf-8"))
    for one, id in zip(content["segments"], ids, strict=True):
        one["id"] = id
    (output / "segments.json").write_text(json.dumps(content), "utf-8")
    return output / "model"


def test_a_file_of_other_segments_beside_a_model_is_an_error(
    done: Done, call: Call, tmp_path: Path
) -> None:
    model = with_ids(done, tmp_path / "run", [0, 1, 2])
    beside, argv = (
        tmp_path / "run" / "segments.json",
        ["--model", model, "--output", tmp_path / "o"],
    )
    content = json.loads(beside.read_text("utf-8"))
    beside.write_text(json.dumps({**content, "segments": content["segments"][:2]}), "utf-8")
    ended = call(score.main, "--input.path", done.source, *argv)
    assert (ended.code, "is of 2 segments, and the model beside it of 3" in ended.err) == (3, True)
    beside.write_text(beside.read_text("utf-8")[:-20], "utf-8")
    ended = call(score.main, "--input.path", done.source, *argv)
    assert (ended.code, "expected what a churn run of this release wrote" in ended.err) == (3, True)
    assert not (tmp_path / "o" / "scores").exists()


def test_a_column_of_which_nothing_can_be_used_is_named_at_scoring(
    done: Done, call: Call, tmp_path: Path
) -> None:
    """Text where there were numbers, categories that are all new; half of them new is no news."""
    half = done.rows.index % 2 == 0
    for name, columns in {
        "none": {"tenure": "long", "plan": "Monthly plan"},
        "half": {"plan": np.where(half, "new", done.rows["plan"])},
    }.items():
        rows = done.rows.drop(columns="kind").assign(**columns)
        rows.to_parquet(tmp_path / f"{name}.parquet", index=False)
        argv = ["--input.path", tmp_path / f"{name}.parquet", "--model", done.output / "model"]
        ended = call(score.main, *argv, "--output", tmp_path / name)
        assert ended.code == 0, ended.err
        warned = manifest(tmp_path / name).get("warnings", [])
        assert [one.split(" the model")[0] for one in warned] == [
            f"of column {column!r}" for column in ("tenure", "plan") if name == "none"
        ]


def test_progress_is_seen(done: Done) -> None:
    said = [line[9:] for line in done.ended.err.splitlines() if line[:2].isdigit()]
    starts = ["reading ", "preparing columns", "choosing 2 to 4 segments", "describing 3 segments"]
    places = [next(i for i, line in enumerate(said) if line.startswith(s)) for s in starts]
    assert places == sorted(places)


def test_an_earlier_result_is_refused(done: Done, call: Call) -> None:
    before = tree(done.output)
    ended = call(churn.main, "--input.path", done.source, "--output", done.output)
    assert ended.code == 2
    assert ended.problem.startswith("configuration: output: found manifest.json, model, ")
    assert ended.problem.endswith("or mode: overwrite")
    assert tree(done.output) == before


PREPARATION = "preparation.json"


@pytest.fixture(scope="module")
def of_transactions(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A run of a log of transactions, in CSV: some buy often, some seldom, some have stopped."""
    directory = tmp_path_factory.mktemp("transactions")
    rng = np.random.default_rng(4)
    every, paid, until = (7, 40, 12), (20.0, 90.0, 35.0), (365, 365, 200)
    log = []
    for customer in range(400):
        kind = customer % 3
        days = np.cumsum(1 + rng.poisson(every[kind], size=60))
        for day in days[days < until[kind]]:
            amount = round(paid[kind] * rng.lognormal(0, 0.3), 2)
            log.append((f"K{customer}", np.datetime64("2025-01-01") + day, amount))
    log += [(None, np.datetime64("2025-05-05"), 1.0)] * 7
    source = directory / "log.csv"
    pd.DataFrame(log, columns=["who", "day", "paid"]).to_csv(source, index=False, sep=";")
    said = {"customer": "who", "time": "day", "amount": "paid", "churn_after_days": 90, "k": "3"}
    argv = [word for key, value in said.items() for word in (f"--{key}", value)]
    output = directory / "out"
    ended = ran(churn.main, "--input.path", source, *argv, "--output", output)
    return Done(ended, output, source, pd.DataFrame(log))


def test_transactions_become_customers_and_these_segments(of_transactions: Done) -> None:
    assert of_transactions.ended.code == 0, of_transactions.ended.err
    assert "7 of " in of_transactions.ended.err
    found = manifest(of_transactions.output)
    assert any(one.startswith("7 of ") and "no customer" in one for one in found["warnings"])
    made = pd.read_parquet(of_transactions.output / "customers").set_index("who")
    assert len(made) == 400
    scores = of_transactions.scores.set_index("who")
    assert list(scores.columns) == list(COLUMNS)
    kind = scores.index.str[1:].astype(int).to_numpy() % 3
    assert adjusted_rand_index(scores["segment"].to_numpy(), kind) > 0.8
    (outcome,) = of_transactions.segments.outcomes
    assert outcome.name == "churned"
    assert outcome.value == pytest.approx(made["churned"].mean())
    card = json.loads((of_transactions.output / PREPARATION).read_text("utf-8"))
    roles = {one["name"]: one["role"] for one in card}
    assert roles["churned"] == roles["who"] == "left out"


def test_the_score_job_makes_customers_of_transactions_by_the_same_keys(
    of_transactions: Done, call: Call, tmp_path: Path
) -> None:
    last = pd.to_datetime(of_transactions.rows.loc[of_transactions.rows[0].notna(), 1]).max()
    cut_off = (last - pd.Timedelta(days=90)).date()
    argv = ["--customer", "who", "--time", "day", "--amount", "paid", "--cut_off", cut_off]
    argv += ["--input.path", of_transactions.source, "--model", of_transactions.output / "model"]
    ended = call(score.main, *argv, "--keep_columns", "who", "--output", tmp_path / "scored")
    assert ended.code == 0, ended.err
    found = pd.read_parquet(tmp_path / "scored" / "scores").set_index("who")
    assert "segment_id" not in found.columns
    scores = of_transactions.scores.set_index("who").loc[found.index]
    assert (found["prediction"] == scores["segment"]).all()
    assert (found["segment_name"] == scores["segment_name"]).all()
    assert len(found) == len(scores) == 400


def changed(**columns: Any) -> pd.DataFrame:
    """A hundred of the customers, with other columns."""
    frame = customers().drop(columns=["kind", "note", "country", "bill_in_cents"]).head(100)
    return frame.assign(**columns)


OUTCOME = ["--id", "customer", "--outcome", "left"]


@pytest.mark.parametrize(
    ("rows", "more", "code", "said"),
    [
        (changed(left="no"), OUTCOME, 3, ["outcome", "'left'", "100"]),
        (changed(), [*OUTCOME, "--categorical_columns", "plan,left"], 2, ["left", "outcome"]),
        (changed(customer="C1"), OUTCOME, 3, ["id", "'customer'", "100"]),
        (
            changed(),
            [*OUTCOME, "--excluded_columns", "tenure,bill,plan"],
            3,
            ["all columns are left out", "tenure", "bill", "plan"],
        ),
        (changed(), ["--id", "custmer"], 2, ["id: ", "'custmer'", "did you mean 'customer'"]),
        (changed(), ["--outcome", "lft"], 2, ["outcome: ", "'lft'", "'left'"]),
        (changed(), ["--outcome", "left ="], 2, ["outcome: ", "'left ='"]),
        (changed(), ["--value", "plan"], 2, ["value", "'plan'", "number"]),
        (changed(), [*OUTCOME, "--columns", "tenre"], 3, ["'tenre'", "'tenure'"]),
        (changed(), [*OUTCOME, "--excluded_columns", "tenre"], 3, ["'tenre'", "'tenure'"]),
        (changed(), ["--id", "upper(customer)"], 2, ["id: ", "'upper(customer)'", "a column"]),
        (changed().head(0), [], 3, ["no rows"]),
        (changed().head(0), OUTCOME, 3, ["no rows"]),
    ],
    ids=[
        "a label of one value", "an outcome among the features", "an id that is not unique",
        "all columns left out", "an id that is not there", "an outcome that is not there",
        "an outcome that is no SQL", "a value of text", "a column that is not there",
        "an excluded one that is not there", "an id that is an expression", "no rows",
        "no rows of an outcome",
    ],
)  # fmt: skip
def test_what_cannot_be_segmented_is_one_line(call, tmp_path, rows, more, code, said) -> None:
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    output = tmp_path / "out"
    ended = call(churn.main, "--input.path", tmp_path / "rows.parquet", "--output", output, *more)
    assert ended.code == code, ended.err
    assert all(part in ended.problem for part in said), ended.problem
    assert "\n" not in ended.problem
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert sorted(path.name for path in output.iterdir()) == ["log.txt", "manifest.json"]
    assert manifest(output)["reason"] == ended.problem


def test_an_id_is_the_column_of_the_name_whatever_its_case(spark) -> None:
    rows = spark.createDataFrame([(1, "yes"), (2, "no")], ["Customer", "left"])
    settings = ChurnSettings.model_validate({"input": {"path": "x"}, "id": "customer"})
    assert with_roles(settings, rows, settings.id).id == "Customer"


def test_what_is_odd_of_money_is_said(spark) -> None:
    settings = ChurnSettings.model_validate({"input": {"path": "x"}, "value": "paid"})

    def warned(*paid: float | None) -> list[str]:
        rows = spark.createDataFrame([(one,) for one in paid], "paid double")
        return checked(with_roles(settings, rows, None), settings)[1]

    assert warned(0.0, 2.5, None, float("nan")) == []
    assert warned(-1.0, 2.0, -math.inf) == [
        "value: 1 rows of 'paid' are infinite; they count as not known",
        "value: 1 rows of 'paid' are negative; they lower what is at risk, and shares of it may "
        "lie outside of 0 to 100 %",
    ]
    with pytest.raises(InputDataError, match="value: 'paid' is known in no row"):
        warned(None, float("nan"))


@pytest.mark.parametrize("output", ["", "out"], ids=["its directory", "a part of it"])
def test_a_result_is_not_written_into_what_is_read(call, tmp_path, output) -> None:
    """The next run would read it as rows."""
    changed().to_parquet(tmp_path / "rows.parquet", index=False)
    for more in ([], ["--dry_run"]):
        argv = ["--input.path", tmp_path, "--output", tmp_path / output, "--mode", "overwrite"]
        ended = call(churn.main, *argv, *more)
        assert (ended.code, ended.out) == (2, "")
        assert ended.problem.startswith("configuration: output: found")
        assert "input.path" in ended.problem
    assert list(tree(tmp_path)) == ["rows.parquet"]


@pytest.mark.parametrize("more", [[], ["--dry_run"]], ids=["a run", "a dry run"])
def test_a_column_that_scores_have_too_is_found_before_the_fit(call, tmp_path, more) -> None:
    """An id called segment_id is one where versions are kept alone, which give segments ids."""
    rows = changed().rename(columns={"customer": "segment_id"})
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    argv = ["--input.path", tmp_path / "rows.parquet", "--output", tmp_path / "out", *more]
    ended = call(churn.main, *argv, "--id", "segment_id", "--keep_versions", "2")
    assert ended.code == 2, ended.err
    assert ended.problem.startswith("configuration: input: the table has a column segment_id")
    assert "preparing" not in ended.err


@pytest.mark.long
def test_an_outcome_that_gives_itself_away(call, tmp_path) -> None:
    """A column that is there for those who left alone: a warning that names it, and no input.
    Another is called as a column that models write, and is an input like any. An infinity in an
    input is a warning, too."""
    rows = changed()
    rows.loc[3, "bill"] = np.inf
    rows["prediction"] = rows["tenure"] % 7
    gone = np.where(rows["left"] == "yes", "2025-03-01", None)
    rows.assign(left_on=gone).to_parquet(tmp_path / "rows.parquet", index=False)
    argv = ["--input.path", tmp_path / "rows.parquet", *OUTCOME, "--k", "2"]
    ended = call(churn.main, *argv, "--output", tmp_path / "out")
    assert ended.code == 0, ended.err
    warnings = manifest(tmp_path / "out")["warnings"]
    assert any("left_on" in one and "left" in one for one in warnings)
    (infinite,) = [one for one in warnings if "infinite" in one]
    card = json.loads((tmp_path / "out" / "preparation.json").read_text("utf-8"))
    (bill,) = [one for one in card if one["name"] == "bill"]
    become = bill["out_of_range"]
    assert infinite.startswith(f"column 'bill': 1 of 100 rows are infinite; they become {become}")
    assert f"1 infinite values to {become}" in bill["treatment"]
    assert manifest(tmp_path / "out")["columns"]["left_on"] == "left out"
    assert manifest(tmp_path / "out")["columns"]["prediction"] != "left out"


def test_transactions_that_no_customers_can_be_made_of(call, tmp_path) -> None:
    log = pd.DataFrame({"who": range(50), "day": "2025-01-07", "paid": 3.0})
    log.to_csv(tmp_path / "log.csv", index=False)
    argv = ["--input.path", tmp_path / "log.csv", "--customer", "who", "--time", "day"]
    ended = call(churn.main, *argv, "--output", tmp_path / "out")
    assert ended.code == 3, ended.err
    assert ended.problem.startswith(
        "input: customer: none of 50 customers ('who') has purchases on"
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "log.txt",
        "manifest.json",
    ]


def test_a_dry_run(call, done: Done, tmp_path) -> None:
    argv = ["--input.path", done.source, "--id", "customer", "--outcome", "left", "--dry_run"]
    ended = call(churn.main, *argv, "--output", tmp_path / "out")
    assert (ended.code, ended.problem) == (0, "")
    assert f"Dry run: {done.source} would be divided into 3 to 8 segments" in ended.out
    assert tree(tmp_path) == {}
    ended = call(churn.main, *argv, "--outcome", "lft", "--output", tmp_path / "out")
    assert ended.code == 2
    assert "'lft'" in ended.problem


@pytest.mark.long
def test_the_sample_customers(spark: Any, tmp_path: Path) -> None:
    """By conf/telco_churn.yaml alone."""
    root = Path(__file__).parents[2]
    argv = ["--config", root / "conf" / "telco_churn.yaml"]
    argv += ["--input.path", root / "sample" / "telco_churn", "--output", tmp_path / "out"]
    ended = ran(churn.main, *argv)
    assert (ended.code, ended.problem) == (0, "")
    found = Segments.from_json((tmp_path / "out" / "segments.json").read_text("utf-8"))
    assert 4 <= len(found.segments) <= 6
    rates = [one.outcomes[0].value for one in found.segments]
    assert min(rates) < 0.05
    assert max(rates) > 0.45
    said = " ".join(one.name for one in found.segments)
    assert "contract" in said
    information = manifest(tmp_path / "out")["metrics"]["outcome_information"]
    assert information["bits"] > 0.12
