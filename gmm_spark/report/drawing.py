"""Vega-Lite charts as SVG, and the script that draws them in a browser, by vl-convert.

Both are made in a process of their own: the JavaScript engine in vl-convert ends, once in hundreds
of pages, the whole process it is in, and that would be the run whose results the page is of.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from gmm_spark.errors import ConfigurationError

# Room around a picture for letters that are wider in the reader's font than in the one they are
# measured in.
PADDING = {"left": 30, "right": 10, "top": 5, "bottom": 5}
# The Vega-Lite of the script and the pictures: charts of an older Altair are of it too.
_VEGA_LITE = "6.4"
_TRIES = 2
# Of a text on stdin: where Python finds its packages, a function of vl_convert, and its calls.
_CALLS = """
import json, sys
asked = json.load(sys.stdin)
sys.path[:] = asked["path"]
import vl_convert
function = getattr(vl_convert, asked["function"])
json.dump([function(**each, vl_version=asked["version"]) for each in asked["calls"]], sys.stdout)
"""


def pictures(specifications: Sequence[str]) -> list[str]:
    """Charts, Vega-Lite as JSON, as SVG; the same for the same charts.

    Raises RuntimeError where vl-convert ends without a result.
    """
    charts = [{**json.loads(text), "padding": PADDING} for text in specifications]
    made = _made_apart("vegalite_to_svg", [{"vl_spec": chart} for chart in charts])
    return [_with_own_names(svg, text) for svg, text in zip(made, specifications, strict=True)]


@lru_cache(maxsize=1)
def script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, without anything to fetch."""
    snippet = "window.vegaEmbed = vegaEmbed;"
    found = _made_apart("javascript_bundle", [{"snippet": snippet}])[0]
    if "</script" in found.lower() or "<!--" in found:
        raise ConfigurationError(
            "report: this version of vl-convert-python has a script that ends the page's own: "
            "install the one of gmm_spark[report]"
        )
    return found


def _made_apart(function: str, calls: Sequence[Mapping[str, Any]]) -> list[str]:
    """What calls of a function of vl_convert return, made in another process."""
    asked = {"path": sys.path, "function": function, "version": _VEGA_LITE, "calls": calls}
    for _ in range(_TRIES):
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CALLS],
            input=json.dumps(asked),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode >= 0:
            break
    if done.returncode:
        raise RuntimeError(f"vl-convert {_end(done)}")
    made: list[str] = json.loads(done.stdout)
    return made


def _end(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"was ended by {signal.Signals(-done.returncode).name}, {_TRIES} times"
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return f"failed: {said[-1]}"


def _with_own_names(svg: str, specification: str) -> str:
    """A picture whose names, by which parts of it are clipped, no other of the page has; and the
    same each time, which a renderer that counts on does not see to."""
    own = hashlib.sha256(specification.encode()).hexdigest()[:8]
    found = dict.fromkeys(re.findall(r'id="(clip\d+)"', svg))
    names = {name: f"clip-{own}-{number}" for number, name in enumerate(found)}
    return re.sub(r'(?<=["#])clip\d+(?=[")])', lambda match: names[match[0]], svg)
