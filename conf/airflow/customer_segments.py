"""An Airflow DAG, to copy into the folder of DAGs: every night customers are segmented anew, and
new ones are scored by the champion. It is of Airflow 3.

gmm_spark is in an environment of its own, which Airflow's workers reach: on a cluster put
`spark-submit ... jobs/churn_segmentation.py` in place of `gmm-spark churn`, in client mode, which
hands the exit code on.

| exit code | here |
|---|---|
| 0 | done |
| 5 | the gate is against publishing: skipped, and `tell` is called; the champion stays |
| 143 (SIGTERM) and others | tried again; it goes on from its checkpoint |
| 2, 3 (settings, data) | tried again to no avail, and failed with one line in the log |
"""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

# Not GMM_...: variables that begin so are settings, and an unknown one is refused.
PROJECT = os.environ.get("SEGMENTS_PROJECT", "/opt/gmm_spark")  # conf/ and .venv/ are there
LAKE = os.environ.get("SEGMENTS_LAKE", "/lake")
GATE = 5


def tell(context: dict) -> None:
    """What is done when a model is not published: a message to whoever decides."""
    task = context["task_instance"]
    logging.getLogger(__name__).warning(
        "%s: not published; look at the log and segments.json, then gmm-spark versions %s/segments",
        task.task_id,
        LAKE,
    )


# {{ ds }} is the date of the schedule, also of a run that is made up for: never today's.
SEGMENT = f"""
.venv/bin/gmm-spark churn --config conf/churn.yaml \\
    --output {LAKE}/segments --keep_versions 30 \\
    --run_date {{{{ ds }}}} --checkpoint_dir {LAKE}/checkpoints/{{{{ ds }}}}
"""
# profile: it is not known yet of new customers whether they leave.
SCORE = f"""
.venv/bin/gmm-spark score --config conf/score.yaml \\
    --model {LAKE}/segments --input.path {LAKE}/new_customers --output {LAKE}/scores \\
    --run_date {{{{ ds }}}} --partition_by run_date --profile null
"""

with DAG(
    "customer_segments",
    schedule="15 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    # Of two runs that publish at once one would be told.
    max_active_runs=1,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=10),
        "cwd": PROJECT,
        "append_env": True,
    },
) as dag:
    segment = BashOperator(
        task_id="segment",
        bash_command=SEGMENT,
        skip_on_exit_code=GATE,
        on_skipped_callback=tell,
        execution_timeout=timedelta(hours=6),
    )
    # By the champion, whether it is new or has stayed.
    score = BashOperator(task_id="score", bash_command=SCORE, trigger_rule="none_failed")
    segment >> score
