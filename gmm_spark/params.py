"""Settings as Params of pyspark.ml: MLlib's names where it has one.

`with_settings` gives a class its Params, getters, setters and keyword arguments from the settings
of `mixture/spec.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from pyspark.ml.clustering import GaussianMixture as MLlibGaussianMixture
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import (
    HasAggregationDepth,
    HasFeaturesCol,
    HasInputCols,
    HasMaxIter,
    HasPredictionCol,
    HasProbabilityCol,
    HasSeed,
    HasTol,
    HasWeightCol,
)

from gmm_spark.engine.addresses import as_text
from gmm_spark.errors import ConfigurationError
from gmm_spark.mixture.spec import COLUMNS, ColumnSettings, Kind, Setting

_Self = TypeVar("_Self", bound=Params)
_Class = TypeVar("_Class", bound=type)


def _auto_or_number(value: Any) -> Any:
    return "auto" if value == "auto" else TypeConverters.toFloat(value)


def _log_density(value: Any) -> Any:
    threshold = TypeConverters.toFloat(value)
    if np.isnan(threshold):
        raise ConfigurationError("outlierThreshold is nan; it must be a number, a log density")
    return threshold


def _model(value: Any) -> Any:
    from gmm_spark.mllib import started_from

    return started_from(value)


def _numbers(value: Any) -> Any:
    try:
        return np.asarray(value, dtype=float).tolist()
    except ValueError:
        raise TypeError(f"{value!r} is no array of numbers") from None


class _OrNone:
    """A type converter that lets None through, which means not set: grids of Params convert
    their values before any of them is set."""

    def __init__(self, convert: Any) -> None:
        self._convert = convert

    def __call__(self, value: Any) -> Any:
        return None if value is None else self._convert(value)


# What a Param of each kind converts its values by, and what help() says it takes.
_TAKES: dict[Kind, tuple[Callable[[Any], Any], Any]] = {
    "whole": (TypeConverters.toInt, int),
    "number": (TypeConverters.toFloat, float),
    "switch": (TypeConverters.toBoolean, bool),
    "text": (TypeConverters.toString, str),
    "texts": (TypeConverters.toListString, list[str]),
    "wholes": (TypeConverters.toListInt, list[int]),
    "structure": (TypeConverters.toString, str),
    "structures": (TypeConverters.toListString, list[str]),
    "auto or number": (_auto_or_number, str | float),
    "numbers": (_numbers, Any),
    "log density": (_log_density, float),
    "model": (_model, Any),
    "path": (as_text, str),
}
# Params that both packages have come first, in MLlib's order.
_MLLIB = list(inspect.signature(MLlibGaussianMixture.__init__).parameters)[1:]


def own(name: str, doc: str, kind: Kind) -> Param[Any]:
    """A Param that belongs to no instance yet."""
    return Param(Params._dummy(), name, doc, typeConverter=_TAKES[kind][0])  # type: ignore[arg-type]


class HasSettings(Params):
    """The Params that `with_settings` gives a class, and how they are set.

    A Param given as None is not set, whatever the way: it has its default.
    """

    _settings: ClassVar[tuple[Setting, ...]] = ()

    if TYPE_CHECKING:  # getters, setters and Params: `with_settings`

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(**{s.name: _plain(s.default) for s in self._settings if _has_default(s)})

    def _copy_params(self) -> None:
        super()._copy_params()  # type: ignore[misc]
        for param in self.params:
            param.typeConverter = _OrNone(param.typeConverter)

    # Every way a Param is set ends in one of these two: constructors, setters, copies and params
    # given to fit in the first, loading in the second.
    def _set(self: _Self, **kwargs: Any) -> _Self:
        """Sets the given Params; one given as None is not set, and has its default again."""
        for name, value in kwargs.items():
            if value is None:
                self.clear(getattr(self, name))
            else:
                super()._set(**{name: value})  # type: ignore[misc]
        return self

    def set(self, param: Param[Any], value: Any) -> None:
        """Sets a Param; None clears it."""
        if value is None:
            self._shouldOwn(param)
            self.clear(param)
        else:
            super().set(param, value)

    def _values(self, settings: Sequence[Setting]) -> dict[str, Any]:
        """What is set, or the default, by the key of each setting."""
        return {s.key: self._value(s) for s in settings}

    def _value(self, setting: Setting) -> Any:
        if not self.isDefined(setting.name):
            return setting.default
        value = self.getOrDefault(setting.name)
        if setting.kind == "numbers":
            return np.array(value, dtype=float)
        return tuple(value) if isinstance(value, list) else value


class GaussianMixtureParams(
    HasSettings,
    HasMaxIter,
    HasTol,
    HasSeed,
    HasFeaturesCol,
    HasInputCols,
    HasPredictionCol,
    HasProbabilityCol,
    HasWeightCol,
    HasAggregationDepth,
):
    """What the Params of estimators and models have in common."""

    @property
    def _columns(self) -> ColumnSettings:
        return ColumnSettings(**self._values(COLUMNS))

    def _input_columns(self) -> list[str] | None:
        """Numeric columns; None where they are in a vector."""
        numeric = self._columns.numeric
        return None if numeric is None else list(numeric)


def _has_default(setting: Setting) -> bool:
    """Whether the Param has a default: nothing, and a list of no columns, are not defined."""
    return setting.default is not None and setting.default != ()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def with_settings(
    settings: Sequence[Setting], *, sets: Sequence[Setting] | None = None
) -> Callable[[_Class], _Class]:
    """A decorator: the class has a Param and a getter for each of the settings, and a setter.

    Params and getters that pyspark.ml shares, and what the class says itself, stay.

    Parameters
    ----------
    sets : those that have a setter; None: all
    """

    def equip(kind: _Class) -> _Class:
        kind._settings = tuple(settings)  # type: ignore[attr-defined]
        for each in settings:
            if not hasattr(kind, each.name):
                setattr(kind, each.name, own(each.name, each.doc, each.kind))
            _add(kind, f"get{_capital(each.name)}", _getter(each))
        for each in settings if sets is None else sets:
            _add(kind, f"set{_capital(each.name)}", _setter(each))
        return kind

    return equip


def _add(kind: type, name: str, method: Callable[..., Any]) -> None:
    if not hasattr(kind, name):
        method.__name__, method.__qualname__ = name, f"{kind.__qualname__}.{name}"
        method.__module__ = kind.__module__
        setattr(kind, name, method)


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def _getter(setting: Setting) -> Callable[..., Any]:
    name, default = setting.name, setting.default

    def get(self: HasSettings) -> Any:
        if _has_default(setting) or self.isDefined(name):
            value = self.getOrDefault(name)
            return list(value) if isinstance(value, list) else value
        return _plain(default)

    otherwise = "or its default" if _has_default(setting) else f"or {_plain(default)}, not set"
    get.__doc__ = f"Gets the value of {name} {otherwise}: {setting.doc}."
    get.__annotations__ = {"return": _hint(setting)}
    return get


def _setter(setting: Setting) -> Callable[..., Any]:
    name, several = setting.name, setting.kind in ("wholes", "structures")

    def set_(self: GaussianMixtureParams, value: Any) -> Any:
        return self._set(**{name: list(value) if several and value is not None else value})

    set_.__doc__ = f"Sets {name}: {setting.doc}."
    set_.__annotations__ = {"value": _hint(setting, given=True)}
    return set_


def _hint(setting: Setting, given: bool = False) -> Any:
    """The type of a setting's value; of one that is given, None too."""
    hint = _TAKES[setting.kind][1]
    return hint | None if hint is not Any and (given or setting.default is None) else hint


def takes_settings(settings: Sequence[Setting]) -> Callable[[_Class], _Class]:
    """A decorator: constructor and `setParams` of the class take these as keyword arguments.

    Both raise TypeError for positional and for unknown arguments, and show all in `help()`.
    """
    ordered = sorted(
        settings, key=lambda s: _MLLIB.index(s.name) if s.name in _MLLIB else len(_MLLIB)
    )
    keywords = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_plain(each.default) if _has_default(each) else None,
            annotation=_hint(each),
        )
        for each in ordered
    ]
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature([itself, *keywords])

    def equip(kind: _Class) -> _Class:
        for name in ("__init__", "setParams"):
            setattr(kind, name, _keyword_only(getattr(kind, name), signature))
        return kind

    return equip


def _keyword_only(method: Callable[..., Any], signature: inspect.Signature) -> Callable[..., Any]:
    @wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args:  # in pyspark's words
            raise TypeError(f"Method {method.__name__} only takes keyword arguments.")
        try:
            signature.bind(self, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}.{method.__name__}() {error}") from None
        return method(self, **kwargs)

    checked.__signature__ = signature  # type: ignore[attr-defined]
    return checked
