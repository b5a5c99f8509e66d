"""Spark: the two sources of rows, the first scan with its sample, the broadcast pass."""
