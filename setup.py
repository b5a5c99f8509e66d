import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "gmm_spark" / "__init__.py").read_text("utf-8"), re.MULTILINE
)
README = ROOT / "README.md"

# Charts are of the Altair that they are tested with; 3.10 has an older one than 3.11 and newer.
REPORT = ["altair>=5.5,<6.4", "jinja2>=3.1", "vl-convert-python>=1.9,<1.10"]
# A put on the condition that nothing is there, which pyarrow has not.
OBJECT_STORE = ["obstore>=0.5"]
# It is made by what is tested: converters and operator sets change from release to release.
ONNX = ["onnx>=1.16", "scikit-learn>=1.4", "skl2onnx>=1.18,<1.21"]
# The client without the server, which needs no database.
MLFLOW = ["mlflow-skinny>=3.1,<4"]
SQL = ["sqlglot>=30,<31"]

setup(
    name="gmm_spark",
    version=VERSION.group(1) if VERSION else "0.1.0",
    description="Gaussian mixtures by expectation-maximisation on Apache Spark",
    long_description=README.read_text("utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="gmm_spark contributors",
    license="MIT",
    packages=find_packages(include=["gmm_spark", "gmm_spark.*"]),
    entry_points={"console_scripts": ["gmm-spark=gmm_spark.cli.main:main"]},
    package_data={"gmm_spark.runs": ["conf/*.properties"]},
    python_requires=">=3.10,<3.14",
    install_requires=[
        "pyspark>=4.0,<4.4",
        "numpy>=1.26",
        # pyspark 4.3 does not support pandas 3
        "pandas>=2.2,<3",
        # views of texts
        "pyarrow>=16",
        # 1.11.0 was withdrawn
        "scipy>=1.11.1",
        "threadpoolctl>=3.1",
        # defaults that are made of other settings
        "pydantic>=2.10",
        "PyYAML>=6",
    ],
    extras_require={
        "object-store": OBJECT_STORE,
        "report": REPORT,
        "onnx": ONNX,
        "mlflow": MLFLOW,
        "sql": SQL,
        "dev": [
            *OBJECT_STORE,
            *ONNX,
            *REPORT,
            # It has axe-core 4.12 in it.
            "axe-playwright-python>=0.1.8,<0.2",
            *MLFLOW,
            *SQL,
            "build",
            "chispa",
            "duckdb>=1.1",
            "hypothesis>=6.100",
            "import-linter>=2",
            "ipykernel>=6.29,<8",
            "jsonschema>=4.18",
            # Formatters and checkers find other things from release to release.
            "mypy>=2.4,<2.5",
            "nbclient>=0.10,<0.12",
            "nbformat>=5.10,<6",
            "onnxruntime>=1.20",
            "pandas-stubs",
            # Of it the driver alone: the browser is the system's chromium.
            "playwright>=1.49",
            "pyspark[connect]",
            "pytest>=8",
            "pytest-xdist>=3.7",
            "ruff>=0.17.5,<0.18",
            "scikit-learn>=1.4",
            "setuptools",
            "stepmix>=2.2",
            "types-PyYAML",
            "wheel",
        ],
        # oneDAL has an environment of its own, which the benchmarks make.
        "bench": ["matplotlib>=3.8", "scikit-learn>=1.4"],
    },
)
