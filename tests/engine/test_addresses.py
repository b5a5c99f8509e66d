"""What a user writes as a path, and where it leads: by its own name first, else as a pattern."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import fs

from gmm_spark.engine.addresses import address, as_text, escaped
from gmm_spark.errors import ConfigurationError

# Names that are something else in a URI or in a pattern.
ODD = ["my data", "a#b", "a?b", "100%", "a%20b", "run[1]", "{a,b}", "x*", "back\\slash", "é,ü;="]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("before", ["", "file:", "file://"])
def test_a_path_that_exists_is_that_path(tmp_path, name, before) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "xother").mkdir()  # what x* would match as well
    where = address(f"{before}{tmp_path}/{name}")
    assert where.found() == [f"{tmp_path}/{name}"]
    assert where.uri(where.path) == f"file:{tmp_path}/{name}"


def test_paths_of_pathlib_and_relative_ones(tmp_path, monkeypatch) -> None:
    (tmp_path / "a b").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "a b", Path("a b"), "a b/", "./a b", (tmp_path / "a b").as_uri()):
        assert address(path).found() == [f"{tmp_path}/a b"]
    assert as_text(Path("s3://bucket/x")) == "s3://bucket/x"


# The rules are those of Hadoop's FileSystem.globStatus.
PATTERNS = {
    "*": ["a1", "a2", "b1", "run[1]"],
    "a?": ["a1", "a2"],
    "[ab]1": ["a1", "b1"],
    "a[2-9]": ["a2"],
    "a[^1]": ["a2"],
    "a[!2]": ["a1"],
    "{a,b}1": ["a1", "b1"],
    "{a{1,2},b1}": ["a1", "a2", "b1"],
    "{a1/in,b1}": ["a1/in", "b1"],
    "*/in": ["a1/in"],
    r"run\[1\]": ["run[1]"],
    r"*\]": ["run[1]"],
    "_*": ["_hidden"],
    "nothing*": [],
    "a1/*/x": [],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_does_not_exist_is_a_pattern(tmp_path, pattern) -> None:
    for name in ("a1/in", "a2", "b1", "run[1]", "_hidden", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
    expected = [f"{tmp_path}/{name}" for name in PATTERNS[pattern]]
    assert address(f"{tmp_path}/{pattern}").found() == expected
    assert address(f"file://{tmp_path}/{pattern}").found() == expected
    below = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    assert address(pattern, below).found() == PATTERNS[pattern]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (None, "None"),
        (3, "a int"),
        (b"bytes", "a bytes"),
        ("", "''"),
        (["a"], "a list"),
        (np.zeros((99, 99)), "a numpy ndarray"),
        (pd.DataFrame({"x": range(99)}), "a pandas DataFrame"),
        (pa.table({"x": range(99)}), "a pyarrow Table"),
    ],
)
def test_what_is_no_path_is_said_so(path, found) -> None:
    with pytest.raises(ConfigurationError) as caught:
        address(path)
    assert str(caught.value) == f"{found} is no path; give text or a pathlib.Path"


def test_addresses_that_lead_nowhere() -> None:
    with pytest.raises(ConfigurationError, match=r"names a machine, 'lake'.*file:///lake/t"):
        address("file://lake/t")
    with pytest.raises(ConfigurationError, match="cannot open nosuch://"):
        address("nosuch://lake/t")
    with pytest.raises(ConfigurationError, match="brace that is not closed"):
        address("/nowhere/{a,b").found()
    assert address("/nowhere/a").found() == []


@pytest.mark.parametrize("name", [*ODD, "a{b[c*d?e}f]"])
def test_spark_takes_an_escaped_path_by_its_own_name(spark, tmp_path, name) -> None:
    """Hadoop finds the one path, and not what it would match as a pattern."""
    for other in (name, "xother", "a", "b", "a1b", "run1", "axb"):
        (tmp_path / other).mkdir()
    path = spark._jvm.org.apache.hadoop.fs.Path(escaped(f"file:{tmp_path}/{name}"))
    system = path.getFileSystem(spark._jsc.hadoopConfiguration())
    found = [status.getPath().toString() for status in system.globStatus(path)]
    assert found == [f"file:{tmp_path}/{name}"]
