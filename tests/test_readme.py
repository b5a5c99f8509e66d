"""The README says what is so: its Python runs, its targets and files exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from gmm_spark.mixture.fitting import PassKind
from gmm_spark.params import GaussianMixtureParams

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_its_python_runs_from_top_to_bottom(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = blocks("python")
    assert len(code) >= 3
    names: dict[str, Any] = {}
    for block in code:
        block = block.replace("sample/telco_churn", str(ROOT / "sample" / "telco_churn"))
        block = block.replace("output/readme_model", str(tmp_path / "model"))
        exec(compile(block, "README.md", "exec"), names)
    shown = capsys.readouterr().out
    assert "(4, 3, 3)" in shown
    assert "rows_skipped: 11 of 7043 rows have a gap" in shown
    best = names["best"].summary
    assert f"{best.k} {names['best'].getCovarianceType()}\n" in shown
    assert len(best.candidates) == 8
    assert names["model"].weights == pytest.approx(names["same"].weights, abs=1e-9)


def test_its_make_targets_exist() -> None:
    named = set(re.findall(r"make ([a-z-]+)", README))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"run", "test"} <= named
    assert named <= targets


def test_its_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_its_table_of_kinds_of_passes_is_complete() -> None:
    table = README.split("### What a fit did")[1].split("### What happens")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)} - {"kind"}
    assert named == {"scan", "packing", *get_args(PassKind)}


def test_its_table_of_params_is_complete() -> None:
    table = README.split("### Params")[1].split("### What a fit did")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == {param.name for param in GaussianMixtureParams().params}
