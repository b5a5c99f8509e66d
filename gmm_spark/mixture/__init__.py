"""The mathematics of Gaussian mixtures: numpy and scipy alone, no Spark, no files."""
