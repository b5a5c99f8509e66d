"""The settings of a preparation, once: Params, keyword arguments and checks are made from them."""

from __future__ import annotations

from dataclasses import dataclass

from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.spec import Bounds, setting, settings_of

ROLES = {
    "input_cols": "number",
    "categorical_cols": "category",
    "count_cols": "count",
    "date_cols": "date",
}


@dataclass(frozen=True, kw_only=True)
class PreparationSettings:
    """Which columns are prepared, and as what.

    Raises SettingError for a column in two roles, or a setting out of its bounds.
    """

    id_col: str | None = setting(None, "column that names the row: no input")
    outcome_cols: tuple[str, ...] = setting((), "columns of the outcome: no inputs")
    input_cols: tuple[str, ...] = setting(
        (),
        "columns to prepare as numbers; where columns of no role are named, which take part, and "
        "as what, is proposed from the data",
    )
    categorical_cols: tuple[str, ...] = setting((), "columns to prepare as categories")
    count_cols: tuple[str, ...] = setting((), "columns to prepare as counts")
    date_cols: tuple[str, ...] = setting(
        (), "columns to prepare as dates: the days from each to referenceDate"
    )
    excluded_cols: tuple[str, ...] = setting((), "columns that are left out, whatever they are")
    reference_date: str | None = setting(
        None, "day from which dates are counted back, as 2024-12-31; not set: the latest date"
    )
    max_categories: int = setting(
        20,
        "values of a category told apart, at least 2; the rarer ones are (other), as are all that "
        "are new at scoring",
        bounds=Bounds(2),
    )
    seed: int = setting(0, "of the sample that the preparation is fitted to")
    suffix: str = setting(
        "_prepared",
        "what the name of a prepared column adds to that of its column",
        of_model=True,
    )

    def __post_init__(self) -> None:
        for each in SETTINGS:
            each.check(getattr(self, each.key))
        if not self.suffix:
            raise SettingError("suffix is empty; prepared columns need names of their own")
        seen: dict[str, str] = {}
        for each in SETTINGS:
            if not each.is_column:
                continue
            value = getattr(self, each.key)
            for name in value if isinstance(value, tuple) else [value] * (value is not None):
                if name in seen:
                    other = seen[name]
                    found = f"twice in {other}" if other == each.name else f"in {other} and in "
                    found += "" if other == each.name else each.name
                    raise SettingError(f"column {name!r} is {found}; name it once")
                seen[name] = each.name

    @property
    def said(self) -> dict[str, str]:
        """The role of every column that is named as an input; empty: proposed from the data."""
        return {name: role for key, role in ROLES.items() for name in getattr(self, key)}

    @property
    def named(self) -> dict[str, str]:
        """Every column that is named, and the setting that names it."""
        found: dict[str, str] = {}
        for each in SETTINGS:
            value = getattr(self, each.key)
            if each.is_column:
                names = value if isinstance(value, tuple) else [value] * (value is not None)
                found.update(dict.fromkeys(names, each.name))
        return found


SETTINGS = settings_of(PreparationSettings)
