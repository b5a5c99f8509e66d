"""Fit a Gaussian mixture to a table: `gmm-spark train`, for spark-submit.

spark-submit --py-files dist/gmm_spark.zip jobs/train.py --config conf/train.yaml --k 4
"""

import sys

from gmm_spark.cli.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prog="train.py"))
