"""The way of a fit's parameters, as a summary has it and a saved model keeps it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gmm_spark.kept_history import SCHEMA, read, sample_history, written
from gmm_spark.mixture.em import Fit, Problem, fit
from gmm_spark.mixture.families import Categorical, Count, Noise
from gmm_spark.mixture.initialisation import multistart
from gmm_spark.mixture.initialisation.candidates import Sample
from gmm_spark.mixture.initialisation.path import Path
from gmm_spark.mixture.kernel import array_pass
from gmm_spark.mixture.parameters import Parameters, Standardisation
from gmm_spark.mixture.structures import STRUCTURES

BY = Standardisation(np.array([100.0, -5.0]), np.array([10.0, 0.5]))
NAMES = [column.split()[0] for column in SCHEMA.split(", ")]


def groups() -> np.ndarray:
    rng = np.random.default_rng(2)
    centres = np.array([[0.0, 0.0], [2.5, 1.0], [-2.0, 2.0]])
    z = centres[rng.integers(0, 3, 600)] + rng.normal(size=(600, 2))
    return np.ascontiguousarray((z * BY.scale + BY.centre).T)


@pytest.fixture(scope="module")
def found() -> tuple[Path, Fit]:
    """A search on half of the rows, and EM on all of them."""
    rows = groups()
    sample = Sample(rows[:, :300], None, BY, np.full(2, 1e-3))
    state = multistart.start(sample, 3, STRUCTURES["VVV"], num_init=4)
    best, *_ = multistart.result(multistart.run(state, sample))
    return best.path, fit(array_pass(rows), best.parameters, Problem(BY, np.full(2, 1e-3)))


def history_of(fitted: Fit) -> list[dict[str, Any]]:
    entries = [(r.number, r.kind, r.mean_log_likelihood) for r in fitted.history]
    keys = "pass", "kind", "meanLogLikelihood"
    return [dict(zip(keys, entry, strict=True)) for entry in [(0, "scan", None), *entries]]


def saved(steps: Any, passes: Any, history: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows as Spark returns them, in any order, and the description as JSON does."""
    rows, described = written(steps, passes, history)
    assert described is not None
    assert all(len(row) == len(NAMES) for row in rows)
    return [dict(zip(NAMES, r, strict=True)) for r in rows[::-1]], json.loads(json.dumps(described))


def assert_same(one: Parameters, other: Parameters) -> None:
    assert (one.structure, one.levels) == (other.structure, other.levels)
    for name in ("weights", "means", "covariances", "tables", "rates"):
        assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
    assert (one.noise is None) == (other.noise is None)
    if one.noise is not None and other.noise is not None:
        assert one.noise.weight == other.noise.weight
        assert_array_equal(one.noise.log_widths, other.noise.log_widths)


def test_the_steps_on_the_sample_are_in_the_users_units_and_the_models_order(found) -> None:
    path, fitted = found
    order = np.array([2, 0, 1])
    steps = sample_history(path, fitted, BY, order)
    assert len(steps) == path.length
    assert [step["step"] for step in steps] == list(range(path.length))
    first, start = steps[0], path.steps[0].parameters
    assert (first["kind"], first["rows"]) == ("start", 300)
    np.testing.assert_allclose(
        first["parameters"].means, (BY.centre + BY.scale * start.means)[order]
    )
    assert_same(steps[-1]["parameters"], fitted.history[0].parameters.restored(BY).taken(order))


def test_a_start_that_was_given_is_all_there_is(found) -> None:
    _, fitted = found
    (only,) = sample_history(Path(), fitted, BY, np.arange(3))
    assert (only["step"], only["kind"], only["rows"]) == (0, "start", None)
    assert only["meanLogLikelihood"] is None
    assert_same(only["parameters"], fitted.history[0].parameters.restored(BY))


def test_what_is_written_is_read_to_the_bit(found) -> None:
    path, fitted = found
    steps = sample_history(path, fitted, BY, np.arange(3))
    passes = [record.parameters.restored(BY) for record in fitted.history]
    rows, described = saved(steps, passes, history_of(fitted))
    assert described["kept"] == described["records"] == len(steps) + len(passes)
    again, parameters = read(rows, described, passes[-1], len(passes))
    for one, other in zip(again, steps, strict=True):
        assert_same(one.pop("parameters"), other["parameters"])
        assert one == {name: value for name, value in other.items() if name != "parameters"}
    for one, other in zip(parameters, passes, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("code", STRUCTURES)
def test_every_structure_with_all_kinds_of_columns(code) -> None:
    rng = np.random.default_rng(3)
    noise = Noise(0.05, np.array([2.0, 3.0]), np.zeros(2))
    unit = Parameters.unit(STRUCTURES[code], 3, 2, (Categorical((2, 4)), Count(1)), noise)
    passes = [
        replace(unit, means=rng.normal(size=(3, 2)), noise=replace(noise, weight=w))
        for w in (0.05, 0.2)
    ]
    entries = [{"pass": n, "kind": "em", "meanLogLikelihood": -1.0} for n in range(3)]
    rows, described = saved([], passes, entries)
    _, again = read(rows, described, passes[-1], 2)
    for one, other in zip(again, passes, strict=True):
        assert_same(one, other)


def test_what_is_too_much_is_thinned_evenly_and_keeps_its_ends() -> None:
    """60 columns and 30 components: a record is 0.88 MB, and 40 of them would be 35."""
    unit = Parameters.unit(STRUCTURES["VVV"], 30, 60)
    passes = [replace(unit, weights=np.full(30, n / 1e3)) for n in range(40)]
    entries = [{"pass": n, "kind": "em", "meanLogLikelihood": -1.0} for n in range(41)]
    steps = [{"step": 0, "round": 0, "kind": "start", "rows": None, "meanLogLikelihood": None}]
    steps[0]["parameters"] = unit
    rows, described = saved(steps, passes, entries)
    assert (described["records"], described["kept"]) == (41, 2)
    floats = sum(len(row[name]) for row in rows for name in NAMES[6:9])
    assert 8 * floats < 2_000_000
    again, parameters = read(rows, described, passes[-1], 40)
    assert [step["step"] for step in again] == [0]
    assert [p is not None for p in parameters] == [False] * 39 + [True]
    assert_same(parameters[-1], passes[-1])

    small = Parameters.unit(STRUCTURES["VVV"], 30, 20)  # 0.1 MB
    rows, described = saved([], [small] * 40, entries)
    numbers = sorted(row["number"] for row in rows)
    assert described["kept"] == len(numbers) == 18
    assert (numbers[0], numbers[-1]) == (1, 40)
    assert set(np.diff(numbers)) <= {2, 3}


def test_parameters_over_two_megabytes_are_not_kept() -> None:
    huge = Parameters.unit(STRUCTURES["VVV"], 2, 400)
    entries = [{"pass": n, "kind": "em", "meanLogLikelihood": -1.0} for n in range(2)]
    assert written([], [huge], entries) == ([], None)
    assert written([], [], entries) == ([], None)
