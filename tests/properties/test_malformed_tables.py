"""Whatever a table holds, a job uses it or ends with one line of what is wrong; never a traceback,
and a run that failed leaves its manifest and its log alone. EXAMPLES=500 tries as many others."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st

from gmm_spark.cli.main import main
from gmm_spark.runs.manifest import Manifest

# Fits and pages: up to some seconds an example.
pytestmark = pytest.mark.long
some_examples = settings(
    max_examples=int(os.environ.get("EXAMPLES", 25)),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["", " ", "yes", "no", "0", "1", "1.5", "1,5", "1e400", "nan", "inf", "NULL", "2026-02-31",
     "2026-11-01", "01/11/2026", "\0", "\x1b[2J", "a\nb", "🙂", "\u202e", "'", "`", "(other)", "é"]
)  # fmt: skip
floats = st.floats() | st.sampled_from([0.0, -0.0, 1e-320, 1e308, 1e70, np.nan, np.inf, -np.inf])
longs = st.integers(-(2**63), 2**63 - 1)
times = longs | st.integers(1_600_000_000_000_000, 1_800_000_000_000_000)
KINDS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): longs | st.integers(-3, 9),
    pa.int8(): st.integers(-128, 127),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): floats,
    pa.float32(): st.floats(width=32),
    pa.decimal128(38, 10): st.decimals(Decimal(-(10**27)), Decimal(10**27), places=10),
    pa.decimal128(5, 2): st.decimals(Decimal(-999), Decimal(999), places=2),
    pa.bool_(): st.booleans(),
    pa.string(): texts,
    pa.dictionary(pa.int32(), pa.string()): texts,
    pa.binary(): st.binary(max_size=4),
    pa.date32(): st.integers(-(2**31), 2**31 - 1) | st.integers(15_000, 21_000),
    pa.timestamp("us"): times,
    pa.timestamp("us", "UTC"): times,
    pa.timestamp("ns"): longs,
    pa.timestamp("ms", "Europe/Oslo"): st.integers(-(2**40), 2**40),
    pa.time64("us"): st.integers(0, 86_399_999_999),
    pa.duration("us"): longs,
    pa.list_(pa.float64()): st.lists(floats, max_size=3),
    pa.list_(pa.float64(), 2): st.lists(floats, min_size=2, max_size=2),
    pa.struct({"x": pa.int64(), "y.z": pa.string()}): st.fixed_dictionaries(
        {"x": longs, "y.z": texts}
    ),
    pa.map_(pa.string(), pa.int64()): st.just([("a", 1)]),
    pa.null(): st.none(),
}
names = st.sampled_from(
    ["a", "b", "c", "A", "a b", "a.b", "`", "``a`", "é", "🙂", "", " ", "a\nb", "a,b", "a as b",
     "select", "x" * 300, "prediction", "probability", "segment", "run_date", "_c0", "a=b", "{",
     "*", "log(a)", "_corrupt_record", "customer_id", "a_prepared", "element", "'", "1",
     "null", "-"]
)  # fmt: skip


@st.composite
def columns(draw: Any, rows: int, ordinary: bool) -> pa.Array:
    """A column of few values many times, some of them null; or of ordinary numbers or texts."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if ordinary:
        kind = np.arange(rows) % 3
        number, text = rng.normal(5 * kind, 1), np.array(["x", "y", "z"])[kind]
        return pa.array(draw(st.sampled_from([number, np.round(abs(number)), text])).tolist())
    of = draw(st.sampled_from(list(KINDS)))
    values = draw(st.lists(KINDS[of] | st.none(), min_size=1, max_size=6))
    chosen = [values[i] for i in rng.integers(len(values), size=rows)]
    if pa.types.is_temporal(of):
        return pa.array(chosen, pa.int32() if of.bit_width == 32 else pa.int64()).view(of)
    if pa.types.is_dictionary(of):
        return pa.array(chosen, pa.string()).dictionary_encode()
    return pa.array(chosen, of)


@st.composite
def tables(draw: Any, wanted: Sequence[str] = ()) -> pa.Table:
    """A table of 0 to 30 rows and 1 to 5 columns, often with those that are `wanted`; its names may
    be there twice."""
    rows = draw(st.sampled_from([30, 30, 30, 12, 3, 2, 1, 0]))
    known = [name for name in wanted if draw(st.integers(0, 9))]
    least = 0 if known else 1
    known += draw(st.lists(names, min_size=least, max_size=5 - len(known), unique=True))
    if not draw(st.integers(0, 19)):
        known.append(known[0])
    odd = draw(st.sampled_from([1, 1, 2, 5]))
    kept = [draw(columns(rows, place >= odd)) for place in range(len(known))]
    return pa.Table.from_arrays(kept, known)


def said(draw: Any, name: str) -> str:
    """A column as settings name it."""
    quoted = "`" + name.replace("`", "``") + "`"
    return draw(st.sampled_from([name, name, quoted]))


@dataclass(frozen=True)
class Case:
    """A table, and what the settings of a job say of it; shown where it fails."""

    table: pa.Table
    given: dict[str, Any]

    def __repr__(self) -> str:
        return f"{self.given}\n{self.table.schema}\n{self.table.to_pylist()!r:.3000}"


def among(draw: Any, table: pa.Table, lists: Sequence[str], single: Sequence[str]) -> dict:
    """Every column in one of the settings or in none; in most tables in one that may suit it."""
    found: dict[str, Any] = {}
    suits = draw(st.integers(0, 3)) > 0
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        role = draw(st.sampled_from([*lists, *lists, *single, None]))
        if suits and role in lists:
            role = "columns" if pa.types.is_floating(kind) else "categorical_columns"
        if role in lists:
            found.setdefault(role, []).append(said(draw, name))
        elif role is not None:
            found[role] = said(draw, name)
    return found


@st.composite
def to_train(draw: Any) -> Case:
    table = draw(tables())
    lists = ["columns", "columns", "categorical_columns", "count_columns"]
    given = among(draw, table, lists, ["weight_column", "vector_column", "label_column"])
    if not {*lists, "vector_column"} & {*given}:
        given["columns"] = [table.column_names[0]]
    given["missing"] = draw(st.sampled_from(["error", "skip", "marginalize"]))
    k, structure = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from(["full", "diag", "VVE"]))
    return Case(table, {**given, "k": k, "covariance_type": structure, "num_init": 2, "seed": 1})


@st.composite
def to_score(draw: Any) -> Case:
    missing = draw(st.sampled_from(["error", "skip", "marginalize"]))
    return Case(draw(tables(["a", "b", "c"])), {"missing": missing})


@st.composite
def to_segment(draw: Any) -> Case:
    if draw(st.integers(0, 3)):
        table = draw(tables())
        lists = draw(st.sampled_from([[], ["columns", "categorical_columns", "date_columns"]]))
        given = among(draw, table, lists, ["id", "outcome", "value", "excluded_columns"])
    else:
        table = draw(tables(["a", "b", "c"]))
        given = {"customer": "a", "time": "b"}
        given |= {"amount": "c"} if draw(st.booleans()) else {}
    return Case(table, {**given, "k": 2, "seed": 1})


def found(job_settings: dict[str, Any], *columns: tuple[str, pa.Array]) -> Case:
    """What an earlier search has found: it is tried each time."""
    labels, values = zip(*columns, strict=True)
    return Case(pa.Table.from_arrays(list(values), list(labels)), job_settings)


WHOLE, BYTES = pa.array([0] * 30), pa.array([b"x", None] * 15)
HALVES = pa.array([i / 2 for i in range(30)])
TWICE = found({"missing": "error"}, ("c", WHOLE), ("c", HALVES))
OF_BYTES = found({"missing": "error"}, ("a", HALVES), ("b", BYTES), ("c", pa.array([*"xyz"] * 10)))
NESTED = found(
    {"id": "a", "k": 2},
    ("a", pa.array([[]] * 30, pa.list_(pa.float64()))),
    ("a", pa.array([{"x": 0, "y.z": ""}] * 30)),
)
DOTTED = found({"id": "a.b", "k": 2}, ("a.b", HALVES), ("b", HALVES))


def strict(text: str) -> Any:
    """JSON as the standard has it, which knows no NaN."""

    def refused(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refused)


def ended(words: Sequence[str]) -> tuple[int, str]:
    """The exit code, and what was said on stderr but for the log, whose lines have a time first."""
    out, err = io.StringIO(), io.StringIO()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GMM_")}
    with (
        patch.dict(os.environ, kept, clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main(list(words))
    text = err.getvalue()
    assert "Traceback" not in text
    lines = text.splitlines()
    return code, "\n".join(line for line in lines if not re.match(r"\d\d:\d\d:\d\d ", line))


def assert_used_or_refused(job: str, case: Case, given: dict[str, Any]) -> None:
    """Run a job over the table."""
    with TemporaryDirectory() as folder:
        here = Path(folder)
        pq.write_table(case.table, here / "rows.parquet", row_group_size=20)
        values = {"input": {"path": str(here / "rows.parquet")}, "output": str(here / "out")}
        (here / "job.yaml").write_text(yaml.safe_dump({**values, **case.given, **given}), "utf-8")
        code, problem = ended([job, "--config", str(here / "job.yaml")])
        event(f"exit code {code}")
        written = {str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()}
        written -= {"rows.parquet", "job.yaml"}
        manifests = [name for name in written if Path(name).name.startswith("manifest")]
        for name in manifests:
            content = strict((here / name).read_text("utf-8"))
            Manifest.model_validate(content)
            assert (content["exit_code"], content["reason"] or "") == (code, problem)
        if code != 0:
            assert_refused(code, problem)
            kept = sorted(Path(name).name.replace("-failed", "") for name in written)
            assert kept in ([], ["log.txt", "manifest.json"])
            return
        assert len(manifests) == 1
        assert problem == ""
        for name in written:
            if name.endswith(".json"):
                strict((here / name).read_text("utf-8"))
        if job == "score":
            assert pq.read_table(here / "out" / "scores").num_rows == case.table.num_rows


def assert_refused(code: int, problem: str) -> None:
    """One line for people, of settings one for each mistake; nothing of Spark's or Java's."""
    assert code in (2, 3, 4, 5), problem
    for line in problem.split("\n"):
        assert re.match(r"(configuration|input|model|fit|not converged|not published): ", line)
        assert line.isprintable(), problem
        assert len(line) < 1500, problem
    foreign = re.search(r"\b(java|org\.apache|py4j)\.|Exception|SQLSTATE|\[[A-Z_.]{6,}\]", problem)
    assert foreign is None, problem


@pytest.fixture(scope="module")
def model(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of two numbers and a category."""
    here = tmp_path_factory.mktemp("model")
    rng, kind = np.random.default_rng(1), np.arange(90) % 3
    rows = pa.table(
        {"a": rng.normal(5 * kind, 1), "b": rng.normal(kind, 1), "c": np.array([*"xyz"])[kind]}
    )
    pq.write_table(rows, here / "rows.parquet")
    words = {"input.path": here / "rows.parquet", "columns": "a,b", "categorical_columns": "c"}
    words |= {"k": 3, "seed": 1, "output": here / "out"}
    assert main(["train", *(f"--{key}={value}" for key, value in words.items())]) == 0
    return str(here / "out" / "model")


@some_examples
@given(case=to_train())
def test_a_table_to_train_of_is_used_or_refused(spark, case) -> None:
    assert_used_or_refused("train", case, {})


@some_examples
@given(case=to_score())
@example(case=TWICE)
@example(case=OF_BYTES)
def test_a_table_to_score_is_used_or_refused(model, case) -> None:
    assert_used_or_refused("score", case, {"model": model})


@some_examples
@given(case=to_score())
@example(case=TWICE)
@example(case=OF_BYTES)
def test_a_table_to_evaluate_is_used_or_refused(model, case) -> None:
    assert_used_or_refused("evaluate", case, {"model": model})


@some_examples
@given(case=to_segment())
@example(case=DOTTED)
@example(case=NESTED)
def test_a_table_of_customers_is_used_or_refused(spark, case) -> None:
    assert_used_or_refused("churn", case, {})
