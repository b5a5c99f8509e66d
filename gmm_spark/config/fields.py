"""Keys of the jobs, made of the settings of a fit."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from gmm_spark.config.values import Column, Text, one_or_several
from gmm_spark.mixture.spec import SPEC, Bounds, Setting


def fields_of(settings: Iterable[Setting], known: Container[str]) -> dict[str, Any]:
    """Field definitions for pydantic's `create_model`, by the settings' keys in the jobs; without
    those that are known already."""
    return {
        each.job_key: (_optional(each), _field(each))
        for each in settings
        if each.job_key is not None and each.job_key not in known
    }


def _field(setting: Setting) -> Any:
    if setting.kind == "texts":
        return Field(default_factory=list, description=setting.job_doc)
    return Field(_one(setting).job_default, description=_one(setting).job_doc)


def _one(setting: Setting) -> Setting:
    """The setting of one fit where a search has several values: jobs take both at one key."""
    several = setting.kind in ("wholes", "structures")
    return next(one for one in SPEC if one.key == setting.key) if several else setting


def _optional(setting: Setting) -> Any:
    taken = _taken(setting)
    may_be_absent = setting.kind != "texts" and _one(setting).job_default is None
    return taken | None if may_be_absent else taken


def _taken(setting: Setting) -> Any:
    """The type of a key's values, with their bounds."""
    one = _one(setting)
    if one is not setting:
        return one_or_several(_taken(one))
    if setting.choices:
        return Literal[setting.choices]
    kinds: dict[str, Any] = {
        "whole": int,
        "number": float,
        "switch": bool,
        "text": Text,
        "texts": list[Column],
        "auto or number": float,
        "model": Text,
        "path": Text,
    }
    plain = kinds[setting.kind]
    if setting.bounds is not None:
        plain = Annotated[plain, _within(setting.bounds)]
    return Literal["auto"] | plain if setting.kind == "auto or number" else plain


def _within(bounds: Bounds) -> Any:
    finite = bounds.below == np.inf
    return Field(
        gt=bounds.least if bounds.above else None,
        ge=None if bounds.above else bounds.least,
        lt=None if finite else bounds.below,
        allow_inf_nan=False if finite else None,
    )
