"""The README says what is so: its Python runs, its targets and files exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from gmm_spark.mixture.em import PassKind
from gmm_spark.mixture.spec import SETTINGS, Setting

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.long
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
    headings = re.findall(r"^#+ (.+)$", README, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for link in links:
        found = link[1:] in anchors if link.startswith("#") else (ROOT / link).exists()
        assert found, link


def test_its_table_of_kinds_of_passes_is_complete() -> None:
    table = README.split("### What a fit did")[1].split("### What happens")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)} - {"kind"}
    assert named == {"scan", "packing", *get_args(PassKind)}


def params_told() -> dict[str, tuple[str, str]]:
    """By the name of a Param, what its row says, and the default that it tells."""
    table = README.split("### Params")[1].split("### What a fit did")[0]
    told = {}
    for line in table.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" |")]
            names = re.findall(r"`(\w+)`", cells[0])
            defaults = [default.strip() for default in cells[2].split(",")]
            # A row of one default for several is one of none.
            assert len(defaults) == len(names) or cells[2] == ""
            told |= {
                name: (cells[1], default)
                for name, default in zip(names, defaults * len(names), strict=False)
            }
    return told


def test_its_table_of_params_is_that_of_the_settings() -> None:
    assert params_told().keys() == {each.name for each in SETTINGS}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_its_table_of_params_tells_defaults_and_choices(setting: Setting) -> None:
    row, told = params_told()[setting.name]
    if isinstance(setting.default, bool):
        assert told == str(setting.default).lower()
    elif isinstance(setting.default, int | float):
        assert float(told) == setting.default
    else:
        assert told in ({"", "none"} if not setting.default else {setting.default})
    for choice in setting.choices:
        assert f"`{choice}`" in row
