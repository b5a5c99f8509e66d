"""What the library says of its Params, as the settings of the jobs call them."""

from __future__ import annotations

import re

from gmm_spark.config.settings import JOBS
from gmm_spark.mixture.spec import SEARCH_SETTINGS

_OF_PARAMS = {each.name: each.job_key for each in SEARCH_SETTINGS if each.job_key is not None}
_OF_PARAMS["summary.warnings"] = "manifest.json"
# Of a preparation.
_OF_PARAMS |= {
    "idCol": "id",
    "outcomeCols": "outcome",
    "dateCols": "date_columns",
    "excludedCols": "excluded_columns",
    "referenceDate": "cut_off",
}
_PARAM = re.compile(r"(?<!['\"`\w./])(summary\.warnings|[a-z]+[A-Z]\w*)(?!\w)")
_GIVEN = re.compile(r"(?<!['\"`\w.])([a-z_]+)=(['\"])([\w-]+)\2")


def in_keys(text: str) -> str:
    """What the library says of its Params, said of the settings of a job."""
    said, lists, columns = text.partition("; it has: ")
    fields = {name for kind in JOBS.values() for name in kind.model_fields}

    def key(found: re.Match[str]) -> str:
        return _OF_PARAMS.get(found[1]) or found[1]

    def given(found: re.Match[str]) -> str:
        return f"{found[1]}: {found[3]}" if found[1] in fields else found[0]

    return _GIVEN.sub(given, _PARAM.sub(key, said)) + lists + columns
