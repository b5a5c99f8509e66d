"""Whatever the settings say, a job is begun or ends with one line a mistake; never a traceback."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gmm_spark.cli.main import main
from gmm_spark.config import JOBS
from gmm_spark.config.messages import keys
from gmm_spark.runs import runner

CONF = Path(__file__).parents[2] / "conf"
# What a job needs, and a value that is right of as many keys as there are kinds of them.
NEEDED = {
    "train": {"input": {"path": "lake"}, "columns": ["a"], "output": "out"},
    "score": {"input": {"path": "lake"}, "model": "model", "output": "out"},
    "evaluate": {"input": {"path": "lake"}, "model": "model", "output": "out"},
    "churn": {"input": {"path": "lake"}},
}


class BegunError(BaseException):
    """The settings are taken: a session would be started now."""


@contextlib.contextmanager
def _no_session(name: str) -> Iterator[None]:
    raise BegunError
    yield


def _is_key(value: Any) -> bool:
    """What a mapping of YAML can have as a key in Python."""
    return value == value


scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, -1, 2**63, 10**400, float("nan"), float("inf"), -0.0, 1e-320]),
    st.floats(),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=3),
    st.text(max_size=8),
    st.sampled_from(
        ["", " ", "auto", "null", "a as b", "round(a, 2) as c", "f(a", "`", "a > 3", "a in (", "=",
         "3..8", "8..3", "1..999999", "2,3", ",", "{", "[", "champion", "../..", "s3://", "@", "\0",
         "full", "1e400", "yes", "2026-13-45", "🙂", "a\nb", "{}", "[]"]
    ),
)  # fmt: skip
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(scalars.filter(_is_key), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def settings_of_a_job(draw: Any) -> tuple[str, str]:
    """A job, and a file for it: what it needs, some of its keys with anything, some unknown."""
    name = draw(st.sampled_from(list(JOBS)))
    known = [*keys(JOBS[name]), "input.options.sep", "gate.psi.above", "gate.rows"]
    unknown = st.sampled_from(["inptu", "K", "input.", ".", "", "input..path", "k.k", "output.a"])
    values: dict[Any, Any] = dict(NEEDED[name]) if draw(st.booleans()) else {}
    for key in draw(
        st.lists(st.sampled_from(known) | unknown | scalars.filter(_is_key), max_size=4)
    ):
        values[key] = draw(anything)
    return name, yaml.safe_dump(values, allow_unicode=draw(st.booleans()))


@st.composite
def spoilt_files(draw: Any) -> tuple[str, str]:
    """A job, and its file of conf/ with some letters or lines taken out, doubled or put in."""
    name = draw(st.sampled_from(list(JOBS)))
    lines = (CONF / f"{name}.yaml").read_text("utf-8").splitlines()
    lines = [line for line in lines if line.strip() and not line.startswith("# ")]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        letter = draw(st.integers(0, len(line)))
        put = draw(st.sampled_from([*"\t:-[]{}#&*!|>'\"%@`,?\0 \n\r\ufeff", "- ", ": ", "  "]))
        lines[at] = draw(
            st.sampled_from(
                [
                    line[:letter] + put + line[letter:],
                    line[:letter] + line[letter + 1 :],
                    f"{line}\n{line}",
                    line.replace("# ", "", 1),
                    line[:letter],
                ]
            )
        )
    return name, "\n".join(lines)


def ended(words: list[str], environment: dict[str, str] | None = None) -> tuple[int | None, str]:
    """The exit code, and what was said on stderr; None where a session would be started."""
    out, err = io.StringIO(), io.StringIO()
    kept = {
        name: value for name, value in os.environ.items() if not name.upper().startswith("GMM_")
    }
    with (
        patch.dict(os.environ, {**kept, **(environment or {})}, clear=True),
        patch.object(runner, "session_of_a_run", _no_session),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            return main(words), err.getvalue()
        except BegunError:
            return None, err.getvalue()


def assert_taken_or_refused(code: int | None, said: str) -> None:
    """Every line names a key or the file, and what is wrong of it."""
    if code is None:
        assert said == ""
        return
    assert code == 2, said
    lines = said.splitlines()
    assert lines
    for line in lines:
        assert line.startswith("configuration: "), said
        assert line.isprintable(), said
        assert len(line) < 600, said


@given(settings_of_a_job() | spoilt_files())
@example(("train", "k: &a [*a]\n"))
@example(("train", "? [a, b]\n: 3\n"))
@example(("churn", "input.path: {a: &x {b: *x}}\n"))
@example(("churn", "run_date: 2026-13-45\n"))
@example(("churn", "k: !!bool x\n"))
@example(("churn", "k: !!timestamp x\n"))
@example(("churn", "k: " + "[" * 5000))
@example(("churn", "? {a: 1}\n: 2\n"))
@example(("churn", "k: !!python/name:os.system\n"))
@example(("churn", "<<: 3\n"))
@example(("churn", "k: 0b\n"))
@example(("churn", "seed: 1" + "0" * 5000 + "\n"))
@example(("churn", "\x0b: 3\n"))
def test_a_file_is_taken_or_refused(case) -> None:
    name, text = case
    with TemporaryDirectory() as folder:
        file = Path(folder) / "job.yaml"
        file.write_text(text, "utf-8", errors="surrogatepass")
        assert_taken_or_refused(*ended([name, "--config", str(file)]))
        assert [path.name for path in Path(folder).iterdir()] == ["job.yaml"]


@given(st.binary(max_size=40))
def test_a_file_of_any_bytes_is_taken_or_refused(content) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "job.yaml"
        file.write_bytes(content)
        assert_taken_or_refused(*ended(["churn", "--config", str(file)]))


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["--config", "--", "-", "--k", "-k", "--no-points", "--points", "--input.path=", "--input",
     "--k=", "--gate", "{", "null", "[1", "a=b", "--input.options", "--input.filters", "--help=1",
     "-1", "--k=-1", "@file", "--config=", "--run_date", "\0", "--no-k", "--no-explain=1"]
)  # fmt: skip


@given(st.sampled_from(list(JOBS)), st.lists(words, max_size=5))
def test_a_command_line_is_taken_or_refused(name, given_words) -> None:
    code, said = ended([name, *given_words])
    if code != 0:  # --help
        assert_taken_or_refused(code, said)


@given(st.sampled_from(list(JOBS)), st.data())
def test_variables_are_taken_or_refused(name, data) -> None:
    known = ["GMM_" + key.replace(".", "__").upper() for key in keys(JOBS[name])]
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
    values = st.dictionaries(
        st.sampled_from([*known, "GMM_", "GMM_X", "gmm_k", "GMM_INPUT____PATH"]),
        text | st.sampled_from(["[", "{", "null", "a=b", "3..4", "1,x", "/", "{'a'"]),
        max_size=4,
    )
    assert_taken_or_refused(*ended([name], data.draw(values)))


@pytest.mark.parametrize("name", JOBS)
def test_what_is_needed_is_enough(name, tmp_path) -> None:
    """Or the tests above would see nothing but refusals."""
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(NEEDED[name]), "utf-8")
    assert ended([name, "--config", str(file)]) == (None, "")
    assert import_module(f"gmm_spark.cli.{name}").JOB.name == name
