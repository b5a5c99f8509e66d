"""Where a fit starts: starting values, candidates that advance on a sample, moves, the search."""
