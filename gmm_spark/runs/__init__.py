"""A run of a job, from its settings to its exit code."""
