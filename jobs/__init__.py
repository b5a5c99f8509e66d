"""The jobs as files for spark-submit; what they do is in gmm_spark.cli."""
