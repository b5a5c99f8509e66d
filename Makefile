# gmm_spark: `make help` lists what there is.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Any Python from 3.10 to 3.13; PYTHON=/path/to/python overrides.
IN_RANGE := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	  "$$p" -c '$(IN_RANGE); import ensurepip' >/dev/null 2>&1 && { command -v "$$p"; exit; }; done; \
	  for p in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	  "$$p" -c '$(IN_RANGE)' >/dev/null 2>&1 && { command -v "$$p"; exit; }; done)

VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.setup-done
BENCH_SETUP := $(VENV)/.bench-done
ZIP := dist/gmm_spark.zip
ENVIRONMENT := dist/gmm_spark_environment.tar.gz

# The same interpreter on the driver and in the workers.
PYTHONS := PYSPARK_PYTHON=$(CURDIR)/$(BIN)/python PYSPARK_DRIVER_PYTHON=$(CURDIR)/$(BIN)/python
# Tests and benchmarks start sessions of their own; log4j2.properties is found in conf/.
SPARK_ENV := $(PYTHONS) SPARK_CONF_DIR=$(CURDIR)/conf
# What `pip install` put into the environment, not another Spark this machine may have.
SUBMIT := env -u SPARK_HOME -u SPARK_CONF_DIR $(PYTHONS) $(BIN)/spark-submit \
	--properties-file conf/spark-defaults.conf --py-files $(ZIP)
# Of the JVM's own, one line that nothing turns off: Spark 4.3 asks for a module in incubation.
BUT_FOR_THE_JVM := { grep -v '^WARNING: Using incubator modules: ' >&2 || true; }

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(SETUP) ## Make the environment in .venv (once)

$(SETUP): setup.py
	@test -n "$(PYTHON)" || { echo "gmm_spark needs Python 3.10 to 3.13 and finds none: install one, or say PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c '$(IN_RANGE)' || { echo "gmm_spark needs Python 3.10 to 3.13, and $(PYTHON) is $$("$(PYTHON)" -V 2>&1): say PYTHON=/path/to/another" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make environments (no venv or ensurepip): on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "Making $(VENV) from $(PYTHON) (a minute or two; pyspark is the bulk)"; "$(PYTHON)" -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Checked before anything long: Spark 4 needs a JDK 17 or newer.
.PHONY: java
java:
	@java="$${JAVA_HOME:+$$JAVA_HOME/bin/}java"; \
	version=$$("$$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1); \
	if [ -z "$$version" ]; then found="none is found$${JAVA_HOME:+ in JAVA_HOME=$$JAVA_HOME}"; \
	elif [ "$$version" -lt 17 ]; then found="$$java is older"; else exit 0; fi; \
	echo "Spark needs a JDK 17 or newer, and $$found: install one (apt-get install openjdk-17-jre-headless, brew install openjdk@17, or https://adoptium.net) and set JAVA_HOME if it is not on the PATH" >&2; exit 1

# Which run, and where its table is if not in the file: make run DATA=conf/NAME.yaml INPUT=path
DATA ?= conf/telco_churn.yaml

.PHONY: run
run: java $(SETUP) $(ZIP) ## Segment the sample customers by churn; DATA=conf/NAME.yaml INPUT=path for others
	@set -o pipefail; { $(SUBMIT) jobs/churn_segmentation.py --config "$(DATA)" \
	  $(if $(INPUT),--input.path "$(INPUT)") 2>&1 >&3 | $(BUT_FOR_THE_JVM); } 3>&1

# Half of the time a test waits for Spark. A file stays in one process, for what its tests share,
# and files in their order: the short ones last.
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: test
test: java check $(ZIP) ## Run the checks, then the tests (some ten minutes)
	@env -u SPARK_HOME $(SPARK_ENV) $(BIN)/python -m pytest $(IN_TWO) -m "not long"

.PHONY: test-long
test-long: java $(ZIP) ## Run the tests that take long, or need a cluster or a browser
	@env -u SPARK_HOME $(SPARK_ENV) $(BIN)/python -m pytest $(IN_TWO) -m long

AIRFLOW := .venv-airflow

.PHONY: airflow
airflow: $(SETUP) ## Make an environment with Airflow, by which test-long parses conf/airflow
	@"$(PYTHON)" -m venv $(AIRFLOW)
	@$(AIRFLOW)/bin/python -m pip install --quiet --disable-pip-version-check 'apache-airflow>=3,<4'

# What setup.py promises at the least: the oldest Python, and of each package the lowest version.
OLDEST := .venv-oldest
OLDEST_SETUP := $(OLDEST)/.setup-done
PYTHON_OLDEST ?= $(shell command -v python3.10)
LOWEST := import re, sys; from importlib.metadata import requires; \
	print(*(re.sub(r"^([\w.-]+)(?:\[.*\])?.*?>=([\d.]+).*", r"\1==\2", each) for each in requires("gmm_spark") if "extra ==" not in each), sep="\n")

.PHONY: test-oldest
test-oldest: java $(OLDEST_SETUP) $(ZIP) ## Run the tests on Python 3.10, Spark 4.0 and the lowest versions of the rest
	@$(OLDEST)/bin/python -c 'import platform, numpy, pandas, pyarrow, pyspark, scipy; print("Python", platform.python_version(), *(f"{m.__name__} {m.__version__}" for m in (pyspark, numpy, pandas, pyarrow, scipy)), sep=", ")'
	@env -u SPARK_HOME $(subst $(BIN),$(OLDEST)/bin,$(SPARK_ENV)) $(OLDEST)/bin/python -m pytest $(IN_TWO) -m "not long" $(TESTS)

$(OLDEST_SETUP): setup.py
	@test -n "$(PYTHON_OLDEST)" || { echo "make test-oldest needs Python 3.10 and finds no python3.10: install it, or say PYTHON_OLDEST=/path/to/python3.10" >&2; exit 1; }
	@echo "Making $(OLDEST) from $(PYTHON_OLDEST) (some minutes)"
	@"$(PYTHON_OLDEST)" -m venv $(OLDEST)
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(OLDEST)/bin/python -c '$(LOWEST)' > $(OLDEST)/lowest.txt
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(OLDEST)/lowest.txt --editable '.[dev]'
	@touch $@

.PHONY: check
check: $(SETUP) ## Format, lint, types, directions of imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: bench
bench: java $(BENCH_SETUP) ## Compare with the peers, side by side (hours; BENCH="passes scoring" is less)
	@env -u SPARK_HOME $(SPARK_ENV) $(BIN)/python -m benchmarks.run $(BENCH)

.PHONY: soak
soak: java $(SETUP) ## A hundred scheduled runs while readers look on (a quarter of an hour)
	@env -u SPARK_HOME $(SPARK_ENV) $(BIN)/python -m benchmarks.soak

$(BENCH_SETUP): $(SETUP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

.PHONY: dist
dist: $(ZIP) ## Build the zip for --py-files, the wheel and the environment for --archives, in dist/
	@rm -rf build dist/*.whl  # setuptools would put what has been taken away since into the wheel
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	@$(BIN)/python scripts/environment_archive.py dist/*.whl $(ENVIRONMENT)
	@ls -l dist

# Always built: it takes no time, and a module taken away leaves the zip too.
.PHONY: $(ZIP)
$(ZIP): $(SETUP)
	@mkdir -p dist
	@$(BIN)/python -c "import pathlib, zipfile; z = zipfile.ZipFile('$@', 'w', zipfile.ZIP_DEFLATED); [z.write(p) for p in sorted(pathlib.Path('gmm_spark').rglob('*.py'))]; z.close()"

.PHONY: clean
clean: ## Remove what was built and computed (not .venv)
	rm -rf build dist output *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache spark-warehouse metastore_db derby.log
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
