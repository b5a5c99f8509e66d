"""Settings without the credentials in them, for the manifest and the log."""

from __future__ import annotations

import re
from typing import Any

from gmm_spark.config.settings import JobSettings
from gmm_spark.engine.addresses import without_userinfo

_SECRET = re.compile(r"secret|password|passwd|token|credential|account.?key|access.?key|sas", re.I)


def without_secrets(settings: JobSettings) -> dict[str, Any]:
    """The settings as plain values for the manifest, credentials blotted out."""
    values = settings.model_dump(mode="json")
    options = values["input"]["options"]
    values["input"]["options"] = {
        key: "***" if _SECRET.search(key) else value for key, value in options.items()
    }
    uris = ("output", "model", "against", "initial_model")
    for holder, key in ((values["input"], "path"), *((values, key) for key in uris)):
        if isinstance(holder.get(key), str):
            holder[key] = without_userinfo(holder[key])
    return values
