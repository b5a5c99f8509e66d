"""A model against a table, or another model: `gmm-spark evaluate`, for spark-submit.

spark-submit --py-files dist/gmm_spark.zip jobs/evaluate.py --config conf/evaluate.yaml
"""

import sys

from gmm_spark.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prog="evaluate.py"))
