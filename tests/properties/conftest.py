"""The same examples in every run, and no limit of time on any."""

from hypothesis import settings

settings.register_profile(
    "gmm_spark", derandomize=True, deadline=None, max_examples=60, database=None
)
settings.load_profile("gmm_spark")
