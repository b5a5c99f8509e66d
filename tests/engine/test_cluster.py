"""Classic Spark and Spark Connect: one module knows which it is, and answers for both."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gmm_spark.engine import cluster

PACKAGE = Path(cluster.__file__).parents[1]
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != Path(cluster.__file__))
# What classic Spark has and Spark Connect has not, or has in another way.
OF_ONE_ROOM = {
    "SparkContext", "defaultParallelism", "parallelize", "sparkContext",
    "_jdf", "_jsc", "_jsparkSession", "_jvm",
    "cache", "persist", "rdd", "toRDD", "unpersist",
    "setJobDescription", "setJobGroup", "setLocalProperty",
    "isConnect", "is_connect", "_is_connect", "is_remote",
}  # fmt: skip


def words_of_the_room(source: str) -> list[str]:
    """What a module says of these things, in code: a comment and a docstring may name them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            # A hint of a join is not a broadcast variable.
            is_hint = isinstance(node.value, ast.Name) and node.value.id == "F"
            if node.attr in OF_ONE_ROOM or (node.attr == "broadcast" and not is_hint):
                found.append(node.attr)
        elif isinstance(node, ast.Name) and node.id in OF_ONE_ROOM:
            found.append(node.id)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found += [name.name for name in node.names if name.name in OF_ONE_ROOM]
            names = [name.name for name in node.names]
            module = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            found += [name for name in module if name.startswith("pyspark.sql.connect")]
        elif isinstance(node, ast.Constant) and node.value == "pyspark.sql.connect":
            found.append(node.value)
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_knows_classic_spark_from_connect(module) -> None:
    assert words_of_the_room(module.read_text("utf-8")) == []


def test_the_search_for_these_words_finds_them() -> None:
    found = words_of_the_room(
        "from gmm_spark.engine.cluster import _is_connect\n"
        "import pyspark.sql.connect.session\n"
        "spark.sparkContext.broadcast(1)\nframe.persist()\nF.broadcast(frame)\n"
        "'a text that says sparkContext'  # and a comment: _jvm\n"
    )
    assert sorted(found) == [
        "_is_connect", "broadcast", "persist", "pyspark.sql.connect.session", "sparkContext",
    ]  # fmt: skip
    assert len(words_of_the_room(Path(cluster.__file__).read_text("utf-8"))) > 20


class _Remote:
    """A session as far as anybody can see that it is Spark Connect's."""


_Remote.__module__ = "pyspark.sql.connect.session"


@pytest.fixture
def remote() -> Any:
    return _Remote()


def test_without_a_jvm_nothing_asks_for_one(remote) -> None:
    """An attribute that is asked for would be an AttributeError."""
    assert cluster.free_storage(remote) == 0
    assert not cluster.has_rdds(remote)
    assert cluster.distributed(remote, [1, 2], 2, iter, cache=True) is None
    assert cluster.num_partitions(SimpleNamespace(sparkSession=remote)) == 0
    assert cluster.default_filesystem(remote) == "file:///"
    assert cluster.matching_paths(remote, "/lake/*") == []
    with cluster.described(remote, "a job"), cluster.loggers_off_on_one_machine(remote, ["x"]):
        pass
    shared = cluster.Shared(remote, "value", 1 << 30)
    assert shared.value == "value"
    shared.destroy()


def test_a_value_is_broadcast_where_it_is_large(spark) -> None:
    small, large = (cluster.Shared(spark, "value", size) for size in (1, 1 << 30))
    assert (small.value, large.value) == ("value", "value")
    assert small._broadcast is None
    assert large._broadcast is not None
    large.destroy()


def test_items_keep_their_order_over_the_tasks(spark) -> None:
    assert cluster.map_items(spark, lambda item: -item, list(range(10)), 3) == [
        -item for item in range(10)
    ]


def test_what_is_cached_is_given_back(spark) -> None:
    kept = spark.sparkContext._jsc.getPersistentRDDs
    before = kept().size()
    for kind in ("frame", "rdd"):
        data = spark.range(10) if kind == "frame" else spark.sparkContext.parallelize(range(10), 2)
        data = cluster.cached(data)
        data.count()
        assert kept().size() == before + 1
        cluster.released(data)
        assert kept().size() == before


def test_paths_as_hadoop_sees_them(spark, tmp_path) -> None:
    for name in ("a1", "a2", "b[1]"):
        (tmp_path / name).mkdir()
    assert cluster.path_exists(spark, f"{tmp_path}/a1")
    assert not cluster.path_exists(spark, f"{tmp_path}/a3")
    found = cluster.matching_paths(spark, f"{tmp_path}/a*")
    assert [path.rsplit("/", 1)[1] for path in found] == ["a1", "a2"]
    assert cluster.matching_paths(spark, f"{tmp_path}/b[1]") == [f"{tmp_path}/b[1]"]
    assert cluster.matching_paths(spark, f"{tmp_path}/c*") == []
    cluster.delete_path(spark, f"{tmp_path}/b[1]")
    cluster.delete_path(spark, f"{tmp_path}/never")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a1", "a2"]
