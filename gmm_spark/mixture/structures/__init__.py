"""Covariance structures: which covariances the components of a mixture may have together.

To add one: write its entry, a `Structure`, or an instance of a class of this package that computes
what it needs, and name it in `STRUCTURES`. Everything else asks the structure: the kernel which
second moments it needs (`kind`, `shared`), the M-step for its `maximum`, starts and splits for the
nearest `member`, saved models for its `shape`.

Runs on executors: imports numpy alone.
"""

from __future__ import annotations

from gmm_spark.mixture.errors import SettingError
from gmm_spark.mixture.structures.parsimonious import Parsimonious
from gmm_spark.mixture.structures.storage import Kind
from gmm_spark.mixture.structures.structure import Floored, Structure
from gmm_spark.mixture.structures.unconstrained import Unconstrained, Univariate

__all__ = [
    "CODES",
    "STRUCTURES",
    "UNIVARIATE",
    "WORDS",
    "Floored",
    "Kind",
    "Structure",
    "structure_named",
]

STRUCTURES: dict[str, Structure] = {
    structure.code: structure
    for structure in (
        Unconstrained("VVV", "full"),
        Unconstrained("EEE", "tied"),
        Unconstrained("VVI", "diag"),
        Unconstrained("EEI"),
        Unconstrained("VII", "spherical"),
        Unconstrained("EII"),
        *map(Parsimonious, ("EVI", "VEI", "EEV", "VEV", "EVV", "VVE", "EVE", "VEE")),
    )
}
# Of one column all structures are one of two.
UNIVARIATE: dict[str, Structure] = {"E": Univariate("E"), "V": Univariate("V")}
_ALIASES = {structure.alias: structure for structure in STRUCTURES.values() if structure.alias}
_CODES = {**STRUCTURES, **UNIVARIATE}
# What a structure may be called, in the order in which a user reads them.
WORDS, CODES = tuple(_ALIASES), tuple(_CODES)


def structure_named(name: str) -> Structure:
    """The structure called `name`, an mclust code or one of full, tied, diag, spherical.

    Raises SettingError where there is none.
    """
    found = _ALIASES.get(name) or _CODES.get(str(name).upper())
    if found is None:
        raise SettingError(
            f"covarianceType: {name!r} is not known; use one of {', '.join((*WORDS, *CODES))}"
        )
    return found
