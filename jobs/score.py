"""Score every row of a table with a model: `gmm-spark score`, for spark-submit.

spark-submit --py-files dist/gmm_spark.zip jobs/score.py --config conf/score.yaml
"""

import sys

from gmm_spark.cli.score import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prog="score.py"))
