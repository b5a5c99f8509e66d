"""What an import costs. Every case is a Python of its own: this one has imported everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import gmm_spark

ROOT = Path(__file__).resolve().parents[1]

# Fails where anything is started: a JVM is a process, whoever asks for it.
NO_PROCESS = """
import sys
def refuse(event, arguments):
    started = event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.system")
    # numpy.testing, which older releases of scipy import, asks for the processor.
    if started and arguments[0] != "lscpu":
        raise RuntimeError(f"a process was started: {event} {arguments}")
sys.addaudithook(refuse)
"""

# A machine on which these packages are not installed.
WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


def python(code: str) -> str:
    """What a new Python prints that runs `code` in the project's directory."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def imported_by(statement: str) -> set[str]:
    """Packages in memory after a statement, by their first name."""
    names = python(f"{statement}\nimport sys\nprint(*sys.modules)").split()
    return {name.partition(".")[0] for name in names}


def test_the_package_alone_loads_nothing_else():
    heavy = {"numpy", "scipy", "pandas", "pyarrow", "pyspark", "py4j"}
    assert imported_by("import gmm_spark").isdisjoint(heavy)
    # An editable install brings a finder of its own, whose name holds the package's.
    listed = "[m for m in sys.modules if m.partition('.')[0] == 'gmm_spark']"
    assert python(f"import gmm_spark, sys\nprint(*{listed})") == "gmm_spark"


@pytest.mark.parametrize("name", gmm_spark.__all__)
def test_a_name_of_the_package_starts_no_jvm(name):
    code = f"{NO_PROCESS}\nimport gmm_spark\nprint(gmm_spark.{name}.__name__)"
    assert python(code) == name
    # Whatever pyspark may have running, it is not here.
    code = (
        f"import gmm_spark; gmm_spark.{name}\n"
        "import sys\n"
        "core = sys.modules.get('pyspark.core.context') or sys.modules.get('pyspark.context')\n"
        "print(core.SparkContext._gateway if core else None)"
    )
    assert python(code) == "None"


def test_the_process_guard_sees_a_process():
    with pytest.raises(AssertionError, match="a process was started"):
        python(f"{NO_PROCESS}\nimport subprocess\nsubprocess.run(['true'])")


def test_all_names_of_the_package_are_there():
    code = "import gmm_spark\nprint(*sorted(n for n in gmm_spark.__all__ if getattr(gmm_spark, n)))"
    expected = [
        "GaussianMixture",
        "GaussianMixtureModel",
        "GaussianMixtureSearch",
        "GaussianMixtureSummary",
        "ParquetTable",
        "Preparation",
        "PreparationModel",
        "read_model",
        "read_scores",
    ]
    assert python(code).split() == expected
    code = "import gmm_spark\nprint(*dir(gmm_spark))"
    assert set(expected) <= set(python(code).split())


def test_an_unknown_name_is_an_attribute_error():
    code = (
        "import gmm_spark\ntry:\n    gmm_spark.Mixture\nexcept AttributeError as e:\n    print(e)"
    )
    assert python(code) == "module 'gmm_spark' has no attribute 'Mixture'"


# pyspark.ml.linalg takes scipy along where it is installed; these two do not need pyspark.ml.
@pytest.mark.parametrize("name", ["GaussianMixtureSummary", "ParquetTable"])
def test_names_without_pyspark_ml_import_no_scipy(name):
    assert "scipy" not in imported_by(f"import gmm_spark; gmm_spark.{name}")


def modules(package: str) -> list[str]:
    """Every module below a package of gmm_spark, by its full name."""
    paths = (ROOT / "gmm_spark" / package).rglob("*.py")
    names = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in paths}
    return sorted(name.removesuffix(".__init__") for name in names)


# Imports modules one after the other, and says which loads a package it may not.
ONE_BY_ONE = """
import sys
from importlib import import_module
for name in {names}:
    import_module(name)
    found = {{loaded.partition(".")[0] for loaded in sys.modules}} & {refused}
    if found:
        raise ImportError(f"{{name}} imports {{sorted(found)}}")
print("there", len({names}))
"""


def one_by_one(names: list[str], refused: set[str], guard: str = "") -> str:
    return python(guard + ONE_BY_ONE.format(names=names, refused=refused))


def test_the_mathematics_imports_no_spark() -> None:
    names = modules("mixture")
    found = one_by_one(names, {"pyspark", "py4j", "pandas", "pyarrow"})
    assert found == f"there {len(names)}"
    assert len(names) > 20


# What tasks are made of is in the engine, and in what it imports of the mathematics. On executors
# are numpy, pandas, pyarrow and pyspark itself; everything else is the driver's.
DRIVERS = {"scipy", "sklearn", "threadpoolctl", "pydantic", "yaml"}


def test_the_engine_works_where_only_what_executors_have_is_installed() -> None:
    names = modules("engine")
    guard = WITHOUT.format(packages=sorted(DRIVERS))
    assert one_by_one(names, DRIVERS, guard) == f"there {len(names)}"
    assert {"gmm_spark.engine.blocks", "gmm_spark.engine.scoring"} <= set(names)


def test_the_engine_loads_no_scipy_where_there_is_one() -> None:
    """But for what is of vectors: pyspark.ml takes scipy along, where it is installed."""
    sources = {name: ROOT / f"{name.replace('.', '/')}.py" for name in modules("engine")[1:]}
    names = [name for name, path in sources.items() if "\nfrom pyspark.ml" not in path.read_text()]
    assert one_by_one(names, DRIVERS) == f"there {len(names)}"
    assert len(names) > len(sources) / 2


def test_the_search_for_imports_finds_one() -> None:
    with pytest.raises(AssertionError, match=r"gmm_spark.config.settings imports \['pydantic'"):
        one_by_one(["gmm_spark.mixture.kernel", "gmm_spark.config.settings"], {"pydantic"})


def test_the_guard_hides_a_package():
    code = WITHOUT.format(packages=["scipy"]) + "\nimport scipy"
    with pytest.raises(AssertionError, match="No module named 'scipy"):
        python(code)
