"""Charts are drawn in a process of their own, whose end is not the end of the one that asks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("vl_convert", reason="the extra `report` is not installed")

from gmm_spark.report import drawing

CHART = json.dumps(
    {
        "data": {"values": [{"x": 1, "y": 2}, {"x": 3, "y": 5}]},
        "mark": {"type": "line", "clip": True},
        "encoding": {name: {"field": name, "type": "quantitative"} for name in "xy"},
    }
)


def test_a_chart_is_an_svg_the_same_each_time() -> None:
    first, again = drawing.pictures([CHART, CHART])
    assert first.startswith("<svg")
    assert first == again == drawing.pictures([CHART])[0]
    assert "clip0" not in first
    assert "clip-" in first


def test_an_engine_that_aborts_once_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    aborts_once = f"""
import os
if not os.path.exists({str(seen)!r}):
    open({str(seen)!r}, "w").close()
    os.abort()
"""
    monkeypatch.setattr(drawing, "_CALLS", aborts_once + drawing._CALLS)
    assert drawing.pictures([CHART])[0].startswith("<svg")
    assert seen.exists()


def test_an_engine_that_aborts_always_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_CALLS", "import os; os.abort()")
    with pytest.raises(RuntimeError, match=r"^vl-convert was ended by SIGABRT, 2 times$"):
        drawing.pictures([CHART])


def test_a_chart_that_cannot_be_drawn_is_one_error() -> None:
    with pytest.raises(RuntimeError, match=r"^vl-convert failed: .*"):
        drawing.pictures(['{"mark": 3}'])


def test_what_asks_does_not_load_the_engine() -> None:
    code = (
        "import sys; from gmm_spark.report import drawing; "
        "drawing.pictures([sys.argv[1]]); drawing.script(); print('vl_convert' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, CHART], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("False\n", 0)
