"""Segment customers by what a company has of them: `gmm-spark churn`, for spark-submit.

spark-submit --py-files dist/gmm_spark.zip jobs/churn_segmentation.py --config conf/churn.yaml
"""

import sys

from gmm_spark.cli.churn import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prog="churn_segmentation.py"))
