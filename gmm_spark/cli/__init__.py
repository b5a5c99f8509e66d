"""The jobs, and the command `gmm-spark` that runs them."""
