"""Fixtures of all tests: reference data beside the project, a small lake, one Spark session."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


def environment_of_a_process() -> dict[str, str]:
    """The environment of a process that has a Spark session of its own, of any kind."""
    kept = {
        name: value
        for name, value in os.environ.items()
        # Of the session of the other tests; a process that has them is of classic Spark.
        if not name.startswith(("PYSPARK_GATEWAY", "SPARK_"))
    }
    python_path = os.pathsep.join([str(ROOT), *sys.path[1:]])
    pythons = dict.fromkeys(("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"), sys.executable)
    return {**kept, **pythons, "PYTHONPATH": python_path}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Reference data sets beside the project, which holds no copy of them."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the reference data of ../shared/data are not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One session for all tests: a JVM takes seconds to start, and a process has only one."""
    # Here and not at the top: the tests of the mathematics need no Spark.
    import pyspark
    from pyspark.sql import SparkSession

    # Spark's own default is the first python3 on the path, which may lack numpy.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    builder = (
        SparkSession.builder.appName("gmm_spark tests")
        # Two tasks at once: enough for merging to matter, and what the smallest machine has.
        .master("local[2]")
        # No web server: it takes time and a port.
        .config("spark.ui.enabled", "false")
        # A shuffle of a few rows into the default of 200 partitions is 200 tasks.
        .config("spark.sql.shuffle.partitions", "2")
        # The machine's own name need not resolve, in a container for instance.
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        # The package of this checkout on the workers, whatever directory pytest starts in.
        .config("spark.executorEnv.PYTHONPATH", str(ROOT))
        # Tables that a test saves by name stay out of the checkout.
        .config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("warehouse")))
        # The tests' data are small; the rest of the machine is for the Python workers.
        .config("spark.driver.memory", "1g")
        # Thousands of short jobs: what is compiled quickly is enough.
        .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
    )
    if tuple(int(part) for part in pyspark.__version__.split(".")[:2]) >= (4, 1):
        # Over TCP a Python worker waits about 45 ms a task for a delayed acknowledgement.
        builder = builder.config("spark.python.unix.domain.socket.enabled", "true")
    session = builder.getOrCreate()
    # Errors that tests provoke on purpose would fill the output with stack traces.
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def customers() -> pd.DataFrame:
    """600 rows of `tests.customers`."""
    from tests.customers import rows

    return rows()


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory, customers: pd.DataFrame) -> Path:
    """The customers as files, see `tests.customers.write_lake`."""
    from tests.customers import write_lake

    directory = tmp_path_factory.mktemp("lake")
    write_lake(customers, directory)
    return directory


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The next fit ends, by that error, when it has written that state of a checkpoint; empty: it
    does not any more."""
    # Here and not at the top: it takes the package along.
    from gmm_spark.checkpoints import Directory

    def set_up(state: str, error: type[BaseException] = KeyboardInterrupt) -> None:
        monkeypatch.undo()
        create = Directory.create

        def wrapped(self: Directory, name: str, content: bytes) -> None:
            create(self, name, content)
            if name == f"{state}.state":
                raise error

        monkeypatch.setattr(Directory, "create", wrapped)

    return set_up
