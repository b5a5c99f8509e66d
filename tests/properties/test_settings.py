"""A setting is the same however it is said: in YAML, by a flag, by a variable."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import yaml
from hypothesis import given
from hypothesis import strategies as st

from gmm_spark.config import ScoreSettings, TrainSettings, load_settings

# Text without what a flag or a variable cannot hold, or what means something of its own there.
words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1).filter(
    lambda text: "," not in text and text[0] not in "-[{\"'@" and text not in ("null", "~")
)
names = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True).filter(lambda name: name != "null")
TRAIN: dict[str, st.SearchStrategy[Any]] = {
    "k": st.integers(1, 99) | st.lists(st.integers(1, 99), min_size=2, max_size=4),
    "tol": st.floats(0, 1),
    "max_iter": st.integers(0, 10**6),
    "columns": st.lists(names, min_size=1, max_size=4, unique=True),
    "covariance_floor": st.just("auto") | st.floats(0, 0.99),
    "noise": st.booleans(),
    "missing": st.sampled_from(["error", "skip", "marginalize"]),
    "weight_column": names,
    "seed": st.none() | st.integers(0, 2**40),
}
SCORE: dict[str, st.SearchStrategy[Any]] = {
    "model": words,
    "keep_columns": st.lists(names, min_size=1, max_size=3, unique=True),
    "mode": st.sampled_from(["error", "overwrite"]),
}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "null" if value is None else json.dumps(value) if isinstance(value, bool) else str(value)


@given(
    st.one_of(
        st.tuples(st.just(TrainSettings), st.fixed_dictionaries({}, optional=TRAIN)),
        st.tuples(st.just(ScoreSettings), st.fixed_dictionaries({}, optional=SCORE)),
    )
)
def test_yaml_flags_and_variables_say_the_same(case) -> None:
    kind, given_values = case
    needed = {"columns": ["a"]} if kind is TrainSettings else {"model": "m"}
    values = {"output": "out", **needed, **given_values}
    path = ["--input.path", "in"]
    with TemporaryDirectory() as folder, patch.dict(os.environ):
        for name in [name for name in os.environ if name.upper().startswith("GMM_")]:
            del os.environ[name]
        file = Path(folder) / "job.yaml"
        file.write_text(yaml.safe_dump(values, allow_unicode=True), "utf-8")
        from_yaml = load_settings(kind, ["--config", str(file), *path])
        flags = [f"--{key}={_text(value)}" for key, value in values.items()]
        from_flags = load_settings(kind, [*flags, *path])
        os.environ |= {f"GMM_{key.upper()}": _text(value) for key, value in values.items()}
        from_variables = load_settings(kind, path)
    for key, value in values.items():
        assert getattr(from_yaml, key) == value or value is None
        assert getattr(from_flags, key) == getattr(from_yaml, key), key
        assert getattr(from_variables, key) == getattr(from_yaml, key), key
