"""Jobs for spark-submit: settings in, exit code out."""
