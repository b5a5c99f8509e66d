"""What is kept of a fit: after a crash anywhere the same fit goes on, and ends at the same bits.

Rows in memory, so without Spark; on a cluster: tests/estimator/test_checkpoint_dir.py.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pyarrow import fs

from gmm_spark import checkpoints
from gmm_spark.checkpoints import Directory, remove_checkpoint
from gmm_spark.engine import addresses
from gmm_spark.engine.array_source import array_source
from gmm_spark.engine.passes import PassEngine
from gmm_spark.errors import ConfigurationError, FitError, InputDataError
from gmm_spark.grid_training import fit_best
from gmm_spark.mixture.arrays import to_arrays
from gmm_spark.mixture.families import Categorical, Count
from gmm_spark.mixture.initialisation import multistart
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.spec import Grid, Spec
from gmm_spark.mixture.structures import STRUCTURES
from gmm_spark.progress import quiet
from gmm_spark.segment_training import segment_arrays
from gmm_spark.training import FittedMixture, fit_arrays

ROOT = Path(__file__).parents[1]
USUAL = {"k": 3, "num_init": 4, "sample_size": 400, "max_iter": 6}
CENTRES = np.array([[0.0, 0.0], [2.5, 2.0], [0.0, 4.0], [5.0, 0.0]])


def rows(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four groups that overlap, (2, n), and which one each row is of."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 4, n)
    return (CENTRES[which] + rng.normal(size=(n, 2))).T, which


@dataclass(frozen=True)
class Fit:
    """A fit of its own kind: `run` takes the settings that the kind leaves open."""

    settings: dict[str, Any]
    more: Callable[[], dict[str, Any]] = dict
    tried: Grid | None = None

    def run(self, where: Path | None, values: np.ndarray | None = None, **settings: Any) -> Any:
        own = {
            "k": 3,
            "num_init": 4,
            "sample_size": 400,
            "max_iter": 6,
            **self.settings,
            **settings,
        }
        spec = Spec(**own, checkpoint_dir=None if where is None else str(where))
        values = rows()[0] if values is None else values
        if self.tried is None:
            return fit_arrays(values, spec, **self.more())
        if self.tried.criterion == "segmentation":
            return segment_arrays(values, spec, self.tried, **self.more())
        source = array_source(values)
        with quiet():
            return fit_best(lambda: (source, []), self.tried.specs(spec), self.tried)


def families() -> dict[str, Any]:
    _, which = rows()
    rng = np.random.default_rng(1)
    categories = np.stack([np.where(rng.random(600) < 0.7, which % 3, 0), which % 2]).astype(float)
    counts = rng.poisson(1.0 + which)[None].astype(float)
    weights = rng.integers(0, 3, 600).astype(float)
    return {
        "families": [(Categorical((3, 2)), categories), (Count(1), counts)],
        "weights": weights,
    }


def labels() -> dict[str, Any]:
    known = rows()[1].astype(float)
    known[known == 3] = 2
    known[100:] = np.nan
    return {"labels": known}


FITS = {
    "full": Fit({}),
    "tied": Fit({"covariance_type": "tied", "acceleration": "none", "num_init": 2}),
    "families, weights": Fit({"covariance_type": "diag"}, families),
    "labels, noise, outliers": Fit({"noise": True, "contamination": 0.02}, labels),
    "start labels": Fit({"k": 4}, lambda: {"start_labels": rows()[1].astype(float)}),
    "given means": Fit({"initial_means": CENTRES[:3]}),
    "given model": Fit(
        {
            "k": 4,
            "initial_model": replace(Parameters.unit(STRUCTURES["VVV"], 4, 2), means=CENTRES),
        }
    ),
    "grid": Fit({"num_init": 2}, tried=Grid(k=(2, 3), covariance_type=("diag",))),
    "segments": Fit({}, tried=Grid(k=(3, 4), criterion="segmentation")),
}


def bits(found: FittedMixture) -> dict[str, Any]:
    """All that a fit found, but for how long it took."""
    history = tuple(replace(record, seconds=None) for record in found.fit.history)
    parts = {
        "parameters": found.parameters,
        "fit": replace(found.fit, history=history),
        "path": found.path,
        "scan": found.scan,
        "merging": found.merging,
    }
    arrays = {
        name: {key: array.tobytes() for key, array in to_arrays(part).items()}
        for name, part in parts.items()
        if part is not None
    }
    rest = [found.order.tolist(), found.outlier_threshold, found.notes, found.outcome_information]
    return {**arrays, "rest": repr([*rest, found.candidates, found.alternatives])}


@pytest.fixture(scope="module")
def undisturbed() -> Callable[[str], dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        if name not in known:
            known[name] = bits(FITS[name].run(None))
        return known[name]

    return of


class Crash(BaseException):
    """The end of a driver."""


Moment = Literal["before", "within", "after"]


class Disturbed:
    """What is written to checkpoints, and a crash: `when(name, number)` says at which state of a
    run, counted from 1."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[str] = []
        self._when: Callable[[str, int], bool] = lambda name, number: False
        self._moment: Moment = "after"
        create = Directory.create

        def crashing(directory: Directory, name: str, content: bytes) -> None:
            self.written.append(name)
            crashes = self._when(name, len(self.written))
            if crashes and self._moment == "within":
                half = content[: len(content) // 2]
                Path(f"{directory}/{name}.1.state-being-written").write_bytes(half)
            if not crashes or self._moment == "after":
                create(directory, name, content)
            if crashes:
                raise Crash

        monkeypatch.setattr(Directory, "create", crashing)

    def crash(self, when: Callable[[str, int], bool], moment: Moment = "after") -> None:
        self.written.clear()
        self._when, self._moment = when, moment

    def calm(self) -> None:
        self.crash(lambda name, number: False)


@pytest.fixture
def disturbed(monkeypatch) -> Disturbed:
    return Disturbed(monkeypatch)


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """Passes over all the rows, by how many mixtures take part."""
    made: list[int] = []
    run_passes = PassEngine.run_passes

    def wrapped(self: PassEngine, evaluators: Any) -> Any:
        made.append(len(evaluators))
        return run_passes(self, evaluators)

    monkeypatch.setattr(PassEngine, "run_passes", wrapped)
    return made


def interrupted(disturbed: Disturbed, where: Path, state: str, fit: Fit = FITS["tied"]) -> None:
    """Leave what a driver leaves that dies when it has written a state."""
    disturbed.crash(lambda name, number: name == f"{state}.state")
    with pytest.raises(Crash):
        fit.run(where)
    disturbed.calm()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("name", FITS)
def test_a_fit_that_is_kept_is_the_same(undisturbed, tmp_path, name) -> None:
    assert bits(FITS[name].run(tmp_path / "kept")) == undisturbed(name)


@pytest.mark.parametrize("name", FITS)
def test_crashing_at_every_state_it_ends_at_the_same_bits(
    undisturbed, tmp_path, name, disturbed
) -> None:
    """After every state that is written, and before or within the next one."""
    fit, where, found = FITS[name], tmp_path / "kept", None
    crashes: list[str] = []
    while found is None:
        moment: Moment = ("after", "before", "within")[len(crashes) % 3]
        # Where nothing comes of a state, the next run goes further.
        after = 1 if moment == "after" else 2
        disturbed.crash(lambda name, number, after=after: number == after, moment)
        try:
            found = fit.run(where)
        except Crash:
            crashes.append(disturbed.written[-1])
            assert len(crashes) < 200
    assert bits(found) == undisturbed(name)
    assert len(set(crashes)) >= 2
    assert not any("being-written" in left for left in names(where))


def test_what_was_found_is_not_found_again(undisturbed, tmp_path, disturbed, passes) -> None:
    fit, where = FITS["tied"], tmp_path / "kept"
    fit.run(None)
    whole = len(passes)
    assert whole >= 4
    interrupted(disturbed, where, "passes-1-000002")
    passes.clear()
    assert bits(fit.run(where)) == undisturbed("tied")
    assert disturbed.written[0] == "passes-1-000003.state"
    assert len(passes) == whole - 2
    passes.clear()
    # That of a fit that is finished is there too, until it is removed.
    assert bits(fit.run(where)) == undisturbed("tied")
    assert passes == []


@pytest.mark.parametrize("name", ["full", "grid"])
def test_the_search_goes_on_at_the_next_round(
    undisturbed, tmp_path, disturbed, monkeypatch, name
) -> None:
    expected, advance = undisturbed(name), multistart.advance
    rounds: list[Any] = []

    def counted(*args: Any) -> Any:
        rounds.append(args)
        return advance(*args)

    monkeypatch.setattr(multistart, "advance", counted)
    FITS[name].run(None)
    whole = len(rounds)
    assert whole > 3
    interrupted(disturbed, tmp_path, "search-000003", FITS[name])
    rounds.clear()
    assert bits(FITS[name].run(tmp_path)) == expected
    assert disturbed.written[0] == "search-000004.state"
    assert len(rounds) == whole - 3


def test_the_last_two_states_are_kept_of_every_step(tmp_path, disturbed) -> None:
    FITS["tied"].run(tmp_path / "kept")
    found = [name.removesuffix(".state") for name in names(tmp_path / "kept")]
    assert found[0] == "checkpoint.json"
    assert [name for name in found if name.startswith("passes")] == [
        "passes-1-000006", "passes-1-000007",
    ]  # fmt: skip
    assert sum(name.startswith("search") for name in found) == 2
    assert "scan-000001" in found


def test_what_a_killed_driver_did_not_delete_is_deleted(tmp_path, disturbed) -> None:
    interrupted(disturbed, tmp_path, "passes-1-000003")  # killed before that deletes the first
    assert "passes-1-000001.state" in names(tmp_path)
    interrupted(disturbed, tmp_path, "passes-1-000004")
    assert [name for name in names(tmp_path) if name.startswith("passes")] == [
        f"passes-1-00000{number}.state" for number in (2, 3, 4)
    ]


def one_line(caplog: pytest.LogCaptureFixture, text: str) -> logging.LogRecord:
    (found,) = [record for record in caplog.records if text in record.getMessage()]
    assert "\n" not in found.getMessage()
    return found


@pytest.fixture
def told(caplog, monkeypatch) -> pytest.LogCaptureFixture:
    """The log of fits of rows in memory, which else say nothing."""
    monkeypatch.setattr("gmm_spark.training.quiet", nullcontext)
    caplog.set_level(logging.INFO, logger="gmm_spark")
    return caplog


def test_one_line_says_what_is_used_again_and_why(tmp_path, disturbed, told) -> None:
    where = tmp_path / "kept"
    interrupted(disturbed, where, "passes-1-000002")
    told.clear()
    FITS["tied"].run(where)
    said = one_line(told, "checkpoint").getMessage()
    assert said.startswith(
        f"checkpoint {where}: settings and rows are those of the fit that was interrupted; it goes "
        "on after the first scan, "
    )
    assert said.endswith("rounds of the search on the sample, 2 passes over all the rows")
    assert any(r.getMessage().startswith("pass 3 (") for r in told.records)
    told.clear()
    FITS["tied"].run(where)
    assert "this fit is finished there" in one_line(told, "checkpoint").getMessage()


# --- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tol": 1e-7}, "tol was 1e-06 and is 1e-07"),
        ({"k": 4}, "k was 3 and is 4"),
        ({"seed": 5, "k": 4}, "k was 3 and is 4; seed was 0 and is 5"),
        ({"initial_means": CENTRES[:3]}, "initialMeans was not set and is 3 x 2 numbers "),
        (
            {"num_init": 3, "missing": "skip", "noise": True, "k": 1, "tol": 0.1},
            "k was 3 and is 1; tol was 1e-06 and is 0.1; numInit was 2 and is 3; and 2 more.",
        ),
    ],
)  # fmt: skip
def test_another_setting_is_refused_by_name(tmp_path, disturbed, settings, said) -> None:
    where = tmp_path / "kept"
    interrupted(disturbed, where, "passes-1-000002")
    before = {path: path.read_bytes() for path in where.iterdir()}
    with pytest.raises(ConfigurationError) as refused:
        FITS["tied"].run(where, **settings)
    message = str(refused.value)
    assert "is of a fit that was interrupted, of other settings: " in message
    assert said in message
    assert message.endswith("another directory, or remove this one to begin anew")
    assert {path: path.read_bytes() for path in where.iterdir()} == before


def test_how_sums_meet_is_no_other_fit(undisturbed, tmp_path, disturbed) -> None:
    interrupted(disturbed, tmp_path, "passes-1-000002")
    assert bits(FITS["tied"].run(tmp_path, aggregation_depth=3)) == undisturbed("tied")
    assert disturbed.written[0] == "passes-1-000003.state"


CHANGED: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "a row more": (lambda x: np.hstack([x, x[:, :1]]), "rows was 600 and is 601"),
    "a row less": (lambda x: x[:, 1:], "rows was 600 and is 599"),
    "a bit of a value": (
        lambda x: np.where(x == x[1, 400], np.nextafter(x, 9), x),
        "other rows: hash of the rows was ",
    ),
    "two values of a row": (
        lambda x: np.hstack([x[::-1, :1], x[:, 1:]]),
        "hash of the rows was ",
    ),
    "the largest": (lambda x: np.where(x == x.max(), 99.0, x), "is [-"),
}


@pytest.mark.parametrize("change", CHANGED)
def test_other_rows_are_refused_by_what_differs(tmp_path, disturbed, change) -> None:
    interrupted(disturbed, tmp_path, "passes-1-000002")
    changed, said = CHANGED[change]
    with pytest.raises(
        InputDataError, match="is of a fit that was interrupted, of other rows"
    ) as refused:
        FITS["tied"].run(tmp_path, changed(rows()[0]))
    assert said in str(refused.value)
    assert disturbed.written == []


def test_rows_in_another_order_are_the_same(tmp_path, disturbed, undisturbed) -> None:
    interrupted(disturbed, tmp_path, "passes-1-000002")
    found = FITS["tied"].run(tmp_path, rows()[0][:, ::-1].copy())
    expected = FITS["tied"].run(None)
    np.testing.assert_allclose(found.parameters.means, expected.parameters.means, rtol=1e-9)
    assert disturbed.written[0] == "passes-1-000003.state"


def test_other_columns_and_another_kind_of_fit_are_refused(tmp_path, disturbed) -> None:
    interrupted(disturbed, tmp_path / "a", "passes-1-000002")
    own = {**USUAL, **FITS["tied"].settings}
    spec = Spec(**own, checkpoint_dir=str(tmp_path / "a"))
    with pytest.raises(ConfigurationError, match=r"other columns: inputCols was .* and is .*age"):
        fit_arrays(rows()[0], spec, names=["age", "b"])
    with pytest.raises(ConfigurationError, match=r"other columns: weightCol was not set and is w"):
        fit_arrays(rows()[0], spec, weights=np.ones(600))
    with pytest.raises(ConfigurationError, match=r"other settings: k was 3 and is \[2, 3\]"):
        FITS["grid"].run(tmp_path / "a")


def test_another_release_is_refused(tmp_path, disturbed, monkeypatch) -> None:
    interrupted(disturbed, tmp_path, "passes-1-000002")
    monkeypatch.setattr("gmm_spark.__version__", "9.9")
    with pytest.raises(ConfigurationError, match=r"of another release: gmm_spark was 0.* is 9\.9"):
        FITS["tied"].run(tmp_path)


def test_a_finished_fit_makes_room_for_another(tmp_path, undisturbed, told) -> None:
    FITS["given means"].run(tmp_path)
    told.clear()
    assert bits(FITS["tied"].run(tmp_path)) == undisturbed("tied")
    assert one_line(told, "checkpoint").getMessage().endswith("is finished; begun anew")
    other = rows(seed=3)[0]
    found = FITS["tied"].run(tmp_path, other)
    assert bits(found) == bits(FITS["tied"].run(None, other))


# --- damage -------------------------------------------------------------------------------


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a bit": flipped,
    "a bit of the head": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "something else": lambda content: b"PAR1" + bytes(1000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_done_without_and_the_one_before_it_is_used(
    undisturbed, tmp_path, disturbed, told, damage
) -> None:
    interrupted(disturbed, tmp_path, "passes-1-000003")
    last = tmp_path / "passes-1-000003.state"
    last.write_bytes(DAMAGES[damage](last.read_bytes()))
    told.clear()
    assert bits(FITS["tied"].run(tmp_path)) == undisturbed("tied")
    assert disturbed.written[0] == "passes-1-000003.state"
    said = one_line(told, "passes-1-000003.state")
    assert said.levelno == logging.WARNING
    assert (
        "is not used, it is damaged; the fit goes on from what was kept before it"
        in said.msg % (said.args)
    )


def test_of_a_step_that_is_lost_the_one_before_it_is_gone_on_from(
    undisturbed, tmp_path, disturbed
) -> None:
    interrupted(disturbed, tmp_path, "passes-1-000003")
    for path in tmp_path.glob("passes-1-*"):
        path.write_bytes(b"")
    for path in tmp_path.glob("search-*"):
        path.write_bytes(path.read_bytes()[:-1])
    assert bits(FITS["tied"].run(tmp_path)) == undisturbed("tied")
    assert disturbed.written[0] == "search-000001.state"
    for path in tmp_path.glob("scan-*"):
        path.unlink()
    assert bits(FITS["tied"].run(tmp_path)) == undisturbed("tied")


def test_a_state_of_another_fit_is_none_of_this_one(undisturbed, tmp_path, disturbed) -> None:
    interrupted(disturbed, tmp_path / "a", "passes-1-000002")
    interrupted(disturbed, tmp_path / "b", "passes-1-000001", FITS["given means"])
    alien = (tmp_path / "b" / "passes-1-000001.state").read_bytes()
    (tmp_path / "a" / "passes-1-000002.state").write_bytes(alien)
    assert bits(FITS["tied"].run(tmp_path / "a")) == undisturbed("tied")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"settings": {}}', "\x00\x01"])
def test_where_it_is_not_known_whose_it_is_nothing_is_touched(tmp_path, disturbed, text) -> None:
    interrupted(disturbed, tmp_path, "passes-1-000002")
    (tmp_path / "checkpoint.json").write_text(text)
    before = names(tmp_path)
    with pytest.raises(ConfigurationError, match=r"checkpoint\.json is damaged, or of something"):
        FITS["tied"].run(tmp_path)
    assert names(tmp_path) == before


def test_of_another_release_states_are_done_without(
    undisturbed, tmp_path, disturbed, monkeypatch, told
) -> None:
    """As after an upgrade that did not change its number."""
    interrupted(disturbed, tmp_path, "passes-1-000003")
    read = checkpoints.from_arrays

    def refusing(kind: Any, arrays: Any) -> Any:
        if kind.__name__ == "MultiFit":
            raise ValueError("a FitState of another release: old on one side alone")
        return read(kind, arrays)

    monkeypatch.setattr(checkpoints, "from_arrays", refusing)
    assert bits(FITS["tied"].run(tmp_path)) == undisturbed("tied")
    assert disturbed.written[0] == "passes-1-000001.state"


def test_of_two_fits_in_one_directory_one_is_told(tmp_path, monkeypatch) -> None:
    """The other has come further when this one writes its second pass."""
    create, other = Directory.create, []

    def slower(self: Directory, name: str, content: bytes) -> None:
        if name == "passes-1-000002.state" and not other:
            other.append(None)
            other.append(FITS["tied"].run(tmp_path))
        create(self, name, content)

    monkeypatch.setattr(Directory, "create", slower)
    with pytest.raises(FitError, match=r"another fit writes there, .* a directory for each fit"):
        FITS["tied"].run(tmp_path)
    assert bits(other[1]) == bits(FITS["tied"].run(None))


# --- disks --------------------------------------------------------------------------------


def test_a_directory_that_cannot_be_written_is_refused_before_anything_else(tmp_path) -> None:
    (tmp_path / "file").write_text("no directory")
    for where in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigurationError, match=r"checkpointDir .*file.* cannot be"):
            FITS["tied"].run(where)


FULL_DISK = """
import logging, resource, sys
from pathlib import Path
from tests.test_checkpoints import FITS, bits
from gmm_spark.checkpoints import Directory
logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
where = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
found = bits(FITS["tied"].run(where))
print("same" if found == bits(FITS["tied"].run(None)) else "differs")
print(*sorted(path.name for path in where.iterdir()))
"""


def test_a_full_disk_ends_no_fit(tmp_path) -> None:
    """No file may be longer than 4 KB: the fit goes on, says so once, and leaves no halves."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "kept"), "4000"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    warning, same, left = ended.stdout.splitlines()
    assert re.fullmatch(
        r"checkpoint .*: cannot be written \(.*File too large.*\); the fit goes on, and after a "
        r"crash it begins again from its start",
        warning,
    )
    assert same == "same"
    assert left == "checkpoint.json"


def test_after_a_full_disk_has_room_again_states_are_kept(
    undisturbed, tmp_path, monkeypatch, told
) -> None:
    write, full = Directory._write, [2, 3, 4]

    def failing(self: Directory, name: str, content: bytes, appear: Any) -> None:
        if name.startswith("search") and full:
            full.pop()
            raise OSError(28, "No space left on device")
        write(self, name, content, appear)

    monkeypatch.setattr(Directory, "_write", failing)
    assert bits(FITS["tied"].run(tmp_path)) == undisturbed("tied")
    said = one_line(told, "cannot be written").getMessage()
    assert "No space left on device" in said
    assert said.endswith("it begins again after the first scan")
    assert any(name.startswith("search") for name in names(tmp_path))


def test_without_hard_links_files_are_renamed_and_never_overwritten(tmp_path, monkeypatch) -> None:
    def refused(*paths: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    directory = Directory(str(tmp_path))
    directory.create("a.state", b"one")
    with pytest.raises(FileExistsError):
        directory.create("a.state", b"two")
    assert (directory.read("a.state"), names(tmp_path)) == (b"one", ["a.state"])


def test_on_another_file_system_it_is_the_same(
    undisturbed, tmp_path, disturbed, monkeypatch
) -> None:
    """One that pyarrow reaches and this machine does not: put, listed and deleted."""
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())

    def elsewhere(path: Any) -> Any:
        return addresses.Address(str(path), store, str(path).removeprefix("s3://"), None, "")

    monkeypatch.setattr(checkpoints, "address", elsewhere)
    where: Any = "s3://bucket/kept"
    interrupted(disturbed, where, "passes-1-000002")
    assert bits(FITS["tied"].run(where)) == undisturbed("tied")
    assert disturbed.written[0] == "passes-1-000003.state"
    with pytest.raises(FileExistsError):
        Directory(where).create("scan-000001.state", b"")
    remove_checkpoint(where)
    assert not (tmp_path / "bucket" / "kept").exists()


def test_what_is_removed_is_ours_alone(tmp_path) -> None:
    FITS["tied"].run(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "app.state").write_text("mine")
    remove_checkpoint(str(tmp_path))
    assert names(tmp_path) == ["app.state", "notes.txt"]
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "app.state").unlink()
    FITS["tied"].run(tmp_path)
    remove_checkpoint(str(tmp_path))
    assert not tmp_path.exists()
    remove_checkpoint(str(tmp_path))


# --- a driver that is killed --------------------------------------------------------------

KILLED = """
import sys, time
from pathlib import Path
from gmm_spark.engine.passes import PassEngine
from gmm_spark.mixture.initialisation import multistart
from tests.test_checkpoints import FITS, bits
def slow(function):
    def wrapped(*args, **more):
        time.sleep(0.1)
        return function(*args, **more)
    return wrapped
PassEngine.run_passes = slow(PassEngine.run_passes)
multistart.advance = slow(multistart.advance)
fit = FITS[sys.argv[2]]
if sys.argv[3] == "kept":
    print("begun", flush=True)
    fit.run(Path(sys.argv[1]))
else:
    print(bits(fit.run(Path(sys.argv[1]))) == bits(fit.run(None)), flush=True)
"""


def progress(where: Path) -> int:
    """States that were written so far."""
    found = [re.fullmatch(r"(.+)-(\d+)\.state", path.name) for path in where.glob("*.state")]
    last: dict[str, int] = {}
    for one in found:
        if one is not None:
            last[one[1]] = max(int(one[2]), last.get(one[1], 0))
    return sum(last.values())


def killed(where: Path, name: str, wait: bool, seconds: float) -> bool:
    """Run a fit in a process of its own and kill it by SIGKILL, so long after it has begun, or
    after it has kept something new; whether it was still there."""
    command = [sys.executable, "-c", KILLED, str(where), name, "kept"]
    before = progress(where)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while wait and progress(where) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("name", "kills"),
    [
        ("tied", 2),
        pytest.param("full", 20, marks=pytest.mark.long),
        pytest.param("grid", 20, marks=pytest.mark.long),
        pytest.param("labels, noise, outliers", 20, marks=pytest.mark.long),
    ],
)
def test_killed_at_random_moments_it_completes_to_the_same_bits(tmp_path, name, kills) -> None:
    """By the same command; nothing that was kept is ever lost."""
    where, chance = tmp_path / "kept", random.Random(7)
    done = before = 0
    for number in range(kills):
        done += killed(where, name, number % 3 < 2, chance.uniform(0.0, 0.3))
        now = progress(where)
        assert now >= before + (number % 3 < 2 and done > number)
        before = now
    assert done >= min(kills, 5)
    command = [sys.executable, "-c", KILLED, str(where), name, "compared"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "True\n"
    assert json.loads((where / "checkpoint.json").read_text())["finished"] is True
    assert not any("being-written" in left for left in names(where))
