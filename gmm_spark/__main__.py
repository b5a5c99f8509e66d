"""`python -m gmm_spark`, the same as the command `gmm-spark`."""

import sys

from gmm_spark.cli.main import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m gmm_spark"))
