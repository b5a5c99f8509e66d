"""Settings of the jobs: defaults, one YAML file, the environment, the command line.

Every key is a line of the file, a flag (`--k 4`, `--input.path lake/customers`) and an
environment variable (`GMM_K`, `GMM_INPUT__PATH`). A flag wins over the environment, the
environment over the file, the file over the default.
"""

from gmm_spark.config.loading import load_settings
from gmm_spark.config.redaction import without_secrets
from gmm_spark.config.settings import (
    JOBS,
    ChurnSettings,
    EvaluateSettings,
    InputSettings,
    JobSettings,
    ScoreSettings,
    TrainSettings,
    TransactionSettings,
)
from gmm_spark.config.translation import in_keys
from gmm_spark.config.values import Filter
from gmm_spark.expressions import expression_name

__all__ = [
    "JOBS",
    "ChurnSettings",
    "EvaluateSettings",
    "Filter",
    "InputSettings",
    "JobSettings",
    "ScoreSettings",
    "TrainSettings",
    "TransactionSettings",
    "expression_name",
    "in_keys",
    "load_settings",
    "without_secrets",
]
