"""Spark: the two sources of rows, the first scan with its sample, the broadcast pass."""

import os

# Only a Python worker that Spark reaches over a Unix domain socket has this. Every task imports
# this package, so that it is done once a worker.
if os.environ.get("PYTHON_UNIX_DOMAIN_ENABLED", "").lower() == "true":
    from gmm_spark.engine.worker import end_quietly

    end_quietly()
