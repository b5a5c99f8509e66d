"""Settings: what each takes, what it says of what it does not take, and the values made of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import pytest

from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.spec import (
    COLUMNS,
    GRID,
    SEARCH_SETTINGS,
    SETTINGS,
    SPEC,
    Bounds,
    ColumnSettings,
    Grid,
    Setting,
    Spec,
    setting,
    settings_of,
)
from gmm_spark.mixture.structures import STRUCTURES


def outside(one: Setting) -> list[Any]:
    """Values that a setting does not take: next to its bounds, and of no choice."""
    if one.choices:
        return ["no_choice", ""]
    if one.bounds is None:
        return []
    found = [one.bounds.least if one.bounds.above else one.bounds.least - 1]
    if one.bounds.below is not None:
        found.append(one.bounds.below)
    return found if one.kind == "whole" else [*map(float, found), np.nan]


def inside(one: Setting) -> list[Any]:
    """Values next to the bounds that it does take, or its choices."""
    if one.choices:
        return list(one.choices)
    if one.bounds is None:
        return []
    found = [one.bounds.least + 1e-9 if one.bounds.above else one.bounds.least]
    if one.bounds.below is not None:
        found.append(np.nextafter(one.bounds.below, -np.inf))
    return found


@pytest.mark.parametrize("one", SPEC, ids=lambda one: one.name)
def test_a_spec_takes_what_is_within_bounds_and_nothing_else(one) -> None:
    for value in (one.default, *inside(one)):
        assert getattr(Spec(**{one.key: value}), one.key) is value
    for value in outside(one):
        with pytest.raises(SettingError, match=f"^{one.name}"):
            Spec(**{one.key: value})


def test_what_is_wrong_is_said_with_what_is_expected() -> None:
    cases = {
        "k": (0, "k is 0; it must be at least 1"),
        "covariance_floor": (1.5, "covarianceFloor is 1.5; it must be auto, or in [0, 1)"),
        "contamination": (0.5, "contamination is 0.5; it must be in [0, 0.5)"),
        "prior_shrinkage": (0.0, "priorShrinkage is 0.0; it must be more than 0, and finite"),
        "category_prior": (np.inf, "categoryPrior is inf; it must be at least 0, and finite"),
        "missing": ("drop", "missing is 'drop'; it must be one of error, skip, marginalize"),
    }
    for key, (value, said) in cases.items():
        with pytest.raises(SettingError) as caught:
            Spec(**{key: value})
        assert str(caught.value) == said
    with pytest.raises(SettingError, match=r"^covarianceType: 'ful' is not known; use one of full"):
        Spec(covariance_type="ful")


def test_a_structure_is_named_by_word_or_code_in_any_case() -> None:
    assert Spec(covariance_type="tied").structure is STRUCTURES["EEE"]
    assert Spec(covariance_type="vvi").structure is STRUCTURES["VVI"]
    assert set(STRUCTURES) < set(next(s for s in SPEC if s.key == "covariance_type").choices)


def test_the_floor_and_the_seed_as_the_mathematics_takes_them() -> None:
    assert Spec().floor is None
    assert Spec(covariance_floor=0.25).floor == 0.25
    assert Spec(seed=-1).positive_seed == 2**63 - 1
    assert np.random.default_rng([Spec(seed=-5).positive_seed, 0]).random() < 1


def test_every_setting_has_one_name_and_one_line() -> None:
    assert len({one.name for one in SETTINGS}) == len(SETTINGS) == len(SPEC) + len(COLUMNS)
    assert len({one.job_key for one in SETTINGS if one.job_key}) == sum(
        one.job_key is not None for one in SETTINGS
    )
    for one in SEARCH_SETTINGS:
        assert one.doc == one.doc.strip().rstrip(".")
        assert "\n" not in one.doc + one.job_doc


def test_an_annotation_says_what_a_setting_takes() -> None:
    @dataclass(frozen=True)
    class Some:
        many_words: int = setting(3, "how many")
        share: float | None = setting(None, "a share", in_jobs="of rows", left_out=True)
        way: Literal["one", "other"] = setting("one", "which way")
        names_cols: tuple[str, ...] = setting((), "columns", in_jobs=False)

    words, share, way, names = settings_of(Some)
    assert (words.name, words.kind, words.job_key, words.job_doc) == (
        "manyWords", "whole", "many_words", "how many",
    )  # fmt: skip
    assert (share.kind, share.job_doc, share.job_default) == ("number", "of rows", None)
    assert (way.kind, way.choices, way.job_default) == ("text", ("one", "other"), "one")
    assert (names.kind, names.job_key, names.is_column) == ("texts", None, True)


@pytest.mark.parametrize(
    ("bounds", "inner", "outer", "said"),
    [
        (Bounds(2), [2, 9.5, np.inf], [1.9, np.nan], "at least 2"),
        (Bounds(0, below=0.5), [0, 0.49], [-1e-9, 0.5], "in [0, 0.5)"),
        (Bounds(0, above=True, below=np.inf), [1e-300, 1e300], [0, np.inf], "more than 0, and f"),
        (Bounds(-1, above=True, below=1), [0.0], [-1, 1], "in (-1, 1)"),
    ],
)
def test_bounds(bounds, inner, outer, said) -> None:
    assert all(value in bounds for value in inner)
    assert not any(value in bounds for value in outer)
    assert str(bounds).startswith(said)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"input_cols": ()}, r"inputCols is \[\]; name at least one column"),
        (
            {"input_cols": ("a", "a")},
            r"inputCols is \['a', 'a'\]; name at least one column, and ea",
        ),
        ({"input_cols": ("a",), "count_cols": ("a",)}, "'a' is in inputCols and in countCols"),
        ({"count_cols": ("n", "n")}, "'n' is twice in countCols"),
        ({"input_cols": ("a",), "label_col": "a"}, "'a' is labelCol and in inputCols: a segment"),
        ({"features_col": "f", "label_col": "f"}, "'f' is labelCol and in featuresCol"),
        ({"label_col": "w", "weight_col": "w"}, "'w' is labelCol and weightCol; it can be one"),
        ({"initial_label_col": "w", "weight_col": "w"}, "'w' is initialLabelCol and weightCol"),
    ],
)
def test_roles_that_do_not_go_together(columns, said) -> None:
    with pytest.raises(SettingError, match=said):
        ColumnSettings(**columns).check_roles()


def test_roles_that_do() -> None:
    for columns in (
        {},
        {"input_cols": ("a",), "weight_col": "a"},
        {"input_cols": ("a",), "initial_label_col": "a", "label_col": "b"},
        {"input_cols": (), "count_cols": ("n",)},
        {"label_col": "l", "initial_label_col": "l", "weight_col": ""},
    ):
        ColumnSettings(**columns).check_roles()
    assert ColumnSettings().numeric is None
    assert ColumnSettings(count_cols=("n",)).numeric == ()
    assert ColumnSettings(weight_col="").weight is None


def test_a_grid_is_a_fit_of_every_size_and_structure_once() -> None:
    common = Spec(tol=0.5)
    found = Grid(k=(3, 1, 3), covariance_type=("EEE", "tied", "diag")).specs(common)
    assert {(one.k, one.covariance_type) for one in found} == {
        (1, "EEE"), (3, "EEE"), (1, "diag"), (3, "diag"),
    }  # fmt: skip
    assert len(found) == 4
    assert {one.tol for one in found} == {0.5}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"k": ()}, r"k is \[\]; it must be numbers of components, at least 1"),
        ({"k": (2, 0)}, r"k is \[2, 0\]"),
        ({"covariance_type": ()}, "covarianceType is empty"),
        ({"criterion": "BIC"}, "criterion is 'BIC'; it must be one of bic, aic, icl, heldout"),
    ],
)
def test_a_grid_of_nothing_is_refused(wrong, said) -> None:
    with pytest.raises(SettingError, match=said):
        Grid(**wrong)


def test_a_search_has_the_settings_of_a_fit_and_its_own() -> None:
    assert {one.key for one in SEARCH_SETTINGS} == {one.key for one in (*SETTINGS, *GRID)}
    assert next(one for one in SEARCH_SETTINGS if one.key == "k").kind == "wholes"
    assert [one.key for one in GRID] == [one.name for one in fields(Grid)]
