"""Malformed inputs of all jobs: what is wrong, and with what exit code the job ends.

What it says is in docs/malformed-inputs.md, which the tests write: see `tests.cli.test_malformed`.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

# Where things are, by the words for them.
Places = dict[str, Path]
Files = Callable[[Places], None]

# The words that stand for paths, in settings and in what is said.
HERE, LAKE, MODEL, VERSIONS = "HERE", "LAKE", "MODEL", "VERSIONS"

# What each job is given where a case says nothing else; of rows that `people` gives.
GIVEN: dict[str, dict[str, Any]] = {
    "train": {
        "input.path": "HERE/rows.parquet",
        "columns": ["tenure", "bill"],
        "output": "HERE/out",
    },
    "score": {"input.path": "LAKE/customers", "model": MODEL, "output": "HERE/out"},
    "evaluate": {"input.path": "LAKE/customers", "model": MODEL, "output": "HERE/out"},
    "churn": {"input.path": "HERE/rows.parquet", "id": "who", "k": 2, "output": "HERE/out"},
}


@dataclass(frozen=True)
class Case:
    """An input that a job cannot use.

    what : what is malformed, in words; unique
    settings : instead of those of `GIVEN`; None takes one away
    text : the file of settings, word for word, instead
    words, variables : a command line and an environment beside the file
    rows : instead of `people`
    files : what else there is in the directory
    lines : of the message: one, but for several mistakes in settings
    slow : it takes more than a second or two
    """

    what: str
    job: str
    code: int
    settings: dict[str, Any] = field(default_factory=dict)
    text: str | bytes | None = None
    words: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    rows: Callable[[], Any] | None = None
    files: Files | None = None
    lines: int = 1
    slow: bool = False

    def prepare(self, places: Places) -> list[str]:
        """Write all that the case is of; the words of the command line."""
        here = places[HERE]
        if self.rows is not None or HERE in str(GIVEN.get(self.job, {}).get("input.path")):
            write_parquet((self.rows or people)(), here / "rows.parquet")
        if self.files is not None:
            self.files(places)
        words = [placed(word, places) for word in (self.job, *self.words)]
        if self.job not in GIVEN:
            return words
        text = self.text
        if text is None:
            values = {**GIVEN[self.job], **self.settings}
            text = yaml.safe_dump({k: v for k, v in values.items() if v is not None})
        if isinstance(text, str):
            text = placed(text, places).encode("utf-8")
        config = here / "job.yaml"
        if text:
            config.write_bytes(text)
        return [words[0], "--config", str(config), *words[1:]]


def placed(text: str, places: Places) -> str:
    for word, path in places.items():
        text = text.replace(word, str(path))
    return text


def people(**columns: Any) -> pd.DataFrame:
    """120 customers of two kinds."""
    rng = np.random.default_rng(3)
    kind = np.arange(120) % 2
    frame = pd.DataFrame(
        {
            "who": [f"C{i:03}" for i in range(120)],
            "tenure": np.round(rng.normal(20 + 30 * kind, 3), 1),
            "bill": np.round(rng.normal(90 - 50 * kind, 5), 2),
            "plan": np.where(rng.random(120) < 0.8, np.where(kind, "yearly", "monthly"), "prepaid"),
            "left": np.where(rng.random(120) < 0.2 + 0.5 * kind, "yes", "no"),
        }
    )
    return frame.assign(**columns)


def purchases(**columns: Any) -> pd.DataFrame:
    """200 purchases of 40 customers."""
    i = np.arange(200)
    frame = pd.DataFrame(
        {
            "who": [f"C{n % 40:02}" for n in i],
            "day": [f"2025-{1 + n % 9:02}-{1 + n % 28:02}" for n in i],
            "paid": np.round(10 + (i % 7) * 3.5, 2),
        }
    )
    return frame.assign(**columns)


def some(value: Any, name: str = "bill", rows: int = 3) -> Callable[[], pd.DataFrame]:
    """`people` of whom some have this value."""

    def made() -> pd.DataFrame:
        frame = people()
        frame[name] = [value if i < rows else one for i, one in enumerate(frame[name])]
        return frame

    return made


def of_arrow(name: str, values: pa.Array) -> Callable[[], pa.Table]:
    """`people` with a column that pandas has no type of."""

    def made() -> pa.Table:
        table = arrow(people().drop(columns=name))
        return table.append_column(name, values)

    return made


def arrow(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows, preserve_index=False)


def write_parquet(rows: Any, path: Path) -> None:
    if isinstance(rows, pd.DataFrame):
        rows = arrow(rows)
    pq.write_table(rows, path, row_group_size=60)


def written(name: str, content: str | bytes) -> Files:
    def write(at: Places) -> None:
        path = at[HERE] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)

    return write


def spoilt(change: Callable[[bytes], bytes], name: str = "spoilt.parquet") -> Files:
    """The file of rows with other bytes, under another name."""

    def write(at: Places) -> None:
        (at[HERE] / name).write_bytes(change((at[HERE] / "rows.parquet").read_bytes()))

    return write


def two_files(second: Callable[[], Any]) -> Files:
    """A table of two files that differ."""

    def write(at: Places) -> None:
        (at[HERE] / "lake").mkdir()
        write_parquet(people(), at[HERE] / "lake" / "a.parquet")
        write_parquet(second(), at[HERE] / "lake" / "b.parquet")

    return write


def a_result(at: Places) -> None:
    """An earlier result."""
    written("out/manifest.json", '{"status": "done"}')(at)
    written("out/model/metadata/part-0", "{}")(at)


def damaged(part: str, change: Callable[[bytes], bytes] | None) -> Files:
    """The model with what is in a part of it changed, or gone."""

    def write(at: Places) -> None:
        shutil.copytree(at[MODEL], at[HERE] / "model")
        for path in (at[HERE] / "model" / part).iterdir():
            if path.name.endswith(".crc") or (change is None and path.name.startswith("part")):
                path.unlink()
            elif change is not None and path.name.startswith("part"):
                path.write_bytes(change(path.read_bytes()))

    return write


def damaged_versions(name: str, change: Callable[[bytes], bytes]) -> Files:
    """The versions with a file changed."""

    def write(at: Places) -> None:
        shutil.copytree(at[VERSIONS], at[HERE] / "versions")
        path = next((at[HERE] / "versions").glob(name))
        path.write_bytes(change(path.read_bytes()))

    return write


def instead(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new)

    return change


def again(entry: bytes, **values: Any) -> bytes:
    """An entry of the publish log with other values, and the checksum of these."""
    stored = {**json.loads(entry), **values}
    del stored["sha256"]
    checksum = hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()
    return json.dumps({**stored, "sha256": checksum}).encode()


RAGGED = "who,tenure,bill\na,1,2\nb,3\nc,5,6,7,8\nd,9,10\ne,11,12\n"
LOG = {"id": None, "customer": "who", "time": "day", "amount": "paid", "churn_after_days": 60}

SETTINGS = [
    Case("a file that is a list", "train", 2, text="- k: 3\n- seed: 1\n"),
    Case("a file that is one word", "evaluate", 2, text="settings\n"),
    Case("a tab before a key", "score", 2, text="input:\n\tpath: LAKE/customers\n"),
    Case("a key that stands twice", "churn", 2, text="input.path: a\nk: 3\nseed: 1\nk: 4\n"),
    Case("a key that stands twice, once with a dot", "train", 2,
         text="input: {path: a}\ninput.path: b\n"),
    Case("a colon in text without quotes", "evaluate", 2, text="model: a: b\n"),
    Case("two documents in a file", "train", 2, text="k: 3\n---\nk: 4\n"),
    Case("a file that is not UTF-8", "churn", 2, text="id: größe\n".encode("latin-1")),
    Case("a value that contains itself", "churn", 2, text="k: &k [*k]\n"),
    Case("a date that no month has", "score", 2, text="run_date: 2026-02-30\n"),
    Case("a file of settings that is not there", "train", 2, text=b""),
    Case("a directory as the file of settings", "score", 2, words=("--config", "HERE")),
    Case("a key mistyped", "train", 2, {"covariance_tipe": "full"}),
    Case("a key that no job has", "score", 2, {"zzz": 1}),
    Case("a key of another job", "evaluate", 2, {"partition_by": ["month"]}),
    Case("an inner key mistyped", "evaluate", 2, {"input.path": None, "input.paht": "LAKE"}),
    Case("three mistakes at once", "train", 2, {"k": 0, "tol": -1, "missing": "drop"}, lines=3),
    Case("text for a whole number", "train", 2, {"k": "four"}),
    Case("no component", "train", 2, {"k": 0}),
    Case("half a component", "train", 2, {"k": 2.5}),
    Case("one component in a list that is none", "train", 2, {"k": [2, "x"]}),
    Case("one segment", "churn", 2, {"k": 1}),
    Case("a range that begins at its end", "churn", 2, {"k": "8..3"}),
    Case("a range of a thousand", "churn", 2, {"k": "1..1000"}),
    Case("a tolerance that is not a number", "train", 2, {"tol": float("nan")}),
    Case("a tolerance below zero", "train", 2, {"tol": -1e-6}),
    Case("a seed that is text", "churn", 2, {"seed": "lucky"}),
    Case("an infinite seed", "train", 2, {"seed": float("inf")}),
    Case("a structure mistyped", "train", 2, {"covariance_type": "ful"}),
    Case("a switch that is neither on nor off", "train", 2, {"noise": "perhaps"}),
    Case("a choice that is none of them", "score", 2, {"probability": "both"}),
    Case("a share of one half", "churn", 2, {"min_segment_share": 0.5}),
    Case("a column for a list of them", "train", 2, {"columns": "tenure"}),
    Case("a number for a column", "train", 2, {"columns": ["tenure", 3]}),
    Case("an expression cut at its comma", "train", 2, {"columns": ["round(bill", "2) as b"]},
         lines=2),
    Case("text with a NUL", "churn", 2, {"outcome": "le\0ft"}),
    Case("no columns", "train", 2, {"columns": None}),
    Case("columns, and a vector of them", "train", 2, {"vector_column": "features"}),
    Case("a start and a search", "train", 2, {"initial_model": MODEL, "k": [2, 3]}),
    Case("two starts", "train", 2, {"initial_model": MODEL, "initial_label_column": "left"}),
    Case("an outcome where nothing is chosen by it", "train", 2, {"outcome_column": "left"}),
    Case("no model", "score", 2, {"model": None}),
    Case("no output", "evaluate", 2, {"output": None}),
    Case("no table", "churn", 2, {"input.path": None}),
    Case("a path and a catalog table", "score", 2, {"input.table": "customers"}),
    Case("a format that is not known", "train", 2, {"input.format": "xlsx"}),
    Case("options that are no keys and values", "train", 2, {"input.options": "sep"}),
    Case("a filter without a value", "score", 2, {"input.filters": "month ="}),
    Case("a filter with text that is not in quotes", "churn", 2,
         {"input.filters": "plan = yearly"}),
    Case("a filter of three parts with two", "train", 2, {"input.filters": [["plan", "="]]}),
    Case("a customer without a time", "churn", 2, {"id": None, "customer": "who"}),
    Case("an outcome, and churn after days", "churn", 2, {**LOG, "outcome": "left"}),
    Case("churn after no days", "churn", 2, {**LOG, "churn_after_days": 0}),
    Case("an id beside a customer", "score", 2, {"customer": "who", "time": "day", "id": "x"}),
    Case("a gate without versions", "churn", 2, {"gate": {"psi": {"above": 0.2}}}),
    Case("a gate of a figure that there is not", "churn", 2,
         {"keep_versions": 2, "gate": {"size": {"above": 1}}}),
    Case("a rule that says nothing", "churn", 2, {"keep_versions": 2, "gate": {"psi": {}}}),
    Case("a threshold that is text", "churn", 2,
         {"keep_versions": 2, "gate": {"psi": [{"above": "much"}]}}),
    Case("no version kept", "train", 2, {"keep_versions": 0}),
    Case("an alias where no versions are kept", "train", 2, {"publish_as": "challenger"}),
    Case("two aliases", "churn", 2, {"keep_versions": 2, "publish_as": ["champion", "challenger"]}),
    Case("a partition by a date that is not said", "score", 2, {"partition_by": ["run_date"]}),
    Case("a flag mistyped", "train", 2, words=("--sede", "3")),
    Case("a flag without its value", "train", 2, words=("--k",)),
    Case("a word that no flag takes", "score", 2, words=("--keep_columns", "a", "b")),
    Case("a list cut off", "churn", 2, words=("--categorical_columns", "[plan")),
    Case("a variable mistyped", "evaluate", 2, variables={"GMM_MODLE": "m"}),
    Case("a job mistyped", "trian", 2),
    Case("a version that is no number", "versions", 2, words=("VERSIONS", "--promote", "latest")),
    Case("a version to promote and one to delete", "versions", 2,
         words=("VERSIONS", "--promote", "1", "--delete", "2")),
    Case("versions of nothing", "versions", 2),
]  # fmt: skip

FILES = [
    Case("a path with nothing there", "train", 2, {"input.path": "HERE/none.parquet"}),
    Case("a pattern that nothing matches", "score", 2, {"input.path": "HERE/2026-*"}),
    Case("a store that is not known", "evaluate", 2, {"input.path": "lake://customers"}),
    Case("a catalog table that there is not", "churn", 2,
         {"input.path": None, "input.table": "lake.customers"}),
    Case("an empty file", "train", 3, {"input.path": "HERE/empty.parquet"},
         files=written("empty.parquet", b"")),
    Case("an empty file, to score", "score", 3, {"input.path": "HERE/empty.parquet"},
         files=written("empty.parquet", b"")),
    Case("an empty directory", "train", 3, {"input.path": "HERE/lake"},
         files=lambda at: (at[HERE] / "lake").mkdir()),
    Case("an empty directory, to segment", "churn", 3, {"input.path": "HERE/lake"},
         files=lambda at: (at[HERE] / "lake").mkdir()),
    Case("a directory without a table", "train", 3, {"input.path": "HERE/lake"},
         files=written("lake/readme.txt", "not here")),
    Case("a directory without a table, to evaluate", "evaluate", 3, {"input.path": "HERE/lake"},
         files=written("lake/readme.txt", "not here"), slow=True),
    Case("Parquet cut short", "train", 3, {"input.path": "HERE/spoilt.parquet"},
         files=spoilt(lambda content: content[: len(content) // 2])),
    Case("Parquet cut short, to segment", "churn", 3, {"input.path": "HERE/spoilt.parquet"},
         files=spoilt(lambda content: content[: len(content) // 2])),
    Case("Parquet with a footer of something else", "train", 3,
         {"input.path": "HERE/spoilt.parquet"},
         files=spoilt(lambda content: content[:-60] + b"\xff" * 52 + content[-8:])),
    Case("Parquet with a footer of something else, to evaluate", "evaluate", 3,
         {"input.path": "HERE/spoilt.parquet"},
         rows=people, files=spoilt(lambda content: content[:-60] + b"\xff" * 52 + content[-8:])),
    Case("Parquet with damaged rows", "train", 3, {"input.path": "HERE/spoilt.parquet"},
         files=spoilt(lambda content: content[:4] + b"\xff" * 900 + content[904:])),
    Case("Parquet with damaged rows, to segment", "churn", 3, {"input.path": "HERE/spoilt.parquet"},
         files=spoilt(lambda content: content[:4] + b"\xff" * 900 + content[904:]), slow=True),
    Case("text called Parquet", "train", 3, {"input.path": "HERE/rows.txt.parquet"},
         files=written("rows.txt.parquet", "who,tenure\nC1,3\n")),
    Case("Parquet read as ORC", "train", 3, {"input.format": "orc"}),
    Case("a format whose jar is not there", "churn", 2, {"input.format": "delta"}),
    Case("files of a table, numbers in one and text in the other", "train", 3,
         {"input.path": "HERE/lake"}, files=two_files(lambda: people(bill="much"))),
    Case("files of a table, numbers in one and text in the other, to segment", "churn", 3,
         {"input.path": "HERE/lake"},
         files=two_files(lambda: people(bill="much", who=[f"D{i}" for i in range(120)])),
         slow=True),
    Case("files of a table, one without a weight", "train", 3,
         {"input.path": "HERE/lake", "weight_column": "w"},
         files=two_files(lambda: people(w=1.0))),
    Case("CSV with lines of other lengths", "train", 3, {"input.path": "HERE/rows.csv"},
         files=written("rows.csv", RAGGED)),
    Case("CSV with lines of other lengths, to segment", "churn", 3, {"input.path": "HERE/rows.csv"},
         files=written("rows.csv", RAGGED)),
    Case("CSV with a header alone", "train", 3, {"input.path": "HERE/rows.csv"},
         files=written("rows.csv", "tenure,bill\n")),
    Case("CSV with lines of other lengths, to score", "score", 3, {"input.path": "HERE/rows.csv"},
         files=written("rows.csv", RAGGED)),
    Case("CSV without anything", "churn", 3, {"input.path": "HERE/rows.csv"},
         files=written("rows.csv", "")),
    Case("CSV with a column twice", "train", 3, {"input.path": "HERE/rows.csv"},
         files=written("rows.csv", "tenure,bill,bill\n1,2,3\n4,5,6\n7,8,9\n")),
    Case("CSV with words among numbers", "train", 3, {"input.path": "HERE/rows.csv"},
         files=written("rows.csv", "tenure,bill\n1,2\n3,unknown\n4,5\n")),
    Case("gzip that is none", "churn", 3, {"input.path": "HERE/rows.csv.gz"},
         files=written("rows.csv.gz", "who,tenure,bill\na,1,2\n")),
    Case("gzip cut short", "train", 3, {"input.path": "HERE/rows.csv.gz"},
         files=written("rows.csv.gz",
                       gzip.compress(b"tenure,bill\n" + b"1,2\n" * 999, mtime=0)[:40])),
    Case("JSON with lines that are none", "churn", 3, {"input.path": "HERE/rows.json"},
         files=written("rows.json", '{"who": 1}\n{"who": 2,\n{"who": 3}\n')),
    Case("JSON that is none", "train", 3, {"input.path": "HERE/rows.json"},
         files=written("rows.json", '{"tenure": 1, "bill": \n')),
    Case("a filter of a column that there is not", "train", 2, {"input.filters": "mnth = 1"}),
    Case("a filter of a column that there is not, to segment", "churn", 2,
         {"input.filters": "mnth = 1"}),
    Case("a filter that compares numbers with text", "train", 2,
         {"input.filters": "bill > 'much'"}),
    Case("a filter that compares text with a number", "churn", 3, {"input.filters": "plan > 3"}),
    Case("a filter that no row passes", "train", 3, {"input.filters": "tenure > 1000"}),
    Case("a filter that no row passes, to segment", "churn", 3, {"input.filters": "tenure > 1000"}),
    Case("a filter that no row passes, to score", "score", 3, {"input.filters": "spend > 1000"}),
    Case("a filter that no row passes, to evaluate", "evaluate", 3,
         {"input.filters": "spend > 1000"}, slow=True),
]  # fmt: skip

_N = 120
COLUMNS = [
    Case("a column that is not there", "train", 3, {"columns": ["tenure", "bil"]}),
    Case("a column that is not there, to score", "score", 3,
         {"input.path": "HERE/rows.parquet"}, rows=people),
    Case("a column that is not there, to evaluate", "evaluate", 3,
         {"input.path": "HERE/rows.parquet"}, rows=people),
    Case("a column that is not there, to segment", "churn", 3, {"columns": ["tenure", "bil"]}),
    Case("a column in another case", "train", 3, {"columns": ["Tenure", "bill"]}),
    Case("two columns that differ in case alone", "train", 3,
         rows=lambda: people(Bill=1.0)),
    Case("two columns that differ in case alone, to segment", "churn", 3,
         rows=lambda: people(Bill=1.0)),
    Case("a column in two lists", "train", 2, {"count_columns": ["bill"]}),
    Case("text for numbers", "train", 3, {"columns": ["tenure", "plan"]}),
    Case("text for numbers, to score", "score", 3, {"columns": ["name as spend"]}),
    Case("text for numbers, to segment", "churn", 3, {"columns": ["tenure", "plan"]}, slow=True),
    Case("numbers as text, one of which is none", "train", 3,
         {"columns": ["tenure", "double(text) as number"]},
         rows=lambda: people(text=["1.5"] * 100 + ["1,5"] * 20)),
    Case("only nulls", "train", 3, rows=some(None, rows=_N), slow=True),
    Case("only nulls, integrated out", "train", 3, {"missing": "marginalize"},
         rows=some(None, rows=_N)),
    Case("some nulls", "train", 3, rows=some(None)),
    Case("some that are no numbers", "train", 3,
         rows=of_arrow("bill", pa.array([float("nan")] * 3 + [1.0, 2.0, 4.0] * 39))),
    Case("some nulls, to score", "score", 3,
         {"columns": ["if(customer_id < 3, null, spend) as spend"], "missing": "error"}, slow=True),
    Case("some nulls, to evaluate", "evaluate", 3,
         {"columns": ["if(customer_id < 3, null, spend) as spend"], "missing": "error"}, slow=True),
    Case("some nulls, to segment", "churn", 3, {"missing": "error"}, rows=some(None), slow=True),
    Case("infinite values", "train", 3, rows=some(float("inf"))),
    Case("infinite values, to score", "score", 3,
         {"columns": ["if(customer_id < 3, double('inf'), spend) as spend"]}, slow=True),
    Case("infinite values, to evaluate", "evaluate", 3,
         {"columns": ["if(customer_id < 3, double('-inf'), spend) as spend"]}, slow=True),
    Case("values beyond what can be squared", "train", 3, rows=some(1e200)),
    Case("numbers in an array", "train", 3,
         rows=of_arrow("bill", pa.array([[1.0, 2.0]] * _N))),
    Case("numbers in a record", "train", 3,
         rows=of_arrow("bill", pa.array([{"amount": 1.0}] * _N))),
    Case("a date for a number", "train", 3, rows=of_arrow("bill", pa.array(
        [datetime.date(2026, 1, 1 + i % 9) for i in range(_N)]))),
    Case("bytes for a number", "train", 3, rows=of_arrow("bill", pa.array([b"1"] * _N))),
    Case("a category of numbers with fractions", "train", 3,
         {"columns": ["tenure"], "categorical_columns": ["bill"]}),
    Case("a count below zero", "train", 3, {"columns": ["tenure"], "count_columns": ["calls"]},
         rows=lambda: people(calls=[-1, *range(119)])),
    Case("a count with a fraction", "train", 3,
         {"columns": ["tenure"], "count_columns": ["bill"]}),
    Case("more components than rows", "train", 3, {"k": 121}),
    Case("more components than different rows", "train", 3, {"k": 5},
         rows=lambda: people(tenure=1.0, bill=[1.0, 2.0] * 60)),
    Case("more segments than there is room for", "churn", 2, {"k": 500}, slow=True),
    Case("more segments than rows", "churn", 3, {"k": 8, "id": None},
         rows=lambda: people().head(6), slow=True),
    Case("a table without rows", "train", 3, rows=lambda: arrow(people())[:0]),
    Case("a table without rows, to segment", "churn", 3, rows=lambda: arrow(people())[:0]),
    Case("a weight below zero", "train", 3, {"weight_column": "w"},
         rows=lambda: people(w=[-1.0] * 2 + [1.0] * 118)),
    Case("weights that are all zero", "train", 3, {"weight_column": "w"},
         rows=lambda: people(w=0.0)),
    Case("a weight that is text", "train", 3, {"weight_column": "plan"}),
    Case("a weight without a value", "train", 3, {"weight_column": "w"},
         rows=lambda: people(w=[None] * 2 + [1.0] * 118)),
    Case("a label that is no component", "train", 3, {"label_column": "known"},
         rows=lambda: people(known=[2] + [0] * 119)),
    Case("a label with a fraction", "train", 3, {"label_column": "known"},
         rows=lambda: people(known=[0.5] + [0.0] * 119)),
    Case("a start of one label", "train", 3, {"initial_label_column": "known"},
         rows=lambda: people(known=0)),
    Case("a vector that is a number", "train", 3, {"columns": None, "vector_column": "bill"}),
    Case("an expression that is no SQL", "train", 2, {"columns": ["bill + * 2 as b"]}),
    Case("an expression without a name", "train", 2, {"columns": ["tenure", "bill * 2"]}),
    Case("a function that there is not", "churn", 2, {"columns": ["nosuch(bill) as b"]}),
    Case("two expressions of one name", "train", 2, {"columns": ["bill as b", "tenure as b"]}),
    Case("a division by zero", "train", 3, {"columns": ["tenure", "bill / (tenure * 0) as b"]}),
    Case("a column that scores have too", "score", 2, {"columns": ["spend as prediction"]}),
    Case("a column to keep that is not there", "score", 2, {"keep_columns": ["idd"]}),
    Case("a partition by what is not there", "score", 2, {"partition_by": ["mnth"]}),
    Case("an outcome to profile that is a vector", "score", 2, {"profile": ["probability"]}),
]  # fmt: skip

SEGMENTS = [
    Case("an id that is not there", "churn", 2, {"id": "whoo"}),
    Case("an id that is an expression", "churn", 2, {"id": "upper(who)"}),
    Case("an id that several rows have", "churn", 3,
         rows=lambda: people(who=["A"] * 5 + [f"{i}" for i in range(115)]), slow=True),
    Case("an id that some rows lack", "churn", 3, rows=some(None, "who")),
    Case("an outcome that is not there", "churn", 2, {"outcome": "lft"}),
    Case("an outcome that is no SQL", "churn", 2, {"outcome": "left ="}),
    Case("an outcome of one value", "churn", 3, {"outcome": "left"},
         rows=lambda: people(left="no")),
    Case("an outcome of three values", "churn", 3, {"outcome": "left"},
         rows=lambda: people(left=["no", "yes", "maybe"] * 40)),
    Case("an outcome that no row has", "churn", 3, {"outcome": "left"},
         rows=lambda: people(left=None)),
    Case("an outcome that is infinite", "churn", 3, {"outcome": "lost"},
         rows=lambda: people(lost=[float("inf")] + [1.0, 2.0, 3.0] * 39 + [2.0] * 2)),
    Case("an outcome that is a date", "churn", 3, {"outcome": "day"},
         rows=lambda: people(day=datetime.date(2026, 1, 1))),
    Case("an outcome that is an input too", "churn", 2,
         {"outcome": "left", "categorical_columns": ["plan", "left"]}),
    Case("a value that is text", "churn", 2, {"value": "plan"}),
    Case("a value that no row has", "churn", 3, {"value": "money"},
         rows=lambda: people(money=float("nan"))),
    Case("a value that is infinite in all rows", "churn", 3, {"value": "money"},
         rows=lambda: people(money=float("inf"))),
    Case("all columns left out", "churn", 3,
         {"excluded_columns": ["tenure", "bill", "plan", "left"]}),
    Case("a column left out that is not there", "churn", 3, {"excluded_columns": ["tenre"]}),
    Case("nothing but constants", "churn", 3,
         rows=lambda: people(tenure=1.0, bill=2.0, plan="a", left="no")),
    Case("one row", "churn", 3, rows=lambda: people().head(1)),
    Case("text that is no date", "churn", 3, {"date_columns": ["plan"]}, slow=True),
    Case("a last day that is no date", "churn", 2, {"cut_off": "yesterday"}),
    Case("dates of years that no calendar has", "churn", 3, {"date_columns": ["day"]},
         rows=lambda: people(day=[f"{20000 + i}-01-01" for i in range(_N)])),
]  # fmt: skip

TRANSACTIONS = [
    Case("transactions without their column", "churn", 2, {**LOG, "amount": "payed"},
         rows=purchases, slow=True),
    Case("transactions without a customer", "churn", 3, LOG, rows=lambda: purchases(who=None),
         slow=True),
    Case("a time that is no date", "churn", 3, LOG, rows=lambda: purchases(day="last week")),
    Case("an amount that is text", "churn", 3, LOG, rows=lambda: purchases(paid="much")),
    Case("amounts that are infinite", "churn", 3, LOG,
         rows=lambda: purchases(paid=[float("inf")] * 2 + [3.0] * 198)),
    Case("returns alone", "churn", 3, LOG, rows=lambda: purchases(paid=-3.0), slow=True),
    Case("transactions of one day", "churn", 2, LOG, rows=lambda: purchases(day="2025-03-01")),
    Case("a last day before the first", "churn", 2, {**LOG, "cut_off": "2024-01-01"},
         rows=purchases),
    Case("a last day after which too few days are known", "churn", 2,
         {**LOG, "cut_off": "2025-09-20"}, rows=purchases),
    Case("transactions in the future", "churn", 3, {**LOG, "run_date": "2020-01-01"},
         rows=purchases),
    Case("no transactions", "churn", 3, LOG, rows=lambda: arrow(purchases())[:0]),
    Case("transactions to score, of a model of customers", "score", 3,
         {"input.path": "HERE/rows.parquet", "customer": "who", "time": "day"}, rows=purchases),
]  # fmt: skip

OUTPUT = [
    Case("a result that is there", "train", 2, files=a_result),
    Case("a result that is there, of segments", "churn", 2, files=a_result),
    Case("files of something else", "score", 2, files=written("out/thesis.doc", "mine")),
    Case("a file instead of a directory", "evaluate", 2, {"output": "HERE/out"},
         files=written("out", "mine")),
    Case("a directory below a file", "train", 2, {"output": "HERE/file/out"},
         files=written("file", "mine")),
    Case("a directory within the table", "churn", 2, {"input.path": "HERE", "output": "HERE/out"}),
    Case("the table itself", "score", 2, {"output": "LAKE/customers", "mode": "overwrite"}),
    Case("a directory of versions, and none to be kept", "train", 2,
         {"output": "VERSIONS", "overwrite": True}),
    Case("a store that is not known, to write", "train", 2, {"output": "lake://segments"}),
    Case("a checkpoint directory that is a file", "train", 2,
         {"checkpoint_dir": "HERE/checkpoint"}, files=written("checkpoint", "mine")),
    Case("a checkpoint of something else", "churn", 2, {"checkpoint_dir": "HERE/checkpoint"},
         files=written("checkpoint/checkpoint.json", "mine")),
]  # fmt: skip

MODELS = [
    Case("a model that is not there", "score", 2, {"model": "HERE/none"}),
    Case("a directory without a model", "evaluate", 3, {"model": "HERE/lake"},
         files=lambda at: (at[HERE] / "lake").mkdir()),
    Case("a file instead of a model", "score", 3, {"model": "HERE/model"},
         files=written("model", "mine")),
    Case("a model without its metadata", "score", 3, {"model": "HERE/model"},
         files=damaged("metadata", None)),
    Case("a model whose metadata are cut short", "evaluate", 3, {"model": "HERE/model"},
         files=damaged("metadata", lambda content: content[:40])),
    Case("a model of a newer format", "score", 3, {"model": "HERE/model"},
         files=damaged("metadata", instead(b'"formatVersion":1', b'"formatVersion":9'))),
    Case("a model of another class", "score", 3, {"model": "HERE/model"},
         files=damaged("metadata", instead(b"gmm_spark.model.G", b"other.G"))),
    Case("a model of another number of components", "score", 3, {"model": "HERE/model"},
         files=damaged("metadata", instead(b'"k":3,"numF', b'"k":4,"numF'))),
    Case("a model without its parameters", "evaluate", 3, {"model": "HERE/model"},
         files=damaged("data", None)),
    Case("a model whose parameters are cut short", "score", 3, {"model": "HERE/model"},
         files=damaged("data", lambda content: content[:100])),
    Case("a start of another model", "train", 2, {"initial_model": MODEL, "k": 3}),
    Case("a start that is not there", "train", 2, {"initial_model": "HERE/none"}),
    Case("a model to compare with that is not there", "evaluate", 2, {"against": "HERE/none"}),
    Case("a version that there is not", "score", 2, {"model": "VERSIONS@9"}),
    Case("an alias that nothing has", "evaluate", 2, {"model": "VERSIONS@latest"}),
    Case("two aliases of a model", "score", 2, {"model": "VERSIONS@champion@challenger"}),
    Case("a version of a directory without versions", "score", 2, {"model": "MODEL@champion"}),
    Case("a version that was changed", "score", 3, {"model": "HERE/versions@1"},
         files=damaged_versions("versions/run1/model/metadata/part*",
                                lambda content: content + b" ")),
    Case("a publish log that is damaged", "evaluate", 3, {"model": "HERE/versions"},
         files=damaged_versions("published/000002.json", lambda content: content[:50])),
    Case("a publish log that is damaged, to publish in", "train", 3,
         {"output": "HERE/versions", "keep_versions": 2},
         files=damaged_versions("published/000002.json", lambda content: content[:50])),
    Case("a publish log of a newer format", "score", 3, {"model": "HERE/versions"},
         files=damaged_versions("published/000002.json", lambda content: again(content, format=9))),
    Case("versions of a directory that has none", "versions", 2, words=("HERE",)),
    Case("a version to promote that there is not", "versions", 2,
         words=("VERSIONS", "--promote", "7")),
    Case("the champion, to delete", "versions", 2, words=("VERSIONS", "--delete", "2")),
]  # fmt: skip

CASES = {
    "Settings": SETTINGS,
    "Files": FILES,
    "Columns": COLUMNS,
    "Customers": SEGMENTS,
    "Transactions": TRANSACTIONS,
    "Output": OUTPUT,
    "Models and versions": MODELS,
}
