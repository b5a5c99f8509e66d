"""Errors: one line each, catchable as pyspark's, and the same on the other side of a process."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from pyspark.errors import AnalysisException, IllegalArgumentException, PySparkException

from gmm_spark.errors import (
    ConfigurationError,
    FitError,
    GmmError,
    InputDataError,
    ModelFileError,
    refusals,
)
from gmm_spark.mixture.errors import DataError, SettingError, SingularCovarianceError
from gmm_spark.mixture.structures import structure_named

TEXT = "column 'a': 3 of 7 rows are infinite (the first: inf); leave those rows out"
KINDS = [ConfigurationError, InputDataError, ModelFileError, FitError]


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (ConfigurationError, (ValueError, IllegalArgumentException, PySparkException)),
        (InputDataError, (ValueError, IllegalArgumentException, AnalysisException)),
        (ModelFileError, (ValueError, AnalysisException)),
        (FitError, (RuntimeError,)),
    ],
)
def test_an_error_is_caught_as_what_pyspark_raises_in_its_place(kind, also) -> None:
    for expected in (GmmError, *also):
        with pytest.raises(expected):
            raise kind(TEXT)


@pytest.mark.parametrize("kind", KINDS)
def test_its_text_is_one_line_however_it_is_asked_for(kind) -> None:
    error = kind(TEXT)
    assert str(error) == error.getMessage() == TEXT
    assert repr(error) == f'{kind.__name__}("{TEXT}")'


def refused(kind: type[GmmError]) -> None:
    raise kind(TEXT)


@pytest.mark.parametrize("kind", KINDS)
def test_it_survives_copies_and_pickles(kind) -> None:
    packed = pickle.dumps(kind(TEXT))
    assert len(packed) < 300  # not with all of pyspark's error conditions
    for found in (pickle.loads(packed), copy.copy(kind(TEXT)), copy.deepcopy(kind(TEXT))):
        assert type(found) is kind
        assert str(found) == TEXT


def test_it_comes_out_of_another_process() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(InputDataError) as raised,
    ):
        pool.submit(refused, InputDataError).result()
    assert str(raised.value) == TEXT


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(SettingError, ConfigurationError), (DataError, InputDataError)],
)
def test_what_the_mathematics_refuses_is_said_as_ours(theirs, ours) -> None:
    with pytest.raises(ours, match=r"^column 'a'") as raised, refusals():
        raise theirs(TEXT)
    assert raised.value.__cause__ is None
    with pytest.raises(ConfigurationError, match="'round' is not known"), refusals():
        structure_named("round")


def test_other_errors_of_the_mathematics_stay_what_they_are() -> None:
    with pytest.raises(SingularCovarianceError), refusals():
        raise SingularCovarianceError(0)
