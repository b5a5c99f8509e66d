"""The same examples in every run, with no limit of time; EXAMPLES=5000 tries as many others."""

import os

from hypothesis import settings

settings.register_profile(
    "gmm_spark", derandomize=True, deadline=None, max_examples=60, database=None
)
settings.register_profile(
    "many", deadline=None, max_examples=int(os.environ.get("EXAMPLES", 1)), database=None
)
settings.load_profile("many" if "EXAMPLES" in os.environ else "gmm_spark")
